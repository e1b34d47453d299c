/*-------------------------------------------------------------------------
 *
 * tokens.c
 *	  Credentials that a system issues: OAuth 2 tokens.
 *
 * POST /auth/token is a token endpoint (RFC 6749 3.2).  Its client, how long
 * tokens live and more are set by POST /_control/tokens.  A rule with the
 * action {"auth": {"issued": ""}} lets through what bears a token that was
 * issued here, that is not over and was not revoked.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "request.h"

#define MAX_TOKENS 1024

typedef struct Token
{
	char		text[48];
	int64_t		until;			/* monotonic, microseconds */
} Token;

static Token tokens[MAX_TOKENS];
static int	ntokens;
static int	nissued;

/* what the endpoint wants, see tokens_control */
static char client_id[64] = "concord";
static char client_secret[64] = "client-5ecret";
static double life_s = 3600;
static char refresh_token[64] = "refresh-5ecret-0"; /* each is good for once */
static int	nrefreshed;

/* Answers as a token endpoint does. */
static void
token_refuse(Request *req, int status, const char *error, const char *text)
{
	answer_json(&req->answer, status,
				json_pack("{s:s, s:s}", "error", error, "error_description", text));
}

/* Returns a field of a form, decoded, or NULL. */
static char *
form_field(const Request *req, const char *name)
{
	const char *p = req->body.data ? req->body.data : "";
	size_t		len = strlen(name);

	while (*p)
	{
		size_t		part = strcspn(p, "&");

		if (part > len && strncmp(p, name, len) == 0 && p[len] == '=')
		{
			char	   *value = xstrndup(p + len + 1, part - len - 1);

			percent_decode(value);
			return value;
		}
		p += part + (p[part] == '&');
	}
	return NULL;
}

/* Says whether a form has a field with this value. */
static bool
form_has(const Request *req, const char *name, const char *value)
{
	char	   *given = form_field(req, name);
	bool		same = given != NULL && strcmp(given, value) == 0;

	free(given);
	return same;
}

/* Writes bytes as base64. */
static void
base64(Buf *out, const char *text)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t		len = strlen(text);

	for (size_t i = 0; i < len; i += 3)
	{
		unsigned	n = (unsigned char) text[i] << 16;

		if (i + 1 < len)
			n |= (unsigned char) text[i + 1] << 8;
		if (i + 2 < len)
			n |= (unsigned char) text[i + 2];
		buf_char(out, digits[n >> 18]);
		buf_char(out, digits[(n >> 12) & 63]);
		buf_char(out, i + 1 < len ? digits[(n >> 6) & 63] : '=');
		buf_char(out, i + 2 < len ? digits[n & 63] : '=');
	}
}

/* Says whether the client is who it should be, by header or by form. */
static bool
client_known(const Request *req)
{
	const char *given = request_header(req, "authorization");
	Buf			plain = {0};
	Buf			wanted = {0};
	bool		known;

	if (given == NULL)
		return form_has(req, "client_id", client_id) &&
			form_has(req, "client_secret", client_secret);
	buf_printf(&plain, "%s:%s", client_id, client_secret);
	buf_str(&wanted, "Basic ");
	base64(&wanted, plain.data);
	known = strcmp(given, wanted.data) == 0;
	buf_free(&plain);
	buf_free(&wanted);
	return known;
}

/* Issues a token. */
static void
token_issue(Request *req, const char *refresh)
{
	json_t	   *answer;
	Token	   *token = &tokens[ntokens++ % MAX_TOKENS];

	snprintf(token->text, sizeof(token->text), "issued-5ecret-%d-%08lx", ++nissued,
			 lrand48());
	token->until = mono_us() + (int64_t) (life_s * 1000000);
	req->acted = true;
	answer = json_pack("{s:s, s:s, s:I}", "access_token", token->text,
					   "token_type", "Bearer", "expires_in",
					   (json_int_t) life_s);
	if (refresh != NULL)
		json_object_set_new(answer, "refresh_token", json_string(refresh));
	answer_json(&req->answer, 200, answer);
}

/* Gives an access token for a refresh token, which is good for once. */
static void
token_refresh(Request *req)
{
	if (!form_has(req, "refresh_token", refresh_token))
	{
		token_refuse(req, 400, "invalid_grant", "the refresh token is not valid");
		return;
	}
	snprintf(refresh_token, sizeof(refresh_token), "refresh-5ecret-%d", ++nrefreshed);
	token_issue(req, refresh_token);
}

/*
 * POST …/Login, as SAP Business One's Service Layer has it: a session in
 * cookies, or 401 with its error.
 */
static void
session_login(Request *req)
{
	json_t	   *body = json_loadb(req->body.data ? req->body.data : "", req->body.len,
								  0, NULL);
	const char *company = json_string_value(json_object_get(body, "CompanyDB"));
	const char *user = json_string_value(json_object_get(body, "UserName"));
	const char *password = json_string_value(json_object_get(body, "Password"));
	char		cookie[80];
	char	   *token;

	if (company == NULL || user == NULL || password == NULL ||
		strcmp(company, "SBO") != 0 || strcmp(user, client_id) != 0 ||
		strcmp(password, client_secret) != 0)
		answer_json(&req->answer, 401,
					json_pack("{s:{s:i, s:{s:s}}}", "error", "code", -304, "message",
							  "value", "Fail to get DB Credentials"));
	else
	{
		token_issue(req, NULL);
		token = tokens[(ntokens - 1) % MAX_TOKENS].text;
		req->answer.body.len = 0;
		snprintf(cookie, sizeof(cookie), "B1SESSION=%s; HttpOnly; path=/", token);
		answer_json(&req->answer, 200,
					json_pack("{s:s, s:f}", "SessionId", token, "SessionTimeout",
							  life_s / 60));
		answer_header(&req->answer, "Set-Cookie", cookie);
		answer_header(&req->answer, "Set-Cookie", "ROUTEID=.node1; path=/");
	}
	json_decref(body);
}

/* Says whether a request's cookies have a session that is not over. */
bool
tokens_session(const Request *req)
{
	const char *cookies = request_header(req, "cookie");

	for (int i = 0; cookies && i < ntokens && i < MAX_TOKENS; i++)
	{
		if (strstr(cookies, tokens[i].text) != NULL)
			return mono_us() < tokens[i].until;
	}
	return false;
}

/*
 * A CSRF token as SAP Gateway gives it: fetched with a header, valid together
 * with the cookies that came along, wanted by whatever changes something.
 * False where it is missing.
 */
bool
tokens_csrf(Request *req)
{
	const char *given = request_header(req, "x-csrf-token");
	const char *cookies = request_header(req, "cookie");
	char		text[120];

	if (given != NULL && strcasecmp(given, "fetch") == 0)
	{
		char	   *token;

		token_issue(req, NULL);
		req->acted = false;
		token = tokens[(ntokens - 1) % MAX_TOKENS].text;
		req->answer.body.len = 0;
		snprintf(text, sizeof(text), "SAP_SESSIONID=%s; path=/", token);
		answer_header(&req->answer, "Set-Cookie", text);
		snprintf(text, sizeof(text), "csrf-%s", token);
		answer_header(&req->answer, "x-csrf-token", text);
		return true;
	}
	if (strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0)
		return true;
	if (given == NULL || cookies == NULL || !text_starts(given, "csrf-") ||
		!tokens_session(req))
		return false;
	return strstr(cookies, given + strlen("csrf-")) != NULL;
}

/* POST /auth/token. */
static void
token_endpoint(Request *req)
{
	const char *type = request_header(req, "content-type");

	if (strcmp(req->method, "POST") != 0 || type == NULL ||
		strcmp(type, "application/x-www-form-urlencoded") != 0)
		token_refuse(req, 400, "invalid_request", "a form is wanted");
	else if (form_has(req, "grant_type",
					  "urn:ietf:params:oauth:grant-type:jwt-bearer") ||
			 form_has(req, "grant_type",
					  "urn:ietf:params:oauth:grant-type:saml2-bearer") ||
			 form_has(req, "client_assertion_type",
					  "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"))
		token_issue(req, NULL); /* the test looks into the assertion */
	else if (form_has(req, "grant_type", "refresh_token"))
		token_refresh(req);
	else if (!form_has(req, "grant_type", "client_credentials"))
		token_refuse(req, 400, "unsupported_grant_type", "not this one");
	else if (!client_known(req))
	{
		/* as careless as can be: it repeats what it was sent */
		Buf			text = {0};

		buf_printf(&text, "no such client: %s",
				   req->body.data ? req->body.data : "");
		token_refuse(req, 401, "invalid_client", text.data);
		buf_free(&text);
	}
	else
		token_issue(req, NULL);
}

/* Answers a request to /auth/. */
void
tokens_act(Request *req)
{
	if (strcmp(req->path, "/auth/token") == 0)
		token_endpoint(req);
	else if (strcmp(req->method, "POST") == 0)
		session_login(req);
	else
		answer_error(&req->answer, 404, "404", "Invalid resource path");
}

/* Says whether a request bears a token that is valid now. */
bool
tokens_valid(const Request *req)
{
	const char *given = request_header(req, "authorization");

	if (given == NULL || !text_starts(given, "Bearer "))
		return false;
	for (int i = 0; i < ntokens && i < MAX_TOKENS; i++)
	{
		if (strcmp(given + strlen("Bearer "), tokens[i].text) == 0)
			return mono_us() < tokens[i].until;
	}
	return false;
}

/*
 * /_control/tokens: POST {life, client_id, client_secret} changes what is
 * wanted, DELETE revokes all, GET tells how many were issued.
 */
void
tokens_control(Request *req, const json_t *body)
{
	const char *id = json_string_value(json_object_get(body, "client_id"));
	const char *secret = json_string_value(json_object_get(body, "client_secret"));
	json_t	   *life = json_object_get(body, "life");

	if (id != NULL)
		snprintf(client_id, sizeof(client_id), "%s", id);
	if (secret != NULL)
		snprintf(client_secret, sizeof(client_secret), "%s", secret);
	if (life != NULL)
		life_s = json_number_value(life);
	if (strcmp(req->method, "DELETE") == 0)
		ntokens = 0;
	answer_json(&req->answer, 200, json_pack("{s:i}", "issued", nissued));
}
