/*-------------------------------------------------------------------------
 *
 * template_graphql.c
 *	  Values as literals of a GraphQL document.
 *
 * Where the types of a schema's inputs are not known, values cannot be
 * variables, which must be declared with their types; they stand in the
 * document.  A literal is JSON but for its objects, whose names are bare
 * (GraphQL, October 2021, 2.9: "Input Values"): {"name": "x"} is {name: "x"}.
 * The escapes of JSON's strings are GraphQL's too.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/template_pieces.h"

#include "base/json.h"

/* gql_string_end returns what is behind a JSON string that begins at p. */
static const char *
gql_string_end(const char *p)
{
	for (p++; *p != '\0' && *p != '"'; p++)
	{
		if (*p == '\\' && p[1] != '\0')
			p++;
	}
	return *p == '"' ? p + 1 : p;
}

/* gql_is_name says whether a text of some length is a name of GraphQL's. */
static bool
gql_is_name(const char *text, int len)
{
	for (int i = 0; i < len; i++)
	{
		char		c = text[i];

		if (!(c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			  (i > 0 && c >= '0' && c <= '9')))
			return false;
	}
	return len > 0;
}

/*
 * concord_graphql_object writes JSON as a literal.  Errors:
 * ERRCODE_INVALID_PARAMETER_VALUE where a member's name is none of GraphQL's.
 */
char *
concord_graphql_object(const char *json)
{
	StringInfoData buf;
	const char *p = json;

	initStringInfo(&buf);
	while (*p != '\0')
	{
		const char *end;

		if (*p != '"')
		{
			appendStringInfoChar(&buf, *p++);
			continue;
		}
		end = gql_string_end(p);
		if (end[strspn(end, " \t\r\n")] != ':')
			appendBinaryStringInfo(&buf, p, end - p);
		else if (gql_is_name(p + 1, end - p - 2))
			appendBinaryStringInfo(&buf, p + 1, end - p - 2);
		else
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("%.*s is not a name of GraphQL's",
							(int) Min(end - p, NAMEDATALEN * 4), p),
					 errdetail("Names have letters of ASCII, digits and underscores, and begin with no digit."),
					 errhint("Give the mapping's field another name.")));
		p = end;
	}
	return buf.data;
}

/* concord_graphql_string writes a text as a literal. */
char *
concord_graphql_string(const char *text)
{
	StringInfoData buf;

	initStringInfo(&buf);
	concord_json_quote(&buf, text, strlen(text));
	return buf.data;
}
