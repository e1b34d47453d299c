/*-------------------------------------------------------------------------
 *
 * lease.h
 *	  Which courier serves a lane: at most one does.
 *
 * lease.c says why that is so, also when couriers end or crash.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_DELIVERY_LEASE_H
#define CONCORD_DELIVERY_LEASE_H

/* concord_lease_request asks for shared memory; called by _PG_init only. */
extern void concord_lease_request(void);

/*
 * concord_lease_take makes this process the only one that serves a share of a
 * mapping; false where another one does.  It does not count: taken twice it is
 * given back once.  Needs no transaction.
 */
extern bool concord_lease_take(int32 mapping, int share);

/* concord_lease_give gives it back, once nothing of the lane is under way. */
extern void concord_lease_give(int32 mapping, int share);

#endif							/* CONCORD_DELIVERY_LEASE_H */
