/*-------------------------------------------------------------------------
 *
 * pending.h
 *	  Read the outbox on behalf of one mapping, from a backend.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_DELIVERY_PENDING_H
#define CONCORD_DELIVERY_PENDING_H

#include "base/compat.h"

#include "fmgr.h"

#include "catalog/mapping.h"
#include "delivery/division.h"
#include "outbox/read.h"

/* What a scan hands each event to; false ends the scan. */
typedef bool (*ConcordScanEvent) (const ConcordEvent *event, void *arg);

/*
 * concord_scan_events calls back for each event of the mapping's source after
 * a position, in order, up to the end of what is committed or last_seq.  Needs
 * SPI and an active snapshot.
 */
extern void concord_scan_events(const ConcordMapping *mapping, int64 after_seq,
								int64 last_seq, ConcordScanEvent callback,
								void *arg);

/* What a mapping's couriers have finished, as its rows of concord.lane say. */
typedef struct ConcordPosition
{
	bool		started;		/* there is a row */
	int64		cursor;			/* of the lane that is farthest behind */
	List	   *divisions;		/* of ConcordDivision * */
} ConcordPosition;

/* Needs SPI. */
extern void concord_position_load(int32 mapping, ConcordPosition *position);
extern bool concord_position_finished(const ConcordPosition *position,
									  const ConcordMapping *mapping,
									  const ConcordEvent *event);

/*
 * concord_scan_local_key gives the event's local key as the mapping room
 * writes it, or NULL where the image has not all of it.
 */
extern char *concord_scan_local_key(const ConcordMapping *mapping,
									const ConcordEvent *event);

/* admin.c: raises unless the current user may operate the mapping. */
extern void concord_operate_check(const ConcordMapping *mapping);

/*
 * concord_operate_mapping finds the mapping that argument arg of a SQL function
 * names; raises where there is none, or the caller may not operate it.
 */
extern ConcordMapping *concord_operate_mapping(FunctionCallInfo fcinfo, int arg);

#endif							/* CONCORD_DELIVERY_PENDING_H */
