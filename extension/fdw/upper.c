/*-------------------------------------------------------------------------
 *
 * upper.c
 *	  What the system can do above its list: count, and begin further on.
 *
 * Both only where every clause is asked for and exact, for nothing is left to
 * do here then:
 *
 *	SELECT count(*) FROM t WHERE ...		is one request
 *	SELECT ... ORDER BY ... LIMIT 10 OFFSET 1000	begins at the thousandth
 *
 * A LIMIT without OFFSET is a hint of the scan (plan.c).
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/plan.h"

#include "access/sysattr.h"
#include "catalog/pg_type.h"
#include "fdw/routine.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "utils/fmgroids.h"

/* upp_base returns the table that is all of a query, or NULL. */
static RelOptInfo *
upp_base(PlannerInfo *root)
{
	RelOptInfo *base;
	int			varno;
	ConcordPlanned *planned;

	if (bms_membership(root->all_baserels) != BMS_SINGLETON)
		return NULL;
	varno = bms_singleton_member(root->all_baserels);
	base = find_base_rel(root, varno);
	planned = base->fdw_private;
	if (base->reloptkind != RELOPT_BASEREL || base->fdwroutine == NULL ||
		planned == NULL || !planned->exact || !planned->table->pushdown ||
		root->parse->rowMarks != NIL || root->parse->commandType != CMD_SELECT ||
		root->hasPseudoConstantQuals)
		return NULL;
	return base;
}

/* upp_is_count says whether a target is count(*) and nothing else. */
static bool
upp_is_count(const PathTarget *target)
{
	Aggref	   *agg;

	if (list_length(target->exprs) != 1)
		return false;
	agg = linitial(target->exprs);
	return IsA(agg, Aggref) && agg->aggfnoid == F_COUNT_ && agg->aggstar &&
		agg->aggfilter == NULL && agg->aggdistinct == NIL &&
		agg->agglevelsup == 0;
}

/* upp_count adds the path that asks how many records there are. */
static void
upp_count(PlannerInfo *root, RelOptInfo *output)
{
	RelOptInfo *base = upp_base(root);
	ConcordPlanned *planned;
	PathTarget *target = root->upper_targets[UPPERREL_GROUP_AGG];
	const ConcordPathInfo info = {.count = true,.limit = -1};

	if (base == NULL || root->parse->groupClause != NIL ||
		root->parse->groupingSets != NIL || root->parse->havingQual != NULL ||
		!root->parse->hasAggs || !upp_is_count(target))
		return;
	planned = base->fdw_private;
	if (planned->reading->count == NULL && planned->reading->total == NULL)
		return;
	add_path(output, (Path *)
			 concord_foreign_upper_path(root, output, target, 1, 200.0, 200.01,
										NIL, concord_path_private(&info)));
}

/* upp_constant reads a LIMIT or OFFSET that is a constant; -1: none. */
static bool
upp_constant(Node *node, int64 *value)
{
	Const	   *c = (Const *) node;

	if (node == NULL)
		return true;
	if (!IsA(c, Const) || c->consttype != INT8OID)
		return false;
	if (!c->constisnull)
		*value = DatumGetInt64(c->constvalue);
	return true;
}

/* upp_final adds the path that begins behind an OFFSET. */
static void
upp_final(PlannerInfo *root, RelOptInfo *output)
{
	RelOptInfo *base = upp_base(root);
	ConcordPlanned *planned;
	ConcordPathInfo info = {.limit = -1};
	PathTarget *target = root->upper_targets[UPPERREL_FINAL];
	Bitmapset  *used = NULL;
	Path	   *all;
	double		rows;

	if (base == NULL || !concord_plan_simple(root, base) ||
		root->parse->limitOption == LIMIT_OPTION_WITH_TIES ||
		!upp_constant(root->parse->limitCount, &info.limit) ||
		!upp_constant(root->parse->limitOffset, &info.skip) || info.skip < 1)
		return;
	planned = base->fdw_private;
	if (planned->reading->skip == NULL)
		return;
	if (root->sort_pathkeys != NIL)
	{
		info.order = concord_order_text(root, base, root->sort_pathkeys);
		if (info.order == NULL)
			return;
	}
	/* every column that the result needs must be one of ours */
	if (target == NULL || contain_subplans((Node *) target->exprs))
		return;
	pull_varattnos((Node *) target->exprs, base->relid, &used);
	if (bms_next_member(used, -1) >= 0 &&
		bms_next_member(used, -1) <= 0 - FirstLowInvalidHeapAttributeNumber)
		return;
	all = base->cheapest_total_path;
	rows = info.limit >= 0 ? info.limit : Max(1, base->rows - info.skip);
	add_path(output, (Path *)
			 concord_foreign_upper_path(root, output, target, rows, 200.0,
										200.0 + rows * 0.01 + Min(all->total_cost * 0.1, rows * 0.2),
										root->sort_pathkeys,
										concord_path_private(&info)));
}

/* concord_fdw_upper_paths adds what the system can do above its list. */
void
concord_fdw_upper_paths(PlannerInfo *root, UpperRelationKind stage,
						RelOptInfo *input, RelOptInfo *output, void *extra)
{
	if (stage == UPPERREL_GROUP_AGG)
		upp_count(root, output);
	else if (stage == UPPERREL_FINAL)
		upp_final(root, output);
}
