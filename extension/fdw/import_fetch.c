/*-------------------------------------------------------------------------
 *
 * import_fetch.c
 *	  A service's metadata, as the current user gets them.
 *
 * The last document is kept with its ETag, if it has one, until the session
 * ends: a service of a large system tells megabytes, and tables are often
 * imported a few at a time.  It is used again only where the system itself
 * says to this user that it is still the same.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/import.h"

#include "connector/protocols.h"
#include "connector/reading.h"
#include "live/session.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#define FET_KEEP		(32 * 1024 * 1024)	/* a document that is kept */

/* The last document; context is NULL where there is none. */
static struct
{
	MemoryContext context;
	Oid			serverid;
	Oid			roleid;
	char	   *url;
	char	   *language;		/* "": none */
	char	   *etag;
	char	   *body;
	Size		len;
} fet_kept;

/* What error messages of a document are about. */
typedef struct ConcordFetchContext
{
	const char *server;
	const char *url;
} ConcordFetchContext;

/* fet_describe adds where a document came from to errors. */
static void
fet_describe(void *arg)
{
	const ConcordFetchContext *what = arg;

	errcontext("metadata of server \"%s\", %s", what->server,
			   concord_url_path(what->url));
}

/* fet_url gives the address of a service's metadata. */
static char *
fet_url(const ConcordServer *server, const char *service)
{
	ConcordMapping mapping = {0};
	StringInfoData url;

	if (strpbrk(service, "?#\\%") != NULL || strstr(service, "://") != NULL ||
		concord_path_climbs(service))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("service \"%s\" is not a path under the server's url",
						service)));
	mapping.options.service = service[0] == '\0' ? NULL :
		unconstify(char *, service);
	initStringInfo(&url);
	concord_url_base(&url, server, &mapping);
	appendStringInfoString(&url, "$metadata");
	return url.data;
}

/* fet_is_kept says whether the document that is kept is this one. */
static bool
fet_is_kept(const ConcordPeer *peer, const char *url, const char *language)
{
	return fet_kept.context != NULL && fet_kept.serverid == peer->serverid &&
		fet_kept.roleid == peer->roleid && strcmp(fet_kept.url, url) == 0 &&
		strcmp(fet_kept.language, language) == 0;
}

/* fet_keep keeps a document in place of the one before. */
static void
fet_keep(const ConcordPeer *peer, const char *url, const char *language,
		 const ConcordResponse *response)
{
	const char *etag = concord_response_header(response, "ETag");
	MemoryContext context;
	MemoryContext old;

	if (fet_kept.context != NULL)
		MemoryContextDelete(fet_kept.context);
	fet_kept.	context = NULL;

	if (etag == NULL || response->body_len > FET_KEEP)
		return;
	context = AllocSetContextCreate(TopMemoryContext, "concord metadata kept",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	fet_kept.	serverid = peer->serverid;
	fet_kept.	roleid = peer->roleid;
	fet_kept.	url = pstrdup(url);
	fet_kept.	language = pstrdup(language);
	fet_kept.	etag = pstrdup(etag);
	fet_kept.	body = MemoryContextAllocHuge(context, response->body_len + 1);

	memcpy(fet_kept.body, response->body, response->body_len);
	fet_kept.	len = response->body_len;

	MemoryContextSwitchTo(old);
	fet_kept.	context = context;
}

/* fet_status raises for an answer that is no document. */
static void
fet_status(const ConcordLiveRequest *live, const char *url)
{
	int			status = live->http->response.status;
	const char *hint = NULL;

	if (status >= 200 && status < 300)
		return;
	if (status >= 300 && status < 400)
		hint = "Redirects are not followed: give the server the url that it redirects to.";
	else if (status == 401 && !concord_auth_given(live->peer->auth))
		hint = "The current user has no user mapping for the server.";
	else if (status == 401 || status == 403)
		hint = "Look at the user mapping's credentials, and at what they may do there.";
	else if (status == 404)
		hint = "The schema's name is the service's path under the server's url; option service takes one that is longer than 63 bytes.";
	ereport(ERROR,
			(errcode(concord_errcode_status(status)),
			 errmsg("server \"%s\" gave no metadata: it answered with status %d",
					live->peer->server->name, status),
			 errdetail("It was asked for %s.", concord_url_path(url)),
			 hint != NULL ? errhint("%s", hint) : 0));
}

/* fet_request asks for a document. */
static ConcordLiveRequest *
fet_request(ConcordPeer *peer, const char *url, const char *language)
{
	ConcordLiveRequest *live = concord_live_create(peer, "GET", url);

	concord_request_set_header(live->http, "Accept", "application/xml");
	if (!peer->server->connector->odata2)
	{
		concord_request_set_header(live->http, "OData-Version", "4.0");
		concord_request_set_header(live->http, "OData-MaxVersion", "4.01");
	}
	if (language[0] != '\0')
		concord_request_set_header(live->http, "Accept-Language", language);
	concord_reading_headers(peer->server->connector, live->http);
	if (fet_is_kept(peer, url, language))
		concord_request_set_header(live->http, "If-None-Match", fet_kept.etag);
	return live;
}

/* concord_import_fetch reads a service's metadata as the current user. */
ConcordMetadata *
concord_import_fetch(Oid serverid, const char *service, const char *language)
{
	ConcordPeer *peer = concord_peer_get(serverid, GetUserId());
	char	   *url = fet_url(peer->server, service);
	const ConcordResponse *response;
	ConcordLiveRequest *live;
	ConcordMetadata *metadata;
	ConcordFetchContext what = {peer->server->name, url};
	ErrorContextCallback callback = {error_context_stack, fet_describe, &what};

	if (peer->server->connector->protocol != &concord_protocol_odata)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_NO_SCHEMAS),
				 errmsg("connector \"%s\" of server \"%s\" does not tell what objects there are",
						peer->server->connector->name, peer->server->name),
				 errhint("Only connectors of protocol odata do; CREATE FOREIGN TABLE works with all that read.")));
	if (language == NULL)
		language = "";
	live = fet_request(peer, url, language);
	response = concord_live_exchange(live, 0, false);
	error_context_stack = &callback;
	if (response->status == 304 && fet_is_kept(peer, url, language))
		metadata = concord_metadata_parse(fet_kept.body, fet_kept.len,
										  CurrentMemoryContext);
	else
	{
		fet_status(live, url);
		metadata = concord_metadata_parse(response->body, response->body_len,
										  CurrentMemoryContext);
		fet_keep(peer, url, language, response);
	}
	error_context_stack = callback.previous;
	concord_live_free(live);
	return metadata;
}
