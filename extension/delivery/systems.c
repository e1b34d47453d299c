/*-------------------------------------------------------------------------
 *
 * systems.c
 *	  The systems of a courier: their accounts, whether they may be contacted.
 *
 * A system has a handle of its account as long as a lane goes there.  Where an
 * option names another account, what is under way ends at the old one first.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/settings.h"
#include "connector/limits.h"
#include "delivery/delivery.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/memutils.h"

/* sys_attach gives a system the account that its options name. */
static void
sys_attach(ConcordSystem *system, const ConcordServer *server)
{
	ConcordAccountKey key;

	concord_limits_key(server, &key);
	system->moving = false;
	if (system->account != NULL && !concord_account_is(system->account, &key))
	{
		system->moving = system->in_flight > 0;
		if (system->moving)
			return;
		concord_account_detach(system->account);
		system->account = NULL;
	}
	if (system->account == NULL)
	{
		system->account = concord_account_attach(&key);
		system->version = concord_account_version(system->account) - 1;
		system->ask_at = 0;
	}
	system->limits = server->limits;
	concord_account_set_limits(system->account, &server->limits, false);
	concord_breaker_look(system);
}

/* concord_system_get finds or makes a system and takes over its options. */
ConcordSystem *
concord_system_get(ConcordCourier *courier, const ConcordServer *server)
{
	ConcordSystem *system = NULL;
	dlist_iter	iter;

	dlist_foreach(iter, &courier->systems)
	{
		system = dlist_container(ConcordSystem, node, iter.cur);
		if (system->serverid == server->serverid)
			break;
		system = NULL;
	}
	if (system == NULL)
	{
		system = MemoryContextAllocZero(courier->context, sizeof(ConcordSystem));
		system->serverid = server->serverid;
		system->dirty = true;
		dlist_init(&system->routes);
		dlist_init(&system->ready);
		dlist_init(&system->waiting);
		dlist_init(&system->waiting_groups);
		dlist_push_tail(&courier->systems, &system->node);
	}
	sys_attach(system, server);
	return system;
}

/* sys_held says why a system must not be contacted now; NULL: it may. */
static const char *
sys_held(ConcordSystem *system, const Oid *paused, int npaused)
{
	const ConcordRoute *route;
	const char *why;

	if (!concord_delivery)
		return "pg_concord.delivery is off";
	for (int i = 0; i < npaused; i++)
		if (paused[i] == system->serverid)
			return "paused";
	if (dlist_is_empty(&system->routes))
		return NULL;
	route = dlist_container(ConcordRoute, system_node,
							system->routes.head.next);
	if (!concord_server_contactable(route->access->server, &why))
		return "the server's option environment is not pg_concord.environment";
	return NULL;
}

/* sys_paused reads which servers are paused. */
static Oid *
sys_paused(int *n)
{
	Oid		   *paused;

	if (SPI_execute("SELECT serverid FROM concord.system_pause", true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.system_pause");
	*n = (int) SPI_processed;
	paused = palloc(sizeof(Oid) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		bool		isnull;

		paused[i] = DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[i],
												   SPI_tuptable->tupdesc, 1,
												   &isnull));
	}
	return paused;
}

/* sys_account lets go of an account that no lane needs, or reads its usage. */
static void
sys_account(ConcordSystem *system)
{
	if (system->account == NULL)
		return;
	if (dlist_is_empty(&system->routes) && system->in_flight == 0)
	{
		concord_account_detach(system->account);
		system->account = NULL;
		system->moving = false;
	}
	else
		concord_limits_load_usage(system->account);
}

/*
 * concord_systems_check looks which systems may be contacted at all.  Runs in
 * a bookkeeping transaction.
 */
void
concord_systems_check(ConcordCourier *courier)
{
	dlist_iter	iter;
	int			npaused;
	Oid		   *paused = sys_paused(&npaused);

	dlist_foreach(iter, &courier->systems)
	{
		ConcordSystem *system = dlist_container(ConcordSystem, node, iter.cur);
		const char *held = sys_held(system, paused, npaused);

		if ((held == NULL) != (system->held == NULL) ||
			(held != NULL && strcmp(held, system->held) != 0))
			system->dirty = true;
		if (held == NULL && system->held != NULL)
			concord_breaker_hurry(system);
		system->held = held;
		sys_account(system);
		concord_breaker_look(system);
	}
}

/*
 * concord_systems_turn puts systems that were sent something behind the
 * others: those of one account take turns at what it may send.
 */
void
concord_systems_turn(ConcordCourier *courier)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &courier->systems)
	{
		ConcordSystem *system = dlist_container(ConcordSystem, node, iter.cur);

		if (!system->served)
			continue;
		system->served = false;
		dlist_delete(&system->node);
		dlist_push_tail(&courier->systems, &system->node);
	}
}
