/*-------------------------------------------------------------------------
 *
 * utility.c
 *	  Commands that our workers would be in the way of, and DROP EXTENSION.
 *
 * DROP DATABASE (also WITH (FORCE)), ALTER DATABASE ... RENAME and SET
 * TABLESPACE, and CREATE DATABASE ... TEMPLATE fail while a worker is
 * connected or a logical slot is active.  The hook asks the launcher to stop
 * the workers of that database and waits until they are gone; they are held
 * until the transaction ends, however it does, and the launcher then starts
 * them again if the database is still there.  Only who may run the command
 * gets that far.
 *
 * DROP EXTENSION never waits for a worker, whose transaction may wait for the
 * tables that are being dropped.  It is noticed by the object access hook;
 * what is true at commit (the drop may have been rolled back to a savepoint)
 * goes to shared memory, and the launcher ends the workers and drops the slot.
 *
 * IMPORT FOREIGN SCHEMA: fdw/import.c comments on each table that it makes.
 *
 *-------------------------------------------------------------------------
 */
#include "workers/launcher.h"

#include "access/xact.h"
#include "base/clock.h"
#include "catalog/namespace.h"
#include "catalog/ownership.h"
#include "catalog/pg_class.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "fdw/import.h"
#include "mapping/drift.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "storage/proc.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "workers/registry.h"
#include "workers/worker.h"

#define UTL_PATIENCE_MS		10000
#define UTL_POLL_MS			20
#define UTL_MAX_HELD		16

static ProcessUtility_hook_type utl_prev_utility = NULL;
static object_access_hook_type utl_prev_access = NULL;

/* Entries whose workers this transaction keeps away. */
static ConcordDatabase *utl_held[UTL_MAX_HELD];
static int	utl_nheld = 0;

/* The extension that this transaction drops, and whether it still is so. */
static Oid	utl_dropped = InvalidOid;
static bool utl_reset_wanted = false;
static bool utl_gone = false;
static bool utl_survey = false;

/* utl_release lets the launcher start the held workers again. */
static void
utl_release(void)
{
	if (utl_nheld == 0)
		return;
	while (utl_nheld > 0)
	{
		ConcordDatabase *db = utl_held[--utl_nheld];

		SpinLockAcquire(&db->mutex);
		db->holders--;
		SpinLockRelease(&db->mutex);
	}
	concord_shmem_wake_launcher();
}

/* utl_hold_begin takes part in holding an entry; false where it is not ours. */
static bool
utl_hold_begin(ConcordDatabase *db, Oid dboid)
{
	bool		ours;

	if (utl_nheld == UTL_MAX_HELD)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("too many databases are changed in one transaction")));
	LWLockAcquire(concord_shmem->lock, LW_SHARED);
	ours = db->dboid == dboid;
	if (ours)
	{
		SpinLockAcquire(&db->mutex);
		db->holders++;
		db->stopped = false;
		SpinLockRelease(&db->mutex);
		utl_held[utl_nheld++] = db;
	}
	LWLockRelease(concord_shmem->lock);
	return ours;
}

/* concord_launcher_hold stops a database's workers until this transaction ends. */
void
concord_launcher_hold(Oid dboid, const char *name)
{
	ConcordDatabase *db = concord_shmem_database(dboid);
	int64		start = concord_clock_steady();

	if (db == NULL || !utl_hold_begin(db, dboid))
		return;
	for (;;)
	{
		bool		stopped;

		concord_shmem_wake_launcher();
		SpinLockAcquire(&db->mutex);
		stopped = db->stopped;
		SpinLockRelease(&db->mutex);
		if (stopped)
			return;
		if (concord_clock_passed(start, UTL_PATIENCE_MS))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("the workers of pg_concord in database \"%s\" did not stop in time",
							name),
					 errhint("Try again; if it persists, look for errors of \"concord launcher\" in the server's log.")));
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 UTL_POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * utl_database names the database that a command needs for itself; NULL where
 * it is another command.  own says that being connected to it is no obstacle.
 */
static const char *
utl_database(const Node *stmt, bool *own)
{
	ListCell   *lc;

	*own = false;
	switch (nodeTag(stmt))
	{
		case T_DropdbStmt:
			return ((const DropdbStmt *) stmt)->dbname;
		case T_RenameStmt:
			if (((const RenameStmt *) stmt)->renameType == OBJECT_DATABASE)
				return ((const RenameStmt *) stmt)->subname;
			return NULL;
		case T_AlterDatabaseStmt:
			foreach(lc, ((const AlterDatabaseStmt *) stmt)->options)
			{
				if (strcmp(lfirst_node(DefElem, lc)->defname, "tablespace") == 0)
					return ((const AlterDatabaseStmt *) stmt)->dbname;
			}
			return NULL;
		case T_CreatedbStmt:
			*own = true;
			foreach(lc, ((const CreatedbStmt *) stmt)->options)
			{
				DefElem    *option = lfirst_node(DefElem, lc);

				if (strcmp(option->defname, "template") == 0 && option->arg)
					return defGetString(option);
			}
			return "template1";
		default:
			return NULL;
	}
}

/* utl_make_room stops workers that a command would fail on. */
static void
utl_make_room(const Node *stmt)
{
	bool		own;
	const char *name = utl_database(stmt, &own);
	Oid			dboid;

	if (name == NULL)
		return;
	dboid = get_database_oid(name, true);
	if (!OidIsValid(dboid) || (dboid == MyDatabaseId && !own))
		return;
	if (!concord_database_owner(dboid, GetUserId()))
		return;
	concord_launcher_hold(dboid, name);
}

/*
 * utl_unguard drops the triggers of ours that stand in the way of a command: they
 * name columns, of which one is to be dropped or to get another type.  The event
 * triggers make them anew.  Only for whom the command will not be refused.
 */
static void
utl_unguard(const AlterTableStmt *stmt)
{
	bool		concerned = false;
	Oid			relid;
	ListCell   *lc;

	if (stmt->objtype != OBJECT_TABLE)
		return;
	foreach(lc, stmt->cmds)
	{
		const AlterTableCmd *cmd = lfirst(lc);

		concerned |= cmd->subtype == AT_DropColumn ||
			cmd->subtype == AT_AlterColumnType;
	}
	if (!concerned)
		return;
	relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	if (!OidIsValid(relid) || concord_ownership(relid) == NIL ||
		!concord_table_owner(relid, GetUserId()))
		return;
	relid = RangeVarGetRelid(stmt->relation, AccessExclusiveLock, true);
	if (OidIsValid(relid) && concord_table_owner(relid, GetUserId()))
		concord_ownership_unguard(relid);
}

/* utl_utility is the hook around every utility command. */
static void
utl_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			ProcessUtilityContext context, ParamListInfo params,
			QueryEnvironment *queryEnv, DestReceiver *dest,
			QueryCompletion *qc)
{
	/* after ROLLBACK and its like the statement may be gone */
	bool		made = context == PROCESS_UTILITY_SUBCOMMAND &&
		IsA(pstmt->utilityStmt, CreateForeignTableStmt);
	bool		imported = IsA(pstmt->utilityStmt, ImportForeignSchemaStmt);
	bool		renames = IsA(pstmt->utilityStmt, RenameStmt);

	if (IsTransactionState() && !IsAbortedTransactionBlockState())
	{
		utl_make_room(pstmt->utilityStmt);
		if (IsA(pstmt->utilityStmt, AlterTableStmt))
			utl_unguard((AlterTableStmt *) pstmt->utilityStmt);
		if (renames)
			concord_drift_before((RenameStmt *) pstmt->utilityStmt);
		if (IsA(pstmt->utilityStmt, AlterDatabaseStmt) ||
			IsA(pstmt->utilityStmt, AlterDatabaseSetStmt))
			utl_survey = true;
	}

	if (utl_prev_utility)
		utl_prev_utility(pstmt, queryString, readOnlyTree, context, params,
						 queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context,
								params, queryEnv, dest, qc);

	if (renames)
	{
		/* the event trigger has done so, unless it is switched off */
		concord_drift_follow();
		concord_drift_forget();
	}
	if (made)
		concord_import_created((CreateForeignTableStmt *) pstmt->utilityStmt);
	else if (imported)
		concord_import_ended();

	if (utl_reset_wanted)
	{
		utl_reset_wanted = false;
		concord_registry_set(MyDatabaseId, false);
	}
}

/* utl_access notices that our extension is being dropped. */
static void
utl_access(ObjectAccessType access, Oid classId, Oid objectId, int subId,
		   void *arg)
{
	if (utl_prev_access)
		utl_prev_access(access, classId, objectId, subId, arg);

	if (access == OAT_DROP && classId == ExtensionRelationId)
	{
		char	   *name = get_extension_name(objectId);

		if (name != NULL && strcmp(name, CONCORD_EXTENSION_NAME) == 0)
		{
			utl_dropped = objectId;
			utl_reset_wanted = true;
		}
	}
}

/* utl_announce tells the launcher what has become true. */
static void
utl_announce(void)
{
	ConcordDatabase *db;

	if (utl_gone && (db = concord_shmem_database(MyDatabaseId)) != NULL)
	{
		SpinLockAcquire(&db->mutex);
		db->extension_gone = true;
		SpinLockRelease(&db->mutex);
		pg_atomic_write_u32(&db->capture_ready, 0);
	}
	if (utl_survey || utl_gone)
		concord_shmem_survey();
}

/* utl_xact settles, at the end of a transaction, what it has done. */
static void
utl_xact(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (OidIsValid(utl_dropped))
				utl_gone = get_extension_name(utl_dropped) == NULL;
			return;
		case XACT_EVENT_COMMIT:
			utl_announce();
			break;
		case XACT_EVENT_ABORT:
			concord_drift_forget();
			break;
		case XACT_EVENT_PREPARE:
			break;
		default:
			return;
	}
	utl_release();
	utl_dropped = InvalidOid;
	utl_reset_wanted = false;
	utl_gone = false;
	utl_survey = false;
}

/*
 * utl_subxact forgets a DROP EXTENSION, or a new name, that failed half-way in
 * a subtransaction: there is nothing to do after it.
 */
static void
utl_subxact(SubXactEvent event, SubTransactionId mySubid,
			SubTransactionId parentSubid, void *arg)
{
	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	utl_reset_wanted = false;
	concord_drift_forget();
}

/* concord_launcher_survey_at_commit has the launcher look again then. */
void
concord_launcher_survey_at_commit(void)
{
	utl_survey = true;
}

/* concord_utility_init installs the hooks; called by _PG_init only. */
void
concord_utility_init(void)
{
	utl_prev_utility = ProcessUtility_hook;
	ProcessUtility_hook = utl_utility;
	utl_prev_access = object_access_hook;
	object_access_hook = utl_access;
	RegisterXactCallback(utl_xact, NULL);
	RegisterSubXactCallback(utl_subxact, NULL);
}
