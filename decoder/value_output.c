/*-------------------------------------------------------------------------
 *
 * value_output.c
 *	  Text of values that output functions and catalogs know, and what is done
 *	  where there is none.
 *
 * Output functions look at settings, which are pinned around the call.  Those
 * that look at search_path (regclass and its kin) are not called at all: their
 * names are written here, with their schema.
 *
 * An ERROR while a value is encoded would come again each time the row is
 * decoded, and stop its reader for good.  So what may raise is called in a
 * subtransaction of its own: functions that are not core's, and core's where
 * the text may be larger than a gigabyte.  A failure leaves a note in the
 * buffer's cursor, and its reason here; see the head of row.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_ts_config.h"
#include "catalog/pg_ts_dict.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/float.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#include "value.h"

/*
 * A stored value up to this size has a text that can be made, if the function
 * is core's.
 */
#define GUARD_SIZE	8192

/* A call of an output function. */
typedef struct OutputCall
{
	ConcordType *type;
	Datum		value;
	char	   *text;
} OutputCall;

/* The zone that is shown: read at first use, the same for the process's life. */
static pg_tz *utc_zone = NULL;

/* Why the last value failed; read at once by who finds the note. */
static ConcordFailure last_failure;

/* Why has the last value failed? */
const ConcordFailure *
concord_value_failure(void)
{
	return &last_failure;
}

/* A value cannot be encoded. */
void
concord_value_fail(StringInfo buf, int sqlerrcode, const char *message)
{
	Size		len = strlen(message);

	if (len >= sizeof(last_failure.message))
		len = pg_mbcliplen(message, (int) len, sizeof(last_failure.message) - 1);
	last_failure.sqlerrcode = sqlerrcode;
	memmove(last_failure.message, message, len);
	last_failure.message[len] = '\0';
	if (buf)
		buf->cursor = CONCORD_CURSOR_FAILED;
}

/* Is an error one of the moment, or of the session, rather than of a value? */
static bool
out_is_transient(int sqlerrcode)
{
	int			category = ERRCODE_TO_CATEGORY(sqlerrcode);

	return category == ERRCODE_TO_CATEGORY(ERRCODE_OPERATOR_INTERVENTION) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_INSUFFICIENT_RESOURCES) ||
		category == ERRCODE_TO_CATEGORY(ERRCODE_TRANSACTION_ROLLBACK);
}

/*
 * Call something that may raise.  Returns false where it did; why is kept for
 * concord_value_failure().
 */
bool
concord_guard(void (*call) (void *), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool passed = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		call(arg);
		ReleaseCurrentSubTransaction();
		passed = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();

		/* also where the error goes on: core ends one transaction, not two */
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (out_is_transient(error->sqlerrcode))
			ReThrowError(error);
		concord_value_fail(NULL, error->sqlerrcode,
						   error->message ? error->message : "");
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return passed;
}

/* Call a type's output function with the settings pinned that it may look at. */
static void
out_call(void *arg)
{
	OutputCall *call = arg;
	int			save_datestyle = DateStyle;
	int			save_intervalstyle = IntervalStyle;
	int			save_extra_float_digits = extra_float_digits;
	int			save_bytea_output = bytea_output;
	pg_tz	   *save_zone = session_timezone;

	if (utc_zone == NULL)
		utc_zone = pg_tzset("UTC");

	PG_TRY();
	{
		DateStyle = USE_ISO_DATES;
		IntervalStyle = INTSTYLE_POSTGRES;
		extra_float_digits = 1;
		bytea_output = BYTEA_OUTPUT_HEX;
		session_timezone = utc_zone;
		call->text = OutputFunctionCall(call->type->output, call->value);
	}
	PG_FINALLY();
	{
		DateStyle = save_datestyle;
		IntervalStyle = save_intervalstyle;
		extra_float_digits = save_extra_float_digits;
		bytea_output = save_bytea_output;
		session_timezone = save_zone;
	}
	PG_END_TRY();
}

/* Was the last failure that of a text too long for a palloc? */
static bool
out_was_too_large(void)
{
	return last_failure.sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED ||
		strncmp(last_failure.message, "invalid memory alloc request size", 33) == 0;
}

/*
 * Give the text that a type's output function makes of a value, to be appended
 * to buf; NULL where there is none or it does not fit.
 */
char *
concord_value_output(StringInfo buf, ConcordType *type, Datum value)
{
	OutputCall	call = {type, value, NULL};
	bool		large = type->typlen == -1 &&
		concord_value_too_large(value, GUARD_SIZE);

	if (likely(!type->guarded && !large && type->kind == CONCORD_VALUE_OTHER))
		out_call(&call);
	else if (!concord_guard(out_call, &call))
	{
		if (large && out_was_too_large())
			(void) concord_buf_fits(buf, MaxAllocHugeSize);
		else
			buf->cursor = CONCORD_CURSOR_FAILED;
		return NULL;
	}
	if (concord_buf_fits(buf, strlen(call.text)))
		return call.text;
	pfree(call.text);
	return NULL;
}

/* Append the label of a value of an enum. */
void
concord_value_enum(StringInfo buf, Datum value)
{
	HeapTuple	tuple = SearchSysCache1(ENUMOID, value);
	const char *label;

	if (unlikely(!HeapTupleIsValid(tuple)))
	{
		char		message[64];

		snprintf(message, sizeof(message), "invalid internal value for enum: %u",
				 DatumGetObjectId(value));
		concord_value_fail(buf, ERRCODE_INVALID_BINARY_REPRESENTATION, message);
		return;
	}
	label = NameStr(((Form_pg_enum) GETSTRUCT(tuple))->enumlabel);
	concord_buf_append(buf, label, strlen(label));
	ReleaseSysCache(tuple);
}

/* Name an object of a catalog by its schema and its name; NULL if it is gone. */
static char *
out_object_name(int cache, Oid oid, AttrNumber name, AttrNumber namespace,
				bool is_operator)
{
	HeapTuple	tuple = SearchSysCache1(cache, ObjectIdGetDatum(oid));
	char	   *schema;
	char	   *object;
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	object = NameStr(*DatumGetName(SysCacheGetAttr(cache, tuple, name, &isnull)));
	schema = get_namespace_name(DatumGetObjectId(SysCacheGetAttr(cache, tuple,
																 namespace, &isnull)));
	if (schema == NULL)
		object = NULL;
	else if (is_operator)
		object = psprintf("%s.%s", quote_identifier(schema), object);
	else
		object = quote_qualified_identifier(schema, object);
	ReleaseSysCache(tuple);
	return object;
}

/* Name the object that a value of a type such as regclass stands for. */
static char *
out_reg_name(Oid typid, Oid oid)
{
	char	   *schema;
	char	   *name;

	switch (typid)
	{
		case REGCLASSOID:
			name = get_rel_name(oid);
			schema = name ? get_namespace_name(get_rel_namespace(oid)) : NULL;
			return schema ? quote_qualified_identifier(schema, name) : NULL;
		case REGPROCOID:
			name = get_func_name(oid);
			schema = name ? get_namespace_name(get_func_namespace(oid)) : NULL;
			return schema ? quote_qualified_identifier(schema, name) : NULL;
		case REGTYPEOID:
			return format_type_extended(oid, -1, FORMAT_TYPE_FORCE_QUALIFY |
										FORMAT_TYPE_INVALID_AS_NULL);
		case REGPROCEDUREOID:
			return format_procedure_qualified(oid);
		case REGOPERATOROID:
			return format_operator_qualified(oid);
		case REGOPEROID:
			return out_object_name(OPEROID, oid, Anum_pg_operator_oprname,
								   Anum_pg_operator_oprnamespace, true);
		case REGCOLLATIONOID:
			return out_object_name(COLLOID, oid, Anum_pg_collation_collname,
								   Anum_pg_collation_collnamespace, false);
		case REGCONFIGOID:
			return out_object_name(TSCONFIGOID, oid, Anum_pg_ts_config_cfgname,
								   Anum_pg_ts_config_cfgnamespace, false);
		case REGDICTIONARYOID:
			return out_object_name(TSDICTOID, oid, Anum_pg_ts_dict_dictname,
								   Anum_pg_ts_dict_dictnamespace, false);
		default:
			elog(ERROR, "unexpected type %u", typid);
	}
	return NULL;
}

/*
 * Append the name of an object of the catalog, with its schema whatever
 * search_path is; its number where there is no such object.
 */
void
concord_value_reg(StringInfo buf, ConcordType *type, Datum value)
{
	Oid			oid = DatumGetObjectId(value);
	char	   *name;

	if (!OidIsValid(oid))
	{
		bool		is_operator = type->typid == REGOPEROID ||
			type->typid == REGOPERATOROID;

		concord_buf_putc(buf, is_operator ? '0' : '-');
		return;
	}
	name = out_reg_name(type->typid, oid);
	if (name == NULL)
	{
		char	   *p = concord_buf_reserve(buf, 16);

		concord_buf_advance(buf, p + pg_ultoa_n(oid, p));
		return;
	}
	concord_buf_append(buf, name, strlen(name));
	pfree(name);
}
