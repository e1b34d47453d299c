/*-------------------------------------------------------------------------
 *
 * import_tables.c
 *	  Which entity sets become foreign tables, and under which names.
 *
 * LIMIT TO and EXCEPT may say a set's name as the system has it or as the
 * table is called here; a name that is neither is an error.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/import.h"

#include "catalog/server_options.h"
#include "miscadmin.h"

/* A set that may become a table. */
typedef struct ConcordImportChoice
{
	char	   *relname;
	char	   *object;
	const ConcordEdmSet *set;	/* NULL: a navigation of a singleton */
	const ConcordEdmType *type;
	bool		singleton;
	bool		named;			/* by LIMIT TO */
	bool		wanted;
} ConcordImportChoice;

/* tab_choice makes a choice of a set. */
static ConcordImportChoice *
tab_choice(const ConcordImportOptions *options, const char *object,
		   const ConcordEdmSet *set, const ConcordEdmType *type,
		   bool singleton)
{
	ConcordImportChoice *choice = palloc0(sizeof(ConcordImportChoice));

	choice->object = pstrdup(object);
	choice->set = set;
	choice->type = type;
	choice->singleton = singleton;
	return choice;
}

/*
 * tab_contained adds what is contained in a singleton and has an address
 * because of that.  What is contained in the records of a set has one for each
 * record, and is no table.
 */
static List *
tab_contained(const ConcordMetadata *metadata,
			  const ConcordImportOptions *options, const ConcordEdmSet *set,
			  List *choices)
{
	ListCell   *lc;

	foreach(lc, concord_metadata_navigations(set->type))
	{
		const ConcordEdmNavigation *navigation = lfirst(lc);
		const ConcordEdmType *type;

		if (!navigation->contained)
			continue;
		type = concord_metadata_type(metadata, navigation->type);
		if (!set->singleton || type == NULL)
		{
			ereport(NOTICE,
					(errmsg("\"%s\" is contained in records of \"%s\" and is no table",
							navigation->name, set->name),
					 errhint("OPTIONS (navigation 'columns') gives \"%s\" a column with it; a foreign table of what one record contains has option object '%s(<key>)/%s'.",
							 set->name, set->name, navigation->name)));
			continue;
		}
		choices = lappend(choices,
						  tab_choice(options,
									 psprintf("%s/%s", set->name, navigation->name),
									 NULL, type, !navigation->collection));
	}
	return choices;
}

/* tab_choices lists all that may become tables. */
static List *
tab_choices(const ConcordMetadata *metadata,
			const ConcordImportOptions *options)
{
	List	   *choices = NIL;
	ListCell   *lc;

	foreach(lc, metadata->sets)
	{
		const ConcordEdmSet *set = lfirst(lc);

		choices = lappend(choices, tab_choice(options, set->name, set, set->type,
											  set->singleton));
		if (options->navigation == CONCORD_NAVIGATION_TABLES && set->type != NULL)
			choices = tab_contained(metadata, options, set, choices);
	}
	return choices;
}

/* tab_unknown raises for a name that no set has. */
static void
pg_attribute_noreturn()
tab_unknown(const ConcordImportOptions *options, List *choices, const char *name)
{
	const char **names = palloc((list_length(choices) + 1) * sizeof(char *));
	const char *closest = NULL;
	int			n = 0;
	ListCell   *lc;

	foreach(lc, choices)
	{
		ConcordImportChoice *choice = lfirst(lc);

		names[n++] = choice->object;
		if (pg_strcasecmp(choice->object, name) == 0)
			closest = choice->object;
	}
	if (closest == NULL)
		closest = concord_option_closest(name, names, n);
	ereport(ERROR,
			(errcode(ERRCODE_FDW_TABLE_NOT_FOUND),
			 errmsg("the service has no entity set \"%s\"", name),
			 closest != NULL ?
			 errhint("Perhaps you meant \"%s\"; names with capital letters want double quotes.",
					 closest) :
			 n == 0 ? errhint("It has no entity sets.") :
			 errhint("It has %d, \"%s\" the first of them.", n, names[0])));
}

/* tab_find finds the set with a name, as it is there or as it would be here. */
static ConcordImportChoice *
tab_find(const ConcordImportOptions *options, List *choices, const char *name)
{
	ListCell   *lc;

	foreach(lc, choices)
	{
		ConcordImportChoice *choice = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		if (strcmp(choice->object, name) == 0 ||
			strcmp(choice->relname, name) == 0 ||
			strcmp(concord_import_cut(choice->object), name) == 0)
			return choice;
	}
	tab_unknown(options, choices, name);
}

/* tab_reached takes along the sets that navigations lead to. */
static void
tab_reached(List *choices, const ConcordImportChoice *from)
{
	ListCell   *lc;
	ListCell   *lc2;

	if (from->set == NULL)
		return;
	for (lc = list_head(from->set->bindings); lc != NULL;
		 lc = lnext(from->set->bindings, lnext(from->set->bindings, lc)))
	{
		const char *target = lfirst(lnext(from->set->bindings, lc));

		foreach(lc2, choices)
		{
			ConcordImportChoice *choice = lfirst(lc2);

			if (strcmp(choice->object, target) == 0)
				choice->wanted = true;
		}
	}
	foreach(lc2, choices)
	{
		ConcordImportChoice *choice = lfirst(lc2);
		size_t		len = strlen(from->object);

		if (strncmp(choice->object, from->object, len) == 0 &&
			choice->object[len] == '/')
			choice->wanted = true;
	}
}

/* tab_select applies LIMIT TO or EXCEPT. */
static void
tab_select(const ConcordImportOptions *options, List *choices,
		   ImportForeignSchemaType filter, List *names)
{
	ListCell   *lc;

	foreach(lc, choices)
		((ConcordImportChoice *) lfirst(lc))->wanted = filter != FDW_IMPORT_SCHEMA_LIMIT_TO;
	if (filter == FDW_IMPORT_SCHEMA_ALL)
		return;
	foreach(lc, names)
	{
		ConcordImportChoice *choice =
			tab_find(options, choices, ((RangeVar *) lfirst(lc))->relname);

		choice->named = filter == FDW_IMPORT_SCHEMA_LIMIT_TO;
		choice->wanted = choice->named;
	}
	if (options->navigation != CONCORD_NAVIGATION_TABLES)
		return;
	foreach(lc, choices)
	{
		if (((ConcordImportChoice *) lfirst(lc))->named)
			tab_reached(choices, lfirst(lc));
	}
}

/* tab_usable says whether a choice can be a table, and tells why it cannot. */
static bool
tab_usable(const ConcordImportChoice *choice)
{
	if (choice->type == NULL && choice->named)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
				 errmsg("the metadata do not describe type \"%s\" of entity set \"%s\"",
						choice->set->type_name, choice->object)));
	if (choice->type == NULL)
	{
		ereport(NOTICE,
				(errmsg("entity set \"%s\" is passed over: the metadata do not describe its type \"%s\"",
						choice->object, choice->set->type_name)));
		return false;
	}
	if (choice->set != NULL && choice->set->can.readable == CONCORD_EDM_NO &&
		!choice->named)
	{
		ereport(NOTICE,
				(errmsg("entity set \"%s\" is passed over: it cannot be read by itself",
						choice->object),
				 errhint("LIMIT TO imports it all the same.")));
		return false;
	}
	return true;
}

/* tab_by_name orders tables. */
static int
tab_by_name(const ListCell *a, const ListCell *b)
{
	return strcmp(((const ConcordImportTable *) lfirst(a))->relname,
				  ((const ConcordImportTable *) lfirst(b))->relname);
}

/* tab_distinct raises where two tables would have one name. */
static void
tab_distinct(List *tables)
{
	List	   *sorted = list_copy(tables);
	ConcordImportTable *before = NULL;
	ListCell   *lc;

	list_sort(sorted, tab_by_name);
	foreach(lc, sorted)
	{
		ConcordImportTable *table = lfirst(lc);

		if (before != NULL && strcmp(before->relname, table->relname) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DUPLICATE_TABLE),
					 errmsg("entity sets \"%s\" and \"%s\" would both be table \"%s\"",
							before->object, table->object, table->relname),
					 errhint("Import with OPTIONS (names 'as_is'), or leave one out with EXCEPT.")));
		before = table;
	}
}

/* tab_allowed reads one of the capabilities of a table's set. */
static bool
tab_allowed(ConcordEdmTri can)
{
	return can != CONCORD_EDM_NO;
}

/* tab_table makes a table of a choice. */
static ConcordImportTable *
tab_table(const ConcordMetadata *metadata, const ConcordImportOptions *options,
		  const ConcordImportChoice *choice)
{
	ConcordImportTable *table = palloc0(sizeof(ConcordImportTable));
	const ConcordEdmSet *set = choice->set;

	table->relname = choice->relname;
	table->object = choice->object;
	table->set = set;
	table->type = choice->type;
	table->singleton = choice->singleton;
	table->insertable = !choice->singleton && (set == NULL || tab_allowed(set->can.insertable));
	table->updatable = set == NULL || tab_allowed(set->can.updatable);
	table->deletable = !choice->singleton && (set == NULL || tab_allowed(set->can.deletable));
	concord_import_columns(metadata, options, table);
	if (options->comments)
		table->comment = concord_import_table_comment(table);
	return table;
}

/* concord_import_tables makes tables of the sets that are wanted. */
List *
concord_import_tables(const ConcordMetadata *metadata,
					  const ConcordImportOptions *options,
					  ImportForeignSchemaType filter, List *names)
{
	List	   *choices = tab_choices(metadata, options);
	List	   *tables = NIL;
	ListCell   *lc;

	foreach(lc, choices)
	{
		ConcordImportChoice *choice = lfirst(lc);

		choice->relname = concord_import_name(options, choice->object, false);
	}
	tab_select(options, choices, filter, names);
	foreach(lc, choices)
	{
		ConcordImportChoice *choice = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		if (choice->wanted && tab_usable(choice))
			tables = lappend(tables, tab_table(metadata, options, choice));
	}
	tab_distinct(tables);
	if (options->verbose && metadata->functions != NIL)
	{
		foreach(lc, metadata->functions)
			ereport(NOTICE,
					(errmsg("function \"%s\" is passed over", (char *) lfirst(lc)),
					 errhint("concord.call() calls it.")));
	}
	return tables;
}
