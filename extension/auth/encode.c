/*-------------------------------------------------------------------------
 *
 * encode.c
 *	  The small codecs of authentication, and hiding a secret in a text.
 *
 * Answers of token endpoints are read here and not by connector/answer.c,
 * which is a room above: a flat JSON object, of which one member is wanted.
 * They may be anything; what cannot be read is as if it were not there.
 *
 *-------------------------------------------------------------------------
 */
#include "auth/schemes.h"

#include "base/base64.h"
#include "catalog/server_options.h"

/* Secrets shorter than this are not looked for in texts. */
#define ENC_HIDE_MIN	4
#define ENC_HIDDEN		"***"

/* concord_encode_percent escapes all but RFC 3986's unreserved characters. */
void
concord_encode_percent(StringInfo buf, const char *text)
{
	static const char hex[] = "0123456789ABCDEF";

	for (const unsigned char *p = (const unsigned char *) text; *p; p++)
	{
		if ((*p >= 'A' && *p <= 'Z') || (*p >= 'a' && *p <= 'z') ||
			(*p >= '0' && *p <= '9') || strchr("-._~", *p) != NULL)
			appendStringInfoChar(buf, *p);
		else
		{
			appendStringInfoChar(buf, '%');
			appendStringInfoChar(buf, hex[*p >> 4]);
			appendStringInfoChar(buf, hex[*p & 15]);
		}
	}
}

/* concord_encode_form adds a field to a form; nothing where value is NULL. */
void
concord_encode_form(StringInfo buf, const char *name, const char *value)
{
	if (value == NULL)
		return;
	if (buf->len > 0)
		appendStringInfoChar(buf, '&');
	concord_encode_percent(buf, name);
	appendStringInfoChar(buf, '=');
	concord_encode_percent(buf, value);
}

/* enc_control: a text has a control character. */
static bool
enc_control(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char) *text < ' ' || *text == 0x7F)
			return true;
	return false;
}

/*
 * concord_encode_basic_bad says why name and password cannot be sent by RFC 7617,
 * section 2, without showing them; NULL: they can.
 */
const char *
concord_encode_basic_bad(const char *name, const char *password)
{
	if (strchr(name, ':') != NULL)
		return "the user name has a colon, which ends it in basic authentication";
	if (enc_control(name))
		return "the user name has a control character, which basic authentication does not allow";
	if (enc_control(password))
		return "the password has a control character, which basic authentication does not allow";
	return NULL;
}

/*
 * concord_encode_basic_check raises where the options of a user mapping say a
 * name or password that cannot be sent so.
 */
void
concord_encode_basic_check(List *options)
{
	const char *password = concord_option_get(options, "password");
	const char *name = concord_option_get(options, "username");
	const char *bad = concord_encode_basic_bad(name ? name : "",
											   password ? password : "");

	if (bad != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\"",
						concord_encode_basic_bad(name ? name : "", "") != NULL ?
						"username" : "password"),
				 errdetail_internal("%c%s.", pg_toupper((unsigned char) bad[0]), bad + 1)));
}

/* concord_encode_basic codes name and password as RFC 7617 wants them. */
char *
concord_encode_basic(const char *name, const char *password)
{
	char	   *plain = psprintf("%s:%s", name, password);
	Size		len = strlen(plain);
	char	   *coded = concord_base64(plain, len, false);

	explicit_bzero(plain, len);
	pfree(plain);
	return coded;
}

/* concord_encode_hide returns text with every occurrence of secret hidden. */
char *
concord_encode_hide(char *text, const char *secret)
{
	StringInfoData buf;
	const char *rest = text;
	const char *found;
	size_t		len = strlen(secret);

	if (len < ENC_HIDE_MIN || strstr(text, secret) == NULL)
		return text;
	initStringInfo(&buf);
	while ((found = strstr(rest, secret)) != NULL)
	{
		appendBinaryStringInfo(&buf, rest, found - rest);
		appendStringInfoString(&buf, ENC_HIDDEN);
		rest = found + len;
	}
	appendStringInfoString(&buf, rest);
	return buf.data;
}

/* concord_encode_printable says whether a text may stand in a header. */
bool
concord_encode_printable(const char *text)
{
	for (const unsigned char *p = (const unsigned char *) text; *p; p++)
	{
		if (*p < ' ' || *p > '~')
			return false;
	}
	return *text != '\0';
}

/* concord_encode_unhex reads n hexadecimal digits; -1 where they are none. */
int
concord_encode_unhex(const char *text, int n)
{
	int			value = 0;

	for (int i = 0; i < n; i++)
	{
		const char	c = pg_ascii_tolower((unsigned char) text[i]);

		if (c >= '0' && c <= '9')
			value = value * 16 + c - '0';
		else if (c >= 'a' && c <= 'f')
			value = value * 16 + c - 'a' + 10;
		else
			return -1;
	}
	return value;
}

/* enc_blank skips blanks. */
static const char *
enc_blank(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'))
		p++;
	return p;
}

/*
 * enc_string reads a string at p into buf, if that is given; returns its end
 * or NULL.  Of \u escapes only those of ASCII are read.
 */
static const char *
enc_string(const char *p, const char *end, StringInfo buf)
{
	static const char escapes[] = "\"\"\\\\//b\bf\fn\nr\rt\t";

	for (p++; p < end && *p != '"'; p++)
	{
		char		c = *p;

		if (c == '\\')
		{
			const char *e = NULL;

			if (++p >= end)
				return NULL;
			for (int i = 0; escapes[i] != '\0' && e == NULL; i += 2)
			{
				if (escapes[i] == *p)
					e = &escapes[i + 1];
			}
			if (e != NULL)
				c = *e;
			else
			{
				int			code = *p == 'u' && end - p >= 5 ?
					concord_encode_unhex(p + 1, 4) : -1;

				if (code < 0)
					return NULL;
				c = code > 0 && code < 0x80 ? (char) code : '?';
				p += 4;
			}
		}
		if (buf != NULL)
			appendStringInfoChar(buf, c);
	}
	return p < end ? p + 1 : NULL;
}

/* enc_value passes over a value; returns its end or NULL. */
static const char *
enc_value(const char *p, const char *end)
{
	int			depth = 0;

	do
	{
		if (p >= end)
			return NULL;
		if (*p == '"')
		{
			p = enc_string(p, end, NULL);
			if (p == NULL)
				return NULL;
		}
		else if (*p == '{' || *p == '[')
		{
			depth++;
			p++;
		}
		else if (*p == '}' || *p == ']')
		{
			if (--depth < 0)
				return NULL;
			p++;
		}
		else if (depth > 0)
			p++;
		else
		{
			while (p < end && strchr(",}] \t\r\n", *p) == NULL)
				p++;
		}
	} while (depth > 0);
	return p;
}

/* enc_member finds a member of an object. */
static char *
enc_member(const char *json, Size len, const char *name, bool strings)
{
	const char *end = json + len;
	const char *p = enc_blank(json, end);

	if (p >= end || *p != '{')
		return NULL;
	p = enc_blank(p + 1, end);
	while (p < end && *p == '"')
	{
		StringInfoData buf;
		const char *value;

		initStringInfo(&buf);
		p = enc_string(p, end, &buf);
		if (p == NULL || (p = enc_blank(p, end)) >= end || *p != ':')
			return NULL;
		value = p = enc_blank(p + 1, end);
		p = enc_value(p, end);
		if (p == NULL)
			return NULL;
		if (strcmp(buf.data, name) == 0)
		{
			if (*value != '"')
				return strings ? NULL : pnstrdup(value, p - value);
			resetStringInfo(&buf);
			(void) enc_string(value, end, &buf);
			return buf.data;
		}
		p = enc_blank(p, end);
		if (p >= end || *p != ',')
			return NULL;
		p = enc_blank(p + 1, end);
	}
	return NULL;
}

/*
 * concord_json_text returns a member of an object that is a string; NULL where
 * there is none, or it is something else.
 */
char *
concord_json_text(const char *json, Size len, const char *name)
{
	return enc_member(json, len, name, true);
}

/*
 * concord_json_member returns a member of an object as text: a string's
 * content, another value as it stands; NULL where there is none.
 */
char *
concord_json_member(const char *json, Size len, const char *name)
{
	return enc_member(json, len, name, false);
}
