/*-------------------------------------------------------------------------
 *
 * unit.c
 *	  A transaction's events for one system as one change set.
 *
 * Each exchange makes its request; looks (a create that may have arrived, a stale
 * tag) are made one by one before anything is sent.  What is left is packed by
 * the connector's form for units, which the system does or refuses as a whole.
 *
 * Done: all have ended in one commit.  Refused: the item to blame may know
 * better (a record that exists is looked up and becomes an update), and the
 * whole is sent again; else all are dead letters, of which one is the reason
 * and the others, rule unit, name it.  To be tried again: all of it, later; what
 * is behind it waits.  Without an answer, creates are looked up before anything
 * is repeated: all are there, or none.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xlog.h"
#include "base/bookkeeping.h"
#include "connector/batch.h"
#include "delivery/group.h"
#include "delivery/log.h"
#include "delivery/unit.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

/* A request's body as its exchange has made it. */
typedef struct ConcordBody
{
	char	   *text;			/* NULL: the request has it */
	Size		len;
} ConcordBody;

typedef struct ConcordUnit
{
	MemoryContext context;
	ConcordSystem *system;
	XLogRecPtr	lsn;			/* of its transaction's commit */
	bool		parked;			/* of dead letters that go again */
	int			n;
	ConcordDelivery **members;
	bool	   *settled;		/* done without a request in the change set */
	int			looking;		/* whose own request is under way, or -1 */
	int			requests;		/* made so far */
	const ConcordBatchForm *form;
	ConcordRequest *request;	/* the change set, while it is under way */
	ConcordRequest *answered;	/* the one before */
	ConcordBatchItem *items;
	int		   *places;			/* of items among members */
	int			nitems;
	ConcordBody *bodies;		/* of members' requests that have marks */
} ConcordUnit;

/* unit_of makes a unit with room for n. */
static ConcordUnit *
unit_of(ConcordCourier *courier, ConcordSystem *system, int n)
{
	MemoryContext context = AllocSetContextCreate(courier->context,
												  "concord unit",
												  ALLOCSET_SMALL_SIZES);
	ConcordUnit *unit = MemoryContextAllocZero(context, sizeof(ConcordUnit));

	n = Max(n, 1);
	unit->context = context;
	unit->system = system;
	unit->looking = -1;
	unit->members = MemoryContextAlloc(context, sizeof(ConcordDelivery *) * n);
	unit->settled = MemoryContextAllocZero(context, sizeof(bool) * n);
	unit->items = MemoryContextAlloc(context, sizeof(ConcordBatchItem) * n);
	unit->places = MemoryContextAlloc(context, sizeof(int) * n);
	unit->bodies = MemoryContextAllocZero(context, sizeof(ConcordBody) * n);
	return unit;
}

/* ---------------------------------------------------------------------
 * ends
 * ------------------------------------------------------------------- */

/* unit_leave takes members out of it; they have ended or go back. */
static void
unit_leave(ConcordCourier *courier, ConcordUnit *unit)
{
	for (int i = 0; i < unit->n; i++)
	{
		unit->members[i]->unit = NULL;
		unit->members[i]->lane->in_flight--;
	}
	unit->system->unit = NULL;
	concord_send_give_place(courier, unit->system);
	MemoryContextDelete(unit->context);
}

/* unit_name says which record a member is about. */
static char *
unit_name(const ConcordDelivery *d)
{
	return psprintf("record %s of mapping \"%s\"",
					d->mapped != NULL && d->mapped->local_key != NULL ?
					d->mapped->local_key : "without a key",
					d->lane->definition->mapping->name);
}

/*
 * concord_unit_die makes all of n deliveries dead letters.  told, or NULL, is the
 * one whose exchange says why; blamed: through its own fault, so that it has
 * its own rule and error, and the others name it.
 */
void
concord_unit_die(ConcordCourier *courier, ConcordDelivery **ds, int n,
				 const ConcordDelivery *told, bool blamed, const char *rule,
				 const char *error)
{
	char	   *reason;

	if (error == NULL)
		error = "it was refused";
	reason = !blamed ? pstrdup(error) :
		psprintf("%s of the same transaction is why nothing of it was done: %s",
				 unit_name(told), error);
	if (rule != NULL)
		rule = pstrdup(rule);

	for (int i = 0; i < n; i++)
	{
		ConcordDelivery *d = ds[i];
		bool		guilty = blamed && d == told;

		if (d->context == NULL)
			d->context = AllocSetContextCreate(d->lane->memory,
											   "concord exchange",
											   ALLOCSET_SMALL_SIZES);
		if (d->exchange != NULL)
		{
			d->attempts++;
			concord_send_keep(d);
		}
		if (d != told)
		{
			d->status = 0;
			d->answer = NULL;
		}
		if (rule != NULL && guilty == blamed)
			d->rule = MemoryContextStrdup(d->context, rule);
		else if (!guilty || d->rule == NULL)
			d->rule = "unit";
		d->error = MemoryContextStrdup(d->context, guilty ? error : reason);
		concord_lane_error(courier, d->lane, d->error);
		concord_delivery_end(courier, d, CONCORD_END_DEAD);
	}
}

/*
 * unit_dead ends a unit that was under way; told is the number of the member
 * whose exchange says why, or -1.
 */
static void
unit_dead(ConcordCourier *courier, ConcordUnit *unit, int told, bool blamed,
		  const char *rule, const char *error)
{
	concord_unit_die(courier, unit->members, unit->n,
					 told < 0 ? NULL : unit->members[told], blamed, rule,
					 error);
	unit_leave(courier, unit);
}

/* unit_back puts all back; none has lost an attempt. */
static void
unit_back(ConcordCourier *courier, ConcordUnit *unit)
{
	for (int i = 0; i < unit->n; i++)
	{
		ConcordDelivery *d = unit->members[i];

		concord_delivery_forget_exchange(d);
		concord_delivery_become(d, CONCORD_DELIVERY_QUEUED);
		concord_keys_check(d);
	}
	unit_leave(courier, unit);
}

/* unit_again plans another attempt of all, or ends them. */
static void
unit_again(ConcordCourier *courier, ConcordUnit *unit, int which, bool blamed)
{
	ConcordDelivery *d = unit->members[which];
	const ConcordMappingOptions *options = &d->definition->mapping->options;
	const ConcordServer *server = d->access->server;
	const ConcordExchange *x = d->exchange;
	int			attempts = 0;
	int			delay;

	for (int i = 0; i < unit->n; i++)
		attempts = Max(attempts, unit->members[i]->attempts + 1);
	if (attempts > concord_send_limit(options->retry_limit, server->retry_limit))
	{
		unit_dead(courier, unit, which, blamed,
				  x->rule ? x->rule : "retry_limit", x->error);
		return;
	}
	delay = concord_backoff_ms(attempts,
							   concord_send_limit(options->retry_base_ms, server->retry_base_ms),
							   concord_send_limit(options->retry_cap_ms, server->retry_cap_ms));
	delay = Max(delay, x->retry_after_ms);
	if (x->error != NULL)
		concord_lane_error(courier, d->lane, x->error);
	for (int i = 0; i < unit->n; i++)
	{
		unit->members[i]->attempts = attempts;
		if (!unit->parked)
			continue;
		unit->members[i]->next_try = courier->now + (int64) delay * 1000;
		concord_delivery_end(courier, unit->members[i], CONCORD_END_RETRY);
	}
	if (unit->parked)
		unit_leave(courier, unit);
	else
	{
		unit->system->unit_hold = courier->now + (int64) delay * 1000;
		unit_back(courier, unit);
	}
}

/* unit_fails ends an attempt whose outcome is that of member which. */
static void
unit_fails(ConcordCourier *courier, ConcordUnit *unit, int which, bool blamed)
{
	ConcordDelivery *d = unit->members[which];
	ConcordExchange *x = d->exchange;
	bool		counts = concord_send_tell_breaker(courier, d);
	int			limit = d->access->server->outage_limit_ms;

	if (x->outcome == CONCORD_OUTCOME_UNKNOWN || x->status >= 500)
	{
		for (int i = 0; i < unit->n; i++)
			unit->members[i]->was_unknown = true;
	}
	if (x->outcome == CONCORD_OUTCOME_DEAD || x->outcome == CONCORD_OUTCOME_NONE)
		unit_dead(courier, unit, which, blamed, NULL, x->error);
	else if (counts && x->outcome != CONCORD_OUTCOME_THROTTLE &&
			 x->outcome != CONCORD_OUTCOME_DOWN)
		unit_again(courier, unit, which, blamed);
	else if (limit >= 0 && unit->system->breaker != CONCORD_BREAKER_CLOSED &&
			 concord_breaker_age_ms(unit->system) >= limit)
		unit_dead(courier, unit, which, false, "outage_limit", x->error);
	else
		unit_back(courier, unit);
}

/* unit_done ends one of which all is done. */
static void
unit_done(ConcordCourier *courier, ConcordUnit *unit)
{
	if (unit->n > 0 && unit->members[0]->exchange != NULL)
		(void) concord_send_tell_breaker(courier, unit->members[0]);
	for (int i = 0; i < unit->n; i++)
	{
		ConcordDelivery *d = unit->members[i];

		d->answered_at = courier->now;
		d->status = d->exchange->status;
		d->attempts++;
		if (!concord_link_learned(d))	/* else it may have to be shown */
			concord_delivery_forget_request(d);
		concord_delivery_end(courier, d, CONCORD_END_DONE);
	}
	unit_leave(courier, unit);
}

/* ---------------------------------------------------------------------
 * requests
 * ------------------------------------------------------------------- */

/*
 * unit_make has a member's protocol make its next request, or say that it is
 * done; false where that has ended the unit.
 */
static bool
unit_make(ConcordCourier *courier, ConcordUnit *unit, int i,
		  const ConcordResponse *response)
{
	ConcordDelivery *d = unit->members[i];
	ConcordRequest *next = NULL;
	ErrorData  *error;

	if (response != NULL)
		concord_log_payload(d);
	error = concord_send_ask(courier, d, CONCORD_ASK_ITEM, response, &next);
	if (error != NULL)
	{
		unit_dead(courier, unit, i, true, "request", error->message);
		return false;
	}
	if (next == NULL)
	{
		unit->settled[i] = d->exchange->outcome == CONCORD_OUTCOME_DONE;
		if (!unit->settled[i])
			unit_fails(courier, unit, i, true);
		return unit->settled[i];
	}
	concord_delivery_forget_request(d);
	d->request = next;
	unit->bodies[i].text = NULL;
	return true;
}

/* unit_is_look: the request changes nothing, so it goes before the others. */
static bool
unit_is_look(const ConcordDelivery *d)
{
	const ConcordRequest *request = d->request;
	ConcordVerb verb = d->exchange->verb;

	return verb == CONCORD_VERB_PROBE || verb == CONCORD_VERB_FIND ||
		strcmp(request->method, "GET") == 0 ||
		strcmp(request->method, "HEAD") == 0;
}

/* unit_submit sends a request of the unit's. */
static void
unit_submit(ConcordCourier *courier, ConcordUnit *unit, ConcordRequest *request,
			ConcordDelivery *owner)
{
	/* the first one was counted when its place was taken */
	if (unit->requests++ > 0)
		concord_account_charge(unit->system->account);
	owner->unit = unit;
	request->owner = owner;
	concord_http_submit(courier->http, request);
}

/* unit_look makes a member's look. */
static void
unit_look(ConcordCourier *courier, ConcordUnit *unit, int i)
{
	ConcordDelivery *d = unit->members[i];
	ConcordRequest *same;
	ErrorData  *error = concord_send_ask(courier, d, CONCORD_ASK_COMPLETE, NULL,
										 &same);

	if (error != NULL)
	{
		unit_dead(courier, unit, i, true, "request", error->message);
		return;
	}
	unit->looking = i;
	unit_submit(courier, unit, d->request, d);
}

/* unit_pack makes the change set; NULL: the unit has ended. */
static ConcordRequest *
unit_pack(ConcordCourier *courier, ConcordUnit *unit)
{
	MemoryContext old = MemoryContextSwitchTo(unit->context);
	ConcordRequest *volatile request = NULL;
	ErrorData  *volatile error = NULL;

	if (unit->answered != NULL)
		concord_request_free(unit->answered);
	unit->answered = NULL;
	CurrentResourceOwner = courier->owner;
	PG_TRY();
	{
		request = concord_batch_pack(unit->form, unit->items, unit->nitems,
									 unit->members[unit->places[0]]->access->auth,
									 unit->context);
	}
	PG_CATCH();
	{
		error = concord_error_caught(unit->context);
	}
	PG_END_TRY();
	CurrentResourceOwner = NULL;
	MemoryContextSwitchTo(old);
	if (error != NULL)
		unit_dead(courier, unit, -1, false, NULL, error->message);
	return request;
}

/* unit_choose finds the form that all have in common; false: it has ended. */
static bool
unit_choose(ConcordCourier *courier, ConcordUnit *unit)
{
	Size		bytes = 0;

	unit->nitems = 0;
	unit->form = NULL;
	for (int i = 0; i < unit->n; i++)
	{
		ConcordDelivery *d = unit->members[i];
		ConcordBatchItem *item = &unit->items[unit->nitems];
		const ConcordBatchForm *form;

		if (unit->settled[i])
			continue;
		if (unit->bodies[i].text != NULL)
		{
			d->request->body = unit->bodies[i].text;
			d->request->body_len = unit->bodies[i].len;
		}
		form = concord_batch_unit_form(d->exchange, d->request);
		item->exchange = d->exchange;
		item->request = d->request;
		item->answered = false;
		if (form == NULL || (unit->form != NULL && unit->form != form) ||
			(unit->nitems > 0 &&
			 !concord_batch_together(form, &unit->items[0], item)))
		{
			unit_dead(courier, unit, i, true, "unit",
					  "its request cannot be part of a change set with the others");
			return false;
		}
		unit->form = form;
		unit->places[unit->nitems++] = i;
		bytes += concord_batch_bytes(form, item);
	}
	if (unit->nitems > 0 && (unit->nitems > unit->form->max_count ||
							 bytes > (Size) unit->form->max_bytes))
	{
		unit_dead(courier, unit, -1, false, NULL,
				  psprintf("the transaction has %d changes of %zu bytes for this system, of which it takes %d and %d bytes as a whole",
						   unit->nitems, bytes, unit->form->max_count,
						   unit->form->max_bytes));
		return false;
	}
	return true;
}

/*
 * unit_refer has items say the ids of records that others of them create; false:
 * the unit has ended.
 */
static bool
unit_refer(ConcordCourier *courier, ConcordUnit *unit)
{
	const char *why = "records of the transaction refer to each other in a circle";
	int			blamed = unit->places[0];
	bool		done = concord_unit_refer_order(unit->members, unit->items,
												unit->places, unit->nitems);

	for (int j = 0; j < unit->nitems && done; j++)
	{
		int			i = unit->places[j];
		ConcordRequest *request = unit->members[i]->request;
		StringInfoData buf;

		if (!unit->members[i]->refers || request->body == NULL)
			continue;
		initStringInfo(&buf);
		done = concord_unit_refer_write(unit->form, unit->members, unit->n,
										unit->places, unit->nitems, request, &buf);
		why = "it refers to a record that the same transaction creates where the change set cannot say it";
		blamed = i;
		unit->bodies[i].text = request->body;
		unit->bodies[i].len = request->body_len;
		request->body = memcpy(MemoryContextAlloc(request->context, buf.len + 1),
							   buf.data, buf.len + 1);
		request->body_len = buf.len;
		pfree(buf.data);
	}
	if (!done)
		unit_dead(courier, unit, blamed, true, "reference", why);
	return done;
}

/* unit_step goes on until something is under way, or the unit has ended. */
static void
unit_step(ConcordCourier *courier, ConcordUnit *unit)
{
	for (int i = 0; i < unit->n; i++)
	{
		if (unit->settled[i])
			continue;
		if (unit->members[i]->request == NULL &&
			!unit_make(courier, unit, i, NULL))
			return;
		if (!unit->settled[i] && unit_is_look(unit->members[i]))
		{
			unit_look(courier, unit, i);
			return;
		}
	}
	if (!unit_choose(courier, unit))
		return;
	if (unit->nitems == 0)
	{
		unit_done(courier, unit);
		return;
	}
	if (!unit_refer(courier, unit))
		return;
	unit->request = unit_pack(courier, unit);
	if (unit->request != NULL)
		unit_submit(courier, unit, unit->request,
					unit->members[unit->places[0]]);
}

/* unit_judge gives the attempt the outcome of an answer that blames none. */
static void
unit_judge(ConcordCourier *courier, ConcordUnit *unit,
		   const ConcordResponse *response)
{
	int			which = unit->places[0];
	ConcordDelivery *d = unit->members[which];
	ConcordRequest *same;
	ErrorData  *error;

	/* the member is shown with it, when the unit's request is gone */
	d->request->response = *response;
	if (response->body != NULL)
		d->request->response.body = memcpy(MemoryContextAlloc(d->request->context,
															  response->body_len + 1),
										   response->body, response->body_len + 1);
	error = concord_send_ask(courier, d, CONCORD_ASK_JUDGE, response, &same);
	if (error != NULL)
	{
		unit_dead(courier, unit, which, true, "request", error->message);
		return;
	}
	if (d->exchange->outcome == CONCORD_OUTCOME_DONE)
	{
		d->exchange->outcome = CONCORD_OUTCOME_UNKNOWN;
		d->exchange->rule = "unit";
		d->exchange->error = "the answer to the change set says nothing of its records";
	}
	unit_fails(courier, unit, which, false);
}

/* unit_unpack takes the answer apart; what cannot be read says nothing. */
static ConcordBatchVerdict
unit_unpack(ConcordCourier *courier, ConcordUnit *unit,
			const ConcordResponse *response, int *refused)
{
	MemoryContext old = MemoryContextSwitchTo(unit->context);
	volatile ConcordBatchVerdict verdict = CONCORD_BATCH_WHOLE;

	*refused = -1;
	CurrentResourceOwner = courier->owner;
	PG_TRY();
	{
		verdict = concord_batch_unpack_unit(unit->form, unit->items,
											unit->nitems, response, refused);
	}
	PG_CATCH();
	{
		(void) concord_error_caught(unit->context);
	}
	PG_END_TRY();
	CurrentResourceOwner = NULL;
	MemoryContextSwitchTo(old);
	return verdict;
}

/* unit_answered takes in the answer to the change set. */
static void
unit_answered(ConcordCourier *courier, ConcordUnit *unit)
{
	ConcordResponse *response = &unit->request->response;
	int			refused;
	ConcordBatchVerdict verdict = unit_unpack(courier, unit, response, &refused);
	int			n = unit->nitems;

	unit->answered = unit->request;
	unit->request = NULL;
	if (verdict == CONCORD_BATCH_REFUSED && refused >= 0 &&
		unit->requests <= 2 * unit->n + 8)
	{
		int			i = unit->places[refused];

		if (unit_make(courier, unit, i, &unit->members[i]->request->response))
			unit_step(courier, unit);
		return;
	}
	if (verdict != CONCORD_BATCH_ITEMS)
	{
		if (verdict == CONCORD_BATCH_REFUSED && unit->items[0].answered)
			*response = unit->items[Max(refused, 0)].request->response;
		unit_judge(courier, unit, response);
		return;
	}
	for (int j = 0; j < n; j++)
	{
		int			i = unit->places[j];

		if (!unit_make(courier, unit, i, &unit->members[i]->request->response))
			return;
	}
	unit_step(courier, unit);
}

/* concord_unit_answer takes in an answer to one of a unit's requests. */
void
concord_unit_answer(ConcordCourier *courier, ConcordDelivery *d)
{
	ConcordUnit *unit = d->unit;
	int			looking = unit->looking;
	const ConcordResponse *response = looking >= 0 ? &d->request->response :
		&unit->request->response;

	d->unit = NULL;
	concord_breaker_answer(unit->system, d->access->server->connector, response);
	if (looking < 0)
	{
		unit_answered(courier, unit);
		return;
	}
	unit->looking = -1;
	if (unit_make(courier, unit, looking, response))
		unit_step(courier, unit);
}

/* ---------------------------------------------------------------------
 * the beginning
 * ------------------------------------------------------------------- */

/* unit_flush has on disk what must be before the unit is sent. */
static void
unit_flush(ConcordCourier *courier, ConcordDelivery **ds, int n)
{
	XLogRecPtr	after = InvalidXLogRecPtr;
	bool		reserve = false;

	for (int i = 0; i < n; i++)
	{
		XLogRecPtr	mine = concord_keys_commit_lsn(ds[i]);

		after = Max(after, mine);
		reserve |= ds[i]->in_window && ds[i]->event->seq > ds[i]->lane->sent_limit;
	}
	if (reserve)
		concord_book_reserve(courier);
	if (after > GetFlushRecPtr(NULL))
		XLogFlush(after);
}

/* concord_unit_start sends a unit of n deliveries, which has a place. */
void
concord_unit_start(ConcordCourier *courier, ConcordSystem *system, ConcordDelivery **ds,
				   int n)
{
	ConcordUnit *unit = unit_of(courier, system, n);

	unit_flush(courier, ds, n);
	concord_send_use_place(courier, system);
	unit->n = n;
	unit->lsn = ds[0]->event->lsn;
	unit->parked = ds[0]->parked != NULL;
	system->unit = unit;
	for (int i = 0; i < n; i++)
	{
		unit->members[i] = ds[i];
		concord_list_remove(ds[i]);
		concord_delivery_become(ds[i], CONCORD_DELIVERY_SENT);
		ds[i]->lane->in_flight++;
		if (ds[i]->in_window)
			ds[i]->lane->sent_max = Max(ds[i]->lane->sent_max, ds[i]->event->seq);
		concord_send_begin(courier, ds[i]);
	}
	unit_step(courier, unit);
}
