/*-------------------------------------------------------------------------
 *
 * resolve.c
 *	  What a person decides of a conflict.
 *
 * Theirs becomes what both sides had last, since the person has seen it: where
 * the decision is not theirs, the row differs from it and is sent.  Where it is
 * ours the row has it already and no change would say so; the row is sent again,
 * as by concord.resync().
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "base/json.h"
#include "catalog/history.h"
#include "catalog/pg_type.h"
#include "delivery/pending.h"
#include "catalog/ownership.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(concord_resolve);

/* An open conflict. */
typedef struct RslConflict
{
	int64		id;
	int32		mapping;
	char	   *field;
	char	   *theirs;			/* text; NULL: null */
	Jsonb	   *local_key;
	char	   *state;
} RslConflict;

/* rsl_read reads and locks a conflict; raises where there is none. */
static void
rsl_read(int64 id, RslConflict *conflict)
{
	ConcordCatalogScope scope;
	MemoryContext context = CurrentMemoryContext;
	Oid			types[1] = {INT8OID};
	Datum		values[1] = {Int64GetDatum(id)};
	HeapTuple	tuple;
	TupleDesc	desc;
	MemoryContext old;
	bool		isnull;

	concord_catalog_enter(&scope);
	if (SPI_execute_with_args("SELECT mapping, field, theirs, local_key, state FROM concord.conflict_item"
							  " WHERE id = $1 FOR UPDATE", 1, types, values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.conflict_item");
	if (SPI_processed == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("conflict " INT64_FORMAT " does not exist", id)));
	tuple = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	old = MemoryContextSwitchTo(context);
	conflict->id = id;
	conflict->mapping = DatumGetInt32(SPI_getbinval(tuple, desc, 1, &isnull));
	conflict->field = SPI_getvalue(tuple, desc, 2);
	conflict->theirs = SPI_getvalue(tuple, desc, 3);
	conflict->local_key = DatumGetJsonbPCopy(SPI_getbinval(tuple, desc, 4, &isnull));
	conflict->state = SPI_getvalue(tuple, desc, 5);
	MemoryContextSwitchTo(old);
	concord_catalog_leave(&scope);
}

/* rsl_mapping finds the conflict's mapping, which the user must be able to operate. */
static ConcordMapping *
rsl_mapping(const RslConflict *conflict)
{
	ConcordCatalogScope scope;
	MemoryContext context = CurrentMemoryContext;
	ConcordMapping *mapping;

	concord_catalog_enter(&scope);
	mapping = concord_mapping_by_id(conflict->mapping, context);
	concord_catalog_leave(&scope);
	if (mapping == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the mapping of conflict " INT64_FORMAT " does not exist", conflict->id)));
	concord_operate_check(mapping);
	return mapping;
}

/* rsl_given reads a value that a person gives: a JSON scalar, as text. */
static char *
rsl_given(FunctionCallInfo fcinfo, bool wanted)
{
	Jsonb	   *given;
	JsonbValue	scalar;

	if (PG_ARGISNULL(2) != !wanted)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 wanted ? errmsg("winner \"value\" needs a value") :
				 errmsg("a value goes with winner \"value\" only"),
				 errhint("Say resolve(conflict, 'value', '\"text\"') for a value that is neither side's.")));
	if (!wanted)
		return NULL;
	given = PG_GETARG_JSONB_P(2);
	if (!JB_ROOT_IS_SCALAR(given) || !JsonbExtractScalar(&given->root, &scalar))
		return JsonbToCString(NULL, &given->root, VARSIZE(given));
	switch (scalar.type)
	{
		case jbvNull:
			return NULL;
		case jbvString:
			return pnstrdup(scalar.val.string.val, scalar.val.string.len);
		default:
			return JsonbToCString(NULL, &given->root, VARSIZE(given));
	}
}

/* rsl_column finds the column that the field writes. */
static InbColumn *
rsl_column(ConcordInbound *inbound, const RslConflict *conflict)
{
	for (int i = 0; i < inbound->ncolumns; i++)
		if (strcmp(inbound->columns[i].field->name, conflict->field) == 0)
			return &inbound->columns[i];
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("mapping \"%s\" takes no field \"%s\" in any more",
					inbound->mapping->name, conflict->field)));
	return NULL;
}

/* rsl_write gives the row a value, as the definer. */
static void
rsl_write(ConcordInbound *inbound, const RslConflict *conflict, InbColumn *column,
		  char *text)
{
	ConcordEnvironment environment;
	StringInfoData buf;
	int			nargs = inbound->nkey + 1;
	Oid		   *types = palloc(sizeof(Oid) * nargs);
	Datum	   *values = palloc0(sizeof(Datum) * nargs);
	char	   *nulls = palloc(nargs);
	bool		outer = concord_ownership_bypass;

	memset(nulls, ' ', nargs);
	initStringInfo(&buf);
	appendStringInfo(&buf, "UPDATE %s SET %s = $1 WHERE ", inbound->table,
					 quote_identifier(column->name));
	types[0] = column->type;
	nulls[0] = text == NULL ? 'n' : ' ';
	concord_environment_enter(&environment, inbound->mapping->definer,
							  inbound->mapping->search_path);
	values[0] = InputFunctionCall(&column->input, text, column->ioparam, column->typmod);
	concord_inbound_key_datums(inbound, conflict->local_key, values + 1);
	for (int i = 0; i < inbound->nkey; i++)
	{
		types[i + 1] = inbound->key[i].type;
		appendStringInfo(&buf, "%s%s %s $%d", i > 0 ? " AND " : "",
						 quote_identifier(inbound->key[i].name), inbound->key[i].equals, i + 2);
	}
	concord_ownership_bypass = true;
	PG_TRY();
	{
		if (SPI_execute_with_args(buf.data, nargs, types, values, nulls, false, 0) != SPI_OK_UPDATE)
			elog(ERROR, "could not write the row of a conflict");
	}
	PG_FINALLY();
	{
		concord_ownership_bypass = outer;
	}
	PG_END_TRY();
	if (SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("row %s of conflict " INT64_FORMAT " is gone",
						JsonbToCString(NULL, &conflict->local_key->root, VARSIZE(conflict->local_key)),
						conflict->id),
				 errhint("Use winner \"local\": there is nothing left to decide.")));
	concord_environment_leave(&environment);
}

/* rsl_record notes the decision, and theirs as what both sides had last. */
static void
rsl_record(const RslConflict *conflict, const char *winner, const char *value)
{
	ConcordCatalogScope scope;
	Oid			types[6] = {INT8OID, TEXTOID, TEXTOID, NAMEOID, INT4OID, JSONBOID};
	Datum		values[6];
	char		nulls[6] = {' ', ' ', value == NULL ? 'n' : ' ', ' ', ' ', ' '};
	Name		user = palloc0(sizeof(NameData));

	namestrcpy(user, GetUserNameFromId(GetUserId(), false));
	values[0] = Int64GetDatum(conflict->id);
	values[1] = CStringGetTextDatum(winner);
	values[2] = value == NULL ? (Datum) 0 : CStringGetTextDatum(value);
	values[3] = NameGetDatum(user);
	values[4] = Int32GetDatum(conflict->mapping);
	values[5] = JsonbPGetDatum(conflict->local_key);
	concord_catalog_enter(&scope);
	if (SPI_execute_with_args("WITH decided AS (UPDATE concord.conflict_item SET state = 'resolved', winner = $2,"
							  "   value = $3, decided_at = pg_catalog.now(), decided_by = $4 WHERE id = $1"
							  "   RETURNING field, theirs)"
							  " UPDATE concord.link_item k SET hash = NULL, fields = NULL,"
							  "   base = coalesce(k.base, '{}') || pg_catalog.jsonb_build_object(d.field, d.theirs)"
							  " FROM decided d WHERE k.mapping = $5 AND k.local_key = $6",
							  6, types, values, nulls, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not write concord.conflict_item");
	concord_catalog_leave(&scope);
}

/* rsl_send has the row sent again. */
static void
rsl_send(const ConcordMapping *mapping, const RslConflict *conflict)
{
	concord_inbound_send_row(mapping, conflict->local_key);
}

/* concord_resolve is concord.resolve(). */
Datum
concord_resolve(PG_FUNCTION_ARGS)
{
	RslConflict conflict;
	ConcordMapping *mapping;
	ConcordInbound *inbound;
	ConcordEnvironment environment;
	InbColumn  *column;
	char	   *winner;
	char	   *value;
	bool		given;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a conflict and its winner must be given")));
	rsl_read(PG_GETARG_INT64(0), &conflict);
	mapping = rsl_mapping(&conflict);
	winner = text_to_cstring(PG_GETARG_TEXT_PP(1));
	given = strcmp(winner, "value") == 0;
	if (!given && strcmp(winner, "local") != 0 && strcmp(winner, "remote") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value \"%s\" for argument \"%s\"", winner, "winner"),
				 errhint("Values available are \"local\", \"remote\" and \"value\".")));
	if (strcmp(conflict.state, "open") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("conflict " INT64_FORMAT " is %s already", conflict.id, conflict.state),
				 errhint("concord.conflict_log says how and by whom.")));
	value = rsl_given(fcinfo, given);
	concord_inbound_lock(mapping);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	inbound = concord_inbound_open(mapping, "receive", CurrentMemoryContext);
	concord_environment_enter(&environment, mapping->definer, mapping->search_path);
	concord_inbound_refresh(inbound);
	concord_environment_leave(&environment);
	column = rsl_column(inbound, &conflict);
	if (strcmp(winner, "remote") == 0)
		value = conflict.theirs;
	if (strcmp(winner, "local") != 0)
		rsl_write(inbound, &conflict, column, value);
	rsl_record(&conflict, winner, value);
	if (strcmp(winner, "remote") != 0 && inbound->sends)
		rsl_send(mapping, &conflict);
	concord_history_add("resolve", mapping->name, NULL,
						psprintf("conflict " INT64_FORMAT " of field \"%s\": %s", conflict.id,
								 conflict.field, winner), 1);
	concord_inbound_close(inbound);
	SPI_finish();
	PG_RETURN_VOID();
}
