/*-------------------------------------------------------------------------
 *
 * sink.h
 *	  The capture worker's work: protocol messages in, outbox out.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CAPTURE_SINK_H
#define CONCORD_CAPTURE_SINK_H

#include "base/shmem.h"

typedef struct ConcordSink ConcordSink;

/*
 * concord_sink_open reads where capture stands, makes the queue and publishes
 * it for the decoder.
 */
extern ConcordSink *concord_sink_open(ConcordDatabase *db);

/*
 * concord_sink_turn takes what is in the queue, commits what is due, and
 * returns how long to wait for the latch before the next turn, in ms; 0 where
 * there is more to do at once.
 */
extern long concord_sink_turn(ConcordSink *sink);

#endif							/* CONCORD_CAPTURE_SINK_H */
