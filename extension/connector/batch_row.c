/*-------------------------------------------------------------------------
 *
 * batch_row.c
 *	  Member "batch" of a connector's definition.
 *
 * A form of batches is data: what the request looks like, and where its answer
 * says what became of each item.  Formats that are common have names; a name
 * stands for members that are written here as a DBA would, and what stands
 * beside it replaces them.  "batch" is one form or an array of forms; the first
 * that takes an item's operation carries it.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/batch.h"

#include "connector/answer.h"
#include "connector/definition.h"
#include "connector/protocols.h"
#include "connector/template.h"
#include "utils/builtins.h"

#define BRW_MAX_COUNT	10000
#define BRW_MAX_BYTES	(64 * 1024 * 1024)

#define BRW_WRITES \
	((1 << CONCORD_VERB_CREATE) | (1 << CONCORD_VERB_UPDATE) | (1 << CONCORD_VERB_DELETE) | \
	 (1 << CONCORD_VERB_SEND))

typedef struct BrwFormat
{
	const char *name;
	bool		multipart;
	bool		lines;
	const char *members;		/* as a definition */
} BrwFormat;

static const BrwFormat brw_formats[] = {
	{"template", false, false, "{}"},
	{"json_array", false, false,
		"{\"body\": \"{items}\", \"answer\": {\"list\": [\"\", \"results\"],"
	" \"status\": \"status\", \"error\": \"error\"}}"},
	{"json_lines", false, true,
		"{\"content_type\": \"application/x-ndjson\", \"answer\": {\"list\": [\"\", \"results\"],"
	" \"status\": \"status\", \"error\": \"error\"}}"},
	{"cloudevents", false, false,
		"{\"body\": \"{items}\", \"alone\": \"batch\","
	" \"content_type\": \"application/cloudevents-batch+json; charset=utf-8\"}"},
	{"odata_batch_multipart", true, false,
		"{\"path\": \"$batch\", \"max_count\": 100,"
		" \"headers\": {\"OData-Version\": \"4.0\", \"OData-MaxVersion\": \"4.01\", \"Accept\": \"multipart/mixed\","
		" \"Prefer\": \"odata.continue-on-error\"}, \"answer\": {\"missing\": \"stopped\"},"
	" \"unit\": {\"change_sets\": \"one\", \"answer\": {\"missing\": \"unknown\"}}}"},
	{"odata_batch_json", false, false,
		"{\"path\": \"$batch\", \"max_count\": 100,"
		" \"headers\": {\"OData-Version\": \"4.01\", \"OData-MaxVersion\": \"4.01\", \"Accept\": \"application/json\","
		" \"Prefer\": \"continue-on-error\"},"
		" \"body\": {\"requests\": \"{items}\"},"
		" \"item\": {\"id\": \"{request.id}\", \"method\": \"{request.method}\", \"url\": \"{request.path}\","
		" \"headers\": \"{request.headers}\", \"body\": \"{request.body}\"},"
		" \"answer\": {\"list\": \"responses\", \"match\": \"id\", \"id\": \"id\", \"status\": \"status\","
		" \"headers\": \"headers\", \"body\": \"body\", \"missing\": \"stopped\"},"
		" \"unit\": {\"answer\": {\"missing\": \"unknown\"}, \"item\": {\"id\": \"{request.id}\", \"atomicityGroup\": \"unit\","
		" \"method\": \"{request.method}\", \"url\": \"{request.path}\","
	" \"headers\": \"{request.headers}\", \"body\": \"{request.body}\"}}}"},
	{"salesforce_collections", false, false,
		"{\"max_count\": 200, \"path\": \"composite/sobjects\","
		" \"body\": {\"allOrNone\": false, \"records\": \"{items}\"},"
		" \"item\": {\"attributes\": {\"type\": \"{object}\"}, \"...\": \"{request.body}\"},"
	" \"answer\": {\"list\": \"\", \"success\": \"success\", \"missing\": \"unknown\"}}"},
	{"salesforce_composite", false, false,
		"{\"max_count\": 25, \"path\": \"composite\","
		" \"body\": {\"allOrNone\": false, \"compositeRequest\": \"{items}\"}, \"id\": \"r\","
		" \"item\": {\"referenceId\": \"{request.id}\", \"method\": \"{request.method}\", \"url\": \"{request.absolute_path}\","
		" \"body\": \"{request.body}\"},"
		" \"answer\": {\"list\": \"compositeResponse\", \"match\": \"id\", \"id\": \"referenceId\","
		" \"status\": \"httpStatusCode\", \"headers\": \"httpHeaders\", \"body\": \"body\","
		" \"missing\": \"unknown\"}, \"unit\": {\"reference\": \"@{#.id}\","
	" \"body\": {\"allOrNone\": true, \"compositeRequest\": \"{items}\"}}}"},
	{"dataverse_multiple", false, false,
		"{\"operations\": [\"create\", \"update\"], \"max_count\": 100,"
		" \"path\": \"{object}/Microsoft.Dynamics.CRM.UpsertMultiple\","
		" \"headers\": {\"OData-Version\": \"4.0\", \"OData-MaxVersion\": \"4.0\", \"Accept\": \"application/json\"},"
		" \"body\": {\"Targets\": \"{items}\"},"
		" \"item\": {\"@odata.type\": \"Microsoft.Dynamics.CRM.{entity}\", \"@odata.id\": \"{request.path}\","
	" \"...\": \"{request.body}\"}}"},
};

static const char *const brw_operations[] = {
	[CONCORD_VERB_CREATE] = "create",
	[CONCORD_VERB_UPDATE] = "update",
	[CONCORD_VERB_DELETE] = "delete",
	[CONCORD_VERB_SEND] = "send",
};

/* brw_object refuses what is no object and returns its members. */
static JsonbContainer *
brw_object(const char *member, const JsonbValue *value)
{
	if (value->type != jbvBinary ||
		!JsonContainerIsObject(value->val.binary.data))
		concord_member_bad(member, "is not an object");
	return value->val.binary.data;
}

/* brw_text sets a text if it is there. */
static void
brw_text(JsonbContainer *object, const char *name, char **field)
{
	char	   *text = concord_member_of(object, name);

	if (text != NULL)
		*field = text;
}

/* brw_answer_path sets the text of a path in a result if it is there. */
static void
brw_answer_path(JsonbContainer *object, const char *name, char **field)
{
	const char *why;

	brw_text(object, name, field);
	if (*field != NULL && concord_path_parse(*field, &why) == NULL)
		concord_member_bad(psprintf("batch.answer.%s", name), why);
}

/* brw_number sets a number if it is there. */
static void
brw_number(JsonbContainer *object, const char *name, int min, int max,
		   int *field)
{
	JsonbValue	v;
	char	   *text;
	char	   *end;
	long		number;

	if (concord_member_get(object, name, &v) == NULL || v.type == jbvNull)
		return;
	if (v.type != jbvNumeric)
		concord_member_bad(name, "is not a number");
	text = DatumGetCString(DirectFunctionCall1(numeric_out,
											   NumericGetDatum(v.val.numeric)));
	errno = 0;
	number = strtol(text, &end, 10);
	if (errno != 0 || *end != '\0' || number < min || number > max)
		concord_member_bad(name, psprintf("is not a whole number from %d to %d",
										  min, max));
	*field = (int) number;
}

/* brw_word returns which of some words a member is; value where it is not there. */
static int
brw_word(JsonbContainer *object, const char *name, const char *choices,
		 int value)
{
	char	   *text = concord_member_of(object, name);

	if (text == NULL)
		return value;
	value = concord_member_choose(choices, text);
	if (value < 0)
		concord_member_bad(name, psprintf("is none of %s", choices));
	return value;
}

/* brw_body reads the template of the whole body. */
static void
brw_body(JsonbContainer *object, ConcordBatchForm *form)
{
	JsonbValue	v;

	if (concord_member_get(object, "body", &v) == NULL)
		return;
	form->body = v.type == jbvNull ? NULL :
		concord_template_parse("batch.body", &v, CONCORD_TEMPLATE_JSON, true);
}

/* brw_path sets the address under the server's url. */
static void
brw_path(JsonbContainer *object, ConcordBatchForm *form)
{
	char	   *path = concord_member_of(object, "path");
	JsonbValue	v;

	if (path == NULL)
		return;
	if (strstr(path, "..") != NULL || strstr(path, "://") != NULL ||
		path[0] == '/' || concord_path_climbs(path))
		concord_member_bad("batch.path", "is not under the server's url");
	(void) concord_member_get(object, "path", &v);
	form->path = concord_template_parse("batch.path", &v,
										CONCORD_TEMPLATE_PATH, true);
}

/* brw_operations_of reads which operations a form takes. */
static void
brw_operations_of(JsonbContainer *object, ConcordBatchForm *form)
{
	JsonbValue	v;

	if (concord_member_get(object, "operations", &v) == NULL)
		return;
	if (v.type != jbvBinary || !JsonContainerIsArray(v.val.binary.data))
		concord_member_bad("operations", "is not an array");
	form->operations = 0;
	for (int i = 0; i < JsonContainerSize(v.val.binary.data); i++)
	{
		JsonbValue *item = getIthJsonbValueFromContainer(v.val.binary.data, i);
		int			before = form->operations;

		for (int op = 0; op < lengthof(brw_operations); op++)
		{
			if (item->type == jbvString && brw_operations[op] != NULL &&
				strlen(brw_operations[op]) == item->val.string.len &&
				strncmp(brw_operations[op], item->val.string.val,
						item->val.string.len) == 0)
				form->operations |= 1 << op;
		}
		if (before == form->operations)
			concord_member_bad("operations",
							   "has an element that is none of create, update, delete and send, or twice");
	}
}

/* brw_headers reads headers of the whole request; null: the items' are not sent. */
static void
brw_headers(JsonbContainer *object, ConcordBatchForm *form)
{
	JsonbValue	v;

	if (concord_member_get(object, "headers", &v) != NULL && v.type != jbvNull)
		form->headers = concord_shape_headers("batch.headers", &v);
}

/* brw_item reads an item's template; one of lines may be an array of them. */
static void
brw_item(JsonbContainer *object, ConcordBatchForm *form)
{
	JsonbValue	v;
	JsonbContainer *array;

	if (concord_member_get(object, "item", &v) == NULL || v.type == jbvNull)
		return;
	array = v.val.binary.data;
	if (!form->lines || v.type != jbvBinary || !JsonContainerIsArray(array))
	{
		form->nlines = 1;
		form->item = palloc(sizeof(ConcordTemplate *));
		form->item[0] = concord_template_parse("batch.item", &v,
											   CONCORD_TEMPLATE_JSON, true);
		return;
	}
	form->nlines = JsonContainerSize(array);
	form->item = palloc(sizeof(ConcordTemplate *) * (form->nlines + 1));
	for (int i = 0; i < form->nlines; i++)
		form->item[i] =
			concord_template_parse("batch.item",
								   getIthJsonbValueFromContainer(array, i),
								   CONCORD_TEMPLATE_JSON, true);
}

/* brw_list reads one list of results: a path, or {"path": ..., "status": ...}. */
static void
brw_list(const JsonbValue *value, ConcordBatchList *list)
{
	static const char *const names[] = {"path", "status"};
	JsonbContainer *object;

	memset(list, 0, sizeof(*list));
	list->before = list->after = "";
	if (value->type == jbvString)
	{
		list->path = pnstrdup(value->val.string.val, value->val.string.len);
		return;
	}
	object = brw_object("list", value);
	concord_member_names(object, names, lengthof(names));
	list->path = "";
	brw_text(object, "path", &list->path);
	brw_number(object, "status", 100, 599, &list->status);
}

/* brw_lists reads where an answer has results. */
static void
brw_lists(JsonbContainer *answer, ConcordBatchForm *form)
{
	JsonbValue	v;

	if (concord_member_get(answer, "list", &v) == NULL)
		return;
	if (v.type == jbvBinary && JsonContainerIsArray(v.val.binary.data))
	{
		JsonbContainer *array = v.val.binary.data;

		form->nlists = JsonContainerSize(array);
		form->lists = palloc(sizeof(ConcordBatchList) * (form->nlists + 1));
		for (int i = 0; i < form->nlists; i++)
			brw_list(getIthJsonbValueFromContainer(array, i), &form->lists[i]);
		return;
	}
	form->nlists = 1;
	form->lists = palloc(sizeof(ConcordBatchList));
	brw_list(&v, form->lists);
}

/* brw_wrap works out what stands around a result that is an answer of its own. */
static void
brw_wrap(ConcordBatchForm *form)
{
	bool		array = form->wrap == CONCORD_WRAP_ARRAY;

	for (int i = 0; i < form->nlists && form->wrap != CONCORD_WRAP_NONE; i++)
	{
		StringInfoData before;
		StringInfoData after;

		initStringInfo(&before);
		initStringInfo(&after);
		if (!concord_path_around(form->lists[i].path, &before, &after))
			concord_member_bad("batch.answer.wrap",
							   "needs lists whose paths are names of members");
		form->lists[i].before = psprintf("%s%s", before.data, array ? "[" : "");
		form->lists[i].after = psprintf("%s%s", array ? "]" : "", after.data);
	}
}

/* brw_answer reads where an answer says what became of the items. */
static void
brw_answer(JsonbContainer *object, ConcordBatchForm *form)
{
	static const char *const names[] = {
		"list", "match", "unwrap", "id", "status", "success", "error", "body",
		"headers", "failed_status", "missing", "wrap"
	};
	JsonbValue	v;

	if (concord_member_get(object, "answer", &v) == NULL)
		return;
	object = brw_object("answer", &v);
	concord_member_names(object, names, lengthof(names));
	brw_lists(object, form);
	form->match = brw_word(object, "match", "index|id|key", form->match);
	form->wrap = brw_word(object, "wrap", "no|array|member", form->wrap);
	form->unwrap = brw_word(object, "unwrap", "no|yes", form->unwrap) == 1;
	brw_answer_path(object, "id", &form->id_path);
	brw_answer_path(object, "status", &form->status_path);
	brw_answer_path(object, "success", &form->success_path);
	brw_answer_path(object, "error", &form->error_path);
	brw_text(object, "body", &form->body_path);
	brw_text(object, "headers", &form->headers_path);
	brw_number(object, "failed_status", 400, 599, &form->failed_status);
	form->missing = brw_word(object, "missing", "done|stopped|unknown",
							 form->missing);
}

/* brw_reference sets how an item refers to another one; null: it cannot. */
static void
brw_reference(JsonbContainer *object, ConcordBatchForm *form)
{
	JsonbValue	v;

	if (concord_member_get(object, "reference", &v) == NULL)
		return;
	form->reference = concord_member_of(object, "reference");
	if (form->reference != NULL && strchr(form->reference, '#') == NULL)
		concord_member_bad("batch.reference",
						   "has no # in place of the other item's id");
}

/* brw_members takes members over, those of a named format or of a definition. */
static void
brw_members(JsonbContainer *object, ConcordBatchForm *form)
{
	static const char *const names[] = {
		"format", "operations", "size", "max_count", "max_bytes", "alone",
		"method", "path", "content_type", "headers", "body", "item", "id",
		"change_sets", "reference", "answer", "unit", "unordered"
	};

	concord_member_names(object, names, lengthof(names));
	brw_operations_of(object, form);
	brw_number(object, "size", 0, BRW_MAX_COUNT, &form->size);
	brw_number(object, "max_count", 1, BRW_MAX_COUNT, &form->max_count);
	brw_number(object, "max_bytes", 1024, BRW_MAX_BYTES, &form->max_bytes);
	form->alone = brw_word(object, "alone", "plain|batch", form->alone) == 1;
	form->unordered = brw_word(object, "unordered", "no|yes", form->unordered) == 1;
	(void) brw_word(object, "method", "POST|PUT|PATCH|DELETE", 0);
	brw_text(object, "method", &form->method);
	brw_path(object, form);
	brw_text(object, "content_type", &form->content_type);
	brw_headers(object, form);
	brw_body(object, form);
	brw_item(object, form);
	brw_text(object, "id", &form->id_prefix);
	brw_reference(object, form);
	form->change_sets = brw_word(object, "change_sets", "none|each|one",
								 form->change_sets);
	brw_answer(object, form);
}

/* brw_format finds a format by name. */
static const BrwFormat *
brw_format(const char *name)
{
	for (int i = 0; i < lengthof(brw_formats); i++)
	{
		if (name != NULL && strcmp(brw_formats[i].name, name) == 0)
			return &brw_formats[i];
	}
	concord_member_bad("format",
					   "is none of template, json_array, json_lines, cloudevents, odata_batch_multipart, "
					   "odata_batch_json, salesforce_collections, salesforce_composite and dataverse_multiple");
	return NULL;				/* keep compiler quiet */
}

/* brw_check refuses a form that could not be used. */
static void
brw_check(const ConcordBatchForm *form)
{
	if (form->multipart || form->lines || strcmp(form->method, "DELETE") == 0)
		return;
	if (form->body == NULL || !concord_template_has_items(form->body))
		concord_member_bad("batch.body", "has no {items}");
	if (form->match == CONCORD_MATCH_ID && (form->id_path == NULL ||
											!concord_template_has_id(form->item[0])))
		concord_member_bad("batch.answer.match",
						   "is \"id\", which needs {request.id} in \"item\" and the path \"id\" in \"answer\"");
}

/* brw_unit takes over what differs where all is done or nothing. */
static bool
brw_unit(JsonbContainer *object, ConcordBatchForm *form, bool has_unit)
{
	JsonbValue	v;

	if (concord_member_get(object, "unit", &v) == NULL)
		return has_unit;
	if (v.type == jbvNull)
		return false;
	brw_members(brw_object("unit", &v), form);
	return true;
}

/* brw_parse parses one form, or its variant for units; NULL: it has none. */
static ConcordBatchForm *
brw_parse(JsonbContainer *object, bool unit)
{
	static const char item[] = "{\"item\": \"{request.body}\"}";
	const BrwFormat *format = brw_format(concord_member_of(object, "format"));
	ConcordBatchForm *form = palloc0(sizeof(ConcordBatchForm));
	Jsonb	   *preset;

	form->multipart = format->multipart;
	form->lines = format->lines;
	form->odata = strncmp(format->name, "odata_batch_", 12) == 0;
	form->operations = BRW_WRITES;
	form->max_count = 1000;
	form->max_bytes = 1024 * 1024;
	form->content_type = "application/json";
	form->method = "POST";
	form->id_prefix = "";
	form->failed_status = 400;
	preset = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
												CStringGetDatum(item)));
	brw_item(&preset->root, form);
	preset = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
												CStringGetDatum(format->members)));
	brw_members(&preset->root, form);
	brw_members(object, form);
	if (unit && !brw_unit(object, form, brw_unit(&preset->root, form, false)))
		return NULL;
	brw_check(form);
	brw_wrap(form);

	form->carries_headers = form->multipart ||
		concord_template_has_headers(form->item[0]);
	/* without a path the address is the items' own; with one, they say theirs */
	form->same_address = form->path == NULL;
	return form;
}

/* brw_form parses one form. */
static ConcordBatchForm *
brw_form(JsonbContainer *object)
{
	ConcordBatchForm *form = brw_parse(object, false);

	form->unit = brw_parse(object, true);
	return form;
}

/* concord_member_batch parses a form or an array of forms. */
void
concord_member_batch(ConcordConnector *connector, const ConcordMember *member,
					 JsonbValue *value)
{
	JsonbContainer *container = value->val.binary.data;

	connector->batches = NIL;
	if (value->type == jbvBinary && JsonContainerIsArray(container))
	{
		for (int i = 0; i < JsonContainerSize(container); i++)
			connector->batches =
				lappend(connector->batches,
						brw_form(brw_object(member->name,
											getIthJsonbValueFromContainer(container, i))));
		return;
	}
	connector->batches = list_make1(brw_form(brw_object(member->name, value)));
}
