/*-------------------------------------------------------------------------
 *
 * linkread.h
 *	  concord.link_item as a courier reads and writes it, past the executor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_DELIVERY_LINKREAD_H
#define CONCORD_DELIVERY_LINKREAD_H

#include "base/compat.h"

#include "delivery/delivery.h"

/* Columns of concord.link_item. */
enum
{
	CONCORD_LINK_MAPPING,
	CONCORD_LINK_LOCAL_KEY,
	CONCORD_LINK_REMOTE_ID,
	CONCORD_LINK_ETAG,
	CONCORD_LINK_HASH,
	CONCORD_LINK_SEQ,
	CONCORD_LINK_PRESENT,
	CONCORD_LINK_CHANGED_AT,
	CONCORD_LINK_ASSIGNED,
	CONCORD_LINK_COVERED,
	CONCORD_LINK_FIELDS,
	CONCORD_LINK_ROUTE,
	CONCORD_LINK_BASE,
	CONCORD_LINK_REMOTE_CHANGED,
	CONCORD_LINK_NCOLUMNS
};

extern const char *concord_link_key(const ConcordDelivery *d);
extern void concord_link_read(ConcordDelivery **ds, int n);

#endif							/* CONCORD_DELIVERY_LINKREAD_H */
