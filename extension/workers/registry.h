/*-------------------------------------------------------------------------
 *
 * registry.h
 *	  Which databases want workers, in a place that all databases share.
 *
 * pg_extension is a catalog of each database; pg_db_role_setting is shared,
 * transactional and goes with its database.  CREATE EXTENSION sets
 * pg_concord.enabled there, DROP EXTENSION resets it.  A DBA who sets it to
 * off keeps the extension and its slot but stops the workers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_REGISTRY_H
#define CONCORD_REGISTRY_H

#include "base/compat.h"

#include "base/shmem.h"

#define CONCORD_REGISTRY_SETTING	"pg_concord.enabled"

/*
 * concord_registry_set sets pg_concord.enabled = on for a database, or takes
 * the setting away, in this transaction, whoever the user is.
 */
extern void concord_registry_set(Oid dboid, bool enabled);

/*
 * concord_registry_read fills at most max registrations and returns their
 * number; needs a transaction in a process that is connected to a database.
 */
extern int	concord_registry_read(ConcordRegistration *found, int max);

/* concord_registry_has says whether a database has the setting at all. */
extern bool concord_registry_has(Oid dboid);

/*
 * concord_registry_ensure has this database registered by another process,
 * hence before this transaction ends, and waits until the launcher has taken
 * it.  Where that does not come about, whoever needs the workers says so.
 */
extern void concord_registry_ensure(void);

#endif							/* CONCORD_REGISTRY_H */
