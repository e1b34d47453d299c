/*-------------------------------------------------------------------------
 *
 * reconcile_pending.c
 *	  What is on its way between both sides, and so is no difference.
 *
 * Events that are not finished for the mapping, exceptions that are to be tried
 * again, and records in the inbox.  Of pending events 8 bytes each are kept.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/reconcile.h"

#include "base/json.h"
#include "base/settings.h"
#include "capture/capture.h"
#include "catalog/pg_type.h"
#include "delivery/pending.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define PND_START_MS	10000	/* that a courier may take to begin */
#define PND_LOOK_MS		20

/* What events are collected for. */
typedef struct PndScan
{
	Reconcile  *reconcile;
	const ConcordPosition *position;
	MemoryContext scratch;
} PndScan;

/* pnd_add notes a key. */
static void
pnd_add(Reconcile *reconcile, Jsonb *key)
{
	if (reconcile->npending == reconcile->maxpending)
	{
		reconcile->maxpending = Max(1024, reconcile->maxpending * 2);
		if (reconcile->pending == NULL)
			reconcile->pending = MemoryContextAllocHuge(reconcile->context,
														reconcile->maxpending * sizeof(uint64));
		else
			reconcile->pending = repalloc_huge(reconcile->pending,
											   reconcile->maxpending * sizeof(uint64));
	}
	reconcile->pending[reconcile->npending++] = concord_reconcile_key_hash(key);
}

/* pnd_key notes a key that is written as JSON. */
static void
pnd_key(Reconcile *reconcile, const char *json)
{
	pnd_add(reconcile, DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json))));
}

/* pnd_resync notes the key of a row that is to be sent again: its values are texts. */
static void
pnd_resync(Reconcile *reconcile, const char *json)
{
	ConcordInbound *inbound = reconcile->inbound;
	Jsonb	   *texts = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < inbound->nkey; i++)
	{
		const char *name = inbound->key[i].name;
		JsonbValue	room;
		JsonbValue *value = getKeyJsonValueFromContainer(&texts->root, name, strlen(name), &room);
		char	   *text;

		if (value == NULL || value->type != jbvString)
			return;
		text = pnstrdup(value->val.string.val, value->val.string.len);
		appendStringInfoString(&buf, i == 0 ? "{" : ", ");
		concord_json_string(&buf, name, strlen(name));
		appendStringInfoString(&buf, ": ");
		concord_json_key(&buf, getBaseType(inbound->key[i].type), text, strlen(text));
	}
	appendStringInfoChar(&buf, '}');
	pnd_key(reconcile, concord_json_server(buf.data));
}

/* pnd_event takes an event that may be pending. */
static bool
pnd_event(const ConcordEvent *event, void *arg)
{
	PndScan    *scan = arg;
	Reconcile  *reconcile = scan->reconcile;
	const ConcordMapping *mapping = reconcile->mapping;
	MemoryContext old;
	char	   *key;

	if (concord_position_finished(scan->position, mapping, event))
		return true;
	if (event->op == CONCORD_OP_TRUNCATE)
	{
		reconcile->all_pending = true;
		return false;
	}
	old = MemoryContextSwitchTo(scan->scratch);
	if (event->op == CONCORD_OP_RESYNC)
		pnd_resync(reconcile, event->payload);
	else
	{
		ConcordEvent before = *event;

		key = concord_scan_local_key(mapping, event);
		if (key != NULL)
			pnd_key(reconcile, key);
		before.new_image = NULL;
		key = event->new_image == NULL || event->old_image == NULL ? NULL :
			concord_scan_local_key(mapping, &before);
		if (key != NULL)
			pnd_key(reconcile, key);
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(scan->scratch);
	return true;
}

/* pnd_events collects the keys of events that are not finished. */
static void
pnd_events(Reconcile *reconcile, const ConcordPosition *position)
{
	PndScan		scan = {reconcile, position};
	int64		last = concord_outbox_last_seq();

	if (!position->started || position->cursor >= last)
		return;
	scan.scratch = AllocSetContextCreate(CurrentMemoryContext, "concord reconcile pending",
										 ALLOCSET_DEFAULT_SIZES);
	concord_scan_events(reconcile->mapping, position->cursor, last, pnd_event, &scan);
	MemoryContextDelete(scan.scratch);
}

/* pnd_exceptions collects those of deliveries that are to be tried again. */
static void
pnd_exceptions(Reconcile *reconcile)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(reconcile->mapping->id)};
	Portal		portal;

	portal = SPI_cursor_open_with_args(NULL,
									   "SELECT local_key FROM concord.exception"
									   " WHERE mapping = $1 AND state IN ('retry', 'waiting', 'blocked')"
									   " AND local_key IS NOT NULL",
									   1, types, values, NULL, true, 0);
	for (;;)
	{
		SPI_cursor_fetch(portal, true, 1000);
		if (SPI_processed == 0)
			break;
		for (uint64 i = 0; i < SPI_processed; i++)
		{
			bool		isnull;

			pnd_add(reconcile, DatumGetJsonbP(SPI_getbinval(SPI_tuptable->vals[i],
															SPI_tuptable->tupdesc, 1, &isnull)));
		}
		SPI_freetuptable(SPI_tuptable);
		CHECK_FOR_INTERRUPTS();
	}
	SPI_freetuptable(SPI_tuptable);
	SPI_cursor_close(portal);
}

/* pnd_order orders hashes. */
static int
pnd_order(const void *a, const void *b)
{
	uint64		x = *(const uint64 *) a;
	uint64		y = *(const uint64 *) b;

	return (x > y) - (x < y);
}

/* pnd_load reads what is on its way; false: couriers have not begun with the mapping. */
static bool
pnd_load(Reconcile *reconcile)
{
	MemoryContext old = MemoryContextSwitchTo(reconcile->batch);
	ConcordCatalogScope scope;
	ConcordPosition position;

	reconcile->npending = 0;
	PushActiveSnapshot(GetLatestSnapshot());
	concord_catalog_enter(&scope);
	concord_position_load(reconcile->mapping->id, &position);
	pnd_events(reconcile, &position);
	pnd_exceptions(reconcile);
	concord_catalog_leave(&scope);
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	MemoryContextReset(reconcile->batch);
	return position.started;
}

/*
 * concord_reconcile_pending finds out what is on its way of all that was
 * committed before this call.
 */
void
concord_reconcile_pending(Reconcile *reconcile)
{
	bool		delivers = concord_delivery && reconcile->mapping->state == CONCORD_MAPPING_ACTIVE;

	if (!reconcile->sends)
		return;
	if (!concord_capture_wait_lsn(concord_capture_mark(), concord_start_timeout))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("capture is behind, so nobody knows what is still to be delivered of mapping \"%s\"",
						reconcile->mapping->name),
				 errhint("View concord.capture says what it is doing.")));
	for (int waited = 0; !pnd_load(reconcile) && delivers && waited < PND_START_MS; waited += PND_LOOK_MS)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 PND_LOOK_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	if (reconcile->npending > 0)
		qsort(reconcile->pending, reconcile->npending, sizeof(uint64), pnd_order);
}

/* concord_reconcile_is_pending says whether something of a row is. */
bool
concord_reconcile_is_pending(const Reconcile *reconcile, Jsonb *key)
{
	uint64		hash;

	if (reconcile->all_pending)
		return true;
	if (reconcile->npending == 0)
		return false;
	hash = concord_reconcile_key_hash(key);
	return bsearch(&hash, reconcile->pending, reconcile->npending, sizeof(uint64), pnd_order) != NULL;
}

/* pnd_texts makes an array of texts; those that are NULL are left out. */
static Datum
pnd_texts(RcnEntry **entries, int n, bool ids)
{
	Datum	   *values = palloc(sizeof(Datum) * Max(n, 1));
	int			given = 0;

	for (int i = 0; i < n; i++)
	{
		const InbItem *item = &entries[i]->item;
		char	   *text = ids ? item->remote_id : item->local_key == NULL ? NULL :
			JsonbToCString(NULL, &item->local_key->root, VARSIZE(item->local_key));

		if (text != NULL)
			values[given++] = CStringGetTextDatum(text);
	}
	return PointerGetDatum(construct_array(values, given, TEXTOID, -1, false, TYPALIGN_INT));
}

/* concord_reconcile_inbox marks those of which a record is in the inbox. */
void
concord_reconcile_inbox(Reconcile *reconcile, RcnEntry **entries, int n)
{
	Oid			types[] = {INT4OID, TEXTARRAYOID, TEXTARRAYOID};
	Datum		values[3];
	MemoryContext context = CurrentMemoryContext;
	ConcordCatalogScope scope;

	values[0] = Int32GetDatum(reconcile->mapping->id);
	values[1] = pnd_texts(entries, n, true);
	values[2] = pnd_texts(entries, n, false);
	PushActiveSnapshot(GetLatestSnapshot());
	concord_catalog_enter(&scope);
	if (SPI_execute_with_args("SELECT remote_id, local_key::pg_catalog.text FROM concord.inbox_item"
							  " WHERE mapping = $1 AND state IN ('new', 'waiting')"
							  " AND (remote_id = ANY ($2) OR local_key = ANY ($3::pg_catalog.jsonb[]))",
							  3, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.inbox_item");
	MemoryContextSwitchTo(context);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		char	   *id = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1);
		char	   *key = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 2);

		for (int i = 0; i < n; i++)
		{
			InbItem    *item = &entries[i]->item;

			if ((id != NULL && item->remote_id != NULL && strcmp(id, item->remote_id) == 0) ||
				(key != NULL && item->local_key != NULL &&
				 strcmp(key, JsonbToCString(NULL, &item->local_key->root, VARSIZE(item->local_key))) == 0))
				entries[i]->changing = true;
		}
	}
	concord_catalog_leave(&scope);
	MemoryContextSwitchTo(context);
	PopActiveSnapshot();
}
