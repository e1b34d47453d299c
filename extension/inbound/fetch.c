/*-------------------------------------------------------------------------
 *
 * fetch.c
 *	  Records that notices only name are looked up and applied.
 *
 * A notice is a row of the inbox with op 'fetch'.  All those of one record are
 * answered by one look-up: what is read after they came is at least as new as
 * what they tell of.  A turn is
 *
 *	what is due, the mapping, credentials		a transaction that only reads
 *	requests and answers						one that has neither xid nor
 *												snapshot nor locks
 *	the rows, and the notices taken out			one
 *
 * so a process may be killed at any moment: a notice stays until its record is
 * applied.  Where the mapping has changed in between, what was read is dropped
 * and read again.
 *
 * A notice waits for what came before it about the same record and has the
 * record in it, or its end: only so a record that was deleted and made again is
 * there at last.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "access/xact.h"
#include "base/bookkeeping.h"
#include "base/settings.h"
#include "catalog/pg_type.h"
#include "delivery/delivery.h"
#include "inbound/fetch.h"
#include "inbound/pull.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define FET_RECORDS		200		/* looked up in a turn */
#define FET_LATER_MS	5000	/* where a system does not say when */
#define FET_LATER_MAX_MS	(3600 * 1000)
#define FET_MAPPING_MS	30000	/* of a mapping that cannot work */

/* What may be looked up; $1 is the mapping where there is one. */
#define FET_DUE \
	" i.op = 'fetch' AND i.remote_id IS NOT NULL AND i.state IN ('new', 'waiting')" \
	" AND (i.next_try IS NULL OR i.next_try <= pg_catalog.now())" \
	" AND NOT EXISTS (SELECT FROM concord.inbox_item e WHERE e.mapping = i.mapping" \
	"  AND e.remote_id = i.remote_id AND e.state IN ('new', 'waiting') AND e.op <> 'fetch' AND e.id < i.id)"

/* fet_due gives the mapping whose notices have waited longest; 0: none. */
static int32
fet_due(void)
{
	int32		mapping = 0;
	bool		isnull;

	if (!concord_delivery)
		return 0;
	concord_inbound_begin();
	if (SPI_execute("SELECT i.mapping FROM concord.inbox_item i JOIN concord.mapping m ON m.id = i.mapping"
					" WHERE m.state = 'active' AND m.home = concord.home()"
					" AND NOT EXISTS (SELECT FROM concord.system_pause s WHERE s.serverid = m.serverid) AND"
					FET_DUE " ORDER BY i.id LIMIT 1", true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.inbox_item");
	if (SPI_processed == 1)
		mapping = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
											  SPI_tuptable->tupdesc, 1, &isnull));
	concord_inbound_commit();
	return mapping;
}

/* fet_notices reads which records notices of a mapping name, in order. */
static void
fet_notices(ConcordFetch *fetch)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(fetch->mapping->id)};
	MemoryContext old;

	if (SPI_execute_with_args("WITH named AS ("
							  "  SELECT d.remote_id FROM (SELECT i.remote_id, i.id FROM concord.inbox_item i"
							  "   WHERE i.mapping = $1 AND" FET_DUE " ORDER BY i.id LIMIT 1000) d"
							  "  GROUP BY d.remote_id ORDER BY pg_catalog.min(d.id) LIMIT " CppAsString2(FET_RECORDS) ")"
							  " SELECT i.remote_id, pg_catalog.array_agg(i.id ORDER BY i.id), pg_catalog.max(i.id),"
							  "  pg_catalog.max(i.attempts), pg_catalog.max(i.local_key::text),"
							  "  pg_catalog.max(i.message_id), pg_catalog.max(i.remote_changed)"
							  " FROM named JOIN concord.inbox_item i ON i.mapping = $1"
							  "  AND i.remote_id = named.remote_id AND i.op = 'fetch' AND i.state IN ('new', 'waiting')"
							  " GROUP BY i.remote_id ORDER BY pg_catalog.min(i.id)",
							  lengthof(types), types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.inbox_item");
	old = MemoryContextSwitchTo(fetch->context);
	fetch->n = (int) SPI_processed;
	fetch->items = palloc0(sizeof(ConcordFetchItem) * Max(fetch->n, 1));
	for (int i = 0; i < fetch->n; i++)
	{
		ConcordFetchItem *item = &fetch->items[i];
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		Datum		changed;

		item->id = SPI_getvalue(tuple, desc, 1);
		item->notices = PointerGetDatum(DatumGetArrayTypePCopy(SPI_getbinval(tuple, desc, 2, &isnull)));
		item->newest = DatumGetInt64(SPI_getbinval(tuple, desc, 3, &isnull));
		item->attempts = DatumGetInt32(SPI_getbinval(tuple, desc, 4, &isnull));
		item->local_key = SPI_getvalue(tuple, desc, 5);
		item->message_id = SPI_getvalue(tuple, desc, 6);
		changed = SPI_getbinval(tuple, desc, 7, &isnull);
		item->told_changed = isnull ? 0 : DatumGetTimestampTz(changed);
		item->delay_ms = -1;
	}
	MemoryContextSwitchTo(old);
}

/* fet_types gives the types of a mapping's key fields; text where it is not a column. */
static Oid *
fet_types(const ConcordMapping *mapping)
{
	Oid		   *types = palloc(sizeof(Oid) * (list_length(mapping->key) + 1));

	for (int i = 0; i < list_length(mapping->key); i++)
	{
		const ConcordField *field = list_nth(mapping->key, i);
		AttrNumber	attnum = field->column == NULL ? InvalidAttrNumber :
			get_attnum(mapping->source, field->column);

		types[i] = attnum == InvalidAttrNumber ? TEXTOID :
			getBaseType(get_atttype(mapping->source, attnum));
	}
	return types;
}

/* fet_begin reads what is due of a mapping; false: nothing is. */
static bool
fet_begin(ConcordFetch *fetch, int32 id)
{
	ConcordMapping *mapping;
	MemoryContext old;

	concord_inbound_begin();
	mapping = concord_mapping_by_id(id, fetch->context);
	if (mapping != NULL && mapping->state == CONCORD_MAPPING_ACTIVE)
	{
		old = MemoryContextSwitchTo(fetch->context);
		fetch->mapping = mapping;
		/* it takes something in, or raises why not */
		concord_inbound_close(concord_inbound_open(mapping, "receive", CurrentMemoryContext));
		fetch->types = fet_types(mapping);
		fetch->peer = concord_peer_get(mapping->serverid, mapping->definer);
		concord_peer_pin(fetch->peer);
		fetch->changed = concord_pull_changed(mapping, fetch->peer->server->connector);
		MemoryContextSwitchTo(old);
		fet_notices(fetch);
	}
	concord_inbound_commit();
	return fetch->n > 0;
}

/* fet_put runs a statement over the notices of a record, of which newest may stay. */
static void
fet_put(const ConcordFetchItem *item, const char *sql, const char *rule,
		const char *error, int64 number)
{
	Oid			types[] = {INT8OID, INT8ARRAYOID, TEXTOID, TEXTOID, INT8OID};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types)] = {' ', ' ', ' ', ' ', ' '};

	values[0] = Int64GetDatum(item->newest);
	values[1] = item->notices;
	values[2] = rule != NULL ? CStringGetTextDatum(rule) : (Datum) 0;
	nulls[2] = rule != NULL ? ' ' : 'n';
	values[3] = error != NULL ? CStringGetTextDatum(error) : (Datum) 0;
	nulls[3] = error != NULL ? ' ' : 'n';
	values[4] = Int64GetDatum(number);
	if (SPI_execute_with_args(sql, lengthof(types), types, values, nulls, false, 0) < 0)
		elog(ERROR, "could not write concord.inbox_item");
}

/*
 * fet_hold locks the notices of a record, and takes out all but the newest,
 * which stands for them; false: nobody wants it any more.
 */
static bool
fet_hold(const ConcordFetchItem *item)
{
	fet_put(item, "SELECT FROM concord.inbox_item WHERE id = $1 AND op = 'fetch'"
			" AND state IN ('new', 'waiting') FOR UPDATE", NULL, NULL, 0);
	if (SPI_processed == 0)
		return false;
	fet_put(item, "DELETE FROM concord.inbox_item WHERE id = ANY ($2) AND id <> $1 AND op = 'fetch'"
			" AND state IN ('new', 'waiting')",
			NULL, NULL, 0);
	return true;
}

/* fet_later has a record looked up again, in some time. */
static void
fet_later(const ConcordFetchItem *item, int ms, bool counts)
{
	fet_put(item, counts ?
			"UPDATE concord.inbox_item SET rule = $3, error = $4, attempts = attempts + 1, changed_at = pg_catalog.now(),"
			" next_try = pg_catalog.now() + $5 * interval '1 ms' WHERE id = $1" :
			"UPDATE concord.inbox_item SET rule = $3, error = $4, changed_at = pg_catalog.now(),"
			" next_try = pg_catalog.now() + $5 * interval '1 ms' WHERE id = $1",
			item->rule, item->error, ms);
}

/* fet_park leaves a record to a person. */
static void
fet_park(const ConcordFetchItem *item)
{
	fet_put(item, "UPDATE concord.inbox_item SET state = 'parked', rule = $3, error = $4, attempts = attempts + 1,"
			" changed_at = pg_catalog.now(), next_try = NULL, waits_for = NULL"
			" WHERE id = $1",
			item->rule, item->error, 0);
}

/* fet_again has a record looked up again, if that may still help. */
static void
fet_again(const ConcordFetch *fetch, const ConcordFetchItem *item)
{
	const ConcordServer *server = fetch->peer->server;
	const ConcordMappingOptions *options = &fetch->mapping->options;
	int			limit = options->retry_limit >= 0 ? options->retry_limit : server->retry_limit;
	int			base = options->retry_base_ms >= 0 ? options->retry_base_ms : server->retry_base_ms;
	int			cap = options->retry_cap_ms >= 0 ? options->retry_cap_ms : server->retry_cap_ms;

	if (item->attempts + 1 >= limit)
		fet_park(item);
	else
		fet_later(item, Max(concord_backoff_ms(item->attempts + 1, base, cap),
							Min(item->delay_ms, FET_LATER_MAX_MS)), true);
}

/* fet_key finds the row of a record that is gone, where ids are of our making. */
static void
fet_key(ConcordInbound *inbound, const ConcordFetch *fetch, ConcordInboundRecord *record)
{
	char	   *id = unconstify(char *, record->remote_id);
	char	   *key;

	if (record->local_key != NULL || concord_inbound_assigned(inbound))
		return;
	concord_pull_keys(fetch->mapping->id, &id, &key, 1, fetch->context);
	record->local_key = key;
}

/* fet_apply applies what has come, and notes what has not. */
static void
fet_apply(ConcordFetch *fetch, const ConcordMapping *mapping)
{
	ConcordInbound *inbound = concord_inbound_open(mapping, "receive", fetch->context);
	ConcordInboundRecord *records = MemoryContextAllocZero(fetch->context,
														   sizeof(ConcordInboundRecord) * fetch->n);
	ConcordInboundCounts counts = {0};
	int			n = 0;

	/* whoever is before us may have what we would take */
	concord_inbound_lock(mapping);
	for (int i = 0; i < fetch->n; i++)
	{
		const ConcordFetchItem *item = &fetch->items[i];
		ConcordInboundRecord *record = &records[n];

		if (item->verdict == CONCORD_FETCH_OPEN || !fet_hold(item))
			continue;
		switch (item->verdict)
		{
			case CONCORD_FETCH_AGAIN:
				fet_again(fetch, item);
				continue;
			case CONCORD_FETCH_LATER:
				fet_later(item, Min(item->delay_ms > 0 ? item->delay_ms : FET_LATER_MS,
									FET_LATER_MAX_MS), false);
				continue;
			case CONCORD_FETCH_REFUSED:
				fet_park(item);
				continue;
			default:
				break;
		}
		record->op = item->verdict == CONCORD_FETCH_GONE ? CONCORD_INBOUND_DELETE :
			CONCORD_INBOUND_UPSERT;
		record->record = item->record;
		record->local_key = item->local_key;
		record->etag = item->etag;
		record->remote_changed = item->remote_changed;
		record->read_at = item->read_at;
		record->message_id = item->message_id;
		record->inbox = item->newest;
		/* an id that is not the key is the system's, and names the record */
		if (record->op == CONCORD_INBOUND_DELETE || concord_inbound_assigned(inbound))
			record->remote_id = item->id;
		if (record->op == CONCORD_INBOUND_DELETE)
			fet_key(inbound, fetch, record);
		n++;
	}
	if (n > 0)
		concord_inbound_apply(inbound, records, n, &counts);
	concord_inbound_close(inbound);
}

/* fet_settle ends a turn, unless the mapping is not what it was. */
static void
fet_settle(ConcordFetch *fetch)
{
	ConcordMapping *mapping;

	concord_inbound_begin();
	mapping = concord_mapping_by_id(fetch->mapping->id, fetch->context);
	if (mapping != NULL && mapping->state == CONCORD_MAPPING_ACTIVE &&
		mapping->version == fetch->mapping->version &&
		mapping->definer == fetch->mapping->definer)
		fet_apply(fetch, mapping);
	concord_inbound_commit();
}

/* fet_turn looks up what is due of a mapping. */
static void
fet_turn(ConcordFetch *fetch, int32 id)
{
	if (!fet_begin(fetch, id))
		return;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	concord_fetch_ask(fetch);
	CommitTransactionCommand();
	MemoryContextSwitchTo(fetch->context);
	fet_settle(fetch);
}

/* fet_put_off notes why a mapping's records cannot be looked up now. */
static void
fet_put_off(int32 mapping, const char *message)
{
	Oid			types[] = {INT4OID, TEXTOID, INT4OID};
	Datum		values[] = {Int32GetDatum(mapping), CStringGetTextDatum(message),
	Int32GetDatum(FET_MAPPING_MS)};

	concord_bookkeeping_begin();
	if (SPI_execute_with_args("UPDATE concord.inbox_item i SET rule = 'mapping', error = $2,"
							  " next_try = pg_catalog.now() + $3 * interval '1 ms'"
							  " WHERE i.mapping = $1 AND" FET_DUE,
							  lengthof(types), types, values, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not write concord.inbox_item");
	concord_bookkeeping_commit(false);
}

/* fet_try is fet_turn; returns what it raised, or NULL. */
static ErrorData *
fet_try(ConcordFetch *fetch, int32 id)
{
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		fet_turn(fetch, id);
	}
	PG_CATCH();
	{
		error = concord_bookkeeping_caught(fetch->context);
	}
	PG_END_TRY();
	if (fetch->peer != NULL)
		concord_peer_unpin(fetch->peer);
	return error;
}

/* concord_fetch_due looks up records that notices name. */
bool
concord_fetch_due(void)
{
	int32		id = fet_due();
	MemoryContext old;
	ConcordFetch *fetch;
	ErrorData  *error;
	MemoryContext context;

	if (id == 0)
		return false;
	context = AllocSetContextCreate(TopMemoryContext, "concord fetched records",
									ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	fetch = palloc0(sizeof(ConcordFetch));
	fetch->context = context;
	error = fet_try(fetch, id);
	MemoryContextSwitchTo(context);
	if (error != NULL && ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_TRANSACTION_ROLLBACK)
	{
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("records that messages of mapping %d name cannot be looked up: %s",
						id, error->message)));
		fet_put_off(id, error->message);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return true;
}
