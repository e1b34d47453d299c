/*-------------------------------------------------------------------------
 *
 * account_breaker.c
 *	  What became of requests, and what that means for the next ones.
 *
 *		closed ──► open ──► half-open ──► closed
 *					▲			│
 *					└───────────┘
 *
 * What opens it: the system is down, or failures in a row that could be the
 * system's of breaker_failures different records.  The same record failing
 * again says nothing new about the system.  An answer about one record, good
 * or bad, proves that the system works and closes it.  While it is open nothing
 * is tried; after a cooldown, which doubles up to BREAKER_CAP_MS, one probe
 * goes, one for all processes.  One that fails so while fewer records than that
 * have closes the breaker too: whatever had opened it is over, and a record that
 * makes a system fail cannot keep it from the others, nor be tried for ever.
 *
 * What a session hears is about the path that its caller has chosen.  A good
 * answer closes a breaker that silence has opened; one that answers or failing
 * records have opened is closed by a delivery, unless none has tried for
 * BREAKER_CAP_MS, and failures in a row stay what they are.  No session has the
 * others wait for longer than BREAKER_CAP_MS.
 *
 * A throttled system (429) is not down: it is left alone for as long as it
 * asked, or for a growing delay.  When it comes back, or a 503 was told, half
 * as many requests go at a time, and one more after each round of good answers
 * until there are as many as option concurrency says.
 *
 *-------------------------------------------------------------------------
 */
#include "http/account_state.h"

#include "common/pg_prng.h"

#define BREAKER_CAP_MS		60000
#define BREAKER_THROTTLE_MS	1000
/* A round of good answers has at least so many. */
#define BREAKER_ROUND		8

/* brk_changed has the account's users look again. */
static void
brk_changed(ConcordAccountState *s)
{
	pg_atomic_fetch_add_u32(&s->version, 1);
}

/* brk_become changes the state. */
static void
brk_become(ConcordAccountState *s, ConcordBreaker breaker, int64 now)
{
	if (s->breaker == breaker)
		return;
	if (breaker == CONCORD_BREAKER_CLOSED ||
		s->breaker == CONCORD_BREAKER_CLOSED)
		s->since = now;
	if (breaker == CONCORD_BREAKER_CLOSED)
	{
		s->trips = 0;
		s->reason[0] = '\0';
	}
	s->breaker = breaker;
	brk_changed(s);
}

/* brk_open opens it for a cooldown that doubles with each failed probe. */
static void
brk_open(ConcordAccountState *s, const char *reason, int retry_after_ms,
		 bool by_answer, int64 now)
{
	int64		cooldown = Max(s->limits.breaker_cooldown_ms, 1);
	int64		cap = Max(BREAKER_CAP_MS, cooldown);

	if (s->breaker == CONCORD_BREAKER_OPEN)
		return;					/* an answer to what was under way */
	for (int i = 0; i < s->trips && cooldown < cap; i++)
		cooldown *= 2;
	cooldown = Min(cooldown, cap);
	if (retry_after_ms > 0)
		s->throttled_until = Max(s->throttled_until,
								 now + retry_after_ms * CONCORD_NS_PER_MS);
	cooldown = Max(cooldown, retry_after_ms);
	s->trips++;
	s->by_answer = by_answer;
	s->until = now + cooldown * CONCORD_NS_PER_MS;
	strlcpy(s->reason, reason ? reason : "the system does not answer",
			sizeof(s->reason));
	brk_become(s, CONCORD_BREAKER_OPEN, now);
}

/*
 * brk_heard notes that an answer has come; true where it is one to what was
 * sent before the concurrency was halved, which says nothing about the half.
 */
static bool
brk_heard(ConcordAccountState *s)
{
	if (s->deaf == 0)
		return false;
	s->deaf--;
	return true;
}

/* brk_halve halves the concurrency, once for all that is under way. */
static bool
brk_halve(ConcordAccountState *s)
{
	if (brk_heard(s))
		return false;
	s->thousandths = Max(s->thousandths / 2, 1000);
	s->deaf = Max(s->in_flight[CONCORD_USE_COURIER] +
				  s->in_flight[CONCORD_USE_INTERACTIVE] - 1, 0);
	return true;
}

/* brk_end lets go of the spinlock and wakes who waits, after a change. */
static void
brk_end(ConcordAccountState *s, uint32 version, int64 now)
{
	AccountWake wake = {0};

	if (pg_atomic_read_u32(&s->version) != version)
		concord_account_wake(s, true, &wake, now);
	SpinLockRelease(&s->mutex);
	concord_account_set_latches(&wake);
}

/* brk_begin takes the spinlock. */
static uint32
brk_begin(ConcordAccountState *s)
{
	SpinLockAcquire(&s->mutex);
	return pg_atomic_read_u32(&s->version);
}

/* brk_may_close says whether what was heard may close the breaker. */
static bool
brk_may_close(const ConcordAccountState *s, ConcordUse use, int64 now)
{
	return use == CONCORD_USE_COURIER || !s->by_answer ||
		(s->breaker == CONCORD_BREAKER_HALF_OPEN &&
		 now - s->until > (int64) BREAKER_CAP_MS * CONCORD_NS_PER_MS);
}

/*
 * concord_account_answered: the system has answered about one record.  first:
 * it is the first that this answer is about; a batch's answer is about many, and
 * counts once for the concurrency.  The same with the other outcomes below.
 */
void
concord_account_answered(ConcordAccount *account, ConcordUse use, bool first)
{
	ConcordAccountState *s = account->state;
	int64		now = concord_clock_ns();
	uint32		version = brk_begin(s);
	int			ceiling = s->limits.concurrency * 1000;

	if (first && !brk_heard(s) && s->thousandths < ceiling)
		s->thousandths = Min(s->thousandths + 1000 /
							 Max(concord_account_allowed(s), BREAKER_ROUND),
							 ceiling);
	if (use == CONCORD_USE_COURIER)
	{
		if (s->failures > 0)
			brk_changed(s);
		s->failures = 0;
		s->throttles = 0;
	}
	if (brk_may_close(s, use, now))
		brk_become(s, CONCORD_BREAKER_CLOSED, now);
	brk_end(s, version, now);
}

/* concord_account_throttled: the system asks for time. */
void
concord_account_throttled(ConcordAccount *account, ConcordUse use,
						  int retry_after_ms, bool first)
{
	ConcordAccountState *s = account->state;
	double		jitter = pg_prng_double(&pg_global_prng_state);
	int64		now = concord_clock_ns();
	uint32		version = brk_begin(s);
	int64		ms = retry_after_ms;

	if (first && brk_halve(s))
		s->throttles++;
	if (ms < 0)
		ms = BREAKER_THROTTLE_MS / 2 + (int64)
			(jitter * Min((int64) BREAKER_THROTTLE_MS << Min(Max(s->throttles - 1, 0), 10),
						  BREAKER_CAP_MS));
	if (use == CONCORD_USE_INTERACTIVE)
		ms = Min(ms, BREAKER_CAP_MS);
	s->throttled_until = Max(s->throttled_until, now + ms * CONCORD_NS_PER_MS);
	brk_changed(s);
	if (s->breaker == CONCORD_BREAKER_HALF_OPEN && brk_may_close(s, use, now))
		brk_become(s, CONCORD_BREAKER_CLOSED, now);
	brk_end(s, version, now);
}

/*
 * concord_account_down: the system is down; overloaded: it says it has too much
 * to do; silent: it says nothing.
 */
void
concord_account_down(ConcordAccount *account, const char *reason,
					 int retry_after_ms, bool overloaded, bool silent,
					 bool first)
{
	ConcordAccountState *s = account->state;
	int64		now = concord_clock_ns();
	uint32		version = brk_begin(s);

	if (first && overloaded)
		brk_halve(s);
	else if (first)
		brk_heard(s);
	brk_open(s, reason, retry_after_ms, !silent, now);
	brk_end(s, version, now);
}

/*
 * brk_count counts a record among those that failed in a row, once.  Beyond
 * what is remembered, each failure counts.
 */
static void
brk_count(ConcordAccountState *s, uint64 record)
{
	int			known = Min(s->failures, CONCORD_ACCOUNT_RECORDS);

	for (int i = 0; i < known; i++)
		if (s->failed[i] == record)
			return;
	if (known < CONCORD_ACCOUNT_RECORDS)
		s->failed[known] = record;
	s->failures++;
	brk_changed(s);
}

/* concord_account_failed: it may be the record's fault, or the system's. */
bool
concord_account_failed(ConcordAccount *account, uint64 record,
					   const char *reason, int retry_after_ms, bool first)
{
	ConcordAccountState *s = account->state;
	int64		now = concord_clock_ns();
	uint32		version = brk_begin(s);
	bool		counts = false;

	if (first)
		brk_heard(s);
	if (s->breaker != CONCORD_BREAKER_OPEN)
	{
		/* else it was under way when it opened */
		brk_count(s, record);
		if (s->failures >= Max(s->limits.breaker_failures, 1))
			brk_open(s, reason, retry_after_ms, true, now);
		else
		{
			brk_become(s, CONCORD_BREAKER_CLOSED, now);
			counts = true;
		}
	}
	brk_end(s, version, now);
	return counts;
}

/*
 * concord_account_hurry has a system that is down probed now: somebody has
 * changed its options or resumed it.  What the system asked for is kept.
 */
void
concord_account_hurry(ConcordAccount *account)
{
	ConcordAccountState *s = account->state;
	int64		now = concord_clock_ns();
	uint32		version = brk_begin(s);

	if (s->breaker == CONCORD_BREAKER_OPEN)
	{
		s->until = Min(s->until, now);
		s->trips = 0;
		brk_changed(s);
	}
	brk_end(s, version, now);
}

/* concord_account_interactive says whether the breaker lets a request go. */
bool
concord_account_interactive(ConcordAccount *account, char *reason, int64 *until)
{
	ConcordAccountState *s = account->state;
	int64		now = concord_clock_ns();
	uint32		version;
	bool		may = true;

	version = brk_begin(s);
	if (s->breaker == CONCORD_BREAKER_OPEN && now < s->until)
		may = false;
	else if (s->breaker == CONCORD_BREAKER_HALF_OPEN)
		may = s->in_flight[CONCORD_USE_COURIER] +
			s->in_flight[CONCORD_USE_INTERACTIVE] == 0;
	else if (s->breaker == CONCORD_BREAKER_OPEN)
		brk_become(s, CONCORD_BREAKER_HALF_OPEN, now);
	if (!may)
	{
		strlcpy(reason, s->reason, CONCORD_ACCOUNT_REASON);
		*until = s->until / 1000;
	}
	brk_end(s, version, now);
	return may;
}
