/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  Several requests in one: OData's $batch, arrays and lines, Salesforce's
 *	  collections and composite, Dataverse's UpsertMultiple, queues.
 *
 * Each item becomes a request of its own, which meets the rules, acts and is
 * remembered like one that came alone; the outer request is remembered, too.
 * Sources of the formats: OASIS OData 4.01 Part 1, 11.7.7 and JSON Format 19;
 * Salesforce REST API, "Composite" and "sObject Collections"; Dataverse Web API,
 * UpsertMultiple; Kafka REST Proxy API v2; SQS SendMessageBatch; EventBridge
 * PutEvents; Pub/Sub projects.topics.publish; Service Bus "Send message batch".
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "request.h"

/* Frees an item's request. */
static void
item_free(Request *item)
{
	for (int i = 0; i < item->nheaders; i++)
	{
		free(item->headers[i].name);
		free(item->headers[i].value);
	}
	for (int i = 0; i < item->answer.nheaders; i++)
	{
		free(item->answer.headers[i].name);
		free(item->answer.headers[i].value);
	}
	json_decref(item->action);
	buf_free(&item->body);
	buf_free(&item->answer.body);
	buf_free(&item->raw);
	free(item->set_path);
	free(item->key);
	free(item->path);
	free(item->uri);
	free((char *) item->method);
	free(item);
}

static void
item_header(Request *item, const char *name, const char *value)
{
	Header	   *header = &item->headers[item->nheaders];

	if (item->nheaders == MAX_HEADERS)
		return;
	item->nheaders++;
	header->name = xstrdup(name);
	for (char *p = header->name; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p += 'a' - 'A';
	header->value = xstrdup(value);
}

/* Makes an item; an address that is not absolute is under base. */
static Request *
item_new(const Request *outer, const char *method, const char *base,
		 const char *url)
{
	Request    *item = xmalloc(sizeof(Request));
	Buf			path = {0};
	char	   *mark;

	memset(item, 0, sizeof(*item));
	if (url[0] != '/')
		buf_str(&path, base);
	buf_str(&path, url);
	item->conn = outer->conn;
	item->arrived = now_us();
	item->method = xstrdup(method);
	item->uri = path.data;
	mark = strchr(item->uri, '?');
	item->path = mark ? xstrndup(item->uri, (size_t) (mark - item->uri)) : xstrdup(item->uri);
	item->query = mark ? mark + 1 : "";
	if (request_header(outer, "host") != NULL)
		item_header(item, "host", request_header(outer, "host"));
	return item;
}

static void
item_json(Request *item, json_t *body)
{
	char	   *text = json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);

	buf_str(&item->body, text);
	free(text);
	item_header(item, "content-type", "application/json");
}

/* Does what an item asks for. */
static void
item_run(Request *item)
{
	journal_begin();
	service_locate(item);
	rules_apply(item);
	if (!rule_prevents_acting(item))
		service_act(item);
	if (item->action != NULL)
		rule_alter_answer(item);
	if (item->answer.status == 0)
		/* a connection cannot break in the middle of one of several */
		item->answer.status = rule_prevents_acting(item) ? 500 : 200;
	journal_add(item);
}

/* The part of a path up to and with its last slash. */
static char *
folder(const char *path)
{
	return xstrndup(path, (size_t) (strrchr(path, '/') + 1 - path));
}

static bool
continues(const Request *req)
{
	const char *prefer = request_header(req, "prefer");

	return prefer != NULL && strstr(prefer, "continue-on-error") != NULL;
}

/* An item's answer as JSON. */
static json_t *
answer_value(const Request *item)
{
	json_t	   *value = item->answer.body.len == 0 ? NULL :
		json_loadb(item->answer.body.data, item->answer.body.len,
				   JSON_DECODE_ANY, NULL);

	return value ? value : json_null();
}

static json_t *
answer_headers(const Request *item)
{
	json_t	   *headers = json_object();

	for (int i = 0; i < item->answer.nheaders; i++)
		json_object_set_new(headers, item->answer.headers[i].name,
							json_string(item->answer.headers[i].value));
	return headers;
}

/* ---- multipart ---- */

/* Returns the boundary of a content type, or NULL. */
static char *
boundary_of(const char *type)
{
	const char *p = type ? strstr(type, "boundary=") : NULL;

	if (p == NULL || !text_starts(type, "multipart/mixed"))
		return NULL;
	p += 9;
	if (*p == '"')
		return xstrndup(p + 1, strcspn(p + 1, "\""));
	return xstrndup(p, strcspn(p, "; \r\n"));
}

/* Cuts the next part off; false where none is left. */
static bool
next_part(const char **at, const char *end, const char *boundary,
		  const char **part, size_t *len)
{
	char	   *mark = NULL;
	size_t		mark_len;
	const char *start;
	const char *stop;

	if (asprintf(&mark, "--%s", boundary) < 0)
		abort();
	mark_len = strlen(mark);
	start = memmem(*at, (size_t) (end - *at), mark, mark_len);
	if (start == NULL || end - start < (long) mark_len + 2 ||
		memcmp(start + mark_len, "\r\n", 2) != 0)
	{
		free(mark);
		return false;
	}
	start += mark_len + 2;
	stop = memmem(start, (size_t) (end - start), mark, mark_len);
	free(mark);
	if (stop == NULL || stop - start < 2)
		return false;
	*part = start;
	*len = (size_t) (stop - start) - 2;
	*at = stop;
	return true;
}

/* Reads a header of a block; the block ends with an empty line. */
static char *
block_header(const char *block, const char *name)
{
	size_t		len = strlen(name);

	while (*block && !text_starts(block, "\r\n"))
	{
		size_t		line = strcspn(block, "\r");

		if (strncasecmp(block, name, len) == 0 && block[len] == ':')
			return xstrndup(block + len + 1 + strspn(block + len + 1, " "),
							line - len - 1 - strspn(block + len + 1, " "));
		block += line + (block[line] ? 2 : 0);
	}
	return NULL;
}

/* Makes an item of the HTTP request in a part; NULL where it is none. */
static Request *
part_item(const Request *outer, const char *base, const char *text)
{
	Request    *item;
	const char *p = strstr(text, "\r\n\r\n");
	char		method[16];
	char		url[16384];

	if (p == NULL || sscanf(p + 4, "%15s %16383s HTTP/1.1", method, url) != 2)
		return NULL;
	item = item_new(outer, method, base, url);
	p = strstr(p + 4, "\r\n") + 2;
	while (*p && !text_starts(p, "\r\n"))
	{
		size_t		line = strcspn(p, "\r");
		char	   *header = xstrndup(p, line);
		char	   *colon = strchr(header, ':');

		if (colon != NULL)
		{
			*colon = '\0';
			item_header(item, header, colon + 1 + strspn(colon + 1, " "));
		}
		free(header);
		p += line + (p[line] ? 2 : 0);
	}
	if (text_starts(p, "\r\n"))
		p += 2;
	buf_str(&item->body, p);
	while (item->body.len > 0 && strchr("\r\n", item->body.data[item->body.len - 1]))
		item->body.data[--item->body.len] = '\0';
	return item;
}

static void
part_answer(Buf *out, const Request *item, const char *boundary, const char *id)
{
	buf_printf(out, "--%s\r\nContent-Type: application/http\r\n"
			   "Content-Transfer-Encoding: binary\r\n", boundary);
	if (id != NULL)
		buf_printf(out, "Content-ID: %s\r\n", id);
	buf_printf(out, "\r\nHTTP/1.1 %d Answer\r\n", item->answer.status);
	for (int i = 0; i < item->answer.nheaders; i++)
		buf_printf(out, "%s: %s\r\n", item->answer.headers[i].name,
				   item->answer.headers[i].value);
	buf_str(out, "\r\n");
	buf_add(out, item->answer.body.data ? item->answer.body.data : "",
			item->answer.body.len);
	buf_str(out, "\r\n");
}

/* Runs one part, a request or a change set of one; returns its status. */
static int
part_run(const Request *req, const char *base, const char *text, Buf *out)
{
	char	   *type = block_header(text, "Content-Type");
	char	   *inner = boundary_of(type);
	char	   *copy = NULL;
	char	   *id;
	Request    *item;
	int			status = 400;

	if (inner != NULL)
	{
		const char *at = strstr(text, "\r\n\r\n");
		const char *part;
		size_t		len;

		if (at && next_part(&at, text + strlen(text), inner, &part, &len))
			copy = xstrndup(part, len);
	}
	item = part_item(req, base, copy ? copy : text);
	id = block_header(copy ? copy : text, "Content-ID");
	if (item != NULL)
	{
		item_run(item);
		status = item->answer.status;
		/* a change set that failed is one answer and no change set */
		if (inner != NULL && status < 400)
		{
			buf_str(out, "--batch_answer\r\nContent-Type: multipart/mixed; boundary=changes_answer\r\n\r\n");
			part_answer(out, item, "changes_answer", id);
			buf_str(out, "--changes_answer--\r\n");
		}
		else
			part_answer(out, item, "batch_answer", id);
		item_free(item);
	}
	free(id);
	free(copy);
	free(inner);
	free(type);
	return status;
}

static void
batch_multipart(Request *req, const char *boundary)
{
	char	   *base = folder(req->path);
	const char *at = req->body.data;
	const char *end = at + req->body.len;
	const char *part;
	size_t		len;
	Buf		   *out = &req->answer.body;

	while (next_part(&at, end, boundary, &part, &len))
	{
		char	   *text = xstrndup(part, len);
		int			status = part_run(req, base, text, out);

		free(text);
		if (status >= 400 && !continues(req))
			break;
	}
	buf_str(out, "--batch_answer--\r\n");
	answer_header(&req->answer, "Content-Type", "multipart/mixed; boundary=batch_answer");
	req->answer.status = 200;
	free(base);
}

/* ---- JSON ---- */

/* Makes an item of an object with method, url, headers and body. */
static Request *
object_item(const Request *req, const char *base, const json_t *object)
{
	json_t	   *headers = json_object_get(object, "headers");
	json_t	   *body = json_object_get(object, "body");
	const char *name;
	json_t	   *value;
	Request    *item = item_new(req, json_string_value(json_object_get(object, "method")),
								base, json_string_value(json_object_get(object, "url")));

	json_object_foreach(headers, name, value)
	{
		if (strcasecmp(name, "content-type") != 0)
			item_header(item, name, json_string_value(value));
	}
	if (body != NULL)
		item_json(item, body);
	return item;
}

static void
batch_odata_json(Request *req, const json_t *root)
{
	json_t	   *answers = json_array();
	json_t	   *object;
	size_t		i;
	char	   *base = folder(req->path);

	json_array_foreach(json_object_get(root, "requests"), i, object)
	{
		Request    *item = object_item(req, base, object);
		int			status;

		item_run(item);
		status = item->answer.status;
		json_array_append_new(answers,
							  json_pack("{s:O,s:i,s:o,s:o}", "id",
										json_object_get(object, "id"), "status",
										status, "headers", answer_headers(item),
										"body", answer_value(item)));
		item_free(item);
		if (status >= 400 && !continues(req))
			break;
	}
	answer_json(&req->answer, 200, json_pack("{s:o}", "responses", answers));
	free(base);
}

static void
batch_composite(Request *req, const json_t *root)
{
	json_t	   *answers = json_array();
	json_t	   *object;
	size_t		i;

	json_array_foreach(json_object_get(root, "compositeRequest"), i, object)
	{
		Request    *item = object_item(req, "", object);

		item_run(item);
		json_array_append_new(answers,
							  json_pack("{s:o,s:o,s:i,s:O}", "body",
										answer_value(item), "httpHeaders",
										answer_headers(item), "httpStatusCode",
										item->answer.status, "referenceId",
										json_object_get(object, "referenceId")));
		item_free(item);
	}
	answer_json(&req->answer, 200, json_pack("{s:o}", "compositeResponse", answers));
}

/* Records of Salesforce's collections go to /rest/sf/<type>. */
static void
batch_collections(Request *req, const json_t *root)
{
	json_t	   *answers = json_array();
	json_t	   *record;
	size_t		i;
	bool		patch = strcmp(req->method, "PATCH") == 0;

	json_array_foreach(json_object_get(root, "records"), i, record)
	{
		const char *type = json_string_value(json_object_get(json_object_get(record, "attributes"), "type"));
		const char *id = json_string_value(json_object_get(record, "id"));
		char		url[256];
		json_t	   *body = json_deep_copy(record);
		json_t	   *value;
		Request    *item;
		bool		done;

		snprintf(url, sizeof(url), "/rest/sf/%s%s%s", type, patch ? "/" : "", patch && id ? id : "");
		json_object_del(body, "attributes");
		if (patch)
			json_object_del(body, "id");
		item = item_new(req, req->method, "", url);
		item_json(item, body);
		item_run(item);
		done = item->answer.status < 300;
		value = answer_value(item);
		if (done)
			json_array_append_new(answers,
								  json_pack("{s:s,s:b,s:[]}", "id", item->key ? item->key : "",
											"success", 1, "errors"));
		else
			json_array_append_new(answers,
								  json_pack("{s:b,s:[{s:s,s:s,s:[]}]}", "success", 0, "errors",
											"statusCode", "FIELD_CUSTOM_VALIDATION_EXCEPTION",
											"message", "the record is not valid", "fields"));
		json_decref(value);
		json_decref(body);
		item_free(item);
	}
	answer_json(&req->answer, 200, answers);
}

/* All targets or none: rules are asked first. */
static void
batch_upsert_multiple(Request *req, const json_t *root)
{
	char	   *path = xstrndup(req->path, (size_t) (strstr(req->path, "/Microsoft.") - req->path));
	char	   *base = folder(path);
	json_t	   *targets = json_object_get(root, "Targets");
	json_t	   *target;
	size_t		i;

	for (int pass = 0; pass < 2; pass++)
	{
		json_array_foreach(targets, i, target)
		{
			json_t	   *body = json_deep_copy(target);
			Request    *item = item_new(req, "PATCH", base,
										json_string_value(json_object_get(target, "@odata.id")));
			bool		bad;

			json_object_del(body, "@odata.id");
			json_object_del(body, "@odata.type");
			item_json(item, body);
			if (pass == 1)
				item_run(item);
			else
			{
				service_locate(item);
				rules_apply(item);
			}
			bad = pass == 0 && rule_prevents_acting(item);
			item_free(item);
			json_decref(body);
			if (bad)
			{
				answer_error(&req->answer, 400, "0x80040203", "a record is not valid");
				free(base);
				free(path);
				return;
			}
		}
	}
	answer_json(&req->answer, 200, json_object());
	free(base);
	free(path);
}

/* An array of records, or lines of them, for the same address. */
static void
batch_array(Request *req, json_t *const *records, size_t n, bool lines)
{
	json_t	   *answers = json_array();
	bool		failed = false;
	Buf			text = {0};

	for (size_t i = 0; i < n; i++)
	{
		Request    *item = item_new(req, req->method, "", req->path);

		item_json(item, records[i]);
		item_run(item);
		failed |= item->answer.status >= 400;
		json_array_append_new(answers,
							  item->answer.status >= 400 ?
							  json_pack("{s:i,s:o}", "status", item->answer.status,
										"error", answer_value(item)) :
							  answer_value(item));
		item_free(item);
	}
	if (!lines)
	{
		answer_json(&req->answer, failed ? 207 : 201, answers);
		return;
	}
	for (size_t i = 0; i < n; i++)
	{
		char	   *line = json_dumps(json_array_get(answers, i), JSON_COMPACT | JSON_ENCODE_ANY);

		buf_str(&text, line);
		buf_char(&text, '\n');
		free(line);
	}
	json_decref(answers);
	req->answer.body = text;
	req->answer.status = failed ? 207 : 200;
	answer_header(&req->answer, "Content-Type", "application/x-ndjson");
}

static void
batch_lines(Request *req)
{
	static json_t *records[10000];
	size_t		n = 0;

	for (char *p = req->body.data; p && *p && n < 10000;)
	{
		size_t		len = strcspn(p, "\n");
		json_t	   *value = json_loadb(p, len, JSON_DECODE_ANY, NULL);

		if (value != NULL)
			records[n++] = value;
		p += len + (p[len] == '\n');
	}
	batch_array(req, records, n, true);
	for (size_t i = 0; i < n; i++)
		json_decref(records[i]);
}

/* ---- queues ---- */

/* A queue as its vendor speaks: where messages are and what answers look like. */
typedef struct Queue
{
	const char *path;			/* in the address */
	const char *list;			/* NULL: the body itself */
	const char *message;		/* in an entry */
} Queue;

static const Queue queues[] = {
	{"/queue/kafka/", "records", "value"},
	{"/queue/sqs", "Entries", "MessageBody"},
	{"/queue/events", "Entries", "Detail"},
	{"/queue/pubsub", "messages", "data"},
	{"/queue/bus", NULL, "Body"},
};

/* What the vendor says of one entry. */
static void
queue_answer(const Queue *queue, json_t *answers, json_t *failed,
			 const json_t *entry, size_t i, bool done)
{
	json_t	   *id = json_object_get(entry, "Id");

	switch (queue - queues)
	{
		case 0:
			json_array_append_new(answers, done ?
								  json_pack("{s:i,s:i,s:n,s:n}", "partition", 0, "offset", (int) i, "error_code", "error") :
								  json_pack("{s:n,s:n,s:i,s:s}", "partition", "offset", "error_code", 50003, "error", "not produced"));
			break;
		case 1:
			json_array_append_new(done ? answers : failed, done ?
								  json_pack("{s:O,s:s}", "Id", id, "MessageId", "m") :
								  json_pack("{s:O,s:s,s:b,s:s}", "Id", id, "Code", "InvalidMessageContents", "SenderFault", 1, "Message", "no"));
			break;
		case 2:
			json_array_append_new(answers, done ? json_pack("{s:s}", "EventId", "e") :
								  json_pack("{s:s,s:s}", "ErrorCode", "MalformedDetail", "ErrorMessage", "no"));
			break;
		default:
			json_array_append_new(answers, json_sprintf("m%zu", i));
			break;
	}
}

static void
batch_queue(Request *req, const Queue *queue, json_t *root)
{
	json_t	   *list = queue->list ? json_object_get(root, queue->list) : root;
	json_t	   *answers = json_array();
	json_t	   *failed = json_array();
	json_t	   *entry;
	size_t		i;

	json_array_foreach(list, i, entry)
	{
		json_t	   *message = json_object_get(entry, queue->message);
		Buf			path = {0};
		Request    *item;

		buf_printf(&path, "/hook%s", req->path);
		item = item_new(req, "POST", "", path.data);
		buf_free(&path);
		if (json_is_string(message))
			buf_str(&item->body, json_string_value(message));
		else
			item_json(item, message);
		item_run(item);
		queue_answer(queue, answers, failed, entry, i, item->answer.status < 300);
		item_free(item);
	}
	if (queue == &queues[1])
		answer_json(&req->answer, 200, json_pack("{s:o,s:o}", "Successful", answers, "Failed", failed));
	else if (queue == &queues[4])
	{
		req->answer.status = 201;
		json_decref(answers);
	}
	else
		answer_json(&req->answer, 200,
					json_pack("{s:o}", queue == &queues[0] ? "offsets" :
							  queue == &queues[2] ? "Entries" : "messageIds", answers));
	if (queue != &queues[1])
		json_decref(failed);
}

/* CloudEvents' JSON batch: each event as if it came in binary mode. */
static void
batch_cloudevents(Request *req, const json_t *root)
{
	json_t	   *event;
	size_t		i;

	json_array_foreach(root, i, event)
	{
		const char *subject = json_string_value(json_object_get(event, "subject"));
		Request    *item = item_new(req, "POST", "", req->path);

		item_header(item, "ce-id", json_string_value(json_object_get(event, "id")));
		if (subject != NULL)
			item_header(item, "ce-subject", subject);
		item_json(item, json_object_get(event, "data"));
		item_run(item);
		item_free(item);
	}
	req->answer.status = 204;
}

/* ---- which of them ---- */

static const Queue *
queue_of(const char *path)
{
	for (size_t i = 0; i < sizeof(queues) / sizeof(queues[0]); i++)
		if (text_starts(path, queues[i].path))
			return &queues[i];
	return NULL;
}

static bool
ends_with(const char *text, const char *end)
{
	size_t		len = strlen(text);
	size_t		end_len = strlen(end);

	return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* Says whether a request carries several. */
bool
batch_is(const Request *req)
{
	const char *type = request_header(req, "content-type");

	return ends_with(req->path, "/$batch") || ends_with(req->path, "/composite") ||
		ends_with(req->path, "/composite/sobjects") ||
		strstr(req->path, "/Microsoft.Dynamics.CRM.UpsertMultiple") != NULL ||
		queue_of(req->path) != NULL ||
		(type && strstr(type, "cloudevents-batch")) ||
		(text_starts(req->path, "/rest/") && strcmp(req->method, "POST") == 0 &&
		 ((req->body.len > 0 && req->body.data[0] == '[') ||
		  (type && strstr(type, "ndjson"))));
}

/* Runs the items of a batch and answers it. */
void
batch_act(Request *req)
{
	const char *type = request_header(req, "content-type");
	char	   *boundary = boundary_of(type);
	json_t	   *root = NULL;

	req->acted = true;
	if (req->body_too_large)
		answer_error(&req->answer, 413, "413", "request entity too large");
	else if (boundary != NULL)
		batch_multipart(req, boundary);
	else if (type && strstr(type, "ndjson"))
		batch_lines(req);
	else if (type == NULL || (root = json_loadb(req->body.data ? req->body.data : "", req->body.len, 0, NULL)) == NULL)
		answer_error(&req->answer, 400, "400", "not JSON");
	else if (strstr(type, "cloudevents-batch"))
		batch_cloudevents(req, root);
	else if (queue_of(req->path) != NULL)
		batch_queue(req, queue_of(req->path), root);
	else if (ends_with(req->path, "/$batch"))
		batch_odata_json(req, root);
	else if (ends_with(req->path, "/composite"))
		batch_composite(req, root);
	else if (ends_with(req->path, "/composite/sobjects"))
		batch_collections(req, root);
	else if (json_is_object(root))
		batch_upsert_multiple(req, root);
	else
	{
		size_t		n = json_array_size(root);
		json_t	  **records = xmalloc(sizeof(json_t *) * (n + 1));

		for (size_t i = 0; i < n; i++)
			records[i] = json_array_get(root, i);
		batch_array(req, records, n, false);
		free(records);
	}
	req->acted = req->answer.status < 400;
	json_decref(root);
	free(boundary);
}
