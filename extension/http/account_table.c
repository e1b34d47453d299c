/*-------------------------------------------------------------------------
 *
 * account_table.c
 *	  The table of accounts in shared memory, and this process's handles.
 *
 * A fixed number of slots.  One that no process uses keeps its state (what
 * was used of a quota, an open breaker) until its place is needed; then the one
 * unused the longest gives way.  Where every slot is in use, a process's limits
 * are its own and not shared: better than to refuse, and said in the log.
 *
 * A process gives back what it holds when it exits, also by an error.  After a
 * crash of any process the server makes shared memory anew.
 *
 *-------------------------------------------------------------------------
 */
#include "http/account_state.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/memutils.h"

#define TABLE_TRANCHE	"pg_concord accounts"
#define TABLE_SLOTS		256

typedef struct AccountTable
{
	LWLock	   *lock;
	ConcordAccountState slots[TABLE_SLOTS];
} AccountTable;

static AccountTable *table_shmem = NULL;
static shmem_request_hook_type table_prev_request = NULL;
static shmem_startup_hook_type table_prev_startup = NULL;

/* This process's handles. */
static dlist_head table_handles = DLIST_STATIC_INIT(table_handles);
static bool table_exit_registered = false;
static bool table_full_told = false;

/* table_clear makes a slot one of nobody; its mutex is free or ours alone. */
static void
table_clear(ConcordAccountState *s)
{
	uint32		version = pg_atomic_read_u32(&s->version);

	memset(s, 0, sizeof(ConcordAccountState));
	pg_atomic_init_u32(&s->version, version + 1);
	SpinLockInit(&s->mutex);
	s->thousandths = 1000;
	s->limits.concurrency = 1;
	s->told = -1;
}

static void
table_request(void)
{
	if (table_prev_request)
		table_prev_request();
	RequestAddinShmemSpace(MAXALIGN(sizeof(AccountTable)));
	RequestNamedLWLockTranche(TABLE_TRANCHE, 1);
}

static void
table_startup(void)
{
	bool		found;

	if (table_prev_startup)
		table_prev_startup();

	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	table_shmem = ShmemInitStruct(TABLE_TRANCHE, sizeof(AccountTable), &found);
	if (!found)
	{
		memset(table_shmem, 0, sizeof(AccountTable));
		table_shmem->lock = &(GetNamedLWLockTranche(TABLE_TRANCHE))->lock;
		for (int i = 0; i < TABLE_SLOTS; i++)
		{
			pg_atomic_init_u32(&table_shmem->slots[i].version, 0);
			table_clear(&table_shmem->slots[i]);
		}
	}
	LWLockRelease(AddinShmemInitLock);
}

/* concord_account_request registers the hooks; called by _PG_init only. */
void
concord_account_request(void)
{
	table_prev_request = shmem_request_hook;
	shmem_request_hook = table_request;
	table_prev_startup = shmem_startup_hook;
	shmem_startup_hook = table_startup;
}

/* table_same compares keys; they are zeroed before they are filled. */
static bool
table_same(const ConcordAccountKey *a, const ConcordAccountKey *b)
{
	return a->dboid == b->dboid && a->serverid == b->serverid &&
		strncmp(a->name, b->name, NAMEDATALEN) == 0;
}

/* table_find returns the slot of a key or NULL; the caller holds the lock. */
static ConcordAccountState *
table_find(const ConcordAccountKey *key)
{
	for (int i = 0; i < TABLE_SLOTS; i++)
	{
		if (table_same(&table_shmem->slots[i].key, key))
			return &table_shmem->slots[i];
	}
	return NULL;
}

/*
 * table_take gives a key a slot; NULL where all of them are in use.  One whose
 * usage was not saved stays rather than another.
 */
static ConcordAccountState *
table_take(const ConcordAccountKey *key)
{
	ConcordAccountState *best = NULL;
	bool		best_dirty = false;

	for (int i = 0; i < TABLE_SLOTS; i++)
	{
		ConcordAccountState *s = &table_shmem->slots[i];
		bool		dirty = s->window.part != 0 && s->asked != s->saved;

		if (!OidIsValid(s->key.dboid))
		{
			best = s;
			break;
		}
		if (s->users > 0)
			continue;
		if (best == NULL || dirty < best_dirty ||
			(dirty == best_dirty && s->used_at < best->used_at))
		{
			best = s;
			best_dirty = dirty;
		}
	}
	if (best == NULL)
		return NULL;
	table_clear(best);
	best->key = *key;
	best->since = concord_clock_ns();
	return best;
}

/* table_leave takes this process out of a slot. */
static void
table_leave(ConcordAccount *account)
{
	ConcordAccountState *s = account->state;
	int64		now = concord_clock_ns();
	AccountWake wake;

	SpinLockAcquire(&s->mutex);
	for (int i = 0; i < lengthof(account->in_flight); i++)
	{
		s->in_flight[i] -= account->in_flight[i];
		account->in_flight[i] = 0;
	}
	concord_account_dequeue(s);
	concord_account_wake(s, true, &wake, now);
	SpinLockRelease(&s->mutex);
	concord_account_set_latches(&wake);
	if (!account->shared)
		return;
	LWLockAcquire(table_shmem->lock, LW_EXCLUSIVE);
	s->users--;
	s->used_at = now;
	LWLockRelease(table_shmem->lock);
}

/* table_on_exit gives back all that this process holds. */
static void
table_on_exit(int code, Datum arg)
{
	dlist_iter	iter;

	/* what transactions hold is given back after this, once more */
	dlist_foreach(iter, &table_handles)
	{
		ConcordAccount *account = dlist_container(ConcordAccount, node, iter.cur);

		table_leave(account);
		account->left = true;
	}
}

/* table_handle makes a handle; its state is of this process at first. */
static ConcordAccount *
table_handle(const ConcordAccountKey *key)
{
	ConcordAccount *account = MemoryContextAllocZero(TopMemoryContext,
													 sizeof(ConcordAccount));

	if (table_shmem != NULL)
	{
		LWLockAcquire(table_shmem->lock, LW_EXCLUSIVE);
		account->state = table_find(key);
		if (account->state == NULL)
			account->state = table_take(key);
		if (account->state != NULL)
			account->state->users++;
		LWLockRelease(table_shmem->lock);
	}
	account->shared = account->state != NULL;
	if (account->shared)
		return account;
	account->state = MemoryContextAllocZero(TopMemoryContext,
											sizeof(ConcordAccountState));
	pg_atomic_init_u32(&account->state->version, 0);
	table_clear(account->state);
	account->state->key = *key;
	account->state->since = concord_clock_ns();
	account->state->usage_known = true;
	return account;
}

/* concord_account_attach returns this process's handle of an account. */
ConcordAccount *
concord_account_attach(const ConcordAccountKey *key)
{
	ConcordAccount *account;
	dlist_iter	iter;

	if (!table_exit_registered)
		before_shmem_exit(table_on_exit, (Datum) 0);
	table_exit_registered = true;
	dlist_foreach(iter, &table_handles)
	{
		account = dlist_container(ConcordAccount, node, iter.cur);
		if (concord_account_is(account, key))
		{
			account->refs++;
			return account;
		}
	}
	account = table_handle(key);
	account->refs = 1;
	dlist_push_tail(&table_handles, &account->node);
	if (!account->shared && table_shmem != NULL && !table_full_told)
	{
		table_full_told = true;
		ereport(LOG,
				(errmsg("no place for another account in shared memory: its limits hold for this process alone"),
				 errdetail("%d accounts are in use.", TABLE_SLOTS),
				 errhint("Servers that name the same \"account\" have one place together.")));
	}
	return account;
}

/* concord_account_detach gives a handle back. */
void
concord_account_detach(ConcordAccount *account)
{
	if (account->left || --account->refs > 0)
		return;
	dlist_delete(&account->node);
	table_leave(account);
	if (!account->shared)
		pfree(account->state);
	pfree(account);
}

/* concord_account_key tells a handle's key. */
const ConcordAccountKey *
concord_account_key(const ConcordAccount *account)
{
	return &account->state->key;
}

/* concord_account_is says whether a handle is that of a key. */
bool
concord_account_is(const ConcordAccount *account, const ConcordAccountKey *key)
{
	return table_same(&account->state->key, key);
}

/* concord_account_peek shows any account; false where it is unknown. */
bool
concord_account_peek(const ConcordAccountKey *key, ConcordAccountView *view)
{
	int64		now = concord_clock_ns();
	ConcordAccountState *s;
	bool		known = false;

	if (table_shmem == NULL)
		return false;
	LWLockAcquire(table_shmem->lock, LW_SHARED);
	s = table_find(key);
	if (s != NULL)
	{
		SpinLockAcquire(&s->mutex);
		known = s->configured;
		concord_account_look_at(s, view, now);
		SpinLockRelease(&s->mutex);
	}
	LWLockRelease(table_shmem->lock);
	return known;
}

/* concord_account_wants_usage: there is a quota and nobody has set its usage. */
bool
concord_account_wants_usage(ConcordAccount *account)
{
	ConcordAccountState *s = account->state;
	bool		wants;

	SpinLockAcquire(&s->mutex);
	wants = s->window.part != 0 && !s->usage_known;
	SpinLockRelease(&s->mutex);
	return wants;
}

/* concord_account_set_usage says what was used before; once. */
void
concord_account_set_usage(ConcordAccount *account, const ConcordUsage *usage)
{
	ConcordAccountState *s = account->state;
	int64		now = concord_clock_ns();

	SpinLockAcquire(&s->mutex);
	if (s->window.part != 0 && !s->usage_known)
	{
		s->usage_known = true;
		for (int i = 0; usage != NULL && i <= CONCORD_WINDOW_PARTS; i++)
		{
			int64		age = i == 0 ? 0 : usage->age_ms + (i - 1) * usage->part_ms;

			if (usage->parts[i] > 0 &&
				age <= 366 * INT64CONST(24 * 60 * 60 * 1000))
				concord_window_add(&s->window, usage->parts[i],
								   age * CONCORD_NS_PER_MS, now);
		}
	}
	SpinLockRelease(&s->mutex);
}

/* concord_account_unsaved copies the usage that has changed. */
int
concord_account_unsaved(ConcordUsage *usage, int max)
{
	int64		now = concord_clock_ns();
	int			n = 0;

	if (table_shmem == NULL)
		return 0;
	LWLockAcquire(table_shmem->lock, LW_SHARED);
	for (int i = 0; i < TABLE_SLOTS && n < max; i++)
	{
		ConcordAccountState *s = &table_shmem->slots[i];

		if (s->key.dboid != MyDatabaseId)
			continue;
		SpinLockAcquire(&s->mutex);
		if (s->window.part != 0 && s->usage_known && s->asked != s->saved)
		{
			concord_window_slide(&s->window, now);
			usage[n].key = s->key;
			usage[n].part_ms = s->window.part / CONCORD_NS_PER_MS;
			usage[n].age_ms = (now - s->window.start) / CONCORD_NS_PER_MS;
			memcpy(usage[n].parts, s->window.parts, sizeof(usage[n].parts));
			s->saved = s->asked;
			n++;
		}
		SpinLockRelease(&s->mutex);
	}
	LWLockRelease(table_shmem->lock);
	return n;
}
