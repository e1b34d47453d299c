/*-------------------------------------------------------------------------
 *
 * json.c
 *	  JSON of answers: a check of the whole, then places in it.
 *
 * An answer is checked once, strictly, before anything is made of it; then its
 * records are read where they stand.  There is no tree: a page of ten thousand
 * records costs no memory but its own bytes, and a number is the digits that
 * came.
 *
 * Nothing here recurses by what a text says, and all that walks over a whole
 * answer can be interrupted.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/json.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"

#define JSN_MAX_DEPTH	512
/* Bytes after which interrupts are looked for: some 100 µs. */
#define JSN_CHUNK		65536

/* What a byte is, in the check. */
static inline bool
jsn_blank(char c)
{
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline bool
jsn_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline const char *
jsn_blanks(const char *p)
{
	while (jsn_blank(*p))
		p++;
	return p;
}

/* jsn_hex says whether p has four hexadecimal digits. */
static bool
jsn_hex(const char *p)
{
	for (int i = 0; i < 4; i++)
	{
		if (!isxdigit((unsigned char) p[i]))
			return false;
	}
	return true;
}

/* jsn_check_string returns the end of a string, or NULL with *bad. */
static const char *
jsn_check_string(const char *p, const char **bad)
{
	const char *soon = p + JSN_CHUNK;

	for (p++;; p++)
	{
		unsigned char c = *p;

		if (unlikely(p >= soon))
		{
			CHECK_FOR_INTERRUPTS();
			soon = p + JSN_CHUNK;
		}
		if (c == '"')
			return p + 1;
		if (c == '\\')
		{
			p++;
			if (*p == 'u' && jsn_hex(p + 1))
				p += 4;
			else if (*p == '\0' || strchr("\"\\/bfnrt", *p) == NULL)
				break;
		}
		else if (c < ' ')
			break;				/* the NUL behind the text is one of these */
	}
	*bad = p;
	return NULL;
}

/* jsn_check_number returns the end of a number, or NULL. */
static const char *
jsn_check_number(const char *p)
{
	if (*p == '-')
		p++;
	if (*p == '0')
		p++;
	else if (jsn_digit(*p))
	{
		while (jsn_digit(*p))
			p++;
	}
	else
		return NULL;
	if (*p == '.')
	{
		if (!jsn_digit(*++p))
			return NULL;
		while (jsn_digit(*p))
			p++;
	}
	if (*p == 'e' || *p == 'E')
	{
		p++;
		if (*p == '+' || *p == '-')
			p++;
		if (!jsn_digit(*p))
			return NULL;
		while (jsn_digit(*p))
			p++;
	}
	return p;
}

/* jsn_check_scalar returns the end of what is no array or object, or NULL. */
static const char *
jsn_check_scalar(const char *p, const char **bad)
{
	const char *end = NULL;

	*bad = p;
	switch (*p)
	{
		case '"':
			return jsn_check_string(p, bad);
		case 't':
			if (strncmp(p, "true", 4) == 0)
				end = p + 4;
			break;
		case 'f':
			if (strncmp(p, "false", 5) == 0)
				end = p + 5;
			break;
		case 'n':
			if (strncmp(p, "null", 4) == 0)
				end = p + 4;
			break;
		default:
			end = jsn_check_number(p);
			break;
	}
	return end;
}

/*
 * jsn_check checks the value at p and returns its end, or NULL with *bad.  The
 * text ends with a NUL, which is no part of any value.
 */
static const char *
jsn_check(const char *p, const char **bad)
{
	char		stack[JSN_MAX_DEPTH];
	int			depth = 0;
	const char *soon = p + JSN_CHUNK;

	for (;;)
	{
		if (unlikely(p >= soon))
		{
			CHECK_FOR_INTERRUPTS();
			soon = p + JSN_CHUNK;
		}
		/* a value is to come */
		p = jsn_blanks(p);
		if (*p == '{' || *p == '[')
		{
			bool		object = *p == '{';

			*bad = p;
			if (depth == JSN_MAX_DEPTH)
				return NULL;
			stack[depth++] = *p;
			p = jsn_blanks(p + 1);
			if (*p == (object ? '}' : ']'))
				goto close;
			if (object)
				goto member;
			continue;
		}
		p = jsn_check_scalar(p, bad);
		if (p == NULL)
			return NULL;

		/* a value has ended */
ended:
		if (depth == 0)
			return p;
		p = jsn_blanks(p);
		*bad = p;
		if (*p == ',')
		{
			p = jsn_blanks(p + 1);
			if (stack[depth - 1] == '[')
				continue;
	member:
			*bad = p;
			if (*p != '"' || (p = jsn_check_string(p, bad)) == NULL)
				return NULL;
			p = jsn_blanks(p);
			*bad = p;
			if (*p++ != ':')
				return NULL;
			continue;
		}
		if (*p != (stack[depth - 1] == '{' ? '}' : ']'))
			return NULL;
close:
		p++;
		depth--;
		goto ended;
	}
}

/* jsn_utf8 says how many bytes of a text are characters. */
static Size
jsn_utf8(const char *text, Size len)
{
	Size		good = 0;

	while (good < len)
	{
		Size		part = Min(len - good, JSN_CHUNK);
		Size		n = pg_encoding_verifymbstr(PG_UTF8, text + good, (int) part);

		CHECK_FOR_INTERRUPTS();
		/* a character may go on in the next part */
		if (n == 0 || (n < part && (part < JSN_CHUNK || part - n > 3)))
			return good + n;
		good += n;
	}
	return good;
}

/* concord_json_valid says whether a text is JSON in UTF-8 and nothing else. */
bool
concord_json_valid(const char *text, Size len, Size *at)
{
	const char *bad = text;
	const char *end;

	Assert(text[len] == '\0');
	*at = 0;
	end = jsn_check(text, &bad);
	if (end == NULL || jsn_blanks(end) != text + len)
	{
		*at = (end == NULL ? bad : jsn_blanks(end)) - text;
		return false;
	}
	*at = jsn_utf8(text, len);
	return *at == len;
}

/* concord_json_kind tells by the first byte. */
ConcordJsonKind
concord_json_kind(ConcordSlice slice)
{
	if (slice.start == NULL)
		return CONCORD_JSON_NONE;
	switch (*slice.start)
	{
		case 'n':
			return CONCORD_JSON_NULL;
		case 't':
		case 'f':
			return CONCORD_JSON_BOOL;
		case '"':
			return CONCORD_JSON_STRING;
		case '[':
			return CONCORD_JSON_ARRAY;
		case '{':
			return CONCORD_JSON_OBJECT;
		default:
			return CONCORD_JSON_NUMBER;
	}
}

/* jsn_skip_string returns the end of a string. */
static inline const char *
jsn_skip_string(const char *p)
{
	for (p++; *p != '"'; p++)
	{
		if (*p == '\\')
			p++;
	}
	return p + 1;
}

/* concord_json_skip returns the end of the value at p. */
const char *
concord_json_skip(const char *p)
{
	int			depth = 0;
	const char *soon = p + JSN_CHUNK;

	if (*p == '"')
		return jsn_skip_string(p);
	if (*p != '{' && *p != '[')
	{
		while (*p != ',' && *p != '}' && *p != ']' && !jsn_blank(*p) && *p)
			p++;
		return p;
	}
	do
	{
		if (unlikely(p >= soon))
		{
			CHECK_FOR_INTERRUPTS();
			soon = p + JSN_CHUNK;
		}
		switch (*p)
		{
			case '"':
				p = jsn_skip_string(p);
				continue;
			case '{':
			case '[':
				depth++;
				break;
			case '}':
			case ']':
				depth--;
				break;
		}
		p++;
	} while (depth > 0);
	return p;
}

/* concord_json_next_member steps through an object. */
bool
concord_json_next_member(const char **at, ConcordSlice *name,
						 ConcordSlice *value)
{
	const char *p = jsn_blanks(*at);

	if (*p == ',')
		p = jsn_blanks(p + 1);
	if (*p == '}')
	{
		*at = p + 1;
		return false;
	}
	name->start = p + 1;
	p = jsn_skip_string(p);
	name->len = p - name->start - 1;
	if (*p != ':')
		p = jsn_blanks(p);
	p = jsn_blanks(p + 1);
	value->start = p;
	p = concord_json_skip(p);
	value->len = p - value->start;
	*at = p;
	return true;
}

/* concord_json_next_element steps through an array. */
bool
concord_json_next_element(const char **at, ConcordSlice *value)
{
	const char *p = jsn_blanks(*at);

	if (*p == ',')
		p = jsn_blanks(p + 1);
	if (*p == ']')
	{
		*at = p + 1;
		return false;
	}
	value->start = p;
	p = concord_json_skip(p);
	value->len = p - value->start;
	*at = p;
	return true;
}

/* concord_json_same compares a member's name. */
bool
concord_json_same(ConcordSlice name, const char *text, Size len)
{
	StringInfoData buf;
	ConcordSlice quoted = {name.start - 1, name.len + 2};
	bool		same;

	if (memchr(name.start, '\\', name.len) == NULL)
		return name.len == len && memcmp(name.start, text, len) == 0;
	initStringInfo(&buf);
	same = concord_json_content(quoted, &buf) && buf.len == len &&
		memcmp(buf.data, text, len) == 0;
	pfree(buf.data);
	return same;
}

/* concord_json_find follows a path of names with dots. */
ConcordSlice
concord_json_find(ConcordSlice at, const char *path)
{
	const ConcordSlice nothing = {NULL, 0};

	while (at.start != NULL && *path)
	{
		/* names with dots of their own are those of OData: @odata.nextLink */
		Size		len = *path == '@' ? strlen(path) : strcspn(path, ".");
		const char *p = at.start + 1;
		ConcordSlice name;
		ConcordSlice value;

		if (*at.start != '{')
			return nothing;
		at = nothing;
		while (concord_json_next_member(&p, &name, &value))
		{
			if (concord_json_same(name, path, len))
			{
				at = value;
				break;
			}
		}
		path += len;
		path += *path == '.';
	}
	return at;
}

/* jsn_code reads four hexadecimal digits. */
static pg_wchar
jsn_code(const char *p)
{
	pg_wchar	code = 0;

	for (int i = 0; i < 4; i++)
	{
		char		c = p[i];

		code = code << 4 | (c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return code;
}

/* jsn_unicode appends the character of \uXXXX; p is at its digits. */
static const char *
jsn_unicode(const char *p, StringInfo buf)
{
	pg_wchar	code = jsn_code(p);
	unsigned char utf8[8] = {0};

	p += 4;
	if (is_utf16_surrogate_first(code))
	{
		if (p[0] != '\\' || p[1] != 'u' ||
			!is_utf16_surrogate_second(jsn_code(p + 2)))
			return NULL;
		code = surrogate_pair_to_codepoint(code, jsn_code(p + 2));
		p += 6;
	}
	else if (code == 0 || is_utf16_surrogate_second(code))
		return NULL;
	unicode_to_utf8(code, utf8);
	appendBinaryStringInfo(buf, (char *) utf8, pg_utf_mblen(utf8));
	return p;
}

/* concord_json_content appends a string's content. */
bool
concord_json_content(ConcordSlice slice, StringInfo buf)
{
	const char *p = slice.start + 1;
	const char *end = slice.start + slice.len - 1;

	while (p < end)
	{
		const char *stop = memchr(p, '\\', end - p);

		if (stop == NULL)
			stop = end;
		appendBinaryStringInfo(buf, p, stop - p);
		if (stop == end)
			break;
		p = stop + 2;
		switch (stop[1])
		{
			case 'n':
				appendStringInfoCharMacro(buf, '\n');
				break;
			case 't':
				appendStringInfoCharMacro(buf, '\t');
				break;
			case 'r':
				appendStringInfoCharMacro(buf, '\r');
				break;
			case 'b':
				appendStringInfoCharMacro(buf, '\b');
				break;
			case 'f':
				appendStringInfoCharMacro(buf, '\f');
				break;
			case 'u':
				p = jsn_unicode(p, buf);
				if (p == NULL)
					return false;
				break;
			default:
				appendStringInfoCharMacro(buf, stop[1]);
				break;
		}
	}
	return true;
}
