/*-------------------------------------------------------------------------
 *
 * plan.h
 *	  What planning knows of a foreign table, and what a plan carries.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_PLAN_H
#define CONCORD_FDW_PLAN_H

#include "connector/reading.h"
#include "fdw/fdw.h"
#include "live/peer.h"

#include "nodes/pathnodes.h"
#include "nodes/plannodes.h"

/* In units of seq_page_cost: about 10 µs. */
#define CONCORD_REQUEST_COST	200.0
#define CONCORD_ROW_COST		0.2

/* baserel->fdw_private */
typedef struct ConcordPlanned
{
	ConcordForeignTable *table;
	ConcordPeer *peer;
	const ConcordReading *reading;
	bool		odata2;
	List	   *pushed;			/* of RestrictInfo *: which are asked */
	bool		exact;			/* all clauses are asked, and are exact */
	bool		listed;			/* one is asked for in parts */
	List	   *used;			/* parameters of templates that are taken */
	double		fetched;		/* rows that come, as far as can be told */
} ConcordPlanned;

/* path->fdw_private and what ends up in the plan; an index of fdw_private */
typedef enum ConcordPlanItem
{
	CONCORD_PLAN_COUNT,			/* Boolean: it counts */
	CONCORD_PLAN_ATTRS,			/* IntList: columns that are asked for */
	CONCORD_PLAN_CLAUSES,		/* List of Lists: filter.h */
	CONCORD_PLAN_ORDER,			/* String: of the query string, or "" */
	CONCORD_PLAN_LIMIT,			/* String: a number, or "-1" */
	CONCORD_PLAN_SKIP,			/* String */
	CONCORD_PLAN_OUTPUT,		/* IntList: columns of the scan's tuples where
								 * they are not those of the table */
	CONCORD_PLAN_ETAGS,			/* Boolean: rows are to be written */
	CONCORD_PLAN_KEYS,			/* IntList: columns whose values a join gives,
								 * many at a time; NIL: none */
	CONCORD_PLAN_EAGER,			/* Boolean: all rows are wanted */
} ConcordPlanItem;

/* What a path says beside that it is one. */
typedef struct ConcordPathInfo
{
	bool		count;
	char	   *order;
	int64		limit;
	int64		skip;
	List	   *keys;			/* as CONCORD_PLAN_KEYS */
} ConcordPathInfo;

/* plan.c */
extern List *concord_path_private(const ConcordPathInfo *info);
extern bool concord_plan_simple(PlannerInfo *root, RelOptInfo *rel);

/*
 * concord_plan_pages says how many requests bring so many rows of a table; at
 * least one.
 */
extern double concord_plan_pages(const ConcordPlanned *planned, double rows);

/*
 * concord_plan_table returns what planning knows of a relation that is a foreign
 * table of this wrapper and is read as such; NULL where it is not.
 */
extern ConcordPlanned *concord_plan_table(const RelOptInfo *rel);

/* order.c */

/*
 * concord_order_text gives the parameter's value that orders as pathkeys want
 * it, percent-encoded; NULL where the system does not, or not in the same way.
 */
extern char *concord_order_text(PlannerInfo *root, RelOptInfo *rel,
								List *pathkeys);

/*
 * concord_order_stable gives the order ("": none) that a list is asked for in:
 * with the key behind it where pages go by number and the system orders.
 */
extern char *concord_order_stable(const ConcordForeignTable *table,
								  const ConcordReading *reading,
								  const char *order);

#endif							/* CONCORD_FDW_PLAN_H */
