/*-------------------------------------------------------------------------
 *
 * value.h
 *	  From values of answers to values of columns.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_VALUE_H
#define CONCORD_FDW_VALUE_H

#include "fdw/fdw.h"
#include "fdw/json.h"

#include "fmgr.h"

/* How a column takes values over; one is made per column and scan. */
typedef struct ConcordConverter ConcordConverter;

/* concord_converter_create returns converters[attnum - 1] of wanted columns. */
extern ConcordConverter **concord_converter_create(const ConcordForeignTable *table,
												   const bool *wanted);

/*
 * concord_convert makes a column's value of what a record has there, in the
 * current context.  False: it is null.  slices are those of the whole record:
 * an error names its key.  Errors: ERRCODE_FDW_COLUMN_NAME_NOT_FOUND where the
 * record has no such member, those of the type's input function, and
 * ERRCODE_INVALID_TEXT_REPRESENTATION and the like where the value would have
 * to be cut.  Where option on_bad_value or on_missing is null, NULL instead.
 */
extern bool concord_convert(ConcordConverter *converter,
							const ConcordSlice *slices, Datum *value);

/*
 * concord_converter_make makes one for a type, without a foreign table, in the
 * current context; concord_converter_take makes a value with it.  False: it is
 * null.  Errors are the type's and ERRCODE_INVALID_TEXT_REPRESENTATION and the
 * like, and do not say where the value stands.
 */
extern ConcordConverter *concord_converter_make(Oid typid, int32 typmod);
extern bool concord_converter_take(ConcordConverter *converter,
								   ConcordSlice slice, Datum *value);

/* concord_record_key shows a record's key, for messages; in its own words. */
extern char *concord_record_key(const ConcordForeignTable *table,
								const ConcordSlice *slices);

/*
 * concord_ticks_parse reads /Date(ms)/ and /Date(ms+minutes)/ of OData 2;
 * microseconds since 2000.
 */
extern bool concord_ticks_parse(const char *text, int64 *at);

#endif							/* CONCORD_FDW_VALUE_H */
