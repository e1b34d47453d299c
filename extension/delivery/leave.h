/*-------------------------------------------------------------------------
 *
 * leave.h
 *	  Removing a record from the server that its row was routed to before.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_DELIVERY_LEAVE_H
#define CONCORD_DELIVERY_LEAVE_H

#include "delivery/delivery.h"

/* The ordering key of what is removed from a server, in the current context. */
extern char *concord_leave_key(int32 route, const char *local_key);

/*
 * concord_leave_write writes the leaves of all moves that have ended, in the
 * bookkeeping transaction that writes their links.
 */
extern void concord_leave_write(ConcordCourier *courier);

/*
 * concord_leave_apply makes memory agree with the row that a delivery left, after
 * the commit and before the delivery leaves its keys.
 */
extern void concord_leave_apply(ConcordCourier *courier, ConcordDelivery *d);

#endif							/* CONCORD_DELIVERY_LEAVE_H */
