/*-------------------------------------------------------------------------
 *
 * join.h
 *	  Joins that look the keys of many rows up in one request.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_JOIN_H
#define CONCORD_FDW_JOIN_H

#include "base/compat.h"

#include "nodes/extensible.h"
#include "nodes/plannodes.h"

/* What a plan's custom_private carries. */
typedef enum ConcordJoinItem
{
	CONCORD_JOIN_TYPE,			/* Integer: JoinType */
	CONCORD_JOIN_SOURCES,		/* IntList: where the columns of the scan's
								 * tuples come from: n of the outer plan's
								 * target list, -n of the inner plan's */
	CONCORD_JOIN_OPERATORS,		/* OidList: of the keys' clauses */
	CONCORD_JOIN_SWAPPED,		/* IntList: 1 where the column is on the left */
	CONCORD_JOIN_COLLATIONS,	/* OidList */
} ConcordJoinItem;

/* What its custom_exprs are. */
typedef enum ConcordJoinExpr
{
	CONCORD_JOIN_OUTER_KEYS,	/* List of Expr *: values that are looked up */
	CONCORD_JOIN_INNER_KEYS,	/* and what they are compared with */
	CONCORD_JOIN_QUAL,			/* List of Expr *: the join's clauses */
} ConcordJoinExpr;

/* join.c */
extern const CustomScanMethods concord_join_methods;

/* join_plan.c: _PG_init's; adds our paths to those of joins. */
extern void concord_join_init(void);

#endif							/* CONCORD_FDW_JOIN_H */
