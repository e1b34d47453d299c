/*-------------------------------------------------------------------------
 *
 * relcache.h
 *	  What the plugin knows of a relation, and which relations it sends.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_RELCACHE_H
#define CONCORD_RELCACHE_H

#include "nodes/bitmapset.h"
#include "replication/reorderbuffer.h"
#include "utils/relcache.h"

#include "compat.h"
#include "encoder.h"
#include "value.h"

/* A column of the definition that is sent. */
typedef struct ConcordColumn
{
	int16		attnum;			/* in the relation that is sent */
	int16		source;			/* index in the tuple's values */
	uint8		flags;			/* CONCORD_COL_* */
	bool		key;			/* part of the JSON form's key */
	bool		varlena;
	bool		notnull;
	ConcordType type;
	const char *name;
	Oid			typid;
	int32		typmod;
	const char *json_name;		/* ,"name": as it stands in JSON */
	int			json_name_len;
} ConcordColumn;

/* A piece of the output buffer. */
typedef struct ConcordSpan
{
	int			start;
	int			len;
} ConcordSpan;

/* Operations that are sent. */
#define CONCORD_SEND_INSERT		0x01
#define CONCORD_SEND_UPDATE		0x02
#define CONCORD_SEND_DELETE		0x04
#define CONCORD_SEND_TRUNCATE	0x08
#define CONCORD_SEND_ALL		0x0F
#define CONCORD_SEND_ROWS		0x07

typedef struct ConcordRowFilter ConcordRowFilter;

struct ConcordRel
{
	Oid			relid;			/* hash key: the relation in WAL */
	uint64		valid;			/* the state's generation; 0 is not */
	uint8		send;			/* CONCORD_SEND_*; 0 is not selected */
	Oid			target;			/* the relation it is sent as */
	int			nancestors;		/* of a partition, nearest first */
	Oid		   *ancestors;
	MemoryContext context;		/* of everything that follows */

	const char *schema;
	const char *table;
	char		replident;		/* pg_class.relreplident of relid */
	bool		has_identity;	/* an old image can be expected */
	bool		key_hidden;		/* a column of the identity is not sent */
	bool		restricted;		/* publications say which columns are sent */
	Bitmapset  *published;		/* those, by number in target */
	ConcordRowFilter *row_filter;	/* NULL lets everything pass */
	List	   *rowtypes;		/* relations of composite types, by OID */
	int			ncolumns;
	ConcordColumn *columns;
	int			natts;			/* of the tuples in WAL */
	Datum	   *old_values;
	Datum	   *new_values;
	bool	   *old_nulls;
	bool	   *new_nulls;
	bool	   *old_left_out;	/* values too many for one event; see row.c */
	bool	   *new_left_out;
	bool		old_written;	/* old_spans are of this event; row_repeat.h */
	ConcordSpan *old_spans;		/* values of the old image, by column */

	/* the encoder's own */
	struct ConcordDefinition *definition;
	const char *json_head;		/* "schema":…,"table":…, perhaps more */
	int			json_head_len;
	bool		json_has_key;	/* a column of the key exists */
	const char *json_type;		/* concord.….….; format cloudevents only */
	const char *json_types;		/* ,"types":{…}, or empty */
	int			json_types_len;
	struct ConcordJsonTold *json_told;	/* with schema = once, and then: */
	const char *json_hash;		/* of the definition */
	const char *json_columns;	/* what an event does not repeat of it */
	struct DbzRel *debezium;
};

/* in relcache.c */
extern void concord_relcache_start(DecoderState *state);
extern void concord_relcache_end(DecoderState *state);
extern ConcordRel *concord_relcache_get(DecoderState *state, Relation relation);
extern char *concord_relcache_type_name(Oid typid, int32 typmod);

/* in filter.c */
extern List *concord_filter_relation(DecoderState *state, Relation relation,
									 ConcordRel *rel);
extern bool concord_filter_column(DecoderState *state, const char *schema,
								  const char *table, const char *column, bool key);
extern bool concord_filter_gid(DecoderState *state, const char *gid);
extern bool concord_filter_message(DecoderState *state, const char *prefix);
extern void concord_filter_check(DecoderState *state);

/* in publication.c */
extern List *concord_publication_select(DecoderState *state, Relation relation,
										ConcordRel *rel);
extern void concord_publication_restrict(List *publications, ConcordRel *rel,
										 Relation relation, Relation target);

#endif							/* CONCORD_RELCACHE_H */
