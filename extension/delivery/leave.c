/*-------------------------------------------------------------------------
 *
 * leave.c
 *	  Removing a record from the server that its row was routed to before.
 *
 * A row that was routed elsewhere has been created there: its old record is to
 * go.  That is a live exception with an event of its own, a delete with the
 * row's image as the old row, and the record's id and tag at that server: the
 * link has those of the new record from the same commit on.  It is mapped,
 * sent, retried and given up as any other delete; its end changes no link.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "catalog/pg_type.h"
#include "decoder/protocol.h"
#include "delivery/division.h"
#include "delivery/leave.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define LV_NVALUES	13

/* concord_leave_key makes the ordering key of what leaves a server. */
char *
concord_leave_key(int32 route, const char *local_key)
{
	return psprintf("@%d %s", route, local_key);
}

/* lv_wanted: the delivery has moved a record, and its old one is to be removed. */
static bool
lv_wanted(const ConcordDelivery *d)
{
	return d->end == CONCORD_END_DONE && d->left_route != 0 && !d->lane->gone &&
		d->mapped->action == CONCORD_ACTION_UPSERT &&
		d->event->new_image != NULL && d->event->relation != NULL &&
		d->definition->mapping->options.on_delete != CONCORD_DELETE_IGNORE;
}

/* lv_key is the local key that the record had where it was. */
static const char *
lv_key(const ConcordDelivery *d)
{
	return d->mapped->old_local_key ? d->mapped->old_local_key :
		d->mapped->local_key;
}

/*
 * lv_event makes the delete.  Of a row whose key changed the image before has
 * it; otherwise the one that was sent, which has more columns.
 */
static void
lv_event(const ConcordDelivery *d, ConcordEvent *event)
{
	char	   *what = psprintf("leave %d", d->left_route);

	*event = *d->event;
	event->op = CONCORD_OP_DELETE;
	concord_event_derive_id(&d->event->id, what, strlen(what), &event->id);
	event->flags = CONCORD_ROW_OLD;
	if (d->mapped->old_local_key != NULL && d->event->old_image != NULL)
		event->flags |= d->event->flags & CONCORD_ROW_OLD_IS_KEY;
	else
	{
		event->old_image = d->event->new_image;
		event->old_len = d->event->new_len;
		if (d->event->op == CONCORD_OP_RESYNC)
			event->flags |= CONCORD_ROW_OLD_IS_KEY;
	}
	event->new_image = NULL;
	event->new_len = 0;
}

/* lv_insert writes one leave and notes its number. */
static void
lv_insert(ConcordDelivery *d)
{
	Oid			types[LV_NVALUES] = {INT4OID, INT4OID, INT8OID, UUIDOID, TIMESTAMPTZOID, TEXTOID,
	TEXTOID, BYTEAOID, INT4OID, INT4OID, INT4OID, TEXTOID, TEXTOID};
	char		nulls[LV_NVALUES + 1] = "             ";
	Datum		row[LV_NVALUES];
	ConcordEvent event;
	int32		hash;
	int32		old_hash;
	bool		isnull;

	lv_event(d, &event);
	/* of the lane that has the move, whichever row the image is of */
	concord_event_hashes(d->definition->mapping, d->event, &hash, &old_hash);
	row[0] = Int32GetDatum(d->lane->id);
	row[1] = Int32GetDatum(d->definition->mapping->version);
	row[2] = Int64GetDatum(event.seq);
	row[3] = UUIDPGetDatum(&event.id);
	row[4] = TimestampTzGetDatum(event.committed_at);
	row[5] = CStringGetTextDatum(concord_leave_key(d->left_route, lv_key(d)));
	row[6] = CStringGetTextDatum(lv_key(d));
	row[7] = PointerGetDatum(concord_event_pack(&event));
	row[8] = Int32GetDatum(hash);
	row[9] = Int32GetDatum(old_hash);
	row[10] = Int32GetDatum(d->left_route);
	row[11] = d->left_id ? CStringGetTextDatum(d->left_id) : (Datum) 0;
	row[12] = d->left_etag ? CStringGetTextDatum(d->left_etag) : (Datum) 0;
	nulls[11] = d->left_id ? ' ' : 'n';
	nulls[12] = d->left_etag ? ' ' : 'n';
	if (SPI_execute_with_args("INSERT INTO concord.exception (mapping, version, seq, event_id, op,"
							  "       committed_at, ordering_key, local_key, event, state, next_try,"
							  "       key_hash, old_hash, leaving, route, left_id, left_etag)"
							  " VALUES ($1, $2, $3, $4, 'delete', $5, $6, $7::pg_catalog.jsonb, $8, 'retry',"
							  "         pg_catalog.now(), $9, $10, true, $11, $12, $13) RETURNING delivery",
							  LV_NVALUES, types, row, nulls, false, 0) != SPI_OK_INSERT_RETURNING ||
		SPI_processed != 1)
		elog(ERROR, "could not write concord.exception");
	d->leave = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
										   SPI_tuptable->tupdesc, 1, &isnull));
}

void
concord_leave_write(ConcordCourier *courier)
{
	dlist_iter	iter;

	dlist_foreach(iter, &courier->ended)
	{
		ConcordDelivery *d = dlist_container(ConcordDelivery, list_node,
											 iter.cur);

		if (lv_wanted(d))
			lv_insert(d);
	}
}

void
concord_leave_apply(ConcordCourier *courier, ConcordDelivery *d)
{
	ConcordParked *p;

	if (d->leave == 0 || d->lane->gone)
		return;
	p = concord_parked_add(d->lane, d->leave, d->event->seq, false,
						   concord_leave_key(d->left_route, lv_key(d)), NULL);
	p->leaving = true;
	p->route = d->left_route;
	p->created_at = courier->now;
	concord_parked_schedule(p, courier->now);
}
