/*-------------------------------------------------------------------------
 *
 * batch.h
 *	  Several deliveries in one request.
 *
 * Protocols know nothing of it.  Each delivery's exchange makes its request as
 * if it were sent alone; a form, which is data of the connector, packs such
 * requests into one and takes the answer apart again, so that every exchange
 * gets an answer of its own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CONNECTOR_BATCH_H
#define CONCORD_CONNECTOR_BATCH_H

#include "connector/connector.h"

struct ConcordTemplate;

/* What became of items of which the answer says nothing. */
typedef enum ConcordBatchMissing
{
	CONCORD_MISSING_DONE,		/* one status speaks for all */
	CONCORD_MISSING_STOPPED,	/* not attempted, behind one that failed */
	CONCORD_MISSING_UNKNOWN,
} ConcordBatchMissing;

/* How a result names the item that it is about. */
typedef enum ConcordBatchMatch
{
	CONCORD_MATCH_INDEX,		/* by its place */
	CONCORD_MATCH_ID,			/* by the id that we gave the item */
	CONCORD_MATCH_KEY,			/* by the record's key */
} ConcordBatchMatch;

/* How a result becomes the answer that the item would have got alone. */
typedef enum ConcordBatchWrap
{
	CONCORD_WRAP_NONE,
	CONCORD_WRAP_ARRAY,			/* alone in its list, where that stands */
	CONCORD_WRAP_MEMBER,		/* in place of the list */
} ConcordBatchWrap;

/* A list of results in an answer. */
typedef struct ConcordBatchList
{
	char	   *path;
	int			status;			/* of all in it; 0: they say it */
	char	   *before;			/* what the wrap puts around a result */
	char	   *after;
} ConcordBatchList;

/* What stands in change sets of a multipart batch. */
typedef enum ConcordChangeSets
{
	CONCORD_SETS_NONE,
	CONCORD_SETS_EACH,			/* each item in one of its own */
	CONCORD_SETS_ONE,			/* all items in one */
} ConcordChangeSets;

/* One way to send several requests as one: a part of member "batch". */
typedef struct ConcordBatchForm
{
	bool		multipart;
	bool		lines;			/* bodies are lines, not a JSON text */
	ConcordChangeSets change_sets;
	bool		alone;			/* a lone item is a batch of one */
	bool		same_address;	/* items have one method and address */
	bool		unordered;		/* only what has no ordering key */
	bool		carries_headers;	/* items keep headers of their own */
	bool		odata;			/* OData's $batch, which takes reads, too */
	int			operations;		/* 1 << ConcordVerb */
	int			size;			/* where none is asked for; 0: no batches */
	int			max_count;
	int			max_bytes;
	char	   *method;
	struct ConcordTemplate *path;	/* NULL: the items' own address */
	char	   *content_type;
	ConcordShape *headers;
	struct ConcordTemplate *body;
	int			nlines;			/* of an item; 1 where they are no lines */
	struct ConcordTemplate **item;
	char	   *id_prefix;
	char	   *reference;		/* of a unit: how a later item has the id that
								 * an earlier one will get, with # for that
								 * one's {request.id}; NULL: it cannot */

	/* the answer */
	int			nlists;
	ConcordBatchList *lists;
	ConcordBatchMatch match;
	ConcordBatchWrap wrap;
	bool		unwrap;			/* {"index": {...}}: the member's value */
	char	   *id_path;
	char	   *status_path;
	char	   *success_path;
	char	   *error_path;
	char	   *body_path;
	char	   *headers_path;
	int			failed_status;
	ConcordBatchMissing missing;

	struct ConcordBatchForm *unit;	/* all or nothing; NULL: it cannot */
} ConcordBatchForm;

typedef struct ConcordBatchItem
{
	ConcordExchange *exchange;
	ConcordRequest *request;	/* as it would be sent alone; its response is
								 * where unpacking puts this item's answer */
	bool		answered;		/* false: not attempted */
} ConcordBatchItem;

typedef enum ConcordBatchVerdict
{
	CONCORD_BATCH_ITEMS,		/* each item has its answer or was not
								 * attempted */
	CONCORD_BATCH_REFUSED,		/* nothing of it was done, because of its size
								 * or of one of its items */
	CONCORD_BATCH_WHOLE,		/* the answer is about the system, or nobody
								 * knows what was done */
} ConcordBatchVerdict;

/*
 * concord_batch_form_of returns which form of its connector carries a request,
 * or NULL where it has to be sent alone.
 */
extern const ConcordBatchForm *concord_batch_form_of(const ConcordExchange *exchange,
													 const ConcordRequest *request);

/* concord_batch_together: one request can carry both, which have this form. */
extern bool concord_batch_together(const ConcordBatchForm *form,
								   const ConcordBatchItem *a,
								   const ConcordBatchItem *b);

/* concord_batch_size says how many bytes an item adds, about. */
extern Size concord_batch_bytes(const ConcordBatchForm *form,
								const ConcordBatchItem *item);

/*
 * concord_batch_limit says how many deliveries of a mapping go into one
 * request at most; 0: they are sent alone.
 */
extern int	concord_batch_limit(const ConcordServer *server,
								const ConcordMapping *mapping);

/*
 * concord_batch_pack makes the request of n items, complete with the server's
 * options and credentials, in a child of context.
 */
extern ConcordRequest *concord_batch_pack(const ConcordBatchForm *form,
										  const ConcordBatchItem *items, int n,
										  const struct ConcordAuth *auth,
										  MemoryContext context);

/*
 * concord_batch_unpack takes an answer apart.  CONCORD_BATCH_ITEMS: the items
 * that were attempted have a response.
 */
extern ConcordBatchVerdict concord_batch_unpack(const ConcordBatchForm *form,
												ConcordBatchItem *items, int n,
												const ConcordResponse *response);

/*
 * concord_batch_unit_form returns the form by which a request goes in a unit,
 * which is done or refused as a whole; NULL: there is none.
 */
extern const ConcordBatchForm *concord_batch_unit_form(const ConcordExchange *exchange,
													   const ConcordRequest *request);

/*
 * concord_batch_reference writes what stands for the id of a record that item
 * number index of a unit is to create; NULL: the form cannot say it.
 */
extern char *concord_batch_reference(const ConcordBatchForm *form, int index);

/*
 * concord_batch_unpack_unit takes the answer to a unit apart.  CONCORD_BATCH_ITEMS:
 * all is done, and each item has its answer.  CONCORD_BATCH_REFUSED: nothing is;
 * the item *refused has its answer, or, where that is -1, the answer says no
 * item.  CONCORD_BATCH_WHOLE: nobody knows, or the system answered for itself.
 */
extern ConcordBatchVerdict concord_batch_unpack_unit(const ConcordBatchForm *form,
													 ConcordBatchItem *items,
													 int n,
													 const ConcordResponse *response,
													 int *refused);

/* concord_batch_check refuses options that a connector has no batches for. */
extern void concord_batch_check(const ConcordConnector *connector,
								const ConcordMapping *mapping);

#endif							/* CONCORD_CONNECTOR_BATCH_H */
