/*-------------------------------------------------------------------------
 *
 * inbound.h
 *	  Records of systems become rows: what the rest of the extension calls.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_INBOUND_INBOUND_H
#define CONCORD_INBOUND_INBOUND_H

#include "catalog/mapping.h"

#include "datatype/timestamp.h"

typedef enum ConcordInboundOp
{
	CONCORD_INBOUND_UPSERT,		/* the record is as it says */
	CONCORD_INBOUND_DELETE,		/* the record is gone */
	CONCORD_INBOUND_FETCH,		/* it has changed: only who reads systems can
								 * do something with it, apply leaves it alone */
} ConcordInboundOp;

/* A record, or word of one.  All that is not known is zero. */
typedef struct ConcordInboundRecord
{
	ConcordInboundOp op;
	const char *record;			/* JSON text of an object; may be NULL of a
								 * deleted one */
	const char *remote_id;		/* as links have it; NULL: the record tells */
	const char *local_key;		/* JSON, as links have it, where it is known */
	const char *etag;
	TimestampTz remote_changed; /* by the system's clock */
	TimestampTz read_at;		/* when it was asked for, by ours: what was
								 * delivered since is not in it */
	int64		inbox;			/* its row; 0: it is not stored */
	const char *message_id;
} ConcordInboundRecord;

/* What became of records. */
typedef struct ConcordInboundCounts
{
	int64		fetched;		/* records given */
	int64		applied;		/* a row was written, deleted or linked */
	int64		unchanged;		/* nothing to do, or older than what is known */
	int64		conflicts;		/* fields left to a person */
	int64		rejected;		/* parked */
	int64		waiting;		/* for a parent, or a lock */
} ConcordInboundCounts;

typedef struct ConcordInbound ConcordInbound;

/*
 * concord_inbound_open makes what applying records of a mapping needs, in a
 * child of context; it may be kept over transactions, as long as the mapping is
 * the same version.  origin: "pull", "receive" or "reconcile", as
 * concord.inbox_item has it.  Raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
 * where the mapping takes nothing in.
 */
extern ConcordInbound *concord_inbound_open(const ConcordMapping *mapping,
											const char *origin,
											MemoryContext context);

/*
 * concord_inbound_apply applies n records in order, in the caller's
 * transaction, and adds to counts.  Needs SPI and an active snapshot, which is
 * replaced by newer ones; the transaction must be READ COMMITTED.  It waits
 * for other transactions that apply records of this mapping.  Constraints that
 * can be deferred are immediate from then on to the end of the transaction.
 *
 * Records that fail are stored in the inbox (or their row there is changed),
 * those that were applied are deleted from it.  Raises what is no record's
 * fault: a right that is missing, a lock that was not to be had, a
 * serialization failure; the caller ends the transaction and tries again.
 */
extern void concord_inbound_apply(ConcordInbound *inbound,
								  const ConcordInboundRecord *records, int n,
								  ConcordInboundCounts *counts);

/*
 * concord_inbound_remote_id gives the id that links know a record by, which is
 * JSON that was checked; NULL: it tells none.
 */
extern char *concord_inbound_remote_id(ConcordInbound *inbound,
									   const ConcordInboundRecord *record);

/* concord_inbound_assigned: ids are the system's own. */
extern bool concord_inbound_assigned(const ConcordInbound *inbound);

extern void concord_inbound_close(ConcordInbound *inbound);

/*
 * concord_inbound_wake has the applier look at the inbox when the current
 * transaction commits.
 */
extern void concord_inbound_wake(void);

#endif							/* CONCORD_INBOUND_INBOUND_H */
