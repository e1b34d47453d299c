/*-------------------------------------------------------------------------
 *
 * backoff.c
 *	  How long to wait before the next attempt.
 *
 * Exponential with full jitter: uniform between nothing and base * 2^(n-1),
 * capped.  Full jitter spreads deliveries that failed together better than a
 * fixed delay with a little noise, at the same mean load.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "common/pg_prng.h"
#include "delivery/delivery.h"

#define BACKOFF_LEAST_MS	10

/* concord_backoff_ms gives the delay after the given number of attempts. */
int
concord_backoff_ms(int attempt, int base_ms, int cap_ms)
{
	double		limit = base_ms;

	for (int i = 1; i < attempt && limit < cap_ms; i++)
		limit *= 2;
	limit = Min(limit, (double) cap_ms);
	return Max((int) (pg_prng_double(&pg_global_prng_state) * limit),
			   BACKOFF_LEAST_MS);
}
