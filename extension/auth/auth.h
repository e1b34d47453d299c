/*-------------------------------------------------------------------------
 *
 * auth.h
 *	  Credentials of a user mapping, applied to requests.
 *
 * One scheme per file behind ConcordAuthScheme.  Secrets are kept in a context
 * of their own and never enter an error, a log line or a view.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_AUTH_H
#define CONCORD_AUTH_H

#include "http/http.h"

#include "nodes/pg_list.h"

typedef struct ConcordAuth ConcordAuth;

/* What a request for a token or session has brought; see auth/grant.c. */
typedef struct ConcordGrant
{
	const char *value;			/* NULL: failed */
	double		seconds;		/* how long it is good */
	const char *why;			/* it failed */
	bool		refused;		/* the credentials are wrong */
} ConcordGrant;

typedef struct ConcordAuthScheme
{
	const char *name;
	/* options it needs ("a|b": one of them) and takes; NULL-terminated */
	const char *const *required;
	const char *const *optional;

	/*
	 * apply adds what the scheme needs to a complete request, when that is
	 * about to be sent; it returns NULL, or why the request cannot be signed.
	 * Scheme none has no apply.
	 */
	const char *(*apply) (const ConcordAuth *auth, ConcordRequest *request);

	/*
	 * Of schemes that need a token or session first, NULL of others.  fetch
	 * makes the request for it; it returns NULL or why it cannot.  take reads
	 * the answer, in the request's context; when it is called, the
	 * credentials may be gone: what it needs of them is in keep.  expired
	 * says whether an answer speaks of a token that is not valid any more.
	 */
	const char *(*fetch) (const ConcordAuth *auth, ConcordRequest *request,
						  void **keep);
	void		(*take) (const ConcordResponse *response, void *keep,
						 ConcordGrant *grant);
	bool		(*expired) (const ConcordResponse *response);
	/* check raises where options do not fit together; may be NULL */
	void		(*check) (List *options);
} ConcordAuthScheme;

/*
 * concord_auth_check raises where the options of a user mapping do not name a
 * scheme of this version or lack what it needs.
 */
extern void concord_auth_check(List *options);

/*
 * concord_auth_load reads the user mapping of a role on a server into context
 * (files are read as of now and read again when they change).  A role without
 * a user mapping has scheme "none"; PUBLIC's is not used for a definer's work.
 * Needs a transaction; checks USAGE on the server as that role:
 * ERRCODE_INSUFFICIENT_PRIVILEGE.
 */
extern ConcordAuth *concord_auth_load(Oid serverid, Oid roleid,
									  MemoryContext context);

/*
 * concord_auth_review looks again at what the role may do, which its attributes
 * say.  Needs a transaction.
 */
extern void concord_auth_review(ConcordAuth *auth);

/* concord_auth_given says whether the role has a user mapping with options. */
extern bool concord_auth_given(const ConcordAuth *auth);

/*
 * concord_auth_eager makes the next request try to get a token although
 * getting one has just failed: a person wants to know.
 */
extern void concord_auth_eager(ConcordAuth *auth);

/*
 * concord_auth_apply is called once per attempt, last, on a whole request.  It
 * puts a gate (http.h) before the request, and the credentials are added when
 * the engine starts it: a signature's time is then that of sending, and where a
 * token has to be fetched first the request waits.  auth must outlive it.
 */
extern void concord_auth_apply(const ConcordAuth *auth,
							   ConcordRequest *request);

/* A signature that came with a message, and what it is of. */
typedef struct ConcordSigned
{
	const char *signature;		/* as it came; NULL: none did */
	const char *prefix;			/* before each; NULL: nothing */
	const char *separator;		/* between several; NULL: there is one */
	bool		token;			/* it is the secret itself */
	bool		hex;			/* rather than base64 */
	bool		base64_secret;	/* the secret is base64 of the key */
	const char *bytes;			/* what is signed */
	Size		len;
} ConcordSigned;

/* concord_auth_receives says whether there is a secret for what comes in. */
extern bool concord_auth_receives(const ConcordAuth *auth);

/*
 * concord_auth_signed says whether a message's signature was made with option
 * receive_secret, or with previous_receive_secret.  HMAC-SHA-256 (RFC 2104),
 * compared in constant time.  verify.c
 */
extern bool concord_auth_signed(const ConcordAuth *auth,
								const ConcordSigned *given);

/*
 * concord_auth_redact returns text without any secret of auth, in the current
 * context.
 */
extern char *concord_auth_redact(const ConcordAuth *auth, const char *text);

#endif							/* CONCORD_AUTH_H */
