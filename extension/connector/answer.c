/*-------------------------------------------------------------------------
 *
 * answer.c
 *	  Read an answer that should be JSON.
 *
 * Answers come from elsewhere and may be anything: no recursion that they
 * could drive deep, no error, no assumption about encoding.  What cannot be
 * read is as if it were not there.  A found string is unescaped and made valid
 * text; other values are given as they stand.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/answer.h"

#include "mb/pg_wchar.h"

#define ANS_MAX_DEPTH		512

/* concord_place_blank skips blanks; false at the end. */
bool
concord_place_blank(ConcordJsonPlace *at)
{
	while (at->p < at->end && strchr(" \t\r\n", *at->p) != NULL && *at->p)
		at->p++;
	return at->p < at->end;
}

/* concord_place_string skips a string and tells where its content is. */
bool
concord_place_string(ConcordJsonPlace *at, const char **start, Size *len)
{
	const char *p = at->p;

	if (p >= at->end || *p != '"')
		return false;
	*start = ++p;
	while (p < at->end && *p != '"')
		p += *p == '\\' ? 2 : 1;
	if (p >= at->end)
		return false;
	*len = p - *start;
	at->p = p + 1;
	return true;
}

/* concord_place_value skips one value of any kind. */
bool
concord_place_value(ConcordJsonPlace *at)
{
	int			depth = 0;

	do
	{
		const char *start;
		Size		len;

		if (!concord_place_blank(at))
			return false;
		switch (*at->p)
		{
			case '"':
				if (!concord_place_string(at, &start, &len))
					return false;
				break;
			case '{':
			case '[':
				if (++depth > ANS_MAX_DEPTH)
					return false;
				at->p++;
				break;
			case '}':
			case ']':
				depth--;
				at->p++;
				break;
			case ',':
			case ':':
				at->p++;
				break;
			default:
				while (at->p < at->end && *at->p != '\0' &&
					   strchr(",:]}[{\" \t\r\n", *at->p) == NULL)
					at->p++;
				if (at->p < at->end && *at->p == '\0')
					return false;
				break;
		}
	} while (depth > 0);
	return depth == 0;
}

/* ans_hex reads four hexadecimal digits; -1 where they are none. */
static int
ans_hex(const char *p, const char *end)
{
	int			value = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++)
	{
		char		c = p[i];

		value <<= 4;
		if (c >= '0' && c <= '9')
			value |= c - '0';
		else if (c >= 'a' && c <= 'f')
			value |= c - 'a' + 10;
		else if (c >= 'A' && c <= 'F')
			value |= c - 'A' + 10;
		else
			return -1;
	}
	return value;
}

/* ans_unescape_unicode appends the character of \uXXXX at p; returns its end. */
static const char *
ans_unescape_unicode(StringInfo buf, const char *p, const char *end)
{
	int			code = ans_hex(p, end);
	unsigned char utf8[8];

	if (code < 0)
		return p;
	p += 4;
	if (code >= 0xD800 && code < 0xDC00 && end - p >= 6 && p[0] == '\\' &&
		p[1] == 'u')
	{
		int			low = ans_hex(p + 2, end);

		if (low >= 0xDC00 && low < 0xE000)
		{
			code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
			p += 6;
		}
	}
	if (code == 0 || (code >= 0xD800 && code < 0xE000))
		code = 0xFFFD;
	unicode_to_utf8(code, utf8);
	appendBinaryStringInfo(buf, (char *) utf8, pg_utf_mblen(utf8));
	return p;
}

/* concord_place_unescape returns a string's content as valid text. */
char *
concord_place_unescape(const char *start, Size len)
{
	StringInfoData buf;
	const char *end = start + Min(len, CONCORD_PLACE_VALUE);
	char	   *text;

	initStringInfo(&buf);
	for (const char *p = start; p < end;)
	{
		if (*p != '\\' || p + 1 >= end)
		{
			appendStringInfoCharMacro(&buf, *p++);
			continue;
		}
		p += 2;
		switch (p[-1])
		{
			case 'n':
				appendStringInfoChar(&buf, '\n');
				break;
			case 't':
				appendStringInfoChar(&buf, '\t');
				break;
			case 'r':
				appendStringInfoChar(&buf, '\r');
				break;
			case 'b':
			case 'f':
				appendStringInfoChar(&buf, ' ');
				break;
			case 'u':
				p = ans_unescape_unicode(&buf, p, end);
				break;
			default:
				appendStringInfoChar(&buf, p[-1]);
				break;
		}
	}
	text = concord_safe_text(buf.data, buf.len, CONCORD_PLACE_VALUE);
	pfree(buf.data);
	return text;
}

/* concord_place_member goes to the value of a member of the object at this place. */
bool
concord_place_member(ConcordJsonPlace *at, const char *name)
{
	at->p++;
	while (concord_place_blank(at) && *at->p == '"')
	{
		const char *start;
		Size		len;
		bool		same;

		if (!concord_place_string(at, &start, &len))
			return false;
		if (memchr(start, '\\', len) != NULL)
		{
			char	   *plain = concord_place_unescape(start, len);

			same = strcmp(plain, name) == 0;
			pfree(plain);
		}
		else
			same = len == strlen(name) && memcmp(start, name, len) == 0;
		if (!concord_place_blank(at) || *at->p != ':')
			return false;
		at->p++;
		if (same)
			return concord_place_blank(at);
		if (!concord_place_value(at) || !concord_place_blank(at) || *at->p != ',')
			return false;
		at->p++;
	}
	return false;
}

/* concord_place_element goes to an element of the array at this place. */
bool
concord_place_element(ConcordJsonPlace *at, const char *name)
{
	char	   *stop;
	long		index = strtol(name, &stop, 10);

	if (stop == name || *stop != '\0' || index < 0)
		return false;
	at->p++;
	for (long i = 0; i < index; i++)
	{
		if (!concord_place_value(at) || !concord_place_blank(at) || *at->p != ',')
			return false;
		at->p++;
	}
	return concord_place_blank(at) && *at->p != ']';
}

/*
 * concord_answer_find follows names through objects and arrays; NULL where
 * there is nothing, or null.
 */
char *
concord_answer_find(const ConcordResponse *response, const char *const *names,
					int n)
{
	ConcordJsonPlace at = {response->body, response->body + response->body_len};
	const char *start;
	Size		len;

	if (response->body == NULL)
		return NULL;
	for (int i = 0; i < n; i++)
	{
		if (!concord_place_blank(&at))
			return NULL;
		if (*at.p == '{' ? !concord_place_member(&at, names[i]) :
			*at.p == '[' ? !concord_place_element(&at, names[i]) : true)
			return NULL;
	}
	if (!concord_place_blank(&at))
		return NULL;
	if (concord_place_string(&at, &start, &len))
		return concord_place_unescape(start, len);
	start = at.p;
	if (!concord_place_value(&at) || (at.p - start == 4 && memcmp(start, "null", 4) == 0))
		return NULL;
	return concord_safe_text(start, at.p - start, CONCORD_PLACE_VALUE);
}
