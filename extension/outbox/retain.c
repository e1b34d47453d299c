/*-------------------------------------------------------------------------
 *
 * retain.c
 *	  Give back outbox space that nobody needs any more.
 *
 * Tables of the ring are truncated, oldest first: a DELETE would leave bloat
 * and a dropped partition would lock its parent against capture and couriers.
 * TRUNCATE needs AccessExclusiveLock on a table that only a query of
 * concord.outbox may still be reading; with a short lock_timeout we rather
 * come again than make others queue behind us.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "base/bookkeeping.h"
#include "base/settings.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "outbox/retain.h"
#include "outbox/tables.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define RET_LOCK_TIMEOUT	"200ms"

/*
 * What lanes still need: everything after the smallest cursor of a mapping
 * that has not given up its place, or after a start that no courier has taken
 * over.  concord.lane belongs to the delivery room, above us, so it is asked
 * by name.
 */
#define RET_NEEDED	\
	"SELECT min(seq) FROM (" \
	"SELECT l.cursor AS seq FROM concord.lane l" \
	" JOIN concord.mapping m ON m.id = l.mapping WHERE m.state <> 'stale'" \
	" UNION ALL SELECT s.seq FROM concord.lane_start s" \
	" JOIN concord.mapping m ON m.id = s.mapping WHERE m.state <> 'stale'" \
	") needed"

/* ret_needed_after returns the seq up to which no lane needs anything. */
static int64
ret_needed_after(void)
{
	bool		isnull;
	int64		seq;

	if (!OidIsValid(get_relname_relid("lane", get_namespace_oid(CONCORD_SCHEMA, false))))
		return PG_INT64_MAX;
	if (SPI_execute(RET_NEEDED, true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not read the cursors of the lanes");
	seq = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
									  SPI_tuptable->tupdesc, 1, &isnull));
	return isnull ? PG_INT64_MAX : seq;
}

/* ret_truncate empties one table of the ring and marks it free. */
static void
ret_truncate(int slot)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(slot)};
	char		command[64];

	snprintf(command, sizeof(command), "TRUNCATE concord.outbox_%d", slot);
	if (SPI_execute(command, false, 0) != SPI_OK_UTILITY ||
		SPI_execute_with_args("UPDATE concord.outbox_ring SET state = 'free',"
							  " first_seq = NULL, last_seq = NULL,"
							  " opened_at = NULL, closed_at = NULL WHERE slot = $1",
							  lengthof(types), types, values, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not empty a table of the outbox");
}

/*
 * ret_try empties one table in a subtransaction; a lock that is not to be had
 * in time is no error.  Other errors go on.
 */
static bool
ret_try(int slot)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;

	BeginInternalSubTransaction(NULL);
	PG_TRY();
	{
		(void) set_config_option("lock_timeout", RET_LOCK_TIMEOUT, PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_LOCAL, true, 0, false);
		ret_truncate(slot);
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		if (geterrcode() != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		MemoryContextSwitchTo(context);
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return done;
}

/* concord_outbox_retain truncates what is old and not needed. */
void
concord_outbox_retain(void)
{
	ConcordRingSlot ring[CONCORD_RING_SIZE];
	TimestampTz oldest;
	int64		needed_after;
	int			used;
	bool		changed = false;

	concord_bookkeeping_begin();
	used = concord_outbox_ring(ring);
	oldest = GetCurrentTransactionStartTimestamp() -
		(int64) concord_outbox_retention * 60 * USECS_PER_SEC;
	if (used > 1 && ring[0].state == 'c' && ring[0].closed_at <= oldest)
	{
		needed_after = ret_needed_after();
		for (int i = 0; i < used; i++)
		{
			if (ring[i].state != 'c' || ring[i].closed_at > oldest ||
				ring[i].last_seq > needed_after)
				break;
			if (!ret_try(ring[i].slot))
				break;
			changed = true;
		}
	}
	concord_bookkeeping_commit(changed);
}
