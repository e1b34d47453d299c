/*-------------------------------------------------------------------------
 *
 * preview.c
 *	  What the mapping room asks of connectors: check a mapping, show a request.
 *
 * The mapping room lies below and knows no connector; it calls these through
 * hooks that are set when the library is loaded.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/protocols.h"

#include "mapping/hooks.h"
#include "utils/memutils.h"

/* prv_check refuses a mapping that its server's connector cannot carry. */
static void
prv_check(const ConcordMapping *mapping)
{
	ConcordServer *server = concord_server_load(mapping->serverid,
												CurrentMemoryContext);

	server->connector->protocol->check(server->connector, mapping);
}

/* prv_request shows the first request that an event would lead to. */
static void
prv_request(const ConcordMapping *mapping, const ConcordEvent *event,
			const ConcordMapped *mapped, ConcordPreview *preview)
{
	ConcordServer *server = concord_server_load(mapping->serverid,
												CurrentMemoryContext);
	ConcordExchange *exchange;
	ConcordRequest *request;
	const char *why;

	if (!concord_server_contactable(server, &why))
		preview->problems = lappend(preview->problems, pstrdup(why));
	exchange = concord_exchange_begin(server, mapping, event, mapped, NULL,
									  CurrentMemoryContext);
	request = concord_exchange_next(exchange, NULL, NULL);
	if (request == NULL)
	{
		if (exchange->error != NULL)
			preview->problems = lappend(preview->problems, exchange->error);
		return;
	}
	preview->method = request->method;
	preview->url = request->url;
	preview->body = request->body;
}

/* concord_connector_init sets the hooks; called when the library is loaded. */
void
concord_connector_init(void)
{
	concord_mapping_check_hook = prv_check;
	concord_preview_request_hook = prv_request;
}
