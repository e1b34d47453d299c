/*-------------------------------------------------------------------------
 *
 * depends.c
 *	  Option depends, when a definition is stated: which tables those are,
 *	  whether their changes tell the row, and their capture.
 *
 * A table is named as the definition has it and remembered by its OID
 * (concord.mapping_depends), so that it may be renamed.  Its changes must name
 * the row by its whole key: a change becomes an event of that row, in the order
 * of its key, without a look at the table.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/compile.h"

#include "access/relation.h"
#include "catalog/captured.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mapping/define.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/relcache.h"

/* What is being checked, for the context of errors. */
typedef struct DepCheck
{
	const ConcordMapping *mapping;
	const ConcordDepend *depend;
} DepCheck;

/* dpn_context names the option and the table in an error. */
static void
dpn_context(void *arg)
{
	DepCheck   *check = arg;

	errcontext("table %s of option \"depends\" of mapping \"%s\"",
			   check->depend->table, check->mapping->name);
}

/* dpn_lookup finds a table by its name, in the mapping's search_path. */
static Oid
dpn_lookup(const ConcordMapping *mapping, const char *name)
{
	LOCAL_FCINFO(fcinfo, 1);
	ConcordEnvironment environment;
	Datum		result;

	concord_environment_enter(&environment, mapping->definer,
							  mapping->search_path);
	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(name);
	fcinfo->args[0].isnull = false;
	result = to_regclass(fcinfo);
	concord_environment_leave(&environment);
	return fcinfo->isnull ? InvalidOid : DatumGetObjectId(result);
}

/* dpn_is_integer and dpn_is_text: kinds of types whose texts are the same. */
static bool
dpn_is_integer(Oid type)
{
	return type == INT2OID || type == INT4OID || type == INT8OID;
}

static bool
dpn_is_text(Oid type)
{
	return type == TEXTOID || type == VARCHAROID;
}

/* dpn_check_pair refuses columns that cannot refer to one another. */
static void
dpn_check_pair(const ConcordMapping *mapping, const ConcordDepend *depend,
			   const ConcordDependColumn *pair, Bitmapset *identity, bool full)
{
	AttrNumber	own = get_attnum(mapping->source, pair->own);
	AttrNumber	theirs = get_attnum(depend->relid, pair->theirs);
	Oid			own_type;
	Oid			their_type;

	if (own == InvalidAttrNumber || theirs == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of table \"%s\" does not exist",
						own == InvalidAttrNumber ? pair->own : pair->theirs,
						get_rel_name(own == InvalidAttrNumber ?
									 mapping->source : depend->relid))));
	own_type = getBaseType(get_atttype(mapping->source, own));
	their_type = getBaseType(get_atttype(depend->relid, theirs));
	if (own_type != their_type &&
		!(dpn_is_integer(own_type) && dpn_is_integer(their_type)) &&
		!(dpn_is_text(own_type) && dpn_is_text(their_type)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" of type %s cannot refer to column \"%s\" of type %s",
						pair->theirs, format_type_be(their_type), pair->own,
						format_type_be(own_type))));
	if (!full && !bms_is_member(theirs, identity))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a deleted row of table \"%s\" does not tell its column \"%s\"",
						get_rel_name(depend->relid), pair->theirs),
				 errdetail("Of a deleted or moved row only its replica identity is in the write-ahead log."),
				 errhint("Use ALTER TABLE %s REPLICA IDENTITY FULL.",
						 quote_qualified_identifier(get_namespace_name(get_rel_namespace(depend->relid)),
													get_rel_name(depend->relid)))));
}

/* dpn_check_key refuses pairs that are not all columns of the key, each once. */
static void
dpn_check_key(const ConcordMapping *mapping, const ConcordDepend *depend)
{
	int			found = 0;
	ListCell   *lc;
	ListCell   *inner;

	foreach(lc, mapping->local_key)
	{
		foreach(inner, depend->columns)
		{
			if (strcmp(((ConcordDependColumn *) lfirst(inner))->own,
					   lfirst(lc)) == 0)
				found++;
		}
	}
	if (found != list_length(mapping->local_key) ||
		found != list_length(depend->columns))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"depends\" must name each column of the key of table \"%s\" once, and no other",
						get_rel_name(mapping->source)),
				 errhint("Write {\"%s\": {\"%s\": \"column that refers to it\"}}.",
						 depend->table, (char *) linitial(mapping->local_key))));
}

/* dpn_check checks one table. */
static void
dpn_check(const ConcordMapping *mapping, const ConcordDepend *depend)
{
	Relation	rel;
	Bitmapset  *identity = NULL;
	Bitmapset  *columns;
	int			member = -1;
	bool		full;
	ListCell   *lc;

	concord_source_check(depend->relid, mapping->definer);
	if (depend->relid == mapping->source)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a mapping cannot depend on its own table"),
				 errhint("Changes of a row of table \"%s\" are its own events.",
						 get_rel_name(mapping->source))));
	dpn_check_key(mapping, depend);
	rel = relation_open(depend->relid, AccessShareLock);
	full = rel->rd_rel->relreplident == REPLICA_IDENTITY_FULL;
	columns = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_IDENTITY_KEY);
	while ((member = bms_next_member(columns, member)) >= 0)
		identity = bms_add_member(identity,
								  member + FirstLowInvalidHeapAttributeNumber);
	relation_close(rel, NoLock);
	foreach(lc, depend->columns)
		dpn_check_pair(mapping, depend, lfirst(lc), identity, full);
}

/* concord_depends_check finds and checks the tables that a mapping depends on. */
void
concord_depends_check(ConcordMapping *mapping)
{
	ErrorContextCallback callback;
	DepCheck	check = {mapping};
	List	   *seen = NIL;
	ListCell   *lc;

	if (mapping->options.depends != NIL && !OidIsValid(mapping->source))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a mapping of a topic cannot depend on tables")));
	callback.callback = dpn_context;
	callback.arg = &check;
	callback.previous = error_context_stack;
	foreach(lc, mapping->options.depends)
	{
		ConcordDepend *depend = lfirst(lc);

		check.depend = depend;
		error_context_stack = &callback;
		depend->relid = dpn_lookup(mapping, depend->table);
		if (!OidIsValid(depend->relid))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("table \"%s\" of option \"depends\" does not exist",
							depend->table)));
		if (list_member_oid(seen, depend->relid))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("table \"%s\" of option \"depends\" is given twice",
							depend->table)));
		seen = lappend_oid(seen, depend->relid);
		dpn_check(mapping, depend);
		error_context_stack = callback.previous;
	}
}

/* concord_depends_usable raises where they cannot be captured now. */
void
concord_depends_usable(const ConcordMapping *mapping)
{
	ListCell   *lc;

	foreach(lc, mapping->options.depends)
	{
		const ConcordDepend *depend = lfirst(lc);

		if (!OidIsValid(depend->relid))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("table %s, on which mapping \"%s\" depends, is gone",
							depend->table, mapping->name),
					 errhint("Use concord.alter_mapping() to change option \"depends\".")));
		concord_source_check(depend->relid, mapping->definer);
	}
}

/* dpn_has says whether a mapping depends on a table. */
static bool
dpn_has(const ConcordMapping *mapping, Oid relid)
{
	ListCell   *lc;

	foreach(lc, mapping == NULL ? NIL : mapping->options.depends)
	{
		if (((const ConcordDepend *) lfirst(lc))->relid == relid)
			return true;
	}
	return false;
}

/*
 * concord_depends_capture has the tables captured that a mapping depends on and
 * old (NULL: none) does not.  They stay locked to the transaction's end.
 */
void
concord_depends_capture(const ConcordMapping *old, const ConcordMapping *mapping)
{
	ListCell   *lc;

	foreach(lc, mapping->options.depends)
	{
		Oid			relid = ((const ConcordDepend *) lfirst(lc))->relid;

		if (!OidIsValid(relid) || dpn_has(old, relid))
			continue;
		concord_captured_lock(relid);
		concord_captured_add(relid);
	}
}

/*
 * concord_depends_release ends the capture of tables that old depends on and
 * mapping (NULL: it is gone) does not, where nobody else needs them.
 */
void
concord_depends_release(const ConcordMapping *old, const ConcordMapping *mapping)
{
	ListCell   *lc;

	foreach(lc, old == NULL ? NIL : old->options.depends)
	{
		Oid			relid = ((const ConcordDepend *) lfirst(lc))->relid;

		if (!OidIsValid(relid) || dpn_has(mapping, relid))
			continue;
		concord_captured_lock(relid);
		concord_captured_release(relid);
	}
}

/* concord_depends_store writes which tables a mapping's version depends on. */
void
concord_depends_store(const ConcordMapping *mapping)
{
	ConcordCatalogScope scope;
	Oid			types[3] = {INT4OID, TEXTOID, OIDOID};
	Datum		values[3] = {Int32GetDatum(mapping->id)};
	ListCell   *lc;

	concord_catalog_enter(&scope);
	if (SPI_execute_with_args("DELETE FROM concord.mapping_depends WHERE mapping = $1",
							  1, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not change concord.mapping_depends");
	foreach(lc, mapping->options.depends)
	{
		const ConcordDepend *depend = lfirst(lc);

		values[1] = CStringGetTextDatum(depend->table);
		values[2] = ObjectIdGetDatum(depend->relid);
		if (SPI_execute_with_args("INSERT INTO concord.mapping_depends (mapping, name, source)"
								  " VALUES ($1, $2, $3::regclass)",
								  3, types, values, NULL, false, 0) != SPI_OK_INSERT)
			elog(ERROR, "could not change concord.mapping_depends");
	}
	concord_catalog_leave(&scope);
}
