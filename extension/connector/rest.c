/*-------------------------------------------------------------------------
 *
 * rest.c
 *	  Protocol "rest": JSON over plain HTTP verbs.
 *
 * Verbs, paths and, where it says so, queries, headers and bodies are the
 * connector's (shape.c); {object} stands for the mapping's object and {key} for
 * the record's key (its parts joined by commas) or, where the system assigns
 * ids, for the id it gave.
 *
 * A create carries the key's parts beside the fields, unless the system
 * assigns ids; an update by PATCH carries the fields, by PUT the key too.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/protocols.h"

#include "connector/template.h"

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

/* rest_flags says what of the mapped record goes with a verb. */
static int
rest_flags(const ConcordExchange *exchange, ConcordVerb verb,
		   const char *method)
{
	if (verb == CONCORD_VERB_CREATE)
		return exchange->mapping->options.remote_id_assigned ?
			CONCORD_BODY_CREATING : CONCORD_BODY_CREATING | CONCORD_BODY_KEY;
	if (verb == CONCORD_VERB_RENAME)
		return CONCORD_BODY_KEY;
	if (verb == CONCORD_VERB_UPDATE && (strcmp(method, "PUT") == 0 ||
										exchange->mapped->old_keys != NULL))
		return CONCORD_BODY_KEY;
	return verb == CONCORD_VERB_UPDATE ? CONCORD_BODY_CHANGED : 0;
}

/* rest_request makes the request of a verb. */
static ConcordRequest *
rest_request(ConcordExchange *exchange, ConcordVerb verb,
			 const ConcordValue *keys, const char *if_match)
{
	const ConcordVerbRow *row = &exchange->server->connector->verbs[verb];
	ConcordRequest *request = concord_exchange_request(exchange);
	MemoryContext old = MemoryContextSwitchTo(request->context);
	ConcordTemplateScope scope = {
		.exchange = exchange,
		.keys = keys,
		.body_flags = rest_flags(exchange, verb, row->method),
	};
	StringInfoData url;

	exchange->request_keys = keys;
	exchange->request_flags = scope.body_flags;
	initStringInfo(&url);
	concord_url_base(&url, exchange->server, exchange->mapping);
	concord_template_write(row->path, &scope, &url);
	concord_shape_query(row->shape, &scope, &url);
	request->method = row->method;
	request->url = url.data;
	if (!concord_shape_apply(row->shape, &scope, request) &&
		(verb == CONCORD_VERB_CREATE || verb == CONCORD_VERB_UPDATE ||
		 verb == CONCORD_VERB_RENAME))
		rest_body(exchange, request, scope.body_flags);
	concord_request_set_header(request, "Accept", "application/json");
	MemoryContextSwitchTo(old);
	return request;
}

/* rest_finds says where the answer to a search has the id. */
static const char *
rest_finds(const ConcordExchange *exchange)
{
	return exchange->server->connector->find_path;
}

static const ConcordDialect rest_dialect = {
	.request = rest_request,
	.finds = rest_finds,
};

/* rest_check refuses a mapping that this protocol cannot carry. */
static void
rest_check(const ConcordConnector *connector, const ConcordMapping *mapping)
{
	concord_object_check(connector, mapping, true);
	concord_connector_options_check(connector, mapping, false, false);
	concord_key_check(connector, mapping);
	concord_patch_check(connector, mapping,
						connector->verbs[CONCORD_VERB_UPDATE].method);
}

/* rest_next is the protocol's step. */
static ConcordRequest *
rest_next(ConcordExchange *exchange, const ConcordResponse *response)
{
	return concord_record_next(exchange, response, &rest_dialect);
}

/* rest_look makes a request that reads. */
static ConcordRequest *
rest_look(ConcordExchange *exchange, ConcordVerb verb, const ConcordValue *keys)
{
	return rest_request(exchange, verb, keys, NULL);
}

const ConcordProtocol concord_protocol_rest = {
	"rest", rest_check, rest_next, true, rest_look, rest_finds
};
