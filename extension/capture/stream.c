/*-------------------------------------------------------------------------
 *
 * stream.c
 *	  Split the decoder's stream into messages.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "capture/stream.h"
#include "common/sha2.h"

static void str_damaged(const char *what) pg_attribute_noreturn();

static void
str_damaged(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_PROTOCOL_VIOLATION),
			 errmsg("the decoder's stream is damaged"),
			 errdetail_internal("%s", what)));
}

static inline const char *
str_varint(const char *p, const char *end, uint64 *v)
{
	p = concord_get_varint(p, end, v);
	if (unlikely(p == NULL))
		str_damaged("An integer is cut off.");
	return p;
}

/* str_bytes reads a length and steps over that many bytes. */
static inline const char *
str_bytes(const char *p, const char *end, const char **bytes, uint32 *len)
{
	uint64		n;

	p = str_varint(p, end, &n);
	if (unlikely(n > (uint64) (end - p)))
		str_damaged("A text is cut off.");
	*bytes = p;
	*len = (uint32) n;
	return p + n;
}

static inline const char *
str_u64(const char *p, const char *end, uint64 *v)
{
	uint64		result = 0;

	if (unlikely(end - p < 8))
		str_damaged("A position or time is cut off.");
	for (int i = 0; i < 8; i++)
		result |= (uint64) (unsigned char) p[i] << (8 * i);
	*v = result;
	return p + 8;
}

static inline const char *
str_byte(const char *p, const char *end, uint8 *v)
{
	if (unlikely(p >= end))
		str_damaged("A flag is cut off.");
	*v = (uint8) *p;
	return p + 1;
}

/* str_image steps over an image. */
static const char *
str_image(const char *p, const char *end)
{
	uint64		ncolumns;
	uint64		n;

	p = str_varint(p, end, &ncolumns);
	for (uint64 i = 0; i < ncolumns; i++)
	{
		p = str_varint(p, end, &n);
		if (n >= CONCORD_IMAGE_TEXT)
			n -= CONCORD_IMAGE_TEXT;
		else if (n == CONCORD_IMAGE_OVERSIZE)
		{
			p = str_varint(p, end, &n);
			n = PG_SHA256_DIGEST_LENGTH;
		}
		else if (n == CONCORD_IMAGE_FAILED)
		{
			if (unlikely(end - p < CONCORD_SQLSTATE_LENGTH))
				str_damaged("A SQLSTATE is cut off.");
			p = str_varint(p + CONCORD_SQLSTATE_LENGTH, end, &n);
		}
		else if (n == CONCORD_IMAGE_BYTES)
			p = str_varint(p, end, &n);
		else
			n = 0;
		if (unlikely(n > (uint64) (end - p)))
			str_damaged("A value is cut off.");
		p += n;
	}
	return p;
}

/* str_row reads INSERT, UPDATE and DELETE. */
static const char *
str_row(const char *p, const char *end, ConcordStreamMessage *m)
{
	p = str_varint(p, end, &m->relnum);
	p = str_byte(p, end, &m->flags);
	m->old_image = m->new_image = NULL;
	m->old_len = m->new_len = 0;
	if (m->flags & CONCORD_ROW_OLD)
	{
		m->old_image = p;
		p = str_image(p, end);
		m->old_len = p - m->old_image;
	}
	if (m->flags & CONCORD_ROW_NEW)
	{
		m->new_image = p;
		p = str_image(p, end);
		m->new_len = p - m->new_image;
	}
	return p;
}

/* str_begin reads BEGIN. */
static const char *
str_begin(const char *p, const char *end, ConcordStreamMessage *m)
{
	uint64		v;

	p = str_varint(p, end, &v);
	m->xid = (TransactionId) v;
	p = str_u64(p, end, &m->commit_lsn);
	p = str_u64(p, end, &m->lsn);
	p = str_u64(p, end, &v);
	m->time = (TimestampTz) v;
	p = str_varint(p, end, &v);
	m->origin = (RepOriginId) v;
	return p;
}

/* str_fields reads the fields of a message that is not a row change. */
static const char *
str_fields(const char *p, const char *end, ConcordStreamMessage *m)
{
	uint64		v;

	switch (m->kind)
	{
		case CONCORD_MSG_HELLO:
			p = str_varint(p, end, &m->version);
			p = str_varint(p, end, &v);
			return str_bytes(p, end, &m->text, &m->text_len);
		case CONCORD_MSG_RELATION:
			p = str_varint(p, end, &m->relnum);
			m->text = p;
			m->text_len = end - p;
			return end;
		case CONCORD_MSG_BEGIN:
			return str_begin(p, end, m);
		case CONCORD_MSG_TRUNCATE:
			m->old_image = m->new_image = NULL;
			m->old_len = m->new_len = 0;
			p = str_varint(p, end, &m->relnum);
			return str_byte(p, end, &m->flags);
		case CONCORD_MSG_MESSAGE:
			p = str_byte(p, end, &m->flags);
			p = str_u64(p, end, &m->lsn);
			p = str_bytes(p, end, &m->text, &m->text_len);
			return str_bytes(p, end, &m->new_image, &m->new_len);
		case CONCORD_MSG_COMMIT:
		case CONCORD_MSG_PROGRESS:
			return str_u64(p, end, &m->lsn);
		default:
			str_damaged("It has an unknown kind of message.");
	}
}

/* concord_stream_next reads the next message. */
bool
concord_stream_next(ConcordStream *stream, ConcordStreamMessage *m)
{
	const char *p = stream->p;
	const char *end;
	uint64		len;

	if (p >= stream->end)
		return false;
	m->kind = (ConcordMsgKind) *p;
	p = str_varint(p + 1, stream->end, &len);
	if (unlikely(len > (uint64) (stream->end - p)))
		str_damaged("A message is cut off.");
	end = p + len;
	if (likely(m->kind == CONCORD_MSG_INSERT || m->kind == CONCORD_MSG_UPDATE ||
			   m->kind == CONCORD_MSG_DELETE))
		p = str_row(p, end, m);
	else
		p = str_fields(p, end, m);
	if (unlikely(p != end))
		str_damaged("A message has more bytes than fields.");
	stream->p = end;
	return true;
}
