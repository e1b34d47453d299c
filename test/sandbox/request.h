/*-------------------------------------------------------------------------
 *
 * request.h
 *	  One request on its way through the sandbox, and what its parts promise.
 *
 * server.c	 sockets, bodies, timers; builds a Request, sends its Answer
 * service.c	 what an OData, REST or hook address does
 * batch.c	 several requests in one
 * acknowledge.c	 the same, not taken apart
 * list.c	 long lists, page after page
 * tokens.c	 credentials that are issued
 * rules.c	 which fault a request meets
 * journal.c	 what is remembered of it, and what was wrong with it
 * recover.c	 what an earlier process knew
 * control.c	 /_control/
 *
 * Everything runs in one thread: no locks anywhere.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_REQUEST_H
#define SANDBOX_REQUEST_H

#include <jansson.h>
#include <microhttpd.h>
#include <stdio.h>

#include "store.h"

#define MAX_HEADERS 48
#define MAX_ANSWER_HEADERS 16

typedef struct Header
{
	char	   *name;			/* lower case */
	char	   *value;
} Header;

typedef struct Answer
{
	int			status;
	Buf			body;
	Header		headers[MAX_ANSWER_HEADERS];
	int			nheaders;
} Answer;

/* What happens to the answer on its way out. */
typedef enum Delivery
{
	DELIVER_WHOLE,				/* as HTTP wants it */
	DELIVER_RESET,				/* the connection is reset instead */
	DELIVER_TORN,				/* half of the promised bytes, then closed */
	DELIVER_SLOW,				/* a few bytes at a time */
	DELIVER_ENDLESS,			/* a body that never ends */
	DELIVER_RAW,				/* bytes given by the rule, then closed */
	DELIVER_NEVER				/* no answer at all */
} Delivery;

typedef enum RequestState
{
	REQUEST_FRESH,				/* next: READING */
	REQUEST_READING,			/* next: DELAYED, DONE */
	REQUEST_DELAYED,			/* suspended until a timer; next: DONE */
	REQUEST_DONE
} RequestState;

typedef struct Request
{
	struct MHD_Connection *conn;
	RequestState state;
	int64_t		arrived;		/* wall clock, microseconds */
	int64_t		due;			/* monotonic, while delayed */
	const char *method;
	char	   *uri;			/* as it came, query included */
	char	   *path;			/* still percent-encoded */
	const char *query;			/* behind '?', or "" */
	Header		headers[MAX_HEADERS];
	int			nheaders;
	Buf			body;
	bool		body_too_large;
	char	   *set_path;		/* filled by the service */
	char	   *key;			/* canonical, or NULL */
	int64_t		sequence;
	bool		has_sequence;
	bool		acted;			/* the ERP's state reflects it */
	int			items;			/* of a batch that is not taken apart */
	json_t	   *action;			/* of the fault rule that fired, or NULL */
	int			rule_id;
	int64_t		budget_left;	/* of action budget; below 0: refused */
	int64_t		budget_reset_us;
	Delivery	delivery;
	Answer		answer;
	Buf			raw;			/* DELIVER_RAW */
	int64_t		endless;		/* bytes that are announced; 0: none are */
	int			slow_bytes;
	int			slow_ms;
	size_t		sent;
	size_t		timer;			/* place in the timer heap, 0: none */
	bool		suspended;
	bool		counted;		/* in the journal's requests in flight */
} Request;

typedef struct Options
{
	int			port;
	const char *port_file;
	const char *tls_cert;
	const char *tls_key;
	size_t		max_body;
	bool		log;
	size_t		log_limit;
	bool		strict;			/* unknown sets are 404 instead of made */
	bool		acknowledge;	/* batches are not taken apart */
	FILE	   *log_file;
} Options;

extern Options options;

/* server.c */
extern const char *request_header(const Request *req, const char *name);
extern void answer_header(Answer *answer, const char *name, const char *value);
extern void answer_json(Answer *answer, int status, json_t *value);
extern void answer_error(Answer *answer, int status, const char *code,
						 const char *message);
extern bool server_start(void);
extern void server_run(void);
extern int64_t server_connections(void);
extern void server_stop(void);

/* service.c */
extern void service_locate(Request *req);
extern void service_act(Request *req);

/* batch.c */
extern bool batch_is(const Request *req);
extern void batch_act(Request *req);

/* list.c */
extern void list_act(Request *req);

/* acknowledge.c */
extern void acknowledge_act(Request *req);

/* rules.c */
extern json_t *rule_add(const json_t *spec, const char **why);
extern json_t *rules_list(void);
extern bool rule_drop(int id);
extern void rules_clear(void);
extern void rules_apply(Request *req);
extern bool rule_delays_after_acting(const Request *req);
extern bool rule_prevents_acting(const Request *req);
extern void rule_alter_answer(Request *req);

/* journal.c */
extern bool journal_known(const Request *req, int *status);
extern void journal_begin(void);
extern void journal_abandon(void);
extern void journal_add(Request *req);
extern void journal_clear(void);
extern void journal_habits(const Request *req);
extern void journal_log(Buf *out, size_t from, const char *path, size_t limit);
extern json_t *journal_stats(void);
extern json_t *journal_violations(void);

/* recover.c */
extern void recover_from(const char *path);

/* tokens.c */
extern void tokens_act(Request *req);
extern bool tokens_valid(const Request *req);
extern bool tokens_session(const Request *req);
extern bool tokens_csrf(Request *req);
extern void tokens_control(Request *req, const json_t *body);

/* control.c */
extern void control_act(Request *req);

#endif							/* SANDBOX_REQUEST_H */
