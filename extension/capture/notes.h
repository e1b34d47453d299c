/*-------------------------------------------------------------------------
 *
 * notes.h
 *	  Messages that hold whether their transaction commits or not.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CAPTURE_NOTES_H
#define CONCORD_CAPTURE_NOTES_H

#include "outbox/message.h"

#include "nodes/pg_list.h"

/* A note that was read from WAL and checked. */
typedef struct ConcordNote
{
	pg_uuid_t	id;
	char	   *part;			/* of what it tells: begin, end */
	char	   *payload;		/* JSON */
} ConcordNote;

/*
 * concord_note_take makes a note of a message, in the current context; NULL
 * where the message is forged.
 */
extern ConcordNote *concord_note_take(const char *prefix, const char *content,
									  uint32 len);

/* concord_notes_store writes notes into concord.call_record; SPI is connected. */
extern void concord_notes_store(List *notes);

/*
 * concord_notes_retain forgets old ones; called by the clerk, with no
 * transaction open.  False: there may be more.
 */
extern bool concord_notes_retain(void);

#endif							/* CONCORD_CAPTURE_NOTES_H */
