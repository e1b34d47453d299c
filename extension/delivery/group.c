/*-------------------------------------------------------------------------
 *
 * group.c
 *	  Several deliveries of a mapping in one request.
 *
 * A group is formed of what is ready when a place is free: deliveries of
 * different keys, bounded by number, bytes and, where the mapping lingers, the
 * time that the first may wait for others.  Each has its exchange and makes its
 * request as if it were alone; connector/batch.h packs them.  A group takes one
 * place of the system's concurrency.
 *
 * From the answer on, deliveries are alone again: each is given its part, by
 * which its protocol judges, and goes the way of all others.  What needs
 * another request, such as a look whether a record exists, waits in the
 * system's line for a place.  What was not attempted goes back to its queue and
 * has lost nothing.
 *
 * A batch that was refused as a whole is halved, so that one bad event costs
 * two requests a halving and dies alone.  Where nothing of a batch is accepted
 * for long, batches are what the system does not want: then all are sent alone.
 * A batch that failed without saying so (no whole answer, 5xx) may have been
 * done: each delivery is as one whose own request failed in that way, and an
 * attempt that follows is made alone, because one of them may be the reason.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/bookkeeping.h"
#include "connector/batch.h"
#include "delivery/group.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#define GRP_CAP_US		(60 * INT64CONST(1000000))

/* concord_group_configure takes over what a route's mapping and server say. */
void
concord_group_configure(ConcordRoute *route)
{
	const ConcordServer *server = route->access->server;
	const ConcordMapping *mapping = route->lane->definition->mapping;
	const ConcordMappingOptions *options = &mapping->options;
	const ConcordBatchForm *form;

	route->group_limit = concord_batch_limit(server, mapping);
	route->group_alone = false;
	if (options->unit)
		route->group_limit = 0;
	if (route->group_limit == 0)
		return;
	form = linitial(server->connector->batches);
	route->group_alone = form->alone;
	/* each form has a bound of its own beside this one */
	route->group_bytes = options->batch_bytes > 0 ? options->batch_bytes :
		PG_INT32_MAX;
	route->linger_ms = options->linger_ms;
}

/* concord_group_limit says how many deliveries may go together now. */
int
concord_group_limit(const ConcordRoute *route, TimestampTz now)
{
	if (route->group_limit > 1 && now < route->group_cap_until)
		return Max(Min(route->group_limit, route->group_cap), 1);
	return route->group_limit;
}

/*
 * concord_group_lingers says whether a route waits for more; it then notes
 * until when.
 */
bool
concord_group_lingers(ConcordRoute *route, TimestampTz now)
{
	const ConcordDelivery *first;

	route->linger_until = 0;
	if (route->linger_ms == 0 || dlist_is_empty(&route->ready) ||
		route->nready >= concord_group_limit(route, now))
		return false;
	first = dlist_container(ConcordDelivery, list_node, route->ready.head.next);
	/* where the clock was set back, nobody waits for it */
	if (first->parked != NULL || first->taken_at > now ||
		now - first->taken_at >= route->linger_ms * INT64CONST(1000))
		return false;
	route->linger_until = first->taken_at + route->linger_ms * INT64CONST(1000);
	return true;
}

/* concord_group_fits: a delivery may be sent together with others. */
bool
concord_group_fits(const ConcordDelivery *d)
{
	return d->parked == NULL || d->parked->attempts == 0;
}

/* grp_create makes a group with room for n. */
static ConcordGroup *
grp_create(ConcordRoute *route, const ConcordBatchForm *form, int n)
{
	MemoryContext context = AllocSetContextCreate(route->lane->memory, "concord group",
												  ALLOCSET_SMALL_SIZES);
	ConcordGroup *group = MemoryContextAllocZero(context, sizeof(ConcordGroup));

	group->context = context;
	group->route = route;
	group->form = form;
	group->max = n;
	group->members = MemoryContextAlloc(context, sizeof(ConcordDelivery *) * n);
	return group;
}

/* grp_free gives a group back; its members have left it. */
static void
grp_free(ConcordGroup *group)
{
	if (group->split != NULL && --group->split->refs == 0)
		pfree(group->split);
	MemoryContextDelete(group->context);
}

/* grp_item makes an item of a member. */
static ConcordBatchItem
grp_item(const ConcordDelivery *d)
{
	ConcordBatchItem item = {d->exchange, d->request, false};

	return item;
}

/* grp_items makes the items of a group, in context. */
static ConcordBatchItem *
grp_items(const ConcordGroup *group, MemoryContext context)
{
	ConcordBatchItem *items = MemoryContextAlloc(context,
												 sizeof(ConcordBatchItem) *
												 group->n);

	for (int i = 0; i < group->n; i++)
		items[i] = grp_item(group->members[i]);
	return items;
}

/* grp_has_room says whether a delivery can go along in a group. */
static bool
grp_has_room(const ConcordGroup *group, const ConcordBatchForm *form,
			 const ConcordDelivery *d, Size bytes, int limit)
{
	ConcordBatchItem first;
	ConcordBatchItem item = grp_item(d);

	if (group->form != form || group->n >= Min(limit, form->max_count) ||
		group->bytes + bytes > (Size) Min(group->route->group_bytes, form->max_bytes))
		return false;
	first = grp_item(group->members[0]);
	return concord_batch_together(form, &first, &item);
}

/* grp_add puts a delivery into the first of groups that has room. */
static List *
grp_add(List *groups, const ConcordBatchForm *form, ConcordDelivery *d,
		int limit)
{
	ConcordBatchItem item = grp_item(d);
	Size		bytes = concord_batch_bytes(form, &item);
	ConcordGroup *group = NULL;
	ListCell   *lc;

	foreach(lc, groups)
	{
		if (grp_has_room(lfirst(lc), form, d, bytes, limit))
		{
			group = lfirst(lc);
			break;
		}
	}
	if (group == NULL)
	{
		group = grp_create(d->route, form, Max(limit, 1));
		groups = lappend(groups, group);
	}
	group->members[group->n++] = d;
	group->bytes += bytes;
	return groups;
}

/*
 * concord_group_start sends n deliveries of a route, which have one place in the
 * system's concurrency.  What does not fit into one request waits in line.
 */
void
concord_group_start(ConcordCourier *courier, ConcordDelivery **ds, int n)
{
	ConcordRoute *route = ds[0]->route;
	ConcordSystem *system = route->system;
	int			limit = concord_group_limit(route, courier->now);
	ConcordBatch *memory = concord_batch_create_small(route->lane->memory);
	List	   *groups = NIL;
	ListCell   *lc;

	for (int i = 0; i < n; i++)
	{
		ConcordDelivery *d = ds[i];
		const ConcordBatchForm *form;

		if (d->context == NULL)
			concord_delivery_share(d, memory);
		if (!concord_send_prepare(courier, d))
			continue;
		form = concord_batch_form_of(d->exchange, d->request);
		if (form == NULL)
			concord_send_alone(courier, d);
		else
			groups = grp_add(groups, form, d, limit);
	}
	concord_batch_release(memory);
	foreach(lc, groups)
	{
		ConcordGroup *group = lfirst(lc);

		if (group->n > 1 || group->form->alone)
			dlist_push_tail(&system->waiting_groups, &group->node);
		else
		{
			concord_send_alone(courier, group->members[0]);
			grp_free(group);
		}
	}
	concord_send_line(courier, system, true);
}

/* grp_pack makes the group's request; NULL with *error set where it cannot. */
static ConcordRequest *
grp_pack(ConcordCourier *courier, ConcordGroup *group, ErrorData **error)
{
	MemoryContext old = MemoryContextSwitchTo(group->context);
	ConcordRequest *volatile request = NULL;

	*error = NULL;
	CurrentResourceOwner = courier->owner;
	PG_TRY();
	{
		request = concord_batch_pack(group->form,
									 grp_items(group, group->context), group->n,
									 group->members[0]->access->auth,
									 group->context);
	}
	PG_CATCH();
	{
		*error = concord_error_caught(group->members[0]->context);
	}
	PG_END_TRY();
	CurrentResourceOwner = NULL;
	MemoryContextSwitchTo(old);
	return request;
}

/* concord_group_submit sends a group, which has a place. */
void
concord_group_submit(ConcordCourier *courier, ConcordGroup *group)
{
	ErrorData  *error;

	group->request = grp_pack(courier, group, &error);
	if (group->request == NULL)
	{
		concord_send_give_place(courier, group->route->system);
		for (int i = 0; i < group->n; i++)
			concord_send_failed(courier, group->members[i], error);
		grp_free(group);
		return;
	}
	for (int i = 0; i < group->n; i++)
		group->members[i]->group = group;
	group->request->owner = group->members[0];
	concord_http_submit(courier->http, group->request);
}

/* concord_group_return puts all back that waited in line. */
void
concord_group_return(ConcordGroup *group)
{
	for (int i = 0; i < group->n; i++)
		concord_send_return(group->members[i]);
	grp_free(group);
}

/* ---------------------------------------------------------------------
 * answers
 * ------------------------------------------------------------------- */

/* grp_unpack takes the answer apart; what cannot be read speaks of the whole. */
static ConcordBatchVerdict
grp_unpack(ConcordCourier *courier, ConcordGroup *group,
		   ConcordBatchItem *items)
{
	MemoryContext old = MemoryContextSwitchTo(group->context);
	volatile ConcordBatchVerdict verdict = CONCORD_BATCH_WHOLE;

	CurrentResourceOwner = courier->owner;
	PG_TRY();
	{
		verdict = concord_batch_unpack(group->form, items, group->n,
									   &group->request->response);
	}
	PG_CATCH();
	{
		(void) concord_error_caught(group->context);
	}
	PG_END_TRY();
	CurrentResourceOwner = NULL;
	MemoryContextSwitchTo(old);
	return verdict;
}

/* grp_each gives each member its own answer. */
static void
grp_each(ConcordCourier *courier, ConcordGroup *group, ConcordBatchItem *items)
{
	if (group->split != NULL)
		group->split->accepted = true;
	for (int i = 0; i < group->n; i++)
	{
		ConcordDelivery *d = group->members[i];

		if (items[i].answered)
			concord_send_step(courier, d, &d->request->response);
		else
			concord_send_return(d);
	}
}

/* grp_cap bounds the batches of a route for a while. */
static void
grp_cap(ConcordCourier *courier, ConcordRoute *route, int size)
{
	route->group_cap = Max(size, 1);
	route->group_cap_until = courier->now + GRP_CAP_US;
}

/* grp_split notes a refusal; false where halving has been tried enough. */
static bool
grp_split(ConcordCourier *courier, ConcordGroup *group)
{
	ConcordSplit *split = group->split;
	int			patience = 2;

	if (split == NULL)
	{
		split = MemoryContextAllocZero(group->route->lane->memory, sizeof(ConcordSplit));
		split->refs = 1;
		split->size = group->n;
		group->split = split;
	}
	split->refused++;
	for (int n = split->size; n > 1; n /= 2)
		patience += 2;
	if (split->accepted)
		patience += split->size / 4;
	if (split->refused <= patience)
		return true;
	if (!split->accepted)
		grp_cap(courier, group->route, 1);
	return false;
}

/* grp_part makes a group of some members of one. */
static void
grp_part(ConcordGroup *group, int from, int n)
{
	ConcordGroup *part = grp_create(group->route, group->form, n);

	memcpy(part->members, group->members + from, sizeof(ConcordDelivery *) * n);
	part->n = n;
	part->split = group->split;
	if (part->split != NULL)
		part->split->refs++;
	dlist_push_tail(&group->route->system->waiting_groups, &part->node);
}

/* grp_halve sends what was refused as a whole in two parts, or one by one. */
static void
grp_halve(ConcordCourier *courier, ConcordGroup *group, int status)
{
	int			half = grp_split(courier, group) ? (group->n + 1) / 2 : 1;

	if (status == 413)
		grp_cap(courier, group->route, half);
	for (int from = 0; from < group->n; from += half)
	{
		int			n = Min(half, group->n - from);

		if (n > 1 || group->form->alone)
			grp_part(group, from, n);
		else
			concord_send_alone(courier, group->members[from]);
	}
}

/*
 * grp_whole gives all members one outcome, that of the whole request, and the
 * breaker one failure.
 */
static void
grp_whole(ConcordCourier *courier, ConcordGroup *group)
{
	const ConcordResponse *response = &group->request->response;
	bool		counts = false;
	bool		told = false;

	for (int i = 0; i < group->n; i++)
	{
		ConcordDelivery *d = group->members[i];

		/* an error while it was asked whether to halve has ended it */
		if (d->state == CONCORD_DELIVERY_ENDED)
			continue;
		/* for what a person will be shown; its memory is the group's */
		d->request->response = *response;
		if (!concord_send_judge(courier, d, response))
			continue;
		if (d->exchange->outcome == CONCORD_OUTCOME_DONE)
		{
			d->exchange->outcome = CONCORD_OUTCOME_UNKNOWN;
			d->exchange->rule = "batch";
			d->exchange->error = "the answer to the batch says nothing of its records";
		}
		if (!told)
			counts = concord_send_tell_breaker(courier, d);
		told = true;
		concord_send_outcome(courier, d, counts);
		if (d->request != NULL)
			memset(&d->request->response, 0, sizeof(ConcordResponse));
	}
}

/*
 * grp_is_halved: the refusal is about what the batch held, or its size.  The
 * first exchange is asked, as one that has this answer; it is asked anew when
 * there is another one.
 */
static bool
grp_is_halved(ConcordCourier *courier, ConcordGroup *group,
			  ConcordBatchVerdict verdict)
{
	ConcordDelivery *first = group->members[0];
	const ConcordResponse *response = &group->request->response;

	if (group->n == 1 || response->transfer != CONCORD_TRANSFER_OK ||
		response->status >= 500 ||
		!concord_send_judge(courier, first, response))
		return false;
	switch (first->exchange->outcome)
	{
		case CONCORD_OUTCOME_DEAD:
		case CONCORD_OUTCOME_CONFLICT:
			return true;
		case CONCORD_OUTCOME_RETRY:
			return verdict == CONCORD_BATCH_REFUSED;
		default:
			return false;
	}
}

/* concord_group_answer takes in what became of a group's request. */
void
concord_group_answer(ConcordCourier *courier, ConcordGroup *group)
{
	ConcordBatchItem *items = grp_items(group, group->context);
	ConcordBatchVerdict verdict;

	for (int i = 0; i < group->n; i++)
		group->members[i]->group = NULL;
	concord_breaker_answer(group->route->system,
						   group->members[0]->access->server->connector,
						   &group->request->response);
	verdict = grp_unpack(courier, group, items);
	concord_breaker_batch(group->route->system, true);
	if (verdict == CONCORD_BATCH_ITEMS)
		grp_each(courier, group, items);
	else if (grp_is_halved(courier, group, verdict))
		grp_halve(courier, group, group->request->response.status);
	else if (group->n == 1 && group->request->response.status >= 400 &&
			 group->request->response.status < 500)
		concord_send_step(courier, group->members[0],
						  &group->request->response);
	else
		grp_whole(courier, group);
	concord_breaker_batch(group->route->system, false);
	/* after its outcomes: a place that ends an outage's probe tells of it */
	concord_send_give_place(courier, group->route->system);
	grp_free(group);
}
