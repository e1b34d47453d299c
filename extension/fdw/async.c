/*-------------------------------------------------------------------------
 *
 * async.c
 *	  Asynchronous execution: an Append that reads several systems at once.
 *
 * A scan that has no row at hand sends its request and says so; Append waits for
 * all of them and asks the one whose descriptor became readable.  That may be
 * only a part of an answer, or a timer of libcurl's: it goes on waiting then.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/scan.h"

#include "executor/execAsync.h"
#include "executor/executor.h"
#include "fdw/plan.h"
#include "fdw/routine.h"
#include "storage/latch.h"

/* concord_fdw_async_capable says whether a path may be executed so. */
bool
concord_fdw_async_capable(ForeignPath *path)
{
	RelOptInfo *rel = path->path.parent;
	ConcordPlanned *planned = rel->fdw_private;

	/* a count is waited for */
	return IS_SIMPLE_REL(rel) && planned != NULL && planned->table->async_capable;
}

/* asy_produce gives Append a row, the end, or word that it has to wait. */
static void
asy_produce(AsyncRequest *areq)
{
	ForeignScanState *node = (ForeignScanState *) areq->requestee;
	ConcordScan *scan = node->fdw_state;
	TupleTableSlot *result = node->ss.ps.ExecProcNodeReal(&node->ss.ps);

	if (!TupIsNull(result) || scan->ended)
	{
		ExecAsyncRequestDone(areq, TupIsNull(result) ? NULL : result);
		return;
	}
	concord_reader_send(scan->reader);
	concord_live_drive();
	ExecAsyncRequestPending(areq);
}

/* concord_fdw_async_request: Append wants a row. */
void
concord_fdw_async_request(AsyncRequest *areq)
{
	asy_produce(areq);
}

/* concord_fdw_async_wait: Append is going to wait. */
void
concord_fdw_async_wait(AsyncRequest *areq)
{
	ForeignScanState *node = (ForeignScanState *) areq->requestee;
	ConcordScan *scan = node->fdw_state;
	AppendState *requestor = (AppendState *) areq->requestor;
	int			descriptor = concord_reader_descriptor(scan->reader);

	Assert(areq->callback_pending);
	if (descriptor >= 0)
		AddWaitEventToSet(requestor->as_eventset, WL_SOCKET_READABLE, descriptor,
						  NULL, areq);
}

/* concord_fdw_async_notify: something has come, or time is over. */
void
concord_fdw_async_notify(AsyncRequest *areq)
{
	concord_live_drive();
	asy_produce(areq);
}
