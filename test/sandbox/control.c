/*-------------------------------------------------------------------------
 *
 * control.c
 *	  /_control/: how a test scripts the sandbox and asks what it saw.
 *
 * Bodies and answers are JSON; a wrong member or value is answered with 400
 * and a reason, so that a test cannot go on with a fault it never set.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "request.h"

static void
answer_done(Request *req)
{
	answer_json(&req->answer, 200, json_pack("{s:b}", "ok", 1));
}

/* Sets one habit of a set; false when its name or type is wrong. */
static bool
set_habit(Set *set, const char *name, json_t *value)
{
	struct
	{
		const char *name;
		bool	   *habit;
	}			flags[] = {
		{"etag", &set->etag}, {"match_required", &set->match_required},
		{"keep", &set->keep}, {"empty_answer", &set->empty_answer},
		{"assign", &set->assign}, {"idempotent", &set->idempotent},
		{"patch_creates", &set->patch_creates},
		{"put_creates", &set->put_creates}, {"typed", &set->typed}
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (strcmp(name, flags[i].name) == 0)
		{
			*flags[i].habit = json_is_true(value);
			return json_is_boolean(value);
		}
	if (strcmp(name, "exists_status") == 0 && json_is_integer(value))
		set->exists_status = (int) json_integer_value(value);
	else if (strcmp(name, "sequence") == 0 && json_is_string(value))
	{
		free(set->sequence);
		set->sequence = xstrdup(json_string_value(value));
	}
	else if (strcmp(name, "key") == 0 && json_is_array(value) &&
			 json_array_size(value) <= MAX_KEY_FIELDS)
	{
		while (set->nkey > 0)
			free(set->key[--set->nkey]);
		for (size_t i = 0; i < json_array_size(value); i++)
			if (json_is_string(json_array_get(value, i)))
				set->key[set->nkey++] = xstrdup(json_string_value(json_array_get(value, i)));
	}
	else
		return strcmp(name, "path") == 0;
	return true;
}

/* Declares a set, or changes the habits of one that exists. */
static void
control_sets(Request *req, json_t *body)
{
	const char *path = json_string_value(json_object_get(body, "path"));
	const char *name;
	json_t	   *value;
	Set		   *set;

	if (path == NULL ||
		(!text_starts(path, "/odata/") && !text_starts(path, "/rest/") &&
		 !text_starts(path, "/hook/")))
	{
		answer_error(&req->answer, 400, "400",
					 "\"path\" must begin with /odata/, /rest/ or /hook/");
		return;
	}
	set = set_find(path);
	if (set == NULL)
		set = set_create(path);
	json_object_foreach(body, name, value)
	{
		if (!set_habit(set, name, value))
		{
			answer_error(&req->answer, 400, "400", name);
			return;
		}
	}
	journal_habits(req);
	answer_done(req);
}

static void
control_rules(Request *req, json_t *body, const char *rest)
{
	const char *why;
	json_t	   *made;

	if (strcmp(req->method, "GET") == 0)
		answer_json(&req->answer, 200, rules_list());
	else if (strcmp(req->method, "DELETE") == 0)
	{
		if (rule_drop(rest[0] == '/' ? atoi(rest + 1) : 0))
			answer_done(req);
		else
			answer_error(&req->answer, 404, "404", "no such rule");
	}
	else if ((made = rule_add(body, &why)) != NULL)
		answer_json(&req->answer, 201, made);
	else
		answer_error(&req->answer, 400, "400", why);
}

static void
control_config(Request *req, json_t *body)
{
	const char *name;
	json_t	   *value;

	json_object_foreach(body, name, value)
	{
		if (strcmp(name, "log") == 0)
			options.log = json_is_true(value);
		else if (strcmp(name, "strict") == 0)
			options.strict = json_is_true(value);
		else if (strcmp(name, "acknowledge") == 0)
			options.acknowledge = json_is_true(value);
		else if (strcmp(name, "max_body") == 0)
			options.max_body = (size_t) json_integer_value(value);
		else if (strcmp(name, "seed") == 0)
			srand48((long) json_integer_value(value));
		else
		{
			answer_error(&req->answer, 400, "400", name);
			return;
		}
	}
	answer_done(req);
}

/* Returns the decoded text behind "name=" in the query, or NULL. */
static char *
control_argument(const Request *req, const char *name)
{
	const char *p = strstr(req->query, name);
	char	   *text;

	if (p == NULL || p[strlen(name)] != '=')
		return NULL;
	p += strlen(name) + 1;
	text = xstrndup(p, strcspn(p, "&"));
	percent_decode(text);
	return text;
}

static void
control_log(Request *req)
{
	char	   *from = control_argument(req, "from");
	char	   *path = control_argument(req, "path");
	char	   *limit = control_argument(req, "limit");

	journal_log(&req->answer.body, from ? strtoul(from, NULL, 10) : 0, path,
				limit ? strtoul(limit, NULL, 10) : SIZE_MAX);
	answer_header(&req->answer, "Content-Type", "application/x-ndjson");
	req->answer.status = 200;
	free(from);
	free(path);
	free(limit);
}

/* Shows everything that is held: {path: {key: entity}}. */
static void
control_data(Request *req)
{
	Buf		   *body = &req->answer.body;
	Map		   *all = set_all();
	bool		first_set = true;

	buf_char(body, '{');
	for (size_t i = 0; i < all->size; i++)
	{
		Set		   *set = all->slots[i].value;
		bool		first = true;

		if (set == NULL)
			continue;
		buf_str(body, first_set ? "\n" : ",\n");
		first_set = false;
		buf_json(body, set->path, strlen(set->path));
		buf_str(body, ":{");
		for (size_t j = 0; j < set->entities.size; j++)
		{
			Entity	   *entity = set->entities.slots[j].value;

			if (entity == NULL)
				continue;
			buf_str(body, first ? "\n" : ",\n");
			first = false;
			buf_json(body, set->entities.slots[j].key,
					 strlen(set->entities.slots[j].key));
			buf_char(body, ':');
			object_write(body, &entity->object, NULL);
		}
		buf_char(body, '}');
	}
	buf_str(body, "}\n");
	answer_header(&req->answer, "Content-Type", "application/json");
	req->answer.status = 200;
}

static void
control_reset(Request *req)
{
	rules_clear();
	set_clear_all();
	journal_clear();
	options.strict = false;
	options.log = true;
	options.acknowledge = false;
	answer_done(req);
}

/* Routes a request that can have a body. */
static void
control_route(Request *req, const char *what, json_t *body)
{
	if (text_starts(what, "rules"))
		control_rules(req, body, what + strlen("rules"));
	else if (strcmp(what, "sets") == 0)
		control_sets(req, body);
	else if (strcmp(what, "config") == 0)
		control_config(req, body);
	else if (strcmp(what, "tokens") == 0)
		tokens_control(req, body);
	else if (strcmp(what, "stats") == 0)
		answer_json(&req->answer, 200, journal_stats());
	else if (strcmp(what, "violations") == 0)
		answer_json(&req->answer, 200, journal_violations());
	else if (strcmp(what, "data") == 0)
		control_data(req);
	else if (strcmp(what, "log") == 0 && strcmp(req->method, "DELETE") == 0)
	{
		journal_clear();
		answer_done(req);
	}
	else if (strcmp(what, "log") == 0)
		control_log(req);
	else if (strcmp(what, "reset") == 0)
		control_reset(req);
	else if (strcmp(what, "stop") == 0)
	{
		server_stop();
		answer_done(req);
	}
	else
		answer_error(&req->answer, 404, "404", "no such control");
}

/* Answers one /_control/ request. */
void
control_act(Request *req)
{
	json_error_t error;
	json_t	   *body = NULL;

	if (req->body.len > 0)
	{
		body = json_loadb(req->body.data, req->body.len, 0, &error);
		if (body == NULL)
		{
			answer_error(&req->answer, 400, "400", error.text);
			return;
		}
	}
	control_route(req, req->path + strlen("/_control/"), body);
	json_decref(body);
}
