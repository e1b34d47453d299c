/*-------------------------------------------------------------------------
 *
 * options.h
 *	  The plugin's options, parsed.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_OPTIONS_H
#define CONCORD_OPTIONS_H

#include "nodes/pg_list.h"

typedef enum ConcordFormat
{
	CONCORD_FORMAT_JSON,
	CONCORD_FORMAT_BINARY,
	CONCORD_FORMAT_CLOUDEVENTS,
	CONCORD_FORMAT_DEBEZIUM,
} ConcordFormat;

typedef enum ConcordSchema
{
	CONCORD_SCHEMA_NONE,
	CONCORD_SCHEMA_ONCE,		/* before the first event that needs it */
	CONCORD_SCHEMA_INLINE,		/* in each event */
} ConcordSchema;

/* How format debezium writes numeric and money. */
typedef enum ConcordDecimal
{
	CONCORD_DECIMAL_PRECISE,	/* bytes of the unscaled value */
	CONCORD_DECIMAL_STRING,
	CONCORD_DECIMAL_DOUBLE,
} ConcordDecimal;

typedef enum ConcordSelection
{
	CONCORD_SELECT_ALL,
	CONCORD_SELECT_CAPTURED,	/* concord.captured says */
	CONCORD_SELECT_TABLES,		/* option tables says */
	CONCORD_SELECT_PUBLICATIONS,	/* publications say */
} ConcordSelection;

typedef enum ConcordOrigin
{
	CONCORD_ORIGIN_ANY,			/* wherever a change came from */
	CONCORD_ORIGIN_NONE,		/* made here: no replication origin */
	CONCORD_ORIGIN_LOCAL,		/* took effect here, so the same as any */
	CONCORD_ORIGIN_NAMES,		/* one of a list */
} ConcordOrigin;

typedef struct ConcordOriginOption
{
	ConcordOrigin which;
	List	   *names;			/* of char * */
	bool		with_none;		/* and changes made here */
} ConcordOriginOption;

/* A table pattern; an unquoted star stands for any run of characters. */
typedef struct ConcordPattern
{
	char	   *schema;
	char	   *table;
} ConcordPattern;

/* An entry of option columns. */
typedef struct ConcordColumnRule
{
	ConcordPattern table;
	bool		leave_out;		/* the names are what is not sent */
	List	   *names;			/* of char *, patterns */
} ConcordColumnRule;

/* In a parsed pattern this byte is the star; a quoted star is itself. */
#define CONCORD_PATTERN_ANY '\001'

typedef struct ConcordOptions
{
	int			format;			/* ConcordFormat */
	int			version;		/* of the binary stream: the only one there is */
	int			schema;			/* ConcordSchema */
	char	   *source;			/* who speaks, as the format has it, or NULL */
	int decimal;				/* ConcordDecimal */
	bool		interval_string;
	bool		include_key;
	int			selection;		/* ConcordSelection */
	List	   *tables;			/* of ConcordPattern */
	List	   *columns;		/* of ConcordColumnRule */
	List	   *publications;	/* of char *, names */
	List	   *messages;		/* of char *, prefixes; "" is every message */
	ConcordOriginOption origin;
	bool		streaming;		/* transactions in progress are sent */
	int			two_phase;		/* 1: decode at PREPARE, 0: no, -1: as the
								 * slot says */
	List	   *two_phase_gid;	/* of char *, patterns: which gids */
	bool		two_phase_gid_given;
	int			max_value;		/* bytes; 0 is no limit */
	bool		batch;			/* messages share a write */
	bool		include_xid;
	bool		include_lsn;
	bool		include_ordinal;
	bool		include_id;
	bool		include_time;
	bool		include_origin;
	bool		include_types;
	bool		include_transaction;
	bool		numbers_as_strings;
	bool		bytea_hex;
} ConcordOptions;

extern const char *concord_options_shown(const char *given);
extern void concord_options_parse(ConcordOptions *options, List *given);

#endif							/* CONCORD_OPTIONS_H */
