/*-------------------------------------------------------------------------
 *
 * none.c
 *	  Authentication scheme "none": the request goes as it is.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

static const char *const none_options[] = {NULL};

const ConcordAuthScheme concord_auth_none = {
	"none", none_options, none_options
};
