/*-------------------------------------------------------------------------
 *
 * allow_list.c
 *	  Option call_allow: which methods and paths may be called.
 *
 * The list is read each time that it is asked: it is short.
 *
 *-------------------------------------------------------------------------
 */
#include "catalog/allow_list.h"

#define ALW_BLANKS		" \t\r\n"

/* One entry, as it stands in the list. */
typedef struct AlwEntry
{
	const char *methods;
	Size		methods_len;
	const char *path;
	Size		path_len;
} AlwEntry;

/* alw_next reads an entry and moves on; false at the end of the list. */
static bool
alw_next(const char **at, AlwEntry *entry)
{
	const char *p = *at + strspn(*at, ALW_BLANKS);
	Size		len = strcspn(p, ";");

	if (*p == '\0')
		return false;
	*at = p[len] == ';' ? p + len + 1 : p + len;
	while (len > 0 && strchr(ALW_BLANKS, p[len - 1]) != NULL)
		len--;
	entry->methods = p;
	entry->methods_len = Min(strcspn(p, ALW_BLANKS), len);
	p += entry->methods_len;
	len -= entry->methods_len;
	while (len > 0 && strchr(ALW_BLANKS, *p) != NULL)
	{
		p++;
		len--;
	}
	while (len > 0 && *p == '/')
	{
		p++;
		len--;
	}
	entry->path = p;
	entry->path_len = len;
	return true;
}

/* alw_methods_bad: neither a star nor methods in capitals with commas. */
static bool
alw_methods_bad(const AlwEntry *entry)
{
	bool		letter = false;

	if (entry->methods_len == 1 && entry->methods[0] == '*')
		return false;
	for (Size i = 0; i < entry->methods_len; i++)
	{
		char		c = entry->methods[i];

		if (c >= 'A' && c <= 'Z')
			letter = true;
		else if (c == ',' && letter)
			letter = false;
		else
			return true;
	}
	return !letter;
}

/* concord_allow_list_bad says what is wrong with a list. */
const char *
concord_allow_list_bad(const char *list)
{
	AlwEntry	entry;

	while (alw_next(&list, &entry))
	{
		if (alw_methods_bad(&entry))
			return "An entry begins with * or with methods in capitals: GET,HEAD orders/**.";
		if (entry.path_len == 0)
			return "An entry has a path behind its methods: GET orders/*; ** stands for every path.";
		for (Size i = 0; i < entry.path_len; i++)
		{
			if (strchr("?#%\\", entry.path[i]) != NULL ||
				(unsigned char) entry.path[i] <= ' ')
				return "Paths have no blanks, queries or percent signs; entries are separated by semicolons.";
		}
	}
	return NULL;
}

/* alw_method says whether an entry is about a method. */
static bool
alw_method(const AlwEntry *entry, const char *method)
{
	const char *p = entry->methods;
	const char *end = p + entry->methods_len;
	Size		len = strlen(method);

	if (*p == '*')
		return true;
	while (p < end)
	{
		const char *comma = memchr(p, ',', end - p);
		const char *stop = comma != NULL ? comma : end;

		if (stop - p == len && memcmp(p, method, len) == 0)
			return true;
		p = stop + 1;
	}
	return false;
}

/*
 * alw_path says whether a pattern covers all of a path.  reach[i]: what was
 * read of the pattern so far covers the first i characters; so the time is
 * that of both lengths, whatever the pattern.
 */
static bool
alw_path(const char *pattern, Size pattern_len, const char *path)
{
	Size		n = strlen(path);
	bool	   *reach = palloc0(n + 1);
	bool		all;

	reach[0] = true;
	for (Size p = 0; p < pattern_len; p++)
	{
		bool		star = pattern[p] == '*';
		bool		any = star && p + 1 < pattern_len && pattern[p + 1] == '*';

		if (star)
		{
			for (Size i = 1; i <= n; i++)
				reach[i] |= reach[i - 1] && (any || path[i - 1] != '/');
			p += any;
			continue;
		}
		for (Size i = n; i > 0; i--)
			reach[i] = reach[i - 1] && path[i - 1] == pattern[p];
		reach[0] = false;
	}
	all = reach[n];
	pfree(reach);
	return all;
}

/* concord_allow_list_has says whether a list allows a method on a path. */
bool
concord_allow_list_has(const char *list, const char *method, const char *path)
{
	AlwEntry	entry;

	while (alw_next(&list, &entry))
	{
		if (alw_method(&entry, method) &&
			alw_path(entry.path, entry.path_len, path))
			return true;
	}
	return false;
}
