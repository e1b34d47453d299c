/*-------------------------------------------------------------------------
 *
 * window.c
 *	  The window of a lane: what it has taken from the outbox and not finished.
 *
 * The window is a list in outbox order.  A delivery leaves it when its end is
 * committed, so what the table shall say follows from the list alone:
 *
 *		cursor	everything before the first of the window is finished; with an
 *				empty window, everything that was read
 *		done	the gaps between the window's deliveries, up to the newest that
 *				has finished
 *
 * The window is bounded by number and bytes; a key that is held for long does
 * not fill it, its deliveries move to the exceptions (exception.c).  While a
 * system is down nothing moves and the cursor stands.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "delivery/work.h"
#include "utils/memutils.h"

/* The largest block of a batch of exchanges. */
#define WIN_BLOCK_BYTES		(64 * 1024)

#define WIN_FEW_EVENTS		4

/* win_batch makes a batch of a context. */
static ConcordBatch *
win_batch(MemoryContext context)
{
	ConcordBatch *batch = MemoryContextAlloc(context, sizeof(ConcordBatch));

	batch->context = context;
	batch->refs = 1;
	return batch;
}

/*
 * concord_batch_create makes a counted context with one reference, for what n
 * events need.  Of a few events in each of a thousand lanes it must not take a
 * large block each.
 */
ConcordBatch *
concord_batch_create(MemoryContext parent, int n)
{
	return win_batch(n <= WIN_FEW_EVENTS ?
					 AllocSetContextCreate(parent, "concord batch",
										   ALLOCSET_START_SMALL_SIZES) :
					 AllocSetContextCreate(parent, "concord batch",
										   ALLOCSET_DEFAULT_SIZES));
}

/*
 * concord_batch_event makes one that holds a copy of an event and nothing
 * else: a single piece of memory, of the lane's.
 */
ConcordBatch *
concord_batch_event(ConcordLane *lane, const ConcordEvent *event,
					ConcordEvent **copy)
{
	ConcordBatch *batch = MemoryContextAlloc(lane->memory,
											 MAXALIGN(sizeof(ConcordBatch)) +
											 concord_event_size(event));

	batch->context = NULL;
	batch->refs = 1;
	*copy = concord_event_copy_to(event, (char *) batch +
								  MAXALIGN(sizeof(ConcordBatch)));
	return batch;
}

/*
 * concord_batch_mapped makes one of what a plain event was mapped to, in
 * the same way.
 */
ConcordBatch *
concord_batch_mapped(ConcordLane *lane, const ConcordMapped *mapped,
					 ConcordMapped **copy)
{
	int			nkeys = list_length(lane->definition->mapping->key);
	ConcordBatch *batch = MemoryContextAlloc(lane->memory,
											 MAXALIGN(sizeof(ConcordBatch)) +
											 concord_mapped_size(mapped, nkeys));

	batch->context = NULL;
	batch->refs = 1;
	*copy = concord_mapped_copy_to(mapped, nkeys, (char *) batch +
								   MAXALIGN(sizeof(ConcordBatch)));
	return batch;
}

/*
 * concord_delivery_memory is for what is kept with a delivery's event.  In a lane
 * whose deliveries need that, events have a context.
 */
MemoryContext
concord_delivery_memory(const ConcordDelivery *d)
{
	return d->events->context != NULL ? d->events->context : d->lane->memory;
}

/* concord_batch_create_small makes one that does not take much at a time. */
ConcordBatch *
concord_batch_create_small(MemoryContext parent)
{
	return win_batch(AllocSetContextCreate(parent, "concord exchanges",
										   ALLOCSET_DEFAULT_MINSIZE,
										   ALLOCSET_DEFAULT_INITSIZE,
										   WIN_BLOCK_BYTES));
}

/*
 * concord_delivery_share has a delivery's exchange take its memory from a batch,
 * with others that are made at the same time: contexts are many otherwise.
 */
void
concord_delivery_share(ConcordDelivery *d, ConcordBatch *batch)
{
	Assert(d->context == NULL && d->shared == NULL);
	d->shared = batch;
	d->context = batch->context;
	batch->refs++;
}

/* concord_batch_release drops a reference and, with the last, the memory. */
void
concord_batch_release(ConcordBatch *batch)
{
	if (batch == NULL || --batch->refs > 0)
		return;
	if (batch->context != NULL)
		MemoryContextDelete(batch->context);
	else
		pfree(batch);
}

/* concord_delivery_create makes a delivery of an event that batch holds. */
ConcordDelivery *
concord_delivery_create(ConcordLane *lane, ConcordBatch *events,
						const ConcordEvent *event, TimestampTz now)
{
	ConcordDelivery *d = MemoryContextAllocZero(lane->memory,
												sizeof(ConcordDelivery));

	d->lane = lane;
	d->state = CONCORD_DELIVERY_NEW;
	d->events = events;
	d->event = event;
	d->taken_at = now;
	events->refs++;
	concord_lane_wake(lane);
	if (event->op == CONCORD_OP_RESYNC)
	{
		lane->nresyncs++;
		concord_lane_watch(lane);
	}
	return d;
}

/* concord_delivery_forget_request gives back a request and its answer. */
void
concord_delivery_forget_request(ConcordDelivery *d)
{
	if (d->request != NULL)
		concord_request_free(d->request);
	d->request = NULL;
}

/* concord_delivery_forget_exchange gives back what one exchange took. */
void
concord_delivery_forget_exchange(ConcordDelivery *d)
{
	concord_delivery_forget_request(d);
	d->exchange = NULL;
	if (d->shared != NULL)
		concord_batch_release(d->shared);
	else if (d->context != NULL)
		MemoryContextDelete(d->context);
	d->shared = NULL;
	d->context = NULL;
	memset(&d->link, 0, sizeof(d->link));
	d->link_known = d->link_stored = d->link_has_hash = false;
	d->link_key = NULL;
	d->link_fields = NULL;
	d->link_covers = false;
	d->route = NULL;
	d->link_route = d->left_route = 0;
	d->left_id = d->left_etag = NULL;
	d->link_nfields = 0;
	concord_access_release(d->access);
	d->access = NULL;
}

/* concord_delivery_forget_mapped drops mapped values that are too old. */
void
concord_delivery_forget_mapped(ConcordDelivery *d)
{
	concord_batch_release(d->values);
	concord_definition_release(d->definition);
	d->values = NULL;
	d->definition = NULL;
	d->mapped = NULL;
	d->link_key = NULL;
	d->has_hash = false;
	d->refers = false;
}

/* concord_delivery_free ends a delivery that is in no list any more. */
void
concord_delivery_free(ConcordDelivery *d)
{
	ConcordLane *lane = d->lane;

	Assert(!d->listed && d->nrefs == 0);
	if (d->in_window)
	{
		dlist_delete(&d->window_node);
		lane->nwindow--;
		lane->nwindow_ended -= d->state == CONCORD_DELIVERY_ENDED;
		lane->window_bytes -= d->event->old_len + d->event->new_len;
		lane->max_done = Max(lane->max_done, d->event->seq);
	}
	lane->nresyncs -= d->event->op == CONCORD_OP_RESYNC;
	concord_delivery_forget_exchange(d);
	concord_delivery_forget_mapped(d);
	concord_batch_release(d->events);
	pfree(d);
}

/* concord_window_has_room says whether the lane wants more events. */
bool
concord_window_has_room(const ConcordLane *lane)
{
	/*
	 * With large batches, enough for all places, one to come, and what has
	 * ended and waits for the commit.
	 */
	int			grouped = lane->own.group_limit == 0 ? 0 :
		Min(lane->own.group_limit * (lane->own.system->limits.concurrency + 1) +
			CONCORD_BOOK_ENDS, CONCORD_WINDOW_GROUPED);

	/* a transaction has to be whole in it */
	if (lane->unit)
		grouped = CONCORD_WINDOW_GROUPED;
	return lane->nwindow < Max(CONCORD_WINDOW_EVENTS + lane->nwindow_ended, grouped) &&
		lane->window_bytes < CONCORD_WINDOW_BYTES &&
		lane->nready + lane->nfresh < Max(CONCORD_READ_EVENTS, grouped) &&
		lane->nparked < CONCORD_PARKED_LIMIT;
}

/* concord_lane_finished_before: an earlier process finished this event. */
bool
concord_lane_finished_before(const ConcordLane *lane, int64 seq)
{
	int			low = 0;
	int			high = lane->nfinished;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (seq < lane->finished[2 * middle])
			high = middle;
		else if (seq >= lane->finished[2 * middle + 1])
			low = middle + 1;
		else
			return true;
	}
	return false;
}

/* concord_window_take adds an event, which batch holds, at the window's end. */
void
concord_window_take(ConcordCourier *courier, ConcordLane *lane,
					ConcordBatch *events, const ConcordEvent *event)
{
	ConcordDelivery *d = concord_delivery_create(lane, events, event,
												 courier->now);

	d->in_window = true;
	d->was_unknown = event->seq <= lane->recovered_to;
	dlist_push_tail(&lane->window, &d->window_node);
	lane->nwindow++;
	lane->window_bytes += event->old_len + event->new_len;
	concord_fresh_add(d);
}

/* concord_fresh_add puts a delivery in line to be mapped. */
void
concord_fresh_add(ConcordDelivery *d)
{
	Assert(d->state == CONCORD_DELIVERY_NEW && !d->listed);
	dlist_push_tail(&d->lane->fresh, &d->list_node);
	if (d->lane->nfresh++ == 0)
		concord_place_enter(&d->lane->courier->fresh, &d->lane->has_fresh);
	d->listed = true;
}

/* concord_list_remove takes a delivery out of fresh, linkless or ready. */
void
concord_list_remove(ConcordDelivery *d)
{
	if (!d->listed)
		return;
	dlist_delete(&d->list_node);
	d->listed = false;
	if (d->state == CONCORD_DELIVERY_NEW)
	{
		if (--d->lane->nfresh == 0)
			concord_place_leave(&d->lane->has_fresh);
		return;
	}
	d->lane->nready--;
	if (!d->link_known)
	{
		if (dlist_is_empty(&d->lane->linkless))
			concord_place_leave(&d->lane->has_linkless);
	}
	else if (--d->route->nready == 0)
		concord_place_leave(&d->route->ready_place);
}

/* concord_window_cursor gives the seq up to which all is finished. */
int64
concord_window_cursor(ConcordLane *lane)
{
	ConcordDelivery *first;

	if (dlist_is_empty(&lane->window))
		return concord_lane_position(lane);
	first = dlist_container(ConcordDelivery, window_node,
							lane->window.head.next);
	return first->event->seq - 1;
}

/* win_range appends [from, to) to a multirange's text. */
static void
win_range(StringInfo buf, int64 from, int64 to)
{
	if (from < to)
		appendStringInfo(buf, "%s[" INT64_FORMAT "," INT64_FORMAT ")",
						 buf->len > 1 ? "," : "", from, to);
}

/*
 * concord_window_done gives what is finished beyond the cursor as the text of
 * an int8multirange, in the current context.  What an earlier process finished
 * and this one has not come to yet stays in it.
 */
const char *
concord_window_done(ConcordLane *lane)
{
	StringInfoData buf;
	dlist_iter	iter;
	int64		from = -1;

	if (dlist_is_empty(&lane->window) && lane->nfinished == 0)
		return "{}";

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	dlist_foreach(iter, &lane->window)
	{
		ConcordDelivery *d = dlist_container(ConcordDelivery, window_node,
											 iter.cur);

		if (from >= 0)
			win_range(&buf, from, d->event->seq);
		from = d->event->seq + 1;
		if (from > lane->max_done)
			break;
	}
	if (from >= 0)
		win_range(&buf, from, lane->max_done + 1);
	for (int i = 0; i < lane->nfinished; i++)
	{
		int64		low = lane->finished[2 * i];
		int64		high = lane->finished[2 * i + 1];

		if (high > concord_lane_position(lane) + 1)
			win_range(&buf, Max(low, Max(concord_lane_position(lane), lane->max_done) + 1),
					  high);
	}
	appendStringInfoChar(&buf, '}');
	return buf.data;
}
