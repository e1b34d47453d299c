/*-------------------------------------------------------------------------
 *
 * apply.c
 *	  A batch of records, in one transaction, each for itself where it must be.
 *
 * As the mapping's definer, in a security-restricted operation: what records
 * do is done by triggers and functions of his.  Constraints are made immediate
 * before anything is written, so that nothing is left that would run when the
 * transaction ends, which may be somebody else's; in such an operation nobody
 * can defer them again.
 *
 *		parse ─► which row? ─► the row as it is ─► decide ─► write ─► what is agreed
 *		  │          │                                │        │          │
 *		  └──────────┴──── parked, waiting ◄──────────┴────────┘          └─► link, log
 *
 * A batch that raises is undone and halved until the records that are at fault
 * stand alone; those are parked, or wait for their parent, and the rest is
 * applied.  Two records of one key are never in one statement.  A link that a
 * courier writes meanwhile has its batch begun anew.
 *
 * Locks: the mapping's own first (one transaction at a time applies records of
 * a mapping), rows of the table next, links last.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "access/xact.h"
#include "base/attempt.h"
#include "commands/trigger.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "outbox/message.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "base/json.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define APP_LOCK		0x434E494E
#define APP_RETRIES		5		/* of a batch whose links others write */

/* concord_inbound_lock waits for others that apply records of the mapping. */
void
concord_inbound_lock(const ConcordMapping *mapping)
{
	LOCKTAG		tag;

	/* numbers of users' advisory locks have 1 or 2 at the end */
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, mapping->id, APP_LOCK, 3);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* app_immediate has constraints checked at once from here on. */
static void
app_immediate(void)
{
	ConstraintsSetStmt *set = makeNode(ConstraintsSetStmt);

	set->deferred = false;
	AfterTriggerSetState(set);
}

/* app_announce begins the transaction's changes with where they come from. */
static void
app_announce(ConcordInbound *inbound, const ConcordInboundRecord *record)
{
	StringInfoData buf;
	pg_uuid_t	id;

	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"mapping\": %d, \"server\": ", inbound->mapping->id);
	concord_json_string(&buf, inbound->mapping->server, strlen(inbound->mapping->server));
	appendStringInfo(&buf, ", \"origin\": \"%s\"", inbound->origin);
	if (record->inbox != 0)
		appendStringInfo(&buf, ", \"inbox\": " INT64_FORMAT, record->inbox);
	appendStringInfoChar(&buf, '}');
	concord_message_emit(CONCORD_MESSAGE_APPLY, CONCORD_MESSAGE_APPLY, NULL, NULL,
						 buf.data, &id);
}

/* app_gone: a row is not made anew of what was read before it was deleted. */
static bool
app_gone(ConcordInbound *inbound, InbItem *item)
{
	return !inbound->insert || item->stale ||
		(item->link.stored && item->link.present && inbound->sends);
}

/* app_settle ends the ways of records that need no more than to be found. */
static void
app_settle(InbItem *item, InbState state)
{
	item->state = state;
}

/* app_plan_delete says what becomes of a record that is gone. */
static void
app_plan_delete(ConcordInbound *inbound, InbItem *item)
{
	item->unlink = item->relink = item->link.stored && item->link.present;
	if (item->found && inbound->remove)
		item->outcome = 'd';
	else if (!item->unlink)
		app_settle(item, INB_SAME);
	else
		item->outcome = 'l';
}

/* app_same_text compares texts that may be none. */
static bool
app_same_text(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* app_same_base says whether what both sides agree on is as it was. */
static bool
app_same_base(const InbItem *item)
{
	if (item->base == item->link.base)
		return true;
	return item->base != NULL && item->link.base != NULL &&
		compareJsonbContainers(&item->base->root, &item->link.base->root) == 0;
}

/* app_plan_upsert says what becomes of a record that is there. */
static void
app_plan_upsert(ConcordInbound *inbound, InbItem *item)
{
	const InbLink *link = &item->link;
	const ConcordInboundRecord *record = item->record;

	concord_inbound_decide(inbound, item);
	if (!item->found)
		item->outcome = 'i';
	else
	{
		concord_inbound_compare(inbound, item);
		if (item->differs)
			item->outcome = 'u';
		else if (!link->stored || !link->present)
			item->outcome = 'l';
	}
	item->relink = !link->stored || !link->present ||
		(record->etag != NULL && !app_same_text(record->etag, link->etag)) ||
		(record->remote_changed != 0 && record->remote_changed != link->remote_changed) ||
		!app_same_base(item);
	if (item->outcome == 0 && !item->relink)
		app_settle(item, INB_SAME);
}

/* app_read reads the rows of what has a key, and leaves out what is settled. */
static int
app_read(ConcordInbound *inbound, InbItem **items, int n, InbItem **left)
{
	InbItem   **keyed = palloc(sizeof(InbItem *) * n);
	bool		lock = inbound->shared || inbound->sends;
	int			nkeyed = 0;
	int			nleft = 0;

	for (int i = 0; i < n; i++)
	{
		InbItem    *item = items[i];

		if (item->why != NULL)
			app_settle(item, INB_PARKED);
		else if (item->outdated)
			app_settle(item, INB_SAME);
		else if (item->keyed)
		{
			keyed[nkeyed++] = item;
			lock |= !item->complete;
		}
	}
	concord_inbound_read(inbound, keyed, nkeyed, lock, false);
	for (int i = 0; i < n; i++)
	{
		InbItem    *item = items[i];

		if (item->state != INB_OPEN)
			continue;
		if (item->record->op == CONCORD_INBOUND_DELETE && !item->keyed)
			app_settle(item, INB_SAME);
		else if (item->record->op == CONCORD_INBOUND_UPSERT && !item->found &&
				 app_gone(inbound, item))
			app_settle(item, INB_SAME);
		else
			left[nleft++] = item;
	}
	return nleft;
}

/*
 * app_earlier: another record of the batch is the row: by its key or link, or
 * it came before.
 */
static bool
app_earlier(const InbItem *item, const InbItem *other, bool before)
{
	return other->local_key != NULL && other->why == NULL &&
		(before || other->rule == NULL || other->by_link) &&
		compareJsonbContainers(&item->local_key->root, &other->local_key->root) == 0;
}

/* app_distinct parks records that rules say are a row that another one is. */
static void
app_distinct(InbItem **items, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (items[i]->rule == NULL || items[i]->why != NULL || items[i]->by_link)
			continue;
		for (int j = 0; j < n; j++)
		{
			if (j == i || !app_earlier(items[i], items[j], j < i))
				continue;
			items[i]->why = psprintf("the record with the id %s is the same row by %s",
									 items[j]->remote_id != NULL ? items[j]->remote_id : "",
									 items[i]->rule);
			items[i]->rule = "duplicate";
			break;
		}
	}
}

/* app_batch applies records of different keys. */
static void
app_batch(ConcordInbound *inbound, InbItem **items, int n)
{
	InbItem   **left = palloc(sizeof(InbItem *) * n);
	int			nleft;

	concord_inbound_apply_run(inbound, items, n);
	concord_inbound_find(inbound, items, n);
	app_distinct(items, n);
	nleft = app_read(inbound, items, n, left);
	if (inbound->sends)
		concord_inbound_agree_before(inbound, left, nleft);
	for (int i = 0; i < nleft; i++)
	{
		if (left[i]->record->op == CONCORD_INBOUND_DELETE)
			app_plan_delete(inbound, left[i]);
		else
			app_plan_upsert(inbound, left[i]);
	}
	concord_inbound_write(inbound, left, nleft);
	if (inbound->sends)
		concord_inbound_agree_after(inbound, left, nleft);
	inbound->books = true;
	concord_inbound_links_write(inbound, left, nleft);
	concord_inbound_decisions_store(inbound, left, nleft);
	for (int i = 0; i < nleft; i++)
		if (left[i]->state == INB_OPEN)
			app_settle(left[i], left[i]->outcome != 0 ? INB_DONE : INB_SAME);
	concord_inbound_inbox_settle(inbound, items, n);
	inbound->books = false;
}

/* app_parse reads records. */
static void
app_parse(ConcordInbound *inbound, InbItem **items, int n)
{
	for (int i = 0; i < n; i++)
	{
		concord_inbound_parse(inbound, items[i]);
		if (items[i]->keyed)
			items[i]->identity = JsonbToCString(NULL, &items[i]->local_key->root,
												VARSIZE(items[i]->local_key));
		else
			items[i]->identity = psprintf("#%s", items[i]->remote_id);
	}
}

/* app_fresh forgets what an attempt has found out. */
static void
app_fresh(ConcordInbound *inbound, InbItem *item)
{
	const ConcordInboundRecord *record = item->record;

	memset(item, 0, sizeof(InbItem));
	item->record = record;
}

/* An attempt to do some work for records. */
typedef struct AppAttempt
{
	ConcordInbound *inbound;
	ConcordInboundWork work;
	InbItem   **items;
	int			n;
} AppAttempt;

/* app_as_definer does it as the mapping's definer, with SPI. */
static void
app_as_definer(void *arg)
{
	AppAttempt *attempt = arg;
	ConcordInbound *inbound = attempt->inbound;
	MemoryContext context = CurrentMemoryContext;
	ConcordEnvironment environment;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	MemoryContextSwitchTo(context);
	concord_environment_enter(&environment, inbound->mapping->definer,
							  inbound->mapping->search_path);
	concord_inbound_refresh(inbound);
	attempt->work(inbound, attempt->items, attempt->n);
	concord_environment_leave(&environment);
	SPI_finish();
}

/* app_try does some work for records; returns the error, or NULL. */
static ErrorData *
app_try(ConcordInbound *inbound, ConcordInboundWork work, InbItem **items, int n)
{
	AppAttempt	attempt = {inbound, work, items, n};

	inbound->books = false;
	return concord_attempt(app_as_definer, &attempt);
}

/* app_transient says whether an error is of the moment, and no record's fault. */
static bool
app_transient(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_OPERATOR_INTERVENTION:
			return true;
	}
	return false;
}

/* app_nothing runs the statements over no records: what fails is the mapping's fault. */
static void
app_nothing(ConcordInbound *inbound, InbItem **items, int n)
{
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	SPIPlanPtr	plans[] = {inbound->update, inbound->read, inbound->delete};

	for (int i = 0; i < lengthof(plans); i++)
		if (plans[i] != NULL)
			concord_inbound_run(plans[i], i == 0 ? inbound->row_desc : inbound->key_desc, store, false);
	if (inbound->apply != NULL)
		concord_inbound_run(inbound->apply, inbound->remote_desc, store, true);
	tuplestore_end(store);
}

/* app_alone deals with a record that fails by itself. */
static void
app_alone(ConcordInbound *inbound, ConcordInboundWork work, InbItem **items, ErrorData *error)
{
	/* the row came into being meanwhile: now it is one to be changed */
	if (error->sqlerrcode == ERRCODE_UNIQUE_VIOLATION && work == app_batch)
	{
		ErrorData  *again;

		app_fresh(inbound, items[0]);
		again = app_try(inbound, app_parse, items, 1);
		if (again == NULL)
			again = app_try(inbound, work, items, 1);
		if (again == NULL)
			return;
		error = again;
	}
	if (app_transient(error->sqlerrcode) || inbound->books)
		ReThrowError(error);
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) ==
		ERRCODE_TO_CATEGORY(ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION))
	{
		ErrorData  *definition = app_try(inbound, app_nothing, NULL, 0);

		if (definition != NULL)
			ReThrowError(definition);
	}
	concord_inbound_inbox_failed(inbound, items[0], error);
}

/* app_range does some work for records, halving them where that raises. */
static void
app_range(ConcordInbound *inbound, ConcordInboundWork work, InbItem **items, int n)
{
	ErrorData  *error = NULL;

	for (int attempt = 0; attempt < APP_RETRIES; attempt++)
	{
		if (attempt > 0)
		{
			CHECK_FOR_INTERRUPTS();
			for (int i = 0; i < n; i++)
				app_fresh(inbound, items[i]);
			error = app_try(inbound, app_parse, items, n);
			if (error != NULL)
				break;
		}
		error = app_try(inbound, work, items, n);
		if (error == NULL)
			return;
		if (error->sqlerrcode != ERRCODE_T_R_SERIALIZATION_FAILURE)
			break;
	}
	CHECK_FOR_INTERRUPTS();
	if (app_transient(error->sqlerrcode) || inbound->books)
		ReThrowError(error);
	if (work == app_batch)
	{
		for (int i = 0; i < n; i++)
			app_fresh(inbound, items[i]);
		if (app_try(inbound, app_parse, items, n) != NULL)
			ReThrowError(error);
	}
	if (n == 1)
	{
		app_alone(inbound, work, items, error);
		return;
	}
	app_range(inbound, work, items, n / 2);
	app_range(inbound, work, items + n / 2, n - n / 2);
}

/*
 * app_next chooses the next records of different identities, so that
 * those of one key are applied in their order.  Returns how many it took.
 */
static int
app_next(InbItem **items, int n, InbItem **chosen, int *nchosen)
{
	HASHCTL		ctl = {.keysize = sizeof(uint64),.entrysize = sizeof(uint64),
	.hcxt = CurrentMemoryContext};
	HTAB	   *seen = hash_create("concord inbound keys", n, &ctl,
								   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	int			i;

	*nchosen = 0;
	for (i = 0; i < n && *nchosen < INB_BATCH; i++)
	{
		bool		found;
		uint64		hash;

		if (items[i]->state != INB_OPEN)
			continue;
		hash = DatumGetUInt64(hash_any_extended((const unsigned char *) items[i]->identity,
												strlen(items[i]->identity), 0));
		(void) hash_search(seen, &hash, HASH_ENTER, &found);
		if (found)
			break;
		chosen[(*nchosen)++] = items[i];
	}
	hash_destroy(seen);
	return i;
}

/* app_count adds up what became of records. */
static void
app_count(InbItem **items, int n, ConcordInboundCounts *counts)
{
	for (int i = 0; i < n; i++)
	{
		ListCell   *lc;

		counts->fetched++;
		counts->applied += items[i]->state == INB_DONE;
		counts->unchanged += items[i]->state == INB_SAME;
		counts->rejected += items[i]->state == INB_PARKED;
		counts->waiting += items[i]->state == INB_WAITING;
		foreach(lc, items[i]->decisions)
			counts->conflicts += ((InbDecision *) lfirst(lc))->verdict == INB_ASK;
	}
}

/* app_some applies records that fit into memory together. */
static void
app_some(ConcordInbound *inbound, const ConcordInboundRecord *records, int n,
		 ConcordInboundCounts *counts)
{
	InbItem    *all = palloc0(sizeof(InbItem) * n);
	InbItem   **items = palloc(sizeof(InbItem *) * n);
	InbItem   **chosen = palloc(sizeof(InbItem *) * n);
	int			nitems = 0;

	for (int i = 0; i < n; i++)
	{
		if (records[i].op == CONCORD_INBOUND_FETCH)
			continue;
		all[nitems].record = &records[i];
		items[nitems] = &all[nitems];
		nitems++;
	}
	if (nitems == 0)
		return;
	app_range(inbound, app_parse, items, nitems);
	for (int done = 0; done < nitems;)
	{
		int			nchosen;

		done += app_next(items + done, nitems - done, chosen, &nchosen);
		if (nchosen > 0)
			app_range(inbound, app_batch, chosen, nchosen);
	}
	concord_inbound_log_write(inbound, items, nitems);
	app_count(items, nitems, counts);
}

/* concord_inbound_apply applies records. */
void
concord_inbound_apply(ConcordInbound *inbound, const ConcordInboundRecord *records,
					  int n, ConcordInboundCounts *counts)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "concord inbound batch",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old;

	if (n == 0)
		return;
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("records can be applied at isolation level READ COMMITTED only")));
	if (!OidIsValid(inbound->mapping->definer))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\", definer of mapping \"%s\", does not exist",
						inbound->mapping->definer_name, inbound->mapping->name)));
	concord_inbound_lock(inbound->mapping);
	app_immediate();
	app_announce(inbound, &records[0]);
	old = MemoryContextSwitchTo(context);
	for (int first = 0; first < n; first += INB_BATCH)
	{
		app_some(inbound, records + first, Min(INB_BATCH, n - first), counts);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/* concord_inbound_try attempts work for records. */
ErrorData *
concord_inbound_try(ConcordInbound *inbound, ConcordInboundWork work, InbItem **items, int n)
{
	return app_try(inbound, work, items, n);
}

/* concord_inbound_range does it for those that it can be done for. */
void
concord_inbound_range(ConcordInbound *inbound, ConcordInboundWork work, InbItem **items, int n)
{
	app_range(inbound, work, items, n);
}
