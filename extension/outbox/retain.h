/*-------------------------------------------------------------------------
 *
 * retain.h
 *	  Give back outbox space that nobody needs any more.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_OUTBOX_RETAIN_H
#define CONCORD_OUTBOX_RETAIN_H

#include "base/compat.h"

/*
 * concord_outbox_retain truncates the closed tables of the ring that are older
 * than pg_concord.outbox_retention and that every lane has left.  Called by
 * the clerk worker, with no transaction open; it makes its own.
 */
extern void concord_outbox_retain(void);

#endif							/* CONCORD_OUTBOX_RETAIN_H */
