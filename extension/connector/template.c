/*-------------------------------------------------------------------------
 *
 * template.c
 *	  Texts and JSON with places for what varies from request to request.
 *
 * A place is written {name} or {name:form}.  In a JSON template it stands in
 * a string.  A string that is nothing but a place becomes the place's value,
 * so "{body}" is the mapped object itself; within a longer string the value
 * is a part of that string.  A member "..." whose value is "{body}" or its
 * kin puts that object's members beside its own:
 *
 *		{"attributes": {"type": "{object}"}, "...": "{fields}"}
 *
 * In a JSON template braces mean nothing else: a GraphQL document is full of
 * them, so within a longer string what is no place is left as it is.  Where a
 * place stands alone, and in paths, queries and headers, one that does not
 * exist is refused when the row is written.
 *
 * A template is kept as a list of literals and places, made once per row.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/template_pieces.h"

#include "base/json.h"
#include "catalog/server_options.h"
#include "connector/protocols.h"
#include "utils/builtins.h"

#define TPL_MAX_DEPTH	32

static const struct
{
	const char *name;
	TplPlace	place;
	bool		is_json;		/* the value is JSON, not a text */
}			tpl_places[] = {
	{"url", TPL_URL, false},
	{"object", TPL_OBJECT, false},
	{"object.first", TPL_OBJECT_FIRST, false},
	{"object.rest", TPL_OBJECT_REST, false},
	{"key", TPL_KEY, false},
	{"key.name", TPL_KEY_NAME, false},
	{"remote_id", TPL_REMOTE_ID, false},
	{"body", TPL_BODY, true},
	{"fields", TPL_FIELDS, true},
	{"record", TPL_RECORD, true},
	{"items", TPL_ITEMS, true},
	{"mapping", TPL_MAPPING, false},
	{"ordering_key", TPL_ORDERING_KEY, false},
	{"event.id", TPL_EVENT_ID, false},
	{"event.op", TPL_EVENT_OP, false},
	{"event.type", TPL_EVENT_TYPE, false},
	{"event.source", TPL_EVENT_SOURCE, false},
	{"event.subject", TPL_EVENT_SUBJECT, false},
	{"event.time", TPL_EVENT_TIME, false},
	{"entity", TPL_ENTITY, false},
	{"idempotency_key", TPL_IDEMPOTENCY_KEY, false},
	{"ids", TPL_IDS, false},
	{"request.body", TPL_REQUEST_BODY, true},
	{"request.headers", TPL_REQUEST_HEADERS, true},
	{"request.id", TPL_REQUEST_ID, false},
	{"request.index", TPL_REQUEST_INDEX, false},
	{"request.method", TPL_REQUEST_METHOD, false},
	{"request.path", TPL_REQUEST_PATH, false},
	{"request.absolute_path", TPL_REQUEST_ABSOLUTE_PATH, false},
	{"request.url", TPL_REQUEST_URL, false},
};

static const char *const tpl_forms[] = {"", "text", "base64", "capital", "json", "graphql",
"single", "encoded_query"};

/* What parsing needs at hand. */
typedef struct TplParser
{
	const char *member;
	ConcordTemplate *template;
	StringInfoData literal;		/* not yet a piece */
	bool		items;
} TplParser;

/* tpl_bad refuses a template. */
static void
tpl_bad(const TplParser *parser, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid connector definition"),
			 errdetail("Member \"%s\" %s.", parser->member, why)));
}

/* tpl_unknown refuses a place that does not exist, naming the closest. */
static void
tpl_unknown(const TplParser *parser, const char *name)
{
	const char *names[lengthof(tpl_places)];
	const char *closest;
	int			n = 0;

	for (int i = 0; i < lengthof(tpl_places); i++)
	{
		if (parser->items || tpl_places[i].place < TPL_IDS)
			names[n++] = tpl_places[i].name;
	}
	if (*name == '\0')
		tpl_bad(parser, "has a { without a place and } behind it");
	closest = concord_option_closest(name, names, n);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid connector definition"),
			 errdetail("Member \"%s\" has a place {%s}, which does not exist.",
					   parser->member, name),
			 closest != NULL ?
			 errhint("Perhaps you meant {%s}.", closest) :
			 errhint("Places are {object}, {key}, {body} and others; forms are text, base64, capital, json, graphql, single and encoded_query.")));
}

/* tpl_add appends a piece. */
static TplPiece *
tpl_add(ConcordTemplate *template, TplHow how)
{
	TplPiece   *piece;

	if (template->npieces == template->maxpieces)
	{
		template->maxpieces = Max(8, template->maxpieces * 2);
		template->pieces = template->pieces == NULL ?
			palloc(sizeof(TplPiece) * template->maxpieces) :
			repalloc(template->pieces,
					 sizeof(TplPiece) * template->maxpieces);
	}
	piece = &template->pieces[template->npieces++];
	memset(piece, 0, sizeof(TplPiece));
	piece->how = how;
	return piece;
}

/* tpl_flush makes a piece of the literal text that was gathered. */
static void
tpl_flush(TplParser *parser)
{
	TplPiece   *piece;

	if (parser->literal.len == 0)
		return;
	piece = tpl_add(parser->template, TPL_LITERAL);
	piece->text = pnstrdup(parser->literal.data, parser->literal.len);
	piece->len = parser->literal.len;
	resetStringInfo(&parser->literal);
}

/*
 * tpl_find reads a place that starts at text[0] = '{'.  It returns the length
 * with both braces, 0 where there is no such place, and in *name what stands
 * between the braces.
 */
static Size
tpl_find(const char *text, Size len, TplPlace *place, TplForm *form,
		 char **name)
{
	const char *end = memchr(text, '}', len);
	char	   *colon;
	bool		found = false;

	*name = NULL;
	if (end == NULL)
		return 0;
	*name = pnstrdup(text + 1, end - text - 1);
	colon = strchr(*name, ':');
	*form = TPL_PLAIN;
	if (colon != NULL)
	{
		for (int i = 1; i < lengthof(tpl_forms); i++)
		{
			if (strcmp(colon + 1, tpl_forms[i]) == 0)
				*form = (TplForm) i;
		}
		if (*form == TPL_PLAIN)
			return 0;
		*colon = '\0';
	}
	for (int i = 0; i < lengthof(tpl_places) && !found; i++)
	{
		if (strcmp(tpl_places[i].name, *name) == 0)
		{
			*place = tpl_places[i].place;
			found = true;
		}
	}
	if (colon != NULL)
		*colon = ':';
	return found ? end - text + 1 : 0;
}

/* tpl_name gives a place's name. */
static const char *
tpl_name(TplPlace place)
{
	for (int i = 0; i < lengthof(tpl_places); i++)
	{
		if (tpl_places[i].place == place)
			return tpl_places[i].name;
	}
	return "";
}

/* concord_place_is_json says whether a place's value is JSON. */
bool
concord_place_is_json(TplPlace place)
{
	for (int i = 0; i < lengthof(tpl_places); i++)
	{
		if (tpl_places[i].place == place)
			return tpl_places[i].is_json;
	}
	return false;
}

/* tpl_literal gathers literal text, escaped for where it will stand. */
static void
tpl_literal(TplParser *parser, const char *text, Size len)
{
	StringInfoData quoted;

	switch (parser->template->use)
	{
		case CONCORD_TEMPLATE_PATH:
			concord_url_escape(&parser->literal, pnstrdup(text, len),
							   "/!$&'()*+,;=:@?");
			return;
		case CONCORD_TEMPLATE_QUERY:
			concord_url_escape(&parser->literal, pnstrdup(text, len),
							   "/!$'()*,;:@");
			return;
		case CONCORD_TEMPLATE_HEADER:
			appendBinaryStringInfo(&parser->literal, text, len);
			return;
		case CONCORD_TEMPLATE_JSON:
			break;
	}
	initStringInfo(&quoted);
	concord_json_string(&quoted, text, len);
	appendBinaryStringInfo(&parser->literal, quoted.data + 1, quoted.len - 2);
	pfree(quoted.data);
}

/* tpl_place adds a place. */
static void
tpl_place(TplParser *parser, TplHow how, TplPlace place, TplForm form)
{
	TplPiece   *piece;

	if ((place == TPL_ITEMS || place >= TPL_IDS) && !parser->items)
		tpl_bad(parser, psprintf("has {%s}, which only a batch has",
								 tpl_name(place)));
	if (parser->template->use != CONCORD_TEMPLATE_JSON && concord_place_is_json(place) &&
		form != TPL_BASE64)
		tpl_bad(parser, "has a place whose value is JSON");
	tpl_flush(parser);
	piece = tpl_add(parser->template, how);
	piece->place = place;
	piece->form = form;
}

/* tpl_text takes a text apart: literals and places within. */
static void
tpl_text(TplParser *parser, const char *text, Size len)
{
	bool		strict = parser->template->use != CONCORD_TEMPLATE_JSON;
	Size		from = 0;

	for (Size i = 0; i < len; i++)
	{
		TplPlace	place;
		TplForm		form;
		char	   *name;
		Size		n;

		if (text[i] != '{')
			continue;
		n = tpl_find(text + i, len - i, &place, &form, &name);
		if (n == 0)
		{
			if (strict)
				tpl_unknown(parser, name ? name : "");
			continue;
		}
		tpl_literal(parser, text + from, i - from);
		tpl_place(parser, TPL_INSIDE, place, form);
		from = i + n;
		i += n - 1;
	}
	tpl_literal(parser, text + from, len - from);
}

/* tpl_is_place says whether a string is nothing but a place. */
static bool
tpl_is_place(const char *text, Size len)
{
	return len > 2 && text[0] == '{' && text[len - 1] == '}' &&
		memchr(text, '}', len) == text + len - 1 &&
		memchr(text + 1, '{', len - 1) == NULL &&
		memchr(text, ' ', len) == NULL;
}

/* tpl_string writes a JSON string: one place, or a text with places within. */
static void
tpl_string(TplParser *parser, const char *text, Size len)
{
	TplPlace	place;
	TplForm		form;
	char	   *name;

	if (tpl_is_place(text, len))
	{
		if (tpl_find(text, len, &place, &form, &name) == 0)
			tpl_unknown(parser, name);
		tpl_place(parser, TPL_ALONE, place, form);
		return;
	}
	appendStringInfoChar(&parser->literal, '"');
	tpl_text(parser, text, len);
	appendStringInfoChar(&parser->literal, '"');
}

/* tpl_spread adds the member "...". */
static void
tpl_spread(TplParser *parser, const JsonbValue *value)
{
	TplPlace	place;
	TplForm		form;
	char	   *name;
	Size		len;

	if (value->type != jbvString)
		tpl_bad(parser, "has a member \"...\" that is not a place");
	len = value->val.string.len;
	if (len == 0 || value->val.string.val[0] != '{' ||
		tpl_find(value->val.string.val, len, &place, &form, &name) != len ||
		form != TPL_PLAIN ||
		(place != TPL_BODY && place != TPL_FIELDS && place != TPL_RECORD &&
		 place != TPL_REQUEST_BODY))
		tpl_bad(parser,
				"has a member \"...\" that is none of {body}, {fields} and {record}");
	tpl_place(parser, TPL_SPREAD, place, form);
}

static void tpl_value(TplParser *parser, JsonbValue *value, int depth);

/*
 * tpl_member writes a member of an object.  Where its value is nothing but a
 * place, the member goes with the value: an event without a key has no
 * "SessionId": null.
 */
static void
tpl_member(TplParser *parser, const char *name, int len, JsonbValue *value,
		   int depth)
{
	StringInfoData quoted;

	initStringInfo(&quoted);
	concord_json_string(&quoted, name, len);
	appendStringInfoChar(&quoted, ':');
	if (value->type == jbvString && memchr(name, '{', len) == NULL &&
		tpl_is_place(value->val.string.val, value->val.string.len))
	{
		TplPiece   *piece;

		tpl_string(parser, value->val.string.val, value->val.string.len);
		piece = &parser->template->pieces[parser->template->npieces - 1];
		piece->how = TPL_MEMBER;
		piece->text = quoted.data;
		piece->len = quoted.len;
		return;
	}
	tpl_flush(parser);
	tpl_add(parser->template, TPL_COMMA);
	appendStringInfoChar(&parser->literal, '"');
	tpl_text(parser, name, len);
	appendStringInfoString(&parser->literal, "\":");
	tpl_value(parser, value, depth + 1);
}

/* tpl_value writes any JSON value. */
static void
tpl_value(TplParser *parser, JsonbValue *value, int depth)
{
	JsonbContainer *container;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;
	JsonbValue	spread;
	struct
	{
		int			len;
		char	   *val;
	}			name = {0};
	bool		has_spread = false;
	bool		first = true;
	bool		object;

	if (depth > TPL_MAX_DEPTH)
		tpl_bad(parser, "nests too deep");
	switch (value->type)
	{
		case jbvNull:
			appendStringInfoString(&parser->literal, "null");
			return;
		case jbvBool:
			appendStringInfoString(&parser->literal,
								   value->val.boolean ? "true" : "false");
			return;
		case jbvNumeric:
			appendStringInfoString(&parser->literal,
								   DatumGetCString(DirectFunctionCall1(numeric_out,
																	   NumericGetDatum(value->val.numeric))));
			return;
		case jbvString:
			tpl_string(parser, value->val.string.val, value->val.string.len);
			return;
		case jbvBinary:
			break;
		default:
			tpl_bad(parser, "has a value of an unknown kind");
	}

	container = value->val.binary.data;
	object = JsonContainerIsObject(container);
	it = JsonbIteratorInit(container);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		switch (token)
		{
			case WJB_BEGIN_ARRAY:
			case WJB_BEGIN_OBJECT:
				appendStringInfoChar(&parser->literal, object ? '{' : '[');
				break;
			case WJB_KEY:
				if (v.val.string.len == 3 &&
					memcmp(v.val.string.val, "...", 3) == 0)
				{
					(void) JsonbIteratorNext(&it, &spread, true);
					has_spread = true;
					break;
				}
				name.len = v.val.string.len;
				name.val = v.val.string.val;
				break;
			case WJB_ELEM:
				if (!first)
					appendStringInfoChar(&parser->literal, ',');
				first = false;
				tpl_value(parser, &v, depth + 1);
				break;
			case WJB_VALUE:
				tpl_member(parser, name.val, name.len, &v, depth);
				break;
			case WJB_END_ARRAY:
			case WJB_END_OBJECT:
				if (has_spread)
					tpl_spread(parser, &spread);
				appendStringInfoChar(&parser->literal, object ? '}' : ']');
				break;
			default:
				break;
		}
	}
}

/* concord_template_parse makes a template; errors name the member. */
ConcordTemplate *
concord_template_parse(const char *member, JsonbValue *value,
					   ConcordTemplateUse use, bool items)
{
	TplParser	parser = {.member = member,.items = items};

	parser.template = palloc0(sizeof(ConcordTemplate));
	parser.template->use = use;
	initStringInfo(&parser.literal);
	if (use == CONCORD_TEMPLATE_JSON)
		tpl_value(&parser, value, 0);
	else
	{
		if (value->type != jbvString)
			tpl_bad(&parser, "is not a text");
		for (int i = 0; i < value->val.string.len; i++)
		{
			unsigned char c = value->val.string.val[i];

			if (c < ' ' || c >= 0x7F)
				tpl_bad(&parser, "has a character that is not printable ASCII");
		}
		tpl_text(&parser, value->val.string.val, value->val.string.len);
	}
	tpl_flush(&parser);
	pfree(parser.literal.data);
	return parser.template;
}

/* tpl_has: a place stands in a template. */
static bool
tpl_has(const ConcordTemplate *template, TplPlace place)
{
	for (int i = 0; i < template->npieces; i++)
	{
		if (template->pieces[i].how != TPL_LITERAL &&
			template->pieces[i].how != TPL_COMMA &&
			template->pieces[i].place == place)
			return true;
	}
	return false;
}

/* What a batch needs to know of its templates. */
bool
concord_template_has_items(const ConcordTemplate *template)
{
	return tpl_has(template, TPL_ITEMS);
}

bool
concord_template_has_id(const ConcordTemplate *template)
{
	return tpl_has(template, TPL_REQUEST_ID);
}

bool
concord_template_has_headers(const ConcordTemplate *template)
{
	return tpl_has(template, TPL_REQUEST_HEADERS);
}

bool
concord_template_constant(const ConcordTemplate *template)
{
	for (int i = 0; i < template->npieces; i++)
	{
		if (template->pieces[i].how != TPL_LITERAL &&
			template->pieces[i].how != TPL_COMMA)
			return false;
	}
	return true;
}
