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

#define CONCORD_PULL_BATCH	500 /* records that are applied together */

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

/* A pull under way. */
typedef struct ConcordPull
{
	const ConcordMapping *mapping;
	const ConcordPullOptions *options;
	MemoryContext context;		/* of all of it */
	ConcordPeer *peer;
	const ConcordConnector *connector;
	const ConcordPulling *pulling;
	const char *changed;		/* path of the time of change, or NULL */
	ConcordForeignTable table;
	ConcordQuery query;
	ConcordReader *reader;
	ConcordPullState state;

	/* what concord_pull_decide says beside it */
	TimestampTz started_at;		/* the run begins with this part; 0: it goes
								 * on */
	bool		anew;			/* what was known is of another list */
	bool		forget;			/* what a compare has seen is of no use */
	const char *notice;			/* to be told; NULL: nothing */

	/* what concord_pull_read has read */
	MemoryContext part;
	ConcordInboundRecord *records;
	int			n;
	int			places;
	Size		bytes;
	bool		ended;			/* the list is at its end */
	bool		gone;			/* the feed has expired */
	char	   *told;			/* the link of changes to come; NULL: none */
	char	   *mark;			/* where the next part goes on */

	/* while it is stored */
	ConcordInbound *inbound;
	ConcordInboundCounts counts;	/* of this part */
	char	   *ids[CONCORD_PULL_BATCH];
	char	   *keys[CONCORD_PULL_BATCH];
} ConcordPull;

/* Reads the state into context and locks it to the end of the transaction. */
extern void concord_pull_state_read(int32 mapping, ConcordPullState *state,
									MemoryContext context);

/* Reads it, and does not. */
extern void concord_pull_state_peek(int32 mapping, ConcordPullState *state,
									MemoryContext context);

/*
 * Writes it; started_at: when the run began, 0: with an earlier part; finished:
 * it has ended, and with it notices that came before it and name no record.
 */
extern void concord_pull_state_write(int32 mapping, const ConcordPullState *state,
									 const ConcordInboundCounts *counts,
									 TimestampTz started_at, bool finished,
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

/* --- pull_run.c --- */

/* concord_pull_decide says what the next part does, from its state. */
extern void concord_pull_decide(ConcordPull *pull);

/*
 * concord_pull_store applies what was read, and writes the state; false: the
 * run has ended.  Needs SPI and a snapshot, and pull->inbound.
 */
extern bool concord_pull_store(ConcordPull *pull);

/* --- pull_read.c --- */

/*
 * concord_pull_read reads the next part of the run's list.  Needs a transaction,
 * and no more of it.  Errors: as of fdw/reader.h.
 */
extern void concord_pull_read(ConcordPull *pull);

/* What records tell of themselves; NULL or false: nothing. */
extern char *concord_pulled_etag(ConcordSlice record);
extern bool concord_pulled_changed(ConcordSlice record, const char *path,
								   TimestampTz *at);

/* --- pull.c --- */

/* The path of the member that says when a record was changed, or NULL. */
extern char *concord_pull_changed(const ConcordMapping *mapping,
								  const ConcordConnector *connector);

/*
 * concord_pull_due runs the next part of the pull that is due, in
 * transactions of its own; false: none is due.  For the applier.
 */
extern bool concord_pull_due(void);

#endif							/* CONCORD_INBOUND_PULL_H */
