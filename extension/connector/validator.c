/*-------------------------------------------------------------------------
 *
 * validator.c
 *	  The validator of foreign-data wrapper concord.
 *
 * Single values are checked by catalog/server_options.c; here is what needs
 * the whole list, other rooms or the caller's rights.  An ALTER passes the
 * options that result, so what a superuser has set can be changed further
 * only by one who might have set it.
 *
 * A connector must exist when a server names it.  Scripts of pg_dump are let
 * through (they set check_function_bodies off for the same reason): the rows
 * of concord.connector come after the servers there.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/connector.h"

#include <limits.h>

#include "access/reloptions.h"
#include "auth/auth.h"
#include "base/shmem.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_foreign_table.h"
#include "catalog/pg_user_mapping.h"
#include "catalog/server_options.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"

PG_FUNCTION_INFO_V1(concord_fdw_validator);

/* val_level tells which kind of object a catalog's OID stands for. */
static ConcordOptionLevel
val_level(Oid catalog)
{
	switch (catalog)
	{
		case ForeignServerRelationId:
			return CONCORD_OPTION_SERVER;
		case UserMappingRelationId:
			return CONCORD_OPTION_USER;
		case ForeignTableRelationId:
			return CONCORD_OPTION_TABLE;
		case AttributeRelationId:
			return CONCORD_OPTION_COLUMN;
		default:
			return CONCORD_OPTION_WRAPPER;
	}
}

/* val_file_rights refuses paths from those who may not read server files. */
static void
val_file_rights(ConcordOptionLevel level, List *options)
{
	const char *name = concord_option_uses_file(level, options);

	if (concord_option_get(options, "refresh_token_file") != NULL &&
		!has_privs_of_role(GetUserId(), ROLE_PG_WRITE_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to set option \"%s\"",
						"refresh_token_file"),
				 errdetail("The file is written where a system gives another token: only superusers and members of \"%s\" and \"%s\" may name it.",
						   "pg_read_server_files", "pg_write_server_files"),
				 errhint("Ask one of them to set the option, or state a token that does not change as \"refresh_token\".")));
	if (name == NULL || superuser() ||
		has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to set option \"%s\"", name),
			 errdetail("Only superusers and members of \"%s\" may name files.",
					   "pg_read_server_files"),
			 errhint("Ask one of them to set the option.")));
}

/*
 * val_secrets warns of secrets that are option values: PostgreSQL shows them
 * to those who may see the options, and writes them into dumps and logs.
 */
static void
val_secrets(List *options)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *def = lfirst_node(DefElem, lc);

		if (!concord_option_secret(CONCORD_OPTION_USER, def->defname))
			continue;
		ereport(WARNING,
				(errcode(ERRCODE_WARNING),
				 errmsg("option \"%s\" holds a secret", def->defname),
				 errdetail("View pg_user_mappings shows it to the role and to the server's owner; it is written into dumps, and into the log where statements are logged."),
				 errhint("Option \"%s_file\" names a file instead.",
						 def->defname)));
		return;
	}
}

/* val_server checks what a server's options say together. */
static void
val_server(List *options)
{
	const char *connector = concord_option_get(options, "connector");
	const char *url = concord_option_get(options, "url");

	if (connector == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("option \"%s\" is missing", "connector"),
				 errhint("Table concord.connector lists the connectors.")));
	if (url == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("option \"%s\" is missing", "url"),
				 errhint("It is the address under which the system's paths are, such as https://erp.example.com/api/.")));
	if (check_function_bodies)
		(void) concord_connector_load(connector, false, CurrentMemoryContext);
	if (strchr(url, '?') != NULL && strcmp(connector, "webhook") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" has a query", "url"),
				 errhint("Paths are added to the address of a server; only that of a webhook may end with a query.")));
	if (concord_option_duration(options, "retry_base", 0) >
		concord_option_duration(options, "retry_cap", INT_MAX))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" is greater than option \"%s\"",
						"retry_base", "retry_cap"),
				 errdetail("Delays double from the one to the other.")));
	if ((concord_option_get(options, "key_file") != NULL) &&
		(concord_option_get(options, "cert_file") == NULL))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
				 errmsg("option \"%s\" needs option \"%s\"", "key_file",
						"cert_file"),
				 errhint("State both: the certificate and its key.")));
}

/* concord_fdw_validator checks the options of one object. */
Datum
concord_fdw_validator(PG_FUNCTION_ARGS)
{
	List	   *options = untransformRelOptions(PG_GETARG_DATUM(0));
	ConcordOptionLevel level = val_level(PG_GETARG_OID(1));

	concord_option_check(level, options);
	val_file_rights(level, options);
	if (level == CONCORD_OPTION_SERVER)
		val_server(options);
	else if (level == CONCORD_OPTION_USER)
	{
		concord_auth_check(options);
		val_secrets(options);
	}

	/* workers read options again once this has committed */
	if (level == CONCORD_OPTION_SERVER || level == CONCORD_OPTION_USER)
		concord_catalog_changed();
	PG_RETURN_VOID();
}
