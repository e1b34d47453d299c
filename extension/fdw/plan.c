/*-------------------------------------------------------------------------
 *
 * plan.c
 *	  Planning of foreign scans.
 *
 * Paths of a table:
 *	- all that passes the clauses that the system is asked for
 *	- the same in the order that the query wants, where the system has it
 *	- by the values of another table's row (a join's key), one request for each
 *
 * A LIMIT is handed on as a hint: where nothing is filtered or sorted here, no
 * more than that is asked for.  The Limit node stays.
 *
 * Costs are rough: a request is dear, a row that comes costs some hundred times
 * what a row costs that is here.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/plan.h"

#include <math.h>

#include "access/sysattr.h"
#include "access/table.h"
#include "fdw/filter.h"
#include "fdw/reader.h"
#include "fdw/routine.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"
#include "optimizer/tlist.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#define PLN_ROWS			1000.0	/* of a table nothing is known of */

/* What is looked for among equivalence classes. */
typedef struct PlnMember
{
	Expr	   *current;
	List	   *used;
} PlnMember;

/* pln_user says as whom a table is read. */
static Oid
pln_user(const RelOptInfo *rel)
{
	return OidIsValid(rel->userid) ? rel->userid : GetUserId();
}

/* pln_clauses finds out which clauses the system can be asked for. */
static void
pln_clauses(PlannerInfo *root, RelOptInfo *rel, ConcordPlanned *planned)
{
	ConcordFilter filter;
	ListCell   *lc;

	planned->exact = true;
	if (!planned->table->pushdown)
	{
		planned->exact = rel->baserestrictinfo == NIL;
		return;
	}
	concord_filter_begin(&filter, rel, planned->table,
						 planned->peer->server->connector);
	foreach(lc, rel->baserestrictinfo)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		List	   *pieces;
		ConcordMatch match;

		if (rinfo->pseudoconstant)
			continue;
		match = concord_filter_clause(&filter, rinfo->clause, &pieces);
		if (match != CONCORD_MATCH_NONE)
			planned->pushed = lappend(planned->pushed, rinfo);
		planned->exact &= match == CONCORD_MATCH_EXACT;
	}
	/* a value that is known later may have no form there */
	planned->exact &= filter.params == NIL;
	planned->listed = filter.listed;
	planned->used = filter.used;
}

/* pln_count asks the system how many records there are. */
static double
pln_count(ConcordPlanned *planned)
{
	ConcordQuery query = {.limit = -1};
	ConcordReader *reader;

	if (planned->reading->count == NULL && planned->reading->total == NULL)
		return -1;
	query.url = concord_reader_url(planned->peer->server, planned->table,
								   planned->reading->count);
	query.single = planned->reading->count != NULL;
	reader = concord_reader_create(planned->table, planned->peer);
	return (double) concord_reader_count(reader, &query);
}

/* pln_tuples says how many records there are, as far as it is known. */
static double
pln_tuples(ConcordPlanned *planned, const RelOptInfo *rel)
{
	double		n = -1;

	if (planned->table->use_remote_estimate)
		n = pln_count(planned);
	if (n < 0)
		n = planned->table->rows;
	if (n < 0 && rel->tuples > 0)
		n = rel->tuples;
	return n < 0 ? PLN_ROWS : n;
}

/* concord_fdw_rel_size estimates how large a scan's result is. */
void
concord_fdw_rel_size(PlannerInfo *root, RelOptInfo *baserel, Oid relid)
{
	ConcordPlanned *planned = palloc0(sizeof(ConcordPlanned));
	Relation	rel = table_open(relid, NoLock);

	planned->table = concord_fdw_table(rel);
	table_close(rel, NoLock);
	planned->peer = concord_peer_get_any(planned->table->serverid,
										 pln_user(baserel));
	planned->reading = concord_connector_reading(planned->peer->server->connector);
	planned->odata2 = planned->peer->server->connector->odata2;
	baserel->fdw_private = planned;

	pln_clauses(root, baserel, planned);
	baserel->tuples = pln_tuples(planned, baserel);
	set_baserel_size_estimates(root, baserel);
	planned->fetched = clamp_row_est(baserel->tuples *
									 clauselist_selectivity(root, planned->pushed,
															baserel->relid,
															JOIN_INNER, NULL));
}

/* concord_path_private is what a path carries. */
List *
concord_path_private(const ConcordPathInfo *info)
{
	return list_make5(makeInteger(info->count),
					  makeString(info->order != NULL ? info->order : pstrdup("")),
					  makeString(psprintf(INT64_FORMAT, info->limit)),
					  makeString(psprintf(INT64_FORMAT, info->skip)),
					  info->keys);
}

/* concord_plan_table returns what planning knows of a table of ours, or NULL. */
ConcordPlanned *
concord_plan_table(const RelOptInfo *rel)
{
	if (rel->fdwroutine == NULL || !IS_SIMPLE_REL(rel) ||
		rel->fdwroutine->GetForeignPlan != concord_fdw_plan)
		return NULL;
	return rel->fdw_private;
}

/* concord_plan_pages says how many requests bring so many rows. */
double
concord_plan_pages(const ConcordPlanned *planned, double rows)
{
	int			size = planned->table->page_size > 0 ? planned->table->page_size :
		planned->reading->page_size;

	return Max(1.0, ceil(rows / size));
}

/* pln_path makes a path; rows come over, of which some are thrown away here. */
static Path *
pln_path(PlannerInfo *root, RelOptInfo *rel, double fetched, double rows,
		 List *pathkeys, Relids outer, const ConcordPathInfo *info)
{
	ConcordPlanned *planned = rel->fdw_private;
	Cost		startup = CONCORD_REQUEST_COST;
	Cost		total = CONCORD_REQUEST_COST * concord_plan_pages(planned, fetched) +
		fetched * (CONCORD_ROW_COST + cpu_tuple_cost) +
		fetched * rel->baserestrictcost.per_tuple;

	/* the order costs the system something, but much less than it does here */
	if (pathkeys != NIL)
		total += total * 0.001;
	return (Path *) concord_foreignscan_path(root, rel, rows, startup, total,
											 pathkeys, outer,
											 concord_path_private(info));
}

/*
 * concord_plan_simple says whether the rows of a relation are the query's: what
 * it limits are they.
 */
bool
concord_plan_simple(PlannerInfo *root, RelOptInfo *rel)
{
	Query	   *parse = root->parse;

	return rel->reloptkind == RELOPT_BASEREL &&
		bms_equal(rel->relids, root->all_baserels) &&
		parse->commandType == CMD_SELECT && parse->groupClause == NIL &&
		parse->groupingSets == NIL && !parse->hasAggs &&
		parse->havingQual == NULL && !parse->hasWindowFuncs &&
		parse->distinctClause == NIL && !parse->hasTargetSRFs &&
		parse->setOperations == NULL && parse->rowMarks == NIL;
}

/* pln_limit gives the hint for a path; -1: there is none. */
static int64
pln_limit(PlannerInfo *root, RelOptInfo *rel, bool ordered)
{
	ConcordPlanned *planned = rel->fdw_private;

	if (root->limit_tuples < 1 || root->limit_tuples > 1e15 ||
		!planned->exact || !concord_plan_simple(root, rel) ||
		(root->parse->sortClause != NIL && !ordered) ||
		root->parse->limitOption == LIMIT_OPTION_WITH_TIES)
		return -1;
	return (int64) root->limit_tuples;
}

/* pln_matches finds members of equivalence classes that are columns of ours. */
static bool
pln_matches(PlannerInfo *root, RelOptInfo *rel, EquivalenceClass *ec,
			EquivalenceMember *em, void *arg)
{
	PlnMember  *member = arg;

	if (member->current != NULL)
		return equal(em->em_expr, member->current);
	if (list_member(member->used, em->em_expr))
		return false;
	member->current = em->em_expr;
	return true;
}

/* pln_outer adds the parameters of a join clause that the system can be asked. */
static List *
pln_outer(PlannerInfo *root, RelOptInfo *rel, RestrictInfo *rinfo, List *params)
{
	ConcordPlanned *planned = rel->fdw_private;
	ConcordFilter filter;
	Relids		outer;
	List	   *pieces;
	ParamPathInfo *info;

	if (!join_clause_is_movable_to(rinfo, rel))
		return params;
	concord_filter_begin(&filter, rel, planned->table,
						 planned->peer->server->connector);
	if (concord_filter_clause(&filter, rinfo->clause, &pieces) ==
		CONCORD_MATCH_NONE)
		return params;
	outer = bms_union(rinfo->clause_relids, rel->lateral_relids);
	outer = bms_del_member(outer, rel->relid);
	if (bms_is_empty(outer))
		return params;
	info = get_baserel_parampathinfo(root, rel, outer);
	return list_append_unique_ptr(params, info);
}

/* pln_lookups adds paths that look a join's keys up. */
static void
pln_lookups(PlannerInfo *root, RelOptInfo *rel)
{
	List	   *params = NIL;
	ListCell   *lc;
	const ConcordPathInfo none = {.limit = -1};

	foreach(lc, rel->joininfo)
		params = pln_outer(root, rel, lfirst_node(RestrictInfo, lc), params);
	if (rel->has_eclass_joins)
	{
		PlnMember	member = {NULL, NIL};

		for (;;)
		{
			List	   *clauses;

			member.current = NULL;
			clauses = generate_implied_equalities_for_column(root, rel,
															 pln_matches,
															 &member,
															 rel->lateral_referencers);
			if (member.current == NULL)
				break;
			foreach(lc, clauses)
				params = pln_outer(root, rel, lfirst_node(RestrictInfo, lc),
								   params);
			member.used = lappend(member.used, member.current);
		}
	}
	foreach(lc, params)
	{
		ParamPathInfo *info = lfirst(lc);

		add_path(rel, pln_path(root, rel, info->ppi_rows, info->ppi_rows, NIL,
							   info->ppi_req_outer, &none));
	}
}

/* concord_fdw_paths adds the paths of a table. */
void
concord_fdw_paths(PlannerInfo *root, RelOptInfo *rel, Oid relid)
{
	ConcordPlanned *planned = rel->fdw_private;
	ConcordPathInfo info = {.limit = pln_limit(root, rel, false)};

	add_path(rel, pln_path(root, rel, planned->fetched, rel->rows, NIL,
						   rel->lateral_relids, &info));
	if (!planned->table->pushdown)
		return;
	if (root->query_pathkeys != NIL && !planned->listed)
	{
		info.order = concord_order_text(root, rel, root->query_pathkeys);
		if (info.order != NULL)
		{
			info.limit = pln_limit(root, rel, root->sort_pathkeys != NIL &&
								   pathkeys_contained_in(root->sort_pathkeys,
														 root->query_pathkeys));
			add_path(rel, pln_path(root, rel, planned->fetched, rel->rows,
								   root->query_pathkeys, rel->lateral_relids,
								   &info));
		}
	}
	pln_lookups(root, rel);
}

/* pln_attrs says which columns are needed: those used, and the key. */
static List *
pln_attrs(const ConcordForeignTable *table, Bitmapset *used)
{
	bool		all = bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, used);
	List	   *attrs = NIL;

	for (int i = 0; i < table->ncolumns; i++)
	{
		const ConcordForeignColumn *column = &table->columns[i];

		if (column->attnum == 0)
			continue;
		if (all || column->key ||
			bms_is_member(column->attnum - FirstLowInvalidHeapAttributeNumber, used))
			attrs = lappend_int(attrs, column->attnum);
	}
	return attrs;
}

/* pln_base finds the table's relation below an upper one. */
static RelOptInfo *
pln_base(PlannerInfo *root, RelOptInfo *rel)
{
	int			varno;

	if (IS_SIMPLE_REL(rel))
		return rel;
	varno = bms_next_member(root->all_baserels, -1);
	return find_base_rel(root, varno);
}

/* pln_output makes the tuples of a scan that are not those of the table. */
static List *
pln_output(List *tlist, List *quals, List **columns)
{
	List	   *vars = pull_var_clause((Node *) tlist, PVC_RECURSE_PLACEHOLDERS |
									   PVC_RECURSE_AGGREGATES);
	List	   *output;
	ListCell   *lc;

	vars = list_concat(vars, pull_var_clause((Node *) quals,
											 PVC_RECURSE_PLACEHOLDERS));
	output = add_to_flat_tlist(NIL, vars);
	*columns = NIL;
	foreach(lc, output)
	{
		Var		   *var = (Var *) lfirst_node(TargetEntry, lc)->expr;

		*columns = lappend_int(*columns, var->varattno);
	}
	return output;
}

/* pln_changed says whether a table's rows are to be changed or deleted. */
static bool
pln_changed(PlannerInfo *root, const RelOptInfo *rel)
{
	return (root->parse->commandType == CMD_UPDATE ||
			root->parse->commandType == CMD_DELETE) &&
		bms_is_member(rel->relid, root->all_result_relids);
}

/* concord_fdw_plan makes the plan of a path. */
ForeignScan *
concord_fdw_plan(PlannerInfo *root, RelOptInfo *rel, Oid relid,
				 ForeignPath *best, List *tlist, List *clauses,
				 Plan *outer_plan)
{
	RelOptInfo *base = pln_base(root, rel);
	ConcordPlanned *planned = base->fdw_private;
	bool		upper = base != rel;
	bool		count = intVal(linitial(best->fdw_private)) != 0;
	ConcordFilter filter;
	List	   *pushed = NIL;
	List	   *local;
	List	   *scan_tlist = NIL;
	List	   *columns = NIL;
	Bitmapset  *used = NULL;
	List	   *private;
	ListCell   *lc;

	if (upper)
		clauses = base->baserestrictinfo;
	concord_filter_begin(&filter, base, planned->table,
						 planned->peer->server->connector);
	foreach(lc, clauses)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		List	   *pieces;

		if (!rinfo->pseudoconstant && planned->table->pushdown &&
			concord_filter_clause(&filter, rinfo->clause, &pieces) !=
			CONCORD_MATCH_NONE)
			pushed = lappend(pushed, pieces);
	}
	local = count ? NIL : extract_actual_clauses(clauses, false);
	if (count)
		scan_tlist = copyObject(tlist);
	else
	{
		if (upper)
			scan_tlist = pln_output(tlist, local, &columns);
		pull_varattnos((Node *) base->reltarget->exprs, base->relid, &used);
		pull_varattnos((Node *) tlist, base->relid, &used);
		pull_varattnos((Node *) local, base->relid, &used);
	}

	private = list_make5(makeBoolean(count),
						 pln_attrs(planned->table, used), pushed,
						 lsecond(best->fdw_private), lthird(best->fdw_private));
	private = lappend(private, lfourth(best->fdw_private));
	private = lappend(private, columns);
	private = lappend(private, makeBoolean(pln_changed(root, base)));
	private = lappend(private, list_nth(best->fdw_private, 4));
	private = lappend(private,
					  makeBoolean(root->tuple_fraction <= 0 ||
								  strcmp(strVal(lthird(best->fdw_private)), "-1") != 0));
	return make_foreignscan(tlist, local, upper ? 0 : base->relid, filter.params,
							private, scan_tlist, NIL, outer_plan);
}
