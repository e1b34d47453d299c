/*-------------------------------------------------------------------------
 *
 * template_write.c
 *	  A template's text for one exchange: places are filled in and escaped for
 *	  where they stand.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/template_pieces.h"

#include "base/base64.h"
#include "base/json.h"
#include "connector/protocols.h"
#include "mb/pg_wchar.h"

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

/* tpl_headers writes an item's headers as an object. */
static void
tpl_headers(const ConcordRequest *request, StringInfo buf)
{
	appendStringInfoChar(buf, '{');
	for (int i = 0; i < request->nheaders; i++)
	{
		const ConcordHeader *header = &request->headers[i];

		if (i > 0)
			appendStringInfoChar(buf, ',');
		concord_json_string(buf, header->name, strlen(header->name));
		appendStringInfoChar(buf, ':');
		concord_json_string(buf, header->value, strlen(header->value));
	}
	appendStringInfoChar(buf, '}');
}

/* tpl_item writes what an item of a batch has that is JSON. */
static void
tpl_item(const ConcordRequest *request, TplPlace place, StringInfo buf)
{
	if (request == NULL || (place == TPL_REQUEST_BODY && request->body == NULL))
		appendStringInfoString(buf, "null");
	else if (place == TPL_REQUEST_HEADERS)
		tpl_headers(request, buf);
	else
		appendBinaryStringInfo(buf, request->body, request->body_len);
}

/* tpl_object writes the mapped object as a place says. */
static void
tpl_object(const ConcordTemplateScope *scope, TplPlace place, StringInfo buf)
{
	int			flags = scope->body_flags;

	if (place == TPL_REQUEST_HEADERS || place == TPL_REQUEST_BODY)
	{
		tpl_item(scope->request, place, buf);
		return;
	}
	if (place == TPL_FIELDS)
		flags = (flags & ~CONCORD_BODY_KEY) | CONCORD_BODY_NO_KEY;
	else if (place == TPL_RECORD)
		flags |= CONCORD_BODY_KEY;
	concord_body_write(scope->exchange->mapping, scope->exchange->mapped,
					   flags, buf);
}

/* tpl_of_item gives a place's value that an item of a batch has. */
static char *
tpl_of_item(const ConcordTemplateScope *scope, TplPlace place)
{
	const ConcordExchange *exchange = scope->exchange;
	const ConcordRequest *request = scope->request;

	if (place == TPL_IDS)
		return unconstify(char *, scope->ids);
	if (request == NULL)
		return NULL;
	switch (place)
	{
		case TPL_REQUEST_ID:
			return psprintf("%s%d", scope->id_prefix, scope->index + 1);
		case TPL_REQUEST_INDEX:
			return psprintf("%d", scope->index);
		case TPL_REQUEST_METHOD:
			return request->method;
		case TPL_REQUEST_PATH:
			return unconstify(char *, concord_item_path(exchange, request));
		case TPL_REQUEST_ABSOLUTE_PATH:
			return unconstify(char *, concord_url_path(request->url));
		default:
			return request->url;
	}
}

/* tpl_plain gives a place's value as text; NULL where it has none. */
static char *
tpl_plain(const ConcordTemplateScope *scope, TplPlace place)
{
	const ConcordExchange *exchange = scope->exchange;
	const ConcordMapping *mapping = exchange->mapping;
	char	   *object = mapping->object + strspn(mapping->object, "/");
	ConcordEventNames names;
	StringInfoData buf;

	switch (place)
	{
		case TPL_URL:
			return exchange->server->url;
		case TPL_OBJECT:
			return object;
		case TPL_OBJECT_FIRST:
			return pnstrdup(object, strcspn(object, "/"));
		case TPL_OBJECT_REST:
			object += strcspn(object, "/");
			return pstrdup(object + strspn(object, "/"));
		case TPL_KEY:
			return tpl_key(scope);
		case TPL_REMOTE_ID:
			return exchange->link.remote_id;
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
			if (mapping->options.ordering == CONCORD_ORDER_KEY &&
				scope->keys != NULL && mapping->key != NIL)
				return concord_key_text(mapping, scope->keys);
			return exchange->mapped->ordering_key;
		case TPL_ENTITY:
			return concord_entity_name(mapping->object);
		case TPL_IDEMPOTENCY_KEY:
			return exchange->idempotency_key;
		case TPL_REQUEST_BODY:
		case TPL_REQUEST_HEADERS:
			initStringInfo(&buf);
			tpl_item(scope->request, place, &buf);
			return buf.data;
		default:
			break;
	}
	if (place >= TPL_IDS)
		return tpl_of_item(scope, place);
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

/* tpl_base64 codes a text's bytes in UTF-8, which JSON has already. */
static char *
tpl_base64(const char *text, bool is_json)
{
	const char *utf8 = is_json ? text : concord_json_utf8(text);

	return concord_base64(utf8, strlen(utf8), false);
}

/*
 * tpl_check_value refuses a value that would be more than a value where it is to
 * stand.  Neither place has an escape: an encoded query separates its conditions
 * with ^, and evaluates what begins with javascript:.
 */
static void
tpl_check_value(const char *text, TplForm form)
{
	bool		query = form == TPL_ENCODED_QUERY;
	const char *start = text + strspn(text, " \t\r\n");

	if (query ? strchr(text, '^') == NULL && pg_strncasecmp(start, "javascript:", 11) != 0 :
		strchr(text, ',') == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("the value \"%s\" cannot stand in the request", text),
			 query ?
			 errdetail("In an encoded query \"^\" begins another condition and \"javascript:\" a script, so it could name other records.") :
			 errdetail("A list of values stands there, which a comma separates, so it could name other records."),
			 errhint("Look for the record at the system by hand, or change its key.")));
}

/* tpl_formed gives a text in the form that a place asks for. */
static char *
tpl_formed(char *text, const TplPiece *piece)
{
	TplForm		form = piece->form;

	if (form == TPL_GRAPHQL)
		return concord_place_is_json(piece->place) ?
			concord_graphql_object(text) : concord_graphql_string(text);
	if (form == TPL_BASE64)
		return tpl_base64(text, concord_place_is_json(piece->place));
	if (form == TPL_SINGLE || form == TPL_ENCODED_QUERY)
		tpl_check_value(text, form);
	if (form == TPL_CAPITAL)
	{
		text = pstrdup(text);
		text[0] = pg_ascii_toupper((unsigned char) text[0]);
	}
	return text;
}

/* tpl_quote appends a place's value as a JSON string. */
static void
tpl_quote(StringInfo buf, const TplPiece *piece, const char *text)
{
	/* what is JSON is in UTF-8, whatever the database's encoding is */
	if (concord_place_is_json(piece->place))
		concord_json_quote(buf, text, strlen(text));
	else
		concord_json_string(buf, text, strlen(text));
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

/* tpl_comma separates a member from the one before it. */
static void
tpl_comma(StringInfo buf)
{
	if (buf->len > 0 && buf->data[buf->len - 1] != '{')
		appendStringInfoChar(buf, ',');
}

/* tpl_alone writes a place that is a JSON value of its own. */
static void
tpl_alone(const TplPiece *piece, const ConcordTemplateScope *scope,
		  StringInfo buf)
{
	bool		member = piece->how == TPL_MEMBER;
	bool		is_json = concord_place_is_json(piece->place) && piece->form == TPL_PLAIN;
	char	   *text = is_json ? NULL : tpl_plain(scope, piece->place);

	if (member && ((text == NULL && !is_json) ||
				   (piece->place == TPL_REQUEST_BODY &&
					(scope->request == NULL || scope->request->body == NULL))))
		return;
	if (member)
	{
		tpl_comma(buf);
		appendBinaryStringInfo(buf, piece->text, piece->len);
	}
	if (is_json && piece->place == TPL_ITEMS)
	{
		appendStringInfoChar(buf, '[');
		appendBinaryStringInfo(buf, scope->items, scope->items_len);
		appendStringInfoChar(buf, ']');
	}
	else if (is_json)
		tpl_object(scope, piece->place, buf);
	else if (text == NULL)
		appendStringInfoString(buf, "null");
	else if (piece->form == TPL_JSON && tpl_is_number(text))
		appendStringInfoString(buf, text);
	else
		tpl_quote(buf, piece, tpl_formed(text, piece));
}

/* tpl_header appends a value for a header; a space at its ends would be lost. */
static void
tpl_header(StringInfo buf, const char *utf8)
{
	for (const char *p = utf8; *p; p++)
	{
		unsigned char c = *p;

		if (c < ' ' || c >= 0x7F || c == '%' ||
			(c == ' ' && (p == utf8 || p[1] == '\0')))
			appendStringInfo(buf, "%%%02X", c);
		else
			appendStringInfoCharMacro(buf, c);
	}
}

/* tpl_inside writes a place within a text, escaped for what that is. */
static void
tpl_inside(const TplPiece *piece, ConcordTemplateUse use,
		   const ConcordTemplateScope *scope, StringInfo buf)
{
	char	   *text = tpl_plain(scope, piece->place);
	StringInfoData quoted;

	if (text == NULL && use == CONCORD_TEMPLATE_PATH && piece->place == TPL_REMOTE_ID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the request's path needs the record's id at the system, which is not known"),
				 errdetail("Without it the address would be that of all records."),
				 errhint("The record was not made through this mapping, or its answer did not tell the id.")));
	if (text == NULL)
		return;
	text = tpl_formed(text, piece);
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
			tpl_header(buf, concord_json_utf8(text));
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
		tpl_comma(buf);
		appendBinaryStringInfo(buf, object.data + 1, object.len - 2);
	}
	pfree(object.data);
}

/* concord_template_write appends what a template gives for a scope. */
void
concord_template_write(const ConcordTemplate *template,
					   const ConcordTemplateScope *scope, StringInfo buf)
{
	int			start = buf->len;

	for (int i = 0; i < template->npieces; i++)
	{
		const TplPiece *piece = &template->pieces[i];

		switch (piece->how)
		{
			case TPL_LITERAL:
				appendBinaryStringInfo(buf, piece->text, piece->len);
				break;
			case TPL_ALONE:
			case TPL_MEMBER:
				tpl_alone(piece, scope, buf);
				break;
			case TPL_INSIDE:
				tpl_inside(piece, template->use, scope, buf);
				break;
			case TPL_SPREAD:
				tpl_members(piece, scope, buf);
				break;
			case TPL_COMMA:
				tpl_comma(buf);
				break;
		}
	}
	/* a template has no such segment: a value has made one */
	if (template->use == CONCORD_TEMPLATE_PATH &&
		concord_path_climbs(buf->data + start))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the request's path would name another address"),
				 errdetail("A part of \"%s\" is made of dots alone.",
						   buf->data + start),
				 errhint("Let the key's expression make another text of it.")));
}

/*
 * concord_template_ascii writes a JSON text, which is in UTF-8, with everything
 * beyond printable ASCII as \u escapes: for a header that is JSON.
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

		if (*p < 0x7F)
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
