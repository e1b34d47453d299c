/*-------------------------------------------------------------------------
 *
 * captured.c
 *	  The table that tells the decoder which tables are captured.
 *
 * concord.captured is a user catalog table: the decoder reads it under the
 * historic snapshot of each change, so a mapping begins and ends at exactly
 * one place of the WAL.  Two things make that place safe:
 *
 * - the trigger below invalidates the relcache entry of the table that a row
 *   names, and those of its partitions, also when the row was written by hand.
 *   The invalidation goes through WAL and makes the decoder look again;
 *
 * - whoever changes what is captured holds ShareRowExclusiveLock on the table
 *   to commit.  Without it a transaction could write before the change and
 *   commit after it, and the decoder would see it in part.
 *
 * Rows are only inserted and deleted: a truncated table would look empty to a
 * reader of older WAL, because the historic snapshot cannot see the old file.
 *
 *-------------------------------------------------------------------------
 */
#include "catalog/captured.h"

#include "catalog/mapping.h"

#include "catalog/pg_inherits.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/sinvaladt.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(concord_captured_changed);

/* cap_blockers lists the processes that hold a conflicting lock, "1, 2". */
static char *
cap_blockers(Oid relid, LOCKMODE mode)
{
	LOCKTAG		tag;
	VirtualTransactionId *holders;
	StringInfoData buf;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relid);
	holders = GetLockConflicts(&tag, mode, NULL);
	initStringInfo(&buf);
	for (; VirtualTransactionIdIsValid(*holders); holders++)
	{
		PGPROC	   *proc = concord_vxid_proc(*holders);

		if (proc != NULL)
			appendStringInfo(&buf, "%s%d", buf.len > 0 ? ", " : "", proc->pid);
	}
	return buf.data;
}

/*
 * cap_lock_one locks one relation.  The wait itself is core's; only the error
 * of a lock timeout is made more useful.
 */
static void
cap_lock_one(Oid relid, LOCKMODE mode)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		LockRelationOid(relid, mode);
	}
	PG_CATCH();
	{
		ErrorData  *error;
		char	   *blockers;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		FlushErrorState();
		blockers = cap_blockers(relid, mode);
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("could not lock table \"%s\" within lock_timeout",
						get_rel_name(relid)),
				 errdetail("What is captured changes only while no transaction is writing the table."),
				 blockers[0] != '\0' ?
				 errhint("Wait for or end the transactions of these processes: %s.",
						 blockers) : 0));
	}
	PG_END_TRY();
}

/* concord_captured_lock locks a table and its partitions to commit. */
void
concord_captured_lock(Oid relid)
{
	ListCell   *lc;

	cap_lock_one(relid, ShareRowExclusiveLock);
	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return;
	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		if (lfirst_oid(lc) != relid)
			cap_lock_one(lfirst_oid(lc), ShareRowExclusiveLock);
	}
}

/* cap_execute runs a command of ours with a table's OID as $1. */
static uint64
cap_execute(const char *command, Oid relid)
{
	Oid			types[1] = {OIDOID};
	Datum		values[1] = {ObjectIdGetDatum(relid)};

	if (SPI_execute_with_args(command, 1, types, values, NULL, false, 0) < 0)
		elog(ERROR, "could not change concord.captured");
	return SPI_processed;
}

/*
 * concord_captured_add makes a table captured.  A row that is there is written
 * again: a transaction with an older snapshot, which does not see the caller's
 * mapping, must not take it for unused, nor this one rely on a row that
 * somebody has deleted.  Either then fails to serialize.
 */
void
concord_captured_add(Oid relid)
{
	ConcordCatalogScope scope;

	concord_catalog_enter(&scope);
	(void) cap_execute("DELETE FROM concord.captured WHERE relid = $1", relid);
	(void) cap_execute("INSERT INTO concord.captured (relid) VALUES ($1)", relid);
	concord_catalog_leave(&scope);
}

/* concord_captured_release ends capture where no mapping is left. */
void
concord_captured_release(Oid relid)
{
	ConcordCatalogScope scope;

	concord_catalog_enter(&scope);
	(void) cap_execute("DELETE FROM concord.captured WHERE relid = $1"
					   " AND NOT EXISTS (SELECT FROM concord.mapping"
					   " WHERE source = $1)"
					   " AND NOT EXISTS (SELECT FROM concord.mapping_depends"
					   " WHERE source = $1)", relid);
	concord_catalog_leave(&scope);
}

/* cap_invalidate makes every process, the decoder too, forget a relation. */
static void
cap_invalidate(Oid relid)
{
	ListCell   *lc;

	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		return;
	CacheInvalidateRelcacheByRelid(relid);
	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return;
	foreach(lc, find_all_inheritors(relid, NoLock, NULL))
	{
		if (SearchSysCacheExists1(RELOID, ObjectIdGetDatum(lfirst_oid(lc))))
			CacheInvalidateRelcacheByRelid(lfirst_oid(lc));
	}
}

/* cap_tuple_relid reads relid of a row of concord.captured. */
static Oid
cap_tuple_relid(HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, desc, 1, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(value);
}

/* concord_captured_changed is the trigger on concord.captured. */
Datum
concord_captured_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	desc;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a trigger",
						"concord.captured_changed")));
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot truncate table \"%s\"", "concord.captured"),
				 errdetail("Changes that are still to be read from the write-ahead log would be lost."),
				 errhint("Use DELETE, or drop the mappings.")));

	desc = RelationGetDescr(trigger->tg_relation);
	cap_invalidate(cap_tuple_relid(trigger->tg_trigtuple, desc));
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		cap_invalidate(cap_tuple_relid(trigger->tg_newtuple, desc));
	return PointerGetDatum(NULL);
}
