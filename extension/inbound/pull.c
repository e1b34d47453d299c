/*-------------------------------------------------------------------------
 *
 * pull.c
 *	  concord.pull(): what has changed at a system is asked for and applied.
 *
 * A run reads one list: the link of changes that the last one left (delta), what
 * was changed since the newest record that was seen, less an overlap (since),
 * or all (full).  All is also read where nothing was pulled before, and where
 * a link has expired.  Once all was read, links whose records were not there
 * are those of records that are gone, if option pull says that this deletes.
 *
 * A run goes in parts, each of some pages.  What a part has brought is applied
 * in the transaction that notes where the next one goes on, so that a crash
 * costs a part and repeats none.  concord.pull() does all of them in its
 * caller's transaction, the applier each in its own.
 *
 * Times are the system's: a clock that is off does no harm.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "delivery/pending.h"

#include "access/xact.h"
#include "base/bookkeeping.h"
#include "base/settings.h"
#include "connector/receiving.h"
#include "funcapi.h"
#include "inbound/pull.h"
#include "live/peer.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(concord_pull);

#define PUL_BATCH		500		/* records that are applied together */
#define PUL_PART		2000	/* records after which a part ends, at the end
								 * of a page */

/* A pull under way. */
typedef struct Pull
{
	const ConcordMapping *mapping;
	const ConcordPullOptions *options;
	ConcordPeer *peer;
	const ConcordPulling *pulling;
	const char *changed;		/* path of the time of change, or NULL */
	ConcordForeignTable table;
	ConcordQuery query;
	ConcordReader *reader;
	ConcordInbound *inbound;
	ConcordPullState state;
	ConcordInboundCounts counts;	/* of this part */
	bool		started;		/* the run begins with this part */
	bool		anew;			/* what was known is of another list */
	bool		has_changed;	/* a record of this part had the time */
	MemoryContext batch;
	ConcordInboundRecord records[PUL_BATCH];
	char	   *ids[PUL_BATCH];
	char	   *keys[PUL_BATCH];
	int			n;
	bool		any;			/* a record was read in this part */
} Pull;

/* pul_has says whether the connector has a way. */
static bool
pul_has(const Pull *pull, ConcordPullMethod method)
{
	return (pull->pulling->methods & (1u << method)) != 0;
}

/* pul_method chooses how it is pulled, where the mapping does not say. */
static ConcordPullMethod
pul_method(const Pull *pull)
{
	ConcordPullMethod before = pull->state.method;

	if (pull->options->method != CONCORD_PULL_DEFAULT)
		return pull->options->method;
	/* a system that gave no link the last time gives none now */
	if (pul_has(pull, CONCORD_PULL_DELTA) &&
		(before == CONCORD_PULL_DEFAULT || before == CONCORD_PULL_DELTA))
		return CONCORD_PULL_DELTA;
	if (pul_has(pull, CONCORD_PULL_SINCE) && pull->changed != NULL)
		return CONCORD_PULL_SINCE;
	return CONCORD_PULL_FULL;
}

/* pul_all begins to read all, because of what note says. */
static void
pul_all(Pull *pull, const char *note)
{
	pull->state.run = CONCORD_RUN_FULL;
	pull->state.position = NULL;
	pull->state.run_changed_to = 0;
	if (note != NULL)
	{
		pull->state.note = note;
		ereport(NOTICE,
				(errmsg("mapping \"%s\": %s", pull->mapping->name, note)));
	}
	concord_pull_seen_forget(pull->mapping->id);
}

/*
 * pul_list_name says which list is read: places in one are of no use in
 * another.
 */
static char *
pul_list_name(const Pull *pull)
{
	return psprintf("%s %s %s %s", pull->peer->server->url,
					pull->table.service != NULL ? pull->table.service : "",
					pull->table.object,
					pull->table.query != NULL ? pull->table.query : "");
}

/* pul_check forgets what is of another list than the mapping's now. */
static void
pul_check(Pull *pull, char *list)
{
	ConcordPullState *state = &pull->state;

	pull->anew = state->list != NULL && strcmp(state->list, list) != 0;
	if (pull->anew)
	{
		memset(state, 0, sizeof(*state));
		concord_pull_seen_forget(pull->mapping->id);
	}
	state->list = list;
}

/* pul_begin decides what a new run does. */
static void
pul_begin(Pull *pull)
{
	ConcordPullState *state = &pull->state;
	ConcordPullMethod method = pul_method(pull);
	bool		same = method == state->method;

	pull->started = true;
	state->note = NULL;
	state->position = NULL;
	state->run_changed_to = 0;
	state->method = method;
	if (pull->anew)
		pul_all(pull, "another list is read than before; everything is compared");
	else if (method == CONCORD_PULL_DELTA && same && state->link != NULL)
		state->run = CONCORD_RUN_DELTA;
	else if (method == CONCORD_PULL_SINCE && same && state->changed_to != 0)
		state->run = CONCORD_RUN_SINCE;
	else
		pul_all(pull, NULL);
}

/* pul_since gives the parameters of the run's list. */
static char *
pul_since(const Pull *pull)
{
	int			overlap = pull->options->overlap_ms >= 0 ?
		pull->options->overlap_ms : pull->pulling->overlap_ms;
	TimestampTz at = pull->state.changed_to - overlap * INT64CONST(1000);
	const ConcordConnector *connector = pull->peer->server->connector;

	if (pull->state.run == CONCORD_RUN_SINCE)
		return concord_pulling_since(connector, pull->changed, &at);
	return "";
}

/* pul_start has the reader begin the run's list, or go on with it. */
static void
pul_start(Pull *pull)
{
	ConcordQuery *query = &pull->query;
	const ConcordReading *reading =
		concord_connector_reading(pull->peer->server->connector);

	memset(query, 0, sizeof(*query));
	query->limit = -1;
	query->gone_ends = pull->state.run == CONCORD_RUN_DELTA;
	query->tell = pull->state.method == CONCORD_PULL_DELTA ?
		pull->pulling->link : NULL;
	if (pull->state.run == CONCORD_RUN_DELTA)
		query->url = pull->state.link;
	else
	{
		query->url = concord_reader_url(pull->peer->server, &pull->table,
										reading->path);
		query->query = pul_since(pull);
		if (query->tell != NULL)
			query->prefer = pull->pulling->prefer;
	}
	if (pull->state.position != NULL)
		concord_reader_resume(pull->reader, query, pull->state.position);
	else
		concord_reader_start(pull->reader, query);
}

/* pul_text gives a member of a record as text, in the server's encoding. */
static char *
pul_text(ConcordSlice record, const char *path)
{
	ConcordSlice slice = concord_json_find(record, path);

	if (slice.start == NULL || concord_json_kind(slice) == CONCORD_JSON_NULL)
		return NULL;
	return concord_slice_text(slice);
}

/* pul_removed says whether a record is word of one that is gone. */
static bool
pul_removed(ConcordSlice record)
{
	char	   *context;

	if (concord_json_find(record, "@removed").start != NULL ||
		concord_json_find(record, "@odata.removed").start != NULL)
		return true;
	context = pul_text(record, "@odata.context");
	return context != NULL && strlen(context) > 14 &&
		strcmp(context + strlen(context) - 15, "/$deletedEntity") == 0;
}

/*
 * pul_removed_id gives the id of a record that is gone: what stands in the
 * parentheses of its address, or all of it.
 */
static char *
pul_removed_id(ConcordSlice record)
{
	static const char *const members[] = {"@id", "@odata.id", "id"};

	for (int i = 0; i < lengthof(members); i++)
	{
		char	   *id = pul_text(record, members[i]);
		char	   *open = id == NULL ? NULL : strrchr(id, '(');
		Size		len = id == NULL ? 0 : strlen(id);

		if (id == NULL)
			continue;
		if (open == NULL || id[len - 1] != ')')
			return id;
		id[len - 1] = '\0';
		open++;
		len = strlen(open);
		if (len > 1 && *open == '\'' && open[len - 1] == '\'')
		{
			open[len - 1] = '\0';
			open++;
		}
		return open;
	}
	return NULL;
}

/* pul_etag gives the version that a record tells. */
static char *
pul_etag(ConcordSlice record)
{
	char	   *etag = pul_text(record, "@odata.etag");

	return etag != NULL ? etag : pul_text(record, "__metadata.etag");
}

/* pul_take makes a record of what the reader gave. */
static void
pul_take(Pull *pull, ConcordSlice slice, TimestampTz read_at)
{
	ConcordInboundRecord *record = &pull->records[pull->n];
	MemoryContext old = MemoryContextSwitchTo(pull->batch);
	char	   *when;

	memset(record, 0, sizeof(*record));
	record->op = pul_removed(slice) ? CONCORD_INBOUND_DELETE :
		CONCORD_INBOUND_UPSERT;
	record->record = pg_any_to_server(pnstrdup(slice.start, slice.len),
									  (int) slice.len, PG_UTF8);
	record->etag = pul_etag(slice);
	record->read_at = read_at;
	if (record->op == CONCORD_INBOUND_DELETE)
		record->remote_id = pul_removed_id(slice);
	else if (pull->changed != NULL)
	{
		when = pul_text(slice, pull->changed);
		if (when != NULL && concord_remote_time(when, &record->remote_changed))
		{
			pull->has_changed = true;
			pull->state.run_changed_to = Max(pull->state.run_changed_to,
											 record->remote_changed);
		}
		else
			record->remote_changed = 0;
	}
	pull->n++;
	pull->any = true;
	MemoryContextSwitchTo(old);
}

/*
 * pul_keys finds the rows of records of which only the id is told: ids of the
 * mapping's own making are no index's.
 */
static void
pul_keys(Pull *pull)
{
	ConcordCatalogScope scope;
	int			n = 0;

	for (int i = 0; i < pull->n; i++)
	{
		pull->ids[i] = NULL;
		if (pull->records[i].op != CONCORD_INBOUND_DELETE ||
			pull->records[i].remote_id == NULL ||
			pull->records[i].local_key != NULL)
			continue;
		pull->ids[i] = unconstify(char *, pull->records[i].remote_id);
		n++;
	}
	if (n == 0)
		return;
	concord_catalog_enter(&scope);
	concord_pull_keys(pull->mapping->id, pull->ids, pull->keys, pull->n,
					  pull->batch);
	concord_catalog_leave(&scope);
	for (int i = 0; i < pull->n; i++)
	{
		if (pull->ids[i] != NULL)
			pull->records[i].local_key = pull->keys[i];
	}
}

/* pul_apply applies what was taken. */
static void
pul_apply(Pull *pull)
{
	bool		compares = pull->state.run == CONCORD_RUN_FULL &&
		pull->options->remove;
	ConcordCatalogScope scope;

	if (pull->n == 0)
		return;
	if (!concord_inbound_assigned(pull->inbound))
		pul_keys(pull);
	concord_inbound_apply(pull->inbound, pull->records, pull->n, &pull->counts);
	if (compares)
	{
		for (int i = 0; i < pull->n; i++)
			pull->ids[i] = concord_inbound_remote_id(pull->inbound,
													 &pull->records[i]);
		concord_catalog_enter(&scope);
		concord_pull_seen_add(pull->mapping->id, pull->ids, pull->n);
		concord_catalog_leave(&scope);
	}
	pull->n = 0;
	MemoryContextReset(pull->batch);
}

/* pul_read reads a part of the list; true: it is at its end. */
static bool
pul_read(Pull *pull)
{
	int			records = 0;
	int			page = 0;
	TimestampTz read_at = 0;

	for (;;)
	{
		TimestampTz before = GetCurrentTimestamp();
		ConcordSlice slice;
		int			page_before = page;

		if (records >= PUL_PART && concord_reader_page_ended(pull->reader))
			break;
		if (!concord_reader_next(pull->reader, &slice, &page))
		{
			pul_apply(pull);
			return true;
		}
		if (page != page_before)
			read_at = before;
		pul_take(pull, slice, read_at);
		records++;
		if (pull->n == PUL_BATCH)
			pul_apply(pull);
		CHECK_FOR_INTERRUPTS();
	}
	pul_apply(pull);
	pull->state.position = concord_reader_mark(pull->reader);
	return pull->state.position == NULL;
}

/* pul_untracked goes on without a link that the system has not given. */
static void
pul_untracked(Pull *pull)
{
	ConcordPullState *state = &pull->state;

	state->link = NULL;
	if (pull->options->method == CONCORD_PULL_DELTA)
	{
		state->note = "the system gave no link of changes: the next pull reads everything again";
		return;
	}
	state->method = pull->changed != NULL && pul_has(pull, CONCORD_PULL_SINCE) ?
		CONCORD_PULL_SINCE : CONCORD_PULL_FULL;
	state->note = state->method == CONCORD_PULL_SINCE ?
		"the system gave no link of changes: what was changed since is asked for" :
		"the system gave no link of changes: everything is compared each time";
}

/* pul_ended does what is due when the list is at its end. */
static void
pul_ended(Pull *pull)
{
	ConcordPullState *state = &pull->state;
	bool		compared = state->run == CONCORD_RUN_FULL;

	state->position = NULL;
	if (state->method == CONCORD_PULL_DELTA)
	{
		const char *told = concord_reader_told(pull->reader);

		state->link = told == NULL ? NULL : pstrdup(told);
		if (told == NULL)
			pul_untracked(pull);
	}
	if (state->run_changed_to > state->changed_to || compared)
		state->changed_to = state->run_changed_to;
	state->run = compared && pull->options->remove ? CONCORD_RUN_GONE :
		CONCORD_RUN_NONE;
}

/* pul_unseen takes records that are gone; false: there are no more. */
static bool
pul_unseen(Pull *pull)
{
	ConcordPullState *state = &pull->state;
	ConcordCatalogScope scope;
	int			n = 0;
	MemoryContext context = CurrentMemoryContext;

	concord_catalog_enter(&scope);
	if (!concord_pull_seen_any(pull->mapping->id))
	{
		/* whoever has nothing at all has more likely lost its way */
		state->note = "the system has no records at all: none was deleted here";
	}
	else
		n = concord_pull_unseen(pull->mapping->id,
								state->position != NULL ? state->position : "",
								pull->ids, pull->keys, PUL_BATCH, pull->batch);
	for (int i = 0; i < n; i++)
	{
		ConcordInboundRecord *record = &pull->records[i];

		memset(record, 0, sizeof(*record));
		record->op = CONCORD_INBOUND_DELETE;
		record->remote_id = pull->ids[i];
		record->local_key = pull->keys[i];
	}
	pull->n = n;
	state->position = n == 0 ? NULL : MemoryContextStrdup(context, pull->ids[n - 1]);
	concord_catalog_leave(&scope);
	if (pull->n == 0)
		return false;
	concord_inbound_apply(pull->inbound, pull->records, pull->n, &pull->counts);
	pull->n = 0;
	MemoryContextReset(pull->batch);
	return true;
}

/* pul_gone ends a compare: what it has not seen is gone. */
static void
pul_gone(Pull *pull)
{
	ConcordCatalogScope scope;

	if (pul_unseen(pull))
		return;
	concord_catalog_enter(&scope);
	concord_pull_seen_forget(pull->mapping->id);
	concord_catalog_leave(&scope);
	pull->state.run = CONCORD_RUN_NONE;
}

/* pul_list does a part of a list. */
static void
pul_list(Pull *pull)
{
	ConcordCatalogScope scope;

	pul_start(pull);
	if (!pul_read(pull))
	{
		concord_reader_stop(pull->reader);
		return;
	}
	if (concord_reader_gone(pull->reader))
	{
		concord_catalog_enter(&scope);
		pull->state.link = NULL;
		pul_all(pull, "the system's feed of changes has expired; everything is compared");
		concord_catalog_leave(&scope);
	}
	else
		pul_ended(pull);
	concord_reader_stop(pull->reader);
}

/*
 * pul_part does the next part of a run, or of a new one; false: the run has
 * ended with it.
 */
static bool
pul_part(Pull *pull)
{
	MemoryContext context = CurrentMemoryContext;
	ConcordCatalogScope scope;
	char	   *list = pul_list_name(pull);
	bool		more;

	memset(&pull->counts, 0, sizeof(pull->counts));
	pull->started = false;
	concord_catalog_enter(&scope);
	concord_pull_state_read(pull->mapping->id, &pull->state, context);
	pul_check(pull, list);
	if (pull->state.run == CONCORD_RUN_NONE)
		pul_begin(pull);
	concord_catalog_leave(&scope);
	if (pull->state.run == CONCORD_RUN_GONE)
		pul_gone(pull);
	else
		pul_list(pull);
	more = pull->state.run != CONCORD_RUN_NONE;
	concord_catalog_enter(&scope);
	concord_pull_state_write(pull->mapping->id, &pull->state, &pull->counts,
							 pull->started, !more, pull->options->every_ms);
	concord_catalog_leave(&scope);
	return more;
}

/* pul_open makes what a pull needs, in the current context. */
static Pull *
pul_open(const ConcordMapping *mapping)
{
	Pull	   *pull = palloc0(sizeof(Pull));
	char	   *changed;

	if (mapping->options.pull == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("mapping \"%s\" does not pull", mapping->name),
				 errhint("Give it option pull, as in concord.alter_mapping(name, options => '{\"pull\": {}}').")));
	pull->mapping = mapping;
	pull->options = mapping->options.pull;
	pull->peer = concord_peer_get(mapping->serverid, mapping->definer);
	pull->pulling = concord_connector_pulling(pull->peer->server->connector);
	concord_pulling_check(pull->peer->server->connector, mapping);
	changed = pstrdup(pull->options->changed != NULL ? pull->options->changed :
					  pull->pulling->changed != NULL ? pull->pulling->changed : "");
	for (char *p = changed; *p; p++)
	{
		if (*p == '/')
			*p = '.';
	}
	pull->changed = *changed ? changed : NULL;
	pull->table.relname = mapping->name;
	pull->table.object = mapping->object;
	pull->table.service = mapping->options.service;
	pull->table.query = pull->options->filter;
	pull->table.paging = -1;
	pull->table.page_bytes = (Size) concord_max_answer_size * 1024;
	pull->reader = concord_reader_create(&pull->table, pull->peer);
	pull->inbound = concord_inbound_open(mapping, "pull", CurrentMemoryContext);
	pull->batch = AllocSetContextCreate(CurrentMemoryContext,
										"concord pulled records",
										ALLOCSET_DEFAULT_SIZES);
	return pull;
}

/* pul_close gives it back. */
static void
pul_close(Pull *pull)
{
	concord_reader_stop(pull->reader);
	concord_inbound_close(pull->inbound);
	concord_peer_done(pull->peer);
}

/* concord_pull is concord.pull(). */
Datum
concord_pull(PG_FUNCTION_ARGS)
{
	ConcordMapping *mapping = concord_operate_mapping(fcinfo, 0);
	ConcordInboundCounts total = {0};
	TupleDesc	desc;
	Datum		values[4];
	bool		nulls[4] = {false};
	Pull	   *pull;
	bool		more = true;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	pull = pul_open(mapping);
	while (more)
	{
		more = pul_part(pull);
		total.fetched += pull->counts.fetched;
		total.applied += pull->counts.applied;
		total.conflicts += pull->counts.conflicts;
		total.rejected += pull->counts.rejected;
	}
	pul_close(pull);
	SPI_finish();
	values[0] = Int64GetDatum(total.fetched);
	values[1] = Int64GetDatum(total.applied);
	values[2] = Int64GetDatum(total.conflicts);
	values[3] = Int64GetDatum(total.rejected);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}

/* pul_transaction begins a transaction that is a user's, not our bookkeeping. */
static void
pul_transaction(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PushActiveSnapshot(GetTransactionSnapshot());
}

/* pul_commit ends it. */
static void
pul_commit(void)
{
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	pgstat_report_stat(false);
}

/* pul_due_part does a part of a mapping's pull in a transaction. */
static void
pul_due_part(int32 id, ConcordPullOptions *options)
{
	ConcordMapping *mapping;

	pul_transaction();
	mapping = concord_mapping_by_id(id, CurrentMemoryContext);
	if (mapping != NULL && mapping->options.pull != NULL)
	{
		Pull	   *pull;

		*options = *mapping->options.pull;
		pull = pul_open(mapping);
		(void) pul_part(pull);
		pul_close(pull);
	}
	pul_commit();
}

/* pul_due gives the mapping whose pull is due; 0: none. */
static int32
pul_due(void)
{
	int32		id = 0;

	if (!concord_delivery)
		return 0;
	pul_transaction();
	id = concord_pull_state_due();
	pul_commit();
	return id;
}

/* pul_try is pul_due_part; returns what it raised, or NULL. */
static ErrorData *
pul_try(int32 id, ConcordPullOptions *options, MemoryContext context)
{
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		pul_due_part(id, options);
	}
	PG_CATCH();
	{
		error = concord_bookkeeping_caught(context);
	}
	PG_END_TRY();
	return error;
}

/* concord_pull_due does the next part of the pull that is due. */
bool
concord_pull_due(void)
{
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "concord pull",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	ConcordPullOptions options = {0};
	int32		id = pul_due();
	ErrorData  *error = id == 0 ? NULL : pul_try(id, &options, context);

	if (error != NULL)
	{
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("the pull of mapping %d failed: %s", id, error->message)));
		concord_bookkeeping_begin();
		concord_pull_state_failed(id, options.method, error->message,
								  options.every_ms);
		concord_bookkeeping_commit(true);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return id != 0;
}
