/*-------------------------------------------------------------------------
 *
 * value.h
 *	  Values by type: canonical text and JSON.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_VALUE_H
#define CONCORD_VALUE_H

#include <limits.h>

#include "access/tupdesc.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "nodes/pg_list.h"

#include "compat.h"

struct varlena;

/* How a type is written; every other type is CONCORD_VALUE_OTHER. */
typedef enum ConcordValueKind
{
	CONCORD_VALUE_OTHER,		/* through its output function */
	CONCORD_VALUE_BOOL,
	CONCORD_VALUE_INT2,
	CONCORD_VALUE_INT4,
	CONCORD_VALUE_INT8,
	CONCORD_VALUE_OID,
	CONCORD_VALUE_FLOAT4,
	CONCORD_VALUE_FLOAT8,
	CONCORD_VALUE_NUMERIC,
	CONCORD_VALUE_MONEY,
	CONCORD_VALUE_TEXT,
	CONCORD_VALUE_NAME,
	CONCORD_VALUE_JSON,
	CONCORD_VALUE_JSONB,
	CONCORD_VALUE_BYTEA,
	CONCORD_VALUE_UUID,
	CONCORD_VALUE_DATE,
	CONCORD_VALUE_TIME,
	CONCORD_VALUE_TIMESTAMP,
	CONCORD_VALUE_TIMESTAMPTZ,
	CONCORD_VALUE_ENUM,
	CONCORD_VALUE_REG,			/* name of an object of the catalog */
	CONCORD_VALUE_ARRAY,
	CONCORD_VALUE_COMPOSITE,
	CONCORD_VALUE_RANGE,
	CONCORD_VALUE_MULTIRANGE,
	CONCORD_VALUE_FAILED,		/* nothing is known of the type */
} ConcordValueKind;

/* Why a value cannot be encoded. */
typedef struct ConcordFailure
{
	int			sqlerrcode;
	char		message[512];
} ConcordFailure;

struct ConcordRowType;

typedef struct ConcordType
{
	ConcordValueKind kind;
	int16		typlen;
	bool		typbyval;
	char		typalign;
	char		typdelim;		/* between elements of an array of it */
	bool		guarded;		/* the output function is not core's */
	Oid			typid;			/* the base type, where it is a domain */
	FmgrInfo   *output;			/* of OTHER and COMPOSITE */
	struct ConcordType *element;	/* of ARRAY, RANGE and MULTIRANGE */
	struct TypeCacheEntry *cache;	/* of RANGE; of MULTIRANGE, its range's */
	struct ConcordRowType *row; /* of COMPOSITE */
	ConcordFailure *failure;	/* of FAILED */
} ConcordType;

/* A column of a composite type. */
typedef struct ConcordAttribute
{
	ConcordType type;
	bool		dropped;
	const char *json_name;		/* ,"name": as it stands in JSON */
	int			json_name_len;
} ConcordAttribute;

/* The columns of a composite type, and arrays for one value of it. */
typedef struct ConcordRowType
{
	TupleDesc	desc;
	Datum	   *values;
	bool	   *nulls;
	ConcordAttribute attributes[FLEXIBLE_ARRAY_MEMBER];
} ConcordRowType;

/* How JSON is wanted. */
typedef struct ConcordJsonStyle
{
	bool		numbers_as_strings;
	bool		bytea_hex;
} ConcordJsonStyle;

#define CONCORD_SHA256_LENGTH	32

/* in value_type.c */
extern void concord_type_init(ConcordType *type, Oid typid, List **rowtypes);

/* in value.c */
extern void concord_value_text(StringInfo buf, ConcordType *type, Datum value);
extern bool concord_value_toasted_too_large(Datum value, Size max);
extern char *concord_put_timestamp(char *p, int64 timestamp, char separator,
								   const char *zone);
extern char *concord_put_numeric(char *p, const struct varlena *v, Size room);
extern char *concord_put_scalar(char *p, ConcordValueKind kind, Datum value,
								bool json, bool *number);
extern bool concord_value_numeric(StringInfo buf, Datum value);
extern bool concord_value_scalar(StringInfo buf, ConcordValueKind kind,
								 Datum value, bool json);
extern void concord_value_bytea_hex(StringInfo buf, Datum value, bool json);

/* in value_output.c */
extern char *concord_value_output(StringInfo buf, ConcordType *type, Datum value);
extern bool concord_guard(void (*call) (void *), void *arg);
extern void concord_value_fail(StringInfo buf, int sqlerrcode, const char *message);
extern void concord_value_enum(StringInfo buf, Datum value);
extern void concord_value_reg(StringInfo buf, ConcordType *type, Datum value);
extern const ConcordFailure *concord_value_failure(void);

/* in value_nested.c */
extern void concord_value_array(StringInfo buf, ConcordType *type, Datum value);
extern void concord_value_range(StringInfo buf, ConcordType *type, Datum value);
extern void concord_value_multirange(StringInfo buf, ConcordType *type, Datum value);
extern void concord_value_composite(StringInfo buf, ConcordType *type, Datum value);
extern struct HeapTupleHeaderData *concord_value_open_row(ConcordType *type,
														  Datum value);

/* in value_digest.c */
extern uint64 concord_value_digest(Datum value, uint8 *sha256);

/* in json_foreign.c */
extern bool concord_json_foreign;
extern void concord_json_foreign_start(bool binary);
extern void concord_json_foreign_append(StringInfo buf, const char *s, Size len,
										bool json);

/* in value_jsonb.c */
extern void concord_value_jsonb(StringInfo buf, Datum value);

/* in value_json.c */
extern void concord_value_json(StringInfo buf, ConcordType *type, Datum value,
							   const ConcordJsonStyle *style);
extern bool concord_value_is_json_null(ConcordType *type, Datum value);
extern void concord_json_string(StringInfo buf, const char *s, Size len);
extern char *concord_json_put_escape(char *p, unsigned char c);
extern void concord_json_base64(StringInfo buf, const char *data, Size size);

/* The most bytes that concord_put_timestamp() writes. */
#define CONCORD_TIMESTAMP_MAX	48

/* The most bytes that concord_put_scalar() writes. */
#define CONCORD_SCALAR_MAX	(2 * CONCORD_TIMESTAMP_MAX)

/* The most bytes that an event may take, far enough from what palloc() gives. */
#define CONCORD_EVENT_MAX	((Size) 512 * 1024 * 1024)

/* Does a variable-length value lie where it is, as it is? */
static inline bool
concord_value_in_place(Datum value)
{
	struct varlena *v = (struct varlena *) DatumGetPointer(value);

	return !VARATT_IS_EXTERNAL(v) && !VARATT_IS_COMPRESSED(v);
}

/* Give a value with its bytes in place; a short header is left as it is. */
static inline struct varlena *
concord_value_detoast(Datum value)
{
	if (likely(concord_value_in_place(value)))
		return (struct varlena *) DatumGetPointer(value);
	return PG_DETOAST_DATUM_PACKED(value);
}

/* Is a variable-length value larger than max bytes? */
static inline bool
concord_value_too_large(Datum value, Size max)
{
	if (likely(concord_value_in_place(value)))
		return VARSIZE_ANY_EXHDR(DatumGetPointer(value)) > max;
	return concord_value_toasted_too_large(value, max);
}

/* Make room for size bytes more and return where they go. */
static inline char *
concord_buf_reserve(StringInfo buf, Size size)
{
	if (unlikely((Size) (buf->maxlen - buf->len) <= size))
		enlargeStringInfo(buf, (int) Min(size, (Size) INT_MAX));
	return buf->data + buf->len;
}

/* Everything before p is filled. */
static inline void
concord_buf_advance(StringInfo buf, char *p)
{
	buf->len = (int) (p - buf->data);
}

/* Append bytes. */
static inline void
concord_buf_append(StringInfo buf, const void *data, Size size)
{
	memcpy(concord_buf_reserve(buf, size), data, size);
	buf->len += (int) size;
}

/*
 * Where a value cannot be written, a note is left in the buffer's cursor and
 * its writer stops; see the head of row.c.  The note is the number of bytes
 * that did not fit, or this one.
 */
#define CONCORD_CURSOR_FAILED	(-1)

/* Is there room for size bytes more within CONCORD_EVENT_MAX? */
static inline bool
concord_buf_fits(StringInfo buf, Size size)
{
	if (likely((Size) buf->len + size <= CONCORD_EVENT_MAX))
		return true;
	buf->cursor = (int) Min(size, (Size) INT_MAX);
	return false;
}

/* Has everything been written so far, and is there room for more? */
static inline bool
concord_buf_going(StringInfo buf)
{
	return buf->cursor == 0 && concord_buf_fits(buf, 1);
}

/*
 * Copy a column's name as it stands in JSON to p, where there is room for
 * CONCORD_NAME_PIECE bytes more, as there are behind the name.  A short one is
 * copied with them, without a call.
 */
#define CONCORD_NAME_PIECE	32

static inline char *
concord_put_name(char *p, const char *name, int len)
{
	if (likely(len <= CONCORD_NAME_PIECE))
		memcpy(p, name, CONCORD_NAME_PIECE);
	else
		memcpy(p, name, len);
	return p + len;
}

/* Append a byte. */
static inline void
concord_buf_putc(StringInfo buf, char c)
{
	*concord_buf_reserve(buf, 1) = c;
	buf->len++;
}

#define concord_buf_literal(buf, s) concord_buf_append(buf, s, sizeof(s) - 1)

#endif							/* CONCORD_VALUE_H */
