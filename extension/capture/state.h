/*-------------------------------------------------------------------------
 *
 * state.h
 *	  The progress row, concord.capture_state.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CAPTURE_STATE_H
#define CONCORD_CAPTURE_STATE_H

#include "base/compat.h"

#include "access/xlogdefs.h"

typedef struct ConcordCaptureState
{
	XLogRecPtr	slot_lsn;		/* where our slot began; invalid: none */
	XLogRecPtr	progress;		/* transactions that end here or before are in
								 * the outbox whole */
	XLogRecPtr	partial_lsn;	/* end of a transaction that is in it in part */
	uint32		partial_ordinal;	/* up to this event */
	int64		last_seq;
	int64		events;
	int64		forged;			/* messages that were dropped */
} ConcordCaptureState;

/* Both need a bookkeeping transaction. */
extern void concord_capture_state_read(ConcordCaptureState *state);
extern void concord_capture_state_write(const ConcordCaptureState *state);

#endif							/* CONCORD_CAPTURE_STATE_H */
