/*-------------------------------------------------------------------------
 *
 * encode_json.c
 *	  One JSON object an event; README.md documents its members.
 *
 * Whatever does not change from row to row is escaped and laid out once: the
 * relation's names and its columns' names when its entry is filled, the
 * transaction's position when it begins.  A row copies those and formats its
 * values between them.
 *
 * Events that share a write are separated by a line end, which never stands
 * inside an event.  A single event has none behind it: consumers such as
 * pg_recvlogical add their own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/base64.h"
#include "mb/pg_wchar.h"
#include "replication/origin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "decoder.h"
#include "protocol.h"
#include "row.h"

/* Begin an event; returns where it starts. */
static int
js_begin(DecoderState *state)
{
	if (state->buf.len > 0)
		concord_buf_putc(&state->buf, '\n');
	return state->buf.len;
}

/* An event is complete. */
static void
js_end(DecoderState *state, int start)
{
	concord_buf_putc(&state->buf, '}');
	concord_output_done(state, start);
}

/* An event that began at start is not sent after all. */
static void
js_take_back(DecoderState *state, int start)
{
	state->buf.len = Max(start - 1, 0);
	state->buf.cursor = 0;
}

/* Append a member's name and a string, both known to need no escape. */
static void
js_plain(StringInfo buf, const char *name, const char *value)
{
	concord_buf_literal(buf, ",\"");
	concord_buf_append(buf, name, strlen(name));
	concord_buf_literal(buf, "\":\"");
	concord_buf_append(buf, value, strlen(value));
	concord_buf_putc(buf, '"');
}

/* Append an LSN. */
static void
js_lsn(StringInfo buf, XLogRecPtr lsn)
{
	char		text[32];

	snprintf(text, sizeof(text), "%X/%X", LSN_FORMAT_ARGS(lsn));
	js_plain(buf, "lsn", text);
}

/* Lay out what every event of the current transaction says of it. */
static void
js_position(DecoderState *state)
{
	const ConcordOptions *options = &state->options;
	ReorderBufferTXN *txn = state->txn;
	StringInfo	buf = &state->position;

	resetStringInfo(buf);
	if (options->include_xid)
	{
		char	   *p;

		concord_buf_literal(buf, ",\"xid\":");
		p = concord_buf_reserve(buf, 16);
		concord_buf_advance(buf, p + pg_ultoa_n(txn->xid, p));
	}
	if (options->include_lsn)
		js_lsn(buf, txn->end_lsn);
	if (options->include_time)
	{
		char		time[CONCORD_TIMESTAMP_MAX + 1];

		*concord_put_timestamp(time, txn->xact_time.commit_time, 'T', "+00:00") = '\0';
		js_plain(buf, "time", time);
	}
	if (options->include_origin && txn->origin_id != InvalidRepOriginId)
	{
		char	   *name = NULL;

		if (replorigin_by_oid(txn->origin_id, true, &name))
		{
			concord_buf_literal(buf, ",\"origin\":");
			concord_json_string(buf, name, strlen(name));
		}
	}
}

/* Append the position of the current event. */
static void
js_event_position(DecoderState *state)
{
	StringInfo	buf = &state->buf;

	concord_buf_append(buf, state->position.data, state->position.len);
	if (state->options.include_ordinal)
	{
		char	   *p;

		concord_buf_literal(buf, ",\"ordinal\":");
		p = concord_buf_reserve(buf, 16);
		concord_buf_advance(buf, p + pg_ultoa_n(state->ordinal, p));
	}
}

/* A transaction begins: an event where asked for, its position in any case. */
static void
js_begin_txn(DecoderState *state)
{
	int			start;

	js_position(state);
	if (!state->options.include_transaction)
		return;
	start = js_begin(state);
	concord_buf_literal(&state->buf, "{\"op\":\"begin\"");
	concord_buf_append(&state->buf, state->position.data, state->position.len);
	js_end(state, start);
}

/* A transaction ends: an event where asked for, with the number of events. */
static void
js_commit(DecoderState *state)
{
	int			start;
	char	   *p;

	if (!state->options.include_transaction)
		return;
	start = js_begin(state);
	concord_buf_literal(&state->buf, "{\"op\":\"commit\"");
	concord_buf_append(&state->buf, state->position.data, state->position.len);
	concord_buf_literal(&state->buf, ",\"events\":");
	p = concord_buf_reserve(&state->buf, 16);
	concord_buf_advance(&state->buf, p + pg_ultoa_n(state->ordinal, p));
	js_end(state, start);
}

/* Lay out the member "types" of a relation. */
static void
js_describe_types(StringInfo buf, ConcordRel *rel)
{
	concord_buf_literal(buf, ",\"types\":{");
	for (int i = 0; i < rel->ncolumns; i++)
	{
		ConcordColumn *column = &rel->columns[i];
		char	   *type = format_type_extended(column->typid, column->typmod,
												FORMAT_TYPE_TYPEMOD_GIVEN |
												FORMAT_TYPE_FORCE_QUALIFY);

		if (strncmp(type, "pg_catalog.", 11) == 0)
			type += 11;
		concord_buf_append(buf, column->json_name + (i == 0 ? 1 : 0),
						   column->json_name_len - (i == 0 ? 1 : 0));
		concord_json_string(buf, type, strlen(type));
	}
	concord_buf_putc(buf, '}');
}

/* Escape a relation's names once. */
static void
js_describe(DecoderState *state, ConcordRel *rel)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < rel->ncolumns; i++)
	{
		ConcordColumn *column = &rel->columns[i];

		resetStringInfo(&buf);
		concord_buf_putc(&buf, ',');
		concord_json_string(&buf, column->name, strlen(column->name));
		concord_buf_putc(&buf, ':');
		column->json_name = pnstrdup(buf.data, buf.len);
		column->json_name_len = buf.len;
	}

	resetStringInfo(&buf);
	concord_buf_literal(&buf, ",\"schema\":");
	concord_json_string(&buf, rel->schema, strlen(rel->schema));
	concord_buf_literal(&buf, ",\"table\":");
	concord_json_string(&buf, rel->table, strlen(rel->table));
	rel->json_head = pnstrdup(buf.data, buf.len);
	rel->json_head_len = buf.len;

	resetStringInfo(&buf);
	if (state->options.include_types)
		js_describe_types(&buf, rel);
	rel->json_types = pnstrdup(buf.data, buf.len);
	rel->json_types_len = buf.len;
	pfree(buf.data);
}

/* What an image has that cannot be a member of it. */
typedef struct ImageGaps
{
	bool		unchanged;
	bool		oversize;
} ImageGaps;

/*
 * Append an image as an object: all columns, or those of the key.  Columns
 * without a value to send are left out and noted in gaps.  Ends early where
 * the event has become too large.
 */
static void
js_image(DecoderState *state, ConcordRel *rel, bool old, bool key_only,
		 ImageGaps *gaps)
{
	StringInfo	buf = &state->buf;
	ConcordJsonStyle style = {state->options.numbers_as_strings,
	state->options.bytea_hex};
	const Datum *values = old ? rel->old_values : rel->new_values;
	const bool *nulls = old ? rel->old_nulls : rel->new_nulls;
	bool	   *left_out = old ? rel->old_left_out : rel->new_left_out;
	int			comma = 1;		/* bytes of the name to leave out: its comma */

	concord_buf_putc(buf, '{');
	for (int i = 0; i < rel->ncolumns; i++)
	{
		ConcordColumn *column = &rel->columns[i];
		int			n = column->source;
		int			before = buf->len;

		if (key_only && !column->key)
			continue;
		if (!nulls[n] && column->varlena)
		{
			if (concord_row_unchanged(column, values[n]))
			{
				gaps->unchanged = true;
				continue;
			}
			if (concord_row_oversize(state, column, values[n], left_out[n]))
			{
				gaps->oversize = true;
				continue;
			}
		}
		concord_buf_append(buf, column->json_name + comma,
						   column->json_name_len - comma);
		comma = 0;
		if (nulls[n])
			concord_buf_literal(buf, "null");
		else
			concord_value_json(buf, &column->type, values[n], &style);
		if (!concord_row_wrote(state, column, before, &left_out[n]))
			return;
	}
	concord_buf_putc(buf, '}');
}

/* Append the list of columns that the new image lacks as unchanged. */
static void
js_unchanged(DecoderState *state, ConcordRel *rel)
{
	StringInfo	buf = &state->buf;
	bool		first = true;

	concord_buf_literal(buf, ",\"unchanged\":[");
	for (int i = 0; i < rel->ncolumns; i++)
	{
		ConcordColumn *column = &rel->columns[i];
		int			n = column->source;

		if (rel->new_nulls[n] || !concord_row_unchanged(column, rel->new_values[n]))
			continue;
		if (!first)
			concord_buf_putc(buf, ',');
		first = false;
		/* the name with its quotes, without comma and colon */
		concord_buf_append(buf, column->json_name + 1, column->json_name_len - 2);
	}
	concord_buf_putc(buf, ']');
}

/* Append a marker for each value of an image that is too large. */
static void
js_oversize(DecoderState *state, ConcordRel *rel, bool old)
{
	StringInfo	buf = &state->buf;
	const Datum *values = old ? rel->old_values : rel->new_values;
	const bool *nulls = old ? rel->old_nulls : rel->new_nulls;
	const bool *left_out = old ? rel->old_left_out : rel->new_left_out;
	int			comma = 1;

	if (old)
		concord_buf_literal(buf, ",\"old_oversize\":{");
	else
		concord_buf_literal(buf, ",\"oversize\":{");
	for (int i = 0; i < rel->ncolumns; i++)
	{
		ConcordColumn *column = &rel->columns[i];
		int			n = column->source;
		uint8		sha256[CONCORD_SHA256_LENGTH];
		uint64		length;
		char	   *p;

		if (nulls[n] || !column->varlena ||
			concord_row_unchanged(column, values[n]) ||
			!concord_row_oversize(state, column, values[n], left_out[n]))
			continue;
		length = concord_value_digest(values[n], sha256);
		concord_buf_append(buf, column->json_name + comma,
						   column->json_name_len - comma);
		comma = 0;
		concord_buf_literal(buf, "{\"length\":");
		p = concord_buf_reserve(buf, 32);
		concord_buf_advance(buf, p + pg_ulltoa_n(length, p));
		concord_buf_literal(buf, ",\"sha256\":\"");
		p = concord_buf_reserve(buf, 2 * sizeof(sha256));
		p += hex_encode((char *) sha256, sizeof(sha256), p);
		concord_buf_advance(buf, p);
		concord_buf_literal(buf, "\"}");
	}
	concord_buf_putc(buf, '}');
}

/* Has the relation a key that events can show? */
static bool
js_has_key(ConcordRel *rel)
{
	for (int i = 0; i < rel->ncolumns; i++)
	{
		if (rel->columns[i].key)
			return true;
	}
	return false;
}

/* insert, update, delete */
static bool
js_change(DecoderState *state, ConcordRel *rel, const ConcordChange *change)
{
	StringInfo	buf = &state->buf;
	int			start = js_begin(state);
	ImageGaps	key_gaps = {false, false};
	ImageGaps	old_gaps = {false, false};
	ImageGaps	new_gaps = {false, false};
	bool		whole_old = change->has_old && !change->old_is_key;

	if (change->kind == CONCORD_MSG_INSERT)
		concord_buf_literal(buf, "{\"op\":\"insert\"");
	else if (change->kind == CONCORD_MSG_UPDATE)
		concord_buf_literal(buf, "{\"op\":\"update\"");
	else
		concord_buf_literal(buf, "{\"op\":\"delete\"");
	concord_buf_append(buf, rel->json_head, rel->json_head_len);
	js_event_position(state);

	if ((change->has_old || change->has_new) && js_has_key(rel))
	{
		concord_buf_literal(buf, ",\"key\":");
		js_image(state, rel, change->has_old, true, &key_gaps);
	}
	if (change->no_identity)
		concord_buf_literal(buf, ",\"no_identity\":true");
	if (whole_old && buf->cursor == 0)
	{
		concord_buf_literal(buf, ",\"old\":");
		js_image(state, rel, true, false, &old_gaps);
	}
	if (change->has_new && buf->cursor == 0)
	{
		concord_buf_literal(buf, ",\"new\":");
		js_image(state, rel, false, false, &new_gaps);
	}
	if (unlikely(buf->cursor != 0))
	{
		js_take_back(state, start);
		return false;
	}
	if (new_gaps.unchanged)
		js_unchanged(state, rel);
	if (old_gaps.oversize)
		js_oversize(state, rel, true);
	if (new_gaps.oversize)
		js_oversize(state, rel, false);
	concord_buf_append(buf, rel->json_types, rel->json_types_len);
	js_end(state, start);
	return true;
}

/* truncate */
static void
js_truncate(DecoderState *state, ConcordRel *rel, int flags)
{
	StringInfo	buf = &state->buf;
	int			start = js_begin(state);

	concord_buf_literal(buf, "{\"op\":\"truncate\"");
	concord_buf_append(buf, rel->json_head, rel->json_head_len);
	js_event_position(state);
	if (flags & CONCORD_TRUNCATE_CASCADE)
		concord_buf_literal(buf, ",\"cascade\":true");
	if (flags & CONCORD_TRUNCATE_RESTART)
		concord_buf_literal(buf, ",\"restart_identity\":true");
	if (flags & CONCORD_TRUNCATE_PARTITION)
		concord_buf_literal(buf, ",\"partition\":true");
	js_end(state, start);
}

/* Say how long a message's content is that is too large to be sent. */
static void
js_content_length(StringInfo buf, Size size)
{
	char	   *p;

	concord_buf_literal(buf, ",\"content\":null,\"oversize\":{\"length\":");
	p = concord_buf_reserve(buf, 32);
	concord_buf_advance(buf, p + pg_ulltoa_n(size, p));
	concord_buf_putc(buf, '}');
}

/* Append a message's content: a string where it is text, else base 64. */
static void
js_content(StringInfo buf, const char *content, Size size)
{
	int			before = buf->len;
	int			room;
	int			written;
	char	   *p;

	if (size > CONCORD_CONTENT_MAX)
	{
		js_content_length(buf, size);
		return;
	}
	concord_buf_literal(buf, ",\"content\":");
	if (memchr(content, '\0', size) == NULL &&
		pg_verify_mbstr(GetDatabaseEncoding(), content, (int) size, true))
	{
		concord_json_string(buf, content, size);
		if (buf->cursor != 0)
		{
			buf->cursor = 0;
			buf->len = before;
			js_content_length(buf, size);
		}
		return;
	}
	room = pg_b64_enc_len((int) size);
	concord_buf_putc(buf, '"');
	p = concord_buf_reserve(buf, (Size) room + 1);
	written = pg_b64_encode((const void *) content, (int) size, p, room);
	if (written < 0)
		elog(ERROR, "could not encode %zu bytes in base 64", size);
	concord_buf_advance(buf, p + written);
	concord_buf_literal(buf, "\",\"encoding\":\"base64\"");
}

/* message */
static void
js_message(DecoderState *state, const ConcordMessage *message)
{
	StringInfo	buf = &state->buf;
	int			start = js_begin(state);

	concord_buf_literal(buf, "{\"op\":\"message\"");
	if (message->transactional)
	{
		js_event_position(state);
		concord_buf_literal(buf, ",\"transactional\":true");
	}
	else
	{
		if (state->options.include_lsn)
			js_lsn(buf, message->lsn);
		concord_buf_literal(buf, ",\"transactional\":false");
	}
	concord_buf_literal(buf, ",\"prefix\":");
	concord_json_string(buf, message->prefix, strlen(message->prefix));
	js_content(buf, message->content, message->size);
	js_end(state, start);
}

const ConcordEncoder concord_encoder_json = {
	.name = "json",
	.binary = false,
	.separator = 1,
	.begin = js_begin_txn,
	.commit = js_commit,
	.describe = js_describe,
	.change = js_change,
	.truncate = js_truncate,
	.message = js_message,
};
