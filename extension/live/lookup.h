/*-------------------------------------------------------------------------
 *
 * lookup.h
 *	  Records looked up by their ids, for those who speak C.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_LIVE_LOOKUP_H
#define CONCORD_LIVE_LOOKUP_H

#include "live/session.h"

/* A look-up of one record. */
typedef struct ConcordLookup
{
	ConcordExchange *x;			/* judges the answer: concord_exchange_judge */
	ConcordRequest *request;
} ConcordLookup;

/*
 * concord_lookup_prepare writes the request for a mapping's record of an id, as
 * links have it, in the current context.  types are those of the mapping's key
 * fields, in their order.  Errors: ERRCODE_INVALID_PARAMETER_VALUE where such an
 * id names no record, ERRCODE_FEATURE_NOT_SUPPORTED where the connector has none
 * to look up.
 */
extern void concord_lookup_prepare(ConcordLookup *lookup,
								   const ConcordServer *server,
								   const ConcordMapping *mapping,
								   const Oid *types, const char *id);

/* concord_lookup_submit sends it; it ends as concord_live_wait says. */
extern ConcordLiveRequest *concord_lookup_submit(ConcordLookup *lookup,
												 ConcordPeer *peer);

#endif							/* CONCORD_LIVE_LOOKUP_H */
