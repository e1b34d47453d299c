/*-------------------------------------------------------------------------
 *
 * transaction.c
 *	  The transactions in which events are evaluated.
 *
 * A mapping has one of its own: its expressions are its definer's code, which
 * may change settings and take locks.  Mappings that run no code, and events
 * for which nothing is read, may share one.
 *
 * Nothing waits for a lock in a shared one: whoever has locked a table of one
 * mapping may want one of another, and would be in a deadlock with us that only
 * our sharing has made.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/compile.h"

#include "access/xact.h"
#include "decoder/protocol.h"
#include "mapping/written.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* An environment that stands for several mappings. */
typedef struct TrnEnvironment
{
	ConcordEnvironment environment;
	const ConcordMapping *mapping;	/* whose it is; NULL: not entered */
} TrnEnvironment;

/* concord_mapping_evaluate evaluates events in the caller's transaction. */
ConcordMapped *
concord_mapping_evaluate(ConcordCompiled *compiled,
						 const ConcordEvent *const *events, int nevents,
						 MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	ConcordMapped *mapped;
	ConcordEnvironment environment;

	if (compiled->mapping->written)
	{
		/* nothing is evaluated */
		mapped = palloc0(sizeof(ConcordMapped) * Max(nevents, 1));
		concord_written_map(compiled->mapping, events, nevents, mapped);
		MemoryContextSwitchTo(old);
		return mapped;
	}
	concord_environment_enter(&environment, compiled->mapping->definer,
							  compiled->mapping->search_path);
	/* no ALTER TABLE until the end of the transaction */
	if (OidIsValid(compiled->mapping->source))
		LockRelationOid(compiled->mapping->source, AccessShareLock);
	mapped = concord_mapping_evaluate_here(compiled, events, nevents);
	concord_environment_leave(&environment);
	concord_children_evaluate(compiled, events, nevents, mapped);
	MemoryContextSwitchTo(old);
	return mapped;
}

/* trn_begin begins a read-only transaction; trn_end ends it. */
static void
trn_begin(void)
{
	Assert(!IsTransactionState());
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactReadOnly = true;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	PushActiveSnapshot(GetTransactionSnapshot());
}

static void
trn_end(void)
{
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
}

/* concord_mapping_eval evaluates events in a transaction of its own. */
ConcordMapped *
concord_mapping_eval(ConcordCompiled *compiled,
					 const ConcordEvent *const *events, int nevents,
					 MemoryContext context)
{
	MemoryContext old = CurrentMemoryContext;
	ConcordMapped *mapped;

	trn_begin();
	mapped = concord_mapping_evaluate(compiled, events, nevents, context);
	trn_end();
	MemoryContextSwitchTo(old);
	return mapped;
}

/* concord_transaction_is_plain: no expression is run, no table read. */
bool
concord_transaction_is_plain(const ConcordCompiled *compiled)
{
	const ConcordMapping *mapping = compiled->mapping;
	ListCell   *lc;

	if (!OidIsValid(mapping->source) ||
		compiled->filter.nsql + compiled->checks.nsql + compiled->upsert.nsql +
		compiled->remove.nsql + compiled->keys.nsql > 0 ||
		mapping->options.parent != NULL || mapping->options.depends != NIL)
		return false;
	foreach(lc, mapping->fields)
		if (((const ConcordField *) lfirst(lc))->children != NULL)
		return false;
	return true;
}

/* concord_mapping_is_plain: and it is compiled as everything is now. */
bool
concord_mapping_is_plain(const ConcordCompiled *compiled)
{
	return compiled->valid && compiled->built && compiled->plain;
}

/* concord_mapping_is_plain_event: its image has all there is to know of it. */
bool
concord_mapping_is_plain_event(const ConcordEvent *event)
{
	return event->relation != NULL &&
		(event->op == CONCORD_OP_INSERT || event->op == CONCORD_OP_UPDATE ||
		 event->op == CONCORD_OP_DELETE) &&
		(event->flags & (CONCORD_ROW_UNCHANGED | CONCORD_ROW_OVERSIZE |
						 CONCORD_ROW_FAILED | CONCORD_EVENT_DEPENDS)) == 0;
}

/*
 * trn_same_shape: the events' rows are as the table's are now, so that no value
 * goes through the input function of a type, which may be anybody's.
 */
static bool
trn_same_shape(ConcordCompiled *compiled, const ConcordEvent *const *events,
			   int nevents)
{
	for (int i = 0; i < nevents; i++)
	{
		if ((i == 0 || events[i]->relation != events[i - 1]->relation) &&
			!concord_rows_shape(compiled, events[i]->relation)->same)
			return false;
	}
	return true;
}

/* trn_enter has a mapping's environment stand. */
static void
trn_enter(TrnEnvironment *standing, const ConcordMapping *mapping)
{
	if (standing->mapping != NULL)
	{
		if (standing->mapping->definer == mapping->definer &&
			strcmp(standing->mapping->search_path, mapping->search_path) == 0)
			return;
		concord_environment_leave(&standing->environment);
	}
	concord_environment_enter(&standing->environment, mapping->definer,
							  mapping->search_path);
	standing->mapping = mapping;
}

/* concord_mapping_eval_plain evaluates plain events of several plain mappings. */
void
concord_mapping_eval_plain(ConcordEvaluation *evaluations, int n)
{
	MemoryContext old = CurrentMemoryContext;
	TrnEnvironment standing = {.mapping = NULL};

	trn_begin();
	for (int i = 0; i < n; i++)
	{
		ConcordEvaluation *e = &evaluations[i];
		const ConcordMapping *mapping = e->compiled->mapping;

		/* with the lock come invalidations */
		if (!ConditionalLockRelationOid(mapping->source, AccessShareLock) ||
			!concord_mapping_is_plain(e->compiled) ||
			!trn_same_shape(e->compiled, e->events, e->nevents))
			continue;
		trn_enter(&standing, mapping);
		MemoryContextSwitchTo(e->context);
		e->mapped = concord_mapping_evaluate_here(e->compiled, e->events, e->nevents);
	}
	if (standing.mapping != NULL)
		concord_environment_leave(&standing.environment);
	trn_end();
	MemoryContextSwitchTo(old);
}
