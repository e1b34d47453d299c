/*-------------------------------------------------------------------------
 *
 * rules.c
 *	  Member "outcomes" of a connector's definition: rules, parsed.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/definition.h"

#include "catalog/pg_collation.h"
#include "regex/regex.h"
#include "utils/builtins.h"

static const struct
{
	const char *name;
	ConcordOutcome outcome;
}			rul_outcomes[] = {
	{"done", CONCORD_OUTCOME_DONE},
	{"retry", CONCORD_OUTCOME_RETRY},
	{"throttle", CONCORD_OUTCOME_THROTTLE},
	{"down", CONCORD_OUTCOME_DOWN},
	{"dead", CONCORD_OUTCOME_DEAD},
	{"unknown", CONCORD_OUTCOME_UNKNOWN},
	{"conflict", CONCORD_OUTCOME_CONFLICT},
};

/* rul_status parses 409, "409" or "4xx". */
static void
rul_status(JsonbValue *value, ConcordOutcomeRule *rule)
{
	char	   *text = NULL;

	if (value->type == jbvNumeric)
		text = DatumGetCString(DirectFunctionCall1(numeric_out,
												   NumericGetDatum(value->val.numeric)));
	else if (value->type == jbvString)
		text = pnstrdup(value->val.string.val, value->val.string.len);

	if (text == NULL || strlen(text) != 3 || text[0] < '1' || text[0] > '5')
		concord_member_bad("status", "is neither a status nor a class like \"4xx\"");
	if (pg_strcasecmp(text + 1, "xx") == 0)
	{
		rule->status_low = (text[0] - '0') * 100;
		rule->status_high = rule->status_low + 99;
	}
	else if (isdigit((unsigned char) text[1]) && isdigit((unsigned char) text[2]))
		rule->status_low = rule->status_high = atoi(text);
	else
		concord_member_bad("status", "is neither a status nor a class like \"4xx\"");
}

/* rul_rule parses one outcome rule. */
static ConcordOutcomeRule *
rul_rule(JsonbContainer *object)
{
	static const char *const names[] = {
		"name", "status", "header", "path", "match", "outcome"
	};
	ConcordOutcomeRule *rule = palloc0(sizeof(ConcordOutcomeRule));
	JsonbValue	v;
	char	   *outcome;

	concord_member_names(object, names, lengthof(names));
	rule->name = concord_member_of(object, "name");
	rule->header = concord_member_of(object, "header");
	rule->path = concord_member_of(object, "path");
	rule->regex = concord_member_of(object, "match");
	if (concord_member_get(object, "status", &v) != NULL)
		rul_status(&v, rule);
	if (rule->regex != NULL)
		RE_compile_and_execute(cstring_to_text(rule->regex), "", 0,
							   REG_ADVANCED | REG_ICASE, C_COLLATION_OID,
							   0, NULL);

	outcome = concord_member_of(object, "outcome");
	if (outcome == NULL)
		concord_member_bad("outcomes", "has a rule without \"outcome\"");
	for (int i = 0; i < lengthof(rul_outcomes); i++)
	{
		if (strcmp(rul_outcomes[i].name, outcome) == 0)
			rule->outcome = rul_outcomes[i].outcome;
	}
	if (rule->outcome == CONCORD_OUTCOME_NONE)
		concord_member_bad("outcome",
						   "is none of done, retry, throttle, down, dead, unknown and conflict");
	if (rule->name == NULL)
		rule->name = psprintf("connector rule (%s)", outcome);
	return rule;
}

/* concord_member_outcomes parses the array of outcome rules. */
void
concord_member_outcomes(ConcordConnector *connector,
						const ConcordMember *member, JsonbValue *value)
{
	JsonbContainer *array = value->val.binary.data;

	if (value->type != jbvBinary || !JsonContainerIsArray(array))
		concord_member_bad(member->name, "is not an array");
	for (int i = 0; i < JsonContainerSize(array); i++)
	{
		JsonbValue *item = getIthJsonbValueFromContainer(array, i);

		if (item->type != jbvBinary ||
			!JsonContainerIsObject(item->val.binary.data))
			concord_member_bad(member->name,
							   "has an element that is not an object");
		connector->rules = lappend(connector->rules,
								   rul_rule(item->val.binary.data));
	}
}
