/*-------------------------------------------------------------------------
 *
 * link.c
 *	  Addresses that answers tell: resolved, and kept under the server's url.
 *
 * libcurl's own URL functions take them apart, so that what is checked here is
 * what libcurl would connect to.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/link.h"

#include <curl/curl.h>

/* An address taken apart; libcurl's texts. */
typedef struct LnkParts
{
	char	   *scheme;
	char	   *host;
	char	   *port;
	char	   *path;
	char	   *user;
} LnkParts;

/* lnk_take takes an address apart; nothing in here raises. */
static void
lnk_take(CURLU * url, LnkParts *parts)
{
	memset(parts, 0, sizeof(LnkParts));
	(void) curl_url_get(url, CURLUPART_SCHEME, &parts->scheme, 0);
	(void) curl_url_get(url, CURLUPART_HOST, &parts->host, 0);
	(void) curl_url_get(url, CURLUPART_PORT, &parts->port, CURLU_DEFAULT_PORT);
	(void) curl_url_get(url, CURLUPART_PATH, &parts->path, 0);
	(void) curl_url_get(url, CURLUPART_USER, &parts->user, 0);
}

static void
lnk_give(LnkParts *parts)
{
	curl_free(parts->scheme);
	curl_free(parts->host);
	curl_free(parts->port);
	curl_free(parts->path);
	curl_free(parts->user);
}

/* lnk_hidden says whether a path may climb in a way that libcurl lets be. */
static bool
lnk_hidden(const char *path)
{
	for (const char *p = path; (p = strchr(p, '%')) != NULL; p++)
	{
		if (p[1] == '2' && (p[2] == 'e' || p[2] == 'E') &&
			(p == path || p[-1] == '/' || p[-1] == '.'))
			return true;
	}
	return strchr(path, '\\') != NULL;
}

/* lnk_under says why an address is not under another one; NULL: it is. */
static const char *
lnk_under(const LnkParts *parts, const LnkParts *root)
{
	if (parts->scheme == NULL || parts->host == NULL || parts->path == NULL ||
		parts->port == NULL || root->scheme == NULL || root->host == NULL ||
		root->path == NULL || root->port == NULL)
		return "It is no address";
	if (strcmp(parts->scheme, root->scheme) != 0 ||
		pg_strcasecmp(parts->host, root->host) != 0 ||
		strcmp(parts->port, root->port) != 0)
		return "It is another host than the server's";
	if (parts->user != NULL)
		return "It has credentials in it";
	if (strncmp(parts->path, root->path, strlen(root->path)) != 0 ||
		lnk_hidden(parts->path))
		return "It is not under the server's url";
	return NULL;
}

/* concord_link_resolve makes a whole address that is under root. */
char *
concord_link_resolve(const char *base, const char *link, const char *root,
					 const char **why)
{
	CURLU	   *url;
	CURLU	   *top;
	LnkParts	parts;
	LnkParts	above;
	char	   *whole = NULL;
	char	   *result = NULL;

	*why = "It is no address";
	for (const char *p = link; *p; p++)
	{
		if ((unsigned char) *p < ' ' || *p == 0x7F)
			return NULL;
	}
	url = curl_url();
	top = curl_url();
	if (url != NULL && top != NULL &&
		curl_url_set(top, CURLUPART_URL, root, 0) == CURLUE_OK &&
		curl_url_set(url, CURLUPART_URL, base, 0) == CURLUE_OK &&
		curl_url_set(url, CURLUPART_URL, link, CURLU_URLENCODE) == CURLUE_OK)
	{
		(void) curl_url_set(url, CURLUPART_FRAGMENT, NULL, 0);
		lnk_take(url, &parts);
		lnk_take(top, &above);
		*why = lnk_under(&parts, &above);
		if (*why == NULL &&
			curl_url_get(url, CURLUPART_URL, &whole, 0) != CURLUE_OK)
			*why = "It is no address";
		lnk_give(&parts);
		lnk_give(&above);
	}
	curl_url_cleanup(url);
	curl_url_cleanup(top);
	if (whole != NULL)
	{
		result = MemoryContextAllocExtended(CurrentMemoryContext,
											strlen(whole) + 1,
											MCXT_ALLOC_NO_OOM);
		if (result != NULL)
			strcpy(result, whole);
		curl_free(whole);
		if (result == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory")));
	}
	return result;
}

/* lnk_is_next says whether the parameters of a link have rel=next. */
static bool
lnk_is_next(const char *p, const char *end)
{
	while (p < end)
	{
		const char *stop = memchr(p, ';', end - p);

		if (stop == NULL)
			stop = end;
		while (p < stop && *p == ' ')
			p++;
		if (stop - p > 4 && pg_strncasecmp(p, "rel=", 4) == 0)
		{
			p += 4;
			p += *p == '"';
			/* several may stand there */
			while (p < stop && *p != '"')
			{
				Size		len = 0;

				while (p + len < stop && p[len] != ' ' && p[len] != '"')
					len++;
				if (len == 4 && pg_strncasecmp(p, "next", 4) == 0)
					return true;
				p += len;
				while (p < stop && *p == ' ')
					p++;
			}
		}
		p = stop + 1;
	}
	return false;
}

/* concord_link_next returns the address with rel=next (RFC 8288). */
char *
concord_link_next(const char *header)
{
	const char *p = header;

	while ((p = strchr(p, '<')) != NULL)
	{
		const char *close = strchr(p, '>');
		const char *end;

		if (close == NULL)
			return NULL;
		end = strchr(close, '<');
		if (end == NULL)
			end = close + strlen(close);
		else
		{
			while (end > close && end[-1] != ',')
				end--;
			if (end > close)
				end--;
		}
		if (lnk_is_next(close + 1, end))
			return pnstrdup(p + 1, close - p - 1);
		p = close;
	}
	return NULL;
}
