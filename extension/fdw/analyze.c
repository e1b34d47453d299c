/*-------------------------------------------------------------------------
 *
 * analyze.c
 *	  ANALYZE of a foreign table: a random sample of all records.
 *
 * The list is read once, all of it; what is kept is the sample alone.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/scan.h"

#include "access/htup_details.h"
#include "commands/vacuum.h"
#include "fdw/routine.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/sampling.h"

/* One sample that is taken. */
typedef struct AnlSample
{
	ConcordScan *scan;
	TupleDesc	desc;
	HeapTuple  *rows;
	int			target;
	int			n;
	double		seen;
	double		skip;			/* records that are passed over; -1: unknown */
	ReservoirStateData reservoir;
} AnlSample;

/* anl_place says where a record goes in the sample, or -1 (Vitter's). */
static int
anl_place(AnlSample *sample)
{
	int			place = -1;

	if (sample->n < sample->target)
		place = sample->n++;
	else
	{
		if (sample->skip < 0)
			sample->skip = reservoir_get_next_S(&sample->reservoir, sample->seen,
												sample->target);
		if (sample->skip <= 0)
		{
			place = (int) (sample->target *
						   sampler_random_fract(&sample->reservoir.randstate));
			heap_freetuple(sample->rows[place]);
		}
		sample->skip -= 1;
	}
	sample->seen += 1;
	return place;
}

/* anl_all passes all records by the sample. */
static void
anl_all(AnlSample *sample)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "concord sample",
												  ALLOCSET_DEFAULT_SIZES);
	Datum	   *values = palloc(sizeof(Datum) * (sample->desc->natts + 1));
	bool	   *nulls = palloc(sizeof(bool) * (sample->desc->natts + 1));
	ConcordSlice record;
	int			page;

	while (concord_reader_next(sample->scan->reader, &record, &page))
	{
		int			place = anl_place(sample);
		MemoryContext old;

		CHECK_FOR_INTERRUPTS();
		if (place < 0)
			continue;
		old = MemoryContextSwitchTo(context);
		concord_scan_take(sample->scan, record, page, values, nulls);
		MemoryContextSwitchTo(old);
		sample->rows[place] = heap_form_tuple(sample->desc, values, nulls);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
}

/* anl_sample is AcquireSampleRowsFunc. */
static int
anl_sample(Relation rel, int elevel, HeapTuple *rows, int targrows,
		   double *totalrows, double *totaldeadrows)
{
	ConcordForeignTable *table = concord_fdw_table(rel);
	AnlSample	sample = {
		.scan = concord_scan_create(table,
									concord_peer_get(table->serverid,
													 rel->rd_rel->relowner),
									NIL, false),
		.desc = RelationGetDescr(rel),
		.rows = rows,
		.target = targrows,
		.skip = -1,
	};

	sample.scan->noutput = table->ncolumns;
	sample.scan->output = palloc0(sizeof(int) * (table->ncolumns + 1));
	for (int i = 0; i < table->ncolumns; i++)
		sample.scan->output[i] = table->columns[i].attnum;
	sample.scan->query.query = sample.scan->select;
	reservoir_init_selection_state(&sample.reservoir, targrows);
	concord_reader_eager(sample.scan->reader, true);
	concord_reader_start(sample.scan->reader, &sample.scan->query);
	anl_all(&sample);
	concord_reader_stop(sample.scan->reader);
	*totalrows = sample.seen;
	*totaldeadrows = 0;
	ereport(elevel,
			(errmsg("\"%s\": the system has %.0f records; %d of them in the sample",
					table->relname, sample.seen, sample.n)));
	return sample.n;
}

/* concord_fdw_analyze says that a foreign table can be sampled. */
bool
concord_fdw_analyze(Relation rel, AcquireSampleRowsFunc *func,
					BlockNumber *totalpages)
{
	*func = anl_sample;
	/* an order of magnitude, for the planner's idea of rows per page */
	*totalpages = 1000;
	return true;
}
