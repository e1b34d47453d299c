/*-------------------------------------------------------------------------
 *
 * debezium.h
 *	  What the parts of format debezium share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_DEBEZIUM_H
#define CONCORD_DEBEZIUM_H

#include "json_event.h"

/* How a value is written, and what the schema calls it. */
typedef enum DbzKind
{
	DBZ_STRING,					/* canonical text */
	DBZ_BOOLEAN,
	DBZ_INT16,
	DBZ_INT32,
	DBZ_INT64,
	DBZ_FLOAT32,
	DBZ_FLOAT64,
	DBZ_DECIMAL,				/* of a known scale */
	DBZ_VARIABLE_DECIMAL,
	DBZ_MONEY,
	DBZ_BYTES,
	DBZ_JSON,					/* the text of json, jsonb */
	DBZ_HSTORE,
	DBZ_UUID,
	DBZ_XML,
	DBZ_ENUM,
	DBZ_DATE,					/* days */
	DBZ_TIME,					/* milliseconds */
	DBZ_MICRO_TIME,
	DBZ_ZONED_TIME,
	DBZ_TIMESTAMP,				/* milliseconds */
	DBZ_MICRO_TIMESTAMP,
	DBZ_ZONED_TIMESTAMP,
	DBZ_INTERVAL,
	DBZ_BIT,
	DBZ_BITS,
	DBZ_POINT,
	DBZ_GEOMETRY,				/* postgis's */
	DBZ_GEOGRAPHY,
	DBZ_ARRAY,
} DbzKind;

typedef struct DbzType
{
	DbzKind		kind;
	Oid			typid;			/* no domain */
	int			scale;			/* of decimals, of fractions of a second */
	int			length;			/* of a decimal, of a bit string; 0 is none */
	ConcordType value;
	struct DbzType *element;	/* of DBZ_ARRAY */
} DbzType;

/* How many events of a table the current transaction has; see encode_debezium.c. */
typedef struct DbzCount
{
	Oid			relid;			/* hash key; invalid for messages */
	uint32		events;
	char	   *name;
} DbzCount;

/* The format's part of a relation's entry. */
typedef struct DbzRel
{
	DbzType    *types;			/* of the columns */
	const char *source;			/* ,"schema":…,"table":… */
	const char *schema;			/* "schema":…,"payload":{ or empty */
	const char *key_schema;		/* {"schema":…,"payload": or empty */
	DbzCount   *count;			/* with include_transaction */
} DbzRel;

/* Events that are of no relation, and their keys. */
typedef enum DbzFixed
{
	DBZ_FIXED_MESSAGE,
	DBZ_FIXED_MESSAGE_KEY,
	DBZ_FIXED_TRANSACTION,
	DBZ_FIXED_TRANSACTION_KEY,
	DBZ_FIXED_COUNT
} DbzFixed;

/* The encoder's own state. */
struct DbzState
{
	StringInfoData scratch;		/* texts in the making */
	StringInfoData source;		/* of the transaction, up to its sequence */
	StringInfoData tail;		/* the time that it is, up to transaction */
	char	   *database;
	const char *fixed[DBZ_FIXED_COUNT]; /* schemas of what is of no relation */
	char	   *transaction;	/* id of the transaction */
	uint32		events;			/* of the transaction */
	bool		half;			/* the first of a change's two events is out */
	HTAB	   *counts;			/* of DbzCount */
	List	   *counted;		/* those of the transaction */
};

/* What is to be said of a value that has no place in the format. */
typedef enum DbzFault
{
	DBZ_FINE,
	DBZ_NOT_A_NUMBER,			/* decimal = precise, NaN or infinite */
} DbzFault;

/* in debezium_type.c */
extern void concord_debezium_type(DbzType *type, Oid typid, int32 typmod);

/* in debezium_value.c */
extern DbzFault concord_debezium_value(DecoderState *state, const DbzType *type,
									   Datum value);
extern void concord_debezium_shrink(DecoderState *state);
extern void concord_debezium_placeholder(DecoderState *state, const DbzType *type);

/* in debezium_decimal.c */
extern void concord_debezium_unscaled(StringInfo buf, const char *text, int scale);

/* in debezium_schema.c */
extern void concord_debezium_schema(DecoderState *state, ConcordRel *rel);
extern void concord_debezium_fixed_schemas(DecoderState *state);

#endif							/* CONCORD_DEBEZIUM_H */
