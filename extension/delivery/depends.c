/*-------------------------------------------------------------------------
 *
 * depends.c
 *	  Option depends: a change of another table is an update of the mapping's
 *	  row that it refers to.
 *
 * An event of such a table becomes an update, at its own place in the outbox, of
 * the row whose key it names: an image that has the key only, so that all else
 * is read from the table when the event is mapped (mapping/rows.c); where the row
 * is not there any more it is skipped.  A change that moves from one row to
 * another is an update of both.
 *
 * Of one transaction each row is updated once: what the lane has taken of a
 * transaction is remembered, own events included, for a row's own event sends
 * what the others would.  The memory is bounded; beyond it, and where a process
 * begins in the middle of a transaction, a row may come more than once, and the
 * link says that it is unchanged.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "common/hashfn.h"
#include "decoder/protocol.h"
#include "delivery/delivery.h"
#include "delivery/pending.h"
#include "lib/stringinfo.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#define DEP_ROWS_MAX	100000	/* remembered of a transaction */

typedef struct DepRow
{
	uint64		hash;			/* of the transaction's end and the key */
} DepRow;

struct ConcordDependsSeen
{
	MemoryContext context;
	XLogRecPtr	lsn;			/* of the transaction that was read last */
	HTAB	   *rows;			/* of DepRow */
};

/* concord_depends_find gives what a mapping says of an event's table, or NULL. */
const ConcordDepend *
concord_depends_find(const ConcordMapping *mapping, const ConcordEvent *event)
{
	ListCell   *lc;

	if (event->relation == NULL || event->op == CONCORD_OP_RESYNC)
		return NULL;
	foreach(lc, mapping->options.depends)
	{
		const ConcordDepend *depend = lfirst(lc);

		if (OidIsValid(depend->relid) && depend->relid == event->relation->relid)
			return depend;
	}
	return NULL;
}

/*
 * concord_depends_sources lists whose events are of interest to a mapping: its
 * own table, those that it depends on, and messages (InvalidOid).
 */
Oid *
concord_depends_sources(const ConcordMapping *mapping, int *n)
{
	Oid		   *sources = palloc(sizeof(Oid) *
								 (list_length(mapping->options.depends) + 2));
	ListCell   *lc;

	*n = 0;
	sources[(*n)++] = mapping->source;
	if (OidIsValid(mapping->source))
		sources[(*n)++] = InvalidOid;
	foreach(lc, mapping->options.depends)
		sources[(*n)++] = ((const ConcordDepend *) lfirst(lc))->relid;
	return sources;
}

/* dep_varint appends a varint. */
static void
dep_varint(StringInfo buf, uint64 v)
{
	char		bytes[CONCORD_VARINT_MAX];

	appendBinaryStringInfo(buf, bytes, concord_put_varint(bytes, v) - bytes);
}

/* dep_value finds a column of an image by its name; NULL: not known, or null. */
static char *
dep_value(const ConcordRelation *relation, const ConcordImageValue *values,
		  const char *name, bool *unknown)
{
	for (int i = 0; i < relation->ncolumns; i++)
	{
		if (strcmp(relation->columns[i].name, name) != 0)
			continue;
		if (concord_image_has_value(&values[i]))
			return concord_image_text(&values[i]);
		*unknown |= values[i].kind != CONCORD_IMAGE_NULL;
		return NULL;
	}
	*unknown = true;
	return NULL;
}

/* dep_image makes the image of the row that another table's row refers to. */
static char *
dep_image(const ConcordDepend *depend, const ConcordRelation *row,
		  const ConcordRelation *relation, const char *image, uint32 len,
		  uint32 *made, bool *unknown)
{
	ConcordImageValue *values = palloc(sizeof(ConcordImageValue) *
									   Max(relation->ncolumns, 1));
	StringInfoData buf;

	concord_image_decode(relation, image, len, values);
	initStringInfo(&buf);
	dep_varint(&buf, row->ncolumns);
	for (int i = 0; i < row->ncolumns; i++)
	{
		char	   *text = NULL;
		ListCell   *lc;

		foreach(lc, depend->columns)
		{
			const ConcordDependColumn *column = lfirst(lc);

			if (strcmp(column->own, row->columns[i].name) == 0)
				text = dep_value(relation, values, column->theirs, unknown);
		}
		if (text == NULL)
			return NULL;
		dep_varint(&buf, CONCORD_IMAGE_TEXT + strlen(text));
		appendStringInfoString(&buf, text);
	}
	*made = buf.len;
	return buf.data;
}

/* dep_event makes the update of one row. */
static ConcordEvent *
dep_event(const ConcordEvent *event, const ConcordRelation *row, char *image,
		  uint32 len)
{
	ConcordEvent *update = palloc(sizeof(ConcordEvent));

	*update = *event;
	concord_event_derive_id(&event->id, image, len, &update->id);
	update->op = CONCORD_OP_UPDATE;
	update->flags = CONCORD_ROW_NEW | CONCORD_EVENT_DEPENDS;
	update->relation = row;
	update->old_image = NULL;
	update->old_len = 0;
	update->new_image = image;
	update->new_len = len;
	return update;
}

/*
 * concord_depends_expand makes the updates that a change of another table stands
 * for, at most two, in the current context; returns their number.  Needs a
 * transaction.  A truncate is passed on as it is.  *unknown says that the change
 * does not tell which row it belongs to.
 */
int
concord_depends_expand(const ConcordMapping *mapping,
					   const ConcordDepend *depend, const ConcordEvent *event,
					   ConcordEvent **updates, bool *unknown)
{
	const ConcordRelation *row = concord_row_relation(mapping);
	char	   *images[2] = {NULL, NULL};
	uint32		lens[2] = {0, 0};
	int			n = 0;

	*unknown = false;
	if (event->op == CONCORD_OP_TRUNCATE)
	{
		updates[0] = palloc(sizeof(ConcordEvent));
		*updates[0] = *event;
		return 1;
	}
	if (row == NULL)
		return 0;
	if (event->old_image != NULL)
		images[0] = dep_image(depend, row, event->relation, event->old_image,
							  event->old_len, &lens[0], unknown);
	if (event->new_image != NULL)
		images[1] = dep_image(depend, row, event->relation, event->new_image,
							  event->new_len, &lens[1], unknown);
	if (event->old_image == NULL && event->new_image == NULL)
		*unknown = true;
	for (int i = 0; i < 2; i++)
	{
		if (images[i] == NULL ||
			(i == 1 && images[0] != NULL && lens[0] == lens[1] &&
			 memcmp(images[0], images[1], lens[0]) == 0))
			continue;
		updates[n++] = dep_event(event, row, images[i], lens[i]);
	}
	return n;
}

/* ---------------------------------------------------------------------
 * once for each row and transaction
 * ------------------------------------------------------------------- */

/* dep_note remembers a row of a transaction; false where it was there. */
static bool
dep_note(struct ConcordDependsSeen *seen, XLogRecPtr lsn, const char *key)
{
	uint64		hash;
	bool		found = false;

	if (key == NULL)
		return true;
	hash = hash_combine64((uint64) lsn,
						  hash_bytes_extended((const unsigned char *) key,
											  strlen(key), 0));
	(void) hash_search(seen->rows, &hash,
					   hash_get_num_entries(seen->rows) < DEP_ROWS_MAX ?
					   HASH_ENTER : HASH_FIND, &found);
	return !found;
}

/*
 * concord_depends_begin notes the own events of what a lane is about to take:
 * their rows need no update on account of others.
 */
void
concord_depends_begin(ConcordLane *lane, const ConcordEvent *const *events,
					  int nevents)
{
	const ConcordMapping *mapping = lane->definition->mapping;
	struct ConcordDependsSeen *seen = lane->depends_seen;

	if (nevents == 0)
		return;
	if (seen != NULL && seen->lsn != events[0]->lsn)
	{
		MemoryContextDelete(seen->context);
		seen = NULL;
	}
	if (seen == NULL)
	{
		MemoryContext context = AllocSetContextCreate(lane->memory,
													  "concord depends",
													  ALLOCSET_DEFAULT_SIZES);
		HASHCTL		ctl = {.keysize = sizeof(uint64),.entrysize = sizeof(DepRow),
		.hcxt = context};

		seen = MemoryContextAllocZero(context, sizeof(struct ConcordDependsSeen));
		seen->context = context;
		seen->rows = hash_create("concord depends", 256, &ctl,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		lane->depends_seen = seen;
	}
	seen->lsn = events[nevents - 1]->lsn;
	for (int i = 0; i < nevents; i++)
	{
		const ConcordEvent *event = events[i];
		ConcordEvent old_row = *event;

		if (event->relation == NULL || event->op == CONCORD_OP_RESYNC ||
			event->relation->relid != mapping->source)
			continue;
		dep_note(seen, event->lsn, concord_scan_local_key(mapping, event));
		old_row.new_image = NULL;
		if (event->new_image != NULL && event->old_image != NULL)
			dep_note(seen, event->lsn, concord_scan_local_key(mapping, &old_row));
	}
}

/* concord_depends_take gives a lane what a change of another table stands for. */
void
concord_depends_take(ConcordCourier *courier, ConcordLane *lane,
					 ConcordBatch *batch, const ConcordEvent *event)
{
	const ConcordMapping *mapping = lane->definition->mapping;
	const ConcordDepend *depend = concord_depends_find(mapping, event);
	ConcordEvent *updates[2];
	bool		unknown;
	int			n = concord_depends_expand(mapping, depend, event, updates,
										   &unknown);

	if (unknown)
		concord_lane_error(courier, lane,
						   psprintf("a change of table \"%s\" does not tell which row of table \"%s\" it belongs to: its replica identity has changed",
									event->relation->table,
									get_rel_name(mapping->source)));
	for (int i = 0; i < n; i++)
	{
		ConcordEvent *copy;

		if (updates[i]->op != CONCORD_OP_TRUNCATE &&
			!dep_note(lane->depends_seen, event->lsn,
					  concord_scan_local_key(mapping, updates[i])))
			continue;
		copy = concord_event_copy(updates[i], batch->context);
		copy->relation = concord_take_relation(courier, updates[i]->relation);
		concord_window_take(courier, lane, batch, copy);
	}
}
