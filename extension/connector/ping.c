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
#include "connector/protocols.h"

#include "access/htup_details.h"
#include "auth/auth.h"
#include "connector/limits.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(concord_ping);

/* ping_request makes the request. */
static ConcordRequest *
ping_request(const ConcordServer *server, const ConcordAuth *auth)
{
	ConcordRequest *request = concord_request_create(CurrentMemoryContext);
	bool		webhook = server->connector->protocol ==
		&concord_protocol_webhook;
	StringInfoData url;

	initStringInfo(&url);
	if (webhook)
		appendStringInfoString(&url, server->url_given);
	else
	{
		appendStringInfoString(&url, server->url);
		if (server->service != NULL)
		{
			const char *service = server->service + strspn(server->service, "/");

			concord_url_escape(&url, service, "/!$&'()*+,;=:@");
			if (url.data[url.len - 1] != '/')
				appendStringInfoChar(&url, '/');
		}
	}
	request->method = webhook ? "HEAD" : "GET";
	request->url = url.data;
	concord_request_header(request, "Accept",
						   webhook ? "*/*" : "application/json");
	concord_server_apply(server, request);
	concord_auth_apply(auth, request);
	return request;
}

/* ping_send sends the request and waits for its end; can be cancelled. */
static void
ping_send(ConcordRequest *request)
{
	ConcordHttp *http = concord_http_create(CurrentMemoryContext);

	concord_http_submit(http, request);
	while (concord_http_next(http) == NULL)
	{
		concord_http_wait(http, -1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
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
	ConcordServer *server;
	ConcordAuth *auth;
	ConcordRequest *request;
	TupleDesc	desc;
	Datum		values[4] = {0};
	bool		nulls[4] = {false, true, true, true};
	Interval   *elapsed = palloc0(sizeof(Interval));
	ConcordPlace *place;
	const char *why;
	char	   *error;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);

	concord_require_set_role(GetUserId(), roleid);
	serverid = get_foreign_server_oid(NameStr(*PG_GETARG_NAME(0)), false);
	auth = concord_auth_load(serverid, roleid, CurrentMemoryContext);
	concord_auth_eager(auth);
	server = concord_server_load(serverid, CurrentMemoryContext);

	if (!concord_server_contactable(server, &why))
	{
		values[0] = BoolGetDatum(false);
		values[3] = CStringGetTextDatum(why);
		nulls[3] = false;
		PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
	}

	place = concord_limits_wait(server, CurrentMemoryContext,
								server->connect_timeout_ms, &why);
	if (place == NULL)
	{
		values[0] = BoolGetDatum(false);
		values[3] = CStringGetTextDatum(psprintf("nothing was sent: %s", why));
		nulls[3] = false;
		PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
	}
	request = ping_request(server, auth);
	ping_send(request);
	concord_limits_done(place, server, &request->response);
	values[0] = BoolGetDatum(ping_judge(auth, GetUserNameFromId(roleid, false),
										&request->response, &error));
	if (request->response.status != 0)
	{
		values[1] = Int32GetDatum(request->response.status);
		nulls[1] = false;
	}
	elapsed->time = request->response.elapsed_us;
	values[2] = IntervalPGetDatum(elapsed);
	nulls[2] = false;
	if (error != NULL)
	{
		values[3] = CStringGetTextDatum(concord_auth_redact(auth, error));
		nulls[3] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, values, nulls)));
}
