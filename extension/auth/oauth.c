/*-------------------------------------------------------------------------
 *
 * oauth.c
 *	  What all OAuth 2 token endpoints have in common (RFC 6749).
 *
 * The client authenticates with basic authentication, whose parts are form
 * encoded (2.3.1), or with fields of the form (client_auth 'body').  Of an
 * answer only access_token, expires_in and token_type are read; an answer that
 * tells no life is taken for OAUTH_DEFAULT_S, a 401 ends it sooner.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

#include "catalog/server_options.h"

#define OAUTH_DEFAULT_S		3600
#define OAUTH_MAX_S			(30 * 24 * 3600)

/* oauth_basic adds the client's name and secret as a header. */
static void
oauth_basic(const ConcordAuth *auth, ConcordRequest *request)
{
	StringInfoData id;
	StringInfoData secret;
	char	   *coded;

	initStringInfo(&id);
	initStringInfo(&secret);
	concord_encode_percent(&id, concord_auth_option(auth, "client_id"));
	concord_encode_percent(&secret, concord_secret_text(auth, "client_secret"));
	coded = concord_encode_basic(id.data, secret.data);
	concord_request_header(request, "Authorization",
						   psprintf("Basic %s", coded));
	explicit_bzero(secret.data, secret.len);
}

/* concord_oauth_begin begins the request to a token endpoint. */
void
concord_oauth_begin(const ConcordAuth *auth, ConcordRequest *request,
					StringInfo form, const char *grant_type)
{
	const char *how = concord_auth_option(auth, "client_auth");
	const char *id = concord_auth_option(auth, "client_id");

	request->method = "POST";
	request->url = pstrdup(concord_auth_option(auth, "token_url"));
	concord_request_header(request, "Accept", "application/json");
	concord_request_header(request, "Content-Type",
						   "application/x-www-form-urlencoded");
	initStringInfo(form);
	concord_encode_form(form, "grant_type", grant_type);
	if (concord_secret_get(auth, "client_secret") == NULL)
		concord_encode_form(form, "client_id", id);
	else if (how != NULL && strcmp(how, "body") == 0)
	{
		concord_encode_form(form, "client_id", id);
		concord_encode_form(form, "client_secret",
							concord_secret_text(auth, "client_secret"));
	}
	else
		oauth_basic(auth, request);
	concord_encode_form(form, "scope", concord_auth_option(auth, "scope"));
}

/* concord_oauth_end makes the form the request's body. */
void
concord_oauth_end(ConcordRequest *request, StringInfo form)
{
	request->body = form->data;
	request->body_len = form->len;
}

/* concord_oauth_apply adds the header Authorization. */
const char *
concord_oauth_apply(const ConcordAuth *auth, ConcordRequest *request)
{
	char	   *value = psprintf("Bearer %s", auth->token.value);

	concord_request_header(request, "Authorization", value);
	explicit_bzero(value, strlen(value));
	pfree(value);
	return NULL;
}

/* oauth_error says what an endpoint answered instead of a token. */
static void
oauth_error(const ConcordResponse *response, ConcordGrant *grant)
{
	char	   *error = concord_json_text(response->body,
										  response->body_len, "error");
	char	   *text = concord_json_text(response->body, response->body_len,
										 "error_description");

	grant->refused = response->status >= 300 && response->status < 500 &&
		response->status != 408 && response->status != 429;
	if (error != NULL && (strcmp(error, "temporarily_unavailable") == 0 ||
						  strcmp(error, "server_error") == 0))
		grant->refused = false;
	if (error != NULL && text != NULL)
		grant->why = psprintf("HTTP status %d from the token endpoint: %s (%s)",
							  response->status, error, text);
	else if (error != NULL)
		grant->why = psprintf("HTTP status %d from the token endpoint: %s",
							  response->status, error);
	else
		grant->why = psprintf("HTTP status %d from the token endpoint",
							  response->status);
}

/* concord_oauth_take reads the answer of a token endpoint. */
void
concord_oauth_take(const ConcordResponse *response, void *keep,
				   ConcordGrant *grant)
{
	char	   *token;
	char	   *type;
	char	   *life;

	if (response->status < 200 || response->status > 299)
	{
		oauth_error(response, grant);
		return;
	}
	token = concord_json_text(response->body, response->body_len,
							  "access_token");
	type = concord_json_text(response->body, response->body_len,
							 "token_type");
	life = concord_json_member(response->body, response->body_len,
							   "expires_in");
	if (token == NULL || !concord_encode_printable(token))
	{
		oauth_error(response, grant);
		grant->why = "the answer of the token endpoint has no access_token";
		return;
	}
	if (type != NULL && pg_strcasecmp(type, "bearer") != 0)
	{
		grant->why = "the token endpoint gave a token that is not of type \"bearer\"";
		grant->refused = true;
		return;
	}
	grant->value = token;
	grant->seconds = life != NULL ? strtod(life, NULL) : OAUTH_DEFAULT_S;
	if (!(grant->seconds > 0))
		grant->seconds = OAUTH_DEFAULT_S;
	grant->seconds = Min(grant->seconds, OAUTH_MAX_S);
}

/* concord_oauth_expired: 401 says so, whatever else it says. */
bool
concord_oauth_expired(const ConcordResponse *response)
{
	return response->status == 401;
}

/* concord_oauth_check checks client_auth. */
void
concord_oauth_check(List *options)
{
	const char *how = concord_option_get(options, "client_auth");

	if (how != NULL && strcmp(how, "basic") != 0 && strcmp(how, "body") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"",
						"client_auth", how),
				 errhint("It may be basic or body.")));
}
