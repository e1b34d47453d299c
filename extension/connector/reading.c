/*-------------------------------------------------------------------------
 *
 * reading.c
 *	  Member "read" of a connector: how a list of records is asked for.
 *
 * What may be asked of a system is what its connector says it understands: the
 * operators it compares with, how a list goes on, whether it counts.  Whoever
 * reads (fdw/) asks for nothing else and does the rest itself.
 *
 *	{"path": "{object}", "items": "value",
 *	 "paging": "next", "next": "@odata.nextLink", "more": "has_more",
 *	 "size": "limit", "page_size": 1000, "offset": "offset", "page": "page",
 *	 "first_page": 1, "cursor": "after", "prefer": true,
 *	 "limit": "limit", "skip": "offset", "select": "fields",
 *	 "order": "sort", "ascending": "{name}", "descending": "-{name}",
 *	 "nulls": "low" | "high", "count": "{object}/count", "total": "total",
 *	 "filter": "odata" | {"eq": "{name}={value}", "in": "{name}={values}", ...},
 *	 "operators": ["eq", ...], "types": ["number", ...], "list_size": 50,
 *	 "batch": "none" | "multipart" | "json", "batch_size": 20}
 *
 * Members that are left out are those of the row that is extended, or else the
 * protocol's: OData has all, REST reads one answer and compares nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/definition.h"

#include "connector/protocols.h"
#include "connector/reading.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#define RDG_AT(field)	offsetof(ConcordReading, field)

#define RDG_OPERATORS	"eq|ne|lt|le|gt|ge|in|null|or|startswith|endswith|contains"
#define RDG_TYPES		"number|text|boolean|date|timestamp|uuid"

/* Texts that are taken over as they are. */
static const struct
{
	const char *name;
	size_t		offset;
	const char *choices;
}			rdg_texts[] =

{
	{"path", RDG_AT(path)},
	{"items", RDG_AT(items)},
	{"next", RDG_AT(next)},
	{"more", RDG_AT(more)},
	{"size", RDG_AT(size)},
	{"offset", RDG_AT(offset)},
	{"page", RDG_AT(page)},
	{"cursor", RDG_AT(cursor)},
	{"limit", RDG_AT(limit)},
	{"skip", RDG_AT(skip)},
	{"select", RDG_AT(select)},
	{"order", RDG_AT(order)},
	{"ascending", RDG_AT(ascending)},
	{"descending", RDG_AT(descending)},
	{"count", RDG_AT(count)},
	{"total", RDG_AT(total)},
};

static const struct
{
	const char *name;
	size_t		offset;
	int			min;
	int			max;
}			rdg_numbers[] =

{
	{"page_size", RDG_AT(page_size), 1, 1000000},
	{"first_page", RDG_AT(first_page), 0, 1},
	{"list_size", RDG_AT(list_size), 1, 10000},
	{"batch_size", RDG_AT(batch_size), 2, 1000},
};

/* rdg_bad names a member of "read". */
static void
rdg_bad(const char *name, const char *why)
{
	concord_member_bad(psprintf("read.%s", name), why);
}

/* rdg_set reads a list of names out of "a|b|c" as bits. */
static uint32
rdg_set(const char *name, JsonbValue *value, const char *choices)
{
	JsonbContainer *array = value->type == jbvBinary ? value->val.binary.data : NULL;
	uint32		set = 0;

	if (array == NULL || !JsonContainerIsArray(array))
		rdg_bad(name, "is not an array");
	for (int i = 0; i < JsonContainerSize(array); i++)
	{
		JsonbValue *item = getIthJsonbValueFromContainer(array, i);
		int			which = item->type != jbvString ? -1 :
			concord_member_choose(choices, pnstrdup(item->val.string.val,
													item->val.string.len));

		if (which < 0)
			rdg_bad(name, psprintf("has something that is none of %s", choices));
		set |= 1 << which;
	}
	return set;
}

/* rdg_place says whether a template has a place. */
static void
rdg_place(const char *name, const char *text, const char *place)
{
	if (strstr(text, place) == NULL)
		rdg_bad(name, psprintf("has no %s", place));
}

/* rdg_filter reads the language of filters: one we know, or templates. */
static void
rdg_filter(ConcordReading *reading, JsonbValue *value)
{
	JsonbContainer *object = value->type == jbvBinary ? value->val.binary.data : NULL;
	static const char *const names[] = {
		"eq", "ne", "lt", "le", "gt", "ge", "in", "null", "or", "startswith",
		"endswith", "contains"
	};

	if (value->type == jbvString && value->val.string.len == 5 &&
		strncmp(value->val.string.val, "odata", 5) == 0)
	{
		reading->odata = true;
		return;
	}
	if (object == NULL || !JsonContainerIsObject(object))
		rdg_bad("filter", "is neither \"odata\" nor an object");
	concord_member_names(object, names, lengthof(names));
	reading->odata = false;
	reading->operators = 0;
	for (int i = 0; i < lengthof(names); i++)
	{
		char	   *text = concord_member_of(object, names[i]);

		if (text == NULL)
			continue;
		if (i == CONCORD_OP_OR)
			rdg_bad("filter", "has \"or\", which only \"odata\" has");
		rdg_place("filter", text, "{name}");
		if (i != CONCORD_OP_NULL)
			rdg_place("filter", text, i == CONCORD_OP_IN ? "{values}" : "{value}");
		reading->templates[i] = text;
		reading->operators |= 1 << i;
	}
}

/* rdg_number reads a whole number. */
static int
rdg_number(const char *name, JsonbValue *value, int min, int max)
{
	int			number;

	if (value->type != jbvNumeric)
		rdg_bad(name, "is not a number");
	number = DatumGetInt32(DirectFunctionCall1(numeric_int4,
											   NumericGetDatum(value->val.numeric)));
	if (number < min || number > max)
		rdg_bad(name, psprintf("is not between %d and %d", min, max));
	return number;
}

/* rdg_check looks at what members say together. */
static void
rdg_check(const ConcordReading *reading)
{
	if (!reading->odata && (reading->batch == CONCORD_READ_BATCH_MULTIPART ||
							reading->batch == CONCORD_READ_BATCH_JSON))
		rdg_bad("batch", "is OData's, and needs \"filter\" \"odata\"");
	if (reading->paging == CONCORD_READ_NEXT && reading->next == NULL)
		rdg_bad("next", "is missing: where answers have the next address");
	if (reading->paging == CONCORD_READ_CURSOR &&
		(reading->next == NULL || reading->cursor == NULL))
		rdg_bad("cursor", "needs \"next\" beside it, where answers have the next one");
	if (reading->paging == CONCORD_READ_OFFSET && reading->offset == NULL)
		rdg_bad("offset", "is missing: the parameter's name");
	if (reading->paging == CONCORD_READ_PAGE && reading->page == NULL)
		rdg_bad("page", "is missing: the parameter's name");
	if (reading->path != NULL && concord_path_climbs(reading->path))
		rdg_bad("path", "is not under the server's url");
	if (reading->count != NULL && concord_path_climbs(reading->count))
		rdg_bad("count", "is not under the server's url");
	if (reading->order != NULL)
	{
		rdg_place("ascending", reading->ascending ? reading->ascending : "",
				  "{name}");
		rdg_place("descending", reading->descending ? reading->descending : "",
				  "{name}");
	}
}

/* rdg_members takes over what a member "read" states. */
static void
rdg_members(ConcordReading *reading, JsonbContainer *object)
{
	JsonbValue	v;
	char	   *text;

	for (int i = 0; i < lengthof(rdg_texts); i++)
	{
		text = concord_member_of(object, rdg_texts[i].name);
		if (text != NULL)
			*(char **) ((char *) reading + rdg_texts[i].offset) = text;
	}
	for (int i = 0; i < lengthof(rdg_numbers); i++)
	{
		if (concord_member_get(object, rdg_numbers[i].name, &v) != NULL)
			*(int *) ((char *) reading + rdg_numbers[i].offset) =
				rdg_number(rdg_numbers[i].name, &v, rdg_numbers[i].min,
						   rdg_numbers[i].max);
	}
	text = concord_member_of(object, "paging");
	if (text != NULL)
	{
		reading->paging = concord_member_choose("none|next|link|offset|page|cursor",
												text);
		if ((int) reading->paging < 0)
			rdg_bad("paging", "is none of none|next|link|offset|page|cursor");
	}
	text = concord_member_of(object, "nulls");
	if (text != NULL)
	{
		reading->nulls = concord_member_choose("unknown|low|high", text);
		if ((int) reading->nulls < 0)
			rdg_bad("nulls", "is none of unknown|low|high");
	}
	text = concord_member_of(object, "batch");
	if (text != NULL)
	{
		reading->batch = concord_member_choose("none|multipart|json", text);
		if ((int) reading->batch < 0)
			rdg_bad("batch", "is none of none|multipart|json");
	}
	if (concord_member_get(object, "prefer", &v) != NULL)
	{
		if (v.type != jbvBool)
			rdg_bad("prefer", "is neither true nor false");
		reading->prefer = v.val.boolean;
	}
	if (concord_member_get(object, "filter", &v) != NULL)
		rdg_filter(reading, &v);
	if (concord_member_get(object, "operators", &v) != NULL)
		reading->operators = rdg_set("operators", &v, RDG_OPERATORS);
	if (concord_member_get(object, "types", &v) != NULL)
		reading->types = rdg_set("types", &v, RDG_TYPES);
}

/* concord_member_read parses member "read". */
void
concord_member_read(ConcordConnector *connector, const ConcordMember *member,
					JsonbValue *value)
{
	const char *names[lengthof(rdg_texts) + lengthof(rdg_numbers) + 7];
	JsonbContainer *object = value->val.binary.data;
	ConcordReading *reading = palloc(sizeof(ConcordReading));
	int			n = 0;

	if (value->type != jbvBinary || !JsonContainerIsObject(object))
		concord_member_bad(member->name, "is not an object");
	for (int i = 0; i < lengthof(rdg_texts); i++)
		names[n++] = rdg_texts[i].name;
	for (int i = 0; i < lengthof(rdg_numbers); i++)
		names[n++] = rdg_numbers[i].name;
	names[n++] = "paging";
	names[n++] = "nulls";
	names[n++] = "batch";
	names[n++] = "prefer";
	names[n++] = "filter";
	names[n++] = "operators";
	names[n++] = "types";
	concord_member_names(object, names, n);
	*reading = *concord_connector_reading(connector);
	rdg_members(reading, object);
	rdg_check(reading);
	connector->reading = reading;
}

/* What OData 4 and 2 and plain REST have where a row says nothing. */
static const ConcordReading rdg_odata4 = {
	.items = "value",.paging = CONCORD_READ_NEXT,.next = "@odata.nextLink",
	.prefer = true,.offset = "$skip",.size = "$top",
	.limit = "$top",.skip = "$skip",.select = "$select",
	.order = "$orderby",.ascending = "{name} asc",.descending = "{name} desc",
	.nulls = CONCORD_NULLS_LOW,.count = "{object}/$count",.odata = true,
	.operators = ~(1u << CONCORD_OP_IN),.types = ~0u,.page_size = 1000,
	.list_size = 50,.batch = CONCORD_READ_BATCH_AS_WRITES,.batch_size = 20,
};

static const ConcordReading rdg_odata2 = {
	.items = "d",.paging = CONCORD_READ_NEXT,.next = "d.__next",
	.offset = "$skip",.size = "$top",
	.limit = "$top",.skip = "$skip",.select = "$select",
	.order = "$orderby",.ascending = "{name} asc",.descending = "{name} desc",
	.nulls = CONCORD_NULLS_LOW,.count = "{object}/$count",.odata = true,
	.operators = ~(1u << CONCORD_OP_IN),.types = ~0u,.page_size = 1000,
	.list_size = 50,.batch = CONCORD_READ_BATCH_AS_WRITES,.batch_size = 20,
};

static const ConcordReading rdg_rest = {
	.paging = CONCORD_READ_NONE,.types = ~0u,.page_size = 100,.list_size = 50,
	.first_page = 1,.batch_size = 20,
};

/* concord_connector_reading says how a connector's lists are read. */
const ConcordReading *
concord_connector_reading(const ConcordConnector *connector)
{
	if (connector->reading != NULL)
		return connector->reading;
	if (connector->protocol == &concord_protocol_odata)
		return connector->odata2 ? &rdg_odata2 : &rdg_odata4;
	return &rdg_rest;
}
