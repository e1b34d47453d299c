/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  Read the keys of a mapping's rows, as its definer.
 *
 * The condition that a caller gives is foreign code, as a mapping's expressions
 * are: it is checked to be one boolean expression over the row and runs in the
 * same environment, with row security.  Each step enters that environment and
 * leaves it again, so that the caller does its own work as itself.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/scan.h"

#include "access/htup_details.h"
#include "base/json.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "mapping/statement.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

struct ConcordKeyScan
{
	const ConcordMapping *mapping;
	Portal		portal;
};

/* concord_scan_check_filter refuses a filter that is not one condition on a row. */
void
concord_scan_check_filter(const ConcordMapping *mapping, const char *filter)
{
	ConcordExpression expression = {"filter", NULL, filter};
	ConcordStatementContext scope;
	ConcordNames *names;

	concord_statement_push(&scope, mapping, &expression);
	names = concord_names_create(mapping->source, CurrentMemoryContext);
	if (exprType(concord_statement_analyze(names, filter)) != BOOLOID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("filter must be of type boolean")));
	concord_statement_pop(&scope);
}

/* scn_query writes the query that reads the keys. */
static char *
scn_query(const ConcordMapping *mapping, const char *filter)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, mapping->local_key)
		appendStringInfo(&buf, "%s%s", buf.len == 0 ? "SELECT " : ", ",
						 quote_identifier(lfirst(lc)));
	appendStringInfo(&buf, " FROM %s",
					 quote_qualified_identifier(get_namespace_name(get_rel_namespace(mapping->source)),
												get_rel_name(mapping->source)));
	if (filter != NULL)
		appendStringInfo(&buf, " WHERE (%s\n)", filter);
	return buf.data;
}

/* concord_key_scan_open begins to read, with the caller's snapshot. */
ConcordKeyScan *
concord_key_scan_open(const ConcordMapping *mapping, const char *filter)
{
	ConcordKeyScan *scan = palloc0(sizeof(ConcordKeyScan));
	ConcordEnvironment environment;
	SPIPlanPtr	plan;

	scan->mapping = mapping;
	concord_environment_enter(&environment, mapping->definer,
							  mapping->search_path);
	if (filter != NULL)
		concord_scan_check_filter(mapping, filter);
	plan = SPI_prepare(scn_query(mapping, filter), 0, NULL);
	if (plan == NULL)
		elog(ERROR, "could not prepare reading the rows of mapping \"%s\"",
			 mapping->name);
	scan->portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	concord_environment_leave(&environment);
	return scan;
}

/* scn_key writes a row's key as a JSON object of texts. */
static char *
scn_key(const ConcordMapping *mapping, HeapTuple tuple, TupleDesc desc)
{
	StringInfoData buf;
	int			column = 1;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, mapping->local_key)
	{
		const char *name = lfirst(lc);
		char	   *text = SPI_getvalue(tuple, desc, column++);

		if (text == NULL)
			return NULL;
		appendStringInfoChar(&buf, buf.len == 0 ? '{' : ',');
		concord_json_string(&buf, name, strlen(name));
		appendStringInfoChar(&buf, ':');
		concord_json_string(&buf, text, strlen(text));
	}
	appendStringInfoChar(&buf, '}');
	return concord_json_server(buf.data);
}

/* concord_key_scan_next reads up to max keys in the current context. */
char	  **
concord_key_scan_next(ConcordKeyScan *scan, int max, int *nkeys)
{
	MemoryContext context = CurrentMemoryContext;
	ConcordEnvironment environment;
	char	  **keys = NULL;

	*nkeys = 0;
	concord_environment_enter(&environment, scan->mapping->definer,
							  scan->mapping->search_path);
	SPI_cursor_fetch(scan->portal, true, max);
	MemoryContextSwitchTo(context);
	if (SPI_processed > 0)
		keys = palloc(sizeof(char *) * SPI_processed);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		char	   *key = scn_key(scan->mapping, SPI_tuptable->vals[i],
								  SPI_tuptable->tupdesc);

		if (key != NULL)
			keys[(*nkeys)++] = key;
	}
	if (SPI_processed == 0)
		*nkeys = -1;
	SPI_freetuptable(SPI_tuptable);
	concord_environment_leave(&environment);
	return keys;
}

/* concord_key_scan_close ends it. */
void
concord_key_scan_close(ConcordKeyScan *scan)
{
	SPI_cursor_close(scan->portal);
	pfree(scan);
}
