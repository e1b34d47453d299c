/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  What all background workers of a database have in common.
 *
 * SIGTERM is handled as in a backend (die), so that a worker that waits for a
 * lock or runs a statement ends at once: DROP DATABASE waits for it.
 *
 *-------------------------------------------------------------------------
 */
#include "workers/worker.h"

#include "access/xact.h"
#include "base/settings.h"
#include "capture/capture.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "storage/procsignal.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* The entry and slot that this process has registered in, for its exit. */
static ConcordDatabase *wrk_db = NULL;
static int	wrk_slot = -1;

/* wrk_exit clears the slot and tells the launcher. */
static void
wrk_exit(int code, Datum arg)
{
	ConcordWorkerSlot *slot = &wrk_db->workers[wrk_slot];

	SpinLockAcquire(&wrk_db->mutex);
	if (slot->pid == MyProcPid)
	{
		slot->pid = 0;
		slot->latch = NULL;
	}
	SpinLockRelease(&wrk_db->mutex);
	concord_shmem_wake_launcher();
}

/*
 * wrk_register takes the worker's slot; exits where there is nothing to do
 * (the database's workers were stopped meanwhile) or another has it.
 */
static void
wrk_register(Oid dboid, int slotno)
{
	ConcordDatabase *db = concord_shmem_database(dboid);
	ConcordWorkerSlot *slot;
	bool		taken = false;

	if (db == NULL)
		proc_exit(0);
	slot = &db->workers[slotno];
	SpinLockAcquire(&db->mutex);
	if (slot->pid == 0 && !db->stop_requested)
	{
		slot->pid = MyProcPid;
		slot->latch = MyLatch;
		slot->started_at = MyStartTimestamp;
		taken = true;
	}
	SpinLockRelease(&db->mutex);
	if (!taken)
		proc_exit(0);
	wrk_db = db;
	wrk_slot = slotno;
	before_shmem_exit(wrk_exit, (Datum) 0);
}

/*
 * wrk_settings overrides what ALTER DATABASE or ALTER ROLE may have set and
 * what would make a worker's own transactions fail or behave differently.
 */
static void
wrk_settings(void)
{
	static const char *const settings[][2] = {
		{"role", "none"},
		{"search_path", "pg_catalog, pg_temp"},
		{"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"},
		{"default_transaction_deferrable", "off"},
		{"session_replication_role", "origin"},
		{"lock_timeout", "0"},
		{"deadlock_timeout", "100ms"},	/* the worker gives way, not DDL */
		{"statement_timeout", "0"},
		{"transaction_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"},
		{"row_security", "on"},
		{"jit", "off"},			/* short statements, kept plans: compiling one
								 * costs more than it ever saves */
	};

	for (int i = 0; i < lengthof(settings); i++)
	{
		/* not every version has every setting */
		if (GetConfigOption(settings[i][0], true, false) != NULL)
			SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET,
							PGC_S_OVERRIDE);
	}

	/* keeps the conversion to UTF-8 at hand outside transactions */
	StartTransactionCommand();
	SetConfigOption("client_encoding", "UTF8", PGC_SUSET, PGC_S_OVERRIDE);
	CommitTransactionCommand();
}

/* concord_worker_start is the first call of every worker of a database. */
ConcordDatabase *
concord_worker_start(Datum main_arg, ConcordWorkerKind kind, int index)
{
	Oid			dboid = DatumGetObjectId(main_arg);

	pqsignal(SIGTERM, die);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	BackgroundWorkerUnblockSignals();

	Assert(index == 0 || kind == CONCORD_WORKER_COURIER);
	wrk_register(dboid, kind + index);
	BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);
	wrk_settings();
	pgstat_report_appname(MyBgworkerEntry->bgw_name);
	pgstat_report_activity(STATE_IDLE, NULL);
	return wrk_db;
}

int
concord_worker_index(void)
{
	int			index;

	memcpy(&index, MyBgworkerEntry->bgw_extra, sizeof(index));
	return index;
}

/* concord_worker_check does what a worker owes the server once a turn. */
void
concord_worker_check(void)
{
	bool		stop;

	CHECK_FOR_INTERRUPTS();
	if (wrk_db == NULL)
		return;					/* a backend that uses a worker's loop */
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
	SpinLockAcquire(&wrk_db->mutex);
	stop = wrk_db->stop_requested;
	SpinLockRelease(&wrk_db->mutex);
	if (stop)
		proc_exit(0);
	if (!IsTransactionOrTransactionBlock())
		pgstat_report_stat(false);
}

/* concord_worker_wait sleeps until there may be something to do. */
void
concord_worker_wait(long timeout_ms)
{
	(void) WaitLatch(MyLatch,
					 WL_LATCH_SET | WL_EXIT_ON_PM_DEATH |
					 (timeout_ms >= 0 ? WL_TIMEOUT : 0),
					 timeout_ms, PG_WAIT_EXTENSION);
	ResetLatch(MyLatch);
	concord_worker_check();
}

bool
concord_worker_extension_exists(void)
{
	return OidIsValid(get_extension_oid(CONCORD_EXTENSION_NAME, true));
}

/* concord_worker_capture_failed shows the error in concord.capture. */
void
concord_worker_capture_failed(ConcordDatabase *db)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	ErrorData  *error = CopyErrorData();

	concord_shmem_set_state(db, CONCORD_CAPTURE_ERROR,
							error->hint ?
							psprintf("%s (%s)", error->message, error->hint) :
							error->message);
	MemoryContextSwitchTo(old);
}

/* concord_worker_gone ends all workers of this database, this one first. */
void
concord_worker_gone(void)
{
	SpinLockAcquire(&wrk_db->mutex);
	wrk_db->extension_gone = true;
	SpinLockRelease(&wrk_db->mutex);
	concord_shmem_wake_launcher();
	proc_exit(0);
}
