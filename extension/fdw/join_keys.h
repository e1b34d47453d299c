/*-------------------------------------------------------------------------
 *
 * join_keys.h
 *	  Keys that a join asks for, many in one request.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_JOIN_KEYS_H
#define CONCORD_FDW_JOIN_KEYS_H

#include "connector/reading.h"
#include "fdw/fdw.h"

/* What became of a key. */
typedef enum ConcordKeyResult
{
	CONCORD_KEY_ADDED,
	CONCORD_KEY_NO_FORM,		/* the system cannot have a record with it */
	CONCORD_KEY_FULL,			/* it is for the next request */
} ConcordKeyResult;

typedef struct ConcordJoinKeys ConcordJoinKeys;

/*
 * concord_join_keys_most says how many keys of so many columns one filter has, and
 * how many filters are asked for together.
 */
extern int	concord_join_keys_most(const ConcordForeignTable *table,
								   const ConcordServer *server, int ncolumns,
								   int *filters);

/*
 * concord_join_keys_create prepares for keys that are values of columns (attnums) of
 * a table.
 */
extern ConcordJoinKeys *concord_join_keys_create(const ConcordForeignTable *table,
												 const ConcordServer *server,
												 List *attnums);

/* concord_join_keys_reset forgets those that were asked for. */
extern void concord_join_keys_reset(ConcordJoinKeys *keys);

/*
 * concord_join_keys_add adds one, a value of types[i] for each column; none is null.
 * room: bytes that are left of a query string; the first key always fits.
 * *filter: which filter it stands in, from 0 on.
 */
extern ConcordKeyResult concord_join_keys_add(ConcordJoinKeys *keys, int room,
											  const Oid *types, const Datum *values,
											  int *filter);

/* concord_join_keys_filters says how many filters there are; 0: no key. */
extern int	concord_join_keys_filters(const ConcordJoinKeys *keys);

/* concord_join_keys_text gives a filter, percent-encoded. */
extern char *concord_join_keys_text(const ConcordJoinKeys *keys, int filter);

/* concord_join_keys_shown gives it as EXPLAIN shows it. */
extern char *concord_join_keys_shown(const ConcordForeignTable *table,
									 List *attnums);

#endif							/* CONCORD_FDW_JOIN_KEYS_H */
