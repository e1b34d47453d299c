/*-------------------------------------------------------------------------
 *
 * account_wait.c
 *	  Places of an account, and who waits for one.
 *
 * A process that finds no place enters a short list and sleeps on its latch;
 * who gives a place back wakes as many as there are places for.  A place is
 * not taken past those who have waited longer, so couriers of one account take
 * turns and a busy one starves nobody.  One that was woken and does not come
 * (its work has gone elsewhere) is passed over after WAIT_STALE_NS.  With the
 * list full the caller looks again after a while (account.c).
 *
 *-------------------------------------------------------------------------
 */
#include "http/account_state.h"

#include "miscadmin.h"

#define WAIT_STALE_NS	(10 * CONCORD_NS_PER_MS)

/* concord_account_allowed is the concurrency in force. */
int
concord_account_allowed(const ConcordAccountState *s)
{
	return Max(s->thousandths / 1000, 1);
}

/* concord_account_free says how many places are free for a use. */
int
concord_account_free(const ConcordAccountState *s, ConcordUse use)
{
	int			allowed = concord_account_allowed(s);
	int			courier = s->in_flight[CONCORD_USE_COURIER];
	int			kept = (allowed * s->limits.share + 99) / 100;
	int			left = allowed - courier - s->in_flight[CONCORD_USE_INTERACTIVE];

	if (use == CONCORD_USE_COURIER)
		left = Min(left, Max(allowed - kept, 1) - courier);
	return Max(left, 0);
}

/* wait_remove takes an entry out of the list. */
static void
wait_remove(ConcordAccountState *s, int i)
{
	s->nwaiters--;
	memmove(&s->waiters[i], &s->waiters[i + 1],
			(s->nwaiters - i) * sizeof(AccountWaiter));
}

/* wait_find returns the entry of this process, or nwaiters. */
static int
wait_find(const ConcordAccountState *s)
{
	int			i = 0;

	while (i < s->nwaiters && s->waiters[i].latch != MyLatch)
		i++;
	return i;
}

/*
 * concord_account_may_go says whether there is a place that nobody else has
 * waited for longer.  What is kept for interactive use is theirs first.
 */
bool
concord_account_may_go(ConcordAccountState *s, ConcordUse use, int64 now)
{
	int			ahead = 0;

	for (int i = 0; i < s->nwaiters && s->waiters[i].latch != MyLatch;)
	{
		const AccountWaiter *w = &s->waiters[i];

		if (w->woken != 0 && now - w->woken > WAIT_STALE_NS)
		{
			wait_remove(s, i);
			continue;
		}
		ahead += use == CONCORD_USE_COURIER || w->use == use;
		i++;
	}
	return concord_account_free(s, use) > ahead;
}

/* concord_account_enqueue has this process woken; false: the list is full. */
bool
concord_account_enqueue(ConcordAccountState *s, ConcordUse use)
{
	int			i = wait_find(s);

	if (i == ACCOUNT_WAITERS)
		return false;
	if (i == s->nwaiters)
		s->nwaiters++;
	s->waiters[i].latch = MyLatch;
	s->waiters[i].use = use;
	s->waiters[i].woken = 0;
	return true;
}

/* concord_account_dequeue ends that. */
void
concord_account_dequeue(ConcordAccountState *s)
{
	int			i = wait_find(s);

	if (i < s->nwaiters)
		wait_remove(s, i);
}

/*
 * concord_account_wake collects who is to be woken: those for whom there is a
 * place, or all, where it is not places that have changed.
 */
void
concord_account_wake(ConcordAccountState *s, bool all, AccountWake *wake,
					 int64 now)
{
	int			left[2];

	wake->n = 0;
	if (s->nwaiters == 0)
		return;
	left[CONCORD_USE_COURIER] = concord_account_free(s, CONCORD_USE_COURIER);
	left[CONCORD_USE_INTERACTIVE] = concord_account_free(s, CONCORD_USE_INTERACTIVE);
	for (int i = 0; i < s->nwaiters; i++)
	{
		AccountWaiter *w = &s->waiters[i];

		if (!all && left[w->use] <= 0)
			continue;
		left[w->use]--;
		if (w->woken != 0)
			continue;
		w->woken = now;
		wake->latches[wake->n++] = w->latch;
	}
}

/* concord_account_set_latches wakes them, with no spinlock held. */
void
concord_account_set_latches(const AccountWake *wake)
{
	for (int i = 0; i < wake->n; i++)
		SetLatch(wake->latches[i]);
}
