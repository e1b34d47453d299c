/*-------------------------------------------------------------------------
 *
 * protocols.h
 *	  What the protocols share; private to connector/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CONNECTOR_PROTOCOLS_H
#define CONCORD_CONNECTOR_PROTOCOLS_H

#include "connector/connector.h"

/* one protocol per file */
extern const ConcordProtocol concord_protocol_rest;
extern const ConcordProtocol concord_protocol_odata;
extern const ConcordProtocol concord_protocol_webhook;

/* body.c: what concord_body_write puts into the object */
#define CONCORD_BODY_CREATING	0x01	/* fields "on": "create", not "update" */
#define CONCORD_BODY_KEY		0x02	/* the key's parts, unless a field has
										 * the name */
#define CONCORD_BODY_NO_KEY		0x04	/* no field that is a part of the key */
#define CONCORD_BODY_NO_FIELDS	0x08
#define CONCORD_BODY_NO_CHILDREN	0x80	/* no rows of other mappings */
#define CONCORD_BODY_CHANGED	0x40	/* no field that the system has as it
										 * is (option patch) */
#define CONCORD_BODY_ODATA2		0x10	/* values as OData 2 writes them */

extern void concord_body_write(const ConcordMapping *mapping,
							   const ConcordMapped *mapped, int flags,
							   StringInfo buf);

/* url.c */
extern char *concord_value_plain(const ConcordValue *value);
extern char *concord_key_text(const ConcordMapping *mapping,
							  const ConcordValue *keys);
extern const char *concord_key_problem(const ConcordMapping *mapping,
									   const ConcordValue *keys);
extern void concord_url_escape(StringInfo buf, const char *text,
							   const char *keep);
extern void concord_url_escape_utf8(StringInfo buf, const char *utf8,
									const char *keep);
extern void concord_url_service(StringInfo buf, const ConcordServer *server,
								const char *service);
extern void concord_url_base(StringInfo buf, const ConcordServer *server,
							 const ConcordMapping *mapping);
extern const char *concord_url_path(const char *url);
extern const char *concord_item_path(const ConcordExchange *exchange,
									 const ConcordRequest *request);
extern char *concord_entity_name(const char *object);
extern bool concord_path_climbs(const char *path);

/* a text in quotes, which are doubled inside, for an address of OData */
extern void concord_odata_text(StringInfo buf, const char *text);

/* check.c */
extern void concord_object_check(const ConcordConnector *connector,
								 const ConcordMapping *mapping,
								 bool needs_object);
extern void concord_connector_options_check(const ConcordConnector *connector,
											const ConcordMapping *mapping,
											bool takes_tags,
											bool takes_cloudevents);
extern void concord_patch_check(const ConcordConnector *connector,
								const ConcordMapping *mapping,
								const char *update_method);
extern void concord_key_check(const ConcordConnector *connector,
							  const ConcordMapping *mapping);

/* webhook.c: what CloudEvents says of an event */
typedef struct ConcordEventNames
{
	char	   *id;
	const char *op;				/* insert, update, ..., emit */
	char	   *type;
	char	   *source;
	char	   *subject;		/* NULL: none */
	char	   *time;			/* NULL: not known */
} ConcordEventNames;

extern void concord_event_names(const ConcordExchange *exchange,
								ConcordEventNames *names);

/* answer.c */
extern char *concord_answer_find(const ConcordResponse *response,
								 const char *const *names, int n);
extern void concord_children_answer(ConcordExchange *exchange,
									const ConcordResponse *response);
extern char *concord_answer_path(const ConcordResponse *response,
								 const char *path);
extern bool concord_answer_holds(const ConcordResponse *response,
								 const char *json, Size len);

/*
 * location.c: the id of a new record in the answer's Location or, of Dataverse,
 * OData-EntityId: the key in the last parentheses, or the last segment; NULL
 * where there is none.
 */
extern char *concord_location_id(const ConcordResponse *response);

/*
 * odata2.c: values as OData 2 has them, in a body and in an address.
 */
extern void concord_odata2_value(StringInfo buf, const ConcordValue *value);
extern void concord_odata2_literal(StringInfo buf, const ConcordValue *value);

/* odata.c: whether a text looks like a GUID */
extern bool concord_odata_is_uuid(const char *text);

/* answer_walk.c */
extern bool concord_answer_at(const char *json, Size json_len,
							  const char *path, const char **value,
							  Size *len);
extern bool concord_answer_next(const char **at, const char *end,
								const char **name, Size *name_len,
								const char **value, Size *len);

/* exchange.c: 16 bytes as the text of an idempotency key; headers of all */
extern char *concord_idempotency_text(unsigned char *digest);
extern char *concord_uuid_text(const unsigned char *bytes);
extern ConcordRequest *concord_exchange_request(const ConcordExchange *exchange);
extern void concord_exchange_headers(ConcordExchange *exchange,
									 ConcordRequest *request);

/* webhook.c: which fields of its record an event carries */
extern int	concord_event_flags(const ConcordExchange *exchange);

/*
 * outcome.c: concord_outcome_judge sets outcome, effect, rule and error of an
 * exchange from an answer; exchange->verb says to what.  Where the effect is
 * CONCORD_EFFECT_EXISTS or _GONE, the outcome is what follows if the caller
 * does not act on it (a deletion of what is gone is done).
 */
extern void concord_outcome_judge(ConcordExchange *exchange,
								  const ConcordResponse *response);
extern void concord_outcome_set(ConcordExchange *exchange,
								ConcordOutcome outcome, const char *rule,
								const char *error);

/*
 * record.c: the way of records that are created, updated and deleted by key.
 * A dialect says how its requests look.
 */
typedef struct ConcordDialect
{
	/*
	 * request makes a request of a verb; keys are those of the record as the
	 * system knows it.  if_match is NULL or a tag.
	 */
	ConcordRequest *(*request) (ConcordExchange *exchange, ConcordVerb verb,
								const ConcordValue *keys,
								const char *if_match);
	/* tag returns the record's version of an answer, or NULL */
	char	   *(*tag) (const ConcordResponse *response);

	/*
	 * finds returns where the answer to CONCORD_VERB_FIND has the first id, a
	 * path with an index 0; NULL: records cannot be found by our key
	 */
	const char *(*finds) (const ConcordExchange *exchange);
	bool		key_is_fixed;	/* a changed key is another record */
} ConcordDialect;

extern ConcordRequest *concord_record_next(ConcordExchange *exchange,
										   const ConcordResponse *response,
										   const ConcordDialect *dialect);

#endif							/* CONCORD_CONNECTOR_PROTOCOLS_H */
