/*-------------------------------------------------------------------------
 *
 * launcher.c
 *	  The worker that keeps the workers of all databases.
 *
 * Wanted against running is compared on a timer and on every wake-up, never
 * on an edge alone, so that a lost signal costs seconds and no more.  Who
 * wants workers is found by the scout (registry.c).  What runs is known from
 * background worker handles, and from the pids in shared memory for workers
 * that an earlier launcher started: a launcher that fails is restarted by the
 * postmaster and adopts them.
 *
 *		registered ──take──► entry ──start──► workers run
 *		                       ▲                  │ DROP DATABASE, RENAME,
 *		               holders │ = 0              │ TEMPLATE: holders > 0
 *		                       │                  ▼
 *		                       └──────────── stopped
 *		                                          │ extension or database gone
 *		                                          ▼
 *		                             slot dropped, entry given back
 *
 * The launcher is started after recovery, hence never on a standby, and by
 * itself at promotion.
 *
 *-------------------------------------------------------------------------
 */
#include "workers/launcher.h"

#include <signal.h>

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "base/clock.h"
#include "base/settings.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "replication/slot.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "workers/worker.h"

#define LCH_SURVEY_MS		60000	/* look for databases without being told */
#define LCH_GAP_MS			20	/* between two surveys */
#define LCH_TURN_MS			10000	/* longest sleep */
#define LCH_STOP_MS			50	/* sleep while workers are ending */
#define LCH_PATIENCE_MS		1000	/* then SIGTERM */
#define LCH_NO_SLOT_MS		5000	/* try again with max_worker_processes */
#define LCH_HEALTHY_MS		30000	/* ran so long: forget earlier failures */
#define LCH_FIRST_DELAY_MS	100 /* restart back-off, doubled each time */
#define LCH_MAX_DELAY_MS	60000

/* What the launcher knows of one worker; times here are concord_clock_steady(). */
typedef struct LchWorker
{
	BackgroundWorkerHandle *handle; /* NULL: not ours, or not running */
	int64		started;
	int64		next_start;
	int			failures;		/* in a row */
} LchWorker;

/* And of one entry of shared memory. */
typedef struct LchEntry
{
	Oid			dboid;
	int64		stop_since;		/* 0: not stopping */
	LchWorker	workers[CONCORD_WORKER_SLOTS];
} LchEntry;

/* A database as pg_database has it. */
typedef struct LchDatabase
{
	Oid			oid;
	bool		connectable;	/* datallowconn and not datistemplate */
} LchDatabase;

typedef struct LchState
{
	LchEntry	entries[CONCORD_MAX_DATABASES]; /* as in shared memory */
	BackgroundWorkerHandle *scout;
	uint32		scout_answer;	/* survey_done when it was sent */
	int			scout_failures; /* in a row, without an answer */
	int64		last_survey;
	int64		last_orphan_check;
	int64		no_slot_until;	/* no worker slot was free: wait */
	bool		said_no_slot;
	bool		said_full;
	MemoryContext turn;			/* reset after each turn */
	List	   *databases;		/* of LchDatabase *, in turn */
	List	   *scout_bases;	/* OIDs that a scout may connect to, in turn */
	long		sleep;			/* ms, found during a turn */
} LchState;

static const struct
{
	const char *type;
	const char *function;
}			lch_kinds[] = {
	[CONCORD_WORKER_DECODER] = {"concord decoder", "concord_decoder_main"},
	[CONCORD_WORKER_CAPTURE] = {"concord capture", "concord_capture_main"},
	[CONCORD_WORKER_CLERK] = {"concord clerk", "concord_clerk_main"},
	[CONCORD_WORKER_APPLIER] = {"concord applier", "concord_applier_main"},
	[CONCORD_WORKER_COURIER] = {"concord courier", "concord_courier_main"},
};

static void lch_fill(BackgroundWorker *worker, const char *type,
					 const char *function);

/* concord_launcher_register adds the launcher; called by _PG_init only. */
void
concord_launcher_register(void)
{
	BackgroundWorker worker;

	if (IsBinaryUpgrade)
		return;
	lch_fill(&worker, "concord launcher", "concord_launcher_main");
	worker.bgw_restart_time = 1;
	worker.bgw_notify_pid = 0;
	RegisterBackgroundWorker(&worker);
}

/* lch_fill describes a worker of this library that is not restarted. */
static void
lch_fill(BackgroundWorker *worker, const char *type, const char *function)
{
	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS |
		BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker->bgw_library_name, "pg_concord", BGW_MAXLEN);
	strlcpy(worker->bgw_function_name, function, BGW_MAXLEN);
	strlcpy(worker->bgw_name, type, BGW_MAXLEN);
	strlcpy(worker->bgw_type, type, BGW_MAXLEN);
	worker->bgw_notify_pid = MyProcPid;
}

/* lch_sleep_at_most shortens the sleep after this turn. */
static void
lch_sleep_at_most(LchState *state, long ms)
{
	state->sleep = Min(state->sleep, Max(ms, 1));
}

/* lch_sleep_until shortens it to a moment. */
static void
lch_sleep_until(LchState *state, int64 moment)
{
	lch_sleep_at_most(state, concord_clock_left(moment));
}

/*
 * lch_register starts a worker; NULL where max_worker_processes has no slot,
 * which is logged once until it works again.
 */
static BackgroundWorkerHandle *
lch_register(LchState *state, BackgroundWorker *worker)
{
	BackgroundWorkerHandle *handle;
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	bool		ok = RegisterDynamicBackgroundWorker(worker, &handle);

	MemoryContextSwitchTo(old);
	if (ok)
	{
		state->said_no_slot = false;
		return handle;
	}
	state->no_slot_until = concord_clock_steady() + LCH_NO_SLOT_MS * 1000;
	if (!state->said_no_slot)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("no worker slot is free for \"%s\"", worker->bgw_name),
				 errhint("Raise max_worker_processes (now %d) and restart the server.",
						 max_worker_processes)));
	state->said_no_slot = true;
	return NULL;
}

/*
 * lch_read_databases lists pg_database.  The launcher is connected to none, so
 * this is a plain scan of a catalog that every process can open.
 */
static void
lch_read_databases(LchState *state)
{
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;
	MemoryContext old;

	state->databases = NIL;
	state->scout_bases = NIL;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while (HeapTupleIsValid(tuple = heap_getnext(scan, ForwardScanDirection)))
	{
		Form_pg_database row = (Form_pg_database) GETSTRUCT(tuple);
		LchDatabase *db;

		old = MemoryContextSwitchTo(state->turn);
		db = palloc(sizeof(LchDatabase));
		db->oid = row->oid;
		db->connectable = row->datallowconn && !row->datistemplate &&
			row->datconnlimit != -2;
		state->databases = lappend(state->databases, db);
		/* template1 comes last: it is copied often */
		if (row->datallowconn && row->datconnlimit != -2)
			state->scout_bases = row->oid == Template1DbOid ?
				lappend_oid(state->scout_bases, row->oid) :
				lcons_oid(row->oid, state->scout_bases);
		MemoryContextSwitchTo(old);
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
}

static const LchDatabase *
lch_database(const LchState *state, Oid dboid)
{
	ListCell   *lc;

	foreach(lc, state->databases)
	{
		const LchDatabase *db = (const LchDatabase *) lfirst(lc);

		if (db->oid == dboid)
			return db;
	}
	return NULL;
}

/* lch_registration says whether a database is registered, and how. */
static bool
lch_registration(Oid dboid, bool *enabled)
{
	bool		found = false;

	LWLockAcquire(concord_shmem->lock, LW_SHARED);
	for (int i = 0; i < concord_shmem->nregistered; i++)
	{
		if (concord_shmem->registered[i].dboid == dboid)
		{
			*enabled = concord_shmem->registered[i].enabled;
			found = true;
		}
	}
	LWLockRelease(concord_shmem->lock);
	return found;
}

/* lch_forget removes a database from what the last survey found. */
static void
lch_forget(Oid dboid)
{
	LWLockAcquire(concord_shmem->lock, LW_EXCLUSIVE);
	for (int i = 0; i < concord_shmem->nregistered; i++)
	{
		if (concord_shmem->registered[i].dboid == dboid)
			concord_shmem->registered[i] =
				concord_shmem->registered[--concord_shmem->nregistered];
	}
	LWLockRelease(concord_shmem->lock);
	pg_atomic_fetch_add_u32(&concord_shmem->survey_wanted, 1);
}

/* lch_answer returns which survey was answered last; 0: none yet. */
static uint32
lch_answer(void)
{
	uint32		answer;

	LWLockAcquire(concord_shmem->lock, LW_SHARED);
	answer = concord_shmem->survey_done;
	LWLockRelease(concord_shmem->lock);
	return answer;
}

/* lch_scout_busy says whether a scout is on its way; notes how it ended. */
static bool
lch_scout_busy(LchState *state)
{
	pid_t		pid;

	if (state->scout == NULL)
		return false;
	if (GetBackgroundWorkerPid(state->scout, &pid) != BGWH_STOPPED)
		return true;
	pfree(state->scout);
	state->scout = NULL;
	if (lch_answer() == state->scout_answer)
		state->scout_failures++;
	else
		state->scout_failures = 0;
	return false;
}

/* lch_delay is the pause after a number of failures in a row. */
static int
lch_delay(int failures)
{
	return Min((int64) LCH_FIRST_DELAY_MS << Min(failures, 16),
			   LCH_MAX_DELAY_MS);
}

/* lch_send_scout starts a scout in a database, see registry.c. */
static void
lch_send_scout(LchState *state, Oid dboid, bool check)
{
	BackgroundWorker worker;

	if (concord_clock_steady() < state->no_slot_until)
	{
		lch_sleep_until(state, state->no_slot_until);
		return;
	}
	lch_fill(&worker, "concord scout", "concord_scout_main");
	worker.bgw_main_arg = ObjectIdGetDatum(dboid);
	memcpy(worker.bgw_extra, &check, sizeof(check));
	state->scout_answer = lch_answer();
	state->scout = lch_register(state, &worker);
	state->last_survey = concord_clock_steady();
}

/*
 * lch_survey sends a scout where somebody asked for one, or after a minute.
 * After one that brought no answer the next goes to another database (that one
 * may have been dropped meanwhile), with a growing delay.
 */
static void
lch_survey(LchState *state)
{
	int64		due;
	int			nbases = list_length(state->scout_bases);

	if (lch_scout_busy(state) || nbases == 0)
		return;
	if (concord_clock_passed(state->last_survey, LCH_SURVEY_MS))
		pg_atomic_fetch_add_u32(&concord_shmem->survey_wanted, 1);
	if (lch_answer() == pg_atomic_read_u32(&concord_shmem->survey_wanted))
		return;
	due = state->last_survey + 1000 * (state->scout_failures == 0 ? LCH_GAP_MS :
									   lch_delay(state->scout_failures));
	if (concord_clock_steady() < due)
		lch_sleep_until(state, due);
	else
		lch_send_scout(state,
					   list_nth_oid(state->scout_bases,
									state->scout_failures % nbases),
					   false);
}

/* lch_alive says whether a worker runs or is about to; notes its end. */
static bool
lch_alive(LchEntry *entry, ConcordDatabase *db, int slot)
{
	LchWorker  *worker = &entry->workers[slot];
	pid_t		pid;

	if (worker->handle != NULL)
	{
		if (GetBackgroundWorkerPid(worker->handle, &pid) != BGWH_STOPPED)
			return true;
		pfree(worker->handle);
		worker->handle = NULL;
		if (concord_clock_passed(worker->started, LCH_HEALTHY_MS))
			worker->failures = 0;
		worker->next_start = concord_clock_steady() +
			1000 * lch_delay(worker->failures);
		worker->failures++;
	}
	SpinLockAcquire(&db->mutex);
	pid = db->workers[slot].pid;
	SpinLockRelease(&db->mutex);
	return pid != 0;
}

/* lch_wanted says whether a slot number is to be filled at all. */
static bool
lch_wanted(ConcordDatabase *db, int slot)
{
	if (slot == CONCORD_WORKER_APPLIER)
		return db->applier_wanted;
	return slot < CONCORD_WORKER_COURIER + concord_couriers;
}

/* lch_start_one starts one worker; false where no worker slot is free. */
static bool
lch_start_one(LchState *state, LchEntry *entry, int slot)
{
	BackgroundWorker worker;
	int			kind = Min(slot, CONCORD_WORKER_COURIER);
	int			index = slot - kind;

	lch_fill(&worker, lch_kinds[kind].type, lch_kinds[kind].function);
	if (index > 0)
		snprintf(worker.bgw_name, BGW_MAXLEN, "%s %d", lch_kinds[kind].type,
				 index + 1);
	worker.bgw_main_arg = ObjectIdGetDatum(entry->dboid);
	memcpy(worker.bgw_extra, &index, sizeof(index));
	entry->workers[slot].handle = lch_register(state, &worker);
	entry->workers[slot].started = concord_clock_steady();
	return entry->workers[slot].handle != NULL;
}

/* lch_start starts what should run and does not. */
static void
lch_start(LchState *state, LchEntry *entry, ConcordDatabase *db)
{
	int64		now = concord_clock_steady();
	bool		missing = false;

	SpinLockAcquire(&db->mutex);
	db->stop_requested = false;
	db->stopped = false;
	SpinLockRelease(&db->mutex);
	entry->stop_since = 0;

	for (int slot = 0; slot < CONCORD_WORKER_SLOTS; slot++)
	{
		if (!lch_wanted(db, slot) || lch_alive(entry, db, slot))
			continue;
		if (now < entry->workers[slot].next_start)
			lch_sleep_until(state, entry->workers[slot].next_start);
		else if (now < state->no_slot_until ||
				 !lch_start_one(state, entry, slot))
		{
			missing = true;
			lch_sleep_at_most(state, LCH_NO_SLOT_MS);
			if (slot == CONCORD_WORKER_DECODER || slot == CONCORD_WORKER_CAPTURE)
				concord_shmem_set_state(db, "no worker slot",
										"no worker slot free: raise max_worker_processes");
		}
	}
	SpinLockAcquire(&db->mutex);
	db->no_worker_slot = missing;
	SpinLockRelease(&db->mutex);
}

/*
 * lch_stop asks the workers to exit, then tells them to; true once none runs.
 */
static bool
lch_stop(LchState *state, LchEntry *entry, ConcordDatabase *db)
{
	bool		alive = false;
	bool		impatient;

	if (entry->stop_since == 0)
		entry->stop_since = concord_clock_steady();
	impatient = concord_clock_passed(entry->stop_since, LCH_PATIENCE_MS);
	SpinLockAcquire(&db->mutex);
	db->stop_requested = true;
	SpinLockRelease(&db->mutex);

	for (int slot = 0; slot < CONCORD_WORKER_SLOTS; slot++)
	{
		LchWorker  *worker = &entry->workers[slot];
		pid_t		pid;

		if (!lch_alive(entry, db, slot))
		{
			worker->failures = 0;
			worker->next_start = 0;
			continue;
		}
		alive = true;
		concord_shmem_wake(db, slot);
		if (!impatient)
			continue;
		if (worker->handle != NULL)
			TerminateBackgroundWorker(worker->handle);
		else
		{
			SpinLockAcquire(&db->mutex);
			pid = db->workers[slot].pid;
			SpinLockRelease(&db->mutex);
			if (pid != 0)
				(void) kill(pid, SIGTERM);
		}
	}
	if (alive)
	{
		lch_sleep_at_most(state, LCH_STOP_MS);
		return false;
	}
	pg_atomic_write_u32(&db->capture_ready, 0);
	pg_atomic_write_u32(&db->decoder_sleeping, 0);
	SpinLockAcquire(&db->mutex);
	db->stopped = true;
	SpinLockRelease(&db->mutex);
	return true;
}

/* concord_launcher_drop_slot drops a database's slot if nobody uses it. */
bool
concord_launcher_drop_slot(Oid dboid)
{
	char		name[NAMEDATALEN];
	ReplicationSlot *slot;
	bool		busy;

	snprintf(name, sizeof(name), CONCORD_SLOT_FORMAT, dboid);
	slot = SearchNamedReplicationSlot(name, true);
	if (slot == NULL)
		return true;
	SpinLockAcquire(&slot->mutex);
	busy = concord_slot_active(slot);
	SpinLockRelease(&slot->mutex);
	if (busy)
		return false;
	ReplicationSlotDrop(name, true);
	ereport(LOG,
			(errmsg("dropped replication slot \"%s\": its database has no extension pg_concord any more",
					name)));
	return true;
}

/*
 * lch_entry settles one database: workers run, or are stopped for as long as
 * somebody holds them, or are ended for good.
 */
static void
lch_entry(LchState *state, LchEntry *entry, ConcordDatabase *db)
{
	const LchDatabase *known = lch_database(state, db->dboid);
	bool		enabled = false;
	bool		registered = lch_registration(db->dboid, &enabled);
	bool		gone;
	int			holders;

	if (entry->dboid != db->dboid)
	{
		memset(entry, 0, sizeof(*entry));
		entry->dboid = db->dboid;
	}
	SpinLockAcquire(&db->mutex);
	gone = db->extension_gone;
	holders = db->holders;
	SpinLockRelease(&db->mutex);

	if (known != NULL && known->connectable && enabled && !gone && holders == 0)
	{
		lch_start(state, entry, db);
		return;
	}
	if (!lch_stop(state, entry, db))
		return;
	if (holders > 0)
		return;
	if (known != NULL && !gone && registered)
	{
		concord_shmem_set_state(db, "off",
								enabled ? "the database does not allow connections or is a template"
								: "pg_concord.enabled is off for this database");
		return;
	}
	if (known != NULL && gone)
	{
		if (!concord_launcher_drop_slot(db->dboid))
		{
			lch_sleep_at_most(state, LCH_STOP_MS);
			return;
		}
		lch_forget(db->dboid);
		lch_sleep_at_most(state, 1);
	}
	if (concord_shmem_release(db))
		entry->dboid = InvalidOid;
}

/* lch_take makes entries for databases that are registered. */
static void
lch_take(LchState *state)
{
	ConcordRegistration found[CONCORD_MAX_DATABASES];
	int			n;

	LWLockAcquire(concord_shmem->lock, LW_SHARED);
	n = concord_shmem->nregistered;
	memcpy(found, concord_shmem->registered, n * sizeof(found[0]));
	LWLockRelease(concord_shmem->lock);

	for (int i = 0; i < n; i++)
	{
		if (lch_database(state, found[i].dboid) == NULL ||
			concord_shmem_take(found[i].dboid) != NULL)
			continue;
		if (!state->said_full)
			ereport(WARNING,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("database %u gets no workers of pg_concord: %d databases have them already",
							found[i].dboid, CONCORD_MAX_DATABASES)));
		state->said_full = true;
	}
}

/*
 * lch_orphan returns the database of a slot of ours that is not registered:
 * the extension was dropped while the library was not loaded, or somebody
 * reset the setting.
 */
static Oid
lch_orphan(LchState *state)
{
	Oid			orphan = InvalidOid;

	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];
		char		name[NAMEDATALEN];
		const LchDatabase *known;
		bool		enabled;

		if (!slot->in_use || !OidIsValid(slot->data.database))
			continue;
		snprintf(name, sizeof(name), CONCORD_SLOT_FORMAT, slot->data.database);
		if (strcmp(name, NameStr(slot->data.name)) != 0)
			continue;
		known = lch_database(state, slot->data.database);
		if (known == NULL || !known->connectable ||
			lch_registration(slot->data.database, &enabled))
			continue;
		orphan = slot->data.database;
		break;
	}
	LWLockRelease(ReplicationSlotControlLock);
	return orphan;
}

/* lch_check_wanted sends a scout where a session asked for one. */
static void
lch_check_wanted(LchState *state)
{
	const LchDatabase *known;
	Oid			dboid;

	if (lch_scout_busy(state))
		return;
	LWLockAcquire(concord_shmem->lock, LW_EXCLUSIVE);
	dboid = concord_shmem->check_wanted;
	concord_shmem->check_wanted = InvalidOid;
	LWLockRelease(concord_shmem->lock);
	known = lch_database(state, dboid);
	if (known != NULL && known->connectable)
		lch_send_scout(state, dboid, true);
}

/* lch_check_orphans sends a scout to the database of a slot left behind. */
static void
lch_check_orphans(LchState *state)
{
	Oid			orphan;

	if (lch_answer() !=
		pg_atomic_read_u32(&concord_shmem->survey_wanted) ||
		lch_scout_busy(state) ||
		!concord_clock_passed(state->last_orphan_check, 1000))
		return;
	orphan = lch_orphan(state);
	if (!OidIsValid(orphan) || concord_shmem_database(orphan) != NULL)
		return;
	state->last_orphan_check = concord_clock_steady();
	lch_send_scout(state, orphan, true);
	lch_sleep_at_most(state, 1100);
}

/* lch_turn compares wanted with running once. */
static void
lch_turn(LchState *state)
{
	state->sleep = LCH_TURN_MS;
	lch_read_databases(state);
	lch_survey(state);

	if (lch_answer() == 0)
	{
		lch_sleep_at_most(state, 1000);
		return;
	}

	lch_take(state);
	for (int i = 0; i < CONCORD_MAX_DATABASES; i++)
	{
		if (OidIsValid(concord_shmem->databases[i].dboid))
			lch_entry(state, &state->entries[i], &concord_shmem->databases[i]);
	}
	lch_check_wanted(state);
	lch_check_orphans(state);
}

/* lch_exit takes the launcher's name out of shared memory. */
static void
lch_exit(int code, Datum arg)
{
	LWLockAcquire(concord_shmem->lock, LW_EXCLUSIVE);
	concord_shmem->launcher_pid = 0;
	concord_shmem->launcher_latch = NULL;
	LWLockRelease(concord_shmem->lock);
}

/* concord_launcher_main is the launcher's entry point. */
void
concord_launcher_main(Datum main_arg)
{
	LchState   *state;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname(MyBgworkerEntry->bgw_name);

	LWLockAcquire(concord_shmem->lock, LW_EXCLUSIVE);
	concord_shmem->launcher_pid = MyProcPid;
	concord_shmem->launcher_latch = MyLatch;
	LWLockRelease(concord_shmem->lock);
	before_shmem_exit(lch_exit, (Datum) 0);

	state = MemoryContextAllocZero(TopMemoryContext, sizeof(LchState));
	state->turn = AllocSetContextCreate(TopMemoryContext, "launcher turn",
										ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		if (ShutdownRequestPending)
			proc_exit(1);		/* 0 would mean: never start it again */
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		MemoryContextSwitchTo(state->turn);
		lch_turn(state);
		MemoryContextReset(state->turn);
		pgstat_report_activity(STATE_IDLE, NULL);
		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 state->sleep, PG_WAIT_EXTENSION);
	}
}
