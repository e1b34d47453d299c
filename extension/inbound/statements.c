/*-------------------------------------------------------------------------
 *
 * statements.c
 *	  What is run over a batch of records.
 *
 * The records are a relation that exists only while a statement runs, so that
 * one statement does for all of them whatever their columns' types are, and
 * nothing is pasted into its text.  Rows are found by their key: the planner
 * is told not to think of going through the table, as it has no statistics
 * when a first load begins, and the plan of that moment would stay.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "mapping/statement.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/plancache.h"
#include "utils/queryenvironment.h"
#include "utils/resowner.h"

#define STM_RELATION	"concord.records"
#define STM_FROM		"\"" STM_RELATION "\" r"
/* beside a table that has its own name, which may be "r" */
#define STM_FOUND		"\"" STM_RELATION "\" \"concord.r\""
#define STM_R			"\"concord.r\"."
#define STM_ROWS		100		/* what the planner is told */

/* stm_register makes rows (NULL: none yet) the relation of the SPI connection. */
static void
stm_register(TupleDesc desc, Tuplestorestate *rows)
{
	MemoryContext context = CurrentMemoryContext;
	EphemeralNamedRelation relation;

	(void) SPI_unregister_relation(STM_RELATION);
	/* it and what SPI allocates with it live as long as the connection */
	MemoryContextSwitchTo(TopTransactionContext);
	relation = palloc0(sizeof(EphemeralNamedRelationData));
	relation->md.name = pstrdup(STM_RELATION);
	relation->md.reliddesc = InvalidOid;
	relation->md.tupdesc = desc;
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->md.enrtuples = STM_ROWS;
	relation->reldata = rows;
	if (SPI_register_relation(relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register records");
	MemoryContextSwitchTo(context);
}

static void
stm_unregister(void)
{
	MemoryContext context = CurrentMemoryContext;

	(void) SPI_unregister_relation(STM_RELATION);
	MemoryContextSwitchTo(context);
}

/* concord_inbound_prepare prepares a statement over records; it is kept. */
SPIPlanPtr
concord_inbound_prepare(TupleDesc desc, const char *sql)
{
	MemoryContext context = CurrentMemoryContext;
	SPIPlanPtr	plan;

	stm_register(desc, NULL);
	plan = SPI_prepare(sql, 0, NULL);
	stm_unregister();
	if (plan == NULL || SPI_keepplan(plan) != 0)
		elog(ERROR, "could not prepare a statement over records: %s",
			 SPI_result_code_string(SPI_result));
	MemoryContextSwitchTo(context);
	return plan;
}

/* stm_plan has a statement planned, for the key's index. */
static void
stm_plan(SPIPlanPtr plan)
{
	static const char *const off[] = {"enable_seqscan", "enable_hashjoin", "enable_mergejoin"};
	int			level = NewGUCNestLevel();
	CachedPlan *cached;

	for (int i = 0; i < lengthof(off); i++)
		(void) set_config_option(off[i], "off", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SAVE, true, 0, false);
	cached = SPI_plan_get_cached_plan(plan);
	AtEOXact_GUC(false, level);
	if (cached != NULL)
		ReleaseCachedPlan(cached, CurrentResourceOwner);
}

/* concord_inbound_run runs one; what it returns is in SPI_tuptable. */
void
concord_inbound_run(SPIPlanPtr plan, TupleDesc desc, Tuplestorestate *rows, bool read_only)
{
	MemoryContext context = CurrentMemoryContext;
	int			result;

	stm_register(desc, rows);
	stm_plan(plan);
	result = SPI_execute_plan(plan, NULL, NULL, read_only, 0);
	if (result < 0)
		elog(ERROR, "could not run a statement over records: %s",
			 SPI_result_code_string(result));
	stm_unregister();
	MemoryContextSwitchTo(context);
}

/* stm_on writes the condition that a row is a record's. */
static void
stm_on(ConcordInbound *inbound, StringInfo buf)
{
	for (int i = 0; i < inbound->nkey; i++)
		appendStringInfo(buf, "%st.%s %s r.\"concord.k%d\"", i > 0 ? " AND " : "",
						 quote_identifier(inbound->key[i].name),
						 inbound->key[i].equals, i);
}

/*
 * stm_read reads rows: number, xmin, key, and all columns where the mapping
 * sends, else those that records write.
 */
static char *
stm_read(ConcordInbound *inbound, const char *lock)
{
	StringInfoData buf;
	int			n = inbound->sends ? inbound->nimage : inbound->ncolumns;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "SELECT r.\"concord.n\", t.xmin");
	for (int i = 0; i < n; i++)
		appendStringInfo(&buf, ", t.%s",
						 quote_identifier(inbound->sends ? inbound->image[i].name :
										  inbound->columns[i].name));
	appendStringInfo(&buf, " FROM " STM_FROM " JOIN %s t ON (", inbound->table);
	stm_on(inbound, &buf);
	appendStringInfo(&buf, ")%s", lock);
	return buf.data;
}

/* stm_update writes all columns that records give values to. */
static char *
stm_update(ConcordInbound *inbound)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "UPDATE %s t SET ", inbound->table);
	for (int i = 0; i < inbound->ncolumns; i++)
		appendStringInfo(&buf, "%s%s = r.\"concord.c%d\"", i > 0 ? ", " : "",
						 quote_identifier(inbound->columns[i].name), i);
	appendStringInfoString(&buf, " FROM " STM_FROM " WHERE ");
	stm_on(inbound, &buf);
	return buf.data;
}

static char *
stm_delete(ConcordInbound *inbound)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "DELETE FROM %s t USING " STM_FROM " WHERE ", inbound->table);
	stm_on(inbound, &buf);
	return buf.data;
}

/* stm_insert writes rows; what no record gives has its default. */
static char *
stm_insert(ConcordInbound *inbound, Bitmapset *columns, bool keyed)
{
	StringInfoData into;
	StringInfoData from;
	int			i = -1;

	initStringInfo(&into);
	initStringInfo(&from);
	for (int k = 0; keyed && k < inbound->nkey; k++)
	{
		appendStringInfo(&into, "%s%s", into.len > 0 ? ", " : "",
						 quote_identifier(inbound->key[k].name));
		appendStringInfo(&from, "%sr.\"concord.k%d\"", from.len > 0 ? ", " : "", k);
	}
	while ((i = bms_next_member(columns, i)) >= 0)
	{
		appendStringInfo(&into, "%s%s", into.len > 0 ? ", " : "",
						 quote_identifier(inbound->columns[i].name));
		appendStringInfo(&from, "%sr.\"concord.c%d\"", from.len > 0 ? ", " : "", i);
	}
	if (into.len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("the record has nothing that a row could be made of")));
	appendStringInfo(&into, ")%s SELECT %s FROM " STM_FROM " RETURNING ",
					 keyed && inbound->identity_always ? " OVERRIDING SYSTEM VALUE" : "",
					 from.data);
	for (int k = 0; k < inbound->nkey; k++)
		appendStringInfo(&into, "%s%s", k > 0 ? ", " : "",
						 quote_identifier(inbound->key[k].name));
	return psprintf("INSERT INTO %s (%s", inbound->table, into.data);
}

/* concord_inbound_insert_plan finds or makes the INSERT for records with these columns. */
SPIPlanPtr
concord_inbound_insert_plan(ConcordInbound *inbound, Bitmapset *columns, bool keyed)
{
	MemoryContext old;
	InbInsert  *insert;
	ListCell   *lc;

	foreach(lc, inbound->inserts)
	{
		insert = lfirst(lc);
		if (insert->keyed == keyed && bms_equal(insert->columns, columns))
			return insert->plan;
	}
	old = MemoryContextSwitchTo(inbound->work);
	insert = palloc0(sizeof(InbInsert));
	insert->keyed = keyed;
	insert->columns = bms_copy(columns);
	insert->plan = concord_inbound_prepare(inbound->row_desc, stm_insert(inbound, columns, keyed));
	inbound->inserts = lappend(inbound->inserts, insert);
	MemoryContextSwitchTo(old);
	return insert->plan;
}

/* concord_inbound_expression refuses a text that is not one expression, and gives it in parentheses. */
char *
concord_inbound_expression(const char *text)
{
	List	   *parsed = raw_parser(text, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select = (SelectStmt *) linitial_node(RawStmt, parsed)->stmt;

	if (list_length(parsed) != 1 || !IsA(select, SelectStmt) ||
		select->op != SETOP_NONE || list_length(select->targetList) != 1 ||
		linitial_node(ResTarget, select->targetList)->name != NULL ||
		select->distinctClause != NIL || select->intoClause != NULL ||
		select->fromClause != NIL || select->whereClause != NULL ||
		select->groupClause != NIL || select->havingClause != NULL ||
		select->windowClause != NIL || select->valuesLists != NIL ||
		select->sortClause != NIL || select->limitOffset != NULL ||
		select->limitCount != NULL || select->lockingClause != NIL ||
		select->withClause != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("\"%s\" is not one expression", text)));
	/* a comment at its end ends with the line */
	return psprintf("(%s\n)", text);
}

/* stm_apply evaluates the apply expressions of all columns. */
static char *
stm_apply(ConcordInbound *inbound)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "SELECT r.\"concord.n\"");
	for (int i = 0; i < inbound->ncolumns; i++)
		if (inbound->columns[i].apply >= 0)
			appendStringInfo(&buf, ", %s", concord_inbound_expression(inbound->columns[i].field->apply));
	appendStringInfoString(&buf, " FROM " STM_FROM);
	return buf.data;
}

/* stm_found selects the keys of the rows for which a condition holds. */
static char *
stm_found(ConcordInbound *inbound, const char *condition)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "SELECT " STM_R "\"concord.n\"");
	for (int i = 0; i < inbound->nkey; i++)
		appendStringInfo(&buf, ", %s.%s",
						 quote_identifier(get_rel_name(inbound->mapping->source)),
						 quote_identifier(inbound->key[i].name));
	appendStringInfo(&buf, " FROM %s, " STM_FOUND " WHERE %s", inbound->table, condition);
	return buf.data;
}

/* concord_inbound_key_text writes what makes a row's id of its key's expressions. */
char *
concord_inbound_key_text(const ConcordMapping *mapping)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, mapping->key)
		appendStringInfo(&buf, "%s%s::pg_catalog.text", buf.len > 0 ? " || ',' || " : "(",
						 concord_inbound_expression(((ConcordField *) lfirst(lc))->expression));
	appendStringInfoChar(&buf, ')');
	return buf.data;
}

/*
 * stm_by_key finds rows by the expressions of the remote key: their texts, with
 * commas between, are the id.
 */
static char *
stm_by_key(ConcordInbound *inbound)
{
	return stm_found(inbound,
					 psprintf("%s OPERATOR(pg_catalog.=) " STM_R "\"concord.value\"",
							  concord_inbound_key_text(inbound->mapping)));
}

/* stm_match finds rows by a rule of option match. */
static char *
stm_match(ConcordInbound *inbound, const ConcordMatchRule *rule)
{
	if (rule->expression != NULL)
		return stm_found(inbound, concord_inbound_expression(rule->expression));
	return stm_found(inbound,
					 psprintf("%s::pg_catalog.text OPERATOR(pg_catalog.=) " STM_R "\"concord.value\"",
							  concord_inbound_expression(rule->local)));
}

/* concord_inbound_statements prepares what every batch runs. */
void
concord_inbound_statements(ConcordInbound *inbound)
{
	ListCell   *lc;

	inbound->read = concord_inbound_prepare(inbound->key_desc, stm_read(inbound, ""));
	if (inbound->linking)
		inbound->read_locked = concord_inbound_prepare(inbound->key_desc,
													   stm_read(inbound, " FOR KEY SHARE OF t"));
	else if (inbound->ncolumns > 0)
	{
		inbound->read_locked = concord_inbound_prepare(inbound->key_desc,
													   stm_read(inbound, " FOR UPDATE OF t"));
		inbound->update = concord_inbound_prepare(inbound->row_desc, stm_update(inbound));
	}
	if (inbound->remove)
		inbound->delete = concord_inbound_prepare(inbound->key_desc, stm_delete(inbound));
	if (inbound->napply > 0)
		inbound->apply = concord_inbound_prepare(inbound->remote_desc, stm_apply(inbound));
	if (!inbound->key_direct && !inbound->assigned && inbound->mapping->key != NIL)
		inbound->by_key = concord_inbound_prepare(inbound->remote_desc, stm_by_key(inbound));
	foreach(lc, inbound->mapping->options.match)
		inbound->matches = lappend(inbound->matches,
								   concord_inbound_prepare(inbound->remote_desc,
														   stm_match(inbound, lfirst(lc))));
}
