/*-------------------------------------------------------------------------
 *
 * status.c
 *	  SQL functions about capture: status, wait, reset.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "base/clock.h"
#include "base/shmem.h"
#include "capture/capture.h"
#include "catalog/mapping.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/pg_lsn.h"

PG_FUNCTION_INFO_V1(concord_capture_status);
PG_FUNCTION_INFO_V1(concord_wait_for_capture);
PG_FUNCTION_INFO_V1(concord_capture_reset);

/* Columns of concord.capture_status(). */
enum
{
	STS_STATE, STS_REASON, STS_READY, STS_DECODER_PID, STS_CAPTURE_PID,
	STS_READ, STS_CAPTURED, STS_LAST_SEQ, STS_EVENTS, STS_NCOLUMNS
};

/* sts_put stores a value where it says something. */
static void
sts_put(Datum *values, bool *nulls, int column, Datum value, bool valid)
{
	values[column] = value;
	nulls[column] = !valid;
}

/* concord_capture_status() shows this database's entry in shared memory. */
Datum
concord_capture_status(PG_FUNCTION_ARGS)
{
	ConcordDatabase *db = concord_shmem_database(MyDatabaseId);
	TupleDesc	tupdesc;
	Datum		values[STS_NCOLUMNS];
	bool		nulls[STS_NCOLUMNS];
	char		state[32] = "not running";
	char		reason[CONCORD_REASON_SIZE] = "";
	pid_t		decoder = 0;
	pid_t		capture = 0;
	XLogRecPtr	lsn;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memset(nulls, true, sizeof(nulls));
	if (RecoveryInProgress())
	{
		strlcpy(state, CONCORD_CAPTURE_STANDBY, sizeof(state));
		strlcpy(reason, "the server is a standby: its workers start when it is promoted",
				sizeof(reason));
	}
	else if (concord_shmem == NULL)
		strlcpy(reason, "the library pg_concord is not preloaded", sizeof(reason));
	if (db != NULL)
	{
		SpinLockAcquire(&db->mutex);
		strlcpy(state, db->capture_state, sizeof(state));
		strlcpy(reason, db->reason, sizeof(reason));
		decoder = db->workers[CONCORD_WORKER_DECODER].pid;
		capture = db->workers[CONCORD_WORKER_CAPTURE].pid;
		SpinLockRelease(&db->mutex);
		lsn = pg_atomic_read_u64(&db->read_lsn);
		sts_put(values, nulls, STS_READ, LSNGetDatum(lsn), lsn != InvalidXLogRecPtr);
		lsn = pg_atomic_read_u64(&db->captured_lsn);
		sts_put(values, nulls, STS_CAPTURED, LSNGetDatum(lsn),
				lsn != InvalidXLogRecPtr);
		sts_put(values, nulls, STS_LAST_SEQ,
				Int64GetDatum((int64) pg_atomic_read_u64(&db->last_seq)), true);
		sts_put(values, nulls, STS_EVENTS,
				Int64GetDatum((int64) pg_atomic_read_u64(&db->events_captured)), true);
	}
	sts_put(values, nulls, STS_STATE, CStringGetTextDatum(state), true);
	sts_put(values, nulls, STS_REASON, CStringGetTextDatum(reason), reason[0] != '\0');
	sts_put(values, nulls, STS_READY,
			BoolGetDatum(db != NULL && pg_atomic_read_u32(&db->capture_ready) != 0),
			true);
	sts_put(values, nulls, STS_DECODER_PID, Int32GetDatum(decoder), decoder != 0);
	sts_put(values, nulls, STS_CAPTURE_PID, Int32GetDatum(capture), capture != 0);
	return HeapTupleGetDatum(heap_form_tuple(tupdesc, values, nulls));
}

/*
 * concord_wait_for_capture(timeout interval) waits until capture is ready and
 * has everything that was committed before the call; false at the timeout.
 */
Datum
concord_wait_for_capture(PG_FUNCTION_ARGS)
{
	int64		end = PG_ARGISNULL(0) ? CONCORD_CLOCK_NEVER :
		concord_clock_after(PG_GETARG_INTERVAL_P(0));
	int			timeout = PG_ARGISNULL(0) ? -1 : (int) concord_clock_left(end);

	PreventCommandDuringRecovery("concord.wait_for_capture()");
	if (TransactionIdIsValid(GetTopTransactionIdIfAny()))
	{
		ConcordDatabase *db = concord_shmem_database(MyDatabaseId);

		if (db == NULL || pg_atomic_read_u32(&db->capture_ready) == 0)
			concord_capture_require("concord.wait_for_capture()");
	}
	if (!concord_capture_wait_ready(timeout))
		PG_RETURN_BOOL(false);
	if (timeout >= 0)
		timeout = Max((int) concord_clock_left(end), 1);
	PG_RETURN_BOOL(concord_capture_wait_lsn(concord_capture_mark(), timeout));
}

/*
 * concord_capture_reset() is concord.reset_capture(): where there is a gap it
 * is recorded, and the workers make a new slot.
 */
Datum
concord_capture_reset(PG_FUNCTION_ARGS)
{
	static const char *const statements[] = {
		"INSERT INTO concord.capture_gap (after_lsn, after_seq, reason, reset_by)"
		" SELECT c.progress, c.last_seq, s.reason, $1"
		" FROM concord.capture_state c CROSS JOIN concord.capture_status() s"
		" WHERE s.state = 'gap'",
		"UPDATE concord.capture_state SET slot_lsn = '0/0'"
		" FROM concord.capture_status() s WHERE s.state = 'gap' AND $1 IS NOT NULL",
	};
	ConcordCatalogScope scope;
	Oid			types[1] = {NAMEOID};
	Datum		values[1];
	NameData	user;

	concord_catalog_require_owner("concord.reset_capture()");
	PreventCommandDuringRecovery("concord.reset_capture()");
	namestrcpy(&user, GetUserNameFromId(GetUserId(), false));
	values[0] = NameGetDatum(&user);
	concord_catalog_enter(&scope);
	for (int i = 0; i < lengthof(statements); i++)
	{
		if (SPI_execute_with_args(statements[i], 1, types, values, NULL, false,
								  0) < 0)
			elog(ERROR, "could not record a gap of capture");
	}
	concord_catalog_leave(&scope);
	PG_RETURN_VOID();
}
