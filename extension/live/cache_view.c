/*-------------------------------------------------------------------------
 *
 * cache_view.c
 *	  concord.cache_entries(), concord.flush_cache().
 *
 * A role sees what is kept for roles whose rights it has; members of
 * pg_read_all_stats see all.  Bodies are never shown.
 *
 *-------------------------------------------------------------------------
 */
#include "live/cache.h"
#include "live/live.h"

#include "base/clock.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(concord_cache_entries);
PG_FUNCTION_INFO_V1(concord_flush_cache);

#define VIEW_COLUMNS	8

/* view_interval makes an interval of microseconds. */
static Datum
view_interval(int64 us)
{
	Interval   *interval = palloc0(sizeof(Interval));

	interval->time = us;
	return IntervalPGetDatum(interval);
}

/* view_row writes one row. */
static void
view_row(ReturnSetInfo *result, const ConcordCacheRow *row, int64 now)
{
	Datum		values[VIEW_COLUMNS];
	bool		nulls[VIEW_COLUMNS] = {false};

	values[0] = ObjectIdGetDatum(row->facts.serverid);
	values[1] = ObjectIdGetDatum(row->facts.roleid);
	values[2] = CStringGetTextDatum(row->label);
	values[3] = Int32GetDatum(row->facts.status);
	values[4] = view_interval(now - row->facts.asked);
	nulls[5] = row->facts.expires == CONCORD_CLOCK_NEVER;
	values[5] = nulls[5] ? (Datum) 0 : view_interval(row->facts.expires - now);
	values[6] = Int64GetDatum((int64) row->hits);
	values[7] = Int32GetDatum(row->size);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* concord_cache_entries is concord.cache_entries(). */
Datum
concord_cache_entries(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		all = has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS);
	int64		now = concord_clock_steady();
	ConcordCacheRow *rows;
	int			n = 0;

	InitMaterializedSRF(fcinfo, 0);
	if (concord_cache_on())
		n = concord_cache_rows(&rows);
	for (int i = 0; i < n; i++)
	{
		if (all || has_privs_of_role(GetUserId(), rows[i].facts.roleid))
			view_row(result, &rows[i], now);
	}
	return (Datum) 0;
}

/* view_flush_all forgets the answers of all servers that the caller may use. */
static int64
view_flush_all(void)
{
	ConcordCacheRow *rows;
	int			n = concord_cache_rows(&rows);
	List	   *seen = NIL;		/* answers of servers stand in any order */
	int64		flushed = 0;

	for (int i = 0; i < n; i++)
	{
		Oid			serverid = rows[i].facts.serverid;

		if (list_member_oid(seen, serverid))
			continue;
		seen = lappend_oid(seen, serverid);
		/* of one that was dropped nobody can have use */
		if (GetForeignServerExtended(serverid, FSV_MISSING_OK) == NULL ||
			concord_server_aclcheck(serverid, GetUserId()) == ACLCHECK_OK)
			flushed += concord_cache_flush(serverid);
	}
	return flushed;
}

/* concord_flush_cache is concord.flush_cache(). */
Datum
concord_flush_cache(PG_FUNCTION_ARGS)
{
	Oid			serverid;

	if (PG_ARGISNULL(0))
		PG_RETURN_INT64(concord_cache_on() ? view_flush_all() : 0);
	serverid = get_foreign_server_oid(NameStr(*PG_GETARG_NAME(0)), false);
	if (concord_server_aclcheck(serverid, GetUserId()) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for foreign server %s",
						quote_identifier(NameStr(*PG_GETARG_NAME(0)))),
				 errhint("Use GRANT USAGE ON FOREIGN SERVER.")));
	PG_RETURN_INT64(concord_cache_on() ? concord_cache_flush(serverid) : 0);
}
