/*-------------------------------------------------------------------------
 *
 * digest.c
 *	  SHA-256 of many small texts.
 *
 * OpenSSL is called directly: PostgreSQL's wrapper wants a resource owner,
 * which a worker between transactions does not have.  Its one-shot functions
 * look the algorithm up by name each time, under a lock, and allocate a
 * context, which costs more than hashing a few hundred bytes; so both are made
 * once and live as long as the process.
 *
 *-------------------------------------------------------------------------
 */
#include "base/digest.h"

#include <openssl/evp.h>

static EVP_MD_CTX *dig_context = NULL;
static const EVP_MD *dig_sha256 = NULL;

/*
 * concord_sha256 writes the SHA-256 of len bytes to digest, which has room for
 * CONCORD_SHA256_LENGTH.  Raises an error where OpenSSL has no memory, or no
 * SHA-256.
 */
void
concord_sha256(const void *data, Size len, uint8 *digest)
{
	if (dig_context == NULL)
		dig_context = EVP_MD_CTX_new();
	if (dig_sha256 == NULL)
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
		dig_sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
#else
		dig_sha256 = EVP_sha256();
#endif
	if (dig_context == NULL || dig_sha256 == NULL ||
		EVP_DigestInit_ex(dig_context, dig_sha256, NULL) != 1 ||
		EVP_DigestUpdate(dig_context, data, len) != 1 ||
		EVP_DigestFinal_ex(dig_context, digest, NULL) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
				 errmsg("could not compute SHA-256")));
}
