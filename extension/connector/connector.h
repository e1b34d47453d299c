/*-------------------------------------------------------------------------
 *
 * connector.h
 *	  How a kind of system is spoken to: rows name a protocol, protocols are C.
 *
 * A protocol is a const struct of functions over an exchange: all that one
 * delivery needs at the system, one request after another (probe, write, read
 * the tag again), until the protocol has a verdict.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CONNECTOR_H
#define CONCORD_CONNECTOR_H

#include "catalog/mapping.h"
#include "http/account.h"
#include "http/http.h"
#include "mapping/eval.h"

typedef enum ConcordOutcome
{
	CONCORD_OUTCOME_NONE,		/* not finished: a request is to be sent */
	CONCORD_OUTCOME_DONE,
	CONCORD_OUTCOME_RETRY,		/* this record, later; counts an attempt */
	CONCORD_OUTCOME_THROTTLE,	/* later, not this record's fault */
	CONCORD_OUTCOME_DOWN,		/* the system is down: opens the breaker */
	CONCORD_OUTCOME_DEAD,		/* this record, for good */
	CONCORD_OUTCOME_UNKNOWN,	/* sent, no whole answer: settle, then retry */
	CONCORD_OUTCOME_CONFLICT,	/* the record is not as we took it to be: look
								 * at it again, then retry; counts */
} ConcordOutcome;

/* A server's options, resolved for one definer; catalog/server.c makes it. */
typedef struct ConcordServer
{
	Oid			serverid;
	char	   *name;
	char	   *url;			/* ends with a slash */
	char	   *url_given;		/* as the option has it */
	char	   *database;		/* the name of ours */
	char	   *service;		/* path under url, or NULL */
	int			timeout_ms;
	int			connect_timeout_ms;
	char	   *account;		/* whose limits it shares, or NULL */
	Oid			account_owner;	/* of its owners; see limits.c */
	ConcordLimits limits;		/* of the account: the smallest of each */
	int			batch_size;		/* 0: as the connector has it */
	int			retry_limit;
	int			retry_base_ms;
	int			retry_cap_ms;
	int			outage_limit_ms;	/* -1: none */
	char	   *environment;
	bool		verify;
	char	   *ca_file;
	char	   *cert_file;
	char	   *key_file;
	char	   *proxy;
	bool		private_allowed;
	char	   *call_allow;		/* what may be called; NULL: everything */
	int			cache_max_age_ms;	/* of calls that read; 0: none */
	int			nheaders;
	ConcordHeader *headers;
	const struct ConcordConnector *connector;
} ConcordServer;

/*
 * What an answer says of the record itself, beside the outcome: outcome is
 * what to make of it where nobody can follow this up.
 */
typedef enum ConcordEffect
{
	CONCORD_EFFECT_NONE,
	CONCORD_EFFECT_EXISTS,		/* a create was refused, for it is there */
	CONCORD_EFFECT_GONE,		/* there is no such record */
} ConcordEffect;

/* What a request is for. */
typedef enum ConcordVerb
{
	CONCORD_VERB_CREATE,
	CONCORD_VERB_UPDATE,
	CONCORD_VERB_DELETE,
	CONCORD_VERB_PROBE,			/* to look whether a record exists */
	CONCORD_VERB_FIND,			/* to look by our key where ids are theirs */
	CONCORD_VERB_LOOKUP,		/* to get a whole record, for a session */
	CONCORD_VERB_RENAME,		/* an update that changes the key, by the id
								 * that the system gave */
	CONCORD_VERB_SEND,			/* tells of an event; has no row of its own */
} ConcordVerb;

#define CONCORD_VERBS	(CONCORD_VERB_RENAME + 1)

struct ConcordTemplate;			/* connector/template.h */
typedef struct ConcordShape ConcordShape;

/* How a connector makes the request of a verb. */
typedef struct ConcordVerbRow
{
	char	   *method;
	struct ConcordTemplate *path;	/* NULL: the protocol's own address */
	ConcordShape *shape;		/* query, headers, body; NULL: none of them */
} ConcordVerbRow;

/* A row of concord.connector, parsed. */
typedef struct ConcordConnector
{
	char	   *name;
	char	   *protocol_name;
	const struct ConcordProtocol *protocol;
	const char *parsing;		/* the row that is being parsed: this one, or
								 * one that it extends */
	ConcordVerbRow verbs[CONCORD_VERBS];
	ConcordShape *headers;		/* of every request; NULL: none */
	char	   *idempotency_header; /* "": the system has none */
	char	   *remote_id_path; /* path of the id in an answer, or NULL */
	char	   *record_path;	/* where the answer to a look-up has the
								 * record; NULL: it is that */
	bool		remote_id_assigned; /* the system gives ids: {key} is that */
	bool		create_repeats; /* a create that is repeated is an update */
	bool		key_is_fixed;	/* a changed key is another record, but where
								 * there is a verb to rename it */
	bool		key_folds;		/* letters of keys are upper case there */
	char	   *find_path;		/* dotted path of the id in the answer to find */
	char	   *remote_id_type; /* of OData: text, number, uuid; NULL: by its
								 * looks */
	bool		odata2;			/* version 2 of OData rather than 4 */
	bool		key_names;		/* name the key's field even where it is one */
	bool		suppress_default;	/* default of option unchanged */
	bool		replay_events_default;
	char	   *upsert_default;
	char	   *if_match_default;
	List	   *limits;			/* of ConcordLimitForm *: where answers tell
								 * the system's own limits */
	List	   *rules;			/* of ConcordOutcomeRule * (rules.h), in
								 * order: its own, those it extends, the
								 * defaults */
	bool		rules_of_success;	/* some but the defaults may hold for 2xx */
	List	   *message_paths;	/* of ConcordPath *: what to show of answers */
	List	   *batches;		/* of ConcordBatchForm *, in order */
	struct ConcordReading *reading; /* reading.h; NULL: the protocol's */
	struct ConcordReceiving *receiving; /* receiving.h; NULL: Standard
										 * Webhooks */
	struct ConcordPulling *pulling; /* pulling.h; NULL: the protocol's */
} ConcordConnector;

/*
 * What is known of the record at the system; delivery keeps it.  Where the
 * key changed (mapped->old_keys) it is the link of the record under its old
 * key.
 */
typedef struct ConcordLink
{
	bool		exists;			/* a create was answered and no delete since */
	char	   *remote_id;
	char	   *etag;
} ConcordLink;

struct ConcordAuth;				/* auth/auth.h */

/* One delivery's way through a protocol. */

/* What an answer says of a row that went along. */
typedef struct ConcordChildLink
{
	char	   *remote_id;		/* NULL: it did not tell */
	char	   *etag;
} ConcordChildLink;

typedef struct ConcordExchange
{
	/* given */
	const ConcordServer *server;
	const ConcordMapping *mapping;
	const ConcordEvent *event;
	const ConcordMapped *mapped;
	ConcordLink link;
	bool		was_unknown;	/* an earlier attempt may have reached the
								 * system */
	bool		inserted;		/* an insert of the row was not sent: its
								 * event stands for it */
	MemoryContext context;		/* of the whole exchange */

	ConcordVerb verb;			/* of the request in flight; the protocol sets
								 * it before its answer is judged */
	bool		batched;		/* its request may go into a batch */
	bool		renames;		/* its update is CONCORD_VERB_RENAME */
	const ConcordValue *request_keys;	/* what the request in flight was made
										 * of: key, CONCORD_BODY_... */
	int			request_flags;
	bool		item;			/* the one that is being made does */

	/* the protocol's own state between requests */
	int			phase;
	void	   *state;

	/* results */
	char	   *idempotency_key;
	ConcordOutcome outcome;
	ConcordEffect effect;
	const char *effect_rule;	/* which rule set it */
	char	   *rule;			/* which outcome rule decided */
	char	   *error;			/* one line, redacted */
	int			status;
	int			retry_after_ms; /* -1: none given */
	char	   *remote_id;		/* from the answer; NULL: as before */
	ConcordChildLink **children;	/* as mapped->children and their rows;
									 * NULL: they were not sent */
	char	   *etag;			/* NULL: as before; "": forget it; "*": the
								 * system wants If-Match but tells no tag */

	/* evidence: what went to the system, for a dead letter */
	const ConcordRequest *request;	/* in flight, or the last one */
	StringInfo	trail;			/* requests before it with their status, one
								 * line; NULL: none */
	char	   *blamed_request; /* where the verdict is on an earlier request:
								 * its text, and its answer's; not redacted */
	char	   *blamed_answer;
} ConcordExchange;

typedef struct ConcordProtocol
{
	const char *name;

	/*
	 * check raises where a mapping cannot work with this protocol (options,
	 * key, object); called when a mapping is defined.
	 */
	void		(*check) (const ConcordConnector *connector,
						  const ConcordMapping *mapping);

	/*
	 * next is called with response NULL for the first request and then with
	 * each answer.  It returns a request (without credentials) to send, or
	 * NULL with exchange->outcome set.
	 */
	ConcordRequest *(*next) (ConcordExchange *exchange,
							 const ConcordResponse *response);

	bool		looks;			/* for a record before a create is repeated */

	/*
	 * look makes a request that reads: CONCORD_VERB_PROBE or
	 * CONCORD_VERB_LOOKUP by key, CONCORD_VERB_FIND by our key where the
	 * system gives ids.  LOOKUP may have no row of its own: then it is PROBE
	 * that is asked for.  NULL where there is nothing to read.  finds says
	 * where the answer to FIND has the id, or gives NULL.
	 */
	ConcordRequest *(*look) (ConcordExchange *exchange, ConcordVerb verb,
							 const ConcordValue *keys);
	const char *(*finds) (const ConcordExchange *exchange);
} ConcordProtocol;

/* concord_connector_init sets the mapping room's hooks; by _PG_init only. */
extern void concord_connector_init(void);

/* concord_protocol_find returns the protocol of that name or NULL. */
extern const ConcordProtocol *concord_protocol_find(const char *name);

/*
 * concord_server_load resolves a server's options into context; raises where
 * the server is gone.  Needs a transaction.
 */
extern ConcordServer *concord_server_load(Oid serverid, MemoryContext context);

/*
 * concord_server_review looks again at what a server may contact, which its
 * owner's attributes say.  Needs a transaction.
 */
extern void concord_server_review(ConcordServer *server);

/* concord_server_apply gives a request the server's options and headers. */
extern void concord_server_apply(const ConcordServer *server,
								 ConcordRequest *request);

/*
 * concord_server_contactable says whether settings let this database talk to
 * the server (environment); *why tells the reason where they do not.
 */
extern bool concord_server_contactable(const ConcordServer *server,
									   const char **why);

/*
 * concord_connector_load reads a row of concord.connector; where there is none
 * it raises, with the closest name as a hint, or returns NULL (missing_ok).
 */
extern ConcordConnector *concord_connector_load(const char *name,
												bool missing_ok,
												MemoryContext context);

/*
 * concord_connector_carries raises where a server's connector cannot carry a
 * mapping: options, key, object.  preview.c
 */
extern void concord_connector_carries(const ConcordServer *server,
									  const ConcordMapping *mapping);

/*
 * concord_exchange_begin makes an exchange and its idempotency key (of event,
 * mapping, method and body); concord_exchange_next is protocol->next plus what is
 * common: server headers, timeouts, policy, credentials of the definer.
 */
extern ConcordExchange *concord_exchange_begin(const ConcordServer *server,
											   const ConcordMapping *mapping,
											   const ConcordEvent *event,
											   const ConcordMapped *mapped,
											   const ConcordLink *link,
											   MemoryContext context);
extern ConcordRequest *concord_exchange_next(ConcordExchange *exchange,
											 const ConcordResponse *response,
											 const struct ConcordAuth *auth);


/*
 * A batch needs its items' requests without what belongs to the request that
 * carries them: concord_exchange_item is concord_exchange_next without server
 * headers and credentials, concord_exchange_complete adds those where the item
 * is sent alone after all.
 */
extern ConcordRequest *concord_exchange_item(ConcordExchange *exchange,
											 const ConcordResponse *response,
											 const struct ConcordAuth *auth);
extern void concord_exchange_complete(ConcordExchange *exchange,
									  ConcordRequest *request,
									  const struct ConcordAuth *auth);

/*
 * concord_exchange_judge gives an exchange the outcome of an answer that is
 * not about its record alone.
 */
extern void concord_exchange_judge(ConcordExchange *exchange,
								   const ConcordResponse *response,
								   const struct ConcordAuth *auth);

/*
 * Evidence: what is kept of requests and answers is bounded.  It is taken a
 * little longer, redacted and cut then: a secret must not be cut in two before
 * it is looked for.
 */
#define CONCORD_EVIDENCE_ANSWER		8192
#define CONCORD_EVIDENCE_REQUEST	(64 * 1024)
#define CONCORD_EVIDENCE_MORE		8192

/* concord_request_text shows method, address and body; nothing is redacted. */
extern char *concord_request_text(const ConcordRequest *request);

/*
 * concord_redact_members hides the values of members that are called like
 * credentials; concord_evidence does so and hides the secrets of auth, and
 * cuts at max bytes.
 */
extern char *concord_redact_members(const char *text);
extern char *concord_evidence(const struct ConcordAuth *auth, const char *text,
							  Size max);

/*
 * concord_body_json writes the mapped fields as one JSON object (names with
 * a slash nest) into buf; nulls and numbers as the mapping's options say.
 */
extern void concord_body_json(const ConcordMapping *mapping,
							  const ConcordMapped *mapped, bool creating,
							  StringInfo buf);

#endif							/* CONCORD_CONNECTOR_H */
