/*-------------------------------------------------------------------------
 *
 * encode_binary.c
 *	  The compact stream of protocol.h.
 *
 * A definition of a relation is encoded once, when an entry is filled.  Equal
 * definitions share a number, so an invalidation that changed nothing (a
 * VACUUM, say) costs the reader nothing, and a thousand partitions that are
 * sent under one root are one relation to it.
 *
 * Lengths stand before what they count and are known only after it.  Two
 * bytes are left free for a message's length and one for a value's; where the
 * varint turns out to be of another size, the bytes move.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "decoder.h"
#include "protocol.h"
#include "row.h"
#include "row_repeat.h"

/* Bytes left free for the length of a message. */
#define LENGTH_ROOM		2

/* The definitions that share a hash. */
typedef struct ConcordDefinitionHead
{
	uint32		hash;
	struct ConcordDefinition *first;
} ConcordDefinitionHead;

/* A definition that has a number. */
typedef struct ConcordDefinition
{
	struct ConcordDefinition *next; /* with the same hash */
	uint32		relnum;
	bool		sent;
	int			size;
	char		data[FLEXIBLE_ARRAY_MEMBER];	/* from relid on */
} ConcordDefinition;

/* Append a varint. */
static inline void
bin_varint(StringInfo buf, uint64 v)
{
	char	   *p = concord_buf_reserve(buf, CONCORD_VARINT_MAX);

	concord_buf_advance(buf, concord_put_varint(p, v));
}

/* Write eight bytes, little-endian. */
static inline char *
bin_put_fixed64(char *p, uint64 v)
{
#ifdef WORDS_BIGENDIAN
	v = pg_bswap64(v);
#endif
	memcpy(p, &v, sizeof(v));
	return p + sizeof(v);
}

/* Append eight bytes, little-endian. */
static inline void
bin_fixed64(StringInfo buf, uint64 v)
{
	concord_buf_advance(buf, bin_put_fixed64(concord_buf_reserve(buf, sizeof(v)), v));
}

/* Append length and bytes. */
static void
bin_bytes(StringInfo buf, const void *data, Size size)
{
	bin_varint(buf, size);
	concord_buf_append(buf, data, size);
}

/* Append a text. */
static void
bin_text(StringInfo buf, const char *s)
{
	bin_bytes(buf, s, strlen(s));
}

/* Begin a message; returns where it starts, for bin_end(). */
static inline int
bin_begin(DecoderState *state, char kind)
{
	StringInfo	buf = &state->buf;
	int			start = buf->len;
	char	   *p = concord_buf_reserve(buf, 1 + LENGTH_ROOM);

	p[0] = kind;
	buf->len += 1 + LENGTH_ROOM;
	return start;
}

/*
 * Put the number of bytes from body on in front of body, where room bytes
 * were left free for it.
 */
static inline void
bin_patch_length(StringInfo buf, int body, int room, uint64 add)
{
	int			size = buf->len - body;
	char		length[CONCORD_VARINT_MAX];
	int			used = (int) (concord_put_varint(length, (uint64) size + add) - length);

	if (unlikely(used != room))
	{
		if (used > room)
			(void) concord_buf_reserve(buf, used - room);
		memmove(buf->data + body - room + used, buf->data + body, size);
		buf->len += used - room;
	}
	memcpy(buf->data + body - room, length, used);
}

/* A message is complete. */
static inline void
bin_end(DecoderState *state, int start)
{
	bin_patch_length(&state->buf, start + 1 + LENGTH_ROOM, LENGTH_ROOM, 0);
	concord_output_done(state, start);
}

/* HELLO */
static void
bin_hello(DecoderState *state)
{
	int			start = bin_begin(state, CONCORD_MSG_HELLO);

	bin_varint(&state->buf, CONCORD_PROTOCOL_VERSION);
	bin_varint(&state->buf, PG_VERSION_NUM);
	bin_text(&state->buf, GetDatabaseEncodingName());
	bin_end(state, start);
}

/* Begin a message whose length is known to take a byte, with room for it. */
static inline char *
bin_begin_short(DecoderState *state, char kind, Size size)
{
	char	   *p = concord_buf_reserve(&state->buf, 2 + size);

	*p = kind;
	return p + 2;
}

/* It ends at end. */
static inline void
bin_end_short(DecoderState *state, char *end)
{
	StringInfo	buf = &state->buf;
	int			start = buf->len;

	buf->data[start + 1] = (char) (end - buf->data - start - 2);
	concord_buf_advance(buf, end);
	concord_output_done(state, start);
}

/* Write the fields of the transaction's position, but for a gid. */
static inline char *
bin_put_position(char *p, const ReorderBufferTXN *txn)
{
	p = concord_put_varint(p, txn->xid);
	p = bin_put_fixed64(p, txn->final_lsn);
	p = bin_put_fixed64(p, txn->end_lsn);
	p = bin_put_fixed64(p, (uint64) concord_txn_commit_time(txn));
	return concord_put_varint(p, txn->origin_id);
}

/* The most bytes that these take. */
#define POSITION_MAX	(2 * CONCORD_VARINT_MAX + 3 * sizeof(uint64))

/* Write a message whose fields are the transaction's position. */
static void
bin_position(DecoderState *state, char kind)
{
	StringInfo	buf = &state->buf;
	int			start;

	if (likely(state->gid == NULL))
	{
		bin_end_short(state, bin_put_position(bin_begin_short(state, kind, POSITION_MAX),
											  state->txn));
		return;
	}
	start = bin_begin(state, kind);
	concord_buf_advance(buf, bin_put_position(concord_buf_reserve(buf, POSITION_MAX),
											  state->txn));
	bin_text(buf, state->gid);
	bin_end(state, start);
}

/* BEGIN, BEGIN_PREPARE */
static void
bin_begin_txn(DecoderState *state)
{
	bin_position(state, state->gid ? CONCORD_MSG_BEGIN_PREPARE : CONCORD_MSG_BEGIN);
}

/* COMMIT */
static void
bin_commit(DecoderState *state)
{
	char	   *p = bin_begin_short(state, CONCORD_MSG_COMMIT, sizeof(uint64));

	bin_end_short(state, bin_put_fixed64(p, state->txn->end_lsn));
}

/* PREPARE */
static void
bin_prepare(DecoderState *state)
{
	int			start = bin_begin(state, CONCORD_MSG_PREPARE);

	bin_fixed64(&state->buf, state->txn->end_lsn);
	bin_end(state, start);
}

/* COMMIT_PREPARED */
static void
bin_commit_prepared(DecoderState *state)
{
	bin_position(state, CONCORD_MSG_COMMIT_PREPARED);
}

/* ROLLBACK_PREPARED */
static void
bin_rollback_prepared(DecoderState *state, XLogRecPtr prepare_end_lsn,
					  TimestampTz prepare_time)
{
	ReorderBufferTXN *txn = state->txn;
	int			start = bin_begin(state, CONCORD_MSG_ROLLBACK_PREPARED);

	bin_varint(&state->buf, txn->xid);
	bin_fixed64(&state->buf, prepare_end_lsn);
	bin_fixed64(&state->buf, txn->end_lsn);
	bin_fixed64(&state->buf, (uint64) prepare_time);
	bin_fixed64(&state->buf, (uint64) concord_txn_commit_time(txn));
	bin_text(&state->buf, state->gid);
	bin_end(state, start);
}

/* STREAM_START */
static void
bin_stream_start(DecoderState *state, bool first)
{
	int			start = bin_begin(state, CONCORD_MSG_STREAM_START);

	bin_varint(&state->buf, state->txn->xid);
	concord_buf_putc(&state->buf, first ? CONCORD_STREAM_FIRST : 0);
	bin_varint(&state->buf, state->txn->origin_id);
	bin_end(state, start);
}

/* STREAM_STOP */
static void
bin_stream_stop(DecoderState *state)
{
	bin_end(state, bin_begin(state, CONCORD_MSG_STREAM_STOP));
}

/* SUBTRANSACTION */
static void
bin_subtransaction(DecoderState *state)
{
	int			start = bin_begin(state, CONCORD_MSG_SUBTRANSACTION);

	bin_varint(&state->buf, state->subxid);
	bin_end(state, start);
}

/* STREAM_COMMIT */
static void
bin_stream_commit(DecoderState *state)
{
	bin_position(state, CONCORD_MSG_STREAM_COMMIT);
}

/* STREAM_PREPARE */
static void
bin_stream_prepare(DecoderState *state)
{
	bin_position(state, CONCORD_MSG_STREAM_PREPARE);
}

/* STREAM_ABORT */
static void
bin_stream_abort(DecoderState *state, TransactionId xid, XLogRecPtr abort_lsn)
{
	int			start = bin_begin(state, CONCORD_MSG_STREAM_ABORT);

	bin_varint(&state->buf, state->txn->xid);
	bin_varint(&state->buf, xid);
	bin_fixed64(&state->buf, abort_lsn);
	bin_end(state, start);
}

/* Encode the fields of RELATION that follow relnum. */
static void
bin_definition(StringInfo buf, ConcordRel *rel)
{
	bin_varint(buf, rel->target);
	concord_buf_putc(buf, rel->replident);
	concord_buf_putc(buf, 0);
	bin_text(buf, rel->schema);
	bin_text(buf, rel->table);
	bin_varint(buf, rel->ncolumns);
	for (int i = 0; i < rel->ncolumns; i++)
	{
		ConcordColumn *column = &rel->columns[i];

		bin_varint(buf, column->attnum);
		concord_buf_putc(buf, (char) column->flags);
		bin_varint(buf, column->typid);
		bin_varint(buf, (uint64) ((int64) column->typmod + 1));
		bin_text(buf, column->name);
		bin_text(buf, concord_relcache_type_name(column->typid, column->typmod));
	}
}

/* Find or make the number of an entry's definition. */
static void
bin_describe(DecoderState *state, ConcordRel *rel)
{
	StringInfoData buf;
	ConcordDefinition *definition;
	ConcordDefinitionHead *head;
	uint32		hash;
	bool		found;

	initStringInfo(&buf);
	bin_definition(&buf, rel);
	hash = hash_bytes((const unsigned char *) buf.data, buf.len);

	if (state->definitions == NULL)
	{
		HASHCTL		ctl;

		memset(&ctl, 0, sizeof(ctl));
		ctl.keysize = sizeof(uint32);
		ctl.entrysize = sizeof(ConcordDefinitionHead);
		ctl.hcxt = state->context;
		state->definitions = hash_create("concord_decoder definitions", 64, &ctl,
										 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	head = hash_search(state->definitions, &hash, HASH_ENTER, &found);
	if (!found)
		head->first = NULL;
	for (definition = head->first; definition != NULL; definition = definition->next)
	{
		if (definition->size == buf.len &&
			memcmp(definition->data, buf.data, buf.len) == 0)
			break;
	}
	if (definition == NULL)
	{
		definition = MemoryContextAlloc(state->context,
										offsetof(ConcordDefinition, data) + buf.len);
		definition->next = head->first;
		definition->relnum = ++state->last_relnum;
		definition->sent = false;
		definition->size = buf.len;
		memcpy(definition->data, buf.data, buf.len);
		head->first = definition;
	}
	rel->definition = definition;
	pfree(buf.data);
}

/* RELATION, where the reader does not have this definition yet. */
static void
bin_relation(DecoderState *state, ConcordRel *rel)
{
	ConcordDefinition *definition = rel->definition;
	int			start;

	if (likely(definition->sent))
		return;
	definition->sent = true;
	start = bin_begin(state, CONCORD_MSG_RELATION);
	bin_varint(&state->buf, definition->relnum);
	concord_buf_append(&state->buf, definition->data, definition->size);
	bin_end(state, start);
}

/*
 * Append a value that has no bytes ready: header, for which room bytes are left
 * free at first, and canonical text.
 */
static void
bin_formatted(StringInfo buf, ConcordType *type, Datum value, int room)
{
	int			body;

	(void) concord_buf_reserve(buf, room);
	buf->len += room;
	body = buf->len;
	concord_value_text(buf, type, value);
	bin_patch_length(buf, body, room, CONCORD_IMAGE_TEXT);
}

/* Append a value whose text ends at end and begins a byte after the buffer. */
static inline void
bin_short(StringInfo buf, char *end)
{
	char	   *header = buf->data + buf->len;

	*header = (char) (end - header - 1 + CONCORD_IMAGE_TEXT);
	concord_buf_advance(buf, end);
}

/* Append a value of a scalar type of fixed size. */
static inline void
bin_scalar(StringInfo buf, ConcordValueKind kind, Datum value)
{
	char	   *p = concord_buf_reserve(buf, 1 + CONCORD_SCALAR_MAX);
	bool		number;

	StaticAssertStmt(CONCORD_SCALAR_MAX + CONCORD_IMAGE_TEXT < 0x80,
					 "the header of a scalar must fit into a byte");
	bin_short(buf, concord_put_scalar(p + 1, kind, value, false, &number));
}

/* Append a numeric. */
static inline void
bin_numeric(StringInfo buf, ConcordType *type, Datum value)
{
	char	   *end = NULL;

	if (likely(concord_value_in_place(value)))
	{
		char	   *p = concord_buf_reserve(buf, 1 + CONCORD_SCALAR_MAX);

		end = concord_put_numeric(p + 1, (struct varlena *) DatumGetPointer(value),
								  CONCORD_SCALAR_MAX);
	}
	if (likely(end != NULL))
		bin_short(buf, end);
	else
		bin_formatted(buf, type, value, 1);
}

/* Append length, with add to it, and a value's bytes as they are stored. */
static inline void
bin_stored(StringInfo buf, Datum value, uint64 add)
{
	struct varlena *v = concord_value_detoast(value);
	Size		size = VARSIZE_ANY_EXHDR(v);

	if (likely(concord_buf_fits(buf, size)))
	{
		char	   *p = concord_buf_reserve(buf, size + CONCORD_VARINT_MAX);

		p = concord_put_varint(p, size + add);
		memcpy(p, VARDATA_ANY(v), size);
		concord_buf_advance(buf, p + size);
	}
	if ((Pointer) v != DatumGetPointer(value))
		pfree(v);
}

/* Append a value. */
static inline void
bin_value(StringInfo buf, ConcordType *type, Datum value)
{
	switch (type->kind)
	{
		case CONCORD_VALUE_TEXT:
		case CONCORD_VALUE_JSON:
			bin_stored(buf, value, CONCORD_IMAGE_TEXT);
			break;
		case CONCORD_VALUE_BYTEA:
			concord_buf_putc(buf, CONCORD_IMAGE_BYTES);
			bin_stored(buf, value, 0);
			break;
		case CONCORD_VALUE_INT2:
		case CONCORD_VALUE_INT4:
		case CONCORD_VALUE_INT8:
		case CONCORD_VALUE_OID:
		case CONCORD_VALUE_FLOAT4:
		case CONCORD_VALUE_FLOAT8:
		case CONCORD_VALUE_MONEY:
		case CONCORD_VALUE_UUID:
		case CONCORD_VALUE_DATE:
		case CONCORD_VALUE_TIME:
		case CONCORD_VALUE_TIMESTAMP:
		case CONCORD_VALUE_TIMESTAMPTZ:
			bin_scalar(buf, type->kind, value);
			break;
		case CONCORD_VALUE_NUMERIC:
			bin_numeric(buf, type, value);
			break;
		case CONCORD_VALUE_JSONB:
			/* about as long as it is stored */
			bin_formatted(buf, type, value,
						  VARSIZE_ANY(DatumGetPointer(value)) < 0x80 ? 1 : 2);
			break;
		default:
			bin_formatted(buf, type, value, 1);
			break;
	}
}

/* Append the marker of a value that is too large. */
static void
bin_oversize(StringInfo buf, Datum value)
{
	uint8		sha256[CONCORD_SHA256_LENGTH];
	uint64		length = concord_value_digest(value, sha256);

	bin_varint(buf, CONCORD_IMAGE_OVERSIZE);
	bin_varint(buf, length);
	concord_buf_append(buf, sha256, sizeof(sha256));
}

/* Append the marker of a value that could not be encoded. */
static void
bin_failed(StringInfo buf, const ConcordFailure *reason)
{
	bin_varint(buf, CONCORD_IMAGE_FAILED);
	concord_buf_append(buf, unpack_sql_state(reason->sqlerrcode),
					   CONCORD_SQLSTATE_LENGTH);
	bin_text(buf, reason->message);
}

/* Append the marker of a value that is left out; returns its row flag. */
static uint8
bin_left_out(DecoderState *state, Datum value, const bool *left_out)
{
	const ConcordRowFailure *failure = concord_row_failure(state, left_out);

	if (failure)
	{
		bin_failed(&state->buf, &failure->reason);
		return CONCORD_ROW_FAILED;
	}
	bin_oversize(&state->buf, value);
	CONCORD_COUNT(state, CONCORD_COUNT_OVERSIZE);
	return CONCORD_ROW_OVERSIZE;
}

/*
 * Append an image; returns the row flags that it brings.  Ends early where the
 * event has become too large.
 */
static uint8
bin_image(DecoderState *state, ConcordRel *rel, const Datum *values,
		  const bool *nulls, bool *left_out, bool key_only)
{
	StringInfo	buf = &state->buf;
	uint8		flags = 0;
	bool		old = values == rel->old_values;

	if (old && !key_only)
		concord_repeat_old(rel);
	bin_varint(buf, rel->ncolumns);
	for (int i = 0; i < rel->ncolumns; i++)
	{
		ConcordColumn *column = &rel->columns[i];
		Datum		value = values[column->source];
		int			before = buf->len;

		if (key_only && (column->flags & CONCORD_COL_IDENTITY) == 0)
			concord_buf_putc(buf, CONCORD_IMAGE_ABSENT);
		else if (nulls[column->source])
			concord_buf_putc(buf, CONCORD_IMAGE_NULL);
		else if (concord_row_unchanged(column, value))
		{
			concord_buf_putc(buf, CONCORD_IMAGE_UNCHANGED);
			flags |= CONCORD_ROW_UNCHANGED;
		}
		else if (concord_row_oversize(state, column, value,
									  left_out[column->source]))
			flags |= bin_left_out(state, value, &left_out[column->source]);
		else
		{
			if (old || !concord_repeat(state, rel, i))
				bin_value(buf, &column->type, value);
			if (old && !key_only)
				concord_repeat_note(state, rel, i, before);
		}
		if (!concord_row_wrote(state, column, before, &left_out[column->source]))
			break;
	}
	return flags;
}

/* INSERT, UPDATE, DELETE */
static bool
bin_change(DecoderState *state, ConcordRel *rel, const ConcordChange *change)
{
	StringInfo	buf = &state->buf;
	int			start;
	int			flags_offset;
	uint8		flags = 0;

	bin_relation(state, rel);
	concord_repeat_begin(rel);
	start = bin_begin(state, change->kind);
	bin_varint(buf, rel->definition->relnum);
	flags_offset = buf->len;
	concord_buf_putc(buf, 0);

	if (change->no_identity)
		flags |= CONCORD_ROW_NO_IDENTITY;
	if (change->has_old)
	{
		flags |= CONCORD_ROW_OLD | (change->old_is_key ? CONCORD_ROW_OLD_IS_KEY : 0);
		flags |= bin_image(state, rel, rel->old_values, rel->old_nulls,
						   rel->old_left_out, change->old_is_key);
	}
	if (change->has_new && buf->cursor == 0)
	{
		flags |= CONCORD_ROW_NEW;
		flags |= bin_image(state, rel, rel->new_values, rel->new_nulls,
						   rel->new_left_out, false);
	}
	if (unlikely(buf->cursor != 0))
	{
		buf->len = start;
		buf->cursor = 0;
		return false;
	}
	buf->data[flags_offset] = (char) flags;
	bin_end(state, start);
	return true;
}

/* TRUNCATE */
static void
bin_truncate(DecoderState *state, ConcordRel *rel, int flags)
{
	int			start;

	bin_relation(state, rel);
	start = bin_begin(state, CONCORD_MSG_TRUNCATE);
	bin_varint(&state->buf, rel->definition->relnum);
	concord_buf_putc(&state->buf, (char) flags);
	bin_end(state, start);
}

/* MESSAGE */
static void
bin_message(DecoderState *state, const ConcordMessage *message)
{
	int			start = bin_begin(state, CONCORD_MSG_MESSAGE);
	bool		oversize = message->size > CONCORD_CONTENT_MAX;

	concord_buf_putc(&state->buf,
					 (message->transactional ? CONCORD_MESSAGE_TRANSACTIONAL : 0) |
					 (oversize ? CONCORD_MESSAGE_OVERSIZE : 0));
	bin_fixed64(&state->buf, message->lsn);
	bin_text(&state->buf, message->prefix);
	bin_bytes(&state->buf, message->content, oversize ? 0 : message->size);
	bin_end(state, start);
}

const ConcordEncoder concord_encoder_binary = {
	.name = "binary",
	.binary = true,
	.hello = bin_hello,
	.begin = bin_begin_txn,
	.commit = bin_commit,
	.prepare = bin_prepare,
	.commit_prepared = bin_commit_prepared,
	.rollback_prepared = bin_rollback_prepared,
	.stream_start = bin_stream_start,
	.stream_stop = bin_stream_stop,
	.subtransaction = bin_subtransaction,
	.stream_commit = bin_stream_commit,
	.stream_abort = bin_stream_abort,
	.stream_prepare = bin_stream_prepare,
	.describe = bin_describe,
	.change = bin_change,
	.truncate = bin_truncate,
	.message = bin_message,
};
