/*-------------------------------------------------------------------------
 *
 * transfer.h
 *	  One transfer of libcurl under a request; private to http/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_HTTP_TRANSFER_H
#define CONCORD_HTTP_TRANSFER_H

#include "http/http.h"

#include <curl/curl.h>

#include "lib/ilist.h"

/* What an answer may have at most. */
#define CONCORD_MAX_BODY	(1024 * 1024)
#define CONCORD_MAX_HEADERS	(64 * 1024)

/* A buffer that libcurl's callbacks fill: malloc'd, kept for the next use. */
typedef struct ConcordBuffer
{
	char	   *data;
	size_t		len;
	size_t		size;
} ConcordBuffer;

/*
 * An easy handle with what its callbacks record.  Handles are reused; the
 * options that a server gives are set again only where they differ.
 */
typedef struct ConcordTransferState
{
	dlist_node	node;			/* in one of the engine's lists */
	ConcordHttp *http;
	CURL	   *easy;
	ConcordRequest *request;	/* NULL while idle */
	bool		in_multi;		/* libcurl has it */
	CURLcode	code;			/* how it ended */

	ConcordBuffer headers;
	ConcordBuffer body;
	struct curl_slist *slist;	/* in the request's context */
	char		error[CURL_ERROR_SIZE];

	/* recorded by callbacks */
	bool		begun;			/* a connection was there, sending began */
	bool		refused;		/* the policy refused an address */
	bool		refused_always; /* and no setting can allow it */
	char		refused_address[64];
	bool		head_ended;		/* the blank line after the headers has come */
	bool		too_large;
	bool		out_of_memory;
	bool		lost;			/* libcurl wanted to send it a second time */

	/* what the handle is set up for */
	char	   *url;
	CURLU	   *parsed;			/* the same, where it can be parsed */
	bool		prepared;
	bool		verify;
	bool		http2;
	char	   *ca_file;
	char	   *cert_file;
	char	   *key_file;
	char	   *proxy;
} ConcordTransferState;

/* http/request.c */
extern ConcordTransferState *concord_transfer_create(ConcordHttp *http);
extern void concord_transfer_destroy(ConcordTransferState *transfer);
extern bool concord_transfer_prepare(ConcordTransferState *transfer,
									 ConcordRequest *request);
extern void concord_transfer_release(ConcordTransferState *transfer);

/* http/memory.c */
extern bool concord_curl_init(void);

/* http/loop.c */
extern void concord_loop_socket_opened(ConcordHttp *http, curl_socket_t fd);
extern int	concord_loop_on_close(void *arg, curl_socket_t fd);

/* http/response.c */
extern size_t concord_response_on_header(char *data, size_t size, size_t n,
										 void *arg);

/* concord_response_limit says how large a request's answer may be. */
extern Size concord_response_limit(const ConcordRequest *request);

extern size_t concord_response_on_body(char *data, size_t size, size_t n,
									   void *arg);
extern void concord_response_take(ConcordTransferState *transfer,
								  CURLcode code);

#endif							/* CONCORD_HTTP_TRANSFER_H */
