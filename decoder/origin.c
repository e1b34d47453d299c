/*-------------------------------------------------------------------------
 *
 * origin.c
 *	  Replication origins: whose changes are dropped, and what they are called.
 *
 * WAL has ids of origins, and core asks for each record, before it costs
 * memory and where no catalog may be read as of that record.  So the names of
 * option origin become ids when decoding starts, where a name that does not
 * exist is an error, and again when an origin was created or dropped: one
 * that is created later under a name counts, one that is dropped no longer
 * does.  PostgreSQL gives the id of a dropped origin to the next one; changes
 * of a dropped origin that are still in WAL count as those of the one that has
 * its id now.
 *
 * Changes whose origin is DoNotReplicateId are never sent: that is how the
 * extension marks its own bookkeeping.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "nodes/value.h"
#include "replication/origin.h"
#include "utils/memutils.h"

#include "decoder.h"
#include "origin.h"
#include "protocol.h"

/*
 * Make the catalogs readable where no transaction is open, as in a walsender
 * between records.  Returns whether that has to be undone.
 */
static bool
origin_catalog_begin(void)
{
	MemoryContext old = CurrentMemoryContext;

	if (IsTransactionState())
		return false;
	StartTransactionCommand();
	MemoryContextSwitchTo(old);
	return true;
}

/*
 * Undo it.  What is cached by then was read as of now, not as of a place in
 * WAL, which makes no difference to origins.
 */
static void
origin_catalog_end(bool begun)
{
	MemoryContext old = CurrentMemoryContext;

	if (!begun)
		return;
	CommitTransactionCommand();
	MemoryContextSwitchTo(old);
}

/* Look up the ids of the names in option origin. */
static void
origin_resolve(DecoderState *state, bool missing_ok)
{
	const ConcordOriginOption *option = &state->options.origin;
	bool		begun = origin_catalog_begin();
	ListCell   *lc;

	/* valid from here on: a lookup may bring invalidations */
	state->origins_valid = true;
	state->norigins = 0;
	if (state->origins == NULL)
		state->origins =
			MemoryContextAlloc(state->context,
							   sizeof(RepOriginId) * list_length(option->names));
	foreach(lc, option->names)
	{
		const char *name = lfirst(lc);
		RepOriginId id = replorigin_by_name(name, true);

		if (id != InvalidRepOriginId)
			state->origins[state->norigins++] = id;
		else if (!missing_ok)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("replication origin \"%s\" does not exist",
							concord_options_shown(name)),
					 errdetail("Option \"origin\" of output plugin \"%s\" names it.",
							   CONCORD_DECODER_NAME),
					 errhint("View pg_replication_origin has all; create it with pg_replication_origin_create().")));
	}
	origin_catalog_end(begun);
}

/* Refuse origins that do not exist when decoding starts. */
void
concord_origin_check(DecoderState *state)
{
	if (state->options.origin.which == CONCORD_ORIGIN_NAMES)
		origin_resolve(state, false);
}

/* Is a change of this origin dropped? */
bool
concord_origin_filter(DecoderState *state, RepOriginId origin)
{
	const ConcordOriginOption *option = &state->options.origin;

	if (likely(origin == InvalidRepOriginId))
		return option->which == CONCORD_ORIGIN_NAMES && !option->with_none;
	if (origin == DoNotReplicateId)
		return true;
	if (option->which != CONCORD_ORIGIN_NAMES)
		return option->which == CONCORD_ORIGIN_NONE;

	if (unlikely(!state->origins_valid))
		origin_resolve(state, true);
	for (int i = 0; i < state->norigins; i++)
	{
		if (state->origins[i] == origin)
			return false;
	}
	return true;
}

/* The name of an origin, or NULL where it is unknown. */
const char *
concord_origin_name(DecoderState *state, RepOriginId origin)
{
	const char *result = NULL;
	char	   *name;
	bool		begun;

	if (origin == InvalidRepOriginId || origin == DoNotReplicateId)
		return NULL;
	if (state->origin_named == origin)
		return state->origin_name;

	begun = origin_catalog_begin();
	state->origin_named = InvalidRepOriginId;
	if (replorigin_by_oid(origin, true, &name))
	{
		if (state->origin_name)
			pfree(state->origin_name);
		result = state->origin_name = MemoryContextStrdup(state->context, name);
		state->origin_named = origin;
		/* the end of a streamed transaction has no context that is reset */
		pfree(name);
	}
	origin_catalog_end(begun);
	return result;
}

/* Something happened to the catalog of origins. */
void
concord_origin_invalidate(DecoderState *state)
{
	state->origins_valid = false;
	state->origin_named = InvalidRepOriginId;
}
