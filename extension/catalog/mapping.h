/*-------------------------------------------------------------------------
 *
 * mapping.h
 *	  Typed rows of concord.mapping and concord.mapping_version.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CATALOG_MAPPING_H
#define CONCORD_CATALOG_MAPPING_H

#include "base/compat.h"

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"

typedef enum ConcordMappingState
{
	CONCORD_MAPPING_ACTIVE,
	CONCORD_MAPPING_PAUSED,		/* by pause() or create_mapping(paused) */
	CONCORD_MAPPING_RESTORED,	/* comes from another database; activate() */
	CONCORD_MAPPING_STALE,		/* gave up its place (hold_limit); resume */
	CONCORD_MAPPING_DENIED,		/* the definer lost a right it needs */
	CONCORD_MAPPING_BROKEN,		/* source, server or expression is gone */
} ConcordMappingState;

typedef enum ConcordOrdering
{
	CONCORD_ORDER_KEY,
	CONCORD_ORDER_EXPRESSION,
	CONCORD_ORDER_NONE,
} ConcordOrdering;

typedef enum ConcordFieldOn
{
	CONCORD_ON_ALWAYS,
	CONCORD_ON_CREATE,
	CONCORD_ON_UPDATE,
} ConcordFieldOn;

/* Who wins where both sides have changed a shared column. */
typedef enum ConcordPolicy
{
	CONCORD_POLICY_NONE,		/* not shared: its owner does */
	CONCORD_POLICY_NEWEST,		/* the later change */
	CONCORD_POLICY_ADDITIVE,	/* both: the difference is applied */
	CONCORD_POLICY_MANUAL,		/* a person decides */
	CONCORD_POLICY_LOCAL,
	CONCORD_POLICY_REMOTE,
} ConcordPolicy;

/* Names of owners that are no servers. */
#define CONCORD_OWNER_LOCAL		"local"
#define CONCORD_OWNER_SHARED	"shared"

/* One remote field, or one part of the remote key. */
typedef struct ConcordField
{
	char	   *name;			/* as given, "Address/Street" nests */
	char	   *expression;		/* SQL text */
	ConcordFieldOn on;
	char	   *children;		/* a mapping whose rows go along; NULL: none */
	char	   *column;			/* the local column it is bound to; NULL: none */
	bool		column_given;	/* or else the expression is that column */
	char	   *apply;			/* expression over remote that gives the
								 * column's value; NULL: the remote value */
	char	   *owner_name;		/* as given: local, shared, a server; NULL */
	ConcordPolicy policy_given;

	/* who owns the column, and what follows: catalog/ownership.h */
	Oid			owner;			/* a server; InvalidOid: this database */
	bool		shared;			/* several systems and this database may */
	ConcordPolicy policy;		/* of a shared one */
	bool		pushed;			/* it is sent to the mapping's server */
	bool		pulled;			/* it is taken from there */
} ConcordField;

/* A check: its name is what a dead letter says. */
typedef struct ConcordCheck
{
	char	   *name;
	char	   *expression;
} ConcordCheck;

/* A pair of columns: what theirs is, the key column own of the row is. */
typedef struct ConcordDependColumn
{
	char	   *own;
	char	   *theirs;
} ConcordDependColumn;

/* A table whose changes are updates of the mapping's rows. */
typedef struct ConcordDepend
{
	char	   *table;			/* as given */
	Oid			relid;			/* InvalidOid: it is gone, or not looked up */
	List	   *columns;		/* of ConcordDependColumn * */
} ConcordDepend;

typedef enum ConcordPullMethod
{
	CONCORD_PULL_DEFAULT,		/* the best that the connector has */
	CONCORD_PULL_DELTA,			/* the system's own feed of changes */
	CONCORD_PULL_SINCE,			/* what has changed since a time */
	CONCORD_PULL_FULL,			/* all, compared */
} ConcordPullMethod;

/* Option pull: how records are fetched. */
typedef struct ConcordPullOptions
{
	ConcordPullMethod method;
	char	   *changed;		/* remote field that says when; NULL: the
								 * connector's */
	int			every_ms;		/* 0: only concord.pull() */
	int			overlap_ms;		/* read again before since; -1: default */
	bool		insert;			/* records without a row make one */
	bool		remove;			/* records that are gone delete theirs */
	char	   *filter;			/* in the connector's own words, or NULL */
} ConcordPullOptions;

/* A rule of option match; they are tried in order. */
typedef struct ConcordMatchRule
{
	char	   *name;			/* as a match tells it */
	char	   *remote;			/* a remote field that equals local */
	char	   *local;			/* expression over the row */
	char	   *expression;		/* or a condition over the row and remote;
								 * NULL where the two above are given */
} ConcordMatchRule;

/* Delivery options of CONTRACT.md, parsed; text where a connector decides. */
typedef struct ConcordMappingOptions
{
	ConcordOrdering ordering;
	char	   *ordering_expression;
	char	   *route;			/* expression naming the server; NULL: the
								 * mapping's own */
	bool		suppress_unchanged; /* unchanged */
	bool		unchanged_given;	/* or else the connector's default holds */
	bool		omit_nulls;		/* nulls */
	List	   *depends;		/* of ConcordDepend * */
	char	   *parent;			/* a mapping whose records ours belong to */
	List	   *parent_columns; /* of ConcordDependColumn *: own is the
								 * parent's */
	bool		patch_changed;	/* patch: an update has what differs only */
	bool		coalesce;		/* only the newest pending image of a key */
	bool		unit;			/* a transaction's events go together */
	enum
	{
		CONCORD_DELETE_DELETE, CONCORD_DELETE_IGNORE, CONCORD_DELETE_FIELDS
	}			on_delete;
	List	   *on_delete_fields;	/* of ConcordField * */
	enum
	{
		CONCORD_UNMATCHED_KEEP, CONCORD_UNMATCHED_DELETE,
		CONCORD_UNMATCHED_UPDATE
	}			unmatched;
	enum
	{
		CONCORD_TRUNCATE_ALERT, CONCORD_TRUNCATE_IGNORE,
		CONCORD_TRUNCATE_DELETE
	}			truncate;
	bool		recreate_on_key_change; /* on_key_change */
	bool		block_on_dead;	/* on_dead */
	bool		replay_events;	/* replay: events rather than state */
	bool		replay_given;	/* or else the connector's default holds */
	enum
	{
		CONCORD_AUDIT_FULL, CONCORD_AUDIT_FAILURES, CONCORD_AUDIT_OFF
	}			audit;
	int			wait_limit_ms;	/* -1: a day */
	int			couriers;		/* lanes that share the mapping by key */
	int			retry_limit;	/* -1: the server's */
	int			retry_base_ms;	/* -1: the server's */
	int			retry_cap_ms;	/* -1: the server's */
	bool		numbers_as_strings; /* numbers */
	char	   *upsert;			/* post, put, patch; NULL: the connector's */
	char	   *if_match;		/* etag, star, none; NULL: the connector's */
	char	   *cloudevents;	/* binary, structured, off; NULL: binary */
	char	   *service;		/* path under the server's url, or NULL */
	bool		remote_id_assigned; /* remote_id: the system gives ids */
	bool		remote_id_given;	/* or else the connector's default holds */
	char	   *remote_id_path; /* where an answer has the id; NULL: the
								 * connector's */
	char	   *remote_id_type; /* text, number, uuid; NULL: the connector's */
	int			batch_size;		/* events in a request; 0: the server's */
	int			batch_bytes;	/* 0: the connector's */
	int			linger_ms;		/* how long to wait for more events */
	ConcordPullOptions *pull;	/* NULL: nothing is fetched */
	Jsonb	   *receive;		/* an object, see connector/receiving.h; NULL:
								 * nothing is received */
	List	   *match;			/* of ConcordMatchRule * */
} ConcordMappingOptions;

/* What topics of rows that are written to foreign tables begin with. */
#define CONCORD_TOPIC_WRITE		"concord.write."

typedef struct ConcordMapping
{
	int32		id;
	char	   *name;
	ConcordMappingState state;
	char	   *state_reason;
	Oid			source;			/* InvalidOid for a topic */
	char	   *topic;			/* NULL for a table */
	bool		written;		/* its events are what statements write to a
								 * foreign table: mapping/written.h */
	Oid			foreign_table;	/* ... to this one; InvalidOid: it is gone */
	Oid			serverid;
	char	   *server;
	char	   *object;
	Oid			definer;		/* InvalidOid where the role does not exist */
	char	   *definer_name;
	char	   *search_path;	/* stored at creation */
	char	   *push;			/* event, off; later issues add batch */
	bool		push_off;		/* nothing is sent */
	bool		pulls;			/* a field is pulled */

	int32		version;
	List	   *fields;			/* of ConcordField * */
	List	   *key;			/* of ConcordField * */
	List	   *local_key;		/* of char *, columns in the order of local
								 * keys; NIL for a topic */
	char	   *filter;			/* NULL: every row */
	List	   *checks;			/* of ConcordCheck * */
	ConcordMappingOptions options;
} ConcordMapping;

/*
 * Called for the mappings that were read together, so that options which were
 * not given get the defaults of their connectors; set when the library is loaded.
 */
typedef void (*ConcordDefaultsHook) (List *mappings);
extern ConcordDefaultsHook concord_mapping_defaults_hook;

/*
 * What a section of C code needs that writes our tables on behalf of a user:
 * SPI, the extension's owner as current user, a search_path that cannot be
 * led astray.  No SQL that is not ours may run inside.  An error undoes it
 * with the (sub)transaction.
 */
typedef struct ConcordCatalogScope
{
	Oid			userid;
	int			sec_context;
	int			guc_level;
} ConcordCatalogScope;

extern void concord_catalog_enter(ConcordCatalogScope *scope);
extern void concord_catalog_leave(ConcordCatalogScope *scope);

/* concord_catalog_require_owner raises unless the user owns the extension. */
extern void concord_catalog_require_owner(const char *function);

/* concord_catalog_home says who this database is; palloc'd. */
extern char *concord_catalog_home(void);

/*
 * concord_mapping_load reads all mappings of this database with their current
 * versions into context.  Needs a transaction and SPI.
 */
extern List *concord_mapping_load(MemoryContext context);

/* concord_mapping_by_name raises ERRCODE_UNDEFINED_OBJECT with a hint. */
extern ConcordMapping *concord_mapping_by_name(const char *name,
											   MemoryContext context);

/* concord_mapping_find is the same; NULL where there is none. */
extern ConcordMapping *concord_mapping_find(const char *name,
											MemoryContext context);

/* concord_mapping_by_id returns NULL where there is none. */
extern ConcordMapping *concord_mapping_by_id(int32 id, MemoryContext context);

/*
 * concord_mapping_source_key sets mapping->local_key, and mapping->key where
 * the definition gives none, from the source's primary key or replica
 * identity.  Returns false where the table has neither.
 */
extern bool concord_mapping_source_key(ConcordMapping *mapping,
									   MemoryContext context);

/* concord_mapping_written_options sets what a written mapping is not asked. */
extern void concord_mapping_written_options(ConcordMapping *mapping);

extern const char *concord_mapping_state_name(ConcordMappingState state);

/*
 * concord_mapping_move_state changes state and reason where the state is still
 * from: a worker must not undo what a user did meanwhile.
 */
extern void concord_mapping_move_state(int32 mapping, ConcordMappingState from,
									   ConcordMappingState to,
									   const char *reason);

/* concord_mapping_set_state changes state and reason for a user. */
extern void concord_mapping_set_state(int32 mapping, ConcordMappingState state,
									  const char *reason);

#endif							/* CONCORD_CATALOG_MAPPING_H */
