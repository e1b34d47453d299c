/*-------------------------------------------------------------------------
 *
 * filter.c
 *	  What is sent: relations, columns and messages.
 *
 * A relation is looked at once, when its entry is filled; the entry is marked
 * invalid when what was read here may have changed.  A partition is sent as
 * its topmost ancestor that is selected (as publications with
 * publish_via_partition_root do), or as itself where only itself is selected.
 * What publications say is read in publication.c.
 *
 * Option columns only takes away: a column is sent where every entry that
 * matches the table, under the name that it is sent by, lets it through.
 *
 * With selection = captured, the table concord.captured says.  It is found by
 * name and read under the historic snapshot, which works because it is a
 * user_catalog_table; its own trigger invalidates the relation that a row of
 * it names.  Where the table does not exist at that point of the WAL, nothing
 * is captured.
 *
 * Two things are never sent, whatever the options say: relations of schema
 * concord, and materialized views, whose REFRESH is a rewrite and would leave
 * whoever follows with what was there before.
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
#include "catalog/pg_class.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"

#include "decoder.h"
#include "protocol.h"

#define CONCORD_SCHEMA			"concord"
#define CONCORD_CAPTURED		"captured"

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

/* Is a transaction with this gid decoded at PREPARE? */
bool
concord_filter_gid(DecoderState *state, const char *gid)
{
	ListCell   *lc;

	foreach(lc, state->options.two_phase_gid)
	{
		if (flt_match(lfirst(lc), gid))
			return true;
	}
	return false;
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

/*
 * Decide whether a relation is sent, and as what; the entry is fresh.
 * Returns the publications that say more of it.
 */
List *
concord_filter_relation(DecoderState *state, Relation relation, ConcordRel *rel)
{
	const char *schema = get_namespace_name(RelationGetNamespace(relation));

	if (schema != NULL && strcmp(schema, CONCORD_SCHEMA) == 0)
		return NIL;
	if (relation->rd_rel->relkind == RELKIND_MATVIEW)
		return NIL;

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
			return concord_publication_select(state, relation, rel);
	}
	return NIL;
}

/* Does option columns let a column of a table through? */
bool
concord_filter_column(DecoderState *state, const char *schema, const char *table,
					  const char *column, bool key)
{
	ListCell   *lc;

	foreach(lc, state->options.columns)
	{
		ConcordColumnRule *rule = lfirst(lc);
		bool		named = false;
		ListCell   *name;

		if (!flt_match(rule->table.schema, schema) ||
			!flt_match(rule->table.table, table))
			continue;
		foreach(name, rule->names)
			named = named || flt_match(lfirst(name), column);
		if (rule->leave_out ? named : !named && !key)
			return false;
	}
	return true;
}

/* Does a pattern stand for one name alone? */
static bool
flt_is_plain(const char *pattern)
{
	return strchr(pattern, CONCORD_PATTERN_ANY) == NULL;
}

/*
 * Find the table that a pattern without a star names.  Where there is none
 * now, that may be a slip of the pen: say so.
 */
static Oid
flt_check_table(const ConcordPattern *pattern, const char *option)
{
	Oid			schema;
	Oid			relid;

	if (!flt_is_plain(pattern->schema) || !flt_is_plain(pattern->table))
		return InvalidOid;
	schema = get_namespace_oid(pattern->schema, true);
	relid = OidIsValid(schema) ? get_relname_relid(pattern->table, schema) : InvalidOid;
	if (!OidIsValid(relid))
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s.%s\" in option \"%s\" does not exist",
						pattern->schema, pattern->table, option),
				 errdetail("The option has an effect only where there is such a table.")));
	return relid;
}

/* Look for slips of the pen in option columns; one may give away a secret. */
static void
flt_check_columns(const ConcordColumnRule *rule)
{
	Oid			relid = flt_check_table(&rule->table, "columns");
	ListCell   *lc;

	if (!OidIsValid(relid))
		return;
	foreach(lc, rule->names)
	{
		const char *name = lfirst(lc);
		AttrNumber	attnum = get_attnum(relid, name);

		if (!flt_is_plain(name))
			continue;
		if (attnum == InvalidAttrNumber)
			ereport(WARNING,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of table \"%s.%s\" in option \"columns\" does not exist",
							name, rule->table.schema, rule->table.table)));
		else if (get_attgenerated(relid, attnum) == CONCORD_GENERATED_VIRTUAL)
			ereport(WARNING,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("column \"%s\" of table \"%s.%s\" in option \"columns\" is a virtual generated column",
							name, rule->table.schema, rule->table.table),
					 errdetail("It is never sent: its value is computed when it is read, and not in the WAL.")));
	}
}

/* Compare options with what exists now, in a transaction. */
static void
flt_check(const ConcordOptions *options)
{
	ListCell   *lc;

	foreach(lc, options->publications)
	{
		const char *name = lfirst(lc);

		if (!OidIsValid(get_publication_oid(name, true)))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("publication \"%s\" does not exist", name),
					 errhint("Create it, or leave it out of option \"publication_names\".")));
	}
	if (options->selection == CONCORD_SELECT_CAPTURED)
	{
		Oid			schema = get_namespace_oid(CONCORD_SCHEMA, true);

		if (!OidIsValid(schema) ||
			!OidIsValid(get_relname_relid(CONCORD_CAPTURED, schema)))
			ereport(WARNING,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("table \"%s.%s\" of option \"selection\" does not exist",
							CONCORD_SCHEMA, CONCORD_CAPTURED),
					 errdetail("Rows are sent only where there is such a table; the extension makes it.")));
	}
	foreach(lc, options->tables)
		(void) flt_check_table(lfirst(lc), "tables");
	foreach(lc, options->columns)
		flt_check_columns(lfirst(lc));
}

/*
 * Compare options with what exists now: a publication that does not is
 * refused.  A walsender that starts streaming is in no transaction, so it gets
 * one; what that put into the caches is of now and not of a place in the WAL,
 * and must go before decoding begins.  The SQL functions do the same.
 */
void
concord_filter_check(DecoderState *state)
{
	const ConcordOptions *options = &state->options;
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	if (options->publications == NIL && options->tables == NIL &&
		options->columns == NIL && options->selection != CONCORD_SELECT_CAPTURED)
		return;
	if (IsTransactionState())
	{
		flt_check(options);
		return;
	}
	StartTransactionCommand();
	flt_check(options);
	CommitTransactionCommand();
	InvalidateSystemCaches();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}
