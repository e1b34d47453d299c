/*-------------------------------------------------------------------------
 *
 * take.c
 *	  Take events from the outbox into the lanes' windows.
 *
 * One reader, the head, serves all lanes that have room; a lane that has none
 * stays behind and gets a reader of its own, which skips chunks without its
 * sources, until it has caught up.
 *
 * Events are copied once for each read and lane; map.c maps them.
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
		if (batch == NULL && nevents == 1 && mapping->options.depends == NIL &&
			!lane->routed && !lane->unit && event->op != CONCORD_OP_RESYNC)
		{
			batch = concord_batch_event(lane, event, &copy);
			copy->relation = concord_take_relation(courier, event->relation);
			concord_window_take(courier, lane, batch, copy);
			continue;
		}
		if (batch == NULL)
			batch = concord_batch_create(lane->memory, nevents);
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
