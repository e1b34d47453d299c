/*-------------------------------------------------------------------------
 *
 * reconcile_sort.c
 *	  Rows and records of both sides, sorted so that what belongs together is
 *	  side by side.
 *
 * Of each only hashes are kept, 8 bytes for a field; what does not fit into
 * work_mem goes to disk.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/reconcile.h"

#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/typcache.h"

enum
{
	SRT_IDENTITY, SRT_REMOTE, SRT_AT, SRT_VALUES, SRT_KEY, SRT_ID, SRT_EXPECT, SRT_PROBLEM, SRT_COLUMNS
};

/* srt_less gives the operator that a type is sorted by. */
static Oid
srt_less(Oid type)
{
	return lookup_type_cache(type, TYPECACHE_LT_OPR)->lt_opr;
}

/* concord_reconcile_sort_begin gets ready. */
void
concord_reconcile_sort_begin(Reconcile *reconcile)
{
	static const struct
	{
		const char *name;
		Oid			type;
	}			columns[SRT_COLUMNS] = {
		{"identity", UUIDOID}, {"remote", INT2OID}, {"at", INT8OID}, {"values", BYTEAOID},
		{"key", TEXTOID}, {"id", TEXTOID}, {"expect", INT2OID}, {"problem", TEXTOID}
	};
	AttrNumber	by[] = {SRT_IDENTITY + 1, SRT_REMOTE + 1, SRT_AT + 1};
	Oid			less[] = {srt_less(UUIDOID), srt_less(INT2OID), srt_less(INT8OID)};
	Oid			collations[] = {InvalidOid, InvalidOid, InvalidOid};
	bool		nulls_first[] = {false, false, false};

	reconcile->desc = CreateTemplateTupleDesc(SRT_COLUMNS);
	for (int i = 0; i < SRT_COLUMNS; i++)
		TupleDescInitEntry(reconcile->desc, i + 1, columns[i].name, columns[i].type, -1, 0);
	concord_desc_finish(reconcile->desc);
	reconcile->put = MakeSingleTupleTableSlot(reconcile->desc, &TTSOpsVirtual);
	reconcile->slot = MakeSingleTupleTableSlot(reconcile->desc, &TTSOpsMinimalTuple);
	reconcile->sort = tuplesort_begin_heap(reconcile->desc, lengthof(by), by, less, collations,
										   nulls_first, work_mem, NULL, TUPLESORT_NONE);
	reconcile->records = BufFileCreateTemp(false);
}

/* srt_text sets a text. */
static void
srt_text(TupleTableSlot *slot, int column, const char *text)
{
	slot->tts_isnull[column] = text == NULL;
	slot->tts_values[column] = text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

/* concord_reconcile_sort_put adds a half. */
void
concord_reconcile_sort_put(Reconcile *reconcile, const RcnHalf *half)
{
	TupleTableSlot *slot = reconcile->put;
	Size		len = sizeof(uint64) * reconcile->nfields;
	bytea	   *values = palloc(VARHDRSZ + len);

	SET_VARSIZE(values, VARHDRSZ + len);
	memcpy(VARDATA(values), half->values, len);
	ExecClearTuple(slot);
	memset(slot->tts_isnull, false, sizeof(bool) * SRT_COLUMNS);
	slot->tts_values[SRT_IDENTITY] = UUIDPGetDatum(&half->identity);
	slot->tts_values[SRT_REMOTE] = Int16GetDatum(half->remote ? 1 : 0);
	slot->tts_values[SRT_AT] = Int64GetDatum(half->at);
	slot->tts_values[SRT_VALUES] = PointerGetDatum(values);
	srt_text(slot, SRT_KEY, half->key);
	srt_text(slot, SRT_ID, half->id);
	slot->tts_values[SRT_EXPECT] = Int16GetDatum(half->expect);
	srt_text(slot, SRT_PROBLEM, half->problem);
	ExecStoreVirtualTuple(slot);
	tuplesort_puttupleslot(reconcile->sort, slot);
	ExecClearTuple(slot);
}

/* concord_reconcile_sort_end sorts. */
void
concord_reconcile_sort_end(Reconcile *reconcile)
{
	tuplesort_performsort(reconcile->sort);
}

/* srt_get copies a text; NULL: none. */
static char *
srt_get(TupleTableSlot *slot, int column)
{
	return slot->tts_isnull[column] ? NULL : TextDatumGetCString(slot->tts_values[column]);
}

/* concord_reconcile_sort_next gives the next half, in the current context; NULL: that was all. */
RcnHalf *
concord_reconcile_sort_next(Reconcile *reconcile)
{
	TupleTableSlot *slot = reconcile->slot;
	RcnHalf    *half;
	bytea	   *values;

	if (!tuplesort_gettupleslot(reconcile->sort, true, false, slot, NULL))
		return NULL;
	slot_getallattrs(slot);
	half = palloc0(sizeof(RcnHalf));
	half->identity = *DatumGetUUIDP(slot->tts_values[SRT_IDENTITY]);
	half->remote = DatumGetInt16(slot->tts_values[SRT_REMOTE]) != 0;
	half->at = DatumGetInt64(slot->tts_values[SRT_AT]);
	values = DatumGetByteaPP(slot->tts_values[SRT_VALUES]);
	half->values = palloc(Max(VARSIZE_ANY_EXHDR(values), 1));
	memcpy(half->values, VARDATA_ANY(values), VARSIZE_ANY_EXHDR(values));
	half->key = srt_get(slot, SRT_KEY);
	half->id = srt_get(slot, SRT_ID);
	half->expect = DatumGetInt16(slot->tts_values[SRT_EXPECT]);
	half->problem = srt_get(slot, SRT_PROBLEM);
	return half;
}
