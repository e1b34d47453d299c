/*-------------------------------------------------------------------------
 *
 * write.c
 *	  Rows as they are, and as records say they are to be.
 *
 * One statement for all rows of a batch that are changed, one for those that
 * are new and have values for the same columns, one for those that go.  They
 * run as the definer, with the triggers and constraints that he would meet.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "catalog/ownership.h"
#include "decoder/protocol.h"
#include "miscadmin.h"
#include "utils/datum.h"

/* wrt_store makes the relation that a statement reads. */
static Tuplestorestate *
wrt_store(ConcordInbound *inbound, InbItem **items, int n, bool columns)
{
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	TupleDesc	desc = columns ? inbound->row_desc : inbound->key_desc;
	Datum	   *values = palloc(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);

	for (int i = 0; i < n; i++)
	{
		InbItem    *item = items[i];

		values[0] = Int32GetDatum(i);
		nulls[0] = false;
		for (int k = 0; k < inbound->nkey; k++)
		{
			values[1 + k] = item->key[k];
			nulls[1 + k] = !item->keyed;
		}
		for (int c = 0; columns && c < inbound->ncolumns; c++)
		{
			values[1 + inbound->nkey + c] = item->values[c];
			nulls[1 + inbound->nkey + c] = item->nulls[c] || (!item->given[c] && !item->found);
		}
		tuplestore_putvalues(store, desc, values, nulls);
	}
	return store;
}

/* wrt_event makes an event of a row, as capture would. */
static ConcordEvent *
wrt_event(ConcordInbound *inbound, HeapTuple tuple, TupleDesc desc)
{
	ConcordEvent *event = palloc0(sizeof(ConcordEvent));
	char		varint[CONCORD_VARINT_MAX];
	StringInfoData buf;

	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, varint,
						   concord_put_varint(varint, inbound->nimage) - varint);
	for (int i = 0; i < inbound->nimage; i++)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(tuple, desc, i + 3, &isnull);
		char	   *text = isnull ? NULL : concord_inbound_text(&inbound->image[i], value);
		uint64		header = isnull ? CONCORD_IMAGE_NULL :
			CONCORD_IMAGE_TEXT + strlen(text);

		appendBinaryStringInfo(&buf, varint,
							   concord_put_varint(varint, header) - varint);
		if (!isnull)
			appendStringInfoString(&buf, text);
	}
	event->op = CONCORD_OP_INSERT;
	event->flags = CONCORD_ROW_NEW;
	event->committed_at = GetCurrentTransactionStartTimestamp();
	event->relation = inbound->relation;
	event->new_image = buf.data;
	event->new_len = buf.len;
	return event;
}

/* wrt_position finds a column among those that were read. */
static int
wrt_position(ConcordInbound *inbound, int column)
{
	if (!inbound->sends)
		return column + 3;
	for (int i = 0; i < inbound->nimage; i++)
		if (inbound->image[i].attnum == inbound->columns[column].attnum)
			return i + 3;
	elog(ERROR, "a column is not among those of its table");
	return 0;
}

/* wrt_ours copies what the row has in the columns that records write. */
static void
wrt_ours(ConcordInbound *inbound, InbItem *item, HeapTuple tuple, TupleDesc desc,
		 const int *positions)
{
	bool		isnull;

	item->found = true;
	item->xmin = DatumGetTransactionId(SPI_getbinval(tuple, desc, 2, &isnull));
	item->ours = palloc(sizeof(Datum) * (inbound->ncolumns + 1));
	item->ours_null = palloc(sizeof(bool) * (inbound->ncolumns + 1));
	for (int i = 0; i < inbound->ncolumns; i++)
	{
		const InbColumn *column = &inbound->columns[i];
		Datum		value = SPI_getbinval(tuple, desc, positions[i], &item->ours_null[i]);

		item->ours[i] = item->ours_null[i] ? (Datum) 0 :
			datumCopy(value, column->typbyval, column->typlen);
	}
}

/*
 * concord_inbound_read reads the rows of records, locked or not; after: as they are once
 * everything was written.
 */
void
concord_inbound_read(ConcordInbound *inbound, InbItem **items, int n, bool lock, bool after)
{
	Tuplestorestate *store;
	int		   *positions = palloc(sizeof(int) * (inbound->ncolumns + 1));

	if (n == 0)
		return;
	for (int i = 0; i < inbound->ncolumns; i++)
		positions[i] = wrt_position(inbound, i);
	store = wrt_store(inbound, items, n, false);
	concord_inbound_run(lock && inbound->read_locked != NULL ? inbound->read_locked : inbound->read,
						inbound->key_desc, store, false);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[row];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		bool		isnull;
		int			number = DatumGetInt32(SPI_getbinval(tuple, desc, 1, &isnull));
		InbItem    *item;

		if (number < 0 || number >= n)
			elog(ERROR, "an unknown record's row was read");
		item = items[number];
		if (!after)
			wrt_ours(inbound, item, tuple, desc, positions);
		if (after)
			item->after = wrt_event(inbound, tuple, desc);
		else if (inbound->sends)
			item->before = wrt_event(inbound, tuple, desc);
	}
	SPI_freetuptable(SPI_tuptable);
	tuplestore_end(store);
}

/*
 * concord_inbound_compare says whether a record differs from its row; what it does not say
 * stays as it is.
 */
void
concord_inbound_compare(ConcordInbound *inbound, InbItem *item)
{
	item->differs = false;
	for (int i = 0; i < inbound->ncolumns; i++)
	{
		const InbColumn *column = &inbound->columns[i];

		if (!item->given[i])
		{
			item->values[i] = item->ours[i];
			item->nulls[i] = item->ours_null[i];
		}
		else if (item->nulls[i] != item->ours_null[i] ||
				 (!item->nulls[i] &&
				  !datum_image_eq(item->values[i], item->ours[i],
								  column->typbyval, column->typlen)))
			item->differs = true;
	}
}

/* wrt_run writes rows: the column's owner may. */
static void
wrt_run(ConcordInbound *inbound, SPIPlanPtr plan, InbItem **items, int n, bool columns)
{
	Tuplestorestate *store = wrt_store(inbound, items, n, columns);
	bool		outer = concord_ownership_bypass;

	concord_ownership_bypass = true;
	PG_TRY();
	{
		concord_inbound_run(plan, columns ? inbound->row_desc : inbound->key_desc, store, false);
	}
	PG_FINALLY();
	{
		concord_ownership_bypass = outer;
	}
	PG_END_TRY();
	tuplestore_end(store);
}

/* wrt_given says which columns a record gives values to. */
static Bitmapset *
wrt_given(ConcordInbound *inbound, InbItem *item)
{
	Bitmapset  *given = NULL;

	for (int i = 0; i < inbound->ncolumns; i++)
		if (item->given[i])
			given = bms_add_member(given, i);
	return given;
}

/* wrt_keys takes the keys that rows without one have got. */
static void
wrt_keys(ConcordInbound *inbound, InbItem **items, int n)
{
	/* a trigger that leaves out rows leaves nobody to tell which */
	if (SPI_processed != n)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("a trigger has left out the record's row")));
	for (int i = 0; i < n; i++)
	{
		for (int k = 0; k < inbound->nkey; k++)
		{
			const InbColumn *part = &inbound->key[k];
			bool		isnull;
			Datum		value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
											  k + 1, &isnull);

			if (isnull)
				ereport(ERROR,
						(errcode(ERRCODE_NOT_NULL_VIOLATION),
						 errmsg("the new row has no key")));
			items[i]->key[k] = datumCopy(value, part->typbyval, part->typlen);
		}
		items[i]->keyed = true;
		items[i]->local_key = concord_inbound_local_key(inbound, items[i]->key);
	}
}

/* wrt_insert writes new rows, those with values for the same columns together. */
static void
wrt_insert(ConcordInbound *inbound, InbItem **items, int n)
{
	InbItem   **group = palloc(sizeof(InbItem *) * n);
	Bitmapset **given = palloc(sizeof(Bitmapset *) * n);

	for (int i = 0; i < n; i++)
		given[i] = wrt_given(inbound, items[i]);
	for (int first = 0; first < n; first++)
	{
		bool		keyed;
		int			ngroup = 0;

		if (items[first] == NULL)
			continue;
		keyed = items[first]->keyed;
		for (int i = first; i < n; i++)
		{
			if (items[i] == NULL || items[i]->keyed != keyed ||
				(i != first && !bms_equal(given[i], given[first])))
				continue;
			group[ngroup++] = items[i];
			if (i != first)
				items[i] = NULL;
		}
		items[first] = NULL;
		wrt_run(inbound, concord_inbound_insert_plan(inbound, given[first], keyed), group, ngroup, true);
		if (!keyed)
			wrt_keys(inbound, group, ngroup);
		SPI_freetuptable(SPI_tuptable);
	}
}

/* concord_inbound_write writes what records say of rows. */
void
concord_inbound_write(ConcordInbound *inbound, InbItem **items, int n)
{
	InbItem   **some = palloc(sizeof(InbItem *) * Max(n, 1));
	int			nsome = 0;

	for (int i = 0; i < n; i++)
		if (items[i]->outcome == 'd')
			some[nsome++] = items[i];
	if (nsome > 0)
		wrt_run(inbound, inbound->delete, some, nsome, false);
	nsome = 0;
	for (int i = 0; i < n; i++)
		if (items[i]->outcome == 'i')
			some[nsome++] = items[i];
	if (nsome > 0)
		wrt_insert(inbound, some, nsome);
	nsome = 0;
	for (int i = 0; i < n; i++)
		if (items[i]->outcome == 'u')
			some[nsome++] = items[i];
	if (nsome > 0)
		wrt_run(inbound, inbound->update, some, nsome, true);
}

/* concord_inbound_row_event makes an event of a row that was read as concord_inbound_read does. */
ConcordEvent *
concord_inbound_row_event(ConcordInbound *inbound, HeapTuple tuple, TupleDesc desc)
{
	return wrt_event(inbound, tuple, desc);
}
