/*-------------------------------------------------------------------------
 *
 * pull_state.c
 *	  How far pulls have come: concord.pull_state and concord.pull_seen.
 *
 * The state is written in the transaction that applies what a page has brought.
 * Callers see to it that these tables may be written: concord_catalog_enter(),
 * or a worker.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "inbound/pull.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

static const char *const pst_methods[] = {NULL, "delta", "since", "full"};
static const char *const pst_runs[] = {NULL, "delta", "since", "full", "gone"};

/* pst_which returns the position of a word in a list that begins with NULL. */
static int
pst_which(const char *const *words, int n, const char *word)
{
	for (int i = 1; word != NULL && i < n; i++)
	{
		if (strcmp(words[i], word) == 0)
			return i;
	}
	return 0;
}

/* pst_text gives a column of the first row; NULL where it is null. */
static char *
pst_text(int column)
{
	return SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column);
}

/* pst_time gives a timestamp; 0 where it is null. */
static TimestampTz
pst_time(int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
									  column, &isnull);

	return isnull ? 0 : DatumGetTimestampTz(value);
}

/* pst_run runs a statement of ours; returns the rows. */
static uint64
pst_run(const char *sql, int n, Oid *types, Datum *values, const char *nulls)
{
	if (SPI_execute_with_args(sql, n, types, values, nulls, false, 0) < 0)
		elog(ERROR, "could not run \"%s\"", sql);
	return SPI_processed;
}

/* concord_pull_state_peek reads the state of a mapping's pulls. */
void
concord_pull_state_peek(int32 mapping, ConcordPullState *state,
						MemoryContext context)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(mapping)};
	MemoryContext old;

	memset(state, 0, sizeof(*state));
	if (pst_run("SELECT method, link, changed_to, run, position, run_changed_to,"
				" started_at IS NULL, list FROM concord.pull_state WHERE mapping = $1",
				1, types, values, NULL) == 0)
		return;
	old = MemoryContextSwitchTo(context);
	if (strcmp(pst_text(7), "f") == 0)
		state->method = pst_which(pst_methods, lengthof(pst_methods), pst_text(1));
	state->link = pst_text(2);
	state->changed_to = pst_time(3);
	state->run = pst_which(pst_runs, lengthof(pst_runs), pst_text(4));
	state->position = pst_text(5);
	state->run_changed_to = pst_time(6);
	state->list = pst_text(8);
	MemoryContextSwitchTo(old);
}

/* concord_pull_state_read reads it and locks it. */
void
concord_pull_state_read(int32 mapping, ConcordPullState *state,
						MemoryContext context)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(mapping)};

	pst_run("INSERT INTO concord.pull_state (mapping, method) VALUES ($1, 'full')"
			" ON CONFLICT (mapping) DO UPDATE SET method = pull_state.method",
			1, types, values, NULL);
	concord_pull_state_peek(mapping, state, context);
}

/* pst_put sets a parameter; null where given is false. */
static void
pst_put(Datum *values, char *nulls, int i, Datum value, bool given)
{
	values[i] = value;
	nulls[i] = given ? ' ' : 'n';
}

/* pst_put_text sets a text. */
static void
pst_put_text(Datum *values, char *nulls, int i, const char *given)
{
	pst_put(values, nulls, i, given == NULL ? (Datum) 0 :
			CStringGetTextDatum(given), given != NULL);
}

/* concord_pull_state_write writes the state. */
void
concord_pull_state_write(int32 mapping, const ConcordPullState *state,
						 const ConcordInboundCounts *counts,
						 TimestampTz started_at, bool finished, int every_ms)
{
	Oid			types[] = {INT4OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID,
		TEXTOID, TIMESTAMPTZOID, INT8OID, INT8OID, INT8OID, INT8OID,
	TIMESTAMPTZOID, BOOLOID, INT4OID, TEXTOID, TEXTOID};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types)];

	pst_put(values, nulls, 0, Int32GetDatum(mapping), true);
	pst_put_text(values, nulls, 1, pst_methods[Max(state->method,
												   CONCORD_PULL_DELTA)]);
	pst_put_text(values, nulls, 2, state->link);
	pst_put(values, nulls, 3, TimestampTzGetDatum(state->changed_to),
			state->changed_to != 0);
	pst_put_text(values, nulls, 4, pst_runs[state->run]);
	pst_put_text(values, nulls, 5, state->position);
	pst_put(values, nulls, 6, TimestampTzGetDatum(state->run_changed_to),
			state->run_changed_to != 0);
	pst_put(values, nulls, 7, Int64GetDatum(counts->fetched), true);
	pst_put(values, nulls, 8, Int64GetDatum(counts->applied), true);
	pst_put(values, nulls, 9, Int64GetDatum(counts->conflicts), true);
	pst_put(values, nulls, 10, Int64GetDatum(counts->rejected), true);
	pst_put(values, nulls, 11, TimestampTzGetDatum(started_at), started_at != 0);
	pst_put(values, nulls, 12, BoolGetDatum(finished), true);
	pst_put(values, nulls, 13, Int32GetDatum(every_ms), every_ms > 0);
	pst_put_text(values, nulls, 14, state->note);
	pst_put_text(values, nulls, 15, state->list);
	pst_run("UPDATE concord.pull_state SET method = $2, link = $3, changed_to = $4,"
			" run = $5, position = $6, run_changed_to = $7,"
			" fetched = fetched + $8, applied = applied + $9,"
			" conflicts = conflicts + $10, rejected = rejected + $11,"
			" started_at = coalesce($12, started_at),"
			" finished_at = CASE WHEN $13 THEN pg_catalog.clock_timestamp() ELSE finished_at END,"
			" next_at = CASE WHEN $13 THEN pg_catalog.clock_timestamp()"
			"  + pg_catalog.make_interval(secs => $14 / 1000.0) ELSE next_at END,"
			" note = CASE WHEN $15 IS NOT NULL THEN $15 WHEN $12 IS NOT NULL THEN NULL ELSE note END,"
			" failures = 0, last_error = NULL, list = $16"
			" WHERE mapping = $1",
			lengthof(types), types, values, nulls);
	if (finished)
		pst_run("DELETE FROM concord.inbox_item i USING concord.pull_state p"
				" WHERE p.mapping = $1 AND i.mapping = $1 AND i.op = 'fetch' AND i.remote_id IS NULL"
				" AND i.state IN ('new', 'waiting') AND i.received_at < p.started_at",
				1, types, values, NULL);
}

/* concord_pull_state_failed notes that a run failed. */
void
concord_pull_state_failed(int32 mapping, ConcordPullMethod method,
						  const char *error, int every_ms)
{
	Oid			types[] = {INT4OID, TEXTOID, TEXTOID, INT4OID};
	Datum		values[lengthof(types)];

	values[0] = Int32GetDatum(mapping);
	values[1] = CStringGetTextDatum(pst_methods[Max(method, CONCORD_PULL_DELTA)]);
	values[2] = CStringGetTextDatum(error);
	values[3] = Int32GetDatum(every_ms);
	/* 10 s, twice as long each time, up to an hour, but not sooner than usual */
	pst_run("INSERT INTO concord.pull_state AS p (mapping, method, failures, last_error, last_error_at, next_at)"
			" VALUES ($1, $2, 1, $3, pg_catalog.clock_timestamp(),"
			"  pg_catalog.clock_timestamp() + greatest(interval '10 s', pg_catalog.make_interval(secs => $4 / 1000.0)))"
			" ON CONFLICT (mapping) DO UPDATE SET failures = p.failures + 1,"
			" last_error = excluded.last_error, last_error_at = excluded.last_error_at,"
			" next_at = pg_catalog.clock_timestamp() + greatest(pg_catalog.make_interval(secs => $4 / 1000.0),"
			"  least(interval '1 h', interval '10 s' * pg_catalog.power(2, least(p.failures, 10))))",
			lengthof(types), types, values, NULL);
}

/* concord_pull_state_due gives the mapping whose pull is due; 0: none. */
int32
concord_pull_state_due(void)
{
	bool		isnull;

	if (pst_run("SELECT m.id FROM concord.mapping m"
				" JOIN concord.mapping_version v ON v.mapping = m.id AND v.version = m.version"
				" LEFT JOIN concord.pull_state p ON p.mapping = m.id"
				" WHERE m.state = 'active' AND m.home = concord.home()"
				" AND NOT EXISTS (SELECT FROM concord.system_pause s WHERE s.serverid = m.serverid)"
				" AND v.definition #> '{options,pull}' IS NOT NULL"
				" AND (v.definition #>> '{options,pull,every}' IS NOT NULL"
				"   AND (p.next_at IS NULL OR p.next_at <= pg_catalog.clock_timestamp())"
				"  OR p.run IS NOT NULL AND p.last_error IS NULL"
				"  OR (p.last_error IS NULL OR p.next_at <= pg_catalog.clock_timestamp())"
				"   AND EXISTS (SELECT FROM concord.inbox_item i WHERE i.mapping = m.id AND i.op = 'fetch'"
				"    AND i.remote_id IS NULL AND i.state IN ('new', 'waiting')))"
				" ORDER BY p.next_at NULLS FIRST, m.id LIMIT 1",
				0, NULL, NULL, NULL) == 0)
		return 0;
	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
									   SPI_tuptable->tupdesc, 1, &isnull));
}

/* concord_pull_seen_add remembers records that a full compare has seen. */
void
concord_pull_seen_add(int32 mapping, char **remote_ids, int n)
{
	Oid			types[] = {INT4OID, TEXTARRAYOID};
	Datum		values[2];
	Datum	   *ids = palloc(sizeof(Datum) * Max(n, 1));
	int			given = 0;

	for (int i = 0; i < n; i++)
	{
		if (remote_ids[i] != NULL)
			ids[given++] = CStringGetTextDatum(remote_ids[i]);
	}
	if (given == 0)
		return;
	values[0] = Int32GetDatum(mapping);
	values[1] = PointerGetDatum(construct_array(ids, given, TEXTOID, -1, false,
												TYPALIGN_INT));
	pst_run("INSERT INTO concord.pull_seen SELECT $1, i FROM pg_catalog.unnest($2) AS i"
			" ON CONFLICT DO NOTHING", 2, types, values, NULL);
}

/* concord_pull_seen_forget empties it for the next compare. */
void
concord_pull_seen_forget(int32 mapping)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(mapping)};

	pst_run("DELETE FROM concord.pull_seen WHERE mapping = $1", 1, types, values, NULL);
}

/* concord_pull_seen_any says whether a compare has seen anything. */
bool
concord_pull_seen_any(int32 mapping)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(mapping)};

	return pst_run("SELECT FROM concord.pull_seen WHERE mapping = $1 LIMIT 1",
				   1, types, values, NULL) > 0;
}

/* concord_pull_unseen gives links of records that were not seen. */
int
concord_pull_unseen(int32 mapping, const char *after, char **ids, char **keys,
					int max, MemoryContext context)
{
	Oid			types[] = {INT4OID, INT4OID, TEXTOID};
	Datum		values[] = {Int32GetDatum(mapping), Int32GetDatum(max),
	CStringGetTextDatum(after)};
	MemoryContext old;

	pst_run("SELECT k.remote_id, k.local_key FROM concord.link_item k"
			" WHERE k.mapping = $1 AND k.present AND k.remote_id COLLATE \"C\" > $3"
			" AND NOT EXISTS (SELECT FROM concord.pull_seen s"
			"  WHERE s.mapping = $1 AND s.remote_id = k.remote_id)"
			" ORDER BY k.remote_id COLLATE \"C\" LIMIT $2",
			3, types, values, NULL);
	old = MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		ids[i] = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1);
		keys[i] = SPI_getvalue(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2);
	}
	MemoryContextSwitchTo(old);
	return (int) SPI_processed;
}

/* concord_pull_keys gives the local keys of links with these ids. */
void
concord_pull_keys(int32 mapping, char **ids, char **keys, int n,
				  MemoryContext context)
{
	Oid			types[] = {INT4OID, TEXTARRAYOID};
	Datum		values[2];
	Datum	   *given = palloc(sizeof(Datum) * n);
	int			ngiven = 0;
	MemoryContext old;

	for (int i = 0; i < n; i++)
	{
		keys[i] = NULL;
		if (ids[i] != NULL)
			given[ngiven++] = CStringGetTextDatum(ids[i]);
	}
	values[0] = Int32GetDatum(mapping);
	values[1] = PointerGetDatum(construct_array(given, ngiven, TEXTOID, -1, false,
												TYPALIGN_INT));
	pst_run("SELECT k.remote_id, k.local_key FROM concord.link_item k"
			" WHERE k.mapping = $1 AND k.present AND k.remote_id = ANY ($2)",
			2, types, values, NULL);
	old = MemoryContextSwitchTo(context);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[row];
		char	   *id = SPI_getvalue(tuple, SPI_tuptable->tupdesc, 1);

		for (int i = 0; i < n; i++)
		{
			if (ids[i] != NULL && strcmp(ids[i], id) == 0)
				keys[i] = SPI_getvalue(tuple, SPI_tuptable->tupdesc, 2);
		}
	}
	MemoryContextSwitchTo(old);
}
