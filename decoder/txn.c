/*-------------------------------------------------------------------------
 *
 * txn.c
 *	  The transaction that is being replayed, and what leaves the plugin.
 *
 * BEGIN is delayed until the transaction has something to say, so a
 * transaction without a selected change writes nothing at all.  Ordinals
 * count events from 1; they are stable over restarts where transactions
 * are replayed whole (not in blocks while they are in progress: stream.c).
 *
 * A write through OutputPluginWrite costs as much as decoding a row, so
 * messages gather in state->buf and share writes of up to CONCORD_WRITE_SIZE.
 * The buffer is empty between transactions and between the blocks of one that
 * is in progress: their ends hand on what is left, and a message outside
 * transactions is handed on at once.  So nothing is held back here that the
 * consumer's position already covers.  What small transactions share is a
 * send() (flush.c).
 *
 * The buffer is our own rather than ctx->out because a write's LSN is taken
 * when it is prepared, and because ctx->out may only be touched inside the
 * callback that writes.  A message never straddles two writes; one that is
 * larger than CONCORD_WRITE_SIZE is a write of its own.  After a huge one both
 * buffers shrink back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"

#include "decoder.h"
#include "flush.h"
#include "protocol.h"

/* A buffer that has grown beyond this shrinks back once it is empty. */
#define BUFFER_KEEP		(1024 * 1024)
#define BUFFER_NORMAL	(2 * CONCORD_WRITE_SIZE)

/* Filtered changes in a row after which the consumer hears of progress. */
#define SKIP_PROGRESS	100

/* A transaction's replay begins; nothing is written yet. */
void
concord_txn_start(DecoderState *state, ReorderBufferTXN *txn)
{
	state->txn = txn;
	state->gid = NULL;
	state->begun = false;
	state->streaming = false;
	state->subtxn = NULL;
	state->subxid = txn->xid;
	state->ordinal = 0;
	state->skipped = 0;
	state->change_lsn = InvalidXLogRecPtr;
	state->change_number = 0;
}

/* No transaction is current any more. */
void
concord_txn_clear(DecoderState *state)
{
	state->txn = NULL;
	state->gid = NULL;
	state->begun = false;
	state->streaming = false;
	state->subtxn = NULL;
}

/*
 * If an ERROR ended the last change and core went on, take back what was half
 * done: the event, the entry that was being filled, or the list of
 * publications.
 */
void
concord_txn_recover(DecoderState *state)
{
	if (likely(state->doing == CONCORD_DOING_NOTHING))
		return;
	if (state->doing == CONCORD_DOING_EVENT)
		state->ordinal--;
	state->doing = CONCORD_DOING_NOTHING;
	state->buf.len = state->complete;
	state->buf.cursor = 0;
	/* its marks and its memory go with what follows */
	state->failures = NULL;
	state->stats.sampling = false;
	if (state->last_rel)
		state->last_rel->valid = 0;
	state->publications_valid = false;
	MemoryContextReset(state->change_context);
}

/* An event of the current transaction is about to be written. */
void
concord_txn_event(DecoderState *state)
{
	if (unlikely(state->streaming))
		concord_stream_event(state);
	else if (unlikely(!state->begun))
	{
		concord_output_hello(state);
		state->encoder->begin(state);
		/* not before: it may fail where the transaction is only prepared */
		state->begun = true;
	}
	state->doing = CONCORD_DOING_EVENT;
	state->ordinal++;
	state->skipped = 0;
}

/* The current transaction is complete. */
void
concord_txn_end(DecoderState *state)
{
	if (state->begun)
	{
		state->encoder->commit(state);
		concord_output_flush(state);
	}
	concord_txn_account(state, state->txn, state->begun);
	concord_txn_clear(state);
}

/* Count a transaction that is complete, sent or not. */
void
concord_txn_account(DecoderState *state, ReorderBufferTXN *txn, bool sent)
{
	if (sent)
	{
		CONCORD_COUNT(state, CONCORD_COUNT_SENT);
		concord_stats_ended(&state->stats, txn);
	}
	else
	{
		CONCORD_COUNT(state, CONCORD_COUNT_SKIPPED);
		concord_stats_tell(&state->stats);
	}
}

/*
 * A change was filtered out.  Before 16, a plugin that writes nothing for a
 * long time must itself see to it that a walsender stays alive.
 */
void
concord_txn_skip(DecoderState *state, ConcordCounter why)
{
	CONCORD_COUNT(state, why);
	if (CONCORD_KEEPS_ALIVE && ++state->skipped >= SKIP_PROGRESS)
	{
		state->skipped = 0;
		OutputPluginUpdateProgress(state->ctx, false);
	}
}

/* Append hexadecimal digits without leading zeros. */
static char *
txn_put_hex(char *p, uint32 v)
{
	int			shift = 28;

	while (shift > 0 && (v >> shift) == 0)
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		*p++ = "0123456789ABCDEF"[(v >> shift) & 0xF];
	return p;
}

/* Write an LSN as %X/%X does; it has CONCORD_ID_MAX bytes at most. */
char *
concord_put_lsn(char *p, XLogRecPtr lsn)
{
	p = txn_put_hex(p, (uint32) (lsn >> 32));
	*p++ = '/';
	return txn_put_hex(p, (uint32) lsn);
}

/*
 * Write the current event's id at p, which has room for CONCORD_ID_MAX bytes,
 * and return the byte after it: LSN of the change's WAL record, and number of
 * the change among those of that record, from 1, counted before any
 * selection.  So it is the same however often, and with whatever options, the
 * change is decoded.  A message has the end of its record as its LSN, which
 * may be where the next record starts, and number 0.
 */
char *
concord_txn_put_id(DecoderState *state, char *p)
{
	p = concord_put_lsn(p, state->change_lsn);
	*p++ = '-';
	return p + pg_ultoa_n(state->change_number, p);
}

/* Write the stream's first message, once. */
void
concord_output_hello(DecoderState *state)
{
	if (state->hello_sent)
		return;
	state->hello_sent = true;
	if (state->encoder->hello)
		state->encoder->hello(state);
}

/* Empty a buffer, and give back what a huge message took. */
static inline void
output_reset(StringInfo buf)
{
	resetStringInfo(buf);
	if (unlikely(buf->maxlen > BUFFER_KEEP))
	{
		buf->data = repalloc(buf->data, BUFFER_NORMAL);
		buf->maxlen = BUFFER_NORMAL;
	}
}

/*
 * Exchange the buffer with that of the write, which holds the writer's own
 * header: of a huge message, there is no copy then.
 */
static void
output_exchange(DecoderState *state)
{
	StringInfoData out = *state->ctx->out;
	StringInfo	buf = &state->buf;

	enlargeStringInfo(buf, out.len);
	memmove(buf->data + out.len, buf->data, buf->len);
	memcpy(buf->data, out.data, out.len);
	buf->len += out.len;
	buf->data[buf->len] = '\0';
	*state->ctx->out = *buf;
	*buf = out;
	output_reset(buf);
}

/* Hand on the first len bytes of the buffer as one write. */
static void
output_write(DecoderState *state, int len)
{
	LogicalDecodingContext *ctx = state->ctx;
	instr_time	begun;
	bool		timed = concord_stats_time_write(&state->stats, &begun);

	if (!state->streaming && concord_flush_hold(state, state->buf.data, len))
	{
		if (len == state->buf.len)
			output_reset(&state->buf);
	}
	else
	{
		OutputPluginPrepareWrite(ctx, true);
		if (unlikely(len > BUFFER_KEEP && len == state->buf.len))
			output_exchange(state);
		else
		{
			appendBinaryStringInfo(ctx->out, state->buf.data, len);
			if (len == state->buf.len)
				output_reset(&state->buf);
		}
		OutputPluginWrite(ctx, true);
	}
	if (unlikely(timed))
		concord_stats_wrote(&state->stats, &begun);
	CONCORD_COUNT(state, CONCORD_COUNT_WRITES);
	state->stats.counts[CONCORD_COUNT_BYTES] += len;
	if (unlikely(ctx->out->maxlen > BUFFER_KEEP))
		output_reset(ctx->out);
}

/* Hand on whatever the buffer holds. */
void
concord_output_flush(DecoderState *state)
{
	if (state->buf.len > 0)
		output_write(state, state->buf.len);
	state->complete = 0;
}

/*
 * The message that starts at start is complete.  Hand on what has to go: what
 * came before it, where it does not fit with that into one write, and itself,
 * where it fills one.
 */
void
concord_output_done(DecoderState *state, int start)
{
	StringInfo	buf = &state->buf;

	if (!state->options.batch)
	{
		concord_output_flush(state);
		return;
	}
	state->complete = buf->len;
	if (likely(buf->len < CONCORD_WRITE_SIZE))
		return;
	if (start > 0)
	{
		output_write(state, start - state->encoder->separator);
		buf->len -= start;
		memmove(buf->data, buf->data + start, buf->len);
		state->complete = buf->len;
	}
	if (buf->len >= CONCORD_WRITE_SIZE)
		concord_output_flush(state);
}
