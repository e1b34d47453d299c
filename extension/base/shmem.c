/*-------------------------------------------------------------------------
 *
 * shmem.c
 *	  All shared memory of the library.
 *
 * See shmem.h for the layout and who may write what.  Latches in worker slots
 * are process latches: they live as long as shared memory does, so setting
 * one whose process has just ended is harmless.
 *
 *-------------------------------------------------------------------------
 */
#include "base/shmem.h"

#include "access/xact.h"
#include "base/stats.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/timestamp.h"

#define SHM_TRANCHE		"pg_concord"

ConcordShmem *concord_shmem = NULL;

static shmem_request_hook_type shm_prev_request = NULL;
static shmem_startup_hook_type shm_prev_startup = NULL;

/* This transaction changed definitions, see concord_catalog_changed. */
static bool shm_catalog_changed = false;

static void shm_request(void);
static void shm_startup(void);
static void shm_xact_callback(XactEvent event, void *arg);

/* concord_shmem_request registers the hooks; called by _PG_init only. */
void
concord_shmem_request(void)
{
	shm_prev_request = shmem_request_hook;
	shmem_request_hook = shm_request;
	shm_prev_startup = shmem_startup_hook;
	shmem_startup_hook = shm_startup;
	RegisterXactCallback(shm_xact_callback, NULL);
}

/* concord_shmem_require raises an error where the library is not preloaded. */
void
concord_shmem_require(void)
{
	if (concord_shmem == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("pg_concord was not loaded when the server started"),
				 errhint("Add pg_concord to shared_preload_libraries in postgresql.conf and restart the server.")));
}

static void
shm_request(void)
{
	if (shm_prev_request)
		shm_prev_request();
	RequestAddinShmemSpace(MAXALIGN(sizeof(ConcordShmem)));
	RequestAddinShmemSpace(MAXALIGN(concord_stats_size()));
	RequestNamedLWLockTranche(SHM_TRANCHE, 1);
}

/* shm_clear_entry makes an entry free; the caller holds the lock. */
static void
shm_clear_entry(ConcordDatabase *db)
{
	db->dboid = InvalidOid;
	db->stop_requested = false;
	db->stopped = true;
	db->extension_gone = false;
	db->holders = 0;
	db->no_worker_slot = false;
	memset(db->workers, 0, sizeof(db->workers));
	db->applier_wanted = false;
	strlcpy(db->capture_state, "starting", sizeof(db->capture_state));
	db->reason[0] = '\0';
	pg_atomic_write_u32(&db->decoder_sleeping, 0);
	pg_atomic_write_u64(&db->commit_lsn, 0);
	pg_atomic_write_u64(&db->read_lsn, 0);
	pg_atomic_write_u64(&db->captured_lsn, 0);
	pg_atomic_write_u64(&db->last_seq, 0);
	pg_atomic_write_u64(&db->events_captured, 0);
	pg_atomic_write_u32(&db->queue_handle, 0);
	pg_atomic_write_u32(&db->capture_ready, 0);
	pg_atomic_write_u64(&db->catalog_generation, 1);
	pg_atomic_write_u64(&db->delivery_generation, 1);
}

/* shm_startup makes the segment, or finds it in a child under EXEC_BACKEND. */
static void
shm_startup(void)
{
	bool		found;

	if (shm_prev_startup)
		shm_prev_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	concord_shmem = ShmemInitStruct(SHM_TRANCHE, sizeof(ConcordShmem), &found);
	if (!found)
	{
		memset(concord_shmem, 0, sizeof(ConcordShmem));
		concord_shmem->lock = &(GetNamedLWLockTranche(SHM_TRANCHE))->lock;
		pg_atomic_init_u32(&concord_shmem->survey_wanted, 1);
		for (int i = 0; i < CONCORD_MAX_DATABASES; i++)
		{
			ConcordDatabase *db = &concord_shmem->databases[i];

			SpinLockInit(&db->mutex);
			pg_atomic_init_u32(&db->decoder_sleeping, 0);
			pg_atomic_init_u64(&db->commit_lsn, 0);
			pg_atomic_init_u64(&db->read_lsn, 0);
			pg_atomic_init_u64(&db->captured_lsn, 0);
			pg_atomic_init_u64(&db->last_seq, 0);
			pg_atomic_init_u64(&db->events_captured, 0);
			pg_atomic_init_u32(&db->queue_handle, 0);
			pg_atomic_init_u32(&db->capture_ready, 0);
			pg_atomic_init_u64(&db->catalog_generation, 1);
			pg_atomic_init_u64(&db->delivery_generation, 1);
			shm_clear_entry(db);
		}
	}
	concord_stats_attach();
	LWLockRelease(AddinShmemInitLock);
}

/* shm_find returns the entry of a database; the caller holds the lock. */
static ConcordDatabase *
shm_find(Oid dboid)
{
	for (int i = 0; i < CONCORD_MAX_DATABASES; i++)
	{
		if (concord_shmem->databases[i].dboid == dboid)
			return &concord_shmem->databases[i];
	}
	return NULL;
}

/* concord_shmem_database returns the entry of a database, or NULL. */
ConcordDatabase *
concord_shmem_database(Oid dboid)
{
	ConcordDatabase *db;

	if (concord_shmem == NULL || !OidIsValid(dboid))
		return NULL;
	LWLockAcquire(concord_shmem->lock, LW_SHARED);
	db = shm_find(dboid);
	LWLockRelease(concord_shmem->lock);
	return db;
}

/* concord_shmem_take returns the entry of a database, a new one if need be. */
ConcordDatabase *
concord_shmem_take(Oid dboid)
{
	ConcordDatabase *db;

	LWLockAcquire(concord_shmem->lock, LW_EXCLUSIVE);
	db = shm_find(dboid);
	if (db == NULL && (db = shm_find(InvalidOid)) != NULL)
	{
		shm_clear_entry(db);
		db->dboid = dboid;
	}
	LWLockRelease(concord_shmem->lock);
	return db;
}

/*
 * concord_shmem_release gives an entry back; false where a session has begun
 * to hold it, which it does under the lock, and will let go of it.
 */
bool
concord_shmem_release(ConcordDatabase *db)
{
	bool		held;

	LWLockAcquire(concord_shmem->lock, LW_EXCLUSIVE);
	SpinLockAcquire(&db->mutex);
	held = db->holders > 0;
	SpinLockRelease(&db->mutex);
	if (!held)
		shm_clear_entry(db);
	LWLockRelease(concord_shmem->lock);
	return !held;
}

/* concord_shmem_set_state says what capture is doing, for concord.capture. */
void
concord_shmem_set_state(ConcordDatabase *db, const char *state,
						const char *reason)
{
	SpinLockAcquire(&db->mutex);
	strlcpy(db->capture_state, state, sizeof(db->capture_state));
	strlcpy(db->reason, reason ? reason : "", sizeof(db->reason));
	SpinLockRelease(&db->mutex);
}

/* concord_shmem_wake sets the latch of a worker of this database if it runs. */
void
concord_shmem_wake(ConcordDatabase *db, int worker_slot)
{
	Latch	   *latch;

	Assert(worker_slot >= 0 && worker_slot < CONCORD_WORKER_SLOTS);
	SpinLockAcquire(&db->mutex);
	latch = db->workers[worker_slot].latch;
	SpinLockRelease(&db->mutex);
	if (latch != NULL)
		SetLatch(latch);
}

void
concord_shmem_wake_launcher(void)
{
	Latch	   *latch;

	if (concord_shmem == NULL)
		return;
	LWLockAcquire(concord_shmem->lock, LW_SHARED);
	latch = concord_shmem->launcher_latch;
	LWLockRelease(concord_shmem->lock);
	if (latch != NULL)
		SetLatch(latch);
}

/* concord_shmem_survey asks the launcher to look for databases again. */
void
concord_shmem_survey(void)
{
	if (concord_shmem == NULL)
		return;
	pg_atomic_fetch_add_u32(&concord_shmem->survey_wanted, 1);
	concord_shmem_wake_launcher();
}

/* concord_catalog_changed notes a change of definitions, told at commit. */
void
concord_catalog_changed(void)
{
	shm_catalog_changed = true;
}

/* concord_catalog_changing says whether this transaction has noted one. */
bool
concord_catalog_changing(void)
{
	return shm_catalog_changed;
}

/*
 * shm_xact_callback tells the workers about changed definitions once they are
 * visible.  A change that was prepared is told to nobody at COMMIT PREPARED,
 * which may run in another session: workers look again on their timers.
 */
static void
shm_xact_callback(XactEvent event, void *arg)
{
	ConcordDatabase *db;

	if (!shm_catalog_changed)
		return;
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			shm_catalog_changed = false;
			db = concord_shmem_database(MyDatabaseId);
			if (db == NULL)
				break;
			pg_atomic_fetch_add_u64(&db->catalog_generation, 1);
			for (int i = 0; i < CONCORD_WORKER_SLOTS; i++)
				concord_shmem_wake(db, i);
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			shm_catalog_changed = false;
			break;
		default:
			break;
	}
}
