/*-------------------------------------------------------------------------
 *
 * inbox.c
 *	  Records that are not applied: parked for a person, or waiting.
 *
 *		new ──► applied, and deleted
 *		 ├────► waiting ──► (its parent came, or its time) ──► applied
 *		 │         ├──────► parked: wait_limit, or parents in a circle
 *		 └────► parked ───► retry_inbox(): new; discard_inbox(): discarded
 *
 * What a record waits for is a text: "link:MAPPING:ID" where an apply
 * expression asked for the row of an id, "row:TABLE:KEY" where a foreign key
 * names a row that is not there.  Whoever applies that record wakes those that
 * wait for it; local rows wake nobody, so everything is also tried again from
 * time to time.
 *
 * A record that has come later and is whole takes the place of those of its id
 * that were not applied.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "base/json.h"
#include "catalog/namespace.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "outbox/insert.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"

#define IBX_CIRCLE_MAX	100		/* steps that are followed */

/* ibx_execute runs a statement of ours. */
static uint64
ibx_execute(const char *sql, int nargs, Oid *types, Datum *values,
			const char *nulls, int expect)
{
	if (SPI_execute_with_args(sql, nargs, types, values, nulls, false, 0) != expect)
		elog(ERROR, "could not write concord.inbox_item");
	return SPI_processed;
}

/* ibx_text makes a value of a text that may be none. */
static Datum
ibx_text(const char *text, char *null)
{
	*null = text == NULL ? 'n' : ' ';
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

static const char ibx_insert[] =
"INSERT INTO concord.inbox_item (mapping, origin, message_id, op, remote_id, etag, remote_changed,"
"   record, state, rule, error, attempts, next_try, waits_for, local_key, read_at)"
" VALUES ($2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 1,"
"   CASE WHEN $10 = 'waiting' THEN pg_catalog.now() + $13 * interval '1 ms' END, $14, $15, $16)"
" RETURNING id";

static const char ibx_update[] =
"UPDATE concord.inbox_item SET state = $10, rule = $11, error = $12, attempts = attempts + 1,"
"   next_try = CASE WHEN $10 = 'waiting' THEN pg_catalog.now()"
"     + $13 * least(power(2, least(attempts, 16)), 300) * interval '1 ms' END,"
"   waits_for = $14, local_key = coalesce($15, local_key), remote_id = coalesce($6, remote_id),"
"   changed_at = pg_catalog.now()"
" WHERE id = $1"
"   AND ($2, $3, $4, $5, $7, $8, $9, $16) IS NOT DISTINCT FROM ($2, $3, $4, $5, $7, $8, $9, $16)"
" RETURNING id";

/*
 * ibx_store writes a record that is not applied, with the reason; returns its
 * row's number.
 */
static int64
ibx_store(ConcordInbound *inbound, InbItem *item, const char *state,
		  const char *rule, const char *error, const char *waits_for,
		  int delay_ms)
{
	static const char *const ops[] = {"upsert", "delete", "fetch"};
	const ConcordInboundRecord *r = item->record;
	Oid			types[16] = {INT8OID, INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, INT4OID, TEXTOID, JSONBOID, TIMESTAMPTZOID};
	Datum		v[16];
	char		nulls[16];
	bool		isnull;

	memset(nulls, ' ', sizeof(nulls));
	v[0] = Int64GetDatum(r->inbox);
	v[1] = Int32GetDatum(inbound->mapping->id);
	v[2] = CStringGetTextDatum(inbound->origin);
	v[3] = ibx_text(r->message_id, &nulls[3]);
	v[4] = CStringGetTextDatum(ops[r->op]);
	v[5] = ibx_text(item->remote_id != NULL ? item->remote_id : r->remote_id, &nulls[5]);
	v[6] = ibx_text(r->etag, &nulls[6]);
	v[7] = TimestampTzGetDatum(r->remote_changed);
	nulls[7] = r->remote_changed == 0 ? 'n' : ' ';
	v[8] = ibx_text(r->record, &nulls[8]);
	v[9] = CStringGetTextDatum(state);
	v[10] = CStringGetTextDatum(rule);
	v[11] = ibx_text(error, &nulls[11]);
	v[12] = Int32GetDatum(delay_ms);
	v[13] = ibx_text(waits_for, &nulls[13]);
	v[14] = item->local_key == NULL ? (Datum) 0 : JsonbPGetDatum(item->local_key);
	nulls[14] = item->local_key == NULL ? 'n' : ' ';
	v[15] = TimestampTzGetDatum(r->read_at);
	nulls[15] = r->read_at == 0 ? 'n' : ' ';
	if (ibx_execute(r->inbox != 0 ? ibx_update : ibx_insert, 16, types, v, nulls,
					r->inbox != 0 ? SPI_OK_UPDATE_RETURNING : SPI_OK_INSERT_RETURNING) != 1)
		return 0;
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* ibx_row names a row that a foreign key asks for; NULL: that cannot be told. */
static char *
ibx_row(ConcordInbound *inbound, InbItem *item, Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Form_pg_constraint form;
	ArrayType  *own;
	ArrayType  *theirs;
	StringInfoData buf;
	bool		isnull;
	bool		known = true;
	Oid			parent;

	if (!HeapTupleIsValid(tuple))
		return NULL;
	form = (Form_pg_constraint) GETSTRUCT(tuple);
	parent = form->confrelid;
	own = DatumGetArrayTypePCopy(SysCacheGetAttr(CONSTROID, tuple, Anum_pg_constraint_conkey, &isnull));
	theirs = isnull ? NULL :
		DatumGetArrayTypePCopy(SysCacheGetAttr(CONSTROID, tuple, Anum_pg_constraint_confkey, &isnull));
	known = form->contype == CONSTRAINT_FOREIGN && !isnull && item->values != NULL;
	ReleaseSysCache(tuple);
	if (!known)
		return NULL;
	initStringInfo(&buf);
	for (int i = 0; i < ARR_DIMS(own)[0]; i++)
	{
		AttrNumber	attnum = ((int16 *) ARR_DATA_PTR(own))[i];
		char	   *name = get_attname(parent, ((int16 *) ARR_DATA_PTR(theirs))[i], false);
		char	   *text = NULL;
		Oid			type = InvalidOid;

		for (int c = 0; c < inbound->ncolumns; c++)
			if (inbound->columns[c].attnum == attnum && item->given[c] && !item->nulls[c])
			{
				text = concord_inbound_text(&inbound->columns[c], item->values[c]);
				type = inbound->columns[c].type;
			}
		for (int k = 0; k < inbound->nkey && item->keyed; k++)
			if (inbound->key[k].attnum == attnum)
			{
				text = concord_inbound_text(&inbound->key[k], item->key[k]);
				type = inbound->key[k].type;
			}
		if (text == NULL)
			return NULL;
		appendStringInfoString(&buf, i == 0 ? "{" : ", ");
		concord_json_string(&buf, name, strlen(name));
		appendStringInfoString(&buf, ": ");
		concord_json_key(&buf, getBaseType(type), text, strlen(text));
	}
	appendStringInfoChar(&buf, '}');
	{
		Jsonb	   *key = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
															 CStringGetDatum(concord_json_server(buf.data))));

		return psprintf("row:%u:%s", parent, JsonbToCString(NULL, &key->root, VARSIZE(key)));
	}
}

/* ibx_parent says what a record that failed waits for; NULL: for nobody known. */
static char *
ibx_parent(ConcordInbound *inbound, InbItem *item, ErrorData *error)
{
	Oid			relid;
	Oid			constraint;

	if (error->sqlerrcode == CONCORD_ERRCODE_NO_LINK)
		return error->detail;
	if (error->schema_name == NULL || error->table_name == NULL || error->constraint_name == NULL)
		return NULL;
	relid = get_relname_relid(error->table_name, get_namespace_oid(error->schema_name, true));
	if (!OidIsValid(relid))
		return NULL;
	constraint = get_relation_constraint_oid(relid, error->constraint_name, true);
	return OidIsValid(constraint) ? ibx_row(inbound, item, constraint) : NULL;
}

/* Which waiting record would give what another one waits for, and what it waits for. */
static const char ibx_giver[] =
"SELECT i.id, i.waits_for FROM concord.inbox_item i JOIN concord.mapping m ON m.id = i.mapping"
" WHERE i.state = 'waiting' AND i.waits_for IS NOT NULL"
" AND CASE WHEN $1 LIKE 'link:%'"
"      THEN i.mapping = split_part($1, ':', 2)::int"
"           AND i.remote_id = substr($1, length(split_part($1, ':', 2)) + 7)"
"      ELSE m.source = split_part($1, ':', 2)::oid"
"           AND i.local_key = substr($1, length(split_part($1, ':', 2)) + 6)::jsonb END"
" LIMIT 1";

/*
 * ibx_circle follows what records wait for; the ids of those that wait for each
 * other, or NIL.
 */
static List *
ibx_circle(int64 first, const char *waits_for)
{
	List	   *ids = NIL;

	for (int i = 0; i < IBX_CIRCLE_MAX && waits_for != NULL; i++)
	{
		Oid			types[1] = {TEXTOID};
		Datum		values[1] = {CStringGetTextDatum(waits_for)};
		int64	   *id = palloc(sizeof(int64));
		bool		isnull;

		if (ibx_execute(ibx_giver, 1, types, values, NULL, SPI_OK_SELECT) == 0)
			return NIL;
		*id = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
		ids = lappend(ids, id);
		if (*id == first)
			return ids;
		waits_for = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2);
	}
	return NIL;
}

/* ibx_park_circle parks records that wait for each other. */
static void
ibx_park_circle(List *ids)
{
	Datum	   *numbers = palloc(sizeof(Datum) * list_length(ids));
	Oid			types[1] = {INT8ARRAYOID};
	Datum		values[1];

	for (int i = 0; i < list_length(ids); i++)
		numbers[i] = Int64GetDatum(*(int64 *) list_nth(ids, i));
	values[0] = PointerGetDatum(construct_array(numbers, list_length(ids), INT8OID, 8, true, TYPALIGN_DOUBLE));
	(void) ibx_execute("UPDATE concord.inbox_item SET state = 'parked', rule = 'circle', next_try = NULL,"
					   " error = 'waits for a record that waits for it: '"
					   "   || pg_catalog.array_to_string($1, ', '), changed_at = pg_catalog.now()"
					   " WHERE id = ANY ($1)", 1, types, values, NULL, SPI_OK_UPDATE);
}

/* ibx_rule names what a record has failed. */
static const char *
ibx_rule(ErrorData *error)
{
	if (error->constraint_name != NULL)
		return error->constraint_name;
	switch (error->sqlerrcode)
	{
		case ERRCODE_INVALID_JSON_TEXT:
			return "json";
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
			return "size";
		case ERRCODE_UNTRANSLATABLE_CHARACTER:
			return "text";
		case ERRCODE_NOT_NULL_VIOLATION:
			return "not null";
		case ERRCODE_NULL_VALUE_NOT_ALLOWED:
			return "key";
		case ERRCODE_INSUFFICIENT_PRIVILEGE:
			return "row security";
	}
	return ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_DATA_EXCEPTION ||
		error->sqlerrcode == ERRCODE_DATATYPE_MISMATCH ? "value" : "error";
}

/* ibx_overdue says whether a record has waited as long as it may. */
static bool
ibx_overdue(ConcordInbound *inbound, int64 inbox)
{
	int			limit = inbound->mapping->options.wait_limit_ms;
	Oid			types[2] = {INT8OID, INT4OID};
	Datum		values[2] = {Int64GetDatum(inbox), Int32GetDatum(limit < 0 ? 86400000 : limit)};

	return inbox != 0 &&
		ibx_execute("SELECT FROM concord.inbox_item WHERE id = $1"
					" AND received_at < pg_catalog.clock_timestamp() - $2 * interval '1 ms'",
					2, types, values, NULL, SPI_OK_SELECT) > 0;
}

/* concord_inbound_inbox_failed stores a record that could not be applied. */
void
concord_inbound_inbox_failed(ConcordInbound *inbound, InbItem *item, ErrorData *error)
{
	bool		parent = error->sqlerrcode == CONCORD_ERRCODE_NO_LINK ||
		error->sqlerrcode == ERRCODE_FOREIGN_KEY_VIOLATION;
	bool		waits = parent || error->sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
	const char *rule = parent ? "parent" : waits ? "lock" : ibx_rule(error);
	char	   *message = inbound->at == NULL ? error->message :
		psprintf("field \"%s\": %s", inbound->at, error->message);
	char	   *waits_for = parent ? ibx_parent(inbound, item, error) : NULL;
	ConcordCatalogScope scope;
	List	   *circle;
	int64		id;

	inbound->at = NULL;
	concord_catalog_enter(&scope);
	if (waits && ibx_overdue(inbound, item->record->inbox))
	{
		waits = false;
		message = psprintf("%s; it has waited as long as option wait_limit lets it", message);
	}
	id = ibx_store(inbound, item, waits ? "waiting" : "parked", rule, message,
				   waits ? waits_for : NULL, 1000);
	item->state = waits ? INB_WAITING : INB_PARKED;
	circle = waits ? ibx_circle(id, waits_for) : NIL;
	if (circle != NIL)
	{
		ibx_park_circle(circle);
		item->state = INB_PARKED;
	}
	concord_catalog_leave(&scope);
	if (waits)
		concord_inbound_wake();
}

/* ibx_array makes a text[]. */
static Datum
ibx_array(Datum *texts, int n)
{
	return PointerGetDatum(construct_array(texts, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* ibx_wake has those tried again that wait for what was applied. */
static void
ibx_wake(ConcordInbound *inbound, InbItem **items, int n)
{
	Datum	   *given = palloc(sizeof(Datum) * (2 * n + 1));
	Oid			types[1] = {TEXTARRAYOID};
	Datum		values[1];
	int			ngiven = 0;

	for (int i = 0; i < n; i++)
	{
		InbItem    *item = items[i];

		if (item->state != INB_DONE || item->outcome == 'd')
			continue;
		if (item->remote_id != NULL)
			given[ngiven++] = CStringGetTextDatum(psprintf("link:%d:%s", inbound->mapping->id,
														   item->remote_id));
		if (item->outcome == 'i' && item->local_key != NULL)
			given[ngiven++] = CStringGetTextDatum(psprintf("row:%u:%s", inbound->mapping->source,
														   JsonbToCString(NULL, &item->local_key->root,
																		  VARSIZE(item->local_key))));
	}
	if (ngiven == 0)
		return;
	values[0] = ibx_array(given, ngiven);
	if (ibx_execute("UPDATE concord.inbox_item SET next_try = pg_catalog.now()"
					" WHERE state = 'waiting' AND waits_for = ANY ($1)",
					1, types, values, NULL, SPI_OK_UPDATE) > 0)
		concord_inbound_wake();
}

/* ibx_replaced discards what later and whole records have taken the place of. */
static void
ibx_replaced(ConcordInbound *inbound, InbItem **items, int n)
{
	Datum	   *ids = palloc(sizeof(Datum) * (n + 1));
	Datum	   *rows = palloc(sizeof(Datum) * (n + 1));
	Oid			types[3] = {INT4OID, TEXTARRAYOID, INT8ARRAYOID};
	Datum		values[3];
	int			nids = 0;

	for (int i = 0; i < n; i++)
	{
		InbItem    *item = items[i];
		int64		inbox = item->record->inbox;

		if ((item->state != INB_DONE && item->state != INB_SAME) || item->outdated ||
			item->remote_id == NULL ||
			(item->record->op == CONCORD_INBOUND_UPSERT && !item->complete))
			continue;
		ids[nids] = CStringGetTextDatum(item->remote_id);
		rows[nids++] = Int64GetDatum(inbox == 0 ? PG_INT64_MAX : inbox);
	}
	if (nids == 0)
		return;
	values[0] = Int32GetDatum(inbound->mapping->id);
	values[1] = ibx_array(ids, nids);
	values[2] = PointerGetDatum(construct_array(rows, nids, INT8OID, 8, true, TYPALIGN_DOUBLE));
	(void) ibx_execute("UPDATE concord.inbox_item i SET state = 'discarded', next_try = NULL,"
					   " why = 'a later record was applied', changed_at = pg_catalog.now()"
					   " FROM unnest($2, $3) AS v (remote_id, row)"
					   " WHERE i.mapping = $1 AND i.remote_id = v.remote_id AND i.id < v.row"
					   " AND i.state IN ('waiting', 'parked')",
					   3, types, values, NULL, SPI_OK_UPDATE);
}

/* ibx_done takes out of the inbox what needs to be there no more. */
static void
ibx_done(InbItem **items, int n)
{
	Datum	   *ids = palloc(sizeof(Datum) * (n + 1));
	Oid			types[1] = {INT8ARRAYOID};
	Datum		values[1];
	int			nids = 0;

	for (int i = 0; i < n; i++)
		if (items[i]->record->inbox != 0 &&
			(items[i]->state == INB_DONE || items[i]->state == INB_SAME))
			ids[nids++] = Int64GetDatum(items[i]->record->inbox);
	if (nids == 0)
		return;
	values[0] = PointerGetDatum(construct_array(ids, nids, INT8OID, 8, true, TYPALIGN_DOUBLE));
	(void) ibx_execute("DELETE FROM concord.inbox_item WHERE id = ANY ($1)",
					   1, types, values, NULL, SPI_OK_DELETE);
}

/* concord_inbound_inbox_settle brings the inbox up to date with what became of a batch. */
void
concord_inbound_inbox_settle(ConcordInbound *inbound, InbItem **items, int n)
{
	ConcordCatalogScope scope;

	concord_catalog_enter(&scope);
	ibx_done(items, n);
	for (int i = 0; i < n; i++)
		if (items[i]->state == INB_PARKED)
			(void) ibx_store(inbound, items[i], "parked", items[i]->rule, items[i]->why, NULL, 0);
	if (SPI_execute("SELECT FROM concord.inbox_item WHERE state IN ('waiting', 'parked') LIMIT 1",
					false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.inbox_item");
	if (SPI_processed > 0)
	{
		ibx_wake(inbound, items, n);
		ibx_replaced(inbound, items, n);
	}
	concord_catalog_leave(&scope);
}
