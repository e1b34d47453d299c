/*-------------------------------------------------------------------------
 *
 * exchange.c
 *	  One delivery's way through a protocol: what all protocols share.
 *
 * The protocol makes requests and judges answers; here every request gets
 * what the server's options say, its idempotency key and, last of all because
 * a signature covers the rest, the definer's credentials.
 *
 * The idempotency key is a hash of event, mapping, method and body.  So it is
 * the same on every attempt with the same body and another one once a mapping
 * was corrected, and the requests of one exchange do not share a key.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/protocols.h"

#include "auth/auth.h"
#include "base/digest.h"
#include "connector/template.h"
#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"
#include "utils/memutils.h"

#define EXC_MAX_ERROR		500
#define EXC_MAX_METHOD		12

/* concord_uuid_text writes the sixteen bytes of a UUID. */
char *
concord_uuid_text(const unsigned char *bytes)
{
	static const char hex[] = "0123456789abcdef";
	char	   *text = palloc(37);
	char	   *out = text;

	for (int i = 0; i < 16; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		*out++ = hex[bytes[i] >> 4];
		*out++ = hex[bytes[i] & 15];
	}
	*out = '\0';
	return text;
}

/* concord_idempotency_text writes a hash as a UUID (version 8). */
char *
concord_idempotency_text(unsigned char *digest)
{
	digest[6] = (digest[6] & 0x0F) | 0x80;
	digest[8] = (digest[8] & 0x3F) | 0x80;
	return concord_uuid_text(digest);
}

/*
 * exc_key hashes pieces into a text that looks like a UUID (version 8).  The
 * body goes in as its own hash, which the log of deliveries wants too.
 */
static char *
exc_key(const ConcordExchange *exchange, ConcordRequest *request)
{
	uint8		digest[CONCORD_SHA256_LENGTH];
	int32		mapping = pg_hton32(exchange->mapping->id);
	struct
	{
		pg_uuid_t	event;
		uint8		body[CONCORD_SHA256_LENGTH];
		int32		mapping;
		char		method[EXC_MAX_METHOD];
	}			pieces;
	Size		method_len = strlen(request->method);

	StaticAssertStmt(sizeof(pieces) == UUID_LEN + CONCORD_SHA256_LENGTH +
					 sizeof(int32) + EXC_MAX_METHOD, "there is a hole");
	if (method_len > EXC_MAX_METHOD)
		elog(ERROR, "a request's method is too long");
	pieces.event = exchange->event->id;
	memcpy(pieces.body, concord_request_digest(request), sizeof(pieces.body));
	pieces.mapping = mapping;
	memset(pieces.method, 0, sizeof(pieces.method));
	memcpy(pieces.method, request->method, method_len);
	concord_sha256(&pieces, sizeof(pieces), digest);
	return concord_idempotency_text(digest);
}

/*
 * concord_exchange_request makes an empty request.  That of an item lives as
 * long as the exchange: its batch is what is sent.
 */
ConcordRequest *
concord_exchange_request(const ConcordExchange *exchange)
{
	return exchange->item ? concord_request_create_in(exchange->context) :
		concord_request_create(exchange->context);
}

/* concord_exchange_begin makes an exchange; all of it is in context. */
ConcordExchange *
concord_exchange_begin(const ConcordServer *server,
					   const ConcordMapping *mapping, const ConcordEvent *event,
					   const ConcordMapped *mapped, const ConcordLink *link,
					   MemoryContext context)
{
	ConcordExchange *exchange = MemoryContextAllocZero(context,
													   sizeof(ConcordExchange));

	exchange->server = server;
	exchange->mapping = mapping;
	exchange->event = event;
	exchange->mapped = mapped;
	exchange->context = context;
	exchange->retry_after_ms = -1;
	exchange->verb = CONCORD_VERB_SEND;
	if (link != NULL)
		exchange->link = *link;
	return exchange;
}

/* exc_identify gives a request that changes something its idempotency key. */
static void
exc_identify(ConcordExchange *exchange, ConcordRequest *request)
{
	const ConcordConnector *connector = exchange->server->connector;

	if (strcmp(request->method, "GET") == 0 ||
		strcmp(request->method, "HEAD") == 0)
		return;
	exchange->idempotency_key = exc_key(exchange, request);
	if (*connector->idempotency_header)
		concord_request_set_header(request, connector->idempotency_header,
								   exchange->idempotency_key);
}

/* concord_exchange_headers adds what the server and the connector say of all. */
void
concord_exchange_headers(ConcordExchange *exchange, ConcordRequest *request)
{
	const ConcordConnector *connector = exchange->server->connector;

	concord_server_apply(exchange->server, request);
	if (connector->headers != NULL)
	{
		ConcordTemplateScope scope = {
			.exchange = exchange,
			.keys = exchange->mapped->keys,
		};

		concord_shape_apply(connector->headers, &scope, request);
	}
}

/* concord_request_text shows a request as a person would write it down. */
char *
concord_request_text(const ConcordRequest *request)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "%s %s", request->method, request->url);
	if (request->body != NULL && request->body_len > 0)
		appendStringInfo(&buf, "\n\n%s",
						 concord_safe_text(request->body, request->body_len,
										   CONCORD_EVIDENCE_REQUEST +
										   CONCORD_EVIDENCE_MORE));
	return buf.data;
}

/* exc_trail notes a request that was answered and that another one follows. */
static void
exc_trail(ConcordExchange *exchange, const char *method, const char *url,
		  int status)
{
	if (exchange->trail == NULL)
		exchange->trail = makeStringInfo();
	else
		appendStringInfoString(exchange->trail, "; ");
	appendStringInfo(exchange->trail, "%s %s: %d", method, url, status);
}

/* concord_evidence makes of a text what may be kept of it. */
char *
concord_evidence(const ConcordAuth *auth, const char *text, Size max)
{
	char	   *clean = concord_redact_members(concord_auth_redact(auth, text));

	if (strlen(clean) > max)
		clean[pg_mbcliplen(clean, strlen(clean), max)] = '\0';
	return clean;
}

/* concord_exchange_complete adds what all requests of a server have in common. */
void
concord_exchange_complete(ConcordExchange *exchange, ConcordRequest *request,
						  const ConcordAuth *auth)
{
	MemoryContext old = MemoryContextSwitchTo(exchange->context);

	concord_exchange_headers(exchange, request);
	exc_identify(exchange, request);
	if (auth != NULL)
		concord_auth_apply(auth, request);
	MemoryContextSwitchTo(old);
}

/* exc_step lets the protocol go on. */
static ConcordRequest *
exc_step(ConcordExchange *exchange, const ConcordResponse *response,
		 const ConcordAuth *auth)
{
	const ConcordRequest *before = exchange->request;
	ConcordRequest *request = NULL;

	exchange->outcome = CONCORD_OUTCOME_NONE;
	exchange->error = NULL;
	exchange->rule = NULL;
	if (response == NULL && exchange->mapped->only_if_linked &&
		!exchange->link.exists && !exchange->was_unknown)
		concord_outcome_set(exchange, CONCORD_OUTCOME_DONE, "no link", NULL);
	else
		request = exchange->server->connector->protocol->next(exchange,
															  response);
	if (request != NULL)
		exchange->outcome = CONCORD_OUTCOME_NONE;
	else if (exchange->error != NULL)
		exchange->error = concord_evidence(auth, exchange->error,
										   EXC_MAX_ERROR);
	if (request == NULL)
		return NULL;
	if (response != NULL && before != NULL)
		exc_trail(exchange, before->method, before->url, response->status);
	exchange->request = request;
	return request;
}

/*
 * concord_exchange_next takes an answer (NULL at first) and gives the next
 * request, or NULL with the exchange's outcome set.
 */
ConcordRequest *
concord_exchange_next(ConcordExchange *exchange,
					  const ConcordResponse *response, const ConcordAuth *auth)
{
	MemoryContext old = MemoryContextSwitchTo(exchange->context);
	ConcordRequest *request = exc_step(exchange, response, auth);

	if (request != NULL)
		concord_exchange_complete(exchange, request, auth);
	MemoryContextSwitchTo(old);
	return request;
}

ConcordRequest *
concord_exchange_item(ConcordExchange *exchange,
					  const ConcordResponse *response, const ConcordAuth *auth)
{
	MemoryContext old = MemoryContextSwitchTo(exchange->context);
	ConcordRequest *request;

	exchange->item = true;
	request = exc_step(exchange, response, auth);
	exchange->item = false;
	if (request != NULL)
		exc_identify(exchange, request);
	MemoryContextSwitchTo(old);
	return request;
}

void
concord_exchange_judge(ConcordExchange *exchange,
					   const ConcordResponse *response,
					   const ConcordAuth *auth)
{
	MemoryContext old = MemoryContextSwitchTo(exchange->context);

	concord_outcome_judge(exchange, response);
	if (exchange->error != NULL)
		exchange->error = concord_evidence(auth, exchange->error,
										   EXC_MAX_ERROR);
	MemoryContextSwitchTo(old);
}
