/*-------------------------------------------------------------------------
 *
 * import.h
 *	  Foreign tables made from a service's metadata.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_IMPORT_H
#define CONCORD_FDW_IMPORT_H

#include "base/compat.h"

#include "fdw/metadata.h"
#include "nodes/parsenodes.h"

/* Options of IMPORT FOREIGN SCHEMA; doc/foreign_tables.md has them. */
typedef enum ConcordImportNavigation
{
	CONCORD_NAVIGATION_NONE,
	CONCORD_NAVIGATION_COLUMNS, /* jsonb, by $expand */
	CONCORD_NAVIGATION_TABLES,	/* the sets that they lead to */
} ConcordImportNavigation;

typedef enum ConcordImportNames
{
	CONCORD_NAMES_AS_IS,
	CONCORD_NAMES_LOWER,
	CONCORD_NAMES_SNAKE,
} ConcordImportNames;

typedef struct ConcordImportOptions
{
	ConcordImportNavigation navigation;
	ConcordImportNames names;
	bool		complex_columns;	/* or one of jsonb */
	bool		comments;
	bool		not_null;
	bool		verbose;		/* tell all that is passed over */
	char	   *service;		/* in place of the schema's name, or NULL */
	char	   *language;		/* of labels: Accept-Language, or NULL */
} ConcordImportOptions;

/* A type of SQL for a property. */
typedef enum ConcordImportKind
{
	CONCORD_IMPORT_VALUE,
	CONCORD_IMPORT_JSON,
	CONCORD_IMPORT_COMPLEX,		/* to be taken apart */
	CONCORD_IMPORT_NOTHING,		/* has no value in an answer */
} ConcordImportKind;

typedef struct ConcordImportType
{
	ConcordImportKind kind;
	char	   *sql;
	char	   *remote;			/* for option type; NULL: sql says it */
	const ConcordEdmType *described;	/* enumeration or complex type */
	bool		unknown;		/* the document does not describe it */
} ConcordImportType;

typedef struct ConcordImportColumn
{
	char	   *attname;
	char	   *path;			/* at the system; "." is the whole record */
	char	   *type;
	char	   *remote_type;
	bool		not_null;
	bool		key;
	bool		expand;
	bool		read_only;
	bool		filterable;
	bool		sortable;
	char	   *comment;		/* or NULL */
} ConcordImportColumn;

typedef struct ConcordImportTable
{
	char	   *relname;
	char	   *object;
	const ConcordEdmSet *set;	/* whose capabilities it has */
	const ConcordEdmType *type;
	bool		singleton;
	bool		insertable;
	bool		updatable;
	bool		deletable;
	List	   *columns;		/* of ConcordImportColumn * */
	char	   *comment;		/* or NULL */
} ConcordImportTable;

/* import_options.c: reads a list of DefElem; raises for what is not valid. */
extern void concord_import_options(List *given, ConcordImportOptions *options);

/* import_names.c */

/*
 * concord_import_name folds a path to a name of ours; what is too long is cut
 * and ends with a hash of the whole.
 */
extern char *concord_import_name(const ConcordImportOptions *options,
								 const char *path, bool column);

/* concord_import_cut gives a name as the parser would cut it. */
extern char *concord_import_cut(const char *name);

/* import_types.c */
extern void concord_import_type(const ConcordMetadata *metadata,
								const ConcordEdmProperty *property,
								ConcordImportType *type);

/* import_columns.c */

/* concord_import_columns fills in a table's columns. */
extern void concord_import_columns(const ConcordMetadata *metadata,
								   const ConcordImportOptions *options,
								   ConcordImportTable *table);

/* import_texts.c: what comments say; NULL: nothing. */
extern char *concord_import_table_comment(const ConcordImportTable *table);
extern char *concord_import_column_comment(const ConcordImportOptions *options,
										   const ConcordEdmSet *set,
										   const ConcordEdmType *type,
										   const char *path,
										   const ConcordEdmProperty *property,
										   const ConcordImportType *sql,
										   bool needs_filter);
extern char *concord_import_navigation_comment(const ConcordImportOptions *options,
											   const ConcordEdmSet *set,
											   const ConcordEdmNavigation *navigation);

/* import_tables.c */

/*
 * concord_import_tables makes tables of the sets that a list of RangeVars
 * names, by their names here or at the system.
 */
extern List *concord_import_tables(const ConcordMetadata *metadata,
								   const ConcordImportOptions *options,
								   ImportForeignSchemaType filter,
								   List *names);

/* import_sql.c */
extern char *concord_import_create(const ConcordImportTable *table,
								   const char *server, const char *service);

/* concord_import_comments gives COMMENT commands of a table, as texts. */
extern List *concord_import_comments(const ConcordImportTable *table);

/* import_fetch.c */

/*
 * concord_import_fetch reads a service's metadata as the current user; the
 * model is in the current context.
 */
extern ConcordMetadata *concord_import_fetch(Oid serverid, const char *service,
											 const char *language);

/* import.c */

/* concord_import_foreign_schema is FdwRoutine's. */
extern List *concord_import_foreign_schema(ImportForeignSchemaStmt *stmt,
										   Oid serverid);

/*
 * The hook of utility commands tells of each foreign table that was made as a
 * part of another command, and that IMPORT FOREIGN SCHEMA has ended.
 */
extern void concord_import_created(const CreateForeignTableStmt *stmt);
extern void concord_import_ended(void);

#endif							/* CONCORD_FDW_IMPORT_H */
