/*-------------------------------------------------------------------------
 *
 * send.c
 *	  Send what is ready, and make an end of what comes back.
 *
 * Before a delivery is sent
 *	- its link is known (link.c),
 *	- its values are fresh: mapped a moment ago, not when a backlog began,
 *	- the end of the delivery before it with the same key is on disk,
 *	- sent_up_to of its lane, on disk, covers it: after a crash, what may have
 *	  been sent is known, and the first thing done with it is to look.
 *
 * No transaction is open here.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "auth/auth.h"
#include "base/bookkeeping.h"
#include "common/hashfn.h"
#include "delivery/group.h"
#include "delivery/log.h"
#include "delivery/work.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#define SEND_ROUNDS			4
#define SEND_ROUND_LIMIT	256

/* concord_delivery_end ends a delivery; the next commit makes it so. */
void
concord_delivery_end(ConcordCourier *courier, ConcordDelivery *d,
					 ConcordEnd end)
{
	concord_list_remove(d);
	concord_delivery_become(d, CONCORD_DELIVERY_ENDED);
	d->end = end;
	d->lane->nwindow_ended += d->in_window;
	if (courier->nended == 0)
		courier->ended_since = courier->now;
	dlist_push_tail(&courier->ended, &d->list_node);
	courier->nended++;
	if (end == CONCORD_END_DEAD)
		courier->want_durable = true;
	if (concord_keys_waited_for(d))
		courier->ended_gates = true;
	concord_lane_dirty(d->lane);
}

/* ---------------------------------------------------------------------
 * answers
 * ------------------------------------------------------------------- */

/* send_clean redacts a foreign text and makes it fit for a table. */
static char *
send_clean(const ConcordDelivery *d, const char *text, Size len, Size max)
{
	if (text == NULL)
		return NULL;
	return concord_evidence(d->access->auth,
							concord_safe_text(text, len,
											  max + CONCORD_EVIDENCE_MORE),
							max);
}

/*
 * send_request_text shows what was sent: the request that the verdict is
 * about, and which others the exchange has made.
 */
static char *
send_request_text(const ConcordDelivery *d)
{
	const ConcordExchange *x = d->exchange;
	char	   *text = concord_evidence(d->access->auth, x->blamed_request ?
										x->blamed_request :
										concord_request_text(d->request),
										CONCORD_EVIDENCE_REQUEST);

	if (x->trail != NULL)
		text = psprintf("%s\n\n%s %s%s", text,
						x->blamed_request ? "All requests:" : "Before it:",
						x->trail->data, x->blamed_request ?
						psprintf("; %s %s: %d", d->request->method,
								 d->request->url, d->request->response.status) :
						"");
	return concord_auth_redact(d->access->auth, text);
}

/* concord_send_keep keeps what a person will want to know of a failed attempt. */
void
concord_send_keep(ConcordDelivery *d)
{
	const ConcordExchange *x = d->exchange;
	MemoryContext old = MemoryContextSwitchTo(d->context);

	d->status = x->status;
	d->rule = x->rule;
	d->error = x->error ? send_clean(d, x->error, strlen(x->error),
									 CONCORD_EVIDENCE_ANSWER) : NULL;
	if (d->request != NULL)
	{
		const ConcordResponse *response = &d->request->response;

		if (x->blamed_answer != NULL)
			d->answer = send_clean(d, x->blamed_answer,
								   strlen(x->blamed_answer),
								   CONCORD_EVIDENCE_ANSWER);
		else
			d->answer = send_clean(d, response->body, response->body_len,
								   CONCORD_EVIDENCE_ANSWER);
		d->sent = send_request_text(d);
	}
	MemoryContextSwitchTo(old);
}

/* send_lane_error notes the last failure of a lane. */
static void
send_lane_error(ConcordCourier *courier, ConcordDelivery *d)
{
	if (d->error != NULL)
		concord_lane_error(courier, d->lane, d->error);
}

/*
 * concord_send_note is for a verdict that came after the answer had been taken
 * for a good one; its request must be there still.
 */
void
concord_send_note(ConcordCourier *courier, ConcordDelivery *d)
{
	concord_send_keep(d);
	send_lane_error(courier, d);
}

/* send_again puts a delivery back that ended through no fault of its own. */
static void
send_again(ConcordDelivery *d)
{
	concord_delivery_forget_exchange(d);
	concord_delivery_become(d, CONCORD_DELIVERY_QUEUED);
	concord_keys_check(d);
}

/* send_retry plans another attempt, or ends them. */
static void
send_retry(ConcordCourier *courier, ConcordDelivery *d)
{
	const ConcordMappingOptions *options = &d->definition->mapping->options;
	const ConcordServer *server = d->access->server;
	const ConcordExchange *x = d->exchange;
	int			delay;

	d->attempts++;
	concord_send_keep(d);
	send_lane_error(courier, d);
	if (d->attempts > concord_send_limit(options->retry_limit, server->retry_limit))
	{
		if (d->rule == NULL)
			d->rule = "retry_limit";
		concord_delivery_end(courier, d, CONCORD_END_DEAD);
		return;
	}
	delay = concord_backoff_ms(d->attempts,
							   concord_send_limit(options->retry_base_ms, server->retry_base_ms),
							   concord_send_limit(options->retry_cap_ms, server->retry_cap_ms));
	d->next_try = courier->now + (int64) Max(delay, x->retry_after_ms) * 1000;
	concord_delivery_end(courier, d, CONCORD_END_RETRY);
}

/* send_give_up ends a delivery to a system that is down for too long. */
static void
send_give_up(ConcordCourier *courier, ConcordDelivery *d)
{
	if (d->exchange != NULL)
		concord_send_keep(d);
	else
		d->error = d->route->system->reason;
	d->rule = "outage_limit";
	concord_delivery_end(courier, d, CONCORD_END_DEAD);
}

/*
 * send_outage: the system is down, and the delivery goes back into its queue.
 * Beyond outage_limit it is dead, with all whose turn it is.
 */
static void
send_outage(ConcordCourier *courier, ConcordDelivery *d)
{
	ConcordSystem *system = d->route->system;
	int			limit = d->access->server->outage_limit_ms;
	dlist_iter	iter;

	if (limit < 0 || system->breaker == CONCORD_BREAKER_CLOSED ||
		concord_breaker_age_ms(system) < limit)
	{
		send_again(d);
		return;
	}
	send_give_up(courier, d);
	dlist_foreach(iter, &system->routes)
	{
		ConcordRoute *route = dlist_container(ConcordRoute, system_node, iter.cur);

		while (route->lane->state == CONCORD_LANE_OPEN &&
			   !route->lane->unit &&
			   (d = concord_ready_next(route)) != NULL)
			send_give_up(courier, d);
	}
}

/* send_record tells the records of a system apart, for its breaker. */
static uint64
send_record(const ConcordDelivery *d)
{
	const char *key = d->mapped->ordering_key;

	if (key == NULL)
		key = d->mapped->local_key;
	if (key == NULL)
		return hash_combine64(d->lane->id, d->event->seq);
	return hash_combine64(d->lane->id,
						  hash_bytes_extended((const unsigned char *) key,
											  strlen(key), 0));
}

/* send_leave gives back what a delivery under way has. */
static void
send_leave(ConcordCourier *courier, ConcordDelivery *d)
{
	d->lane->in_flight--;
	if (d->has_place)
		concord_send_give_place(courier, d->route->system);
	d->has_place = false;
}

bool
concord_send_tell_breaker(ConcordCourier *courier, ConcordDelivery *d)
{
	return concord_breaker_result(d->route->system, d->exchange, send_record(d),
								  courier->now);
}

/* concord_send_outcome makes an end of an exchange that has an outcome. */
void
concord_send_outcome(ConcordCourier *courier, ConcordDelivery *d, bool counts)
{
	const ConcordExchange *x = d->exchange;

	send_leave(courier, d);
	d->answered_at = courier->now;
	if (x->outcome == CONCORD_OUTCOME_UNKNOWN || x->status >= 500)
		d->was_unknown = true;
	d->status = x->status;
	switch (x->outcome)
	{
		case CONCORD_OUTCOME_DONE:
			d->attempts++;
			if (!concord_link_learned(d))	/* else it may have to be shown */
				concord_delivery_forget_request(d);
			concord_delivery_end(courier, d, CONCORD_END_DONE);
			break;
		case CONCORD_OUTCOME_RETRY:
		case CONCORD_OUTCOME_UNKNOWN:
		case CONCORD_OUTCOME_CONFLICT:
			if (counts)
				send_retry(courier, d);
			else
				send_outage(courier, d);
			break;
		case CONCORD_OUTCOME_THROTTLE:
		case CONCORD_OUTCOME_DOWN:
			send_outage(courier, d);
			break;
		case CONCORD_OUTCOME_DEAD:
		case CONCORD_OUTCOME_NONE:
			d->attempts++;
			concord_send_keep(d);
			send_lane_error(courier, d);
			concord_delivery_end(courier, d, CONCORD_END_DEAD);
			break;
	}
}

/* concord_send_failed makes an end of an error while a request was made. */
void
concord_send_failed(ConcordCourier *courier, ConcordDelivery *d,
					const ErrorData *error)
{
	send_leave(courier, d);
	d->attempts++;
	d->rule = "request";
	d->error = MemoryContextStrdup(d->context, error->message);
	send_lane_error(courier, d);
	concord_delivery_end(courier, d, CONCORD_END_DEAD);
}

/* send_finish makes an end, and tells the breaker. */
static void
send_finish(ConcordCourier *courier, ConcordDelivery *d)
{
	concord_send_outcome(courier, d, concord_send_tell_breaker(courier, d));
}

/* send_ask_raw does what is asked; it may raise. */
static ConcordRequest *
send_ask_raw(ConcordDelivery *d, ConcordSendAsk ask, const ConcordResponse *response)
{
	const struct ConcordAuth *auth = d->access->auth;

	if (d->exchange == NULL)
	{
		ConcordLink link = concord_written_link(d);

		d->exchange = concord_exchange_begin(d->access->server,
											 d->definition->mapping,
											 d->event, concord_link_narrow(d),
											 &link, d->context);
		d->exchange->was_unknown = d->was_unknown;
		d->exchange->inserted = d->inserted;
		d->exchange->batched = d->route->group_alone;
	}
	switch (ask)
	{
		case CONCORD_ASK_NEXT:
			return concord_exchange_next(d->exchange, response, auth);
		case CONCORD_ASK_ITEM:
			return concord_exchange_item(d->exchange, response, auth);
		case CONCORD_ASK_COMPLETE:
			concord_exchange_complete(d->exchange, d->request, auth);
			break;
		case CONCORD_ASK_JUDGE:
			concord_exchange_judge(d->exchange, response, auth);
			break;
	}
	return d->request;
}

/*
 * concord_send_ask asks a delivery's exchange for something and returns the
 * error that it raised, or NULL.
 */
ErrorData *
concord_send_ask(ConcordCourier *courier, ConcordDelivery *d, ConcordSendAsk ask,
				 const ConcordResponse *response, ConcordRequest **next)
{
	MemoryContext old = MemoryContextSwitchTo(d->context);
	ErrorData  *volatile error = NULL;

	/* hashes want an owner, and there is no transaction that has one */
	CurrentResourceOwner = courier->owner;
	PG_TRY();
	{
		*next = send_ask_raw(d, ask, response);
	}
	PG_CATCH();
	{
		error = concord_error_caught(d->context);
		/* a look-up in the catalogs has one of its own */
		if (IsTransactionState())
			AbortCurrentTransaction();
	}
	PG_END_TRY();
	CurrentResourceOwner = NULL;
	MemoryContextSwitchTo(old);
	return error;
}

/* send_ask is the same; false: an error has ended this delivery only. */
static bool
send_ask(ConcordCourier *courier, ConcordDelivery *d, ConcordSendAsk ask,
		 const ConcordResponse *response, ConcordRequest **next)
{
	ErrorData  *error = concord_send_ask(courier, d, ask, response, next);

	if (error != NULL)
		concord_send_failed(courier, d, error);
	return error == NULL;
}

/*
 * send_make lets the protocol make its next request: the first one where
 * response is NULL.  Returns false where that ended the delivery.
 */
static bool
send_make(ConcordCourier *courier, ConcordDelivery *d, ConcordSendAsk ask,
		  const ConcordResponse *response)
{
	ConcordRequest *next;

	if (response != NULL)
		concord_log_payload(d);
	if (!send_ask(courier, d, ask, response, &next))
		return false;
	if (next == NULL)
	{
		send_finish(courier, d);
		return false;
	}
	concord_delivery_forget_request(d);
	d->request = next;
	d->request->owner = d;
	return true;
}

/* send_submit sends a delivery's request, or has it wait for a place. */
static void
send_submit(ConcordCourier *courier, ConcordDelivery *d)
{
	if (d->has_place)
		concord_http_submit(courier->http, d->request);
	else
		dlist_push_tail(&d->route->system->waiting, &d->list_node);
}

void
concord_send_step(ConcordCourier *courier, ConcordDelivery *d,
				  const ConcordResponse *response)
{
	if (response != NULL && d->has_place)
		concord_breaker_answer(d->route->system, d->access->server->connector,
							   response);
	if (!send_make(courier, d, CONCORD_ASK_NEXT, response))
		return;
	/* the first request was counted when its place was taken */
	if (response != NULL && d->has_place)
		concord_account_charge(d->route->system->account);
	send_submit(courier, d);
}

void
concord_send_alone(ConcordCourier *courier, ConcordDelivery *d)
{
	ConcordRequest *request;

	if (send_ask(courier, d, CONCORD_ASK_COMPLETE, NULL, &request))
		send_submit(courier, d);
}

bool
concord_send_judge(ConcordCourier *courier, ConcordDelivery *d,
				   const ConcordResponse *response)
{
	ConcordRequest *request;

	return send_ask(courier, d, CONCORD_ASK_JUDGE, response, &request);
}

/* concord_send_collect takes in what has ended on the network. */
void
concord_send_collect(ConcordCourier *courier)
{
	ConcordRequest *request;

	while ((request = concord_http_next(courier->http)) != NULL)
	{
		ConcordDelivery *d = request->owner;

		if (d->unit != NULL)
			concord_unit_answer(courier, d);
		else if (d->group != NULL)
			concord_group_answer(courier, d->group);
		else
			concord_send_step(courier, d, &request->response);
	}
}

/* ---------------------------------------------------------------------
 * places, and the line before them
 * ------------------------------------------------------------------- */

/* concord_send_use_place begins with the place that the breaker has given. */
void
concord_send_use_place(ConcordCourier *courier, ConcordSystem *system)
{
	concord_system_begins(system);
	courier->in_flight++;
}

void
concord_send_give_place(ConcordCourier *courier, ConcordSystem *system)
{
	courier->in_flight--;
	concord_system_ends(courier, system);
}

void
concord_send_return(ConcordDelivery *d)
{
	d->lane->in_flight--;
	send_again(d);
}

/*
 * send_disperse sends those home who stand in the line of a system that is
 * not to be contacted for a while.
 */
static void
send_disperse(ConcordSystem *system)
{
	while (!dlist_is_empty(&system->waiting))
		concord_send_return(dlist_container(ConcordDelivery, list_node,
											dlist_pop_head_node(&system->waiting)));
	while (!dlist_is_empty(&system->waiting_groups))
		concord_group_return(dlist_container(ConcordGroup, node,
											 dlist_pop_head_node(&system->waiting_groups)));
}

void
concord_send_line(ConcordCourier *courier, ConcordSystem *system, bool has_place)
{
	if (system->breaker == CONCORD_BREAKER_OPEN || system->held != NULL ||
		concord_breaker_next(system, courier->now) > 0)
		send_disperse(system);
	while (!dlist_is_empty(&system->waiting) ||
		   !dlist_is_empty(&system->waiting_groups))
	{
		if (!has_place)
		{
			if (!concord_breaker_allows(system))
				return;
			concord_send_use_place(courier, system);
		}
		has_place = false;
		if (!dlist_is_empty(&system->waiting_groups))
			concord_group_submit(courier,
								 dlist_container(ConcordGroup, node,
												 dlist_pop_head_node(&system->waiting_groups)));
		else
		{
			ConcordDelivery *d = dlist_container(ConcordDelivery, list_node,
												 dlist_pop_head_node(&system->waiting));

			d->has_place = true;
			concord_http_submit(courier->http, d->request);
		}
	}
	if (has_place)
		concord_send_give_place(courier, system);
}

/* ---------------------------------------------------------------------
 * sending
 * ------------------------------------------------------------------- */

/* What takes one place: deliveries that are sent together. */
typedef struct SendUnit
{
	ConcordDelivery **ds;
	int			n;
	XLogRecPtr	after;			/* what must be on disk before */
} SendUnit;

typedef struct SendRound
{
	SendUnit	units[SEND_ROUND_LIMIT];
	int			n;
	int			stale;			/* went back to be mapped again */
	bool		reserve;		/* a lane's sent_up_to must go up */
	XLogRecPtr	flush;			/* the newest of what must be on disk */
} SendRound;

typedef enum SendChoice
{
	SEND_NOTHING,				/* none is ready, or may go */
	SEND_SPENT,					/* one was, and needed no request */
	SEND_CHOSEN,
} SendChoice;

/* send_choose looks at a route's first ready one. */
static SendChoice
send_choose(ConcordCourier *courier, ConcordRoute *route, SendRound *round,
			ConcordDelivery **chosen)
{
	ConcordDelivery *d = concord_ready_next(route);
	ConcordEnd	end;

	if (d == NULL)
		return SEND_NOTHING;
	if (!concord_map_fresh(courier, d) || d->mapped->verdict != CONCORD_SEND)
	{
		if (!concord_lane_single(route->lane))
			concord_delivery_forget_exchange(d);	/* it may go elsewhere */
		concord_delivery_forget_mapped(d);
		concord_delivery_become(d, CONCORD_DELIVERY_NEW);
		concord_fresh_add(d);
		round->stale++;
		return SEND_SPENT;
	}
	if (!concord_resync_ready(courier, d))
	{
		concord_keys_check(d);
		return SEND_NOTHING;
	}
	end = concord_link_decides(d);
	if (end != CONCORD_END_NONE)
	{
		concord_delivery_end(courier, d, end);
		return SEND_SPENT;
	}
	if (d->in_window && d->event->seq > route->lane->sent_limit)
	{
		concord_ready_unget(d);
		round->reserve = true;
		return SEND_NOTHING;
	}
	*chosen = d;
	return SEND_CHOSEN;
}

/* send_take adds a delivery to the unit that is being made. */
static void
send_take(SendRound *round, SendUnit *unit, ConcordDelivery *d)
{
	XLogRecPtr	after = concord_keys_commit_lsn(d);

	unit->ds[unit->n++] = d;
	unit->after = Max(unit->after, after);
	round->flush = Max(round->flush, after);
	concord_delivery_become(d, CONCORD_DELIVERY_SENT);
	d->lane->in_flight++;
	if (d->in_window)
		d->lane->sent_max = Max(d->lane->sent_max, d->event->seq);
}

/* send_gather makes a unit of what a route has ready; false: it has nothing. */
static bool
send_gather(ConcordCourier *courier, ConcordRoute *route, SendRound *round)
{
	SendUnit   *unit = &round->units[round->n];
	int			limit = Max(concord_group_limit(route, courier->now), 1);
	int			before = round->stale;
	SendChoice	choice = SEND_NOTHING;
	bool		spent = false;
	ConcordDelivery *d;

	if (route->group_limit > 0 && concord_group_lingers(route, courier->now))
		return false;
	memset(unit, 0, sizeof(SendUnit));
	unit->ds = MemoryContextAlloc(courier->turn, sizeof(ConcordDelivery *) *
								  Min(limit, Max(route->nready, 1)));
	limit = Min(limit, Max(route->nready, 1));
	while (unit->n < limit && round->stale - before <= limit)
	{
		choice = send_choose(courier, route, round, &d);
		if (choice == SEND_NOTHING)
			break;
		spent |= choice == SEND_SPENT;
		if (choice == SEND_SPENT && route->group_limit == 0)
			break;
		if (choice == SEND_SPENT)
			continue;
		/* one that has failed before goes alone: it may be the reason */
		if (unit->n > 0 && !concord_group_fits(d))
		{
			concord_ready_unget(d);
			break;
		}
		send_take(round, unit, d);
		if (!concord_group_fits(d))
			break;
	}
	if (unit->n > 0)
		round->n++;
	return unit->n > 0 || spent;
}

/* send_pick fills a system's free places from its routes, one each in turn. */
static void
send_pick(ConcordCourier *courier, ConcordSystem *system, SendRound *round)
{
	ConcordRoute *first_idle = NULL;	/* since it, none had anything */
	int			stale = round->stale + 4 * system->limits.concurrency + 16;

	if (dlist_is_empty(&system->ready))
		return;					/* no place is needed */
	while (!dlist_is_empty(&system->ready) && round->n < SEND_ROUND_LIMIT &&
		   round->stale < stale && concord_breaker_allows(system))
	{
		dlist_node *node = dlist_head_node(&system->ready);
		ConcordRoute *route = dlist_container(ConcordRoute, ready_place.node, node);
		int			before = round->n;

		if (route == first_idle)
			break;
		dlist_delete(node);
		dlist_push_tail(&system->ready, node);
		if (route->lane->state == CONCORD_LANE_OPEN &&
			route->lane->hold_until <= courier->now &&
			send_gather(courier, route, round))
			first_idle = NULL;
		else if (first_idle == NULL && route->ready_place.in)
			first_idle = route;
		if (round->n > before)
			concord_send_use_place(courier, system);
	}
	concord_breaker_spare(system);
}

/* concord_send_begin makes a delivery ready for its exchange. */
void
concord_send_begin(ConcordCourier *courier, ConcordDelivery *d)
{
	if (d->context == NULL)
		d->context = AllocSetContextCreate(d->lane->memory, "concord exchange",
										   ALLOCSET_SMALL_SIZES);
	d->access = d->route->access;
	d->access->refs++;
	d->sent_at = courier->now;
}

bool
concord_send_prepare(ConcordCourier *courier, ConcordDelivery *d)
{
	concord_send_begin(courier, d);
	return send_make(courier, d, CONCORD_ASK_ITEM, NULL);
}

/* send_start begins the exchanges of a unit. */
static void
send_start(ConcordCourier *courier, const SendUnit *unit)
{
	ConcordDelivery *d = unit->ds[0];

	if (d->route->group_limit > 0 &&
		(concord_group_fits(d) || d->route->group_alone))
	{
		concord_group_start(courier, unit->ds, unit->n);
		return;
	}
	d->has_place = true;
	concord_send_begin(courier, d);
	concord_send_step(courier, d, NULL);
}

/*
 * send_round sends what was chosen: first what waits for nothing, then what
 * has to come after a commit that may not be on disk yet.
 */
static void
send_round(ConcordCourier *courier, SendRound *round)
{
	XLogRecPtr	flushed = GetFlushRecPtr(NULL);
	int			late = 0;

	for (int i = 0; i < round->n; i++)
	{
		if (round->units[i].after <= flushed)
			send_start(courier, &round->units[i]);
		else
			round->units[late++] = round->units[i];
	}
	if (late == 0)
		return;
	concord_http_drive(courier->http);
	XLogFlush(round->flush);
	for (int i = 0; i < late; i++)
		send_start(courier, &round->units[i]);
}

/* concord_send_ready sends as much as the systems take now. */
void
concord_send_ready(ConcordCourier *courier)
{
	SendRound  *round = MemoryContextAlloc(courier->turn, sizeof(SendRound));

	for (int i = 0; i < SEND_ROUNDS; i++)
	{
		dlist_iter	iter;

		memset(round, 0, sizeof(SendRound));
		concord_links_fetch(courier);
		concord_resync_look(courier);
		concord_systems_turn(courier);
		dlist_foreach(iter, &courier->systems)
		{
			ConcordSystem *system = dlist_container(ConcordSystem, node,
													iter.cur);

			concord_send_line(courier, system, false);
			if (courier->units)
				concord_unit_turn(courier, system);
			send_pick(courier, system, round);
		}
		if (round->reserve)
			concord_book_reserve(courier);
		send_round(courier, round);
		if (round->n == 0 && !round->reserve)
			return;
	}
}
