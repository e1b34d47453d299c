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

extern bool concord_row_prepare(DecoderState *state, ConcordRel *rel,
								Relation relation, ReorderBufferChange *change,
								ConcordChange *row);
extern void concord_row_truncate(DecoderState *state, int nrelations,
								 Relation *relations, ReorderBufferChange *change);
extern void concord_row_send(DecoderState *state, ConcordRel *rel,
							 const ConcordChange *row);

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

/* Is a value replaced by a marker?  left_out is its mark in rel's arrays. */
static inline bool
concord_row_oversize(DecoderState *state, const ConcordColumn *column,
					 Datum value, bool left_out)
{
	if (!column->varlena)
		return false;
	return left_out || (state->options.max_value > 0 &&
						concord_value_too_large(value, state->options.max_value));
}

/*
 * Note what a value took that was written from before on; false where the
 * event has become too large.
 */
static inline bool
concord_row_wrote(DecoderState *state, const ConcordColumn *column,
				  int before, bool *left_out)
{
	Size		size = state->buf.len - before + (Size) state->buf.cursor;

	if (size > state->largest_size && column->varlena)
	{
		state->largest_size = size;
		state->largest = left_out;
	}
	return likely(state->buf.cursor == 0);
}

#endif							/* CONCORD_ROW_H */
