/*-------------------------------------------------------------------------
 *
 * json_foreign.c
 *	  JSON strings of databases whose encoding is not UTF-8.
 *
 * JSON is UTF-8, but a stream's bytes reach some consumers as they are
 * (pg_recvlogical) and others converted from the database's encoding (results
 * of SQL functions).  What is right for both is ASCII: there, characters
 * beyond ASCII are escaped as \uXXXX, by their code points.
 *
 * A database in SQL_ASCII does not know what its bytes mean.  Each one beyond
 * ASCII is escaped by its own number (\u0080 to \u00ff), which loses nothing.
 * So it is in an encoding that has no conversion to UTF-8.  A character that
 * the conversion does not know is \ufffd.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "mb/pg_wchar.h"
#include "utils/memutils.h"

#include "value.h"

/* Bytes that are converted at once. */
#define RUN_MAX		256

/* The most bytes that a byte of a string takes. */
#define ESCAPE_MAX	12

/* What a character is that has no code point. */
#define REPLACEMENT	0xFFFD

/*
 * Are strings escaped?  Set when decoding starts, because the binary format's
 * text of a jsonb is one of the database.
 */
bool		concord_json_foreign = false;

/* How characters become UTF-8, learnt once; no function where it is unknown. */
static FmgrInfo to_utf8;

/* Learn how strings are written from now on, in a transaction. */
void
concord_json_foreign_start(bool binary)
{
	Oid			conversion;

	concord_json_foreign = !binary && GetDatabaseEncoding() != PG_UTF8;
	if (!concord_json_foreign || to_utf8.fn_addr != NULL ||
		GetDatabaseEncoding() == PG_SQL_ASCII)
		return;
	conversion = FindDefaultConversionProc(GetDatabaseEncoding(), PG_UTF8);
	if (OidIsValid(conversion))
		fmgr_info_cxt(conversion, &to_utf8, TopMemoryContext);
}

/* Write a code point as one escape or two. */
static char *
jf_put_code(char *p, pg_wchar code)
{
	if (code < 0x10000)
		return p + sprintf(p, "\\u%04x", (unsigned int) code);
	code -= 0x10000;
	return p + sprintf(p, "\\u%04x\\u%04x", 0xD800 + (unsigned int) (code >> 10),
					   0xDC00 + (unsigned int) (code & 0x3FF));
}

/*
 * Write a run of bytes beyond ASCII, which ends with a character; returns
 * how many of them were written.
 */
static int
jf_put_run(char **p, const char *s, int len)
{
	unsigned char utf8[RUN_MAX * MAX_CONVERSION_GROWTH + 1];
	char		run[RUN_MAX + 1];
	int			done;

	if (to_utf8.fn_addr == NULL)
	{
		for (int i = 0; i < len; i++)
			*p = jf_put_code(*p, (unsigned char) s[i]);
		return len;
	}

	memcpy(run, s, len);
	run[len] = '\0';
	utf8[0] = '\0';
	done = DatumGetInt32(FunctionCall6(&to_utf8,
									   Int32GetDatum(GetDatabaseEncoding()),
									   Int32GetDatum(PG_UTF8),
									   CStringGetDatum(run),
									   CStringGetDatum((char *) utf8),
									   Int32GetDatum(len),
									   BoolGetDatum(true)));
	for (const unsigned char *u = utf8; *u != '\0'; u += pg_utf_mblen(u))
		*p = jf_put_code(*p, utf8_to_unicode(u));
	if (done < len)
	{
		*p = jf_put_code(*p, REPLACEMENT);
		done += Min(pg_encoding_mblen(GetDatabaseEncoding(), run + done), len - done);
	}
	return done;
}

/* Find the end of the run of whole characters beyond ASCII that begins at s. */
static const char *
jf_run_end(const char *s, const char *end)
{
	const char *p = s;

	while (p < end && IS_HIGHBIT_SET(*p))
	{
		int			len = Min(pg_encoding_mblen(GetDatabaseEncoding(), p), (int) (end - p));

		if (p + len - s > RUN_MAX)
			break;
		p += len;
	}
	return p;
}

/*
 * Append a string without its quotes; text that is JSON already has escapes
 * of its own, and its line ends become blanks.
 */
void
concord_json_foreign_append(StringInfo buf, const char *s, Size len, bool json)
{
	const char *end = s + len;

	while (s < end && concord_buf_fits(buf, end - s))
	{
		char	   *p = concord_buf_reserve(buf, RUN_MAX * ESCAPE_MAX);

		if (IS_HIGHBIT_SET(*s))
		{
			const char *stop = jf_run_end(s, end);

			s += jf_put_run(&p, s, (int) (stop - s));
		}
		else
		{
			const char *stop = s + Min(end - s, RUN_MAX);

			for (; s < stop && !IS_HIGHBIT_SET(*s); s++)
			{
				unsigned char c = (unsigned char) *s;

				if (json)
					*p++ = c == '\n' || c == '\r' ? ' ' : c;
				else if (c < 0x20 || c == '"' || c == '\\')
					p = concord_json_put_escape(p, c);
				else
					*p++ = c;
			}
		}
		concord_buf_advance(buf, p);
	}
}
