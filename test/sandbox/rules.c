/*-------------------------------------------------------------------------
 *
 * rules.c
 *	  Scripted faults: which request meets which one.
 *
 * A rule is a JSON object {"match": {...}, "action": {...}, "count": n}.
 * Rules are tried in the order of their definition; the first that fires
 * decides.  Members of match: method, path (a prefix), key (canonical or
 * plain), body (a part of it), nth (only the n-th request that matches the
 * rest), every (each n-th), probability.  The action's members are read when
 * the rule is defined, so that a misspelt one is an error there.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "request.h"

typedef struct Rule
{
	int			id;
	json_t	   *spec;
	json_t	   *match;			/* borrowed from spec */
	json_t	   *action;			/* borrowed from spec, or NULL */
	int64_t		matched;
	int64_t		fired;
	int64_t		limit;			/* how often it fires, -1: always */
	int64_t		window_start;	/* of action.limit or budget, monotonic */
	int64_t		window_used;
	struct Rule *next;
} Rule;

static Rule *first_rule;
static int	next_rule_id = 1;

static const char *const rule_members[] = {
	"match", "action", "count", "name", NULL
};
static const char *const match_members[] = {
	"method", "path", "key", "body", "nth", "every", "probability", NULL
};
static const char *const action_members[] = {
	"latency_ms", "act", "act_first", "status", "headers", "body", "body_hex",
	"reset", "torn", "slow", "endless", "hang", "raw", "nul", "invalid_utf8",
	"auth", "limit", "budget", NULL
};

/* Returns the first member of an object that is not in the list. */
static const char *
unknown_member(json_t *object, const char *const *known)
{
	const char *name;
	json_t	   *value;

	json_object_foreach(object, name, value)
	{
		int			i = 0;

		while (known[i] != NULL && strcmp(known[i], name) != 0)
			i++;
		if (known[i] == NULL)
			return name;
	}
	return NULL;
}

static const char *
get_text(const json_t *object, const char *name)
{
	return json_string_value(json_object_get(object, name));
}

static int64_t
get_int(const json_t *object, const char *name, int64_t absent)
{
	json_t	   *value = json_object_get(object, name);

	return json_is_integer(value) ? json_integer_value(value) : absent;
}

/* Defines a rule; NULL with a reason when the specification is wrong. */
json_t *
rule_add(const json_t *spec, const char **why)
{
	static char reason[120];
	json_t	   *match = json_object_get(spec, "match");
	json_t	   *action = json_object_get(spec, "action");
	const char *bad;
	Rule	   *rule;
	Rule	  **last = &first_rule;

	*why = "a rule is an object with an \"action\" object";
	if (!json_is_object(spec) || !json_is_object(action))
		return NULL;
	bad = unknown_member((json_t *) spec, rule_members);
	if (bad == NULL)
		bad = unknown_member(match, match_members);
	if (bad == NULL)
		bad = unknown_member(action, action_members);
	if (bad != NULL)
	{
		snprintf(reason, sizeof(reason), "unknown member \"%.60s\"", bad);
		*why = reason;
		return NULL;
	}
	rule = xmalloc(sizeof(Rule));
	memset(rule, 0, sizeof(*rule));
	rule->id = next_rule_id++;
	rule->spec = json_deep_copy(spec);
	rule->match = json_object_get(rule->spec, "match");
	rule->action = json_object_get(rule->spec, "action");
	rule->limit = get_int(spec, "count", -1);
	while (*last != NULL)
		last = &(*last)->next;
	*last = rule;
	return json_pack("{s:i}", "id", rule->id);
}

json_t *
rules_list(void)
{
	json_t	   *list = json_array();

	for (Rule *r = first_rule; r != NULL; r = r->next)
		json_array_append_new(list,
							  json_pack("{s:i, s:I, s:I, s:O}", "id", r->id,
										"matched", (json_int_t) r->matched,
										"fired", (json_int_t) r->fired,
										"rule", r->spec));
	return list;
}

/* Drops one rule, or all with id 0; false when there is none. */
bool
rule_drop(int id)
{
	bool		found = id == 0;

	for (Rule **p = &first_rule; *p != NULL;)
	{
		Rule	   *r = *p;

		if (id != 0 && r->id != id)
		{
			p = &r->next;
			continue;
		}
		*p = r->next;
		json_decref(r->spec);
		free(r);
		found = true;
	}
	return found;
}

void
rules_clear(void)
{
	rule_drop(0);
}

/* Compares a rule's key with the request's, quoted or not. */
static bool
key_matches(const char *wanted, const char *key)
{
	size_t		len = strlen(wanted);

	if (key == NULL)
		return false;
	if (strcmp(wanted, key) == 0)
		return true;
	return key[0] == '\'' && strlen(key) == len + 2 &&
		strncmp(key + 1, wanted, len) == 0;
}

static bool
rule_matches(Rule *rule, const Request *req)
{
	const char *method = get_text(rule->match, "method");
	const char *path = get_text(rule->match, "path");
	const char *key = get_text(rule->match, "key");
	const char *body = get_text(rule->match, "body");
	int64_t		nth = get_int(rule->match, "nth", 0);
	int64_t		every = get_int(rule->match, "every", 0);
	json_t	   *probability = json_object_get(rule->match, "probability");

	if (rule->limit >= 0 && rule->fired >= rule->limit)
		return false;
	if ((method && strcasecmp(method, req->method) != 0) ||
		(path && !text_starts(req->path, path)) ||
		(key && !key_matches(key, req->key)) ||
		(body && (req->body.len == 0 ||
				  memmem(req->body.data, req->body.len, body, strlen(body)) == NULL)))
		return false;
	rule->matched++;
	if ((nth > 0 && rule->matched != nth) ||
		(every > 0 && rule->matched % every != 0))
		return false;
	return probability == NULL ||
		drand48() < json_number_value(probability);
}

/* Says whether the credentials that an auth action asks for are missing. */
static bool
auth_missing(const json_t *auth, Request *req)
{
	const char *given = request_header(req, "authorization");
	const char *scheme;
	json_t	   *value;

	json_object_foreach((json_t *) auth, scheme, value)
	{
		const char *text = json_string_value(value);
		const char *space = given ? strchr(given, ' ') : NULL;

		if (strcmp(scheme, "issued") == 0)
		{
			if (tokens_valid(req))
				return false;
		}
		else if (strcmp(scheme, "session") == 0)
		{
			if (tokens_session(req))
				return false;
		}
		else if (strcmp(scheme, "csrf") == 0)
		{
			if (tokens_csrf(req))
				return false;
		}
		else if (strcmp(scheme, "basic") == 0 || strcmp(scheme, "bearer") == 0)
		{
			/* basic: the base64 text, as it stands in the header */
			if (space && text && strcmp(space + 1, text) == 0 &&
				strncasecmp(given, scheme, strlen(scheme)) == 0)
				return false;
		}
		else
		{
			given = request_header(req, scheme);
			if (given && text && strcmp(given, text) == 0)
				return false;
		}
	}
	return true;
}

/* Counts a request in a rule's window; how many are left after it. */
static int64_t
window_use(Rule *rule, const json_t *limit)
{
	int64_t		now = mono_us();

	if (now - rule->window_start > get_int(limit, "window_ms", 1000) * 1000)
	{
		rule->window_start = now;
		rule->window_used = 0;
	}
	return get_int(limit, "requests", 1) - ++rule->window_used;
}

/* Says whether an action fires although its rule matches. */
static bool
action_fires(Rule *rule, Request *req)
{
	json_t	   *auth = json_object_get(rule->action, "auth");
	json_t	   *limit = json_object_get(rule->action, "limit");
	json_t	   *budget = json_object_get(rule->action, "budget");

	if (auth != NULL)
		return auth_missing(auth, req);
	if (limit != NULL)
		return window_use(rule, limit) < 0;
	if (budget != NULL)
	{
		req->budget_left = window_use(rule, budget);
		req->budget_reset_us = rule->window_start - mono_us() +
			get_int(budget, "window_ms", 1000) * 1000;
	}
	return true;
}

/* A number, or a random one between the two of an array. */
static int64_t
action_latency(const json_t *action)
{
	json_t	   *value = json_object_get(action, "latency_ms");
	double		low;
	double		high;

	if (!json_is_array(value))
		return (int64_t) (json_number_value(value) * 1000);
	low = json_number_value(json_array_get(value, 0));
	high = json_number_value(json_array_get(value, 1));
	return (int64_t) ((low + (high - low) * drand48()) * 1000);
}

static void
hex_bytes(Buf *buf, const char *hex)
{
	unsigned	byte;

	for (; hex[0] && hex[1] && sscanf(hex, "%2x", &byte) == 1; hex += 2)
		buf_char(buf, (char) byte);
}

/* Takes over how the answer is to be delivered. */
static void
action_delivery(Request *req, const json_t *action)
{
	json_t	   *slow = json_object_get(action, "slow");
	const char *raw = get_text(action, "raw");

	if (json_object_get(action, "reset"))
		req->delivery = DELIVER_RESET;
	else if (json_is_true(json_object_get(action, "torn")))
		req->delivery = DELIVER_TORN;
	else if (json_is_true(json_object_get(action, "endless")) ||
			 get_int(action, "endless", 0) > 0)
	{
		req->delivery = DELIVER_ENDLESS;
		req->endless = get_int(action, "endless", 0);
	}
	else if (json_is_true(json_object_get(action, "hang")))
		req->delivery = DELIVER_NEVER;
	else if (raw != NULL)
	{
		req->delivery = DELIVER_RAW;
		buf_str(&req->raw, raw);
	}
	else if (slow != NULL)
	{
		req->delivery = DELIVER_SLOW;
		req->slow_bytes = (int) get_int(slow, "bytes", 1);
		req->slow_ms = (int) get_int(slow, "ms", 100);
	}
}

/* Finds the rule that decides about this request, if any. */
void
rules_apply(Request *req)
{
	for (Rule *r = first_rule; r != NULL; r = r->next)
	{
		int64_t		latency;

		if (!rule_matches(r, req) || !action_fires(r, req))
			continue;
		r->fired++;
		req->action = json_incref(r->action);
		req->rule_id = r->id;
		action_delivery(req, r->action);
		latency = action_latency(r->action);
		if (latency > 0)
			req->due = mono_us() + latency;
		return;
	}
}

bool
rule_delays_after_acting(const Request *req)
{
	return json_is_true(json_object_get(req->action, "act_first"));
}

/*
 * A rule that states an answer, resets before acting or asks for credentials
 * keeps the ERP's state as it is, unless it says {"act": true}.
 */
bool
rule_prevents_acting(const Request *req)
{
	const json_t *action = req->action;
	const char *reset;

	if (action == NULL)
		return false;
	if (json_object_get(action, "act"))
		return !json_is_true(json_object_get(action, "act"));
	reset = get_text(action, "reset");
	return (reset && strcmp(reset, "after") != 0) ||
		(json_object_get(action, "reset") && reset == NULL) ||
		json_object_get(action, "status") || json_object_get(action, "auth") ||
		json_object_get(action, "limit") || json_object_get(action, "hang") ||
		(json_object_get(action, "budget") && req->budget_left < 0);
}

/* Tells how much of a budget is left, in headers. */
static void
answer_budget(Request *req)
{
	const json_t *budget = json_object_get(req->action, "budget");
	char		number[32];

	if (req->budget_left < 0)
		answer_error(&req->answer, 429, "429", "Too Many Requests");
	snprintf(number, sizeof(number), "%lld", (long long) get_int(budget, "requests", 1));
	answer_header(&req->answer, "X-RateLimit-Limit", number);
	snprintf(number, sizeof(number), "%lld",
			 (long long) (req->budget_left < 0 ? 0 : req->budget_left));
	answer_header(&req->answer, "X-RateLimit-Remaining", number);
	snprintf(number, sizeof(number), "%lld", (long long) (req->budget_reset_us / 1000 + 1));
	answer_header(&req->answer, "X-RateLimit-Reset-Ms", number);
}

/* Replaces the answer by what the rule states. */
void
rule_alter_answer(Request *req)
{
	const json_t *action = req->action;
	json_t	   *headers = json_object_get(action, "headers");
	json_t	   *body = json_object_get(action, "body");
	const char *hex = get_text(action, "body_hex");
	Answer	   *answer = &req->answer;
	const char *name;
	json_t	   *value;

	if (json_object_get(json_object_get(action, "auth"), "csrf"))
	{
		answer_error(answer, 403, "403", "CSRF token validation failed");
		answer_header(answer, "x-csrf-token", "Required");
	}
	else if (json_object_get(action, "auth"))
		answer_error(answer, 401, "401", "Unauthorized");
	else if (json_object_get(action, "limit"))
		answer_error(answer, 429, "429", "Too Many Requests");
	else if (json_object_get(action, "budget"))
		answer_budget(req);
	if (json_object_get(action, "status"))
	{
		int			status = (int) get_int(action, "status", 500);

		answer_error(answer, status, "fault", "scripted fault");
	}
	if (body || hex || json_object_get(action, "nul") ||
		json_object_get(action, "invalid_utf8"))
	{
		answer->body.len = 0;
		if (json_is_string(body))
			buf_str(&answer->body, json_string_value(body));
		else if (body != NULL)
		{
			char	   *text = json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);

			buf_str(&answer->body, text);
			free(text);
		}
		else if (hex != NULL)
			hex_bytes(&answer->body, hex);
		else if (json_object_get(action, "nul"))
			buf_add(&answer->body, "{\"error\":{\"message\":\"a\0b\"}}", 27);
		else
			buf_str(&answer->body, "{\"error\":{\"message\":\"\xff\xfe\xc3(\"}}");
	}
	json_object_foreach(headers, name, value)
	{
		if (json_is_string(value))
			answer_header(answer, name, json_string_value(value));
	}
}
