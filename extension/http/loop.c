/*-------------------------------------------------------------------------
 *
 * loop.c
 *	  The HTTP engine: libcurl's multi interface on our own wait loop.
 *
 * libcurl says which sockets it wants to know about, and when it wants to be
 * called next; we wait and tell it.  The sockets are in an epoll set of their
 * own, which stands as one descriptor in a WaitEventSet beside the latch and
 * the postmaster's death: a WaitEventSet cannot remove anything, and sockets
 * come and go.
 *
 * The epoll set is lazy.  At the end of each transfer libcurl takes its socket
 * out and puts the same one in again for the next transfer; doing that for
 * real costs a quarter of the throughput.  So a socket stays registered until
 * it is closed, and is taken out only when it fires while nobody wants it.
 * This needs to know when sockets are closed, because a closed descriptor
 * leaves the set by itself: those that were opened through our callback are
 * closed through our callback.  Others (the resolver's pair) are registered
 * and removed as libcurl says.
 *
 * Signals: libcurl resolves names in threads, which inherit the signal mask
 * of whoever starts them, and a handler of PostgreSQL must never run there.
 * All signals are blocked while libcurl may start one.
 *
 * Gates: a request whose gate says HOLD waits in a list of ours and its gate is
 * asked again when something has ended, at the latest after LOOP_HOLD_MS:
 * what it waits for may come from another process.
 *
 * Errors: libcurl's callbacks record and return.  What may raise an error
 * (copying answers into memory contexts) happens in our own loop.  A reset
 * callback of the engine's memory context frees all that libcurl holds.
 *
 *-------------------------------------------------------------------------
 */
#include "http/transfer.h"

#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"

#define LOOP_EVENTS			64
/* Connections that are kept open, over all servers. */
#define LOOP_MAX_CONNECTS	256
/* Turns without a real wait, after which one is made for the postmaster. */
#define LOOP_BUSY_TURNS		256
/* How often a gate that holds a request is asked again. */
#define LOOP_HOLD_MS		20

/* What is registered for a socket, and what libcurl wants to know of it. */
typedef struct LoopSocket
{
	uint32		registered;
	uint32		wanted;
	bool		ours;			/* opened by our callback */
} LoopSocket;

/* Requests that are not in a transfer, linked by their field transfer. */
typedef struct LoopList
{
	ConcordRequest *first;
	ConcordRequest *last;
} LoopList;

struct ConcordHttp
{
	MemoryContext context;
	MemoryContextCallback callback;
	CURLM	   *multi;
	int			epfd;
	int			timerfd;		/* for those who wait for epfd; -1: none yet */
	bool		fd_acquired;
	WaitEventSet *set;

	LoopSocket *sockets;		/* by descriptor; malloc'd */
	int			nsockets;
	int64		timer_at;		/* microseconds; -1: none */
	int			busy_turns;

	dlist_head	idle;			/* handles without a request */
	dlist_head	submitted;		/* not in the multi handle yet */
	dlist_head	busy;			/* in the multi handle */
	dlist_head	done;			/* ended, answer not copied yet */
	int			in_flight;

	LoopList	ended;
	LoopList	held;			/* by their gates */
};

static bool loop_curl_ready = false;

/* loop_block blocks all signals but those of programming errors. */
static void
loop_block(sigset_t *old)
{
	sigset_t	all;

	sigfillset(&all);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGABRT);
	sigdelset(&all, SIGTRAP);
	sigdelset(&all, SIGSYS);
	pthread_sigmask(SIG_SETMASK, &all, old);
}

/* loop_unblock restores the mask. */
static void
loop_unblock(const sigset_t *old)
{
	pthread_sigmask(SIG_SETMASK, old, NULL);
}

/* loop_socket returns the entry of a descriptor; NULL where memory is short. */
static LoopSocket *
loop_socket(ConcordHttp *http, int fd)
{
	if (fd >= http->nsockets)
	{
		int			size = Max(fd + 1, Max(http->nsockets * 2, 64));
		LoopSocket *grown = realloc(http->sockets, size * sizeof(LoopSocket));

		if (grown == NULL)
			return NULL;
		memset(grown + http->nsockets, 0,
			   (size - http->nsockets) * sizeof(LoopSocket));
		http->sockets = grown;
		http->nsockets = size;
	}
	return &http->sockets[fd];
}

/* concord_loop_socket_opened notes a socket whose closing we will see. */
void
concord_loop_socket_opened(ConcordHttp *http, curl_socket_t fd)
{
	LoopSocket *s = loop_socket(http, fd);

	if (s != NULL)
	{
		memset(s, 0, sizeof(LoopSocket));
		s->ours = true;
	}
}

/* concord_loop_on_close closes a socket of libcurl's. */
int
concord_loop_on_close(void *arg, curl_socket_t fd)
{
	ConcordHttp *http = arg;

	if (fd < http->nsockets)
		memset(&http->sockets[fd], 0, sizeof(LoopSocket));
	return close(fd);
}

/* loop_register makes the epoll set wait for events of a socket. */
static int
loop_register(ConcordHttp *http, int fd, LoopSocket *s, uint32 events)
{
	struct epoll_event event = {.events = events,.data.fd = fd};
	int			op = s->registered != 0 ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
	int			rc;

	if (events == 0)
	{
		if (s->registered != 0)
			(void) epoll_ctl(http->epfd, EPOLL_CTL_DEL, fd, &event);
		s->registered = 0;
		return 0;
	}
	rc = epoll_ctl(http->epfd, op, fd, &event);
	if (rc != 0 && op == EPOLL_CTL_ADD && errno == EEXIST)
		rc = epoll_ctl(http->epfd, EPOLL_CTL_MOD, fd, &event);
	else if (rc != 0 && op == EPOLL_CTL_MOD && errno == ENOENT)
		rc = epoll_ctl(http->epfd, EPOLL_CTL_ADD, fd, &event);
	s->registered = rc == 0 ? events : 0;
	return rc;
}

/* loop_on_socket is told by libcurl what to watch a socket for. */
static int
loop_on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socketp)
{
	ConcordHttp *http = arg;
	LoopSocket *s = loop_socket(http, fd);

	if (s == NULL)
		return -1;
	s->wanted = 0;
	if (what == CURL_POLL_IN || what == CURL_POLL_INOUT)
		s->wanted |= EPOLLIN;
	if (what == CURL_POLL_OUT || what == CURL_POLL_INOUT)
		s->wanted |= EPOLLOUT;

	if ((s->wanted & ~s->registered) != 0)
		return loop_register(http, fd, s, s->wanted);
	if (s->wanted == 0 && !s->ours)
		return loop_register(http, fd, s, 0);
	return 0;
}

/* loop_on_timer is told by libcurl when to call it next. */
static int
loop_on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	ConcordHttp *http = arg;

	http->timer_at = timeout_ms < 0 ? -1 : concord_clock_steady() + timeout_ms * 1000;
	return 0;
}

/* loop_destroy_list frees the handles of a list. */
static void
loop_destroy_list(ConcordHttp *http, dlist_head *list, bool in_multi)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, list)
	{
		ConcordTransferState *transfer =
			dlist_container(ConcordTransferState, node, iter.cur);

		if (in_multi)
			curl_multi_remove_handle(http->multi, transfer->easy);
		dlist_delete(iter.cur);
		concord_transfer_destroy(transfer);
	}
}

/* loop_reset frees all that does not belong to the memory context. */
static void
loop_reset(void *arg)
{
	ConcordHttp *http = arg;
	sigset_t	old;

	loop_block(&old);
	loop_destroy_list(http, &http->busy, true);
	loop_destroy_list(http, &http->submitted, false);
	loop_destroy_list(http, &http->done, false);
	loop_destroy_list(http, &http->idle, false);
	if (http->multi != NULL)
		curl_multi_cleanup(http->multi);
	loop_unblock(&old);
	if (http->set != NULL)
		FreeWaitEventSet(http->set);
	if (http->timerfd >= 0)
		close(http->timerfd);
	if (http->epfd >= 0)
		close(http->epfd);
	if (http->fd_acquired)
		ReleaseExternalFD();
	free(http->sockets);
}

/* concord_http_create makes an engine that lives as long as context. */
ConcordHttp *
concord_http_create(MemoryContext context)
{
	MemoryContext mine = AllocSetContextCreate(context, "concord http",
											   ALLOCSET_SMALL_SIZES);
	ConcordHttp *http = MemoryContextAllocZero(mine, sizeof(ConcordHttp));

	http->context = mine;
	http->epfd = -1;
	http->timerfd = -1;
	http->timer_at = -1;
	dlist_init(&http->idle);
	dlist_init(&http->submitted);
	dlist_init(&http->busy);
	dlist_init(&http->done);
	http->callback.func = loop_reset;
	http->callback.arg = http;
	MemoryContextRegisterResetCallback(mine, &http->callback);

	if (!loop_curl_ready && !concord_curl_init())
		ereport(ERROR,
				(errcode(ERRCODE_SYSTEM_ERROR),
				 errmsg("could not initialize libcurl")));
	loop_curl_ready = true;

	http->fd_acquired = AcquireExternalFD();
	if (http->fd_acquired)
		http->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (http->epfd < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not create an epoll set: %m")));
	http->multi = curl_multi_init();
	if (http->multi == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETFUNCTION, loop_on_socket);
	curl_multi_setopt(http->multi, CURLMOPT_SOCKETDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, loop_on_timer);
	curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
	curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS,
					  (long) LOOP_MAX_CONNECTS);

	http->set = concord_wait_set_create(3);
	AddWaitEventToSet(http->set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(http->set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL,
					  NULL);
	AddWaitEventToSet(http->set, WL_SOCKET_READABLE, http->epfd, NULL, NULL);
	return http;
}

/* concord_http_context is where a gate keeps requests of its own. */
MemoryContext
concord_http_context(const ConcordHttp *http)
{
	return http->context;
}

/* loop_list_add puts a request at the end of a list. */
static void
loop_list_add(LoopList *list, ConcordRequest *request)
{
	request->transfer = NULL;
	if (list->last != NULL)
		list->last->transfer = request;
	else
		list->first = request;
	list->last = request;
}

/* loop_refuse ends a request that could not even start. */
static void
loop_refuse(ConcordHttp *http, ConcordRequest *request, const char *why)
{
	memset(&request->response, 0, sizeof(ConcordResponse));
	request->response.transfer = CONCORD_TRANSFER_NOT_SENT;
	request->response.error = MemoryContextStrdup(request->context, why);
	request->response.body = MemoryContextStrdup(request->context, "");
	loop_list_add(&http->ended, request);
}

/* loop_gate asks a request's gate; false where the request does not go. */
static bool
loop_gate(ConcordHttp *http, ConcordRequest *request)
{
	const char *why = NULL;

	switch (request->gate->before(http, request, &why))
	{
		case CONCORD_GATE_GO:
			return true;
		case CONCORD_GATE_HOLD:
			loop_list_add(&http->held, request);
			break;
		case CONCORD_GATE_REFUSE:
			loop_refuse(http, request, why);
			request->response.system_down = true;
			request->response.gate_refused = true;
			break;
		case CONCORD_GATE_REJECT:
			loop_refuse(http, request, why);
			request->response.gate_refused = true;
			break;
	}
	return false;
}

/* concord_http_submit accepts a request; the next drive starts it. */
void
concord_http_submit(ConcordHttp *http, ConcordRequest *request)
{
	ConcordTransferState *transfer;

	Assert(request->transfer == NULL && request->url && request->method);
	if (request->gate != NULL && request->gate->before != NULL &&
		!loop_gate(http, request))
		return;
	if (!dlist_is_empty(&http->idle))
		transfer = dlist_head_element(ConcordTransferState, node, &http->idle);
	else
	{
		transfer = concord_transfer_create(http);
		if (transfer == NULL)
		{
			loop_refuse(http, request, "out of memory");
			return;
		}
		dlist_push_head(&http->idle, &transfer->node);
	}

	if (!concord_transfer_prepare(transfer, request))
	{
		char		why[128] = "the request could not be prepared";

		if (transfer->refused)
			snprintf(why, sizeof(why), "address %s is not allowed",
					 transfer->refused_address);
		concord_transfer_release(transfer);
		loop_refuse(http, request, why);
		request->response.system_down = transfer->refused;
		request->response.address_refused = transfer->refused;
		return;
	}
	request->transfer = transfer;
	transfer->in_multi = false;
	dlist_delete(&transfer->node);
	dlist_push_tail(&http->submitted, &transfer->node);
	http->in_flight++;
}

/* concord_http_in_flight returns how many requests have not ended. */
int
concord_http_in_flight(const ConcordHttp *http)
{
	return http->in_flight;
}

/* loop_dispatch tells libcurl about one event. */
static void
loop_dispatch(ConcordHttp *http, const struct epoll_event *event)
{
	int			fd = event->data.fd;
	LoopSocket *s = fd < http->nsockets ? &http->sockets[fd] : NULL;
	uint32		fired = event->events;
	int			mask = 0;
	int			running;

	if (fd == http->timerfd)
	{
		uint64		ticks;

		(void) !read(fd, &ticks, sizeof(ticks));
		return;
	}
	if (s == NULL)
		return;
	/* errors and hang-ups concern whoever is interested in the socket */
	if (fired & (EPOLLERR | EPOLLHUP))
		fired |= s->wanted;
	if ((fired & s->wanted) == 0)
	{
		(void) loop_register(http, fd, s, s->wanted);
		return;
	}
	if (fired & s->wanted & EPOLLIN)
		mask |= CURL_CSELECT_IN;
	if (fired & s->wanted & EPOLLOUT)
		mask |= CURL_CSELECT_OUT;
	if (event->events & EPOLLERR)
		mask |= CURL_CSELECT_ERR;
	curl_multi_socket_action(http->multi, fd, mask, &running);
}

/* loop_start gives libcurl what was submitted. */
static void
loop_start(ConcordHttp *http)
{
	while (!dlist_is_empty(&http->submitted))
	{
		ConcordTransferState *transfer =
			dlist_head_element(ConcordTransferState, node, &http->submitted);

		dlist_delete(&transfer->node);
		if (curl_multi_add_handle(http->multi, transfer->easy) == CURLM_OK)
		{
			transfer->in_multi = true;
			dlist_push_tail(&http->busy, &transfer->node);
			continue;
		}
		transfer->code = CURLE_OUT_OF_MEMORY;
		dlist_push_tail(&http->done, &transfer->node);
		http->in_flight--;
	}
}

/* loop_drive lets libcurl do what it can now; returns how much happened. */
static int
loop_drive(ConcordHttp *http)
{
	struct epoll_event events[LOOP_EVENTS];
	sigset_t	old;
	CURLMsg    *message;
	int			running;
	int			n;

	loop_block(&old);
	loop_start(http);
	if (http->timer_at >= 0 && http->timer_at <= concord_clock_steady())
	{
		http->timer_at = -1;
		curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	n = http->in_flight > 0 || http->nsockets > 0 || http->timerfd >= 0 ?
		epoll_wait(http->epfd, events, LOOP_EVENTS, 0) : 0;
	for (int i = 0; i < n; i++)
		loop_dispatch(http, &events[i]);

	while ((message = curl_multi_info_read(http->multi, &running)) != NULL)
	{
		ConcordTransferState *transfer;
		CURL	   *easy = message->easy_handle;
		CURLcode	code = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **) &transfer);
		curl_multi_remove_handle(http->multi, easy);
		transfer->in_multi = false;
		transfer->code = code;
		dlist_delete(&transfer->node);
		dlist_push_tail(&http->done, &transfer->node);
		http->in_flight--;
	}
	loop_unblock(&old);
	return n;
}

/* loop_ended hands an answer to the request's owner, or to its gate. */
static void
loop_ended(ConcordHttp *http, ConcordRequest *request)
{
	ConcordGateAnswer answer = CONCORD_GATE_PASS;

	if (request->gate != NULL && request->gate->after != NULL)
		answer = request->gate->after(http, request);
	if (answer == CONCORD_GATE_PASS)
		loop_list_add(&http->ended, request);
	else if (answer == CONCORD_GATE_AGAIN)
		concord_http_submit(http, request);
}

/* loop_release asks the gates of the requests that are held. */
static void
loop_release(ConcordHttp *http)
{
	ConcordRequest *request = http->held.first;

	http->held.first = http->held.last = NULL;
	while (request != NULL)
	{
		ConcordRequest *next = request->transfer;

		request->transfer = NULL;
		concord_http_submit(http, request);
		request = next;
	}
}

/* loop_collect copies the answers of ended transfers and frees the handles. */
static void
loop_collect(ConcordHttp *http)
{
	while (!dlist_is_empty(&http->done))
	{
		ConcordTransferState *transfer =
			dlist_head_element(ConcordTransferState, node, &http->done);
		ConcordRequest *request = transfer->request;

		concord_response_take(transfer, transfer->code);
		dlist_delete(&transfer->node);
		concord_transfer_release(transfer);
		dlist_push_head(&http->idle, &transfer->node);
		loop_ended(http, request);
	}
	if (http->held.first != NULL)
		loop_release(http);
}

/* loop_wait_ms returns how long to wait at most: timer or deadline. */
static long
loop_wait_ms(ConcordHttp *http, int64 deadline)
{
	int64		until = http->timer_at;
	int64		wait;

	if (deadline >= 0 && (until < 0 || deadline < until))
		until = deadline;
	if (http->held.first != NULL)
	{
		int64		soon = concord_clock_steady() + LOOP_HOLD_MS * 1000;

		until = until < 0 ? soon : Min(until, soon);
	}
	if (!dlist_is_empty(&http->submitted))
		return 0;
	if (until < 0)
		return -1;
	wait = until - concord_clock_steady();
	return wait <= 0 ? 0 : (long) ((wait + 999) / 1000);
}

/*
 * concord_http_drive lets the network go on, without waiting: what was
 * submitted is sent, what has come is read.
 */
void
concord_http_drive(ConcordHttp *http)
{
	(void) loop_drive(http);
	loop_collect(http);
}

/*
 * concord_http_wait drives transfers until one has ended, the latch is set or
 * time is over.
 */
void
concord_http_wait(ConcordHttp *http, int timeout_ms, uint32 wait_event)
{
	int64		deadline = timeout_ms < 0 ? -1 :
		concord_clock_steady() + (int64) timeout_ms * 1000;

	while (true)
	{
		WaitEvent	event;
		int			happened = loop_drive(http);
		bool		busy;

		loop_collect(http);
		busy = happened > 0 && ++http->busy_turns < LOOP_BUSY_TURNS;
		if (http->ended.first != NULL && busy)
			return;
		if (!busy)
		{
			long		ms = http->ended.first != NULL ? 0 :
				loop_wait_ms(http, deadline);
			int			rc;

			http->busy_turns = 0;
			rc = WaitEventSetWait(http->set, ms, &event, 1, wait_event);
			if (http->ended.first != NULL ||
				(rc > 0 && (event.events & WL_LATCH_SET)))
				return;
		}
		else if (MyLatch->is_set)
			return;
		if (deadline >= 0 && concord_clock_steady() >= deadline)
			return;
	}
}

/* concord_http_next takes an ended request, in the order they ended. */
ConcordRequest *
concord_http_next(ConcordHttp *http)
{
	ConcordRequest *request = http->ended.first;

	if (request == NULL)
		return NULL;
	http->ended.first = request->transfer;
	if (http->ended.first == NULL)
		http->ended.last = NULL;
	request->transfer = NULL;
	return request;
}

/* loop_forget takes a request out of a list; false where it is not there. */
static bool
loop_forget(LoopList *list, ConcordRequest *request)
{
	ConcordRequest *before = NULL;

	for (ConcordRequest *r = list->first; r != NULL; r = r->transfer)
	{
		if (r == request)
		{
			if (before != NULL)
				before->transfer = r->transfer;
			else
				list->first = r->transfer;
			if (list->last == r)
				list->last = before;
			r->transfer = NULL;
			return true;
		}
		before = r;
	}
	return false;
}

/* concord_http_cancel ends a request; its answer, if any, is lost. */
void
concord_http_cancel(ConcordHttp *http, ConcordRequest *request)
{
	ConcordTransferState *transfer;
	sigset_t	old;

	if (loop_forget(&http->ended, request) ||
		loop_forget(&http->held, request) || request->transfer == NULL)
		return;
	transfer = request->transfer;
	if (transfer->in_multi)
	{
		loop_block(&old);
		curl_multi_remove_handle(http->multi, transfer->easy);
		loop_unblock(&old);
		transfer->in_multi = false;
	}
	dlist_delete(&transfer->node);
	concord_transfer_release(transfer);
	dlist_push_head(&http->idle, &transfer->node);
	http->in_flight--;
}

/* concord_http_begun says whether sending has begun. */
bool
concord_http_begun(const ConcordRequest *request)
{
	const ConcordTransferState *transfer = request->transfer;

	return transfer != NULL && transfer->begun;
}

/* loop_timer_make adds a timer to the epoll set. */
static void
loop_timer_make(ConcordHttp *http)
{
	struct epoll_event event = {.events = EPOLLIN};
	int			fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	int			error;

	event.data.fd = fd;
	if (fd >= 0 && epoll_ctl(http->epfd, EPOLL_CTL_ADD, fd, &event) == 0)
	{
		http->timerfd = fd;
		return;
	}
	/* one that is not in the set would wake nobody, now or the next time */
	error = errno;
	if (fd >= 0)
		close(fd);
	errno = error;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
			 errmsg("could not create a timer: %m"),
			 errhint("Raise the limits of open files of the server's processes.")));
}

/*
 * concord_http_descriptor gives the epoll set, with a timer in it for what is
 * not about sockets.
 */
int
concord_http_descriptor(ConcordHttp *http, int most_ms)
{
	struct itimerspec spec = {0};
	long		ms;

	if (http->timerfd < 0)
		loop_timer_make(http);
	ms = http->ended.first != NULL ? 0 :
		loop_wait_ms(http, most_ms < 0 ? -1 :
					 concord_clock_steady() + (int64) most_ms * 1000);
	if (ms > 0)
	{
		spec.it_value.tv_sec = ms / 1000;
		spec.it_value.tv_nsec = (ms % 1000) * 1000000;
	}
	else if (ms == 0)
		spec.it_value.tv_nsec = 1;	/* 0 would switch it off */
	timerfd_settime(http->timerfd, 0, &spec, NULL);
	return http->epfd;
}
