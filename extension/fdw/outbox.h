/*-------------------------------------------------------------------------
 *
 * outbox.h
 *	  Rows of a foreign table that are written through the outbox.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_OUTBOX_H
#define CONCORD_FDW_OUTBOX_H

#include "fdw/row.h"

/* What one statement writes to one table. */
typedef struct ConcordOutboxWriter ConcordOutboxWriter;

/*
 * concord_outbox_create makes a writer in the current context; columns and given
 * are those of row.h, userid writes.  Raises where nobody would deliver what is
 * written, or not as the table says.
 */
extern ConcordOutboxWriter *concord_outbox_create(const ConcordForeignTable *table,
												  Oid userid, CmdType operation,
												  List *columns, List *given);

/*
 * concord_outbox_put writes a row: it is sent if and only if the transaction
 * commits.  Arguments as of concord_row_map; tag is the version that was read,
 * or NULL.
 */
extern void concord_outbox_put(ConcordOutboxWriter *writer, const Datum *values,
							   const bool *nulls, const Datum *keys,
							   const char *tag);

/* concord_outbox_form says what of a row is written. */
extern const ConcordRowForm *concord_outbox_form(const ConcordOutboxWriter *writer);

/* concord_outbox_mapping names the mapping that delivers it. */
extern const char *concord_outbox_mapping(const ConcordOutboxWriter *writer);

#endif							/* CONCORD_FDW_OUTBOX_H */
