/*-------------------------------------------------------------------------
 *
 * rest.c
 *	  Protocol "rest": JSON over plain HTTP verbs.
 *
 * Verbs and paths are the connector's; in a path {object} stands for the
 * mapping's object and {key} for the record's key (its parts joined by
 * commas) or, where the system assigns ids, for the id it gave.
 *
 * A create carries the key's parts beside the fields, unless the system
 * assigns ids; an update by PATCH carries the fields, by PUT the key too.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/protocols.h"

/* rest_path writes a path of the connector for a record. */
static void
rest_path(StringInfo buf, const ConcordExchange *exchange, const char *path,
		  const ConcordValue *keys)
{
	const ConcordConnector *connector = exchange->server->connector;
	const char *object = exchange->mapping->object;

	object += strspn(object, "/");
	while (*path)
	{
		if (strncmp(path, "{object}", 8) == 0)
		{
			concord_url_escape(buf, object, "/!$&'()*+,;=:@");
			path += 8;
		}
		else if (strncmp(path, "{key}", 5) == 0)
		{
			if (connector->remote_id_assigned &&
				exchange->link.remote_id != NULL)
				concord_url_escape(buf, exchange->link.remote_id, "");
			else
				concord_url_escape(buf, concord_key_text(exchange->mapping, keys),
								   ",");
			path += 5;
		}
		else
			appendStringInfoChar(buf, *path++);
	}
}

/* rest_body writes the body of a create or update. */
static void
rest_body(ConcordExchange *exchange, ConcordRequest *request, int flags)
{
	StringInfoData buf;

	initStringInfo(&buf);
	concord_body_write(exchange->mapping, exchange->mapped, flags, &buf);
	request->body = buf.data;
	request->body_len = buf.len;
	concord_request_header(request, "Content-Type", "application/json");
}

/* rest_request makes the request of a verb. */
static ConcordRequest *
rest_request(ConcordExchange *exchange, ConcordVerb verb,
			 const ConcordValue *keys, const char *if_match)
{
	const ConcordConnector *connector = exchange->server->connector;
	ConcordRequest *request = concord_request_create(exchange->context);
	MemoryContext old = MemoryContextSwitchTo(request->context);
	const char *path = connector->probe_path;
	StringInfoData url;
	int			flags = 0;

	switch (verb)
	{
		case CONCORD_VERB_CREATE:
			request->method = connector->create_method;
			path = connector->create_path;
			flags = CONCORD_BODY_CREATING;
			if (!connector->remote_id_assigned)
				flags |= CONCORD_BODY_KEY;
			break;
		case CONCORD_VERB_UPDATE:
			request->method = connector->update_method;
			path = connector->update_path;
			if (strcmp(request->method, "PUT") == 0 ||
				exchange->mapped->old_keys != NULL)
				flags |= CONCORD_BODY_KEY;
			break;
		case CONCORD_VERB_DELETE:
			request->method = connector->delete_method;
			path = connector->delete_path;
			break;
		case CONCORD_VERB_PROBE:
			request->method = connector->probe_method;
			break;
	}
	initStringInfo(&url);
	concord_url_base(&url, exchange->server, exchange->mapping);
	rest_path(&url, exchange, path, keys);
	request->url = url.data;
	concord_request_header(request, "Accept", "application/json");
	if (verb == CONCORD_VERB_CREATE || verb == CONCORD_VERB_UPDATE)
		rest_body(exchange, request, flags);
	MemoryContextSwitchTo(old);
	return request;
}

static const ConcordDialect rest_dialect = {
	.request = rest_request,
};

/* rest_check refuses a mapping that this protocol cannot carry. */
static void
rest_check(const ConcordConnector *connector, const ConcordMapping *mapping)
{
	concord_object_check(connector, mapping, true);
	concord_connector_options_check(connector, mapping, false, false);
	concord_key_check(connector, mapping);
}

/* rest_next is the protocol's step. */
static ConcordRequest *
rest_next(ConcordExchange *exchange, const ConcordResponse *response)
{
	return concord_record_next(exchange, response, &rest_dialect);
}

const ConcordProtocol concord_protocol_rest = {
	"rest", rest_check, rest_next
};
