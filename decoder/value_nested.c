/*-------------------------------------------------------------------------
 *
 * value_nested.c
 *	  Text of values that consist of others: arrays, composites, ranges.
 *
 * It is what array_out(), record_out(), range_out() and multirange_out() give,
 * written into the buffer part by part: those functions have the text of all
 * parts in memory before they look how long they are, and call the parts'
 * output functions, of which some depend on settings or may raise.
 *
 * A part's text is written first and quoted where it stands if it has to be.
 * White space is what it is in the C locale, whatever the database's is; the
 * input functions read either.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupmacs.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/multirangetypes.h"
#include "utils/rangetypes.h"
#include "utils/typcache.h"

#include "value.h"

/* What a part stands in. */
typedef enum NestedIn
{
	IN_ARRAY,
	IN_COMPOSITE,
	IN_RANGE
} NestedIn;

/* Has a byte to be in quotes? */
static inline bool
nest_is_special(unsigned char c, NestedIn in, char delimiter)
{
	switch (c)
	{
		case '"':
		case '\\':
		case ' ':
		case '\t':
		case '\n':
		case '\v':
		case '\f':
		case '\r':
			return true;
		case '{':
		case '}':
			return in == IN_ARRAY;
		case '(':
		case ')':
			return in != IN_ARRAY;
		case '[':
		case ']':
			return in == IN_RANGE;
		default:
			return c == (unsigned char) delimiter;
	}
}

/* Quote the part that starts at start, if it has to be. */
static void
nest_quote(StringInfo buf, int start, NestedIn in, char delimiter)
{
	int			len = buf->len - start;
	int			escapes = 0;
	bool		special = len == 0;
	char	   *from;
	char	   *to;

	if (buf->cursor != 0)
		return;
	for (int i = start; i < buf->len; i++)
	{
		char		c = buf->data[i];

		if (nest_is_special((unsigned char) c, in, delimiter))
			special = true;
		if (c == '"' || c == '\\')
			escapes++;
	}
	if (in == IN_ARRAY && len == 4 &&
		pg_strncasecmp(buf->data + start, "NULL", 4) == 0)
		special = true;
	if (!special || !concord_buf_fits(buf, (Size) escapes + 2))
		return;

	/* from the end, so that nothing is overwritten that is still to be read */
	(void) concord_buf_reserve(buf, (Size) escapes + 2);
	from = buf->data + buf->len;
	buf->len += escapes + 2;
	to = buf->data + buf->len;
	*--to = '"';
	while (from > buf->data + start)
	{
		char		c = *--from;

		*--to = c;
		if (c == '"' || c == '\\')
			*--to = in == IN_ARRAY ? '\\' : c;
	}
	*--to = '"';
}

/* Where the writing of an array stands. */
typedef struct ArrayText
{
	ConcordType *element;
	const char *data;
	const uint8 *nulls;
	int			item;
	int			ndim;
	const int  *dims;
} ArrayText;

/* Append one dimension of an array, and what is inside it. */
static void
nest_dimension(StringInfo buf, ArrayText *walk, int dim)
{
	ConcordType *element = walk->element;

	concord_buf_putc(buf, '{');
	for (int i = 0; i < walk->dims[dim] && concord_buf_going(buf); i++)
	{
		if (i > 0)
			concord_buf_putc(buf, element->typdelim);
		if (dim + 1 < walk->ndim)
		{
			nest_dimension(buf, walk, dim + 1);
			continue;
		}
		if (walk->nulls &&
			(walk->nulls[walk->item / 8] & (1 << (walk->item % 8))) == 0)
			concord_buf_literal(buf, "NULL");
		else
		{
			int			start = buf->len;

			concord_value_text(buf, element,
							   fetch_att(walk->data, element->typbyval, element->typlen));
			nest_quote(buf, start, IN_ARRAY, element->typdelim);
			walk->data = att_addlength_pointer(walk->data, element->typlen, walk->data);
			walk->data = (const char *) att_align_nominal(walk->data, element->typalign);
		}
		walk->item++;
	}
	concord_buf_putc(buf, '}');
}

/* Append the bounds of an array, where one does not start at 1. */
static void
nest_bounds(StringInfo buf, ArrayType *array)
{
	bool		needed = false;

	for (int i = 0; i < ARR_NDIM(array); i++)
		needed = needed || ARR_LBOUND(array)[i] != 1;
	if (!needed)
		return;
	for (int i = 0; i < ARR_NDIM(array); i++)
	{
		char		text[48];

		snprintf(text, sizeof(text), "[%d:%d]", ARR_LBOUND(array)[i],
				 ARR_LBOUND(array)[i] + ARR_DIMS(array)[i] - 1);
		concord_buf_append(buf, text, strlen(text));
	}
	concord_buf_putc(buf, '=');
}

/* Append an array. */
void
concord_value_array(StringInfo buf, ConcordType *type, Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	ArrayText	walk = {type->element};

	check_stack_depth();
	walk.data = ARR_DATA_PTR(array);
	walk.nulls = ARR_NULLBITMAP(array);
	walk.ndim = ARR_NDIM(array);
	walk.dims = ARR_DIMS(array);
	if (walk.ndim == 0)
		concord_buf_literal(buf, "{}");
	else
	{
		nest_bounds(buf, array);
		nest_dimension(buf, &walk, 0);
	}
	if ((Pointer) array != DatumGetPointer(value))
		pfree(array);
}

/*
 * Take a composite value apart into its type's arrays.  NULL where it is of
 * another type than that of the column, as one of type record might be.
 */
HeapTupleHeader
concord_value_open_row(ConcordType *type, Datum value)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(value);
	HeapTupleData tuple;

	if (HeapTupleHeaderGetTypeId(header) != type->typid)
	{
		if ((Pointer) header != DatumGetPointer(value))
			pfree(header);
		return NULL;
	}
	tuple.t_len = HeapTupleHeaderGetDatumLength(header);
	ItemPointerSetInvalid(&tuple.t_self);
	tuple.t_tableOid = InvalidOid;
	tuple.t_data = header;
	heap_deform_tuple(&tuple, type->row->desc, type->row->values, type->row->nulls);
	return header;
}

/* Append a composite value. */
void
concord_value_composite(StringInfo buf, ConcordType *type, Datum value)
{
	ConcordRowType *row = type->row;
	HeapTupleHeader header = concord_value_open_row(type, value);
	bool		first = true;

	check_stack_depth();
	if (unlikely(header == NULL))
	{
		char	   *text = concord_value_output(buf, type, value);

		if (text == NULL)
			return;
		concord_buf_append(buf, text, strlen(text));
		pfree(text);
		return;
	}
	concord_buf_putc(buf, '(');
	for (int i = 0; i < row->desc->natts && concord_buf_going(buf); i++)
	{
		int			start;

		if (row->attributes[i].dropped)
			continue;
		if (!first)
			concord_buf_putc(buf, ',');
		first = false;
		if (row->nulls[i])
			continue;
		start = buf->len;
		concord_value_text(buf, &row->attributes[i].type, row->values[i]);
		nest_quote(buf, start, IN_COMPOSITE, ',');
	}
	concord_buf_putc(buf, ')');
	if ((Pointer) header != DatumGetPointer(value))
		pfree(header);
}

/* Append a bound of a range, but for one that is infinite. */
static void
nest_bound(StringInfo buf, ConcordType *element, const RangeBound *bound)
{
	int			start = buf->len;

	if (bound->infinite)
		return;
	concord_value_text(buf, element, bound->val);
	nest_quote(buf, start, IN_RANGE, ',');
}

/* Append a range whose bytes are in place. */
static void
nest_range(StringInfo buf, ConcordType *type, const RangeType *range)
{
	RangeBound	lower;
	RangeBound	upper;
	bool		empty;

	range_deserialize(type->cache, range, &lower, &upper, &empty);
	if (empty)
	{
		concord_buf_literal(buf, "empty");
		return;
	}
	concord_buf_putc(buf, lower.inclusive ? '[' : '(');
	nest_bound(buf, type->element, &lower);
	concord_buf_putc(buf, ',');
	nest_bound(buf, type->element, &upper);
	concord_buf_putc(buf, upper.inclusive ? ']' : ')');
}

/* Append a range. */
void
concord_value_range(StringInfo buf, ConcordType *type, Datum value)
{
	RangeType  *range = DatumGetRangeTypeP(value);

	check_stack_depth();
	nest_range(buf, type, range);
	if ((Pointer) range != DatumGetPointer(value))
		pfree(range);
}

/* Append a multirange. */
void
concord_value_multirange(StringInfo buf, ConcordType *type, Datum value)
{
	MultirangeType *multirange = DatumGetMultirangeTypeP(value);
	RangeType **ranges;
	int			count;

	multirange_deserialize(type->cache, multirange, &count, &ranges);
	concord_buf_putc(buf, '{');
	for (int i = 0; i < count && concord_buf_going(buf); i++)
	{
		if (i > 0)
			concord_buf_putc(buf, ',');
		nest_range(buf, type->element, ranges[i]);
		pfree(ranges[i]);
	}
	concord_buf_putc(buf, '}');
	if ((Pointer) multirange != DatumGetPointer(value))
		pfree(multirange);
}
