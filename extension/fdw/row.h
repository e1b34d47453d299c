/*-------------------------------------------------------------------------
 *
 * row.h
 *	  A row of a foreign table as the record that a mapping would make of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_ROW_H
#define CONCORD_FDW_ROW_H

#include "fdw/fdw.h"
#include "mapping/eval.h"
#include "nodes/nodes.h"

/* How the rows that a statement writes to a table become records. */
typedef struct ConcordRowForm
{
	const ConcordForeignTable *table;
	CmdType		operation;
	ConcordMapping mapping;
	int			nfields;
	AttrNumber *fields;			/* columns of mapping.fields */
	bool	   *given;			/* of an INSERT: written even where null */
} ConcordRowForm;

/*
 * concord_row_form makes a form in the current context.  columns has the attnums
 * that are written; given, of an INSERT, those that the statement names.
 */
extern void concord_row_form(ConcordRowForm *form,
							 const ConcordForeignTable *table,
							 CmdType operation, List *columns, List *given);

/*
 * concord_row_map maps a row.  values and nulls are by attnum - 1, keys (and
 * nothing else, of a deletion) those of the record as it was read.
 */
extern ConcordMapped *concord_row_map(const ConcordRowForm *form,
									  const Datum *values, const bool *nulls,
									  const Datum *keys);

/* concord_row_written says whether a column is among those that are written. */
extern bool concord_row_written(const ConcordRowForm *form, AttrNumber attnum);

#endif							/* CONCORD_FDW_ROW_H */
