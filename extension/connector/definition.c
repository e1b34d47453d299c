/*-------------------------------------------------------------------------
 *
 * definition.c
 *	  Members of a connector's definition: simple kinds, and what all need.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/definition.h"

#include "connector/template.h"

#include "catalog/server_options.h"
#include "connector/answer.h"

static const char *const def_methods[] = {
	"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "MERGE",
};

/* concord_member_bad refuses a definition, saying which member is wrong and why. */
void
concord_member_bad(const char *member, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid connector definition"),
			 errdetail("Member \"%s\" %s.", member, why)));
}

/* concord_member_get looks a member of a JSON object up. */
JsonbValue *
concord_member_get(JsonbContainer *object, const char *name, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(object, name, strlen(name), value);
}

/* concord_member_of returns a member as text; NULL where it is not there. */
char *
concord_member_of(JsonbContainer *object, const char *name)
{
	JsonbValue	v;

	if (concord_member_get(object, name, &v) == NULL || v.type == jbvNull)
		return NULL;
	if (v.type != jbvString)
		concord_member_bad(name, "is not a text");
	return pnstrdup(v.val.string.val, v.val.string.len);
}

/* concord_member_unknown returns a member that is none of n names, or NULL. */
char *
concord_member_unknown(JsonbContainer *object, const char *const *names, int n)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbValue	v;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		char	   *name;
		bool		known = false;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(v.val.string.val, v.val.string.len);
		for (int i = 0; i < n; i++)
			known |= strcmp(names[i], name) == 0;
		if (!known)
			return name;
	}
	return NULL;
}

/* concord_member_names refuses members that are none of n names. */
void
concord_member_names(JsonbContainer *object, const char *const *names, int n)
{
	char	   *name = concord_member_unknown(object, names, n);
	const char *closest;

	if (name == NULL)
		return;
	closest = concord_option_closest(name, names, n);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid connector definition"),
			 errdetail("Member \"%s\" is not known.", name),
			 closest ? errhint("Perhaps you meant \"%s\".", closest) : 0));
}

/* concord_member_choose returns which of a|b|c a text is, or -1. */
int
concord_member_choose(const char *choices, const char *text)
{
	size_t		len = strlen(text);
	int			n = 0;

	for (const char *p = choices; p != NULL; n++)
	{
		if (strncmp(p, text, len) == 0 && (p[len] == '|' || p[len] == '\0'))
			return n;
		p = strchr(p, '|');
		if (p != NULL)
			p++;
	}
	return -1;
}

/* def_path parses the path of a verb. */
static ConcordTemplate *
def_path(const char *member, JsonbValue *value)
{
	char	   *text = value->type != jbvString ? NULL :
		pnstrdup(value->val.string.val, value->val.string.len);

	if (text != NULL && (strstr(text, "..") != NULL ||
						 strstr(text, "://") != NULL ||
						 concord_path_climbs(text)))
		concord_member_bad(member, "has a path that is not under the server's url");
	return concord_template_parse(psprintf("%s.path", member), value,
								  CONCORD_TEMPLATE_PATH, false);
}

/* concord_member_request parses a verb's row; all of it may be left out. */
void
concord_member_request(ConcordConnector *connector, const ConcordMember *member,
					   JsonbValue *value)
{
	static const char *const names[] = {
		"method", "path", "query", "headers", "body", "content_type"
	};
	ConcordVerbRow *row = (ConcordVerbRow *) ((char *) connector + member->offset);
	JsonbContainer *object = value->val.binary.data;
	char	   *text;
	bool		known = false;
	JsonbValue	path;

	if (value->type != jbvBinary || !JsonContainerIsObject(object))
		concord_member_bad(member->name, "is not an object");
	concord_member_names(object, names, lengthof(names));

	text = concord_member_of(object, "method");
	if (text != NULL)
	{
		for (int i = 0; i < lengthof(def_methods); i++)
			known |= strcmp(def_methods[i], text) == 0;
		if (!known)
			concord_member_bad(member->name, "has an unknown method");
		row->method = text;
	}
	if (concord_member_get(object, "path", &path) != NULL &&
		path.type != jbvNull)
		row->path = def_path(member->name, &path);
	row->shape = concord_shape_parse(member->name, object);
}

/* concord_member_headers takes over the headers of every request. */
void
concord_member_headers(ConcordConnector *connector,
					   const ConcordMember *member, JsonbValue *value)
{
	connector->headers = concord_shape_headers(member->name, value);
}

/* def_choose returns a text that must be one of the member's choices. */
static char *
def_choose(const ConcordMember *member, JsonbValue *value, int *which)
{
	char	   *text;

	if (value->type != jbvString)
		concord_member_bad(member->name, "is not a text");
	text = pnstrdup(value->val.string.val, value->val.string.len);
	*which = 0;
	if (member->choices == NULL)
		return text;
	*which = concord_member_choose(member->choices, text);
	if (*which < 0)
		concord_member_bad(member->name,
						   psprintf("is none of %s", member->choices));
	return text;
}

/* concord_member_text takes a text over, one of its choices if it has any. */
void
concord_member_text(ConcordConnector *connector, const ConcordMember *member,
					JsonbValue *value)
{
	int			which;

	*(char **) ((char *) connector + member->offset) =
		def_choose(member, value, &which);
}

/* concord_member_choice takes over whether a text is the second of two. */
void
concord_member_choice(ConcordConnector *connector, const ConcordMember *member,
					  JsonbValue *value)
{
	int			which;

	def_choose(member, value, &which);
	*(bool *) ((char *) connector + member->offset) = which == 1;
}

/* concord_member_path takes the text of a path in answers over. */
void
concord_member_path(ConcordConnector *connector, const ConcordMember *member,
					JsonbValue *value)
{
	const char *why;
	int			which;
	char	   *text = def_choose(member, value, &which);

	if (concord_path_parse(text, &why) == NULL)
		concord_member_bad(member->name, why);
	*(char **) ((char *) connector + member->offset) = text;
}

/* concord_member_paths takes an array of paths over, or one. */
void
concord_member_paths(ConcordConnector *connector, const ConcordMember *member,
					 JsonbValue *value)
{
	JsonbContainer *array = value->type == jbvBinary ? value->val.binary.data : NULL;
	bool		many = array != NULL && JsonContainerIsArray(array);
	List	   *paths = NIL;

	for (int i = 0; i < (many ? JsonContainerSize(array) : 1); i++)
	{
		const char *why;
		int			which;
		ConcordPath *path =
			concord_path_parse(def_choose(member, many ?
										  getIthJsonbValueFromContainer(array, i) :
										  value, &which), &why);

		if (path == NULL)
			concord_member_bad(member->name, why);
		paths = lappend(paths, path);
	}
	*(List **) ((char *) connector + member->offset) = paths;
}
