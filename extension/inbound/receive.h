/*-------------------------------------------------------------------------
 *
 * receive.h
 *	  Private to concord.receive(): whose message it is, and whether it is.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_INBOUND_RECEIVE_H
#define CONCORD_INBOUND_RECEIVE_H

#include "catalog/mapping.h"
#include "connector/receiving.h"

/* A mapping that a message may be for. */
typedef struct ConcordReceiver
{
	ConcordMapping *mapping;
	ConcordReceiving *receiving;	/* the connector's, with what the mapping
									 * says */
	char	   *object;			/* what messages call its object; NULL: as it
								 * is called in the mapping */
} ConcordReceiver;

/*
 * concord_receivers gives the mappings that a name stands for: one, or those
 * of a server.  List of ConcordReceiver *, not empty.  Errors:
 * ERRCODE_UNDEFINED_OBJECT, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE.
 */
extern List *concord_receivers(const char *name);

/*
 * concord_receive_verify gives those of the receivers whose definer's secret
 * the message was signed with.  Errors:
 * ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION where there are none, or where
 * it is too old.
 */
extern List *concord_receive_verify(List *receivers, const char *name,
									const ConcordIncoming *message);

/*
 * concord_receive_retain forgets ids of old messages; false: there are more.
 * For the clerk.
 */
extern bool concord_receive_retain(void);

#endif							/* CONCORD_INBOUND_RECEIVE_H */
