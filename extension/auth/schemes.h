/*-------------------------------------------------------------------------
 *
 * schemes.h
 *	  What authentication schemes see of a credential; private to auth/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_AUTH_SCHEMES_H
#define CONCORD_AUTH_SCHEMES_H

#include "auth/auth.h"

/*
 * A secret: given as text, or read from a file that is read again when it
 * changes.
 */
typedef struct ConcordSecret
{
	const char *option;			/* name of the option, without _file */
	char	   *path;			/* NULL: given as text */
	char	   *value;			/* NULL: not given */
	Size		len;

	/* of the file when it was read */
	int64		mtime_ns;
	int64		size;
} ConcordSecret;

#define CONCORD_AUTH_SECRETS	4

/* What Standard Webhooks puts before a secret, to say what it is. */
#define CONCORD_AUTH_WHSEC		"whsec_"

struct ConcordAuth
{
	const ConcordAuthScheme *scheme;
	MemoryContext context;		/* holds the secrets, and only them */
	bool		mapped;			/* the role has a user mapping with options */
	char	   *username;
	char	   *header_name;
	int			nsecrets;
	ConcordSecret secrets[CONCORD_AUTH_SECRETS];
	int64		checked_at;		/* when files were last looked at, seconds */
};

/* auth/secret.c */
extern void concord_secret_load(ConcordAuth *auth, List *options,
								const char *option);
extern void concord_secret_refresh(ConcordAuth *auth);
extern const ConcordSecret *concord_secret_get(const ConcordAuth *auth,
											   const char *option);
extern char *concord_secret_text(const ConcordAuth *auth, const char *option);

/* one scheme per file */
extern const ConcordAuthScheme concord_auth_none;
extern const ConcordAuthScheme concord_auth_basic;
extern const ConcordAuthScheme concord_auth_bearer;
extern const ConcordAuthScheme concord_auth_header;
extern const ConcordAuthScheme concord_auth_hmac;

/* auth/hmac.c: NULL where it is not base64, or too short */
extern char *concord_hmac_key(const char *secret, Size len, int *key_len);

#endif							/* CONCORD_AUTH_SCHEMES_H */
