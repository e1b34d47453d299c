/*-------------------------------------------------------------------------
 *
 * lease.c
 *	  Which courier serves a lane: at most one does, whatever couriers believe.
 *
 * A table in shared memory, under one lock that is taken when a lane begins or
 * ends and never while it delivers.  An entry is given back by its process when
 * it exits, by whatever way that runs exit callbacks.  A process that dies in
 * another way makes the postmaster end all others and make shared memory anew,
 * so an entry is never that of a process which is gone, and never missing while
 * the process that had it could still send.
 *
 * A session advisory lock for each lane says the same, but at the end of each
 * transaction a process goes through all locks that its session holds: with a
 * thousand lanes that was a fifth of a courier's time.  The lock is still taken
 * for the moment of entering the table: where that is full it is kept, and keeps
 * others out as an entry does, because they, too, take it first.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/settings.h"
#include "base/shmem.h"
#include "common/hashfn.h"
#include "delivery/lease.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lock.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/tuplestore.h"

/* The fourth field of an advisory lock's tag; users have 1 and 2. */
#define LEASE_LOCK_CLASS	3
#define LEASE_TRANCHE		"pg_concord leases"
#define LEASE_NONE			(-1)

typedef struct LeaseEntry
{
	Oid			dboid;
	int32		mapping;
	int32		share;
	pid_t		pid;
	int32		next;			/* in its bucket, or among the free ones */
} LeaseEntry;

typedef struct LeaseTable
{
	LWLock	   *lock;			/* guards all below */
	int32		free;
	LeaseEntry	entries[FLEXIBLE_ARRAY_MEMBER]; /* pg_concord.max_leases */
} LeaseTable;

static LeaseTable *lease_table = NULL;
static int32 *lease_buckets = NULL; /* behind it, as many */
static shmem_request_hook_type lease_prev_request = NULL;
static shmem_startup_hook_type lease_prev_startup = NULL;
static bool lease_exit_registered = false;
static bool lease_full_told = false;

PG_FUNCTION_INFO_V1(concord_leases);

/* lease_table_size is the size of the table without its buckets. */
static Size
lease_table_size(void)
{
	return MAXALIGN(add_size(offsetof(LeaseTable, entries),
							 mul_size(sizeof(LeaseEntry), concord_max_leases)));
}

/* lease_size is what the table takes. */
static Size
lease_size(void)
{
	return add_size(lease_table_size(), mul_size(sizeof(int32), concord_max_leases));
}

static void
lease_request(void)
{
	if (lease_prev_request)
		lease_prev_request();
	RequestAddinShmemSpace(MAXALIGN(lease_size()));
	RequestNamedLWLockTranche(LEASE_TRANCHE, 1);
}

static void
lease_startup(void)
{
	bool		found;

	if (lease_prev_startup)
		lease_prev_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	lease_table = ShmemInitStruct(LEASE_TRANCHE, lease_size(), &found);
	lease_buckets = (int32 *) ((char *) lease_table + lease_table_size());
	if (!found)
	{
		memset(lease_table, 0, lease_size());
		lease_table->lock = &(GetNamedLWLockTranche(LEASE_TRANCHE))->lock;
		for (int i = 0; i < concord_max_leases; i++)
		{
			lease_buckets[i] = LEASE_NONE;
			lease_table->entries[i].next = i + 1 < concord_max_leases ? i + 1 : LEASE_NONE;
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

/* concord_lease_request registers the hooks; called by _PG_init only. */
void
concord_lease_request(void)
{
	lease_prev_request = shmem_request_hook;
	shmem_request_hook = lease_request;
	lease_prev_startup = shmem_startup_hook;
	shmem_startup_hook = lease_startup;
}

/* lease_place finds an entry: what points to it is LEASE_NONE where it is not. */
static int32 *
lease_place(int32 mapping, int share)
{
	uint32		hash = hash_combine(hash_combine(murmurhash32(MyDatabaseId),
												 murmurhash32(mapping)),
									murmurhash32(share));
	int32	   *place = &lease_buckets[hash % concord_max_leases];

	while (*place != LEASE_NONE)
	{
		LeaseEntry *entry = &lease_table->entries[*place];

		if (entry->dboid == MyDatabaseId && entry->mapping == mapping &&
			entry->share == share)
			break;
		place = &entry->next;
	}
	return place;
}

/* lease_unlink frees the entry that place points to. */
static void
lease_unlink(int32 *place)
{
	int32		i = *place;
	LeaseEntry *entry = &lease_table->entries[i];

	*place = entry->next;
	memset(entry, 0, sizeof(LeaseEntry));
	entry->next = lease_table->free;
	lease_table->free = i;
}

/* lease_exit gives back all that this process has. */
static void
lease_exit(int code, Datum arg)
{
	LWLockAcquire(lease_table->lock, LW_EXCLUSIVE);
	for (int i = 0; i < concord_max_leases; i++)
	{
		int32	   *place = &lease_buckets[i];

		while (*place != LEASE_NONE)
		{
			if (lease_table->entries[*place].pid == MyProcPid)
				lease_unlink(place);
			else
				place = &lease_table->entries[*place].next;
		}
	}
	LWLockRelease(lease_table->lock);
}

/*
 * lease_enter makes this process the one of a lane in the table: true where it
 * is that now.  Where another one is, *taken; else the table is full.
 */
static bool
lease_enter(int32 mapping, int share, bool *taken)
{
	int32	   *place;
	int32		i;
	bool		entered = false;

	if (!lease_exit_registered)
		before_shmem_exit(lease_exit, (Datum) 0);
	lease_exit_registered = true;
	LWLockAcquire(lease_table->lock, LW_EXCLUSIVE);
	place = lease_place(mapping, share);
	*taken = *place != LEASE_NONE;
	if (*taken)
		entered = lease_table->entries[*place].pid == MyProcPid;
	else if (lease_table->free != LEASE_NONE)
	{
		i = lease_table->free;
		lease_table->free = lease_table->entries[i].next;
		lease_table->entries[i] = (LeaseEntry)
		{
			MyDatabaseId, mapping, share, MyProcPid, LEASE_NONE
		};
		*place = i;
		entered = true;
	}
	LWLockRelease(lease_table->lock);
	return entered;
}

/* lease_leave takes this process's entry out; false where it has none. */
static bool
lease_leave(int32 mapping, int share)
{
	int32	   *place;
	bool		left;

	LWLockAcquire(lease_table->lock, LW_EXCLUSIVE);
	place = lease_place(mapping, share);
	left = *place != LEASE_NONE &&
		lease_table->entries[*place].pid == MyProcPid;
	if (left)
		lease_unlink(place);
	LWLockRelease(lease_table->lock);
	return left;
}

/*
 * concord_lease_take makes this process the only one that serves a share of a
 * mapping; false where another one does.
 */
bool
concord_lease_take(int32 mapping, int share)
{
	LOCKTAG		tag;
	bool		taken;
	bool		entered;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) share, (uint32) mapping,
						 LEASE_LOCK_CLASS);
	if (LockAcquire(&tag, ExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	entered = lease_enter(mapping, share, &taken);
	if (!entered && !taken)
	{
		if (!lease_full_told)
			ereport(LOG,
					(errmsg("more than %d mappings and shares are being delivered",
							concord_max_leases),
					 errdetail("The others are held by advisory locks, which cost time at the end of each transaction."),
					 errhint("Set \"%s\" higher.", "pg_concord.max_leases")));
		lease_full_told = true;
		return true;
	}
	LockRelease(&tag, ExclusiveLock, true);
	return entered;
}

/* concord_lease_give gives that back. */
void
concord_lease_give(int32 mapping, int share)
{
	LOCKTAG		tag;

	if (lease_leave(mapping, share))
		return;
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) share, (uint32) mapping,
						 LEASE_LOCK_CLASS);
	LockRelease(&tag, ExclusiveLock, true);
}

/* concord_leases is concord.leases(): what this database's couriers serve. */
Datum
concord_leases(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	LeaseEntry *copy;
	int			n = 0;

	concord_shmem_require();
	InitMaterializedSRF(fcinfo, 0);
	copy = palloc(sizeof(LeaseEntry) * concord_max_leases);
	LWLockAcquire(lease_table->lock, LW_SHARED);
	for (int i = 0; i < concord_max_leases; i++)
		if (lease_table->entries[i].dboid == MyDatabaseId)
			copy[n++] = lease_table->entries[i];
	LWLockRelease(lease_table->lock);
	for (int i = 0; i < n; i++)
	{
		Datum		values[] = {
			Int32GetDatum(copy[i].mapping),
			Int32GetDatum(copy[i].share),
			Int32GetDatum(copy[i].pid)
		};
		bool		nulls[3] = {false};

		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
