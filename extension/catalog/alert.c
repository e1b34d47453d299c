/*-------------------------------------------------------------------------
 *
 * alert.c
 *	  What a person should look at: view concord.alert, channel concord_alert.
 *
 * An alert is a row in the transaction of what it is about: what was rolled back
 * did not happen.  The clerk notifies, for a transaction that does cannot be
 * prepared.  The number of rows is bounded, for nobody may be looking.
 *
 *-------------------------------------------------------------------------
 */
#include "catalog/alert.h"

#include "base/json.h"
#include "base/trim.h"
#include "catalog/mapping.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#define ALR_CHANNEL		"concord_alert"
#define ALR_MAX_DETAIL	2000	/* bytes of a notification's detail */

/* alr_member adds a member to a notification. */
static void
alr_member(StringInfo buf, const char *name, const char *value)
{
	if (value == NULL)
		return;
	appendStringInfo(buf, "%s\"%s\": ", buf->len > 1 ? ", " : "", name);
	concord_json_string(buf, value, pg_mbcliplen(value, strlen(value),
												 ALR_MAX_DETAIL));
}

/* alr_notify tells who listens of a row. */
static void
alr_notify(HeapTuple tuple, TupleDesc desc)
{
	static const char *const names[] = {
		"severity", "what", "mapping", "server", "source", "detail",
	};
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfo(&buf, "{\"id\": %s", SPI_getvalue(tuple, desc, 1));
	for (int i = 0; i < lengthof(names); i++)
		alr_member(&buf, names[i], SPI_getvalue(tuple, desc, i + 2));
	appendStringInfoChar(&buf, '}');
	Async_Notify(ALR_CHANNEL, concord_json_server(buf.data));
}

/* concord_alert_tell tells who listens of alerts that are new. */
void
concord_alert_tell(void)
{
	if (SPI_execute("UPDATE concord.alert_item SET told = true WHERE NOT told"
					" RETURNING id, severity, what, mapping, server, source, detail",
					false, 0) != SPI_OK_UPDATE_RETURNING)
		elog(ERROR, "could not read concord.alert_item");
	for (uint64 i = 0; i < SPI_processed; i++)
		alr_notify(SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
}

/* concord_alert writes an alert. */
int64
concord_alert(const char *severity, const char *what, const char *mapping,
			  const char *server, const char *source, const char *detail)
{
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID};
	const char *texts[] = {severity, what, mapping, server, source, detail};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types) + 1] = "      ";
	ConcordCatalogScope scope;
	bool		isnull;
	int64		id;

	for (int i = 0; i < lengthof(types); i++)
	{
		values[i] = texts[i] != NULL ? CStringGetTextDatum(texts[i]) : (Datum) 0;
		nulls[i] = texts[i] != NULL ? ' ' : 'n';
	}
	concord_catalog_enter(&scope);
	if (SPI_execute_with_args("INSERT INTO concord.alert_item"
							  " (severity, what, mapping, server, source, detail)"
							  " VALUES ($1, $2, $3::name, $4::name, $5, $6)"
							  " RETURNING id",
							  lengthof(types), types, values, nulls, false,
							  0) != SPI_OK_INSERT_RETURNING)
		elog(ERROR, "could not write concord.alert_item");
	id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0],
									 SPI_tuptable->tupdesc, 1, &isnull));
	concord_catalog_leave(&scope);
	ereport(LOG,
			(errmsg("alert \"%s\": %s", what, detail),
			 mapping != NULL ? errdetail("Mapping \"%s\".", mapping) : 0));
	return id;
}

/* concord_alert_count says how often the same happened. */
void
concord_alert_count(int64 id, int64 count)
{
	Oid			types[] = {INT8OID, INT8OID};
	Datum		values[] = {Int64GetDatum(id), Int64GetDatum(count)};
	ConcordCatalogScope scope;

	concord_catalog_enter(&scope);
	if (SPI_execute_with_args("UPDATE concord.alert_item SET count = $2 WHERE id = $1",
							  2, types, values, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not write concord.alert_item");
	concord_catalog_leave(&scope);
}

/* concord_alert_retain forgets what is old, or too much. */
bool
concord_alert_retain(int minutes)
{
	static ConcordTrim trim = {
		"alert_item",
		"(at < pg_catalog.now() - greatest(pg_catalog.make_interval(mins => $1), '30 days')"
		" OR id < (SELECT pg_catalog.max(id) FROM concord.alert_item) - 10000)",
		"at"
	};

	return concord_trim(&trim, minutes);
}
