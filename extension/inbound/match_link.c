/*-------------------------------------------------------------------------
 *
 * match_link.c
 *	  Links of what matches; what a person must decide goes to the inbox.
 *
 * A link says what the system has: the record's version, a hash of what would
 * be sent where that is what the record says, and of shared fields what both
 * sides have.  So only what differs is sent, or taken, afterwards.
 *
 * Locks: the mapping's own, as for applying, once both sides are compared; the
 * rows that are linked, so that none of them goes or gets another key before
 * that is committed (FOR KEY SHARE: they may be updated); links last.  Who was
 * linked meanwhile is left alone.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/match.h"

#include "catalog/pg_type.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define MLK_ROWS_SHOWN	5		/* of an ambiguous record */

/* A record that is linked or parked; item must be first. */
typedef struct MlkRecord
{
	InbItem		item;
	ConcordInboundRecord record;
	int32		n;
	bool		sent;			/* the row will be */
} MlkRecord;

/* Records under way. */
typedef struct MlkRun
{
	ConcordMatch *match;
	MemoryContext context;		/* of a batch */
	TupleTableSlot *slot;		/* of match->bodies */
	int32		at;				/* which one that is */
	bool		send;
	InbItem    *items[MAT_BATCH];
	int			nitems;

	/* of a record that is parked */
	MatVerdict	verdict;
	int			nrows;
	StringInfoData rows;
} MlkRun;

/* mlk_open begins to go through the records. */
static void
mlk_open(MlkRun *run, ConcordMatch *match, bool send)
{
	memset(run, 0, sizeof(*run));
	run->match = match;
	run->context = AllocSetContextCreate(match->context, "concord match batch",
										 ALLOCSET_DEFAULT_SIZES);
	run->slot = MakeSingleTupleTableSlot(match->bodies.desc, &TTSOpsMinimalTuple);
	run->at = -1;
	run->send = send;
	tuplestore_rescan(match->bodies.store);
}

static void
mlk_close(MlkRun *run)
{
	ExecDropSingleTupleTableSlot(run->slot);
	MemoryContextDelete(run->context);
}

/* mlk_body copies a text of the record at which we are; NULL: none. */
static char *
mlk_body(MlkRun *run, int column)
{
	return run->slot->tts_isnull[column] ? NULL :
		TextDatumGetCString(run->slot->tts_values[column]);
}

/* mlk_add goes to the next record that there is something to do with. */
static MlkRecord *
mlk_add(MlkRun *run, int32 n)
{
	MlkRecord  *record = palloc0(sizeof(MlkRecord));

	for (; run->at < n; run->at++)
	{
		if (!tuplestore_gettupleslot(run->match->bodies.store, true, false, run->slot))
			elog(ERROR, "a record that was read is not there any more");
	}
	slot_getallattrs(run->slot);
	record->n = n;
	record->sent = run->send && run->match->inbound->sends;
	record->item.record = &record->record;
	record->record.op = CONCORD_INBOUND_UPSERT;
	record->record.record = mlk_body(run, 0);
	record->record.etag = mlk_body(run, 1);
	run->items[run->nitems++] = &record->item;
	return record;
}

/* mlk_text reads a column of text; NULL: null. */
static char *
mlk_text(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, desc, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* mlk_number reads a number that is there. */
static int32
mlk_number(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;

	return DatumGetInt32(SPI_getbinval(tuple, desc, column, &isnull));
}

/* mlk_key_text writes a key for people and events. */
static char *
mlk_key_text(Jsonb *key)
{
	return JsonbToCString(NULL, &key->root, VARSIZE(key));
}

/* ---------------------------------------------------------------------
 * links
 * ------------------------------------------------------------------- */

/* mlk_parse reads records, whose rows are known. */
static void
mlk_parse(ConcordInbound *inbound, InbItem **items, int n)
{
	for (int i = 0; i < n; i++)
	{
		InbItem    *item = items[i];
		const ConcordInboundRecord *record = item->record;

		memset(item, 0, sizeof(*item));
		item->record = record;
		if (inbound->shared)
			concord_inbound_parse(inbound, item);
		else
			concord_inbound_identify(inbound, item);
		item->local_key = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
															 CStringGetDatum(record->local_key)));
		concord_inbound_key_datums(inbound, item->local_key, item->key);
		item->keyed = true;
	}
	if (inbound->shared)
		concord_inbound_apply_run(inbound, items, n);
}

/* mlk_taken leaves a record to a person whose other side is somebody else's. */
static void
mlk_taken(InbItem *item, char *why)
{
	item->state = INB_PARKED;
	item->rule = "duplicate";
	item->why = why;
}

/* mlk_by_id looks whether records were linked meanwhile. */
static void
mlk_by_id(ConcordInbound *inbound, InbItem **items, int n)
{
	if (!inbound->assigned)
		return;
	concord_inbound_links_by_id(inbound, items, n);
	for (int i = 0; i < n; i++)
	{
		InbItem    *item = items[i];

		if (!item->by_link)
			continue;
		if (compareJsonbContainers(&item->local_key->root, &item->link.local_key->root) == 0)
			item->state = INB_SAME;
		else
			mlk_taken(item, psprintf("the record is linked with row %s already",
									 mlk_key_text(item->link.local_key)));
	}
}

/* mlk_by_key looks whether rows were. */
static void
mlk_by_key(ConcordInbound *inbound, InbItem **items, int n)
{
	concord_inbound_links_by_key(inbound, items, n);
	for (int i = 0; i < n; i++)
	{
		InbItem    *item = items[i];

		if (item->state != INB_OPEN || !item->link.stored || !item->link.present)
			continue;
		if (!inbound->assigned || item->link.remote_id == NULL ||
			strcmp(item->link.remote_id, item->remote_id) == 0)
			item->state = INB_SAME;
		else
			mlk_taken(item, psprintf("row %s is linked with the id %s already",
									 mlk_key_text(item->local_key), item->link.remote_id));
	}
}

/* mlk_rows reads the rows and leaves out those that are gone. */
static int
mlk_rows(ConcordInbound *inbound, InbItem **items, int n, InbItem **left)
{
	int			nopen = 0;
	int			nleft = 0;

	for (int i = 0; i < n; i++)
		if (items[i]->state == INB_OPEN)
			left[nopen++] = items[i];
	concord_inbound_read(inbound, left, nopen, true, false);
	for (int i = 0; i < nopen; i++)
	{
		if (left[i]->found)
			left[nleft++] = left[i];
		else
			left[i]->state = INB_SAME;
	}
	return nleft;
}

/* mlk_link links records with their rows. */
static void
mlk_link(ConcordInbound *inbound, InbItem **items, int n)
{
	InbItem   **left = palloc(sizeof(InbItem *) * n);
	int			nleft;

	mlk_parse(inbound, items, n);
	mlk_by_id(inbound, items, n);
	mlk_by_key(inbound, items, n);
	nleft = mlk_rows(inbound, items, n, left);
	for (int i = 0; i < nleft; i++)
		left[i]->outcome = 'l';
	if (inbound->sends)
	{
		concord_inbound_agree_before(inbound, left, nleft);
		concord_inbound_agree_after(inbound, left, nleft);
	}
	for (int i = 0; i < nleft; i++)
	{
		left[i]->relink = true;
		left[i]->keep_hash = false;
		/* what the row's older events would say is there, or is sent now */
		left[i]->covers = left[i]->set_hash || ((MlkRecord *) left[i])->sent;
		if (inbound->shared)
			concord_inbound_base(inbound, left[i]);
	}
	inbound->books = true;
	concord_inbound_links_write(inbound, left, nleft);
	for (int i = 0; i < nleft; i++)
		left[i]->state = INB_DONE;
	concord_inbound_inbox_settle(inbound, items, n);
	inbound->books = false;
}

/* mlk_emit has a row sent. */
static void
mlk_emit(ConcordMatch *match, Jsonb *key)
{
	concord_inbound_send_row(match->mapping, key);
	match->counts.sent++;
}

/* mlk_turned notes that a match turned out to be something else. */
static void
mlk_turned(ConcordMatch *match, int32 n, MatVerdict verdict)
{
	match->verdicts[n] = verdict + 1;
}

/* mlk_flush links a batch. */
static void
mlk_flush(MlkRun *run)
{
	ConcordMatch *match = run->match;
	ConcordInbound *inbound = match->inbound;
	MemoryContext old = MemoryContextSwitchTo(run->context);

	if (run->nitems > 0)
	{
		concord_inbound_range(inbound, mlk_link, run->items, run->nitems);
		concord_inbound_log_write(inbound, run->items, run->nitems);
	}
	for (int i = 0; i < run->nitems; i++)
	{
		InbItem    *item = run->items[i];
		int32		n = ((MlkRecord *) item)->n;

		if (item->state == INB_DONE)
		{
			match->counts.linked++;
			if (((MlkRecord *) item)->sent && !item->set_hash)
				mlk_emit(match, item->local_key);
		}
		else if (item->state != INB_SAME)
			mlk_turned(match, n, item->why != NULL ? MAT_DUPLICATE : MAT_UNUSABLE);
		else
			mlk_turned(match, n, item->link.stored && item->link.present ?
					   MAT_LINKED : MAT_REMOTE_ONLY);
	}
	run->nitems = 0;
	MemoryContextSwitchTo(old);
	MemoryContextReset(run->context);
	CHECK_FOR_INTERRUPTS();
}

/* mlk_take_match takes a pair that is to be linked. */
static void
mlk_take_match(ConcordMatch *match, HeapTuple tuple, TupleDesc desc, void *arg)
{
	MlkRun	   *run = arg;
	MemoryContext old = MemoryContextSwitchTo(run->context);
	MlkRecord  *record = mlk_add(run, mlk_number(tuple, desc, 1));

	record->record.local_key = mlk_text(tuple, desc, 2);
	MemoryContextSwitchTo(old);
	if (run->nitems == MAT_BATCH)
		mlk_flush(run);
}

#define MLK_FROM	" FROM \"concord.pairs\" p"
#define MLK_ROWS	" \"concord.rows\" t ON t.\"concord.m\" = p.m"

/* mlk_links links what matches. */
static void
mlk_links(ConcordMatch *match, bool send)
{
	MlkRun		run;

	mlk_open(&run, match, send);
	concord_match_query(match, psprintf("SELECT p.n, t.\"concord.key\"::text" MLK_FROM
										" JOIN" MLK_ROWS " WHERE p.verdict = %d ORDER BY p.n",
										MAT_MATCH),
						mlk_take_match, &run);
	mlk_flush(&run);
	mlk_close(&run);
}

/* ---------------------------------------------------------------------
 * what a person must decide
 * ------------------------------------------------------------------- */

/* mlk_why says what is to be decided about a record. */
static char *
mlk_why(const MlkRun *run, const char *rule)
{
	switch (run->verdict)
	{
		case MAT_AMBIGUOUS:
			return psprintf("may be %s, by %s", run->rows.data, rule);
		case MAT_DUPLICATE:
			if (run->nrows == 0)
				return pstrdup("another record has the same id");
			return psprintf("is %s, by %s, which is another record's, too",
							run->rows.data, rule);
		default:
			return pstrdup("it cannot be linked");
	}
}

/* mlk_park stores records that a person must look at. */
static void
mlk_park(MlkRun *run)
{
	MemoryContext old = MemoryContextSwitchTo(run->context);

	if (run->nitems > 0)
		concord_inbound_inbox_settle(run->match->inbound, run->items, run->nitems);
	run->nitems = 0;
	MemoryContextSwitchTo(old);
	MemoryContextReset(run->context);
}

/* mlk_row adds a row that a record may be. */
static void
mlk_row(MlkRun *run, const char *key)
{
	if (key == NULL)
		return;
	run->nrows++;
	if (run->nrows <= MLK_ROWS_SHOWN)
		appendStringInfo(&run->rows, "%s%s", run->nrows == 1 ? "row " : " or row ", key);
	else if (run->nrows == MLK_ROWS_SHOWN + 1)
		appendStringInfoString(&run->rows, " or others");
}

/* mlk_take_contested takes a pair that is a person's to decide. */
static void
mlk_take_contested(ConcordMatch *match, HeapTuple tuple, TupleDesc desc, void *arg)
{
	MlkRun	   *run = arg;
	int32		n = mlk_number(tuple, desc, 1);
	const char *rule = concord_match_rule_name(match, mlk_number(tuple, desc, 2));
	MatVerdict	verdict = mlk_number(tuple, desc, 3);
	bool		own = match->remote.state[n] == MAT_SETTLED;
	MemoryContext old;
	MlkRecord  *record = run->nitems == 0 ? NULL :
		(MlkRecord *) run->items[run->nitems - 1];

	if (record == NULL || record->n != n || own)
	{
		if (run->nitems == MAT_BATCH)
			mlk_park(run);
		old = MemoryContextSwitchTo(run->context);
		record = mlk_add(run, n);
		record->item.state = INB_PARKED;
		record->item.remote_id = mlk_text(tuple, desc, 5);
		record->item.rule = verdict == MAT_AMBIGUOUS ? "ambiguous" :
			verdict == MAT_DUPLICATE ? "duplicate" : "key";
		record->item.why = mlk_body(run, 2);
		if (own && record->item.why == NULL)
		{
			/* the record has its row; this one seems to be the same */
			char	   *key = mlk_text(tuple, desc, 4);

			record->item.why = psprintf("row %s is the record, too, by %s, which is another row's",
										key, rule);
			record->item.local_key = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
																		CStringGetDatum(key)));
		}
		run->verdict = verdict;
		run->nrows = 0;
		initStringInfo(&run->rows);
	}
	else
		old = MemoryContextSwitchTo(run->context);
	if (!own && (record->item.why == NULL || run->nrows > 0))
	{
		mlk_row(run, mlk_text(tuple, desc, 4));
		record->item.why = mlk_why(run, rule);
	}
	MemoryContextSwitchTo(old);
}

/* mlk_forget takes what the last run left to a person out of the inbox. */
static void
mlk_forget(const ConcordMapping *mapping)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(mapping->id)};

	if (SPI_execute_with_args("DELETE FROM concord.inbox_item WHERE mapping = $1"
							  " AND origin = 'match' AND state = 'parked'",
							  1, types, values, NULL, false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not write concord.inbox_item");
}

/* mlk_contested parks what a person must decide. */
static void
mlk_contested(ConcordMatch *match)
{
	MlkRun		run;

	mlk_open(&run, match, false);
	concord_match_query(match,
						psprintf("SELECT p.n, p.rule, p.verdict, t.\"concord.key\"::text,"
								 " r.\"concord.id\"" MLK_FROM
								 " LEFT JOIN" MLK_ROWS
								 " JOIN \"concord.records\" r ON r.\"concord.n\" = p.n"
								 " WHERE p.verdict IN (%d, %d, %d) ORDER BY p.n, p.m",
								 MAT_AMBIGUOUS, MAT_DUPLICATE, MAT_UNUSABLE),
						mlk_take_contested, &run);
	mlk_park(&run);
	mlk_close(&run);
}

/* mlk_take_row has a row sent that is only here. */
static void
mlk_take_row(ConcordMatch *match, HeapTuple tuple, TupleDesc desc, void *arg)
{
	bool		isnull;

	mlk_emit(match, DatumGetJsonbP(SPI_getbinval(tuple, desc, 1, &isnull)));
}

/* mlk_send_rows has all rows sent that are only here. */
static void
mlk_send_rows(ConcordMatch *match)
{
	concord_match_query(match, psprintf("SELECT t.\"concord.key\"" MLK_FROM
										" JOIN" MLK_ROWS " WHERE p.verdict = %d ORDER BY p.m",
										MAT_LOCAL_ONLY),
						mlk_take_row, NULL);
}

/* concord_match_link does what comes of a comparison. */
void
concord_match_link(ConcordMatch *match, bool send)
{
	ConcordCatalogScope scope;

	concord_inbound_lock(match->mapping);
	PushActiveSnapshot(GetLatestSnapshot());
	match->verdicts = MemoryContextAllocExtended(match->context, Max(match->remote.n, 1),
												 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	concord_catalog_enter(&scope);
	mlk_forget(match->mapping);
	mlk_contested(match);
	mlk_links(match, send);
	if (send && match->inbound->sends)
		mlk_send_rows(match);
	concord_catalog_leave(&scope);
	PopActiveSnapshot();
}
