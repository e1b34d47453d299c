/*-------------------------------------------------------------------------
 *
 * filter.c
 *	  From clauses of a query to filters of a system.
 *
 * Every clause is evaluated here in any case.  What the system filters only
 * saves the way of rows that would be thrown away; so a filter must let through
 * all that the clause wants (MORE), and where it lets through nothing else
 * (EXACT) the system may also count and cut off the list.  What can differ:
 *
 *	texts		may be compared without case, accents or blanks at the end there.
 *				Equal texts are equal for everybody, so = and IN are MORE, and
 *				what negates or orders is not asked, unless option collation of
 *				the column says that texts are compared byte by byte
 *	null		x ne 5 holds for null in OData and does not here: "and x ne null"
 *	NOT			has been moved inwards by the planner; what is left of it is not
 *				asked, for it is null here where it is true there
 *	times		may be kept in more digits than an answer shows: what is asked is
 *				in whole seconds and wide enough; >= and < of a whole second are
 *				exact
 *	numeric		values are taken over whole or not at all (value.c), so they
 *				compare as they do there
 *	floats, char(n), intervals, arrays: are not asked
 *
 * A column whose bad values are null compares differently for these: MORE.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/filter_parts.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "fdw/literal.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/clauses.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* What is asked of an address at most; the rest is evaluated here. */
#define FLT_MAX_LENGTH	4000

static const char *const flt_words[CONCORD_OPS] = {
	"eq", "ne", "lt", "le", "gt", "ge", "in", "eq", "or", "startswith",
	"endswith", "contains"
};

/* concord_filter_begin starts with the clauses of a relation. */
void
concord_filter_begin(ConcordFilter *filter, RelOptInfo *rel,
					 const ConcordForeignTable *table,
					 const ConcordConnector *connector)
{
	memset(filter, 0, sizeof(ConcordFilter));
	filter->rel = rel;
	filter->varno = rel->relid;
	filter->table = table;
	filter->reading = concord_connector_reading(connector);
	filter->odata2 = connector->odata2;
}

/* concord_flt_knows says whether the system has an operator. */
bool
concord_flt_knows(const ConcordFilter *filter, ConcordReadOperator op)
{
	return (filter->reading->operators & (1 << op)) != 0;
}

/* concord_flt_local says which type a column of ours has. */
ConcordReadType
concord_flt_local(Oid typid)
{
	switch (getBaseType(typid))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
			return CONCORD_TYPE_NUMBER;
		case TEXTOID:
		case VARCHAROID:
			return CONCORD_TYPE_TEXT;
		case BOOLOID:
			return CONCORD_TYPE_BOOLEAN;
		case DATEOID:
			return CONCORD_TYPE_DATE;
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return CONCORD_TYPE_TIMESTAMP;
		case UUIDOID:
			return CONCORD_TYPE_UUID;
		default:
			return CONCORD_TYPE_NONE;
	}
}

/*
 * concord_filter_type says which type a column is compared as: ours, where
 * option type does not say that the system's is another one.
 */
ConcordReadType
concord_filter_type(const ConcordForeignColumn *column, bool odata2)
{
	ConcordReadType type = concord_flt_local(column->typid);
	ConcordReadType theirs = concord_literal_type(column->type);
	bool		zone = getBaseType(column->typid) == TIMESTAMPTZOID;

	if (column->typid != getBaseType(column->typid))
		return CONCORD_TYPE_NONE;
	/* a time without a zone is none in OData 4 */
	if (type == CONCORD_TYPE_TIMESTAMP && !zone && !odata2)
		return CONCORD_TYPE_NONE;
	if (column->type == NULL || theirs == type)
		return type;
	if (type == CONCORD_TYPE_DATE && theirs == CONCORD_TYPE_TIMESTAMP && odata2)
		return type;
	/* a text that shows a uuid: compared as that, without case */
	if (type == CONCORD_TYPE_TEXT && theirs == CONCORD_TYPE_UUID)
		return CONCORD_TYPE_UUID;
	return CONCORD_TYPE_NONE;
}

/* flt_strip takes casts off that change nothing. */
static Expr *
flt_strip(Expr *expr)
{
	for (;;)
	{
		if (IsA(expr, RelabelType))
			expr = ((RelabelType *) expr)->arg;
		else if (IsA(expr, FuncExpr) &&
				 ((FuncExpr *) expr)->funcformat == COERCE_IMPLICIT_CAST &&
				 list_length(((FuncExpr *) expr)->args) == 1)
		{
			Expr	   *arg = linitial(((FuncExpr *) expr)->args);

			/* int to bigint, int to numeric */
			if (concord_flt_local(exprType((Node *) arg)) != CONCORD_TYPE_NUMBER ||
				exprType((Node *) arg) == NUMERICOID ||
				concord_flt_local(exprType((Node *) expr)) != CONCORD_TYPE_NUMBER)
				return expr;
			expr = arg;
		}
		else
			return expr;
	}
}

/* concord_flt_column returns the column that an expression is, if it can be asked for. */
const ConcordForeignColumn *
concord_flt_column(const ConcordFilter *filter, Expr *expr)
{
	Var		   *var = (Var *) flt_strip(expr);
	const ConcordForeignColumn *column;

	if (!IsA(var, Var) || var->varno != filter->varno || var->varlevelsup != 0 ||
		var->varattno <= 0 || var->varattno > filter->table->ncolumns)
		return NULL;
	column = &filter->table->columns[var->varattno - 1];
	if (column->attnum == 0 || !column->pushdown || column->name[0] == '@')
		return NULL;
	return column;
}

/* concord_flt_value says whether an expression is known before the list is asked for. */
bool
concord_flt_value(const ConcordFilter *filter, Expr *expr)
{
	if (bms_is_member(filter->varno, pull_varnos(NULL, (Node *) expr)))
		return false;
	return !contain_volatile_functions((Node *) expr) &&
		!contain_subplans((Node *) expr);
}

/* concord_flt_text appends text to pieces. */
void
concord_flt_text(List **pieces, const char *text)
{
	*pieces = lappend(*pieces, makeString(pstrdup(text)));
}

/* concord_flt_name gives a name as an address has it. */
char *
concord_flt_name(const ConcordForeignColumn *column)
{
	StringInfoData buf;

	initStringInfo(&buf);
	concord_url_escape(&buf, column->name, "/");
	return buf.data;
}

/* flt_operand appends a value: of a constant its literal, or a parameter. */
static bool
flt_operand(ConcordFilter *filter, const ConcordForeignColumn *column,
			ConcordReadOperator op, Expr *value, List **pieces)
{
	StringInfoData buf;

	if (!IsA(value, Const))
	{
		if (filter->depth > 0)
			return false;
		filter->params = lappend(filter->params, value);
		*pieces = lappend(*pieces,
						  list_make3_int(list_length(filter->params) - 1,
										 column->attnum, op));
		return true;
	}
	if (((Const *) value)->constisnull)
		return false;
	initStringInfo(&buf);
	if (!concord_literal_write(&buf, column, filter->reading, filter->odata2, op,
							   ((Const *) value)->consttype,
							   ((Const *) value)->constvalue))
		return false;
	concord_flt_text(pieces, buf.data);
	return true;
}

/*
 * concord_flt_compare appends a comparison: "name op value" in OData, or what the
 * template of the operator says.
 */
bool
concord_flt_compare(ConcordFilter *filter, const ConcordForeignColumn *column,
					ConcordReadOperator op, ConcordReadOperator form, Expr *value,
					List **pieces)
{
	char	   *name = concord_flt_name(column);
	const char *template = filter->reading->templates[op];

	if (filter->reading->odata && op >= CONCORD_OP_STARTSWITH)
	{
		bool		substring = filter->odata2 && op == CONCORD_OP_CONTAINS;

		concord_flt_text(pieces, substring ? "substringof(" :
						 psprintf("%s(%s,", flt_words[op], name));
		if (!flt_operand(filter, column, form, value, pieces))
			return false;
		concord_flt_text(pieces, substring ? psprintf(",%s)", name) : ")");
		return true;
	}
	if (filter->reading->odata)
	{
		concord_flt_text(pieces, psprintf("%s%%20%s%%20", name, flt_words[op]));
		return flt_operand(filter, column, form, value, pieces);
	}
	if (template == NULL || filter->depth > 0 ||
		list_member(filter->used, list_make2_int(column->attnum, op)))
		return false;
	filter->used = lappend(filter->used, list_make2_int(column->attnum, op));
	for (const char *p = template; *p;)
	{
		const char *open = strchr(p, '{');

		if (open == NULL)
		{
			concord_flt_text(pieces, p);
			break;
		}
		concord_flt_text(pieces, pnstrdup(p, open - p));
		if (strncmp(open, "{name}", 6) == 0)
		{
			concord_flt_text(pieces, name);
			p = open + 6;
		}
		else if (strncmp(open, "{value}", 7) == 0)
		{
			if (!flt_operand(filter, column, form, value, pieces))
				return false;
			p = open + 7;
		}
		else
		{
			concord_flt_text(pieces, "{");
			p = open + 1;
		}
	}
	return true;
}

/* concord_flt_grade lowers a match where the column's bad values are null. */
ConcordMatch
concord_flt_grade(const ConcordForeignColumn *column, ConcordMatch match)
{
	if (match == CONCORD_MATCH_EXACT &&
		(column->on_bad_value == CONCORD_BAD_NULL))
		return CONCORD_MATCH_MORE;
	return match;
}

/* concord_flt_deterministic: equal texts are the same bytes. */
bool
concord_flt_deterministic(Oid collation)
{
	return !OidIsValid(collation) || get_collation_isdeterministic(collation);
}

/* concord_flt_not_null appends what keeps null out of a negation. */
bool
concord_flt_not_null(ConcordFilter *filter, const ConcordForeignColumn *column,
					 List **pieces)
{
	if (column->not_null)
		return true;
	if (!filter->reading->odata || !concord_flt_knows(filter, CONCORD_OP_NULL))
		return false;
	concord_flt_text(pieces, psprintf("%%20and%%20%s%%20ne%%20null", concord_flt_name(column)));
	return true;
}

/* concord_flt_operator finds the operator of ours; -1: it is none that is asked. */
int
concord_flt_operator(Oid opno)
{
	static const char *const names[] = {"=", "<>", "<", "<=", ">", ">="};
	char	   *name;

	if (opno >= FirstGenbkiObjectId)
		return -1;
	name = get_opname(opno);
	for (int i = 0; name != NULL && i < lengthof(names); i++)
	{
		if (strcmp(name, names[i]) == 0)
			return CONCORD_OP_EQ + i;
	}
	return -1;
}

/* flt_ordered compares a column whose values have an order that is the same. */
static ConcordMatch
flt_ordered(ConcordFilter *filter, const ConcordForeignColumn *column,
			ConcordReadOperator op, Expr *value, List **pieces)
{
	ConcordMatch match = CONCORD_MATCH_EXACT;

	if (op == CONCORD_OP_NE)
	{
		concord_flt_text(pieces, filter->reading->odata ? "(" : "");
		if (!concord_flt_compare(filter, column, op, op, value, pieces))
			return CONCORD_MATCH_NONE;
		if (!concord_flt_not_null(filter, column, pieces))
			match = CONCORD_MATCH_MORE;
		concord_flt_text(pieces, filter->reading->odata ? ")" : "");
		return concord_flt_grade(column, match);
	}
	if (!concord_flt_compare(filter, column, op, op, value, pieces))
		return CONCORD_MATCH_NONE;
	return concord_flt_grade(column, match);
}

/* flt_time compares a time, whose last digits may be hidden. */
static ConcordMatch
flt_time(ConcordFilter *filter, const ConcordForeignColumn *column,
		 ConcordReadOperator op, Expr *value, List **pieces)
{
	switch (op)
	{
		case CONCORD_OP_GE:
		case CONCORD_OP_GT:
			if (!concord_flt_compare(filter, column, CONCORD_OP_GE, CONCORD_OP_GE, value,
									 pieces))
				return CONCORD_MATCH_NONE;
			return concord_flt_grade(column, op == CONCORD_OP_GE &&
									 concord_literal_whole(value) ?
									 CONCORD_MATCH_EXACT : CONCORD_MATCH_MORE);
		case CONCORD_OP_LT:
			if (!concord_flt_compare(filter, column, op, op, value, pieces))
				return CONCORD_MATCH_NONE;
			return concord_flt_grade(column, concord_literal_whole(value) ?
									 CONCORD_MATCH_EXACT : CONCORD_MATCH_MORE);
		case CONCORD_OP_LE:
			if (!concord_flt_compare(filter, column, op, op, value, pieces))
				return CONCORD_MATCH_NONE;
			return CONCORD_MATCH_MORE;
		case CONCORD_OP_EQ:
			if (!filter->reading->odata || filter->depth > 0 ||
				!concord_flt_knows(filter, CONCORD_OP_GE) ||
				!concord_flt_knows(filter, CONCORD_OP_LE))
				return CONCORD_MATCH_NONE;
			if (!concord_flt_compare(filter, column, CONCORD_OP_GE, CONCORD_OP_GE, value,
									 pieces))
				return CONCORD_MATCH_NONE;
			concord_flt_text(pieces, "%20and%20");
			if (!concord_flt_compare(filter, column, CONCORD_OP_LE, CONCORD_OP_LE, value,
									 pieces))
				return CONCORD_MATCH_NONE;
			return CONCORD_MATCH_MORE;
		default:
			return CONCORD_MATCH_NONE;
	}
}

/* flt_same compares for equality what has no order that is the same. */
static ConcordMatch
flt_same(ConcordFilter *filter, const ConcordForeignColumn *column,
		 ConcordReadOperator op, Expr *value, Oid collation, List **pieces)
{
	ConcordReadType type = concord_filter_type(column, filter->odata2);
	bool		text = type == CONCORD_TYPE_TEXT;
	bool		exact = !text || column->binary;

	/* a uuid that is a text here may be written in more than one way */
	if (type == CONCORD_TYPE_UUID && column->typid != UUIDOID)
		exact = false;
	if (text && !concord_flt_deterministic(collation))
		return CONCORD_MATCH_NONE;
	if (op == CONCORD_OP_EQ)
	{
		if (!concord_flt_compare(filter, column, op, op, value, pieces))
			return CONCORD_MATCH_NONE;
		return concord_flt_grade(column, exact ? CONCORD_MATCH_EXACT :
								 CONCORD_MATCH_MORE);
	}
	if (!exact)
		return CONCORD_MATCH_NONE;
	if (op != CONCORD_OP_NE &&
		!(text && concord_collation_is_c(collation)))
		return CONCORD_MATCH_NONE;
	return flt_ordered(filter, column, op, value, pieces);
}

/* flt_comparison makes pieces of "column op value". */
static ConcordMatch
flt_comparison(ConcordFilter *filter, OpExpr *expr, List **pieces)
{
	int			op = concord_flt_operator(expr->opno);
	Expr	   *left = linitial(expr->args);
	Expr	   *value = lsecond(expr->args);
	const ConcordForeignColumn *column = concord_flt_column(filter, left);
	ConcordReadType type;

	if (op < 0)
		return CONCORD_MATCH_NONE;
	if (column == NULL)
	{
		value = left;
		column = concord_flt_column(filter, lsecond(expr->args));
		op = op == CONCORD_OP_LT ? CONCORD_OP_GT : op == CONCORD_OP_LE ? CONCORD_OP_GE :
			op == CONCORD_OP_GT ? CONCORD_OP_LT : op == CONCORD_OP_GE ? CONCORD_OP_LE : op;
	}
	if (column == NULL || !concord_flt_value(filter, value) || !concord_flt_knows(filter, op))
		return CONCORD_MATCH_NONE;
	type = concord_filter_type(column, filter->odata2);
	if (type == CONCORD_TYPE_NONE || !(filter->reading->types & (1 << type)) ||
		concord_flt_local(exprType((Node *) value)) != concord_flt_local(column->typid))
		return CONCORD_MATCH_NONE;
	/* date and timestamptz compare by the session's zone; so do the others */
	if (type == CONCORD_TYPE_TIMESTAMP &&
		getBaseType(exprType((Node *) value)) != column->typid)
		return CONCORD_MATCH_NONE;

	switch (type)
	{
		case CONCORD_TYPE_NUMBER:
		case CONCORD_TYPE_DATE:
			return flt_ordered(filter, column, op, value, pieces);
		case CONCORD_TYPE_TIMESTAMP:
			return flt_time(filter, column, op, value, pieces);
		default:
			return flt_same(filter, column, op, value, expr->inputcollid, pieces);
	}
}

/* flt_truth makes pieces of a boolean column that is to be true or false. */
static ConcordMatch
flt_truth(ConcordFilter *filter, Expr *expr, bool wanted, List **pieces)
{
	const ConcordForeignColumn *column = concord_flt_column(filter, expr);

	if (column == NULL || !concord_flt_knows(filter, CONCORD_OP_EQ) ||
		!(filter->reading->types & (1 << CONCORD_TYPE_BOOLEAN)) ||
		concord_filter_type(column, filter->odata2) != CONCORD_TYPE_BOOLEAN)
		return CONCORD_MATCH_NONE;
	return flt_same(filter, column, CONCORD_OP_EQ,
					(Expr *) makeBoolConst(wanted, false), InvalidOid, pieces);
}

/* flt_null makes pieces of IS NULL and IS NOT NULL. */
static ConcordMatch
flt_null(ConcordFilter *filter, NullTest *test, List **pieces)
{
	const ConcordForeignColumn *column = concord_flt_column(filter, test->arg);
	bool		sure;

	if (column == NULL || test->argisrow || !concord_flt_knows(filter, CONCORD_OP_NULL))
		return CONCORD_MATCH_NONE;
	/* where something else than null is null here, it is not there */
	sure = column->on_bad_value == CONCORD_BAD_ERROR &&
		column->on_missing == CONCORD_BAD_ERROR && column->npath == 1;
	if (test->nulltesttype == IS_NULL && !sure)
		return CONCORD_MATCH_NONE;
	if (filter->reading->odata)
		concord_flt_text(pieces, psprintf("%s%%20%s%%20null", concord_flt_name(column),
										  test->nulltesttype == IS_NULL ? "eq" : "ne"));
	else if (test->nulltesttype == IS_NULL)
	{
		if (!concord_flt_compare(filter, column, CONCORD_OP_NULL, CONCORD_OP_EQ,
								 (Expr *) makeBoolConst(true, false), pieces))
			return CONCORD_MATCH_NONE;
	}
	else
		return CONCORD_MATCH_NONE;
	return sure ? CONCORD_MATCH_EXACT : CONCORD_MATCH_MORE;
}

static ConcordMatch flt_clause(ConcordFilter *filter, Expr *clause,
							   List **pieces);

/* flt_joined makes pieces of the arguments of AND or OR. */
static ConcordMatch
flt_joined(ConcordFilter *filter, BoolExpr *expr, List **pieces)
{
	bool		all = expr->boolop == OR_EXPR;
	ConcordMatch match = CONCORD_MATCH_EXACT;
	ListCell   *lc;
	int			n = 0;

	if (!filter->reading->odata || (all && !concord_flt_knows(filter, CONCORD_OP_OR)))
		return CONCORD_MATCH_NONE;
	filter->depth++;
	concord_flt_text(pieces, "(");
	foreach(lc, expr->args)
	{
		List	   *part = NIL;
		ConcordMatch one = flt_clause(filter, lfirst(lc), &part);

		if (one == CONCORD_MATCH_NONE && all)
		{
			filter->depth--;
			return CONCORD_MATCH_NONE;
		}
		match = Min(match, Max(one, CONCORD_MATCH_MORE));
		if (one == CONCORD_MATCH_NONE)
			continue;
		if (n++ > 0)
			concord_flt_text(pieces, all ? "%20or%20" : "%20and%20");
		*pieces = list_concat(*pieces, part);
	}
	concord_flt_text(pieces, ")");
	filter->depth--;
	return n == 0 ? CONCORD_MATCH_NONE : match;
}

/* flt_clause makes pieces of any clause. */
static ConcordMatch
flt_clause(ConcordFilter *filter, Expr *clause, List **pieces)
{
	BoolExpr   *expr = (BoolExpr *) clause;

	if (IsA(clause, OpExpr) && list_length(((OpExpr *) clause)->args) == 2)
	{
		const ConcordForeignColumn *column =
			concord_flt_column(filter, linitial(((OpExpr *) clause)->args));
		Expr	   *value = lsecond(((OpExpr *) clause)->args);

		if (column != NULL && IsA(value, Const) &&
			concord_filter_type(column, filter->odata2) == CONCORD_TYPE_TEXT &&
			concord_like_is(((OpExpr *) clause)->opno))
			return concord_like_clause(filter, column, (OpExpr *) clause, pieces);
		return flt_comparison(filter, (OpExpr *) clause, pieces);
	}
	if (IsA(clause, ScalarArrayOpExpr))
		return concord_flt_any(filter, (ScalarArrayOpExpr *) clause, pieces);
	if (IsA(clause, NullTest))
		return flt_null(filter, (NullTest *) clause, pieces);
	if (IsA(clause, Var))
		return flt_truth(filter, clause, true, pieces);
	if (IsA(clause, BooleanTest))
	{
		BooleanTest *test = (BooleanTest *) clause;

		return test->booltesttype == IS_TRUE || test->booltesttype == IS_FALSE ?
			flt_truth(filter, test->arg, test->booltesttype == IS_TRUE, pieces) :
			CONCORD_MATCH_NONE;
	}
	if (!IsA(clause, BoolExpr))
		return CONCORD_MATCH_NONE;
	if (expr->boolop == NOT_EXPR)
		return flt_truth(filter, linitial(expr->args), false, pieces);
	return flt_joined(filter, expr, pieces);
}

/* concord_filter_clause makes pieces of a clause. */
ConcordMatch
concord_filter_clause(ConcordFilter *filter, Expr *clause, List **pieces)
{
	List	   *params = list_copy(filter->params);
	List	   *used = list_copy(filter->used);
	bool		listed = filter->listed;
	ConcordMatch match;
	int			length = 0;
	ListCell   *lc;

	*pieces = NIL;
	match = flt_clause(filter, clause, pieces);
	foreach(lc, *pieces)
		length += IsA(lfirst(lc), String) ? strlen(strVal(lfirst(lc))) : 40;
	if (match != CONCORD_MATCH_NONE && filter->length + length <= FLT_MAX_LENGTH)
	{
		filter->length += length;
		return match;
	}
	filter->params = params;
	filter->used = used;
	filter->listed = listed;
	filter->depth = 0;
	*pieces = NIL;
	return CONCORD_MATCH_NONE;
}
