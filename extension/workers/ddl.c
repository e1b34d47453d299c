/*-------------------------------------------------------------------------
 *
 * ddl.c
 *	  What DDL on other people's objects means for mappings.
 *
 * No pg_depend row ties a mapping to its table or server: a mapping must not
 * stand in the way of DROP, and is a row that pg_dump carries.  Two event
 * triggers see to it instead:
 *
 *	sql_drop		a dropped table leaves concord.captured (an OID may be used
 *					again), and its mappings are broken, with the reason; so
 *					are the mappings of a dropped server
 *	ddl_command_end	a renamed server is renamed in mappings; a table that has
 *					become unlogged makes its mappings stale, since its changes
 *					are in no WAL; couriers look again at servers, user mappings
 *					and captured tables that were altered; servers that share an
 *					account but not its limits are warned of
 *
 * The rows are written in the transaction of the DDL, as the extension's
 * owner: whoever may drop a table need not have rights on our tables.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/shmem.h"
#include "catalog/mapping.h"
#include "catalog/ownership.h"
#include "catalog/pg_type.h"
#include "commands/event_trigger.h"
#include "connector/limits.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "mapping/drift.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "storage/lmgr.h"
#include "tcop/cmdtag.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(concord_ddl_drop);
PG_FUNCTION_INFO_V1(concord_ddl_end);

/* Statements that sql_drop runs; they return what the user should know. */
static const char *const ddl_on_drop[] = {
	/* tables that are captured no more */
	"DELETE FROM concord.captured AS c"
	" USING pg_catalog.pg_event_trigger_dropped_objects() AS d"
	" WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass"
	" AND d.objsubid = 0 AND c.relid = d.objid",

	"DELETE FROM concord.schema_item AS s"
	" USING pg_catalog.pg_event_trigger_dropped_objects() AS d"
	" WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass"
	" AND s.relid = d.objid AND d.objsubid = 0",

	"DELETE FROM concord.ownership_item AS i"
	" USING pg_catalog.pg_event_trigger_dropped_objects() AS d"
	" WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass"
	" AND i.source::pg_catalog.oid = d.objid"
	" AND (d.objsubid = 0 OR d.objsubid = i.attnum) AND i.home = concord.home()",

	"DELETE FROM concord.ownership_item AS i"
	" USING pg_catalog.pg_event_trigger_dropped_objects() AS d"
	" WHERE d.classid = 'pg_catalog.pg_foreign_server'::pg_catalog.regclass"
	" AND i.ownerid = d.objid AND i.home = concord.home()",

	"UPDATE concord.mapping AS m SET state = 'broken',"
	" state_reason = pg_catalog.format('table %s was dropped', d.object_identity)"
	" FROM pg_catalog.pg_event_trigger_dropped_objects() AS d"
	" WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass"
	" AND d.objsubid = 0 AND m.source::pg_catalog.oid = d.objid"
	" RETURNING m.name, m.state_reason",

	"UPDATE concord.mapping AS m SET state = 'broken',"
	" state_reason = pg_catalog.format('table %s, on which it depends, was dropped', d.object_identity)"
	" FROM pg_catalog.pg_event_trigger_dropped_objects() AS d,"
	"  concord.mapping_depends AS p"
	" WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass"
	" AND d.objsubid = 0 AND p.source::pg_catalog.oid = d.objid AND m.id = p.mapping"
	" RETURNING m.name, m.state_reason",

	/* what was written to it is delivered all the same */
	"UPDATE concord.mapping AS m SET foreign_table = NULL"
	" FROM pg_catalog.pg_event_trigger_dropped_objects() AS d"
	" WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass"
	" AND d.objsubid = 0 AND m.foreign_table::pg_catalog.oid = d.objid",

	"UPDATE concord.mapping AS m SET state = 'broken',"
	" state_reason = pg_catalog.format('server %s was dropped', d.object_identity)"
	" FROM pg_catalog.pg_event_trigger_dropped_objects() AS d"
	" WHERE d.classid = 'pg_catalog.pg_foreign_server'::pg_catalog.regclass"
	" AND m.serverid = d.objid AND m.home = concord.home()"
	" RETURNING m.name, m.state_reason",
};

/* And ddl_command_end. */
static const char *const ddl_on_end[] = {
	"UPDATE concord.mapping AS m SET server = s.srvname"
	" FROM pg_catalog.pg_foreign_server AS s"
	" WHERE s.oid = m.serverid AND s.srvname <> m.server"
	" AND m.home = concord.home()",

	"UPDATE concord.ownership_item AS i SET owner = s.srvname"
	" FROM pg_catalog.pg_foreign_server AS s"
	" WHERE s.oid = i.ownerid AND s.srvname <> i.owner"
	" AND i.home = concord.home()",

	"UPDATE concord.ownership_item AS i SET column_name = a.attname"
	" FROM pg_catalog.pg_attribute AS a"
	" WHERE a.attrelid = i.source AND a.attnum = i.attnum"
	" AND NOT a.attisdropped AND a.attname <> i.column_name"
	" AND i.home = concord.home()",

	"UPDATE concord.route AS r SET server = s.srvname"
	" FROM pg_catalog.pg_foreign_server AS s, concord.mapping AS m"
	" WHERE s.oid = r.serverid AND s.srvname <> r.server"
	" AND m.id = r.mapping AND m.home = concord.home()",

	"UPDATE concord.mapping AS m SET state = 'stale',"
	" state_reason = pg_catalog.format('table %s is not logged any more', m.source)"
	" FROM pg_catalog.pg_event_trigger_ddl_commands() AS d"
	" JOIN pg_catalog.pg_class AS c ON c.oid = d.objid"
	" WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass"
	" AND m.source::pg_catalog.oid = c.oid AND c.relpersistence <> 'p'",

	"UPDATE concord.mapping AS m SET state = 'stale',"
	" state_reason = pg_catalog.format('table %s, on which it depends, is not logged any more', p.source)"
	" FROM pg_catalog.pg_event_trigger_ddl_commands() AS d"
	" JOIN pg_catalog.pg_class AS c ON c.oid = d.objid"
	" JOIN concord.mapping_depends AS p ON p.source::pg_catalog.oid = c.oid"
	" WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass"
	" AND m.id = p.mapping AND c.relpersistence <> 'p'",
};

/* True where couriers must look again though no mapping's row changed. */
static const char *const ddl_concerned =
"SELECT true FROM pg_catalog.pg_event_trigger_ddl_commands() AS d"
" WHERE d.classid <> 'pg_catalog.pg_class'::pg_catalog.regclass"
" OR EXISTS (SELECT FROM concord.captured AS c WHERE c.relid = d.objid)"
" LIMIT 1";

/* What the queries below tell: of an object, a mapping mostly, something. */
typedef struct DdlRow
{
	uint32		id;				/* its OID or number */
	char	   *text;			/* NULL: nothing */
} DdlRow;

/* ddl_check refuses a call that is not an event trigger's. */
static void
ddl_check(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("this function is for the event triggers of pg_concord only")));
}

/* ddl_tell says which mappings a statement broke, and why. */
static void
ddl_tell(void)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		TupleDesc	desc = SPI_tuptable->tupdesc;

		ereport(NOTICE,
				(errmsg("mapping \"%s\" is broken: %s",
						SPI_getvalue(tuple, desc, 1),
						SPI_getvalue(tuple, desc, 2)),
				 errhint("Use concord.drop_mapping() if it is not needed any more.")));
	}
}

/* ddl_run runs statements; returns the rows they changed. */
static uint64
ddl_run(const char *const *statements, int nstatements)
{
	ConcordCatalogScope scope;
	uint64		changed = 0;

	concord_catalog_enter(&scope);
	for (int i = 0; i < nstatements; i++)
	{
		int			result = SPI_execute(statements[i], false, 0);

		if (result < 0)
			elog(ERROR, "could not run \"%s\"", statements[i]);
		if (result == SPI_OK_UPDATE_RETURNING)
			ddl_tell();
		changed += SPI_processed;
	}
	concord_catalog_leave(&scope);
	return changed;
}

/*
 * ddl_rows lists the rows of a query, an object's OID or id and a text or
 * NULL each.  Not read only: what the statement has done must be seen.
 */
static List *
ddl_rows(const char *query)
{
	MemoryContext context = CurrentMemoryContext;
	ConcordCatalogScope scope;
	List	   *rows = NIL;

	concord_catalog_enter(&scope);
	if (SPI_execute(query, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not run \"%s\"", query);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	tuple = SPI_tuptable->vals[i];
		MemoryContext old = MemoryContextSwitchTo(context);
		DdlRow	   *row = palloc(sizeof(DdlRow));
		bool		isnull;

		row->id = DatumGetUInt32(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1,
											   &isnull));
		row->text = SPI_getvalue(tuple, SPI_tuptable->tupdesc, 2);
		rows = lappend(rows, row);
		MemoryContextSwitchTo(old);
	}
	concord_catalog_leave(&scope);
	return rows;
}

/* Servers of ours that a statement made or altered, if they name an account. */
static const char *const ddl_accounts =
"SELECT DISTINCT s.srvowner, o.option_value FROM pg_catalog.pg_event_trigger_ddl_commands() AS d"
" JOIN pg_catalog.pg_foreign_server AS s ON s.oid = d.objid"
" JOIN pg_catalog.pg_foreign_data_wrapper AS w ON w.oid = s.srvfdw AND w.fdwname = 'concord'"
" CROSS JOIN LATERAL pg_catalog.pg_options_to_table(s.srvoptions) AS o"
" WHERE d.classid = 'pg_catalog.pg_foreign_server'::pg_catalog.regclass"
" AND o.option_name = 'account'";

/*
 * ddl_warn_stranger tells that an account is not the one of that name which
 * another owner's server has.  Everybody can read the options of servers.
 */
static void
ddl_warn_stranger(const char *account, Oid owner)
{
	char	   *server = concord_limits_stranger(account, owner);

	if (server != NULL)
		ereport(NOTICE,
				(errmsg("account \"%s\" is not the one of that name of server \"%s\", which has another owner",
						account, server),
				 errdetail("Limits and breaker are shared by servers of one owner only."),
				 errhint("Give the servers one owner, or call the accounts by different names.")));
}

/*
 * ddl_warn_accounts tells of servers that share an account and do not agree, and
 * of those that only seem to share one.
 */
static void
ddl_warn_accounts(void)
{
	ListCell   *lc;

	foreach(lc, ddl_rows(ddl_accounts))
	{
		const DdlRow *row = lfirst(lc);
		char	   *servers;
		char	   *options = concord_limits_differ(row->text, row->id, &servers);

		ddl_warn_stranger(row->text, row->id);
		if (options != NULL)
			ereport(WARNING,
					(errcode(ERRCODE_WARNING),
					 errmsg("servers of account \"%s\" have different limits: %s",
							row->text, options),
					 errdetail("The smallest value of each holds for all of them: %s.",
							   servers)));
	}
}

/*
 * ddl_guard has the triggers of tables with owned columns made anew.  A table
 * whose last owner is gone has triggers and no row.
 */
static void
ddl_guard(const char *query)
{
	ListCell   *lc;

	foreach(lc, ddl_rows(query))
	{
		Oid			relid = ((DdlRow *) lfirst(lc))->id;

		if (!concord_ownership_is_guarded(relid))
			continue;
		LockRelationOid(relid, ShareRowExclusiveLock);
		concord_ownership_guard_table(relid);
	}
}

/* Tables whose triggers of ours may not be what they must be. */
#define DDL_GUARDED \
	"SELECT DISTINCT t.tgrelid, NULL::text FROM pg_catalog.pg_trigger AS t" \
	" JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid" \
	" WHERE p.proname = 'ownership_guard' AND t.tgparentid = 0" \
	" AND p.pronamespace = 'concord'::pg_catalog.regnamespace AND "

static const char *const ddl_guarded_altered =
"SELECT DISTINCT i.source::pg_catalog.oid, NULL::text FROM concord.ownership_item AS i"
" JOIN pg_catalog.pg_event_trigger_ddl_commands() AS d ON d.objid = i.source"
" AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass"
" WHERE d.command_tag = 'ALTER TABLE'";

static const char *const ddl_guarded_dropped = DDL_GUARDED
"EXISTS (SELECT FROM pg_catalog.pg_event_trigger_dropped_objects() AS d"
" WHERE (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass"
"  AND d.objsubid > 0 AND d.objid = t.tgrelid)"
" OR d.classid = 'pg_catalog.pg_foreign_server'::pg_catalog.regclass)";

/* Tables that a command altered, and those of which it dropped columns. */
#define DDL_ALTERED \
	"(SELECT DISTINCT d.objid FROM pg_catalog.pg_event_trigger_ddl_commands() AS d" \
	" WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass)"
#define DDL_DROPPED \
	"(SELECT DISTINCT d.objid FROM pg_catalog.pg_event_trigger_dropped_objects() AS d" \
	" WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid > 0)"

/* What changed, over one of these. */
#define DDL_DIFFERENCE(tables) \
	" FROM concord.schema_item AS s JOIN " tables " AS t ON t.objid = s.relid" \
	" CROSS JOIN LATERAL concord.definition_difference(s.definition, concord.table_definition(s.relid)) AS x"

#define DDL_COMPLAINTS(tables) \
	"SELECT u.mapping, pg_catalog.format(CASE x.what WHEN 'drop column' THEN 'column %1$I of table %2$s is dropped'" \
	" ELSE 'type of column %1$I of table %2$s changes from %3$s to %4$s' END," \
	" x.column_name, s.relid::pg_catalog.regclass, x.before, x.after)" \
	DDL_DIFFERENCE(tables) \
	" JOIN concord.mapping_use AS u ON u.relid = s.relid AND u.attnum = x.attnum WHERE x.breaks ORDER BY 1, 2"

#define DDL_RECORD(tables) \
	"INSERT INTO concord.schema_change (role, session_role, command, source, relid, what, column_name," \
	" before, after, relation_version)" \
	" SELECT pg_catalog.pg_get_userbyid($1), SESSION_USER, $2, pg_catalog.format('%I.%I', s.definition ->> 'schema', s.definition ->> 'table')," \
	" s.relid, x.what, x.column_name, x.before, x.after," \
	" (SELECT pg_catalog.max(r.id) FROM concord.relation_version AS r WHERE r.relid = s.relid)" \
	DDL_DIFFERENCE(tables)

#define DDL_REMEMBER(tables) \
	"UPDATE concord.schema_item AS s SET definition = concord.table_definition(s.relid)" \
	" FROM " tables " AS t WHERE t.objid = s.relid" \
	" AND s.definition <> concord.table_definition(s.relid)"

/* Mappings that use tables which were altered, and complain of nothing. */
static const char *const ddl_users =
"SELECT DISTINCT u.mapping, NULL::text FROM concord.mapping_use AS u"
" LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = u.relid AND a.attnum = u.attnum"
" LEFT JOIN pg_catalog.pg_type AS y ON y.oid = a.atttypid"
" JOIN pg_catalog.pg_event_trigger_ddl_commands() AS d"
"  ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid IN (u.relid, y.typrelid)"
"  OR d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid IN (y.oid, y.typelem, y.typbasetype)"
" ORDER BY 1";

/* Tables of sub-SELECTs that are dropped as a whole. */
static const char *const ddl_tables_gone =
"SELECT DISTINCT u.mapping, pg_catalog.format('table %s is dropped', d.object_identity)"
" FROM pg_catalog.pg_event_trigger_dropped_objects() AS d"
" JOIN concord.mapping_use AS u ON u.relid = d.objid"
" JOIN concord.mapping AS m ON m.id = u.mapping AND m.state <> 'broken'"
" WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid = 0 ORDER BY 1, 2";

/* ddl_record records what changed of the tables that mappings use. */
static void
ddl_record(FunctionCallInfo fcinfo, const char *record, const char *remember)
{
	EventTriggerData *data = (EventTriggerData *) fcinfo->context;
	Oid			types[] = {OIDOID, TEXTOID};
	Datum		values[] = {
		ObjectIdGetDatum(GetUserId()),
		CStringGetTextDatum(GetCommandTagName(data->tag)),
	};
	ConcordCatalogScope scope;

	concord_catalog_enter(&scope);
	if (SPI_execute_with_args(record, 2, types, values, NULL, false, 0) != SPI_OK_INSERT ||
		SPI_execute(remember, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not record the change of a table");
	concord_catalog_leave(&scope);
}

/*
 * ddl_tell_mappings tells mappings of what changed; one that is told nothing
 * is to see whether it compiles.
 */
static void
ddl_tell_mappings(List *complaints)
{
	int32		last = 0;
	ListCell   *lc;

	foreach(lc, complaints)
	{
		const DdlRow *complaint = lfirst(lc);
		int32		mapping = (int32) complaint->id;

		if (complaint->text == NULL)
			concord_drift_check(mapping);
		else if (mapping != last)
			concord_drift_complain(mapping, complaint->text);
		last = mapping;
	}
}

/* concord_ddl_drop is the sql_drop trigger. */
Datum
concord_ddl_drop(PG_FUNCTION_ARGS)
{
	List	   *complaints;

	ddl_check(fcinfo);
	if (ddl_run(ddl_on_drop, lengthof(ddl_on_drop)) > 0)
		concord_catalog_changed();
	ddl_guard(ddl_guarded_dropped);
	complaints = list_concat(ddl_rows(DDL_COMPLAINTS(DDL_DROPPED)),
							 ddl_rows(ddl_tables_gone));
	ddl_record(fcinfo, DDL_RECORD(DDL_DROPPED), DDL_REMEMBER(DDL_DROPPED));
	ddl_tell_mappings(complaints);
	PG_RETURN_NULL();
}

/* concord_ddl_end is the ddl_command_end trigger. */
Datum
concord_ddl_end(PG_FUNCTION_ARGS)
{
	List	   *complaints;

	ddl_check(fcinfo);
	if (ddl_run(ddl_on_end, lengthof(ddl_on_end)) > 0 ||
		ddl_run(&ddl_concerned, 1) > 0)
		concord_catalog_changed();
	ddl_guard(ddl_guarded_altered);
	complaints = ddl_rows(DDL_COMPLAINTS(DDL_ALTERED));
	ddl_record(fcinfo, DDL_RECORD(DDL_ALTERED), DDL_REMEMBER(DDL_ALTERED));
	concord_drift_follow();
	complaints = list_concat(complaints, ddl_rows(ddl_users));
	ddl_tell_mappings(complaints);
	ddl_warn_accounts();
	PG_RETURN_NULL();
}
