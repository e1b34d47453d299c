/*-------------------------------------------------------------------------
 *
 * http.h
 *	  Requests on libcurl's multi interface, driven from our own wait loop.
 *
 * A ConcordHttp owns one multi handle, its easy handles (reused) and the wait
 * set; a reset callback of its memory context frees them on any error.
 * libcurl's callbacks record and return, they never raise.  All signals are
 * blocked around calls that may start a resolver thread.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_HTTP_H
#define CONCORD_HTTP_H

#include "base/compat.h"

#include "base/digest.h"
#include "lib/stringinfo.h"

typedef struct ConcordHttp ConcordHttp;

/* What became of the transfer itself. */
typedef enum ConcordTransfer
{
	CONCORD_TRANSFER_OK,		/* a whole answer came; see status */
	CONCORD_TRANSFER_NOT_SENT,	/* no connection, DNS, TLS, refused by policy:
								 * the system cannot have acted */
	CONCORD_TRANSFER_UNKNOWN,	/* sent, but no whole answer */
	CONCORD_TRANSFER_TOO_LARGE, /* answer beyond the limit; status is known */
} ConcordTransfer;

typedef struct ConcordHeader
{
	char	   *name;
	char	   *value;
} ConcordHeader;

typedef struct ConcordResponse
{
	ConcordTransfer transfer;
	int			status;			/* 0 where none came */
	int			nheaders;
	ConcordHeader *headers;		/* names in lower case */
	char	   *body;			/* NUL-terminated for convenience */
	Size		body_len;
	char	   *error;			/* of the transfer, redacted; NULL where OK */
	bool		system_down;	/* connection, DNS, TLS: no fault of this
								 * record */
	bool		timed_out;		/* a timeout of the request's ended it */
	bool		gate_refused;	/* its gate did: no credentials */
	bool		address_refused;	/* the policy did */
	int64		elapsed_us;
} ConcordResponse;

struct ConcordRequest;

/*
 * A gate: what stands between a request and the network, such as credentials
 * that have to be fetched first.  Both functions are called from our own loop;
 * either may be NULL.
 */
typedef enum ConcordGateVerdict
{
	CONCORD_GATE_GO,
	CONCORD_GATE_HOLD,			/* ask again soon */
	CONCORD_GATE_REFUSE,		/* end it as not sent, the system being down */
	CONCORD_GATE_REJECT,		/* end it as not sent, by its own fault */
} ConcordGateVerdict;

typedef enum ConcordGateAnswer
{
	CONCORD_GATE_PASS,			/* the answer is its owner's */
	CONCORD_GATE_AGAIN,			/* send the request once more */
	CONCORD_GATE_TAKEN,			/* the gate has freed the request */
} ConcordGateAnswer;

typedef struct ConcordGate
{
	ConcordGateVerdict (*before) (ConcordHttp *http,
								  struct ConcordRequest *request,
								  const char **why);
	ConcordGateAnswer (*after) (ConcordHttp *http,
								struct ConcordRequest *request);
} ConcordGate;

typedef struct ConcordRequest
{
	/* set by who makes it, all in the request's context */
	char	   *method;
	char	   *url;			/* whole */
	int			nheaders;
	int			maxheaders;
	ConcordHeader *headers;
	char	   *body;			/* NULL: none */
	Size		body_len;
	int			timeout_ms;
	int			connect_timeout_ms;
	bool		verify;			/* TLS */
	char	   *ca_file;		/* NULL: the system's */
	char	   *cert_file;
	char	   *key_file;
	char	   *proxy;
	bool		private_allowed;	/* egress policy, from the server */
	Size		max_answer;		/* bytes of a body; 0: the usual limit */
	bool		http2;			/* if the server offers it (ALPN) */
	void	   *owner;			/* the caller's */
	const ConcordGate *gate;	/* NULL: none */
	void	   *gate_state;		/* the gate's */

	/* set when it has ended */
	ConcordResponse response;

	MemoryContext context;
	bool		shared;			/* ... which belongs to who made it */
	const char *digested;		/* the body whose SHA-256 is in digest */
	uint8		digest[CONCORD_SHA256_LENGTH];
	void	   *transfer;		/* http.c's own */
} ConcordRequest;

/* concord_http_create; the engine lives until context is reset. */
extern ConcordHttp *concord_http_create(MemoryContext context);

/* concord_http_context is where a gate keeps requests of its own. */
extern MemoryContext concord_http_context(const ConcordHttp *http);

/* concord_request_create makes an empty request in a child of context. */
extern ConcordRequest *concord_request_create(MemoryContext context);

/*
 * concord_request_create_in makes one in context itself, as an item of a batch
 * that is never sent as it is; freeing it gives nothing back.
 */
extern ConcordRequest *concord_request_create_in(MemoryContext context);

/* concord_request_digest returns the SHA-256 of the body, made once. */
extern const uint8 *concord_request_digest(ConcordRequest *request);
extern void concord_request_header(ConcordRequest *request, const char *name,
								   const char *value);

/* concord_request_set_header adds a header that is not there yet. */
extern void concord_request_set_header(ConcordRequest *request,
									   const char *name, const char *value);

/* concord_request_has_header says whether a header was set. */
extern bool concord_request_has_header(const ConcordRequest *request,
									   const char *name);

/* concord_response_header returns a header's value or NULL (case ignored). */
extern const char *concord_response_header(const ConcordResponse *response,
										   const char *name);
extern void concord_request_free(ConcordRequest *request);

/*
 * concord_response_text returns at most maxlen bytes of the body as text that
 * is valid in the database's encoding (palloc'd): NUL bytes and what is not
 * UTF-8 are replaced.  concord_safe_text does so with any bytes.
 */
extern char *concord_response_text(const ConcordResponse *response,
								   Size maxlen);
extern char *concord_safe_text(const char *bytes, Size len, Size maxlen);

/* concord_http_submit starts a request; it comes back from concord_http_next. */
extern void concord_http_submit(ConcordHttp *http, ConcordRequest *request);
extern int	concord_http_in_flight(const ConcordHttp *http);

/* concord_http_drive sends what was submitted; it does not wait. */
extern void concord_http_drive(ConcordHttp *http);

/*
 * concord_http_wait drives transfers and waits until one has ended, the
 * process latch is set, or timeout_ms is over (-1: no limit).  Exits on
 * postmaster death.  The latch is left set: the caller resets it.
 */
extern void concord_http_wait(ConcordHttp *http, int timeout_ms,
							  uint32 wait_event);

/* concord_http_next returns an ended request or NULL. */
extern ConcordRequest *concord_http_next(ConcordHttp *http);

/*
 * concord_address_allowed judges where a request may go (http/policy.c):
 * metadata and link-local addresses never, loopback and private ones where
 * private_allowed says so or pg_concord.allowed_networks has them.
 */
struct sockaddr;
extern bool concord_address_allowed(const struct sockaddr *address,
									bool private_allowed,
									const char *allowed_networks);
extern bool concord_address_allowed_text(const char *address,
										 bool private_allowed,
										 const char *allowed_networks);

/* concord_http_cancel ends a request at once; it does not come back. */
extern void concord_http_cancel(ConcordHttp *http, ConcordRequest *request);

/*
 * concord_http_begun says whether sending a request has begun: one that is
 * cancelled then may have reached the system.
 */
extern bool concord_http_begun(const ConcordRequest *request);

/*
 * concord_http_descriptor gives a descriptor that becomes readable when
 * concord_http_drive has something to do, at the latest after most_ms (-1: no
 * limit; 0: at once).  To be asked again after each drive.
 */
extern int	concord_http_descriptor(ConcordHttp *http, int most_ms);

#endif							/* CONCORD_HTTP_H */
