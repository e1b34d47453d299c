/*-------------------------------------------------------------------------
 *
 * written.c
 *	  Rows that statements write to a foreign table, as events; see written.h.
 *
 * Nothing is evaluated: an event says itself what its record is.  Who may make
 * one was decided when the statement ran (fdw/outbox.c).
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/written.h"

#include "base/json.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

/* A column of an event. */
typedef struct WrittenColumn
{
	Oid			typid;
	int32		typmod;
	const char *name;
} WrittenColumn;

static const struct
{
	ConcordOp	op;
	const char *name;
}			written_operations[] =

{
	{CONCORD_OP_INSERT, "insert"},
	{CONCORD_OP_UPDATE, "update"},
	{CONCORD_OP_DELETE, "delete"},
};

/* wri_text appends a text of JSON. */
static void
wri_text(StringInfo buf, const char *text)
{
	concord_json_string(buf, text, strlen(text));
}

/* wri_value appends a member. */
static void
wri_value(StringInfo buf, int *n, const char *name, const ConcordValue *value)
{
	if ((*n)++ > 0)
		appendStringInfoString(buf, ", ");
	wri_text(buf, name);
	appendStringInfoString(buf, ": ");
	if (value->isnull)
		appendStringInfoString(buf, "null");
	else
		concord_json_string(buf, value->text, value->len);
}

/* wri_column appends the type of a column. */
static void
wri_column(StringInfo buf, int *n, const char *name, const ConcordValue *value)
{
	char	   *column = psprintf("%u:%d:%s", value->typid, value->typmod, name);

	if ((*n)++ > 0)
		appendStringInfoString(buf, ", ");
	wri_text(buf, column);
	pfree(column);
}

/* wri_check refuses what no JSON can have, while somebody can still mend it. */
static void
wri_check(const ConcordField *field, const ConcordValue *value)
{
	if (!concord_value_is_finite(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("field \"%s\" is %s, which JSON does not have",
						field->name, value->text)));
}

/* wri_key writes a record's key as local key; NULL where it is not known. */
static char *
wri_key(const ConcordMapping *mapping, const ConcordValue *keys)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, mapping->key)
	{
		const ConcordField *field = lfirst(lc);
		const ConcordValue *value = &keys[foreach_current_index(lc)];

		if (value->isnull)
			return NULL;
		appendStringInfoString(&buf, buf.len == 0 ? "{" : ", ");
		wri_text(&buf, field->name);
		appendStringInfoString(&buf, ": ");
		concord_json_key(&buf, value->typid, value->text, value->len);
	}
	if (buf.len == 0)
		return NULL;
	appendStringInfoChar(&buf, '}');
	return concord_json_server(buf.data);
}

/* concord_written_event makes an event. */
void
concord_written_event(const ConcordMapping *mapping, const ConcordMapped *mapped,
					  const ConcordWritten *written, const char *table,
					  const char *role, ConcordWrittenEvent *event)
{
	StringInfoData payload;
	StringInfoData columns;
	StringInfoData headers;
	int			ncolumns = 0;
	int			n = 0;
	ListCell   *lc;

	initStringInfo(&payload);
	initStringInfo(&columns);
	event->key = wri_key(mapping, mapped->keys);
	appendStringInfo(&payload, "{\"operation\": \"%s\", \"key\": {",
					 concord_event_op_name(written->op));
	foreach(lc, mapping->key)
	{
		const ConcordField *field = lfirst(lc);
		const ConcordValue *value = &mapped->keys[foreach_current_index(lc)];

		if (event->key == NULL)
			break;
		wri_check(field, value);
		wri_value(&payload, &n, field->name, value);
		wri_column(&columns, &ncolumns, field->name, value);
	}
	appendStringInfoString(&payload, "}, \"fields\": {");
	n = 0;
	for (int i = 0; i < mapped->nfields; i++)
	{
		const ConcordField *field = list_nth(mapped->field_defs, i);

		if (mapped->skip != NULL && mapped->skip[i])
			continue;
		wri_check(field, &mapped->fields[i]);
		wri_value(&payload, &n, field->name, &mapped->fields[i]);
		wri_column(&columns, &ncolumns, field->name, &mapped->fields[i]);
	}
	appendStringInfoString(&payload, "}}");

	initStringInfo(&headers);
	appendStringInfoString(&headers, "{\"table\": ");
	wri_text(&headers, table);
	appendStringInfoString(&headers, ", \"role\": ");
	wri_text(&headers, role);
	if (written->tag != NULL)
	{
		appendStringInfoString(&headers, ", \"tag\": ");
		wri_text(&headers, written->tag);
	}
	appendStringInfo(&headers, ", \"columns\": [%s]}", columns.data);
	event->payload = concord_json_server(payload.data);
	event->headers = concord_json_server(headers.data);
}

/* wri_parse parses an event's JSON. */
static JsonbContainer *
wri_parse(const char *text)
{
	Jsonb	   *json;

	if (text == NULL)
		elog(ERROR, "an event of a foreign table is not whole");
	json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	return &json->root;
}

/* wri_member finds a member of an object, or NULL. */
static JsonbValue *
wri_member(JsonbContainer *object, const char *name)
{
	return getKeyJsonValueFromContainer(object, name, strlen(name), NULL);
}

/* wri_container finds a member that is an object or array. */
static JsonbContainer *
wri_container(JsonbContainer *object, const char *name)
{
	JsonbValue *value = wri_member(object, name);

	if (value == NULL || value->type != jbvBinary)
		elog(ERROR, "an event of a foreign table lacks member \"%s\"", name);
	return value->val.binary.data;
}

/* wri_string finds a member that is a text; NULL where there is none. */
static char *
wri_string(JsonbContainer *object, const char *name)
{
	JsonbValue *value = wri_member(object, name);

	return value == NULL || value->type != jbvString ? NULL :
		pnstrdup(value->val.string.val, value->val.string.len);
}

/* wri_columns reads the columns of an event. */
static WrittenColumn *
wri_columns(JsonbContainer *headers, int *n)
{
	JsonbContainer *array = wri_container(headers, "columns");
	WrittenColumn *columns;

	*n = JsonContainerSize(array);
	columns = palloc0(sizeof(WrittenColumn) * (*n + 1));
	for (int i = 0; i < *n; i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(array, i);
		char	   *text = pnstrdup(value->val.string.val, value->val.string.len);
		char	   *end;

		columns[i].typid = strtoul(text, &end, 10);
		columns[i].typmod = *end == ':' ? strtol(end + 1, &end, 10) : 0;
		if (*end != ':')
			elog(ERROR, "an event of a foreign table has a bad column");
		columns[i].name = end + 1;
	}
	return columns;
}

/* wri_read reads a column's value; false where the object does not have it. */
static bool
wri_read(JsonbContainer *object, const WrittenColumn *column, ConcordValue *value)
{
	JsonbValue *member = wri_member(object, column->name);

	if (member == NULL)
		return false;
	value->typid = column->typid;
	value->typmod = column->typmod;
	value->isnull = member->type != jbvString;
	if (!value->isnull)
	{
		value->text = pnstrdup(member->val.string.val, member->val.string.len);
		value->len = member->val.string.len;
	}
	return true;
}

/* wri_keys reads the key; false where it is not that of the mapping. */
static bool
wri_keys(const ConcordMapping *mapping, JsonbContainer *key,
		 const WrittenColumn *columns, int ncolumns, ConcordMapped *mapped)
{
	ListCell   *lc;

	mapped->keys = palloc0(sizeof(ConcordValue) * (list_length(mapping->key) + 1));
	if (JsonContainerSize(key) == 0)
	{
		bool	   *omit = palloc(sizeof(bool) * (list_length(mapping->key) + 1));

		for (int i = 0; i < list_length(mapping->key); i++)
			mapped->keys[i].isnull = omit[i] = true;
		mapped->omit_keys = omit;
		return true;
	}
	foreach(lc, mapping->key)
	{
		const ConcordField *field = lfirst(lc);
		bool		found = false;

		for (int i = 0; i < ncolumns && !found; i++)
			found = strcmp(columns[i].name, field->name) == 0 &&
				wri_read(key, &columns[i],
						 &mapped->keys[foreach_current_index(lc)]);
		if (!found)
			return false;
	}
	return JsonContainerSize(key) == list_length(mapping->key);
}

/* wri_fields reads the fields. */
static void
wri_fields(JsonbContainer *fields, const WrittenColumn *columns, int ncolumns,
		   ConcordMapped *mapped)
{
	List	   *defs = NIL;

	mapped->fields = palloc0(sizeof(ConcordValue) * (ncolumns + 1));
	for (int i = 0; i < ncolumns; i++)
	{
		ConcordField *field;

		if (!wri_read(fields, &columns[i], &mapped->fields[mapped->nfields]))
			continue;
		field = palloc0(sizeof(ConcordField));
		field->name = pstrdup(columns[i].name);
		field->expression = field->name;
		field->on = CONCORD_ON_ALWAYS;
		defs = lappend(defs, field);
		mapped->nfields++;
	}
	mapped->field_defs = defs;
}

/* wri_operation reads what was done. */
static ConcordOp
wri_operation(JsonbContainer *payload)
{
	const char *name = wri_string(payload, "operation");

	for (int i = 0; i < lengthof(written_operations); i++)
	{
		if (name != NULL && strcmp(name, written_operations[i].name) == 0)
			return written_operations[i].op;
	}
	elog(ERROR, "an event of a foreign table does not say what was done");
}

/* wri_fail makes the verdict that a row cannot be sent, for its key. */
static void
wri_fail(ConcordMapped *mapped, const char *error)
{
	mapped->verdict = CONCORD_FAIL;
	mapped->rule = pstrdup("key");
	mapped->error = pstrdup(error);
}

/* wri_map maps an event. */
static void
wri_map(const ConcordMapping *mapping, const ConcordEvent *event,
		ConcordMapped *mapped)
{
	JsonbContainer *payload = wri_parse(event->payload);
	JsonbContainer *headers = wri_parse(event->headers);
	ConcordWritten *written = palloc0(sizeof(ConcordWritten));
	int			ncolumns;
	WrittenColumn *columns = wri_columns(headers, &ncolumns);

	written->op = wri_operation(payload);
	written->tag = wri_string(headers, "tag");
	mapped->written = written;
	mapped->verdict = CONCORD_SEND;
	mapped->action = written->op == CONCORD_OP_DELETE ? CONCORD_ACTION_DELETE :
		CONCORD_ACTION_UPSERT;
	mapped->local_key = event->key != NULL ? pstrdup(event->key) :
		psprintf("{\"event\": \"%s\"}",
				 DatumGetCString(DirectFunctionCall1(uuid_out,
													 UUIDPGetDatum(&event->id))));
	if (mapping->options.ordering == CONCORD_ORDER_KEY)
		mapped->ordering_key = mapped->local_key;
	if (!wri_keys(mapping, wri_container(payload, "key"), columns, ncolumns,
				  mapped))
		wri_fail(mapped, "the key of the row is not the mapping's");
	else if (strlen(mapped->local_key) > CONCORD_LOCAL_KEY_MAX)
		wri_fail(mapped, "the local key is too long");
	else
		wri_fields(wri_container(payload, "fields"), columns, ncolumns, mapped);
}

/* concord_written_map maps events. */
void
concord_written_map(const ConcordMapping *mapping,
					const ConcordEvent *const *events, int nevents,
					ConcordMapped *mapped)
{
	for (int i = 0; i < nevents; i++)
		wri_map(mapping, events[i], &mapped[i]);
}
