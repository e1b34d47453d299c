/*-------------------------------------------------------------------------
 *
 * mapping_definition.h
 *	  A mapping's definition as JSON, and as the structs of mapping.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CATALOG_MAPPING_DEFINITION_H
#define CONCORD_CATALOG_MAPPING_DEFINITION_H

#include "catalog/mapping.h"

#include "utils/jsonb.h"

/* A member of a JSON object. */
typedef struct ConcordJsonMember
{
	char	   *name;
	JsonbValue	value;
} ConcordJsonMember;

/*
 * concord_definition_members lists an object's members in the order in which
 * jsonb keeps them; raises where container is not an object, naming what.
 */
extern List *concord_definition_members(JsonbContainer *container,
										const char *what);

/* concord_definition_text returns a string value as palloc'd text. */
extern char *concord_definition_text(const JsonbValue *value);

/*
 * concord_definition_fields reads {"name": expression or object}; what is
 * "field" or "key field", for messages.
 */
extern List *concord_definition_fields(JsonbContainer *container,
									   const char *what, bool plain);

/* concord_mapping_option_known says whether an option is one of a mapping. */
extern bool concord_mapping_option_known(const char *name);

/* concord_definition_policy reads the name of a conflict policy, or raises. */
extern ConcordPolicy concord_definition_policy(const char *name);

extern const char *concord_definition_policy_name(ConcordPolicy policy);

/*
 * concord_definition_closest returns the candidate that a mistyped name is
 * closest to, or NULL; of those that are NULL none.
 */
extern const char *concord_definition_closest(const char *name,
											  const char *const *candidates,
											  int ncandidates);

/* concord_definition_hint lists what there is, the closest one first. */
extern char *concord_definition_hint(const char *name,
									 const char *const *candidates,
									 int ncandidates);

/*
 * concord_definition_duration reads an interval into milliseconds; false
 * where a value is none.
 */
extern bool concord_definition_duration(const JsonbValue *value, double *ms);

/* sync_options.c: options pull, receive and match, each raising by name. */
extern ConcordPullOptions *concord_definition_pull(const JsonbValue *value);
extern Jsonb *concord_definition_receive(const JsonbValue *value);
extern List *concord_definition_match(const JsonbValue *value);

/* concord_definition_options reads options over their defaults. */
extern void concord_definition_options(JsonbContainer *container,
									   ConcordMappingOptions *options);

/*
 * concord_definition_parse fills what mapping's definition says.  Raises
 * where it is not valid, in the user's words.
 */
extern void concord_definition_parse(ConcordMapping *mapping,
									 Jsonb *definition);

/*
 * concord_definition_merge applies patch to target as RFC 7396 says and
 * returns the result; either may be NULL (absent).
 */
extern Jsonb *concord_definition_merge(Jsonb *target, Jsonb *patch);

#endif							/* CONCORD_CATALOG_MAPPING_DEFINITION_H */
