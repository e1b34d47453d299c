/*-------------------------------------------------------------------------
 *
 * book.h
 *	  Statements of the bookkeeping transaction: one row each end, one
 *	  statement for all, with arrays as parameters.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_DELIVERY_BOOK_H
#define CONCORD_DELIVERY_BOOK_H

#include "base/compat.h"

#include "delivery/delivery.h"
#include "executor/spi.h"

#define CONCORD_BOOK_COLUMNS	24

typedef struct ConcordBookStatement
{
	const char *sql;
	Oid			types[CONCORD_BOOK_COLUMNS];	/* of arrays */
	SPIPlanPtr	plan;
} ConcordBookStatement;

typedef struct ConcordBookRows
{
	ConcordBookStatement *statement;
	int			ncolumns;
	int			n;
	int			max;
	Datum	   *values[CONCORD_BOOK_COLUMNS];
	bool	   *nulls[CONCORD_BOOK_COLUMNS];
} ConcordBookRows;

/* book.c */
extern int	concord_book_plan_begin(void);
extern void concord_book_plan_end(int level);
extern void concord_book_begin(ConcordBookRows *rows,
							   ConcordBookStatement *statement, int max);
extern void concord_book_put(ConcordBookRows *rows, int column, Datum value,
							 bool isnull);
extern void concord_book_put_text(ConcordBookRows *rows, int column,
								  const char *text);
extern void concord_book_run(ConcordBookRows *rows);

/* linkrows.c */
extern bool concord_link_write(ConcordCourier *courier);
extern int	concord_child_rows(const ConcordDelivery *d);

/* bookrows.c: exceptions and systems */
extern void concord_book_exceptions(ConcordCourier *courier);
extern void concord_book_apply_exception(ConcordCourier *courier,
										 ConcordDelivery *d);
extern void concord_book_system(ConcordCourier *courier, ConcordSystem *system);

#endif							/* CONCORD_DELIVERY_BOOK_H */
