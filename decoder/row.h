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

extern bool concord_row_prepare(ConcordRel *rel, Relation relation,
								ReorderBufferChange *change, ConcordChange *row);
extern void concord_row_truncate(DecoderState *state, int nrelations,
								 Relation *relations, bool cascade, bool restart);

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

#endif							/* CONCORD_ROW_H */
