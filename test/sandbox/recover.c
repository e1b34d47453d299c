/*-------------------------------------------------------------------------
 *
 * recover.c
 *	  What an earlier process of the sandbox knew, read from its log.
 *
 * An ERP that is killed has its records when it comes back, and all that it
 * has answered.  The log has a line for each request that was answered, written
 * before the answer: done again in that order, without faults, they make the
 * same records, ids, habits, log and judgements.  A last line that is torn is
 * of a request that was not answered.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "request.h"

static void
recover_headers(Request *req, json_t *headers)
{
	const char *name;
	json_t	   *value;

	json_object_foreach(headers, name, value)
	{
		if (req->nheaders == MAX_HEADERS)
			return;
		req->headers[req->nheaders].name = xstrdup(name);
		req->headers[req->nheaders++].value = xstrdup(json_string_value(value));
	}
}

static void
recover_free(Request *req)
{
	for (int i = 0; i < req->nheaders; i++)
	{
		free(req->headers[i].name);
		free(req->headers[i].value);
	}
	for (int i = 0; i < req->answer.nheaders; i++)
	{
		free(req->answer.headers[i].name);
		free(req->answer.headers[i].value);
	}
	buf_free(&req->body);
	buf_free(&req->answer.body);
	free(req->set_path);
	free(req->key);
}

/* An id that was given is given again. */
static void
recover_number(const Request *req, const char *key)
{
	Set		   *set = req->set_path ? set_find(req->set_path) : NULL;

	if (req->key == NULL && key != NULL && set != NULL && set->assign)
		set->next_id = strtoll(key + (key[0] == '\''), NULL, 10);
}

static void
recover_line(json_t *line)
{
	Request		req = {0};
	const char *body;
	const char *path;
	size_t		len;
	const char *key = json_string_value(json_object_get(line, "key"));

	req.method = json_string_value(json_object_get(line, "method"));
	path = json_string_value(json_object_get(line, "path"));
	req.path = (char *) path;
	req.uri = req.path;
	req.query = json_string_value(json_object_get(line, "query"));
	req.arrived = json_integer_value(json_object_get(line, "at"));
	body = json_string_value(json_object_get(line, "body"));
	len = json_string_length(json_object_get(line, "body"));
	if (req.method == NULL || path == NULL || req.query == NULL || body == NULL)
		return;
	buf_add(&req.body, body, len);
	recover_headers(&req, json_object_get(line, "headers"));
	if (text_starts(path, "/_control/"))
		control_act(&req);
	else
	{
		journal_begin();
		service_locate(&req);
		req.rule_id = (int) json_integer_value(json_object_get(line, "rule"));
		if (json_is_true(json_object_get(line, "acted")))
		{
			recover_number(&req, key);
			/* the parts of a batch have lines of their own */
			if (!batch_is(&req))
				service_act(&req);
			req.acted = true;
		}
		req.answer.status = (int) json_integer_value(json_object_get(line, "status"));
		journal_add(&req);
	}
	recover_free(&req);
}

/* Does again what the log says, if there is one. */
void
recover_from(const char *path)
{
	FILE	   *file = fopen(path, "r");
	char	   *text = NULL;
	size_t		size = 0;
	ssize_t		len;

	if (file == NULL)
		return;
	while ((len = getline(&text, &size, file)) > 0)
	{
		json_t	   *line = json_loadb(text, (size_t) len, JSON_ALLOW_NUL, NULL);

		if (line != NULL)
			recover_line(line);
		json_decref(line);
	}
	free(text);
	fclose(file);
}
