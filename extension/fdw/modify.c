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
 *-------------------------------------------------------------------------
 */
#include "fdw/scan.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "commands/explain.h"
#include "executor/executor.h"
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
	ConcordWriter *writer;
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

	if (table->outbox)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("foreign table \"%s\" is written through the outbox, which this version does not do",
						table->relname),
				 errhint("Set its option write to 'direct', or write to a local table that a mapping delivers.")));
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
	return list_make1(columns);
}

/* mod_begin makes the state of a table that is written. */
static ModState *
mod_begin(EState *estate, ResultRelInfo *info, CmdType operation, List *columns,
		  bool returning)
{
	ModState   *state = palloc0(sizeof(ModState));
	ConcordForeignTable *table = concord_fdw_table(info->ri_RelationDesc);
	Oid			userid = concord_modify_user(estate, info);
	ConcordPeer *peer = concord_peer_get(table->serverid,
										 OidIsValid(userid) ? userid :
										 GetUserId());

	state->table = table;
	state->operation = operation;
	state->returning = returning && operation != CMD_DELETE;
	state->writer = concord_writer_create(table, peer, operation, columns,
										  state->returning);
	state->context = AllocSetContextCreate(CurrentMemoryContext,
										   "concord foreign write",
										   ALLOCSET_DEFAULT_SIZES);
	if (state->returning)
	{
		state->reading = concord_scan_create(table, peer, NIL, false);
		state->reading->noutput = table->ncolumns;
		state->reading->output = palloc0(sizeof(int) * (table->ncolumns + 1));
		for (int i = 0; i < table->ncolumns; i++)
			state->reading->output[i] = table->columns[i].attnum;
	}
	info->ri_FdwState = state;
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
	state = mod_begin(mtstate->ps.state, info, mtstate->operation,
					  linitial(private), info->ri_projectReturning != NULL);
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

/* concord_fdw_insert writes one row. */
TupleTableSlot *
concord_fdw_insert(EState *estate, ResultRelInfo *info, TupleTableSlot *slot,
				   TupleTableSlot *planslot)
{
	ModState   *state = info->ri_FdwState;
	ConcordWrite *write;

	MemoryContextReset(state->context);
	slot_getallattrs(slot);
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
	if (state == NULL || state->returning || info->ri_WithCheckOptions != NIL ||
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
	write = concord_writer_begin(state->writer, slot->tts_values,
								 slot->tts_isnull, keys,
								 mod_tag(state, planslot), state->context);
	mod_send(state, &write, 1);
	if (state->returning)
		mod_returned(state, write, slot);
	concord_write_free(write);
	return slot;
}

/* concord_fdw_delete deletes one row. */
TupleTableSlot *
concord_fdw_delete(EState *estate, ResultRelInfo *info, TupleTableSlot *slot,
				   TupleTableSlot *planslot)
{
	ModState   *state = info->ri_FdwState;
	ConcordWrite *write;
	bool		isnull = true;
	bool		gone;
	Datum		row = (Datum) 0;

	MemoryContextReset(state->context);
	write = concord_writer_begin(state->writer, NULL, NULL,
								 mod_keys(state, planslot),
								 mod_tag(state, planslot), state->context);
	mod_send(state, &write, 1);
	gone = write->gone;
	concord_write_free(write);
	if (gone)
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
