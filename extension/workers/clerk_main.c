/*-------------------------------------------------------------------------
 *
 * clerk_main.c
 *	  The worker that keeps a database's house.
 *
 * It notices within two seconds that the extension is gone where no commit
 * said so (DROP EXTENSION in a prepared transaction, or in a session that was
 * started before the library was loaded), and calls what runs on a timer.
 *
 *-------------------------------------------------------------------------
 */
#include "workers/worker.h"

#include "base/bookkeeping.h"
#include "base/clock.h"
#include "capture/notes.h"
#include "catalog/alert.h"
#include "delivery/log.h"
#include "inbound/queue.h"
#include "inbound/receive.h"
#include "outbox/retain.h"

#define CLK_TURN_MS			1500
#define CLK_RETENTION_MS	60000

/* clk_applier has the launcher start the applier, or lets that end. */
static void
clk_applier(ConcordDatabase *db, bool wanted)
{
	bool		changed;

	SpinLockAcquire(&db->mutex);
	changed = db->applier_wanted != wanted;
	db->applier_wanted = wanted;
	SpinLockRelease(&db->mutex);
	if (!changed)
		return;
	if (wanted)
		concord_shmem_wake_launcher();
	else
		concord_shmem_wake(db, CONCORD_WORKER_APPLIER);
}

/*
 * clk_extension_exists looks for the extension, and for what comes in, in a
 * transaction of its own.
 */
static bool
clk_extension_exists(ConcordDatabase *db)
{
	bool		needed = false;
	bool		exists;

	concord_bookkeeping_begin();
	exists = concord_worker_extension_exists();
	if (exists)
		needed = concord_inbound_needed();
	concord_bookkeeping_commit(false);
	clk_applier(db, needed);
	return exists;
}

/* clk_alerts tells who listens of new alerts. */
static void
clk_alerts(void)
{
	concord_bookkeeping_begin();
	concord_alert_tell();
	concord_bookkeeping_commit(false);
}

/* concord_clerk_main is the clerk's entry point. */
void
concord_clerk_main(Datum main_arg)
{
	ConcordDatabase *db;
	int64		retained = 0;
	bool		done = true;

	db = concord_worker_start(main_arg, CONCORD_WORKER_CLERK, 0);
	for (;;)
	{
		if (!clk_extension_exists(db))
			concord_worker_gone();
		clk_alerts();
		if (!done || concord_clock_passed(retained, CLK_RETENTION_MS))
		{
			concord_outbox_retain();
			done = concord_delivery_retain();
			done &= concord_notes_retain();
			done &= concord_alert_retain(0);
			done &= concord_receive_retain();
			concord_inbound_retain();
			retained = concord_clock_steady();
		}
		concord_worker_wait(CLK_TURN_MS);
	}
}
