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

#include "compat.h"
#include "encoder.h"
#include "options.h"
#include "relcache.h"
#include "stats.h"

/* What is being done for a change; see concord_txn_recover(). */
typedef enum ConcordDoing
{
	CONCORD_DOING_NOTHING,
	CONCORD_DOING_CHANGE,
	CONCORD_DOING_EVENT,		/* it has an ordinal and is being written */
} ConcordDoing;

struct DecoderState
{
	LogicalDecodingContext *ctx;
	ConcordOptions options;
	const ConcordEncoder *encoder;

	MemoryContext context;		/* lives as long as this struct */
	MemoryContext change_context;	/* reset after each change */

	StringInfoData buf;			/* what has not been handed on yet */
	int			complete;		/* bytes of it that are whole messages */
	ConcordDoing doing;			/* what an ERROR would come out of */
	bool		hello_sent;		/* the stream's first message is out */
	uint32		last_relnum;	/* last number given to a definition */
	HTAB	   *definitions;	/* those with a number, by hash */
	HTAB	   *json_told;		/* definitions told, by relation */
	struct DbzState *debezium;	/* of that format */

	/* the transaction that is being replayed; see txn.c */
	ReorderBufferTXN *txn;		/* never a subtransaction */
	const char *gid;			/* where it is decoded at PREPARE, or NULL */
	bool		begun;			/* its BEGIN is out, or that of its block */
	bool		streaming;		/* in a block of a transaction in progress */
	ReorderBufferTXN *subtxn;	/* there: whose change it is */
	TransactionId subxid;		/* there: whose the event is */
	uint32		ordinal;		/* of its last event */
	XLogRecPtr	change_lsn;		/* id of the event: LSN of the change's
								 * record, */
	uint32		change_number;	/* and number of the change in that */
	uint32		skipped;		/* changes filtered out in a row */
	bool	   *largest;		/* mark of the largest value of the event */
	Size		largest_size;
	struct ConcordRowFailure *failures; /* of its values; see row.c */
	bool		verifying;		/* look at the bytes of each value */
	HTAB	   *warned;			/* columns of which a WARNING has told */
	StringInfoData position;	/* the encoder's text of its position */

	/* replication origins; see origin.c */
	bool		origins_valid;
	int			norigins;
	RepOriginId *origins;		/* those that option origin names */
	RepOriginId origin_named;	/* the one whose name is known, if any */
	char	   *origin_name;

	/* the relation cache; see relcache.c */
	HTAB	   *relations;
	ConcordRel *last_rel;		/* the entry used last, or NULL */
	HTAB	   *depended_on;	/* OIDs of relations that entries depend on */
	long		sweep_at;		/* as many entries are too many */
	uint64		generation;		/* entries of an older one are not valid */
	bool		publications_valid;
	List	   *publications;	/* of Publication, while valid */
	List	   *publications_missed;	/* names of which a WARNING has told */
	MemoryContext publications_context;

	ConcordStats stats;			/* what was counted; see stats.c */
};

#define CONCORD_COUNT(state, counter)	((state)->stats.counts[counter]++)

/* The most bytes of an event's id as text. */
#define CONCORD_ID_MAX	32

/* in txn.c */
extern void concord_txn_start(DecoderState *state, ReorderBufferTXN *txn);
extern void concord_txn_event(DecoderState *state);
extern void concord_txn_end(DecoderState *state);
extern void concord_txn_skip(DecoderState *state, ConcordCounter why);
extern char *concord_put_lsn(char *p, XLogRecPtr lsn);
extern char *concord_txn_put_id(DecoderState *state, char *p);
extern void concord_txn_account(DecoderState *state, ReorderBufferTXN *txn,
								bool sent);
extern void concord_txn_clear(DecoderState *state);
extern void concord_txn_recover(DecoderState *state);
extern void concord_output_hello(DecoderState *state);
extern void concord_output_done(DecoderState *state, int start);
extern void concord_output_flush(DecoderState *state);

/* in stream.c */
extern void concord_stream_start(DecoderState *state, ReorderBufferTXN *txn);
extern void concord_stream_subtransaction(DecoderState *state,
										  ReorderBufferChange *change);
extern void concord_stream_event(DecoderState *state);
extern void concord_stream_stop(DecoderState *state);
extern void concord_stream_abort(DecoderState *state, ReorderBufferTXN *txn,
								 XLogRecPtr abort_lsn);
extern bool concord_stream_commit(DecoderState *state, ReorderBufferTXN *txn);
extern bool concord_stream_prepare(DecoderState *state, ReorderBufferTXN *txn);
extern bool concord_prepared_end(DecoderState *state, ReorderBufferTXN *txn);
extern bool concord_prepared_commit(DecoderState *state, ReorderBufferTXN *txn);
extern bool concord_prepared_rollback(DecoderState *state, ReorderBufferTXN *txn,
									  XLogRecPtr prepare_end_lsn,
									  TimestampTz prepare_time);

/* Count a change of the WAL record at lsn, whether it will be sent or not. */
static inline void
concord_txn_count(DecoderState *state, XLogRecPtr lsn)
{
	if (state->change_lsn == lsn)
		state->change_number++;
	else
	{
		state->change_lsn = lsn;
		state->change_number = 1;
	}
}

#endif							/* CONCORD_DECODER_H */
