/*-------------------------------------------------------------------------
 *
 * ahead.c
 *	  Resyncs in a courier: the row's event, and what is newer than its image.
 *
 * A resync names a row; its image is read from the table when the event is
 * mapped, and may then have changes in it whose own events are still on their
 * way.  Sent nevertheless, the record would go back to an older state when
 * those come.  So, before a resync is sent,
 *
 *	- capture has all that the image can have in it: the end of WAL after the
 *	  reading (mapped_lsn) is captured;
 *	- the outbox was looked through up to there for events of the lane's table,
 *	  from the first resync on, and none of them is of this row.
 *
 * Where there is one, the resync ends as superseded, and takes the hash of the
 * record's link with it (linkrows.c): the newer event is sent, come what may.
 *
 * What is ahead is a table of hashes of local keys with the newest position,
 * filled once for each event and thrown away with the last resync.  A reader of
 * its own skips the chunks of messages without unpacking them, so a resync of a
 * million rows is not read twice.  The table is bounded: beyond that many rows a
 * resync may be sent before an event whose change it has in it already.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/bookkeeping.h"
#include "capture/capture.h"
#include "common/hashfn.h"
#include "decoder/protocol.h"
#include "delivery/delivery.h"
#include "delivery/work.h"
#include "delivery/pending.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define AHEAD_ROWS		500000	/* rows with changes that are remembered */
#define AHEAD_HOLD_US	INT64CONST(3000)	/* look again for capture */
#define AHEAD_READ_EVENTS	1000
#define AHEAD_READ_BYTES	(1024 * 1024)

typedef struct AheadRow
{
	uint64		hash;			/* of its local key */
	int64		seq;			/* of its newest event */
} AheadRow;

struct ConcordAhead
{
	MemoryContext context;
	ConcordOutboxReader *reader;
	int64		from;			/* events after this were looked at ... */
	int64		to;				/* ... up to here */
	XLogRecPtr	wanted;			/* the newest mapped_lsn */
	XLogRecPtr	lsn;			/* all that committed before is in it */
	HTAB	   *rows;			/* of AheadRow */
};

/* ---------------------------------------------------------------------
 * the event of a row
 * ------------------------------------------------------------------- */

/*
 * concord_row_relation describes the columns of a mapping's local key, in the
 * current context; NULL where they are not there.  Needs a transaction.
 */
const ConcordRelation *
concord_row_relation(const ConcordMapping *mapping)
{
	ConcordRelation *relation = palloc0(sizeof(ConcordRelation));
	int			n = 0;
	ListCell   *lc;

	relation->id = -mapping->id;
	relation->relid = mapping->source;
	relation->replident = 'd';
	relation->schema = get_namespace_name(get_rel_namespace(mapping->source));
	relation->table = get_rel_name(mapping->source);
	relation->columns = palloc0(sizeof(ConcordColumn) *
								Max(list_length(mapping->local_key), 1));
	if (relation->schema == NULL || relation->table == NULL)
		return NULL;
	foreach(lc, mapping->local_key)
	{
		ConcordColumn *column = &relation->columns[n];
		Oid			collation;

		column->name = lfirst(lc);
		column->attnum = get_attnum(mapping->source, column->name);
		if (column->attnum == InvalidAttrNumber)
			return NULL;
		get_atttypetypmodcoll(mapping->source, column->attnum, &column->typid,
							  &column->typmod, &collation);
		column->flags = CONCORD_COL_IDENTITY;
		n++;
	}
	relation->ncolumns = n;
	return relation;
}

/* ahd_varint appends a varint. */
static void
ahd_varint(StringInfo buf, uint64 v)
{
	char		bytes[CONCORD_VARINT_MAX];

	appendBinaryStringInfo(buf, bytes, concord_put_varint(bytes, v) - bytes);
}

/* ahd_image writes the image that has a key's columns and no others. */
static void
ahd_image(const ConcordRelation *relation, const char *payload, StringInfo buf)
{
	Jsonb	   *key = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
														 CStringGetDatum(payload)));

	initStringInfo(buf);
	ahd_varint(buf, relation->ncolumns);
	for (int i = 0; i < relation->ncolumns; i++)
	{
		const char *name = relation->columns[i].name;
		JsonbValue	found;
		JsonbValue *value = getKeyJsonValueFromContainer(&key->root, name,
														 strlen(name), &found);

		if (value == NULL || value->type != jbvString)
			ahd_varint(buf, CONCORD_IMAGE_ABSENT);
		else
		{
			ahd_varint(buf, CONCORD_IMAGE_TEXT + value->val.string.len);
			appendBinaryStringInfo(buf, value->val.string.val,
								   value->val.string.len);
		}
	}
}

/*
 * concord_resync_row makes a resync, as it is stored, an event of its row: an
 * image with the key only, in context.  Needs a transaction; false where the
 * table has no such key any more.
 */
bool
concord_resync_row(ConcordCourier *courier, const ConcordLane *lane,
				   ConcordEvent *event, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	const ConcordRelation *relation = concord_row_relation(lane->definition->mapping);
	StringInfoData image;

	if (relation != NULL && event->payload != NULL)
	{
		event->relation = concord_take_relation(courier, relation);
		ahd_image(event->relation, event->payload, &image);
		event->flags = CONCORD_ROW_NEW;
		event->new_image = image.data;
		event->new_len = image.len;
		event->topic = NULL;
		event->payload = NULL;
	}
	MemoryContextSwitchTo(old);
	return event->new_image != NULL;
}

/* ---------------------------------------------------------------------
 * what is ahead of it
 * ------------------------------------------------------------------- */

/* ahd_hash hashes a local key. */
static uint64
ahd_hash(const char *key)
{
	return hash_bytes_extended((const unsigned char *) key, strlen(key), 0);
}

/* ahd_forget throws a lane's table away. */
static void
ahd_forget(ConcordLane *lane)
{
	if (lane->ahead == NULL)
		return;
	concord_outbox_close(lane->ahead->reader);
	MemoryContextDelete(lane->ahead->context);
	lane->ahead = NULL;
}

/* ahd_create makes an empty table for what comes after a position. */
static void
ahd_create(ConcordLane *lane, int64 after_seq)
{
	MemoryContext context = AllocSetContextCreate(lane->memory, "concord ahead",
												  ALLOCSET_DEFAULT_SIZES);
	ConcordAhead *ahead = MemoryContextAllocZero(context, sizeof(ConcordAhead));
	HASHCTL		ctl = {.keysize = sizeof(uint64),.entrysize = sizeof(AheadRow),
	.hcxt = context};

	ahead->context = context;
	ahead->from = ahead->to = after_seq;
	ahead->reader = concord_outbox_open(context, after_seq,
										&lane->definition->mapping->source, 1);
	ahead->rows = hash_create("concord ahead", 1024, &ctl,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	lane->ahead = ahead;
}

/*
 * concord_resync_mapped notes that n deliveries were mapped just now, from rows
 * as the table had them.
 */
void
concord_resync_mapped(ConcordLane *lane, ConcordDelivery **ds, int n)
{
	XLogRecPtr	lsn = InvalidXLogRecPtr;

	for (int i = 0; i < n; i++)
	{
		ConcordDelivery *d = ds[i];

		if (d->event->op != CONCORD_OP_RESYNC)
			continue;
		if (XLogRecPtrIsInvalid(lsn))
			lsn = concord_capture_mark();
		d->mapped_lsn = lsn;
		if (lane->ahead != NULL && lane->ahead->from > d->event->seq)
			ahd_forget(lane);
		if (lane->ahead == NULL)
			ahd_create(lane, d->event->seq);
		lane->ahead->wanted = lsn;
	}
}

/* ahd_note remembers a row's newest event. */
static void
ahd_note(ConcordAhead *ahead, const char *key, int64 seq)
{
	uint64		hash;
	AheadRow   *row;
	bool		found;

	if (key == NULL)
		return;
	hash = ahd_hash(key);
	row = hash_search(ahead->rows, &hash,
					  hash_get_num_entries(ahead->rows) < AHEAD_ROWS ?
					  HASH_ENTER : HASH_FIND, &found);
	if (row != NULL)
		row->seq = seq;
}

/* ahd_read looks through the outbox up to a position. */
static void
ahd_read(ConcordLane *lane, int64 last_seq)
{
	const ConcordMapping *mapping = lane->definition->mapping;
	ConcordAhead *ahead = lane->ahead;
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext,
												  "concord ahead scratch",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);

	while (ahead->to < last_seq)
	{
		int			n;
		int64		read_up_to;
		ConcordEvent *events = concord_outbox_read(ahead->reader,
												   AHEAD_READ_EVENTS,
												   AHEAD_READ_BYTES, &n,
												   &read_up_to);

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < n; i++)
		{
			ConcordEvent old_row = events[i];

			if (events[i].relation == NULL ||
				events[i].relation->relid != mapping->source)
				continue;
			ahd_note(ahead, concord_scan_local_key(mapping, &events[i]),
					 events[i].seq);
			old_row.new_image = NULL;
			if (events[i].new_image != NULL && events[i].old_image != NULL)
				ahd_note(ahead, concord_scan_local_key(mapping, &old_row),
						 events[i].seq);
		}
		MemoryContextReset(scratch);
		if (n == 0 && read_up_to <= ahead->to)
			break;
		ahead->to = read_up_to;
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
}

/*
 * concord_resync_look reads what capture has brought since the last resync was
 * mapped, of all lanes that have one.  Opens and ends its own transaction.
 */
void
concord_resync_look(ConcordCourier *courier)
{
	XLogRecPtr	captured = pg_atomic_read_u64(&courier->db->captured_lsn);
	int64		last_seq;
	dlist_iter	iter;

	/* published before captured_lsn, so it is not older */
	pg_read_barrier();
	last_seq = (int64) pg_atomic_read_u64(&courier->db->last_seq);
	dlist_foreach(iter, &courier->watched)
	{
		ConcordLane *lane = dlist_container(ConcordLane, watched.node, iter.cur);

		if (lane->ahead == NULL)
			continue;
		if (lane->nresyncs == 0)
			ahd_forget(lane);
		else if (lane->ahead->lsn < lane->ahead->wanted &&
				 captured >= lane->ahead->wanted)
		{
			concord_bookkeeping_begin();
			ahd_read(lane, last_seq);
			concord_bookkeeping_commit(false);
			lane->ahead->lsn = captured;
		}
	}
}

/*
 * concord_resync_ready: the delivery, whose turn it is, is no resync, or it is
 * known whether something newer is on its way.  If not, its lane looks again in
 * a moment.
 */
bool
concord_resync_ready(ConcordCourier *courier, ConcordDelivery *d)
{
	if (d->event->op != CONCORD_OP_RESYNC || d->lane->ahead == NULL ||
		d->lane->ahead->lsn >= d->mapped_lsn)
		return true;
	d->lane->hold_until = courier->now + AHEAD_HOLD_US;
	return false;
}

/* concord_resync_overtaken: the outbox has something newer of its row. */
bool
concord_resync_overtaken(const ConcordDelivery *d)
{
	uint64		hash;
	AheadRow   *row;

	if (d->event->op != CONCORD_OP_RESYNC || d->lane->ahead == NULL ||
		d->mapped->local_key == NULL)
		return false;
	hash = ahd_hash(d->mapped->local_key);
	row = hash_search(d->lane->ahead->rows, &hash, HASH_FIND, NULL);
	return row != NULL && row->seq > d->event->seq;
}
