/*-------------------------------------------------------------------------
 *
 * bookrows.c
 *	  The part of a bookkeeping transaction that writes concord.exception and
 *	  concord.system_state.
 *
 * An event that must be tried again, waits behind such a one, or is dead,
 * becomes a row with a copy of its event, and counts as finished for the
 * lane's position.  One that comes from a row updates it, or deletes it when it
 * is done; what a newer delivery has made pointless stays, as superseded.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "catalog/pg_type.h"
#include "delivery/book.h"
#include "delivery/division.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

static ConcordBookStatement bkr_insert = {
	"INSERT INTO concord.exception (delivery, mapping, version, seq, event_id, op, committed_at,"
	"       ordering_key, old_key, local_key, event, state, attempts, next_try, was_unknown,"
	"       rule, status, answer, error, request, key_hash, old_hash, unit, route)"
	" SELECT v.delivery, v.mapping, v.version, v.seq, v.event_id, v.op, v.committed_at,"
	"        v.ordering_key, v.old_key, v.local_key::pg_catalog.jsonb, v.event, v.state, v.attempts,"
	"        v.next_try, v.was_unknown, v.rule, v.status, v.answer, v.error, v.request, v.key_hash, v.old_hash, v.unit, v.route"
	"   FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,"
	"                          $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)"
	"     AS v (delivery, mapping, version, seq, event_id, op, committed_at, ordering_key, old_key,"
	"           local_key, event, state, attempts, next_try, was_unknown, rule, status, answer,"
	"           error, request, key_hash, old_hash, unit, route)",
	{INT8ARRAYOID, INT4ARRAYOID, INT4ARRAYOID, INT8ARRAYOID, UUIDARRAYOID,
		TEXTARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
		TEXTARRAYOID, BYTEAARRAYOID, TEXTARRAYOID, INT4ARRAYOID,
		TIMESTAMPTZARRAYOID, BOOLARRAYOID, TEXTARRAYOID, INT4ARRAYOID,
		TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, INT4ARRAYOID,
	INT8ARRAYOID, INT4ARRAYOID}
};

static ConcordBookStatement bkr_update = {
	"UPDATE concord.exception e SET state = v.state, attempts = v.attempts,"
	"       next_try = v.next_try, was_unknown = v.was_unknown, version = v.version,"
	"       rule = coalesce(v.rule, e.rule), status = coalesce(v.status, e.status),"
	"       answer = coalesce(v.answer, e.answer), error = coalesce(v.error, e.error),"
	"       request = coalesce(v.request, e.request), route = coalesce(v.route, e.route),"
	"       changed_at = pg_catalog.now()"
	"  FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
	"    AS v (delivery, state, attempts, next_try, was_unknown, version, rule, status,"
	"          answer, error, request, route)"
	" WHERE e.delivery = v.delivery",
	{INT8ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TIMESTAMPTZARRAYOID, BOOLARRAYOID,
		INT4ARRAYOID, TEXTARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
	TEXTARRAYOID, INT4ARRAYOID}
};

static ConcordBookStatement bkr_delete = {
	"DELETE FROM concord.exception e USING pg_catalog.unnest($1) AS v (delivery)"
	" WHERE e.delivery = v.delivery",
	{INT8ARRAYOID}
};

static ConcordBookStatement bkr_system = {
	"INSERT INTO concord.system_state (serverid, courier, breaker, state, reason, since, until,"
	"       failures, in_flight, last_error, last_error_at, last_answer_at)"
	" SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
	" ON CONFLICT (serverid, courier) DO UPDATE SET"
	"    breaker = excluded.breaker, state = excluded.state, reason = excluded.reason,"
	"    since = excluded.since, until = excluded.until, failures = excluded.failures,"
	"    in_flight = excluded.in_flight, last_error = excluded.last_error,"
	"    last_error_at = excluded.last_error_at, last_answer_at = excluded.last_answer_at",
	{OIDARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
		TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID, INT4ARRAYOID,
	TEXTARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID}
};

static SPIPlanPtr bkr_ids = NULL;

/* bkr_is_exception: the end leaves a live or dead row behind. */
static bool
bkr_is_exception(const ConcordDelivery *d)
{
	return d->end == CONCORD_END_RETRY || d->end == CONCORD_END_WAITING ||
		d->end == CONCORD_END_BLOCKED || d->end == CONCORD_END_DEAD;
}

/* bkr_key gives the delivery's i-th ordering key, or NULL. */
static const char *
bkr_key(const ConcordDelivery *d, int i)
{
	return i < d->nrefs - d->awaits_leave ? d->refs[i].key->text : NULL;
}

/*
 * bkr_route notes to which server a delivery goes: 0 where to none, NULL where
 * it is not decided or there is no choice.
 */
static void
bkr_route(ConcordBookRows *rows, int column, const ConcordDelivery *d)
{
	int32		route = d->route != NULL ? d->route->id : 0;

	concord_book_put(rows, column, Int32GetDatum(route),
					 route == 0 && !d->nowhere);
}

/* bkr_number takes n numbers from the sequence. */
static void
bkr_number(ConcordBookRows *rows)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(rows->n)};
	bool		isnull;

	if (bkr_ids == NULL)
	{
		bkr_ids = SPI_prepare("SELECT pg_catalog.nextval('concord.delivery_id')"
							  "  FROM pg_catalog.generate_series(1, $1)", 1, types);
		if (bkr_ids == NULL || SPI_keepplan(bkr_ids) != 0)
			elog(ERROR, "could not prepare the numbering of deliveries");
	}
	if (SPI_execute_plan(bkr_ids, values, NULL, false, 0) != SPI_OK_SELECT ||
		SPI_processed != rows->n)
		elog(ERROR, "could not number deliveries");
	for (int i = 0; i < rows->n; i++)
	{
		rows->values[0][i] = SPI_getbinval(SPI_tuptable->vals[i],
										   SPI_tuptable->tupdesc, 1, &isnull);
		rows->nulls[0][i] = false;
	}
}

/* bkr_put_new adds a row for an event that had none. */
static void
bkr_put_new(ConcordBookRows *rows, const ConcordDelivery *d)
{
	const ConcordEvent *event = d->event;
	int32		hash;
	int32		old_hash;

	concord_book_put(rows, 1, Int32GetDatum(d->lane->id), false);
	concord_book_put(rows, 2, Int32GetDatum(d->lane->definition->mapping->version), false);
	concord_book_put(rows, 3, Int64GetDatum(event->seq), false);
	concord_book_put(rows, 4, UUIDPGetDatum(&event->id), false);
	concord_book_put_text(rows, 5, concord_event_op_name(event->op));
	concord_book_put(rows, 6, TimestampTzGetDatum(event->committed_at), false);
	concord_book_put_text(rows, 7, bkr_key(d, 0));
	concord_book_put_text(rows, 8, bkr_key(d, 1));
	concord_book_put_text(rows, 9, d->mapped ? d->mapped->local_key : NULL);
	concord_book_put(rows, 10, PointerGetDatum(concord_event_pack(event)), false);
	concord_book_put_text(rows, 11, concord_end_name(d->end));
	concord_book_put(rows, 12, Int32GetDatum(d->attempts), false);
	concord_book_put(rows, 13, TimestampTzGetDatum(d->next_try), d->next_try == 0);
	concord_book_put(rows, 14, BoolGetDatum(d->was_unknown), false);
	concord_book_put_text(rows, 15, d->rule);
	concord_book_put(rows, 16, Int32GetDatum(d->status), d->status == 0);
	concord_book_put_text(rows, 17, d->answer);
	concord_book_put_text(rows, 18, d->error);
	concord_book_put_text(rows, 19, d->sent);
	concord_event_hashes(d->lane->definition->mapping, event, &hash, &old_hash);
	concord_book_put(rows, 20, Int32GetDatum(hash), false);
	concord_book_put(rows, 21, Int32GetDatum(old_hash), false);
	concord_book_put(rows, 22, Int64GetDatum((int64) event->lsn), !d->lane->unit);
	bkr_route(rows, 23, d);
	rows->n++;
}

/* bkr_put_change adds what became of a delivery that has a row. */
static void
bkr_put_change(ConcordBookRows *rows, const ConcordDelivery *d)
{
	concord_book_put(rows, 0, Int64GetDatum(d->parked->delivery), false);
	concord_book_put_text(rows, 1, concord_end_name(d->end));
	concord_book_put(rows, 2, Int32GetDatum(d->attempts), false);
	concord_book_put(rows, 3, TimestampTzGetDatum(d->next_try), d->next_try == 0);
	concord_book_put(rows, 4, BoolGetDatum(d->was_unknown), false);
	concord_book_put(rows, 5, Int32GetDatum(d->lane->definition->mapping->version), false);
	concord_book_put_text(rows, 6, d->rule);
	concord_book_put(rows, 7, Int32GetDatum(d->status), d->status == 0);
	concord_book_put_text(rows, 8, d->answer);
	concord_book_put_text(rows, 9, d->error);
	concord_book_put_text(rows, 10, d->sent);
	bkr_route(rows, 11, d);
	rows->n++;
}

/* concord_book_exceptions writes the rows of all that has ended. */
void
concord_book_exceptions(ConcordCourier *courier)
{
	ConcordBookRows inserts = {0};
	ConcordBookRows updates = {0};
	ConcordBookRows deletes = {0};
	dlist_iter	iter;
	int			i = 0;

	concord_book_begin(&inserts, &bkr_insert, courier->nended);
	concord_book_begin(&updates, &bkr_update, courier->nended);
	concord_book_begin(&deletes, &bkr_delete, courier->nended);
	dlist_foreach(iter, &courier->ended)
	{
		ConcordDelivery *d = dlist_container(ConcordDelivery, list_node,
											 iter.cur);

		if (d->lane->gone)
			continue;
		if (d->parked == NULL)
		{
			if (bkr_is_exception(d))
				bkr_put_new(&inserts, d);
		}
		else if (bkr_is_exception(d) || d->end == CONCORD_END_SUPERSEDED)
			bkr_put_change(&updates, d);
		else
		{
			concord_book_put(&deletes, 0, Int64GetDatum(d->parked->delivery), false);
			deletes.n++;
		}
	}
	if (inserts.n > 0)
		bkr_number(&inserts);
	concord_book_run(&inserts);
	concord_book_run(&updates);
	concord_book_run(&deletes);

	/* the numbers of new rows, for concord_book_apply_exception */
	dlist_foreach(iter, &courier->ended)
	{
		ConcordDelivery *d = dlist_container(ConcordDelivery, list_node,
											 iter.cur);

		if (!d->lane->gone && d->parked == NULL && bkr_is_exception(d))
			d->number = DatumGetInt64(inserts.values[0][i++]);
	}
}

/*
 * concord_book_apply_exception makes memory agree with the row, before the
 * delivery leaves its keys: whoever holds a key goes on holding it.
 */
void
concord_book_apply_exception(ConcordCourier *courier, ConcordDelivery *d)
{
	ConcordLane *lane = d->lane;
	ConcordParked *p = d->parked;
	bool		dead = d->end == CONCORD_END_DEAD;
	bool		alive = dead ?
		lane->definition->mapping->options.block_on_dead &&
		!(p != NULL && p->again) : bkr_is_exception(d);

	if (lane->gone || !alive)
	{
		if (p != NULL)
			concord_parked_remove(p);
		d->parked = NULL;
		return;
	}
	if (p == NULL)
	{
		p = concord_parked_add(lane, d->number, d->event->seq, false,
							   bkr_key(d, 0), bkr_key(d, 1));
		p->created_at = courier->now;
	}
	if (d->route != NULL || d->nowhere)
		p->route = d->nowhere ? 0 : d->route->id;
	p->attempts = d->attempts;
	p->was_unknown = d->was_unknown;
	p->dead = dead;
	if (!dead)
		concord_parked_schedule(p, d->next_try);
	d->parked = NULL;
}

/* concord_book_system writes what this courier knows of a system. */
void
concord_book_system(ConcordCourier *courier, ConcordSystem *system)
{
	ConcordBookRows rows = {0};
	const char *reason = system->held ? system->held : system->reason;
	TimestampTz until = concord_breaker_next(system, courier->now);
	TimestampTz since = concord_breaker_time(system->since, courier->now);

	concord_book_begin(&rows, &bkr_system, 1);
	concord_book_put(&rows, 0, ObjectIdGetDatum(system->serverid), false);
	concord_book_put(&rows, 1, Int32GetDatum(courier->index), false);
	concord_book_put_text(&rows, 2, concord_breaker_name(system->breaker));
	concord_book_put_text(&rows, 3, concord_breaker_state(system));
	concord_book_put_text(&rows, 4, reason[0] ? reason : NULL);
	concord_book_put(&rows, 5, TimestampTzGetDatum(since), false);
	concord_book_put(&rows, 6, TimestampTzGetDatum(until), until <= courier->now);
	concord_book_put(&rows, 7, Int32GetDatum(system->failures), false);
	concord_book_put(&rows, 8, Int32GetDatum(system->in_flight), false);
	concord_book_put_text(&rows, 9, system->last_error[0] ? system->last_error : NULL);
	concord_book_put(&rows, 10, TimestampTzGetDatum(system->last_error_at),
					 system->last_error_at == 0);
	concord_book_put(&rows, 11, TimestampTzGetDatum(system->last_answer_at),
					 system->last_answer_at == 0);
	rows.n++;
	concord_book_run(&rows);
	system->dirty = false;
	system->shown_in_flight = system->in_flight;
	system->shown_at = courier->now;
}
