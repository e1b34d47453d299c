/*-------------------------------------------------------------------------
 *
 * shmem.h
 *	  All shared memory of the library.
 *
 * One array of databases, one entry per database that has the extension or
 * had it a moment ago.  An entry is taken and given back by the launcher only,
 * under ConcordShmem->lock held exclusively; its fields are written as each
 * comment says.  Spinlocks and atomics below the lock, never another LWLock
 * inside it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_SHMEM_H
#define CONCORD_SHMEM_H

#include "base/compat.h"

#include "access/xlogdefs.h"
#include "base/progress.h"
#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/s_lock.h"
#include "storage/spin.h"

#define CONCORD_MAX_DATABASES	64
#define CONCORD_MAX_COURIERS	16

typedef enum ConcordWorkerKind
{
	CONCORD_WORKER_DECODER,
	CONCORD_WORKER_CAPTURE,
	CONCORD_WORKER_CLERK,
	CONCORD_WORKER_APPLIER,		/* where something comes in */
	CONCORD_WORKER_COURIER,		/* the first of CONCORD_MAX_COURIERS slots */
} ConcordWorkerKind;

#define CONCORD_WORKER_SLOTS	(CONCORD_WORKER_COURIER + CONCORD_MAX_COURIERS)

/* Why capture is not running; NUL-terminated, set under the entry's mutex. */
#define CONCORD_REASON_SIZE		512

/* A running worker; pid and latch are set by the worker itself. */
typedef struct ConcordWorkerSlot
{
	pid_t		pid;			/* 0 where not running */
	Latch	   *latch;
	TimestampTz started_at;
} ConcordWorkerSlot;

typedef struct ConcordDatabase
{
	Oid			dboid;			/* InvalidOid: the entry is free */
	slock_t		mutex;			/* guards the fields down to reason */
	bool		stop_requested; /* workers shall exit; set by the launcher */
	bool		stopped;		/* no worker runs or is about to; launcher */
	bool		extension_gone; /* a worker, or a commit, says so */
	int			holders;		/* sessions that want the workers out of the
								 * way: DROP DATABASE and friends */
	bool		no_worker_slot; /* max_worker_processes is exhausted */
	bool		applier_wanted; /* the clerk has found something for it */

	ConcordWorkerSlot workers[CONCORD_WORKER_SLOTS];

	/* what capture is doing, for concord.capture; see capture/slot.h */
	char		capture_state[32];
	char		reason[CONCORD_REASON_SIZE];

	/* decoder and capture */
	pg_atomic_uint32 decoder_sleeping;	/* a commit shall set its latch */
	pg_atomic_uint64 commit_lsn;	/* largest XLogInsert end that a commit of
									 * this database has announced */
	pg_atomic_uint64 read_lsn;	/* WAL before this was decoded and handed on */
	pg_atomic_uint64 captured_lsn;	/* and what it brought is committed in the
									 * outbox */
	pg_atomic_uint64 last_seq;	/* newest committed seq of the outbox */
	pg_atomic_uint64 events_captured;
	pg_atomic_uint32 queue_handle;	/* dsm_handle of the shm_mq, 0 = none */
	pg_atomic_uint32 capture_ready; /* slot is consistent, capture runs */

	/* bumped when definitions changed and committed; couriers reload */
	pg_atomic_uint64 catalog_generation;

	/* bumped by couriers after each committed turn; waiters poll it */
	pg_atomic_uint64 delivery_generation;
} ConcordDatabase;

/* A database for which pg_concord.enabled is set, to whatever value. */
typedef struct ConcordRegistration
{
	Oid			dboid;
	bool		enabled;
} ConcordRegistration;

typedef struct ConcordShmem
{
	LWLock	   *lock;			/* guards which entries are in use */
	pid_t		launcher_pid;	/* 0 where not running */
	Latch	   *launcher_latch;

	/* what the scout found; under lock, but for survey_wanted */
	pg_atomic_uint32 survey_wanted; /* bumped by whoever changed something */
	uint32		survey_done;	/* value of survey_wanted that this answers */
	int			nregistered;
	Oid			check_wanted;	/* a scout shall look into this database */
	ConcordRegistration registered[CONCORD_MAX_DATABASES];

	ConcordProgress progress[CONCORD_MAX_PROGRESS]; /* see progress.h */

	ConcordDatabase databases[CONCORD_MAX_DATABASES];
} ConcordShmem;

/* NULL where the library is not in shared_preload_libraries. */
extern PGDLLIMPORT ConcordShmem *concord_shmem;

/*
 * concord_shmem_require raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, with
 * the line to add, where the library is not preloaded.
 */
extern void concord_shmem_require(void);

/* concord_shmem_request registers the hooks; called by _PG_init only. */
extern void concord_shmem_request(void);

/*
 * concord_shmem_database returns the entry of a database, or NULL.  The
 * pointer stays valid while a worker of that database runs; others must cope
 * with an entry that is given back.
 */
extern ConcordDatabase *concord_shmem_database(Oid dboid);

/* concord_shmem_take returns the entry of a database, a new one if need be;
 * NULL where none is free.  The launcher's only. */
extern ConcordDatabase *concord_shmem_take(Oid dboid);

/*
 * concord_shmem_release gives an entry back; false where somebody holds it.
 * The launcher's only.
 */
extern bool concord_shmem_release(ConcordDatabase *db);

/*
 * concord_shmem_set_state says what capture is doing, for concord.capture;
 * reason may be NULL.
 */
extern void concord_shmem_set_state(ConcordDatabase *db, const char *state,
									const char *reason);

/* concord_shmem_wake sets the latch of a worker of this database if it runs. */
extern void concord_shmem_wake(ConcordDatabase *db, int worker_slot);
extern void concord_shmem_wake_launcher(void);

/*
 * concord_catalog_changed notes that this transaction changed definitions
 * (mappings, servers, connectors, pauses): at its commit the generation is
 * bumped and the workers of this database are woken.
 */
extern void concord_catalog_changed(void);

/* concord_catalog_changing says whether this transaction has noted one. */
extern bool concord_catalog_changing(void);

/* concord_shmem_survey asks the launcher to look for databases again. */
extern void concord_shmem_survey(void);

#endif							/* CONCORD_SHMEM_H */
