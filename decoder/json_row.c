/*-------------------------------------------------------------------------
 *
 * json_row.c
 *	  A row change as members of a JSON object: key, old, new, what is missing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "json_event.h"
#include "json_string.h"
#include "protocol.h"
#include "row_repeat.h"

/* Values up to this size are written with their column's name. */
#define JR_SHORT	512

/* What an image has that cannot be a member of it. */
typedef struct ImageGaps
{
	bool		unchanged;
	bool		left_out;		/* too large, or not to be encoded */
	bool		json_null;		/* a null of JSON's stands for a value */
} ImageGaps;

/* Is a value JSON's null, which stands in an image as SQL's does?  p: its text. */
static inline bool
jr_is_json_null(ConcordColumn *column, const char *p)
{
	if (column->type.kind != CONCORD_VALUE_JSONB &&
		column->type.kind != CONCORD_VALUE_JSON)
		return false;
	while (*p == ' ' || *p == '\t')
		p++;
	return *p == 'n';
}

/* Append the name of a column, without its comma where it is the first. */
static inline void
jr_name(StringInfo buf, const ConcordColumn *column, int comma)
{
	int			len = column->json_name_len - comma;
	char	   *p = concord_buf_reserve(buf, len + CONCORD_NAME_PIECE);

	concord_buf_advance(buf, concord_put_name(p, column->json_name + comma, len));
}

/* Write a value of a common type at p; NULL where it takes more than size. */
static inline char *
jr_put_value(char *p, const ConcordType *type, Datum value, Size size,
			 const ConcordJsonStyle *style)
{
	struct varlena *v = (struct varlena *) DatumGetPointer(value);
	bool		number = true;

	switch (type->kind)
	{
		case CONCORD_VALUE_TEXT:
			return concord_put_json_string(p, VARDATA_ANY(v), size);
		case CONCORD_VALUE_NUMERIC:
			return style->numbers_as_strings ? NULL :
				concord_put_numeric(p, v, CONCORD_SCALAR_MAX);
		case CONCORD_VALUE_INT2:
		case CONCORD_VALUE_INT4:
			return concord_put_scalar(p, type->kind, value, true, &number);
		case CONCORD_VALUE_INT8:
			return style->numbers_as_strings ? NULL :
				concord_put_scalar(p, type->kind, value, true, &number);
		case CONCORD_VALUE_UUID:
		case CONCORD_VALUE_DATE:
		case CONCORD_VALUE_TIMESTAMP:
		case CONCORD_VALUE_TIMESTAMPTZ:
			*p++ = '"';
			p = concord_put_scalar(p, type->kind, value, true, &number);
			*p++ = '"';
			return p;
		default:
			return NULL;
	}
}

/*
 * Append name and value of a column at once, where its type is one of the
 * common ones and the value short and in its place: what most columns of most
 * rows are.  False, and nothing appended, where it is not.
 */
static inline bool
jr_quick(StringInfo buf, const ConcordColumn *column, int comma, Datum value,
		 const ConcordJsonStyle *style)
{
	int			len = column->json_name_len - comma;
	Size		size = 0;
	Size		room;
	char	   *p;

	if (column->varlena)
	{
		if (unlikely(!concord_value_in_place(value)))
			return false;
		size = VARSIZE_ANY_EXHDR(DatumGetPointer(value));
		if (size > JR_SHORT || concord_json_foreign)
			return false;
	}
	room = len + CONCORD_NAME_PIECE + size * 6 + CONCORD_SCALAR_MAX + 2;
	if (unlikely(!concord_buf_fits(buf, room)))
	{
		buf->cursor = 0;
		return false;
	}
	p = concord_put_name(concord_buf_reserve(buf, room), column->json_name + comma, len);
	p = jr_put_value(p, &column->type, value, size, style);
	if (p == NULL)
		return false;
	concord_buf_advance(buf, p);
	return true;
}

/*
 * Append an image as an object: all columns, or those of the key.  Columns
 * without a value to send are left out and noted in gaps.  Ends early where
 * the event has become too large.
 */
static void
jr_image(DecoderState *state, ConcordRel *rel, bool old, bool key_only,
		 ImageGaps *gaps)
{
	StringInfo	buf = &state->buf;
	ConcordJsonStyle style = {state->options.numbers_as_strings,
	state->options.bytea_hex};
	const Datum *values = old ? rel->old_values : rel->new_values;
	const bool *nulls = old ? rel->old_nulls : rel->new_nulls;
	bool	   *left_out = old ? rel->old_left_out : rel->new_left_out;
	int			comma = 1;		/* bytes of the name to leave out: its comma */

	if (old && !key_only)
		concord_repeat_old(rel);
	concord_buf_putc(buf, '{');
	for (int i = 0; i < rel->ncolumns; i++)
	{
		ConcordColumn *column = &rel->columns[i];
		int			n = column->source;
		int			before = buf->len;
		int			at;

		if (key_only && !column->key)
			continue;
		if (!nulls[n])
		{
			if (concord_row_unchanged(column, values[n]))
			{
				gaps->unchanged = true;
				continue;
			}
			if (concord_row_oversize(state, column, values[n], left_out[n]))
			{
				gaps->left_out = true;
				continue;
			}
		}
		at = before + column->json_name_len - comma;
		if (!nulls[n] && (old || key_only || !rel->old_written) &&
			jr_quick(buf, column, comma, values[n], &style))
		{
			comma = 0;
			if (old && !key_only)
				concord_repeat_note(state, rel, i, at);
			if (unlikely(!concord_row_wrote(state, column, before, &left_out[n])))
				return;
			continue;
		}
		jr_name(buf, column, comma);
		comma = 0;
		if (nulls[n])
			concord_buf_literal(buf, "null");
		else if (old || key_only || !concord_repeat(state, rel, i))
			concord_value_json(buf, &column->type, values[n], &style);
		if (old && !key_only)
			concord_repeat_note(state, rel, i, at);
		if (!concord_row_wrote(state, column, before, &left_out[n]))
			return;
		if (!nulls[n] && unlikely(jr_is_json_null(column, buf->data + at)))
			gaps->json_null = true;
	}
	concord_buf_putc(buf, '}');
}

/* Append the list of columns that the new image lacks as unchanged. */
static void
jr_unchanged(DecoderState *state, ConcordRel *rel)
{
	StringInfo	buf = &state->buf;
	bool		first = true;

	concord_buf_literal(buf, ",\"unchanged\":[");
	for (int i = 0; i < rel->ncolumns; i++)
	{
		ConcordColumn *column = &rel->columns[i];
		int			n = column->source;

		if (rel->new_nulls[n] || !concord_row_unchanged(column, rel->new_values[n]))
			continue;
		if (!first)
			concord_buf_putc(buf, ',');
		first = false;
		/* the name with its quotes, without comma and colon */
		concord_buf_append(buf, column->json_name + 1, column->json_name_len - 2);
	}
	concord_buf_putc(buf, ']');
}

/* Begin the member of a column in an object that may have had others. */
static void
jr_column(StringInfo buf, const ConcordColumn *column, bool *first)
{
	int			comma = *first ? 1 : 0;

	concord_buf_append(buf, column->json_name + comma,
					   column->json_name_len - comma);
	*first = false;
}

/* Append a marker for each value of an image that is too large. */
void
concord_json_oversize(DecoderState *state, ConcordRel *rel, bool old)
{
	StringInfo	buf = &state->buf;
	const Datum *values = old ? rel->old_values : rel->new_values;
	const bool *nulls = old ? rel->old_nulls : rel->new_nulls;
	const bool *left_out = old ? rel->old_left_out : rel->new_left_out;
	bool		first = true;

	for (int i = 0; i < rel->ncolumns; i++)
	{
		ConcordColumn *column = &rel->columns[i];
		int			n = column->source;
		uint8		sha256[CONCORD_SHA256_LENGTH];
		uint64		length;
		char	   *p;

		if (nulls[n] || concord_row_unchanged(column, values[n]) ||
			!concord_row_oversize(state, column, values[n], left_out[n]) ||
			concord_row_failure(state, &left_out[n]) != NULL)
			continue;
		length = concord_value_digest(values[n], sha256);
		CONCORD_COUNT(state, CONCORD_COUNT_OVERSIZE);
		if (first && old)
			concord_buf_literal(buf, ",\"old_oversize\":{");
		else if (first)
			concord_buf_literal(buf, ",\"oversize\":{");
		jr_column(buf, column, &first);
		concord_buf_literal(buf, "{\"length\":");
		concord_json_number(buf, length);
		concord_buf_literal(buf, ",\"sha256\":\"");
		p = concord_buf_reserve(buf, 2 * sizeof(sha256));
		p += hex_encode((char *) sha256, sizeof(sha256), p);
		concord_buf_advance(buf, p);
		concord_buf_literal(buf, "\"}");
	}
	if (!first)
		concord_buf_putc(buf, '}');
}

/* Append why a value could not be encoded, in the object that says so. */
void
concord_json_failure(StringInfo buf, const ConcordColumn *column, bool old,
					 int sqlerrcode, const char *message, bool *first)
{
	if (*first && old)
		concord_buf_literal(buf, ",\"old_failed\":{");
	else if (*first)
		concord_buf_literal(buf, ",\"failed\":{");
	jr_column(buf, column, first);
	concord_buf_literal(buf, "{\"sqlstate\":\"");
	concord_buf_append(buf, unpack_sql_state(sqlerrcode), CONCORD_SQLSTATE_LENGTH);
	concord_buf_literal(buf, "\",\"message\":");
	concord_json_string(buf, message, strlen(message));
	concord_buf_putc(buf, '}');
}

/* Append why for each value of an image that could not be encoded. */
static void
jr_failed(DecoderState *state, ConcordRel *rel, bool old)
{
	const bool *left_out = old ? rel->old_left_out : rel->new_left_out;
	bool		first = true;

	for (int i = 0; i < rel->ncolumns; i++)
	{
		ConcordColumn *column = &rel->columns[i];
		const ConcordRowFailure *failure =
			concord_row_failure(state, &left_out[column->source]);

		if (failure)
			concord_json_failure(&state->buf, column, old, failure->reason.sqlerrcode,
								 failure->reason.message, &first);
	}
	if (!first)
		concord_buf_putc(&state->buf, '}');
}

/* Append what is said of values of an image that are left out. */
static void
jr_left_out(DecoderState *state, ConcordRel *rel, bool old)
{
	concord_json_oversize(state, rel, old);
	if (state->failures != NULL)
		jr_failed(state, rel, old);
}

/* Append the list of columns of an image that are JSON's null, not SQL's. */
static void
jr_json_null(DecoderState *state, ConcordRel *rel, bool old)
{
	StringInfo	buf = &state->buf;
	const Datum *values = old ? rel->old_values : rel->new_values;
	const bool *nulls = old ? rel->old_nulls : rel->new_nulls;
	const bool *left_out = old ? rel->old_left_out : rel->new_left_out;
	bool		first = true;

	if (old)
		concord_buf_literal(buf, ",\"old_json_null\":[");
	else
		concord_buf_literal(buf, ",\"json_null\":[");
	for (int i = 0; i < rel->ncolumns; i++)
	{
		ConcordColumn *column = &rel->columns[i];
		int			n = column->source;

		if (nulls[n] || concord_row_unchanged(column, values[n]) ||
			concord_row_oversize(state, column, values[n], left_out[n]) ||
			!concord_value_is_json_null(&column->type, values[n]))
			continue;
		if (!first)
			concord_buf_putc(buf, ',');
		first = false;
		concord_buf_append(buf, column->json_name + 1, column->json_name_len - 2);
	}
	concord_buf_putc(buf, ']');
}

/*
 * Append the value of a key of one column, or a key of several as an object;
 * false where there is none to be shown whole.
 */
bool
concord_json_subject(DecoderState *state, ConcordRel *rel, bool old)
{
	ConcordJsonStyle style = {state->options.numbers_as_strings,
	state->options.bytea_hex};
	const Datum *values = old ? rel->old_values : rel->new_values;
	const bool *nulls = old ? rel->old_nulls : rel->new_nulls;
	const bool *left_out = old ? rel->old_left_out : rel->new_left_out;
	ConcordColumn *only = NULL;
	int			count = 0;

	for (int i = 0; i < rel->ncolumns; i++)
	{
		ConcordColumn *column = &rel->columns[i];
		int			n = column->source;

		if (!column->key)
			continue;
		if (nulls[n] || concord_row_unchanged(column, values[n]) ||
			concord_row_oversize(state, column, values[n], left_out[n]))
			return false;
		only = column;
		count++;
	}
	if (count == 1)
		concord_value_json(&state->buf, &only->type, values[only->source], &style);
	else if (count > 1)
	{
		ImageGaps	gaps = {0};

		jr_image(state, rel, old, true, &gaps);
	}
	return count > 0 && state->buf.cursor == 0;
}

/*
 * Append the members of a row change.  Returns false where the event has
 * become too large; what is in the buffer then is of no use.
 */
bool
concord_json_row(DecoderState *state, ConcordRel *rel, const ConcordChange *change)
{
	StringInfo	buf = &state->buf;
	ImageGaps	key_gaps = {0};
	ImageGaps	old_gaps = {0};
	ImageGaps	new_gaps = {0};
	bool		whole_old = change->has_old && !change->old_is_key;
	int			from = buf->len;

	concord_repeat_begin(rel);
	if ((change->has_old || change->has_new) && rel->json_has_key)
	{
		concord_buf_literal(buf, ",\"key\":");
		jr_image(state, rel, change->has_old, true, &key_gaps);
	}
	if (change->no_identity)
		concord_buf_literal(buf, ",\"no_identity\":true");
	if (whole_old && buf->cursor == 0)
	{
		concord_buf_literal(buf, ",\"old\":");
		jr_image(state, rel, true, false, &old_gaps);
	}
	if (change->has_new && buf->cursor == 0)
	{
		concord_buf_literal(buf, ",\"new\":");
		jr_image(state, rel, false, false, &new_gaps);
	}
	if (unlikely(buf->cursor != 0 || !concord_row_is_text(state, from)))
		return false;
	if (new_gaps.unchanged)
		jr_unchanged(state, rel);
	if (old_gaps.left_out || (key_gaps.left_out && change->has_old))
		jr_left_out(state, rel, true);
	if (new_gaps.left_out)
		jr_left_out(state, rel, false);
	if (old_gaps.json_null)
		jr_json_null(state, rel, true);
	if (new_gaps.json_null)
		jr_json_null(state, rel, false);
	concord_buf_append(buf, rel->json_types, rel->json_types_len);
	return true;
}
