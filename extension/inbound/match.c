/*-------------------------------------------------------------------------
 *
 * match.c
 *	  concord.match(): which rows and records are the same.
 *
 *		records ──► relation ─┐
 *		rows ─────► relation ─┼─► one join for each rule ─► links, inbox
 *		links ────► relation ─┘
 *
 * Nothing is written before both sides were compared, and nothing is locked
 * while the system is asked.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/match.h"

#include "access/xact.h"
#include "catalog/history.h"
#include "delivery/pending.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(concord_match);

static const char *const mat_verdicts[MAT_VERDICTS] = {
	"linked", "match", "ambiguous", "duplicate", "local only", "remote only",
	"record missing", "row missing", "unusable",
};

/* mat_ready does nothing: the mapping was made ready for it. */
static void
mat_ready(ConcordInbound *inbound, InbItem **items, int n)
{
}

/* concord_match_open makes what comparing needs. */
ConcordMatch *
concord_match_open(const ConcordMapping *mapping, MemoryContext context)
{
	MemoryContext own = AllocSetContextCreate(context, "concord match",
											  ALLOCSET_DEFAULT_SIZES);
	ConcordMatch *match = MemoryContextAllocZero(own, sizeof(ConcordMatch));
	ErrorData  *error;
	ListCell   *lc;

	match->mapping = mapping;
	match->context = own;
	match->batch = AllocSetContextCreate(own, "concord match rows",
										 ALLOCSET_DEFAULT_SIZES);
	foreach(lc, mapping->options.match)
		match->conditions |= ((ConcordMatchRule *) lfirst(lc))->expression != NULL;
	match->inbound = concord_inbound_open_linking(mapping, own);
	error = concord_inbound_try(match->inbound, mat_ready, NULL, 0);
	if (error != NULL)
		ReThrowError(error);
	match->by_id = match->inbound->assigned ||
		(!match->inbound->key_direct && mapping->options.remote_id_path != NULL);
	concord_match_relations(match);
	return match;
}

/* concord_match_close gives it back. */
void
concord_match_close(ConcordMatch *match)
{
	MatRelation *relations[] = {&match->rows, &match->records, &match->links,
	&match->pairs, &match->bodies};

	for (int i = 0; i < lengthof(relations); i++)
		tuplestore_end(relations[i]->store);
	concord_inbound_close(match->inbound);
	MemoryContextDelete(match->context);
}

/* mat_take adds a line to what the function returns. */
static void
mat_take(ConcordMatch *match, HeapTuple tuple, TupleDesc desc, void *arg)
{
	ReturnSetInfo *result = arg;
	bool		isnull;
	int32		n = DatumGetInt32(SPI_getbinval(tuple, desc, 1, &isnull));
	int			verdict;
	const char *rule;
	Datum		values[4];
	bool		nulls[4] = {false};

	if (isnull)
		n = -1;
	rule = concord_match_rule_name(match, DatumGetInt32(SPI_getbinval(tuple, desc, 2, &isnull)));
	verdict = DatumGetInt32(SPI_getbinval(tuple, desc, 3, &isnull));
	if (verdict == MAT_MATCH && match->verdicts != NULL && match->verdicts[n] != 0)
		verdict = match->verdicts[n] - 1;
	values[0] = SPI_getbinval(tuple, desc, 4, &nulls[0]);
	values[1] = SPI_getbinval(tuple, desc, 5, &nulls[1]);
	nulls[2] = rule == NULL;
	values[2] = nulls[2] ? (Datum) 0 : CStringGetTextDatum(rule);
	values[3] = CStringGetTextDatum(mat_verdicts[verdict]);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/* mat_return gives all that was found out. */
static void
mat_return(ConcordMatch *match, ReturnSetInfo *result)
{
	ConcordCatalogScope scope;

	concord_catalog_enter(&scope);
	concord_match_query(match,
						"SELECT p.n, p.rule, p.verdict, coalesce(t.\"concord.key\", l.\"concord.key\"),"
						" coalesce(r.\"concord.id\", l.\"concord.id\") FROM \"concord.pairs\" p"
						" LEFT JOIN \"concord.rows\" t ON t.\"concord.m\" = p.m"
						" LEFT JOIN \"concord.records\" r ON r.\"concord.n\" = p.n"
						" LEFT JOIN \"concord.links\" l ON l.\"concord.l\" = p.l",
						mat_take, result);
	concord_catalog_leave(&scope);
}

/* concord_match is the SQL function. */
Datum
concord_match(PG_FUNCTION_ARGS)
{
	ConcordMapping *mapping = concord_operate_mapping(fcinfo, 0);
	bool		apply = !PG_ARGISNULL(1) && PG_GETARG_BOOL(1);
	ConcordMatch *match;

	concord_match_check(mapping);
	if (apply)
	{
		PreventCommandIfReadOnly("concord.match()");
		if (IsolationUsesXactSnapshot())
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("records can be linked at isolation level READ COMMITTED only")));
	}
	InitMaterializedSRF(fcinfo, 0);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	match = concord_match_open(mapping, CurrentMemoryContext);
	concord_match_read(match);
	concord_match_read_links(match);
	concord_match_compare(match);
	if (apply)
	{
		concord_match_link(match, false);
		concord_history_add("match", mapping->name, mapping->server, NULL,
							match->counts.linked);
	}
	mat_return(match, (ReturnSetInfo *) fcinfo->resultinfo);
	concord_match_close(match);
	SPI_finish();
	PG_RETURN_NULL();
}
