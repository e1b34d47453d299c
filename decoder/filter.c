/*-------------------------------------------------------------------------
 *
 * filter.c
 *	  What is sent: relations, origins, messages.
 *
 * A relation is looked at once, when its entry is filled; the entry is marked
 * invalid when what was read here may have changed.  A partition is sent as
 * its topmost ancestor that is selected (as publications with
 * publish_via_partition_root do), or as itself where only itself is selected.
 *
 * With selection = captured, the table concord.captured says.  It is found by
 * name and read under the historic snapshot, which works because it is a
 * user_catalog_table; its own trigger invalidates the relation that a row of
 * it names.  Where the table does not exist at that point of the WAL, nothing
 * is captured.
 *
 * Two things are never sent, whatever the options say: relations of schema
 * concord, and changes whose origin is DoNotReplicateId, which is how the
 * extension marks its own bookkeeping.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_publication.h"
#include "catalog/pg_publication_rel.h"
#include "nodes/value.h"
#include "replication/origin.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "decoder.h"
#include "protocol.h"

#define CONCORD_SCHEMA			"concord"
#define CONCORD_CAPTURED		"captured"

/* Is a change of this origin dropped? */
bool
concord_filter_origin(DecoderState *state, RepOriginId origin)
{
	if (origin == DoNotReplicateId)
		return true;
	return origin != InvalidRepOriginId &&
		state->options.origin == CONCORD_ORIGIN_NONE;
}

/* Is a message with this prefix sent? */
bool
concord_filter_message(DecoderState *state, const char *prefix)
{
	ListCell   *lc;

	foreach(lc, state->options.messages)
	{
		const char *wanted = lfirst(lc);

		if (strncmp(prefix, wanted, strlen(wanted)) == 0)
			return true;
	}
	return false;
}

/* Does a pattern with CONCORD_PATTERN_ANY match the whole of name? */
static bool
flt_match(const char *pattern, const char *name)
{
	const char *retry_pattern = NULL;
	const char *retry_name = NULL;

	while (*name)
	{
		if (*pattern == CONCORD_PATTERN_ANY)
		{
			retry_pattern = ++pattern;
			retry_name = name;
		}
		else if (*pattern == *name)
		{
			pattern++;
			name++;
		}
		else if (retry_pattern)
		{
			pattern = retry_pattern;
			name = ++retry_name;
		}
		else
			return false;
	}
	while (*pattern == CONCORD_PATTERN_ANY)
		pattern++;
	return *pattern == '\0';
}

/* Does option tables name this relation? */
static bool
flt_in_tables(DecoderState *state, Oid relid)
{
	const char *schema = get_namespace_name(get_rel_namespace(relid));
	const char *table = get_rel_name(relid);
	ListCell   *lc;

	if (schema == NULL || table == NULL)
		return false;
	foreach(lc, state->options.tables)
	{
		ConcordPattern *pattern = lfirst(lc);

		if (flt_match(pattern->schema, schema) && flt_match(pattern->table, table))
			return true;
	}
	return false;
}

/* Open concord.captured as of the historic snapshot, or give NULL. */
static Relation
flt_open_captured(void)
{
	Oid			schema = get_namespace_oid(CONCORD_SCHEMA, true);
	Oid			relid;
	Relation	captured;

	if (!OidIsValid(schema))
		return NULL;
	relid = get_relname_relid(CONCORD_CAPTURED, schema);
	if (!OidIsValid(relid))
		return NULL;

	captured = table_open(relid, AccessShareLock);
	if (!RelationIsUsedAsCatalogTable(captured))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s.%s\" cannot be read while decoding",
						CONCORD_SCHEMA, CONCORD_CAPTURED),
				 errdetail("It is not marked as a catalog table."),
				 errhint("Set its storage parameter user_catalog_table to true.")));
	return captured;
}

/* Is relid in concord.captured, as of the historic snapshot? */
static bool
flt_in_captured(Relation captured, Oid relid)
{
	Oid			index = InvalidOid;
	AttrNumber	attnum = get_attnum(RelationGetRelid(captured), "relid");
	ScanKeyData key;
	SysScanDesc scan;
	bool		found;

	if (attnum == InvalidAttrNumber ||
		get_atttype(RelationGetRelid(captured), attnum) != OIDOID)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("table \"%s.%s\" has no column \"%s\" of type %s",
						CONCORD_SCHEMA, CONCORD_CAPTURED, "relid", "oid")));

	/* The primary key is on relid alone, so its column is the first. */
	(void) RelationGetReplicaIndex(captured);
	index = captured->rd_pkindex;
	if (OidIsValid(index))
	{
		Relation	pkey = RelationIdGetRelation(index);

		if (!RelationIsValid(pkey) || pkey->rd_index->indkey.values[0] != attnum)
			index = InvalidOid;
		if (RelationIsValid(pkey))
			RelationClose(pkey);
	}

	ScanKeyInit(&key, attnum, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(captured, index, OidIsValid(index), NULL, 1, &key);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	return found;
}

/* Select a relation by a test of itself and its ancestors: the topmost wins. */
static void
flt_select_simple(DecoderState *state, ConcordRel *rel)
{
	Relation	captured = NULL;
	bool		by_captured = state->options.selection == CONCORD_SELECT_CAPTURED;

	if (by_captured && (captured = flt_open_captured()) == NULL)
		return;
	for (int i = rel->nancestors; i >= 0; i--)
	{
		Oid			candidate = i == 0 ? rel->relid : rel->ancestors[i - 1];

		if (by_captured ? flt_in_captured(captured, candidate)
			: flt_in_tables(state, candidate))
		{
			rel->target = candidate;
			rel->send = CONCORD_SEND_ALL;
			break;
		}
	}
	if (captured)
		table_close(captured, AccessShareLock);
}

/* Read the publications that are named, as of the historic snapshot. */
static void
flt_load_publications(DecoderState *state)
{
	MemoryContext old;
	ListCell   *lc;

	if (state->publications_context)
		MemoryContextReset(state->publications_context);
	else
		state->publications_context =
			AllocSetContextCreate(state->context, "concord_decoder publications",
								  ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(state->publications_context);
	state->publications = NIL;
	state->publications_valid = true;
	foreach(lc, state->options.publications)
	{
		const char *name = lfirst(lc);
		Publication *publication = GetPublicationByName(name, true);

		if (publication)
			state->publications = lappend(state->publications, publication);
		else if (!list_member(state->publications_missed, makeString((char *) name)))
		{
			ereport(WARNING,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("publication \"%s\" does not exist at this point of the WAL",
							name),
					 errdetail("Nothing is sent for it until it does.")));
			MemoryContextSwitchTo(state->context);
			state->publications_missed =
				lappend(state->publications_missed, makeString((char *) name));
			MemoryContextSwitchTo(state->publications_context);
		}
	}
	MemoryContextSwitchTo(old);
}

/* Refuse what a publication says of a table and what is not honoured. */
static void
flt_check_publication_rel(Publication *publication, Oid relid)
{
	HeapTuple	tuple = SearchSysCache2(PUBLICATIONRELMAP,
										ObjectIdGetDatum(relid),
										ObjectIdGetDatum(publication->oid));
	bool		no_filter,
				no_columns;

	if (!HeapTupleIsValid(tuple))
		return;
	(void) SysCacheGetAttr(PUBLICATIONRELMAP, tuple,
						   Anum_pg_publication_rel_prqual, &no_filter);
	(void) SysCacheGetAttr(PUBLICATIONRELMAP, tuple,
						   Anum_pg_publication_rel_prattrs, &no_columns);
	ReleaseSysCache(tuple);
	if (!no_filter || !no_columns)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("publication \"%s\" restricts rows or columns of table \"%s\"",
						publication->name, get_rel_name(relid)),
				 errdetail("Row filters and column lists are not supported by output plugin \"%s\".",
						   CONCORD_DECODER_NAME),
				 errhint("Use a publication without them, or option \"tables\".")));
}

/* Does a publication name a relation, by itself or by its schema? */
static bool
flt_in_publication(Publication *publication, Oid relid)
{
	if (publication->alltables)
		return true;
	if (list_member_oid(GetSchemaPublications(get_rel_namespace(relid)),
						publication->oid))
		return true;
	if (!list_member_oid(GetRelationPublications(relid), publication->oid))
		return false;
	flt_check_publication_rel(publication, relid);
	return true;
}

/* Select a relation by publications, as pgoutput does. */
static void
flt_select_published(DecoderState *state, ConcordRel *rel)
{
	int			level = 0;		/* of the target: 0 is the relation itself */
	ListCell   *lc;

	if (!state->publications_valid)
		flt_load_publications(state);

	foreach(lc, state->publications)
	{
		Publication *publication = lfirst(lc);
		int			topmost = -1;

		for (int i = rel->nancestors; i >= 0 && topmost < 0; i--)
		{
			if (flt_in_publication(publication,
								   i == 0 ? rel->relid : rel->ancestors[i - 1]))
				topmost = i;
		}
		if (topmost < 0)
			continue;
		if (publication->pubviaroot)
			level = Max(level, topmost);
		rel->send |= (publication->pubactions.pubinsert ? CONCORD_SEND_INSERT : 0) |
			(publication->pubactions.pubupdate ? CONCORD_SEND_UPDATE : 0) |
			(publication->pubactions.pubdelete ? CONCORD_SEND_DELETE : 0) |
			(publication->pubactions.pubtruncate ? CONCORD_SEND_TRUNCATE : 0);
	}
	if (level > 0)
		rel->target = rel->ancestors[level - 1];
}

/* Decide whether a relation is sent, and as what; the entry is fresh. */
void
concord_filter_relation(DecoderState *state, Relation relation, ConcordRel *rel)
{
	const char *schema = get_namespace_name(RelationGetNamespace(relation));

	if (schema != NULL && strcmp(schema, CONCORD_SCHEMA) == 0)
		return;

	if (relation->rd_rel->relispartition)
	{
		List	   *ancestors = get_partition_ancestors(rel->relid);
		ListCell   *lc;

		rel->ancestors = palloc(sizeof(Oid) * Max(list_length(ancestors), 1));
		foreach(lc, ancestors)
			rel->ancestors[rel->nancestors++] = lfirst_oid(lc);
	}

	switch ((ConcordSelection) state->options.selection)
	{
		case CONCORD_SELECT_ALL:
			rel->send = CONCORD_SEND_ALL;
			if (rel->nancestors > 0)
				rel->target = rel->ancestors[rel->nancestors - 1];
			break;
		case CONCORD_SELECT_CAPTURED:
		case CONCORD_SELECT_TABLES:
			flt_select_simple(state, rel);
			break;
		case CONCORD_SELECT_PUBLICATIONS:
			flt_select_published(state, rel);
			break;
	}
}

/*
 * Refuse publications that do not exist now, where that can be seen: a
 * walsender that starts streaming has no transaction to look in, and hears
 * of it with the first change.
 */
void
concord_filter_check_publications(DecoderState *state)
{
	ListCell   *lc;

	if (!IsTransactionState())
		return;
	foreach(lc, state->options.publications)
	{
		const char *name = lfirst(lc);

		if (!OidIsValid(get_publication_oid(name, true)))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("publication \"%s\" does not exist", name)));
	}
}
