/*-------------------------------------------------------------------------
 *
 * filter_list.c
 *	  Lists of values: IN, = ANY, NOT IN.
 *
 * A short list of constants is part of the filter.  A longer one, and one whose
 * values are known only when the query runs, is asked for in parts, one request
 * after the other: that is how the keys of a join are looked up together.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/filter_parts.h"

#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/array.h"
#include "utils/lsyscache.h"

/* flt_elements takes a constant array apart; NULLs are left out. */
static int
flt_elements(Const *array, Datum **values, Oid *type)
{
	ArrayType  *a = DatumGetArrayTypeP(array->constvalue);
	int16		len;
	bool		byval;
	char		align;
	bool	   *nulls;
	int			n;
	int			kept = 0;

	*type = ARR_ELEMTYPE(a);
	get_typlenbyvalalign(*type, &len, &byval, &align);
	deconstruct_array(a, *type, len, byval, align, values, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (!nulls[i])
			(*values)[kept++] = (*values)[i];
	}
	return kept;
}

/* flt_each appends a comparison with each of n values. */
static bool
flt_each(ConcordFilter *filter, const ConcordForeignColumn *column,
		 ConcordReadOperator op, const char *between, Datum *values, int n,
		 Oid type, List **pieces)
{
	int16		len;
	bool		byval;

	get_typlenbyval(type, &len, &byval);
	for (int i = 0; i < n; i++)
	{
		Const	   *value = makeConst(type, -1, InvalidOid, len, values[i], false,
									  byval);

		if (i > 0)
			concord_flt_text(pieces, between);
		if (!concord_flt_compare(filter, column, op, op, (Expr *) value, pieces))
			return false;
	}
	return true;
}

/* flt_list_size says how many values are asked for at once. */
static int
flt_list_size(const ConcordFilter *filter)
{
	return filter->table->list_size > 0 ? filter->table->list_size :
		filter->reading->list_size;
}

/* flt_not_any makes pieces of column <> ALL (constants). */
static ConcordMatch
flt_not_any(ConcordFilter *filter, const ConcordForeignColumn *column,
			ScalarArrayOpExpr *expr, List **pieces)
{
	ConcordReadType type = concord_filter_type(column, filter->odata2);
	Const	   *array = lsecond(expr->args);
	Datum	   *values;
	Oid			element;
	int			n;
	ConcordMatch match = CONCORD_MATCH_EXACT;

	if (!filter->reading->odata || !IsA(array, Const) || array->constisnull ||
		!concord_flt_knows(filter, CONCORD_OP_NE) ||
		(type == CONCORD_TYPE_TEXT && !column->binary) ||
		(type == CONCORD_TYPE_UUID && column->typid != UUIDOID))
		return CONCORD_MATCH_NONE;
	n = flt_elements(array, &values, &element);
	/* with a null among them nothing is wanted: evaluated here */
	if (n == 0 || n > flt_list_size(filter) ||
		n != ArrayGetNItems(ARR_NDIM(DatumGetArrayTypeP(array->constvalue)),
							ARR_DIMS(DatumGetArrayTypeP(array->constvalue))))
		return CONCORD_MATCH_NONE;
	concord_flt_text(pieces, "(");
	if (!flt_each(filter, column, CONCORD_OP_NE, "%20and%20", values, n, element,
				  pieces))
		return CONCORD_MATCH_NONE;
	if (!concord_flt_not_null(filter, column, pieces))
		match = CONCORD_MATCH_MORE;
	concord_flt_text(pieces, ")");
	return concord_flt_grade(column, match);
}

/* concord_flt_any makes pieces of column = ANY (list). */
ConcordMatch
concord_flt_any(ConcordFilter *filter, ScalarArrayOpExpr *expr, List **pieces)
{
	int			op = concord_flt_operator(expr->opno);
	const ConcordForeignColumn *column = concord_flt_column(filter, linitial(expr->args));
	Expr	   *list = lsecond(expr->args);
	Oid			element = get_base_element_type(exprType((Node *) list));
	ConcordReadType type;
	bool		exact;
	int			n = -1;
	Datum	   *values;

	if (column == NULL || !OidIsValid(element) || !concord_flt_value(filter, list))
		return CONCORD_MATCH_NONE;
	type = concord_filter_type(column, filter->odata2);
	if (type == CONCORD_TYPE_NONE || type == CONCORD_TYPE_TIMESTAMP ||
		!(filter->reading->types & (1 << type)) ||
		concord_flt_local(element) != concord_flt_local(column->typid) ||
		(type == CONCORD_TYPE_TEXT && !concord_flt_deterministic(expr->inputcollid)))
		return CONCORD_MATCH_NONE;
	if (!expr->useOr && op == CONCORD_OP_NE)
		return flt_not_any(filter, column, expr, pieces);
	if (!expr->useOr || op != CONCORD_OP_EQ)
		return CONCORD_MATCH_NONE;
	if (!concord_flt_knows(filter, CONCORD_OP_IN) &&
		!(concord_flt_knows(filter, CONCORD_OP_OR) && concord_flt_knows(filter, CONCORD_OP_EQ)))
		return CONCORD_MATCH_NONE;
	exact = type == CONCORD_TYPE_TEXT ? column->binary :
		type != CONCORD_TYPE_UUID || column->typid == UUIDOID;

	if (IsA(list, Const))
	{
		if (((Const *) list)->constisnull)
			return CONCORD_MATCH_NONE;
		n = flt_elements((Const *) list, &values, &element);
	}
	if (n > 0 && n <= flt_list_size(filter) && filter->reading->odata &&
		!concord_flt_knows(filter, CONCORD_OP_IN))
	{
		concord_flt_text(pieces, "(");
		if (!flt_each(filter, column, CONCORD_OP_EQ, "%20or%20", values, n,
					  element, pieces))
			return CONCORD_MATCH_NONE;
		concord_flt_text(pieces, ")");
		return concord_flt_grade(column, exact ? CONCORD_MATCH_EXACT :
								 CONCORD_MATCH_MORE);
	}
	if (n == 0 || filter->depth > 0 || filter->listed)
		return CONCORD_MATCH_NONE;
	/* asked for in parts, when its values are known */
	filter->listed = true;
	filter->params = lappend(filter->params, list);
	*pieces = lappend(*pieces,
					  list_make3_int(list_length(filter->params) - 1,
									 column->attnum, CONCORD_OP_IN));
	return CONCORD_MATCH_MORE;
}

/* concord_filter_key finds the column of a join's clause. */
const ConcordForeignColumn *
concord_filter_key(ConcordFilter *filter, OpExpr *clause, bool batches,
				   Expr **value)
{
	Expr	   *left = linitial(clause->args);
	const ConcordForeignColumn *column = concord_flt_column(filter, left);
	ConcordReadType type;

	*value = lsecond(clause->args);
	if (column == NULL)
	{
		column = concord_flt_column(filter, *value);
		*value = left;
	}
	if (column == NULL || concord_flt_operator(clause->opno) != CONCORD_OP_EQ ||
		!concord_flt_value(filter, *value))
		return NULL;
	type = concord_filter_type(column, filter->odata2);
	if (type == CONCORD_TYPE_NONE || type == CONCORD_TYPE_TIMESTAMP ||
		!(filter->reading->types & (1 << type)) ||
		concord_flt_local(exprType((Node *) *value)) !=
		concord_flt_local(column->typid) ||
		(type == CONCORD_TYPE_TEXT &&
		 !concord_flt_deterministic(clause->inputcollid)))
		return NULL;
	if (!filter->reading->odata)
		return filter->reading->templates[CONCORD_OP_IN] != NULL ? column : NULL;
	if (concord_flt_knows(filter, CONCORD_OP_IN) ||
		(concord_flt_knows(filter, CONCORD_OP_EQ) &&
		 (concord_flt_knows(filter, CONCORD_OP_OR) || batches)))
		return column;
	return NULL;
}
