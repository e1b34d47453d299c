/*-------------------------------------------------------------------------
 *
 * import_sql.c
 *	  The commands that make imported tables, as text.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/import.h"

#include "lib/stringinfo.h"
#include "utils/builtins.h"

/* sql_option appends an option, with a comma where it is not the first. */
static void
sql_option(StringInfo buf, const char *name, const char *value, int *n)
{
	appendStringInfo(buf, "%s%s %s", (*n)++ > 0 ? ", " : " OPTIONS (", name,
					 quote_literal_cstr(value));
}

/* sql_column appends a column. */
static void
sql_column(StringInfo buf, const ConcordImportColumn *column)
{
	int			n = 0;

	appendStringInfo(buf, "\n\t%s %s", quote_identifier(column->attname),
					 column->type);
	if (strcmp(column->path, ".") == 0)
		sql_option(buf, "path", column->path, &n);
	else if (strcmp(column->path, column->attname) != 0)
		sql_option(buf, "name", column->path, &n);
	if (column->key)
		sql_option(buf, "key", "true", &n);
	if (column->remote_type != NULL)
		sql_option(buf, "type", column->remote_type, &n);
	if (column->expand)
		sql_option(buf, "expand", "true", &n);
	if (column->read_only)
		sql_option(buf, "read_only", "true", &n);
	if (!column->filterable && !column->expand && strcmp(column->path, ".") != 0)
		sql_option(buf, "pushdown", "false", &n);
	else if (!column->sortable && column->filterable)
		sql_option(buf, "sortable", "false", &n);
	if (n > 0)
		appendStringInfoChar(buf, ')');
	if (column->not_null)
		appendStringInfoString(buf, " NOT NULL");
}

/* concord_import_create gives the command that makes a table. */
char *
concord_import_create(const ConcordImportTable *table, const char *server,
					  const char *service)
{
	StringInfoData buf;
	ListCell   *lc;
	int			n = 0;

	initStringInfo(&buf);
	appendStringInfo(&buf, "CREATE FOREIGN TABLE %s (",
					 quote_identifier(table->relname));
	foreach(lc, table->columns)
	{
		if (foreach_current_index(lc) > 0)
			appendStringInfoChar(&buf, ',');
		sql_column(&buf, lfirst(lc));
	}
	appendStringInfo(&buf, "\n) SERVER %s", quote_identifier(server));
	if (service != NULL)
		sql_option(&buf, "service", service, &n);
	sql_option(&buf, "object", table->object, &n);
	if (table->singleton)
		sql_option(&buf, "singleton", "true", &n);
	if (!table->insertable && !table->updatable && !table->deletable)
		sql_option(&buf, "updatable", "false", &n);
	appendStringInfoChar(&buf, ')');
	return buf.data;
}

/* concord_import_comments gives COMMENT commands of a table. */
List *
concord_import_comments(const ConcordImportTable *table)
{
	List	   *commands = NIL;
	ListCell   *lc;

	if (table->comment != NULL)
		commands = lappend(commands,
						   psprintf("COMMENT ON FOREIGN TABLE %s IS %s",
									quote_identifier(table->relname),
									quote_literal_cstr(table->comment)));
	foreach(lc, table->columns)
	{
		const ConcordImportColumn *column = lfirst(lc);

		if (column->comment != NULL)
			commands = lappend(commands,
							   psprintf("COMMENT ON COLUMN %s.%s IS %s",
										quote_identifier(table->relname),
										quote_identifier(column->attname),
										quote_literal_cstr(column->comment)));
	}
	return commands;
}
