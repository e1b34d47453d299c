/*-------------------------------------------------------------------------
 *
 * routine.h
 *	  The functions of FdwRoutine, by file; private to fdw/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_ROUTINE_H
#define CONCORD_FDW_ROUTINE_H

#include "base/compat.h"

#include "foreign/fdwapi.h"

/* plan.c */
extern void concord_fdw_rel_size(PlannerInfo *root, RelOptInfo *baserel,
								 Oid relid);
extern void concord_fdw_paths(PlannerInfo *root, RelOptInfo *baserel, Oid relid);
extern ForeignScan *concord_fdw_plan(PlannerInfo *root, RelOptInfo *rel,
									 Oid relid, ForeignPath *best,
									 List *tlist, List *clauses,
									 Plan *outer_plan);

/* scan.c */
extern void concord_fdw_begin_scan(ForeignScanState *node, int eflags);
extern TupleTableSlot *concord_fdw_iterate(ForeignScanState *node);
extern void concord_fdw_rescan(ForeignScanState *node);
extern void concord_fdw_end_scan(ForeignScanState *node);

/* upper.c */
extern void concord_fdw_upper_paths(PlannerInfo *root, UpperRelationKind stage,
									RelOptInfo *input, RelOptInfo *output,
									void *extra);

/* explain.c */
extern void concord_fdw_explain(ForeignScanState *node, struct ExplainState *es);

/* analyze.c */
extern bool concord_fdw_analyze(Relation rel, AcquireSampleRowsFunc *func,
								BlockNumber *totalpages);

/* async.c */
extern bool concord_fdw_async_capable(ForeignPath *path);
extern void concord_fdw_async_request(AsyncRequest *areq);
extern void concord_fdw_async_wait(AsyncRequest *areq);
extern void concord_fdw_async_notify(AsyncRequest *areq);

/* modify.c */
extern void concord_fdw_add_targets(PlannerInfo *root, Index rtindex,
									RangeTblEntry *rte, Relation rel);
extern List *concord_fdw_plan_modify(PlannerInfo *root, ModifyTable *plan,
									 Index rtindex, int subplan);
extern void concord_fdw_begin_modify(ModifyTableState *mtstate,
									 ResultRelInfo *info, List *private,
									 int subplan, int eflags);
extern void concord_fdw_begin_insert(ModifyTableState *mtstate,
									 ResultRelInfo *info);
extern TupleTableSlot *concord_fdw_insert(EState *estate, ResultRelInfo *info,
										  TupleTableSlot *slot,
										  TupleTableSlot *planslot);
extern TupleTableSlot **concord_fdw_batch_insert(EState *estate,
												 ResultRelInfo *info,
												 TupleTableSlot **slots,
												 TupleTableSlot **planslots,
												 int *n);
extern int	concord_fdw_batch_size(ResultRelInfo *info);
extern TupleTableSlot *concord_fdw_update(EState *estate, ResultRelInfo *info,
										  TupleTableSlot *slot,
										  TupleTableSlot *planslot);
extern TupleTableSlot *concord_fdw_delete(EState *estate, ResultRelInfo *info,
										  TupleTableSlot *slot,
										  TupleTableSlot *planslot);
extern void concord_fdw_end_modify(EState *estate, ResultRelInfo *info);
extern int	concord_fdw_updatable(Relation rel);
extern void concord_fdw_truncate(List *rels, DropBehavior behavior,
								 bool restart);

#endif							/* CONCORD_FDW_ROUTINE_H */
