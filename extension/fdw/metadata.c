/*-------------------------------------------------------------------------
 *
 * metadata.c
 *	  What an OData service says of itself ($metadata), as a plain model.
 *
 * A document is read once from its begin to its end (metadata_xml.c); what
 * names something that may come later, types by their alias, targets of
 * annotations, roles of associations, is kept as written and resolved when
 * all is there.  What is not known is passed over: a service may say more of
 * itself than is of use here.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/metadata.h"

#include "fdw/metadata_parse.h"
#include "utils/memutils.h"

#define META_LEVELS		64		/* of types derived from types */

/* concord_metadata_resolve replaces the alias that a name begins with. */
char *
concord_metadata_resolve(const ConcordMetadataParse *parse, const char *name)
{
	const char *dot = strchr(name, '.');
	ListCell   *lc;

	if (dot == NULL)
		return pstrdup(name);
	for (lc = list_head(parse->aliases); lc != NULL;
		 lc = lnext(parse->aliases, lnext(parse->aliases, lc)))
	{
		const char *alias = lfirst(lc);
		const char *space = lfirst(lnext(parse->aliases, lc));

		if (strlen(alias) == dot - name &&
			strncmp(alias, name, dot - name) == 0)
			return psprintf("%s%s", space, dot);
	}
	return pstrdup(name);
}

/* meta_alias notes what an alias stands for. */
static void
meta_alias(ConcordMetadataParse *parse, const char *alias, const char *space)
{
	if (alias == NULL || space == NULL)
		return;
	parse->aliases = lappend(parse->aliases, pstrdup(alias));
	parse->aliases = lappend(parse->aliases, pstrdup(space));
}

/* meta_schema reads a Schema element. */
static void
meta_schema(ConcordMetadataParse *parse, ConcordXmlElement *element)
{
	const char *space = concord_xml_attribute(element, "Namespace");
	ConcordXmlElement child;

	parse->schema = pstrdup(space ? space : "");
	meta_alias(parse, concord_xml_attribute(element, "Alias"), parse->schema);
	while (concord_xml_child(parse->xml, element, &child))
	{
		if (strcmp(child.name, "EntityType") == 0)
			concord_metadata_read_structured(parse, &child, CONCORD_EDM_ENTITY);
		else if (strcmp(child.name, "ComplexType") == 0)
			concord_metadata_read_structured(parse, &child, CONCORD_EDM_COMPLEX);
		else if (strcmp(child.name, "EnumType") == 0)
			concord_metadata_read_enum(parse, &child);
		else if (strcmp(child.name, "TypeDefinition") == 0)
			concord_metadata_read_definition(parse, &child);
		else if (strcmp(child.name, "EntityContainer") == 0)
			concord_metadata_read_container(parse, &child);
		else if (strcmp(child.name, "Association") == 0)
			concord_metadata_read_association(parse, &child);
		else if (strcmp(child.name, "Annotations") == 0)
			concord_metadata_read_annotations(parse, &child);
	}
}

/* meta_reference reads the aliases of a document that is referred to. */
static void
meta_reference(ConcordMetadataParse *parse, ConcordXmlElement *element)
{
	ConcordXmlElement child;

	while (concord_xml_child(parse->xml, element, &child))
	{
		if (strcmp(child.name, "Include") == 0)
			meta_alias(parse, concord_xml_attribute(&child, "Alias"),
					   concord_xml_attribute(&child, "Namespace"));
	}
}

/* meta_services reads the schemas. */
static void
meta_services(ConcordMetadataParse *parse, ConcordXmlElement *element)
{
	ConcordXmlElement child;
	const char *version;

	/* 1.0 is the wrapping of the versions 1 to 3; this attribute tells them */
	for (int i = 0; i < element->nattributes; i++)
	{
		if (strcmp(element->attributes[i].name, "DataServiceVersion") != 0)
			continue;
		version = element->attributes[i].value;
		if (parse->metadata->version < 4 && version[0] == '3')
			parse->metadata->version = 3;
	}
	while (concord_xml_child(parse->xml, element, &child))
	{
		if (strcmp(child.name, "Schema") == 0)
			meta_schema(parse, &child);
	}
}

/* meta_document reads all of a document. */
static void
meta_document(ConcordMetadataParse *parse)
{
	ConcordXmlElement root;
	ConcordXmlElement child;
	const char *version;

	concord_xml_root(parse->xml, &root);
	if (strcmp(root.name, "Edmx") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
				 errmsg("the document is not OData metadata"),
				 errdetail("Its outermost element is \"%s\" and not \"Edmx\".",
						   root.name)));
	version = concord_xml_attribute(&root, "Version");
	parse->metadata->version = version != NULL && version[0] == '4' ? 4 : 2;
	while (concord_xml_child(parse->xml, &root, &child))
	{
		if (strcmp(child.name, "Reference") == 0)
			meta_reference(parse, &child);
		else if (strcmp(child.name, "DataServices") == 0)
			meta_services(parse, &child);
	}
	if (parse->metadata->sets == NIL && parse->metadata->types == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
				 errmsg("the metadata describe nothing"),
				 errdetail("There is neither a type nor an entity set in the document.")));
}

/* meta_by_name orders types. */
static int
meta_by_name(const void *a, const void *b)
{
	return strcmp((*(ConcordEdmType *const *) a)->name,
				  (*(ConcordEdmType *const *) b)->name);
}

/* meta_sort makes types findable by their names. */
static void
meta_sort(ConcordMetadata *metadata)
{
	ListCell   *lc;

	metadata->sorted = palloc(Max(list_length(metadata->types), 1) *
							  sizeof(ConcordEdmType *));
	foreach(lc, metadata->types)
		metadata->sorted[metadata->ntypes++] = lfirst(lc);
	qsort(metadata->sorted, metadata->ntypes, sizeof(ConcordEdmType *),
		  meta_by_name);
	for (int i = 1; i < metadata->ntypes; i++)
	{
		if (strcmp(metadata->sorted[i - 1]->name, metadata->sorted[i]->name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
					 errmsg("the metadata describe type \"%s\" twice",
							metadata->sorted[i]->name)));
	}
}

/* concord_metadata_type finds a type by its qualified name. */
ConcordEdmType *
concord_metadata_type(const ConcordMetadata *metadata, const char *name)
{
	ConcordEdmType key = {.name = unconstify(char *, name)};
	ConcordEdmType *keyptr = &key;
	ConcordEdmType **found;

	if (name == NULL || metadata->ntypes == 0)
		return NULL;
	found = bsearch(&keyptr, metadata->sorted, metadata->ntypes,
					sizeof(ConcordEdmType *), meta_by_name);
	return found == NULL ? NULL : *found;
}

/* concord_metadata_set finds a set by its name. */
ConcordEdmSet *
concord_metadata_set(const ConcordMetadata *metadata, const char *name)
{
	ListCell   *lc;

	foreach(lc, metadata->sets)
	{
		ConcordEdmSet *set = lfirst(lc);

		if (strcmp(set->name, name) == 0)
			return set;
	}
	return NULL;
}

/* meta_bases finds the types that types are derived from. */
static void
meta_bases(ConcordMetadataParse *parse)
{
	ListCell   *lc;

	foreach(lc, parse->metadata->types)
	{
		ConcordEdmType *type = lfirst(lc);
		ListCell   *lc2;

		if (type->base_name != NULL)
		{
			type->base_name = concord_metadata_resolve(parse, type->base_name);
			type->base = concord_metadata_type(parse->metadata, type->base_name);
		}
		if (type->underlying != NULL)
			type->underlying = concord_metadata_resolve(parse, type->underlying);
		foreach(lc2, type->properties)
		{
			ConcordEdmProperty *property = lfirst(lc2);

			property->type = concord_metadata_resolve(parse, property->type);
		}
	}
	foreach(lc, parse->metadata->types)
	{
		int			levels = 0;

		for (ConcordEdmType *type = lfirst(lc); type != NULL; type = type->base)
		{
			if (++levels > META_LEVELS)
				ereport(ERROR,
						(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
						 errmsg("type \"%s\" of the metadata is derived from itself, or over more than %d levels",
								((ConcordEdmType *) lfirst(lc))->name, META_LEVELS)));
		}
	}
}

/* concord_metadata_parse reads a document into a model. */
ConcordMetadata *
concord_metadata_parse(const char *data, Size len, MemoryContext context)
{
	ConcordMetadataParse parse = {0};
	MemoryContext reading = AllocSetContextCreate(context,
												  "concord metadata document",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	parse.metadata = palloc0(sizeof(ConcordMetadata));
	parse.metadata->context = context;
	parse.xml = concord_xml_open(data, len, reading);
	meta_document(&parse);
	concord_xml_close(parse.xml);
	meta_sort(parse.metadata);
	meta_bases(&parse);
	concord_metadata_link(&parse);
	concord_metadata_annotate(&parse);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(reading);
	return parse.metadata;
}

/* concord_metadata_properties lists those of a type, its base's first. */
List *
concord_metadata_properties(const ConcordEdmType *type)
{
	return list_concat(type->base ? concord_metadata_properties(type->base) : NIL,
					   list_copy(type->properties));
}

/* concord_metadata_navigations lists those of a type, its base's first. */
List *
concord_metadata_navigations(const ConcordEdmType *type)
{
	return list_concat(type->base ? concord_metadata_navigations(type->base) : NIL,
					   list_copy(type->navigations));
}

/* concord_metadata_key gives the paths of a type's key. */
List *
concord_metadata_key(const ConcordEdmType *type)
{
	while (type->key == NIL && type->base != NULL)
		type = type->base;
	return type->key;
}
