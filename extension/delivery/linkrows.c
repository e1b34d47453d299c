/*-------------------------------------------------------------------------
 *
 * linkrows.c
 *	  The part of a bookkeeping transaction that writes concord.link_item.
 *
 * A delivery has read its record's link before it was sent.  Where there was
 * none the row is new, and goes in past the executor; should it be there after
 * all (two deliveries of one record that keep no order), it goes the way of
 * all others, an INSERT that updates.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "base/json.h"
#include "catalog/pg_type.h"
#include "delivery/book.h"
#include "delivery/linkread.h"
#include "outbox/insert.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

static ConcordBookStatement lkr_link = {
	"INSERT INTO concord.link_item AS i (mapping, local_key, remote_id, etag, hash, seq, present, fields, assigned, route, base)"
	" SELECT DISTINCT ON (v.mapping, v.local_key::pg_catalog.jsonb)"
	"        v.mapping, v.local_key::pg_catalog.jsonb, v.remote_id, v.etag, v.hash, v.seq, v.present, v.fields, v.assigned,"
	"        nullif(v.route, 0), v.base::pg_catalog.jsonb"
	"   FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
	"     AS v (mapping, local_key, remote_id, etag, hash, seq, present, fields, assigned, route, base)"
	"  ORDER BY v.mapping, v.local_key::pg_catalog.jsonb, v.seq DESC"
	" ON CONFLICT (mapping, local_key) DO UPDATE SET"
	"    remote_id = excluded.remote_id, etag = excluded.etag,"
	"    hash = excluded.hash, present = excluded.present, fields = excluded.fields,"
	"    assigned = excluded.assigned, route = excluded.route,"
	"    base = CASE WHEN excluded.base IS NULL THEN i.base ELSE coalesce(i.base, '{}') OPERATOR(pg_catalog.||) excluded.base END,"
	"    seq = greatest(i.seq, excluded.seq), changed_at = pg_catalog.now()",
	{INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, BYTEAARRAYOID,
	INT8ARRAYOID, BOOLARRAYOID, BYTEAARRAYOID, BOOLARRAYOID, INT4ARRAYOID, TEXTARRAYOID}
};

/* What was sent last is not known any more. */
static ConcordBookStatement lkr_forget = {
	"UPDATE concord.link_item i SET hash = NULL, fields = NULL"
	"  FROM unnest($1, $2) AS v (mapping, local_key)"
	" WHERE i.mapping = v.mapping AND i.local_key = v.local_key::pg_catalog.jsonb",
	{INT4ARRAYOID, TEXTARRAYOID}
};

/* Rows that went along with the create of their parent's record. */
static ConcordBookStatement lkr_child = {
	"INSERT INTO concord.link_item AS i (mapping, local_key, remote_id, etag, hash, seq, present, fields, covered, assigned)"
	" SELECT v.mapping, v.local_key::pg_catalog.jsonb, v.remote_id, v.etag, v.hash, v.seq, true, v.fields,"
	"        v.covered::pg_catalog.pg_snapshot, v.assigned"
	"   FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)"
	"     AS v (mapping, local_key, remote_id, etag, hash, seq, fields, covered, assigned)"
	" ON CONFLICT (mapping, local_key) DO UPDATE SET"
	"    remote_id = excluded.remote_id, etag = excluded.etag, hash = excluded.hash,"
	"    present = true, fields = excluded.fields, covered = excluded.covered,"
	"    assigned = excluded.assigned,"
	"    seq = greatest(i.seq, excluded.seq), changed_at = pg_catalog.now()"
	"  WHERE NOT i.present",
	{INT4ARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, BYTEAARRAYOID,
	INT8ARRAYOID, BYTEAARRAYOID, TEXTARRAYOID, BOOLARRAYOID}
};

/* Parameters of lkr_link that do not stand as the columns do. */
#define LKR_PARAMETER_FIELDS	7
#define LKR_PARAMETER_ASSIGNED	8
#define LKR_PARAMETER_ROUTE		9
#define LKR_PARAMETER_BASE		10

/* A link as it is to be. */
typedef struct LkrRow
{
	const ConcordDelivery *d;
	const char *local_key;
	const char *remote_id;
	const char *etag;
	const uint8 *hash;			/* NULL: none */
	bool		present;
	bytea	   *fields;			/* NULL: none */
	int32		route;			/* 0: the mapping's own server */
	const char *base;			/* of shared fields, as JSON; NULL: as it was */
} LkrRow;

/* What one transaction writes. */
typedef struct LkrWriter
{
	ConcordBookRows rows;		/* that may be there */
	ConcordInsert insert;		/* that are new */
	LkrRow		fresh[CONCORD_INSERT_ROWS];
} LkrWriter;

/* lkr_hash makes a value of a hash. */
static Datum
lkr_hash(const uint8 *hash)
{
	Size		len = sizeof(((ConcordDelivery *) NULL)->hash);
	bytea	   *bytes;

	if (hash == NULL)
		return (Datum) 0;
	bytes = palloc(VARHDRSZ + len);
	SET_VARSIZE(bytes, VARHDRSZ + len);
	memcpy(VARDATA(bytes), hash, len);
	return PointerGetDatum(bytes);
}

/* lkr_assigned: the row's remote id is one that the system gave. */
static Datum
lkr_assigned(const LkrRow *row)
{
	return BoolGetDatum(row->remote_id != NULL &&
						row->d->definition->mapping->options.remote_id_assigned);
}

/* lkr_change adds a row that may be in the table. */
static void
lkr_change(ConcordBookRows *rows, const LkrRow *row)
{
	concord_book_put(rows, CONCORD_LINK_MAPPING, Int32GetDatum(row->d->lane->id), false);
	concord_book_put_text(rows, CONCORD_LINK_LOCAL_KEY, row->local_key);
	concord_book_put_text(rows, CONCORD_LINK_REMOTE_ID, row->remote_id);
	concord_book_put_text(rows, CONCORD_LINK_ETAG, row->etag);
	concord_book_put(rows, CONCORD_LINK_HASH, lkr_hash(row->hash), row->hash == NULL);
	concord_book_put(rows, CONCORD_LINK_SEQ, Int64GetDatum(row->d->event->seq), false);
	concord_book_put(rows, CONCORD_LINK_PRESENT, BoolGetDatum(row->present), false);
	concord_book_put(rows, LKR_PARAMETER_FIELDS, PointerGetDatum(row->fields),
					 row->fields == NULL);
	concord_book_put(rows, LKR_PARAMETER_ASSIGNED, lkr_assigned(row), false);
	concord_book_put(rows, LKR_PARAMETER_ROUTE, Int32GetDatum(row->route), false);
	concord_book_put_text(rows, LKR_PARAMETER_BASE, row->base);
	rows->n++;
}

/* lkr_flush stores new rows; those that were there already are changed. */
static void
lkr_flush(LkrWriter *writer)
{
	bool		taken[CONCORD_INSERT_ROWS];
	int			n = writer->insert.n;

	concord_insert_flush(&writer->insert, taken);
	for (int i = 0; i < n; i++)
	{
		if (taken[i])
			lkr_change(&writer->rows, &writer->fresh[i]);
	}
}

/* lkr_text sets a column of text. */
static void
lkr_text(TupleTableSlot *slot, int column, const char *text)
{
	slot->tts_isnull[column] = text == NULL;
	slot->tts_values[column] = text ? CStringGetTextDatum(text) : (Datum) 0;
}

/* lkr_new adds a row that is not in the table, as far as is known. */
static void
lkr_new(LkrWriter *writer, const LkrRow *row)
{
	TupleTableSlot *slot;
	Datum	   *values;

	if (writer->insert.rel == NULL)
		concord_insert_open(&writer->insert, concord_insert_relation("link_item"),
							CONCORD_LINK_NCOLUMNS);
	if (writer->insert.n == CONCORD_INSERT_ROWS)
		lkr_flush(writer);
	writer->fresh[writer->insert.n] = *row;
	slot = concord_insert_slot(&writer->insert);
	values = slot->tts_values;
	values[CONCORD_LINK_MAPPING] = Int32GetDatum(row->d->lane->id);
	values[CONCORD_LINK_LOCAL_KEY] = row->d->link_key != NULL ?
		JsonbPGetDatum(row->d->link_key) :
		DirectFunctionCall1(jsonb_in, CStringGetDatum(row->local_key));
	lkr_text(slot, CONCORD_LINK_REMOTE_ID, row->remote_id);
	lkr_text(slot, CONCORD_LINK_ETAG, row->etag);
	values[CONCORD_LINK_HASH] = lkr_hash(row->hash);
	slot->tts_isnull[CONCORD_LINK_HASH] = row->hash == NULL;
	values[CONCORD_LINK_SEQ] = Int64GetDatum(row->d->event->seq);
	values[CONCORD_LINK_PRESENT] = BoolGetDatum(row->present);
	values[CONCORD_LINK_ASSIGNED] = lkr_assigned(row);
	values[CONCORD_LINK_COVERED] = (Datum) 0;
	slot->tts_isnull[CONCORD_LINK_COVERED] = true;
	values[CONCORD_LINK_FIELDS] = PointerGetDatum(row->fields);
	slot->tts_isnull[CONCORD_LINK_FIELDS] = row->fields == NULL;
	values[CONCORD_LINK_ROUTE] = Int32GetDatum(row->route);
	slot->tts_isnull[CONCORD_LINK_ROUTE] = row->route == 0;
	slot->tts_isnull[CONCORD_LINK_BASE] = row->base == NULL;
	values[CONCORD_LINK_BASE] = row->base == NULL ? (Datum) 0 :
		DirectFunctionCall1(jsonb_in, CStringGetDatum(row->base));
	slot->tts_isnull[CONCORD_LINK_REMOTE_CHANGED] = true;
	values[CONCORD_LINK_CHANGED_AT] =
		TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	ExecStoreVirtualTuple(slot);
}

/* lkr_is_new: when the delivery was sent, its record had no link. */
static bool
lkr_is_new(const ConcordDelivery *d)
{
	return d->link_known && !d->link_stored && d->parked == NULL &&
		d->mapped->old_local_key == NULL;
}

/*
 * lkr_base writes what the system has now of shared fields, by which it is known
 * later which side has changed them; NULL: there is none.
 */
static const char *
lkr_base(const ConcordDelivery *d)
{
	const ConcordMapped *m = d->mapped;
	StringInfoData buf;

	buf.data = NULL;
	for (int i = 0; i < m->nfields; i++)
	{
		const ConcordField *field = list_nth(m->field_defs, i);

		if (!field->shared || field->column == NULL || field->on == CONCORD_ON_CREATE ||
			(m->skip != NULL && m->skip[i]))
			continue;
		if (buf.data == NULL)
			initStringInfo(&buf);
		appendStringInfoString(&buf, buf.len == 0 ? "{" : ", ");
		concord_json_string(&buf, field->name, strlen(field->name));
		appendStringInfoString(&buf, ": ");
		/* the text of a value is the column's where nothing is made of it */
		if (m->fields[i].isnull || field->apply != NULL)
			appendStringInfoString(&buf, field->apply != NULL ? "false" : "null");
		else
			concord_json_string(&buf, m->fields[i].text, m->fields[i].len);
	}
	if (buf.data == NULL)
		return NULL;
	appendStringInfoChar(&buf, '}');
	return concord_json_server(buf.data);
}

/* lkr_put adds a link where it belongs. */
static void
lkr_put(LkrWriter *writer, const ConcordDelivery *d, const char *local_key,
		const char *remote_id, const char *etag, const uint8 *hash,
		bool present, bytea *fields)
{
	LkrRow		row = {d, local_key, remote_id, etag, hash, present, fields,
		d->end == CONCORD_END_DONE ? d->route->id : d->link_route,
	present && d->end == CONCORD_END_DONE ? lkr_base(d) : NULL};

	if (lkr_is_new(d))
		lkr_new(writer, &row);
	else
		lkr_change(&writer->rows, &row);
}

/*
 * lkr_done says what a delivered event makes of its record's link; true where
 * losing that could not be made good.
 *
 * Where a system assigns the ids of records and one was learned, nobody could
 * find out again which record is ours.  Elsewhere the record's address follows
 * from its key: after a crash the event comes again, as one whose earlier
 * sending is unknown, and the connector looks.
 */
static bool
lkr_done(LkrWriter *writer, ConcordDelivery *d)
{
	const ConcordExchange *x = d->exchange;
	const ConcordMapped *m = d->mapped;
	const char *remote_id = x->remote_id ? x->remote_id : d->link.remote_id;
	const char *etag = x->etag ? x->etag : d->link.etag;

	if (etag != NULL && etag[0] == '\0')
		etag = NULL;
	if (m->action == CONCORD_ACTION_DELETE)
	{
		lkr_put(writer, d, m->local_key, remote_id, NULL, NULL, false, NULL);
		return false;
	}
	if (m->action != CONCORD_ACTION_UPSERT)
		return false;
	if (!d->has_hash)
		concord_link_hash(d);
	lkr_put(writer, d, m->local_key, remote_id, etag,
			d->has_hash ? d->hash : NULL, true, concord_link_fields(d));
	if (m->old_local_key != NULL)
		lkr_put(writer, d, m->old_local_key, NULL, NULL, NULL, false, NULL);
	return d->definition->mapping->options.remote_id_assigned &&
		(!d->link.exists || m->old_local_key != NULL || concord_link_learned(d));
}

/* lkr_is_leave: what became of it says nothing of the record that the link has. */
static bool
lkr_is_leave(const ConcordDelivery *d)
{
	return d->parked != NULL && d->parked->leaving;
}

/* concord_child_rows counts the rows that went along with a delivery. */
int
concord_child_rows(const ConcordDelivery *d)
{
	int			n = 0;

	if (d->end != CONCORD_END_DONE || d->exchange == NULL ||
		d->exchange->children == NULL || d->lane->gone)
		return 0;
	for (int i = 0; i < d->exchange->mapped->nchildren; i++)
		n += d->exchange->mapped->children[i].n;
	return n;
}

/* lkr_children writes the links of rows that went along; true: durably. */
static bool
lkr_children(ConcordCourier *courier)
{
	ConcordBookRows rows = {0};
	dlist_iter	iter;
	bool		durable = false;
	int			n = 0;

	dlist_foreach(iter, &courier->ended)
		n += concord_child_rows(dlist_container(ConcordDelivery, list_node, iter.cur));
	if (n == 0)
		return false;
	concord_book_begin(&rows, &lkr_child, n);
	dlist_foreach(iter, &courier->ended)
	{
		ConcordDelivery *d = dlist_container(ConcordDelivery, list_node,
											 iter.cur);
		const ConcordExchange *x = d->exchange;

		if (concord_child_rows(d) == 0)
			continue;
		for (int i = 0; i < x->mapped->nchildren; i++)
		{
			const ConcordChildren *children = &x->mapped->children[i];

			durable |= children->mapping->options.remote_id_assigned;
			for (int j = 0; j < children->n; j++)
			{
				const ConcordMapped *m = children->rows[j];
				uint8		hash[sizeof(d->hash)];
				bool		whole = concord_mapped_hash(children->mapping, m, hash);
				bytea	   *fields = concord_mapped_fields(children->mapping, m);

				concord_book_put(&rows, 0, Int32GetDatum(children->mapping->id), false);
				concord_book_put_text(&rows, 1, m->local_key);
				concord_book_put_text(&rows, 2, x->children[i][j].remote_id);
				concord_book_put_text(&rows, 3, x->children[i][j].etag);
				concord_book_put(&rows, 4, lkr_hash(whole ? hash : NULL), !whole);
				concord_book_put(&rows, 5, Int64GetDatum(d->event->seq), false);
				concord_book_put(&rows, 6, PointerGetDatum(fields), fields == NULL);
				concord_book_put_text(&rows, 7, x->mapped->children_snapshot);
				concord_book_put(&rows, 8, BoolGetDatum(children->mapping->options.remote_id_assigned), false);
				rows.n++;
			}
		}
	}
	concord_book_run(&rows);
	return durable;
}

/*
 * lkr_doubt forgets what was sent last of records whose delivery was given up,
 * for good or for a newer one, without it being known whether it arrived: an
 * image that equals the one before it must be sent.  The newer one knows that
 * (coalesce.c), but would not after a restart.
 */
static void
lkr_doubt(ConcordCourier *courier)
{
	ConcordBookRows rows = {0};
	dlist_iter	iter;

	concord_book_begin(&rows, &lkr_forget, courier->nended);
	dlist_foreach(iter, &courier->ended)
	{
		ConcordDelivery *d = dlist_container(ConcordDelivery, list_node,
											 iter.cur);

		if ((d->end != CONCORD_END_DEAD && d->end != CONCORD_END_SUPERSEDED) ||
			!(d->was_unknown || d->doubtful) ||
			!d->lane->use_links || d->lane->gone || d->mapped == NULL ||
			lkr_is_leave(d) ||
			d->mapped->local_key == NULL)
			continue;
		concord_book_put(&rows, 0, Int32GetDatum(d->lane->id), false);
		concord_book_put_text(&rows, 1, d->mapped->local_key);
		rows.n++;
	}
	concord_book_run(&rows);
}

/*
 * concord_link_write writes the links of what was delivered; true where that
 * must be durable.
 */
bool
concord_link_write(ConcordCourier *courier)
{
	LkrWriter	writer = {0};
	dlist_iter	iter;
	bool		durable = false;

	concord_book_begin(&writer.rows, &lkr_link, 2 * courier->nended);
	dlist_foreach(iter, &courier->ended)
	{
		ConcordDelivery *d = dlist_container(ConcordDelivery, list_node,
											 iter.cur);

		if (!d->lane->use_links || d->lane->gone || d->mapped->local_key == NULL ||
			lkr_is_leave(d) || (d->left_route != 0 && d->end != CONCORD_END_DONE))
			continue;
		if (d->end == CONCORD_END_DONE && d->exchange != NULL)
			durable |= lkr_done(&writer, d);
		else if (d->end == CONCORD_END_UNCHANGED && d->link_stored &&
				 d->mapped->old_local_key == NULL)
			lkr_put(&writer, d, d->mapped->local_key, d->link.remote_id,
					d->link.etag, d->link_has_hash ? d->link_hash : NULL,
					d->link.exists, concord_link_fields_same(d));
		else if (d->end == CONCORD_END_SUPERSEDED &&
				 d->event->op == CONCORD_OP_RESYNC && d->link_stored)
			lkr_put(&writer, d, d->mapped->local_key, d->link.remote_id,
					d->link.etag, NULL, d->link.exists, NULL);
	}
	if (writer.insert.rel != NULL)
	{
		lkr_flush(&writer);
		concord_insert_close(&writer.insert);
	}
	concord_book_run(&writer.rows);
	durable |= lkr_children(courier);
	lkr_doubt(courier);
	return durable;
}
