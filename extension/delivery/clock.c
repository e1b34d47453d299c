/*-------------------------------------------------------------------------
 *
 * clock.c
 *	  A courier's time, and what is done when the machine's clock is set.
 *
 * Times here are those of the wall clock, because people and other processes
 * read and write them in tables.  A clock that is set back by hours would
 * leave retries, breakers and chores waiting for hours; one that is set forward
 * would make outages out of moments.  So each turn compares the wall clock with
 * one that does not jump, and a difference is added to all times that the
 * courier keeps, and to those of its retries in the table.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <math.h>

#include "base/bookkeeping.h"
#include "base/clock.h"
#include "catalog/pg_type.h"
#include "delivery/book.h"
#include "delivery/delivery.h"
#include "utils/timestamp.h"

/* Smaller corrections do no harm. */
#define CLOCK_JUMP_US		(5 * INT64CONST(1000000))
/* What is due later than this (Retry-After goes up to a day) is a mistake. */
#define CLOCK_FAR_US		(25 * 3600 * INT64CONST(1000000))

static ConcordBookStatement clk_retries = {
	"UPDATE concord.exception e SET next_try = v.next_try"
	"  FROM unnest($1, $2) AS v (delivery, next_try)"
	" WHERE e.delivery = v.delivery AND e.next_try IS NOT NULL",
	{INT8ARRAYOID, TIMESTAMPTZARRAYOID}
};

/* clk_move moves one time; 0 stands for none. */
static void
clk_move(TimestampTz *time, int64 by)
{
	if (*time > 0)
		*time = Max(*time + by, 1);
}

/* clk_system moves the times of a system. */
static void
clk_system(ConcordSystem *system, int64 by)
{
	/* those of its breaker are of the steady clock, see http/account.h */
	clk_move(&system->shown_at, by);
	system->dirty = true;
}

/*
 * clk_lane moves the times of a lane.  The order of its heap stays, since all
 * in it move by the same.
 */
static void
clk_lane(ConcordLane *lane, int64 by)
{
	dlist_iter	iter;

	clk_move(&lane->failing_since, by);
	clk_move(&lane->heal_at, by);
	clk_move(&lane->hold_until, by);
	clk_move(&lane->barrier_at, by);
	clk_move(&lane->barrier_since, by);
	dlist_foreach(iter, &lane->routes)
	{
		ConcordRoute *route = dlist_container(ConcordRoute, node, iter.cur);

		clk_move(&route->group_cap_until, by);
		clk_move(&route->probed_at, by);
	}
	if (lane->state != CONCORD_LANE_OPEN)
		return;
	dlist_foreach(iter, &lane->parked)
		clk_move(&dlist_container(ConcordParked, node, iter.cur)->due, by);
	/* how long a transaction has waited for a record, against wait_limit */
	dlist_foreach(iter, &lane->window)
	{
		ConcordDelivery *d = dlist_container(ConcordDelivery, window_node, iter.cur);

		clk_move(&d->taken_at, by);
		clk_move(&d->unit_wait, by);
	}
}

/* clk_jumped moves everything. */
static void
clk_jumped(ConcordCourier *courier, int64 by)
{
	dlist_iter	iter;

	ereport(LOG,
			(errmsg("the clock was set %s by %.0f s", by < 0 ? "back" : "forward",
					fabs((double) by) / 1000000),
			 errdetail("Retries and waits of this courier go on as if it had not been.")));
	dlist_foreach(iter, &courier->systems)
		clk_system(dlist_container(ConcordSystem, node, iter.cur), by);
	dlist_foreach(iter, &courier->lanes)
		clk_lane(dlist_container(ConcordLane, node, iter.cur), by);
	clk_move(&courier->ended_since, by);
	clk_move(&courier->booked_at, by);
	clk_move(&courier->swept_at, by);
	for (int i = 0; i < CONCORD_MAX_COURIERS; i++)
		clk_move(&courier->missed[i], by);
	courier->chores_at = courier->review_at = courier->hold_check_at = 0;
	courier->clock_jumped = true;
}

/* clk_write writes when the retries of a lane are due now. */
static void
clk_write(ConcordLane *lane)
{
	ConcordBookRows rows = {0};
	dlist_iter	iter;

	concord_book_begin(&rows, &clk_retries, Max(lane->nparked, 1));
	dlist_foreach(iter, &lane->parked)
	{
		ConcordParked *p = dlist_container(ConcordParked, node, iter.cur);

		if (p->due <= 0 || p->dead || p->active != NULL)
			continue;
		concord_book_put(&rows, 0, Int64GetDatum(p->delivery), false);
		concord_book_put(&rows, 1, TimestampTzGetDatum(p->due), false);
		rows.n++;
	}
	concord_book_run(&rows);
}

/* concord_clock_read sets courier->now. */
void
concord_clock_read(ConcordCourier *courier)
{
	TimestampTz wall = GetCurrentTimestamp();
	int64		steady = concord_clock_steady();
	int64		by = (wall - courier->now) - (steady - courier->clock_steady);

	if (courier->clock_steady != 0 && llabs(by) > CLOCK_JUMP_US)
		clk_jumped(courier, by);
	courier->now = wall;
	courier->clock_steady = steady;
}

/* concord_clock_book writes what a jump has changed, at the start of a turn. */
void
concord_clock_book(ConcordCourier *courier)
{
	dlist_iter	iter;

	if (!courier->clock_jumped)
		return;
	courier->clock_jumped = false;
	concord_bookkeeping_begin();
	MemoryContextSwitchTo(courier->turn);
	dlist_foreach(iter, &courier->lanes)
	{
		ConcordLane *lane = dlist_container(ConcordLane, node, iter.cur);

		if (lane->state == CONCORD_LANE_OPEN && lane->nparked > 0)
			clk_write(lane);
	}
	concord_bookkeeping_commit(false);
	MemoryContextSwitchTo(courier->turn);
}

/*
 * concord_clock_far says whether a time read from a table cannot be meant: the
 * clock was set back while nobody was looking.
 */
bool
concord_clock_far(const ConcordCourier *courier, TimestampTz due)
{
	return due - courier->now > CLOCK_FAR_US;
}
