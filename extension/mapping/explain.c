/*-------------------------------------------------------------------------
 *
 * explain.c
 *	  concord.explain(): what a mapping makes of events in the outbox.
 *
 * This answers "why was this change not sent, or sent so".  It evaluates the
 * stored events as a courier does, with the definition that is current in the
 * caller's transaction, and shows the verdicts.  What delivery does with them
 * (links, order, retries) is not part of it.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/compile.h"

#include "base/json.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mapping/define.h"
#include "outbox/read.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

#define EXP_MAX_ROWS	10000
#define EXP_COLUMNS		13

PG_FUNCTION_INFO_V1(concord_explain);

/* A row of the result. */
typedef struct ExpRow
{
	Datum		values[EXP_COLUMNS];
	bool		nulls[EXP_COLUMNS];
} ExpRow;

/* What the dry run works on. */
typedef struct ExpRun
{
	const ConcordMapping *mapping;
	int64		from_seq;
	int			max_rows;
	List	   *rows;			/* of ExpRow * */
} ExpRun;

/* exp_wanted says whether an event is one of the mapping's source. */
static bool
exp_wanted(const ConcordMapping *mapping, const ConcordEvent *event)
{
	if (mapping->topic != NULL)
		return event->op == CONCORD_OP_EMIT &&
			strcmp(event->topic, mapping->topic) == 0;
	return event->relation != NULL && event->relation->relid == mapping->source;
}

/* exp_events reads the events to explain. */
static List *
exp_events(ExpRun *run)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			sources[1] = {run->mapping->source};
	ConcordCatalogScope scope;
	ConcordOutboxReader *reader;
	List	   *events = NIL;
	int64		last;
	int64		read_up_to;
	bool		full = false;

	concord_catalog_enter(&scope);
	MemoryContextSwitchTo(context);
	last = concord_outbox_last_seq();
	read_up_to = run->from_seq >= 0 ? run->from_seq - 1 :
		Max(last - EXP_MAX_ROWS, 0);
	reader = concord_outbox_open(CurrentMemoryContext, read_up_to, sources, 1);
	while (read_up_to < last && !full)
	{
		ConcordEvent *found;
		int			n;

		found = concord_outbox_read(reader, 1000, 1024 * 1024, &n, &read_up_to);
		if (n == 0 && read_up_to < last)
			break;
		for (int i = 0; i < n && !full; i++)
		{
			full = run->from_seq >= 0 && list_length(events) == run->max_rows;
			if (full || !exp_wanted(run->mapping, &found[i]))
				continue;
			events = lappend(events,
							 concord_event_copy(&found[i], CurrentMemoryContext));
			if (list_length(events) > run->max_rows)
				events = list_delete_first(events);
		}
	}
	/* the reader, and the definitions that events point to, go with context */
	concord_catalog_leave(&scope);
	MemoryContextSwitchTo(context);
	return events;
}

/* exp_text sets a text column, or NULL. */
static void
exp_text(ExpRow *row, int column, const char *text)
{
	row->nulls[column] = text == NULL;
	if (text != NULL)
		row->values[column] = CStringGetTextDatum(text);
}

/* exp_json sets a jsonb column from text, or NULL. */
static void
exp_json(ExpRow *row, int column, const char *text)
{
	row->nulls[column] = text == NULL;
	if (text != NULL)
		row->values[column] = DirectFunctionCall1(jsonb_in,
												  CStringGetDatum(text));
}

/* exp_values sets a jsonb column from fields and their values. */
static void
exp_values(ExpRow *row, int column, const List *defs,
		   const ConcordValue *values, const bool *skip)
{
	StringInfoData buf;
	ListCell   *lc;
	int			i = -1;

	if (values == NULL)
	{
		exp_json(row, column, NULL);
		return;
	}
	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	foreach(lc, defs)
	{
		const ConcordField *field = lfirst(lc);
		const ConcordValue *value = &values[++i];

		if (skip != NULL && skip[i])
			continue;
		if (buf.len > 1)
			appendStringInfoString(&buf, ", ");
		concord_json_string(&buf, field->name, strlen(field->name));
		appendStringInfoString(&buf, ": ");
		if (value->isnull)
			appendStringInfoString(&buf, "null");
		else
			concord_json_value(&buf, value->typid, value->text, value->len,
							   false);
	}
	appendStringInfoChar(&buf, '}');
	exp_json(row, column, buf.data);
}

/* exp_row makes one row of the result. */
static ExpRow *
exp_row(const ConcordMapping *mapping, const ConcordEvent *event,
		const ConcordMapped *mapped)
{
	static const char *const verdicts[] = {"send", "skip", "fail", "wait"};
	ExpRow	   *row = palloc0(sizeof(ExpRow));
	bool		send = mapped->verdict == CONCORD_SEND;

	row->values[0] = Int64GetDatum(event->seq);
	exp_text(row, 1, concord_event_op_name(event->op));
	exp_text(row, 2, verdicts[mapped->verdict]);
	exp_text(row, 3, !send ? NULL :
			 mapped->action == CONCORD_ACTION_EVENT ? "truncate" :
			 mapped->action == CONCORD_ACTION_DELETE ? "delete" :
			 mapped->deleting ? "mark deleted" : "upsert");
	exp_json(row, 4, mapped->local_key);
	exp_json(row, 5, mapped->old_local_key);
	exp_text(row, 6, mapped->ordering_key);
	exp_values(row, 7, mapping->key, send ? mapped->keys : NULL, NULL);
	exp_values(row, 8, mapping->key, send ? mapped->old_keys : NULL, NULL);
	exp_values(row, 9, mapped->field_defs, send ? mapped->fields : NULL,
			   mapped->skip);
	row->nulls[10] = !send;
	row->values[10] = BoolGetDatum(mapped->only_if_linked);
	exp_text(row, 11, mapped->rule);
	exp_text(row, 12, mapped->error);
	return row;
}

/* exp_run evaluates the events and makes the rows of the result. */
static void
exp_run(void *arg)
{
	ExpRun	   *run = arg;
	List	   *list = exp_events(run);
	ConcordCompiled *compiled;
	const ConcordEvent **events;
	ConcordMapped *mapped;
	int			n = 0;
	ListCell   *lc;

	events = palloc(sizeof(ConcordEvent *) * Max(list_length(list), 1));
	foreach(lc, list)
		events[n++] = lfirst(lc);
	compiled = concord_mapping_compile(run->mapping, CurrentMemoryContext);
	mapped = concord_mapping_evaluate(compiled, events, n, CurrentMemoryContext);
	for (int i = 0; i < n; i++)
		run->rows = lappend(run->rows,
							exp_row(run->mapping, events[i], &mapped[i]));
}

/* concord_explain is concord.explain(). */
Datum
concord_explain(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ExpRun		run = {NULL};
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
	run.mapping = mapping;
	run.from_seq = PG_ARGISNULL(1) ? -1 : Max(PG_GETARG_INT64(1), 0);
	run.max_rows = PG_ARGISNULL(2) ? 100 : PG_GETARG_INT32(2);
	if (run.max_rows < 1 || run.max_rows > EXP_MAX_ROWS)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must be between 1 and %d",
						"max_rows", EXP_MAX_ROWS)));
	InitMaterializedSRF(fcinfo, 0);
	context = concord_environment_dry_run(exp_run, &run);
	foreach(lc, run.rows)
	{
		ExpRow	   *row = lfirst(lc);

		tuplestore_putvalues(result->setResult, result->setDesc, row->values,
							 row->nulls);
	}
	MemoryContextDelete(context);
	return (Datum) 0;
}
