/*-------------------------------------------------------------------------
 *
 * drift.h
 *	  What becomes of mappings where a table changes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_MAPPING_DRIFT_H
#define CONCORD_MAPPING_DRIFT_H

#include "catalog/mapping.h"

#include "nodes/parsenodes.h"

/*
 * concord_drift_before prepares for a command that gives a table or a column
 * another name: which mappings use it, and their definitions with the new name.
 * Raises where a name cannot be followed.
 */
extern void concord_drift_before(const RenameStmt *stmt);

/* concord_drift_follow stores those definitions, once the name is new. */
extern void concord_drift_follow(void);

/* concord_drift_forget ends what concord_drift_before began. */
extern void concord_drift_forget(void);

/*
 * concord_drift_complain says that a mapping cannot go on after a change of a
 * table: raises, or pauses it, as pg_concord.on_schema_change says.
 */
extern void concord_drift_complain(int32 mapping, const char *reason);

/*
 * concord_drift_learn finds out which columns a mapping uses that came from
 * another database; one that cannot be read is broken when it is next used.
 */
extern void concord_drift_learn(int32 mapping);

/* concord_drift_check complains where a mapping cannot be compiled any more. */
extern void concord_drift_check(int32 mapping);

#endif							/* CONCORD_MAPPING_DRIFT_H */
