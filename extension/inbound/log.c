/*-------------------------------------------------------------------------
 *
 * log.c
 *	  What was applied, for concord.applied: a ring of tables, as that of
 *	  deliveries.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "base/bookkeeping.h"
#include "base/settings.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "delivery/log.h"
#include "inbound/queue.h"
#include "outbox/insert.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#define LOG_TABLES	4

/* Columns of concord.applied_log_N. */
enum
{
	LOG_APPLIED_AT, LOG_MAPPING, LOG_OUTCOME, LOG_ORIGIN, LOG_LOCAL_KEY,
	LOG_REMOTE_ID, LOG_INBOX, LOG_MESSAGE_ID, LOG_REMOTE_CHANGED,
	LOG_NCOLUMNS
};

/* log_row writes what became of a record. */
static void
log_row(ConcordInbound *inbound, ConcordInsert *log, const InbItem *item,
		TimestampTz now)
{
	const ConcordInboundRecord *record = item->record;
	TupleTableSlot *slot = concord_insert_slot(log);
	Datum	   *values = slot->tts_values;
	bool	   *nulls = slot->tts_isnull;

	values[LOG_APPLIED_AT] = TimestampTzGetDatum(now);
	values[LOG_MAPPING] = Int32GetDatum(inbound->mapping->id);
	values[LOG_OUTCOME] = CharGetDatum(item->outcome);
	values[LOG_ORIGIN] = CharGetDatum(strcmp(inbound->origin, "reconcile") == 0 ? 'c' :
									  inbound->origin[0]);
	values[LOG_LOCAL_KEY] = JsonbPGetDatum(item->local_key);
	nulls[LOG_LOCAL_KEY] = item->local_key == NULL;
	nulls[LOG_REMOTE_ID] = item->remote_id == NULL;
	values[LOG_REMOTE_ID] = nulls[LOG_REMOTE_ID] ? (Datum) 0 :
		CStringGetTextDatum(item->remote_id);
	values[LOG_INBOX] = Int64GetDatum(record->inbox);
	nulls[LOG_INBOX] = record->inbox == 0;
	nulls[LOG_MESSAGE_ID] = record->message_id == NULL;
	values[LOG_MESSAGE_ID] = nulls[LOG_MESSAGE_ID] ? (Datum) 0 :
		CStringGetTextDatum(record->message_id);
	values[LOG_REMOTE_CHANGED] = TimestampTzGetDatum(record->remote_changed);
	nulls[LOG_REMOTE_CHANGED] = record->remote_changed == 0;
	ExecStoreVirtualTuple(slot);
}

/* concord_inbound_log_write notes what was applied, as option audit says. */
void
concord_inbound_log_write(ConcordInbound *inbound, InbItem **items, int n)
{
	TimestampTz now = GetCurrentTimestamp();
	ConcordInsert log = {0};
	char		name[NAMEDATALEN];

	if (inbound->mapping->options.audit != CONCORD_AUDIT_FULL)
		return;
	snprintf(name, sizeof(name), "applied_log_%d", concord_log_table(now));
	for (int i = 0; i < n; i++)
	{
		if (items[i]->state != INB_DONE || items[i]->outcome == 0)
			continue;
		if (log.rel == NULL)
			concord_insert_open(&log, concord_insert_relation(name), LOG_NCOLUMNS);
		if (log.n == CONCORD_INSERT_ROWS)
			concord_insert_flush(&log, NULL);
		log_row(inbound, &log, items[i], now);
	}
	if (log.rel == NULL)
		return;
	concord_insert_flush(&log, NULL);
	concord_insert_close(&log);
}

/* log_query runs a statement of ours with the retention in minutes. */
static uint64
log_query(const char *sql, int expect)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(concord_delivery_retention)};

	if (SPI_execute_with_args(sql, 1, types, values, NULL, false, 0) != expect)
		elog(ERROR, "could not clean what came in");
	return SPI_processed;
}

/* log_truncate empties a table of the ring where all in it is too old. */
static void
log_truncate(int i)
{
	char		name[NAMEDATALEN];
	Oid			relid;

	if (log_query(psprintf("SELECT FROM concord.applied_log_%d WHERE applied_at >="
						   " pg_catalog.now() - pg_catalog.make_interval(mins => $1) LIMIT 1", i),
				  SPI_OK_SELECT) > 0 ||
		log_query(psprintf("SELECT FROM concord.applied_log_%d WHERE $1 IS NOT NULL LIMIT 1", i),
				  SPI_OK_SELECT) == 0)
		return;
	snprintf(name, sizeof(name), "applied_log_%d", i);
	relid = get_relname_relid(name, get_namespace_oid("concord", false));
	if (!OidIsValid(relid) ||
		!ConditionalLockRelationOid(relid, AccessExclusiveLock))
		return;
	if (SPI_execute(psprintf("TRUNCATE concord.%s", name), false, 0) < 0)
		elog(ERROR, "could not truncate concord.%s", name);
}

/* What is of nobody's use any more; 90 days for what people have decided. */
static const char *const log_old[] = {
	"DELETE FROM concord.inbox_item WHERE state = 'discarded'"
	" AND changed_at < pg_catalog.now() - pg_catalog.make_interval(mins => $1)",
	"DELETE FROM concord.conflict_item WHERE state <> 'open'"
	" AND decided_at < pg_catalog.now() - greatest('90 days'::pg_catalog.interval, pg_catalog.make_interval(mins => $1))",
	"DELETE FROM concord.inbox_item i WHERE $1 IS NOT NULL"
	" AND NOT EXISTS (SELECT FROM concord.mapping m WHERE m.id = i.mapping)",
	"DELETE FROM concord.conflict_item c WHERE $1 IS NOT NULL"
	" AND NOT EXISTS (SELECT FROM concord.mapping m WHERE m.id = c.mapping)",
};

/* concord_inbound_retain gives back the space of what is too old. */
void
concord_inbound_retain(void)
{
	int			current;

	concord_bookkeeping_begin();
	current = concord_log_table(GetCurrentTimestamp());
	for (int i = 0; i < LOG_TABLES; i++)
		if (i != current)
			log_truncate(i);
	for (int i = 0; i < lengthof(log_old); i++)
		(void) log_query(log_old[i], SPI_OK_DELETE);
	concord_bookkeeping_commit(false);
}
