/*-------------------------------------------------------------------------
 *
 * metadata_parse.h
 *	  What the files that read metadata tell each other; private to fdw/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_METADATA_PARSE_H
#define CONCORD_FDW_METADATA_PARSE_H

#include "fdw/metadata.h"
#include "fdw/metadata_xml.h"

/* The value of an annotation: a text, a collection or a record. */
typedef struct ConcordEdmValue
{
	char	   *text;			/* NULL: none, or not a constant */
	List	   *items;			/* of ConcordEdmValue * */
	List	   *names;			/* of char *: a record's members */
	List	   *values;			/* of ConcordEdmValue *, beside names */
} ConcordEdmValue;

/* What an annotation is about; one of them, or a target's path. */
typedef struct ConcordEdmOwner
{
	ConcordEdmType *type;
	ConcordEdmProperty *property;
	ConcordEdmNavigation *navigation;
	ConcordEdmSet *set;
} ConcordEdmOwner;

typedef struct ConcordEdmAnnotation
{
	ConcordEdmOwner owner;
	char	   *target;			/* as written, or NULL: owner says */
	char	   *term;			/* as written */
	ConcordEdmValue *value;
} ConcordEdmAnnotation;

/* Version 2: what a relationship's roles are. */
typedef struct ConcordEdmEnd
{
	char	   *role;
	char	   *type;			/* of an association */
	char	   *set;			/* of an association's set */
	bool		many;
} ConcordEdmEnd;

typedef struct ConcordEdmAssociation
{
	char	   *name;			/* qualified; of the association */
	List	   *ends;			/* of ConcordEdmEnd * */
	char	   *dependent;		/* role; NULL: no constraint */
	List	   *dependent_keys; /* of char * */
	List	   *principal_keys; /* of char * */
} ConcordEdmAssociation;

typedef struct ConcordMetadataParse
{
	ConcordMetadata *metadata;
	ConcordXml *xml;
	char	   *schema;			/* name space of the current one */
	List	   *aliases;		/* of char *: alias, name space, … */
	List	   *containers;		/* of char *: qualified */
	List	   *associations;	/* of ConcordEdmAssociation * */
	List	   *association_sets;	/* of ConcordEdmAssociation * */
	List	   *annotations;	/* of ConcordEdmAnnotation * */
} ConcordMetadataParse;

/* metadata.c: a name with its alias replaced by what it stands for. */
extern char *concord_metadata_resolve(const ConcordMetadataParse *parse,
									  const char *name);

/* metadata_types.c: elements of a schema. */
extern void concord_metadata_read_structured(ConcordMetadataParse *parse,
											 ConcordXmlElement *element,
											 ConcordEdmKind kind);
extern void concord_metadata_read_enum(ConcordMetadataParse *parse,
									   ConcordXmlElement *element);
extern void concord_metadata_read_definition(ConcordMetadataParse *parse,
											 ConcordXmlElement *element);

/* metadata_container.c: sets, and the associations of version 2. */
extern void concord_metadata_read_container(ConcordMetadataParse *parse,
											ConcordXmlElement *element);
extern void concord_metadata_read_association(ConcordMetadataParse *parse,
											  ConcordXmlElement *element);
extern void concord_metadata_link(ConcordMetadataParse *parse);

/*
 * metadata_annotations.c: an Annotation element of owner or of target; an
 * Annotations element; what all of them say.
 */
extern void concord_metadata_read_annotation(ConcordMetadataParse *parse,
											 ConcordXmlElement *element,
											 const ConcordEdmOwner *owner,
											 const char *target);
extern void concord_metadata_read_annotations(ConcordMetadataParse *parse,
											  ConcordXmlElement *element);
extern void concord_metadata_annotate(ConcordMetadataParse *parse);

/* metadata_types.c: yes, no or nothing, as an attribute has it. */
extern ConcordEdmTri concord_metadata_tri(const char *value);

#endif							/* CONCORD_FDW_METADATA_PARSE_H */
