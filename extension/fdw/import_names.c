/*-------------------------------------------------------------------------
 *
 * import_names.c
 *	  Names of tables and columns made from names of OData.
 *
 * Only ASCII letters are folded, so that a name is the same in every database,
 * whatever its locale.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/import.h"

#include "base/digest.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#define NAM_HASH	8			/* hexadecimal digits behind a name that is
								 * cut */

static bool
nam_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool
nam_lower(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* nam_fold appends a path as options want it; a slash becomes "_". */
static void
nam_fold(const ConcordImportOptions *options, const char *path, StringInfo buf)
{
	for (const char *p = path; *p != '\0'; p++)
	{
		if (*p == '/')
		{
			appendStringInfoChar(buf, '_');
			continue;
		}
		if (options->names == CONCORD_NAMES_AS_IS || !nam_upper(*p))
		{
			appendStringInfoChar(buf, *p);
			continue;
		}

		/* a word begins: aB, and the last capital of ABc */
		if (options->names == CONCORD_NAMES_SNAKE && p > path &&
			(nam_lower(p[-1]) ||
			 (nam_upper(p[-1]) && p[1] >= 'a' && p[1] <= 'z')))
			appendStringInfoChar(buf, '_');
		appendStringInfoChar(buf, *p - 'A' + 'a');
	}
}

/* nam_system says whether every table has a column of that name already. */
static bool
nam_system(const char *name)
{
	static const char *const names[] = {
		"ctid", "xmin", "cmin", "xmax", "cmax", "tableoid",
	};

	for (int i = 0; i < lengthof(names); i++)
	{
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

/* concord_import_cut gives a name as the parser would cut it. */
char *
concord_import_cut(const char *name)
{
	return pnstrdup(name, pg_mbcliplen(name, strlen(name), NAMEDATALEN - 1));
}

/* concord_import_name folds a path to a name of ours. */
char *
concord_import_name(const ConcordImportOptions *options, const char *path,
					bool column)
{
	StringInfoData buf;
	uint8		digest[CONCORD_SHA256_LENGTH];
	int			keep;

	initStringInfo(&buf);
	nam_fold(options, path, &buf);
	if (column && nam_system(buf.data))
		appendStringInfoChar(&buf, '_');
	if (buf.len < NAMEDATALEN)
		return buf.data;

	concord_sha256(path, strlen(path), digest);
	keep = pg_mbcliplen(buf.data, buf.len, NAMEDATALEN - 1 - NAM_HASH - 1);
	buf.len = keep;
	buf.data[keep] = '\0';
	appendStringInfoChar(&buf, '_');
	for (int i = 0; i < NAM_HASH / 2; i++)
		appendStringInfo(&buf, "%02x", digest[i]);
	ereport(NOTICE,
			(errcode(ERRCODE_NAME_TOO_LONG),
			 errmsg("%s \"%s\" is called \"%s\"",
					column ? "property" : "entity set", path, buf.data),
			 errdetail("Names have at most %d bytes.", NAMEDATALEN - 1)));
	return buf.data;
}
