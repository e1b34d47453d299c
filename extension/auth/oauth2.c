/*-------------------------------------------------------------------------
 *
 * oauth2.c
 *	  Authentication scheme "oauth2": client credentials (RFC 6749 4.4).
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

/* oauth2_fetch makes the request for a token. */
static const char *
oauth2_fetch(const ConcordAuth *auth, ConcordRequest *request, void **keep)
{
	StringInfoData form;

	concord_oauth_begin(auth, request, &form, "client_credentials");
	concord_encode_form(&form, "audience",
						concord_auth_option(auth, "audience"));
	concord_oauth_end(request, &form);
	return NULL;
}

static const char *const oauth2_required[] = {
	"token_url", "client_id", "client_secret|client_secret_file", NULL
};
static const char *const oauth2_optional[] = {
	"client_auth", "scope", "audience", NULL
};

const ConcordAuthScheme concord_auth_oauth2 = {
	"oauth2", oauth2_required, oauth2_optional, concord_oauth_apply,
	oauth2_fetch, concord_oauth_take, concord_oauth_expired,
	concord_oauth_check
};
