/*-------------------------------------------------------------------------
 *
 * encoder.h
 *	  What an output format is: a struct of functions, chosen once at start.
 *
 * Each function appends one message to state->buf and reports it with
 * concord_output_done(), which decides when the buffer is handed on.  No
 * function here looks at what the consumer is.
 *
 * prepare, commit_prepared, rollback_prepared, stream_stop, stream_commit,
 * stream_abort and stream_prepare may be called where no transaction is open:
 * they read no catalog, but for an origin's name, for which origin.c opens one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_ENCODER_H
#define CONCORD_ENCODER_H

#include "datatype/timestamp.h"
#include "replication/reorderbuffer.h"

typedef struct DecoderState DecoderState;
typedef struct ConcordRel ConcordRel;

/* A row change after selection: images in rel's old_ and new_ arrays. */
typedef struct ConcordChange
{
	char		kind;			/* CONCORD_MSG_INSERT, _UPDATE or _DELETE */
	bool		has_old;		/* an old image, whole or of the key */
	bool		has_new;
	bool		old_is_key;		/* the old image has identity columns only */
	bool		no_identity;	/* nothing says which row it was */
	bool		filtered;		/* a row filter left it out */
} ConcordChange;

/* A logical message. */
typedef struct ConcordMessage
{
	bool		transactional;
	XLogRecPtr	lsn;
	const char *prefix;
	const char *content;
	Size		size;
} ConcordMessage;

typedef struct ConcordEncoder
{
	const char *name;
	bool		binary;			/* output is bytes rather than text */
	int			separator;		/* bytes between messages that share a write */

	/*
	 * learn at start what needs a transaction, or NULL; lives as long as
	 * state
	 */
	void		(*start) (DecoderState *state);
	/* first message of a stream, or NULL */
	void		(*hello) (DecoderState *state);

	/*
	 * A transaction that has something to say begins, ends.  state->gid is
	 * set where it is decoded at PREPARE; then it ends with prepare, and
	 * commit_prepared or rollback_prepared follows later, outside it.
	 */
	void		(*begin) (DecoderState *state);
	void		(*commit) (DecoderState *state);

	/* NULL where the format has nothing for prepared transactions */
	void		(*prepare) (DecoderState *state);
	void		(*commit_prepared) (DecoderState *state);
	void		(*rollback_prepared) (DecoderState *state,
									  XLogRecPtr prepare_end_lsn,
									  TimestampTz prepare_time);

	/*
	 * NULL where the format has nothing for transactions in progress. Between
	 * stream_start and stream_stop come events, of state->subxid;
	 * subtransaction, which may be missing, tells when that has changed.  The
	 * other four stand between blocks.  stream_abort is of the subtransaction
	 * xid, or of all where xid is the transaction's own.
	 */
	void		(*stream_start) (DecoderState *state, bool first);
	void		(*stream_stop) (DecoderState *state);
	void		(*subtransaction) (DecoderState *state);
	void		(*stream_commit) (DecoderState *state);
	void		(*stream_abort) (DecoderState *state, TransactionId xid,
								 XLogRecPtr abort_lsn);
	void		(*stream_prepare) (DecoderState *state);

	/* complete a new relation cache entry, in the entry's context */
	void		(*describe) (DecoderState *state, ConcordRel *rel);
	/* events; change writes nothing and gives false where it is too large */
	bool		(*change) (DecoderState *state, ConcordRel *rel,
						   const ConcordChange *change);
	void		(*truncate) (DecoderState *state, ConcordRel *rel, int flags);
	void		(*message) (DecoderState *state, const ConcordMessage *message);
} ConcordEncoder;

extern const ConcordEncoder concord_encoder_binary;
extern const ConcordEncoder concord_encoder_cloudevents;
extern const ConcordEncoder concord_encoder_debezium;
extern const ConcordEncoder concord_encoder_json;

#endif							/* CONCORD_ENCODER_H */
