/*-------------------------------------------------------------------------
 *
 * start.c
 *	  Where lanes begin: rows of concord.lane_start become rows of concord.lane.
 *
 * Capture writes a start when it meets a mapping's beginning in the log.  A
 * start of a mapping that is being served waits until all its lanes have
 * drained.  The courier of the first share, holding the leases of all, writes
 * the rows; the others find them there.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/shmem.h"
#include "catalog/pg_type.h"
#include "delivery/delivery.h"
#include "executor/spi.h"
#include "utils/builtins.h"

/*
 * Links and dead letters of a dump carry positions of the outbox they come
 * from; this one may be behind those.  Positions beyond a lane's start are of
 * that kind: they go back, in their order, to before it, so that what happens
 * from now on is the newer.
 */
static const char *const sta_renumber =
"WITH top AS (SELECT greatest("
"    (SELECT pg_catalog.max(k.seq) FROM concord.link_item k WHERE k.mapping = $1),"
"    (SELECT pg_catalog.max(e.seq) FROM concord.exception e WHERE e.mapping = $1)) - $2 AS beyond),"
" links AS (UPDATE concord.link_item k SET seq = k.seq - t.beyond FROM top t"
"    WHERE k.mapping = $1 AND t.beyond > 0)"
"UPDATE concord.exception e SET seq = e.seq - t.beyond FROM top t"
" WHERE e.mapping = $1 AND t.beyond > 0";

/* New rows; counters stay. */
static const char *const sta_insert =
"INSERT INTO concord.lane AS l (mapping, share, shares, cursor, last_error, last_error_at)"
" SELECT $1, n, $4, $2, $3, CASE WHEN $3 IS NOT NULL THEN pg_catalog.now() END"
"   FROM pg_catalog.generate_series(0, $4 - 1) n"
" ON CONFLICT (mapping, share) DO UPDATE SET cursor = excluded.cursor, shares = excluded.shares,"
"    done = '{}', past = NULL, past_to = NULL, started_at = pg_catalog.now()";

/* sta_write writes the rows of a mapping whose lanes have all drained. */
static void
sta_write(const ConcordLane *lane, int shares, int64 seq)
{
	Oid			types[] = {INT4OID, INT8OID, TEXTOID, INT4OID};
	Datum		values[] = {
		Int32GetDatum(lane->id),
		Int64GetDatum(seq),
		lane->last_error ? CStringGetTextDatum(lane->last_error) : (Datum) 0,
		Int32GetDatum(shares)
	};
	char		nulls[] = {' ', ' ', lane->last_error ? ' ' : 'n', ' '};
	Datum		rest[] = {values[0], values[3]};
	Oid			rest_types[] = {INT4OID, INT4OID};

	if (SPI_execute_with_args(sta_insert, 4, types, values, nulls, false, 0) != SPI_OK_INSERT ||
		SPI_execute_with_args("DELETE FROM concord.lane WHERE mapping = $1 AND share >= $2",
							  2, rest_types, rest, NULL, false, 0) != SPI_OK_DELETE ||
		SPI_execute_with_args(sta_renumber, 2, types, values, NULL, false, 0) != SPI_OK_UPDATE ||
		SPI_execute_with_args("DELETE FROM concord.lane_start WHERE mapping = $1 AND seq <= $2",
							  2, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not start the lanes of mapping %d", lane->id);
}

/*
 * sta_drain ends this courier's lanes of a mapping, and keeps them from opening
 * again; false while one has something under way.
 */
static bool
sta_drain(ConcordCourier *courier, int32 id)
{
	bool		drained = true;
	dlist_iter	iter;

	dlist_foreach(iter, concord_lanes_of(courier, id))
	{
		ConcordLane *lane = dlist_container(ConcordLane, mapping_node, iter.cur);

		concord_lane_drain(lane);
		lane->restarting = courier->restarting = true;
		if (lane->state != CONCORD_LANE_CLOSED)
			drained = false;
		else if (lane->share > 0)
			concord_lane_lease(lane, false);
	}
	return drained;
}

/* sta_mapping starts a mapping, if it is ours to do; true where it has. */
static bool
sta_mapping(ConcordCourier *courier, int32 id, int64 seq, bool *waiting)
{
	ConcordLane *first = concord_lane_find(courier, id, 0);
	ConcordMapping *mapping;
	dlist_iter	iter;

	if (concord_lane_find(courier, id, -1) == NULL)
		return false;
	if (!sta_drain(courier, id))
	{
		*waiting = true;
		return false;
	}
	if (first == NULL || !concord_lane_lease(first, true))
		return false;
	mapping = concord_mapping_by_id(id, courier->turn);
	if (mapping == NULL)
		return false;
	if (!concord_lane_lease_all(courier, id, true))
	{
		*waiting = true;
		return false;
	}
	sta_write(first, mapping->options.couriers, seq);
	concord_lane_lease_all(courier, id, false);
	dlist_foreach(iter, concord_lanes_of(courier, id))
		dlist_container(ConcordLane, mapping_node, iter.cur)->restarting = false;
	if (mapping->options.couriers > 1)
		concord_catalog_changed();
	return true;
}

/*
 * concord_lanes_start gives lanes to the mappings whose start capture has met.
 * Runs in a bookkeeping transaction; true where a lane may open now.
 */
bool
concord_lanes_start(ConcordCourier *courier)
{
	bool		found = false;
	bool		waiting = false;
	uint64		n;
	SPITupleTable *rows;
	dlist_iter	iter;

	if (SPI_execute("SELECT DISTINCT ON (mapping) mapping, seq FROM concord.lane_start"
					" ORDER BY mapping, seq DESC", false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.lane_start");
	n = SPI_processed;
	rows = SPI_tuptable;
	if (courier->restarting)
		dlist_foreach(iter, &courier->lanes)
			dlist_container(ConcordLane, node, iter.cur)->restarting = false;
	courier->restarting = false;
	for (uint64 i = 0; i < n; i++)
	{
		bool		isnull;
		int32		id = DatumGetInt32(SPI_getbinval(rows->vals[i], rows->tupdesc,
													 1, &isnull));
		int64		seq = DatumGetInt64(SPI_getbinval(rows->vals[i], rows->tupdesc,
													  2, &isnull));

		found |= sta_mapping(courier, id, seq, &waiting);
	}
	courier->look_for_starts = waiting;
	return found;
}
