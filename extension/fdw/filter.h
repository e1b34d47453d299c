/*-------------------------------------------------------------------------
 *
 * filter.h
 *	  From clauses of a query to filters of a system.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_FILTER_H
#define CONCORD_FDW_FILTER_H

#include "connector/reading.h"
#include "fdw/fdw.h"

#include "nodes/execnodes.h"
#include "nodes/pathnodes.h"

/* What the records are that pass a filter there. */
typedef enum ConcordMatch
{
	CONCORD_MATCH_NONE,			/* the system cannot be asked */
	CONCORD_MATCH_MORE,			/* all that the clause wants, and maybe others */
	CONCORD_MATCH_EXACT,
} ConcordMatch;

/* A query's clauses, on their way. */
typedef struct ConcordFilter
{
	RelOptInfo *rel;
	Index		varno;
	const ConcordForeignTable *table;
	const ConcordReading *reading;
	bool		odata2;
	List	   *params;			/* of Expr *, whose values come later */
	List	   *used;			/* of parameters that are taken (templates) */
	bool		listed;			/* there is a list already */
	int			length;			/* of the texts so far */
	int			depth;			/* below an OR */
} ConcordFilter;

extern void concord_filter_begin(ConcordFilter *filter, RelOptInfo *rel,
								 const ConcordForeignTable *table,
								 const ConcordConnector *connector);

/*
 * concord_filter_clause makes pieces of a clause: a String is text of the
 * address; a list of integers stands for a value: parameter, column, operator.
 */
extern ConcordMatch concord_filter_clause(ConcordFilter *filter, Expr *clause,
										  List **pieces);

/*
 * concord_filter_key says whether the system can be asked for many values of a
 * join's clause "column = expression of other tables" at once: it returns the
 * column and sets *value to the expression, or returns NULL.  batches: several
 * requests can be sent as one.  filter_list.c
 */
extern const ConcordForeignColumn *concord_filter_key(ConcordFilter *filter,
													  OpExpr *clause, bool batches,
													  Expr **value);

/* concord_filter_type says which type a column is compared as. */
extern ConcordReadType concord_filter_type(const ConcordForeignColumn *column,
										   bool odata2);

/* The values of parameters. */
typedef struct ConcordFilterValues
{
	Oid		   *types;
	Datum	   *values;
	bool	   *nulls;
	const Datum *list;			/* those of the list whose turn it is */
	int			nlist;
	Oid			list_type;
} ConcordFilterValues;

/*
 * concord_filter_write appends clauses, each a list of pieces, to a query
 * string, and keys, a filter that is written already (or NULL); values NULL
 * shows parameters as $1.  False: nothing can match.
 * *whole becomes false where a value has no form there and its clause was left
 * out.
 */
extern bool concord_filter_write(StringInfo buf, List *clauses,
								 const ConcordForeignTable *table,
								 const ConcordReading *reading, bool odata2,
								 const ConcordFilterValues *values,
								 const char *keys, bool *whole);

/*
 * concord_filter_list finds the list among clauses: its parameter, or -1, and
 * its column.
 */
extern int	concord_filter_list(List *clauses, const ConcordReading *reading,
								AttrNumber *attnum);

#endif							/* CONCORD_FDW_FILTER_H */
