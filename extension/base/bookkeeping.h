/*-------------------------------------------------------------------------
 *
 * bookkeeping.h
 *	  The bracket around transactions that write our own tables.
 *
 * Between begin and commit the session's replication origin is
 * DoNotReplicateId, so that the decoder drops what is written before it costs
 * memory.  No SQL that is not ours may run inside (a foreign write would
 * vanish from capture); concord.emit() refuses to.  Transactions of workers
 * only: a SQL function that a user calls writes our tables in the user's own
 * transaction, and the decoder drops those rows because the tables are in
 * schema concord.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_BOOKKEEPING_H
#define CONCORD_BOOKKEEPING_H

#include "base/compat.h"

/*
 * concord_bookkeeping_begin starts a transaction, connects SPI, pushes a
 * snapshot and sets search_path to pg_catalog, pg_temp for SPI commands.
 */
extern void concord_bookkeeping_begin(void);

/*
 * concord_bookkeeping_commit ends it.  durable says that the commit waits for
 * its flush (and synchronous standbys); otherwise synchronous_commit is off.
 * Reports statistics and goes back to the idle activity.
 */
extern void concord_bookkeeping_commit(bool durable);

/* concord_bookkeeping_active says whether the bracket is open. */
extern bool concord_bookkeeping_active(void);

/*
 * concord_bookkeeping_reset forgets the bracket after an error; the worker's
 * error path calls it after AbortCurrentTransaction.
 */
extern void concord_bookkeeping_reset(void);

/*
 * concord_error_caught, in a worker's PG_CATCH: the error, copied into context,
 * which is the current one then, and no longer pending.  One that ends the
 * process is raised again.
 */
extern ErrorData *concord_error_caught(MemoryContext context);

/*
 * concord_bookkeeping_caught is the same where the PG_TRY had transactions of
 * its own, in the bracket or not: they are aborted.
 */
extern ErrorData *concord_bookkeeping_caught(MemoryContext context);

#endif							/* CONCORD_BOOKKEEPING_H */
