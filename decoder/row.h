/*-------------------------------------------------------------------------
 *
 * row.h
 *	  From what core hands over to images that an encoder can write.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_ROW_H
#define CONCORD_ROW_H

#include "decoder.h"

/* A value of the current change that could not be encoded. */
typedef struct ConcordRowFailure
{
	struct ConcordRowFailure *next;
	const bool *mark;			/* in old_left_out or new_left_out */
	ConcordFailure reason;
} ConcordRowFailure;

extern bool concord_row_prepare(DecoderState *state, ConcordRel *rel,
								Relation relation, ReorderBufferChange *change,
								ConcordChange *row);
extern void concord_row_truncate(DecoderState *state, int nrelations,
								 Relation *relations, ReorderBufferChange *change);
extern void concord_row_send(DecoderState *state, ConcordRel *rel,
							 const ConcordChange *row);
extern bool concord_row_stopped(DecoderState *state, const ConcordColumn *column,
								Size size, bool *left_out);
extern bool concord_row_is_text(DecoderState *state, int from);

/*
 * Does the value of a column live in the TOAST table, untouched by the
 * change?  Such a pointer is never followed while decoding: what it points to
 * may be gone.
 */
static inline bool
concord_row_unchanged(const ConcordColumn *column, Datum value)
{
	return column->varlena && VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(value));
}

/*
 * Is a value replaced by a marker?  left_out is its mark in rel's arrays, which
 * says that it was too large for the event or could not be encoded.
 */
static inline bool
concord_row_oversize(DecoderState *state, const ConcordColumn *column,
					 Datum value, bool left_out)
{
	if (unlikely(left_out))
		return true;
	return column->varlena && state->options.max_value > 0 &&
		concord_value_too_large(value, state->options.max_value);
}

/*
 * Why could the value of this mark not be encoded?  NULL where it was too
 * large.
 */
static inline const ConcordRowFailure *
concord_row_failure(DecoderState *state, const bool *left_out)
{
	const ConcordRowFailure *failure = state->failures;

	while (failure != NULL && failure->mark != left_out)
		failure = failure->next;
	return failure;
}

/*
 * Note what a value took that was written from before on; false where it could
 * not be encoded, or the event has become too large.
 */
static inline bool
concord_row_wrote(DecoderState *state, const ConcordColumn *column,
				  int before, bool *left_out)
{
	Size		size = state->buf.len - before;

	if (unlikely(state->buf.cursor != 0 || state->verifying) &&
		concord_row_stopped(state, column, size, left_out))
		return false;
	if (size > state->largest_size && column->varlena)
	{
		state->largest_size = size;
		state->largest = left_out;
	}
	return true;
}

#endif							/* CONCORD_ROW_H */
