/*-------------------------------------------------------------------------
 *
 * define.c
 *	  create_mapping, create_topic_mapping, alter_mapping, revert_mapping.
 *
 * A definition is checked in this order: the caller's rights; the arguments;
 * every expression, as the definer and in the mapping's environment; what the
 * connector says.  Only then is anything written.
 *
 * Where a mapping begins is exact: its table is locked against writers until
 * commit, the row in concord.captured and a control message are written in
 * that transaction, and capture meets the message in commit order.  That only
 * holds while there is a slot, so creation waits for one, and it does so
 * before the transaction has an xid: the slot's creation waits for us.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/define.h"

#include "catalog/captured.h"
#include "catalog/mapping_definition.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mapping/compile.h"
#include "mapping/hooks.h"
#include "mapping/written.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(concord_create_mapping);
PG_FUNCTION_INFO_V1(concord_create_topic_mapping);
PG_FUNCTION_INFO_V1(concord_alter_mapping);
PG_FUNCTION_INFO_V1(concord_revert_mapping);

/* What create_mapping was called with; NULL where not given. */
typedef struct DefRequest
{
	const char *function;		/* for messages */
	char	   *name;
	Oid			source;
	char	   *topic;
	char	   *server;
	char	   *object;
	Jsonb	   *fields;
	Jsonb	   *key;
	char	   *filter;
	Jsonb	   *checks;
	char	   *push;
	char	   *initial;
	Jsonb	   *options;
	bool		paused;
	bool		or_replace;
	char	   *comment;
} DefRequest;

/* def_arg_text returns a text argument, or NULL. */
static char *
def_arg_text(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/* def_arg_name returns an argument of type name, or NULL. */
static char *
def_arg_name(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : pstrdup(NameStr(*PG_GETARG_NAME(n)));
}

/* def_arg_json returns a jsonb argument, or NULL. */
static Jsonb *
def_arg_json(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : PG_GETARG_JSONB_P_COPY(n);
}

/* def_arg_bool returns a boolean argument; NULL is false. */
static bool
def_arg_bool(FunctionCallInfo fcinfo, int n)
{
	return !PG_ARGISNULL(n) && PG_GETARG_BOOL(n);
}

/* def_require raises where an argument that must be given is NULL or empty. */
static void
def_require(const char *value, const char *argument)
{
	if (value == NULL || value[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null or empty", argument)));
}

/* A word of an argument, and whether this version has it. */
typedef struct DefWord
{
	const char *word;
	bool		later;
} DefWord;

/* def_word raises where a word is none that this version has. */
static void
def_word(const char *value, const char *argument, const DefWord *words)
{
	StringInfoData valid;

	if (value == NULL)
		return;
	initStringInfo(&valid);
	for (const DefWord *word = words; word->word != NULL; word++)
	{
		if (strcmp(value, word->word) == 0 && !word->later)
			return;
		if (!word->later)
			appendStringInfo(&valid, "%s\"%s\"", valid.len > 0 ? " and " : "",
							 word->word);
	}
	for (const DefWord *word = words; word->word != NULL; word++)
	{
		if (strcmp(value, word->word) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("%s \"%s\" is not available in this version",
							argument, value),
					 errhint("Values available are %s.", valid.data)));
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value \"%s\" for argument \"%s\"", value, argument),
			 errhint("Values available are %s.", valid.data)));
}

/* def_check_words checks push and initial. */
static void
def_check_words(const char *push, const char *initial)
{
	static const DefWord pushes[] = {{"event", false}, {"off", false}, {"batch", true}, {NULL}};
	static const DefWord initials[] = {{"none", false}, {"match", false}, {"snapshot", true}, {NULL}};

	def_word(push, "push", pushes);
	def_word(initial, "initial", initials);
	if (initial != NULL && strcmp(initial, "match") == 0 &&
		concord_mapping_match_hook == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s \"%s\" is not available in this version",
						"initial", "match")));
}

/* def_push_text writes a text member of a definition. */
static void
def_push_text(JsonbInState *state, const char *name, const char *text)
{
	JsonbValue	value;

	if (text == NULL)
		return;
	value.type = jbvString;
	value.val.string.val = unconstify(char *, name);
	value.val.string.len = strlen(name);
	concord_jsonb_push(state, WJB_KEY, &value);
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = strlen(text);
	concord_jsonb_push(state, WJB_VALUE, &value);
}

/* def_push_json writes a member of a definition that is JSON. */
static void
def_push_json(JsonbInState *state, const char *name, Jsonb *json)
{
	JsonbValue	value;

	if (json == NULL)
		return;
	/* what a key's array may hold is checked when it is read */
	if (!JB_ROOT_IS_OBJECT(json) &&
		!(strcmp(name, "key") == 0 && JB_ROOT_IS_ARRAY(json) &&
		  !JB_ROOT_IS_SCALAR(json)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s must be a JSON object", name)));
	value.type = jbvString;
	value.val.string.val = unconstify(char *, name);
	value.val.string.len = strlen(name);
	concord_jsonb_push(state, WJB_KEY, &value);
	value.type = jbvBinary;
	value.val.binary.data = &json->root;
	value.val.binary.len = VARSIZE_ANY_EXHDR(json);
	concord_jsonb_push(state, WJB_VALUE, &value);
}

/* def_filter returns a filter, or NULL where it is the one that is none. */
static const char *
def_filter(const char *filter)
{
	return filter != NULL && pg_strcasecmp(filter, "true") == 0 ? NULL : filter;
}

/* def_definition writes a definition as it is stored. */
static Jsonb *
def_definition(const DefRequest *request)
{
	JsonbInState state = {0};

	concord_jsonb_push(&state, WJB_BEGIN_OBJECT, NULL);
	def_push_text(&state, "object", request->object);
	def_push_json(&state, "fields", request->fields);
	def_push_json(&state, "key", request->key);
	def_push_text(&state, "filter", def_filter(request->filter));
	def_push_json(&state, "checks", request->checks);
	def_push_text(&state, "push", request->push);
	def_push_json(&state, "options", request->options);
	concord_jsonb_push(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

/*
 * def_parse reads a definition into mapping and checks everything that can be
 * known of it.
 */
static void
def_parse(ConcordMapping *mapping, Jsonb *definition)
{
	if (mapping->written)
	{
		concord_written_check(mapping, definition);
		return;
	}
	concord_definition_parse(mapping, definition);
	if (mapping->fields == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mapping \"%s\" has no fields", mapping->name),
				 errhint("Name at least one, as in {\"Name\": \"trim(name)\"}.")));
	if (!concord_mapping_source_key(mapping, CurrentMemoryContext))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no primary key",
						get_rel_name(mapping->source)),
				 errdetail("Without a key its rows cannot be told apart."),
				 errhint("Add a primary key, or use ALTER TABLE ... REPLICA IDENTITY USING INDEX with a unique index.")));
	concord_owner_check(mapping);
	concord_compile_check(mapping);
	concord_documents_check(mapping);
	if (concord_mapping_check_hook != NULL)
		concord_mapping_check_hook(mapping);
}

/* def_check_replace raises where a mapping cannot be replaced by another. */
static void
def_check_replace(const DefRequest *request, const ConcordMapping *existing,
				  Oid serverid)
{
	if (!request->or_replace)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("mapping \"%s\" already exists", request->name),
				 errhint("Use another name, concord.alter_mapping(), or or_replace => true.")));
	concord_source_require(existing);
	concord_source_at_home(existing);
	if (existing->source != request->source ||
		existing->serverid != serverid ||
		(existing->topic == NULL) != (request->topic == NULL) ||
		(existing->topic != NULL && strcmp(existing->topic, request->topic) != 0))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mapping \"%s\" has another source or server",
						request->name),
				 errhint("Use concord.drop_mapping() first: what is pending and the links do not fit the new one.")));
}

/* def_check_arguments raises where what must be given is not. */
static void
def_check_arguments(const DefRequest *request)
{
	def_require(request->name, "name");
	if (strlen(request->name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_NAME_TOO_LONG),
				 errmsg("mapping name \"%s\" is too long", request->name),
				 errdetail("It may have at most %d bytes.", NAMEDATALEN - 1)));
	if (request->topic == NULL && !OidIsValid(request->source))
		def_require(NULL, strcmp(request->function, "concord.create_mapping()") == 0 ?
					"source" : "topic");
	if (request->topic != NULL)
	{
		def_require(request->topic, "topic");
		if (strcmp(request->topic, "concord") == 0 ||
			(strncmp(request->topic, "concord.", 8) == 0 &&
			 strcmp(request->topic, "concord.alert") != 0))
			ereport(ERROR,
					(errcode(ERRCODE_RESERVED_NAME),
					 errmsg("topic \"%s\" is reserved", request->topic),
					 errhint("Topics that begin with \"concord.\" are the extension's own.")));
	}
	def_require(request->server, "server");
	/* whether it may be empty is the connector's to say: a webhook's may */
	if (request->object == NULL)
		def_require(NULL, "object");
	def_check_words(request->push, request->initial);
}

/* def_create does what both functions that create a mapping do. */
static int32
def_create(DefRequest *request)
{
	ConcordMapping *mapping = palloc0(sizeof(ConcordMapping));
	ConcordMapping *existing;
	Jsonb	   *definition;

	def_check_arguments(request);
	if (request->topic == NULL)
		concord_source_check(request->source, GetUserId());
	mapping->serverid = concord_source_server(request->server, GetUserId());
	existing = concord_mapping_find(request->name, CurrentMemoryContext);
	if (existing != NULL)
		def_check_replace(request, existing, mapping->serverid);
	else if (concord_mapping_capture_hook != NULL)
		concord_mapping_capture_hook(request->function);
	if (request->topic == NULL)
	{
		concord_captured_lock(request->source);
		concord_source_check(request->source, GetUserId());
	}

	mapping->name = request->name;
	mapping->state = request->paused ? CONCORD_MAPPING_PAUSED :
		CONCORD_MAPPING_ACTIVE;
	mapping->source = request->source;
	mapping->topic = request->topic;
	mapping->server = request->server;
	mapping->definer = existing != NULL ? existing->definer : GetUserId();
	mapping->definer_name = GetUserNameFromId(mapping->definer, false);
	mapping->search_path = existing != NULL ? existing->search_path :
		concord_store_search_path();
	definition = def_definition(request);
	def_parse(mapping, definition);

	if (existing != NULL)
		mapping->id = existing->id;
	else
		mapping->id = concord_store_mapping(mapping, request->comment);
	mapping->version = concord_store_version(mapping, definition,
											 request->comment);
	concord_owner_store(mapping, false);
	concord_depends_capture(existing, mapping);
	concord_depends_store(mapping);
	concord_uses_store(mapping);
	concord_depends_release(existing, mapping);
	if (existing == NULL)
	{
		if (request->topic == NULL)
			concord_captured_add(request->source);
		concord_store_start(mapping->id, mapping->version);
	}
	if (request->initial != NULL && strcmp(request->initial, "match") == 0)
		concord_mapping_match_hook(mapping);
	return mapping->version;
}

/* concord_create_mapping is concord.create_mapping(). */
Datum
concord_create_mapping(PG_FUNCTION_ARGS)
{
	DefRequest	request = {"concord.create_mapping()"};

	request.name = def_arg_text(fcinfo, 0);
	request.source = PG_ARGISNULL(1) ? InvalidOid : PG_GETARG_OID(1);
	request.server = def_arg_name(fcinfo, 2);
	request.object = def_arg_text(fcinfo, 3);
	request.fields = def_arg_json(fcinfo, 4);
	request.key = def_arg_json(fcinfo, 5);
	request.filter = def_arg_text(fcinfo, 6);
	request.checks = def_arg_json(fcinfo, 7);
	request.push = def_arg_text(fcinfo, 8);
	request.initial = def_arg_text(fcinfo, 9);
	request.options = def_arg_json(fcinfo, 10);
	request.paused = def_arg_bool(fcinfo, 11);
	request.or_replace = def_arg_bool(fcinfo, 12);
	request.comment = def_arg_text(fcinfo, 13);
	PG_RETURN_INT32(def_create(&request));
}

/* concord_create_topic_mapping is concord.create_topic_mapping(). */
Datum
concord_create_topic_mapping(PG_FUNCTION_ARGS)
{
	DefRequest	request = {"concord.create_topic_mapping()"};

	request.name = def_arg_text(fcinfo, 0);
	request.topic = def_arg_text(fcinfo, 1);
	request.server = def_arg_name(fcinfo, 2);
	request.object = def_arg_text(fcinfo, 3);
	request.fields = def_arg_json(fcinfo, 4);
	request.key = def_arg_json(fcinfo, 5);
	request.filter = def_arg_text(fcinfo, 6);
	request.checks = def_arg_json(fcinfo, 7);
	request.push = def_arg_text(fcinfo, 8);
	request.options = def_arg_json(fcinfo, 9);
	request.paused = def_arg_bool(fcinfo, 10);
	request.or_replace = def_arg_bool(fcinfo, 11);
	request.comment = def_arg_text(fcinfo, 12);
	PG_RETURN_INT32(def_create(&request));
}

/* def_change loads a mapping that the caller may change, and locks its row. */
static ConcordMapping *
def_change(FunctionCallInfo fcinfo)
{
	char	   *name = def_arg_text(fcinfo, 0);
	ConcordMapping *mapping;

	def_require(name, "name");
	mapping = concord_mapping_by_name(name, CurrentMemoryContext);
	concord_source_require(mapping);
	concord_source_at_home(mapping);
	if (mapping->written)
		concord_written_lock(mapping);
	if (!concord_store_lock(mapping->id))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("mapping \"%s\" does not exist", name)));
	/* another session may have changed it while we waited */
	return concord_mapping_by_name(name, CurrentMemoryContext);
}

/* concord_define_version makes a definition a mapping's current one. */
int32
concord_define_version(ConcordMapping *mapping, Jsonb *definition,
					   const char *comment)
{
	ConcordMapping old;
	int32		version;

	if (mapping->topic == NULL &&
		!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(mapping->source)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table of mapping \"%s\" is gone", mapping->name),
				 errhint("Use concord.drop_mapping().")));
	old = *mapping;
	mapping->local_key = NIL;
	def_parse(mapping, definition);
	version = concord_store_version(mapping, definition, comment);
	concord_owner_store(mapping, false);
	concord_depends_capture(&old, mapping);
	concord_depends_store(mapping);
	concord_uses_store(mapping);
	concord_depends_release(&old, mapping);
	return version;
}

/* def_object returns an object member of a definition as jsonb, or NULL. */
static Jsonb *
def_object(Jsonb *definition, const char *name)
{
	JsonbValue *value;

	value = getKeyJsonValueFromContainer(&definition->root, name, strlen(name),
										 NULL);
	return value == NULL || value->type == jbvNull ? NULL :
		JsonbValueToJsonb(value);
}

/* def_text returns a text member of a definition, or NULL. */
static char *
def_text(Jsonb *definition, const char *name)
{
	JsonbValue *value;

	value = getKeyJsonValueFromContainer(&definition->root, name, strlen(name),
										 NULL);
	return value == NULL || value->type != jbvString ? NULL :
		concord_definition_text(value);
}

/* def_merge_key merges into a key; one that is an array is given as a whole. */
static Jsonb *
def_merge_key(Jsonb *old, Jsonb *patch)
{
	if (patch == NULL)
		return old;
	if (!JB_ROOT_IS_OBJECT(patch))
		return patch;
	if (old != NULL && !JB_ROOT_IS_OBJECT(old))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("cannot merge into a key that was given as an array"),
				 errhint("Give the whole key as an array again.")));
	return concord_definition_merge(old, patch);
}

/* concord_alter_mapping is concord.alter_mapping(). */
Datum
concord_alter_mapping(PG_FUNCTION_ARGS)
{
	ConcordMapping *mapping = def_change(fcinfo);
	Jsonb	   *old = concord_store_definition(mapping, 0);
	DefRequest	request = {"concord.alter_mapping()"};
	char	   *object = def_arg_text(fcinfo, 6);
	bool		given = false;

	for (int i = 1; i < 9; i++)
		given = given || !PG_ARGISNULL(i);
	if (!given)
		PG_RETURN_INT32(mapping->version);

	request.fields = concord_definition_merge(def_object(old, "fields"),
											  def_arg_json(fcinfo, 1));
	request.key = def_merge_key(def_object(old, "key"), def_arg_json(fcinfo, 2));
	request.filter = PG_ARGISNULL(3) ? def_text(old, "filter") :
		def_arg_text(fcinfo, 3);
	request.checks = concord_definition_merge(def_object(old, "checks"),
											  def_arg_json(fcinfo, 4));
	request.push = PG_ARGISNULL(5) ? def_text(old, "push") :
		def_arg_text(fcinfo, 5);
	request.object = object == NULL ? mapping->object : object;
	request.options = concord_definition_merge(def_object(old, "options"),
											   def_arg_json(fcinfo, 7));
	if (request.object == NULL)
		def_require(NULL, "object");
	def_check_words(request.push, NULL);
	PG_RETURN_INT32(concord_define_version(mapping, def_definition(&request),
										   def_arg_text(fcinfo, 8)));
}

/* concord_revert_mapping is concord.revert_mapping(). */
Datum
concord_revert_mapping(PG_FUNCTION_ARGS)
{
	ConcordMapping *mapping = def_change(fcinfo);
	int32		version = PG_ARGISNULL(1) ? 0 : PG_GETARG_INT32(1);

	if (version <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"%s\" must be a positive number", "version")));
	PG_RETURN_INT32(concord_define_version(mapping,
										   concord_store_definition(mapping, version),
										   NULL));
}
