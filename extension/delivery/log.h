/*-------------------------------------------------------------------------
 *
 * log.h
 *	  The log of finished deliveries: which table, what, and how long.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_DELIVERY_LOG_H
#define CONCORD_DELIVERY_LOG_H

#include "base/compat.h"

#include "delivery/delivery.h"

extern int	concord_log_table(TimestampTz now);
extern void concord_log_write(ConcordCourier *courier);

/* concord_log_payload notes the hash of the body that was sent last. */
extern void concord_log_payload(ConcordDelivery *d);

/*
 * concord_delivery_retain removes what is too old; called by the clerk, with no
 * transaction open.  False: there may be more.
 */
extern bool concord_delivery_retain(void);

#endif							/* CONCORD_DELIVERY_LOG_H */
