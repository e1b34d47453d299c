/*-------------------------------------------------------------------------
 *
 * held.c
 *	  A lane that goes to several servers, one of which takes nothing now.
 *
 * The cursor of a lane that goes to one server stands while that is down, and
 * nothing moves.  Where there are several, those that work must go on: what is
 * ready for one that is down, or paused, or out of budget, moves to the
 * exceptions when it is too much, or too old, as what stands behind a held key
 * does (exception.c).  From there it is tried when its server is to be tried; a
 * server that is down is probed with one.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "delivery/delivery.h"
#include "delivery/work.h"
#include "utils/timestamp.h"

#define HELD_SOON_US		INT64CONST(1000000)
#define HELD_BLOCKED_US		INT64CONST(5000000)
#define HELD_PROBE_US		INT64CONST(500000)
#define HELD_READY			32	/* of a server, before more are read again */

/* concord_lane_single: all that a lane delivers goes to the mapping's server. */
bool
concord_lane_single(const ConcordLane *lane)
{
	return !lane->routed && lane->routes.head.next == &lane->own.node &&
		lane->own.node.next == &lane->routes.head;
}

/*
 * held_until says that a server takes nothing before a time that is not near,
 * or (where that is not known) that it does not; 0: it does.
 */
static TimestampTz
held_until(const ConcordCourier *courier, const ConcordRoute *route)
{
	const ConcordSystem *system = route->system;
	TimestampTz next;

	if (system->held != NULL)
		return courier->now + HELD_SOON_US;
	next = concord_breaker_next(system, courier->now);
	if (system->breaker != CONCORD_BREAKER_CLOSED)
		return Max(next, courier->now + HELD_SOON_US);
	next = Max(next, concord_breaker_asked(system, courier->now));
	return next > courier->now + HELD_SOON_US ? next : 0;
}

/* held_lane moves what a lane has ready for servers that take nothing. */
static void
held_lane(ConcordCourier *courier, ConcordLane *lane)
{
	TimestampTz oldest = courier->now;
	int			n = 0;
	dlist_iter	iter;
	ConcordDelivery *d;

	dlist_foreach(iter, &lane->routes)
	{
		ConcordRoute *route = dlist_container(ConcordRoute, node, iter.cur);

		if (route->nready == 0 || held_until(courier, route) == 0)
			continue;
		d = dlist_container(ConcordDelivery, list_node, route->ready.head.next);
		oldest = Min(oldest, d->taken_at);
		n += route->nready;
	}
	if (n == 0 || (n < CONCORD_BLOCKED_EVENTS &&
				   courier->now - oldest < CONCORD_BLOCKED_MS * INT64CONST(1000)))
		return;
	dlist_foreach(iter, &lane->routes)
	{
		ConcordRoute *route = dlist_container(ConcordRoute, node, iter.cur);

		if (route->nready == 0 || held_until(courier, route) == 0)
			continue;
		while ((d = concord_ready_next(route)) != NULL)
			concord_delivery_end(courier, d, CONCORD_END_BLOCKED);
	}
}

/* concord_routes_move_held does that for all lanes that have several servers. */
void
concord_routes_move_held(ConcordCourier *courier)
{
	dlist_iter	iter;

	dlist_foreach(iter, &courier->watched)
	{
		ConcordLane *lane = dlist_container(ConcordLane, watched.node, iter.cur);

		if (lane->state == CONCORD_LANE_OPEN && lane->nready > 0 &&
			!concord_lane_single(lane))
			held_lane(courier, lane);
	}
}

/*
 * concord_routes_put_back ends exceptions in memory that cannot go now: few are
 * in memory at a time, and others' turn would not come.
 */
void
concord_routes_put_back(ConcordCourier *courier, ConcordLane *lane)
{
	dlist_iter	iter;

	dlist_foreach(iter, &lane->parked)
	{
		ConcordParked *p = dlist_container(ConcordParked, node, iter.cur);
		ConcordDelivery *d = p->active;

		if (d == NULL || d->state != CONCORD_DELIVERY_QUEUED)
			continue;
		if (concord_keys_blocked(d))
			d->next_try = courier->now + HELD_BLOCKED_US;
		else if (d->listed && d->link_known && d->route->system->breaker == CONCORD_BREAKER_OPEN)
			d->next_try = concord_breaker_next(d->route->system, courier->now);
		else if (d->listed && d->link_known && d->route->system->held != NULL)
			d->next_try = courier->now + HELD_SOON_US;
		else
			continue;
		if (d->next_try != 0)
			concord_delivery_end(courier, d, CONCORD_END_BLOCKED);
	}
}

/*
 * concord_route_postpones says when an exception, whose time has come, is to be
 * looked at again because its server takes nothing now; 0: it may go.
 */
TimestampTz
concord_route_postpones(ConcordCourier *courier, const ConcordParked *p)
{
	ConcordRoute *route = NULL;
	TimestampTz next;
	dlist_iter	iter;

	if (p->route == 0 || concord_lane_single(p->lane))
		return 0;
	dlist_foreach(iter, &p->lane->routes)
	{
		route = dlist_container(ConcordRoute, node, iter.cur);
		if (route->id == p->route)
			break;
		route = NULL;
	}
	if (route == NULL || route->failed)
		return 0;
	next = concord_breaker_next(route->system, courier->now);
	if (route->system->held != NULL || route->nready >= HELD_READY)
		return courier->now + HELD_SOON_US;
	if (route->system->breaker == CONCORD_BREAKER_CLOSED)
		return held_until(courier, route);
	if (next > courier->now)
		return next;
	if (route->nready > 0 || route->system->in_flight > 0 ||
		(route->probed_at <= courier->now &&
		 courier->now - route->probed_at < HELD_PROBE_US))
		return courier->now + HELD_SOON_US;
	route->probed_at = courier->now;
	return 0;
}
