/*-------------------------------------------------------------------------
 *
 * flush.c
 *	  When a walsender's output leaves the process.
 *
 * Core flushes after every OutputPluginWrite: a send() and the waking of the
 * client, for a transaction of one row more than decoding it.  Transactions
 * cannot share a write: core may tell the consumer, by a keepalive, of a
 * position behind what the plugin would keep back, and the consumer confirm it.
 * They can share a flush.  The messages are handed to core as ever and lie in
 * its own send buffer, in one order with keepalives and whatever else it sends;
 * only the send() is postponed, while there is WAL to decode.
 *
 * For that core's table of functions (PqCommMethods) is exchanged while this
 * plugin streams, as pqmq.c does for parallel workers.  Ours call core's, but
 * that flush_if_writable may leave it for later and is_send_pending then says
 * that nothing is to be waited for.  A request to flush is postponed only where
 * all of these hold:
 *
 * - The send buffer has nothing but whole messages with decoded changes of
 *   ours, and was empty before them.  A keepalive, a CopyDone, an error, or
 *   what the socket did not take, is core's business: it is flushed as soon as
 *   core asks for it, with all before it, and nothing is postponed until the
 *   buffer is empty again.  So requests for a reply, and what answers one, are
 *   never late, and a slow consumer is waited for as ever.
 * - It is less than FLUSH_BYTES, and core's buffer need not grow beyond that.
 * - The oldest of it is younger than FLUSH_USEC.
 * - Flushed WAL follows.  Who has caught up gets each transaction at once.
 * - The next step is short: the reorder buffer is not about to be spilled.  A
 *   transaction that is not small flushes what is there before it is replayed
 *   (concord_flush_before), one that is streamed in any case.
 * - It is not the request of a walsender that may go to sleep.
 *
 * The last one is the one to prove.  In a walsender these functions request a
 * flush (walsender.c, 15 to 19):
 *
 * 1. WalSndWriteData, within OutputPluginWrite: while "writing" is set.
 * 2. WalSndLoop, after send_data, which reads and processes one WAL record.
 * 3. WalSndWaitForWal, before it sleeps; called while a record is being read.
 * 4. WalSndKeepaliveIfNecessary, WalSndUpdateProgress, and WalSndDone from 18
 *    on, after a message of their own: not postponed, by the first condition.
 * 5. ProcessPendingWrites, after is_send_pending has said yes: the same.
 *
 * The end of the last record that was read (EndRecPtr) moves when a record has
 * been read as a whole.  WalSndLoop asks is_send_pending each time before it
 * calls send_data, and before WalSndDone, which calls it as well.  So the
 * position where that was asked last is, in 3, still the same, whatever part of
 * the next record there is, and in 2 it is not, unless no record was read.
 * Requests other than 1 are postponed only where it has moved.  Thus a
 * walsender never sleeps over postponed messages: it sleeps in 3, where it has
 * just flushed, or where is_send_pending says yes.
 *
 * So postponed messages wait for FLUSH_USEC and for what was begun by then:
 * FLUSH_RECORDS records, each with its transaction if that is small.
 *
 * Nothing can get lost: the bytes are in core's buffer, and leave with the next
 * flush of whatever kind, the one after an ERROR message included.  Core's own
 * functions are back in their place when the reading ends: in good order
 * (shutdown_cb), with the context's memory, or by an ERROR, which calls
 * comm_reset before anything else.
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
#include "replication/walsender.h"
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
 * Less than this is postponed.  A send() of more is hardly cheaper by the byte,
 * and one of a quarter costs a twentieth of the time of a small transaction.
 */
#define FLUSH_BYTES		(32 * 1024)

/* Nothing is postponed that is older than this. */
#define FLUSH_USEC		1000

/* So many records are read without looking at the clock. */
#define FLUSH_RECORDS	8

/* While messages are postponed, core hears of progress so often. */
#define PROGRESS_USEC	(100 * 1000)

/* A transaction of more changes, or memory, than this is not small. */
#define SMALL_CHANGES	16
#define SMALL_SIZE		(64 * 1024)

/*
 * A message that carries decoded changes: CopyData with 'w', two LSNs and the
 * time of sending.
 */
#define MESSAGE_COPY	'd'
#define MESSAGE_WAL		'w'
#define MESSAGE_TIME	(1 + sizeof(int64) + sizeof(int64))
#define MESSAGE_HEADER	(MESSAGE_TIME + sizeof(int64))

/* Type and length, before what a message says. */
#define MESSAGE_PREFIX	5

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
	LogicalDecodingContext *ctx;	/* whose messages; NULL: all is core's */
	bool		writing;		/* within OutputPluginWrite */

	/*
	 * Bytes in the send buffer where that has nothing but messages of ours,
	 * none of which has been sent in part; else 0.
	 */
	Size		bytes;
	bool		postponed;		/* core wanted them flushed */
	TimestampTz since;			/* the oldest of them was written */
	TimestampTz now;			/* the clock, when last looked at */
	int			records;		/* since then */

	TimestampTz progress;		/* core was told of progress last */

	XLogRecPtr	asked_at;		/* end of the last record, when it was asked
								 * last whether to wait for the socket */
	XLogRecPtr	flushed;		/* WAL is known to be flushed up to here */

	uint64		wanted;			/* requests to flush messages of ours, */
	uint64		spared;			/* and those that were postponed */
};

static struct FlushState flush;

/* What is in the buffer is core's business now. */
static inline void
flush_hand_over(void)
{
	flush.bytes = 0;
	flush.postponed = false;
}

/* Send what is there, as far as the socket takes it.  EOF if it is gone. */
static int
flush_send(void)
{
	flush_hand_over();
	return flush.core->flush_if_writable();
}

/* Is the oldest of what was postponed young enough? */
static bool
flush_is_young(void)
{
	TimestampTz age;

	if (!flush.writing && ++flush.records >= FLUSH_RECORDS)
	{
		flush.records = 0;
		flush.now = GetCurrentTimestamp();
	}
	age = flush.now - flush.since;

	return age >= 0 && age < FLUSH_USEC;	/* the clock may be set back */
}

/* Is there flushed WAL after what has been read? */
static bool
flush_more_wal(XLogRecPtr at)
{
	if (at >= flush.flushed)
		flush.flushed = GetFlushRecPtr(NULL);
	return at < flush.flushed;
}

/* May messages of ours stay where they are?  See the top of the file. */
static bool
flush_may_wait(void)
{
	XLogRecPtr	at = flush.ctx->reader->EndRecPtr;
	Size		limit = (Size) logical_decoding_work_mem * 1024;

	if (!flush.writing)
	{
		if (at == flush.asked_at)
			return false;
		flush.asked_at = at;
	}
	return flush.bytes < FLUSH_BYTES &&
		flush.ctx->reorder->size < limit - limit / 8 &&
		flush_is_young() &&
		flush_more_wal(at);
}

/*
 * Nothing is postponed any more.  Core's functions come back to their place,
 * unless somebody has put others before ours, who then go on calling ours.
 */
static void
flush_stop(void)
{
	flush_hand_over();
	flush.ctx = NULL;
	flush.writing = false;

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

	flush_stop();
	core->comm_reset();
}

/* Send all, and wait for it. */
static int
flush_flush(void)
{
	flush_hand_over();
	return flush.core->flush();
}

/* Send what the socket takes, or leave it for later. */
static int
flush_flush_if_writable(void)
{
	if (flush.bytes > 0)
	{
		flush.wanted++;

		if (flush_may_wait())
		{
			flush.postponed = true;
			flush.spared++;

			return 0;
		}
	}
	return flush_send();
}

/* Is there anything to wait for? */
static bool
flush_is_send_pending(void)
{
	if (flush.ctx != NULL && !flush.writing)
		flush.asked_at = flush.ctx->reader->EndRecPtr;
	return !flush.postponed && flush.core->is_send_pending();
}

/* An ordinary message. */
static int
flush_putmessage(char msgtype, const char *s, size_t len)
{
	flush_hand_over();
	return flush.core->putmessage(msgtype, s, len);
}

/* Does a message carry what the plugin is writing? */
static bool
flush_is_ours(char msgtype, const char *s, size_t len)
{
	return flush.ctx != NULL && flush.writing && msgtype == MESSAGE_COPY &&
		len >= MESSAGE_HEADER && s[0] == MESSAGE_WAL;
}

/* When was a message of ours written?  Core has just looked at the clock. */
static TimestampTz
flush_written_at(const char *s)
{
	uint64		sent;

	memcpy(&sent, s + MESSAGE_TIME, sizeof(sent));
	return (TimestampTz) pg_ntoh64(sent);
}

/*
 * A message of a stream.  If the socket is gone, core's next check for
 * interrupts ends the process.
 */
static void
flush_putmessage_noblock(char msgtype, const char *s, size_t len)
{
	Size		bytes = 0;

	if (flush_is_ours(msgtype, s, len))
	{
		bytes = MESSAGE_PREFIX + len;
		if (flush.bytes > 0 && flush.bytes + bytes > FLUSH_BYTES)
			(void) flush_send();	/* or core's buffer would have to grow */

		flush.now = flush_written_at(s);
		flush.records = 0;

		if (flush.bytes > 0)
			bytes += flush.bytes;

		else if (flush.core->is_send_pending())
			bytes = 0;
		else
			flush.since = flush.now;
	}
	flush.core->putmessage_noblock(msgtype, s, len);

	/* core has called flush_putmessage */
	flush_hand_over();
	flush.bytes = bytes;
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

	flush_hand_over();
	flush.writing = false;
	flush.asked_at = InvalidXLogRecPtr;
	flush.flushed = InvalidXLogRecPtr;
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
	if (flush.bytes > 0)
		(void) flush_send();
	elog(DEBUG1, "postponed " UINT64_FORMAT " of " UINT64_FORMAT " flushes",
		 flush.spared, flush.wanted);
	flush_stop();
}

/* OutputPluginWrite begins, or ends: what is sent in it is the plugin's. */
void
concord_flush_writing(bool writing)
{
	flush.writing = writing;
}

/* Something begins that may take long: what was postponed leaves. */
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

/*
 * A transaction has been sent: is core to be told of it?  It notes the time,
 * by which it tells the consumer's lag, once a second, and looks at the clock
 * each time it is told.
 */
bool
concord_flush_progress(void)
{
	TimestampTz age = flush.now - flush.progress;

	if (flush.bytes > 0 && age >= 0 && age < PROGRESS_USEC)
		return false;
	flush.progress = flush.now;

	return true;
}
