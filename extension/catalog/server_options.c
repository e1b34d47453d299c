/*-------------------------------------------------------------------------
 *
 * server_options.c
 *	  Options of servers, user mappings and foreign tables of wrapper concord.
 *
 * Every option is a row of one table: where it may stand and how its value is
 * checked.  Options that CONTRACT.md names but that this version does not act
 * on are rows too, so that they are refused by name and not as a typing error.
 * What depends on several options at once (an authentication scheme and what
 * it needs, a connector's name) is checked by connector/validator.c.
 *
 *-------------------------------------------------------------------------
 */
#include "catalog/server_options.h"

#include <curl/curl.h>
#include <limits.h>

#include "catalog/allow_list.h"
#include "catalog/limit_options.h"
#include "catalog/mapping_definition.h"
#include "commands/defrem.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#define DAY_MS		(24 * 60 * 60 * 1000)
#define SERVER		CONCORD_OPTION_SERVER
#define USER		CONCORD_OPTION_USER
#define TABLE		CONCORD_OPTION_TABLE
#define COLUMN		CONCORD_OPTION_COLUMN
#define LATER		CONCORD_OPTION_LATER

static const ConcordOption so_options[] = {
	{"connector", SERVER, CONCORD_OPTION_TEXT},
	{"url", SERVER, CONCORD_OPTION_URL},
	{"service", SERVER, CONCORD_OPTION_SERVICE},
	{"timeout", SERVER, CONCORD_OPTION_DURATION, 1, DAY_MS},
	{"connect_timeout", SERVER, CONCORD_OPTION_DURATION, 1, DAY_MS},
	{"concurrency", SERVER, CONCORD_OPTION_INTEGER, 1, 256},
	{"rate", SERVER, CONCORD_OPTION_RATE},
	{"quota", SERVER, CONCORD_OPTION_QUOTA},
	{"interactive_share", SERVER, CONCORD_OPTION_SHARE},
	{"account", SERVER, CONCORD_OPTION_NAME},
	{"batch_size", SERVER, CONCORD_OPTION_INTEGER, 1, 10000},
	{"retry_limit", SERVER, CONCORD_OPTION_INTEGER, 0, 1000},
	{"retry_base", SERVER, CONCORD_OPTION_DURATION, 1, DAY_MS},
	{"retry_cap", SERVER, CONCORD_OPTION_DURATION, 1, DAY_MS},
	{"outage_limit", SERVER, CONCORD_OPTION_DURATION, 1, INT_MAX},
	{"breaker_failures", SERVER, CONCORD_OPTION_INTEGER, 1, 1000},
	{"breaker_cooldown", SERVER, CONCORD_OPTION_DURATION, 1, DAY_MS},
	{"environment", SERVER, CONCORD_OPTION_TEXT},
	{"headers", SERVER, CONCORD_OPTION_HEADERS},
	{"ca_file", SERVER, CONCORD_OPTION_FILE},
	{"cert_file", SERVER, CONCORD_OPTION_FILE},
	{"key_file", SERVER, CONCORD_OPTION_FILE},
	{"verify", SERVER, CONCORD_OPTION_BOOL},
	{"proxy", SERVER, CONCORD_OPTION_URL},
	{"call_allow", SERVER, CONCORD_OPTION_ALLOW},
	{"impersonate", SERVER, LATER},
	{"write", SERVER, CONCORD_OPTION_CHOICE,.choices = "direct|outbox"},
	{"insert_nulls", SERVER, CONCORD_OPTION_CHOICE,.choices = "send|omit"},
	{"cache_max_age", SERVER, CONCORD_OPTION_DURATION, 0, INT_MAX},

	{"auth", USER, CONCORD_OPTION_TEXT},
	{"username", USER, CONCORD_OPTION_TEXT},
	{"password", USER, CONCORD_OPTION_SECRET},
	{"password_file", USER, CONCORD_OPTION_FILE},
	{"token", USER, CONCORD_OPTION_SECRET},
	{"token_file", USER, CONCORD_OPTION_FILE},
	{"header_name", USER, CONCORD_OPTION_HEADER_NAME},
	{"secret", USER, CONCORD_OPTION_SECRET},
	{"secret_file", USER, CONCORD_OPTION_FILE},
	{"previous_secret", USER, CONCORD_OPTION_SECRET},
	{"previous_secret_file", USER, CONCORD_OPTION_FILE},
	{"client_id", USER, CONCORD_OPTION_TEXT},
	{"client_secret", USER, CONCORD_OPTION_SECRET},
	{"client_secret_file", USER, CONCORD_OPTION_FILE},
	{"client_auth", USER, CONCORD_OPTION_TEXT},
	{"token_url", USER, CONCORD_OPTION_URL},
	{"scope", USER, CONCORD_OPTION_TEXT},
	{"audience", USER, CONCORD_OPTION_TEXT},
	{"private_key_file", USER, CONCORD_OPTION_FILE},
	{"subject", USER, CONCORD_OPTION_TEXT},
	{"subject_format", USER, CONCORD_OPTION_TEXT},
	{"certificate_file", USER, CONCORD_OPTION_FILE},
	{"saml_assertion_file", USER, CONCORD_OPTION_FILE},
	{"issuer", USER, CONCORD_OPTION_TEXT},
	{"key_id", USER, CONCORD_OPTION_TEXT},
	{"assertion", USER, CONCORD_OPTION_TEXT},
	{"refresh_token", USER, CONCORD_OPTION_SECRET},
	{"refresh_token_file", USER, CONCORD_OPTION_FILE},
	{"consumer_key", USER, CONCORD_OPTION_TEXT},
	{"consumer_secret", USER, CONCORD_OPTION_SECRET},
	{"consumer_secret_file", USER, CONCORD_OPTION_FILE},
	{"token_secret", USER, CONCORD_OPTION_SECRET},
	{"token_secret_file", USER, CONCORD_OPTION_FILE},
	{"realm", USER, CONCORD_OPTION_TEXT},
	{"access_key", USER, CONCORD_OPTION_TEXT},
	{"secret_key", USER, CONCORD_OPTION_SECRET},
	{"secret_key_file", USER, CONCORD_OPTION_FILE},
	{"session_token", USER, CONCORD_OPTION_SECRET},
	{"session_token_file", USER, CONCORD_OPTION_FILE},
	{"region", USER, CONCORD_OPTION_TEXT},
	{"aws_service", USER, CONCORD_OPTION_TEXT},
	{"cert_file", USER, CONCORD_OPTION_FILE},
	{"key_file", USER, CONCORD_OPTION_FILE},
	{"receive_secret", USER, CONCORD_OPTION_SECRET},
	{"receive_secret_file", USER, CONCORD_OPTION_FILE},
	{"previous_receive_secret", USER, CONCORD_OPTION_SECRET},
	{"previous_receive_secret_file", USER, CONCORD_OPTION_FILE},
	{"company", USER, CONCORD_OPTION_TEXT},
	{"login_path", USER, CONCORD_OPTION_SERVICE},

	{"object", TABLE, CONCORD_OPTION_SERVICE},
	{"service", TABLE, CONCORD_OPTION_SERVICE},
	{"query", TABLE, CONCORD_OPTION_TEXT},
	{"items", TABLE, CONCORD_OPTION_TEXT},
	{"paging", TABLE, CONCORD_OPTION_CHOICE,.choices = "next|link|offset|page|cursor|none"},
	{"page_size", TABLE, CONCORD_OPTION_INTEGER, 1, 1000000},
	{"page_bytes", TABLE, CONCORD_OPTION_INTEGER, 1024, 1000000000},
	{"list_size", TABLE, CONCORD_OPTION_INTEGER, 1, 10000},
	{"rows", TABLE, CONCORD_OPTION_INTEGER, 0, INT_MAX},
	{"use_remote_estimate", TABLE, CONCORD_OPTION_BOOL},
	{"async_capable", TABLE, CONCORD_OPTION_BOOL},
	{"pushdown", TABLE, CONCORD_OPTION_BOOL},
	{"collation", TABLE, CONCORD_OPTION_CHOICE,.choices = "unknown|binary"},
	{"updatable", TABLE, CONCORD_OPTION_BOOL},
	{"singleton", TABLE, CONCORD_OPTION_BOOL},
	{"write", TABLE, CONCORD_OPTION_CHOICE,.choices = "direct|outbox"},
	{"insert_nulls", TABLE, CONCORD_OPTION_CHOICE,.choices = "send|omit"},
	{"batch_size", TABLE, CONCORD_OPTION_INTEGER, 1, 10000},
	{"on_bad_value", TABLE, CONCORD_OPTION_CHOICE,.choices = "error|null"},
	{"on_missing", TABLE, CONCORD_OPTION_CHOICE,.choices = "error|null"},
	{"key", COLUMN, CONCORD_OPTION_BOOL},
	{"name", COLUMN, CONCORD_OPTION_TEXT},
	{"path", COLUMN, CONCORD_OPTION_TEXT},
	{"type", COLUMN, CONCORD_OPTION_TEXT},
	{"expand", COLUMN, CONCORD_OPTION_BOOL},
	{"read_only", COLUMN, CONCORD_OPTION_BOOL},
	{"pushdown", COLUMN, CONCORD_OPTION_BOOL},
	{"sortable", COLUMN, CONCORD_OPTION_BOOL},
	{"collation", COLUMN, CONCORD_OPTION_CHOICE,.choices = "unknown|binary"},
	{"on_bad_value", COLUMN, CONCORD_OPTION_CHOICE,.choices = "error|null"},
	{"on_missing", COLUMN, CONCORD_OPTION_CHOICE,.choices = "error|null"},
};

#undef SERVER
#undef USER
#undef TABLE
#undef COLUMN
#undef LATER

/* so_level_name names a level as messages do. */
static const char *
so_level_name(ConcordOptionLevel level)
{
	switch (level)
	{
		case CONCORD_OPTION_SERVER:
			return "server";
		case CONCORD_OPTION_USER:
			return "user mapping";
		case CONCORD_OPTION_TABLE:
			return "foreign table";
		case CONCORD_OPTION_COLUMN:
			return "column";
		case CONCORD_OPTION_WRAPPER:
			return "foreign-data wrapper";
	}
	return "object";
}

/* so_find returns the table's row of an option at a level, or NULL. */
static const ConcordOption *
so_find(ConcordOptionLevel level, const char *name)
{
	for (int i = 0; i < lengthof(so_options); i++)
	{
		if (so_options[i].level == level &&
			strcmp(so_options[i].name, name) == 0)
			return &so_options[i];
	}
	return NULL;
}

/* so_swapped says whether b is a with two neighbours exchanged. */
static bool
so_swapped(const char *a, const char *b)
{
	Size		same = 0;

	if (strlen(a) != strlen(b))
		return false;
	while (a[same] != '\0' && a[same] == b[same])
		same++;
	return a[same] != '\0' && a[same + 1] != '\0' &&
		a[same] == b[same + 1] && a[same + 1] == b[same] &&
		strcmp(a + same + 2, b + same + 2) == 0;
}

/*
 * concord_option_closest finds the name with the fewest edits, at most 4; two
 * exchanged letters are one.
 */
const char *
concord_option_closest(const char *name, const char *const *names, int n)
{
	const char *best = NULL;
	int			best_distance = Min(4, (int) strlen(name) / 2) + 1;

	if (strlen(name) > 63)
		return NULL;
	for (int i = 0; i < n; i++)
	{
		int			distance = 1;

		if (!so_swapped(name, names[i]))
			distance = varstr_levenshtein_less_equal(name, strlen(name),
													 names[i], strlen(names[i]),
													 1, 1, 1, best_distance, true);
		if (distance < best_distance)
		{
			best_distance = distance;
			best = names[i];
		}
	}
	return best;
}

/* so_list writes names with commas between them. */
static char *
so_list(const char *const *names, int n)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < n; i++)
		appendStringInfo(&buf, "%s%s", i > 0 ? ", " : "", names[i]);
	return buf.data;
}

/* so_elsewhere names the kinds of objects that have an option, or NULL. */
static char *
so_elsewhere(const char *name)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < lengthof(so_options); i++)
	{
		if (strcmp(so_options[i].name, name) == 0)
			appendStringInfo(&buf, "%sa %s", buf.len > 0 ? " and of " : "",
							 so_level_name(so_options[i].level));
	}
	return buf.len > 0 ? buf.data : NULL;
}

/*
 * so_longer finds the one option of a level whose name ends with _name, such as
 * aws_service; NULL where there is none, or several.
 */
static const char *
so_longer(const char *name, const char *const *names, int n)
{
	Size		len = strlen(name);
	const char *found = NULL;

	for (int i = 0; i < n; i++)
	{
		Size		all = strlen(names[i]);

		if (all < len + 2 || names[i][all - len - 1] != '_' ||
			strcmp(names[i] + all - len, name) != 0)
			continue;
		if (found != NULL)
			return NULL;
		found = names[i];
	}
	return found;
}

/* so_unknown_hint says what may have been meant. */
static char *
so_unknown_hint(ConcordOptionLevel level, const char *name)
{
	const char *names[lengthof(so_options)];
	const char *longer;
	const char *closest;
	char	   *elsewhere = so_elsewhere(name);
	int			n = 0;

	for (int i = 0; i < lengthof(so_options); i++)
	{
		if (so_options[i].level == level &&
			so_options[i].kind != CONCORD_OPTION_LATER)
			names[n++] = so_options[i].name;
	}
	longer = so_longer(name, names, n);
	closest = longer != NULL ? longer : concord_option_closest(name, names, n);

	if (elsewhere != NULL && longer != NULL)
		return psprintf("Perhaps you meant the option \"%s\"; \"%s\" is an option of %s.",
						longer, name, elsewhere);
	if (elsewhere != NULL)
		return psprintf("\"%s\" is an option of %s.", name, elsewhere);
	if (concord_mapping_option_known(name))
		return psprintf("\"%s\" is an option of a mapping: see concord.create_mapping() and alter_mapping().",
						name);
	if (n == 0)
		return pstrdup("There are no valid options in this context.");
	if (closest == NULL)
		return psprintf("Valid options are %s.", so_list(names, n));
	return psprintf("Perhaps you meant the option \"%s\". Valid options are %s.",
					closest, so_list(names, n));
}

/* so_unknown refuses an option that is no row of the table at this level. */
static void
so_unknown(ConcordOptionLevel level, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid %s option \"%s\"", so_level_name(level), name),
			 errhint("%s", so_unknown_hint(level, name))));
}

/* so_bad_value refuses a value, saying what is expected. */
static void
so_bad_value(const ConcordOption *option, const char *value, const char *hint)
{
	bool		show = option->kind != CONCORD_OPTION_SECRET &&
		option->kind != CONCORD_OPTION_HEADERS;

	if (show)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"",
						option->name, value),
				 errhint("%s", hint)));
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\"", option->name),
				 errhint("%s", hint)));
}

/* so_parse_duration reads '30s' and the like; a unit is required. */
static bool
so_parse_duration(const char *value, int *ms)
{
	size_t		len = strlen(value);

	if (len == 0 || !strchr("snhd", value[len - 1]))
		return false;
	return parse_int(value, ms, GUC_UNIT_MS, NULL);
}

/* so_check_url refuses what is not a whole http or https address. */
static void
so_check_url(const ConcordOption *option, const char *value)
{
	CURLU	   *url;
	char	   *user = NULL;
	char	   *scheme = NULL;
	char	   *fragment = NULL;
	char	   *host = NULL;
	char	   *port = NULL;
	const char *hint = NULL;

	for (const char *p = value; *p; p++)
	{
		if ((unsigned char) *p <= ' ' || (unsigned char) *p >= 0x7F)
			so_bad_value(option, value,
						 "Blanks and characters beyond ASCII must be percent-encoded.");
	}
	url = curl_url();
	if (url == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	if (curl_url_set(url, CURLUPART_URL, value,
					 CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
		hint = "An address looks like https://erp.example.com/api/.";
	else if (curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
			 (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
		hint = "Only the schemes http and https are allowed.";
	else if (curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
			 *host == '\0' || strstr(value, ":///") != NULL)
		hint = "The address names no host; one looks like https://erp.example.com/api/.";
	else if (curl_url_get(url, CURLUPART_USER, &user, 0) == CURLUE_OK)
		hint = "User name and password belong in the user mapping.";
	else if (curl_url_get(url, CURLUPART_PORT, &port, 0) == CURLUE_OK &&
			 atoi(port) == 0)
		hint = "There is no port 0.";
	else if (curl_url_get(url, CURLUPART_FRAGMENT, &fragment, 0) == CURLUE_OK)
		hint = "A fragment (#) is never sent.";
	curl_free(scheme);
	curl_free(user);
	curl_free(fragment);
	curl_free(host);
	curl_free(port);
	curl_url_cleanup(url);

	if (hint != NULL)
	{
		/* a password in an address is not repeated */
		if (strchr(value, '@') != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value for option \"%s\"", option->name),
					 errhint("%s", hint)));
		so_bad_value(option, value, hint);
	}
}

/* so_path_climbs says whether a path has a segment "." or "..". */
static bool
so_path_climbs(const char *path)
{
	while (true)
	{
		size_t		len = strcspn(path, "/");

		if ((len == 1 && path[0] == '.') ||
			(len == 2 && path[0] == '.' && path[1] == '.'))
			return true;
		if (path[len] == '\0')
			return false;
		path += len + 1;
	}
}

/* so_check_service refuses a path that could leave the server's url. */
static void
so_check_service(const ConcordOption *option, const char *value)
{
	if (strpbrk(value, "?#\\%") != NULL || strstr(value, "://") != NULL ||
		so_path_climbs(value))
		so_bad_value(option, value, "It is a path under the server's url.");
}

/* so_check_number refuses what is no number or duration in its range. */
static void
so_check_number(const ConcordOption *option, const char *value)
{
	int			number;

	if (option->kind == CONCORD_OPTION_DURATION)
	{
		if (!so_parse_duration(value, &number))
			so_bad_value(option, value,
						 "A duration has a unit: 500ms, 30s, 5min, 2h, 1d.");
	}
	else if (!parse_int(value, &number, 0, NULL))
		so_bad_value(option, value, "The value must be a whole number.");

	if (number < option->min || number > option->max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("value \"%s\" of option \"%s\" is out of range",
						value, option->name),
				 errdetail("It must be between %d and %d%s.",
						   option->min, option->max,
						   option->kind == CONCORD_OPTION_DURATION ?
						   " milliseconds" : "")));
}

/* so_is_choice says whether a value is one of "a|b|c". */
static bool
so_is_choice(const char *choices, const char *value)
{
	Size		len = strlen(value);

	while (true)
	{
		Size		n = strcspn(choices, "|");

		if (n == len && strncmp(choices, value, n) == 0)
			return true;
		if (choices[n] == '\0')
			return false;
		choices += n + 1;
	}
}

/* so_check_value checks one value by its option's kind. */
static void
so_check_value(const ConcordOption *option, const char *value)
{
	const char *hint;
	bool		flag;

	switch (option->kind)
	{
		case CONCORD_OPTION_URL:
			so_check_url(option, value);
			break;
		case CONCORD_OPTION_DURATION:
		case CONCORD_OPTION_INTEGER:
			so_check_number(option, value);
			break;
		case CONCORD_OPTION_BOOL:
			if (!parse_bool(value, &flag))
				so_bad_value(option, value, "The value must be true or false.");
			break;
		case CONCORD_OPTION_HEADERS:
			concord_option_check_headers(option->name, value);
			break;
		case CONCORD_OPTION_SERVICE:
			so_check_service(option, value);
			break;
		case CONCORD_OPTION_HEADER_NAME:
			if (!concord_header_name_valid(value))
				so_bad_value(option, value,
							 "The name of a header has no blanks and no colon.");
			if (concord_header_is_framing(value) || pg_strcasecmp(value, "host") == 0)
				so_bad_value(option, value,
							 "The header belongs to the transfer itself.");
			break;
		case CONCORD_OPTION_FILE:
			if (!is_absolute_path(value))
				so_bad_value(option, value, "The path must be absolute.");
			break;
		case CONCORD_OPTION_RATE:
		case CONCORD_OPTION_QUOTA:
		case CONCORD_OPTION_SHARE:
		case CONCORD_OPTION_NAME:
			hint = concord_limit_option_problem(option->kind, value);
			if (hint != NULL)
				so_bad_value(option, value, hint);
			break;
		case CONCORD_OPTION_ALLOW:
			hint = concord_allow_list_bad(value);
			if (hint != NULL)
				so_bad_value(option, value, hint);
			break;
		case CONCORD_OPTION_TEXT:
		case CONCORD_OPTION_SECRET:
			if (*value == '\0')
				so_bad_value(option, value, "The value must not be empty.");
			break;
		case CONCORD_OPTION_CHOICE:
			if (!so_is_choice(option->choices, value))
				so_bad_value(option, value,
							 psprintf("It is one of %s.", option->choices));
			break;
		case CONCORD_OPTION_LATER:
			break;
	}
}

/* concord_option_check checks a list of options, one by one. */
void
concord_option_check(ConcordOptionLevel level, List *options)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);
		const ConcordOption *option = so_find(level, def->defname);

		if (option == NULL)
			so_unknown(level, def->defname);
		if (option->kind == CONCORD_OPTION_LATER)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("%s option \"%s\" is not available in this version",
							so_level_name(level), def->defname)));
		so_check_value(option, defGetString(def));
	}
}

/* concord_option_uses_file looks for options whose value is a path. */
const char *
concord_option_uses_file(ConcordOptionLevel level, List *options)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);
		const ConcordOption *option = so_find(level, def->defname);

		if (option != NULL && option->kind == CONCORD_OPTION_FILE)
			return option->name;
	}
	return NULL;
}

/* concord_option_secret says whether an option's value is a secret. */
bool
concord_option_secret(ConcordOptionLevel level, const char *name)
{
	const ConcordOption *option = so_find(level, name);

	return option != NULL && option->kind == CONCORD_OPTION_SECRET;
}

/* concord_option_get looks an option up by name. */
const char *
concord_option_get(List *options, const char *name)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		if (strcmp(def->defname, name) == 0)
			return defGetString(def);
	}
	return NULL;
}

/* concord_option_duration reads a duration in milliseconds. */
int
concord_option_duration(List *options, const char *name, int def)
{
	const char *value = concord_option_get(options, name);
	int			ms;

	if (value == NULL || !so_parse_duration(value, &ms))
		return def;
	return ms;
}

/* concord_option_integer reads a whole number. */
int
concord_option_integer(List *options, const char *name, int def)
{
	const char *value = concord_option_get(options, name);
	int			number;

	if (value == NULL || !parse_int(value, &number, 0, NULL))
		return def;
	return number;
}

/* concord_option_bool reads a truth value. */
bool
concord_option_bool(List *options, const char *name, bool def)
{
	const char *value = concord_option_get(options, name);
	bool		flag;

	if (value == NULL || !parse_bool(value, &flag))
		return def;
	return flag;
}
