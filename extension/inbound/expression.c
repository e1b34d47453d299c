/*-------------------------------------------------------------------------
 *
 * expression.c
 *	  Expressions over records: what is applied, and which row a record is.
 *
 * They are the definer's code and run read-only, in the environment that
 * stands, for all records of a batch at once.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"

/* What a read-only run works on. */
typedef struct ExpRun
{
	ConcordInbound *inbound;
	SPIPlanPtr	plan;
	InbItem   **items;
	int			n;
	int			want;			/* whose text is given as value; -1: the id */
} ExpRun;

/* exp_store makes the relation: number, record, a text. */
static Tuplestorestate *
exp_store(ExpRun *run, bool remote)
{
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);

	for (int i = 0; i < run->n; i++)
	{
		InbItem    *item = run->items[i];
		char	   *text = run->want < 0 ? item->remote_id :
			concord_inbound_member_text(item->slices[run->want]);
		Datum		values[3];
		bool		nulls[3] = {false, false, false};

		values[0] = Int32GetDatum(i);
		nulls[1] = !remote || item->record->record == NULL;
		values[1] = nulls[1] ? (Datum) 0 :
			DirectFunctionCall1(jsonb_in, CStringGetDatum(item->record->record));
		nulls[2] = text == NULL;
		values[2] = text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
		tuplestore_putvalues(store, run->inbound->remote_desc, values, nulls);
	}
	return store;
}

/* exp_query runs the statement over the records. */
static void
exp_query(ExpRun *run, bool remote)
{
	Tuplestorestate *store = exp_store(run, remote);

	PushActiveSnapshot(GetLatestSnapshot());
	concord_inbound_run(run->plan, run->inbound->remote_desc, store, true);
	PopActiveSnapshot();
	tuplestore_end(store);
}

/* exp_number reads which record a row of the result is about. */
static InbItem *
exp_number(ExpRun *run, uint64 row)
{
	bool		isnull;
	int			number = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[row],
													 SPI_tuptable->tupdesc, 1, &isnull));

	if (number < 0 || number >= run->n)
		elog(ERROR, "a statement over records returned an unknown one");
	return run->items[number];
}

/*
 * exp_take makes a value of what an expression gave: by its text, so that what
 * does not fit the column is refused rather than cut.
 */
static void
exp_take(ConcordInbound *inbound, InbItem *item, int i, char *text)
{
	InbColumn  *column = &inbound->columns[i];

	inbound->at = column->field->name;
	item->given[i] = true;
	item->nulls[i] = text == NULL;
	item->values[i] = InputFunctionCall(&column->input, text, column->ioparam,
										column->typmod);
	inbound->at = NULL;
}

/* exp_apply is the work of inb_apply_run. */
static void
exp_apply(void *arg)
{
	ExpRun	   *run = arg;
	ConcordInbound *inbound = run->inbound;

	concord_mapping_applying = true;
	PG_TRY();
	{
		exp_query(run, true);
	}
	PG_FINALLY();
	{
		concord_mapping_applying = false;
	}
	PG_END_TRY();
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		InbItem    *item = exp_number(run, row);
		int			column = 2;

		for (int i = 0; i < inbound->ncolumns; i++)
			if (inbound->columns[i].apply >= 0)
				exp_take(inbound, item, i,
						 SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column++));
	}
	SPI_freetuptable(SPI_tuptable);
}

/* concord_inbound_apply_run evaluates the apply expressions of records. */
void
concord_inbound_apply_run(ConcordInbound *inbound, InbItem **items, int n)
{
	ExpRun		run = {inbound, inbound->apply, NULL, 0, -1};

	if (inbound->apply == NULL)
		return;
	run.items = palloc(sizeof(InbItem *) * n);
	for (int i = 0; i < n; i++)
		if (items[i]->record->op == CONCORD_INBOUND_UPSERT)
			run.items[run.n++] = items[i];
	if (run.n > 0)
		(void) concord_environment_dry_run(exp_apply, &run);
}

/* exp_rows is the work of inb_rows_of. */
static void
exp_rows(void *arg)
{
	ExpRun	   *run = arg;
	ConcordInbound *inbound = run->inbound;

	exp_query(run, true);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		InbItem    *item = exp_number(run, row);

		if (item->nfound++ > 0)
			continue;
		for (int i = 0; i < inbound->nkey; i++)
		{
			bool		isnull;
			Datum		value = SPI_getbinval(SPI_tuptable->vals[row],
											  SPI_tuptable->tupdesc, i + 2, &isnull);

			item->key[i] = isnull ? (Datum) 0 :
				datumCopy(value, inbound->key[i].typbyval, inbound->key[i].typlen);
		}
	}
	SPI_freetuptable(SPI_tuptable);
}

/*
 * concord_inbound_rows_of finds the rows that a rule says records are: nfound says how many,
 * key has the first one's.
 */
void
concord_inbound_rows_of(ConcordInbound *inbound, SPIPlanPtr plan, int want,
						InbItem **items, int n)
{
	ExpRun		run = {inbound, plan, items, n, want};

	for (int i = 0; i < n; i++)
		items[i]->nfound = 0;
	if (n > 0)
		(void) concord_environment_dry_run(exp_rows, &run);
}
