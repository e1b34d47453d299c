/*-------------------------------------------------------------------------
 *
 * admin.c
 *	  What people do with dead letters and systems.
 *
 * Who may: the mapping's definer and roles that are members of it, and
 * superusers; for a system, members of the server's owner.  A condition that a
 * caller gives is checked to be one expression and is evaluated as the caller,
 * over the view; only then do we act as the extension's owner.
 *
 * A dead letter that is tried again becomes a live exception.  Of a mapping
 * that delivers state the newest dead image of a key goes, and the older ones
 * are marked as superseded by it; if something newer still was delivered
 * meanwhile, the courier finds that out from the link and sends nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/shmem.h"
#include "catalog/history.h"
#include "catalog/pg_type.h"
#include "delivery/pending.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(concord_retry_dead);
PG_FUNCTION_INFO_V1(concord_discard_dead);
PG_FUNCTION_INFO_V1(concord_pause_system);
PG_FUNCTION_INFO_V1(concord_resume_system);

/* concord_operate_check raises unless the user may operate the mapping. */
void
concord_operate_check(const ConcordMapping *mapping)
{
	if (!has_privs_of_role(GetUserId(), mapping->definer))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for mapping \"%s\"", mapping->name),
				 errhint("Only members of its definer, role \"%s\", may do that.",
						 mapping->definer_name)));
	if (mapping->state == CONCORD_MAPPING_RESTORED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("mapping \"%s\" comes from another database",
						mapping->name),
				 errhint("Use SELECT concord.activate() where this database takes the other's place.")));
}

/* concord_operate_mapping finds the mapping that a caller names and may operate. */
ConcordMapping *
concord_operate_mapping(FunctionCallInfo fcinfo, int arg)
{
	ConcordCatalogScope scope;
	ConcordMapping *mapping;
	MemoryContext context = CurrentMemoryContext;

	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the name of a mapping must be given")));
	concord_catalog_enter(&scope);
	mapping = concord_mapping_by_name(text_to_cstring(PG_GETARG_TEXT_PP(arg)),
									  context);
	concord_catalog_leave(&scope);
	concord_operate_check(mapping);
	return mapping;
}

/*
 * adm_check_filter raises unless text is one expression.  It is parsed alone,
 * so it cannot close the parentheses that it will be put in.
 */
static void
adm_check_filter(const char *text)
{
	List	   *parsed = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select;

	if (list_length(parsed) == 1)
	{
		select = (SelectStmt *) linitial_node(RawStmt, parsed)->stmt;
		if (IsA(select, SelectStmt) && select->op == SETOP_NONE &&
			list_length(select->targetList) == 1 &&
			linitial_node(ResTarget, select->targetList)->name == NULL &&
			select->distinctClause == NIL && select->intoClause == NULL &&
			select->fromClause == NIL && select->whereClause == NULL &&
			select->groupClause == NIL && select->havingClause == NULL &&
			select->windowClause == NIL && select->valuesLists == NIL &&
			select->sortClause == NIL && select->limitOffset == NULL &&
			select->limitCount == NULL && select->lockingClause == NIL &&
			select->withClause == NULL)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("the filter must be one condition over concord.dead_letter"),
			 errhint("For example: 'status = 422 AND op = ''insert'''.")));
}

/* adm_filter_context says what a condition of retry_dead() is about. */
static void
adm_filter_context(void *arg)
{
	errcontext("a condition over columns of concord.dead_letter, as status = 422 or local_key ->> 'id' = '7'");
}

/*
 * adm_choose evaluates the filter, as the caller, and returns the numbers that
 * it chooses as an int8[].
 */
static ArrayType *
adm_choose(const ConcordMapping *mapping, const char *filter)
{
	Oid			types[] = {NAMEOID};
	Datum		values[] = {DirectFunctionCall1(namein, CStringGetDatum(mapping->name))};
	MemoryContext context = CurrentMemoryContext;
	MemoryContext old;
	ArrayType  *result;
	ErrorContextCallback context_of;
	bool		isnull;
	char	   *sql;

	adm_check_filter(filter);
	sql = psprintf("SELECT coalesce(pg_catalog.array_agg(delivery), '{}') FROM concord.dead_letter"
				   " WHERE mapping OPERATOR(pg_catalog.=) $1 AND (%s\n)", filter);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	context_of.callback = adm_filter_context;
	context_of.arg = NULL;
	context_of.previous = error_context_stack;
	error_context_stack = &context_of;
	if (SPI_execute_with_args(sql, 1, types, values, NULL, false, 1) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not read concord.dead_letter");
	error_context_stack = context_of.previous;
	old = MemoryContextSwitchTo(context);
	result = DatumGetArrayTypePCopy(SPI_getbinval(SPI_tuptable->vals[0],
												  SPI_tuptable->tupdesc, 1, &isnull));
	MemoryContextSwitchTo(old);
	SPI_finish();
	return result;
}

/* adm_count runs a statement that counts what it has changed. */
static int64
adm_count(const char *sql, int nargs, Oid *types, Datum *values,
		  const char *nulls)
{
	ConcordCatalogScope scope;
	bool		isnull;
	int64		count;

	concord_catalog_enter(&scope);
	if (SPI_execute_with_args(sql, nargs, types, values, nulls, false, 0) != SPI_OK_SELECT ||
		SPI_processed != 1)
		elog(ERROR, "could not change concord.exception");
	count = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										SPI_tuptable->tupdesc, 1, &isnull));
	concord_catalog_leave(&scope);
	if (count > 0)
		concord_catalog_changed();
	return count;
}

#define ADM_CHOSEN \
	"WITH chosen AS MATERIALIZED (" \
	" SELECT e.delivery, e.local_key, e.seq, e.leaving FROM concord.exception e" \
	"  WHERE e.mapping = $1 AND e.state = 'dead'" \
	"    AND ($2 IS NULL OR e.delivery = $2)" \
	"    AND ($3 IS NULL OR e.delivery = ANY ($3)) FOR UPDATE)"

#define ADM_AGAIN \
	"state = 'retry', again = $4, attempts = 0, next_try = pg_catalog.now()," \
	" changed_at = pg_catalog.now()"

/* Every event again, in order. */
static const char adm_retry_events[] =
ADM_CHOSEN
", again AS (UPDATE concord.exception e SET " ADM_AGAIN
"   FROM chosen c WHERE e.delivery = c.delivery)"
" SELECT pg_catalog.count(*) FROM chosen";

/* Something newer of this row's key was delivered already. */
#define ADM_OVERTAKEN \
	"(NOT e.leaving AND EXISTS (SELECT FROM concord.link_item k WHERE k.mapping = e.mapping" \
	"  AND k.local_key = e.local_key AND k.seq > e.seq))"

/*
 * The newest image of each key again; the older ones are superseded.  One
 * sort of the mapping's dead letters finds the newest ones: a look for each
 * would take hours where a hundred thousand are dead.
 */
static const char adm_retry_state[] =
ADM_CHOSEN
", newest AS MATERIALIZED (SELECT d.delivery, d.newest FROM (SELECT e.delivery,"
"     CASE WHEN e.local_key IS NULL OR e.leaving THEN e.delivery ELSE"
"       pg_catalog.first_value(e.delivery) OVER (PARTITION BY e.local_key, e.leaving"
"         ORDER BY e.seq DESC, e.delivery DESC) END AS newest"
"     FROM concord.exception e WHERE e.mapping = $1 AND e.state = 'dead') d"
"   WHERE ($2 IS NULL OR d.delivery = $2) AND ($3 IS NULL OR d.delivery = ANY ($3)))"
", older AS (UPDATE concord.exception e SET state = 'superseded',"
"     superseded_by = nullif(n.newest, n.delivery), changed_at = pg_catalog.now()"
"   FROM newest n WHERE e.delivery = n.delivery AND e.state = 'dead'"
"   AND (n.newest <> n.delivery OR " ADM_OVERTAKEN "))"
", again AS (UPDATE concord.exception e SET " ADM_AGAIN
"   WHERE e.delivery IN (SELECT n.newest FROM newest n) AND e.state = 'dead'"
"   AND NOT " ADM_OVERTAKEN ")"
" SELECT pg_catalog.count(*) FROM chosen";

/*
 * Of a transaction that goes as a whole, all that is dead goes again together:
 * of all mappings that are sent with this one.
 */
static const char adm_retry_unit[] =
ADM_CHOSEN
", units AS (SELECT DISTINCT e.unit FROM concord.exception e JOIN chosen USING (delivery)"
"   WHERE e.unit IS NOT NULL)"
", peers AS (SELECT p.id FROM concord.mapping m JOIN concord.mapping p"
"   ON p.serverid = m.serverid AND p.definer_oid = m.definer_oid WHERE m.id = $1)"
", again AS (UPDATE concord.exception e SET " ADM_AGAIN
"   WHERE e.state = 'dead' AND (e.delivery IN (SELECT delivery FROM chosen)"
"         OR (e.unit IN (SELECT unit FROM units) AND e.mapping IN (SELECT id FROM peers))) RETURNING 1)"
" SELECT pg_catalog.count(*) FROM again";

/*
 * adm_told notes what was done to dead letters; where one was named that is not
 * there, the caller hears of it.
 */
static void
adm_told(FunctionCallInfo fcinfo, const ConcordMapping *mapping,
		 const char *what, const char *why, int64 count)
{
	if (count == 0 && !PG_ARGISNULL(1))
		ereport(NOTICE,
				(errmsg("mapping \"%s\" has no dead letter " INT64_FORMAT,
						mapping->name, PG_GETARG_INT64(1)),
				 errhint("concord.dead_letter lists them; concord.delivery says what became of the others.")));
	if (count > 0)
		concord_history_add(what, mapping->name, mapping->server, why, count);
}

/* concord_retry_dead has dead letters delivered again. */
Datum
concord_retry_dead(PG_FUNCTION_ARGS)
{
	ConcordMapping *mapping = concord_operate_mapping(fcinfo, 0);
	const ConcordMappingOptions *options = &mapping->options;
	Oid			types[] = {INT4OID, INT8OID, INT8ARRAYOID, BOOLOID};
	Datum		values[4];
	char		nulls[] = {' ', 'n', 'n', ' '};
	int64		count;

	values[0] = Int32GetDatum(mapping->id);
	values[1] = values[2] = (Datum) 0;
	values[3] = BoolGetDatum(!options->block_on_dead);
	if (!PG_ARGISNULL(1))
	{
		values[1] = Int64GetDatum(PG_GETARG_INT64(1));
		nulls[1] = ' ';
	}
	if (!PG_ARGISNULL(2))
	{
		values[2] = PointerGetDatum(adm_choose(mapping,
											   text_to_cstring(PG_GETARG_TEXT_PP(2))));
		nulls[2] = ' ';
	}
	count = adm_count(options->unit ? adm_retry_unit :
					  options->replay_events ||
					  options->ordering != CONCORD_ORDER_KEY ?
					  adm_retry_events : adm_retry_state,
					  4, types, values, nulls);
	adm_told(fcinfo, mapping, "retry_dead", PG_ARGISNULL(2) ? NULL :
			 psprintf("filter: %s", text_to_cstring(PG_GETARG_TEXT_PP(2))), count);
	PG_RETURN_INT64(count);
}

/* concord_discard_dead gives dead letters up. */
Datum
concord_discard_dead(PG_FUNCTION_ARGS)
{
	ConcordMapping *mapping = concord_operate_mapping(fcinfo, 0);
	Oid			types[] = {INT4OID, INT8OID, TEXTOID};
	Datum		values[3];
	char		nulls[] = {' ', 'n', ' '};
	int64		count;

	if (PG_ARGISNULL(2) || VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(2)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a reason must be given"),
				 errdetail("It is kept with what is discarded.")));
	values[0] = Int32GetDatum(mapping->id);
	values[1] = (Datum) 0;
	if (!PG_ARGISNULL(1))
	{
		values[1] = Int64GetDatum(PG_GETARG_INT64(1));
		nulls[1] = ' ';
	}
	values[2] = PG_GETARG_DATUM(2);
	count = adm_count("WITH gone AS (UPDATE concord.exception e"
					  "   SET state = 'discarded', why = $3, changed_at = pg_catalog.now()"
					  " WHERE e.mapping = $1 AND e.state = 'dead'"
					  "   AND ($2 IS NULL OR e.delivery = $2) RETURNING 1)"
					  " SELECT pg_catalog.count(*) FROM gone",
					  3, types, values, nulls);
	adm_told(fcinfo, mapping, "discard_dead",
			 text_to_cstring(PG_GETARG_TEXT_PP(2)), count);
	PG_RETURN_INT64(count);
}

/* adm_system runs a statement about a server that the caller owns. */
static void
adm_system(Name server, const char *what, const char *sql)
{
	ForeignServer *found = GetForeignServerByName(NameStr(*server), false);
	Oid			types[] = {OIDOID, NAMEOID};
	Datum		values[2];
	ConcordCatalogScope scope;
	bool		changed;

	if (!has_privs_of_role(GetUserId(), found->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of foreign server %s", found->servername)));
	values[0] = ObjectIdGetDatum(found->serverid);
	values[1] = DirectFunctionCall1(namein,
									CStringGetDatum(GetUserNameFromId(GetUserId(), false)));
	concord_catalog_enter(&scope);
	if (SPI_execute_with_args(sql, 2, types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not write concord.system_pause");
	changed = SPI_processed > 0;
	concord_catalog_leave(&scope);
	if (changed)
		concord_history_add(what, NULL, found->servername, NULL, -1);
	concord_catalog_changed();
}

/* concord_pause_system stops all sending to a server. */
Datum
concord_pause_system(PG_FUNCTION_ARGS)
{
	adm_system(PG_GETARG_NAME(0), "pause_system",
			   "INSERT INTO concord.system_pause (serverid, paused_by, paused_at)"
			   " VALUES ($1, $2, pg_catalog.now()) ON CONFLICT (serverid) DO NOTHING");
	PG_RETURN_VOID();
}

/* concord_resume_system lets it go on. */
Datum
concord_resume_system(PG_FUNCTION_ARGS)
{
	adm_system(PG_GETARG_NAME(0), "resume_system",
			   "DELETE FROM concord.system_pause WHERE serverid = $1 AND $2::pg_catalog.name IS NOT NULL");
	PG_RETURN_VOID();
}
