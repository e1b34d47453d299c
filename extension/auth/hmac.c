/*-------------------------------------------------------------------------
 *
 * hmac.c
 *	  Authentication scheme "hmac": Standard Webhooks signatures.
 *
 * The signature is HMAC-SHA-256 over "id.timestamp.body", where id is the
 * header webhook-id of the request.  A request without one (a connector that
 * is not a webhook) is signed under its idempotency key.  With a previous
 * secret a second signature follows, so that receivers can change over.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

#include <time.h>

#include "base/base64.h"
#include "common/base64.h"

/* Shorter keys can be guessed; Standard Webhooks wants 24 bytes or more. */
#define HMAC_MIN_KEY	16

/*
 * concord_hmac_key returns the key that a secret stands for: base64, with or
 * without whsec_ in front.  NULL where it is not, or too short.
 */
char *
concord_hmac_key(const char *secret, Size len, int *key_len)
{
	const Size	prefix_len = strlen(CONCORD_AUTH_WHSEC);
	char	   *key;

	if (len >= prefix_len && memcmp(secret, CONCORD_AUTH_WHSEC, prefix_len) == 0)
	{
		secret += prefix_len;
		len -= prefix_len;
	}
	key = palloc(pg_b64_dec_len(len) + 1);
	*key_len = pg_b64_decode(secret, len, (void *) key, pg_b64_dec_len(len));
	return *key_len >= HMAC_MIN_KEY ? key : NULL;
}

/*
 * hmac_key is concord_hmac_key for a secret that may have come from a file
 * since it was checked: one that is broken signs as it stands, and the
 * receiver refuses it.
 */
static char *
hmac_key(const ConcordSecret *secret, int *key_len)
{
	char	   *key = concord_hmac_key(secret->value, secret->len, key_len);

	if (key != NULL)
		return key;
	*key_len = secret->len;
	return pnstrdup(secret->value, secret->len);
}

/*
 * hmac_sign returns the signature of a message under a secret as base64.  There
 * is no resource owner here, so PostgreSQL's own HMAC is not used.
 */
static char *
hmac_sign(const ConcordSecret *secret, const StringInfo message)
{
	int			key_len;
	char	   *key = hmac_key(secret, &key_len);
	uint8		digest[32];

	concord_sign_hmac(key, key_len, message->data, message->len, digest);
	explicit_bzero(key, key_len);
	pfree(key);
	return concord_base64(digest, sizeof(digest), false);
}

/* hmac_id returns what the signature names the message by. */
static const char *
hmac_id(const ConcordRequest *request)
{
	const char *fallback = NULL;

	for (int i = 0; i < request->nheaders; i++)
	{
		if (pg_strcasecmp(request->headers[i].name, "webhook-id") == 0)
			return request->headers[i].value;
		if (pg_strcasecmp(request->headers[i].name, "Idempotency-Key") == 0)
			fallback = request->headers[i].value;
	}
	return fallback;
}

/* hmac_apply adds webhook-timestamp, webhook-signature and, if missing, -id. */
static const char *
hmac_apply(const ConcordAuth *auth, ConcordRequest *request)
{
	const ConcordSecret *secret = concord_secret_get(auth, "secret");
	const ConcordSecret *previous = concord_secret_get(auth, "previous_secret");
	const char *id = hmac_id(request);
	char	   *timestamp = psprintf("%lld", (long long) time(NULL));
	StringInfoData message;
	char	   *signature;

	if (id == NULL)
		id = timestamp;
	initStringInfo(&message);
	appendStringInfo(&message, "%s.%s.", id, timestamp);
	if (request->body != NULL)
		appendBinaryStringInfo(&message, request->body, request->body_len);
	signature = psprintf("v1,%s", hmac_sign(secret, &message));
	if (previous != NULL)
		signature = psprintf("%s v1,%s", signature,
							 hmac_sign(previous, &message));
	pfree(message.data);

	concord_request_set_header(request, "webhook-id", id);
	concord_request_header(request, "webhook-timestamp", timestamp);
	concord_request_header(request, "webhook-signature", signature);
	return NULL;
}

static const char *const hmac_required[] = {"secret|secret_file", NULL};
static const char *const hmac_optional[] = {
	"previous_secret", "previous_secret_file", NULL
};

const ConcordAuthScheme concord_auth_hmac = {
	"hmac", hmac_required, hmac_optional, hmac_apply
};
