/*-------------------------------------------------------------------------
 *
 * match_sides.c
 *	  Rows, records and links as relations that statements join.
 *
 * Each is a tuplestore, which goes to disk where it does not fit into work_mem,
 * and visible under a name to the statements of an SPI connection.  Rows and
 * records have numbers; what is found out about them is a few bytes each.
 *
 * The planner knows how many there are and nothing else of them: it is told to
 * hash where it can.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/match.h"

#include "catalog/pg_type.h"
#include "delivery/linkread.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"

#define MSD_FETCH	1000		/* rows of a cursor at a time */

/* msd_column adds a column that is not of the table. */
static void
msd_column(TupleDesc desc, AttrNumber at, const char *name, Oid type)
{
	TupleDescInitEntry(desc, at, name, type, -1, 0);
}

/* msd_key adds the columns of the local key. */
static AttrNumber
msd_key(ConcordMatch *match, TupleDesc desc, AttrNumber at)
{
	for (int i = 0; i < match->inbound->nkey; i++)
	{
		const InbColumn *part = &match->inbound->key[i];

		TupleDescInitEntry(desc, at, psprintf("concord.k%d", i), part->type, part->typmod, 0);
		TupleDescInitEntryCollation(desc, at++, part->collation);
	}
	return at;
}

/* msd_open makes a relation, empty. */
static void
msd_open(MatRelation *relation, const char *name, TupleDesc desc)
{
	concord_desc_finish(desc);
	relation->name = name;
	relation->desc = desc;
	relation->store = tuplestore_begin_heap(false, false, work_mem);
	relation->n = 0;
}

/* msd_texts adds n columns of text. */
static void
msd_texts(TupleDesc desc, AttrNumber at, const char *letter, int n)
{
	for (int i = 0; i < n; i++)
		msd_column(desc, at + i, psprintf("concord.%s%d", letter, i), TEXTOID);
}

/*
 * concord_match_relations makes the relations.  The inbound mapping is ready; the
 * resource owner is that of the whole run.
 */
void
concord_match_relations(ConcordMatch *match)
{
	MemoryContext old = MemoryContextSwitchTo(match->context);
	int			nkey = match->inbound->nkey;
	int			nrules = list_length(match->mapping->options.match);
	TupleDesc	desc;
	AttrNumber	at;

	match->key_text = match->inbound->by_key != NULL ? 3 + nkey : 0;
	match->rule_columns = 3 + nkey + (match->key_text > 0);
	desc = CreateTemplateTupleDesc(match->rule_columns - 1 + nrules);
	msd_column(desc, 1, "concord.m", INT4OID);
	msd_column(desc, 2, "concord.key", JSONBOID);
	at = msd_key(match, desc, 3);
	if (match->key_text > 0)
		msd_column(desc, at, "concord.id", TEXTOID);
	msd_texts(desc, match->rule_columns, "x", nrules);
	msd_open(&match->rows, "concord.rows", desc);

	match->rule_values = 4 + nkey;
	desc = CreateTemplateTupleDesc(4 + nkey + nrules);
	msd_column(desc, 1, "concord.n", INT4OID);
	msd_column(desc, 2, "concord.id", TEXTOID);
	msd_column(desc, 3, "concord.hash", INT8OID);
	(void) msd_key(match, desc, 4);
	msd_texts(desc, match->rule_values, "v", nrules);
	msd_column(desc, 4 + nkey + nrules, "remote", JSONBOID);
	msd_open(&match->records, "concord.records", desc);

	desc = CreateTemplateTupleDesc(3);
	msd_column(desc, 1, "concord.l", INT4OID);
	msd_column(desc, 2, "concord.key", JSONBOID);
	msd_column(desc, 3, "concord.id", TEXTOID);
	msd_open(&match->links, "concord.links", desc);

	desc = CreateTemplateTupleDesc(5);
	msd_column(desc, 1, "m", INT4OID);
	msd_column(desc, 2, "n", INT4OID);
	msd_column(desc, 3, "l", INT4OID);
	msd_column(desc, 4, "rule", INT4OID);
	msd_column(desc, 5, "verdict", INT4OID);
	msd_open(&match->pairs, "concord.pairs", desc);

	desc = CreateTemplateTupleDesc(3);
	msd_column(desc, 1, "record", TEXTOID);
	msd_column(desc, 2, "etag", TEXTOID);
	msd_column(desc, 3, "why", TEXTOID);
	msd_open(&match->bodies, "concord.bodies", desc);
	MemoryContextSwitchTo(old);
}

/* concord_match_put adds a row to a relation. */
void
concord_match_put(MatRelation *relation, Datum *values, bool *nulls)
{
	tuplestore_putvalues(relation->store, relation->desc, values, nulls);
	relation->n++;
}

/* msd_grow makes an array longer. */
static void *
msd_grow(void *array, Size size, const MatSide *side, MemoryContext context)
{
	return array == NULL ? MemoryContextAllocHuge(context, size * side->max) :
		repalloc_huge(array, size * side->max);
}

/* concord_match_side_add gives the next row or record its number. */
int32
concord_match_side_add(MatSide *side, MemoryContext context)
{
	int32		i = side->n;

	if (i == PG_INT32_MAX / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("there are too many rows or records to match")));
	if (i == side->max)
	{
		side->max = Max(1024, side->max * 2);
		side->state = msd_grow(side->state, sizeof(*side->state), side, context);
		side->pairs = msd_grow(side->pairs, sizeof(*side->pairs), side, context);
		side->other = msd_grow(side->other, sizeof(*side->other), side, context);
		side->rule = msd_grow(side->rule, sizeof(*side->rule), side, context);
	}
	side->state[i] = MAT_FREE;
	side->pairs[i] = 0;
	side->other[i] = -1;
	side->rule[i] = MAT_RULE_NONE;
	side->n++;
	return i;
}

/* msd_plan has a statement over the relations planned, with hashes. */
static Portal
msd_cursor(const char *sql)
{
	static const char *const off[] = {"enable_nestloop", "enable_mergejoin", "jit"};
	int			level = NewGUCNestLevel();
	SPIPlanPtr	plan = SPI_prepare(sql, 0, NULL);
	Portal		portal;

	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", sql, SPI_result_code_string(SPI_result));
	for (int i = 0; i < lengthof(off); i++)
		(void) set_config_option(off[i], "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	AtEOXact_GUC(false, level);
	return portal;
}

/* msd_fetch hands the rows of a cursor on, and closes it. */
static void
msd_fetch(ConcordMatch *match, Portal portal, MatTake take, void *arg)
{
	MemoryContext caller = CurrentMemoryContext;

	for (;;)
	{
		SPITupleTable *rows;

		SPI_cursor_fetch(portal, true, MSD_FETCH);
		rows = SPI_tuptable;
		MemoryContextSwitchTo(match->batch);
		for (uint64 i = 0; i < rows->numvals; i++)
			take(match, rows->vals[i], rows->tupdesc, arg);
		MemoryContextSwitchTo(caller);
		MemoryContextReset(match->batch);
		if (rows->numvals == 0)
		{
			SPI_freetuptable(rows);
			break;
		}
		SPI_freetuptable(rows);
		CHECK_FOR_INTERRUPTS();
	}
	SPI_cursor_close(portal);
}

/* msd_register makes a relation visible in the SPI connection. */
static void
msd_register(MatRelation *relation)
{
	EphemeralNamedRelation entry;

	(void) SPI_unregister_relation(relation->name);
	MemoryContextSwitchTo(TopTransactionContext);
	entry = palloc0(sizeof(EphemeralNamedRelationData));
	entry->md.name = unconstify(char *, relation->name);
	entry->md.reliddesc = InvalidOid;
	entry->md.tupdesc = relation->desc;
	entry->md.enrtype = ENR_NAMED_TUPLESTORE;
	entry->md.enrtuples = relation->n;
	entry->reldata = relation->store;
	if (SPI_register_relation(entry) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register relation \"%s\"", relation->name);
}

/*
 * concord_match_query runs a statement over the relations and hands on what it
 * gives, in the batch's context.
 */
void
concord_match_query(ConcordMatch *match, const char *sql, MatTake take, void *arg)
{
	MemoryContext caller = CurrentMemoryContext;
	MatRelation *relations[] = {&match->rows, &match->records, &match->links, &match->pairs};

	for (int i = 0; i < lengthof(relations); i++)
		msd_register(relations[i]);
	MemoryContextSwitchTo(caller);
	msd_fetch(match, msd_cursor(sql), take, arg);
	for (int i = 0; i < lengthof(relations); i++)
		(void) SPI_unregister_relation(relations[i]->name);
	MemoryContextSwitchTo(caller);
}

/* msd_take_link adds a link. */
static void
msd_take_link(ConcordMatch *match, HeapTuple tuple, TupleDesc desc, void *arg)
{
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	values[0] = Int32GetDatum((int32) match->links.n);
	values[1] = SPI_getbinval(tuple, desc, 1, &nulls[1]);
	values[2] = SPI_getbinval(tuple, desc, 2, &nulls[2]);
	concord_match_put(&match->links, values, nulls);
}

/* concord_match_read_links reads what is linked already. */
void
concord_match_read_links(ConcordMatch *match)
{
	ConcordCatalogScope scope;

	concord_catalog_enter(&scope);
	msd_fetch(match,
			  msd_cursor(psprintf("SELECT local_key, remote_id FROM concord.link_item"
								  " WHERE mapping = %d AND present", match->mapping->id)),
			  msd_take_link, NULL);
	concord_catalog_leave(&scope);
}

/* msd_rows writes the query that reads all rows, with what rules compare. */
static char *
msd_rows(ConcordMatch *match)
{
	const ConcordInbound *inbound = match->inbound;
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "SELECT ");
	for (int i = 0; i < inbound->nkey; i++)
		appendStringInfo(&buf, "%s%s.%s", i > 0 ? ", " : "",
						 quote_identifier(get_rel_name(match->mapping->source)),
						 quote_identifier(inbound->key[i].name));
	if (match->key_text > 0)
		appendStringInfo(&buf, ", %s", concord_inbound_key_text(match->mapping));
	foreach(lc, match->mapping->options.match)
	{
		const ConcordMatchRule *rule = lfirst(lc);

		if (rule->local != NULL)
			appendStringInfo(&buf, ", %s::pg_catalog.text",
							 concord_inbound_expression(rule->local));
		else
			appendStringInfoString(&buf, ", NULL::pg_catalog.text");
	}
	appendStringInfo(&buf, " FROM %s", inbound->table);
	return buf.data;
}

/* msd_take_row adds a row. */
static void
msd_take_row(ConcordMatch *match, HeapTuple tuple, TupleDesc desc, void *arg)
{
	ConcordInbound *inbound = match->inbound;
	int			natts = match->rows.desc->natts;
	Datum	   *values = palloc(sizeof(Datum) * natts);
	bool	   *nulls = palloc0(sizeof(bool) * natts);

	values[0] = Int32GetDatum(concord_match_side_add(&match->local, match->context));
	for (int i = 2; i < natts; i++)
		values[i] = SPI_getbinval(tuple, desc, i - 1, &nulls[i]);
	values[1] = JsonbPGetDatum(concord_inbound_local_key(inbound, values + 2));
	concord_match_put(&match->rows, values, nulls);
}

/* concord_match_read_rows reads the table, in the definer's environment. */
void
concord_match_read_rows(ConcordMatch *match)
{
	msd_fetch(match, msd_cursor(msd_rows(match)), msd_take_row, NULL);
}
