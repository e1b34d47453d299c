/*-------------------------------------------------------------------------
 *
 * apply.h
 *	  Private to the inbound room: a mapping made ready, and a batch on its way.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_INBOUND_APPLY_H
#define CONCORD_INBOUND_APPLY_H

#include "inbound/inbound.h"

#include "access/tupdesc.h"
#include "executor/spi.h"
#include "fdw/json.h"
#include "fdw/value.h"
#include "fmgr.h"
#include "lib/ilist.h"
#include "mapping/compile.h"
#include "storage/itemptr.h"
#include "utils/jsonb.h"
#include "utils/tuplestore.h"

#define INB_BATCH		1000	/* records in a statement */
#define INB_RECORD_MAX	(16 * 1024 * 1024)	/* bytes of one */

/* ---------- open.c: a mapping made ready ---------- */

/* A member of records that is looked for. */
typedef struct InbWant
{
	int			npath;
	char	  **path;
	Size	   *path_len;
} InbWant;

/* A column of the table. */
typedef struct InbColumn
{
	AttrNumber	attnum;
	char	   *name;
	Oid			type;
	int32		typmod;
	Oid			collation;
	int16		typlen;
	bool		typbyval;
	FmgrInfo	input;
	Oid			ioparam;
	FmgrInfo	output;
	ConcordConverter *converter;

	const ConcordField *field;	/* that gives it a value, or NULL */
	int			want;			/* which member, or -1 */
	int			apply;			/* position among the apply expressions, or -1 */
	char	   *equals;			/* of a part of the key: the operator */
} InbColumn;

/* A statement for records that give values to the same columns. */
typedef struct InbInsert
{
	Bitmapset  *columns;		/* positions in inbound->columns */
	bool		keyed;			/* the local key is known */
	SPIPlanPtr	plan;
} InbInsert;

struct ConcordInbound
{
	const ConcordMapping *mapping;
	const char *origin;
	MemoryContext context;		/* what outlives a change of the table */
	MemoryContext work;			/* what does not: all from built on */
	dlist_node	node;			/* in the list of the invalidation callback */
	bool		valid;
	bool		built;
	bool		linking;		/* records are only linked: match.h */

	bool		insert;			/* records without a row make one */
	bool		remove;			/* records that are gone delete theirs */
	bool		sends;			/* the mapping sends something, too */
	bool		shared;			/* a field is both sides' */
	bool		assigned;		/* ids are the system's */

	/* members: of fields, in their order; of the key's; the id */
	int			nwants;
	InbWant    *wants;
	int			key_wants;		/* where the key's begin */
	int			match_wants;	/* those of the rules of option match */
	int			id_want;		/* or -1 */
	int			own_id_want;	/* where a record alone has it, or -1 */

	char	   *table;			/* qualified and quoted */
	bool		identity_always;	/* a column of the key is one */
	int			ncolumns;
	InbColumn  *columns;		/* that records give values to */
	int			nkey;
	InbColumn  *key;			/* the local key */
	bool		key_direct;		/* a record tells all of it */
	int			nimage;
	InbColumn  *image;			/* all columns, where the mapping sends */
	ConcordRelation *relation;	/* that describes such images */

	TupleDesc	key_desc;		/* n, local key */
	TupleDesc	row_desc;		/* n, local key, columns */
	TupleDesc	remote_desc;	/* n, remote, value */
	SPIPlanPtr	read;			/* rows as they are */
	SPIPlanPtr	read_locked;
	SPIPlanPtr	update;
	SPIPlanPtr	delete;
	List	   *inserts;		/* of InbInsert * */
	int			napply;
	SPIPlanPtr	apply;			/* apply expressions, over remote */
	SPIPlanPtr	by_key;			/* rows by the expressions of the remote key */
	List	   *matches;		/* of SPIPlanPtr: option match */

	ConcordCompiled *compiled;	/* what the mapping sends; NULL: not yet */

	const char *at;				/* the field that is looked at, for messages */
	bool		books;			/* our own tables are: no record is at fault */
};

extern void concord_inbound_refresh(ConcordInbound *inbound);

/*
 * concord_inbound_open_linking is concord_inbound_open for who only links: rows
 * are locked so that they stay, and the mapping need take nothing in.
 */
extern ConcordInbound *concord_inbound_open_linking(const ConcordMapping *mapping,
													MemoryContext context);

/*
 * concord_inbound_open_reading is concord_inbound_open for who only compares: rows
 * are read whole, and the mapping need take nothing in.
 */
extern ConcordInbound *concord_inbound_open_reading(const ConcordMapping *mapping,
													MemoryContext context);

/* The text of a value as the column's type writes it. */
extern char *concord_inbound_text(InbColumn *column, Datum value);

/* ---------- a batch on its way ---------- */

typedef enum InbState
{
	INB_OPEN,					/* still to be applied */
	INB_DONE,
	INB_SAME,					/* there was nothing to do */
	INB_PARKED,
	INB_WAITING,
} InbState;

/* What both sides have of a shared field, and what comes of it. */
typedef enum InbVerdict
{
	INB_KEEP,					/* only ours has changed, or nothing */
	INB_TAKE,					/* theirs */
	INB_MERGE,					/* both: the value is neither's */
	INB_ASK,					/* a person must decide */
} InbVerdict;

typedef struct InbLink
{
	bool		stored;
	ItemPointerData tid;
	Jsonb	   *local_key;
	bool		present;
	char	   *remote_id;
	char	   *etag;
	bool		has_hash;
	uint8		hash[16];
	int64		seq;
	TimestampTz changed_at;
	TimestampTz remote_changed;
	bool		has_remote_changed;
	Jsonb	   *base;			/* NULL: none */
} InbLink;

/* A record on its way. */
typedef struct InbItem
{
	const ConcordInboundRecord *record;
	InbState	state;
	const char *identity;		/* what tells records apart before they are
								 * found */
	ConcordSlice *slices;		/* members, by inbound->wants; NULL: no record */
	char	   *remote_id;
	bool		complete;		/* it has all that the mapping takes */

	/* theirs, by inbound->columns */
	Datum	   *values;
	bool	   *nulls;
	bool	   *given;			/* false: the record does not say */

	/* local key, by inbound->key */
	bool		keyed;
	Datum	   *key;
	Jsonb	   *local_key;		/* as links have it */
	int			nfound;			/* rows that a rule says it may be */
	bool		by_link;
	const char *rule;			/* of the match that found the row, or of what
								 * is wrong with it */
	char	   *why;			/* it is parked for: NULL: nothing */

	InbLink		link;
	bool		stale;			/* something was delivered since it was read */
	bool		outdated;		/* a newer record was applied */

	/* ours, by inbound->columns, where there is a row */
	bool		found;
	Datum	   *ours;
	bool	   *ours_null;
	TransactionId xmin;
	ConcordEvent *before;		/* the row as an event, where the mapping
								 * sends */
	ConcordEvent *after;
	ConcordMapped *was;			/* what would be sent of it; NULL: not known */
	ConcordMapped *is;
	bool		pending;		/* that is not what was sent last */

	/* what is done */
	char		outcome;		/* of concord.applied: i, u, d, l; 0: nothing */
	bool		differs;		/* theirs is not ours */
	bool		writes;
	bool		relink;			/* the link is not as it is to be */
	bool		unlink;
	bool		asks;			/* a field is left to a person */
	Jsonb	   *base;			/* of the link, as it is to be */
	bool		set_hash;
	bool		keep_hash;
	uint8		new_hash[16];
	bool		covers;			/* what is pending of the row is in it */
	List	   *decisions;		/* of InbDecision * */
} InbItem;

/* A decision about a field that both sides have changed. */
typedef struct InbDecision
{
	const InbColumn *column;
	InbVerdict	verdict;
	bool		has_base;
	char	   *base;			/* texts; NULL: null */
	char	   *ours;
	char	   *theirs;
	char	   *value;			/* what the row has now */
	TimestampTz local_changed;	/* 0: not known */
} InbDecision;

/* ---------- record.c ---------- */

extern void concord_inbound_parse(ConcordInbound *inbound, InbItem *item);
extern void concord_inbound_identify(ConcordInbound *inbound, InbItem *item);
extern char *concord_inbound_member_text(ConcordSlice slice);
extern Jsonb *concord_inbound_local_key(ConcordInbound *inbound, const Datum *key);
extern void concord_inbound_key_datums(ConcordInbound *inbound, Jsonb *local_key, Datum *key);

/* ---------- statements.c: what is run over records ---------- */

extern void concord_inbound_statements(ConcordInbound *inbound);
extern char *concord_inbound_expression(const char *text);
extern char *concord_inbound_key_text(const ConcordMapping *mapping);
extern SPIPlanPtr concord_inbound_insert_plan(ConcordInbound *inbound, Bitmapset *columns,
											  bool keyed);
extern SPIPlanPtr concord_inbound_prepare(TupleDesc desc, const char *sql);
extern void concord_inbound_run(SPIPlanPtr plan, TupleDesc desc, Tuplestorestate *rows,
								bool read_only);

/* ---------- find.c: which row a record is ---------- */

extern void concord_inbound_find(ConcordInbound *inbound, InbItem **items, int n);

/* ---------- links.c ---------- */

extern void concord_inbound_links_by_key(ConcordInbound *inbound, InbItem **items, int n);
extern void concord_inbound_links_by_id(ConcordInbound *inbound, InbItem **items, int n);
extern void concord_inbound_links_write(ConcordInbound *inbound, InbItem **items, int n);

/* ---------- expression.c ---------- */

extern void concord_inbound_apply_run(ConcordInbound *inbound, InbItem **items, int n);
extern void concord_inbound_rows_of(ConcordInbound *inbound, SPIPlanPtr plan, int want,
									InbItem **items, int n);

/* ---------- write.c ---------- */

extern void concord_inbound_read(ConcordInbound *inbound, InbItem **items, int n,
								 bool lock, bool after);
extern void concord_inbound_compare(ConcordInbound *inbound, InbItem *item);
extern void concord_inbound_write(ConcordInbound *inbound, InbItem **items, int n);
extern ConcordEvent *concord_inbound_row_event(ConcordInbound *inbound, HeapTuple tuple,
											   TupleDesc desc);

/* ---------- conflict.c ---------- */

extern void concord_inbound_decide(ConcordInbound *inbound, InbItem *item);
extern void concord_inbound_base(ConcordInbound *inbound, InbItem *item);
extern void concord_inbound_decisions_store(ConcordInbound *inbound, InbItem **items, int n);

/* ---------- agree.c ---------- */

extern void concord_inbound_agree_before(ConcordInbound *inbound, InbItem **items, int n);
extern void concord_inbound_agree_after(ConcordInbound *inbound, InbItem **items, int n);

/* ---------- apply.c ---------- */

extern void concord_inbound_lock(const ConcordMapping *mapping);

typedef void (*ConcordInboundWork) (ConcordInbound *inbound, InbItem **items, int n);

/*
 * concord_inbound_try does work for records in a subtransaction, as the definer;
 * returns what it raised, or NULL.  concord_inbound_range halves the records
 * where that raises, and parks those that are at fault.
 */
extern ErrorData *concord_inbound_try(ConcordInbound *inbound, ConcordInboundWork work,
									  InbItem **items, int n);
extern void concord_inbound_range(ConcordInbound *inbound, ConcordInboundWork work,
								  InbItem **items, int n);

/* ---------- linking.c ---------- */

/* Has the row of a local key, as links have it, sent. */
extern void concord_inbound_send_row(const ConcordMapping *mapping, Jsonb *local_key);

/* ---------- queue.c: transactions of the applier ---------- */

/*
 * concord_inbound_begin begins a transaction that is a user's, not our
 * bookkeeping, with SPI and a snapshot.
 */
extern void concord_inbound_begin(void);
extern void concord_inbound_commit(void);

/* ---------- inbox.c ---------- */

extern void concord_inbound_inbox_settle(ConcordInbound *inbound, InbItem **items, int n);
extern void concord_inbound_inbox_failed(ConcordInbound *inbound, InbItem *item,
										 ErrorData *error);
extern void concord_inbound_log_write(ConcordInbound *inbound, InbItem **items, int n);

#endif							/* CONCORD_INBOUND_APPLY_H */
