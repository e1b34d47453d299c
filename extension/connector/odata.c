/*-------------------------------------------------------------------------
 *
 * odata.c
 *	  Protocol "odata": entities of an OData service, version 4 or 2.
 *
 * An entity's address is EntitySet(key), the key written by SQL type: texts
 * in quotes that are doubled inside, numbers, dates and uuids plain, several
 * parts as Name=value.  All of it is percent-encoded.
 *
 * A create is a POST to the set; option upsert makes it a PUT or PATCH of the
 * entity's own address.  Key properties stand in a create's body and never in
 * that of a PATCH.  A changed key is another entity: services do not let keys
 * be changed, so on_key_change "update" deletes and creates like "recreate".
 *
 * Where the system assigns ids, a record is addressed by the id it gave, which
 * is quoted by option remote_id_type or by its looks: a GUID is none to quote.
 * The mapping's key is then a property by which it can be found again.
 *
 * Answers are asked for without a body (Prefer: return=minimal) unless an id
 * has to be read from it; the tag comes from the header ETag or, in a body,
 * from @odata.etag (version 2: __metadata.etag).
 *
 *-------------------------------------------------------------------------
 */
#include "connector/protocols.h"

#include "catalog/pg_type.h"
#include "connector/reading.h"

/* concord_odata_literal writes a value of an address. */
void
concord_odata_literal(StringInfo buf, const ConcordValue *value)
{
	char	   *plain = concord_value_plain(value);

	switch (value->typid)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case OIDOID:
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
		case BOOLOID:
		case UUIDOID:
		case DATEOID:
		case TIMEOID:
		case TIMESTAMPTZOID:
			concord_url_escape(buf, plain, ":");
			return;
		case TIMESTAMPOID:
			/* there are no times without a zone */
			concord_url_escape(buf, plain, ":");
			appendStringInfoChar(buf, 'Z');
			return;
		case INTERVALOID:
			appendStringInfo(buf, "duration'%s'", plain);
			return;
		case BYTEAOID:
			for (char *p = plain; *p; p++)
				*p = *p == '+' ? '-' : *p == '/' ? '_' : *p;
			appendStringInfoString(buf, "binary'");
			concord_url_escape(buf, plain, "=");
			appendStringInfoChar(buf, '\'');
			return;
		default:
			break;
	}
	concord_odata_text(buf, plain);
}

/* concord_odata_is_uuid says whether a text looks like a GUID. */
bool
concord_odata_is_uuid(const char *text)
{
	if (strlen(text) != 36)
		return false;
	for (int i = 0; i < 36; i++)
	{
		if (i == 8 || i == 13 || i == 18 || i == 23 ? text[i] != '-' :
			!isxdigit((unsigned char) text[i]))
			return false;
	}
	return true;
}

/* odata_assigned writes (id) of an id that the system gave. */
static void
odata_assigned(StringInfo buf, const ConcordExchange *exchange)
{
	const ConcordConnector *connector = exchange->server->connector;
	const char *type = exchange->mapping->options.remote_id_type;
	char	   *id = exchange->link.remote_id;
	ConcordValue value = {.typid = TEXTOID,.text = id,.len = strlen(id)};

	if (type == NULL)
		type = connector->remote_id_type;
	if (type == NULL ? concord_odata_is_uuid(id) : strcmp(type, "uuid") == 0)
		value.typid = UUIDOID;
	else if (type != NULL && strcmp(type, "number") == 0 &&
			 strspn(id, "0123456789") == value.len)
		value.typid = INT4OID;
	appendStringInfoChar(buf, '(');
	if (connector->odata2)
		concord_odata2_literal(buf, &value);
	else
		concord_odata_literal(buf, &value);
	appendStringInfoChar(buf, ')');
}

/* odata_predicate writes (key) or (Name=key,...). */
static void
odata_predicate(StringInfo buf, const ConcordExchange *exchange,
				const ConcordValue *keys)
{
	const ConcordMapping *mapping = exchange->mapping;
	const ConcordConnector *connector = exchange->server->connector;
	int			n = list_length(mapping->key);

	if (mapping->options.remote_id_assigned && exchange->link.remote_id != NULL)
	{
		odata_assigned(buf, exchange);
		return;
	}

	appendStringInfoChar(buf, '(');
	for (int i = 0; i < n; i++)
	{
		const ConcordField *part = list_nth(mapping->key, i);

		if (i > 0)
			appendStringInfoChar(buf, ',');
		if (n > 1 || connector->key_names)
		{
			concord_url_escape(buf, part->name, "");
			appendStringInfoChar(buf, '=');
		}
		if (connector->odata2)
			concord_odata2_literal(buf, &keys[i]);
		else
			concord_odata_literal(buf, &keys[i]);
	}
	appendStringInfoChar(buf, ')');
}

/* odata_upsert says how a create is sent. */
static const char *
odata_upsert(const ConcordExchange *exchange)
{
	const char *option = exchange->mapping->options.upsert;

	return option ? option : exchange->server->connector->upsert_default;
}

/* odata_url writes the address of the set, or of an entity in it. */
static char *
odata_url(const ConcordExchange *exchange, const ConcordValue *keys)
{
	StringInfoData url;
	const char *object = exchange->mapping->object;

	initStringInfo(&url);
	concord_url_base(&url, exchange->server, exchange->mapping);
	object += strspn(object, "/");
	concord_url_escape(&url, object, "/!$&'()*+,;=:@");
	while (url.len > 0 && url.data[url.len - 1] == '/')
		url.data[--url.len] = '\0';
	if (keys != NULL)
		odata_predicate(&url, exchange, keys);
	return url.data;
}

/* odata_body writes the body and the headers that belong to it. */
static void
odata_body(ConcordExchange *exchange, ConcordRequest *request, int flags)
{
	bool		odata2 = exchange->server->connector->odata2;
	bool		strings = exchange->mapping->options.numbers_as_strings;
	StringInfoData buf;

	initStringInfo(&buf);
	concord_body_write(exchange->mapping, exchange->mapped,
					   odata2 ? flags | CONCORD_BODY_ODATA2 : flags, &buf);
	request->body = buf.data;
	request->body_len = buf.len;
	concord_request_header(request, "Content-Type", strings && !odata2 ?
						   "application/json;IEEE754Compatible=true" :
						   "application/json");
	if (!odata2)
		concord_request_header(request, "Prefer",
							   (flags & CONCORD_BODY_CREATING) &&
							   (exchange->mapping->options.remote_id_assigned ||
								exchange->mapped->nchildren > 0) ?
							   "return=representation" : "return=minimal");
}

/* odata_find appends the search for a record by the mapping's key. */
static char *
odata_find(const ConcordExchange *exchange, const char *url,
		   const ConcordValue *keys)
{
	const ConcordMapping *mapping = exchange->mapping;
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "%s?$top=2&$filter=", url);
	for (int i = 0; i < list_length(mapping->key); i++)
	{
		const ConcordField *part = list_nth(mapping->key, i);

		if (i > 0)
			appendStringInfoString(&buf, "%20and%20");
		concord_url_escape(&buf, part->name, "/");
		appendStringInfoString(&buf, "%20eq%20");
		if (exchange->server->connector->odata2)
			concord_odata2_literal(&buf, &keys[i]);
		else
			concord_odata_literal(&buf, &keys[i]);
	}
	return buf.data;
}

/* odata_finds says where the answer to that has the id. */
static const char *
odata_finds(const ConcordExchange *exchange)
{
	const ConcordConnector *connector = exchange->server->connector;
	const char *path = exchange->mapping->options.remote_id_path;

	if (path == NULL)
		path = connector->remote_id_path;
	return path == NULL ? NULL :
		psprintf("%s.0.%s", connector->odata2 ? "d.results" : "value", path);
}

/* odata_headers adds what tells the version. */
static void
odata_headers(const ConcordExchange *exchange, ConcordRequest *request)
{
	if (exchange->server->connector->odata2)
	{
		concord_request_header(request, "Accept", "application/json");
		concord_request_header(request, "DataServiceVersion", "2.0");
		concord_request_header(request, "MaxDataServiceVersion", "2.0");
		return;
	}
	concord_request_header(request, "Accept",
						   exchange->mapping->options.numbers_as_strings ?
						   "application/json;IEEE754Compatible=true" :
						   "application/json");
	concord_request_header(request, "OData-Version", "4.0");
	concord_request_header(request, "OData-MaxVersion", "4.01");
}

/* odata_request makes the request of a verb. */
static ConcordRequest *
odata_request(ConcordExchange *exchange, ConcordVerb verb,
			  const ConcordValue *keys, const char *if_match)
{
	const ConcordConnector *connector = exchange->server->connector;
	ConcordRequest *request = concord_exchange_request(exchange);
	MemoryContext old = MemoryContextSwitchTo(request->context);
	bool		assigned = exchange->mapping->options.remote_id_assigned;
	const char *upsert = odata_upsert(exchange);
	bool		posting = verb == CONCORD_VERB_CREATE &&
		(assigned || strcmp(upsert, "post") == 0);

	request->url = odata_url(exchange, posting || verb == CONCORD_VERB_FIND ?
							 NULL : keys);
	request->method = connector->verbs[verb].method;
	odata_headers(exchange, request);
	if (if_match != NULL)
		concord_request_header(request, "If-Match", if_match);

	switch (verb)
	{
		case CONCORD_VERB_CREATE:
			if (!posting)
				request->method = strcmp(upsert, "put") == 0 ? "PUT" :
					connector->verbs[CONCORD_VERB_UPDATE].method;
			odata_body(exchange, request, CONCORD_BODY_CREATING |
					   (!assigned && strcmp(upsert, "patch") == 0 ?
						CONCORD_BODY_NO_KEY : CONCORD_BODY_KEY));
			break;
		case CONCORD_VERB_UPDATE:
			/* a key that the record is found by is changed there, too */
			odata_body(exchange, request, CONCORD_BODY_CHANGED |
					   (!assigned ? CONCORD_BODY_NO_KEY :
						exchange->mapped->old_keys != NULL ?
						CONCORD_BODY_KEY : 0));
			break;
		case CONCORD_VERB_FIND:
			request->url = odata_find(exchange, request->url, keys);
			break;
		case CONCORD_VERB_DELETE:
		case CONCORD_VERB_PROBE:
		case CONCORD_VERB_LOOKUP:
		case CONCORD_VERB_RENAME:	/* no row of this protocol has it */
		case CONCORD_VERB_SEND:
			break;
	}
	MemoryContextSwitchTo(old);
	return request;
}

/* odata_tag reads the version of an answer. */
static char *
odata_tag(const ConcordResponse *response)
{
	static const char *const name[] = {"@odata.etag"};
	static const char *const short_name[] = {"@etag"};
	const char *header = concord_response_header(response, "etag");
	char	   *tag;

	if (header != NULL && *header)
		return concord_safe_text(header, strlen(header), 1024);
	tag = concord_answer_find(response, name, 1);
	if (tag == NULL)
		tag = concord_answer_find(response, short_name, 1);
	return tag != NULL ? tag : concord_answer_path(response, "d.__metadata.etag");
}

static const ConcordDialect odata_dialect = {
	.request = odata_request,
	.tag = odata_tag,
	.finds = odata_finds,
	.key_is_fixed = true,
};

/* odata_check refuses a mapping that this protocol cannot carry. */
static void
odata_check(const ConcordConnector *connector, const ConcordMapping *mapping)
{
	concord_object_check(connector, mapping, true);
	concord_connector_options_check(connector, mapping, true, false);
	concord_key_check(connector, mapping);
	concord_patch_check(connector, mapping,
						connector->verbs[CONCORD_VERB_UPDATE].method);
}

/* odata_next is the protocol's step. */
static ConcordRequest *
odata_next(ConcordExchange *exchange, const ConcordResponse *response)
{
	return concord_record_next(exchange, response, &odata_dialect);
}

/* odata_look makes a request that reads. */
static ConcordRequest *
odata_look(ConcordExchange *exchange, ConcordVerb verb, const ConcordValue *keys)
{
	return odata_request(exchange, verb, keys, NULL);
}

const ConcordProtocol concord_protocol_odata = {
	"odata", odata_check, odata_next, true, odata_look, odata_finds
};
