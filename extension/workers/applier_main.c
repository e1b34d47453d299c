/*-------------------------------------------------------------------------
 *
 * applier_main.c
 *	  The process that applies what comes in.
 *
 * It runs where a mapping of the database takes records in by itself, or
 * something is in the inbox; the clerk says so.  On an error it ends and is
 * started again: all state is in tables.
 *
 *-------------------------------------------------------------------------
 */
#include "workers/worker.h"

#include "inbound/fetch.h"
#include "inbound/match.h"
#include "inbound/pull.h"
#include "inbound/queue.h"
#include "miscadmin.h"
#include "storage/ipc.h"

/* Pulls, and records to be looked up, are looked for so often. */
#define APL_PULLS_MS	1000

/* concord_applier_main is the entry point. */
void
concord_applier_main(Datum main_arg)
{
	ConcordDatabase *db = concord_worker_start(main_arg, CONCORD_WORKER_APPLIER, 0);

	for (;;)
	{
		long		ms;
		bool		busy;

		concord_worker_check();
		if (!db->applier_wanted)
			proc_exit(0);
		busy = concord_match_due();
		busy |= concord_pull_due();
		busy |= concord_fetch_due();
		ms = Min(concord_inbound_turn(), APL_PULLS_MS);
		if (ms > 0 && !busy)
			concord_worker_wait(ms);
	}
}
