/*-------------------------------------------------------------------------
 *
 * engine.c
 *	  One turn of a courier.
 *
 *		answers ──► send ──► read ──► map ──► send ──► commit ──► wait
 *
 * Answers come first and free places are filled at once, so the network works
 * while we read, map and commit.  Each step opens and ends its own short
 * transactions; none is open while we wait.  The wait ends with an answer, the
 * latch (new events, changed definitions), or the next thing that is due.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xlog.h"
#include "base/bookkeeping.h"
#include "base/settings.h"
#include "catalog/pg_type.h"
#include "connector/limits.h"
#include "delivery/work.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define ENG_WAIT_MOST_MS	1000
#define ENG_BOOK_WAIT_MS	2
#define ENG_UNIT_WAIT_MS	5
#define ENG_STOP_MS			2000	/* for what is under way at the end */

/*
 * eng_options_changed: a server, or credentials for one, changed.  Commits bump
 * the catalog generation a moment before they send invalidations, so a reload
 * may have come too early and seen the cached row.
 */
static void
eng_options_changed(Datum arg, int cache, uint32 hash)
{
	ConcordCourier *courier = (ConcordCourier *) DatumGetPointer(arg);

	courier->loaded = false;
	courier->options_changed = true;
}

/* eng_rights_changed: a role, a membership, a table or a server did. */
static void
eng_rights_changed(Datum arg, int cache, uint32 hash)
{
	((ConcordCourier *) DatumGetPointer(arg))->rights_changed = true;
}

/* eng_watch has a courier told what changes in catalogs. */
static void
eng_watch(ConcordCourier *courier)
{
	static const int options[] = {FOREIGNSERVEROID, USERMAPPINGOID};
	static const int rights[] = {
		AUTHOID, AUTHMEMROLEMEM, DATABASEOID, FOREIGNSERVEROID, RELOID,
		USERMAPPINGOID
	};

	for (int i = 0; i < lengthof(options); i++)
		CacheRegisterSyscacheCallback(options[i], eng_options_changed,
									  PointerGetDatum(courier));
	for (int i = 0; i < lengthof(rights); i++)
		CacheRegisterSyscacheCallback(rights[i], eng_rights_changed,
									  PointerGetDatum(courier));
}

/* concord_courier_create makes a courier that has not loaded anything yet. */
ConcordCourier *
concord_courier_create(ConcordDatabase *db, int index)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "concord courier",
												  ALLOCSET_DEFAULT_SIZES);
	ConcordCourier *courier = MemoryContextAllocZero(context,
													 sizeof(ConcordCourier));
	HASHCTL		ctl = {.keysize = sizeof(int32),.hcxt = context};
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(index)};

	courier->context = context;
	courier->turn = AllocSetContextCreate(context, "concord courier turn",
										  ALLOCSET_DEFAULT_SIZES);
	courier->db = db;
	courier->index = index;
	courier->http = concord_http_create(context);
	courier->owner = ResourceOwnerCreate(NULL, "concord courier");
	ctl.entrysize = sizeof(ConcordKnownRelation);
	courier->relations = hash_create("concord relations", 64, &ctl,
									 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	ctl.entrysize = sizeof(ConcordLanes);
	courier->by_mapping = hash_create("concord lanes", 256, &ctl,
									  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	courier->seen_seq = -1;
	dlist_init(&courier->systems);
	dlist_init(&courier->lanes);
	concord_work_init(courier);
	dlist_init(&courier->ended);
	eng_watch(courier);
	SetConfigOption("lock_timeout", "2s", PGC_SUSET, PGC_S_OVERRIDE);
	/* what is compiled here would run for a few rows */
	SetConfigOption("jit", "off", PGC_SUSET, PGC_S_OVERRIDE);

	concord_bookkeeping_begin();
	if (SPI_execute_with_args("DELETE FROM concord.system_state WHERE courier = $1",
							  1, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not empty concord.system_state");
	concord_bookkeeping_commit(false);
	return courier;
}

/* eng_forget_keys lets go of keys whose last commit is on disk. */
static void
eng_forget_keys(ConcordCourier *courier)
{
	XLogRecPtr	flushed = GetFlushRecPtr(NULL);

	/* about as their commits were; one that is out of place waits a moment */
	while (!dlist_is_empty(&courier->idle))
	{
		ConcordLane *lane = dlist_container(ConcordLane, has_idle.node,
											dlist_head_node(&courier->idle));

		concord_keys_forget_idle(lane, flushed);
		if (!dlist_is_empty(&lane->idle_keys))
			break;
		concord_place_leave(&lane->has_idle);
	}
}

/* eng_sooner brings a wait's end forward. */
static void
eng_sooner(TimestampTz *until, TimestampTz when)
{
	if (when >= 0 && when < *until)
		*until = when;
}

/*
 * eng_ready_due says when something that is ready for a system may be sent; -1:
 * unknown.
 */
static TimestampTz
eng_ready_due(ConcordCourier *courier, ConcordSystem *system)
{
	TimestampTz first = -1;
	TimestampTz asked;
	dlist_iter	iter;

	/* of one that is probed, what is under way comes first */
	if (dlist_is_empty(&system->ready) || system->held != NULL ||
		(system->breaker != CONCORD_BREAKER_CLOSED && system->in_flight > 0))
		return -1;
	asked = concord_breaker_asked(system, courier->now);
	if (asked < 0)
		return -1;
	dlist_foreach(iter, &system->ready)
	{
		const ConcordRoute *route = dlist_container(ConcordRoute, ready_place.node,
													iter.cur);
		TimestampTz due = Max(asked, Max(route->linger_until,
										 route->lane->hold_until));

		if (route->lane->state != CONCORD_LANE_OPEN)
			continue;
		first = first < 0 ? due : Min(first, due);
		if (first <= courier->now)
			break;
	}
	return first;
}

/* eng_held: nothing of a lane may go anywhere. */
static bool
eng_held(const ConcordLane *lane)
{
	return lane->state != CONCORD_LANE_OPEN ||
		(concord_lane_single(lane) && lane->own.system->held != NULL);
}

/* eng_fresh_due says when a lane's events may be mapped. */
static TimestampTz
eng_fresh_due(ConcordCourier *courier, const ConcordLane *lane)
{
	if (eng_held(lane))
		return -1;
	return Max(lane->barred ? courier->now + ENG_BOOK_WAIT_MS * INT64CONST(1000) : 0,
			   lane->hold_until);
}

/* eng_parked_due says when an exception may be tried; -1: unknown. */
static TimestampTz
eng_parked_due(ConcordCourier *courier, const ConcordLane *lane)
{
	TimestampTz next = concord_parked_next(lane);
	const ConcordSystem *system = lane->own.system;

	if (next < 0)
		return -1;
	if (!concord_lane_single(lane))
		return concord_parked_room(lane) ? next : -1;
	if (lane->nready > 0 || lane->nactive > 0 ||
		(system->breaker != CONCORD_BREAKER_CLOSED && system->in_flight > 0))
		return -1;
	return Max(next, concord_breaker_next(system, courier->now));
}

/* eng_unit_due says when to look whether a transaction may go; -1: unknown. */
static TimestampTz
eng_unit_due(ConcordCourier *courier, const ConcordLane *lane)
{
	TimestampTz due;

	/* its turn may depend on other lanes, and on capture */
	if (lane->own.system->unit != NULL)
		return -1;
	due = concord_breaker_asked(lane->own.system, courier->now);
	if (due < 0)
		return -1;
	return Max(Max(due, lane->own.system->unit_hold),
			   courier->now + ENG_UNIT_WAIT_MS * INT64CONST(1000));
}

/* eng_watched_due says when a lane that is watched has something to do again. */
static TimestampTz
eng_watched_due(ConcordCourier *courier, const ConcordLane *lane)
{
	TimestampTz due;

	if (eng_held(lane) || lane->nfresh > 0)
		return -1;
	due = lane->unit && lane->nready + lane->nwindow > 0 ?
		eng_unit_due(courier, lane) : eng_parked_due(courier, lane);
	return due < 0 ? -1 : Max(due, lane->hold_until);
}

/* eng_lanes_due brings a wait's end forward to when lanes have something to do. */
static void
eng_lanes_due(ConcordCourier *courier, TimestampTz *until, TimestampTz now)
{
	dlist_iter	iter;

	dlist_foreach(iter, &courier->fresh)
	{
		eng_sooner(until, eng_fresh_due(courier, dlist_container(ConcordLane, has_fresh.node, iter.cur)));
		if (*until <= now)
			return;
	}
	dlist_foreach(iter, &courier->linkless)
	{
		ConcordLane *lane = dlist_container(ConcordLane, has_linkless.node, iter.cur);

		if (!eng_held(lane) && !lane->unit && lane->nfresh == 0)
			eng_sooner(until, lane->hold_until);
		if (*until <= now)
			return;
	}
	dlist_foreach(iter, &courier->watched)
		eng_sooner(until, eng_watched_due(courier, dlist_container(ConcordLane, watched.node, iter.cur)));
}

/* eng_wait_ms says how long there is nothing to do. */
static int
eng_wait_ms(ConcordCourier *courier)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz until = now + ENG_WAIT_MOST_MS * INT64CONST(1000);
	dlist_iter	iter;

	if (concord_lanes_outdated(courier) || courier->look_for_starts ||
		(courier->more_events && courier->can_read))
		until = now;
	if (courier->look_for_starts)
		until = now + 1000;
	if (courier->nended > 0)
		eng_sooner(&until, now + ENG_BOOK_WAIT_MS * INT64CONST(1000));
	if (courier->barred)
		eng_sooner(&until, concord_barriers_next(courier));
	eng_sooner(&until, courier->chores_at);
	dlist_foreach(iter, &courier->systems)
	{
		ConcordSystem *system = dlist_container(ConcordSystem, node, iter.cur);

		if (!dlist_is_empty(&system->waiting) ||
			!dlist_is_empty(&system->waiting_groups))
			eng_sooner(&until, concord_breaker_asked(system, now));
		eng_sooner(&until, eng_ready_due(courier, system));
	}
	if (until > now)
		eng_lanes_due(courier, &until, now);
	if (until <= now)
		return 0;
	return (int) ((until - now + 999) / 1000);
}

/*
 * eng_send sends what is ready.  Where options or definitions have changed
 * meanwhile, the next turn reads them first: a change of a row that follows
 * ALTER SERVER goes by what that said.
 */
static void
eng_send(ConcordCourier *courier)
{
	if (!concord_lanes_outdated(courier))
		concord_send_ready(courier);
}

/* eng_steps does what there is to do. */
static void
eng_steps(ConcordCourier *courier)
{
	if (concord_lanes_outdated(courier))
		concord_lanes_reload(courier);
	if (courier->settings_at != PgReloadTime)
		courier->chores_at = courier->hold_check_at = courier->now;
	courier->settings_at = PgReloadTime;
	concord_chores(courier);
	if (courier->gone)
		return;
	concord_send_collect(courier);
	eng_send(courier);
	concord_http_drive(courier->http);
	concord_take_events(courier);
	concord_barriers_check(courier);
	concord_parked_activate(courier);
	concord_map(courier);
	eng_send(courier);
	concord_http_drive(courier->http);
	concord_clock_read(courier);
	concord_routes_move_held(courier);
	if (concord_book_wanted(courier))
	{
		concord_book_turn(courier);
		eng_send(courier);
	}
	concord_lanes_advance(courier);
	eng_forget_keys(courier);
}

/* concord_courier_turn does one turn and waits for the next. */
void
concord_courier_turn(ConcordCourier *courier)
{
	concord_clock_read(courier);
	MemoryContextSwitchTo(courier->turn);
	concord_clock_book(courier);
	eng_steps(courier);
	MemoryContextSwitchTo(courier->context);
	MemoryContextReset(courier->turn);
	if (courier->gone)
		return;
	concord_http_wait(courier->http, eng_wait_ms(courier), PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
}

/*
 * concord_courier_stop commits what has ended, when the process is asked to
 * leave.  What is under way has a moment to end; what does not is left to be
 * found out by the next one.
 */
void
concord_courier_stop(ConcordCourier *courier)
{
	TimestampTz deadline;

	concord_clock_read(courier);
	deadline = courier->now + ENG_STOP_MS * INT64CONST(1000);
	MemoryContextSwitchTo(courier->turn);
	for (;;)
	{
		concord_clock_read(courier);
		concord_send_collect(courier);
		concord_http_drive(courier->http);
		if (courier->in_flight == 0 || courier->now >= deadline)
			break;
		concord_http_wait(courier->http, ENG_BOOK_WAIT_MS * 10, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	if (courier->nended > 0)
		concord_book_turn(courier);
	concord_book_unreserve(courier, NULL);
	concord_bookkeeping_begin();
	concord_bookkeeping_commit(concord_limits_save_usage());
}

/*
 * concord_courier_left makes a courier that is not wanted any more drain its
 * lanes; true once it has none.
 */
bool
concord_courier_left(ConcordCourier *courier)
{
	dlist_iter	iter;

	dlist_foreach(iter, &courier->lanes)
		if (dlist_container(ConcordLane, node, iter.cur)->leased)
		return false;
	return courier->loaded && courier->in_flight == 0 && courier->nended == 0;
}
