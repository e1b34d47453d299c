/*-------------------------------------------------------------------------
 *
 * order.c
 *	  ORDER BY, where the system orders as we do.
 *
 * Numbers, dates and times are ordered alike everywhere; texts only where option
 * collation says that they are compared byte by byte, and only in collation
 * "C".  Where null stands is as the connector says (OData: before all others).
 *
 * Where pages go by number the key is the last of what orders: without an order
 * a system is free to give a record on two pages, or on none.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/plan.h"

#include "access/stratnum.h"
#include "access/transam.h"
#include "fdw/filter.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/paths.h"

/* ord_column returns the column that a path key orders by, or NULL. */
static const ConcordForeignColumn *
ord_column(const RelOptInfo *rel, const PathKey *key)
{
	ConcordPlanned *planned = rel->fdw_private;
	EquivalenceClass *ec = key->pk_eclass;
	ListCell   *lc;

	if (ec->ec_has_volatile)
		return NULL;
	foreach(lc, ec->ec_members)
	{
		EquivalenceMember *em = lfirst(lc);
		Expr	   *expr = em->em_expr;
		Var		   *var;

		if (em->em_is_const || !bms_equal(em->em_relids, rel->relids))
			continue;
		while (IsA(expr, RelabelType))
			expr = ((RelabelType *) expr)->arg;
		var = (Var *) expr;
		if (IsA(var, Var) && var->varno == rel->relid && var->varattno > 0)
			return &planned->table->columns[var->varattno - 1];
	}
	return NULL;
}

/* ord_same says whether a column's values are ordered alike. */
static bool
ord_same(const ConcordPlanned *planned, const ConcordForeignColumn *column,
		 const PathKey *key)
{
	bool		upwards = concord_pathkey_upwards(key);

	if (!column->pushdown || !column->sortable || column->name[0] == '@' ||
		column->on_bad_value == CONCORD_BAD_NULL ||
		column->on_missing == CONCORD_BAD_NULL ||
		key->pk_opfamily >= FirstGenbkiObjectId)
		return false;
	switch (concord_filter_type(column, planned->odata2))
	{
		case CONCORD_TYPE_NUMBER:
		case CONCORD_TYPE_DATE:
		case CONCORD_TYPE_TIMESTAMP:
			break;
		case CONCORD_TYPE_TEXT:
			if (!column->binary ||
				!concord_collation_is_c(key->pk_eclass->ec_collation))
				return false;
			break;
		default:
			return false;
	}
	if (column->not_null)
		return true;
	switch (planned->reading->nulls)
	{
		case CONCORD_NULLS_LOW:
			return key->pk_nulls_first == upwards;
		case CONCORD_NULLS_HIGH:
			return key->pk_nulls_first != upwards;
		default:
			return false;
	}
}

/* ord_fill puts a name into a template. */
static void
ord_fill(StringInfo buf, const char *template, const char *name)
{
	const char *place = strstr(template, "{name}");
	char	   *text = psprintf("%.*s%s%s", (int) (place - template), template,
								name, place + strlen("{name}"));

	concord_url_escape(buf, text, "/:,");
}

/* concord_order_text gives what orders as path keys want it. */
char *
concord_order_text(PlannerInfo *root, RelOptInfo *rel, List *pathkeys)
{
	ConcordPlanned *planned = rel->fdw_private;
	const ConcordReading *reading = planned->reading;
	StringInfoData buf;
	ListCell   *lc;

	if (reading->order == NULL)
		return NULL;
	initStringInfo(&buf);
	foreach(lc, pathkeys)
	{
		PathKey    *key = lfirst(lc);
		const ConcordForeignColumn *column = ord_column(rel, key);

		if (column == NULL || !ord_same(planned, column, key))
			return NULL;
		if (buf.len > 0)
			appendStringInfoChar(&buf, ',');
		ord_fill(&buf, concord_pathkey_upwards(key) ? reading->ascending :
				 reading->descending, column->name);
	}
	return buf.len > 0 ? buf.data : NULL;
}

/* ord_has says whether a list of terms has one. */
static bool
ord_has(const char *order, const char *term)
{
	Size		len = strlen(term);

	for (const char *p = order; *p; p += strcspn(p, ",") + (strchr(p, ',') != NULL))
	{
		if (strcspn(p, ",") == len && strncmp(p, term, len) == 0)
			return true;
	}
	return false;
}

/* concord_order_stable adds the key to an order, where pages go by number. */
char *
concord_order_stable(const ConcordForeignTable *table,
					 const ConcordReading *reading, const char *order)
{
	int			paging = table->paging >= 0 ? table->paging : reading->paging;
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, order);
	if (reading->order == NULL || !table->pushdown || table->singleton ||
		(paging != CONCORD_READ_OFFSET && paging != CONCORD_READ_PAGE))
		return buf.data;
	for (int i = 0; i < table->nkeys; i++)
	{
		const ConcordForeignColumn *column = &table->columns[table->keys[i] - 1];
		StringInfoData up;
		StringInfoData down;

		if (!column->pushdown || !column->sortable || column->name[0] == '@')
			continue;
		initStringInfo(&up);
		initStringInfo(&down);
		ord_fill(&up, reading->ascending, column->name);
		ord_fill(&down, reading->descending, column->name);
		if (!ord_has(order, up.data) && !ord_has(order, down.data))
			appendStringInfo(&buf, "%s%s", buf.len > 0 ? "," : "", up.data);
	}
	return buf.data;
}
