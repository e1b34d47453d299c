/*-------------------------------------------------------------------------
 *
 * peer.h
 *	  Servers as a session's roles speak to them: options, credentials, limits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_LIVE_PEER_H
#define CONCORD_LIVE_PEER_H

#include "auth/auth.h"
#include "base/digest.h"
#include "connector/connector.h"
#include "lib/ilist.h"

/* A server as one role speaks to it. */
typedef struct ConcordPeer
{
	Oid			serverid;
	Oid			roleid;
	const ConcordServer *server;
	const ConcordAuth *auth;
	uint8		digest[CONCORD_SHA256_LENGTH];	/* of the options of both */
	ConcordAccount *account;	/* while it is pinned */
	bool		unbatched;		/* it was found to take no reads in a $batch */

	/* peer.c's own */
	dlist_node	node;
	MemoryContext context;
	bool		stale;			/* something it was made of has changed */
	bool		single;			/* made while definitions change: given to one
								 * caller only */
	uint64		generation;		/* of definitions, when it was made */
	uint64		transaction;	/* that used it last */
	int			pins;			/* requests */
} ConcordPeer;

/*
 * concord_peer_get returns a server as a role speaks to it, from the session's
 * memory where nothing has changed since.  It stays valid until the end of the
 * transaction.  Errors: ERRCODE_INSUFFICIENT_PRIVILEGE without USAGE on the
 * server, ERRCODE_UNDEFINED_OBJECT, ERRCODE_WRONG_OBJECT_TYPE where it is not
 * one of wrapper concord, CONCORD_ERRCODE_NOT_ALLOWED where its environment is
 * not ours.  Needs a transaction.
 */
extern ConcordPeer *concord_peer_get(Oid serverid, Oid roleid);

/* concord_peer_get_any does without the look at the environment. */
extern ConcordPeer *concord_peer_get_any(Oid serverid, Oid roleid);

/*
 * concord_peer_done is for who got a peer and has no use for it any more: one
 * that was read for this call only, in a transaction that has changed
 * definitions, is freed at once.
 */
extern void concord_peer_done(ConcordPeer *peer);

/* A request needs its peer, and the account, until it has ended. */
extern void concord_peer_pin(ConcordPeer *peer);
extern void concord_peer_unpin(ConcordPeer *peer);

#endif							/* CONCORD_LIVE_PEER_H */
