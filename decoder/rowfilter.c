/*-------------------------------------------------------------------------
 *
 * rowfilter.c
 *	  Row filters of publications: does a change pass, and as what?
 *
 * Filters are written for the table that a change is sent as.  They are
 * rewritten once, when the relation's entry is filled, to the columns of the
 * relation itself, and read the entry's arrays in place: no tuple is converted
 * and nothing is copied for a row.
 *
 * An UPDATE is judged by both of its images where there are two.  Where only
 * the new row passes it is an INSERT for whoever follows the filtered table,
 * where only the old one does, a DELETE.  Where the identity did not change,
 * there is one image, and it decides.
 *
 * PostgreSQL allows only immutable functions of its own in a filter, so
 * nothing here depends on the session or reads a table.  One may still fail,
 * on a division by zero for example.  To drop the row would lose it, and to
 * send it might tell what the filter hides, so decoding stops there, with an
 * error that names the table, the publications and the way on: the filter is
 * read as of its place in the WAL, so altering it does not help.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/attmap.h"
#include "access/tupdesc.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteManip.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "decoder.h"
#include "protocol.h"
#include "rowfilter.h"

/* The filter of one operation. */
typedef struct FilterExpr
{
	ExprState  *state;			/* NULL lets everything pass */
	int			nneeds;
	int16	   *needs;			/* which values are read, toastable ones only */
	const char *publications;	/* for messages */
} FilterExpr;

struct ConcordRowFilter
{
	FilterExpr	exprs[CONCORD_FILTERS];
	ExprContext *econtext;
	TupleTableSlot *old_slot;	/* both look at the entry's arrays */
	TupleTableSlot *new_slot;
};

/* Raise the error of a filter so that one can see whose it was. */
static void
rf_raise(ConcordRel *rel, const FilterExpr *expr, int sqlstate,
		 const char *message)
{
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg("row filter of table \"%s.%s\" in publication %s failed: %s",
					rel->schema, rel->table, expr->publications, message),
			 errdetail("Whether the change is to be sent cannot be told, so decoding stops before it. The filter is the one of this place in the WAL; what is altered now takes effect later."),
			 errhint("To go on, name other publications or use option \"tables\" until the change is past, or leave it out with pg_replication_slot_advance().")));
}

/* An error has been caught: raise it as the filter's own. */
static void
rf_raise_caught(ConcordRel *rel, const FilterExpr *expr, MemoryContext context)
{
	ErrorData  *error;

	/* no failure of the filter: a cancel, and the abort of what is streamed */
	if (geterrcode() == ERRCODE_QUERY_CANCELED ||
		geterrcode() == ERRCODE_TRANSACTION_ROLLBACK)
		PG_RE_THROW();
	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	rf_raise(rel, expr, error->sqlerrcode, error->message);
}

/* Quote and join names. */
static char *
rf_join(List *names)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, names)
		appendStringInfo(&buf, "%s\"%s\"", lc == list_head(names) ? "" : ", ",
						 (char *) lfirst(lc));
	return buf.data;
}

/* Rewrite an expression on target's columns to those of relation. */
static Expr *
rf_map(Expr *expr, Relation relation, Relation target)
{
	TupleDesc	desc = RelationGetDescr(target);
	AttrMap    *map;
	bool		whole_row;

	if (relation == target)
		return expr;
	map = make_attrmap(desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped)
			map->attnums[i] = get_attnum(RelationGetRelid(relation),
										 NameStr(att->attname));
	}
	return (Expr *) map_variable_attnos((Node *) expr, 1, 0, map, InvalidOid,
										&whole_row);
}

/* Note the toastable values that an expression reads. */
static void
rf_note_needs(FilterExpr *result, Expr *expr, TupleDesc desc)
{
	Bitmapset  *attnums = NULL;

	pull_varattnos((Node *) expr, 1, &attnums);
	result->needs = palloc(sizeof(int16) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		if (TupleDescAttr(desc, i)->attlen == -1 &&
			bms_is_member(i + 1 - FirstLowInvalidHeapAttributeNumber, attnums))
			result->needs[result->nneeds++] = i;
	}
}

/*
 * Read the filters, in which generated columns are what they stand for.  Not
 * inlined: its variables would be beside those that outlive a longjmp.
 */
static pg_noinline List *
rf_clauses(List *filters, Relation target)
{
	List	   *clauses = NIL;
	ListCell   *lc;

	foreach(lc, filters)
	{
		Node	   *node = stringToNode((char *) lfirst(lc));

		clauses = lappend(clauses, concord_expand_generated(node, target));
	}
	return clauses;
}

/* Combine and prepare the filters of one operation. */
static void
rf_prepare(FilterExpr *result, List *filters, List *names, ConcordRel *rel,
		   Relation relation, Relation target)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *clauses = rf_clauses(filters, target);

	result->publications = rf_join(names);
	PG_TRY();
	{
		Expr	   *expr = rf_map(make_orclause(clauses), relation, target);

		/* folds constants, which may already fail */
		expr = expression_planner(expr);
		rf_note_needs(result, expr, RelationGetDescr(relation));
		result->state = ExecInitExpr(expr, NULL);
	}
	PG_CATCH();
	{
		rf_raise_caught(rel, result, context);
	}
	PG_END_TRY();
}

/* Make a slot that looks at an array of the entry. */
static TupleTableSlot *
rf_make_slot(TupleDesc desc, Datum *values, bool *nulls)
{
	TupleTableSlot *slot =
		MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(desc), &TTSOpsVirtual);

	slot->tts_values = values;
	slot->tts_isnull = nulls;
	return ExecStoreVirtualTuple(slot);
}

/*
 * Make the row filter of an entry, whose arrays are there already, in the
 * entry's context; NULL where there is nothing to filter.
 */
ConcordRowFilter *
concord_rowfilter_make(const ConcordFilterSource *source, ConcordRel *rel,
					   Relation relation, Relation target)
{
	TupleDesc	desc = RelationGetDescr(relation);
	ConcordRowFilter *filter = NULL;

	for (int i = 0; i < CONCORD_FILTERS; i++)
	{
		if (source->unfiltered[i] || source->filters[i] == NIL)
			continue;
		if (filter == NULL)
			filter = palloc0(sizeof(ConcordRowFilter));
		rf_prepare(&filter->exprs[i], source->filters[i], source->names[i],
				   rel, relation, target);
	}
	if (filter == NULL)
		return NULL;
	filter->econtext = CreateStandaloneExprContext();
	filter->old_slot = rf_make_slot(desc, rel->old_values, rel->old_nulls);
	filter->new_slot = rf_make_slot(desc, rel->new_values, rel->new_nulls);
	return filter;
}

/*
 * Is every value there that the filter reads?  What is TOASTed, left alone
 * and not in the old image either, is not in WAL; PostgreSQL sees to it that a
 * filter of UPDATE needs columns of the identity alone, which are.
 */
static void
rf_check_needs(ConcordRel *rel, const FilterExpr *expr, TupleTableSlot *slot)
{
	for (int i = 0; i < expr->nneeds; i++)
	{
		int			n = expr->needs[i];

		if (unlikely(!slot->tts_isnull[n] &&
					 VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(slot->tts_values[n]))))
			rf_raise(rel, expr, ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
					 "it reads a TOASTed value that is not in WAL");
	}
}

/* Does an image pass?  What is NULL does not. */
static bool
rf_match(ConcordRel *rel, const FilterExpr *expr, TupleTableSlot *slot)
{
	ExprContext *econtext = rel->row_filter->econtext;
	MemoryContext context = CurrentMemoryContext;
	volatile bool result = false;

	rf_check_needs(rel, expr, slot);
	econtext->ecxt_scantuple = slot;
	PG_TRY();
	{
		bool		isnull;
		Datum		value = ExecEvalExpr(expr->state, econtext, &isnull);

		result = !isnull && DatumGetBool(value);
	}
	PG_CATCH();
	{
		rf_raise_caught(rel, expr, context);
	}
	PG_END_TRY();
	return result;
}

/* Take what the new image only points to, and the filter reads, from the old. */
static void
rf_complete(ConcordRel *rel, const FilterExpr *expr)
{
	for (int i = 0; i < expr->nneeds; i++)
	{
		int			n = expr->needs[i];

		if (!rel->new_nulls[n] && !rel->old_nulls[n] &&
			VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(rel->new_values[n])) &&
			!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(rel->old_values[n])))
			rel->new_values[n] = rel->old_values[n];
	}
}

/*
 * Does a change pass its filter?  An UPDATE may become something else by it.
 * A DELETE that has no image passes: nothing speaks against it, and an event
 * that tells only that a row went is better than none.
 */
bool
concord_rowfilter_pass(ConcordRel *rel, ConcordChange *row)
{
	ConcordRowFilter *filter = rel->row_filter;
	const FilterExpr *expr = &filter->exprs[
											row->kind == CONCORD_MSG_INSERT ? CONCORD_FILTER_INSERT :
											row->kind == CONCORD_MSG_UPDATE ? CONCORD_FILTER_UPDATE :
											CONCORD_FILTER_DELETE];
	bool		old_matched,
				new_matched;

	if (expr->state == NULL)
		return true;
	if (!row->has_old)
		return !row->has_new || rf_match(rel, expr, filter->new_slot);
	if (!row->has_new)
		return rf_match(rel, expr, filter->old_slot);

	rf_complete(rel, expr);
	old_matched = rf_match(rel, expr, filter->old_slot);
	new_matched = rf_match(rel, expr, filter->new_slot);
	if (new_matched && !old_matched)
	{
		row->kind = CONCORD_MSG_INSERT;
		row->has_old = false;
	}
	else if (old_matched && !new_matched)
	{
		row->kind = CONCORD_MSG_DELETE;
		row->has_new = false;
	}
	return old_matched || new_matched;
}
