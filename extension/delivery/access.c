/*-------------------------------------------------------------------------
 *
 * access.c
 *	  Systems, and who may go there as whom.
 *
 * A mapping acts as its definer: with that role's user mapping, as long as the
 * role has USAGE on the server and owns (or is a member of the owner of) the
 * source.  Rights are looked at when a lane is loaded and whenever something
 * changes that they depend on (chores.c); a lane without them rests as "denied"
 * and goes on by itself once they are given again.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "auth/auth.h"
#include "base/bookkeeping.h"
#include "base/settings.h"
#include "catalog/pg_foreign_server.h"
#include "delivery/delivery.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

/* One (server, definer) of a reload. */
typedef struct AccessKnown
{
	Oid			serverid;
	Oid			definer;
	ConcordAccess *access;
} AccessKnown;

/* concord_access_release drops a reference and, with the last, the memory. */
void
concord_access_release(ConcordAccess *access)
{
	if (access != NULL && --access->refs == 0)
		MemoryContextDelete(access->context);
}

/*
 * concord_access_denied says whether a definer lacks a right to carry rows to a
 * server, and which.
 * Needs a transaction.
 */
bool
concord_access_denied(const ConcordMapping *mapping, Oid serverid,
					  char **denial)
{
	Oid			definer = mapping->definer;
	Oid			source = mapping->source;
	char	   *role = GetUserNameFromId(definer, true);
	ForeignServer *server;
	ListCell   *lc;

	if (role == NULL)
	{
		*denial = psprintf("role \"%s\" does not exist",
						   mapping->definer_name);
		return true;
	}
	server = GetForeignServerExtended(serverid, FSV_MISSING_OK);
	if (server != NULL &&
		concord_server_aclcheck(serverid, definer) != ACLCHECK_OK)
	{
		*denial = psprintf("role \"%s\" has no USAGE on server \"%s\"", role,
						   server->servername);
		return true;
	}
	if (OidIsValid(source) && get_rel_name(source) != NULL &&
		!concord_table_owner(source, definer))
	{
		*denial = psprintf("role \"%s\" does not own table \"%s\"", role,
						   get_rel_name(source));
		return true;
	}
	foreach(lc, mapping->options.depends)
	{
		Oid			relid = ((const ConcordDepend *) lfirst(lc))->relid;

		if (get_rel_name(relid) == NULL || concord_table_owner(relid, definer))
			continue;
		*denial = psprintf("role \"%s\" does not own table \"%s\"", role,
						   get_rel_name(relid));
		return true;
	}
	return false;
}

/* acc_stamp tells one state of a server and a user mapping from the next. */
static uint64
acc_stamp(Oid serverid, Oid definer)
{
	uint64		stamp = 0;
	HeapTuple	tuple;

	tuple = SearchSysCache1(FOREIGNSERVEROID, ObjectIdGetDatum(serverid));
	if (HeapTupleIsValid(tuple))
	{
		stamp = (uint64) HeapTupleHeaderGetRawXmin(tuple->t_data) << 32;
		ReleaseSysCache(tuple);
	}
	tuple = SearchSysCache2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(definer),
							ObjectIdGetDatum(serverid));
	if (HeapTupleIsValid(tuple))
	{
		stamp |= HeapTupleHeaderGetRawXmin(tuple->t_data);
		ReleaseSysCache(tuple);
	}
	return stamp;
}

/* acc_load reads server and credentials; raises what is wrong with them. */
static void
acc_load(ConcordAccess *access, Oid serverid, Oid definer)
{
	access->server = concord_server_load(serverid, access->context);
	access->auth = concord_auth_load(serverid, definer, access->context);
	access->stamp = acc_stamp(serverid, definer);
}

/*
 * concord_access_get finds or loads the access of a definer to a server, in a
 * transaction of its own.  NULL where it cannot: *denial says which right is
 * missing, *failure what else is wrong.  known is the list of one reload.
 */
ConcordAccess *
concord_access_get(ConcordCourier *courier, List **known,
				   const ConcordMapping *mapping, Oid serverid,
				   char **denial, char **failure)
{
	Oid			definer = mapping->definer;
	ConcordAccess *volatile access = NULL;
	MemoryContext context;
	AccessKnown *entry;
	ListCell   *lc;
	bool		denied;

	*denial = *failure = NULL;
	concord_bookkeeping_begin();
	MemoryContextSwitchTo(courier->turn);
	denied = concord_access_denied(mapping, serverid, denial);
	concord_bookkeeping_commit(false);
	if (denied)
		return NULL;
	foreach(lc, *known)
	{
		entry = lfirst(lc);
		if (entry->serverid == serverid && entry->definer == definer)
			return entry->access;
	}

	context = AllocSetContextCreate(courier->context, "concord access",
									ALLOCSET_SMALL_SIZES);
	access = MemoryContextAllocZero(context, sizeof(ConcordAccess));
	access->context = context;
	PG_TRY();
	{
		concord_bookkeeping_begin();
		acc_load(access, serverid, definer);
		concord_bookkeeping_commit(false);
	}
	PG_CATCH();
	{
		ErrorData  *error = concord_bookkeeping_caught(courier->turn);

		if (error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE)
			*denial = error->message;
		else
			*failure = error->message;
		MemoryContextDelete(context);
		access = NULL;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(courier->turn);

	if (access == NULL)
		return NULL;
	access->refs = 1;			/* the list's, dropped after the reload */
	entry = palloc(sizeof(AccessKnown));
	entry->serverid = serverid;
	entry->definer = definer;
	entry->access = access;
	*known = lappend(*known, entry);
	return access;
}

/*
 * concord_access_review looks at the rights that a role's attributes give:
 * ALTER ROLE tells nobody.  Runs in a transaction.
 */
void
concord_access_review(ConcordCourier *courier)
{
	dlist_iter	iter;

	dlist_foreach(iter, &courier->systems)
	{
		ConcordSystem *system = dlist_container(ConcordSystem, node, iter.cur);
		dlist_iter	inner;

		dlist_foreach(inner, &system->routes)
		{
			ConcordAccess *access = dlist_container(ConcordRoute, system_node,
													inner.cur)->access;

			concord_server_review(access->server);
			concord_auth_review(access->auth);
		}
	}
}

/* concord_access_forget drops the references that a reload's list holds. */
void
concord_access_forget(List *known)
{
	ListCell   *lc;

	foreach(lc, known)
		concord_access_release(((AccessKnown *) lfirst(lc))->access);
}
