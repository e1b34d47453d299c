/*-------------------------------------------------------------------------
 *
 * webhook.c
 *	  Protocol "webhook": one POST per event.
 *
 * The body is the mapped fields as a JSON object, of a deletion the key's.
 * CloudEvents 1.0 wraps it: in binary mode (the default) as ce- headers, in
 * structured mode as an envelope around the body.  webhook-id and ce-id are
 * the event's id, the same on every attempt; auth 'hmac' signs them.
 *
 * The address is the server's url as it was given, query included; an object
 * that is not empty is added to its path.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/protocols.h"

#include "base/json.h"
#include "connector/template.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

/* RFC 3339 with microseconds, and room for a year of ten digits. */
#define WEB_TIME_MAX	40

/*
 * web_time writes a time as RFC 3339 has it.  The one before is kept: all events
 * of a transaction have the same.
 */
static char *
web_time(TimestampTz at)
{
	static TimestampTz known_at = DT_NOBEGIN;
	static char known[WEB_TIME_MAX];
	struct pg_tm tm;
	fsec_t		fsec;
	char	   *text;
	char	   *p;

	text = palloc(WEB_TIME_MAX);
	if (at == known_at)
		return memcpy(text, known, WEB_TIME_MAX);
	if (timestamp2tm(at, NULL, &tm, &fsec, NULL, NULL) != 0)
		return NULL;
	p = pg_ultostr_zeropad(text, Max(tm.tm_year, 0), 4);
	*p++ = '-';
	p = pg_ultostr_zeropad(p, tm.tm_mon, 2);
	*p++ = '-';
	p = pg_ultostr_zeropad(p, tm.tm_mday, 2);
	*p++ = 'T';
	p = pg_ultostr_zeropad(p, tm.tm_hour, 2);
	*p++ = ':';
	p = pg_ultostr_zeropad(p, tm.tm_min, 2);
	*p++ = ':';
	p = pg_ultostr_zeropad(p, tm.tm_sec, 2);
	*p++ = '.';
	p = pg_ultostr_zeropad(p, fsec, 6);
	*p++ = 'Z';
	*p = '\0';
	memcpy(known, text, WEB_TIME_MAX);
	known_at = at;
	return text;
}

/* web_op names what happened, as in a type. */
static const char *
web_op(const ConcordEvent *event)
{
	switch (event->op)
	{
		case CONCORD_OP_UPDATE:
			return "update";
		case CONCORD_OP_DELETE:
			return "delete";
		case CONCORD_OP_TRUNCATE:
			return "truncate";
		case CONCORD_OP_EMIT:
			return "emit";
		case CONCORD_OP_RESYNC:
			return "resync";
		default:
			return "insert";
	}
}

/* web_type names the event's type. */
static char *
web_type(const ConcordExchange *exchange)
{
	const ConcordEvent *event = exchange->event;
	StringInfoData buf;

	if (event->op == CONCORD_OP_EMIT)
		return pstrdup(event->topic ? event->topic : "");
	initStringInfo(&buf);
	appendStringInfoString(&buf, "concord.");
	if (event->relation != NULL)
	{
		appendStringInfoString(&buf, event->relation->schema);
		appendStringInfoChar(&buf, '.');
		appendStringInfoString(&buf, event->relation->table);
		appendStringInfoChar(&buf, '.');
	}
	appendStringInfoString(&buf, web_op(event));
	return buf.data;
}

/*
 * web_subject names the record: its key's text, or the key as JSON.  CloudEvents
 * has no empty subject.
 */
static char *
web_subject(const ConcordExchange *exchange)
{
	const ConcordMapping *mapping = exchange->mapping;
	const ConcordMapped *mapped = exchange->mapped;
	StringInfoData buf;

	if (mapped->keys == NULL || mapping->key == NIL)
		return exchange->event->key ? pstrdup(exchange->event->key) : NULL;
	if (list_length(mapping->key) == 1)
		return mapped->keys[0].isnull || mapped->keys[0].len == 0 ? NULL :
			concord_value_plain(&mapped->keys[0]);
	initStringInfo(&buf);
	concord_body_write(mapping, mapped,
					   CONCORD_BODY_KEY | CONCORD_BODY_NO_FIELDS, &buf);
	return buf.data;
}

/* concord_event_names tells what CloudEvents says of an exchange's event. */
void
concord_event_names(const ConcordExchange *exchange, ConcordEventNames *web)
{
	const ConcordEvent *event = exchange->event;
	StringInfoData source;

	web->id = concord_uuid_text(event->id.data);
	initStringInfo(&source);
	appendStringInfoChar(&source, '/');
	concord_url_escape(&source, exchange->server->database, "");
	appendStringInfoChar(&source, '/');
	concord_url_escape(&source, exchange->mapping->name, "");
	web->source = source.data;
	web->op = web_op(event);
	web->type = web_type(exchange);
	web->subject = web_subject(exchange);
	web->time = web_time(event->committed_at);
}

/* web_encoded: a header's value has this character percent-encoded. */
static inline bool
web_encoded(unsigned char c)
{
	return c <= ' ' || c >= 0x7F || c == '"' || c == '%';
}

/* web_header adds a ce- header, percent-encoded as the binding to HTTP says. */
static void
web_header(ConcordRequest *request, const char *name, const char *value)
{
	StringInfoData buf;
	const unsigned char *p;

	if (value == NULL)
		return;
	for (p = (const unsigned char *) value; *p && !web_encoded(*p); p++)
		;
	if (*p == '\0')
	{
		concord_request_header(request, name, value);
		return;
	}
	initStringInfo(&buf);
	for (p = (const unsigned char *) concord_json_utf8(value); *p; p++)
	{
		if (web_encoded(*p))
			appendStringInfo(&buf, "%%%02X", *p);
		else
			appendStringInfoCharMacro(&buf, *p);
	}
	concord_request_header(request, name, buf.data);
}

/* web_member appends "name": "value" and a comma. */
static void
web_member(StringInfo buf, const char *name, const char *value)
{
	if (value == NULL)
		return;
	concord_json_string(buf, name, strlen(name));
	appendStringInfoChar(buf, ':');
	concord_json_string(buf, value, strlen(value));
	appendStringInfoChar(buf, ',');
}

/* concord_event_flags says what of the mapped record is sent. */
int
concord_event_flags(const ConcordExchange *exchange)
{
	const ConcordMapped *mapped = exchange->mapped;

	if (mapped->action == CONCORD_ACTION_DELETE || mapped->nfields == 0)
		return CONCORD_BODY_KEY | CONCORD_BODY_NO_FIELDS;
	return exchange->event->op == CONCORD_OP_UPDATE ? 0 : CONCORD_BODY_CREATING;
}

/* web_data writes the mapped record. */
static void
web_data(const ConcordExchange *exchange, StringInfo buf)
{
	concord_body_write(exchange->mapping, exchange->mapped,
					   concord_event_flags(exchange), buf);
}

/* web_url adds the object to the server's address. */
static char *
web_url(const ConcordExchange *exchange)
{
	const char *url = exchange->server->url_given;
	const char *object = exchange->mapping->object;
	const char *query = strchr(url, '?');
	StringInfoData buf;

	object = object ? object + strspn(object, "/") : "";
	if (*object == '\0')
		return pstrdup(url);
	if (query == NULL)
		query = url + strlen(url);
	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, url, query - url);
	if (buf.data[buf.len - 1] != '/')
		appendStringInfoChar(&buf, '/');
	concord_url_escape(&buf, object, "/!$&'()*+,;=:@");
	appendStringInfoString(&buf, query);
	return buf.data;
}

/* web_is_shaped says whether the connector has a request of its own. */
static bool
web_is_shaped(const ConcordConnector *connector)
{
	const ConcordVerbRow *row = &connector->verbs[CONCORD_VERB_CREATE];

	return row->path != NULL || row->shape != NULL;
}

/* web_request makes the POST. */
static ConcordRequest *
web_request(ConcordExchange *exchange)
{
	const char *mode = exchange->mapping->options.cloudevents;
	ConcordRequest *request = concord_exchange_request(exchange);
	MemoryContext old = MemoryContextSwitchTo(request->context);
	StringInfoData body;
	ConcordEventNames web;

	request->method = "POST";
	request->url = web_url(exchange);
	concord_event_names(exchange, &web);
	initStringInfo(&body);
	concord_request_header(request, "Accept", "*/*");
	concord_request_header(request, "webhook-id", web.id);
	/* attributes in headers would be those of one event of many */
	if (exchange->batched && (mode == NULL || strcmp(mode, "binary") == 0))
		mode = "structured";
	if (mode != NULL && strcmp(mode, "structured") == 0)
	{
		appendStringInfoString(&body, "{\"specversion\":\"1.0\",");
		web_member(&body, "id", web.id);
		web_member(&body, "source", web.source);
		web_member(&body, "type", web.type);
		web_member(&body, "subject", web.subject);
		web_member(&body, "time", web.time);
		appendStringInfoString(&body,
							   "\"datacontenttype\":\"application/json\",\"data\":");
		web_data(exchange, &body);
		appendStringInfoChar(&body, '}');
		concord_request_header(request, "Content-Type",
							   "application/cloudevents+json; charset=utf-8");
	}
	else
	{
		web_data(exchange, &body);
		concord_request_header(request, "Content-Type", "application/json");
	}
	if (mode == NULL || strcmp(mode, "binary") == 0)
	{
		concord_request_header(request, "ce-specversion", "1.0");
		web_header(request, "ce-id", web.id);
		web_header(request, "ce-source", web.source);
		web_header(request, "ce-type", web.type);
		web_header(request, "ce-subject", web.subject);
		web_header(request, "ce-time", web.time);
	}
	request->body = body.data;
	request->body_len = body.len;
	MemoryContextSwitchTo(old);
	return request;
}

/*
 * web_shaped makes the POST of a connector that says what its body is, such as
 * a queue's.  CloudEvents is then what the connector's template makes of it.
 */
static ConcordRequest *
web_shaped(ConcordExchange *exchange)
{
	const ConcordVerbRow *row =
		&exchange->server->connector->verbs[CONCORD_VERB_CREATE];
	ConcordTemplateScope scope = {
		.exchange = exchange,
		.keys = exchange->mapped->keys,
		.body_flags = concord_event_flags(exchange),
	};
	ConcordRequest *request = concord_exchange_request(exchange);
	MemoryContext old = MemoryContextSwitchTo(request->context);
	StringInfoData url;
	StringInfoData body;

	request->method = row->method;
	initStringInfo(&url);
	if (row->path == NULL)
		appendStringInfoString(&url, web_url(exchange));
	else
	{
		concord_url_base(&url, exchange->server, exchange->mapping);
		concord_template_write(row->path, &scope, &url);
	}
	concord_shape_query(row->shape, &scope, &url);
	request->url = url.data;
	if (!concord_shape_apply(row->shape, &scope, request))
	{
		initStringInfo(&body);
		web_data(exchange, &body);
		request->body = body.data;
		request->body_len = body.len;
		concord_request_header(request, "Content-Type", "application/json");
	}
	concord_request_set_header(request, "Accept", "*/*");
	MemoryContextSwitchTo(old);
	return request;
}

/* web_check refuses a mapping that this protocol cannot carry. */
static void
web_check(const ConcordConnector *connector, const ConcordMapping *mapping)
{
	concord_object_check(connector, mapping, false);
	concord_connector_options_check(connector, mapping, false,
									!web_is_shaped(connector));
}

/* web_next is the protocol's step: one request, one answer. */
static ConcordRequest *
web_next(ConcordExchange *exchange, const ConcordResponse *response)
{
	if (response == NULL)
		return web_is_shaped(exchange->server->connector) ?
			web_shaped(exchange) : web_request(exchange);
	concord_outcome_judge(exchange, response);
	return NULL;
}

const ConcordProtocol concord_protocol_webhook = {
	"webhook", web_check, web_next, false
};
