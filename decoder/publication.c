/*-------------------------------------------------------------------------
 *
 * publication.c
 *	  What publications say: which relations and operations, and which rows
 *	  and columns of them.
 *
 * The rules are pgoutput's, so that a consumer can change from one plugin to
 * the other and sees the same rows.  A partition is sent under the topmost
 * ancestor that any of the publications publishes via root; the operations
 * are those of all publications that have the relation, while row filters and
 * column lists count only where a publication names the table that the change
 * is sent as.  A publication of all tables, or of the table's schema, has
 * neither.  Filters are combined with OR for each operation; column lists have
 * to agree, because one event cannot be two.
 *
 * Generated columns are sent where a publication says so (from 18 on), and not
 * otherwise, so an upgrade does not change what a publication means.
 *
 * Publications are read under the historic snapshot.  One that is missing
 * there sends nothing, and a WARNING says so once; it takes effect from the
 * place in the WAL where it was created.
 *
 * The relation maps are looked up directly rather than through lists of the
 * publications of a relation: it is less work, and the same on every version.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_publication.h"
#include "catalog/pg_publication_rel.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "decoder.h"
#include "rowfilter.h"

/* Say once that a publication is not there yet, or not any more. */
static void
pub_warn_missing(DecoderState *state, const char *name)
{
	MemoryContext old;
	String	   *key = makeString((char *) name);

	if (list_member(state->publications_missed, key))
		return;
	ereport(WARNING,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("publication \"%s\" does not exist at this point of the WAL",
					name),
			 errdetail("Nothing is sent for it until it does.")));
	old = MemoryContextSwitchTo(state->context);
	state->publications_missed = lappend(state->publications_missed,
										 makeString((char *) name));
	MemoryContextSwitchTo(old);
}

/* Read the publications that are named, as of the historic snapshot. */
static void
pub_load(DecoderState *state)
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
		else
			pub_warn_missing(state, name);
	}
	MemoryContextSwitchTo(old);
}

/* Does a publication name a table itself? */
static bool
pub_names_table(Publication *publication, Oid relid)
{
	return SearchSysCacheExists2(PUBLICATIONRELMAP, ObjectIdGetDatum(relid),
								 ObjectIdGetDatum(publication->oid));
}

/* Does a publication name a table's schema? */
static bool
pub_names_schema(Publication *publication, Oid relid)
{
	return SearchSysCacheExists2(PUBLICATIONNAMESPACEMAP,
								 ObjectIdGetDatum(get_rel_namespace(relid)),
								 ObjectIdGetDatum(publication->oid));
}

/*
 * How far up is the topmost of a relation and its ancestors that a publication
 * has?  0 is the relation itself, -1 is nowhere.
 */
static int
pub_topmost(Publication *publication, ConcordRel *rel)
{
	if (publication->alltables)
	{
		Oid			root = rel->nancestors > 0 ?
			rel->ancestors[rel->nancestors - 1] : rel->relid;

		/* such a publication names tables to leave them out (from 19 on) */
		return pub_names_table(publication, root) ? -1 : rel->nancestors;
	}
	for (int i = rel->nancestors; i >= 0; i--)
	{
		Oid			relid = i == 0 ? rel->relid : rel->ancestors[i - 1];

		if (pub_names_table(publication, relid) ||
			pub_names_schema(publication, relid))
			return i;
	}
	return -1;
}

/*
 * Decide by publications whether a relation is sent, which operations, and as
 * what.  Returns those publications whose filters and columns count.
 */
List *
concord_publication_select(DecoderState *state, Relation relation, ConcordRel *rel)
{
	List	   *result = NIL;
	int			level = 0;		/* of the target: 0 is the relation itself */
	ListCell   *lc;

	if (!is_publishable_relation(relation))
		return NIL;
	if (!state->publications_valid)
		pub_load(state);

	foreach(lc, state->publications)
	{
		Publication *publication = lfirst(lc);
		int			topmost = pub_topmost(publication, rel);

		/* its partitions are what is sent of a partitioned table, or it is */
		if (topmost < 0 ||
			(relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE &&
			 !publication->pubviaroot))
			continue;
		rel->send |= (publication->pubactions.pubinsert ? CONCORD_SEND_INSERT : 0) |
			(publication->pubactions.pubupdate ? CONCORD_SEND_UPDATE : 0) |
			(publication->pubactions.pubdelete ? CONCORD_SEND_DELETE : 0) |
			(publication->pubactions.pubtruncate ? CONCORD_SEND_TRUNCATE : 0);

		if (!publication->pubviaroot)
			topmost = 0;
		if (topmost > level)
			result = NIL;
		level = Max(level, topmost);
		if (topmost == level)
			result = lappend(result, publication);
	}
	if (level > 0)
		rel->target = rel->ancestors[level - 1];
	return result;
}

/* Are a table's generated columns sent where no list names columns? */
static bool
pub_has_generated(Publication *publication)
{
	return concord_publishes_generated(publication);
}

/*
 * What a publication says of a table that it names: a datum of its row in
 * pg_publication_rel, copied; false where there is none, or NULL.
 */
static bool
pub_rel_datum(Publication *publication, Oid relid, AttrNumber attnum, Datum *result)
{
	HeapTuple	tuple;
	bool		isnull;

	/* what it names it leaves out */
	if (publication->alltables)
		return false;
	tuple = SearchSysCache2(PUBLICATIONRELMAP, ObjectIdGetDatum(relid),
							ObjectIdGetDatum(publication->oid));
	if (!HeapTupleIsValid(tuple))
		return false;
	*result = SysCacheGetAttr(PUBLICATIONRELMAP, tuple, attnum, &isnull);
	if (!isnull)
		*result = PointerGetDatum(PG_DETOAST_DATUM_COPY(*result));
	ReleaseSysCache(tuple);
	return !isnull;
}

/* The columns of a table, by number, that a publication sends. */
static Bitmapset *
pub_columns(Publication *publication, Relation target)
{
	TupleDesc	desc = RelationGetDescr(target);
	Bitmapset  *result = NULL;
	Datum		list;

	if (pub_rel_datum(publication, RelationGetRelid(target),
					  Anum_pg_publication_rel_prattrs, &list))
		return pub_collist_to_bitmapset(NULL, list, NULL);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped &&
			(att->attgenerated == '\0' || pub_has_generated(publication)))
			result = bms_add_member(result, att->attnum);
	}
	return result;
}

/* Refuse two publications that would send different columns in one event. */
static void
pub_refuse_columns(Publication *one, Publication *other, Relation target)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("publications \"%s\" and \"%s\" have different columns of table \"%s.%s\"",
					one->name, other->name,
					get_namespace_name(RelationGetNamespace(target)),
					RelationGetRelationName(target)),
			 errdetail("Publications are read as of each place in the WAL; what is altered now takes effect later."),
			 errhint("Name one of them in option \"publication_names\", and read the other through a slot of its own.")));
}

/*
 * Combine what publications say of the rows and columns of target, which is
 * what changes of relation are sent as.
 */
void
concord_publication_restrict(List *publications, ConcordRel *rel,
							 Relation relation, Relation target)
{
	Oid			targetid = RelationGetRelid(target);
	ConcordFilterSource source;
	ListCell   *lc;

	memset(&source, 0, sizeof(source));
	rel->restricted = true;
	foreach(lc, publications)
	{
		Publication *publication = lfirst(lc);
		Bitmapset  *columns = pub_columns(publication, target);
		PublicationActions *actions = &publication->pubactions;
		bool		publishes[CONCORD_FILTERS] = {
			actions->pubinsert, actions->pubupdate, actions->pubdelete
		};
		Datum		filter = (Datum) 0;
		bool		has_filter = !pub_names_schema(publication, targetid) &&
			pub_rel_datum(publication, targetid, Anum_pg_publication_rel_prqual, &filter);

		if (lc == list_head(publications))
			rel->published = columns;
		else if (!bms_equal(columns, rel->published))
			pub_refuse_columns(linitial(publications), publication, target);

		for (int i = 0; i < CONCORD_FILTERS; i++)
		{
			if (publishes[i] && has_filter)
			{
				source.filters[i] = lappend(source.filters[i], TextDatumGetCString(filter));
				source.names[i] = lappend(source.names[i], publication->name);
			}
			else if (publishes[i])
				source.unfiltered[i] = true;
		}
	}
	rel->row_filter = concord_rowfilter_make(&source, rel, relation, target);
}
