/*-------------------------------------------------------------------------
 *
 * redact.c
 *	  Credentials inside bodies, by the names of their members.
 *
 * What we hold as a secret is hidden by its value (auth/).  A system may put
 * others into an answer, and a mapping into a body: the value of a member
 * that is called like a credential is hidden wherever a body is kept.  This
 * works on any text: JSON, a piece of it, JSON within a string of JSON.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/protocols.h"

#define RED_HIDDEN	"***"

static const char *const red_names[] = {
	"password", "passwd", "passphrase", "pwd", "secret", "client_secret",
	"clientsecret", "api_key", "apikey", "api_token", "apitoken", "token",
	"access_token", "accesstoken", "refresh_token", "refreshtoken", "id_token",
	"private_key", "privatekey", "authorization", "session_id", "sessionid",
	"sid",
};

/* red_backslashes counts the backslashes before a place. */
static Size
red_backslashes(const char *text, const char *p)
{
	Size		n = 0;

	while (p - n > text && p[-1 - (ssize_t) n] == '\\')
		n++;
	return n;
}

/* red_is_secret says whether a member's name is that of a credential. */
static bool
red_is_secret(const char *name, Size len)
{
	for (int i = 0; i < lengthof(red_names); i++)
	{
		if (strlen(red_names[i]) == len &&
			pg_strncasecmp(red_names[i], name, len) == 0)
			return true;
	}
	return false;
}

/*
 * red_value finds the string after the name that ends at p, a quote with n
 * backslashes before it; *start and *end are those of its content.
 */
static bool
red_value(const char *text, const char *p, Size n, const char **start,
		  const char **end)
{
	p++;
	p += strspn(p, " \t\r\n");
	if (*p != ':')
		return false;
	p++;
	p += strspn(p, " \t\r\n");
	if (strspn(p, "\\") != n || p[n] != '"')
		return false;
	*start = p + n + 1;
	for (p = *start; (p = strchr(p, '"')) != NULL; p++)
	{
		if (red_backslashes(text, p) <= n && p - n >= *start)
		{
			*end = p - n;
			return true;
		}
	}
	/* cut in the middle */
	*end = *start + strlen(*start);
	return true;
}

/* concord_redact_members hides the values of members that are credentials. */
char *
concord_redact_members(const char *text)
{
	StringInfoData buf;
	const char *rest = text;
	const char *quote = text;

	initStringInfo(&buf);
	while ((quote = strchr(quote, '"')) != NULL)
	{
		const char *name = quote + 1;
		Size		len = strcspn(name, "\"\\");
		Size		n = red_backslashes(text, quote);
		const char *start;
		const char *end;

		if (!red_is_secret(name, len) || strspn(name + len, "\\") != n ||
			name[len + n] != '"' ||
			!red_value(text, name + len + n, n, &start, &end))
		{
			quote++;
			continue;
		}
		appendBinaryStringInfo(&buf, rest, start - rest);
		appendStringInfoString(&buf, RED_HIDDEN);
		rest = end;
		quote = end + strspn(end, "\\");
		if (*quote == '"')
			quote++;
	}
	appendStringInfoString(&buf, rest);
	return buf.data;
}
