/*-------------------------------------------------------------------------
 *
 * compile.h
 *	  Private to the mapping room: names, expressions and compiled mappings.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_MAPPING_COMPILE_H
#define CONCORD_MAPPING_COMPILE_H

#include "mapping/eval.h"

#include "access/tupdesc.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/ilist.h"
#include "nodes/bitmapset.h"
#include "parser/parse_node.h"
#include "utils/relcache.h"

/*
 * What remote_id() raises while a mapping is evaluated and the link is not
 * there: the event waits, and is not at fault.
 */
#define CONCORD_ERRCODE_NO_LINK		MAKE_SQLSTATE('C', 'N', '0', '0', '1')

/* ---------- names.c: what an expression can name ---------- */

typedef enum ConcordSlotKind
{
	CONCORD_SLOT_COLUMN,		/* a column of the row */
	CONCORD_SLOT_ROW,			/* the row, under its table's name */
	CONCORD_SLOT_OLD,
	CONCORD_SLOT_EVENT,
	CONCORD_SLOT_PAYLOAD,
	CONCORD_SLOT_KEY,
	CONCORD_SLOT_HEADERS,
} ConcordSlotKind;

/* A column of the rows that statements read. */
typedef struct ConcordSlot
{
	ConcordSlotKind kind;
	AttrNumber	attnum;			/* of a column */
	Oid			type;
	int32		typmod;
	Oid			collation;
	bool		needed;			/* by an expression that runs as SQL */
} ConcordSlot;

/* A column, or a table as a whole, that an expression names. */
typedef struct ConcordColumnUse
{
	Oid			relid;
	AttrNumber	attnum;			/* 0: the table, or a row of it */
	int			location;		/* in the expression; -1: not known */
	bool		row;			/* of the mapping's own row */
} ConcordColumnUse;

/* What an expression is about. */
typedef enum ConcordNamesScope
{
	CONCORD_NAMES_EVENT,		/* the row of an event, or a topic's */
	CONCORD_NAMES_ROW,			/* a row of the table */
	CONCORD_NAMES_BOTH,			/* a row, and a record of a system: remote */
	CONCORD_NAMES_RECORD,		/* a record */
} ConcordNamesScope;

typedef struct ConcordNames
{
	MemoryContext context;
	Oid			relid;			/* InvalidOid for a topic */
	ConcordNamesScope scope;
	char	   *schema;
	char	   *table;
	TupleDesc	desc;			/* of the table */
	Bitmapset  *virtuals;		/* columns that are computed when read: in no
								 * event (from 18 on) */
	Oid			event_type;
	TupleDesc	event_desc;
	int			nslots;
	int			maxslots;
	ConcordSlot *slots;
	Bitmapset  *used;			/* slots that were named since it was reset */
	bool		collect;		/* note what of the row is named: */
	List	   *uses;			/* of ConcordColumnUse * */
	bool		as_vars;		/* names become Vars of the one relation of a
								 * statement, rather than Params */
} ConcordNames;

extern ConcordNames *concord_names_create(Oid relid, MemoryContext context);

/* concord_names_hold: a table still has these names, and columns. */
extern bool concord_names_hold(const ConcordNames *names, Relation rel);

/* concord_names_setup is a ParserSetupHook; arg is a ConcordNames. */
extern void concord_names_setup(ParseState *pstate, void *arg);

/* ---------- uses.c: which columns a mapping uses ---------- */

/* Lists what all expressions of a mapping name; raises what the parser does. */
extern List *concord_uses(const ConcordMapping *mapping);

/* Lists what an expression names, places as in its text. */
extern List *concord_uses_expression(ConcordNames *names, const char *text);

/* ---------- incoming.c: expressions over records of a system ---------- */

/*
 * Checks apply expressions and the rules of option match; in the definer's
 * environment.
 */
extern void concord_incoming_check(const ConcordMapping *mapping);

/* Lists what they name. */
extern List *concord_incoming_uses(const ConcordMapping *mapping, List *uses);

/*
 * Returns a definition in which a column (attnum 0: a table) has a new name.
 * Called before it has.
 */
extern Jsonb *concord_uses_rename(const ConcordMapping *mapping,
								  Jsonb *definition, Oid relid,
								  AttrNumber attnum, const char *old_name,
								  const char *new_name);

/* ---------- environment.c: how user expressions run ---------- */

typedef struct ConcordEnvironment
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
} ConcordEnvironment;

extern void concord_environment_enter(ConcordEnvironment *environment,
									  Oid definer, const char *search_path);
extern void concord_environment_leave(ConcordEnvironment *environment);

extern MemoryContext concord_environment_dry_run(void (*work) (void *arg),
												 void *arg);

/* ---------- compile.c ---------- */

typedef enum ConcordExpressionKind
{
	CONCORD_EXPRESSION_COLUMN,	/* written straight from the image */
	CONCORD_EXPRESSION_CONSTANT,
	CONCORD_EXPRESSION_SQL,
} ConcordExpressionKind;

typedef struct ConcordExpression
{
	const char *what;			/* "field", "filter", ... */
	const char *name;			/* NULL where there is only one */
	const char *text;
	ConcordExpressionKind kind;
	AttrNumber	attnum;			/* of COLUMN */
	ConcordValue constant;		/* of CONSTANT */
	Oid			type;			/* base type of the result */
	int32		typmod;
	FmgrInfo	output;
	Bitmapset  *columns;		/* attnums of the row it needs */
	bool		whole_row;		/* it needs all of them */
	bool		of_parent;		/* it asks for the id of the parent's record */
} ConcordExpression;

/*
 * What a plain expression comes to.  All those of a mapping lie together: with
 * a thousand mappings the time goes into fetching what the next one needs.
 */
typedef struct ConcordPlain
{
	ConcordExpressionKind kind;
	AttrNumber	attnum;
	Oid			type;
	int32		typmod;
} ConcordPlain;

/* Expressions that are evaluated together, by one statement. */
typedef struct ConcordSet
{
	int			n;
	int			nsql;
	ConcordPlain *plain;		/* [n] */
	ConcordExpression **expressions;
	SPIPlanPtr	plan;			/* NULL until it is needed */
} ConcordSet;

/* A member of the local key. */
typedef struct ConcordLocalPart
{
	AttrNumber	attnum;
	int			len;
	Oid			type;			/* base type */
	const char *before;			/* what stands before its value */
} ConcordLocalPart;

/* Where the attnums of one stored definition are found in its images. */
typedef struct ConcordShape
{
	const ConcordRelation *relation;
	int32		id;
	int		   *index;			/* [attnum], -1: not in this definition */
	bool		same;			/* it has all columns of today, as they are */
} ConcordShape;

struct ConcordCompiled
{
	const ConcordMapping *mapping;
	MemoryContext context;		/* what outlives a recompilation */
	List	   *sent;			/* of ConcordField *: those of upsert, which
								 * are all but what is only pulled; in context */
	MemoryContext work;			/* what does not; holds all below */
	MemoryContext scratch;		/* of the parser, while it is compiled */
	dlist_node	node;			/* in the list of the invalidation callback */
	bool		valid;			/* cleared by the invalidation callback */
	bool		built;			/* all below is there */
	bool		plain;			/* runs no SQL and reads nothing but events */

	/* the shape that was asked for last, and of what; NULL: none */
	const ConcordRelation *shape_relation;
	int32		shape_id;
	const ConcordShape *shape;

	ConcordNames *names;
	TupleDesc	row_desc;		/* of the statements' relation */
	FmgrInfo   *input;			/* [attnum] of the table's columns */
	Oid		   *ioparam;
	FmgrInfo   *output;			/* [attnum] */
	char		replica_identity;	/* as the table says */
	Oid			identity_index; /* that of it; InvalidOid: none */
	Bitmapset  *identity;		/* attnums that every old image has */
	bool		identity_full;

	int			nlocal;
	ConcordLocalPart *local;	/* of the local key, in its order */

	ConcordSet	filter;			/* one expression or none */
	ConcordSet	checks;
	ConcordSet	upsert;			/* keys, ordering and route if any, fields */
	ConcordSet	remove;			/* ditto, on_delete fields */
	ConcordSet	keys;			/* keys of the row before */
	int			nkeys;
	int			ordering;		/* position in upsert and remove, or -1 */
	int			route;			/* ditto */
	int			nleading;		/* expressions before the fields */
	bool		sends;			/* a row there is made or changed at all */

	SPIPlanPtr	reread;			/* the row as it is in the table now */
	List	   *shapes;			/* of ConcordShape * */

	ConcordMapping *parent;		/* of option parent, in context; NULL: not
								 * read */
	bool		children_known;
	List	   *children;		/* of struct ConcordChild *, in context */
};

/*
 * concord_compile_refresh compiles again where the table or a type changed.
 * Needs SPI, a snapshot and the mapping's environment.
 */
extern void concord_compile_refresh(ConcordCompiled *compiled);

/* concord_compile_plain says what a plain expression comes to. */
extern void concord_compile_plain(const ConcordExpression *expression,
								  ConcordPlain *plain);

/* concord_compile_prepare makes set->plan; the same needs. */
extern void concord_compile_prepare(ConcordCompiled *compiled, ConcordSet *set);

/*
 * concord_compile_check compiles, and runs every expression over no rows, so
 * that whatever can be known beforehand is refused.  Opens SPI and the
 * environment itself.
 */
extern void concord_compile_check(const ConcordMapping *mapping);

/* ---------- rows.c: from events to what statements read ---------- */

/* A row that a set is evaluated for. */
typedef struct ConcordRow
{
	const ConcordEvent *event;
	const ConcordShape *shape;
	const ConcordImageValue *values;	/* the row; NULL for a topic */
	const ConcordImageValue *old;	/* the row before, or NULL */
	bool		old_from_new;	/* old: key columns stand in the row itself */
	bool		current;		/* the row is a new image: what is not in it
								 * may be read from the table */
	ConcordImageValue *found;	/* [attnum], where it was read; NULL: not yet */
	bool		looked;
	MemoryContext context;		/* of found and unknown */
	Bitmapset  *unknown;		/* attnums that could not be had */
} ConcordRow;

extern const ConcordShape *concord_rows_shape(ConcordCompiled *compiled,
											  const ConcordRelation *relation);

/*
 * concord_rows_value finds a column's value.  CONCORD_IMAGE_ABSENT says that
 * it is not known; CONCORD_IMAGE_OVERSIZE that it was too large,
 * CONCORD_IMAGE_FAILED that it could not be encoded.
 */
extern ConcordImageValue concord_rows_value(ConcordCompiled *compiled,
											ConcordRow *row,
											AttrNumber attnum);

/* concord_rows_present reads the row from the table: is it there now. */
extern bool concord_rows_present(ConcordCompiled *compiled, ConcordRow *row);

/* concord_rows_fill writes the slots of one row. */
extern void concord_rows_fill(ConcordCompiled *compiled, ConcordRow *row,
							  Datum *values, bool *nulls);

/*
 * concord_rows_peek gives a column's value where its text stands in the image,
 * not terminated; false where it has to be made: concord_rows_text does.
 */
extern bool concord_rows_peek(ConcordCompiled *compiled, ConcordRow *row,
							  AttrNumber attnum, ConcordValue *value);

/* concord_rows_text writes a column's value as a mapped value. */
extern void concord_rows_text(ConcordCompiled *compiled, ConcordRow *row,
							  AttrNumber attnum, ConcordValue *value);

/* ---------- children.c: rows that go along ---------- */

/* The mapping whose children are being evaluated, or 0. */
extern int32 concord_mapping_nesting;

extern void concord_children_evaluate(ConcordCompiled *compiled,
									  const ConcordEvent *const *events,
									  int nevents, ConcordMapped *mapped);
extern bool concord_children_refers(Node *node, const ConcordMapping *mapping);
extern bool concord_children_linked(ConcordCompiled *compiled, ConcordRow *row,
									char **missing);

/* ---------- run.c: run a set over rows ---------- */

/* One row of a set's evaluation and what came of it. */
typedef struct ConcordResult
{
	ConcordRow *row;
	ConcordValue *values;		/* [set->n] */
	int			sqlerrcode;		/* 0: fine */
	char	   *error;			/* message, with what raised it */
} ConcordResult;

/*
 * concord_run_set evaluates a set for rows.  Values are allocated in the
 * current context.  A row that raises gets its error, the others their
 * values.  Where nothing would work, raises itself.
 */
extern void concord_run_set(ConcordCompiled *compiled, ConcordSet *set,
							ConcordResult *results, int nresults);

/* concord_run_nothing runs one expression over no rows. */
extern void concord_run_nothing(ConcordCompiled *compiled,
								ConcordExpression *expression);

/* concord_run_describe names an expression: field "Name". */
extern char *concord_run_describe(const ConcordExpression *expression);

/* ---------- keys.c ---------- */

/* The local key of an emitted event. */
extern char *concord_keys_message(const ConcordEvent *event);

/* Whether two keys of n parts are the same. */
extern bool concord_keys_equal(const ConcordValue *a, const ConcordValue *b,
							   int n);

/* ---------- eval.c ---------- */

/*
 * concord_mapping_evaluate_here evaluates events where all that is needed
 * stands: transaction, SPI, snapshot, the mapping's environment, and a lock of
 * its table.  The result is in the current context and has no children.
 */
extern ConcordMapped *concord_mapping_evaluate_here(ConcordCompiled *compiled,
													const ConcordEvent *const *events,
													int nevents);

/* ---------- local_key.c: under what key links know a record ---------- */

/*
 * concord_row_key writes a row's local key, or returns NULL where it is not
 * known; scratch is for what is made on the way.
 */
extern char *concord_row_key(ConcordCompiled *compiled, ConcordRow *row,
							 MemoryContext scratch);

/* concord_row_key_fits: a local key, or NULL, can be stored. */
extern bool concord_row_key_fits(const ConcordMappingOptions *options,
								 const char *local_key);

/* ---------- transaction.c ---------- */

/* concord_transaction_is_plain finds out what compiled->plain says. */
extern bool concord_transaction_is_plain(const ConcordCompiled *compiled);

/*
 * concord_mapping_evaluate is concord_mapping_eval inside the caller's
 * transaction, with SPI and a snapshot; it enters the environment itself.
 */
extern ConcordMapped *concord_mapping_evaluate(ConcordCompiled *compiled,
											   const ConcordEvent *const *events,
											   int nevents,
											   MemoryContext context);

#endif							/* CONCORD_MAPPING_COMPILE_H */
