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
#include "connector/batch.h"
#include "connector/answer.h"
#include "connector/pulling.h"
#include "connector/receiving.h"

#include "base/json.h"
#include "catalog/server_options.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "mapping/hooks.h"
#include "utils/memutils.h"

/* Defaults of a connector's mappings. */
typedef struct PrvDefaults
{
	const char *connector;
	bool		known;
	bool		suppress;
	bool		replay_events;
	bool		remote_id_assigned;
	const char *remote_id_path;
} PrvDefaults;

/* prv_connector finds the defaults of a server's connector, or reads them. */
static const PrvDefaults *
prv_connector(List **known, Oid serverid)
{
	ForeignServer *server = GetForeignServerExtended(serverid, FSV_MISSING_OK);
	PrvDefaults *defaults;
	ConcordConnector *connector;
	const char *name;
	ListCell   *lc;

	name = server == NULL ? NULL : concord_option_get(server->options, "connector");
	if (name == NULL)
		return NULL;
	foreach(lc, *known)
	{
		defaults = lfirst(lc);
		if (strcmp(defaults->connector, name) == 0)
			return defaults;
	}
	defaults = palloc0(sizeof(PrvDefaults));
	defaults->connector = name;
	connector = concord_connector_load(name, true, CurrentMemoryContext);
	if (connector != NULL)
	{
		defaults->known = true;
		defaults->suppress = connector->suppress_default;
		defaults->replay_events = connector->replay_events_default;
		defaults->remote_id_assigned = connector->remote_id_assigned;
		defaults->remote_id_path = connector->remote_id_path;
	}
	*known = lappend(*known, defaults);
	return defaults;
}

/*
 * prv_defaults gives options that mappings do not state the defaults of their
 * connectors.  Where server or connector are gone a mapping is broken for other
 * reasons, and is left as it is.
 */
static void
prv_defaults(List *mappings)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "concord defaults",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	List	   *known = NIL;
	ListCell   *lc;

	foreach(lc, mappings)
	{
		ConcordMapping *mapping = lfirst(lc);
		const PrvDefaults *defaults = prv_connector(&known, mapping->serverid);

		if (defaults == NULL || !defaults->known)
			continue;
		if (!mapping->options.unchanged_given)
			mapping->options.suppress_unchanged = defaults->suppress;
		if (!mapping->options.replay_given)
			mapping->options.replay_events = defaults->replay_events;
		if (!mapping->options.remote_id_given)
			mapping->options.remote_id_assigned = defaults->remote_id_assigned;
		if (mapping->options.remote_id_path == NULL && defaults->remote_id_path != NULL)
			/* not in the mapping's chunk: it may be a part of one */
			mapping->options.remote_id_path =
				MemoryContextStrdup(old, defaults->remote_id_path);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

void
concord_connector_carries(const ConcordServer *server,
						  const ConcordMapping *mapping)
{
	char	   *object;

	server->connector->protocol->check(server->connector, mapping);
	concord_batch_check(server->connector, mapping);
	if (mapping->options.receive != NULL)
		(void) concord_receiving_of(server->connector, mapping->options.receive,
									&object);
	if (mapping->options.pull != NULL)
		concord_pulling_check(server->connector, mapping);
}

/* prv_check refuses a mapping that its server's connector cannot carry. */
static void
prv_check(const ConcordMapping *mapping)
{
	ConcordServer *server = concord_server_load(mapping->serverid,
												CurrentMemoryContext);

	concord_connector_carries(server, mapping);
}

/*
 * prv_server finds the server of a row; where its mapping cannot go there, that
 * is a problem, and the result InvalidOid.
 */
static Oid
prv_server(const ConcordMapping *mapping, const ConcordMapped *mapped,
		   ConcordPreview *preview)
{
	Oid			serverid;
	const char *why = NULL;

	if (mapped->route == NULL)
		return mapping->serverid;
	serverid = strlen(mapped->route) < NAMEDATALEN ?
		get_foreign_server_oid(mapped->route, true) : InvalidOid;
	if (!OidIsValid(serverid))
		why = "it does not exist";
	else if (concord_server_aclcheck(serverid, mapping->definer) != ACLCHECK_OK)
		why = psprintf("role \"%s\" has no USAGE on it", mapping->definer_name);
	else if (GetForeignServer(serverid)->fdwid !=
			 GetForeignServer(mapping->serverid)->fdwid)
		why = "it is not a server of wrapper \"concord\"";
	else if (concord_server_load(serverid, CurrentMemoryContext)->connector->protocol !=
			 concord_server_load(mapping->serverid, CurrentMemoryContext)->connector->protocol)
		why = "its protocol is not that of the mapping's server";
	if (why == NULL)
		return serverid;
	preview->problems = lappend(preview->problems,
								psprintf("route: the row is routed to server \"%s\": %s",
										 mapped->route, why));
	return InvalidOid;
}

/* prv_link reads what is known of the record, as a courier would. */
static void
prv_link(const ConcordMapping *mapping, const ConcordMapped *mapped,
		 Oid serverid, ConcordLink *link)
{
	const char *key = mapped->old_local_key ? mapped->old_local_key :
		mapped->local_key;
	ConcordKnownLink known = {false};

	if (key == NULL || (mapping->options.replay_events &&
						!mapping->options.suppress_unchanged) ||
		!concord_mapping_link(mapping->id, key, &known))
		return;
	/* a record at another server is created here, and removed there */
	if ((OidIsValid(known.serverid) ? known.serverid : mapping->serverid) != serverid)
		return;
	link->exists = known.present;
	link->remote_id = known.remote_id;
	link->etag = known.etag;
}

/*
 * prv_step makes the first request; where one event alone is sent as a batch,
 * that batch.
 */
static ConcordRequest *
prv_step(ConcordExchange *exchange)
{
	const ConcordServer *server = exchange->server;
	ConcordBatchItem item = {.exchange = exchange};
	const ConcordBatchForm *form;

	if (concord_batch_limit(server, exchange->mapping) == 0 ||
		!((ConcordBatchForm *) linitial(server->connector->batches))->alone)
		return concord_exchange_next(exchange, NULL, NULL);
	exchange->batched = true;
	item.request = concord_exchange_item(exchange, NULL, NULL);
	form = item.request == NULL ? NULL :
		concord_batch_form_of(exchange, item.request);
	if (form == NULL)
		return item.request;
	return concord_batch_pack(form, &item, 1, NULL, CurrentMemoryContext);
}

/*
 * prv_body gives a request's body as JSON in the database's encoding, in which
 * it is shown; one that is no JSON, such as lines, as a JSON text.
 */
static char *
prv_body(const ConcordRequest *request)
{
	ConcordResponse whole = {.body = request->body,.body_len = request->body_len};
	StringInfoData text;

	if (request->body == NULL || concord_answer_is_json(&whole))
		return request->body == NULL ? NULL : concord_json_server(request->body);
	initStringInfo(&text);
	concord_json_quote(&text, request->body, request->body_len);
	return concord_json_server(text.data);
}

/* prv_request shows the first request that an event would lead to. */
static void
prv_request(const ConcordMapping *mapping, const ConcordEvent *event,
			const ConcordMapped *mapped, ConcordPreview *preview)
{
	Oid			serverid = prv_server(mapping, mapped, preview);
	ConcordServer *server;
	ConcordExchange *exchange;
	ConcordRequest *request;
	ConcordLink link = {false};
	const char *why;

	if (!OidIsValid(serverid))
		return;
	server = concord_server_load(serverid, CurrentMemoryContext);
	if (!concord_server_contactable(server, &why))
		preview->problems = lappend(preview->problems, pstrdup(why));
	prv_link(mapping, mapped, serverid, &link);
	exchange = concord_exchange_begin(server, mapping, event, mapped, &link,
									  CurrentMemoryContext);
	request = prv_step(exchange);
	if (request == NULL)
	{
		if (exchange->error != NULL)
			preview->problems = lappend(preview->problems, exchange->error);
		else if (exchange->outcome == CONCORD_OUTCOME_DONE)
			preview->problems = lappend(preview->problems,
										"the system does not know the record: nothing to send");
		return;
	}
	preview->method = request->method;
	preview->url = request->url;
	preview->body = prv_body(request);
}

/* concord_connector_init sets the hooks; called when the library is loaded. */
void
concord_connector_init(void)
{
	concord_mapping_defaults_hook = prv_defaults;
	concord_mapping_check_hook = prv_check;
	concord_preview_request_hook = prv_request;
}
