/*-------------------------------------------------------------------------
 *
 * verify.c
 *	  Was a message made by somebody who has our secret?
 *
 * Each secret is tried as the connector says that it is to be taken: the text
 * itself, or base64 of the key (Standard Webhooks, with or without whsec_).
 * How long a comparison takes tells nothing of how much of it was right.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "base/base64.h"

/* Signatures in one header; a rotation has two. */
#define VRF_MAX_SIGNATURES	16

static const char *const vrf_secrets[] = {
	"receive_secret", "previous_receive_secret",
};

/* concord_auth_receives says whether there is a secret for what comes in. */
bool
concord_auth_receives(const ConcordAuth *auth)
{
	for (int i = 0; i < lengthof(vrf_secrets); i++)
	{
		const ConcordSecret *secret = concord_secret_get(auth, vrf_secrets[i]);

		if (secret != NULL && secret->len > 0)
			return true;
	}
	return false;
}

/* vrf_expected gives what the signature under a secret has to be. */
static char *
vrf_expected(const ConcordSecret *secret, const ConcordSigned *given)
{
	uint8		digest[SHA256_DIGEST_LENGTH];
	char	   *key = NULL;
	int			key_len = 0;

	if (given->token)
		return pnstrdup(secret->value, secret->len);
	if (given->base64_secret)
		key = concord_hmac_key(secret->value, secret->len, &key_len);
	if (key == NULL)
		concord_sign_hmac(secret->value, secret->len, given->bytes, given->len,
						  digest);
	else
	{
		concord_sign_hmac(key, key_len, given->bytes, given->len, digest);
		explicit_bzero(key, key_len);
	}
	return given->hex ? concord_sign_hex(digest, sizeof(digest)) :
		concord_base64(digest, sizeof(digest), false);
}

/* vrf_one compares one signature of a header. */
static bool
vrf_one(const ConcordSigned *given, const char *text, Size len,
		const char *expected)
{
	Size		prefix_len = given->prefix != NULL ? strlen(given->prefix) : 0;
	char	   *plain;

	if (len < prefix_len || (prefix_len > 0 && memcmp(text, given->prefix, prefix_len) != 0))
		return false;
	plain = pnstrdup(text + prefix_len, len - prefix_len);
	if (given->hex)
		plain = concord_sign_lower(plain);
	return strlen(plain) == strlen(expected) &&
		CRYPTO_memcmp(plain, expected, strlen(expected)) == 0;
}

/* vrf_any compares all signatures of a header with what is expected. */
static bool
vrf_any(const ConcordSigned *given, const char *expected)
{
	const char *at = given->signature;
	bool		same = false;

	for (int n = 0; at != NULL && n < VRF_MAX_SIGNATURES; n++)
	{
		const char *end = given->separator != NULL ?
			strstr(at, given->separator) : NULL;
		Size		len = end != NULL ? (Size) (end - at) : strlen(at);

		same |= vrf_one(given, at, len, expected);
		at = end != NULL ? end + strlen(given->separator) : NULL;
	}
	return same;
}

/* concord_auth_signed says whether a message was signed with our secret. */
bool
concord_auth_signed(const ConcordAuth *auth, const ConcordSigned *given)
{
	bool		same = false;

	if (given->signature == NULL)
		return false;
	for (int i = 0; i < lengthof(vrf_secrets); i++)
	{
		const ConcordSecret *secret = concord_secret_get(auth, vrf_secrets[i]);
		char	   *expected;

		if (secret == NULL || secret->len == 0)
			continue;
		expected = vrf_expected(secret, given);
		same |= vrf_any(given, expected);
		explicit_bzero(expected, strlen(expected));
	}
	return same;
}
