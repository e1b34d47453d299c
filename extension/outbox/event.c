/*-------------------------------------------------------------------------
 *
 * event.c
 *	  Events and their images.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "common/sha2.h"
#include "decoder/protocol.h"
#include "outbox/event.h"

#include "common/hashfn.h"
#include "port/pg_bswap.h"
#include "utils/builtins.h"

static void evt_damaged(const ConcordRelation *relation) pg_attribute_noreturn();

/* evt_damaged reports an image that does not fit its definition. */
static void
evt_damaged(const ConcordRelation *relation)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("stored row image of \"%s.%s\" is damaged",
					relation->schema, relation->table),
			 errdetail("It does not fit version %d of the table's definition.",
					   relation->id)));
}

/* concord_image_decode splits an image into relation->ncolumns values. */
void
concord_image_decode(const ConcordRelation *relation, const char *image,
					 uint32 len, ConcordImageValue *values)
{
	const char *p = image;
	const char *end = image + len;
	uint64		n;

	p = concord_get_varint(p, end, &n);
	if (p == NULL || n != (uint64) relation->ncolumns)
		evt_damaged(relation);
	for (int i = 0; i < relation->ncolumns; i++)
	{
		ConcordImageValue *value = &values[i];

		p = concord_get_varint(p, end, &n);
		if (p == NULL)
			evt_damaged(relation);
		value->text = NULL;
		value->len = 0;
		if (n >= CONCORD_IMAGE_TEXT)
		{
			value->kind = CONCORD_IMAGE_TEXT;
			value->text = p;
			n -= CONCORD_IMAGE_TEXT;
		}
		else
		{
			value->kind = (int) n;
			if (n != CONCORD_IMAGE_OVERSIZE && n != CONCORD_IMAGE_FAILED &&
				n != CONCORD_IMAGE_BYTES)
				continue;
			value->text = p;
			if (n == CONCORD_IMAGE_FAILED)
				p = Min(p + CONCORD_SQLSTATE_LENGTH, end);
			p = concord_get_varint(p, end, &n);
			if (p == NULL)
				evt_damaged(relation);
			if (value->kind == CONCORD_IMAGE_OVERSIZE)
				n = PG_SHA256_DIGEST_LENGTH;
			if (value->kind == CONCORD_IMAGE_BYTES)
				value->text = p;
			n += p - value->text;
			p = value->text;
		}
		if (n > (uint64) (end - p))
			evt_damaged(relation);
		value->len = (uint32) n;
		p += n;
	}
	if (p != end)
		evt_damaged(relation);
}

/* concord_image_has_value: is there text, or bytes? */
bool
concord_image_has_value(const ConcordImageValue *value)
{
	return value->kind == CONCORD_IMAGE_TEXT || value->kind == CONCORD_IMAGE_BYTES;
}

/* concord_image_text gives text as it is, bytes in bytea's hexadecimal form. */
char *
concord_image_text(const ConcordImageValue *value)
{
	char	   *text;

	if (value->kind == CONCORD_IMAGE_TEXT)
		return pnstrdup(value->text, value->len);
	text = palloc((Size) value->len * 2 + 3);
	text[0] = '\\';
	text[1] = 'x';
	text[2 + hex_encode(value->text, value->len, text + 2)] = '\0';
	return text;
}

/*
 * concord_image_failure gives the message, and the SQLSTATE in *sqlstate, which
 * has room for its five characters and NUL.
 */
char *
concord_image_failure(const ConcordImageValue *value, char *sqlstate)
{
	const char *end = value->text + value->len;
	uint64		len = 0;
	const char *message = concord_get_varint(value->text + CONCORD_SQLSTATE_LENGTH,
											 end, &len);

	memcpy(sqlstate, value->text, CONCORD_SQLSTATE_LENGTH);
	sqlstate[CONCORD_SQLSTATE_LENGTH] = '\0';
	return pnstrdup(message, end - message);
}

/*
 * concord_event_uuid lays 122 bits out around the version (8) and variant (2)
 * that RFC 9562 wants: 48 bits, version, 12 bits, variant, 62 bits.
 */
void
concord_event_uuid(int32 epoch, XLogRecPtr lsn, uint32 ordinal, pg_uuid_t *id)
{
	uint64		low = ((uint64) lsn << 32) | ordinal;
	uint64		high = ((uint64) (epoch & 0x3FFFFFF) << 32) | (lsn >> 32);
	uint64		first;
	uint64		second;

	/* high has 58 bits, low has 64: 122 in all, the upper 60 of them first */
	first = (high << 2) | (low >> 62);
	second = low & UINT64CONST(0x3FFFFFFFFFFFFFFF);

	first = ((first >> 12) << 16) | UINT64CONST(0x8000) | (first & 0xFFF);
	second |= UINT64CONST(0x8000000000000000);
	first = pg_hton64(first);
	second = pg_hton64(second);
	memcpy(id->data, &first, sizeof(first));
	memcpy(id->data + sizeof(first), &second, sizeof(second));
}

/* concord_event_derive_id makes an id of another. */
void
concord_event_derive_id(const pg_uuid_t *of, const char *what, Size len,
						pg_uuid_t *id)
{
	pg_uuid_t	source = *of;

	for (int half = 0; half < 2; half++)
	{
		uint64		seed;
		uint64		hash;

		memcpy(&seed, source.data + 8 * half, sizeof(seed));
		hash = hash_bytes_extended((const unsigned char *) what, len, seed);
		memcpy(id->data + 8 * half, &hash, sizeof(hash));
	}
	id->data[6] = (id->data[6] & 0x0F) | 0x80;	/* version 8 */
	id->data[8] = (id->data[8] & 0x3F) | 0x80;	/* variant */
}

/* evt_text_size is what a text takes in a copy. */
static Size
evt_text_size(const char *text)
{
	return text != NULL ? strlen(text) + 1 : 0;
}

/* concord_event_size is what a copy takes. */
Size
concord_event_size(const ConcordEvent *event)
{
	return sizeof(ConcordEvent) + event->old_len + event->new_len +
		evt_text_size(event->topic) + evt_text_size(event->key) +
		evt_text_size(event->payload) + evt_text_size(event->headers);
}

/* evt_copy copies bytes to *room and gives where they are now. */
static const char *
evt_copy(char **room, const char *bytes, Size len)
{
	char	   *copy = *room;

	if (bytes == NULL)
		return NULL;
	memcpy(copy, bytes, len);
	*room += len;
	return copy;
}

/* concord_event_copy_to copies an event to where there is room for it. */
ConcordEvent *
concord_event_copy_to(const ConcordEvent *event, void *room)
{
	ConcordEvent *copy = room;
	char	   *rest = (char *) (copy + 1);

	*copy = *event;
	copy->old_image = evt_copy(&rest, event->old_image, event->old_len);
	copy->new_image = evt_copy(&rest, event->new_image, event->new_len);
	copy->topic = evt_copy(&rest, event->topic, evt_text_size(event->topic));
	copy->key = evt_copy(&rest, event->key, evt_text_size(event->key));
	copy->payload = evt_copy(&rest, event->payload, evt_text_size(event->payload));
	copy->headers = evt_copy(&rest, event->headers, evt_text_size(event->headers));
	return copy;
}

/* concord_event_copy copies an event with all it points to but the relation. */
ConcordEvent *
concord_event_copy(const ConcordEvent *event, MemoryContext context)
{
	return concord_event_copy_to(event,
								 MemoryContextAlloc(context, concord_event_size(event)));
}

/*
 * concord_event_op_name says what happened, in the words that views, expressions
 * and dead letters use.
 */
const char *
concord_event_op_name(ConcordOp op)
{
	switch (op)
	{
		case CONCORD_OP_INSERT:
			return "insert";
		case CONCORD_OP_UPDATE:
			return "update";
		case CONCORD_OP_DELETE:
			return "delete";
		case CONCORD_OP_TRUNCATE:
			return "truncate";
		case CONCORD_OP_EMIT:
			return "emit";
		case CONCORD_OP_RESYNC:
			return "resync";
		case CONCORD_OP_CONTROL:
			break;
	}
	return "control";
}
