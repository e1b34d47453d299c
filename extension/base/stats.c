/*-------------------------------------------------------------------------
 *
 * stats.c
 *	  Counters of the output plugin, one entry per replication slot.
 *
 * The plugin knows nothing of this library: it finds a table of functions in a
 * rendezvous variable (decoder/protocol.h), so it counts in whatever process
 * decodes, in any database, whether the extension is there or not.
 *
 * A slot has no identity beyond its name, and names are used again.  The plugin
 * is told when a slot is made, and says so; the entry at its index then begins
 * anew.  What a reader of the slot before it has still to tell carries that
 * one's generation and is dropped.  An entry whose slot is gone is not shown.
 *
 * Counters begin at zero with the server: they are for watching, and what a
 * crash would make of saved ones is worse than none.
 *
 *-------------------------------------------------------------------------
 */
#include "base/stats.h"

#include "access/htup_details.h"
#include "base/shmem.h"
#include "commands/dbcommands.h"
#include "decoder/protocol.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "storage/shmem.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/pg_lsn.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(concord_stats_counters);
PG_FUNCTION_INFO_V1(concord_stats_reset);

#define STA_NAME		"pg_concord decoder counters"
#define STA_FORMAT_SIZE	16

typedef struct StatsEntry
{
	slock_t		mutex;			/* guards all that follows */
	uint32		generation;		/* of the slot: 0 before the first */
	NameData	slot;
	char		format[STA_FORMAT_SIZE];	/* of the last reading */
	uint64		starts;			/* how often it was begun to be read */
	TimestampTz started_at;		/* for the last time */
	TimestampTz reset_at;		/* counting began */
	XLogRecPtr	lsn;			/* of the last transaction sent */
	TimestampTz time;
	uint64		counts[CONCORD_COUNTERS];
} StatsEntry;

/* Columns of concord.decoder_counters(); counters follow the last. */
enum
{
	STA_SLOT, STA_FORMAT, STA_STARTS, STA_STARTED_AT, STA_LAST_LSN,
	STA_LAST_TIME, STA_RESET_AT, STA_COUNTS, STA_NCOLUMNS = STA_COUNTS + CONCORD_COUNTERS
};

static StatsEntry *sta_entries = NULL;
static int	sta_nentries = 0;

/* concord_stats_size is what the entries take in shared memory. */
Size
concord_stats_size(void)
{
	return mul_size(sizeof(StatsEntry), concord_max_slots());
}

/* concord_stats_attach makes the entries, or finds them. */
void
concord_stats_attach(void)
{
	bool		found;

	sta_nentries = concord_max_slots();
	sta_entries = ShmemInitStruct(STA_NAME, concord_stats_size(), &found);
	if (found)
		return;
	memset(sta_entries, 0, concord_stats_size());
	for (int i = 0; i < sta_nentries; i++)
		SpinLockInit(&sta_entries[i].mutex);
}

/* sta_clear begins an entry anew; the caller holds its mutex. */
static void
sta_clear(StatsEntry *entry, TimestampTz now)
{
	entry->reset_at = now;
	entry->starts = 0;
	entry->lsn = InvalidXLogRecPtr;
	entry->time = 0;
	memset(entry->counts, 0, sizeof(entry->counts));
}

/*
 * sta_open is called by the plugin, in a process that has acquired a slot; a
 * ticket is the entry's index from 1, below the slot's generation.
 */
static uint64
sta_open(const char *format, bool fresh)
{
	TimestampTz now = GetCurrentTimestamp();
	StatsEntry *entry;
	uint64		ticket;
	int			index;

	if (sta_entries == NULL || MyReplicationSlot == NULL)
		return 0;
	index = ReplicationSlotIndex(MyReplicationSlot);
	if (index >= sta_nentries)
		return 0;
	entry = &sta_entries[index];
	SpinLockAcquire(&entry->mutex);
	if (fresh || entry->generation == 0 ||
		namestrcmp(&entry->slot, NameStr(MyReplicationSlot->data.name)) != 0)
	{
		sta_clear(entry, now);
		entry->generation++;
		entry->slot = MyReplicationSlot->data.name;
		entry->started_at = 0;
		entry->format[0] = '\0';
	}
	if (!fresh)
	{
		strlcpy(entry->format, format, sizeof(entry->format));
		entry->started_at = now;
		entry->starts++;
	}
	ticket = ((uint64) entry->generation << 32) | (uint32) (index + 1);
	SpinLockRelease(&entry->mutex);
	return ticket;
}

/* sta_add is called by the plugin whenever it has counted for a while. */
static void
sta_add(uint64 ticket, const uint64 *counts, int ncounts, uint64 lsn, int64 time)
{
	StatsEntry *entry = &sta_entries[(uint32) ticket - 1];

	ncounts = Min(ncounts, CONCORD_COUNTERS);
	SpinLockAcquire(&entry->mutex);
	if (entry->generation == (uint32) (ticket >> 32))
	{
		for (int i = 0; i < ncounts; i++)
			entry->counts[i] += counts[i];
		if (lsn != InvalidXLogRecPtr)
		{
			entry->lsn = lsn;
			entry->time = time;
		}
	}
	SpinLockRelease(&entry->mutex);
}

static const ConcordCounterTable sta_table = {
	.version = CONCORD_COUNTERS_VERSION,
	.open = sta_open,
	.add = sta_add,
};

/* concord_stats_offer leaves the table where the plugin looks for it. */
void
concord_stats_offer(void)
{
	*find_rendezvous_variable(CONCORD_COUNTERS_RENDEZVOUS) =
		unconstify(ConcordCounterTable *, &sta_table);
}

/*
 * sta_is_live says whether a slot of our plugin is where the entry is from, by
 * its name; the caller holds ReplicationSlotControlLock.
 */
static bool
sta_is_live(const StatsEntry *entry, const ReplicationSlot *slot)
{
	return entry->generation != 0 && slot->in_use &&
		namestrcmp(unconstify(NameData *, &slot->data.name),
				   NameStr(entry->slot)) == 0 &&
		namestrcmp(unconstify(NameData *, &slot->data.plugin),
				   CONCORD_DECODER_NAME) == 0;
}

/* sta_put_row adds an entry to the result. */
static void
sta_put_row(ReturnSetInfo *result, const StatsEntry *entry)
{
	Datum		values[STA_NCOLUMNS] = {0};
	bool		nulls[STA_NCOLUMNS] = {0};

	values[STA_SLOT] = NameGetDatum(&entry->slot);
	values[STA_FORMAT] = CStringGetTextDatum(entry->format);
	nulls[STA_FORMAT] = entry->format[0] == '\0';
	values[STA_STARTS] = Int64GetDatum((int64) entry->starts);
	values[STA_STARTED_AT] = TimestampTzGetDatum(entry->started_at);
	nulls[STA_STARTED_AT] = entry->started_at == 0;
	values[STA_LAST_LSN] = LSNGetDatum(entry->lsn);
	values[STA_LAST_TIME] = TimestampTzGetDatum(entry->time);
	nulls[STA_LAST_LSN] = nulls[STA_LAST_TIME] = entry->lsn == InvalidXLogRecPtr;
	values[STA_RESET_AT] = TimestampTzGetDatum(entry->reset_at);
	for (int i = 0; i < CONCORD_COUNTERS; i++)
		values[STA_COUNTS + i] = Int64GetDatum((int64) entry->counts[i]);
	tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
}

/*
 * concord_stats_counters() is concord.decoder_counters(): one row for each slot
 * of the plugin that was made or read since the server started.
 */
Datum
concord_stats_counters(PG_FUNCTION_ARGS)
{
	StatsEntry *entries;
	int			nentries = 0;

	InitMaterializedSRF(fcinfo, 0);
	if (sta_entries == NULL)
		return (Datum) 0;
	entries = palloc(sizeof(StatsEntry) * sta_nentries);
	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < sta_nentries; i++)
	{
		StatsEntry *entry = &sta_entries[i];

		SpinLockAcquire(&entry->mutex);
		entries[nentries] = *entry;
		SpinLockRelease(&entry->mutex);
		if (sta_is_live(&entries[nentries],
						&ReplicationSlotCtl->replication_slots[i]))
			nentries++;
	}
	LWLockRelease(ReplicationSlotControlLock);

	for (int i = 0; i < nentries; i++)
		sta_put_row((ReturnSetInfo *) fcinfo->resultinfo, &entries[i]);
	return (Datum) 0;
}

/* sta_refuse says why the counters of a slot cannot be reset. */
static void
sta_refuse(const char *name, const char *plugin, Oid dboid)
{
	char	   *database = get_database_name(dboid);

	if (plugin == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("replication slot \"%s\" does not exist", name),
				 errhint("concord.decoder shows those whose counters can be reset.")));
	if (strcmp(plugin, CONCORD_DECODER_NAME) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("replication slot \"%s\" has no counters", name),
				 plugin[0] == '\0' ? errdetail("It is a physical slot.") :
				 errdetail("Its output plugin is \"%s\".", plugin),
				 errhint("concord.decoder shows those whose counters can be reset.")));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("replication slot \"%s\" is not of this database", name),
			 errdetail("It belongs to database \"%s\".", database ? database : "?"),
			 errhint("Reset its counters there.")));
}

/*
 * concord_stats_reset(slot name) is concord.reset_decoder_stats(): the counters
 * of one slot of this database, or of all of them, begin anew.
 */
Datum
concord_stats_reset(PG_FUNCTION_ARGS)
{
	const char *name = PG_ARGISNULL(0) ? NULL : NameStr(*PG_GETARG_NAME(0));
	TimestampTz now = GetCurrentTimestamp();
	bool		found = false;
	bool		done = false;
	NameData	plugin;
	Oid			dboid = InvalidOid;

	concord_shmem_require();
	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < sta_nentries; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];
		StatsEntry *entry = &sta_entries[i];

		if (!slot->in_use ||
			(name != NULL && namestrcmp(&slot->data.name, name) != 0))
			continue;
		found = true;
		plugin = slot->data.plugin;
		dboid = slot->data.database;
		if (dboid != MyDatabaseId ||
			strcmp(NameStr(plugin), CONCORD_DECODER_NAME) != 0)
			continue;
		SpinLockAcquire(&entry->mutex);
		if (sta_is_live(entry, slot))
			sta_clear(entry, now);
		SpinLockRelease(&entry->mutex);
		done = true;
	}
	LWLockRelease(ReplicationSlotControlLock);
	if (name != NULL && !done)
		sta_refuse(name, found ? NameStr(plugin) : NULL, dboid);
	PG_RETURN_VOID();
}
