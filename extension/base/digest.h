/*-------------------------------------------------------------------------
 *
 * digest.h
 *	  SHA-256 of many small texts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_BASE_DIGEST_H
#define CONCORD_BASE_DIGEST_H

#include "base/compat.h"

#define CONCORD_SHA256_LENGTH	32

extern void concord_sha256(const void *data, Size len, uint8 *digest);

#endif							/* CONCORD_BASE_DIGEST_H */
