/*-------------------------------------------------------------------------
 *
 * fetch.h
 *	  Records that notices only name are looked up at their system.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_INBOUND_FETCH_H
#define CONCORD_INBOUND_FETCH_H

#include "inbound/inbound.h"
#include "live/lookup.h"

/* What became of a look-up. */
typedef enum ConcordFetchVerdict
{
	CONCORD_FETCH_OPEN,			/* not asked for */
	CONCORD_FETCH_RECORD,		/* it is here */
	CONCORD_FETCH_GONE,			/* there is no such record */
	CONCORD_FETCH_AGAIN,		/* it failed, which counts */
	CONCORD_FETCH_LATER,		/* the system cannot now */
	CONCORD_FETCH_REFUSED,		/* and will be, each time */
} ConcordFetchVerdict;

/* A record that notices name. */
typedef struct ConcordFetchItem
{
	char	   *id;
	Datum		notices;		/* bigint[]: their rows in the inbox */
	int64		newest;			/* of them */
	int			attempts;
	char	   *local_key;
	char	   *message_id;
	TimestampTz told_changed;	/* 0: they do not say */

	ConcordLookup lookup;
	ConcordLiveRequest *live;	/* under way */

	ConcordFetchVerdict verdict;
	TimestampTz read_at;
	char	   *record;
	char	   *etag;
	TimestampTz remote_changed;
	const char *rule;
	char	   *error;
	int			delay_ms;		/* that the system asks for; -1: it does not */
} ConcordFetchItem;

/* Those of a mapping that are asked for together. */
typedef struct ConcordFetch
{
	const ConcordMapping *mapping;
	const Oid  *types;			/* of the key's fields */
	const char *changed;		/* path of the time of change, or NULL */
	ConcordPeer *peer;			/* pinned */
	MemoryContext context;
	int			n;
	ConcordFetchItem *items;
} ConcordFetch;

/*
 * concord_fetch_ask looks all of them up, some at once.  Needs a transaction
 * and reads no tables; no snapshot is held while it waits.  fetch_ask.c
 */
extern void concord_fetch_ask(ConcordFetch *fetch);

/*
 * concord_fetch_due looks records up that notices name, and applies them; in
 * transactions of its own.  False: none is due.  For the applier.
 */
extern bool concord_fetch_due(void);

#endif							/* CONCORD_INBOUND_FETCH_H */
