/*-------------------------------------------------------------------------
 *
 * filter_parts.h
 *	  What the files that make filters share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_FILTER_PARTS_H
#define CONCORD_FDW_FILTER_PARTS_H

#include "fdw/filter.h"
#include "fdw/literal.h"

/* filter.c: whether the system has an operator */
extern bool concord_flt_knows(const ConcordFilter *filter,
							  ConcordReadOperator op);

/* which type a type of ours is compared as */
extern ConcordReadType concord_flt_local(Oid typid);

/* the column that an expression is, if it can be asked for, or NULL */
extern const ConcordForeignColumn *concord_flt_column(const ConcordFilter *filter,
													  Expr *expr);

/* whether an expression is known before the list is asked for */
extern bool concord_flt_value(const ConcordFilter *filter, Expr *expr);

/* the operator of ours; -1: it is none that is asked */
extern int	concord_flt_operator(Oid opno);

extern void concord_flt_text(List **pieces, const char *text);
extern char *concord_flt_name(const ConcordForeignColumn *column);

/* a comparison; form is the operator that its value is written for */
extern bool concord_flt_compare(ConcordFilter *filter,
								const ConcordForeignColumn *column,
								ConcordReadOperator op, ConcordReadOperator form,
								Expr *value, List **pieces);

/* what keeps null out of a negation */
extern bool concord_flt_not_null(ConcordFilter *filter,
								 const ConcordForeignColumn *column,
								 List **pieces);

/* lowers a match where the column's bad values are null */
extern ConcordMatch concord_flt_grade(const ConcordForeignColumn *column,
									  ConcordMatch match);

/* equal texts are the same bytes */
extern bool concord_flt_deterministic(Oid collation);

/* filter_list.c */
extern ConcordMatch concord_flt_any(ConcordFilter *filter,
									ScalarArrayOpExpr *expr, List **pieces);

/* filter_like.c */
extern bool concord_like_is(Oid opno);
extern ConcordMatch concord_like_clause(ConcordFilter *filter,
										const ConcordForeignColumn *column,
										OpExpr *expr, List **pieces);

#endif							/* CONCORD_FDW_FILTER_PARTS_H */
