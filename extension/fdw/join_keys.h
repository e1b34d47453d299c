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
 * concord_join_keys_create prepares for keys that are values of columns (attnums) of
 * a table.  most: how many are asked for at once.
 */
extern ConcordJoinKeys *concord_join_keys_create(const ConcordForeignTable *table,
												 const ConcordReading *reading,
												 bool odata2, List *attnums, int most);

/* concord_join_keys_reset forgets those that were asked for. */
extern void concord_join_keys_reset(ConcordJoinKeys *keys);

/*
 * concord_join_keys_add adds one, a value of types[i] for each column; none is null.
 * room: bytes that are left of the query string; the first key always fits.
 */
extern ConcordKeyResult concord_join_keys_add(ConcordJoinKeys *keys, int room,
											  const Oid *types, const Datum *values);

/* concord_join_keys_text gives the filter, percent-encoded; NULL: there is no key. */
extern char *concord_join_keys_text(const ConcordJoinKeys *keys);

/* concord_join_keys_shown gives it as EXPLAIN shows it. */
extern char *concord_join_keys_shown(const ConcordForeignTable *table,
									 List *attnums);

#endif							/* CONCORD_FDW_JOIN_KEYS_H */
