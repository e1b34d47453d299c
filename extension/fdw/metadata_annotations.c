/*-------------------------------------------------------------------------
 *
 * metadata_annotations.c
 *	  What the vocabularies say of sets, types and properties.
 *
 * A term is known by its vocabulary and its name, whatever alias it is
 * written with.  Only annotations with the name of a known term are kept while
 * the document is read: the others, of user interfaces most of all, are the
 * largest part of it.  An annotation that has a qualifier is for a
 * special case and is passed over, so is a value that depends on data (a path
 * in place of true or false).
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/metadata_parse.h"

#include "miscadmin.h"

typedef void (*ConcordEdmApply) (const ConcordEdmOwner *owner,
								 const ConcordEdmValue *value);

typedef struct ConcordEdmTerm
{
	const char *space;			/* of the vocabulary */
	const char *alias;			/* what it is called where none is declared */
	const char *name;
	ConcordEdmApply apply;
} ConcordEdmTerm;

#define ANN_CORE		"Org.OData.Core.V1", "Core"
#define ANN_CAPABILITY	"Org.OData.Capabilities.V1", "Capabilities"
#define ANN_MEASURES	"Org.OData.Measures.V1", "Measures"
#define ANN_VALIDATION	"Org.OData.Validation.V1", "Validation"
#define ANN_COMMON		"com.sap.vocabularies.Common.v1", "Common"

/* ann_text finds where a thing's texts are. */
static ConcordEdmText *
ann_text(const ConcordEdmOwner *owner)
{
	if (owner->property)
		return &owner->property->text;
	if (owner->type)
		return &owner->type->text;
	if (owner->set)
		return &owner->set->text;
	return owner->navigation ? &owner->navigation->text : NULL;
}

static void
ann_label(const ConcordEdmOwner *owner,
		  const ConcordEdmValue *value)
{
	ConcordEdmText *text = ann_text(owner);

	if (text != NULL && value->text != NULL)
		text->label = value->text;
}

/* SAP's QuickInfo gives way to a description. */
static void
ann_quick_info(const ConcordEdmOwner *owner,
			   const ConcordEdmValue *value)
{
	ConcordEdmText *text = ann_text(owner);

	if (text != NULL && text->description == NULL && value->text != NULL)
		text->description = value->text;
}

static void
ann_description(const ConcordEdmOwner *owner,
				const ConcordEdmValue *value)
{
	ConcordEdmText *text = ann_text(owner);

	if (text != NULL && value->text != NULL)
		text->description = value->text;
}

static void
ann_long_description(const ConcordEdmOwner *owner, const ConcordEdmValue *value)
{
	ConcordEdmText *text = ann_text(owner);

	if (text != NULL && value->text != NULL)
		text->long_description = value->text;
}

/* A value that the system makes. */
static void
ann_computed(const ConcordEdmOwner *owner,
			 const ConcordEdmValue *value)
{
	if (owner->property == NULL ||
		(value->text != NULL && concord_metadata_tri(value->text) != CONCORD_EDM_YES))
		return;
	owner->property->can.insertable = CONCORD_EDM_NO;
	owner->property->can.updatable = CONCORD_EDM_NO;
}

static void
ann_immutable(const ConcordEdmOwner *owner,
			  const ConcordEdmValue *value)
{
	if (owner->property != NULL &&
		(value->text == NULL || concord_metadata_tri(value->text) == CONCORD_EDM_YES))
		owner->property->can.updatable = CONCORD_EDM_NO;
}

/* Permissions are members of an enumeration, separated by spaces. */
static void
ann_permissions(const ConcordEdmOwner *owner,
				const ConcordEdmValue *value)
{
	const char *slash = value->text ? strrchr(value->text, '/') : NULL;

	if (owner->property == NULL || slash == NULL)
		return;
	if (strchr(value->text, ' ') == NULL && strcmp(slash, "/Read") == 0)
	{
		owner->property->can.insertable = CONCORD_EDM_NO;
		owner->property->can.updatable = CONCORD_EDM_NO;
	}
}

static void
ann_unit(const ConcordEdmOwner *owner,
		 const ConcordEdmValue *value)
{
	if (owner->property != NULL && value->text != NULL)
		owner->property->unit = value->text;
}

/* ann_member returns a record's member or NULL. */
static const ConcordEdmValue *
ann_member(const ConcordEdmValue *record, const char *name)
{
	ListCell   *lc;
	ListCell   *lc2;

	forboth(lc, record->names, lc2, record->values)
	{
		if (strcmp(lfirst(lc), name) == 0)
			return lfirst(lc2);
	}
	return NULL;
}

/* The values that a property may have, each in a record of its own. */
static void
ann_allowed(const ConcordEdmOwner *owner, const ConcordEdmValue *value)
{
	ListCell   *lc;

	if (owner->property == NULL)
		return;
	foreach(lc, value->items)
	{
		const ConcordEdmValue *member = ann_member(lfirst(lc), "Value");

		if (member != NULL && member->text != NULL)
			owner->property->allowed = lappend(owner->property->allowed,
											   member->text);
	}
}

/* ann_yes_no reads a record's member that is true or false. */
static ConcordEdmTri
ann_yes_no(const ConcordEdmValue *record, const char *name)
{
	const ConcordEdmValue *member = ann_member(record, name);

	return member == NULL ? CONCORD_EDM_UNKNOWN : concord_metadata_tri(member->text);
}

/* ann_limit finds what a set says of a property, or makes it. */
static ConcordEdmCapabilities *
ann_limit(ConcordEdmSet *set, char *path)
{
	ConcordEdmLimit *limit;
	ListCell   *lc;

	foreach(lc, set->limits)
	{
		limit = lfirst(lc);
		if (strcmp(limit->path, path) == 0)
			return &limit->can;
	}
	limit = palloc0(sizeof(ConcordEdmLimit));
	limit->path = path;
	set->limits = lappend(set->limits, limit);
	return &limit->can;
}

/* ann_properties sets one capability of every property that a member lists. */
static void
ann_properties(ConcordEdmSet *set, const ConcordEdmValue *record,
			   const char *name, size_t capability, ConcordEdmTri value)
{
	const ConcordEdmValue *member = ann_member(record, name);
	ListCell   *lc;

	if (member == NULL)
		return;
	foreach(lc, member->items)
	{
		ConcordEdmValue *item = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		if (item->text != NULL)
			*(ConcordEdmTri *) ((char *) ann_limit(set, item->text) + capability) = value;
	}
}

/* ann_restrict sets a capability of the set, where it is said. */
static void
ann_restrict(ConcordEdmTri *capability, ConcordEdmTri value)
{
	if (value != CONCORD_EDM_UNKNOWN)
		*capability = value;
}

static void
ann_filter(const ConcordEdmOwner *owner,
		   const ConcordEdmValue *value)
{
	if (owner->set == NULL)
		return;
	ann_restrict(&owner->set->can.filterable, ann_yes_no(value, "Filterable"));
	ann_restrict(&owner->set->can.needs_filter, ann_yes_no(value, "RequiresFilter"));
	ann_properties(owner->set, value, "NonFilterableProperties",
				   offsetof(ConcordEdmCapabilities, filterable), CONCORD_EDM_NO);
	ann_properties(owner->set, value, "RequiredProperties",
				   offsetof(ConcordEdmCapabilities, needs_filter), CONCORD_EDM_YES);
}

static void
ann_sort(const ConcordEdmOwner *owner,
		 const ConcordEdmValue *value)
{
	if (owner->set == NULL)
		return;
	ann_restrict(&owner->set->can.sortable, ann_yes_no(value, "Sortable"));
	ann_properties(owner->set, value, "NonSortableProperties",
				   offsetof(ConcordEdmCapabilities, sortable), CONCORD_EDM_NO);
}

static void
ann_insert(const ConcordEdmOwner *owner,
		   const ConcordEdmValue *value)
{
	if (owner->set == NULL)
		return;
	ann_restrict(&owner->set->can.insertable, ann_yes_no(value, "Insertable"));
	ann_properties(owner->set, value, "NonInsertableProperties",
				   offsetof(ConcordEdmCapabilities, insertable), CONCORD_EDM_NO);
}

static void
ann_update(const ConcordEdmOwner *owner,
		   const ConcordEdmValue *value)
{
	if (owner->set == NULL)
		return;
	ann_restrict(&owner->set->can.updatable, ann_yes_no(value, "Updatable"));
	ann_properties(owner->set, value, "NonUpdatableProperties",
				   offsetof(ConcordEdmCapabilities, updatable), CONCORD_EDM_NO);
}

static void
ann_delete(const ConcordEdmOwner *owner,
		   const ConcordEdmValue *value)
{
	if (owner->set != NULL)
		ann_restrict(&owner->set->can.deletable, ann_yes_no(value, "Deletable"));
}

static void
ann_read(const ConcordEdmOwner *owner,
		 const ConcordEdmValue *value)
{
	if (owner->set != NULL)
		ann_restrict(&owner->set->can.readable, ann_yes_no(value, "Readable"));
}

static void
ann_count(const ConcordEdmOwner *owner,
		  const ConcordEdmValue *value)
{
	if (owner->set != NULL)
		ann_restrict(&owner->set->can.countable, ann_yes_no(value, "Countable"));
}

static void
ann_expand(const ConcordEdmOwner *owner,
		   const ConcordEdmValue *value)
{
	if (owner->set == NULL)
		return;
	ann_restrict(&owner->set->can.expandable, ann_yes_no(value, "Expandable"));
	ann_properties(owner->set, value, "NonExpandableProperties",
				   offsetof(ConcordEdmCapabilities, expandable), CONCORD_EDM_NO);
}

static const ConcordEdmTerm ann_terms[] = {
	{ANN_COMMON, "Label", ann_label},
	{ANN_COMMON, "QuickInfo", ann_quick_info},
	{ANN_CORE, "Description", ann_description},
	{ANN_CORE, "LongDescription", ann_long_description},
	{ANN_CORE, "Computed", ann_computed},
	{ANN_CORE, "Immutable", ann_immutable},
	{ANN_CORE, "Permissions", ann_permissions},
	{ANN_MEASURES, "ISOCurrency", ann_unit},
	{ANN_MEASURES, "Unit", ann_unit},
	{ANN_VALIDATION, "AllowedValues", ann_allowed},
	{ANN_CAPABILITY, "FilterRestrictions", ann_filter},
	{ANN_CAPABILITY, "SortRestrictions", ann_sort},
	{ANN_CAPABILITY, "InsertRestrictions", ann_insert},
	{ANN_CAPABILITY, "UpdateRestrictions", ann_update},
	{ANN_CAPABILITY, "DeleteRestrictions", ann_delete},
	{ANN_CAPABILITY, "ReadRestrictions", ann_read},
	{ANN_CAPABILITY, "CountRestrictions", ann_count},
	{ANN_CAPABILITY, "ExpandRestrictions", ann_expand},
};

/* ann_value_type says whether an attribute or element bears a value. */
static bool
ann_value_type(const char *name)
{
	static const char *const types[] = {
		"String", "Bool", "Path", "PropertyPath", "NavigationPropertyPath",
		"EnumMember", "Int",
	};

	for (int i = 0; i < lengthof(types); i++)
	{
		if (strcmp(name, types[i]) == 0)
			return true;
	}
	return false;
}

/* ann_value reads the value that an element has, as attribute or within. */
static ConcordEdmValue *
ann_value(ConcordMetadataParse *parse, ConcordXmlElement *element)
{
	ConcordEdmValue *value = palloc0(sizeof(ConcordEdmValue));
	ConcordXmlElement child;

	for (int i = 0; i < element->nattributes; i++)
	{
		if (element->attributes[i].space == CONCORD_XML_PLAIN &&
			ann_value_type(element->attributes[i].name))
			value->text = pstrdup(element->attributes[i].value);
	}
	while (concord_xml_child(parse->xml, element, &child))
	{
		if (strcmp(child.name, "Record") == 0 &&
			strcmp(element->name, "Collection") == 0)
			value->items = lappend(value->items, ann_value(parse, &child));
		else if (strcmp(child.name, "Record") == 0 ||
				 strcmp(child.name, "Collection") == 0)
			value = ann_value(parse, &child);
		else if (strcmp(child.name, "PropertyValue") == 0)
		{
			const char *name = concord_xml_attribute(&child, "Property");

			value->names = lappend(value->names, pstrdup(name ? name : ""));
			value->values = lappend(value->values, ann_value(parse, &child));
		}
		else if (ann_value_type(child.name))
		{
			ConcordEdmValue *item = palloc0(sizeof(ConcordEdmValue));

			item->text = concord_xml_text(parse->xml, &child);
			value->items = lappend(value->items, item);
			if (value->text == NULL)
				value->text = item->text;
		}
	}
	return value;
}

/* concord_metadata_read_annotation reads an Annotation element. */
void
concord_metadata_read_annotation(ConcordMetadataParse *parse,
								 ConcordXmlElement *element,
								 const ConcordEdmOwner *owner,
								 const char *target)
{
	const char *term = concord_xml_attribute(element, "Term");
	const char *name;
	ConcordEdmAnnotation *annotation;
	bool		known = false;

	if (term == NULL || concord_xml_attribute(element, "Qualifier") != NULL)
		return;
	name = strrchr(term, '.');
	for (int i = 0; name != NULL && i < lengthof(ann_terms); i++)
		known |= strcmp(name + 1, ann_terms[i].name) == 0;
	if (!known)
		return;
	annotation = palloc0(sizeof(ConcordEdmAnnotation));
	annotation->term = pstrdup(term);
	if (owner != NULL)
		annotation->owner = *owner;
	annotation->target = target ? pstrdup(target) : NULL;
	annotation->value = ann_value(parse, element);
	parse->annotations = lappend(parse->annotations, annotation);
}

/* concord_metadata_read_annotations reads an Annotations element. */
void
concord_metadata_read_annotations(ConcordMetadataParse *parse,
								  ConcordXmlElement *element)
{
	const char *given = concord_xml_attribute(element, "Target");
	char	   *target = pstrdup(given ? given : "");
	bool		passed = given == NULL || strchr(given, '(') != NULL ||
		concord_xml_attribute(element, "Qualifier") != NULL;
	ConcordXmlElement child;

	while (concord_xml_child(parse->xml, element, &child))
	{
		if (!passed && strcmp(child.name, "Annotation") == 0)
			concord_metadata_read_annotation(parse, &child, NULL, target);
	}
}

/* ann_in_type finds a property or navigation of a type. */
static bool
ann_in_type(const ConcordEdmType *type, const char *name, ConcordEdmOwner *owner)
{
	ListCell   *lc;

	foreach(lc, concord_metadata_properties(type))
	{
		owner->property = lfirst(lc);
		if (strcmp(owner->property->name, name) == 0)
			return true;
	}
	owner->property = NULL;
	foreach(lc, concord_metadata_navigations(type))
	{
		owner->navigation = lfirst(lc);
		if (strcmp(owner->navigation->name, name) == 0)
			return true;
	}
	owner->navigation = NULL;
	return false;
}

/* ann_target finds what a target's path is of: Type, Type/Property, Container/Set. */
static bool
ann_target(const ConcordMetadataParse *parse, const char *target,
		   ConcordEdmOwner *owner)
{
	const char *slash = strchr(target, '/');
	char	   *first = concord_metadata_resolve(parse,
												 slash ? pnstrdup(target, slash - target) : target);
	ConcordEdmType *type = concord_metadata_type(parse->metadata, first);
	ListCell   *lc;

	memset(owner, 0, sizeof(ConcordEdmOwner));
	if (type != NULL)
	{
		owner->type = slash ? NULL : type;
		return slash == NULL || ann_in_type(type, slash + 1, owner);
	}
	foreach(lc, parse->containers)
	{
		if (slash == NULL || strcmp(lfirst(lc), first) != 0)
			continue;
		owner->set = concord_metadata_set(parse->metadata, slash + 1);
		return owner->set != NULL;
	}
	return false;
}

/* ann_find finds the term that an annotation has. */
static const ConcordEdmTerm *
ann_find(const ConcordMetadataParse *parse, const char *term)
{
	char	   *resolved = concord_metadata_resolve(parse, term);
	const char *dot = strrchr(resolved, '.');

	for (int i = 0; i < lengthof(ann_terms); i++)
	{
		const ConcordEdmTerm *known = &ann_terms[i];
		size_t		len = dot - resolved;

		if (strcmp(dot + 1, known->name) == 0 &&
			((strlen(known->space) == len && strncmp(known->space, resolved, len) == 0) ||
			 (strlen(known->alias) == len && strncmp(known->alias, resolved, len) == 0)))
			return known;
	}
	return NULL;
}

/* concord_metadata_annotate applies all annotations that were read. */
void
concord_metadata_annotate(ConcordMetadataParse *parse)
{
	ListCell   *lc;

	foreach(lc, parse->annotations)
	{
		ConcordEdmAnnotation *annotation = lfirst(lc);
		const ConcordEdmTerm *term = ann_find(parse, annotation->term);

		CHECK_FOR_INTERRUPTS();
		if (term == NULL)
			continue;
		if (annotation->target != NULL &&
			!ann_target(parse, annotation->target, &annotation->owner))
			continue;
		term->apply(&annotation->owner, annotation->value);
	}
}
