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
	NameData	column;			/* as it is called now */
	NameData	stored;			/* as its row calls it */
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
 * concord_ownership_let(true) lets the statements that the caller runs, but not
 * those of triggers that these fire, write to columns that systems own; for what
 * a system sent.  (false) ends it.  Returns what was before.  After an error the
 * caller ends it, too.
 */
extern bool concord_ownership_let(bool let);

/* The switch itself, and how deep triggers are when it holds. */
extern bool concord_ownership_bypass;
extern int	concord_ownership_depth;

/*
 * concord_ownership_guard_table makes a table's triggers what its ownership
 * says; concord_ownership_unguard drops them, to be made anew.  The caller holds a
 * lock that excludes writers.  ownership_guard.c
 */
extern void concord_ownership_guard_table(Oid relid);
extern bool concord_ownership_is_guarded(Oid relid);
extern void concord_ownership_unguard(Oid relid);

#endif							/* CONCORD_CATALOG_OWNERSHIP_H */
