/*-------------------------------------------------------------------------
 *
 * explain.c
 *	  EXPLAIN (VERBOSE) shows the address that a foreign scan asks for.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/scan.h"

#include "access/table.h"
#include "commands/explain.h"
#include "fdw/plan.h"
#include "fdw/routine.h"
#include "miscadmin.h"
#include "parser/parsetree.h"
#include "utils/rel.h"

/* xpl_address makes the address of a plan without the values of its parameters. */
static char *
xpl_address(const ForeignScan *plan, ConcordForeignTable *table,
			const ConcordServer *server)
{
	const ConcordReading *reading = concord_connector_reading(server->connector);
	bool		odata2 = server->connector->odata2;
	bool		count = boolVal(list_nth(plan->fdw_private, CONCORD_PLAN_COUNT));
	const char *order = strVal(list_nth(plan->fdw_private, CONCORD_PLAN_ORDER));
	List	   *keys = list_nth(plan->fdw_private, CONCORD_PLAN_KEYS);
	bool	   *wanted = palloc0(sizeof(bool) * (table->ncolumns + 1));
	ConcordQuery query = {0};
	StringInfoData buf;
	bool		whole;
	ListCell   *lc;

	foreach(lc, (List *) list_nth(plan->fdw_private, CONCORD_PLAN_ATTRS))
		wanted[lfirst_int(lc) - 1] = true;
	initStringInfo(&buf);
	if (!count)
		appendStringInfoString(&buf, concord_scan_select(table, reading, odata2,
														 wanted));
	(void) concord_filter_write(&buf, list_nth(plan->fdw_private,
											   CONCORD_PLAN_CLAUSES),
								table, reading, odata2, NULL,
								keys != NIL ? concord_join_keys_shown(table, keys) :
								NULL, &whole);
	if (!count)
		order = concord_order_stable(table, reading, order);
	if (*order)
		appendStringInfo(&buf, "%s%s=%s", buf.len > 0 ? "&" : "", reading->order,
						 order);
	query.query = buf.data;
	query.limit = strtoll(strVal(list_nth(plan->fdw_private, CONCORD_PLAN_LIMIT)),
						  NULL, 10);
	query.skip = strtoll(strVal(list_nth(plan->fdw_private, CONCORD_PLAN_SKIP)),
						 NULL, 10);
	query.single = count && reading->count != NULL;
	query.url = concord_reader_url(server, table, query.single ? reading->count :
								   reading->path);
	return concord_reader_shown(reading, table, &query);
}

/* concord_fdw_explain shows the address of a foreign scan. */
void
concord_fdw_explain(ForeignScanState *node, ExplainState *es)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	Index		rti = concord_scan_table(plan);
	Relation	rel;
	ConcordForeignTable *table;
	Oid			userid;
	const ConcordServer *server;

	if (!es->verbose)
		return;
	userid = concord_scan_user(node, plan, rti);
	rel = table_open(rt_fetch(rti, es->rtable)->relid, AccessShareLock);
	table = concord_fdw_table(rel);
	table_close(rel, AccessShareLock);
	server = concord_peer_get_any(table->serverid, OidIsValid(userid) ? userid :
								  GetUserId())->server;
	ExplainPropertyText("Remote URL", xpl_address(plan, table, server), es);
	if (list_nth(plan->fdw_private, CONCORD_PLAN_KEYS) != NIL &&
		concord_reader_lists(server) > 1)
		ExplainPropertyInteger("Remote Batch Size", NULL,
							   concord_reader_lists(server), es);
}
