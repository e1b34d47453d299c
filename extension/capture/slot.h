/*-------------------------------------------------------------------------
 *
 * slot.h
 *	  Life cycle of the replication slot that capture reads.
 *
 * One slot for each database, pg_concord_<oid of the database>.  The decoder
 * worker makes it and owns it while it runs; the launcher drops it once the
 * extension or the database has gone.
 *
 *		no slot recorded ──make, wait for consistency──► recorded ──► running
 *		recorded, and it does not fit ──► gap: stopped, said why
 *		gap ──concord.reset_capture()──► no slot recorded
 *
 * What fits: confirmed_flush <= progress, always, because the slot is
 * confirmed only up to a progress row that is flushed.  Anything else (slot
 * missing, invalidated, advanced or made anew by somebody) means that WAL may
 * have been missed, which is never passed over in silence.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CAPTURE_SLOT_H
#define CONCORD_CAPTURE_SLOT_H

#include "base/shmem.h"

#include "replication/logical.h"

/*
 * concord_slot_make drops a slot of our name, if there is one, makes it anew
 * and waits until it is consistent; the slot stays acquired.  Returns where it
 * begins.  Waits without limit for transactions that run (interruptible;
 * concord.capture shows them as blockers): giving up would mean to begin the
 * wait again.
 */
extern XLogRecPtr concord_slot_make(ConcordDatabase *db,
									XLogReaderRoutine *reader);

/*
 * concord_slot_check compares the slot with the progress row.  NULL where it
 * fits, else what is wrong.
 */
extern const char *concord_slot_check(Oid dboid, XLogRecPtr progress);

/* concord_slot_acquire makes the slot this process's own. */
extern void concord_slot_acquire(Oid dboid);

/* concord_slot_confirm moves the acquired slot; cheap where nothing changes. */
extern void concord_slot_confirm(XLogRecPtr lsn);

#endif							/* CONCORD_CAPTURE_SLOT_H */
