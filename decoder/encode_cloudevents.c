/*-------------------------------------------------------------------------
 *
 * encode_cloudevents.c
 *	  CloudEvents 1.0 in structured JSON, an event a line.
 *
 * The event's members of format json are its data; its position becomes
 * attributes: id, time, sequence, lsn, xid, origin.  Type and subject are what
 * the extension's webhooks say, so a receiver need not care which of the two
 * an event came by.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "json_event.h"
#include "origin.h"
#include "protocol.h"

/*
 * Name the source where no option does: the server by its system identifier,
 * and the database, as a path.
 */
static char *
ce_default_source(void)
{
	StringInfoData buf;
	char	   *database = get_database_name(MyDatabaseId);

	initStringInfo(&buf);
	appendStringInfo(&buf, "/postgresql/" UINT64_FORMAT "/", GetSystemIdentifier());
	for (const char *p = database; *p != '\0'; p++)
	{
		unsigned char c = (unsigned char) *p;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			(c >= '0' && c <= '9') || strchr("-._~", c) != NULL)
			appendStringInfoChar(&buf, c);
		else
			appendStringInfo(&buf, "%%%02X", c);
	}
	return buf.data;
}

/* Learn who speaks. */
static void
ce_start(DecoderState *state)
{
	if (state->options.source == NULL)
		state->options.source = ce_default_source();
}

/* Begin an event up to its type, whose beginning is escaped already. */
static int
ce_begin(DecoderState *state, const char *type)
{
	StringInfo	buf = &state->buf;
	int			start = concord_json_begin(state);

	concord_buf_literal(buf, "{\"specversion\":\"1.0\",\"source\":\"");
	concord_buf_append(buf, state->options.source, strlen(state->options.source));
	concord_buf_literal(buf, "\",\"type\":\"");
	concord_buf_append(buf, type, strlen(type));
	return start;
}

/* Append the id: that of the change, and what tells two events of it apart. */
static void
ce_id(DecoderState *state, const char *suffix)
{
	StringInfo	buf = &state->buf;
	char	   *p;

	concord_buf_literal(buf, "\",\"id\":\"");
	p = concord_buf_reserve(buf, CONCORD_ID_MAX);
	concord_buf_advance(buf, concord_txn_put_id(state, p));
	concord_buf_append(buf, suffix, strlen(suffix));
	concord_buf_putc(buf, '"');
}

/* Write eight hexadecimal digits. */
static char *
ce_put_hex8(char *p, uint32 v)
{
	for (int shift = 28; shift >= 0; shift -= 4)
		*p++ = "0123456789ABCDEF"[(v >> shift) & 0xF];
	return p;
}

/* Append the sequence: text that sorts as the events do. */
static void
ce_sequence(DecoderState *state, XLogRecPtr lsn, uint32 ordinal)
{
	StringInfo	buf = &state->buf;
	char	   *p;

	if (!state->options.include_ordinal)
		return;
	concord_buf_literal(buf, ",\"sequence\":\"");
	p = concord_buf_reserve(buf, 32);
	p = ce_put_hex8(p, (uint32) (lsn >> 32));
	*p++ = '/';
	p = ce_put_hex8(p, (uint32) lsn);
	*p++ = '/';
	p = ce_put_hex8(p, ordinal);
	*p++ = '"';
	concord_buf_advance(buf, p);
}

/* Append the position of the current event, and all that is before its data. */
static void
ce_position(DecoderState *state, uint32 ordinal)
{
	StringInfo	buf = &state->buf;

	concord_buf_append(buf, state->position.data, state->position.len);
	ce_sequence(state, state->txn->end_lsn, ordinal);
	concord_buf_literal(buf, ",\"datacontenttype\":\"application/json\",\"data\":");
}

/* An event and its data are complete. */
static void
ce_end(DecoderState *state, int start)
{
	concord_buf_putc(&state->buf, '}');
	concord_json_end(state, start);
}

/* Read four hexadecimal digits of an escape. */
static uint32
ce_hex4(const unsigned char *p)
{
	uint32		v = 0;

	for (int i = 0; i < 4; i++)
		v = v << 4 | (p[i] <= '9' ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10);
	return v;
}

/*
 * Step over a character of JSON text, in which those beyond ASCII are UTF-8 or
 * escaped.  Returns its code point, or 0 where the text has a control
 * character by name.
 */
static uint32
ce_next_char(const unsigned char **text, const unsigned char *end)
{
	const unsigned char *p = *text;
	uint32		c = *p;
	int			len = 1;

	if (c >= 0x80)
	{
		len = Min(pg_utf_mblen(p), end - p);
		c = utf8_to_unicode(p);
	}
	else if (c == '\\')
	{
		c = p[1];
		len = 2;
		if (c == 'u')
		{
			c = ce_hex4(p + 2);
			len = 6;
			if (is_utf16_surrogate_first(c) && end - p >= 12)
			{
				c = surrogate_pair_to_codepoint(c, ce_hex4(p + 8));
				len = 12;
			}
		}
		else if (c != '"' && c != '\\' && c != '/')
			c = 0;
	}
	*text = p + len;
	return c;
}

/* Must an attribute not have a character: a control, or none of Unicode's? */
static bool
ce_is_forbidden(uint32 c)
{
	return c < 0x20 || (c >= 0x7F && c <= 0x9F) ||
		(c >= 0xFDD0 && c <= 0xFDEF) || (c & 0xFFFE) == 0xFFFE;
}

/* Has JSON text a character that an attribute must not have? */
static bool
ce_has_forbidden(const char *data, int len)
{
	const unsigned char *p = (const unsigned char *) data;
	const unsigned char *end = p + len;

	while (p < end)
	{
		if (likely(*p >= 0x20 && *p < 0x7F && *p != '\\'))
			p++;
		else if (ce_is_forbidden(ce_next_char(&p, end)))
			return true;
	}
	return false;
}

/*
 * Replace JSON text at the end of a buffer by a string that shows it, in which
 * what an attribute must not have is an escape that can be read.
 */
static void
ce_show(StringInfo buf, int from)
{
	const unsigned char *p = (unsigned char *) buf->data + from;
	const unsigned char *end = (unsigned char *) buf->data + buf->len;
	StringInfoData text;

	initStringInfo(&text);
	while (p < end)
	{
		const unsigned char *start = p;
		uint32		c = ce_next_char(&p, end);

		if (*start == '\\' || !ce_is_forbidden(c))
			appendBinaryStringInfo(&text, (const char *) start, p - start);
		else if (c <= 0xFFFF)
			appendStringInfo(&text, "\\u%04x", c);
		else
			appendStringInfo(&text, "\\u%04x\\u%04x", 0xD7C0 + (c >> 10),
							 0xDC00 + (c & 0x3FF));
	}
	buf->len = from;
	concord_json_string(buf, text.data, text.len);
	pfree(text.data);
}

/*
 * Append a string as an attribute's value.  One with characters that an
 * attribute must not have is shown as JSON writes it, without its quotes.
 */
static void
ce_string(StringInfo buf, const char *s)
{
	int			from = buf->len;

	concord_json_string(buf, s, strlen(s));
	if (likely(!ce_has_forbidden(buf->data + from, buf->len - from)))
		return;
	memmove(buf->data + from, buf->data + from + 1, buf->len - from - 2);
	buf->len -= 2;
	ce_show(buf, from);
}

/* Lay out what every event of the current transaction says of it. */
static void
ce_layout_position(DecoderState *state)
{
	const ConcordOptions *options = &state->options;
	ReorderBufferTXN *txn = state->txn;
	StringInfo	buf = &state->position;
	const char *origin;

	resetStringInfo(buf);
	if (options->include_time)
	{
		char		time[CONCORD_TIMESTAMP_MAX + 1];

		*concord_put_timestamp(time, concord_txn_commit_time(txn), 'T', "Z") = '\0';
		concord_json_plain(buf, "time", time);
	}
	if (options->include_lsn)
		concord_json_lsn(buf, "lsn", txn->end_lsn);
	/* an attribute's integer has 32 bits and a sign */
	if (options->include_xid)
		appendStringInfo(buf, ",\"xid\":\"%u\"", txn->xid);
	if (options->include_origin &&
		(origin = concord_origin_name(state, txn->origin_id)) != NULL)
	{
		concord_buf_literal(buf, ",\"origin\":");
		ce_string(buf, origin);
	}
}

/* Write the event of a transaction's begin or end. */
static void
ce_frame(DecoderState *state, const char *type, const char *op, uint32 ordinal)
{
	StringInfo	buf = &state->buf;
	int			start = ce_begin(state, type);

	appendStringInfo(buf, "\",\"id\":\"%X/%X-%s\"",
					 LSN_FORMAT_ARGS(state->txn->end_lsn), op);
	ce_position(state, ordinal);
	appendStringInfo(buf, "{\"op\":\"%s\"", op);
	if (ordinal != 0)
		appendStringInfo(buf, ",\"events\":%u", state->ordinal);
	ce_end(state, start);
}

/* A transaction begins: an event where asked for. */
static void
ce_begin_txn(DecoderState *state)
{
	ce_layout_position(state);
	if (state->options.include_transaction)
		ce_frame(state, "concord.begin", "begin", 0);
}

/* A transaction ends: an event where asked for. */
static void
ce_commit(DecoderState *state)
{
	if (state->options.include_transaction)
		ce_frame(state, "concord.commit", "commit", state->ordinal + 1);
}

/* Lay out a relation's part of types, and all that its data repeat. */
static void
ce_describe(DecoderState *state, ConcordRel *rel)
{
	StringInfoData buf;
	char	   *type = psprintf("concord.%s.%s.", rel->schema, rel->table);

	concord_json_describe(state, rel);
	initStringInfo(&buf);
	ce_string(&buf, type);
	rel->json_type = pnstrdup(buf.data + 1, buf.len - 2);
	pfree(buf.data);
}

/*
 * Append the subject: the text of a key of one column, or the key as JSON.  An
 * attribute is not empty and has no control characters; a text with one is
 * shown as JSON too, with its quotes.
 */
static void
ce_subject(DecoderState *state, ConcordRel *rel, bool old)
{
	StringInfo	buf = &state->buf;
	int			before = buf->len;
	int			from;
	int			len;
	bool		found;

	concord_buf_literal(buf, ",\"subject\":");
	from = buf->len;
	found = concord_json_subject(state, rel, old);
	len = buf->len - from;
	if (!found || (len == 2 && buf->data[from] == '"'))
	{
		buf->len = before;
		buf->cursor = 0;
	}
	else if (buf->data[from] != '"' || ce_has_forbidden(buf->data + from, len))
		ce_show(buf, from);
}

/* Write the definition of a relation, where it is to be told once. */
static void
ce_relation(DecoderState *state, ConcordRel *rel)
{
	StringInfo	buf = &state->buf;
	int			start;

	if (likely(rel->json_told == NULL) || !concord_json_relation_due(rel))
		return;
	start = ce_begin(state, rel->json_type);
	concord_buf_literal(buf, "relation");
	ce_id(state, "-relation");
	ce_position(state, state->ordinal);
	concord_buf_literal(buf, "{\"op\":\"relation\"");
	concord_buf_append(buf, rel->json_head, rel->json_head_len);
	concord_buf_append(buf, rel->json_columns, strlen(rel->json_columns));
	ce_end(state, start);
}

/* Begin an event of a relation up to its subject. */
static int
ce_begin_relation(DecoderState *state, ConcordRel *rel, const char *op)
{
	int			start = ce_begin(state, rel->json_type);

	concord_buf_append(&state->buf, op, strlen(op));
	ce_id(state, "");
	return start;
}

/* Append the rest of such an event up to what its operation says. */
static void
ce_data(DecoderState *state, ConcordRel *rel, const char *op)
{
	StringInfo	buf = &state->buf;

	ce_position(state, state->ordinal);
	concord_buf_literal(buf, "{\"op\":\"");
	concord_buf_append(buf, op, strlen(op));
	concord_buf_putc(buf, '"');
	concord_buf_append(buf, rel->json_head, rel->json_head_len);
}

/* insert, update, delete */
static bool
ce_change(DecoderState *state, ConcordRel *rel, const ConcordChange *change)
{
	const char *op = change->kind == CONCORD_MSG_INSERT ? "insert" :
		change->kind == CONCORD_MSG_UPDATE ? "update" : "delete";
	int			start;

	ce_relation(state, rel);
	start = ce_begin_relation(state, rel, op);
	if (change->has_old || change->has_new)
		ce_subject(state, rel, change->has_old);
	ce_data(state, rel, op);
	if (!concord_json_row(state, rel, change))
	{
		concord_json_take_back(state, start);
		return false;
	}
	ce_end(state, start);
	return true;
}

/* truncate */
static void
ce_truncate(DecoderState *state, ConcordRel *rel, int flags)
{
	int			start;

	ce_relation(state, rel);
	start = ce_begin_relation(state, rel, "truncate");
	ce_data(state, rel, "truncate");
	concord_json_truncate_flags(state, flags);
	ce_end(state, start);
}

/* message: its subject is its prefix */
static void
ce_message(DecoderState *state, const ConcordMessage *message)
{
	StringInfo	buf = &state->buf;
	int			start = ce_begin(state, "concord.message");

	ce_id(state, "");
	if (message->prefix[0] != '\0')
	{
		concord_buf_literal(buf, ",\"subject\":");
		ce_string(buf, message->prefix);
	}
	if (message->transactional)
		ce_position(state, state->ordinal);
	else
	{
		if (state->options.include_lsn)
			concord_json_lsn(buf, "lsn", message->lsn);
		ce_sequence(state, message->lsn, 0);
		concord_buf_literal(buf, ",\"datacontenttype\":\"application/json\",\"data\":");
	}
	concord_buf_literal(buf, "{\"op\":\"message\"");
	concord_json_message(state, message);
	ce_end(state, start);
}

const ConcordEncoder concord_encoder_cloudevents = {
	.name = "cloudevents",
	.binary = false,
	.separator = 1,
	.start = ce_start,
	.begin = ce_begin_txn,
	.commit = ce_commit,
	.describe = ce_describe,
	.change = ce_change,
	.truncate = ce_truncate,
	.message = ce_message,
};
