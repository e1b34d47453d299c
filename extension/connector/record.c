/*-------------------------------------------------------------------------
 *
 * record.c
 *	  The way of one record through a system: create, update, delete by key.
 *
 * Shared by the protocols that address records; a dialect writes the requests.
 *
 *	START ──► CREATE ◄────────────┐ 404
 *	  │         │ may exist       │
 *	  │         ▼                 │
 *	  ├─────► PROBE ──exists──► UPDATE ◄──► TAG (412: read the tag again)
 *	  ├─────────────────────────► │ ──key changed──► MOVED ──404──► RECREATE
 *	  ├─────► RECREATE (delete the old key) ──► CREATE
 *	  └─────► DELETE ◄──► TAG
 *
 * - A create whose earlier attempt may have arrived, and one that is refused
 *   as if the record existed (409, 500, or 400 with a text that says so),
 *   looks before it writes: a GET by key decides between update and create.
 * - An update of a record that no link knows is tried first when the event is
 *   an update, for the row may be older than the mapping; 404 makes a create.
 * - A tag that is missing where the system wants one (428) is replaced by "*";
 *   one that is stale (412) is read again: what is pushed is ours to overwrite.
 * - A deletion of what is not there (404, 410) is done.
 * - An update that changed the key is followed by a look at the new key: a
 *   system that took the fields and kept the key gets delete and create.
 *
 * The number of requests is bounded by REC_MAX_REQUESTS; a system that sends
 * us round in circles ends as a retry.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/protocols.h"

#include "catalog/pg_collation.h"
#include "regex/regex.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define REC_MAX_REQUESTS	10

/* Words of a refusal that means: this record exists already. */
#define REC_EXISTS_REGEX \
	"unique|already[ _]?exist|exists already|duplicate|-2035|ENTITY_ALREADY"

/* exchange->phase: what the request in flight is for. */
typedef enum RecPhase
{
	REC_START,
	REC_CREATE,					/* next: done, PROBE */
	REC_UPDATE,					/* next: done, CREATE, TAG, UPDATE, MOVED */
	REC_DELETE,					/* next: done, TAG, DELETE */
	REC_RECREATE,				/* next: CREATE, TAG, RECREATE */
	REC_PROBE,					/* next: done, UPDATE, CREATE */
	REC_TAG,					/* next: what was refused, or CREATE */
	REC_MOVED,					/* next: done, RECREATE */
} RecPhase;

/* exchange->state: what was learned on the way. */
typedef struct RecState
{
	int			requests;
	const ConcordValue *keys;	/* the record's key as the system has it */
	const char *if_match;		/* tag to send, or NULL */
	bool		star;			/* the system wanted a tag and took "*" */
	RecPhase	after_tag;
	bool		created;		/* a create was tried */
	bool		updated;		/* an update was tried */

	/* a create was refused in a way that may mean that it exists */
	bool		refused;
	ConcordOutcome refused_outcome;
	char	   *refused_rule;
	char	   *refused_error;
	int			refused_status;
} RecState;

/* rec_gone says whether an answer says that there is no such record. */
static bool
rec_gone(const ConcordResponse *response)
{
	return response->transfer == CONCORD_TRANSFER_OK &&
		(response->status == 404 || response->status == 410);
}

/* rec_success says whether a request was carried out. */
static bool
rec_success(const ConcordResponse *response)
{
	return response->transfer == CONCORD_TRANSFER_OK &&
		response->status >= 200 && response->status < 300;
}

/* rec_if_match says what option if_match is for this mapping. */
static const char *
rec_if_match(const ConcordExchange *exchange)
{
	const char *option = exchange->mapping->options.if_match;

	return option ? option : exchange->server->connector->if_match_default;
}

/* rec_send makes the request of a phase and remembers what it is for. */
static ConcordRequest *
rec_send(ConcordExchange *exchange, RecPhase phase,
		 const ConcordDialect *dialect)
{
	RecState   *state = exchange->state;
	ConcordVerb verb = CONCORD_VERB_PROBE;
	const ConcordValue *keys = state->keys;

	if (++state->requests > REC_MAX_REQUESTS)
	{
		concord_outcome_set(exchange, CONCORD_OUTCOME_RETRY, "too many requests",
							"the system's answers lead round in circles");
		return NULL;
	}
	exchange->phase = phase;
	switch (phase)
	{
		case REC_CREATE:
			verb = CONCORD_VERB_CREATE;
			keys = state->keys = exchange->mapped->keys;
			state->created = true;
			state->if_match = NULL;
			break;
		case REC_UPDATE:
			verb = CONCORD_VERB_UPDATE;
			state->updated = true;
			break;
		case REC_DELETE:
			verb = CONCORD_VERB_DELETE;
			break;
		case REC_RECREATE:
			verb = CONCORD_VERB_DELETE;
			break;
		case REC_MOVED:
			keys = exchange->mapped->keys;
			break;
		default:
			break;
	}
	return dialect->request(exchange, verb, keys,
							verb == CONCORD_VERB_UPDATE ||
							verb == CONCORD_VERB_DELETE ?
							state->if_match : NULL);
}

/* rec_first_tag sets the tag of the first request. */
static void
rec_first_tag(ConcordExchange *exchange, const ConcordDialect *dialect)
{
	RecState   *state = exchange->state;
	const char *mode = rec_if_match(exchange);

	if (dialect->tag == NULL || strcmp(mode, "none") == 0)
		return;
	if (strcmp(mode, "star") == 0)
		state->if_match = "*";
	else if (exchange->link.etag != NULL && *exchange->link.etag)
	{
		state->if_match = exchange->link.etag;
		state->star = strcmp(state->if_match, "*") == 0;
	}
}

/* rec_start decides what comes first. */
static ConcordRequest *
rec_start(ConcordExchange *exchange, const ConcordDialect *dialect)
{
	const ConcordMapped *mapped = exchange->mapped;
	bool		addressed = !exchange->mapping->options.remote_id_assigned ||
		exchange->link.remote_id != NULL;
	RecState   *state;
	const char *problem;

	exchange->state = state = MemoryContextAllocZero(exchange->context,
													 sizeof(RecState));
	state->keys = mapped->keys;
	problem = concord_key_problem(exchange->mapping, mapped->keys);
	if (problem == NULL && mapped->old_keys != NULL)
		problem = concord_key_problem(exchange->mapping, mapped->old_keys);
	if (mapped->action == CONCORD_ACTION_EVENT)
		problem = "the system cannot be told that a table was emptied";
	if (problem != NULL)
	{
		concord_outcome_set(exchange, CONCORD_OUTCOME_DEAD, "key", problem);
		return NULL;
	}
	rec_first_tag(exchange, dialect);

	if (mapped->action == CONCORD_ACTION_DELETE)
	{
		if (!addressed)
		{
			concord_outcome_set(exchange, CONCORD_OUTCOME_DONE, "no link", NULL);
			return NULL;
		}
		return rec_send(exchange, REC_DELETE, dialect);
	}
	if (mapped->old_keys != NULL && addressed)
	{
		state->keys = mapped->old_keys;
		return rec_send(exchange,
						(dialect->key_is_fixed &&
						 !exchange->mapping->options.remote_id_assigned) ||
						exchange->mapping->options.recreate_on_key_change ?
						REC_RECREATE : REC_UPDATE, dialect);
	}
	if (exchange->link.exists || mapped->deleting)
		return rec_send(exchange, addressed ? REC_UPDATE : REC_CREATE, dialect);
	if (!addressed)
		return rec_send(exchange, REC_CREATE, dialect);
	if (exchange->was_unknown)
		return rec_send(exchange, REC_PROBE, dialect);
	if (exchange->event != NULL && exchange->event->op == CONCORD_OP_UPDATE &&
		!exchange->inserted)
		return rec_send(exchange, REC_UPDATE, dialect);
	return rec_send(exchange, REC_CREATE, dialect);
}

/*
 * rec_remote_id reads the id that an answer gives the record.  One that would
 * name another address, such as the collection, is none.
 */
static char *
rec_remote_id(const ConcordResponse *response, const char *path)
{
	char	   *id = concord_answer_path(response, path);
	Size		len;

	/* OData 2 wraps its answers */
	if (id == NULL)
		id = concord_answer_path(response, psprintf("d.%s", path));
	len = id == NULL ? 0 : strlen(id);

	if (len == 0 || (len <= 2 && strspn(id, ".") == len))
		return NULL;
	return id;
}

/* rec_done ends an exchange well, with what the answer says of the record. */
static ConcordRequest *
rec_done(ConcordExchange *exchange, const ConcordResponse *response,
		 const ConcordDialect *dialect)
{
	RecState   *state = exchange->state;
	const ConcordConnector *connector = exchange->server->connector;
	MemoryContext old = MemoryContextSwitchTo(exchange->context);
	char	   *tag = dialect->tag != NULL ? dialect->tag(response) : NULL;

	if (exchange->phase == REC_DELETE)
		exchange->etag = "";
	else
	{
		const char *path = exchange->mapping->options.remote_id_path;

		if (path == NULL)
			path = connector->remote_id_path;
		if (exchange->phase == REC_CREATE && path != NULL)
			exchange->remote_id = rec_remote_id(response, path);
		if (exchange->phase == REC_CREATE && exchange->remote_id == NULL &&
			exchange->mapping->options.remote_id_assigned)
			exchange->remote_id = concord_location_id(response);
		if (exchange->remote_id == NULL && !exchange->mapping->options.remote_id_assigned)
			exchange->remote_id = concord_key_text(exchange->mapping,
												   exchange->mapped->keys);
		if (tag != NULL)
			exchange->etag = tag;
		else if (state->star)
			exchange->etag = "*";
		else if (exchange->link.etag != NULL)
			exchange->etag = "";
	}
	MemoryContextSwitchTo(old);
	return NULL;
}

/* rec_may_exist says whether a refused create may mean: exists already. */
static bool
rec_may_exist(const ConcordExchange *exchange, const ConcordResponse *response)
{
	char	   *text;
	bool		found;

	if (response->transfer != CONCORD_TRANSFER_OK ||
		exchange->mapping->options.remote_id_assigned)
		return false;
	if (response->status == 409 || response->status == 500)
		return true;
	if (response->status != 400 && response->status != 422)
		return false;
	text = concord_response_text(response, response->body_len);
	found = RE_compile_and_execute(cstring_to_text(REC_EXISTS_REGEX), text,
								   strlen(text), REG_ADVANCED | REG_ICASE,
								   C_COLLATION_OID, 0, NULL);
	pfree(text);
	return found;
}

/* rec_refused goes back to the verdict on a create that was refused. */
static ConcordRequest *
rec_refused(ConcordExchange *exchange)
{
	RecState   *state = exchange->state;

	exchange->outcome = state->refused_outcome;
	exchange->rule = state->refused_rule;
	exchange->error = state->refused_error;
	exchange->status = state->refused_status;
	return NULL;
}

/* rec_after_create judges the answer to a create. */
static ConcordRequest *
rec_after_create(ConcordExchange *exchange, const ConcordResponse *response,
				 const ConcordDialect *dialect)
{
	RecState   *state = exchange->state;

	concord_outcome_judge(exchange, response);
	if (exchange->outcome == CONCORD_OUTCOME_DONE)
		return rec_done(exchange, response, dialect);
	if (state->refused || state->updated ||
		!rec_may_exist(exchange, response))
		return NULL;
	state->refused = true;
	state->refused_outcome = exchange->outcome;
	state->refused_rule = exchange->rule;
	state->refused_error = exchange->error;
	state->refused_status = exchange->status;
	return rec_send(exchange, REC_PROBE, dialect);
}

/* rec_holds says whether an answer shows the record as a create makes it. */
static bool
rec_holds(const ConcordExchange *exchange, const ConcordResponse *response)
{
	StringInfoData body;
	bool		holds;

	initStringInfo(&body);
	concord_body_write(exchange->mapping, exchange->mapped,
					   CONCORD_BODY_CREATING | CONCORD_BODY_KEY, &body);
	holds = concord_answer_holds(response, body.data, body.len);
	pfree(body.data);
	return holds;
}

/* rec_after_probe judges the look whether a record exists. */
static ConcordRequest *
rec_after_probe(ConcordExchange *exchange, const ConcordResponse *response,
				const ConcordDialect *dialect)
{
	RecState   *state = exchange->state;
	const char *mode = rec_if_match(exchange);

	if (rec_success(response) && rec_holds(exchange, response))
	{
		exchange->status = response->status;
		concord_outcome_set(exchange, CONCORD_OUTCOME_DONE, "already there", NULL);
		return rec_done(exchange, response, dialect);
	}
	if (rec_success(response) ||
		(response->transfer == CONCORD_TRANSFER_TOO_LARGE &&
		 response->status >= 200 && response->status < 300))
	{
		if (dialect->tag != NULL && strcmp(mode, "etag") == 0)
			state->if_match = dialect->tag(response);
		return rec_send(exchange, REC_UPDATE, dialect);
	}
	if (rec_gone(response))
	{
		if (state->refused)
			return rec_refused(exchange);
		return rec_send(exchange, REC_CREATE, dialect);
	}
	concord_outcome_judge(exchange, response);
	if (exchange->outcome != CONCORD_OUTCOME_DEAD)
		return NULL;
	/* a system that cannot be asked: its own idempotency has to do */
	if (state->refused)
		return state->refused_status == 409 ?
			rec_send(exchange, REC_UPDATE, dialect) : rec_refused(exchange);
	return rec_send(exchange, REC_CREATE, dialect);
}

/*
 * rec_precondition treats 428 and 412 of an update or deletion; true where the
 * request is to be made again in some way.
 */
static bool
rec_precondition(ConcordExchange *exchange, const ConcordResponse *response,
				 const ConcordDialect *dialect, RecPhase again,
				 ConcordRequest **request)
{
	RecState   *state = exchange->state;

	if (response->transfer != CONCORD_TRANSFER_OK || dialect->tag == NULL ||
		strcmp(rec_if_match(exchange), "none") == 0)
		return false;
	if (response->status == 428 && state->if_match == NULL)
	{
		state->if_match = "*";
		state->star = true;
		*request = rec_send(exchange, again, dialect);
		return true;
	}
	if (response->status == 412 && state->if_match != NULL)
	{
		state->after_tag = again;
		*request = rec_send(exchange, REC_TAG, dialect);
		return true;
	}
	return false;
}

/* rec_after_update judges the answer to an update. */
static ConcordRequest *
rec_after_update(ConcordExchange *exchange, const ConcordResponse *response,
				 const ConcordDialect *dialect)
{
	RecState   *state = exchange->state;
	ConcordRequest *request;

	if (rec_precondition(exchange, response, dialect, REC_UPDATE, &request))
		return request;
	concord_outcome_judge(exchange, response);
	if (exchange->outcome == CONCORD_OUTCOME_DONE)
	{
		rec_done(exchange, response, dialect);
		if (state->keys == exchange->mapped->keys ||
			exchange->mapping->options.remote_id_assigned)
			return NULL;
		return rec_send(exchange, REC_MOVED, dialect);
	}
	if (rec_gone(response))
	{
		if (exchange->mapped->deleting)
		{
			concord_outcome_set(exchange, CONCORD_OUTCOME_DONE, "gone", NULL);
			exchange->etag = "";
			return NULL;
		}
		if (!state->created)
			return rec_send(exchange, REC_CREATE, dialect);
	}
	return NULL;
}

/* rec_after_delete judges the answer to a deletion. */
static ConcordRequest *
rec_after_delete(ConcordExchange *exchange, const ConcordResponse *response,
				 const ConcordDialect *dialect)
{
	RecPhase	phase = exchange->phase;
	ConcordRequest *request;

	if (rec_precondition(exchange, response, dialect, phase, &request))
		return request;
	concord_outcome_judge(exchange, response);
	if (rec_gone(response))
		concord_outcome_set(exchange, CONCORD_OUTCOME_DONE, "gone", NULL);
	if (exchange->outcome != CONCORD_OUTCOME_DONE)
		return NULL;
	if (phase == REC_RECREATE)
		return rec_send(exchange, REC_CREATE, dialect);
	return rec_done(exchange, response, dialect);
}

/* rec_after_tag goes on with the tag that was read again. */
static ConcordRequest *
rec_after_tag(ConcordExchange *exchange, const ConcordResponse *response,
			  const ConcordDialect *dialect)
{
	RecState   *state = exchange->state;

	if (rec_success(response))
	{
		state->if_match = dialect->tag(response);
		return rec_send(exchange, state->after_tag, dialect);
	}
	if (rec_gone(response))
	{
		if (state->after_tag == REC_DELETE)
		{
			concord_outcome_set(exchange, CONCORD_OUTCOME_DONE, "gone", NULL);
			exchange->etag = "";
			return NULL;
		}
		return rec_send(exchange, REC_CREATE, dialect);
	}
	concord_outcome_judge(exchange, response);
	return NULL;
}

/* rec_after_moved judges the look whether a changed key has arrived. */
static ConcordRequest *
rec_after_moved(ConcordExchange *exchange, const ConcordResponse *response,
				const ConcordDialect *dialect)
{
	if (rec_gone(response))
		return rec_send(exchange, REC_RECREATE, dialect);
	concord_outcome_judge(exchange, response);
	/* a system that cannot be asked is believed */
	if (exchange->outcome == CONCORD_OUTCOME_DEAD)
		concord_outcome_set(exchange, CONCORD_OUTCOME_DONE, "2xx", NULL);
	return NULL;
}

/* concord_record_next is next() of the protocols that address records. */
ConcordRequest *
concord_record_next(ConcordExchange *exchange, const ConcordResponse *response,
					const ConcordDialect *dialect)
{
	if (response == NULL)
		return rec_start(exchange, dialect);
	switch ((RecPhase) exchange->phase)
	{
		case REC_START:
			break;
		case REC_CREATE:
			return rec_after_create(exchange, response, dialect);
		case REC_UPDATE:
			return rec_after_update(exchange, response, dialect);
		case REC_DELETE:
		case REC_RECREATE:
			return rec_after_delete(exchange, response, dialect);
		case REC_PROBE:
			return rec_after_probe(exchange, response, dialect);
		case REC_TAG:
			return rec_after_tag(exchange, response, dialect);
		case REC_MOVED:
			return rec_after_moved(exchange, response, dialect);
	}
	elog(ERROR, "unexpected phase %d of an exchange", exchange->phase);
	return NULL;
}
