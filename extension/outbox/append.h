/*-------------------------------------------------------------------------
 *
 * append.h
 *	  Append chunks to the outbox.  The capture worker alone calls this.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_OUTBOX_APPEND_H
#define CONCORD_OUTBOX_APPEND_H

#include "outbox/chunk.h"

/*
 * concord_outbox_append stores chunks, in order, in the ring's current table,
 * after turning the ring where it is due.  Needs a bookkeeping transaction.
 */
extern void concord_outbox_append(ConcordChunk **chunks, int nchunks);

#endif							/* CONCORD_OUTBOX_APPEND_H */
