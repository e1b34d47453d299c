/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  Foreign scans: begin, give row after row, begin anew, end.
 *
 * A scan reads as the role that the plan says (a view's owner), with that
 * role's user mapping; without USAGE on the server it is refused here.
 *
 * A list of values (column = ANY ...) that is longer than the system takes in
 * one request is asked for in parts; values that are equal are asked for once,
 * or their records would come twice.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/scan.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "fdw/filter_parts.h"
#include "fdw/plan.h"
#include "fdw/routine.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "tcop/pquery.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/sortsupport.h"
#include "utils/typcache.h"

/* Of a query string with a list in it; systems take 8 kB and more. */
#define SCN_MAX_LENGTH	6000
/* Of that for the keys of a join, whatever else is asked. */
#define SCN_MIN_ROOM	1000

/* scn_expand writes $expand of the navigations that wanted columns are in. */
static void
scn_expand(StringInfo buf, const ConcordForeignTable *table, bool odata2,
		   const bool *wanted)
{
	List	   *done = NIL;

	for (int i = 0; i < table->ncolumns; i++)
	{
		const ConcordForeignColumn *column = &table->columns[i];
		int			n = 0;

		if (!wanted[i] || !column->expand || column->npath < 1 ||
			list_member(done, makeString(column->path[0])))
			continue;
		appendStringInfoString(buf, done == NIL ?
							   (buf->len > 0 ? "&$expand=" : "$expand=") : ",");
		done = lappend(done, makeString(column->path[0]));
		concord_url_escape(buf, column->path[0], "");
		if (odata2)
			continue;
		for (int k = i; k < table->ncolumns; k++)
		{
			const ConcordForeignColumn *other = &table->columns[k];

			if (!wanted[k] || !other->expand || other->npath < 1 ||
				strcmp(other->path[0], column->path[0]) != 0)
				continue;
			/* a column that is all of it, or an element of it: no choice */
			if (other->npath != 2 || isdigit((unsigned char) *other->path[1]))
			{
				n = -1;
				break;
			}
			n++;
		}
		if (n < 1)
			continue;
		n = 0;
		for (int k = i; k < table->ncolumns; k++)
		{
			const ConcordForeignColumn *other = &table->columns[k];

			if (!wanted[k] || !other->expand || other->npath < 1 ||
				strcmp(other->path[0], column->path[0]) != 0)
				continue;
			appendStringInfoString(buf, n++ == 0 ? "($select=" : ",");
			concord_url_escape(buf, other->path[1], "");
		}
		appendStringInfoChar(buf, ')');
	}
}

/* concord_scan_select writes which columns are asked for. */
char *
concord_scan_select(const ConcordForeignTable *table,
					const ConcordReading *reading, bool odata2,
					const bool *wanted)
{
	StringInfoData buf;
	StringInfoData names;
	List	   *done = NIL;
	bool		all = false;

	initStringInfo(&buf);
	initStringInfo(&names);
	for (int i = 0; i < table->ncolumns; i++)
	{
		const ConcordForeignColumn *column = &table->columns[i];
		char	   *name;

		if (!wanted[i])
			continue;
		if (column->npath == 0)
			all = true;
		if (all || column->path[0][0] == '@' || (column->expand && !odata2))
			continue;
		name = column->expand ? column->name : column->path[0];
		if (list_member(done, makeString(name)))
			continue;
		done = lappend(done, makeString(name));
		appendStringInfoString(&names, names.len > 0 ? "," : "");
		concord_url_escape(&names, name, "/");
	}
	if (!all && names.len > 0 && reading->select != NULL)
	{
		concord_url_escape(&buf, reading->select, "$[]");
		appendStringInfo(&buf, "=%s", names.data);
	}
	if (reading->odata)
		scn_expand(&buf, table, odata2, wanted);
	return buf.data;
}

/* concord_scan_create makes what a scan needs. */
ConcordScan *
concord_scan_create(ConcordForeignTable *table, ConcordPeer *peer, List *attrs,
					bool tags)
{
	ConcordScan *scan = palloc0(sizeof(ConcordScan));
	ListCell   *lc;

	scan->table = table;
	scan->peer = peer;
	scan->reading = concord_connector_reading(peer->server->connector);
	scan->odata2 = peer->server->connector->odata2;
	scan->wanted = palloc0(sizeof(bool) * (table->ncolumns + 1));
	if (attrs == NIL)
	{
		for (int i = 0; i < table->ncolumns; i++)
			scan->wanted[i] = table->columns[i].attnum != 0;
	}
	foreach(lc, attrs)
		scan->wanted[lfirst_int(lc) - 1] = true;
	scan->pick = concord_pick_create(table, scan->wanted, tags);
	scan->converters = concord_converter_create(table, scan->wanted);
	scan->slices = palloc0(sizeof(ConcordSlice) * (table->ncolumns + 1));
	scan->select = concord_scan_select(table, scan->reading, scan->odata2,
									   scan->wanted);
	scan->query.url = concord_reader_url(peer->server, table,
										 scan->reading->path);
	scan->query.limit = -1;
	scan->reader = concord_reader_create(table, peer);
	scan->list_param = -1;
	scan->list_size = table->list_size > 0 ? table->list_size :
		scan->reading->list_size;
	if (tags)
		scan->tags = concord_tags_create();
	return scan;
}

/* concord_scan_take makes values of a record. */
void
concord_scan_take(ConcordScan *scan, ConcordSlice record, int page,
				  Datum *values, bool *nulls)
{
	if (page != scan->page)
		concord_pick_forget(scan->pick);
	scan->page = page;
	concord_pick_record(scan->pick, record, scan->slices);
	for (int i = 0; i < scan->noutput; i++)
	{
		int			attnum = scan->output[i];

		nulls[i] = true;
		values[i] = (Datum) 0;
		if (attnum > 0 && scan->wanted[attnum - 1])
			nulls[i] = !concord_convert(scan->converters[attnum - 1],
										scan->slices, &values[i]);
	}
}

/* scn_item reads an item of the plan. */
static Node *
scn_item(const ForeignScan *plan, ConcordPlanItem item)
{
	return list_nth(plan->fdw_private, item);
}

static int64
scn_number(const ForeignScan *plan, ConcordPlanItem item)
{
	return strtoll(strVal(scn_item(plan, item)), NULL, 10);
}

/* scn_output says which column each place of a scan's tuples is. */
static void
scn_output(ConcordScan *scan, const ForeignScan *plan)
{
	List	   *columns = (List *) scn_item(plan, CONCORD_PLAN_OUTPUT);

	scan->noutput = columns != NIL ? list_length(columns) :
		scan->table->ncolumns;
	scan->output = palloc0(sizeof(int) * (scan->noutput + 1));
	for (int i = 0; i < scan->noutput; i++)
		scan->output[i] = columns != NIL ? list_nth_int(columns, i) :
			scan->table->columns[i].attnum;
}

/* scn_table opens the table of a plan and reads its options. */
static ConcordForeignTable *
scn_table(ForeignScanState *node, Index rti)
{
	Oid			relid = exec_rt_fetch(rti, node->ss.ps.state)->relid;
	Relation	rel = table_open(relid, NoLock);
	ConcordForeignTable *table = concord_fdw_table(rel);

	table_close(rel, NoLock);
	return table;
}

/* concord_fdw_begin_scan begins a scan; nothing is sent yet. */
void
concord_fdw_begin_scan(ForeignScanState *node, int eflags)
{
	ForeignScan *plan = (ForeignScan *) node->ss.ps.plan;
	Index		rti = concord_scan_table(plan);
	Oid			userid = concord_scan_user(node, plan, rti);
	ConcordScan *scan;
	ConcordForeignTable *table;
	ListCell   *lc;
	int			i = 0;

	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	table = scn_table(node, rti);
	scan = concord_scan_create(table,
							   concord_peer_get(table->serverid,
												OidIsValid(userid) ? userid :
												GetUserId()),
							   (List *) scn_item(plan, CONCORD_PLAN_ATTRS),
							   boolVal(scn_item(plan, CONCORD_PLAN_ETAGS)));
	node->fdw_state = scan;
	scan->async = node->ss.ps.async_capable;
	scan->count = boolVal(scn_item(plan, CONCORD_PLAN_COUNT));
	/* rows that are written take their time, too */
	scan->eager = boolVal(scn_item(plan, CONCORD_PLAN_EAGER)) && !scan->async &&
		scan->tags == NULL;
	scan->clauses = (List *) scn_item(plan, CONCORD_PLAN_CLAUSES);
	scan->order = scan->count ? "" :
		concord_order_stable(table, scan->reading,
							 strVal(scn_item(plan, CONCORD_PLAN_ORDER)));
	scan->query.limit = scn_number(plan, CONCORD_PLAN_LIMIT);
	scan->query.skip = scn_number(plan, CONCORD_PLAN_SKIP);
	scan->query.single = table->singleton;
	if (scan->count && scan->reading->count != NULL)
	{
		scan->query.url = concord_reader_url(scan->peer->server, table,
											 scan->reading->count);
		scan->query.single = true;
	}
	scn_output(scan, plan);
	scan->list_param = concord_filter_list(scan->clauses, scan->reading,
										   &scan->list_column);
	if (scn_item(plan, CONCORD_PLAN_KEYS) != NULL)
		scan->keys = concord_join_keys_create(table, scan->peer->server,
											  (List *) scn_item(plan, CONCORD_PLAN_KEYS));

	scan->nparams = list_length(plan->fdw_exprs);
	scan->params = palloc(sizeof(ExprState *) * (scan->nparams + 1));
	scan->values.types = palloc(sizeof(Oid) * (scan->nparams + 1));
	scan->values.values = palloc(sizeof(Datum) * (scan->nparams + 1));
	scan->values.nulls = palloc(sizeof(bool) * (scan->nparams + 1));
	foreach(lc, plan->fdw_exprs)
	{
		scan->values.types[i] = exprType(lfirst(lc));
		scan->params[i++] = ExecInitExpr(lfirst(lc), &node->ss.ps);
	}
	scan->params_context = AllocSetContextCreate(CurrentMemoryContext,
												 "concord scan parameters",
												 ALLOCSET_SMALL_SIZES);
}

/* scn_compare orders the values of a list. */
static int
scn_compare(const void *a, const void *b, void *arg)
{
	SortSupport key = arg;

	return ApplySortComparator(*(const Datum *) a, false, *(const Datum *) b,
							   false, key);
}

/* scn_list takes the list's values apart: those that differ. */
static void
scn_list(ConcordScan *scan)
{
	int			param = scan->list_param;
	ArrayType  *array;
	Oid			type;
	TypeCacheEntry *entry;
	SortSupportData key = {0};
	bool	   *nulls;
	int			n;
	int			kept = 0;

	scan->list_at = scan->list_length = 0;
	if (param < 0 || scan->values.nulls[param])
		return;
	array = DatumGetArrayTypeP(scan->values.values[param]);
	type = ARR_ELEMTYPE(array);
	entry = lookup_type_cache(type, TYPECACHE_LT_OPR);
	deconstruct_array(array, type, entry->typlen, entry->typbyval,
					  entry->typalign, &scan->list, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			scan->list[kept++] = scan->list[i];
	}
	key.ssup_cxt = CurrentMemoryContext;
	key.ssup_collation = C_COLLATION_OID;
	PrepareSortSupportFromOrderingOp(entry->lt_opr, &key);
	qsort_arg(scan->list, kept, sizeof(Datum), scn_compare, &key);
	for (int i = 0; i < kept; i++)
	{
		if (i == 0 || scn_compare(&scan->list[scan->list_length - 1],
								  &scan->list[i], &key) != 0)
			scan->list[scan->list_length++] = scan->list[i];
	}
	scan->values.list_type = type;
}

/*
 * scn_write writes the query string, with keys that a join has given where there
 * are some; false: nothing can match.
 */
static bool
scn_write(ConcordScan *scan, const char *keys, char **query)
{
	StringInfoData buf;
	bool		whole;
	bool		possible;

	initStringInfo(&buf);
	for (;;)
	{
		resetStringInfo(&buf);
		if (!scan->count && scan->select != NULL)
			appendStringInfoString(&buf, scan->select);
		possible = concord_filter_write(&buf, scan->clauses, scan->table,
										scan->reading, scan->odata2,
										&scan->values, keys, &whole);
		/* long values: fewer of them at a time */
		if (scan->list_param < 0 || scan->values.nlist < 2 ||
			buf.len <= SCN_MAX_LENGTH)
			break;
		scan->list_at -= scan->values.nlist - scan->values.nlist / 2;
		scan->values.nlist /= 2;
	}
	Assert(!possible || whole || scan->query.limit < 0);
	if (*scan->order)
		appendStringInfo(&buf, "%s%s=%s", buf.len > 0 ? "&" : "",
						 scan->reading->order, scan->order);
	*query = buf.data;
	return possible;
}

/* scn_start_keys asks for the keys that a join has given; false: nothing can match. */
static bool
scn_start_keys(ConcordScan *scan)
{
	int			n = concord_join_keys_filters(scan->keys);
	ConcordQuery *queries = palloc(sizeof(ConcordQuery) * n);

	/* none is written for fewer values of a list than the one before it */
	for (int i = n - 1; i >= 0; i--)
	{
		int			nlist = scan->values.nlist;

		queries[i] = scan->query;
		if (!scn_write(scan, concord_join_keys_text(scan->keys, i),
					   &queries[i].query))
			return false;
		if (scan->list_param >= 0 && scan->values.nlist != nlist)
			i = n;
	}
	concord_reader_start_several(scan->reader, queries, n);
	return true;
}

/* scn_start asks for the list, or for the next part of it; false: no more. */
static bool
scn_start(ConcordScan *scan)
{
	bool		possible;

	if (scan->keys != NULL && concord_join_keys_filters(scan->keys) == 0)
		return false;
	if (scan->list_param >= 0)
	{
		if (scan->list_at >= scan->list_length)
			return false;
		scan->values.list = scan->list + scan->list_at;
		scan->values.nlist = Min(scan->list_size,
								 scan->list_length - scan->list_at);
		scan->list_at += scan->values.nlist;
	}
	else if (scan->list_at++ > 0)
		return false;
	if (scan->keys != NULL)
		possible = scn_start_keys(scan);
	else
		possible = scn_write(scan, NULL, &scan->query.query);
	if (!possible)
		return scan->list_param >= 0 ? scn_start(scan) : false;
	if (!scan->count && scan->keys == NULL)
		concord_reader_start(scan->reader, &scan->query);
	return true;
}

/*
 * scn_hurried says whether the query runs to its end now.  Whoever fetches from a
 * cursor may take his time, and what is under way keeps its place from others.
 */
static bool
scn_hurried(void)
{
	return ActivePortal != NULL && *ActivePortal->name == '\0';
}

/* scn_begin evaluates parameters and asks for the first part. */
static void
scn_begin(ForeignScanState *node)
{
	ConcordScan *scan = node->fdw_state;
	ExprContext *econtext = node->ss.ps.ps_ExprContext;
	MemoryContext old;

	MemoryContextReset(scan->params_context);
	old = MemoryContextSwitchTo(scan->params_context);
	for (int i = 0; i < scan->nparams; i++)
	{
		Oid			type = scan->values.types[i];
		int16		len;
		bool		byval;

		scan->values.values[i] = ExecEvalExpr(scan->params[i], econtext,
											  &scan->values.nulls[i]);
		get_typlenbyval(type, &len, &byval);
		if (!scan->values.nulls[i])
			scan->values.values[i] = datumCopy(scan->values.values[i], byval, len);
	}
	scn_list(scan);
	concord_reader_eager(scan->reader, scan->eager && scn_hurried());
	scan->started = true;
	scan->page = -1;
	scan->ended = !scn_start(scan);
	MemoryContextSwitchTo(old);
}

/* scn_numeric makes a numeric of a number. */
static Datum
scn_numeric(Oid type, Datum value)
{
	switch (getBaseType(type))
	{
		case INT2OID:
			return DirectFunctionCall1(int2_numeric, value);
		case INT4OID:
			return DirectFunctionCall1(int4_numeric, value);
		case INT8OID:
			return DirectFunctionCall1(int8_numeric, value);
		default:
			return value;
	}
}

/*
 * scn_strange says whether a record does not belong to the part of the list
 * that was asked for.  A system that does not mind case gives a record for each
 * of two values in two parts, one that ignores the filter gives it in every
 * part, and it would come more than once.
 */
static bool
scn_strange(ConcordScan *scan, const Datum *values, const bool *nulls)
{
	int			place = -1;
	Oid			type = scan->values.list_type;
	Oid			own;
	Datum		value;
	bool		numbers;
	bool		convert;
	int16		len;
	bool		byval;

	if (scan->list_param < 0 || scan->values.nlist >= scan->list_length)
		return false;
	for (int i = 0; i < scan->noutput; i++)
	{
		if (scan->output[i] == scan->list_column)
			place = i;
	}
	if (place < 0 || nulls[place])
		return true;
	own = scan->table->columns[scan->list_column - 1].typid;
	numbers = concord_flt_local(type) == CONCORD_TYPE_NUMBER;
	convert = numbers && (type != own || type == NUMERICOID);
	value = convert ? scn_numeric(own, values[place]) : values[place];
	get_typlenbyval(type, &len, &byval);
	for (int i = 0; i < scan->values.nlist; i++)
	{
		if (convert ? DatumGetBool(DirectFunctionCall2(numeric_eq, value,
													   scn_numeric(type, scan->values.list[i]))) :
			datum_image_eq(scan->values.list[i], value, byval, len))
			return false;
	}
	return true;
}

/* concord_scan_room says how much of a query string is left for keys. */
int
concord_scan_room(ConcordScan *scan)
{
	StringInfoData buf;
	bool		whole;
	int			used;

	initStringInfo(&buf);
	(void) concord_filter_write(&buf, scan->clauses, scan->table, scan->reading,
								scan->odata2, NULL, NULL, &whole);
	used = buf.len + (scan->select != NULL ? strlen(scan->select) : 0);
	pfree(buf.data);
	return Max(SCN_MAX_LENGTH - used, SCN_MIN_ROOM);
}

/* scn_count gives the one row of a count. */
static TupleTableSlot *
scn_count(ForeignScanState *node)
{
	ConcordScan *scan = node->fdw_state;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;

	ExecClearTuple(slot);
	slot->tts_values[0] = Int64GetDatum(scan->ended ? 0 :
										concord_reader_count(scan->reader,
															 &scan->query));
	slot->tts_isnull[0] = false;
	scan->ended = true;
	scan->count = false;
	return ExecStoreVirtualTuple(slot);
}

/* scn_store stores a row, with the place of its tag where it is to be written. */
static TupleTableSlot *
scn_store(ConcordScan *scan, TupleTableSlot *slot)
{
	HeapTuple	tuple;

	if (scan->tags == NULL)
		return ExecStoreVirtualTuple(slot);
	tuple = heap_form_tuple(slot->tts_tupleDescriptor, slot->tts_values,
							slot->tts_isnull);
	concord_tags_place(scan->tags, scan->slices[scan->table->ncolumns],
					   &tuple->t_self);
	tuple->t_data->t_ctid = tuple->t_self;
	ExecForceStoreHeapTuple(tuple, slot, false);
	return slot;
}

/* concord_fdw_iterate gives the next row; an empty slot at the end. */
TupleTableSlot *
concord_fdw_iterate(ForeignScanState *node)
{
	ConcordScan *scan = node->fdw_state;
	TupleTableSlot *slot = node->ss.ss_ScanTupleSlot;
	ConcordSlice record;
	int			page;

	if (!scan->started)
		scn_begin(node);
	ExecClearTuple(slot);
	if (scan->count)
		return scn_count(node);
	while (!scan->ended)
	{
		/* in an asynchronous Append nobody waits here */
		if (scan->async && !concord_reader_ready(scan->reader))
			return slot;
		if (!concord_reader_next(scan->reader, &record, &page))
		{
			MemoryContext old = MemoryContextSwitchTo(scan->params_context);

			scan->ended = !scn_start(scan);
			MemoryContextSwitchTo(old);
			continue;
		}
		concord_scan_take(scan, record, page, slot->tts_values,
						  slot->tts_isnull);
		if (scn_strange(scan, slot->tts_values, slot->tts_isnull))
			continue;
		return scn_store(scan, slot);
	}
	return slot;
}

/* concord_fdw_rescan begins anew, with other values of parameters maybe. */
void
concord_fdw_rescan(ForeignScanState *node)
{
	ConcordScan *scan = node->fdw_state;

	if (scan == NULL)
		return;
	concord_reader_stop(scan->reader);
	scan->started = scan->ended = false;
	scan->count = boolVal(scn_item((ForeignScan *) node->ss.ps.plan,
								   CONCORD_PLAN_COUNT));
}

/* concord_fdw_end_scan ends what is under way. */
void
concord_fdw_end_scan(ForeignScanState *node)
{
	ConcordScan *scan = node->fdw_state;

	if (scan != NULL)
		concord_reader_stop(scan->reader);
}
