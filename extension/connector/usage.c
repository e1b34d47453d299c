/*-------------------------------------------------------------------------
 *
 * usage.c
 *	  What was used of quotas, kept in concord.account_usage.
 *
 * Shared memory has the truth; the first courier writes what has changed once
 * a second and when it is stopped, so a restart costs no account its count.  A
 * crash forgets what was sent within that second.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/limits.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"

#define USAGE_SOME	64			/* accounts written in one go */

static const char usage_read[] =
"SELECT u.part_ms, u.age_ms + greatest(0,"
"       (extract(epoch FROM pg_catalog.clock_timestamp() - u.saved_at) * 1000)::pg_catalog.int8),"
"       u.parts"
"  FROM concord.account_usage u WHERE u.serverid = $1 AND u.account = $2";

static const char usage_write[] =
"INSERT INTO concord.account_usage AS u (serverid, account, saved_at, part_ms, age_ms, parts)"
" VALUES ($1, $2, pg_catalog.clock_timestamp(), $3, $4, $5)"
" ON CONFLICT (serverid, account) DO UPDATE SET saved_at = excluded.saved_at,"
"    part_ms = excluded.part_ms, age_ms = excluded.age_ms, parts = excluded.parts";

/* usage_row makes a usage of a row's columns; false where it is of no use. */
static bool
usage_row(HeapTuple tuple, TupleDesc desc, ConcordUsage *usage)
{
	bool		isnull[3];
	Datum		values[3];
	Datum	   *parts;
	bool	   *nulls;
	int			n;

	for (int i = 0; i < lengthof(values); i++)
	{
		values[i] = SPI_getbinval(tuple, desc, i + 1, &isnull[i]);
		if (isnull[i])
			return false;
	}
	usage->part_ms = DatumGetInt64(values[0]);
	usage->age_ms = DatumGetInt64(values[1]);
	deconstruct_array(DatumGetArrayTypeP(values[2]), INT8OID, 8, FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &parts, &nulls, &n);
	for (int i = 0; i < Min(n, CONCORD_WINDOW_PARTS + 1); i++)
	{
		if (!nulls[i])
			usage->parts[i] = (uint32) DatumGetInt64(parts[i]);
	}
	return usage->part_ms >= 0 && usage->age_ms >= 0;
}

/* concord_limits_load_usage reads what was used before the server's start. */
void
concord_limits_load_usage(ConcordAccount *account)
{
	Oid			types[] = {OIDOID, TEXTOID};
	Datum		values[2];
	ConcordUsage usage = {0};
	bool		known;

	if (!concord_account_wants_usage(account))
		return;
	usage.key = *concord_account_key(account);
	values[0] = ObjectIdGetDatum(usage.key.serverid);
	values[1] = CStringGetTextDatum(usage.key.name);
	if (SPI_execute_with_args(usage_read, 2, types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.account_usage");
	known = SPI_processed == 1 &&
		usage_row(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, &usage);
	concord_account_set_usage(account, known ? &usage : NULL);
}

/* usage_save writes one account's. */
static void
usage_save(const ConcordUsage *usage)
{
	Oid			types[] = {OIDOID, TEXTOID, INT8OID, INT8OID, INT8ARRAYOID};
	Datum		parts[CONCORD_WINDOW_PARTS + 1];
	Datum		values[5];

	for (int i = 0; i < lengthof(parts); i++)
		parts[i] = Int64GetDatum((int64) usage->parts[i]);
	values[0] = ObjectIdGetDatum(usage->key.serverid);
	values[1] = CStringGetTextDatum(usage->key.name);
	values[2] = Int64GetDatum(usage->part_ms);
	values[3] = Int64GetDatum(usage->age_ms);
	values[4] = PointerGetDatum(construct_array(parts, lengthof(parts), INT8OID, 8,
												FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	if (SPI_execute_with_args(usage_write, 5, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write concord.account_usage");
}

/* concord_limits_save_usage writes what has changed; SPI is connected. */
bool
concord_limits_save_usage(void)
{
	ConcordUsage *usage = palloc0(sizeof(ConcordUsage) * USAGE_SOME);
	int			n = concord_account_unsaved(usage, USAGE_SOME);

	for (int i = 0; i < n; i++)
		usage_save(&usage[i]);
	pfree(usage);
	return n > 0;
}
