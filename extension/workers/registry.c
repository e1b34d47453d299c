/*-------------------------------------------------------------------------
 *
 * registry.c
 *	  Which databases want workers, and the scout that reads it.
 *
 * The launcher is connected to no database, so that it is in nobody's way
 * (DROP DATABASE, CREATE DATABASE ... TEMPLATE); such a process can read
 * pg_database but not pg_db_role_setting.  A scout is a worker that connects
 * for some milliseconds to any database that is there, copies the registry to
 * shared memory and exits.  Sent to a particular database, it finds out
 * whether a slot of ours there has still an extension that it belongs to.
 *
 *-------------------------------------------------------------------------
 */
#include "workers/registry.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "base/clock.h"
#include "base/settings.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_db_role_setting.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "workers/launcher.h"
#include "workers/worker.h"

#define REG_POLL_MS		50

/* concord_registry_set is ALTER DATABASE ... SET or RESET, as superuser. */
void
concord_registry_set(Oid dboid, bool enabled)
{
	VariableSetStmt *stmt = makeNode(VariableSetStmt);
	Oid			userid;
	int			context;

	stmt->name = CONCORD_REGISTRY_SETTING;
	if (enabled)
	{
		A_Const    *value = makeNode(A_Const);

		value->val.sval.type = T_String;
		value->val.sval.sval = "on";
		value->location = -1;
		stmt->kind = VAR_SET_VALUE;
		stmt->args = list_make1(value);
	}
	else
		stmt->kind = VAR_RESET;

	GetUserIdAndSecContext(&userid, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID,
						   context | SECURITY_LOCAL_USERID_CHANGE);
	AlterSetting(dboid, InvalidOid, stmt);
	SetUserIdAndSecContext(userid, context);
	CommandCounterIncrement();
}

/* reg_find looks for the setting among 'name=value' texts. */
static bool
reg_find(Datum config, bool *enabled)
{
	Datum	   *items;
	int			nitems;
	Size		len = strlen(CONCORD_REGISTRY_SETTING);

	deconstruct_array(DatumGetArrayTypeP(config), TEXTOID, -1, false,
					  TYPALIGN_INT, &items, NULL, &nitems);
	for (int i = 0; i < nitems; i++)
	{
		char	   *item = TextDatumGetCString(items[i]);

		if (strncmp(item, CONCORD_REGISTRY_SETTING "=", len + 1) == 0)
		{
			if (!parse_bool(item + len + 1, enabled))
				*enabled = false;
			return true;
		}
	}
	return false;
}

/* concord_registry_read reads every database's setting. */
int
concord_registry_read(ConcordRegistration *found, int max)
{
	Relation	rel = table_open(DbRoleSettingRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	int			n = 0;

	while (n < max && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_db_role_setting row = (Form_pg_db_role_setting) GETSTRUCT(tuple);
		bool		isnull;
		bool		enabled;
		Datum		config;

		if (!OidIsValid(row->setdatabase) || OidIsValid(row->setrole))
			continue;
		config = heap_getattr(tuple, Anum_pg_db_role_setting_setconfig,
							  RelationGetDescr(rel), &isnull);
		if (!isnull && reg_find(config, &enabled))
		{
			found[n].dboid = row->setdatabase;
			found[n].enabled = enabled;
			n++;
		}
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return n;
}

bool
concord_registry_has(Oid dboid)
{
	ConcordRegistration found[CONCORD_MAX_DATABASES];
	int			n = concord_registry_read(found, CONCORD_MAX_DATABASES);

	for (int i = 0; i < n; i++)
	{
		if (found[i].dboid == dboid)
			return true;
	}
	return false;
}

/* concord_registry_ensure: see registry.h. */
void
concord_registry_ensure(void)
{
	int64		end = concord_clock_steady() + concord_start_timeout * INT64CONST(1000);

	if (concord_shmem == NULL || RecoveryInProgress() ||
		concord_registry_has(MyDatabaseId))
		return;
	while (concord_shmem_database(MyDatabaseId) == NULL &&
		   concord_clock_left(end) > 0)
	{
		/* one place for all: who finds it taken comes again */
		LWLockAcquire(concord_shmem->lock, LW_EXCLUSIVE);
		if (!OidIsValid(concord_shmem->check_wanted))
			concord_shmem->check_wanted = MyDatabaseId;
		LWLockRelease(concord_shmem->lock);
		concord_shmem_wake_launcher();
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 REG_POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * reg_check settles what becomes of a database that is not registered: with
 * the extension there, the setting was taken away by mistake (ALTER DATABASE
 * ... RESET ALL), or never set because the database is a copy, and is set;
 * without it a slot that was left is dropped.
 */
static void
reg_check(void)
{
	if (concord_registry_has(MyDatabaseId))
		return;
	if (concord_worker_extension_exists())
	{
		ereport(LOG,
				(errmsg("setting pg_concord.enabled for database %u, which has the extension pg_concord",
						MyDatabaseId),
				 errhint("To stop the workers of a database, set pg_concord.enabled to off.")));
		concord_registry_set(MyDatabaseId, true);
	}
	else
		(void) concord_launcher_drop_slot(MyDatabaseId);
}

/* concord_scout_main is the scout's whole life; see the top of the file. */
void
concord_scout_main(Datum main_arg)
{
	ConcordRegistration found[CONCORD_MAX_DATABASES];
	bool		check;
	uint32		wanted;
	int			n;

	memcpy(&check, MyBgworkerEntry->bgw_extra, sizeof(check));
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(main_arg),
											  InvalidOid, 0);

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	if (check)
	{
		reg_check();
		CommandCounterIncrement();
	}
	PopActiveSnapshot();
	CommitTransactionCommand();

	/* a snapshot taken after the number was read has what it announced */
	wanted = pg_atomic_read_u32(&concord_shmem->survey_wanted);
	StartTransactionCommand();
	PushActiveSnapshot(GetTransactionSnapshot());
	n = concord_registry_read(found, CONCORD_MAX_DATABASES);
	PopActiveSnapshot();
	CommitTransactionCommand();

	LWLockAcquire(concord_shmem->lock, LW_EXCLUSIVE);
	memcpy(concord_shmem->registered, found, n * sizeof(found[0]));
	concord_shmem->nregistered = n;
	concord_shmem->survey_done = wanted;
	LWLockRelease(concord_shmem->lock);
	concord_shmem_wake_launcher();
	proc_exit(0);
}
