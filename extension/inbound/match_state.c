/*-------------------------------------------------------------------------
 *
 * match_state.c
 *	  create_mapping(initial => 'match'): done by the applier.
 *
 * A list may be long and its system slow, so the transaction that creates the
 * mapping only notes that it is to be matched, and the mapping is paused: its
 * changes are captured and its place is kept.  The applier reads the list and
 * compares, and then in one transaction links what matches, has sent what
 * differs and what is only here, and ends the pause.  A crash before that has
 * done nothing, and it is begun again.
 *
 *		due ──► done
 *		 └────► due, later (it failed)
 *
 * Who pauses the mapping meanwhile finds it paused afterwards; who resumes it
 * has it send before it is matched.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/match.h"

#include "base/bookkeeping.h"
#include "base/settings.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mapping/hooks.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define MST_PAUSED	"until its rows are matched with the records that exist"

/* mst_run runs a statement of ours; returns its rows. */
static uint64
mst_run(const char *sql, int n, Oid *types, Datum *values, int expect)
{
	if (SPI_execute_with_args(sql, n, types, values, NULL, false, 0) != expect)
		elog(ERROR, "could not run \"%s\"", sql);
	return SPI_processed;
}

/* mst_begin has a mapping matched; called in the transaction that creates it. */
static void
mst_begin(const ConcordMapping *mapping)
{
	ConcordCatalogScope scope;
	Oid			types[] = {INT4OID, BOOLOID};
	Datum		values[] = {Int32GetDatum(mapping->id),
	BoolGetDatum(mapping->state == CONCORD_MAPPING_ACTIVE)};

	concord_match_check(mapping);
	concord_catalog_enter(&scope);
	mst_run("INSERT INTO concord.match_state (mapping, resumes) VALUES ($1, $2)"
			" ON CONFLICT (mapping) DO UPDATE SET state = 'due', resumes = excluded.resumes,"
			" asked_at = pg_catalog.now(), started_at = NULL, finished_at = NULL,"
			" next_at = NULL, failures = 0, last_error = NULL, last_error_at = NULL",
			lengthof(types), types, values, SPI_OK_INSERT);
	concord_catalog_leave(&scope);
	if (mapping->state == CONCORD_MAPPING_ACTIVE)
		concord_mapping_set_state(mapping->id, CONCORD_MAPPING_PAUSED, MST_PAUSED);
	concord_inbound_wake();
}

/* mst_due gives the mapping that is to be matched now; 0: none. */
static int32
mst_due(void)
{
	int32		id = 0;
	bool		isnull;

	if (!concord_delivery)
		return 0;
	concord_inbound_begin();
	if (mst_run("SELECT s.mapping FROM concord.match_state s JOIN concord.mapping m ON m.id = s.mapping"
				" WHERE s.state = 'due' AND (s.next_at IS NULL OR s.next_at <= pg_catalog.clock_timestamp())"
				" AND m.state IN ('active', 'paused') AND m.home = concord.home()"
				" AND NOT EXISTS (SELECT FROM concord.system_pause p WHERE p.serverid = m.serverid)"
				" ORDER BY s.asked_at, s.mapping LIMIT 1", 0, NULL, NULL, SPI_OK_SELECT) > 0)
		id = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	concord_inbound_commit();
	return id;
}

/* mst_started notes that it is under way. */
static void
mst_started(int32 id)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(id)};

	concord_bookkeeping_begin();
	mst_run("UPDATE concord.match_state SET started_at = pg_catalog.now() WHERE mapping = $1",
			lengthof(types), types, values, SPI_OK_UPDATE);
	concord_bookkeeping_commit(false);
}

/* mst_done notes what came of it; false: nobody wants it any more. */
static bool
mst_done(ConcordMatch *match)
{
	Oid			types[14];
	Datum		values[14];
	const int64 *verdicts = match->counts.verdicts;
	const int	told[] = {MAT_LINKED, MAT_AMBIGUOUS, MAT_DUPLICATE, MAT_LOCAL_ONLY,
	MAT_REMOTE_ONLY, MAT_UNUSABLE};
	ConcordCatalogScope scope;
	bool		done;

	types[0] = INT4OID;
	values[0] = Int32GetDatum(match->mapping->id);
	for (int i = 1; i < 11; i++)
		types[i] = INT8OID;
	values[1] = Int64GetDatum(match->local.n);
	values[2] = Int64GetDatum(match->remote.n);
	values[3] = Int64GetDatum(match->counts.linked);
	values[4] = Int64GetDatum(match->counts.sent);
	for (int i = 0; i < lengthof(told); i++)
		values[5 + i] = Int64GetDatum(verdicts[told[i]]);
	types[11] = TEXTOID;
	values[11] = CStringGetTextDatum(MST_PAUSED);
	concord_catalog_enter(&scope);
	done = mst_run("UPDATE concord.match_state SET state = 'done', finished_at = pg_catalog.clock_timestamp(),"
				   " next_at = NULL, failures = 0, last_error = NULL, last_error_at = NULL,"
				   " local = $2, remote = $3, matched = $4, sent = $5, linked = $6, ambiguous = $7,"
				   " duplicates = $8, local_only = $9, remote_only = $10, unusable = $11"
				   " WHERE mapping = $1 AND state = 'due' AND $12 IS NOT NULL",
				   12, types, values, SPI_OK_UPDATE) > 0;
	if (done)
		mst_run("UPDATE concord.mapping m SET state = 'active', state_reason = NULL"
				" FROM concord.match_state s WHERE m.id = $1 AND s.mapping = m.id AND s.resumes"
				" AND m.state = 'paused' AND m.state_reason = $12"
				" AND ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11) IS NOT NULL",
				12, types, values, SPI_OK_UPDATE);
	concord_catalog_leave(&scope);
	return done;
}

/* mst_match does a match, in one transaction. */
static void
mst_match(int32 id)
{
	ConcordMapping *mapping;
	bool		done = true;

	concord_inbound_begin();
	mapping = concord_mapping_by_id(id, CurrentMemoryContext);
	if (mapping != NULL)
	{
		ConcordMatch *match = concord_match_open(mapping, CurrentMemoryContext);

		/* no snapshot while the system is asked */
		PopActiveSnapshot();
		concord_match_read(match);
		PushActiveSnapshot(GetTransactionSnapshot());
		concord_match_read_links(match);
		concord_match_compare(match);
		concord_match_link(match, true);
		done = mst_done(match);
		concord_match_close(match);
	}
	if (!done)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("mapping %d is not to be matched any more", id)));
	concord_inbound_commit();
}

/* mst_failed notes that it failed; the next try is later each time. */
static void
mst_failed(int32 id, const char *message)
{
	Oid			types[] = {INT4OID, TEXTOID};
	Datum		values[] = {Int32GetDatum(id), CStringGetTextDatum(message)};

	concord_bookkeeping_begin();
	mst_run("UPDATE concord.match_state SET failures = failures + 1, last_error = $2,"
			" last_error_at = pg_catalog.clock_timestamp(),"
			" next_at = pg_catalog.clock_timestamp() + least(interval '10 min',"
			"  interval '2 s' * pg_catalog.power(2, least(failures, 10)))"
			" WHERE mapping = $1 AND state = 'due'",
			lengthof(types), types, values, SPI_OK_UPDATE);
	concord_bookkeeping_commit(true);
}

/* mst_try is mst_match; returns what it raised, or NULL. */
static ErrorData *
mst_try(int32 id, MemoryContext context)
{
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		mst_started(id);
		mst_match(id);
	}
	PG_CATCH();
	{
		error = concord_bookkeeping_caught(context);
	}
	PG_END_TRY();
	return error;
}

/* concord_match_due does a match that is due. */
bool
concord_match_due(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "concord initial match",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	int32		id = mst_due();
	ErrorData  *error = id == 0 ? NULL : mst_try(id, context);

	if (error != NULL)
	{
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("mapping %d could not be matched: %s", id, error->message)));
		mst_failed(id, error->message);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return id != 0;
}

/* concord_match_init answers the mapping room. */
void
concord_match_init(void)
{
	concord_mapping_match_hook = mst_begin;
}
