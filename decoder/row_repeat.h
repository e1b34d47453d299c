/*-------------------------------------------------------------------------
 *
 * row_repeat.h
 *	  Values of an UPDATE's new image that are the same as in its old one.
 *
 * With both images whole (REPLICA IDENTITY FULL) most values stand in an event
 * twice.  Comparing the bytes of two values and copying what was written of the
 * first costs a fraction of writing the second.  An encoder says
 * concord_repeat_begin() with each event, notes where the values of the old
 * image stand in the buffer, and asks before it writes one of the new image.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_ROW_REPEAT_H
#define CONCORD_ROW_REPEAT_H

#include "decoder.h"

/* An event begins: there is no old image so far. */
static inline void
concord_repeat_begin(ConcordRel *rel)
{
	rel->old_written = false;
}

/* The old image is about to be written, whole. */
static inline void
concord_repeat_old(ConcordRel *rel)
{
	rel->old_written = true;
	memset(rel->old_spans, 0, sizeof(ConcordSpan) * rel->ncolumns);
}

/* The old value of column i was written, from start to the buffer's end. */
static inline void
concord_repeat_note(DecoderState *state, ConcordRel *rel, int i, int start)
{
	rel->old_spans[i].start = start;
	rel->old_spans[i].len = state->buf.len - start;
}

/* Are two values the same, byte for byte? */
static inline bool
concord_repeat_same(const ConcordType *type, Datum a, Datum b)
{
	const char *p = DatumGetPointer(a);
	const char *q = DatumGetPointer(b);

	if (a == b)
		return true;
	if (type->typbyval)
		return false;
	if (type->typlen > 0)
		return memcmp(p, q, type->typlen) == 0;
	if (type->typlen != -1 || VARATT_IS_EXTERNAL(p) || VARATT_IS_EXTERNAL(q))
		return false;
	return VARSIZE_ANY(p) == VARSIZE_ANY(q) && memcmp(p, q, VARSIZE_ANY(p)) == 0;
}

/*
 * Append the new value of column i as a copy of the old one, where it is the
 * same and was written; neither is NULL.
 */
static inline bool
concord_repeat(DecoderState *state, ConcordRel *rel, int i)
{
	const ConcordColumn *column = &rel->columns[i];
	ConcordSpan span;
	char	   *p;

	if (!rel->old_written)
		return false;
	span = rel->old_spans[i];
	if (span.len == 0 || rel->old_nulls[column->source] ||
		!concord_repeat_same(&column->type, rel->old_values[column->source],
							 rel->new_values[column->source]) ||
		!concord_buf_fits(&state->buf, span.len))
		return false;
	p = concord_buf_reserve(&state->buf, span.len);
	memcpy(p, state->buf.data + span.start, span.len);
	state->buf.len += span.len;
	return true;
}

#endif							/* CONCORD_ROW_REPEAT_H */
