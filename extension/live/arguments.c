/*-------------------------------------------------------------------------
 *
 * arguments.c
 *	  What calls and look-ups are given, checked.
 *
 * Headers: what frames a request, says to whom it goes or bears credentials is
 * not the caller's to set; nor, where an allow-list holds, what would make
 * another request of it at the system.
 *
 *-------------------------------------------------------------------------
 */
#include "live/live.h"

#include <limits.h>

#include "catalog/allow_list.h"
#include "catalog/server_options.h"
#include "foreign/foreign.h"
#include "mapping/eval.h"
#include "miscadmin.h"
#include "utils/timestamp.h"

/* Headers that are the session's or the user mapping's. */
static const char *const arg_own_headers[] = {
	"host", "authorization", "cookie", "set-cookie",
};

/* Headers by which some systems take a request for another one. */
static const char *const arg_override_headers[] = {
	"x-http-method-override", "x-http-method", "x-method-override",
	"x-original-url", "x-rewrite-url", "x-forwarded-prefix",
};

/* arg_in says whether a name is in a list. */
static bool
arg_in(const char *name, const char *const *list, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (pg_strcasecmp(name, list[i]) == 0)
			return true;
	}
	return false;
}

/* concord_live_ms makes milliseconds of an interval. */
int64
concord_live_ms(const Interval *interval, const char *argument, int64 min)
{
	double		ms = interval->time / 1000.0 +
		((double) interval->month * DAYS_PER_MONTH + interval->day) *
		SECS_PER_DAY * 1000.0;

	if (ms < min || ms > INT_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for argument \"%s\"", argument),
				 errdetail("It is at least " INT64_FORMAT " ms and at most 24 days.",
						   min)));
	return (int64) ms;
}

/* concord_live_server finds the server of a call. */
ConcordPeer *
concord_live_server(const char *name, const char *function)
{
	if (concord_mapping_evaluating)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("%s cannot be used in an expression of a mapping", function),
				 errdetail("A courier would wait for it while it should deliver.")));
	return concord_peer_get(get_foreign_server_oid(name, false), GetUserId());
}

/* concord_live_allowed looks at option call_allow. */
void
concord_live_allowed(const ConcordServer *server, const char *method,
					 const char *relative)
{
	if (server->call_allow == NULL ||
		concord_allow_list_has(server->call_allow, method, relative))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("%s \"%s\" is not allowed at server \"%s\"", method, relative,
					server->name),
			 errdetail("Option call_allow of the server does not have it.")));
}

/* arg_of_server says whether option headers of the server has a header. */
static bool
arg_of_server(const ConcordServer *server, const char *name)
{
	for (int i = 0; i < server->nheaders; i++)
	{
		if (pg_strcasecmp(server->headers[i].name, name) == 0)
			return true;
	}
	return false;
}

/* concord_live_header adds a caller's header. */
void
concord_live_header(ConcordLiveRequest *live, const char *name,
					const char *value)
{
	const char *why = NULL;

	if (!concord_header_name_valid(name))
		why = "This is no header's name.";
	else if (concord_header_is_framing(name))
		why = "It belongs to the transfer itself.";
	else if (arg_in(name, arg_own_headers, lengthof(arg_own_headers)))
		why = "The server and the user mapping say where a request goes and with which credentials.";
	else if (arg_of_server(live->peer->server, name))
		why = "Option headers of the server has it.";
	else if (live->peer->server->call_allow != NULL &&
			 arg_in(name, arg_override_headers, lengthof(arg_override_headers)))
		why = "It could make another request of it than option call_allow has.";
	if (why != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("header \"%s\" cannot be set", name),
				 errdetail("%s", why)));
	for (const char *p = value; *p; p++)
	{
		if (((unsigned char) *p < ' ' && *p != '\t') ||
			(unsigned char) *p >= 0x7F)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value of header \"%s\"", name),
					 errdetail("It has a control character or one beyond ASCII.")));
	}
	if (concord_request_has_header(live->http, name))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("header \"%s\" is given twice", name)));
	concord_request_header(live->http, name, value);
}
