/*-------------------------------------------------------------------------
 *
 * chunk.h
 *	  The stored form of consecutive events.
 *
 * A row of the outbox is one chunk: events of consecutive seq, of one or many
 * transactions.  Its columns say which range and which sources it holds, so
 * that a reader may skip it; its data, compressed as a TOAST datum, is:
 *
 *		version	byte, CONCORD_CHUNK_VERSION
 *		items	each a kind byte, a varint length and that many bytes
 *
 * Items:
 *
 *		'B'		transaction: varint xid, lsn commit end (8 bytes), time
 *				commit (8 bytes), varint ordinal of the last event before
 *				the next one.  Stands before the first event of a
 *				transaction, again at the head of a further chunk, and where
 *				ordinals jump (a dropped message).
 *		'I' 'U' 'D'		row change: varint relation version, byte flags
 *				(CONCORD_ROW_*), varint old length, varint new length, old
 *				image, new image, as the decoder sent them
 *		'T'		truncate: varint relation version, byte flags
 *		'M' 'X' 'R'	message: 16 bytes event id, then the four fields of
 *				outbox/message.h
 *		'E'		end of the transaction, no bytes: later events belong to
 *				another one
 *
 * An event's ordinal is the one before it plus one; its seq likewise, from
 * the row's seq.  Integers are little-endian, as in decoder/protocol.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_OUTBOX_CHUNK_H
#define CONCORD_OUTBOX_CHUNK_H

#include "outbox/event.h"
#include "lib/stringinfo.h"

#define CONCORD_CHUNK_VERSION	1

/* A chunk is closed before it would grow beyond this many raw bytes. */
#define CONCORD_CHUNK_SIZE		7600

/* More sources than this in one chunk close it, too. */
#define CONCORD_CHUNK_SOURCES	32

/* A finished chunk, ready to be stored. */
typedef struct ConcordChunk
{
	int64		seq;			/* of the first event */
	int64		last_seq;
	int32		nevents;
	XLogRecPtr	first_lsn;
	XLogRecPtr	last_lsn;
	TimestampTz first_time;
	TimestampTz last_time;
	int			nsources;
	Oid			sources[CONCORD_CHUNK_SOURCES]; /* InvalidOid: messages */
	struct varlena *data;		/* compressed where that helps */
} ConcordChunk;

/* What the writer knows of the transaction that it is in. */
typedef struct ConcordChunkTxn
{
	TransactionId xid;
	XLogRecPtr	lsn;			/* end of the commit record */
	TimestampTz time;
} ConcordChunkTxn;

typedef struct ConcordChunkWriter ConcordChunkWriter;

/*
 * concord_chunk_writer makes a writer; finished chunks are handed to
 * finish(arg, chunk), data in the memory context that is current then.
 */
extern ConcordChunkWriter *concord_chunk_writer(int64 last_seq,
												void (*finish) (void *arg,
																ConcordChunk *chunk),
												void *arg);

/* concord_chunk_row adds a row change; returns its seq. */
extern int64 concord_chunk_row(ConcordChunkWriter *writer,
							   const ConcordChunkTxn *txn, uint32 ordinal,
							   ConcordOp op, Oid relid, int32 relation_version,
							   uint8 flags, const char *old_image,
							   uint32 old_len, const char *new_image,
							   uint32 new_len);

/* concord_chunk_truncate adds a TRUNCATE of one relation. */
extern int64 concord_chunk_truncate(ConcordChunkWriter *writer,
									const ConcordChunkTxn *txn, uint32 ordinal,
									Oid relid, int32 relation_version,
									uint8 flags);

/* concord_chunk_message adds an emitted or control message. */
extern int64 concord_chunk_message(ConcordChunkWriter *writer,
								   const ConcordChunkTxn *txn, uint32 ordinal,
								   ConcordOp op, const pg_uuid_t *id,
								   const char *fields, uint32 fields_len);

/* concord_chunk_end_txn marks the end of the transaction. */
extern void concord_chunk_end_txn(ConcordChunkWriter *writer);

/* concord_chunk_flush finishes the chunk in work, if there is one. */
extern void concord_chunk_flush(ConcordChunkWriter *writer);

/* concord_chunk_last_seq is the seq of the newest event added. */
extern int64 concord_chunk_last_seq(const ConcordChunkWriter *writer);

/* A cursor over the items of one chunk. */
typedef struct ConcordChunkReader
{
	const char *p;
	const char *end;
	int64		next_seq;
	int64		last_seq;
	ConcordChunkTxn txn;
	uint32		ordinal;
	int32		relation_version;	/* of the event just returned; 0: none */
} ConcordChunkReader;

/*
 * concord_chunk_open starts to read raw (uncompressed) chunk data;
 * concord_chunk_next fills in the next event, without its relation, whose
 * version is reader->relation_version.  Both raise ERRCODE_DATA_CORRUPTED.
 */
extern void concord_chunk_open(ConcordChunkReader *reader, const char *data,
							   uint32 len, int64 seq, int64 last_seq);
extern bool concord_chunk_next(ConcordChunkReader *reader, ConcordEvent *event);

#endif							/* CONCORD_OUTBOX_CHUNK_H */
