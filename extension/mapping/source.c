/*-------------------------------------------------------------------------
 *
 * source.c
 *	  Who may map what to where.
 *
 * A source is an ordinary or partitioned table that lives in the write-ahead
 * log as itself.  Whoever maps it owns it, because a mapping reads all of it
 * and for ever; and may use the server, because it is written to with that
 * role's credentials.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/define.h"

#include "access/htup_details.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_server.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

/* src_refuse raises for a kind of relation that cannot be captured. */
static void
src_refuse(const char *name, const char *kind, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("cannot map \"%s\": it is %s", name, kind),
			 errhint("%s", hint)));
}

/* src_check_kind refuses relations that are not ordinary tables. */
static void
src_check_kind(Form_pg_class form)
{
	const char *name = NameStr(form->relname);
	const char *tables = "Sources are ordinary and partitioned tables.";

	switch (form->relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
			break;
		case RELKIND_VIEW:
		case RELKIND_MATVIEW:
			src_refuse(name, "a view",
					   "Map the tables that it reads; expressions may use sub-SELECTs.");
			break;
		case RELKIND_FOREIGN_TABLE:
			src_refuse(name, "a foreign table",
					   "Its changes are not in this server's write-ahead log.");
			break;
		default:
			src_refuse(name, "not a table", tables);
	}
	if (form->relpersistence == RELPERSISTENCE_TEMP)
		src_refuse(name, "a temporary table", tables);
	if (form->relpersistence == RELPERSISTENCE_UNLOGGED)
		src_refuse(name, "an unlogged table",
				   "Use ALTER TABLE ... SET LOGGED first.");
}

/* concord_source_check raises where role cannot map a table. */
void
concord_source_check(Oid relid, Oid role)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	Form_pg_class form;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table with OID %u does not exist", relid)));
	form = (Form_pg_class) GETSTRUCT(tuple);
	if (IsCatalogNamespace(form->relnamespace) ||
		IsToastNamespace(form->relnamespace) ||
		form->relnamespace == get_namespace_oid("information_schema", true))
		src_refuse(NameStr(form->relname), "a system table",
				   "Sources are ordinary and partitioned tables.");
	if (form->relnamespace == get_namespace_oid("concord", true))
		src_refuse(NameStr(form->relname), "a table of pg_concord",
				   "What the extension writes is not captured.");
	src_check_kind(form);
	if (form->relispartition)
		src_refuse(NameStr(form->relname), "a partition",
				   "Map the partitioned table; changes of partitions come under it.");
	if (!concord_table_owner(relid, role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" must be owner of table \"%s\"",
						GetUserNameFromId(role, false), NameStr(form->relname)),
				 errhint("A mapping reads every row of its table; its definer owns the table or is a member of the role that does.")));
	ReleaseSysCache(tuple);
}

/* concord_source_server returns a server that role may use. */
Oid
concord_source_server(const char *name, Oid role)
{
	ForeignServer *server = GetForeignServerByName(name, true);

	if (server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" does not exist", name),
				 errhint("Use CREATE SERVER ... FOREIGN DATA WRAPPER concord first.")));
	if (strcmp(GetForeignDataWrapper(server->fdwid)->fdwname, "concord") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("server \"%s\" is not of foreign-data wrapper \"%s\"",
						name, "concord"),
				 errhint("Use CREATE SERVER ... FOREIGN DATA WRAPPER concord.")));
	if (concord_server_aclcheck(server->serverid, role) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for foreign server %s", name),
				 errhint("GRANT USAGE ON FOREIGN SERVER %s TO %s.",
						 name, GetUserNameFromId(role, false))));
	return server->serverid;
}

/* concord_source_require raises where the current user has no say. */
void
concord_source_require(const ConcordMapping *mapping)
{
	if (!has_privs_of_role(GetUserId(), mapping->definer))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be a member of role \"%s\" to change mapping \"%s\"",
						mapping->definer_name,
						mapping->name),
				 errdetail("That role is the mapping's definer.")));
}

/* concord_source_definer raises where a mapping's definer does not exist. */
void
concord_source_definer(const ConcordMapping *mapping)
{
	if (GetUserNameFromId(mapping->definer, true) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" does not exist", mapping->definer_name),
				 errdetail("It is the definer of mapping \"%s\".", mapping->name),
				 errhint("Use concord.set_definer().")));
}

/* concord_source_at_home raises where a mapping cannot be changed here. */
void
concord_source_at_home(const ConcordMapping *mapping)
{
	if (mapping->state == CONCORD_MAPPING_RESTORED)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("mapping \"%s\" comes from another database",
						mapping->name),
				 errdetail("A copy must not write to a system by itself."),
				 errhint("Use SELECT concord.activate() where this database takes the other's place.")));
	concord_source_definer(mapping);
}
