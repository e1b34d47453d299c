/*-------------------------------------------------------------------------
 *
 * shape.c
 *	  What a connector's verb says beside method and path: the query, headers
 *	  and body of its request.
 *
 *		"create": {"method": "POST", "path": "{object}/create",
 *				   "query": {"notify": "false"},
 *				   "headers": {"BrokerProperties": {"MessageId": "{event.id}"}},
 *				   "body": {"vals_list": ["{fields}"]},
 *				   "content_type": "application/json"}
 *
 * A header's value is a text with places, or an object, which is sent as JSON
 * in one line of ASCII; null says that there is none, which a batch says of what
 * its items have.  Without "body" the protocol writes its own.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/template.h"

#include "catalog/server_options.h"
#include "connector/definition.h"
#include "connector/protocols.h"

/* One named template. */
typedef struct ShapePart
{
	char	   *name;			/* of a header */
	ConcordTemplate *query_name;	/* of a part of a query: may have places */
	ConcordTemplate *value;
	bool		is_json;
} ShapePart;

struct ConcordShape
{
	List	   *query;			/* of ShapePart * */
	List	   *headers;		/* of ShapePart * */
	ConcordTemplate *body;		/* NULL: the protocol's */
	char	   *content_type;	/* NULL: application/json */
};

/* shape_get looks a member up; false where it is not there, or null. */
static bool
shape_get(JsonbContainer *object, const char *name, JsonbValue *value)
{
	return concord_member_get(object, name, value) != NULL &&
		value->type != jbvNull;
}

/* shape_header_name refuses what is no header, or not a connector's to set. */
static void
shape_header_name(const char *member, const char *name)
{
	static const char *const ours[] = {
		"content-length", "content-type", "host", "transfer-encoding",
		"connection", "expect", "accept-encoding",
	};

	if (!concord_header_name_valid(name))
		concord_member_bad(member, psprintf("has \"%s\", which is no name of a header", name));
	for (int i = 0; i < lengthof(ours); i++)
	{
		if (pg_strcasecmp(ours[i], name) == 0)
			concord_member_bad(member, psprintf("has the header \"%s\", which follows from the request",
												name));
	}
	if (concord_header_is_framing(name))
		concord_member_bad(member, psprintf("has the header \"%s\", which belongs to the transfer itself",
											name));
	if (concord_header_is_secret(name))
		concord_member_bad(member, psprintf("has the header \"%s\": credentials belong into a user mapping",
											name));
}

/* concord_member_header takes the name of a header over, or none. */
void
concord_member_header(ConcordConnector *connector, const ConcordMember *member,
					  JsonbValue *value)
{
	char	  **field = (char **) ((char *) connector + member->offset);

	concord_member_text(connector, member, value);
	if (**field != '\0')
		shape_header_name(member->name, *field);
}

/* shape_list parses an object of named templates. */
static List *
shape_list(const char *path, JsonbValue *object, ConcordTemplateUse use)
{
	List	   *parts = NIL;
	JsonbValue	value;
	JsonbIterator *it;
	JsonbIteratorToken token;

	if (object->type != jbvBinary ||
		!JsonContainerIsObject(object->val.binary.data))
		concord_member_bad(path, "is not an object");
	it = JsonbIteratorInit(object->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		ShapePart  *part;

		if (token != WJB_KEY)
			continue;
		part = palloc0(sizeof(ShapePart));
		part->name = pnstrdup(value.val.string.val, value.val.string.len);
		if (use == CONCORD_TEMPLATE_HEADER)
			shape_header_name(path, part->name);
		else
			part->query_name = concord_template_parse(path, &value, use, false);
		(void) JsonbIteratorNext(&it, &value, true);
		part->is_json = use == CONCORD_TEMPLATE_HEADER &&
			value.type == jbvBinary;
		if (use == CONCORD_TEMPLATE_HEADER && value.type == jbvNull)
		{
			parts = lappend(parts, part);
			continue;
		}
		part->value = concord_template_parse(psprintf("%s.%s", path, part->name),
											 &value,
											 part->is_json ?
											 CONCORD_TEMPLATE_JSON : use, false);
		parts = lappend(parts, part);
	}
	return parts;
}

/* shape_parts parses such an object where a verb has it. */
static List *
shape_parts(const char *member, JsonbContainer *object, const char *name,
			ConcordTemplateUse use)
{
	JsonbValue	value;

	if (!shape_get(object, name, &value))
		return NIL;
	return shape_list(psprintf("%s.%s", member, name), &value, use);
}

/* concord_shape_headers makes a shape of headers alone. */
ConcordShape *
concord_shape_headers(const char *member, JsonbValue *value)
{
	ConcordShape *shape = palloc0(sizeof(ConcordShape));

	shape->headers = shape_list(member, value, CONCORD_TEMPLATE_HEADER);
	return shape;
}

/* concord_shape_names_header: the shape says what becomes of a header. */
bool
concord_shape_names_header(const ConcordShape *shape, const char *name)
{
	ListCell   *lc;

	if (shape == NULL)
		return false;
	foreach(lc, shape->headers)
	{
		if (pg_strcasecmp(((ShapePart *) lfirst(lc))->name, name) == 0)
			return true;
	}
	return false;
}

/* concord_shape_parse reads what a verb says of its request. */
ConcordShape *
concord_shape_parse(const char *member, JsonbContainer *object)
{
	ConcordShape shape = {0};
	ConcordShape *result;
	JsonbValue	value;

	shape.query = shape_parts(member, object, "query", CONCORD_TEMPLATE_QUERY);
	shape.headers = shape_parts(member, object, "headers",
								CONCORD_TEMPLATE_HEADER);
	if (shape_get(object, "body", &value))
		shape.body = concord_template_parse(psprintf("%s.body", member), &value,
											CONCORD_TEMPLATE_JSON, false);
	if (shape_get(object, "content_type", &value))
	{
		if (value.type != jbvString)
			concord_member_bad(psprintf("%s.content_type", member), "is not a text");
		shape.content_type = pnstrdup(value.val.string.val,
									  value.val.string.len);
		for (const char *p = shape.content_type; *p; p++)
		{
			if ((unsigned char) *p < ' ' || (unsigned char) *p >= 0x7F)
				concord_member_bad(psprintf("%s.content_type", member),
								   "has a character that is not printable ASCII");
		}
		if (shape.body == NULL)
			concord_member_bad(psprintf("%s.content_type", member),
							   "needs a \"body\" beside it");
	}
	if (shape.query == NIL && shape.headers == NIL && shape.body == NULL)
		return NULL;
	result = palloc(sizeof(ConcordShape));
	*result = shape;
	return result;
}

/* concord_shape_query appends a shape's query to an address. */
void
concord_shape_query(const ConcordShape *shape,
					const ConcordTemplateScope *scope, StringInfo url)
{
	bool		first = strchr(url->data, '?') == NULL;
	ListCell   *lc;

	if (shape == NULL)
		return;
	foreach(lc, shape->query)
	{
		const ShapePart *part = lfirst(lc);

		appendStringInfoChar(url, first ? '?' : '&');
		first = false;
		concord_template_write(part->query_name, scope, url);
		appendStringInfoChar(url, '=');
		concord_template_write(part->value, scope, url);
	}
}

/* shape_header adds a header to a request. */
static void
shape_header(const ShapePart *part, const ConcordTemplateScope *scope,
			 ConcordRequest *request)
{
	StringInfoData buf;

	initStringInfo(&buf);
	concord_template_write(part->value, scope, &buf);
	concord_request_header(request, part->name, part->is_json ?
						   concord_template_ascii(buf.data, buf.len) : buf.data);
}

/* concord_shape_constants adds headers that say the same of every request. */
void
concord_shape_constants(const ConcordShape *shape, ConcordRequest *request)
{
	ConcordTemplateScope scope = {0};
	ListCell   *lc;

	foreach(lc, shape->headers)
	{
		const ShapePart *part = lfirst(lc);

		if (part->value != NULL && concord_template_constant(part->value) &&
			!concord_request_has_header(request, part->name))
			shape_header(part, &scope, request);
	}
}

/* concord_shape_apply adds headers and body to a request. */
bool
concord_shape_apply(const ConcordShape *shape,
					const ConcordTemplateScope *scope, ConcordRequest *request)
{
	StringInfoData buf;
	ListCell   *lc;

	if (shape == NULL)
		return false;
	foreach(lc, shape->headers)
	{
		const ShapePart *part = lfirst(lc);

		if (part->value != NULL)
			shape_header(part, scope, request);
	}
	if (shape->body == NULL)
		return false;
	initStringInfo(&buf);
	concord_template_write(shape->body, scope, &buf);
	request->body = buf.data;
	request->body_len = buf.len;
	concord_request_header(request, "Content-Type",
						   shape->content_type ? shape->content_type :
						   "application/json");
	return true;
}
