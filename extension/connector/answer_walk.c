/*-------------------------------------------------------------------------
 *
 * answer_walk.c
 *	  Go through an answer that is JSON: to a place in it, from element to
 *	  element.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/answer.h"

#include "connector/protocols.h"

/*
 * concord_answer_at finds where the value of a dotted path stands in a JSON
 * text; "" is all of it.  False where there is none.
 */
bool
concord_answer_at(const char *json, Size json_len, const char *path,
				  const char **value, Size *len)
{
	ConcordJsonPlace at = {json, json + json_len};

	if (json == NULL || !concord_place_blank(&at))
		return false;
	while (*path)
	{
		char		name[NAMEDATALEN];
		Size		n = strcspn(path, ".");

		if (n >= sizeof(name))
			return false;
		memcpy(name, path, n);
		name[n] = '\0';
		path += n + (path[n] == '.');
		if (*at.p == '{' ? !concord_place_member(&at, name) :
			*at.p == '[' ? !concord_place_element(&at, name) : true)
			return false;
	}
	*value = at.p;
	if (!concord_place_value(&at))
		return false;
	*len = at.p - *value;
	return true;
}

/*
 * concord_answer_next goes through the elements of an array or the members of
 * an object, from *at, which is first the bracket itself, and tells the next
 * value and, of a member, its name as it stands in quotes.  False at the end,
 * or where it is not JSON: *at is then not the closing bracket.
 */
bool
concord_answer_next(const char **at, const char *end, const char **name,
					Size *name_len, const char **value, Size *len)
{
	ConcordJsonPlace place = {*at + 1, end};

	*name = NULL;
	if (!concord_place_blank(&place))
		return false;
	*at = place.p;
	if (*place.p == ']' || *place.p == '}')
		return false;
	if (*place.p == '"')
	{
		ConcordJsonPlace member = place;

		if (concord_place_string(&member, name, name_len) && concord_place_blank(&member) &&
			*member.p == ':')
		{
			place = member;
			place.p++;
			if (!concord_place_blank(&place))
				return false;
		}
		else
			*name = NULL;
	}
	*value = place.p;
	if (!concord_place_value(&place))
		return false;
	*len = place.p - *value;
	if (!concord_place_blank(&place) || strchr(",]}", *place.p) == NULL)
	{
		*at = place.p;
		return false;
	}
	/* a comma is passed next time, a bracket is looked at again */
	*at = *place.p == ',' ? place.p : place.p - 1;
	return true;
}
