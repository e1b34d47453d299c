/*-------------------------------------------------------------------------
 *
 * encode_json.c
 *	  One JSON object an event; README.md documents its members.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "json_event.h"
#include "protocol.h"

/* Bytes of {"op":"insert"; update and delete have as many. */
#define JS_OP_LENGTH	14

/* relation: a definition, where it is to be told once. */
static void
js_relation(DecoderState *state, ConcordRel *rel)
{
	StringInfo	buf = &state->buf;
	int			start;

	if (likely(rel->json_told == NULL) || !concord_json_relation_due(rel))
		return;
	start = concord_json_begin(state);
	concord_buf_literal(buf, "{\"op\":\"relation\"");
	concord_buf_append(buf, rel->json_head, rel->json_head_len);
	concord_buf_append(buf, state->position.data, state->position.len);
	concord_buf_append(buf, rel->json_columns, strlen(rel->json_columns));
	concord_json_end(state, start);
}

/* Begin an event of the transaction as such; returns where it starts. */
static int
js_frame(DecoderState *state, const char *op)
{
	StringInfo	buf = &state->buf;
	int			start = concord_json_begin(state);

	concord_buf_literal(buf, "{\"op\":\"");
	concord_buf_append(buf, op, strlen(op));
	concord_buf_putc(buf, '"');
	concord_buf_append(buf, state->position.data, state->position.len);
	return start;
}

/* Write such an event with the number of the transaction's events. */
static void
js_frame_counted(DecoderState *state, const char *op)
{
	int			start = js_frame(state, op);

	concord_buf_literal(&state->buf, ",\"events\":");
	concord_json_number(&state->buf, state->ordinal);
	concord_json_end(state, start);
}

/* A transaction begins: an event where asked for, its position in any case. */
static void
js_begin_txn(DecoderState *state)
{
	concord_json_layout_position(state);
	if (state->options.include_transaction)
		concord_json_end(state, js_frame(state, "begin"));
}

/* A transaction ends: an event where asked for, with the number of events. */
static void
js_commit(DecoderState *state)
{
	if (state->options.include_transaction)
		js_frame_counted(state, "commit");
}

/* A transaction that is decoded at PREPARE ends. */
static void
js_prepare(DecoderState *state)
{
	js_frame_counted(state, "prepare");
}

/* COMMIT PREPARED */
static void
js_commit_prepared(DecoderState *state)
{
	concord_json_layout_position(state);
	concord_json_end(state, js_frame(state, "commit_prepared"));
}

/* ROLLBACK PREPARED */
static void
js_rollback_prepared(DecoderState *state, XLogRecPtr prepare_end_lsn,
					 TimestampTz prepare_time)
{
	int			start;

	concord_json_layout_position(state);
	start = js_frame(state, "rollback_prepared");
	if (state->options.include_lsn)
		concord_json_lsn(&state->buf, "prepare_lsn", prepare_end_lsn);
	if (state->options.include_time)
		concord_json_time(&state->buf, "prepare_time", prepare_time);
	concord_json_end(state, start);
}

/* A block of a transaction in progress begins. */
static void
js_stream_start(DecoderState *state, bool first)
{
	int			start;

	concord_json_layout_position(state);
	if (!state->options.include_transaction)
		return;
	start = js_frame(state, "stream_start");
	if (first)
		concord_buf_literal(&state->buf, ",\"first\":true");
	concord_json_end(state, start);
}

/* It ends. */
static void
js_stream_stop(DecoderState *state)
{
	if (!state->options.include_transaction)
		return;
	state->subxid = state->txn->xid;
	concord_json_layout_position(state);
	concord_json_end(state, js_frame(state, "stream_stop"));
}

/* A transaction that came in blocks commits. */
static void
js_stream_commit(DecoderState *state)
{
	concord_json_layout_position(state);
	js_frame_counted(state, "stream_commit");
}

/* It is prepared. */
static void
js_stream_prepare(DecoderState *state)
{
	concord_json_layout_position(state);
	js_frame_counted(state, "stream_prepare");
}

/* It, or a subtransaction of it, was rolled back. */
static void
js_stream_abort(DecoderState *state, TransactionId xid, XLogRecPtr abort_lsn)
{
	StringInfo	buf = &state->buf;
	int			start = concord_json_begin(state);

	concord_buf_literal(buf, "{\"op\":\"stream_abort\",\"xid\":");
	concord_json_number(buf, state->txn->xid);
	if (xid != state->txn->xid)
	{
		concord_buf_literal(buf, ",\"subxid\":");
		concord_json_number(buf, xid);
	}
	if (state->options.include_lsn && abort_lsn != InvalidXLogRecPtr)
		concord_json_lsn(buf, "lsn", abort_lsn);
	concord_json_end(state, start);
}

/* insert, update, delete */
static bool
js_change(DecoderState *state, ConcordRel *rel, const ConcordChange *change)
{
	StringInfo	buf = &state->buf;
	int			start;
	char	   *p;

	js_relation(state, rel);
	start = concord_json_begin(state);
	p = concord_buf_reserve(buf, JS_OP_LENGTH + rel->json_head_len);
	memcpy(p, change->kind == CONCORD_MSG_INSERT ? "{\"op\":\"insert\"" :
		   change->kind == CONCORD_MSG_UPDATE ? "{\"op\":\"update\"" :
		   "{\"op\":\"delete\"", JS_OP_LENGTH);
	memcpy(p + JS_OP_LENGTH, rel->json_head, rel->json_head_len);
	buf->len += JS_OP_LENGTH + rel->json_head_len;
	concord_json_position(state);
	if (unlikely(!concord_json_row(state, rel, change)))
	{
		concord_json_take_back(state, start);
		return false;
	}
	concord_json_end(state, start);
	return true;
}

/* truncate */
static void
js_truncate(DecoderState *state, ConcordRel *rel, int flags)
{
	StringInfo	buf = &state->buf;
	int			start;

	js_relation(state, rel);
	start = concord_json_begin(state);
	concord_buf_literal(buf, "{\"op\":\"truncate\"");
	concord_buf_append(buf, rel->json_head, rel->json_head_len);
	concord_json_position(state);
	concord_json_truncate_flags(state, flags);
	concord_json_end(state, start);
}

/* message */
static void
js_message(DecoderState *state, const ConcordMessage *message)
{
	StringInfo	buf = &state->buf;
	int			start = concord_json_begin(state);

	concord_buf_literal(buf, "{\"op\":\"message\"");
	if (message->transactional)
		concord_json_position(state);
	else
	{
		if (state->options.include_lsn)
			concord_json_lsn(buf, "lsn", message->lsn);
		concord_json_id(state);
	}
	concord_json_message(state, message);
	concord_json_end(state, start);
}

const ConcordEncoder concord_encoder_json = {
	.name = "json",
	.binary = false,
	.separator = 1,
	.begin = js_begin_txn,
	.commit = js_commit,
	.prepare = js_prepare,
	.commit_prepared = js_commit_prepared,
	.rollback_prepared = js_rollback_prepared,
	.stream_start = js_stream_start,
	.stream_stop = js_stream_stop,
	.subtransaction = concord_json_layout_position,
	.stream_commit = js_stream_commit,
	.stream_abort = js_stream_abort,
	.stream_prepare = js_stream_prepare,
	.describe = concord_json_describe,
	.change = js_change,
	.truncate = js_truncate,
	.message = js_message,
};
