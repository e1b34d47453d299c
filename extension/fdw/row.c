/*-------------------------------------------------------------------------
 *
 * row.c
 *	  A row of a foreign table as the record that a mapping would make of it.
 *
 * The table's options make a mapping, the row's values are mapped, so that the
 * connector's own verbs, bodies and keys do the rest, whether the row is sent
 * at once (write.c) or through the outbox (outbox.c).
 *
 * An INSERT has the columns that the statement names, null or not; of the others
 * those that have got a value all the same, by a default or a trigger.  What it
 * leaves out is the system's to fill in.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/row.h"

#include "base/json.h"
#include "catalog/mapping_definition.h"
#include "mapping/written.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* row_field makes the field of a column. */
static ConcordField *
row_field(const ConcordForeignColumn *column)
{
	ConcordField *field = palloc0(sizeof(ConcordField));

	field->name = column->name;
	field->expression = column->attname;
	field->on = CONCORD_ON_ALWAYS;
	return field;
}

/* row_writable: it is a value of the record's own, and the system takes it. */
static bool
row_writable(const ConcordForeignColumn *column)
{
	return column->npath > 0 && !column->expand && !column->read_only &&
		column->name[0] != '@';
}

/* concord_row_form makes a mapping of the table's options. */
void
concord_row_form(ConcordRowForm *form, const ConcordForeignTable *table,
				 CmdType operation, List *columns, List *given)
{
	ConcordMapping *mapping = &form->mapping;
	Jsonb	   *none = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
														  CStringGetDatum("{}")));
	ListCell   *lc;

	memset(form, 0, sizeof(ConcordRowForm));
	form->table = table;
	form->operation = operation;
	mapping->name = table->relname;
	mapping->serverid = table->serverid;
	mapping->object = table->object;
	mapping->source = table->relid;
	concord_definition_options(&none->root, &mapping->options);
	mapping->options.service = table->service;
	for (int i = 0; i < table->nkeys; i++)
		mapping->key = lappend(mapping->key,
							   row_field(&table->columns[table->keys[i] - 1]));
	if (concord_mapping_defaults_hook != NULL)
		concord_mapping_defaults_hook(list_make1(mapping));
	form->fields = palloc0(sizeof(AttrNumber) * (table->ncolumns + 1));
	form->given = palloc0(sizeof(bool) * (table->ncolumns + 1));
	foreach(lc, columns)
	{
		const ConcordForeignColumn *column = &table->columns[lfirst_int(lc) - 1];

		/* a system that gives ids has the key among the fields, if at all */
		if (!row_writable(column) ||
			(column->key && !(operation == CMD_INSERT &&
							  mapping->options.remote_id_assigned)))
			continue;
		mapping->fields = lappend(mapping->fields, row_field(column));
		form->given[form->nfields] = operation != CMD_INSERT ||
			(!table->omit_nulls && !column->key &&
			 list_member_int(given, column->attnum));
		form->fields[form->nfields++] = column->attnum;
	}
}

/* row_value makes a mapped value of a column's. */
static void
row_value(const ConcordForeignColumn *column, Datum value, bool isnull,
		  ConcordValue *mapped)
{
	mapped->typid = getBaseType(column->typid);
	mapped->typmod = column->typmod;
	mapped->isnull = isnull;
	if (isnull)
		return;
	mapped->text = concord_value_text(mapped->typid, value);
	mapped->len = strlen(mapped->text);
}

/* row_fields maps the fields. */
static void
row_fields(const ConcordRowForm *form, const Datum *values, const bool *nulls,
		   ConcordMapped *mapped)
{
	mapped->field_defs = form->mapping.fields;
	mapped->nfields = form->nfields;
	mapped->fields = palloc0(sizeof(ConcordValue) * (form->nfields + 1));
	for (int i = 0; i < form->nfields && values != NULL; i++)
	{
		int			at = form->fields[i] - 1;

		row_value(&form->table->columns[at], values[at], nulls[at],
				  &mapped->fields[i]);
		if (!nulls[at] || form->given[i])
			continue;
		if (mapped->skip == NULL)
			mapped->skip = palloc0(sizeof(bool) * form->nfields);
		mapped->skip[i] = true;
	}
}

/* concord_row_map maps a row. */
ConcordMapped *
concord_row_map(const ConcordRowForm *form, const Datum *values,
				const bool *nulls, const Datum *keys)
{
	const ConcordForeignTable *table = form->table;
	ConcordMapped *mapped = palloc0(sizeof(ConcordMapped));
	ConcordWritten *written = palloc0(sizeof(ConcordWritten));

	written->op = form->operation == CMD_INSERT ? CONCORD_OP_INSERT :
		form->operation == CMD_UPDATE ? CONCORD_OP_UPDATE : CONCORD_OP_DELETE;
	mapped->written = written;
	mapped->verdict = CONCORD_SEND;
	mapped->action = form->operation == CMD_DELETE ? CONCORD_ACTION_DELETE :
		CONCORD_ACTION_UPSERT;
	mapped->keys = palloc0(sizeof(ConcordValue) * (table->nkeys + 1));
	mapped->local_key = pstrdup("{}");
	for (int i = 0; i < table->nkeys; i++)
	{
		AttrNumber	attnum = table->keys[i];

		row_value(&table->columns[attnum - 1],
				  keys != NULL ? keys[i] : values[attnum - 1],
				  keys == NULL && nulls[attnum - 1], &mapped->keys[i]);
	}
	if (form->operation != CMD_DELETE)
		row_fields(form, values, nulls, mapped);
	return mapped;
}

/* concord_row_written says whether a column is written. */
bool
concord_row_written(const ConcordRowForm *form, AttrNumber attnum)
{
	for (int i = 0; i < form->nfields; i++)
	{
		if (form->fields[i] == attnum)
			return true;
	}
	return form->table->columns[attnum - 1].key;
}
