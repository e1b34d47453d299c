/*-------------------------------------------------------------------------
 *
 * metadata_types.c
 *	  Types of a schema: entities, complex types, enumerations, definitions.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/metadata_parse.h"

#include <limits.h>

/* concord_metadata_tri reads yes, no or nothing. */
ConcordEdmTri
concord_metadata_tri(const char *value)
{
	if (value == NULL)
		return CONCORD_EDM_UNKNOWN;
	if (strcmp(value, "true") == 0 || strcmp(value, "1") == 0)
		return CONCORD_EDM_YES;
	if (strcmp(value, "false") == 0 || strcmp(value, "0") == 0)
		return CONCORD_EDM_NO;
	return CONCORD_EDM_UNKNOWN;
}

/* typ_copy copies an attribute that may be missing. */
static char *
typ_copy(const char *value)
{
	return value == NULL ? NULL : pstrdup(value);
}

/* typ_name copies the name of what is described, which there must be. */
static char *
typ_name(ConcordMetadataParse *parse, const ConcordXmlElement *element)
{
	const char *name = concord_xml_attribute(element, "Name");

	if (name == NULL || name[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
				 errmsg("the metadata are not valid"),
				 errdetail("Element \"%s\" in line %d has no name.",
						   element->name, concord_xml_line(parse->xml))));
	return pstrdup(name);
}

/* typ_number reads a facet that is a number. */
static int
typ_number(const char *value)
{
	char	   *end;
	long		number;

	if (value == NULL || value[0] < '0' || value[0] > '9')
		return CONCORD_EDM_UNSET;
	errno = 0;
	number = strtol(value, &end, 10);
	if (errno != 0 || *end != '\0' || number > INT_MAX)
		return CONCORD_EDM_UNSET;
	return (int) number;
}

/* typ_facets reads the facets of a property or of a definition. */
static void
typ_facets(const ConcordXmlElement *element, ConcordEdmFacets *facets)
{
	const char *length = concord_xml_attribute(element, "MaxLength");
	const char *scale = concord_xml_attribute(element, "Scale");

	facets->max_length = length != NULL && pg_strcasecmp(length, "max") == 0 ?
		CONCORD_EDM_MAX : typ_number(length);
	facets->precision = typ_number(concord_xml_attribute(element, "Precision"));
	facets->scale = typ_number(scale);
	if (scale != NULL && (pg_strcasecmp(scale, "variable") == 0 ||
						  pg_strcasecmp(scale, "floating") == 0))
		facets->scale = CONCORD_EDM_VARIABLE;
}

/* typ_type reads a type and whether it is a collection of that. */
static char *
typ_type(const char *type, bool *collection)
{
	size_t		len;

	*collection = false;
	if (type == NULL)
		return NULL;
	len = strlen(type);
	if (strncmp(type, "Collection(", 11) == 0 && type[len - 1] == ')')
	{
		*collection = true;
		return pnstrdup(type + 11, len - 12);
	}
	return pstrdup(type);
}

/* typ_annotations reads the annotations within an element, and nothing else. */
static void
typ_annotations(ConcordMetadataParse *parse, ConcordXmlElement *element,
				const ConcordEdmOwner *owner)
{
	ConcordXmlElement child;

	while (concord_xml_child(parse->xml, element, &child))
	{
		if (strcmp(child.name, "Annotation") == 0)
			concord_metadata_read_annotation(parse, &child, owner, NULL);
	}
}

/* typ_sap_property takes what SAP's attributes say of a property. */
static void
typ_sap_property(const ConcordXmlElement *element, ConcordEdmProperty *property)
{
	const char *format = concord_xml_sap(element, "display-format");

	property->can.insertable = concord_metadata_tri(concord_xml_sap(element, "creatable"));
	property->can.updatable = concord_metadata_tri(concord_xml_sap(element, "updatable"));
	property->can.filterable = concord_metadata_tri(concord_xml_sap(element, "filterable"));
	property->can.sortable = concord_metadata_tri(concord_xml_sap(element, "sortable"));
	property->can.needs_filter = concord_metadata_tri(concord_xml_sap(element, "required-in-filter"));
	property->text.label = typ_copy(concord_xml_sap(element, "label"));
	property->text.description = typ_copy(concord_xml_sap(element, "quickinfo"));
	property->unit = typ_copy(concord_xml_sap(element, "unit"));
	property->date_only = format != NULL && strcmp(format, "Date") == 0;
}

/* typ_property reads a Property element. */
static void
typ_property(ConcordMetadataParse *parse, ConcordXmlElement *element,
			 ConcordEdmType *type)
{
	ConcordEdmProperty *property = palloc0(sizeof(ConcordEdmProperty));
	ConcordEdmOwner owner = {.property = property};
	const char *kind = concord_xml_attribute(element, "CollectionKind");

	property->name = typ_name(parse, element);
	property->type = typ_type(concord_xml_attribute(element, "Type"),
							  &property->collection);
	if (property->type == NULL)
		property->type = pstrdup("Edm.String");
	if (kind != NULL && strcmp(kind, "None") != 0)
		property->collection = true;
	property->nullable =
		concord_metadata_tri(concord_xml_attribute(element, "Nullable")) != CONCORD_EDM_NO;
	typ_facets(element, &property->facets);
	typ_sap_property(element, property);
	type->properties = lappend(type->properties, property);
	typ_annotations(parse, element, &owner);
}

/* typ_navigation reads a NavigationProperty element. */
static void
typ_navigation(ConcordMetadataParse *parse, ConcordXmlElement *element,
			   ConcordEdmType *type)
{
	ConcordEdmNavigation *navigation = palloc0(sizeof(ConcordEdmNavigation));
	ConcordEdmOwner owner = {.navigation = navigation};
	ConcordXmlElement child;

	navigation->name = typ_name(parse, element);
	navigation->type = typ_type(concord_xml_attribute(element, "Type"),
								&navigation->collection);
	navigation->contained =
		concord_metadata_tri(concord_xml_attribute(element, "ContainsTarget")) == CONCORD_EDM_YES;
	navigation->relationship = typ_copy(concord_xml_attribute(element, "Relationship"));
	navigation->to_role = typ_copy(concord_xml_attribute(element, "ToRole"));
	navigation->text.label = typ_copy(concord_xml_sap(element, "label"));
	type->navigations = lappend(type->navigations, navigation);
	while (concord_xml_child(parse->xml, element, &child))
	{
		const char *from = concord_xml_attribute(&child, "Property");
		const char *to = concord_xml_attribute(&child, "ReferencedProperty");

		if (strcmp(child.name, "Annotation") == 0)
			concord_metadata_read_annotation(parse, &child, &owner, NULL);
		else if (strcmp(child.name, "ReferentialConstraint") == 0 && from && to)
		{
			navigation->constraints = lappend(navigation->constraints, pstrdup(from));
			navigation->constraints = lappend(navigation->constraints, pstrdup(to));
		}
	}
}

/* typ_key reads the names of a key's properties. */
static void
typ_key(ConcordMetadataParse *parse, ConcordXmlElement *element,
		ConcordEdmType *type)
{
	ConcordXmlElement child;

	while (concord_xml_child(parse->xml, element, &child))
	{
		if (strcmp(child.name, "PropertyRef") == 0)
			type->key = lappend(type->key, typ_name(parse, &child));
	}
}

/* typ_begin makes a type with its qualified name. */
static ConcordEdmType *
typ_begin(ConcordMetadataParse *parse, ConcordXmlElement *element,
		  ConcordEdmKind kind)
{
	ConcordEdmType *type = palloc0(sizeof(ConcordEdmType));

	type->kind = kind;
	type->name = psprintf("%s.%s", parse->schema, typ_name(parse, element));
	type->facets.max_length = CONCORD_EDM_UNSET;
	type->facets.precision = CONCORD_EDM_UNSET;
	type->facets.scale = CONCORD_EDM_UNSET;
	type->text.label = typ_copy(concord_xml_sap(element, "label"));
	type->text.description = typ_copy(concord_xml_sap(element, "quickinfo"));
	parse->metadata->types = lappend(parse->metadata->types, type);
	return type;
}

/* concord_metadata_read_structured reads an EntityType or a ComplexType. */
void
concord_metadata_read_structured(ConcordMetadataParse *parse,
								 ConcordXmlElement *element,
								 ConcordEdmKind kind)
{
	ConcordEdmType *type = typ_begin(parse, element, kind);
	ConcordEdmOwner owner = {.type = type};
	ConcordXmlElement child;

	type->base_name = typ_copy(concord_xml_attribute(element, "BaseType"));
	type->abstract =
		concord_metadata_tri(concord_xml_attribute(element, "Abstract")) == CONCORD_EDM_YES;
	type->open =
		concord_metadata_tri(concord_xml_attribute(element, "OpenType")) == CONCORD_EDM_YES;
	type->media =
		concord_metadata_tri(concord_xml_attribute(element, "HasStream")) == CONCORD_EDM_YES;
	while (concord_xml_child(parse->xml, element, &child))
	{
		if (strcmp(child.name, "Property") == 0)
			typ_property(parse, &child, type);
		else if (strcmp(child.name, "NavigationProperty") == 0)
			typ_navigation(parse, &child, type);
		else if (strcmp(child.name, "Key") == 0)
			typ_key(parse, &child, type);
		else if (strcmp(child.name, "Annotation") == 0)
			concord_metadata_read_annotation(parse, &child, &owner, NULL);
	}
}

/* concord_metadata_read_enum reads an EnumType. */
void
concord_metadata_read_enum(ConcordMetadataParse *parse,
						   ConcordXmlElement *element)
{
	ConcordEdmType *type = typ_begin(parse, element, CONCORD_EDM_ENUM);
	ConcordEdmOwner owner = {.type = type};
	ConcordXmlElement child;

	while (concord_xml_child(parse->xml, element, &child))
	{
		if (strcmp(child.name, "Member") == 0)
			type->members = lappend(type->members, typ_name(parse, &child));
		else if (strcmp(child.name, "Annotation") == 0)
			concord_metadata_read_annotation(parse, &child, &owner, NULL);
	}
}

/* concord_metadata_read_definition reads a TypeDefinition. */
void
concord_metadata_read_definition(ConcordMetadataParse *parse,
								 ConcordXmlElement *element)
{
	ConcordEdmType *type = typ_begin(parse, element, CONCORD_EDM_DEFINITION);
	ConcordEdmOwner owner = {.type = type};
	const char *underlying = concord_xml_attribute(element, "UnderlyingType");

	type->underlying = pstrdup(underlying ? underlying : "Edm.String");
	typ_facets(element, &type->facets);
	typ_annotations(parse, element, &owner);
}
