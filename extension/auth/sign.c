/*-------------------------------------------------------------------------
 *
 * sign.c
 *	  What signatures over a request have in common: hashes, and its address
 *	  taken apart.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

#include <curl/curl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

/* concord_sign_hmac computes HMAC-SHA-256 into 32 bytes. */
void
concord_sign_hmac(const void *key, Size key_len, const void *data, Size len,
				  uint8 *digest)
{
	unsigned	size = 0;

	if (HMAC(EVP_sha256(), key, (int) key_len, data, len, digest,
			 &size) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not compute a signature")));
}

/* concord_sign_hex writes bytes as hexadecimal digits. */
char *
concord_sign_hex(const uint8 *bytes, Size len)
{
	static const char hex[] = "0123456789abcdef";
	char	   *text = palloc(len * 2 + 1);

	for (Size i = 0; i < len; i++)
	{
		text[i * 2] = hex[bytes[i] >> 4];
		text[i * 2 + 1] = hex[bytes[i] & 15];
	}
	text[len * 2] = '\0';
	return text;
}

/* concord_sign_sha256 hashes bytes, as hexadecimal digits. */
char *
concord_sign_sha256(const void *data, Size len)
{
	uint8		digest[SHA256_DIGEST_LENGTH];

	SHA256(data, len, digest);
	return concord_sign_hex(digest, sizeof(digest));
}

/* concord_sign_lower gives a text in lower case. */
char *
concord_sign_lower(const char *text)
{
	char	   *lower = pstrdup(text);

	for (char *p = lower; *p; p++)
		*p = pg_ascii_tolower((unsigned char) *p);
	return lower;
}

/* sign_piece copies a part of an address; def where it has none. */
static char *
sign_piece(CURLU * url, CURLUPart part, unsigned flags, const char *def)
{
	char	   *text = NULL;
	char	   *copy;

	if (curl_url_get(url, part, &text, flags) != CURLUE_OK)
		return pstrdup(def);
	copy = pstrdup(text);
	curl_free(text);
	return copy;
}

/*
 * concord_sign_address takes an address apart; host is as header Host has it,
 * with a port that is not the scheme's own.  It returns NULL, or why it cannot.
 */
const char *
concord_sign_address(const char *address, ConcordAddress *parts)
{
	CURLU	   *url = curl_url();
	char	   *port;

	if (url == NULL || curl_url_set(url, CURLUPART_URL, address,
									CURLU_PATH_AS_IS) != CURLUE_OK)
	{
		curl_url_cleanup(url);
		return "the address of the request cannot be signed";
	}
	parts->scheme = sign_piece(url, CURLUPART_SCHEME, 0, "https");
	parts->host = concord_sign_lower(sign_piece(url, CURLUPART_HOST, 0, ""));
	port = sign_piece(url, CURLUPART_PORT, CURLU_NO_DEFAULT_PORT, "");
	if (*port != '\0')
		parts->host = psprintf("%s:%s", parts->host, port);
	parts->path = sign_piece(url, CURLUPART_PATH, 0, "/");
	parts->query = sign_piece(url, CURLUPART_QUERY, 0, "");
	curl_url_cleanup(url);
	return NULL;
}

/* sign_decode undoes percent encoding. */
static char *
sign_decode(const char *text, Size len)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (Size i = 0; i < len; i++)
	{
		int			code = text[i] == '%' && i + 2 < len ?
			concord_encode_unhex(text + i + 1, 2) : -1;

		if (code > 0)
		{
			appendStringInfoChar(&buf, (char) code);
			i += 2;
		}
		else
			appendStringInfoChar(&buf, text[i]);
	}
	return buf.data;
}

/* sign_compare orders parameters by name, then by value. */
static int
sign_compare(const void *a, const void *b)
{
	const ConcordHeader *x = a;
	const ConcordHeader *y = b;
	int			order = strcmp(x->name, y->name);

	return order != 0 ? order : strcmp(x->value, y->value);
}

/*
 * concord_sign_query writes the parameters of a query, and n more, encoded
 * anew and sorted.
 */
char *
concord_sign_query(const char *query, const ConcordHeader *more, int n)
{
	ConcordHeader *all;
	StringInfoData buf;
	int			size = n + 1;

	for (const char *p = query; *p; p++)
		size += *p == '&';
	all = palloc0(sizeof(ConcordHeader) * size);
	size = 0;
	while (*query)
	{
		Size		len = strcspn(query, "&");
		Size		name = Min(strcspn(query, "="), len);

		if (len > 0)
		{
			initStringInfo(&buf);
			concord_encode_percent(&buf, sign_decode(query, name));
			all[size].name = buf.data;
			initStringInfo(&buf);
			if (name < len)
				concord_encode_percent(&buf, sign_decode(query + name + 1,
														 len - name - 1));
			all[size++].value = buf.data;
		}
		query += len + (query[len] == '&');
	}
	for (int i = 0; i < n; i++)
	{
		initStringInfo(&buf);
		concord_encode_percent(&buf, more[i].name);
		all[size].name = buf.data;
		initStringInfo(&buf);
		concord_encode_percent(&buf, more[i].value);
		all[size++].value = buf.data;
	}
	qsort(all, size, sizeof(ConcordHeader), sign_compare);
	initStringInfo(&buf);
	for (int i = 0; i < size; i++)
		appendStringInfo(&buf, "%s%s=%s", i > 0 ? "&" : "", all[i].name,
						 all[i].value);
	return buf.data;
}
