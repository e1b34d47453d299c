/*-------------------------------------------------------------------------
 *
 * documents.c
 *	  What is refused of options that join several events or tables into one
 *	  record.
 *
 * Called when a definition is stated, after its form and its expressions have
 * been checked.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/define.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* doc_coalesce refuses to coalesce what has no newest image. */
static void
doc_coalesce(const ConcordMapping *mapping)
{
	if (!mapping->options.coalesce)
		return;
	if (mapping->options.ordering == CONCORD_ORDER_NONE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mapping option \"coalesce\" needs an order"),
				 errdetail("Of events that keep no order none is the newest."),
				 errhint("Leave out option \"ordering\", or set it to \"key\".")));
	if (mapping->options.replay_events)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mapping option \"coalesce\" needs \"replay\": \"state\""),
				 errdetail("A mapping that delivers events leaves none of them out."),
				 errhint("Set option \"replay\" to \"state\" where only the newest image of a key is wanted there.")));
}

/* doc_patch refuses to send parts of what is not a record. */
static void
doc_patch(const ConcordMapping *mapping)
{
	if (mapping->options.patch_changed && mapping->options.replay_events)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mapping option \"patch\" needs \"replay\": \"state\""),
				 errdetail("An event is whole: there is no record that it changes a part of.")));
}

/* doc_find finds a mapping by name, or NULL. */
static ConcordMapping *
doc_find(List *all, const char *name)
{
	ListCell   *lc;

	foreach(lc, all)
	{
		ConcordMapping *m = lfirst(lc);

		if (strcmp(m->name, name) == 0)
			return m;
	}
	return NULL;
}

/* doc_child finds the field by which rows of a mapping go along, or NULL. */
static const ConcordField *
doc_child(const ConcordMapping *mapping, const char *child)
{
	ListCell   *lc;

	foreach(lc, mapping->fields)
	{
		const ConcordField *field = lfirst(lc);

		if (field->children != NULL && strcmp(field->children, child) == 0)
			return field;
	}
	return NULL;
}

/* doc_records refuses a mapping that keeps no links, or has no table. */
static void
doc_records(const ConcordMapping *mapping, const char *what)
{
	if (OidIsValid(mapping->source) && !mapping->options.replay_events)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("mapping \"%s\" cannot have %s", mapping->name, what),
			 errdetail("Only mappings of tables that deliver state know which records there are.")));
}

/* doc_parent_columns refuses columns that do not refer to the parent's key. */
static void
doc_parent_columns(const ConcordMapping *mapping, const ConcordMapping *parent)
{
	List	   *pairs = mapping->options.parent_columns;
	int			found = 0;
	ListCell   *lc;
	ListCell   *inner;

	foreach(lc, pairs)
	{
		const ConcordDependColumn *pair = lfirst(lc);
		AttrNumber	own = get_attnum(mapping->source, pair->theirs);
		Oid			types[2];

		foreach(inner, parent->local_key)
			found += strcmp(lfirst(inner), pair->own) == 0;
		if (own == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of table \"%s\" does not exist",
							pair->theirs, get_rel_name(mapping->source))));
		types[0] = getBaseType(get_atttype(mapping->source, own));
		types[1] = getBaseType(get_atttype(parent->source,
										   get_attnum(parent->source, pair->own)));
		if (OidIsValid(types[1]) && types[0] != types[1] &&
			!((types[0] == INT4OID || types[0] == INT8OID || types[0] == INT2OID) &&
			  (types[1] == INT4OID || types[1] == INT8OID || types[1] == INT2OID)) &&
			!((types[0] == TEXTOID || types[0] == VARCHAROID) &&
			  (types[1] == TEXTOID || types[1] == VARCHAROID)))
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("column \"%s\" of type %s cannot refer to column \"%s\" of type %s",
							pair->theirs, format_type_be(types[0]), pair->own,
							format_type_be(types[1]))));
	}
	if (found != list_length(parent->local_key) || found != list_length(pairs))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"parent\" must name each column of the key of mapping \"%s\" once, and no other",
						parent->name),
				 errhint("Write {\"%s\": {\"%s\": \"column that refers to it\"}}.",
						 parent->name, (char *) linitial(parent->local_key))));
}

/* doc_parent checks option parent. */
static void
doc_parent(const ConcordMapping *mapping, List *all)
{
	const char *name = mapping->options.parent;
	const ConcordMapping *parent;

	if (name == NULL)
		return;
	doc_records(mapping, "a parent");
	if (strcmp(name, mapping->name) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mapping \"%s\" cannot be its own parent", name)));
	parent = doc_find(all, name);
	if (parent == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("mapping \"%s\" of option \"parent\" does not exist", name),
				 errhint("Create it first, without the field that has the children.")));
	doc_records(parent, "children");
	if (parent->serverid != mapping->serverid)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mapping \"%s\" and its parent \"%s\" are of different servers",
						mapping->name, name)));
	for (const ConcordMapping *m = parent; m != NULL && m->options.parent != NULL;
		 m = doc_find(all, m->options.parent))
	{
		if (strcmp(m->options.parent, mapping->name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("mapping \"%s\" would be its own parent by way of \"%s\"",
							mapping->name, m->name)));
	}
	doc_parent_columns(mapping, parent);
}

/* doc_children checks the fields that have children. */
static void
doc_children(const ConcordMapping *mapping, List *all)
{
	ListCell   *lc;

	foreach(lc, mapping->fields)
	{
		const ConcordField *field = lfirst(lc);
		const ConcordMapping *child;

		if (field->children == NULL)
			continue;
		doc_records(mapping, "children");
		child = strcmp(field->children, mapping->name) == 0 ? mapping :
			doc_find(all, field->children);
		if (child == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("mapping \"%s\" of field \"%s\" does not exist",
							field->children, field->name),
					 errhint("Create it first, with option \"parent\": {\"%s\": ...}.",
							 mapping->name)));
		if (child->options.parent == NULL ||
			strcmp(child->options.parent, mapping->name) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("mapping \"%s\" of field \"%s\" does not name \"%s\" as its parent",
							field->children, field->name, mapping->name),
					 errhint("Set its option \"parent\" first: {\"%s\": {...}}.",
							 mapping->name)));
		if (doc_child(mapping, field->children) != field)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("mapping \"%s\" is named by two fields", field->children)));
	}
}

/* doc_named refuses to take from a mapping what others name it for. */
static void
doc_named(const ConcordMapping *mapping, List *all)
{
	ListCell   *lc;

	foreach(lc, all)
	{
		const ConcordMapping *other = lfirst(lc);
		const ConcordField *field;

		if (other->id == mapping->id)
			continue;
		field = doc_child(other, mapping->name);
		if (field != NULL && (mapping->options.parent == NULL ||
							  strcmp(mapping->options.parent, other->name) != 0))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("mapping \"%s\" goes along in field \"%s\" of mapping \"%s\"",
							mapping->name, field->name, other->name),
					 errhint("Remove that field first: concord.alter_mapping('%s', fields => '{\"%s\": null}').",
							 other->name, field->name)));
	}
}

/* concord_documents_drop refuses to drop a mapping that others name. */
void
concord_documents_drop(const ConcordMapping *mapping)
{
	List	   *all = concord_mapping_load(CurrentMemoryContext);
	ConcordMapping gone = *mapping;
	ListCell   *lc;

	gone.options.parent = NULL;
	doc_named(&gone, all);
	foreach(lc, all)
	{
		const ConcordMapping *other = lfirst(lc);

		if (other->options.parent != NULL &&
			strcmp(other->options.parent, mapping->name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("mapping \"%s\" is the parent of mapping \"%s\"",
							mapping->name, other->name),
					 errhint("Drop mapping \"%s\", or its option \"parent\", first.",
							 other->name)));
	}
}

/*
 * doc_route refuses to route what goes along with a record of another mapping, or
 * has others' rows go along: their links would have to move with it.
 */
static void
doc_route(const ConcordMapping *mapping)
{
	bool		children = false;
	ListCell   *lc;

	if (mapping->options.route == NULL)
		return;
	foreach(lc, mapping->fields)
		children |= ((const ConcordField *) lfirst(lc))->children != NULL;
	if (children || mapping->options.parent_columns != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("mapping option \"route\" cannot be used with \"%s\"",
						children ? "children" : "parent"),
				 errdetail("Records that are created together are at one server.")));
}

/* concord_documents_check refuses options that cannot work together. */
void
concord_documents_check(ConcordMapping *mapping)
{
	bool		related = mapping->options.parent != NULL || mapping->id != 0;
	List	   *all;
	ListCell   *lc;

	if (concord_mapping_defaults_hook != NULL)
		concord_mapping_defaults_hook(list_make1(mapping));
	doc_coalesce(mapping);
	doc_patch(mapping);
	doc_route(mapping);
	concord_depends_check(mapping);
	foreach(lc, mapping->fields)
		related |= ((const ConcordField *) lfirst(lc))->children != NULL;
	if (!related)
		return;					/* nobody names it yet, and it nobody */
	all = concord_mapping_load(CurrentMemoryContext);
	doc_parent(mapping, all);
	doc_children(mapping, all);
	if (mapping->id != 0)
		doc_named(mapping, all);
}
