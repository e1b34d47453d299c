/*-------------------------------------------------------------------------
 *
 * decode.h
 *	  The decoder worker's work: WAL in, protocol messages out.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CAPTURE_DECODE_H
#define CONCORD_CAPTURE_DECODE_H

#include "capture/queue.h"

/*
 * concord_decode_run reads WAL from the queue's progress on, for ever.  check
 * is called once a turn and while it waits: interrupts, reload, exit.
 */
extern void concord_decode_run(ConcordDatabase *db, ConcordQueue *queue,
							   void (*check) (void)) pg_attribute_noreturn();

#endif							/* CONCORD_CAPTURE_DECODE_H */
