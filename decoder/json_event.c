/*-------------------------------------------------------------------------
 *
 * json_event.c
 *	  What events of all JSON formats share: frame, position, messages.
 *
 * The transaction's position is laid out once, when it begins, and copied
 * into each event.  Of one that is in progress, LSN and time are not known.
 *
 * Events that share a write are separated by a line end, which never stands
 * inside an event.  A single event has none behind it: consumers such as
 * pg_recvlogical add their own.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "json_event.h"
#include "origin.h"
#include "protocol.h"

/* The most bytes of members ordinal and id. */
#define EVENT_POSITION_ROOM	(CONCORD_ID_MAX + 40)

/* An event is complete. */
void
concord_json_end(DecoderState *state, int start)
{
	concord_buf_putc(&state->buf, '}');
	concord_output_done(state, start);
}

/* Append a member's name and a string, both known to need no escape. */
void
concord_json_plain(StringInfo buf, const char *name, const char *value)
{
	concord_buf_literal(buf, ",\"");
	concord_buf_append(buf, name, strlen(name));
	concord_buf_literal(buf, "\":\"");
	concord_buf_append(buf, value, strlen(value));
	concord_buf_putc(buf, '"');
}

/* Append a member that is an LSN. */
void
concord_json_lsn(StringInfo buf, const char *name, XLogRecPtr lsn)
{
	char		text[CONCORD_ID_MAX + 1];

	*concord_put_lsn(text, lsn) = '\0';
	concord_json_plain(buf, name, text);
}

/* Append a member that is a time. */
void
concord_json_time(StringInfo buf, const char *name, TimestampTz time)
{
	char		text[CONCORD_TIMESTAMP_MAX + 1];

	*concord_put_timestamp(text, time, 'T', "+00:00") = '\0';
	concord_json_plain(buf, name, text);
}

/* Write the current event's id as a member. */
static inline char *
ev_put_id(DecoderState *state, char *p)
{
	memcpy(p, ",\"id\":\"", 7);
	p = concord_txn_put_id(state, p + 7);
	*p++ = '"';
	return p;
}

/* Append the current event's id. */
void
concord_json_id(DecoderState *state)
{
	StringInfo	buf = &state->buf;

	if (state->options.include_id)
		concord_buf_advance(buf, ev_put_id(state, concord_buf_reserve(buf, EVENT_POSITION_ROOM)));
}

/* Append bytes as a string: base 64, or hexadecimal. */
void
concord_json_bytes(StringInfo buf, const char *data, Size size, bool hex)
{
	concord_buf_putc(buf, '"');
	if (!hex)
		concord_json_base64(buf, data, size);
	else if (concord_buf_fits(buf, size * 2))
	{
		char	   *p = concord_buf_reserve(buf, size * 2);

		concord_buf_advance(buf, p + hex_encode(data, size, p));
	}
	concord_buf_putc(buf, '"');
}

/* Lay out what every event of the current transaction says of it. */
void
concord_json_layout_position(DecoderState *state)
{
	const ConcordOptions *options = &state->options;
	ReorderBufferTXN *txn = state->txn;
	StringInfo	buf = &state->position;
	const char *origin;

	resetStringInfo(buf);
	if (options->include_xid)
	{
		concord_buf_literal(buf, ",\"xid\":");
		concord_json_number(buf, txn->xid);
	}
	if (state->streaming)
	{
		if (state->subxid != txn->xid)
		{
			concord_buf_literal(buf, ",\"subxid\":");
			concord_json_number(buf, state->subxid);
		}
		concord_buf_literal(buf, ",\"streamed\":true");
	}
	if (state->gid)
	{
		concord_buf_literal(buf, ",\"gid\":");
		concord_json_string(buf, state->gid, strlen(state->gid));
	}
	if (options->include_lsn && !state->streaming)
		concord_json_lsn(buf, "lsn", txn->end_lsn);
	if (options->include_time && !state->streaming)
		concord_json_time(buf, "time", concord_txn_commit_time(txn));
	if (options->include_origin &&
		(origin = concord_origin_name(state, txn->origin_id)) != NULL)
	{
		concord_buf_literal(buf, ",\"origin\":");
		concord_json_string(buf, origin, strlen(origin));
	}
}

/* Append the position of the current event. */
void
concord_json_position(DecoderState *state)
{
	StringInfo	buf = &state->buf;
	char	   *p = concord_buf_reserve(buf, state->position.len + EVENT_POSITION_ROOM);

	memcpy(p, state->position.data, state->position.len);
	p += state->position.len;
	if (state->options.include_ordinal)
	{
		memcpy(p, ",\"ordinal\":", 11);
		p += 11;
		p += pg_ultoa_n(state->ordinal, p);
	}
	if (state->options.include_id)
		p = ev_put_id(state, p);
	concord_buf_advance(buf, p);
}

/* Append what a truncation says beside the relation. */
void
concord_json_truncate_flags(DecoderState *state, int flags)
{
	StringInfo	buf = &state->buf;

	if (flags & CONCORD_TRUNCATE_CASCADE)
		concord_buf_literal(buf, ",\"cascade\":true");
	if (flags & CONCORD_TRUNCATE_RESTART)
		concord_buf_literal(buf, ",\"restart_identity\":true");
	if (flags & CONCORD_TRUNCATE_PARTITION)
		concord_buf_literal(buf, ",\"partition\":true");
}

/* Say how long a message's content is that is too large to be sent. */
static void
ev_content_length(StringInfo buf, Size size)
{
	concord_buf_literal(buf, ",\"content\":null,\"oversize\":{\"length\":");
	concord_json_number(buf, size);
	concord_buf_putc(buf, '}');
}

/* Append a message's content: a string where it is text, else base 64. */
static void
ev_content(StringInfo buf, const char *content, Size size)
{
	int			before = buf->len;

	if (size > CONCORD_CONTENT_MAX)
	{
		ev_content_length(buf, size);
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
			ev_content_length(buf, size);
		}
		return;
	}
	concord_buf_putc(buf, '"');
	concord_json_base64(buf, content, size);
	concord_buf_literal(buf, "\",\"encoding\":\"base64\"");
}

/* Append what a logical message says: how it was written, prefix, content. */
void
concord_json_message(DecoderState *state, const ConcordMessage *message)
{
	StringInfo	buf = &state->buf;

	if (message->transactional)
		concord_buf_literal(buf, ",\"transactional\":true,\"prefix\":");
	else
		concord_buf_literal(buf, ",\"transactional\":false,\"prefix\":");
	concord_json_string(buf, message->prefix, strlen(message->prefix));
	ev_content(buf, message->content, message->size);
}
