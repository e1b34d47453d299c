/*-------------------------------------------------------------------------
 *
 * json_event.h
 *	  The pieces that formats of one JSON object a line are made of.
 *
 * Every piece appends to state->buf.  Members are written with a comma in
 * front of them, so an object begins with a member of the caller's own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_JSON_EVENT_H
#define CONCORD_JSON_EVENT_H

#include "decoder.h"
#include "row.h"
#include "utils/builtins.h"


/* in json_event.c */
extern void concord_json_end(DecoderState *state, int start);
extern void concord_json_plain(StringInfo buf, const char *name, const char *value);
extern void concord_json_bytes(StringInfo buf, const char *data, Size size, bool hex);
extern void concord_json_lsn(StringInfo buf, const char *name, XLogRecPtr lsn);
extern void concord_json_time(StringInfo buf, const char *name, TimestampTz time);
extern void concord_json_id(DecoderState *state);
extern void concord_json_layout_position(DecoderState *state);
extern void concord_json_position(DecoderState *state);
extern void concord_json_truncate_flags(DecoderState *state, int flags);
extern void concord_json_message(DecoderState *state, const ConcordMessage *message);

/* in json_schema.c */
extern void concord_json_describe(DecoderState *state, ConcordRel *rel);
extern void concord_json_describe_columns(ConcordRel *rel);
extern void concord_json_names(StringInfo buf, ConcordRel *rel);
extern bool concord_json_relation_due(ConcordRel *rel);

/* in json_row.c */
extern bool concord_json_row(DecoderState *state, ConcordRel *rel,
							 const ConcordChange *change);
extern bool concord_json_subject(DecoderState *state, ConcordRel *rel, bool old);
extern void concord_json_oversize(DecoderState *state, ConcordRel *rel, bool old);
extern void concord_json_failure(StringInfo buf, const ConcordColumn *column,
								 bool old, int sqlerrcode, const char *message,
								 bool *first);

/* Begin an event; returns where it starts. */
static inline int
concord_json_begin(DecoderState *state)
{
	if (state->buf.len > 0)
		concord_buf_putc(&state->buf, '\n');
	return state->buf.len;
}

/* An event that began at start is not sent after all. */
static inline void
concord_json_take_back(DecoderState *state, int start)
{
	state->buf.len = Max(start - 1, 0);
	state->buf.cursor = 0;
}

/* Append a number. */
static inline void
concord_json_number(StringInfo buf, uint64 v)
{
	char	   *p = concord_buf_reserve(buf, 32);

	concord_buf_advance(buf, p + pg_ulltoa_n(v, p));
}

#endif							/* CONCORD_JSON_EVENT_H */
