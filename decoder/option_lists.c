/*-------------------------------------------------------------------------
 *
 * option_lists.c
 *	  Options that are lists: readers that say where they do not understand.
 *
 * A list is items with commas between them.  Two kinds of items: names, folded
 * as SQL folds them, and free text up to the comma.  Both may stand in double
 * quotes, where a doubled one is one of them and a star is a star.  A reader
 * moves forward or fails, and the first failure is what the user hears.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "option_lists.h"

typedef struct ListReader
{
	const char *value;			/* the whole option */
	const char *p;				/* what comes next */
	char	   *why;			/* what is wrong, or NULL */
} ListReader;

/* Which character of the option is at p, from 1. */
static int
lst_position(ListReader *reader, const char *p)
{
	return pg_mbstrlen_with_len(reader->value, (int) (p - reader->value)) + 1;
}

/* Fail at what comes next: it is not what has to stand here. */
static bool
lst_fail(ListReader *reader, const char *wanted)
{
	if (reader->why)
		return false;
	if (*reader->p == '\0')
		reader->why = psprintf("%s is missing at the end.", wanted);
	else
		reader->why = psprintf("%s is expected at character %d, where \"%.*s\" stands.",
							   wanted, lst_position(reader, reader->p),
							   pg_mblen(reader->p), reader->p);
	return false;
}

/* Skip blanks. */
static void
lst_skip_space(ListReader *reader)
{
	while (*reader->p != '\0' && strchr(" \t\n\r\f", *reader->p) != NULL)
		reader->p++;
}

/* Take a character if it comes next, and the blanks after it. */
static bool
lst_take(ListReader *reader, char c)
{
	if (*reader->p != c)
		return false;
	reader->p++;
	lst_skip_space(reader);
	return true;
}

/* Read what stands in double quotes into buf. */
static bool
lst_read_quoted(ListReader *reader, StringInfo buf)
{
	const char *p = reader->p + 1;

	for (; *p != '"' || p[1] == '"'; p++)
	{
		if (*p == '\0' || *p == CONCORD_PATTERN_ANY)
		{
			reader->why = *p == '\0' ?
				psprintf("The double quote at character %d is not closed.",
						 lst_position(reader, reader->p)) :
				psprintf("Character %d is a control character.",
						 lst_position(reader, p));
			return false;
		}
		if (*p == '"')
			p++;
		appendStringInfoChar(buf, *p);
	}
	reader->p = p + 1;
	return true;
}

/*
 * Does a byte belong to an unquoted name?  A pattern is an SQL name or a star,
 * so that a slip of the pen is not taken for a table's odd name; names without
 * a pattern may be as odd as pgoutput lets them be.
 */
static bool
lst_in_name(char c, bool wildcard)
{
	if (c == '\0' || c == CONCORD_PATTERN_ANY)
		return false;
	if (wildcard)
		return IS_HIGHBIT_SET(c) || isalnum((unsigned char) c) ||
			c == '_' || c == '$' || c == '*';
	return strchr(" \t\n\r\f,.\"*", c) == NULL;
}

/* Read a name; with wildcard, an unquoted star becomes CONCORD_PATTERN_ANY. */
static bool
lst_read_name(ListReader *reader, bool wildcard, const char *wanted, char **name)
{
	StringInfoData buf;
	const char *start = reader->p;
	int			stars = 0;

	initStringInfo(&buf);
	if (*reader->p == '"')
	{
		if (!lst_read_quoted(reader, &buf))
			return false;
	}
	else
	{
		for (; lst_in_name(*reader->p, wildcard); reader->p++)
		{
			stars += *reader->p == '*';
			appendStringInfoChar(&buf, *reader->p == '*' ? CONCORD_PATTERN_ANY :
								 pg_tolower((unsigned char) *reader->p));
		}
	}
	if (buf.len == 0)
	{
		reader->p = start;
		return lst_fail(reader, wanted);
	}
	if (buf.len - stars >= NAMEDATALEN)
	{
		reader->why = psprintf("The name at character %d is longer than %d bytes.",
							   lst_position(reader, start), NAMEDATALEN - 1);
		return false;
	}
	lst_skip_space(reader);
	*name = buf.data;
	return true;
}

/* Read "schema.table". */
static bool
lst_read_table(ListReader *reader, ConcordPattern *pattern)
{
	if (!lst_read_name(reader, true, "A schema's name", &pattern->schema))
		return false;
	if (!lst_take(reader, '.'))
		return lst_fail(reader, "A dot between schema and table");
	return lst_read_name(reader, true, "A table's name", &pattern->table);
}

/*
 * Read free text up to a comma.  With wildcard, an unquoted star becomes
 * CONCORD_PATTERN_ANY.
 */
static bool
lst_read_text(ListReader *reader, bool wildcard, const char *wanted, char **text,
			  bool *quoted)
{
	StringInfoData buf;

	initStringInfo(&buf);
	*quoted = *reader->p == '"';
	if (*quoted)
	{
		if (!lst_read_quoted(reader, &buf))
			return false;
		lst_skip_space(reader);
	}
	else
	{
		for (; *reader->p != '\0' && *reader->p != ',' &&
			 *reader->p != CONCORD_PATTERN_ANY; reader->p++)
			appendStringInfoChar(&buf, *reader->p == '*' && wildcard ?
								 CONCORD_PATTERN_ANY : *reader->p);
		while (buf.len > 0 && strchr(" \t\n\r\f", buf.data[buf.len - 1]) != NULL)
			buf.data[--buf.len] = '\0';
	}
	if (buf.len == 0)
		return lst_fail(reader, wanted);
	*text = buf.data;
	return true;
}

/* After an item: is there another?  Fails where it is not a comma that comes. */
static bool
lst_more(ListReader *reader)
{
	if (*reader->p == '\0')
		return false;
	return lst_take(reader, ',') || lst_fail(reader, "A comma");
}

/* Parse "schema.table, schema.*" into patterns. */
const char *
concord_list_tables(const char *value, List **tables)
{
	ListReader	reader = {value, value, NULL};

	lst_skip_space(&reader);
	do
	{
		ConcordPattern *pattern = palloc0(sizeof(ConcordPattern));

		if (!lst_read_table(&reader, pattern))
			break;
		*tables = lappend(*tables, pattern);
	} while (lst_more(&reader));
	return reader.why;
}

/* Read "(name, name)" or "(-name, -name)". */
static bool
lst_read_columns(ListReader *reader, ConcordColumnRule *rule)
{
	if (!lst_take(reader, '('))
		return lst_fail(reader, "A list of columns in parentheses");
	do
	{
		const char *start = reader->p;
		bool		minus = lst_take(reader, '-');
		char	   *name;

		if (!lst_read_name(reader, true, "A column's name", &name))
			return false;
		if (rule->names != NIL && minus != rule->leave_out)
		{
			reader->why = psprintf("At character %d, names with a minus and names without one are mixed.",
								   lst_position(reader, start));
			return false;
		}
		rule->leave_out = minus;
		rule->names = lappend(rule->names, name);
	} while (lst_take(reader, ','));
	return lst_take(reader, ')') || lst_fail(reader, "A comma or a closing parenthesis");
}

/* Parse "schema.table(name, name), schema.*(-name)" into rules. */
const char *
concord_list_columns(const char *value, List **rules)
{
	ListReader	reader = {value, value, NULL};

	lst_skip_space(&reader);
	do
	{
		ConcordColumnRule *rule = palloc0(sizeof(ConcordColumnRule));

		if (!lst_read_table(&reader, &rule->table) ||
			!lst_read_columns(&reader, rule))
			break;
		*rules = lappend(*rules, rule);
	} while (lst_more(&reader));
	return reader.why;
}

/* Parse a list of SQL names. */
const char *
concord_list_names(const char *value, List **names)
{
	ListReader	reader = {value, value, NULL};

	lst_skip_space(&reader);
	do
	{
		char	   *name;

		if (!lst_read_name(&reader, false, "A name", &name))
			break;
		*names = lappend(*names, name);
	} while (lst_more(&reader));
	return reader.why;
}

/* Parse a word, or a list of origins in which none is those made here. */
const char *
concord_list_origins(const char *value, ConcordOriginOption *option)
{
	static const char *const words[] = {"any", "none", "local"};
	ListReader	reader = {value, value, NULL};

	memset(option, 0, sizeof(ConcordOriginOption));
	for (int i = 0; i < lengthof(words); i++)
	{
		if (pg_strcasecmp(words[i], value) == 0)
		{
			option->which = (ConcordOrigin) i;
			return NULL;
		}
	}

	option->which = CONCORD_ORIGIN_NAMES;
	lst_skip_space(&reader);
	do
	{
		char	   *name;
		bool		quoted;

		if (!lst_read_text(&reader, false, "A name", &name, &quoted))
			break;
		if (quoted || pg_strcasecmp(name, "none") != 0)
			option->names = lappend(option->names, name);
		else
			option->with_none = true;
		if (!quoted &&
			(pg_strcasecmp(name, "any") == 0 || pg_strcasecmp(name, "local") == 0))
			return psprintf("\"%s\" stands alone.", name);
	} while (lst_more(&reader));
	if (reader.why == NULL && option->names == NIL)
		return "No name is in the list.";
	return reader.why;
}

/* Parse a list of patterns; an empty one matches nothing. */
const char *
concord_list_patterns(const char *value, List **patterns)
{
	ListReader	reader = {value, value, NULL};

	lst_skip_space(&reader);
	*patterns = NIL;
	if (*reader.p == '\0')
		return NULL;
	do
	{
		char	   *pattern;
		bool		quoted;

		if (!lst_read_text(&reader, true, "A pattern", &pattern, &quoted))
			break;
		*patterns = lappend(*patterns, pattern);
	} while (lst_more(&reader));
	return reader.why;
}

/*
 * Parse a list of message prefixes: a message is sent when its prefix begins
 * with one of them.  So a star at the end changes nothing, and one alone is
 * every message; an empty list is none.
 */
const char *
concord_list_prefixes(const char *value, List **prefixes)
{
	const char *why = concord_list_patterns(value, prefixes);
	ListCell   *lc;

	if (why)
		return why;
	foreach(lc, *prefixes)
	{
		char	   *prefix = lfirst(lc);
		int			len = strlen(prefix);

		while (len > 0 && prefix[len - 1] == CONCORD_PATTERN_ANY)
			prefix[--len] = '\0';
		if (strchr(prefix, CONCORD_PATTERN_ANY) != NULL)
			return "A star stands at the end of a prefix only.";
	}
	return NULL;
}
