/*-------------------------------------------------------------------------
 *
 * lanerow.c
 *	  Rows of concord.lane, written past the executor.
 *
 * With a thousand mappings a turn has hundreds of them to write, a few of all
 * their columns each: as one UPDATE with arrays they cost four times as much.
 * A lane remembers where its row is, so that mostly no index is read, and as no
 * column of an index changes mostly none is written.
 *
 * What a lane remembers is where the index points to, the root of the row's
 * versions: reading from there finds the newest one and gives back the space of
 * those that nobody needs.  It is a hint only: the row may have moved (VACUUM
 * FULL, a new division, a transaction of ours that failed), another may be in
 * its place, so its key is looked at.
 *
 * Where somebody else is writing the row, or has given the table a trigger or
 * an index of another kind, the executor does it (book.c).
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/genam.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "delivery/lanerow.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "outbox/insert.h"
#include "storage/bufmgr.h"
#include "utils/fmgroids.h"
#include "utils/multirangetypes.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

/* lrw_plain: the table is as it was made, for all that matters here. */
static bool
lrw_plain(Relation rel)
{
	List	   *indexes = RelationGetIndexList(rel);
	bool		plain = rel->trigdesc == NULL;
	ListCell   *lc;

	if (RelationGetDescr(rel)->natts != CONCORD_LANE_NCOLUMNS)
		elog(ERROR, "table concord.lane is not as it was made");
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;

		/* one more may have a predicate, or what changes with each row */
		plain &= index->rd_rel->relam == BTREE_AM_OID && form->indnatts == 2 &&
			form->indkey.values[0] == CONCORD_LANE_MAPPING + 1 &&
			form->indkey.values[1] == CONCORD_LANE_SHARE + 1 &&
			RelationGetIndexPredicate(index) == NIL;
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return plain;
}

/* lrw_begin opens the table. */
static void
lrw_begin(ConcordLaneRows *rows)
{
	if (rows->rel != NULL)
		return;
	rows->rel = table_open(concord_insert_relation("lane"), RowExclusiveLock);
	rows->plain = lrw_plain(rows->rel);
	rows->nblocks = RelationGetNumberOfBlocks(rows->rel);
	rows->old = table_slot_create(rows->rel, NULL);
	rows->new = table_slot_create(rows->rel, NULL);
	rows->fetch = concord_index_fetch_begin(rows->rel);
}

void
concord_lane_rows_end(ConcordLaneRows *rows)
{
	if (rows->rel == NULL)
		return;
	if (rows->scan != NULL)
		index_endscan(rows->scan);
	if (rows->index != NULL)
		index_close(rows->index, NoLock);
	table_index_fetch_end(rows->fetch);
	ExecDropSingleTupleTableSlot(rows->old);
	ExecDropSingleTupleTableSlot(rows->new);
	table_close(rows->rel, NoLock);
	rows->rel = NULL;
}

/* lrw_remembered reads a lane's row where it was last. */
static bool
lrw_remembered(ConcordLaneRows *rows, const ConcordLane *lane)
{
	ItemPointerData tid = lane->row;
	bool		again = false;

	if (!ItemPointerIsValid(&tid) ||
		ItemPointerGetBlockNumber(&tid) >= rows->nblocks ||
		!table_index_fetch_tuple(rows->fetch, &tid, GetActiveSnapshot(),
								 rows->old, &again, NULL))
		return false;
	slot_getallattrs(rows->old);
	return DatumGetInt32(rows->old->tts_values[CONCORD_LANE_MAPPING]) == lane->id &&
		DatumGetInt32(rows->old->tts_values[CONCORD_LANE_SHARE]) == lane->share;
}

/* lrw_find reads it by its key, and remembers where it is. */
static bool
lrw_find(ConcordLaneRows *rows, ConcordLane *lane)
{
	ScanKeyData keys[2];

	if (rows->scan == NULL)
	{
		rows->index = index_open(concord_primary_key(rows->rel), RowExclusiveLock);
		rows->scan = concord_index_beginscan(rows->rel, rows->index,
											 GetActiveSnapshot(), 2);
	}
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(lane->id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(lane->share));
	index_rescan(rows->scan, keys, 2, NULL, 0);
	if (!index_getnext_slot(rows->scan, ForwardScanDirection, rows->old))
		return false;
	lane->row = rows->scan->xs_heaptid;
	slot_getallattrs(rows->old);
	return true;
}

/* lrw_enter makes the index entries of a version that has a place of its own. */
static void
lrw_enter(ConcordLaneRows *rows)
{
	List	   *indexes = RelationGetIndexList(rows->rel);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), RowExclusiveLock);
		IndexInfo  *info = BuildIndexInfo(index);
		Datum		values[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS];

		/* one that is being made concurrently takes its rows later */
		if (index->rd_index->indisready)
		{
			FormIndexDatum(info, rows->new, NULL, values, nulls);
			(void) index_insert(index, values, nulls, &rows->new->tts_tid,
								rows->rel, info->ii_Unique ?
								UNIQUE_CHECK_YES : UNIQUE_CHECK_NO, true, info);
			concord_index_insert_end(index, info);
		}
		index_close(index, NoLock);
	}
	list_free(indexes);
}

/* lrw_update stores rows->new as the next version of rows->old. */
static bool
lrw_update(ConcordLaneRows *rows, ConcordLane *lane)
{
	TM_FailureData failure;
	LockTupleMode mode;
	ConcordUpdateIndexes indexes;

	if (concord_tuple_update(rows->rel, &rows->old->tts_tid, rows->new,
							 GetActiveSnapshot(), &failure, &mode,
							 &indexes) != TM_Ok)
		return false;
	if (concord_update_moved(indexes))
	{
		lane->row = rows->new->tts_tid;
		lrw_enter(rows);
	}
	return true;
}

/* concord_lane_row_write updates a lane's row. */
bool
concord_lane_row_write(ConcordLaneRows *rows, ConcordLane *lane,
					   void (*change) (ConcordLane *lane, Datum *values,
									   bool *nulls, void *arg),
					   void *arg)
{
	TupleTableSlot *new;
	bool		written;

	lrw_begin(rows);
	if (!rows->plain)
		return false;
	if (!lrw_remembered(rows, lane) && !lrw_find(rows, lane))
		return true;

	new = ExecClearTuple(rows->new);
	memcpy(new->tts_values, rows->old->tts_values,
		   sizeof(Datum) * CONCORD_LANE_NCOLUMNS);
	memcpy(new->tts_isnull, rows->old->tts_isnull,
		   sizeof(bool) * CONCORD_LANE_NCOLUMNS);
	change(lane, new->tts_values, new->tts_isnull, arg);
	ExecStoreVirtualTuple(new);
	written = lrw_update(rows, lane);
	ExecClearTuple(new);
	return written;
}

/*
 * concord_lane_row_done sets column done to an int8multirange's text, unless
 * both are empty, as they mostly are.
 */
void
concord_lane_row_done(Datum *values, const char *text)
{
	if (text[1] == '}' &&
		MultirangeIsEmpty(DatumGetMultirangeTypeP(values[CONCORD_LANE_DONE])))
		return;
	values[CONCORD_LANE_DONE] = OidInputFunctionCall(F_MULTIRANGE_IN,
													 unconstify(char *, text),
													 INT8MULTIRANGEOID, -1);
}
