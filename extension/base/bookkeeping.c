/*-------------------------------------------------------------------------
 *
 * bookkeeping.c
 *	  The bracket around transactions that write our own tables.
 *
 * DoNotReplicateId instead of an origin of our own: it takes no replication
 * state slot, any number of processes may use it, and it needs no catalog row.
 * The variable is read when a commit record is written and when a WAL record
 * is inserted, so it is set for the length of the transaction and no longer.
 *
 *-------------------------------------------------------------------------
 */
#include "base/bookkeeping.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "pgstat.h"
#include "replication/origin.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#define BK_SEARCH_PATH	"pg_catalog, pg_temp"

static bool bk_active = false;

/*
 * concord_bookkeeping_begin opens the bracket.  Settings are local to the
 * transaction; a value that stands already is left alone, which saves the
 * work of a GUC change each turn.
 */
void
concord_bookkeeping_begin(void)
{
	Assert(!bk_active);
	Assert(!IsTransactionState());

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PushActiveSnapshot(GetTransactionSnapshot());
	if (strcmp(namespace_search_path, BK_SEARCH_PATH) != 0)
		(void) set_config_option("search_path", BK_SEARCH_PATH,
								 PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
	pgstat_report_activity(STATE_RUNNING, "bookkeeping");

	replorigin_session_origin = DoNotReplicateId;
	bk_active = true;
}

/*
 * concord_bookkeeping_commit closes the bracket.  A durable commit is never
 * weaker than synchronous_commit = on, whatever the server's default is.
 */
void
concord_bookkeeping_commit(bool durable)
{
	Assert(bk_active);

	SPI_finish();
	PopActiveSnapshot();

	if (durable && synchronous_commit < SYNCHRONOUS_COMMIT_ON)
		(void) set_config_option("synchronous_commit", "on",
								 PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
	else if (!durable && synchronous_commit != SYNCHRONOUS_COMMIT_OFF)
		(void) set_config_option("synchronous_commit", "off",
								 PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_LOCAL, true, 0, false);
	CommitTransactionCommand();

	replorigin_session_origin = InvalidRepOriginId;
	bk_active = false;
	pgstat_report_stat(false);
	pgstat_report_activity(STATE_IDLE, NULL);
}

bool
concord_bookkeeping_active(void)
{
	return bk_active;
}

/* concord_bookkeeping_reset closes the bracket after an abort. */
void
concord_bookkeeping_reset(void)
{
	replorigin_session_origin = InvalidRepOriginId;
	bk_active = false;
}

/* concord_error_caught takes an error, but one that ends the process. */
ErrorData *
concord_error_caught(MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	if (error->sqlerrcode == ERRCODE_ADMIN_SHUTDOWN)
		PG_RE_THROW();
	FlushErrorState();
	return error;
}

/* concord_bookkeeping_caught is the same, and ends transactions. */
ErrorData *
concord_bookkeeping_caught(MemoryContext context)
{
	ErrorData  *error = concord_error_caught(context);

	AbortOutOfAnyTransaction();
	concord_bookkeeping_reset();
	return error;
}
