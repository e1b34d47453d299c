/*-------------------------------------------------------------------------
 *
 * basic.c
 *	  Authentication scheme "basic": user name and password (RFC 7617).
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

/* basic_apply adds the header Authorization. */
static const char *
basic_apply(const ConcordAuth *auth, ConcordRequest *request)
{
	char	   *coded = concord_encode_basic(auth->username,
											 concord_secret_text(auth, "password"));
	char	   *value = psprintf("Basic %s", coded);

	concord_request_header(request, "Authorization", value);
	explicit_bzero(coded, strlen(coded));
	explicit_bzero(value, strlen(value));
	pfree(coded);
	pfree(value);
	return NULL;
}

static const char *const basic_required[] = {
	"username", "password|password_file", NULL
};
static const char *const basic_optional[] = {NULL};

const ConcordAuthScheme concord_auth_basic = {
	"basic", basic_required, basic_optional, basic_apply
};
