/*-------------------------------------------------------------------------
 *
 * header.c
 *	  Authentication scheme "header": a secret in a header of any name.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

/* header_apply adds the header that option header_name names. */
static const char *
header_apply(const ConcordAuth *auth, ConcordRequest *request)
{
	concord_request_header(request, auth->header_name,
						   concord_secret_get(auth, "token") != NULL ?
						   concord_secret_text(auth, "token") :
						   concord_secret_text(auth, "secret"));
	return NULL;
}

static const char *const header_required[] = {
	"header_name", "token|token_file|secret|secret_file", NULL
};
static const char *const header_optional[] = {NULL};

const ConcordAuthScheme concord_auth_header = {
	"header", header_required, header_optional, header_apply
};
