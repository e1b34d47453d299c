/*-------------------------------------------------------------------------
 *
 * outcome.c
 *	  From an answer to what a delivery does next.
 *
 * The connector's own rules come first, in their order; then the table below.
 * Statuses that speak of one record (a 4xx that another attempt may find
 * otherwise, a plain 500) are retried and count; those that no repetition
 * mends are dead at once; those that speak of the whole system (wrong
 * credentials, a gateway without a backend, a redirect to somewhere else) say
 * that it is down, which opens the breaker and costs no record an attempt.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/protocols.h"

#include "catalog/pg_collation.h"
#include "connector/limits.h"
#include "mb/pg_wchar.h"
#include "regex/regex.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define OUT_MAX_ERROR		500

static const ConcordOutcomeRule out_defaults[] = {
	{"2xx", 200, 299, CONCORD_OUTCOME_DONE},
	{"credentials refused", 401, 401, CONCORD_OUTCOME_DOWN},
	{"credentials refused", 407, 407, CONCORD_OUTCOME_DOWN},
	{"request timeout", 408, 408, CONCORD_OUTCOME_RETRY},
	{"conflict", 409, 409, CONCORD_OUTCOME_CONFLICT},
	{"precondition", 412, 412, CONCORD_OUTCOME_CONFLICT},
	{"locked", 423, 423, CONCORD_OUTCOME_RETRY},
	{"failed dependency", 424, 424, CONCORD_OUTCOME_RETRY},
	{"too early", 425, 425, CONCORD_OUTCOME_RETRY},
	{"throttled", 429, 429, CONCORD_OUTCOME_THROTTLE},
	{"refused", 400, 499, CONCORD_OUTCOME_DEAD},
	{"not offered", 501, 501, CONCORD_OUTCOME_DEAD},
	{"bad gateway", 502, 502, CONCORD_OUTCOME_DOWN},
	{"unavailable", 503, 503, CONCORD_OUTCOME_DOWN},
	{"gateway timeout", 504, 504, CONCORD_OUTCOME_DOWN},
	{"server error", 500, 599, CONCORD_OUTCOME_RETRY},
	{"redirect", 300, 399, CONCORD_OUTCOME_DOWN},
	{"unexpected status", 0, 0, CONCORD_OUTCOME_RETRY},
};

/* concord_outcome_set ends an exchange. */
void
concord_outcome_set(ConcordExchange *exchange, ConcordOutcome outcome,
					const char *rule, const char *error)
{
	exchange->outcome = outcome;
	exchange->rule = rule != NULL ?
		MemoryContextStrdup(exchange->context, rule) : NULL;
	exchange->error = error != NULL ?
		MemoryContextStrdup(exchange->context, error) : NULL;
}

/* out_match says whether a regular expression is found in a text. */
static bool
out_match(const char *regex, const char *value)
{
	bool		found = false;

	if (value == NULL)
		return false;
	found = RE_compile_and_execute(cstring_to_text(regex), unconstify(char *, value),
								   strlen(value), REG_ADVANCED | REG_ICASE,
								   C_COLLATION_OID, 0, NULL);
	return found;
}

/* out_holds says whether a rule holds for an answer. */
static bool
out_holds(const ConcordOutcomeRule *rule, const ConcordResponse *response)
{
	const char *value = NULL;

	if (rule->status_low != 0 && (response->status < rule->status_low ||
								  response->status > rule->status_high))
		return false;
	if (rule->header != NULL)
	{
		value = concord_response_header(response, rule->header);
		if (value == NULL)
			return false;
		value = concord_safe_text(value, strlen(value), MaxAllocSize / 4);
	}
	if (rule->path != NULL)
	{
		value = concord_answer_path(response, rule->path);
		if (value == NULL)
			return false;
	}
	if (rule->regex == NULL)
		return true;
	if (value == NULL)
		value = concord_response_text(response, response->body_len);
	return out_match(rule->regex, value);
}

/* out_message finds what an answer says about its reason. */
static char *
out_message(const ConcordResponse *response)
{
	static const char *const paths[] = {
		"error.message.value", "error.message", "message", "error_description",
		"detail", "title", "error",
	};
	char	   *text = NULL;

	for (int i = 0; i < lengthof(paths) && text == NULL; i++)
	{
		text = concord_answer_path(response, paths[i]);
		if (text != NULL && (*text == '{' || *text == '['))
			text = NULL;
	}
	if (text == NULL)
		text = concord_response_text(response, OUT_MAX_ERROR);
	for (char *p = text; *p; p++)
	{
		if ((unsigned char) *p < ' ')
			*p = ' ';
	}
	if (strlen(text) > OUT_MAX_ERROR)
		text[pg_mbcliplen(text, strlen(text), OUT_MAX_ERROR)] = '\0';
	return text;
}

/* out_transfer judges a transfer that brought no whole answer. */
static void
out_transfer(ConcordExchange *exchange, const ConcordResponse *response)
{
	switch (response->transfer)
	{
		case CONCORD_TRANSFER_OK:
			break;
		case CONCORD_TRANSFER_NOT_SENT:
			if (response->system_down)
				concord_outcome_set(exchange, CONCORD_OUTCOME_DOWN,
									"no connection", response->error);
			else
				concord_outcome_set(exchange, CONCORD_OUTCOME_DEAD,
									"request", response->error);
			break;
		case CONCORD_TRANSFER_UNKNOWN:
			concord_outcome_set(exchange, CONCORD_OUTCOME_UNKNOWN,
								"no answer", response->error);
			break;
		case CONCORD_TRANSFER_TOO_LARGE:
			concord_outcome_set(exchange, CONCORD_OUTCOME_UNKNOWN,
								"answer too large", response->error);
			break;
	}
}

/* concord_outcome_judge sets an exchange's outcome from the last answer. */
void
concord_outcome_judge(ConcordExchange *exchange,
					  const ConcordResponse *response)
{
	const ConcordOutcomeRule *rule = NULL;
	MemoryContext scratch;
	MemoryContext old;
	ListCell   *lc;

	exchange->status = response->status;
	exchange->retry_after_ms = concord_retry_after_ms(response);
	if (response->transfer != CONCORD_TRANSFER_OK)
	{
		out_transfer(exchange, response);
		return;
	}

	if (exchange->server->connector->rules == NIL &&
		response->status >= 200 && response->status < 300)
	{
		concord_outcome_set(exchange, CONCORD_OUTCOME_DONE,
							out_defaults[0].name, NULL);
		return;
	}

	scratch = AllocSetContextCreate(exchange->context, "concord outcome",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(scratch);
	foreach(lc, exchange->server->connector->rules)
	{
		if (out_holds(lfirst(lc), response))
		{
			rule = lfirst(lc);
			break;
		}
	}
	for (int i = 0; rule == NULL; i++)
	{
		if (out_holds(&out_defaults[i], response))
			rule = &out_defaults[i];
	}
	if (rule->outcome == CONCORD_OUTCOME_DONE)
		concord_outcome_set(exchange, rule->outcome, rule->name, NULL);
	else
		concord_outcome_set(exchange, rule->outcome, rule->name,
							psprintf("HTTP status %d: %s", response->status,
									 out_message(response)));
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
}
