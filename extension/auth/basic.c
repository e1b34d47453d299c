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
	pfree(coded);
	pfree(value);
	return NULL;
}

static const char *const basic_required[] = {
	"username", "password|password_file", NULL
};
static const char *const basic_optional[] = {NULL};

const ConcordAuthScheme concord_auth_basic = {
	"basic", basic_required, basic_optional, basic_apply,
	.check = concord_encode_basic_check
};
