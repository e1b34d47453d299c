/*-------------------------------------------------------------------------
 *
 * reading.h
 *	  How a list of records is asked for: member "read" of a connector.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CONNECTOR_READING_H
#define CONCORD_CONNECTOR_READING_H

#include "connector/connector.h"

/* How the rest of a list is come by. */
typedef enum ConcordReadPaging
{
	CONCORD_READ_NONE,			/* all of it is one answer */
	CONCORD_READ_NEXT,			/* an address in the answer */
	CONCORD_READ_LINK,			/* header Link, rel="next" */
	CONCORD_READ_OFFSET,		/* how many records were before */
	CONCORD_READ_PAGE,			/* its number */
	CONCORD_READ_CURSOR,		/* a text of the answer before */
} ConcordReadPaging;

/* Where a system has nulls when it orders upwards. */
typedef enum ConcordReadNulls
{
	CONCORD_NULLS_UNKNOWN,
	CONCORD_NULLS_LOW,			/* first */
	CONCORD_NULLS_HIGH,			/* last */
} ConcordReadNulls;

/* What a system compares with: bits of operators, by "a|b|c" in reading.c. */
typedef enum ConcordReadOperator
{
	CONCORD_OP_EQ,
	CONCORD_OP_NE,
	CONCORD_OP_LT,
	CONCORD_OP_LE,
	CONCORD_OP_GT,
	CONCORD_OP_GE,
	CONCORD_OP_IN,
	CONCORD_OP_NULL,			/* is null, and is not */
	CONCORD_OP_OR,
	CONCORD_OP_STARTSWITH,
	CONCORD_OP_ENDSWITH,
	CONCORD_OP_CONTAINS,
} ConcordReadOperator;

#define CONCORD_OPS		(CONCORD_OP_CONTAINS + 1)

/* Of which types: bits of types. */
typedef enum ConcordReadType
{
	CONCORD_TYPE_NUMBER,
	CONCORD_TYPE_TEXT,
	CONCORD_TYPE_BOOLEAN,
	CONCORD_TYPE_DATE,
	CONCORD_TYPE_TIMESTAMP,
	CONCORD_TYPE_UUID,
	CONCORD_TYPE_NONE,			/* of no such type */
} ConcordReadType;

/* How several requests for lists are sent as one. */
typedef enum ConcordReadBatch
{
	CONCORD_READ_BATCH_NONE,
	CONCORD_READ_BATCH_MULTIPART,
	CONCORD_READ_BATCH_JSON,
	CONCORD_READ_BATCH_AS_WRITES,	/* as member "batch" says of changes */
} ConcordReadBatch;

/* Names are of parameters of the query string; NULL: the system has none. */
typedef struct ConcordReading
{
	char	   *path;			/* {object}; NULL: that alone */
	char	   *items;			/* where an answer has the list; NULL: the
								 * answer itself or its only array */
	ConcordReadPaging paging;
	char	   *next;			/* where an answer has the next address or
								 * cursor */
	char	   *more;			/* where it says whether there is more */
	char	   *size;			/* how many records a page has */
	int			page_size;
	bool		prefer;			/* say so by Prefer: odata.maxpagesize */
	char	   *offset;
	char	   *page;
	int			first_page;
	char	   *cursor;
	char	   *limit;
	char	   *skip;
	char	   *select;
	char	   *order;
	char	   *ascending;		/* {name} */
	char	   *descending;
	ConcordReadNulls nulls;
	char	   *count;			/* {object}: the address that counts */
	char	   *total;			/* where an answer says how many there are */
	bool		odata;			/* filters are OData's */
	char	   *templates[CONCORD_OPS]; /* or these: {name}, {value} */
	uint32		operators;
	uint32		types;
	int			list_size;		/* values that are asked for at once */
	ConcordReadBatch batch;		/* of OData; see concord_reading_batch */
	int			batch_size;		/* requests in one */
} ConcordReading;

/* concord_connector_reading says how a connector's lists are read. */
extern const ConcordReading *concord_connector_reading(const ConcordConnector *connector);

/* --- batch_read.c --- */

/* concord_reading_batch says in which format reads go together. */
extern ConcordReadBatch concord_reading_batch(const ConcordConnector *connector);

/*
 * concord_reading_pack makes body and headers of carrier, whose url is that of
 * the service's $batch, of n requests to addresses under the same service.
 */
extern void concord_reading_pack(const ConcordConnector *connector,
								 ConcordRequest *carrier,
								 ConcordRequest *const *reads, int n);

/*
 * concord_reading_unpack gives each of them its response, in its own context;
 * false where the answer is no batch's, or says nothing of one of them.
 */
extern bool concord_reading_unpack(const ConcordConnector *connector,
								   ConcordRequest *const *reads, int n,
								   const ConcordResponse *response);

/*
 * concord_reading_headers adds the connector's headers to a request that reads;
 * those with places for values of a record are left out, for there is none.
 */
extern void concord_reading_headers(const ConcordConnector *connector,
									ConcordRequest *request);

/*
 * concord_odata_literal writes a value that is not null as a literal of an
 * address of OData 4, concord_odata2_literal of OData 2; percent-encoded.
 */
extern void concord_odata_literal(StringInfo buf, const ConcordValue *value);
extern void concord_odata2_literal(StringInfo buf, const ConcordValue *value);

/* concord_url_escape percent-encodes all but unreserved and keep.  url.c */
extern void concord_url_escape(StringInfo buf, const char *text,
							   const char *keep);

#endif							/* CONCORD_CONNECTOR_READING_H */
