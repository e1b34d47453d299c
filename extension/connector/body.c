/*-------------------------------------------------------------------------
 *
 * body.c
 *	  Mapped fields as one JSON object.
 *
 * Names with a slash nest: "Address/City" and "Address/Street" are members of
 * one object "Address", wherever they stand in the list.  Values are written
 * by base/json.h, digit for digit.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/protocols.h"

#include "base/json.h"

/* How values are written. */
typedef enum BodyStyle
{
	BODY_PLAIN,
	BODY_STRINGS,				/* large numbers in quotes */
	BODY_ODATA2,
} BodyStyle;

/* A member that is to be written: what is left of its name, and its value. */
typedef struct BodyItem
{
	const char *name;
	const ConcordValue *value;
	const ConcordChildren *children;	/* instead of value, or NULL */
} BodyItem;

/* body_value writes one value. */
static void
body_value(StringInfo buf, const ConcordValue *value, BodyStyle style)
{
	if (value->isnull)
		appendBinaryStringInfo(buf, "null", 4);
	else if (style == BODY_ODATA2)
		concord_odata2_value(buf, value);
	else
		concord_json_value(buf, value->typid, value->text, value->len,
						   style == BODY_STRINGS);
}

/* body_children writes rows that go along, as an array. */
static void
body_children(StringInfo buf, const ConcordChildren *children, BodyStyle style)
{
	int			flags = CONCORD_BODY_CREATING |
		(children->mapping->options.remote_id_assigned ? 0 : CONCORD_BODY_KEY) |
		(style == BODY_ODATA2 ? CONCORD_BODY_ODATA2 : 0);

	appendStringInfoString(buf, style == BODY_ODATA2 ? "{\"results\":[" : "[");
	for (int i = 0; i < children->n; i++)
	{
		if (i > 0)
			appendStringInfoChar(buf, ',');
		concord_body_write(children->mapping, children->rows[i], flags, buf);
	}
	appendStringInfoString(buf, style == BODY_ODATA2 ? "]}" : "]");
}

/* body_object writes items as an object; those it has written lose their name. */
static void
body_object(StringInfo buf, BodyItem *items, int n, BodyStyle style)
{
	bool		first = true;

	appendStringInfoCharMacro(buf, '{');
	for (int i = 0; i < n; i++)
	{
		const char *name = items[i].name;
		const char *slash;
		Size		len;
		BodyItem   *members;
		int			nmembers = 0;

		if (name == NULL)
			continue;
		slash = strchr(name, '/');
		len = slash != NULL ? slash - name : strlen(name);
		if (!first)
			appendStringInfoCharMacro(buf, ',');
		first = false;
		concord_json_string(buf, name, len);
		appendStringInfoCharMacro(buf, ':');
		if (name[len] == '\0')
		{
			if (items[i].children != NULL)
				body_children(buf, items[i].children, style);
			else
				body_value(buf, items[i].value, style);
			continue;
		}

		members = palloc(sizeof(BodyItem) * (n - i));
		for (int j = i; j < n; j++)
		{
			if (items[j].name == NULL || strncmp(items[j].name, name, len) != 0 ||
				items[j].name[len] != '/')
				continue;
			members[nmembers].name = items[j].name + len + 1;
			members[nmembers].children = items[j].children;
			members[nmembers++].value = items[j].value;
			items[j].name = NULL;
		}
		body_object(buf, members, nmembers, style);
		pfree(members);
	}
	appendStringInfoCharMacro(buf, '}');
}

/* body_has_name says whether a list of fields has a name. */
static bool
body_has_name(const List *fields, const char *name)
{
	ListCell   *lc;

	foreach(lc, fields)
	{
		if (strcmp(((ConcordField *) lfirst(lc))->name, name) == 0)
			return true;
	}
	return false;
}

/* body_find_children finds the rows of a field; NULL where there are none. */
static const ConcordChildren *
body_find_children(const ConcordMapped *mapped, const ConcordField *field)
{
	for (int i = 0; i < mapped->nchildren; i++)
	{
		if (mapped->children[i].field == field && mapped->children[i].n > 0)
			return &mapped->children[i];
	}
	return NULL;
}

/* concord_body_write writes what flags say of a mapped record. */
void
concord_body_write(const ConcordMapping *mapping, const ConcordMapped *mapped,
				   int flags, StringInfo buf)
{
	const ConcordMappingOptions *options = &mapping->options;
	const List *defs = (flags & CONCORD_BODY_NO_FIELDS) ? NIL :
		mapped->field_defs;
	bool		creating = (flags & CONCORD_BODY_CREATING) != 0;
	BodyItem   *items;
	int			n = 0;

	items = palloc0(sizeof(BodyItem) *
					(list_length(mapping->key) + mapped->nfields + 1));
	for (int i = 0; (flags & CONCORD_BODY_KEY) && mapped->keys != NULL &&
		 i < list_length(mapping->key); i++)
	{
		const ConcordField *part = list_nth(mapping->key, i);

		if (body_has_name(defs, part->name) ||
			(mapped->omit_keys != NULL && mapped->omit_keys[i]))
			continue;
		items[n].name = part->name;
		items[n++].value = &mapped->keys[i];
	}
	for (int i = 0; i < mapped->nfields && i < list_length(defs); i++)
	{
		const ConcordField *field = list_nth(defs, i);

		if (field->children != NULL)
		{
			const ConcordChildren *children = creating &&
				!(flags & CONCORD_BODY_NO_CHILDREN) ?
				body_find_children(mapped, field) : NULL;

			if (children != NULL)
			{
				items[n].name = field->name;
				items[n++].children = children;
			}
			continue;
		}
		if ((mapped->skip != NULL && mapped->skip[i]) ||
			(mapped->omit != NULL && mapped->omit[i]))
			continue;
		if ((flags & CONCORD_BODY_CHANGED) && mapped->same != NULL &&
			mapped->same[i])
			continue;
		if ((field->on == CONCORD_ON_CREATE && !creating) ||
			(field->on == CONCORD_ON_UPDATE && creating))
			continue;
		if (options->omit_nulls && mapped->fields[i].isnull)
			continue;
		if ((flags & CONCORD_BODY_NO_KEY) &&
			body_has_name(mapping->key, field->name))
			continue;
		items[n].name = field->name;
		items[n++].value = &mapped->fields[i];
	}
	body_object(buf, items, n,
				(flags & CONCORD_BODY_ODATA2) ? BODY_ODATA2 :
				options->numbers_as_strings ? BODY_STRINGS : BODY_PLAIN);
	pfree(items);
}

/* concord_body_json writes the mapped fields alone. */
void
concord_body_json(const ConcordMapping *mapping, const ConcordMapped *mapped,
				  bool creating, StringInfo buf)
{
	concord_body_write(mapping, mapped,
					   creating ? CONCORD_BODY_CREATING : 0, buf);
}
