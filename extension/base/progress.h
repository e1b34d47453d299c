/*-------------------------------------------------------------------------
 *
 * progress.h
 *	  How far long-running functions have come, for views.
 *
 * PostgreSQL's own progress views know PostgreSQL's own commands only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_PROGRESS_H
#define CONCORD_PROGRESS_H

#include "base/compat.h"

#include "datatype/timestamp.h"
#include "port/atomics.h"

#define CONCORD_MAX_PROGRESS	64

typedef enum ConcordPhase
{
	CONCORD_PHASE_LOCAL,		/* reading our rows */
	CONCORD_PHASE_REMOTE,		/* reading their records */
	CONCORD_PHASE_SORT,
	CONCORD_PHASE_CAPTURE,		/* waiting for what was committed */
	CONCORD_PHASE_COMPARE,
} ConcordPhase;

typedef enum ConcordProgressCounter
{
	CONCORD_PROGRESS_LOCAL,		/* rows read */
	CONCORD_PROGRESS_REMOTE,	/* records read */
	CONCORD_PROGRESS_COMPARED,	/* rows, records and pairs of them */
	CONCORD_PROGRESS_LOOKED,	/* records looked at once more */
	CONCORD_PROGRESS_DIFFERENT,
	CONCORD_PROGRESS_CHANGING,	/* not told: on their way, or just changed */
	CONCORD_PROGRESS_REPAIRED,
	CONCORD_PROGRESS_COUNTERS,
} ConcordProgressCounter;

/* One that is under way; pid 0: free. */
typedef struct ConcordProgress
{
	pid_t		pid;
	Oid			dboid;
	Oid			roleid;
	int32		mapping;
	bool		repair;
	TimestampTz started_at;
	pg_atomic_uint32 phase;
	pg_atomic_uint64 counters[CONCORD_PROGRESS_COUNTERS];
} ConcordProgress;

/*
 * concord_progress_begin shows what this process does, until the current memory
 * context is reset.  Where no entry is free, nothing is shown; the result is
 * counted in all the same.
 */
extern ConcordProgress *concord_progress_begin(int32 mapping, bool repair);

static inline void
concord_progress_phase(ConcordProgress *progress, ConcordPhase phase)
{
	pg_atomic_write_u32(&progress->phase, phase);
}

static inline void
concord_progress_add(ConcordProgress *progress, ConcordProgressCounter counter, int64 n)
{
	pg_atomic_fetch_add_u64(&progress->counters[counter], n);
}

static inline int64
concord_progress_count(ConcordProgress *progress, ConcordProgressCounter counter)
{
	return (int64) pg_atomic_read_u64(&progress->counters[counter]);
}

#endif							/* CONCORD_PROGRESS_H */
