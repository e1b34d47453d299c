/*-------------------------------------------------------------------------
 *
 * queue.c
 *	  The queue between the decoder worker and the capture worker.
 *
 * Crash story: a process that ends detaches from the segment, which detaches
 * it from the shm_mq, which its counterpart sees at the next call.  What was
 * in the queue and not committed is decoded again.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "capture/queue.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/memutils.h"

#define QUE_MAGIC		0x63630001
#define QUE_RING_SIZE	((Size) 4 * 1024 * 1024)
#define QUE_RING_AT		MAXALIGN(sizeof(ConcordQueueShared))

static void que_gone(void) pg_attribute_noreturn();

/*
 * que_gone ends this process: its counterpart has ended.  No ERROR, because
 * nothing is wrong here; both come again with a new queue.
 */
static void
que_gone(void)
{
	CHECK_FOR_INTERRUPTS();
	ereport(LOG,
			(errmsg("capture starts again, because one of its two workers has ended")));
	proc_exit(1);
}

/* concord_queue_create makes the queue and publishes it. */
ConcordQueue *
concord_queue_create(ConcordDatabase *db, XLogRecPtr slot_lsn,
					 XLogRecPtr progress)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	ConcordQueue *queue = palloc0(sizeof(ConcordQueue));
	shm_mq	   *mq;

	queue->segment = dsm_create(QUE_RING_AT + QUE_RING_SIZE, 0);
	dsm_pin_mapping(queue->segment);
	queue->shared = dsm_segment_address(queue->segment);
	queue->shared->magic = QUE_MAGIC;
	queue->shared->capture_pid = MyProcPid;
	pg_atomic_init_u64(&queue->shared->slot_lsn, slot_lsn);
	pg_atomic_init_u64(&queue->shared->progress, progress);
	pg_atomic_init_u64(&queue->shared->new_slot_lsn, InvalidXLogRecPtr);
	pg_atomic_init_u32(&queue->shared->gap, 0);
	mq = shm_mq_create((char *) queue->shared + QUE_RING_AT, QUE_RING_SIZE);
	shm_mq_set_receiver(mq, MyProc);
	queue->mq = shm_mq_attach(mq, queue->segment, NULL);
	MemoryContextSwitchTo(old);

	pg_write_barrier();
	pg_atomic_write_u32(&db->queue_handle, dsm_segment_handle(queue->segment));
	concord_shmem_wake(db, CONCORD_WORKER_DECODER);
	return queue;
}

/*
 * concord_queue_attach takes a published queue, or returns NULL.  The handle
 * is taken away last: should this fail half-way, capture would wait for ever
 * for a decoder that has nowhere to go.
 */
ConcordQueue *
concord_queue_attach(ConcordDatabase *db)
{
	dsm_handle	handle = pg_atomic_read_u32(&db->queue_handle);
	MemoryContext old;
	ConcordQueue *queue;
	dsm_segment *segment;
	shm_mq	   *mq;

	if (handle == 0)
		return NULL;
	old = MemoryContextSwitchTo(TopMemoryContext);
	segment = dsm_attach(handle);
	if (segment == NULL)
	{
		/* its maker has ended; another one will come */
		MemoryContextSwitchTo(old);
		return NULL;
	}
	dsm_pin_mapping(segment);
	queue = palloc0(sizeof(ConcordQueue));
	queue->segment = segment;
	queue->shared = dsm_segment_address(segment);
	if (queue->shared->magic != QUE_MAGIC)
		elog(ERROR, "queue of capture has a wrong magic number");
	mq = (shm_mq *) ((char *) queue->shared + QUE_RING_AT);
	shm_mq_set_sender(mq, MyProc);
	queue->mq = shm_mq_attach(mq, segment, NULL);
	(void) pg_atomic_compare_exchange_u32(&db->queue_handle, &handle, 0);
	MemoryContextSwitchTo(old);
	return queue;
}

/* concord_queue_send tries to send one write. */
bool
concord_queue_send(ConcordQueue *queue, const char *data, Size len)
{
	switch (shm_mq_send(queue->mq, len, data, true, true))
	{
		case SHM_MQ_SUCCESS:
			return true;
		case SHM_MQ_WOULD_BLOCK:
			return false;
		case SHM_MQ_DETACHED:
			break;
	}
	que_gone();
}

/* concord_queue_receive tries to receive one write. */
bool
concord_queue_receive(ConcordQueue *queue, const char **data, Size *len)
{
	void	   *received;

	switch (shm_mq_receive(queue->mq, len, &received, true))
	{
		case SHM_MQ_SUCCESS:
			*data = received;
			return true;
		case SHM_MQ_WOULD_BLOCK:
			return false;
		case SHM_MQ_DETACHED:
			break;
	}
	que_gone();
}

/* concord_queue_check ends the process where capture has gone. */
void
concord_queue_check(ConcordQueue *queue, ConcordDatabase *db)
{
	pid_t		pid;

	SpinLockAcquire(&db->mutex);
	pid = db->workers[CONCORD_WORKER_CAPTURE].pid;
	SpinLockRelease(&db->mutex);
	if (pid != queue->shared->capture_pid)
		que_gone();
}
