/*-------------------------------------------------------------------------
 *
 * session.c
 *	  Requests of a session: one engine per backend, ends that are certain.
 *
 * The engine lives in a context of its own below TopMemoryContext.  Requests
 * belong to resource owners: when one is released, by an error, a cancelled
 * query, the end of a portal or of a (sub)transaction, its requests are taken
 * out of the engine, their places given back, their descriptors closed.
 * Nothing happens at signal time: waits end when the latch is set, and
 * interrupts are served in between.
 *
 * An error may leave the engine in the middle of something (out of memory
 * while an answer is copied).  ses_inside says that it has been left so; then
 * it is thrown away with what was under way in it, and the next request makes
 * a new one.
 *
 * Places are asked for in the order of submission.  A wait for a place is a
 * wait for the latch, or until a time that the account says; whoever waits for
 * the descriptor instead is woken after SES_PLACE_MS.
 *
 *-------------------------------------------------------------------------
 */
#include "live/session.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/settings.h"
#include "fmgr.h"
#include "live/audit.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

/* How often a place is asked for where nobody waits for our latch. */
#define SES_PLACE_MS	10
/* What libcurl's own timeout gets on top, so that it ends first. */
#define SES_GRACE_MS	20

/* The session's, in ses_context: the engine, and all requests there are. */
static MemoryContext ses_context = NULL;
static MemoryContext ses_engine_context = NULL;
static ConcordHttp *ses_engine = NULL;
static int	ses_inside = 0;
static dlist_head ses_requests = DLIST_STATIC_INIT(ses_requests);

/* ses_place_back gives a request's place back. */
static void
ses_place_back(ConcordLiveRequest *live)
{
	if (live->place)
		concord_account_release(live->peer->account, CONCORD_USE_INTERACTIVE);
	live->place = false;
}

/*
 * ses_lost ends a request that was under way in an engine that is thrown away.
 * This may happen while a transaction is aborted: nothing here can fail.
 */
static void
ses_lost(ConcordLiveRequest *live)
{
	ConcordResponse *response = &live->http->response;

	live->http->transfer = NULL;
	memset(response, 0, sizeof(ConcordResponse));
	response->transfer = CONCORD_TRANSFER_UNKNOWN;
	response->error = "the request was given up after an error";
	response->body = "";
	live->failure = live->writes ? CONCORD_ERRCODE_UNKNOWN :
		CONCORD_ERRCODE_BROKEN;
	live->detail = response->error;
	live->state = CONCORD_LIVE_ENDED;
	ses_place_back(live);
}

/* ses_give_up throws the engine away; what was under way in it is lost. */
static void
ses_give_up(void)
{
	dlist_iter	iter;
	MemoryContext engine = ses_engine_context;

	ses_inside = 0;
	ses_engine = NULL;
	ses_engine_context = NULL;
	if (engine != NULL)
		MemoryContextDelete(engine);
	dlist_foreach(iter, &ses_requests)
	{
		ConcordLiveRequest *live = dlist_container(ConcordLiveRequest, node,
												   iter.cur);

		if (live->state == CONCORD_LIVE_SENT)
			ses_lost(live);
	}
}

/* ses_enter goes into the engine, which is made if need be. */
static ConcordHttp *
ses_enter(void)
{
	if (ses_inside > 0)
		ses_give_up();
	if (ses_engine == NULL)
	{
		if (ses_engine_context == NULL)
			ses_engine_context = AllocSetContextCreate(ses_context,
													   "concord session engine",
													   ALLOCSET_SMALL_SIZES);
		/* one that was made in part is freed with its context */
		MemoryContextReset(ses_engine_context);
		ses_engine = concord_http_create(ses_engine_context);
	}
	ses_inside++;
	return ses_engine;
}

/* ses_leave: all is well with it. */
static void
ses_leave(void)
{
	ses_inside--;
}

/* ses_drop_descriptor closes a request's descriptor. */
static void
ses_drop_descriptor(ConcordLiveRequest *live)
{
	if (live->descriptor < 0)
		return;
	close(live->descriptor);
	ReleaseExternalFD();
	live->descriptor = -1;
}

/* ses_stop takes a request out of the engine or the line for a place. */
static void
ses_stop(ConcordLiveRequest *live)
{
	if (live->state == CONCORD_LIVE_SENT && ses_inside > 0)
		ses_give_up();
	if (live->state == CONCORD_LIVE_SENT && ses_engine != NULL)
	{
		ses_inside++;
		concord_http_cancel(ses_engine, live->http);
		ses_inside--;
	}
	else if (live->state == CONCORD_LIVE_WAITING)
		concord_account_leave(live->peer->account);
	ses_place_back(live);
}

/* concord_live_free ends a request. */
void
concord_live_free(ConcordLiveRequest *live)
{
	ses_stop(live);
	ses_drop_descriptor(live);
	dlist_delete(&live->node);
	concord_peer_unpin(live->peer);
	MemoryContextDelete(live->context);
}

/* ses_release frees the requests of a resource owner that is released. */
static void
ses_release(ResourceReleasePhase phase, bool is_commit, bool is_top, void *arg)
{
	dlist_mutable_iter iter;

	if (phase != RESOURCE_RELEASE_BEFORE_LOCKS)
		return;
	dlist_foreach_modify(iter, &ses_requests)
	{
		ConcordLiveRequest *live = dlist_container(ConcordLiveRequest, node,
												   iter.cur);

		if (live->owner == CurrentResourceOwner)
			concord_live_free(live);
	}
}

/* ses_begin makes what a session has once. */
static void
ses_begin(void)
{
	if (ses_context != NULL)
		return;
	RegisterResourceReleaseCallback(ses_release, NULL);
	ses_context = AllocSetContextCreate(TopMemoryContext, "concord session",
										ALLOCSET_SMALL_SIZES);
}

/* concord_live_create makes a request. */
ConcordLiveRequest *
concord_live_create(ConcordPeer *peer, const char *method, const char *url)
{
	MemoryContext context;
	MemoryContext old;
	ConcordLiveRequest *live;

	ses_begin();
	context = AllocSetContextCreate(CurrentMemoryContext,
									"concord session request",
									ALLOCSET_SMALL_SIZES);
	live = MemoryContextAllocZero(context, sizeof(ConcordLiveRequest));
	live->context = context;
	live->peer = peer;
	live->descriptor = -1;
	live->owner = CurrentResourceOwner;
	live->writes = strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0 &&
		strcmp(method, "OPTIONS") != 0;
	concord_peer_pin(peer);
	/* from here on its owner frees it */
	MemoryContextSetParent(context, ses_context);
	dlist_push_tail(&ses_requests, &live->node);

	live->http = concord_request_create(context);
	old = MemoryContextSwitchTo(live->http->context);
	live->http->method = pstrdup(method);
	live->http->url = pstrdup(url);
	live->http->owner = live;
	live->http->max_answer = (Size) concord_max_answer_size * 1024;
	live->http->http2 = true;
	MemoryContextSwitchTo(old);
	return live;
}

/* ses_end notes that a request has ended, and tells the account. */
static void
ses_end(ConcordLiveRequest *live)
{
	live->state = CONCORD_LIVE_ENDED;
	ses_place_back(live);
	concord_live_judge(live);
	concord_audit_end(live);
}

/* ses_refuse ends a request that was not sent. */
static void
ses_refuse(ConcordLiveRequest *live, int failure, const char *detail)
{
	if (live->state == CONCORD_LIVE_WAITING)
		concord_account_leave(live->peer->account);
	live->http->response.transfer = CONCORD_TRANSFER_NOT_SENT;
	live->http->response.body = "";
	live->failure = failure;
	live->detail = detail != NULL ?
		MemoryContextStrdup(live->context, detail) : NULL;
	live->state = CONCORD_LIVE_ENDED;
}

/* ses_send gives a request that has a place to the engine. */
static void
ses_send(ConcordLiveRequest *live, int64 now)
{
	ConcordHttp *http;
	int64		left = (live->deadline - now) / 1000;

	live->http->timeout_ms = (int) Max(left, 1);
	live->http->connect_timeout_ms =
		Min(live->peer->server->connect_timeout_ms, live->http->timeout_ms);
	concord_audit_begin(live);
	http = ses_enter();
	live->state = CONCORD_LIVE_SENT;
	concord_http_submit(http, live->http);
	ses_leave();
}

/* ses_breaker ends a request that the breaker stops. */
static bool
ses_breaker(ConcordLiveRequest *live, int64 now)
{
	char		reason[CONCORD_ACCOUNT_REASON];
	int64		until;

	if (live->eager ||
		concord_account_interactive(live->peer->account, reason, &until))
		return false;
	ses_refuse(live, CONCORD_ERRCODE_BREAKER,
			   until > now ?
			   psprintf("It is tried again in %.1f s. What opened it: %s",
						(until - now) / 1000000.0, reason) :
			   psprintf("It is being tried. What opened it: %s", reason));
	return true;
}

/* ses_take asks for a request's place, and sends it. */
static void
ses_take(ConcordLiveRequest *live, int64 now)
{
	int64		wait;

	if (ses_breaker(live, now))
		return;
	live->place = concord_account_take(live->peer->account,
									   CONCORD_USE_INTERACTIVE, &wait,
									   &live->limit);
	if (live->place)
	{
		ses_send(live, now);
		return;
	}
	live->ask_at = wait < 0 ? 0 : now + wait;
	if (live->ask_at > live->deadline || now >= live->deadline)
		ses_refuse(live, CONCORD_ERRCODE_LIMIT, live->limit);
}

/* ses_places asks for places, in order; who waits for one asks each time. */
static void
ses_places(void)
{
	ConcordAccount *refused = NULL;
	int64		now = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &ses_requests)
	{
		ConcordLiveRequest *live = dlist_container(ConcordLiveRequest, node,
												   iter.cur);

		if (live->state != CONCORD_LIVE_WAITING ||
			live->peer->account == refused)
			continue;
		if (now == 0)
			now = concord_clock_steady();
		if (live->ask_at <= now)
			ses_take(live, now);
		if (live->state == CONCORD_LIVE_WAITING)
			refused = live->peer->account;
	}
}

/* ses_repeatable: HTTP/2 broke under a request that may be sent again. */
static bool
ses_repeatable(const ConcordLiveRequest *live)
{
	const ConcordResponse *response = &live->http->response;

	return response->transfer == CONCORD_TRANSFER_UNKNOWN && !live->writes &&
		!live->again && !response->timed_out && live->http->http2 &&
		strncmp(live->http->url, "https:", 6) == 0;
}

/*
 * ses_collect takes what has ended out of the engine.  A reading request that
 * HTTP/2 broke goes once more, by HTTP/1.1: libcurl 7.88 loses one in some
 * thousand.
 */
static void
ses_collect(void)
{
	ConcordRequest *request;

	while (ses_engine != NULL &&
		   (request = concord_http_next(ses_engine)) != NULL)
	{
		ConcordLiveRequest *live = request->owner;

		if (ses_repeatable(live))
		{
			live->again = true;
			live->http->http2 = false;
			ses_send(live, concord_clock_steady());
		}
		else
			ses_end(live);
	}
}

/* ses_deadlines ends what libcurl's own timeouts have not. */
static void
ses_deadlines(void)
{
	int64		now = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &ses_requests)
	{
		ConcordLiveRequest *live = dlist_container(ConcordLiveRequest, node,
												   iter.cur);
		ConcordResponse *response = &live->http->response;
		bool		begun;

		if (live->state != CONCORD_LIVE_SENT &&
			live->state != CONCORD_LIVE_WAITING)
			continue;
		if (now == 0)
			now = concord_clock_steady();
		if (live->state == CONCORD_LIVE_WAITING && now >= live->deadline)
			ses_refuse(live, CONCORD_ERRCODE_LIMIT, live->limit);
		if (live->state != CONCORD_LIVE_SENT ||
			now < live->deadline + SES_GRACE_MS * 1000)
			continue;
		begun = concord_http_begun(live->http);
		concord_http_cancel(ses_engine, live->http);
		response->transfer = begun ? CONCORD_TRANSFER_UNKNOWN :
			CONCORD_TRANSFER_NOT_SENT;
		response->timed_out = true;
		response->error = "time is over";
		response->body = "";
		ses_end(live);
	}
}

/* ses_next_ms says how long nothing has to be done but by the engine. */
static int
ses_next_ms(bool polled)
{
	int64		next = CONCORD_CLOCK_NEVER;
	dlist_iter	iter;

	dlist_foreach(iter, &ses_requests)
	{
		ConcordLiveRequest *live = dlist_container(ConcordLiveRequest, node,
												   iter.cur);

		if (live->state == CONCORD_LIVE_SENT)
			next = Min(next, live->deadline + SES_GRACE_MS * 1000);
		if (live->state != CONCORD_LIVE_WAITING)
			continue;
		next = Min(next, live->deadline);
		if (live->ask_at > 0)
			next = Min(next, live->ask_at);
		else if (polled)
			next = Min(next, concord_clock_steady() + SES_PLACE_MS * 1000);
	}
	return next == CONCORD_CLOCK_NEVER ? -1 : (int) concord_clock_left(next);
}

/* concord_live_submit starts a request. */
void
concord_live_submit(ConcordLiveRequest *live, int timeout_ms)
{
	MemoryContext old = MemoryContextSwitchTo(live->http->context);

	Assert(live->state == CONCORD_LIVE_NEW);
	concord_audit_prepare(live);
	live->timeout_ms = timeout_ms > 0 ? timeout_ms :
		live->peer->server->timeout_ms;
	live->deadline = concord_clock_steady() + (int64) live->timeout_ms * 1000;
	concord_server_apply(live->peer->server, live->http);
	if (live->eager)
		concord_auth_eager(unconstify(ConcordAuth *, live->peer->auth));
	concord_auth_apply(live->peer->auth, live->http);
	live->state = CONCORD_LIVE_WAITING;
	MemoryContextSwitchTo(old);
	ses_places();
}

/* concord_live_drive lets all requests go on. */
void
concord_live_drive(void)
{
	ses_places();
	concord_http_drive(ses_enter());
	ses_leave();
	ses_collect();
	ses_deadlines();
	ses_places();
}

/* concord_live_ended says whether a request has ended. */
bool
concord_live_ended(const ConcordLiveRequest *live)
{
	return live->state == CONCORD_LIVE_ENDED;
}

/* concord_live_wait waits until a request has ended. */
void
concord_live_wait(ConcordLiveRequest *live)
{
	Assert(live->state != CONCORD_LIVE_NEW);
	for (;;)
	{
		ConcordHttp *http;

		ses_places();
		if (live->state == CONCORD_LIVE_ENDED)
			return;
		http = ses_enter();
		/* who has no other snapshot does not hold one while he waits */
		InvalidateCatalogSnapshotConditionally();
		concord_http_wait(http, ses_next_ms(false), PG_WAIT_EXTENSION);
		ses_leave();
		ses_collect();
		ses_deadlines();
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/* concord_live_descriptor gives a descriptor to wait for. */
int
concord_live_descriptor(ConcordLiveRequest *live)
{
	ConcordHttp *http = ses_enter();
	int			engine;

	engine = concord_http_descriptor(http,
									 live->state == CONCORD_LIVE_ENDED ? 0 :
									 ses_next_ms(true));
	ses_leave();
	ses_drop_descriptor(live);
	/* an epoll set takes a file once under each number, so each has its own */
	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not duplicate a descriptor: %m")));
	live->descriptor = fcntl(engine, F_DUPFD_CLOEXEC, 0);
	if (live->descriptor < 0)
	{
		ReleaseExternalFD();
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not duplicate a descriptor: %m")));
	}
	return live->descriptor;
}

/* concord_live_exchange sends a request and waits for its end. */
const ConcordResponse *
concord_live_exchange(ConcordLiveRequest *live, int timeout_ms, bool statuses)
{
	concord_live_submit(live, timeout_ms);
	concord_live_wait(live);
	concord_live_check(live, statuses);
	return &live->http->response;
}
