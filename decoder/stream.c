/*-------------------------------------------------------------------------
 *
 * stream.c
 *	  Transactions that are sent before it is known whether they commit.
 *
 * A transaction in progress comes in blocks, between which others are
 * replayed; a prepared one comes whole, at PREPARE, and its fate later.  What
 * has to be known from one callback to the next hangs on the transaction
 * (output_plugin_private): was anything of it sent, up to which ordinal, and
 * which change of which record came last, for a block may end within a record.
 *
 * Where nothing was sent, nothing follows: no block, no COMMIT, no abort.  A
 * subtransaction of which an event was sent has a mark of its own.  After a
 * restart nobody knows whether a transaction that was prepared before has been
 * sent; then COMMIT PREPARED and ROLLBACK PREPARED are sent, and a reader must
 * ignore them where it does not know the gid.
 *
 * While core replays what has not committed, a catalog lookup may find that
 * the transaction has been aborted meanwhile.  That ERROR comes out of the
 * middle of a callback, and core goes on: with the end of the block, or with
 * PREPARE.  concord_txn_recover puts the state in order then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlogreader.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "decoder.h"

/* What is remembered of a transaction, in its output_plugin_private. */
typedef struct EarlyTxn
{
	bool		sent;			/* something of it */
	uint32		ordinal;		/* of its last event */
	XLogRecPtr	change_lsn;
	uint32		change_number;
	RepOriginId origin_id;		/* of its last change */
} EarlyTxn;

/*
 * What was cached since the transaction's last block was cached as another
 * transaction sees it.  Core invalidates what this one has changed when a
 * block ends, but not when the next one begins.
 */
static void
stream_invalidate(ReorderBufferTXN *txn)
{
	for (uint32 i = 0; i < txn->ninvalidations; i++)
		LocalExecuteInvalidationMessage(&txn->invalidations[i]);
}

/* A block of a transaction in progress begins; nothing is written yet. */
void
concord_stream_start(DecoderState *state, ReorderBufferTXN *txn)
{
	EarlyTxn   *early = txn->output_plugin_private;

	concord_txn_start(state, txn);
	state->streaming = true;
	if (early == NULL)
	{
		early = MemoryContextAllocZero(state->context, sizeof(EarlyTxn));
		txn->output_plugin_private = early;
		return;
	}
	state->ordinal = early->ordinal;
	state->change_lsn = early->change_lsn;
	state->change_number = early->change_number;
	stream_invalidate(txn);
}

/*
 * Whose message is it?  Its callback is not told, but core has set up the xid
 * of which it looks for an abort; where there is none, that subtransaction has
 * committed with the whole, and it is all the same.
 */
static ReorderBufferTXN *
stream_message_owner(DecoderState *state)
{
	ReorderBufferTXN *txn = state->txn;
	dlist_iter	iter;

	if (!TransactionIdIsValid(CheckXidAlive) || CheckXidAlive == txn->xid)
		return txn;
	if (state->subtxn && state->subtxn->xid == CheckXidAlive)
		return state->subtxn;
	dlist_reverse_foreach(iter, &txn->subtxns)
	{
		ReorderBufferTXN *subtxn = dlist_container(ReorderBufferTXN, node, iter.cur);

		if (subtxn->xid == CheckXidAlive)
			return subtxn;
	}
	return txn;
}

/*
 * Say whose change follows, and its replication origin; NULL is a message's.
 *
 * Core gives the transaction the origin of the first thing in a block, which
 * need not be a change and then has none.
 *
 * Core marks a subtransaction as streamed at the end of a block, by which it
 * knows later that an abort has to be told, unless its changes came from disk
 * in more than one piece: then what was sent of it would never be taken back.
 * So it is marked here.
 */
void
concord_stream_subtransaction(DecoderState *state, ReorderBufferChange *change)
{
	EarlyTxn   *early = state->txn->output_plugin_private;
	ReorderBufferTXN *subtxn;

	if (change == NULL)
		subtxn = stream_message_owner(state);
	else
	{
		subtxn = change->txn;
		early->origin_id = change->origin_id;
	}
	state->txn->origin_id = early->origin_id;
	state->subtxn = subtxn;
	if (subtxn != state->txn)
		subtxn->txn_flags |= RBTXN_IS_STREAMED;
}

/* An event of the current block is about to be written. */
void
concord_stream_event(DecoderState *state)
{
	EarlyTxn   *early = state->txn->output_plugin_private;

	if (!state->begun)
	{
		concord_output_hello(state);
		state->subxid = state->txn->xid;
		state->encoder->stream_start(state, !early->sent);
		/* not before: the name of an origin is read from the catalog */
		state->begun = true;
		if (!early->sent)
			CONCORD_COUNT(state, CONCORD_COUNT_STREAMED);
		early->sent = true;
	}
	if (state->subtxn->xid != state->subxid)
	{
		state->subxid = state->subtxn->xid;
		if (state->encoder->subtransaction)
			state->encoder->subtransaction(state);
	}

	/* its abort will have to be sent */
	state->subtxn->output_plugin_private = early;
}

/* The current block ends: what it had to say leaves. */
void
concord_stream_stop(DecoderState *state)
{
	EarlyTxn   *early = state->txn->output_plugin_private;

	concord_txn_recover(state);
	early->ordinal = state->ordinal;
	early->change_lsn = state->change_lsn;
	early->change_number = state->change_number;
	if (state->begun)
	{
		state->encoder->stream_stop(state);
		concord_output_flush(state);
	}
	concord_stats_tell(&state->stats);
	concord_txn_clear(state);
}

/* Forget what hangs on a transaction. */
static void
stream_forget(ReorderBufferTXN *txn)
{
	if (txn->output_plugin_private)
		pfree(txn->output_plugin_private);
	txn->output_plugin_private = NULL;
}

/*
 * A transaction that has been sent in blocks, or a subtransaction of one, was
 * rolled back.  Core tells of subtransactions before the whole.
 */
void
concord_stream_abort(DecoderState *state, ReorderBufferTXN *txn,
					 XLogRecPtr abort_lsn)
{
	ReorderBufferTXN *top = txn->toptxn ? txn->toptxn : txn;
	EarlyTxn   *early = top->output_plugin_private;

	if (early == NULL)
		return;
	if (early->sent && txn->output_plugin_private != NULL)
	{
		concord_txn_start(state, top);
		state->encoder->stream_abort(state, txn->xid, abort_lsn);
		concord_output_flush(state);
		if (txn == top)
			CONCORD_COUNT(state, CONCORD_COUNT_STREAM_ABORTED);
		concord_stats_tell(&state->stats);
		concord_txn_clear(state);
	}
	if (txn == top)
		stream_forget(txn);
}

/*
 * A transaction that has been sent in blocks commits.  Returns whether
 * anything was written.  The record at hand is its COMMIT; the origin that
 * stood there was lost when core replayed the last block.
 */
bool
concord_stream_commit(DecoderState *state, ReorderBufferTXN *txn)
{
	EarlyTxn   *early = txn->output_plugin_private;
	bool		sent = early != NULL && early->sent;

	if (sent)
	{
		concord_txn_start(state, txn);
		txn->origin_id = XLogRecGetOrigin(state->ctx->reader);
		state->ordinal = early->ordinal;
		state->encoder->stream_commit(state);
		concord_output_flush(state);
		concord_txn_clear(state);
	}
	concord_txn_account(state, txn, sent);
	stream_forget(txn);
	return sent;
}

/* The same at PREPARE; what hangs on it is kept until its fate is known. */
bool
concord_stream_prepare(DecoderState *state, ReorderBufferTXN *txn)
{
	EarlyTxn   *early = txn->output_plugin_private;
	bool		sent = early != NULL && early->sent;

	if (sent)
	{
		concord_txn_start(state, txn);
		txn->origin_id = XLogRecGetOrigin(state->ctx->reader);
		state->gid = txn->gid;
		state->ordinal = early->ordinal;
		state->encoder->stream_prepare(state);
		concord_output_flush(state);
		CONCORD_COUNT(state, CONCORD_COUNT_PREPARED);
		concord_txn_clear(state);
	}
	concord_txn_account(state, txn, sent);
	return sent;
}

/*
 * A transaction that is sent whole has come to its PREPARE.  Returns whether
 * anything was written.
 */
bool
concord_prepared_end(DecoderState *state, ReorderBufferTXN *txn)
{
	EarlyTxn   *early = MemoryContextAllocZero(state->context, sizeof(EarlyTxn));

	concord_txn_recover(state);
	early->sent = state->begun;
	if (early->sent)
	{
		state->encoder->prepare(state);
		concord_output_flush(state);
		CONCORD_COUNT(state, CONCORD_COUNT_PREPARED);
	}
	concord_txn_account(state, txn, early->sent);
	concord_txn_clear(state);
	stream_forget(txn);
	txn->output_plugin_private = early;
	return early->sent;
}

/*
 * Was anything sent of a transaction that was prepared?  Unknown where that
 * was before a restart; a transaction without a snapshot has no changes.
 */
static bool
stream_prepared_sent(ReorderBufferTXN *txn)
{
	EarlyTxn   *early = txn->output_plugin_private;

	return early ? early->sent : txn->base_snapshot != NULL;
}

/* COMMIT PREPARED.  Returns whether anything was written. */
bool
concord_prepared_commit(DecoderState *state, ReorderBufferTXN *txn)
{
	bool		sent = stream_prepared_sent(txn);

	if (sent)
	{
		concord_txn_start(state, txn);
		state->gid = txn->gid;
		concord_output_hello(state);
		state->encoder->commit_prepared(state);
		concord_output_flush(state);
		concord_stats_ended(&state->stats, txn);
		concord_txn_clear(state);
	}
	stream_forget(txn);
	return sent;
}

/* ROLLBACK PREPARED.  Returns whether anything was written. */
bool
concord_prepared_rollback(DecoderState *state, ReorderBufferTXN *txn,
						  XLogRecPtr prepare_end_lsn, TimestampTz prepare_time)
{
	bool		sent = stream_prepared_sent(txn);

	if (sent)
	{
		concord_txn_start(state, txn);
		state->gid = txn->gid;
		concord_output_hello(state);
		state->encoder->rollback_prepared(state, prepare_end_lsn, prepare_time);
		concord_output_flush(state);
		concord_stats_ended(&state->stats, txn);
		concord_txn_clear(state);
	}
	stream_forget(txn);
	return sent;
}
