/*-------------------------------------------------------------------------
 *
 * owner.c
 *	  set_owner, and owners that a mapping's fields name.
 *
 * An owner is stated in one of two places: by concord.set_owner(), for a table,
 * or by a field of a mapping, which is short for it and lasts as long as the
 * field says so.  Two statements about one column must agree; whoever makes the
 * second is told of the first.
 *
 * Writers of the table are waited for, so that a transaction is either before a
 * change of ownership or after it.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/define.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/captured.h"
#include "catalog/history.h"
#include "catalog/mapping_definition.h"
#include "catalog/ownership.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(concord_set_owner);

/* An owner as it is stated. */
typedef struct OwnStatement
{
	const char *name;			/* local, shared, or a server's */
	Oid			serverid;		/* of a server */
	bool		local;
	bool		shared;
	ConcordPolicy policy;
	ConcordLocalWrite on_local_write;
} OwnStatement;

/* own_servers lists names of owners that there could be, for a hint. */
static List *
own_servers(void)
{
	List	   *names = list_make2(pstrdup(CONCORD_OWNER_LOCAL),
								   pstrdup(CONCORD_OWNER_SHARED));
	Relation	rel = table_open(ForeignServerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
		names = lappend(names,
						pstrdup(NameStr(((Form_pg_foreign_server) GETSTRUCT(tuple))->srvname)));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return names;
}

/* own_closest finds the name in a list that a mistyped one may stand for. */
static const char *
own_closest(const char *name, List *names)
{
	const char **candidates = palloc(sizeof(char *) * (list_length(names) + 1));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, names)
		candidates[n++] = lfirst(lc);
	return concord_definition_closest(name, candidates, n);
}

/* own_server returns the server that an owner is, or raises. */
static Oid
own_server(const char *name)
{
	if (get_foreign_server_oid(name, true) == InvalidOid)
	{
		const char *closest = own_closest(name, own_servers());

		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" does not exist", name),
				 errdetail("An owner is a foreign server, \"local\" or \"shared\"."),
				 closest != NULL ?
				 errhint("Perhaps you meant \"%s\".", closest) :
				 errhint("Use CREATE SERVER ... FOREIGN DATA WRAPPER concord first.")));
	}
	return concord_source_server(name, GetUserId());
}

/* own_state reads an owner's name and policy, or raises. */
static void
own_state(OwnStatement *statement, const char *owner, ConcordPolicy policy)
{
	statement->name = owner;
	statement->policy = policy;
	statement->local = strcmp(owner, CONCORD_OWNER_LOCAL) == 0;
	statement->shared = strcmp(owner, CONCORD_OWNER_SHARED) == 0;
	if (!statement->local && !statement->shared)
		statement->serverid = own_server(owner);
	if (statement->shared && policy == CONCORD_POLICY_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("owner \"%s\" needs a policy", owner),
				 errhint("Say what holds where both sides change a column: %s.",
						 "newest, additive, manual, local or remote")));
	if (!statement->shared && policy != CONCORD_POLICY_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("policy \"%s\" contradicts owner \"%s\"",
						concord_definition_policy_name(policy), owner),
				 errdetail("A column with one owner has no conflicts to decide."),
				 errhint("Use owner \"shared\", or leave the policy out.")));
}

/* own_undefined raises for a column that a table does not have. */
static void
own_undefined(Oid relid, const char *column)
{
	List	   *names = NIL;
	const char *closest;
	Relation	rel = table_open(relid, AccessShareLock);

	for (int i = 0; i < RelationGetDescr(rel)->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

		if (!att->attisdropped)
			names = lappend(names, pstrdup(NameStr(att->attname)));
	}
	table_close(rel, AccessShareLock);
	closest = own_closest(column, names);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of table \"%s\" does not exist",
					column, get_rel_name(relid)),
			 closest != NULL ?
			 errhint("Perhaps you meant the column \"%s\".", closest) : 0));
}

/* own_is_number says whether differences of a type can be added. */
static bool
own_is_number(Oid type)
{
	switch (getBaseType(type))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
		case CASHOID:
			return true;
	}
	return false;
}

/*
 * own_default refuses to guard a column whose default is another value for each
 * row: an insert that gives no value could not be told from one that does.
 */
static void
own_default(Oid relid, Form_pg_attribute form, const OwnStatement *statement)
{
	Relation	rel;
	Node	   *node;

	if (statement->shared || statement->on_local_write == CONCORD_LOCAL_OFF ||
		(!form->atthasdef && form->attidentity == '\0'))
		return;
	rel = table_open(relid, AccessShareLock);
	node = build_column_default(rel, form->attnum);
	if (node != NULL && contain_volatile_functions(node))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("column \"%s\" of table \"%s\" cannot be owned by \"%s\"",
						NameStr(form->attname), get_rel_name(relid),
						statement->name),
				 errdetail("Its default makes a value of its own for each row here."),
				 errhint("Drop the default, or use on_local_write => 'off'.")));
	table_close(rel, AccessShareLock);
}

/*
 * own_column returns the number of a column that may have an owner, or raises.
 * What a row is known by cannot: it is what ties it to its record.
 */
static AttrNumber
own_column(Oid relid, const char *column, List *local_key,
		   const OwnStatement *statement)
{
	HeapTuple	tuple = SearchSysCacheAttName(relid, column);
	Form_pg_attribute form;
	AttrNumber	attnum;
	ListCell   *lc;

	if (!HeapTupleIsValid(tuple))
		own_undefined(relid, column);
	form = (Form_pg_attribute) GETSTRUCT(tuple);
	attnum = form->attnum;
	if (attnum < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("column \"%s\" is a system column", column)));
	if (statement->local)
	{
		ReleaseSysCache(tuple);
		return attnum;
	}
	if (form->attgenerated != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_GENERATED_ALWAYS),
				 errmsg("column \"%s\" of table \"%s\" cannot be owned by \"%s\"",
						column, get_rel_name(relid), statement->name),
				 errdetail("It is a generated column: its value follows from other columns."),
				 errhint("Set the owner of the columns that it is made of.")));
	foreach(lc, local_key)
	{
		if (strcmp(lfirst(lc), column) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
					 errmsg("column \"%s\" of table \"%s\" cannot be owned by \"%s\"",
							column, get_rel_name(relid), statement->name),
					 errdetail("It is part of the table's key, by which a row and its record are known to each other."),
					 errhint("Rows that a system makes get their key from it anyway; set the owner of the other columns.")));
	}
	own_default(relid, form, statement);
	if (statement->policy == CONCORD_POLICY_ADDITIVE &&
		!own_is_number(form->atttypid))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("policy \"%s\" does not fit column \"%s\" of type %s",
						"additive", column, format_type_be(form->atttypid)),
				 errdetail("Both sides' differences are added, which only numbers have.")));
	ReleaseSysCache(tuple);
	return attnum;
}

/* own_key lists the columns of a table's key. */
static List *
own_key(Oid relid)
{
	ConcordMapping table = {0};

	table.source = relid;
	(void) concord_mapping_source_key(&table, CurrentMemoryContext);
	return table.local_key;
}

/* own_execute runs a command of ours for a column. */
static void
own_execute(const char *command, Oid relid, const char *column,
			const OwnStatement *statement, AttrNumber attnum, int32 mapping)
{
	Oid			types[] = {OIDOID, NAMEOID, NAMEOID, TEXTOID, TEXTOID, INT4OID,
	INT2OID, OIDOID, NAMEOID};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types) + 1] = "         ";
	const char *policy = concord_definition_policy_name(statement->policy);
	ConcordCatalogScope scope;

	values[0] = ObjectIdGetDatum(relid);
	values[1] = DirectFunctionCall1(namein, CStringGetDatum(column));
	values[2] = DirectFunctionCall1(namein, CStringGetDatum(statement->name));
	values[3] = policy != NULL ? CStringGetTextDatum(policy) : (Datum) 0;
	nulls[3] = policy != NULL ? ' ' : 'n';
	values[4] = CStringGetTextDatum(concord_local_write_name(statement->on_local_write));
	values[5] = Int32GetDatum(mapping);
	nulls[5] = mapping != 0 ? ' ' : 'n';
	values[6] = Int16GetDatum(attnum);
	values[7] = ObjectIdGetDatum(statement->serverid);
	nulls[7] = OidIsValid(statement->serverid) ? ' ' : 'n';
	values[8] = DirectFunctionCall1(namein,
									CStringGetDatum(GetUserNameFromId(GetUserId(), false)));
	concord_catalog_enter(&scope);
	if (SPI_execute_with_args(command, lengthof(types), types, values, nulls,
							  false, 0) < 0)
		elog(ERROR, "could not change concord.ownership_item");
	concord_catalog_leave(&scope);
}

#define OWN_PARAMETERS \
	"WITH p AS (SELECT $1::oid AS source, $2::name AS column_name, $3::name AS owner," \
	" $4::text AS policy, $5::text AS on_local_write, $6::int AS mapping," \
	" $7::int2 AS attnum, $8::oid AS ownerid, $9::name AS set_by) "

/* own_store writes, or removes, the row of one column. */
static void
own_store(Oid relid, const char *column, AttrNumber attnum,
		  const OwnStatement *statement, int32 mapping)
{
	if (statement->local)
		own_execute(OWN_PARAMETERS
					"DELETE FROM concord.ownership_item i USING p"
					" WHERE i.source = p.source AND i.column_name = p.column_name",
					relid, column, statement, attnum, mapping);
	else
		own_execute(OWN_PARAMETERS
					"INSERT INTO concord.ownership_item (source, column_name, owner,"
					" policy, on_local_write, mapping, attnum, ownerid, set_by)"
					" SELECT p.source, p.column_name, p.owner, p.policy,"
					" p.on_local_write, p.mapping, p.attnum, p.ownerid, p.set_by FROM p"
					" ON CONFLICT (source, column_name) DO UPDATE"
					" SET owner = excluded.owner, policy = excluded.policy,"
					" on_local_write = excluded.on_local_write,"
					" mapping = excluded.mapping, attnum = excluded.attnum,"
					" ownerid = excluded.ownerid, home = concord.home(),"
					" set_by = excluded.set_by, set_at = pg_catalog.now()",
					relid, column, statement, attnum, mapping);
}

/* own_same says whether a field states the same as a statement. */
static bool
own_same(const ConcordField *field, const OwnStatement *statement)
{
	return strcmp(field->owner_name, statement->name) == 0 &&
		field->policy_given == statement->policy;
}

/* own_words writes an owner with its policy, for messages. */
static char *
own_words(const char *owner, ConcordPolicy policy)
{
	if (policy == CONCORD_POLICY_NONE)
		return psprintf("owner \"%s\"", owner);
	return psprintf("owner \"%s\" with policy \"%s\"", owner,
					concord_definition_policy_name(policy));
}

/*
 * own_field finds a field of another mapping of the table than one that names
 * an owner of a column; *of is its mapping.
 */
static const ConcordField *
own_field(List *mappings, Oid relid, const char *column, int32 but,
		  const ConcordMapping **of)
{
	ListCell   *lc;
	ListCell   *lf;

	foreach(lc, mappings)
	{
		const ConcordMapping *mapping = lfirst(lc);

		if (mapping->source != relid || mapping->id == but)
			continue;
		foreach(lf, mapping->fields)
		{
			const ConcordField *field = lfirst(lf);

			if (field->owner_name == NULL || field->column == NULL ||
				strcmp(field->column, column) != 0)
				continue;
			*of = mapping;
			return field;
		}
	}
	return NULL;
}

/* own_agree raises where a mapping's field contradicts set_owner(). */
static void
own_agree(List *mappings, Oid relid, const char *column,
		  const OwnStatement *statement)
{
	const ConcordMapping *of;
	const ConcordField *field = own_field(mappings, relid, column, 0, &of);

	if (field == NULL || own_same(field, statement))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("%s of column \"%s\" contradicts mapping \"%s\"",
					own_words(statement->name, statement->policy), column,
					of->name),
			 errdetail("Its field \"%s\" says %s.", field->name,
					   own_words(field->owner_name, field->policy_given)),
			 errhint("Change the field first: concord.alter_mapping('%s', fields => '{\"%s\": {\"owner\": null, \"policy\": null}}').",
					 of->name, field->name)));
}

/* own_local_write reads argument on_local_write. */
static ConcordLocalWrite
own_local_write(const char *text)
{
	static const char *const words[] = {"refuse", "report", "off"};

	for (int i = 0; i < lengthof(words); i++)
	{
		if (strcmp(text, words[i]) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value \"%s\" for argument \"%s\"", text,
					"on_local_write"),
			 errhint("%s", concord_definition_hint(text, words, lengthof(words)))));
	return CONCORD_LOCAL_REFUSE;	/* keep compiler quiet */
}

/* own_columns reads argument columns: names, none of them twice. */
static List *
own_columns(ArrayType *array)
{
	Datum	   *elements;
	bool	   *nulls;
	int			n;
	List	   *columns = NIL;
	ListCell   *lc;

	deconstruct_array(array, NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR,
					  &elements, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		char	   *name;

		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not contain nulls", "columns")));
		name = pstrdup(NameStr(*DatumGetName(elements[i])));
		foreach(lc, columns)
		{
			if (strcmp(lfirst(lc), name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_DUPLICATE_COLUMN),
						 errmsg("column \"%s\" is given twice", name)));
		}
		columns = lappend(columns, name);
	}
	if (columns == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must name at least one column", "columns")));
	return columns;
}

/* concord_set_owner is concord.set_owner(). */
Datum
concord_set_owner(PG_FUNCTION_ARGS)
{
	static const char *const arguments[] = {"source", "columns", "owner"};
	OwnStatement statement = {0};
	ConcordPolicy policy = CONCORD_POLICY_NONE;
	Oid			relid;
	List	   *columns;
	List	   *local_key;
	List	   *mappings;
	ListCell   *lc;

	for (int i = 0; i < lengthof(arguments); i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not be null", arguments[i])));
	}
	relid = PG_GETARG_OID(0);
	columns = own_columns(PG_GETARG_ARRAYTYPE_P(1));
	concord_source_check(relid, GetUserId());
	if (!PG_ARGISNULL(3))
		policy = concord_definition_policy(text_to_cstring(PG_GETARG_TEXT_PP(3)));
	own_state(&statement, pstrdup(NameStr(*PG_GETARG_NAME(2))), policy);
	if (!PG_ARGISNULL(4))
		statement.on_local_write = own_local_write(text_to_cstring(PG_GETARG_TEXT_PP(4)));

	concord_captured_lock(relid);
	concord_source_check(relid, GetUserId());
	local_key = own_key(relid);
	mappings = concord_mapping_load(CurrentMemoryContext);
	foreach(lc, columns)
	{
		const char *column = lfirst(lc);
		AttrNumber	attnum = own_column(relid, column, local_key, &statement);

		own_agree(mappings, relid, column, &statement);
		own_store(relid, column, attnum, &statement, 0);
		concord_history_add("set_owner", NULL,
							OidIsValid(statement.serverid) ? statement.name : NULL,
							psprintf("%s.%s: %s",
									 quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
																get_rel_name(relid)),
									 quote_identifier(column),
									 own_words(statement.name, policy)),
							-1);
	}
	concord_ownership_guard_table(relid);
	PG_RETURN_VOID();
}

/* own_twice raises where two fields of a mapping contradict each other. */
static void
own_twice(const ConcordMapping *mapping, const ConcordField *field)
{
	ListCell   *lc;

	foreach(lc, mapping->fields)
	{
		const ConcordField *other = lfirst(lc);

		if (other == field)
			return;
		if (other->owner_name != NULL &&
			strcmp(other->column, field->column) == 0 &&
			(strcmp(other->owner_name, field->owner_name) != 0 ||
			 other->policy_given != field->policy_given))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("fields \"%s\" and \"%s\" name different owners of column \"%s\"",
							other->name, field->name, field->column),
					 errdetail("%s says %s, %s says %s.", other->name,
							   own_words(other->owner_name, other->policy_given),
							   field->name,
							   own_words(field->owner_name, field->policy_given))));
	}
}

/*
 * own_field_agrees raises where a field names another owner than set_owner() or
 * a field of another mapping has.
 */
static void
own_field_agrees(const ConcordMapping *mapping, const ConcordField *field,
				 List *mappings)
{
	AttrNumber	attnum = get_attnum(mapping->source, field->column);
	const ConcordOwned *owned = concord_ownership_column(mapping->source, attnum);
	const ConcordMapping *of;
	const ConcordField *other;

	other = own_field(mappings, mapping->source, field->column, mapping->id, &of);
	if (other != NULL &&
		(strcmp(other->owner_name, field->owner_name) != 0 ||
		 other->policy_given != field->policy_given))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("field \"%s\" of mapping \"%s\" contradicts field \"%s\" of mapping \"%s\"",
						field->name, mapping->name, other->name, of->name),
				 errdetail("The first names %s of column \"%s\", the second %s.",
						   own_words(field->owner_name, field->policy_given),
						   field->column,
						   own_words(other->owner_name, other->policy_given)),
				 errhint("A column has one owner, or is shared under one policy.")));
	if (owned == NULL || owned->mapping != 0 ||
		(strcmp(NameStr(owned->owner_name), field->owner_name) == 0 &&
		 owned->policy == field->policy_given))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("%s of field \"%s\" contradicts concord.set_owner()",
					own_words(field->owner_name, field->policy_given),
					field->name),
			 errdetail("Column \"%s\" of table \"%s\" has %s.",
					   field->column, get_rel_name(mapping->source),
					   own_words(NameStr(owned->owner_name), owned->policy)),
			 errhint("Leave the owner out of the field, or use concord.set_owner() first.")));
}

/* own_take sets what a field states as who owns it. */
static void
own_take(const ConcordMapping *mapping, ConcordField *field,
		 const OwnStatement *statement)
{
	field->owner = statement->serverid;
	field->shared = statement->shared;
	field->policy = statement->policy;
	field->pushed = concord_ownership_pushed(mapping, field, mapping->serverid);
	field->pulled = field->shared ||
		(OidIsValid(field->owner) && field->owner == mapping->serverid);
}

/* own_bind checks the column that a field is bound to. */
static void
own_bind(const ConcordMapping *mapping, ConcordField *field)
{
	if (field->column == NULL ||
		(mapping->topic == NULL &&
		 get_attnum(mapping->source, field->column) > 0))
		return;
	if (mapping->topic == NULL &&
		(field->column_given || field->owner_name != NULL ||
		 field->apply != NULL))
		own_undefined(mapping->source, field->column);
	if (mapping->topic != NULL &&
		(field->apply != NULL || field->column_given ||
		 (field->owner_name != NULL &&
		  strcmp(field->owner_name, CONCORD_OWNER_LOCAL) != 0)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("field \"%s\" of topic mapping \"%s\" cannot be bound to a column",
						field->name, mapping->name),
				 errdetail("A topic has no table that a system's values could go into.")));
	field->column = NULL;		/* another name that an expression can be */
}

/* own_topic refuses options of the way back where there is no way back. */
static void
own_topic(const ConcordMapping *mapping)
{
	const ConcordMappingOptions *options = &mapping->options;

	if (mapping->topic != NULL &&
		(options->pull != NULL || options->receive != NULL ||
		 options->match != NIL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mapping option \"%s\" cannot be used with a topic",
						options->pull != NULL ? "pull" :
						options->receive != NULL ? "receive" : "match"),
				 errdetail("A topic has no table that records could go into.")));
}

/* concord_owner_check checks owners that fields name, and sets directions. */
void
concord_owner_check(ConcordMapping *mapping)
{
	List	   *mappings = NIL;
	List	   *local_key = NIL;
	bool		stated = false;
	ListCell   *lc;

	own_topic(mapping);
	foreach(lc, mapping->fields)
	{
		own_bind(mapping, lfirst(lc));
		stated |= ((ConcordField *) lfirst(lc))->owner_name != NULL;
	}
	concord_ownership_resolve(mapping);
	if (!stated || mapping->topic != NULL)
		return;
	mappings = concord_mapping_load(CurrentMemoryContext);
	local_key = own_key(mapping->source);
	foreach(lc, mapping->fields)
	{
		ConcordField *field = lfirst(lc);
		OwnStatement statement = {0};

		if (field->owner_name == NULL || field->column == NULL)
			continue;
		own_state(&statement, field->owner_name, field->policy_given);
		(void) own_column(mapping->source, field->column, local_key, &statement);
		own_twice(mapping, field);
		own_field_agrees(mapping, field, mappings);
		own_take(mapping, field, &statement);
		mapping->pulls |= field->pulled;
	}
}

/* own_stated says whether a mapping has a field that names a column's owner. */
static bool
own_stated(const ConcordMapping *mapping, const char *column)
{
	ListCell   *lc;

	foreach(lc, mapping->fields)
	{
		const ConcordField *field = lfirst(lc);

		if (field->owner_name != NULL && field->column != NULL &&
			strcmp(field->column, column) == 0)
			return true;
	}
	return false;
}

/* own_begin locks the table before the first change of its ownership. */
static void
own_begin(const ConcordMapping *mapping, bool *changed)
{
	if (!*changed)
		concord_captured_lock(mapping->source);
	*changed = true;
}

/*
 * own_leave ends what only a mapping has stated, unless another states it too.
 */
static void
own_leave(const ConcordMapping *mapping, const ConcordOwned *owned,
		  List *mappings)
{
	OwnStatement statement = {0};
	const ConcordMapping *of = NULL;

	statement.name = NameStr(owned->owner_name);
	statement.shared = owned->shared;
	statement.policy = owned->policy;
	statement.serverid = owned->owner;
	statement.on_local_write = owned->on_local_write;
	statement.local = own_field(mappings, mapping->source,
								NameStr(owned->column), mapping->id, &of) == NULL;
	own_store(mapping->source, NameStr(owned->column), owned->attnum,
			  &statement, statement.local ? 0 : of->id);
}

/* own_copies copies a cached list, which the next change makes invalid. */
static List *
own_copies(List *list)
{
	List	   *copies = NIL;
	ListCell   *lc;

	foreach(lc, list)
	{
		ConcordOwned *copy = palloc(sizeof(ConcordOwned));

		*copy = *(ConcordOwned *) lfirst(lc);
		copies = lappend(copies, copy);
	}
	return copies;
}

/*
 * concord_owner_store writes the owners that a mapping's fields name, and ends
 * those that they do not name any more; gone says that the mapping is dropped.
 */
void
concord_owner_store(const ConcordMapping *mapping, bool gone)
{
	List	   *owned;
	List	   *mappings = NIL;
	bool		changed = false;
	ListCell   *lc;

	if (!OidIsValid(mapping->source))
		return;
	owned = own_copies(concord_ownership(mapping->source));
	foreach(lc, owned)
	{
		const ConcordOwned *item = lfirst(lc);

		if (item->mapping != mapping->id ||
			(!gone && own_stated(mapping, NameStr(item->column))))
			continue;
		if (mappings == NIL)
			mappings = concord_mapping_load(CurrentMemoryContext);
		own_begin(mapping, &changed);
		own_leave(mapping, item, mappings);
	}
	foreach(lc, mapping->fields)
	{
		const ConcordField *field = lfirst(lc);
		OwnStatement statement = {0};
		const ConcordOwned *now;
		AttrNumber	attnum;

		if (gone || field->owner_name == NULL || field->column == NULL)
			continue;
		attnum = get_attnum(mapping->source, field->column);
		now = concord_ownership_column(mapping->source, attnum);
		if (now != NULL && now->mapping == 0)
			continue;			/* set_owner() says the same */
		if (now != NULL && now->mapping == mapping->id &&
			strcmp(NameStr(now->owner_name), field->owner_name) == 0 &&
			now->policy == field->policy_given)
			continue;
		own_state(&statement, field->owner_name, field->policy_given);
		if (now != NULL)
			statement.on_local_write = now->on_local_write;
		if (now == NULL && statement.local)
			continue;
		own_begin(mapping, &changed);
		own_store(mapping->source, field->column, attnum, &statement,
				  mapping->id);
	}
	if (changed)
		concord_ownership_guard_table(mapping->source);
}
