/*-------------------------------------------------------------------------
 *
 * breaker.c
 *	  A courier's view of an account: may a request go to a system now; what
 *	  an outcome says about the system.
 *
 * Limits and breaker are the account's (http/account.c, account_breaker.c).
 * Here are the decisions that need to know outcomes: DOWN opens the breaker at
 * once; a failure without a whole answer, or a 5xx, may be the record's or the
 * system's; any other answer proves that the system works.  While the breaker
 * is open nothing is counted against records.  Probes take deliveries in turn:
 * send.c puts one that failed behind the others.
 *
 * A courier keeps a copy of the breaker's state, which it renews when the
 * account's version has changed.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/settings.h"
#include "connector/limits.h"
#include "delivery/delivery.h"
#include "utils/timestamp.h"

#define BREAKER_OVERLOADED	503

/* concord_breaker_look renews the copy. */
void
concord_breaker_look(ConcordSystem *system)
{
	ConcordAccountView view;
	uint32		version;

	if (system->account == NULL)
		return;
	version = concord_account_version(system->account);
	if (version == system->version)
		return;
	concord_account_look(system->account, &view);
	system->version = version;
	system->breaker = view.breaker;
	system->failures = view.failures;
	system->since = view.since;
	system->until = view.until;
	system->throttled_until = view.throttled_until;
	strlcpy(system->reason, view.reason, sizeof(system->reason));
	system->dirty = true;
}

/*
 * concord_breaker_allows says whether one more request may go now, and takes a
 * place for it, unless there is one already.
 */
bool
concord_breaker_allows(ConcordSystem *system)
{
	int64		wait_us;

	if (system->place)
		return true;
	system->ask_at = -1;
	if (!concord_delivery || system->held != NULL || system->moving ||
		system->account == NULL)
		return false;
	system->place = concord_account_take(system->account, CONCORD_USE_COURIER,
										 &wait_us, NULL);
	if (system->place)
		system->ask_at = 0;
	else if (wait_us >= 0)
		system->ask_at = concord_account_now() + wait_us;
	concord_breaker_look(system);
	return system->place;
}

/* concord_breaker_spare gives back a place that nothing was chosen for. */
void
concord_breaker_spare(ConcordSystem *system)
{
	if (!system->place)
		return;
	system->place = false;
	concord_account_untake(system->account, CONCORD_USE_COURIER);
	concord_breaker_look(system);
}

/* concord_system_begins uses the place that allows has taken. */
void
concord_system_begins(ConcordSystem *system)
{
	Assert(system->place);
	system->place = false;
	system->served = true;
	system->in_flight++;
}

/* concord_system_ends gives it back, when the exchange has ended. */
void
concord_system_ends(ConcordCourier *courier, ConcordSystem *system)
{
	system->in_flight--;
	concord_account_release(system->account, CONCORD_USE_COURIER);
	if (system->moving && system->in_flight == 0)
		courier->loaded = false;
}

/* concord_breaker_answer takes in what an answer says of the system's limits. */
void
concord_breaker_answer(ConcordSystem *system, const ConcordConnector *connector,
					   const ConcordResponse *response)
{
	ConcordBudget budget;

	if (concord_limits_read(connector, response, &budget))
		concord_account_told(system->account, &budget);
}

/*
 * concord_breaker_batch says that the results that follow, up to the end, are
 * all of one answer.
 */
void
concord_breaker_batch(ConcordSystem *system, bool begins)
{
	system->in_batch = begins;
	system->heard = false;
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
	ConcordAccount *account = system->account;
	bool		counts = true;
	bool		first = !system->heard;

	system->heard = system->in_batch;
	if (x->outcome != CONCORD_OUTCOME_DONE && x->error != NULL)
	{
		strlcpy(system->last_error, x->error, sizeof(system->last_error));
		system->last_error_at = now;
	}
	if (x->outcome == CONCORD_OUTCOME_DOWN)
	{
		concord_account_down(account, x->error, x->retry_after_ms,
							 x->status == BREAKER_OVERLOADED, x->status == 0,
							 first);
		counts = false;
	}
	else if (x->outcome == CONCORD_OUTCOME_THROTTLE)
	{
		concord_account_throttled(account, CONCORD_USE_COURIER,
								  x->retry_after_ms, first);
		counts = false;
	}
	else if (x->outcome == CONCORD_OUTCOME_UNKNOWN ||
			 (x->outcome == CONCORD_OUTCOME_RETRY &&
			  (x->status == 0 || x->status >= 500)))
		counts = concord_account_failed(account, record, x->error,
										x->retry_after_ms, first);
	else
	{
		system->last_answer_at = now;
		concord_account_answered(account, CONCORD_USE_COURIER, first);
	}
	concord_breaker_look(system);
	return counts;
}

/*
 * concord_breaker_hurry has a system that is down probed now: somebody has
 * changed it, its credentials, or resumed it.
 */
void
concord_breaker_hurry(ConcordSystem *system)
{
	if (system->account == NULL)
		return;
	concord_account_hurry(system->account);
	concord_breaker_look(system);
}

/* concord_breaker_time tells a time of the account's clock as one of day. */
TimestampTz
concord_breaker_time(int64 at, TimestampTz now)
{
	return now + (at - concord_account_now());
}

/* concord_breaker_age_ms says how long the breaker has been in its state. */
int64
concord_breaker_age_ms(const ConcordSystem *system)
{
	return (concord_account_now() - system->since) / 1000;
}

/* brk_next is when the system may be tried, 0: now. */
static int64
brk_next(const ConcordSystem *system)
{
	int64		next = system->throttled_until;

	if (system->breaker == CONCORD_BREAKER_OPEN)
		next = Max(next, system->until);
	return next > concord_account_now() ? next : 0;
}

/* concord_breaker_next says when the system may be tried again; 0: now. */
TimestampTz
concord_breaker_next(const ConcordSystem *system, TimestampTz now)
{
	int64		next = brk_next(system);

	return next > 0 ? concord_breaker_time(next, now) : 0;
}

/*
 * concord_breaker_asked says when to ask again for a place that was refused;
 * 0: now; -1: not before our latch is set.
 */
TimestampTz
concord_breaker_asked(const ConcordSystem *system, TimestampTz now)
{
	if (system->ask_at <= 0)
		return system->ask_at;
	return Max(concord_breaker_time(system->ask_at, now), 0);
}

/* concord_breaker_state is what view system calls state. */
const char *
concord_breaker_state(const ConcordSystem *system)
{
	if (system->held != NULL)
		return "held";
	if (system->breaker != CONCORD_BREAKER_CLOSED)
		return "down";
	if (brk_next(system) > 0)
		return "throttled";
	return "ok";
}

const char *
concord_breaker_name(ConcordBreaker breaker)
{
	static const char *const names[] = {"closed", "open", "half-open"};

	return names[breaker];
}
