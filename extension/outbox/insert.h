/*-------------------------------------------------------------------------
 *
 * insert.h
 *	  Rows that go in past the executor.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_OUTBOX_INSERT_H
#define CONCORD_OUTBOX_INSERT_H

#include "base/compat.h"

#include "access/heapam.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/relcache.h"

#define CONCORD_INSERT_ROWS		128 /* in one flush */
#define CONCORD_INSERT_INDEXES	16

/* A table that is being written. */
typedef struct ConcordInsert
{
	Relation	rel;			/* NULL: not open */
	int			nindexes;
	Relation	indexes[CONCORD_INSERT_INDEXES];
	IndexInfo  *infos[CONCORD_INSERT_INDEXES];
	ExprState  *predicates[CONCORD_INSERT_INDEXES]; /* NULL: of all rows */
	bool		sums[CONCORD_INSERT_INDEXES];	/* has bounds of blocks only */
	EState	   *estate;			/* for predicates; NULL: there is none */
	BulkInsertState bistate;
	TupleTableSlot *slots[CONCORD_INSERT_ROWS];
	int			nslots;
	int			n;				/* slots in use */
} ConcordInsert;

/* insert.c */
extern Oid	concord_insert_relation(const char *name);
extern void concord_insert_open(ConcordInsert *insert, Oid relid, int ncolumns);
extern TupleTableSlot *concord_insert_slot(ConcordInsert *insert);
extern void concord_insert_flush(ConcordInsert *insert, bool *taken);
extern void concord_insert_close(ConcordInsert *insert);

#endif							/* CONCORD_OUTBOX_INSERT_H */
