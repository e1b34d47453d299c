/*-------------------------------------------------------------------------
 *
 * trim.h
 *	  Rows of our tables that are too old go, some at a time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_BASE_TRIM_H
#define CONCORD_BASE_TRIM_H

#include "base/compat.h"

/* A table, what of it may go, and how far the last round has come. */
typedef struct ConcordTrim
{
	const char *table;			/* in schema concord */
	const char *condition;		/* over its columns; $1: the minutes that rows
								 * are kept */
	const char *column;			/* oldest first by this one, which has an
								 * index; NULL: from the first block to the
								 * last */
	int64		block;			/* where to go on; 0 at the beginning */
} ConcordTrim;

/*
 * concord_trim deletes what may go, for a fifth of a second or until nothing is
 * left; false: there may be more.  In transactions of its own, each of which
 * is short; none may be open.
 */
extern bool concord_trim(ConcordTrim *trim, int minutes);

#endif							/* CONCORD_BASE_TRIM_H */
