/*-------------------------------------------------------------------------
 *
 * reconcile_sides.c
 *	  Rows and records are read once, and what they say becomes hashes.
 *
 * Our rows first, in one snapshot, as the mapping's definer, mapped as they
 * would be for a delivery; then the system's list.  A record's text is put into
 * a temporary file: those that differ are read again from there.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/reconcile.h"

#include "base/json.h"
#include "connector/protocols.h"
#include "connector/receiving.h"
#include "live/peer.h"
#include "mapping/scan.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* Where a record begins in the temporary file: file and offset in it. */
#define SID_FILE_SHIFT	40

/* What stands before a record there. */
typedef struct SidHead
{
	TimestampTz changed;
	int32		etag;			/* bytes; -1: none */
	int32		record;
} SidHead;

/* concord_reconcile_fields decides how each field is compared. */
void
concord_reconcile_fields(Reconcile *reconcile)
{
	ConcordInbound *inbound = reconcile->inbound;
	ListCell   *lc;
	int			n = 0;

	reconcile->nfields = list_length(reconcile->mapping->fields);
	reconcile->fields = palloc0(sizeof(RcnField) * Max(reconcile->nfields, 1));
	foreach(lc, reconcile->mapping->fields)
	{
		RcnField   *f = &reconcile->fields[n++];

		f->field = lfirst(lc);
		f->column = f->mapped = -1;
		for (int c = 0; c < inbound->ncolumns; c++)
			if (inbound->columns[c].field == f->field)
				f->column = c;
	}
}

/* sid_compares says whether what is sent in a field is compared. */
static bool
sid_compares(const Reconcile *reconcile, const RcnField *f)
{
	return f->column < 0 && reconcile->sends && f->field->pushed &&
		f->field->on != CONCORD_ON_CREATE && f->field->children == NULL;
}

/* sid_places finds fields among those that are sent. */
static void
sid_places(Reconcile *reconcile, const ConcordMapped *mapped)
{
	for (int i = 0; i < reconcile->nfields; i++)
	{
		RcnField   *f = &reconcile->fields[i];

		if (f->mapped >= 0 || !sid_compares(reconcile, f))
			continue;
		for (int m = 0; m < mapped->nfields; m++)
		{
			if (list_nth(mapped->field_defs, m) != f->field)
				continue;
			f->mapped = m;
			f->type = mapped->fields[m].typid;
		}
	}
}

/* ---------- our rows ---------- */

/* sid_query writes the query that reads the rows, in the form of concord_inbound_read. */
static char *
sid_query(Reconcile *reconcile)
{
	ConcordInbound *inbound = reconcile->inbound;
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "SELECT 0, %s.xmin",
					 quote_identifier(get_rel_name(reconcile->mapping->source)));
	for (int i = 0; i < inbound->nimage; i++)
		appendStringInfo(&buf, ", %s", quote_identifier(inbound->image[i].name));
	appendStringInfo(&buf, " FROM %s", inbound->table);
	if (reconcile->filter != NULL)
		appendStringInfo(&buf, " WHERE (%s\n)", reconcile->filter);
	return buf.data;
}

/* sid_open begins to read, with the snapshot that everything is measured by. */
static Portal
sid_open(Reconcile *reconcile)
{
	ConcordEnvironment environment;
	SPIPlanPtr	plan;
	Portal		portal;

	concord_environment_enter(&environment, reconcile->mapping->definer,
							  reconcile->mapping->search_path);
	concord_inbound_refresh(reconcile->inbound);
	concord_reconcile_fields(reconcile);
	if (reconcile->filter != NULL)
		concord_scan_check_filter(reconcile->mapping, reconcile->filter);
	plan = SPI_prepare(sid_query(reconcile), 0, NULL);
	if (plan == NULL)
		elog(ERROR, "could not prepare reading the rows of mapping \"%s\"",
			 reconcile->mapping->name);
	PushActiveSnapshot(reconcile->began);
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	PopActiveSnapshot();
	concord_environment_leave(&environment);
	return portal;
}

/* sid_column finds a column among those that were read. */
static int
sid_column(ConcordInbound *inbound, AttrNumber attnum)
{
	for (int i = 0; i < inbound->nimage; i++)
		if (inbound->image[i].attnum == attnum)
			return i + 3;
	elog(ERROR, "a column is not among those of its table");
	return 0;
}

/* sid_row takes a row. */
static void
sid_row(Reconcile *reconcile, RcnEntry *entry, HeapTuple tuple, TupleDesc desc)
{
	ConcordInbound *inbound = reconcile->inbound;
	bool		isnull;

	entry->item.record = &entry->record;
	entry->reconcile = reconcile;
	entry->item.key = palloc(sizeof(Datum) * inbound->nkey);
	entry->item.keyed = true;
	for (int k = 0; k < inbound->nkey; k++)
	{
		entry->item.key[k] = SPI_getbinval(tuple, desc,
										   sid_column(inbound, inbound->key[k].attnum), &isnull);
		entry->item.keyed &= !isnull;
	}
	if (!entry->item.keyed)
		return;
	entry->item.local_key = concord_inbound_local_key(inbound, entry->item.key);
	entry->event = concord_inbound_row_event(inbound, tuple, desc);
	entry->ours = palloc0(sizeof(char *) * (inbound->ncolumns + 1));
	for (int c = 0; c < inbound->ncolumns; c++)
	{
		Datum		value = SPI_getbinval(tuple, desc,
										  sid_column(inbound, inbound->columns[c].attnum), &isnull);

		if (!isnull)
			entry->ours[c] = concord_inbound_text(&inbound->columns[c], value);
	}
}

/* sid_fetch reads some rows in the batch's context; returns how many, 0 at the end. */
static int
sid_fetch(Reconcile *reconcile, Portal portal, RcnEntry *entries)
{
	ConcordEnvironment environment;
	int			n = 0;
	uint64		read;

	concord_environment_enter(&environment, reconcile->mapping->definer,
							  reconcile->mapping->search_path);
	SPI_cursor_fetch(portal, true, RCN_ROWS);
	MemoryContextSwitchTo(reconcile->batch);
	read = SPI_processed;
	for (uint64 i = 0; i < read; i++)
	{
		sid_row(reconcile, &entries[n], SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		/* a row without a key is no record's */
		if (entries[n].item.keyed)
			n++;
	}
	SPI_freetuptable(SPI_tuptable);
	concord_environment_leave(&environment);
	MemoryContextSwitchTo(reconcile->batch);
	concord_progress_add(reconcile->progress, CONCORD_PROGRESS_LOCAL, read);
	return read == 0 ? -1 : n;
}

/* What is evaluated. */
typedef struct SidRun
{
	Reconcile  *reconcile;
	const ConcordEvent **events;
	int			n;
	ConcordMapped *mapped;
} SidRun;

/* sid_evaluate maps rows as deliveries are. */
static void
sid_evaluate(void *arg)
{
	SidRun	   *run = arg;

	PushActiveSnapshot(GetLatestSnapshot());
	run->mapped = concord_mapping_evaluate(run->reconcile->compiled, run->events, run->n,
										   CurrentMemoryContext);
	PopActiveSnapshot();
}

/* sid_map says what would be sent of rows. */
static ConcordMapped *
sid_map(Reconcile *reconcile, RcnEntry *entries, int n)
{
	SidRun		run = {reconcile, palloc(sizeof(ConcordEvent *) * n), n};

	for (int i = 0; i < n; i++)
		run.events[i] = entries[i].event;
	if (reconcile->compiled == NULL)
		reconcile->compiled = concord_mapping_compile(reconcile->mapping, reconcile->context);
	(void) concord_environment_dry_run(sid_evaluate, &run);
	return run.mapped;
}

/* sid_remote_key writes the id that a row's key is at the system. */
static char *
sid_remote_key(const Reconcile *reconcile, const ConcordMapped *mapped)
{
	int			nkey = list_length(reconcile->mapping->key);
	StringInfoData buf;

	if (mapped->verdict != CONCORD_SEND || mapped->keys == NULL)
		return NULL;
	initStringInfo(&buf);
	for (int i = 0; i < nkey; i++)
		appendStringInfo(&buf, "%s%s", i > 0 ? "," : "",
						 mapped->keys[i].isnull ? "" : concord_value_plain(&mapped->keys[i]));
	return buf.data;
}

/* sid_identity says which record a row belongs to. */
static void
sid_identity(const Reconcile *reconcile, RcnEntry *entry, const ConcordMapped *mapped, RcnHalf *half)
{
	const ConcordInbound *inbound = reconcile->inbound;
	const InbLink *link = &entry->item.link;
	char	   *id = link->stored && link->present ? link->remote_id : NULL;

	if (inbound->assigned || inbound->key_direct)
		half->id = id;
	else
	{
		half->id = sid_remote_key(reconcile, mapped);
		if (half->id == NULL)
			half->id = id;
	}
	if (half->id != NULL && (inbound->assigned || !inbound->key_direct))
		concord_reconcile_identity(&half->identity, NULL, half->id);
	else
		concord_reconcile_identity(&half->identity, entry->item.local_key, NULL);
}

/* sid_expect says what is expected of a row's record. */
static void
sid_expect(const Reconcile *reconcile, const ConcordMapped *mapped, RcnHalf *half)
{
	switch (mapped->verdict)
	{
		case CONCORD_SEND:
			half->expect = RCN_EXPECTED;
			break;
		case CONCORD_SKIP:
			half->expect = reconcile->sends ? RCN_NOT_EXPECTED : RCN_EXPECTED;
			break;
		case CONCORD_WAIT:
			half->expect = RCN_WAITS;
			break;
		case CONCORD_FAIL:
			half->expect = RCN_FAILS;
			half->problem = psprintf("%s: %s", mapped->rule ? mapped->rule : "mapping",
									 mapped->error ? mapped->error : "");
			break;
	}
}

/* concord_reconcile_row_values makes what stands for a row's values. */
void
concord_reconcile_row_values(const Reconcile *reconcile, RcnEntry *entry,
							 const ConcordMapped *mapped, uint64 *values)
{
	bool		sent = mapped != NULL && mapped->verdict == CONCORD_SEND &&
		mapped->action == CONCORD_ACTION_UPSERT && !mapped->deleting;

	for (int i = 0; i < reconcile->nfields; i++)
	{
		const RcnField *f = &reconcile->fields[i];
		const ConcordValue *value;

		values[i] = RCN_ABSENT;
		if (f->column >= 0)
			values[i] = concord_reconcile_ours(reconcile->inbound->columns[f->column].type,
											   entry->ours[f->column]);
		if (f->mapped < 0 || !sent || (mapped->skip != NULL && mapped->skip[f->mapped]))
			continue;
		value = &mapped->fields[f->mapped];
		if (!value->isnull)
			values[i] = concord_reconcile_ours(f->type, value->text);
		else if (!reconcile->mapping->options.omit_nulls)
			values[i] = RCN_NULL;
	}
}

/* concord_reconcile_read_rows reads our side. */
void
concord_reconcile_read_rows(Reconcile *reconcile)
{
	Portal		portal = sid_open(reconcile);
	RcnEntry   *entries;
	int			n;

	for (;;)
	{
		MemoryContext old = MemoryContextSwitchTo(reconcile->batch);
		ConcordMapped *mapped = NULL;
		InbItem   **items;

		entries = palloc0(sizeof(RcnEntry) * RCN_ROWS);
		n = sid_fetch(reconcile, portal, entries);
		if (n > 0)
		{
			items = palloc(sizeof(InbItem *) * n);
			for (int i = 0; i < n; i++)
				items[i] = &entries[i].item;
			mapped = sid_map(reconcile, entries, n);
			if (!reconcile->inbound->key_direct || reconcile->inbound->assigned)
				concord_inbound_links_by_key(reconcile->inbound, items, n);
		}
		for (int i = 0; i < n; i++)
		{
			RcnHalf		half = {.remote = false};

			if (mapped[i].verdict == CONCORD_SEND)
				sid_places(reconcile, &mapped[i]);
			half.values = palloc(sizeof(uint64) * (reconcile->nfields + 1));
			concord_reconcile_row_values(reconcile, &entries[i], &mapped[i], half.values);
			sid_identity(reconcile, &entries[i], &mapped[i], &half);
			sid_expect(reconcile, &mapped[i], &half);
			half.key = JsonbToCString(NULL, &entries[i].item.local_key->root,
									  VARSIZE(entries[i].item.local_key));
			concord_reconcile_sort_put(reconcile, &half);
		}
		MemoryContextSwitchTo(old);
		MemoryContextReset(reconcile->batch);
		CHECK_FOR_INTERRUPTS();
		if (n < 0)
			break;
	}
	SPI_cursor_close(portal);
}

/* ---------- their records ---------- */

/* sid_member gives a member of a record as text. */
static char *
sid_member(ConcordSlice record, const char *path)
{
	ConcordSlice slice = concord_json_find(record, path);

	return slice.start == NULL ? NULL : concord_inbound_member_text(slice);
}

/* sid_put writes a record to the temporary file. */
static int64
sid_put(Reconcile *reconcile, const RcnEntry *entry)
{
	SidHead		head = {.changed = entry->record.remote_changed,.etag = -1};
	int			file;
	off_t		offset;

	BufFileTell(reconcile->records, &file, &offset);
	head.record = strlen(entry->record.record);
	if (entry->record.etag != NULL)
		head.etag = strlen(entry->record.etag);
	BufFileWrite(reconcile->records, &head, sizeof(head));
	if (head.etag > 0)
		BufFileWrite(reconcile->records, unconstify(char *, entry->record.etag), head.etag);
	BufFileWrite(reconcile->records, unconstify(char *, entry->record.record), head.record);
	return ((int64) file << SID_FILE_SHIFT) | offset;
}

/* sid_get reads bytes of it. */
static char *
sid_get(Reconcile *reconcile, int32 len)
{
	char	   *bytes = palloc(len + 1);

	if (BufFileRead(reconcile->records, bytes, len) != len)
		elog(ERROR, "could not read a record from a temporary file");
	bytes[len] = '\0';
	return bytes;
}

/* concord_reconcile_fetch reads a record again. */
void
concord_reconcile_fetch(Reconcile *reconcile, RcnEntry *entry)
{
	int64		at = entry->remote->at;
	SidHead		head;

	if (BufFileSeek(reconcile->records, (int) (at >> SID_FILE_SHIFT),
					at & ((INT64CONST(1) << SID_FILE_SHIFT) - 1), SEEK_SET) != 0 ||
		BufFileRead(reconcile->records, &head, sizeof(head)) != sizeof(head))
		elog(ERROR, "could not read a record from a temporary file");
	entry->record.remote_changed = head.changed;
	if (head.etag >= 0)
		entry->record.etag = sid_get(reconcile, head.etag);
	entry->record.record = sid_get(reconcile, head.record);
}

/* concord_reconcile_record_values makes what stands for a record's values. */
void
concord_reconcile_record_values(RcnEntry *entry)
{
	const Reconcile *reconcile = entry->reconcile;
	const InbItem *item = &entry->item;

	for (int i = 0; i < reconcile->nfields; i++)
	{
		const RcnField *f = &reconcile->fields[i];
		InbColumn  *column = f->column < 0 ? NULL : &reconcile->inbound->columns[f->column];

		entry->values[i] = RCN_ABSENT;
		if (column != NULL)
		{
			if (item->values == NULL)
				entry->values[i] = RCN_BAD;
			else if (item->given[f->column])
				entry->values[i] = concord_reconcile_ours(column->type, item->nulls[f->column] ? NULL :
														  concord_inbound_text(column, item->values[f->column]));
		}
		else if (OidIsValid(f->type) && item->slices != NULL)
			entry->values[i] = concord_reconcile_theirs(f->type, item->slices[i]);
	}
}

/* sid_parse is the work of reading records. */
static void
sid_parse(ConcordInbound *inbound, InbItem **items, int n)
{
	for (int i = 0; i < n; i++)
		concord_inbound_parse(inbound, items[i]);
	concord_inbound_apply_run(inbound, items, n);
	for (int i = 0; i < n; i++)
		concord_reconcile_record_values((RcnEntry *) items[i]);
}

/* sid_again makes an entry as it was before it was read. */
static void
sid_again(RcnEntry *entry)
{
	memset(&entry->item, 0, sizeof(entry->item));
	entry->item.record = &entry->record;
}

/* sid_bad reads a record that has a value that is none: its key will do. */
static void
sid_bad(Reconcile *reconcile, RcnEntry *entry, ErrorData *error)
{
	InbItem    *item = &entry->item;

	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
		ReThrowError(error);
	sid_again(entry);
	entry->record.op = CONCORD_INBOUND_DELETE;
	entry->problem = error->message;
	if (concord_inbound_try(reconcile->inbound, sid_parse, &item, 1) != NULL)
		sid_again(entry);
	entry->record.op = CONCORD_INBOUND_UPSERT;
}

/* sid_half puts a record where it can be compared. */
static void
sid_half(Reconcile *reconcile, RcnEntry *entry)
{
	RcnHalf		half = {.remote = true,.values = entry->values,.problem = entry->problem};
	const InbItem *item = &entry->item;
	static const char *const nothing = "concord: a record without a key";

	half.at = sid_put(reconcile, entry);
	half.id = item->remote_id;
	if (item->local_key != NULL)
		half.key = JsonbToCString(NULL, &item->local_key->root, VARSIZE(item->local_key));
	if (reconcile->inbound->key_direct && !reconcile->inbound->assigned && item->local_key != NULL)
		concord_reconcile_identity(&half.identity, item->local_key, NULL);
	else
		concord_reconcile_identity(&half.identity, NULL, item->remote_id ? item->remote_id :
								   psprintf("%s " INT64_FORMAT, nothing, half.at));
	for (int i = 0; i < reconcile->nfields; i++)
		reconcile->fields[i].seen |= item->slices != NULL && item->slices[i].start != NULL;
	concord_reconcile_sort_put(reconcile, &half);
}

/* sid_records takes records. */
static void
sid_records(Reconcile *reconcile, RcnEntry *entries, int n)
{
	InbItem   **items = palloc(sizeof(InbItem *) * n);

	for (int i = 0; i < n; i++)
	{
		items[i] = &entries[i].item;
		sid_again(&entries[i]);
	}
	if (concord_inbound_try(reconcile->inbound, sid_parse, items, n) != NULL)
	{
		for (int i = 0; i < n; i++)
		{
			ErrorData  *error;

			sid_again(&entries[i]);
			error = concord_inbound_try(reconcile->inbound, sid_parse, &items[i], 1);
			if (error != NULL)
				sid_bad(reconcile, &entries[i], error);
		}
	}
	for (int i = 0; i < n; i++)
		sid_half(reconcile, &entries[i]);
	concord_progress_add(reconcile->progress, CONCORD_PROGRESS_REMOTE, n);
}

/* sid_record makes an entry of a record. */
static void
sid_record(Reconcile *reconcile, RcnEntry *entry, ConcordSlice slice)
{
	char	   *when;

	memset(entry, 0, sizeof(*entry));
	entry->reconcile = reconcile;
	entry->record.op = CONCORD_INBOUND_UPSERT;
	entry->record.record = pg_any_to_server(pnstrdup(slice.start, slice.len),
											(int) slice.len, PG_UTF8);
	entry->record.etag = sid_member(slice, "@odata.etag");
	if (entry->record.etag == NULL)
		entry->record.etag = sid_member(slice, "__metadata.etag");
	if (reconcile->changed != NULL)
	{
		when = sid_member(slice, reconcile->changed);
		if (when == NULL || !concord_remote_time(when, &entry->record.remote_changed))
			entry->record.remote_changed = 0;
	}
	entry->values = palloc0(sizeof(uint64) * (reconcile->nfields + 1));
}

/* concord_reconcile_read_records reads their side. */
void
concord_reconcile_read_records(Reconcile *reconcile)
{
	const ConcordReading *reading = concord_connector_reading(reconcile->peer->server->connector);
	MemoryContext old;
	RcnEntry   *entries;
	ConcordSlice slice;
	int			page = 0;
	int			n = 0;

	reconcile->query.limit = -1;
	reconcile->query.url = concord_reader_url(reconcile->peer->server, &reconcile->table, reading->path);
	reconcile->query.query = "";
	concord_reader_start(reconcile->reader, &reconcile->query);
	concord_reader_eager(reconcile->reader, true);
	entries = palloc(sizeof(RcnEntry) * RCN_ROWS);
	for (;;)
	{
		bool		more = concord_reader_next(reconcile->reader, &slice, &page);

		old = MemoryContextSwitchTo(reconcile->batch);
		if (more)
			sid_record(reconcile, &entries[n++], slice);
		if (n == RCN_ROWS || (!more && n > 0))
		{
			sid_records(reconcile, entries, n);
			MemoryContextReset(reconcile->batch);
			n = 0;
		}
		MemoryContextSwitchTo(old);
		CHECK_FOR_INTERRUPTS();
		if (!more)
			break;
	}
	concord_reader_stop(reconcile->reader);
	pfree(entries);
}
