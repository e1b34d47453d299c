/*-------------------------------------------------------------------------
 *
 * ping.c
 *	  concord.ping(server, role): does a server answer?
 *
 * One request with the role's credentials, in the calling backend: to the
 * service root of a protocol that reads, with HEAD to a webhook, which must
 * not take it for an event.  An answer below 500 that is neither a refusal of
 * the credentials nor a redirect says that the server is there.  What goes
 * wrong on the network is a result, not an error; missing rights are errors.
 *
 *-------------------------------------------------------------------------
 */
#include "live/session.h"

#include "access/htup_details.h"
#include "connector/protocols.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(concord_ping);

/* ping_request makes the request. */
static ConcordLiveRequest *
ping_request(ConcordPeer *peer)
{
	const ConcordServer *server = peer->server;
	bool		webhook = server->connector->protocol ==
		&concord_protocol_webhook;
	ConcordLiveRequest *live;
	StringInfoData url;

	initStringInfo(&url);
	if (webhook)
		appendStringInfoString(&url, server->url_given);
	else
		concord_url_service(&url, server, NULL);
	live = concord_live_create(peer, webhook ? "HEAD" : "GET", url.data);
	live->eager = true;
	concord_request_header(live->http, "Accept",
						   webhook ? "*/*" : "application/json");
	return live;
}

/* ping_judge says whether the answer is good; *error tells why it is not. */
static bool
ping_judge(const ConcordAuth *auth, const char *role,
		   const ConcordResponse *response, char **error)
{
	int			status = response->status;

	*error = NULL;
	if (response->transfer == CONCORD_TRANSFER_NOT_SENT ||
		response->transfer == CONCORD_TRANSFER_UNKNOWN)
		*error = response->error;
	else if (status == 401 && !concord_auth_given(auth))
		*error = psprintf("no credentials: role \"%s\" has no user mapping for the server (HTTP status 401)",
						  role);
	else if (status == 401 || status == 403 || status == 407)
		*error = psprintf("the credentials were refused (HTTP status %d)",
						  status);
	else if (status >= 300 && status < 400)
		*error = psprintf("the server redirects, which is not followed (HTTP status %d)",
						  status);
	else if (status >= 500)
		*error = psprintf("the server has an error (HTTP status %d)", status);
	return *error == NULL;
}

/* concord_ping is concord.ping(). */
Datum
concord_ping(PG_FUNCTION_ARGS)
{
	Oid			roleid = get_role_oid(NameStr(*PG_GETARG_NAME(1)), false);
	Oid			serverid;
	ConcordPeer *peer;
	ConcordLiveRequest *live;
	const ConcordResponse *response;
	TupleDesc	desc;
	Datum		values[4] = {0};
	bool		nulls[4] = {false, true, true, true};
	Interval   *elapsed = palloc0(sizeof(Interval));
	const char *why = NULL;
	char	   *error = NULL;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);

	concord_require_set_role(GetUserId(), roleid);
	serverid = get_foreign_server_oid(NameStr(*PG_GETARG_NAME(0)), false);
	peer = concord_peer_get_any(serverid, roleid);
	if (concord_server_contactable(peer->server, &why))
	{
		live = ping_request(peer);
		concord_live_submit(live, peer->server->timeout_ms);
		concord_live_wait(live);
		response = &live->http->response;
		if (live->failure == CONCORD_ERRCODE_LIMIT)
			why = psprintf("nothing was sent: %s", live->detail);
		else
			values[0] = BoolGetDatum(ping_judge(peer->auth,
												GetUserNameFromId(roleid, false),
												response, &error));
		if (response->status != 0)
			values[1] = Int32GetDatum(response->status);
		nulls[1] = response->status == 0;
		elapsed->time = response->elapsed_us;
		values[2] = IntervalPGetDatum(elapsed);
		nulls[2] = why != NULL;
		if (error != NULL)
			error = concord_auth_redact(peer->auth, error);
		concord_live_free(live);
	}
	if (why != NULL || error != NULL)
	{
		values[3] = CStringGetTextDatum(why != NULL ? why : error);
		nulls[3] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
