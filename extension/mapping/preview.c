/*-------------------------------------------------------------------------
 *
 * preview.c
 *	  concord.preview(): what a mapping would send now.
 *
 * A dry run goes the same way as a delivery: rows of the table become images
 * as capture stores them, and are evaluated as if they had been inserted just
 * now.  It runs in a read-only subtransaction of the caller's transaction, so
 * that BEGIN; alter_mapping; preview; ROLLBACK shows the changed mapping.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/statement.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "decoder/protocol.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mapping/define.h"
#include "mapping/hooks.h"
#include "mapping/scan.h"
#include "miscadmin.h"
#include "outbox/read.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#define PV_MAX_ROWS		1000

PG_FUNCTION_INFO_V1(concord_preview);

/* A row of the result. */
typedef struct PvRow
{
	Datum		values[5];
	bool		nulls[5];
} PvRow;

/* pv_relation describes rows of a query as capture describes a table. */
static ConcordRelation *
pv_relation(const ConcordMapping *mapping, TupleDesc desc, const int *attnums)
{
	ConcordRelation *relation = palloc0(sizeof(ConcordRelation));

	relation->relid = mapping->source;
	relation->replident = 'd';
	relation->schema = get_namespace_name(get_rel_namespace(mapping->source));
	relation->table = get_rel_name(mapping->source);
	relation->ncolumns = desc->natts;
	relation->columns = palloc0(sizeof(ConcordColumn) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		ConcordColumn *column = &relation->columns[i];

		column->attnum = attnums[i];
		column->typid = att->atttypid;
		column->typmod = att->atttypmod;
		column->name = pstrdup(NameStr(att->attname));
		column->typname = format_type_be(att->atttypid);
	}
	return relation;
}

/* pv_image writes a row as capture stores it. */
static void
pv_image(StringInfo buf, HeapTuple tuple, TupleDesc desc)
{
	char		varint[CONCORD_VARINT_MAX];

	appendBinaryStringInfo(buf, varint,
						   concord_put_varint(varint, desc->natts) - varint);
	for (int i = 0; i < desc->natts; i++)
	{
		char	   *text = SPI_getvalue(tuple, desc, i + 1);
		uint64		header = CONCORD_IMAGE_NULL;

		if (text != NULL)
			header = CONCORD_IMAGE_TEXT + strlen(text);
		appendBinaryStringInfo(buf, varint,
							   concord_put_varint(varint, header) - varint);
		if (text != NULL)
			appendStringInfoString(buf, text);
	}
}

/* pv_event makes an insert of a row. */
static ConcordEvent *
pv_event(const ConcordRelation *relation, HeapTuple tuple, TupleDesc desc)
{
	ConcordEvent *event = palloc0(sizeof(ConcordEvent));
	StringInfoData buf;

	initStringInfo(&buf);
	pv_image(&buf, tuple, desc);
	event->op = CONCORD_OP_INSERT;
	event->flags = CONCORD_ROW_NEW;
	event->committed_at = GetCurrentTransactionStartTimestamp();
	event->relation = relation;
	event->new_image = buf.data;
	event->new_len = buf.len;
	return event;
}

/* pv_natts returns how many columns a table has, dropped ones included. */
static int
pv_natts(Oid relid)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	int			natts;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for relation %u", relid);
	natts = ((Form_pg_class) GETSTRUCT(tuple))->relnatts;
	ReleaseSysCache(tuple);
	return natts;
}

/* pv_query writes the query that reads the table; attnums follows it. */
static char *
pv_query(const ConcordMapping *mapping, const char *filter, int max_rows,
		 int **attnums)
{
	StringInfoData buf;
	int			natts = pv_natts(mapping->source);
	int			n = 0;

	*attnums = palloc(sizeof(int) * Max(natts, 1));
	initStringInfo(&buf);
	appendStringInfoString(&buf, "SELECT ");
	for (int attnum = 1; attnum <= natts; attnum++)
	{
		char	   *name;

		if (get_atttype(mapping->source, attnum) == InvalidOid)
			continue;
		name = get_attname(mapping->source, attnum, false);
		appendStringInfo(&buf, "%s%s", n > 0 ? ", " : "",
						 quote_identifier(name));
		(*attnums)[n++] = attnum;
	}
	appendStringInfo(&buf, " FROM %s",
					 quote_qualified_identifier(get_namespace_name(get_rel_namespace(mapping->source)),
												get_rel_name(mapping->source)));
	if (filter != NULL)
		appendStringInfo(&buf, " WHERE (%s\n)", filter);
	for (ListCell *lc = list_head(mapping->local_key); lc != NULL;
		 lc = lnext(mapping->local_key, lc))
		appendStringInfo(&buf, "%s %s",
						 lc == list_head(mapping->local_key) ? " ORDER BY" : ",",
						 quote_identifier(lfirst(lc)));
	appendStringInfo(&buf, " LIMIT %d", max_rows);
	return buf.data;
}

/* pv_rows reads rows of the table, as the definer. */
static List *
pv_rows(const ConcordMapping *mapping, const char *filter, int max_rows)
{
	MemoryContext context = CurrentMemoryContext;
	ConcordEnvironment environment;
	List	   *events = NIL;
	int		   *attnums;
	ConcordRelation *relation;
	char	   *query;

	concord_environment_enter(&environment, mapping->definer,
							  mapping->search_path);
	if (filter != NULL)
		concord_scan_check_filter(mapping, filter);
	query = pv_query(mapping, filter, max_rows, &attnums);
	if (SPI_execute(query, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the rows to preview");
	MemoryContextSwitchTo(context);
	relation = pv_relation(mapping, SPI_tuptable->tupdesc, attnums);
	for (uint64 i = 0; i < SPI_processed; i++)
		events = lappend(events, pv_event(relation, SPI_tuptable->vals[i],
										  SPI_tuptable->tupdesc));
	concord_environment_leave(&environment);
	return events;
}

/* pv_messages reads the newest events of a topic from the outbox. */
static List *
pv_messages(const ConcordMapping *mapping, int max_rows)
{
	static const Oid messages[] = {InvalidOid};
	MemoryContext context = CurrentMemoryContext;
	ConcordCatalogScope scope;
	ConcordOutboxReader *reader;
	List	   *events = NIL;
	int64		last;
	int64		read_up_to = 0;

	concord_catalog_enter(&scope);
	MemoryContextSwitchTo(context);
	last = concord_outbox_last_seq();
	reader = concord_outbox_open(CurrentMemoryContext, Max(last - 10000, 0),
								 messages, lengthof(messages));
	while (read_up_to < last)
	{
		ConcordEvent *found;
		int			n;

		found = concord_outbox_read(reader, 1000, 1024 * 1024, &n, &read_up_to);
		if (n == 0)
			break;
		for (int i = 0; i < n; i++)
		{
			if (found[i].op != CONCORD_OP_EMIT ||
				strcmp(found[i].topic, mapping->topic) != 0)
				continue;
			events = lappend(events,
							 concord_event_copy(&found[i], CurrentMemoryContext));
			if (list_length(events) > max_rows)
				events = list_delete_first(events);
		}
	}
	/* the reader, and the definitions that events point to, go with context */
	concord_catalog_leave(&scope);
	MemoryContextSwitchTo(context);
	return events;
}

/* pv_problems makes the array of what is wrong. */
static Datum
pv_problems(List *problems)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(list_length(problems), 1));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, problems)
		values[n++] = CStringGetTextDatum(lfirst(lc));
	return PointerGetDatum(construct_array(values, n, TEXTOID, -1, false,
										   TYPALIGN_INT));
}

/* pv_json reads text as jsonb, or gives NULL. */
static Datum
pv_json(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return text == NULL ? (Datum) 0 :
		DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
}

/* pv_row makes one row of the result. */
static PvRow *
pv_row(const ConcordMapping *mapping, const ConcordEvent *event,
	   const ConcordMapped *mapped)
{
	ConcordPreview preview = {NULL};
	PvRow	   *row = palloc0(sizeof(PvRow));

	if (mapped->verdict != CONCORD_SEND)
		preview.problems = list_make1(mapped->rule == NULL ? "filter: the row does not match" :
									  psprintf("%s: %s", mapped->rule, mapped->error));
	else if (concord_preview_request_hook != NULL)
		concord_preview_request_hook(mapping, event, mapped, &preview);

	row->values[0] = pv_json(mapped->local_key, &row->nulls[0]);
	row->nulls[1] = preview.method == NULL;
	if (preview.method != NULL)
		row->values[1] = CStringGetTextDatum(preview.method);
	row->nulls[2] = preview.url == NULL;
	if (preview.url != NULL)
		row->values[2] = CStringGetTextDatum(preview.url);
	row->values[3] = pv_json(preview.body, &row->nulls[3]);
	row->values[4] = pv_problems(preview.problems);
	return row;
}

/* pv_events finds the events to preview. */
static List *
pv_events(const ConcordMapping *mapping, FunctionCallInfo fcinfo)
{
	char	   *filter = PG_ARGISNULL(1) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(1));
	int			max_rows = PG_ARGISNULL(2) ? 5 : PG_GETARG_INT32(2);
	ConcordEvent *event;

	if (!PG_ARGISNULL(3))
	{
		if (concord_preview_delivery_hook == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("deliveries cannot be previewed here")));
		event = concord_preview_delivery_hook(mapping, PG_GETARG_INT64(3),
											  CurrentMemoryContext);
		return list_make1(event);
	}
	if (max_rows < 1 || max_rows > PV_MAX_ROWS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must be between 1 and %d",
						"max_rows", PV_MAX_ROWS)));
	if (mapping->topic == NULL)
		return pv_rows(mapping, filter, max_rows);
	if (filter != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("events of a topic cannot be filtered for a preview"),
				 errhint("The newest events of the topic are shown.")));
	return pv_messages(mapping, max_rows);
}

/* What the dry run works on. */
typedef struct PvRun
{
	const ConcordMapping *mapping;
	FunctionCallInfo fcinfo;
	List	   *rows;			/* of PvRow * */
} PvRun;

/* pv_run evaluates the events and makes the rows of the result. */
static void
pv_run(void *arg)
{
	PvRun	   *run = arg;
	ConcordCompiled *compiled;
	const ConcordEvent **events;
	ConcordMapped *mapped;
	List	   *list = pv_events(run->mapping, run->fcinfo);
	int			n = 0;
	ListCell   *lc;

	events = palloc(sizeof(ConcordEvent *) * Max(list_length(list), 1));
	foreach(lc, list)
		events[n++] = lfirst(lc);
	compiled = concord_mapping_compile(run->mapping, CurrentMemoryContext);
	mapped = concord_mapping_evaluate(compiled, events, n, CurrentMemoryContext);
	for (int i = 0; i < n; i++)
		run->rows = lappend(run->rows,
							pv_row(run->mapping, events[i], &mapped[i]));
}

/* concord_preview is concord.preview(). */
Datum
concord_preview(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	PvRun		run = {NULL, fcinfo, NIL};
	ConcordMapping *mapping;
	MemoryContext context;
	ListCell   *lc;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null or empty", "name")));
	mapping = concord_mapping_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)),
									  CurrentMemoryContext);
	concord_source_require(mapping);
	concord_source_definer(mapping);
	if (mapping->state == CONCORD_MAPPING_BROKEN)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("mapping \"%s\" is broken: %s", mapping->name,
						mapping->state_reason != NULL ? mapping->state_reason : "")));
	InitMaterializedSRF(fcinfo, 0);
	run.mapping = mapping;
	context = concord_environment_dry_run(pv_run, &run);

	/* what a tuplestore spills would go with the subtransaction */
	foreach(lc, run.rows)
	{
		PvRow	   *row = lfirst(lc);

		tuplestore_putvalues(result->setResult, result->setDesc, row->values,
							 row->nulls);
	}
	MemoryContextDelete(context);
	return (Datum) 0;
}
