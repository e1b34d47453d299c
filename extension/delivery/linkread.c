/*-------------------------------------------------------------------------
 *
 * linkread.c
 *	  Rows of concord.link_item for deliveries whose turn has come.
 *
 * Past the executor: one scan of the index, begun anew for each key.  A query
 * that joins an array of keys with the table costs three times as much.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/genam.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "catalog/pg_type.h"
#include "delivery/linkread.h"
#include "executor/tuptable.h"
#include "outbox/insert.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* concord_link_key says under which key the record is known: before the change. */
const char *
concord_link_key(const ConcordDelivery *d)
{
	return d->mapped->old_local_key ? d->mapped->old_local_key
		: d->mapped->local_key;
}

/*
 * lkd_xid gives the 64 bits of an event's transaction: events are younger than
 * two billion transactions.
 */
static uint64
lkd_xid(const ConcordEvent *event)
{
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());
	uint64		xid = (next & ~UINT64CONST(0xFFFFFFFF)) | event->xid;

	if (xid >= next && xid > UINT64CONST(0xFFFFFFFF))
		xid -= UINT64CONST(0x100000000);
	return xid;
}

/* lkd_text copies a column of text into the current context; NULL: none. */
static char *
lkd_text(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? NULL :
		TextDatumGetCString(slot->tts_values[column]);
}

/* lkd_hash takes the hash of the image over that was sent last. */
static void
lkd_hash(ConcordDelivery *d, TupleTableSlot *slot)
{
	bytea	   *bytes;

	d->link_has_hash = false;
	if (slot->tts_isnull[CONCORD_LINK_HASH])
		return;
	bytes = DatumGetByteaPP(slot->tts_values[CONCORD_LINK_HASH]);
	if (VARSIZE_ANY_EXHDR(bytes) != sizeof(d->link_hash))
		return;
	memcpy(d->link_hash, VARDATA_ANY(bytes), sizeof(d->link_hash));
	d->link_has_hash = true;
}

/* lkd_key makes the key that a delivery's link is looked for under. */
static void
lkd_key(ConcordDelivery *d)
{
	Jsonb	   *key = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
														 CStringGetDatum(concord_link_key(d))));

	d->link_key = MemoryContextAlloc(d->context, VARSIZE(key));
	memcpy(d->link_key, key, VARSIZE(key));
}

/* lkd_take copies a row into its delivery. */
static void
lkd_take(ConcordDelivery *d, TupleTableSlot *slot)
{
	Datum	   *values = slot->tts_values;
	bool	   *nulls = slot->tts_isnull;
	MemoryContext old = MemoryContextSwitchTo(d->context);

	slot_getallattrs(slot);
	d->link_stored = true;
	d->link.remote_id = lkd_text(slot, CONCORD_LINK_REMOTE_ID);
	d->link.etag = lkd_text(slot, CONCORD_LINK_ETAG);
	lkd_hash(d, slot);
	d->link_seq = DatumGetInt64(values[CONCORD_LINK_SEQ]);
	d->link.exists = DatumGetBool(values[CONCORD_LINK_PRESENT]);
	if (!nulls[CONCORD_LINK_FIELDS])
		concord_link_fields_known(d, DatumGetByteaPP(values[CONCORD_LINK_FIELDS]));
	d->link_covers = !nulls[CONCORD_LINK_COVERED] &&
		DatumGetBool(DirectFunctionCall2(pg_visible_in_snapshot,
										 UInt64GetDatum(lkd_xid(d->event)),
										 values[CONCORD_LINK_COVERED]));
	d->link_route = nulls[CONCORD_LINK_ROUTE] ? 0 :
		DatumGetInt32(values[CONCORD_LINK_ROUTE]);
	MemoryContextSwitchTo(old);
}

/*
 * concord_link_read reads the rows of n deliveries, in a transaction with an
 * active snapshot; those that have none are left as they are.
 */
void
concord_link_read(ConcordDelivery **ds, int n)
{
	Relation	rel = table_open(concord_insert_relation("link_item"),
								 AccessShareLock);
	Relation	index = index_open(concord_insert_relation("link_item_key"),
								   AccessShareLock);
	TupleTableSlot *slot = table_slot_create(rel, NULL);
	IndexScanDesc scan = concord_index_beginscan(rel, index,
												 GetActiveSnapshot(), 2);
	ConcordBatch *memory = NULL;
	ConcordLane *lane = NULL;	/* whose that is */
	ScanKeyData keys[2];

	if (RelationGetDescr(rel)->natts != CONCORD_LINK_NCOLUMNS)
		elog(ERROR, "table concord.link_item is not as it was made");
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT4EQ, (Datum) 0);
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_JSONB_EQ, (Datum) 0);
	for (int i = 0; i < n; i++)
	{
		if (ds[i]->lane != lane)
		{
			concord_batch_release(memory);
			lane = ds[i]->lane;
			memory = concord_batch_create_small(lane->memory);
		}
		if (ds[i]->context == NULL)
			concord_delivery_share(ds[i], memory);
		lkd_key(ds[i]);
		keys[0].sk_argument = Int32GetDatum(lane->id);
		keys[1].sk_argument = JsonbPGetDatum(ds[i]->link_key);
		index_rescan(scan, keys, 2, NULL, 0);
		if (index_getnext_slot(scan, ForwardScanDirection, slot))
			lkd_take(ds[i], slot);
	}
	concord_batch_release(memory);
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(rel, AccessShareLock);
}
