/*-------------------------------------------------------------------------
 *
 * oauth2_saml.c
 *	  Authentication scheme "oauth2_saml": a SAML 2.0 assertion (RFC 7522).
 *
 * The assertion is traded for an access token.  It is made here, of issuer,
 * subject and audience, and signed with a private key (SAP's usual case), or it
 * is read from a file that another program keeps fresh (saml_assertion_file).
 *
 * The signature is an enveloped one over the assertion: RSA with SHA-256, after
 * exclusive canonicalization.  No XML library is needed for that: the document
 * is written in its canonical form from the start (no blanks between elements,
 * attributes in order, no empty-element tags, every namespace where it is used
 * first), so that what is hashed is what stands there, without the signature.
 * Of SignedInfo the canonical form alone declares the namespace of ds, which
 * the document has at Signature.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <time.h>

#include "base/base64.h"
#include "catalog/server_options.h"
#include "mb/pg_wchar.h"

#define SAML_LIFE_S		300
/* The clock of the other side may be slow by this. */
#define SAML_SKEW_S		60
#define SAML_GRANT		"urn:ietf:params:oauth:grant-type:saml2-bearer"
#define SAML_NS			"urn:oasis:names:tc:SAML:2.0:assertion"
#define SAML_FORMAT		"urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified"
#define SAML_DSIG		"http://www.w3.org/2000/09/xmldsig#"
#define SAML_C14N		"http://www.w3.org/2001/10/xml-exc-c14n#"

/* saml_text appends a text as canonical XML has it, in content or attributes. */
static void
saml_text(StringInfo buf, const char *text, bool attribute)
{
	for (const char *p = text; *p; p++)
	{
		if (*p == '&')
			appendStringInfoString(buf, "&amp;");
		else if (*p == '<')
			appendStringInfoString(buf, "&lt;");
		else if (*p == '>' && !attribute)
			appendStringInfoString(buf, "&gt;");
		else if (*p == '"' && attribute)
			appendStringInfoString(buf, "&quot;");
		else
			appendStringInfoChar(buf, *p);
	}
}

/* saml_time writes a time as xs:dateTime. */
static char *
saml_time(time_t at)
{
	struct tm	tm;
	char		text[32];

	gmtime_r(&at, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return pstrdup(text);
}

/* saml_head writes the assertion up to where the signature goes. */
static void
saml_head(const ConcordAuth *auth, StringInfo buf, const char *id, time_t now)
{
	appendStringInfo(buf, "<saml2:Assertion xmlns:saml2=\"" SAML_NS "\" ID=\"%s\" IssueInstant=\"%s\" Version=\"2.0\"><saml2:Issuer>",
					 id, saml_time(now));
	saml_text(buf, concord_auth_option(auth, "issuer"), false);
	appendStringInfoString(buf, "</saml2:Issuer>");
}

/* saml_tail writes what comes after the signature. */
static void
saml_tail(const ConcordAuth *auth, StringInfo buf, time_t now)
{
	const char *format = concord_auth_option(auth, "subject_format");
	const char *audience = concord_auth_option(auth, "audience");
	const char *recipient = concord_auth_option(auth, "token_url");
	char	   *until = saml_time(now + SAML_LIFE_S);

	appendStringInfoString(buf, "<saml2:Subject><saml2:NameID Format=\"");
	saml_text(buf, format != NULL ? format : SAML_FORMAT, true);
	appendStringInfoString(buf, "\">");
	saml_text(buf, concord_auth_option(auth, "subject"), false);
	appendStringInfo(buf, "</saml2:NameID><saml2:SubjectConfirmation Method=\"urn:oasis:names:tc:SAML:2.0:cm:bearer\"><saml2:SubjectConfirmationData NotOnOrAfter=\"%s\" Recipient=\"",
					 until);
	saml_text(buf, recipient, true);
	appendStringInfo(buf, "\"></saml2:SubjectConfirmationData></saml2:SubjectConfirmation></saml2:Subject><saml2:Conditions NotBefore=\"%s\" NotOnOrAfter=\"%s\"><saml2:AudienceRestriction><saml2:Audience>",
					 saml_time(now - SAML_SKEW_S), until);
	saml_text(buf, audience != NULL ? audience : recipient, false);
	appendStringInfo(buf, "</saml2:Audience></saml2:AudienceRestriction></saml2:Conditions><saml2:AuthnStatement AuthnInstant=\"%s\"><saml2:AuthnContext><saml2:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:unspecified</saml2:AuthnContextClassRef></saml2:AuthnContext></saml2:AuthnStatement></saml2:Assertion>",
					 saml_time(now));
}

/* saml_certificate appends the certificate of a PEM file, if there is one. */
static void
saml_certificate(const ConcordAuth *auth, StringInfo buf)
{
	static const char begin[] = "-----BEGIN CERTIFICATE-----";
	const char *pem = concord_secret_text(auth, "certificate");
	const char *start = strstr(pem, begin);
	const char *end = start != NULL ? strstr(start, "-----END") : NULL;

	if (end == NULL)
		return;
	appendStringInfoString(buf, "<ds:KeyInfo><ds:X509Data><ds:X509Certificate>");
	for (const char *p = start + strlen(begin); p < end; p++)
	{
		if ((*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') ||
			(*p >= '0' && *p <= '9') || strchr("+/=", *p) != NULL)
			appendStringInfoChar(buf, *p);
	}
	appendStringInfoString(buf, "</ds:X509Certificate></ds:X509Data></ds:KeyInfo>");
}

/* saml_signature appends the signature of an assertion; false: it cannot. */
static bool
saml_signature(const ConcordAuth *auth, EVP_PKEY *key, StringInfo buf,
			   const char *id, const char *assertion, Size len)
{
	uint8		digest[SHA256_DIGEST_LENGTH];
	char	   *info;
	char	   *canonical;
	unsigned char *sig;
	Size		sig_len;

	SHA256((const unsigned char *) assertion, len, digest);
	info = psprintf("<ds:CanonicalizationMethod Algorithm=\"" SAML_C14N "\"></ds:CanonicalizationMethod>"
					"<ds:SignatureMethod Algorithm=\"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256\"></ds:SignatureMethod>"
					"<ds:Reference URI=\"#%s\"><ds:Transforms>"
					"<ds:Transform Algorithm=\"" SAML_DSIG "enveloped-signature\"></ds:Transform>"
					"<ds:Transform Algorithm=\"" SAML_C14N "\"></ds:Transform></ds:Transforms>"
					"<ds:DigestMethod Algorithm=\"http://www.w3.org/2001/04/xmlenc#sha256\"></ds:DigestMethod>"
					"<ds:DigestValue>%s</ds:DigestValue></ds:Reference></ds:SignedInfo>",
					id, concord_base64(digest, sizeof(digest), false));
	canonical = psprintf("<ds:SignedInfo xmlns:ds=\"" SAML_DSIG "\">%s", info);
	sig = concord_key_sign(key, canonical, strlen(canonical), &sig_len);
	if (sig == NULL)
		return false;
	appendStringInfo(buf, "<ds:Signature xmlns:ds=\"" SAML_DSIG "\"><ds:SignedInfo>%s<ds:SignatureValue>%s</ds:SignatureValue>",
					 info, concord_base64(sig, sig_len, false));
	saml_certificate(auth, buf);
	appendStringInfoString(buf, "</ds:Signature>");
	return true;
}

/* saml_made makes an assertion; NULL with *why where it cannot. */
static char *
saml_made(const ConcordAuth *auth, const char **why)
{
	time_t		now = time(NULL);
	uint8		random[16];
	char	   *id;
	StringInfoData head;
	StringInfoData tail;
	StringInfoData whole;
	EVP_PKEY   *key;

	if (!pg_strong_random(random, sizeof(random)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random bytes")));
	/* an XML name may not begin with a digit */
	id = psprintf("_%s", concord_sign_hex(random, sizeof(random)));
	initStringInfo(&head);
	initStringInfo(&tail);
	initStringInfo(&whole);
	saml_head(auth, &head, id, now);
	saml_tail(auth, &tail, now);
	appendStringInfo(&whole, "%s%s", head.data, tail.data);

	*why = "the private key must be RSA, in PEM and without a password";
	key = concord_key_read(auth);
	if (key == NULL)
		return NULL;
	if (EVP_PKEY_base_id(key) != EVP_PKEY_RSA ||
		!saml_signature(auth, key, &head, id, whole.data, whole.len))
		return NULL;
	return psprintf("%s%s", head.data, tail.data);
}

/* saml_fetch makes the request for a token. */
static const char *
saml_fetch(const ConcordAuth *auth, ConcordRequest *request, void **keep)
{
	const ConcordSecret *file = concord_secret_get(auth, "saml_assertion");
	const char *why = NULL;
	char	   *assertion = file != NULL ? pstrdup(file->value) :
		saml_made(auth, &why);
	char	   *coded;
	StringInfoData form;

	if (assertion == NULL)
		return why;
	/* one that is not XML is coded already */
	coded = assertion[strspn(assertion, " \t\r\n")] == '<' ?
		concord_base64(assertion, strlen(assertion), true) : assertion;
	concord_oauth_begin(auth, request, &form, SAML_GRANT);
	concord_encode_form(&form, "company_id",
						concord_auth_option(auth, "company"));
	concord_encode_form(&form, "assertion", coded);
	concord_oauth_end(request, &form);
	explicit_bzero(assertion, strlen(assertion));
	return NULL;
}

/* saml_check_text refuses what cannot stand in the assertion. */
static void
saml_check_text(List *options, const char *name)
{
	const char *value = concord_option_get(options, name);

	for (const unsigned char *p = (const unsigned char *) value;
		 value != NULL && *p; p++)
	{
		if (*p < ' ' || *p == 0x7F ||
			(*p > 0x7F && GetDatabaseEncoding() != PG_UTF8))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid value for option \"%s\"", name),
					 errdetail("A SAML assertion has no control characters, and outside UTF-8 databases only ASCII ones.")));
	}
}

/* saml_check wants all that an assertion is made of, or a file, and not both. */
static void
saml_check(List *options)
{
	static const char *const made[] = {
		"issuer", "subject", "audience", "subject_format", "certificate_file",
	};
	bool		file = concord_option_get(options, "saml_assertion_file") != NULL;

	for (int i = 0; i < lengthof(made); i++)
	{
		bool		given = concord_option_get(options, made[i]) != NULL;

		if (!file && !given && i < 2)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_OPTION_NAME_NOT_FOUND),
					 errmsg("auth \"%s\" needs option \"%s\"", "oauth2_saml",
							made[i])));
		if (file && given)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("options \"%s\" and \"%s\" are alternatives",
							"saml_assertion_file", made[i])));
		saml_check_text(options, made[i]);
	}
	concord_oauth_check(options);
}

static const char *const saml_required[] = {
	"token_url", "client_id", "private_key_file|saml_assertion_file", NULL
};
static const char *const saml_optional[] = {
	"issuer", "subject", "subject_format", "audience", "certificate_file",
	"client_secret", "client_secret_file", "client_auth", "scope", "company",
	NULL
};

const ConcordAuthScheme concord_auth_oauth2_saml = {
	"oauth2_saml", saml_required, saml_optional, concord_oauth_apply,
	saml_fetch, concord_oauth_take, concord_oauth_expired, saml_check
};
