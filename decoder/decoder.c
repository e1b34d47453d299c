/*-------------------------------------------------------------------------
 *
 * decoder.c
 *	  Entry points of the output plugin: the callbacks, a few lines each.
 *
 * Path of a change: filter_by_origin (before it costs memory) → relation
 * cache entry (selected or not, filter.c) → images deformed into the entry's
 * arrays (row.c) → encoder → buffer (txn.c) → OutputPluginWrite.
 *
 * Core replays whole transactions, at commit, which is what keeps (commit LSN,
 * ordinal) stable, unless options streaming and two_phase ask for those that
 * are in progress, or prepared (stream.c).  A walsender that has nothing to
 * send must still say how far it is, or commits that wait for a synchronous
 * consumer would wait for the next keepalive: whoever ends a transaction of
 * which nothing was written calls OutputPluginUpdateProgress with skipped_xact.
 *
 * On ERROR the context is thrown away by the caller; what must not outlive it
 * (the pointer that invalidation callbacks use) is reset by a callback of its
 * memory context.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "decoder.h"
#include "flush.h"
#include "origin.h"
#include "protocol.h"
#include "row.h"

/* Only what PostgreSQL looks up is visible outside. */
#pragma GCC visibility push(default)
PG_MODULE_MAGIC;
extern PGDLLEXPORT void _PG_output_plugin_init(OutputPluginCallbacks *cb);
#pragma GCC visibility pop

/* Refuse what the format has no messages for, and say so to core. */
static void
dec_startup_modes(DecoderState *state)
{
	LogicalDecodingContext *ctx = state->ctx;
	const ConcordEncoder *encoder = state->encoder;
	const ConcordOptions *options = &state->options;
	bool		slot_two_phase = ctx->slot->data.two_phase;

	if (options->streaming && encoder->stream_start == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("format \"%s\" has no events for transactions that are in progress",
						encoder->name),
				 errhint("Leave out option \"streaming\", or choose another format.")));
	ctx->streaming = options->streaming;

	if ((options->two_phase > 0 || slot_two_phase) && encoder->prepare == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("format \"%s\" has no events for prepared transactions",
						encoder->name),
				 errhint("Use a slot without two-phase decoding and leave out option \"two_phase\", or choose another format.")));

	/*
	 * Core remembers in the slot that prepared transactions are decoded at
	 * PREPARE.  To stop that would lose those that are prepared while it is
	 * off and committed after it is on again.
	 */
	if (options->two_phase == 0 && slot_two_phase)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("option \"two_phase\" cannot be turned off for replication slot \"%s\"",
						NameStr(ctx->slot->data.name)),
				 errdetail("The slot decodes prepared transactions at PREPARE since it was created, or since the option was first used."),
				 errhint("Leave the option out, or use another slot.")));
	if (options->two_phase_gid_given && options->two_phase <= 0 && !slot_two_phase)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"two_phase_gid\" has no meaning for replication slot \"%s\"",
						NameStr(ctx->slot->data.name)),
				 errdetail("The slot decodes prepared transactions at COMMIT PREPARED."),
				 errhint("Leave the option out, or add option \"two_phase\".")));
	ctx->twophase_opt_given = options->two_phase > 0;
}

/* The encoder of each format. */
static const ConcordEncoder *const encoders[] =
{
	[CONCORD_FORMAT_JSON] = &concord_encoder_json,
	[CONCORD_FORMAT_BINARY] = &concord_encoder_binary,
	[CONCORD_FORMAT_CLOUDEVENTS] = &concord_encoder_cloudevents,
	[CONCORD_FORMAT_DEBEZIUM] = &concord_encoder_debezium,
};

/*
 * Learn at start what the catalogs know.  A walsender is in no transaction
 * here; an SQL function is.
 */
static void
dec_start_encoder(DecoderState *state)
{
	bool		in_transaction = IsTransactionState();

	if (!in_transaction)
		StartTransactionCommand();
	MemoryContextSwitchTo(state->context);
	concord_json_foreign_start(state->encoder->binary);
	if (state->encoder->start)
		state->encoder->start(state);
	if (!in_transaction)
		CommitTransactionCommand();
	MemoryContextSwitchTo(state->context);
}

/*
 * Before 16, the reorder buffer gives the memory of transactions and of changes
 * back to malloc() when the last of them is gone, and makes 8 kB ready again for
 * the next: for small transactions one after the other, each time.  One of
 * each that is never used keeps a block there; they go with the context.
 *
 * There is no function to make a transaction that is of no xid.  Should the
 * server have been built with another size of it than this library, which a
 * minor release may bring, its memory context refuses: then none is kept.
 */
static void
dec_keep_blocks(LogicalDecodingContext *ctx)
{
	MemoryContext context = CurrentMemoryContext;

	if (!CONCORD_FREES_BLOCKS)
		return;
	(void) concord_make_change(ctx->reorder);
	PG_TRY();
	{
		(void) MemoryContextAlloc(ctx->reorder->txn_context, sizeof(ReorderBufferTXN));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
}

/* Parse options, choose the encoder, make the state. */
static void
dec_startup(LogicalDecodingContext *ctx, OutputPluginOptions *opt, bool is_init)
{
	DecoderState *state = palloc0(sizeof(DecoderState));

	state->ctx = ctx;
	state->context = CurrentMemoryContext;
	concord_options_parse(&state->options, ctx->output_plugin_options);
	state->encoder = encoders[state->options.format];
	state->change_context = AllocSetContextCreate(state->context,
												  "concord_decoder change",
												  ALLOCSET_DEFAULT_SIZES);
	initStringInfo(&state->buf);
	initStringInfo(&state->position);

	opt->output_type = state->encoder->binary ?
		OUTPUT_PLUGIN_BINARY_OUTPUT : OUTPUT_PLUGIN_TEXTUAL_OUTPUT;
	opt->receive_rewrites = false;
	ctx->output_plugin_private = state;

	/* Nothing is sent while a slot is created. */
	ctx->streaming = false;
	if (is_init)
	{
		ctx->twophase = false;
		concord_stats_start(state, true);
		return;
	}
	dec_startup_modes(state);
	concord_filter_check(state);
	concord_origin_check(state);
	dec_start_encoder(state);
	concord_relcache_start(state);
	concord_stats_start(state, false);
	dec_keep_blocks(ctx);
	concord_flush_start(state);
}

/* The context goes away in good order. */
static void
dec_shutdown(LogicalDecodingContext *ctx)
{
	DecoderState *state = ctx->output_plugin_private;

	concord_flush_end(state);
	concord_relcache_end(state);
	concord_stats_end(&state->stats);
}

/* A transaction's replay begins. */
static void
dec_begin(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	concord_flush_before(txn);
	concord_txn_start(ctx->output_plugin_private, txn);
}

/* A transaction's replay ends. */
static void
dec_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr commit_lsn)
{
	DecoderState *state = ctx->output_plugin_private;
	bool		begun = state->begun;

	concord_txn_end(state);
	if (concord_flush_committed(state, txn, begun))
		OutputPluginUpdateProgress(ctx, !begun);
}

/* Is a prepared transaction decoded at COMMIT PREPARED? */
static bool
dec_filter_prepare(LogicalDecodingContext *ctx, TransactionId xid, const char *gid)
{
	return !concord_filter_gid(ctx->output_plugin_private, gid);
}

/* The replay of a prepared transaction begins. */
static void
dec_begin_prepare(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	DecoderState *state = ctx->output_plugin_private;

	concord_flush_before(txn);
	concord_txn_start(state, txn);
	state->gid = txn->gid;
}

/* It ends; whether the transaction commits is told later. */
static void
dec_prepare(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
			XLogRecPtr prepare_lsn)
{
	bool		sent = concord_prepared_end(ctx->output_plugin_private, txn);

	OutputPluginUpdateProgress(ctx, !sent);
}

/* COMMIT PREPARED */
static void
dec_commit_prepared(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
					XLogRecPtr commit_lsn)
{
	bool		sent = concord_prepared_commit(ctx->output_plugin_private, txn);

	OutputPluginUpdateProgress(ctx, !sent);
}

/* ROLLBACK PREPARED */
static void
dec_rollback_prepared(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
					  XLogRecPtr prepare_end_lsn, TimestampTz prepare_time)
{
	bool		sent = concord_prepared_rollback(ctx->output_plugin_private, txn,
												 prepare_end_lsn, prepare_time);

	OutputPluginUpdateProgress(ctx, !sent);
}

/* A block of a transaction in progress begins. */
static void
dec_stream_start(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	concord_flush_now();
	concord_stream_start(ctx->output_plugin_private, txn);
}

/* It ends. */
static void
dec_stream_stop(LogicalDecodingContext *ctx, ReorderBufferTXN *txn)
{
	concord_stream_stop(ctx->output_plugin_private);
}

/* A transaction that came in blocks, or a subtransaction, was rolled back. */
static void
dec_stream_abort(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
				 XLogRecPtr abort_lsn)
{
	concord_stream_abort(ctx->output_plugin_private, txn, abort_lsn);
}

/* A transaction that came in blocks is prepared. */
static void
dec_stream_prepare(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
				   XLogRecPtr prepare_lsn)
{
	bool		sent = concord_stream_prepare(ctx->output_plugin_private, txn);

	OutputPluginUpdateProgress(ctx, !sent);
}

/* A transaction that came in blocks commits. */
static void
dec_stream_commit(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
				  XLogRecPtr commit_lsn)
{
	bool		sent = concord_stream_commit(ctx->output_plugin_private, txn);

	OutputPluginUpdateProgress(ctx, !sent);
}

/* A row was inserted, updated or deleted. */
static void
dec_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, Relation relation,
		   ReorderBufferChange *change)
{
	DecoderState *state = ctx->output_plugin_private;
	MemoryContext old = MemoryContextSwitchTo(state->change_context);
	ConcordRel *rel;
	ConcordChange row = {.filtered = false};

	state->doing = CONCORD_DOING_CHANGE;
	concord_stats_change(&state->stats);
	concord_txn_count(state, change->lsn);
	rel = concord_relcache_get(state, relation);
	if (rel->send != 0 && concord_row_prepare(state, rel, relation, change, &row))
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
	state->doing = CONCORD_DOING_NOTHING;
}

/* The same in a block. */
static void
dec_stream_change(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
				  Relation relation, ReorderBufferChange *change)
{
	concord_stream_subtransaction(ctx->output_plugin_private, change);
	dec_change(ctx, txn, relation, change);
}

/* Relations were truncated by one command. */
static void
dec_truncate(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, int nrelations,
			 Relation relations[], ReorderBufferChange *change)
{
	DecoderState *state = ctx->output_plugin_private;
	MemoryContext old = MemoryContextSwitchTo(state->change_context);

	state->doing = CONCORD_DOING_CHANGE;
	concord_row_truncate(state, nrelations, relations, change);

	MemoryContextSwitchTo(old);
	MemoryContextReset(state->change_context);
	state->doing = CONCORD_DOING_NOTHING;
}

/* The same in a block. */
static void
dec_stream_truncate(LogicalDecodingContext *ctx, ReorderBufferTXN *txn,
					int nrelations, Relation relations[],
					ReorderBufferChange *change)
{
	concord_stream_subtransaction(ctx->output_plugin_private, change);
	dec_truncate(ctx, txn, nrelations, relations, change);
}

/* Cut a prefix that would fill an event. */
static const char *
dec_shown_prefix(const char *prefix)
{
	Size		len = strlen(prefix);

	if (likely(len <= CONCORD_PREFIX_MAX))
		return prefix;
	return pnstrdup(prefix, pg_mbcliplen(prefix, (int) len, CONCORD_PREFIX_MAX));
}

/* Somebody wrote a logical message. */
static void
dec_message(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn,
			bool transactional, const char *prefix, Size size, const char *content)
{
	DecoderState *state = ctx->output_plugin_private;
	ConcordMessage message = {transactional, lsn, prefix, content, size};
	XLogRecPtr	change_lsn = state->change_lsn;
	uint32		change_number = state->change_number;
	MemoryContext old;

	if (!concord_filter_message(state, prefix))
	{
		concord_txn_skip(state, CONCORD_COUNT_FILTERED_MESSAGE);
		return;
	}

	state->doing = CONCORD_DOING_CHANGE;
	old = MemoryContextSwitchTo(state->change_context);
	message.prefix = dec_shown_prefix(prefix);
	if (transactional)
		concord_txn_event(state);
	else
		concord_output_hello(state);

	/* its LSN is where the next record starts, which may have changes */
	state->change_lsn = lsn;
	state->change_number = 0;
	state->encoder->message(state, &message);
	state->change_lsn = change_lsn;
	state->change_number = change_number;

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
	state->doing = CONCORD_DOING_NOTHING;
}

/* The same in a block. */
static void
dec_stream_message(LogicalDecodingContext *ctx, ReorderBufferTXN *txn, XLogRecPtr lsn,
				   bool transactional, const char *prefix, Size size,
				   const char *content)
{
	concord_stream_subtransaction(ctx->output_plugin_private, NULL);
	dec_message(ctx, txn, lsn, transactional, prefix, size, content);
}

/* Are changes of this origin dropped, before they cost memory? */
static bool
dec_filter_origin(LogicalDecodingContext *ctx, RepOriginId origin)
{
	DecoderState *state = ctx->output_plugin_private;

	if (!concord_origin_filter(state, origin))
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

	cb->filter_prepare_cb = dec_filter_prepare;
	cb->begin_prepare_cb = dec_begin_prepare;
	cb->prepare_cb = dec_prepare;
	cb->commit_prepared_cb = dec_commit_prepared;
	cb->rollback_prepared_cb = dec_rollback_prepared;

	cb->stream_start_cb = dec_stream_start;
	cb->stream_stop_cb = dec_stream_stop;
	cb->stream_change_cb = dec_stream_change;
	cb->stream_truncate_cb = dec_stream_truncate;
	cb->stream_message_cb = dec_stream_message;
	cb->stream_abort_cb = dec_stream_abort;
	cb->stream_prepare_cb = dec_stream_prepare;
	cb->stream_commit_cb = dec_stream_commit;

	cb->shutdown_cb = dec_shutdown;
}
