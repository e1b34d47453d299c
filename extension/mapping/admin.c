/*-------------------------------------------------------------------------
 *
 * admin.c
 *	  drop_mapping, pause, resume, set_definer, activate.
 *
 * A mapping's state, and who moves it:
 *
 *		active		pause() -> paused; a worker -> stale, denied, broken
 *		paused		resume() -> active; a worker -> stale
 *		stale		resume() -> active, beginning anew
 *		denied		resume() or set_definer() -> active
 *		broken		resume() or alter_mapping() -> active; a worker -> active, where
					what was wrong has gone, or stale
 *		restored	activate() -> active or paused, beginning anew
 *
 * While a mapping is paused its table stays captured and its place is kept.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/define.h"

#include "base/shmem.h"
#include "catalog/captured.h"
#include "catalog/history.h"
#include "catalog/pg_database.h"
#include "foreign/foreign.h"
#include "fmgr.h"
#include "mapping/compile.h"
#include "mapping/drift.h"
#include "mapping/hooks.h"
#include "mapping/written.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(concord_drop_mapping);
PG_FUNCTION_INFO_V1(concord_pause);
PG_FUNCTION_INFO_V1(concord_resume);
PG_FUNCTION_INFO_V1(concord_set_definer);
PG_FUNCTION_INFO_V1(concord_activate);

/* adm_mapping returns the mapping that is named, which the caller may change. */
static ConcordMapping *
adm_mapping(FunctionCallInfo fcinfo)
{
	ConcordMapping *mapping;
	char	   *name;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null or empty", "name")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	mapping = concord_mapping_by_name(name, CurrentMemoryContext);
	concord_source_require(mapping);
	(void) concord_store_lock(mapping->id);
	return concord_mapping_by_name(name, CurrentMemoryContext);
}

/* adm_table_exists says whether a mapping's table is still there. */
static bool
adm_table_exists(const ConcordMapping *mapping)
{
	return OidIsValid(mapping->source) &&
		SearchSysCacheExists1(RELOID, ObjectIdGetDatum(mapping->source));
}

/* concord_drop_mapping is concord.drop_mapping(). */
Datum
concord_drop_mapping(PG_FUNCTION_ARGS)
{
	ConcordMapping *mapping = adm_mapping(fcinfo);

	if (mapping->written)
		concord_written_lock(mapping);
	concord_documents_drop(mapping);
	if (adm_table_exists(mapping))
		concord_captured_lock(mapping->source);
	concord_store_delete(mapping->id);
	if (adm_table_exists(mapping))
		concord_owner_store(mapping, true);
	if (OidIsValid(mapping->source))
		concord_captured_release(mapping->source);
	concord_depends_release(mapping, NULL);
	concord_history_add("drop_mapping", mapping->name, mapping->server, NULL, -1);
	PG_RETURN_VOID();
}

/* adm_pause has a mapping stand still until its user says otherwise. */
static void
adm_pause(const ConcordMapping *mapping)
{
	concord_mapping_set_state(mapping->id, CONCORD_MAPPING_PAUSED,
							  psprintf("by %s", GetUserNameFromId(GetUserId(), false)));
	concord_history_add("pause", mapping->name, mapping->server, NULL, -1);
}

/* concord_pause is concord.pause(). */
Datum
concord_pause(PG_FUNCTION_ARGS)
{
	ConcordMapping *mapping = adm_mapping(fcinfo);

	switch (mapping->state)
	{
		case CONCORD_MAPPING_PAUSED:
			/* what we paused for a while stays so now */
			if (mapping->state_reason == NULL || strncmp(mapping->state_reason, "by ", 3) != 0)
				adm_pause(mapping);
			ereport(NOTICE,
					(errmsg("mapping \"%s\" is paused already", mapping->name)));
			break;
		case CONCORD_MAPPING_RESTORED:
		case CONCORD_MAPPING_STALE:
			ereport(NOTICE,
					(errmsg("mapping \"%s\" sends nothing: its state is %s",
							mapping->name,
							concord_mapping_state_name(mapping->state))));
			break;
		default:
			adm_pause(mapping);
	}
	PG_RETURN_VOID();
}

/* concord_mapping_require_usable raises where a mapping could not work now. */
void
concord_mapping_require_usable(ConcordMapping *mapping, Oid definer)
{
	mapping->definer = definer;
	concord_source_definer(mapping);
	if (mapping->topic == NULL && !adm_table_exists(mapping))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("the table of mapping \"%s\" is gone", mapping->name),
				 errhint("Use concord.drop_mapping().")));
	if (GetForeignServerExtended(mapping->serverid, FSV_MISSING_OK) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the server of mapping \"%s\" is gone", mapping->name),
				 errhint("Use concord.drop_mapping().")));
	if (mapping->topic == NULL)
		concord_source_check(mapping->source, definer);
	if (mapping->written)
		concord_written_usable(mapping);
	concord_depends_usable(mapping);
	(void) concord_source_server(mapping->server, definer);
	concord_compile_check(mapping);
}

/*
 * adm_begin makes a mapping capture its table and begin here.  Its old place
 * is forgotten at once: what was pending there must not be sent before capture
 * meets the new beginning.
 */
static void
adm_begin(const ConcordMapping *mapping)
{
	if (OidIsValid(mapping->source))
	{
		concord_captured_lock(mapping->source);
		concord_captured_add(mapping->source);
	}
	concord_depends_capture(NULL, mapping);
	concord_store_update("DELETE FROM concord.lane WHERE mapping = $1"
						 " AND $2 IS NULL", mapping->id, NULL);
	concord_store_start(mapping->id, mapping->version);
}

/* concord_resume is concord.resume(). */
Datum
concord_resume(PG_FUNCTION_ARGS)
{
	ConcordMapping *mapping = adm_mapping(fcinfo);

	switch (mapping->state)
	{
		case CONCORD_MAPPING_ACTIVE:
			ereport(NOTICE,
					(errmsg("mapping \"%s\" is not paused", mapping->name)));
			PG_RETURN_VOID();
		case CONCORD_MAPPING_RESTORED:
			concord_source_at_home(mapping);
			break;
		case CONCORD_MAPPING_STALE:
			concord_mapping_require_usable(mapping, mapping->definer);
			if (concord_mapping_capture_hook != NULL)
				concord_mapping_capture_hook("concord.resume()");
			adm_begin(mapping);
			ereport(NOTICE,
					(errmsg("mapping \"%s\" begins anew: changes that it missed are not sent",
							mapping->name)));
			break;
		default:
			concord_mapping_require_usable(mapping, mapping->definer);
	}
	concord_mapping_set_state(mapping->id, CONCORD_MAPPING_ACTIVE, NULL);
	concord_history_add("resume", mapping->name, mapping->server,
						psprintf("it was %s", concord_mapping_state_name(mapping->state)),
						-1);
	PG_RETURN_VOID();
}

/* concord_set_definer is concord.set_definer(). */
Datum
concord_set_definer(PG_FUNCTION_ARGS)
{
	ConcordMapping *mapping = adm_mapping(fcinfo);
	Oid			role;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null or empty", "role")));
	role = get_role_oid(NameStr(*PG_GETARG_NAME(1)), false);
	concord_require_set_role(GetUserId(), role);
	concord_mapping_require_usable(mapping, role);
	concord_store_update("UPDATE concord.mapping SET definer = $2::name,"
						 " definer_oid = (SELECT oid FROM pg_catalog.pg_roles"
						 "  WHERE rolname = $2::name),"
						 " state_reason = CASE WHEN state = 'denied'"
						 " THEN NULL ELSE state_reason END,"
						 " state = CASE WHEN state <> 'denied' THEN state"
						 " WHEN was_paused THEN 'paused' ELSE 'active' END,"
						 " was_paused = was_paused AND state = 'restored'"
						 " WHERE id = $1",
						 mapping->id, GetUserNameFromId(role, false));
	concord_history_add("set_definer", mapping->name, mapping->server,
						GetUserNameFromId(role, false), -1);
	PG_RETURN_VOID();
}

/* adm_activate_one makes a mapping of another database one of this. */
static bool
adm_activate_one(ConcordMapping *mapping)
{
	ForeignServer *server = GetForeignServerByName(mapping->server, true);

	if (server == NULL ||
		(mapping->topic == NULL && !adm_table_exists(mapping)))
	{
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("mapping \"%s\" cannot be activated: its %s does not exist",
						mapping->name, server == NULL ? "server" : "table"),
				 errhint("Use concord.drop_mapping(), or create what is missing.")));
		return false;
	}
	if (!OidIsValid(mapping->definer))
		ereport(WARNING,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("mapping \"%s\" is denied: its definer, role \"%s\", does not exist",
						mapping->name, mapping->definer_name),
				 errhint("Use concord.set_definer().")));
	/* what a clone has under way is the original's to deliver */
	concord_store_update("DELETE FROM concord.exception WHERE mapping = $1"
						 " AND state IN ('retry', 'waiting', 'blocked')"
						 " AND $2 IS NULL", mapping->id, NULL);
	adm_begin(mapping);
	concord_store_update("UPDATE concord.ownership_item i SET home = concord.home(),"
						 " ownerid = (SELECT s.oid FROM pg_catalog.pg_foreign_server s WHERE s.srvname = i.owner),"
						 " attnum = (SELECT a.attnum FROM pg_catalog.pg_attribute a WHERE a.attrelid = i.source"
						 " AND a.attname = i.column_name AND NOT a.attisdropped)"
						 " WHERE i.source = (SELECT m.source FROM concord.mapping m WHERE m.id = $1)"
						 " AND i.home <> concord.home() AND $2 IS NULL", mapping->id, NULL);
	/* by name; in two steps, for numbers of here may be others' of there */
	concord_store_update("UPDATE concord.route SET serverid = (4294967295 - id)::pg_catalog.oid"
						 " WHERE mapping = $1 AND $2 IS NULL", mapping->id, NULL);
	concord_store_update("UPDATE concord.route r SET serverid = s.oid"
						 " FROM pg_catalog.pg_foreign_server s"
						 " WHERE r.mapping = $1 AND s.srvname = r.server AND $2 IS NULL"
						 " AND r.id = (SELECT pg_catalog.min(o.id) FROM concord.route o"
						 "   WHERE o.mapping = r.mapping AND o.server = r.server)",
						 mapping->id, NULL);
	concord_store_update("UPDATE concord.mapping m SET serverid ="
						 " (SELECT oid FROM pg_catalog.pg_foreign_server"
						 " WHERE srvname = m.server),"
						 " definer_oid = r.oid, home = $2,"
						 " was_paused = r.oid IS NULL AND (was_paused OR state = 'paused'),"
						 " state = CASE WHEN r.oid IS NULL THEN 'denied'"
						 " WHEN was_paused OR state = 'paused'"
						 " THEN 'paused' ELSE 'active' END,"
						 " state_reason = CASE WHEN r.oid IS NULL THEN"
						 " format('role \"%s\" does not exist', m.definer) END"
						 " FROM (VALUES (1)) AS one LEFT JOIN pg_catalog.pg_roles r"
						 " ON r.rolname = (SELECT definer FROM concord.mapping WHERE id = $1)"
						 " WHERE m.id = $1",
						 mapping->id, concord_catalog_home());
	return true;
}

/* concord_activate is concord.activate(). */
Datum
concord_activate(PG_FUNCTION_ARGS)
{
	ListCell   *lc;
	int32		activated = 0;

	if (!concord_database_owner(MyDatabaseId, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of the database to activate its mappings")));
	if (concord_mapping_register_hook != NULL)
		concord_mapping_register_hook();
	if (concord_mapping_capture_hook != NULL)
		concord_mapping_capture_hook("concord.activate()");
	foreach(lc, concord_mapping_load(CurrentMemoryContext))
	{
		ConcordMapping *mapping = lfirst(lc);

		if (mapping->state != CONCORD_MAPPING_RESTORED ||
			!adm_activate_one(mapping))
			continue;
		concord_drift_learn(mapping->id);
		activated++;
	}
	concord_history_add("activate", NULL, NULL, NULL, activated);
	PG_RETURN_INT32(activated);
}
