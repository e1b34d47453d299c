/*-------------------------------------------------------------------------
 *
 * token.h
 *	  Tokens and sessions that were fetched, shared by all processes.
 *
 * A fixed number of slots in shared memory, keyed by server, role and a hash
 * of the credentials, so that changed credentials never meet an old token.
 * One process at a time fetches; the others see that it is busy.  A token is
 * never in a view, a log line or an error.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_AUTH_TOKEN_H
#define CONCORD_AUTH_TOKEN_H

#include "base/compat.h"

#include "datatype/timestamp.h"

#define CONCORD_TOKEN_MAX		8192
#define CONCORD_TOKEN_ERROR		256
#define CONCORD_TOKEN_DIGEST	32

typedef struct ConcordTokenKey
{
	Oid			dboid;
	Oid			serverid;
	Oid			roleid;
	uint8		digest[CONCORD_TOKEN_DIGEST];
} ConcordTokenKey;

/* A process's copy of a token; generation 0: none. */
typedef struct ConcordToken
{
	int			slot;
	uint64		generation;
	int64		expires;		/* by token.c's clock */
	char	   *value;			/* in the memory context of its owner */
} ConcordToken;

typedef enum ConcordTokenState
{
	CONCORD_TOKEN_VALID,		/* the copy is good */
	CONCORD_TOKEN_BUSY,			/* somebody is fetching one */
	CONCORD_TOKEN_CLAIMED,		/* the caller fetches it: store or fail */
	CONCORD_TOKEN_FAILED,		/* fetching failed, not to be tried now */
} ConcordTokenState;

/* concord_token_request registers the hooks; called by _PG_init only. */
extern void concord_token_request(void);

/*
 * concord_token_get looks for a token and copies a newer one into context.
 * Where there is none, the caller gets the claim to fetch one, for claim_ms
 * at most, unless another process has it or fetching failed a moment ago;
 * then *why is that failure.  eager: fetch in spite of failures.
 */
extern ConcordTokenState concord_token_get(const ConcordTokenKey *key,
										   ConcordToken *token,
										   MemoryContext context,
										   int claim_ms, bool eager,
										   const char **why);

/* concord_token_store ends a claim with a token, good for so many seconds. */
extern bool concord_token_store(const ConcordTokenKey *key, const char *value,
								double seconds);

/*
 * concord_token_fail ends a claim without one; refused: the credentials are
 * wrong, and trying again soon would not help (an account may be locked).
 */
extern void concord_token_fail(const ConcordTokenKey *key, const char *why,
							   bool refused);

/* concord_token_abandon gives a claim back. */
extern void concord_token_abandon(const ConcordTokenKey *key);

/* concord_token_forget drops a token that a system has refused. */
extern void concord_token_forget(const ConcordTokenKey *key,
								 uint64 generation);

#endif							/* CONCORD_AUTH_TOKEN_H */
