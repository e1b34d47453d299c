/*-------------------------------------------------------------------------
 *
 * wait.c
 *	  concord.wait_for_delivery(): has all that was committed been delivered.
 *
 * Three positions, one after the other: the end of the WAL as of the call
 * (nothing committed before can be beyond it), capture's arrival there, which
 * gives the newest event, and the lanes' arrival at that event with no live
 * exception before it.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "base/clock.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "capture/capture.h"
#include "catalog/pg_type.h"
#include "delivery/pending.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#define WAIT_POLL_MS	2
#define WAIT_LOOK_MS	100		/* look though nothing was announced */

PG_FUNCTION_INFO_V1(concord_wait_for_delivery);

/* wait_query runs a query over mappings; the first column of the first row. */
static char *
wait_query(const char *sql, const char *name, int64 seq)
{
	Oid			types[] = {TEXTOID, INT8OID};
	Datum		values[2];
	char		nulls[] = {name ? ' ' : 'n', ' '};
	ConcordCatalogScope scope;
	MemoryContext context = CurrentMemoryContext;
	char	   *result = NULL;

	values[0] = name ? CStringGetTextDatum(name) : (Datum) 0;
	values[1] = Int64GetDatum(seq);
	concord_catalog_enter(&scope);
	if (SPI_execute_with_args(sql, 2, types, values, nulls, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read how far mappings are");
	if (SPI_processed > 0)
	{
		result = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		if (result != NULL)
			result = MemoryContextStrdup(context, result);
	}
	concord_catalog_leave(&scope);
	return result;
}

/* Why a named mapping cannot deliver now; or any that has something pending. */
static const char wait_held[] =
"SELECT CASE WHEN m.state <> 'active'"
"            THEN pg_catalog.format('mapping \"%s\" is %s%s', m.name, m.state,"
"                                  CASE WHEN m.state IN ('broken', 'denied') THEN ': ' || m.state_reason END)"
"            WHEN m.push <> 'event' THEN pg_catalog.format('mapping \"%s\" does not push by itself', m.name)"
"            WHEN p.serverid IS NOT NULL THEN pg_catalog.format('server \"%s\" is paused', m.server)"
"            ELSE pg_catalog.format('server \"%s\" must not be contacted: %s', m.server, t.reason) END"
"  FROM (SELECT m.*, coalesce(v.definition ->> 'push', 'event') AS push FROM concord.mapping m"
"          LEFT JOIN concord.mapping_version v ON v.mapping = m.id AND v.version = m.version) m"
"  LEFT JOIN concord.system_pause p ON p.serverid = m.serverid"
"  LEFT JOIN concord.system_state t ON t.serverid = m.serverid AND t.state = 'held'"
"       AND t.reason LIKE '%pg_concord.environment%'"
" WHERE ($1 IS NULL OR m.name = $1::pg_catalog.name)"
"   AND (m.state <> 'active' OR m.push <> 'event' OR p.serverid IS NOT NULL OR t.serverid IS NOT NULL)"
"   AND ($1 IS NOT NULL OR $2 >= 0"
"        AND (SELECT s.pending > 0 FROM concord.pending_summary(m.id) s))"
" LIMIT 1";

/* Whether something is still to come. */
static const char wait_pending[] =
"SELECT m.name FROM concord.mapping m"
" WHERE ($1 IS NULL OR m.name = $1::pg_catalog.name)"
"   AND ($1 IS NOT NULL OR m.state = 'active'"
"        OR (SELECT s.pending > 0 FROM concord.pending_summary(m.id) s))"
"   AND (NOT EXISTS (SELECT FROM concord.lane l WHERE l.mapping = m.id)"
"        OR EXISTS (SELECT FROM concord.lane l WHERE l.mapping = m.id AND l.cursor < $2)"
"        OR EXISTS (SELECT FROM concord.exception e WHERE e.mapping = m.id AND e.seq <= $2"
"                   AND e.state IN ('retry', 'waiting', 'blocked')))"
" LIMIT 1";

/* wait_refuse tells why waiting is of no use; true where it is of none. */
static bool
wait_refuse(const char *name, int64 seq)
{
	char	   *why = NULL;

	if (!concord_delivery)
		why = "pg_concord.delivery is off";
	else
		why = wait_query(wait_held, name, seq);
	if (why == NULL)
		return false;
	ereport(NOTICE, (errmsg("nothing is delivered: %s", why)));
	return true;
}

/* wait_lanes waits until all has come to an end. */
static bool
wait_lanes(ConcordDatabase *db, const char *name, int64 seq,
		   int64 deadline)
{
	uint64		seen = 0;
	int			waited = WAIT_LOOK_MS;

	for (;;)
	{
		uint64		now = db ? pg_atomic_read_u64(&db->delivery_generation) : 0;

		if (now != seen || waited >= WAIT_LOOK_MS)
		{
			seen = now;
			waited = 0;
			if (wait_refuse(name, seq))
				return false;
			if (wait_query(wait_pending, name, seq) == NULL)
				return true;
		}
		if (concord_clock_left(deadline) <= 0)
			return false;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 WAIT_POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		waited += WAIT_POLL_MS;
	}
}

/* concord_wait_for_delivery waits as its name says. */
Datum
concord_wait_for_delivery(PG_FUNCTION_ARGS)
{
	char	   *name = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));
	int64		deadline = CONCORD_CLOCK_NEVER;
	XLogRecPtr	lsn;
	int64		seq;

	PreventCommandDuringRecovery("concord.wait_for_delivery()");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("concord.wait_for_delivery() needs isolation level READ COMMITTED"),
				 errdetail("The transaction's snapshot does not see what couriers commit meanwhile.")));
	if (!PG_ARGISNULL(1))
		deadline = concord_clock_after(PG_GETARG_INTERVAL_P(1));
	if (name != NULL)
	{
		ConcordCatalogScope scope;

		concord_catalog_enter(&scope);
		(void) concord_mapping_by_name(name, CurrentMemoryContext);
		concord_catalog_leave(&scope);
	}
	if (wait_refuse(name, -1))
		PG_RETURN_BOOL(false);
	lsn = concord_capture_mark();
	if (!concord_capture_wait_lsn(lsn, deadline == CONCORD_CLOCK_NEVER ? -1 :
								  (int) concord_clock_left(deadline)))
		PG_RETURN_BOOL(false);
	PushActiveSnapshot(GetLatestSnapshot());
	seq = concord_outbox_last_seq();
	PopActiveSnapshot();
	PG_RETURN_BOOL(wait_lanes(concord_shmem_database(MyDatabaseId), name, seq,
							  deadline));
}
