/*-------------------------------------------------------------------------
 *
 * service.c
 *	  What an address of the fake ERP does: OData, plain REST, hooks.
 *
 * service_locate() finds out which set and which record a request means, so
 * that faults can be scripted by key; service_act() then does it.  The two
 * styles differ only in how a key is written in the address and in how an
 * entity looks in an answer; what POST, PATCH, PUT and DELETE do is the same
 * code, bent by the habits of the set (store.h).
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "request.h"

/* What an address means. */
typedef enum Target
{
	TARGET_NOTHING,
	TARGET_DOCUMENT,			/* the service root or $metadata */
	TARGET_SET,
	TARGET_COUNT,
	TARGET_RECORD,
	TARGET_HOOK,
	TARGET_AUTH,
	TARGET_LIST,
	TARGET_BATCH
} Target;

typedef struct Place
{
	Target		target;
	Set		   *set;
	Object		key_fields;		/* what the address says of the key */
} Place;

static Place place;				/* of the request being handled */

/* Returns the set of a path; a change makes it unless the sandbox is strict. */
static Set *
locate_set(const Request *req, const char *path)
{
	Set		   *set = set_find(path);

	if (set == NULL && !options.strict && strcmp(req->method, "GET") != 0 &&
		strcmp(req->method, "HEAD") != 0)
		set = set_create(path);
	return set;
}

static void
locate_odata(Request *req)
{
	const char *open = strchr(req->path, '(');
	const char *end = req->path + strlen(req->path);
	const char *tail = strrchr(req->path, '/');

	if (open != NULL && end[-1] == ')')
	{
		char	   *predicate = xstrndup(open + 1, (size_t) (end - open - 2));

		req->set_path = xstrndup(req->path, (size_t) (open - req->path));
		place.set = locate_set(req, req->set_path);
		if (place.set &&
			key_of_predicate(place.set, predicate, &req->key, &place.key_fields))
			place.target = TARGET_RECORD;
		free(predicate);
		return;
	}
	if (strcmp(tail, "/") == 0 || strcmp(tail, "/$metadata") == 0)
	{
		place.target = TARGET_DOCUMENT;
		return;
	}
	if (strcmp(tail, "/$count") == 0)
		end = tail;
	req->set_path = xstrndup(req->path, (size_t) (end - req->path));
	place.set = locate_set(req, req->set_path);
	if (place.set != NULL)
		place.target = end == tail ? TARGET_COUNT : TARGET_SET;
}

static void
locate_rest(Request *req)
{
	const char *tail = strrchr(req->path, '/');

	if (strcmp(req->path, "/rest/") == 0)
	{
		place.target = TARGET_DOCUMENT;
		return;
	}
	if (strcmp(req->method, "POST") == 0 || set_find(req->path))
	{
		req->set_path = xstrdup(req->path);
		place.set = locate_set(req, req->path);
		place.target = place.set ? TARGET_SET : TARGET_NOTHING;
		return;
	}
	req->set_path = xstrndup(req->path, (size_t) (tail - req->path));
	place.set = locate_set(req, req->set_path);
	if (place.set == NULL || tail[1] == '\0')
		return;
	req->key = key_of_segment(place.set, tail + 1, &place.key_fields);
	place.target = TARGET_RECORD;
}

/* Reads the sequence number of a body, where the set has one. */
static void
locate_sequence(Request *req, const Object *object)
{
	const char *raw = place.set && place.set->sequence ?
		object_get(object, place.set->sequence) : NULL;

	if (raw != NULL)
	{
		req->sequence = strtoll(raw + (raw[0] == '"'), NULL, 10);
		req->has_sequence = true;
	}
}

static void
locate_hook(Request *req)
{
	const char *subject = request_header(req, "ce-subject");

	req->set_path = xstrdup(req->path);
	place.set = locate_set(req, req->path);
	place.target = TARGET_HOOK;
	if (subject != NULL)
		req->key = xstrdup(subject);
}

/* Finds the set and the record that a request is about. */
void
service_locate(Request *req)
{
	object_free(&place.key_fields);
	memset(&place, 0, sizeof(place));
	if (batch_is(req))
	{
		place.target = TARGET_BATCH;
		return;
	}
	if (text_starts(req->path, "/odata/"))
		locate_odata(req);
	else if (text_starts(req->path, "/rest/"))
		locate_rest(req);
	else if (text_starts(req->path, "/hook/"))
		locate_hook(req);
	else if (text_starts(req->path, "/list/"))
		place.target = TARGET_LIST;
	if (text_starts(req->path, "/auth/") || strstr(req->path, "/Login") != NULL)
		place.target = TARGET_AUTH;

	/* A body is looked into for the key of a POST and the sequence. */
	if (req->body.len > 0 && place.set != NULL && !req->body_too_large)
	{
		Object		object;
		char	   *why = NULL;

		if (object_parse(&object, req->body.data, req->body.len, &why))
		{
			if (req->key == NULL &&
				(place.target != TARGET_HOOK || place.set->nkey > 0))
				(void) key_of_object(place.set, &object, &req->key);
			locate_sequence(req, &object);
		}
		object_free(&object);
		free(why);
	}
}

/* Writes an entity as its service shows it. */
static void
show_entity(Buf *buf, const Set *set, const Entity *entity, bool alone)
{
	Buf			head = {0};

	if (set->typed && alone)
		buf_printf(&head, "\"@odata.context\":\"$metadata#%s/$entity\"",
				   strrchr(set->path, '/') + 1);
	if (set->etag && set->typed)
		buf_printf(&head, "%s\"@odata.etag\":\"W/\\\"%lld\\\"\"",
				   head.len ? "," : "", (long long) entity->version);
	object_write(buf, &entity->object, head.len ? head.data : NULL);
	buf_free(&head);
}

/* Says where the new entity is to be found. */
static void
answer_location(Request *req)
{
	Buf			location = {0};
	Buf			key = {0};

	for (const char *p = req->key; *p; p++)
		if (strchr("%/?# \"<>", *p) || *p < 0)
			buf_printf(&key, "%%%02X", (unsigned char) *p);
		else
			buf_char(&key, *p);
	buf_str(&location, place.set->path);
	buf_char(&location, place.set->typed ? '(' : '/');
	buf_add(&location, key.data, key.len);
	if (place.set->typed)
		buf_char(&location, ')');
	answer_header(&req->answer, "Location", location.data);
	buf_free(&location);
	buf_free(&key);
}

/* Answers a change with the entity, or with nothing where that is wanted. */
static void
answer_entity(Request *req, const Entity *entity, int status)
{
	const char *prefer = request_header(req, "prefer");
	Answer	   *answer = &req->answer;
	char		etag[40];

	if (place.set->etag)
	{
		snprintf(etag, sizeof(etag), "W/\"%lld\"", (long long) entity->version);
		answer_header(answer, "ETag", etag);
	}
	if (status == 201)
		answer_location(req);
	answer->status = status;
	if (strcmp(req->method, "GET") != 0 &&
		(place.set->empty_answer ||
		 (prefer && strstr(prefer, "return=minimal"))))
	{
		if (status == 200 || place.set->typed)
			answer->status = 204;
		return;
	}
	show_entity(&answer->body, place.set, entity, true);
	answer_header(answer, "Content-Type", "application/json");
}

/*
 * Checks If-Match and If-None-Match against what is there; answers and
 * returns false when the request must not go on.
 */
static bool
precondition_holds(Request *req, const Entity *entity)
{
	const char *match = request_header(req, "if-match");
	const char *none = request_header(req, "if-none-match");
	char		etag[40];

	if (none && strcmp(none, "*") == 0 && entity)
	{
		answer_error(&req->answer, 412, "412", "Precondition Failed");
		return false;
	}
	if (entity && match == NULL && place.set->match_required)
	{
		answer_error(&req->answer, 428, "428", "Precondition Required");
		return false;
	}
	if (match && entity == NULL &&
		(strcmp(req->method, "PUT") == 0 || place.set->patch_creates))
	{
		answer_error(&req->answer, 412, "412", "Precondition Failed");
		return false;
	}
	if (match && entity && place.set->etag && strcmp(match, "*") != 0)
	{
		snprintf(etag, sizeof(etag), "W/\"%lld\"", (long long) entity->version);
		if (strcmp(match, etag) != 0)
		{
			answer_error(&req->answer, 412, "412", "Precondition Failed");
			return false;
		}
	}
	return true;
}

/* Parses the body as an object, or answers 400, 413 or 415. */
static bool
read_object(Request *req, Object *object)
{
	const char *type = request_header(req, "content-type");
	char	   *why = NULL;

	memset(object, 0, sizeof(*object));
	if (req->body_too_large)
		answer_error(&req->answer, 413, "413", "request entity too large");
	else if (type == NULL || !text_starts(type, "application/json"))
		answer_error(&req->answer, 415, "415", "Unsupported Media Type");
	else if (!object_parse(object, req->body.data ? req->body.data : "",
						   req->body.len, &why))
		answer_error(&req->answer, 400, "400", why);
	else
		return true;
	free(why);
	return false;
}

/* Stores a new entity and answers 201. */
static void
create_entity(Request *req, Object *object)
{
	Entity	   *entity = entity_new(object, place.set);

	req->acted = true;
	answer_entity(req, entity, 201);
	if (place.set->keep)
		map_set(&place.set->entities, req->key, entity);
	else
		entity_free(entity);
}

static void
act_post(Request *req)
{
	Set		   *set = place.set;
	Object		object;
	char		number[24];

	if (!read_object(req, &object))
		return;
	if (req->key == NULL && set->assign && set->nkey == 1)
	{
		snprintf(number, sizeof(number), "%lld", (long long) set->next_id++);
		object_put(&object, set->key[0], number);
		(void) key_of_object(set, &object, &req->key);
	}
	if (req->key == NULL)
		answer_error(&req->answer, 400, "400", "the key is missing");
	else if (map_get(&set->entities, req->key))
		answer_error(&req->answer, set->exists_status, "EXISTS",
					 "an entity with this key exists");
	else
		create_entity(req, &object);
	object_free(&object);
}

/* PATCH merges, PUT replaces; either may create, as the set's habits say. */
static void
act_change(Request *req, bool replace)
{
	Entity	   *entity = map_get(&place.set->entities, req->key);
	Object		object;

	if (!precondition_holds(req, entity) || !read_object(req, &object))
		return;
	if (entity == NULL)
	{
		object_merge(&object, &place.key_fields);
		if ((replace ? place.set->put_creates : place.set->patch_creates) ||
			!place.set->keep)
			create_entity(req, &object);
		else
			answer_error(&req->answer, 404, "404", "Not Found");
	}
	else
	{
		if (replace)
			object_free(&entity->object);
		object_merge(&entity->object, &object);
		/* The address decides what the key is, whatever the body says. */
		object_merge(&entity->object, &place.key_fields);
		entity->version = ++place.set->next_version;
		req->acted = true;
		answer_entity(req, entity, 200);
	}
	object_free(&object);
}

static void
act_delete(Request *req)
{
	Entity	   *entity = map_get(&place.set->entities, req->key);

	if (!precondition_holds(req, entity))
		return;
	if (entity == NULL && place.set->keep)
	{
		answer_error(&req->answer, 404, "404", "Not Found");
		return;
	}
	if (entity != NULL)
		entity_free(map_remove(&place.set->entities, req->key));
	req->acted = true;
	req->answer.status = 204;
}

/* Says whether an entity passes one term, "Name eq literal"; others pass. */
static bool
term_passes(const Entity *entity, char *text)
{
	char	   *eq = strstr(text, " eq ");
	char	   *wanted;
	const char *raw;
	char	   *value;
	bool		passes;

	if (eq == NULL)
		return true;
	*eq = '\0';
	wanted = eq + 4;
	raw = object_get(&entity->object, text);
	value = raw ? json_text(raw) : xstrdup("");
	if (wanted[0] == '\'' && strlen(wanted) > 1)
	{
		wanted[strlen(wanted) - 1] = '\0';
		wanted++;
	}
	passes = strcmp(value, wanted) == 0;
	free(value);
	return passes;
}

/* Finds " or " or " and " outside of quotes and parentheses. */
static char *
find_word(char *text, const char *word)
{
	int			depth = 0;
	bool		quoted = false;

	for (char *p = text; *p; p++)
	{
		if (*p == '\'')
			quoted = !quoted;
		else if (!quoted && (*p == '(' || *p == ')'))
			depth += *p == '(' ? 1 : -1;
		else if (!quoted && depth == 0 && strncmp(p, word, strlen(word)) == 0)
			return p;
	}
	return NULL;
}

/* Says whether an entity passes terms that are joined by and, or. */
static bool
terms_pass(const Entity *entity, char *text)
{
	static const char *const words[] = {" or ", " and "};
	size_t		len = strlen(text);

	for (int i = 0; i < 2; i++)
	{
		char	   *word = find_word(text, words[i]);

		if (word != NULL)
		{
			bool		left;

			*word = '\0';
			left = terms_pass(entity, text);
			if (left == (i == 0))
				return left;
			return terms_pass(entity, word + strlen(words[i]));
		}
	}
	if (len > 1 && text[0] == '(' && text[len - 1] == ')')
	{
		text[len - 1] = '\0';
		return terms_pass(entity, text + 1);
	}
	return term_passes(entity, text);
}

/* Says whether an entity passes a $filter. */
static bool
filter_passes(const Entity *entity, const char *filter)
{
	char	   *text = xstrdup(filter);
	bool		passes;

	percent_decode(text);
	for (char *p = text; *p; p++)
		if (*p == '+')
			*p = ' ';
	passes = terms_pass(entity, text);
	free(text);
	return passes;
}

/* Returns the text behind "name=" in the query, or NULL. */
static char *
query_value(const Request *req, const char *name)
{
	const char *p = req->query;
	size_t		len = strlen(name);

	while (*p)
	{
		size_t		part = strcspn(p, "&");

		if (part > len && strncmp(p, name, len) == 0 && p[len] == '=')
			return xstrndup(p + len + 1, part - len - 1);
		p += part + (p[part] == '&');
	}
	return NULL;
}

static void
act_list(Request *req)
{
	Map		   *entities = &place.set->entities;
	char	   *top = query_value(req, "$top");
	char	   *skip = query_value(req, "$skip");
	char	   *filter = query_value(req, "$filter");
	long		left = top ? atol(top) : -1;
	long		pass = skip ? atol(skip) : 0;
	Buf		   *body = &req->answer.body;
	bool		first = true;

	buf_str(body, place.set->typed ? "{\"value\":[" : "[");
	for (size_t i = 0; i < entities->size && left != 0; i++)
	{
		Entity	   *entity = entities->slots[i].value;

		if (entity == NULL || (filter && !filter_passes(entity, filter)) ||
			pass-- > 0)
			continue;
		if (!first)
			buf_char(body, ',');
		show_entity(body, place.set, entity, false);
		first = false;
		left--;
	}
	buf_str(body, place.set->typed ? "]}" : "]");
	answer_header(&req->answer, "Content-Type", "application/json");
	req->answer.status = 200;
	free(top);
	free(skip);
	free(filter);
}

static void
act_document(Request *req)
{
	Map		   *all = set_all();
	Buf		   *body = &req->answer.body;
	bool		first = true;

	buf_str(body, "{\"@odata.context\":\"$metadata\",\"value\":[");
	for (size_t i = 0; i < all->size; i++)
	{
		const char *slash = all->slots[i].value ? strrchr(all->slots[i].key, '/') : NULL;
		size_t		len = strlen(req->path);

		if (slash == NULL ||
			(size_t) (slash + 1 - all->slots[i].key) != len ||
			strncmp(all->slots[i].key, req->path, len) != 0)
			continue;
		buf_printf(body, "%s{\"name\":\"%s\",\"url\":\"%s\"}",
				   first ? "" : ",", slash + 1, slash + 1);
		first = false;
	}
	buf_str(body, "]}");
	answer_header(&req->answer, "Content-Type", "application/json");
	answer_header(&req->answer, "OData-Version", "4.0");
	req->answer.status = 200;
}

/* A hook takes whatever comes. */
static void
act_hook(Request *req)
{
	if (strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0)
		req->answer.status = 200;
	else if (req->body_too_large)
		answer_error(&req->answer, 413, "413", "request entity too large");
	else
	{
		req->acted = true;
		req->answer.status = 204;
	}
}

static void
act_record(Request *req)
{
	Entity	   *entity;

	if (strcmp(req->method, "PATCH") == 0 || strcmp(req->method, "MERGE") == 0)
		act_change(req, false);
	else if (strcmp(req->method, "PUT") == 0)
		act_change(req, true);
	else if (strcmp(req->method, "DELETE") == 0)
		act_delete(req);
	else if (strcmp(req->method, "GET") != 0 && strcmp(req->method, "HEAD") != 0)
		answer_error(&req->answer, 405, "405", "Method Not Allowed");
	else if ((entity = map_get(&place.set->entities, req->key)) == NULL)
		answer_error(&req->answer, 404, "404", "Not Found");
	else
		answer_entity(req, entity, 200);
}

/* Answers a request whose idempotency key was acted on before. */
static bool
act_repeated(Request *req)
{
	int			status;
	Entity	   *entity;

	if (place.set == NULL || !place.set->idempotent ||
		!journal_known(req, &status))
		return false;
	entity = req->key ? map_get(&place.set->entities, req->key) : NULL;
	if (entity != NULL)
		answer_entity(req, entity, status);
	req->answer.status = status;
	req->acted = true;
	return true;
}

/*
 * Does what the request asks for and fills its answer.  A delayed request met
 * others in between, so its place is looked up again.
 */
void
service_act(Request *req)
{
	if (req->state == REQUEST_DELAYED)
	{
		free(req->set_path);
		free(req->key);
		req->set_path = req->key = NULL;
		service_locate(req);
	}
	if (act_repeated(req))
		return;
	switch (place.target)
	{
		case TARGET_NOTHING:
			answer_error(&req->answer, 404, "404", "Invalid resource path");
			break;
		case TARGET_DOCUMENT:
			act_document(req);
			break;
		case TARGET_SET:
			if (strcmp(req->method, "POST") == 0)
				act_post(req);
			else if (strcmp(req->method, "GET") == 0)
				act_list(req);
			else
				answer_error(&req->answer, 405, "405", "Method Not Allowed");
			break;
		case TARGET_COUNT:
			buf_printf(&req->answer.body, "%zu", place.set->entities.live);
			answer_header(&req->answer, "Content-Type", "text/plain");
			req->answer.status = 200;
			break;
		case TARGET_RECORD:
			act_record(req);
			break;
		case TARGET_HOOK:
			act_hook(req);
			break;
		case TARGET_AUTH:
			tokens_act(req);
			break;
		case TARGET_LIST:
			list_act(req);
			break;
		case TARGET_BATCH:
			if (options.acknowledge)
				acknowledge_act(req);
			else
				batch_act(req);
			break;
	}
}
