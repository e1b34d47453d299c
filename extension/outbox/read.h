/*-------------------------------------------------------------------------
 *
 * read.h
 *	  Read events from the outbox in order.
 *
 * A reader holds no transaction, snapshot or lock between calls: each call
 * of concord_outbox_read needs a transaction and an active snapshot of the
 * caller's and finds what is committed by then.  seq has no visibility gaps,
 * because one writer appends in commit order.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_OUTBOX_READ_H
#define CONCORD_OUTBOX_READ_H

#include "outbox/event.h"

typedef struct ConcordOutboxReader ConcordOutboxReader;

/*
 * concord_outbox_open makes a reader that starts after seq.  sources names the
 * relations whose events are wanted (InvalidOid stands for messages); chunks
 * that hold none of them are skipped without unpacking.  NULL wants all.  The
 * reader and all it caches live in context.
 */
extern ConcordOutboxReader *concord_outbox_open(MemoryContext context,
												int64 after_seq,
												const Oid *sources,
												int nsources);

/*
 * concord_outbox_read returns an array of at most max_events events, and about
 * max_bytes of images, after the last one read; *nevents is 0 at the end of
 * what is committed.  *read_up_to is the seq up to which the caller now knows
 * everything (events that were skipped count).  The events stay valid until
 * the next call.  ERRCODE_DATA_CORRUPTED names the chunk that cannot be read.
 */
extern ConcordEvent *concord_outbox_read(ConcordOutboxReader *reader,
										 int max_events, Size max_bytes,
										 int *nevents, int64 *read_up_to);

/* concord_outbox_seek makes the next read start after seq. */
extern void concord_outbox_seek(ConcordOutboxReader *reader, int64 after_seq);

/* concord_outbox_relation fetches a stored definition by its id (cached). */
extern const ConcordRelation *concord_outbox_relation(ConcordOutboxReader *reader,
													  int32 id);

/* concord_outbox_last_seq returns the last committed seq, 0 where none is. */
extern int64 concord_outbox_last_seq(void);

/* concord_outbox_first_seq returns the oldest seq that is still kept. */
extern int64 concord_outbox_first_seq(void);

extern void concord_outbox_close(ConcordOutboxReader *reader);

#endif							/* CONCORD_OUTBOX_READ_H */
