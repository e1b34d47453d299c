/*-------------------------------------------------------------------------
 *
 * curl_multi.c
 *	  What libcurl alone can deliver: the yardstick for the courier.
 *
 * Sends N small JSON POSTs with keep-alive and a fixed number in flight, each
 * with as many headers as a delivery carries, reads the answers and does
 * nothing else: no database, no order, no bookkeeping.  Easy handles are
 * reused, as the courier reuses its own.
 *
 *	  curl_multi URL N IN_FLIGHT [HEADERS]
 *
 * prints requests per second, and microseconds of CPU a request.
 *
 *-------------------------------------------------------------------------
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

typedef struct Transfer
{
	CURL	   *easy;
	struct curl_slist *headers;
	char		body[512];
} Transfer;

static long sent;
static long failed;
static int	nheaders = 2;		/* Content-Type included */

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

/* Gives a transfer its next body and headers and starts it. */
static void
start(CURLM *multi, Transfer *t, long n)
{
	char		line[160];

	snprintf(t->body, sizeof(t->body),
			 "{\"ID\": \"C%08ld\", \"Name\": \"Customer number %ld\", "
			 "\"CreditLimit\": %ld.25, \"Note\": \"%0100ld\", "
			 "\"ChangedAt\": \"2026-11-20T08:15:00.123456Z\"}", n, n, n % 10000, n);
	curl_slist_free_all(t->headers);
	t->headers = curl_slist_append(NULL, "Content-Type: application/json");
	for (int i = 1; i < nheaders; i++)
	{
		snprintf(line, sizeof(line),
				 "X-Header-%d: 8a1b3c5d-0000-8000-8000-%012ld", i, n);
		t->headers = curl_slist_append(t->headers, line);
	}
	curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, t->headers);
	curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE, (long) strlen(t->body));
	curl_multi_add_handle(multi, t->easy);
}

static void
prepare(Transfer *t, const char *url)
{
	t->easy = curl_easy_init();
	curl_easy_setopt(t->easy, CURLOPT_URL, url);
	curl_easy_setopt(t->easy, CURLOPT_POST, 1L);
	curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, t->body);
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
			start(multi, t, ++sent);
	}
	return done;
}

int
main(int argc, char **argv)
{
	long		total = argc > 2 ? atol(argv[2]) : 0;
	int			in_flight = argc > 3 ? atoi(argv[3]) : 32;
	Transfer   *transfers;
	CURLM	   *multi;
	struct rusage usage;
	double		begin;
	long		done = 0;

	if (argc > 4)
		nheaders = atoi(argv[4]);
	if (argc < 3 || total < 1 || in_flight < 1 || nheaders < 1)
	{
		fprintf(stderr, "usage: curl_multi URL REQUESTS [IN_FLIGHT] [HEADERS]\n");
		return 2;
	}
	curl_global_init(CURL_GLOBAL_DEFAULT);
	multi = curl_multi_init();
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) in_flight);
	transfers = calloc((size_t) in_flight, sizeof(Transfer));
	begin = seconds();
	for (int i = 0; i < in_flight && sent < total; i++)
	{
		prepare(&transfers[i], argv[1]);
		start(multi, &transfers[i], ++sent);
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
