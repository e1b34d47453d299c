/*-------------------------------------------------------------------------
 *
 * header_option.c
 *	  Headers that options name: which ones a user may set.
 *
 *-------------------------------------------------------------------------
 */
#include "catalog/server_options.h"

#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/jsonb.h"

/* Names of headers that option headers may not set. */
static const char *const ho_secret_names[] = {
	"authorization", "cookie", "password", "passwd", "secret", "token",
	"api-key", "apikey", "api_key", "credential", "signature", "access-key",
};

/* Headers that say where a request ends; they are libcurl's own. */
static const char *const ho_framing_names[] = {
	"content-length", "transfer-encoding", "connection", "proxy-connection",
	"keep-alive", "upgrade", "te", "trailer", "expect", "accept-encoding",
	"proxy-authorization",
};

/* concord_header_name_valid says whether a text is a header's name (RFC 9110). */
bool
concord_header_name_valid(const char *name)
{
	if (*name == '\0')
		return false;
	for (const char *p = name; *p; p++)
	{
		if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
			  (*p >= '0' && *p <= '9') || strchr("!#$%&'*+-.^_`|~", *p)))
			return false;
	}
	return true;
}

/*
 * concord_header_is_framing says whether a header is not for users to set: on a
 * connection that several roles share, one who says where his request ends
 * could take the next one for his own.
 */
bool
concord_header_is_framing(const char *name)
{
	for (int i = 0; i < lengthof(ho_framing_names); i++)
	{
		if (pg_strcasecmp(name, ho_framing_names[i]) == 0)
			return true;
	}
	return false;
}

/* concord_header_is_secret says whether a header's name speaks of a secret. */
bool
concord_header_is_secret(const char *name)
{
	char	   *lower = asc_tolower(name, strlen(name));

	for (int i = 0; i < lengthof(ho_secret_names); i++)
	{
		if (strstr(lower, ho_secret_names[i]) != NULL)
			return true;
	}
	return false;
}

/* ho_json parses JSON; NULL where it is none. */
static Jsonb *
ho_json(const char *json)
{
	MemoryContext context = CurrentMemoryContext;
	Jsonb	   *volatile result = NULL;

	/* jsonb_in takes no lock or resource, and would show what may be secret */
	PG_TRY();
	{
		result = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
													CStringGetDatum(json)));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	return result;
}

/*
 * concord_option_header_list reads the object; raises where it is not one of
 * texts.
 */
int
concord_option_header_list(const char *json, char ***names, char ***values)
{
	Jsonb	   *jb;
	JsonbIterator *it;
	JsonbValue	v;
	JsonbIteratorToken token;
	int			n = 0;
	int			size;

	jb = ho_json(json);
	if (jb == NULL || !JB_ROOT_IS_OBJECT(jb))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" is not a JSON object", "headers"),
				 errhint("Write it as {\"Name\": \"value\", ...}.")));
	size = JB_ROOT_COUNT(jb);
	*names = palloc0(sizeof(char *) * (size + 1));
	*values = palloc0(sizeof(char *) * (size + 1));

	it = JsonbIteratorInit(&jb->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			(*names)[n] = pnstrdup(v.val.string.val, v.val.string.len);
		else if (token == WJB_VALUE)
		{
			if (v.type != jbvString)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("header \"%s\" of option \"%s\" is not a text",
								(*names)[n], "headers")));
			(*values)[n++] = pnstrdup(v.val.string.val, v.val.string.len);
		}
	}
	return n;
}

/* concord_option_check_headers refuses names that bear secrets, and broken ones. */
void
concord_option_check_headers(const char *name, const char *value)
{
	char	  **names;
	char	  **values;
	int			n = concord_option_header_list(value, &names, &values);

	for (int i = 0; i < n; i++)
	{
		if (!concord_header_name_valid(names[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid header name \"%s\" in option \"%s\"",
							names[i], name)));
		if (concord_header_is_framing(names[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("header \"%s\" is not allowed in option \"%s\"",
							names[i], name),
					 errdetail("It belongs to the transfer itself.")));
		if (concord_header_is_secret(names[i]))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("header \"%s\" is not allowed in option \"%s\"",
							names[i], name),
					 errdetail("Options of a server can be read by everyone."),
					 errhint("Put secrets into the user mapping, for example with auth 'header'.")));
		for (const char *p = values[i]; *p; p++)
		{
			if ((unsigned char) *p < ' ' || *p == 0x7F)
				ereport(ERROR,
						(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						 errmsg("value of header \"%s\" has a control character",
								names[i])));
		}
	}
}
