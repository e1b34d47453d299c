/*-------------------------------------------------------------------------
 *
 * answer.c
 *	  Find a value in an answer that should be JSON, or compare it with ours.
 *
 * Answers come from elsewhere and may be anything: no recursion that they
 * could drive deep, no error, no assumption about encoding.  What cannot be
 * read is as if it were not there.  A found string is unescaped and made valid
 * text; other values are given as they stand.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/protocols.h"

#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#define ANS_MAX_DEPTH		512
#define ANS_MAX_NAMES		16
#define ANS_MAX_VALUE		8192
#define ANS_MAX_NUMBER		200 /* digits of a number that is compared */
#define ANS_MAX_NESTING		32	/* of values that are compared */

/* A place in the answer; p == NULL once it is not JSON. */
typedef struct AnsPlace
{
	const char *p;
	const char *end;
} AnsPlace;

/* ans_blank skips blanks; false at the end. */
static bool
ans_blank(AnsPlace *at)
{
	while (at->p < at->end && strchr(" \t\r\n", *at->p) != NULL && *at->p)
		at->p++;
	return at->p < at->end;
}

/* ans_string skips a string and tells where its content is. */
static bool
ans_string(AnsPlace *at, const char **start, Size *len)
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

/* ans_value skips one value of any kind. */
static bool
ans_value(AnsPlace *at)
{
	int			depth = 0;

	do
	{
		const char *start;
		Size		len;

		if (!ans_blank(at))
			return false;
		switch (*at->p)
		{
			case '"':
				if (!ans_string(at, &start, &len))
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

/* ans_unescape returns a string's content as valid text. */
static char *
ans_unescape(const char *start, Size len)
{
	StringInfoData buf;
	const char *end = start + Min(len, ANS_MAX_VALUE);

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
	return concord_safe_text(buf.data, buf.len, ANS_MAX_VALUE);
}

/* ans_member goes to the value of a member of the object at this place. */
static bool
ans_member(AnsPlace *at, const char *name)
{
	at->p++;
	while (ans_blank(at) && *at->p == '"')
	{
		const char *start;
		Size		len;
		bool		same;

		if (!ans_string(at, &start, &len))
			return false;
		if (memchr(start, '\\', len) != NULL)
			same = strcmp(ans_unescape(start, len), name) == 0;
		else
			same = len == strlen(name) && memcmp(start, name, len) == 0;
		if (!ans_blank(at) || *at->p != ':')
			return false;
		at->p++;
		if (same)
			return ans_blank(at);
		if (!ans_value(at) || !ans_blank(at) || *at->p != ',')
			return false;
		at->p++;
	}
	return false;
}

/* ans_element goes to an element of the array at this place. */
static bool
ans_element(AnsPlace *at, const char *name)
{
	char	   *stop;
	long		index = strtol(name, &stop, 10);

	if (*stop != '\0' || index < 0)
		return false;
	at->p++;
	for (long i = 0; i < index; i++)
	{
		if (!ans_value(at) || !ans_blank(at) || *at->p != ',')
			return false;
		at->p++;
	}
	return ans_blank(at) && *at->p != ']';
}

/*
 * concord_answer_find follows names through objects and arrays; NULL where
 * there is nothing, or null.
 */
char *
concord_answer_find(const ConcordResponse *response, const char *const *names,
					int n)
{
	AnsPlace	at = {response->body, response->body + response->body_len};
	const char *start;
	Size		len;

	if (response->body == NULL)
		return NULL;
	for (int i = 0; i < n; i++)
	{
		if (!ans_blank(&at))
			return NULL;
		if (*at.p == '{' ? !ans_member(&at, names[i]) :
			*at.p == '[' ? !ans_element(&at, names[i]) : true)
			return NULL;
	}
	if (!ans_blank(&at))
		return NULL;
	if (ans_string(&at, &start, &len))
		return ans_unescape(start, len);
	start = at.p;
	if (!ans_value(&at) || (at.p - start == 4 && memcmp(start, "null", 4) == 0))
		return NULL;
	return concord_safe_text(start, at.p - start, ANS_MAX_VALUE);
}

/* concord_answer_path does so by a dotted path. */
char *
concord_answer_path(const ConcordResponse *response, const char *path)
{
	const char *names[ANS_MAX_NAMES];
	char	   *copy = pstrdup(path);
	int			n = 0;

	for (char *p = copy; p != NULL && n < ANS_MAX_NAMES;)
	{
		char	   *dot = strchr(p, '.');

		if (dot != NULL)
			*dot++ = '\0';
		names[n++] = p;
		p = dot;
	}
	return concord_answer_find(response, names, n);
}

/* ans_is_number says whether a text is a JSON number of a reasonable size. */
static bool
ans_is_number(const char *p, Size len)
{
	const char *end = p + len;
	int			exponent = 0;

	if (len == 0 || len > ANS_MAX_NUMBER)
		return false;
	if (*p == '-')
		p++;
	if (p == end || *p < '0' || *p > '9')
		return false;
	while (p < end && *p >= '0' && *p <= '9')
		p++;
	if (p < end && *p == '.')
	{
		if (++p == end || *p < '0' || *p > '9')
			return false;
		while (p < end && *p >= '0' && *p <= '9')
			p++;
	}
	if (p < end && (*p == 'e' || *p == 'E'))
	{
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		for (exponent = 0; p < end && *p >= '0' && *p <= '9'; exponent++)
			p++;
		if (exponent < 1 || exponent > 3)
			return false;
	}
	return p == end;
}

/* ans_same_number compares two texts for which ans_is_number holds. */
static bool
ans_same_number(const char *a, Size alen, const char *b, Size blen)
{
	Datum		values[2];

	for (int i = 0; i < 2; i++)
		values[i] = DirectFunctionCall3(numeric_in,
										CStringGetDatum(i == 0 ?
														pnstrdup(a, alen) :
														pnstrdup(b, blen)),
										ObjectIdGetDatum(InvalidOid),
										Int32GetDatum(-1));
	return DatumGetBool(DirectFunctionCall2(numeric_eq, values[0], values[1]));
}

/*
 * ans_time_length says how much of a text is a time without its zone
 * (2026-11-20T08:15:00.123456); 0 where it is none in UTC.
 */
static Size
ans_time_length(const char *text)
{
	static const char form[] = "0000-00-00T00:00:00";
	Size		len = strlen(form);
	Size		zone;

	for (Size i = 0; i < len; i++)
	{
		if (form[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
			return 0;
	}
	if (text[len] == '.')
		len += 1 + strspn(text + len + 1, "0123456789");
	zone = strcmp(text + len, "Z") == 0 || strcmp(text + len, "+00:00") == 0;
	return zone ? len : 0;
}

/* ans_same_time says whether two texts are one time as far as both are given. */
static bool
ans_same_time(const char *a, const char *b)
{
	Size		alen = ans_time_length(a);
	Size		blen = ans_time_length(b);

	return alen > 0 && blen > 0 && memcmp(a, b, Min(alen, blen)) == 0;
}

/* ans_same_string compares the contents of two strings. */
static bool
ans_same_string(const char *a, Size alen, const char *b, Size blen)
{
	char	   *atext;
	char	   *btext;

	if (alen == blen && memcmp(a, b, alen) == 0)
		return true;
	/* what follows cuts what is longer */
	if (alen > ANS_MAX_VALUE || blen > ANS_MAX_VALUE)
		return false;
	atext = ans_unescape(a, alen);
	btext = ans_unescape(b, blen);
	return strcmp(atext, btext) == 0 || ans_same_time(atext, btext);
}

static bool ans_holds(AnsPlace *theirs, AnsPlace *ours, int nesting);

/* ans_holds_members says whether an object has all members of ours. */
static bool
ans_holds_members(AnsPlace *theirs, AnsPlace *ours, int nesting)
{
	ours->p++;
	while (ans_blank(ours) && *ours->p == '"')
	{
		AnsPlace	member = *theirs;
		const char *name;
		Size		len;

		if (!ans_string(ours, &name, &len) || !ans_blank(ours))
			return false;
		ours->p++;
		if (!ans_member(&member, ans_unescape(name, len)) ||
			!ans_holds(&member, ours, nesting) || !ans_blank(ours))
			return false;
		if (*ours->p == ',')
			ours->p++;
	}
	if (ours->p >= ours->end || *ours->p != '}')
		return false;
	ours->p++;
	return ans_value(theirs);
}

/* ans_holds_elements says whether two arrays have the same elements. */
static bool
ans_holds_elements(AnsPlace *theirs, AnsPlace *ours, int nesting)
{
	for (;;)
	{
		/* past the bracket or a comma, which both have here */
		theirs->p++;
		ours->p++;
		if (!ans_blank(theirs) || !ans_blank(ours))
			return false;
		if (*theirs->p == ']' || *ours->p == ']')
			break;
		if (!ans_holds(theirs, ours, nesting) ||
			!ans_blank(theirs) || !ans_blank(ours))
			return false;
		if (*theirs->p != ',' || *ours->p != ',')
			break;
	}
	if (*theirs->p != ']' || *ours->p != ']')
		return false;
	theirs->p++;
	ours->p++;
	return true;
}

/*
 * ans_holds says whether a value holds ours, and goes behind both.  Numbers
 * may be written differently, and as strings: many systems quote decimals.
 */
static bool
ans_holds(AnsPlace *theirs, AnsPlace *ours, int nesting)
{
	const char *a;
	const char *b;
	Size		alen;
	Size		blen;
	bool		astring;
	bool		bstring;

	if (nesting >= ANS_MAX_NESTING || !ans_blank(theirs) || !ans_blank(ours))
		return false;
	if (*theirs->p == '{' && *ours->p == '{')
		return ans_holds_members(theirs, ours, nesting + 1);
	if (*theirs->p == '[' && *ours->p == '[')
		return ans_holds_elements(theirs, ours, nesting + 1);

	a = theirs->p;
	b = ours->p;
	astring = ans_string(theirs, &a, &alen);
	bstring = ans_string(ours, &b, &blen);
	if (!astring)
	{
		if (!ans_value(theirs))
			return false;
		alen = theirs->p - a;
	}
	if (!bstring)
	{
		if (!ans_value(ours))
			return false;
		blen = ours->p - b;
	}
	if (astring && bstring)
		return ans_same_string(a, alen, b, blen);
	if (ans_is_number(a, alen) && ans_is_number(b, blen))
		return ans_same_number(a, alen, b, blen);
	return astring == bstring && alen == blen && memcmp(a, b, alen) == 0;
}

/*
 * concord_answer_holds says whether an answer is an object that has all
 * members of ours, a JSON object, with equal values.  Objects inside are
 * compared likewise, arrays element by element.  False where in doubt.
 */
bool
concord_answer_holds(const ConcordResponse *response, const char *json, Size len)
{
	AnsPlace	theirs = {response->body, response->body + response->body_len};
	AnsPlace	ours = {json, json + len};

	return response->body != NULL && ans_blank(&theirs) && *theirs.p == '{' &&
		ans_holds(&theirs, &ours, 0);
}
