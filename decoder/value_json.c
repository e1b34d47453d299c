/*-------------------------------------------------------------------------
 *
 * value_json.c
 *	  Values by type as JSON.
 *
 * Booleans and numbers are JSON's own, digit for digit; what JSON has no number
 * for (NaN, infinities) is a string.  json and jsonb go in as they are.  Times
 * are ISO 8601.  Arrays are arrays, composites objects.  Everything else is a
 * string: the canonical text of value.c, or base 64 for bytea unless
 * hexadecimal is asked for.  So this is what PostgreSQL's own to_json() and
 * json_populate_record() take for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupmacs.h"
#include "common/base64.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "json_string.h"
#include "value.h"

/* Escaping works on pieces of this size, so that room for the worst is small. */
#define JSON_PIECE	4096

/* Write one byte of a JSON string that needs an escape. */
char *
concord_json_put_escape(char *p, unsigned char c)
{
	static const char digits[] = "0123456789abcdef";

	*p++ = '\\';
	switch (c)
	{
		case '"':
		case '\\':
			*p++ = c;
			break;
		case '\b':
			*p++ = 'b';
			break;
		case '\f':
			*p++ = 'f';
			break;
		case '\n':
			*p++ = 'n';
			break;
		case '\r':
			*p++ = 'r';
			break;
		case '\t':
			*p++ = 't';
			break;
		default:
			*p++ = 'u';
			*p++ = '0';
			*p++ = '0';
			*p++ = digits[c >> 4];
			*p++ = digits[c & 0x0F];
			break;
	}
	return p;
}

/* Copy bytes up to end to p, looking at each. */
char *
concord_put_escapes(char *p, const char *s, const char *end)
{
	for (; s < end; s++)
	{
		unsigned char c = (unsigned char) *s;

		if (c == '"' || c == '\\')
		{
			/* text that is JSON itself has many */
			*p++ = '\\';
			*p++ = c;
		}
		else if (unlikely(c < 0x20))
			p = concord_json_put_escape(p, c);
		else
			*p++ = c;
	}
	return p;
}

/* Append a JSON string, with its quotes. */
void
concord_json_string(StringInfo buf, const char *s, Size len)
{
	if (unlikely(concord_json_foreign))
	{
		concord_buf_putc(buf, '"');
		concord_json_foreign_append(buf, s, len, false);
		concord_buf_putc(buf, '"');
		return;
	}
	if (likely(len <= JSON_PIECE && concord_buf_fits(buf, len)))
	{
		char	   *p = concord_buf_reserve(buf, len * 6 + 2);

		concord_buf_advance(buf, concord_put_json_string(p, s, len));
		return;
	}

	concord_buf_putc(buf, '"');
	while (len > 0)
	{
		Size		piece = Min(len, JSON_PIECE);
		char	   *p;

		if (unlikely(!concord_buf_fits(buf, len)))
			return;
		p = concord_buf_reserve(buf, Max(piece * 6, len));
		concord_buf_advance(buf, concord_put_escaped(p, s, piece));
		s += piece;
		len -= piece;
	}
	concord_buf_putc(buf, '"');
}

/*
 * Append a value of type json, which is JSON already.  Line ends can only
 * stand between its tokens; they become blanks, so that an event stays one
 * line.
 */
static void
val_json_json(StringInfo buf, Datum value)
{
	struct varlena *v = concord_value_detoast(value);
	Size		len = VARSIZE_ANY_EXHDR(v);
	char	   *p;

	if (!concord_buf_fits(buf, len))
		return;
	if (unlikely(concord_json_foreign))
	{
		concord_json_foreign_append(buf, VARDATA_ANY(v), len, true);
		return;
	}
	p = concord_buf_reserve(buf, len);
	memcpy(p, VARDATA_ANY(v), len);
	concord_buf_advance(buf, p + len);
	if (memchr(p, '\n', len) != NULL || memchr(p, '\r', len) != NULL)
	{
		for (Size i = 0; i < len; i++)
		{
			if (p[i] == '\n' || p[i] == '\r')
				p[i] = ' ';
		}
	}
	if ((Pointer) v != DatumGetPointer(value))
		pfree(v);
}

/* Append bytes in base 64, without quotes. */
void
concord_json_base64(StringInfo buf, const char *data, Size size)
{
	int			room = pg_b64_enc_len((int) size);
	char	   *p;
	int			written;

	if (!concord_buf_fits(buf, (Size) room + 1))
		return;
	p = concord_buf_reserve(buf, (Size) room + 1);
	written = pg_b64_encode((const void *) data, (int) size, p, room);
	if (written < 0)
		elog(ERROR, "could not encode %zu bytes in base 64", size);
	concord_buf_advance(buf, p + written);
}

/* Append a bytea in base 64. */
static void
val_json_base64(StringInfo buf, Datum value)
{
	struct varlena *v = concord_value_detoast(value);

	concord_json_base64(buf, VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v));
	if ((Pointer) v != DatumGetPointer(value))
		pfree(v);
}

/* Append a value's text as a string. */
static void
val_json_text(StringInfo buf, ConcordType *type, Datum value)
{
	int			start = buf->len;
	char	   *text;
	int			len;

	concord_buf_putc(buf, '"');
	concord_value_text(buf, type, value);
	if (buf->cursor != 0)
		return;

	/* most have nothing to escape */
	text = buf->data + start + 1;
	len = buf->len - start - 1;
	for (int i = 0; i < len; i++)
	{
		unsigned char c = (unsigned char) text[i];

		if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\')
		{
			text = pnstrdup(text, len);
			buf->len = start;
			concord_json_string(buf, text, len);
			pfree(text);
			return;
		}
	}
	concord_buf_putc(buf, '"');
}

/*
 * Is a value of type json or jsonb null, or an array, as JSON has them?  Inside
 * of an array or an object, they could not be told from SQL's.
 */
static bool
val_json_is_ambiguous(ConcordType *type, Datum value, bool arrays)
{
	bool		result = false;

	if (type->kind == CONCORD_VALUE_JSONB)
	{
		Jsonb	   *jb = DatumGetJsonbP(value);

		result =
			(JB_ROOT_IS_SCALAR(jb) && JBE_ISNULL(jb->root.children[0])) ||
			(arrays && JB_ROOT_IS_ARRAY(jb) && !JB_ROOT_IS_SCALAR(jb));
		if ((Pointer) jb != DatumGetPointer(value))
			pfree(jb);
	}
	else if (type->kind == CONCORD_VALUE_JSON)
	{
		struct varlena *v = concord_value_detoast(value);
		const char *p = VARDATA_ANY(v);
		const char *end = p + VARSIZE_ANY_EXHDR(v);

		while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
			p++;
		result = p < end && (*p == 'n' || (arrays && *p == '['));
		if ((Pointer) v != DatumGetPointer(value))
			pfree(v);
	}
	return result;
}

/* Is a value JSON's null rather than SQL's? */
bool
concord_value_is_json_null(ConcordType *type, Datum value)
{
	return val_json_is_ambiguous(type, value, false);
}

/* Where the writing of an array stands. */
typedef struct ArrayWalk
{
	ConcordType *element;
	const ConcordJsonStyle *style;
	const char *data;
	const uint8 *nulls;
	int			item;
	int			ndim;
	const int  *dims;
} ArrayWalk;

/* Take the next element of an array; false where it is NULL. */
static inline bool
val_next_element(ArrayWalk *walk, Datum *value)
{
	ConcordType *element = walk->element;
	int			item = walk->item++;

	if (walk->nulls && (walk->nulls[item / 8] & (1 << (item % 8))) == 0)
		return false;
	*value = fetch_att(walk->data, element->typbyval, element->typlen);
	walk->data = att_addlength_pointer(walk->data, element->typlen, walk->data);
	walk->data = (const char *) att_align_nominal(walk->data, element->typalign);
	return true;
}

/* Append one dimension of an array, and what is inside it. */
static void
val_json_dimension(StringInfo buf, ArrayWalk *walk, int dim)
{
	Datum		value;

	concord_buf_putc(buf, '[');
	for (int i = 0; i < walk->dims[dim] && concord_buf_going(buf); i++)
	{
		if (i > 0)
			concord_buf_putc(buf, ',');
		if (dim + 1 < walk->ndim)
			val_json_dimension(buf, walk, dim + 1);
		else if (val_next_element(walk, &value))
			concord_value_json(buf, walk->element, value, walk->style);
		else
			concord_buf_literal(buf, "null");
	}
	concord_buf_putc(buf, ']');
}

/* Would an array of JSON's lose what an array is? */
static bool
val_array_is_plain(ArrayType *array, ArrayWalk walk)
{
	int			count = ArrayGetNItems(walk.ndim, walk.dims);

	for (int i = 0; i < walk.ndim; i++)
	{
		if (ARR_LBOUND(array)[i] != 1)
			return false;
	}
	if (likely(walk.element->kind != CONCORD_VALUE_JSON &&
			   walk.element->kind != CONCORD_VALUE_JSONB))
		return true;
	if (walk.ndim > 1)
		return false;
	for (int i = 0; i < count; i++)
	{
		Datum		value;

		if (val_next_element(&walk, &value) &&
			val_json_is_ambiguous(walk.element, value, true))
			return false;
	}
	return true;
}

/*
 * Append an array.  One that an array of JSON's would not show as it is comes
 * as text: where a bound does not start at 1, and where elements are JSON and
 * so could be taken for another dimension or a missing element.
 */
static void
val_json_array(StringInfo buf, ConcordType *type, Datum value,
			   const ConcordJsonStyle *style)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	ArrayWalk	walk = {type->element, style};

	check_stack_depth();
	walk.data = ARR_DATA_PTR(array);
	walk.nulls = ARR_NULLBITMAP(array);
	walk.ndim = ARR_NDIM(array);
	walk.dims = ARR_DIMS(array);
	if (walk.ndim == 0)
		concord_buf_literal(buf, "[]");
	else if (val_array_is_plain(array, walk))
		val_json_dimension(buf, &walk, 0);
	else
		val_json_text(buf, type, PointerGetDatum(array));
	if ((Pointer) array != DatumGetPointer(value))
		pfree(array);
}

/* Append a composite value that was taken apart; false where it is ambiguous. */
static bool
val_json_row(StringInfo buf, ConcordRowType *row, const ConcordJsonStyle *style)
{
	int			comma = 1;		/* bytes of the name to leave out: its comma */

	concord_buf_putc(buf, '{');
	for (int i = 0; i < row->desc->natts && concord_buf_going(buf); i++)
	{
		ConcordAttribute *attribute = &row->attributes[i];

		if (attribute->dropped)
			continue;
		concord_buf_append(buf, attribute->json_name + comma,
						   attribute->json_name_len - comma);
		comma = 0;
		if (row->nulls[i])
			concord_buf_literal(buf, "null");
		else if (unlikely(val_json_is_ambiguous(&attribute->type, row->values[i], false)))
			return false;
		else
			concord_value_json(buf, &attribute->type, row->values[i], style);
	}
	concord_buf_putc(buf, '}');
	return true;
}

/*
 * Append a composite value as an object; as text where one of its columns is
 * JSON's null, which could be taken for SQL's.
 */
static void
val_json_composite(StringInfo buf, ConcordType *type, Datum value,
				   const ConcordJsonStyle *style)
{
	int			start = buf->len;
	HeapTupleHeader header = concord_value_open_row(type, value);

	check_stack_depth();
	if (header == NULL || !val_json_row(buf, type->row, style))
	{
		buf->len = start;
		val_json_text(buf, type, value);
	}
	if (header && (Pointer) header != DatumGetPointer(value))
		pfree(header);
}

/* Append a number, in quotes where asked for or where JSON has no such one. */
static void
val_json_number(StringInfo buf, ConcordType *type, Datum value, bool quoted)
{
	int			start = buf->len;
	bool		number;

	if (quoted)
		concord_buf_putc(buf, '"');
	if (type->kind == CONCORD_VALUE_NUMERIC)
		number = concord_value_numeric(buf, value);
	else
		number = concord_value_scalar(buf, type->kind, value, true);
	if (quoted)
		concord_buf_putc(buf, '"');
	else if (unlikely(!number))
	{
		(void) concord_buf_reserve(buf, 2);
		memmove(buf->data + start + 1, buf->data + start, buf->len - start);
		buf->data[start] = '"';
		buf->data[buf->len + 1] = '"';
		buf->len += 2;
	}
}

/* Append a value as JSON. */
void
concord_value_json(StringInfo buf, ConcordType *type, Datum value,
				   const ConcordJsonStyle *style)
{
	switch (type->kind)
	{
		case CONCORD_VALUE_BOOL:
			if (DatumGetBool(value))
				concord_buf_literal(buf, "true");
			else
				concord_buf_literal(buf, "false");
			break;
		case CONCORD_VALUE_INT2:
		case CONCORD_VALUE_INT4:
		case CONCORD_VALUE_OID:
			(void) concord_value_scalar(buf, type->kind, value, true);
			break;
		case CONCORD_VALUE_FLOAT4:
		case CONCORD_VALUE_FLOAT8:
			val_json_number(buf, type, value, false);
			break;
		case CONCORD_VALUE_INT8:
		case CONCORD_VALUE_NUMERIC:
			val_json_number(buf, type, value, style->numbers_as_strings);
			break;
		case CONCORD_VALUE_TEXT:
			{
				struct varlena *v = concord_value_detoast(value);

				concord_json_string(buf, VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v));
				if ((Pointer) v != DatumGetPointer(value))
					pfree(v);
				break;
			}
		case CONCORD_VALUE_NAME:
			concord_json_string(buf, NameStr(*DatumGetName(value)),
								strlen(NameStr(*DatumGetName(value))));
			break;
		case CONCORD_VALUE_JSON:
			val_json_json(buf, value);
			break;
		case CONCORD_VALUE_JSONB:
			concord_value_jsonb(buf, value);
			break;
		case CONCORD_VALUE_BYTEA:
			concord_buf_putc(buf, '"');
			if (style->bytea_hex)
				concord_value_bytea_hex(buf, value, true);
			else
				val_json_base64(buf, value);
			concord_buf_putc(buf, '"');
			break;
		case CONCORD_VALUE_ARRAY:
			val_json_array(buf, type, value, style);
			break;
		case CONCORD_VALUE_COMPOSITE:
			val_json_composite(buf, type, value, style);
			break;
		case CONCORD_VALUE_ENUM:
		case CONCORD_VALUE_REG:
		case CONCORD_VALUE_RANGE:
		case CONCORD_VALUE_MULTIRANGE:
		case CONCORD_VALUE_FAILED:
			val_json_text(buf, type, value);
			break;
		case CONCORD_VALUE_OTHER:
			{
				char	   *text = concord_value_output(buf, type, value);

				if (text == NULL)
					break;
				concord_json_string(buf, text, strlen(text));
				pfree(text);
				break;
			}
		default:
			concord_buf_putc(buf, '"');
			(void) concord_value_scalar(buf, type->kind, value, true);
			concord_buf_putc(buf, '"');
			break;
	}
}
