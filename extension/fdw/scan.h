/*-------------------------------------------------------------------------
 *
 * scan.h
 *	  A foreign scan under way.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_SCAN_H
#define CONCORD_FDW_SCAN_H

#include "fdw/filter.h"
#include "fdw/join_keys.h"
#include "fdw/page.h"
#include "fdw/reader.h"
#include "fdw/value.h"

#include "nodes/execnodes.h"

/* node->fdw_state */
typedef struct ConcordScan
{
	ConcordForeignTable *table;
	ConcordPeer *peer;
	const ConcordReading *reading;
	bool		odata2;
	bool		count;
	bool		async;
	bool		eager;			/* all rows are wanted */
	List	   *clauses;
	ConcordQuery query;
	char	   *select;			/* columns, of the query string; NULL: all */
	const char *order;
	ConcordReader *reader;
	bool	   *wanted;			/* columns, by attnum - 1 */
	ConcordPick *pick;
	ConcordConverter **converters;
	ConcordSlice *slices;
	int			noutput;
	int		   *output;			/* column of each place of a tuple; 0: none */
	int			page;			/* of the record before */

	bool		started;		/* params are evaluated */
	bool		ended;
	MemoryContext params_context;
	ExprState **params;
	int			nparams;
	ConcordFilterValues values;
	AttrNumber	list_column;
	int			list_param;		/* -1: no list */
	Datum	   *list;			/* of different values */
	int			list_length;
	int			list_at;		/* behind those whose turn it is */
	int			list_size;
	ConcordJoinKeys *keys;		/* that a join gives; NULL: none does */

	struct ConcordTags *tags;	/* of rows that are to be written; or NULL */
} ConcordScan;

/*
 * concord_scan_create makes what a scan needs to read the columns of attrs
 * (NIL: all) of a table.
 */
extern ConcordScan *concord_scan_create(ConcordForeignTable *table,
										ConcordPeer *peer, List *attrs,
										bool tags);

/* concord_scan_take makes values of a record, at their columns' places. */
extern void concord_scan_take(ConcordScan *scan, ConcordSlice record, int page,
							  Datum *values, bool *nulls);

/*
 * concord_scan_room says how many bytes of a query string keys may have beside
 * what is asked for anyway.
 */
extern int	concord_scan_room(ConcordScan *scan);

/* concord_scan_select writes which columns are asked for. */
extern char *concord_scan_select(const ConcordForeignTable *table,
								 const ConcordReading *reading,
								 bool odata2, const bool *wanted);

/*
 * tags.c: versions of records that are to be written, and the places in tuples
 * (ctid) where they are found again while the statement runs.
 */
extern struct ConcordTags *concord_tags_create(void);
extern void concord_tags_place(struct ConcordTags *tags, ConcordSlice tag,
							   ItemPointer place);
extern const char *concord_tags_get(ItemPointer place);

#endif							/* CONCORD_FDW_SCAN_H */
