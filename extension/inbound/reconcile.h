/*-------------------------------------------------------------------------
 *
 * reconcile.h
 *	  Private to concord.reconcile(): both sides of a mapping, compared.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_INBOUND_RECONCILE_H
#define CONCORD_INBOUND_RECONCILE_H

#include "inbound/apply.h"

#include "base/progress.h"
#include "fdw/reader.h"
#include "mapping/eval.h"
#include "storage/buffile.h"
#include "utils/snapshot.h"
#include "utils/tuplesort.h"
#include "utils/uuid.h"

#define RCN_ROWS		500		/* of either side that are read together */
#define RCN_BATCH		200		/* of those that differ, looked at again */
#define RCN_LOOKS		1000	/* records that are looked up one by one */

/* How a field of the mapping is compared. */
typedef struct RcnField
{
	const ConcordField *field;
	int			column;			/* in inbound->columns, as what that is; -1 */
	int			mapped;			/* or as what is sent: which of that; -1 */
	Oid			type;			/* of what is sent; InvalidOid: no row was */
	bool		seen;			/* a record had it */
} RcnField;

/* What stands for a value: */
#define RCN_ABSENT		0		/* there is none, or it is not compared */
#define RCN_NULL		1
#define RCN_BAD			2		/* none of the column's type */
#define RCN_VALUES		3		/* and above: a hash */

/* What is expected of a row's record. */
typedef enum RcnExpect
{
	RCN_EXPECTED,
	RCN_NOT_EXPECTED,			/* the filter leaves it out */
	RCN_WAITS,					/* it refers to a record that has no link yet */
	RCN_FAILS,					/* it cannot be sent: problem says why */
} RcnExpect;

/* One side of a row, as it was read and sorted. */
typedef struct RcnHalf
{
	pg_uuid_t	identity;
	bool		remote;
	int64		at;				/* where reconcile->records has the record */
	uint64	   *values;			/* by fields */
	char	   *key;			/* local key as JSON; NULL: not known */
	char	   *id;				/* at the system; NULL: not known */
	RcnExpect	expect;
	char	   *problem;
} RcnHalf;

/* A row, a record or both, that is looked at again.  item must be first. */
typedef struct RcnEntry
{
	InbItem		item;
	struct Reconcile *reconcile;
	RcnHalf    *local;
	RcnHalf    *remote;
	ConcordInboundRecord record;
	bool		skip;			/* it is told as it is */
	bool		changing;
	char	   *problem;
	uint64	   *values;			/* of its side, while that is read */
	ConcordEvent *event;
	char	  **ours;			/* texts by inbound->columns */
	char	  **theirs;
	InbVerdict *verdicts;		/* ditto, of shared ones; NULL: none differ */
	uint64	   *row_values;

	/* what is told */
	char	   *difference;		/* JSON; NULL: there is none */
	const char *action;
	bool		applies;
	bool		sends;
} RcnEntry;

typedef struct Reconcile
{
	const ConcordMapping *mapping;
	char	   *filter;			/* NULL: all rows */
	bool		repair;
	bool		sends;			/* the mapping does */
	ReturnSetInfo *result;
	ConcordProgress *progress;
	MemoryContext context;
	MemoryContext batch;

	struct ConcordPeer *peer;
	char	   *changed;		/* where records say when they were changed */
	ConcordForeignTable table;
	ConcordQuery query;
	ConcordReader *reader;
	ConcordInbound *inbound;	/* reads both sides */
	ConcordInbound *applies;	/* NULL: until something is to be applied */
	ConcordCompiled *compiled;

	Snapshot	began;			/* our rows as they were read first */
	TimestampTz began_at;
	int			nfields;
	RcnField   *fields;

	TupleDesc	desc;
	TupleTableSlot *put;
	TupleTableSlot *slot;
	Tuplesortstate *sort;
	BufFile    *records;

	bool		all_pending;	/* a TRUNCATE is */
	int64		npending;
	int64		maxpending;
	uint64	   *pending;		/* hashes of local keys, sorted */

	RcnEntry  **entries;		/* to be looked at again */
	int			n;
} Reconcile;

/* --- reconcile_values.c --- */

/* A hash of what a value means; type is that of ours. */
extern uint64 concord_reconcile_ours(Oid type, const char *text);
extern uint64 concord_reconcile_theirs(Oid type, ConcordSlice slice);

/* Whether a value that is sent is what a member says, times as far as it does. */
extern bool concord_reconcile_same(Oid type, const char *text, ConcordSlice slice);

/* Whether two things that stand for values are those of different ones. */
extern bool concord_reconcile_differ(const Reconcile *reconcile, int field,
									 uint64 ours, uint64 theirs);

extern uint64 concord_reconcile_key_hash(Jsonb *key);
extern void concord_reconcile_identity(pg_uuid_t *identity, Jsonb *key, const char *id);

/* --- reconcile_sides.c --- */

extern void concord_reconcile_fields(Reconcile *reconcile);
extern void concord_reconcile_read_rows(Reconcile *reconcile);
extern void concord_reconcile_read_records(Reconcile *reconcile);

/* Make what stands for the values of a row, mapped or not, and of a record. */
extern void concord_reconcile_row_values(const Reconcile *reconcile, RcnEntry *entry,
										 const ConcordMapped *mapped, uint64 *values);
extern void concord_reconcile_record_values(RcnEntry *entry);

/* Reads a record again, from where it was put, into entry->record. */
extern void concord_reconcile_fetch(Reconcile *reconcile, RcnEntry *entry);

/* --- reconcile_sort.c: halves on disk, in order --- */

extern void concord_reconcile_sort_begin(Reconcile *reconcile);
extern void concord_reconcile_sort_put(Reconcile *reconcile, const RcnHalf *half);
extern void concord_reconcile_sort_end(Reconcile *reconcile);
extern RcnHalf *concord_reconcile_sort_next(Reconcile *reconcile);

/* --- reconcile_pending.c: what is on its way --- */

extern void concord_reconcile_pending(Reconcile *reconcile);
extern bool concord_reconcile_is_pending(const Reconcile *reconcile, Jsonb *key);
extern void concord_reconcile_inbox(Reconcile *reconcile, RcnEntry **entries, int n);

/* --- reconcile_look.c: looks again at what seems to differ --- */

extern void concord_reconcile_look(Reconcile *reconcile, RcnEntry **entries, int n);

/* --- reconcile_repair.c --- */

extern void concord_reconcile_repair(Reconcile *reconcile, RcnEntry **entries, int n);

#endif							/* CONCORD_INBOUND_RECONCILE_H */
