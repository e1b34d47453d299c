/*-------------------------------------------------------------------------
 *
 * modify.c
 *	  INSERT, UPDATE and DELETE of foreign tables, and RETURNING.
 *
 * A row to be changed is found again by its key columns and by the place of its
 * version (tags.c), both junk columns of the plan.  RETURNING shows the record
 * as the system has it: from the answer, or read again where the answer has
 * none; of a deletion the row as it was read.
 *
 * With option write 'outbox' rows are not sent here but become events of the
 * transaction (outbox.c); RETURNING shows them as they will be sent.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/scan.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "commands/explain.h"
#include "executor/executor.h"
#include "fdw/outbox.h"
#include "fdw/routine.h"
#include "fdw/write.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/appendinfo.h"
#include "optimizer/inherit.h"
#include "optimizer/pathnode.h"
#include "parser/parsetree.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#define MOD_WHOLE_ROW	"wholerow"

/* One table that a statement writes; resultRelInfo->ri_FdwState */
typedef struct ModState
{
	ConcordForeignTable *table;
	ConcordWriter *writer;		/* NULL: through the outbox */
	ConcordOutboxWriter *outbox;
	CmdType		operation;
	bool		returning;
	ConcordScan *reading;		/* of answers, for RETURNING */
	AttrNumber *keys;			/* junk columns, as table->keys */
	AttrNumber	place;
	AttrNumber	whole_row;
	MemoryContext context;		/* of one row or batch */
} ModState;

/*
 * mod_key_name names the junk column of a key column.  Partitions of one table
 * share those of the same name, so it tells all that may differ.
 */
static char *
mod_key_name(const ConcordForeignColumn *column)
{
	return psprintf("concord_key_%d_%u_%d_%u", column->attnum, column->typid,
					column->typmod, column->collation);
}

/* concord_fdw_add_targets adds the junk columns of an UPDATE or DELETE. */
void
concord_fdw_add_targets(PlannerInfo *root, Index rtindex,
						RangeTblEntry *rte, Relation rel)
{
	ConcordForeignTable *table = concord_fdw_table(rel);

	if (table->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("foreign table \"%s\" has no key", table->relname),
				 errdetail("Its records cannot be told apart, so they are neither changed nor deleted."),
				 errhint("Set option key 'true' of the columns that identify a record.")));
	for (int i = 0; i < table->nkeys; i++)
	{
		const ConcordForeignColumn *column = &table->columns[table->keys[i] - 1];

		add_row_identity_var(root, makeVar(rtindex, column->attnum,
										   column->typid, column->typmod,
										   column->collation, 0),
							 rtindex, mod_key_name(column));
	}
	add_row_identity_var(root, makeVar(rtindex, SelfItemPointerAttributeNumber,
									   TIDOID, -1, InvalidOid, 0),
						 rtindex, "ctid");
	/* as core has it for triggers: of no type of its own, so shared */
	if (root->parse->commandType == CMD_DELETE &&
		root->parse->returningList != NIL)
		add_row_identity_var(root, makeVar(rtindex, InvalidAttrNumber, RECORDOID,
										   -1, InvalidOid, 0),
							 rtindex, MOD_WHOLE_ROW);
}

/* mod_check refuses what cannot be written. */
static void
mod_check(const ConcordForeignTable *table, CmdType operation, List *columns)
{
	ListCell   *lc;

	foreach(lc, columns)
	{
		const ConcordForeignColumn *column = &table->columns[lfirst_int(lc) - 1];

		if (operation == CMD_UPDATE && (column->read_only || column->expand ||
										column->npath == 0 ||
										column->name[0] == '@'))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("column \"%s\" of foreign table \"%s\" cannot be changed",
							column->attname, table->relname),
					 errdetail("%s", column->read_only ? "Its option read_only says so." :
							   "It is not a value of the record's own.")));
	}
}

/* mod_all lists all columns; write.c leaves out what is not written. */
static List *
mod_all(const ConcordForeignTable *table)
{
	List	   *columns = NIL;

	for (int i = 0; i < table->ncolumns; i++)
	{
		if (table->columns[i].attnum != 0)
			columns = lappend_int(columns, i + 1);
	}
	return columns;
}

/* mod_named lists the columns that an INSERT gives values for. */
static List *
mod_named(const Query *parse)
{
	List	   *named = NIL;
	ListCell   *lc;

	foreach(lc, parse->targetList)
	{
		const TargetEntry *entry = lfirst(lc);

		if (!entry->resjunk)
			named = lappend_int(named, entry->resno);
	}
	return named;
}

/* concord_fdw_plan_modify says which columns are written. */
List *
concord_fdw_plan_modify(PlannerInfo *root, ModifyTable *plan, Index rtindex,
						int subplan)
{
	CmdType		operation = plan->operation;
	RangeTblEntry *rte = planner_rt_fetch(rtindex, root);
	Relation	rel = table_open(rte->relid, NoLock);
	ConcordForeignTable *table = concord_fdw_table(rel);
	List	   *columns = NIL;
	bool		triggers;

	if (operation == CMD_INSERT)
		columns = mod_all(table);
	else if (operation == CMD_UPDATE)
	{
		Bitmapset  *updated = concord_updated_columns(root, rtindex);
		int			col = -1;

		while ((col = bms_next_member(updated, col)) >= 0)
		{
			AttrNumber	attnum = col + FirstLowInvalidHeapAttributeNumber;

			/* what follows from others is sent if the system takes it */
			if (attnum > 0 && table->columns[attnum - 1].attnum != 0 &&
				!(TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attgenerated &&
				  table->columns[attnum - 1].read_only))
				columns = lappend_int(columns, attnum);
		}
	}
	triggers = operation == CMD_UPDATE && rel->trigdesc != NULL &&
		rel->trigdesc->trig_update_before_row;
	table_close(rel, NoLock);
	if (plan->onConflictAction != ONCONFLICT_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("foreign table \"%s\" does not take ON CONFLICT",
						table->relname)));
	mod_check(table, operation, columns);
	/* a trigger may set other columns than the statement does */
	if (triggers)
		columns = mod_all(table);
	return list_make2(columns, operation == CMD_INSERT ?
					  mod_named(root->parse) : NIL);
}

/* mod_begin makes the state of a table that is written. */
static ModState *
mod_begin(EState *estate, ResultRelInfo *info, CmdType operation, List *columns,
		  List *named, bool returning)
{
	ModState   *state = palloc0(sizeof(ModState));
	ConcordForeignTable *table = concord_fdw_table(info->ri_RelationDesc);
	Oid			userid = concord_modify_user(estate, info);
	ConcordPeer *peer;

	if (!OidIsValid(userid))
		userid = GetUserId();
	state->table = table;
	state->operation = operation;
	state->returning = returning && operation != CMD_DELETE;
	state->context = AllocSetContextCreate(CurrentMemoryContext,
										   "concord foreign write",
										   ALLOCSET_DEFAULT_SIZES);
	info->ri_FdwState = state;
	if (table->outbox)
	{
		state->outbox = concord_outbox_create(table, userid, operation, columns,
											  named);
		return state;
	}
	peer = concord_peer_get(table->serverid, userid);
	state->writer = concord_writer_create(table, peer, operation, columns,
										  named, state->returning);
	if (state->returning)
	{
		state->reading = concord_scan_create(table, peer, NIL, false);
		state->reading->noutput = table->ncolumns;
		state->reading->output = palloc0(sizeof(int) * (table->ncolumns + 1));
		for (int i = 0; i < table->ncolumns; i++)
			state->reading->output[i] = table->columns[i].attnum;
	}
	return state;
}

/* concord_fdw_begin_modify begins to write a table. */
void
concord_fdw_begin_modify(ModifyTableState *mtstate, ResultRelInfo *info,
						 List *private, int subplan, int eflags)
{
	ModState   *state;
	Plan	   *plan;

	if (eflags & EXEC_FLAG_EXPLAIN_ONLY)
		return;
	/* ri_projectReturning is made later */
	state = mod_begin(mtstate->ps.state, info, mtstate->operation,
					  linitial(private), lsecond(private),
					  ((ModifyTable *) mtstate->ps.plan)->returningLists != NIL);
	if (mtstate->operation == CMD_INSERT)
		return;
	plan = outerPlanState(mtstate)->plan;
	state->keys = palloc(sizeof(AttrNumber) * state->table->nkeys);
	for (int i = 0; i < state->table->nkeys; i++)
	{
		state->keys[i] =
			ExecFindJunkAttributeInTlist(plan->targetlist,
										 mod_key_name(&state->table->columns[state->table->keys[i] - 1]));
		if (!AttributeNumberIsValid(state->keys[i]))
			elog(ERROR, "could not find junk column of key column %d",
				 state->table->keys[i]);
	}
	state->place = ExecFindJunkAttributeInTlist(plan->targetlist, "ctid");
	state->whole_row = ExecFindJunkAttributeInTlist(plan->targetlist,
													MOD_WHOLE_ROW);
}

/*
 * mod_routed lists the columns that COPY names, or an INSERT (also of a MERGE) into
 * a partitioned table.  A row that an UPDATE moves here is whole: all of its columns count.
 */
static List *
mod_routed(ModifyTableState *mtstate, ResultRelInfo *info, List *all)
{
	Bitmapset  *inserted;
	List	   *named = NIL;
	int			col = -1;

	if (mtstate->operation == CMD_UPDATE)
		return all;
	inserted = ExecGetInsertedCols(info, mtstate->ps.state);
	while ((col = bms_next_member(inserted, col)) >= 0)
		named = lappend_int(named, col + FirstLowInvalidHeapAttributeNumber);
	return named;
}

/* concord_fdw_begin_insert begins to write what COPY or a partition's row brings. */
void
concord_fdw_begin_insert(ModifyTableState *mtstate, ResultRelInfo *info)
{
	ConcordForeignTable *table = concord_fdw_table(info->ri_RelationDesc);
	List	   *columns = mod_all(table);

	if (info->ri_FdwState != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("rows cannot be moved into foreign table \"%s\", which the statement updates, too",
						table->relname)));
	mod_check(table, CMD_INSERT, columns);
	mod_begin(mtstate->ps.state, info, CMD_INSERT, columns,
			  mod_routed(mtstate, info, columns),
			  info->ri_projectReturning != NULL);
}

/* mod_record finds the record in an answer; false where it has none. */
static bool
mod_record(ModState *state, const ConcordResponse *response, ConcordSlice *record)
{
	Size		at;
	ConcordSlice d;

	if (response == NULL || response->body == NULL || response->body_len == 0 ||
		response->status == 204 ||
		!concord_json_valid(response->body, response->body_len, &at))
		return false;
	record->start = response->body + strspn(response->body, " \t\r\n");
	record->len = concord_json_skip(record->start) - record->start;
	if (*record->start != '{')
		return false;
	d = concord_json_find(*record, "d");
	if (state->reading->odata2 && d.start != NULL && *d.start == '{')
		*record = d;
	return true;
}

/*
 * mod_whole says whether a record has all columns: what a system answers to a
 * write may be a part of it, or something else.
 */
static bool
mod_whole(ModState *state, ConcordSlice record)
{
	ConcordScan *scan = state->reading;

	concord_pick_forget(scan->pick);
	concord_pick_record(scan->pick, record, scan->slices);
	for (int i = 0; i < state->table->ncolumns; i++)
	{
		if (state->table->columns[i].attnum != 0 && scan->slices[i].start == NULL)
			return false;
	}
	return true;
}

/* mod_returned fills the slot with the record as the system has it. */
static void
mod_returned(ModState *state, ConcordWrite *write, TupleTableSlot *slot)
{
	ConcordSlice record;
	MemoryContext old;
	Datum	   *values;
	bool	   *nulls;

	if (!mod_record(state, write->response, &record) || !mod_whole(state, record))
	{
		if (!mod_record(state, concord_writer_read(state->writer, write), &record))
			ereport(ERROR,
					(errcode(ERRCODE_FDW_ERROR),
					 errmsg("a row of foreign table \"%s\" was written and cannot be read for RETURNING",
							state->table->relname)));
	}
	old = MemoryContextSwitchTo(state->context);
	values = palloc(sizeof(Datum) * (state->table->ncolumns + 1));
	nulls = palloc(sizeof(bool) * (state->table->ncolumns + 1));
	concord_scan_take(state->reading, record, -1, values, nulls);
	MemoryContextSwitchTo(old);
	ExecForceStoreHeapTuple(heap_form_tuple(slot->tts_tupleDescriptor, values,
											nulls), slot, true);
}

/* mod_send sends rows; what that takes is gone with the next. */
static void
mod_send(ModState *state, ConcordWrite **writes, int n)
{
	MemoryContext old = MemoryContextSwitchTo(state->context);

	concord_writer_send(state->writer, writes, n);
	MemoryContextSwitchTo(old);
}

/* mod_outbox writes a row through the outbox. */
static void
mod_outbox(ModState *state, const Datum *values, const bool *nulls,
		   const Datum *keys, const char *tag)
{
	MemoryContext old = MemoryContextSwitchTo(state->context);

	concord_outbox_put(state->outbox, values, nulls, keys, tag);
	MemoryContextSwitchTo(old);
}

/* mod_sent has the slot of an INSERT show what will be sent, and null elsewhere. */
static TupleTableSlot *
mod_sent(ModState *state, TupleTableSlot *slot)
{
	const ConcordRowForm *form = concord_outbox_form(state->outbox);
	MemoryContext old = MemoryContextSwitchTo(state->context);
	int			n = state->table->ncolumns;
	bool	   *nulls = palloc(sizeof(bool) * (n + 1));
	HeapTuple	tuple;

	for (int i = 0; i < n; i++)
		nulls[i] = slot->tts_isnull[i] ||
			(state->table->columns[i].attnum != 0 &&
			 !concord_row_written(form, i + 1));
	tuple = heap_form_tuple(slot->tts_tupleDescriptor, slot->tts_values, nulls);
	MemoryContextSwitchTo(old);
	ExecForceStoreHeapTuple(tuple, slot, false);
	return slot;
}

/* concord_fdw_insert writes one row. */
TupleTableSlot *
concord_fdw_insert(EState *estate, ResultRelInfo *info, TupleTableSlot *slot,
				   TupleTableSlot *planslot)
{
	ModState   *state = info->ri_FdwState;
	ConcordWrite *write;

	MemoryContextReset(state->context);
	slot_getallattrs(slot);
	if (state->outbox != NULL)
	{
		mod_outbox(state, slot->tts_values, slot->tts_isnull, NULL, NULL);
		return state->returning ? mod_sent(state, slot) : slot;
	}
	write = concord_writer_begin(state->writer, slot->tts_values,
								 slot->tts_isnull, NULL, NULL, state->context);
	mod_send(state, &write, 1);
	if (state->returning)
		mod_returned(state, write, slot);
	concord_write_free(write);
	return slot;
}

/* concord_fdw_batch_insert writes several rows, in one request where it can. */
TupleTableSlot **
concord_fdw_batch_insert(EState *estate, ResultRelInfo *info,
						 TupleTableSlot **slots, TupleTableSlot **planslots,
						 int *n)
{
	ModState   *state = info->ri_FdwState;
	ConcordWrite **writes;

	MemoryContextReset(state->context);
	writes = MemoryContextAlloc(state->context, sizeof(ConcordWrite *) * *n);
	for (int i = 0; i < *n; i++)
	{
		slot_getallattrs(slots[i]);
		writes[i] = concord_writer_begin(state->writer, slots[i]->tts_values,
										 slots[i]->tts_isnull, NULL, NULL,
										 state->context);
	}
	mod_send(state, writes, *n);
	for (int i = 0; i < *n; i++)
		concord_write_free(writes[i]);
	return slots;
}

/* concord_fdw_batch_size says how many rows a request takes. */
int
concord_fdw_batch_size(ResultRelInfo *info)
{
	ModState   *state = info->ri_FdwState;

	/* triggers must see row after row */
	if (state == NULL || state->outbox != NULL || state->returning || info->ri_WithCheckOptions != NIL ||
		(info->ri_TrigDesc != NULL &&
		 (info->ri_TrigDesc->trig_insert_before_row ||
		  info->ri_TrigDesc->trig_insert_after_row)))
		return 1;
	return concord_writer_batch(state->writer);
}

/* mod_keys reads the key of the row that is to be written. */
static Datum *
mod_keys(ModState *state, TupleTableSlot *planslot)
{
	Datum	   *keys = MemoryContextAlloc(state->context,
										  sizeof(Datum) * state->table->nkeys);

	for (int i = 0; i < state->table->nkeys; i++)
	{
		bool		isnull;

		keys[i] = ExecGetJunkAttribute(planslot, state->keys[i], &isnull);
		if (isnull)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("a record of foreign table \"%s\" without a key cannot be written",
							state->table->relname)));
	}
	return keys;
}

/* mod_tag reads the version of the row that is to be written. */
static const char *
mod_tag(ModState *state, TupleTableSlot *planslot)
{
	bool		isnull = true;
	Datum		place = (Datum) 0;

	if (AttributeNumberIsValid(state->place))
		place = ExecGetJunkAttribute(planslot, state->place, &isnull);
	return isnull ? NULL : concord_tags_get((ItemPointer) DatumGetPointer(place));
}

/* mod_same_key refuses an UPDATE that changes the key. */
static void
mod_same_key(ModState *state, TupleTableSlot *slot, const Datum *keys)
{
	for (int i = 0; i < state->table->nkeys; i++)
	{
		const ConcordForeignColumn *column =
			&state->table->columns[state->table->keys[i] - 1];
		int16		len;
		bool		byval;

		get_typlenbyval(column->typid, &len, &byval);
		if (slot->tts_isnull[column->attnum - 1] ||
			!datum_image_eq(slot->tts_values[column->attnum - 1], keys[i], byval,
							len))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("key column \"%s\" of foreign table \"%s\" cannot be changed",
							column->attname, state->table->relname),
					 errhint("Insert the record under its new key and delete the old one.")));
	}
}

/* concord_fdw_update writes one changed row. */
TupleTableSlot *
concord_fdw_update(EState *estate, ResultRelInfo *info, TupleTableSlot *slot,
				   TupleTableSlot *planslot)
{
	ModState   *state = info->ri_FdwState;
	ConcordWrite *write;
	Datum	   *keys;

	MemoryContextReset(state->context);
	slot_getallattrs(slot);
	keys = mod_keys(state, planslot);
	mod_same_key(state, slot, keys);
	if (state->outbox != NULL)
	{
		mod_outbox(state, slot->tts_values, slot->tts_isnull, keys,
				   mod_tag(state, planslot));
		return slot;
	}
	write = concord_writer_begin(state->writer, slot->tts_values,
								 slot->tts_isnull, keys,
								 mod_tag(state, planslot), state->context);
	mod_send(state, &write, 1);
	if (state->returning)
		mod_returned(state, write, slot);
	concord_write_free(write);
	return slot;
}

/* mod_delete deletes a record at once; false: it is not there any more. */
static bool
mod_delete(ModState *state, TupleTableSlot *planslot)
{
	ConcordWrite *write;
	bool		gone;

	write = concord_writer_begin(state->writer, NULL, NULL,
								 mod_keys(state, planslot),
								 mod_tag(state, planslot), state->context);
	mod_send(state, &write, 1);
	gone = write->gone;
	concord_write_free(write);
	return !gone;
}

/* concord_fdw_delete deletes one row. */
TupleTableSlot *
concord_fdw_delete(EState *estate, ResultRelInfo *info, TupleTableSlot *slot,
				   TupleTableSlot *planslot)
{
	ModState   *state = info->ri_FdwState;
	bool		isnull = true;
	Datum		row = (Datum) 0;

	MemoryContextReset(state->context);
	if (state->outbox != NULL)
		mod_outbox(state, NULL, NULL, mod_keys(state, planslot),
				   mod_tag(state, planslot));
	else if (!mod_delete(state, planslot))
		return NULL;
	if (AttributeNumberIsValid(state->whole_row))
		row = ExecGetJunkAttribute(planslot, state->whole_row, &isnull);
	ExecClearTuple(slot);
	if (!isnull)
	{
		HeapTupleHeader header = DatumGetHeapTupleHeader(row);
		HeapTupleData tuple = {
			.t_len = HeapTupleHeaderGetDatumLength(header),
			.t_data = header,
		};

		ExecForceStoreHeapTuple(heap_copytuple(&tuple), slot, true);
	}
	else
		ExecStoreAllNullTuple(slot);
	return slot;
}

/* concord_fdw_end_modify has nothing left to do: rows were written one by one. */
void
concord_fdw_end_modify(EState *estate, ResultRelInfo *info)
{
}

/* concord_fdw_updatable says which statements a table takes. */
int
concord_fdw_updatable(Relation rel)
{
	ConcordForeignTable *table = concord_fdw_table(rel);

	if (!table->updatable)
		return 0;
	return (1 << CMD_INSERT) |
		(table->nkeys > 0 ? (1 << CMD_UPDATE) | (1 << CMD_DELETE) : 0);
}

/* concord_fdw_truncate refuses TRUNCATE. */
void
concord_fdw_truncate(List *rels, DropBehavior behavior, bool restart)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("foreign table \"%s\" cannot be truncated",
					RelationGetRelationName((Relation) linitial(rels))),
			 errhint("DELETE removes record after record, if that is what you want.")));
}
