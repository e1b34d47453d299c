/*-------------------------------------------------------------------------
 *
 * unit_turn.c
 *	  Which transaction goes next as a whole (unit.c).
 *
 * Mappings with unit 'transaction' that have one server and one definer are
 * served by one courier.  Their transactions go one after the other, in commit
 * order: what one of them changes waits for the one before, so nothing of a
 * later one overtakes it.
 *
 * One that waits for a record, which may take until wait_limit, is passed by
 * those behind it.  What shares a record with it does not: it stands behind it in
 * the queue of that key.  What refers to a record that it creates waits, too.
 *
 * A transaction's turn comes when all lanes have read it to its end, all its
 * events are mapped, and their links are known.  Of a record that it changes
 * more than once, the last image goes (coalesce.c); what is unchanged ends
 * alone.
 *
 * Dead letters that are to be delivered again are a unit, too: all of their
 * transaction that are in the table, whatever comes meanwhile; what something
 * newer has overtaken ends by its link.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/bookkeeping.h"
#include "catalog/pg_type.h"
#include "delivery/group.h"
#include "delivery/unit.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define UNIT_WAIT_US		INT64CONST(250000)	/* for a record it refers to */
#define UNIT_WAIT_LIMIT_US	USECS_PER_DAY	/* wait_limit's default */
#define UNIT_PASS			32	/* transactions that wait, and are passed by */

/* unit_peers says whether a lane's transactions are those of another one. */
static bool
unit_peers(const ConcordLane *a, const ConcordLane *b)
{
	return a->unit_server == b->unit_server && a->unit_definer == b->unit_definer;
}

/* unit_mark notes up to where a lane has read all that is committed. */
static void
unit_mark(ConcordLane *lane, int64 last_seq, XLogRecPtr captured)
{
	if (lane->read_pos >= lane->whole_seq)
	{
		lane->whole = Max(lane->whole, lane->whole_next);
		lane->whole_seq = last_seq;
		lane->whole_next = captured;
	}
	if (lane->read_pos >= last_seq)
		lane->whole = Max(lane->whole, captured);
}

/*
 * unit_lanes collects the lanes that are served together with one; false where
 * not all of them are open, or have read the transaction.
 */
static bool
unit_lanes(ConcordCourier *courier, const ConcordLane *with, XLogRecPtr lsn,
		   List **lanes, ConcordLane **full)
{
	dlist_iter	iter;
	bool		whole = true;

	*lanes = NIL;
	*full = NULL;
	dlist_foreach(iter, &courier->busy)
	{
		ConcordLane *lane = dlist_container(ConcordLane, busy.node, iter.cur);

		if (!OidIsValid(lane->unit_server) || !unit_peers(lane, with) ||
			(!lane->wanted && lane->state != CONCORD_LANE_DRAINING))
			continue;
		if (lane->state != CONCORD_LANE_OPEN)
			return false;
		if (lane->whole < lsn)
		{
			whole = false;
			if (lane->nwindow >= CONCORD_WINDOW_GROUPED ||
				lane->window_bytes >= CONCORD_WINDOW_BYTES)
				*full = lane;
		}
		*lanes = lappend(*lanes, lane);
	}
	return whole;
}

/*
 * unit_window_first gives the first delivery of a lane that has not ended, of the
 * transactions after one.
 */
static ConcordDelivery *
unit_window_first(ConcordLane *lane, XLogRecPtr after)
{
	dlist_iter	iter;

	dlist_foreach(iter, &lane->window)
	{
		ConcordDelivery *d = dlist_container(ConcordDelivery, window_node,
											 iter.cur);

		if (d->state != CONCORD_DELIVERY_ENDED && d->event->lsn > after)
			return d;
	}
	return NULL;
}

/* unit_first finds the oldest delivery of a system's units after a transaction. */
static ConcordDelivery *
unit_first(ConcordSystem *system, XLogRecPtr after)
{
	ConcordDelivery *first = NULL;
	dlist_iter	iter;

	dlist_foreach(iter, &system->routes)
	{
		ConcordLane *lane = dlist_container(ConcordRoute, system_node, iter.cur)->lane;
		ConcordDelivery *d;

		if (!lane->unit || lane->state != CONCORD_LANE_OPEN)
			continue;
		d = unit_window_first(lane, after);
		if (d != NULL && (first == NULL || d->event->seq < first->event->seq))
			first = d;
	}
	return first;
}

/* unit_parked finds the oldest delivery that goes again. */
static ConcordDelivery *
unit_parked(ConcordSystem *system)
{
	ConcordDelivery *first = NULL;
	dlist_iter	iter;
	dlist_iter	inner;

	dlist_foreach(iter, &system->routes)
	{
		ConcordLane *lane = dlist_container(ConcordRoute, system_node, iter.cur)->lane;

		if (!lane->unit || lane->state != CONCORD_LANE_OPEN)
			continue;
		dlist_foreach(inner, &lane->parked)
		{
			ConcordDelivery *d = dlist_container(ConcordParked, node,
												 inner.cur)->active;

			if (d != NULL && d->state != CONCORD_DELIVERY_ENDED &&
				(first == NULL || d->event->seq < first->event->seq))
				first = d;
		}
	}
	return first;
}

/* unit_compare sorts by outbox order. */
static int
unit_compare(const void *a, const void *b)
{
	int64		p = (*(ConcordDelivery *const *) a)->event->seq;
	int64		q = (*(ConcordDelivery *const *) b)->event->seq;

	return p < q ? -1 : p > q;
}

/* unit_belongs: it is of the transaction; a row sent anew is on its own. */
static bool
unit_belongs(const ConcordDelivery *d, const ConcordDelivery *first)
{
	if (d == first)
		return true;
	return d->state != CONCORD_DELIVERY_ENDED &&
		d->event->lsn == first->event->lsn &&
		d->event->op != CONCORD_OP_RESYNC &&
		first->event->op != CONCORD_OP_RESYNC;
}

/* unit_gather collects a transaction's deliveries, in order. */
static int
unit_gather(ConcordCourier *courier, List *lanes, const ConcordDelivery *first,
			ConcordDelivery ***members)
{
	ListCell   *lc;
	dlist_iter	iter;
	int			n = 0;
	int			max = 1;

	foreach(lc, lanes)
	{
		const ConcordLane *lane = lfirst(lc);

		max += first->parked != NULL ? lane->nparked : lane->nwindow;
	}
	*members = MemoryContextAlloc(courier->turn, sizeof(ConcordDelivery *) * max);
	foreach(lc, lanes)
	{
		ConcordLane *lane = lfirst(lc);

		if (first->parked != NULL)
		{
			dlist_foreach(iter, &lane->parked)
			{
				ConcordDelivery *d = dlist_container(ConcordParked, node,
													 iter.cur)->active;

				if (d != NULL && unit_belongs(d, first))
					(*members)[n++] = d;
			}
			continue;
		}
		dlist_foreach(iter, &lane->window)
		{
			ConcordDelivery *d = dlist_container(ConcordDelivery, window_node,
												 iter.cur);

			if (d->event->lsn > first->event->lsn)
				break;
			if (unit_belongs(d, first))
				(*members)[n++] = d;
		}
	}
	qsort(*members, n, sizeof(ConcordDelivery *), unit_compare);
	return n;
}

/* unit_rows counts rows of a transaction in concord.exception. */
static int64
unit_rows(List *lanes, XLogRecPtr lsn, const char *state)
{
	Oid			types[] = {INT8OID, INT4ARRAYOID, TEXTOID};
	Datum	   *ids;
	Datum		values[3];
	ListCell   *lc;
	bool		isnull;
	int64		count;
	int			n = 0;

	concord_bookkeeping_begin();
	ids = palloc(sizeof(Datum) * Max(list_length(lanes), 1));
	foreach(lc, lanes)
		ids[n++] = Int32GetDatum(((const ConcordLane *) lfirst(lc))->id);
	values[0] = Int64GetDatum((int64) lsn);
	values[1] = PointerGetDatum(construct_array(ids, n, INT4OID, 4, true,
												TYPALIGN_INT));
	values[2] = CStringGetTextDatum(state);
	if (SPI_execute_with_args("SELECT pg_catalog.count(*) FROM concord.exception"
							  " WHERE unit = $1 AND mapping = ANY ($2) AND state = $3",
							  3, types, values, NULL, true, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read concord.exception");
	count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										SPI_tuptable->tupdesc, 1, &isnull));
	concord_bookkeeping_commit(false);
	return count;
}

/* unit_remap has a delivery mapped again. */
static void
unit_remap(ConcordDelivery *d)
{
	d->unit_wait = 0;
	concord_list_remove(d);
	concord_delivery_forget_exchange(d);
	concord_delivery_forget_mapped(d);
	concord_delivery_become(d, CONCORD_DELIVERY_NEW);
	concord_fresh_add(d);
}

/*
 * unit_waits has all wait for a record that one of them refers to, or ends them
 * where that has taken too long.  Dead letters that go again wait in their
 * table, so that they hold up nobody.
 */
static void
unit_waits(ConcordCourier *courier, ConcordDelivery *d, ConcordDelivery **ds,
		   int n)
{
	int			limit_ms = d->definition->mapping->options.wait_limit_ms;
	int64		limit = limit_ms >= 0 ? limit_ms * INT64CONST(1000) : UNIT_WAIT_LIMIT_US;
	TimestampTz since = d->parked ? d->parked->created_at : d->taken_at;

	if (courier->now - since >= limit)
		concord_unit_die(courier, ds, n, d, true, d->mapped->rule,
						 d->mapped->error ? d->mapped->error :
						 "it refers to a record that has no link");
	else if (d->parked != NULL)
	{
		for (int i = 0; i < n; i++)
		{
			ds[i]->rule = d->mapped->rule;
			ds[i]->error = d->mapped->error;
			ds[i]->next_try = courier->now + UNIT_WAIT_US;
			concord_delivery_end(courier, ds[i], CONCORD_END_RETRY);
		}
	}
	else
		d->unit_wait = courier->now + UNIT_WAIT_US;
}

/*
 * unit_waiting: the transaction waits for a record, and it is not time to look
 * again.  Where that has come, what waits is mapped anew.
 */
static bool
unit_waiting(const ConcordCourier *courier, ConcordDelivery **ds, int n)
{
	bool		waits = false;

	for (int i = 0; i < n; i++)
	{
		if (ds[i]->state != CONCORD_DELIVERY_QUEUED || ds[i]->unit_wait == 0)
			continue;
		if (ds[i]->mapped->verdict == CONCORD_WAIT &&
			ds[i]->unit_wait > courier->now)
			waits = true;
		else
			unit_remap(ds[i]);
	}
	return waits;
}

/* unit_behind: it stands behind another one of the same transaction. */
static bool
unit_behind(ConcordDelivery *d, ConcordDelivery **ds, int n)
{
	for (int i = 0; i < d->nrefs; i++)
	{
		ConcordDelivery *first = dlist_container(ConcordKeyRef, node,
												 d->refs[i].key->queue.head.next)->owner;

		for (int j = 0; j < n; j++)
			if (ds[j] == first && first != d)
				return true;
	}
	return false;
}

/*
 * unit_follows: one of them stands behind another transaction, which can only be
 * one that waits, or stands behind such a one.
 */
static bool
unit_follows(ConcordDelivery **ds, int n)
{
	for (int i = 0; i < n; i++)
	{
		for (int j = 0; j < ds[i]->nrefs; j++)
		{
			const ConcordDelivery *head =
				dlist_container(ConcordKeyRef, node,
								ds[i]->refs[j].key->queue.head.next)->owner;

			if (head->event->lsn != ds[i]->event->lsn)
				return true;
		}
	}
	return false;
}

/* unit_stale: what it was mapped to is too old, or of a clock that was set. */
static bool
unit_stale(const ConcordCourier *courier, const ConcordDelivery *d)
{
	return courier->now - d->mapped_at > CONCORD_FRESH_MS * INT64CONST(1000) ||
		d->mapped_at > courier->now;
}

/*
 * unit_refers does what can be done where some of a transaction wait for records:
 * for such as it creates itself, or others.  False where it cannot go now.
 */
static bool
unit_refers(ConcordCourier *courier, ConcordDelivery **ds, int n)
{
	int			blocked = 0;

	/*
	 * whether a record has a link is known when its turn has come, which it
	 * has not for who stands behind another one of these
	 */
	for (int i = 0; i < n; i++)
		if (ds[i]->mapped->verdict == CONCORD_SEND && !ds[i]->link_known &&
			!unit_behind(ds[i], ds, n))
			return false;
	switch (concord_unit_refer(courier, ds, n))
	{
		case CONCORD_REFER_MAPPED:
			break;
		case CONCORD_REFER_ENDED:
			return false;
		case CONCORD_REFER_LATER:
			for (int i = 0; i < n; i++)
				if (ds[i]->mapped == NULL)
					unit_remap(ds[i]);
			return false;
		case CONCORD_REFER_WAITS:
			while (ds[blocked]->mapped->verdict != CONCORD_WAIT)
				blocked++;
			unit_waits(courier, ds[blocked], ds, n);
			return false;
	}
	/* one image may have taken the place of another */
	for (int i = 0; i < n; i++)
		if (ds[i]->state != CONCORD_DELIVERY_QUEUED)
			return false;
	return true;
}

/*
 * unit_mapped says whether all of a transaction is mapped, and to what can be
 * sent.  Where not, its turn comes again, or it has ended.
 */
static bool
unit_mapped(ConcordCourier *courier, ConcordDelivery **ds, int n)
{
	bool		stale = false;
	bool		waits = false;

	for (int i = 0; i < n; i++)
	{
		if (ds[i]->state != CONCORD_DELIVERY_QUEUED)
			return false;
		waits |= ds[i]->mapped->verdict == CONCORD_WAIT;
	}
	if (waits && !unit_refers(courier, ds, n))
		return false;
	for (int i = 0; i < n; i++)
	{
		ConcordDelivery *d = ds[i];
		const ConcordMapped *m = d->mapped;

		if (m->verdict != CONCORD_SEND || m->action == CONCORD_ACTION_EVENT)
		{
			bool		failed = m->verdict == CONCORD_FAIL;

			concord_unit_die(courier, ds, n, d, true, failed ? m->rule : "unit",
							 failed && m->error ? m->error :
							 "it is no change of one record");
			return false;
		}
		stale |= unit_stale(courier, d);
	}
	/* all at once: one by one, the first would be stale again before the last */
	for (int i = 0; stale && i < n; i++)
		unit_remap(ds[i]);
	return !stale;
}

/*
 * unit_ready says whether all of a transaction can go; where not, its turn comes
 * again, or it has ended.  Takes out what ends without a request.
 */
static bool
unit_ready(ConcordCourier *courier, ConcordDelivery **ds, int *n)
{
	int			left = 0;

	if (!unit_mapped(courier, ds, *n))
		return false;
	for (int i = 0; i < *n; i++)
	{
		ConcordDelivery *d = ds[i];

		if (unit_behind(d, ds, *n))
		{
			concord_unit_die(courier, ds, *n, d, true, "unit",
							 "the transaction changes this record more than once, in a way that is not one change");
			return false;
		}
		if (!d->listed || !d->link_known || !concord_resync_ready(courier, d))
			return false;
	}
	for (int i = 0; i < *n; i++)
	{
		ConcordEnd	end = concord_link_decides(ds[i]);

		if (end != CONCORD_END_NONE)
			concord_delivery_end(courier, ds[i], end);
		else
			ds[left++] = ds[i];
	}
	*n = left;
	return left > 0;
}

/* unit_torn ends a transaction of which a part is dead letters already. */
static bool
unit_torn(ConcordCourier *courier, List *lanes, ConcordDelivery **ds, int n)
{
	if (unit_rows(lanes, ds[0]->event->lsn, "dead") == 0)
		return false;
	concord_unit_die(courier, ds, n, NULL, false, NULL,
					 "other changes of the same transaction are dead letters");
	return true;
}

/*
 * unit_try sends the transaction of first, if it can go; true: it has.  passed:
 * others before it wait.  *waits: so does this one, for a record or for them, and
 * those behind it may go.
 */
static bool
unit_try(ConcordCourier *courier, ConcordSystem *system, ConcordDelivery *first,
		 bool passed, bool *waits)
{
	ConcordDelivery **ds;
	ConcordLane *full;
	List	   *lanes;
	XLogRecPtr	lsn = first->event->lsn;
	int			n;
	bool		alone = first->event->op == CONCORD_OP_RESYNC;
	bool		whole = unit_lanes(courier, first->lane, lsn, &lanes, &full);

	*waits = false;
	if (lanes == NIL || (!whole && full == NULL && first->parked == NULL))
		return false;
	n = unit_gather(courier, lanes, first, &ds);
	*waits = unit_waiting(courier, ds, n) ||
		(first->parked == NULL && passed && unit_follows(ds, n));
	if (*waits)
		return false;
	if (first->parked != NULL && !alone && unit_rows(lanes, lsn, "retry") > n)
		return false;			/* not all of it is in memory yet */
	if (first->parked == NULL && full != NULL && !alone)
	{
		for (int i = 0; i < n; i++)
			if (ds[i]->state == CONCORD_DELIVERY_NEW)
				return false;
		concord_unit_die(courier, ds, n, NULL, false, NULL,
						 "the transaction has more changes than can be sent as a whole");
		return false;
	}
	if (!unit_ready(courier, ds, &n) || !concord_breaker_allows(system))
		return false;
	if (first->parked == NULL && !alone && unit_torn(courier, lanes, ds, n))
	{
		concord_breaker_spare(system);
		return false;
	}
	concord_unit_start(courier, system, ds, n);
	return true;
}

/* concord_unit_turn sends a system's next transaction, one at a time. */
void
concord_unit_turn(ConcordCourier *courier, ConcordSystem *system)
{
	ConcordDelivery *first;
	int64		last_seq;
	XLogRecPtr	captured;
	bool		any = false;
	bool		waits;
	dlist_iter	iter;

	/* published before captured_lsn, so it is not older */
	captured = pg_atomic_read_u64(&courier->db->captured_lsn);
	pg_read_barrier();
	last_seq = (int64) pg_atomic_read_u64(&courier->db->last_seq);
	dlist_foreach(iter, &system->routes)
	{
		ConcordLane *lane = dlist_container(ConcordRoute, system_node, iter.cur)->lane;

		if (!lane->unit || lane->state != CONCORD_LANE_OPEN)
			continue;
		any = true;
		unit_mark(lane, last_seq, captured);
	}
	if (!any || system->unit != NULL || system->unit_hold > courier->now ||
		concord_lanes_outdated(courier))
		return;
	first = unit_parked(system);
	if (first != NULL && unit_try(courier, system, first, false, &waits))
		return;
	first = unit_first(system, InvalidXLogRecPtr);
	for (int i = 0; first != NULL && system->unit == NULL && i < UNIT_PASS; i++)
	{
		XLogRecPtr	lsn = first->event->lsn;

		if (unit_try(courier, system, first, i > 0, &waits) || !waits)
			return;
		first = unit_first(system, lsn);
	}
}
