/*-------------------------------------------------------------------------
 *
 * journal.c
 *	  What the sandbox remembers of the requests, and what was wrong.
 *
 * Three memories, each independent of the others: counters, the log (JSON
 * lines, the oldest dropped beyond a limit), and two tables that judge the
 * sender:
 *
 *   - by idempotency key (Idempotency-Key, else webhook-id): how often it
 *     came, and whether always with the same body;
 *   - by set and record key: the highest sequence number that was acted on.
 *
 * A repeat with a known idempotency key and the same body is what "at least
 * once" allows; it is counted and never a violation, even when newer changes
 * of the record came in between.  The same key with another body, a sequence
 * number that goes down under a new idempotency key, and a repeated number
 * under a new one are violations or duplicates in their own columns.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "request.h"

#define MAX_VIOLATIONS 1000

typedef struct Seen
{
	uint64_t	body;
	int64_t		count;
	int			status;			/* of the last request that was acted on */
} Seen;

typedef struct Last
{
	int64_t		sequence;
	uint64_t	idempotency;
} Last;

typedef struct LogLine
{
	char	   *text;
	char	   *path;
} LogLine;

typedef struct Counters
{
	int64_t		requests;
	int64_t		acted;
	int64_t		faults;
	int64_t		bytes;
	int64_t		by_status[600];
	int64_t		by_method[8];
	int64_t		unique;
	int64_t		duplicates_same;
	int64_t		duplicates_other;
	int64_t		order;
	int64_t		key_reused;
	int64_t		in_flight;
	int64_t		in_flight_max;
	int64_t		first;
	int64_t		last;
} Counters;

static const char *const methods[] = {
	"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "OTHER"
};

static Counters counters;
static Map	seen_keys;
static Map	last_sequences;
static json_t *violations;
static LogLine *log_lines;
static size_t log_first;		/* number of the oldest line kept */
static size_t log_next;			/* number of the next line */
static size_t log_size;			/* slots in log_lines */

static const char *
idempotency_key(const Request *req)
{
	const char *key = request_header(req, "idempotency-key");

	return key ? key : request_header(req, "webhook-id");
}

/* Says whether a request with this idempotency key was acted on before. */
bool
journal_known(const Request *req, int *status)
{
	const char *key = idempotency_key(req);
	Seen	   *seen = key ? map_get(&seen_keys, key) : NULL;

	if (seen == NULL || seen->status == 0 ||
		seen->body != hash_bytes(req->body.data, req->body.len))
		return false;
	*status = seen->status;
	return true;
}

/* Counts a request that has been read and is not answered yet. */
void
journal_begin(void)
{
	if (++counters.in_flight > counters.in_flight_max)
		counters.in_flight_max = counters.in_flight;
}

/* Uncounts a request whose connection went away before an answer. */
void
journal_abandon(void)
{
	counters.in_flight--;
}

static void
violation(const Request *req, const char *kind, const char *format,
		  long long a, long long b)
{
	char		detail[160];

	if (violations == NULL)
		violations = json_array();
	if (json_array_size(violations) >= MAX_VIOLATIONS)
		return;
	snprintf(detail, sizeof(detail), format, a, b);
	json_array_append_new(violations,
						  json_pack("{s:s, s:s, s:s, s:s?, s:s?, s:I}",
									"kind", kind, "detail", detail,
									"path", req->path, "key", req->key,
									"idempotency_key", idempotency_key(req),
									"at", (json_int_t) req->arrived));
}

/* Judges the idempotency key; returns the word for the log. */
static const char *
judge_idempotency(const Request *req, uint64_t *hash)
{
	const char *key = idempotency_key(req);
	uint64_t	body = hash_bytes(req->body.data, req->body.len);
	Seen	   *seen;

	*hash = key ? hash_bytes(key, strlen(key)) : 0;
	if (key == NULL)
		return "none";
	seen = map_get(&seen_keys, key);
	if (seen == NULL)
	{
		seen = xmalloc(sizeof(Seen));
		memset(seen, 0, sizeof(*seen));
		seen->body = body;
		map_set(&seen_keys, key, seen);
		counters.unique++;
	}
	if (req->acted)
		seen->status = req->answer.status;
	if (++seen->count == 1)
		return "first";
	if (seen->body != body)
	{
		counters.key_reused++;
		violation(req, "key_reused", "an idempotency key came with another "
				  "body (%lld bytes, time %lld)", (long long) req->body.len,
				  (long long) seen->count);
		return "reused";
	}
	counters.duplicates_same++;
	return "repeat";
}

/* Judges the sequence number of a request that was acted on. */
static void
judge_order(const Request *req, const char *repeat, uint64_t idempotency)
{
	Buf			name = {0};
	Last	   *last;

	if (!req->has_sequence || !req->acted || req->key == NULL)
		return;
	buf_str(&name, req->set_path);
	buf_char(&name, '\n');
	buf_str(&name, req->key);
	last = map_get(&last_sequences, name.data);
	if (last == NULL)
	{
		last = xmalloc(sizeof(Last));
		last->sequence = INT64_MIN;
		map_set(&last_sequences, name.data, last);
	}
	if (strcmp(repeat, "repeat") != 0)
	{
		if (req->sequence < last->sequence)
		{
			counters.order++;
			violation(req, "order", "%lld came after %lld",
					  (long long) req->sequence, (long long) last->sequence);
		}
		else if (req->sequence == last->sequence &&
				 (idempotency == 0 || idempotency != last->idempotency))
			counters.duplicates_other++;
	}
	if (req->sequence >= last->sequence)
	{
		last->sequence = req->sequence;
		last->idempotency = idempotency;
	}
	buf_free(&name);
}

static void
log_write(const Request *req, const char *repeat)
{
	Buf			line = {0};

	buf_printf(&line, "{\"n\":%zu,\"at\":%lld,\"done\":%lld,\"method\":\"%s\",\"path\":",
			   log_next, (long long) req->arrived, (long long) now_us(),
			   req->method);
	buf_json(&line, req->path, strlen(req->path));
	buf_str(&line, ",\"query\":");
	buf_json(&line, req->query, strlen(req->query));
	buf_str(&line, ",\"key\":");
	if (req->key != NULL)
		buf_json(&line, req->key, strlen(req->key));
	else
		buf_str(&line, "null");
	buf_str(&line, ",\"headers\":{");
	for (int i = 0; i < req->nheaders; i++)
	{
		if (i > 0)
			buf_char(&line, ',');
		buf_json(&line, req->headers[i].name, strlen(req->headers[i].name));
		buf_char(&line, ':');
		buf_json(&line, req->headers[i].value, strlen(req->headers[i].value));
	}
	buf_str(&line, "},\"body\":");
	buf_json(&line, req->body.data ? req->body.data : "", req->body.len);
	buf_printf(&line, ",\"status\":%d,\"acted\":%s,\"rule\":%d,\"repeat\":\"%s\"}\n",
			   req->answer.status, req->acted ? "true" : "false",
			   req->rule_id, repeat);
	if (options.log_file != NULL)
		fwrite(line.data, 1, line.len, options.log_file);

	if (log_size == 0)
	{
		log_size = options.log_limit;
		log_lines = calloc(log_size, sizeof(LogLine));
	}
	if (log_next - log_first == log_size)
	{
		LogLine    *oldest = &log_lines[log_first++ % log_size];

		free(oldest->text);
		free(oldest->path);
	}
	log_lines[log_next % log_size].text = line.data;
	log_lines[log_next % log_size].path = xstrdup(req->path);
	log_next++;
}

/* Writes habits of a set into the log's file, for recover.c. */
void
journal_habits(const Request *req)
{
	Buf			line = {0};

	if (options.log_file == NULL)
		return;
	buf_printf(&line, "{\"at\":%lld,\"method\":\"POST\",\"path\":\"%s\",\"query\":\"\",\"body\":",
			   (long long) req->arrived, req->path);
	buf_json(&line, req->body.data ? req->body.data : "", req->body.len);
	buf_str(&line, "}\n");
	fwrite(line.data, 1, line.len, options.log_file);
	buf_free(&line);
}

/* Remembers a request whose answer is decided. */
void
journal_add(Request *req)
{
	uint64_t	idempotency;
	const char *repeat;
	int			m = 0;

	while (m < 7 && strcmp(methods[m], req->method) != 0)
		m++;
	counters.by_method[m]++;
	counters.requests++;
	counters.in_flight--;
	counters.bytes += (int64_t) req->body.len;
	counters.by_status[req->answer.status < 600 ? req->answer.status : 0]++;
	if (req->acted)
		counters.acted += req->items > 0 ? req->items : 1;
	if (req->rule_id != 0)
		counters.faults++;
	if (counters.first == 0)
		counters.first = req->arrived;
	counters.last = req->arrived;
	repeat = judge_idempotency(req, &idempotency);
	judge_order(req, repeat, idempotency);
	if (options.log)
		log_write(req, repeat);
}

/* Forgets everything but what is in flight. */
void
journal_clear(void)
{
	int64_t		in_flight = counters.in_flight;

	memset(&counters, 0, sizeof(counters));
	counters.in_flight = counters.in_flight_max = in_flight;
	map_clear(&seen_keys, free);
	map_clear(&last_sequences, free);
	json_decref(violations);
	violations = NULL;
	for (size_t i = log_first; i < log_next; i++)
	{
		free(log_lines[i % log_size].text);
		free(log_lines[i % log_size].path);
	}
	free(log_lines);
	log_lines = NULL;
	log_first = log_next = log_size = 0;
}

/* Writes the lines from number "from" on whose path begins with "path". */
void
journal_log(Buf *out, size_t from, const char *path, size_t limit)
{
	for (size_t i = from > log_first ? from : log_first;
		 i < log_next && limit > 0; i++)
	{
		LogLine    *line = &log_lines[i % log_size];

		if (path != NULL && !text_starts(line->path, path))
			continue;
		buf_str(out, line->text);
		limit--;
	}
}

json_t *
journal_stats(void)
{
	json_t	   *by_status = json_object();
	json_t	   *by_method = json_object();
	json_t	   *sets = json_object();
	Map		   *all = set_all();
	char		name[16];

	for (int i = 0; i < 600; i++)
		if (counters.by_status[i] > 0)
		{
			snprintf(name, sizeof(name), "%d", i);
			json_object_set_new(by_status, name,
								json_integer(counters.by_status[i]));
		}
	for (int i = 0; i < 8; i++)
		if (counters.by_method[i] > 0)
			json_object_set_new(by_method, methods[i],
								json_integer(counters.by_method[i]));
	for (size_t i = 0; i < all->size; i++)
		if (all->slots[i].value != NULL)
			json_object_set_new(sets, all->slots[i].key,
								json_integer((json_int_t) ((Set *) all->slots[i].value)->entities.live));
	return json_pack("{s:I, s:I, s:I, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:I,"
					 " s:I, s:I, s:I, s:I, s:o}",
					 "requests", (json_int_t) counters.requests,
					 "acted", (json_int_t) counters.acted,
					 "faults", (json_int_t) counters.faults,
					 "bytes", (json_int_t) counters.bytes,
					 "by_status", by_status, "by_method", by_method,
					 "unique_keys", (json_int_t) counters.unique,
					 "duplicates_same_key", (json_int_t) counters.duplicates_same,
					 "duplicates_other_key", (json_int_t) counters.duplicates_other,
					 "key_reused", (json_int_t) counters.key_reused,
					 "order_violations", (json_int_t) counters.order,
					 "connections", (json_int_t) server_connections(),
					 "in_flight_max", (json_int_t) counters.in_flight_max,
					 "first", (json_int_t) counters.first,
					 "last", (json_int_t) counters.last,
					 "sets", sets);
}

json_t *
journal_violations(void)
{
	return violations ? json_incref(violations) : json_array();
}
