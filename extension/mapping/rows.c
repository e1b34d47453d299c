/*-------------------------------------------------------------------------
 *
 * rows.c
 *	  From stored images to the rows that statements read.
 *
 * An image holds text under the definition that its table had when the row
 * changed; values are found by attnum, so that a column that was renamed or
 * given another type since is still itself.  The text is read by the input
 * function of the type that the column has now; a bytea that still is one is
 * taken as its bytes.
 *
 * What an image does not have (a TOASTed value that the change did not touch,
 * a column that was added later) is read from the table, by the row's key,
 * as the definer.  It may be newer than the event; where the row is gone the
 * value stays unknown.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/compile.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "decoder/protocol.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* concord_rows_shape finds, or makes, the map of a stored definition. */
const ConcordShape *
concord_rows_shape(ConcordCompiled *compiled, const ConcordRelation *relation)
{
	TupleDesc	desc = compiled->names->desc;
	ConcordShape *shape;
	MemoryContext old;
	ListCell   *lc;

	if (compiled->shape_relation == relation && compiled->shape_id == relation->id)
		return compiled->shape;
	compiled->shape_relation = NULL;
	foreach(lc, compiled->shapes)
	{
		shape = lfirst(lc);
		if (shape->relation != relation || shape->id != relation->id)
			continue;
		compiled->shape = shape;
		compiled->shape_relation = relation;
		compiled->shape_id = relation->id;
		return shape;
	}

	old = MemoryContextSwitchTo(compiled->work);
	shape = palloc0(sizeof(ConcordShape));
	shape->relation = relation;
	shape->id = relation->id;
	shape->same = true;
	shape->index = palloc(sizeof(int) * (desc->natts + 1));
	for (int i = 0; i <= desc->natts; i++)
		shape->index[i] = -1;
	for (int i = 0; i < relation->ncolumns; i++)
	{
		const ConcordColumn *column = &relation->columns[i];

		if (column->attnum >= 1 && column->attnum <= desc->natts)
			shape->index[column->attnum] = i;
	}
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		int			index = shape->index[i + 1];

		if (!att->attisdropped &&
			!bms_is_member(i + 1, compiled->names->virtuals) &&
			(index < 0 || relation->columns[index].typid != att->atttypid ||
			 relation->columns[index].typmod != att->atttypmod))
			shape->same = false;
	}
	compiled->shapes = lappend(compiled->shapes, shape);
	MemoryContextSwitchTo(old);
	return shape;
}

/* row_reread_plan prepares reading a row by its local key. */
static void
row_reread_plan(ConcordCompiled *compiled)
{
	MemoryContext context = CurrentMemoryContext;
	ConcordNames *names = compiled->names;
	StringInfoData buf;
	Oid		   *types = palloc(sizeof(Oid) * (compiled->nlocal + 1));

	initStringInfo(&buf);
	appendStringInfoString(&buf, "SELECT ");
	for (int i = 0; i < names->desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(names->desc, i);

		appendStringInfo(&buf, "%s%s", i > 0 ? ", " : "",
						 att->attisdropped ? "NULL" :
						 quote_identifier(NameStr(att->attname)));
	}
	appendStringInfo(&buf, " FROM %s",
					 quote_qualified_identifier(names->schema, names->table));
	for (int i = 0; i < compiled->nlocal; i++)
	{
		Form_pg_attribute att = TupleDescAttr(names->desc,
											  compiled->local[i].attnum - 1);

		types[i] = att->atttypid;
		appendStringInfo(&buf, "%s %s = $%d", i == 0 ? " WHERE" : " AND",
						 quote_identifier(NameStr(att->attname)), i + 1);
	}
	compiled->reread = SPI_prepare(buf.data, compiled->nlocal, types);
	if (compiled->reread == NULL || SPI_keepplan(compiled->reread) != 0)
		elog(ERROR, "could not prepare reading table \"%s\"", names->table);
	MemoryContextSwitchTo(context);
}

/* row_input reads a stored value as the column's type. */
static Datum
row_input(ConcordCompiled *compiled, AttrNumber attnum,
		  const ConcordImageValue *value)
{
	Form_pg_attribute att = TupleDescAttr(compiled->names->desc, attnum - 1);
	char	   *text;
	Datum		datum;

	if (value->kind == CONCORD_IMAGE_BYTES && att->atttypid == BYTEAOID)
	{
		bytea	   *bytes = palloc((Size) value->len + VARHDRSZ);

		SET_VARSIZE(bytes, value->len + VARHDRSZ);
		memcpy(VARDATA(bytes), value->text, value->len);
		return PointerGetDatum(bytes);
	}
	text = concord_image_text(value);
	datum = InputFunctionCall(&compiled->input[attnum], text,
							  compiled->ioparam[attnum], att->atttypmod);
	pfree(text);
	return datum;
}

/* row_reread reads the row as it is in the table now, once. */
static void
row_reread(ConcordCompiled *compiled, ConcordRow *row)
{
	MemoryContext context = CurrentMemoryContext;
	TupleDesc	desc = compiled->names->desc;
	Datum	   *keys = palloc(sizeof(Datum) * (compiled->nlocal + 1));

	row->looked = true;
	for (int i = 0; i < compiled->nlocal; i++)
	{
		int			index = row->shape->index[compiled->local[i].attnum];

		if (index < 0 || !concord_image_has_value(&row->values[index]))
			return;
		keys[i] = row_input(compiled, compiled->local[i].attnum,
							&row->values[index]);
	}
	if (compiled->reread == NULL)
		row_reread_plan(compiled);
	if (SPI_execute_plan(compiled->reread, keys, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read table \"%s\"", compiled->names->table);
	MemoryContextSwitchTo(context);
	if (SPI_processed == 0)
		return;

	MemoryContextSwitchTo(row->context);
	row->found = palloc0(sizeof(ConcordImageValue) * (desc->natts + 1));
	for (int i = 0; i < desc->natts; i++)
	{
		ConcordImageValue *value = &row->found[i + 1];
		bool		isnull = true;
		Datum		datum = (Datum) 0;

		if (!TupleDescAttr(desc, i)->attisdropped)
			datum = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
								  i + 1, &isnull);
		value->kind = isnull ? CONCORD_IMAGE_NULL : CONCORD_IMAGE_TEXT;
		if (!isnull)
		{
			value->text = OutputFunctionCall(&compiled->output[i + 1], datum);
			value->len = strlen(value->text);
		}
	}
	MemoryContextSwitchTo(context);
	SPI_freetuptable(SPI_tuptable);
}

/* concord_rows_present says whether the row is in the table now. */
bool
concord_rows_present(ConcordCompiled *compiled, ConcordRow *row)
{
	if (!row->looked)
		row_reread(compiled, row);
	return row->found != NULL;
}

/* concord_rows_value finds a column's value. */
ConcordImageValue
concord_rows_value(ConcordCompiled *compiled, ConcordRow *row,
				   AttrNumber attnum)
{
	static const ConcordImageValue absent = {CONCORD_IMAGE_ABSENT, NULL, 0};
	int			index = row->shape->index[attnum];

	if (index >= 0 && row->values[index].kind != CONCORD_IMAGE_UNCHANGED)
		return row->values[index];
	if (row->current && !row->looked)
		row_reread(compiled, row);
	if (row->found != NULL)
		return row->found[attnum];
	if (row->current)
	{
		MemoryContext old = MemoryContextSwitchTo(row->context);

		row->unknown = bms_add_member(row->unknown, attnum);
		MemoryContextSwitchTo(old);
	}
	return absent;
}

/*
 * row_old_value finds a column's value of the row before.  Where an update
 * came without an old image its key is unchanged, and so known.
 */
static ConcordImageValue
row_old_value(ConcordRow *row, AttrNumber attnum)
{
	static const ConcordImageValue absent = {CONCORD_IMAGE_ABSENT, NULL, 0};
	int			index = row->shape->index[attnum];

	if (index < 0)
		return absent;
	if (row->old != NULL)
		return row->old[index];
	if (row->old_from_new &&
		(row->shape->relation->columns[index].flags & CONCORD_COL_IDENTITY) != 0)
		return row->values[index];
	return absent;
}

/*
 * row_check_value raises where an expression needs a value that was left out: it
 * was too large, or could not be encoded.
 */
static void
row_check_value(ConcordCompiled *compiled, AttrNumber attnum,
				const ConcordImageValue *value)
{
	if (likely(value->kind != CONCORD_IMAGE_OVERSIZE &&
			   value->kind != CONCORD_IMAGE_FAILED))
		return;
	if (value->kind == CONCORD_IMAGE_FAILED)
	{
		char		sqlstate[CONCORD_SQLSTATE_LENGTH + 1];
		char	   *message = concord_image_failure(value, sqlstate);

		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("column \"%s\" could not be read when it was captured: %s",
						NameStr(TupleDescAttr(compiled->names->desc,
											  attnum - 1)->attname),
						message)));
	}
	ereport(ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("column \"%s\" is larger than pg_concord.max_event_size",
					NameStr(TupleDescAttr(compiled->names->desc,
										  attnum - 1)->attname))));
}

/* row_column sets a slot from a column's value. */
static void
row_column(ConcordCompiled *compiled, AttrNumber attnum,
		   ConcordImageValue value, Datum *datum, bool *isnull)
{
	row_check_value(compiled, attnum, &value);
	*isnull = !concord_image_has_value(&value);
	if (!*isnull)
		*datum = row_input(compiled, attnum, &value);
}

/* row_whole makes the row, or the row before, as one value. */
static Datum
row_whole(ConcordCompiled *compiled, ConcordRow *row, bool old)
{
	TupleDesc	desc = compiled->names->desc;
	Datum	   *values = palloc0(sizeof(Datum) * desc->natts);
	bool	   *nulls = palloc(sizeof(bool) * desc->natts);

	for (int i = 0; i < desc->natts; i++)
	{
		ConcordImageValue value;

		nulls[i] = true;
		if (TupleDescAttr(desc, i)->attisdropped ||
			bms_is_member(i + 1, compiled->names->virtuals))
			continue;
		value = old ? row_old_value(row, i + 1) :
			concord_rows_value(compiled, row, i + 1);
		row_column(compiled, i + 1, value, &values[i], &nulls[i]);
	}
	return heap_copy_tuple_as_datum(heap_form_tuple(desc, values, nulls), desc);
}

/* row_event makes a value of type concord.event. */
static Datum
row_event(ConcordCompiled *compiled, const ConcordEvent *event)
{
	TupleDesc	desc = compiled->names->event_desc;
	Datum		values[5];
	bool		nulls[5] = {false, false, false, false, false};

	values[0] = UUIDPGetDatum(&event->id);
	values[1] = CStringGetTextDatum(concord_event_op_name(event->op));
	values[2] = TimestampTzGetDatum(event->committed_at);
	values[3] = Int64GetDatum((int64) event->xid);
	nulls[4] = event->topic == NULL;
	values[4] = nulls[4] ? (Datum) 0 : CStringGetTextDatum(event->topic);
	return heap_copy_tuple_as_datum(heap_form_tuple(desc, values, nulls), desc);
}

/* row_text_slot sets a slot of a topic's event from its text. */
static void
row_text_slot(const char *text, bool json, Datum *value, bool *isnull)
{
	*isnull = text == NULL;
	if (text == NULL)
		return;
	*value = json ? DirectFunctionCall1(jsonb_in, CStringGetDatum(text)) :
		CStringGetTextDatum(text);
}

/* concord_rows_fill writes the slots of one row. */
void
concord_rows_fill(ConcordCompiled *compiled, ConcordRow *row, Datum *values,
				  bool *nulls)
{
	const ConcordEvent *event = row->event;

	for (int i = 0; i < compiled->names->nslots; i++)
	{
		const ConcordSlot *slot = &compiled->names->slots[i];

		values[i] = (Datum) 0;
		nulls[i] = true;
		if (!slot->needed)
			continue;
		switch (slot->kind)
		{
			case CONCORD_SLOT_COLUMN:
				row_column(compiled, slot->attnum,
						   concord_rows_value(compiled, row, slot->attnum),
						   &values[i], &nulls[i]);
				break;
			case CONCORD_SLOT_ROW:
				values[i] = row_whole(compiled, row, false);
				nulls[i] = false;
				break;
			case CONCORD_SLOT_OLD:
				nulls[i] = row->old == NULL && !row->old_from_new;
				if (!nulls[i])
					values[i] = row_whole(compiled, row, true);
				break;
			case CONCORD_SLOT_EVENT:
				values[i] = row_event(compiled, event);
				nulls[i] = false;
				break;
			case CONCORD_SLOT_PAYLOAD:
				row_text_slot(event->payload, true, &values[i], &nulls[i]);
				break;
			case CONCORD_SLOT_KEY:
				row_text_slot(event->key, false, &values[i], &nulls[i]);
				break;
			case CONCORD_SLOT_HEADERS:
				row_text_slot(event->headers, true, &values[i], &nulls[i]);
				break;
		}
	}
}

/* concord_rows_peek gives a column's value where its text stands in the image. */
bool
concord_rows_peek(ConcordCompiled *compiled, ConcordRow *row,
				  AttrNumber attnum, ConcordValue *value)
{
	int			index = row->shape->index[attnum];
	const ConcordImageValue *image;

	if (!row->shape->same || index < 0)
		return false;
	image = &row->values[index];
	value->isnull = image->kind == CONCORD_IMAGE_NULL;
	if (value->isnull)
		return true;
	if (image->kind != CONCORD_IMAGE_TEXT)
		return false;
	value->text = unconstify(char *, image->text);
	value->len = image->len;
	return true;
}

/* concord_rows_text writes a column's value as a mapped value. */
void
concord_rows_text(ConcordCompiled *compiled, ConcordRow *row,
				  AttrNumber attnum, ConcordValue *value)
{
	Form_pg_attribute att = TupleDescAttr(compiled->names->desc, attnum - 1);
	ConcordImageValue image = concord_rows_value(compiled, row, attnum);
	int			index = row->shape->index[attnum];

	row_check_value(compiled, attnum, &image);
	value->isnull = !concord_image_has_value(&image);
	if (value->isnull)
		return;

	/* a column whose type changed is read and written again */
	if (!row->shape->same && row->found == NULL && index >= 0 &&
		(row->shape->relation->columns[index].typid != att->atttypid ||
		 row->shape->relation->columns[index].typmod != att->atttypmod))
	{
		value->text = OutputFunctionCall(&compiled->output[attnum],
										 row_input(compiled, attnum, &image));
		value->len = strlen(value->text);
		return;
	}
	value->text = concord_image_text(&image);
	value->len = strlen(value->text);
}
