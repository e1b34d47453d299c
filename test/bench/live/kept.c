/*-------------------------------------------------------------------------
 *
 * kept.c
 *	  What a request costs with libcurl alone: one blocking easy handle, on a
 *	  kept connection or on a new one for each request.
 *
 *	kept URL N kept|fresh		prints the median in microseconds
 *
 *-------------------------------------------------------------------------
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static size_t
take(char *data, size_t size, size_t n, void *arg)
{
	return size * n;
}

static int
by_value(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return x < y ? -1 : x > y;
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

int
main(int argc, char **argv)
{
	CURL	   *easy = curl_easy_init();
	int			n = argc == 4 ? atoi(argv[2]) : 0;
	double	   *times = calloc(n > 0 ? n : 1, sizeof(double));

	if (n <= 0 || easy == NULL || times == NULL)
	{
		fprintf(stderr, "usage: kept URL N kept|fresh\n");
		return 1;
	}
	curl_easy_setopt(easy, CURLOPT_URL, argv[1]);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(easy, CURLOPT_FORBID_REUSE,
					 strcmp(argv[3], "fresh") == 0 ? 1L : 0L);
	for (int i = 0; i < n; i++)
	{
		double		start = now();

		if (curl_easy_perform(easy) != CURLE_OK)
		{
			fprintf(stderr, "request failed\n");
			return 1;
		}
		times[i] = now() - start;
	}
	qsort(times, n, sizeof(double), by_value);
	printf("%.1f\n", times[n / 2]);
	return 0;
}
