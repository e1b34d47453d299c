/*-------------------------------------------------------------------------
 *
 * log.c
 *	  The ring of tables that finished deliveries are written to.
 *
 * Four tables; the clock chooses: each takes a third of
 * pg_concord.delivery_retention.  One is truncated when everything in it is
 * older than the retention, which costs nothing, while deleting row by row
 * would cost as much as writing.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/table.h"
#include "base/bookkeeping.h"
#include "base/settings.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "delivery/log.h"
#include "executor/spi.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#define LOG_TABLES		4
#define LOG_LEAST_MINUTES	3

/* concord_log_table says which table takes what finishes now. */
int
concord_log_table(TimestampTz now)
{
	int			minutes = Max(concord_delivery_retention, LOG_LEAST_MINUTES);
	int64		third = minutes * USECS_PER_MINUTE / 3;

	return (int) ((now / third) % LOG_TABLES);
}

/* log_old says whether a table has rows, all of them too old. */
static bool
log_old(int i)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(concord_delivery_retention)};
	char		sql[512];
	bool		isnull;

	snprintf(sql, sizeof(sql),
			 "SELECT EXISTS (SELECT FROM concord.delivery_log_%d) AND NOT EXISTS"
			 " (SELECT FROM concord.delivery_log_%d WHERE finished_at >="
			 "   pg_catalog.now() - pg_catalog.make_interval(mins => $1))", i, i);
	if (SPI_execute_with_args(sql, 1, types, values, NULL, false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read concord.delivery_log_%d", i);
	return DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0],
									  SPI_tuptable->tupdesc, 1, &isnull));
}

/* log_truncate empties a table unless somebody reads it. */
static void
log_truncate(int i)
{
	Oid			nspid = get_namespace_oid("concord", false);
	char		name[NAMEDATALEN];
	Oid			relid;

	snprintf(name, sizeof(name), "delivery_log_%d", i);
	relid = get_relname_relid(name, nspid);
	if (!OidIsValid(relid) ||
		!ConditionalLockRelationOid(relid, AccessExclusiveLock))
		return;
	snprintf(name, sizeof(name), "delivery_log_%d", i);
	if (SPI_execute(psprintf("TRUNCATE concord.%s", name), false, 0) < 0)
		elog(ERROR, "could not truncate concord.%s", name);
}

/*
 * concord_delivery_retain gives back the space of old deliveries; called by
 * the clerk, with no transaction open.  Links of records that were deleted
 * long ago go too.
 */
void
concord_delivery_retain(void)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(concord_delivery_retention)};
	int			current;

	concord_bookkeeping_begin();
	current = concord_log_table(GetCurrentTimestamp());
	for (int i = 0; i < LOG_TABLES; i++)
		if (i != current && log_old(i))
			log_truncate(i);
	if (SPI_execute_with_args("DELETE FROM concord.link_item WHERE NOT present"
							  " AND changed_at < pg_catalog.now() - pg_catalog.make_interval(mins => $1)",
							  1, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not clean concord.link_item");
	if (SPI_execute_with_args("DELETE FROM concord.exception"
							  " WHERE state IN ('superseded', 'discarded')"
							  " AND changed_at < pg_catalog.now() - pg_catalog.make_interval(mins => $1)",
							  1, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not clean concord.exception");
	concord_bookkeeping_commit(false);
}
