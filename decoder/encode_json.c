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

/* A transaction begins: an event where asked for, its position in any case. */
static void
js_begin_txn(DecoderState *state)
{
	int			start;

	concord_json_layout_position(state);
	if (!state->options.include_transaction)
		return;
	start = concord_json_begin(state);
	concord_buf_literal(&state->buf, "{\"op\":\"begin\"");
	concord_buf_append(&state->buf, state->position.data, state->position.len);
	concord_json_end(state, start);
}

/* A transaction ends: an event where asked for, with the number of events. */
static void
js_commit(DecoderState *state)
{
	int			start;

	if (!state->options.include_transaction)
		return;
	start = concord_json_begin(state);
	concord_buf_literal(&state->buf, "{\"op\":\"commit\"");
	concord_buf_append(&state->buf, state->position.data, state->position.len);
	concord_buf_literal(&state->buf, ",\"events\":");
	concord_json_number(&state->buf, state->ordinal);
	concord_json_end(state, start);
}

/* insert, update, delete */
static bool
js_change(DecoderState *state, ConcordRel *rel, const ConcordChange *change)
{
	StringInfo	buf = &state->buf;
	int			start;

	js_relation(state, rel);
	start = concord_json_begin(state);
	if (change->kind == CONCORD_MSG_INSERT)
		concord_buf_literal(buf, "{\"op\":\"insert\"");
	else if (change->kind == CONCORD_MSG_UPDATE)
		concord_buf_literal(buf, "{\"op\":\"update\"");
	else
		concord_buf_literal(buf, "{\"op\":\"delete\"");
	concord_buf_append(buf, rel->json_head, rel->json_head_len);
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
	else if (state->options.include_lsn)
		concord_json_lsn(buf, message->lsn);
	concord_json_message(state, message);
	concord_json_end(state, start);
}

const ConcordEncoder concord_encoder_json = {
	.name = "json",
	.binary = false,
	.separator = 1,
	.begin = js_begin_txn,
	.commit = js_commit,
	.describe = concord_json_describe,
	.change = js_change,
	.truncate = js_truncate,
	.message = js_message,
};
