/*-------------------------------------------------------------------------
 *
 * server_options.h
 *	  Options of servers, user mappings and foreign tables of wrapper concord.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CATALOG_SERVER_OPTIONS_H
#define CONCORD_CATALOG_SERVER_OPTIONS_H

#include "base/compat.h"

#include "nodes/pg_list.h"

/* Where an option may stand; the catalogs' OIDs say the same. */
typedef enum ConcordOptionLevel
{
	CONCORD_OPTION_SERVER,
	CONCORD_OPTION_USER,
	CONCORD_OPTION_TABLE,
	CONCORD_OPTION_COLUMN,
	CONCORD_OPTION_WRAPPER,
} ConcordOptionLevel;

/* How a value is checked. */
typedef enum ConcordOptionKind
{
	CONCORD_OPTION_TEXT,
	CONCORD_OPTION_URL,
	CONCORD_OPTION_DURATION,	/* '30s', '5min', '500ms' */
	CONCORD_OPTION_INTEGER,
	CONCORD_OPTION_BOOL,
	CONCORD_OPTION_HEADERS,		/* JSON object of texts, no secrets */
	CONCORD_OPTION_FILE,		/* a path on the server; privileged */
	CONCORD_OPTION_SECRET,		/* text that is never shown */
	CONCORD_OPTION_HEADER_NAME,
	CONCORD_OPTION_SERVICE,		/* a path under the server's url */
	CONCORD_OPTION_RATE,		/* '600/min' */
	CONCORD_OPTION_QUOTA,		/* '100000/1d' */
	CONCORD_OPTION_SHARE,		/* '20%' */
	CONCORD_OPTION_ALLOW,		/* methods and paths, see allow_list.h */
	CONCORD_OPTION_NAME,		/* as long as a name of PostgreSQL's */
	CONCORD_OPTION_CHOICE,		/* one of option->choices */
	CONCORD_OPTION_LATER,		/* known, but of a later version */
} ConcordOptionKind;

typedef struct ConcordOption
{
	const char *name;
	ConcordOptionLevel level;
	ConcordOptionKind kind;
	int			min;			/* of durations (ms) and integers */
	int			max;
	const char *choices;		/* "a|b|c" */
} ConcordOption;

/*
 * concord_option_check raises where a list of DefElem has an option that this
 * level does not know, that comes later, or whose value is not valid.
 * Privileges on files are the caller's to check (concord_option_uses_file).
 */
extern void concord_option_check(ConcordOptionLevel level, List *options);

/* concord_option_uses_file returns the first option that names a file, or NULL. */
extern const char *concord_option_uses_file(ConcordOptionLevel level,
											List *options);

/* concord_option_secret says whether an option's value is a secret. */
extern bool concord_option_secret(ConcordOptionLevel level, const char *name);

/* concord_option_get returns an option's text or NULL. */
extern const char *concord_option_get(List *options, const char *name);

/* Typed reads; a value that is not set gives def. */
extern int	concord_option_duration(List *options, const char *name, int def);
extern int	concord_option_integer(List *options, const char *name, int def);
extern bool concord_option_bool(List *options, const char *name, bool def);

/*
 * concord_option_header_list reads option headers into *names and *values
 * (palloc'd) and returns their number.
 */
extern int	concord_option_header_list(const char *json, char ***names,
									   char ***values);

/*
 * concord_option_closest returns which of n names is the closest to a mistyped
 * one, or NULL where none is close.
 */
extern const char *concord_option_closest(const char *name,
										  const char *const *names, int n);

/*
 * concord_option_check_headers raises where the JSON of an option of that name
 * has headers that bear secrets, belong to the transfer or are broken.
 */
extern void concord_option_check_headers(const char *name, const char *value);

/* concord_header_name_valid says whether a text is a header's name. */
extern bool concord_header_name_valid(const char *name);

/* concord_header_is_secret says whether a header bears credentials. */
extern bool concord_header_is_secret(const char *name);

/* concord_header_is_framing says whether a header is the transfer's own. */
extern bool concord_header_is_framing(const char *name);

#endif							/* CONCORD_CATALOG_SERVER_OPTIONS_H */
