/*-------------------------------------------------------------------------
 *
 * flush.h
 *	  When a walsender's output leaves the process.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FLUSH_H
#define CONCORD_FLUSH_H

#include "encoder.h"

extern void concord_flush_start(DecoderState *state);
extern void concord_flush_end(DecoderState *state);
extern bool concord_flush_hold(DecoderState *state, const char *data, Size len);
extern void concord_flush_now(void);
extern void concord_flush_before(const ReorderBufferTXN *txn);
extern bool concord_flush_committed(DecoderState *state,
									const ReorderBufferTXN *txn, bool sent);

#endif							/* CONCORD_FLUSH_H */
