/*-------------------------------------------------------------------------
 *
 * functions.c
 *	  What people do with records: apply them, try them again, give them up.
 *
 * Who may: members of the mapping's definer, as for all that operates it.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "catalog/history.h"
#include "catalog/pg_type.h"
#include "delivery/pending.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(concord_apply_records);
PG_FUNCTION_INFO_V1(concord_retry_inbox);
PG_FUNCTION_INFO_V1(concord_discard_inbox);

/* fun_array reads an array argument that goes along with n records; NULL: none. */
static bool
fun_array(FunctionCallInfo fcinfo, int arg, const char *name, Oid type, int n,
		  Datum **values, bool **nulls)
{
	int16		len;
	bool		byval;
	char		align;
	int			found;

	*values = NULL;
	if (PG_ARGISNULL(arg))
		return false;
	get_typlenbyvalalign(type, &len, &byval, &align);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(arg), type, len, byval, align,
					  values, nulls, &found);
	if (n >= 0 && found != n)
		ereport(ERROR,
				(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
				 errmsg("argument \"%s\" has %d elements for %d records", name, found, n)));
	return true;
}

/* fun_op reads what has become of the records. */
static ConcordInboundOp
fun_op(FunctionCallInfo fcinfo)
{
	char	   *op = PG_ARGISNULL(2) ? "upsert" : text_to_cstring(PG_GETARG_TEXT_PP(2));

	if (strcmp(op, "upsert") == 0)
		return CONCORD_INBOUND_UPSERT;
	if (strcmp(op, "delete") == 0)
		return CONCORD_INBOUND_DELETE;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value \"%s\" for argument \"%s\"", op, "op"),
			 errhint("Values available are \"upsert\" and \"delete\".")));
	return CONCORD_INBOUND_UPSERT;
}

/* fun_records reads the records that are to be applied. */
static ConcordInboundRecord *
fun_records(FunctionCallInfo fcinfo, int *n)
{
	ConcordInboundOp op = fun_op(fcinfo);
	ConcordInboundRecord *records;
	Datum	   *texts;
	Datum	   *ids;
	Datum	   *etags;
	Datum	   *changed;
	bool	   *no_text;
	bool	   *no_id;
	bool	   *no_etag;
	bool	   *no_changed;

	if (!fun_array(fcinfo, 1, "records", TEXTOID, -1, &texts, &no_text))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null or empty", "records")));
	*n = ArrayGetNItems(ARR_NDIM(PG_GETARG_ARRAYTYPE_P(1)), ARR_DIMS(PG_GETARG_ARRAYTYPE_P(1)));
	(void) fun_array(fcinfo, 3, "remote_ids", TEXTOID, *n, &ids, &no_id);
	(void) fun_array(fcinfo, 4, "etags", TEXTOID, *n, &etags, &no_etag);
	(void) fun_array(fcinfo, 5, "remote_changed", TIMESTAMPTZOID, *n, &changed, &no_changed);
	records = palloc0(sizeof(ConcordInboundRecord) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		records[i].op = op;
		records[i].record = no_text[i] ? NULL : TextDatumGetCString(texts[i]);
		if (ids != NULL && !no_id[i])
			records[i].remote_id = TextDatumGetCString(ids[i]);
		if (etags != NULL && !no_etag[i])
			records[i].etag = TextDatumGetCString(etags[i]);
		if (changed != NULL && !no_changed[i])
			records[i].remote_changed = DatumGetTimestampTz(changed[i]);
	}
	return records;
}

/* concord_apply_records is concord.apply_records(). */
Datum
concord_apply_records(PG_FUNCTION_ARGS)
{
	ConcordMapping *mapping = concord_operate_mapping(fcinfo, 0);
	ConcordInboundCounts counts = {0};
	ConcordInboundRecord *records;
	ConcordInbound *inbound;
	TupleDesc	desc;
	Datum		values[6];
	bool		nulls[6] = {false};
	int			n;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	records = fun_records(fcinfo, &n);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	inbound = concord_inbound_open(mapping, "receive", CurrentMemoryContext);
	concord_inbound_apply(inbound, records, n, &counts);
	concord_inbound_close(inbound);
	SPI_finish();
	values[0] = Int64GetDatum(counts.fetched);
	values[1] = Int64GetDatum(counts.applied);
	values[2] = Int64GetDatum(counts.unchanged);
	values[3] = Int64GetDatum(counts.conflicts);
	values[4] = Int64GetDatum(counts.rejected);
	values[5] = Int64GetDatum(counts.waiting);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, nulls)));
}

/* fun_change runs a statement over the inbox of a mapping and counts its rows. */
static int64
fun_change(const ConcordMapping *mapping, const char *sql, bool one, int64 id,
		   const char *why)
{
	ConcordCatalogScope scope;
	Oid			types[3] = {INT4OID, INT8OID, TEXTOID};
	Datum		values[3];
	char		nulls[3] = {' ', one ? ' ' : 'n', why != NULL ? ' ' : 'n'};
	int64		count;

	values[0] = Int32GetDatum(mapping->id);
	values[1] = Int64GetDatum(id);
	values[2] = why != NULL ? CStringGetTextDatum(why) : (Datum) 0;
	concord_catalog_enter(&scope);
	if (SPI_execute_with_args(sql, 3, types, values, nulls, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not change concord.inbox_item");
	count = SPI_processed;
	concord_catalog_leave(&scope);
	if (one && count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("mapping \"%s\" has no record " INT64_FORMAT " that is parked or waits",
						mapping->name, id)));
	return count;
}

/* concord_retry_inbox is concord.retry_inbox(). */
Datum
concord_retry_inbox(PG_FUNCTION_ARGS)
{
	ConcordMapping *mapping = concord_operate_mapping(fcinfo, 0);
	bool		one = !PG_ARGISNULL(1);
	int64		count;

	if (!mapping->pulls)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("mapping \"%s\" takes nothing from its system", mapping->name),
				 errhint("What concord.match() leaves open is decided by concord.set_link() or concord.discard_inbox().")));
	count = fun_change(mapping,
					   "UPDATE concord.inbox_item SET state = 'new', attempts = 0, rule = NULL,"
					   " error = NULL, next_try = NULL, waits_for = NULL, received_at = pg_catalog.now(),"
					   " changed_at = pg_catalog.now()"
					   " WHERE mapping = $1 AND ($2 IS NULL OR id = $2)"
					   " AND state IN ('parked', 'waiting') AND $3 IS NULL",
					   one, one ? PG_GETARG_INT64(1) : 0, NULL);

	concord_history_add("retry_inbox", mapping->name, NULL, NULL, count);
	concord_inbound_wake();
	PG_RETURN_INT64(count);
}

/* concord_discard_inbox is concord.discard_inbox(). */
Datum
concord_discard_inbox(PG_FUNCTION_ARGS)
{
	ConcordMapping *mapping = concord_operate_mapping(fcinfo, 0);
	bool		one = !PG_ARGISNULL(1);
	char	   *why = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	int64		count;

	if (why == NULL || why[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("argument \"%s\" must not be null or empty", "why"),
				 errhint("What was discarded cannot be had back; say why, for those who look for it.")));
	count = fun_change(mapping,
					   "UPDATE concord.inbox_item SET state = 'discarded', why = $3, next_try = NULL,"
					   " changed_at = pg_catalog.now()"
					   " WHERE mapping = $1 AND ($2 IS NULL OR id = $2) AND state IN ('parked', 'waiting')",
					   one, one ? PG_GETARG_INT64(1) : 0, why);
	concord_history_add("discard_inbox", mapping->name, NULL, why, count);
	PG_RETURN_INT64(count);
}
