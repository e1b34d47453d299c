/*-------------------------------------------------------------------------
 *
 * oauth1.c
 *	  Authentication scheme "oauth1": signed requests (RFC 5849), as NetSuite's
 *	  token-based authentication has them.
 *
 * HMAC-SHA-256 over the base string of RFC 5849 3.4.1: method, address, and the
 * sorted parameters of query and header.  Bodies are JSON here, not forms, and
 * are not signed.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

#include <time.h>

#include "base/base64.h"

/* oauth1_quoted adds a parameter to the header. */
static void
oauth1_quoted(StringInfo buf, const char *name, const char *value)
{
	appendStringInfo(buf, "%s%s=\"", strcmp(buf->data, "OAuth ") == 0 ? "" : ", ",
					 name);
	concord_encode_percent(buf, value);
	appendStringInfoChar(buf, '"');
}

/* oauth1_signature signs the base string. */
static char *
oauth1_signature(const ConcordAuth *auth, const ConcordRequest *request,
				 const ConcordAddress *at, const ConcordHeader *parameters,
				 int n)
{
	StringInfoData base;
	StringInfoData key;
	uint8		digest[32];

	initStringInfo(&base);
	appendStringInfo(&base, "%s&", request->method);
	concord_encode_percent(&base, psprintf("%s://%s%s", at->scheme, at->host,
										   at->path));
	appendStringInfoChar(&base, '&');
	concord_encode_percent(&base, concord_sign_query(at->query, parameters, n));

	initStringInfo(&key);
	concord_encode_percent(&key, concord_secret_text(auth, "consumer_secret"));
	appendStringInfoChar(&key, '&');
	concord_encode_percent(&key, concord_secret_text(auth, "token_secret"));
	concord_sign_hmac(key.data, key.len, base.data, base.len, digest);
	explicit_bzero(key.data, key.len);
	return concord_base64(digest, sizeof(digest), false);
}

/* oauth1_apply adds the header Authorization. */
static const char *
oauth1_apply(const ConcordAuth *auth, ConcordRequest *request)
{
	const char *realm = concord_auth_option(auth, "realm");
	const char *why;
	ConcordAddress at;
	uint8		nonce[16];
	StringInfoData buf;
	ConcordHeader parameters[] = {
		{"oauth_consumer_key",
		unconstify(char *, concord_auth_option(auth, "consumer_key"))},
		{"oauth_token", concord_secret_text(auth, "token")},
		{"oauth_signature_method", "HMAC-SHA256"},
		{"oauth_timestamp", psprintf("%lld", (long long) time(NULL))},
		{"oauth_nonce", NULL},
		{"oauth_version", "1.0"},
	};

	why = concord_sign_address(request->url, &at);
	if (why != NULL)
		return why;
	if (!pg_strong_random(nonce, sizeof(nonce)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random bytes")));
	parameters[4].value = concord_sign_hex(nonce, sizeof(nonce));

	initStringInfo(&buf);
	appendStringInfoString(&buf, "OAuth ");
	if (realm != NULL)
		oauth1_quoted(&buf, "realm", realm);
	for (int i = 0; i < lengthof(parameters); i++)
		oauth1_quoted(&buf, parameters[i].name, parameters[i].value);
	oauth1_quoted(&buf, "oauth_signature",
				  oauth1_signature(auth, request, &at, parameters,
								   lengthof(parameters)));
	concord_request_header(request, "Authorization", buf.data);
	return NULL;
}

static const char *const oauth1_required[] = {
	"consumer_key", "consumer_secret|consumer_secret_file",
	"token|token_file", "token_secret|token_secret_file", NULL
};
static const char *const oauth1_optional[] = {"realm", NULL};

const ConcordAuthScheme concord_auth_oauth1 = {
	"oauth1", oauth1_required, oauth1_optional, oauth1_apply
};
