/*-------------------------------------------------------------------------
 *
 * state.c
 *	  The progress row, concord.capture_state.
 *
 * Written in the same transaction as the chunks that it speaks of: that is
 * what makes capture exactly once.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "capture/capture.h"
#include "capture/state.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"

#define STA_READ	\
	"SELECT slot_lsn, progress, partial_lsn, partial_ordinal, last_seq," \
	" events, forged, slot FROM concord.capture_state"
#define STA_WRITE	\
	"UPDATE concord.capture_state SET slot_lsn = $1, progress = $2," \
	" partial_lsn = $3, partial_ordinal = $4, last_seq = $5, events = $6," \
	" forged = $7, slot = $8, changed_at = pg_catalog.clock_timestamp()"

/* The statement of concord_capture_state_write, prepared once. */
static SPIPlanPtr sta_write_plan = NULL;

static uint64
sta_value(int column, uint64 missing)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
									  column, &isnull);

	return isnull ? missing : (uint64) DatumGetInt64(value);
}

/*
 * sta_own_slot says whether the row speaks of this database's slot.  In a copy
 * made with TEMPLATE it speaks of the original's: capture begins anew there.
 */
static bool
sta_own_slot(void)
{
	char		own[NAMEDATALEN];
	char	   *slot = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 8);

	concord_capture_slot_name(MyDatabaseId, own);
	return slot != NULL && strcmp(slot, own) == 0;
}

/* concord_capture_state_read reads the progress row. */
void
concord_capture_state_read(ConcordCaptureState *state)
{
	if (SPI_execute(STA_READ, true, 2) != SPI_OK_SELECT || SPI_processed != 1)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("concord.capture_state does not have exactly one row")));
	state->slot_lsn = sta_own_slot() ? sta_value(1, InvalidXLogRecPtr) :
		InvalidXLogRecPtr;
	state->progress = sta_value(2, InvalidXLogRecPtr);
	state->partial_lsn = sta_value(3, InvalidXLogRecPtr);
	state->partial_ordinal = (uint32) sta_value(4, 0);
	state->last_seq = (int64) sta_value(5, 0);
	state->events = (int64) sta_value(6, 0);
	state->forged = (int64) sta_value(7, 0);
}

/* concord_capture_state_write writes the progress row. */
void
concord_capture_state_write(const ConcordCaptureState *state)
{
	Oid			types[] = {PG_LSNOID, PG_LSNOID, PG_LSNOID, INT8OID, INT8OID,
	INT8OID, INT8OID, TEXTOID};
	char		slot[NAMEDATALEN];
	char		nulls[] = "        ";
	Datum		values[lengthof(types)];

	if (sta_write_plan == NULL)
	{
		sta_write_plan = SPI_prepare(STA_WRITE, lengthof(types), types);
		if (sta_write_plan == NULL || SPI_keepplan(sta_write_plan) != 0)
			elog(ERROR, "could not prepare the update of concord.capture_state");
	}
	concord_capture_slot_name(MyDatabaseId, slot);
	values[0] = LSNGetDatum(state->slot_lsn);
	values[1] = LSNGetDatum(state->progress);
	values[2] = LSNGetDatum(state->partial_lsn);
	values[3] = Int64GetDatum((int64) state->partial_ordinal);
	values[4] = Int64GetDatum(state->last_seq);
	values[5] = Int64GetDatum(state->events);
	values[6] = Int64GetDatum(state->forged);
	values[7] = CStringGetTextDatum(slot);
	if (XLogRecPtrIsInvalid(state->partial_lsn))
		nulls[2] = nulls[3] = 'n';
	if (SPI_execute_plan(sta_write_plan, values, nulls, false, 0) != SPI_OK_UPDATE ||
		SPI_processed != 1)
		elog(ERROR, "could not update concord.capture_state");
}
