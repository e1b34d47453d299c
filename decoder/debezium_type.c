/*-------------------------------------------------------------------------
 *
 * debezium_type.c
 *	  Which form a column's values have in format debezium.
 *
 * The forms are those of Debezium's connector for PostgreSQL with its default
 * settings, where options do not choose another one: time.precision.mode is
 * adaptive, hstore.handling.mode is json.  A type that the connector leaves
 * out is its text here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/lsyscache.h"

#include "debezium.h"

/* Digits of fractions of a second that a type without a modifier has. */
#define FULL_PRECISION	6

/* Types of a form that no modifier changes. */
static const struct
{
	Oid			typid;
	DbzKind		kind;
}			plain_types[] =

{
	{BOOLOID, DBZ_BOOLEAN},
	{INT2OID, DBZ_INT16},
	{INT4OID, DBZ_INT32},
	{INT8OID, DBZ_INT64},
	{OIDOID, DBZ_INT64},
	{FLOAT4OID, DBZ_FLOAT32},
	{FLOAT8OID, DBZ_FLOAT64},
	{CASHOID, DBZ_MONEY},
	{BYTEAOID, DBZ_BYTES},
	{JSONOID, DBZ_JSON},
	{JSONBOID, DBZ_JSON},
	{UUIDOID, DBZ_UUID},
	{XMLOID, DBZ_XML},
	{DATEOID, DBZ_DATE},
	{TIMETZOID, DBZ_ZONED_TIME},
	{INTERVALOID, DBZ_INTERVAL},
	{POINTOID, DBZ_POINT},
};

/* Settle a numeric, whose modifier has precision and scale. */
static void
dt_numeric(DbzType *type, int32 typmod)
{
	if (typmod < (int32) VARHDRSZ)
	{
		type->kind = DBZ_VARIABLE_DECIMAL;
		return;
	}
	typmod -= VARHDRSZ;
	type->kind = DBZ_DECIMAL;
	type->length = (typmod >> 16) & 0xFFFF;
	/* eleven bits with a sign */
	type->scale = ((typmod & 0x7FF) ^ 1024) - 1024;
}

/* Settle a type whose modifier says something; false where it is no such one. */
static bool
dt_modified(DbzType *type, int32 typmod)
{
	switch (type->typid)
	{
		case NUMERICOID:
			dt_numeric(type, typmod);
			return true;
		case TIMEOID:
			type->scale = typmod < 0 ? FULL_PRECISION : typmod;
			type->kind = type->scale <= 3 ? DBZ_TIME : DBZ_MICRO_TIME;
			return true;
		case TIMESTAMPOID:
			type->scale = typmod < 0 ? FULL_PRECISION : typmod;
			type->kind = type->scale <= 3 ? DBZ_TIMESTAMP : DBZ_MICRO_TIMESTAMP;
			return true;
		case TIMESTAMPTZOID:
			type->scale = typmod < 0 ? FULL_PRECISION : typmod;
			type->kind = DBZ_ZONED_TIMESTAMP;
			return true;
		case BITOID:
		case VARBITOID:
			type->length = typmod > 0 ? typmod : INT_MAX;
			type->kind = type->length == 1 ? DBZ_BIT : DBZ_BITS;
			return true;
		default:
			return false;
	}
}

/*
 * Find the form of a type of an extension.  Its OID and its schema are
 * anybody's guess: it is known by its output function.
 */
static void
dt_extension(DbzType *type)
{
	static const struct
	{
		const char *output;
		DbzKind		kind;
	}			types[] =

	{
		{"hstore_out", DBZ_HSTORE},
		{"geometry_out", DBZ_GEOMETRY},
		{"geography_out", DBZ_GEOGRAPHY},
	};
	Oid			output;
	bool		isvarlena;
	char	   *name;

	if (get_typtype(type->typid) != TYPTYPE_BASE)
		return;
	getTypeOutputInfo(type->typid, &output, &isvarlena);
	name = get_func_name(output);
	for (int i = 0; name != NULL && i < lengthof(types); i++)
	{
		if (strcmp(name, types[i].output) == 0)
			type->kind = types[i].kind;
	}
}

/*
 * Learn the form of a type's values; what that needs is allocated in the
 * current context.  A domain has the form of its base type, whose modifier
 * is then the domain's.
 */
void
concord_debezium_type(DbzType *type, Oid typid, int32 typmod)
{
	Oid			element;
	List	   *rowtypes = NIL; /* the column's type has told of them */

	memset(type, 0, sizeof(DbzType));
	type->typid = getBaseTypeAndTypmod(typid, &typmod);
	concord_type_init(&type->value, type->typid, &rowtypes);
	type->kind = DBZ_STRING;
	if (type->value.kind == CONCORD_VALUE_FAILED)
		return;

	for (int i = 0; i < lengthof(plain_types); i++)
	{
		if (plain_types[i].typid == type->typid)
		{
			type->kind = plain_types[i].kind;
			return;
		}
	}
	if (dt_modified(type, typmod))
		return;

	element = get_element_type(type->typid);
	if (OidIsValid(element))
	{
		type->kind = DBZ_ARRAY;
		type->element = palloc(sizeof(DbzType));
		concord_debezium_type(type->element, element, typmod);
	}
	else if (type_is_enum(type->typid))
		type->kind = DBZ_ENUM;
	else
		dt_extension(type);
}
