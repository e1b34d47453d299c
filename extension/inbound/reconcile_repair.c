/*-------------------------------------------------------------------------
 *
 * reconcile_repair.c
 *	  Makes both sides equal, as the owners of fields have them.
 *
 * What the system owns is applied like any other record of it, in the caller's
 * transaction; what is ours is sent again by a resync event of the row, once
 * that is committed.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/reconcile.h"

#include "base/json.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "outbox/message.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

/* rep_sends has the rows sent again of which something is ours. */
static int
rep_sends(Reconcile *reconcile, RcnEntry **entries, int n)
{
	ConcordEnvironment environment;
	int			sent = 0;

	/* keys are written by their types */
	concord_environment_enter(&environment, reconcile->mapping->definer,
							  reconcile->mapping->search_path);
	for (int i = 0; i < n; i++)
	{
		if (!entries[i]->sends)
			continue;
		CHECK_FOR_INTERRUPTS();
		concord_inbound_send_row(reconcile->mapping,
								 concord_inbound_local_key(reconcile->inbound,
														   entries[i]->item.key));
		sent++;
	}
	concord_environment_leave(&environment);
	return sent;
}

/* rep_parked tells of records that could not be applied. */
static void
rep_parked(Reconcile *reconcile, RcnEntry **entries, int n)
{
	Oid			types[] = {INT4OID, TEXTARRAYOID};
	Datum		values[2];
	Datum	   *ids = palloc(sizeof(Datum) * n);
	int			nids = 0;
	MemoryContext context = CurrentMemoryContext;
	ConcordCatalogScope scope;

	for (int i = 0; i < n; i++)
		if (entries[i]->item.remote_id != NULL)
			ids[nids++] = CStringGetTextDatum(entries[i]->item.remote_id);
	values[0] = Int32GetDatum(reconcile->mapping->id);
	values[1] = PointerGetDatum(construct_array(ids, nids, TEXTOID, -1, false, TYPALIGN_INT));
	PushActiveSnapshot(GetLatestSnapshot());
	concord_catalog_enter(&scope);
	if (SPI_execute_with_args("SELECT remote_id, state FROM concord.inbox_item"
							  " WHERE mapping = $1 AND remote_id = ANY ($2)"
							  " AND state IN ('parked', 'waiting')",
							  2, types, values, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.inbox_item");
	MemoryContextSwitchTo(context);
	for (uint64 row = 0; row < SPI_processed; row++)
	{
		char	   *id = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1);
		char	   *state = SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 2);

		for (int i = 0; i < n; i++)
			if (entries[i]->applies && entries[i]->item.remote_id != NULL &&
				strcmp(entries[i]->item.remote_id, id) == 0)
				entries[i]->action = state;
	}
	concord_catalog_leave(&scope);
	MemoryContextSwitchTo(context);
	PopActiveSnapshot();
}

/* rep_applies applies what is theirs. */
static int
rep_applies(Reconcile *reconcile, RcnEntry **entries, int n)
{
	ConcordInboundRecord *records = palloc(sizeof(ConcordInboundRecord) * n);
	ConcordInboundCounts counts = {0};
	int			nrecords = 0;

	for (int i = 0; i < n; i++)
	{
		RcnEntry   *entry = entries[i];

		if (!entry->applies || entry->problem != NULL)
			continue;
		records[nrecords] = entry->record;
		if (entry->item.remote_id == NULL)
			entry->item.remote_id = entry->item.link.remote_id;
		if (entry->record.op == CONCORD_INBOUND_DELETE)
			records[nrecords].remote_id = entry->item.link.remote_id;
		nrecords++;
	}
	if (nrecords == 0)
		return 0;
	if (reconcile->applies == NULL)
		reconcile->applies = concord_inbound_open(reconcile->mapping, "reconcile", reconcile->context);
	concord_inbound_apply(reconcile->applies, records, nrecords, &counts);
	if (counts.rejected + counts.waiting > 0)
		rep_parked(reconcile, entries, n);
	return counts.applied;
}

/* concord_reconcile_repair repairs what differs. */
void
concord_reconcile_repair(Reconcile *reconcile, RcnEntry **entries, int n)
{
	int			done = rep_applies(reconcile, entries, n);

	done += rep_sends(reconcile, entries, n);
	concord_progress_add(reconcile->progress, CONCORD_PROGRESS_REPAIRED, done);
}
