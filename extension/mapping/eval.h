/*-------------------------------------------------------------------------
 *
 * eval.h
 *	  Turn a batch of events into what a mapping says about them.
 *
 * The expressions of a mapping's version are one prepared statement, run for
 * a whole batch, as the mapping's definer, read-only, in a transaction of its
 * own (never the bookkeeping transaction).  Fields that are plain columns or
 * constants are written straight from the stored image.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_MAPPING_EVAL_H
#define CONCORD_MAPPING_EVAL_H

#include "catalog/mapping.h"
#include "outbox/event.h"

/*
 * A mapped value: its canonical text (the protocol's text form) and its type,
 * so that a connector can write it in its own way; base/json.h writes it as
 * CONTRACT.md says.
 */
typedef struct ConcordValue
{
	Oid			typid;			/* base type; domains are looked through */
	int32		typmod;
	bool		isnull;
	char	   *text;			/* NUL-terminated */
	uint32		len;
} ConcordValue;

typedef enum ConcordVerdict
{
	CONCORD_SEND,				/* body and key are set */
	CONCORD_SKIP,				/* filter does not hold, option says ignore,
								 * push is off, or others own all fields */
	CONCORD_FAIL,				/* check failed or expression raised: dead */
	CONCORD_WAIT,				/* remote_id() names a record that has no link
								 * yet: try again later, costs no attempt */
} ConcordVerdict;

/* The bytes of a local key that a link can be stored under. */
#define CONCORD_LOCAL_KEY_MAX	2000

/* concord_value_is_finite says whether a value is one that JSON can write. */
extern bool concord_value_is_finite(const ConcordValue *value);

/* What the mapping wants done at the system. */
typedef enum ConcordAction
{
	CONCORD_ACTION_UPSERT,		/* create or update: the link decides */
	CONCORD_ACTION_DELETE,
	CONCORD_ACTION_EVENT,		/* the table was truncated and
								 * options.truncate is "delete": no key, no
								 * fields */
} ConcordAction;

typedef struct ConcordMapped
{
	ConcordVerdict verdict;
	ConcordAction action;

	/*
	 * Whether the record was ever there is not known from the event (the old
	 * image has key columns only and the filter needs more): act only where a
	 * link says that the system has it.
	 */
	bool		only_if_linked;

	/* UPSERT whose fields are options.on_delete_fields: the row is gone */
	bool		deleting;

	/*
	 * the remote key, mapping->key in order, and before the change where the
	 * key changed (old_keys is NULL otherwise)
	 */
	ConcordValue *keys;
	ConcordValue *old_keys;

	/*
	 * the local key as canonical JSON text, e.g. {"id": 7}; for a topic the
	 * event's key as {"key": "..."}
	 */
	char	   *local_key;
	char	   *old_local_key;	/* NULL where unchanged */

	/* what order is kept by; NULL: none */
	char	   *ordering_key;

	/*
	 * the server that option route names; NULL: the mapping's own, or not
	 * known of a row that is gone, and then only_if_linked is set
	 */
	char	   *route;
	bool		route_unknown;

	/*
	 * what is sent of mapping->fields (or options.on_delete_fields) in order;
	 * NULL for a delete that needs no body.  skip[i]: the value is not known
	 * (unchanged TOAST that could not be read again); skip is NULL where all
	 * are known
	 */
	int			nfields;
	const List *field_defs;		/* of ConcordField * */
	ConcordValue *fields;
	bool	   *skip;

	/*
	 * which fields the system has already as they are: an update that changes
	 * a part of a record leaves them out.  Set by delivery, in a copy; NULL:
	 * none
	 */
	const bool *same;

	/*
	 * rows of other mappings that go along if the record is created; of such
	 * a row, which key parts and fields say only where it belongs
	 */
	int			nchildren;
	struct ConcordChildren *children;
	const char *children_snapshot;	/* that they were read with */
	const bool *omit_keys;
	const bool *omit;

	/* what a statement did to a foreign table's record (written.h), or NULL */
	const struct ConcordWritten *written;

	/* of CONCORD_FAIL, CONCORD_WAIT, and CONCORD_SKIP but for a filter */
	char	   *rule;			/* the check's name, or "expression", "key",
								 * "number", "size", "truncate", "link" */
	char	   *error;			/* message, without values of other rows */
} ConcordMapped;

/*
 * concord_mapped_copy_to copies what a plain event was mapped to, with all it
 * points to but field_defs, to room: concord_mapped_size() bytes, aligned as by
 * palloc.  nkeys is how many parts the mapping's key has.  mapped.c
 */
extern Size concord_mapped_size(const ConcordMapped *m, int nkeys);
extern ConcordMapped *concord_mapped_copy_to(const ConcordMapped *m, int nkeys,
											 void *room);

/* The rows that go along in a field. */
typedef struct ConcordChildren
{
	const ConcordField *field;
	const ConcordMapping *mapping;
	int			n;
	ConcordMapped **rows;
} ConcordChildren;

typedef struct ConcordCompiled ConcordCompiled;

/* Whether mappings whose rows go along are not as they were.  children.c */
extern bool concord_mapping_children_changed(const ConcordCompiled *compiled,
											 List *mappings);

/*
 * concord_mapping_compile checks and prepares a mapping's current version for
 * events of one stored definition (NULL: the table's definition now, or a
 * topic).  Raises what the parser raises, with the field's name in the
 * context line.
 */
extern ConcordCompiled *concord_mapping_compile(const ConcordMapping *mapping,
												MemoryContext context);

/*
 * concord_mapping_eval evaluates events (all of the mapping's source) and
 * returns one result per event, in context.  Opens and ends its own read-only
 * transaction; call it with none open.  One bad row does not fail the others.
 */
extern ConcordMapped *concord_mapping_eval(ConcordCompiled *compiled,
										   const ConcordEvent *const *events,
										   int nevents, MemoryContext context);

/*
 * concord_mapping_is_plain says whether nothing of a mapping is evaluated as
 * SQL and nothing but the events is read for it; concord_mapping_is_plain_event
 * whether an event has all that such a mapping copies.
 */
extern bool concord_mapping_is_plain(const ConcordCompiled *compiled);
extern bool concord_mapping_is_plain_event(const ConcordEvent *event);

/* Events of a mapping, to be evaluated together with those of others. */
typedef struct ConcordEvaluation
{
	ConcordCompiled *compiled;
	const ConcordEvent *const *events;
	int			nevents;
	MemoryContext context;		/* of the results */
	ConcordMapped *mapped;		/* the results, as of concord_mapping_eval;
								 * NULL: it must be called */
} ConcordEvaluation;

/*
 * concord_mapping_eval_plain evaluates plain events of plain mappings in one
 * read-only transaction, as concord_mapping_eval does.  What cannot be at once,
 * or is not plain any more, is left out.  An error is of any of them, and of
 * none there is a result then.
 */
extern void concord_mapping_eval_plain(ConcordEvaluation *evaluations, int n);

extern void concord_mapping_free(ConcordCompiled *compiled);

/* Whether expressions are being evaluated now: see remote_id(), emit(). */
extern bool concord_mapping_evaluating;

/*
 * Whether apply expressions are: local_key() of an id without a link raises
 * CONCORD_ERRCODE_NO_LINK then, with "link:MAPPING:ID" as the detail.
 */
extern bool concord_mapping_applying;

/*
 * A record that is to be created together with what is evaluated: remote_id() of
 * it gives a text that stands for the id.
 */
typedef struct ConcordReference
{
	int32		mapping;
	const char *local_key;
	const char *mark;
} ConcordReference;

/* What of that kind there is; List of ConcordReference *, mostly NIL. */
extern List *concord_mapping_references;

/* What is stored of a record at its system. */
typedef struct ConcordKnownLink
{
	bool		present;
	char	   *remote_id;
	char	   *etag;
	Oid			serverid;		/* where it is; InvalidOid: at the mapping's
								 * server */
} ConcordKnownLink;

/* Reads the link of a local key; false where there is none.  keys.c */
extern bool concord_mapping_link(int32 mapping, const char *local_key,
								 ConcordKnownLink *link);

/*
 * Raises where a mapping cannot work: its table or server is gone, role may
 * not use them, an expression does not hold any more.  admin.c
 */
extern void concord_mapping_require_usable(ConcordMapping *mapping, Oid role);

#endif							/* CONCORD_MAPPING_EVAL_H */
