/*-------------------------------------------------------------------------
 *
 * table.c
 *	  What the options of a foreign table and of its columns say.
 *
 * Values were checked when they were stated (catalog/server_options.c); here
 * they become one struct, and what follows from several of them is decided.
 *
 *	object		of the table: under which name the system has the records; the
 *				table's name where nothing is said
 *	name		of a column: what queries call it there; its own name where
 *				nothing is said.  A slash nests: Address/Street
 *	path		where a record has the value, if that is another place; "." is
 *				the record itself
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/fdw.h"

#include "catalog/server_options.h"
#include "foreign/foreign.h"
#include "utils/rel.h"

#define TBL_PAGE_BYTES		(64 * 1024 * 1024)

/* In the order of ConcordReadPaging. */
static const char *const tbl_pagings[] = {
	"none", "next", "link", "offset", "page", "cursor"
};

/* tbl_text copies an option's text; def where it is not set. */
static char *
tbl_text(List *options, const char *name, const char *def)
{
	const char *value = concord_option_get(options, name);

	if (value == NULL)
		value = def;
	return value == NULL ? NULL : pstrdup(value);
}

/* tbl_bad reads on_bad_value and on_missing. */
static ConcordBadValue
tbl_bad(List *options, const char *name, ConcordBadValue def)
{
	const char *value = concord_option_get(options, name);

	if (value == NULL)
		return def;
	return strcmp(value, "null") == 0 ? CONCORD_BAD_NULL : CONCORD_BAD_ERROR;
}

/* tbl_binary reads option collation. */
static bool
tbl_binary(List *options, bool def)
{
	const char *value = concord_option_get(options, "collation");

	return value == NULL ? def : strcmp(value, "binary") == 0;
}

/* tbl_path takes a path apart at its slashes. */
static void
tbl_path(ConcordForeignColumn *column, const char *path)
{
	int			n = 1;

	column->npath = 0;
	if (strcmp(path, ".") == 0)
		return;
	for (const char *p = path; *p; p++)
		n += *p == '/';
	column->path = palloc(sizeof(char *) * n);
	column->path_len = palloc(sizeof(Size) * n);
	while (true)
	{
		Size		len = strcspn(path, "/");

		if (len > 0)
		{
			column->path[column->npath] = pnstrdup(path, len);
			column->path_len[column->npath++] = len;
		}
		if (path[len] == '\0')
			break;
		path += len + 1;
	}
}

/* tbl_column reads the options of one column. */
static void
tbl_column(ConcordForeignTable *table, List *table_options,
		   Form_pg_attribute att)
{
	ConcordForeignColumn *column = &table->columns[att->attnum - 1];
	List	   *options = GetForeignColumnOptions(table->relid, att->attnum);
	const char *path = concord_option_get(options, "path");

	column->attnum = att->attnum;
	column->attname = pstrdup(NameStr(att->attname));
	column->name = tbl_text(options, "name",
							path != NULL && strcmp(path, ".") != 0 ? path :
							column->attname);
	tbl_path(column, path != NULL ? path : column->name);
	column->type = tbl_text(options, "type", NULL);
	column->key = concord_option_bool(options, "key", false);
	column->expand = concord_option_bool(options, "expand", false);
	column->read_only = concord_option_bool(options, "read_only", false);
	column->pushdown = concord_option_bool(options, "pushdown", true) &&
		column->npath > 0;
	column->sortable = concord_option_bool(options, "sortable", true);
	column->binary = tbl_binary(options, tbl_binary(table_options, false));
	column->not_null = att->attnotnull;
	column->on_bad_value =
		tbl_bad(options, "on_bad_value",
				tbl_bad(table_options, "on_bad_value", CONCORD_BAD_ERROR));
	column->on_missing =
		tbl_bad(options, "on_missing",
				tbl_bad(table_options, "on_missing", CONCORD_BAD_ERROR));
	column->typid = att->atttypid;
	column->typmod = att->atttypmod;
	column->collation = att->attcollation;
	if (column->key)
		table->keys[table->nkeys++] = att->attnum;
}

/* tbl_choice: an option of the table, or else of its server, is this. */
static bool
tbl_choice(const ForeignTable *ft, const char *name, const char *choice)
{
	const char *value = concord_option_get(ft->options, name);

	if (value == NULL)
		value = concord_option_get(GetForeignServer(ft->serverid)->options, name);
	return value != NULL && strcmp(value, choice) == 0;
}

/* tbl_paging reads option paging. */
static int
tbl_paging(List *options)
{
	const char *value = concord_option_get(options, "paging");

	for (int i = 0; value != NULL && i < lengthof(tbl_pagings); i++)
	{
		if (strcmp(value, tbl_pagings[i]) == 0)
			return i;
	}
	return -1;
}

/* concord_fdw_table reads what the options of a foreign table say. */
ConcordForeignTable *
concord_fdw_table(Relation rel)
{
	ForeignTable *ft = GetForeignTable(RelationGetRelid(rel));
	ConcordForeignTable *table = palloc0(sizeof(ConcordForeignTable));
	TupleDesc	desc = RelationGetDescr(rel);
	List	   *options = ft->options;

	table->relid = RelationGetRelid(rel);
	table->serverid = ft->serverid;
	table->relname = pstrdup(RelationGetRelationName(rel));
	table->object = tbl_text(options, "object", table->relname);
	table->service = tbl_text(options, "service", NULL);
	table->query = tbl_text(options, "query", NULL);
	table->items = tbl_text(options, "items", NULL);
	table->paging = tbl_paging(options);
	table->page_size = concord_option_integer(options, "page_size", 0);
	table->page_bytes = concord_option_integer(options, "page_bytes",
											   TBL_PAGE_BYTES);
	table->list_size = concord_option_integer(options, "list_size", 0);
	table->rows = concord_option_integer(options, "rows", -1);
	table->use_remote_estimate =
		concord_option_bool(options, "use_remote_estimate", false);
	table->async_capable = concord_option_bool(options, "async_capable", true);
	table->pushdown = concord_option_bool(options, "pushdown", true);
	table->updatable = concord_option_bool(options, "updatable", true);
	table->singleton = concord_option_bool(options, "singleton", false);
	if (table->singleton)
	{
		/* there is nothing to choose from */
		table->pushdown = false;
		table->use_remote_estimate = false;
		table->rows = 1;
	}
	table->outbox = tbl_choice(ft, "write", "outbox");
	table->omit_nulls = tbl_choice(ft, "insert_nulls", "omit");
	table->batch_size = concord_option_integer(options, "batch_size", 0);
	table->ncolumns = desc->natts;
	table->columns = palloc0(sizeof(ConcordForeignColumn) * (desc->natts + 1));
	table->keys = palloc0(sizeof(AttrNumber) * (desc->natts + 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		/* one that is computed when it is read is not the system's */
		if (!att->attisdropped && !concord_attribute_virtual(att))
			tbl_column(table, options, att);
	}
	return table;
}
