/*-------------------------------------------------------------------------
 *
 * links.c
 *	  Links of records: read past the executor, written when a batch ends.
 *
 * A courier may have written a link since it was read.  Then the batch is
 * begun anew: what was decided rests on it.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "access/genam.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "delivery/linkread.h"
#include "executor/tuptable.h"
#include "outbox/insert.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* A scan of concord.link_item by one of its indexes. */
typedef struct LnkScan
{
	Relation	rel;
	Relation	index;
	TupleTableSlot *slot;
	IndexScanDesc scan;
	ScanKeyData keys[2];
} LnkScan;

/* lnk_open begins; the second key's equality is proc. */
static void
lnk_open(LnkScan *scan, const char *index, RegProcedure proc, Oid collation)
{
	scan->rel = table_open(concord_insert_relation("link_item"), AccessShareLock);
	scan->index = index_open(concord_insert_relation(index), AccessShareLock);
	if (RelationGetDescr(scan->rel)->natts != CONCORD_LINK_NCOLUMNS)
		elog(ERROR, "table concord.link_item is not as it was made");
	scan->slot = table_slot_create(scan->rel, NULL);
	PushActiveSnapshot(GetLatestSnapshot());
	scan->scan = concord_index_beginscan(scan->rel, scan->index,
										 GetActiveSnapshot(), 2);
	ScanKeyInit(&scan->keys[0], 1, BTEqualStrategyNumber, F_INT4EQ, (Datum) 0);
	ScanKeyEntryInitialize(&scan->keys[1], 0, 2, BTEqualStrategyNumber,
						   InvalidOid, collation, proc, (Datum) 0);
}

/* lnk_next looks for a link; false: there is none. */
static bool
lnk_next(LnkScan *scan, int32 mapping, Datum value)
{
	scan->keys[0].sk_argument = Int32GetDatum(mapping);
	scan->keys[1].sk_argument = value;
	index_rescan(scan->scan, scan->keys, 2, NULL, 0);
	if (!index_getnext_slot(scan->scan, ForwardScanDirection, scan->slot))
		return false;
	slot_getallattrs(scan->slot);
	return true;
}

static void
lnk_close(LnkScan *scan)
{
	index_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
	index_close(scan->index, AccessShareLock);
	table_close(scan->rel, AccessShareLock);
	PopActiveSnapshot();
}

/* lnk_text copies a text; NULL: none. */
static char *
lnk_text(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? NULL :
		TextDatumGetCString(slot->tts_values[column]);
}

/* lnk_take copies a row. */
static void
lnk_take(InbLink *link, TupleTableSlot *slot)
{
	Datum	   *values = slot->tts_values;
	bool	   *nulls = slot->tts_isnull;

	link->stored = true;
	link->local_key = DatumGetJsonbPCopy(values[CONCORD_LINK_LOCAL_KEY]);
	link->remote_id = lnk_text(slot, CONCORD_LINK_REMOTE_ID);
	link->etag = lnk_text(slot, CONCORD_LINK_ETAG);
	link->has_hash = false;
	if (!nulls[CONCORD_LINK_HASH])
	{
		bytea	   *bytes = DatumGetByteaPP(values[CONCORD_LINK_HASH]);

		link->has_hash = VARSIZE_ANY_EXHDR(bytes) == sizeof(link->hash);
		if (link->has_hash)
			memcpy(link->hash, VARDATA_ANY(bytes), sizeof(link->hash));
	}
	link->seq = DatumGetInt64(values[CONCORD_LINK_SEQ]);
	link->present = DatumGetBool(values[CONCORD_LINK_PRESENT]);
	link->changed_at = DatumGetTimestampTz(values[CONCORD_LINK_CHANGED_AT]);
	link->has_remote_changed = !nulls[CONCORD_LINK_REMOTE_CHANGED];
	if (link->has_remote_changed)
		link->remote_changed = DatumGetTimestampTz(values[CONCORD_LINK_REMOTE_CHANGED]);
	link->base = nulls[CONCORD_LINK_BASE] ? NULL :
		DatumGetJsonbPCopy(values[CONCORD_LINK_BASE]);
}

/* concord_inbound_links_by_key reads the links of records whose row is known. */
void
concord_inbound_links_by_key(ConcordInbound *inbound, InbItem **items, int n)
{
	LnkScan		scan;

	lnk_open(&scan, "link_item_key", F_JSONB_EQ, InvalidOid);
	for (int i = 0; i < n; i++)
	{
		if (!items[i]->link.stored && items[i]->local_key != NULL &&
			lnk_next(&scan, inbound->mapping->id, JsonbPGetDatum(items[i]->local_key)))
			lnk_take(&items[i]->link, scan.slot);
	}
	lnk_close(&scan);
}

/* concord_inbound_links_by_id reads the links of ids that a system gave. */
void
concord_inbound_links_by_id(ConcordInbound *inbound, InbItem **items, int n)
{
	LnkScan		scan;

	lnk_open(&scan, "link_item_assigned", F_TEXTEQ, DEFAULT_COLLATION_OID);
	for (int i = 0; i < n; i++)
	{
		InbItem    *item = items[i];

		if (item->remote_id == NULL ||
			!lnk_next(&scan, inbound->mapping->id, CStringGetTextDatum(item->remote_id)))
			continue;
		do
		{
			slot_getallattrs(scan.slot);
			if (DatumGetBool(scan.slot->tts_values[CONCORD_LINK_PRESENT]))
			{
				lnk_take(&item->link, scan.slot);
				item->by_link = true;
				break;
			}
		} while (index_getnext_slot(scan.scan, ForwardScanDirection, scan.slot));
	}
	lnk_close(&scan);
}

/* lnk_hash makes a value of a hash. */
static Datum
lnk_hash(const uint8 *hash, Size len)
{
	bytea	   *bytes = palloc(VARHDRSZ + len);

	SET_VARSIZE(bytes, VARHDRSZ + len);
	memcpy(VARDATA(bytes), hash, len);
	return PointerGetDatum(bytes);
}

/* A link as it is to be. */
typedef struct LnkRow
{
	Datum		values[CONCORD_LINK_NCOLUMNS];
	bool		nulls[CONCORD_LINK_NCOLUMNS];
} LnkRow;

/* lnk_put sets a column. */
static void
lnk_put(LnkRow *row, int column, Datum value, bool isnull)
{
	row->values[column] = value;
	row->nulls[column] = isnull;
}

static void
lnk_put_text(LnkRow *row, int column, const char *text)
{
	lnk_put(row, column, text ? CStringGetTextDatum(text) : (Datum) 0, text == NULL);
}

/* lnk_row makes the row of a record's link. */
static void
lnk_row(ConcordInbound *inbound, InbItem *item, LnkRow *row)
{
	const ConcordInboundRecord *record = item->record;
	const InbLink *link = &item->link;
	const char *remote_id = item->remote_id != NULL ? item->remote_id : link->remote_id;
	bool		present = !item->unlink;
	TimestampTz changed = record->remote_changed != 0 ? record->remote_changed :
		link->remote_changed;

	memset(row->nulls, true, sizeof(row->nulls));
	lnk_put(row, CONCORD_LINK_MAPPING, Int32GetDatum(inbound->mapping->id), false);
	lnk_put(row, CONCORD_LINK_LOCAL_KEY, JsonbPGetDatum(item->local_key), false);
	lnk_put_text(row, CONCORD_LINK_REMOTE_ID, remote_id);
	if (present)
		lnk_put_text(row, CONCORD_LINK_ETAG,
					 record->etag != NULL ? record->etag : link->etag);
	if (present && item->set_hash)
		lnk_put(row, CONCORD_LINK_HASH, lnk_hash(item->new_hash, sizeof(item->new_hash)), false);
	else if (present && item->keep_hash && link->has_hash)
		lnk_put(row, CONCORD_LINK_HASH, lnk_hash(link->hash, sizeof(link->hash)), false);
	lnk_put(row, CONCORD_LINK_SEQ, Int64GetDatum(link->seq), false);
	lnk_put(row, CONCORD_LINK_PRESENT, BoolGetDatum(present), false);
	lnk_put(row, CONCORD_LINK_CHANGED_AT,
			TimestampTzGetDatum(link->stored ? link->changed_at : GetCurrentTimestamp()), false);
	lnk_put(row, CONCORD_LINK_ASSIGNED,
			BoolGetDatum(inbound->assigned && remote_id != NULL), false);
	if (item->covers)
		lnk_put(row, CONCORD_LINK_COVERED,
				DirectFunctionCall1(pg_current_snapshot, (Datum) 0), false);
	if (present && item->base != NULL)
		lnk_put(row, CONCORD_LINK_BASE, JsonbPGetDatum(item->base), false);
	lnk_put(row, CONCORD_LINK_REMOTE_CHANGED, TimestampTzGetDatum(changed), changed == 0);
}

/* lnk_taken: somebody has made or changed a link meanwhile. */
static void
lnk_taken(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("a link has been written meanwhile")));
}

/* lnk_update changes rows that were there, unless they are others now. */
static void
lnk_update(TupleDesc desc, Tuplestorestate *rows, int n)
{
	static SPIPlanPtr plan = NULL;
	ConcordCatalogScope scope;

	concord_catalog_enter(&scope);
	if (plan == NULL)
		plan = concord_inbound_prepare(desc,
									   "UPDATE concord.link_item i SET remote_id = r.remote_id, etag = r.etag,"
									   " hash = r.hash, present = r.present, assigned = r.assigned,"
									   " covered = coalesce(r.covered, i.covered), base = r.base,"
									   " fields = CASE WHEN i.hash IS NOT DISTINCT FROM r.hash THEN i.fields END,"
									   " remote_changed = r.remote_changed"
									   " FROM \"concord.records\" r"
									   " WHERE i.mapping = r.mapping AND i.local_key = r.local_key"
									   " AND i.seq = r.seq AND i.changed_at = r.changed_at");
	concord_inbound_run(plan, desc, rows, false);
	if (SPI_processed != n)
		lnk_taken();
	concord_catalog_leave(&scope);
}

/* lnk_store adds a new row. */
static void
lnk_store(ConcordInsert *insert, const LnkRow *row)
{
	TupleTableSlot *slot = concord_insert_slot(insert);

	memcpy(slot->tts_values, row->values, sizeof(row->values));
	memcpy(slot->tts_isnull, row->nulls, sizeof(row->nulls));
	ExecStoreVirtualTuple(slot);
}

/* lnk_flush writes them. */
static void
lnk_flush(ConcordInsert *insert)
{
	bool		taken[CONCORD_INSERT_ROWS];
	int			n = insert->n;

	concord_insert_flush(insert, taken);
	for (int i = 0; i < n; i++)
		if (taken[i])
			lnk_taken();
}

/* concord_inbound_links_write writes the links of records that a batch has applied. */
void
concord_inbound_links_write(ConcordInbound *inbound, InbItem **items, int n)
{
	ConcordInsert insert = {0};
	Tuplestorestate *changed = NULL;
	TupleDesc	desc = NULL;
	int			nchanged = 0;

	for (int i = 0; i < n; i++)
	{
		InbItem    *item = items[i];
		LnkRow		row;

		if (!item->relink || item->local_key == NULL || (item->unlink && !item->link.stored))
			continue;
		lnk_row(inbound, item, &row);
		if (insert.rel == NULL)
		{
			concord_insert_open(&insert, concord_insert_relation("link_item"),
								CONCORD_LINK_NCOLUMNS);
			desc = RelationGetDescr(insert.rel);
		}
		if (item->link.stored)
		{
			if (changed == NULL)
				changed = tuplestore_begin_heap(false, false, work_mem);
			tuplestore_putvalues(changed, desc, row.values, row.nulls);
			nchanged++;
			continue;
		}
		if (insert.n == CONCORD_INSERT_ROWS)
			lnk_flush(&insert);
		lnk_store(&insert, &row);
	}
	if (insert.rel == NULL)
		return;
	lnk_flush(&insert);
	if (nchanged > 0)
		lnk_update(desc, changed, nchanged);
	concord_insert_close(&insert);
}
