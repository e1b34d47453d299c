/*-------------------------------------------------------------------------
 *
 * message.h
 *	  Logical messages of our own: emitted events and control messages.
 *
 * pg_logical_emit_message may be called by everybody, so each message carries
 * an HMAC-SHA-256 over the top-level xid, the prefix and the content, with a
 * key from concord.secret that nobody but the extension's owner can read.
 *
 * Content: version byte, 32 bytes of HMAC, 16 bytes of event id, then topic,
 * key, headers, payload, each as varint (0: NULL, else length + 1) and that
 * many bytes (the text and a NUL).  In one that belongs to no transaction the
 * xid of the HMAC is 0.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_OUTBOX_MESSAGE_H
#define CONCORD_OUTBOX_MESSAGE_H

#include "base/compat.h"

#include "access/xlogdefs.h"
#include "utils/uuid.h"

#define CONCORD_MESSAGE_EMIT	"concord.emit"
#define CONCORD_MESSAGE_CONTROL	"concord.control"
#define CONCORD_MESSAGE_RESYNC	"concord.resync"
#define CONCORD_MESSAGE_APPLY	"concord.apply" /* what follows came from a
												 * system */
#define CONCORD_MESSAGE_CALL	"concord.call"	/* belongs to no transaction */

/* Topics of control messages. */
#define CONCORD_CONTROL_START	"concord.start"

/* A message's parts; NUL-terminated or NULL. */
typedef struct ConcordMessage
{
	pg_uuid_t	id;
	const char *topic;
	const char *key;
	const char *headers;
	const char *payload;
	const char *fields;			/* the four as they stand in the content */
	uint32		fields_len;
} ConcordMessage;

/*
 * concord_message_emit writes a transactional message of the current
 * transaction and returns the event's id in *id.
 */
extern void concord_message_emit(const char *prefix, const char *topic,
								 const char *key, const char *headers,
								 const char *payload, pg_uuid_t *id);

/*
 * concord_message_emit_control sends a control message: the capture worker
 * meets it in commit order.  'concord.start' wants {"mapping": id, "version": n}.
 */
extern void concord_message_emit_control(const char *topic,
										 const char *payload_json);

/*
 * concord_message_note writes a message that belongs to no transaction, and
 * returns where it ends; it is on disk then.  *id is made where it is all zero.
 * The key must have been loaded.
 */
extern XLogRecPtr concord_message_note(const char *prefix, const char *topic,
									   const char *payload, pg_uuid_t *id);

/* concord_message_load_key reads the key; needs a transaction. */
extern void concord_message_load_key(void);

/*
 * concord_message_parse checks the HMAC and splits the content; false where
 * the message is forged or damaged.  xid: InvalidTransactionId of a note.  The
 * parts point into content.
 */
extern bool concord_message_parse(const char *prefix, TransactionId xid,
								  const char *content, uint32 len,
								  ConcordMessage *message);

/*
 * concord_message_fields splits the four text fields, as they stand in a
 * message and in a chunk; false where they are damaged.
 */
extern bool concord_message_fields(const char *fields, uint32 len,
								   ConcordMessage *message);

#endif							/* CONCORD_OUTBOX_MESSAGE_H */
