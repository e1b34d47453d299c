/*-------------------------------------------------------------------------
 *
 * json.c
 *	  Write SQL values as the JSON that CONTRACT.md's "What arrives" states.
 *
 * Values come as their canonical text (decoder/protocol.h says which settings
 * make it), so nothing here depends on the session.  What a type is written as
 * is found once per type: built-in types from a table, others (arrays and
 * domains of user types) from the catalogs, in a transaction of its own where
 * a worker asks between transactions.
 *
 *-------------------------------------------------------------------------
 */
#include "base/json.h"

#include "access/xact.h"
#include "base/base64.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/datetime.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

typedef enum JsKind
{
	JS_STRING,					/* the rest: text, uuid, ranges, composites */
	JS_BOOL,
	JS_NUMBER,					/* a double holds it, or it is a float */
	JS_BIG_NUMBER,				/* numeric and bigint: may be quoted */
	JS_TIMESTAMP,
	JS_TIMESTAMPTZ,
	JS_DATE,
	JS_INTERVAL,
	JS_BYTEA,
	JS_JSON,
	JS_ARRAY,
} JsKind;

/* How a type is written; found in js_types by typid. */
typedef struct JsType
{
	Oid			typid;			/* hash key */
	JsKind		kind;
	Oid			element;		/* of JS_ARRAY */
	char		delimiter;
	Oid			output;			/* output function; InvalidOid: not looked up */
} JsType;

/* A one in each of eight bytes. */
#define JS_EACH_BYTE	UINT64CONST(0x0101010101010101)

/* How values are written. */
#define JS_QUOTED		0x01	/* numeric and bigint as strings */
#define JS_ANYTHING		0x02	/* NaN and infinities as strings */

/* What the settings that canonical text depends on were before. */
typedef struct JsSettings
{
	int			date_style;
	int			date_order;
	int			interval_style;
	int			bytea_output;
	int			extra_float_digits;
	pg_tz	   *timezone;
} JsSettings;

/* A cache, emptied when a type changes. */
static HTAB *js_types = NULL;

static void js_value(StringInfo buf, Oid typid, const char *text, Size len,
					 int flags);

/* js_invalidate forgets all types: they are few and quickly found again. */
static void
js_invalidate(Datum arg, int cacheid, uint32 hashvalue)
{
	HASH_SEQ_STATUS scan;
	JsType	   *type;

	hash_seq_init(&scan, js_types);
	while ((type = (JsType *) hash_seq_search(&scan)) != NULL)
		(void) hash_search(js_types, &type->typid, HASH_REMOVE, NULL);
}

static void
js_init(void)
{
	HASHCTL		ctl = {0};

	if (js_types != NULL)
		return;
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(JsType);
	ctl.hcxt = TopMemoryContext;
	js_types = hash_create("concord JSON types", 64, &ctl,
						   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterSyscacheCallback(TYPEOID, js_invalidate, (Datum) 0);
}

/* js_builtin gives the kind of a type that needs no look-up; false otherwise. */
static bool
js_builtin(Oid typid, JsKind *kind)
{
	switch (typid)
	{
		case BOOLOID:
			*kind = JS_BOOL;
			return true;
		case INT2OID:
		case INT4OID:
		case OIDOID:
		case FLOAT4OID:
		case FLOAT8OID:
			*kind = JS_NUMBER;
			return true;
		case INT8OID:
		case NUMERICOID:
			*kind = JS_BIG_NUMBER;
			return true;
		case TIMESTAMPOID:
			*kind = JS_TIMESTAMP;
			return true;
		case TIMESTAMPTZOID:
			*kind = JS_TIMESTAMPTZ;
			return true;
		case DATEOID:
			*kind = JS_DATE;
			return true;
		case INTERVALOID:
			*kind = JS_INTERVAL;
			return true;
		case BYTEAOID:
			*kind = JS_BYTEA;
			return true;
		case JSONOID:
		case JSONBOID:
			*kind = JS_JSON;
			return true;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case NAMEOID:
		case UUIDOID:
		case TIMEOID:
		case TIMETZOID:
		case UNKNOWNOID:
			*kind = JS_STRING;
			return true;
		default:
			return false;
	}
}

/* js_lookup finds the rest in the catalogs. */
static void
js_lookup(JsType *found, Oid typid)
{
	Oid			base;
	int16		typlen;
	bool		byval;
	char		align;
	Oid			ioparam;
	Oid			output;

	/* dropped since the value was read: its text is what there is */
	if (!SearchSysCacheExists1(TYPEOID, ObjectIdGetDatum(typid)))
		return;
	base = getBaseType(typid);
	if (base != typid && js_builtin(base, &found->kind))
		return;
	found->element = get_element_type(base);
	if (!OidIsValid(found->element))
		return;
	get_type_io_data(found->element, IOFunc_output, &typlen, &byval, &align,
					 &found->delimiter, &ioparam, &output);
	found->kind = JS_ARRAY;
}

/* js_type returns how a type is written. */
static const JsType *
js_type(Oid typid, bool with_output)
{
	JsType		found = {.typid = typid};
	JsType	   *type;
	bool		varlena;
	bool		own_transaction = !IsTransactionState();
	MemoryContext old = CurrentMemoryContext;

	js_init();
	type = (JsType *) hash_search(js_types, &typid, HASH_FIND, NULL);
	if (type != NULL && (!with_output || OidIsValid(type->output)))
		return type;

	if (!js_builtin(typid, &found.kind) || with_output)
	{
		if (own_transaction)
			StartTransactionCommand();
		if (!js_builtin(typid, &found.kind))
			js_lookup(&found, typid);
		if (with_output)
			getTypeOutputInfo(typid, &found.output, &varlena);
		if (own_transaction)
		{
			CommitTransactionCommand();
			MemoryContextSwitchTo(old);
		}
	}
	type = (JsType *) hash_search(js_types, &typid, HASH_ENTER, NULL);
	*type = found;
	return type;
}

/* js_zero has a bit set where one of the eight bytes of a word is zero. */
static inline uint64
js_zero(uint64 v)
{
	return (v - JS_EACH_BYTE) & ~v & (JS_EACH_BYTE << 7);
}

/*
 * js_plain says how many bytes of a text need no escape.  Eight are looked at
 * at once: below a space, a quote, a backslash, or DEL.  What a borrow makes
 * look like one is looked at alone.
 */
static inline Size
js_plain(const char *text, Size len)
{
	Size		i = 0;

	for (; i + sizeof(uint64) <= len; i += sizeof(uint64))
	{
		uint64		v;

		memcpy(&v, text + i, sizeof(v));
		if ((((v - JS_EACH_BYTE * 0x20) & ~v & (JS_EACH_BYTE << 7)) |
			 js_zero(v ^ (JS_EACH_BYTE * '"')) |
			 js_zero(v ^ (JS_EACH_BYTE * '\\')) |
			 js_zero(v ^ (JS_EACH_BYTE * 0x7F))) != 0)
			break;
	}
	for (; i < len; i++)
	{
		unsigned char c = (unsigned char) text[i];

		if (c < 0x20 || c == '"' || c == '\\' || c == 0x7F)
			break;
	}
	return i;
}

/* js_escape appends a text in UTF-8 between quotes. */
static void
js_escape(StringInfo buf, const char *text, Size len)
{
	const char *end = text + len;
	const char *run = text;

	enlargeStringInfo(buf, len + 2);
	appendStringInfoCharMacro(buf, '"');
	for (const char *p = text + js_plain(text, len); p < end;
		 p = run + js_plain(run, end - run))
	{
		unsigned char c = (unsigned char) *p;

		appendBinaryStringInfo(buf, run, p - run);
		run = p + 1;
		switch (c)
		{
			case '"':
			case '\\':
				appendStringInfoCharMacro(buf, '\\');
				appendStringInfoCharMacro(buf, c);
				break;
			case '\n':
				appendBinaryStringInfo(buf, "\\n", 2);
				break;
			case '\r':
				appendBinaryStringInfo(buf, "\\r", 2);
				break;
			case '\t':
				appendBinaryStringInfo(buf, "\\t", 2);
				break;
			default:
				appendStringInfo(buf, "\\u%04x", c);
		}
	}
	appendBinaryStringInfo(buf, run, end - run);
	appendStringInfoCharMacro(buf, '"');
}

/*
 * js_utf8 gives a text in UTF-8, whatever the database's encoding is; bytes of
 * an SQL_ASCII database that are not valid UTF-8 are an error.
 */
static const char *
js_utf8(const char *text, Size *len)
{
	const char *converted;

	if (GetDatabaseEncoding() == PG_UTF8)
		return text;
	if (GetDatabaseEncoding() == PG_SQL_ASCII)
	{
		(void) pg_verify_mbstr(PG_UTF8, text, *len, false);
		return text;
	}
	converted = pg_server_to_any(text, *len, PG_UTF8);
	if (converted != text)
		*len = strlen(converted);
	return converted;
}

/* concord_json_utf8 gives a text in UTF-8. */
const char *
concord_json_utf8(const char *text)
{
	Size		len = strlen(text);

	return js_utf8(text, &len);
}

/* concord_json_server gives JSON in the database's encoding. */
char *
concord_json_server(char *json)
{
	if (GetDatabaseEncoding() == PG_UTF8)
		return json;
	return pg_any_to_server(json, strlen(json), PG_UTF8);
}

/* concord_json_string appends a quoted, escaped JSON string. */
void
concord_json_string(StringInfo buf, const char *text, Size len)
{
	const char *utf8 = js_utf8(text, &len);

	js_escape(buf, utf8, len);
}

/* concord_json_quote does so with a text that is in UTF-8 already. */
void
concord_json_quote(StringInfo buf, const char *utf8, Size len)
{
	js_escape(buf, utf8, len);
}

/* js_infinite takes what JSON has no form of: an error, or a string. */
static void
js_infinite(StringInfo buf, const char *text, Size len, int flags)
{
	if (flags & JS_ANYTHING)
	{
		concord_json_string(buf, text, len);
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("value \"%.*s\" has no form in JSON", (int) len, text),
			 errhint("Use an expression that gives NULL or a finite value instead, such as nullif(column, 'NaN').")));
}

/* js_number appends digits as they are. */
static void
js_number(StringInfo buf, const char *text, Size len, int flags)
{
	bool		quoted = (flags & JS_QUOTED) != 0;

	/* NaN, Infinity and -Infinity are the only ones with these letters */
	if (len > 0 && (memchr(text, 'N', len) || memchr(text, 'I', len)))
	{
		js_infinite(buf, text, len, flags);
		return;
	}
	if (quoted)
		appendStringInfoCharMacro(buf, '"');
	appendBinaryStringInfo(buf, text, len);
	if (quoted)
		appendStringInfoCharMacro(buf, '"');
}

/*
 * js_timestamp appends "2026-11-20 08:15:00+00" with a T, and with Z for the
 * zone; a year before Christ stays as it is.
 */
static void
js_timestamp(StringInfo buf, const char *text, Size len, bool zone, int flags)
{
	const char *space = memchr(text, ' ', len);
	Size		rest;

	if (len == 0 || !strchr("0123456789", text[0]))
	{
		js_infinite(buf, text, len, flags);
		return;
	}
	if (space == NULL || text[len - 1] == 'C')
	{
		concord_json_string(buf, text, len);
		return;
	}
	appendStringInfoCharMacro(buf, '"');
	appendBinaryStringInfo(buf, text, space - text);
	appendStringInfoCharMacro(buf, 'T');
	rest = len - (space + 1 - text);
	if (zone && rest > 3 && strncmp(text + len - 3, "+00", 3) == 0)
	{
		appendBinaryStringInfo(buf, space + 1, rest - 3);
		appendStringInfoCharMacro(buf, 'Z');
	}
	else
		appendBinaryStringInfo(buf, space + 1, rest);
	appendStringInfoCharMacro(buf, '"');
}

/* js_canonical sets what canonical text is made under. */
static void
js_canonical(JsSettings *saved)
{
	static pg_tz *utc = NULL;

	if (utc == NULL)
		utc = pg_tzset("GMT");
	saved->date_style = DateStyle;
	saved->date_order = DateOrder;
	saved->interval_style = IntervalStyle;
	saved->bytea_output = bytea_output;
	saved->extra_float_digits = extra_float_digits;
	saved->timezone = session_timezone;
	DateStyle = USE_ISO_DATES;
	DateOrder = DATEORDER_YMD;
	IntervalStyle = INTSTYLE_POSTGRES;
	bytea_output = BYTEA_OUTPUT_HEX;
	extra_float_digits = 1;
	session_timezone = utc;
}

static void
js_restore(const JsSettings *saved)
{
	DateStyle = saved->date_style;
	DateOrder = saved->date_order;
	IntervalStyle = saved->interval_style;
	bytea_output = saved->bytea_output;
	extra_float_digits = saved->extra_float_digits;
	session_timezone = saved->timezone;
}

/* js_interval appends an interval in ISO 8601, such as "P1Y2M-3DT4H". */
static void
js_interval(StringInfo buf, const char *text, Size len, int flags)
{
	char	   *copy = pnstrdup(text, len);
	char		iso[MAXDATELEN + 1];
	struct pg_itm parts;
	Interval   *value = NULL;
	JsSettings	saved;

	if (strstr(copy, "infinity") != NULL)
	{
		js_infinite(buf, text, len, flags);
		return;
	}
	js_canonical(&saved);
	PG_TRY();
	{
		value = DatumGetIntervalP(DirectFunctionCall3(interval_in,
													  CStringGetDatum(copy),
													  ObjectIdGetDatum(InvalidOid),
													  Int32GetDatum(-1)));
	}
	PG_FINALLY();
	{
		js_restore(&saved);
	}
	PG_END_TRY();
	interval2itm(*value, &parts);
	EncodeInterval(&parts, INTSTYLE_ISO_8601, iso);
	concord_json_string(buf, iso, strlen(iso));
	pfree(copy);
	pfree(value);
}

/* js_bytea appends "\x0102" as base64. */
static void
js_bytea(StringInfo buf, const char *text, Size len)
{
	char	   *raw;
	int			rawlen;

	if (len < 2 || text[0] != '\\' || text[1] != 'x')
		elog(ERROR, "bytea value is not in hex format");
	raw = palloc((len - 2) / 2 + 1);
	rawlen = hex_decode(text + 2, len - 2, raw);
	appendStringInfoCharMacro(buf, '"');
	concord_base64_append(buf, raw, rawlen);
	appendStringInfoCharMacro(buf, '"');
	pfree(raw);
}

/*
 * js_element appends one element of an array's text, from *p, and moves *p
 * behind it.
 */
static void
js_element(StringInfo buf, const JsType *type, const char **p, const char *end,
		   int flags)
{
	StringInfoData item;
	bool		quoted = *p < end && **p == '"';
	const char *c = quoted ? *p + 1 : *p;

	initStringInfo(&item);
	for (; c < end; c++)
	{
		if (quoted ? *c == '"' : (*c == type->delimiter || *c == '}'))
			break;
		if (*c == '\\' && c + 1 < end)
			c++;
		appendStringInfoCharMacro(&item, *c);
	}
	if (quoted)
		c++;
	if (!quoted && strcmp(item.data, "NULL") == 0)
		appendBinaryStringInfo(buf, "null", 4);
	else
		js_value(buf, type->element, item.data, item.len, flags);
	pfree(item.data);
	*p = c;
}

/*
 * js_array turns what array_out writes into nested JSON arrays.  Lower bounds
 * other than 1 ("[0:1]={...}") have no form in JSON and are left out, but in
 * keys, which such an array stands in as its text.
 */
static void
js_array(StringInfo buf, Oid typid, const char *text, Size len, int flags)
{
	JsType		type = *js_type(typid, false);	/* the cache may be emptied */
	const char *end = text + len;
	const char *p = memchr(text, '{', len);

	if (p == NULL)
		elog(ERROR, "array value has no brace");
	while (p < end)
	{
		if (*p == '{')
		{
			appendStringInfoCharMacro(buf, '[');
			p++;
		}
		else if (*p == '}')
		{
			appendStringInfoCharMacro(buf, ']');
			p++;
		}
		else if (*p == type.delimiter)
		{
			appendStringInfoCharMacro(buf, ',');
			p++;
		}
		else
			js_element(buf, &type, &p, end, flags);
	}
}

/* js_value appends one value of any type. */
static void
js_value(StringInfo buf, Oid typid, const char *text, Size len, int flags)
{
	JsKind		kind;

	check_stack_depth();
	if (!js_builtin(typid, &kind))
		kind = js_type(typid, false)->kind;
	switch (kind)
	{
		case JS_BOOL:
			appendStringInfoString(buf, text[0] == 't' ? "true" : "false");
			break;
		case JS_NUMBER:
			js_number(buf, text, len, flags & ~JS_QUOTED);
			break;
		case JS_BIG_NUMBER:
			js_number(buf, text, len, flags);
			break;
		case JS_TIMESTAMP:
			js_timestamp(buf, text, len, false, flags);
			break;
		case JS_TIMESTAMPTZ:
			js_timestamp(buf, text, len, true, flags);
			break;
		case JS_DATE:
			if (len == 0 || !strchr("0123456789", text[0]))
				js_infinite(buf, text, len, flags);
			else
				concord_json_string(buf, text, len);
			break;
		case JS_INTERVAL:
			js_interval(buf, text, len, flags);
			break;
		case JS_BYTEA:
			js_bytea(buf, text, len);
			break;
		case JS_JSON:
			text = js_utf8(text, &len);
			appendBinaryStringInfo(buf, text, len);
			break;
		case JS_ARRAY:
			/* '[0:1]={1,2}' and '{1,2}' are two rows; JSON cannot tell them */
			if ((flags & JS_ANYTHING) && len > 0 && text[0] == '[')
				concord_json_string(buf, text, len);
			else
				js_array(buf, typid, text, len, flags);
			break;
		case JS_STRING:
			concord_json_string(buf, text, len);
			break;
	}
}

/* concord_json_value appends a value given as its canonical text. */
void
concord_json_value(StringInfo buf, Oid typid, const char *text, Size len,
				   bool numbers_as_strings)
{
	js_value(buf, typid, text, len, numbers_as_strings ? JS_QUOTED : 0);
}

/* concord_json_key appends a value of a local key, whatever it is. */
void
concord_json_key(StringInfo buf, Oid typid, const char *text, Size len)
{
	js_value(buf, typid, text, len, JS_ANYTHING);
}

/*
 * concord_value_text gives a Datum's canonical text.  The settings that output
 * functions read are set for the call and put back, also on error.
 */
char *
concord_value_text(Oid typid, Datum value)
{
	char	   *result = NULL;
	JsSettings	saved;
	Oid			output;

	switch (typid)
	{
		case TEXTOID:
		case VARCHAROID:
			return TextDatumGetCString(value);
		case INT4OID:
			result = palloc(12);
			pg_ltoa(DatumGetInt32(value), result);
			return result;
		case INT8OID:
			result = palloc(MAXINT8LEN + 1);
			pg_lltoa(DatumGetInt64(value), result);
			return result;
		case BOOLOID:
			return pstrdup(DatumGetBool(value) ? "t" : "f");
		default:
			break;
	}

	output = js_type(typid, true)->output;
	js_canonical(&saved);
	PG_TRY();
	{
		result = OidOutputFunctionCall(output, value);
	}
	PG_FINALLY();
	{
		js_restore(&saved);
	}
	PG_END_TRY();
	return result;
}
