/*-------------------------------------------------------------------------
 *
 * flush.c
 *	  When a walsender's output leaves the process.
 *
 * Core sends what a plugin writes at once: for a transaction of one row, the
 * clock, the copies, the send() and the waking of the client take more than
 * decoding it.  Transactions cannot share a message, since consumers stop at,
 * and confirm, the position of one; and a plugin that keeps transactions back
 * must not let core tell the consumer, by a keepalive, of a position behind
 * them, which the consumer would confirm.  But they can share a send().
 *
 * So small writes are held here, each as the message that it is going to be,
 * while there is WAL to decode.  Core's table of functions (PqCommMethods) is
 * exchanged while this plugin streams, as pqmq.c does for parallel workers.
 * Ours call core's, but before anything else enters core's send buffer, and
 * before that is flushed, what is held is handed to core in its order.  So the
 * order of keepalives and whatever else core sends is what it would be.
 *
 * What is held stays where it is, while core asks for a flush, only where all
 * of these hold:
 *
 * - It is less than HELD_BYTES.
 * - The oldest of it is younger than HELD_USEC.
 * - Flushed WAL follows.  Who has caught up gets each transaction at once.
 * - The next step is short: the reorder buffer is not about to be spilled.  A
 *   transaction that is not small sends what is held before it is replayed
 *   (concord_flush_before), one that is streamed in any case.
 * - It is not the request of a walsender that may go to sleep.
 *
 * Nothing is held while core's send buffer is not empty: a slow consumer is
 * waited for as ever.  Nor is anything that a commit has begun to wait for, where
 * the consumer is a synchronous one.  And a keepalive, a CopyDone, an error takes along all
 * before it, so requests for a reply, and what answers one, are never late.
 *
 * The last condition is the one to prove.  In a walsender flushes are requested
 * by (walsender.c, 15 to 18, and 19 as of its release candidate):
 *
 * 1. WalSndWriteData, within OutputPluginWrite: it has put a message into
 *	  core's buffer, so nothing is held.
 * 2. WalSndLoop, after send_data, which reads and processes one WAL record.
 * 3. WalSndWaitForWal, before it sleeps; called while a record is being read.
 * 4. WalSndKeepaliveIfNecessary, WalSndUpdateProgress, and where 19 shuts down
 *    WalSndDone and WalSndDoneImmediate, after a message of their own: nothing
 *    is held.
 * 5. ProcessPendingWrites, after is_send_pending has said yes: the same.
 *
 * The end of the last record that was read (EndRecPtr) moves when a record has
 * been read as a whole.  WalSndLoop asks is_send_pending each time before it
 * calls send_data, and before WalSndDone, which calls it as well.  So the
 * position where that was asked last is, in 3, still the same, whatever part of
 * the next record there is, and in 2 it is not, unless no record was read.
 * Requests are put off only where it has moved.  Thus a walsender never sleeps
 * over what is held: it sleeps in 3, where it has just flushed, or where
 * is_send_pending says yes.
 *
 * So what is held waits for HELD_USEC and for what was begun by then:
 * HELD_RECORDS records, each with its transaction if that is small.
 *
 * Nothing can get lost.  What is held leaves before whatever comes after it, an
 * ERROR message included; a consumer that has not got it cannot have confirmed
 * it.  Core's own functions are back in their place when the reading ends: in
 * good order (shutdown_cb), with the context's memory, or by an ERROR, which
 * calls comm_reset before anything else.
 *
 * SQL functions write nowhere near here.  A standby's walsender has another
 * end of WAL, and is left as it is.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlogreader.h"
#include "port/pg_bswap.h"
#include "replication/syncrep.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/*
 * libpq.h describes a connection by types of OpenSSL and GSSAPI, whose headers
 * need not be there.  Connections are no business of ours.
 */
#undef USE_OPENSSL
#undef ENABLE_GSS
#include "libpq/libpq.h"

#include "decoder.h"
#include "flush.h"

/*
 * Less than this is held.  Waking the client costs as much as decoding ten
 * small transactions; a socket takes a quarter more than this without waiting.
 */
#define HELD_BYTES		(160 * 1024)

/* Nothing is held that is older than this. */
#define HELD_USEC		1000

/* So many records are read without looking at the clock. */
#define HELD_RECORDS	32

/* A write of more is core's. */
#define HELD_WRITE		(16 * 1024)

/* While messages are held, core hears of progress so often. */
#define PROGRESS_USEC	(100 * 1000)

/*
 * A commit may be waiting for the consumer (synchronous_standby_names): then
 * nothing is held of a transaction that is younger than this, so that what is
 * held adds no more than a tenth to what its commit has waited anyway.
 */
#define WAITED_FOR_USEC	(10 * HELD_USEC)

/* A transaction of more changes, or memory, than this is not small. */
#define SMALL_CHANGES	16
#define SMALL_SIZE		(64 * 1024)

/*
 * A message that carries decoded changes: CopyData with 'w', twice the LSN and
 * the time of sending.
 */
#define MESSAGE_COPY	'd'
#define MESSAGE_WAL		'w'
#define MESSAGE_TIME	(1 + sizeof(uint64) + sizeof(uint64))
#define MESSAGE_HEADER	(MESSAGE_TIME + sizeof(uint64))

static void flush_comm_reset(void);
static int	flush_flush(void);
static int	flush_flush_if_writable(void);
static bool flush_is_send_pending(void);
static int	flush_putmessage(char msgtype, const char *s, size_t len);
static void flush_putmessage_noblock(char msgtype, const char *s, size_t len);

static const PQcommMethods flush_methods = {
	flush_comm_reset,
	flush_flush,
	flush_flush_if_writable,
	flush_is_send_pending,
	flush_putmessage,
	flush_putmessage_noblock
};

/* What a walsender does is one thing at a time: there is one of these. */
struct FlushState
{
	const PQcommMethods *core;	/* what ours stand before; NULL: they do not */
	LogicalDecodingContext *ctx;	/* whose writes are held; NULL: none */

	/* what is held: for each message its length and what is in it */
	char	   *held;			/* of HELD_BYTES, in the context's memory */
	Size		bytes;			/* used */
	TimestampTz since;			/* the oldest of them was written */
	TimestampTz now;			/* the clock, when last looked at */
	int			records;		/* since then */

	TimestampTz progress;		/* core was told of progress last, */
	TimestampTz skipped;		/* and of a transaction that was not sent, by
								 * its time of commit */

	/* of what is held; core's statistics of the slot do not have them yet */
	int64		txns;
	int64		txn_bytes;
	bool		counted;		/* are these to be told what they have now? */

	XLogRecPtr	asked_at;		/* end of the last record, when it was asked
								 * last whether to wait for the socket */
	XLogRecPtr	flushed;		/* WAL is known to be flushed up to here */

	uint64		wanted;			/* writes, and requests to flush them, */
	uint64		spared;			/* and those that were put off */
};

static struct FlushState flush;

/* What was kept from core's statistics goes back to where core takes it from. */
static void
flush_count(void)
{
	flush.ctx->reorder->totalTxns += flush.txns;
	flush.ctx->reorder->totalBytes += flush.txn_bytes;
	flush.txns = flush.txn_bytes = 0;
	flush.counted = true;
}

/* Hand what is held to core. */
static void
flush_release(void)
{
	char	   *p = flush.held;
	char	   *end = p + flush.bytes;
	uint64		sent;
	uint32		len;

	if (likely(flush.bytes == 0))
		return;
	flush.bytes = 0;			/* core calls flush_putmessage */
	flush_count();
	flush.now = GetCurrentTimestamp();
	flush.records = 0;
	sent = pg_hton64((uint64) flush.now);
	while (p < end)
	{
		memcpy(&len, p, sizeof(len));
		p += sizeof(len);
		memcpy(p + MESSAGE_TIME, &sent, sizeof(sent));
		flush.core->putmessage_noblock(MESSAGE_COPY, p, len);
		p += len;
	}
}

/* Send what is there, as far as the socket takes it.  EOF if it is gone. */
static int
flush_send(void)
{
	flush_release();
	return flush.core->flush_if_writable();
}

/* Is the oldest of what is held young enough? */
static inline bool
flush_is_young(void)
{
	TimestampTz age;

	if (++flush.records >= HELD_RECORDS)
	{
		flush.records = 0;
		flush.now = GetCurrentTimestamp();
	}
	age = flush.now - flush.since;

	return age >= 0 && age < HELD_USEC; /* the clock may be set back */
}

/* Is there flushed WAL after what has been read? */
static inline bool
flush_more_wal(XLogRecPtr at)
{
	if (at >= flush.flushed)
		flush.flushed = GetFlushRecPtr(NULL);
	return at < flush.flushed;
}

/* May what is held stay, at this end of the last record that was read? */
static inline bool
flush_may_wait(XLogRecPtr at)
{
	Size		limit = (Size) logical_decoding_work_mem * 1024;

	return flush.ctx->reorder->size < limit - limit / 8 &&
		flush_is_young() &&
		flush_more_wal(at);
}

/*
 * Nothing is held any more.  Core's functions come back to their place, unless
 * somebody has put others before ours, who then go on calling ours.
 */
static void
flush_stop(void)
{
	flush.bytes = 0;
	flush.held = NULL;
	flush.ctx = NULL;
	flush.counted = false;

	if (PqCommMethods == &flush_methods)
	{
		PqCommMethods = flush.core;
		flush.core = NULL;
	}
}

/* An ERROR has come to the main loop, which ends the reading. */
static void
flush_comm_reset(void)
{
	const PQcommMethods *core = flush.core;

	core->comm_reset();
	flush_release();
	flush_stop();
}

/* Send all, and wait for it. */
static int
flush_flush(void)
{
	flush_release();
	return flush.core->flush();
}

/* Send what the socket takes, or leave it for later: see the top of the file. */
static int
flush_flush_if_writable(void)
{
	int			status;

	if (flush.bytes > 0)
	{
		XLogRecPtr	at = flush.ctx->reader->EndRecPtr;

		flush.wanted++;
		if (at != flush.asked_at && flush_may_wait(at))
		{
			flush.asked_at = at;
			flush.spared++;
			return 0;
		}
	}
	status = flush_send();
	if (unlikely(flush.counted))
	{
		flush.counted = false;
		UpdateDecodingStats(flush.ctx);
	}
	return status;
}

/*
 * Is there anything to wait for?  Not for what is held, before which nothing is
 * in core's buffer.
 */
static bool
flush_is_send_pending(void)
{
	if (flush.ctx != NULL)
		flush.asked_at = flush.ctx->reader->EndRecPtr;
	return flush.bytes == 0 && flush.core->is_send_pending();
}

/* An ordinary message. */
static int
flush_putmessage(char msgtype, const char *s, size_t len)
{
	flush_release();
	return flush.core->putmessage(msgtype, s, len);
}

/* A message of a stream. */
static void
flush_putmessage_noblock(char msgtype, const char *s, size_t len)
{
	flush_release();
	flush.core->putmessage_noblock(msgtype, s, len);
}

/* The context's memory goes. */
static void
flush_forget(void *arg)
{
	if (flush.ctx == arg)
		flush_stop();
}

/*
 * Decoding starts.  Exchanges core's functions where this is START_REPLICATION
 * on a primary, which is in no transaction, and the consumer takes batches.
 */
void
concord_flush_start(DecoderState *state)
{
	MemoryContextCallback *callback;

	if (!am_walsender || whereToSendOutput != DestRemote || !state->options.batch ||
		IsTransactionState() || RecoveryInProgress())
		return;

	callback = MemoryContextAllocZero(state->context, sizeof(*callback));
	callback->func = flush_forget;
	callback->arg = state->ctx;
	MemoryContextRegisterResetCallback(state->context, callback);

	flush.held = MemoryContextAlloc(state->context, HELD_BYTES);
	flush.bytes = 0;
	flush.asked_at = InvalidXLogRecPtr;
	flush.flushed = InvalidXLogRecPtr;
	flush.txns = flush.txn_bytes = 0;
	flush.counted = false;
	flush.wanted = flush.spared = 0;
	flush.ctx = state->ctx;

	if (flush.core == NULL)
	{
		flush.core = PqCommMethods;

		PqCommMethods = &flush_methods;
	}
}

/* Decoding ends in good order. */
void
concord_flush_end(DecoderState *state)
{
	if (flush.ctx != state->ctx)
		return;
	concord_flush_now();
	if (flush.counted)
		UpdateDecodingStats(flush.ctx);
	elog(DEBUG1, "postponed " UINT64_FORMAT " of " UINT64_FORMAT " flushes",
		 flush.spared, flush.wanted);
	flush_stop();
}

/* Something begins that may take long: what is held leaves. */
void
concord_flush_now(void)
{
	if (flush.bytes > 0)
		(void) flush_send();
}

/* The replay of a transaction begins: is it a small one? */
void
concord_flush_before(const ReorderBufferTXN *txn)
{
	if (flush.bytes > 0 &&
		(txn->nentries > SMALL_CHANGES || txn->size > SMALL_SIZE ||
		 txn->nsubtxns > 0 || rbtxn_is_serialized(txn)))
		(void) flush_send();
}

/* Is the transaction's commit waiting for the consumer, since a short time? */
static bool
flush_is_waited_for(const DecoderState *state)
{
	if (likely(MyWalSnd->sync_standby_priority == 0) || state->txn == NULL)
		return false;
	return GetCurrentTimestamp() - concord_txn_commit_time(state->txn) < WAITED_FOR_USEC;
}

/*
 * Take a write of len bytes, in a callback that may write.  False where it is
 * to go through OutputPluginWrite.
 */
bool
concord_flush_hold(DecoderState *state, const char *data, Size len)
{
	uint64		lsn = pg_hton64(state->ctx->write_location);
	uint32		size = (uint32) (MESSAGE_HEADER + len);
	char	   *p;

	if (flush.ctx != state->ctx || len > HELD_WRITE || flush_is_waited_for(state))
		return false;
	if (flush.bytes + sizeof(size) + size > HELD_BYTES)
		(void) flush_send();
	if (flush.bytes == 0)
	{
		if (flush.core->is_send_pending())
			return false;
		flush.since = flush.now = GetCurrentTimestamp();
		flush.records = 0;
	}
	p = flush.held + flush.bytes;
	memcpy(p, &size, sizeof(size));
	p += sizeof(size);
	p[0] = MESSAGE_WAL;
	memcpy(p + 1, &lsn, sizeof(lsn));
	memcpy(p + 1 + sizeof(lsn), &lsn, sizeof(lsn));
	memcpy(p + MESSAGE_HEADER, data, len);
	flush.bytes += sizeof(size) + size;
	flush.wanted++;
	if (flush_may_wait(state->ctx->reader->EndRecPtr))
		flush.spared++;
	else
		(void) flush_send();
	return true;
}

/*
 * A transaction has been replayed, and sent if there was something to send: is
 * core to be told of progress?  It looks at the clock each time it is told, to
 * note the time once a second, by which it tells the consumer's lag.  Of what
 * was not sent it tells a synchronous consumer, for whom commits wait.
 *
 * What is held is counted in core's statistics when it leaves: taking a lock
 * in shared memory for each small transaction is not less exact, but slower.
 */
bool
concord_flush_committed(DecoderState *state, const ReorderBufferTXN *txn, bool sent)
{
	TimestampTz age;

	if (!sent)
	{
		age = concord_txn_commit_time(txn) - flush.skipped;
		if (age >= 0 && age < PROGRESS_USEC && SyncRepStandbyNames[0] == '\0')
			return false;
		flush.skipped = concord_txn_commit_time(txn);
		return true;
	}

	if (flush.bytes > 0)
	{
		ReorderBuffer *rb = state->ctx->reorder;

		flush.txns += rb->totalTxns;
		flush.txn_bytes += rb->totalBytes;
		rb->totalTxns = rb->totalBytes = 0;
		age = flush.now - flush.progress;
		if (age >= 0 && age < PROGRESS_USEC)
			return false;
	}
	flush.progress = flush.now;
	return true;
}
