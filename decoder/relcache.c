/*-------------------------------------------------------------------------
 *
 * relcache.c
 *	  The plugin's entry for each relation that it has met.
 *
 * An entry answers in one lookup: is the relation sent, as what, with which
 * columns, and how is each of them written.  It is filled when a change of
 * the relation comes by, under the historic snapshot of that change, and
 * marked invalid by core's invalidations, which replay in step with the WAL.
 * The callbacks only mark: an entry may be in use further up the stack.
 *
 * A partition that is sent under an ancestor depends on that ancestor too
 * (its name, its selection), so an entry remembers all ancestors; and the
 * relations of its columns' composite types.
 *
 * Callbacks cannot be unregistered, so they are registered once in a process
 * and find the current state through a static pointer, which a callback of
 * the state's memory context clears however the state ends.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "decoder.h"
#include "origin.h"
#include "protocol.h"

/* So many entries are kept, valid or not. */
#define SWEEP_MIN		1024

/* The state whose entries invalidations are for; see the head of the file. */
static DecoderState *current_state = NULL;

/* Is an entry as it would be if it were filled now? */
static inline bool
rc_is_valid(const DecoderState *state, const ConcordRel *rel)
{
	return rel->valid == state->generation;
}

/* Does an entry depend on another relation, with this OID? */
static bool
rc_depends(const ConcordRel *rel, Oid relid)
{
	for (int i = 0; i < rel->nancestors; i++)
	{
		if (rel->ancestors[i] == relid)
			return true;
	}
	return list_member_oid(rel->rowtypes, relid);
}

/* Mark all entries. */
static void
rc_invalidate_every(DecoderState *state)
{
	state->generation++;
}

/* Mark entries: the one of relid and those that depend on it, or all. */
static void
rc_invalidate_relation(Datum arg, Oid relid)
{
	DecoderState *state = current_state;
	HASH_SEQ_STATUS scan;
	ConcordRel *rel;

	if (state == NULL)
		return;
	if (!OidIsValid(relid))
	{
		rc_invalidate_every(state);
		return;
	}

	rel = hash_search(state->relations, &relid, HASH_FIND, NULL);
	if (rel)
		rel->valid = 0;
	/* an entry that is being filled is not noted yet */
	if (state->last_rel && rc_depends(state->last_rel, relid))
		state->last_rel->valid = 0;
	if (hash_search(state->depended_on, &relid, HASH_FIND, NULL) == NULL)
		return;
	hash_seq_init(&scan, state->relations);
	while ((rel = hash_seq_search(&scan)) != NULL)
	{
		if (rc_depends(rel, relid))
			rel->valid = 0;
	}
}

/* A type changed, or an enum's words: names and output functions may have. */
static void
rc_invalidate_all(Datum arg, int cacheid, uint32 hashvalue)
{
	if (current_state)
		rc_invalidate_every(current_state);
}

/* A publication changed. */
static void
rc_invalidate_publications(Datum arg, int cacheid, uint32 hashvalue)
{
	if (current_state == NULL)
		return;
	current_state->publications_valid = false;
	rc_invalidate_every(current_state);
}

/* An origin was created or dropped. */
static void
rc_invalidate_origins(Datum arg, int cacheid, uint32 hashvalue)
{
	if (current_state)
		concord_origin_invalidate(current_state);
}

/* The state is going away: leave no pointer to it. */
static void
rc_forget(void *arg)
{
	if (current_state == arg)
		current_state = NULL;
}

/* Make the cache. */
void
concord_relcache_start(DecoderState *state)
{
	static bool registered = false;
	HASHCTL		ctl;
	MemoryContextCallback *callback;

	memset(&ctl, 0, sizeof(ctl));
	ctl.keysize = sizeof(Oid);
	ctl.entrysize = sizeof(ConcordRel);
	ctl.hcxt = state->context;
	state->relations = hash_create("concord_decoder relations", 128, &ctl,
								   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	state->last_rel = NULL;
	state->sweep_at = SWEEP_MIN;
	state->generation = 1;
	ctl.entrysize = sizeof(Oid);
	state->depended_on = hash_create("concord_decoder relations depended on", 32, &ctl,
									 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	callback = MemoryContextAllocZero(state->context, sizeof(*callback));
	callback->func = rc_forget;
	callback->arg = state;
	MemoryContextRegisterResetCallback(state->context, callback);
	current_state = state;

	if (registered)
		return;
	CacheRegisterRelcacheCallback(rc_invalidate_relation, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, rc_invalidate_publications, (Datum) 0);
	CacheRegisterSyscacheCallback(TYPEOID, rc_invalidate_all, (Datum) 0);
	CacheRegisterSyscacheCallback(ENUMOID, rc_invalidate_all, (Datum) 0);
	CacheRegisterSyscacheCallback(PUBLICATIONOID, rc_invalidate_publications, (Datum) 0);
	CacheRegisterSyscacheCallback(PUBLICATIONRELMAP, rc_invalidate_publications, (Datum) 0);
	CacheRegisterSyscacheCallback(PUBLICATIONNAMESPACEMAP, rc_invalidate_publications, (Datum) 0);
	CacheRegisterSyscacheCallback(REPLORIGIDENT, rc_invalidate_origins, (Datum) 0);
	registered = true;
}

/* Stop listening; memory goes with the context. */
void
concord_relcache_end(DecoderState *state)
{
	rc_forget(state);
}

/* Is attnum among the key columns of an index?  InvalidOid has none. */
static bool
rc_in_index(Relation index, AttrNumber attnum)
{
	if (index == NULL)
		return false;
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		if (index->rd_index->indkey.values[i] == attnum)
			return true;
	}
	return false;
}

/* Open an index without a lock, as decoding does with relations, or NULL. */
static Relation
rc_open_index(Oid indexid)
{
	Relation	index;

	if (!OidIsValid(indexid))
		return NULL;
	index = RelationIdGetRelation(indexid);
	if (!RelationIsValid(index))
		elog(ERROR, "could not open index with OID %u", indexid);
	return index;
}

/* Find the column of desc that has this name and is not dropped. */
static int
rc_find_column(TupleDesc desc, const char *name, int hint)
{
	if (hint < desc->natts && !TupleDescAttr(desc, hint)->attisdropped &&
		strcmp(NameStr(TupleDescAttr(desc, hint)->attname), name) == 0)
		return hint;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return i;
	}
	return -1;
}

/* Is a column left out, by publications or by option columns? */
static bool
rc_is_hidden(DecoderState *state, ConcordRel *rel, Form_pg_attribute att, bool key)
{
	if (rel->restricted && !bms_is_member(att->attnum, rel->published))
		return true;
	return !concord_filter_column(state, rel->schema, rel->table,
								  NameStr(att->attname), key);
}

/* Describe a column of target that is at place n in tuples of relation. */
static void
rc_fill_column(ConcordRel *rel, Form_pg_attribute att, int n, bool key, int flags)
{
	ConcordColumn *column = &rel->columns[rel->ncolumns++];

	column->attnum = att->attnum;
	column->source = n;
	column->name = pstrdup(NameStr(att->attname));
	column->typid = att->atttypid;
	column->typmod = att->atttypmod;
	column->varlena = att->attlen == -1;
	column->notnull = att->attnotnull;
	concord_type_init(&column->type, att->atttypid, &rel->rowtypes);
	column->flags = flags | (att->attgenerated ? CONCORD_COL_GENERATED : 0);
	column->key = key;
}

/*
 * Half a key is worse than none: a consumer would take it for a whole one, and
 * find other rows by it.  So where a column of it is left out, none is marked.
 */
static void
rc_unmark(ConcordRel *rel, bool key, int flags)
{
	for (int i = 0; i < rel->ncolumns; i++)
	{
		rel->columns[i].flags &= ~flags;
		if (key)
			rel->columns[i].key = false;
	}
}

/*
 * Describe the columns of target as they are found in tuples of relation,
 * which is target itself or a partition of it.
 */
static void
rc_fill_columns(DecoderState *state, ConcordRel *rel, Relation relation,
				Relation target)
{
	TupleDesc	source = RelationGetDescr(relation);
	TupleDesc	desc = RelationGetDescr(target);
	Oid			identity_oid = RelationGetReplicaIndex(relation);
	Relation	identity = rc_open_index(identity_oid);
	Relation	primary = rc_open_index(relation->rd_pkindex);
	bool		full = relation->rd_rel->relreplident == REPLICA_IDENTITY_FULL;
	bool		key_hidden = false;
	int			hidden = 0;		/* flags of columns that are not sent */

	rel->replident = relation->rd_rel->relreplident;
	rel->columns = palloc0(sizeof(ConcordColumn) * Max(desc->natts, 1));
	rel->ncolumns = 0;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		int			flags = 0;
		bool		key;
		int			n;

		/* A virtual generated column (18+) is not in the tuple. */
		if (att->attisdropped || att->attgenerated == CONCORD_GENERATED_VIRTUAL)
			continue;
		n = rc_find_column(source, NameStr(att->attname), i);
		if (n < 0)
			continue;
		if (rc_in_index(primary, n + 1))
			flags |= CONCORD_COL_PRIMARY;
		if (full || rc_in_index(identity, n + 1))
			flags |= CONCORD_COL_IDENTITY;
		key = (flags & (full ? CONCORD_COL_PRIMARY : CONCORD_COL_IDENTITY)) != 0;
		if (rc_is_hidden(state, rel, att, key))
		{
			key_hidden |= key;
			hidden |= flags;
			continue;
		}
		rc_fill_column(rel, att, n, key, flags);
	}
	if (full)
		hidden &= ~CONCORD_COL_IDENTITY;
	if (key_hidden || hidden != 0)
		rc_unmark(rel, key_hidden, hidden);
	rel->key_hidden = key_hidden && !full;
	rel->has_identity = full || (identity != NULL && !key_hidden);
	if (identity)
		RelationClose(identity);
	if (primary)
		RelationClose(primary);
}

/* Name a type so that no search_path is needed to read it. */
char *
concord_relcache_type_name(Oid typid, int32 typmod)
{
	static const char catalog[] = "pg_catalog.";
	char	   *name = format_type_extended(typid, typmod,
											FORMAT_TYPE_TYPEMOD_GIVEN |
											FORMAT_TYPE_FORCE_QUALIFY);

	if (strncmp(name, catalog, sizeof(catalog) - 1) == 0)
		name += sizeof(catalog) - 1;
	return name;
}

/*
 * Fill an entry whose selection says that it is sent, restricted to what
 * publications say of its rows and columns.
 */
static void
rc_fill(DecoderState *state, ConcordRel *rel, Relation relation, List *publications)
{
	int			natts = RelationGetDescr(relation)->natts;
	Relation	target = relation;

	if (rel->target != rel->relid)
	{
		target = RelationIdGetRelation(rel->target);
		if (!RelationIsValid(target))
			elog(ERROR, "could not open relation with OID %u", rel->target);
	}

	rel->schema = get_namespace_name(RelationGetNamespace(target));
	rel->table = pstrdup(RelationGetRelationName(target));
	rel->natts = natts;
	rel->old_values = palloc(sizeof(Datum) * Max(natts, 1));
	rel->new_values = palloc(sizeof(Datum) * Max(natts, 1));
	rel->old_nulls = palloc(sizeof(bool) * Max(natts, 1));
	rel->new_nulls = palloc(sizeof(bool) * Max(natts, 1));
	rel->old_left_out = palloc0(sizeof(bool) * Max(natts, 1));
	rel->new_left_out = palloc0(sizeof(bool) * Max(natts, 1));
	if (publications != NIL && (rel->send & CONCORD_SEND_ROWS) != 0)
		concord_publication_restrict(publications, rel, relation, target);
	rc_fill_columns(state, rel, relation, target);
	rel->old_spans = palloc0(sizeof(ConcordSpan) * Max(rel->ncolumns, 1));
	state->encoder->describe(state, rel);

	if (target != relation)
		RelationClose(target);
}

/* Note the relations that an entry depends on, for invalidations of them. */
static void
rc_note_dependences(DecoderState *state, const ConcordRel *rel)
{
	ListCell   *lc;

	for (int i = 0; i < rel->nancestors; i++)
		(void) hash_search(state->depended_on, &rel->ancestors[i], HASH_ENTER, NULL);
	foreach(lc, rel->rowtypes)
		(void) hash_search(state->depended_on, &lfirst_oid(lc), HASH_ENTER, NULL);
}

/*
 * Forget entries that are not valid, among which are those of relations that
 * were dropped; the others are filled again when they are needed.  Done where
 * the cache has doubled, so it costs a relation next to nothing.
 */
static void
rc_sweep(DecoderState *state)
{
	HASH_SEQ_STATUS scan;
	ConcordRel *rel;

	hash_seq_init(&scan, state->relations);
	while ((rel = hash_seq_search(&scan)) != NULL)
	{
		if (rc_is_valid(state, rel))
			continue;
		if (rel->context)
			MemoryContextDelete(rel->context);
		(void) hash_search(state->relations, &rel->relid, HASH_REMOVE, NULL);
	}
	state->last_rel = NULL;
	state->sweep_at = Max(2 * hash_get_num_entries(state->relations), SWEEP_MIN);
}

/* Find or fill the entry of a relation that is not the one used last. */
static ConcordRel *
rc_get(DecoderState *state, Relation relation)
{
	Oid			relid = RelationGetRelid(relation);
	ConcordRel *rel;
	MemoryContext old;
	MemoryContext context;
	List	   *publications;
	bool		found;

	if (unlikely(hash_get_num_entries(state->relations) >= state->sweep_at))
		rc_sweep(state);
	rel = hash_search(state->relations, &relid, HASH_ENTER, &found);
	state->last_rel = rel;
	if (found && rc_is_valid(state, rel))
		return rel;

	if (found && rel->context)
		MemoryContextDelete(rel->context);
	memset((char *) rel + sizeof(Oid), 0, sizeof(ConcordRel) - sizeof(Oid));

	context = AllocSetContextCreate(state->context, "concord_decoder relation",
									ALLOCSET_SMALL_SIZES);
	rel->context = context;
	old = MemoryContextSwitchTo(context);

	/*
	 * Valid from here on: what is read while the entry is filled may bring
	 * invalidations, and then it has to be filled again next time.
	 */
	rel->valid = state->generation;
	rel->target = relid;
	publications = concord_filter_relation(state, relation, rel);
	if (rel->send != 0)
		rc_fill(state, rel, relation, publications);
	MemoryContextSwitchTo(old);
	rc_note_dependences(state, rel);
	if (rel->send == 0 && rel->nancestors == 0)
	{
		/* one of many, perhaps: tables that come and go */
		MemoryContextDelete(context);
		rel->context = NULL;
	}
	return rel;
}

/* Give the entry of a relation of which a change is at hand. */
ConcordRel *
concord_relcache_get(DecoderState *state, Relation relation)
{
	ConcordRel *rel = state->last_rel;

	if (likely(rel != NULL && rel->relid == RelationGetRelid(relation) &&
			   rc_is_valid(state, rel)))
		return rel;
	return rc_get(state, relation);
}
