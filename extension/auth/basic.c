/*-------------------------------------------------------------------------
 *
 * basic.c
 *	  Authentication scheme "basic": user name and password (RFC 7617).
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

#include "common/base64.h"

/* basic_apply adds the header Authorization. */
static void
basic_apply(const ConcordAuth *auth, ConcordRequest *request)
{
	char	   *plain = psprintf("%s:%s", auth->username,
								 concord_secret_text(auth, "password"));
	int			len = strlen(plain);
	int			size = pg_b64_enc_len(len);
	char	   *value = palloc(sizeof("Basic ") + size + 1);
	int			used;

	memcpy(value, "Basic ", 6);
	used = pg_b64_encode((const void *) plain, len, value + 6, size);
	value[6 + Max(used, 0)] = '\0';
	concord_request_header(request, "Authorization", value);
	explicit_bzero(plain, len);
	explicit_bzero(value, 6 + Max(used, 0));
	pfree(plain);
	pfree(value);
}

static const char *const basic_required[] = {
	"username", "password|password_file", NULL
};
static const char *const basic_optional[] = {NULL};

const ConcordAuthScheme concord_auth_basic = {
	"basic", basic_required, basic_optional, basic_apply
};
