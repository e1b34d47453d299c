/*-------------------------------------------------------------------------
 *
 * route.c
 *	  To which server a delivery goes (mapping option route).
 *
 * A lane has a way to its mapping's own server and, where rows are routed, one
 * to each other server that a row was for.  A server is looked at when it is
 * first met: it exists, the definer may use it and has credentials there, its
 * connector can carry the mapping; and then again once a second.  A row for a
 * server that fails in that is a dead letter, and the mapping goes on.
 *
 * A record is where its link says (concord.link_item.route, by the numbers of
 * concord.route): deletes go there.  Where a row is routed elsewhere than its
 * record is, the record is created there as if it had none, and the commit of
 * that writes the link and, with it, the delivery that removes the old record:
 * an exception of its own ("leave", leave.c).  A crash before that commit
 * repeats the create, which is unknown then; after it, the leave is on disk.
 *
 * A leave holds up nobody, because what follows of its row goes to another
 * server; only where the row comes back it must have ended.  So it has an
 * ordering key of its own, of server and row, and a delivery that creates a
 * record anew waits for its turn under that one, too.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "base/bookkeeping.h"
#include "catalog/pg_type.h"
#include "delivery/leave.h"
#include "delivery/work.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* concord_route_use takes over a definer's access, new or loaded anew. */
void
concord_route_use(ConcordCourier *courier, ConcordRoute *route,
				  ConcordAccess *access)
{
	access->refs++;
	concord_access_release(route->access);
	route->access = access;
	if (route->system == NULL)
	{
		route->system = concord_system_get(courier, access->server);
		dlist_push_tail(&route->system->routes, &route->system_node);
	}
	else
		(void) concord_system_get(courier, access->server);
	if (route->stamp != 0 && route->stamp != access->stamp)
		concord_breaker_hurry(route->system);
	route->stamp = access->stamp;
	concord_group_configure(route);
}

/* concord_routes_close lets a lane that has nothing under way leave its systems. */
void
concord_routes_close(ConcordLane *lane)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &lane->routes)
	{
		ConcordRoute *route = dlist_container(ConcordRoute, node, iter.cur);

		if (route->system != NULL)
			dlist_delete(&route->system_node);
		concord_place_leave(&route->ready_place);
		route->system = NULL;
		concord_access_release(route->access);
		route->access = NULL;
		dlist_init(&route->ready);
		route->nready = 0;
		if (route == &lane->own)
			continue;
		dlist_delete(&route->node);
		pfree(route);
	}
}

/* ---------------------------------------------------------------------
 * servers
 * ------------------------------------------------------------------- */

/* rt_number gives the number of a lane's server, which stands for it in tables. */
static int32
rt_number(const ConcordLane *lane, const ConcordServer *server)
{
	Oid			types[] = {INT4OID, OIDOID, TEXTOID};
	Datum		values[3];
	int32		number;
	bool		isnull;

	values[0] = Int32GetDatum(lane->id);
	values[1] = ObjectIdGetDatum(server->serverid);
	values[2] = CStringGetTextDatum(server->name);
	if (SPI_execute_with_args("INSERT INTO concord.route AS r (mapping, serverid, server)"
							  " VALUES ($1, $2, $3) ON CONFLICT (mapping, serverid)"
							  " DO UPDATE SET server = excluded.server RETURNING r.id",
							  3, types, values, NULL, false, 0) != SPI_OK_INSERT_RETURNING ||
		SPI_processed != 1)
		elog(ERROR, "could not write concord.route");
	number = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
										 SPI_tuptable->tupdesc, 1, &isnull));
	return number;
}

/* rt_carry raises where a server's connector cannot carry a lane's mapping. */
static void
rt_carry(const ConcordLane *lane, const ConcordServer *server)
{
	const ConcordServer *own = lane->own.access->server;

	if (server->connector->protocol != own->connector->protocol)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("its protocol is \"%s\", and that of the mapping's server \"%s\" is \"%s\"",
						server->connector->protocol->name, own->name,
						own->connector->protocol->name)));
	concord_connector_carries(server, lane->definition->mapping);
}

/* rt_admit checks a server and numbers it; what is wrong with it, or NULL. */
static char *
rt_admit(ConcordCourier *courier, const ConcordLane *lane,
		 const ConcordServer *server, int32 *number)
{
	char	   *volatile failure = NULL;

	PG_TRY();
	{
		concord_bookkeeping_begin();
		rt_carry(lane, server);
		*number = rt_number(lane, server);
		concord_bookkeeping_commit(false);
	}
	PG_CATCH();
	{
		failure = concord_bookkeeping_caught(courier->turn)->message;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(courier->turn);
	return failure;
}

/* rt_loaded finds the way to a server among those that a lane has. */
static ConcordRoute *
rt_loaded(ConcordLane *lane, Oid serverid)
{
	dlist_iter	iter;

	dlist_foreach(iter, &lane->routes)
	{
		ConcordRoute *route = dlist_container(ConcordRoute, node, iter.cur);

		if (route->system != NULL && route->system->serverid == serverid)
			return route;
	}
	return NULL;
}

/* rt_refusal says which server a row cannot go to, and why. */
static char *
rt_refusal(ConcordCourier *courier, const char *server, const char *why)
{
	return MemoryContextStrdup(courier->turn,
							   psprintf("the row is routed to server \"%s\": %s",
										server, why));
}

/* rt_load makes a lane's way to a server; NULL with *failure where it cannot. */
static ConcordRoute *
rt_load(ConcordCourier *courier, ConcordLane *lane, Oid serverid,
		const char *name, char **failure)
{
	ConcordRoute *route = rt_loaded(lane, serverid);
	ConcordAccess *access;
	List	   *known = NIL;
	char	   *denial;
	char	   *why;
	int32		number = 0;

	if (route != NULL)
	{
		if (route->failed)
			*failure = rt_refusal(courier, name, route->failure);
		return route->failed ? NULL : route;
	}
	access = concord_access_get(courier, &known, lane->definition->mapping,
								serverid, &denial, &why);
	if (access == NULL)
	{
		*failure = rt_refusal(courier, name, denial ? denial : why);
		return NULL;
	}
	why = rt_admit(courier, lane, access->server, &number);
	if (why != NULL)
		*failure = rt_refusal(courier, name, why);
	else
	{
		route = MemoryContextAllocZero(lane->context, sizeof(ConcordRoute));
		route->lane = lane;
		route->id = number;
		dlist_init(&route->ready);
		dlist_push_tail(&lane->routes, &route->node);
		concord_lane_watch(lane);
		concord_route_use(courier, route, access);
		courier->chores_at = courier->now;	/* may it be contacted */
	}
	concord_access_forget(known);
	return route;
}

/* rt_own makes sure that a lane's own server has a number; false: *failure. */
static bool
rt_own(ConcordCourier *courier, ConcordLane *lane, char **failure)
{
	if (lane->own.id == 0)
		*failure = rt_admit(courier, lane, lane->own.access->server,
							&lane->own.id);
	return lane->own.id != 0;
}

/* rt_named finds the way to the server that an expression has named. */
static ConcordRoute *
rt_named(ConcordCourier *courier, ConcordLane *lane, const char *name,
		 char **failure)
{
	Oid			serverid;
	dlist_iter	iter;

	if (name == NULL)
		return &lane->own;
	dlist_foreach(iter, &lane->routes)
	{
		ConcordRoute *route = dlist_container(ConcordRoute, node, iter.cur);

		if (!route->failed && strcmp(route->access->server->name, name) == 0)
			return route;
	}
	concord_bookkeeping_begin();
	serverid = strlen(name) < NAMEDATALEN ? get_foreign_server_oid(name, true) : InvalidOid;
	concord_bookkeeping_commit(false);
	MemoryContextSwitchTo(courier->turn);
	if (OidIsValid(serverid))
		return rt_load(courier, lane, serverid, name, failure);
	*failure = rt_refusal(courier, name, "it does not exist");
	return NULL;
}

/* rt_numbered finds the way to a server by its number. */
static ConcordRoute *
rt_numbered(ConcordCourier *courier, ConcordLane *lane, int32 number,
			char **failure)
{
	Oid			types[] = {INT4OID, INT4OID};
	Datum		values[] = {Int32GetDatum(number), Int32GetDatum(lane->id)};
	Oid			serverid = InvalidOid;
	char	   *name = NULL;
	bool		exists;
	bool		isnull;
	dlist_iter	iter;

	if (number == 0)
		return &lane->own;
	dlist_foreach(iter, &lane->routes)
	{
		ConcordRoute *route = dlist_container(ConcordRoute, node, iter.cur);

		if (!route->failed && route->id == number)
			return route;
	}
	concord_bookkeeping_begin();
	if (SPI_execute_with_args("SELECT serverid, server FROM concord.route"
							  " WHERE id = $1 AND mapping = $2",
							  2, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.route");
	if (SPI_processed == 1)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];

		serverid = DatumGetObjectId(SPI_getbinval(tuple, SPI_tuptable->tupdesc,
												  1, &isnull));
		name = MemoryContextStrdup(courier->turn,
								   SPI_getvalue(tuple, SPI_tuptable->tupdesc, 2));
	}
	exists = OidIsValid(serverid) &&
		GetForeignServerExtended(serverid, FSV_MISSING_OK) != NULL;
	concord_bookkeeping_commit(false);
	MemoryContextSwitchTo(courier->turn);
	if (exists)
		return rt_load(courier, lane, serverid, name, failure);
	*failure = rt_refusal(courier, name ? name : "?", "it does not exist any more");
	return NULL;
}

/* ---------------------------------------------------------------------
 * once a second, and when something was changed
 * ------------------------------------------------------------------- */

/* rt_dead ends a delivery that has nowhere to go. */
static void
rt_dead(ConcordCourier *courier, ConcordDelivery *d, const char *why)
{
	d->rule = "route";
	d->nowhere = d->route == NULL;
	d->error = MemoryContextStrdup(concord_delivery_memory(d), why);
	concord_delivery_end(courier, d, CONCORD_END_DEAD);
}

/* rt_fail notes that a server cannot be used any more, or (NULL) can again. */
static void
rt_fail(ConcordCourier *courier, ConcordRoute *route, const char *why)
{
	ConcordDelivery *d;

	route->failed = why != NULL;
	if (why == NULL)
		return;
	strlcpy(route->failure, why, sizeof(route->failure));
	route->failure[pg_mbcliplen(route->failure, strlen(route->failure),
								sizeof(route->failure) - 1)] = '\0';
	while ((d = concord_ready_next(route)) != NULL)
		rt_dead(courier, d, rt_refusal(courier, route->access->server->name, why));
}

/*
 * concord_routes_refresh loads credentials and options of a lane's other servers
 * anew, when something may have changed.
 */
void
concord_routes_refresh(ConcordCourier *courier, ConcordLane *lane, List **known)
{
	dlist_iter	iter;

	dlist_foreach(iter, &lane->routes)
	{
		ConcordRoute *route = dlist_container(ConcordRoute, node, iter.cur);
		ConcordAccess *access;
		char	   *denial;
		char	   *failure;

		if (route == &lane->own)
			continue;
		access = concord_access_get(courier, known, lane->definition->mapping,
									route->system->serverid, &denial, &failure);
		if (access != NULL)
			failure = rt_admit(courier, lane, access->server, &route->id);
		if (access != NULL && failure == NULL)
			concord_route_use(courier, route, access);
		rt_fail(courier, route, denial ? denial : failure);
	}
}

/* concord_routes_check looks whether the definer may still go to all of them. */
void
concord_routes_check(ConcordCourier *courier, ConcordLane *lane)
{
	dlist_iter	iter;

	dlist_foreach(iter, &lane->routes)
	{
		ConcordRoute *route = dlist_container(ConcordRoute, node, iter.cur);
		char	   *denial = NULL;
		bool		denied;

		if (route == &lane->own)
			continue;
		concord_bookkeeping_begin();
		MemoryContextSwitchTo(courier->turn);
		denied = concord_access_denied(lane->definition->mapping,
									   route->system->serverid, &denial);
		concord_bookkeeping_commit(false);
		MemoryContextSwitchTo(courier->turn);
		if (denied)
			rt_fail(courier, route, denial);
		else if (route->failed)
			courier->loaded = false;	/* a reload finds out */
	}
}

/* ---------------------------------------------------------------------
 * the choice
 * ------------------------------------------------------------------- */

/* rt_leaves: the record is at one server, and the row is for another. */
static void
rt_leaves(ConcordDelivery *d, int32 at)
{
	d->left_route = at;
	d->left_id = d->link.remote_id;
	d->left_etag = d->link.etag;
	memset(&d->link, 0, sizeof(d->link));
	d->link_has_hash = d->link_covers = false;
	d->link_fields = NULL;
	d->link_nfields = 0;
}

/* rt_leave gives a delivery that removes a record what is known of that. */
static bool
rt_leave(ConcordCourier *courier, ConcordDelivery *d)
{
	char	   *failure = NULL;

	d->outlived = d->link_stored && d->link.exists &&
		d->link_route == d->parked->route;
	d->route = rt_numbered(courier, d->lane, d->parked->route, &failure);
	if (d->route == NULL)
	{
		rt_dead(courier, d, failure);
		return false;
	}
	d->link.exists = true;
	d->link.remote_id = unconstify(char *, d->leave_id);
	d->link.etag = unconstify(char *, d->leave_etag);
	return true;
}

/* concord_route_fits: what a leave removes is not where the row is now. */
bool
concord_route_fits(const ConcordDelivery *d)
{
	return !d->outlived;
}

/*
 * rt_wanted finds where a delivery is to go.  at is where its record is, or
 * NULL where it has none.
 */
static ConcordRoute *
rt_wanted(ConcordCourier *courier, ConcordDelivery *d, bool linked,
		  char **failure)
{
	const ConcordMapped *m = d->mapped;

	if (linked && (m->action == CONCORD_ACTION_DELETE || m->deleting))
		return rt_numbered(courier, d->lane, d->link_route, failure);
	if (!d->lane->routed || m->route_unknown)
		return &d->lane->own;
	return rt_named(courier, d->lane, m->route, failure);
}

/*
 * concord_route_choose decides where a delivery goes whose link is known.  False
 * where it has ended, or has to wait for its turn once more.  May open and end
 * transactions of its own.
 */
bool
concord_route_choose(ConcordCourier *courier, ConcordDelivery *d)
{
	ConcordLane *lane = d->lane;
	bool		leaving = d->parked != NULL && d->parked->leaving;
	bool		linked = d->link_stored && d->link.exists;
	char	   *failure = NULL;
	ConcordRoute *route = NULL;

	if (!leaving && !lane->routed && d->link_route == 0)
	{
		d->route = &lane->own;
		return true;
	}
	if (!rt_own(courier, lane, &failure))
	{
		rt_dead(courier, d, failure);
		return false;
	}
	if (leaving)
		return rt_leave(courier, d);
	if (d->link_route == 0)
		d->link_route = lane->own.id;
	route = rt_wanted(courier, d, linked, &failure);
	if (route == NULL)
	{
		rt_dead(courier, d, failure);
		return false;
	}
	d->route = route;
	if (linked && d->link_route != route->id)
		rt_leaves(d, d->link_route);
	/* a record that was there before may still be on its way out */
	if (d->link_stored && !d->link.exists && d->mapped->local_key != NULL)
		concord_keys_await(d, concord_leave_key(route->id, d->mapped->local_key));
	else if (d->awaits_leave)
		concord_keys_await(d, NULL);
	return true;
}
