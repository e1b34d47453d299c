/*-------------------------------------------------------------------------
 *
 * stats.h
 *	  Counters of the output plugin, one entry per replication slot.
 *
 * Entry i belongs to the slot at index i of the server's array.  It is written
 * by the process that has acquired the slot, and reset by others; a spinlock
 * per entry is held for some thirty additions.  ReplicationSlotControlLock may
 * be held around it, nothing is taken inside.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_STATS_BASE_H
#define CONCORD_STATS_BASE_H

#include "base/compat.h"

/* concord_stats_size is what the entries take in shared memory. */
extern Size concord_stats_size(void);

/*
 * concord_stats_attach makes the entries, or finds them; called with
 * AddinShmemInitLock held.
 */
extern void concord_stats_attach(void);

/*
 * concord_stats_offer leaves the table of functions where the plugin looks for
 * it; called by _PG_init only, where the library is preloaded.
 */
extern void concord_stats_offer(void);

#endif							/* CONCORD_STATS_BASE_H */
