/*-------------------------------------------------------------------------
 *
 * wakeup.c
 *	  Commits wake the decoder; sessions wait for capture.
 *
 * Every backend's commit publishes where its record ends and, only if the
 * decoder sleeps, sets its latch: one SetLatch for each sleep.  A transaction
 * that wrote no WAL costs one comparison.  The position is compared rather
 * than the xid, because COMMIT PREPARED commits under another xid.  A commit
 * of our own bookkeeping wakes nobody: capture would wake itself for ever.
 *
 * An asynchronous commit is not flushed when it is announced; the decoder
 * looks every few milliseconds until it is (decode.c).
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/xlog_internal.h"
#include "base/clock.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "capture/capture.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "replication/origin.h"
#include "replication/slot.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/array.h"

#define WAK_FIRST_POLL_MS	1
#define WAK_LAST_POLL_MS	50

/* Where this backend's last announced commit ended. */
static XLogRecPtr wak_last_commit = InvalidXLogRecPtr;

/* The entry of this backend's database when last looked up: a cache. */
static ConcordDatabase *wak_db = NULL;

/*
 * wak_database finds the entry without a lock: an entry that changes hands
 * just now costs a spurious wake-up or a late one.
 */
static ConcordDatabase *
wak_database(void)
{
	if (wak_db != NULL && wak_db->dboid == MyDatabaseId)
		return wak_db;
	for (int i = 0; i < CONCORD_MAX_DATABASES; i++)
	{
		if (concord_shmem->databases[i].dboid == MyDatabaseId)
			return wak_db = &concord_shmem->databases[i];
	}
	return NULL;
}

/* wak_announce makes the decoder read up to lsn. */
static void
wak_announce(ConcordDatabase *db, XLogRecPtr lsn)
{
	uint64		known = pg_atomic_read_u64(&db->commit_lsn);

	while (known < lsn &&
		   !pg_atomic_compare_exchange_u64(&db->commit_lsn, &known, lsn))
		;
	pg_memory_barrier();
	if (pg_atomic_read_u32(&db->decoder_sleeping) != 0 &&
		pg_atomic_exchange_u32(&db->decoder_sleeping, 0) != 0)
		concord_shmem_wake(db, CONCORD_WORKER_DECODER);
}

/* wak_xact_callback announces a commit that wrote WAL. */
static void
wak_xact_callback(XactEvent event, void *arg)
{
	ConcordDatabase *db;

	if (event != XACT_EVENT_COMMIT || XactLastCommitEnd == wak_last_commit)
		return;
	wak_last_commit = XactLastCommitEnd;
	if (replorigin_session_origin == DoNotReplicateId ||
		!OidIsValid(MyDatabaseId) || concord_shmem == NULL)
		return;
	db = wak_database();
	if (db != NULL)
		wak_announce(db, wak_last_commit);
}

/* concord_capture_register_wakeup is called by _PG_init only. */
void
concord_capture_register_wakeup(void)
{
	RegisterXactCallback(wak_xact_callback, NULL);
}

XLogRecPtr
concord_wal_end(void)
{
	XLogRecPtr	lsn = GetXLogInsertRecPtr();

	if (XLogSegmentOffset(lsn, wal_segment_size) == SizeOfXLogLongPHD)
		lsn -= SizeOfXLogLongPHD;
	else if (lsn % XLOG_BLCKSZ == SizeOfXLogShortPHD)
		lsn -= SizeOfXLogShortPHD;
	return lsn;
}

/* concord_capture_mark returns the end of what is committed now. */
XLogRecPtr
concord_capture_mark(void)
{
	XLogRecPtr	lsn = concord_wal_end();
	ConcordDatabase *db = concord_shmem_database(MyDatabaseId);

	XLogFlush(lsn);
	if (db != NULL)
		wak_announce(db, lsn);
	return lsn;
}

/* concord_capture_announce makes the decoder read up to lsn. */
void
concord_capture_announce(XLogRecPtr lsn)
{
	ConcordDatabase *db = concord_shmem != NULL ? wak_database() : NULL;

	if (db != NULL)
		wak_announce(db, lsn);
}

/* What a wait is for. */
typedef bool (*WakTest) (ConcordDatabase *db, XLogRecPtr lsn);

/*
 * wak_wait polls until the test holds: first often, then less so.  The
 * database's entry may come while we wait: CREATE EXTENSION has just committed.
 */
static bool
wak_wait(WakTest test, XLogRecPtr lsn, int timeout_ms)
{
	int64		end = concord_clock_steady() + Max(timeout_ms, 0) * INT64CONST(1000);
	long		sleep_ms = WAK_FIRST_POLL_MS;

	for (;;)
	{
		ConcordDatabase *db = concord_shmem_database(MyDatabaseId);
		long		left = timeout_ms < 0 ? WAK_LAST_POLL_MS :
			concord_clock_left(end);

		if (db != NULL && test(db, lsn))
			return true;
		if (left <= 0)
			return false;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 Min(sleep_ms, left), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
		sleep_ms = Min(sleep_ms * 2, WAK_LAST_POLL_MS);
	}
}

static bool
wak_is_ready(ConcordDatabase *db, XLogRecPtr lsn)
{
	return pg_atomic_read_u32(&db->capture_ready) != 0;
}

/* wak_is_settled holds, too, in a gap, which only somebody's decision ends. */
static bool
wak_is_settled(ConcordDatabase *db, XLogRecPtr lsn)
{
	bool		gap;

	SpinLockAcquire(&db->mutex);
	gap = strcmp(db->capture_state, CONCORD_CAPTURE_GAP) == 0;
	SpinLockRelease(&db->mutex);
	return gap || wak_is_ready(db, lsn);
}

static bool
wak_is_captured(ConcordDatabase *db, XLogRecPtr lsn)
{
	return pg_atomic_read_u64(&db->captured_lsn) >= lsn;
}

/* concord_capture_wait_ready waits until the slot is consistent and recorded. */
bool
concord_capture_wait_ready(int timeout_ms)
{
	return concord_shmem != NULL && wak_wait(wak_is_ready, 0, timeout_ms);
}

/* concord_capture_wait_lsn waits until what committed before lsn is captured. */
bool
concord_capture_wait_lsn(XLogRecPtr lsn, int timeout_ms)
{
	return concord_shmem != NULL && wak_wait(wak_is_captured, lsn, timeout_ms);
}

/* wak_blockers lists the processes that a worker's lock waits for, or NULL. */
static char *
wak_blockers(pid_t pid)
{
	ArrayType  *pids;
	int32	   *values;
	StringInfoData buf;

	if (pid == 0)
		return NULL;
	pids = DatumGetArrayTypeP(DirectFunctionCall1(pg_blocking_pids,
												  Int32GetDatum(pid)));
	if (ARR_NDIM(pids) != 1 || ARR_DIMS(pids)[0] == 0)
		return NULL;
	values = (int32 *) ARR_DATA_PTR(pids);
	initStringInfo(&buf);
	for (int i = 0; i < ARR_DIMS(pids)[0]; i++)
		appendStringInfo(&buf, "%s%d", i > 0 ? ", " : "", values[i]);
	return buf.data;
}

/* wak_refuse raises the error of concord_capture_require. */
static void
wak_refuse(const char *what, bool in_transaction)
{
	ConcordDatabase *db = concord_shmem_database(MyDatabaseId);
	char		state[sizeof(db->capture_state)] = "no worker";
	char		reason[CONCORD_REASON_SIZE] = "the launcher has not taken this database yet";
	pid_t		decoder = 0;
	char	   *blockers;

	if (db != NULL)
	{
		SpinLockAcquire(&db->mutex);
		strlcpy(state, db->capture_state, sizeof(state));
		strlcpy(reason, db->reason, sizeof(reason));
		decoder = db->workers[CONCORD_WORKER_DECODER].pid;
		SpinLockRelease(&db->mutex);
	}
	blockers = wak_blockers(decoder);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%s cannot be used because capture is not ready", what),
			 blockers ?
			 errdetail("State of capture: %s; it waits for the transactions of processes %s to end.",
					   state, blockers) :
			 errdetail("State of capture: %s%s%s.", state,
					   reason[0] ? ": " : "", reason),
			 in_transaction ?
			 errhint("This transaction has written already, and capture would wait for it.  Commit, then SELECT concord.wait_for_capture().") :
			 errhint("SELECT * FROM concord.capture says more; SELECT concord.wait_for_capture() waits for it.")));
}

/* concord_capture_require returns once capture is ready, or raises. */
void
concord_capture_require(const char *what)
{
	bool		has_xid = TransactionIdIsValid(GetTopTransactionIdIfAny());

	if (concord_shmem == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s cannot be used because the library pg_concord is not preloaded",
						what),
				 errhint("Add pg_concord to shared_preload_libraries and restart the server.")));
	if (wal_level < CONCORD_WAL_LEVEL_NEEDED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("%s cannot be used because \"wal_level\" is lower than " CONCORD_WAL_LEVEL_NAME,
						what),
				 errhint("Set wal_level = logical and restart the server.")));
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("%s cannot be used during recovery", what)));
	(void) wak_wait(wak_is_settled, 0, has_xid ? 0 : concord_start_timeout);
	if (!concord_capture_wait_ready(0))
		wak_refuse(what, has_xid);
}
