/*-------------------------------------------------------------------------
 *
 * rules.h
 *	  Outcome rules: conditions on an answer, and what follows.
 *
 * Rules are data: those of a connector's rows, then the defaults, which are
 * written in the same language (rules_default.c).  The first that holds
 * decides.  doc/connectors.md has the language.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CONNECTOR_RULES_H
#define CONCORD_CONNECTOR_RULES_H

#include "connector/answer.h"

/* What becomes of a value that says how long to wait. */
typedef enum ConcordWaitUnit
{
	CONCORD_WAIT_SECONDS,
	CONCORD_WAIT_MS,
	CONCORD_WAIT_UNTIL,			/* a time: a date, or seconds since 1970 */
} ConcordWaitUnit;

typedef struct ConcordStatusRange
{
	int			low;
	int			high;
} ConcordStatusRange;

/* A header that must be there, and match where regex is not NULL. */
typedef struct ConcordHeaderTest
{
	char	   *name;
	char	   *regex;
} ConcordHeaderTest;

/* All that is given must hold. */
typedef struct ConcordOutcomeRule
{
	char	   *name;			/* what a delivery says decided */
	char	   *origin;			/* connector that states it; "" for defaults */
	char	   *source;			/* as it is written */

	/* conditions */
	int			nstatuses;		/* 0: any */
	ConcordStatusRange *statuses;
	int			verbs;			/* bits 1 << ConcordVerb; 0: any */
	List	   *methods;		/* of char *; NIL: any */
	int			nheaders;
	ConcordHeaderTest *headers;
	ConcordPath *path;
	bool		absent;			/* no value, or an empty one, must be there */
	List	   *equals;			/* of ConcordFound *: one of them */
	char	   *match;			/* regular expression over the path's value */
	char	   *text;			/* ... over the whole body */

	/* what follows */
	ConcordOutcome outcome;		/* NONE with an effect */
	ConcordEffect effect;
	int			wait_ms;		/* -1: none */
	char	   *wait_header;
	ConcordPath *wait_path;
	ConcordWaitUnit wait_unit;
} ConcordOutcomeRule;

/* rules.c: concord_rules_parse parses an array of rules; raises. */
struct JsonbValue;
extern List *concord_rules_parse(const char *origin, struct JsonbValue *value);

/* concord_outcome_name is how rules call an outcome or effect. */
extern const char *concord_outcome_name(ConcordOutcome outcome,
										ConcordEffect effect);

/* rules_default.c: the rules that come after a connector's own. */
extern List *concord_rules_default(void);

#endif							/* CONCORD_CONNECTOR_RULES_H */
