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
#include "auth/token.h"

#include <openssl/types.h>

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

#define CONCORD_AUTH_SECRETS	16
#define CONCORD_AUTH_OPTIONS	24

/* What Standard Webhooks puts before a secret, to say what it is. */
#define CONCORD_AUTH_WHSEC		"whsec_"

struct ConcordAuth
{
	const ConcordAuthScheme *scheme;
	MemoryContext context;		/* holds the secrets, and only them */
	bool		mapped;			/* the role has a user mapping with options */
	char	   *username;
	char	   *header_name;
	char	   *cert_file;		/* NULL: the server's, if it has one */
	char	   *key_file;
	int			nsecrets;
	ConcordSecret secrets[CONCORD_AUTH_SECRETS];
	int64		checked_at;		/* when files were last looked at, seconds */

	/* options that are not secret */
	int			noptions;
	ConcordHeader options[CONCORD_AUTH_OPTIONS];
	char	   *server_url;
	char	   *server_service; /* NULL: none */
	char	   *server_headers; /* option headers; NULL: none */

	/* of schemes that fetch a token or session */
	bool		super;			/* the role is a superuser */
	bool		eager;
	bool		key_ready;		/* false once a secret changed */
	ConcordTokenKey key;
	ConcordToken token;
	char	   *seen[2];		/* tokens used last, to hide them */
	uint64		seen_generation;
};

/* auth/secret.c */
extern void concord_secret_load(ConcordAuth *auth, List *options,
								const char *option);
extern void concord_secret_refresh(ConcordAuth *auth);
extern bool concord_secret_write(const char *path, const char *value);
extern const ConcordSecret *concord_secret_get(const ConcordAuth *auth,
											   const char *option);
extern char *concord_secret_text(const ConcordAuth *auth, const char *option);

/* auth/auth.c: an option that is not secret, NULL where not given */
extern const char *concord_auth_option(const ConcordAuth *auth,
									   const char *name);

/* auth/grant.c */
extern void concord_grant_attach(ConcordAuth *auth, ConcordRequest *request);
extern char *concord_grant_redact(const ConcordAuth *auth, char *text);
extern void concord_grant_wipe(ConcordAuth *auth);

/* auth/encode.c */
extern void concord_encode_percent(StringInfo buf, const char *text);
extern void concord_encode_form(StringInfo buf, const char *name,
								const char *value);
extern char *concord_encode_basic(const char *name, const char *password);
extern const char *concord_encode_basic_bad(const char *name,
											const char *password);
extern void concord_encode_basic_check(List *options);
extern char *concord_encode_hide(char *text, const char *secret);
extern bool concord_encode_printable(const char *text);
extern int	concord_encode_unhex(const char *text, int n);
extern char *concord_json_member(const char *json, Size len, const char *name);
extern char *concord_json_text(const char *json, Size len, const char *name);

/* auth/oauth.c: what all token endpoints have in common */
extern void concord_oauth_begin(const ConcordAuth *auth,
								ConcordRequest *request, StringInfo form,
								const char *grant_type);
extern void concord_oauth_end(ConcordRequest *request, StringInfo form);
extern const char *concord_oauth_apply(const ConcordAuth *auth,
									   ConcordRequest *request);
extern void concord_oauth_take(const ConcordResponse *response, void *keep,
							   ConcordGrant *grant);
extern bool concord_oauth_expired(const ConcordResponse *response);
extern void concord_oauth_check(List *options);

/* auth/sign.c: what signatures over a request have in common */
typedef struct ConcordAddress
{
	char	   *scheme;
	char	   *host;			/* as header Host has it */
	char	   *path;			/* encoded */
	char	   *query;			/* encoded */
} ConcordAddress;

extern void concord_sign_hmac(const void *key, Size key_len, const void *data,
							  Size len, uint8 *digest);
extern char *concord_sign_hex(const uint8 *bytes, Size len);
extern char *concord_sign_sha256(const void *data, Size len);
extern char *concord_sign_lower(const char *text);
extern const char *concord_sign_address(const char *address,
										ConcordAddress *parts);
extern char *concord_sign_query(const char *query, const ConcordHeader *more,
								int n);

/* auth/key.c: private keys */
extern EVP_PKEY *concord_key_read(const ConcordAuth *auth);
extern unsigned char *concord_key_sign(EVP_PKEY *key, const char *bytes,
									   Size len, Size *sig_len);

/* one scheme per file */
extern const ConcordAuthScheme concord_auth_none;
extern const ConcordAuthScheme concord_auth_basic;
extern const ConcordAuthScheme concord_auth_bearer;
extern const ConcordAuthScheme concord_auth_header;
extern const ConcordAuthScheme concord_auth_hmac;
extern const ConcordAuthScheme concord_auth_oauth2;
extern const ConcordAuthScheme concord_auth_oauth2_refresh;
extern const ConcordAuthScheme concord_auth_oauth2_jwt;
extern const ConcordAuthScheme concord_auth_oauth2_saml;
extern const ConcordAuthScheme concord_auth_oauth1;
extern const ConcordAuthScheme concord_auth_sigv4;
extern const ConcordAuthScheme concord_auth_session;

/* auth/hmac.c: NULL where it is not base64, or too short */
extern char *concord_hmac_key(const char *secret, Size len, int *key_len);

#endif							/* CONCORD_AUTH_SCHEMES_H */
