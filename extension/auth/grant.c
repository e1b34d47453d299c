/*-------------------------------------------------------------------------
 *
 * grant.c
 *	  The gate before requests with credentials, and requests for tokens.
 *
 * A request of any scheme but none has a gate (http/http.h), where credentials
 * are added when it is about to be sent, again each time it is sent again.
 *
 * Where a scheme needs a token or session, that is looked up in the shared cache; where there is none one process
 * fetches it, on the same engine and beside everything else that is under way,
 * and the requests that need it wait at their gates.  If it cannot be had they
 * end as not sent, the system being down: no record is to blame.
 *
 * An answer that says the token is not valid any more (401, mostly) drops it
 * from the cache, if it is still there, and sends the request once more; such
 * an answer means that nothing was done.
 *
 * A fetch does not need the credentials any more once it is under way: they may
 * be loaded anew at any time.  It goes by the server's TLS options and egress
 * policy.  The address of a token endpoint is chosen by whoever may set the
 * user mapping, so private networks, which a superuser's server may contact,
 * are open to it only where it is at the server's own address or the mapping is
 * a superuser's; pg_concord.allowed_networks opens them for all.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

#include <curl/curl.h>
#include <openssl/sha.h>

#include "utils/memutils.h"

/* What another process gets, beside the request's own timeout, to fetch. */
#define GRANT_CLAIM_MS		5000
/* What is told of a failure. */
#define GRANT_WHY_MAX		200

/* The gate's state of a request that needs a token. */
typedef struct GrantUse
{
	ConcordAuth *auth;
	int			nheaders;		/* without credentials */
	uint64		generation;		/* of the token it was sent with */
	bool		again;			/* it was sent again */
} GrantUse;

/* The gate's state of a request for a token. */
typedef struct GrantFetch
{
	const ConcordAuthScheme *scheme;
	ConcordTokenKey key;
	bool		ended;			/* the claim was given back */
	void	   *keep;			/* the scheme's */
	char	   *body;
	int			nhidden;
	char	   *hidden[2 * CONCORD_AUTH_SECRETS + 4];
	MemoryContextCallback callback;
} GrantFetch;

static ConcordGateVerdict grant_before(ConcordHttp *http,
									   ConcordRequest *request,
									   const char **why);
static ConcordGateAnswer grant_after(ConcordHttp *http,
									 ConcordRequest *request);
static ConcordGateAnswer grant_fetched(ConcordHttp *http,
									   ConcordRequest *request);

static ConcordGateVerdict grant_apply_before(ConcordHttp *http,
											 ConcordRequest *request,
											 const char **why);

static const ConcordGate grant_apply_gate = {grant_apply_before, NULL};
static const ConcordGate grant_use_gate = {grant_before, grant_after};
static const ConcordGate grant_fetch_gate = {NULL, grant_fetched};

/* concord_grant_attach puts a request behind the gate. */
void
concord_grant_attach(ConcordAuth *auth, ConcordRequest *request)
{
	GrantUse   *use = palloc0(sizeof(GrantUse));

	use->auth = auth;
	use->nheaders = request->nheaders;
	request->gate = auth->scheme->fetch != NULL ? &grant_use_gate :
		&grant_apply_gate;
	request->gate_state = use;
}

/*
 * grant_key makes the token's key of the credentials as they are now.  A
 * refresh token in a file is left out: it may change with each use.
 */
static void
grant_key(ConcordAuth *auth)
{
	SHA256_CTX	ctx;

	if (auth->key_ready)
		return;
	auth->token.generation = 0; /* what was got for other credentials */
	SHA256_Init(&ctx);
	for (int i = 0; i < auth->noptions; i++)
	{
		SHA256_Update(&ctx, auth->options[i].name,
					  strlen(auth->options[i].name) + 1);
		SHA256_Update(&ctx, auth->options[i].value,
					  strlen(auth->options[i].value) + 1);
	}
	for (int i = 0; i < auth->nsecrets; i++)
	{
		const ConcordSecret *secret = &auth->secrets[i];

		if (secret->path != NULL && strcmp(secret->option, "refresh_token") == 0)
			continue;
		SHA256_Update(&ctx, secret->option, strlen(secret->option) + 1);
		SHA256_Update(&ctx, secret->value, secret->len + 1);
	}
	SHA256_Update(&ctx, auth->server_url, strlen(auth->server_url) + 1);
	if (auth->server_service != NULL)
		SHA256_Update(&ctx, auth->server_service,
					  strlen(auth->server_service) + 1);
	/* such as which client of an SAP system */
	SHA256_Update(&ctx, "headers", sizeof("headers"));
	if (auth->server_headers != NULL)
		SHA256_Update(&ctx, auth->server_headers,
					  strlen(auth->server_headers) + 1);
	SHA256_Final(auth->key.digest, &ctx);
	auth->key_ready = true;
}

/* grant_note remembers a token, so that it can be hidden in texts. */
static void
grant_note(ConcordAuth *auth)
{
	if (auth->seen_generation == auth->token.generation)
		return;
	if (auth->seen[1] != NULL)
	{
		explicit_bzero(auth->seen[1], strlen(auth->seen[1]));
		pfree(auth->seen[1]);
	}
	auth->seen[1] = auth->seen[0];
	auth->seen[0] = MemoryContextStrdup(auth->context, auth->token.value);
	auth->seen_generation = auth->token.generation;
}

/* concord_grant_wipe wipes what is known of tokens. */
void
concord_grant_wipe(ConcordAuth *auth)
{
	char	   *texts[] = {auth->token.value, auth->seen[0], auth->seen[1]};

	for (int i = 0; i < lengthof(texts); i++)
	{
		if (texts[i] != NULL)
			explicit_bzero(texts[i], strlen(texts[i]));
	}
}

/* concord_grant_redact hides tokens, and each part of a session, in a text. */
char *
concord_grant_redact(const ConcordAuth *auth, char *text)
{
	for (int i = 0; i < lengthof(auth->seen); i++)
	{
		char	   *parts;
		char	   *save = NULL;

		if (auth->seen[i] == NULL)
			continue;
		text = concord_encode_hide(text, auth->seen[i]);
		parts = pstrdup(auth->seen[i]);
		for (char *part = strtok_r(parts, "\n; ", &save); part != NULL;
			 part = strtok_r(NULL, "\n; ", &save))
		{
			char	   *value = strchr(part, '=');

			if (value != NULL && strlen(value + 1) >= 6)
				text = concord_encode_hide(text, value + 1);
		}
		explicit_bzero(parts, strlen(auth->seen[i]));
		pfree(parts);
	}
	return text;
}

/* ---------------------------------------------------------------------
 * fetching
 * ------------------------------------------------------------------- */

/* grant_dropped gives the claim of a fetch that never ended back. */
static void
grant_dropped(void *arg)
{
	GrantFetch *fetch = arg;

	for (int i = 0; i < fetch->nhidden; i++)
		explicit_bzero(fetch->hidden[i], strlen(fetch->hidden[i]));
	if (fetch->body != NULL)
		explicit_bzero(fetch->body, strlen(fetch->body));
	if (!fetch->ended)
		concord_token_abandon(&fetch->key);
}

/* grant_origin gives the part of an address before its path. */
static char *
grant_origin(const char *address)
{
	CURLU	   *url = curl_url();
	char	   *scheme = NULL;
	char	   *host = NULL;
	char	   *port = NULL;
	char	   *origin = NULL;

	if (url != NULL && curl_url_set(url, CURLUPART_URL, address, 0) == CURLUE_OK &&
		curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
		curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
		curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK)
		origin = psprintf("%s://%s:%s", scheme, host, port);
	curl_free(scheme);
	curl_free(host);
	curl_free(port);
	curl_url_cleanup(url);
	return origin;
}

/* grant_private says whether a fetch may go to private networks. */
static bool
grant_private(const ConcordAuth *auth, const ConcordRequest *used,
			  const char *address)
{
	char	   *there;
	char	   *server;

	if (!used->private_allowed || auth->super)
		return used->private_allowed;
	there = grant_origin(address);
	server = grant_origin(auth->server_url);
	return there != NULL && server != NULL && pg_strcasecmp(there, server) == 0;
}

/* grant_copy copies a text that may be NULL. */
static char *
grant_copy(const char *text)
{
	return text != NULL ? pstrdup(text) : NULL;
}

/*
 * grant_hide_assertion hides the assertion of a form, as it was sent: nothing in
 * what schemes code has to be escaped there.
 */
static void
grant_hide_assertion(GrantFetch *fetch, const char *form)
{
	while (form != NULL && *form)
	{
		Size		len = strcspn(form, "&");
		const char *name = strncmp(form, "client_", 7) == 0 ? form + 7 : form;

		if (strncmp(name, "assertion=", 10) == 0 && form + len > name + 10 &&
			fetch->nhidden < lengthof(fetch->hidden))
			fetch->hidden[fetch->nhidden++] =
				pnstrdup(name + 10, form + len - (name + 10));
		form += len + (form[len] == '&');
	}
}

/*
 * grant_hide remembers what the answer must not repeat: secrets as they are, as
 * a form has them, an assertion that was made, and the header that names the
 * client.
 */
static void
grant_hide(GrantFetch *fetch, const ConcordAuth *auth,
		   const ConcordRequest *request)
{
	for (int i = 0; i < auth->nsecrets; i++)
	{
		StringInfoData coded;

		initStringInfo(&coded);
		concord_encode_percent(&coded, auth->secrets[i].value);
		if (strcmp(coded.data, auth->secrets[i].value) != 0)
			fetch->hidden[fetch->nhidden++] = coded.data;
		fetch->hidden[fetch->nhidden++] = pstrdup(auth->secrets[i].value);
	}
	grant_hide_assertion(fetch, request->body);
	for (int i = 0; i < request->nheaders; i++)
	{
		const char *value = request->headers[i].value;

		if (strcmp(request->headers[i].name, "Authorization") == 0 &&
			fetch->nhidden < lengthof(fetch->hidden))
			fetch->hidden[fetch->nhidden++] =
				pstrdup(strncmp(value, "Basic ", 6) == 0 ? value + 6 : value);
	}
}

/* grant_failed ends a claim without a token. */
static void
grant_failed(GrantFetch *fetch, const char *why, bool refused)
{
	char	   *text = pstrdup(why);

	for (int i = 0; i < fetch->nhidden; i++)
		text = concord_encode_hide(text, fetch->hidden[i]);
	text = concord_safe_text(text, strlen(text), GRANT_WHY_MAX);
	for (char *p = text; *p; p++)
	{
		if ((unsigned char) *p < ' ')
			*p = ' ';
	}
	concord_token_fail(&fetch->key,
					   psprintf("no credentials from auth \"%s\": %s",
								fetch->scheme->name, text), refused);
	fetch->ended = true;
}

/*
 * grant_make has the scheme make the request for a token; what it raises, such
 * as for a password that has no form in UTF-8, is a reason like others.  The
 * message may show a piece of the password.
 */
static const char *
grant_make(const ConcordAuth *auth, ConcordRequest *request, void **keep)
{
	const char *volatile why = NULL;

	PG_TRY();
	{
		why = auth->scheme->fetch(auth, request, keep);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(request->context);
		error = CopyErrorData();
		if (error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
			error->sqlerrcode == ERRCODE_QUERY_CANCELED)
			PG_RE_THROW();
		FlushErrorState();
		why = error->sqlerrcode == ERRCODE_CHARACTER_NOT_IN_REPERTOIRE ||
			error->sqlerrcode == ERRCODE_UNTRANSLATABLE_CHARACTER ?
			"an option or secret has no form in UTF-8" : error->message;
	}
	PG_END_TRY();
	return why;
}

/* grant_fetch starts the request for a token; the claim is ours. */
static void
grant_fetch(ConcordHttp *http, ConcordAuth *auth, const ConcordRequest *used)
{
	ConcordRequest *request = concord_request_create(concord_http_context(http));
	MemoryContext old = MemoryContextSwitchTo(request->context);
	GrantFetch *fetch = palloc0(sizeof(GrantFetch));
	const char *why;

	fetch->scheme = auth->scheme;
	fetch->key = auth->key;
	fetch->callback.func = grant_dropped;
	fetch->callback.arg = fetch;
	MemoryContextRegisterResetCallback(request->context, &fetch->callback);
	request->timeout_ms = used->timeout_ms;
	request->connect_timeout_ms = used->connect_timeout_ms;
	request->verify = used->verify;
	request->ca_file = grant_copy(used->ca_file);
	request->cert_file = grant_copy(used->cert_file);
	request->key_file = grant_copy(used->key_file);
	request->proxy = grant_copy(used->proxy);
	request->gate = &grant_fetch_gate;
	request->gate_state = fetch;

	why = grant_make(auth, request, &fetch->keep);
	for (int i = 0; auth->scheme == &concord_auth_session && i < used->nheaders; i++)
	{
		/* which client of an SAP system to log in to */
		if (pg_strcasecmp(used->headers[i].name, "sap-client") == 0)
			concord_request_set_header(request, "sap-client",
									   used->headers[i].value);
	}
	grant_hide(fetch, auth, request);
	fetch->body = request->body;
	if (why != NULL)
		grant_failed(fetch, why, true);
	MemoryContextSwitchTo(old);
	if (why != NULL)
	{
		concord_request_free(request);
		return;
	}
	request->private_allowed = grant_private(auth, used, request->url);
	concord_http_submit(http, request);
}

/* grant_fetched takes a token, or what came instead. */
static ConcordGateAnswer
grant_fetched(ConcordHttp *http, ConcordRequest *request)
{
	MemoryContext old = MemoryContextSwitchTo(request->context);
	GrantFetch *fetch = request->gate_state;
	ConcordGrant grant = {0};

	if (request->response.transfer != CONCORD_TRANSFER_OK)
		grant.why = request->response.error;
	else
		fetch->scheme->take(&request->response, fetch->keep, &grant);
	if (grant.value == NULL)
		grant_failed(fetch, grant.why, grant.refused);
	else if (!concord_token_store(&fetch->key, grant.value,
								  Max(grant.seconds, 1)))
		grant_failed(fetch, "the token is too long", true);
	fetch->ended = true;
	explicit_bzero(request->response.body, request->response.body_len);
	MemoryContextSwitchTo(old);
	concord_request_free(request);
	return CONCORD_GATE_TAKEN;
}

/* ---------------------------------------------------------------------
 * using
 * ------------------------------------------------------------------- */

/* grant_apply adds the credentials to a request, in place of earlier ones. */
static ConcordGateVerdict
grant_apply(ConcordRequest *request, const char **why)
{
	GrantUse   *use = request->gate_state;

	request->nheaders = use->nheaders;
	*why = use->auth->scheme->apply(use->auth, request);
	return *why == NULL ? CONCORD_GATE_GO : CONCORD_GATE_REJECT;
}

/* grant_apply_before is the gate of schemes that need no token. */
static ConcordGateVerdict
grant_apply_before(ConcordHttp *http, ConcordRequest *request,
				   const char **why)
{
	GrantUse   *use = request->gate_state;
	MemoryContext old = MemoryContextSwitchTo(request->context);
	ConcordGateVerdict verdict;

	concord_secret_refresh(use->auth);
	verdict = grant_apply(request, why);
	MemoryContextSwitchTo(old);
	return verdict;
}

/* grant_before gives a request its token, or makes it wait for one. */
static ConcordGateVerdict
grant_before(ConcordHttp *http, ConcordRequest *request, const char **why)
{
	GrantUse   *use = request->gate_state;
	ConcordAuth *auth = use->auth;
	MemoryContext old = MemoryContextSwitchTo(request->context);
	ConcordGateVerdict verdict = CONCORD_GATE_HOLD;
	int			claim_ms = request->timeout_ms + GRANT_CLAIM_MS;

	concord_secret_refresh(auth);
	grant_key(auth);
	switch (concord_token_get(&auth->key, &auth->token, auth->context,
							  claim_ms, auth->eager, why))
	{
		case CONCORD_TOKEN_VALID:
			grant_note(auth);
			auth->eager = false;
			use->generation = auth->token.generation;
			verdict = grant_apply(request, why);
			break;
		case CONCORD_TOKEN_BUSY:
			break;
		case CONCORD_TOKEN_CLAIMED:
			auth->eager = false;
			grant_fetch(http, auth, request);
			break;
		case CONCORD_TOKEN_FAILED:
			verdict = CONCORD_GATE_REFUSE;
			break;
	}
	MemoryContextSwitchTo(old);
	return verdict;
}

/*
 * grant_after looks whether the token was refused.  A new one that is refused
 * at once, in another way than by 401, which connectors know, says that the
 * system is down for us and not that the record is wrong.
 */
static ConcordGateAnswer
grant_after(ConcordHttp *http, ConcordRequest *request)
{
	GrantUse   *use = request->gate_state;
	ConcordResponse *response = &request->response;

	if (response->transfer != CONCORD_TRANSFER_OK ||
		!use->auth->scheme->expired(response))
		return CONCORD_GATE_PASS;
	if (use->again)
	{
		if (response->status != 401)
		{
			response->transfer = CONCORD_TRANSFER_NOT_SENT;
			response->system_down = true;
			response->error = MemoryContextAlloc(request->context, GRANT_WHY_MAX);
			snprintf(response->error, GRANT_WHY_MAX,
					 "a new token of auth \"%s\" was refused (HTTP status %d)",
					 use->auth->scheme->name, response->status);
		}
		return CONCORD_GATE_PASS;
	}
	concord_token_forget(&use->auth->key, use->generation);
	use->again = true;
	return CONCORD_GATE_AGAIN;
}
