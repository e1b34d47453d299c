/*-------------------------------------------------------------------------
 *
 * written.h
 *	  Rows that statements write to a foreign table, as events.
 *
 * A foreign table with option write 'outbox' is written by events of a topic of
 * the extension's own, which nobody else can emit.  Such an event has all that
 * its delivery needs, so it means the same whatever becomes of the foreign table
 * meanwhile:
 *
 *	payload		{"operation": "insert" | "update" | "delete",
 *				 "key": {name: text, ...}, "fields": {name: text or null, ...}}
 *	headers		{"table": "public.customers", "role": "ada", "tag": "W/\"1\"",
 *				 "columns": ["25:-1:ID", "1700:983046:CreditLimit", ...]}
 *
 * Names are the system's, values the protocol's canonical texts, columns say in
 * which order and of which types (OID and modifier) they are.  A key that the
 * system is to give is left out, and so is a tag that it did not tell.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_MAPPING_WRITTEN_H
#define CONCORD_MAPPING_WRITTEN_H

#include "mapping/eval.h"

/* What was done to a record, beside its values. */
typedef struct ConcordWritten
{
	ConcordOp	op;				/* insert, update or delete */
	const char *tag;			/* version that was read; NULL: not told */
} ConcordWritten;

/* An event as concord_message_emit wants it. */
typedef struct ConcordWrittenEvent
{
	char	   *key;			/* NULL: the system gives it */
	char	   *payload;
	char	   *headers;
} ConcordWrittenEvent;

/*
 * concord_written_event makes the event of a record, mapped as mapping has it;
 * table and role are what is told of its origin.  Raises
 * ERRCODE_INVALID_PARAMETER_VALUE for values that JSON cannot have.
 */
extern void concord_written_event(const ConcordMapping *mapping,
								  const ConcordMapped *mapped,
								  const ConcordWritten *written,
								  const char *table, const char *role,
								  ConcordWrittenEvent *event);

/* concord_written_map maps such events, in the current context. */
extern void concord_written_map(const ConcordMapping *mapping,
								const ConcordEvent *const *events, int nevents,
								ConcordMapped *mapped);

/*
 * What concord_written_define creates: a mapping that delivers what is written
 * to a foreign table.
 */
typedef struct ConcordWrittenRequest
{
	const char *name;
	Oid			foreign_table;
	const char *server;
	const char *object;
	const char *service;		/* NULL: the server's */
	List	   *key;			/* of char *, names at the system */
	Jsonb	   *options;		/* or NULL */
	bool		paused;
	bool		or_replace;
	const char *comment;
} ConcordWrittenRequest;

/* concord_written_define creates or replaces it and returns its version. */
extern int32 concord_written_define(const ConcordWrittenRequest *request);

/*
 * concord_written_open finds the mapping of a foreign table, in the current
 * context, and keeps it from being dropped until the transaction ends.  Raises
 * where there is none, or where what is written now would not be delivered.
 */
extern ConcordMapping *concord_written_open(Oid foreign_table,
											const char *relname);

/* Raises unless a definition is one that such a mapping can have. */
extern void concord_written_check(ConcordMapping *mapping, Jsonb *definition);

/* Raises where a mapping's definer does not own the foreign table (any more). */
extern void concord_written_usable(const ConcordMapping *mapping);

/* Waits until no transaction is writing to a mapping, and keeps others out. */
extern void concord_written_lock(const ConcordMapping *mapping);

#endif							/* CONCORD_MAPPING_WRITTEN_H */
