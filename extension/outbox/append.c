/*-------------------------------------------------------------------------
 *
 * append.c
 *	  Append chunks to the outbox.
 *
 * Rows go in past the executor (insert.c).  The ring turns here, in the
 * transaction that finds it due, because then nobody but the one writer
 * decides which table is the current one; the clerk only empties closed
 * tables and marks them free (retain.c).
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "base/settings.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "outbox/append.h"
#include "outbox/insert.h"
#include "outbox/tables.h"
#include "utils/array.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

/* The shortest time between two turns of the ring. */
#define APP_MIN_TURN_MS	1000

/* The current table of the ring. */
typedef struct AppCurrent
{
	int			slot;
	int64		first_seq;
	TimestampTz opened_at;
	bool		valid;
	TimestampTz asked_at;		/* when a turn was last tried */
} AppCurrent;

/*
 * As this process, the only writer, last saw it.  An error ends the process,
 * so it never differs from what is committed.
 */
static AppCurrent app_current;

/* app_load reads which table is the current one. */
static void
app_load(void)
{
	ConcordRingSlot ring[CONCORD_RING_SIZE];
	int			used = concord_outbox_ring(ring);

	for (int i = 0; i < used; i++)
	{
		if (ring[i].state != 'o')
			continue;
		app_current.slot = ring[i].slot;
		app_current.first_seq = ring[i].first_seq;
		app_current.opened_at = ring[i].opened_at;
		app_current.valid = true;
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("concord.outbox_ring has no current table")));
}

/* app_due says whether the current table has had its time. */
static bool
app_due(int64 next_seq, TimestampTz now)
{
	int64		turn = (int64) concord_outbox_retention * 60 * 1000 /
		(CONCORD_RING_SIZE - 2);

	turn = Max(turn, APP_MIN_TURN_MS);
	if (next_seq <= app_current.first_seq)
		return false;
	return now >= app_current.opened_at + turn * 1000 &&
		now >= app_current.asked_at + APP_MIN_TURN_MS * INT64CONST(1000);
}

/*
 * app_turn closes the current table and opens the next one, if that is free;
 * if not, a reader is behind or the clerk has not come to it, and the current
 * table serves on.
 */
static void
app_turn(int64 next_seq, TimestampTz now)
{
	Oid			types[] = {INT4OID, INT4OID, INT8OID, TIMESTAMPTZOID};
	int			next = (app_current.slot + 1) % CONCORD_RING_SIZE;
	Datum		values[] = {
		Int32GetDatum(app_current.slot), Int32GetDatum(next),
		Int64GetDatum(next_seq), TimestampTzGetDatum(now)
	};

	app_current.asked_at = now;
	if (SPI_execute_with_args("UPDATE concord.outbox_ring SET state = 'open',"
							  " first_seq = $3, last_seq = NULL,"
							  " opened_at = $4, closed_at = NULL"
							  " WHERE slot = $2 AND state = 'free'"
							  " AND $1 IS NOT NULL",
							  lengthof(types), types, values, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not open the next table of the outbox");
	if (SPI_processed == 0)
		return;
	if (SPI_execute_with_args("UPDATE concord.outbox_ring SET state = 'closed',"
							  " last_seq = $3 - 1, closed_at = $4"
							  " WHERE slot = $1 AND $2 IS NOT NULL",
							  lengthof(types), types, values, NULL, false, 0) != SPI_OK_UPDATE ||
		SPI_processed != 1)
		elog(ERROR, "could not close the current table of the outbox");
	app_current.slot = next;
	app_current.first_seq = next_seq;
	app_current.opened_at = now;
}

/* app_fill stores a chunk in a virtual slot. */
static void
app_fill(TupleTableSlot *slot, const ConcordChunk *chunk)
{
	Datum		oids[CONCORD_CHUNK_SOURCES];

	for (int i = 0; i < chunk->nsources; i++)
		oids[i] = ObjectIdGetDatum(chunk->sources[i]);
	slot->tts_values[CONCORD_OUTBOX_SEQ - 1] = Int64GetDatum(chunk->seq);
	slot->tts_values[CONCORD_OUTBOX_LAST_SEQ - 1] = Int64GetDatum(chunk->last_seq);
	slot->tts_values[CONCORD_OUTBOX_NEVENTS - 1] = Int32GetDatum(chunk->nevents);
	slot->tts_values[CONCORD_OUTBOX_FIRST_LSN - 1] = LSNGetDatum(chunk->first_lsn);
	slot->tts_values[CONCORD_OUTBOX_LAST_LSN - 1] = LSNGetDatum(chunk->last_lsn);
	slot->tts_values[CONCORD_OUTBOX_FIRST_TIME - 1] = TimestampTzGetDatum(chunk->first_time);
	slot->tts_values[CONCORD_OUTBOX_LAST_TIME - 1] = TimestampTzGetDatum(chunk->last_time);
	slot->tts_values[CONCORD_OUTBOX_SOURCES - 1] =
		PointerGetDatum(construct_array(oids, chunk->nsources, OIDOID,
										sizeof(Oid), true, TYPALIGN_INT));
	slot->tts_values[CONCORD_OUTBOX_DATA - 1] = PointerGetDatum(chunk->data);
	ExecStoreVirtualTuple(slot);
}

/* app_insert stores chunks in one table of the ring. */
static void
app_insert(Oid relid, ConcordChunk **chunks, int nchunks)
{
	ConcordInsert insert;

	concord_insert_open(&insert, relid, CONCORD_OUTBOX_NCOLUMNS);
	for (int i = 0; i < nchunks; i++)
	{
		if (insert.n == CONCORD_INSERT_ROWS)
			concord_insert_flush(&insert, NULL);
		app_fill(concord_insert_slot(&insert), chunks[i]);
	}
	concord_insert_flush(&insert, NULL);
	concord_insert_close(&insert);
}

/* concord_outbox_append stores chunks, in order, in the current table. */
void
concord_outbox_append(ConcordChunk **chunks, int nchunks)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();

	if (nchunks == 0)
		return;
	if (!app_current.valid)
		app_load();
	if (app_due(chunks[0]->seq, now))
		app_turn(chunks[0]->seq, now);
	app_insert(concord_outbox_ring_table(app_current.slot), chunks, nchunks);
}
