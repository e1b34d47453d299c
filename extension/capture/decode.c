/*-------------------------------------------------------------------------
 *
 * decode.c
 *	  The decoder worker's work: WAL in, protocol messages out.
 *
 * It decodes in process, as PostgreSQL's SQL functions do, but continuously:
 *
 *		read a record ──► plugin ──► buffer (64 kB) ──► queue ──► capture
 *		      ▲                                            │
 *		      └── slot confirmed up to progress ◄──────────┘
 *
 * This process opens no relation of its own in an ordinary transaction:
 * relation caches do not know which snapshot filled them, and a live entry
 * met by a historic snapshot, or the reverse, gives wrong values and crashes.
 * What it has to know of our tables it is told through the queue.
 *
 * Writes block while the queue is full, so memory is bounded by
 * logical_decoding_work_mem and one row, whatever a transaction's size.
 *
 * Reading WAL: PostgreSQL's read_local_xlog_page sleeps deaf to the latch, so
 * there is a page_read here that waits on it.  A commit wakes us (wakeup.c)
 * only while decoder_sleeping is set; when there is nothing to read, what is
 * buffered goes out, followed by PROGRESS, and the slot is confirmed.
 *
 * Standbys: a slot goes along to a standby that takes over, from 17 on, and the
 * outbox there must have what the slot has left behind.  What a standby of
 * synchronized_standby_slots does not have is not read, nor confirmed.
 *
 * On ERROR the process exits and is started again: a decoding context is not
 * usable after an error.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "access/xlogreader.h"
#include "access/xlogutils.h"
#include "base/clock.h"
#include "base/settings.h"
#include "capture/capture.h"
#include "capture/decode.h"
#include "capture/slot.h"
#include "decoder/protocol.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "pgstat.h"
#include "replication/decode.h"
#include "replication/logical.h"
#include "replication/slot.h"
#include "storage/ipc.h"
#include "utils/inval.h"
#include "utils/memutils.h"

/* What is buffered is sent at the latest after this time. */
#define DEC_SEND_MS			5

/* While a commit that was announced is not flushed, we look this often. */
#define DEC_ASYNC_MS		10

/* Sleep at most this long: WAL of other databases wakes nobody, and is not to
 * pile up before our next commit; the slot is to be confirmed. */
#define DEC_SLEEP_MS		2000

/* How often the slot is confirmed while there is work. */
#define DEC_CONFIRM_MS		1000

/* While standbys lack WAL, we look every DEC_ASYNC_MS for this long; then it is
 * said, and we look as often as this. */
#define DEC_STANDBY_MS		1000

/* Records between two looks at the clock. */
#define DEC_TURN_RECORDS	64

typedef struct DecState
{
	ConcordDatabase *db;
	ConcordQueue *queue;
	void		(*check) (void);

	XLogReaderState *reader;	/* NULL while the slot is made */
	XLogRecPtr	flushed;		/* WAL up to here can be read */
	XLogRecPtr	next_flushed;	/* and up to here once standbys have it */
	int64		standby_since;	/* when they began to lack it, or 0 */
	bool		standby_said;	/* it shows in concord.capture */
	XLogRecPtr	start_lsn;		/* nothing is confirmed before standbys have
								 * this; 0: they do */
	XLogRecPtr	told;			/* the last PROGRESS sent */

	char	   *buf;			/* CONCORD_WRITE_SIZE bytes */
	Size		used;
	int64		since;			/* when the first of them came */
	int64		confirmed_at;
	int			max_event_size; /* the setting that the plugin was given */
} DecState;

/*
 * The one decoding of this process.  page_read gets no argument of its own
 * while a slot is made, hence a file-level pointer.
 */
static DecState *dec;

/*
 * dec_check does what is owed to the server; ends the process where a setting
 * has changed that the plugin was given when it started.
 */
static void
dec_check(void)
{
	dec->check();
	if (dec->reader == NULL || dec->max_event_size == concord_max_event_size)
		return;
	ereport(LOG,
			(errmsg("the decoder starts again, because \"pg_concord.max_event_size\" has changed")));
	proc_exit(0);
}

/* dec_push sends one write, waiting while the queue is full. */
static void
dec_push(const char *data, Size len)
{
	while (!concord_queue_send(dec->queue, data, len))
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 DEC_SLEEP_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		dec_check();
	}
}

/* dec_flush sends what is buffered. */
static void
dec_flush(void)
{
	Size		used = dec->used;

	if (used == 0)
		return;
	dec->used = 0;
	dec_push(dec->buf, used);
}

/* dec_add buffers whole messages, sending what has gathered where they do not fit. */
static void
dec_add(const char *data, Size len)
{
	if (dec->used + len > CONCORD_WRITE_SIZE)
		dec_flush();
	if (len > CONCORD_WRITE_SIZE)
	{
		dec_push(data, len);
		return;
	}
	if (dec->used == 0)
		dec->since = concord_clock_steady();
	memcpy(dec->buf + dec->used, data, len);
	dec->used += len;
}

/* dec_tell says that nothing before lsn is still to come. */
static void
dec_tell(XLogRecPtr lsn)
{
	char		message[1 + 1 + 8];

	if (lsn <= dec->told)
		return;
	message[0] = CONCORD_MSG_PROGRESS;
	message[1] = 8;
	for (int i = 0; i < 8; i++)
		message[2 + i] = (char) (lsn >> (8 * i));
	dec_add(message, sizeof(message));
	dec->told = lsn;
	pg_atomic_write_u64(&dec->db->read_lsn, lsn);
}

/*
 * dec_confirm moves the slot to what capture has committed.  The progress row
 * that we began with may have been committed just before.
 */
static void
dec_confirm(void)
{
	if (dec->start_lsn != InvalidXLogRecPtr)
	{
		if (!concord_standbys_have(dec->start_lsn))
			return;
		dec->start_lsn = InvalidXLogRecPtr;
	}
	concord_slot_confirm(pg_atomic_read_u64(&dec->queue->shared->progress));
	dec->confirmed_at = concord_clock_steady();
}

/* Write callbacks of the decoding context. */
static void
dec_prepare_write(LogicalDecodingContext *ctx, XLogRecPtr lsn,
				  TransactionId xid, bool last_write)
{
	resetStringInfo(ctx->out);
}

static void
dec_write(LogicalDecodingContext *ctx, XLogRecPtr lsn, TransactionId xid,
		  bool last_write)
{
	dec_add(ctx->out->data, ctx->out->len);
}

/* dec_say_standby shows, or no longer shows, that standbys keep us waiting. */
static void
dec_say_standby(bool waits)
{
	if (dec->standby_said == waits || dec->reader == NULL)
		return;
	dec->standby_said = waits;
	concord_shmem_set_state(dec->db, CONCORD_CAPTURE_RUNNING,
							waits ? "waits for a standby of synchronized_standby_slots" : NULL);
}

/*
 * dec_look sees how far WAL can be read.  What standbys are asked for stays
 * the same until they have it: they may never have all that is flushed here.
 */
static void
dec_look(void)
{
	if (dec->next_flushed <= dec->flushed)
		dec->next_flushed = GetFlushRecPtr(NULL);
	if (dec->next_flushed <= dec->flushed)
		return;
	if (concord_standbys_have(dec->next_flushed))
	{
		dec->flushed = dec->next_flushed;
		dec->standby_since = 0;
		dec_say_standby(false);
	}
	else if (dec->standby_since == 0)
		dec->standby_since = concord_clock_steady();
	else if (concord_clock_passed(dec->standby_since, DEC_STANDBY_MS))
		dec_say_standby(true);
}

/*
 * dec_sleep waits for WAL beyond loc.  The flag goes up before the last look:
 * a commit either is seen by that look or sees the flag.
 */
static void
dec_sleep(XLogRecPtr loc)
{
	long		timeout = DEC_SLEEP_MS;

	pg_atomic_write_u32(&dec->db->decoder_sleeping, 1);
	pg_memory_barrier();
	dec_look();
	if (dec->flushed < loc)
	{
		if (dec->standby_since != 0)
			timeout = dec->standby_said ? DEC_STANDBY_MS : DEC_ASYNC_MS;
		else if (pg_atomic_read_u64(&dec->db->commit_lsn) > dec->flushed)
			timeout = DEC_ASYNC_MS;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 timeout, PG_WAIT_EXTENSION);
	}
	pg_atomic_write_u32(&dec->db->decoder_sleeping, 0);
	ResetLatch(MyLatch);
	dec_check();
}

/*
 * dec_wait_for_wal returns once WAL up to loc is flushed.  Before it sleeps,
 * everything that was decoded is sent and the slot confirmed.
 */
static void
dec_wait_for_wal(XLogRecPtr loc)
{
	if (loc <= dec->flushed)
		return;
	for (;;)
	{
		dec_look();
		if (loc <= dec->flushed)
			return;
		if (dec->reader != NULL)
		{
			dec_tell(dec->reader->EndRecPtr);
			dec_flush();
			dec_confirm();
			concord_queue_check(dec->queue, dec->db);
		}
		dec_sleep(loc);
	}
}

/* dec_page_read is the page_read callback of the WAL reader. */
static int
dec_page_read(XLogReaderState *state, XLogRecPtr page, int wanted,
			  XLogRecPtr record, char *buf)
{
	TimeLineID	timeline = GetWALInsertionTimeLine();
	XLogSegNo	segment;
	WALReadError error;

	XLogReadDetermineTimeline(state, page, wanted, timeline);
	dec_wait_for_wal(page + wanted);
	if (!WALRead(state, buf, page, XLOG_BLCKSZ, state->currTLI, &error))
		WALReadRaiseError(&error);

	/* the segment may have been recycled while it was read */
	XLByteToSeg(page, segment, state->segcxt.ws_segsize);
	CheckXLogRemoved(segment, state->seg.ws_tli);
	return (int) Min((XLogRecPtr) XLOG_BLCKSZ, dec->flushed - page);
}

static XLogReaderRoutine dec_reader = {
	.page_read = dec_page_read,
	.segment_open = wal_segment_open,
	.segment_close = wal_segment_close
};

/* dec_stop_at_gap says what is wrong and waits to be ended. */
static void
dec_stop_at_gap(const char *reason)
{
	pg_atomic_write_u32(&dec->db->capture_ready, 0);
	pg_atomic_write_u32(&dec->queue->shared->gap, 1);
	concord_shmem_set_state(dec->db, CONCORD_CAPTURE_GAP, reason);
	concord_shmem_wake(dec->db, CONCORD_WORKER_CAPTURE);
	ereport(LOG,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("capture has stopped: %s", reason),
			 errdetail("Changes may have been missed since %X/%X.",
					   LSN_FORMAT_ARGS(pg_atomic_read_u64(&dec->queue->shared->progress))),
			 errhint("Call concord.reset_capture() to begin anew from now on, then bring the systems up to date.")));
	for (;;)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 DEC_SLEEP_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		dec_check();
		concord_queue_check(dec->queue, dec->db);
	}
}

/* dec_open_slot makes or checks the slot; it is acquired afterwards. */
static void
dec_open_slot(void)
{
	ConcordQueueShared *shared = dec->queue->shared;
	const char *reason;
	XLogRecPtr	lsn;

	if (pg_atomic_read_u64(&shared->slot_lsn) != InvalidXLogRecPtr)
	{
		reason = concord_slot_check(dec->db->dboid,
									pg_atomic_read_u64(&shared->progress));
		if (reason != NULL)
			dec_stop_at_gap(reason);
		concord_slot_acquire(dec->db->dboid);
		return;
	}

	lsn = concord_slot_make(dec->db, &dec_reader);
	pg_atomic_write_u64(&shared->new_slot_lsn, lsn);
	concord_shmem_wake(dec->db, CONCORD_WORKER_CAPTURE);
	while (pg_atomic_read_u64(&shared->slot_lsn) == InvalidXLogRecPtr)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 DEC_SLEEP_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		dec_check();
		concord_queue_check(dec->queue, dec->db);
	}
}

static DefElem *
dec_option(const char *name, const char *value)
{
	return makeDefElem(pstrdup(name), (Node *) makeString(pstrdup(value)), -1);
}

/*
 * dec_make_context makes the decoding context, inside a transaction that is
 * committed at once: outside of one, the process would be marked as a decoding
 * one, whose xmin vacuum ignores.
 */
static LogicalDecodingContext *
dec_make_context(void)
{
	LogicalDecodingContext *ctx;
	MemoryContext old;
	List	   *options;

	StartTransactionCommand();
	concord_check_decoding();
	old = MemoryContextSwitchTo(TopMemoryContext);
	dec->max_event_size = concord_max_event_size;
	options = list_make4(dec_option("format", "binary"),
						 dec_option("selection", "captured"),
						 dec_option("messages", CONCORD_MESSAGE_PREFIX),
						 dec_option("max_value",
									psprintf("%dkB", concord_max_event_size)));
	ctx = CreateDecodingContext(pg_atomic_read_u64(&dec->queue->shared->progress),
								options, false, &dec_reader,
								dec_prepare_write, dec_write, NULL);
	MemoryContextSwitchTo(old);
	CommitTransactionCommand();
	return ctx;
}

/* dec_housekeeping does what is due by the clock. */
static void
dec_housekeeping(void)
{
	if (dec->used > 0 && concord_clock_passed(dec->since, DEC_SEND_MS))
		dec_flush();
	if (concord_clock_passed(dec->confirmed_at, DEC_CONFIRM_MS))
		dec_confirm();
	dec_check();
}

/* dec_loop reads and decodes records. */
static void
dec_loop(LogicalDecodingContext *ctx)
{
	for (int n = 1;; n++)
	{
		char	   *message = NULL;
		XLogRecord *record = XLogReadRecord(ctx->reader, &message);

		if (record == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("could not read WAL after %X/%X: %s",
							LSN_FORMAT_ARGS(ctx->reader->EndRecPtr),
							message ? message : "no record")));
		LogicalDecodingProcessRecord(ctx, ctx->reader);
		if (n % DEC_TURN_RECORDS == 0)
			dec_housekeeping();
	}
}

/* concord_decode_run reads WAL from the queue's progress on, for ever. */
void
concord_decode_run(ConcordDatabase *db, ConcordQueue *queue,
				   void (*check) (void))
{
	LogicalDecodingContext *ctx;

	dec = MemoryContextAllocZero(TopMemoryContext, sizeof(DecState));
	dec->db = db;
	dec->queue = queue;
	dec->check = check;
	dec->buf = MemoryContextAlloc(TopMemoryContext, CONCORD_WRITE_SIZE);

	dec_open_slot();
	ctx = dec_make_context();
	XLogBeginRead(ctx->reader, MyReplicationSlot->data.restart_lsn);
	dec->told = pg_atomic_read_u64(&queue->shared->progress);
	dec->start_lsn = GetXLogInsertRecPtr();
	dec->reader = ctx->reader;
	InvalidateSystemCaches();
	concord_shmem_set_state(db, CONCORD_CAPTURE_RUNNING, NULL);
	pg_atomic_write_u32(&db->capture_ready, 1);
	pgstat_report_activity(STATE_RUNNING, "reading WAL");
	dec_loop(ctx);
	pg_unreachable();
}
