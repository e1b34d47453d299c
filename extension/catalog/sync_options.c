/*-------------------------------------------------------------------------
 *
 * sync_options.c
 *	  Options pull, receive and match of a mapping, read from JSON.
 *
 * They are objects, or a list of rules.  A member is refused by name where it
 * is not known, with the closest one that is.  Whether a system has the way
 * that is named, and whether a rule's expressions hold, is decided above.
 *
 *-------------------------------------------------------------------------
 */
#include "catalog/mapping_definition.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* A member of an option that is an object. */
typedef struct SyncMember
{
	const char *name;
	void		(*read) (const struct SyncMember *member,
						 const char *option, const JsonbValue *value,
						 void *into);
	size_t		offset;
} SyncMember;

static const char *const sync_methods[] = {"", "delta", "since", "full"};
static const char *const sync_deletes[] = {"ignore", "delete"};

/* sync_list writes words as "a, b and c". */
static char *
sync_list(const char *const *words, int nwords)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < nwords; i++)
		appendStringInfo(&buf, "%s%s",
						 buf.len == 0 ? "" : i == nwords - 1 ? " and " : ", ",
						 words[i]);
	return buf.data;
}

/* concord_definition_hint lists what there is, the closest one first. */
char *
concord_definition_hint(const char *name, const char *const *candidates,
						int ncandidates)
{
	const char *closest = concord_definition_closest(name, candidates,
													 ncandidates);
	char	   *list = sync_list(candidates, ncandidates);

	return closest != NULL ?
		psprintf("Perhaps you meant \"%s\". Valid are %s.", closest, list) :
		psprintf("Valid are %s.", list);
}

/* sync_invalid raises for a value that a member cannot have. */
static void
sync_invalid(const char *option, const char *member, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for member \"%s\" of mapping option \"%s\"",
					member, option),
			 errhint("%s", hint)));
}

/* sync_word returns which of the words a value is. */
static int
sync_word(const char *option, const char *member, const JsonbValue *value,
		  const char *const *words, int first, int nwords)
{
	char	   *text = value->type == jbvString ?
		concord_definition_text(value) : NULL;

	for (int i = first; text != NULL && i < nwords; i++)
	{
		if (strcmp(text, words[i]) == 0)
			return i;
	}
	sync_invalid(option, member,
				 concord_definition_hint(text != NULL ? text : "",
										 words + first, nwords - first));
	return 0;					/* keep compiler quiet */
}

/* sync_method reads how records are pulled. */
static void
sync_method(const SyncMember *member, const char *option,
			const JsonbValue *value, void *into)
{
	*(ConcordPullMethod *) ((char *) into + member->offset) =
		sync_word(option, member->name, value, sync_methods, 1,
				  lengthof(sync_methods));
}

/* sync_delete reads what a record that is gone does. */
static void
sync_delete(const SyncMember *member, const char *option,
			const JsonbValue *value, void *into)
{
	*(bool *) ((char *) into + member->offset) =
		sync_word(option, member->name, value, sync_deletes, 0,
				  lengthof(sync_deletes)) == 1;
}

/* sync_truth reads a boolean. */
static void
sync_truth(const SyncMember *member, const char *option,
		   const JsonbValue *value, void *into)
{
	bool		truth = false;

	if (value->type == jbvBool)
		truth = value->val.boolean;
	else if (value->type != jbvString ||
			 !parse_bool(concord_definition_text(value), &truth))
		sync_invalid(option, member->name, "Valid values are true and false.");
	*(bool *) ((char *) into + member->offset) = truth;
}

/* sync_text reads a text that is not empty. */
static void
sync_text(const SyncMember *member, const char *option,
		  const JsonbValue *value, void *into)
{
	char	   *text = value->type == jbvString ?
		concord_definition_text(value) : NULL;

	if (text == NULL || text[0] == '\0')
		sync_invalid(option, member->name, "It is a text that is not empty.");
	*(char **) ((char *) into + member->offset) = text;
}

/* sync_path reads the dotted path of a value. */
static void
sync_path(const SyncMember *member, const char *option,
		  const JsonbValue *value, void *into)
{
	char	   *text = value->type == jbvString ?
		concord_definition_text(value) : NULL;

	if (text == NULL || text[0] == '\0' || text[0] == '.' ||
		text[strlen(text) - 1] == '.' || strstr(text, "..") != NULL ||
		strpbrk(text, " \t\r\n") != NULL)
		sync_invalid(option, member->name,
					 "It is the name of a field, or the path of one in an object, as \"data.object.id\".");
	*(char **) ((char *) into + member->offset) = text;
}

/* sync_interval reads an interval from no time to a week. */
static void
sync_interval(const SyncMember *member, const char *option,
			  const JsonbValue *value, void *into)
{
	bool		every = member->offset == offsetof(ConcordPullOptions, every_ms);
	double		ms;

	if (!concord_definition_duration(value, &ms) ||
		ms < (every ? 1000 : 0) || ms > 7 * (double) SECS_PER_DAY * 1000.0)
		sync_invalid(option, member->name,
					 every ?
					 "It is an interval from 1 second to 7 days, as \"5 min\"." :
					 "It is an interval of at most 7 days, as \"30 s\".");
	*(int *) ((char *) into + member->offset) = (int) ms;
}

#define PULL_AT(field)	offsetof(ConcordPullOptions, field)

static const SyncMember sync_pull[] = {
	{"changed", sync_path, PULL_AT(changed)},
	{"delete", sync_delete, PULL_AT(remove)},
	{"every", sync_interval, PULL_AT(every_ms)},
	{"filter", sync_text, PULL_AT(filter)},
	{"insert", sync_truth, PULL_AT(insert)},
	{"method", sync_method, PULL_AT(method)},
	{"overlap", sync_interval, PULL_AT(overlap_ms)},
};


/* sync_object reads an object's members as a table of them says. */
static void
sync_object(const char *option, const JsonbValue *value,
			const SyncMember *known, int nknown, void *into)
{
	const char *names[16];
	ListCell   *lc;

	Assert(nknown <= lengthof(names));
	for (int i = 0; i < nknown; i++)
		names[i] = known[i].name;
	if (value->type != jbvBinary ||
		!JsonContainerIsObject(value->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for mapping option \"%s\"", option),
				 errhint("It is an object; its members are %s.",
						 sync_list(names, nknown))));
	foreach(lc, concord_definition_members(value->val.binary.data, option))
	{
		ConcordJsonMember *given = lfirst(lc);
		const SyncMember *member = NULL;

		for (int i = 0; i < nknown && member == NULL; i++)
		{
			if (strcmp(known[i].name, given->name) == 0)
				member = &known[i];
		}
		if (member == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unrecognized member \"%s\" of mapping option \"%s\"",
							given->name, option),
					 errhint("%s", concord_definition_hint(given->name, names,
														   nknown))));
		member->read(member, option, &given->value, into);
	}
}

/* concord_definition_pull reads option pull. */
ConcordPullOptions *
concord_definition_pull(const JsonbValue *value)
{
	ConcordPullOptions *pull = palloc0(sizeof(ConcordPullOptions));

	pull->insert = true;
	pull->overlap_ms = -1;
	sync_object("pull", value, sync_pull, lengthof(sync_pull), pull);
	if (pull->overlap_ms >= 0 && pull->method != CONCORD_PULL_SINCE &&
		pull->method != CONCORD_PULL_DEFAULT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("member \"overlap\" of mapping option \"pull\" is of method \"since\" only"),
				 errdetail("The method is \"%s\".", sync_methods[pull->method])));
	return pull;
}

/*
 * concord_definition_receive reads option receive.  Its members are those of a
 * connector's, and checked there.
 */
Jsonb *
concord_definition_receive(const JsonbValue *value)
{
	JsonbValue	copy = *value;

	if (value->type != jbvBinary ||
		!JsonContainerIsObject(value->val.binary.data))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for mapping option \"receive\""),
				 errhint("It is an object, {} where messages are as the connector says.")));
	return JsonbValueToJsonb(&copy);
}

/* sync_rule reads one rule that is an object. */
static void
sync_rule(ConcordMatchRule *rule, JsonbContainer *container)
{
	static const char *const names[] = {"local", "name", "remote"};
	ListCell   *lc;

	foreach(lc, concord_definition_members(container, "match"))
	{
		ConcordJsonMember *member = lfirst(lc);
		char	   *text = member->value.type == jbvString ?
			concord_definition_text(&member->value) : NULL;

		if (strcmp(member->name, "local") == 0)
			rule->local = text;
		else if (strcmp(member->name, "remote") == 0)
			rule->remote = text;
		else if (strcmp(member->name, "name") == 0)
			rule->name = text;
		else
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("unrecognized member \"%s\" of a rule of mapping option \"match\"",
							member->name),
					 errhint("%s", concord_definition_hint(member->name, names,
														   lengthof(names)))));
		if (text == NULL || text[0] == '\0')
			sync_invalid("match", member->name, "It is a text that is not empty.");
	}
}

/* concord_definition_match reads option match: rules, in their order. */
List *
concord_definition_match(const JsonbValue *value)
{
	static const char hint[] = "It is an array of rules, each {\"remote\": field, \"local\": expression} or an SQL condition over the row and \"remote\", as [{\"remote\": \"email\", \"local\": \"lower(email)\"}, \"name = remote->>'Name'\"].";
	List	   *rules = NIL;
	JsonbContainer *array;

	array = value->type == jbvBinary ? value->val.binary.data : NULL;
	if (array == NULL || !JsonContainerIsArray(array) ||
		JsonContainerSize(array) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for mapping option \"%s\"", "match"),
				 errhint("%s", hint)));
	for (uint32 i = 0; i < JsonContainerSize(array); i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(array, i);
		ConcordMatchRule *rule = palloc0(sizeof(ConcordMatchRule));

		if (element->type == jbvString)
			rule->expression = concord_definition_text(element);
		else if (element->type == jbvBinary &&
				 JsonContainerIsObject(element->val.binary.data))
			sync_rule(rule, element->val.binary.data);
		if ((rule->expression == NULL || rule->expression[0] == '\0') &&
			(rule->remote == NULL || rule->local == NULL))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("rule %d of mapping option \"match\" is not complete",
							i + 1),
					 errhint("%s", hint)));
		if (rule->name == NULL)
			rule->name = rule->expression != NULL ? rule->expression :
				psprintf("%s = %s", rule->remote, rule->local);
		rules = lappend(rules, rule);
	}
	return rules;
}
