/*-------------------------------------------------------------------------
 *
 * book.c
 *	  The bookkeeping transaction of a turn.
 *
 * All that has ended since the last one goes into one short transaction: log,
 * links, exceptions, and the positions of all lanes that have moved.  It
 * commits asynchronously unless losing it could not be made good (a dead
 * letter, an id that a system has assigned); README.md of this room says why
 * that is safe.  Memory changes after the commit: an ended delivery stands in
 * its key's queue until then.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xlog.h"
#include "base/bookkeeping.h"
#include "catalog/pg_type.h"
#include "delivery/book.h"
#include "delivery/lanerow.h"
#include "delivery/leave.h"
#include "delivery/log.h"
#include "delivery/work.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define BOOK_WAIT_US		20000	/* while others are under way */
#define BOOK_GATE_US		1000	/* while somebody waits for the commit */
#define BOOK_LAZY_LANES		16
#define BOOK_LAZY_US		1000000

/* ---------------------------------------------------------------------
 * statements with arrays as parameters
 * ------------------------------------------------------------------- */

/*
 * concord_book_plan_begin makes the planner look rows up one by one until
 * concord_book_plan_end.  Our plans are made while tables are small and then
 * kept, so the planner's choice for a small table, to read all of it, would be
 * used when it has become large.
 */
int
concord_book_plan_begin(void)
{
	static const char *const settings[] = {
		"enable_hashjoin", "enable_mergejoin", "enable_seqscan"
	};
	int			level = NewGUCNestLevel();

	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i], "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	return level;
}

void
concord_book_plan_end(int level)
{
	AtEOXact_GUC(true, level);
}

/* concord_book_begin makes empty columns of a statement. */
void
concord_book_begin(ConcordBookRows *rows, ConcordBookStatement *statement,
				   int max)
{
	memset(rows, 0, sizeof(*rows));
	rows->statement = statement;
	rows->max = max;
	while (rows->ncolumns < CONCORD_BOOK_COLUMNS &&
		   OidIsValid(statement->types[rows->ncolumns]))
		rows->ncolumns++;
	for (int i = 0; i < rows->ncolumns; i++)
	{
		rows->values[i] = palloc(sizeof(Datum) * Max(max, 1));
		rows->nulls[i] = palloc(sizeof(bool) * Max(max, 1));
	}
}

/* concord_book_put sets a value of the row that is being made. */
void
concord_book_put(ConcordBookRows *rows, int column, Datum value, bool isnull)
{
	Assert(rows->n < rows->max && column < rows->ncolumns);
	rows->values[column][rows->n] = value;
	rows->nulls[column][rows->n] = isnull;
}

void
concord_book_put_text(ConcordBookRows *rows, int column, const char *text)
{
	concord_book_put(rows, column,
					 text ? CStringGetTextDatum(text) : (Datum) 0, text == NULL);
}

/* book_array makes one parameter of a column. */
static Datum
book_array(const ConcordBookRows *rows, int column)
{
	Oid			element = get_element_type(rows->statement->types[column]);
	int			dims[1] = {rows->n};
	int			lower[1] = {1};
	int16		len;
	bool		byval;
	char		align;

	get_typlenbyvalalign(element, &len, &byval, &align);
	return PointerGetDatum(construct_md_array(rows->values[column],
											  rows->nulls[column], 1, dims,
											  lower, element, len, byval, align));
}

/* concord_book_run runs the statement for all rows, if there are any. */
void
concord_book_run(ConcordBookRows *rows)
{
	ConcordBookStatement *statement = rows->statement;
	Datum		values[CONCORD_BOOK_COLUMNS];
	int			level;

	if (rows->n == 0)
		return;
	if (statement->plan == NULL)
	{
		statement->plan = SPI_prepare_cursor(statement->sql, rows->ncolumns,
											 statement->types,
											 CURSOR_OPT_GENERIC_PLAN);
		if (statement->plan == NULL || SPI_keepplan(statement->plan) != 0)
			elog(ERROR, "could not prepare a bookkeeping statement");
	}
	for (int i = 0; i < rows->ncolumns; i++)
		values[i] = book_array(rows, i);
	level = concord_book_plan_begin();
	if (SPI_execute_plan(statement->plan, values, NULL, false, 0) < 0)
		elog(ERROR, "a bookkeeping statement failed");
	concord_book_plan_end(level);
}

/* ---------------------------------------------------------------------
 * positions
 * ------------------------------------------------------------------- */

static ConcordBookStatement book_lane = {
	"UPDATE concord.lane l SET cursor = v.cursor, done = v.done::pg_catalog.int8multirange,"
	"       delivered = l.delivered + v.delivered, unchanged = l.unchanged + v.unchanged,"
	"       skipped = l.skipped + v.skipped, retried = l.retried + v.retried,"
	"       died = l.died + v.died,"
	"       past = CASE WHEN v.cursor >= l.past_to THEN NULL ELSE l.past END,"
	"       last_done_at = coalesce(v.last_done_at, l.last_done_at),"
	"       last_error = coalesce(v.last_error, l.last_error),"
	"       last_error_at = coalesce(v.last_error_at, l.last_error_at)"
	"  FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
	"    AS v (mapping, cursor, done, delivered, unchanged, skipped, retried, died,"
	"          last_done_at, last_error, last_error_at, share)"
	" WHERE l.mapping = v.mapping AND l.share = v.share",
	{INT4ARRAYOID, INT8ARRAYOID, TEXTARRAYOID, INT8ARRAYOID, INT8ARRAYOID,
		INT8ARRAYOID, INT8ARRAYOID, INT8ARRAYOID, TIMESTAMPTZARRAYOID,
	TEXTARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID}
};

static ConcordBookStatement book_sent = {
	"UPDATE concord.lane l SET sent_up_to = v.sent_up_to"
	"  FROM unnest($1, $2, $3) AS v (mapping, sent_up_to, share)"
	" WHERE l.mapping = v.mapping AND l.share = v.share",
	{INT4ARRAYOID, INT8ARRAYOID, INT4ARRAYOID}
};

/* book_leave_windows takes what has ended out of the windows' lists. */
static void
book_leave_windows(ConcordCourier *courier)
{
	dlist_iter	iter;

	dlist_foreach(iter, &courier->ended)
	{
		ConcordDelivery *d = dlist_container(ConcordDelivery, list_node,
											 iter.cur);
		ConcordLane *lane = d->lane;

		if (!d->in_window)
			continue;
		dlist_delete(&d->window_node);
		d->in_window = false;
		lane->nwindow--;
		lane->nwindow_ended--;
		lane->window_bytes -= d->event->old_len + d->event->new_len;
		lane->max_done = Max(lane->max_done, d->event->seq);
	}
}

/* book_dirty: the table does not say what the lane knows. */
static bool
book_dirty(ConcordLane *lane)
{
	return lane->state != CONCORD_LANE_CLOSED &&
		lane->state != CONCORD_LANE_UNSTARTED && !lane->gone &&
		(lane->dirty || concord_window_cursor(lane) != lane->shown_cursor);
}

/* What the positions of a turn are written with. */
typedef struct BookLanes
{
	ConcordLaneRows direct;
	ConcordBookRows rows;		/* for the executor; none yet: max is 0 */
} BookLanes;

/* book_change sets what has changed in a lane's row. */
static void
book_change(ConcordLane *lane, Datum *values, bool *nulls, void *arg)
{
	static const struct
	{
		int			column;
		size_t		offset;
	}			counts[] = {
		{CONCORD_LANE_DELIVERED, offsetof(ConcordLane, delivered)},
		{CONCORD_LANE_UNCHANGED, offsetof(ConcordLane, unchanged)},
		{CONCORD_LANE_SKIPPED, offsetof(ConcordLane, skipped)},
		{CONCORD_LANE_RETRIED, offsetof(ConcordLane, retried)},
		{CONCORD_LANE_DIED, offsetof(ConcordLane, died)},
	};

	values[CONCORD_LANE_CURSOR] = Int64GetDatum(lane->shown_cursor);
	concord_lane_row_done(values, concord_window_done(lane));
	for (int i = 0; i < lengthof(counts); i++)
		values[counts[i].column] =
			Int64GetDatum(DatumGetInt64(values[counts[i].column]) +
						  *(int64 *) ((char *) lane + counts[i].offset));
	if (!nulls[CONCORD_LANE_PAST_TO] &&
		lane->shown_cursor >= DatumGetInt64(values[CONCORD_LANE_PAST_TO]))
		nulls[CONCORD_LANE_PAST] = true;
	if (lane->last_done_at != 0)
	{
		values[CONCORD_LANE_LAST_DONE_AT] = TimestampTzGetDatum(lane->last_done_at);
		nulls[CONCORD_LANE_LAST_DONE_AT] = false;
	}
	if (lane->last_error == NULL)
		return;
	values[CONCORD_LANE_LAST_ERROR] = CStringGetTextDatum(lane->last_error);
	values[CONCORD_LANE_LAST_ERROR_AT] = TimestampTzGetDatum(lane->last_error_at);
	nulls[CONCORD_LANE_LAST_ERROR] = nulls[CONCORD_LANE_LAST_ERROR_AT] = false;
}

/* book_put_row adds a lane's position to what the executor writes. */
static void
book_put_row(ConcordBookRows *rows, const ConcordCourier *courier, ConcordLane *lane)
{
	if (rows->max == 0)
		concord_book_begin(rows, &book_lane, courier->nlanes);
	concord_book_put(rows, 0, Int32GetDatum(lane->id), false);
	concord_book_put(rows, 1, Int64GetDatum(lane->shown_cursor), false);
	concord_book_put_text(rows, 2, concord_window_done(lane));
	concord_book_put(rows, 3, Int64GetDatum(lane->delivered), false);
	concord_book_put(rows, 4, Int64GetDatum(lane->unchanged), false);
	concord_book_put(rows, 5, Int64GetDatum(lane->skipped), false);
	concord_book_put(rows, 6, Int64GetDatum(lane->retried), false);
	concord_book_put(rows, 7, Int64GetDatum(lane->died), false);
	concord_book_put(rows, 8, TimestampTzGetDatum(lane->last_done_at),
					 lane->last_done_at == 0);
	concord_book_put_text(rows, 9, lane->last_error);
	concord_book_put(rows, 10, TimestampTzGetDatum(lane->last_error_at),
					 lane->last_error == NULL);
	concord_book_put(rows, 11, Int32GetDatum(lane->share), false);
	rows->n++;
}

/* book_put_lane writes a lane's position, if the table does not have it. */
static void
book_put_lane(BookLanes *lanes, const ConcordCourier *courier, ConcordLane *lane)
{
	if (!book_dirty(lane))
		return;
	lane->shown_cursor = concord_window_cursor(lane);
	if (!concord_lane_row_write(&lanes->direct, lane, book_change, NULL))
		book_put_row(&lanes->rows, courier, lane);
	lane->dirty = false;
	lane->delivered = lane->unchanged = lane->skipped = 0;
	lane->retried = lane->died = 0;
}

/*
 * book_write_lanes writes the positions of the lanes in which something has
 * ended, and once in a while of all that have moved because others' events
 * went by.
 */
static void
book_write_lanes(ConcordCourier *courier)
{
	BookLanes	lanes = {{0}};
	dlist_iter	iter;

	dlist_foreach(iter, &courier->unbooked)
		book_put_lane(&lanes, courier,
					  dlist_container(ConcordLane, unbooked.node, iter.cur));
	dlist_foreach(iter, &courier->watched)
		book_put_lane(&lanes, courier,
					  dlist_container(ConcordLane, watched.node, iter.cur));
	if (courier->sweep)
	{
		dlist_foreach(iter, &courier->lanes)
			book_put_lane(&lanes, courier,
						  dlist_container(ConcordLane, node, iter.cur));
		courier->swept_at = courier->now;
	}
	courier->sweep = false;
	concord_lane_rows_end(&lanes.direct);
	concord_book_run(&lanes.rows);
}

/* book_rest lets lanes rest whose last end has been booked. */
static void
book_rest(ConcordCourier *courier)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &courier->unbooked)
	{
		ConcordLane *lane = dlist_container(ConcordLane, unbooked.node, iter.cur);

		if (lane->dirty)
			continue;
		concord_place_leave(&lane->unbooked);
		concord_lane_rest(lane);
	}
}

/* book_count counts an end. */
static void
book_count(ConcordCourier *courier)
{
	dlist_iter	iter;

	dlist_foreach(iter, &courier->ended)
	{
		ConcordDelivery *d = dlist_container(ConcordDelivery, list_node,
											 iter.cur);
		ConcordLane *lane = d->lane;

		lane->delivered += d->end == CONCORD_END_DONE;
		lane->unchanged += d->end == CONCORD_END_UNCHANGED ||
			d->end == CONCORD_END_SUPERSEDED;
		lane->skipped += d->end == CONCORD_END_SKIPPED;
		lane->retried += d->end == CONCORD_END_RETRY;
		lane->died += d->end == CONCORD_END_DEAD;
		if (d->end == CONCORD_END_DONE)
			lane->last_done_at = courier->now;
		if (d->end == CONCORD_END_DEAD && d->error != NULL && d->exchange == NULL)
			concord_lane_error(courier, lane, d->error);
	}
}

/* book_change_sent sets a row's sent_up_to. */
static void
book_change_sent(ConcordLane *lane, Datum *values, bool *nulls, void *arg)
{
	values[CONCORD_LANE_SENT_UP_TO] = Int64GetDatum(lane->sent_limit);
}

/* book_put_sent writes a lane's sent_up_to. */
static void
book_put_sent(BookLanes *lanes, const ConcordCourier *courier, ConcordLane *lane,
			  int64 limit)
{
	ConcordBookRows *rows = &lanes->rows;

	lane->sent_limit = limit;
	if (concord_lane_row_write(&lanes->direct, lane, book_change_sent, NULL))
		return;
	if (rows->max == 0)
		concord_book_begin(rows, &book_sent, courier->nlanes);
	concord_book_put(rows, 0, Int32GetDatum(lane->id), false);
	concord_book_put(rows, 1, Int64GetDatum(limit), false);
	concord_book_put(rows, 2, Int32GetDatum(lane->share), false);
	rows->n++;
}

/*
 * concord_book_reserve raises sent_up_to, durably, of the lanes that are about
 * to send beyond it.
 */
void
concord_book_reserve(ConcordCourier *courier)
{
	BookLanes	lanes = {{0}};
	dlist_iter	iter;

	concord_bookkeeping_begin();
	dlist_foreach(iter, &courier->lanes)
	{
		ConcordLane *lane = dlist_container(ConcordLane, node, iter.cur);

		if (lane->state == CONCORD_LANE_OPEN &&
			concord_lane_position(lane) > lane->sent_limit)
			book_put_sent(&lanes, courier, lane,
						  concord_lane_position(lane) + CONCORD_SENT_AHEAD);
	}
	concord_lane_rows_end(&lanes.direct);
	concord_book_run(&lanes.rows);
	concord_bookkeeping_commit(true);
}

/*
 * concord_book_unreserve gives back what was reserved ahead and not used, of one
 * lane or of all (NULL), when an orderly end is made: what was not sent is then
 * not looked for by who serves the lane next.  Losing this commit loses nothing
 * but that.
 */
void
concord_book_unreserve(ConcordCourier *courier, ConcordLane *only)
{
	BookLanes	lanes = {{0}};
	dlist_iter	iter;

	if (only != NULL && only->sent_limit <= only->sent_max)
		return;
	concord_bookkeeping_begin();
	dlist_foreach(iter, &courier->lanes)
	{
		ConcordLane *lane = dlist_container(ConcordLane, node, iter.cur);

		if ((only == NULL || only == lane) && lane->sent_limit > lane->sent_max &&
			(lane->state == CONCORD_LANE_OPEN ||
			 lane->state == CONCORD_LANE_DRAINING))
			book_put_sent(&lanes, courier, lane, lane->sent_max);
	}
	concord_lane_rows_end(&lanes.direct);
	concord_book_run(&lanes.rows);
	concord_bookkeeping_commit(false);
}

/* ---------------------------------------------------------------------
 * the turn
 * ------------------------------------------------------------------- */

/* book_system_outdated: view system shows something else than what is. */
static bool
book_system_outdated(const ConcordCourier *courier, const ConcordSystem *system)
{
	return system->dirty ||
		(system->in_flight != system->shown_in_flight &&
		 courier->now - system->shown_at > BOOK_LAZY_US);
}

/* book_barred: a lane at a barrier, for which others wait, has not told. */
static bool
book_barred(ConcordCourier *courier)
{
	dlist_iter	iter;

	dlist_foreach(iter, &courier->watched)
	{
		ConcordLane *lane = dlist_container(ConcordLane, watched.node, iter.cur);

		if (lane->barrier != 0 && lane->nwindow == 0 && book_dirty(lane))
			return true;
	}
	return false;
}

/*
 * book_moved says whether it is time to book that lanes have moved in which
 * nothing has ended: at once where they are few.
 */
static bool
book_moved(ConcordCourier *courier)
{
	bool		lazy = courier->now - courier->swept_at >= BOOK_LAZY_US;
	int			dirty = 0;
	dlist_iter	iter;

	if (!lazy && courier->nlanes > BOOK_LAZY_LANES)
	{
		/* as many as that are not looked at one by one each turn */
		dlist_foreach(iter, &courier->unbooked)
			if (++dirty > BOOK_LAZY_LANES)
			return false;
		return dirty > 0;
	}
	dlist_foreach(iter, &courier->lanes)
		dirty += book_dirty(dlist_container(ConcordLane, node, iter.cur));
	courier->sweep = dirty > 0;
	if (dirty == 0)
		courier->swept_at = courier->now;
	return dirty > 0;
}

/* concord_book_wanted says whether it is time for a bookkeeping transaction. */
bool
concord_book_wanted(ConcordCourier *courier)
{
	dlist_iter	iter;

	if (courier->nended > 0)
	{
		TimestampTz age = courier->now - courier->ended_since;

		if (courier->nended >= CONCORD_BOOK_ENDS || courier->in_flight == 0 ||
			age >= BOOK_WAIT_US || (courier->ended_gates && age >= BOOK_GATE_US))
			return true;
	}
	dlist_foreach(iter, &courier->systems)
		if (book_system_outdated(courier, dlist_container(ConcordSystem, node,
														  iter.cur)))
		return true;
	if (courier->barred && book_barred(courier))
		return true;
	if (courier->in_flight > 0 && courier->now - courier->booked_at < BOOK_LAZY_US)
		return false;
	return book_moved(courier);
}

/* book_apply changes memory after the commit. */
static void
book_apply(ConcordCourier *courier, XLogRecPtr lsn)
{
	while (!dlist_is_empty(&courier->ended))
	{
		ConcordDelivery *d = dlist_container(ConcordDelivery, list_node,
											 dlist_pop_head_node(&courier->ended));
		ConcordParked *p = d->parked;

		courier->nended--;
		if (p != NULL)
		{
			p->active = NULL;
			d->lane->nactive--;
		}
		concord_leave_apply(courier, d);
		concord_book_apply_exception(courier, d);
		concord_keys_dequeue(d, lsn);
		concord_delivery_free(d);
	}
	courier->ended_gates = false;
	courier->want_durable = false;
}

/* concord_book_turn commits all that has ended. */
void
concord_book_turn(ConcordCourier *courier)
{
	MemoryContext old = CurrentMemoryContext;
	bool		durable = courier->want_durable;
	dlist_iter	iter;

	concord_bookkeeping_begin();
	durable |= concord_link_in_use(courier);
	book_count(courier);
	book_leave_windows(courier);
	if (courier->nended > 0)
	{
		concord_log_write(courier);
		durable |= concord_link_write(courier);
		concord_book_exceptions(courier);
		concord_leave_write(courier);
	}
	book_write_lanes(courier);
	dlist_foreach(iter, &courier->systems)
	{
		ConcordSystem *system = dlist_container(ConcordSystem, node, iter.cur);

		if (book_system_outdated(courier, system))
			concord_book_system(courier, system);
	}
	concord_bookkeeping_commit(durable);
	MemoryContextSwitchTo(old);
	book_apply(courier, XactLastCommitEnd);
	book_rest(courier);
	courier->booked_at = courier->now;
	pg_atomic_fetch_add_u64(&courier->db->delivery_generation, 1);
}
