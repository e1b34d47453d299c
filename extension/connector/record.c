/*-------------------------------------------------------------------------
 *
 * record.c
 *	  The way of one record through a system: create, update, delete by key.
 *
 * Shared by the protocols that address records; a dialect writes the requests.
 *
 *	START ──► CREATE ◄────────────┐ gone
 *	  │         │ may exist       │
 *	  │         ▼                 │
 *	  ├─────► PROBE ──exists──► UPDATE ◄──► TAG (conflict: read the tag again)
 *	  ├─────────────────────────► │ ──key changed──► MOVED ──gone──► RECREATE
 *	  ├─────► RECREATE (delete the old key) ──► CREATE
 *	  ├─────► FIND ──found──► UPDATE, otherwise CREATE
 *	  └─────► DELETE ◄──► TAG
 *
 * What an answer means (done, exists, gone, conflict, ...) is said by outcome
 * rules; here is what follows from it.
 *
 * - A create whose earlier attempt may have arrived, and one that is refused
 *   as if the record existed, looks before it writes: a GET by key decides
 *   between update and create.
 * - An update of a record that no link knows is tried first when the event is
 *   an update, for the row may be older than the mapping; gone makes a create.
 * - A tag that is missing where the system wants one (428) is replaced by "*".
 * - Conflict: a tag that is stale (412) is read again and the write repeated,
 *   for what is pushed is ours to overwrite; REC_MAX_CONFLICTS times, then the
 *   delivery is tried again later, which counts.  So is a conflict of a request
 *   that had no tag.
 * - A deletion of what is gone is done.
 * - An update that changed the key (verb rename, if there is one) is followed by a
 *   look at the new key: where that is not there, by delete and create.
 * - Where the system gives ids, a create is done when its id is known.  What
 *   is no JSON is nobody's answer: unknown.  Without an id in it the record is
 *   dead, because another attempt would make a second one.
 * - There, too, a create that may have arrived looks first, by our key, where
 *   the system can be asked so (FIND).  Several records with our key are for a
 *   person to tell apart.
 * - An answer that names another record than the one asked for is no answer.
 * - What a statement has written to a foreign table (mapped->written) means that
 *   record in that version: what exists already is not updated, what is gone not
 *   created, and a stale tag is for a person to look at.  Where an earlier attempt
 *   may have arrived, a look tells whether the record is as it made it.
 *
 * The number of requests is bounded by REC_MAX_REQUESTS; a system that sends
 * us round in circles ends as a retry.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/answer.h"

#include "utils/memutils.h"

#define REC_MAX_REQUESTS	12
#define REC_MAX_CONFLICTS	3

/* exchange->phase: what the request in flight is for. */
typedef enum RecPhase
{
	REC_START,
	REC_CREATE,					/* next: done, PROBE */
	REC_UPDATE,					/* next: done, CREATE, TAG, UPDATE, MOVED */
	REC_DELETE,					/* next: done, TAG, DELETE */
	REC_RECREATE,				/* next: CREATE, TAG, RECREATE */
	REC_PROBE,					/* next: done, UPDATE, CREATE */
	REC_FIND,					/* next: UPDATE, CREATE */
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
	int			conflicts;
	RecPhase	after_tag;
	bool		created;		/* a create was tried */
	bool		updated;		/* an update was tried */

	/* a create was refused in a way that may mean that it exists */
	bool		refused;
	ConcordOutcome refused_outcome;
	char	   *refused_rule;
	char	   *refused_error;
	int			refused_status;
	char	   *refused_request;
	char	   *refused_answer;
} RecState;

/* rec_judge judges an answer and says whether the request was carried out. */
static bool
rec_judge(ConcordExchange *exchange, const ConcordResponse *response)
{
	concord_outcome_judge(exchange, response);
	return exchange->outcome == CONCORD_OUTCOME_DONE;
}

/* rec_gone says whether the answer says that there is no such record. */
static bool
rec_gone(const ConcordExchange *exchange)
{
	return exchange->effect == CONCORD_EFFECT_GONE;
}

/* rec_end_gone ends an exchange about a record that is not to be there. */
static ConcordRequest *
rec_end_gone(ConcordExchange *exchange)
{
	concord_outcome_set(exchange, CONCORD_OUTCOME_DONE, "gone", NULL);
	exchange->etag = "";
	return NULL;
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
			exchange->renames = false;
			state->created = true;
			state->if_match = NULL;
			break;
		case REC_UPDATE:
			verb = exchange->renames ? CONCORD_VERB_RENAME : CONCORD_VERB_UPDATE;
			state->updated = true;
			/* a create that turned out to be an update has dropped it */
			if (state->if_match == NULL && dialect->tag != NULL &&
				strcmp(rec_if_match(exchange), "star") == 0)
				state->if_match = "*";
			break;
		case REC_DELETE:
		case REC_RECREATE:
			verb = CONCORD_VERB_DELETE;
			break;
		case REC_FIND:
			verb = CONCORD_VERB_FIND;
			keys = exchange->mapped->keys;
			break;
		case REC_MOVED:
			keys = exchange->mapped->keys;
			break;
		default:
			break;
	}
	/* to outcome rules a search is a read like any other, and this an update */
	exchange->verb = verb == CONCORD_VERB_FIND ? CONCORD_VERB_PROBE :
		phase == REC_UPDATE ? CONCORD_VERB_UPDATE : verb;
	return dialect->request(exchange, verb, keys,
							phase == REC_UPDATE || verb == CONCORD_VERB_DELETE ?
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

/* rec_can_find says whether the system can be asked for a record by our key. */
static bool
rec_can_find(const ConcordExchange *exchange, const ConcordDialect *dialect)
{
	return exchange->mapping->options.remote_id_assigned &&
		exchange->mapped->written == NULL && dialect->finds != NULL && dialect->finds(exchange) != NULL;
}

/* rec_key_is_given: the system will give a key to what a statement creates. */
static bool
rec_key_is_given(const ConcordExchange *exchange)
{
	return exchange->mapping->options.remote_id_assigned &&
		exchange->mapped->written != NULL && !exchange->link.exists;
}

/* rec_id_path says where an answer has the record's id; NULL: nowhere. */
static const char *
rec_id_path(const ConcordExchange *exchange)
{
	const char *path = exchange->mapping->options.remote_id_path;

	return path ? path : exchange->server->connector->remote_id_path;
}

/* rec_has_own_id: the link has an id that the system gave, not the key's text. */
static bool
rec_has_own_id(const ConcordExchange *exchange)
{
	const ConcordValue *old_keys = exchange->mapped->old_keys;

	return exchange->link.remote_id != NULL && rec_id_path(exchange) != NULL &&
		(old_keys == NULL ||
		 strcmp(exchange->link.remote_id,
				concord_key_text(exchange->mapping, old_keys)) != 0);
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
	problem = rec_key_is_given(exchange) ? NULL :
		concord_key_problem(exchange->mapping, mapped->keys);
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
		exchange->renames = rec_has_own_id(exchange) &&
			exchange->server->connector->verbs[CONCORD_VERB_RENAME].path != NULL &&
			!exchange->mapping->options.remote_id_assigned;
		return rec_send(exchange,
						((dialect->key_is_fixed || exchange->server->connector->key_is_fixed) &&
						 !exchange->mapping->options.remote_id_assigned &&
						 !exchange->renames) ||
						exchange->mapping->options.recreate_on_key_change ?
						REC_RECREATE : REC_UPDATE, dialect);
	}
	if (!addressed && rec_can_find(exchange, dialect) &&
		(exchange->was_unknown || exchange->link.exists ||
		 (exchange->event != NULL &&
		  exchange->event->op == CONCORD_OP_UPDATE && !exchange->inserted)))
		return rec_send(exchange, REC_FIND, dialect);
	if (exchange->link.exists && !addressed && !mapped->deleting &&
		exchange->mapping->options.parent != NULL)
	{
		concord_outcome_set(exchange, CONCORD_OUTCOME_DEAD, "link",
							"the answer that created it with its parent did not tell its id");
		return NULL;
	}
	if (exchange->link.exists || mapped->deleting)
		return rec_send(exchange, addressed ? REC_UPDATE : REC_CREATE, dialect);
	if (!addressed)
		return rec_send(exchange, REC_CREATE, dialect);
	if (exchange->was_unknown && !exchange->server->connector->create_repeats)
		return rec_send(exchange, REC_PROBE, dialect);
	if (exchange->event != NULL && exchange->event->op == CONCORD_OP_UPDATE &&
		!exchange->inserted)
		return rec_send(exchange, REC_UPDATE, dialect);
	return rec_send(exchange, REC_CREATE, dialect);
}

/* rec_is_id: one that would name another address, such as the collection, is none. */
static bool
rec_is_id(const char *id)
{
	Size		len = id == NULL ? 0 : strlen(id);

	return len > 0 && !(len <= 2 && strspn(id, ".") == len);
}

/* rec_answer_id reads the id that an answer's body has of the record, or NULL. */
static char *
rec_answer_id(const ConcordExchange *exchange, const ConcordResponse *response)
{
	const char *path = rec_id_path(exchange);
	char	   *id;

	if (path == NULL)
		return NULL;
	id = concord_answer_path(response, path);
	/* OData 2 wraps its answers */
	if (id == NULL && exchange->server->connector->odata2)
		id = concord_answer_path(response, psprintf("d.%s", path));
	return rec_is_id(id) ? id : NULL;
}

/* rec_remote_id reads the id that an answer gives the record, or NULL. */
static char *
rec_remote_id(const ConcordExchange *exchange, const ConcordResponse *response)
{
	char	   *id = concord_answer_is_json(response) ?
		rec_answer_id(exchange, response) : NULL;

	if (id == NULL && exchange->phase == REC_CREATE &&
		exchange->mapping->options.remote_id_assigned)
		id = concord_location_id(response);
	return id;
}

/*
 * rec_other_record returns the id of an update's answer where it is not that
 * of the record.  An id that equals the key's text was not learned from the
 * system, which may have ids of its own.
 */
static const char *
rec_other_record(const ConcordExchange *exchange,
				 const ConcordResponse *response)
{
	const char *known = exchange->link.remote_id;
	const char *id;

	if (known == NULL || exchange->mapped->old_keys != NULL)
		return NULL;
	if (!exchange->mapping->options.remote_id_assigned &&
		strcmp(known, concord_key_text(exchange->mapping,
									   exchange->mapped->keys)) == 0)
		return NULL;
	id = rec_answer_id(exchange, response);
	return id != NULL && strcmp(id, known) != 0 ? id : NULL;
}

/*
 * rec_check_id looks whether a carried out create or update is about our
 * record; false with another outcome where it is not known to be.
 */
static bool
rec_check_id(ConcordExchange *exchange, const ConcordResponse *response)
{
	const char *other;
	bool		whole;

	if (exchange->phase == REC_UPDATE)
	{
		other = rec_other_record(exchange, response);
		if (other != NULL)
			concord_outcome_set(exchange, CONCORD_OUTCOME_UNKNOWN,
								"another record",
								psprintf("the answer is about record \"%s\", not \"%s\"",
										 other, exchange->link.remote_id));
		return other == NULL;
	}
	if (!exchange->mapping->options.remote_id_assigned)
		return true;
	whole = response->body_len == 0 || concord_answer_is_json(response);
	/* half an answer may have half an id */
	if (whole ? rec_remote_id(exchange, response) != NULL :
		concord_location_id(response) != NULL)
		return true;
	if (!whole)
		concord_outcome_set(exchange, CONCORD_OUTCOME_UNKNOWN, "not an answer",
							psprintf("HTTP status %d with something that is not whole JSON, where the new record's id was to be",
									 response->status));
	else
		concord_outcome_set(exchange, CONCORD_OUTCOME_DEAD, "no id",
							psprintf("HTTP status %d: the record was created, and the answer does not say with which id (remote_id_path)",
									 response->status));
	return false;
}

/* rec_done ends an exchange well, with what the answer says of the record. */
static ConcordRequest *
rec_done(ConcordExchange *exchange, const ConcordResponse *response,
		 const ConcordDialect *dialect)
{
	RecState   *state = exchange->state;
	MemoryContext old = MemoryContextSwitchTo(exchange->context);
	char	   *tag = dialect->tag != NULL ? dialect->tag(response) : NULL;

	if (exchange->phase == REC_DELETE)
		exchange->etag = "";
	else
	{
		if (exchange->phase == REC_CREATE || exchange->phase == REC_PROBE ||
			exchange->link.remote_id == NULL || exchange->mapped->old_keys != NULL)
			exchange->remote_id = rec_remote_id(exchange, response);
		if (exchange->remote_id == NULL &&
			!exchange->mapping->options.remote_id_assigned &&
			!rec_has_own_id(exchange))
			exchange->remote_id = concord_key_text(exchange->mapping,
												   exchange->mapped->keys);
		if (exchange->phase == REC_CREATE)
			concord_children_answer(exchange, response);
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

/* rec_refused goes back to the verdict on a create that was refused. */
static ConcordRequest *
rec_refused(ConcordExchange *exchange)
{
	RecState   *state = exchange->state;

	exchange->outcome = state->refused_outcome;
	exchange->rule = state->refused_rule;
	exchange->error = state->refused_error;
	exchange->status = state->refused_status;
	exchange->blamed_request = state->refused_request;
	exchange->blamed_answer = state->refused_answer;
	return NULL;
}

/* rec_refuse keeps the verdict on a request that was refused, and looks. */
static ConcordRequest *
rec_refuse(ConcordExchange *exchange, const ConcordResponse *response,
		   const ConcordDialect *dialect)
{
	RecState   *state = exchange->state;

	state->refused = true;
	state->refused_outcome = exchange->outcome;
	state->refused_rule = exchange->rule;
	state->refused_error = exchange->error;
	state->refused_status = exchange->status;
	state->refused_request = concord_request_text(exchange->request);
	state->refused_answer = concord_response_text(response,
												  CONCORD_EVIDENCE_ANSWER +
												  CONCORD_EVIDENCE_MORE);
	return rec_send(exchange, rec_can_find(exchange, dialect) ? REC_FIND :
					REC_PROBE, dialect);
}

/* rec_taken ends the create of a record that somebody else has made. */
static ConcordRequest *
rec_taken(ConcordExchange *exchange)
{
	RecState   *state = exchange->state;

	/* an update whose earlier attempt has not arrived is here, too */
	if (state->refused && state->updated)
		return rec_refused(exchange);
	concord_outcome_set(exchange, CONCORD_OUTCOME_DEAD, "exists",
						"the system has a record with this key already");
	return NULL;
}

/* rec_stale ends what a statement wrote to a record that somebody has changed. */
static ConcordRequest *
rec_stale(ConcordExchange *exchange, const ConcordResponse *response,
		  const ConcordDialect *dialect)
{
	concord_outcome_set(exchange, CONCORD_OUTCOME_DEAD, "conflict",
						"the record is not as the statement has read it");
	if (!exchange->was_unknown || exchange->phase != REC_UPDATE)
		return NULL;
	return rec_refuse(exchange, response, dialect);
}

/* rec_after_create judges the answer to a create. */
static ConcordRequest *
rec_after_create(ConcordExchange *exchange, const ConcordResponse *response,
				 const ConcordDialect *dialect)
{
	RecState   *state = exchange->state;

	if (rec_judge(exchange, response))
		return rec_check_id(exchange, response) ?
			rec_done(exchange, response, dialect) : NULL;
	if (exchange->mapped->written != NULL &&
		exchange->effect == CONCORD_EFFECT_EXISTS && !exchange->was_unknown)
		return rec_taken(exchange);
	/* a changed key: its update may have arrived before, unanswered */
	if (state->refused ||
		(state->updated && exchange->mapped->old_keys == NULL) ||
		exchange->effect != CONCORD_EFFECT_EXISTS ||
		exchange->server->connector->create_repeats ||
		(exchange->mapping->options.remote_id_assigned &&
		 !rec_can_find(exchange, dialect)))
		return NULL;
	return rec_refuse(exchange, response, dialect);
}

/* rec_holds says whether an answer shows the record as a create makes it. */
static bool
rec_holds(const ConcordExchange *exchange, const ConcordResponse *response)
{
	StringInfoData body;
	bool		holds;

	initStringInfo(&body);
	concord_body_write(exchange->mapping, exchange->mapped,
					   CONCORD_BODY_CREATING | CONCORD_BODY_KEY |
					   CONCORD_BODY_NO_CHILDREN, &body);
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
	bool		there = rec_judge(exchange, response);

	if (there && rec_holds(exchange, response))
	{
		concord_outcome_set(exchange, CONCORD_OUTCOME_DONE, "already there", NULL);
		return rec_done(exchange, response, dialect);
	}
	if (there || (response->transfer == CONCORD_TRANSFER_TOO_LARGE &&
				  response->status >= 200 && response->status < 300))
	{
		if (exchange->mapped->written != NULL)
			return rec_taken(exchange);
		if (dialect->tag != NULL && strcmp(mode, "etag") == 0)
			state->if_match = dialect->tag(response);
		return rec_send(exchange, REC_UPDATE, dialect);
	}
	if (rec_gone(exchange))
	{
		if (state->refused)
			return rec_refused(exchange);
		return rec_send(exchange, REC_CREATE, dialect);
	}
	if (exchange->outcome != CONCORD_OUTCOME_DEAD)
		return NULL;
	/* a system that cannot be asked: its own idempotency has to do */
	if (state->refused)
		return state->refused_status == 409 && exchange->mapped->written == NULL ?
			rec_send(exchange, REC_UPDATE, dialect) : rec_refused(exchange);
	return rec_send(exchange, REC_CREATE, dialect);
}

/* rec_is_ours: the record that was found does not have another key than ours. */
static bool
rec_is_ours(ConcordExchange *exchange, const ConcordResponse *response,
			const char *path)
{
	const char *record;
	Size		len;

	return path == NULL ||
		!concord_path_value(path, response->body, response->body_len, &record, &len) ||
		concord_answer_key(exchange, record, len) != CONCORD_KEY_OTHER;
}

/* rec_after_find goes on with the record that has our key, or without. */
static ConcordRequest *
rec_after_find(ConcordExchange *exchange, const ConcordResponse *response,
			   const ConcordDialect *dialect)
{
	RecState   *state = exchange->state;
	const char *path = dialect->finds(exchange);
	char	   *record;
	const char *other = concord_path_second(path, &record);
	char	   *id;

	if (!rec_judge(exchange, response) && !rec_gone(exchange))
	{
		if (exchange->outcome != CONCORD_OUTCOME_DEAD)
			return NULL;
		/* a system that cannot be asked: its own idempotency has to do */
		return state->refused ? rec_refused(exchange) :
			rec_send(exchange, REC_CREATE, dialect);
	}
	/* what cannot be read does not say that there is no such record */
	if (!rec_gone(exchange) && response->body_len > 0 &&
		!concord_answer_is_json(response))
	{
		concord_outcome_set(exchange, CONCORD_OUTCOME_UNKNOWN, "not an answer",
							psprintf("HTTP status %d with something that is not whole JSON, where records with our key were asked for",
									 response->status));
		return NULL;
	}
	id = concord_answer_path(response, path);
	if (!rec_is_id(id))
	{
		if (state->refused)
			return rec_refused(exchange);
		return rec_send(exchange, REC_CREATE, dialect);
	}
	if (other != NULL && concord_answer_path(response, other) != NULL)
	{
		concord_outcome_set(exchange, CONCORD_OUTCOME_DEAD, "several records",
							"the system has several records with this key");
		return NULL;
	}
	if (!rec_is_ours(exchange, response, record))
	{
		concord_outcome_set(exchange, CONCORD_OUTCOME_DEAD, "another record",
							psprintf("the system has found record \"%s\" for our key, and that record's key is another one",
									 id));
		return NULL;
	}
	exchange->link.remote_id = exchange->remote_id = id;
	return rec_send(exchange, REC_UPDATE, dialect);
}

/*
 * rec_again makes an update or deletion again that wants a tag, or another
 * one; false where it is not about that.  The answer has been judged.
 */
static bool
rec_again(ConcordExchange *exchange, const ConcordResponse *response,
		  const ConcordDialect *dialect, RecPhase again,
		  ConcordRequest **request)
{
	RecState   *state = exchange->state;

	if (dialect->tag == NULL || strcmp(rec_if_match(exchange), "none") == 0)
		return false;
	if (response->status == 428 && state->if_match == NULL &&
		exchange->outcome == CONCORD_OUTCOME_DEAD)
	{
		state->if_match = "*";
		state->star = true;
		*request = rec_send(exchange, again, dialect);
		return true;
	}
	if (exchange->outcome == CONCORD_OUTCOME_CONFLICT &&
		state->if_match != NULL && exchange->mapped->written != NULL)
	{
		*request = rec_stale(exchange, response, dialect);
		return true;
	}
	if (exchange->outcome == CONCORD_OUTCOME_CONFLICT &&
		state->if_match != NULL && state->conflicts++ < REC_MAX_CONFLICTS)
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

	if (rec_judge(exchange, response))
	{
		if (!rec_check_id(exchange, response))
			return NULL;
		rec_done(exchange, response, dialect);
		if (state->keys == exchange->mapped->keys ||
			exchange->mapping->options.remote_id_assigned)
			return NULL;
		return rec_send(exchange, REC_MOVED, dialect);
	}
	if (rec_again(exchange, response, dialect, REC_UPDATE, &request))
		return request;
	if (rec_gone(exchange))
	{
		if (exchange->mapped->deleting)
			return rec_end_gone(exchange);
		if (exchange->mapped->written != NULL)
			concord_outcome_set(exchange, CONCORD_OUTCOME_DEAD, "gone",
								"the record that the statement has read is not there any more");
		else if (!state->created)
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

	if (!rec_judge(exchange, response))
	{
		if (rec_again(exchange, response, dialect, phase, &request))
			return request;
		return NULL;
	}
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

	if (rec_judge(exchange, response))
	{
		state->if_match = dialect->tag(response);
		return rec_send(exchange, state->after_tag, dialect);
	}
	if (rec_gone(exchange))
	{
		if (state->after_tag == REC_DELETE || exchange->mapped->deleting)
			return rec_end_gone(exchange);
		return rec_send(exchange, REC_CREATE, dialect);
	}
	return NULL;
}

/* rec_after_moved judges the look whether a changed key has arrived. */
static ConcordRequest *
rec_after_moved(ConcordExchange *exchange, const ConcordResponse *response,
				const ConcordDialect *dialect)
{
	if (rec_judge(exchange, response))
		return NULL;
	if (rec_gone(exchange))
		return rec_send(exchange, REC_RECREATE, dialect);
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
		case REC_FIND:
			return rec_after_find(exchange, response, dialect);
		case REC_TAG:
			return rec_after_tag(exchange, response, dialect);
		case REC_MOVED:
			return rec_after_moved(exchange, response, dialect);
	}
	elog(ERROR, "unexpected phase %d of an exchange", exchange->phase);
	return NULL;
}
