/*-------------------------------------------------------------------------
 *
 * record.c
 *	  From a record's text to values of columns and a key.
 *
 * The text is checked once and then looked through once for all members that
 * anybody wants; a value goes from there into its column's type, with the
 * conversions of foreign tables.  Nothing here reads a table.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "base/json.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* rec_below follows the rest of a path. */
static ConcordSlice
rec_below(ConcordSlice at, const InbWant *want)
{
	for (int i = 1; i < want->npath && at.start != NULL; i++)
	{
		const char *p = at.start + 1;
		bool		object = *at.start == '{';
		ConcordSlice name;
		ConcordSlice value;

		at.start = NULL;
		while (object && concord_json_next_member(&p, &name, &value))
		{
			if (concord_json_same(name, want->path[i], want->path_len[i]))
			{
				at = value;
				break;
			}
		}
	}
	return at;
}

/* rec_slices finds the members that are wanted. */
static void
rec_slices(ConcordInbound *inbound, InbItem *item, const char *text)
{
	const char *p = text;
	ConcordSlice name;
	ConcordSlice value;

	while (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r')
		p++;
	if (*p != '{')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_JSON_TEXT),
				 errmsg("the record is not a JSON object")));
	p++;
	item->slices = palloc0(sizeof(ConcordSlice) * Max(inbound->nwants, 1));
	while (concord_json_next_member(&p, &name, &value))
	{
		for (int i = 0; i < inbound->nwants; i++)
		{
			const InbWant *want = &inbound->wants[i];

			if (want->npath > 0 &&
				concord_json_same(name, want->path[0], want->path_len[0]))
				item->slices[i] = rec_below(value, want);
		}
	}
}

/*
 * concord_inbound_member_text gives a member as links and texts have it: a string's
 * content, else the JSON; NULL: it is null or not there.
 */
char *
concord_inbound_member_text(ConcordSlice slice)
{
	StringInfoData buf;

	if (slice.start == NULL || *slice.start == 'n')
		return NULL;
	initStringInfo(&buf);
	if (*slice.start != '"')
		appendBinaryStringInfo(&buf, slice.start, slice.len);
	else if (!concord_json_content(slice, &buf))
		ereport(ERROR,
				(errcode(ERRCODE_UNTRANSLATABLE_CHARACTER),
				 errmsg("it has a character that no text can have")));
	return pg_any_to_server(buf.data, buf.len, PG_UTF8);
}

/* rec_value makes a column's value; false: it is null. */
static bool
rec_value(ConcordInbound *inbound, InbItem *item, InbColumn *column,
		  Datum *value)
{
	bool		given;

	inbound->at = column->field != NULL ? column->field->name : column->name;
	given = concord_converter_take(column->converter,
								   item->slices[column->want], value);
	/* a domain may refuse null */
	if (!given && get_typtype(column->type) == TYPTYPE_DOMAIN)
		(void) InputFunctionCall(&column->input, NULL, column->ioparam,
								 column->typmod);
	inbound->at = NULL;
	return given;
}

/* rec_values makes the values that the record itself gives. */
static void
rec_values(ConcordInbound *inbound, InbItem *item)
{
	item->values = palloc0(sizeof(Datum) * (inbound->ncolumns + 1));
	item->nulls = palloc0(sizeof(bool) * (inbound->ncolumns + 1));
	item->given = palloc0(sizeof(bool) * (inbound->ncolumns + 1));
	item->complete = true;
	for (int i = 0; i < inbound->ncolumns; i++)
	{
		InbColumn  *column = &inbound->columns[i];

		if (column->apply >= 0)
			continue;			/* expression.c */
		if (item->slices[column->want].start == NULL)
		{
			item->complete = false;
			continue;
		}
		item->given[i] = true;
		item->nulls[i] = !rec_value(inbound, item, column, &item->values[i]);
	}
}

/* rec_id finds the id that a record is known by at its system. */
static char *
rec_id(ConcordInbound *inbound, InbItem *item)
{
	int			nkey = list_length(inbound->mapping->key);
	StringInfoData buf;

	if (item->record->remote_id != NULL)
		return pstrdup(item->record->remote_id);
	if (item->slices == NULL)
		return NULL;
	if (inbound->assigned)
	{
		char	   *id = inbound->id_want < 0 ? NULL :
			concord_inbound_member_text(item->slices[inbound->id_want]);

		return id != NULL || inbound->own_id_want < 0 ? id :
			concord_inbound_member_text(item->slices[inbound->own_id_want]);
	}
	initStringInfo(&buf);
	for (int i = 0; i < nkey; i++)
	{
		char	   *part = concord_inbound_member_text(item->slices[inbound->key_wants + i]);

		if (part == NULL)
			return NULL;
		appendStringInfo(&buf, "%s%s", i > 0 ? "," : "", part);
	}
	return nkey == 0 ? NULL : buf.data;
}

/* concord_inbound_remote_id gives the id that links know a record by. */
char *
concord_inbound_remote_id(ConcordInbound *inbound,
						  const ConcordInboundRecord *record)
{
	InbItem		item = {.record = record};

	if (record->record != NULL && record->record[strspn(record->record, " \t\r\n")] == '{')
		rec_slices(inbound, &item, concord_json_utf8(record->record));
	return rec_id(inbound, &item);
}

/* rec_key takes the local key from the record where that tells it. */
static void
rec_key(ConcordInbound *inbound, InbItem *item)
{
	item->key = palloc0(sizeof(Datum) * inbound->nkey);
	if (!inbound->key_direct || item->slices == NULL)
		return;
	for (int i = 0; i < inbound->nkey; i++)
	{
		InbColumn  *part = &inbound->key[i];
		ConcordSlice slice = item->slices[part->want];

		if (slice.start == NULL || *slice.start == 'n' ||
			!rec_value(inbound, item, part, &item->key[i]))
			return;
	}
	item->keyed = true;
}

/* rec_known takes the local key that came with the record. */
static void
rec_known(ConcordInbound *inbound, InbItem *item)
{
	item->local_key = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
														 CStringGetDatum(item->record->local_key)));
	concord_inbound_key_datums(inbound, item->local_key, item->key);
	item->keyed = true;
}

/* concord_inbound_assigned: ids are the system's own. */
bool
concord_inbound_assigned(const ConcordInbound *inbound)
{
	return inbound->assigned;
}

/*
 * concord_inbound_identify reads a record as far as it says which one it is;
 * raises where it says nothing.
 */
void
concord_inbound_identify(ConcordInbound *inbound, InbItem *item)
{
	const char *text = item->record->record;

	inbound->at = NULL;
	if (text != NULL)
	{
		Size		len = strlen(text);
		Size		at;

		if (len > INB_RECORD_MAX)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("the record has %zu bytes; at most %d are taken",
							len, INB_RECORD_MAX)));
		text = concord_json_utf8(text);
		if (!concord_json_valid(text, strlen(text), &at))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_JSON_TEXT),
					 errmsg("the record is not JSON, from byte %zu on", at + 1)));
		rec_slices(inbound, item, text);
	}
	else if (item->record->op == CONCORD_INBOUND_UPSERT)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_JSON_TEXT),
				 errmsg("there is no record")));
	item->remote_id = rec_id(inbound, item);
	rec_key(inbound, item);
	if (!item->keyed && item->record->local_key != NULL)
		rec_known(inbound, item);
	else if (item->keyed)
		item->local_key = concord_inbound_local_key(inbound, item->key);
	if (item->remote_id == NULL && !item->keyed)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the record has no key"),
				 errdetail("Neither an id nor all fields of the mapping's key are in it.")));
	if (item->remote_id != NULL && item->remote_id[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the record's id is empty")));
}

/* concord_inbound_parse reads a record; raises where it is none of the mapping's. */
void
concord_inbound_parse(ConcordInbound *inbound, InbItem *item)
{
	concord_inbound_identify(inbound, item);
	if (item->record->op == CONCORD_INBOUND_UPSERT)
		rec_values(inbound, item);
}

/* concord_inbound_text gives a value as its type writes it. */
char *
concord_inbound_text(InbColumn *column, Datum value)
{
	return OutputFunctionCall(&column->output, value);
}

/* concord_inbound_local_key writes a key as links have it. */
Jsonb *
concord_inbound_local_key(ConcordInbound *inbound, const Datum *key)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < inbound->nkey; i++)
	{
		InbColumn  *part = &inbound->key[i];
		char	   *text = concord_inbound_text(part, key[i]);

		appendStringInfoString(&buf, i == 0 ? "{" : ", ");
		concord_json_string(&buf, part->name, strlen(part->name));
		appendStringInfoString(&buf, ": ");
		concord_json_key(&buf, getBaseType(part->type), text, strlen(text));
	}
	appendStringInfoChar(&buf, '}');
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
											  CStringGetDatum(concord_json_server(buf.data))));
}

/* concord_inbound_key_datums reads a local key of a link; raises where it is no key now. */
void
concord_inbound_key_datums(ConcordInbound *inbound, Jsonb *local_key, Datum *key)
{
	for (int i = 0; i < inbound->nkey; i++)
	{
		InbColumn  *part = &inbound->key[i];
		JsonbValue	buf;
		JsonbValue *value;
		StringInfoData text;
		ConcordSlice slice;

		value = getKeyJsonValueFromContainer(&local_key->root, part->name,
											 strlen(part->name), &buf);
		initStringInfo(&text);
		if (value != NULL && value->type == jbvString)
			concord_json_string(&text, value->val.string.val, value->val.string.len);
		else if (value != NULL && value->type == jbvNumeric)
			appendStringInfoString(&text, DatumGetCString(DirectFunctionCall1(numeric_out,
																			  NumericGetDatum(value->val.numeric))));
		else if (value != NULL && value->type == jbvBool)
			appendStringInfoString(&text, value->val.boolean ? "true" : "false");
		slice.start = text.data;
		slice.len = text.len;
		if (text.len == 0 ||
			!concord_converter_take(part->converter, slice, &key[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("key %s is not one of table %s",
							JsonbToCString(NULL, &local_key->root, VARSIZE(local_key)),
							inbound->table),
					 errhint("A key is an object such as {\"%s\": ...}.", inbound->key[0].name)));
	}
}
