/*-------------------------------------------------------------------------
 *
 * literal.c
 *	  Values as an address has them.
 *
 * The forms themselves are the connectors' (concord_odata_literal); here is
 * which one a column wants, and what a comparison makes of a time: whole
 * seconds, downwards for >= and upwards for < and <=, so that no record is
 * missed whose time has digits that answers do not show.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/literal.h"

#include "base/json.h"
#include "catalog/pg_type.h"
#include "connector/protocols.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

/* Types of OData and how they are compared and written. */
static const struct
{
	const char *name;
	ConcordReadType type;
	Oid			as;				/* whose literal they have */
}			lit_types[] =

{
	{"Edm.String", CONCORD_TYPE_TEXT, TEXTOID},
	{"Edm.Guid", CONCORD_TYPE_UUID, UUIDOID},
	{"Edm.Byte", CONCORD_TYPE_NUMBER, INT4OID},
	{"Edm.SByte", CONCORD_TYPE_NUMBER, INT4OID},
	{"Edm.Int16", CONCORD_TYPE_NUMBER, INT4OID},
	{"Edm.Int32", CONCORD_TYPE_NUMBER, INT4OID},
	{"Edm.Int64", CONCORD_TYPE_NUMBER, INT8OID},
	{"Edm.Decimal", CONCORD_TYPE_NUMBER, NUMERICOID},
	{"Edm.Boolean", CONCORD_TYPE_BOOLEAN, BOOLOID},
	{"Edm.Date", CONCORD_TYPE_DATE, DATEOID},
	{"Edm.DateTime", CONCORD_TYPE_TIMESTAMP, TIMESTAMPOID},
	{"Edm.DateTimeOffset", CONCORD_TYPE_TIMESTAMP, TIMESTAMPTZOID},
};

/* lit_find returns the row of a type, or -1. */
static int
lit_find(const char *type)
{
	for (int i = 0; type != NULL && i < lengthof(lit_types); i++)
	{
		if (strcmp(lit_types[i].name, type) == 0)
			return i;
	}
	return -1;
}

/* concord_literal_type says what a remote type is compared as. */
ConcordReadType
concord_literal_type(const char *type)
{
	int			i = lit_find(type);

	return i < 0 ? CONCORD_TYPE_NONE : lit_types[i].type;
}

/* concord_literal_whole: a constant time without a fraction of a second. */
bool
concord_literal_whole(const Expr *expr)
{
	const Const *value = (const Const *) expr;

	return IsA(expr, Const) && !value->constisnull &&
		(value->consttype == TIMESTAMPOID || value->consttype == TIMESTAMPTZOID) &&
		DatumGetTimestamp(value->constvalue) % USECS_PER_SEC == 0;
}

/* lit_time makes whole seconds of a time, in the direction of an operator. */
static bool
lit_time(ConcordReadOperator op, Datum *value)
{
	Timestamp	at = DatumGetTimestamp(*value);
	int64		part;

	if (TIMESTAMP_NOT_FINITE(at))
		return false;
	part = at % USECS_PER_SEC;
	if (part < 0)
		part += USECS_PER_SEC;
	if (op == CONCORD_OP_LE || (op == CONCORD_OP_LT && part != 0))
		at += USECS_PER_SEC;
	at -= part;
	*value = TimestampGetDatum(at);
	return IS_VALID_TIMESTAMP(at);
}

/* lit_has_form: neither infinite nor no number. */
static bool
lit_has_form(Oid typid, Datum value)
{
	if (typid == NUMERICOID)
		return !numeric_is_nan(DatumGetNumeric(value)) &&
			!numeric_is_inf(DatumGetNumeric(value));
	if (typid == DATEOID)
		return !DATE_NOT_FINITE(DatumGetDateADT(value)) &&
			DatumGetDateADT(value) + POSTGRES_EPOCH_JDATE >=
			date2j(1, 1, 1) &&
			DatumGetDateADT(value) + POSTGRES_EPOCH_JDATE <=
			date2j(9999, 12, 31);
	return true;
}

/* concord_literal_write appends a value as it is compared with a column. */
bool
concord_literal_write(StringInfo buf, const ConcordForeignColumn *column,
					  const ConcordReading *reading, bool odata2,
					  ConcordReadOperator op, Oid typid, Datum value)
{
	Oid			base = getBaseType(typid);
	int			remote = lit_find(column->type);
	ConcordValue v = {.typmod = -1};
	Timestamp	at;

	if (base == TIMESTAMPOID || base == TIMESTAMPTZOID)
	{
		struct pg_tm tm;
		fsec_t		fsec;

		if (!lit_time(op, &value))
			return false;
		at = DatumGetTimestamp(value);
		if (timestamp2tm(at, NULL, &tm, &fsec, NULL, NULL) != 0 ||
			tm.tm_year < 1 || tm.tm_year > 9999)
			return false;
	}
	if (!lit_has_form(base, value))
		return false;
	v.typid = base;
	v.text = concord_value_text(base, value);
	v.len = strlen(v.text);
	if (remote >= 0 && lit_types[remote].as != v.typid)
	{
		Oid			as = lit_types[remote].as;

		if (as == UUIDOID && !concord_odata_is_uuid(v.text))
			return false;
		/* a time as UTC: what a column without a zone means */
		if (as == TIMESTAMPOID && v.typid == TIMESTAMPTZOID)
			v.text = concord_value_text(TIMESTAMPOID, value);
		else if (as == TIMESTAMPTZOID && v.typid == TIMESTAMPOID)
			v.text = concord_value_text(TIMESTAMPTZOID, value);
		v.len = strlen(v.text);
		if (as != TIMESTAMPOID || v.typid != DATEOID)
			v.typid = as;
	}
	else if (v.typid == VARCHAROID)
		v.typid = TEXTOID;

	if (!reading->odata)
	{
		char	   *plain = v.text;
		StringInfoData json;

		if (v.typid != TEXTOID && v.typid != NUMERICOID)
		{
			initStringInfo(&json);
			concord_json_value(&json, v.typid, v.text, v.len, false);
			plain = json.data[0] == '"' ? pnstrdup(json.data + 1, json.len - 2) :
				json.data;
		}
		concord_url_escape(buf, plain, ":");
	}
	else if (odata2)
		concord_odata2_literal(buf, &v);
	else
		concord_odata_literal(buf, &v);
	return true;
}
