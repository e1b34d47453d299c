/*-------------------------------------------------------------------------
 *
 * base64.c
 *	  Bytes as base64.
 *
 *-------------------------------------------------------------------------
 */
#include "base/base64.h"

#include "common/base64.h"
#include "utils/memutils.h"

/* concord_base64_append appends bytes to a buffer as base64. */
void
concord_base64_append(StringInfo buf, const void *bytes, Size len)
{
	int			room;
	int			used;

	/* what is coded is a third longer */
	if (len > MaxAllocSize / 2)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a value of %zu bytes is too large for base64", len)));
	room = pg_b64_enc_len((int) len);
	enlargeStringInfo(buf, room);
	used = pg_b64_encode(bytes, (int) len, buf->data + buf->len, room);
	if (used < 0)
		elog(ERROR, "could not encode %zu bytes as base64", len);
	buf->len += used;
	buf->data[buf->len] = '\0';
}

/* concord_base64 returns bytes as base64. */
char *
concord_base64(const void *bytes, Size len, bool url)
{
	StringInfoData buf;

	initStringInfo(&buf);
	concord_base64_append(&buf, bytes, len);
	if (!url)
		return buf.data;
	while (buf.len > 0 && buf.data[buf.len - 1] == '=')
		buf.data[--buf.len] = '\0';
	for (char *p = buf.data; *p; p++)
	{
		if (*p == '+')
			*p = '-';
		else if (*p == '/')
			*p = '_';
	}
	return buf.data;
}
