/*-------------------------------------------------------------------------
 *
 * log.c
 *	  What was applied, for concord.applied: a ring of tables, as that of
 *	  deliveries.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "delivery/log.h"
#include "outbox/insert.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

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
