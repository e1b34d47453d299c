/*-------------------------------------------------------------------------
 *
 * handler.c
 *	  The handler of foreign-data wrapper concord.
 *
 * No logic here: which file has which of the functions that the planner and
 * the executor call.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/routine.h"

#include "fdw/import.h"
#include "fmgr.h"

PG_FUNCTION_INFO_V1(concord_fdw_handler);

/* concord_fdw_handler gives the table of functions. */
Datum
concord_fdw_handler(PG_FUNCTION_ARGS)
{
	FdwRoutine *routine = makeNode(FdwRoutine);

	/* plan.c */
	routine->GetForeignRelSize = concord_fdw_rel_size;
	routine->GetForeignPaths = concord_fdw_paths;
	routine->GetForeignPlan = concord_fdw_plan;

	/* scan.c */
	routine->BeginForeignScan = concord_fdw_begin_scan;
	routine->IterateForeignScan = concord_fdw_iterate;
	routine->ReScanForeignScan = concord_fdw_rescan;
	routine->EndForeignScan = concord_fdw_end_scan;

	/* import.c */
	routine->ImportForeignSchema = concord_import_foreign_schema;

	/* upper.c */
	routine->GetForeignUpperPaths = concord_fdw_upper_paths;

	/* explain.c */
	routine->ExplainForeignScan = concord_fdw_explain;

	/* analyze.c */
	routine->AnalyzeForeignTable = concord_fdw_analyze;

	/* async.c */
	routine->IsForeignPathAsyncCapable = concord_fdw_async_capable;
	routine->ForeignAsyncRequest = concord_fdw_async_request;
	routine->ForeignAsyncConfigureWait = concord_fdw_async_wait;
	routine->ForeignAsyncNotify = concord_fdw_async_notify;

	/* modify.c */
	routine->AddForeignUpdateTargets = concord_fdw_add_targets;
	routine->PlanForeignModify = concord_fdw_plan_modify;
	routine->BeginForeignModify = concord_fdw_begin_modify;
	routine->BeginForeignInsert = concord_fdw_begin_insert;
	routine->ExecForeignInsert = concord_fdw_insert;
	routine->ExecForeignBatchInsert = concord_fdw_batch_insert;
	routine->GetForeignModifyBatchSize = concord_fdw_batch_size;
	routine->ExecForeignUpdate = concord_fdw_update;
	routine->ExecForeignDelete = concord_fdw_delete;
	routine->EndForeignModify = concord_fdw_end_modify;
	routine->EndForeignInsert = concord_fdw_end_modify;
	routine->IsForeignRelUpdatable = concord_fdw_updatable;
	routine->ExecForeignTruncate = concord_fdw_truncate;

	PG_RETURN_POINTER(routine);
}
