/*-------------------------------------------------------------------------
 *
 * drift.c
 *	  What becomes of mappings where a table changes.
 *
 * A new name is followed: what was sent goes on to be sent, under a new version
 * of the mapping, in the transaction that gave the name.  The definition is
 * prepared before the command, while the old name can still be resolved, and
 * stored after it.  It must use the very same columns then; a name that means
 * something else in an expression (a sub-SELECT's table has it, too) does not
 * pass.
 *
 * What cannot be followed is refused or pauses the mapping, as
 * pg_concord.on_schema_change says.  Either way nothing is sent that the change
 * has made wrong: the table is locked until commit, and so is every event that
 * comes after.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/drift.h"

#include "base/attempt.h"
#include "base/settings.h"
#include "catalog/alert.h"
#include "catalog/history.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mapping/compile.h"
#include "mapping/define.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#define DRF_REASON	"schema change: "

/* A mapping whose definition gets a new name. */
typedef struct DrfRename
{
	int32		mapping;
	int32		version;		/* that was read */
	Jsonb	   *definition;
	List	   *uses;			/* of ConcordColumnUse *: before */
	char	   *comment;
} DrfRename;

/* Prepared by the command under way, in drf_context. */
static List *drf_renames = NIL;
static MemoryContext drf_context = NULL;
static bool drf_following = false;	/* they are being read */

/* drf_mappings lists the mappings that use a table or a column of it. */
static List *
drf_mappings(Oid relid, AttrNumber attnum)
{
	ConcordCatalogScope scope;
	Oid			types[] = {OIDOID, INT2OID};
	Datum		values[] = {ObjectIdGetDatum(relid), Int16GetDatum(attnum)};
	MemoryContext context = CurrentMemoryContext;
	List	   *ids = NIL;
	List	   *mappings = NIL;
	ListCell   *lc;

	if (!OidIsValid(get_relname_relid("mapping_use",
									  get_namespace_oid("concord", true))))
		return NIL;
	concord_catalog_enter(&scope);
	if (SPI_execute_with_args("SELECT DISTINCT mapping FROM concord.mapping_use"
							  " WHERE relid = $1 AND ($2 = 0 OR attnum = $2)"
							  " ORDER BY 1", 2, types, values, NULL, false,
							  0) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.mapping_use");
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		bool		isnull;

		ids = lappend_int(ids,
						  DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i],
													  SPI_tuptable->tupdesc, 1,
													  &isnull)));
		MemoryContextSwitchTo(old);
	}
	concord_catalog_leave(&scope);
	foreach(lc, ids)
	{
		ConcordMapping *mapping = concord_mapping_by_id(lfirst_int(lc),
														CurrentMemoryContext);

		if (mapping != NULL && mapping->state != CONCORD_MAPPING_RESTORED &&
			mapping->state != CONCORD_MAPPING_BROKEN &&
			OidIsValid(mapping->definer))
			mappings = lappend(mappings, mapping);
	}
	return mappings;
}

/* drf_refuse raises for a change that a mapping is in the way of. */
static void
drf_refuse(const ConcordMapping *mapping, const char *reason)
{
	ereport(ERROR,
			(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			 errmsg("mapping \"%s\" cannot follow this change", mapping->name),
			 errdetail("%s", reason),
			 errhint("Change the mapping first, which may be in the same transaction; or set pg_concord.on_schema_change to \"pause\", and change or resume the mapping afterwards.")));
}

/* drf_pause pauses a mapping, and has a person look at it. */
static void
drf_pause(const ConcordMapping *mapping, const char *reason)
{
	char	   *source = OidIsValid(mapping->source) ?
		quote_qualified_identifier(get_namespace_name(get_rel_namespace(mapping->source)),
								   get_rel_name(mapping->source)) : NULL;

	if (mapping->state != CONCORD_MAPPING_PAUSED)
	{
		concord_mapping_set_state(mapping->id, CONCORD_MAPPING_PAUSED,
								  psprintf(DRF_REASON "%s", reason));
		concord_history_add("pause", mapping->name, mapping->server,
							psprintf(DRF_REASON "%s", reason), -1);
	}
	(void) concord_alert("warning", "schema change", mapping->name,
						 mapping->server, source, reason);
	ereport(NOTICE,
			(errmsg("mapping \"%s\" is paused: %s", mapping->name, reason),
			 errhint("Change it with concord.alter_mapping(), which resumes it; or use concord.resume().")));
}

/* drf_complain refuses or pauses. */
static void
drf_complain(const ConcordMapping *mapping, const char *reason)
{
	if (concord_on_schema_change == CONCORD_SCHEMA_REFUSE)
		drf_refuse(mapping, reason);
	else
		drf_pause(mapping, reason);
}

/* concord_drift_complain says that a mapping cannot go on. */
void
concord_drift_complain(int32 id, const char *reason)
{
	ConcordMapping *mapping = concord_mapping_by_id(id, CurrentMemoryContext);

	if (mapping != NULL && mapping->state != CONCORD_MAPPING_RESTORED &&
		mapping->state != CONCORD_MAPPING_BROKEN)
		drf_complain(mapping, reason);
}

/* drf_try calls work in a subtransaction; returns what it raised, or NULL. */
static ErrorData *
drf_try(void (*work) (void *arg), void *arg)
{
	ErrorData  *error = concord_attempt(work, arg);

	/* neither of these is about the mapping */
	if (error != NULL && (error->sqlerrcode == ERRCODE_QUERY_CANCELED ||
						  error->sqlerrcode == ERRCODE_OUT_OF_MEMORY ||
						  error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN))
		ReThrowError(error);
	return error;
}

/* drf_reason writes an error as a reason. */
static char *
drf_reason(const ErrorData *error)
{
	return psprintf("%s%s%s", error->message,
					error->context != NULL ? ": " : "",
					error->context != NULL ? error->context : "");
}

/* drf_compile checks that a mapping still compiles. */
static void
drf_compile(void *arg)
{
	concord_compile_check(arg);
}

/* concord_drift_check complains where a mapping cannot be compiled any more. */
void
concord_drift_check(int32 id)
{
	ConcordMapping *mapping = concord_mapping_by_id(id, CurrentMemoryContext);
	ErrorData  *error;

	if (mapping == NULL || mapping->state == CONCORD_MAPPING_RESTORED ||
		mapping->state == CONCORD_MAPPING_BROKEN ||
		mapping->state == CONCORD_MAPPING_DENIED ||
		!OidIsValid(mapping->definer) ||
		(mapping->state == CONCORD_MAPPING_PAUSED &&
		 mapping->state_reason != NULL &&
		 strncmp(mapping->state_reason, DRF_REASON, strlen(DRF_REASON)) == 0))
		return;					/* or is known not to */
	error = drf_try(drf_compile, mapping);
	/* of rights the couriers tell, and go on where they have come back */
	if (error != NULL && error->sqlerrcode != ERRCODE_INSUFFICIENT_PRIVILEGE)
		drf_complain(mapping, drf_reason(error));
}

/* ---------------------------------------------------------------------
 * new names
 * ------------------------------------------------------------------- */

/*
 * drf_prepare makes the definition that a mapping will have.  What it knows its
 * rows by, in links and in what is pending, are names of columns; those stay.
 */
static void
drf_prepare(ConcordMapping *mapping, Oid relid, AttrNumber attnum,
			const char *old_name, const char *new_name)
{
	DrfRename  *rename = palloc0(sizeof(DrfRename));
	ListCell   *lc;

	foreach(lc, mapping->local_key)
	{
		if (attnum != 0 && relid == mapping->source &&
			strcmp(lfirst(lc), old_name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("cannot rename column \"%s\": mapping \"%s\" knows rows by it",
							old_name, mapping->name),
					 errdetail("Links and pending events have the key of the row under this name."),
					 errhint("Drop the mapping first, and create it anew with initial => 'match'.")));
	}
	rename->mapping = mapping->id;
	rename->version = mapping->version;
	rename->uses = concord_uses(mapping);
	rename->definition = concord_uses_rename(mapping,
											 concord_store_definition(mapping, 0),
											 relid, attnum, old_name, new_name);
	rename->comment = psprintf("%s %s is called %s now",
							   attnum != 0 ? "column" : "table",
							   quote_identifier(old_name),
							   quote_identifier(new_name));
	drf_renames = lappend(drf_renames, rename);
}

/* concord_drift_before prepares for a new name. */
void
concord_drift_before(const RenameStmt *stmt)
{
	bool		column = stmt->renameType == OBJECT_COLUMN;
	AttrNumber	attnum = 0;
	MemoryContext old;
	Oid			relid;
	List	   *mappings;
	ListCell   *lc;

	concord_drift_forget();
	if (stmt->relation == NULL || stmt->newname == NULL ||
		(!column && stmt->renameType != OBJECT_TABLE &&
		 stmt->renameType != OBJECT_VIEW && stmt->renameType != OBJECT_MATVIEW &&
		 stmt->renameType != OBJECT_FOREIGN_TABLE))
		return;
	relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	if (!OidIsValid(relid) || !concord_table_owner(relid, GetUserId()))
		return;
	if (column)
		attnum = get_attnum(relid, stmt->subname);
	if (column && attnum <= 0)
		return;

	if (drf_context == NULL)
		drf_context = AllocSetContextCreate(TopMemoryContext,
											"concord rename",
											ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(drf_context);

	/*
	 * whoever changes a mapping of it has it locked; the command would wait,
	 * too
	 */
	if (drf_mappings(relid, attnum) != NIL)
		relid = RangeVarGetRelid(stmt->relation, AccessExclusiveLock, true);
	mappings = OidIsValid(relid) ? drf_mappings(relid, attnum) : NIL;
	foreach(lc, mappings)
		drf_prepare(lfirst(lc), relid, attnum,
					column ? stmt->subname : get_rel_name(relid), stmt->newname);
	MemoryContextSwitchTo(old);
}

/* concord_drift_forget ends what concord_drift_before began. */
void
concord_drift_forget(void)
{
	if (drf_following)
		return;
	drf_renames = NIL;
	if (drf_context != NULL)
		MemoryContextReset(drf_context);
}

/* drf_same_uses says whether two lists are of the same columns. */
static bool
drf_same_uses(List *a, List *b)
{
	ListCell   *la;
	ListCell   *lb;

	if (list_length(a) != list_length(b))
		return false;
	forboth(la, a, lb, b)
	{
		const ConcordColumnUse *x = lfirst(la);
		const ConcordColumnUse *y = lfirst(lb);

		if (x->relid != y->relid || x->attnum != y->attnum || x->row != y->row)
			return false;
	}
	return true;
}

/* drf_follow stores one definition. */
static void
drf_follow(void *arg)
{
	const DrfRename *rename = arg;
	ConcordMapping *mapping;

	if (!concord_store_lock(rename->mapping))
		return;
	mapping = concord_mapping_by_id(rename->mapping, CurrentMemoryContext);
	if (mapping->version != rename->version)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("mapping \"%s\" was changed meanwhile", mapping->name),
				 errhint("Try again.")));
	(void) concord_define_version(mapping, rename->definition, rename->comment);
	if (!drf_same_uses(rename->uses, concord_uses(mapping)))
		ereport(ERROR,
				(errcode(ERRCODE_AMBIGUOUS_COLUMN),
				 errmsg("with the new name an expression would read another column")));
}

/* concord_drift_follow stores the definitions with the new name. */
void
concord_drift_follow(void)
{
	List	   *renames = drf_renames;
	ListCell   *lc;

	drf_renames = NIL;
	drf_following = true;
	PG_TRY();
	{
		foreach(lc, renames)
		{
			DrfRename  *rename = lfirst(lc);
			ErrorData  *error = drf_try(drf_follow, rename);

			if (error != NULL)
				concord_drift_complain(rename->mapping,
									   psprintf("%s: %s", rename->comment,
												drf_reason(error)));
		}
	}
	PG_FINALLY();
	{
		drf_following = false;
	}
	PG_END_TRY();
}

/* ---------------------------------------------------------------------
 * what is used
 * ------------------------------------------------------------------- */

/* concord_uses_store writes what a mapping's version uses. */
void
concord_uses_store(const ConcordMapping *mapping)
{
	ConcordCatalogScope scope;
	Oid			types[] = {INT4OID, OIDOID, INT2OID};
	Datum		values[] = {Int32GetDatum(mapping->id), (Datum) 0, (Datum) 0};
	List	   *uses = concord_uses(mapping);
	ListCell   *lc;

	concord_catalog_enter(&scope);
	if (SPI_execute_with_args("DELETE FROM concord.mapping_use WHERE mapping = $1",
							  1, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not change concord.mapping_use");
	/* the table itself, whatever is used of it */
	for (int i = -1; i < list_length(uses); i++)
	{
		const ConcordColumnUse *use = i < 0 ? NULL : list_nth(uses, i);

		if (use == NULL && !OidIsValid(mapping->source))
			continue;
		values[1] = ObjectIdGetDatum(use == NULL ? mapping->source : use->relid);
		values[2] = Int16GetDatum(use == NULL ? 0 : use->attnum);
		if (SPI_execute_with_args("INSERT INTO concord.mapping_use (mapping, relid, attnum)"
								  " VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
								  3, types, values, NULL, false, 0) != SPI_OK_INSERT)
			elog(ERROR, "could not change concord.mapping_use");
	}
	foreach(lc, uses)
		pfree(lfirst(lc));
	if (SPI_execute_with_args("INSERT INTO concord.schema_item (relid, definition)"
							  " SELECT DISTINCT u.relid, concord.table_definition(u.relid)"
							  " FROM concord.mapping_use u WHERE u.mapping = $1"
							  " AND concord.table_definition(u.relid) IS NOT NULL"
							  " ON CONFLICT (relid) DO NOTHING",
							  1, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not change concord.schema_item");
	concord_catalog_leave(&scope);
}

/* drf_learn stores what a mapping uses. */
static void
drf_learn(void *arg)
{
	concord_uses_store(arg);
}

/* concord_drift_learn finds out which columns a mapping uses. */
void
concord_drift_learn(int32 id)
{
	ConcordMapping *mapping = concord_mapping_by_id(id, CurrentMemoryContext);

	if (mapping != NULL && OidIsValid(mapping->definer))
		(void) drf_try(drf_learn, mapping);
}
