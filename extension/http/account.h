/*-------------------------------------------------------------------------
 *
 * account.h
 *	  Accounts: what may be sent to a system now, for all processes together.
 *
 * An account is a server, or all servers of a database and an owner that name
 * the same option account.  Rate, quota, concurrency, what the system says of its own
 * limits, and the circuit breaker belong to it and live in shared memory.
 *
 *	attach		a process gets a handle
 *	take		right before a request is submitted: a place, or how long to
 *				wait.  Everything that costs the system a request asks; what
 *				continues an exchange is charged afterwards (charge)
 *	release		the request, or the exchange of several, has ended
 *	answered, throttled, down, failed	what became of it
 *
 * What a process holds is given back when it exits.  Times that cross this
 * interface are microseconds of concord_account_now(), a clock that never
 * jumps.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_HTTP_ACCOUNT_H
#define CONCORD_HTTP_ACCOUNT_H

#include "base/compat.h"

#include "http/rate.h"

#define CONCORD_ACCOUNT_REASON	256
#define CONCORD_ACCOUNT_RECORDS	32	/* failed ones that a breaker tells apart */

/* Of a server alone, or what servers of one owner name. */
typedef struct ConcordAccountKey
{
	Oid			dboid;
	Oid			serverid;		/* of a server without option account, else of
								 * the owner; 0: superusers */
	char		name[NAMEDATALEN];
} ConcordAccountKey;

/* What the options say; 0 where there is no limit. */
typedef struct ConcordLimits
{
	int64		rate;			/* requests in rate_ms */
	int64		rate_ms;
	int64		quota;			/* requests in quota_ms */
	int64		quota_ms;
	int			concurrency;
	int			share;			/* percent that couriers leave alone */
	int			breaker_failures;
	int			breaker_cooldown_ms;
} ConcordLimits;

typedef enum ConcordUse
{
	CONCORD_USE_COURIER,
	CONCORD_USE_INTERACTIVE,	/* somebody waits: also what is kept for them,
								 * and beside the breaker */
} ConcordUse;

typedef enum ConcordBreaker
{
	CONCORD_BREAKER_CLOSED,		/* → open */
	CONCORD_BREAKER_OPEN,		/* → half-open, when the cooldown is over */
	CONCORD_BREAKER_HALF_OPEN,	/* one probe; → closed, → open */
} ConcordBreaker;

/* What an answer says of the system's own limits. */
typedef struct ConcordBudget
{
	int64		remaining;		/* requests left; -1: it says nothing */
	int64		limit;			/* of how many; 0: not said */
	int64		reset_ms;		/* until all are back; -1: not said */
	int64		window_ms;		/* in which limit requests come back; 0: not
								 * known */
} ConcordBudget;

/* What is shown of an account, and what its users keep a copy of. */
typedef struct ConcordAccountView
{
	ConcordLimits limits;
	ConcordBreaker breaker;
	int			failures;
	int			in_flight;		/* of all processes */
	int			concurrency;	/* in force */
	int64		since;			/* of the breaker's state */
	int64		until;			/* open: when a probe may go */
	int64		throttled_until;	/* 0: never */
	int64		budget_left;	/* -1: unlimited, as far as known */
	int64		budget_until;	/* none left: when there is; 0: else */
	char		reason[CONCORD_ACCOUNT_REASON];
} ConcordAccountView;

typedef struct ConcordAccount ConcordAccount;

/* concord_account_request registers the hooks; called by _PG_init only. */
extern void concord_account_request(void);

/* concord_account_now returns microseconds of the clock of this interface. */
extern int64 concord_account_now(void);

/*
 * concord_account_attach returns this process's handle of an account.  Where
 * shared memory has no place left, limits hold for this process alone, which
 * is logged once.  detach gives it back; nothing may be under way then.
 */
extern ConcordAccount *concord_account_attach(const ConcordAccountKey *key);
extern void concord_account_detach(ConcordAccount *account);

/* concord_account_key tells a handle's key. */
extern const ConcordAccountKey *concord_account_key(const ConcordAccount *account);

/* concord_account_is says whether a handle is that of a key. */
extern bool concord_account_is(const ConcordAccount *account,
							   const ConcordAccountKey *key);

/*
 * concord_account_set_limits puts limits into force for all processes;
 * only_first: unless somebody has done so.
 */
extern void concord_account_set_limits(ConcordAccount *account,
									   const ConcordLimits *limits,
									   bool only_first);

/*
 * concord_account_take asks for a request.  True: it is counted and has a
 * place, to be given back with release, or with untake where nothing was sent.
 * False: *wait_us says when to ask again; -1: the process's latch is set then.
 * *why (may be NULL) gets what is in the way, a constant.
 */
extern bool concord_account_take(ConcordAccount *account, ConcordUse use,
								 int64 *wait_us, const char **why);
extern void concord_account_untake(ConcordAccount *account, ConcordUse use);
extern void concord_account_release(ConcordAccount *account, ConcordUse use);

/* concord_account_charge counts a request that has a place already. */
extern void concord_account_charge(ConcordAccount *account);

/* concord_account_leave gives up waiting for a place. */
extern void concord_account_leave(ConcordAccount *account);

/*
 * account_breaker.c: what became of a request; retry_after_ms -1: not said.
 * first: nothing was told of this answer before.  silent: no answer came.
 */
extern void concord_account_answered(ConcordAccount *account, ConcordUse use,
									 bool first);
extern void concord_account_throttled(ConcordAccount *account, ConcordUse use,
									  int retry_after_ms, bool first);
extern void concord_account_down(ConcordAccount *account, const char *reason,
								 int retry_after_ms, bool overloaded,
								 bool silent, bool first);

/*
 * concord_account_failed notes a failure that may be a record's or the
 * system's; record tells them apart.  False: it is the system's.
 */
extern bool concord_account_failed(ConcordAccount *account, uint64 record,
								   const char *reason, int retry_after_ms,
								   bool first);

/*
 * concord_account_interactive says whether a request that somebody waits for
 * may go in spite of the breaker: while it is closed; where its cooldown is over
 * (the request is the probe then); where nothing else is under way to find out.
 * reason, of CONCORD_ACCOUNT_REASON bytes, and *until say why not.
 */
extern bool concord_account_interactive(ConcordAccount *account, char *reason,
										int64 *until);

/* concord_account_hurry lets a probe go now. */
extern void concord_account_hurry(ConcordAccount *account);

/* concord_account_told takes over what an answer says of the system's limits. */
extern void concord_account_told(ConcordAccount *account,
								 const ConcordBudget *budget);

/* concord_account_version changes with the breaker and with throttling. */
extern uint32 concord_account_version(const ConcordAccount *account);
extern void concord_account_look(ConcordAccount *account,
								 ConcordAccountView *view);

/* concord_account_peek does so for any account; false where it is unknown. */
extern bool concord_account_peek(const ConcordAccountKey *key,
								 ConcordAccountView *view);

/* What was used of a quota, to outlive the server. */
typedef struct ConcordUsage
{
	ConcordAccountKey key;
	int64		part_ms;
	int64		age_ms;			/* since the newest part began */
	uint32		parts[CONCORD_WINDOW_PARTS + 1];
} ConcordUsage;

/* concord_account_wants_usage: there is a quota and nobody has set its usage. */
extern bool concord_account_wants_usage(ConcordAccount *account);

/* concord_account_set_usage does, once; NULL: nothing is known. */
extern void concord_account_set_usage(ConcordAccount *account,
									  const ConcordUsage *usage);

/*
 * concord_account_unsaved copies the usage of accounts of this database that
 * has changed since the last call; returns how many of max there were.
 */
extern int	concord_account_unsaved(ConcordUsage *usage, int max);

#endif							/* CONCORD_HTTP_ACCOUNT_H */
