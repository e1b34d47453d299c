/*-------------------------------------------------------------------------
 *
 * store.c
 *	  Sets, entities, and keys in a canonical form.
 *
 * The canonical form of a key is what makes ('5') and (5) different in an
 * OData set, as they are in a real one: strings are written 'x' (undoubled
 * inside), everything else bare; several fields are joined in the set's own
 * order.  In a REST collection, where a path segment has no type, the bare
 * text is used.
 *
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store.h"

static Map	all_sets;

/* Returns the end of the JSON value that begins at p (text is valid JSON). */
static const char *
skip_value(const char *p)
{
	int			depth = 0;

	do
	{
		if (*p == '"')
		{
			for (p++; *p != '"'; p++)
				if (*p == '\\')
					p++;
			p++;
		}
		else if (*p == '{' || *p == '[')
		{
			depth++;
			p++;
		}
		else if (*p == '}' || *p == ']')
		{
			depth--;
			p++;
		}
		else if (depth == 0)
			while (*p && !strchr(",}] \t\r\n", *p))
				p++;
		else
			p++;
	} while (depth > 0);
	return p;
}

static const char *
skip_space(const char *p)
{
	while (*p && strchr(" \t\r\n", *p))
		p++;
	return p;
}

/* Decodes a raw JSON string; other values are returned as they are. */
char *
json_text(const char *raw)
{
	json_t	   *value;
	char	   *text;

	if (raw[0] != '"')
		return xstrdup(raw);
	if (strchr(raw, '\\') == NULL)
		return xstrndup(raw + 1, strlen(raw) - 2);
	value = json_loads(raw, JSON_DECODE_ANY, NULL);
	text = xstrdup(value ? json_string_value(value) : raw);
	json_decref(value);
	return text;
}

/* Cuts a JSON object into members; false with a reason when it is not one. */
bool
object_parse(Object *object, const char *text, size_t len, char **why)
{
	json_error_t error;
	json_t	   *value = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	const char *p;

	memset(object, 0, sizeof(*object));
	if (!json_is_object(value))
	{
		*why = xstrdup(value ? "body is not a JSON object" : error.text);
		json_decref(value);
		return false;
	}
	object->members = xmalloc(sizeof(Member) * (json_object_size(value) + 1));
	json_decref(value);
	p = skip_space(skip_space(text) + 1);
	while (*p != '}')
	{
		Member	   *m = &object->members[object->count++];
		const char *start = p;
		char	   *raw;

		p = skip_value(p);
		raw = xstrndup(start, (size_t) (p - start));
		m->name = json_text(raw);
		free(raw);
		p = skip_space(skip_space(p) + 1);
		start = p;
		p = skip_value(p);
		m->value = xstrndup(start, (size_t) (p - start));
		p = skip_space(p);
		if (*p == ',')
			p = skip_space(p + 1);
	}
	return true;
}

/* Returns the raw value of a member, or NULL. */
const char *
object_get(const Object *object, const char *name)
{
	for (int i = 0; i < object->count; i++)
		if (strcmp(object->members[i].name, name) == 0)
			return object->members[i].value;
	return NULL;
}

void
object_put(Object *object, const char *name, const char *value)
{
	Member	   *m;

	for (int i = 0; i < object->count; i++)
	{
		m = &object->members[i];
		if (strcmp(m->name, name) == 0)
		{
			char	   *copy = xstrdup(value);

			free(m->value);
			m->value = copy;
			return;
		}
	}
	object->members = xrealloc(object->members,
							   sizeof(Member) * (size_t) (object->count + 1));
	m = &object->members[object->count++];
	m->name = xstrdup(name);
	m->value = xstrdup(value);
}

void
object_merge(Object *into, const Object *from)
{
	for (int i = 0; i < from->count; i++)
		object_put(into, from->members[i].name, from->members[i].value);
}

void
object_free(Object *object)
{
	for (int i = 0; i < object->count; i++)
	{
		free(object->members[i].name);
		free(object->members[i].value);
	}
	free(object->members);
	memset(object, 0, sizeof(*object));
}

/* Writes {head, members}; head is JSON text without braces, or NULL. */
void
object_write(Buf *buf, const Object *object, const char *head)
{
	buf_char(buf, '{');
	if (head != NULL)
		buf_str(buf, head);
	for (int i = 0; i < object->count; i++)
	{
		if (i > 0 || head != NULL)
			buf_char(buf, ',');
		buf_json(buf, object->members[i].name, strlen(object->members[i].name));
		buf_char(buf, ':');
		buf_str(buf, object->members[i].value);
	}
	buf_char(buf, '}');
}

Set *
set_find(const char *path)
{
	return map_get(&all_sets, path);
}

/* Makes a set with the usual habits of its kind of service. */
Set *
set_create(const char *path)
{
	Set		   *set = xmalloc(sizeof(Set));

	memset(set, 0, sizeof(*set));
	set->path = xstrdup(path);
	set->typed = text_starts(path, "/odata/");
	set->assign = text_starts(path, "/rest/");
	set->keep = !text_starts(path, "/hook/");
	set->put_creates = true;
	set->exists_status = 409;
	set->next_id = 1;
	map_set(&all_sets, path, set);
	return set;
}

static void
set_free(void *arg)
{
	Set		   *set = arg;

	map_clear(&set->entities, entity_free);
	for (int i = 0; i < set->nkey; i++)
		free(set->key[i]);
	free(set->sequence);
	free(set->path);
	free(set);
}

void
set_clear_all(void)
{
	map_clear(&all_sets, set_free);
}

Map *
set_all(void)
{
	return &all_sets;
}

/* Makes an entity of an object, which it takes over. */
Entity *
entity_new(Object *object, Set *set)
{
	Entity	   *entity = xmalloc(sizeof(Entity));

	entity->object = *object;
	entity->version = ++set->next_version;
	memset(object, 0, sizeof(*object));
	return entity;
}

void
entity_free(void *entity)
{
	object_free(&((Entity *) entity)->object);
	free(entity);
}

/* Decides what identifies the records of a set that was not declared. */
static void
set_guess_key(Set *set, const Object *object)
{
	static const char *const usual[] = {"ID", "id", "Id"};

	if (set->nkey > 0)
		return;
	for (int i = 0; i < 3 && set->nkey == 0; i++)
		if (object_get(object, usual[i]) != NULL)
			set->key[set->nkey++] = xstrdup(usual[i]);
	if (set->nkey == 0 && set->assign)
		set->key[set->nkey++] = xstrdup("id");
	else if (set->nkey == 0 && object->count > 0)
		set->key[set->nkey++] = xstrdup(object->members[0].name);
}

/* Joins the canonical forms of a set's key values; false when one misses. */
static bool
key_join(Set *set, const Object *object, char **key)
{
	Buf			buf = {0};

	for (int i = 0; i < set->nkey; i++)
	{
		const char *raw = object_get(object, set->key[i]);
		char	   *text;

		if (raw == NULL || strcmp(raw, "null") == 0)
		{
			buf_free(&buf);
			return false;
		}
		text = json_text(raw);
		if (i > 0)
			buf_char(&buf, ',');
		if (raw[0] == '"' && set->typed)
			buf_char(&buf, '\'');
		buf_str(&buf, text);
		if (raw[0] == '"' && set->typed)
			buf_char(&buf, '\'');
		free(text);
	}
	*key = buf.data;
	return buf.data != NULL;
}

/* Finds the canonical key of a body; false when a key field is missing. */
bool
key_of_object(Set *set, const Object *object, char **key)
{
	set_guess_key(set, object);
	return key_join(set, object, key);
}

/* A bare literal that is no number, bool or null is a guid or a date. */
static bool
literal_is_bare(const char *text)
{
	char	   *end;

	if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0 ||
		strcmp(text, "null") == 0)
		return true;
	if (!isdigit((unsigned char) text[text[0] == '-']) ||
		(text[0] == '0' && isdigit((unsigned char) text[1])))
		return false;
	(void) strtod(text, &end);
	return end != text && *end == '\0';
}

/* Cuts one literal off a decoded predicate and stores it as raw JSON. */
static const char *
predicate_literal(const char *p, Object *fields, const char *name)
{
	Buf			value = {0};
	Buf			raw = {0};

	if (*p == '\'')
	{
		for (p++; *p && !(*p == '\'' && p[1] != '\''); p++)
		{
			if (*p == '\'')
				p++;
			buf_char(&value, *p);
		}
		if (*p == '\'')
			p++;
		buf_json(&raw, value.data ? value.data : "", value.len);
	}
	else
	{
		while (*p && *p != ',')
			buf_char(&value, *p++);
		if (value.data && literal_is_bare(value.data))
			buf_str(&raw, value.data);
		else
			buf_json(&raw, value.data ? value.data : "", value.len);
	}
	object_put(fields, name, raw.data);
	buf_free(&value);
	buf_free(&raw);
	return p;
}

/*
 * Reads an OData key predicate (between the parentheses, percent-encoded):
 * 'x', 5, or Name='x',Other=5.  The fields found are returned too, so that a
 * PUT or PATCH that creates can fill them in.
 */
bool
key_of_predicate(Set *set, const char *predicate, char **key, Object *fields)
{
	char	   *text = xstrdup(predicate);
	const char *p = text;
	bool		ok = true;

	memset(fields, 0, sizeof(*fields));
	percent_decode(text);
	while (*p && ok)
	{
		const char *eq = p;

		while (isalnum((unsigned char) *eq) || *eq == '_')
			eq++;
		if (*eq == '=' && eq > p)
		{
			char	   *name = xstrndup(p, (size_t) (eq - p));

			if (set->entities.live == 0 && set->nkey == 0)
				set->key[set->nkey++] = xstrdup(name);
			p = predicate_literal(eq + 1, fields, name);
			free(name);
		}
		else
		{
			if (set->nkey == 0)
				set->key[set->nkey++] = xstrdup("ID");
			ok = set->nkey == 1;
			p = predicate_literal(p, fields, set->key[0]);
		}
		ok = ok && (*p == '\0' || *p == ',');
		if (*p == ',')
			p++;
	}
	free(text);
	return ok && fields->count == set->nkey && key_join(set, fields, key);
}

/* Reads the key in the last path segment of a REST address. */
char *
key_of_segment(Set *set, const char *segment, Object *fields)
{
	char	   *text = xstrdup(segment);
	Buf			raw = {0};

	memset(fields, 0, sizeof(*fields));
	percent_decode(text);
	if (set->nkey == 0)
		set->key[set->nkey++] = xstrdup("id");
	if (literal_is_bare(text))
		buf_str(&raw, text);
	else
		buf_json(&raw, text, strlen(text));
	object_put(fields, set->key[0], raw.data);
	buf_free(&raw);
	return text;
}
