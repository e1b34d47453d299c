/*-------------------------------------------------------------------------
 *
 * barrier.c
 *	  Events that concern more than one lane of a divided mapping.
 *
 * A change of key from one share to another, and a TRUNCATE, stand between all
 * that is before and all that is after, in every lane.  A lane that comes upon
 * one takes nothing more.  When its window is empty and that is written down,
 *
 *	- the lane whose event it is waits until all others are there, too, and no
 *	  exception of theirs is alive that holds one of the event's keys; then it
 *	  takes the event, and nothing behind it before its end is written down;
 *	- the others wait until that lane has gone beyond, and no exception of the
 *	  event is alive; then they go on.
 *
 * What one lane reads of another's row may not be on disk yet, so it is flushed
 * before the lane goes on: after a crash no lane stands before a barrier that
 * another has left.  Lanes look at each other's rows, at first every few
 * milliseconds, and the less often the longer they have waited: the system of
 * another may be down for hours.  A mapping whose keys change all the time is not
 * one to divide.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xlog.h"
#include "base/bookkeeping.h"
#include "capture/capture.h"
#include "catalog/pg_type.h"
#include "delivery/delivery.h"
#include "delivery/division.h"
#include "delivery/work.h"
#include "executor/spi.h"
#include "utils/timestamp.h"

#define BAR_LOOK_US		INT64CONST(5000)	/* between two looks, at least */
#define BAR_LOOK_MOST_US	INT64CONST(320000)	/* ... at most */
#define BAR_LOOK_PART	8		/* ... this part of what was waited already */

/* concord_barrier_reach notes that the next event concerns other lanes, too. */
void
concord_barrier_reach(ConcordLane *lane, const ConcordEvent *event, bool ours)
{
	int32		hash;
	int32		old_hash;

	concord_lane_watch(lane);
	lane->barrier = event->seq;
	lane->barrier_ours = ours;
	lane->barrier_open = false;
	lane->barrier_since = 0;
	lane->barrier_look_us = BAR_LOOK_US;
	lane->barrier_truncate = event->op == CONCORD_OP_TRUNCATE;
	concord_event_hashes(lane->definition->mapping, event, &hash, &old_hash);
	/* -1 is no exception's, while 0 says that there is no key */
	lane->barrier_hash[0] = hash != 0 ? hash : -1;
	lane->barrier_hash[1] = old_hash != 0 ? old_hash : -1;
	concord_lane_dirty(lane);
}

/* concord_barrier_settled: the lane's row says that it stands at its barrier. */
bool
concord_barrier_settled(const ConcordLane *lane)
{
	return lane->nwindow == 0 && lane->shown_cursor >= lane->read_pos &&
		!lane->dirty;
}

/* bar_ask runs a question about the other lanes. */
static bool
bar_ask(const ConcordLane *lane, const char *sql)
{
	Oid			types[] = {INT4OID, INT4OID, INT8OID, INT4OID, INT4OID};
	Datum		values[] = {
		Int32GetDatum(lane->id),
		Int32GetDatum(lane->share),
		Int64GetDatum(lane->barrier),
		Int32GetDatum(lane->barrier_hash[0]),
		Int32GetDatum(lane->barrier_hash[1])
	};
	bool		isnull;

	if (SPI_execute_with_args(sql, 5, types, values, NULL, true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read how far the lanes of mapping %d are", lane->id);
	return DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
									  SPI_tuptable->tupdesc, 1, &isnull));
}

#define BAR_HELD(which) \
	"NOT EXISTS (SELECT FROM concord.exception e WHERE e.mapping = $1 AND " which \
	"  AND e.state IN ('retry', 'waiting', 'blocked') AND NOT e.again" \
	"  AND (e.key_hash IN ($4, $5) OR e.old_hash IN ($4, $5)))"

/* All others are there, and hold none of the event's keys. */
static const char bar_gathered[] =
"SELECT NOT EXISTS (SELECT FROM concord.lane l WHERE l.mapping = $1 AND l.share <> $2 AND l.cursor < $3 - 1)"
" AND " BAR_HELD("e.seq < $3");

/* The lane whose event it is, share $2, has ended it. */
static const char bar_passed[] =
"SELECT EXISTS (SELECT FROM concord.lane l WHERE l.mapping = $1 AND l.cursor >= $3 AND l.share <> $2)"
" AND " BAR_HELD("e.seq = $3");

/* bar_look asks whether a lane may go on, and lets it. */
static void
bar_look(ConcordCourier *courier, ConcordLane *lane)
{
	bool		go;

	concord_bookkeeping_begin();
	go = bar_ask(lane, lane->barrier_ours ? bar_gathered : bar_passed);
	if (go && lane->barrier_truncate && !lane->barrier_ours)
		concord_parked_sync(courier, lane, false);
	concord_bookkeeping_commit(false);
	if (!go)
		return;
	XLogFlush(concord_wal_end());
	if (lane->barrier_ours)
		lane->barrier_open = true;
	else
	{
		lane->read_pos = lane->barrier;
		lane->barrier = 0;
		if (lane->reader != NULL)
			concord_outbox_seek(lane->reader, lane->read_pos);
	}
	concord_lane_dirty(lane);
	courier->more_events = courier->can_read = true;
}

/*
 * bar_next says when a lane at a barrier is to be looked at again.  One whose
 * window is not empty is woken by what is in it.
 */
static TimestampTz
bar_next(const ConcordCourier *courier, const ConcordLane *lane)
{
	if (lane->nwindow > 0)
		return courier->now + BAR_LOOK_MOST_US;
	if (lane->barrier_open || !concord_barrier_settled(lane))
		return courier->now + BAR_LOOK_US;
	return lane->barrier_at + lane->barrier_look_us;
}

/*
 * concord_barriers_check lets lanes go on that stand at a barrier.  Opens and
 * ends transactions of its own.
 */
void
concord_barriers_check(ConcordCourier *courier)
{
	dlist_iter	iter;

	courier->barred = false;
	dlist_foreach(iter, &courier->watched)
	{
		ConcordLane *lane = dlist_container(ConcordLane, watched.node, iter.cur);

		if (lane->state != CONCORD_LANE_OPEN || lane->barrier == 0)
			continue;
		if (lane->barrier_open)
		{
			/* it is ours, and taken: ended once the row says so */
			if (lane->read_pos >= lane->barrier && concord_barrier_settled(lane))
			{
				lane->barrier = 0;
				lane->barrier_open = false;
				courier->more_events = courier->can_read = true;
			}
		}
		else if (concord_barrier_settled(lane) &&
				 (courier->now < lane->barrier_at ||
				  courier->now - lane->barrier_at >= lane->barrier_look_us))
		{
			lane->barrier_at = courier->now;
			if (lane->barrier_since == 0)
				lane->barrier_since = courier->now;
			bar_look(courier, lane);
			lane->barrier_look_us =
				Max(BAR_LOOK_US, Min((courier->now - lane->barrier_since) / BAR_LOOK_PART,
									 BAR_LOOK_MOST_US));
		}
		if (lane->barrier != 0)
			courier->barred = true;
	}
}

/*
 * concord_barriers_next says when to look at the lanes that stand at a barrier.
 * To be asked at the end of a turn: what was written down in it may have been
 * all that was waited for.
 */
TimestampTz
concord_barriers_next(ConcordCourier *courier)
{
	TimestampTz next = courier->now + BAR_LOOK_MOST_US;
	dlist_iter	iter;

	if (!courier->barred)
		return next;
	dlist_foreach(iter, &courier->watched)
	{
		ConcordLane *lane = dlist_container(ConcordLane, watched.node, iter.cur);

		if (lane->state == CONCORD_LANE_OPEN && lane->barrier != 0)
			next = Min(next, bar_next(courier, lane));
	}
	return next;
}

/* concord_barrier_takes: the lane may take an event at or before a barrier. */
bool
concord_barrier_takes(const ConcordLane *lane)
{
	return lane->barrier == 0 ||
		(lane->barrier_open && lane->read_pos < lane->barrier);
}
