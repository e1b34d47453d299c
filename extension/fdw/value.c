/*-------------------------------------------------------------------------
 *
 * value.c
 *	  From values of answers to values of columns.
 *
 * A value is the text that came, given to the type's input function: numbers
 * digit for digit, never through a double.  What cannot be taken over whole is
 * a bad value: fractions in an int column, more digits than numeric(p,s) has, a
 * time of day in a date, more characters than varchar(n).  Filters that the
 * system evaluates rely on that: what it compares is what we show.
 *
 * The exception is a fraction of a second beyond microseconds, which is cut off
 * (downwards, so that >= and < mean the same there and here).
 *
 * Times without a zone are UTC where the column wants one.  OData 2 has ticks
 * in the place of times, durations in that of times of day.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/value.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "common/base64.h"
#include "common/int.h"
#include "fdw/page.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#define VAL_MAX_SHOWN	200		/* bytes of a value in a message */

/* How a type takes values over. */
typedef enum ValKind
{
	VAL_OTHER,					/* its input function and nothing else */
	VAL_TEXT,
	VAL_VARCHAR,
	VAL_INTEGER,				/* 2, 4 or 8 bytes: size */
	VAL_NUMERIC,
	VAL_JSON,
	VAL_BYTEA,
	VAL_DATE,
	VAL_TIME,
	VAL_TIMESTAMP,
	VAL_TIMESTAMPTZ,
	VAL_ARRAY,
} ValKind;

struct ConcordConverter
{
	const ConcordForeignTable *table;
	const ConcordForeignColumn *column;
	ValKind		kind;
	int			size;
	FmgrInfo	input;
	Oid			ioparam;
	int32		typmod;
	bool		guarded;		/* its input function may do anything */
	ConcordConverter *element;	/* of arrays */
	Oid			elemtype;
	int16		elemlen;
	bool		elembyval;
	char		elemalign;
	StringInfoData text;		/* reused */
	MemoryContext context;		/* of text */
};

/* val_kind says how a type is taken over. */
static ValKind
val_kind(Oid typid, int *size)
{
	*size = 0;
	switch (typid)
	{
		case TEXTOID:
			return VAL_TEXT;
		case VARCHAROID:
			return VAL_VARCHAR;
		case INT2OID:
			*size = 2;
			return VAL_INTEGER;
		case INT4OID:
			*size = 4;
			return VAL_INTEGER;
		case INT8OID:
			*size = 8;
			return VAL_INTEGER;
		case NUMERICOID:
			return VAL_NUMERIC;
		case JSONOID:
		case JSONBOID:
			return VAL_JSON;
		case BYTEAOID:
			return VAL_BYTEA;
		case DATEOID:
			return VAL_DATE;
		case TIMEOID:
			return VAL_TIME;
		case TIMESTAMPOID:
			return VAL_TIMESTAMP;
		case TIMESTAMPTZOID:
			return VAL_TIMESTAMPTZ;
		default:
			return VAL_OTHER;
	}
}

/* val_make makes a converter to a type. */
static ConcordConverter *
val_make(const ConcordForeignTable *table, const ConcordForeignColumn *column,
		 Oid typid, int32 typmod)
{
	ConcordConverter *c = palloc0(sizeof(ConcordConverter));
	Oid			input;
	Oid			element = get_element_type(typid);

	c->table = table;
	c->column = column;
	c->kind = val_kind(typid, &c->size);
	c->typmod = typmod;
	getTypeInputInfo(typid, &input, &c->ioparam);
	fmgr_info(input, &c->input);
	c->guarded = input >= FirstNormalObjectId ||
		get_typtype(typid) == TYPTYPE_DOMAIN ||
		get_typtype(typid) == TYPTYPE_COMPOSITE;
	initStringInfo(&c->text);
	c->context = CurrentMemoryContext;
	if (OidIsValid(element))
	{
		c->kind = VAL_ARRAY;
		c->element = val_make(table, column, element, typmod);
		c->elemtype = element;
		c->guarded = c->element->guarded;
		get_typlenbyvalalign(element, &c->elemlen, &c->elembyval, &c->elemalign);
	}
	return c;
}

/* concord_converter_create makes the converters of the columns of a scan. */
ConcordConverter **
concord_converter_create(const ConcordForeignTable *table, const bool *wanted)
{
	ConcordConverter **all = palloc0(sizeof(ConcordConverter *) *
									 (table->ncolumns + 1));

	for (int i = 0; i < table->ncolumns; i++)
	{
		const ConcordForeignColumn *column = &table->columns[i];

		if (wanted[i])
			all[i] = val_make(table, column, column->typid, column->typmod);
	}
	return all;
}

/* val_shown gives a value as messages show it. */
static char *
val_shown(ConcordSlice slice)
{
	char	   *text = pg_any_to_server(pnstrdup(slice.start, slice.len),
										slice.len, PG_UTF8);
	int			len = strlen(text);

	if (len <= VAL_MAX_SHOWN)
		return text;
	len = pg_mbcliplen(text, len, VAL_MAX_SHOWN);
	return psprintf("%.*s...", len, text);
}

/* concord_record_key shows a record's key. */
char *
concord_record_key(const ConcordForeignTable *table, const ConcordSlice *slices)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < table->nkeys; i++)
	{
		const ConcordForeignColumn *column = &table->columns[table->keys[i] - 1];
		ConcordSlice slice = slices[table->keys[i] - 1];

		appendStringInfo(&buf, "%s%s %s", i > 0 ? ", " : "", column->attname,
						 slice.start == NULL ? "missing" : val_shown(slice));
	}
	return buf.data;
}

/* val_record says in a message which record it is about. */
static char *
val_record(const ConcordConverter *c, const ConcordSlice *slices)
{
	return c->table->nkeys == 0 ?
		pstrdup("The foreign table has no key column (column option key) that would tell which record it is.") :
		psprintf("It is in the record with %s.",
				 concord_record_key(c->table, slices));
}

/* val_bad raises that a value is none of the column's. */
static void
val_bad(const ConcordConverter *c, const ConcordSlice *slices, int sqlerrcode,
		const char *why)
{
	ConcordSlice slice = slices[c->column->attnum - 1];

	ereport(ERROR,
			(errcode(sqlerrcode),
			 errmsg("value %s of column \"%s\" of foreign table \"%s\" is not of its type: %s",
					val_shown(slice), c->column->attname, c->table->relname,
					why),
			 errdetail("%s", val_record(c, slices)),
			 errhint("Change the column's type, or set its option on_bad_value to 'null'.")));
}

/* val_missing raises that a record has no such member, unless that is null. */
static bool
val_missing(const ConcordConverter *c, const ConcordSlice *slices)
{
	if (c->column->on_missing == CONCORD_BAD_NULL)
		return false;
	ereport(ERROR,
			(errcode(ERRCODE_FDW_COLUMN_NAME_NOT_FOUND),
			 errmsg("the answer has no member \"%s\" for column \"%s\" of foreign table \"%s\"",
					c->column->name, c->column->attname, c->table->relname),
			 errdetail("%s", val_record(c, slices)),
			 errhint("Column option name or path says where the value is; option on_missing 'null' takes a missing one for null.")));
	return false;
}

/* Raised in here, shown with what it is about by concord_convert. */
static void
val_refuse(int sqlerrcode, const char *why)
{
	ereport(ERROR, (errcode(sqlerrcode), errmsg("%s", why)));
}

/* val_text leaves the text of a value in c->text, in the database's encoding. */
static char *
val_text(ConcordConverter *c, ConcordSlice slice)
{
	ConcordJsonKind kind = concord_json_kind(slice);
	char	   *text;

	if (kind == CONCORD_JSON_OBJECT || kind == CONCORD_JSON_ARRAY)
		val_refuse(ERRCODE_DATATYPE_MISMATCH, kind == CONCORD_JSON_OBJECT ?
				   "it is an object" : "it is an array");
	resetStringInfo(&c->text);
	if (kind != CONCORD_JSON_STRING)
		appendBinaryStringInfo(&c->text, slice.start, slice.len);
	else if (!concord_json_content(slice, &c->text))
		val_refuse(ERRCODE_UNTRANSLATABLE_CHARACTER,
				   "it has a character that no text can have");
	text = pg_any_to_server(c->text.data, c->text.len, PG_UTF8);
	if (text != c->text.data)
	{
		resetStringInfo(&c->text);
		appendStringInfoString(&c->text, text);
		pfree(text);
	}
	return c->text.data;
}

/* val_input calls the type's input function. */
static Datum
val_input(ConcordConverter *c, char *text)
{
	return InputFunctionCall(&c->input, text, c->ioparam, c->typmod);
}

/* val_digits reads a short whole number; false where it is something else. */
static bool
val_digits(const char *text, int64 *number)
{
	bool		minus = *text == '-';
	int			n = 0;

	*number = 0;
	for (text += minus; *text >= '0' && *text <= '9' && n < 18; text++, n++)
		*number = *number * 10 + (*text - '0');
	if (minus)
		*number = -*number;
	return n > 0 && *text == '\0';
}

/* val_numeric reads a number of any form. */
static Datum
val_numeric(const char *text, int32 typmod)
{
	return DirectFunctionCall3(numeric_in, CStringGetDatum(text),
							   ObjectIdGetDatum(InvalidOid),
							   Int32GetDatum(typmod));
}

/* val_integer takes a whole number, also 5.0 and 5e0. */
static Datum
val_integer(ConcordConverter *c, ConcordSlice slice)
{
	char	   *text = val_text(c, slice);
	int64		number;
	Datum		exact;

	if (!val_digits(text, &number))
	{
		if (strpbrk(text, ".eE") == NULL)
			return val_input(c, text);
		exact = val_numeric(text, -1);
		number = DatumGetInt64(DirectFunctionCall1(numeric_int8, exact));
		if (!DatumGetBool(DirectFunctionCall2(numeric_eq, exact,
											  DirectFunctionCall1(int8_numeric,
																  Int64GetDatum(number)))))
			val_refuse(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
					   "it is not a whole number");
	}
	if (c->size == 8)
		return Int64GetDatum(number);
	if (c->size == 4 ? number < PG_INT32_MIN || number > PG_INT32_MAX :
		number < PG_INT16_MIN || number > PG_INT16_MAX)
		val_refuse(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE, "it is out of range");
	return c->size == 4 ? Int32GetDatum((int32) number) :
		Int16GetDatum((int16) number);
}

/* val_decimal takes a number; none of its digits gets lost. */
static Datum
val_decimal(ConcordConverter *c, ConcordSlice slice)
{
	char	   *text = val_text(c, slice);
	Datum		value = val_input(c, text);

	if (c->typmod >= 0 && strpbrk(text, ".eE") != NULL &&
		!DatumGetBool(DirectFunctionCall2(numeric_eq, value,
										  val_numeric(text, -1))))
		val_refuse(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
				   "it has more digits after the point");
	return value;
}

/* val_varchar takes a text that is not too long, blanks at its end included. */
static Datum
val_varchar(ConcordConverter *c, ConcordSlice slice)
{
	char	   *text = val_text(c, slice);

	if (c->typmod >= VARHDRSZ &&
		c->text.len > c->typmod - VARHDRSZ &&
		pg_mbstrlen_with_len(text, c->text.len) > c->typmod - VARHDRSZ)
		val_refuse(ERRCODE_STRING_DATA_RIGHT_TRUNCATION, "it is too long");
	return PointerGetDatum(cstring_to_text_with_len(text, c->text.len));
}

/* concord_ticks_parse reads /Date(ms)/; the zone behind it does not move it. */
bool
concord_ticks_parse(const char *text, int64 *at)
{
	char	   *end;
	long long	ms;

	if (strncmp(text, "/Date(", 6) != 0)
		return false;
	errno = 0;
	ms = strtoll(text + 6, &end, 10);
	if (end == text + 6 || errno != 0 || ms > PG_INT64_MAX / 1000 ||
		ms < PG_INT64_MIN / 1000)
		return false;
	if (*end == '+' || *end == '-')
		end += 1 + strspn(end + 1, "0123456789");
	if (strcmp(end, ")/") != 0)
		return false;
	*at = ms * 1000;
	if (pg_sub_s64_overflow(*at, (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
							USECS_PER_DAY, at) || !IS_VALID_TIMESTAMP(*at))
		return false;
	return true;
}

/* val_ticks: whether a text is ticks; they become microseconds. */
static bool
val_ticks(const char *text, int64 *at)
{
	if (*text != '/')
		return false;
	if (!concord_ticks_parse(text, at))
		val_refuse(ERRCODE_DATETIME_FIELD_OVERFLOW, "it is no time");
	return true;
}

/* val_cut cuts a fraction of a second off behind microseconds. */
static void
val_cut(StringInfo text)
{
	char	   *point = strchr(text->data, '.');
	Size		digits = point == NULL ? 0 : strspn(point + 1, "0123456789");

	if (digits > 6)
	{
		memmove(point + 7, point + 1 + digits, strlen(point + 1 + digits) + 1);
		text->len = strlen(text->data);
	}
}

/* val_timestamp takes a time; the session's zone does not matter. */
static Datum
val_timestamp(ConcordConverter *c, ConcordSlice slice)
{
	char	   *text = val_text(c, slice);
	int64		at;
	const char *time;

	if (val_ticks(text, &at))
	{
		if (c->typmod >= 0)
			return DirectFunctionCall2(timestamp_scale, TimestampGetDatum(at),
									   Int32GetDatum(c->typmod));
		return TimestampGetDatum(at);
	}
	val_cut(&c->text);
	time = strchr(text, 'T');
	if (c->kind == VAL_TIMESTAMPTZ && time != NULL &&
		strpbrk(time, "Zz+-") == NULL)
	{
		appendStringInfoChar(&c->text, 'Z');
		text = c->text.data;
	}
	return val_input(c, text);
}

/* val_date takes a date, also a time at midnight. */
static Datum
val_date(ConcordConverter *c, ConcordSlice slice)
{
	char	   *text = val_text(c, slice);
	int64		at;
	char	   *time;

	if (val_ticks(text, &at))
	{
		if (at % USECS_PER_DAY != 0)
			val_refuse(ERRCODE_DATETIME_FIELD_OVERFLOW,
					   "it has a time of day");
		return DirectFunctionCall1(timestamp_date, TimestampGetDatum(at));
	}
	time = strchr(text, 'T');
	if (time != NULL)
	{
		if (strspn(time + 1, "0:.Z") != strlen(time + 1))
			val_refuse(ERRCODE_DATETIME_FIELD_OVERFLOW,
					   "it has a time of day");
		*time = '\0';
	}
	return val_input(c, text);
}

/* val_time takes a time of day, also PT08H15M00S. */
static Datum
val_time(ConcordConverter *c, ConcordSlice slice)
{
	char	   *text = val_text(c, slice);
	Interval   *duration;

	if (*text != 'P')
	{
		val_cut(&c->text);
		return val_input(c, text);
	}
	duration = DatumGetIntervalP(DirectFunctionCall3(interval_in,
													 CStringGetDatum(text),
													 ObjectIdGetDatum(InvalidOid),
													 Int32GetDatum(-1)));
	if (duration->month != 0 || duration->day != 0 || duration->time < 0 ||
		duration->time >= USECS_PER_DAY)
		val_refuse(ERRCODE_DATETIME_FIELD_OVERFLOW, "it is no time of day");
	return TimeADTGetDatum(duration->time);
}

/* val_bytea takes base64, of either alphabet, with or without padding. */
static Datum
val_bytea(ConcordConverter *c, ConcordSlice slice)
{
	char	   *text = val_text(c, slice);
	bytea	   *value;
	int			len;

	for (char *p = text; *p; p++)
		*p = *p == '-' ? '+' : *p == '_' ? '/' : *p;
	while (c->text.len % 4 != 0)
		appendStringInfoChar(&c->text, '=');
	value = palloc(VARHDRSZ + pg_b64_dec_len(c->text.len) + 1);
	len = pg_b64_decode(c->text.data, c->text.len, (void *) VARDATA(value),
						pg_b64_dec_len(c->text.len));
	if (len < 0)
		val_refuse(ERRCODE_INVALID_TEXT_REPRESENTATION, "it is not base64");
	SET_VARSIZE(value, VARHDRSZ + len);
	return PointerGetDatum(value);
}

/* val_json takes any value as it stands. */
static Datum
val_json(ConcordConverter *c, ConcordSlice slice)
{
	char	   *text = pg_any_to_server(pnstrdup(slice.start, slice.len),
										slice.len, PG_UTF8);

	return val_input(c, text);
}

static Datum val_convert(ConcordConverter *c, ConcordSlice slice);

/* val_array takes an array; its elements are converted as a column would be. */
static Datum
val_array(ConcordConverter *c, ConcordSlice slice)
{
	const char *p = slice.start + 1;
	ArrayBuildState *build = initArrayResult(c->elemtype, CurrentMemoryContext,
											 false);
	ConcordSlice value;

	if (*slice.start != '[')
		val_refuse(ERRCODE_DATATYPE_MISMATCH, "it is no array");
	while (concord_json_next_element(&p, &value))
	{
		bool		isnull = *value.start == 'n';

		build = accumArrayResult(build, isnull ? (Datum) 0 :
								 val_convert(c->element, value), isnull,
								 c->elemtype, CurrentMemoryContext);
	}
	return makeArrayResult(build, CurrentMemoryContext);
}

/* val_convert makes a Datum of a value that is not null. */
static Datum
val_convert(ConcordConverter *c, ConcordSlice slice)
{
	switch (c->kind)
	{
		case VAL_TEXT:
			val_text(c, slice);
			return PointerGetDatum(cstring_to_text_with_len(c->text.data,
															c->text.len));
		case VAL_VARCHAR:
			return val_varchar(c, slice);
		case VAL_INTEGER:
			return val_integer(c, slice);
		case VAL_NUMERIC:
			return val_decimal(c, slice);
		case VAL_JSON:
			return val_json(c, slice);
		case VAL_BYTEA:
			return val_bytea(c, slice);
		case VAL_DATE:
			return val_date(c, slice);
		case VAL_TIME:
			return val_time(c, slice);
		case VAL_TIMESTAMP:
		case VAL_TIMESTAMPTZ:
			return val_timestamp(c, slice);
		case VAL_ARRAY:
			return val_array(c, slice);
		case VAL_OTHER:
			break;
	}
	return val_input(c, val_text(c, slice));
}

/*
 * val_quick converts what is most common and cannot fail, without the guard
 * that an input function needs.
 */
static inline bool
val_quick(ConcordConverter *c, ConcordSlice slice, Datum *value)
{
	const char *p = slice.start;
	Size		len = slice.len;
	bool		minus;
	int64		number = 0;

	if (c->kind == VAL_TEXT && *p == '"' &&
		GetDatabaseEncoding() == PG_UTF8 &&
		memchr(p, '\\', len) == NULL)
	{
		*value = PointerGetDatum(cstring_to_text_with_len(p + 1, len - 2));
		return true;
	}
	if (c->kind != VAL_INTEGER || c->size < 4 || len > 9)
		return false;
	minus = *p == '-';
	for (Size i = minus; i < len; i++)
	{
		if (p[i] < '0' || p[i] > '9')
			return false;
		number = number * 10 + (p[i] - '0');
	}
	if (minus)
		number = -number;
	*value = c->size == 8 ? Int64GetDatum(number) : Int32GetDatum((int32) number);
	return true;
}

/* concord_convert makes a column's value of what a record has. */
bool
concord_convert(ConcordConverter *c, const ConcordSlice *slices, Datum *value)
{
	const ConcordSlice *slice = &slices[c->column->attnum - 1];
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	bool		forgive = c->column->on_bad_value == CONCORD_BAD_NULL;
	volatile bool inside = false;
	ErrorData  *volatile error = NULL;

	if (slice->start == NULL)
		return val_missing(c, slices);
	if (*slice->start == 'n')
		return false;
	if (val_quick(c, *slice, value))
		return true;

	PG_TRY();
	{
		if (forgive && c->guarded)
		{
			BeginInternalSubTransaction(NULL);
			inside = true;
			MemoryContextSwitchTo(context);
		}
		*value = val_convert(c, *slice);
		if (inside)
		{
			ReleaseCurrentSubTransaction();
			MemoryContextSwitchTo(context);
			CurrentResourceOwner = owner;
		}
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		/* cancellation and the like are not about this value */
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION &&
			ERRCODE_TO_CATEGORY(error->sqlerrcode) !=
			ERRCODE_TO_CATEGORY(ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION) &&
			error->sqlerrcode != ERRCODE_DATATYPE_MISMATCH)
			PG_RE_THROW();
		FlushErrorState();
		if (inside)
		{
			RollbackAndReleaseCurrentSubTransaction();
			MemoryContextSwitchTo(context);
			CurrentResourceOwner = owner;
		}
	}
	PG_END_TRY();
	if (error == NULL)
		return true;
	if (!forgive)
		val_bad(c, slices, error->sqlerrcode, error->message);
	FreeErrorData(error);
	return false;
}

/* concord_converter_make makes a converter for a type. */
ConcordConverter *
concord_converter_make(Oid typid, int32 typmod)
{
	return val_make(NULL, NULL, typid, typmod);
}

/* concord_converter_take makes a value of what stands in a record. */
bool
concord_converter_take(ConcordConverter *c, ConcordSlice slice, Datum *value)
{
	if (*slice.start == 'n')
		return false;
	if (!val_quick(c, slice, value))
		*value = val_convert(c, slice);
	return true;
}
