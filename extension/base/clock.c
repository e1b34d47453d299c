/*-------------------------------------------------------------------------
 *
 * clock.c
 *	  A clock that does not jump.
 *
 *-------------------------------------------------------------------------
 */
#include "base/clock.h"

#include <time.h>

/* concord_clock_steady returns microseconds since the machine was started. */
int64
concord_clock_steady(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}
