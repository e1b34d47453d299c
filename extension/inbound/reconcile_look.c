/*-------------------------------------------------------------------------
 *
 * reconcile_look.c
 *	  What seems to differ is looked at again before it is told.
 *
 * The row is read anew.  It is no difference where it has changed since we
 * began, where something of it is to be delivered or to be applied, or where
 * something was delivered meanwhile: the record may have been read before that.
 * What is left was constant here from the beginning to the end, with nothing on
 * its way, and so differed when the record was read.
 *
 * A list that is read in pages may leave out what is there, when others delete
 * records meanwhile: rows without a record are looked up by themselves, up to
 * RCN_LOOKS.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/reconcile.h"

#include "access/transam.h"
#include "access/xact.h"
#include "base/json.h"
#include "live/live.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

/* lok_prepare makes a record of an entry. */
static void
lok_prepare(Reconcile *reconcile, RcnEntry *entry)
{
	memset(&entry->item, 0, sizeof(entry->item));
	memset(&entry->record, 0, sizeof(entry->record));
	entry->item.record = &entry->record;
	entry->record.read_at = reconcile->began_at;
	entry->record.op = CONCORD_INBOUND_DELETE;
	if (entry->local != NULL)
		entry->record.local_key = entry->local->key;
	if (entry->remote == NULL)
		return;
	if (entry->remote->problem != NULL)
	{
		entry->problem = entry->remote->problem;
		entry->skip = entry->local == NULL;
		return;
	}
	entry->record.op = CONCORD_INBOUND_UPSERT;
	concord_reconcile_fetch(reconcile, entry);
}

/* lok_texts writes both sides' values of columns. */
static void
lok_texts(ConcordInbound *inbound, RcnEntry *entry)
{
	InbItem    *item = &entry->item;

	entry->ours = palloc0(sizeof(char *) * (inbound->ncolumns + 1));
	entry->theirs = palloc0(sizeof(char *) * (inbound->ncolumns + 1));
	for (int c = 0; c < inbound->ncolumns; c++)
	{
		if (item->found && !item->ours_null[c])
			entry->ours[c] = concord_inbound_text(&inbound->columns[c], item->ours[c]);
		if (item->values != NULL && item->given[c] && !item->nulls[c])
			entry->theirs[c] = concord_inbound_text(&inbound->columns[c], item->values[c]);
	}
}

/* lok_decide says what would come of shared fields. */
static void
lok_decide(ConcordInbound *inbound, RcnEntry *entry)
{
	InbItem    *item = &entry->item;
	ListCell   *lc;

	if (!inbound->shared || !item->found || item->values == NULL)
		return;
	concord_inbound_decide(inbound, item);
	entry->verdicts = palloc0(sizeof(InbVerdict) * (inbound->ncolumns + 1));
	for (int c = 0; c < inbound->ncolumns; c++)
	{
		const InbColumn *column = &inbound->columns[c];
		bool		ours = item->nulls[c] == item->ours_null[c] &&
			(item->nulls[c] || datum_image_eq(item->values[c], item->ours[c],
											  column->typbyval, column->typlen));

		entry->verdicts[c] = ours ? INB_KEEP : INB_TAKE;
		foreach(lc, item->decisions)
		{
			const InbDecision *decision = lfirst(lc);

			if (decision->column == column)
				entry->verdicts[c] = decision->verdict;
		}
	}
}

/* lok_work reads rows again, and what they would be sent as. */
static void
lok_work(ConcordInbound *inbound, InbItem **items, int n)
{
	InbItem   **keyed = palloc(sizeof(InbItem *) * n);
	int			nkeyed = 0;

	for (int i = 0; i < n; i++)
		concord_inbound_parse(inbound, items[i]);
	concord_inbound_apply_run(inbound, items, n);
	concord_inbound_find(inbound, items, n);
	for (int i = 0; i < n; i++)
		if (items[i]->keyed)
			keyed[nkeyed++] = items[i];
	concord_inbound_read(inbound, keyed, nkeyed, false, false);
	concord_inbound_agree_before(inbound, keyed, nkeyed);
	for (int i = 0; i < n; i++)
	{
		RcnEntry   *entry = (RcnEntry *) items[i];

		lok_texts(inbound, entry);
		entry->values = palloc0(sizeof(uint64) * (entry->reconcile->nfields + 1));
		entry->row_values = palloc0(sizeof(uint64) * (entry->reconcile->nfields + 1));
		if (entry->record.op == CONCORD_INBOUND_UPSERT)
			concord_reconcile_record_values(entry);
		concord_reconcile_row_values(entry->reconcile, entry, items[i]->was, entry->row_values);
		lok_decide(inbound, entry);
	}
}

/* lok_read does so for entries, one by one where that raises. */
static void
lok_read(Reconcile *reconcile, RcnEntry **entries, int n)
{
	InbItem   **items = palloc(sizeof(InbItem *) * n);
	int			nitems = 0;

	for (int i = 0; i < n; i++)
	{
		lok_prepare(reconcile, entries[i]);
		if (!entries[i]->skip)
			items[nitems++] = &entries[i]->item;
	}
	if (nitems == 0 ||
		concord_inbound_try(reconcile->inbound, lok_work, items, nitems) == NULL)
		return;
	for (int i = 0; i < nitems; i++)
	{
		RcnEntry   *entry = (RcnEntry *) items[i];
		ErrorData  *error;

		CHECK_FOR_INTERRUPTS();
		lok_prepare(reconcile, entry);
		error = concord_inbound_try(reconcile->inbound, lok_work, &items[i], 1);
		if (error == NULL)
			continue;
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION ||
			ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INSUFFICIENT_RESOURCES)
			ReThrowError(error);
		entry->problem = error->message;
		entry->skip = true;
	}
}

/* lok_new says whether a row was written after we began. */
static bool
lok_new(const Reconcile *reconcile, TransactionId xmin)
{
	if (TransactionIdIsCurrentTransactionId(xmin))
		return true;
	/* of a row that is frozen long since, xmin may seem to be to come */
	return TransactionIdIsNormal(xmin) && XidInMVCCSnapshot(xmin, reconcile->began) &&
		TransactionIdPrecedes(xmin, ReadNextTransactionId());
}

/* lok_changing says whether something of an entry is on its way, or was just now. */
static bool
lok_changing(const Reconcile *reconcile, const RcnEntry *entry)
{
	const InbItem *item = &entry->item;

	if (entry->local != NULL && !item->found)
		return true;
	if (item->found && lok_new(reconcile, item->xmin))
		return true;
	if (entry->local == NULL && item->found && (item->rule == NULL || item->by_link))
		return true;			/* linked, or come into being, meanwhile */
	if (item->link.stored && item->link.seq > 0 &&
		item->link.changed_at >= reconcile->began_at)
		return true;
	return item->local_key != NULL && concord_reconcile_is_pending(reconcile, item->local_key);
}

/* lok_there looks a row's record up: it may be there after all. */
static bool
lok_there(Reconcile *reconcile, const RcnEntry *entry)
{
	const InbItem *item = &entry->item;
	ConcordLink link = {item->link.stored && item->link.present, item->link.remote_id, NULL};

	if (entry->remote != NULL || item->was == NULL || item->was->verdict != CONCORD_SEND ||
		concord_progress_count(reconcile->progress, CONCORD_PROGRESS_LOOKED) >= RCN_LOOKS)
		return false;
	concord_progress_add(reconcile->progress, CONCORD_PROGRESS_LOOKED, 1);
	return concord_live_look(reconcile->peer, reconcile->mapping, item->was, &link) > 0;
}

/* lok_json appends a value that is a text of a type. */
static void
lok_json(StringInfo buf, Oid type, const char *text)
{
	if (text == NULL)
		appendStringInfoString(buf, "null");
	else
		concord_json_key(buf, getBaseType(type), text, strlen(text));
}

/* lok_ours appends our value of a field. */
static void
lok_ours(const Reconcile *reconcile, const RcnEntry *entry, const RcnField *f, StringInfo buf)
{
	const ConcordValue *value;

	if (f->column >= 0)
	{
		lok_json(buf, reconcile->inbound->columns[f->column].type, entry->ours[f->column]);
		return;
	}
	value = &entry->item.was->fields[f->mapped];
	lok_json(buf, value->typid, value->isnull ? NULL : value->text);
}

/* lok_theirs appends theirs, as the record has it, or else as it would be applied. */
static void
lok_theirs(const Reconcile *reconcile, const RcnEntry *entry, int field, StringInfo buf)
{
	const RcnField *f = &reconcile->fields[field];
	ConcordSlice slice = {NULL, 0};

	if (entry->item.slices != NULL)
		slice = entry->item.slices[field];
	if (slice.start != NULL && (f->column < 0 || f->field->apply == NULL))
		appendBinaryStringInfo(buf, slice.start, slice.len);
	else
		lok_json(buf, InvalidOid, f->column < 0 ? NULL : entry->theirs[f->column]);
}

/* lok_same: what is sent of a field is what the record says, as far as it does. */
static bool
lok_same(const RcnEntry *entry, int field, const RcnField *f)
{
	const ConcordValue *value;

	if (f->column >= 0 || entry->item.slices == NULL || entry->item.slices[field].start == NULL)
		return false;
	value = &entry->item.was->fields[f->mapped];
	return concord_reconcile_same(f->type, value->isnull ? NULL : value->text,
								  entry->item.slices[field]);
}

/* lok_field appends a field that differs, and says what is to be done with it. */
static void
lok_field(Reconcile *reconcile, RcnEntry *entry, int field, StringInfo buf, bool *decides)
{
	const RcnField *f = &reconcile->fields[field];
	const ConcordField *def = f->field;
	const char *owner = def->shared ? CONCORD_OWNER_SHARED :
		f->column >= 0 ? reconcile->mapping->server : CONCORD_OWNER_LOCAL;
	InbVerdict	verdict = f->column < 0 ? INB_KEEP : INB_TAKE;

	if (def->shared && f->column >= 0 && entry->verdicts != NULL)
		verdict = entry->verdicts[f->column];
	entry->sends |= (verdict == INB_KEEP || verdict == INB_MERGE) && reconcile->sends;
	entry->applies |= verdict != INB_KEEP;
	*decides |= verdict == INB_ASK;
	appendStringInfoString(buf, buf->len == 0 ? "{\"fields\": {" : ", ");
	concord_json_string(buf, def->name, strlen(def->name));
	appendStringInfoString(buf, ": {\"ours\": ");
	lok_ours(reconcile, entry, f, buf);
	appendStringInfoString(buf, ", \"theirs\": ");
	lok_theirs(reconcile, entry, field, buf);
	appendStringInfoString(buf, ", \"owner\": ");
	concord_json_string(buf, owner, strlen(owner));
	appendStringInfoChar(buf, '}');
}

/* lok_pair tells how a row and its record differ. */
static void
lok_pair(Reconcile *reconcile, RcnEntry *entry)
{
	bool		decides = false;
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < reconcile->nfields; i++)
	{
		const RcnField *f = &reconcile->fields[i];

		if ((f->column < 0 && f->mapped < 0) ||
			!concord_reconcile_differ(reconcile, i, entry->row_values[i], entry->values[i]) ||
			lok_same(entry, i, f))
			continue;
		lok_field(reconcile, entry, i, &buf, &decides);
	}
	if (buf.len == 0)
		return;
	appendStringInfoString(&buf, "}}");
	entry->difference = concord_json_server(buf.data);
	entry->action = decides ? "decide" : entry->applies && entry->sends ? "apply, send" :
		entry->applies ? "apply" : entry->sends ? "send" : "none";
}

/* lok_only tells of a row or record that is alone. */
static void
lok_only(RcnEntry *entry, const char *side, const char *what, const char *text)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"only\": \"%s\"", side);
	if (text != NULL)
	{
		appendStringInfo(&buf, ", \"%s\": ", what);
		concord_json_string(&buf, text, strlen(text));
	}
	appendStringInfoChar(&buf, '}');
	entry->difference = concord_json_server(buf.data);
}

/* lok_here tells of a row without a record. */
static void
lok_here(Reconcile *reconcile, RcnEntry *entry)
{
	const InbLink *link = &entry->item.link;
	bool		was_there = link->stored && link->present;

	if (entry->local->expect == RCN_FAILS)
	{
		lok_only(entry, "here", "error", entry->local->problem);
		entry->action = "none";
		return;
	}
	lok_only(entry, "here", NULL, NULL);
	entry->applies = was_there && reconcile->mapping->pulls && reconcile->inbound->remove &&
		concord_progress_count(reconcile->progress, CONCORD_PROGRESS_REMOTE) > 0;
	entry->sends = !entry->applies && reconcile->sends;
	entry->action = entry->applies ? "delete" : entry->sends ? "create" : "none";
}

/* lok_elsewhere tells of a record without a row. */
static void
lok_elsewhere(Reconcile *reconcile, RcnEntry *entry)
{
	const InbItem *item = &entry->item;
	bool		deleted = item->link.stored && item->link.present && reconcile->sends;

	lok_only(entry, "there", "rule", item->found || item->why != NULL ? item->rule : NULL);
	if (item->why != NULL)
		entry->action = "decide";
	else if (item->found)
		entry->action = "link";
	else if (reconcile->mapping->pulls && reconcile->inbound->insert && !deleted)
		entry->action = "insert";
	else
		entry->action = "none";
	entry->applies = entry->action[0] != 'n' && reconcile->mapping->pulls;
}

/* lok_problem tells of a record that cannot be read. */
static void
lok_problem(RcnEntry *entry)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, "{\"error\": ");
	concord_json_string(&buf, entry->problem, strlen(entry->problem));
	appendStringInfoChar(&buf, '}');
	entry->difference = concord_json_server(buf.data);
	entry->action = "decide";
}

/* lok_tell finds out what an entry is. */
static void
lok_tell(Reconcile *reconcile, RcnEntry *entry)
{
	if (entry->problem != NULL)
		lok_problem(entry);
	else if (entry->local != NULL && entry->remote != NULL)
		lok_pair(reconcile, entry);
	else if (entry->local != NULL)
		lok_here(reconcile, entry);
	else
		lok_elsewhere(reconcile, entry);
}

/* lok_key gives the key that a difference is told under. */
static Jsonb *
lok_key(const RcnEntry *entry)
{
	const char *json = entry->local != NULL ? entry->local->key : entry->remote->key;
	StringInfoData buf;

	if (entry->item.local_key != NULL)
		return entry->item.local_key;
	if (json == NULL)
	{
		initStringInfo(&buf);
		appendStringInfoString(&buf, "{\"remote_id\": ");
		if (entry->remote->id == NULL)
			appendStringInfoString(&buf, "null");
		else
			concord_json_string(&buf, entry->remote->id, strlen(entry->remote->id));
		appendStringInfoChar(&buf, '}');
		json = concord_json_server(buf.data);
	}
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(json)));
}

/* lok_put adds a row to the result. */
static void
lok_put(Reconcile *reconcile, RcnEntry *entry)
{
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	values[0] = JsonbPGetDatum(lok_key(entry));
	values[1] = DirectFunctionCall1(jsonb_in, CStringGetDatum(entry->difference));
	values[2] = CStringGetTextDatum(entry->action);
	tuplestore_putvalues(reconcile->result->setResult, reconcile->result->setDesc, values, nulls);
}

/* concord_reconcile_look looks again at some, tells what differs and repairs it. */
void
concord_reconcile_look(Reconcile *reconcile, RcnEntry **entries, int n)
{
	RcnEntry  **different = palloc(sizeof(RcnEntry *) * n);
	int			ndifferent = 0;

	lok_read(reconcile, entries, n);
	concord_reconcile_inbox(reconcile, entries, n);
	for (int i = 0; i < n; i++)
	{
		RcnEntry   *entry = entries[i];

		CHECK_FOR_INTERRUPTS();
		if (!entry->changing && !entry->skip)
			entry->changing = lok_changing(reconcile, entry) || lok_there(reconcile, entry);
		if (entry->changing)
		{
			concord_progress_add(reconcile->progress, CONCORD_PROGRESS_CHANGING, 1);
			continue;
		}
		lok_tell(reconcile, entry);
		if (entry->difference != NULL)
			different[ndifferent++] = entry;
	}
	if (reconcile->repair && ndifferent > 0)
		concord_reconcile_repair(reconcile, different, ndifferent);
	for (int i = 0; i < ndifferent; i++)
		lok_put(reconcile, different[i]);
	concord_progress_add(reconcile->progress, CONCORD_PROGRESS_DIFFERENT, ndifferent);
}
