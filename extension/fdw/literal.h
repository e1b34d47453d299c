/*-------------------------------------------------------------------------
 *
 * literal.h
 *	  Values as an address has them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_LITERAL_H
#define CONCORD_FDW_LITERAL_H

#include "connector/reading.h"
#include "fdw/fdw.h"
#include "nodes/primnodes.h"

/*
 * concord_literal_type says what a remote type (Edm.Guid) is compared as;
 * CONCORD_TYPE_NONE where it is not known.
 */
extern ConcordReadType concord_literal_type(const char *type);

/* concord_literal_whole: a constant time without a fraction of a second. */
extern bool concord_literal_whole(const Expr *expr);

/*
 * concord_literal_write appends a value, percent-encoded, as an operator wants
 * it compared with a column; false where it has no form there.
 */
extern bool concord_literal_write(StringInfo buf,
								  const ConcordForeignColumn *column,
								  const ConcordReading *reading, bool odata2,
								  ConcordReadOperator op, Oid typid, Datum value);

#endif							/* CONCORD_FDW_LITERAL_H */
