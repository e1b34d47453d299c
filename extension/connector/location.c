/*-------------------------------------------------------------------------
 *
 * location.c
 *	  The id of a new record, where the answer names its address alone.
 *
 * RFC 9110 10.2.2: a 201 names what was created in Location.  NetSuite's and
 * many others' answers have no body beside it; OData 4 asks for the header
 * OData-EntityId with a 204 (8.3.4), which Dataverse sends.
 *
 * An address is https://host/path/Set(key) or https://host/path/things/key.
 * Only its end is read: no request ever goes to an address that an answer has.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/protocols.h"

#define LOC_MAX		2048

/* loc_hex gives the value of a hexadecimal digit, or -1. */
static int
loc_hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' :
		c >= 'a' && c <= 'f' ? c - 'a' + 10 :
		c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* loc_decode undoes percent-encoding; a NUL ends the text. */
static char *
loc_decode(const char *text, Size len)
{
	char	   *decoded = palloc(len + 1);
	char	   *out = decoded;

	for (Size i = 0; i < len; i++)
	{
		if (text[i] == '%' && i + 2 < len &&
			loc_hex(text[i + 1]) >= 0 && loc_hex(text[i + 2]) >= 0)
		{
			*out++ = loc_hex(text[i + 1]) * 16 + loc_hex(text[i + 2]);
			i += 2;
		}
		else
			*out++ = text[i];
	}
	*out = '\0';
	return decoded;
}

/*
 * loc_unquote takes OData's quotes, and a prefix such as guid, off a key; NULL
 * where there is more than one text in quotes.
 */
static char *
loc_unquote(char *key)
{
	Size		len = strlen(key);
	char	   *quote = strchr(key, '\'');
	char	   *out;

	if (quote == NULL || len < 2 || key[len - 1] != '\'' ||
		quote == key + len - 1)
		return key;
	for (const char *p = key; p < quote; p++)
	{
		if (!isalpha((unsigned char) *p))
			return NULL;
	}
	key[len - 1] = '\0';
	out = key = quote + 1;
	for (const char *p = key; *p; p++)
	{
		if (p[0] == '\'' && p[1] != '\'')
			return NULL;
		if (p[0] == '\'')
			p++;
		*out++ = *p;
	}
	*out = '\0';
	return key;
}

/* concord_location_id reads the id at the end of the record's address. */
char *
concord_location_id(const ConcordResponse *response)
{
	const char *header = concord_response_header(response, "odata-entityid");
	const char *start;
	const char *end;
	const char *open;
	char	   *id;

	if (header == NULL)
		header = concord_response_header(response, "location");
	if (header == NULL || strlen(header) > LOC_MAX)
		return NULL;
	end = header + strcspn(header, "?#");
	while (end > header && end[-1] == '/')
		end--;
	open = NULL;
	for (start = end; start > header && start[-1] != '/'; start--)
		;
	if (end > start && end[-1] == ')')
		open = memchr(start, '(', end - start);
	if (open != NULL)
	{
		id = loc_decode(open + 1, end - open - 2);
		/* Name='x' has an id; a key of several parts is none */
		if (strchr(id, '=') != NULL && strchr(id, '\'') != NULL &&
			strchr(id, '=') < strchr(id, '\''))
			id = strchr(id, '=') + 1;
		if (strchr(id, '\'') == NULL && strchr(id, ',') != NULL)
			return NULL;
		id = loc_unquote(id);
		if (id == NULL)
			return NULL;
	}
	else
		id = loc_decode(start, end - start);
	if (*id == '\0' || strspn(id, ".") == strlen(id))
		return NULL;
	return concord_safe_text(id, strlen(id), LOC_MAX);
}
