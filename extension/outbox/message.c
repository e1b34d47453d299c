/*-------------------------------------------------------------------------
 *
 * message.c
 *	  Write and check logical messages of our own.
 *
 * The xid in the HMAC ties a message to its transaction: a message copied out
 * of WAL by somebody who may read it cannot be emitted again.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "common/hmac.h"
#include "common/sha2.h"
#include "decoder/protocol.h"
#include "lib/stringinfo.h"
#include "outbox/message.h"
#include "outbox/tables.h"
#include "port/pg_bswap.h"
#include "replication/message.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"

#define MSG_VERSION		1
#define MSG_SECRET		"message"
#define MSG_NFIELDS		4
#define MSG_FIELDS_AT	(1 + PG_SHA256_DIGEST_LENGTH + UUID_LEN)

/* A key and whose it is. */
typedef struct MsgKey
{
	Oid			relid;			/* concord.secret it was read from */
	uint32		len;
	uint8		key[64];
} MsgKey;

/* A cache: the key never changes while the extension exists. */
static MsgKey msg_key;

/*
 * concord_message_load_key reads the key as the current user's transaction
 * sees it, with no regard to grants: callers are C functions that sign or
 * check, and never show it.
 */
void
concord_message_load_key(void)
{
	Oid			relid = concord_outbox_table("secret");
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (msg_key.relid == relid && msg_key.len > 0)
		return;
	/* not by name: that asks whether the role may use the schema */
	while ((rel = try_table_open(relid, AccessShareLock)) == NULL)
		relid = concord_outbox_table("secret"); /* we waited for DROP
												 * EXTENSION */
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	msg_key.len = 0;
	while ((tuple = systable_getnext(scan)) != NULL)
	{
		bool		isnull;
		Datum		name = heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull);
		char	   *what = isnull ? NULL : TextDatumGetCString(name);
		bytea	   *value;

		if (what == NULL || strcmp(what, MSG_SECRET) != 0)
			continue;
		value = DatumGetByteaPP(heap_getattr(tuple, 2, RelationGetDescr(rel),
											 &isnull));
		msg_key.len = Min(VARSIZE_ANY_EXHDR(value), sizeof(msg_key.key));
		memcpy(msg_key.key, VARDATA_ANY(value), msg_key.len);
		msg_key.relid = relid;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (msg_key.len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the key for messages is missing from concord.secret"),
				 errhint("Create the extension again.")));
}

/*
 * msg_hmac computes the HMAC over xid, prefix and what follows the HMAC.  The
 * writer checks messages outside of a transaction, while OpenSSL's contexts
 * want a resource owner, so it gets one.
 */
static void
msg_hmac(const char *prefix, TransactionId xid, const char *rest, Size len,
		 uint8 *result)
{
	static ResourceOwner own = NULL;
	ResourceOwner before = CurrentResourceOwner;
	uint32		net_xid = pg_hton32(xid);
	pg_hmac_ctx *ctx;

	if (before == NULL)
	{
		if (own == NULL)
			own = ResourceOwnerCreate(NULL, "concord messages");
		CurrentResourceOwner = own;
	}
	ctx = pg_hmac_create(PG_SHA256);
	if (ctx == NULL ||
		pg_hmac_init(ctx, msg_key.key, msg_key.len) < 0 ||
		pg_hmac_update(ctx, (uint8 *) &net_xid, sizeof(net_xid)) < 0 ||
		pg_hmac_update(ctx, (const uint8 *) prefix, strlen(prefix) + 1) < 0 ||
		pg_hmac_update(ctx, (const uint8 *) rest, len) < 0 ||
		pg_hmac_final(ctx, result, PG_SHA256_DIGEST_LENGTH) < 0)
		elog(ERROR, "could not compute the HMAC of a message");
	pg_hmac_free(ctx);
	CurrentResourceOwner = before;
}

/* msg_put_field appends a text with its length and NUL, or a NULL. */
static void
msg_put_field(StringInfo buf, const char *text)
{
	char		header[CONCORD_VARINT_MAX];
	Size		len = text ? strlen(text) : 0;
	char	   *p = concord_put_varint(header, text ? len + 1 : 0);

	appendBinaryStringInfo(buf, header, p - header);
	if (text)
		appendBinaryStringInfo(buf, text, len + 1);
}

/* msg_make_uuid makes a random uuid of version 4. */
static void
msg_make_uuid(pg_uuid_t *id)
{
	if (!pg_strong_random(id->data, UUID_LEN))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	id->data[6] = (id->data[6] & 0x0f) | 0x40;
	id->data[8] = (id->data[8] & 0x3f) | 0x80;
}

/* msg_write makes a message's content, signed. */
static void
msg_write(StringInfo buf, const char *prefix, TransactionId xid,
		  const pg_uuid_t *id, const char *const *fields)
{
	initStringInfo(buf);
	appendStringInfoChar(buf, MSG_VERSION);
	appendStringInfoSpaces(buf, PG_SHA256_DIGEST_LENGTH);
	appendBinaryStringInfo(buf, (const char *) id->data, UUID_LEN);
	for (int i = 0; i < MSG_NFIELDS; i++)
		msg_put_field(buf, fields[i]);
	msg_hmac(prefix, xid, buf->data + 1 + PG_SHA256_DIGEST_LENGTH,
			 buf->len - 1 - PG_SHA256_DIGEST_LENGTH, (uint8 *) buf->data + 1);
}

/* concord_message_emit writes a transactional message. */
void
concord_message_emit(const char *prefix, const char *topic, const char *key,
					 const char *headers, const char *payload, pg_uuid_t *id)
{
	const char *fields[MSG_NFIELDS] = {topic, key, headers, payload};
	StringInfoData buf;

	concord_message_load_key();
	msg_make_uuid(id);
	msg_write(&buf, prefix, GetTopTransactionId(), id, fields);
	(void) concord_log_message(prefix, buf.data, buf.len);
	pfree(buf.data);
}

/* concord_message_note writes a message that belongs to no transaction. */
XLogRecPtr
concord_message_note(const char *prefix, const char *topic,
					 const char *payload, pg_uuid_t *id)
{
	static const pg_uuid_t none = {{0}};
	const char *fields[MSG_NFIELDS] = {topic, NULL, NULL, payload};
	StringInfoData buf;
	XLogRecPtr	end;

	if (memcmp(id, &none, sizeof(pg_uuid_t)) == 0)
		msg_make_uuid(id);
	msg_write(&buf, prefix, InvalidTransactionId, id, fields);
	end = concord_log_note(prefix, buf.data, buf.len);
	XLogFlush(end);
	pfree(buf.data);
	return end;
}

/* concord_message_emit_control sends a control message. */
void
concord_message_emit_control(const char *topic, const char *payload_json)
{
	pg_uuid_t	id;

	concord_message_emit(CONCORD_MESSAGE_CONTROL, topic, NULL, NULL,
						 payload_json, &id);
}

/* concord_message_parse checks the HMAC and splits the content. */
bool
concord_message_parse(const char *prefix, TransactionId xid,
					  const char *content, uint32 len, ConcordMessage *message)
{
	uint8		hmac[PG_SHA256_DIGEST_LENGTH];
	uint8		differs = 0;

	if (len < MSG_FIELDS_AT || content[0] != MSG_VERSION)
		return false;
	msg_hmac(prefix, xid, content + 1 + PG_SHA256_DIGEST_LENGTH,
			 len - 1 - PG_SHA256_DIGEST_LENGTH, hmac);
	for (int i = 0; i < PG_SHA256_DIGEST_LENGTH; i++)
		differs |= hmac[i] ^ (uint8) content[1 + i];
	if (differs != 0)
		return false;
	if (!concord_message_fields(content + MSG_FIELDS_AT, len - MSG_FIELDS_AT,
								message))
		return false;
	memcpy(message->id.data, content + 1 + PG_SHA256_DIGEST_LENGTH, UUID_LEN);
	return true;
}

/* concord_message_fields splits the four text fields. */
bool
concord_message_fields(const char *fields, uint32 len, ConcordMessage *message)
{
	const char *parts[MSG_NFIELDS];
	const char *p = fields;
	const char *end = fields + len;

	for (int i = 0; i < lengthof(parts); i++)
	{
		uint64		n;

		p = concord_get_varint(p, end, &n);
		if (p == NULL || n > (uint64) (end - p) ||
			(n > 0 && p[n - 1] != '\0'))
			return false;
		parts[i] = n > 0 ? p : NULL;
		p += n;
	}
	if (p != end)
		return false;
	message->topic = parts[0];
	message->key = parts[1];
	message->headers = parts[2];
	message->payload = parts[3];
	message->fields = fields;
	message->fields_len = len;
	return true;
}
