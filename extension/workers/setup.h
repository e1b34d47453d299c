/*-------------------------------------------------------------------------
 *
 * setup.h
 *	  What a server lacks for the extension to work, said by name.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_SETUP_H
#define CONCORD_SETUP_H

#include "base/compat.h"

#include "nodes/pg_list.h"

typedef struct ConcordProblem
{
	char	   *problem;		/* wal_level is replica */
	char	   *advice;			/* wal_level = logical */
} ConcordProblem;

/*
 * concord_setup_problems returns a list of ConcordProblem *, NIL where all is
 * well; needs a transaction.
 */
extern List *concord_setup_problems(void);

#endif							/* CONCORD_SETUP_H */
