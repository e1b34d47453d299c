/*-------------------------------------------------------------------------
 *
 * protocol.h
 *	  The binary stream between concord_decoder and whoever reads it.
 *
 * This is the only file that the output plugin and the extension share.  It
 * owns the message kinds, their field order and the version number; it holds
 * no code but the integer codec, so that a client may include it alone.  At its
 * end stands how the plugin hands its counters to the extension, where both are
 * in one process.
 *
 * A write (one OutputPluginWrite, one CopyData message, one shm_mq message)
 * holds one or more whole messages; a message never straddles two writes.
 * Each message is
 *
 *		kind	byte, one of ConcordMsgKind or ConcordEarlyMsgKind
 *		length	varint, bytes that follow
 *		fields	as listed below
 *
 * Field types:
 *
 *		varint	unsigned LEB128, at most 10 bytes
 *		lsn		8 bytes, little-endian
 *		time	8 bytes, little-endian, TimestampTz (microseconds since
 *				2000-01-01 00:00:00 UTC)
 *		text	varint length, bytes in the database's encoding, no NUL
 *		bytes	varint length, bytes
 *
 * Messages:
 *
 *	HELLO		varint version, varint server_version_num, text encoding
 *				First message of every stream.
 *	RELATION	varint relnum, varint relid, byte relreplident, byte flags (0),
 *				text schema, text table, varint ncolumns, then per column:
 *				varint attnum, byte column flags, varint type oid,
 *				varint typmod + 1, text column name, text type name
 *				(format_type, schema-qualified where needed)
 *				Sent before the first change that uses relnum.  A changed
 *				definition gets a new relnum; a relnum never changes meaning
 *				within a stream.  For a partition captured under its root
 *				this is the root, and images have the root's columns.
 *	BEGIN		varint xid, lsn commit record, lsn commit end, time commit,
 *				varint origin id
 *				Only for transactions that have something to say.
 *	INSERT, UPDATE, DELETE
 *				varint relnum, byte row flags, [old image], [new image]
 *	TRUNCATE	varint relnum, byte flags (1 cascade, 2 restart identity, 4 partition)
 *				One message for each relation that was truncated.  Flag 4: not the
 *				relation as a whole, only partitions that are sent under it.
 *	MESSAGE		byte flags (1 transactional, 2 oversize), lsn of the record,
 *				text prefix (cut at CONCORD_PREFIX_MAX), bytes content (none
 *				where it is oversize: larger than CONCORD_CONTENT_MAX)
 *				A message that is not transactional stands outside
 *				BEGIN ... COMMIT.
 *	COMMIT		lsn commit end
 *	PROGRESS	lsn; nothing before it is still to come.  Written by the
 *				process that drives the decoding, not by the plugin.
 *
 * With two_phase, in a stream that asked for it:
 *
 *	BEGIN_PREPARE	varint xid, lsn prepare record, lsn prepare end, time
 *				prepare, varint origin id, text gid
 *				Stands for BEGIN where a transaction is sent at PREPARE.
 *	PREPARE		lsn prepare end
 *				Stands for its COMMIT: whether it commits is not known yet.
 *	COMMIT_PREPARED	varint xid, lsn commit record, lsn commit end, time commit,
 *				varint origin id, text gid
 *	ROLLBACK_PREPARED	varint xid, lsn prepare end, lsn rollback end, time
 *				prepare, time rollback, text gid
 *				Both may come for a gid of which nothing was sent, after a
 *				restart: then there is nothing to do.
 *
 * With streaming, in a stream that asked for it:
 *
 *	STREAM_START	varint xid, byte flags (1 first block), varint origin id
 *				A block of events of a transaction in progress.  Between two
 *				blocks come other transactions, and blocks of others.
 *	SUBTRANSACTION	varint xid
 *				The block's events that follow are changes of this
 *				subtransaction; of the transaction itself where it is that
 *				xid, as at the start of a block.
 *	STREAM_STOP	no fields
 *	STREAM_ABORT	varint xid, varint subtransaction's xid, lsn abort end
 *				Rolled back: drop all events of that subtransaction, or all of
 *				the transaction where both are the same.
 *	STREAM_COMMIT	the fields of BEGIN
 *				What has come of xid and was not aborted has committed.
 *	STREAM_PREPARE	the fields of BEGIN_PREPARE
 *				What has come of xid and was not aborted is prepared.
 *
 * A RELATION message is no event: it holds for the rest of the stream, also
 * where it comes in a block, or after BEGIN_PREPARE, of what is rolled back
 * later.  A reader that keeps events until it knows their fate must take in
 * definitions at once.
 *
 * An image is varint ncolumns, then per column of the definition a varint
 * header, by which one of these follows:
 *
 *		IMAGE_NULL		nothing
 *		IMAGE_UNCHANGED	nothing: a TOASTed value that the change did not touch
 *		IMAGE_ABSENT	nothing: not part of the old key
 *		IMAGE_OVERSIZE	varint length, 32 bytes of SHA-256: the value was larger
 *						than max_value, or the largest of a row too large for one
 *						message.  Both are of the value's bytes, uncompressed and
 *						without header
 *		IMAGE_FAILED	5 bytes of SQLSTATE, text message: the value could not be
 *						encoded
 *		IMAGE_BYTES		bytes: the value of a bytea, as it is
 *		IMAGE_TEXT + n	n bytes of the value's text
 *
 * Text of a value does not depend on session settings: it is what the type's
 * output function gives under DateStyle ISO, IntervalStyle postgres, TimeZone
 * UTC, bytea_output hex, extra_float_digits 1, lc_monetary C without a currency
 * sign and an empty search_path, and the type's input function reads it back
 * exactly.  A bytea (or a domain over it) comes as its bytes, which are half as
 * many as those of its text; inside of an array or a composite it is text.
 *
 * The ordinal of an event within its transaction is the number of INSERT,
 * UPDATE, DELETE, TRUNCATE and MESSAGE messages so far in it, from 1.  It is
 * stable over restarts because capture decodes whole transactions at commit;
 * with streaming it is not, since it counts what is rolled back later.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_PROTOCOL_H
#define CONCORD_PROTOCOL_H

#define CONCORD_PROTOCOL_VERSION	3

/* Name of the output plugin, as slots and options know it. */
#define CONCORD_DECODER_NAME		"concord_decoder"

typedef enum ConcordMsgKind
{
	CONCORD_MSG_HELLO = 'H',
	CONCORD_MSG_RELATION = 'R',
	CONCORD_MSG_BEGIN = 'B',
	CONCORD_MSG_INSERT = 'I',
	CONCORD_MSG_UPDATE = 'U',
	CONCORD_MSG_DELETE = 'D',
	CONCORD_MSG_TRUNCATE = 'T',
	CONCORD_MSG_MESSAGE = 'M',
	CONCORD_MSG_COMMIT = 'C',
	CONCORD_MSG_PROGRESS = 'P',
} ConcordMsgKind;

/* Kinds that only options two_phase and streaming bring. */
typedef enum ConcordEarlyMsgKind
{
	CONCORD_MSG_BEGIN_PREPARE = 'b',
	CONCORD_MSG_PREPARE = 'p',
	CONCORD_MSG_COMMIT_PREPARED = 'c',
	CONCORD_MSG_ROLLBACK_PREPARED = 'r',
	CONCORD_MSG_STREAM_START = 'S',
	CONCORD_MSG_SUBTRANSACTION = 'X',
	CONCORD_MSG_STREAM_STOP = 'E',
	CONCORD_MSG_STREAM_ABORT = 'A',
	CONCORD_MSG_STREAM_COMMIT = 'K',
	CONCORD_MSG_STREAM_PREPARE = 'Q',
} ConcordEarlyMsgKind;

/* Column flags of RELATION. */
#define CONCORD_COL_IDENTITY	0x01	/* part of the replica identity */
#define CONCORD_COL_PRIMARY		0x02	/* part of the primary key */
#define CONCORD_COL_GENERATED	0x04	/* GENERATED ALWAYS AS ... STORED */

/* Row flags of INSERT, UPDATE and DELETE. */
#define CONCORD_ROW_OLD			0x01	/* an old image follows */
#define CONCORD_ROW_OLD_IS_KEY	0x02	/* it has identity columns only */
#define CONCORD_ROW_NEW			0x04	/* a new image follows */
#define CONCORD_ROW_NO_IDENTITY	0x08	/* UPDATE or DELETE of a table that
										 * has no replica identity */
#define CONCORD_ROW_UNCHANGED	0x10	/* the new image lacks a TOASTed value */
#define CONCORD_ROW_OVERSIZE	0x20	/* an image has an IMAGE_OVERSIZE
										 * value */
#define CONCORD_ROW_FAILED		0x40	/* an image has an IMAGE_FAILED value */

/* Flags of TRUNCATE and MESSAGE. */
#define CONCORD_TRUNCATE_CASCADE	0x01
#define CONCORD_TRUNCATE_RESTART	0x02
#define CONCORD_TRUNCATE_PARTITION	0x04	/* only partitions of the relation */
#define CONCORD_MESSAGE_TRANSACTIONAL	0x01
#define CONCORD_MESSAGE_OVERSIZE	0x02	/* the content is left out */

/* Flag of STREAM_START. */
#define CONCORD_STREAM_FIRST	0x01

/* The most bytes of a message's content that are sent. */
#define CONCORD_CONTENT_MAX		(320 * 1024 * 1024)

/* The most bytes of its prefix: anybody may write one of any length. */
#define CONCORD_PREFIX_MAX		(64 * 1024)

/* Column headers of an image. */
#define CONCORD_IMAGE_NULL		0
#define CONCORD_IMAGE_UNCHANGED	1
#define CONCORD_IMAGE_ABSENT	2
#define CONCORD_IMAGE_OVERSIZE	3
#define CONCORD_IMAGE_FAILED	4
#define CONCORD_IMAGE_BYTES		5
#define CONCORD_IMAGE_TEXT		6

/* Bytes of SQLSTATE in IMAGE_FAILED. */
#define CONCORD_SQLSTATE_LENGTH	5

/* A write is sent once it has grown to this size. */
#define CONCORD_WRITE_SIZE		(64 * 1024)

/* Prefix of logical messages that belong to the extension. */
#define CONCORD_MESSAGE_PREFIX	"concord."

/* The most bytes that a varint of 64 bits takes. */
#define CONCORD_VARINT_MAX		10

/*
 * Write v as a varint at p, which has room for CONCORD_VARINT_MAX bytes, and
 * return the byte after it.
 */
static inline char *
concord_put_varint(char *p, uint64 v)
{
	while (v >= 0x80)
	{
		*p++ = (char) ((v & 0x7F) | 0x80);
		v >>= 7;
	}
	*p++ = (char) v;
	return p;
}

/*
 * Read a varint at p, which must not go beyond end, into *v and return the
 * byte after it; NULL where the input ends too early or has too many bytes.
 */
static inline const char *
concord_get_varint(const char *p, const char *end, uint64 *v)
{
	uint64		result = 0;

	for (int shift = 0; shift < 64 && p < end; shift += 7)
	{
		unsigned char b = (unsigned char) *p++;

		result |= (uint64) (b & 0x7F) << shift;
		if ((b & 0x80) == 0)
		{
			*v = result;
			return p;
		}
	}
	return NULL;
}

/*
 * Counters.  Where the extension is preloaded, the rendezvous variable of this
 * name points to its ConcordCounterTable, and the plugin hands it what it has
 * counted; elsewhere the variable is NULL and nobody counts.  The two libraries
 * are files of their own and may be of different age in a running server: each
 * looks at version first, and at ncounts for what the other knows of.
 */
#define CONCORD_COUNTERS_RENDEZVOUS	"concord_decoder counters"

/* Bumped when ConcordCounterTable changes; not when a counter is added. */
#define CONCORD_COUNTERS_VERSION	1

/* New ones come at the end, before CONCORD_COUNTERS. */
typedef enum ConcordCounter
{
	CONCORD_COUNT_INSERTS,		/* events sent, by kind */
	CONCORD_COUNT_UPDATES,
	CONCORD_COUNT_DELETES,
	CONCORD_COUNT_TRUNCATES,
	CONCORD_COUNT_MESSAGES,
	CONCORD_COUNT_SENT,			/* transactions that were sent up to their
								 * COMMIT or PREPARE */
	CONCORD_COUNT_SKIPPED,		/* and those of which nothing was */
	CONCORD_COUNT_STREAMED,		/* transactions sent while in progress */
	CONCORD_COUNT_STREAM_ABORTED,	/* of them, those that rolled back */
	CONCORD_COUNT_PREPARED,		/* transactions sent at their PREPARE */
	CONCORD_COUNT_BYTES,		/* handed on */
	CONCORD_COUNT_WRITES,		/* in so many writes */
	CONCORD_COUNT_FILTERED_RELATION,	/* changes of what is not selected */
	CONCORD_COUNT_FILTERED_ROW, /* changes that a row filter left out */
	CONCORD_COUNT_FILTERED_MESSAGE, /* messages of other prefixes */
	CONCORD_COUNT_FILTERED_ORIGIN,	/* WAL records of other origins */
	CONCORD_COUNT_UNCHANGED,	/* TOASTed values that are not in WAL */
	CONCORD_COUNT_OVERSIZE,		/* values replaced by length and digest */
	CONCORD_COUNT_FAILED,		/* values whose output function failed */
	CONCORD_COUNT_ENCODE_NS,	/* time on row changes without writes; sampled */
	CONCORD_COUNT_WRITE_NS,		/* time in writes; sampled */
	CONCORD_COUNTERS
} ConcordCounter;

typedef struct ConcordCounterTable
{
	uint32		version;		/* CONCORD_COUNTERS_VERSION */

	/*
	 * The slot that this process has acquired begins to be read, or, with
	 * fresh, was made a moment ago.  Gives a ticket for add, or 0 where
	 * nobody counts for this slot.
	 */
	uint64		(*open) (const char *format, bool fresh);

	/*
	 * Add ncounts counters.  lsn and time are those of the newest transaction
	 * whose end was sent, 0 where there is none.  Never fails.
	 */
	void		(*add) (uint64 ticket, const uint64 *counts, int ncounts,
						uint64 lsn, int64 time);
} ConcordCounterTable;

#endif							/* CONCORD_PROTOCOL_H */
