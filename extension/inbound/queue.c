/*-------------------------------------------------------------------------
 *
 * queue.c
 *	  The inbox, applied: one transaction for up to a thousand records of a
 *	  mapping.
 *
 * What was applied leaves the inbox in the transaction that applied it, so a
 * process may be killed at any moment: nothing is lost, nothing applied twice.
 * A mapping that cannot work at the moment has its records put off, with the
 * reason; others go on.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "access/xact.h"
#include "base/bookkeeping.h"
#include "base/clock.h"
#include "catalog/pg_type.h"
#include "inbound/queue.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define QUE_RECORDS		1000
#define QUE_LONGEST_MS	10000	/* without looking */
#define QUE_PUT_OFF_S	30		/* of a mapping that cannot work */

/* concord_inbound_begin begins a transaction that is a user's, not our bookkeeping. */
void
concord_inbound_begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PushActiveSnapshot(GetTransactionSnapshot());
}

/* concord_inbound_commit ends it. */
void
concord_inbound_commit(void)
{
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	pgstat_report_stat(false);
}

/* concord_inbound_needed says whether a mapping of the database takes in by itself. */
bool
concord_inbound_needed(void)
{
	if (SPI_execute("SELECT FROM concord.mapping m JOIN concord.mapping_version v"
					"   ON v.mapping = m.id AND v.version = m.version"
					"  WHERE v.definition -> 'options' ? 'receive'"
					"     OR v.definition -> 'options' -> 'pull' ? 'every'"
					" UNION ALL SELECT FROM concord.inbox_item WHERE state IN ('new', 'waiting')"
					" UNION ALL SELECT FROM concord.match_state WHERE state = 'due'"
					" LIMIT 1", true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.mapping");
	return SPI_processed > 0;
}

/* que_due lists mappings with records that are to be applied now. */
static int
que_due(int32 **mappings, MemoryContext context)
{
	int			n;

	concord_inbound_begin();
	if (SPI_execute("SELECT i.mapping FROM concord.inbox_item i JOIN concord.mapping m ON m.id = i.mapping"
					" WHERE i.state IN ('new', 'waiting') AND i.op <> 'fetch' AND m.state = 'active'"
					" AND (i.next_try IS NULL OR i.next_try <= pg_catalog.now())"
					" GROUP BY i.mapping ORDER BY pg_catalog.min(i.id)", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.inbox_item");
	n = SPI_processed;
	*mappings = MemoryContextAlloc(context, sizeof(int32) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		bool		isnull;

		(*mappings)[i] = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i],
													 SPI_tuptable->tupdesc, 1, &isnull));
	}
	concord_inbound_commit();
	return n;
}

/* que_text reads a column of text. */
static char *
que_text(HeapTuple tuple, TupleDesc desc, int column)
{
	return SPI_getvalue(tuple, desc, column);
}

/* que_moment reads a column that is a time; 0: none. */
static TimestampTz
que_moment(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, desc, column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(value);
}

/*
 * que_records reads what is due of a mapping, in the order in which it came, in
 * the current context.
 */
static ConcordInboundRecord *
que_records(int32 mapping, int *n)
{
	Oid			types[1] = {INT4OID};
	Datum		values[1] = {Int32GetDatum(mapping)};
	MemoryContext context = CurrentMemoryContext;
	ConcordInboundRecord *records;

	if (SPI_execute_with_args("SELECT id, op, record, remote_id, etag, remote_changed, read_at, message_id"
							  " FROM concord.inbox_item WHERE mapping = $1 AND state IN ('new', 'waiting')"
							  " AND op <> 'fetch' AND (next_try IS NULL OR next_try <= pg_catalog.now())"
							  " ORDER BY id LIMIT " CppAsString2(QUE_RECORDS)
							  " FOR UPDATE SKIP LOCKED",
							  1, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.inbox_item");
	*n = SPI_processed;
	MemoryContextSwitchTo(context);
	records = palloc0(sizeof(ConcordInboundRecord) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;

		records[i].inbox = DatumGetInt64(SPI_getbinval(tuple, desc, 1, &isnull));
		records[i].op = strcmp(que_text(tuple, desc, 2), "delete") == 0 ?
			CONCORD_INBOUND_DELETE : CONCORD_INBOUND_UPSERT;
		records[i].record = que_text(tuple, desc, 3);
		records[i].remote_id = que_text(tuple, desc, 4);
		records[i].etag = que_text(tuple, desc, 5);
		records[i].remote_changed = que_moment(tuple, desc, 6);
		records[i].read_at = que_moment(tuple, desc, 7);
		records[i].message_id = que_text(tuple, desc, 8);
	}
	return records;
}

/* que_apply applies what is due of a mapping; true: there may be more. */
static bool
que_apply(int32 id)
{
	ConcordInboundCounts counts = {0};
	ConcordInboundRecord *records;
	ConcordMapping *mapping;
	int			n = 0;

	concord_inbound_begin();
	mapping = concord_mapping_by_id(id, CurrentMemoryContext);
	if (mapping != NULL && mapping->state == CONCORD_MAPPING_ACTIVE)
	{
		ConcordInbound *inbound = concord_inbound_open(mapping, "receive", CurrentMemoryContext);

		/* whoever is before us may have what we would read */
		concord_inbound_lock(mapping);
		records = que_records(id, &n);
		concord_inbound_apply(inbound, records, n, &counts);
		concord_inbound_close(inbound);
	}
	concord_inbound_commit();
	return n == QUE_RECORDS;
}

/* que_put_off notes why a mapping's records cannot be applied now. */
static void
que_put_off(int32 mapping, const char *message)
{
	Oid			types[3] = {INT4OID, TEXTOID, INT4OID};
	Datum		values[3];

	values[0] = Int32GetDatum(mapping);
	values[1] = CStringGetTextDatum(message);
	values[2] = Int32GetDatum(QUE_PUT_OFF_S);
	concord_bookkeeping_begin();
	if (SPI_execute_with_args("UPDATE concord.inbox_item SET rule = 'mapping', error = $2,"
							  " next_try = pg_catalog.now() + $3 * interval '1 second'"
							  " WHERE mapping = $1 AND state IN ('new', 'waiting')"
							  " AND (next_try IS NULL OR next_try <= pg_catalog.now())",
							  3, types, values, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not write concord.inbox_item");
	concord_bookkeeping_commit(false);
}

/* que_passing says whether an error goes away by trying again at once. */
static bool
que_passing(int sqlerrcode)
{
	return ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_TRANSACTION_ROLLBACK;
}

/* que_mapping applies what is due of a mapping, and survives what that raises. */
static bool
que_mapping(int32 id, MemoryContext context)
{
	ErrorData  *volatile error = NULL;
	volatile bool more = false;

	PG_TRY();
	{
		more = que_apply(id);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = concord_bookkeeping_caught(context);
	}
	PG_END_TRY();
	if (error == NULL)
		return more;
	if (que_passing(error->sqlerrcode))
		return true;
	ereport(LOG,
			(errcode(error->sqlerrcode),
			 errmsg("records of mapping %d cannot be applied: %s", id, error->message)));
	que_put_off(id, error->message);
	return false;
}

/* que_next says when something is due again, in milliseconds. */
static long
que_next(void)
{
	long		ms = QUE_LONGEST_MS;

	concord_inbound_begin();
	if (SPI_execute("SELECT (pg_catalog.date_part('epoch', pg_catalog.min(next_try)"
					"  - pg_catalog.clock_timestamp()) * 1000)::pg_catalog.int8"
					" FROM concord.inbox_item WHERE state IN ('new', 'waiting') AND next_try IS NOT NULL"
					" AND op <> 'fetch'",
					true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.inbox_item");
	if (SPI_processed == 1)
	{
		bool		isnull;
		int64		due = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
													  SPI_tuptable->tupdesc, 1, &isnull));

		if (!isnull)
			ms = Max(Min(due, QUE_LONGEST_MS), 10);
	}
	concord_inbound_commit();
	return ms;
}

/*
 * concord_inbound_turn applies what is due, and says how long nothing is, in
 * milliseconds.  No transaction is open.
 */
long
concord_inbound_turn(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "concord inbound turn",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	int32	   *mappings;
	int			n = que_due(&mappings, context);
	bool		more = false;
	long		ms;

	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(context);
		more |= que_mapping(mappings[i], context);
	}
	ms = more ? 0 : que_next();
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return ms;
}
