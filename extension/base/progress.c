/*-------------------------------------------------------------------------
 *
 * progress.c
 *	  How far long-running functions have come, for views.
 *
 * Entries are taken, given back and read under the lock of shared memory;
 * phase and counters are written by their process without it.
 *
 *-------------------------------------------------------------------------
 */
#include "base/progress.h"

#include "base/shmem.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(concord_progress_rows);

static const char *const prg_phases[] = {
	[CONCORD_PHASE_LOCAL] = "reading rows",
	[CONCORD_PHASE_REMOTE] = "reading records",
	[CONCORD_PHASE_SORT] = "sorting",
	[CONCORD_PHASE_CAPTURE] = "waiting for capture",
	[CONCORD_PHASE_COMPARE] = "comparing",
};

/* prg_init makes an entry anew. */
static void
prg_init(ConcordProgress *progress, int32 mapping, bool repair)
{
	progress->dboid = MyDatabaseId;
	progress->roleid = GetUserId();
	progress->mapping = mapping;
	progress->repair = repair;
	progress->started_at = GetCurrentTimestamp();
	pg_atomic_init_u32(&progress->phase, CONCORD_PHASE_LOCAL);
	for (int i = 0; i < CONCORD_PROGRESS_COUNTERS; i++)
		pg_atomic_init_u64(&progress->counters[i], 0);
	progress->pid = MyProcPid;
}

/* prg_end gives an entry back; of a callback of a memory context. */
static void
prg_end(void *arg)
{
	ConcordProgress *progress = arg;

	LWLockAcquire(concord_shmem->lock, LW_EXCLUSIVE);
	progress->pid = 0;
	LWLockRelease(concord_shmem->lock);
}

/* concord_progress_begin takes an entry. */
ConcordProgress *
concord_progress_begin(int32 mapping, bool repair)
{
	ConcordProgress *progress = NULL;
	MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));
	ConcordProgress *own = palloc0(sizeof(ConcordProgress));

	concord_shmem_require();
	LWLockAcquire(concord_shmem->lock, LW_EXCLUSIVE);
	for (int i = 0; i < CONCORD_MAX_PROGRESS && progress == NULL; i++)
	{
		if (concord_shmem->progress[i].pid == 0)
			progress = &concord_shmem->progress[i];
	}
	prg_init(progress != NULL ? progress : own, mapping, repair);
	LWLockRelease(concord_shmem->lock);
	if (progress == NULL)
		return own;
	callback->func = prg_end;
	callback->arg = progress;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return progress;
}

/* concord_progress_rows lists those of this database. */
Datum
concord_progress_rows(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ConcordProgress all[CONCORD_MAX_PROGRESS];

	concord_shmem_require();
	InitMaterializedSRF(fcinfo, 0);
	LWLockAcquire(concord_shmem->lock, LW_SHARED);
	memcpy(all, concord_shmem->progress, sizeof(all));
	LWLockRelease(concord_shmem->lock);
	for (int i = 0; i < CONCORD_MAX_PROGRESS; i++)
	{
		ConcordProgress *progress = &all[i];
		Datum		values[6 + CONCORD_PROGRESS_COUNTERS];
		bool		nulls[6 + CONCORD_PROGRESS_COUNTERS] = {false};

		if (progress->pid == 0 || progress->dboid != MyDatabaseId)
			continue;
		values[0] = Int32GetDatum(progress->pid);
		values[1] = ObjectIdGetDatum(progress->roleid);
		values[2] = Int32GetDatum(progress->mapping);
		values[3] = BoolGetDatum(progress->repair);
		values[4] = TimestampTzGetDatum(progress->started_at);
		values[5] = CStringGetTextDatum(prg_phases[pg_atomic_read_u32(&progress->phase)]);
		for (int c = 0; c < CONCORD_PROGRESS_COUNTERS; c++)
			values[6 + c] = Int64GetDatum(concord_progress_count(progress, c));
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
