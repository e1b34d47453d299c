/*-------------------------------------------------------------------------
 *
 * lanerow.h
 *	  Rows of concord.lane, written past the executor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_DELIVERY_LANEROW_H
#define CONCORD_DELIVERY_LANEROW_H

#include "base/compat.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "delivery/delivery.h"
#include "executor/tuptable.h"

/* Columns of concord.lane. */
enum
{
	CONCORD_LANE_MAPPING,
	CONCORD_LANE_SHARE,
	CONCORD_LANE_SHARES,
	CONCORD_LANE_CURSOR,
	CONCORD_LANE_DONE,
	CONCORD_LANE_SENT_UP_TO,
	CONCORD_LANE_PAST,
	CONCORD_LANE_PAST_TO,
	CONCORD_LANE_DELIVERED,
	CONCORD_LANE_UNCHANGED,
	CONCORD_LANE_SKIPPED,
	CONCORD_LANE_RETRIED,
	CONCORD_LANE_DIED,
	CONCORD_LANE_LAST_DONE_AT,
	CONCORD_LANE_LAST_ERROR,
	CONCORD_LANE_LAST_ERROR_AT,
	CONCORD_LANE_STARTED_AT,
	CONCORD_LANE_NCOLUMNS
};

/* The table while rows of it are written. */
typedef struct ConcordLaneRows
{
	Relation	rel;			/* NULL: not open */
	bool		plain;			/* nothing but its columns and key is to be
								 * minded */
	BlockNumber nblocks;		/* when it was opened */
	Relation	index;			/* of the primary key; NULL: not needed yet */
	IndexScanDesc scan;
	struct IndexFetchTableData *fetch;
	TupleTableSlot *old;
	TupleTableSlot *new;
} ConcordLaneRows;

/*
 * concord_lane_row_write updates a lane's row, in a bookkeeping transaction:
 * change sets the values that are to be others.  False where somebody else has
 * just written it, or the table is not as it was made: nothing was done, and the
 * executor can do it.  A row that is not there is as good as written.  rows is
 * all zeros at first.
 */
extern bool concord_lane_row_write(ConcordLaneRows *rows, ConcordLane *lane,
								   void (*change) (ConcordLane *lane,
												   Datum *values, bool *nulls,
												   void *arg),
								   void *arg);
extern void concord_lane_rows_end(ConcordLaneRows *rows);

/* concord_lane_row_done sets column done from the text of an int8multirange. */
extern void concord_lane_row_done(Datum *values, const char *text);

#endif							/* CONCORD_DELIVERY_LANEROW_H */
