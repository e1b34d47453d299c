/*-------------------------------------------------------------------------
 *
 * limit_headers.c
 *	  What answers say of the system's own limits, and Retry-After.
 *
 * Member "limits" of a connector's definition is one form, or an array of
 * forms, each of which is looked for in every answer:
 *
 *	headers		numbers in headers of their own: what is left or was used, of how
 *				many, until when.  X-RateLimit-Remaining and its many cousins
 *				(GitHub, BigCommerce, Dataverse, HubSpot)
 *	ratio		used/limit in one header, perhaps behind a name: Shopify
 *				(32/40), Salesforce (api-usage=18/5000)
 *	ietf		RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers),
 *				in the form of draft 8 and later ("name";r=50;t=30), in that of
 *				drafts before (limit=100, remaining=50, reset=30), and as three
 *				headers
 *
 * Where several limits are told the tightest counts: the one that would have a
 * request wait the longest, or else that has the fewest left.
 *
 * Times of day are compared with header Date of the same answer, if it has
 * one: so it does not matter whose clock is right.  An answer may say
 * anything; what makes no sense is as if it were not there.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/definition.h"

#include <curl/curl.h>
#include <time.h>

#include "catalog/limit_options.h"
#include "connector/limits.h"
#include "utils/builtins.h"

#define LIM_MOST_MS		(24 * 60 * 60 * INT64CONST(1000))
/* Numbers beyond this are times, of seconds and of milliseconds. */
#define LIM_EPOCH		INT64CONST(100000000)
#define LIM_EPOCH_MS	INT64CONST(100000000000)

typedef enum LimitKind
{
	LIMIT_HEADERS,
	LIMIT_RATIO,
	LIMIT_IETF,
} LimitKind;

typedef enum LimitReset
{
	LIMIT_RESET_AUTO,
	LIMIT_RESET_SECONDS,
	LIMIT_RESET_MILLISECONDS,
	LIMIT_RESET_EPOCH,
	LIMIT_RESET_EPOCH_MS,
	LIMIT_RESET_DATE,
} LimitReset;

typedef struct ConcordLimitForm
{
	LimitKind	kind;
	char	   *remaining;		/* names of headers, or NULL */
	char	   *used;
	char	   *limit_header;
	int64		limit;			/* where it is a number; 0: none */
	char	   *reset;
	LimitReset	reset_form;
	int64		window_ms;		/* 0: none */
	char	   *window_header;	/* of milliseconds */
	char	   *header;			/* of a ratio */
	char	   *name;			/* in front of it, or NULL */
} ConcordLimitForm;

/* ---------------------------------------------------------------------
 * the definition
 * ------------------------------------------------------------------- */

/* lim_header returns a member that names a header, in lower case, or NULL. */
static char *
lim_header(JsonbContainer *object, const char *member)
{
	char	   *name = concord_member_of(object, member);

	if (name == NULL)
		return NULL;
	if (*name == '\0' || strpbrk(name, " \t\r\n:") != NULL)
		concord_member_bad(psprintf("limits.%s", member), "is not the name of a header");
	for (char *p = name; *p; p++)
		*p = pg_ascii_tolower((unsigned char) *p);
	return name;
}

/* lim_choice returns which of some words a member is; 0 where it is left out. */
static int
lim_choice(JsonbContainer *object, const char *member, const char *choices)
{
	char	   *text = concord_member_of(object, member);
	int			choice;

	if (text == NULL)
		return 0;
	choice = concord_member_choose(choices, text);
	if (choice < 0)
		concord_member_bad(psprintf("limits.%s", member),
						   psprintf("is none of %s", choices));
	return choice;
}

/* lim_limit parses member "limit": a header's name or a number. */
static void
lim_limit(ConcordLimitForm *form, JsonbContainer *object)
{
	JsonbValue	v;

	if (concord_member_get(object, "limit", &v) != NULL && v.type == jbvNumeric)
	{
		form->limit = DatumGetInt64(DirectFunctionCall1(numeric_int8,
														NumericGetDatum(v.val.numeric)));
		if (form->limit < 1)
			concord_member_bad("limits.limit", "is not a positive number");
	}
	else
		form->limit_header = lim_header(object, "limit");
}

/* lim_form parses one form. */
static ConcordLimitForm *
lim_form(JsonbContainer *object)
{
	static const char *const names[] = {
		"form", "remaining", "used", "limit", "reset", "reset_form", "window",
		"window_header", "header", "name",
	};
	ConcordLimitForm *form = palloc0(sizeof(ConcordLimitForm));
	char	   *window;

	concord_member_names(object, names, lengthof(names));
	form->kind = lim_choice(object, "form", "headers|ratio|ietf");
	form->remaining = lim_header(object, "remaining");
	form->used = lim_header(object, "used");
	lim_limit(form, object);
	form->reset = lim_header(object, "reset");
	form->reset_form = lim_choice(object, "reset_form",
								  "auto|seconds|milliseconds|epoch|epoch_ms|date");
	form->window_header = lim_header(object, "window_header");
	form->header = lim_header(object, "header");
	form->name = concord_member_of(object, "name");
	window = concord_member_of(object, "window");
	if (window != NULL && !concord_limit_option_span(window, &form->window_ms))
		concord_member_bad("limits.window", "is not a time such as 20s, 5min or 1d");

	if (form->kind == LIMIT_RATIO && form->header == NULL)
		concord_member_bad("limits", "has a form ratio without \"header\"");
	if (form->kind == LIMIT_HEADERS && form->remaining == NULL &&
		(form->used == NULL || (form->limit_header == NULL && form->limit == 0)))
		concord_member_bad("limits", "has neither \"remaining\" nor \"used\" and \"limit\"");
	return form;
}

/* concord_member_limits parses member "limits". */
void
concord_member_limits(ConcordConnector *connector, const ConcordMember *member,
					  JsonbValue *value)
{
	JsonbContainer *container = value->val.binary.data;

	if (value->type != jbvBinary)
		concord_member_bad(member->name, "is neither an object nor an array of objects");
	/* those of a connector that this one extends are replaced */
	connector->limits = NIL;
	if (JsonContainerIsObject(container))
	{
		connector->limits = list_make1(lim_form(container));
		return;
	}
	connector->limits = NIL;	/* those of a definition that this extends */
	for (int i = 0; i < JsonContainerSize(container); i++)
	{
		JsonbValue *item = getIthJsonbValueFromContainer(container, i);

		if (item->type != jbvBinary ||
			!JsonContainerIsObject(item->val.binary.data))
			concord_member_bad(member->name, "has an element that is not an object");
		connector->limits = lappend(connector->limits,
									lim_form(item->val.binary.data));
	}
}

/* ---------------------------------------------------------------------
 * answers
 * ------------------------------------------------------------------- */

/* lim_number reads the number at the start of a text; false: none, or absurd. */
static bool
lim_number(const char *text, double *number)
{
	char	   *end;

	if (text == NULL)
		return false;
	text += strspn(text, " \t");
	if (*text != '-' && (*text < '0' || *text > '9'))
		return false;
	*number = strtod(text, &end);
	return end != text && *number >= -1e15 && *number <= 1e15 &&
		(*end == '\0' || strchr(" \t,;/", *end) != NULL);
}

/* lim_count reads a header's number of requests; -1: none. */
static int64
lim_count(const ConcordResponse *response, const char *header)
{
	double		number;

	if (header == NULL ||
		!lim_number(concord_response_header(response, header), &number))
		return -1;
	return (int64) Max(number, 0);
}

/* lim_now is the time of day where the answer comes from. */
static time_t
lim_now(const ConcordResponse *response)
{
	const char *date = concord_response_header(response, "date");
	time_t		at = date != NULL ? curl_getdate(date, NULL) : (time_t) -1;

	return at != (time_t) -1 ? at : time(NULL);
}

/* lim_until is how long it is until a date; -1 where it is none. */
static int64
lim_until(const ConcordResponse *response, const char *date)
{
	time_t		at = curl_getdate(date, NULL);
	double		seconds;

	if (at == (time_t) -1)
		return -1;
	seconds = difftime(at, lim_now(response));
	return (int64) (Max(seconds, 0) * 1000);
}

/* lim_reset reads a reset in milliseconds from now; -1: none. */
static int64
lim_reset(const ConcordResponse *response, const char *header, LimitReset form)
{
	const char *value = header ? concord_response_header(response, header) : NULL;
	double		number = 0;

	if (value == NULL)
		return -1;
	if (form == LIMIT_RESET_DATE || !lim_number(value, &number))
		return form == LIMIT_RESET_DATE || form == LIMIT_RESET_AUTO ?
			lim_until(response, value) : -1;
	if (form == LIMIT_RESET_AUTO)
		form = number >= LIM_EPOCH_MS ? LIMIT_RESET_EPOCH_MS :
			number >= LIM_EPOCH ? LIMIT_RESET_EPOCH : LIMIT_RESET_SECONDS;
	switch (form)
	{
		case LIMIT_RESET_MILLISECONDS:
			break;
		case LIMIT_RESET_EPOCH:
			number = (number - lim_now(response)) * 1000;
			break;
		case LIMIT_RESET_EPOCH_MS:
			number = number - (double) lim_now(response) * 1000;
			break;
		default:
			number = number * 1000;
			break;
	}
	return (int64) Min(Max(number, 0), LIM_MOST_MS);
}

/* lim_headers reads form "headers". */
static bool
lim_headers(const ConcordLimitForm *form, const ConcordResponse *response,
			ConcordBudget *budget)
{
	int64		used = lim_count(response, form->used);
	int64		window = lim_count(response, form->window_header);

	budget->limit = Max(lim_count(response, form->limit_header), form->limit);
	budget->remaining = lim_count(response, form->remaining);
	if (budget->remaining < 0 && used >= 0 && budget->limit > 0)
		budget->remaining = Max(budget->limit - used, 0);
	budget->reset_ms = lim_reset(response, form->reset, form->reset_form);
	budget->window_ms = window > 0 ? window : form->window_ms;
	return budget->remaining >= 0;
}

/* lim_ratio reads form "ratio". */
static bool
lim_ratio(const ConcordLimitForm *form, const ConcordResponse *response,
		  ConcordBudget *budget)
{
	const char *value = concord_response_header(response, form->header);
	double		used;
	double		limit;

	if (value != NULL && form->name != NULL)
	{
		size_t		len = strlen(form->name);
		const char *p = value;

		while ((p = strstr(p, form->name)) != NULL &&
			   (p[len] != '=' ||
				(p > value && strchr(" ,;", p[-1]) == NULL)))
			p++;
		value = p != NULL ? p + len + 1 : NULL;
	}
	if (!lim_number(value, &used) || (value = strchr(value, '/')) == NULL ||
		!lim_number(value + 1, &limit) || limit < 1 || used < 0)
		return false;
	budget->limit = (int64) limit;
	budget->remaining = (int64) Max(limit - used, 0);
	budget->reset_ms = -1;
	budget->window_ms = form->window_ms;
	return true;
}

/* lim_parameter reads key=number within a piece of a header; -1: none. */
static int64
lim_parameter(const char *start, const char *end, const char *key)
{
	size_t		len = strlen(key);

	for (const char *p = start; p + len < end; p++)
	{
		double		number;

		if (pg_strncasecmp(p, key, len) == 0 && p[len] == '=' &&
			(p == start || strchr(" \t;,", p[-1]) != NULL) &&
			lim_number(p + len + 1, &number))
			return (int64) Max(number, 0);
	}
	return -1;
}

/* lim_item finds the end of an item of a list; commas in quotes are none. */
static const char *
lim_item(const char *p)
{
	bool		quoted = false;

	for (; *p != '\0' && (quoted || *p != ','); p++)
		quoted ^= *p == '"';
	return p;
}

/* lim_policy finds the policy of the same name: limit and window. */
static void
lim_policy(const ConcordResponse *response, const char *name, size_t len,
		   ConcordBudget *budget)
{
	const char *p = concord_response_header(response, "ratelimit-policy");

	while (p != NULL && *p != '\0')
	{
		const char *end = lim_item(p);

		p += strspn(p, " \t");
		if (strncmp(p, name, len) == 0 && (p[len] == ';' || p[len] == ','))
		{
			budget->limit = Max(lim_parameter(p, end, "q"), 0);
			budget->window_ms = Max(lim_parameter(p, end, "w"), 0) * 1000;
			return;
		}
		p = *end == ',' ? end + 1 : end;
	}
}

/* lim_tighter says whether a limit has requests wait longer than another. */
static bool
lim_tighter(const ConcordBudget *a, const ConcordBudget *b)
{
	double		wait[2];
	const ConcordBudget *each[] = {a, b};

	for (int i = 0; i < 2; i++)
	{
		const ConcordBudget *x = each[i];
		double		all = x->reset_ms >= 0 ? x->reset_ms : x->window_ms;
		bool		near = x->limit > 0 ? x->remaining * 10 <= x->limit :
			x->remaining <= 10;

		wait[i] = near ? all / (x->remaining + 1) : 0;
	}
	return wait[0] != wait[1] ? wait[0] > wait[1] : a->remaining < b->remaining;
}

/* lim_keep takes over a limit that is tighter than what there is. */
static bool
lim_keep(ConcordBudget *best, const ConcordBudget *found)
{
	if (best->remaining < 0 || lim_tighter(found, best))
		*best = *found;
	return true;
}

/* lim_ietf reads form "ietf". */
static bool
lim_ietf(const ConcordResponse *response, ConcordBudget *best)
{
	static const ConcordLimitForm three = {
		LIMIT_HEADERS, "ratelimit-remaining", NULL, "ratelimit-limit", 0,
		"ratelimit-reset", LIMIT_RESET_SECONDS
	};
	const char *p = concord_response_header(response, "ratelimit");
	ConcordBudget found;
	bool		any = false;

	if (p == NULL)
		return lim_headers(&three, response, &found) && lim_keep(best, &found);
	found.remaining = lim_parameter(p, p + strlen(p), "remaining");
	if (found.remaining >= 0)
	{
		found.limit = Max(lim_parameter(p, p + strlen(p), "limit"), 0);
		found.reset_ms = lim_parameter(p, p + strlen(p), "reset");
		found.reset_ms = found.reset_ms < 0 ? -1 : Min(found.reset_ms * 1000, LIM_MOST_MS);
		found.window_ms = 0;
		return lim_keep(best, &found);
	}
	while (*p != '\0')
	{
		const char *end = lim_item(p);
		int64		reset;

		p += strspn(p, " \t");
		reset = lim_parameter(p, end, "t");
		found.remaining = lim_parameter(p, end, "r");
		found.limit = found.window_ms = 0;
		found.reset_ms = reset < 0 ? -1 : Min(reset * 1000, LIM_MOST_MS);
		if (found.remaining >= 0)
		{
			lim_policy(response, p, strcspn(p, ";,"), &found);
			any = lim_keep(best, &found);
		}
		p = *end == ',' ? end + 1 : end;
	}
	return any;
}

/* concord_limits_read reads what an answer says of the system's limits. */
bool
concord_limits_read(const ConcordConnector *connector,
					const ConcordResponse *response, ConcordBudget *budget)
{
	bool		any = false;
	ListCell   *lc;

	budget->remaining = -1;
	if (response->nheaders == 0)
		return false;
	foreach(lc, connector->limits)
	{
		const ConcordLimitForm *form = lfirst(lc);
		ConcordBudget found;

		switch (form->kind)
		{
			case LIMIT_HEADERS:
				any |= lim_headers(form, response, &found) &&
					lim_keep(budget, &found);
				break;
			case LIMIT_RATIO:
				any |= lim_ratio(form, response, &found) &&
					lim_keep(budget, &found);
				break;
			case LIMIT_IETF:
				any |= lim_ietf(response, budget);
				break;
		}
	}
	return any;
}

/* concord_retry_after_ms reads header Retry-After: seconds or a date. */
int
concord_retry_after_ms(const ConcordResponse *response)
{
	const char *value = concord_response_header(response, "retry-after");
	double		number;
	int64		ms;

	if (value == NULL)
		return -1;
	if (lim_number(value, &number))
		ms = (int64) (Max(number, 0) * 1000);
	else
		ms = lim_until(response, value);
	return (int) Min(ms, LIM_MOST_MS);
}
