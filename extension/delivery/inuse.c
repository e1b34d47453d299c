/*-------------------------------------------------------------------------
 *
 * inuse.c
 *	  An id that a system gave to a record, and that is another record's.
 *
 * A system that assigns ids may answer a create with the id of a record that
 * we know under another key: it has merged what it took for a duplicate, or
 * its numbers began anew.  Two of our rows would then overwrite each other
 * there, and each delete would take the other's record.  So no link is
 * written: the delivery ends as a dead letter, and the first row keeps its
 * record.  So it is with the ids of rows that went along with their parent: they
 * and the parent are one delivery, and none of them is linked.
 *
 * It is looked at in the transaction that would write the link.  Where a
 * mapping is divided, two couriers that learn the same id within one moment
 * do not see each other's.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "catalog/pg_type.h"
#include "delivery/book.h"
#include "utils/memutils.h"

/*
 * What has ended in this turn: with an id, where one was learned; without,
 * where a record was deleted, whose id is free from then on.
 */
static ConcordBookStatement inu_find = {
	"WITH v AS ("
	"  SELECT u.n, u.mapping, u.local_key, u.local_key::pg_catalog.jsonb AS key,"
	"         u.old_local_key::pg_catalog.jsonb AS old_key, u.remote_id,"
	"         u.route, u.own, first_value(u.local_key) OVER ("
	"          PARTITION BY u.mapping, u.remote_id, u.route ORDER BY u.n) AS first"
	"    FROM unnest($1, $2, $3, $4, $5, $6, $7)"
	"      AS u (n, mapping, local_key, old_local_key, remote_id, route, own))"
	" SELECT v.n, coalesce(i.local_key::text, v.first), v.remote_id"
	"   FROM v LEFT JOIN LATERAL ("
	"     SELECT k.local_key FROM concord.link_item k"
	"      WHERE k.mapping = v.mapping AND k.remote_id = v.remote_id AND k.assigned AND k.present"
	"        AND coalesce(k.route, v.own) = v.route"
	"        AND k.local_key <> v.key AND k.local_key IS DISTINCT FROM v.old_key"
	"        AND NOT EXISTS (SELECT FROM v AS d WHERE d.remote_id IS NULL"
	"                           AND d.mapping = k.mapping AND d.key = k.local_key)"
	"      LIMIT 1) AS i ON true"
	"  WHERE v.remote_id IS NOT NULL"
	"    AND (i.local_key IS NOT NULL OR v.first::pg_catalog.jsonb <> v.key)",
	{INT4ARRAYOID, INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
	INT4ARRAYOID, INT4ARRAYOID}
};

/*
 * concord_link_learned: the answer told an id, of a system that assigns them,
 * that was not known.
 */
bool
concord_link_learned(const ConcordDelivery *d)
{
	const ConcordExchange *x = d->exchange;

	return d->definition->mapping->options.remote_id_assigned &&
		x->remote_id != NULL &&
		(d->link.remote_id == NULL ||
		 strcmp(x->remote_id, d->link.remote_id) != 0);
}

/* inu_applies: an end that gives a link an id, or takes one away. */
static bool
inu_applies(const ConcordDelivery *d, bool *learned)
{
	*learned = false;
	if (d->end != CONCORD_END_DONE || d->exchange == NULL ||
		!d->lane->use_links || d->lane->gone || d->mapped->local_key == NULL ||
		!d->definition->mapping->options.remote_id_assigned ||
		(d->parked != NULL && d->parked->leaving))
		return false;
	if (d->mapped->action == CONCORD_ACTION_DELETE)
		return true;
	*learned = d->mapped->action == CONCORD_ACTION_UPSERT &&
		concord_link_learned(d);
	return *learned;
}

/* inu_die turns a good end into a bad one. */
static void
inu_die(ConcordCourier *courier, ConcordDelivery *d, const char *id,
		const char *owner)
{
	ConcordExchange *x = d->exchange;
	MemoryContext old = MemoryContextSwitchTo(d->context);

	x->outcome = CONCORD_OUTCOME_DEAD;
	x->rule = "id in use";
	x->error = psprintf("the system answered with id \"%s\", which is linked to %s already; nothing was linked",
						id, owner);
	MemoryContextSwitchTo(old);
	concord_send_note(courier, d);
	d->end = CONCORD_END_DEAD;
}

/* inu_put adds one id, or (NULL) a record that is gone. */
static void
inu_put(ConcordBookRows *rows, int32 mapping, const ConcordMapped *m,
		const char *id, int32 route, int32 own)
{
	concord_book_put(rows, 0, Int32GetDatum(rows->n), false);
	concord_book_put(rows, 1, Int32GetDatum(mapping), false);
	concord_book_put_text(rows, 2, m->local_key);
	concord_book_put_text(rows, 3, m->old_local_key);
	concord_book_put_text(rows, 4, id);
	concord_book_put(rows, 5, Int32GetDatum(route), false);
	concord_book_put(rows, 6, Int32GetDatum(own), false);
	rows->n++;
}

/* inu_put_children adds the ids of rows that went along; true: there are any. */
static bool
inu_put_children(ConcordBookRows *rows, ConcordDelivery *d, ConcordDelivery **ds)
{
	const ConcordExchange *x = d->exchange;
	bool		any = false;

	if (concord_child_rows(d) == 0)
		return false;
	for (int i = 0; i < x->mapped->nchildren; i++)
	{
		const ConcordChildren *children = &x->mapped->children[i];

		if (!children->mapping->options.remote_id_assigned)
			continue;
		for (int j = 0; j < children->n; j++)
		{
			if (x->children[i][j].remote_id == NULL)
				continue;
			ds[rows->n] = d;
			inu_put(rows, children->mapping->id, children->rows[j],
					x->children[i][j].remote_id, 0, 0);
			any = true;
		}
	}
	return any;
}

/*
 * concord_link_in_use ends as dead what has learned an id that is another
 * record's; true where there is such a thing, and the commit is to be durable.
 * Called first in the bookkeeping transaction.
 */
bool
concord_link_in_use(ConcordCourier *courier)
{
	ConcordDelivery **ds;
	ConcordBookRows rows = {0};
	SPITupleTable *found;
	uint64		nfound;
	bool		any = false;
	int			max = 0;
	dlist_iter	iter;

	if (courier->nended == 0)
		return false;
	dlist_foreach(iter, &courier->ended)
		max += 1 + concord_child_rows(dlist_container(ConcordDelivery, list_node, iter.cur));
	ds = palloc(sizeof(ConcordDelivery *) * max);
	concord_book_begin(&rows, &inu_find, max);
	dlist_foreach(iter, &courier->ended)
	{
		ConcordDelivery *d = dlist_container(ConcordDelivery, list_node,
											 iter.cur);
		bool		learned;

		any |= inu_put_children(&rows, d, ds);
		if (!inu_applies(d, &learned))
			continue;
		any |= learned;
		ds[rows.n] = d;
		inu_put(&rows, d->lane->id, d->mapped,
				learned ? d->exchange->remote_id : NULL, d->route->id,
				d->lane->own.id);
	}
	if (!any)
		return false;
	concord_book_run(&rows);
	found = SPI_tuptable;
	nfound = SPI_processed;
	for (uint64 i = 0; i < nfound; i++)
	{
		bool		isnull;
		int			n = DatumGetInt32(SPI_getbinval(found->vals[i],
													found->tupdesc, 1, &isnull));

		if (ds[n]->end == CONCORD_END_DONE)
			inu_die(courier, ds[n],
					SPI_getvalue(found->vals[i], found->tupdesc, 3),
					SPI_getvalue(found->vals[i], found->tupdesc, 2));
	}
	return nfound > 0;
}
