/*-------------------------------------------------------------------------
 *
 * peer.c
 *	  Servers as a session's roles speak to them.
 *
 * Reading a server's options, its connector and a role's credentials takes
 * longer than a request on a kept connection, so a session remembers them.
 * Messages about changed servers, user mappings, wrappers and roles, and the
 * generation of definitions (connectors are rows of a table) make it forget.
 * What a transaction has changed itself and not committed is read each time,
 * and is good for that transaction only.
 *
 * The right to use the server is looked at each time.
 *
 *-------------------------------------------------------------------------
 */
#include "live/peer.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "base/shmem.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "connector/limits.h"
#include "foreign/foreign.h"
#include "live/failure.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* Accounts that a session keeps a handle of while it uses others. */
#define PEER_ACCOUNTS	8

/* Peers that a session remembers from earlier transactions. */
#define PEER_MOST		64

/* A cache of the session's, the one used last first. */
static dlist_head peer_list = DLIST_STATIC_INIT(peer_list);
static uint64 peer_transaction = 1;
static bool peer_hooked = false;

/* peer_invalidate: anything may have changed that peers were made of. */
static void
peer_invalidate(Datum arg, int cacheid, uint32 hashvalue)
{
	dlist_iter	iter;

	dlist_foreach(iter, &peer_list)
		dlist_container(ConcordPeer, node, iter.cur)->stale = true;
}

/* peer_ended counts transactions. */
static void
peer_ended(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		peer_transaction++;
}

/* peer_hook has the session told of changes. */
static void
peer_hook(void)
{
	if (peer_hooked)
		return;
	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, peer_invalidate, (Datum) 0);
	CacheRegisterSyscacheCallback(FOREIGNDATAWRAPPEROID, peer_invalidate,
								  (Datum) 0);
	CacheRegisterSyscacheCallback(USERMAPPINGOID, peer_invalidate, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, peer_invalidate, (Datum) 0);
	RegisterXactCallback(peer_ended, NULL);
	peer_hooked = true;
}

/* peer_free forgets a peer. */
static void
peer_free(ConcordPeer *peer)
{
	dlist_delete(&peer->node);
	if (peer->account != NULL)
		concord_account_detach(peer->account);
	MemoryContextDelete(peer->context);
}

/* peer_sweep forgets those that nobody can use any more. */
static void
peer_sweep(void)
{
	dlist_mutable_iter iter;
	int			n = 0;

	dlist_foreach_modify(iter, &peer_list)
	{
		ConcordPeer *peer = dlist_container(ConcordPeer, node, iter.cur);

		if ((peer->stale || ++n > PEER_MOST) && peer->pins == 0 &&
			peer->transaction != peer_transaction)
			peer_free(peer);
	}
}

/* peer_generation tells the generation of definitions. */
static uint64
peer_generation(void)
{
	ConcordDatabase *db = concord_shmem_database(MyDatabaseId);

	return db != NULL ? pg_atomic_read_u64(&db->catalog_generation) : 0;
}

/* peer_usage reads what was used of the account's quota, where nobody has. */
static void
peer_usage(ConcordPeer *peer)
{
	ConcordCatalogScope scope;

	if (!concord_account_wants_usage(peer->account))
		return;
	concord_catalog_enter(&scope);
	concord_limits_load_usage(peer->account);
	concord_catalog_leave(&scope);
}

/*
 * peer_spare gives back handles of accounts that were not used for long: they
 * are few, for all sessions.
 */
static void
peer_spare(void)
{
	int			n = 0;
	dlist_iter	iter;

	dlist_foreach(iter, &peer_list)
	{
		ConcordPeer *peer = dlist_container(ConcordPeer, node, iter.cur);

		if (peer->account == NULL || ++n <= PEER_ACCOUNTS || peer->pins > 0)
			continue;
		concord_account_detach(peer->account);
		peer->account = NULL;
	}
}

/* peer_account puts the server's limits into force. */
static void
peer_account(ConcordPeer *peer)
{
	ConcordAccountKey key;

	if (peer->account == NULL)
	{
		concord_limits_key(peer->server, &key);
		peer->account = concord_account_attach(&key);
		concord_account_set_limits(peer->account, &peer->server->limits, true);
		peer_spare();
	}
	peer_usage(peer);
}

/* peer_add_options appends options as they stand in a catalog's row. */
static void
peer_add_options(StringInfo buf, int cache, HeapTuple tuple, AttrNumber column)
{
	bool		isnull = true;
	Datum		options = (Datum) 0;
	struct varlena *bytes;

	if (HeapTupleIsValid(tuple))
		options = SysCacheGetAttr(cache, tuple, column, &isnull);
	if (isnull)
		appendStringInfoChar(buf, '-');
	else
	{
		bytes = PG_DETOAST_DATUM(options);
		appendStringInfoChar(buf, '+');
		appendBinaryStringInfo(buf, VARDATA(bytes), VARSIZE(bytes) - VARHDRSZ);
	}
	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
}

/* peer_digest tells one state of the options from another, for the cache. */
static void
peer_digest(ConcordPeer *peer)
{
	StringInfoData buf;

	initStringInfo(&buf);
	peer_add_options(&buf, FOREIGNSERVEROID,
					 SearchSysCache1(FOREIGNSERVEROID,
									 ObjectIdGetDatum(peer->serverid)),
					 Anum_pg_foreign_server_srvoptions);
	peer_add_options(&buf, USERMAPPINGUSERSERVER,
					 SearchSysCache2(USERMAPPINGUSERSERVER,
									 ObjectIdGetDatum(peer->roleid),
									 ObjectIdGetDatum(peer->serverid)),
					 Anum_pg_user_mapping_umoptions);
	concord_sha256(buf.data, buf.len, peer->digest);
	explicit_bzero(buf.data, buf.len);
	pfree(buf.data);
}

/* peer_load makes a peer. */
static ConcordPeer *
peer_load(Oid serverid, Oid roleid, uint64 generation)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "concord peer",
												  ALLOCSET_SMALL_SIZES);
	ConcordPeer *peer = MemoryContextAllocZero(context, sizeof(ConcordPeer));

	peer->serverid = serverid;
	peer->roleid = roleid;
	peer->context = context;
	peer->generation = generation;
	peer->auth = concord_auth_load(serverid, roleid, context);
	peer->server = concord_server_load(serverid, context);
	peer->stale = concord_catalog_changing();
	peer->single = peer->stale;
	peer_digest(peer);

	/* from here on it is the session's, and freed by peer_sweep */
	MemoryContextSetParent(context, TopMemoryContext);
	peer->transaction = peer_transaction;
	dlist_push_head(&peer_list, &peer->node);
	return peer;
}

/* peer_find looks in the session's memory. */
static ConcordPeer *
peer_find(Oid serverid, Oid roleid, uint64 generation)
{
	dlist_iter	iter;

	if (concord_catalog_changing())
		return NULL;
	dlist_foreach(iter, &peer_list)
	{
		ConcordPeer *peer = dlist_container(ConcordPeer, node, iter.cur);

		if (peer->serverid != serverid || peer->roleid != roleid || peer->stale)
			continue;
		if (peer->generation == generation)
			return peer;
		peer->stale = true;
	}
	return NULL;
}

/* concord_peer_get_any returns a server as a role speaks to it. */
ConcordPeer *
concord_peer_get_any(Oid serverid, Oid roleid)
{
	uint64		generation;
	ConcordPeer *peer;

	peer_hook();
	AcceptInvalidationMessages();
	peer_sweep();
	generation = peer_generation();
	peer = peer_find(serverid, roleid, generation);
	if (peer == NULL)
		return peer_load(serverid, roleid, generation);
	if (concord_server_aclcheck(serverid, roleid) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" has no permission for foreign server %s",
						GetUserNameFromId(roleid, false),
						quote_identifier(peer->server->name)),
				 errhint("Use GRANT USAGE ON FOREIGN SERVER.")));
	peer->transaction = peer_transaction;
	dlist_move_head(&peer_list, &peer->node);
	return peer;
}

/* concord_peer_get also looks at the server's environment. */
ConcordPeer *
concord_peer_get(Oid serverid, Oid roleid)
{
	ConcordPeer *peer = concord_peer_get_any(serverid, roleid);
	const char *why;

	if (!concord_server_contactable(peer->server, &why))
		ereport(ERROR,
				(errcode(CONCORD_ERRCODE_NOT_ALLOWED),
				 errmsg("server \"%s\" may not be contacted", peer->server->name),
				 errdetail("Its option environment is \"%s\", which is not what pg_concord.environment says of this database server.",
						   peer->server->environment)));
	return peer;
}

/* concord_peer_done frees a peer that nobody else can have been given. */
void
concord_peer_done(ConcordPeer *peer)
{
	if (peer->single && peer->pins == 0)
		peer_free(peer);
}

void
concord_peer_pin(ConcordPeer *peer)
{
	peer_account(peer);
	peer->pins++;
}

void
concord_peer_unpin(ConcordPeer *peer)
{
	peer->pins--;
}
