/*-------------------------------------------------------------------------
 *
 * address.c
 *	  Addresses of calls: under the server's url, percent-encoded.
 *
 * A path may be percent-encoded already; what is stays, what is not and has to
 * be is.  So a percent sign that begins no code is refused rather than guessed
 * at.  That nothing leads out of the server's url is judged on the decoded
 * path, with every character that some server takes for a separator (%2F, a
 * backslash) and with what Java servers cut off a segment (";").
 *
 *-------------------------------------------------------------------------
 */
#include "live/live.h"

#include "base/json.h"
#include "connector/protocols.h"
#include "utils/builtins.h"

/* What stays as it is in a path beside letters, digits and "-._~". */
#define ADR_PATH_KEEP	"/!$&'()*+,;=:@"
#define ADR_QUERY_KEEP	ADR_PATH_KEEP "?"
/* Of values that come as data, nothing that separates them. */
#define ADR_VALUE_KEEP	"!$'()*,:@/"
/* The longest address; no server takes more. */
#define ADR_MOST		(64 * 1024)

/* adr_bad refuses a path. */
static void
adr_bad(const char *path, const char *detail, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid path \"%s\"", path),
			 errdetail("%s", detail),
			 hint != NULL ? errhint("%s", hint) : 0));
}

/* adr_hex gives the value of a hexadecimal digit, or -1. */
static int
adr_hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = pg_ascii_tolower((unsigned char) c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* adr_code gives the byte that a percent sign at p stands for, or -1. */
static int
adr_code(const char *p)
{
	int			high = adr_hex(p[1]);
	int			low = high < 0 ? -1 : adr_hex(p[2]);

	return low < 0 ? -1 : high * 16 + low;
}

/* adr_decode takes percent-encoding off; codes of control characters are refused. */
static char *
adr_decode(const char *path, const char *given)
{
	char	   *decoded = palloc(strlen(path) + 1);
	char	   *out = decoded;

	while (*path)
	{
		int			c = (unsigned char) *path;

		if (c == '%')
		{
			c = adr_code(path);
			if (c < 0)
				adr_bad(given, "A percent sign is followed by two hexadecimal digits.",
						"Write %25 for a percent sign; argument query encodes values by itself.");
			path += 2;
		}
		if (c < ' ' || c == 0x7F)
			adr_bad(given, "It has a control character.", NULL);
		*out++ = (char) c;
		path++;
	}
	*out = '\0';
	return decoded;
}

/* adr_climbs says whether a decoded path has a segment of dots. */
static bool
adr_climbs(const char *path)
{
	for (;;)
	{
		Size		len = strcspn(path, "/\\");
		Size		dots = strspn(path, ".");

		if ((dots == 1 || dots == 2) && (dots == len || path[dots] == ';'))
			return true;
		if (path[len] == '\0')
			return false;
		path += len + 1;
	}
}

/* adr_encode appends a text that may be encoded already. */
static void
adr_encode(StringInfo url, const char *text, const char *keep)
{
	const char *utf8 = concord_json_utf8(text);

	while (*utf8)
	{
		Size		len = strcspn(utf8, "%");
		char	   *part = pnstrdup(utf8, len);

		/* it is UTF-8 already: a database of another encoding has no say */
		concord_url_escape_utf8(url, part, keep);
		pfree(part);
		utf8 += len;
		if (*utf8 == '%')
		{
			appendBinaryStringInfo(url, utf8, 3);
			utf8 += 3;
		}
	}
}

/* adr_scheme says whether a path begins like an address of its own. */
static bool
adr_scheme(const char *path)
{
	Size		len = 0;

	while (isalnum((unsigned char) path[len]) ||
		   (path[len] != '\0' && strchr("+-.", path[len]) != NULL))
		len++;
	return len > 0 && strncmp(path + len, "://", 3) == 0;
}

/* adr_base appends what a path is relative to, and moves on to the rest. */
static const char *
adr_base(const ConcordServer *server, const char *path, StringInfo url)
{
	Size		len = strlen(server->url);

	if (strncmp(path, server->url, len) == 0)
	{
		appendStringInfoString(url, server->url);
		return path + len;
	}
	if (adr_scheme(path) || strncmp(path, "//", 2) == 0)
		adr_bad(path, psprintf("It is not under the server's url \"%s\".",
							   server->url), NULL);
	if (*path == '/')
	{
		appendStringInfoString(url, server->url);
		return path + 1;
	}
	concord_url_service(url, server, NULL);
	return path;
}

/* concord_live_address makes the address of a call. */
char *
concord_live_address(const ConcordServer *server, const char *path,
					 Jsonb *query, char **relative)
{
	StringInfoData url;
	const char *rest;
	const char *tail;
	char	   *decoded;

	initStringInfo(&url);
	if (strchr(server->url, '?') != NULL)
	{
		/* a webhook's address is whole */
		if (*path != '\0')
			adr_bad(path, "The server's url has a query: nothing can be added to it.",
					NULL);
		appendStringInfoString(&url, server->url);
		*relative = pstrdup("");
		return url.data;
	}
	if (strpbrk(path, "#\\") != NULL)
		adr_bad(path, "It has a fragment or a backslash.",
				"Write %23 and %5C where they are meant.");
	rest = adr_base(server, path, &url);
	tail = rest + strcspn(rest, "?");
	decoded = adr_decode(pnstrdup(rest, tail - rest), path);
	if (adr_climbs(decoded))
		adr_bad(path, "It would leave the server's url.", NULL);
	*relative = psprintf("%s%s", url.data + strlen(server->url), decoded);
	*relative += strspn(*relative, "/");

	adr_encode(&url, pnstrdup(rest, tail - rest), ADR_PATH_KEEP);
	(void) adr_decode(tail, path);
	adr_encode(&url, tail, ADR_QUERY_KEEP);
	if (query != NULL)
		concord_live_query(&url, query);
	if (url.len > ADR_MOST)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("address is too long"),
				 errdetail("It has %d bytes; at most %d are sent.", url.len,
						   ADR_MOST)));
	return url.data;
}

/* adr_query_bad refuses a query. */
static void
adr_query_bad(const char *name)
{
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("query is not a JSON object"),
				 errhint("Write it as {\"name\": \"value\", \"another\": [1, 2]}.")));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value of \"%s\" in query", name),
			 errdetail("A value is a text, a number, true or false, or an array of them.")));
}

/* adr_scalar gives a scalar of JSON as text. */
static char *
adr_scalar(const JsonbValue *value, const char *name)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out,
													   NumericGetDatum(value->val.numeric)));
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			adr_query_bad(name);
	}
	return NULL;				/* keep compiler quiet */
}

/* adr_pair appends one name and value. */
static void
adr_pair(StringInfo url, const char *name, const JsonbValue *value)
{
	appendStringInfoChar(url, strchr(url->data, '?') == NULL ? '?' : '&');
	concord_url_escape(url, name, ADR_VALUE_KEEP);
	appendStringInfoChar(url, '=');
	concord_url_escape(url, adr_scalar(value, name), ADR_VALUE_KEEP);
}

/* concord_live_query appends a query; null leaves a name out. */
void
concord_live_query(StringInfo url, Jsonb *query)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;
	char	   *name = NULL;
	int			depth = 0;

	if (!JB_ROOT_IS_OBJECT(query))
		adr_query_bad(NULL);
	it = JsonbIteratorInit(&query->root);
	while ((token = JsonbIteratorNext(&it, &v, false)) != WJB_DONE)
	{
		switch (token)
		{
			case WJB_KEY:
				name = pnstrdup(v.val.string.val, v.val.string.len);
				break;
			case WJB_VALUE:
				if (v.type != jbvNull)
					adr_pair(url, name, &v);
				break;
			case WJB_ELEM:
				adr_pair(url, name, &v);
				break;
			case WJB_BEGIN_OBJECT:
				if (depth++ > 0)
					adr_query_bad(name);
				break;
			case WJB_BEGIN_ARRAY:
				if (depth++ > 1)
					adr_query_bad(name);
				break;
			default:
				depth--;
				break;
		}
	}
}
