/*-------------------------------------------------------------------------
 *
 * sink.c
 *	  The capture worker's work: protocol messages in, outbox out.
 *
 * Events gather in memory as finished chunks and are committed together:
 * once there are many, or once the decoder has said that there is no more
 * WAL (PROGRESS), or a few milliseconds after the first.  The commit holds
 * chunks, starts of lanes and the progress row.
 *
 * Exactly once: progress is the end of the last transaction that is in the
 * outbox whole, and (partial_lsn, partial_ordinal) how far the next one is in
 * it.  The decoder starts at progress; what comes again is skipped by these
 * two.  A transaction of any size may so be split over commits: it is
 * committed already when it is decoded.
 *
 * Commits are asynchronous: nobody waits for the disk twice.  The changes are
 * durable when the decoder reads them; if the server crashes, what is lost of
 * the outbox is the end of it, together with all that followed from it and the
 * progress row, and comes again with the same numbers.  The slot may only be
 * confirmed up to a row that is flushed (snk_confirm).  Where synchronous
 * standbys are named, a commit waits for them, so that nothing is delivered
 * which a failover could undo.
 *
 * Own WAL: a commit here is dropped by the decoder by its origin, and wakes
 * nobody (wakeup.c).  While there is nothing to capture, the progress row
 * moves only after a lot of foreign WAL or time, so that an idle database
 * neither pins WAL nor writes it for ever.
 *
 * This process runs live transactions on the extension's own tables only.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "base/bookkeeping.h"
#include "base/clock.h"
#include "base/settings.h"
#include "capture/capture.h"
#include "capture/notes.h"
#include "capture/queue.h"
#include "capture/sink.h"
#include "capture/state.h"
#include "capture/stream.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "outbox/append.h"
#include "outbox/chunk.h"
#include "outbox/message.h"
#include "outbox/relation.h"
#include "replication/slot.h"
#include "replication/syncrep.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* A batch is committed once it has this many events or raw bytes. */
#define SNK_BATCH_EVENTS	10000
#define SNK_BATCH_BYTES		(4 * 1024 * 1024)

/* Or this long after its first event, where the decoder is still busy. */
#define SNK_BATCH_MS		10

/* Writes taken from the queue in one turn. */
#define SNK_TURN_WRITES		64

/* The progress row of an idle database moves after this much. */
#define SNK_IDLE_BYTES		(16 * 1024 * 1024)
#define SNK_IDLE_MS			60000
#define SNK_IDLE_LEAST		(64 * 1024)

/* Wait at most this long: to see a gap repaired, to move the row. */
#define SNK_WAIT_MS			10000
/* Until what was committed is flushed; walwriter is asked first. */
#define SNK_FLUSH_MS		500
#define SNK_GAP_WAIT_MS		500

/* A relation of this stream. */
typedef struct SnkRelation
{
	Oid			relid;
	int32		version;		/* 0: relnum not used yet */
} SnkRelation;

/* A control message 'concord.start' of the batch. */
typedef struct SnkStart
{
	int64		seq;
	TimestampTz at;
	char	   *payload;
} SnkStart;

struct ConcordSink
{
	ConcordDatabase *db;
	ConcordQueue *queue;
	ConcordCaptureState state;	/* of the row, as it will be committed next */

	/* the stream */
	SnkRelation *relations;		/* by relnum */
	uint64		nrelations;
	bool		hello;
	bool		in_txn;
	bool		skip_txn;		/* it is in the outbox already */
	ConcordChunkTxn txn;
	uint32		ordinal;
	uint32		skip_to;		/* events up to this ordinal are in it */

	/* the batch */
	ConcordChunkWriter *writer;
	MemoryContext batch;
	List	   *chunks;			/* of ConcordChunk * */
	List	   *starts;			/* of SnkStart * */
	List	   *notes;			/* of ConcordNote * */
	int64		nevents;
	Size		nbytes;
	int64		since;			/* of the first event */
	bool		due;			/* the decoder has nothing more */

	XLogRecPtr	row_progress;	/* as in the committed row */
	XLogRecPtr	row_lsn;		/* where its commit ends */
	XLogRecPtr	next_progress;	/* the slot may be confirmed up to here ... */
	XLogRecPtr	next_lsn;		/* ... once this is flushed; 0: nothing waits */
	int64		row_at;
};

/* snk_finish is called by the chunk writer with a finished chunk. */
static void
snk_finish(void *arg, ConcordChunk *chunk)
{
	ConcordSink *sink = arg;

	sink->chunks = lappend(sink->chunks, chunk);
}

/* snk_starts stores where lanes begin. */
static void
snk_starts(ConcordSink *sink)
{
	Oid			types[] = {JSONBOID, INT8OID, TIMESTAMPTZOID};
	ListCell   *lc;

	foreach(lc, sink->starts)
	{
		SnkStart   *start = lfirst(lc);
		Datum		values[3];

		values[0] = DirectFunctionCall1(jsonb_in, CStringGetDatum(start->payload));
		values[1] = Int64GetDatum(start->seq);
		values[2] = TimestampTzGetDatum(start->at);
		if (SPI_execute_with_args("INSERT INTO concord.lane_start (mapping, version, seq, at)"
								  " SELECT (p.p ->> 'mapping')::int, (p.p ->> 'version')::int, $2, $3"
								  " FROM (SELECT $1 AS p) p",
								  lengthof(types), types, values, NULL, false, 0) != SPI_OK_INSERT)
			elog(ERROR, "could not store the start of a mapping");
	}
}

/*
 * snk_confirm lets the slot be confirmed up to a progress row that is flushed,
 * here and on the standbys that may take over with this slot.  While one waits
 * for that, newer ones wait behind it.
 */
static void
snk_confirm(ConcordSink *sink)
{
	XLogRecPtr	flushed = GetFlushRecPtr(NULL);

	if (sink->next_lsn != InvalidXLogRecPtr && sink->next_lsn <= flushed &&
		concord_standbys_have(sink->next_lsn))
	{
		pg_atomic_write_u64(&sink->queue->shared->progress, sink->next_progress);
		sink->next_lsn = InvalidXLogRecPtr;
	}
	if (sink->next_lsn != InvalidXLogRecPtr ||
		sink->row_progress == pg_atomic_read_u64(&sink->queue->shared->progress))
		return;
	sink->next_progress = sink->row_progress;
	sink->next_lsn = sink->row_lsn;
	if (sink->next_lsn <= flushed && concord_standbys_have(sink->next_lsn))
	{
		pg_atomic_write_u64(&sink->queue->shared->progress, sink->next_progress);
		sink->next_lsn = InvalidXLogRecPtr;
	}
}

/* snk_publish tells everybody what is committed. */
static void
snk_publish(ConcordSink *sink, bool events)
{
	ConcordDatabase *db = sink->db;

	pg_atomic_write_u64(&db->last_seq, (uint64) sink->state.last_seq);
	pg_atomic_write_u64(&db->events_captured, (uint64) sink->state.events);
	pg_write_barrier();
	pg_atomic_write_u64(&db->captured_lsn, sink->state.progress);
	snk_confirm(sink);
	if (!events)
		return;
	for (int i = 0; i < concord_couriers && i < CONCORD_MAX_COURIERS; i++)
		concord_shmem_wake(db, CONCORD_WORKER_COURIER + i);
}

/* snk_commit commits the batch, or the progress row alone. */
static void
snk_commit(ConcordSink *sink)
{
	MemoryContext old;
	ConcordChunk **chunks;
	int			n = 0;
	bool		standbys = SyncRepStandbyNames != NULL && SyncRepStandbyNames[0] != '\0';
	bool		durable = standbys ||
		pg_atomic_read_u64(&sink->queue->shared->slot_lsn) == InvalidXLogRecPtr;
	ListCell   *lc;

	old = MemoryContextSwitchTo(sink->batch);
	concord_chunk_flush(sink->writer);
	chunks = palloc(sizeof(ConcordChunk *) * Max(list_length(sink->chunks), 1));
	foreach(lc, sink->chunks)
		chunks[n++] = lfirst(lc);
	MemoryContextSwitchTo(old);

	sink->state.last_seq = concord_chunk_last_seq(sink->writer);
	sink->state.events += sink->nevents;
	if (sink->in_txn && !sink->skip_txn)
	{
		sink->state.partial_lsn = sink->txn.lsn;
		sink->state.partial_ordinal = Max(sink->ordinal, sink->skip_to);
	}
	else if (sink->state.partial_lsn <= sink->state.progress)
	{
		sink->state.partial_lsn = InvalidXLogRecPtr;
		sink->state.partial_ordinal = 0;
	}

	concord_bookkeeping_begin();
	concord_outbox_append(chunks, n);
	snk_starts(sink);
	concord_notes_store(sink->notes);
	concord_capture_state_write(&sink->state);
	concord_bookkeeping_commit(durable);

	sink->row_progress = sink->state.progress;
	sink->row_lsn = XactLastCommitEnd;
	sink->row_at = concord_clock_steady();
	snk_publish(sink, n > 0);
	sink->chunks = NIL;
	sink->starts = NIL;
	sink->notes = NIL;
	sink->nevents = 0;
	sink->nbytes = 0;
	MemoryContextReset(sink->batch);
}

/* snk_count notes that an event was added to the batch. */
static inline void
snk_count(ConcordSink *sink, Size bytes)
{
	if (sink->nevents == 0)
		sink->since = concord_clock_steady();
	sink->nevents++;
	sink->nbytes += bytes;
}

/* snk_relation notes what a relnum means, storing the definition if new. */
static void
snk_relation(ConcordSink *sink, const ConcordStreamMessage *m)
{
	ConcordRelation *relation;
	SnkRelation *entry;

	if (m->relnum >= sink->nrelations)
	{
		uint64		n = Max(m->relnum + 1, sink->nrelations * 2);

		if (n > MaxAllocSize / sizeof(SnkRelation))
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("the decoder's stream has too many relations")));
		sink->relations = sink->relations == NULL ?
			MemoryContextAllocZero(TopMemoryContext, n * sizeof(SnkRelation)) :
			repalloc(sink->relations, n * sizeof(SnkRelation));
		memset(sink->relations + sink->nrelations, 0,
			   (n - sink->nrelations) * sizeof(SnkRelation));
		sink->nrelations = n;
	}
	entry = &sink->relations[m->relnum];

	concord_bookkeeping_begin();
	relation = concord_relation_parse(m->text, m->text_len, CurrentMemoryContext);
	if (relation == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the decoder's stream has a damaged definition of a table")));
	entry->relid = relation->relid;
	entry->version = concord_relation_store(relation, m->text, m->text_len);
	concord_bookkeeping_commit(false);
}

static const SnkRelation *
snk_find_relation(ConcordSink *sink, uint64 relnum)
{
	if (unlikely(relnum >= sink->nrelations ||
				 sink->relations[relnum].version == 0))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the decoder's stream names a relation that it has not described")));
	return &sink->relations[relnum];
}

/* snk_begin notes a transaction and how much of it is in the outbox. */
static void
snk_begin(ConcordSink *sink, const ConcordStreamMessage *m)
{
	sink->in_txn = true;
	sink->txn.xid = m->xid;
	sink->txn.lsn = m->lsn;
	sink->txn.time = m->time;
	sink->ordinal = 0;
	sink->skip_txn = m->lsn <= sink->state.progress;
	sink->skip_to = m->lsn == sink->state.partial_lsn ?
		sink->state.partial_ordinal : 0;
}

/* snk_next counts an event of the stream; false where the outbox has it. */
static inline bool
snk_next(ConcordSink *sink)
{
	if (unlikely(!sink->in_txn))
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the decoder's stream has a change outside of a transaction")));
	sink->ordinal++;
	return !sink->skip_txn && sink->ordinal > sink->skip_to;
}

/* snk_row adds a row change or truncate. */
static inline void
snk_row(ConcordSink *sink, const ConcordStreamMessage *m)
{
	const SnkRelation *relation = snk_find_relation(sink, m->relnum);

	if (!snk_next(sink))
		return;
	if (m->kind == CONCORD_MSG_TRUNCATE)
		concord_chunk_truncate(sink->writer, &sink->txn, sink->ordinal,
							   relation->relid, relation->version, m->flags);
	else
		concord_chunk_row(sink->writer, &sink->txn, sink->ordinal,
						  (ConcordOp) m->kind, relation->relid,
						  relation->version, m->flags, m->old_image,
						  m->old_len, m->new_image, m->new_len);
	snk_count(sink, m->old_len + m->new_len);
}

/* snk_start notes a mapping's start for the commit. */
static void
snk_start(ConcordSink *sink, const ConcordMessage *message, int64 seq)
{
	SnkStart   *start = palloc(sizeof(SnkStart));

	start->seq = seq;
	start->at = sink->txn.time;
	start->payload = pstrdup(message->payload);
	sink->starts = lappend(sink->starts, start);
}

/*
 * snk_note takes a message that belongs to no transaction: one of ours, or
 * forged.
 */
static void
snk_note(ConcordSink *sink, const ConcordStreamMessage *m)
{
	char	   *prefix = pnstrdup(m->text, m->text_len);
	ConcordNote *note = concord_note_take(prefix, m->new_image, m->new_len);

	if (note == NULL)
		sink->state.forged++;
	else
	{
		if (sink->nevents == 0 && sink->notes == NIL)
			sink->since = concord_clock_steady();
		sink->notes = lappend(sink->notes, note);
		sink->nbytes += m->new_len;
	}
	pfree(prefix);
}

/*
 * snk_message adds an emitted or control message.  Ordinals count messages
 * that are dropped, because the decoder, which cannot check them, does.
 */
static void
snk_message(ConcordSink *sink, const ConcordStreamMessage *m)
{
	ConcordMessage message;
	ConcordOp	op;
	char	   *prefix;
	int64		seq;

	if ((m->flags & CONCORD_MESSAGE_TRANSACTIONAL) == 0)
	{
		snk_note(sink, m);
		return;
	}
	if (!snk_next(sink))
		return;
	prefix = pnstrdup(m->text, m->text_len);
	if (strcmp(prefix, CONCORD_MESSAGE_EMIT) == 0)
		op = CONCORD_OP_EMIT;
	else if (strcmp(prefix, CONCORD_MESSAGE_RESYNC) == 0)
		op = CONCORD_OP_RESYNC;
	else
		op = CONCORD_OP_CONTROL;
	if ((op == CONCORD_OP_CONTROL && strcmp(prefix, CONCORD_MESSAGE_CONTROL) != 0 &&
		 strcmp(prefix, CONCORD_MESSAGE_APPLY) != 0) ||
		!concord_message_parse(prefix, sink->txn.xid, m->new_image, m->new_len,
							   &message))
	{
		if (sink->state.forged++ == 0)
			ereport(LOG,
					(errmsg("dropped a logical message \"%s\" that pg_concord has not written",
							prefix),
					 errdetail("Transaction %u; such messages are counted in concord.capture.",
							   sink->txn.xid)));
		pfree(prefix);
		return;
	}
	seq = concord_chunk_message(sink->writer, &sink->txn, sink->ordinal, op,
								&message.id, message.fields,
								message.fields_len);
	if (op == CONCORD_OP_CONTROL && message.topic != NULL &&
		message.payload != NULL &&
		strcmp(message.topic, CONCORD_CONTROL_START) == 0)
		snk_start(sink, &message, seq);
	pfree(prefix);
	snk_count(sink, m->new_len);
}

/* snk_hello checks that the decoder speaks our version. */
static void
snk_hello(ConcordSink *sink, const ConcordStreamMessage *m)
{
	if (m->version != CONCORD_PROTOCOL_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_PROTOCOL_VIOLATION),
				 errmsg("the library concord_decoder speaks version %d of the protocol instead of %d",
						(int) m->version, CONCORD_PROTOCOL_VERSION),
				 errhint("Install both libraries of one version of pg_concord.")));
	sink->hello = true;
}

/* snk_end notes that a transaction is whole. */
static void
snk_end(ConcordSink *sink)
{
	sink->in_txn = false;
	concord_chunk_end_txn(sink->writer);
	if (sink->txn.lsn > sink->state.progress)
		sink->state.progress = sink->txn.lsn;
}

/* snk_apply takes one message. */
static void
snk_apply(ConcordSink *sink, const ConcordStreamMessage *m)
{
	switch (m->kind)
	{
		case CONCORD_MSG_INSERT:
		case CONCORD_MSG_UPDATE:
		case CONCORD_MSG_DELETE:
		case CONCORD_MSG_TRUNCATE:
			snk_row(sink, m);
			break;
		case CONCORD_MSG_BEGIN:
			snk_begin(sink, m);
			break;
		case CONCORD_MSG_COMMIT:
			snk_end(sink);
			break;
		case CONCORD_MSG_RELATION:
			snk_relation(sink, m);
			break;
		case CONCORD_MSG_MESSAGE:
			snk_message(sink, m);
			break;
		case CONCORD_MSG_HELLO:
			snk_hello(sink, m);
			break;
		case CONCORD_MSG_PROGRESS:
			if (m->lsn > sink->state.progress)
				sink->state.progress = m->lsn;
			sink->due = true;
			break;
	}
}

/* snk_take takes one write apart; commits in between where the batch is full. */
static void
snk_take(ConcordSink *sink, const char *data, Size len)
{
	ConcordStream stream = {data, data + len};
	ConcordStreamMessage m;
	MemoryContext old = CurrentMemoryContext;

	while (concord_stream_next(&stream, &m))
	{
		/* a commit leaves another context behind */
		MemoryContextSwitchTo(sink->batch);
		if (unlikely(!sink->hello && m.kind != CONCORD_MSG_HELLO &&
					 m.kind != CONCORD_MSG_PROGRESS))
			ereport(ERROR,
					(errcode(ERRCODE_PROTOCOL_VIOLATION),
					 errmsg("the decoder's stream does not begin with its version")));
		snk_apply(sink, &m);
		if (unlikely(sink->nevents >= SNK_BATCH_EVENTS ||
					 sink->nbytes >= SNK_BATCH_BYTES))
			snk_commit(sink);
	}
	MemoryContextSwitchTo(old);
}

/* snk_record_slot commits that the decoder has made a slot. */
static void
snk_record_slot(ConcordSink *sink, XLogRecPtr lsn)
{
	sink->state.slot_lsn = lsn;
	sink->state.progress = lsn;
	sink->state.partial_lsn = InvalidXLogRecPtr;
	snk_commit(sink);
	pg_atomic_write_u64(&sink->queue->shared->slot_lsn, lsn);
	concord_shmem_wake(sink->db, CONCORD_WORKER_DECODER);
}

/* snk_idle does what is due while no batch is in work. */
static void
snk_idle(ConcordSink *sink)
{
	ConcordQueueShared *shared = sink->queue->shared;
	XLogRecPtr	moved = sink->state.progress - sink->row_progress;

	if (XLogRecPtrIsInvalid(sink->state.slot_lsn))
	{
		XLogRecPtr	made = pg_atomic_read_u64(&shared->new_slot_lsn);

		if (!XLogRecPtrIsInvalid(made))
			snk_record_slot(sink, made);
		return;
	}
	if (pg_atomic_read_u32(&shared->gap))
	{
		ConcordCaptureState now;

		concord_bookkeeping_begin();
		concord_capture_state_read(&now);
		concord_bookkeeping_commit(false);
		if (XLogRecPtrIsInvalid(now.slot_lsn))
			proc_exit(0);
		return;
	}
	if (moved >= SNK_IDLE_BYTES ||
		(moved >= SNK_IDLE_LEAST &&
		 concord_clock_passed(sink->row_at, SNK_IDLE_MS)))
		snk_commit(sink);
	else if (sink->due)
		snk_publish(sink, false);
	sink->due = false;
}

/* concord_sink_turn takes what is in the queue and commits what is due. */
long
concord_sink_turn(ConcordSink *sink)
{
	const char *data;
	Size		len;
	int			n = 0;

	while (n < SNK_TURN_WRITES &&
		   concord_queue_receive(sink->queue, &data, &len))
	{
		snk_take(sink, data, len);
		n++;
	}
	if (n == SNK_TURN_WRITES)
		return 0;
	if (sink->nevents > 0 || sink->notes != NIL)
	{
		long		left = concord_clock_left(sink->since + SNK_BATCH_MS * 1000);

		if (!sink->due && left > 0)
			return left;
		snk_commit(sink);
		sink->due = false;
	}
	snk_idle(sink);
	if (sink->next_lsn != InvalidXLogRecPtr)
	{
		if (concord_clock_passed(sink->row_at, SNK_FLUSH_MS))
			XLogFlush(sink->row_lsn);
		snk_confirm(sink);
		if (sink->next_lsn != InvalidXLogRecPtr)
			return SNK_FLUSH_MS;
	}
	return pg_atomic_read_u32(&sink->queue->shared->gap) ?
		SNK_GAP_WAIT_MS : SNK_WAIT_MS;
}

/* concord_sink_open reads where capture stands and publishes a queue. */
ConcordSink *
concord_sink_open(ConcordDatabase *db)
{
	ConcordSink *sink = MemoryContextAllocZero(TopMemoryContext, sizeof(ConcordSink));
	MemoryContext old;

	sink->db = db;
	concord_bookkeeping_begin();
	concord_capture_state_read(&sink->state);
	concord_message_load_key();
	concord_bookkeeping_commit(false);

	old = MemoryContextSwitchTo(TopMemoryContext);
	sink->batch = AllocSetContextCreate(TopMemoryContext, "concord capture batch",
										ALLOCSET_DEFAULT_SIZES);
	sink->writer = concord_chunk_writer(sink->state.last_seq, snk_finish, sink);
	MemoryContextSwitchTo(old);
	sink->row_progress = sink->state.progress;
	sink->row_at = concord_clock_steady();
	sink->queue = concord_queue_create(db, sink->state.slot_lsn,
									   sink->state.progress);
	snk_publish(sink, false);
	return sink;
}
