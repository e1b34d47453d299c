/*-------------------------------------------------------------------------
 *
 * event.h
 *	  One event of the outbox, as readers see it.
 *
 * A ConcordEvent points into memory of the reader that returned it; copy what
 * must outlive the reader's next batch (concord_event_copy).
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_OUTBOX_EVENT_H
#define CONCORD_OUTBOX_EVENT_H

#include "postgres.h"

#include "access/attnum.h"
#include "access/xlogdefs.h"
#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/uuid.h"

typedef enum ConcordOp
{
	CONCORD_OP_INSERT = 'I',
	CONCORD_OP_UPDATE = 'U',
	CONCORD_OP_DELETE = 'D',
	CONCORD_OP_TRUNCATE = 'T',
	CONCORD_OP_EMIT = 'M',		/* concord.emit() */
	CONCORD_OP_CONTROL = 'X',	/* a message of our own; topic says which */
	CONCORD_OP_RESYNC = 'R',	/* a row again; as stored, topic is the
								 * mapping's id and payload the row's key */
} ConcordOp;

/* In flags beside those of protocol.h: made of a change of another table */
#define CONCORD_EVENT_DEPENDS	0x80

/* A column of a stored definition. */
typedef struct ConcordColumn
{
	AttrNumber	attnum;
	uint8		flags;			/* CONCORD_COL_* of decoder/protocol.h */
	Oid			typid;
	int32		typmod;
	char	   *name;
	char	   *typname;
} ConcordColumn;

/*
 * A version of a relation's definition, stored once in
 * concord.relation_version and cached by the reading process.
 */
typedef struct ConcordRelation
{
	int32		id;				/* concord.relation_version.id */
	Oid			relid;
	char		replident;
	char	   *schema;
	char	   *table;
	int			ncolumns;
	ConcordColumn *columns;
} ConcordRelation;

typedef struct ConcordEvent
{
	int64		seq;			/* position in the outbox, without gaps */
	XLogRecPtr	lsn;			/* end of the commit record */
	uint32		ordinal;		/* within the transaction, from 1 */
	TransactionId xid;
	TimestampTz committed_at;
	pg_uuid_t	id;				/* stable over retries, restarts, replays */
	ConcordOp	op;
	uint8		flags;			/* CONCORD_ROW_*, CONCORD_TRUNCATE_* */

	/* row changes and truncates */
	const ConcordRelation *relation;
	const char *old_image;		/* NULL where there is none */
	uint32		old_len;
	const char *new_image;
	uint32		new_len;

	/* emitted and control messages; NULL where not given */
	const char *topic;
	const char *key;
	const char *payload;		/* JSON text */
	const char *headers;		/* JSON text of an object */
} ConcordEvent;

/* A value of an image. */
typedef struct ConcordImageValue
{
	int			kind;			/* CONCORD_IMAGE_NULL, ..._TEXT */
	const char *text;			/* of CONCORD_IMAGE_TEXT; not terminated.  Of
								 * CONCORD_IMAGE_BYTES: the bytes.  Of
								 * CONCORD_IMAGE_OVERSIZE: varint length and
								 * SHA-256.  Of CONCORD_IMAGE_FAILED:
								 * SQLSTATE, varint length, message */
	uint32		len;
} ConcordImageValue;

/*
 * concord_image_decode splits an image into relation->ncolumns values.
 * Raises ERRCODE_DATA_CORRUPTED where the image does not fit.
 */
extern void concord_image_decode(const ConcordRelation *relation,
								 const char *image, uint32 len,
								 ConcordImageValue *values);

/* concord_image_has_value: is a value there, and neither NULL nor left out? */
extern bool concord_image_has_value(const ConcordImageValue *value);

/*
 * concord_image_text gives the text of a value that is there (palloc'd): what
 * its type's input function reads.
 */
extern char *concord_image_text(const ConcordImageValue *value);

/* concord_image_failure says of a value of CONCORD_IMAGE_FAILED why it is one. */
extern char *concord_image_failure(const ConcordImageValue *value, char *sqlstate);

/*
 * concord_event_uuid makes the id of a row change, a uuid of version 8 from
 * the database's epoch (26 bits), commit end LSN and ordinal.
 */
extern void concord_event_uuid(int32 epoch, XLogRecPtr lsn, uint32 ordinal,
							   pg_uuid_t *id);

/*
 * concord_event_derive_id makes an id of its own for one of several events that
 * come of one: of its id and what tells them apart.
 */
extern void concord_event_derive_id(const pg_uuid_t *of, const char *what,
									Size len, pg_uuid_t *id);

/*
 * concord_event_copy_to copies an event to room, which has concord_event_size()
 * bytes and is aligned for one.
 */
extern Size concord_event_size(const ConcordEvent *event);
extern ConcordEvent *concord_event_copy_to(const ConcordEvent *event, void *room);

/* concord_event_copy copies an event with all it points to but the relation. */
extern ConcordEvent *concord_event_copy(const ConcordEvent *event,
										MemoryContext context);

/* concord_event_op_name gives insert, update, delete, truncate, emit, resync, control. */
extern const char *concord_event_op_name(ConcordOp op);

#endif							/* CONCORD_OUTBOX_EVENT_H */
