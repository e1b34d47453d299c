/*-------------------------------------------------------------------------
 *
 * rate.c
 *	  The arithmetic of limits: a rate with a burst, a sliding window.
 *
 * A rate is a leaky bucket kept as one number, the time at which all that was
 * sent will have been paid for (generic cell rate algorithm): no timer fills
 * it, and rounding does not add up.  It may lie in the future by burst.
 *
 * A quota's window slides.  Systems count a day from midnight or from the
 * first request, or the last 24 hours; no more than the quota within any window
 * is right for all of them.
 *
 * The clock is the machine's, from its start, asleep or not: setting the time
 * of day changes nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "http/rate.h"

/* rate_burst says how much time's worth may be sent at once. */
static int64
rate_burst(int64 period_ms)
{
	if (period_ms <= 1000)
		return 100 * CONCORD_NS_PER_MS;
	return period_ms * CONCORD_NS_PER_MS / 60;
}

/* concord_rate_set makes a rate; what is left of it is never nothing. */
void
concord_rate_set(ConcordRate *rate, int64 count, int64 period_ms, int share)
{
	int64		period = period_ms * CONCORD_NS_PER_MS;

	rate->interval = rate->burst = 0;
	if (count <= 0 || period <= 0)
		return;
	rate->interval = Max(period / count, 1);
	/* periods are hours at most: this cannot overflow */
	rate->interval = rate->interval * 100 / Max(share, 1);
	/* the first request of a burst is paid for by its own interval */
	rate->burst = Max(rate_burst(period_ms) - rate->interval, 0);
}

/* concord_rate_ready says from when on a request may go. */
int64
concord_rate_ready(const ConcordRate *rate, int64 spent)
{
	return rate->interval > 0 ? spent - rate->burst : 0;
}

/* concord_rate_spend counts n requests. */
void
concord_rate_spend(const ConcordRate *rate, int64 *spent, int n, int64 now)
{
	if (rate->interval == 0)
		*spent = 0;
	else if (n > 0)
		*spent = Max(*spent, now) + n * rate->interval;
	else
		*spent += n * rate->interval;
}

/* concord_window_slide drops what is too old. */
void
concord_window_slide(ConcordWindow *window, int64 now)
{
	int64		n;

	if (window->part == 0)
		return;
	n = (now - window->start) / window->part;
	if (n <= 0)
		return;
	window->start += n * window->part;
	n = Min(n, CONCORD_WINDOW_PARTS + 1);
	for (int i = CONCORD_WINDOW_PARTS + 1 - n; i <= CONCORD_WINDOW_PARTS; i++)
		window->used -= window->parts[i];
	memmove(window->parts + n, window->parts,
			(CONCORD_WINDOW_PARTS + 1 - n) * sizeof(uint32));
	memset(window->parts, 0, n * sizeof(uint32));
}

/* concord_window_add counts n requests; what is older than the window, not. */
void
concord_window_add(ConcordWindow *window, int64 n, int64 age, int64 now)
{
	int64		into;
	int64		i;

	if (window->part == 0)
		return;
	concord_window_slide(window, now);
	into = now - window->start;
	i = age <= into ? 0 : (age - into + window->part - 1) / window->part;
	if (i > CONCORD_WINDOW_PARTS)
		return;
	/* never below zero: what is taken back may have left the part */
	n = Max(n, -(int64) window->parts[i]);
	window->parts[i] += n;
	window->used += n;
}

/* concord_window_length sets the length; what was counted keeps its age. */
void
concord_window_length(ConcordWindow *window, int64 length_ms, int64 now)
{
	ConcordWindow old = *window;
	int64		part = length_ms * CONCORD_NS_PER_MS / CONCORD_WINDOW_PARTS;

	if (part == old.part)
		return;
	memset(window, 0, sizeof(ConcordWindow));
	window->part = part;
	window->start = now;
	if (old.part == 0 || part == 0)
		return;
	concord_window_slide(&old, now);
	for (int i = 0; i <= CONCORD_WINDOW_PARTS; i++)
	{
		int64		age = i == 0 ? 0 : now - old.start + (i - 1) * old.part;

		if (old.parts[i] > 0)
			concord_window_add(window, old.parts[i], age, now);
	}
}

/* concord_window_ready says from when on fewer than limit are counted. */
int64
concord_window_ready(const ConcordWindow *window, int64 limit, int64 now)
{
	int64		left = window->used;

	if (window->part == 0 || left < limit)
		return now;
	for (int i = CONCORD_WINDOW_PARTS; i >= 0; i--)
	{
		left -= window->parts[i];
		if (left < limit)
			return window->start + (CONCORD_WINDOW_PARTS + 1 - i) * window->part;
	}
	return window->start + (CONCORD_WINDOW_PARTS + 1) * window->part;
}
