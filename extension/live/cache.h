/*-------------------------------------------------------------------------
 *
 * cache.h
 *	  Answers that may be used again, in shared memory; private to live/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_LIVE_CACHE_H
#define CONCORD_LIVE_CACHE_H

#include "base/digest.h"
#include "http/http.h"

#include "datatype/timestamp.h"

/* What an answer is kept under: server, its options, role, whole request. */
typedef struct ConcordCacheKey
{
	uint8		digest[CONCORD_SHA256_LENGTH];
} ConcordCacheKey;

/* What is known of an answer beside the answer. */
typedef struct ConcordCacheFacts
{
	Oid			serverid;
	Oid			roleid;
	int			status;
	int64		asked;			/* when; concord_clock_steady */
	int64		expires;		/* by what the system said; may be long over */
} ConcordCacheFacts;

/* concord_cache_request registers the hooks; called by _PG_init only. */
extern void concord_cache_request(void);

/* concord_cache_on says whether answers are kept at all. */
extern bool concord_cache_on(void);

/*
 * concord_cache_get copies an answer into the current context; false where
 * there is none.  hit counts it as used.
 */
extern bool concord_cache_get(const ConcordCacheKey *key, ConcordCacheFacts *facts,
							  ConcordResponse *response);
extern void concord_cache_hit(const ConcordCacheKey *key);

/*
 * concord_cache_put keeps an answer in place of an older one; others give way.
 * label is what a view shows of the request.  One that is too large is not
 * kept.
 */
extern void concord_cache_put(const ConcordCacheKey *key,
							  const ConcordCacheFacts *facts, const char *label,
							  const ConcordResponse *response);

/* concord_cache_confirm notes that the system says an answer still holds. */
extern void concord_cache_confirm(const ConcordCacheKey *key, int64 asked,
								  int64 expires);

/* concord_cache_drop forgets one. */
extern void concord_cache_drop(const ConcordCacheKey *key);

/* concord_cache_flush forgets those of a server; returns how many. */
extern int64 concord_cache_flush(Oid serverid);

/* A row of the view. */
typedef struct ConcordCacheRow
{
	ConcordCacheFacts facts;
	uint64		hits;
	int			size;
	char	   *label;
} ConcordCacheRow;

/* concord_cache_rows copies them, of this database; returns how many. */
extern int	concord_cache_rows(ConcordCacheRow **rows);

/* --- flight.c: one request for all who want the same at once --- */

typedef enum ConcordFlightRole
{
	CONCORD_FLIGHT_FLY,			/* the caller sends it, and ends the flight */
	CONCORD_FLIGHT_WAITED,		/* somebody did: look into the cache */
	CONCORD_FLIGHT_ALONE,		/* no place in the table: send it */
} ConcordFlightRole;

extern void concord_flight_request(void);

/*
 * concord_flight_begin joins the flight for a key or begins one; waits for
 * wait_ms at most, and serves interrupts.  Errors: none but those.
 */
extern ConcordFlightRole concord_flight_begin(const ConcordCacheKey *key,
											  int wait_ms);

/* concord_flight_end wakes who waits; also done when the resource owner goes. */
extern void concord_flight_end(const ConcordCacheKey *key);

#endif							/* CONCORD_LIVE_CACHE_H */
