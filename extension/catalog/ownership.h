/*-------------------------------------------------------------------------
 *
 * ownership.h
 *	  Who owns the columns of a table, and which way that makes fields go.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CATALOG_OWNERSHIP_H
#define CONCORD_CATALOG_OWNERSHIP_H

#include "catalog/mapping.h"

#include "access/attnum.h"

/* What a local write to a column that is owned elsewhere does. */
typedef enum ConcordLocalWrite
{
	CONCORD_LOCAL_REFUSE,
	CONCORD_LOCAL_REPORT,
	CONCORD_LOCAL_OFF,			/* nothing */
} ConcordLocalWrite;

/* A column that is not this database's alone. */
typedef struct ConcordOwned
{
	AttrNumber	attnum;
	Oid			owner;			/* a server; InvalidOid where it is shared */
	bool		shared;
	ConcordPolicy policy;		/* of a shared one */
	ConcordLocalWrite on_local_write;
	NameData	column;
	NameData	owner_name;		/* a server's, which may be gone, or shared */
	int32		mapping;		/* whose field says so; 0: set_owner() */
} ConcordOwned;

/*
 * concord_ownership lists what is known of a table, in the order of its columns; columns that are not in the list
 * are owned by this database.  The list is a cache's: it is good until the next
 * invalidation message.  Needs a transaction.
 */
extern List *concord_ownership(Oid relid);

/* concord_ownership_column returns what is known of one column, or NULL. */
extern const ConcordOwned *concord_ownership_column(Oid relid,
													AttrNumber attnum);

/*
 * concord_ownership_resolve sets owner and direction of a mapping's fields.  A
 * column that the mapping's server owns is pulled, a shared one goes both ways,
 * every other field is pushed.
 */
extern void concord_ownership_resolve(ConcordMapping *mapping);

/*
 * concord_ownership_pushed says whether a field is sent to a server, which is
 * not the mapping's own where its rows are routed.
 */
extern bool concord_ownership_pushed(const ConcordMapping *mapping,
									 const ConcordField *field, Oid serverid);

/* concord_ownership_same: two readings of one version say the same. */
extern bool concord_ownership_same(const ConcordMapping *a,
								   const ConcordMapping *b);

extern const char *concord_local_write_name(ConcordLocalWrite what);

/*
 * Set around a statement that writes what a system sent: it may write to the
 * columns that this system owns.
 */
extern bool concord_ownership_bypass;

#endif							/* CONCORD_CATALOG_OWNERSHIP_H */
