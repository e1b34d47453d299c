/*-------------------------------------------------------------------------
 *
 * match.h
 *	  Private to matching: which rows and records are the same.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_INBOUND_MATCH_H
#define CONCORD_INBOUND_MATCH_H

#include "inbound/apply.h"

#include "fdw/reader.h"
#include "utils/tuplestore.h"

#define MAT_BATCH		500		/* records that are read, or linked, together */

/* What becomes of a row, a record or a pair of them. */
typedef enum MatVerdict
{
	MAT_LINKED,					/* already */
	MAT_MATCH,
	MAT_AMBIGUOUS,				/* several rows for a record */
	MAT_DUPLICATE,				/* several records for a row, or one that has
								 * another one's id */
	MAT_LOCAL_ONLY,
	MAT_REMOTE_ONLY,
	MAT_NO_RECORD,				/* a linked row whose record is not listed */
	MAT_NO_ROW,					/* a link whose row is gone */
	MAT_UNUSABLE,				/* a record that tells no id */
} MatVerdict;

#define MAT_VERDICTS	(MAT_UNUSABLE + 1)

/* Rules that are none of option match. */
#define MAT_RULE_NONE	(-1)
#define MAT_RULE_KEY	0		/* those of option match are 1 and up */
#define MAT_RULE_ID		(-2)	/* two records have one id */

/* What is known of a row or record so far. */
typedef enum MatState
{
	MAT_FREE,
	MAT_SETTLED,				/* it has its other side */
	MAT_CONTESTED,				/* that is a person's to say */
	MAT_DROPPED,				/* a record that was listed twice, or is of no
								 * use */
} MatState;

/* A relation that exists only for our statements. */
typedef struct MatRelation
{
	const char *name;
	TupleDesc	desc;
	Tuplestorestate *store;
	int64		n;
} MatRelation;

/* One side: all rows, or all records, by number. */
typedef struct MatSide
{
	int32		n;
	int32		max;
	uint8	   *state;			/* MatState */
	uint8	   *pairs;			/* of the rule at work: 0, 1, 2 for more */
	int32	   *other;			/* whom it is settled with; -1: nobody */
	int16	   *rule;			/* by which rule */
} MatSide;

/* What was found, and done. */
typedef struct ConcordMatchCounts
{
	int64		verdicts[MAT_VERDICTS];
	int64		linked;			/* by this run */
	int64		sent;			/* rows that are sent because of it */
} ConcordMatchCounts;

typedef struct ConcordMatch
{
	const ConcordMapping *mapping;
	MemoryContext context;
	MemoryContext batch;
	ConcordInbound *inbound;
	bool		by_id;			/* a record may be a row whose key gives
								 * another id */
	bool		conditions;		/* a rule is a condition over both */

	MatRelation rows;			/* m, key, k..., x... */
	MatRelation records;		/* n, id, hash, k..., v..., remote */
	MatRelation links;			/* l, key, id */
	MatRelation pairs;			/* m, n, l, rule, verdict */
	MatRelation bodies;			/* record, etag, why: in the order of n */
	int			key_text;		/* column of rows with the key's text; 0: the
								 * key is compared as it is */
	int			rule_columns;	/* where those of rules begin, in rows */
	int			rule_values;	/* and in records */
	MatSide		local;
	MatSide		remote;
	char	   *verdicts;		/* of matches, where linking says otherwise;
								 * by n, verdict + 1 */
	ConcordMatchCounts counts;
} ConcordMatch;

/* --- match_read.c: the records --- */

/* Raises where the records of a mapping's system cannot be listed. */
extern void concord_match_check(const ConcordMapping *mapping);
extern void concord_match_read(ConcordMatch *match);

/* --- match_sides.c: relations, rows and links --- */

extern void concord_match_relations(ConcordMatch *match);
extern void concord_match_put(MatRelation *relation, Datum *values, bool *nulls);
extern int32 concord_match_side_add(MatSide *side, MemoryContext context);
extern void concord_match_read_links(ConcordMatch *match);
extern void concord_match_read_rows(ConcordMatch *match);

/* Called with each row that a statement over the relations gives. */
typedef void (*MatTake) (ConcordMatch *match, HeapTuple tuple, TupleDesc desc, void *arg);
extern void concord_match_query(ConcordMatch *match, const char *sql, MatTake take, void *arg);

/* --- match_rules.c: who is who --- */

extern void concord_match_compare(ConcordMatch *match);
extern const char *concord_match_rule_name(const ConcordMatch *match, int rule);

/* --- match_link.c: what comes of it --- */

extern void concord_match_link(ConcordMatch *match, bool send);

/* --- match.c --- */

/*
 * concord_match_open makes what comparing needs; then the records are read,
 * both sides compared, and linked.  Needs SPI, and but for reading an active
 * snapshot.
 */
extern ConcordMatch *concord_match_open(const ConcordMapping *mapping,
										MemoryContext context);
extern void concord_match_close(ConcordMatch *match);

/* --- match_state.c: initial 'match' --- */

/*
 * concord_match_init answers the mapping room; called when the library is
 * loaded.
 */
extern void concord_match_init(void);

/*
 * concord_match_due does a match that a new mapping is waiting for, in
 * transactions of its own; false: none is due.  For the applier.
 */
extern bool concord_match_due(void);

#endif							/* CONCORD_INBOUND_MATCH_H */
