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

#include "fmgr.h"
#include "lib/stringinfo.h"

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
	CONCORD_VALUE_ARRAY,		/* in JSON only; text is array_out's */
} ConcordValueKind;

typedef struct ConcordType
{
	ConcordValueKind kind;
	FmgrInfo	output;			/* of OTHER and ARRAY */
	struct ConcordType *element;	/* of ARRAY */
	int16		typlen;
	bool		typbyval;
	char		typalign;
} ConcordType;

/* How JSON is wanted. */
typedef struct ConcordJsonStyle
{
	bool		numbers_as_strings;
	bool		bytea_hex;
} ConcordJsonStyle;

#define CONCORD_SHA256_LENGTH	32

extern void concord_type_init(ConcordType *type, Oid typid);
extern void concord_value_text(StringInfo buf, ConcordType *type, Datum value);
extern struct varlena *concord_value_detoast(Datum value);
extern bool concord_value_too_large(Datum value, Size max);
extern char *concord_put_timestamp(char *p, int64 timestamp, char separator,
								   const char *zone);
extern char *concord_value_output(StringInfo buf, ConcordType *type, Datum value);
extern bool concord_value_numeric(StringInfo buf, Datum value);
extern bool concord_value_scalar(StringInfo buf, ConcordValueKind kind,
								 Datum value, bool json);
extern void concord_value_bytea_hex(StringInfo buf, Datum value, bool json);

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
extern void concord_json_string(StringInfo buf, const char *s, Size len);
extern char *concord_json_put_escape(char *p, unsigned char c);
extern void concord_json_base64(StringInfo buf, const char *data, Size size);

/* The most bytes that concord_put_timestamp() writes. */
#define CONCORD_TIMESTAMP_MAX	48

/* The most bytes that an event may take, far enough from what palloc() gives. */
#define CONCORD_EVENT_MAX	((Size) 512 * 1024 * 1024)

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
 * Is there room for size bytes more within CONCORD_EVENT_MAX?  If not, what
 * was asked for is left in the buffer's cursor, and the writer of a value
 * stops; see the head of row.c.
 */
static inline bool
concord_buf_fits(StringInfo buf, Size size)
{
	if (likely((Size) buf->len + size <= CONCORD_EVENT_MAX))
		return true;
	buf->cursor = (int) Min(size, (Size) INT_MAX);
	return false;
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
