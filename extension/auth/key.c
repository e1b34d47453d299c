/*-------------------------------------------------------------------------
 *
 * key.c
 *	  Private keys: read, used for one signature, and freed.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

#include <openssl/evp.h>
#include <openssl/pem.h>

/* key_no_password refuses keys that are encrypted, instead of asking. */
static int
key_no_password(char *buf, int size, int writing, void *arg)
{
	return -1;
}

/*
 * concord_key_read reads the key of option private_key, to be freed with
 * EVP_PKEY_free; NULL where it is none.
 */
EVP_PKEY *
concord_key_read(const ConcordAuth *auth)
{
	const ConcordSecret *secret = concord_secret_get(auth, "private_key");
	BIO		   *bio = BIO_new_mem_buf(secret->value, (int) secret->len);
	EVP_PKEY   *key = NULL;

	if (bio != NULL)
		key = PEM_read_bio_PrivateKey(bio, NULL, key_no_password, NULL);
	BIO_free(bio);
	return key;
}

/*
 * concord_key_sign signs the SHA-256 of bytes; returns the signature (palloc'd)
 * or NULL.  It raises no error, so that the caller can free the key.
 */
unsigned char *
concord_key_sign(EVP_PKEY *key, const char *bytes, Size len, Size *sig_len)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	unsigned char *sig = NULL;
	size_t		size = 0;
	bool		ok;

	ok = ctx != NULL &&
		EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
		EVP_DigestSign(ctx, NULL, &size, (const unsigned char *) bytes,
					   len) == 1;
	if (ok)
	{
		sig = palloc_extended(size, MCXT_ALLOC_NO_OOM);
		ok = sig != NULL &&
			EVP_DigestSign(ctx, sig, &size, (const unsigned char *) bytes,
						   len) == 1;
	}
	EVP_MD_CTX_free(ctx);
	*sig_len = size;
	return ok ? sig : NULL;
}
