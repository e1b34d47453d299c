/*-------------------------------------------------------------------------
 *
 * chunk.c
 *	  Encode and decode the stored form of consecutive events.
 *
 * The writer has one buffer that is reused for every chunk and becomes the
 * varlena that is compressed; an event is copied once, from the queue into
 * that buffer.  lz4 where the server has it: pglz costs three times the CPU.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/toast_compression.h"
#include "access/toast_internals.h"
#include "decoder/protocol.h"
#include "outbox/chunk.h"
#include "outbox/message.h"
#include "utils/memutils.h"

#ifdef USE_LZ4
#define CHK_COMPRESSION	TOAST_LZ4_COMPRESSION
#else
#define CHK_COMPRESSION	TOAST_PGLZ_COMPRESSION
#endif

/* The most that an item adds to its body: kind, length. */
#define CHK_ITEM_OVERHEAD	(1 + CONCORD_VARINT_MAX)

/* The most that a transaction item takes. */
#define CHK_TXN_SIZE	(CHK_ITEM_OVERHEAD + 2 * CONCORD_VARINT_MAX + 16)

struct ConcordChunkWriter
{
	ConcordChunk chunk;			/* in work; nevents 0: none */
	int64		last_seq;

	/* the transaction item that stands last in buf */
	XLogRecPtr	txn_lsn;		/* InvalidXLogRecPtr: none */
	uint32		ordinal;		/* of the last event */

	char	   *buf;			/* varlena header and raw data */
	char	   *p;				/* where the next item goes */
	Size		size;			/* of buf */
	MemoryContext context;		/* holds buf */

	void		(*finish) (void *arg, ConcordChunk *chunk);
	void	   *arg;
};

static void chk_damaged(const char *what) pg_attribute_noreturn();

/* concord_chunk_writer makes a writer in the current memory context. */
ConcordChunkWriter *
concord_chunk_writer(int64 last_seq,
					 void (*finish) (void *arg, ConcordChunk *chunk), void *arg)
{
	ConcordChunkWriter *w = palloc0(sizeof(ConcordChunkWriter));

	w->last_seq = last_seq;
	w->context = CurrentMemoryContext;
	w->size = VARHDRSZ + CONCORD_CHUNK_SIZE + CHK_TXN_SIZE + 64;
	w->buf = palloc(w->size);
	w->p = w->buf + VARHDRSZ;
	w->finish = finish;
	w->arg = arg;
	return w;
}

int64
concord_chunk_last_seq(const ConcordChunkWriter *writer)
{
	return writer->last_seq;
}

/* chk_has_source adds a source to the chunk's set; false where it is full. */
static inline bool
chk_has_source(ConcordChunk *chunk, Oid source)
{
	for (int i = chunk->nsources - 1; i >= 0; i--)
	{
		if (chunk->sources[i] == source)
			return true;
	}
	if (chunk->nsources >= CONCORD_CHUNK_SOURCES)
		return false;
	chunk->sources[chunk->nsources++] = source;
	return true;
}

/* chk_reset empties the buffer, giving back what a large event took. */
static void
chk_reset(ConcordChunkWriter *w)
{
	if (w->size > 1024 * 1024)
	{
		pfree(w->buf);
		w->size = VARHDRSZ + CONCORD_CHUNK_SIZE + CHK_TXN_SIZE + 64;
		w->buf = MemoryContextAlloc(w->context, w->size);
	}
	w->p = w->buf + VARHDRSZ;
	w->chunk.nevents = 0;
	w->chunk.nsources = 0;
	w->txn_lsn = InvalidXLogRecPtr;
}

/* concord_chunk_flush finishes the chunk in work, if there is one. */
void
concord_chunk_flush(ConcordChunkWriter *w)
{
	ConcordChunk *chunk;
	Datum		packed;

	if (w->chunk.nevents == 0)
		return;
	chunk = palloc(sizeof(ConcordChunk));
	w->chunk.last_seq = w->last_seq;
	*chunk = w->chunk;
	SET_VARSIZE(w->buf, w->p - w->buf);
	packed = toast_compress_datum(PointerGetDatum(w->buf), CHK_COMPRESSION);
	if (DatumGetPointer(packed) == NULL)
	{
		chunk->data = palloc(w->p - w->buf);
		memcpy(chunk->data, w->buf, w->p - w->buf);
	}
	else
		chunk->data = (struct varlena *) DatumGetPointer(packed);
	chk_reset(w);
	w->finish(w->arg, chunk);
}

/* chk_put_u64 writes 8 bytes, little-endian. */
static inline char *
chk_put_u64(char *p, uint64 v)
{
	for (int i = 0; i < 8; i++)
		*p++ = (char) (v >> (8 * i));
	return p;
}

static inline uint64
chk_get_u64(const char *p)
{
	uint64		v = 0;

	for (int i = 0; i < 8; i++)
		v |= (uint64) (unsigned char) p[i] << (8 * i);
	return v;
}

/* chk_put_txn writes a transaction item: the next event has this ordinal. */
static void
chk_put_txn(ConcordChunkWriter *w, const ConcordChunkTxn *txn, uint32 ordinal)
{
	char		body[2 * CONCORD_VARINT_MAX + 16];
	char	   *b = body;
	char	   *p = w->p;

	b = concord_put_varint(b, txn->xid);
	b = chk_put_u64(b, txn->lsn);
	b = chk_put_u64(b, (uint64) txn->time);
	b = concord_put_varint(b, ordinal - 1);
	*p++ = 'B';
	p = concord_put_varint(p, b - body);
	memcpy(p, body, b - body);
	w->p = p + (b - body);
	w->txn_lsn = txn->lsn;
}

/*
 * chk_begin_event makes room for an event, in a new chunk where it does not
 * fit, counts it, writes its kind and length, and returns where the body of
 * len bytes goes.  The caller fills it and moves w->p past it.
 */
static char *
chk_begin_event(ConcordChunkWriter *w, const ConcordChunkTxn *txn,
				uint32 ordinal, ConcordOp op, Oid source, uint32 len)
{
	ConcordChunk *chunk = &w->chunk;
	Size		used = w->p - w->buf;
	Size		need = CHK_TXN_SIZE + CHK_ITEM_OVERHEAD + 2 + (Size) len;

	if (chunk->nevents > 0 &&
		(used + need > VARHDRSZ + CONCORD_CHUNK_SIZE + CHK_TXN_SIZE ||
		 !chk_has_source(chunk, source)))
	{
		concord_chunk_flush(w);
		used = VARHDRSZ;
	}
	if (used + need > w->size)
	{
		w->size = used + need;
		w->buf = repalloc_huge(w->buf, w->size);
		w->p = w->buf + used;
	}
	if (chunk->nevents == 0)
	{
		*w->p++ = CONCORD_CHUNK_VERSION;
		chunk->seq = w->last_seq + 1;
		chunk->first_lsn = txn->lsn;
		chunk->first_time = txn->time;
		(void) chk_has_source(chunk, source);
	}
	if (w->txn_lsn != txn->lsn || w->ordinal + 1 != ordinal)
		chk_put_txn(w, txn, ordinal);
	chunk->nevents++;
	chunk->last_lsn = txn->lsn;
	chunk->last_time = txn->time;
	w->last_seq++;
	w->ordinal = ordinal;
	*w->p++ = (char) op;
	return concord_put_varint(w->p, len);
}

static inline int
chk_varint_size(uint64 v)
{
	int			n = 1;

	while (v >= 0x80)
	{
		v >>= 7;
		n++;
	}
	return n;
}

/* concord_chunk_row adds a row change; returns its seq. */
int64
concord_chunk_row(ConcordChunkWriter *w, const ConcordChunkTxn *txn,
				  uint32 ordinal, ConcordOp op, Oid relid,
				  int32 relation_version, uint8 flags, const char *old_image,
				  uint32 old_len, const char *new_image, uint32 new_len)
{
	uint32		len = chk_varint_size(relation_version) + 1 +
		chk_varint_size(old_len) + chk_varint_size(new_len) +
		old_len + new_len;
	char	   *p = chk_begin_event(w, txn, ordinal, op, relid, len);

	p = concord_put_varint(p, relation_version);
	*p++ = (char) flags;
	p = concord_put_varint(p, old_len);
	p = concord_put_varint(p, new_len);
	if (old_len > 0)
		memcpy(p, old_image, old_len);
	if (new_len > 0)
		memcpy(p + old_len, new_image, new_len);
	w->p = p + old_len + new_len;
	return w->last_seq;
}

/* concord_chunk_truncate adds a TRUNCATE of one relation. */
int64
concord_chunk_truncate(ConcordChunkWriter *w, const ConcordChunkTxn *txn,
					   uint32 ordinal, Oid relid, int32 relation_version,
					   uint8 flags)
{
	uint32		len = chk_varint_size(relation_version) + 1;
	char	   *p = chk_begin_event(w, txn, ordinal, CONCORD_OP_TRUNCATE, relid,
									len);

	p = concord_put_varint(p, relation_version);
	*p++ = (char) flags;
	w->p = p;
	return w->last_seq;
}

/* concord_chunk_message adds an emitted or control message. */
int64
concord_chunk_message(ConcordChunkWriter *w, const ConcordChunkTxn *txn,
					  uint32 ordinal, ConcordOp op, const pg_uuid_t *id,
					  const char *fields, uint32 fields_len)
{
	char	   *p = chk_begin_event(w, txn, ordinal, op, InvalidOid,
									UUID_LEN + fields_len);

	memcpy(p, id->data, UUID_LEN);
	memcpy(p + UUID_LEN, fields, fields_len);
	w->p = p + UUID_LEN + fields_len;
	return w->last_seq;
}

/*
 * concord_chunk_end_txn marks the end of the transaction.  There is room:
 * every event was given CHK_TXN_SIZE more than it took.  Where the last event
 * has gone off in a finished chunk there is nothing to mark: the next event
 * names its transaction.
 */
void
concord_chunk_end_txn(ConcordChunkWriter *w)
{
	if (XLogRecPtrIsInvalid(w->txn_lsn))
		return;
	Assert((w->p - w->buf) + 2 <= w->size);
	*w->p++ = 'E';
	*w->p++ = 0;
	w->txn_lsn = InvalidXLogRecPtr;
}

/* chk_damaged reports chunk data that cannot be read. */
static void
chk_damaged(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("outbox chunk is damaged"),
			 errdetail_internal("%s", what)));
}

/* chk_varint reads a varint or raises. */
static inline const char *
chk_varint(const char *p, const char *end, uint64 *v)
{
	p = concord_get_varint(p, end, v);
	if (p == NULL)
		chk_damaged("An integer is cut off.");
	return p;
}

/* concord_chunk_open starts to read raw (uncompressed) chunk data. */
void
concord_chunk_open(ConcordChunkReader *reader, const char *data, uint32 len,
				   int64 seq, int64 last_seq)
{
	memset(reader, 0, sizeof(*reader));
	if (len < 1 || *data != CONCORD_CHUNK_VERSION)
		chk_damaged("It has an unknown version.");
	reader->p = data + 1;
	reader->end = data + len;
	reader->next_seq = seq;
	reader->last_seq = last_seq;
}

/* chk_read_txn reads a transaction item. */
static void
chk_read_txn(ConcordChunkReader *r, const char *p, const char *end)
{
	uint64		v;

	p = chk_varint(p, end, &v);
	r->txn.xid = (TransactionId) v;
	if (end - p < 16)
		chk_damaged("A transaction item is cut off.");
	r->txn.lsn = chk_get_u64(p);
	r->txn.time = (TimestampTz) chk_get_u64(p + 8);
	(void) chk_varint(p + 16, end, &v);
	r->ordinal = (uint32) v;
}

/* chk_read_row reads a row change or a truncate. */
static void
chk_read_row(ConcordChunkReader *r, const char *p, const char *end,
			 ConcordEvent *event)
{
	uint64		v;
	uint64		old_len;
	uint64		new_len;

	p = chk_varint(p, end, &v);
	r->relation_version = (int32) v;
	if (p >= end)
		chk_damaged("A row item is cut off.");
	event->flags = (uint8) *p++;
	if (event->op == CONCORD_OP_TRUNCATE)
		return;
	p = chk_varint(p, end, &old_len);
	p = chk_varint(p, end, &new_len);
	if (old_len > (uint64) (end - p) ||
		new_len != (uint64) (end - p) - old_len)
		chk_damaged("A row item has a wrong length.");
	if (event->flags & CONCORD_ROW_OLD)
	{
		event->old_image = p;
		event->old_len = (uint32) old_len;
	}
	if (event->flags & CONCORD_ROW_NEW)
	{
		event->new_image = p + old_len;
		event->new_len = (uint32) new_len;
	}
}

/* chk_read_message reads an emitted or control message. */
static void
chk_read_message(ConcordChunkReader *r, const char *p, const char *end,
				 ConcordEvent *event)
{
	ConcordMessage message;

	if (end - p < UUID_LEN ||
		!concord_message_fields(p + UUID_LEN, (end - p) - UUID_LEN, &message))
		chk_damaged("A message item is cut off.");
	memcpy(event->id.data, p, UUID_LEN);
	event->topic = message.topic;
	event->key = message.key;
	event->headers = message.headers;
	event->payload = message.payload;
}

/*
 * concord_chunk_next fills in the next event but for its relation and, of a
 * row change, its id.  False at the end.
 */
bool
concord_chunk_next(ConcordChunkReader *r, ConcordEvent *event)
{
	while (r->p < r->end)
	{
		char		kind = *r->p;
		const char *body;
		uint64		len;

		body = chk_varint(r->p + 1, r->end, &len);
		if (len > (uint64) (r->end - body))
			chk_damaged("An item is cut off.");
		r->p = body + len;
		if (kind == 'B')
		{
			chk_read_txn(r, body, r->p);
			continue;
		}
		if (kind == 'E')
			continue;

		if (r->next_seq > r->last_seq)
			chk_damaged("It holds more events than it says.");
		memset(event, 0, sizeof(*event));
		event->seq = r->next_seq++;
		event->lsn = r->txn.lsn;
		event->xid = r->txn.xid;
		event->committed_at = r->txn.time;
		event->ordinal = ++r->ordinal;
		event->op = (ConcordOp) kind;
		r->relation_version = 0;
		switch (event->op)
		{
			case CONCORD_OP_INSERT:
			case CONCORD_OP_UPDATE:
			case CONCORD_OP_DELETE:
			case CONCORD_OP_TRUNCATE:
				chk_read_row(r, body, r->p, event);
				return true;
			case CONCORD_OP_EMIT:
			case CONCORD_OP_CONTROL:
			case CONCORD_OP_RESYNC:
				chk_read_message(r, body, r->p, event);
				return true;
		}
		chk_damaged("It holds an unknown kind of item.");
	}
	if (r->next_seq <= r->last_seq)
		chk_damaged("It holds fewer events than it says.");
	return false;
}
