/*-------------------------------------------------------------------------
 *
 * conflict.c
 *	  Fields of both sides: what comes of base, ours and theirs.
 *
 *		theirs = ours						agreed
 *		theirs = base						only ours has changed: it stays, and is sent
 *		ours = base							only theirs has changed: it is taken
 *		both differ							the column's policy decides
 *
 * Base is what both sides had last: the link has it from the record that was
 * applied, or sent, last.  Where it is not known, a row of which nothing is
 * pending is as the system has it, and that is the base.  A decision depends on
 * nothing but these values and the two times, so it is the same whoever is first;
 * of two equal times theirs counts as the newer.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "access/commit_ts.h"
#include "access/transam.h"
#include "base/json.h"
#include "catalog/mapping_definition.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

/* A value or null. */
typedef struct CnfValue
{
	Datum		value;
	bool		isnull;
} CnfValue;

/* cnf_same says whether two values of a column are the same. */
static bool
cnf_same(const InbColumn *column, CnfValue a, CnfValue b)
{
	return a.isnull == b.isnull &&
		(a.isnull || datum_image_eq(a.value, b.value, column->typbyval, column->typlen));
}

/* cnf_base reads the base of a field; false: it is not known. */
static bool
cnf_base(InbItem *item, InbColumn *column, CnfValue *base)
{
	const char *name = column->field->name;
	JsonbValue	buf;
	JsonbValue *value;

	if (item->link.base == NULL)
		return false;
	value = getKeyJsonValueFromContainer(&item->link.base->root, name, strlen(name), &buf);
	if (value == NULL || (value->type != jbvString && value->type != jbvNull))
		return false;
	base->isnull = value->type == jbvNull;
	base->value = base->isnull ? (Datum) 0 :
		InputFunctionCall(&column->input,
						  pnstrdup(value->val.string.val, value->val.string.len),
						  column->ioparam, column->typmod);
	return true;
}

/* cnf_local_changed says when the row was committed last; 0: not known. */
static TimestampTz
cnf_local_changed(const InbItem *item)
{
	TimestampTz at;

	if (!track_commit_timestamp || !TransactionIdIsNormal(item->xmin) ||
		!TransactionIdGetCommitTsData(item->xmin, &at, NULL))
		return 0;
	return at;
}

/* cnf_numeric gives a number of any of the types that can be added. */
static Datum
cnf_numeric(InbColumn *column, CnfValue value)
{
	char	   *text = concord_inbound_text(column, value.value);

	return DirectFunctionCall3(numeric_in, CStringGetDatum(text),
							   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}

/* cnf_add makes ours + (theirs - base). */
static CnfValue
cnf_add(InbColumn *column, CnfValue base, CnfValue ours, CnfValue theirs)
{
	CnfValue	result = {(Datum) 0, false};
	Datum		sum = DirectFunctionCall2(numeric_sub, cnf_numeric(column, theirs),
										  cnf_numeric(column, base));

	sum = DirectFunctionCall2(numeric_add, cnf_numeric(column, ours), sum);
	result.value = InputFunctionCall(&column->input,
									 DatumGetCString(DirectFunctionCall1(numeric_out, sum)),
									 column->ioparam, column->typmod);
	return result;
}

/* cnf_policy decides where both sides have changed. */
static InbVerdict
cnf_policy(const InbColumn *column, bool has_base, CnfValue base, CnfValue ours,
		   CnfValue theirs, TimestampTz local, TimestampTz remote)
{
	switch (column->field->policy)
	{
		case CONCORD_POLICY_LOCAL:
			return INB_KEEP;
		case CONCORD_POLICY_REMOTE:
			return INB_TAKE;
		case CONCORD_POLICY_NEWEST:
			if (local == 0 || remote == 0)
				return INB_ASK; /* nobody knows which that is */
			return remote >= local ? INB_TAKE : INB_KEEP;
		case CONCORD_POLICY_ADDITIVE:
			return !has_base || base.isnull || ours.isnull || theirs.isnull ?
				INB_ASK : INB_MERGE;
		case CONCORD_POLICY_NONE:
		case CONCORD_POLICY_MANUAL:
			break;
	}
	return INB_ASK;
}

/* cnf_note keeps what was decided, for concord.conflict_item. */
static void
cnf_note(InbItem *item, InbColumn *column, InbVerdict verdict, bool has_base,
		 CnfValue base, CnfValue ours, CnfValue theirs, CnfValue value,
		 TimestampTz local)
{
	InbDecision *decision = palloc0(sizeof(InbDecision));

	decision->column = column;
	decision->verdict = verdict;
	decision->has_base = has_base;
	decision->base = !has_base || base.isnull ? NULL : concord_inbound_text(column, base.value);
	decision->ours = ours.isnull ? NULL : concord_inbound_text(column, ours.value);
	decision->theirs = theirs.isnull ? NULL : concord_inbound_text(column, theirs.value);
	decision->value = value.isnull ? NULL : concord_inbound_text(column, value.value);
	decision->local_changed = local;
	item->decisions = lappend(item->decisions, decision);
	item->asks |= verdict == INB_ASK;
}

/* cnf_column decides one field: its value becomes what the row is to have. */
static bool
cnf_column(InbItem *item, InbColumn *column, int i, CnfValue *agreed)
{
	CnfValue	ours = {item->ours[i], item->ours_null[i]};
	CnfValue	theirs = {item->values[i], item->nulls[i]};
	CnfValue	base = {(Datum) 0, true};
	CnfValue	value = ours;
	bool		has_base = cnf_base(item, column, &base);
	bool		known = has_base;
	InbVerdict	verdict;
	TimestampTz local;

	*agreed = theirs;
	if (cnf_same(column, ours, theirs))
		return true;
	if (!known && !item->pending)
	{
		base = ours;
		known = true;
	}
	if (known && cnf_same(column, theirs, base))
		verdict = INB_KEEP;
	else if (known && cnf_same(column, ours, base))
		verdict = INB_TAKE;
	else
	{
		local = cnf_local_changed(item);
		verdict = cnf_policy(column, known, base, ours, theirs, local,
							 item->record->remote_changed);
		if (verdict == INB_TAKE)
			value = theirs;
		else if (verdict == INB_MERGE)
			value = cnf_add(column, base, ours, theirs);
		cnf_note(item, column, verdict, known, base, ours, theirs, value, local);
	}
	if (verdict == INB_TAKE)
		value = theirs;
	/* what a person is asked about stays as it was agreed */
	if (verdict == INB_ASK)
		*agreed = base;
	item->values[i] = value.value;
	item->nulls[i] = value.isnull;
	return verdict != INB_ASK || known;
}

/* cnf_member adds a field to a base. */
static void
cnf_member(StringInfo buf, InbColumn *column, CnfValue value)
{
	const char *name = column->field->name;
	char	   *text = value.isnull ? NULL : concord_inbound_text(column, value.value);

	appendStringInfoString(buf, buf->len == 0 ? "{" : ", ");
	concord_json_string(buf, name, strlen(name));
	appendStringInfoString(buf, ": ");
	if (text == NULL)
		appendStringInfoString(buf, "null");
	else
		concord_json_string(buf, text, strlen(text));
}

/*
 * concord_inbound_decide decides a record's shared fields: item->values become what the row
 * is to have, item->base what both sides have agreed on.  Where there is no row
 * theirs is taken.
 */
void
concord_inbound_decide(ConcordInbound *inbound, InbItem *item)
{
	StringInfoData buf;

	item->base = item->link.base;
	if (!inbound->shared)
		return;
	initStringInfo(&buf);
	for (int i = 0; i < inbound->ncolumns; i++)
	{
		InbColumn  *column = &inbound->columns[i];
		CnfValue	agreed = {item->values[i], item->nulls[i]};
		bool		known;

		if (!column->field->shared)
			continue;
		if (!item->given[i] || item->stale)
		{
			/* it says nothing, or what it says may be over */
			known = cnf_base(item, column, &agreed);
			if (item->found)
			{
				item->values[i] = item->ours[i];
				item->nulls[i] = item->ours_null[i];
			}
		}
		else
			known = !item->found || cnf_column(item, column, i, &agreed);
		if (known)
			cnf_member(&buf, column, agreed);
	}
	if (buf.len == 0)
	{
		item->base = NULL;
		return;
	}
	appendStringInfoChar(&buf, '}');
	item->base = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
													CStringGetDatum(concord_json_server(buf.data))));
}

/*
 * concord_inbound_base says of shared fields what both sides have, where they
 * have the same: nothing is known of how they came to differ.
 */
void
concord_inbound_base(ConcordInbound *inbound, InbItem *item)
{
	StringInfoData buf;

	item->base = NULL;
	initStringInfo(&buf);
	for (int i = 0; i < inbound->ncolumns; i++)
	{
		InbColumn  *column = &inbound->columns[i];
		CnfValue	ours = {item->ours[i], item->ours_null[i]};
		CnfValue	theirs = {item->values[i], item->nulls[i]};

		if (column->field->shared && item->given[i] && cnf_same(column, ours, theirs))
			cnf_member(&buf, column, ours);
	}
	if (buf.len == 0)
		return;
	appendStringInfoChar(&buf, '}');
	item->base = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
													CStringGetDatum(concord_json_server(buf.data))));
}

/* cnf_winner names who won. */
static const char *
cnf_winner(InbVerdict verdict)
{
	switch (verdict)
	{
		case INB_KEEP:
			return "local";
		case INB_TAKE:
			return "remote";
		case INB_MERGE:
			return "both";
		case INB_ASK:
			break;
	}
	return NULL;
}

static const char cnf_store[] =
"INSERT INTO concord.conflict_item AS c (mapping, local_key, remote_id, field, column_name, policy,"
"   base, ours, theirs, has_base, remote_changed, local_changed, state, winner, value, decided_at)"
" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,"
"   CASE WHEN $13 IS NULL THEN 'open' ELSE 'decided' END, $13, $14,"
"   CASE WHEN $13 IS NOT NULL THEN pg_catalog.now() END)"
" ON CONFLICT (mapping, local_key, field) WHERE state = 'open' DO UPDATE SET"
"   ours = excluded.ours, theirs = excluded.theirs, remote_changed = excluded.remote_changed,"
"   local_changed = excluded.local_changed, policy = excluded.policy";

/* A conflict that was open is none any more. */
static const char cnf_moot[] =
"UPDATE concord.conflict_item SET state = 'moot', decided_at = pg_catalog.now()"
" WHERE mapping = $1 AND local_key = $2 AND state = 'open'"
"   AND NOT field = ANY ($3)";

/* cnf_text makes a value of a text. */
static Datum
cnf_text(const char *text, char *null)
{
	*null = text == NULL ? 'n' : ' ';
	return text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

/* cnf_store_one writes a decision. */
static void
cnf_store_one(ConcordInbound *inbound, InbItem *item, InbDecision *d)
{
	Oid			types[14] = {INT4OID, JSONBOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
	TEXTOID, TEXTOID, BOOLOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TEXTOID};
	Datum		values[14];
	char		nulls[14];
	bool		asks = d->verdict == INB_ASK;

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int32GetDatum(inbound->mapping->id);
	values[1] = JsonbPGetDatum(item->local_key);
	values[2] = cnf_text(item->remote_id, &nulls[2]);
	values[3] = CStringGetTextDatum(d->column->field->name);
	values[4] = CStringGetTextDatum(d->column->name);
	values[5] = CStringGetTextDatum(concord_definition_policy_name(d->column->field->policy));
	values[6] = cnf_text(d->base, &nulls[6]);
	values[7] = cnf_text(d->ours, &nulls[7]);
	values[8] = cnf_text(d->theirs, &nulls[8]);
	values[9] = BoolGetDatum(d->has_base);
	values[10] = TimestampTzGetDatum(item->record->remote_changed);
	nulls[10] = item->record->remote_changed == 0 ? 'n' : ' ';
	values[11] = TimestampTzGetDatum(d->local_changed);
	nulls[11] = d->local_changed == 0 ? 'n' : ' ';
	values[12] = cnf_text(cnf_winner(d->verdict), &nulls[12]);
	values[13] = cnf_text(asks ? NULL : d->value, &nulls[13]);
	if (SPI_execute_with_args(cnf_store, 14, types, values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write concord.conflict_item");
}

/* cnf_close closes the conflicts of a row that a record has no more. */
static void
cnf_close(ConcordInbound *inbound, InbItem *item)
{
	Oid			types[3] = {INT4OID, JSONBOID, TEXTARRAYOID};
	Datum		values[3];
	Datum	   *fields = palloc(sizeof(Datum) * (inbound->ncolumns + 1));
	int			nfields = 0;
	ListCell   *lc;

	/* those that are asked about, and those the record says nothing of */
	foreach(lc, item->decisions)
	{
		InbDecision *d = lfirst(lc);

		if (d->verdict == INB_ASK)
			fields[nfields++] = CStringGetTextDatum(d->column->field->name);
	}
	for (int i = 0; i < inbound->ncolumns; i++)
		if (!item->given[i] || item->stale)
			fields[nfields++] = CStringGetTextDatum(inbound->columns[i].field->name);
	values[0] = Int32GetDatum(inbound->mapping->id);
	values[1] = JsonbPGetDatum(item->local_key);
	values[2] = PointerGetDatum(construct_array(fields, nfields, TEXTOID, -1, false, TYPALIGN_INT));
	if (SPI_execute_with_args(cnf_moot, 3, types, values, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not write concord.conflict_item");
}

/* concord_inbound_decisions_store writes what was decided, and what is to be. */
void
concord_inbound_decisions_store(ConcordInbound *inbound, InbItem **items, int n)
{
	ConcordCatalogScope scope;
	bool		any = false;
	bool		open = false;

	if (!inbound->shared)
		return;
	for (int i = 0; i < n; i++)
		any |= items[i]->found;
	if (!any)
		return;
	concord_catalog_enter(&scope);
	if (SPI_execute(psprintf("SELECT FROM concord.conflict_item"
							 " WHERE mapping = %d AND state = 'open' LIMIT 1",
							 inbound->mapping->id), false, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.conflict_item");
	open = SPI_processed > 0;
	for (int i = 0; i < n; i++)
	{
		ListCell   *lc;

		if (open && items[i]->found && items[i]->local_key != NULL)
			cnf_close(inbound, items[i]);
		foreach(lc, items[i]->decisions)
			cnf_store_one(inbound, items[i], lfirst(lc));
	}
	concord_catalog_leave(&scope);
}
