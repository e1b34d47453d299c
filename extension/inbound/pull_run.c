/*-------------------------------------------------------------------------
 *
 * pull_run.c
 *	  What a pull does next, and what comes of a part that was read.
 *
 * A run reads one list: the link of changes that the last one left (delta), what
 * was changed since the newest record that was seen, less an overlap (since),
 * or all (full).  All is also read where nothing was pulled before, and where
 * a link has expired.  Once all was read, links whose records were not there
 * are those of records that are gone, if option pull says that this deletes.
 *
 * concord_pull_decide() writes nothing, so that a part can be read with no
 * transaction open; concord_pull_store() does, all in one.
 *
 * Times are the system's: a clock that is off does no harm.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "base/settings.h"
#include "inbound/pull.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* pul_has says whether the connector has a way. */
static bool
pul_has(const ConcordPull *pull, ConcordPullMethod method)
{
	return (pull->pulling->methods & (1u << method)) != 0;
}

/* pul_method chooses how it is pulled, where the mapping does not say. */
static ConcordPullMethod
pul_method(const ConcordPull *pull)
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
pul_all(ConcordPull *pull, const char *note)
{
	pull->state.run = CONCORD_RUN_FULL;
	pull->state.position = NULL;
	pull->state.run_changed_to = 0;
	if (note != NULL)
		pull->state.note = pull->notice = note;
	pull->forget = true;
}

/*
 * pul_list_name says which list is read: places in one are of no use in
 * another.
 */
static char *
pul_list_name(const ConcordPull *pull)
{
	return psprintf("%s %s %s %s", pull->peer->server->url,
					pull->table.service != NULL ? pull->table.service : "",
					pull->table.object,
					pull->table.query != NULL ? pull->table.query : "");
}

/* pul_check forgets what is of another list than the mapping's now. */
static void
pul_check(ConcordPull *pull, char *list)
{
	ConcordPullState *state = &pull->state;

	pull->anew = state->list != NULL && strcmp(state->list, list) != 0;
	if (pull->anew)
	{
		memset(state, 0, sizeof(*state));
		pull->forget = true;
	}
	state->list = list;
}

/* pul_begin decides what a new run does. */
static void
pul_begin(ConcordPull *pull)
{
	ConcordPullState *state = &pull->state;
	ConcordPullMethod method = pul_method(pull);
	bool		same = method == state->method;

	pull->started_at = GetCurrentTimestamp();
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

/* concord_pull_decide says what the next part does: state and list are set. */
void
concord_pull_decide(ConcordPull *pull)
{
	MemoryContext old = MemoryContextSwitchTo(pull->context);

	MemoryContextReset(pull->part);
	pull->records = NULL;
	pull->n = pull->places = 0;
	pull->bytes = 0;
	pull->forget = false;
	pull->notice = NULL;
	pull->started_at = 0;
	memset(&pull->counts, 0, sizeof(pull->counts));
	pul_check(pull, pul_list_name(pull));
	if (pull->state.run == CONCORD_RUN_NONE)
		pul_begin(pull);
	MemoryContextSwitchTo(old);
}

/*
 * pul_keys finds the rows of records of which only the id is told: ids of the
 * mapping's own making are no index's.
 */
static void
pul_keys(ConcordPull *pull, ConcordInboundRecord *records, int n)
{
	ConcordCatalogScope scope;
	int			wanted = 0;

	for (int i = 0; i < n; i++)
	{
		pull->ids[i] = NULL;
		if (records[i].op != CONCORD_INBOUND_DELETE ||
			records[i].remote_id == NULL || records[i].local_key != NULL)
			continue;
		pull->ids[i] = unconstify(char *, records[i].remote_id);
		wanted++;
	}
	if (wanted == 0)
		return;
	concord_catalog_enter(&scope);
	concord_pull_keys(pull->mapping->id, pull->ids, pull->keys, n, pull->part);
	concord_catalog_leave(&scope);
	for (int i = 0; i < n; i++)
	{
		if (pull->ids[i] != NULL)
			records[i].local_key = pull->keys[i];
	}
}

/* pul_apply applies n of the records that were read. */
static void
pul_apply(ConcordPull *pull, ConcordInboundRecord *records, int n)
{
	MemoryContext old = MemoryContextSwitchTo(pull->part);
	ConcordCatalogScope scope;

	if (!concord_inbound_assigned(pull->inbound))
		pul_keys(pull, records, n);
	concord_inbound_apply(pull->inbound, records, n, &pull->counts);
	if (pull->state.run == CONCORD_RUN_FULL && pull->options->remove)
	{
		for (int i = 0; i < n; i++)
			pull->ids[i] = concord_inbound_remote_id(pull->inbound, &records[i]);
		concord_catalog_enter(&scope);
		concord_pull_seen_add(pull->mapping->id, pull->ids, n);
		concord_catalog_leave(&scope);
	}
	MemoryContextSwitchTo(old);
}

/* pul_untracked goes on without a link that the system has not given. */
static void
pul_untracked(ConcordPull *pull)
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
pul_ended(ConcordPull *pull)
{
	ConcordPullState *state = &pull->state;
	bool		compared = state->run == CONCORD_RUN_FULL;

	state->position = NULL;
	if (state->method == CONCORD_PULL_DELTA)
	{
		state->link = pull->told;
		if (pull->told == NULL)
			pul_untracked(pull);
	}
	if (state->run_changed_to > state->changed_to || compared)
		state->changed_to = state->run_changed_to;
	state->run = compared && pull->options->remove ? CONCORD_RUN_GONE :
		CONCORD_RUN_NONE;
}

/* pul_unseen takes records that are gone; false: there are no more. */
static bool
pul_unseen(ConcordPull *pull)
{
	ConcordPullState *state = &pull->state;
	ConcordCatalogScope scope;
	int			n = 0;
	ConcordInboundRecord *records = MemoryContextAllocZero(pull->part,
														   sizeof(ConcordInboundRecord) * CONCORD_PULL_BATCH);

	concord_catalog_enter(&scope);
	if (!concord_pull_seen_any(pull->mapping->id))
	{
		/* whoever has nothing at all has more likely lost its way */
		state->note = "the system has no records at all: none was deleted here";
	}
	else
		n = concord_pull_unseen(pull->mapping->id,
								state->position != NULL ? state->position : "",
								pull->ids, pull->keys, CONCORD_PULL_BATCH, pull->part);
	for (int i = 0; i < n; i++)
	{
		records[i].op = CONCORD_INBOUND_DELETE;
		records[i].remote_id = pull->ids[i];
		records[i].local_key = pull->keys[i];
	}
	state->position = n == 0 ? NULL :
		MemoryContextStrdup(pull->context, pull->ids[n - 1]);
	concord_catalog_leave(&scope);
	if (n == 0)
		return false;
	concord_inbound_apply(pull->inbound, records, n, &pull->counts);
	return true;
}

/* pul_gone ends a compare: what it has not seen is gone. */
static void
pul_gone(ConcordPull *pull)
{
	ConcordCatalogScope scope;

	if (pul_unseen(pull))
		return;
	concord_catalog_enter(&scope);
	concord_pull_seen_forget(pull->mapping->id);
	concord_catalog_leave(&scope);
	pull->state.run = CONCORD_RUN_NONE;
}

/* pul_list applies a part of a list. */
static void
pul_list(ConcordPull *pull)
{
	if (pull->gone)
	{
		pull->state.link = NULL;
		pul_all(pull, "the system's feed of changes has expired; everything is compared");
		return;
	}
	for (int at = 0; at < pull->n; at += CONCORD_PULL_BATCH)
		pul_apply(pull, pull->records + at, Min(pull->n - at, CONCORD_PULL_BATCH));
	if (pull->ended)
		pul_ended(pull);
	else
		pull->state.position = pull->mark;
}

/* pul_forget empties the memory of compares, in the caller's transaction. */
static void
pul_forget(ConcordPull *pull)
{
	ConcordCatalogScope scope;

	if (!pull->forget)
		return;
	concord_catalog_enter(&scope);
	concord_pull_seen_forget(pull->mapping->id);
	concord_catalog_leave(&scope);
	pull->forget = false;
}

/* concord_pull_store applies what was read, and notes how far it has come. */
bool
concord_pull_store(ConcordPull *pull)
{
	ConcordCatalogScope scope;
	bool		more;

	pul_forget(pull);
	if (pull->state.run == CONCORD_RUN_GONE)
		pul_gone(pull);
	else
		pul_list(pull);
	pul_forget(pull);
	if (pull->notice != NULL)
		ereport(NOTICE,
				(errmsg("mapping \"%s\": %s", pull->mapping->name, pull->notice)));
	more = pull->state.run != CONCORD_RUN_NONE;
	concord_catalog_enter(&scope);
	concord_pull_state_write(pull->mapping->id, &pull->state, &pull->counts,
							 pull->started_at, !more, pull->options->every_ms);
	concord_catalog_leave(&scope);
	return more;
}
