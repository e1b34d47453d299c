/*-------------------------------------------------------------------------
 *
 * batch_formats.h
 *	  What the files of batches share; private to connector/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CONNECTOR_BATCH_FORMATS_H
#define CONCORD_CONNECTOR_BATCH_FORMATS_H

#include "connector/batch.h"

/*
 * batch.c: gives a response a copy of a piece of a batch's answer as its body,
 * whatever bytes are in it.
 */
extern void concord_batch_body(ConcordResponse *response, const char *bytes,
							   Size len);

/*
 * unpack returns false where the answer says nothing of single items.  Else
 * each item has a response, or is not answered: not attempted.  Of items only
 * request is looked at, but where results are matched by key.
 */
extern bool concord_json_unpack(const ConcordBatchForm *form,
								ConcordBatchItem *items, int n,
								const ConcordResponse *response);
extern bool concord_multipart_unpack(const ConcordBatchForm *form,
									 ConcordBatchItem *items, int n,
									 const ConcordResponse *response);

/*
 * concord_multipart_request writes a part: a request to path, with its headers
 * and body.  number: its Content-ID.
 */
extern void concord_multipart_request(StringInfo buf,
									  const ConcordRequest *request,
									  const char *path, int number);

/* concord_multipart_pack sets body and content type. */
extern void concord_multipart_pack(const ConcordBatchForm *form,
								   const ConcordBatchItem *items, int n,
								   ConcordRequest *request);

/*
 * concord_batch_unanswered deals with items of which an answer said nothing;
 * whole: the answer was read to its end.  Returns false where nothing was
 * said of any.
 */
extern bool concord_batch_unanswered(const ConcordBatchForm *form,
									 ConcordBatchItem *items, int n,
									 const ConcordResponse *response,
									 bool whole);

#endif							/* CONCORD_CONNECTOR_BATCH_FORMATS_H */
