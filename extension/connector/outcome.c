/*-------------------------------------------------------------------------
 *
 * outcome.c
 *	  From an answer to what a delivery does next.
 *
 * The first rule that holds decides: the connector's own, those it extends,
 * the defaults (rules.h).  A rule about the record (exists, gone) sets the
 * effect and leaves the outcome to the rules behind it: what to make of the
 * answer where looking the record up leads nowhere.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/rules.h"

#include <curl/curl.h>
#include <time.h>

#include "catalog/pg_collation.h"
#include "connector/limits.h"
#include "regex/regex.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* What an answer may ask us to wait at most. */
#define OUT_MAX_WAIT_S		(24 * 60 * 60)
/* Of an answer that is shown as the error; the exchange cuts it later. */
#define OUT_MAX_MESSAGE		2048

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

/* ---------------------------------------------------------------------
 * how long to wait
 * ------------------------------------------------------------------- */

/* out_until gives the seconds until a time: a date, or seconds since 1970. */
static bool
out_until(const char *value, double *seconds)
{
	char	   *stop;
	double		number = strtod(value, &stop);
	time_t		at;

	if (stop != value && *stop == '\0')
	{
		*seconds = number - (double) time(NULL);
		return true;
	}
	at = curl_getdate(value, NULL);
	if (at == (time_t) -1)
		return false;
	*seconds = difftime(at, time(NULL));
	return true;
}

/* out_wait makes milliseconds of a value; -1 where it is of no use. */
static int
out_wait(const char *value, ConcordWaitUnit unit)
{
	char	   *stop;
	double		seconds;

	if (value == NULL)
		return -1;
	if (unit == CONCORD_WAIT_UNTIL)
	{
		if (!out_until(value, &seconds))
			return -1;
	}
	else
	{
		seconds = strtod(value, &stop);
		if (stop == value || *stop != '\0')
			return -1;
		if (unit == CONCORD_WAIT_MS)
			seconds /= 1000;
	}
	if (!(seconds > 0))
		return 0;
	return (int) (Min(seconds, OUT_MAX_WAIT_S) * 1000);
}

/* out_retry_after says how long to wait, by the rule or the answer; -1: free. */
static int
out_retry_after(const ConcordOutcomeRule *rule, const ConcordResponse *response)
{
	int			wait = -1;

	if (rule != NULL && rule->wait_header != NULL)
		wait = out_wait(concord_response_header(response, rule->wait_header),
						rule->wait_unit);
	if (rule != NULL && rule->wait_path != NULL)
		wait = out_wait(concord_path_text(rule->wait_path, response),
						rule->wait_unit);
	if (wait < 0)
		wait = concord_retry_after_ms(response);
	if (wait < 0 && rule != NULL && rule->wait_ms >= 0)
		wait = Min(rule->wait_ms, OUT_MAX_WAIT_S * 1000);
	return wait;
}

/* ---------------------------------------------------------------------
 * conditions
 * ------------------------------------------------------------------- */

/* out_match says whether a regular expression is found in a text. */
static bool
out_match(const char *regex, const char *value)
{
	text	   *pattern = cstring_to_text(regex);
	bool		found = RE_compile_and_execute(pattern,
											   unconstify(char *, value),
											   strlen(value),
											   REG_ADVANCED | REG_ICASE,
											   C_COLLATION_OID, 0, NULL);

	pfree(pattern);
	return found;
}

/* out_status says whether a status is one of the rule's. */
static bool
out_status(const ConcordOutcomeRule *rule, int status)
{
	for (int i = 0; i < rule->nstatuses; i++)
	{
		if (status >= rule->statuses[i].low && status <= rule->statuses[i].high)
			return true;
	}
	return rule->nstatuses == 0;
}

/* out_method says whether the request had one of the rule's methods. */
static bool
out_method(const ConcordOutcomeRule *rule, const ConcordExchange *exchange)
{
	ListCell   *lc;

	foreach(lc, rule->methods)
	{
		if (exchange->request != NULL &&
			strcmp(lfirst(lc), exchange->request->method) == 0)
			return true;
	}
	return rule->methods == NIL;
}

/* out_headers says whether all headers of a rule are there and match. */
static bool
out_headers(const ConcordOutcomeRule *rule, const ConcordResponse *response)
{
	for (int i = 0; i < rule->nheaders; i++)
	{
		const ConcordHeaderTest *test = &rule->headers[i];
		const char *value = concord_response_header(response, test->name);

		if (value == NULL)
			return false;
		if (test->regex != NULL &&
			!out_match(test->regex, concord_safe_text(value, strlen(value),
													  MaxAllocSize / 4)))
			return false;
	}
	return true;
}

/* out_equal compares a value of an answer with one of a rule. */
static bool
out_equal(const ConcordFound *theirs, const ConcordFound *ours)
{
	if (strchr("{[n", theirs->kind) != NULL)
		return false;
	if (strcmp(theirs->text, ours->text) == 0)
		return true;
	/* 301 may be written "301", and the other way round */
	return concord_place_is_number(theirs->text, strlen(theirs->text)) &&
		concord_place_is_number(ours->text, strlen(ours->text)) &&
		concord_place_same_number(theirs->text, strlen(theirs->text),
								  ours->text, strlen(ours->text));
}

/* out_found tests a value that a rule's path leads to. */
static bool
out_found(const ConcordFound *found, void *arg)
{
	const ConcordOutcomeRule *rule = arg;
	bool		equal = false;
	ListCell   *lc;

	if (rule->equals == NIL && rule->match == NULL)
		return !found->empty;
	foreach(lc, rule->equals)
		equal |= out_equal(found, lfirst(lc));
	if (rule->equals != NIL && !equal)
		return false;
	return rule->match == NULL ||
		(found->kind != 'n' && out_match(rule->match, found->text));
}

/*
 * out_holds says whether a rule holds for an answer.  The cheap conditions
 * come first: for most answers no rule gets further than the status.
 */
static bool
out_holds(const ConcordOutcomeRule *rule, const ConcordExchange *exchange,
		  const ConcordResponse *response)
{
	if (!out_status(rule, response->status))
		return false;
	if (rule->verbs != 0 && (rule->verbs & (1 << exchange->verb)) == 0)
		return false;
	if (!out_method(rule, exchange) || !out_headers(rule, response))
		return false;
	if (rule->path != NULL &&
		concord_path_any(rule->path, response, out_found,
						 unconstify(ConcordOutcomeRule *, rule)) == rule->absent)
		return false;
	return rule->text == NULL ||
		out_match(rule->text, concord_response_text(response, response->body_len));
}

/* ---------------------------------------------------------------------
 * the verdict
 * ------------------------------------------------------------------- */

/* out_text takes a value that can be shown as a message. */
static bool
out_text(const ConcordFound *found, void *arg)
{
	if (found->empty || strchr("{[", found->kind) != NULL)
		return false;
	*(char **) arg = found->text;
	return true;
}

/* out_message finds what an answer says about its reason. */
static char *
out_message(const ConcordConnector *connector, const ConcordResponse *response)
{
	static const char *const paths[] = {
		"error.message.value", "error.data.message", "error.message", "message",
		"[0].message", "errors[*].message",
		"data.*.userErrors[*].message", "error_description",
		"[\"o:errorDetails\"][*].detail", "detail", "title", "error", "errors[*]",
		"errors.*[*]", "errors",
	};
	char	   *text = NULL;
	ListCell   *lc;

	foreach(lc, connector->message_paths)
	{
		if (concord_path_any(lfirst(lc), response, out_text, &text))
			return text;
	}
	for (int i = 0; i < lengthof(paths); i++)
	{
		const char *why;

		if (concord_path_any(concord_path_parse(paths[i], &why), response,
							 out_text, &text))
			return text;
	}
	return concord_response_text(response, OUT_MAX_MESSAGE);
}

/* out_error says in one line what an answer says. */
static char *
out_error(const ConcordConnector *connector, const ConcordResponse *response)
{
	char	   *message = out_message(connector, response);
	char	   *error = psprintf("HTTP status %d%s%s", response->status,
								 *message != '\0' ? ": " : "", message);

	for (char *p = error; *p; p++)
	{
		if ((unsigned char) *p < ' ')
			*p = ' ';
	}
	return error;
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

/*
 * out_rule finds the rule that decides.  One about the record is noted as
 * effect; of a deletion, "gone" decides itself.
 */
static const ConcordOutcomeRule *
out_rule(ConcordExchange *exchange, const ConcordResponse *response,
		 const ConcordOutcomeRule **effect)
{
	ListCell   *lc;

	*effect = NULL;
	foreach(lc, exchange->server->connector->rules)
	{
		const ConcordOutcomeRule *rule = lfirst(lc);

		if ((rule->effect != CONCORD_EFFECT_NONE && *effect != NULL) ||
			!out_holds(rule, exchange, response))
			continue;
		if (rule->effect == CONCORD_EFFECT_NONE)
			return rule;
		*effect = rule;
		if (rule->effect == CONCORD_EFFECT_GONE &&
			exchange->verb == CONCORD_VERB_DELETE)
			return rule;
	}
	/* not reached: the last rule has no condition */
	elog(ERROR, "no outcome rule holds");
	return NULL;
}

/* out_plain: a success that no rule has anything to say about. */
static bool
out_plain(const ConcordExchange *exchange, const ConcordResponse *response)
{
	const char *type;

	if (response->status < 200 || response->status >= 300 ||
		exchange->server->connector->rules_of_success)
		return false;
	type = concord_response_header(response, "content-type");
	return type == NULL || pg_strncasecmp(type, "application/json", 16) == 0;
}

/* concord_outcome_judge sets an exchange's outcome from the last answer. */
void
concord_outcome_judge(ConcordExchange *exchange,
					  const ConcordResponse *response)
{
	const ConcordOutcomeRule *rule;
	const ConcordOutcomeRule *effect;
	ConcordOutcome outcome;
	MemoryContext scratch;
	MemoryContext old;

	exchange->status = response->status;
	exchange->effect = CONCORD_EFFECT_NONE;
	exchange->effect_rule = NULL;
	exchange->retry_after_ms = -1;
	if (response->transfer != CONCORD_TRANSFER_OK)
	{
		exchange->retry_after_ms = out_retry_after(NULL, response);
		out_transfer(exchange, response);
		return;
	}
	if (out_plain(exchange, response))
	{
		concord_outcome_set(exchange, CONCORD_OUTCOME_DONE, "2xx", NULL);
		return;
	}

	scratch = AllocSetContextCreate(exchange->context, "concord outcome",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(scratch);
	rule = out_rule(exchange, response, &effect);
	outcome = rule->outcome;
	if (effect != NULL)
	{
		exchange->effect = effect->effect;
		exchange->effect_rule = effect->name;
		if (rule == effect)
			outcome = CONCORD_OUTCOME_DONE;
		else if (outcome == CONCORD_OUTCOME_DONE)
		{
			/* a refusal under a status of success is no success */
			outcome = CONCORD_OUTCOME_DEAD;
			rule = effect;
		}
	}
	exchange->retry_after_ms = out_retry_after(rule, response);
	concord_outcome_set(exchange, outcome, rule->name,
						outcome == CONCORD_OUTCOME_DONE ? NULL :
						out_error(exchange->server->connector, response));
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
}
