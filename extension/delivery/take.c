/*-------------------------------------------------------------------------
 *
 * take.c
 *	  Take events from the outbox into the lanes' windows, and map them.
 *
 * One reader, the head, serves all lanes that have room; a lane that has none
 * stays behind and gets a reader of its own, which skips chunks without its
 * sources, until it has caught up.
 *
 * Events are copied once for each read and lane.  Mapping is done for all new
 * deliveries of a lane at once, in a read-only transaction of its own that
 * concord_mapping_eval makes.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/transam.h"
#include "access/xact.h"
#include "base/bookkeeping.h"
#include "delivery/delivery.h"
#include "delivery/division.h"
#include "delivery/unit.h"
#include "delivery/work.h"
#include "executor/spi.h"
#include "storage/procarray.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define TAKE_MAP_LIMIT	512		/* mapped at once */
#define TAKE_COMMIT_US	2000	/* look again for a commit that is under way */
#define TAKE_HOLD_MS	5000	/* a mapping that raises rests this long */
#define TAKE_WAIT_MIN_US	INT64CONST(250000)
#define TAKE_WAIT_MAX_US	INT64CONST(60000000)
#define TAKE_WAIT_LIMIT_US	USECS_PER_DAY	/* wait_limit's default */

/* take_same says whether two definitions are the same. */
static bool
take_same(const ConcordRelation *a, const ConcordRelation *b)
{
	if (a->relid != b->relid || a->ncolumns != b->ncolumns)
		return false;
	for (int i = 0; i < a->ncolumns; i++)
		if (a->columns[i].attnum != b->columns[i].attnum ||
			a->columns[i].typid != b->columns[i].typid ||
			strcmp(a->columns[i].name, b->columns[i].name) != 0)
			return false;
	return true;
}

/*
 * concord_take_relation returns this process's copy of a stored definition: it
 * lives as long as the process, while a reader's goes with the reader.
 */
const ConcordRelation *
concord_take_relation(ConcordCourier *courier, const ConcordRelation *relation)
{
	ConcordKnownRelation *entry;
	ConcordRelation *copy;
	MemoryContext old;
	bool		found;

	if (relation == NULL)
		return NULL;
	entry = hash_search(courier->relations, &relation->id, HASH_ENTER, &found);
	if (found && take_same(entry->relation, relation))
		return entry->relation;
	old = MemoryContextSwitchTo(courier->context);
	copy = palloc(sizeof(ConcordRelation));
	*copy = *relation;
	copy->schema = pstrdup(relation->schema);
	copy->table = pstrdup(relation->table);
	copy->columns = palloc(sizeof(ConcordColumn) * Max(relation->ncolumns, 1));
	memcpy(copy->columns, relation->columns,
		   sizeof(ConcordColumn) * relation->ncolumns);
	for (int i = 0; i < relation->ncolumns; i++)
	{
		copy->columns[i].name = pstrdup(relation->columns[i].name);
		if (relation->columns[i].typname != NULL)
			copy->columns[i].typname = pstrdup(relation->columns[i].typname);
	}
	MemoryContextSwitchTo(old);
	entry->relation = copy;
	return copy;
}

/* take_wants says whether an event is of the lane's source. */
static bool
take_wants(const ConcordLane *lane, const ConcordEvent *event)
{
	const ConcordMapping *mapping = lane->definition->mapping;

	if (event->seq <= lane->read_pos ||
		concord_lane_finished_before(lane, event->seq))
		return false;
	if (event->op == CONCORD_OP_CONTROL)
		return false;
	if (event->op == CONCORD_OP_RESYNC)
		return event->topic != NULL && atoi(event->topic) == lane->id &&
			OidIsValid(mapping->source);
	if (event->op == CONCORD_OP_EMIT)
		return mapping->topic != NULL && event->topic != NULL &&
			strcmp(mapping->topic, event->topic) == 0;
	return OidIsValid(mapping->source) && event->relation != NULL &&
		(event->relation->relid == mapping->source ||
		 concord_depends_find(mapping, event) != NULL);
}

typedef enum TakeShare
{
	TAKE_OURS,
	TAKE_OTHER,					/* another lane's, or finished by an earlier
								 * division */
	TAKE_BARRIER,				/* the lane stops before it */
	TAKE_ALONE,					/* ours; what is behind it must wait */
} TakeShare;

/* take_share says what an event of the mapping is for one of its lanes. */
static TakeShare
take_share(ConcordLane *lane, const ConcordEvent *event)
{
	const ConcordMapping *mapping = lane->definition->mapping;
	bool		alone;
	int			share = concord_event_share(mapping, event, lane->shares, &alone);

	if (concord_divisions_finished(lane->past, mapping, event))
		return TAKE_OTHER;
	if (!alone)
		return share == lane->share ? TAKE_OURS : TAKE_OTHER;
	if (lane->barrier == event->seq && lane->barrier_open)
		return TAKE_ALONE;
	concord_barrier_reach(lane, event, share == lane->share);
	return TAKE_BARRIER;
}

/*
 * take_batch gives a lane its events of one read; seen is the commit of the last
 * one that was read.
 */
static void
take_batch(ConcordCourier *courier, ConcordLane *lane,
		   const ConcordEvent *const *events, int nevents, int64 read_up_to,
		   XLogRecPtr seen)
{
	const ConcordMapping *mapping = lane->definition->mapping;
	ConcordBatch *batch = NULL;
	const ConcordRelation *theirs = NULL;
	const ConcordRelation *ours = NULL;

	if (mapping->options.depends != NIL)
		concord_depends_begin(lane, events, nevents);
	for (int i = 0; i < nevents; i++)
	{
		const ConcordEvent *event = events[i];
		ConcordEvent *copy;

		if (!take_wants(lane, event))
			continue;
		if (lane->shares > 1 || lane->past != NIL)
			switch (take_share(lane, event))
			{
				case TAKE_OTHER:
					continue;
				case TAKE_BARRIER:
					read_up_to = event->seq - 1;
					nevents = i;
					seen = InvalidXLogRecPtr;
					continue;
				case TAKE_ALONE:
					read_up_to = event->seq;
					nevents = i + 1;
					seen = InvalidXLogRecPtr;
					break;
				case TAKE_OURS:
					break;
			}
		if (batch == NULL)
			batch = concord_batch_create(lane->memory);
		if (concord_depends_find(mapping, event) != NULL)
		{
			concord_depends_take(courier, lane, batch, event);
			continue;
		}
		copy = concord_event_copy(event, batch->context);
		/* of most reads all events have the same */
		if (event->relation != theirs)
			ours = concord_take_relation(courier, event->relation);
		theirs = event->relation;
		copy->relation = ours;
		if (copy->op == CONCORD_OP_RESYNC &&
			!concord_resync_row(courier, lane, copy, batch->context))
			continue;
		concord_window_take(courier, lane, batch, copy);
	}
	concord_batch_release(batch);
	lane->read_pos = Max(lane->read_pos, read_up_to);
	/* what committed before the last one that was seen has been seen */
	if (seen != InvalidXLogRecPtr)
		lane->whole = Max(lane->whole, seen - 1);
	/* what was read beyond a barrier is read again */
	if (lane->barrier != 0 && lane->reader != NULL)
		concord_outbox_seek(lane->reader, lane->read_pos);
}

/* take_note_starts notices that a mapping's start has gone by. */
static void
take_note_starts(ConcordCourier *courier, const ConcordEvent *events,
				 int nevents)
{
	for (int i = 0; i < nevents; i++)
		if (events[i].op == CONCORD_OP_CONTROL)
			courier->look_for_starts = true;
}

/* take_wanted: the lane takes events now. */
static bool
take_wanted(ConcordCourier *courier, const ConcordLane *lane)
{
	return lane->state == CONCORD_LANE_OPEN && concord_barrier_takes(lane) &&
		lane->hold_until <= courier->now && concord_window_has_room(lane);
}

/* What take_head hands out. */
typedef struct TakeRead
{
	ConcordCourier *courier;
	dlist_head	taken;			/* of ConcordTaken */
} TakeRead;

/* take_hand gives a lane one event of a read. */
static void
take_hand(ConcordLane *lane, const ConcordEvent *event, void *arg)
{
	TakeRead   *read = arg;
	ConcordTaken *taken = lane->taken;

	if (taken == NULL)
	{
		if (lane->state != CONCORD_LANE_OPEN)
			return;
		concord_lane_wake(lane);
		taken = MemoryContextAllocZero(read->courier->turn, sizeof(ConcordTaken));
		taken->lane = lane;
		taken->wanted = lane->read_pos >= read->courier->head_pos &&
			take_wanted(read->courier, lane);
		dlist_push_tail(&read->taken, &taken->node);
		lane->taken = taken;
	}
	if (!taken->wanted || (taken->n > 0 && taken->events[taken->n - 1] == event))
		return;
	if (taken->n == taken->allocated)
	{
		taken->allocated = Max(2 * taken->allocated, 4);
		taken->events = taken->events == NULL ?
			MemoryContextAlloc(read->courier->turn,
							   sizeof(ConcordEvent *) * taken->allocated) :
			repalloc(taken->events, sizeof(ConcordEvent *) * taken->allocated);
	}
	taken->events[taken->n++] = event;
}

/*
 * take_pass moves the lanes on that a read has nothing for; one that does not
 * take it will be behind.
 */
static void
take_pass(ConcordCourier *courier, int64 read_up_to)
{
	dlist_iter	iter;

	dlist_foreach(iter, &courier->busy)
	{
		ConcordLane *lane = dlist_container(ConcordLane, busy.node, iter.cur);

		if (lane->taken == NULL && lane->read_pos >= courier->head_pos &&
			take_wanted(courier, lane))
			lane->read_pos = Max(lane->read_pos, read_up_to);
		else if (lane->state == CONCORD_LANE_OPEN && lane->read_pos < read_up_to)
			concord_lane_watch(lane);
	}
}

/*
 * take_head reads once for all lanes that are not behind.  With a thousand
 * mappings of as many tables, asking each lane about each event would cost more
 * than all that is done with the event: each event finds its lanes.
 */
static void
take_head(ConcordCourier *courier)
{
	TakeRead	read = {courier};
	ConcordEvent *events;
	int			nevents;
	int64		read_up_to;
	dlist_iter	iter;

	if (courier->head == NULL)
		courier->head = concord_outbox_open(courier->context,
											courier->head_pos, NULL, 0);
	events = concord_outbox_read(courier->head, CONCORD_READ_EVENTS,
								 CONCORD_READ_BYTES, &nevents, &read_up_to);
	take_note_starts(courier, events, nevents);
	dlist_init(&read.taken);
	for (int i = 0; i < nevents; i++)
		concord_sources_concerned(courier, &events[i], take_hand, &read);
	dlist_foreach(iter, &read.taken)
	{
		ConcordTaken *taken = dlist_container(ConcordTaken, node, iter.cur);

		if (taken->wanted)
			take_batch(courier, taken->lane, taken->events, taken->n, read_up_to,
					   events[nevents - 1].lsn);
	}
	take_pass(courier, read_up_to);
	dlist_foreach(iter, &read.taken)
		dlist_container(ConcordTaken, node, iter.cur)->lane->taken = NULL;
	courier->more_events |= nevents > 0;
	courier->head_pos = Max(courier->head_pos, read_up_to);
}

/* take_own reads for a lane that is behind the head. */
static void
take_own(ConcordCourier *courier, ConcordLane *lane)
{
	ConcordEvent *events;
	const ConcordEvent **pointers;
	int			nevents;
	int64		read_up_to;

	if (lane->reader == NULL)
	{
		/* its tables, and messages: emitted events and resyncs */
		int			nsources;
		Oid		   *sources = concord_depends_sources(lane->definition->mapping,
													  &nsources);

		lane->reader = concord_outbox_open(lane->memory, lane->read_pos,
										   sources, nsources);
	}
	events = concord_outbox_read(lane->reader, CONCORD_READ_EVENTS,
								 CONCORD_READ_BYTES, &nevents, &read_up_to);
	courier->more_events |= read_up_to > lane->read_pos;
	pointers = MemoryContextAlloc(courier->turn,
								  sizeof(ConcordEvent *) * Max(nevents, 1));
	for (int i = 0; i < nevents; i++)
		pointers[i] = &events[i];
	take_batch(courier, lane, pointers, nevents, read_up_to,
			   nevents > 0 ? events[nevents - 1].lsn : InvalidXLogRecPtr);
	if (lane->read_pos >= courier->head_pos)
	{
		concord_outbox_close(lane->reader);
		lane->reader = NULL;
	}
}

/* take_at_head: a lane takes what the head reads.  The first mostly does. */
static bool
take_at_head(ConcordCourier *courier)
{
	dlist_iter	iter;

	if (courier->nresting > 0)
		return true;
	dlist_foreach(iter, &courier->busy)
	{
		ConcordLane *lane = dlist_container(ConcordLane, busy.node, iter.cur);

		if (lane->read_pos >= courier->head_pos && take_wanted(courier, lane))
			return true;
	}
	return false;
}

/* take_behind: a lane that takes events is behind the head. */
static bool
take_behind(ConcordCourier *courier, const ConcordLane *lane)
{
	return lane->read_pos < courier->head_pos && !lane->resting &&
		take_wanted(courier, lane);
}

/*
 * concord_take_events reads what is new, if any lane has room for it.  Opens
 * and ends its own transaction.
 */
void
concord_take_events(ConcordCourier *courier)
{
	bool		head = take_at_head(courier);
	bool		behind = false;
	int64		last_seq = (int64) pg_atomic_read_u64(&courier->db->last_seq);
	dlist_iter	iter;

	dlist_foreach(iter, &courier->watched)
		behind |= take_behind(courier, dlist_container(ConcordLane, watched.node, iter.cur));
	courier->can_read = head || behind;
	head = head && (last_seq != courier->seen_seq || courier->more_events);
	if (!head && !behind)
		return;

	courier->more_events = false;
	concord_bookkeeping_begin();
	if (head)
	{
		courier->seen_seq = last_seq;
		take_head(courier);
	}
	dlist_foreach(iter, &courier->watched)
	{
		ConcordLane *lane = dlist_container(ConcordLane, watched.node, iter.cur);

		if (take_behind(courier, lane))
			take_own(courier, lane);
	}
	concord_bookkeeping_commit(false);
}

/* ---------------------------------------------------------------------
 * mapping
 * ------------------------------------------------------------------- */

/*
 * take_record names the record of a delivery that is ordered by an expression.
 * A row may go from one value to another: its own images keep their order, or
 * an older one, tried again, would be written over a newer one.
 */
static const char *
take_record(const ConcordDelivery *d)
{
	const ConcordMapped *m = d->mapped;
	const char *key = m->old_local_key ? m->old_local_key : m->local_key;

	if (key == NULL || m->action == CONCORD_ACTION_EVENT)
		return NULL;
	return psprintf("record %s", key);
}

/* take_order_key says by what order is kept for a mapped event. */
static void
take_order_key(const ConcordDelivery *d, const char **key, const char **old_key)
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
			*old_key = take_record(d);
			break;
		case CONCORD_ORDER_NONE:
			break;
	}
}

/*
 * take_wait puts aside a delivery that refers to a record without a link: it
 * looks again soon at first and then ever less often, until wait_limit.
 */
static void
take_wait(ConcordCourier *courier, ConcordDelivery *d)
{
	TimestampTz since = d->parked ? d->parked->created_at : courier->now;
	int64		waited = courier->now - since;
	int			limit_ms = d->definition->mapping->options.wait_limit_ms;
	int64		limit = limit_ms >= 0 ? limit_ms * INT64CONST(1000) : TAKE_WAIT_LIMIT_US;

	d->rule = d->mapped->rule;
	d->error = d->mapped->error;
	d->next_try = courier->now +
		Min(Max(waited / 4, TAKE_WAIT_MIN_US), TAKE_WAIT_MAX_US);
	d->next_try = Min(d->next_try, Max(since + limit, courier->now));
	concord_delivery_end(courier, d, waited >= limit ?
						 CONCORD_END_DEAD : CONCORD_END_WAITING);
}

/*
 * concord_take_fresh: what a delivery was mapped to may be sent.  A resync waits until
 * capture has come to where it was read, and would never be sent where capture
 * is further behind than others may be old; what is newer than it is known.
 */
bool
concord_take_fresh(const ConcordCourier *courier, const ConcordDelivery *d)
{
	int64		limit_ms = d->event->op == CONCORD_OP_RESYNC ?
		CONCORD_FRESH_RESYNC_MS : CONCORD_FRESH_MS;

	return d->mapped_at <= courier->now &&
		courier->now - d->mapped_at <= limit_ms * INT64CONST(1000);
}

/*
 * take_parks: the verdict makes a row that holds its key.  Where others of the
 * key come before it, it must not be made yet: it would hold them, too.
 */
static bool
take_parks(const ConcordDelivery *d)
{
	return d->mapped->verdict == CONCORD_WAIT ||
		(d->mapped->verdict == CONCORD_FAIL &&
		 d->definition->mapping->options.block_on_dead);
}

/* take_mapped puts one result where it belongs. */
static void
take_mapped(ConcordCourier *courier, ConcordDelivery *d)
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

		take_order_key(d, &key, &old_key);
		concord_keys_enqueue(d, key, old_key);
	}

	if (take_parks(d) && !concord_keys_turn(d))
		return;					/* mapped again when its turn has come */
	if (m->verdict == CONCORD_SKIP)
		concord_delivery_end(courier, d, CONCORD_END_SKIPPED);
	else if (d->lane->unit && (m->verdict != CONCORD_SEND ||
							   m->action == CONCORD_ACTION_EVENT))
		return;					/* its transaction shares its fate */
	else if (m->verdict == CONCORD_WAIT)
		take_wait(courier, d);
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
 * take_passes says whether an error is of the moment: what the server lacks, a
 * lock, somebody's cancel.
 */
static bool
take_passes(int sqlerrcode)
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

/* take_compile compiles the mapping's version; raises what the parser does. */
static void
take_compile(ConcordDefinition *definition)
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

/* take_eval maps n deliveries; false where the mapping as a whole failed. */
static bool
take_eval(ConcordCourier *courier, ConcordLane *lane, ConcordDelivery **ds, int n)
{
	const ConcordEvent **events = MemoryContextAlloc(courier->turn,
													 sizeof(ConcordEvent *) * n);
	ConcordBatch *values = concord_batch_create(lane->memory);
	ConcordMapped *mapped = NULL;
	MemoryContext caller = CurrentMemoryContext;
	ErrorData  *volatile failure = NULL;

	for (int i = 0; i < n; i++)
		events[i] = ds[i]->event;
	PG_TRY();
	{
		take_compile(lane->definition);
		mapped = concord_mapping_eval(lane->definition->compiled, events, n,
									  values->context);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(courier->turn);
		error = CopyErrorData();
		if (error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
			PG_RE_THROW();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		concord_bookkeeping_reset();
		failure = error;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);

	if (failure != NULL)
	{
		concord_batch_release(values);
		lane->hold_until = courier->now + TAKE_HOLD_MS * INT64CONST(1000);
		if (take_passes(failure->sqlerrcode))
			concord_lane_error(courier, lane, failure->message);
		else
			concord_lane_fails(courier, lane, failure->message);
		return false;
	}
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
	concord_batch_release(values);
	return true;
}

/*
 * concord_take_again maps a delivery, which waits for records that are created
 * together with it, once more at once; references are of those.  False: it has
 * to be mapped later.
 */
bool
concord_take_again(ConcordCourier *courier, ConcordDelivery *d, List *references)
{
	bool		done;

	concord_delivery_forget_mapped(d);
	concord_mapping_references = references;
	done = take_eval(courier, d->lane, &d, 1);
	concord_mapping_references = NIL;
	d->refers = done;
	return done;
}

/*
 * take_barrier gives the position of the first truncate among what is to be
 * mapped: nothing behind it is mapped before it has ended, and it is mapped
 * when all before it has.
 */
static int64
take_barrier(ConcordLane *lane)
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

/* take_first: it is the first of its lane's window. */
static bool
take_first(ConcordDelivery *d)
{
	return d->in_window && d->lane->window.head.next == &d->window_node;
}

/*
 * take_visible: what is to be read from tables for these events is there.  A
 * transaction is in the WAL, and captured, a moment before others see what it
 * did (longer where its commit waits for a standby).
 */
static bool
take_visible(ConcordCourier *courier, ConcordLane *lane, ConcordDelivery **ds,
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
			lane->hold_until = courier->now + TAKE_COMMIT_US;
			return false;
		}
	}
	return true;
}

/* take_map_lane maps what is new in a lane; up to a bound. */
static void
take_map_lane(ConcordCourier *courier, ConcordLane *lane)
{
	ConcordDelivery *ds[TAKE_MAP_LIMIT];
	int			n = 0;
	dlist_iter	iter;

	int64		barrier = take_barrier(lane);

	dlist_foreach(iter, &lane->fresh)
	{
		ConcordDelivery *d = dlist_container(ConcordDelivery, list_node,
											 iter.cur);

		if (n == TAKE_MAP_LIMIT)
			break;
		if (d->parked != NULL || d->event->seq < barrier ||
			(d->event->seq == barrier && take_first(d)))
			ds[n++] = d;
	}
	lane->barred = n == 0 && lane->nfresh > 0;
	if (n == 0 || !take_visible(courier, lane, ds, n) ||
		!take_eval(courier, lane, ds, n))
		return;
	for (int i = 0; i < n; i++)
		concord_list_remove(ds[i]);
	for (int i = 0; i < n; i++)
		take_mapped(courier, ds[i]);
}

/* concord_take_map maps what is new in all lanes. */
void
concord_take_map(ConcordCourier *courier)
{
	dlist_mutable_iter iter;

	/* what was captured after a definition changed is mapped by the new one */
	if (concord_lanes_outdated(courier))
		return;

	dlist_foreach_modify(iter, &courier->fresh)
	{
		ConcordLane *lane = dlist_container(ConcordLane, has_fresh.node, iter.cur);

		if (lane->state == CONCORD_LANE_OPEN &&
			lane->hold_until <= courier->now && lane->nfresh > 0)
			take_map_lane(courier, lane);
	}
}
