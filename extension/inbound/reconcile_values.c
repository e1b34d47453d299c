/*-------------------------------------------------------------------------
 *
 * reconcile_values.c
 *	  What values mean, whichever side writes them.
 *
 * Both sides are brought into one form, of which a hash is kept: numbers by
 * value, times as microseconds, objects and arrays as jsonb, all else as text.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/reconcile.h"

#include "base/json.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "connector/protocols.h"
#include "connector/receiving.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

/* val_hash makes a hash that is none of the other marks. */
static uint64
val_hash(const char *text, uint64 seed)
{
	uint64		hash = DatumGetUInt64(hash_any_extended((const unsigned char *) text,
														strlen(text), seed));

	return hash < RCN_VALUES ? hash + RCN_VALUES : hash;
}

/* val_number says whether a type's values are numbers. */
static bool
val_number(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID ||
		type == NUMERICOID || type == FLOAT4OID || type == FLOAT8OID;
}

/* val_time says whether they are moments, or days. */
static bool
val_time(Oid type)
{
	return type == TIMESTAMPOID || type == TIMESTAMPTZOID || type == DATEOID;
}

/* val_json says whether they are written as objects and arrays. */
static bool
val_json(Oid type)
{
	return type == JSONOID || type == JSONBOID || type_is_array(type) ||
		type_is_rowtype(type);
}

/* val_numeric brings a number into one form; what is none stays as it is. */
static char *
val_numeric(char *text)
{
	Size		len = strlen(text);
	Datum		number;

	if (len == 0 || len > 200 || strspn(text, "0123456789.eE+-") != len ||
		strpbrk(text, "0123456789") == NULL)
		return text;
	if (strspn(text, "0123456789") == len && text[0] != '0')
		return text;
	if (strspn(text, "+-.0123456789") != len)
	{
		/* a power that no number of ours has would be written out */
		const char *power = strpbrk(text, "eE");

		if (power == NULL || abs(atoi(power + 1)) > 400)
			return text;
	}
	number = DirectFunctionCall3(numeric_in, CStringGetDatum(text),
								 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	return numeric_normalize(DatumGetNumeric(number));
}

/* val_moment brings a time into one form. */
static char *
val_moment(Oid type, char *text)
{
	TimestampTz at;

	/* days are plain but in OData 2 */
	if (type == DATEOID && strncmp(text, "/Date(", 6) != 0)
		return strlen(text) > 10 && text[10] == 'T' ? pnstrdup(text, 10) : text;
	if (strspn(text, "0123456789") < 4 && strncmp(text, "/Date(", 6) != 0)
		return text;
	if (!concord_remote_time(text, &at))
		return text;
	if (type == DATEOID)
		return pnstrdup(timestamptz_to_str(at), 10);
	return psprintf(INT64_FORMAT, (int64) at);
}

/* val_jsonb brings JSON into one form. */
static char *
val_jsonb(char *json)
{
	Jsonb	   *value = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));

	/* numbers by value: their hash is */
	return psprintf("{" UINT64_FORMAT,
					DatumGetUInt64(DirectFunctionCall2(jsonb_hash_extended,
													   JsonbPGetDatum(value), Int64GetDatum(7))));
}

/* val_plain brings a text into the form of a type. */
static char *
val_plain(Oid type, char *text)
{
	if (val_number(type))
		return val_numeric(text);
	if (val_time(type))
		return val_moment(type, text);
	return text;
}

/* val_ours gives ours, a text as the protocol has it, in one form. */
static char *
val_ours(Oid type, const char *text)
{
	ConcordValue value = {.typid = type,.typmod = -1,.text = unconstify(char *, text),
	.len = strlen(text)};
	StringInfoData buf;

	if (!val_json(type))
		return val_plain(type, concord_value_plain(&value));
	initStringInfo(&buf);
	concord_json_value(&buf, type, text, strlen(text), false);
	if (buf.data[0] == '{' || buf.data[0] == '[')
		return val_jsonb(concord_json_server(buf.data));
	return concord_value_plain(&value);
}

/* val_theirs gives theirs. */
static char *
val_theirs(Oid type, ConcordSlice slice)
{
	if (*slice.start == '{' || *slice.start == '[')
		return val_jsonb(concord_json_server(pnstrdup(slice.start, slice.len)));
	return val_plain(type, concord_inbound_member_text(slice));
}

/* concord_reconcile_ours hashes one of our values. */
uint64
concord_reconcile_ours(Oid type, const char *text)
{
	return text == NULL ? RCN_NULL : val_hash(val_ours(type, text), type);
}

/* concord_reconcile_theirs hashes one of theirs. */
uint64
concord_reconcile_theirs(Oid type, ConcordSlice slice)
{
	if (slice.start == NULL)
		return RCN_ABSENT;
	return *slice.start == 'n' ? RCN_NULL : val_hash(val_theirs(type, slice), type);
}

/* val_digits counts the digits of a time's seconds. */
static int
val_digits(const char *text)
{
	const char *point = strchr(text, '.');

	if (strncmp(text, "/Date(", 6) == 0)
		return 3;
	return point == NULL ? 0 : (int) Min(strspn(point + 1, "0123456789"), 6);
}

/* concord_reconcile_same compares values themselves. */
bool
concord_reconcile_same(Oid type, const char *text, ConcordSlice slice)
{
	static const int64 units[] = {1000000, 100000, 10000, 1000, 100, 10, 1};
	char	   *ours;
	char	   *theirs;
	TimestampTz a;
	TimestampTz b;

	if (slice.start == NULL)
		return true;
	if (text == NULL || *slice.start == 'n')
		return text == NULL && *slice.start == 'n';
	if (strcmp(val_ours(type, text), val_theirs(type, slice)) == 0)
		return true;
	if ((type != TIMESTAMPOID && type != TIMESTAMPTZOID) || *slice.start != '"')
		return false;
	/* a system may keep less of a time than we do */
	ours = val_ours(type, text);
	theirs = concord_inbound_member_text(slice);
	if (!concord_remote_time(theirs, &b) || strspn(ours, "-0123456789") != strlen(ours))
		return false;
	a = strtoll(ours, NULL, 10);
	return Abs(a - b) < units[val_digits(theirs)];
}

/* concord_reconcile_differ compares what stands for values. */
bool
concord_reconcile_differ(const Reconcile *reconcile, int field, uint64 ours, uint64 theirs)
{
	const RcnField *f = &reconcile->fields[field];

	if (theirs == RCN_BAD)
		return true;
	if (ours == RCN_ABSENT)
		return false;
	if (theirs == RCN_ABSENT)
	{
		/*
		 * what a record does not say leaves a column alone; of what we send
		 * it says that there is nothing, if others say something
		 */
		if (f->column >= 0 || !f->seen)
			return false;
		theirs = RCN_NULL;
	}
	return ours != theirs;
}

/* concord_reconcile_key_hash hashes a local key, its numbers by value. */
uint64
concord_reconcile_key_hash(Jsonb *key)
{
	return DatumGetUInt64(DirectFunctionCall2(jsonb_hash_extended, JsonbPGetDatum(key),
											  Int64GetDatum(1)));
}

/* concord_reconcile_identity says which halves belong together. */
void
concord_reconcile_identity(pg_uuid_t *identity, Jsonb *key, const char *id)
{
	for (int i = 0; i < 2; i++)
	{
		uint64		hash = key != NULL ?
			DatumGetUInt64(DirectFunctionCall2(jsonb_hash_extended, JsonbPGetDatum(key),
											   Int64GetDatum(11 + i))) :
			val_hash(id, 13 + i);

		memcpy(identity->data + i * sizeof(hash), &hash, sizeof(hash));
	}
}
