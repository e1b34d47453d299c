/*-------------------------------------------------------------------------
 *
 * division.h
 *	  A mapping divided over several lanes, by key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_DELIVERY_DIVISION_H
#define CONCORD_DELIVERY_DIVISION_H

#include "base/compat.h"

#include "catalog/mapping.h"
#include "outbox/event.h"

/* What one lane has finished. */
typedef struct ConcordReached
{
	int64		cursor;
	int			nranges;
	int64	   *ranges;			/* [from, to) pairs beyond cursor, ascending */
} ConcordReached;

/* All lanes of a mapping at one time. */
typedef struct ConcordDivision
{
	int			shares;
	ConcordReached *lanes;		/* one for each share */
	int64		horizon;		/* nothing beyond is finished */
} ConcordDivision;

/*
 * concord_event_hashes hashes the key of an event's row and, where the event
 * changed it, the key before (else 0), as concord.exception has them.  0: the
 * image has no key.
 */
extern void concord_event_hashes(const ConcordMapping *mapping,
								 const ConcordEvent *event, int32 *hash,
								 int32 *old_hash);

/*
 * concord_event_share says which of the shares an event is of.  *alone: it
 * concerns more than one, so all that is before must have ended before it
 * begins, and it before all that is after.
 */
extern int	concord_event_share(const ConcordMapping *mapping,
								const ConcordEvent *event, int shares,
								bool *alone);

extern bool concord_reached(const ConcordReached *reached, int64 seq);

/* concord_divisions_finished: one of them (of ConcordDivision *) has ended it. */
extern bool concord_divisions_finished(const List *divisions,
									   const ConcordMapping *mapping,
									   const ConcordEvent *event);

/*
 * These read concord.lane and need SPI: what a lane carries along of earlier
 * divisions, and all that a mapping's lanes have finished, NIL where it has not
 * begun.
 */
extern List *concord_division_past(int32 mapping, int share,
								   MemoryContext context);
extern List *concord_divisions_load(int32 mapping, MemoryContext context);

/*
 * concord_division_change divides a mapping anew.  The caller holds the leases
 * of all its lanes and is in a bookkeeping transaction.
 */
extern void concord_division_change(int32 mapping, int shares);

#endif							/* CONCORD_DELIVERY_DIVISION_H */
