/*-------------------------------------------------------------------------
 *
 * filter_like.c
 *	  LIKE with a constant pattern as startswith, endswith and contains.
 *
 * What stands between wildcards must be in the value; more is not asked.  That
 * lets through what differs in case where the system does not mind it.  Only
 * "abc%", "%abc" and "%abc%" say all there is to say, where texts are compared
 * byte by byte.
 *
 * Texts with characters that mean something in patterns of other systems are
 * not asked: some do not escape them.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/filter_parts.h"

#include "access/transam.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* A run of characters between wildcards. */
typedef struct LikRun
{
	StringInfoData text;
	bool		first;			/* nothing is before it */
	bool		last;			/* nothing is behind it */
} LikRun;

/* A pattern taken apart. */
typedef struct LikPattern
{
	int			n;
	LikRun		runs[8];
	bool		simple;			/* wildcards are % and at the ends alone */
} LikPattern;

/* concord_like_is says whether an operator is LIKE or NOT LIKE. */
bool
concord_like_is(Oid opno)
{
	char	   *name = opno < FirstGenbkiObjectId ? get_opname(opno) : NULL;

	return name != NULL && (strcmp(name, "~~") == 0 || strcmp(name, "!~~") == 0);
}

/* lik_parse takes a pattern apart; false where it is not to be asked. */
static bool
lik_parse(const char *pattern, LikPattern *like)
{
	LikRun	   *run = NULL;

	memset(like, 0, sizeof(LikPattern));
	like->simple = true;
	for (const char *p = pattern; *p; p++)
	{
		if (*p == '%' || *p == '_')
		{
			if (*p == '_' || (run != NULL && strspn(p, "%") != strlen(p)))
				like->simple = false;
			run = NULL;
			continue;
		}
		if (*p == '\\')
			p++;
		if (*p == '\0' || strchr("%_\\[]^*\"", *p) != NULL)
			return false;
		if (run == NULL)
		{
			if (like->n == lengthof(like->runs))
				return false;
			run = &like->runs[like->n++];
			initStringInfo(&run->text);
			run->first = p == pattern;
		}
		appendStringInfoChar(&run->text, *p);
	}
	if (run != NULL)
		run->last = true;
	return like->n > 0;
}

/* lik_operator says what a run is asked as. */
static ConcordReadOperator
lik_operator(const ConcordFilter *filter, const LikRun *run)
{
	if (run->first && run->last)
		return CONCORD_OP_EQ;
	if (run->first && concord_flt_knows(filter, CONCORD_OP_STARTSWITH))
		return CONCORD_OP_STARTSWITH;
	if (run->last && concord_flt_knows(filter, CONCORD_OP_ENDSWITH))
		return CONCORD_OP_ENDSWITH;
	return CONCORD_OP_CONTAINS;
}

/* lik_run makes pieces of one run. */
static bool
lik_run(ConcordFilter *filter, const ConcordForeignColumn *column,
		const LikRun *run, List **pieces)
{
	ConcordReadOperator op = lik_operator(filter, run);
	Const	   *value = makeConst(TEXTOID, -1, DEFAULT_COLLATION_OID, -1,
								  CStringGetTextDatum(run->text.data), false,
								  false);

	return concord_flt_knows(filter, op) &&
		concord_flt_compare(filter, column, op, CONCORD_OP_EQ, (Expr *) value,
							pieces);
}

/* concord_like_clause makes pieces of column LIKE pattern. */
ConcordMatch
concord_like_clause(ConcordFilter *filter, const ConcordForeignColumn *column,
					OpExpr *expr, List **pieces)
{
	Const	   *pattern = lsecond(expr->args);
	bool		negated = strcmp(get_opname(expr->opno), "!~~") == 0;
	LikPattern	like;
	bool		exact;
	int			asked = 0;

	if (pattern->constisnull || pattern->consttype != TEXTOID ||
		!concord_flt_deterministic(expr->inputcollid) ||
		!(filter->reading->types & (1 << CONCORD_TYPE_TEXT)) ||
		!lik_parse(TextDatumGetCString(pattern->constvalue), &like))
		return CONCORD_MATCH_NONE;
	exact = like.simple && like.n == 1 && column->binary;
	if (negated && (!exact || !filter->reading->odata))
		return CONCORD_MATCH_NONE;
	/* a search in the middle is not what a start was */
	if (exact && lik_operator(filter, &like.runs[0]) == CONCORD_OP_CONTAINS)
		exact = !like.runs[0].first && !like.runs[0].last;
	if (negated && !exact)
		return CONCORD_MATCH_NONE;

	if (filter->reading->odata)
		concord_flt_text(pieces, negated ? "(not%20" : "(");
	for (int i = 0; i < like.n; i++)
	{
		List	   *part = NIL;

		if (!lik_run(filter, column, &like.runs[i], &part))
		{
			exact = false;
			continue;
		}
		if (asked++ > 0)
			concord_flt_text(pieces, filter->reading->odata ? "%20and%20" : "&");
		*pieces = list_concat(*pieces, part);
	}
	if (asked == 0 || (negated && !exact))
		return CONCORD_MATCH_NONE;
	if (negated && !concord_flt_not_null(filter, column, pieces))
		exact = false;
	if (filter->reading->odata)
		concord_flt_text(pieces, ")");
	return concord_flt_grade(column, exact ? CONCORD_MATCH_EXACT :
							 CONCORD_MATCH_MORE);
}
