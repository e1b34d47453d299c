/*-------------------------------------------------------------------------
 *
 * encode_debezium.c
 *	  The envelope of Debezium's connector for PostgreSQL, an event a line.
 *
 * A line is the value of a record as JsonConverter writes it: with schema =
 * inline the schema and the payload, else the payload alone.  A record's key
 * is no part of its value; with include_key it is a member "key" beside the
 * others.  Tombstones belong to Kafka and are not written.
 *
 * As in Debezium an update that changes the key is two events, a delete of
 * the old row and a create of the new one.  An image has all columns: null
 * where the old image has the key only, a placeholder where a TOASTed value
 * did not change, and where a value is too large.  The latter, which Debezium
 * has no word for, is listed in member "oversize"; a number that has no form
 * is null and listed in "failed".
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "debezium.h"
#include "protocol.h"

/* What the envelope says of the connector. */
#define CONNECTOR_NAME	"postgresql"

/* How messages are called among the tables of a transaction. */
#define MESSAGES_NAME	"LOGICAL_DECODING_MESSAGE"

/* The clock is read once in as many events. */
#define CLOCK_EVENTS	1024

/* An image's values that need a word more. */
typedef struct ImageFaults
{
	bool		oversize;
	bool		failed;
} ImageFaults;

/* Learn names, in a transaction; make the state. */
static void
dz_start(DecoderState *state)
{
	struct DbzState *dbz = palloc0(sizeof(struct DbzState));

	initStringInfo(&dbz->scratch);
	initStringInfo(&dbz->source);
	initStringInfo(&dbz->tail);
	dbz->database = get_database_name(MyDatabaseId);
	if (state->options.source == NULL)
		state->options.source = dbz->database;
	state->debezium = dbz;
	if (state->options.schema == CONCORD_SCHEMA_INLINE)
		concord_debezium_fixed_schemas(state);
}

/* Append a time in milli-, micro- and nanoseconds since 1970. */
static int64
dz_unix_usecs(TimestampTz time)
{
	return time + (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

/* Lay out what the envelope says of the moment. */
static void
dz_layout_tail(DecoderState *state)
{
	StringInfo	buf = &state->debezium->tail;
	int64		now = dz_unix_usecs(GetCurrentTimestamp());

	resetStringInfo(buf);
	appendStringInfo(buf, "\",\"ts_ms\":" INT64_FORMAT ",\"ts_us\":" INT64_FORMAT
					 ",\"ts_ns\":" INT64_FORMAT, now / 1000, now, now * 1000);
}

/*
 * Lay out member "source" of all events of a transaction, or of a message
 * outside transactions, up to the second half of its sequence.  The sequence
 * orders events: commits by their LSN, and in them changes by theirs.
 */
static void
dz_layout_source(DecoderState *state, ReorderBufferTXN *txn, TimestampTz time)
{
	StringInfo	buf = &state->debezium->source;
	int64		usecs = dz_unix_usecs(time);

	resetStringInfo(buf);
	concord_buf_literal(buf, ",\"source\":{\"version\":\"" CONCORD_VERSION "\","
						"\"connector\":\"" CONNECTOR_NAME "\",\"name\":");
	concord_json_string(buf, state->options.source, strlen(state->options.source));
	appendStringInfo(buf, ",\"ts_ms\":" INT64_FORMAT ",\"snapshot\":\"false\",\"db\":",
					 usecs / 1000);
	concord_json_string(buf, state->debezium->database,
						strlen(state->debezium->database));
	appendStringInfo(buf, ",\"ts_us\":" INT64_FORMAT ",\"ts_ns\":" INT64_FORMAT
					 ",\"txId\":", usecs, usecs * 1000);
	if (txn == NULL)
		concord_buf_literal(buf, "null,\"xmin\":null,\"sequence\":\"[null,\\\"");
	else
		appendStringInfo(buf, "%u,\"xmin\":null,\"sequence\":\"[\\\"" UINT64_FORMAT
						 "\\\",\\\"", txn->xid, txn->final_lsn);
}

/* Append member "source" of an event at lsn; names are its relation's. */
static void
dz_source(DecoderState *state, XLogRecPtr lsn, const char *names)
{
	StringInfo	buf = &state->buf;

	concord_buf_append(buf, state->debezium->source.data, state->debezium->source.len);
	concord_json_number(buf, lsn);
	concord_buf_literal(buf, "\\\"]\",\"lsn\":");
	concord_json_number(buf, lsn);
	concord_buf_append(buf, names, strlen(names));
	concord_buf_putc(buf, '}');
}

/* Append the rest of an envelope: the operation, the time, the transaction. */
static void
dz_tail(DecoderState *state, const char *op, DbzCount *count)
{
	StringInfo	buf = &state->buf;
	struct DbzState *dbz = state->debezium;

	concord_buf_literal(buf, ",\"op\":\"");
	concord_buf_append(buf, op, strlen(op));
	concord_buf_append(buf, dbz->tail.data, dbz->tail.len);
	if (count == NULL)
	{
		concord_buf_literal(buf, ",\"transaction\":null");
		return;
	}
	if (count->events++ == 0)
	{
		MemoryContext old = MemoryContextSwitchTo(state->context);

		dbz->counted = lappend(dbz->counted, count);
		MemoryContextSwitchTo(old);
	}
	concord_buf_literal(buf, ",\"transaction\":{\"id\":\"");
	concord_buf_append(buf, dbz->transaction, strlen(dbz->transaction));
	concord_buf_literal(buf, "\",\"total_order\":");
	concord_json_number(buf, ++dbz->events);
	concord_buf_literal(buf, ",\"data_collection_order\":");
	concord_json_number(buf, count->events);
	concord_buf_putc(buf, '}');
}

/* An event is complete, schema and all. */
static void
dz_end(DecoderState *state, int start)
{
	if (state->options.schema == CONCORD_SCHEMA_INLINE)
		concord_buf_putc(&state->buf, '}');
	concord_json_end(state, start);
}

/* Find or make the count of a relation's events, under its name of now. */
static DbzCount *
dz_count(DecoderState *state, Oid relid, const char *name)
{
	struct DbzState *dbz = state->debezium;
	DbzCount   *count;
	bool		found;

	if (!state->options.include_transaction)
		return NULL;
	if (dbz->counts == NULL)
	{
		HASHCTL		ctl;

		memset(&ctl, 0, sizeof(ctl));
		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(DbzCount);
		ctl.hcxt = state->context;
		dbz->counts = hash_create("concord_decoder counts", 64, &ctl,
								  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	count = hash_search(dbz->counts, &relid, HASH_ENTER, &found);
	if (!found)
		count->events = 0;
	else if (strcmp(count->name, name) == 0)
		return count;
	else
		pfree(count->name);
	count->name = MemoryContextStrdup(state->context, name);
	return count;
}

/* Learn how a relation's values are written. */
static void
dz_describe(DecoderState *state, ConcordRel *rel)
{
	DbzRel	   *dbz = palloc0(sizeof(DbzRel));
	StringInfoData names;

	rel->debezium = dbz;
	concord_json_describe_columns(rel);
	initStringInfo(&names);
	concord_json_names(&names, rel);
	dbz->source = pnstrdup(names.data, names.len);
	pfree(names.data);
	dbz->types = palloc0(sizeof(DbzType) * Max(rel->ncolumns, 1));
	for (int i = 0; i < rel->ncolumns; i++)
		concord_debezium_type(&dbz->types[i], rel->columns[i].typid,
							  rel->columns[i].typmod);
	dbz->schema = "";
	dbz->key_schema = "";
	if (state->options.schema == CONCORD_SCHEMA_INLINE)
		concord_debezium_schema(state, rel);
	dbz->count = dz_count(state, rel->target, psprintf("%s.%s", rel->schema, rel->table));
}

/* Append an event of a transaction's begin or end, with its key. */
static int
dz_begin_status(DecoderState *state, const char *status)
{
	StringInfo	buf = &state->buf;
	int			start = concord_json_begin(state);
	bool		inlined = state->options.schema == CONCORD_SCHEMA_INLINE;

	concord_buf_putc(buf, '{');
	if (state->options.include_key)
		appendStringInfo(buf, "\"key\":%s{\"id\":\"%s\"}%s,",
						 inlined ? state->debezium->fixed[DBZ_FIXED_TRANSACTION_KEY] : "",
						 state->debezium->transaction, inlined ? "}" : "");
	if (inlined)
		appendStringInfoString(buf, state->debezium->fixed[DBZ_FIXED_TRANSACTION]);
	appendStringInfo(buf, "\"status\":\"%s\",\"id\":\"%s\",\"ts_ms\":" INT64_FORMAT,
					 status, state->debezium->transaction,
					 dz_unix_usecs(concord_txn_commit_time(state->txn)) / 1000);
	return start;
}

/* A transaction begins. */
static void
dz_begin_txn(DecoderState *state)
{
	struct DbzState *dbz = state->debezium;
	MemoryContext old;
	ListCell   *lc;
	int			start;

	dbz->half = false;
	dz_layout_source(state, state->txn, concord_txn_commit_time(state->txn));
	dz_layout_tail(state);
	if (!state->options.include_transaction)
		return;

	foreach(lc, dbz->counted)
		((DbzCount *) lfirst(lc))->events = 0;
	list_free(dbz->counted);
	dbz->counted = NIL;
	dbz->events = 0;
	if (dbz->transaction)
		pfree(dbz->transaction);
	old = MemoryContextSwitchTo(state->context);
	dbz->transaction = psprintf("%u:" UINT64_FORMAT, state->txn->xid,
								state->txn->final_lsn);
	MemoryContextSwitchTo(old);
	start = dz_begin_status(state, "BEGIN");
	concord_buf_literal(&state->buf, ",\"event_count\":null,\"data_collections\":null");
	dz_end(state, start);
}

/* A transaction ends. */
static void
dz_commit(DecoderState *state)
{
	StringInfo	buf = &state->buf;
	ListCell   *lc;
	int			start;

	if (!state->options.include_transaction)
		return;
	start = dz_begin_status(state, "END");
	appendStringInfo(buf, ",\"event_count\":%u,\"data_collections\":[",
					 state->debezium->events);
	foreach(lc, state->debezium->counted)
	{
		DbzCount   *count = lfirst(lc);

		if (foreach_current_index(lc) > 0)
			concord_buf_putc(buf, ',');
		concord_buf_literal(buf, "{\"data_collection\":");
		concord_json_string(buf, count->name, strlen(count->name));
		appendStringInfo(buf, ",\"event_count\":%u}", count->events);
	}
	concord_buf_putc(buf, ']');
	dz_end(state, start);
}

/*
 * Append an image, or the key that is in it.  Ends early where the event has
 * become too large.
 */
static void
dz_image(DecoderState *state, ConcordRel *rel, bool old, bool identity_only,
		 bool key, ImageFaults *faults)
{
	StringInfo	buf = &state->buf;
	const Datum *values = old ? rel->old_values : rel->new_values;
	const bool *nulls = old ? rel->old_nulls : rel->new_nulls;
	bool	   *left_out = old ? rel->old_left_out : rel->new_left_out;
	int			comma = 1;

	concord_buf_putc(buf, '{');
	for (int i = 0; i < rel->ncolumns; i++)
	{
		ConcordColumn *column = &rel->columns[i];
		const DbzType *type = &rel->debezium->types[i];
		int			n = column->source;
		int			before = buf->len;

		if (key && !column->key)
			continue;
		concord_buf_append(buf, column->json_name + comma,
						   column->json_name_len - comma);
		comma = 0;
		if (nulls[n] ||
			(identity_only && (column->flags & CONCORD_COL_IDENTITY) == 0))
			concord_buf_literal(buf, "null");
		else if (concord_row_unchanged(column, values[n]))
			concord_debezium_placeholder(state, type);
		else if (concord_row_oversize(state, column, values[n], left_out[n]))
		{
			concord_debezium_placeholder(state, type);
			faults->oversize = true;
		}
		else if (concord_debezium_value(state, type, values[n]) != DBZ_FINE)
			faults->failed = true;
		if (!concord_row_wrote(state, column, before, &left_out[n]))
			return;
	}
	concord_buf_putc(buf, '}');
}

/* Append the key of an event as a member of its own. */
static void
dz_key(DecoderState *state, ConcordRel *rel, bool old)
{
	StringInfo	buf = &state->buf;
	ImageFaults faults = {false, false};

	concord_buf_literal(buf, "\"key\":");
	concord_buf_append(buf, rel->debezium->key_schema, strlen(rel->debezium->key_schema));
	dz_image(state, rel, old, false, true, &faults);
	if (rel->debezium->key_schema[0] != '\0')
		concord_buf_putc(buf, '}');
	concord_buf_putc(buf, ',');
}

/* Append a list of the values of an image that have no form. */
static void
dz_failed(DecoderState *state, ConcordRel *rel, bool old)
{
	StringInfo	buf = &state->buf;
	const Datum *values = old ? rel->old_values : rel->new_values;
	const bool *nulls = old ? rel->old_nulls : rel->new_nulls;
	const bool *left_out = old ? rel->old_left_out : rel->new_left_out;
	bool		first = true;

	for (int i = 0; i < rel->ncolumns; i++)
	{
		ConcordColumn *column = &rel->columns[i];
		int			n = column->source;
		int			before = buf->len;
		const ConcordRowFailure *failure = concord_row_failure(state, &left_out[n]);
		DbzFault	fault;

		if (failure)
			concord_json_failure(buf, column, old, failure->reason.sqlerrcode,
								 failure->reason.message, &first);
		if (nulls[n] || concord_row_unchanged(column, values[n]) ||
			concord_row_oversize(state, column, values[n], left_out[n]))
			continue;
		fault = concord_debezium_value(state, &rel->debezium->types[i], values[n]);
		buf->len = before;
		if (fault == DBZ_FINE)
			continue;
		CONCORD_COUNT(state, CONCORD_COUNT_FAILED);
		concord_json_failure(buf, column, old, ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
							 "NaN and infinity have no precise decimal", &first);
	}
	if (!first)
		concord_buf_putc(buf, '}');
}

/* What an event has of a change. */
typedef struct DbzEvent
{
	const char *op;
	bool		before;
	bool		after;
	bool		identity_only;	/* of the old image */
} DbzEvent;

/* Write an event of a row; false where it has become too large. */
static bool
dz_event(DecoderState *state, ConcordRel *rel, const DbzEvent *event)
{
	StringInfo	buf = &state->buf;
	int			start = concord_json_begin(state);
	ImageFaults old_faults = {false, false};
	ImageFaults new_faults = {false, false};

	concord_buf_putc(buf, '{');
	if (state->options.include_key)
	{
		if (rel->json_has_key && (event->after || event->before))
			dz_key(state, rel, !event->after);
		else
			concord_buf_literal(buf, "\"key\":null,");
	}
	concord_buf_append(buf, rel->debezium->schema, strlen(rel->debezium->schema));
	concord_buf_literal(buf, "\"before\":");
	if (event->before && buf->cursor == 0)
		dz_image(state, rel, true, event->identity_only, false, &old_faults);
	else
		concord_buf_literal(buf, "null");
	concord_buf_literal(buf, ",\"after\":");
	if (event->after && buf->cursor == 0)
		dz_image(state, rel, false, false, false, &new_faults);
	else
		concord_buf_literal(buf, "null");
	if (unlikely(buf->cursor != 0 || !concord_row_is_text(state, start)))
	{
		concord_json_take_back(state, start);
		return false;
	}
	dz_source(state, state->change_lsn, rel->debezium->source);
	dz_tail(state, event->op, rel->debezium->count);
	if (unlikely(old_faults.oversize))
		concord_json_oversize(state, rel, true);
	if (unlikely(new_faults.oversize))
		concord_json_oversize(state, rel, false);
	if (event->before && unlikely(old_faults.failed || state->failures != NULL))
		dz_failed(state, rel, true);
	if (event->after && unlikely(new_faults.failed || state->failures != NULL))
		dz_failed(state, rel, false);
	dz_end(state, start);
	return true;
}

/* Is the key of the new image another one than that of the old? */
static bool
dz_key_changed(ConcordRel *rel)
{
	for (int i = 0; i < rel->ncolumns; i++)
	{
		const ConcordColumn *column = &rel->columns[i];
		int			n = column->source;

		if (!column->key)
			continue;
		if (rel->old_nulls[n] || rel->new_nulls[n])
		{
			if (rel->old_nulls[n] != rel->new_nulls[n])
				return true;
			continue;
		}
		if (concord_row_unchanged(column, rel->new_values[n]) ||
			concord_row_unchanged(column, rel->old_values[n]))
			continue;
		if (!datum_image_eq(rel->old_values[n], rel->new_values[n],
							column->type.typbyval, column->type.typlen))
			return true;
	}
	return false;
}

/* c, u, d */
static bool
dz_change(DecoderState *state, ConcordRel *rel, const ConcordChange *change)
{
	struct DbzState *dbz = state->debezium;
	DbzEvent	event = {"c", change->has_old, change->has_new, change->old_is_key};

	if (unlikely(state->ordinal % CLOCK_EVENTS == 0))
		dz_layout_tail(state);
	if (change->kind == CONCORD_MSG_DELETE)
		event.op = "d";
	else if (change->kind == CONCORD_MSG_UPDATE)
	{
		event.op = "u";
		if (change->has_old && rel->json_has_key && dz_key_changed(rel))
		{
			event.op = "d";
			event.after = false;
			if (!dbz->half && !dz_event(state, rel, &event))
				return false;
			dbz->half = true;
			event.op = "c";
			event.before = false;
			event.after = true;
		}
	}
	if (!dz_event(state, rel, &event))
		return false;
	dbz->half = false;
	concord_debezium_shrink(state);
	return true;
}

/* t */
static void
dz_truncate(DecoderState *state, ConcordRel *rel, int flags)
{
	static const DbzEvent event = {"t", false, false, false};

	(void) dz_event(state, rel, &event);
}

/* Append a message's content, or null where it is too large. */
static bool
dz_content(DecoderState *state, const ConcordMessage *message)
{
	StringInfo	buf = &state->buf;
	int			before = buf->len;

	concord_json_bytes(buf, message->content, message->size,
					   state->options.bytea_hex);
	if (buf->cursor == 0)
		return true;
	buf->len = before;
	buf->cursor = 0;
	return false;
}

/* m */
static void
dz_message(DecoderState *state, const ConcordMessage *message)
{
	StringInfo	buf = &state->buf;
	bool		inlined = state->options.schema == CONCORD_SCHEMA_INLINE;
	bool		oversize = message->size > CONCORD_CONTENT_MAX;
	int			start = concord_json_begin(state);

	if (!message->transactional)
	{
		dz_layout_source(state, NULL, GetCurrentTimestamp());
		dz_layout_tail(state);
	}
	concord_buf_putc(buf, '{');
	if (state->options.include_key)
	{
		concord_buf_literal(buf, "\"key\":");
		if (inlined)
			appendStringInfoString(buf, state->debezium->fixed[DBZ_FIXED_MESSAGE_KEY]);
		concord_buf_literal(buf, "{\"prefix\":");
		concord_json_string(buf, message->prefix, strlen(message->prefix));
		appendStringInfoString(buf, inlined ? "}}," : "},");
	}
	if (inlined)
		appendStringInfoString(buf, state->debezium->fixed[DBZ_FIXED_MESSAGE]);
	concord_buf_literal(buf, "\"message\":{\"prefix\":");
	concord_json_string(buf, message->prefix, strlen(message->prefix));
	concord_buf_literal(buf, ",\"content\":");
	if (oversize || !dz_content(state, message))
	{
		oversize = true;
		concord_buf_literal(buf, "null");
	}
	concord_buf_putc(buf, '}');
	dz_source(state, message->lsn, ",\"schema\":\"\",\"table\":\"\"");
	dz_tail(state, "m", message->transactional ?
			dz_count(state, InvalidOid, MESSAGES_NAME) : NULL);
	if (oversize)
		appendStringInfo(buf, ",\"oversize\":{\"length\":%zu}", message->size);
	dz_end(state, start);
}

const ConcordEncoder concord_encoder_debezium = {
	.name = "debezium",
	.binary = false,
	.separator = 1,
	.start = dz_start,
	.begin = dz_begin_txn,
	.commit = dz_commit,
	.describe = dz_describe,
	.change = dz_change,
	.truncate = dz_truncate,
	.message = dz_message,
};
