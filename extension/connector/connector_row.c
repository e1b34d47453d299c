/*-------------------------------------------------------------------------
 *
 * connector_row.c
 *	  Rows of concord.connector: parse, check, load.
 *
 * A definition is one JSON object.  Its members are rows of a table here, so
 * that an unknown one is refused by name when the row is written (a trigger
 * on the table calls the same parser).  What is left out has the protocol's
 * default, which is CONTRACT.md's behaviour of that connector.
 *
 * The table is read without privilege checks and without SPI: whoever may use
 * a server may use its connector.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/connector.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/shmem.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/server_options.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "regex/regex.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

/* Columns of concord.connector. */
#define Anum_connector_name			1
#define Anum_connector_protocol		2
#define Anum_connector_definition	4

typedef enum RowKind
{
	ROW_REQUEST,				/* {"method": ..., "path": ...} */
	ROW_TEXT,
	ROW_CHOICE,					/* bool: the second of two words */
	ROW_RULES,
} RowKind;

/* A member of a definition and where it goes. */
typedef struct RowMember
{
	const char *name;
	RowKind		kind;
	size_t		offset;			/* of the method, text or bool */
	size_t		path_offset;	/* of a request */
	const char *choices;		/* "no|yes"; of a text: what it may be */
} RowMember;

#define AT(field)	offsetof(ConcordConnector, field)

static const RowMember row_members[] = {
	{"create", ROW_REQUEST, AT(create_method), AT(create_path)},
	{"update", ROW_REQUEST, AT(update_method), AT(update_path)},
	{"delete", ROW_REQUEST, AT(delete_method), AT(delete_path)},
	{"probe", ROW_REQUEST, AT(probe_method), AT(probe_path)},
	{"remote_id_path", ROW_TEXT, AT(remote_id_path)},
	{"remote_id", ROW_CHOICE, AT(remote_id_assigned), 0, "key|assigned"},
	{"unchanged", ROW_CHOICE, AT(suppress_default), 0, "send|suppress"},
	{"replay", ROW_CHOICE, AT(replay_events_default), 0, "state|events"},
	{"upsert", ROW_TEXT, AT(upsert_default), 0, "post|put|patch"},
	{"if_match", ROW_TEXT, AT(if_match_default), 0, "etag|star|none"},
	{"outcomes", ROW_RULES, AT(rules)},
};

static const struct
{
	const char *name;
	ConcordOutcome outcome;
}			row_outcomes[] = {
	{"done", CONCORD_OUTCOME_DONE},
	{"retry", CONCORD_OUTCOME_RETRY},
	{"throttle", CONCORD_OUTCOME_THROTTLE},
	{"down", CONCORD_OUTCOME_DOWN},
	{"dead", CONCORD_OUTCOME_DEAD},
	{"unknown", CONCORD_OUTCOME_UNKNOWN},
};

static const char *const row_methods[] = {
	"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "MERGE",
};

PG_FUNCTION_INFO_V1(concord_connector_check);

/* row_bad refuses a definition, saying which member is wrong and why. */
static void
row_bad(const char *member, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid connector definition"),
			 errdetail("Member \"%s\" %s.", member, why)));
}

/* row_get looks a member of a JSON object up. */
static JsonbValue *
row_get(JsonbContainer *object, const char *name, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(object, name, strlen(name), value);
}

/* row_text returns a member as text; NULL where it is not there. */
static char *
row_text(JsonbContainer *object, const char *name)
{
	JsonbValue	v;

	if (row_get(object, name, &v) == NULL || v.type == jbvNull)
		return NULL;
	if (v.type != jbvString)
		row_bad(name, "is not a text");
	return pnstrdup(v.val.string.val, v.val.string.len);
}

/* row_check_names refuses members that are none of n names. */
static void
row_check_names(JsonbContainer *object, const char *const *names, int n)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbValue	v;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		char	   *name;
		const char *closest;
		bool		known = false;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(v.val.string.val, v.val.string.len);
		for (int i = 0; i < n; i++)
			known |= strcmp(names[i], name) == 0;
		if (known)
			continue;
		closest = concord_option_closest(name, names, n);
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid connector definition"),
				 errdetail("Member \"%s\" is not known.", name),
				 closest ? errhint("Perhaps you meant \"%s\".", closest) : 0));
	}
}

/* row_choice returns which of a|b|c a text is, or -1. */
static int
row_choice(const char *choices, const char *text)
{
	size_t		len = strlen(text);
	int			n = 0;

	for (const char *p = choices; p != NULL; n++)
	{
		if (strncmp(p, text, len) == 0 && (p[len] == '|' || p[len] == '\0'))
			return n;
		p = strchr(p, '|');
		if (p != NULL)
			p++;
	}
	return -1;
}

/* row_check_path refuses placeholders that mean nothing. */
static void
row_check_path(const char *member, const char *path)
{
	for (const char *p = strchr(path, '{'); p != NULL; p = strchr(p + 1, '{'))
	{
		if (strncmp(p, "{object}", 8) != 0 && strncmp(p, "{key}", 5) != 0)
			row_bad(member, "has a placeholder other than {object} and {key}");
	}
	if (strstr(path, "..") != NULL || strstr(path, "://") != NULL)
		row_bad(member, "has a path that is not under the server's url");
}

/* row_request parses {"method": ..., "path": ...}; either may be left out. */
static void
row_request(const RowMember *member, JsonbValue *value, char **method,
			char **path)
{
	static const char *const names[] = {"method", "path"};
	JsonbContainer *object = value->val.binary.data;
	char	   *text;
	bool		known = false;

	if (value->type != jbvBinary || !JsonContainerIsObject(object))
		row_bad(member->name, "is not an object");
	row_check_names(object, names, lengthof(names));

	text = row_text(object, "method");
	if (text != NULL)
	{
		for (int i = 0; i < lengthof(row_methods); i++)
			known |= strcmp(row_methods[i], text) == 0;
		if (!known)
			row_bad(member->name, "has an unknown method");
		*method = text;
	}
	text = row_text(object, "path");
	if (text != NULL)
	{
		row_check_path(member->name, text);
		*path = text;
	}
}

/* row_status parses 409, "409" or "4xx". */
static void
row_status(JsonbValue *value, ConcordOutcomeRule *rule)
{
	char	   *text = NULL;

	if (value->type == jbvNumeric)
		text = DatumGetCString(DirectFunctionCall1(numeric_out,
												   NumericGetDatum(value->val.numeric)));
	else if (value->type == jbvString)
		text = pnstrdup(value->val.string.val, value->val.string.len);

	if (text == NULL || strlen(text) != 3 || text[0] < '1' || text[0] > '5')
		row_bad("status", "is neither a status nor a class like \"4xx\"");
	if (pg_strcasecmp(text + 1, "xx") == 0)
	{
		rule->status_low = (text[0] - '0') * 100;
		rule->status_high = rule->status_low + 99;
	}
	else if (isdigit((unsigned char) text[1]) && isdigit((unsigned char) text[2]))
		rule->status_low = rule->status_high = atoi(text);
	else
		row_bad("status", "is neither a status nor a class like \"4xx\"");
}

/* row_rule parses one outcome rule. */
static ConcordOutcomeRule *
row_rule(JsonbContainer *object)
{
	static const char *const names[] = {
		"name", "status", "header", "path", "match", "outcome"
	};
	ConcordOutcomeRule *rule = palloc0(sizeof(ConcordOutcomeRule));
	JsonbValue	v;
	char	   *outcome;

	row_check_names(object, names, lengthof(names));
	rule->name = row_text(object, "name");
	rule->header = row_text(object, "header");
	rule->path = row_text(object, "path");
	rule->regex = row_text(object, "match");
	if (row_get(object, "status", &v) != NULL)
		row_status(&v, rule);
	if (rule->regex != NULL)
		RE_compile_and_execute(cstring_to_text(rule->regex), "", 0,
							   REG_ADVANCED | REG_ICASE, C_COLLATION_OID,
							   0, NULL);

	outcome = row_text(object, "outcome");
	if (outcome == NULL)
		row_bad("outcomes", "has a rule without \"outcome\"");
	for (int i = 0; i < lengthof(row_outcomes); i++)
	{
		if (strcmp(row_outcomes[i].name, outcome) == 0)
			rule->outcome = row_outcomes[i].outcome;
	}
	if (rule->outcome == CONCORD_OUTCOME_NONE)
		row_bad("outcome",
				"is none of done, retry, throttle, down, dead and unknown");
	if (rule->name == NULL)
		rule->name = psprintf("connector rule (%s)", outcome);
	return rule;
}

/* row_rules parses the array of outcome rules. */
static List *
row_rules(const RowMember *member, JsonbValue *value)
{
	JsonbContainer *array = value->val.binary.data;
	List	   *rules = NIL;

	if (value->type != jbvBinary || !JsonContainerIsArray(array))
		row_bad(member->name, "is not an array");
	for (int i = 0; i < JsonContainerSize(array); i++)
	{
		JsonbValue *item = getIthJsonbValueFromContainer(array, i);

		if (item->type != jbvBinary ||
			!JsonContainerIsObject(item->val.binary.data))
			row_bad(member->name, "has an element that is not an object");
		rules = lappend(rules, row_rule(item->val.binary.data));
	}
	return rules;
}

/* row_member takes one member of a definition over. */
static void
row_member(ConcordConnector *connector, JsonbContainer *object,
		   const RowMember *member)
{
	char	   *base = (char *) connector;
	JsonbValue	v;
	char	   *text;

	if (row_get(object, member->name, &v) == NULL || v.type == jbvNull)
		return;
	switch (member->kind)
	{
		case ROW_REQUEST:
			row_request(member, &v, (char **) (base + member->offset),
						(char **) (base + member->path_offset));
			break;
		case ROW_TEXT:
		case ROW_CHOICE:
			text = row_text(object, member->name);
			if (member->choices != NULL &&
				row_choice(member->choices, text) < 0)
				row_bad(member->name,
						psprintf("is none of %s", member->choices));
			if (member->kind == ROW_TEXT)
				*(char **) (base + member->offset) = text;
			else
				*(bool *) (base + member->offset) =
					row_choice(member->choices, text) == 1;
			break;
		case ROW_RULES:
			*(List **) (base + member->offset) = row_rules(member, &v);
			break;
	}
}

/* row_parse makes a connector of a row's parts, in the current context. */
static ConcordConnector *
row_parse(const char *name, const char *protocol, Jsonb *definition)
{
	const char *names[lengthof(row_members)];
	ConcordConnector *connector = palloc0(sizeof(ConcordConnector));

	connector->name = pstrdup(name);
	connector->protocol_name = pstrdup(protocol);
	connector->protocol = concord_protocol_find(protocol);
	if (connector->protocol == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("protocol \"%s\" of connector \"%s\" is not known",
						protocol, name),
				 errhint("This version has rest, odata and webhook.")));
	if (!JB_ROOT_IS_OBJECT(definition))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid connector definition"),
				 errdetail("It is not a JSON object.")));

	connector->create_method = "POST";
	connector->create_path = "{object}";
	connector->update_method = "PATCH";
	connector->update_path = "{object}/{key}";
	connector->delete_method = "DELETE";
	connector->delete_path = "{object}/{key}";
	connector->probe_method = "GET";
	connector->probe_path = "{object}/{key}";
	connector->suppress_default = true;
	connector->upsert_default = "post";
	connector->if_match_default = "etag";

	for (int i = 0; i < lengthof(row_members); i++)
		names[i] = row_members[i].name;
	row_check_names(&definition->root, names, lengthof(row_members));
	for (int i = 0; i < lengthof(row_members); i++)
		row_member(connector, &definition->root, &row_members[i]);
	return connector;
}

/* row_missing raises that no connector has this name. */
static void
row_missing(const char *name, List *names)
{
	const char **array = palloc(sizeof(char *) * (list_length(names) + 1));
	const char *closest;
	int			n = 0;
	ListCell   *lc;

	foreach(lc, names)
		array[n++] = lfirst(lc);
	closest = concord_option_closest(name, array, n);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("connector \"%s\" does not exist", name),
			 closest != NULL ?
			 errhint("Perhaps you meant \"%s\".", closest) :
			 errhint("Table concord.connector lists the connectors.")));
}

/* concord_connector_load reads and parses the row of that name. */
ConcordConnector *
concord_connector_load(const char *name, bool missing_ok,
					   MemoryContext context)
{
	Oid			relid = get_relname_relid("connector",
										  get_namespace_oid("concord", false));
	Relation	rel = table_open(relid, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	ConcordConnector *connector = NULL;
	List	   *names = NIL;
	HeapTuple	tup;

	while (connector == NULL && HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		TupleDesc	desc = RelationGetDescr(rel);
		bool		isnull;
		char	   *this_name;
		MemoryContext old;

		this_name = NameStr(*DatumGetName(heap_getattr(tup, Anum_connector_name,
													   desc, &isnull)));
		if (strcmp(this_name, name) != 0)
		{
			names = lappend(names, pstrdup(this_name));
			continue;
		}
		old = MemoryContextSwitchTo(context);
		connector = row_parse(name,
							  TextDatumGetCString(heap_getattr(tup, Anum_connector_protocol,
															   desc, &isnull)),
							  DatumGetJsonbPCopy(heap_getattr(tup, Anum_connector_definition,
															  desc, &isnull)));
		MemoryContextSwitchTo(old);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);

	if (connector == NULL && !missing_ok)
		row_missing(name, names);
	return connector;
}

/*
 * concord_connector_check is the row trigger of concord.connector: a row that
 * cannot be parsed is refused, and workers are told to read again.
 */
Datum
concord_connector_check(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	HeapTuple	tup;
	bool		isnull;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by its trigger",
						"connector_check")));
	concord_catalog_changed();
	if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
		return PointerGetDatum(trigdata->tg_trigtuple);

	tup = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ?
		trigdata->tg_newtuple : trigdata->tg_trigtuple;
	desc = RelationGetDescr(trigdata->tg_relation);
	if (heap_attisnull(tup, Anum_connector_name, desc) ||
		heap_attisnull(tup, Anum_connector_protocol, desc) ||
		heap_attisnull(tup, Anum_connector_definition, desc))
		return PointerGetDatum(tup);	/* NOT NULL refuses it, by name */
	row_parse(NameStr(*DatumGetName(heap_getattr(tup, Anum_connector_name,
												 desc, &isnull))),
			  TextDatumGetCString(heap_getattr(tup, Anum_connector_protocol,
											   desc, &isnull)),
			  DatumGetJsonbPCopy(heap_getattr(tup, Anum_connector_definition,
											  desc, &isnull)));
	return PointerGetDatum(tup);
}
