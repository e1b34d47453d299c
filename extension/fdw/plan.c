/*-------------------------------------------------------------------------
 *
 * plan.c
 *	  Planning of foreign scans.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/routine.h"

#include "access/table.h"
#include "fdw/fdw.h"
#include "nodes/pathnodes.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/planmain.h"
#include "optimizer/restrictinfo.h"

/* concord_fdw_rel_size refuses tables that nothing reads. */
void
concord_fdw_rel_size(PlannerInfo *root, RelOptInfo *baserel, Oid relid)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("foreign tables cannot be read in this version")));
}

void
concord_fdw_paths(PlannerInfo *root, RelOptInfo *baserel, Oid relid)
{
}

ForeignScan *
concord_fdw_plan(PlannerInfo *root, RelOptInfo *rel, Oid relid,
				 ForeignPath *best, List *tlist, List *clauses,
				 Plan *outer_plan)
{
	return NULL;
}

void
concord_fdw_begin_scan(ForeignScanState *node, int eflags)
{
}

TupleTableSlot *
concord_fdw_iterate(ForeignScanState *node)
{
	return NULL;
}

void
concord_fdw_rescan(ForeignScanState *node)
{
}

void
concord_fdw_end_scan(ForeignScanState *node)
{
}
