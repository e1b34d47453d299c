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
#include "connector/template.h"

#include "base/json.h"
#include "catalog/server_options.h"
#include "common/base64.h"
#include "connector/protocols.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#define TPL_MAX_DEPTH	32

typedef enum TplPlace
{
	TPL_OBJECT,
	TPL_KEY,
	TPL_KEY_NAME,
	TPL_BODY,
	TPL_FIELDS,
	TPL_RECORD,
	TPL_ITEMS,
	TPL_MAPPING,
	TPL_ORDERING_KEY,
	TPL_EVENT_ID,
	TPL_EVENT_OP,
	TPL_EVENT_TYPE,
	TPL_EVENT_SOURCE,
	TPL_EVENT_SUBJECT,
	TPL_EVENT_TIME,
} TplPlace;

static const struct
{
	const char *name;
	TplPlace	place;
	bool		is_json;		/* the value is JSON, not a text */
}			tpl_places[] = {
	{"object", TPL_OBJECT, false},
	{"key", TPL_KEY, false},
	{"key.name", TPL_KEY_NAME, false},
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
};

typedef enum TplForm
{
	TPL_PLAIN,
	TPL_TEXT,					/* JSON as a text */
	TPL_BASE64,
	TPL_JSON,					/* a text that is a number: without quotes */
} TplForm;

static const char *const tpl_forms[] = {"", "text", "base64", "json"};

/* How a value is put in. */
typedef enum TplHow
{
	TPL_LITERAL,
	TPL_ALONE,					/* is a JSON value of its own */
	TPL_INSIDE,					/* is a part of a text */
	TPL_SPREAD,					/* the members of an object, after others */
	TPL_SPREAD_FIRST,			/* ... or before any other */
} TplHow;

typedef struct TplPiece
{
	TplHow		how;
	TplPlace	place;
	TplForm		form;
	char	   *text;			/* of a literal */
	int			len;
} TplPiece;

struct ConcordTemplate
{
	ConcordTemplateUse use;
	int			npieces;
	int			maxpieces;
	TplPiece   *pieces;
};

/* What parsing needs at hand. */
typedef struct TplParser
{
	const char *member;
	ConcordTemplate *template;
	StringInfoData literal;		/* not yet a piece */
	bool		items;
} TplParser;

/* ---------------------------------------------------------------------
 * parsing
 * ------------------------------------------------------------------- */

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

	for (int i = 0; i < lengthof(tpl_places); i++)
		names[i] = tpl_places[i].name;
	closest = concord_option_closest(name, names, lengthof(names));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid connector definition"),
			 errdetail("Member \"%s\" has a place {%s}, which does not exist.",
					   parser->member, name),
			 closest != NULL ?
			 errhint("Perhaps you meant {%s}.", closest) :
			 errhint("Places are {object}, {key}, {body} and others; forms are text, base64 and json.")));
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

/* tpl_is_json says whether a place's value is JSON. */
static bool
tpl_is_json(TplPlace place)
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

	if (place == TPL_ITEMS && !parser->items)
		tpl_bad(parser, "has {items}, which only a batch has");
	if (parser->template->use != CONCORD_TEMPLATE_JSON && tpl_is_json(place) &&
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

/* tpl_string writes a JSON string: one place, or a text with places within. */
static void
tpl_string(TplParser *parser, const char *text, Size len)
{
	TplPlace	place;
	TplForm		form;
	char	   *name;

	if (len > 2 && text[0] == '{' && text[len - 1] == '}' &&
		memchr(text, '}', len) == text + len - 1 &&
		memchr(text + 1, '{', len - 1) == NULL &&
		memchr(text, ' ', len) == NULL)
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
tpl_spread(TplParser *parser, const JsonbValue *value, bool first)
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
		(place != TPL_BODY && place != TPL_FIELDS && place != TPL_RECORD))
		tpl_bad(parser,
				"has a member \"...\" that is none of {body}, {fields} and {record}");
	tpl_place(parser, first ? TPL_SPREAD_FIRST : TPL_SPREAD, place, form);
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
				if (!first)
					appendStringInfoChar(&parser->literal, ',');
				first = false;
				appendStringInfoChar(&parser->literal, '"');
				tpl_literal(parser, v.val.string.val, v.val.string.len);
				appendStringInfoString(&parser->literal, "\":");
				break;
			case WJB_ELEM:
				if (!first)
					appendStringInfoChar(&parser->literal, ',');
				first = false;
				tpl_value(parser, &v, depth + 1);
				break;
			case WJB_VALUE:
				tpl_value(parser, &v, depth + 1);
				break;
			case WJB_END_ARRAY:
			case WJB_END_OBJECT:
				if (has_spread)
					tpl_spread(parser, &spread, first);
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

/* ---------------------------------------------------------------------
 * writing
 * ------------------------------------------------------------------- */

/* tpl_key gives the record's key as the system knows it. */
static char *
tpl_key(const ConcordTemplateScope *scope)
{
	const ConcordExchange *exchange = scope->exchange;

	if (exchange->mapping->options.remote_id_assigned &&
		exchange->link.remote_id != NULL)
		return exchange->link.remote_id;
	if (scope->keys == NULL)
		return NULL;
	return concord_key_text(exchange->mapping, scope->keys);
}

/* tpl_object writes the mapped object as a place says. */
static void
tpl_object(const ConcordTemplateScope *scope, TplPlace place, StringInfo buf)
{
	int			flags = scope->body_flags;

	if (place == TPL_FIELDS)
		flags = (flags & ~CONCORD_BODY_KEY) | CONCORD_BODY_NO_KEY;
	else if (place == TPL_RECORD)
		flags |= CONCORD_BODY_KEY;
	concord_body_write(scope->exchange->mapping, scope->exchange->mapped,
					   flags, buf);
}

/* tpl_plain gives a place's value as text; NULL where it has none. */
static char *
tpl_plain(const ConcordTemplateScope *scope, TplPlace place)
{
	const ConcordExchange *exchange = scope->exchange;
	const ConcordMapping *mapping = exchange->mapping;
	ConcordEventNames names;
	StringInfoData buf;

	switch (place)
	{
		case TPL_OBJECT:
			return mapping->object + strspn(mapping->object, "/");
		case TPL_KEY:
			return tpl_key(scope);
		case TPL_KEY_NAME:
			return mapping->key == NIL ? NULL :
				((ConcordField *) linitial(mapping->key))->name;
		case TPL_BODY:
		case TPL_FIELDS:
		case TPL_RECORD:
			initStringInfo(&buf);
			tpl_object(scope, place, &buf);
			return buf.data;
		case TPL_ITEMS:
			return pnstrdup(scope->items, scope->items_len);
		case TPL_MAPPING:
			return mapping->name;
		case TPL_ORDERING_KEY:
			return exchange->mapped->ordering_key;
		default:
			break;
	}
	/* a preview has no event yet */
	if (exchange->event == NULL)
		return NULL;
	concord_event_names(exchange, &names);
	switch (place)
	{
		case TPL_EVENT_ID:
			return names.id;
		case TPL_EVENT_OP:
			return (char *) names.op;
		case TPL_EVENT_TYPE:
			return names.type;
		case TPL_EVENT_SOURCE:
			return names.source;
		case TPL_EVENT_SUBJECT:
			return names.subject;
		case TPL_EVENT_TIME:
			return names.time;
		default:
			return NULL;
	}
}

/* tpl_quote appends a place's value as a JSON string. */
static void
tpl_quote(StringInfo buf, const TplPiece *piece, const char *text)
{
	/* what is JSON is in UTF-8, whatever the database's encoding is */
	if (tpl_is_json(piece->place))
		concord_json_quote(buf, text, strlen(text));
	else
		concord_json_string(buf, text, strlen(text));
}

/* tpl_base64 codes a text. */
static char *
tpl_base64(const char *text)
{
	int			len = strlen(text);
	int			size = pg_b64_enc_len(len);
	char	   *coded = palloc(size + 1);
	int			used = pg_b64_encode(text, len, coded, size);

	if (used < 0)
		elog(ERROR, "could not encode base64");
	coded[used] = '\0';
	return coded;
}

/* tpl_is_number says whether a text may stand in JSON without quotes. */
static bool
tpl_is_number(const char *text)
{
	const char *p = text + (*text == '-');
	size_t		digits = strspn(p, "0123456789");

	if (digits == 0 || (digits > 1 && *p == '0'))
		return false;
	p += digits;
	if (*p == '.')
	{
		digits = strspn(p + 1, "0123456789");
		if (digits == 0)
			return false;
		p += 1 + digits;
	}
	return *p == '\0';
}

/* tpl_alone writes a place that is a JSON value of its own. */
static void
tpl_alone(const TplPiece *piece, const ConcordTemplateScope *scope,
		  StringInfo buf)
{
	char	   *text;

	if (piece->place == TPL_ITEMS && piece->form == TPL_PLAIN)
	{
		appendStringInfoChar(buf, '[');
		appendBinaryStringInfo(buf, scope->items, scope->items_len);
		appendStringInfoChar(buf, ']');
		return;
	}
	if (tpl_is_json(piece->place) && piece->form == TPL_PLAIN)
	{
		tpl_object(scope, piece->place, buf);
		return;
	}
	text = tpl_plain(scope, piece->place);
	if (text == NULL)
		appendStringInfoString(buf, "null");
	else if (piece->form == TPL_JSON && tpl_is_number(text))
		appendStringInfoString(buf, text);
	else
	{
		if (piece->form == TPL_BASE64)
			text = tpl_base64(text);
		tpl_quote(buf, piece, text);
	}
}

/* tpl_inside writes a place within a text, escaped for what that is. */
static void
tpl_inside(const TplPiece *piece, ConcordTemplateUse use,
		   const ConcordTemplateScope *scope, StringInfo buf)
{
	char	   *text = tpl_plain(scope, piece->place);
	StringInfoData quoted;

	if (text == NULL)
		return;
	if (piece->form == TPL_BASE64)
		text = tpl_base64(text);
	switch (use)
	{
		case CONCORD_TEMPLATE_PATH:
			concord_url_escape(buf, text,
							   piece->place == TPL_OBJECT ? "/!$&'()*+,;=:@" :
							   piece->place == TPL_KEY ? "," : "");
			break;
		case CONCORD_TEMPLATE_QUERY:
			concord_url_escape(buf, text, "");
			break;
		case CONCORD_TEMPLATE_HEADER:
			for (const unsigned char *p = (const unsigned char *) text; *p; p++)
			{
				if (*p < ' ' || *p >= 0x7F || *p == '%')
					appendStringInfo(buf, "%%%02X", *p);
				else
					appendStringInfoCharMacro(buf, *p);
			}
			break;
		case CONCORD_TEMPLATE_JSON:
			initStringInfo(&quoted);
			tpl_quote(&quoted, piece, text);
			appendBinaryStringInfo(buf, quoted.data + 1, quoted.len - 2);
			pfree(quoted.data);
			break;
	}
}

/* tpl_members writes an object's members without its braces. */
static void
tpl_members(const TplPiece *piece, const ConcordTemplateScope *scope,
			StringInfo buf)
{
	StringInfoData object;

	initStringInfo(&object);
	tpl_object(scope, piece->place, &object);
	if (object.len > 2)
	{
		if (piece->how == TPL_SPREAD)
			appendStringInfoChar(buf, ',');
		appendBinaryStringInfo(buf, object.data + 1, object.len - 2);
	}
	pfree(object.data);
}

/* concord_template_write appends what a template gives for a scope. */
void
concord_template_write(const ConcordTemplate *template,
					   const ConcordTemplateScope *scope, StringInfo buf)
{
	for (int i = 0; i < template->npieces; i++)
	{
		const TplPiece *piece = &template->pieces[i];

		switch (piece->how)
		{
			case TPL_LITERAL:
				appendBinaryStringInfo(buf, piece->text, piece->len);
				break;
			case TPL_ALONE:
				tpl_alone(piece, scope, buf);
				break;
			case TPL_INSIDE:
				tpl_inside(piece, template->use, scope, buf);
				break;
			case TPL_SPREAD:
			case TPL_SPREAD_FIRST:
				tpl_members(piece, scope, buf);
				break;
		}
	}
}

/*
 * concord_template_ascii writes a JSON text, which is in UTF-8, with everything
 * beyond ASCII as \u escapes: for a header that is JSON.
 */
char *
concord_template_ascii(const char *json, Size len)
{
	const unsigned char *p = (const unsigned char *) json;
	const unsigned char *end = p + len;
	StringInfoData buf;

	initStringInfo(&buf);
	while (p < end)
	{
		pg_wchar	c;

		if (*p < 0x80)
		{
			appendStringInfoCharMacro(&buf, *p);
			p++;
			continue;
		}
		c = utf8_to_unicode(p);
		p += pg_utf_mblen(p);
		if (c >= 0x10000)
		{
			c -= 0x10000;
			appendStringInfo(&buf, "\\u%04x", 0xD800 + (c >> 10));
			c = 0xDC00 + (c & 0x3FF);
		}
		appendStringInfo(&buf, "\\u%04x", c);
	}
	return buf.data;
}
