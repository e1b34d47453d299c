/*-------------------------------------------------------------------------
 *
 * server.c
 *	  Sockets, request bodies, timers, and the many ways to answer.
 *
 * One thread, one loop: poll() over libmicrohttpd's epoll descriptors with
 * the nearest timer as its limit.  A request that has to wait is suspended in
 * libmicrohttpd and resumed by its timer; libmicrohttpd then calls the
 * handler again with the same Request.
 *
 * With TLS there are two listeners, one for TLS and one without, which a test
 * uses for /_control/; the port file has a line for each.
 *
 *-------------------------------------------------------------------------
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "request.h"

#define HANG_US (INT64_C(600) * 1000000)

static struct MHD_Daemon *daemons[2];
static int	ndaemons;
static volatile sig_atomic_t stopping;
static int64_t connections;
static Request **timers;		/* a heap by due time, from index 1 */
static size_t ntimers;
static size_t timers_size;

int64_t
server_connections(void)
{
	return connections;
}

void
server_stop(void)
{
	stopping = 1;
}

static void
on_signal(int signo)
{
	(void) signo;
	stopping = 1;
}

/* ---- timers ---- */

static void
timer_put(size_t at, Request *req)
{
	timers[at] = req;
	req->timer = at;
}

static void
timer_up(size_t at, Request *req)
{
	for (; at > 1 && timers[at / 2]->due > req->due; at /= 2)
		timer_put(at, timers[at / 2]);
	timer_put(at, req);
}

static void
timer_down(size_t at, Request *req)
{
	for (size_t child; (child = at * 2) <= ntimers; at = child)
	{
		if (child < ntimers && timers[child + 1]->due < timers[child]->due)
			child++;
		if (timers[child]->due >= req->due)
			break;
		timer_put(at, timers[child]);
	}
	timer_put(at, req);
}

/* Suspends a request until the monotonic time in req->due. */
static void
timer_suspend(Request *req)
{
	if (ntimers + 2 > timers_size)
	{
		timers_size = timers_size ? timers_size * 2 : 256;
		timers = xrealloc(timers, sizeof(Request *) * timers_size);
	}
	timer_up(++ntimers, req);
	req->suspended = true;
	MHD_suspend_connection(req->conn);
}

static void
timer_remove(Request *req)
{
	size_t		at = req->timer;
	Request    *last = timers[ntimers--];

	req->timer = 0;
	if (last == req)
		return;
	if (at > 1 && timers[at / 2]->due > last->due)
		timer_up(at, last);
	else
		timer_down(at, last);
}

/* Resumes what is due; returns milliseconds to the next, or -1. */
static int
timers_run(void)
{
	while (ntimers > 0)
	{
		Request    *req = timers[1];
		int64_t		left = req->due - mono_us();

		if (left > 0)
			return left > 60000000 ? 60000 : (int) (left / 1000) + 1;
		timer_remove(req);
		req->suspended = false;
		MHD_resume_connection(req->conn);
	}
	return -1;
}

/* ---- requests ---- */

static void *
request_new(void *cls, const char *uri, struct MHD_Connection *conn)
{
	Request    *req = xmalloc(sizeof(Request));
	char	   *mark;

	(void) cls;
	memset(req, 0, sizeof(*req));
	req->conn = conn;
	req->arrived = now_us();
	req->uri = xstrdup(uri);
	mark = strchr(req->uri, '?');
	req->path = mark ? xstrndup(req->uri, (size_t) (mark - req->uri)) : xstrdup(req->uri);
	req->query = mark ? mark + 1 : "";
	return req;
}

static enum MHD_Result
request_add_header(void *cls, enum MHD_ValueKind kind, const char *name,
				   const char *value)
{
	Request    *req = cls;
	Header	   *header;

	(void) kind;
	if (req->nheaders == MAX_HEADERS)
		return MHD_NO;
	header = &req->headers[req->nheaders++];
	header->name = xstrdup(name);
	for (char *p = header->name; *p; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p += 'a' - 'A';
	header->value = xstrdup(value ? value : "");
	return MHD_YES;
}

static void
headers_free(Header *headers, int count)
{
	for (int i = 0; i < count; i++)
	{
		free(headers[i].name);
		free(headers[i].value);
	}
}

/* libmicrohttpd is through with a request, or its connection went away. */
static void
request_completed(void *cls, struct MHD_Connection *conn, void **state,
				  enum MHD_RequestTerminationCode code)
{
	Request    *req = *state;

	(void) cls;
	(void) conn;
	(void) code;
	if (req == NULL)
		return;
	if (req->timer > 0)
		timer_remove(req);
	if (req->counted && req->state != REQUEST_DONE)
		journal_abandon();
	headers_free(req->headers, req->nheaders);
	headers_free(req->answer.headers, req->answer.nheaders);
	json_decref(req->action);
	buf_free(&req->body);
	buf_free(&req->answer.body);
	buf_free(&req->raw);
	free(req->set_path);
	free(req->key);
	free(req->path);
	free(req->uri);
	free(req);
	*state = NULL;
}

/* Returns the value of a header (name in lower case), or NULL. */
const char *
request_header(const Request *req, const char *name)
{
	for (int i = 0; i < req->nheaders; i++)
		if (strcmp(req->headers[i].name, name) == 0)
			return req->headers[i].value;
	return NULL;
}

/* ---- answers ---- */

/* Sets a header of the answer; a second value replaces the first, but for cookies. */
void
answer_header(Answer *answer, const char *name, const char *value)
{
	int			i = 0;

	while (i < answer->nheaders &&
		   (strcasecmp(name, "Set-Cookie") == 0 ||
			strcasecmp(answer->headers[i].name, name) != 0))
		i++;
	if (i == MAX_ANSWER_HEADERS)
		return;
	if (i < answer->nheaders)
		headers_free(&answer->headers[i], 1);
	else
		answer->nheaders++;
	answer->headers[i].name = xstrdup(name);
	answer->headers[i].value = xstrdup(value);
}

/* Answers with a JSON value, whose reference is taken over. */
void
answer_json(Answer *answer, int status, json_t *value)
{
	char	   *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

	json_decref(value);
	answer->body.len = 0;
	buf_str(&answer->body, text);
	buf_char(&answer->body, '\n');
	free(text);
	answer_header(answer, "Content-Type", "application/json");
	answer->status = status;
}

/* Answers with an error in OData's form. */
void
answer_error(Answer *answer, int status, const char *code, const char *message)
{
	answer->body.len = 0;
	buf_str(&answer->body, "{\"error\":{\"code\":");
	buf_json(&answer->body, code, strlen(code));
	buf_str(&answer->body, ",\"message\":");
	buf_json(&answer->body, message, strlen(message));
	buf_str(&answer->body, "}}");
	answer_header(answer, "Content-Type", "application/json");
	answer->status = status;
}

/* Gives the body of an answer that is torn, slow or endless. */
static ssize_t
faulty_reader(void *cls, uint64_t pos, char *out, size_t max)
{
	Request    *req = cls;
	size_t		left = req->answer.body.len - req->sent;

	if (req->delivery == DELIVER_ENDLESS)
	{
		if (req->endless > 0 && (int64_t) max > req->endless - (int64_t) pos)
			max = (size_t) (req->endless - (int64_t) pos);
		memset(out, 'x', max);
		return (ssize_t) max;
	}
	if (left == 0)
		return req->delivery == DELIVER_TORN ? MHD_CONTENT_READER_END_WITH_ERROR :
			MHD_CONTENT_READER_END_OF_STREAM;
	if (req->delivery == DELIVER_SLOW)
	{
		if (req->due > mono_us())
		{
			timer_suspend(req);
			return 0;
		}
		req->due = mono_us() + req->slow_ms * INT64_C(1000);
		if (left > (size_t) req->slow_bytes)
			left = (size_t) req->slow_bytes;
	}
	if (left > max)
		left = max;
	memcpy(out, req->answer.body.data + req->sent, left);
	req->sent += left;
	return (ssize_t) left;
}

static int
request_socket(const Request *req)
{
	return MHD_get_connection_info(req->conn, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

/* Resets the connection at once: the peer sees RST and no byte of an answer. */
static enum MHD_Result
deliver_reset(const Request *req)
{
	struct sockaddr nobody = {.sa_family = AF_UNSPEC};

	(void) connect(request_socket(req), &nobody, sizeof(nobody));
	return MHD_NO;
}

static enum MHD_Result
deliver_raw(const Request *req)
{
	if (send(request_socket(req), req->raw.data, req->raw.len, MSG_NOSIGNAL) < 0)
		return MHD_NO;
	return MHD_NO;
}

static struct MHD_Response *
make_response(Request *req)
{
	Buf		   *body = &req->answer.body;
	struct MHD_Response *response;
	uint64_t	size;

	if (req->delivery == DELIVER_WHOLE)
	{
		response = MHD_create_response_from_buffer(body->len, body->data,
												   MHD_RESPMEM_MUST_FREE);
		memset(body, 0, sizeof(*body));
		return response;
	}
	size = req->delivery == DELIVER_ENDLESS && req->endless > 0 ? (uint64_t) req->endless :
		req->delivery == DELIVER_ENDLESS ? MHD_SIZE_UNKNOWN :
		req->delivery == DELIVER_TORN ? body->len * 2 + 100 : body->len;
	req->due = 0;
	return MHD_create_response_from_callback(size, 65536, faulty_reader, req, NULL);
}

/* Sends the answer of a request in the way its rule wants. */
static enum MHD_Result
deliver(Request *req)
{
	struct MHD_Response *response;
	enum MHD_Result result;

	if (req->delivery == DELIVER_RESET)
		return deliver_reset(req);
	if (req->delivery == DELIVER_RAW)
		return deliver_raw(req);
	response = make_response(req);
	for (int i = 0; i < req->answer.nheaders; i++)
		(void) MHD_add_response_header(response, req->answer.headers[i].name,
									   req->answer.headers[i].value);
	result = MHD_queue_response(req->conn, (unsigned) req->answer.status, response);
	MHD_destroy_response(response);
	return result;
}

/* ---- one request from its last byte to its answer ---- */

static bool
is_control(const Request *req)
{
	return text_starts(req->path, "/_control/");
}

/* Does what is asked, unless a rule forbids it, and decides the answer. */
static void
act(Request *req)
{
	if (!rule_prevents_acting(req))
		service_act(req);
	if (req->action != NULL)
		rule_alter_answer(req);
}

static enum MHD_Result
finish(Request *req)
{
	req->state = REQUEST_DONE;
	if (!is_control(req))
		journal_add(req);
	return deliver(req);
}

/* Handles a request that is read completely. */
static enum MHD_Result
request_read(Request *req)
{
	if (is_control(req))
	{
		control_act(req);
		return finish(req);
	}
	journal_begin();
	req->counted = true;
	service_locate(req);
	rules_apply(req);
	if (req->delivery == DELIVER_NEVER)
		req->due = mono_us() + HANG_US;
	if (req->due == 0)
	{
		act(req);
		return finish(req);
	}
	if (rule_delays_after_acting(req))
		act(req);
	req->state = REQUEST_DELAYED;
	timer_suspend(req);
	return MHD_YES;
}

/* Handles a request whose delay is over. */
static enum MHD_Result
request_resumed(Request *req)
{
	if (!rule_delays_after_acting(req))
		act(req);
	if (req->delivery == DELIVER_NEVER)
		req->delivery = DELIVER_RESET;
	return finish(req);
}

static enum MHD_Result
handle(void *cls, struct MHD_Connection *conn, const char *url,
	   const char *method, const char *version, const char *data,
	   size_t *size, void **state)
{
	Request    *req = *state;

	(void) cls;
	(void) url;
	(void) version;
	if (req->state == REQUEST_FRESH)
	{
		req->state = REQUEST_READING;
		req->method = method;
		(void) MHD_get_connection_values(conn, MHD_HEADER_KIND,
										 request_add_header, req);
		return MHD_YES;
	}
	if (*size > 0)
	{
		if (req->body.len + *size > options.max_body)
			req->body_too_large = true;
		else
			buf_add(&req->body, data, *size);
		*size = 0;
		return MHD_YES;
	}
	if (req->state == REQUEST_READING)
		return request_read(req);
	if (req->state == REQUEST_DELAYED && !req->suspended)
		return request_resumed(req);
	return MHD_YES;
}

/* ---- the daemon ---- */

static void
on_connection(void *cls, struct MHD_Connection *conn, void **state,
			  enum MHD_ConnectionNotificationCode code)
{
	(void) cls;
	(void) conn;
	(void) state;
	if (code == MHD_CONNECTION_NOTIFY_STARTED)
		connections++;
}

/* Addresses stay percent-encoded: %2F in a key is not a slash. */
static size_t
keep_encoded(void *cls, struct MHD_Connection *conn, char *s)
{
	(void) cls;
	(void) conn;
	return strlen(s);
}

static void
no_log(void *cls, const char *format, va_list args)
{
	(void) cls;
	(void) format;
	(void) args;
}

/* Reads a whole file, for the certificate and its key. */
static char *
read_file(const char *path)
{
	FILE	   *file = fopen(path, "r");
	Buf			buf = {0};
	char		chunk[4096];
	size_t		got;

	if (file == NULL)
	{
		perror(path);
		exit(1);
	}
	while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0)
		buf_add(&buf, chunk, got);
	fclose(file);
	return buf.data;
}

static bool
start_daemon(int port, bool tls)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t) port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)
	};
	struct MHD_OptionItem secure[] = {
		{MHD_OPTION_HTTPS_MEM_CERT, 0, tls ? read_file(options.tls_cert) : NULL},
		{MHD_OPTION_HTTPS_MEM_KEY, 0, tls ? read_file(options.tls_key) : NULL},
		{MHD_OPTION_END, 0, NULL}
	};

	daemons[ndaemons] =
		MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME |
						 MHD_USE_ERROR_LOG | (tls ? MHD_USE_TLS : 0),
						 0, NULL, NULL, handle, NULL,
						 MHD_OPTION_EXTERNAL_LOGGER, no_log, NULL,
						 MHD_OPTION_SOCK_ADDR, &addr,
						 MHD_OPTION_URI_LOG_CALLBACK, request_new, NULL,
						 MHD_OPTION_NOTIFY_COMPLETED, request_completed, NULL,
						 MHD_OPTION_NOTIFY_CONNECTION, on_connection, NULL,
						 MHD_OPTION_UNESCAPE_CALLBACK, keep_encoded, NULL,
						 MHD_OPTION_CONNECTION_LIMIT, 4096u,
	/* cleared at every request, so not larger than needed */
						 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) 24576,
						 MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u,
						 MHD_OPTION_ARRAY, tls ? secure : &secure[2],
						 MHD_OPTION_END);
	return daemons[ndaemons] != NULL && ++ndaemons > 0;
}

static int
daemon_port(struct MHD_Daemon *daemon)
{
	return MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
}

/* Writes the port file under another name first: who sees it can read it. */
static bool
write_ports(void)
{
	char	   *name;
	FILE	   *file;
	Buf			buf = {0};

	if (options.port_file == NULL)
	{
		for (int i = 0; i < ndaemons; i++)
			printf("%d\n", daemon_port(daemons[i]));
		return fflush(stdout) == 0;
	}
	buf_str(&buf, options.port_file);
	buf_str(&buf, ".new");
	name = buf.data;
	file = fopen(name, "w");
	if (file == NULL)
	{
		perror(name);
		return false;
	}
	for (int i = 0; i < ndaemons; i++)
		fprintf(file, "%d\n", daemon_port(daemons[i]));
	return fclose(file) == 0 && rename(name, options.port_file) == 0;
}

/* Opens the listeners; false with a message when that is impossible. */
bool
server_start(void)
{
	signal(SIGPIPE, SIG_IGN);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	if ((options.tls_cert && !start_daemon(options.port, true)) ||
		!start_daemon(options.tls_cert ? 0 : options.port, false))
	{
		fprintf(stderr, "sandbox: could not listen on 127.0.0.1:%d\n", options.port);
		return false;
	}
	return write_ports();
}

/* Serves until it is told to stop. */
void
server_run(void)
{
	struct pollfd fds[2];

	for (int i = 0; i < ndaemons; i++)
	{
		fds[i].fd = MHD_get_daemon_info(daemons[i], MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
		fds[i].events = POLLIN;
	}
	while (!stopping)
	{
		int			wait = timers_run();

		for (int i = 0; i < ndaemons; i++)
		{
			MHD_UNSIGNED_LONG_LONG left;

			(void) MHD_run(daemons[i]);
			if (MHD_get_timeout(daemons[i], &left) == MHD_YES &&
				(wait < 0 || left < (unsigned) wait))
				wait = (int) left;
		}
		if (ntimers > 0 && wait != 0)
		{
			int64_t		left = (timers[1]->due - mono_us()) / 1000 + 1;

			if (wait < 0 || left < wait)
				wait = left > 0 ? (int) left : 0;
		}
		if (!stopping)
			(void) poll(fds, (nfds_t) ndaemons, wait);
	}
	/* The answer to /_control/stop is still on its way. */
	for (int i = 0; i < ndaemons; i++)
		(void) MHD_run(daemons[i]);
}
