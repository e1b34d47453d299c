/*-------------------------------------------------------------------------
 *
 * define_written.c
 *	  Mappings that deliver what statements write to a foreign table.
 *
 * Such a mapping has no expressions: which fields a record has is said by each
 * event (written.c).  Its definition has object, key and options.  Who creates
 * it owns the foreign table, may use the server, and is its definer: whoever
 * has been granted to write to the table writes under the definer's credentials.
 *
 * A writer holds a lock of the mapping until its transaction ends.  Dropping,
 * replacing, or letting a mapping begin anew waits for that: nothing that was
 * accepted is left without somebody who delivers it.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/written.h"

#include "access/xact.h"
#include "base/json.h"
#include "catalog/mapping_definition.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "mapping/define.h"
#include "mapping/hooks.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

/* What a mapping without expressions can be told. */
static const char *const dwr_options[] = {
	"audit", "batch_bytes", "batch_size", "cloudevents", "couriers", "if_match",
	"linger", "numbers", "on_dead", "ordering", "remote_id", "remote_id_path",
	"remote_id_type", "retry_base", "retry_cap", "retry_limit", "service",
	"upsert", "wait_limit",
};

/* concord_written_lock keeps writers out. */
void
concord_written_lock(const ConcordMapping *mapping)
{
	LockDatabaseObject(get_relname_relid("mapping", get_namespace_oid("concord", false)),
					   mapping->id, 0, AccessExclusiveLock);
}

/* dwr_member appends a member that is a text. */
static void
dwr_member(StringInfo buf, const char *name, const char *value)
{
	appendStringInfo(buf, "%s\"%s\": ", buf->len > 1 ? ", " : "", name);
	concord_json_string(buf, value, strlen(value));
}

/* dwr_definition writes a definition as it is stored. */
static Jsonb *
dwr_definition(const ConcordWrittenRequest *request)
{
	StringInfoData buf;
	ListCell   *lc;
	Jsonb	   *definition;
	Jsonb	   *options = request->options;

	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	dwr_member(&buf, "object", request->object);
	appendStringInfoString(&buf, ", \"key\": [");
	foreach(lc, request->key)
	{
		const char *name = lfirst(lc);

		appendStringInfoString(&buf, foreach_current_index(lc) > 0 ? ", {" : "{");
		concord_json_string(&buf, name, strlen(name));
		appendStringInfoString(&buf, ": ");
		concord_json_string(&buf, name, strlen(name));
		appendStringInfoChar(&buf, '}');
	}
	appendStringInfoString(&buf, "], \"options\": {");
	if (request->service != NULL)
	{
		appendStringInfoString(&buf, "\"service\": ");
		concord_json_string(&buf, request->service, strlen(request->service));
	}
	appendStringInfoString(&buf, "}}");
	definition = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
													CStringGetDatum(concord_json_server(buf.data))));
	if (options != NULL)
	{
		initStringInfo(&buf);
		appendStringInfo(&buf, "{\"options\": %s}",
						 JsonbToCString(NULL, &options->root, VARSIZE(options)));
		definition = concord_definition_merge(definition,
											  DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
																				 CStringGetDatum(buf.data))));
	}
	return definition;
}

/* dwr_refuse_options refuses options that need an image, or expressions. */
static void
dwr_refuse_options(Jsonb *definition)
{
	JsonbValue *options = getKeyJsonValueFromContainer(&definition->root,
													   "options", 7, NULL);
	ListCell   *lc;

	if (options == NULL || options->type != jbvBinary)
		return;
	foreach(lc, concord_definition_members(options->val.binary.data, "options"))
	{
		const ConcordJsonMember *member = lfirst(lc);
		bool		known = false;

		for (int i = 0; i < lengthof(dwr_options) && !known; i++)
			known = strcmp(member->name, dwr_options[i]) == 0;
		if (!known)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" cannot be used by a mapping that delivers writes to a foreign table",
							member->name),
					 errdetail("It sends what statements have written, and evaluates nothing.")));
	}
}

/* concord_written_check raises unless a definition can be that of such a mapping. */
void
concord_written_check(ConcordMapping *mapping, Jsonb *definition)
{
	static const char *const others[] = {"fields", "filter", "checks"};

	for (int i = 0; i < lengthof(others); i++)
	{
		if (getKeyJsonValueFromContainer(&definition->root, others[i],
										 strlen(others[i]), NULL) != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("mapping \"%s\" cannot have %s", mapping->name,
							others[i]),
					 errdetail("It sends what statements have written to a foreign table, and evaluates nothing.")));
	}
	dwr_refuse_options(definition);
	concord_definition_parse(mapping, definition);
	concord_mapping_written_options(mapping);
	if (mapping->options.ordering == CONCORD_ORDER_EXPRESSION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mapping \"%s\" cannot be ordered by an expression",
						mapping->name),
				 errhint("Use \"key\" or \"none\".")));
	if (concord_mapping_defaults_hook != NULL)
		concord_mapping_defaults_hook(list_make1(mapping));
	if (concord_mapping_check_hook != NULL)
		concord_mapping_check_hook(mapping);
}

/* dwr_find_name gives the name of a foreign table's mapping, or NULL. */
static char *
dwr_find_name(Oid foreign_table)
{
	ConcordCatalogScope scope;
	MemoryContext context = CurrentMemoryContext;
	Oid			types[1] = {OIDOID};
	Datum		values[1] = {ObjectIdGetDatum(foreign_table)};
	char	   *name = NULL;

	concord_catalog_enter(&scope);
	if (SPI_execute_with_args("SELECT name::text FROM concord.mapping"
							  " WHERE foreign_table = $1::regclass", 1, types,
							  values, NULL, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.mapping");
	if (SPI_processed == 1)
		name = MemoryContextStrdup(context,
								   SPI_getvalue(SPI_tuptable->vals[0],
												SPI_tuptable->tupdesc, 1));
	concord_catalog_leave(&scope);
	MemoryContextSwitchTo(context);
	return name;
}

/* dwr_replace raises where a mapping cannot take the place of another. */
static void
dwr_replace(const ConcordWrittenRequest *request, const ConcordMapping *existing,
			Oid serverid)
{
	if (!request->or_replace)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("mapping \"%s\" already exists", existing->name),
				 errhint("Use another name, concord.alter_mapping(), or or_replace => true.")));
	concord_source_require(existing);
	concord_source_at_home(existing);
	if (!existing->written || existing->serverid != serverid)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mapping \"%s\" has another source or server",
						existing->name),
				 errhint("Use concord.drop_mapping() first.")));
	concord_written_lock(existing);
}

/* concord_written_define creates or replaces a mapping. */
int32
concord_written_define(const ConcordWrittenRequest *request)
{
	ConcordMapping *mapping = palloc0(sizeof(ConcordMapping));
	ConcordMapping *existing;
	const char *other;
	Jsonb	   *definition;

	mapping->serverid = concord_source_server(request->server, GetUserId());
	existing = concord_mapping_find(request->name, CurrentMemoryContext);
	if (existing != NULL)
		dwr_replace(request, existing, mapping->serverid);
	else if (concord_mapping_capture_hook != NULL)
		concord_mapping_capture_hook("concord.create_write_mapping()");
	other = dwr_find_name(request->foreign_table);
	if (other != NULL && strcmp(other, request->name) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("what is written to foreign table \"%s\" is delivered by mapping \"%s\" already",
						get_rel_name(request->foreign_table), other),
				 errdetail("A foreign table has one such mapping, which keeps the order of what is written.")));

	mapping->name = pstrdup(request->name);
	mapping->state = request->paused ? CONCORD_MAPPING_PAUSED :
		CONCORD_MAPPING_ACTIVE;
	mapping->topic = psprintf("%s%s", CONCORD_TOPIC_WRITE, request->name);
	mapping->written = true;
	mapping->foreign_table = request->foreign_table;
	mapping->server = pstrdup(request->server);
	mapping->definer = existing != NULL ? existing->definer : GetUserId();
	mapping->definer_name = GetUserNameFromId(mapping->definer, false);
	mapping->search_path = concord_store_search_path();
	definition = dwr_definition(request);
	concord_written_check(mapping, definition);

	if (existing != NULL)
		mapping->id = existing->id;
	else
		mapping->id = concord_store_mapping(mapping, request->comment);
	mapping->version = concord_store_version(mapping, definition,
											 request->comment);
	concord_store_update("UPDATE concord.mapping SET foreign_table ="
						 " $2::pg_catalog.oid::pg_catalog.regclass WHERE id = $1",
						 mapping->id, psprintf("%u", request->foreign_table));
	if (existing == NULL)
		concord_store_start(mapping->id, mapping->version);
	return mapping->version;
}

/* concord_written_usable raises where the definer does not own the table. */
void
concord_written_usable(const ConcordMapping *mapping)
{
	char	   *relname = OidIsValid(mapping->foreign_table) ?
		get_rel_name(mapping->foreign_table) : NULL;

	/* what is pending of a table that is gone is delivered all the same */
	if (relname == NULL || concord_table_owner(mapping->foreign_table, mapping->definer))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("role \"%s\" must be owner of foreign table \"%s\"",
					mapping->definer_name, relname),
			 errdetail("It is the definer of mapping \"%s\", with whose credentials rows are sent.",
					   mapping->name),
			 errhint("Use concord.set_definer(), or ALTER FOREIGN TABLE ... OWNER TO.")));
}

/* dwr_refuse raises for what is written where nobody would deliver it. */
static void
dwr_refuse(const ConcordMapping *mapping, const char *relname)
{
	switch (mapping->state)
	{
		case CONCORD_MAPPING_RESTORED:
			concord_source_at_home(mapping);
			break;
		case CONCORD_MAPPING_STALE:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("foreign table \"%s\" cannot be written: mapping \"%s\" is stale",
							relname, mapping->name),
					 errdetail("It has given up its place, so what is written now would not be delivered."),
					 errhint("Use concord.resume().")));
			break;
		default:
			break;
	}
	concord_source_definer(mapping);
	concord_written_usable(mapping);
}

/*
 * dwr_current says whether a mapping is as it was read, whatever snapshot the
 * transaction has: who held its lock may have dropped or changed it.
 */
static bool
dwr_current(const ConcordMapping *mapping)
{
	ConcordCatalogScope scope;
	Oid			types[3] = {INT4OID, INT4OID, OIDOID};
	Datum		values[3];
	bool		current;

	values[0] = Int32GetDatum(mapping->id);
	values[1] = Int32GetDatum(mapping->version);
	values[2] = ObjectIdGetDatum(mapping->foreign_table);
	concord_catalog_enter(&scope);
	PushActiveSnapshot(GetLatestSnapshot());
	if (SPI_execute_with_args("SELECT FROM concord.mapping WHERE id = $1"
							  " AND version = $2 AND foreign_table = $3::regclass",
							  3, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.mapping");
	current = SPI_processed == 1;
	PopActiveSnapshot();
	concord_catalog_leave(&scope);
	return current;
}

/* dwr_find finds and locks the mapping of a foreign table, or returns NULL. */
static ConcordMapping *
dwr_find(Oid foreign_table)
{
	Oid			relation = get_relname_relid("mapping",
											 get_namespace_oid("concord", false));
	const char *name;

	while ((name = dwr_find_name(foreign_table)) != NULL)
	{
		ConcordMapping *mapping = concord_mapping_find(name, CurrentMemoryContext);

		if (mapping == NULL)
			continue;
		LockDatabaseObject(relation, mapping->id, 0, AccessShareLock);
		if (dwr_current(mapping))
			return mapping;
		UnlockDatabaseObject(relation, mapping->id, 0, AccessShareLock);
		if (IsolationUsesXactSnapshot())
			ereport(ERROR,
					(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					 errmsg("mapping \"%s\" was changed meanwhile", name)));
	}
	return NULL;
}

/* concord_written_open finds the mapping of a foreign table. */
ConcordMapping *
concord_written_open(Oid foreign_table, const char *relname)
{
	ConcordMapping *mapping = dwr_find(foreign_table);

	if (mapping == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("foreign table \"%s\" is written through the outbox, and no mapping delivers that",
						relname),
				 errhint("Use SELECT concord.create_write_mapping('...', %s), or set option write to 'direct'.",
						 quote_literal_cstr(quote_identifier(relname)))));
	dwr_refuse(mapping, relname);
	return mapping;
}
