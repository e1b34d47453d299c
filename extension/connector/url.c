/*-------------------------------------------------------------------------
 *
 * url.c
 *	  Addresses of records: base, object and key, percent-encoded.
 *
 * Every address stays under the server's url.  That is why a key that is empty
 * or made of dots alone is refused: ".." as a segment would name the
 * collection above.  Object and service were checked in check.c.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/protocols.h"

#include "base/json.h"
#include "catalog/pg_type.h"

/* concord_value_plain gives a value as text without JSON's quotes. */
char *
concord_value_plain(const ConcordValue *value)
{
	StringInfoData buf;

	switch (value->typid)
	{
		case TIMESTAMPTZOID:
		case TIMESTAMPOID:
		case DATEOID:
		case TIMEOID:
		case INTERVALOID:
		case BYTEAOID:
		case BOOLOID:
			/* none of them has anything to escape */
			initStringInfo(&buf);
			concord_json_value(&buf, value->typid, value->text, value->len,
							   false);
			if (buf.len >= 2 && buf.data[0] == '"')
				return pnstrdup(buf.data + 1, buf.len - 2);
			return buf.data;
		default:
			return pnstrdup(value->text, value->len);
	}
}

/* concord_key_text gives a key as one text: its parts, joined by commas. */
char *
concord_key_text(const ConcordMapping *mapping, const ConcordValue *keys)
{
	StringInfoData buf;
	int			n = list_length(mapping->key);

	if (n == 1 && !keys[0].isnull)
		return concord_value_plain(&keys[0]);
	initStringInfo(&buf);
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			appendStringInfoChar(&buf, ',');
		if (!keys[i].isnull)
			appendStringInfoString(&buf, concord_value_plain(&keys[i]));
	}
	return buf.data;
}

/* concord_key_problem says why a key cannot name a record, or NULL. */
const char *
concord_key_problem(const ConcordMapping *mapping, const ConcordValue *keys)
{
	int			n = list_length(mapping->key);

	if (keys == NULL || n == 0)
		return "the record has no key";
	for (int i = 0; i < n; i++)
	{
		const char *name = ((ConcordField *) list_nth(mapping->key, i))->name;

		if (keys[i].isnull)
			return psprintf("key \"%s\" is null", name);
		/* bytes are "\\x" and digits here, and base64 in an address */
		if (keys[i].len == 0 || (keys[i].typid == BYTEAOID && keys[i].len == 2))
			return psprintf("key \"%s\" is empty", name);
	}
	if (n == 1 && strspn(keys[0].text, ".") == keys[0].len && keys[0].len <= 2)
		return "a key of dots alone would name another address";
	return NULL;
}

/* concord_url_escape_utf8 percent-encodes a text that is UTF-8. */
void
concord_url_escape_utf8(StringInfo buf, const char *utf8, const char *keep)
{
	static const char hex[] = "0123456789ABCDEF";
	const unsigned char *p = (const unsigned char *) utf8;

	enlargeStringInfo(buf, strlen((const char *) p));
	for (; *p; p++)
	{
		if ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
			(*p >= '0' && *p <= '9') || *p == '-' || *p == '.' || *p == '_' ||
			*p == '~' || (*keep != '\0' && strchr(keep, *p)))
			appendStringInfoCharMacro(buf, *p);
		else
		{
			appendStringInfoCharMacro(buf, '%');
			appendStringInfoCharMacro(buf, hex[*p >> 4]);
			appendStringInfoCharMacro(buf, hex[*p & 15]);
		}
	}
}

/*
 * concord_url_escape percent-encodes all but unreserved characters and those
 * of keep; in UTF-8, whatever the database's encoding is.
 */
void
concord_url_escape(StringInfo buf, const char *text, const char *keep)
{
	concord_url_escape_utf8(buf, concord_json_utf8(text), keep);
}

/* url_segments appends a path under the base, without slashes around it. */
static void
url_segments(StringInfo buf, const char *path)
{
	while (*path == '/')
		path++;
	concord_url_escape(buf, path, "/!$&'()*+,;=:@");
	while (buf->len > 0 && buf->data[buf->len - 1] == '/')
		buf->data[--buf->len] = '\0';
}

/*
 * concord_url_service appends url and service (NULL: the server's), with a
 * slash at the end.
 */
void
concord_url_service(StringInfo buf, const ConcordServer *server,
					const char *service)
{
	if (service == NULL)
		service = server->service;
	appendStringInfoString(buf, server->url);
	if (service != NULL && *service)
	{
		url_segments(buf, service);
		appendStringInfoChar(buf, '/');
	}
}

/* concord_url_base does so for a mapping. */
void
concord_url_base(StringInfo buf, const ConcordServer *server,
				 const ConcordMapping *mapping)
{
	concord_url_service(buf, server, mapping->options.service);
}

/* concord_url_path gives an address without scheme and host. */
const char *
concord_url_path(const char *url)
{
	const char *host = strstr(url, "://");
	const char *path = host == NULL ? url : strchr(host + 3, '/');

	return path == NULL ? "/" : path;
}

/* concord_item_path gives a request's address under the service. */
const char *
concord_item_path(const ConcordExchange *exchange, const ConcordRequest *request)
{
	const char *url = request->url;
	StringInfoData base;
	bool		under;

	initStringInfo(&base);
	concord_url_base(&base, exchange->server, exchange->mapping);
	under = strncmp(url, base.data, base.len) == 0;
	url = under ? url + base.len : concord_url_path(url);
	pfree(base.data);
	return url;
}

/*
 * concord_entity_name makes the name of one of what a set is named after:
 * accounts, opportunities, addresses.
 */
char *
concord_entity_name(const char *object)
{
	static const char *const endings[] = {"sses", "shes", "ches", "xes", "zes"};
	Size		len;

	object += strspn(object, "/");
	len = strlen(object);
	if (len > 3 && strcmp(object + len - 3, "ies") == 0)
		return psprintf("%.*sy", (int) len - 3, object);
	for (int i = 0; i < lengthof(endings); i++)
	{
		Size		n = strlen(endings[i]);

		if (len > n && strcmp(object + len - n, endings[i]) == 0)
			return pnstrdup(object, len - 2);
	}
	return pnstrdup(object, len > 1 && object[len - 1] == 's' ? len - 1 : len);
}

/* url_dots gives the length of the dots, plain or encoded, that a text begins with. */
static Size
url_dots(const char *text, int *ndots)
{
	const char *p = text;

	for (*ndots = 0;; (*ndots)++)
	{
		if (*p == '.')
			p++;
		else if (pg_strncasecmp(p, "%2e", 3) == 0)
			p += 3;
		else
			return p - text;
	}
}

/* concord_path_climbs says whether a path has a segment of dots alone. */
bool
concord_path_climbs(const char *path)
{
	while (true)
	{
		Size		len = strcspn(path, "/?#");
		int			ndots;

		if (url_dots(path, &ndots) == len && (ndots == 1 || ndots == 2))
			return true;
		if (path[len] != '/')
			return false;
		path += len + 1;
	}
}

/* concord_odata_text writes a text as a literal in an address. */
void
concord_odata_text(StringInfo buf, const char *text)
{
	StringInfoData quoted;

	initStringInfo(&quoted);
	for (const char *p = text; *p; p++)
	{
		if (*p == '\'')
			appendStringInfoChar(&quoted, '\'');
		appendStringInfoChar(&quoted, *p);
	}
	appendStringInfoChar(buf, '\'');
	concord_url_escape(buf, quoted.data, "'");
	appendStringInfoChar(buf, '\'');
	pfree(quoted.data);
}
