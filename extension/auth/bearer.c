/*-------------------------------------------------------------------------
 *
 * bearer.c
 *	  Authentication scheme "bearer": a token that was given (RFC 6750).
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

/* bearer_apply adds the header Authorization. */
static const char *
bearer_apply(const ConcordAuth *auth, ConcordRequest *request)
{
	char	   *value = psprintf("Bearer %s",
								 concord_secret_text(auth, "token"));

	concord_request_header(request, "Authorization", value);
	explicit_bzero(value, strlen(value));
	pfree(value);
	return NULL;
}

static const char *const bearer_required[] = {"token|token_file", NULL};
static const char *const bearer_optional[] = {NULL};

const ConcordAuthScheme concord_auth_bearer = {
	"bearer", bearer_required, bearer_optional, bearer_apply
};
