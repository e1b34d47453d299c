/*-------------------------------------------------------------------------
 *
 * pending.c
 *	  What is pending for a mapping: the outbox against its lane.
 *
 * A courier keeps no list of pending events that others could read, so views
 * read the outbox from the lane's cursor; that is a few events in everyday life
 * and is bounded where it is many.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/json.h"
#include "catalog/pg_type.h"
#include "decoder/protocol.h"
#include "delivery/delivery.h"
#include "delivery/pending.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#define PEND_READ_EVENTS	1000
#define PEND_READ_BYTES		(4 * 1024 * 1024)
#define PEND_COUNT_LIMIT	100000

PG_FUNCTION_INFO_V1(concord_pending_events);
PG_FUNCTION_INFO_V1(concord_pending_summary);
PG_FUNCTION_INFO_V1(concord_outbox_bytes_after);

/* pend_wants says whether an event is of the mapping's source. */
static bool
pend_wants(const ConcordMapping *mapping, const ConcordEvent *event)
{
	if (event->op == CONCORD_OP_CONTROL)
		return false;
	if (event->op == CONCORD_OP_RESYNC)
		return event->topic != NULL && atoi(event->topic) == mapping->id;
	if (event->op == CONCORD_OP_EMIT)
		return mapping->topic != NULL && event->topic != NULL &&
			strcmp(mapping->topic, event->topic) == 0;
	return OidIsValid(mapping->source) && event->relation != NULL &&
		event->relation->relid == mapping->source;
}

/* pend_depends passes on what a change of another table stands for. */
static bool
pend_depends(const ConcordMapping *mapping, const ConcordDepend *depend,
			 const ConcordEvent *event, ConcordScanEvent callback, void *arg)
{
	ConcordEvent *updates[2];
	bool		unknown;
	bool		more = true;
	int			n = concord_depends_expand(mapping, depend, event, updates,
										   &unknown);

	for (int i = 0; i < n && more; i++)
		more = callback(updates[i], arg);
	return more;
}

/* concord_scan_events reads the outbox for one mapping. */
void
concord_scan_events(const ConcordMapping *mapping, int64 after_seq,
					int64 last_seq, ConcordScanEvent callback, void *arg)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "concord scan",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	int			nsources;
	Oid		   *sources = concord_depends_sources(mapping, &nsources);
	ConcordOutboxReader *reader = concord_outbox_open(context, after_seq,
													  sources, nsources);
	MemoryContext scratch = AllocSetContextCreate(context, "concord scan depends",
												  ALLOCSET_DEFAULT_SIZES);
	int64		position = after_seq;
	bool		more = true;

	MemoryContextSwitchTo(old);
	while (more && position < last_seq)
	{
		int			n;
		int64		read_up_to;
		ConcordEvent *events = concord_outbox_read(reader, PEND_READ_EVENTS,
												   PEND_READ_BYTES, &n,
												   &read_up_to);

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < n && more; i++)
		{
			const ConcordDepend *depend;

			if (events[i].seq > last_seq)
				continue;
			if (pend_wants(mapping, &events[i]))
				more = callback(&events[i], arg);
			else if ((depend = concord_depends_find(mapping, &events[i])) != NULL)
			{
				old = MemoryContextSwitchTo(scratch);
				more = pend_depends(mapping, depend, &events[i], callback, arg);
				MemoryContextSwitchTo(old);
				MemoryContextReset(scratch);
			}
		}
		if (n == 0 && read_up_to <= position)
			break;
		position = read_up_to;
	}
	concord_outbox_close(reader);
	MemoryContextDelete(context);
}

/* concord_position_load reads a mapping's lanes. */
void
concord_position_load(int32 mapping, ConcordPosition *position)
{
	ListCell   *lc;

	memset(position, 0, sizeof(*position));
	position->divisions = concord_divisions_load(mapping, CurrentMemoryContext);
	position->started = position->divisions != NIL;
	position->cursor = PG_INT64_MAX;
	foreach(lc, position->divisions)
	{
		const ConcordDivision *division = lfirst(lc);

		for (int i = 0; i < division->shares; i++)
			position->cursor = Min(position->cursor, division->lanes[i].cursor);
	}
}

/* concord_position_finished says whether an event has been finished. */
bool
concord_position_finished(const ConcordPosition *position,
						  const ConcordMapping *mapping,
						  const ConcordEvent *event)
{
	return event->seq <= position->cursor ||
		concord_divisions_finished(position->divisions, mapping, event);
}

/* pend_column finds a column of a stored definition by its name. */
static int
pend_column(const ConcordRelation *relation, const char *name)
{
	for (int i = 0; i < relation->ncolumns; i++)
		if (strcmp(relation->columns[i].name, name) == 0)
			return i;
	return -1;
}

/* pend_row_key makes the local key of a row's image. */
static char *
pend_row_key(const ConcordMapping *mapping, const ConcordRelation *relation,
			 const char *image, uint32 len)
{
	ConcordImageValue *values = palloc(sizeof(ConcordImageValue) *
									   Max(relation->ncolumns, 1));
	StringInfoData buf;
	ListCell   *lc;

	concord_image_decode(relation, image, len, values);
	initStringInfo(&buf);
	foreach(lc, mapping->local_key)
	{
		const char *name = lfirst(lc);
		int			i = pend_column(relation, name);
		char	   *text;

		if (i < 0 || !concord_image_has_value(&values[i]))
			return NULL;
		text = concord_image_text(&values[i]);
		appendStringInfoString(&buf, buf.len == 0 ? "{" : ", ");
		concord_json_string(&buf, name, strlen(name));
		appendStringInfoString(&buf, ": ");
		concord_json_key(&buf, getBaseType(relation->columns[i].typid),
						 text, strlen(text));
	}
	appendStringInfoChar(&buf, '}');
	return concord_json_server(buf.data);
}

/* concord_scan_local_key gives an event's local key. */
char *
concord_scan_local_key(const ConcordMapping *mapping, const ConcordEvent *event)
{
	const char *image = event->new_image ? event->new_image : event->old_image;
	StringInfoData buf;

	if (mapping->written && event->key != NULL)
		return pstrdup(event->key);
	if (event->relation != NULL)
	{
		if (image == NULL)
			return NULL;
		return pend_row_key(mapping, event->relation, image,
							event->new_image ? event->new_len : event->old_len);
	}
	initStringInfo(&buf);
	if (event->key == NULL)
		appendStringInfo(&buf, "{\"event\": \"%s\"}",
						 DatumGetCString(DirectFunctionCall1(uuid_out,
															 UUIDPGetDatum(&event->id))));
	else
	{
		appendStringInfoString(&buf, "{\"key\": ");
		concord_json_string(&buf, event->key, strlen(event->key));
		appendStringInfoChar(&buf, '}');
	}
	return concord_json_server(buf.data);
}

/* ---------------------------------------------------------------------
 * SQL
 * ------------------------------------------------------------------- */

typedef struct PendScan
{
	const ConcordMapping *mapping;
	const ConcordPosition *position;
	int64		limit;
	int64		n;
	TimestampTz oldest;			/* of the first */
	ReturnSetInfo *rsinfo;		/* NULL: only count */
} PendScan;

/* pend_event takes one event that may be pending. */
static bool
pend_event(const ConcordEvent *event, void *arg)
{
	PendScan   *scan = arg;
	char		op[2] = {(char) event->op, '\0'};

	if (concord_position_finished(scan->position, scan->mapping, event))
		return true;
	if (scan->n++ == 0)
		scan->oldest = event->committed_at;
	if (scan->rsinfo != NULL)
	{
		Datum		values[] = {
			Int64GetDatum(event->seq), UUIDPGetDatum(&event->id),
			CStringGetTextDatum(op), TimestampTzGetDatum(event->committed_at)
		};
		bool		nulls[4] = {false};

		tuplestore_putvalues(scan->rsinfo->setResult, scan->rsinfo->setDesc,
							 values, nulls);
	}
	return scan->n < scan->limit;
}

/* pend_run scans what is pending for a mapping. */
static void
pend_run(int32 id, PendScan *scan)
{
	ConcordCatalogScope scope;
	ConcordPosition position;
	ConcordMapping *mapping;

	concord_catalog_enter(&scope);
	mapping = concord_mapping_by_id(id, CurrentMemoryContext);
	concord_position_load(id, &position);
	scan->mapping = mapping;
	scan->position = &position;
	PushActiveSnapshot(GetTransactionSnapshot());
	if (mapping != NULL && position.started)
	{
		int64		last_seq = concord_outbox_last_seq();

		if (position.cursor < last_seq)
			concord_scan_events(mapping, position.cursor, last_seq, pend_event,
								scan);
	}
	PopActiveSnapshot();
	concord_catalog_leave(&scope);
}

/* concord_pending_events lists a mapping's pending events. */
Datum
concord_pending_events(PG_FUNCTION_ARGS)
{
	PendScan	scan = {.limit = Max(PG_GETARG_INT32(1), 0)};

	InitMaterializedSRF(fcinfo, 0);
	scan.rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	if (scan.limit > 0)
		pend_run(PG_GETARG_INT32(0), &scan);
	return (Datum) 0;
}

/* concord_pending_summary counts them, up to a bound. */
Datum
concord_pending_summary(PG_FUNCTION_ARGS)
{
	PendScan	scan = {.limit = PEND_COUNT_LIMIT};
	TupleDesc	desc;
	Datum		values[2];
	bool		nulls[2] = {false, false};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	pend_run(PG_GETARG_INT32(0), &scan);
	values[0] = Int64GetDatum(scan.n);
	values[1] = TimestampTzGetDatum(scan.oldest);
	nulls[1] = scan.n == 0;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values,
													  nulls)));
}

/*
 * concord_outbox_bytes_after estimates how much of the outbox lies after a
 * position, taking events as equally large.
 */
Datum
concord_outbox_bytes_after(PG_FUNCTION_ARGS)
{
	int64		cursor = PG_GETARG_INT64(0);
	ConcordCatalogScope scope;
	int64		first;
	int64		last;
	int64		bytes;
	bool		isnull;

	concord_catalog_enter(&scope);
	PushActiveSnapshot(GetTransactionSnapshot());
	first = concord_outbox_first_seq();
	last = concord_outbox_last_seq();
	PopActiveSnapshot();
	if (SPI_execute("SELECT coalesce(pg_catalog.sum(pg_catalog.pg_table_size(c.oid)), 0)::pg_catalog.int8"
					"  FROM pg_catalog.pg_class c"
					" WHERE c.relnamespace OPERATOR(pg_catalog.=) 'concord'::pg_catalog.regnamespace"
					"   AND c.relname::pg_catalog.text OPERATOR(pg_catalog.~) '^outbox_[0-9]+$'",
					true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not measure the outbox");
	bytes = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										SPI_tuptable->tupdesc, 1, &isnull));
	concord_catalog_leave(&scope);
	if (last <= cursor || last < first)
		PG_RETURN_INT64(0);
	PG_RETURN_INT64((int64) ((double) bytes * (last - Max(cursor, first - 1)) /
							 (last - first + 1)));
}
