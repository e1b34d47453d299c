/*-------------------------------------------------------------------------
 *
 * odata2.c
 *	  Values as version 2 of OData has them (SAP Gateway, NetWeaver).
 *
 * In a body ([OData 2.0 JSON Format], 4): Int64, Decimal, Single and Double are
 * strings, times are ticks since 1970 in "/Date(...)/", a time of day is a
 * duration.  In an address ([OData 2.0 Overview], 6, "Abstract Type System"):
 * literals have a suffix or a prefix that names their type.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/protocols.h"

#include "base/json.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* od2_refuse raises the error for a time that OData has no form of. */
static void
od2_refuse(const ConcordValue *value)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("value \"%s\" has no form in OData 2", value->text),
			 errdetail("Its times are milliseconds from 0001 to 9999."),
			 errhint("Let the field's expression leave such values out.")));
}

/*
 * od2_ticks gives milliseconds since 1970 of a time in canonical text, which
 * is ISO and so read the same under every DateStyle; one without a zone is
 * taken as UTC, which is how OData 2 means it.
 */
static int64
od2_ticks(const ConcordValue *value)
{
	PGFunction	input = value->typid == TIMESTAMPTZOID ? timestamptz_in :
		timestamp_in;
	Timestamp	at;

	at = DatumGetTimestamp(DirectFunctionCall3(input,
											   CStringGetDatum(value->text),
											   ObjectIdGetDatum(InvalidOid),
											   Int32GetDatum(-1)));
	if (TIMESTAMP_NOT_FINITE(at))
		od2_refuse(value);
	at += (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
	/* down, also before 1970 */
	return at >= 0 ? at / 1000 : -((-at + 999) / 1000);
}

/* od2_time_of_day writes 08:15:00.5 as a duration, PT08H15M00.5S. */
static void
od2_time_of_day(StringInfo buf, const ConcordValue *value)
{
	if (value->len < 8)
		od2_refuse(value);
	appendStringInfo(buf, "PT%.2sH%.2sM%sS", value->text, value->text + 3,
					 value->text + 6);
}

/* concord_odata2_value writes a value that is not null as JSON. */
void
concord_odata2_value(StringInfo buf, const ConcordValue *value)
{
	switch (value->typid)
	{
		case INT8OID:
		case NUMERICOID:
		case FLOAT4OID:
		case FLOAT8OID:
			/* checks for NaN and infinities, too */
			appendStringInfoChar(buf, '"');
			concord_json_value(buf, value->typid, value->text, value->len, false);
			appendStringInfoChar(buf, '"');
			break;
		case DATEOID:
		case TIMESTAMPOID:
			appendStringInfo(buf, "\"/Date(" INT64_FORMAT ")/\"",
							 od2_ticks(value));
			break;
		case TIMESTAMPTZOID:
			appendStringInfo(buf, "\"/Date(" INT64_FORMAT "+0000)/\"",
							 od2_ticks(value));
			break;
		case TIMEOID:
			appendStringInfoChar(buf, '"');
			od2_time_of_day(buf, value);
			appendStringInfoChar(buf, '"');
			break;
		default:
			concord_json_value(buf, value->typid, value->text, value->len, false);
			break;
	}
}

/* od2_date_time writes a time as an address has it: no zone, always a T. */
static void
od2_date_time(StringInfo buf, const ConcordValue *value)
{
	char	   *plain = concord_value_plain(value);

	concord_url_escape(buf, plain, ":'");
	if (value->typid == DATEOID)
		appendStringInfoString(buf, "T00:00:00");
}

/* concord_odata2_literal writes a value that is not null in an address. */
void
concord_odata2_literal(StringInfo buf, const ConcordValue *value)
{
	char	   *plain = concord_value_plain(value);

	switch (value->typid)
	{
		case INT2OID:
		case INT4OID:
		case OIDOID:
		case BOOLOID:
			appendStringInfoString(buf, plain);
			break;
		case INT8OID:
			appendStringInfo(buf, "%sL", plain);
			break;
		case NUMERICOID:
			appendStringInfo(buf, "%sM", plain);
			break;
		case FLOAT4OID:
			appendStringInfo(buf, "%sf", plain);
			break;
		case FLOAT8OID:
			appendStringInfo(buf, "%sd", plain);
			break;
		case UUIDOID:
			appendStringInfo(buf, "guid'%s'", plain);
			break;
		case DATEOID:
		case TIMESTAMPOID:
			appendStringInfoString(buf, "datetime'");
			od2_date_time(buf, value);
			appendStringInfoChar(buf, '\'');
			break;
		case TIMESTAMPTZOID:
			appendStringInfoString(buf, "datetimeoffset'");
			od2_date_time(buf, value);
			appendStringInfoChar(buf, '\'');
			break;
		case TIMEOID:
			appendStringInfoString(buf, "time'");
			od2_time_of_day(buf, value);
			appendStringInfoChar(buf, '\'');
			break;
		case BYTEAOID:
			/* canonical text is \x and hexadecimal digits */
			appendStringInfo(buf, "X'%s'", value->text + 2);
			break;
		default:
			concord_odata_text(buf, plain);
			break;
	}
}
