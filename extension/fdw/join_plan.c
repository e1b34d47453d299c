/*-------------------------------------------------------------------------
 *
 * join_plan.c
 *	  Planning of joins that look the keys of many rows up in one request.
 *
 * A nested loop asks a foreign table for one key at a time, and the interface of
 * foreign-data wrappers has no way to ask for more.  So where one side of a join
 * is a foreign table of ours, and clauses of the join say that columns of it
 * equal something of the other side, a path of our own is added: a CustomScan
 * with both sides as its children, the foreign one planned so that the join
 * tells it keys before each of its scans.  What else was possible:
 *
 *	- a parameter of an array type for the foreign scan: the planner refuses
 *	  parameters that none of its own nodes sets
 *	- asking for all keys before the join begins: reads the other side twice,
 *	  or keeps it
 *
 * The executor's half is join.c.  Joins: inner, left, semi, anti, with the
 * foreign table on the side that may be missing.  Not with placeholders or
 * lateral references, whose values come from elsewhere; not in parallel.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/join.h"

#include <math.h>

#include "base/settings.h"
#include "fdw/filter.h"
#include "fdw/join_keys.h"
#include "fdw/plan.h"
#include "fdw/reader.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "optimizer/tlist.h"
#include "utils/lsyscache.h"
#include "utils/selfuncs.h"

/* A row of the other side, while its key is looked up: beside its columns. */
#define JPL_ROW_OVERHEAD	64

/* One more request in a request, at the system. */
#define JPL_PART_COST		(CONCORD_REQUEST_COST / 10)

/* What custom_private of a path carries. */
typedef enum JplItem
{
	JPL_TYPE,					/* Integer: JoinType */
	JPL_CLAUSES,				/* List of RestrictInfo *: all of the join's */
	JPL_KEYS,					/* List of RestrictInfo *: those of the keys */
} JplItem;

/* A join that is looked at. */
typedef struct JplJoin
{
	PlannerInfo *root;
	RelOptInfo *joinrel;
	RelOptInfo *outer;
	RelOptInfo *inner;
	JoinType	type;
	JoinPathExtraData *extra;
	ConcordPlanned *planned;	/* of inner */
	List	   *keys;			/* List of RestrictInfo * */
	List	   *columns;		/* IntList: of inner, one for each */
	List	   *values;			/* List of Expr *: of outer, one for each */
} JplJoin;

static set_join_pathlist_hook_type jpl_next_hook = NULL;

/* jpl_plain says whether a relation has nothing but columns of tables. */
static bool
jpl_plain(const RelOptInfo *rel)
{
	ListCell   *lc;

	foreach(lc, rel->reltarget->exprs)
	{
		Var		   *var = lfirst(lc);

		if (!IsA(var, Var) || IS_SPECIAL_VARNO(var->varno))
			return false;
	}
	return true;
}

/* jpl_possible says whether there can be such a path at all. */
static bool
jpl_possible(const JplJoin *join)
{
	ListCell   *lc;

	if (join->type != JOIN_INNER && join->type != JOIN_LEFT &&
		join->type != JOIN_SEMI && join->type != JOIN_ANTI)
		return false;
	if (!join->planned->table->pushdown || join->planned->table->singleton ||
		!bms_is_empty(join->inner->lateral_relids) ||
		!bms_is_empty(join->joinrel->lateral_relids) ||
		!jpl_plain(join->outer) || !jpl_plain(join->inner) ||
		!jpl_plain(join->joinrel))
		return false;
	/* a parameter's name is there once, and one list is asked in parts */
	if (join->planned->listed && !join->planned->reading->odata)
		return false;
	foreach(lc, join->extra->restrictlist)
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		ListCell   *cell;

		if (rinfo->pseudoconstant)
			return false;
		foreach(cell, pull_var_clause((Node *) rinfo->clause,
									  PVC_INCLUDE_PLACEHOLDERS))
		{
			if (!IsA(lfirst(cell), Var))
				return false;
		}
	}
	return true;
}

/* jpl_taken: a template's parameter is asked for something else already. */
static bool
jpl_taken(const ConcordPlanned *planned, int attnum)
{
	ListCell   *lc;

	foreach(lc, planned->used)
	{
		if (linitial_int((List *) lfirst(lc)) == attnum)
			return true;
	}
	return false;
}

/* jpl_batches: several requests can be sent as one. */
static bool
jpl_batches(const JplJoin *join)
{
	return concord_reader_lists(join->planned->peer->server) > 1;
}

/* jpl_key takes a clause that compares a column with something of the other side. */
static void
jpl_key(JplJoin *join, RestrictInfo *rinfo)
{
	const ConcordForeignColumn *column;
	ConcordFilter filter;
	bool		left;
	Expr	   *value;

	if (list_length(join->keys) == INDEX_MAX_KEYS || !rinfo->can_join ||
		!OidIsValid(rinfo->hashjoinoperator) ||
		(IS_OUTER_JOIN(join->type) &&
		 RINFO_IS_PUSHED_DOWN(rinfo, join->joinrel->relids)))
		return;
	left = bms_is_subset(rinfo->left_relids, join->inner->relids);
	if (!(left && bms_is_subset(rinfo->right_relids, join->outer->relids)) &&
		!(bms_is_subset(rinfo->left_relids, join->outer->relids) &&
		  bms_is_subset(rinfo->right_relids, join->inner->relids)))
		return;
	concord_filter_begin(&filter, join->inner, join->planned->table,
						 join->planned->peer->server->connector);
	column = concord_filter_key(&filter, (OpExpr *) rinfo->clause,
								jpl_batches(join), &value);
	if (column == NULL || list_member_int(join->columns, column->attnum) ||
		jpl_taken(join->planned, column->attnum))
		return;
	join->keys = lappend(join->keys, rinfo);
	join->columns = lappend_int(join->columns, column->attnum);
	join->values = lappend(join->values, value);
}

/* jpl_one keeps one of several keys: where a filter cannot have them together. */
static void
jpl_one(JplJoin *join)
{
	int			which = 0;

	for (int i = list_length(join->columns) - 1; i >= 0; i--)
	{
		if (join->planned->table->columns[list_nth_int(join->columns, i) - 1].key)
			which = i;
	}
	join->keys = list_make1(list_nth(join->keys, which));
	join->columns = list_make1_int(list_nth_int(join->columns, which));
	join->values = list_make1(list_nth(join->values, which));
}

/* jpl_keys finds what can be looked up. */
static bool
jpl_keys(JplJoin *join)
{
	const ConcordReading *reading = join->planned->reading;
	ListCell   *lc;

	foreach(lc, join->extra->restrictlist)
		jpl_key(join, lfirst_node(RestrictInfo, lc));
	if (list_length(join->keys) > 1 &&
		(!reading->odata ||
		 (reading->operators & (1 << CONCORD_OP_EQ)) == 0 ||
		 ((reading->operators & (1 << CONCORD_OP_OR)) == 0 && !jpl_batches(join))))
		jpl_one(join);
	return join->keys != NIL;
}

/* jpl_unique says whether a key has one record at most. */
static bool
jpl_unique(const JplJoin *join)
{
	const ConcordForeignTable *table = join->planned->table;

	for (int i = 0; i < table->nkeys; i++)
	{
		if (!list_member_int(join->columns, table->keys[i]))
			return false;
	}
	return table->nkeys > 0;
}

/* jpl_each says how many records come for a key. */
static double
jpl_each(const JplJoin *join)
{
	double		each = join->planned->fetched *
		clauselist_selectivity(join->root, join->keys, join->inner->relid,
							   JOIN_INNER, NULL);

	return jpl_unique(join) ? Min(each, 1.0) : each;
}

/* jpl_cost says what a path costs. */
static void
jpl_cost(const JplJoin *join, const Path *outer, Path *path)
{
	const ConcordForeignTable *table = join->planned->table;
	int			filters;
	double		most = concord_join_keys_most(table, join->planned->peer->server,
											  list_length(join->columns), &filters);
	double		bytes = outer->rows * (outer->pathtarget->width + JPL_ROW_OVERHEAD);
	double		keys = estimate_num_groups(join->root, join->values,
										   outer->rows, NULL, NULL);
	double		batches = Max(ceil(keys / (most * filters)),
							  ceil(bytes / (work_mem * 1024.0)));
	double		each = jpl_each(join);
	double		records;
	Cost		requests;

	batches = Max(batches, 1.0);
	/* in another batch a key may be asked for once more */
	keys = Max(keys, Min(outer->rows, batches));
	records = Min(keys * each, batches * join->planned->fetched);
	requests = batches * CONCORD_REQUEST_COST *
		concord_plan_pages(join->planned, records / batches) +
		Max(ceil(keys / most) - batches, 0) * JPL_PART_COST;
	path->rows = join->joinrel->rows;
	path->startup_cost = outer->startup_cost +
		(outer->total_cost - outer->startup_cost) / batches +
		CONCORD_REQUEST_COST + path->pathtarget->cost.startup;
	path->total_cost = outer->total_cost + requests +
		records * (CONCORD_ROW_COST + cpu_tuple_cost +
				   join->inner->baserestrictcost.per_tuple) +
		(outer->rows + records) * cpu_operator_cost * list_length(join->keys) +
		outer->rows * cpu_tuple_cost +
		path->rows * (cpu_tuple_cost + path->pathtarget->cost.per_tuple +
					  cpu_operator_cost * list_length(join->extra->restrictlist));
	path->total_cost = Max(path->total_cost, path->startup_cost);
}

static Plan *jpl_plan(PlannerInfo *root, RelOptInfo *rel, CustomPath *best,
					  List *tlist, List *clauses, List *plans);

static const CustomPathMethods jpl_methods = {
	.CustomName = "Concord Lookup Join",
	.PlanCustomPath = jpl_plan,
};

/* jpl_inner makes the foreign table's path: it is told keys before each scan. */
static Path *
jpl_inner(const JplJoin *join)
{
	const ConcordPathInfo info = {.limit = -1,.keys = join->columns};
	RelOptInfo *inner = join->inner;
	double		rows = clamp_row_est(jpl_each(join));

	return (Path *)
		concord_foreignscan_path(join->root, inner, rows, CONCORD_REQUEST_COST,
								 CONCORD_REQUEST_COST + rows * CONCORD_ROW_COST,
								 NIL, NULL, concord_path_private(&info));
}

/* jpl_add adds the path that takes its keys from a path of the other side. */
static void
jpl_add(const JplJoin *join, Path *outer)
{
	CustomPath *path;

	if (outer == NULL || PATH_REQ_OUTER(outer) != NULL)
		return;
	path = makeNode(CustomPath);
	path->path.pathtype = T_CustomScan;
	path->path.parent = join->joinrel;
	path->path.pathtarget = join->joinrel->reltarget;
	path->path.parallel_workers = 0;
	path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	path->custom_paths = list_make2(outer, jpl_inner(join));
	path->custom_private = list_make3(makeInteger(join->type),
									  join->extra->restrictlist, join->keys);
	path->methods = &jpl_methods;
	jpl_cost(join, outer, &path->path);
	add_path(join->joinrel, &path->path);
}

/* jpl_hook adds our paths to those of a join. */
static void
jpl_hook(PlannerInfo *root, RelOptInfo *joinrel, RelOptInfo *outer,
		 RelOptInfo *inner, JoinType type, JoinPathExtraData *extra)
{
	JplJoin		join = {root, joinrel, outer, inner, type, extra};

	if (jpl_next_hook != NULL)
		jpl_next_hook(root, joinrel, outer, inner, type, extra);
	if (!concord_enable_lookup_join ||
		(join.planned = concord_plan_table(inner)) == NULL)
		return;
	if (!jpl_possible(&join) || !jpl_keys(&join))
		return;
	jpl_add(&join, outer->cheapest_total_path);
	if (outer->cheapest_startup_path != outer->cheapest_total_path)
		jpl_add(&join, outer->cheapest_startup_path);
}

/* jpl_find returns the place of a column in a target list, from 1 on; 0: none. */
static int
jpl_find(const List *tlist, const Var *var)
{
	ListCell   *lc;

	/* what outer joins may make null of them above does not tell them apart */
	foreach(lc, tlist)
	{
		const Var  *other = (Var *) lfirst_node(TargetEntry, lc)->expr;

		if (IsA(other, Var) && other->varno == var->varno &&
			other->varattno == var->varattno)
			return foreach_current_index(lc) + 1;
	}
	return 0;
}

/* jpl_same replaces columns in expressions by those of the scan's tuples. */
static Node *
jpl_same(Node *node, void *context)
{
	List	   *scan_tlist = context;

	if (node == NULL)
		return NULL;
	if (IsA(node, Var))
	{
		int			place = jpl_find(scan_tlist, (Var *) node);

		if (place == 0)
			elog(ERROR, "column of a join is missing");
		return copyObject((Node *) list_nth_node(TargetEntry, scan_tlist,
												 place - 1)->expr);
	}
	return expression_tree_mutator(node, jpl_same, context);
}

/* jpl_tuple says what the scan's tuples are made of. */
static List *
jpl_tuple(List *exprs, const Plan *outer, const Plan *inner, List **sources)
{
	List	   *scan_tlist = NIL;
	ListCell   *lc;

	*sources = NIL;
	foreach(lc, pull_var_clause((Node *) exprs, PVC_RECURSE_PLACEHOLDERS |
								PVC_RECURSE_AGGREGATES |
								PVC_RECURSE_WINDOWFUNCS))
	{
		Var		   *var = lfirst(lc);
		int			source;

		if (jpl_find(scan_tlist, var) > 0)
			continue;
		if ((source = jpl_find(outer->targetlist, var)) == 0 &&
			(source = -jpl_find(inner->targetlist, var)) == 0)
			elog(ERROR, "column of a join is on neither side");
		*sources = lappend_int(*sources, source);
		scan_tlist = lappend(scan_tlist,
							 makeTargetEntry((Expr *) copyObject(var),
											 list_length(scan_tlist) + 1, NULL,
											 false));
	}
	return scan_tlist;
}

/* jpl_plan makes the plan of a path. */
static Plan *
jpl_plan(PlannerInfo *root, RelOptInfo *rel, CustomPath *best, List *tlist,
		 List *clauses, List *plans)
{
	CustomScan *scan = makeNode(CustomScan);
	JoinType	type = intVal(list_nth(best->custom_private, JPL_TYPE));
	Relids		inner = ((Path *) lsecond(best->custom_paths))->parent->relids;
	List	   *all = list_nth(best->custom_private, JPL_CLAUSES);
	List	   *outer_keys = NIL;
	List	   *inner_keys = NIL;
	List	   *operators = NIL;
	List	   *swapped = NIL;
	List	   *collations = NIL;
	List	   *sources;
	List	   *qual;
	List	   *filter = NIL;
	ListCell   *lc;

	if (IS_OUTER_JOIN(type))
		extract_actual_join_clauses(all, rel->relids, &qual, &filter);
	else
		qual = extract_actual_clauses(all, false);
	foreach(lc, (List *) list_nth(best->custom_private, JPL_KEYS))
	{
		RestrictInfo *rinfo = lfirst_node(RestrictInfo, lc);
		OpExpr	   *clause = (OpExpr *) rinfo->clause;
		bool		left = bms_is_subset(rinfo->left_relids, inner);

		inner_keys = lappend(inner_keys, list_nth(clause->args, left ? 0 : 1));
		outer_keys = lappend(outer_keys, list_nth(clause->args, left ? 1 : 0));
		operators = lappend_oid(operators, clause->opno);
		swapped = lappend_int(swapped, left);
		collations = lappend_oid(collations, clause->inputcollid);
	}

	/*
	 * first those as they are above the join; tlist may be none yet, where a
	 * projection brings its own
	 */
	scan->custom_scan_tlist =
		jpl_tuple(list_make5(rel->reltarget->exprs, filter, qual, outer_keys,
							 inner_keys),
				  linitial(plans), lsecond(plans), &sources);
	scan->custom_exprs = list_make3(outer_keys, inner_keys, qual);
	scan->custom_exprs = (List *) jpl_same((Node *) scan->custom_exprs,
										   scan->custom_scan_tlist);
	scan->custom_private = list_make5(makeInteger(type), sources, operators,
									  swapped, collations);
	scan->custom_plans = plans;
	scan->methods = &concord_join_methods;
	scan->flags = best->flags;
	scan->scan.plan.targetlist = tlist;
	scan->scan.plan.qual = filter;
	return (Plan *) scan;
}

/* concord_join_init adds our paths to those of joins. */
void
concord_join_init(void)
{
	RegisterCustomScanMethods(&concord_join_methods);
	jpl_next_hook = set_join_pathlist_hook;
	set_join_pathlist_hook = jpl_hook;
}
