/*-------------------------------------------------------------------------
 *
 * rowfilter.h
 *	  Row filters of publications.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_ROWFILTER_H
#define CONCORD_ROWFILTER_H

#include "relcache.h"

/* The operations that have filters, each its own. */
enum
{
	CONCORD_FILTER_INSERT,
	CONCORD_FILTER_UPDATE,
	CONCORD_FILTER_DELETE,
	CONCORD_FILTERS
};

/* What publications say of one table. */
typedef struct ConcordFilterSource
{
	List	   *filters[CONCORD_FILTERS];	/* of char *, expressions as
											 * stored */
	List	   *names[CONCORD_FILTERS]; /* of char *, their publications */
	bool		unfiltered[CONCORD_FILTERS];	/* one has no filter */
} ConcordFilterSource;

extern ConcordRowFilter *concord_rowfilter_make(const ConcordFilterSource *source,
												ConcordRel *rel, Relation relation,
												Relation target);
extern bool concord_rowfilter_pass(ConcordRel *rel, ConcordChange *row);

#endif							/* CONCORD_ROWFILTER_H */
