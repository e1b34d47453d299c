/*-------------------------------------------------------------------------
 *
 * stats.c
 *	  What the plugin has counted goes to whoever keeps it.
 *
 * Counting is an increment of a field of the state.  The counters are handed
 * on at the end of each transaction, every thousand row changes within one, and
 * when the state goes away, through a table of functions that a library may
 * leave in a rendezvous variable (protocol.h).  Where nobody did, nothing is
 * handed on and no clock is read.
 *
 * Reading a clock twice costs as much as a tenth of a row, so one change of
 * CONCORD_SAMPLE_CHANGES is timed, and counts for all of them.  The distance
 * between samples is random, since changes have periods of their own (the
 * first of each transaction, say).  Writes wait for the consumer: they are
 * sampled by themselves and are no part of a change's time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "fmgr.h"
#include "utils/memutils.h"

#include "decoder.h"
#include "stats.h"

/* Samples after which the counters are handed on within a transaction. */
#define SAMPLES_TOLD	16

/* The state goes away by an error: tell the rest. */
static void
stats_end(void *arg)
{
	concord_stats_end(arg);
}

/* Draw the distance to the next change that is timed. */
static int
stats_distance(void)
{
	return (int) pg_prng_uint64_range(&pg_global_prng_state, 1,
									  2 * CONCORD_SAMPLE_CHANGES - 1);
}

/* Look for somebody who keeps counters; fresh says that the slot is new. */
void
concord_stats_start(DecoderState *state, bool fresh)
{
	ConcordStats *stats = &state->stats;
	const ConcordCounterTable *table =
		*find_rendezvous_variable(CONCORD_COUNTERS_RENDEZVOUS);
	MemoryContextCallback *callback;

	stats->change_countdown = stats_distance();
	stats->write_countdown = CONCORD_SAMPLE_WRITES;
	if (table == NULL || table->version != CONCORD_COUNTERS_VERSION)
		return;
	stats->ticket = table->open(fresh ? "" : state->encoder->name, fresh);
	if (fresh || stats->ticket == 0)
		return;
	stats->table = table;

	callback = MemoryContextAllocZero(state->context, sizeof(*callback));
	callback->func = stats_end;
	callback->arg = stats;
	MemoryContextRegisterResetCallback(state->context, callback);
}

/* Hand on what was counted. */
void
concord_stats_tell(ConcordStats *stats)
{
	if (stats->table == NULL)
		return;					/* nobody looks at them */
	stats->table->add(stats->ticket, stats->counts, CONCORD_COUNTERS,
					  stats->lsn, stats->time);
	memset(stats->counts, 0, sizeof(stats->counts));
	stats->samples = 0;
}

/* A time in nanoseconds; instr_time.h gives them from 16 on. */
static uint64
stats_nanoseconds(instr_time elapsed)
{
	return (uint64) (INSTR_TIME_GET_DOUBLE(elapsed) * 1e9);
}

/* A transaction's end is out: tell what was counted until then. */
void
concord_stats_ended(ConcordStats *stats, ReorderBufferTXN *txn)
{
	stats->lsn = txn->end_lsn;
	stats->time = concord_txn_commit_time(txn);
	concord_stats_tell(stats);
}

/* The state goes away: tell the rest. */
void
concord_stats_end(ConcordStats *stats)
{
	concord_stats_tell(stats);
	stats->table = NULL;
}

/* Begin to time a row change. */
void
concord_stats_sample(ConcordStats *stats)
{
	stats->change_countdown = stats_distance();
	if (stats->table == NULL)
		return;
	if (++stats->samples >= SAMPLES_TOLD)
		concord_stats_tell(stats);
	stats->sampling = true;
	INSTR_TIME_SET_ZERO(stats->excluded);
	INSTR_TIME_SET_CURRENT(stats->begun);
}

/* The row change that was timed is done. */
void
concord_stats_sampled(ConcordStats *stats)
{
	instr_time	elapsed;

	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, stats->begun);
	INSTR_TIME_SUBTRACT(elapsed, stats->excluded);
	stats->sampling = false;
	stats->counts[CONCORD_COUNT_ENCODE_NS] +=
		CONCORD_SAMPLE_CHANGES * stats_nanoseconds(elapsed);
}

/* A write is at hand: is it to be timed?  Then it begins now. */
bool
concord_stats_time_write(ConcordStats *stats, instr_time *begun)
{
	if (--stats->write_countdown > 0 && !stats->sampling)
		return false;
	if (stats->table == NULL)
	{
		stats->write_countdown = CONCORD_SAMPLE_WRITES;
		return false;
	}
	INSTR_TIME_SET_CURRENT(*begun);
	return true;
}

/* The write that was timed is done. */
void
concord_stats_wrote(ConcordStats *stats, const instr_time *begun)
{
	instr_time	elapsed;

	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, *begun);
	if (stats->sampling)
		INSTR_TIME_ADD(stats->excluded, elapsed);
	if (stats->write_countdown <= 0)
	{
		stats->write_countdown = CONCORD_SAMPLE_WRITES;
		stats->counts[CONCORD_COUNT_WRITE_NS] +=
			CONCORD_SAMPLE_WRITES * stats_nanoseconds(elapsed);
	}
}
