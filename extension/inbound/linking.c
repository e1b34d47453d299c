/*-------------------------------------------------------------------------
 *
 * linking.c
 *	  Links that a person makes and takes away.
 *
 * A link is unique both ways: a row has one record at a system, a record one
 * row.  What would break that is refused, with the other one's name.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "delivery/pending.h"

#include "base/json.h"
#include "base/shmem.h"
#include "catalog/history.h"
#include "catalog/pg_type.h"
#include "outbox/message.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

PG_FUNCTION_INFO_V1(concord_set_link);
PG_FUNCTION_INFO_V1(concord_remove_link);

/* lnk_check_key refuses what is no key of the mapping's rows. */
static void
lnk_check_key(const ConcordMapping *mapping, Jsonb *key)
{
	bool		fits = mapping->local_key != NIL && JB_ROOT_IS_OBJECT(key) &&
		JB_ROOT_COUNT(key) == list_length(mapping->local_key);
	ListCell   *lc;

	foreach(lc, mapping->local_key)
	{
		JsonbValue	buf;
		JsonbValue *value = !fits ? NULL :
			getKeyJsonValueFromContainer(&key->root, lfirst(lc), strlen(lfirst(lc)), &buf);

		fits = value != NULL && value->type != jbvNull && value->type != jbvBinary;
	}
	if (!fits)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key %s is not one of mapping \"%s\"",
						JsonbToCString(NULL, &key->root, VARSIZE(key)), mapping->name),
				 mapping->local_key == NIL ? 0 :
				 errhint("A key is an object such as {\"%s\": ...}, as concord.link shows it.",
						 (char *) linitial(mapping->local_key))));
}

/* lnk_run runs a statement of ours over mapping, key and id; returns its rows. */
static uint64
lnk_run(const ConcordMapping *mapping, const char *sql, Jsonb *key,
		const char *remote_id, int expect, char **text)
{
	ConcordCatalogScope scope;
	MemoryContext context = CurrentMemoryContext;
	Oid			types[4] = {INT4OID, JSONBOID, TEXTOID, BOOLOID};
	Datum		values[4];
	char		nulls[4] = {' ', ' ', remote_id == NULL ? 'n' : ' ', ' '};
	uint64		n;

	values[0] = Int32GetDatum(mapping->id);
	values[1] = JsonbPGetDatum(key);
	values[2] = remote_id == NULL ? (Datum) 0 : CStringGetTextDatum(remote_id);
	values[3] = BoolGetDatum(mapping->options.remote_id_assigned);
	concord_catalog_enter(&scope);
	if (SPI_execute_with_args(sql, 4, types, values, nulls, false, 0) != expect)
		elog(ERROR, "could not write concord.link_item");
	n = SPI_processed;
	if (text != NULL && n > 0)
	{
		MemoryContext old = MemoryContextSwitchTo(context);

		*text = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
		MemoryContextSwitchTo(old);
	}
	concord_catalog_leave(&scope);
	return n;
}

/* lnk_text gives a part of a key as its type writes it. */
static char *
lnk_text(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value->val.numeric)));
		default:
			return value->val.boolean ? "t" : "f";
	}
}

/*
 * concord_inbound_send_row writes the event of a resync, which names the key by
 * the texts of its columns.
 */
void
concord_inbound_send_row(const ConcordMapping *mapping, Jsonb *local_key)
{
	StringInfoData buf;
	pg_uuid_t	id;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, mapping->local_key)
	{
		JsonbValue	found;
		JsonbValue *value = getKeyJsonValueFromContainer(&local_key->root, lfirst(lc),
														 strlen(lfirst(lc)), &found);
		char	   *text;

		if (value == NULL || value->type == jbvNull || value->type == jbvBinary)
			elog(ERROR, "a key has no column \"%s\"", (char *) lfirst(lc));
		text = lnk_text(value);
		appendStringInfoString(&buf, buf.len == 0 ? "{" : ", ");
		concord_json_string(&buf, lfirst(lc), strlen(lfirst(lc)));
		appendStringInfoString(&buf, ": ");
		concord_json_string(&buf, text, strlen(text));
	}
	appendStringInfoChar(&buf, '}');
	concord_message_emit(CONCORD_MESSAGE_RESYNC, psprintf("%d", mapping->id), NULL, NULL,
						 concord_json_server(buf.data), &id);
}

/* lnk_check_free refuses a link where row or record has another one. */
static void
lnk_check_free(const ConcordMapping *mapping, Jsonb *key, const char *remote_id)
{
	char	   *other;

	if (lnk_run(mapping, "SELECT local_key::pg_catalog.text FROM concord.link_item"
				" WHERE mapping = $1 AND remote_id = $3 AND present AND local_key <> $2"
				" AND $4 IS NOT NULL LIMIT 1", key, remote_id, SPI_OK_SELECT, &other) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("the record with the id \"%s\" is linked with row %s already",
						remote_id, other),
				 errhint("Use concord.remove_link('%s', '%s') first.", mapping->name, other)));
	if (lnk_run(mapping, "SELECT remote_id FROM concord.link_item"
				" WHERE mapping = $1 AND local_key = $2 AND present AND remote_id <> $3"
				" AND $4 IS NOT NULL LIMIT 1", key, remote_id, SPI_OK_SELECT, &other) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("row %s is linked with the record with the id \"%s\" already",
						JsonbToCString(NULL, &key->root, VARSIZE(key)), other),
				 errhint("Use concord.remove_link() first.")));
}

/*
 * lnk_decided ends what concord.match() left open of a record or row.  A record
 * whose fields are taken is applied now; what is sent of the row is sent.
 */
static void
lnk_decided(const ConcordMapping *mapping, Jsonb *key, const char *remote_id)
{
	ListCell   *lc;
	bool		sends = false;

	if (lnk_run(mapping, mapping->pulls ?
				"UPDATE concord.inbox_item SET"
				"   state = CASE WHEN remote_id = $3 AND local_key IS NULL THEN 'new' ELSE 'discarded' END,"
				"   rule = NULL, error = NULL, why = 'linked by concord.set_link()', changed_at = pg_catalog.now()"
				" WHERE mapping = $1 AND origin = 'match' AND state = 'parked'"
				"   AND (remote_id = $3 OR local_key = $2) AND $4 IS NOT NULL" :
				"UPDATE concord.inbox_item SET state = 'discarded', why = 'linked by concord.set_link()',"
				"   changed_at = pg_catalog.now()"
				" WHERE mapping = $1 AND origin = 'match' AND state = 'parked'"
				"   AND (remote_id = $3 OR local_key = $2) AND $4 IS NOT NULL",
				key, remote_id, SPI_OK_UPDATE, NULL) == 0)
		return;
	foreach(lc, mapping->fields)
		sends |= ((ConcordField *) lfirst(lc))->pushed;
	if (sends && !mapping->push_off)
		concord_inbound_send_row(mapping, key);
}

/* concord_set_link is concord.set_link(). */
Datum
concord_set_link(PG_FUNCTION_ARGS)
{
	ConcordMapping *mapping = concord_operate_mapping(fcinfo, 0);
	Jsonb	   *key;
	char	   *remote_id;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(2)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a link needs a key and an id")));
	key = PG_GETARG_JSONB_P(1);
	remote_id = text_to_cstring(PG_GETARG_TEXT_PP(2));
	lnk_check_key(mapping, key);
	concord_inbound_lock(mapping);
	lnk_check_free(mapping, key, remote_id);
	(void) lnk_run(mapping, "INSERT INTO concord.link_item AS k (mapping, local_key, remote_id, seq, present, assigned)"
				   " VALUES ($1, $2, $3, 0, true, $4)"
				   " ON CONFLICT (mapping, local_key) DO UPDATE SET remote_id = excluded.remote_id,"
				   "   present = true, assigned = excluded.assigned,"
				   "   etag = CASE WHEN k.present THEN k.etag END, hash = CASE WHEN k.present THEN k.hash END,"
				   "   fields = CASE WHEN k.present THEN k.fields END, base = CASE WHEN k.present THEN k.base END",
				   key, remote_id, SPI_OK_INSERT, NULL);
	lnk_decided(mapping, key, remote_id);
	concord_history_add("set_link", mapping->name, NULL,
						psprintf("%s is %s", JsonbToCString(NULL, &key->root, VARSIZE(key)), remote_id), 1);
	concord_inbound_wake();
	PG_RETURN_VOID();
}

/* concord_remove_link is concord.remove_link(). */
Datum
concord_remove_link(PG_FUNCTION_ARGS)
{
	ConcordMapping *mapping = concord_operate_mapping(fcinfo, 0);
	Jsonb	   *key;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a key must be given")));
	key = PG_GETARG_JSONB_P(1);
	lnk_check_key(mapping, key);
	concord_inbound_lock(mapping);
	if (lnk_run(mapping, "DELETE FROM concord.link_item WHERE mapping = $1 AND local_key = $2 AND present"
				" AND ($3, $4) IS NOT DISTINCT FROM ($3, $4)", key, NULL, SPI_OK_DELETE, NULL) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("mapping \"%s\" has no link of row %s", mapping->name,
						JsonbToCString(NULL, &key->root, VARSIZE(key)))));
	concord_history_add("remove_link", mapping->name, NULL,
						JsonbToCString(NULL, &key->root, VARSIZE(key)), 1);
	PG_RETURN_VOID();
}
