/*-------------------------------------------------------------------------
 *
 * reconcile.c
 *	  concord.reconcile(): both sides of a mapping, compared.
 *
 *		our rows, mapped ──► hashes ─┐
 *									 ├─► sorted ─► side by side ─► look again ─► rows, repair
 *		their list ─► records ─► hashes ─┘								│
 *						 └─► temporary file ◄───────────────────────────┘
 *
 * Each side is read once.  Of a row or record there is a hash for each field
 * that is compared; what belongs together is found by sorting, so memory does
 * not grow with the number of records (work_mem, and 8 bytes for each event that
 * is still to be delivered).  Hashes that differ have the record and the row
 * read again (reconcile_look.c).
 *
 * What is compared: of fields that the system owns, and shared ones, what
 * would be applied with the column; of all others what would be sent with the
 * record.  Fields that are only sent with a create are not, nor those that no
 * record has.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/reconcile.h"

#include "access/xact.h"
#include "capture/capture.h"
#include "catalog/history.h"
#include "connector/pulling.h"
#include "delivery/pending.h"
#include "funcapi.h"
#include "live/peer.h"
#include "base/settings.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(concord_reconcile);

/* rcn_refuse raises where a mapping cannot be compared. */
static void
rcn_refuse(const ConcordMapping *mapping, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("mapping \"%s\" cannot be compared with its system", mapping->name),
			 errdetail("%s", detail),
			 hint != NULL ? errhint("%s", hint) : 0));
}

/* rcn_check refuses what cannot be compared. */
static void
rcn_check(const ConcordMapping *mapping, bool repair)
{
	if (mapping->topic != NULL || mapping->written)
		rcn_refuse(mapping, "It has no rows.", NULL);
	if (mapping->state == CONCORD_MAPPING_BROKEN || mapping->state == CONCORD_MAPPING_DENIED)
		rcn_refuse(mapping, psprintf("It is %s: %s", concord_mapping_state_name(mapping->state),
									 mapping->state_reason ? mapping->state_reason : ""), NULL);
	if (repair && mapping->state == CONCORD_MAPPING_STALE)
		rcn_refuse(mapping, "It is stale.", "Use concord.resume() first.");
	if (!OidIsValid(mapping->definer))
		rcn_refuse(mapping, psprintf("Its definer, role \"%s\", does not exist.", mapping->definer_name),
				   "Use concord.set_definer().");
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("concord.reconcile() needs isolation level READ COMMITTED"),
				 errdetail("The transaction's snapshot does not see what is delivered and applied meanwhile.")));
	if (concord_mapping_evaluating)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("concord.reconcile() cannot be used in an expression of a mapping")));
}

/* rcn_changed says where records tell when they were changed; NULL: nowhere. */
static char *
rcn_changed(const Reconcile *reconcile, const ConcordPulling *pulling)
{
	const ConcordPullOptions *options = reconcile->mapping->options.pull;
	char	   *changed;

	if (options != NULL && options->changed != NULL)
		changed = pstrdup(options->changed);
	else if (pulling->changed != NULL)
		changed = pstrdup(pulling->changed);
	else
		return NULL;
	for (char *p = changed; *p; p++)
		if (*p == '/')
			*p = '.';
	return changed;
}

/* rcn_list gets ready to read the system's list. */
static void
rcn_list(Reconcile *reconcile)
{
	const ConcordMapping *mapping = reconcile->mapping;
	const ConcordPulling *pulling;

	reconcile->peer = concord_peer_get(mapping->serverid, mapping->definer);
	pulling = concord_connector_pulling(reconcile->peer->server->connector);
	if ((pulling->methods & (1u << CONCORD_PULL_FULL)) == 0)
		rcn_refuse(mapping, psprintf("Connector \"%s\" has no lists that could be read.",
									 reconcile->peer->server->connector->name), NULL);
	reconcile->changed = rcn_changed(reconcile, pulling);
	reconcile->table.relname = mapping->name;
	reconcile->table.object = mapping->object;
	reconcile->table.service = mapping->options.service;
	if (mapping->options.pull != NULL)
		reconcile->table.query = mapping->options.pull->filter;
	reconcile->table.paging = -1;
	reconcile->table.page_bytes = (Size) concord_max_answer_size * 1024;
	reconcile->reader = concord_reader_create(&reconcile->table, reconcile->peer);
}

/* rcn_open makes what comparing needs, in the current context. */
static Reconcile *
rcn_open(const ConcordMapping *mapping, char *filter, bool repair, ReturnSetInfo *result)
{
	Reconcile  *reconcile = palloc0(sizeof(Reconcile));
	ListCell   *lc;

	reconcile->mapping = mapping;
	reconcile->filter = filter;
	reconcile->repair = repair;
	reconcile->result = result;
	reconcile->context = CurrentMemoryContext;
	reconcile->batch = AllocSetContextCreate(CurrentMemoryContext, "concord reconcile batch",
											 ALLOCSET_DEFAULT_SIZES);
	foreach(lc, mapping->fields)
		reconcile->sends |= ((ConcordField *) lfirst(lc))->pushed;
	reconcile->sends &= !mapping->push_off;
	rcn_list(reconcile);
	reconcile->inbound = concord_inbound_open_reading(mapping, CurrentMemoryContext);
	reconcile->progress = concord_progress_begin(mapping->id, repair);
	if (repair && reconcile->sends)
		concord_capture_require("concord.reconcile()");
	concord_reconcile_sort_begin(reconcile);
	return reconcile;
}

/* rcn_close gives it back. */
static void
rcn_close(Reconcile *reconcile)
{
	tuplesort_end(reconcile->sort);
	ExecDropSingleTupleTableSlot(reconcile->slot);
	ExecDropSingleTupleTableSlot(reconcile->put);
	BufFileClose(reconcile->records);
	UnregisterSnapshot(reconcile->began);
	if (reconcile->applies != NULL)
		concord_inbound_close(reconcile->applies);
	concord_inbound_close(reconcile->inbound);
	if (reconcile->compiled != NULL)
		concord_mapping_free(reconcile->compiled);
	concord_peer_done(reconcile->peer);
}

/* rcn_suspicious says whether a row and its record are to be looked at again. */
static bool
rcn_suspicious(Reconcile *reconcile, const RcnHalf *local, const RcnHalf *remote)
{
	if (remote == NULL)
	{
		if (local->expect == RCN_WAITS)
			concord_progress_add(reconcile->progress, CONCORD_PROGRESS_CHANGING, 1);
		return local->expect == RCN_EXPECTED || local->expect == RCN_FAILS;
	}
	/* a filter is of rows: records without one are beyond it */
	if (local == NULL)
		return reconcile->filter == NULL;
	if (remote->problem != NULL)
		return true;
	for (int i = 0; i < reconcile->nfields; i++)
		if (concord_reconcile_differ(reconcile, i, local->values[i], remote->values[i]))
			return true;
	return false;
}

/* rcn_flush looks again at what was collected. */
static void
rcn_flush(Reconcile *reconcile)
{
	MemoryContext old;

	if (reconcile->n == 0)
		return;
	old = MemoryContextSwitchTo(reconcile->batch);
	concord_reconcile_look(reconcile, reconcile->entries, reconcile->n);
	MemoryContextSwitchTo(old);
	reconcile->n = 0;
	MemoryContextReset(reconcile->batch);
}

/* rcn_pair takes a row, a record or both. */
static void
rcn_pair(Reconcile *reconcile, RcnHalf *local, RcnHalf *remote)
{
	RcnEntry   *entry;

	concord_progress_add(reconcile->progress, CONCORD_PROGRESS_COMPARED, 1);
	if (!rcn_suspicious(reconcile, local, remote))
		return;
	entry = palloc0(sizeof(RcnEntry));
	entry->reconcile = reconcile;
	entry->local = local;
	entry->remote = remote;
	reconcile->entries[reconcile->n++] = entry;
}

/* rcn_merge goes through both sides. */
static void
rcn_merge(Reconcile *reconcile)
{
	MemoryContext halves[2];
	MemoryContext old = CurrentMemoryContext;
	RcnHalf    *local = NULL;
	RcnHalf    *remote = NULL;
	int			turn = 0;

	reconcile->entries = palloc(sizeof(RcnEntry *) * RCN_BATCH);
	for (int i = 0; i < 2; i++)
		halves[i] = AllocSetContextCreate(CurrentMemoryContext, "concord reconcile halves",
										  ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(halves[turn]);
	for (int since = 0;; since++)
	{
		RcnHalf    *half = concord_reconcile_sort_next(reconcile);
		RcnHalf    *before = local != NULL ? local : remote;

		CHECK_FOR_INTERRUPTS();
		if (before != NULL &&
			(half == NULL || memcmp(&half->identity, &before->identity, sizeof(pg_uuid_t)) != 0))
		{
			rcn_pair(reconcile, local, remote);
			local = remote = NULL;
			if (half == NULL || reconcile->n == RCN_BATCH || since >= RCN_ROWS)
			{
				/* the half that was read last stays, all others may go */
				MemoryContextSwitchTo(old);
				rcn_flush(reconcile);
				turn = 1 - turn;
				MemoryContextReset(halves[turn]);
				MemoryContextSwitchTo(halves[turn]);
				since = 0;
			}
		}
		if (half == NULL)
			break;
		if (half->remote)
			remote = half;		/* the later one, where a list has it twice */
		else
			local = half;
	}
	MemoryContextSwitchTo(old);
}

/* rcn_unseen tells of fields that no record has. */
static void
rcn_unseen(const Reconcile *reconcile)
{
	if (concord_progress_count(reconcile->progress, CONCORD_PROGRESS_REMOTE) == 0)
		return;
	for (int i = 0; i < reconcile->nfields; i++)
	{
		const RcnField *f = &reconcile->fields[i];

		if (!f->seen && (f->mapped >= 0 || (f->column >= 0 && f->field->apply == NULL)))
			ereport(NOTICE,
					(errmsg("mapping \"%s\": no record has field \"%s\"; it was not compared",
							reconcile->mapping->name, f->field->name)));
	}
}

/* rcn_told tells of what was left out. */
static void
rcn_told(const Reconcile *reconcile)
{
	int64		changing = concord_progress_count(reconcile->progress, CONCORD_PROGRESS_CHANGING);

	rcn_unseen(reconcile);
	if (changing > 0)
		ereport(NOTICE,
				(errmsg("mapping \"%s\": " INT64_FORMAT " rows or records are on their way, or have just changed, and were left out",
						reconcile->mapping->name, changing)));
}

/* rcn_run compares. */
static void
rcn_run(Reconcile *reconcile)
{
	ConcordProgress *progress = reconcile->progress;

	reconcile->began_at = GetCurrentTimestamp();
	reconcile->began = RegisterSnapshot(GetLatestSnapshot());
	concord_reconcile_read_rows(reconcile);
	concord_progress_phase(progress, CONCORD_PHASE_REMOTE);
	concord_reconcile_read_records(reconcile);
	concord_progress_phase(progress, CONCORD_PHASE_SORT);
	concord_reconcile_sort_end(reconcile);
	concord_progress_phase(progress, CONCORD_PHASE_CAPTURE);
	concord_reconcile_pending(reconcile);
	concord_progress_phase(progress, CONCORD_PHASE_COMPARE);
	rcn_merge(reconcile);
	rcn_told(reconcile);
}

/* concord_reconcile is concord.reconcile(). */
Datum
concord_reconcile(PG_FUNCTION_ARGS)
{
	ConcordMapping *mapping = concord_operate_mapping(fcinfo, 0);
	char	   *filter = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	bool		repair = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	MemoryContext context;
	MemoryContext old;
	Reconcile  *reconcile;

	rcn_check(mapping, repair);
	if (repair)
		PreventCommandIfReadOnly("concord.reconcile()");
	InitMaterializedSRF(fcinfo, 0);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	context = AllocSetContextCreate(CurrentMemoryContext, "concord reconcile", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(context);
	reconcile = rcn_open(mapping, filter, repair, (ReturnSetInfo *) fcinfo->resultinfo);
	rcn_run(reconcile);
	if (repair)
		concord_history_add("reconcile", mapping->name, mapping->server,
							filter == NULL ? NULL : psprintf("filter: %s", filter),
							concord_progress_count(reconcile->progress, CONCORD_PROGRESS_REPAIRED));
	rcn_close(reconcile);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	SPI_finish();
	return (Datum) 0;
}
