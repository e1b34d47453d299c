/*-------------------------------------------------------------------------
 *
 * attempt.c
 *	  Work that may raise, in a subtransaction of its own.
 *
 * Nobody but who began a subtransaction ends it, so an error is caught here
 * even where it is only to be raised again.  The order of things is that of
 * PL/pgSQL's blocks with EXCEPTION (exec_stmt_block in pl_exec.c).
 *
 *-------------------------------------------------------------------------
 */
#include "base/attempt.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/* concord_attempt calls work; returns what it raised, or NULL. */
ErrorData *
concord_attempt(void (*work) (void *arg), void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}
