/*-------------------------------------------------------------------------
 *
 * stream.h
 *	  Split the decoder's stream into messages.
 *
 * The source of the bytes (the shared-memory queue, later libpq) does not
 * matter here.  Everything is checked against the bounds of the write it came
 * in; damage raises ERRCODE_PROTOCOL_VIOLATION.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CAPTURE_STREAM_H
#define CONCORD_CAPTURE_STREAM_H

#include "base/compat.h"

#include "access/transam.h"
#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "decoder/protocol.h"
#include "replication/origin.h"

/* A cursor over one write. */
typedef struct ConcordStream
{
	const char *p;
	const char *end;
} ConcordStream;

/* A message; pointers are into the write.  Fields as in protocol.h. */
typedef struct ConcordStreamMessage
{
	ConcordMsgKind kind;

	/* HELLO */
	uint64		version;

	/* HELLO: encoding; RELATION: definition; MESSAGE: prefix */
	const char *text;
	uint32		text_len;

	/* RELATION, INSERT, UPDATE, DELETE, TRUNCATE, MESSAGE */
	uint64		relnum;
	uint8		flags;

	/* INSERT, UPDATE, DELETE, TRUNCATE (none); new_image: content of MESSAGE */
	const char *old_image;
	uint32		old_len;
	const char *new_image;
	uint32		new_len;

	/* BEGIN; lsn also of MESSAGE, COMMIT, PROGRESS */
	TransactionId xid;
	XLogRecPtr	commit_lsn;
	XLogRecPtr	lsn;
	TimestampTz time;
	RepOriginId origin;
} ConcordStreamMessage;

/* concord_stream_next reads the next message; false at the end of the write. */
extern bool concord_stream_next(ConcordStream *stream,
								ConcordStreamMessage *message);

#endif							/* CONCORD_CAPTURE_STREAM_H */
