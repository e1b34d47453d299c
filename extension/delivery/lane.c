/*-------------------------------------------------------------------------
 *
 * lane.c
 *	  Lanes: the life of a mapping in a courier.
 *
 *		closed ──► unstarted ──► open ──► draining ──► closed
 *		   └───────────────────────▲
 *
 * A courier serves the mappings whose id modulo pg_concord.couriers is its own
 * number, and holds a lease of each (lease.c), so that two couriers never serve
 * one, whatever the setting does in between.  A lane opens where its row says;
 * a mapping without a row is unstarted until capture has met its start in the
 * log (concord.lane_start).
 *
 * Any change of a mapping (new version, other server or definer, pause) drains
 * its lane: nothing new is sent, what is under way ends and is committed, all
 * else is forgotten and read again.  So nothing in memory outlives the
 * definition that it was made with.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "base/bookkeeping.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "catalog/ownership.h"
#include "catalog/pg_type.h"
#include "delivery/delivery.h"
#include "delivery/division.h"
#include "delivery/lease.h"
#include "delivery/work.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define LANE_LEAD			8192	/* events that the head reads for others
									 * only */
#define LANE_ERROR_MAX		1000
#define LANE_PATIENCE_US	INT64CONST(500000)	/* with a courier that is away */

/* concord_lanes_of gives the lanes that this courier has of a mapping. */
dlist_head *
concord_lanes_of(ConcordCourier *courier, int32 id)
{
	static dlist_head none = DLIST_STATIC_INIT(none);
	ConcordLanes *lanes = hash_search(courier->by_mapping, &id, HASH_FIND, NULL);

	return lanes != NULL ? &lanes->lanes : &none;
}

/*
 * concord_lane_find finds a lane of a mapping, or NULL; share -1: any, rather
 * one that this courier is to serve.
 */
ConcordLane *
concord_lane_find(ConcordCourier *courier, int32 id, int share)
{
	ConcordLane *found = NULL;
	dlist_iter	iter;

	dlist_foreach(iter, concord_lanes_of(courier, id))
	{
		ConcordLane *lane = dlist_container(ConcordLane, mapping_node, iter.cur);

		if (share >= 0 && lane->share != share)
			continue;
		if (found == NULL || lane->home)
			found = lane;
	}
	return found;
}

/* lane_create makes a lane that is closed. */
static ConcordLane *
lane_create(ConcordCourier *courier, int32 id, int share)
{
	MemoryContext context = AllocSetContextCreate(courier->context,
												  "concord lane",
												  ALLOCSET_SMALL_SIZES);
	ConcordLane *lane = MemoryContextAllocZero(context, sizeof(ConcordLane));
	ConcordLanes *lanes;
	bool		found;

	lanes = hash_search(courier->by_mapping, &id, HASH_ENTER, &found);
	if (!found)
		dlist_init(&lanes->lanes);
	dlist_push_tail(&lanes->lanes, &lane->mapping_node);
	lane->courier = courier;
	lane->id = id;
	lane->share = share;
	lane->context = context;
	lane->memory = AllocSetContextCreate(context, "concord lane's window",
										 ALLOCSET_START_SMALL_SIZES);
	dlist_init(&lane->routes);
	lane->own.lane = lane;
	dlist_init(&lane->own.ready);
	dlist_push_tail(&lane->routes, &lane->own.node);
	dlist_init(&lane->sources);
	dlist_push_tail(&courier->lanes, &lane->node);
	concord_place_enter(&courier->busy, &lane->busy);
	concord_lane_watch(lane);
	courier->nlanes++;
	return lane;
}

/* lane_copy copies a text, cut between characters. */
static void
lane_copy(char *to, Size size, const char *text)
{
	strlcpy(to, text, size);
	to[pg_mbcliplen(to, strlen(to), size - 1)] = '\0';
}

/* concord_lane_error notes what failed last, for view status. */
void
concord_lane_error(ConcordCourier *courier, ConcordLane *lane,
				   const char *message)
{
	if (lane->last_error != NULL)
		pfree(lane->last_error);
	lane->last_error = MemoryContextAlloc(lane->context, LANE_ERROR_MAX);
	lane_copy(lane->last_error, LANE_ERROR_MAX, message);
	lane->last_error_at = courier->now;
	concord_lane_dirty(lane);
}

/*
 * concord_lane_fails notes that nothing of a lane can be delivered, through no
 * fault of a record; if that goes on, chores.c says that the mapping is broken.
 */
void
concord_lane_fails(ConcordCourier *courier, ConcordLane *lane,
				   const char *message)
{
	concord_lane_error(courier, lane, message);
	if (lane->failing_since == 0)
		lane->failing_since = courier->now;
	lane_copy(lane->failure, sizeof(lane->failure), message);
}

/* concord_lane_lease takes or gives back a lane; false where it could not. */
bool
concord_lane_lease(ConcordLane *lane, bool take)
{
	if (lane->leased == take)
		return true;
	if (!take)
		concord_lease_give(lane->id, lane->share);
	else if (!concord_lease_take(lane->id, lane->share))
		return false;
	lane->leased = take;
	return true;
}

/*
 * concord_lane_lease_all takes all shares of a mapping but the first, which the
 * caller has, and those that lanes of this courier have: nobody else serves it
 * then.  Gives them back where one is not to be had.
 */
bool
concord_lane_lease_all(ConcordCourier *courier, int32 id, bool take)
{
	for (int share = 1; share < CONCORD_MAX_COURIERS; share++)
	{
		ConcordLane *lane = concord_lane_find(courier, id, share);

		if (lane != NULL && lane->leased)
			continue;
		if (!take)
			concord_lease_give(id, share);
		else if (!concord_lease_take(id, share))
		{
			while (--share > 0)
			{
				lane = concord_lane_find(courier, id, share);
				if (lane == NULL || !lane->leased)
					concord_lease_give(id, share);
			}
			return false;
		}
	}
	return true;
}

/* lane_changed: what the lane works with is not what the catalog says. */
static bool
lane_changed(const ConcordLane *lane, const ConcordMapping *m)
{
	const ConcordMapping *old = lane->definition->mapping;

	return old->version != m->version || old->serverid != m->serverid ||
		old->definer != m->definer || old->source != m->source ||
		strcmp(old->object, m->object) != 0 ||
		strcmp(old->search_path, m->search_path) != 0 ||
		!concord_ownership_same(old, m);
}

/* lane_reset empties a lane's memory. */
static void
lane_reset(ConcordLane *lane)
{
	concord_lane_leaves_lists(lane);
	if (lane->definition != NULL)
	{
		lane->definition->refs = 1; /* what batches held goes with memory */
		concord_definition_release(lane->definition);
		lane->definition = NULL;
	}
	MemoryContextReset(lane->memory);
	dlist_init(&lane->window);
	dlist_init(&lane->fresh);
	dlist_init(&lane->linkless);
	dlist_init(&lane->parked);
	dlist_init(&lane->idle_keys);
	lane->nwindow = lane->nwindow_ended = lane->nfresh = lane->nready = 0;
	lane->nparked = lane->nactive = 0;
	lane->nresyncs = 0;
	lane->ahead = NULL;
	lane->depends_seen = NULL;
	lane->past = NIL;
	lane->shares = 1;
	lane->barrier = 0;
	lane->barrier_open = false;
	lane->window_bytes = 0;
	lane->reader = NULL;
	lane->due = NULL;
	lane->keys = NULL;
	lane->nfinished = 0;
	lane->finished = NULL;
	lane->hold_until = 0;
	lane->whole = lane->whole_next = InvalidXLogRecPtr;
	lane->whole_seq = 0;
	lane->dirty = false;
}

/* lane_close ends a lane that has nothing under way. */
static void
lane_close(ConcordLane *lane)
{
	lane_reset(lane);
	concord_routes_close(lane);
	lane->state = CONCORD_LANE_CLOSED;
}

/* concord_lane_drain makes an open lane end. */
void
concord_lane_drain(ConcordLane *lane)
{
	if (lane->state == CONCORD_LANE_OPEN)
	{
		concord_lane_wake(lane);
		concord_lane_watch(lane);
		lane->state = CONCORD_LANE_DRAINING;
	}
	else if (lane->state == CONCORD_LANE_UNSTARTED)
		lane_close(lane);
}

/* ---------------------------------------------------------------------
 * opening
 * ------------------------------------------------------------------- */

/* lane_read_done reads the ranges that are finished beyond the cursor. */
static void
lane_read_done(ConcordLane *lane)
{
	Oid			types[] = {INT4OID, INT4OID};
	Datum		values[] = {Int32GetDatum(lane->id), Int32GetDatum(lane->share)};
	bool		isnull;

	if (SPI_execute_with_args("SELECT pg_catalog.lower(r), pg_catalog.upper(r)"
							  "  FROM concord.lane l, pg_catalog.unnest(l.done) r"
							  " WHERE l.mapping = $1 AND l.share = $2 ORDER BY 1",
							  2, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.lane");
	lane->nfinished = (int) SPI_processed;
	lane->finished = MemoryContextAlloc(lane->memory,
										sizeof(int64) * 2 * Max(lane->nfinished, 1));
	for (int i = 0; i < lane->nfinished; i++)
		for (int j = 0; j < 2; j++)
			lane->finished[2 * i + j] =
				DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i],
											SPI_tuptable->tupdesc, j + 1, &isnull));
}

typedef enum LaneRow
{
	LANE_ROW_NONE,				/* its mapping has not begun */
	LANE_ROW_OTHER,				/* of another division */
	LANE_ROW_READ,
} LaneRow;

/* lane_read_row reads a lane's position. */
static LaneRow
lane_read_row(ConcordLane *lane)
{
	Oid			types[] = {INT4OID, INT4OID};
	Datum		values[] = {Int32GetDatum(lane->id), Int32GetDatum(lane->share)};
	HeapTuple	tuple;
	bool		isnull;

	if (SPI_execute_with_args("SELECT cursor, sent_up_to, shares FROM concord.lane"
							  " WHERE mapping = $1 AND share = $2",
							  2, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.lane");
	if (SPI_processed == 0)
		return LANE_ROW_NONE;
	tuple = SPI_tuptable->vals[0];
	lane->shares = DatumGetInt32(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 3,
											   &isnull));
	if (lane->shares != lane->definition->mapping->options.couriers)
		return LANE_ROW_OTHER;
	lane->read_pos = DatumGetInt64(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1,
												 &isnull));
	lane->sent_limit = DatumGetInt64(SPI_getbinval(tuple, SPI_tuptable->tupdesc,
												   2, &isnull));
	lane->max_done = lane->shown_cursor = lane->read_pos;
	lane->recovered_to = Min(lane->sent_limit, concord_outbox_last_seq());
	lane->sent_max = lane->recovered_to;
	lane_read_done(lane);
	lane->past = concord_division_past(lane->id, lane->share, lane->memory);
	return LANE_ROW_READ;
}

/*
 * lane_divide makes the division of the lane's mapping what its definition
 * says.  The first lane does that, once all others have drained.
 */
static LaneRow
lane_divide(ConcordCourier *courier, ConcordLane *lane)
{
	dlist_iter	iter;

	if (lane->share != 0)
		return LANE_ROW_OTHER;
	dlist_foreach(iter, concord_lanes_of(courier, lane->id))
	{
		ConcordLane *other = dlist_container(ConcordLane, mapping_node, iter.cur);

		if (other != lane && other->state != CONCORD_LANE_CLOSED)
			return LANE_ROW_OTHER;
	}
	if (!concord_lane_lease_all(courier, lane->id, true))
		return LANE_ROW_OTHER;
	concord_division_change(lane->id, lane->definition->mapping->options.couriers);
	concord_catalog_changed();
	return lane_read_row(lane);
}

/*
 * lane_lead has the head go on from where a lane begins that is far ahead of it;
 * all others catch up by themselves.  One that is not far waits for the head.
 */
static void
lane_lead(ConcordCourier *courier, ConcordLane *lane)
{
	if (courier->head_pos > 0 &&
		lane->read_pos <= courier->head_pos + LANE_LEAD)
		return;
	concord_lanes_wake(courier);
	courier->head_pos = Max(courier->head_pos, lane->read_pos);
	if (courier->head != NULL)
		concord_outbox_seek(courier->head, courier->head_pos);
}

/*
 * lane_open starts a lane from its row.  Without one it stays unstarted; only
 * the first of a mapping's lanes does, the others look again.  So does one
 * whose row is of another division.
 */
static void
lane_open(ConcordCourier *courier, ConcordLane *lane)
{
	LaneRow		row;
	bool		divided = false;

	concord_bookkeeping_begin();
	row = lane_read_row(lane);
	if (row == LANE_ROW_OTHER)
	{
		row = lane_divide(courier, lane);
		divided = row != LANE_ROW_OTHER;
	}
	if (row == LANE_ROW_OTHER || (row == LANE_ROW_NONE && lane->share > 0))
	{
		concord_bookkeeping_commit(false);
		lane_close(lane);
		if (lane->share > 0)
			concord_lane_lease(lane, false);
		return;
	}
	if (row == LANE_ROW_READ)
	{
		concord_keys_create(lane);
		concord_parked_init(lane);
		concord_parked_sync(courier, lane, true);
		concord_sources_add(lane);
		lane->state = CONCORD_LANE_OPEN;
		lane_lead(courier, lane);
		courier->more_events = true;
	}
	else
	{
		lane->state = CONCORD_LANE_UNSTARTED;
		courier->look_for_starts = true;
	}
	concord_bookkeeping_commit(divided);
	if (divided)
		concord_lane_lease_all(courier, lane->id, false);
}

/* lane_define has a lane go by what its mapping is now. */
static void
lane_define(ConcordLane *lane, const char *name)
{
	ConcordDefinition *definition = concord_definition_create(name);

	lane->definition = definition;
	lane->unit = definition->mapping->options.unit;
	lane->routed = definition->mapping->options.route != NULL;
	/* the link knows what the event may not: filter, server, version */
	lane->use_links = !definition->mapping->options.replay_events ||
		definition->mapping->options.suppress_unchanged ||
		definition->mapping->written ||
		((definition->mapping->filter != NULL || lane->routed) &&
		 OidIsValid(definition->mapping->source));
}

/* lane_note_denial remembers which right is missing; chores.c tells it. */
static void
lane_note_denial(ConcordLane *lane, const char *denial)
{
	lane->denied = denial != NULL;
	lane_copy(lane->denial, sizeof(lane->denial), denial ? denial : "");
}

/*
 * lane_tell_failure shows what keeps a lane from opening: one that is closed
 * has nothing else to book.  A lane without a row yet tells it with its start.
 */
static void
lane_tell_failure(ConcordCourier *courier, ConcordLane *lane, const char *failure)
{
	Oid			types[] = {INT4OID, TEXTOID, INT4OID};
	Datum		values[3];

	concord_lane_fails(courier, lane, failure);
	concord_bookkeeping_begin();
	values[0] = Int32GetDatum(lane->id);
	values[1] = CStringGetTextDatum(lane->last_error);
	values[2] = Int32GetDatum(lane->share);
	if (SPI_execute_with_args("UPDATE concord.lane SET last_error = $2,"
							  "    last_error_at = pg_catalog.now()"
							  " WHERE mapping = $1 AND share = $3",
							  3, types, values, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not tell what keeps mapping %d from being delivered",
			 lane->id);
	concord_bookkeeping_commit(false);
	MemoryContextSwitchTo(courier->turn);
}

/* lane_refresh brings one lane in line with its mapping. */
static void
lane_refresh(ConcordCourier *courier, ConcordLane *lane, List **known,
			 const ConcordMapping *m)
{
	ConcordAccess *access;
	char	   *denial;
	char	   *failure;

	if (!lane->wanted || lane->restarting ||
		lane->state == CONCORD_LANE_DRAINING || !concord_lane_lease(lane, true))
		return;
	access = concord_access_get(courier, known, m, m->serverid, &denial, &failure);
	lane_note_denial(lane, denial);
	if (access == NULL)
	{
		if (failure != NULL)
			lane_tell_failure(courier, lane, failure);
		concord_lane_drain(lane);
		return;
	}
	if (lane->state == CONCORD_LANE_CLOSED)
	{
		lane->failing_since = 0;
		lane_define(lane, m->name);
		concord_route_use(courier, &lane->own, access);
		lane_open(courier, lane);
		return;
	}
	concord_route_use(courier, &lane->own, access);
	concord_routes_refresh(courier, lane, known);
	if (lane->state == CONCORD_LANE_OPEN &&
		(lane->stored_parked || lane->nparked > 0))
	{
		concord_bookkeeping_begin();
		concord_parked_sync(courier, lane, false);
		concord_bookkeeping_commit(false);
	}
}

/* lane_forget gives up the lane of a mapping that is gone. */
static void
lane_forget(ConcordCourier *courier, ConcordLane *lane)
{
	concord_lane_lease(lane, false);
	dlist_delete(&lane->node);
	dlist_delete(&lane->mapping_node);
	concord_lane_leaves_lists(lane);
	concord_place_leave(&lane->watched);
	concord_place_leave(&lane->busy);
	if (dlist_is_empty(concord_lanes_of(courier, lane->id)))
		hash_search(courier->by_mapping, &lane->id, HASH_REMOVE, NULL);
	courier->nlanes--;
	MemoryContextDelete(lane->context);
}

/*
 * lane_home says whether this courier serves a share of a mapping: the one whose
 * number is the mapping's id plus the share, modulo their number, or the next
 * one that runs.
 */
static bool
lane_home(const ConcordCourier *courier, int32 id, int share)
{
	for (int i = 0; i < courier->couriers; i++)
	{
		int			c = (id + share + i) % courier->couriers;

		if (c == courier->index)
			return true;
		if ((courier->alive & (1U << c)) != 0)
			return false;
	}
	return false;
}

/*
 * lane_alive says which couriers run.  One that has gone is waited for, for a
 * moment: mostly it comes back.
 */
static uint32
lane_alive(ConcordCourier *courier)
{
	uint32		alive = 0;

	for (int i = 0; i < Min(concord_couriers, CONCORD_MAX_COURIERS); i++)
	{
		TimestampTz *missed = &courier->missed[i];

		if (courier->db->workers[CONCORD_WORKER_COURIER + i].pid != 0)
			*missed = 0;
		else if (*missed == 0)
			*missed = courier->now;
		if (*missed == 0 || courier->now - *missed < LANE_PATIENCE_US)
			alive |= 1U << i;
	}
	return alive;
}

/* concord_lanes_outdated: definitions, or who serves what, have changed. */
bool
concord_lanes_outdated(ConcordCourier *courier)
{
	return !courier->loaded || courier->couriers != concord_couriers ||
		courier->generation != pg_atomic_read_u64(&courier->db->catalog_generation) ||
		courier->alive != lane_alive(courier);
}

/* lane_want finds, or makes, the lane of a share that this courier serves. */
static void
lane_want(ConcordCourier *courier, const ConcordMapping *m, int share)
{
	ConcordLane *lane = concord_lane_find(courier, m->id, share);

	/* what goes in units of one server is in one courier */
	bool		home = lane_home(courier, m->options.unit ?
								 (int32) (m->serverid & 0xFFFFFF) : m->id, share);

	if (lane == NULL && home)
		lane = lane_create(courier, m->id, share);
	if (lane == NULL)
		return;
	lane->home = home;
	lane->unit_server = m->options.unit ? m->serverid : InvalidOid;
	lane->unit_definer = m->definer;
	lane->wanted = home && m->state == CONCORD_MAPPING_ACTIVE &&
		strcmp(m->push, "event") == 0;
}

/* lane_survey marks which lanes are wanted and drains those that changed. */
static void
lane_survey(ConcordCourier *courier, List *mappings)
{
	dlist_iter	iter;
	ListCell   *lc;

	dlist_foreach(iter, &courier->lanes)
	{
		ConcordLane *lane = dlist_container(ConcordLane, node, iter.cur);

		lane->wanted = lane->home = false;
		lane->gone = true;
		if (lane->state != CONCORD_LANE_OPEN)
			concord_lane_watch(lane);
	}
	courier->units = false;
	foreach(lc, mappings)
	{
		ConcordMapping *m = lfirst(lc);

		courier->units |= m->options.unit;
		for (int share = 0; share < m->options.couriers; share++)
			lane_want(courier, m, share);
		dlist_foreach(iter, concord_lanes_of(courier, m->id))
		{
			ConcordLane *lane = dlist_container(ConcordLane, mapping_node, iter.cur);

			lane->gone = false;
			if (lane->definition != NULL && lane->state != CONCORD_LANE_CLOSED &&
				(lane_changed(lane, m) ||
				 (lane->definition->compiled != NULL &&
				  concord_mapping_children_changed(lane->definition->compiled,
												   mappings))))
				concord_lane_drain(lane);
		}
	}
	dlist_foreach(iter, &courier->lanes)
	{
		ConcordLane *lane = dlist_container(ConcordLane, node, iter.cur);

		if (!lane->wanted)
			concord_lane_drain(lane);
	}
}

/* lane_options_changed has systems that are down tried at once. */
static void
lane_options_changed(ConcordCourier *courier)
{
	dlist_iter	iter;

	if (!courier->options_changed)
		return;
	courier->options_changed = false;
	dlist_foreach(iter, &courier->systems)
		concord_breaker_hurry(dlist_container(ConcordSystem, node, iter.cur));
}

/*
 * concord_lanes_reload reads all mappings and brings the lanes in line.  Opens
 * and ends transactions of its own.
 */
void
concord_lanes_reload(ConcordCourier *courier)
{
	MemoryContext catalog = AllocSetContextCreate(courier->context,
												  "concord mappings",
												  ALLOCSET_DEFAULT_SIZES);
	List	   *mappings;
	List	   *known = NIL;
	ListCell   *lc;

	courier->generation = pg_atomic_read_u64(&courier->db->catalog_generation);
	courier->loaded = true;
	courier->couriers = concord_couriers;
	courier->alive = lane_alive(courier);
	lane_options_changed(courier);
	concord_bookkeeping_begin();
	mappings = concord_mapping_load(catalog);
	concord_bookkeeping_commit(false);
	MemoryContextSwitchTo(courier->turn);
	if (courier->catalog != NULL)
		MemoryContextDelete(courier->catalog);
	courier->catalog = catalog;
	courier->mappings = mappings;

	lane_survey(courier, mappings);
	/* a lane that waits for its start must not open from its old row again */
	concord_bookkeeping_begin();
	concord_bookkeeping_commit(concord_lanes_start(courier));
	concord_bookkeeping_begin();
	concord_parked_survey(courier);
	concord_bookkeeping_commit(false);
	MemoryContextSwitchTo(courier->turn);
	foreach(lc, mappings)
	{
		ConcordMapping *m = lfirst(lc);

		for (int share = 0; share < m->options.couriers; share++)
		{
			ConcordLane *lane = concord_lane_find(courier, m->id, share);

			if (lane != NULL)
				lane_refresh(courier, lane, &known, m);
		}
	}
	concord_access_forget(known);
	concord_bookkeeping_begin();
	concord_systems_check(courier);
	concord_bookkeeping_commit(false);
}

/*
 * concord_lanes_advance closes the lanes that have drained, after a commit of
 * all that has ended, and has them loaded again.
 */
void
concord_lanes_advance(ConcordCourier *courier)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &courier->watched)
	{
		ConcordLane *lane = dlist_container(ConcordLane, watched.node, iter.cur);

		if (lane->state == CONCORD_LANE_DRAINING && lane->in_flight == 0)
		{
			if (courier->nended > 0 || lane->dirty)
				concord_book_turn(courier);
			concord_book_unreserve(courier, lane);
			lane_close(lane);
			courier->loaded = false;
		}
		if (lane->state == CONCORD_LANE_CLOSED && !lane->wanted)
			concord_lane_lease(lane, false);
		if (lane->state == CONCORD_LANE_CLOSED && lane->gone)
			lane_forget(courier, lane);
		else
			concord_lane_unwatch(lane);
	}
}
