/*-------------------------------------------------------------------------
 *
 * store.h
 *	  What the fake ERP holds: sets of entities, each a list of members whose
 *	  values are kept as the JSON text that came.
 *
 * A JSON library would turn 0.10 into a double; a test that compares digits
 * needs the text.  So an object is cut into (name, raw value) pairs after the
 * library has checked that it is JSON.
 *
 *-------------------------------------------------------------------------
 */
#ifndef SANDBOX_STORE_H
#define SANDBOX_STORE_H

#include "text.h"

typedef struct Member
{
	char	   *name;			/* decoded */
	char	   *value;			/* raw JSON text */
} Member;

typedef struct Object
{
	Member	   *members;
	int			count;
} Object;

typedef struct Entity
{
	Object		object;
	int64_t		version;		/* shown as the ETag */
} Entity;

#define MAX_KEY_FIELDS 8

/* One entity set (or REST collection, or hook) and its habits. */
typedef struct Set
{
	char	   *path;
	bool		typed;			/* OData: 'x' and x are different keys */
	char	   *key[MAX_KEY_FIELDS];
	int			nkey;
	bool		etag;
	bool		match_required; /* a change without If-Match: 428 */
	bool		keep;			/* false: acknowledge, but hold nothing */
	bool		empty_answer;	/* 204 instead of the entity */
	bool		assign;			/* give a number to what comes without a key */
	bool		idempotent;		/* a known Idempotency-Key is not acted on */
	bool		patch_creates;
	bool		put_creates;
	int			exists_status;	/* POST of a key that is there */
	char	   *sequence;		/* member whose number must not go down */
	int64_t		next_id;
	int64_t		next_version;
	Map			entities;
} Set;

extern bool object_parse(Object *object, const char *text, size_t len, char **why);
extern const char *object_get(const Object *object, const char *name);
extern void object_put(Object *object, const char *name, const char *value);
extern void object_merge(Object *into, const Object *from);
extern void object_free(Object *object);
extern void object_write(Buf *buf, const Object *object, const char *head);

extern Set *set_find(const char *path);
extern Set *set_create(const char *path);
extern void set_clear_all(void);
extern Map *set_all(void);

extern Entity *entity_new(Object *object, Set *set);
extern void entity_free(void *entity);

extern char *json_text(const char *raw);
extern bool key_of_object(Set *set, const Object *object, char **key);
extern bool key_of_predicate(Set *set, const char *predicate, char **key,
							 Object *fields);
extern char *key_of_segment(Set *set, const char *segment, Object *fields);

#endif							/* SANDBOX_STORE_H */
