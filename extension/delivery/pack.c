/*-------------------------------------------------------------------------
 *
 * pack.c
 *	  An event as one bytea, for concord.exception.
 *
 * The copy is whole: it holds the images, the message's texts and the
 * definition of the relation, so that neither the outbox's retention nor a
 * dump and restore can take from a delivery what it needs.
 *
 *		byte version; varint seq, lsn, ordinal, xid, committed_at; 16 bytes id;
 *		byte op, flags; bytes old image, new image; texts topic, key, payload,
 *		headers; byte 1 and the relation, or byte 0
 *
 * bytes and texts are varint length + 1, or 0 for NULL, and the content.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "decoder/protocol.h"
#include "delivery/delivery.h"
#include "lib/stringinfo.h"
#include "utils/memutils.h"

#define PACK_VERSION	1
#define PACK_COLUMNS	1664

typedef struct PackReader
{
	const char *p;
	const char *end;
	MemoryContext context;
} PackReader;

static void
pack_varint(StringInfo buf, uint64 v)
{
	char		bytes[CONCORD_VARINT_MAX];
	char	   *end = concord_put_varint(bytes, v);

	appendBinaryStringInfo(buf, bytes, end - bytes);
}

static void
pack_bytes(StringInfo buf, const char *bytes, Size len)
{
	pack_varint(buf, bytes ? len + 1 : 0);
	if (bytes != NULL)
		appendBinaryStringInfo(buf, bytes, len);
}

static void
pack_text(StringInfo buf, const char *text)
{
	pack_bytes(buf, text, text ? strlen(text) : 0);
}

static void
pack_relation(StringInfo buf, const ConcordRelation *relation)
{
	pack_varint(buf, relation->id);
	pack_varint(buf, relation->relid);
	appendStringInfoChar(buf, relation->replident);
	pack_text(buf, relation->schema);
	pack_text(buf, relation->table);
	pack_varint(buf, relation->ncolumns);
	for (int i = 0; i < relation->ncolumns; i++)
	{
		const ConcordColumn *column = &relation->columns[i];

		pack_varint(buf, column->attnum);
		appendStringInfoChar(buf, column->flags);
		pack_varint(buf, column->typid);
		pack_varint(buf, (uint64) (column->typmod + 1));
		pack_text(buf, column->name);
		pack_text(buf, column->typname);
	}
}

/* concord_event_pack writes an event in the current context. */
bytea *
concord_event_pack(const ConcordEvent *event)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoSpaces(&buf, VARHDRSZ);
	appendStringInfoChar(&buf, PACK_VERSION);
	pack_varint(&buf, event->seq);
	pack_varint(&buf, event->lsn);
	pack_varint(&buf, event->ordinal);
	pack_varint(&buf, event->xid);
	pack_varint(&buf, (uint64) event->committed_at);
	appendBinaryStringInfo(&buf, (const char *) event->id.data, UUID_LEN);
	appendStringInfoChar(&buf, event->op);
	appendStringInfoChar(&buf, event->flags);
	pack_bytes(&buf, event->old_image, event->old_len);
	pack_bytes(&buf, event->new_image, event->new_len);
	pack_text(&buf, event->topic);
	pack_text(&buf, event->key);
	pack_text(&buf, event->payload);
	pack_text(&buf, event->headers);
	appendStringInfoChar(&buf, event->relation != NULL);
	if (event->relation != NULL)
		pack_relation(&buf, event->relation);
	SET_VARSIZE(buf.data, buf.len);
	return (bytea *) buf.data;
}

static void
pack_damaged(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("the event of a row of concord.exception is damaged")));
}

static uint64
unpack_varint(PackReader *r)
{
	uint64		v;

	r->p = concord_get_varint(r->p, r->end, &v);
	if (r->p == NULL)
		pack_damaged();
	return v;
}

static const char *
unpack_raw(PackReader *r, Size len)
{
	const char *p = r->p;

	if ((Size) (r->end - r->p) < len)
		pack_damaged();
	r->p += len;
	return p;
}

/* unpack_bytes copies bytes or text and ends them with a NUL; NULL: none. */
static char *
unpack_bytes(PackReader *r, uint32 *len)
{
	uint64		n = unpack_varint(r);
	char	   *copy;

	if (len != NULL)
		*len = 0;
	if (n == 0)
		return NULL;
	n--;
	if (n > (uint64) (r->end - r->p))
		pack_damaged();
	copy = MemoryContextAlloc(r->context, n + 1);
	memcpy(copy, unpack_raw(r, n), n);
	copy[n] = '\0';
	if (len != NULL)
		*len = n;
	return copy;
}

static ConcordRelation *
unpack_relation(PackReader *r)
{
	ConcordRelation *relation = MemoryContextAllocZero(r->context,
													   sizeof(ConcordRelation));
	uint64		n;

	relation->id = (int32) unpack_varint(r);
	relation->relid = (Oid) unpack_varint(r);
	relation->replident = *unpack_raw(r, 1);
	relation->schema = unpack_bytes(r, NULL);
	relation->table = unpack_bytes(r, NULL);
	n = unpack_varint(r);
	if (n > PACK_COLUMNS)
		pack_damaged();
	relation->ncolumns = (int) n;
	relation->columns = MemoryContextAllocZero(r->context,
											   sizeof(ConcordColumn) * Max(n, 1));
	for (int i = 0; i < relation->ncolumns; i++)
	{
		ConcordColumn *column = &relation->columns[i];

		column->attnum = (AttrNumber) unpack_varint(r);
		column->flags = (uint8) *unpack_raw(r, 1);
		column->typid = (Oid) unpack_varint(r);
		column->typmod = (int32) unpack_varint(r) - 1;
		column->name = unpack_bytes(r, NULL);
		column->typname = unpack_bytes(r, NULL);
	}
	return relation;
}

/* concord_event_unpack reads what concord_event_pack has written. */
ConcordEvent *
concord_event_unpack(const bytea *packed, MemoryContext context)
{
	PackReader	r = {
		.p = VARDATA_ANY(packed),
		.end = VARDATA_ANY(packed) + VARSIZE_ANY_EXHDR(packed),
		.context = context
	};
	ConcordEvent *event = MemoryContextAllocZero(context, sizeof(ConcordEvent));

	if (*unpack_raw(&r, 1) != PACK_VERSION)
		pack_damaged();
	event->seq = (int64) unpack_varint(&r);
	event->lsn = unpack_varint(&r);
	event->ordinal = (uint32) unpack_varint(&r);
	event->xid = (TransactionId) unpack_varint(&r);
	event->committed_at = (TimestampTz) unpack_varint(&r);
	memcpy(event->id.data, unpack_raw(&r, UUID_LEN), UUID_LEN);
	event->op = (ConcordOp) *unpack_raw(&r, 1);
	event->flags = (uint8) *unpack_raw(&r, 1);
	event->old_image = unpack_bytes(&r, &event->old_len);
	event->new_image = unpack_bytes(&r, &event->new_len);
	event->topic = unpack_bytes(&r, NULL);
	event->key = unpack_bytes(&r, NULL);
	event->payload = unpack_bytes(&r, NULL);
	event->headers = unpack_bytes(&r, NULL);
	if (*unpack_raw(&r, 1))
		event->relation = unpack_relation(&r);
	return event;
}
