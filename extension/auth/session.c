/*-------------------------------------------------------------------------
 *
 * session.c
 *	  Authentication scheme "session": cookies of a login, or of a CSRF token.
 *
 * With option company it is SAP Business One's: POST Login with company, user
 * and password, then the cookies that came (B1SESSION, ROUTEID); a 401 says that
 * the session is over.  Without, it is SAP Gateway's: basic authentication, and
 * a GET with "x-csrf-token: Fetch" brings a token, which counts only together
 * with the cookies that came along; a 403 with "x-csrf-token: Required" says
 * that they are over.  Either is one value in the shared cache: a line of
 * cookies and, if there is one, a line "csrf=token".  Cookies that come with
 * later answers are not taken over.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

#include "base/json.h"
#include "catalog/server_options.h"

/* How long a session is used whose life is not told. */
#define SESSION_LIFE_S		(25 * 60)

/* session_basic adds user and password, or says why that cannot be. */
static const char *
session_basic(const ConcordAuth *auth, ConcordRequest *request)
{
	const char *password = concord_secret_text(auth, "password");
	const char *bad = concord_encode_basic_bad(auth->username, password);
	char	   *coded;
	char	   *value;

	if (bad != NULL)
		return bad;
	coded = concord_encode_basic(auth->username, password);
	value = psprintf("Basic %s", coded);
	concord_request_header(request, "Authorization", value);
	explicit_bzero(coded, strlen(coded));
	explicit_bzero(value, strlen(value));
	return NULL;
}

/* session_login makes the body of a login. */
static void
session_login(const ConcordAuth *auth, ConcordRequest *request,
			  const char *company)
{
	const char *names[] = {"CompanyDB", "UserName", "Password"};
	const char *values[] = {
		company, auth->username, concord_secret_text(auth, "password")
	};
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < lengthof(names); i++)
	{
		appendStringInfo(&buf, "%c\"%s\":", i == 0 ? '{' : ',', names[i]);
		concord_json_string(&buf, values[i], strlen(values[i]));
	}
	appendStringInfoChar(&buf, '}');
	request->body = buf.data;
	request->body_len = buf.len;
	concord_request_header(request, "Content-Type", "application/json");
}

/* session_fetch makes the request that opens a session. */
static const char *
session_fetch(const ConcordAuth *auth, ConcordRequest *request, void **keep)
{
	const char *company = concord_auth_option(auth, "company");
	const char *path = concord_auth_option(auth, "login_path");
	Size		len = strlen(auth->server_url);

	if (path == NULL && company != NULL)
		path = "Login";
	else if (path == NULL)
		path = auth->server_service != NULL ? psprintf("%s/", auth->server_service) : "";
	request->method = company != NULL ? "POST" : "GET";
	request->url = psprintf("%s%s%s", auth->server_url,
							len > 0 && auth->server_url[len - 1] == '/' ? "" : "/",
							path + strspn(path, "/"));
	concord_request_header(request, "Accept", "application/json");
	if (company != NULL)
	{
		session_login(auth, request, company);
		return NULL;
	}
	concord_request_header(request, "x-csrf-token", "Fetch");
	*keep = request;			/* says that a token is wanted */
	return session_basic(auth, request);
}

/* session_why says why there is no session. */
static void
session_why(const ConcordResponse *response, ConcordGrant *grant,
			const char *missing)
{
	char	   *text = concord_json_member(response->body, response->body_len,
										   "error");

	for (int i = 0; i < 2 && text != NULL && *text == '{'; i++)
		text = concord_json_member(text, strlen(text),
								   i == 0 ? "message" : "value");
	grant->refused = response->status >= 300 && response->status < 500 &&
		response->status != 408 && response->status != 429;
	if (response->status >= 200 && response->status < 300)
		grant->why = psprintf("the answer to the login has no %s", missing);
	else if (text != NULL && *text != '{')
		grant->why = psprintf("HTTP status %d to the login: %s",
							  response->status, text);
	else
		grant->why = psprintf("HTTP status %d to the login", response->status);
}

/* session_cookies collects the cookies of an answer. */
static void
session_cookies(const ConcordResponse *response, StringInfo buf)
{
	for (int i = 0; i < response->nheaders; i++)
	{
		const ConcordHeader *header = &response->headers[i];
		Size		len = strcspn(header->value, ";");
		char	   *cookie;

		if (strcmp(header->name, "set-cookie") != 0 || len == 0)
			continue;
		cookie = pnstrdup(header->value, len);
		if (strchr(cookie, '=') == NULL || !concord_encode_printable(cookie))
			continue;
		appendStringInfo(buf, "%s%s", buf->len > 0 ? "; " : "", cookie);
	}
}

/* session_take reads cookies and token. */
static void
session_take(const ConcordResponse *response, void *keep, ConcordGrant *grant)
{
	const char *token = concord_response_header(response, "x-csrf-token");
	char	   *minutes = concord_json_member(response->body,
											  response->body_len,
											  "SessionTimeout");
	StringInfoData buf;

	initStringInfo(&buf);
	session_cookies(response, &buf);
	if (response->status < 200 || response->status > 299 || buf.len == 0)
	{
		session_why(response, grant, "cookies");
		return;
	}
	if (keep != NULL)
	{
		if (token == NULL || !concord_encode_printable(token))
		{
			session_why(response, grant, "x-csrf-token");
			return;
		}
		appendStringInfo(&buf, "\ncsrf=%s", token);
	}
	grant->value = buf.data;
	grant->seconds = minutes != NULL ? strtod(minutes, NULL) * 60 : 0;
	if (!(grant->seconds > 0 && grant->seconds < 24 * 3600))
		grant->seconds = SESSION_LIFE_S;
}

/* session_apply adds cookies and, where there is one, the token. */
static const char *
session_apply(const ConcordAuth *auth, ConcordRequest *request)
{
	const char *line = strchr(auth->token.value, '\n');
	Size		len = line != NULL ? line - auth->token.value :
		strlen(auth->token.value);
	char	   *cookies = pnstrdup(auth->token.value, len);

	concord_request_header(request, "Cookie", cookies);
	explicit_bzero(cookies, len);
	if (line == NULL)
		return NULL;
	concord_request_header(request, "x-csrf-token", line + strlen("\ncsrf="));
	return session_basic(auth, request);
}

/* session_expired says whether an answer speaks of a session that is over. */
static bool
session_expired(const ConcordResponse *response)
{
	const char *token = concord_response_header(response, "x-csrf-token");

	return response->status == 401 ||
		(response->status == 403 && token != NULL &&
		 pg_strcasecmp(token, "required") == 0);
}

/* session_check: a login without a company is basic authentication. */
static void
session_check(List *options)
{
	if (concord_option_get(options, "company") == NULL)
		concord_encode_basic_check(options);
}

static const char *const session_required[] = {
	"username", "password|password_file", NULL
};
static const char *const session_optional[] = {
	"company", "login_path", NULL
};

const ConcordAuthScheme concord_auth_session = {
	"session", session_required, session_optional, session_apply,
	session_fetch, session_take, session_expired, session_check
};
