/*-------------------------------------------------------------------------
 *
 * clock.c
 *	  A clock that does not jump, for all that is measured.
 *
 *-------------------------------------------------------------------------
 */
#include "base/clock.h"

#include <limits.h>
#include <time.h>

#include "utils/fmgrprotos.h"

/* concord_clock_ns returns nanoseconds since the machine was started. */
int64
concord_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64) now.tv_sec * 1000000000 + now.tv_nsec;
}

/* concord_clock_steady returns microseconds since the machine was started. */
int64
concord_clock_steady(void)
{
	return concord_clock_ns() / 1000;
}

/* concord_clock_passed says whether ms milliseconds are over since a moment. */
bool
concord_clock_passed(int64 since, int64 ms)
{
	return since == 0 || concord_clock_steady() - since >= ms * 1000;
}

/* concord_clock_left returns the milliseconds until a moment. */
long
concord_clock_left(int64 moment)
{
	int64		now = concord_clock_steady();

	if (moment <= now)
		return 0;
	return Min((moment - now - 1) / 1000 + 1, INT_MAX);
}

/* concord_clock_after returns the moment at which an interval from now ends. */
int64
concord_clock_after(const Interval *interval)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz end = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
															  TimestampTzGetDatum(now),
															  IntervalPGetDatum(interval)));

	if (TIMESTAMP_IS_NOEND(end))
		return CONCORD_CLOCK_NEVER;
	if (end <= now)
		return concord_clock_steady();
	return concord_clock_steady() + (end - now);
}
