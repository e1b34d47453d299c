/*-------------------------------------------------------------------------
 *
 * store.c
 *	  Rows of definitions, written as the extension's owner.
 *
 * Rights are checked before anything here is called.  Every change bumps the
 * generation that couriers compare, through the triggers on the tables.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/define.h"

#include "base/shmem.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "mapping/hooks.h"
#include "miscadmin.h"
#include "outbox/message.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

ConcordCaptureHook concord_mapping_capture_hook = NULL;
ConcordRegisterHook concord_mapping_register_hook = NULL;
ConcordCheckHook concord_mapping_check_hook = NULL;
ConcordMatchHook concord_mapping_match_hook = NULL;
ConcordPreviewHook concord_preview_request_hook = NULL;
ConcordDeliveryHook concord_preview_delivery_hook = NULL;

/* st_execute runs a command of ours and checks what it was. */
static void
st_execute(const char *command, int nargs, Oid *types, Datum *values,
		   const char *nulls, int expected)
{
	int			result;

	result = SPI_execute_with_args(command, nargs, types, values, nulls, false,
								   0);
	if (result != expected)
		elog(ERROR, "could not change definitions: %s",
			 SPI_result_code_string(result));
}

/* st_int returns the only value of a result, an int4. */
static int32
st_int(void)
{
	bool		isnull;

	if (SPI_processed != 1)
		elog(ERROR, "definitions changed under a command");
	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
									   SPI_tuptable->tupdesc, 1, &isnull));
}

/* concord_store_definition returns a version's definition. */
Jsonb *
concord_store_definition(const ConcordMapping *mapping, int32 version)
{
	ConcordCatalogScope scope;
	MemoryContext context = CurrentMemoryContext;
	Oid			types[2] = {INT4OID, INT4OID};
	Datum		values[2];
	Jsonb	   *definition = NULL;

	values[0] = Int32GetDatum(mapping->id);
	values[1] = Int32GetDatum(version == 0 ? mapping->version : version);
	concord_catalog_enter(&scope);
	st_execute("SELECT definition FROM concord.mapping_version"
			   " WHERE mapping = $1 AND version = $2",
			   2, types, values, NULL, SPI_OK_SELECT);
	if (SPI_processed == 1)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[0],
										  SPI_tuptable->tupdesc, 1, &isnull);

		MemoryContextSwitchTo(context);
		definition = DatumGetJsonbPCopy(value);
	}
	concord_catalog_leave(&scope);
	MemoryContextSwitchTo(context);

	if (definition == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("mapping \"%s\" has no version %d", mapping->name,
						DatumGetInt32(values[1])),
				 errhint("Versions are listed in %s.", "concord.mapping_version")));
	return definition;
}

/* concord_store_version adds a version and makes it the current one. */
int32
concord_store_version(const ConcordMapping *mapping, Jsonb *definition,
					  const char *comment)
{
	ConcordCatalogScope scope;
	Oid			types[5] = {INT4OID, JSONBOID, NAMEOID, TEXTOID, TEXTOID};
	Datum		values[5];
	char		nulls[6] = "     ";
	NameData	creator;
	int32		version;

	values[0] = Int32GetDatum(mapping->id);
	values[1] = JsonbPGetDatum(definition);
	namestrcpy(&creator, GetUserNameFromId(GetUserId(), false));
	values[2] = NameGetDatum(&creator);
	values[3] = (Datum) 0;
	if (comment != NULL)
		values[3] = CStringGetTextDatum(comment);
	else
		nulls[3] = 'n';
	values[4] = CStringGetTextDatum(mapping->object);

	concord_catalog_enter(&scope);
	st_execute("INSERT INTO concord.mapping_version"
			   " (mapping, version, definition, created_by, comment)"
			   " SELECT $1, coalesce(max(version), 0) + 1, $2, $3, $4"
			   " FROM concord.mapping_version WHERE mapping = $1"
			   " RETURNING version",
			   4, types, values, nulls, SPI_OK_INSERT_RETURNING);
	version = st_int();
	values[1] = Int32GetDatum(version);
	types[1] = INT4OID;
	values[2] = values[4];
	types[2] = TEXTOID;
	st_execute("UPDATE concord.mapping SET version = $2, object = $3,"
			   " comment = coalesce($4, comment),"
			   " state_reason = CASE WHEN state IN ('broken', 'denied')"
			   " OR state_reason LIKE 'schema change: %'"
			   " THEN NULL ELSE state_reason END,"
			   " state = CASE WHEN state IN ('broken', 'denied')"
			   " OR (state = 'paused' AND state_reason LIKE 'schema change: %')"
			   " THEN 'active' ELSE state END"
			   " WHERE id = $1",
			   4, types, values, nulls, SPI_OK_UPDATE);
	concord_catalog_leave(&scope);
	concord_catalog_changed();
	return version;
}

/* concord_store_mapping inserts a mapping and returns its id. */
int32
concord_store_mapping(const ConcordMapping *mapping, const char *comment)
{
	ConcordCatalogScope scope;
	Oid			types[12] = {NAMEOID, OIDOID, TEXTOID, NAMEOID, OIDOID, TEXTOID,
	OIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, NAMEOID};
	Datum		values[12];
	char		nulls[13] = "            ";
	NameData	name;
	NameData	server;
	NameData	definer;
	int32		id;

	namestrcpy(&name, mapping->name);
	namestrcpy(&server, mapping->server);
	namestrcpy(&definer, mapping->definer_name);
	values[0] = NameGetDatum(&name);
	values[1] = ObjectIdGetDatum(mapping->source);
	nulls[1] = OidIsValid(mapping->source) ? ' ' : 'n';
	values[2] = (Datum) 0;
	if (mapping->topic != NULL)
		values[2] = CStringGetTextDatum(mapping->topic);
	else
		nulls[2] = 'n';
	values[3] = NameGetDatum(&server);
	values[4] = ObjectIdGetDatum(mapping->serverid);
	values[5] = CStringGetTextDatum(mapping->object);
	values[6] = ObjectIdGetDatum(mapping->definer);
	values[7] = CStringGetTextDatum(mapping->search_path);
	values[8] = CStringGetTextDatum(concord_mapping_state_name(mapping->state));
	values[9] = CStringGetTextDatum(concord_catalog_home());
	values[10] = (Datum) 0;
	if (comment != NULL)
		values[10] = CStringGetTextDatum(comment);
	else
		nulls[10] = 'n';
	values[11] = NameGetDatum(&definer);

	concord_catalog_enter(&scope);
	st_execute("INSERT INTO concord.mapping (name, source, topic, server,"
			   " serverid, object, definer_oid, search_path, version, state,"
			   " home, comment, definer) VALUES ($1, $2::regclass, $3, $4, $5, $6,"
			   " $7, $8, 0, $9, $10, $11, $12) RETURNING id",
			   12, types, values, nulls, SPI_OK_INSERT_RETURNING);
	id = st_int();
	concord_catalog_leave(&scope);
	return id;
}

/* concord_store_update runs one command for a mapping. */
void
concord_store_update(const char *command, int32 mapping, const char *text)
{
	ConcordCatalogScope scope;
	Oid			types[2] = {INT4OID, TEXTOID};
	Datum		values[2];
	char		nulls[3] = "  ";

	values[0] = Int32GetDatum(mapping);
	values[1] = (Datum) 0;
	if (text != NULL)
		values[1] = CStringGetTextDatum(text);
	else
		nulls[1] = 'n';
	concord_catalog_enter(&scope);
	if (SPI_execute_with_args(command, 2, types, values, nulls, false, 0) < 0)
		elog(ERROR, "could not change definitions");
	concord_catalog_leave(&scope);
	concord_catalog_changed();
}

/*
 * concord_store_delete deletes a mapping.  What a courier writes, the lane and
 * with it links and exceptions, is left to the courier: rows that are deleted
 * here would be locked until our transaction ends, and every mapping would
 * stand still for as long.  The log of what was delivered ends with its
 * retention.
 */
void
concord_store_delete(int32 mapping)
{
	static const char *const tables[] = {"exception", "link_item"};

	/* of what comes in; no courier writes them */
	static const char *const inbound[] = {
		"pull_state", "pull_seen", "inbox_item", "conflict_item", "match_state",
	};
	Oid			concord = get_namespace_oid("concord", false);

	for (int i = 0; i < lengthof(tables); i++)
	{
		char	   *command;

		if (!OidIsValid(get_relname_relid(tables[i], concord)))
			continue;
		command = psprintf("DELETE FROM concord.%s WHERE mapping = $1"
						   " AND $2 IS NULL AND NOT EXISTS"
						   " (SELECT FROM concord.lane WHERE mapping = $1)",
						   tables[i]);
		concord_store_update(command, mapping, NULL);
	}
	for (int i = 0; i < lengthof(inbound); i++)
	{
		if (OidIsValid(get_relname_relid(inbound[i], concord)))
			concord_store_update(psprintf("DELETE FROM concord.%s WHERE mapping = $1"
										  " AND $2 IS NULL", inbound[i]),
								 mapping, NULL);
	}
	concord_store_update("DELETE FROM concord.mapping WHERE id = $1"
						 " AND $2 IS NULL", mapping, NULL);
}

/* concord_store_lock locks a mapping's row. */
bool
concord_store_lock(int32 mapping)
{
	ConcordCatalogScope scope;
	Oid			types[1] = {INT4OID};
	Datum		values[1] = {Int32GetDatum(mapping)};
	bool		found;

	concord_catalog_enter(&scope);
	st_execute("SELECT id FROM concord.mapping WHERE id = $1 FOR UPDATE",
			   1, types, values, NULL, SPI_OK_SELECT);
	found = SPI_processed == 1;
	concord_catalog_leave(&scope);
	return found;
}

/* concord_store_start makes a mapping begin here. */
void
concord_store_start(int32 mapping, int32 version)
{
	char	   *payload = psprintf("{\"mapping\": %d, \"version\": %d}",
								   mapping, version);

	concord_message_emit_control(CONCORD_CONTROL_START, payload);
}

/* concord_store_search_path returns the path that a mapping keeps. */
char *
concord_store_search_path(void)
{
	if (strstr(namespace_search_path, "pg_temp") != NULL)
		return pstrdup(namespace_search_path);
	if (namespace_search_path[0] == '\0')
		return pstrdup("pg_temp");
	return psprintf("%s, pg_temp", namespace_search_path);
}
