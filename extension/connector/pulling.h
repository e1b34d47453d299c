/*-------------------------------------------------------------------------
 *
 * pulling.h
 *	  How a system tells what has changed: member "pull" of a connector.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CONNECTOR_PULLING_H
#define CONCORD_CONNECTOR_PULLING_H

#include "connector/reading.h"
#include "datatype/timestamp.h"

/* How times are written in a filter. */
typedef enum ConcordPullTime
{
	CONCORD_TIME_ISO,			/* 2026-11-21T08:15:00.123456Z */
	CONCORD_TIME_PLAIN,			/* 2026-11-21 08:15:00, UTC */
	CONCORD_TIME_DATE,			/* 2026-11-21 */
	CONCORD_TIME_SECONDS,		/* since 1970 */
} ConcordPullTime;

typedef struct ConcordPulling
{
	uint32		methods;		/* bits of ConcordPullMethod */
	char	   *changed;		/* member that says when a record was changed;
								 * NULL: it has another name with each object */
	ConcordPullTime time;
	int			overlap_ms;		/* read again before the last change */
	char	   *prefer;			/* header Prefer, which makes a list one of
								 * changes; NULL: the list's address does */
	char	   *link;			/* where the last page has the address of the
								 * changes to come */
} ConcordPulling;

/* concord_connector_pulling says how changes are come by. */
extern const ConcordPulling *concord_connector_pulling(const ConcordConnector *connector);

/*
 * concord_pulling_check raises where a mapping pulls in a way that its server's
 * connector does not have.
 */
extern void concord_pulling_check(const ConcordConnector *connector,
								  const ConcordMapping *mapping);

/*
 * concord_pulling_since writes the parameters of a list of what was changed at
 * a time or later, in the order of the changes where the system can: name=value
 * pairs, percent-encoded.  at NULL: all, in that order.
 */
extern char *concord_pulling_since(const ConcordConnector *connector,
								   const char *changed, const TimestampTz *at);

#endif							/* CONCORD_CONNECTOR_PULLING_H */
