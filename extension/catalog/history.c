/*-------------------------------------------------------------------------
 *
 * history.c
 *	  Who did what to a mapping or a system, and why.
 *
 * A row is written in the transaction of whoever acts, so what was rolled back
 * is not told.  Definitions have a history of their own, concord.mapping_version;
 * the view shows both.
 *
 *-------------------------------------------------------------------------
 */
#include "catalog/history.h"

#include "base/trim.h"
#include "catalog/mapping.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

/* hst_name makes a value of a name, or a NULL. */
static Datum
hst_name(const char *name, char *isnull)
{
	*isnull = name == NULL ? 'n' : ' ';
	return name == NULL ? (Datum) 0 :
		DirectFunctionCall1(namein, CStringGetDatum(name));
}

/* concord_history_add notes what the current user did. */
void
concord_history_add(const char *what, const char *mapping, const char *server,
					const char *why, int64 count)
{
	Oid			types[] = {TEXTOID, NAMEOID, NAMEOID, NAMEOID, NAMEOID, TEXTOID, INT8OID};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types)];
	ConcordCatalogScope scope;

	memset(nulls, ' ', sizeof(nulls));
	values[0] = CStringGetTextDatum(what);
	values[1] = hst_name(GetUserNameFromId(GetUserId(), false), &nulls[1]);
	values[2] = hst_name(GetUserNameFromId(GetSessionUserId(), false), &nulls[2]);
	values[3] = hst_name(mapping, &nulls[3]);
	values[4] = hst_name(server, &nulls[4]);
	values[5] = why ? CStringGetTextDatum(why) : (Datum) 0;
	nulls[5] = why ? ' ' : 'n';
	values[6] = Int64GetDatum(count);
	nulls[6] = count < 0 ? 'n' : ' ';
	concord_catalog_enter(&scope);
	if (SPI_execute_with_args("INSERT INTO concord.operation"
							  " (what, role, session_role, mapping, server, why, count)"
							  " VALUES ($1, $2, $3, $4, $5, $6, $7)",
							  lengthof(types), types, values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write concord.operation");
	concord_catalog_leave(&scope);
}

bool
concord_history_retain(int minutes)
{
	static ConcordTrim trim = {
		"operation",
		"at < pg_catalog.now() - greatest(pg_catalog.make_interval(mins => $1), '90 days')",
		"at"
	};

	return concord_trim(&trim, minutes);
}
