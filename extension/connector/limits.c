/*-------------------------------------------------------------------------
 *
 * limits.c
 *	  A server's options that limit what is sent to it, as its account's.
 *
 * Servers of one account should have the same values.  Where they have not, the
 * smallest of each holds (of interactive_share the largest, which leaves
 * couriers the least): whoever sets a limit gets it.  ALTER SERVER and
 * concord.system say so.
 *
 * An account is one of an owner: USAGE on the wrapper lets anybody make a server
 * that names any account, and would else let him use up another's rate and
 * quota, open its breaker, or lower its limits.  Superusers are one owner.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/limits.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "catalog/limit_options.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/server_options.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* Options that belong to the account, in the order of messages. */
static const char *const lmt_options[] = {
	"concurrency", "rate", "quota", "interactive_share", "breaker_failures",
	"breaker_cooldown",
};

/* lmt_parse reads the options of one server. */
static void
lmt_parse(List *options, ConcordLimits *limits)
{
	const char *value;

	memset(limits, 0, sizeof(ConcordLimits));
	limits->concurrency = concord_option_integer(options, "concurrency", 4);
	limits->breaker_failures =
		concord_option_integer(options, "breaker_failures", 5);
	limits->breaker_cooldown_ms =
		concord_option_duration(options, "breaker_cooldown", 5000);
	if ((value = concord_option_get(options, "rate")) != NULL &&
		!concord_limit_option_rate(value, &limits->rate, &limits->rate_ms))
		limits->rate = 0;
	if ((value = concord_option_get(options, "quota")) != NULL &&
		!concord_limit_option_quota(value, &limits->quota, &limits->quota_ms))
		limits->quota = 0;
	if ((value = concord_option_get(options, "interactive_share")) != NULL &&
		!concord_limit_option_share(value, &limits->share))
		limits->share = 0;
}

/* lmt_less compares two numbers per time; 0 is no limit. */
static bool
lmt_less(int64 a, int64 a_ms, int64 b, int64 b_ms)
{
	if (a == 0 || b == 0)
		return a != 0;
	return (double) a / a_ms < (double) b / b_ms;
}

/* lmt_merge keeps the smaller of each. */
static void
lmt_merge(ConcordLimits *to, const ConcordLimits *from)
{
	to->concurrency = Min(to->concurrency, from->concurrency);
	to->breaker_failures = Min(to->breaker_failures, from->breaker_failures);
	to->breaker_cooldown_ms = Min(to->breaker_cooldown_ms,
								  from->breaker_cooldown_ms);
	to->share = Max(to->share, from->share);
	if (lmt_less(from->rate, from->rate_ms, to->rate, to->rate_ms))
	{
		to->rate = from->rate;
		to->rate_ms = from->rate_ms;
	}
	if (lmt_less(from->quota, from->quota_ms, to->quota, to->quota_ms))
	{
		to->quota = from->quota;
		to->quota_ms = from->quota_ms;
	}
}

/* One server that names an account. */
typedef struct LmtServer
{
	char	   *name;
	List	   *options;
} LmtServer;

static int
lmt_by_name(const ListCell *a, const ListCell *b)
{
	return strcmp(((LmtServer *) lfirst(a))->name, ((LmtServer *) lfirst(b))->name);
}

/* concord_limits_owner gives InvalidOid for all superusers. */
Oid
concord_limits_owner(Oid owner)
{
	return superuser_arg(owner) ? InvalidOid : owner;
}

/*
 * lmt_servers lists an owner's servers that name an account; or, where theirs
 * is false, those of all others.
 */
static List *
lmt_servers(const char *account, Oid owner, bool theirs)
{
	Oid			fdwid = get_foreign_data_wrapper_oid("concord", true);
	Relation	rel = table_open(ForeignServerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	List	   *servers = NIL;
	HeapTuple	tup;

	while (HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		Form_pg_foreign_server form = (Form_pg_foreign_server) GETSTRUCT(tup);
		bool		isnull;
		Datum		datum = heap_getattr(tup, Anum_pg_foreign_server_srvoptions,
										 RelationGetDescr(rel), &isnull);
		LmtServer  *server;
		const char *value;
		List	   *options;

		if (form->srvfdw != fdwid || isnull)
			continue;
		options = untransformRelOptions(datum);
		value = concord_option_get(options, "account");
		if (value == NULL || strcmp(value, account) != 0 ||
			(concord_limits_owner(form->srvowner) == owner) != theirs)
			continue;
		server = palloc(sizeof(LmtServer));
		server->name = pstrdup(NameStr(form->srvname));
		server->options = options;
		servers = lappend(servers, server);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	list_sort(servers, lmt_by_name);
	return servers;
}

/* concord_limits_load sets account and limits of a server. */
void
concord_limits_load(ConcordServer *server, Oid owner, List *options)
{
	const char *account = concord_option_get(options, "account");
	MemoryContext scratch;
	MemoryContext old;
	ListCell   *lc;

	lmt_parse(options, &server->limits);
	if (account == NULL)
		return;
	server->account = pstrdup(account);
	server->account_owner = concord_limits_owner(owner);
	scratch = AllocSetContextCreate(CurrentMemoryContext, "concord limits",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(scratch);
	foreach(lc, lmt_servers(account, server->account_owner, true))
	{
		ConcordLimits limits;

		lmt_parse(((LmtServer *) lfirst(lc))->options, &limits);
		lmt_merge(&server->limits, &limits);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
}

/* concord_limits_key says which account is a server's. */
void
concord_limits_key(const ConcordServer *server, ConcordAccountKey *key)
{
	memset(key, 0, sizeof(ConcordAccountKey));
	key->dboid = MyDatabaseId;
	if (server->account != NULL)
	{
		strlcpy(key->name, server->account, NAMEDATALEN);
		key->serverid = server->account_owner;
	}
	else
		key->serverid = server->serverid;
}

/* lmt_differs says whether servers have different values of an option. */
static bool
lmt_differs(List *servers, const char *option)
{
	const char *first = NULL;
	ListCell   *lc;

	foreach(lc, servers)
	{
		const char *value = concord_option_get(((LmtServer *) lfirst(lc))->options,
											   option);

		if (value == NULL)
			value = "";
		if (first != NULL && strcmp(first, value) != 0)
			return true;
		first = value;
	}
	return false;
}

/* concord_limits_differ names the options whose values differ. */
char *
concord_limits_differ(const char *account, Oid owner, char **servers)
{
	List	   *list = lmt_servers(account, concord_limits_owner(owner), true);
	StringInfoData differ;
	StringInfoData names;
	ListCell   *lc;

	initStringInfo(&differ);
	initStringInfo(&names);
	foreach(lc, list)
		appendStringInfo(&names, "%s%s", names.len > 0 ? ", " : "",
						 ((LmtServer *) lfirst(lc))->name);
	for (int i = 0; i < lengthof(lmt_options); i++)
	{
		if (lmt_differs(list, lmt_options[i]))
			appendStringInfo(&differ, "%s%s", differ.len > 0 ? ", " : "",
							 lmt_options[i]);
	}
	*servers = names.data;
	return differ.len > 0 ? differ.data : NULL;
}

/* concord_limits_stranger names another owner's server with such an account. */
char *
concord_limits_stranger(const char *account, Oid owner)
{
	List	   *list = lmt_servers(account, concord_limits_owner(owner), false);

	return list != NIL ? ((LmtServer *) linitial(list))->name : NULL;
}
