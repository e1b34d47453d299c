/*-------------------------------------------------------------------------
 *
 * rate.h
 *	  The arithmetic of limits: a rate with a burst, a sliding window.
 *
 * All times are nanoseconds of one clock that never jumps (concord_clock_ns).
 * No memory, no locks, no errors: callers hold a spinlock.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_HTTP_RATE_H
#define CONCORD_HTTP_RATE_H

#include "base/clock.h"

#define CONCORD_NS_PER_MS	INT64CONST(1000000)
#define CONCORD_NS_PER_S	INT64CONST(1000000000)

/*
 * A rate: one request each interval, and before that as many as fit into
 * burst, which was saved while nothing was sent.  interval 0: no limit.
 */
typedef struct ConcordRate
{
	int64		interval;
	int64		burst;
} ConcordRate;

/*
 * concord_rate_set makes a rate of so many requests in a period, in
 * milliseconds, of which only share percent may be used.
 */
extern void concord_rate_set(ConcordRate *rate, int64 count, int64 period_ms,
							 int share);

/* concord_rate_ready says from when on a request may go; spent is its state. */
extern int64 concord_rate_ready(const ConcordRate *rate, int64 spent);

/* concord_rate_spend counts n requests (-1: one that was not sent). */
extern void concord_rate_spend(const ConcordRate *rate, int64 *spent, int n,
							   int64 now);

/* How exactly a window slides: it is counted in so many parts. */
#define CONCORD_WINDOW_PARTS	32

/*
 * How many requests were sent within the last part * CONCORD_WINDOW_PARTS.
 * The oldest part counts until all of it is outside: never too few.  part 0: no
 * window.
 */
typedef struct ConcordWindow
{
	int64		part;			/* length */
	int64		start;			/* of the newest part */
	int64		used;			/* sum of all parts */
	uint32		parts[CONCORD_WINDOW_PARTS + 1];	/* newest first */
} ConcordWindow;

/* concord_window_length sets the length in ms; what was counted keeps its age. */
extern void concord_window_length(ConcordWindow *window, int64 length_ms,
								  int64 now);

/* concord_window_slide drops what is too old. */
extern void concord_window_slide(ConcordWindow *window, int64 now);

/* concord_window_add counts n requests, of now or as old as age says. */
extern void concord_window_add(ConcordWindow *window, int64 n, int64 age,
							   int64 now);

/*
 * concord_window_ready says from when on fewer than limit are counted; the
 * window has slid to now.
 */
extern int64 concord_window_ready(const ConcordWindow *window, int64 limit,
								  int64 now);

#endif							/* CONCORD_HTTP_RATE_H */
