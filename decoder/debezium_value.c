/*-------------------------------------------------------------------------
 *
 * debezium_value.c
 *	  Values in the forms of format debezium; debezium_type.c chooses them.
 *
 * What has no form of its own is the canonical text of value.c.  Such texts,
 * and those that have to be taken apart (numeric, hstore, geometry), are made in a
 * scratch buffer first, which shrinks back after a row with a large value.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/cash.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/geo_decls.h"
#include "utils/timestamp.h"
#include "utils/varbit.h"

#include "debezium.h"

/* What stands for a value that is not known. */
#define PLACEHOLDER		"__debezium_unavailable_value"

/* The scratch buffer shrinks back from the first size to the second. */
#define SCRATCH_KEEP	(1024 * 1024)
#define SCRATCH_NORMAL	(64 * 1024)

/* Days and microseconds between 1970 and 2000. */
#define EPOCH_DAYS		(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE)
#define EPOCH_USECS		((int64) EPOCH_DAYS * USECS_PER_DAY)

/* What infinite timestamps are in microseconds, and a month on average. */
#define USECS_INFINITY			INT64CONST(9223372036825200000)
#define USECS_MINUS_INFINITY	INT64CONST(-9223372036832400000)
#define SECS_PER_MONTH			INT64CONST(2629800)

/* Of a geometry's type in EWKB: the number of a reference system follows. */
#define EWKB_HAS_SRID	0x20000000

static DbzFault dv_value(StringInfo buf, DecoderState *state,
						 const DbzType *type, Datum value);

/* Give back what a large value has taken. */
void
concord_debezium_shrink(DecoderState *state)
{
	StringInfo	scratch = &state->debezium->scratch;

	if (likely(scratch->maxlen <= SCRATCH_KEEP))
		return;
	pfree(scratch->data);
	scratch->data = MemoryContextAlloc(state->context, SCRATCH_NORMAL);
	scratch->maxlen = SCRATCH_NORMAL;
	resetStringInfo(scratch);
}

/*
 * Give a value's canonical text in the scratch buffer; NULL where it is too
 * large, which is then noted in buf as row.c expects it.
 */
static StringInfo
dv_text(StringInfo buf, DecoderState *state, const DbzType *type, Datum value)
{
	StringInfo	scratch = &state->debezium->scratch;

	resetStringInfo(scratch);
	concord_value_text(scratch, (ConcordType *) &type->value, value);
	if (unlikely(scratch->cursor != 0))
	{
		buf->cursor = scratch->cursor;
		return NULL;
	}
	*concord_buf_reserve(scratch, 1) = '\0';
	return scratch;
}

/* Append a value's canonical text as a string. */
static void
dv_string(StringInfo buf, DecoderState *state, const DbzType *type, Datum value)
{
	static const ConcordJsonStyle style = {false, false};
	StringInfo	text;

	if (type->value.kind == CONCORD_VALUE_TEXT)
		concord_value_json(buf, (ConcordType *) &type->value, value, &style);
	else if ((text = dv_text(buf, state, type, value)) != NULL)
		concord_json_string(buf, text->data, text->len);
}

/* Append a signed number. */
static void
dv_int64(StringInfo buf, int64 v)
{
	char	   *p = concord_buf_reserve(buf, 32);

	concord_buf_advance(buf, p + pg_lltoa(v, p));
}

/* Append a double as JSON. */
static void
dv_double(StringInfo buf, float8 v)
{
	static const ConcordJsonStyle style = {false, false};
	ConcordType type = {.kind = CONCORD_VALUE_FLOAT8};

	concord_value_json(buf, &type, Float8GetDatum(v), &style);
}

/* Append a decimal text in the form that option decimal asks for. */
static void
dv_decimal_text(StringInfo buf, DecoderState *state, const DbzType *type,
				const char *text)
{
	const char *point;

	switch (state->options.decimal)
	{
		case CONCORD_DECIMAL_STRING:
			concord_json_string(buf, text, strlen(text));
			return;
		case CONCORD_DECIMAL_DOUBLE:
			dv_double(buf, strtod(text, NULL));
			return;
		default:
			break;
	}

	if (type->kind == DBZ_VARIABLE_DECIMAL)
	{
		int			scale;

		point = strchr(text, '.');
		scale = point ? (int) strlen(point + 1) : 0;
		concord_buf_literal(buf, "{\"scale\":");
		concord_json_number(buf, scale);
		concord_buf_literal(buf, ",\"value\":\"");
		concord_debezium_unscaled(buf, text, scale);
		concord_buf_literal(buf, "\"}");
		return;
	}
	concord_buf_putc(buf, '"');
	concord_debezium_unscaled(buf, text, type->kind == DBZ_MONEY ? 2 : type->scale);
	concord_buf_putc(buf, '"');
}

/* Append a numeric or an amount of money. */
static DbzFault
dv_decimal(StringInfo buf, DecoderState *state, const DbzType *type, Datum value)
{
	StringInfo	text = dv_text(buf, state, type, value);
	bool		minus;

	if (text == NULL)
		return DBZ_FINE;
	minus = text->data[0] == '-';
	if (text->data[minus] >= '0' && text->data[minus] <= '9')
	{
		dv_decimal_text(buf, state, type, text->data);
		return DBZ_FINE;
	}

	/* NaN, Infinity, -Infinity */
	switch (state->options.decimal)
	{
		case CONCORD_DECIMAL_STRING:
			if (text->data[0] == 'N')
				concord_buf_literal(buf, "\"NAN\"");
			else if (minus)
				concord_buf_literal(buf, "\"NEGATIVE_INFINITY\"");
			else
				concord_buf_literal(buf, "\"POSITIVE_INFINITY\"");
			return DBZ_FINE;
		case CONCORD_DECIMAL_DOUBLE:
			concord_json_string(buf, text->data, text->len);
			return DBZ_FINE;
		default:
			concord_buf_literal(buf, "null");
			return DBZ_NOT_A_NUMBER;
	}
}

/* Append a bytea: base 64, or hexadecimal without a prefix. */
static void
dv_bytes(StringInfo buf, DecoderState *state, Datum value)
{
	struct varlena *v = concord_value_detoast(value);

	concord_json_bytes(buf, VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v),
					   state->options.bytea_hex);
	if ((Pointer) v != DatumGetPointer(value))
		pfree(v);
}

/* Copy one quoted string of an hstore's text to json; returns what follows. */
static const char *
dv_hstore_string(StringInfo json, StringInfo part, const char *p)
{
	resetStringInfo(part);
	for (p++; *p != '"'; p++)
	{
		if (*p == '\\')
			p++;
		concord_buf_putc(part, *p);
	}
	concord_json_string(json, part->data, part->len);
	return p + 1;
}

/* Append an hstore as a string that holds a JSON object. */
static void
dv_hstore(StringInfo buf, DecoderState *state, const DbzType *type, Datum value)
{
	StringInfo	text = dv_text(buf, state, type, value);
	StringInfoData json;
	StringInfoData part;
	const char *p;

	if (text == NULL)
		return;
	initStringInfo(&json);
	initStringInfo(&part);
	concord_buf_putc(&json, '{');
	for (p = text->data; *p != '\0';)
	{
		p = dv_hstore_string(&json, &part, p);
		concord_buf_putc(&json, ':');
		p += strlen("=>");
		if (*p == '"')
			p = dv_hstore_string(&json, &part, p);
		else
		{
			concord_buf_literal(&json, "null");
			p += strlen("NULL");
		}
		if (*p == ',')
		{
			concord_buf_putc(&json, ',');
			p += strlen(", ");
		}
	}
	concord_buf_putc(&json, '}');
	if (json.cursor == 0)
		concord_json_string(buf, json.data, json.len);
	else
		(void) concord_buf_fits(buf, CONCORD_EVENT_MAX);
	pfree(json.data);
	pfree(part.data);
}

/* Append a timestamp as a number since 1970: of milliseconds or microseconds. */
static void
dv_epoch(StringInfo buf, Timestamp timestamp, bool millis)
{
	int64		usecs;

	if (TIMESTAMP_IS_NOEND(timestamp))
		usecs = USECS_INFINITY;
	else if (TIMESTAMP_IS_NOBEGIN(timestamp))
		usecs = USECS_MINUS_INFINITY;
	else if (pg_add_s64_overflow(timestamp, EPOCH_USECS, &usecs))
	{
		/* the last decades before 294277 are beyond an int64, no matter */
		concord_json_number(buf, ((uint64) timestamp + EPOCH_USECS) / (millis ? 1000 : 1));
		return;
	}
	if (millis)
		usecs = usecs / 1000 - (usecs % 1000 < 0 ? 1 : 0);
	dv_int64(buf, usecs);
}

/* Write a fraction of a second: width digits, or as many as it takes. */
static char *
dv_put_fraction(char *p, int usecs, int width)
{
	if (width == 0 && usecs == 0)
		return p;
	*p++ = '.';
	for (int unit = 100000; unit > 0 && (width > 0 || usecs > 0); unit /= 10)
	{
		*p++ = '0' + usecs / unit;
		usecs %= unit;
		if (width > 0 && --width == 0)
			break;
	}
	return p;
}

/* Write v with two digits. */
static inline char *
dv_put2(char *p, int v)
{
	p[0] = '0' + v / 10;
	p[1] = '0' + v % 10;
	return p + 2;
}

/* Write a time of day, with width digits after the point or as many as it takes. */
static char *
dv_put_clock(char *p, int64 time, int width)
{
	int			seconds = (int) (time / USECS_PER_SEC);

	p = dv_put2(p, seconds / SECS_PER_HOUR);
	*p++ = ':';
	p = dv_put2(p, seconds / SECS_PER_MINUTE % MINS_PER_HOUR);
	*p++ = ':';
	p = dv_put2(p, seconds % SECS_PER_MINUTE);
	return dv_put_fraction(p, (int) (time % USECS_PER_SEC), width);
}

/*
 * Append a timestamptz as Java writes it: years of more than four digits have
 * a sign, the year before 1 is 0, and a column of a precision has as many
 * digits of a fraction.
 */
static void
dv_zoned_timestamp(StringInfo buf, TimestampTz timestamp, int precision)
{
	int64		day = timestamp / USECS_PER_DAY;
	int64		time = timestamp % USECS_PER_DAY;
	int			year,
				month,
				mday;
	char	   *p;

	if (TIMESTAMP_IS_NOEND(timestamp))
	{
		concord_buf_literal(buf, "\"infinity\"");
		return;
	}
	if (TIMESTAMP_IS_NOBEGIN(timestamp))
	{
		concord_buf_literal(buf, "\"-infinity\"");
		return;
	}
	if (time < 0)
	{
		time += USECS_PER_DAY;
		day--;
	}
	j2date((int) (day + POSTGRES_EPOCH_JDATE), &year, &month, &mday);
	p = concord_buf_reserve(buf, CONCORD_TIMESTAMP_MAX);
	*p++ = '"';
	if (year < 0)
		*p++ = '-';
	else if (year > 9999)
		*p++ = '+';
	if (abs(year) > 9999)
		p += pg_ultoa_n((uint32) abs(year), p);
	else
		p = dv_put2(dv_put2(p, abs(year) / 100), abs(year) % 100);
	*p++ = '-';
	p = dv_put2(p, month);
	*p++ = '-';
	p = dv_put2(p, mday);
	*p++ = 'T';
	p = dv_put_clock(p, time, precision);
	*p++ = 'Z';
	*p++ = '"';
	concord_buf_advance(buf, p);
}

/* Append a timetz, moved to UTC. */
static void
dv_zoned_time(StringInfo buf, const TimeTzADT *time)
{
	int64		utc = time->time + (int64) time->zone * USECS_PER_SEC;
	char	   *p = concord_buf_reserve(buf, CONCORD_TIMESTAMP_MAX);

	/* 24:00:00+00 alone stays what it is */
	if (time->time != USECS_PER_DAY || time->zone != 0)
		utc = (utc % USECS_PER_DAY + USECS_PER_DAY) % USECS_PER_DAY;
	*p++ = '"';
	p = dv_put_clock(p, utc, 0);
	*p++ = 'Z';
	*p++ = '"';
	concord_buf_advance(buf, p);
}

/* Append an interval as ISO 8601 with all its parts. */
static void
dv_interval_string(StringInfo buf, const Interval *interval)
{
	int64		time = interval->time;
	int			fraction = (int) (time % USECS_PER_SEC);
	int			seconds = (int) (time / USECS_PER_SEC % SECS_PER_MINUTE);
	char	   *p = concord_buf_reserve(buf, 2 * CONCORD_TIMESTAMP_MAX);

#ifdef INTERVAL_NOT_FINITE
	if (INTERVAL_NOT_FINITE(interval))
	{
		if (INTERVAL_IS_NOEND(interval))
			concord_buf_literal(buf, "\"infinity\"");
		else
			concord_buf_literal(buf, "\"-infinity\"");
		return;
	}
#endif

	p += sprintf(p, "\"P%dY%dM%dDT" INT64_FORMAT "H%dM%s%d",
				 interval->month / MONTHS_PER_YEAR,
				 interval->month % MONTHS_PER_YEAR, interval->day,
				 time / USECS_PER_HOUR,
				 (int) (time / USECS_PER_MINUTE % MINS_PER_HOUR),
				 seconds == 0 && fraction < 0 ? "-" : "", seconds);
	p = dv_put_fraction(p, abs(fraction), 0);
	*p++ = 'S';
	*p++ = '"';
	concord_buf_advance(buf, p);
}

/*
 * Append an interval as microseconds: a month counts as a twelfth of 365.25
 * days.  What is beyond an int64, as infinity is, is the last one.
 */
static void
dv_interval_micros(StringInfo buf, const Interval *interval)
{
	int64		seconds = interval->month * SECS_PER_MONTH +
		interval->day * (int64) SECS_PER_DAY + interval->time / USECS_PER_SEC;
	int64		result;

	if (pg_mul_s64_overflow(seconds, USECS_PER_SEC, &result) ||
		pg_add_s64_overflow(result, interval->time % USECS_PER_SEC, &result))
		result = seconds < 0 ? PG_INT64_MIN : PG_INT64_MAX;
	dv_int64(buf, result);
}

/* Append a bit string: as a number's bytes, the least significant one first. */
static void
dv_bits(StringInfo buf, Datum value)
{
	VarBit	   *bits = DatumGetVarBitP(value);
	int			nbits = VARBITLEN(bits);
	int			size = (nbits + BITS_PER_BYTE - 1) / BITS_PER_BYTE;
	char	   *bytes = palloc0(size + 1);

	for (int i = 0; i < nbits; i++)
	{
		int			to = nbits - 1 - i;

		if (VARBITS(bits)[i / BITS_PER_BYTE] & (HIGHBIT >> (i % BITS_PER_BYTE)))
			bytes[to / BITS_PER_BYTE] |= 1 << (to % BITS_PER_BYTE);
	}
	while (size > 0 && bytes[size - 1] == 0)
		size--;
	concord_json_bytes(buf, bytes, size, false);
	pfree(bytes);
	if ((Pointer) bits != DatumGetPointer(value))
		pfree(bits);
}

/* Is the only bit of a bit string set? */
static bool
dv_bit(Datum value)
{
	VarBit	   *bits = DatumGetVarBitP(value);

	return VARBITLEN(bits) > 0 && (VARBITS(bits)[0] & HIGHBIT) != 0;
}

/* Append a point, with its Well-Known Binary. */
static void
dv_point(StringInfo buf, const Point *point)
{
	float8		xy[2] = {point->x, point->y};
	unsigned char wkb[1 + 4 + 16] = {1, 1, 0, 0, 0};

	for (int i = 0; i < 16; i++)
	{
		uint64		bits;

		memcpy(&bits, &xy[i / 8], sizeof(bits));
		wkb[5 + i] = (unsigned char) (bits >> (8 * (i % 8)));
	}
	concord_buf_literal(buf, "{\"x\":");
	dv_double(buf, point->x);
	concord_buf_literal(buf, ",\"y\":");
	dv_double(buf, point->y);
	concord_buf_literal(buf, ",\"wkb\":");
	concord_json_bytes(buf, (char *) wkb, sizeof(wkb), false);
	concord_buf_literal(buf, ",\"srid\":null}");
}

/* An integer of four bytes in EWKB, of either byte order. */
static uint32
dv_ewkb_int(const unsigned char *p, bool little)
{
	return little ? p[0] | p[1] << 8 | p[2] << 16 | (uint32) p[3] << 24 :
		p[3] | p[2] << 8 | p[1] << 16 | (uint32) p[0] << 24;
}

/*
 * Append a value of postgis, whose text is EWKB in hexadecimal: a byte order,
 * the geometry's type with flags, the number of a reference system where one
 * of the flags says so, and more that is not looked at.
 */
static void
dv_geometry(StringInfo buf, DecoderState *state, const DbzType *type, Datum value)
{
	StringInfo	text = dv_text(buf, state, type, value);
	unsigned char *ewkb;
	int			len;
	bool		little;

	if (text == NULL)
		return;
	if (text->len % 2 != 0 ||
		strspn(text->data, "0123456789ABCDEFabcdef") != text->len)
	{
		/* another type's function has that name */
		concord_json_string(buf, text->data, text->len);
		return;
	}
	/* the bytes are written over their digits */
	ewkb = (unsigned char *) text->data;
	len = (int) hex_decode(text->data, text->len, text->data);
	concord_buf_literal(buf, "{\"wkb\":");
	concord_json_bytes(buf, text->data, len, false);
	concord_buf_literal(buf, ",\"srid\":");
	little = len > 0 && ewkb[0] == 1;
	if (len >= 9 && (dv_ewkb_int(ewkb + 1, little) & EWKB_HAS_SRID) != 0)
		dv_int64(buf, (int32) dv_ewkb_int(ewkb + 5, little));
	else
		concord_buf_literal(buf, "null");
	concord_buf_putc(buf, '}');
}

/* Append one dimension of an array's elements; returns how many it took. */
static int
dv_dimension(StringInfo buf, DecoderState *state, const DbzType *element,
			 const Datum *values, const bool *nulls,
			 const int *dims, int ndim, DbzFault *fault)
{
	int			used = 0;

	concord_buf_putc(buf, '[');
	for (int i = 0; i < dims[0] && concord_buf_fits(buf, 1); i++)
	{
		if (i > 0)
			concord_buf_putc(buf, ',');
		if (ndim > 1)
			used += dv_dimension(buf, state, element, values + used, nulls + used,
								 dims + 1, ndim - 1, fault);
		else if (nulls[used])
		{
			concord_buf_literal(buf, "null");
			used++;
		}
		else
		{
			DbzFault	found = dv_value(buf, state, element, values[used++]);

			if (found != DBZ_FINE)
				*fault = found;
		}
	}
	concord_buf_putc(buf, ']');
	return used;
}

/* Append an array. */
static DbzFault
dv_array(StringInfo buf, DecoderState *state, const DbzType *type, Datum value)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	const ConcordType *element = &type->element->value;
	DbzFault	fault = DBZ_FINE;
	Datum	   *values;
	bool	   *nulls;
	int			n;

	if (ARR_NDIM(array) == 0)
	{
		concord_buf_literal(buf, "[]");
		return DBZ_FINE;
	}
	deconstruct_array(array, ARR_ELEMTYPE(array), element->typlen,
					  element->typbyval, element->typalign, &values, &nulls, &n);
	(void) dv_dimension(buf, state, type->element, values, nulls,
						ARR_DIMS(array), ARR_NDIM(array), &fault);
	pfree(values);
	pfree(nulls);
	return fault;
}

/* Append a value. */
static DbzFault
dv_value(StringInfo buf, DecoderState *state, const DbzType *type, Datum value)
{
	static const ConcordJsonStyle style = {false, false};

	switch (type->kind)
	{
		case DBZ_BOOLEAN:
		case DBZ_INT16:
		case DBZ_INT32:
		case DBZ_INT64:
		case DBZ_FLOAT32:
		case DBZ_FLOAT64:
			concord_value_json(buf, (ConcordType *) &type->value, value, &style);
			break;
		case DBZ_DECIMAL:
		case DBZ_VARIABLE_DECIMAL:
		case DBZ_MONEY:
			return dv_decimal(buf, state, type, value);
		case DBZ_BYTES:
			dv_bytes(buf, state, value);
			break;
		case DBZ_HSTORE:
			dv_hstore(buf, state, type, value);
			break;
		case DBZ_DATE:
			/* infinite ones wrap around, as they do in Debezium */
			dv_int64(buf, (int32) ((uint32) DatumGetDateADT(value) + EPOCH_DAYS));
			break;
		case DBZ_TIME:
			dv_int64(buf, DatumGetTimeADT(value) / 1000);
			break;
		case DBZ_MICRO_TIME:
			dv_int64(buf, DatumGetTimeADT(value));
			break;
		case DBZ_ZONED_TIME:
			dv_zoned_time(buf, DatumGetTimeTzADTP(value));
			break;
		case DBZ_TIMESTAMP:
		case DBZ_MICRO_TIMESTAMP:
			dv_epoch(buf, DatumGetTimestamp(value), type->kind == DBZ_TIMESTAMP);
			break;
		case DBZ_ZONED_TIMESTAMP:
			dv_zoned_timestamp(buf, DatumGetTimestampTz(value), type->scale);
			break;
		case DBZ_INTERVAL:
			if (state->options.interval_string)
				dv_interval_string(buf, DatumGetIntervalP(value));
			else
				dv_interval_micros(buf, DatumGetIntervalP(value));
			break;
		case DBZ_BIT:
			if (dv_bit(value))
				concord_buf_literal(buf, "true");
			else
				concord_buf_literal(buf, "false");
			break;
		case DBZ_BITS:
			dv_bits(buf, value);
			break;
		case DBZ_POINT:
			dv_point(buf, DatumGetPointP(value));
			break;
		case DBZ_GEOMETRY:
		case DBZ_GEOGRAPHY:
			dv_geometry(buf, state, type, value);
			break;
		case DBZ_ARRAY:
			return dv_array(buf, state, type, value);
		case DBZ_STRING:
		case DBZ_JSON:
		case DBZ_UUID:
		case DBZ_XML:
		case DBZ_ENUM:
			dv_string(buf, state, type, value);
			break;
	}
	return DBZ_FINE;
}

/* Append a value to the event; says whether it had a form. */
DbzFault
concord_debezium_value(DecoderState *state, const DbzType *type, Datum value)
{
	return dv_value(&state->buf, state, type, value);
}

/* Append the codes of the placeholder's letters as an array. */
static void
dv_placeholder_codes(StringInfo buf)
{
	concord_buf_putc(buf, '[');
	for (const char *p = PLACEHOLDER; *p != '\0'; p++)
	{
		if (p != &PLACEHOLDER[0])
			concord_buf_putc(buf, ',');
		concord_json_number(buf, (unsigned char) *p);
	}
	concord_buf_putc(buf, ']');
}

/* Append what stands for a value that is not known, in the type's form. */
void
concord_debezium_placeholder(DecoderState *state, const DbzType *type)
{
	StringInfo	buf = &state->buf;
	bool		precise = state->options.decimal == CONCORD_DECIMAL_PRECISE;

	switch (type->kind)
	{
		case DBZ_STRING:
		case DBZ_JSON:
		case DBZ_UUID:
		case DBZ_XML:
		case DBZ_ENUM:
			concord_buf_literal(buf, "\"" PLACEHOLDER "\"");
			break;
		case DBZ_HSTORE:
			concord_buf_literal(buf, "\"{\\\"" PLACEHOLDER "\\\":\\\"" PLACEHOLDER "\\\"}\"");
			break;
		case DBZ_BYTES:
			if (state->options.bytea_hex)
				concord_buf_literal(buf, "\"" PLACEHOLDER "\"");
			else
				concord_json_bytes(buf, PLACEHOLDER, strlen(PLACEHOLDER), false);
			break;
		case DBZ_DECIMAL:
		case DBZ_VARIABLE_DECIMAL:
			if (state->options.decimal == CONCORD_DECIMAL_DOUBLE)
				concord_buf_literal(buf, "null");
			else if (!precise)
				concord_buf_literal(buf, "\"" PLACEHOLDER "\"");
			else if (type->kind == DBZ_DECIMAL)
				concord_json_bytes(buf, PLACEHOLDER, strlen(PLACEHOLDER), false);
			else
			{
				concord_buf_literal(buf, "{\"scale\":0,\"value\":");
				concord_json_bytes(buf, PLACEHOLDER, strlen(PLACEHOLDER), false);
				concord_buf_putc(buf, '}');
			}
			break;
		case DBZ_ARRAY:
			if (type->element->kind == DBZ_INT16 || type->element->kind == DBZ_INT32 ||
				type->element->kind == DBZ_INT64 || type->element->kind == DBZ_DATE ||
				type->element->kind == DBZ_TIME || type->element->kind == DBZ_MICRO_TIME ||
				type->element->kind == DBZ_TIMESTAMP ||
				type->element->kind == DBZ_MICRO_TIMESTAMP)
				dv_placeholder_codes(buf);
			else
			{
				concord_buf_putc(buf, '[');
				concord_debezium_placeholder(state, type->element);
				concord_buf_putc(buf, ']');
			}
			break;
		default:
			/* no other value says it */
			concord_buf_literal(buf, "null");
			break;
	}
}
