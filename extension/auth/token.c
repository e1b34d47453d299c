/*-------------------------------------------------------------------------
 *
 * token.c
 *	  The shared cache of tokens and sessions.
 *
 * One lock guards all slots; it is taken to fetch a token or to copy a new
 * one, not for each request: a process keeps its copy as long as the slot's
 * generation, which never repeats, is the one it copied.
 *
 *	claim		a process that finds no token writes its pid and a time into
 *				the slot and fetches.  It ends the claim with a token or a
 *				failure; when it exits, or the time is over, others may claim.
 *	failure		puts the next attempt of all processes off: for a second at
 *				first, for half a minute where the credentials were refused,
 *				doubling up to TOKEN_FAIL_CAP_S and TOKEN_REFUSED_CAP_S.
 *	expiry		a token is used until a tenth of its life, at most
 *				TOKEN_SKEW_S, is left.
 *
 * Times are of a clock that all processes share and that does not jump (it
 * goes on while the machine sleeps): a corrected wall clock ends no token and
 * lets none live on, and no failure puts attempts off for hours.
 *
 * With all slots taken the one used the longest ago gives way, unless it is
 * claimed.  Tokens are wiped when they are replaced or found to be over.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/token.h"

#include "base/clock.h"
#include "base/shmem.h"
#include "catalog/pg_authid.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/acl.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define TOKEN_TRANCHE			"pg_concord tokens"
#define TOKEN_SLOTS				128
#define TOKEN_SKEW_S			30
#define TOKEN_FAIL_BASE_S		1
#define TOKEN_FAIL_CAP_S		60
#define TOKEN_REFUSED_BASE_S	30
#define TOKEN_REFUSED_CAP_S		1800

typedef struct TokenSlot
{
	ConcordTokenKey key;		/* dboid InvalidOid: free */
	pg_atomic_uint64 generation;	/* of the value; 0: none.  Read without
									 * the lock. */
	int64		expires;		/* when it is not to be used any more */
	int64		used;			/* when it was last looked for */
	pid_t		claimed_by;		/* 0: nobody fetches */
	int64		claimed_until;
	int			failures;		/* in a row */
	int64		failed_until;
	char		why[CONCORD_TOKEN_ERROR];
	char		value[CONCORD_TOKEN_MAX];
} TokenSlot;

typedef struct TokenShmem
{
	LWLock	   *lock;
	uint64		last_generation;
	TokenSlot	slots[TOKEN_SLOTS];
} TokenShmem;

static TokenShmem *token_shmem = NULL;
static shmem_request_hook_type token_prev_request = NULL;
static shmem_startup_hook_type token_prev_startup = NULL;

/* This process gives its claims back when it exits. */
static bool token_exit_registered = false;

static void
token_request(void)
{
	if (token_prev_request)
		token_prev_request();
	RequestAddinShmemSpace(MAXALIGN(sizeof(TokenShmem)));
	RequestNamedLWLockTranche(TOKEN_TRANCHE, 1);
}

static void
token_startup(void)
{
	bool		found;

	if (token_prev_startup)
		token_prev_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	token_shmem = ShmemInitStruct(TOKEN_TRANCHE, sizeof(TokenShmem), &found);
	if (!found)
	{
		memset(token_shmem, 0, sizeof(TokenShmem));
		token_shmem->lock = &(GetNamedLWLockTranche(TOKEN_TRANCHE))->lock;
		for (int i = 0; i < TOKEN_SLOTS; i++)
			pg_atomic_init_u64(&token_shmem->slots[i].generation, 0);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* concord_token_request registers the hooks; called by _PG_init only. */
void
concord_token_request(void)
{
	token_prev_request = shmem_request_hook;
	shmem_request_hook = token_request;
	token_prev_startup = shmem_startup_hook;
	shmem_startup_hook = token_startup;
}

/* token_empty wipes a slot's token; the caller holds the lock. */
static void
token_empty(TokenSlot *slot)
{
	pg_atomic_write_u64(&slot->generation, 0);
	slot->expires = 0;
	explicit_bzero(slot->value, sizeof(slot->value));
}

/* token_find returns the slot of a key or NULL; the caller holds the lock. */
static TokenSlot *
token_find(const ConcordTokenKey *key)
{
	for (int i = 0; i < TOKEN_SLOTS; i++)
	{
		TokenSlot  *slot = &token_shmem->slots[i];

		if (memcmp(&slot->key, key, sizeof(ConcordTokenKey)) == 0)
			return slot;
	}
	return NULL;
}

/* token_claimed says whether a process that is there is fetching. */
static bool
token_claimed(const TokenSlot *slot, int64 now)
{
	return slot->claimed_by != 0 && now < slot->claimed_until;
}

/* token_take gives a key a slot; NULL where all of them are claimed. */
static TokenSlot *
token_take(const ConcordTokenKey *key, int64 now)
{
	TokenSlot  *best = NULL;

	for (int i = 0; i < TOKEN_SLOTS; i++)
	{
		TokenSlot  *slot = &token_shmem->slots[i];

		if (!OidIsValid(slot->key.dboid))
		{
			best = slot;
			break;
		}
		if (!token_claimed(slot, now) &&
			(best == NULL || slot->used < best->used))
			best = slot;
	}
	if (best == NULL)
		return NULL;
	token_empty(best);
	best->key = *key;
	best->claimed_by = 0;
	best->failures = 0;
	best->failed_until = 0;
	best->why[0] = '\0';
	return best;
}

/* token_on_exit gives back what this process has claimed. */
static void
token_on_exit(int code, Datum arg)
{
	LWLockAcquire(token_shmem->lock, LW_EXCLUSIVE);
	for (int i = 0; i < TOKEN_SLOTS; i++)
	{
		if (token_shmem->slots[i].claimed_by == MyProcPid)
			token_shmem->slots[i].claimed_by = 0;
	}
	LWLockRelease(token_shmem->lock);
}

/* token_wipe frees a process's copy. */
static void
token_wipe(ConcordToken *token)
{
	if (token->value != NULL)
	{
		explicit_bzero(token->value, strlen(token->value));
		pfree(token->value);
	}
	token->value = NULL;
	token->generation = 0;
}

/* token_judge decides what a caller without a good copy does. */
static ConcordTokenState
token_judge(TokenSlot *slot, int64 now, int claim_ms, bool eager)
{
	slot->used = now;
	if (pg_atomic_read_u64(&slot->generation) != 0 && now < slot->expires)
		return CONCORD_TOKEN_VALID;
	if (pg_atomic_read_u64(&slot->generation) != 0)
		token_empty(slot);
	if (token_claimed(slot, now))
		return CONCORD_TOKEN_BUSY;
	if (!eager && now < slot->failed_until)
		return CONCORD_TOKEN_FAILED;
	slot->claimed_by = MyProcPid;
	slot->claimed_until = now + (int64) claim_ms * 1000;
	return CONCORD_TOKEN_CLAIMED;
}

/* concord_token_get looks for a token. */
ConcordTokenState
concord_token_get(const ConcordTokenKey *key, ConcordToken *token,
				  MemoryContext context, int claim_ms, bool eager,
				  const char **why)
{
	int64		now = concord_clock_steady();
	ConcordTokenState state = CONCORD_TOKEN_BUSY;
	char		copy[CONCORD_TOKEN_MAX];
	TokenSlot  *slot;

	concord_shmem_require();
	if (token->generation != 0 && now < token->expires &&
		pg_atomic_read_u64(&token_shmem->slots[token->slot].generation) ==
		token->generation)
		return CONCORD_TOKEN_VALID;
	if (!token_exit_registered)
		before_shmem_exit(token_on_exit, (Datum) 0);
	token_exit_registered = true;

	token_wipe(token);
	copy[0] = '\0';
	LWLockAcquire(token_shmem->lock, LW_EXCLUSIVE);
	slot = token_find(key);
	if (slot == NULL)
		slot = token_take(key, now);
	if (slot != NULL)
	{
		state = token_judge(slot, now, claim_ms, eager);
		if (state == CONCORD_TOKEN_VALID)
		{
			token->slot = slot - token_shmem->slots;
			token->generation = pg_atomic_read_u64(&slot->generation);
			token->expires = slot->expires;
			strlcpy(copy, slot->value, sizeof(copy));
		}
		else if (state == CONCORD_TOKEN_FAILED)
			strlcpy(copy, slot->why, sizeof(copy));
	}
	LWLockRelease(token_shmem->lock);

	if (state == CONCORD_TOKEN_VALID)
		token->value = MemoryContextStrdup(context, copy);
	else if (state == CONCORD_TOKEN_FAILED)
		*why = pstrdup(copy);
	explicit_bzero(copy, strlen(copy));
	return state;
}

/* concord_token_store ends a claim; false where the token is too long. */
bool
concord_token_store(const ConcordTokenKey *key, const char *value,
					double seconds)
{
	int64		now = concord_clock_steady();
	double		left = seconds - Min(seconds / 10, TOKEN_SKEW_S);
	TokenSlot  *slot;

	if (strlen(value) >= CONCORD_TOKEN_MAX)
		return false;
	LWLockAcquire(token_shmem->lock, LW_EXCLUSIVE);
	slot = token_find(key);
	if (slot == NULL)
		slot = token_take(key, now);
	if (slot != NULL)
	{
		token_empty(slot);
		strlcpy(slot->value, value, sizeof(slot->value));
		slot->expires = now + (int64) (left * 1000000);
		slot->claimed_by = 0;
		slot->failures = 0;
		slot->failed_until = 0;
		pg_atomic_write_u64(&slot->generation, ++token_shmem->last_generation);
	}
	LWLockRelease(token_shmem->lock);
	return true;
}

/* concord_token_fail ends a claim and puts the next attempt off. */
void
concord_token_fail(const ConcordTokenKey *key, const char *why, bool refused)
{
	int64		now = concord_clock_steady();
	TokenSlot  *slot;

	LWLockAcquire(token_shmem->lock, LW_EXCLUSIVE);
	slot = token_find(key);
	/* one that is late says nothing of what another is fetching or has got */
	if (slot != NULL && slot->claimed_by == MyProcPid)
	{
		int			base = refused ? TOKEN_REFUSED_BASE_S : TOKEN_FAIL_BASE_S;
		int			cap = refused ? TOKEN_REFUSED_CAP_S : TOKEN_FAIL_CAP_S;

		slot->claimed_by = 0;
		slot->failed_until = now +
			(int64) Min(base << Min(slot->failures, 10), cap) * 1000000;
		slot->failures++;
		strlcpy(slot->why, why, sizeof(slot->why));
	}
	LWLockRelease(token_shmem->lock);
}

/* concord_token_abandon gives a claim back, so that another process fetches. */
void
concord_token_abandon(const ConcordTokenKey *key)
{
	TokenSlot  *slot;

	LWLockAcquire(token_shmem->lock, LW_EXCLUSIVE);
	slot = token_find(key);
	if (slot != NULL && slot->claimed_by == MyProcPid)
		slot->claimed_by = 0;
	LWLockRelease(token_shmem->lock);
}

/* concord_token_forget drops a token that a system has refused. */
void
concord_token_forget(const ConcordTokenKey *key, uint64 generation)
{
	TokenSlot  *slot;

	LWLockAcquire(token_shmem->lock, LW_EXCLUSIVE);
	slot = token_find(key);
	if (slot != NULL && generation != 0 &&
		pg_atomic_read_u64(&slot->generation) == generation)
		token_empty(slot);
	LWLockRelease(token_shmem->lock);
}

/* ---------------------------------------------------------------------
 * what people see of it
 * ------------------------------------------------------------------- */

PG_FUNCTION_INFO_V1(concord_token_expiry);

/* token_visible says whether the caller may know of a role's tokens. */
static bool
token_visible(Oid roleid)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) ||
		has_privs_of_role(GetUserId(), roleid);
}

/*
 * concord_token_expiry is concord.token_expiry(): when the first of the
 * tokens that are kept for a server is over, of those roles whose rights the
 * caller has.
 */
Datum
concord_token_expiry(PG_FUNCTION_ARGS)
{
	Oid			serverid = PG_GETARG_OID(0);
	Oid			roles[TOKEN_SLOTS];
	int64		expires[TOKEN_SLOTS];
	int64		now = concord_clock_steady();
	int64		first = PG_INT64_MAX;
	int			n = 0;

	if (token_shmem == NULL)
		PG_RETURN_NULL();
	LWLockAcquire(token_shmem->lock, LW_SHARED);
	for (int i = 0; i < TOKEN_SLOTS; i++)
	{
		TokenSlot  *slot = &token_shmem->slots[i];

		if (slot->key.dboid != MyDatabaseId || slot->key.serverid != serverid ||
			pg_atomic_read_u64(&slot->generation) == 0 || slot->expires <= now)
			continue;
		roles[n] = slot->key.roleid;
		expires[n++] = slot->expires;
	}
	LWLockRelease(token_shmem->lock);

	/* rights are looked up without the lock: that may raise errors */
	for (int i = 0; i < n; i++)
	{
		if (expires[i] < first && token_visible(roles[i]))
			first = expires[i];
	}
	if (first == PG_INT64_MAX)
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(GetCurrentTimestamp() + (first - now));
}
