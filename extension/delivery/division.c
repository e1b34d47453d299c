/*-------------------------------------------------------------------------
 *
 * division.c
 *	  A mapping divided over several lanes, by key (option couriers).
 *
 * Whose an event is follows from the text of its row's key columns, as they
 * stand in the stored image: a hash, modulo the number of shares.  It is known
 * before anything is evaluated, and is the same in every process.  Each lane
 * has a row of concord.lane; what is not its own counts as finished for it.
 *
 * When the number of shares changes, every lane of the mapping drains.  Whoever
 * then holds the leases of all of them writes new rows: they begin where the
 * slowest lane was, and carry the old rows along ("past"), which say, event by
 * event, what is finished already.  A lane forgets the past once it has come
 * beyond all of it.  So the division changes at any time, also while a system
 * is down, and nothing is sent twice for it.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "decoder/protocol.h"
#include "delivery/division.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

/* div_add mixes a text into a hash. */
static uint64
div_add(uint64 hash, const char *text, Size len)
{
	return hash_combine64(hash,
						  hash_bytes_extended((const unsigned char *) text, len, 0));
}

/* div_finish makes a hash fit for a column of type int; it is never 0. */
static int32
div_finish(uint64 hash)
{
	return (int32) ((hash ^ (hash >> 32)) & 0x7fffffff) | 1;
}

/* div_column finds a column of a stored definition. */
static int
div_column(const ConcordRelation *relation, const char *name)
{
	for (int i = 0; i < relation->ncolumns; i++)
		if (strcmp(relation->columns[i].name, name) == 0)
			return i;
	return -1;
}

/* div_image hashes the key of an image; 0 where the image has not all of it. */
static int32
div_image(const ConcordMapping *mapping, const ConcordRelation *relation,
		  const char *image, uint32 len)
{
	ConcordImageValue *values = palloc(sizeof(ConcordImageValue) *
									   Max(relation->ncolumns, 1));
	uint64		hash = 0;
	bool		known = mapping->local_key != NIL;
	ListCell   *lc;

	concord_image_decode(relation, image, len, values);
	foreach(lc, mapping->local_key)
	{
		int			i = div_column(relation, lfirst(lc));

		if (i < 0 || !concord_image_has_value(&values[i]))
			known = false;
		else if (values[i].kind == CONCORD_IMAGE_TEXT)
			hash = div_add(hash, values[i].text, values[i].len);
		else
		{
			/* bytes: a resync names them by their text */
			char	   *text = concord_image_text(&values[i]);

			hash = div_add(hash, text, strlen(text));
			pfree(text);
		}
	}
	pfree(values);
	return known ? div_finish(hash) : 0;
}

/* div_payload hashes the key that a stored resync names. */
static int32
div_payload(const ConcordMapping *mapping, const char *payload)
{
	Jsonb	   *key = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
														 CStringGetDatum(payload)));
	uint64		hash = 0;
	ListCell   *lc;

	foreach(lc, mapping->local_key)
	{
		JsonbValue	found;
		JsonbValue *value = getKeyJsonValueFromContainer(&key->root, lfirst(lc),
														 strlen(lfirst(lc)),
														 &found);

		if (value == NULL || value->type != jbvString)
			return 0;
		hash = div_add(hash, value->val.string.val, value->val.string.len);
	}
	return div_finish(hash);
}

/* concord_event_hashes hashes the keys of an event. */
void
concord_event_hashes(const ConcordMapping *mapping, const ConcordEvent *event,
					 int32 *hash, int32 *old_hash)
{
	*hash = *old_hash = 0;
	if (event->op == CONCORD_OP_TRUNCATE)
		return;
	if (event->relation == NULL)
	{
		if (event->op == CONCORD_OP_RESYNC)
			*hash = event->payload ? div_payload(mapping, event->payload) : 0;
		else if (event->key != NULL)
			*hash = div_finish(div_add(0, event->key, strlen(event->key)));
		else
			*hash = div_finish(div_add(0, (const char *) event->id.data, UUID_LEN));
		return;
	}
	if (event->new_image != NULL)
		*hash = div_image(mapping, event->relation, event->new_image, event->new_len);
	if (event->old_image != NULL)
		*old_hash = div_image(mapping, event->relation, event->old_image, event->old_len);
	if (event->new_image == NULL)
		*hash = *old_hash;
	if (*old_hash == *hash)
		*old_hash = 0;
}

/* concord_event_share says whose an event is. */
int
concord_event_share(const ConcordMapping *mapping, const ConcordEvent *event,
					int shares, bool *alone)
{
	int32		hash;
	int32		old_hash;

	if (alone != NULL)
		*alone = event->op == CONCORD_OP_TRUNCATE && shares > 1;
	if (shares <= 1)
		return 0;
	concord_event_hashes(mapping, event, &hash, &old_hash);
	if (alone != NULL && old_hash != 0 && old_hash % shares != hash % shares)
		*alone = true;
	return hash % shares;
}

/* concord_reached says whether a position is behind a lane. */
bool
concord_reached(const ConcordReached *reached, int64 seq)
{
	int			low = 0;
	int			high = reached->nranges;

	if (seq <= reached->cursor)
		return true;
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (seq < reached->ranges[2 * middle])
			high = middle;
		else if (seq >= reached->ranges[2 * middle + 1])
			low = middle + 1;
		else
			return true;
	}
	return false;
}

/* concord_divisions_finished: one of the divisions has finished the event. */
bool
concord_divisions_finished(const List *divisions, const ConcordMapping *mapping,
						   const ConcordEvent *event)
{
	ListCell   *lc;

	foreach(lc, divisions)
	{
		const ConcordDivision *division = lfirst(lc);
		int			share;

		if (event->seq > division->horizon)
			continue;
		share = concord_event_share(mapping, event, division->shares, NULL);
		if (concord_reached(&division->lanes[share], event->seq))
			return true;
	}
	return false;
}

/*
 * div_read makes divisions of rows (division, shares, share, cursor, from, to),
 * in that order, of the last query.
 */
static List *
div_read(MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	ConcordDivision *division = NULL;
	ConcordReached *lane = NULL;
	List	   *divisions = NIL;
	int64		number = -1;

	for (uint64 i = 0; i < SPI_processed; i++)
	{
		int64		v[6];
		bool		nulls[6];

		for (int j = 0; j < 6; j++)
			v[j] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i],
											   SPI_tuptable->tupdesc, j + 1,
											   &nulls[j]));
		if (division == NULL || v[0] != number)
		{
			number = v[0];
			division = palloc0(sizeof(ConcordDivision));
			division->shares = (int) v[1];
			division->lanes = palloc0(sizeof(ConcordReached) * v[1]);
			divisions = lappend(divisions, division);
			lane = NULL;
		}
		if (v[2] < 0 || v[2] >= division->shares)
			continue;
		lane = &division->lanes[v[2]];
		lane->cursor = v[3];
		division->horizon = Max(division->horizon, lane->cursor);
		if (nulls[4])
			continue;
		if (lane->ranges == NULL)
			lane->ranges = palloc(sizeof(int64) * 2);
		else
			lane->ranges = repalloc(lane->ranges,
									sizeof(int64) * 2 * (lane->nranges + 1));
		lane->ranges[2 * lane->nranges] = v[4];
		lane->ranges[2 * lane->nranges + 1] = v[5];
		lane->nranges++;
		division->horizon = Max(division->horizon, v[5] - 1);
	}
	MemoryContextSwitchTo(old);
	return divisions;
}

#define DIV_PAST(lanes) \
	"SELECT p.n, (p.v ->> 'n')::pg_catalog.int8, l.n - 1, (l.v ->> 0)::pg_catalog.int8," \
	"       pg_catalog.lower(r), pg_catalog.upper(r)" \
	"  FROM (" lanes ") x, pg_catalog.jsonb_array_elements(x.past) WITH ORDINALITY p (v, n)," \
	"       pg_catalog.jsonb_array_elements(p.v -> 'lanes') WITH ORDINALITY l (v, n)" \
	"  LEFT JOIN LATERAL pg_catalog.unnest((l.v ->> 1)::pg_catalog.int8multirange) r ON true"

/* concord_division_past reads what an earlier division has finished. */
List *
concord_division_past(int32 mapping, int share, MemoryContext context)
{
	Oid			types[] = {INT4OID, INT4OID};
	Datum		values[] = {Int32GetDatum(mapping), Int32GetDatum(share)};

	if (SPI_execute_with_args(DIV_PAST("SELECT past FROM concord.lane WHERE mapping = $1 AND share = $2")
							  " ORDER BY 1, 3, 5",
							  2, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.lane");
	return div_read(context);
}

/* concord_divisions_load reads all that a mapping's lanes have finished. */
List *
concord_divisions_load(int32 mapping, MemoryContext context)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(mapping)};

	if (SPI_execute_with_args("SELECT 0::pg_catalog.int8, l.shares::pg_catalog.int8, l.share::pg_catalog.int8, l.cursor,"
							  "       pg_catalog.lower(r), pg_catalog.upper(r)"
							  "  FROM concord.lane l LEFT JOIN LATERAL pg_catalog.unnest(l.done) r ON true"
							  " WHERE l.mapping = $1"
							  " UNION ALL "
							  DIV_PAST("SELECT past FROM concord.lane WHERE mapping = $1 AND past IS NOT NULL"
									   " ORDER BY share LIMIT 1")
							  " ORDER BY 1, 3, 5",
							  1, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.lane");
	return div_read(context);
}

/*
 * concord_division_change writes the rows of a new division: they begin where
 * the slowest lane was, with the rows that were as their past.  Counters stay
 * with their lane; those of lanes that go are the first one's.
 */
void
concord_division_change(int32 mapping, int shares)
{
	static const char change[] =
		"WITH old AS (DELETE FROM concord.lane WHERE mapping = $1 RETURNING *),"
		" sums AS (SELECT min(cursor) AS cursor, max(sent_up_to) AS sent_up_to,"
		"    min(started_at) AS started_at, max(last_done_at) AS last_done_at,"
		"    (array_agg(last_error ORDER BY last_error_at DESC NULLS LAST))[1] AS last_error,"
		"    max(last_error_at) AS last_error_at,"
		"    greatest(max(cursor), max(upper(done)) - 1, max(past_to)) AS past_to,"
		"    jsonb_build_array(jsonb_build_object('n', max(o.shares), 'lanes',"
		"      (SELECT jsonb_agg(jsonb_build_array(o2.cursor, o2.done::text) ORDER BY o2.share) FROM old o2)))"
		"    || coalesce((SELECT o3.past FROM old o3 WHERE o3.past IS NOT NULL ORDER BY o3.share LIMIT 1), '[]') AS past"
		"    FROM old o),"
		" counts AS (SELECT CASE WHEN o.share < $2 THEN o.share ELSE 0 END AS share,"
		"    sum(delivered) AS delivered, sum(unchanged) AS unchanged, sum(skipped) AS skipped,"
		"    sum(retried) AS retried, sum(died) AS died FROM old o GROUP BY 1)"
		" INSERT INTO concord.lane (mapping, share, shares, cursor, sent_up_to, past, past_to,"
		"    delivered, unchanged, skipped, retried, died, last_done_at, last_error, last_error_at, started_at)"
		" SELECT $1, n, $2, s.cursor, s.sent_up_to,"
		"    CASE WHEN s.cursor < s.past_to THEN s.past END, CASE WHEN s.cursor < s.past_to THEN s.past_to END,"
		"    coalesce(c.delivered, 0), coalesce(c.unchanged, 0), coalesce(c.skipped, 0),"
		"    coalesce(c.retried, 0), coalesce(c.died, 0), s.last_done_at, s.last_error, s.last_error_at, s.started_at"
		"   FROM sums s, pg_catalog.generate_series(0, $2 - 1) n LEFT JOIN counts c ON c.share = n"
		"  WHERE s.cursor IS NOT NULL";
	Oid			types[] = {INT4OID, INT4OID};
	Datum		values[] = {Int32GetDatum(mapping), Int32GetDatum(shares)};

	if (SPI_execute_with_args(change, 2, types, values, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not divide mapping %d", mapping);
}
