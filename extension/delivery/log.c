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

#include "base/bookkeeping.h"
#include "base/settings.h"
#include "base/trim.h"
#include "catalog/history.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "delivery/log.h"
#include "executor/spi.h"
#include "outbox/insert.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#define LOG_TABLES		4
#define LOG_LEAST_MINUTES	3

/* Columns of concord.delivery_log_N. */
enum
{
	LOG_DELIVERY,
	LOG_MAPPING,
	LOG_VERSION,
	LOG_SEQ,
	LOG_OP,
	LOG_OUTCOME,
	LOG_ATTEMPTS,
	LOG_STATUS,
	LOG_ELAPSED_MS,
	LOG_COMMITTED_AT,
	LOG_FINISHED_AT,
	LOG_LOCAL_KEY,
	LOG_PAYLOAD_HASH,
	LOG_ROUTE,
	LOG_NCOLUMNS
};

/* concord_log_table says which table takes what finishes now. */
int
concord_log_table(TimestampTz now)
{
	int			minutes = Max(concord_delivery_retention, LOG_LEAST_MINUTES);
	int64		third = minutes * USECS_PER_MINUTE / 3;

	return (int) ((now / third) % LOG_TABLES);
}

/* log_troubled: it did not go straight, or was asked for once more. */
static bool
log_troubled(const ConcordDelivery *d)
{
	return d->parked != NULL || d->attempts > 1;
}

/* concord_log_payload notes the hash of a body that was sent. */
void
concord_log_payload(ConcordDelivery *d)
{
	ConcordRequest *request = d->request;
	int			audit = d->definition->mapping->options.audit;

	if (request == NULL || request->body == NULL || request->body_len == 0 ||
		audit == CONCORD_AUDIT_OFF ||
		(audit == CONCORD_AUDIT_FAILURES && d->parked == NULL))
		return;
	memcpy(d->payload_hash, concord_request_digest(request),
		   sizeof(d->payload_hash));
	d->has_payload_hash = true;
}

/* log_outcome is the log's letter, or 0 where the log says nothing. */
static char
log_outcome(const ConcordDelivery *d)
{
	switch (d->lane->definition->mapping->options.audit)
	{
		case CONCORD_AUDIT_OFF:
			return 0;
		case CONCORD_AUDIT_FAILURES:
			if (!log_troubled(d))
				return 0;
			break;
		case CONCORD_AUDIT_FULL:
			break;
	}
	switch (d->end)
	{
		case CONCORD_END_DONE:
			return 'd';
		case CONCORD_END_UNCHANGED:
			return 'u';
		case CONCORD_END_SUPERSEDED:
			return d->parked ? 0 : 's';
		case CONCORD_END_SKIPPED:
			return d->parked ? 'k' : 0;
		default:
			return 0;
	}
}

/* log_hash makes a value of the payload's hash. */
static Datum
log_hash(const ConcordDelivery *d)
{
	bytea	   *bytes = palloc(VARHDRSZ + sizeof(d->payload_hash));

	SET_VARSIZE(bytes, VARHDRSZ + sizeof(d->payload_hash));
	memcpy(VARDATA(bytes), d->payload_hash, sizeof(d->payload_hash));
	return PointerGetDatum(bytes);
}

/* log_add adds a row. */
static void
log_add(ConcordInsert *log, const ConcordDelivery *d, char outcome,
		int64 number, TimestampTz now)
{
	TupleTableSlot *slot = concord_insert_slot(log);
	Datum	   *values = slot->tts_values;
	bool	   *nulls = slot->tts_isnull;

	values[LOG_DELIVERY] = Int64GetDatum(number);
	values[LOG_MAPPING] = Int32GetDatum(d->lane->id);
	values[LOG_VERSION] = Int32GetDatum(d->definition->mapping->version);
	values[LOG_SEQ] = Int64GetDatum(d->event->seq);
	values[LOG_OP] = CharGetDatum((char) d->event->op);
	values[LOG_OUTCOME] = CharGetDatum(outcome);
	values[LOG_ATTEMPTS] = Int32GetDatum(d->attempts);
	values[LOG_STATUS] = Int32GetDatum(d->status);
	nulls[LOG_STATUS] = d->status == 0;
	values[LOG_ELAPSED_MS] = Int32GetDatum((d->answered_at - d->sent_at) / 1000);
	nulls[LOG_ELAPSED_MS] = d->sent_at == 0 || d->answered_at == 0;
	values[LOG_COMMITTED_AT] = TimestampTzGetDatum(d->event->committed_at);
	values[LOG_FINISHED_AT] = TimestampTzGetDatum(now);
	nulls[LOG_LOCAL_KEY] = d->mapped->local_key == NULL;
	values[LOG_LOCAL_KEY] = nulls[LOG_LOCAL_KEY] ? (Datum) 0 :
		CStringGetTextDatum(d->mapped->local_key);
	nulls[LOG_PAYLOAD_HASH] = !d->has_payload_hash;
	values[LOG_PAYLOAD_HASH] = d->has_payload_hash ? log_hash(d) : (Datum) 0;
	nulls[LOG_ROUTE] = d->route == NULL || d->route->id == 0;
	values[LOG_ROUTE] = nulls[LOG_ROUTE] ? (Datum) 0 :
		Int32GetDatum(d->route->id);
	ExecStoreVirtualTuple(slot);
}

/* concord_log_write writes what is finished, in a bookkeeping transaction. */
void
concord_log_write(ConcordCourier *courier)
{
	TimestampTz now = GetCurrentTimestamp();
	Oid			sequence = concord_insert_relation("delivery_id");
	ConcordInsert log = {0};
	char		name[NAMEDATALEN];
	dlist_iter	iter;

	snprintf(name, sizeof(name), "delivery_log_%d", concord_log_table(now));
	dlist_foreach(iter, &courier->ended)
	{
		ConcordDelivery *d = dlist_container(ConcordDelivery, list_node,
											 iter.cur);
		char		outcome = log_outcome(d);

		if (outcome == 0)
			continue;
		if (log.rel == NULL)
			concord_insert_open(&log, concord_insert_relation(name), LOG_NCOLUMNS);
		if (log.n == CONCORD_INSERT_ROWS)
			concord_insert_flush(&log, NULL);
		log_add(&log, d, outcome, d->parked ? d->parked->delivery :
				nextval_internal(sequence, false), now);
	}
	if (log.rel == NULL)
		return;
	concord_insert_flush(&log, NULL);
	concord_insert_close(&log);
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
 * concord_delivery_retain gives back the space of old deliveries.  Links of
 * records that were deleted long ago go too.
 */
bool
concord_delivery_retain(void)
{
	static ConcordTrim links = {
		"link_item",
		"NOT present AND changed_at < pg_catalog.now() - pg_catalog.make_interval(mins => $1)"
	};
	static ConcordTrim exceptions = {
		"exception",
		"state IN ('superseded', 'discarded')"
		" AND changed_at < pg_catalog.now() - pg_catalog.make_interval(mins => $1)"
	};
	int			current;
	bool		done;

	concord_bookkeeping_begin();
	current = concord_log_table(GetCurrentTimestamp());
	for (int i = 0; i < LOG_TABLES; i++)
		if (i != current && log_old(i))
			log_truncate(i);
	concord_bookkeeping_commit(false);

	done = concord_trim(&links, concord_delivery_retention);
	done &= concord_trim(&exceptions, concord_delivery_retention);
	done &= concord_history_retain(concord_delivery_retention);
	return done;
}
