/*-------------------------------------------------------------------------
 *
 * report.c
 *	  What became of a session's request: for the account, and as an error.
 *
 * The account (limits, breaker) is shared with couriers.  An outcome is judged
 * by the connector's rules, as theirs is, except that what may be one role's
 * doing tells nothing about the system: credentials that could not be had or
 * were refused, an address that the policy does not allow, a request that
 * libcurl would not take, a time to connect that was too short, a path that
 * fails.  Otherwise whoever may use a server could stop its deliveries with a
 * wrong password, or with a few addresses that answer 500.  No connection
 * opens the breaker; 503 and 429 ask for time, a minute at most; a good answer
 * says little about what deliveries fail at (http/account_breaker.c).
 *
 * Texts from outside are redacted with the role's secrets before they become
 * part of an error.
 *
 *-------------------------------------------------------------------------
 */
#include "live/session.h"

#include "connector/limits.h"
#include "utils/memutils.h"

#define RPT_OVERLOADED		503
#define RPT_NOT_MODIFIED	304
/* What is shown of what a system says. */
#define RPT_MAX_DETAIL		500

/* rpt_hasty: the caller left less time to connect than the server's option. */
static bool
rpt_hasty(const ConcordLiveRequest *live)
{
	return live->http->response.timed_out &&
		live->http->connect_timeout_ms < live->peer->server->connect_timeout_ms;
}

/* rpt_role_only: what became of it may be the role's doing. */
static bool
rpt_role_only(const ConcordLiveRequest *live)
{
	const ConcordResponse *response = &live->http->response;

	return response->gate_refused || response->address_refused ||
		response->status == 401 || response->status == 403 ||
		response->status == 407 ||
		response->transfer == CONCORD_TRANSFER_TOO_LARGE ||
		(response->transfer == CONCORD_TRANSFER_NOT_SENT &&
		 (!response->system_down || rpt_hasty(live)));
}

/* rpt_exchange judges an answer by the connector's rules. */
static ConcordExchange *
rpt_exchange(ConcordLiveRequest *live, const ConcordResponse *response)
{
	ConcordExchange *x = MemoryContextAllocZero(live->context,
												sizeof(ConcordExchange));

	x->server = live->peer->server;
	x->context = live->context;
	x->verb = CONCORD_VERB_SEND;
	x->request = live->http;
	x->retry_after_ms = -1;
	concord_exchange_judge(x, response, live->peer->auth);
	return x;
}

/*
 * rpt_path_only: what became of it may be the doing of the path, which the
 * caller has chosen: a failure of the system's, a gateway without this backend,
 * a redirect, an answer that breaks off.
 */
static bool
rpt_path_only(const ConcordExchange *x, const ConcordResponse *response)
{
	return response->transfer == CONCORD_TRANSFER_UNKNOWN ||
		response->status >= 500 || x->outcome == CONCORD_OUTCOME_DOWN;
}

/* rpt_account tells the account. */
static void
rpt_account(ConcordLiveRequest *live)
{
	const ConcordResponse *response = &live->http->response;
	ConcordAccount *account = live->peer->account;
	ConcordBudget budget;
	ConcordExchange *x;

	if (concord_limits_read(live->peer->server->connector, response, &budget))
		concord_account_told(account, &budget);
	if (live->eager || rpt_role_only(live))
		return;
	if (response->status == RPT_NOT_MODIFIED)
	{
		/* rules are for deliveries, which have no use for it */
		concord_account_answered(account, CONCORD_USE_INTERACTIVE, true);
		return;
	}
	x = rpt_exchange(live, response);
	if (response->transfer == CONCORD_TRANSFER_NOT_SENT)
		concord_account_down(account, x->error, x->retry_after_ms, false, true,
							 true);
	else if (x->outcome == CONCORD_OUTCOME_THROTTLE ||
			 response->status == RPT_OVERLOADED)
		concord_account_throttled(account, CONCORD_USE_INTERACTIVE,
								  x->retry_after_ms, true);
	else if (!rpt_path_only(x, response))
		concord_account_answered(account, CONCORD_USE_INTERACTIVE, true);
}

/* rpt_failure says which SQLSTATE a request without a whole answer has. */
static int
rpt_failure(const ConcordLiveRequest *live)
{
	const ConcordResponse *response = &live->http->response;

	switch (response->transfer)
	{
		case CONCORD_TRANSFER_OK:
			return 0;
		case CONCORD_TRANSFER_TOO_LARGE:
			return CONCORD_ERRCODE_TOO_LARGE;
		case CONCORD_TRANSFER_UNKNOWN:
			if (live->writes)
				return CONCORD_ERRCODE_UNKNOWN;
			return response->timed_out ? CONCORD_ERRCODE_TIMEOUT :
				CONCORD_ERRCODE_BROKEN;
		case CONCORD_TRANSFER_NOT_SENT:
			if (response->gate_refused)
				return CONCORD_ERRCODE_CREDENTIALS;
			if (response->address_refused)
				return CONCORD_ERRCODE_NOT_ALLOWED;
			if (response->timed_out &&
				live->http->connect_timeout_ms >= live->http->timeout_ms)
				return CONCORD_ERRCODE_TIMEOUT;
			return CONCORD_ERRCODE_CONNECTION;
	}
	return CONCORD_ERRCODE_CONNECTION;
}

/* concord_live_judge sets failure and detail and tells the account. */
void
concord_live_judge(ConcordLiveRequest *live)
{
	MemoryContext old = MemoryContextSwitchTo(live->context);

	live->failure = rpt_failure(live);
	if (live->http->response.error != NULL)
		live->detail = concord_evidence(live->peer->auth,
										live->http->response.error,
										RPT_MAX_DETAIL);
	rpt_account(live);
	MemoryContextSwitchTo(old);
}

/* rpt_raise raises a failure. */
static void
rpt_raise(const ConcordLiveRequest *live)
{
	const char *name = live->peer->server->name;

	ereport(ERROR,
			(errcode(live->failure),
			 live->failure == CONCORD_ERRCODE_CONNECTION ?
			 errmsg("could not connect to server \"%s\"", name) :
			 live->failure == CONCORD_ERRCODE_BROKEN ?
			 errmsg("server \"%s\" gave no whole answer", name) :
			 live->failure == CONCORD_ERRCODE_UNKNOWN ?
			 errmsg("server \"%s\" gave no whole answer to a request that may change something",
					name) :
			 live->failure == CONCORD_ERRCODE_CREDENTIALS ?
			 errmsg("could not get credentials for server \"%s\"", name) :
			 live->failure == CONCORD_ERRCODE_LIMIT ?
			 errmsg("nothing was sent to server \"%s\" because of a limit", name) :
			 live->failure == CONCORD_ERRCODE_TOO_LARGE ?
			 errmsg("the answer of server \"%s\" is too large", name) :
			 live->failure == CONCORD_ERRCODE_BREAKER ?
			 errmsg("server \"%s\" is down: its circuit breaker is open", name) :
			 live->failure == CONCORD_ERRCODE_TIMEOUT ?
			 errmsg("server \"%s\" did not answer in time", name) :
			 errmsg("server \"%s\" may not be contacted", name),
			 live->detail != NULL ? errdetail("%s", live->detail) : 0,
			 live->failure == CONCORD_ERRCODE_UNKNOWN ?
			 errhint("It may have been carried out: look before it is repeated.") :
			 live->failure == CONCORD_ERRCODE_TIMEOUT ?
			 errhint("It had %d ms; see argument or option timeout.",
					 live->timeout_ms) :
			 live->failure == CONCORD_ERRCODE_LIMIT ?
			 errhint("View concord.system shows what is under way and what is left.") :
			 live->failure == CONCORD_ERRCODE_TOO_LARGE ?
			 errhint("Ask for less, or raise pg_concord.max_answer_size.") : 0));
}

/* concord_live_check_status raises where a status is not 2xx. */
void
concord_live_check_status(ConcordLiveRequest *live,
						  const ConcordResponse *response)
{
	const char *detail = "Redirects are not followed.";

	if (response->status >= 200 && response->status < 300)
		return;
	if (response->status < 300 || response->status >= 400)
		detail = rpt_exchange(live, response)->error;
	ereport(ERROR,
			(errcode(concord_errcode_status(response->status)),
			 errmsg("server \"%s\" answered with status %d",
					live->peer->server->name, response->status),
			 detail != NULL ? errdetail("%s", detail) : 0));
}

/* concord_live_check raises unless a whole answer came. */
void
concord_live_check(ConcordLiveRequest *live, bool statuses)
{
	Assert(live->state == CONCORD_LIVE_ENDED);
	if (live->failure != 0)
		rpt_raise(live);
	if (statuses)
		concord_live_check_status(live, &live->http->response);
}
