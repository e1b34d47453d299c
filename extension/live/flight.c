/*-------------------------------------------------------------------------
 *
 * flight.c
 *	  One request for all sessions that want the same answer at once.
 *
 * A fixed table of flights.  Who finds none for a key begins one and sends the
 * request; the others sleep on its condition variable until it ends, and find
 * the answer in the cache.  A flight ends with the resource owner of who began
 * it, too, so that nobody waits for a session that was cancelled or has gone.
 * Who has waited once and found nothing sends the request himself: answers that
 * may not be kept must not queue everybody up.
 *
 *-------------------------------------------------------------------------
 */
#include "live/cache.h"

#include "base/clock.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/resowner.h"
#include "utils/wait_event.h"

#define FLIGHT_TRANCHE	"pg_concord flights"
#define FLIGHT_SLOTS	128

typedef struct FlightSlot
{
	bool		used;
	uint64		number;			/* of the flight; never repeats */
	ConcordCacheKey key;
	ConditionVariable ended;
} FlightSlot;

typedef struct FlightShmem
{
	LWLock	   *lock;
	uint64		last_number;
	FlightSlot	slots[FLIGHT_SLOTS];
} FlightShmem;

static FlightShmem *flight_shmem = NULL;
static shmem_request_hook_type flight_prev_request = NULL;
static shmem_startup_hook_type flight_prev_startup = NULL;

/* The flight of this process: there is one at a time. */
static FlightSlot *flight_mine = NULL;
static ResourceOwner flight_owner = NULL;
static bool flight_hooked = false;

static void
flight_request(void)
{
	if (flight_prev_request)
		flight_prev_request();
	RequestAddinShmemSpace(MAXALIGN(sizeof(FlightShmem)));
	RequestNamedLWLockTranche(FLIGHT_TRANCHE, 1);
}

static void
flight_startup(void)
{
	bool		found;

	if (flight_prev_startup)
		flight_prev_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	flight_shmem = ShmemInitStruct(FLIGHT_TRANCHE, sizeof(FlightShmem), &found);
	if (!found)
	{
		memset(flight_shmem, 0, sizeof(FlightShmem));
		flight_shmem->lock = &(GetNamedLWLockTranche(FLIGHT_TRANCHE))->lock;
		for (int i = 0; i < FLIGHT_SLOTS; i++)
			ConditionVariableInit(&flight_shmem->slots[i].ended);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* concord_flight_request registers the hooks; called by _PG_init only. */
void
concord_flight_request(void)
{
	flight_prev_request = shmem_request_hook;
	shmem_request_hook = flight_request;
	flight_prev_startup = shmem_startup_hook;
	shmem_startup_hook = flight_startup;
}

/* flight_over ends the flight of this process. */
static void
flight_over(void)
{
	FlightSlot *slot = flight_mine;

	flight_mine = NULL;
	flight_owner = NULL;
	LWLockAcquire(flight_shmem->lock, LW_EXCLUSIVE);
	slot->used = false;
	LWLockRelease(flight_shmem->lock);
	ConditionVariableBroadcast(&slot->ended);
}

/* flight_release ends it with its resource owner. */
static void
flight_release(ResourceReleasePhase phase, bool is_commit, bool is_top,
			   void *arg)
{
	if (phase == RESOURCE_RELEASE_BEFORE_LOCKS && flight_mine != NULL &&
		flight_owner == CurrentResourceOwner)
		flight_over();
}

/*
 * flight_take finds the flight of a key, or begins one: *mine.  NULL: there is
 * no place for it.
 */
static FlightSlot *
flight_take(const ConcordCacheKey *key, uint64 *number, bool *mine)
{
	FlightSlot *found = NULL;

	*mine = false;
	LWLockAcquire(flight_shmem->lock, LW_EXCLUSIVE);
	for (int i = 0; i < FLIGHT_SLOTS; i++)
	{
		FlightSlot *slot = &flight_shmem->slots[i];

		if (!slot->used)
		{
			if (found == NULL)
				found = slot;
			continue;
		}
		if (memcmp(&slot->key, key, sizeof(ConcordCacheKey)) == 0)
		{
			*number = slot->number;
			LWLockRelease(flight_shmem->lock);
			return slot;
		}
	}
	if (found != NULL)
	{
		*mine = true;
		found->used = true;
		found->number = *number = ++flight_shmem->last_number;
		found->key = *key;
	}
	LWLockRelease(flight_shmem->lock);
	return found;
}

/* flight_under_way says whether a flight has not ended. */
static bool
flight_under_way(const FlightSlot *slot, uint64 number)
{
	bool		under_way;

	LWLockAcquire(flight_shmem->lock, LW_SHARED);
	under_way = slot->used && slot->number == number;
	LWLockRelease(flight_shmem->lock);
	return under_way;
}

/* concord_flight_begin joins a flight or begins one. */
ConcordFlightRole
concord_flight_begin(const ConcordCacheKey *key, int wait_ms)
{
	int64		deadline = concord_clock_steady() + (int64) wait_ms * 1000;
	FlightSlot *slot;
	uint64		number;
	bool		mine;

	if (!flight_hooked)
		RegisterResourceReleaseCallback(flight_release, NULL);
	flight_hooked = true;
	if (flight_mine != NULL)
		return CONCORD_FLIGHT_ALONE;
	slot = flight_take(key, &number, &mine);
	if (slot == NULL)
		return CONCORD_FLIGHT_ALONE;
	if (mine)
	{
		flight_mine = slot;
		flight_owner = CurrentResourceOwner;
		return CONCORD_FLIGHT_FLY;
	}
	ConditionVariablePrepareToSleep(&slot->ended);
	while (flight_under_way(slot, number))
	{
		long		left = concord_clock_left(deadline);

		if (left == 0)
			break;
		(void) ConditionVariableTimedSleep(&slot->ended, left, PG_WAIT_EXTENSION);
	}
	ConditionVariableCancelSleep();
	return CONCORD_FLIGHT_WAITED;
}

/* concord_flight_end ends the flight of this process, if it is that of key. */
void
concord_flight_end(const ConcordCacheKey *key)
{
	if (flight_mine != NULL &&
		memcmp(&flight_mine->key, key, sizeof(ConcordCacheKey)) == 0)
		flight_over();
}
