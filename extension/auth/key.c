/*-------------------------------------------------------------------------
 *
 * key.c
 *	  Private keys: read, and used for a signature.
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

/* key_free is called when the context that a key belongs to goes away. */
static void
key_free(void *arg)
{
	EVP_PKEY_free(arg);
}

/*
 * concord_key_read reads the key of option private_key; NULL where it is none.
 * It belongs to the current memory context.
 */
EVP_PKEY *
concord_key_read(const ConcordAuth *auth)
{
	const ConcordSecret *secret = concord_secret_get(auth, "private_key");
	MemoryContextCallback *callback = palloc(sizeof(MemoryContextCallback));
	BIO		   *bio = BIO_new_mem_buf(secret->value, (int) secret->len);
	EVP_PKEY   *key = NULL;

	if (bio != NULL)
		key = PEM_read_bio_PrivateKey(bio, NULL, key_no_password, NULL);
	BIO_free(bio);
	callback->func = key_free;
	callback->arg = key;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return key;
}

/*
 * concord_key_sign signs the SHA-256 of bytes; returns the signature (palloc'd)
 * or NULL.
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
