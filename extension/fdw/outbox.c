/*-------------------------------------------------------------------------
 *
 * outbox.c
 *	  Rows of a foreign table that are written through the outbox.
 *
 * Each row becomes an event of the transaction (mapping/written.h) under the
 * topic of the table's mapping, and the couriers do the rest: after the commit,
 * in the order of each key, again where that is needed.  An update or deletion
 * carries the version (ETag) that the statement read, so that a record which
 * somebody has changed since ends as a dead letter and is not written over.
 *
 * Two roles have a say.  Who runs the statement needs USAGE on the server and
 * the privilege on the table, as with direct writes.  Who created the mapping
 * owns the table and is the one as whom it is sent; a GRANT on the table hands
 * that on.  What an event says was checked here, so nobody else may emit one
 * (capture/emit.c).
 *
 * What is written here is written at the system under the names that the table
 * has for it now.  A table that has come to mean another object, or has another
 * key, is refused until its mapping says the same.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/outbox.h"

#include "access/table.h"
#include "capture/capture.h"
#include "catalog/namespace.h"
#include "foreign/foreign.h"
#include "mapping/written.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(concord_create_write_mapping);

struct ConcordOutboxWriter
{
	ConcordRowForm form;
	ConcordMapping *mapping;
	const char *table;
	const char *role;
};

/* obx_key lists the names of a table's key. */
static List *
obx_key(const ConcordForeignTable *table)
{
	List	   *key = NIL;

	for (int i = 0; i < table->nkeys; i++)
		key = lappend(key, table->columns[table->keys[i] - 1].name);
	return key;
}

/* obx_same_key says whether a mapping has the key of a table. */
static bool
obx_same_key(const ConcordMapping *mapping, const ConcordForeignTable *table)
{
	List	   *key = obx_key(table);
	ListCell   *lc;
	ListCell   *lm;

	if (list_length(key) != list_length(mapping->key))
		return false;
	forboth(lc, key, lm, mapping->key)
	{
		if (strcmp(lfirst(lc), ((ConcordField *) lfirst(lm))->name) != 0)
			return false;
	}
	return true;
}

/* obx_check raises where the mapping is not what the table says now. */
static void
obx_check(const ConcordMapping *mapping, const ConcordForeignTable *table)
{
	const char *differs = NULL;

	if (mapping->serverid != table->serverid)
		differs = "server";
	else if (strcmp(mapping->object, table->object) != 0)
		differs = "object";
	else if (strcmp(mapping->options.service ? mapping->options.service : "",
					table->service ? table->service : "") != 0)
		differs = "service";
	else if (!obx_same_key(mapping, table))
		differs = "key";
	if (differs != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("foreign table \"%s\" has another %s than mapping \"%s\", which delivers what is written to it",
						table->relname, differs, mapping->name),
				 errhint("Use SELECT concord.create_write_mapping(%s, %s, or_replace => true).",
						 quote_literal_cstr(mapping->name),
						 quote_literal_cstr(quote_identifier(table->relname)))));
}

/* concord_outbox_create makes a writer. */
ConcordOutboxWriter *
concord_outbox_create(const ConcordForeignTable *table, Oid userid,
					  CmdType operation, List *columns, List *given)
{
	ConcordOutboxWriter *writer = palloc0(sizeof(ConcordOutboxWriter));
	ForeignServer *server = GetForeignServer(table->serverid);

	if (concord_server_aclcheck(table->serverid, userid) != ACLCHECK_OK)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for foreign server %s",
						server->servername)));
	concord_emit_begin("writing to a foreign table through the outbox");
	writer->mapping = concord_written_open(table->relid, table->relname);
	obx_check(writer->mapping, table);
	concord_row_form(&writer->form, table, operation, columns, given);
	/* what the mapping says counts, beside what its connector does */
	writer->form.mapping.options.remote_id_assigned =
		writer->mapping->options.remote_id_assigned;
	writer->table = quote_qualified_identifier(get_namespace_name(get_rel_namespace(table->relid)),
											   table->relname);
	writer->role = GetUserNameFromId(userid, false);
	return writer;
}

/* obx_require_key raises for a record that nobody could find again. */
static void
obx_require_key(const ConcordOutboxWriter *writer, const ConcordMapped *mapped)
{
	const ConcordForeignTable *table = writer->form.table;

	if (writer->mapping->options.remote_id_assigned)
		return;
	for (int i = 0; i < table->nkeys; i++)
	{
		if (mapped->keys[i].isnull)
			ereport(ERROR,
					(errcode(ERRCODE_NOT_NULL_VIOLATION),
					 errmsg("key column \"%s\" of foreign table \"%s\" must not be null",
							table->columns[table->keys[i] - 1].attname,
							table->relname)));
	}
}

/* concord_outbox_put writes a row. */
void
concord_outbox_put(ConcordOutboxWriter *writer, const Datum *values,
				   const bool *nulls, const Datum *keys, const char *tag)
{
	ConcordMapped *mapped = concord_row_map(&writer->form, values, nulls, keys);
	ConcordWritten written = *mapped->written;
	ConcordWrittenEvent event;
	pg_uuid_t	id;

	written.tag = tag;
	if (written.op == CONCORD_OP_INSERT)
		obx_require_key(writer, mapped);
	concord_written_event(&writer->form.mapping, mapped, &written,
						  writer->table, writer->role, &event);
	concord_emit_event(writer->mapping->topic, event.key, event.headers,
					   event.payload, &id);
}

/* concord_outbox_form says what of a row is written. */
const ConcordRowForm *
concord_outbox_form(const ConcordOutboxWriter *writer)
{
	return &writer->form;
}

/* concord_outbox_mapping names the mapping. */
const char *
concord_outbox_mapping(const ConcordOutboxWriter *writer)
{
	return writer->mapping->name;
}

/* obx_table opens the foreign table that a mapping is to be made for. */
static ConcordForeignTable *
obx_table(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	ConcordForeignTable *table;
	ForeignServer *server;

	if (rel->rd_rel->relkind != RELKIND_FOREIGN_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a foreign table",
						RelationGetRelationName(rel)),
				 errhint("Changes of a table are mapped by concord.create_mapping().")));
	server = GetForeignServer(GetForeignTable(relid)->serverid);
	if (strcmp(GetForeignDataWrapper(server->fdwid)->fdwname, "concord") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("foreign table \"%s\" is not of foreign-data wrapper \"%s\"",
						RelationGetRelationName(rel), "concord")));
	if (!concord_table_owner(relid, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of foreign table \"%s\"",
						RelationGetRelationName(rel)),
				 errdetail("Whoever may write to it writes with the credentials of the mapping's definer.")));
	table = concord_fdw_table(rel);
	table_close(rel, NoLock);
	return table;
}

/*
 * concord_create_write_mapping(name text, foreign_table regclass, options jsonb,
 * paused bool, or_replace bool, comment text) has what is written to a foreign
 * table with option write 'outbox' delivered; returns the mapping's version.
 */
Datum
concord_create_write_mapping(PG_FUNCTION_ARGS)
{
	ConcordWrittenRequest request = {0};
	ConcordForeignTable *table;

	for (int i = 0; i < 2; i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not be null or empty",
							i == 0 ? "name" : "foreign_table")));
	}
	request.name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (request.name[0] == '\0' || strlen(request.name) >= NAMEDATALEN)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("mapping name \"%s\" is empty or too long", request.name),
				 errdetail("It may have at most %d bytes.", NAMEDATALEN - 1)));
	request.foreign_table = PG_GETARG_OID(1);
	table = obx_table(request.foreign_table);
	if (!table->outbox)
		ereport(NOTICE,
				(errmsg("foreign table \"%s\" is written directly", table->relname),
				 errhint("Set its option write, or that of its server, to 'outbox'.")));
	request.server = GetForeignServer(table->serverid)->servername;
	request.object = table->object;
	request.service = table->service;
	request.key = obx_key(table);
	request.options = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	request.paused = !PG_ARGISNULL(3) && PG_GETARG_BOOL(3);
	request.or_replace = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4);
	request.comment = PG_ARGISNULL(5) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(5));
	PG_RETURN_INT32(concord_written_define(&request));
}
