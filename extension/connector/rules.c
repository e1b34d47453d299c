/*-------------------------------------------------------------------------
 *
 * rules.c
 *	  Member "outcomes" of a connector's definition: rules, parsed.
 *
 * Each member of a rule has a function here.  What is wrong is said with the
 * rule's place, its name and the member, for a catalogue has many of them.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/definition.h"

#include "catalog/pg_collation.h"
#include "catalog/server_options.h"
#include "connector/rules.h"
#include "mb/pg_wchar.h"
#include "nodes/makefuncs.h"
#include "nodes/value.h"
#include "regex/regex.h"
#include "utils/builtins.h"

/* What is being parsed, for messages. */
typedef struct RulParse
{
	int			position;		/* from 1 */
	ConcordOutcomeRule *rule;
	JsonbContainer *object;
} RulParse;

static const struct
{
	const char *name;
	ConcordOutcome outcome;
	ConcordEffect effect;
}			rul_outcomes[] = {
	{"done", CONCORD_OUTCOME_DONE},
	{"retry", CONCORD_OUTCOME_RETRY},
	{"throttle", CONCORD_OUTCOME_THROTTLE},
	{"down", CONCORD_OUTCOME_DOWN},
	{"dead", CONCORD_OUTCOME_DEAD},
	{"unknown", CONCORD_OUTCOME_UNKNOWN},
	{"conflict", CONCORD_OUTCOME_CONFLICT},
	{"exists", CONCORD_OUTCOME_NONE, CONCORD_EFFECT_EXISTS},
	{"gone", CONCORD_OUTCOME_NONE, CONCORD_EFFECT_GONE},
};

/* A search is a read to rules, so it has no name of its own. */
static const char *const rul_verbs[] = {
	[CONCORD_VERB_CREATE] = "create",
	[CONCORD_VERB_UPDATE] = "update",
	[CONCORD_VERB_DELETE] = "delete",
	[CONCORD_VERB_PROBE] = "read",
	[CONCORD_VERB_SEND] = "send",
};

/* concord_outcome_name is how rules call an outcome or effect. */
const char *
concord_outcome_name(ConcordOutcome outcome, ConcordEffect effect)
{
	for (int i = 0; i < lengthof(rul_outcomes); i++)
	{
		if (effect != CONCORD_EFFECT_NONE ? rul_outcomes[i].effect == effect :
			rul_outcomes[i].outcome == outcome)
			return rul_outcomes[i].name;
	}
	return NULL;
}

/* rul_bad refuses a rule. */
static void
pg_attribute_noreturn()
rul_bad(const RulParse *parse, const char *member, const char *why)
{
	const char *name = parse->rule->name;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid connector definition"),
			 errdetail("Outcome rule %d%s: member \"%s\" %s.", parse->position,
					   name ? psprintf(" (\"%s\")", name) : "", member, why)));
}

/* rul_unknown refuses a member that rules do not have. */
static void
rul_unknown(const RulParse *parse, const char *member, const char *closest)
{
	const char *name = parse->rule->name;

	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid connector definition"),
			 errdetail("Outcome rule %d%s: member \"%s\" is not known.",
					   parse->position,
					   name ? psprintf(" (\"%s\")", name) : "", member),
			 closest ? errhint("Perhaps you meant \"%s\".", closest) : 0));
}

/* rul_get looks a member of the rule up; null is as if it were not there. */
static bool
rul_get(const RulParse *parse, const char *member, JsonbValue *value)
{
	return concord_member_get(parse->object, member, value) != NULL &&
		value->type != jbvNull;
}

/* rul_string makes a text of a value. */
static char *
rul_string(const RulParse *parse, const char *member, const JsonbValue *value)
{
	if (value->type != jbvString)
		rul_bad(parse, member, "is not a text");
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* rul_text returns a member as text; NULL where it is not there. */
static char *
rul_text(const RulParse *parse, const char *member)
{
	JsonbValue	v;

	return rul_get(parse, member, &v) ? rul_string(parse, member, &v) : NULL;
}

/* rul_regex checks a regular expression as the matching will compile it. */
static char *
rul_regex(const RulParse *parse, const char *member, char *pattern)
{
	int			len = strlen(pattern);
	pg_wchar   *wide = palloc(sizeof(pg_wchar) * (len + 1));
	regex_t		compiled;
	char		error[100];
	int			code;

	len = pg_mb2wchar_with_len(pattern, wide, len);
	code = pg_regcomp(&compiled, wide, len, REG_ADVANCED | REG_ICASE,
					  C_COLLATION_OID);
	if (code != REG_OKAY)
	{
		pg_regerror(code, &compiled, error, sizeof(error));
		rul_bad(parse, member,
				psprintf("is not a regular expression: %s", error));
	}
	pg_regfree(&compiled);
	pfree(wide);
	return pattern;
}

/* rul_path parses the text of a path. */
static ConcordPath *
rul_path(const RulParse *parse, const char *member, const char *text)
{
	const char *why;
	ConcordPath *path = concord_path_parse(text, &why);

	if (path == NULL)
		rul_bad(parse, member, why);
	return path;
}

/*
 * rul_list returns how many values a member has: an array's elements, or the
 * one value itself; 0 where it is not there.
 */
static int
rul_list(const RulParse *parse, const char *member, JsonbValue **values)
{
	JsonbValue *v = palloc(sizeof(JsonbValue));
	JsonbContainer *array;
	int			n;

	*values = v;
	if (!rul_get(parse, member, v))
		return 0;
	if (v->type != jbvBinary || !JsonContainerIsArray(v->val.binary.data))
		return 1;
	array = v->val.binary.data;
	n = JsonContainerSize(array);
	if (n == 0)
		rul_bad(parse, member, "is an empty array");
	*values = palloc(sizeof(JsonbValue) * n);
	for (int i = 0; i < n; i++)
		(*values)[i] = *getIthJsonbValueFromContainer(array, i);
	return n;
}

/* rul_status parses 409, "409", "4xx" or "500-503". */
static bool
rul_status(const char *text, ConcordStatusRange *range)
{
	Size		len = strlen(text);

	if (len != 3 && !(len == 7 && text[3] == '-'))
		return false;
	if (text[0] < '1' || text[0] > '5')
		return false;
	if (len == 3 && pg_strcasecmp(text + 1, "xx") == 0)
	{
		range->low = (text[0] - '0') * 100;
		range->high = range->low + 99;
		return true;
	}
	if (strspn(text, "0123456789") != 3 ||
		(len == 7 && strspn(text + 4, "0123456789") != 3))
		return false;
	range->low = atoi(text);
	range->high = len == 7 ? atoi(text + 4) : range->low;
	return range->low <= range->high && range->high <= 599;
}

/* rul_statuses parses member status. */
static void
rul_statuses(RulParse *parse)
{
	ConcordOutcomeRule *rule = parse->rule;
	JsonbValue *values;

	rule->nstatuses = rul_list(parse, "status", &values);
	rule->statuses = palloc(sizeof(ConcordStatusRange) * (rule->nstatuses + 1));
	for (int i = 0; i < rule->nstatuses; i++)
	{
		char	   *text = NULL;

		if (values[i].type == jbvNumeric)
			text = DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(values[i].val.numeric)));
		else if (values[i].type == jbvString)
			text = rul_string(parse, "status", &values[i]);
		if (text == NULL || !rul_status(text, &rule->statuses[i]))
			rul_bad(parse, "status",
					"is not made of statuses, classes like \"4xx\" and ranges like \"500-503\"");
	}
}

/* rul_operations parses members operation and method. */
static void
rul_operations(RulParse *parse)
{
	JsonbValue *values;
	int			n = rul_list(parse, "operation", &values);

	for (int i = 0; i < n; i++)
	{
		char	   *text = rul_string(parse, "operation", &values[i]);
		int			verb = 0;

		while (verb < lengthof(rul_verbs) &&
			   (rul_verbs[verb] == NULL || strcmp(rul_verbs[verb], text) != 0))
			verb++;
		if (verb == lengthof(rul_verbs))
			rul_bad(parse, "operation",
					"is none of create, update, delete, read and send");
		parse->rule->verbs |= 1 << verb;
	}
	n = rul_list(parse, "method", &values);
	for (int i = 0; i < n; i++)
	{
		char	   *text = rul_string(parse, "method", &values[i]);

		if (*text == '\0' || strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != strlen(text))
			rul_bad(parse, "method", "is not a method in capitals");
		parse->rule->methods = lappend(parse->rule->methods, text);
	}
}

/* rul_headers parses member header: a name, or names with expressions. */
static void
rul_headers(RulParse *parse)
{
	ConcordOutcomeRule *rule = parse->rule;
	JsonbContainer *object;
	JsonbIterator *it;
	JsonbValue	v;
	JsonbIteratorToken token;
	char	   *name = NULL;

	if (!rul_get(parse, "header", &v))
		return;
	if (v.type == jbvString)
	{
		rule->headers = palloc0(sizeof(ConcordHeaderTest));
		rule->headers[0].name = rul_string(parse, "header", &v);
		rule->nheaders = 1;
		return;
	}
	object = v.type == jbvBinary ? v.val.binary.data : NULL;
	if (object == NULL || !JsonContainerIsObject(object))
		rul_bad(parse, "header",
				"is neither a name nor an object of names and regular expressions");
	rule->headers = palloc0(sizeof(ConcordHeaderTest) *
							(JsonContainerSize(object) + 1));
	it = JsonbIteratorInit(object);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(v.val.string.val, v.val.string.len);
		if (token != WJB_VALUE)
			continue;
		rule->headers[rule->nheaders].name = name;
		rule->headers[rule->nheaders++].regex =
			rul_regex(parse, "header", rul_string(parse, "header", &v));
	}
}

/* rul_equals parses member equals: one value or several. */
static void
rul_equals(RulParse *parse)
{
	JsonbValue *values;
	int			n = rul_list(parse, "equals", &values);

	for (int i = 0; i < n; i++)
	{
		ConcordFound *found = palloc0(sizeof(ConcordFound));

		switch (values[i].type)
		{
			case jbvString:
				found->kind = '"';
				found->text = rul_string(parse, "equals", &values[i]);
				break;
			case jbvNumeric:
				found->kind = '0';
				found->text = DatumGetCString(DirectFunctionCall1(numeric_out,
																  NumericGetDatum(values[i].val.numeric)));
				break;
			case jbvBool:
				found->kind = values[i].val.boolean ? 't' : 'f';
				found->text = values[i].val.boolean ? "true" : "false";
				break;
			default:
				rul_bad(parse, "equals", "is not a text, number or bool, nor an array of them");
		}
		parse->rule->equals = lappend(parse->rule->equals, found);
	}
}

/* rul_values parses what is said of values in the answer. */
static void
rul_values(RulParse *parse)
{
	ConcordOutcomeRule *rule = parse->rule;
	char	   *path = rul_text(parse, "path");
	char	   *match = rul_text(parse, "match");
	char	   *text = rul_text(parse, "text");
	JsonbValue	v;

	rul_equals(parse);
	if (path != NULL)
		rule->path = rul_path(parse, "path", path);
	if (text != NULL)
		rule->text = rul_regex(parse, "text", text);
	if (rul_get(parse, "exists", &v))
	{
		if (v.type != jbvBool)
			rul_bad(parse, "exists", "is neither true nor false");
		if (path == NULL)
			rul_bad(parse, "exists", "needs a member \"path\"");
		rule->absent = !v.val.boolean;
	}
	if (rule->absent && (match != NULL || rule->equals != NIL))
		rul_bad(parse, "exists", "is false, which goes neither with \"equals\" nor with \"match\"");
	if (rule->equals != NIL && path == NULL)
		rul_bad(parse, "equals", "needs a member \"path\"");
	if (match == NULL)
		return;

	/* over the value of the path, else of the one header, else the body */
	match = rul_regex(parse, "match", match);
	if (path != NULL)
		rule->match = match;
	else if (rule->nheaders == 1 && rule->headers[0].regex == NULL)
		rule->headers[0].regex = match;
	else if (text == NULL)
		rule->text = match;
	else
		rul_bad(parse, "match", "needs a member \"path\" or \"header\" where there is \"text\"");
}

/* rul_wait parses member retry_after: a duration, or where it stands. */
static void
rul_wait(RulParse *parse)
{
	static const char *const names[] = {"header", "path", "unit"};
	static const char units[] = "s|ms|at";
	ConcordOutcomeRule *rule = parse->rule;
	RulParse	inner = *parse;
	JsonbValue	v;
	const char *unknown;
	char	   *text;
	int			unit;

	rule->wait_ms = -1;
	if (!rul_get(parse, "retry_after", &v))
		return;
	if (rule->effect != CONCORD_EFFECT_NONE ||
		rule->outcome == CONCORD_OUTCOME_DONE ||
		rule->outcome == CONCORD_OUTCOME_DEAD)
		rul_bad(parse, "retry_after", "has no sense with this outcome");
	if (v.type == jbvString)
	{
		rule->wait_ms =
			concord_option_duration(list_make1(makeDefElem("retry_after",
														   (Node *) makeString(rul_string(parse, "retry_after", &v)),
														   -1)),
									"retry_after", -1);
		if (rule->wait_ms < 0)
			rul_bad(parse, "retry_after", "is not a duration such as 500ms, 30s, 5min, 2h or 1d");
		return;
	}
	inner.object = v.type == jbvBinary ? v.val.binary.data : NULL;
	if (inner.object == NULL || !JsonContainerIsObject(inner.object))
		rul_bad(parse, "retry_after", "is neither a duration nor an object");
	unknown = concord_member_unknown(inner.object, names, lengthof(names));
	if (unknown != NULL)
		rul_bad(parse, "retry_after", psprintf("has a member \"%s\", which is not known", unknown));
	rule->wait_header = rul_text(&inner, "header");
	text = rul_text(&inner, "path");
	if ((rule->wait_header == NULL) == (text == NULL))
		rul_bad(parse, "retry_after", "has not just one of \"header\" and \"path\"");
	if (text != NULL)
		rule->wait_path = rul_path(parse, "retry_after", text);
	text = rul_text(&inner, "unit");
	unit = text == NULL ? 0 : concord_member_choose(units, text);
	if (unit < 0)
		rul_bad(parse, "retry_after", "has a unit that is none of s, ms and at");
	rule->wait_unit = unit;
}

/* rul_outcome parses member outcome. */
static void
rul_outcome(RulParse *parse)
{
	ConcordOutcomeRule *rule = parse->rule;
	char	   *text = rul_text(parse, "outcome");
	int			create = 1 << CONCORD_VERB_CREATE;
	int			known = (1 << CONCORD_VERB_UPDATE) | (1 << CONCORD_VERB_DELETE) |
		(1 << CONCORD_VERB_PROBE);
	bool		found = false;

	if (text == NULL)
		rul_bad(parse, "outcome", "is missing");
	for (int i = 0; i < lengthof(rul_outcomes); i++)
	{
		if (strcmp(rul_outcomes[i].name, text) != 0)
			continue;
		found = true;
		rule->outcome = rul_outcomes[i].outcome;
		rule->effect = rul_outcomes[i].effect;
	}
	if (!found)
		rul_bad(parse, "outcome",
				"is none of done, retry, throttle, down, dead, unknown, conflict, exists and gone");

	/* what the effects are about, where the rule does not say */
	if (rule->effect == CONCORD_EFFECT_EXISTS)
	{
		if (rule->verbs == 0)
			rule->verbs = create;
		if (rule->verbs != create)
			rul_bad(parse, "operation", "can only be create with outcome exists");
	}
	else if (rule->effect == CONCORD_EFFECT_GONE)
	{
		if (rule->verbs == 0)
			rule->verbs = known;
		if ((rule->verbs & ~known) != 0)
			rul_bad(parse, "operation", "can only be update, delete or read with outcome gone");
	}
	if (rule->name == NULL)
		rule->name = psprintf("rule %d (%s)", parse->position, text);
}

/* rul_rule parses one outcome rule. */
static ConcordOutcomeRule *
rul_rule(const char *origin, int position, JsonbValue *value)
{
	static const char *const names[] = {
		"name", "status", "operation", "method", "header", "path", "exists",
		"equals", "match", "text", "outcome", "retry_after"
	};
	ConcordOutcomeRule *rule = palloc0(sizeof(ConcordOutcomeRule));
	RulParse	parse = {position, rule};
	const char *unknown;

	parse.object = value->type == jbvBinary ? value->val.binary.data : NULL;
	if (parse.object == NULL || !JsonContainerIsObject(parse.object))
		concord_member_bad("outcomes", "has an element that is not an object");
	rule->origin = pstrdup(origin);
	rule->source = JsonbToCString(NULL, parse.object, value->val.binary.len);
	rule->name = rul_text(&parse, "name");
	unknown = concord_member_unknown(parse.object, names, lengthof(names));
	if (unknown != NULL)
		rul_unknown(&parse, unknown, concord_option_closest(unknown, names,
															lengthof(names)));
	rul_statuses(&parse);
	rul_operations(&parse);
	rul_headers(&parse);
	rul_values(&parse);
	rul_outcome(&parse);
	rul_wait(&parse);
	return rule;
}

/* concord_rules_parse parses an array of outcome rules. */
List *
concord_rules_parse(const char *origin, JsonbValue *value)
{
	JsonbContainer *array = value->type == jbvBinary ? value->val.binary.data : NULL;
	List	   *rules = NIL;

	if (array == NULL || !JsonContainerIsArray(array))
		concord_member_bad("outcomes", "is not an array");
	for (int i = 0; i < JsonContainerSize(array); i++)
		rules = lappend(rules, rul_rule(origin, i + 1,
										getIthJsonbValueFromContainer(array, i)));
	return rules;
}

/* concord_member_outcomes puts a definition's rules before those it extends. */
void
concord_member_outcomes(ConcordConnector *connector,
						const ConcordMember *member, JsonbValue *value)
{
	connector->rules = list_concat(concord_rules_parse(connector->parsing, value),
								   connector->rules);
}
