/*-------------------------------------------------------------------------
 *
 * capture_main.c
 *	  The worker that writes the outbox: capture/sink.c, turn after turn.
 *
 *-------------------------------------------------------------------------
 */
#include "workers/worker.h"

#include "base/bookkeeping.h"
#include "capture/sink.h"

/* cpm_loop works for ever. */
static void
cpm_loop(ConcordDatabase *db)
{
	ConcordSink *sink;
	bool		exists;

	concord_bookkeeping_begin();
	exists = concord_worker_extension_exists();
	concord_bookkeeping_commit(false);
	if (!exists)
		concord_worker_gone();

	sink = concord_sink_open(db);
	for (;;)
	{
		long		timeout = concord_sink_turn(sink);

		if (timeout > 0)
			concord_worker_wait(timeout);
		else
			concord_worker_check();
	}
}

/* concord_capture_main is the capture worker's entry point. */
void
concord_capture_main(Datum main_arg)
{
	ConcordDatabase *db = concord_worker_start(main_arg, CONCORD_WORKER_CAPTURE, 0);

	PG_TRY();
	{
		cpm_loop(db);
	}
	PG_CATCH();
	{
		concord_worker_capture_failed(db);
		PG_RE_THROW();
	}
	PG_END_TRY();
}
