/*-------------------------------------------------------------------------
 *
 * fdw.h
 *	  Foreign tables of wrapper concord: what their options say.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_H
#define CONCORD_FDW_H

#include "base/compat.h"

#include "access/attnum.h"
#include "nodes/pg_list.h"
#include "utils/relcache.h"

/* What becomes of a value that is not what its column wants. */
typedef enum ConcordBadValue
{
	CONCORD_BAD_ERROR,
	CONCORD_BAD_NULL,
} ConcordBadValue;

/* A column that comes from the system. */
typedef struct ConcordForeignColumn
{
	AttrNumber	attnum;
	char	   *attname;
	char	   *name;			/* what queries call it; "/" nests */
	int			npath;			/* where a record has its value; 0: all of it */
	char	  **path;
	Size	   *path_len;
	char	   *type;			/* the remote type (Edm.Guid); NULL: not said */
	bool		key;
	bool		expand;			/* the first of its path is a navigation */
	bool		read_only;
	bool		pushdown;
	bool		sortable;
	bool		binary;			/* texts compare byte by byte there */
	bool		not_null;
	ConcordBadValue on_bad_value;
	ConcordBadValue on_missing;
	Oid			typid;
	int32		typmod;
	Oid			collation;
} ConcordForeignColumn;

/* A foreign table; columns[attnum - 1], with attnum 0 where one was dropped or is virtual. */
typedef struct ConcordForeignTable
{
	Oid			relid;
	Oid			serverid;
	char	   *relname;
	char	   *object;			/* the table's name where no option has it */
	char	   *service;		/* NULL: the server's */
	char	   *query;			/* more of the query string, or NULL */
	char	   *items;			/* where an answer has the list; NULL: as the
								 * connector says */
	int			paging;			/* ConcordReadPaging; -1: as the connector
								 * says */
	int			page_size;		/* 0: as the connector says */
	Size		page_bytes;		/* an answer's size at most */
	int			list_size;		/* values of an IN in one request; 0: as the
								 * connector says */
	double		rows;			/* -1: not said */
	bool		use_remote_estimate;
	bool		async_capable;
	bool		pushdown;
	bool		updatable;
	bool		singleton;		/* one record, and no list of them */
	bool		outbox;			/* write; also of the server */
	bool		omit_nulls;		/* insert_nulls */
	int			batch_size;		/* 0: as server and connector say */
	int			ncolumns;
	ConcordForeignColumn *columns;
	int			nkeys;
	AttrNumber *keys;
} ConcordForeignTable;

/*
 * concord_fdw_table reads a foreign table's options, and those of its columns,
 * into the current context.  table.c
 */
extern ConcordForeignTable *concord_fdw_table(Relation rel);

#endif							/* CONCORD_FDW_H */
