/*-------------------------------------------------------------------------
 *
 * import_columns.c
 *	  The columns of a foreign table that is made of an entity set.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/import.h"

#include "access/htup_details.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"

#define COL_LEVELS	16			/* of complex types within complex types */

/* What is the same for all columns of a table. */
typedef struct ConcordColumnsState
{
	const ConcordMetadata *metadata;
	const ConcordImportOptions *options;
	ConcordImportTable *table;
	List	   *key;			/* of char *: paths */
} ConcordColumnsState;

/* col_by_name orders columns. */
static int
col_by_name(const ListCell *a, const ListCell *b)
{
	return strcmp(((const ConcordImportColumn *) lfirst(a))->attname,
				  ((const ConcordImportColumn *) lfirst(b))->attname);
}

/* col_distinct raises where two columns would have one name. */
static void
col_distinct(const ConcordImportTable *table)
{
	List	   *sorted = list_copy(table->columns);
	ConcordImportColumn *before = NULL;
	ListCell   *lc;

	list_sort(sorted, col_by_name);
	foreach(lc, sorted)
	{
		ConcordImportColumn *column = lfirst(lc);

		if (before != NULL && strcmp(before->attname, column->attname) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_COLUMN),
					 errmsg("properties \"%s\" and \"%s\" of \"%s\" would both be column \"%s\"",
							before->path, column->path, table->object, column->attname),
					 errhint("Import with OPTIONS (names 'as_is'), or leave this table out with EXCEPT.")));
		before = column;
	}
}

/* col_add adds a column. */
static ConcordImportColumn *
col_add(ConcordColumnsState *state, const char *path, const char *type)
{
	ConcordImportColumn *column = palloc0(sizeof(ConcordImportColumn));

	CHECK_FOR_INTERRUPTS();
	column->attname = concord_import_name(state->options, path, true);
	column->path = pstrdup(path);
	column->type = pstrdup(type);
	column->filterable = true;
	column->sortable = true;
	state->table->columns = lappend(state->table->columns, column);
	if (list_length(state->table->columns) > MaxHeapAttributeNumber)
		ereport(ERROR,
				(errcode(ERRCODE_TOO_MANY_COLUMNS),
				 errmsg("\"%s\" would have more than %d columns",
						state->table->object, MaxHeapAttributeNumber),
				 errhint("Import with OPTIONS (complex 'jsonb'), or leave this table out with EXCEPT.")));
	return column;
}

/* col_limit finds what the set says of a property; NULL: nothing. */
static const ConcordEdmCapabilities *
col_limit(const ConcordEdmSet *set, const char *path)
{
	ListCell   *lc;

	foreach(lc, set ? set->limits : NIL)
	{
		const ConcordEdmLimit *limit = lfirst(lc);

		if (strcmp(limit->path, path) == 0)
			return &limit->can;
	}
	return NULL;
}

/* col_capabilities says what may be done with a column. */
static void
col_capabilities(ConcordColumnsState *state, ConcordImportColumn *column,
				 const ConcordEdmProperty *property)
{
	const ConcordEdmSet *set = state->table->set;
	const ConcordEdmCapabilities *limit = col_limit(set, column->path);
	const ConcordEdmCapabilities *can = &property->can;
	bool		insertable = can->insertable != CONCORD_EDM_NO;
	bool		updatable = can->updatable != CONCORD_EDM_NO;

	column->filterable = can->filterable != CONCORD_EDM_NO;
	column->sortable = can->sortable != CONCORD_EDM_NO;
	if (set != NULL)
	{
		column->filterable &= set->can.filterable != CONCORD_EDM_NO;
		column->sortable &= set->can.sortable != CONCORD_EDM_NO;
	}
	if (limit != NULL)
	{
		insertable &= limit->insertable != CONCORD_EDM_NO;
		updatable &= limit->updatable != CONCORD_EDM_NO;
		column->filterable &= limit->filterable != CONCORD_EDM_NO;
		column->sortable &= limit->sortable != CONCORD_EDM_NO;
	}
	column->read_only = !insertable && !updatable;
}

/* col_passed tells, where asked, why a property gives no column. */
static void
col_passed(ConcordColumnsState *state, const char *path, const char *why)
{
	if (state->options->verbose)
		ereport(NOTICE,
				(errmsg("property \"%s\" of \"%s\" %s", path,
						state->table->object, why)));
}

/* col_is_key says whether a path is one of the key's. */
static bool
col_is_key(const ConcordColumnsState *state, const char *path)
{
	ListCell   *lc;

	foreach(lc, state->key)
	{
		if (strcmp(lfirst(lc), path) == 0)
			return true;
	}
	return false;
}

/* col_value adds a column with a property's value. */
static void
col_value(ConcordColumnsState *state, const ConcordEdmType *owner,
		  const ConcordEdmProperty *property, const char *path,
		  const ConcordImportType *type, bool nullable)
{
	ConcordImportColumn *column = col_add(state, path, type->sql);
	const ConcordEdmCapabilities *limit = col_limit(state->table->set, path);

	column->remote_type = type->remote;
	column->key = col_is_key(state, path);
	column->not_null = (column->key || !nullable) && state->options->not_null;
	col_capabilities(state, column, property);
	if (type->unknown)
		col_passed(state, path,
				   psprintf("has type \"%s\", which the metadata do not describe: it is a column of jsonb",
							property->type));
	if (state->options->comments)
		column->comment =
			concord_import_column_comment(state->options, state->table->set,
										  owner, path,
										  property, type,
										  property->can.needs_filter == CONCORD_EDM_YES ||
										  (limit && limit->needs_filter == CONCORD_EDM_YES));
}

/* col_apart says whether a complex type becomes columns. */
static bool
col_apart(const ConcordColumnsState *state, const ConcordImportType *type,
		  const char *path)
{
	int			levels = 0;

	if (type->kind != CONCORD_IMPORT_COMPLEX || !state->options->complex_columns ||
		type->described->open ||
		concord_metadata_properties(type->described) == NIL)
		return false;
	for (const char *p = path; *p != '\0'; p++)
		levels += *p == '/';
	return levels < COL_LEVELS;
}

/*
 * col_properties adds the columns of a type, and of the complex types within
 * it; outer are the types that path is in.
 */
static void
col_properties(ConcordColumnsState *state, const ConcordEdmType *owner,
			   const char *prefix, bool nullable, List *outer)
{
	ListCell   *lc;

	check_stack_depth();
	foreach(lc, concord_metadata_properties(owner))
	{
		const ConcordEdmProperty *property = lfirst(lc);
		char	   *path = psprintf("%s%s", prefix, property->name);
		ConcordImportType type;

		concord_import_type(state->metadata, property, &type);
		if (type.kind == CONCORD_IMPORT_NOTHING)
			col_passed(state, path, "is a stream and has no column");
		else if (col_apart(state, &type, path) &&
				 !list_member_ptr(outer, type.described))
			col_properties(state, type.described, psprintf("%s/", path),
						   nullable || property->nullable,
						   lappend(list_copy(outer),
								   unconstify(ConcordEdmType *, type.described)));
		else
			col_value(state, owner, property, path, &type,
					  nullable || property->nullable);
	}
}

/* col_navigations adds a column for each navigation that can be expanded. */
static void
col_navigations(ConcordColumnsState *state)
{
	const ConcordEdmSet *set = state->table->set;
	ListCell   *lc;

	foreach(lc, concord_metadata_navigations(state->table->type))
	{
		const ConcordEdmNavigation *navigation = lfirst(lc);
		const ConcordEdmCapabilities *limit = col_limit(set, navigation->name);
		ConcordImportColumn *column;

		if ((set && set->can.expandable == CONCORD_EDM_NO) ||
			(limit && limit->expandable == CONCORD_EDM_NO))
		{
			col_passed(state, navigation->name, "cannot be expanded and has no column");
			continue;
		}
		column = col_add(state, navigation->name, "jsonb");
		column->expand = true;
		column->filterable = false;
		column->sortable = false;
		column->read_only = true;
		if (state->options->comments)
			column->comment = concord_import_navigation_comment(state->options, set,
																navigation);
	}
}

/* col_whole adds a column with all of a record, of a type that is open. */
static void
col_whole(ConcordColumnsState *state)
{
	const ConcordEdmType *type = state->table->type;
	ConcordImportColumn *column;
	const char *name = "record";
	bool		open = false;
	ListCell   *lc;

	for (; type != NULL; type = type->base)
		open |= type->open;
	if (!open)
		return;
	foreach(lc, state->table->columns)
	{
		if (strcmp(((ConcordImportColumn *) lfirst(lc))->attname, name) == 0)
			name = "record_";
	}
	column = col_add(state, name, "jsonb");
	column->path = pstrdup(".");
	column->read_only = true;
	column->filterable = false;
	column->sortable = false;
	if (state->options->comments)
		column->comment = pstrdup("The whole record: it may have properties that the metadata do not describe");
}

/* concord_import_columns fills in a table's columns. */
void
concord_import_columns(const ConcordMetadata *metadata,
					   const ConcordImportOptions *options,
					   ConcordImportTable *table)
{
	ConcordColumnsState state = {.metadata = metadata,.options = options,
	.table = table,.key = concord_metadata_key(table->type)};

	col_properties(&state, table->type, "", false, NIL);
	if (options->navigation == CONCORD_NAVIGATION_COLUMNS)
		col_navigations(&state);
	col_whole(&state);
	col_distinct(table);
}
