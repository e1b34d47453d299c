/*-------------------------------------------------------------------------
 *
 * sigv4.c
 *	  Authentication scheme "sigv4": AWS Signature Version 4.
 *
 * libcurl can sign too (CURLOPT_AWS_SIGV4), but its releases differ in what
 * they sign: the one of Debian 12 (7.88) includes headers that stand in the
 * list only to keep libcurl from sending them, and takes several that we hand
 * over as one for one.  So the signature is made here, over Host, Content-Type
 * and all x-amz- headers, the query, and the body's hash.  The path is encoded
 * once more, as every service but S3 wants it.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

#include <time.h>

/* sig_path encodes a path, which is encoded already, once more. */
static char *
sig_path(const char *path)
{
	StringInfoData buf;

	initStringInfo(&buf);
	while (*path)
	{
		Size		len = strcspn(path, "/");

		concord_encode_percent(&buf, pnstrdup(path, len));
		if (path[len] == '/')
			appendStringInfoChar(&buf, path[len++]);
		path += len;
	}
	return buf.data;
}

/* sig_compare orders headers by name. */
static int
sig_compare(const void *a, const void *b)
{
	return strcmp(((const ConcordHeader *) a)->name,
				  ((const ConcordHeader *) b)->name);
}

/* sig_headers writes the headers that are signed, and their names. */
static char *
sig_headers(const ConcordRequest *request, const char *host, char **names)
{
	ConcordHeader *all = palloc(sizeof(ConcordHeader) * (request->nheaders + 1));
	StringInfoData lines;
	StringInfoData list;
	int			n = 0;

	all[n].name = "host";
	all[n++].value = unconstify(char *, host);
	for (int i = 0; i < request->nheaders; i++)
	{
		char	   *name = concord_sign_lower(request->headers[i].name);

		if (strcmp(name, "content-type") != 0 && strncmp(name, "x-amz-", 6) != 0)
			continue;
		all[n].name = name;
		all[n++].value = request->headers[i].value;
	}
	qsort(all, n, sizeof(ConcordHeader), sig_compare);
	initStringInfo(&lines);
	initStringInfo(&list);
	for (int i = 0; i < n; i++)
	{
		appendStringInfo(&lines, "%s:%s\n", all[i].name, all[i].value);
		appendStringInfo(&list, "%s%s", i > 0 ? ";" : "", all[i].name);
	}
	*names = list.data;
	return lines.data;
}

/* sig_key derives the key of a day, a region and a service. */
static void
sig_key(const ConcordAuth *auth, const char *day, uint8 *key)
{
	const char *parts[] = {
		concord_auth_option(auth, "region"),
		concord_auth_option(auth, "aws_service"), "aws4_request"
	};
	char	   *first = psprintf("AWS4%s", concord_secret_text(auth, "secret_key"));
	uint8		next[32];

	concord_sign_hmac(first, strlen(first), day, strlen(day), key);
	for (int i = 0; i < lengthof(parts); i++)
	{
		concord_sign_hmac(key, sizeof(next), parts[i], strlen(parts[i]), next);
		memcpy(key, next, sizeof(next));
	}
	explicit_bzero(first, strlen(first));
	explicit_bzero(next, sizeof(next));
}

/* sig_apply adds X-Amz-Date, X-Amz-Security-Token and Authorization. */
static const char *
sig_apply(const ConcordAuth *auth, ConcordRequest *request)
{
	time_t		now = time(NULL);
	struct tm	tm;
	char		stamp[32];
	char		day[16];
	ConcordAddress at;
	const char *why = concord_sign_address(request->url, &at);
	char	   *names;
	char	   *headers;
	char	   *scope;
	char	   *canonical;
	char	   *text;
	uint8		key[32];
	uint8		digest[32];

	if (why != NULL)
		return why;
	gmtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
	strftime(day, sizeof(day), "%Y%m%d", &tm);
	concord_request_header(request, "X-Amz-Date", stamp);
	if (concord_secret_get(auth, "session_token") != NULL)
		concord_request_header(request, "X-Amz-Security-Token",
							   concord_secret_text(auth, "session_token"));

	headers = sig_headers(request, at.host, &names);
	canonical = psprintf("%s\n%s\n%s\n%s\n%s\n%s", request->method,
						 sig_path(at.path), concord_sign_query(at.query, NULL, 0),
						 headers, names,
						 concord_sign_sha256(request->body ? request->body : "",
											 request->body ? request->body_len : 0));
	scope = psprintf("%s/%s/%s/aws4_request", day,
					 concord_auth_option(auth, "region"),
					 concord_auth_option(auth, "aws_service"));
	text = psprintf("AWS4-HMAC-SHA256\n%s\n%s\n%s", stamp, scope,
					concord_sign_sha256(canonical, strlen(canonical)));
	sig_key(auth, day, key);
	concord_sign_hmac(key, sizeof(key), text, strlen(text), digest);
	explicit_bzero(key, sizeof(key));
	concord_request_header(request, "Authorization",
						   psprintf("AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s",
									concord_auth_option(auth, "access_key"),
									scope, names,
									concord_sign_hex(digest, sizeof(digest))));
	return NULL;
}

static const char *const sig_required[] = {
	"access_key", "secret_key|secret_key_file", "region", "aws_service", NULL
};
static const char *const sig_optional[] = {
	"session_token", "session_token_file", NULL
};

const ConcordAuthScheme concord_auth_sigv4 = {
	"sigv4", sig_required, sig_optional, sig_apply
};
