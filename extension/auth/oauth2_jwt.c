/*-------------------------------------------------------------------------
 *
 * oauth2_jwt.c
 *	  Authentication scheme "oauth2_jwt": a signed assertion (RFC 7523).
 *
 * A JSON Web Token, signed with a private key, is traded for an access token:
 * as the grant itself (2.1: Salesforce, Google) or, with assertion 'client', as
 * the client's authentication for client credentials (2.2: NetSuite, Entra).
 * RSA keys sign by RS256, EC keys on P-256 by ES256 (RFC 7518).  The assertion
 * is good for JWT_LIFE_S, which the strictest systems allow.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <time.h>

#include "base/base64.h"
#include "base/json.h"
#include "catalog/server_options.h"

#define JWT_LIFE_S		180
#define JWT_TYPE_GRANT	"urn:ietf:params:oauth:grant-type:jwt-bearer"
#define JWT_TYPE_CLIENT	"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
#define JWT_HALF		32		/* bytes of each number of an ES256 signature */

/* jwt_member adds a text to a JSON object; nothing where value is NULL. */
static void
jwt_member(StringInfo buf, const char *name, const char *value)
{
	if (value == NULL)
		return;
	appendStringInfo(buf, "%c\"%s\":", buf->len == 0 ? '{' : ',', name);
	concord_json_string(buf, value, strlen(value));
}

/* jwt_part appends a part of a token, coded. */
static void
jwt_part(StringInfo out, const char *bytes, Size len)
{
	if (out->len > 0)
		appendStringInfoChar(out, '.');
	appendStringInfoString(out, concord_base64(bytes, len, true));
}

/* jwt_claims writes what the assertion says. */
static char *
jwt_claims(const ConcordAuth *auth, Size *len)
{
	const char *issuer = concord_auth_option(auth, "issuer");
	const char *subject = concord_auth_option(auth, "subject");
	const char *audience = concord_auth_option(auth, "audience");
	int64		now = time(NULL);
	uint8		id[16];
	StringInfoData buf;

	if (!pg_strong_random(id, sizeof(id)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random bytes")));
	initStringInfo(&buf);
	jwt_member(&buf, "iss", issuer);
	jwt_member(&buf, "sub", subject != NULL ? subject : issuer);
	jwt_member(&buf, "aud", audience != NULL ? audience :
			   concord_auth_option(auth, "token_url"));
	jwt_member(&buf, "scope", concord_auth_option(auth, "scope"));
	jwt_member(&buf, "jti", concord_base64(id, sizeof(id), true));
	appendStringInfo(&buf, ",\"iat\":" INT64_FORMAT ",\"exp\":" INT64_FORMAT "}",
					 now, now + JWT_LIFE_S);
	*len = buf.len;
	return buf.data;
}

/* jwt_raw turns a DER signature of ES256 into its two numbers. */
static bool
jwt_raw(const unsigned char *der, size_t len, unsigned char *raw)
{
	ECDSA_SIG  *sig = d2i_ECDSA_SIG(NULL, &der, (long) len);
	bool		ok;

	if (sig == NULL)
		return false;
	ok = BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, JWT_HALF) == JWT_HALF &&
		BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + JWT_HALF, JWT_HALF) == JWT_HALF;
	ECDSA_SIG_free(sig);
	return ok;
}

/* jwt_sign appends the signature of what is in out; false where it cannot. */
static bool
jwt_sign(EVP_PKEY *key, StringInfo out)
{
	unsigned char raw[2 * JWT_HALF];
	Size		len;
	unsigned char *sig = concord_key_sign(key, out->data, out->len, &len);

	if (sig == NULL)
		return false;
	if (EVP_PKEY_base_id(key) != EVP_PKEY_EC)
		jwt_part(out, (char *) sig, len);
	else if (jwt_raw(sig, len, raw))
		jwt_part(out, (char *) raw, sizeof(raw));
	else
		return false;
	return true;
}

/* jwt_assertion makes the token; NULL with *why where it cannot. */
static char *
jwt_assertion(const ConcordAuth *auth, const char **why)
{
	EVP_PKEY   *key = concord_key_read(auth);
	StringInfoData head;
	StringInfoData out;
	char	   *claims;
	Size		len;
	bool		rsa;

	*why = "the private key must be RSA or EC on P-256, in PEM and without a password";
	if (key == NULL)
		return NULL;
	rsa = EVP_PKEY_base_id(key) == EVP_PKEY_RSA;
	if (!rsa && (EVP_PKEY_base_id(key) != EVP_PKEY_EC || EVP_PKEY_bits(key) != 256))
		return NULL;
	initStringInfo(&head);
	initStringInfo(&out);
	jwt_member(&head, "alg", rsa ? "RS256" : "ES256");
	jwt_member(&head, "typ", "JWT");
	jwt_member(&head, "kid", concord_auth_option(auth, "key_id"));
	appendStringInfoChar(&head, '}');
	claims = jwt_claims(auth, &len);
	jwt_part(&out, head.data, head.len);
	jwt_part(&out, claims, len);
	return jwt_sign(key, &out) ? out.data : NULL;
}

/* jwt_fetch makes the request for a token. */
static const char *
jwt_fetch(const ConcordAuth *auth, ConcordRequest *request, void **keep)
{
	const char *use = concord_auth_option(auth, "assertion");
	bool		client = use != NULL && strcmp(use, "client") == 0;
	const char *why;
	char	   *assertion = jwt_assertion(auth, &why);
	StringInfoData form;

	if (assertion == NULL)
		return why;
	concord_oauth_begin(auth, request, &form,
						client ? "client_credentials" : JWT_TYPE_GRANT);
	if (client)
		concord_encode_form(&form, "client_assertion_type", JWT_TYPE_CLIENT);
	concord_encode_form(&form, client ? "client_assertion" : "assertion",
						assertion);
	concord_oauth_end(request, &form);
	explicit_bzero(assertion, strlen(assertion));
	return NULL;
}

/* jwt_check checks assertion. */
static void
jwt_check(List *options)
{
	const char *use = concord_option_get(options, "assertion");

	if (use != NULL && strcmp(use, "grant") != 0 && strcmp(use, "client") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"",
						"assertion", use),
				 errhint("It may be grant or client.")));
}

static const char *const jwt_required[] = {
	"token_url", "issuer", "private_key_file", NULL
};
static const char *const jwt_optional[] = {
	"subject", "audience", "key_id", "scope", "client_id", "assertion", NULL
};

const ConcordAuthScheme concord_auth_oauth2_jwt = {
	"oauth2_jwt", jwt_required, jwt_optional, concord_oauth_apply,
	jwt_fetch, concord_oauth_take, concord_oauth_expired, jwt_check
};
