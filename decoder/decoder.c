/*-------------------------------------------------------------------------
 *
 * decoder.c
 *	  Entry points of the output plugin: the callbacks, a few lines each.
 *
 * Path of a change: filter_by_origin (before it costs memory) → relation
 * cache entry (selected or not, filter.c) → images deformed into the entry's
 * arrays (row.c) → encoder → buffer (txn.c) → OutputPluginWrite.
 *
 * Callbacks for streamed and for prepared transactions are not registered,
 * so core replays whole transactions, at commit, which is what keeps
 * (commit LSN, ordinal) stable.
 *
 * On ERROR the context is thrown away by the caller; what must not outlive it
 * (the pointer that invalidation callbacks use) is reset by a callback of its
 * memory context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "decoder.h"
#include "protocol.h"
#include "row.h"

/* Only what PostgreSQL looks up is visible outside. */
#pragma GCC visibility push(default)
PG_MODULE_MAGIC;
extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *cb);
#pragma GCC visibility pop

/* Parse options, choose the encoder, make the state. */
static void
dec_startup(LogicalDecodingContext *ctx, OutputPluginOptions *opt, bool is_init)
{
	DecoderState *state = palloc0(sizeof(DecoderState));

	state->ctx = ctx;
	state->context = CurrentMemoryContext;
	concord_options_parse(&state->options, ctx->output_plugin_options);
	state->encoder = state->options.format == CONCORD_FORMAT_BINARY ?
		&concord_encoder_binary : &concord_encoder_json;
	state->change_context = AllocSetContextCreate(state->context,
												  "concord_decoder change",
												  ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&state->buf);
	initStringInfo(&state->position);

	opt->output_type = state->encoder->binary ?
		OUTPUT_PLUGIN_BINARY_OUTPUT : OUTPUT_PLUGIN_TEXTUAL_OUTPUT;
	opt->receive_rewrites = false;
	ctx->output_plugin_private = state;

	if (!is_init)
	{
		concord_filter_check(state);
		concord_relcache_start(state);
	}
	concord_stats_start(state, is_init);
}

/* The context goes away in good order. */
static void
dec_shutdown(LogicalDecodingContext *ctx)
{
	DecoderState *state = ctx->output_plugin_private;

	concord_relcache_end(state);
	concord_stats_end(&state->stats);
}

/* A transaction's replay begins. */
static void
dec_begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	concord_txn_start(ctx->output_plugin_private, txn);
}

/* A transaction's replay ends. */
static void
dec_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	DecoderState *state = ctx->output_plugin_private;
	bool		begun = state->begun;

	concord_txn_end(state);
	OutputPluginUpdateProgress(ctx, !begun);
}

/* A row was inserted, updated or deleted. */
static void
dec_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation,
		   ReorderBufferChange *change)
{
	DecoderState *state = ctx->output_plugin_private;
	MemoryContext old = MemoryContextSwitchTo(state->change_context);
	ConcordRel *rel;
	ConcordChange row;

	concord_stats_change(&state->stats);
	rel = concord_relcache_get(state, relation);
	if (concord_row_prepare(state, rel, relation, change, &row))
	{
		concord_txn_event(state);
		concord_row_send(state, rel, &row);
	}
	else
		concord_txn_skip(state, row.filtered ? CONCORD_COUNT_FILTERED_ROW :
						 CONCORD_COUNT_FILTERED_RELATION);

	MemoryContextSwitchTo(old);
	MemoryContextReset(state->change_context);
	concord_stats_change_done(&state->stats);
}

/* Relations were truncated by one command. */
static void
dec_truncate(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, int nrelations,
			 Relation relations[], ReorderBufferChange *change)
{
	DecoderState *state = ctx->output_plugin_private;
	MemoryContext old = MemoryContextSwitchTo(state->change_context);

	concord_row_truncate(state, nrelations, relations,
						 change->data.truncate.cascade,
						 change->data.truncate.restart_seqs);

	MemoryContextSwitchTo(old);
	MemoryContextReset(state->change_context);
}

/* Somebody wrote a logical message. */
static void
dec_message(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn,
			bool transactional, const char *prefix, Size size, const char *content)
{
	DecoderState *state = ctx->output_plugin_private;
	ConcordMessage message = {transactional, lsn, prefix, content, size};
	MemoryContext old;

	if (!concord_filter_message(state, prefix))
	{
		CONCORD_COUNT(state, CONCORD_COUNT_FILTERED_MESSAGE);
		return;
	}

	old = MemoryContextSwitchTo(state->change_context);
	if (transactional)
		concord_txn_event(state);
	else
		concord_output_hello(state);
	state->encoder->message(state, &message);
	CONCORD_COUNT(state, CONCORD_COUNT_MESSAGES);
	if (size > CONCORD_CONTENT_MAX)
		CONCORD_COUNT(state, CONCORD_COUNT_OVERSIZE);
	if (!transactional)
	{
		concord_output_flush(state);
		concord_stats_tell(&state->stats);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(state->change_context);
}

/* Are changes of this origin dropped, before they cost memory? */
static bool
dec_filter_origin(LogicalDecodingContext *ctx, RepOriginId origin)
{
	DecoderState *state = ctx->output_plugin_private;

	if (!concord_filter_origin(state, origin))
		return false;
	concord_stats_filtered_origin(&state->stats);
	return true;
}

/* Hand the callbacks to core. */
void
_PG_output_plugin_init(OutputPluginCallbacks *cb)
{
	cb->startup_cb = dec_startup;
	cb->begin_cb = dec_begin;
	cb->change_cb = dec_change;
	cb->truncate_cb = dec_truncate;
	cb->commit_cb = dec_commit;
	cb->message_cb = dec_message;
	cb->filter_by_origin_cb = dec_filter_origin;
	cb->shutdown_cb = dec_shutdown;
}
