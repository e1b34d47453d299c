/*-------------------------------------------------------------------------
 *
 * definition.c
 *	  The definitions that lanes work by.
 *
 * A lane has its mapping as it was when the lane opened, and what that was
 * compiled to.  Many mappings have the same fields: those of tables that are
 * alike, in a schema for each customer or year.  Such have one list of them
 * between them, that of the first, so that what the next one needs is at hand.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/bookkeeping.h"
#include "common/hashfn.h"
#include "delivery/delivery.h"
#include "utils/memutils.h"

/* Fields that definitions have between them. */
typedef struct ConcordFields
{
	MemoryContext context;		/* of the definition that brought them */
	dlist_node	node;			/* in its DefBucket */
	uint32		hash;
	List	   *fields;
	int			refs;
} ConcordFields;

/* Those with one hash. */
typedef struct DefBucket
{
	uint32		hash;
	dlist_head	all;			/* of ConcordFields.node */
} DefBucket;

/* All of a process: definitions end by counts, wherever the last one is. */
static HTAB *def_fields = NULL;

/* def_hash is a hash of a list of fields. */
static uint32
def_hash(const List *fields)
{
	uint32		hash = 0;
	ListCell   *lc;

	foreach(lc, fields)
	{
		const ConcordField *field = lfirst(lc);

		hash = hash_combine(hash, string_hash(field->name, SIZE_MAX));
		hash = hash_combine(hash, string_hash(field->expression, SIZE_MAX));
	}
	return hash;
}

/* def_bucket finds those with a hash. */
static dlist_head *
def_bucket(uint32 hash)
{
	DefBucket  *bucket;
	bool		found;

	if (def_fields == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(uint32),.entrysize = sizeof(DefBucket),
		.hcxt = TopMemoryContext};

		def_fields = hash_create("concord fields", 64, &ctl,
								 HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	bucket = hash_search(def_fields, &hash, HASH_ENTER, &found);
	if (!found)
		dlist_init(&bucket->all);
	return &bucket->all;
}

/* def_same_text compares texts, which may be NULL. */
static bool
def_same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* def_same_field: two fields have all in common. */
static bool
def_same_field(const ConcordField *a, const ConcordField *b)
{
#if SIZEOF_VOID_P == 8
	StaticAssertStmt(sizeof(ConcordField) == 88,
					 "a new member of ConcordField is to be compared here");
#endif
	return def_same_text(a->name, b->name) &&
		def_same_text(a->expression, b->expression) && a->on == b->on &&
		def_same_text(a->children, b->children) &&
		def_same_text(a->column, b->column) &&
		a->column_given == b->column_given && def_same_text(a->apply, b->apply) &&
		def_same_text(a->owner_name, b->owner_name) &&
		a->policy_given == b->policy_given && a->owner == b->owner &&
		a->shared == b->shared && a->policy == b->policy &&
		a->pushed == b->pushed && a->pulled == b->pulled;
}

/* def_same says whether two lists have the same fields. */
static bool
def_same(const List *a, const List *b)
{
	ListCell   *la;
	ListCell   *lb;

	if (list_length(a) != list_length(b))
		return false;
	forboth(la, a, lb, b)
	{
		if (!def_same_field(lfirst(la), lfirst(lb)))
			return false;
	}
	return true;
}

/* def_share has a definition use the fields of one that has the same. */
static void
def_share(ConcordDefinition *definition)
{
	ConcordMapping *mapping = definition->mapping;
	uint32		hash = def_hash(mapping->fields);
	dlist_head *all = def_bucket(hash);
	ConcordFields *entry;
	dlist_iter	iter;

	dlist_foreach(iter, all)
	{
		entry = dlist_container(ConcordFields, node, iter.cur);
		if (!def_same(entry->fields, mapping->fields))
			continue;
		entry->refs++;
		mapping->fields = entry->fields;
		definition->fields = entry;
		return;
	}
	entry = MemoryContextAlloc(definition->context, sizeof(ConcordFields));
	entry->context = definition->context;
	entry->hash = hash;
	entry->fields = mapping->fields;
	entry->refs = 1;
	dlist_push_tail(all, &entry->node);
	definition->fields = entry;
}

/* concord_definition_create reads a mapping for a lane. */
ConcordDefinition *
concord_definition_create(const char *name)
{
	/* its fields may be needed when the lane is gone */
	MemoryContext context = AllocSetContextCreate(TopMemoryContext,
												  "concord definition",
												  ALLOCSET_SMALL_SIZES);
	ConcordDefinition *definition = MemoryContextAllocZero(context,
														   sizeof(ConcordDefinition));

	definition->context = context;
	definition->refs = 1;
	PG_TRY();
	{
		concord_bookkeeping_begin();
		definition->mapping = concord_mapping_by_name(name, context);
		concord_bookkeeping_commit(false);
	}
	PG_CATCH();
	{
		MemoryContextDelete(context);
		PG_RE_THROW();
	}
	PG_END_TRY();
	def_share(definition);
	return definition;
}

/* concord_definition_release drops a reference and, with the last, the memory. */
void
concord_definition_release(ConcordDefinition *definition)
{
	ConcordFields *entry;
	MemoryContext context;

	if (definition == NULL || --definition->refs > 0)
		return;
	if (definition->compiled != NULL)
		concord_mapping_free(definition->compiled);
	definition->compiled = NULL;
	entry = definition->fields;
	context = definition->context;
	if (entry->context != context)
		MemoryContextDelete(context);
	if (--entry->refs > 0)
		return;
	dlist_delete(&entry->node);
	if (dlist_is_empty(def_bucket(entry->hash)))
		hash_search(def_fields, &entry->hash, HASH_REMOVE, NULL);
	MemoryContextDelete(entry->context);
}
