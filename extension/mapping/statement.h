/*-------------------------------------------------------------------------
 *
 * statement.h
 *	  Private to the mapping room: texts of expressions and their statements.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_MAPPING_STATEMENT_H
#define CONCORD_MAPPING_STATEMENT_H

#include "mapping/compile.h"

/* The relation that statements read; exists only while one is run. */
#define CONCORD_STATEMENT_RELATION	"concord.rows"

/* An error context that says which expression is at fault. */
typedef struct ConcordStatementContext
{
	ErrorContextCallback callback;
	const ConcordMapping *mapping;
	const ConcordExpression *expression;
} ConcordStatementContext;

extern void concord_statement_push(ConcordStatementContext *scope,
								   const ConcordMapping *mapping,
								   const ConcordExpression *expression);
extern void concord_statement_pop(ConcordStatementContext *scope);

/*
 * concord_statement_analyze parses and analyzes one expression; names become
 * Params.  Raises where the text is anything else than one scalar expression.
 */
extern Node *concord_statement_analyze(ConcordNames *names, const char *text);

/* concord_statement_desc describes the relation: row number, then slots. */
extern TupleDesc concord_statement_desc(const ConcordNames *names);

/*
 * concord_statement_prepare prepares the statement of a set's SQL expressions;
 * its first column is the row's number.
 */
extern SPIPlanPtr concord_statement_prepare(ConcordCompiled *compiled,
											const ConcordSet *set);

/*
 * concord_statement_register makes rows (NULL: none) the relation of the
 * current SPI connection; unregister ends it.
 */
extern void concord_statement_register(ConcordCompiled *compiled,
									   struct Tuplestorestate *rows,
									   double nrows);
extern void concord_statement_unregister(void);

#endif							/* CONCORD_MAPPING_STATEMENT_H */
