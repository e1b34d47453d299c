/*-------------------------------------------------------------------------
 *
 * children.c
 *	  Rows of another mapping that go along when a record is created.
 *
 * A field {"children": "order_items"} names a mapping whose option parent names
 * this one.  When a row is new to the system, the rows of that mapping which
 * refer to it are read, as that mapping's definer, and mapped by it; they become
 * an array in the body of the create, and get their links from its answer.  Left
 * out are rows that have a link already, those that the mapping does not send,
 * and those that must wait or fail: they follow by requests of their own.
 *
 * What says only where the row belongs is left out of the array: columns that
 * refer to the parent, and expressions that call remote_id() of its mapping,
 * which has no link yet.
 *
 * The snapshot that the rows were read with goes into their links: events of
 * transactions that it saw have nothing to add (delivery/link.c).
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/compile.h"

#include "base/json.h"
#include "catalog/ownership.h"
#include "catalog/pg_type.h"
#include "decoder/protocol.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "nodes/nodeFuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define CHL_ROWS	1000		/* of one record; others follow by themselves */
#define CHL_ROWS_AT_ONCE	20000	/* of all records mapped at once */

int32		concord_mapping_nesting = 0;

/* A field of children, ready to be read. */
struct ConcordChild
{
	const ConcordField *field;
	ConcordMapping *mapping;
	ConcordCompiled *compiled;	/* NULL: its rows do not go along now */
	ConcordRelation relation;	/* the columns of its local key */
	SPIPlanPtr	plan;			/* keys of the rows of one parent */
	int			nparams;
	FmgrInfo   *input;			/* [nparams] of the columns that refer */
	Oid		   *ioparam;
	int32	   *typmod;
};

/* chl_free_plan gives back what the plan cache holds for a field. */
static void
chl_free_plan(void *arg)
{
	struct ConcordChild *child = arg;

	if (child->plan != NULL)
		SPI_freeplan(child->plan);
	child->plan = NULL;
}

/* chl_find returns the children that a mapping has, made once. */
static List *
chl_find(ConcordCompiled *compiled)
{
	MemoryContext old;
	List	   *children = NIL;
	ListCell   *lc;

	if (compiled->children_known)
		return compiled->children;
	old = MemoryContextSwitchTo(compiled->context);
	foreach(lc, compiled->mapping->fields)
	{
		const ConcordField *field = lfirst(lc);
		struct ConcordChild *child;
		MemoryContextCallback *callback;

		if (field->children == NULL)
			continue;
		child = palloc0(sizeof(struct ConcordChild));
		callback = palloc0(sizeof(MemoryContextCallback));
		callback->func = chl_free_plan;
		callback->arg = child;
		MemoryContextRegisterResetCallback(compiled->context, callback);
		child->field = field;
		child->mapping = concord_mapping_by_name(field->children,
												 compiled->context);
		MemoryContextSwitchTo(compiled->context);
		if (child->mapping->state == CONCORD_MAPPING_ACTIVE &&
			child->mapping->options.parent != NULL &&
			strcmp(child->mapping->options.parent, compiled->mapping->name) == 0)
			child->compiled = concord_mapping_compile(child->mapping,
													  compiled->context);
		children = lappend(children, child);
	}
	/* all of them or none: what has raised in between begins anew */
	compiled->children = children;
	compiled->children_known = true;
	MemoryContextSwitchTo(old);
	return compiled->children;
}

/* concord_mapping_children_changed: other mappings' rows go otherwise now. */
bool
concord_mapping_children_changed(const ConcordCompiled *compiled, List *mappings)
{
	ListCell   *lc;
	ListCell   *inner;

	foreach(lc, compiled->children)
	{
		const struct ConcordChild *child = lfirst(lc);
		bool		same = false;

		foreach(inner, mappings)
		{
			const ConcordMapping *m = lfirst(inner);

			if (m->id == child->mapping->id)
				same = m->version == child->mapping->version &&
					m->state == child->mapping->state &&
					m->definer == child->mapping->definer &&
					concord_ownership_same(m, child->mapping);
		}
		if (!same)
			return true;
	}
	return false;
}

/* chl_prepare prepares reading the keys of a parent's rows. */
static void
chl_prepare(struct ConcordChild *child)
{
	const ConcordMapping *m = child->mapping;
	MemoryContext old = MemoryContextSwitchTo(child->compiled->context);
	ConcordRelation *relation = &child->relation;
	Oid		   *types;
	StringInfoData buf;
	ListCell   *lc;
	int			n = 0;

	relation->id = -m->id;
	relation->relid = m->source;
	relation->replident = 'd';
	relation->schema = get_namespace_name(get_rel_namespace(m->source));
	relation->table = get_rel_name(m->source);
	relation->columns = palloc0(sizeof(ConcordColumn) *
								Max(list_length(m->local_key), 1));
	initStringInfo(&buf);
	appendStringInfoString(&buf, "SELECT ");
	foreach(lc, m->local_key)
	{
		ConcordColumn *column = &relation->columns[n];
		Oid			collation;

		column->name = lfirst(lc);
		column->attnum = get_attnum(m->source, column->name);
		get_atttypetypmodcoll(m->source, column->attnum, &column->typid,
							  &column->typmod, &collation);
		appendStringInfo(&buf, "%s%s", n++ > 0 ? ", " : "",
						 quote_identifier(column->name));
	}
	relation->ncolumns = n;
	appendStringInfo(&buf, " FROM %s WHERE ",
					 quote_qualified_identifier(relation->schema, relation->table));
	n = list_length(m->options.parent_columns);
	types = palloc(sizeof(Oid) * n);
	child->input = palloc0(sizeof(FmgrInfo) * n);
	child->ioparam = palloc0(sizeof(Oid) * n);
	child->typmod = palloc0(sizeof(int32) * n);
	foreach(lc, m->options.parent_columns)
	{
		const ConcordDependColumn *pair = lfirst(lc);
		int			i = foreach_current_index(lc);
		Oid			function;
		Oid			collation;

		get_atttypetypmodcoll(m->source, get_attnum(m->source, pair->theirs),
							  &types[i], &child->typmod[i], &collation);
		getTypeInputInfo(types[i], &function, &child->ioparam[i]);
		fmgr_info_cxt(function, &child->input[i], child->compiled->context);
		appendStringInfo(&buf, "%s%s = $%d", i > 0 ? " AND " : "",
						 quote_identifier(pair->theirs), i + 1);
	}
	child->nparams = n;
	appendStringInfoString(&buf, " ORDER BY 1");
	for (int i = 2; i <= relation->ncolumns; i++)
		appendStringInfo(&buf, ", %d", i);
	child->plan = SPI_prepare(buf.data, n, types);
	if (child->plan == NULL || SPI_keepplan(child->plan) != 0)
		elog(ERROR, "could not prepare reading table \"%s\"", relation->table);
	MemoryContextSwitchTo(old);
}

/* chl_text gives a member of a local key as text. */
static char *
chl_text(Jsonb *key, const char *name)
{
	JsonbValue	found;
	JsonbValue *value = getKeyJsonValueFromContainer(&key->root, name,
													 strlen(name), &found);

	if (value == NULL)
		return NULL;
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			return NULL;
	}
}

/* chl_event makes an insert of a row, of which only the key is given. */
static ConcordEvent *
chl_event(const struct ConcordChild *child, HeapTuple tuple, TupleDesc desc)
{
	ConcordEvent *event = palloc0(sizeof(ConcordEvent));
	StringInfoData buf;
	char		varint[CONCORD_VARINT_MAX];

	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, varint,
						   concord_put_varint(varint, desc->natts) - varint);
	for (int i = 0; i < desc->natts; i++)
	{
		char	   *text = SPI_getvalue(tuple, desc, i + 1);

		appendBinaryStringInfo(&buf, varint,
							   concord_put_varint(varint, text == NULL ? CONCORD_IMAGE_NULL :
												  CONCORD_IMAGE_TEXT + strlen(text)) - varint);
		if (text != NULL)
			appendStringInfoString(&buf, text);
	}
	event->op = CONCORD_OP_INSERT;
	event->flags = CONCORD_ROW_NEW | CONCORD_EVENT_DEPENDS;
	event->committed_at = GetCurrentTransactionStartTimestamp();
	event->relation = &child->relation;
	event->new_image = buf.data;
	event->new_len = buf.len;
	return event;
}

/* chl_rows reads the rows that refer to a parent, as events. */
static List *
chl_rows(struct ConcordChild *child, const ConcordMapped *parent)
{
	MemoryContext context = CurrentMemoryContext;
	const ConcordMapping *m = child->mapping;
	ConcordEnvironment environment;
	Jsonb	   *key;
	Datum	   *values;
	List	   *events = NIL;
	ListCell   *lc;

	key = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
											 CStringGetDatum(parent->local_key)));
	concord_environment_enter(&environment, m->definer, m->search_path);
	if (child->plan == NULL)
		chl_prepare(child);
	values = palloc(sizeof(Datum) * child->nparams);
	foreach(lc, m->options.parent_columns)
	{
		const ConcordDependColumn *pair = lfirst(lc);
		int			i = foreach_current_index(lc);
		char	   *text = chl_text(key, pair->own);

		if (text == NULL)
		{
			concord_environment_leave(&environment);
			return NIL;
		}
		values[i] = InputFunctionCall(&child->input[i], text, child->ioparam[i],
									  child->typmod[i]);
	}
	if (SPI_execute_plan(child->plan, values, NULL, true, CHL_ROWS) != SPI_OK_SELECT)
		elog(ERROR, "could not read table \"%s\"", child->relation.table);
	MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < SPI_processed; i++)
		events = lappend(events, chl_event(child, SPI_tuptable->vals[i],
										   SPI_tuptable->tupdesc));
	SPI_freetuptable(SPI_tuptable);
	concord_environment_leave(&environment);
	return events;
}

/* chl_omit says which key parts and fields only say where the row belongs. */
static void
chl_omit(const struct ConcordChild *child, ConcordMapped *row)
{
	const ConcordCompiled *compiled = child->compiled;
	const ConcordSet *set = &compiled->upsert;
	int			first = set->n - row->nfields;
	bool	   *omit = palloc0(sizeof(bool) * (set->n + 1));

	for (int i = 0; i < set->n; i++)
	{
		const ConcordExpression *expression = set->expressions[i];
		bool		refers = expression->of_parent;
		ListCell   *lc;

		foreach(lc, child->mapping->options.parent_columns)
		{
			const ConcordDependColumn *pair = lfirst(lc);

			refers |= expression->kind == CONCORD_EXPRESSION_COLUMN &&
				expression->attnum == get_attnum(child->mapping->source, pair->theirs);
		}
		omit[i] = refers;
		/* what it will be is not known yet */
		if (expression->of_parent && i >= first)
		{
			if (row->skip == NULL)
				row->skip = palloc0(sizeof(bool) * row->nfields);
			row->skip[i - first] = true;
		}
	}
	row->omit_keys = omit;
	row->omit = omit + first;
}

/* chl_read reads and maps one field's children of a parent. */
static int
chl_read(struct ConcordChild *child, const ConcordMapping *parent,
		 ConcordMapped *mapped, ConcordChildren *children)
{
	List	   *list = chl_rows(child, mapped);
	const ConcordEvent **events;
	ConcordMapped *rows;
	int			n = 0;
	ListCell   *lc;
	int32		outer = concord_mapping_nesting;

	children->field = child->field;
	children->mapping = child->mapping;
	if (list == NIL)
		return 0;
	events = palloc(sizeof(ConcordEvent *) * list_length(list));
	foreach(lc, list)
		events[n++] = lfirst(lc);
	concord_mapping_nesting = parent->id;
	PG_TRY();
	{
		rows = concord_mapping_evaluate(child->compiled, events, n,
										CurrentMemoryContext);
	}
	PG_FINALLY();
	{
		concord_mapping_nesting = outer;
	}
	PG_END_TRY();
	children->rows = palloc(sizeof(ConcordMapped *) * n);
	for (int i = 0; i < n; i++)
	{
		ConcordKnownLink known = {false};

		if (rows[i].verdict != CONCORD_SEND ||
			rows[i].action != CONCORD_ACTION_UPSERT ||
			(concord_mapping_link(child->mapping->id, rows[i].local_key, &known) &&
			 known.present))
			continue;
		chl_omit(child, &rows[i]);
		children->rows[children->n++] = &rows[i];
	}
	return n;
}

/* concord_children_evaluate adds the children of what may be created. */
void
concord_children_evaluate(ConcordCompiled *compiled,
						  const ConcordEvent *const *events, int nevents,
						  ConcordMapped *mapped)
{
	List	   *all;
	char	   *snapshot;
	int			budget = CHL_ROWS_AT_ONCE;

	if (concord_mapping_nesting != 0)
		return;
	all = chl_find(compiled);
	if (all == NIL)
		return;
	snapshot = DatumGetCString(OidFunctionCall1(F_PG_SNAPSHOT_OUT,
												OidFunctionCall0(F_PG_CURRENT_SNAPSHOT)));
	for (int i = 0; i < nevents && budget > 0; i++)
	{
		ConcordKnownLink known = {false};
		ListCell   *lc;

		if (mapped[i].verdict != CONCORD_SEND || mapped[i].deleting ||
			mapped[i].action != CONCORD_ACTION_UPSERT ||
			mapped[i].old_local_key != NULL)
			continue;
		if (events[i]->op != CONCORD_OP_INSERT &&
			concord_mapping_link(compiled->mapping->id, mapped[i].local_key,
								 &known) && known.present)
			continue;
		mapped[i].children = palloc0(sizeof(ConcordChildren) * list_length(all));
		mapped[i].children_snapshot = snapshot;
		foreach(lc, all)
		{
			struct ConcordChild *child = lfirst(lc);

			if (child->compiled != NULL)
				budget -= chl_read(child, compiled->mapping, &mapped[i],
								   &mapped[i].children[mapped[i].nchildren++]);
		}
	}
}

/* chl_walk finds a call of remote_id() that names a mapping. */
static bool
chl_walk(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, FuncExpr))
	{
		FuncExpr   *call = (FuncExpr *) node;
		char	   *name = get_func_name(call->funcid);
		Node	   *first = call->args == NIL ? NULL : linitial(call->args);

		if (name != NULL && strcmp(name, "remote_id") == 0 && first != NULL &&
			IsA(first, Const) && !((Const *) first)->constisnull &&
			((Const *) first)->consttype == NAMEOID &&
			strcmp(NameStr(*DatumGetName(((Const *) first)->constvalue)),
				   context) == 0)
			return true;
	}
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, chl_walk, context, 0);
	return expression_tree_walker(node, chl_walk, context);
}

/* concord_children_refers says whether an expression asks for a parent's id. */
bool
concord_children_refers(Node *node, const ConcordMapping *mapping)
{
	return mapping->options.parent != NULL &&
		chl_walk(node, mapping->options.parent);
}

/*
 * concord_children_linked finds the link of the record that a row of a mapping
 * with a parent belongs to; false: it has none yet.  NULL references wait for
 * nobody.
 */
bool
concord_children_linked(ConcordCompiled *compiled, ConcordRow *row,
						char **missing)
{
	const ConcordMapping *m = compiled->mapping;
	ConcordMapping *parent;
	ConcordKnownLink known = {false};
	StringInfoData buf;
	char	   *key;
	ListCell   *lc;
	ListCell   *inner;

	if (compiled->parent == NULL)
		compiled->parent = concord_mapping_by_name(m->options.parent,
												   compiled->context);
	parent = compiled->parent;
	initStringInfo(&buf);
	foreach(lc, parent->local_key)
	{
		const char *name = lfirst(lc);

		foreach(inner, m->options.parent_columns)
		{
			const ConcordDependColumn *pair = lfirst(inner);
			ConcordImageValue value;
			char	   *text;
			AttrNumber	attnum;

			if (strcmp(pair->own, name) != 0)
				continue;
			attnum = get_attnum(m->source, pair->theirs);
			if (attnum == InvalidAttrNumber)
				return true;
			value = concord_rows_value(compiled, row, attnum);
			if (!concord_image_has_value(&value))
				return true;
			text = concord_image_text(&value);
			appendStringInfoString(&buf, buf.len == 0 ? "{" : ", ");
			concord_json_string(&buf, name, strlen(name));
			appendStringInfoString(&buf, ": ");
			concord_json_key(&buf, getBaseType(get_atttype(m->source, attnum)),
							 text, strlen(text));
		}
	}
	appendStringInfoChar(&buf, '}');
	key = concord_json_server(buf.data);
	if (concord_mapping_link(parent->id, key, &known) && known.present)
		return true;
	*missing = psprintf("mapping \"%s\" has no link for %s", parent->name,
						key);
	return false;
}
