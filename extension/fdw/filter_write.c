/*-------------------------------------------------------------------------
 *
 * filter_write.c
 *	  Filters with the values of a query's parameters in them.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/filter.h"

#include "fdw/literal.h"
#include "utils/lsyscache.h"

/* What a clause becomes. */
typedef enum FlwResult
{
	FLW_WRITTEN,
	FLW_NEVER,					/* nothing can match */
	FLW_ALWAYS,					/* a value has no form there: left out */
} FlwResult;

/* One query string that is written. */
typedef struct FlwWriter
{
	const ConcordForeignTable *table;
	const ConcordReading *reading;
	bool		odata2;
	const ConcordFilterValues *values;
} FlwWriter;

/* concord_filter_list finds the list among clauses. */
int
concord_filter_list(List *clauses, const ConcordReading *reading,
					AttrNumber *attnum)
{
	ListCell   *lc;
	ListCell   *cell;

	if (!reading->odata && reading->templates[CONCORD_OP_IN] == NULL)
		return -1;

	foreach(lc, clauses)
	{
		foreach(cell, (List *) lfirst(lc))
		{
			List	   *piece = lfirst(cell);

			if (IsA(piece, IntList) && lthird_int(piece) == CONCORD_OP_IN)
			{
				*attnum = lsecond_int(piece);
				return linitial_int(piece);
			}
		}
	}
	return -1;
}

/* flw_values writes values with something between them. */
static bool
flw_values(const FlwWriter *w, StringInfo buf,
		   const ConcordForeignColumn *column, const char *before,
		   const char *between)
{
	int			n = 0;

	for (int i = 0; i < w->values->nlist; i++)
	{
		StringInfoData one;

		initStringInfo(&one);
		/* one that has no form there is not there */
		if (!concord_literal_write(&one, column, w->reading, w->odata2,
								   CONCORD_OP_EQ, w->values->list_type,
								   w->values->list[i]))
			continue;
		appendStringInfo(buf, "%s%s%s", n++ > 0 ? between : "", before, one.data);
		pfree(one.data);
	}
	return n > 0;
}

/* flw_list writes the part of the list whose turn it is. */
static FlwResult
flw_list(const FlwWriter *w, StringInfo buf, int param,
		 const ConcordForeignColumn *column)
{
	StringInfoData name;
	const char *template = w->reading->templates[CONCORD_OP_IN];
	bool		in = (w->reading->operators & (1 << CONCORD_OP_IN)) != 0;
	bool		any;

	/* the connector had one when the query was planned */
	if (!w->reading->odata && template == NULL)
		return FLW_ALWAYS;
	initStringInfo(&name);
	concord_url_escape(&name, column->name, "/");
	if (w->values == NULL)
	{
		appendStringInfo(buf, "%s in ($%d)", name.data, param + 1);
		return FLW_WRITTEN;
	}
	if (w->values->nlist == 0)
		return FLW_NEVER;
	if (w->reading->odata && in)
	{
		appendStringInfo(buf, "%s%%20in%%20(", name.data);
		any = flw_values(w, buf, column, "", ",");
		appendStringInfoChar(buf, ')');
	}
	else if (w->reading->odata)
	{
		appendStringInfoChar(buf, '(');
		any = flw_values(w, buf, column, psprintf("%s%%20eq%%20", name.data),
						 "%20or%20");
		appendStringInfoChar(buf, ')');
	}
	else
	{
		any = false;
		for (const char *p = template; *p;)
		{
			if (strncmp(p, "{name}", 6) == 0)
			{
				appendStringInfoString(buf, name.data);
				p += 6;
			}
			else if (strncmp(p, "{values}", 8) == 0)
			{
				any = flw_values(w, buf, column, "", ",");
				p += 8;
			}
			else
				appendStringInfoChar(buf, *p++);
		}
	}
	return any ? FLW_WRITTEN : FLW_NEVER;
}

/* flw_clause writes one clause. */
static FlwResult
flw_clause(const FlwWriter *w, StringInfo buf, List *pieces)
{
	ListCell   *lc;

	foreach(lc, pieces)
	{
		const ConcordForeignColumn *column;
		List	   *piece = lfirst(lc);
		int			param;

		if (IsA(piece, String))
		{
			appendStringInfoString(buf, strVal(piece));
			continue;
		}
		param = linitial_int(piece);
		column = &w->table->columns[lsecond_int(piece) - 1];
		if (lthird_int(piece) == CONCORD_OP_IN)
		{
			FlwResult	result = flw_list(w, buf, param, column);

			if (result != FLW_WRITTEN)
				return result;
			continue;
		}
		if (w->values == NULL)
			appendStringInfo(buf, "$%d", param + 1);
		else if (w->values->nulls[param])
			return FLW_NEVER;
		else if (!concord_literal_write(buf, column, w->reading, w->odata2,
										lthird_int(piece),
										w->values->types[param],
										w->values->values[param]))
			return FLW_ALWAYS;
	}
	return FLW_WRITTEN;
}

/* flw_append adds the next of clauses, of which there are n so far. */
static void
flw_append(const FlwWriter *w, StringInfo buf, int n, const char *clause)
{
	if (w->reading->odata && n > 0)
		appendStringInfoString(buf, "%20and%20");
	else if (buf->len > 0)
		appendStringInfoChar(buf, '&');
	if (w->reading->odata && n == 0)
		appendStringInfoString(buf, "$filter=");
	appendStringInfoString(buf, clause);
}

/* concord_filter_write appends clauses to a query string. */
bool
concord_filter_write(StringInfo buf, List *clauses,
					 const ConcordForeignTable *table,
					 const ConcordReading *reading, bool odata2,
					 const ConcordFilterValues *values, const char *keys,
					 bool *whole)
{
	FlwWriter	w = {table, reading, odata2, values};
	ListCell   *lc;
	int			n = 0;

	*whole = true;
	foreach(lc, clauses)
	{
		StringInfoData one;
		FlwResult	result;

		initStringInfo(&one);
		result = flw_clause(&w, &one, lfirst(lc));
		if (result == FLW_NEVER)
			return false;
		if (result == FLW_ALWAYS)
			*whole = false;
		else
			flw_append(&w, buf, n++, one.data);
		pfree(one.data);
	}
	if (keys != NULL)
		flw_append(&w, buf, n, keys);
	return true;
}
