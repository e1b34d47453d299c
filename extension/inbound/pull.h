/*-------------------------------------------------------------------------
 *
 * pull.h
 *	  Private to pulls: their state, the list that is read, the run.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_INBOUND_PULL_H
#define CONCORD_INBOUND_PULL_H

#include "connector/pulling.h"
#include "fdw/reader.h"
#include "inbound/inbound.h"

/* What a run does. */
typedef enum ConcordPullRun
{
	CONCORD_RUN_NONE,
	CONCORD_RUN_DELTA,			/* follows the link of changes */
	CONCORD_RUN_SINCE,			/* reads what was changed since */
	CONCORD_RUN_FULL,			/* reads all */
	CONCORD_RUN_GONE,			/* all was read: what was not there is gone */
} ConcordPullRun;

/* A row of concord.pull_state. */
typedef struct ConcordPullState
{
	ConcordPullMethod method;	/* DEFAULT: never pulled */
	char	   *list;			/* what is read; NULL: never pulled */
	char	   *link;
	TimestampTz changed_to;		/* 0: not known */
	ConcordPullRun run;
	char	   *position;		/* NULL: at the beginning */
	TimestampTz run_changed_to;
	const char *note;			/* what people should know of the last run */
} ConcordPullState;

/* --- pull_state.c; inside concord_catalog_enter or in a worker's transaction --- */

/* Reads the state into context and locks it to the end of the transaction. */
extern void concord_pull_state_read(int32 mapping, ConcordPullState *state,
									MemoryContext context);

/* Writes it; finished: the run has ended. */
extern void concord_pull_state_write(int32 mapping, const ConcordPullState *state,
									 const ConcordInboundCounts *counts,
									 bool started, bool finished,
									 int every_ms);

/* Notes that a run failed; the next try is later each time. */
extern void concord_pull_state_failed(int32 mapping, ConcordPullMethod method,
									  const char *error, int every_ms);

/* The mapping whose pull is due, and has been for the longest; 0: none. */
extern int32 concord_pull_state_due(void);

/* Remembers records that a full compare has seen. */
extern void concord_pull_seen_add(int32 mapping, char **remote_ids, int n);
extern void concord_pull_seen_forget(int32 mapping);

extern bool concord_pull_seen_any(int32 mapping);

/*
 * Gives the ids, after one, and local keys of linked records that were not
 * seen; returns how many, max at most.
 */
extern int	concord_pull_unseen(int32 mapping, const char *after, char **ids,
								char **keys, int max, MemoryContext context);

/* Gives the local keys of links with these ids; NULL where there is none. */
extern void concord_pull_keys(int32 mapping, char **ids, char **keys, int n,
							  MemoryContext context);

/* --- pull.c --- */

/*
 * concord_pull_due runs the next part of the pull that is due, in
 * transactions of its own; false: none is due.  For the applier.
 */
extern bool concord_pull_due(void);

#endif							/* CONCORD_INBOUND_PULL_H */
