/*-------------------------------------------------------------------------
 *
 * server.c
 *	  A foreign server's options, resolved.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/limits.h"

#include "base/settings.h"
#include "catalog/server_options.h"
#include "commands/dbcommands.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#define SRV_WRAPPER		"concord"

/* srv_text copies an option's text, or NULL. */
static char *
srv_text(List *options, const char *name)
{
	const char *value = concord_option_get(options, name);

	return value != NULL ? pstrdup(value) : NULL;
}

/* srv_url makes an address end with a slash, unless it has a query. */
static char *
srv_url(const char *given)
{
	Size		len = strlen(given);

	if (given[len - 1] == '/' || strchr(given, '?') != NULL)
		return pstrdup(given);
	return psprintf("%s/", given);
}

/* srv_headers takes option headers over. */
static void
srv_headers(ConcordServer *server, const char *json)
{
	char	  **names;
	char	  **values;

	if (json == NULL)
		return;
	server->nheaders = concord_option_header_list(json, &names, &values);
	server->headers = palloc0(sizeof(ConcordHeader) * (server->nheaders + 1));
	for (int i = 0; i < server->nheaders; i++)
	{
		server->headers[i].name = names[i];
		server->headers[i].value = values[i];
	}
}

/* concord_server_load resolves a server's options into context. */
ConcordServer *
concord_server_load(Oid serverid, MemoryContext context)
{
	ForeignServer *fs = GetForeignServerExtended(serverid, FSV_MISSING_OK);
	MemoryContext old;
	ConcordServer *server;
	List	   *options;

	if (fs == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("foreign server with OID %u does not exist", serverid),
				 errhint("It was dropped: drop or change what names it.")));
	if (strcmp(GetForeignDataWrapper(fs->fdwid)->fdwname, SRV_WRAPPER) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not of foreign-data wrapper \"%s\"",
						fs->servername, SRV_WRAPPER),
				 errhint("Systems are made with CREATE SERVER ... FOREIGN DATA WRAPPER %s.",
						 SRV_WRAPPER)));

	options = fs->options;
	old = MemoryContextSwitchTo(context);
	server = palloc0(sizeof(ConcordServer));
	server->serverid = serverid;
	server->name = pstrdup(fs->servername);
	server->database = get_database_name(MyDatabaseId);
	server->url_given = srv_text(options, "url");
	server->url = srv_url(server->url_given);
	server->service = srv_text(options, "service");
	server->timeout_ms = concord_option_duration(options, "timeout", 30000);
	server->connect_timeout_ms =
		concord_option_duration(options, "connect_timeout", 5000);
	concord_limits_load(server, fs->owner, options);
	server->batch_size = concord_option_integer(options, "batch_size", 0);
	server->retry_limit = concord_option_integer(options, "retry_limit", 20);
	server->retry_base_ms = concord_option_duration(options, "retry_base", 1000);
	server->retry_cap_ms =
		concord_option_duration(options, "retry_cap", 5 * 60 * 1000);
	server->outage_limit_ms =
		concord_option_duration(options, "outage_limit", -1);
	server->environment = srv_text(options, "environment");
	server->verify = concord_option_bool(options, "verify", true);
	server->ca_file = srv_text(options, "ca_file");
	server->cert_file = srv_text(options, "cert_file");
	server->key_file = srv_text(options, "key_file");
	server->proxy = srv_text(options, "proxy");
	server->private_allowed = superuser_arg(fs->owner);
	server->call_allow = srv_text(options, "call_allow");
	server->cache_max_age_ms = concord_option_duration(options, "cache_max_age", 0);
	srv_headers(server, concord_option_get(options, "headers"));
	server->connector =
		concord_connector_load(concord_option_get(options, "connector"), false,
							   context);
	MemoryContextSwitchTo(old);
	return server;
}

/* concord_server_review looks again at what a server may contact. */
void
concord_server_review(ConcordServer *server)
{
	ForeignServer *fs = GetForeignServerExtended(server->serverid,
												 FSV_MISSING_OK);

	server->private_allowed = fs != NULL && superuser_arg(fs->owner);
}

/* concord_server_contactable compares environments. */
bool
concord_server_contactable(const ConcordServer *server, const char **why)
{
	if (server->environment == NULL ||
		(concord_environment != NULL &&
		 strcmp(server->environment, concord_environment) == 0))
		return true;
	*why = "the server's environment is not pg_concord.environment";
	return false;
}

/* concord_server_apply makes a request one of this server's. */
void
concord_server_apply(const ConcordServer *server, ConcordRequest *request)
{
	request->timeout_ms = server->timeout_ms;
	request->connect_timeout_ms = server->connect_timeout_ms;
	request->verify = server->verify;
	request->ca_file = server->ca_file;
	request->cert_file = server->cert_file;
	request->key_file = server->key_file;
	request->proxy = server->proxy;
	request->private_allowed = server->private_allowed;
	for (int i = 0; i < server->nheaders; i++)
		concord_request_set_header(request, server->headers[i].name,
								   server->headers[i].value);
}
