/*-------------------------------------------------------------------------
 *
 * live.c
 *	  What the room says when the library is loaded.
 *
 *-------------------------------------------------------------------------
 */
#include "live/cache.h"
#include "live/live.h"

#include "miscadmin.h"

/* concord_live_init registers hooks for shared memory. */
void
concord_live_init(void)
{
	concord_cache_request();
	concord_flight_request();
}
