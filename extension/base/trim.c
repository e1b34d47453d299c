/*-------------------------------------------------------------------------
 *
 * trim.c
 *	  Rows of our tables that are too old go, some at a time.
 *
 * After a long stop, or where pg_concord.delivery_retention was lowered, there
 * may be millions.  One DELETE of all of them would be one transaction of
 * minutes: vacuum could clean nothing meanwhile, logical decoding would carry
 * it, and the worker would see no signal of the launcher's.
 *
 * An index on the age would make each update of a link one that is not HOT, so
 * tables that are written often have none: they are walked through block by
 * block, and a round goes on where the last one had to stop.
 *
 * Both statements state the condition where the rows are deleted, too: of a row
 * that is updated meanwhile the newest version is judged.
 *
 *-------------------------------------------------------------------------
 */
#include "base/trim.h"

#include "access/table.h"
#include "base/bookkeeping.h"
#include "base/clock.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/itemptr.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#define TRIM_MS			200		/* of a round */
#define TRIM_ROWS		5000	/* of a transaction, by an index */
#define TRIM_BLOCKS		64		/* ... else */

/* trim_run deletes with one statement; returns how many. */
static uint64
trim_run(const ConcordTrim *trim, const char *sql, int nargs, Oid *types,
		 Datum *values)
{
	if (SPI_execute_with_args(sql, nargs, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not clean concord.%s", trim->table);
	return SPI_processed;
}

/* trim_oldest deletes the oldest ones; true: that was all. */
static bool
trim_oldest(const ConcordTrim *trim, int minutes)
{
	Oid			types[] = {INT4OID, INT4OID};
	Datum		values[] = {Int32GetDatum(minutes), Int32GetDatum(TRIM_ROWS)};
	char	   *sql = psprintf("DELETE FROM concord.%s WHERE %s AND ctid = ANY"
							   " (ARRAY(SELECT ctid FROM concord.%s WHERE %s ORDER BY %s LIMIT $2))",
							   trim->table, trim->condition, trim->table,
							   trim->condition, trim->column);

	return trim_run(trim, sql, lengthof(types), types, values) < TRIM_ROWS;
}

/* trim_blocks deletes what is in the next blocks; true: they were the last. */
static bool
trim_blocks(ConcordTrim *trim, int minutes)
{
	Oid			types[] = {INT4OID, TIDOID, TIDOID};
	Oid			relid = get_relname_relid(trim->table,
										  get_namespace_oid("concord", false));
	Relation	rel = table_open(relid, RowExclusiveLock);
	int64		blocks = RelationGetNumberOfBlocks(rel);
	int64		end = Min(trim->block + TRIM_BLOCKS, blocks);
	ItemPointerData from;
	ItemPointerData to;
	Datum		values[] = {Int32GetDatum(minutes), PointerGetDatum(&from),
	PointerGetDatum(&to)};

	table_close(rel, NoLock);
	ItemPointerSet(&from, (BlockNumber) trim->block, 0);
	ItemPointerSet(&to, (BlockNumber) end, 0);
	if (end > trim->block)
		(void) trim_run(trim, psprintf("DELETE FROM concord.%s WHERE %s"
									   " AND ctid >= $2 AND ctid < $3",
									   trim->table, trim->condition),
						lengthof(types), types, values);
	trim->block = end < blocks ? end : 0;
	return end >= blocks;
}

bool
concord_trim(ConcordTrim *trim, int minutes)
{
	int64		began = concord_clock_steady();
	bool		done;

	do
	{
		CHECK_FOR_INTERRUPTS();
		concord_bookkeeping_begin();
		done = trim->column != NULL ? trim_oldest(trim, minutes) :
			trim_blocks(trim, minutes);
		concord_bookkeeping_commit(false);
	} while (!done && !concord_clock_passed(began, TRIM_MS));
	return done;
}
