/*-------------------------------------------------------------------------
 *
 * live.h
 *	  What the files of this room share beside sessions and peers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_LIVE_LIVE_H
#define CONCORD_LIVE_LIVE_H

#include "live/session.h"

#include "utils/jsonb.h"

/* live.c: _PG_init's; registers hooks for shared memory. */
extern void concord_live_init(void);

/* --- address.c --- */

/*
 * concord_live_address makes the address of a call.  A path is relative to the
 * server's service; one that begins with a slash to the server's url; one that
 * begins with the server's url is taken as it is.  *relative gets the path
 * under the url with nothing percent-encoded.  query is an object or NULL.
 * Errors: ERRCODE_INVALID_PARAMETER_VALUE where it would leave the url, or has
 * what does not belong into an address.
 */
extern char *concord_live_address(const ConcordServer *server,
								  const char *path, Jsonb *query,
								  char **relative);

/* concord_live_query appends a query to an address. */
extern void concord_live_query(StringInfo url, Jsonb *query);

/* --- answer.c --- */

/* concord_live_headers makes an object of an answer's headers. */
extern Jsonb *concord_live_headers(const ConcordResponse *response);

/*
 * concord_live_body parses an answer's body where that says it is JSON; NULL
 * where it does not, or where there is none.  Errors: CONCORD_ERRCODE_MALFORMED.
 */
extern Jsonb *concord_live_body(const ConcordPeer *peer,
								const ConcordResponse *response);

/* concord_live_json does so whatever the answer says. */
extern Jsonb *concord_live_json(const ConcordPeer *peer,
								const ConcordResponse *response);

/* --- fetch.c --- */

/* An answer, from the system or from the cache. */
typedef struct ConcordFetched
{
	const ConcordResponse *response;	/* valid while the request is not
										 * freed */
	bool		cached;			/* also where the system only confirmed it */
} ConcordFetched;

/*
 * concord_live_fetch gets a whole answer, of any status, to a request that was
 * filled but not submitted; what is in the cache and not older than max_age_ms
 * will do (0: nothing will).  Errors: as of concord_live_check.
 */
extern void concord_live_fetch(ConcordLiveRequest *live, int timeout_ms,
							   int64 max_age_ms, ConcordFetched *fetched);

/* --- lookup.c --- */

/*
 * concord_live_look asks a system whether it has the record of a mapping's row,
 * by its key, or by the id that link has: 1 it has, 0 it has not, -1 it does not
 * say, or cannot be asked.  Errors: as of concord_live_check.
 */
extern int	concord_live_look(ConcordPeer *peer, const ConcordMapping *mapping,
							  const ConcordMapped *mapped, const ConcordLink *link);

/* --- arguments.c --- */

/* concord_live_ms makes milliseconds of an interval; min and INT_MAX bound it. */
extern int64 concord_live_ms(const Interval *interval, const char *argument,
							 int64 min);

/* concord_live_server finds the server of a call, and checks the caller's rights. */
extern ConcordPeer *concord_live_server(const char *name, const char *function);

/*
 * concord_live_allowed raises ERRCODE_INSUFFICIENT_PRIVILEGE unless option
 * call_allow has it.
 */
extern void concord_live_allowed(const ConcordServer *server,
								 const char *method, const char *relative);

/* concord_live_header adds a caller's header; raises where it may not be set. */
extern void concord_live_header(ConcordLiveRequest *live, const char *name,
								const char *value);

#endif							/* CONCORD_LIVE_LIVE_H */
