/*-------------------------------------------------------------------------
 *
 * queue.h
 *	  The queue between the decoder worker and the capture worker.
 *
 * The capture worker makes it, in dynamic shared memory, with what the decoder
 * has to know to start, and publishes its handle in ConcordDatabase; the
 * decoder takes the handle away (so that no second decoder can) and attaches.
 * A queue serves one pair of processes: when either ends, the other sees the
 * queue detached and exits, and the launcher starts a new pair.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CAPTURE_QUEUE_H
#define CONCORD_CAPTURE_QUEUE_H

#include "base/shmem.h"

#include "storage/dsm.h"
#include "storage/shm_mq.h"

/* What stands in front of the queue. */
typedef struct ConcordQueueShared
{
	uint32		magic;

	pid_t		capture_pid;	/* its maker */

	/* capture to decoder */
	pg_atomic_uint64 slot_lsn;	/* where the recorded slot was made; 0: make
								 * one, dropping any that has its name */
	pg_atomic_uint64 progress;	/* in the progress row, flushed: start here,
								 * confirm up to here */

	/* decoder to capture */
	pg_atomic_uint64 new_slot_lsn;	/* the slot just made is consistent from
									 * here; capture records it, then sets
									 * slot_lsn and progress */
	pg_atomic_uint32 gap;		/* the slot does not fit the progress row */
} ConcordQueueShared;

typedef struct ConcordQueue
{
	dsm_segment *segment;
	ConcordQueueShared *shared;
	shm_mq_handle *mq;
} ConcordQueue;

/* concord_queue_create makes the queue and publishes it; capture only. */
extern ConcordQueue *concord_queue_create(ConcordDatabase *db,
										  XLogRecPtr slot_lsn,
										  XLogRecPtr progress);

/* concord_queue_attach takes a published queue, or returns NULL; decoder only. */
extern ConcordQueue *concord_queue_attach(ConcordDatabase *db);

/*
 * concord_queue_send tries to send one write; false where the queue is full:
 * call it again with the same bytes once the latch is set.  Ends the process
 * where capture has gone.
 */
extern bool concord_queue_send(ConcordQueue *queue, const char *data, Size len);

/*
 * concord_queue_receive tries to receive one write, which stays valid until
 * the next call; false where there is none.
 */
extern bool concord_queue_receive(ConcordQueue *queue, const char **data,
								  Size *len);


/*
 * concord_queue_check ends the process, too, where capture has gone; a
 * decoder that has nothing to send calls it when it wakes up.
 */
extern void concord_queue_check(ConcordQueue *queue, ConcordDatabase *db);

#endif							/* CONCORD_CAPTURE_QUEUE_H */
