/*-------------------------------------------------------------------------
 *
 * decoder.h
 *	  The output plugin's own state, shared by its files.
 *
 * One DecoderState lives as long as a LogicalDecodingContext.  Nothing here
 * is known to the extension, and nothing of the extension is known here; the
 * two share protocol.h alone.  The library is built with hidden visibility,
 * so these names meet no others in the process.
 *
 * Memory: the state, the relation cache and the output buffer live in the
 * state's context; whatever a change needs (detoasted values, results of
 * output functions) lives in change_context, which is reset after each change.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_DECODER_H
#define CONCORD_DECODER_H

#include "lib/stringinfo.h"
#include "replication/logical.h"
#include "replication/output_plugin.h"
#include "replication/reorderbuffer.h"

#include "encoder.h"
#include "options.h"
#include "relcache.h"
#include "stats.h"

/*
 * What a change carries is a HeapTuple from 17 on and was a buffer around
 * one before.
 */
#if PG_VERSION_NUM >= 170000
#define concord_change_tuple(t)	(t)
#else
#define concord_change_tuple(t)	((t) ? &(t)->tuple : NULL)
#endif

struct DecoderState
{
	LogicalDecodingContext *ctx;
	ConcordOptions options;
	const ConcordEncoder *encoder;

	MemoryContext context;		/* lives as long as this struct */
	MemoryContext change_context;	/* reset after each change */

	StringInfoData buf;			/* what has not been handed on yet */
	bool		hello_sent;		/* the stream's first message is out */
	uint32		last_relnum;	/* last number given to a definition */
	HTAB	   *definitions;	/* those with a number, by hash */
	HTAB	   *json_told;		/* definitions told, by relation */

	/* the transaction that is being replayed; see txn.c */
	ReorderBufferTXN *txn;
	bool		begun;			/* its BEGIN is out */
	uint32		ordinal;		/* of its last event */
	uint32		skipped;		/* changes filtered out in a row */
	bool	   *largest;		/* mark of the largest value of the event */
	Size		largest_size;
	StringInfoData position;	/* the encoder's text of its position */

	/* the relation cache; see relcache.c */
	HTAB	   *relations;
	ConcordRel *last_rel;		/* the entry used last, or NULL */
	bool		has_partitions; /* an entry with ancestors exists */
	bool		publications_valid;
	List	   *publications;	/* of Publication, while valid */
	List	   *publications_missed;	/* names of which a WARNING has told */
	MemoryContext publications_context;

	ConcordStats stats;			/* what was counted; see stats.c */
};

#define CONCORD_COUNT(state, counter)	((state)->stats.counts[counter]++)

/* in txn.c */
extern void concord_txn_start(DecoderState *state, ReorderBufferTXN *txn);
extern void concord_txn_event(DecoderState *state);
extern void concord_txn_end(DecoderState *state);
extern void concord_txn_skip(DecoderState *state, ConcordCounter why);
extern void concord_output_hello(DecoderState *state);
extern void concord_output_done(DecoderState *state, int start);
extern void concord_output_flush(DecoderState *state);

#endif							/* CONCORD_DECODER_H */
