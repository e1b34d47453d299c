/*-------------------------------------------------------------------------
 *
 * none.c
 *	  Authentication scheme "none": the request goes as it is.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

/* none_apply adds nothing. */
static void
none_apply(const ConcordAuth *auth, ConcordRequest *request)
{
}

static const char *const none_options[] = {NULL};

const ConcordAuthScheme concord_auth_none = {
	"none", none_options, none_options, none_apply
};
