/*-------------------------------------------------------------------------
 *
 * answer_path.c
 *	  The way to values in an answer: error.code, [0].errorCode, errors[*].id
 *
 * A path has at most PATH_MAX_STEPS steps and each looks at a value once, so
 * the work is bounded by that many times the size of the answer.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/answer.h"

#include "base/json.h"

#define PATH_MAX_STEPS	16

typedef struct PathStep
{
	char	   *name;			/* of a member; NULL: any child */
	long		index;			/* of an element, -1 where name is no number */
} PathStep;

struct ConcordPath
{
	int			nsteps;
	PathStep	steps[PATH_MAX_STEPS];
};

/* What a search passes down. */
typedef struct PathSearch
{
	const ConcordPath *path;
	ConcordFoundTest test;
	void	   *arg;
} PathSearch;

/* path_add adds a step; false where there are too many. */
static bool
path_add(ConcordPath *path, char *name)
{
	PathStep   *step;
	char	   *stop;

	if (path->nsteps == PATH_MAX_STEPS)
		return false;
	step = &path->steps[path->nsteps++];
	step->name = name;
	step->index = -1;
	if (name != NULL && isdigit((unsigned char) *name) && strlen(name) < 9)
	{
		step->index = strtol(name, &stop, 10);
		if (*stop != '\0')
			step->index = -1;
	}
	return true;
}

/* path_bracket reads [0], [*] or ["name"]; NULL where it is none of them. */
static const char *
path_bracket(const char *p, char **name)
{
	const char *end;

	p++;
	if (*p == '"')
	{
		end = strstr(p + 1, "\"]");
		if (end == NULL)
			return NULL;
		*name = pnstrdup(p + 1, end - p - 1);
		return end + 2;
	}
	end = strchr(p, ']');
	if (end == NULL || end == p)
		return NULL;
	*name = *p == '*' && end == p + 1 ? NULL : pnstrdup(p, end - p);
	if (*name != NULL && strspn(*name, "0123456789") != end - p)
		return NULL;
	return end + 1;
}

/* concord_path_parse makes a path of its text, in the current context. */
ConcordPath *
concord_path_parse(const char *text, const char **why)
{
	ConcordPath *path = palloc0(sizeof(ConcordPath));
	const char *p = text;

	*why = "is not a path such as error.code, [0].errorCode or errors[*].code";
	if (*p == '\0')
		return NULL;
	while (*p)
	{
		char	   *name = NULL;

		if (*p == '[')
		{
			p = path_bracket(p, &name);
			if (p == NULL)
				return NULL;
		}
		else
		{
			Size		len = strcspn(p, ".[");

			if (len == 0)
				return NULL;
			if (len != 1 || *p != '*')
				name = pnstrdup(p, len);
			p += len;
		}
		if (!path_add(path, name))
		{
			*why = psprintf("is a path of more than %d steps", PATH_MAX_STEPS);
			return NULL;
		}
		if (*p == '.' && (*++p == '\0' || *p == '.' || *p == '['))
			return NULL;
	}
	return path;
}

/* path_found tests the value at a place. */
static bool
path_found(const PathSearch *search, ConcordJsonPlace at)
{
	ConcordFound found = {.kind = *at.p};
	const char *start = at.p;
	Size		len;

	if (*at.p == '"')
	{
		if (!concord_place_string(&at, &start, &len))
			return false;
		found.text = concord_place_unescape(start, len);
		found.empty = len == 0;
	}
	else
	{
		if (!concord_place_value(&at))
			return false;
		len = at.p - start;
		if (strchr("{[tfn", found.kind) == NULL)
			found.kind = '0';
		else if (found.kind == '{' || found.kind == '[')
		{
			ConcordJsonPlace inside = {start + 1, at.p};

			found.empty = !concord_place_blank(&inside) ||
				*inside.p == ']' || *inside.p == '}';
		}
		else
			found.empty = found.kind != 't';
		found.text = concord_safe_text(start, len, CONCORD_PLACE_VALUE);
	}
	if (search->test(&found, search->arg))
		return true;
	/* an answer may have hundreds of thousands of them */
	pfree(found.text);
	return false;
}

static bool path_step(const PathSearch *search, ConcordJsonPlace at, int n);

/*
 * path_children goes on from the children of an object or array: all of them,
 * or the element of an index (index >= 0).
 */
static bool
path_children(const PathSearch *search, ConcordJsonPlace at, int n, long index)
{
	bool		object = *at.p == '{';
	long		i = 0;

	at.p++;
	while (concord_place_blank(&at) && *at.p != ']' && *at.p != '}')
	{
		const char *name;
		Size		len;

		if (object && (!concord_place_string(&at, &name, &len) ||
					   !concord_place_blank(&at) || *at.p++ != ':' ||
					   !concord_place_blank(&at)))
			return false;
		if ((index < 0 || i == index) && path_step(search, at, n))
			return true;
		if (i++ == index || !concord_place_value(&at) ||
			!concord_place_blank(&at) || *at.p != ',')
			return false;
		at.p++;
	}
	return false;
}

/* path_step goes on from a place with step n of the path. */
static bool
path_step(const PathSearch *search, ConcordJsonPlace at, int n)
{
	const PathStep *step = &search->path->steps[n];

	if (!concord_place_blank(&at))
		return false;
	if (n == search->path->nsteps)
		return path_found(search, at);
	if (*at.p == '{' && step->name != NULL)
		return concord_place_member(&at, step->name) &&
			path_step(search, at, n + 1);
	if (*at.p == '{' || (*at.p == '[' &&
						 (step->name == NULL || step->index >= 0)))
		return path_children(search, at, n + 1, step->index);
	return false;
}

/* concord_path_any searches the values of a path for one that passes. */
bool
concord_path_any(const ConcordPath *path, const ConcordResponse *response,
				 ConcordFoundTest test, void *arg)
{
	PathSearch	search = {path, test, arg};
	ConcordJsonPlace at = {response->body, response->body + response->body_len};

	return response->body != NULL && path_step(&search, at, 0);
}

/* path_take takes the first value that is a text, number or bool. */
static bool
path_take(const ConcordFound *found, void *arg)
{
	if (strchr("{[n", found->kind) != NULL)
		return false;
	*(char **) arg = found->text;
	return true;
}

/* concord_path_text returns the first value that can stand as text. */
char *
concord_path_text(const ConcordPath *path, const ConcordResponse *response)
{
	char	   *text = NULL;

	concord_path_any(path, response, path_take, &text);
	return text;
}

/* concord_answer_path does so by the text of a path; NULL where it is none. */
char *
concord_answer_path(const ConcordResponse *response, const char *path)
{
	const char *why;
	ConcordPath *parsed = concord_path_parse(path, &why);

	return parsed != NULL ? concord_path_text(parsed, response) : NULL;
}

/* concord_path_value finds where the value of a path stands. */
bool
concord_path_value(const char *text, const char *json, Size json_len,
				   const char **value, Size *len)
{
	const char *why;
	ConcordPath *path = *text == '\0' ? NULL : concord_path_parse(text, &why);
	ConcordJsonPlace at = {json, json + json_len};

	if (json == NULL || (*text != '\0' && path == NULL))
		return false;
	for (int i = 0; path != NULL && i < path->nsteps; i++)
	{
		const PathStep *step = &path->steps[i];

		if (step->name == NULL || !concord_place_blank(&at) ||
			!(*at.p == '{' ? concord_place_member(&at, step->name) :
			  *at.p == '[' && concord_place_element(&at, step->name)))
			return false;
	}
	if (!concord_place_blank(&at))
		return false;
	*value = at.p;
	if (!concord_place_value(&at))
		return false;
	*len = at.p - *value;
	return true;
}

/* concord_path_around writes the objects around a value at a path. */
bool
concord_path_around(const char *text, StringInfo before, StringInfo after)
{
	const char *why;
	ConcordPath *path;

	if (*text == '\0')
		return true;
	path = concord_path_parse(text, &why);
	for (int i = 0; path != NULL && i < path->nsteps; i++)
	{
		const char *name = path->steps[i].name;

		if (name == NULL || path->steps[i].index >= 0)
			return false;
		appendStringInfoChar(before, '{');
		concord_json_string(before, name, strlen(name));
		appendStringInfoChar(before, ':');
		appendStringInfoChar(after, '}');
	}
	return path != NULL;
}

/* concord_answer_is_json says whether an answer is one whole JSON value. */
bool
concord_answer_is_json(const ConcordResponse *response)
{
	ConcordJsonPlace at = {response->body, response->body + response->body_len};
	char		first;
	char		last;

	if (response->body == NULL || !concord_place_blank(&at))
		return false;
	first = *at.p;
	if (strchr("{[\"-0123456789tfn", first) == NULL || !concord_place_value(&at))
		return false;
	last = at.p[-1];
	/* the reader does not look which bracket closes what */
	return !concord_place_blank(&at) && (first != '{' || last == '}') &&
		(first != '[' || last == ']');
}

/*
 * concord_path_second gives the path of a second match, where the last index 0
 * of that of the first is 1, and in *record that of the first match itself.
 */
char *
concord_path_second(const char *path, char **record)
{
	char	   *second = pstrdup(path);

	*record = NULL;
	for (char *p = second + strlen(second) - 1; p >= second; p--)
	{
		if (*p == '0' && (p == second || p[-1] == '.' || p[-1] == '[') &&
			(p[1] == '\0' || p[1] == '.' || p[1] == ']'))
		{
			Size		len = p + 1 + (p[1] == ']') - second;

			*record = pnstrdup(second, len);
			*p = '1';
			return second;
		}
	}
	return NULL;
}
