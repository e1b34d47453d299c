/*-------------------------------------------------------------------------
 *
 * base64.h
 *	  Bytes as base64 (RFC 4648), without line ends.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_BASE_BASE64_H
#define CONCORD_BASE_BASE64_H

#include "base/compat.h"

#include "lib/stringinfo.h"

/* concord_base64_append appends bytes to a buffer as base64. */
extern void concord_base64_append(StringInfo buf, const void *bytes, Size len);

/*
 * concord_base64 returns bytes as base64 (palloc'd); url: with the alphabet of
 * RFC 4648 5 and not padded.
 */
extern char *concord_base64(const void *bytes, Size len, bool url);

#endif							/* CONCORD_BASE_BASE64_H */
