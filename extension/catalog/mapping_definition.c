/*-------------------------------------------------------------------------
 *
 * mapping_definition.c
 *	  A mapping's definition as JSON, and as the structs of mapping.h.
 *
 * A definition is stored as it was given: an object with members object,
 * fields, key, filter, checks, push and options.  A key may also be an array of
 * objects with one member each, because jsonb keeps no order of members.  What is absent has its
 * default when it is read, so that a default that follows the table (the key)
 * or the connector stays one.  This file knows the shape of the JSON; whether
 * expressions and options make sense for a table or a protocol is decided in
 * the rooms above.
 *
 *-------------------------------------------------------------------------
 */
#include "catalog/mapping_definition.h"

#include "common/keywords.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

static const char *const def_members[] = {
	"apply", "children", "column", "on", "owner", "policy", "value",
};

static const char *const def_policies[] = {
	[CONCORD_POLICY_NONE] = NULL,
	[CONCORD_POLICY_NEWEST] = "newest",
	[CONCORD_POLICY_ADDITIVE] = "additive",
	[CONCORD_POLICY_MANUAL] = "manual",
	[CONCORD_POLICY_LOCAL] = "local",
	[CONCORD_POLICY_REMOTE] = "remote",
};

/* concord_definition_members lists an object's members. */
List *
concord_definition_members(JsonbContainer *container, const char *what)
{
	List	   *members = NIL;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	ConcordJsonMember *member = NULL;

	if (!JsonContainerIsObject(container))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a JSON object", what)));

	it = JsonbIteratorInit(container);
	token = JsonbIteratorNext(&it, &value, false);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			member = palloc0(sizeof(ConcordJsonMember));
			member->name = pnstrdup(value.val.string.val, value.val.string.len);
		}
		else if (token == WJB_VALUE)
		{
			member->value = value;
			members = lappend(members, member);
		}
	}
	return members;
}

/* concord_definition_text returns a string value as text. */
char *
concord_definition_text(const JsonbValue *value)
{
	Assert(value->type == jbvString);
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* def_is_object says whether a value is an object. */
static bool
def_is_object(const JsonbValue *value)
{
	return value->type == jbvBinary &&
		JsonContainerIsObject(value->val.binary.data);
}

/* def_require_text returns a member's text or raises. */
static char *
def_require_text(const JsonbValue *value, const char *member, const char *what,
				 const char *name)
{
	if (value->type != jbvString)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("member \"%s\" of %s \"%s\" must be a string",
						member, what, name)));
	return concord_definition_text(value);
}

/* concord_definition_policy_name names a policy; NULL for none. */
const char *
concord_definition_policy_name(ConcordPolicy policy)
{
	return def_policies[policy];
}

/* concord_definition_policy reads the name of a policy, or raises. */
ConcordPolicy
concord_definition_policy(const char *name)
{
	for (int i = CONCORD_POLICY_NONE + 1; i < lengthof(def_policies); i++)
	{
		if (strcmp(name, def_policies[i]) == 0)
			return i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized conflict policy \"%s\"", name),
			 errhint("%s", concord_definition_hint(name, def_policies + 1,
												   lengthof(def_policies) - 1))));
	return CONCORD_POLICY_NONE; /* keep compiler quiet */
}

/* def_refuse_member raises for a member of a field that is not known. */
static void
def_refuse_member(const char *member, const char *what, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized member \"%s\" of %s \"%s\"",
					member, what, name),
			 errhint("%s", concord_definition_hint(member, def_members,
												   lengthof(def_members)))));
}

/* def_field_on reads when a field is sent. */
static ConcordFieldOn
def_field_on(const char *text, const char *name)
{
	if (strcmp(text, "always") == 0)
		return CONCORD_ON_ALWAYS;
	if (strcmp(text, "create") == 0)
		return CONCORD_ON_CREATE;
	if (strcmp(text, "update") == 0)
		return CONCORD_ON_UPDATE;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value \"%s\" for member \"on\" of field \"%s\"",
					text, name),
			 errhint("Valid values are always, create and update.")));
	return CONCORD_ON_ALWAYS;	/* keep compiler quiet */
}

/* def_is_word: a text is a name as it stands, in lower case and no keyword. */
static bool
def_is_word(const char *text)
{
	size_t		len = strspn(text, "_abcdefghijklmnopqrstuvwxyz0123456789");

	return len > 0 && len < NAMEDATALEN && text[len] == '\0' &&
		(text[0] < '0' || text[0] > '9') &&
		ScanKeywordLookup(text, &ScanKeywords) < 0;
}

/* def_only_column returns the column that is all of a parsed SELECT, or NULL. */
static char *
def_only_column(List *raw)
{
	Node	   *node;
	SelectStmt *select;

	if (list_length(raw) != 1 ||
		!IsA(linitial_node(RawStmt, raw)->stmt, SelectStmt))
		return NULL;
	select = (SelectStmt *) linitial_node(RawStmt, raw)->stmt;
	if (list_length(select->targetList) != 1)
		return NULL;
	node = linitial_node(ResTarget, select->targetList)->val;
	if (!IsA(node, ColumnRef) || list_length(((ColumnRef *) node)->fields) != 1 ||
		!IsA(linitial(((ColumnRef *) node)->fields), String))
		return NULL;
	return strVal(linitial(((ColumnRef *) node)->fields));
}

/*
 * def_bare_column returns the column that an expression is and no more, or
 * NULL.  Whether the table has it is not known here; with a qualifier it is
 * found when the expression is compiled.
 */
static char *
def_bare_column(const char *expression)
{
	static const char *const letters = "_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
	MemoryContext context = CurrentMemoryContext;
	MemoryContext scratch;
	List	   *volatile raw = NIL;
	char	   *text;

	/* what is one word, or holds anything else: most need no parser */
	if (def_is_word(expression))
		return pstrdup(expression);
	text = pstrdup(expression + strspn(expression, " \t\r\n\f("));
	if (text[0] == '\0' ||
		(text[0] != '"' && !IS_HIGHBIT_SET(text[0]) &&
		 strchr(letters, text[0]) == NULL) ||
		(text[0] != '"' && strpbrk(text, "'|+*/<>=:,;-.[\"") != NULL))
		return NULL;
	/* the parser takes no lock or resource, and leaves much behind */
	scratch = AllocSetContextCreate(context, "concord expression",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(scratch);
	PG_TRY();
	{
		raw = raw_parser(psprintf("SELECT (%s\n)", expression),
						 RAW_PARSE_DEFAULT);
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(scratch);
		FlushErrorState();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	text = def_only_column(raw);
	if (text != NULL)
		text = pstrdup(text);
	MemoryContextDelete(scratch);
	return text;
}

/* def_field_incomplete raises for a field that lacks a column. */
static void
def_field_incomplete(const ConcordField *field, const char *what,
					 const char *member)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("%s \"%s\" has \"%s\" but is bound to no column",
					what, field->name, member),
			 errdetail("What comes from a system goes into a column of the table."),
			 errhint("Name it, as in {\"column\": \"credit_limit\"}.")));
}

/* def_field_owner raises where owner and policy contradict each other. */
static void
def_field_owner(const ConcordField *field, const char *what)
{
	bool		shared = field->owner_name != NULL &&
		strcmp(field->owner_name, CONCORD_OWNER_SHARED) == 0;

	if (shared && field->policy_given == CONCORD_POLICY_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s \"%s\" is shared and has no policy",
						what, field->name),
				 errhint("Say what holds where both sides change it: %s.",
						 "newest, additive, manual, local or remote")));
	if (!shared && field->policy_given != CONCORD_POLICY_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s \"%s\" has policy \"%s\" but is not shared",
						what, field->name,
						def_policies[field->policy_given]),
				 errdetail("A column with one owner has no conflicts to decide."),
				 errhint("Set its \"owner\" to \"shared\", or leave the policy out.")));
	if (field->column == NULL && field->owner_name != NULL &&
		strcmp(field->owner_name, CONCORD_OWNER_LOCAL) != 0)
		def_field_incomplete(field, what, "owner");
	if (field->column == NULL && field->apply != NULL)
		def_field_incomplete(field, what, "apply");
}

/* def_field_children makes a field of children, which is nothing else. */
static void
def_field_children(ConcordField *field, const JsonbValue *value,
				   const char *what)
{
	if (list_length(concord_definition_members(value->val.binary.data, what)) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s \"%s\" has children and other members",
						what, field->name),
				 errhint("Children go along when the record is created: {\"%s\": {\"children\": \"mapping\"}}.",
						 field->name)));
	field->expression = pstrdup("NULL");
	field->on = CONCORD_ON_CREATE;
}

/* def_field_object reads a field that is an object. */
static void
def_field_object(ConcordField *field, const JsonbValue *value, const char *what)
{
	ListCell   *lc;

	foreach(lc, concord_definition_members(value->val.binary.data, what))
	{
		ConcordJsonMember *member = lfirst(lc);
		bool		known = false;
		char	   *text;

		for (int i = 0; i < lengthof(def_members) && !known; i++)
			known = strcmp(member->name, def_members[i]) == 0;
		if (!known)
			def_refuse_member(member->name, what, field->name);

		text = def_require_text(&member->value, member->name, what, field->name);
		if (strcmp(member->name, "value") == 0)
			field->expression = text;
		else if (strcmp(member->name, "column") == 0)
		{
			field->column = text;
			field->column_given = true;
		}
		else if (strcmp(member->name, "on") == 0)
			field->on = def_field_on(text, field->name);
		else if (strcmp(member->name, "children") == 0)
			field->children = text;
		else if (strcmp(member->name, "apply") == 0)
			field->apply = text;
		else if (strcmp(member->name, "policy") == 0)
			field->policy_given = concord_definition_policy(text);
		else
			field->owner_name = text;
	}
	if (field->children != NULL)
		def_field_children(field, value, what);
	else if (field->expression == NULL && field->column != NULL)
		field->expression = pstrdup(quote_identifier(field->column));
	if (field->expression == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s \"%s\" has neither a value nor a column",
						what, field->name)));
	if (field->column == NULL)
		field->column = def_bare_column(field->expression);
	def_field_owner(field, what);
}

/* def_check_name raises for names that cannot be written as JSON members. */
static void
def_check_name(const char *name, const char *what)
{
	size_t		len = strlen(name);

	if (len == 0 || name[0] == '/' || name[len - 1] == '/' ||
		strstr(name, "//") != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid name \"%s\" of a %s", name, what),
				 errhint("A slash nests: \"Address/Street\" is member Street of object Address.")));
}

/*
 * def_check_nesting raises where one field is both a value and an object that
 * others nest in ("Address" and "Address/Street").
 */
static void
def_check_nesting(List *fields, const char *what)
{
	ListCell   *outer;
	ListCell   *inner;

	foreach(outer, fields)
	{
		ConcordField *a = lfirst(outer);
		size_t		len = strlen(a->name);

		foreach(inner, fields)
		{
			ConcordField *b = lfirst(inner);

			if (strncmp(b->name, a->name, len) == 0 && b->name[len] == '/')
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("%s \"%s\" is a value and cannot hold \"%s\"",
								what, a->name, b->name)));
		}
	}
}

/* concord_definition_fields reads an object of fields. */
List *
concord_definition_fields(JsonbContainer *container, const char *what,
						  bool plain)
{
	List	   *fields = NIL;
	ListCell   *lc;

	foreach(lc, concord_definition_members(container, what))
	{
		ConcordJsonMember *member = lfirst(lc);
		ConcordField *field = palloc0(sizeof(ConcordField));

		def_check_name(member->name, what);
		field->name = member->name;
		field->on = CONCORD_ON_ALWAYS;
		if (member->value.type == jbvString)
		{
			field->expression = concord_definition_text(&member->value);
			field->column = def_bare_column(field->expression);
		}
		else if (!plain && def_is_object(&member->value))
			def_field_object(field, &member->value, what);
		else
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s \"%s\" must be a string with an SQL expression%s",
							what, field->name, plain ? "" : ", or an object"),
					 member->value.type == jbvNumeric ||
					 member->value.type == jbvBool ?
					 errhint("Write a constant as a string: \"42\", \"true\", \"'text'\".") : 0));
		fields = lappend(fields, field);
	}
	def_check_nesting(fields, what);
	return fields;
}

/* def_key reads the key's fields: an object, or an array of such of one. */
static List *
def_key(JsonbValue *value)
{
	const char *what = "key field";
	List	   *fields = NIL;
	ListCell   *lc;
	JsonbContainer *array;

	if (def_is_object(value))
		return concord_definition_fields(value->val.binary.data, what, true);
	array = value->val.binary.data;
	if (value->type != jbvBinary || !JsonContainerIsArray(array))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a JSON object or array", "key")));
	for (uint32 i = 0; i < JsonContainerSize(array); i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(array, i);
		List	   *one;

		if (!def_is_object(element) ||
			JsonContainerSize(element->val.binary.data) != 1)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%s %d is not an object with one member", what, i + 1),
					 errhint("Write [{\"Zone\": \"zone\"}, {\"ID\": \"id\"}] where the order counts.")));
		one = concord_definition_fields(element->val.binary.data, what, true);
		foreach(lc, fields)
		{
			const char *name = ((ConcordField *) linitial(one))->name;

			if (strcmp(((ConcordField *) lfirst(lc))->name, name) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("%s \"%s\" is given twice", what, name)));
		}
		fields = list_concat(fields, one);
	}
	def_check_nesting(fields, what);
	return fields;
}

/* def_checks reads an object of named checks. */
static List *
def_checks(JsonbContainer *container)
{
	List	   *checks = NIL;
	ListCell   *lc;

	foreach(lc, concord_definition_fields(container, "check", true))
	{
		ConcordField *field = lfirst(lc);
		ConcordCheck *check = palloc0(sizeof(ConcordCheck));

		check->name = field->name;
		check->expression = field->expression;
		checks = lappend(checks, check);
	}
	return checks;
}

/* def_member finds a member of the definition; NULL where absent or null. */
static JsonbValue *
def_member(Jsonb *definition, const char *name)
{
	JsonbValue *value;

	value = getKeyJsonValueFromContainer(&definition->root, name, strlen(name),
										 NULL);
	return value == NULL || value->type == jbvNull ? NULL : value;
}

/* def_text_member returns a text member of the definition, or NULL. */
static char *
def_text_member(Jsonb *definition, const char *name)
{
	JsonbValue *value = def_member(definition, name);

	if (value == NULL)
		return NULL;
	return def_require_text(value, name, "mapping", "definition");
}

/* def_object_member returns an object member of the definition, or NULL. */
static JsonbContainer *
def_object_member(Jsonb *definition, const char *name)
{
	JsonbValue *value = def_member(definition, name);

	if (value == NULL)
		return NULL;
	if (!def_is_object(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a JSON object", name)));
	return value->val.binary.data;
}

/* concord_definition_parse fills what a mapping's definition says. */
void
concord_definition_parse(ConcordMapping *mapping, Jsonb *definition)
{
	JsonbContainer *container;
	JsonbValue *value;

	mapping->object = def_text_member(definition, "object");
	mapping->filter = def_text_member(definition, "filter");
	mapping->push = def_text_member(definition, "push");
	if (mapping->push == NULL)
		mapping->push = pstrdup("event");
	mapping->push_off = strcmp(mapping->push, "off") == 0;

	container = def_object_member(definition, "fields");
	mapping->fields = container == NULL ? NIL :
		concord_definition_fields(container, "field", false);
	value = def_member(definition, "key");
	mapping->key = value == NULL ? NIL : def_key(value);
	container = def_object_member(definition, "checks");
	mapping->checks = container == NULL ? NIL : def_checks(container);

	concord_definition_options(def_object_member(definition, "options"),
							   &mapping->options);
}

/* def_merge_object writes the merger of two objects. */
static void
def_merge_object(JsonbInState *state, JsonbContainer *target,
				 JsonbContainer *patch)
{
	List	   *members = NIL;
	ListCell   *lc;
	JsonbValue	key;

	if (target != NULL && JsonContainerIsObject(target))
		members = concord_definition_members(target, "object");

	concord_jsonb_push(state, WJB_BEGIN_OBJECT, NULL);
	foreach(lc, members)
	{
		ConcordJsonMember *member = lfirst(lc);

		/* written below where the patch speaks of it */
		if (getKeyJsonValueFromContainer(patch, member->name,
										 strlen(member->name), NULL) != NULL)
			continue;
		key.type = jbvString;
		key.val.string.val = member->name;
		key.val.string.len = strlen(member->name);
		concord_jsonb_push(state, WJB_KEY, &key);
		concord_jsonb_push(state, WJB_VALUE, &member->value);
	}
	foreach(lc, concord_definition_members(patch, "object"))
	{
		ConcordJsonMember *member = lfirst(lc);

		if (member->value.type == jbvNull)
			continue;
		key.type = jbvString;
		key.val.string.val = member->name;
		key.val.string.len = strlen(member->name);
		concord_jsonb_push(state, WJB_KEY, &key);
		if (def_is_object(&member->value))
		{
			JsonbValue *old = NULL;

			if (target != NULL && JsonContainerIsObject(target))
				old = getKeyJsonValueFromContainer(target, member->name,
												   strlen(member->name), NULL);
			def_merge_object(state,
							 old != NULL && def_is_object(old) ?
							 old->val.binary.data : NULL,
							 member->value.val.binary.data);
		}
		else
			concord_jsonb_push(state, WJB_VALUE, &member->value);
	}
	concord_jsonb_push(state, WJB_END_OBJECT, NULL);
}

/* concord_definition_merge merges as RFC 7396 says. */
Jsonb *
concord_definition_merge(Jsonb *target, Jsonb *patch)
{
	JsonbInState state = {0};

	if (patch == NULL)
		return target;
	if (!JB_ROOT_IS_OBJECT(patch))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("what is merged into a mapping must be a JSON object")));
	def_merge_object(&state, target != NULL ? &target->root : NULL, &patch->root);
	return JsonbValueToJsonb(state.result);
}
