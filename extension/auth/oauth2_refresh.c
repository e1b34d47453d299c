/*-------------------------------------------------------------------------
 *
 * oauth2_refresh.c
 *	  Authentication scheme "oauth2_refresh": a refresh token (RFC 6749 6).
 *
 * Many systems give another refresh token with each access token and refuse
 * the old one from then on, so the new one must outlive this server's memory.
 * It is written to the file that the old one came from (refresh_token_file),
 * on disk before the access token is used by anybody; only the process that
 * has the claim to fetch reads and writes it.  A catalog or table is no place
 * for it: it would stand in dumps, and the copy restored from one would use up
 * the original's token.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

/* What the answer is compared with. */
typedef struct RefreshKeep
{
	char	   *path;			/* NULL: the token is an option's value */
	char	   *token;
} RefreshKeep;

/* refresh_fetch makes the request for a token. */
static const char *
refresh_fetch(const ConcordAuth *auth, ConcordRequest *request, void **keep)
{
	RefreshKeep *mine = palloc0(sizeof(RefreshKeep));
	const ConcordSecret *secret;
	StringInfoData form;

	/* another process may have written the file a moment ago */
	((ConcordAuth *) auth)->checked_at = 0;
	concord_secret_refresh((ConcordAuth *) auth);
	secret = concord_secret_get(auth, "refresh_token");
	mine->path = secret->path != NULL ? pstrdup(secret->path) : NULL;
	mine->token = pstrdup(secret->value);
	*keep = mine;

	concord_oauth_begin(auth, request, &form, "refresh_token");
	concord_encode_form(&form, "refresh_token", secret->value);
	concord_oauth_end(request, &form);
	return NULL;
}

/* refresh_take keeps the refresh token that came along. */
static void
refresh_take(const ConcordResponse *response, void *keep, ConcordGrant *grant)
{
	RefreshKeep *mine = keep;
	char	   *token;

	concord_oauth_take(response, keep, grant);
	if (grant->value != NULL &&
		(token = concord_json_text(response->body, response->body_len,
								   "refresh_token")) != NULL &&
		concord_encode_printable(token) && strcmp(token, mine->token) != 0)
	{
		if (mine->path == NULL)
			ereport(WARNING,
					(errcode(ERRCODE_WARNING),
					 errmsg("a system has given another refresh token, which cannot be kept"),
					 errdetail("Option \"refresh_token\" holds the old one; it may not be valid any more."),
					 errhint("Use option \"refresh_token_file\".")));
		else if (!concord_secret_write(mine->path, token))
			ereport(WARNING,
					(errcode_for_file_access(),
					 errmsg("could not write a new refresh token to the file of option \"refresh_token_file\": %m"),
					 errdetail("The old one may not be valid any more.")));
		explicit_bzero(token, strlen(token));
	}
	explicit_bzero(mine->token, strlen(mine->token));
}

static const char *const refresh_required[] = {
	"token_url", "client_id", "refresh_token|refresh_token_file", NULL
};
static const char *const refresh_optional[] = {
	"client_secret", "client_secret_file", "client_auth", "scope", NULL
};

const ConcordAuthScheme concord_auth_oauth2_refresh = {
	"oauth2_refresh", refresh_required, refresh_optional, concord_oauth_apply,
	refresh_fetch, refresh_take, concord_oauth_expired, concord_oauth_check
};
