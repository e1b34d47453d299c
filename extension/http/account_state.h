/*-------------------------------------------------------------------------
 *
 * account_state.h
 *	  An account in shared memory; private to account*.c.
 *
 * The table's lock guards which key has which slot, and who uses it; a slot's
 * spinlock all else.  Nobody takes the lock with a spinlock held.  Under a
 * spinlock there is arithmetic only: no loop over more than
 * ACCOUNT_WAITERS entries, no system call.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_HTTP_ACCOUNT_STATE_H
#define CONCORD_HTTP_ACCOUNT_STATE_H

#include "http/account.h"

#include "lib/ilist.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/spin.h"

#define ACCOUNT_WAITERS		32

/* A process that waits for a place, or for the breaker. */
typedef struct AccountWaiter
{
	Latch	   *latch;
	ConcordUse	use;
	int64		woken;			/* when; 0: it sleeps */
} AccountWaiter;

typedef struct ConcordAccountState
{
	/* under the table's lock */
	ConcordAccountKey key;		/* dboid InvalidOid: free */
	int			users;			/* processes */
	int64		used_at;		/* when the last one left */

	pg_atomic_uint32 version;	/* of breaker and throttling */

	slock_t		mutex;			/* guards the rest */
	bool		configured;
	ConcordLimits limits;

	ConcordRate rate[2];		/* by use: for all, for couriers */
	int64		spent[2];
	ConcordWindow window;
	bool		usage_known;	/* what was used before the server's start */
	uint64		asked;			/* requests, ever */
	uint64		saved;			/* asked when the usage was saved */

	int			in_flight[2];	/* by use */
	int			thousandths;	/* of a request: concurrency in force */
	int			deaf;			/* answers to come to what was sent before it
								 * was halved */
	int			nwaiters;
	AccountWaiter waiters[ACCOUNT_WAITERS];

	ConcordBreaker breaker;
	bool		by_answer;		/* an answer has opened it, or records that
								 * failed */
	int			failures;		/* in a row, of different records */
	uint64		failed[CONCORD_ACCOUNT_RECORDS];	/* which, the first ones */
	int			trips;			/* in a row: doubles the cooldown */
	int			throttles;		/* in a row */
	int64		since;
	int64		until;
	int64		throttled_until;
	char		reason[CONCORD_ACCOUNT_REASON];

	/* the system's own words */
	int64		told;			/* requests left; -1: nothing is known */
	int64		told_limit;
	int64		told_reset;		/* 0: not said */
	int64		told_expires;	/* when it means nothing any more */
	int64		refill;			/* between two requests, for ever */
	int64		pace;			/* when the next one may go */
} ConcordAccountState;

struct ConcordAccount
{
	dlist_node	node;			/* in this process's list */
	int			refs;
	ConcordAccountState *state;
	bool		shared;
	bool		left;			/* the process exits: nothing to give back */
	int			in_flight[2];	/* this process's */
};

/* Latches to set once the spinlock is free. */
typedef struct AccountWake
{
	int			n;
	Latch	   *latches[ACCOUNT_WAITERS];
} AccountWake;

/* account_wait.c; all but the last under the spinlock */
extern int	concord_account_allowed(const ConcordAccountState *s);
extern int	concord_account_free(const ConcordAccountState *s, ConcordUse use);
extern bool concord_account_may_go(ConcordAccountState *s, ConcordUse use,
								   int64 now);
extern bool concord_account_enqueue(ConcordAccountState *s, ConcordUse use);
extern void concord_account_dequeue(ConcordAccountState *s);
extern void concord_account_wake(ConcordAccountState *s, bool all,
								 AccountWake *wake, int64 now);
extern void concord_account_set_latches(const AccountWake *wake);

/* account.c; under the spinlock */
extern void concord_account_look_at(ConcordAccountState *s,
									ConcordAccountView *view, int64 now);

#endif							/* CONCORD_HTTP_ACCOUNT_STATE_H */
