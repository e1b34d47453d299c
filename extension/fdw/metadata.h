/*-------------------------------------------------------------------------
 *
 * metadata.h
 *	  What an OData service says of itself ($metadata), as a plain model.
 *
 * One model for the versions 2, 3 and 4: entity sets and singletons, the types
 * behind them, and what annotations (SAP's attributes, the vocabularies Core,
 * Common, Capabilities, Measures) say of them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_METADATA_H
#define CONCORD_FDW_METADATA_H

#include "base/compat.h"

#include "nodes/pg_list.h"

/* Of facets: not given, and what stands for more than a number. */
#define CONCORD_EDM_UNSET	(-1)
#define CONCORD_EDM_MAX		(-2)	/* MaxLength="max" */
#define CONCORD_EDM_VARIABLE (-3)	/* Scale="variable" or "floating" */

/* An annotation that says yes or no, or nothing. */
typedef enum ConcordEdmTri
{
	CONCORD_EDM_UNKNOWN,
	CONCORD_EDM_NO,
	CONCORD_EDM_YES,
} ConcordEdmTri;

/* What may be done with a set's records or with a property. */
typedef struct ConcordEdmCapabilities
{
	ConcordEdmTri readable;		/* of sets: addressed by themselves */
	ConcordEdmTri insertable;
	ConcordEdmTri updatable;
	ConcordEdmTri deletable;
	ConcordEdmTri filterable;
	ConcordEdmTri sortable;
	ConcordEdmTri countable;
	ConcordEdmTri expandable;
	ConcordEdmTri needs_filter; /* a read without $filter is refused, or one
								 * without this property in it */
} ConcordEdmCapabilities;

/* What a person is told; any of them NULL. */
typedef struct ConcordEdmText
{
	char	   *label;
	char	   *description;
	char	   *long_description;
} ConcordEdmText;

typedef enum ConcordEdmKind
{
	CONCORD_EDM_ENTITY,
	CONCORD_EDM_COMPLEX,
	CONCORD_EDM_ENUM,
	CONCORD_EDM_DEFINITION,		/* TypeDefinition */
} ConcordEdmKind;

typedef struct ConcordEdmFacets
{
	int			max_length;
	int			precision;
	int			scale;
} ConcordEdmFacets;

typedef struct ConcordEdmProperty
{
	char	   *name;
	char	   *type;			/* qualified; without Collection() */
	bool		collection;
	bool		nullable;
	bool		date_only;		/* sap:display-format="Date" */
	ConcordEdmFacets facets;
	ConcordEdmCapabilities can;
	ConcordEdmText text;
	char	   *unit;			/* the property with its unit or currency */
	List	   *allowed;		/* of char *: values it may have; NIL: any */
} ConcordEdmProperty;

typedef struct ConcordEdmNavigation
{
	char	   *name;
	char	   *type;			/* of its target, qualified; NULL: not known */
	bool		collection;
	bool		contained;
	char	   *relationship;	/* of version 2; NULL otherwise */
	char	   *to_role;
	List	   *constraints;	/* of char *: property, referenced one, … */
	ConcordEdmText text;
} ConcordEdmNavigation;

typedef struct ConcordEdmType
{
	char	   *name;			/* qualified */
	ConcordEdmKind kind;
	char	   *base_name;		/* qualified, or NULL */
	struct ConcordEdmType *base;	/* NULL too where it is not described */
	bool		abstract;
	bool		open;
	bool		media;			/* HasStream */
	List	   *key;			/* of char *: paths, own ones only */
	List	   *properties;		/* of ConcordEdmProperty *, own ones */
	List	   *navigations;	/* of ConcordEdmNavigation *, own ones */
	List	   *members;		/* of char *: an enumeration's */
	char	   *underlying;		/* of a definition */
	ConcordEdmFacets facets;
	ConcordEdmText text;
} ConcordEdmType;

typedef struct ConcordEdmSet
{
	char	   *name;
	bool		singleton;
	char	   *type_name;		/* qualified */
	ConcordEdmType *type;		/* NULL: not described */
	List	   *bindings;		/* of char *: navigation's path, set, … */
	List	   *limits;			/* of ConcordEdmLimit * */
	ConcordEdmCapabilities can;
	ConcordEdmText text;
} ConcordEdmSet;

/* What a set's annotation says of one of its properties. */
typedef struct ConcordEdmLimit
{
	char	   *path;			/* of the property */
	ConcordEdmCapabilities can;
} ConcordEdmLimit;

typedef struct ConcordMetadata
{
	MemoryContext context;
	int			version;		/* 2, 3 or 4 */
	List	   *types;			/* of ConcordEdmType *, as in the document */
	int			ntypes;
	ConcordEdmType **sorted;	/* the same by name */
	List	   *sets;			/* of ConcordEdmSet *, as in the document */
	List	   *functions;		/* of char *: function and action imports */
} ConcordMetadata;

/*
 * concord_metadata_parse reads a document into a model, all of it in context.
 * The document is in UTF-8 whatever the database's encoding is.  Raises
 * ERRCODE_FDW_INVALID_DATA_TYPE where it is no metadata.
 */
extern ConcordMetadata *concord_metadata_parse(const char *data, Size len,
											   MemoryContext context);

/* concord_metadata_type finds a type by its qualified name, or NULL. */
extern ConcordEdmType *concord_metadata_type(const ConcordMetadata *metadata,
											 const char *name);

/* concord_metadata_set finds a set by its name, or NULL. */
extern ConcordEdmSet *concord_metadata_set(const ConcordMetadata *metadata,
										   const char *name);

/*
 * Of a type and the types that it is derived from: all its properties and
 * navigations, base first, and its key, which the base has.
 */
extern List *concord_metadata_properties(const ConcordEdmType *type);
extern List *concord_metadata_navigations(const ConcordEdmType *type);
extern List *concord_metadata_key(const ConcordEdmType *type);

/*
 * concord_metadata_fingerprint gives a hash of all that an import makes use
 * of; the order of types and what is only for people do not count.
 */
extern char *concord_metadata_fingerprint(const ConcordMetadata *metadata);

#endif							/* CONCORD_FDW_METADATA_H */
