/*-------------------------------------------------------------------------
 *
 * courier_main.c
 *	  The process that carries events to systems: turn after turn.
 *
 * On an error it ends and is started again by the launcher: all state that
 * matters is in tables.  When it is asked to end it commits what has ended
 * first, so that less is asked about or sent twice.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "access/xact.h"
#include "base/bookkeeping.h"
#include "base/settings.h"
#include "delivery/delivery.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "workers/worker.h"

/* What malloc keeps of freed memory. */
#define CRM_KEEP_BYTES	(16 * 1024 * 1024)

/*
 * crm_asked_to_leave: a signal, DROP DATABASE, or fewer couriers are wanted and
 * what this one had is ended and given back.
 */
static bool
crm_asked_to_leave(const ConcordDatabase *db, ConcordCourier *courier, int index)
{
	return ProcDiePending || db->stop_requested ||
		(index >= concord_couriers && concord_courier_left(courier));
}

/*
 * crm_keep_memory has malloc keep what is freed: turn by turn a courier needs
 * as much as in the one before, and what goes back to the system meanwhile
 * comes again page by page, emptied by the kernel.
 */
static void
crm_keep_memory(void)
{
#ifdef __GLIBC__
	(void) mallopt(M_MMAP_THRESHOLD, CRM_KEEP_BYTES);
	(void) mallopt(M_TRIM_THRESHOLD, CRM_KEEP_BYTES);
#endif
}

/* crm_loop works until the process is asked to leave. */
static void
crm_loop(ConcordDatabase *db, int index)
{
	ConcordCourier *courier = concord_courier_create(db, index);

	while (!crm_asked_to_leave(db, courier, index))
	{
		concord_worker_check();
		concord_courier_turn(courier);
		if (courier->gone)
			concord_worker_gone();
	}
	if (ProcDiePending)
	{
		ProcDiePending = false;
		concord_courier_stop(courier);
	}
	proc_exit(0);
}

/* crm_gone says whether an error came from the extension's being dropped. */
static bool
crm_gone(void)
{
	bool		gone;

	AbortOutOfAnyTransaction();
	concord_bookkeeping_reset();
	StartTransactionCommand();
	gone = !concord_worker_extension_exists();
	CommitTransactionCommand();
	return gone;
}

/* concord_courier_main is the entry point. */
void
concord_courier_main(Datum main_arg)
{
	int			index = concord_worker_index();
	ConcordDatabase *db = concord_worker_start(main_arg, CONCORD_WORKER_COURIER,
											   index);

	crm_keep_memory();
	PG_TRY();
	{
		crm_loop(db, index);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(TopMemoryContext);
		error = CopyErrorData();
		FlushErrorState();
		if (crm_gone())
			concord_worker_gone();
		ReThrowError(error);
	}
	PG_END_TRY();
}
