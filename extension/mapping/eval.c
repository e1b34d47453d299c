/*-------------------------------------------------------------------------
 *
 * eval.c
 *	  Turn a batch of events into what a mapping says about them.
 *
 * The order for each event is: does the filter hold; what is to be done then;
 * do the checks hold; what are key, order and fields.  Each step is done for
 * all events of the batch before the next, so that it is one statement, and
 * an event that a step has settled takes no part in later ones (a field of a
 * row that the filter leaves out must not raise).
 *
 * What is known of a row before its change depends on the table's replica
 * identity.  Where the filter cannot be evaluated for a row that is gone, the
 * event is sent with only_if_linked: the link knows whether the system has
 * the record.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/compile.h"

#include "access/xact.h"
#include "base/json.h"
#include "catalog/ownership.h"
#include "catalog/pg_type.h"
#include "decoder/protocol.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

bool		concord_mapping_evaluating = false;
List	   *concord_mapping_references = NIL;

/* Whether a filter holds. */
typedef enum EvalMatch
{
	EVAL_MATCHES,
	EVAL_DIFFERS,
	EVAL_UNKNOWN,				/* the image has not what it needs */
} EvalMatch;

/* What is to be evaluated for an event. */
typedef enum EvalPlan
{
	EVAL_SETTLED,				/* nothing: the verdict stands */
	EVAL_UPSERT,
	EVAL_REMOVE,
} EvalPlan;

/* One event on its way. */
typedef struct EvalItem
{
	const ConcordEvent *event;
	ConcordMapped *mapped;
	EvalPlan	plan;
	EvalMatch	match;			/* of the row: new image, or that of a delete */
	bool		has_before;		/* an old image came with an update */
	bool		before_key_only;
	ConcordRow	row;
	ConcordRow	before;			/* the old image as a row of its own */
} EvalItem;

/* A batch on its way. */
typedef struct EvalBatch
{
	ConcordCompiled *compiled;
	const ConcordMapping *mapping;
	EvalItem   *items;
	int			nitems;
	ConcordResult *results;		/* scratch: [nitems] */
	EvalItem  **chosen;			/* scratch: [nitems] */
	int			nchosen;
	MemoryContext scratch;		/* for as long as the batch is evaluated */
} EvalBatch;

/* ev_settle ends an event's way. */
static void
ev_settle(EvalItem *item, ConcordVerdict verdict, const char *rule, char *error)
{
	item->plan = EVAL_SETTLED;
	item->mapped->verdict = verdict;
	item->mapped->rule = rule == NULL ? NULL : pstrdup(rule);
	item->mapped->error = error;
}

/* ev_failed settles an event whose evaluation raised. */
static void
ev_failed(EvalItem *item, const ConcordResult *result)
{
	if (result->sqlerrcode == CONCORD_ERRCODE_NO_LINK)
		ev_settle(item, CONCORD_WAIT, "link", result->error);
	else
		ev_settle(item, CONCORD_FAIL,
				  result->sqlerrcode == ERRCODE_PROGRAM_LIMIT_EXCEEDED ?
				  "size" : "expression", result->error);
}

/* ev_choose clears the list of chosen items. */
static void
ev_choose(EvalBatch *batch)
{
	batch->nchosen = 0;
}

/* ev_add chooses an item, to be evaluated over row. */
static void
ev_add(EvalBatch *batch, EvalItem *item, ConcordRow *row)
{
	ConcordResult *result = &batch->results[batch->nchosen];

	memset(result, 0, sizeof(*result));
	result->row = row;
	batch->chosen[batch->nchosen++] = item;
}

/* ev_run evaluates a set for the chosen items; failures are settled. */
static void
ev_run(EvalBatch *batch, ConcordSet *set)
{
	concord_run_set(batch->compiled, set, batch->results, batch->nchosen);
	for (int i = 0; i < batch->nchosen; i++)
	{
		if (batch->results[i].sqlerrcode != 0)
			ev_failed(batch->chosen[i], &batch->results[i]);
	}
}

/* ev_decode splits an image. */
static ConcordImageValue *
ev_decode(EvalBatch *batch, const ConcordRelation *relation, const char *image,
		  uint32 len)
{
	ConcordImageValue *values;

	if (image == NULL)
		return NULL;
	values = MemoryContextAlloc(batch->scratch, sizeof(ConcordImageValue) *
								Max(relation->ncolumns, 1));
	concord_image_decode(relation, image, len, values);
	return values;
}

/*
 * ev_truncated settles a truncation as option truncate says.  Where only
 * partitions were emptied nobody knows which rows went with them, so delete
 * means alert: the rest of the table's records must stay.  Nor do they where a
 * table that the mapping depends on was emptied.
 */
static void
ev_truncated(EvalBatch *batch, EvalItem *item)
{
	const ConcordRelation *relation = item->event->relation;
	bool		partition = (item->event->flags & CONCORD_TRUNCATE_PARTITION) != 0;
	int			truncate = batch->mapping->options.truncate;

	if ((partition || relation->relid != batch->mapping->source) &&
		truncate == CONCORD_TRUNCATE_DELETE)
		truncate = CONCORD_TRUNCATE_ALERT;
	switch (truncate)
	{
		case CONCORD_TRUNCATE_ALERT:
			ev_settle(item, CONCORD_FAIL, "truncate",
					  psprintf(partition ? "a partition of table \"%s.%s\" was truncated" :
							   "table \"%s.%s\" was truncated",
							   relation->schema, relation->table));
			break;
		case CONCORD_TRUNCATE_IGNORE:
			ev_settle(item, CONCORD_SKIP, NULL, NULL);
			break;
		case CONCORD_TRUNCATE_DELETE:
			ev_settle(item, CONCORD_SEND, NULL, NULL);
			item->mapped->action = CONCORD_ACTION_EVENT;
			break;
	}
}

/* ev_prepare decodes an event's images. */
static void
ev_prepare(EvalBatch *batch, EvalItem *item)
{
	const ConcordEvent *event = item->event;
	ConcordImageValue *old;
	ConcordImageValue *new;

	item->row.event = item->before.event = event;
	item->row.context = item->before.context = CurrentMemoryContext;
	if (event->op == CONCORD_OP_TRUNCATE)
	{
		ev_truncated(batch, item);
		return;
	}
	if (event->relation == NULL)
		return;

	item->row.shape = concord_rows_shape(batch->compiled, event->relation);
	item->before.shape = item->row.shape;
	old = ev_decode(batch, event->relation, event->old_image, event->old_len);
	new = ev_decode(batch, event->relation, event->new_image, event->new_len);
	item->before_key_only = (event->flags & CONCORD_ROW_OLD_IS_KEY) != 0;
	item->row.old = old;
	item->before.values = item->before.old = old;
	if (event->op == CONCORD_OP_DELETE)
	{
		item->row.values = old;
		if (old == NULL)
			ev_settle(item, CONCORD_FAIL, "key",
					  psprintf("the deleted row is not known: table \"%s.%s\" has no replica identity",
							   event->relation->schema, event->relation->table));
		return;
	}
	item->row.values = new;
	item->row.current = true;
	item->row.old_from_new = event->op == CONCORD_OP_UPDATE && old == NULL;
	item->has_before = event->op == CONCORD_OP_UPDATE && old != NULL;
	if (new == NULL)
		ev_settle(item, CONCORD_FAIL, "expression",
				  pstrdup("the event has no new image"));
	else if ((event->op == CONCORD_OP_RESYNC ||
			  (event->flags & CONCORD_EVENT_DEPENDS) != 0) &&
			 !concord_rows_present(batch->compiled, &item->row))
		ev_settle(item, CONCORD_SKIP, NULL, NULL);
}

/* ev_match reads what a filter said. */
static EvalMatch
ev_match(const ConcordValue *value)
{
	return !value->isnull && value->text[0] == 't' ?
		EVAL_MATCHES : EVAL_DIFFERS;
}

/*
 * ev_known says whether an old image has what an expression needs.  What it
 * has depends on the replica identity at the time of the change, so the image
 * itself is asked.
 */
static bool
ev_known(const EvalItem *item, const ConcordExpression *expression)
{
	int			attnum = -1;

	if (!item->before_key_only)
		return true;
	if (expression->whole_row)
		return false;
	while ((attnum = bms_next_member(expression->columns, attnum)) >= 0)
	{
		int			index = item->before.shape->index[attnum];

		if (index < 0 ||
			item->before.values[index].kind == CONCORD_IMAGE_ABSENT)
			return false;
	}
	return true;
}

/* ev_filter finds out which rows match. */
static void
ev_filter(EvalBatch *batch)
{
	ConcordSet *set = &batch->compiled->filter;

	ev_choose(batch);
	for (int i = 0; i < batch->nitems; i++)
	{
		EvalItem   *item = &batch->items[i];

		if (item->plan == EVAL_SETTLED)
			continue;
		item->match = EVAL_MATCHES;
		if (set->n == 0)
			continue;
		if (item->event->op == CONCORD_OP_DELETE &&
			!ev_known(item, set->expressions[0]))
			item->match = EVAL_UNKNOWN;
		else
			ev_add(batch, item, &item->row);
	}
	ev_run(batch, set);
	for (int i = 0; i < batch->nchosen; i++)
	{
		if (batch->chosen[i]->plan != EVAL_SETTLED)
			batch->chosen[i]->match = ev_match(&batch->results[i].values[0]);
	}
}

/* ev_remove plans what a row that is gone, or matches no longer, does. */
static void
ev_remove(EvalBatch *batch, EvalItem *item, bool only_if_linked)
{
	item->plan = EVAL_REMOVE;
	item->mapped->only_if_linked = only_if_linked;
	item->mapped->action = CONCORD_ACTION_DELETE;
	if (batch->mapping->options.on_delete == CONCORD_DELETE_FIELDS)
	{
		item->mapped->action = CONCORD_ACTION_UPSERT;
		item->mapped->deleting = true;
	}
}

/* ev_unmatched plans what an update does to a row that does not match. */
static void
ev_unmatched(EvalBatch *batch, EvalItem *item, EvalMatch before)
{
	if (before == EVAL_DIFFERS)
		ev_settle(item, CONCORD_SKIP, NULL, NULL);
	else if (batch->mapping->options.unmatched == CONCORD_UNMATCHED_DELETE)
		ev_remove(batch, item, before == EVAL_UNKNOWN);
	else
		item->mapped->only_if_linked = before == EVAL_UNKNOWN;
}

/*
 * ev_plan decides what each event does.  Updates of rows that do not match
 * are chosen, for what the row was before decides.
 */
static void
ev_plan(EvalBatch *batch)
{
	const ConcordMappingOptions *options = &batch->mapping->options;
	ConcordSet *set = &batch->compiled->filter;

	ev_choose(batch);
	for (int i = 0; i < batch->nitems; i++)
	{
		EvalItem   *item = &batch->items[i];

		if (item->plan == EVAL_SETTLED)
			continue;
		if (item->event->op == CONCORD_OP_DELETE)
		{
			if (options->on_delete == CONCORD_DELETE_IGNORE ||
				item->match == EVAL_DIFFERS)
				ev_settle(item, CONCORD_SKIP, NULL, NULL);
			else
				ev_remove(batch, item, item->match == EVAL_UNKNOWN);
		}
		else if (item->match == EVAL_MATCHES)
			continue;
		else if (item->event->op != CONCORD_OP_UPDATE ||
				 options->unmatched == CONCORD_UNMATCHED_KEEP)
			ev_settle(item, CONCORD_SKIP, NULL, NULL);
		else if (item->has_before && ev_known(item, set->expressions[0]))
			ev_add(batch, item, &item->before);
		else
			ev_unmatched(batch, item, EVAL_UNKNOWN);
	}
	ev_run(batch, set);
	for (int i = 0; i < batch->nchosen; i++)
	{
		if (batch->chosen[i]->plan != EVAL_SETTLED)
			ev_unmatched(batch, batch->chosen[i],
						 ev_match(&batch->results[i].values[0]));
	}
}

/* ev_sends settles what is not sent by a mapping that takes and does not give. */
static void
ev_sends(EvalBatch *batch)
{
	const ConcordMapping *mapping = batch->mapping;

	for (int i = 0; i < batch->nitems; i++)
	{
		EvalItem   *item = &batch->items[i];

		if (mapping->push_off && (item->plan != EVAL_SETTLED ||
								  item->mapped->verdict != CONCORD_SKIP))
			ev_settle(item, CONCORD_SKIP, "push", pstrdup("push is off"));
		else if (item->plan == EVAL_UPSERT && !batch->compiled->sends)
			ev_settle(item, CONCORD_SKIP, "owner",
					  psprintf("all fields are owned by \"%s\"", mapping->server));
	}
}

/* ev_checks evaluates the checks; NULL passes, as with CHECK constraints. */
static void
ev_checks(EvalBatch *batch)
{
	ConcordSet *set = &batch->compiled->checks;

	ev_choose(batch);
	for (int i = 0; i < batch->nitems && set->n > 0; i++)
	{
		if (batch->items[i].plan == EVAL_UPSERT)
			ev_add(batch, &batch->items[i], &batch->items[i].row);
	}
	ev_run(batch, set);
	for (int i = 0; i < batch->nchosen; i++)
	{
		for (int j = 0; j < set->n && batch->chosen[i]->plan != EVAL_SETTLED; j++)
		{
			const ConcordValue *value = &batch->results[i].values[j];

			if (!value->isnull && value->text[0] != 't')
				ev_settle(batch->chosen[i], CONCORD_FAIL,
						  set->expressions[j]->name,
						  psprintf("check \"%s\" failed",
								   set->expressions[j]->name));
		}
	}
}

/* ev_unknown says whether an expression needs a value that is not known. */
static bool
ev_unknown(const ConcordRow *row, const ConcordExpression *expression)
{
	return row->unknown != NULL &&
		(expression->whole_row ||
		 bms_overlap(row->unknown, expression->columns));
}

/*
 * ev_route notes the server that a row is for.  The image of a row that is gone
 * may not have the columns that tell; then the record's link does, or nobody.
 */
static void
ev_route(EvalItem *item, const ConcordExpression *expression,
		 const ConcordValue *value)
{
	if (ev_unknown(&item->row, expression) ||
		(item->event->op == CONCORD_OP_DELETE && !ev_known(item, expression)))
	{
		if (item->plan == EVAL_REMOVE)
			item->mapped->route_unknown = item->mapped->only_if_linked = true;
		else
			ev_settle(item, CONCORD_FAIL, "route",
					  pstrdup("the row lacks a column that its route needs"));
	}
	else if (!value->isnull)
		item->mapped->route = value->text;
}

/* ev_skip notes that a field of an item is left out. */
static void
ev_skip(ConcordMapped *mapped, int field, int nfields)
{
	if (mapped->skip == NULL)
		mapped->skip = palloc0(sizeof(bool) * nfields);
	mapped->skip[field] = true;
}

/*
 * ev_owned leaves out, of a row that is routed, what its server owns.  Where
 * that is everything, the server is not told.
 */
static void
ev_owned(EvalBatch *batch, EvalItem *item)
{
	const ConcordMapped *mapped = item->mapped;
	const ConcordMapping *mapping = batch->mapping;
	Oid			server = mapped->route == NULL ? mapping->serverid :
		get_foreign_server_oid(mapped->route, true);
	bool		sends = false;
	int			i = 0;
	ListCell   *lc;

	if (mapping->options.route == NULL || item->plan != EVAL_UPSERT)
		return;
	foreach(lc, batch->compiled->sent)
	{
		if (concord_ownership_pushed(mapping, lfirst(lc), server))
			sends = true;
		else
			ev_skip(item->mapped, i, mapped->nfields);
		i++;
	}
	if (!sends)
		ev_settle(item, CONCORD_SKIP, "owner",
				  psprintf("all fields are owned by \"%s\"",
						   mapped->route != NULL ? mapped->route : mapping->server));
}

/* ev_keep takes the values of an item's set as its result. */
static void
ev_keep(EvalBatch *batch, EvalItem *item, const ConcordSet *set,
		ConcordValue *values)
{
	ConcordCompiled *compiled = batch->compiled;
	ConcordMapped *mapped = item->mapped;
	int			first = compiled->nleading;

	for (int i = 0; i < set->n; i++)
	{
		const ConcordExpression *expression = set->expressions[i];
		bool		unknown = ev_unknown(&item->row, expression);

		if (i < compiled->nkeys && (values[i].isnull || unknown))
		{
			ev_settle(item, CONCORD_FAIL, "key",
					  psprintf("%s is null", concord_run_describe(expression)));
			return;
		}
		if (!concord_value_is_finite(&values[i]))
		{
			ev_settle(item, CONCORD_FAIL, "number",
					  psprintf("%s is %s", concord_run_describe(expression),
							   values[i].text));
			return;
		}
		if (i >= first && unknown)
			ev_skip(mapped, i - first, set->n - first);
	}
	if (compiled->route >= 0)
		ev_route(item, set->expressions[compiled->route],
				 &values[compiled->route]);
	mapped->keys = values;
	if (compiled->ordering >= 0 && !values[compiled->ordering].isnull)
		mapped->ordering_key = values[compiled->ordering].text;
	mapped->nfields = set->n - first;
	if (mapped->nfields > 0)
		mapped->fields = values + first;
	mapped->field_defs = set == &compiled->upsert ? compiled->sent :
		batch->mapping->options.on_delete_fields;
	ev_owned(batch, item);
}

/* ev_values evaluates keys, order and fields of all items with a plan. */
static void
ev_values(EvalBatch *batch, EvalPlan plan, ConcordSet *set)
{
	ev_choose(batch);
	for (int i = 0; i < batch->nitems; i++)
	{
		if (batch->items[i].plan == plan)
			ev_add(batch, &batch->items[i], &batch->items[i].row);
	}
	ev_run(batch, set);
	for (int i = 0; i < batch->nchosen; i++)
	{
		if (batch->chosen[i]->plan != EVAL_SETTLED)
			ev_keep(batch, batch->chosen[i], set, batch->results[i].values);
	}
}

/*
 * ev_same_columns says whether the columns that the key is made of are the
 * same in both images; then nothing needs to be evaluated.
 */
static bool
ev_same_columns(EvalBatch *batch, EvalItem *item, bool *known)
{
	const ConcordSet *set = &batch->compiled->keys;
	bool		same = true;

	*known = true;
	for (int i = 0; i < set->n; i++)
	{
		const ConcordExpression *expression = set->expressions[i];
		int			attnum = -1;

		if (!ev_known(item, expression))
			*known = false;
		if (expression->whole_row)
			same = false;
		while ((attnum = bms_next_member(expression->columns, attnum)) >= 0)
		{
			int			index = item->row.shape->index[attnum];
			const ConcordImageValue *a;
			const ConcordImageValue *b;

			if (index < 0)
				continue;
			a = &item->row.values[index];
			b = &item->before.values[index];
			if (a->kind != CONCORD_IMAGE_UNCHANGED &&
				(a->kind != b->kind || a->kind == CONCORD_IMAGE_FAILED || a->len != b->len ||
				 (a->len > 0 && memcmp(a->text, b->text, a->len) != 0)))
				same = false;
		}
	}
	return same;
}

/* ev_old_keys finds the key that a record had before an update. */
static void
ev_old_keys(EvalBatch *batch)
{
	ConcordSet *set = &batch->compiled->keys;

	ev_choose(batch);
	for (int i = 0; i < batch->nitems; i++)
	{
		EvalItem   *item = &batch->items[i];
		bool		known;

		if (item->plan != EVAL_SETTLED && item->has_before &&
			!ev_same_columns(batch, item, &known) && known)
			ev_add(batch, item, &item->before);
	}
	ev_run(batch, set);
	for (int i = 0; i < batch->nchosen; i++)
	{
		EvalItem   *item = batch->chosen[i];
		ConcordValue *old = batch->results[i].values;

		if (item->plan == EVAL_SETTLED ||
			concord_keys_equal(old, item->mapped->keys, set->n))
			continue;
		item->mapped->old_keys = old;
	}
}

/* ev_finish sets local key and order of an item. */
static void
ev_finish(EvalBatch *batch, EvalItem *item)
{
	ConcordMapped *mapped = item->mapped;

	if (item->event->relation == NULL)
		mapped->local_key = concord_keys_message(item->event);
	else if (item->row.values != NULL)
		mapped->local_key = concord_row_key(batch->compiled, &item->row,
											batch->scratch);
	if (item->has_before && mapped->local_key != NULL)
	{
		char	   *old = concord_row_key(batch->compiled, &item->before,
										  batch->scratch);

		if (old != NULL && strcmp(old, mapped->local_key) != 0)
			mapped->old_local_key = old;
	}
	if (item->plan != EVAL_SETTLED)
	{
		mapped->verdict = CONCORD_SEND;
		if (mapped->local_key == NULL)
			ev_settle(item, CONCORD_FAIL, "key",
					  pstrdup("the key of the row is not known"));
		else if (!concord_row_key_fits(&batch->mapping->options, mapped->local_key) ||
				 !concord_row_key_fits(&batch->mapping->options, mapped->old_local_key))
			ev_settle(item, CONCORD_FAIL, "key",
					  psprintf("the local key is longer than %d bytes",
							   CONCORD_LOCAL_KEY_MAX));
	}
	/* the record to remove is the one that is there under its old key */
	if (item->plan == EVAL_REMOVE && mapped->old_keys != NULL)
	{
		mapped->keys = mapped->old_keys;
		mapped->old_keys = NULL;
		if (mapped->old_local_key != NULL)
			mapped->local_key = mapped->old_local_key;
		mapped->old_local_key = NULL;
	}
	if (batch->mapping->options.ordering == CONCORD_ORDER_KEY)
		mapped->ordering_key = mapped->local_key;
}

/* ev_parents has rows wait whose parent's record has no link yet. */
static void
ev_parents(EvalBatch *batch)
{
	if (batch->mapping->options.parent == NULL || concord_mapping_nesting != 0)
		return;
	for (int i = 0; i < batch->nitems; i++)
	{
		EvalItem   *item = &batch->items[i];
		char	   *missing;

		if (item->plan == EVAL_UPSERT &&
			!concord_children_linked(batch->compiled, &item->row, &missing))
			ev_settle(item, CONCORD_WAIT, "link", missing);
	}
}

/* ev_batch evaluates a batch in the mapping's environment. */
static void
ev_batch(EvalBatch *batch)
{
	ev_filter(batch);
	ev_plan(batch);
	ev_sends(batch);
	ev_checks(batch);
	ev_parents(batch);
	ev_values(batch, EVAL_UPSERT, &batch->compiled->upsert);
	ev_values(batch, EVAL_REMOVE, &batch->compiled->remove);
	ev_old_keys(batch);
	for (int i = 0; i < batch->nitems; i++)
		ev_finish(batch, &batch->items[i]);
}

/* ev_open makes a batch of events. */
static void
ev_open(EvalBatch *batch, const ConcordEvent *const *events,
		ConcordMapped *mapped)
{
	MemoryContext old = MemoryContextSwitchTo(batch->scratch);

	batch->items = palloc0(sizeof(EvalItem) * Max(batch->nitems, 1));
	batch->results = palloc(sizeof(ConcordResult) * Max(batch->nitems, 1));
	batch->chosen = palloc(sizeof(EvalItem *) * Max(batch->nitems, 1));
	MemoryContextSwitchTo(old);
	for (int i = 0; i < batch->nitems; i++)
	{
		batch->items[i].event = events[i];
		batch->items[i].mapped = &mapped[i];
		batch->items[i].plan = EVAL_UPSERT;
		ev_prepare(batch, &batch->items[i]);
	}
}

/* concord_mapping_evaluate_here evaluates events in the environment that stands. */
ConcordMapped *
concord_mapping_evaluate_here(ConcordCompiled *compiled,
							  const ConcordEvent *const *events, int nevents)
{
	ConcordMapped *mapped = palloc0(sizeof(ConcordMapped) * Max(nevents, 1));
	EvalBatch	batch = {compiled, compiled->mapping};
	bool		outer = concord_mapping_evaluating;

	batch.scratch = AllocSetContextCreate(CurrentMemoryContext,
										  "concord evaluation",
										  ALLOCSET_DEFAULT_SIZES);
	concord_mapping_evaluating = true;
	PG_TRY();
	{
		concord_compile_refresh(compiled);
		batch.nitems = nevents;
		ev_open(&batch, events, mapped);
		ev_batch(&batch);
	}
	PG_FINALLY();
	{
		concord_mapping_evaluating = outer;
		MemoryContextDelete(batch.scratch);
	}
	PG_END_TRY();
	return mapped;
}
