/*-------------------------------------------------------------------------
 *
 * statement.c
 *	  Texts of expressions, and the statements that evaluate them.
 *
 * This is the only file that puts a user's text into a statement.  A text is
 * safe once concord_statement_analyze has taken it: between a parenthesis
 * and a newline with another it parses as one SELECT of one unnamed value,
 * without any other clause.  Joining such texts with commas cannot give
 * another meaning to any of them.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/statement.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/tuplestore.h"

/* What stands before an expression; a comment in it cannot eat the ")". */
#define STM_BEFORE	"SELECT ("
#define STM_AFTER	"\n)"

/*
 * stm_context adds the expression's name to an error, and makes a position in
 * our statement one in the expression.
 */
static void
stm_context(void *arg)
{
	ConcordStatementContext *scope = arg;
	int			position = geterrposition();

	if (position > (int) strlen(STM_BEFORE) && scope->expression != NULL)
	{
		position -= strlen(STM_BEFORE);
		position = Min(position, pg_mbstrlen(scope->expression->text) + 1);
		errposition(0);
		internalerrposition(position);
		internalerrquery(scope->expression->text);
	}
	if (scope->expression == NULL)
		errcontext("mapping \"%s\"", scope->mapping->name);
	else
		errcontext("%s of mapping \"%s\"",
				   concord_run_describe(scope->expression),
				   scope->mapping->name);
}

/* concord_statement_push names the expression that is worked on. */
void
concord_statement_push(ConcordStatementContext *scope,
					   const ConcordMapping *mapping,
					   const ConcordExpression *expression)
{
	scope->mapping = mapping;
	scope->expression = expression;
	scope->callback.callback = stm_context;
	scope->callback.arg = scope;
	scope->callback.previous = error_context_stack;
	error_context_stack = &scope->callback;
}

/* concord_statement_pop ends that. */
void
concord_statement_pop(ConcordStatementContext *scope)
{
	error_context_stack = scope->callback.previous;
}

/* stm_not_one raises where a text is more, or less, than an expression. */
static void
stm_not_one(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNTAX_ERROR),
			 errmsg("not a single SQL expression"),
			 errhint("Write one expression, as in \"trim(name)\"; put a query into parentheses as a sub-SELECT.")));
}

/* stm_parse returns the raw statement of one expression, or raises. */
static RawStmt *
stm_parse(const char *text)
{
	char	   *statement = psprintf("%s%s%s", STM_BEFORE, text, STM_AFTER);
	List	   *raw = raw_parser(statement, RAW_PARSE_DEFAULT);
	SelectStmt *select;
	ResTarget  *target;
	Node	   *node;

	if (list_length(raw) != 1 ||
		!IsA(linitial_node(RawStmt, raw)->stmt, SelectStmt))
		stm_not_one();
	select = (SelectStmt *) linitial_node(RawStmt, raw)->stmt;
	if (select->op != SETOP_NONE || list_length(select->targetList) != 1 ||
		select->distinctClause != NIL || select->intoClause != NULL ||
		select->fromClause != NIL || select->whereClause != NULL ||
		select->groupClause != NIL || select->havingClause != NULL ||
		select->windowClause != NIL || select->valuesLists != NIL ||
		select->sortClause != NIL || select->limitOffset != NULL ||
		select->limitCount != NULL || select->lockingClause != NIL ||
		select->withClause != NULL)
		stm_not_one();

	target = linitial_node(ResTarget, select->targetList);
	if (target->name != NULL || target->indirection != NIL)
		stm_not_one();
	node = target->val;
	if (IsA(node, ColumnRef))
	{
		if (IsA(llast(((ColumnRef *) node)->fields), A_Star))
			stm_not_one();
	}
	else if (IsA(node, A_Indirection))
	{
		if (IsA(llast(((A_Indirection *) node)->indirection), A_Star))
			stm_not_one();
	}
	return linitial_node(RawStmt, raw);
}

/* stm_refuse_locks refuses what a read-only transaction would. */
static bool
stm_refuse_locks(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;

		if (query->rowMarks != NIL || query->commandType != CMD_SELECT)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("an expression of a mapping can only read")));
		return query_tree_walker(query, stm_refuse_locks, context, 0);
	}
	return expression_tree_walker(node, stm_refuse_locks, context);
}

/* concord_statement_analyze analyzes one expression. */
Node *
concord_statement_analyze(ConcordNames *names, const char *text)
{
	RawStmt    *raw;
	char	   *statement;
	Query	   *query;

	if (strspn(text, " \t\r\n\f") == strlen(text))
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("expression is empty")));
	raw = stm_parse(text);
	statement = psprintf("%s%s%s", STM_BEFORE, text, STM_AFTER);
	query = parse_analyze_withcb(raw, statement, concord_names_setup, names,
								 NULL);
	if (query->hasAggs || query->hasWindowFuncs)
		ereport(ERROR,
				(errcode(ERRCODE_GROUPING_ERROR),
				 errmsg("aggregate and window functions are not allowed in expressions of a mapping"),
				 errhint("Use them in a sub-SELECT.")));
	if (query->hasTargetSRFs)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("set-returning functions are not allowed in expressions of a mapping"),
				 errhint("Use them in a sub-SELECT.")));
	(void) stm_refuse_locks((Node *) query, NULL);
	return (Node *) linitial_node(TargetEntry, query->targetList)->expr;
}

/* concord_statement_desc describes the relation that statements read. */
TupleDesc
concord_statement_desc(const ConcordNames *names)
{
	TupleDesc	desc = CreateTemplateTupleDesc(names->nslots + 1);

	TupleDescInitEntry(desc, 1, "concord.0", INT4OID, -1, 0);
	for (int i = 0; i < names->nslots; i++)
	{
		const ConcordSlot *slot = &names->slots[i];
		char		name[NAMEDATALEN];

		snprintf(name, sizeof(name), "concord.%d", i + 1);
		TupleDescInitEntry(desc, i + 2, name, slot->type, slot->typmod, 0);
		TupleDescInitEntryCollation(desc, i + 2, slot->collation);
	}
	concord_desc_finish(desc);
	return desc;
}

/* concord_statement_prepare prepares the statement of a set. */
SPIPlanPtr
concord_statement_prepare(ConcordCompiled *compiled, const ConcordSet *set)
{
	MemoryContext context = CurrentMemoryContext;
	StringInfoData buf;
	SPIPlanPtr	plan;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "SELECT \"concord.0\"");
	for (int i = 0; i < set->n; i++)
	{
		if (set->expressions[i]->kind == CONCORD_EXPRESSION_SQL)
			appendStringInfo(&buf, ", (%s%s", set->expressions[i]->text,
							 STM_AFTER);
	}
	appendStringInfo(&buf, " FROM \"%s\"", CONCORD_STATEMENT_RELATION);

	concord_statement_register(compiled, NULL, 0);
	compiled->names->as_vars = true;
	plan = SPI_prepare_params(buf.data, concord_names_setup, compiled->names,
							  CURSOR_OPT_NO_SCROLL);
	concord_statement_unregister();
	if (plan == NULL)
		elog(ERROR, "could not prepare a mapping's statement: %s",
			 SPI_result_code_string(SPI_result));
	pfree(buf.data);
	MemoryContextSwitchTo(context);
	return plan;
}

/* concord_statement_register makes rows visible to statements. */
void
concord_statement_register(ConcordCompiled *compiled,
						   struct Tuplestorestate *rows, double nrows)
{
	MemoryContext context = CurrentMemoryContext;
	EphemeralNamedRelation relation;

	/* left behind where an error ended the last use */
	(void) SPI_unregister_relation(CONCORD_STATEMENT_RELATION);

	/* it and what SPI allocates with it live as long as the connection */
	MemoryContextSwitchTo(TopTransactionContext);
	relation = palloc0(sizeof(EphemeralNamedRelationData));
	relation->md.name = pstrdup(CONCORD_STATEMENT_RELATION);
	relation->md.reliddesc = InvalidOid;
	relation->md.tupdesc = compiled->row_desc;
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->md.enrtuples = nrows;
	relation->reldata = rows;
	if (SPI_register_relation(relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the rows of a mapping");
	MemoryContextSwitchTo(context);
}

/* concord_statement_unregister takes them away. */
void
concord_statement_unregister(void)
{
	MemoryContext context = CurrentMemoryContext;

	(void) SPI_unregister_relation(CONCORD_STATEMENT_RELATION);
	MemoryContextSwitchTo(context);
}
