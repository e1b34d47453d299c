/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  What all background workers of a database have in common.
 *
 * A worker's entry point calls concord_worker_start once, then loops: wait on
 * its latch, concord_worker_check, one turn.  On ERROR it exits and is started
 * again by the launcher, with a delay that grows.  The database's OID is
 * bgw_main_arg; what the worker is, and which courier, is in bgw_extra.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_WORKER_H
#define CONCORD_WORKER_H

#include "base/compat.h"

#include "base/shmem.h"

#define CONCORD_EXTENSION_NAME	"pg_concord"

/* Entry points; the names are looked up in the library. */
extern PGDLLEXPORT void concord_launcher_main(Datum main_arg);
extern PGDLLEXPORT void concord_scout_main(Datum main_arg);
extern PGDLLEXPORT void concord_decoder_main(Datum main_arg);
extern PGDLLEXPORT void concord_capture_main(Datum main_arg);
extern PGDLLEXPORT void concord_courier_main(Datum main_arg);
extern PGDLLEXPORT void concord_applier_main(Datum main_arg);
extern PGDLLEXPORT void concord_clerk_main(Datum main_arg);

/* concord_launcher_register adds the launcher; called by _PG_init only. */
extern void concord_launcher_register(void);

/*
 * concord_worker_start sets up signals, connects to the database as the
 * bootstrap superuser, registers the process in shared memory and returns the
 * database's entry.  index is 0 but for couriers.
 */
extern ConcordDatabase *concord_worker_start(Datum main_arg,
											 ConcordWorkerKind kind, int index);

/* concord_worker_index returns the number of this courier, from 0. */
extern int	concord_worker_index(void);

/*
 * concord_worker_check handles interrupts and configuration reload, and exits
 * when the launcher asks for it.  Call it once a turn, outside a transaction;
 * only the decoder, waiting for room in the queue, is in the middle of one.
 */
extern void concord_worker_check(void);

/*
 * concord_worker_wait sleeps until the latch is set, the timeout (ms) passes
 * or the postmaster dies (then it exits), resets the latch and checks as
 * above.  The wait event is PG_WAIT_EXTENSION.
 */
extern void concord_worker_wait(long timeout_ms);

/*
 * concord_worker_extension_exists says whether the extension is still there;
 * needs a transaction with a snapshot that is not old.
 */
extern bool concord_worker_extension_exists(void);

/*
 * concord_worker_capture_failed shows the error that ends this process, the
 * decoder or capture, in concord.capture.  Called while it is handled.
 */
extern void concord_worker_capture_failed(ConcordDatabase *db);

/*
 * concord_worker_gone tells the launcher that the extension is gone, so that
 * it ends this database's workers and drops the slot, and exits.
 */
extern void concord_worker_gone(void) pg_attribute_noreturn();

#endif							/* CONCORD_WORKER_H */
