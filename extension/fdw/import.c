/*-------------------------------------------------------------------------
 *
 * import.c
 *	  IMPORT FOREIGN SCHEMA, and what it would do.
 *
 * The schema's name is the service's path under the server's url; "." is the
 * service that the server's own options say.
 *
 * Core lets a wrapper answer with CREATE FOREIGN TABLE commands only.  The
 * comments are kept until the hook of utility commands sees these commands run
 * one by one, as parts of the import; each table then gets its comments in
 * the same way, so that event triggers see them and they come and go
 * with the transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/import.h"

#include "access/xact.h"
#include "base/json.h"
#include "catalog/pg_foreign_server.h"
#include "fdw/routine.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(concord_import_commands);
PG_FUNCTION_INFO_V1(concord_metadata_fingerprint_of);

/*
 * Tables of the import that runs, whose comments are to be made; in a context
 * of the command's, which resets this at its end.
 */
static List *imp_pending = NIL;

/* imp_reset is that context's callback. */
static void
imp_reset(void *arg)
{
	if (imp_pending == (List *) arg)
		imp_pending = NIL;
}

/* imp_remember keeps tables for their comments. */
static void
imp_remember(List *tables)
{
	MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));

	imp_pending = tables;
	callback->func = imp_reset;
	callback->arg = tables;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
}

/* imp_service gives a service's path: what stands for the server's own is "". */
static const char *
imp_service(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "/") == 0 ? "" : name;
}

/*
 * concord_import_foreign_schema gives the commands of IMPORT FOREIGN SCHEMA.
 */
List *
concord_import_foreign_schema(ImportForeignSchemaStmt *stmt, Oid serverid)
{
	ConcordImportOptions options;
	ConcordMetadata *metadata;
	const char *service;
	List	   *tables;
	List	   *commands = NIL;
	ListCell   *lc;

	concord_import_options(stmt->options, &options);
	service = imp_service(options.service ? options.service : stmt->remote_schema);
	metadata = concord_import_fetch(serverid, service, options.language);
	tables = concord_import_tables(metadata, &options, stmt->list_type,
								   stmt->table_list);
	foreach(lc, tables)
		commands = lappend(commands,
						   concord_import_create(lfirst(lc), stmt->server_name,
												 service[0] ? service : NULL));
	if (options.comments)
		imp_remember(tables);

	/*
	 * What was asked for is what we give; core would compare names of sets
	 * with names of tables.
	 */
	stmt->list_type = FDW_IMPORT_SCHEMA_ALL;
	return commands;
}

/* imp_comment makes one comment, as a part of the command that runs. */
static void
imp_comment(ObjectType type, List *name, char *comment)
{
	CommentStmt *stmt = makeNode(CommentStmt);
	PlannedStmt *planned = makeNode(PlannedStmt);

	stmt->objtype = type;
	stmt->object = (Node *) name;
	stmt->comment = comment;
	planned->commandType = CMD_UTILITY;
	planned->utilityStmt = (Node *) stmt;
	planned->stmt_location = -1;
	ProcessUtility(planned, "IMPORT FOREIGN SCHEMA", false,
				   PROCESS_UTILITY_SUBCOMMAND, NULL, NULL, None_Receiver, NULL);
}

/* concord_import_created comments on a table that an import has made. */
void
concord_import_created(const CreateForeignTableStmt *stmt)
{
	RangeVar   *made = stmt->base.relation;
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, imp_pending)
	{
		ConcordImportTable *table = lfirst(lc);

		if (made->schemaname == NULL || strcmp(table->relname, made->relname) != 0)
			continue;
		CommandCounterIncrement();
		if (table->comment != NULL)
			imp_comment(OBJECT_FOREIGN_TABLE,
						list_make2(makeString(made->schemaname),
								   makeString(made->relname)),
						table->comment);
		foreach(lc2, table->columns)
		{
			ConcordImportColumn *column = lfirst(lc2);

			if (column->comment != NULL)
				imp_comment(OBJECT_COLUMN,
							list_make3(makeString(made->schemaname),
									   makeString(made->relname),
									   makeString(column->attname)),
							column->comment);
		}
		return;
	}
}

/* concord_import_ended forgets what an import was to comment on. */
void
concord_import_ended(void)
{
	imp_pending = NIL;
}

/* imp_json_options makes options of an object of texts, numbers and booleans. */
static List *
imp_json_options(Jsonb *jsonb)
{
	List	   *options = NIL;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *name = NULL;

	if (!JB_ROOT_IS_OBJECT(jsonb))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options are not a JSON object")));
	it = JsonbIteratorInit(&jsonb->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		char	   *text = NULL;

		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		if (token != WJB_VALUE)
			continue;
		if (value.type == jbvString)
			text = pnstrdup(value.val.string.val, value.val.string.len);
		else if (value.type == jbvBool)
			text = value.val.boolean ? "true" : "false";
		else
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("option \"%s\" is neither a text nor true or false", name)));
		options = lappend(options, makeDefElem(name, (Node *) makeString(text), -1));
	}
	return options;
}

/* imp_model reads metadata: those that are given, or the server's. */
static ConcordMetadata *
imp_model(const char *server_name, const char *service, const char *language,
		  text * document)
{
	ForeignServer *server;
	const char *utf8;

	if (document != NULL)
	{
		utf8 = concord_json_utf8(text_to_cstring(document));
		return concord_metadata_parse(utf8, strlen(utf8), CurrentMemoryContext);
	}
	server = GetForeignServerByName(server_name, false);
	if (concord_server_aclcheck(server->serverid, GetUserId()) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FOREIGN_SERVER, server->servername);
	return concord_import_fetch(server->serverid, service, language);
}

/* imp_text reads an argument that may be NULL. */
#define imp_text(n)	(PG_ARGISNULL(n) ? NULL : PG_GETARG_TEXT_PP(n))

/* imp_name reads an argument that must not be NULL. */
static const char *
imp_name(FunctionCallInfo fcinfo, int n, const char *what)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", what)));
	return n == 0 ? NameStr(*PG_GETARG_NAME(n)) :
		text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/*
 * concord_import_commands(server, service, options, document) gives the
 * commands that an import would run, comments too.
 */
Datum
concord_import_commands(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	const char *server = imp_name(fcinfo, 0, "server");
	const char *service = imp_service(imp_name(fcinfo, 1, "service"));
	ConcordImportOptions options;
	ConcordMetadata *metadata;
	ListCell   *lc;
	ListCell   *lc2;

	concord_import_options(PG_ARGISNULL(2) ? NIL :
						   imp_json_options(PG_GETARG_JSONB_P(2)), &options);
	if (options.service != NULL)
		service = imp_service(options.service);
	metadata = imp_model(server, service, options.language, imp_text(3));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	foreach(lc, concord_import_tables(metadata, &options, FDW_IMPORT_SCHEMA_ALL, NIL))
	{
		ConcordImportTable *table = lfirst(lc);
		List	   *commands = list_make1(concord_import_create(table, server,
																service[0] ? service : NULL));

		if (options.comments)
			commands = list_concat(commands, concord_import_comments(table));
		foreach(lc2, commands)
		{
			Datum		value = CStringGetTextDatum(lfirst(lc2));
			bool		isnull = false;

			tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, &value, &isnull);
		}
	}
	return (Datum) 0;
}

/*
 * concord_metadata_fingerprint_of(server, service, document) gives the
 * fingerprint of a service's metadata.
 */
Datum
concord_metadata_fingerprint_of(PG_FUNCTION_ARGS)
{
	const char *server = imp_name(fcinfo, 0, "server");
	const char *service = imp_service(imp_name(fcinfo, 1, "service"));
	ConcordMetadata *metadata = imp_model(server, service, NULL, imp_text(2));

	PG_RETURN_TEXT_P(cstring_to_text(concord_metadata_fingerprint(metadata)));
}
