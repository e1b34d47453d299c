/*-------------------------------------------------------------------------
 *
 * session.h
 *	  Requests of a session: calls, look-ups, foreign tables.
 *
 * One HTTP engine per backend, kept so that connections are used again.  A
 * request goes
 *
 *	create		its HTTP request is there to be filled: headers, body,
 *				max_answer (in request->http->context)
 *	submit		it waits for a place of the server's account, then is sent
 *	wait		until it has ended; can be cancelled at any moment
 *	check		raises unless a whole answer came
 *	free		or the end of the resource owner it was created under: an
 *				aborted (sub)transaction ends what is under way
 *
 * Any number may be under way at once; waiting for one lets all go on.  A
 * request's place is given back when it ends.  Nothing goes on while the
 * backend does something else: do not leave a request under way when rows are
 * handed to somebody who may take his time (a cursor), or its place is kept
 * from others and its time runs out.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_LIVE_SESSION_H
#define CONCORD_LIVE_SESSION_H

#include "http/http.h"
#include "live/failure.h"
#include "live/peer.h"
#include "utils/resowner.h"
#include "utils/uuid.h"

typedef enum ConcordLiveState
{
	CONCORD_LIVE_NEW,
	CONCORD_LIVE_WAITING,		/* for a place */
	CONCORD_LIVE_SENT,			/* the engine has it */
	CONCORD_LIVE_ENDED,
} ConcordLiveState;

typedef struct ConcordLiveRequest
{
	ConcordPeer *peer;
	ConcordRequest *http;		/* to be filled before submit; its response is
								 * there when it has ended */
	bool		eager;			/* a person only wants to know: beside the
								 * breaker, and with another try for a token */
	bool		writes;			/* may change something at the system: by its
								 * method, unless the caller knows better */

	/* read only */
	ConcordLiveState state;
	int			failure;		/* SQLSTATE where no whole answer came; 0 */
	char	   *detail;			/* of it, redacted; NULL: nothing to say */

	/* session.c's own */
	dlist_node	node;
	MemoryContext context;
	ResourceOwner owner;
	int			timeout_ms;
	int64		deadline;		/* concord_clock_steady */
	int64		ask_at;			/* for a place, again; 0: when the latch is
								 * set */
	bool		place;			/* it has one */
	bool		audited;		/* it is recorded, under id */
	pg_uuid_t	id;
	bool		again;			/* it was sent a second time */
	const char *limit;			/* what was in the way */
	int			descriptor;		/* -1: none */
} ConcordLiveRequest;

/*
 * concord_live_create makes a request to a whole address, with what the
 * server's options say of all requests.  It belongs to CurrentResourceOwner.
 * method and url are copied.
 */
extern ConcordLiveRequest *concord_live_create(ConcordPeer *peer,
											   const char *method,
											   const char *url);

/*
 * concord_live_submit starts it; timeout_ms for all of it, with the wait for a
 * place (0: the server's option timeout).  Credentials are added when it is
 * sent.  It does not raise for what has to do with the server.
 */
extern void concord_live_submit(ConcordLiveRequest *live, int timeout_ms);

/* concord_live_drive lets all requests go on, without waiting. */
extern void concord_live_drive(void);

/* concord_live_ended says whether it has ended. */
extern bool concord_live_ended(const ConcordLiveRequest *live);

/* concord_live_wait waits until it has ended; interrupts are served. */
extern void concord_live_wait(ConcordLiveRequest *live);

/*
 * concord_live_descriptor gives a descriptor that becomes readable when
 * concord_live_drive should be called, for a WaitEventSet of somebody else's
 * (asynchronous Append).  It is this request's own and closed with it; ask
 * for it anew before each wait.
 */
extern int	concord_live_descriptor(ConcordLiveRequest *live);

/*
 * concord_live_check raises unless a whole answer came; statuses: also where
 * its status is not 2xx (SQLSTATE K4404 and the like).
 */
extern void concord_live_check(ConcordLiveRequest *live, bool statuses);

/*
 * concord_live_check_status raises where an answer to the request has another
 * status than 2xx.
 */
extern void concord_live_check_status(ConcordLiveRequest *live,
									  const ConcordResponse *response);

/* concord_live_exchange is submit, wait and check of one request. */
extern const ConcordResponse *concord_live_exchange(ConcordLiveRequest *live,
													int timeout_ms,
													bool statuses);

/* concord_live_free ends a request, at once if it is under way. */
extern void concord_live_free(ConcordLiveRequest *live);

/* --- report.c --- */

/*
 * concord_live_judge tells the account what became of a request, and sets
 * failure and detail.  session.c calls it when a request has ended.
 */
extern void concord_live_judge(ConcordLiveRequest *live);

#endif							/* CONCORD_LIVE_SESSION_H */
