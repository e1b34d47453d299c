/*-------------------------------------------------------------------------
 *
 * encoder.h
 *	  What an output format is: a struct of functions, chosen once at start.
 *
 * Each function appends one message to state->buf and reports it with
 * concord_output_done(), which decides when the buffer is handed on.  No
 * function here looks at what the consumer is.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_ENCODER_H
#define CONCORD_ENCODER_H

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

	/* first message of a stream, or NULL */
	void		(*hello) (DecoderState *state);
	/* a transaction that has something to say begins, ends */
	void		(*begin) (DecoderState *state);
	void		(*commit) (DecoderState *state);
	/* complete a new relation cache entry, in the entry's context */
	void		(*describe) (DecoderState *state, ConcordRel *rel);
	/* events; change writes nothing and gives false where it is too large */
	bool		(*change) (DecoderState *state, ConcordRel *rel,
						   const ConcordChange *change);
	void		(*truncate) (DecoderState *state, ConcordRel *rel, int flags);
	void		(*message) (DecoderState *state, const ConcordMessage *message);
} ConcordEncoder;

extern const ConcordEncoder concord_encoder_binary;
extern const ConcordEncoder concord_encoder_json;

#endif							/* CONCORD_ENCODER_H */
