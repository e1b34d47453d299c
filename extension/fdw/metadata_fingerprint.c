/*-------------------------------------------------------------------------
 *
 * metadata_fingerprint.c
 *	  A hash of what metadata say, to notice that a service has changed.
 *
 * Sets, types, properties, keys, navigations and what may be done with them
 * count; labels and descriptions, and the order in which a service tells
 * them, do not.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/metadata.h"

#include "base/digest.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"

#define FIN_SEPARATOR	'\x1f'	/* no name has it: XML does not allow it */

/* fin_add appends a text, and what separates it from the next. */
static void
fin_add(StringInfo buf, const char *text)
{
	appendStringInfoString(buf, text ? text : "");
	appendStringInfoChar(buf, FIN_SEPARATOR);
}

/* fin_can appends capabilities. */
static void
fin_can(StringInfo buf, const ConcordEdmCapabilities *can)
{
	const ConcordEdmTri all[] = {can->readable, can->insertable, can->updatable,
		can->deletable, can->filterable, can->sortable, can->countable,
	can->expandable, can->needs_filter};

	for (int i = 0; i < lengthof(all); i++)
		appendStringInfoChar(buf, '0' + all[i]);
	appendStringInfoChar(buf, FIN_SEPARATOR);
}

/* fin_facets appends facets. */
static void
fin_facets(StringInfo buf, const ConcordEdmFacets *facets)
{
	appendStringInfo(buf, "%d,%d,%d", facets->max_length, facets->precision,
					 facets->scale);
	appendStringInfoChar(buf, FIN_SEPARATOR);
}

/* fin_sorted appends lines in an order of their own. */
static int
fin_by_text(const ListCell *a, const ListCell *b)
{
	return strcmp(lfirst(a), lfirst(b));
}

static void
fin_sorted(StringInfo buf, List *lines)
{
	ListCell   *lc;

	list_sort(lines, fin_by_text);
	foreach(lc, lines)
		fin_add(buf, lfirst(lc));
}

/* fin_names appends names in their order, which matters. */
static void
fin_names(StringInfo buf, List *names)
{
	ListCell   *lc;

	foreach(lc, names)
		fin_add(buf, lfirst(lc));
	appendStringInfoChar(buf, FIN_SEPARATOR);
}

/* fin_type gives a type's line. */
static char *
fin_type(const ConcordEdmType *type)
{
	List	   *lines = NIL;
	StringInfoData buf;
	StringInfoData line;
	ListCell   *lc;

	CHECK_FOR_INTERRUPTS();
	foreach(lc, type->properties)
	{
		const ConcordEdmProperty *property = lfirst(lc);

		initStringInfo(&line);
		fin_add(&line, property->name);
		fin_add(&line, property->type);
		appendStringInfo(&line, "%d%d%d", property->collection,
						 property->nullable, property->date_only);
		fin_facets(&line, &property->facets);
		fin_can(&line, &property->can);
		lines = lappend(lines, line.data);
	}
	foreach(lc, type->navigations)
	{
		const ConcordEdmNavigation *navigation = lfirst(lc);

		initStringInfo(&line);
		fin_add(&line, navigation->name);
		fin_add(&line, navigation->type);
		appendStringInfo(&line, "%d%d", navigation->collection,
						 navigation->contained);
		lines = lappend(lines, line.data);
	}

	initStringInfo(&buf);
	fin_add(&buf, type->name);
	fin_add(&buf, type->base_name);
	fin_add(&buf, type->underlying);
	appendStringInfo(&buf, "%d%d%d", type->kind, type->abstract, type->open);
	fin_facets(&buf, &type->facets);
	fin_names(&buf, type->key);
	fin_names(&buf, type->members);
	fin_sorted(&buf, lines);
	return buf.data;
}

/* fin_set gives a set's line. */
static char *
fin_set(const ConcordEdmSet *set)
{
	List	   *lines = NIL;
	StringInfoData buf;
	ListCell   *lc;

	foreach(lc, set->limits)
	{
		const ConcordEdmLimit *limit = lfirst(lc);
		StringInfoData line;

		initStringInfo(&line);
		fin_add(&line, limit->path);
		fin_can(&line, &limit->can);
		lines = lappend(lines, line.data);
	}
	initStringInfo(&buf);
	fin_add(&buf, set->name);
	fin_add(&buf, set->type_name);
	appendStringInfo(&buf, "%d", set->singleton);
	fin_can(&buf, &set->can);
	fin_sorted(&buf, lines);
	return buf.data;
}

/* concord_metadata_fingerprint gives a hash of all that matters. */
char *
concord_metadata_fingerprint(const ConcordMetadata *metadata)
{
	uint8		digest[CONCORD_SHA256_LENGTH];
	List	   *lines = NIL;
	StringInfoData buf;
	StringInfoData hex;
	ListCell   *lc;

	foreach(lc, metadata->types)
		lines = lappend(lines, fin_type(lfirst(lc)));
	foreach(lc, metadata->sets)
		lines = lappend(lines, fin_set(lfirst(lc)));
	initStringInfo(&buf);
	appendStringInfo(&buf, "%d", metadata->version);
	fin_sorted(&buf, lines);
	concord_sha256(buf.data, buf.len, digest);
	initStringInfo(&hex);
	for (int i = 0; i < lengthof(digest); i++)
		appendStringInfo(&hex, "%02x", digest[i]);
	return hex.data;
}
