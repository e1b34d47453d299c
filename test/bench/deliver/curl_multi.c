/*-------------------------------------------------------------------------
 *
 * curl_multi.c
 *	  What libcurl alone can deliver: the yardstick for the courier.
 *
 * Sends one request N times, with keep-alive and a fixed number in flight,
 * reads the answers and does nothing else: no database, no order, no
 * bookkeeping, no body that has to be written first.  Easy handles are reused,
 * as the courier reuses its own; the list of headers is made for each request.
 *
 *	  curl_multi URL N IN_FLIGHT REQUEST
 *
 * REQUEST is a file: the method in the first line, headers in those that
 * follow, an empty line, and the body.  Prints requests per second, and
 * microseconds of CPU a request.
 *
 *-------------------------------------------------------------------------
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define MAX_HEADERS 64

typedef struct Transfer
{
	CURL	   *easy;
	struct curl_slist *headers;
} Transfer;

static const char *method;
static const char *headers[MAX_HEADERS];
static int	nheaders;
static const char *body;
static long body_len;

static long sent;
static long failed;

static size_t
discard(char *data, size_t size, size_t n, void *arg)
{
	(void) data;
	(void) arg;
	return size * n;
}

static double
seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}

/* Reads the request; the file stays in memory. */
static void
read_request(const char *name)
{
	FILE	   *file = fopen(name, "rb");
	char	   *text = calloc(1, 16 * 1024 * 1024);
	size_t		len = file ? fread(text, 1, 16 * 1024 * 1024 - 1, file) : 0;
	char	   *p = text;

	if (file == NULL || len == 0)
	{
		perror(name);
		exit(2);
	}
	fclose(file);
	for (int line = 0;; line++)
	{
		char	   *end = strchr(p, '\n');
		char	   *start = p;

		if (end == NULL)
			break;
		*end = '\0';
		p = end + 1;
		if (line == 0)
			method = start;
		else if (*start == '\0')
			break;
		else if (nheaders < MAX_HEADERS)
			headers[nheaders++] = start;
	}
	body = p;
	body_len = (long) (text + len - p);
}

/* Gives a transfer its headers and starts it. */
static void
start(CURLM *multi, Transfer *t)
{
	curl_slist_free_all(t->headers);
	t->headers = NULL;
	for (int i = 0; i < nheaders; i++)
		t->headers = curl_slist_append(t->headers, headers[i]);
	curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
	curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE, body_len);
	curl_multi_add_handle(multi, t->easy);
}

static void
prepare(Transfer *t, const char *url)
{
	t->easy = curl_easy_init();
	curl_easy_setopt(t->easy, CURLOPT_URL, url);
	curl_easy_setopt(t->easy, CURLOPT_POST, 1L);
	curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, discard);
	curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
	curl_easy_setopt(t->easy, CURLOPT_TIMEOUT_MS, 30000L);
	curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
}

/* Takes finished transfers off the stack and starts the next ones. */
static long
reap(CURLM *multi, long total)
{
	CURLMsg    *msg;
	int			left;
	long		done = 0;

	while ((msg = curl_multi_info_read(multi, &left)) != NULL)
	{
		Transfer   *t;
		long		status = 0;
		CURL	   *easy = msg->easy_handle;

		if (msg->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **) &t);
		curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
		if (msg->data.result != CURLE_OK || status < 200 || status > 299)
			failed++;
		done++;
		curl_multi_remove_handle(multi, easy);
		if (sent < total)
		{
			sent++;
			start(multi, t);
		}
	}
	return done;
}

int
main(int argc, char **argv)
{
	long		total = argc > 2 ? atol(argv[2]) : 0;
	int			in_flight = argc > 3 ? atoi(argv[3]) : 0;
	Transfer   *transfers;
	CURLM	   *multi;
	struct rusage usage;
	double		begin;
	long		done = 0;

	if (argc != 5 || total < 1 || in_flight < 1)
	{
		fprintf(stderr, "usage: curl_multi URL REQUESTS IN_FLIGHT REQUEST-FILE\n");
		return 2;
	}
	read_request(argv[4]);
	curl_global_init(CURL_GLOBAL_DEFAULT);
	multi = curl_multi_init();
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) in_flight);
	transfers = calloc((size_t) in_flight, sizeof(Transfer));
	begin = seconds();
	for (int i = 0; i < in_flight && sent < total; i++)
	{
		prepare(&transfers[i], argv[1]);
		sent++;
		start(multi, &transfers[i]);
	}
	while (done < total)
	{
		int			running;

		curl_multi_perform(multi, &running);
		done += reap(multi, total);
		if (done < total)
			curl_multi_poll(multi, NULL, 0, 1000, NULL);
	}
	getrusage(RUSAGE_SELF, &usage);
	printf("%.0f %.1f\n", (double) total / (seconds() - begin),
		   ((double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
			(double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec)) / (double) total);
	if (failed > 0)
		fprintf(stderr, "%ld requests failed\n", failed);
	return failed > 0;
}
