/*-------------------------------------------------------------------------
 *
 * map.c
 *	  Map the events that lanes have taken.
 *
 * All new deliveries of a lane are mapped at once, in a read-only transaction
 * that is never one which writes our tables.  Lanes whose events are plain
 * (copies of columns, nothing read, nothing run) share one, several at a time:
 * with a thousand mappings that have an event each it would otherwise cost more
 * than the mapping.  Where a shared one fails each lane is mapped by itself, so
 * that an error stands with the mapping whose it is.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/transam.h"
#include "access/xact.h"
#include "base/bookkeeping.h"
#include "delivery/delivery.h"
#include "delivery/unit.h"
#include "delivery/work.h"
#include "executor/spi.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define MAP_LIMIT		512		/* mapped at once */
#define MAP_TOGETHER	12		/* lanes: what their tables' locks are in, has
								 * 16 places */
#define MAP_COMMIT_US	2000	/* look again for a commit that is under way */
#define MAP_HOLD_MS		5000	/* a mapping that raises rests this long */
#define MAP_WAIT_MIN_US	INT64CONST(250000)
#define MAP_WAIT_MAX_US	INT64CONST(60000000)
#define MAP_WAIT_LIMIT_US	USECS_PER_DAY	/* wait_limit's default */

/*
 * map_record names the record of a delivery that is ordered by an expression.
 * A row may go from one value to another: its own images keep their order, or
 * an older one, tried again, would be written over a newer one.
 */
static const char *
map_record(const ConcordDelivery *d)
{
	const ConcordMapped *m = d->mapped;
	const char *key = m->old_local_key ? m->old_local_key : m->local_key;

	if (key == NULL || m->action == CONCORD_ACTION_EVENT)
		return NULL;
	return psprintf("record %s", key);
}

/* map_order_key says by what order is kept for a mapped event. */
static void
map_order_key(const ConcordDelivery *d, const char **key, const char **old_key)
{
	const ConcordMapped *m = d->mapped;

	*key = *old_key = NULL;
	switch (d->definition->mapping->options.ordering)
	{
		case CONCORD_ORDER_KEY:
			*key = m->local_key;
			*old_key = m->old_local_key;
			break;
		case CONCORD_ORDER_EXPRESSION:
			*key = m->ordering_key;
			*old_key = map_record(d);
			break;
		case CONCORD_ORDER_NONE:
			break;
	}
}

/*
 * map_wait puts aside a delivery that refers to a record without a link: it
 * looks again soon at first and then ever less often, until wait_limit.
 */
static void
map_wait(ConcordCourier *courier, ConcordDelivery *d)
{
	TimestampTz since = d->parked ? d->parked->created_at : courier->now;
	int64		waited = courier->now - since;
	int			limit_ms = d->definition->mapping->options.wait_limit_ms;
	int64		limit = limit_ms >= 0 ? limit_ms * INT64CONST(1000) : MAP_WAIT_LIMIT_US;

	d->rule = d->mapped->rule;
	d->error = d->mapped->error;
	d->next_try = courier->now +
		Min(Max(waited / 4, MAP_WAIT_MIN_US), MAP_WAIT_MAX_US);
	d->next_try = Min(d->next_try, Max(since + limit, courier->now));
	concord_delivery_end(courier, d, waited >= limit ?
						 CONCORD_END_DEAD : CONCORD_END_WAITING);
}

/*
 * concord_map_fresh: what a delivery was mapped to may be sent.  A resync waits until
 * capture has come to where it was read, and would never be sent where capture
 * is further behind than others may be old; what is newer than it is known.
 */
bool
concord_map_fresh(const ConcordCourier *courier, const ConcordDelivery *d)
{
	int64		limit_ms = d->event->op == CONCORD_OP_RESYNC ?
		CONCORD_FRESH_RESYNC_MS : CONCORD_FRESH_MS;

	return d->mapped_at <= courier->now &&
		courier->now - d->mapped_at <= limit_ms * INT64CONST(1000);
}

/*
 * map_parks: the verdict makes a row that holds its key.  Where others of the
 * key come before it, it must not be made yet: it would hold them, too.
 */
static bool
map_parks(const ConcordDelivery *d)
{
	return d->mapped->verdict == CONCORD_WAIT ||
		(d->mapped->verdict == CONCORD_FAIL &&
		 d->definition->mapping->options.block_on_dead);
}

/* map_mapped puts one result where it belongs. */
static void
map_mapped(ConcordCourier *courier, ConcordDelivery *d)
{
	const ConcordMapped *m = d->mapped;

	concord_delivery_become(d, CONCORD_DELIVERY_QUEUED);
	if (d->nrefs > 0)
		concord_keys_check(d);	/* mapped again: its keys stay */
	else if (d->parked != NULL)
		concord_keys_enqueue(d, d->parked->keys[0], d->parked->keys[1]);
	else
	{
		const char *key;
		const char *old_key;

		map_order_key(d, &key, &old_key);
		concord_keys_enqueue(d, key, old_key);
	}

	if (map_parks(d) && !concord_keys_turn(d))
		return;					/* mapped again when its turn has come */
	if (m->verdict == CONCORD_SKIP)
		concord_delivery_end(courier, d, CONCORD_END_SKIPPED);
	else if (d->lane->unit && (m->verdict != CONCORD_SEND ||
							   m->action == CONCORD_ACTION_EVENT))
		return;					/* its transaction shares its fate */
	else if (m->verdict == CONCORD_WAIT)
		map_wait(courier, d);
	else if (m->verdict == CONCORD_SEND && m->action == CONCORD_ACTION_EVENT &&
			 d->event->op == CONCORD_OP_TRUNCATE && d->lane->use_links &&
			 !d->lane->definition->mapping->options.replay_events)
	{
		concord_truncate_expand(courier, d);
		concord_delivery_end(courier, d, CONCORD_END_DONE);
	}
	else if (m->verdict == CONCORD_FAIL)
	{
		d->rule = m->rule;
		d->error = m->error;
		concord_delivery_end(courier, d, CONCORD_END_DEAD);
	}
	else
		concord_coalesce(courier, d);
}

/*
 * map_passes says whether an error is of the moment: what the server lacks, a
 * lock, somebody's cancel.
 */
static bool
map_passes(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_SYSTEM_ERROR:
			return true;
	}
	return false;
}

/* map_compile compiles the mapping's version; raises what the parser does. */
static void
map_compile(ConcordDefinition *definition)
{
	if (definition->compiled != NULL)
		return;
	StartTransactionCommand();
	XactReadOnly = true;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PushActiveSnapshot(GetTransactionSnapshot());
	definition->compiled = concord_mapping_compile(definition->mapping,
												   definition->context);
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
}

/* map_alone compiles it and evaluates; raises what either does. */
static ConcordMapped *
map_alone(ConcordDefinition *definition, const ConcordEvent *const *events, int n,
		  MemoryContext context)
{
	map_compile(definition);
	return concord_mapping_eval(definition->compiled, events, n, context);
}

/* map_events lists the events of deliveries. */
static const ConcordEvent **
map_events(ConcordCourier *courier, ConcordDelivery **ds, int n)
{
	const ConcordEvent **events = MemoryContextAlloc(courier->turn,
													 sizeof(ConcordEvent *) * n);

	for (int i = 0; i < n; i++)
		events[i] = ds[i]->event;
	return events;
}

/* map_results gives deliveries what they were mapped to, which values holds. */
static void
map_results(ConcordCourier *courier, ConcordLane *lane, ConcordDelivery **ds,
			int n, ConcordMapped *mapped, ConcordBatch *values)
{
	lane->failing_since = 0;
	for (int i = 0; i < n; i++)
	{
		ds[i]->values = values;
		values->refs++;
		ds[i]->definition = lane->definition;
		lane->definition->refs++;
		ds[i]->mapped = &mapped[i];
		ds[i]->mapped_at = courier->now;
	}
	concord_resync_mapped(lane, ds, n);
}

/* map_eval maps n deliveries; false where the mapping as a whole failed. */
static bool
map_eval(ConcordCourier *courier, ConcordLane *lane, ConcordDelivery **ds, int n)
{
	const ConcordEvent **events = map_events(courier, ds, n);
	ConcordBatch *values = concord_batch_create(lane->memory, n);
	ConcordMapped *mapped = NULL;
	MemoryContext caller = CurrentMemoryContext;
	ErrorData  *volatile failure = NULL;

	PG_TRY();
	{
		mapped = map_alone(lane->definition, events, n, values->context);
	}
	PG_CATCH();
	{
		failure = concord_bookkeeping_caught(courier->turn);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);

	if (failure != NULL)
	{
		concord_batch_release(values);
		lane->hold_until = courier->now + MAP_HOLD_MS * INT64CONST(1000);
		if (map_passes(failure->sqlerrcode))
			concord_lane_error(courier, lane, failure->message);
		else
			concord_lane_fails(courier, lane, failure->message);
		return false;
	}
	map_results(courier, lane, ds, n, mapped, values);
	concord_batch_release(values);
	return true;
}

/*
 * concord_map_again maps a delivery, which waits for records that are created
 * together with it, once more at once; references are of those.  False: it has
 * to be mapped later.
 */
bool
concord_map_again(ConcordCourier *courier, ConcordDelivery *d, List *references)
{
	bool		done;

	concord_delivery_forget_mapped(d);
	concord_mapping_references = references;
	done = map_eval(courier, d->lane, &d, 1);
	concord_mapping_references = NIL;
	d->refers = done;
	return done;
}

/*
 * map_barrier gives the position of the first truncate among what is to be
 * mapped: nothing behind it is mapped before it has ended, and it is mapped
 * when all before it has.
 */
static int64
map_barrier(ConcordLane *lane)
{
	int64		barrier = PG_INT64_MAX;
	dlist_iter	iter;

	dlist_foreach(iter, &lane->fresh)
	{
		ConcordDelivery *d = dlist_container(ConcordDelivery, list_node,
											 iter.cur);

		if (d->event->op == CONCORD_OP_TRUNCATE && d->parked == NULL)
			barrier = Min(barrier, d->event->seq);
	}
	return barrier;
}

/* map_first: it is the first of its lane's window. */
static bool
map_first(ConcordDelivery *d)
{
	return d->in_window && d->lane->window.head.next == &d->window_node;
}

/*
 * map_visible: what is to be read from tables for these events is there.  A
 * transaction is in the WAL, and captured, a moment before others see what it
 * did (longer where its commit waits for a standby).
 */
static bool
map_visible(ConcordCourier *courier, ConcordLane *lane, ConcordDelivery **ds,
			int n)
{
	const ConcordMapping *mapping = lane->definition->mapping;
	TransactionId last = InvalidTransactionId;
	bool		reads = mapping->options.depends != NIL;
	ListCell   *lc;

	foreach(lc, mapping->fields)
		reads |= ((const ConcordField *) lfirst(lc))->children != NULL;
	for (int i = 0; i < n && reads; i++)
	{
		const ConcordEvent *event = ds[i]->event;

		if (event->xid == last || !TransactionIdIsNormal(event->xid) ||
			courier->now - event->committed_at > USECS_PER_HOUR)
			continue;
		last = event->xid;
		if (TransactionIdIsInProgress(last))
		{
			lane->hold_until = courier->now + MAP_COMMIT_US;
			return false;
		}
	}
	return true;
}

/* What is to be mapped of a lane. */
typedef struct MapLane
{
	ConcordLane *lane;
	int			n;
	ConcordDelivery **deliveries;
	ConcordBatch *values;		/* NULL: not made yet */
	bool		done;
} MapLane;

/* map_choose chooses what is to be mapped in a lane; false: nothing now. */
static bool
map_choose(ConcordCourier *courier, ConcordLane *lane, MapLane *chosen)
{
	int64		barrier = map_barrier(lane);
	int			n = 0;
	dlist_iter	iter;

	chosen->lane = lane;
	chosen->deliveries = MemoryContextAlloc(courier->turn,
											sizeof(ConcordDelivery *) *
											Min(lane->nfresh, MAP_LIMIT));
	dlist_foreach(iter, &lane->fresh)
	{
		ConcordDelivery *d = dlist_container(ConcordDelivery, list_node,
											 iter.cur);

		if (n == MAP_LIMIT || n == lane->nfresh)
			break;
		if (d->parked != NULL || d->event->seq < barrier ||
			(d->event->seq == barrier && map_first(d)))
			chosen->deliveries[n++] = d;
	}
	chosen->n = n;
	lane->barred = n == 0 && lane->nfresh > 0;
	return n > 0 && map_visible(courier, lane, chosen->deliveries, n);
}

/* map_place puts all results of a lane where they belong. */
static void
map_place(ConcordCourier *courier, const MapLane *chosen)
{
	for (int i = 0; i < chosen->n; i++)
		concord_list_remove(chosen->deliveries[i]);
	for (int i = 0; i < chosen->n; i++)
		map_mapped(courier, chosen->deliveries[i]);
}

/* map_lane maps what was chosen of a lane. */
static void
map_lane(ConcordCourier *courier, const MapLane *chosen)
{
	if (map_eval(courier, chosen->lane, chosen->deliveries, chosen->n))
		map_place(courier, chosen);
}

/* map_together maps what was chosen of several lanes, all of it plain. */
static void
map_together(ConcordCourier *courier, MapLane *lanes, int nlanes)
{
	ConcordEvaluation evaluations[MAP_TOGETHER];
	MemoryContext caller = CurrentMemoryContext;
	MemoryContext scratch;
	volatile bool failed = false;

	if (nlanes == 0)
		return;
	scratch = AllocSetContextCreate(courier->turn, "concord mapped together",
									ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < nlanes; i++)
	{
		/* of one event it is copied, which takes less than a context */
		lanes[i].values = lanes[i].n == 1 ? NULL :
			concord_batch_create(lanes[i].lane->memory, lanes[i].n);
		evaluations[i].compiled = lanes[i].lane->definition->compiled;
		evaluations[i].events = map_events(courier, lanes[i].deliveries, lanes[i].n);
		evaluations[i].nevents = lanes[i].n;
		evaluations[i].context = lanes[i].values ? lanes[i].values->context : scratch;
		evaluations[i].mapped = NULL;
	}
	PG_TRY();
	{
		concord_mapping_eval_plain(evaluations, nlanes);
	}
	PG_CATCH();
	{
		concord_bookkeeping_caught(courier->turn);
		failed = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);

	for (int i = 0; i < nlanes; i++)
	{
		lanes[i].done = !failed && evaluations[i].mapped != NULL;
		if (lanes[i].done && lanes[i].values == NULL)
			lanes[i].values = concord_batch_mapped(lanes[i].lane,
												   evaluations[i].mapped,
												   &evaluations[i].mapped);
		if (lanes[i].done)
			map_results(courier, lanes[i].lane, lanes[i].deliveries, lanes[i].n,
						evaluations[i].mapped, lanes[i].values);
		concord_batch_release(lanes[i].values);
		if (lanes[i].done)
			map_place(courier, &lanes[i]);
	}
	MemoryContextDelete(scratch);
	for (int i = 0; i < nlanes; i++)
		if (!lanes[i].done)
			map_lane(courier, &lanes[i]);
}

/* map_wanted: a lane's new deliveries may be mapped now. */
static bool
map_wanted(const ConcordCourier *courier, const ConcordLane *lane)
{
	return lane->state == CONCORD_LANE_OPEN &&
		lane->hold_until <= courier->now && lane->nfresh > 0;
}

/* map_is_plain: what was chosen of a lane can be mapped together with others'. */
static bool
map_is_plain(const MapLane *chosen)
{
	for (int i = 0; i < chosen->n; i++)
		if (!concord_mapping_is_plain_event(chosen->deliveries[i]->event))
			return false;
	return true;
}

/*
 * map_plain maps what is plain, several lanes at a time, and as many events as
 * of one lane.  The others' turn comes after that: nothing else happens between
 * the choice and the mapping.
 */
static void
map_plain(ConcordCourier *courier)
{
	MapLane		lanes[MAP_TOGETHER];
	int			n = 0;
	int			nevents = 0;
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &courier->fresh)
	{
		ConcordLane *lane = dlist_container(ConcordLane, has_fresh.node, iter.cur);

		if (!map_wanted(courier, lane) || lane->definition->compiled == NULL ||
			!concord_mapping_is_plain(lane->definition->compiled) ||
			!map_choose(courier, lane, &lanes[n]) || !map_is_plain(&lanes[n]))
			continue;
		nevents += lanes[n++].n;
		if (n == MAP_TOGETHER || nevents >= MAP_LIMIT)
		{
			map_together(courier, lanes, n);
			n = nevents = 0;
		}
	}
	map_together(courier, lanes, n);
}

/* concord_map maps what is new in all lanes. */
void
concord_map(ConcordCourier *courier)
{
	dlist_mutable_iter iter;

	/* what was captured after a definition changed is mapped by the new one */
	if (concord_lanes_outdated(courier))
		return;

	map_plain(courier);
	dlist_foreach_modify(iter, &courier->fresh)
	{
		ConcordLane *lane = dlist_container(ConcordLane, has_fresh.node, iter.cur);
		MapLane		chosen;

		if (map_wanted(courier, lane) && map_choose(courier, lane, &chosen))
			map_lane(courier, &chosen);
	}
}
