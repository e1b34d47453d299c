/*-------------------------------------------------------------------------
 *
 * account.c
 *	  May a request go now; if not, when.
 *
 * All that can be in the way is looked at under one spinlock, and what goes is
 * counted there: two processes never use the same place or the same request of
 * a quota.  What only time can mend has the caller come again at that time;
 * for a place, or the end of a probe, it waits in a list (account_wait.c).
 *
 * Where a system tells how many requests are left (told) and few are, what is
 * left is spread over the time until there are more: better slow than refused.
 * Requests under way may not be counted yet in what it says, so they are taken
 * off.
 *
 * A place is taken for the first request of an exchange.  Those that follow
 * are never held, since what was begun should end; they are charged, and the
 * next exchange waits the longer.
 *
 *-------------------------------------------------------------------------
 */
#include "http/account_state.h"

#include "miscadmin.h"

/* When to look again where the list of those who wait is full. */
#define ACC_FULL_US		20000
/* While a quota's usage has to be read from its table first. */
#define ACC_USAGE_NS	(20 * CONCORD_NS_PER_MS)
/* No system's word stops requests for longer. */
#define ACC_TOLD_MOST_MS	(24 * 60 * 60 * INT64CONST(1000))
/* Where a system says how many are left but not until when. */
#define ACC_TOLD_WINDOW_MS	60000
#define ACC_TOLD_LIMIT		60
/* Two answers speak of the same window if its ends are as close as this. */
#define ACC_SAME_RESET_NS	(2 * CONCORD_NS_PER_S)

/* concord_account_now returns microseconds of a clock that does not jump. */
int64
concord_account_now(void)
{
	return concord_clock_steady();
}

/* acc_total is what is in flight. */
static int
acc_total(const ConcordAccountState *s)
{
	return s->in_flight[CONCORD_USE_COURIER] +
		s->in_flight[CONCORD_USE_INTERACTIVE];
}

/* acc_quota is how much of the quota a use may come to. */
static int64
acc_quota(const ConcordAccountState *s, ConcordUse use)
{
	int64		quota = s->limits.quota;

	if (use == CONCORD_USE_COURIER)
		quota -= (quota * s->limits.share + 99) / 100;
	return Max(quota, 1);
}

/* acc_told forgets what the system said once it has lost its meaning. */
static bool
acc_told(ConcordAccountState *s, int64 now)
{
	if (s->told >= 0 && now >= s->told_expires)
	{
		s->told = -1;
		s->pace = 0;
	}
	return s->told >= 0;
}

/* acc_near says whether the system is about to refuse. */
static bool
acc_near(const ConcordAccountState *s)
{
	return s->told_limit > 0 ? s->told * 10 <= s->told_limit : s->told <= 10;
}

/* acc_told_ready says when the system's own limit lets a request go. */
static int64
acc_told_ready(ConcordAccountState *s, ConcordUse use, int64 now)
{
	if (!acc_told(s, now) || !acc_near(s))
		return 0;
	if (s->told == 0 && s->told_reset > now)
		return s->told_reset;
	return use == CONCORD_USE_COURIER || s->told == 0 ? s->pace : 0;
}

/* acc_later keeps the later of two times, and what it is about. */
static void
acc_later(int64 *when, const char **why, int64 other, const char *reason)
{
	if (other <= *when)
		return;
	*when = other;
	*why = reason;
}

/* acc_ready says from when on a request may go, as far as time decides. */
static int64
acc_ready(ConcordAccountState *s, ConcordUse use, int64 now, const char **why)
{
	int64		when = now;

	if (use == CONCORD_USE_COURIER && s->breaker == CONCORD_BREAKER_OPEN)
		acc_later(&when, why, s->until, "the circuit breaker is open");
	acc_later(&when, why, s->throttled_until, "the system asks for time");
	acc_later(&when, why, acc_told_ready(s, use, now),
			  "the system has hardly any requests left");
	for (int i = use; i <= CONCORD_USE_INTERACTIVE; i++)
		acc_later(&when, why, concord_rate_ready(&s->rate[i], s->spent[i]),
				  "its rate is reached (option rate)");
	if (s->window.part != 0 && !s->usage_known)
		acc_later(&when, why, now + ACC_USAGE_NS, "its quota is used up (option quota)");
	else if (s->window.part != 0)
	{
		concord_window_slide(&s->window, now);
		acc_later(&when, why,
				  concord_window_ready(&s->window, acc_quota(s, use), now),
				  "its quota is used up (option quota)");
	}
	return when;
}

/* acc_count counts n requests (-1: one that was not sent after all). */
static void
acc_count(ConcordAccountState *s, ConcordUse use, int n, int64 now)
{
	for (int i = use; i <= CONCORD_USE_INTERACTIVE; i++)
		concord_rate_spend(&s->rate[i], &s->spent[i], n, now);
	concord_window_add(&s->window, n, 0, now);
	s->asked += n;
	if (!acc_told(s, now))
		return;
	s->told = Max(s->told - n, 0);
	if (n < 0)
		s->pace = 0;
	else if (acc_near(s) && s->told_reset > now)
		s->pace = now + (s->told_reset - now) / (s->told + 1);
	else if (acc_near(s))
		s->pace = Max(s->pace, now) + s->refill;
}

/* acc_place says whether there is a place for a request now. */
static bool
acc_place(ConcordAccountState *s, ConcordUse use, int64 now)
{
	if (use == CONCORD_USE_COURIER && s->breaker != CONCORD_BREAKER_CLOSED &&
		s->in_flight[CONCORD_USE_COURIER] > 0)
		return false;			/* one probe at a time */
	return concord_account_may_go(s, use, now);
}

/* concord_account_take asks for a request. */
bool
concord_account_take(ConcordAccount *account, ConcordUse use, int64 *wait_us,
					 const char **why)
{
	ConcordAccountState *s = account->state;
	const char *reason = "all places are taken (option concurrency)";
	int64		now = concord_clock_ns();
	int64		when;
	bool		taken = false;

	*wait_us = 0;
	SpinLockAcquire(&s->mutex);
	when = acc_ready(s, use, now, &reason);
	if (when > now)
	{
		concord_account_dequeue(s);
		*wait_us = (when - now + 999) / 1000;
	}
	else if (!acc_place(s, use, now))
		*wait_us = concord_account_enqueue(s, use) ? -1 : ACC_FULL_US;
	else
	{
		taken = true;
		concord_account_dequeue(s);
		if (use == CONCORD_USE_COURIER && s->breaker == CONCORD_BREAKER_OPEN)
		{
			s->breaker = CONCORD_BREAKER_HALF_OPEN;
			pg_atomic_fetch_add_u32(&s->version, 1);
		}
		s->in_flight[use]++;
		acc_count(s, use, 1, now);
	}
	SpinLockRelease(&s->mutex);
	if (taken)
		account->in_flight[use]++;
	else if (why != NULL)
		*why = reason;
	return taken;
}

/* acc_give_back ends a place; back: nothing was sent. */
static void
acc_give_back(ConcordAccount *account, ConcordUse use, bool back)
{
	ConcordAccountState *s = account->state;
	int64		now = concord_clock_ns();
	AccountWake wake;

	if (account->left)
		return;
	Assert(account->in_flight[use] > 0);
	account->in_flight[use]--;
	SpinLockAcquire(&s->mutex);
	s->in_flight[use]--;
	if (back)
		acc_count(s, use, -1, now);
	if (back && use == CONCORD_USE_COURIER &&
		s->breaker == CONCORD_BREAKER_HALF_OPEN)
	{
		s->breaker = CONCORD_BREAKER_OPEN;
		pg_atomic_fetch_add_u32(&s->version, 1);
	}
	concord_account_wake(s, s->breaker != CONCORD_BREAKER_CLOSED, &wake, now);
	SpinLockRelease(&s->mutex);
	concord_account_set_latches(&wake);
}

/* concord_account_untake gives back what was not used. */
void
concord_account_untake(ConcordAccount *account, ConcordUse use)
{
	acc_give_back(account, use, true);
}

/* concord_account_release gives a place back. */
void
concord_account_release(ConcordAccount *account, ConcordUse use)
{
	acc_give_back(account, use, false);
}

/* concord_account_charge counts a request that has a place already. */
void
concord_account_charge(ConcordAccount *account)
{
	ConcordAccountState *s = account->state;
	int64		now = concord_clock_ns();

	SpinLockAcquire(&s->mutex);
	acc_count(s, CONCORD_USE_COURIER, 1, now);
	SpinLockRelease(&s->mutex);
}

/* concord_account_leave gives up waiting for a place. */
void
concord_account_leave(ConcordAccount *account)
{
	SpinLockAcquire(&account->state->mutex);
	concord_account_dequeue(account->state);
	SpinLockRelease(&account->state->mutex);
}

/* acc_set_rates follows a changed rate or share. */
static void
acc_set_rates(ConcordAccountState *s, const ConcordLimits *limits, int64 now)
{
	concord_rate_set(&s->rate[CONCORD_USE_COURIER], limits->rate,
					 limits->rate_ms, 100 - limits->share);
	concord_rate_set(&s->rate[CONCORD_USE_INTERACTIVE], limits->rate,
					 limits->rate_ms, 100);
	/* what was spent of another rate must not cost hours at this one */
	for (int i = 0; i < lengthof(s->rate); i++)
		s->spent[i] = Min(s->spent[i], now + s->rate[i].interval);
}

/* concord_account_set_limits puts limits into force. */
void
concord_account_set_limits(ConcordAccount *account, const ConcordLimits *limits,
						   bool only_first)
{
	ConcordAccountState *s = account->state;
	int64		now = concord_clock_ns();
	AccountWake wake = {0};

	SpinLockAcquire(&s->mutex);
	if (!s->configured ||
		(!only_first && memcmp(&s->limits, limits, sizeof(ConcordLimits)) != 0))
	{
		int			ceiling = s->limits.concurrency * 1000;
		int			wanted = Max(limits->concurrency, 1) * 1000;

		if (!s->configured || s->thousandths >= ceiling)
			s->thousandths = wanted;
		s->thousandths = Min(s->thousandths, wanted);
		acc_set_rates(s, limits, now);
		if (s->limits.quota == 0)
			s->usage_known = false;
		concord_window_length(&s->window,
							  limits->quota > 0 ? limits->quota_ms : 0, now);
		s->limits = *limits;
		s->limits.concurrency = wanted / 1000;
		s->configured = true;
		concord_account_wake(s, true, &wake, now);
	}
	SpinLockRelease(&s->mutex);
	concord_account_set_latches(&wake);
}

/* concord_account_told takes over what an answer says of the system's limits. */
void
concord_account_told(ConcordAccount *account, const ConcordBudget *budget)
{
	ConcordAccountState *s = account->state;
	int64		now = concord_clock_ns();
	int64		limit = Max(budget->limit, 0);
	int64		window = budget->window_ms > 0 ? budget->window_ms : ACC_TOLD_WINDOW_MS;
	int64		left = Max(budget->remaining, 0);
	int64		reset = 0;

	window = Min(window, ACC_TOLD_MOST_MS);
	if (budget->reset_ms >= 0)
		reset = now + Min(budget->reset_ms, ACC_TOLD_MOST_MS) * CONCORD_NS_PER_MS;

	SpinLockAcquire(&s->mutex);
	left = Max(left - Max(acc_total(s) - 1, 0), 0);
	if (acc_told(s, now) && reset > 0 && s->told_reset > 0 &&
		llabs(reset - s->told_reset) <= ACC_SAME_RESET_NS)
		left = Min(left, s->told);
	s->told = left;
	s->told_limit = limit;
	s->told_reset = reset;
	s->told_expires = reset > 0 ? reset : now + window * CONCORD_NS_PER_MS;
	s->refill = window * CONCORD_NS_PER_MS / (limit > 0 ? limit : ACC_TOLD_LIMIT);
	/* the last request's pace was reckoned with what was known then */
	if (!acc_near(s))
		s->pace = 0;
	else if (s->pace == 0)
		s->pace = now + (reset > now ? (reset - now) / (left + 1) : s->refill);
	SpinLockRelease(&s->mutex);
}

/* concord_account_look_at shows what is; under the spinlock. */
void
concord_account_look_at(ConcordAccountState *s, ConcordAccountView *view,
						int64 now)
{
	view->limits = s->limits;
	view->breaker = s->breaker;
	view->failures = s->failures;
	view->in_flight = acc_total(s);
	view->concurrency = concord_account_allowed(s);
	view->since = s->since / 1000;
	view->until = s->until / 1000;
	view->throttled_until = s->throttled_until / 1000;
	view->budget_left = -1;
	view->budget_until = 0;
	strlcpy(view->reason, s->reason, sizeof(view->reason));
	if (s->window.part != 0)
	{
		int64		free;

		concord_window_slide(&s->window, now);
		view->budget_left = Max(s->limits.quota - s->window.used, 0);
		free = concord_window_ready(&s->window,
									acc_quota(s, CONCORD_USE_COURIER), now);
		if (free > now)
			view->budget_until = free / 1000;
	}
	if (acc_told(s, now))
	{
		if (view->budget_left < 0 || s->told < view->budget_left)
			view->budget_left = s->told;
		if (s->told == 0)
			view->budget_until = Max(view->budget_until,
									 Max(s->told_reset, s->pace) / 1000);
	}
}

/* concord_account_look does so for a handle. */
void
concord_account_look(ConcordAccount *account, ConcordAccountView *view)
{
	int64		now = concord_clock_ns();

	SpinLockAcquire(&account->state->mutex);
	concord_account_look_at(account->state, view, now);
	SpinLockRelease(&account->state->mutex);
}

/* concord_account_version changes with the breaker and with throttling. */
uint32
concord_account_version(const ConcordAccount *account)
{
	return pg_atomic_read_u32(&account->state->version);
}
