/*-------------------------------------------------------------------------
 *
 * read.c
 *	  Read events from the outbox in order.
 *
 * A chunk is found by its last seq: the first row beyond the position holds
 * the next event.  Where the current table of the ring ends, the next one is
 * looked up; a table that was truncated meanwhile had been left by all lanes,
 * and a reader that still stood there (a query) goes on with the oldest kept.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "outbox/chunk.h"
#include "outbox/read.h"
#include "outbox/relation.h"
#include "outbox/tables.h"
#include "utils/array.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

struct ConcordOutboxReader
{
	MemoryContext context;		/* of the reader and its caches */
	MemoryContext batch;		/* of what the last read returned */
	int64		position;		/* everything up to here was returned */
	Oid		   *sources;		/* sorted; NULL: all */
	int			nsources;
	HTAB	   *relations;		/* id -> RdrRelation */
	int32		epoch;			/* of event ids; -1: not read yet */
};

typedef struct RdrRelation
{
	int32		id;
	ConcordRelation *relation;
} RdrRelation;

/* A read in progress. */
typedef struct RdrRead
{
	ConcordEvent *events;
	int			nevents;
	int			max_events;
	int			allocated;
	Size		bytes;
	Size		max_bytes;
	int64		read_up_to;
} RdrRead;

static int
rdr_compare_oid(const void *a, const void *b)
{
	Oid			x = *(const Oid *) a;
	Oid			y = *(const Oid *) b;

	return x < y ? -1 : (x > y ? 1 : 0);
}

/* concord_outbox_open makes a reader that starts after seq. */
ConcordOutboxReader *
concord_outbox_open(MemoryContext context, int64 after_seq,
					const Oid *sources, int nsources)
{
	MemoryContext mine = AllocSetContextCreate(context, "concord outbox reader",
											   ALLOCSET_SMALL_SIZES);
	ConcordOutboxReader *reader = MemoryContextAllocZero(mine, sizeof(ConcordOutboxReader));
	HASHCTL		ctl = {.keysize = sizeof(int32),
	.entrysize = sizeof(RdrRelation),.hcxt = mine};

	reader->context = mine;
	reader->batch = AllocSetContextCreate(mine, "concord outbox batch",
										  ALLOCSET_DEFAULT_SIZES);
	reader->position = after_seq;
	reader->epoch = -1;
	if (sources != NULL)
	{
		reader->sources = MemoryContextAlloc(mine, sizeof(Oid) * Max(nsources, 1));
		memcpy(reader->sources, sources, sizeof(Oid) * nsources);
		reader->nsources = nsources;
		qsort(reader->sources, nsources, sizeof(Oid), rdr_compare_oid);
	}
	reader->relations = hash_create("concord relation versions", 64, &ctl,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return reader;
}

void
concord_outbox_close(ConcordOutboxReader *reader)
{
	MemoryContextDelete(reader->context);
}

void
concord_outbox_seek(ConcordOutboxReader *reader, int64 after_seq)
{
	reader->position = after_seq;
}

/* rdr_wants says whether events of a source are wanted. */
static bool
rdr_wants(ConcordOutboxReader *reader, Oid source)
{
	if (reader->sources == NULL)
		return true;
	return bsearch(&source, reader->sources, reader->nsources, sizeof(Oid),
				   rdr_compare_oid) != NULL;
}

/* rdr_wants_chunk says whether a chunk with these sources has to be unpacked. */
static bool
rdr_wants_chunk(ConcordOutboxReader *reader, Datum sources)
{
	ArrayType  *array;
	Oid		   *oids;

	if (reader->sources == NULL)
		return true;
	array = DatumGetArrayTypeP(sources);
	oids = (Oid *) ARR_DATA_PTR(array);
	if (ARR_NDIM(array) != 1 || ARR_HASNULL(array) ||
		ARR_ELEMTYPE(array) != OIDOID)
		return true;
	for (int i = 0; i < ARR_DIMS(array)[0]; i++)
	{
		if (rdr_wants(reader, oids[i]))
			return true;
	}
	return false;
}

/* rdr_read_epoch reads the number that makes event ids this database's own. */
static int32
rdr_read_epoch(void)
{
	Relation	rel = table_open(concord_outbox_table("identity"), AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false,
										  GetActiveSnapshot(), 0, NULL);
	HeapTuple	tuple = systable_getnext(scan);
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), "epoch");
	int32		epoch = 0;
	bool		isnull;

	if (HeapTupleIsValid(tuple) && attnum != InvalidAttrNumber)
		epoch = DatumGetInt32(heap_getattr(tuple, attnum, RelationGetDescr(rel),
										   &isnull));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return epoch;
}

/* concord_outbox_relation fetches a stored definition by its id (cached). */
const ConcordRelation *
concord_outbox_relation(ConcordOutboxReader *reader, int32 id)
{
	RdrRelation *entry = hash_search(reader->relations, &id, HASH_FIND, NULL);
	ConcordRelation *relation;

	if (entry != NULL)
		return entry->relation;
	relation = concord_relation_load(id, reader->context);
	entry = hash_search(reader->relations, &id, HASH_ENTER, NULL);
	entry->relation = relation;
	return relation;
}

/* rdr_add appends a wanted event to what the read returns. */
static void
rdr_add(ConcordOutboxReader *reader, RdrRead *read, const ConcordEvent *event)
{
	if (read->nevents == read->allocated)
	{
		read->allocated = Min(Max(read->allocated * 2, 64), read->max_events);
		read->events = read->events == NULL ?
			MemoryContextAllocHuge(reader->batch,
								   sizeof(ConcordEvent) * read->allocated) :
			repalloc_huge(read->events, sizeof(ConcordEvent) * read->allocated);
	}
	read->events[read->nevents++] = *event;
	read->bytes += event->old_len + event->new_len;
	if (event->payload)
		read->bytes += strlen(event->payload);
}

static inline bool
rdr_full(const RdrRead *read)
{
	return read->nevents >= read->max_events || read->bytes >= read->max_bytes;
}

/*
 * rdr_unpack returns the wanted events of a chunk beyond the position; false
 * where the read is full.
 */
static bool
rdr_unpack(ConcordOutboxReader *reader, RdrRead *read, Datum data, int64 seq,
		   int64 last_seq)
{
	MemoryContext old = MemoryContextSwitchTo(reader->batch);
	struct varlena *raw = PG_DETOAST_DATUM_COPY(data);
	ConcordChunkReader chunk;
	ConcordEvent event;
	bool		more = true;

	concord_chunk_open(&chunk, VARDATA_ANY(raw), VARSIZE_ANY_EXHDR(raw), seq,
					   last_seq);
	while (concord_chunk_next(&chunk, &event))
	{
		if (event.seq <= reader->position)
			continue;
		if (rdr_full(read))
		{
			more = false;
			break;
		}
		if (chunk.relation_version != 0)
		{
			event.relation = concord_outbox_relation(reader, chunk.relation_version);
			concord_event_uuid(reader->epoch, event.lsn, event.ordinal, &event.id);
		}
		if (rdr_wants(reader, event.relation ? event.relation->relid : InvalidOid))
			rdr_add(reader, read, &event);
		read->read_up_to = event.seq;
	}
	MemoryContextSwitchTo(old);
	return more;
}

/* rdr_context names the chunk in messages about it. */
static void
rdr_context(void *arg)
{
	errcontext("outbox chunk that ends with seq " INT64_FORMAT, *(int64 *) arg);
}

/* rdr_scan reads one table of the ring; false where the read is full. */
static bool
rdr_scan(ConcordOutboxReader *reader, RdrRead *read, Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	Relation	index = index_open(concord_primary_key(rel), AccessShareLock);
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	bool		more = true;

	ScanKeyInit(&key, CONCORD_OUTBOX_LAST_SEQ, BTGreaterStrategyNumber, F_INT8GT,
				Int64GetDatum(read->read_up_to));
	scan = systable_beginscan_ordered(rel, index, GetActiveSnapshot(), 1, &key);
	while (more && !rdr_full(read) &&
		   (tuple = systable_getnext_ordered(scan, ForwardScanDirection)) != NULL)
	{
		Datum		values[CONCORD_OUTBOX_NCOLUMNS];
		bool		nulls[CONCORD_OUTBOX_NCOLUMNS];
		int64		last_seq;
		ErrorContextCallback callback;

		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		last_seq = DatumGetInt64(values[CONCORD_OUTBOX_LAST_SEQ - 1]);
		callback.callback = rdr_context;
		callback.arg = &last_seq;
		callback.previous = error_context_stack;
		error_context_stack = &callback;
		if (!rdr_wants_chunk(reader, values[CONCORD_OUTBOX_SOURCES - 1]))
			read->read_up_to = last_seq;
		else
			more = rdr_unpack(reader, read, values[CONCORD_OUTBOX_DATA - 1],
							  DatumGetInt64(values[CONCORD_OUTBOX_SEQ - 1]),
							  last_seq);
		error_context_stack = callback.previous;
		CHECK_FOR_INTERRUPTS();
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
	return more && !rdr_full(read);
}

/* concord_outbox_read returns the next events. */
ConcordEvent *
concord_outbox_read(ConcordOutboxReader *reader, int max_events,
					Size max_bytes, int *nevents, int64 *read_up_to)
{
	ConcordRingSlot ring[CONCORD_RING_SIZE];
	RdrRead		read = {.max_events = max_events,.max_bytes = Max(max_bytes, 1),
	.read_up_to = reader->position};
	int			used = concord_outbox_ring(ring);

	MemoryContextReset(reader->batch);
	if (reader->epoch < 0)
		reader->epoch = rdr_read_epoch();
	for (int i = 0; i < used; i++)
	{
		if (ring[i].state == 'c' && ring[i].last_seq <= read.read_up_to)
			continue;
		if (!rdr_scan(reader, &read, concord_outbox_ring_table(ring[i].slot)))
			break;
	}
	reader->position = read.read_up_to;
	*nevents = read.nevents;
	*read_up_to = read.read_up_to;
	return read.events;
}

/* concord_outbox_last_seq returns the last committed seq, 0 where none is. */
int64
concord_outbox_last_seq(void)
{
	Relation	rel = table_open(concord_outbox_table("capture_state"),
								 AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false,
										  GetActiveSnapshot(), 0, NULL);
	HeapTuple	tuple = systable_getnext(scan);
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), "last_seq");
	int64		last_seq = 0;
	bool		isnull;

	if (HeapTupleIsValid(tuple) && attnum != InvalidAttrNumber)
		last_seq = DatumGetInt64(heap_getattr(tuple, attnum,
											  RelationGetDescr(rel), &isnull));
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return last_seq;
}

/* concord_outbox_first_seq returns the oldest seq that is still kept. */
int64
concord_outbox_first_seq(void)
{
	ConcordRingSlot ring[CONCORD_RING_SIZE];

	return concord_outbox_ring(ring) > 0 ? ring[0].first_seq : 1;
}
