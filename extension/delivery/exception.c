/*-------------------------------------------------------------------------
 *
 * exception.c
 *	  Live rows of concord.exception in a courier's memory ("parked").
 *
 * A parked one is small: number, position, keys, when it is due.  Its event
 * stays in the table and is read when its time has come, so ten thousand
 * failing deliveries cost little.  Beyond CONCORD_PARKED_LIMIT the lane takes
 * nothing new from the outbox (window.c), which bounds table and memory alike.
 *
 * Who holds what:
 *	- retry, blocked: holds its ordering key; later events of the key wait.
 *	- dead: holds nothing, unless the mapping's on_dead says block.
 *	- again (retry_dead, replay): of a mapping that replays state it holds
 *	  nothing while it waits, because link.c drops it when something newer has
 *	  been delivered; of one that replays events it holds its key.
 * Only those that are first for all of their keys stand in the heap of due
 * times.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/bookkeeping.h"
#include "catalog/pg_type.h"
#include "delivery/delivery.h"
#include "delivery/work.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define PARK_ACTIVE_LIMIT	64	/* of a lane, in memory at a time */
#define PARK_READ_LIMIT		256 /* read at a time */

/* park_compare makes the heap give the earliest, then the oldest. */
static int
park_compare(const pairingheap_node *a, const pairingheap_node *b, void *arg)
{
	const ConcordParked *p = pairingheap_const_container(ConcordParked,
														 heap_node, a);
	const ConcordParked *q = pairingheap_const_container(ConcordParked,
														 heap_node, b);

	if (p->due != q->due)
		return p->due < q->due ? 1 : -1;
	if (p->seq != q->seq)
		return p->seq < q->seq ? 1 : -1;
	return 0;
}

/* concord_parked_init makes a lane's empty set. */
void
concord_parked_init(ConcordLane *lane)
{
	MemoryContext old = MemoryContextSwitchTo(lane->memory);

	dlist_init(&lane->parked);
	lane->nparked = 0;
	lane->nactive = 0;
	lane->due = pairingheap_allocate(park_compare, NULL);
	MemoryContextSwitchTo(old);
}

/* park_first: it is first for all keys that it holds. */
static bool
park_first(const ConcordParked *p)
{
	for (int i = 0; i < p->nrefs; i++)
		if (p->refs[i].key->parked.head.next != &p->refs[i].node)
			return false;
	return true;
}

/* concord_parked_wake puts it into the heap if it is its turn. */
void
concord_parked_wake(ConcordParked *p)
{
	if (p->dead || p->in_heap || p->active != NULL || !park_first(p))
		return;
	pairingheap_add(p->lane->due, &p->heap_node);
	p->in_heap = true;
}

/* concord_parked_schedule says when it may be tried. */
void
concord_parked_schedule(ConcordParked *p, TimestampTz due)
{
	if (p->in_heap)
		pairingheap_remove(p->lane->due, &p->heap_node);
	p->in_heap = false;
	p->due = due;
	concord_parked_wake(p);
}

/*
 * concord_parked_add adds a row of the table; the caller fills in what is left
 * and schedules it.
 */
ConcordParked *
concord_parked_add(ConcordLane *lane, int64 delivery, int64 seq, bool again,
				   const char *key, const char *old_key)
{
	ConcordParked *p = MemoryContextAllocZero(lane->memory,
											  sizeof(ConcordParked));

	p->delivery = delivery;
	p->seq = seq;
	p->lane = lane;
	p->again = again;
	if (key != NULL)
		p->keys[0] = MemoryContextStrdup(lane->memory, key);
	if (old_key != NULL && (key == NULL || strcmp(key, old_key) != 0))
		p->keys[1] = MemoryContextStrdup(lane->memory, old_key);
	concord_lane_wake(lane);
	concord_lane_watch(lane);
	dlist_push_tail(&lane->parked, &p->node);
	lane->nparked++;
	if (!again || lane->definition->mapping->options.replay_events)
		concord_keys_hold(p);
	return p;
}

/* concord_parked_remove forgets one whose row is not alive any more. */
void
concord_parked_remove(ConcordParked *p)
{
	if (p->in_heap)
		pairingheap_remove(p->lane->due, &p->heap_node);
	dlist_delete(&p->node);
	p->lane->nparked--;
	concord_keys_unhold(p);
	for (int i = 0; i < CONCORD_KEY_REFS; i++)
		if (p->keys[i] != NULL)
			pfree(p->keys[i]);
	pfree(p);
}

/* concord_parked_room: one more may be in memory. */
bool
concord_parked_room(const ConcordLane *lane)
{
	return lane->nactive < (lane->unit ? CONCORD_WINDOW_GROUPED : PARK_ACTIVE_LIMIT);
}

/* concord_parked_due: the lane has one that may be tried now. */
bool
concord_parked_due(const ConcordLane *lane, TimestampTz now)
{
	TimestampTz next = concord_parked_next(lane);

	return next >= 0 && next <= now && concord_parked_room(lane);
}

/* concord_parked_next says when the next one is due; -1: none. */
TimestampTz
concord_parked_next(const ConcordLane *lane)
{
	if (lane->due == NULL || pairingheap_is_empty(lane->due))
		return -1;
	return pairingheap_container(ConcordParked, heap_node,
								 pairingheap_first(lane->due))->due;
}

/* ---------------------------------------------------------------------
 * the table
 * ------------------------------------------------------------------- */

/* What concord_parked_sync finds known ones by. */
typedef struct ParkKnown
{
	int64		delivery;
	ConcordParked *parked;
} ParkKnown;

/* park_text returns a column as text, or NULL. */
static char *
park_text(int row, int column)
{
	return SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column);
}

/* park_merge takes over one row that concord_parked_sync has read. */
static void
park_merge(ConcordCourier *courier, ConcordLane *lane, HTAB *known, int row,
		   bool opening)
{
	HeapTuple	tuple = SPI_tuptable->vals[row];
	TupleDesc	desc = SPI_tuptable->tupdesc;
	bool		isnull;
	int64		id = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
	ParkKnown  *entry = hash_search(known, &id, HASH_FIND, NULL);
	ConcordParked *p = entry ? entry->parked : NULL;
	bool		dead = strcmp(park_text(row, 8), "dead") == 0;
	Datum		due;

	if (p != NULL && p->active != NULL)
	{
		p->seen = true;
		return;
	}
	if (p == NULL)
		p = concord_parked_add(lane, id,
							   DatumGetInt64(SPI_getbinval(tuple, desc, 2, &isnull)),
							   DatumGetBool(SPI_getbinval(tuple, desc, 3, &isnull)),
							   park_text(row, 6), park_text(row, 7));
	p->seen = true;
	p->dead = dead;
	p->attempts = DatumGetInt32(SPI_getbinval(tuple, desc, 4, &isnull));
	p->was_unknown = DatumGetBool(SPI_getbinval(tuple, desc, 9, &isnull));
	p->leaving = DatumGetBool(SPI_getbinval(tuple, desc, 11, &isnull));
	p->route = DatumGetInt32(SPI_getbinval(tuple, desc, 12, &isnull));
	if (isnull)
		p->route = 0;
	due = SPI_getbinval(tuple, desc, 5, &isnull);
	p->due = isnull ? 0 : DatumGetTimestampTz(due);
	p->created_at = DatumGetTimestampTz(SPI_getbinval(tuple, desc, 10, &isnull));
	/* one that was due may have been on its way when a process died */
	if (opening && (p->due <= courier->now || concord_clock_far(courier, p->due)))
		p->was_unknown = true;
	if (concord_clock_far(courier, p->due))
		p->due = courier->now;
	concord_parked_schedule(p, p->due);
}

/*
 * concord_parked_sync makes memory agree with the table: on opening a lane,
 * and when somebody has changed rows (retry_dead, discard_dead, replay).  Runs
 * in a bookkeeping transaction.
 */
void
concord_parked_sync(ConcordCourier *courier, ConcordLane *lane, bool opening)
{
	Oid			types[] = {INT4OID, BOOLOID, INT8OID, INT4OID, INT4OID};
	Datum		values[] = {
		Int32GetDatum(lane->id),
		BoolGetDatum(lane->definition->mapping->options.block_on_dead),
		Int64GetDatum(CONCORD_PARKED_LIMIT),
		Int32GetDatum(lane->shares),
		Int32GetDatum(lane->share)
	};
	HASHCTL		ctl = {.keysize = sizeof(int64),
	.entrysize = sizeof(ParkKnown),.hcxt = courier->turn};
	HTAB	   *known = hash_create("concord parked", 1024, &ctl,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &lane->parked)
	{
		ConcordParked *p = dlist_container(ConcordParked, node, iter.cur);
		ParkKnown  *entry = hash_search(known, &p->delivery, HASH_ENTER, NULL);

		entry->parked = p;
		p->seen = false;
	}
	if (SPI_execute_with_args("SELECT delivery, seq, again, attempts, next_try, ordering_key,"
							  "       old_key, state, was_unknown, created_at, leaving, route"
							  "  FROM concord.exception"
							  " WHERE mapping = $1 AND (state IN ('retry', 'waiting', 'blocked')"
							  "       OR $2 AND state = 'dead' AND NOT again)"
							  "   AND ($4 = 1 OR key_hash % $4 = $5)"
							  " ORDER BY again, seq, delivery LIMIT $3",
							  5, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.exception");
	lane->more_parked = SPI_processed >= CONCORD_PARKED_LIMIT;
	for (uint64 i = 0; i < SPI_processed; i++)
		park_merge(courier, lane, known, i, opening);
	SPI_freetuptable(SPI_tuptable);

	dlist_foreach_modify(iter, &lane->parked)
	{
		ConcordParked *p = dlist_container(ConcordParked, node, iter.cur);

		if (!p->seen && p->active == NULL)
			concord_parked_remove(p);
	}
	hash_destroy(known);
}

/*
 * concord_parked_survey notes which open lanes the table has rows of, in one
 * query: a reload has nothing to merge into most of a thousand lanes.  Runs in a
 * bookkeeping transaction.
 */
void
concord_parked_survey(ConcordCourier *courier)
{
	Oid			types[] = {INT4ARRAYOID};
	Datum	   *ids = palloc(sizeof(Datum) * Max(courier->nlanes, 1));
	Datum		values[1];
	dlist_iter	iter;
	int			n = 0;

	dlist_foreach(iter, &courier->lanes)
	{
		ConcordLane *lane = dlist_container(ConcordLane, node, iter.cur);

		lane->stored_parked = false;
		if (lane->state == CONCORD_LANE_OPEN)
			ids[n++] = Int32GetDatum(lane->id);
	}
	values[0] = PointerGetDatum(construct_array(ids, n, INT4OID, 4, true,
												TYPALIGN_INT));
	if (SPI_execute_with_args("SELECT DISTINCT k.id FROM pg_catalog.unnest($1) k (id)"
							  " WHERE EXISTS (SELECT FROM concord.exception e WHERE e.mapping = k.id"
							  "               AND e.state IN ('retry', 'waiting', 'blocked', 'dead'))",
							  1, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not look for exceptions");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		int32		id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i],
													 SPI_tuptable->tupdesc, 1,
													 &isnull));

		dlist_foreach(iter, concord_lanes_of(courier, id))
			dlist_container(ConcordLane, mapping_node, iter.cur)->stored_parked = true;
	}
}

/* park_pick takes those whose time has come out of the heaps. */
static int
park_pick(ConcordCourier *courier, ConcordParked **picked, Datum *ids)
{
	dlist_iter	iter;
	int			n = 0;

	dlist_foreach(iter, &courier->watched)
	{
		ConcordLane *lane = dlist_container(ConcordLane, watched.node, iter.cur);

		if (lane->state != CONCORD_LANE_OPEN || lane->hold_until > courier->now ||
			(concord_lane_single(lane) &&
			 (lane->own.system->held != NULL ||
			  concord_breaker_next(lane->own.system, courier->now) > courier->now)))
			continue;
		while (n < PARK_READ_LIMIT && concord_parked_due(lane, courier->now))
		{
			ConcordParked *p = pairingheap_container(ConcordParked, heap_node,
													 pairingheap_remove_first(lane->due));
			TimestampTz later;

			p->in_heap = false;
			if (!park_first(p))
				continue;		/* concord_parked_wake puts it back */
			later = concord_route_postpones(courier, p);
			if (later > 0)
			{
				concord_parked_schedule(p, later);
				continue;
			}
			lane->nactive++;
			ids[n] = Int64GetDatum(p->delivery);
			picked[n++] = p;
		}
	}
	return n;
}

/* park_activate makes a delivery of one row: position, event. */
static void
park_activate(ConcordCourier *courier, ConcordParked *p, ConcordBatch *batch,
			  const bytea *packed)
{
	ConcordEvent *event = concord_event_unpack(packed, batch->context);
	ConcordDelivery *d;

	event->seq = p->seq;		/* a restored row has moved; see lane.c */

	event->relation = concord_take_relation(courier, event->relation);
	d = concord_delivery_create(p->lane, batch, event, courier->now);
	d->parked = p;
	d->attempts = p->attempts;
	d->was_unknown = p->was_unknown;
	p->active = d;
	concord_fresh_add(d);
}

/* park_leave notes which record is to be removed. */
static void
park_leave(ConcordDelivery *d, ConcordBatch *batch, int row)
{
	char	   *id = park_text(row, 3);
	char	   *etag = park_text(row, 4);

	d->leave_id = id ? MemoryContextStrdup(batch->context, id) : NULL;
	d->leave_etag = etag ? MemoryContextStrdup(batch->context, etag) : NULL;
}

/*
 * concord_parked_activate reads the events of those that are due and puts them
 * in line to be mapped again: a corrected mapping repairs them.
 */
void
concord_parked_activate(ConcordCourier *courier)
{
	ConcordParked *picked[PARK_READ_LIMIT];
	Datum		ids[PARK_READ_LIMIT];
	int			n = park_pick(courier, picked, ids);
	Oid			types[] = {INT8ARRAYOID};
	Datum		values[1];

	if (n == 0)
		return;
	concord_bookkeeping_begin();
	values[0] = PointerGetDatum(construct_array(ids, n, INT8OID, 8,
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	if (SPI_execute_with_args("SELECT k.position, e.event, e.left_id, e.left_etag"
							  "  FROM pg_catalog.unnest($1) WITH ORDINALITY k (delivery, position)"
							  "  JOIN concord.exception e USING (delivery)"
							  " WHERE e.state IN ('retry', 'waiting', 'blocked')"
							  " ORDER BY k.position",
							  1, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.exception");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		int64		position = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i],
														   SPI_tuptable->tupdesc,
														   1, &isnull));
		Datum		event = SPI_getbinval(SPI_tuptable->vals[i],
										  SPI_tuptable->tupdesc, 2, &isnull);
		ConcordParked *p = picked[position - 1];
		ConcordBatch *batch = concord_batch_create(p->lane->memory, 1);

		park_activate(courier, p, batch, DatumGetByteaPP(event));
		if (p->leaving)
			park_leave(p->active, batch, i);
		concord_batch_release(batch);
	}
	concord_bookkeeping_commit(false);

	for (int i = 0; i < n; i++)
	{
		if (picked[i]->active != NULL)
			continue;
		picked[i]->lane->nactive--;
		concord_parked_remove(picked[i]);
	}
}

/*
 * concord_parked_move_blocked moves what a held key keeps in the window to the
 * exceptions, so that the cursor can go on.
 */
void
concord_parked_move_blocked(ConcordCourier *courier, ConcordLane *lane)
{
	dlist_mutable_iter iter;
	TimestampTz oldest = courier->now;
	int			n = 0;

	if (lane->state != CONCORD_LANE_OPEN || lane->unit || lane->nparked == 0)
		return;
	if (concord_lane_single(lane) &&
		(lane->own.system->held != NULL ||
		 lane->own.system->breaker != CONCORD_BREAKER_CLOSED))
		return;
	dlist_foreach_modify(iter, &lane->window)
	{
		ConcordDelivery *d = dlist_container(ConcordDelivery, window_node,
											 iter.cur);

		if (d->state == CONCORD_DELIVERY_QUEUED && concord_keys_blocked(d))
		{
			oldest = Min(oldest, d->taken_at);
			n++;
		}
	}
	if (n == 0 || (n < CONCORD_BLOCKED_EVENTS &&
				   courier->now - oldest < CONCORD_BLOCKED_MS * INT64CONST(1000)))
		return;
	dlist_foreach_modify(iter, &lane->window)
	{
		ConcordDelivery *d = dlist_container(ConcordDelivery, window_node,
											 iter.cur);

		if (d->state == CONCORD_DELIVERY_QUEUED && concord_keys_blocked(d))
			concord_delivery_end(courier, d, CONCORD_END_BLOCKED);
	}
}
