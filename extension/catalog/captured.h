/*-------------------------------------------------------------------------
 *
 * captured.h
 *	  The table that tells the decoder which tables are captured.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CATALOG_CAPTURED_H
#define CONCORD_CATALOG_CAPTURED_H

#include "base/compat.h"

/*
 * concord_captured_lock takes ShareRowExclusiveLock on a table and its
 * partitions, to be held to commit: no transaction that writes the table may
 * straddle a change of what is captured.  A lock timeout names the blockers.
 */
extern void concord_captured_lock(Oid relid);

/* concord_captured_add makes a table captured from the next command on. */
extern void concord_captured_add(Oid relid);

/*
 * concord_captured_release ends the capture of a table that no mapping names
 * any more; otherwise it does nothing.
 */
extern void concord_captured_release(Oid relid);

#endif							/* CONCORD_CATALOG_CAPTURED_H */
