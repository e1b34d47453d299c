/*-------------------------------------------------------------------------
 *
 * wake.c
 *	  The applier is told, at commit, that the inbox has something for it.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "access/xact.h"
#include "base/shmem.h"
#include "miscadmin.h"

static bool wak_wanted = false;
static bool wak_registered = false;

/* wak_ended is called when a transaction ends. */
static void
wak_ended(XactEvent event, void *arg)
{
	ConcordDatabase *db;

	if (!wak_wanted)
		return;
	switch (event)
	{
		case XACT_EVENT_COMMIT:
			wak_wanted = false;
			db = concord_shmem_database(MyDatabaseId);
			if (db != NULL)
				concord_shmem_wake(db, CONCORD_WORKER_APPLIER);
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			wak_wanted = false;
			break;
		default:
			break;
	}
}

/* concord_inbound_wake notes that the applier is to look. */
void
concord_inbound_wake(void)
{
	if (!wak_registered)
	{
		RegisterXactCallback(wak_ended, NULL);
		wak_registered = true;
	}
	wak_wanted = true;
}
