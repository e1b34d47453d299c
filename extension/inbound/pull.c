/*-------------------------------------------------------------------------
 *
 * pull.c
 *	  concord.pull(), and the pulls that the applier does by itself.
 *
 * A run goes in parts, each of some pages (pull_run.c, pull_read.c).  What a
 * part has brought is applied in the transaction that notes where the next one
 * goes on, so that a crash costs a part and repeats none.  concord.pull() does
 * all of them in its caller's transaction.
 *
 * The applier waits for the system with no transaction that anybody could
 * notice: how far the pull has come is read in one, the part in another that has
 * neither xid nor snapshot nor locks, and applied in a third, if mapping and state
 * are what they were; otherwise what was read is dropped.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "delivery/pending.h"

#include "access/xact.h"
#include "base/bookkeeping.h"
#include "base/settings.h"
#include "funcapi.h"
#include "inbound/pull.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(concord_pull);

/* concord_pull_changed gives the path of the member that has the time of change. */
char *
concord_pull_changed(const ConcordMapping *mapping,
					 const ConcordConnector *connector)
{
	const ConcordPullOptions *options = mapping->options.pull;
	const ConcordPulling *pulling = concord_connector_pulling(connector);
	const char *given = options != NULL && options->changed != NULL ?
		options->changed : pulling->changed;
	char	   *path = given == NULL || *given == '\0' ? NULL : pstrdup(given);

	for (char *p = path; p != NULL && *p; p++)
	{
		if (*p == '/')
			*p = '.';
	}
	return path;
}

/* pul_open makes what a pull needs, in a context of its own. */
static ConcordPull *
pul_open(const ConcordMapping *mapping, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	ConcordPull *pull = palloc0(sizeof(ConcordPull));

	if (mapping->options.pull == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("mapping \"%s\" does not pull", mapping->name),
				 errhint("Give it option pull, as in concord.alter_mapping(name, options => '{\"pull\": {}}').")));
	pull->mapping = mapping;
	pull->options = mapping->options.pull;
	pull->context = context;
	pull->peer = concord_peer_get(mapping->serverid, mapping->definer);
	pull->connector = pull->peer->server->connector;
	pull->pulling = concord_connector_pulling(pull->connector);
	concord_pulling_check(pull->connector, mapping);
	pull->changed = concord_pull_changed(mapping, pull->connector);
	pull->table.relname = mapping->name;
	pull->table.object = mapping->object;
	pull->table.service = mapping->options.service;
	pull->table.query = pull->options->filter;
	pull->table.paging = -1;
	pull->table.page_bytes = (Size) concord_max_answer_size * 1024;
	pull->part = AllocSetContextCreate(context, "concord pulled records",
									   ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(old);
	return pull;
}

/* pul_whole does all parts of a run in the caller's transaction. */
static void
pul_whole(ConcordPull *pull, ConcordInboundCounts *total)
{
	ConcordCatalogScope scope;
	bool		more = true;

	pull->inbound = concord_inbound_open(pull->mapping, "pull", pull->context);
	while (more)
	{
		concord_catalog_enter(&scope);
		concord_pull_state_read(pull->mapping->id, &pull->state, pull->context);
		concord_catalog_leave(&scope);
		concord_pull_decide(pull);
		if (pull->state.run != CONCORD_RUN_GONE)
			concord_pull_read(pull);
		more = concord_pull_store(pull);
		total->fetched += pull->counts.fetched;
		total->applied += pull->counts.applied;
		total->conflicts += pull->counts.conflicts;
		total->rejected += pull->counts.rejected;
	}
	concord_inbound_close(pull->inbound);
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
	ConcordPull *pull;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	pull = pul_open(mapping, CurrentMemoryContext);
	pul_whole(pull, &total);
	concord_peer_done(pull->peer);
	SPI_finish();
	values[0] = Int64GetDatum(total.fetched);
	values[1] = Int64GetDatum(total.applied);
	values[2] = Int64GetDatum(total.conflicts);
	values[3] = Int64GetDatum(total.rejected);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}

/* One part of a pull that the applier does. */
typedef struct PulTurn
{
	MemoryContext context;
	int32		id;
	ConcordPullOptions options; /* for the next try, should this one fail */
	ConcordPull *pull;			/* its peer is pinned */
	ConcordPullState before;	/* what it was read for */
} PulTurn;

/* pul_begin_part reads how far a mapping's pull has come; false: it does not pull. */
static bool
pul_begin_part(PulTurn *turn)
{
	ConcordMapping *mapping;

	concord_inbound_begin();
	mapping = concord_mapping_by_id(turn->id, turn->context);
	if (mapping != NULL && mapping->options.pull != NULL)
	{
		turn->options = *mapping->options.pull;
		/* it takes something in, or raises why not */
		concord_inbound_close(concord_inbound_open(mapping, "pull", turn->context));
		turn->pull = pul_open(mapping, turn->context);
		concord_peer_pin(turn->pull->peer);
		concord_pull_state_peek(turn->id, &turn->before, turn->context);
		turn->pull->state = turn->before;
		concord_pull_decide(turn->pull);
	}
	concord_inbound_commit();
	return turn->pull != NULL;
}

/* pul_same_text: two texts, or none, are the same. */
static bool
pul_same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* pul_same: nothing has happened to the pull since a part of it was read. */
static bool
pul_same(const ConcordPullState *a, const ConcordPullState *b)
{
	return a->method == b->method && a->run == b->run &&
		a->changed_to == b->changed_to &&
		a->run_changed_to == b->run_changed_to &&
		pul_same_text(a->list, b->list) && pul_same_text(a->link, b->link) &&
		pul_same_text(a->position, b->position);
}

/* pul_end_part applies what was read, if it is still what is wanted. */
static void
pul_end_part(PulTurn *turn)
{
	ConcordPull *pull = turn->pull;
	ConcordPullState now;
	ConcordMapping *mapping;

	concord_inbound_begin();
	mapping = concord_mapping_by_id(turn->id, turn->context);
	if (mapping != NULL && mapping->state == CONCORD_MAPPING_ACTIVE &&
		mapping->version == pull->mapping->version &&
		mapping->definer == pull->mapping->definer)
	{
		concord_pull_state_read(turn->id, &now, turn->context);
		if (pul_same(&now, &turn->before))
		{
			pull->inbound = concord_inbound_open(mapping, "pull", turn->context);
			(void) concord_pull_store(pull);
			concord_inbound_close(pull->inbound);
		}
	}
	concord_inbound_commit();
}

/* pul_part does a part of a mapping's pull. */
static void
pul_part(PulTurn *turn)
{
	if (!pul_begin_part(turn))
		return;
	if (turn->pull->state.run != CONCORD_RUN_GONE)
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		MemoryContextSwitchTo(turn->context);
		concord_pull_read(turn->pull);
		CommitTransactionCommand();
	}
	MemoryContextSwitchTo(turn->context);
	pul_end_part(turn);
}

/* pul_due gives the mapping whose pull is due; 0: none. */
static int32
pul_due(void)
{
	int32		id = 0;

	if (!concord_delivery)
		return 0;
	concord_inbound_begin();
	id = concord_pull_state_due();
	concord_inbound_commit();
	return id;
}

/* pul_try is pul_part; returns what it raised, or NULL. */
static ErrorData *
pul_try(PulTurn *turn)
{
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		pul_part(turn);
	}
	PG_CATCH();
	{
		error = concord_bookkeeping_caught(turn->context);
	}
	PG_END_TRY();
	if (turn->pull != NULL)
		concord_peer_unpin(turn->pull->peer);
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
	PulTurn		turn = {.context = context,.id = pul_due()};
	ErrorData  *error = turn.id == 0 ? NULL : pul_try(&turn);

	MemoryContextSwitchTo(context);
	if (error != NULL)
	{
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("the pull of mapping %d failed: %s", turn.id, error->message)));
		concord_bookkeeping_begin();
		concord_pull_state_failed(turn.id, turn.options.method, error->message,
								  turn.options.every_ms);
		concord_bookkeeping_commit(true);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return turn.id != 0;
}
