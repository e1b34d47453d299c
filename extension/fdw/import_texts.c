/*-------------------------------------------------------------------------
 *
 * import_texts.c
 *	  What comments on imported tables and columns say.
 *
 * The first line is the label and the description, as the system has them;
 * then what the type of SQL cannot say: members of an enumeration, the
 * property with the unit, what a property refers to, what is refused.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/import.h"

#include "lib/stringinfo.h"

#define TXT_MEMBERS		50		/* of an enumeration, that are listed */

/* txt_line begins a new line, but not the first. */
static void
txt_line(StringInfo buf)
{
	if (buf->len > 0)
		appendStringInfoChar(buf, '\n');
}

/* txt_same says whether a text says nothing more than another. */
static bool
txt_same(const char *text, const char *other)
{
	return text == NULL || text[0] == '\0' ||
		(other != NULL && pg_strcasecmp(text, other) == 0);
}

/* txt_texts appends label and descriptions. */
static void
txt_texts(StringInfo buf, const ConcordEdmText *text)
{
	if (!txt_same(text->label, NULL))
		appendStringInfoString(buf, text->label);
	if (!txt_same(text->description, text->label))
		appendStringInfo(buf, "%s%s", buf->len > 0 ? ": " : "", text->description);
	if (!txt_same(text->long_description, text->label) &&
		!txt_same(text->long_description, text->description))
	{
		txt_line(buf);
		appendStringInfoString(buf, text->long_description);
	}
}

/* txt_done gives what was composed; NULL where it is nothing. */
static char *
txt_done(StringInfo buf)
{
	return buf->len == 0 ? NULL : buf->data;
}

/* txt_members lists the values that there are. */
static void
txt_members(StringInfo buf, List *members)
{
	int			n = 0;
	ListCell   *lc;

	if (members == NIL)
		return;
	txt_line(buf);
	appendStringInfoString(buf, "One of: ");
	foreach(lc, members)
	{
		if (n == TXT_MEMBERS)
		{
			appendStringInfoString(buf, ", ...");
			break;
		}
		appendStringInfo(buf, "%s%s", n++ > 0 ? ", " : "", (char *) lfirst(lc));
	}
}

/* txt_bound says which set a navigation leads to, or NULL. */
static const char *
txt_bound(const ConcordEdmSet *set, const char *navigation)
{
	ListCell   *lc;

	if (set == NULL)
		return NULL;
	for (lc = list_head(set->bindings); lc != NULL;
		 lc = lnext(set->bindings, lnext(set->bindings, lc)))
	{
		const char *path = lfirst(lc);
		const char *last = strrchr(path, '/');

		if (strcmp(last ? last + 1 : path, navigation) == 0)
			return lfirst(lnext(set->bindings, lc));
	}
	return NULL;
}

/*
 * txt_references says what a property refers to, by the names that an import
 * of the target gives it.
 */
static void
txt_references(StringInfo buf, const ConcordImportOptions *options,
			   const ConcordEdmSet *set, const ConcordEdmType *type,
			   const char *property)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, concord_metadata_navigations(type))
	{
		const ConcordEdmNavigation *navigation = lfirst(lc);
		const char *target = txt_bound(set, navigation->name);

		for (lc2 = list_head(navigation->constraints); lc2 != NULL;
			 lc2 = lnext(navigation->constraints,
						 lnext(navigation->constraints, lc2)))
		{
			if (strcmp(lfirst(lc2), property) != 0)
				continue;
			txt_line(buf);
			appendStringInfo(buf, "References %s(%s)",
							 target ? concord_import_name(options, target, false) :
							 navigation->type ? navigation->type : navigation->name,
							 concord_import_name(options,
												 lfirst(lnext(navigation->constraints, lc2)),
												 true));
		}
	}
}

/* concord_import_column_comment says what a column is. */
char *
concord_import_column_comment(const ConcordImportOptions *options,
							  const ConcordEdmSet *set,
							  const ConcordEdmType *type, const char *path,
							  const ConcordEdmProperty *property,
							  const ConcordImportType *sql, bool needs_filter)
{
	StringInfoData buf;

	initStringInfo(&buf);
	txt_texts(&buf, &property->text);
	txt_members(&buf, property->allowed != NIL ? property->allowed :
				sql->described != NULL && sql->described->kind == CONCORD_EDM_ENUM ?
				sql->described->members : NIL);
	if (property->unit != NULL)
	{
		txt_line(&buf);
		appendStringInfo(&buf, "Unit: %s",
						 concord_import_name(options, property->unit, true));
	}
	if (strchr(path, '/') == NULL)
		txt_references(&buf, options, set, type, property->name);
	if (needs_filter)
	{
		txt_line(&buf);
		appendStringInfoString(&buf, "Queries must filter by it");
	}
	return txt_done(&buf);
}

/* concord_import_navigation_comment says where a navigation leads to. */
char *
concord_import_navigation_comment(const ConcordImportOptions *options,
								  const ConcordEdmSet *set,
								  const ConcordEdmNavigation *navigation)
{
	const char *target = txt_bound(set, navigation->name);
	StringInfoData buf;

	initStringInfo(&buf);
	txt_texts(&buf, &navigation->text);
	txt_line(&buf);
	target = target ? concord_import_name(options, target, false) : navigation->type;
	appendStringInfo(&buf, "%s%s%s",
					 navigation->collection ? "Records" : "Record",
					 target ? " of " : "", target ? target : "");
	return txt_done(&buf);
}

/* concord_import_table_comment says what a table is. */
char *
concord_import_table_comment(const ConcordImportTable *table)
{
	const ConcordEdmSet *set = table->set;
	ConcordEdmText text = {0};
	StringInfoData buf;

	/* what is said of the set is more to the point */
	if (set != NULL)
		text = set->text;
	if (text.label == NULL)
		text.label = table->type->text.label;
	if (text.description == NULL)
		text.description = table->type->text.description;
	if (text.long_description == NULL)
		text.long_description = table->type->text.long_description;

	initStringInfo(&buf);
	txt_texts(&buf, &text);
	if (!table->insertable || !table->updatable || !table->deletable)
	{
		txt_line(&buf);
		if (!table->insertable && !table->updatable && !table->deletable)
			appendStringInfoString(&buf, "Read only");
		else
			appendStringInfo(&buf, "Not possible:%s%s%s",
							 table->insertable ? "" : " insert",
							 table->updatable ? "" : " update",
							 table->deletable ? "" : " delete");
	}
	if (set != NULL && set->can.needs_filter == CONCORD_EDM_YES)
	{
		txt_line(&buf);
		appendStringInfoString(&buf, "Queries must have a filter");
	}
	return txt_done(&buf);
}
