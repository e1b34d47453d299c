/*-------------------------------------------------------------------------
 *
 * insert.c
 *	  Rows that go in past the executor.
 *
 * Chunks go to the outbox, a row for each delivery to the log, and one for
 * each new record to the links: with table_multi_insert and an index entry each
 * they cost a quarter to a half of an INSERT of the same batch.  For our own
 * tables only: no triggers, constraints or defaults are looked at.  But all
 * indexes are: one may be somebody's own, or about to take the place of ours
 * (REINDEX CONCURRENTLY).
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/brin_internal.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "catalog/pg_type.h"
#include "outbox/insert.h"
#include "executor/executor.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* concord_insert_relation returns the OID of one of our relations. */
Oid
concord_insert_relation(const char *name)
{
	Oid			relid = get_relname_relid(name,
										  get_namespace_oid("concord", false));

	if (!OidIsValid(relid))
		elog(ERROR, "relation concord.%s does not exist", name);
	return relid;
}

/* ins_predicate makes the predicate of a partial index ready. */
static ExprState *
ins_predicate(ConcordInsert *insert, const IndexInfo *info)
{
	if (info->ii_Predicate == NIL)
		return NULL;
	if (insert->estate == NULL)
		insert->estate = CreateExecutorState();
	return ExecPrepareQual(info->ii_Predicate, insert->estate);
}

/*
 * ins_sums: an index keeps no more of a block than bounds of integers.  One that
 * somebody has made beside ours may keep more (bloom, several intervals).
 */
static bool
ins_sums(Relation index, const IndexInfo *info)
{
	if (index->rd_rel->relam != BRIN_AM_OID || info->ii_Predicate != NIL)
		return false;
	for (int i = 0; i < info->ii_NumIndexKeyAttrs; i++)
	{
		if (info->ii_IndexAttrNumbers[i] <= 0 ||
			index_getprocid(index, i + 1, BRIN_PROCNUM_OPCINFO) != F_BRIN_MINMAX_OPCINFO ||
			(TupleDescAttr(RelationGetDescr(index), i)->atttypid != INT8OID &&
			 TupleDescAttr(RelationGetDescr(index), i)->atttypid != TIMESTAMPTZOID))
			return false;
	}
	return true;
}

/* concord_insert_open opens one of our tables, which has so many columns. */
void
concord_insert_open(ConcordInsert *insert, Oid relid, int ncolumns)
{
	List	   *indexes;
	ListCell   *lc;

	memset(insert, 0, sizeof(ConcordInsert));
	insert->rel = table_open(relid, RowExclusiveLock);
	indexes = RelationGetIndexList(insert->rel);
	if (RelationGetDescr(insert->rel)->natts != ncolumns)
		elog(ERROR, "table concord.%s is not as it was made",
			 RelationGetRelationName(insert->rel));
	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), RowExclusiveLock);

		/* one that is being made concurrently takes its rows later */
		if (!index->rd_index->indisready)
		{
			index_close(index, NoLock);
			continue;
		}
		if (insert->nindexes == CONCORD_INSERT_INDEXES)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("table concord.%s has more than %d indexes",
							RelationGetRelationName(insert->rel),
							CONCORD_INSERT_INDEXES),
					 errhint("Drop those that are not the extension's.")));
		insert->indexes[insert->nindexes] = index;
		insert->infos[insert->nindexes] = BuildIndexInfo(index);
		insert->predicates[insert->nindexes] =
			ins_predicate(insert, insert->infos[insert->nindexes]);
		insert->sums[insert->nindexes] =
			ins_sums(index, insert->infos[insert->nindexes]);
		insert->nindexes++;
	}
	insert->bistate = GetBulkInsertState();
}

/*
 * concord_insert_slot gives a slot for the next row: the caller sets all values
 * and stores them.  The caller flushes after CONCORD_INSERT_ROWS.
 */
TupleTableSlot *
concord_insert_slot(ConcordInsert *insert)
{
	TupleTableSlot *slot;

	Assert(insert->n < CONCORD_INSERT_ROWS);
	if (insert->n == insert->nslots)
		insert->slots[insert->nslots++] =
			MakeSingleTupleTableSlot(RelationGetDescr(insert->rel),
									 table_slot_callbacks(insert->rel));
	slot = insert->slots[insert->n++];
	memset(slot->tts_isnull, 0,
		   sizeof(bool) * slot->tts_tupleDescriptor->natts);
	return slot;
}

/* ins_wanted: a row belongs into the i-th index. */
static bool
ins_wanted(ConcordInsert *insert, int i, TupleTableSlot *slot)
{
	ExprContext *context;

	if (insert->predicates[i] == NULL)
		return true;
	context = GetPerTupleExprContext(insert->estate);
	ResetExprContext(context);
	context->ecxt_scantuple = slot;
	return ExecQual(insert->predicates[i], context);
}

/*
 * ins_bounds tells such an index of the rows that have gathered, block by
 * block: the least and the greatest of each column stand for all of them.
 */
static void
ins_bounds(ConcordInsert *insert, int i)
{
	IndexInfo  *info = insert->infos[i];
	int			ncolumns = info->ii_NumIndexKeyAttrs;
	Datum		low[INDEX_MAX_KEYS];
	Datum		high[INDEX_MAX_KEYS];
	bool		nulls[INDEX_MAX_KEYS] = {false};

	for (int from = 0, to; from < insert->n; from = to)
	{
		ItemPointer tid = &insert->slots[from]->tts_tid;

		for (to = from; to < insert->n &&
			 ItemPointerGetBlockNumber(&insert->slots[to]->tts_tid) ==
			 ItemPointerGetBlockNumber(tid); to++)
		{
			for (int k = 0; k < ncolumns; k++)
			{
				bool		isnull;
				Datum		value = slot_getattr(insert->slots[to],
												 info->ii_IndexAttrNumbers[k],
												 &isnull);

				Assert(!isnull);
				if (to == from || DatumGetInt64(value) < DatumGetInt64(low[k]))
					low[k] = value;
				if (to == from || DatumGetInt64(value) > DatumGetInt64(high[k]))
					high[k] = value;
			}
		}
		(void) index_insert(insert->indexes[i], low, nulls, tid, insert->rel,
							UNIQUE_CHECK_NO, false, info);
		(void) index_insert(insert->indexes[i], high, nulls, tid, insert->rel,
							UNIQUE_CHECK_NO, false, info);
	}
}

/* ins_index makes a row's index entries; true where its key was taken. */
static bool
ins_index(ConcordInsert *insert, TupleTableSlot *slot)
{
	bool		taken = false;

	for (int i = 0; i < insert->nindexes; i++)
	{
		IndexInfo  *info = insert->infos[i];
		Datum		values[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS];

		if (insert->sums[i] || !ins_wanted(insert, i, slot))
			continue;
		FormIndexDatum(info, slot, NULL, values, nulls);
		if (!index_insert(insert->indexes[i], values, nulls, &slot->tts_tid,
						  insert->rel, info->ii_Unique ?
						  UNIQUE_CHECK_PARTIAL : UNIQUE_CHECK_NO, false, info) &&
			info->ii_Unique)
			taken = true;
	}
	return taken;
}

/*
 * concord_insert_flush stores the rows that have gathered.  A row whose key
 * is in the table already is taken out again, and taken says so.
 */
void
concord_insert_flush(ConcordInsert *insert, bool *taken)
{
	bool		any = false;

	if (insert->n == 0)
		return;
	table_multi_insert(insert->rel, insert->slots, insert->n,
					   GetCurrentCommandId(true), 0, insert->bistate);
	for (int i = 0; i < insert->n; i++)
	{
		bool		found = ins_index(insert, insert->slots[i]);

		if (taken != NULL)
			taken[i] = found;
		any |= found;
	}
	for (int i = 0; i < insert->nindexes; i++)
	{
		if (insert->sums[i])
			ins_bounds(insert, i);
	}
	if (any && taken == NULL)
		elog(ERROR, "a key of table concord.%s is there twice",
			 RelationGetRelationName(insert->rel));
	if (any)
		CommandCounterIncrement();
	for (int i = 0; any && i < insert->n; i++)
	{
		if (taken[i])
			simple_heap_delete(insert->rel, &insert->slots[i]->tts_tid);
	}
	for (int i = 0; i < insert->n; i++)
		ExecClearTuple(insert->slots[i]);
	insert->n = 0;
}

/* concord_insert_close ends the writing; everything is flushed. */
void
concord_insert_close(ConcordInsert *insert)
{
	Assert(insert->n == 0);
	for (int i = 0; i < insert->nindexes; i++)
	{
		concord_index_insert_end(insert->indexes[i], insert->infos[i]);
		index_close(insert->indexes[i], NoLock);
	}
	if (insert->estate != NULL)
		FreeExecutorState(insert->estate);
	table_finish_bulk_insert(insert->rel, 0);
	for (int i = 0; i < insert->nslots; i++)
		ExecDropSingleTupleTableSlot(insert->slots[i]);
	FreeBulkInsertState(insert->bistate);
	table_close(insert->rel, NoLock);
	insert->rel = NULL;
}
