/*-------------------------------------------------------------------------
 *
 * stats.h
 *	  What the plugin counts, and when it tells.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_STATS_H
#define CONCORD_STATS_H

#include "portability/instr_time.h"

#include "encoder.h"
#include "protocol.h"

/* Of so many row changes one is timed, on average; of writes, one of these. */
#define CONCORD_SAMPLE_CHANGES	64
#define CONCORD_SAMPLE_WRITES	16

/* Counters of one state that were not handed on yet, and what times them. */
typedef struct ConcordStats
{
	const ConcordCounterTable *table;	/* NULL: nobody wants to know */
	uint64		ticket;
	uint64		counts[CONCORD_COUNTERS];
	uint64		lsn;			/* of the newest transaction that is out */
	int64		time;
	int			change_countdown;	/* changes to the next sample */
	int			write_countdown;
	int			samples;		/* since counters were handed on */
	bool		sampling;		/* the current change is timed */
	instr_time	begun;			/* when it began */
	instr_time	excluded;		/* of its time, what went into writes */
} ConcordStats;

extern void concord_stats_start(DecoderState *state, bool fresh);
extern void concord_stats_tell(ConcordStats *stats);
extern void concord_stats_ended(ConcordStats *stats, ReorderBufferTXN *txn);
extern void concord_stats_end(ConcordStats *stats);
extern void concord_stats_sample(ConcordStats *stats);
extern void concord_stats_sampled(ConcordStats *stats);
extern bool concord_stats_time_write(ConcordStats *stats, instr_time *begun);
extern void concord_stats_wrote(ConcordStats *stats, const instr_time *begun);

/* A row change is at hand. */
static inline void
concord_stats_change(ConcordStats *stats)
{
	if (unlikely(--stats->change_countdown == 0))
		concord_stats_sample(stats);
}

/* The row change is done. */
static inline void
concord_stats_change_done(ConcordStats *stats)
{
	if (unlikely(stats->sampling))
		concord_stats_sampled(stats);
}

/*
 * A WAL record was left out because of its origin.  No transaction may come
 * after it for long, so these are told by themselves.
 */
static inline void
concord_stats_filtered_origin(ConcordStats *stats)
{
	if (++stats->counts[CONCORD_COUNT_FILTERED_ORIGIN] % CONCORD_SAMPLE_CHANGES == 0)
		concord_stats_tell(stats);
}

#endif							/* CONCORD_STATS_H */
