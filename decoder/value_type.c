/*-------------------------------------------------------------------------
 *
 * value_type.c
 *	  How the values of a type are written, found out once for a column.
 *
 * A domain is written as its base type; an array, a range or a composite by
 * what it consists of, down to types that are known here or have an output
 * function of their own.
 *
 * What is needed to know a type may be gone or never have been there: a
 * library that is not installed, a row of a catalog that somebody deleted.
 * Then the type is CONCORD_VALUE_FAILED, and an event says of its values that
 * they could not be encoded, instead of the stream ending there for good.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "value.h"

/* What the guarded part of concord_type_init() works on. */
typedef struct TypeCall
{
	ConcordType *type;
	Oid			typid;
	List	  **rowtypes;
} TypeCall;

/* Types that are written here whatever else is said of them. */
static const struct
{
	Oid			typid;
	ConcordValueKind kind;
}			known_types[] =

{
	{BOOLOID, CONCORD_VALUE_BOOL},
	{INT2OID, CONCORD_VALUE_INT2},
	{INT4OID, CONCORD_VALUE_INT4},
	{INT8OID, CONCORD_VALUE_INT8},
	{OIDOID, CONCORD_VALUE_OID},
	{FLOAT4OID, CONCORD_VALUE_FLOAT4},
	{FLOAT8OID, CONCORD_VALUE_FLOAT8},
	{NUMERICOID, CONCORD_VALUE_NUMERIC},
	{CASHOID, CONCORD_VALUE_MONEY},
	{TEXTOID, CONCORD_VALUE_TEXT},
	{VARCHAROID, CONCORD_VALUE_TEXT},
	{BPCHAROID, CONCORD_VALUE_TEXT},
	{NAMEOID, CONCORD_VALUE_NAME},
	{JSONOID, CONCORD_VALUE_JSON},
	{JSONBOID, CONCORD_VALUE_JSONB},
	{BYTEAOID, CONCORD_VALUE_BYTEA},
	{UUIDOID, CONCORD_VALUE_UUID},
	{DATEOID, CONCORD_VALUE_DATE},
	{TIMEOID, CONCORD_VALUE_TIME},
	{TIMESTAMPOID, CONCORD_VALUE_TIMESTAMP},
	{TIMESTAMPTZOID, CONCORD_VALUE_TIMESTAMPTZ},
	{REGPROCOID, CONCORD_VALUE_REG},
	{REGPROCEDUREOID, CONCORD_VALUE_REG},
	{REGOPEROID, CONCORD_VALUE_REG},
	{REGOPERATOROID, CONCORD_VALUE_REG},
	{REGCLASSOID, CONCORD_VALUE_REG},
	{REGCOLLATIONOID, CONCORD_VALUE_REG},
	{REGTYPEOID, CONCORD_VALUE_REG},
	{REGCONFIGOID, CONCORD_VALUE_REG},
	{REGDICTIONARYOID, CONCORD_VALUE_REG},
	/* arrays by their nature, but with a text of their own */
	{INT2VECTOROID, CONCORD_VALUE_OTHER},
	{OIDVECTOROID, CONCORD_VALUE_OTHER},
};

static void type_init_unguarded(TypeCall *call);

/* A type is written through its output function. */
static void
type_use_output(ConcordType *type)
{
	Oid			output;
	bool		isvarlena;

	getTypeOutputInfo(type->typid, &output, &isvarlena);
	type->guarded = output >= FirstGenbkiObjectId;
	type->output = palloc(sizeof(FmgrInfo));
	fmgr_info(output, type->output);

	/* such as citext */
	if (type->output->fn_addr == textout && type->typlen == -1)
		type->kind = CONCORD_VALUE_TEXT;
}

/* Learn a part of a type; a part that fails fails the whole. */
static ConcordType *
type_part(TypeCall *call, Oid typid)
{
	ConcordType *part = palloc0(sizeof(ConcordType));
	TypeCall	inner = {part, typid, call->rowtypes};

	type_init_unguarded(&inner);
	return part;
}

/* Lay out a column's name as it stands in an object. */
static void
type_json_name(ConcordAttribute *attribute, const char *name)
{
	StringInfoData buf;

	initStringInfo(&buf);
	concord_buf_putc(&buf, ',');
	concord_json_string(&buf, name, strlen(name));
	concord_buf_putc(&buf, ':');
	attribute->json_name = buf.data;
	attribute->json_name_len = buf.len;
}

/*
 * Learn a composite type.  Its relation is opened without a lock, as decoding
 * does with all relations, and noted: an invalidation of it is one of ours.
 */
static void
type_init_composite(TypeCall *call)
{
	ConcordType *type = call->type;
	Oid			relid = get_typ_typrelid(type->typid);
	Relation	relation = RelationIdGetRelation(relid);
	ConcordRowType *row;
	TupleDesc	desc;

	if (!RelationIsValid(relation))
		elog(ERROR, "could not open relation with OID %u", relid);
	desc = CreateTupleDescCopyConstr(RelationGetDescr(relation));
	RelationClose(relation);
	*call->rowtypes = lappend_oid(*call->rowtypes, relid);

	row = palloc0(offsetof(ConcordRowType, attributes) +
				  sizeof(ConcordAttribute) * desc->natts);
	row->desc = desc;
	row->values = palloc(sizeof(Datum) * Max(desc->natts, 1));
	row->nulls = palloc(sizeof(bool) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		TypeCall	inner = {&row->attributes[i].type, att->atttypid, call->rowtypes};

		row->attributes[i].dropped = att->attisdropped;
		if (att->attisdropped)
			continue;
		type_json_name(&row->attributes[i], NameStr(att->attname));
		type_init_unguarded(&inner);
	}
	type->kind = CONCORD_VALUE_COMPOSITE;
	type->row = row;
	type->output = palloc(sizeof(FmgrInfo));
	fmgr_info(F_RECORD_OUT, type->output);
}

/* Learn a type that has parts, or else one with an output function. */
static void
type_init_other(TypeCall *call)
{
	ConcordType *type = call->type;
	Oid			element = get_element_type(type->typid);

	if (OidIsValid(element))
	{
		type->kind = CONCORD_VALUE_ARRAY;
		type->element = type_part(call, element);
		return;
	}
	switch (get_typtype(type->typid))
	{
		case TYPTYPE_ENUM:
			type->kind = CONCORD_VALUE_ENUM;
			break;
		case TYPTYPE_COMPOSITE:
			type_init_composite(call);
			break;
		case TYPTYPE_RANGE:
			type->kind = CONCORD_VALUE_RANGE;
			type->cache = lookup_type_cache(type->typid, TYPECACHE_RANGE_INFO);
			if (type->cache->rngelemtype == NULL)
				elog(ERROR, "type %u is not a range type", type->typid);
			type->element = type_part(call, type->cache->rngelemtype->type_id);
			break;
		case TYPTYPE_MULTIRANGE:
			type->kind = CONCORD_VALUE_MULTIRANGE;
			type->element = type_part(call, get_multirange_range(type->typid));
			type->cache = type->element->cache;
			break;
		default:
			type_use_output(type);
			break;
	}
}

/* Learn a type; may raise. */
static void
type_init_unguarded(TypeCall *call)
{
	ConcordType *type = call->type;
	HeapTuple	tuple;
	Form_pg_type form;

	check_stack_depth();
	memset(type, 0, sizeof(ConcordType));
	type->typid = getBaseType(call->typid);
	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type->typid));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for type %u", type->typid);
	form = (Form_pg_type) GETSTRUCT(tuple);
	type->typlen = form->typlen;
	type->typbyval = form->typbyval;
	type->typalign = form->typalign;
	type->typdelim = form->typdelim;
	ReleaseSysCache(tuple);

	for (int i = 0; i < lengthof(known_types); i++)
	{
		if (known_types[i].typid == type->typid)
		{
			type->kind = known_types[i].kind;
			if (type->kind == CONCORD_VALUE_OTHER)
				type_use_output(type);
			return;
		}
	}
	type_init_other(call);
}

/* The same, to be called by concord_guard(). */
static void
type_init_call(void *arg)
{
	type_init_unguarded(arg);
}

/*
 * Learn how a type is written; what that needs is allocated in the current
 * context.  The relations of composite types are added to *rowtypes.
 */
void
concord_type_init(ConcordType *type, Oid typid, List **rowtypes)
{
	TypeCall	call = {type, typid, rowtypes};

	if (typid < FirstNormalObjectId)
		type_init_unguarded(&call);
	else if (!concord_guard(type_init_call, &call))
	{
		memset(type, 0, sizeof(ConcordType));
		type->kind = CONCORD_VALUE_FAILED;
		type->failure = palloc(sizeof(ConcordFailure));
		*type->failure = *concord_value_failure();
	}
}
