/*-------------------------------------------------------------------------
 *
 * call.c
 *	  concord.call(): one request, of any method, and its answer.
 *
 *-------------------------------------------------------------------------
 */
#include "live/live.h"

#include "access/htup_details.h"
#include "base/clock.h"
#include "base/json.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(concord_call);

/* The arguments, in order. */
enum
{
	CALL_SERVER, CALL_METHOD, CALL_PATH, CALL_BODY, CALL_QUERY, CALL_HEADERS,
	CALL_TIMEOUT, CALL_MAX_AGE, CALL_DATA, CALL_CONTENT_TYPE, CALL_RAISE,
};

/* What a call is, once its arguments were checked. */
typedef struct Call
{
	ConcordPeer *peer;
	char	   *method;
	char	   *url;
	bool		reads;
	int			timeout_ms;
	int64		max_age_ms;
	bool		raise;
} Call;

/* call_required raises where one of the first three arguments is NULL. */
static void
call_required(FunctionCallInfo fcinfo)
{
	static const char *const names[] = {"server", "method", "path"};

	for (int i = 0; i < lengthof(names); i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not be null", names[i])));
	}
}

/* call_method gives the method in capitals. */
static char *
call_method(const char *given)
{
	char	   *method = pstrdup(given);
	Size		len = strlen(method);
	bool		bad = len == 0 || len > 20;

	for (char *p = method; *p; p++)
	{
		*p = pg_ascii_toupper((unsigned char) *p);
		bad |= *p < 'A' || *p > 'Z';
	}
	if (bad || strcmp(method, "CONNECT") == 0 || strcmp(method, "TRACE") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid method \"%s\"", given),
				 errhint("It is GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS, or another that the system knows.")));
	return method;
}

/* call_arguments reads what says where the call goes. */
static void
call_arguments(FunctionCallInfo fcinfo, Call *call)
{
	char	   *relative;
	const ConcordServer *server;

	call_required(fcinfo);
	call->method = call_method(text_to_cstring(PG_GETARG_TEXT_PP(CALL_METHOD)));
	call->reads = strcmp(call->method, "GET") == 0 ||
		strcmp(call->method, "HEAD") == 0 ||
		strcmp(call->method, "OPTIONS") == 0;
	if (!call->reads)
		PreventCommandIfReadOnly("concord.call() with a method that writes");
	call->peer = concord_live_server(NameStr(*PG_GETARG_NAME(CALL_SERVER)),
									 "concord.call()");
	server = call->peer->server;
	call->url = concord_live_address(server,
									 text_to_cstring(PG_GETARG_TEXT_PP(CALL_PATH)),
									 PG_ARGISNULL(CALL_QUERY) ? NULL :
									 PG_GETARG_JSONB_P(CALL_QUERY), &relative);
	concord_live_allowed(server, call->method, relative);
	call->timeout_ms = PG_ARGISNULL(CALL_TIMEOUT) ? 0 :
		(int) concord_live_ms(PG_GETARG_INTERVAL_P(CALL_TIMEOUT), "timeout", 1);
	call->raise = !PG_ARGISNULL(CALL_RAISE) && PG_GETARG_BOOL(CALL_RAISE);

	if (!PG_ARGISNULL(CALL_MAX_AGE))
		call->max_age_ms = concord_live_ms(PG_GETARG_INTERVAL_P(CALL_MAX_AGE),
										   "max_age", 0);
	else if (strcmp(call->method, "GET") == 0)
		call->max_age_ms = server->cache_max_age_ms;
	if (call->max_age_ms > 0 && strcmp(call->method, "GET") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" goes with method GET only", "max_age")));
}

/* call_headers adds the caller's headers. */
static void
call_headers(ConcordLiveRequest *live, Jsonb *headers)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;
	char	   *name = NULL;

	if (!JB_ROOT_IS_OBJECT(headers))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers is not a JSON object"),
				 errhint("Write it as {\"Name\": \"value\"}.")));
	it = JsonbIteratorInit(&headers->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(v.val.string.val, v.val.string.len);
		else if (token == WJB_VALUE && v.type == jbvString)
			concord_live_header(live, name,
								pnstrdup(v.val.string.val, v.val.string.len));
		else if (token == WJB_VALUE && v.type != jbvNull)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("value of header \"%s\" is not a text", name)));
	}
}

/* call_content sets the body. */
static void
call_content(FunctionCallInfo fcinfo, ConcordLiveRequest *live)
{
	ConcordRequest *http = live->http;
	const char *type = NULL;

	if (!PG_ARGISNULL(CALL_BODY) && !PG_ARGISNULL(CALL_DATA))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("arguments \"%s\" and \"%s\" are alternatives", "body",
						"data")));
	if (!PG_ARGISNULL(CALL_BODY))
	{
		Jsonb	   *body = PG_GETARG_JSONB_P(CALL_BODY);

		http->body = unconstify(char *,
								concord_json_utf8(JsonbToCString(NULL, &body->root,
																 VARSIZE(body))));
		http->body_len = strlen(http->body);
		type = "application/json";
	}
	else if (!PG_ARGISNULL(CALL_DATA))
	{
		bytea	   *data = PG_GETARG_BYTEA_PP(CALL_DATA);

		http->body = VARDATA_ANY(data);
		http->body_len = VARSIZE_ANY_EXHDR(data);
		type = "application/octet-stream";
	}
	if (http->body != NULL && strcmp(http->method, "HEAD") == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a request with method HEAD has no body")));
	if (!PG_ARGISNULL(CALL_CONTENT_TYPE))
	{
		if (concord_request_has_header(http, "Content-Type"))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("header \"%s\" is given twice", "Content-Type")));
		concord_live_header(live, "Content-Type",
							text_to_cstring(PG_GETARG_TEXT_PP(CALL_CONTENT_TYPE)));
	}
	else if (type != NULL)
		concord_request_set_header(http, "Content-Type", type);
}

/* call_result makes the result's row. */
static Datum
call_result(const Call *call, const ConcordFetched *fetched, int64 elapsed_us,
			TupleDesc desc)
{
	const ConcordResponse *response = fetched->response;
	Datum		values[6] = {0};
	bool		nulls[6] = {false};
	Interval   *elapsed = palloc0(sizeof(Interval));
	Jsonb	   *body = concord_live_body(call->peer, response);
	bytea	   *raw;

	values[0] = Int32GetDatum(response->status);
	values[1] = JsonbPGetDatum(concord_live_headers(response));
	values[2] = body != NULL ? JsonbPGetDatum(body) : (Datum) 0;
	nulls[2] = body == NULL;
	nulls[3] = response->body_len == 0;
	if (!nulls[3])
	{
		raw = palloc(VARHDRSZ + response->body_len);
		SET_VARSIZE(raw, VARHDRSZ + response->body_len);
		memcpy(VARDATA(raw), response->body, response->body_len);
		values[3] = PointerGetDatum(raw);
	}
	elapsed->time = elapsed_us;
	values[4] = IntervalPGetDatum(elapsed);
	values[5] = BoolGetDatum(fetched->cached);
	return HeapTupleGetDatum(heap_form_tuple(desc, values, nulls));
}

/* concord_call is concord.call(). */
Datum
concord_call(PG_FUNCTION_ARGS)
{
	Call		call = {0};
	ConcordFetched fetched;
	ConcordLiveRequest *live;
	TupleDesc	desc;
	int64		start = concord_clock_steady();
	Datum		result;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);

	call_arguments(fcinfo, &call);
	live = concord_live_create(call.peer, call.method, call.url);
	if (!PG_ARGISNULL(CALL_HEADERS))
		call_headers(live, PG_GETARG_JSONB_P(CALL_HEADERS));
	call_content(fcinfo, live);
	concord_request_set_header(live->http, "Accept", "application/json, */*;q=0.8");
	if (live->http->body != NULL)
		call.max_age_ms = 0;	/* a GET with a body is no look at an address */
	concord_live_fetch(live, call.timeout_ms, call.max_age_ms, &fetched);
	if (call.raise)
		concord_live_check_status(live, fetched.response);
	result = call_result(&call, &fetched, concord_clock_steady() - start, desc);
	concord_live_free(live);
	concord_peer_done(call.peer);
	PG_RETURN_DATUM(result);
}
