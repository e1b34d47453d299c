/*-------------------------------------------------------------------------
 *
 * breaker.c
 *	  Is a system up; may a request go to it now.
 *
 *		closed ──► open ──► half-open ──► closed
 *					▲			│
 *					└───────────┘
 *
 * What opens it: an outcome DOWN at once, or failures in a row that could be the
 * system's (no whole answer, 5xx) of breaker_failures different records.  The
 * same record failing again says nothing new about the system; it loses an
 * attempt and dies in the end.  An answer about one record, good or bad, proves
 * that the system works and closes it.  While it is open nothing is tried and
 * nothing counted; after a cooldown, which doubles up to BREAKER_CAP_MS, one
 * probe goes.  Probes take deliveries in turn (send.c puts one that failed
 * behind the others), and one that fails so while fewer records than that have
 * closes the breaker too: whatever had opened it is over, and a record that
 * makes a system fail cannot keep it from the others, nor be tried for ever.
 *
 * A throttled system (429) is not down: it is left alone for as long as it
 * asked, or for a growing delay.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/settings.h"
#include "delivery/delivery.h"
#include "utils/timestamp.h"

#define BREAKER_CAP_MS		60000
#define BREAKER_THROTTLE_MS	1000

/* brk_become changes the state; the row is written with the next commit. */
static void
brk_become(ConcordSystem *system, ConcordBreaker breaker, TimestampTz now)
{
	if (system->breaker == breaker)
		return;
	if (breaker == CONCORD_BREAKER_OPEN &&
		system->breaker == CONCORD_BREAKER_CLOSED)
		system->since = now;
	if (breaker == CONCORD_BREAKER_CLOSED)
	{
		system->since = now;
		system->trips = 0;
		system->reason[0] = '\0';
	}
	system->breaker = breaker;
	system->dirty = true;
}

/* brk_open opens it for a cooldown that doubles with each failed probe. */
static void
brk_open(ConcordSystem *system, const char *reason, int retry_after_ms,
		 TimestampTz now)
{
	double		cooldown = Max(system->breaker_cooldown_ms, 1);

	if (system->breaker == CONCORD_BREAKER_OPEN)
		return;					/* an answer to what was under way */
	for (int i = 0; i < system->trips && cooldown < BREAKER_CAP_MS; i++)
		cooldown *= 2;
	cooldown = Min(cooldown, (double) Max(BREAKER_CAP_MS,
										  system->breaker_cooldown_ms));
	if (retry_after_ms > 0)
		system->throttled_until = Max(system->throttled_until,
									  now + (int64) retry_after_ms * 1000);
	cooldown = Max(cooldown, (double) retry_after_ms);
	system->trips++;
	system->until = now + (int64) (cooldown * 1000);
	strlcpy(system->reason, reason ? reason : "the system does not answer",
			sizeof(system->reason));
	brk_become(system, CONCORD_BREAKER_OPEN, now);
	system->dirty = true;
}

/*
 * concord_breaker_allows says whether one more request may go now; it makes
 * an open breaker half-open when its time has come.
 */
bool
concord_breaker_allows(ConcordSystem *system, TimestampTz now)
{
	if (!concord_delivery || system->held != NULL ||
		now < system->throttled_until)
		return false;
	if (system->breaker == CONCORD_BREAKER_OPEN)
	{
		if (now < system->until || system->in_flight > 0)
			return false;
		brk_become(system, CONCORD_BREAKER_HALF_OPEN, now);
	}
	if (system->breaker == CONCORD_BREAKER_HALF_OPEN)
		return system->in_flight == 0;
	return system->in_flight < system->concurrency;
}

/* brk_throttled notes that the system asks for time. */
static void
brk_throttled(ConcordSystem *system, const ConcordExchange *x, TimestampTz now)
{
	int			ms = x->retry_after_ms;

	system->throttles++;
	if (ms < 0)
		ms = BREAKER_THROTTLE_MS / 2 +
			concord_backoff_ms(system->throttles, BREAKER_THROTTLE_MS,
							   BREAKER_CAP_MS);
	system->throttled_until = Max(system->throttled_until,
								  now + (int64) ms * 1000);
	system->dirty = true;
}

/*
 * brk_failed counts a record among those that failed in a row, once.  Beyond
 * what is remembered, each failure counts.
 */
static void
brk_failed(ConcordSystem *system, uint64 record)
{
	int			known = Min(system->failures, CONCORD_BREAKER_RECORDS);

	for (int i = 0; i < known; i++)
		if (system->failed[i] == record)
			return;
	if (known < CONCORD_BREAKER_RECORDS)
		system->failed[known] = record;
	system->failures++;
	system->dirty = true;
}

/*
 * brk_maybe_down judges a failure that may be the record's or the system's;
 * true where it counts against the record.
 */
static bool
brk_maybe_down(ConcordSystem *system, const ConcordExchange *x, uint64 record,
			   TimestampTz now)
{
	if (system->breaker == CONCORD_BREAKER_OPEN)
		return false;			/* was under way when it opened */
	brk_failed(system, record);
	if (system->failures >= system->breaker_failures)
	{
		brk_open(system, x->error, x->retry_after_ms, now);
		return false;
	}
	brk_become(system, CONCORD_BREAKER_CLOSED, now);
	return true;
}

/*
 * concord_breaker_result takes note of an exchange's outcome and returns
 * whether a failure counts against the record (the breaker stayed closed).
 * record tells records of the system apart.
 */
bool
concord_breaker_result(ConcordSystem *system, const ConcordExchange *x,
					   uint64 record, TimestampTz now)
{
	if (x->outcome != CONCORD_OUTCOME_DONE && x->error != NULL)
	{
		strlcpy(system->last_error, x->error, sizeof(system->last_error));
		system->last_error_at = now;
	}
	if (x->outcome == CONCORD_OUTCOME_DOWN)
	{
		brk_open(system, x->error, x->retry_after_ms, now);
		return false;
	}
	if (x->outcome == CONCORD_OUTCOME_THROTTLE)
	{
		brk_throttled(system, x, now);
		if (system->breaker == CONCORD_BREAKER_HALF_OPEN)
			brk_become(system, CONCORD_BREAKER_CLOSED, now);
		return false;
	}
	if (x->outcome == CONCORD_OUTCOME_UNKNOWN ||
		(x->outcome == CONCORD_OUTCOME_RETRY &&
		 (x->status == 0 || x->status >= 500)))
		return brk_maybe_down(system, x, record, now);
	system->last_answer_at = now;
	system->dirty |= system->failures > 0;
	system->failures = 0;
	system->throttles = 0;
	brk_become(system, CONCORD_BREAKER_CLOSED, now);
	return true;
}

/*
 * concord_breaker_hurry has a system that is down probed now: somebody has
 * changed its options.
 */
void
concord_breaker_hurry(ConcordSystem *system, TimestampTz now)
{
	if (system->breaker != CONCORD_BREAKER_OPEN)
		return;
	system->until = Min(system->until, now);
	system->trips = 0;
	system->dirty = true;
}

/*
 * concord_breaker_retry lets a probe go now: somebody has changed the server,
 * its credentials, or resumed it.  What the system asked for is kept.
 */
void
concord_breaker_retry(ConcordSystem *system, TimestampTz now)
{
	if (system->breaker != CONCORD_BREAKER_OPEN)
		return;
	system->trips = 0;
	system->until = Min(system->until, now);
	system->dirty = true;
}

/* concord_breaker_next says when the system may be tried again; 0: now. */
TimestampTz
concord_breaker_next(const ConcordSystem *system)
{
	TimestampTz next = system->throttled_until;

	if (system->breaker == CONCORD_BREAKER_OPEN)
		next = Max(next, system->until);
	return next;
}

/* concord_breaker_state is what view system calls state. */
const char *
concord_breaker_state(const ConcordSystem *system, TimestampTz now)
{
	if (system->held != NULL)
		return "held";
	if (system->breaker != CONCORD_BREAKER_CLOSED)
		return "down";
	if (now < system->throttled_until)
		return "throttled";
	return "ok";
}

const char *
concord_breaker_name(ConcordBreaker breaker)
{
	static const char *const names[] = {"closed", "open", "half-open"};

	return names[breaker];
}
