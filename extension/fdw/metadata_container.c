/*-------------------------------------------------------------------------
 *
 * metadata_container.c
 *	  Entity sets and singletons; the associations of versions 2 and 3.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/metadata_parse.h"

#include "miscadmin.h"

/* con_copy copies an attribute that may be missing. */
static char *
con_copy(const ConcordXmlElement *element, const char *name)
{
	const char *value = concord_xml_attribute(element, name);

	return value == NULL ? NULL : pstrdup(value);
}

/* con_sap takes what SAP's attributes say of a set. */
static void
con_sap(const ConcordXmlElement *element, ConcordEdmSet *set)
{
	const char *label = concord_xml_sap(element, "label");
	const char *info = concord_xml_sap(element, "quickinfo");

	set->can.insertable = concord_metadata_tri(concord_xml_sap(element, "creatable"));
	set->can.updatable = concord_metadata_tri(concord_xml_sap(element, "updatable"));
	set->can.deletable = concord_metadata_tri(concord_xml_sap(element, "deletable"));
	set->can.readable = concord_metadata_tri(concord_xml_sap(element, "addressable"));
	set->can.countable = concord_metadata_tri(concord_xml_sap(element, "countable"));
	set->can.needs_filter = concord_metadata_tri(concord_xml_sap(element, "requires-filter"));
	set->text.label = label ? pstrdup(label) : NULL;
	set->text.description = info ? pstrdup(info) : NULL;
}

/* con_set reads an EntitySet or a Singleton. */
static void
con_set(ConcordMetadataParse *parse, ConcordXmlElement *element,
		bool singleton)
{
	ConcordEdmSet *set = palloc0(sizeof(ConcordEdmSet));
	ConcordEdmOwner owner = {.set = set};
	ConcordXmlElement child;

	set->name = con_copy(element, "Name");
	set->singleton = singleton;
	set->type_name = con_copy(element, singleton ? "Type" : "EntityType");
	if (set->name == NULL || set->name[0] == '\0' || set->type_name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_DATA_TYPE),
				 errmsg("the metadata are not valid"),
				 errdetail("Element \"%s\" in line %d has no name or no type.",
						   element->name, concord_xml_line(parse->xml))));
	con_sap(element, set);
	parse->metadata->sets = lappend(parse->metadata->sets, set);
	while (concord_xml_child(parse->xml, element, &child))
	{
		const char *path = concord_xml_attribute(&child, "Path");
		const char *target = concord_xml_attribute(&child, "Target");

		if (strcmp(child.name, "Annotation") == 0)
			concord_metadata_read_annotation(parse, &child, &owner, NULL);
		else if (strcmp(child.name, "NavigationPropertyBinding") == 0 &&
				 path && target)
		{
			set->bindings = lappend(set->bindings, pstrdup(path));
			set->bindings = lappend(set->bindings, pstrdup(target));
		}
	}
}

/* con_ends reads the ends of an association or of its set. */
static void
con_ends(ConcordMetadataParse *parse, ConcordXmlElement *element,
		 ConcordEdmAssociation *association)
{
	ConcordEdmEnd *end = palloc0(sizeof(ConcordEdmEnd));
	const char *many = concord_xml_attribute(element, "Multiplicity");

	end->role = con_copy(element, "Role");
	end->type = con_copy(element, "Type");
	end->set = con_copy(element, "EntitySet");
	end->many = many != NULL && strcmp(many, "*") == 0;
	if (end->role != NULL)
		association->ends = lappend(association->ends, end);
}

/* con_references reads the properties of one side of a constraint. */
static List *
con_references(ConcordMetadataParse *parse, ConcordXmlElement *element)
{
	List	   *names = NIL;
	ConcordXmlElement child;

	while (concord_xml_child(parse->xml, element, &child))
	{
		char	   *name = con_copy(&child, "Name");

		if (name != NULL && strcmp(child.name, "PropertyRef") == 0)
			names = lappend(names, name);
	}
	return names;
}

/* con_constraint reads which properties refer to which. */
static void
con_constraint(ConcordMetadataParse *parse, ConcordXmlElement *element,
			   ConcordEdmAssociation *association)
{
	ConcordXmlElement child;

	while (concord_xml_child(parse->xml, element, &child))
	{
		if (strcmp(child.name, "Dependent") == 0)
		{
			association->dependent = con_copy(&child, "Role");
			association->dependent_keys = con_references(parse, &child);
		}
		else if (strcmp(child.name, "Principal") == 0)
			association->principal_keys = con_references(parse, &child);
	}
}

/* concord_metadata_read_association reads an Association. */
void
concord_metadata_read_association(ConcordMetadataParse *parse,
								  ConcordXmlElement *element)
{
	ConcordEdmAssociation *association = palloc0(sizeof(ConcordEdmAssociation));
	char	   *name = con_copy(element, "Name");
	ConcordXmlElement child;

	association->name = psprintf("%s.%s", parse->schema, name ? name : "");
	while (concord_xml_child(parse->xml, element, &child))
	{
		if (strcmp(child.name, "End") == 0)
			con_ends(parse, &child, association);
		else if (strcmp(child.name, "ReferentialConstraint") == 0)
			con_constraint(parse, &child, association);
	}
	parse->associations = lappend(parse->associations, association);
}

/* con_association_set reads which sets an association is between. */
static void
con_association_set(ConcordMetadataParse *parse, ConcordXmlElement *element)
{
	ConcordEdmAssociation *association = palloc0(sizeof(ConcordEdmAssociation));
	ConcordXmlElement child;

	association->name = con_copy(element, "Association");
	while (concord_xml_child(parse->xml, element, &child))
	{
		if (strcmp(child.name, "End") == 0)
			con_ends(parse, &child, association);
	}
	if (association->name != NULL)
		parse->association_sets = lappend(parse->association_sets, association);
}

/* concord_metadata_read_container reads an EntityContainer. */
void
concord_metadata_read_container(ConcordMetadataParse *parse,
								ConcordXmlElement *element)
{
	const char *container = concord_xml_attribute(element, "Name");
	ConcordXmlElement child;

	parse->containers = lappend(parse->containers,
								psprintf("%s.%s", parse->schema,
										 container ? container : ""));
	while (concord_xml_child(parse->xml, element, &child))
	{
		char	   *name;

		if (strcmp(child.name, "EntitySet") == 0)
			con_set(parse, &child, false);
		else if (strcmp(child.name, "Singleton") == 0)
			con_set(parse, &child, true);
		else if (strcmp(child.name, "AssociationSet") == 0)
			con_association_set(parse, &child);
		else if (strcmp(child.name, "FunctionImport") == 0 ||
				 strcmp(child.name, "ActionImport") == 0)
		{
			if ((name = con_copy(&child, "Name")) != NULL)
				parse->metadata->functions = lappend(parse->metadata->functions, name);
		}
	}
}

/* con_end finds the end of an association that has a role. */
static ConcordEdmEnd *
con_end(List *associations, const char *name, const char *role,
		ConcordEdmAssociation **found)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, associations)
	{
		ConcordEdmAssociation *association = lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		if (strcmp(association->name, name) != 0)
			continue;
		foreach(lc2, association->ends)
		{
			ConcordEdmEnd *end = lfirst(lc2);

			if (strcmp(end->role, role) == 0)
			{
				*found = association;
				return end;
			}
		}
	}
	return NULL;
}

/* con_navigation finds where a navigation of version 2 leads to. */
static void
con_navigation(ConcordMetadataParse *parse, ConcordEdmNavigation *navigation)
{
	ConcordEdmAssociation *association;
	ConcordEdmEnd *end;
	ListCell   *lc;
	ListCell   *lc2;

	if (navigation->type != NULL)
		navigation->type = concord_metadata_resolve(parse, navigation->type);
	if (navigation->relationship == NULL || navigation->to_role == NULL)
		return;
	navigation->relationship = concord_metadata_resolve(parse, navigation->relationship);
	end = con_end(parse->associations, navigation->relationship,
				  navigation->to_role, &association);
	if (end == NULL || end->type == NULL)
		return;
	navigation->type = concord_metadata_resolve(parse, end->type);
	navigation->collection = end->many;

	/* the side that refers is the one that the other role's type has */
	if (association->dependent == NULL ||
		strcmp(association->dependent, navigation->to_role) == 0)
		return;
	forboth(lc, association->dependent_keys, lc2, association->principal_keys)
	{
		navigation->constraints = lappend(navigation->constraints, lfirst(lc));
		navigation->constraints = lappend(navigation->constraints, lfirst(lc2));
	}
}

/* con_binding says which set a navigation of version 2 leads to. */
static void
con_binding(ConcordMetadataParse *parse, ConcordEdmSet *set)
{
	ListCell   *lc;

	if (set->type == NULL)
		return;
	foreach(lc, concord_metadata_navigations(set->type))
	{
		ConcordEdmNavigation *navigation = lfirst(lc);
		ListCell   *lc2;

		if (navigation->relationship == NULL || navigation->to_role == NULL)
			continue;

		/* one association may be between several pairs of sets */
		foreach(lc2, parse->association_sets)
		{
			ConcordEdmAssociation *association = lfirst(lc2);
			ConcordEdmEnd *to = NULL;
			bool		from = false;
			ListCell   *lc3;

			CHECK_FOR_INTERRUPTS();
			if (strcmp(association->name, navigation->relationship) != 0)
				continue;
			foreach(lc3, association->ends)
			{
				ConcordEdmEnd *end = lfirst(lc3);

				if (strcmp(end->role, navigation->to_role) == 0)
					to = end;
				else if (end->set && strcmp(end->set, set->name) == 0)
					from = true;
			}
			if (from && to != NULL && to->set != NULL)
			{
				set->bindings = lappend(set->bindings, navigation->name);
				set->bindings = lappend(set->bindings, to->set);
				break;
			}
		}
	}
}

/* concord_metadata_link finds what sets and navigations name. */
void
concord_metadata_link(ConcordMetadataParse *parse)
{
	ListCell   *lc;
	ListCell   *lc2;

	foreach(lc, parse->association_sets)
	{
		ConcordEdmAssociation *association = lfirst(lc);

		association->name = concord_metadata_resolve(parse, association->name);
	}
	foreach(lc, parse->metadata->types)
	{
		foreach(lc2, ((ConcordEdmType *) lfirst(lc))->navigations)
			con_navigation(parse, lfirst(lc2));
	}
	foreach(lc, parse->metadata->sets)
	{
		ConcordEdmSet *set = lfirst(lc);

		set->type_name = concord_metadata_resolve(parse, set->type_name);
		set->type = concord_metadata_type(parse->metadata, set->type_name);
		con_binding(parse, set);
	}
}
