/*-------------------------------------------------------------------------
 *
 * decoder_main.c
 *	  The worker that reads WAL: waits for a queue, then capture/decode.c.
 *
 *-------------------------------------------------------------------------
 */
#include "workers/worker.h"

#include "capture/decode.h"

#define DCM_WAIT_MS		1000

/* concord_decoder_main is the decoder worker's entry point. */
void
concord_decoder_main(Datum main_arg)
{
	ConcordDatabase *db = concord_worker_start(main_arg, CONCORD_WORKER_DECODER, 0);
	ConcordQueue *queue;

	while ((queue = concord_queue_attach(db)) == NULL)
		concord_worker_wait(DCM_WAIT_MS);
	PG_TRY();
	{
		concord_decode_run(db, queue, concord_worker_check);
	}
	PG_CATCH();
	{
		concord_worker_capture_failed(db);
		PG_RE_THROW();
	}
	PG_END_TRY();
}
