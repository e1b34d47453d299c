/*-------------------------------------------------------------------------
 *
 * ownership.c
 *	  Who owns the columns of a table, and which way that makes fields go.
 *
 * Rows of concord.ownership_item name columns and servers, for a dump, and have
 * their numbers, which count where the row was written in this database: so
 * they follow renames.
 *
 * The cache has an entry per table and is emptied by the relcache messages of
 * that table, which a trigger on concord.ownership_item sends; an entry is read
 * with a new snapshot, never with the transaction's, since it outlives it.
 *
 *-------------------------------------------------------------------------
 */
#include "catalog/ownership.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/mapping_definition.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(concord_ownership_changed);
PG_FUNCTION_INFO_V1(concord_ownership_restored);

/* Columns of concord.ownership_item. */
enum
{
	OWN_SOURCE = 1, OWN_COLUMN, OWN_OWNER, OWN_POLICY, OWN_LOCAL_WRITE,
	OWN_MAPPING, OWN_ATTNUM, OWN_OWNERID, OWN_HOME,
};

/* What is known of one table. */
typedef struct OwnEntry
{
	Oid			relid;			/* the key */
	bool		valid;
	MemoryContext context;		/* of owned; NULL: never read */
	List	   *owned;			/* of ConcordOwned * */
} OwnEntry;

bool		concord_ownership_bypass = false;
int			concord_ownership_depth = 0;

static HTAB *own_cache = NULL;

static const char *const own_local_writes[] = {
	[CONCORD_LOCAL_REFUSE] = "refuse",
	[CONCORD_LOCAL_REPORT] = "report",
	[CONCORD_LOCAL_OFF] = "off",
};

/* concord_local_write_name names what a local write does. */
const char *
concord_local_write_name(ConcordLocalWrite what)
{
	return own_local_writes[what];
}

/* own_invalidate is called when a table's ownership may have changed. */
static void
own_invalidate(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	OwnEntry   *entry;

	if (relid != InvalidOid)
	{
		entry = hash_search(own_cache, &relid, HASH_FIND, NULL);
		if (entry != NULL)
			entry->valid = false;
		return;
	}
	hash_seq_init(&status, own_cache);
	while ((entry = hash_seq_search(&status)) != NULL)
		entry->valid = false;
}

/* own_start makes the cache. */
static void
own_start(void)
{
	HASHCTL		control = {0};

	control.keysize = sizeof(Oid);
	control.entrysize = sizeof(OwnEntry);
	own_cache = hash_create("concord ownership", 64, &control,
							HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(own_invalidate, (Datum) 0);
}

/* own_text returns a text column of a row; empty where it is NULL. */
static char *
own_text(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, column, desc, &isnull);

	return isnull ? pstrdup("") : TextDatumGetCString(value);
}

/* own_local_write reads what a local write does. */
static ConcordLocalWrite
own_local_write(const char *name)
{
	for (int i = 0; i < lengthof(own_local_writes); i++)
	{
		if (strcmp(name, own_local_writes[i]) == 0)
			return i;
	}
	return CONCORD_LOCAL_REFUSE;
}

/* own_row makes what is known of a column of a row; NULL: it is gone. */
static ConcordOwned *
own_row(HeapTuple tuple, TupleDesc desc, Oid relid)
{
	ConcordOwned *owned = palloc0(sizeof(ConcordOwned));
	bool		isnull;
	bool		here;
	Datum		value;
	char	   *policy;

	owned->column = *DatumGetName(heap_getattr(tuple, OWN_COLUMN, desc, &isnull));
	owned->stored = owned->column;
	owned->owner_name = *DatumGetName(heap_getattr(tuple, OWN_OWNER, desc, &isnull));
	owned->shared = strcmp(NameStr(owned->owner_name), CONCORD_OWNER_SHARED) == 0;
	policy = own_text(tuple, desc, OWN_POLICY);
	if (policy[0] != '\0')
		owned->policy = concord_definition_policy(policy);
	owned->on_local_write = own_local_write(own_text(tuple, desc, OWN_LOCAL_WRITE));
	value = heap_getattr(tuple, OWN_MAPPING, desc, &isnull);
	owned->mapping = isnull ? 0 : DatumGetInt32(value);

	here = strcmp(own_text(tuple, desc, OWN_HOME), concord_catalog_home()) == 0;
	owned->attnum = DatumGetInt16(heap_getattr(tuple, OWN_ATTNUM, desc, &isnull));
	if (!here || isnull)
		owned->attnum = get_attnum(relid, NameStr(owned->column));
	else
	{
		char	   *name = get_attname(relid, owned->attnum, true);

		if (name == NULL)
			owned->attnum = InvalidAttrNumber;
		else
			namestrcpy(&owned->column, name);
	}
	if (!owned->shared)
	{
		value = heap_getattr(tuple, OWN_OWNERID, desc, &isnull);
		owned->owner = here && !isnull ? DatumGetObjectId(value) :
			get_foreign_server_oid(NameStr(owned->owner_name), true);
	}
	return owned->attnum == InvalidAttrNumber ? NULL : owned;
}

/* own_order sorts by column. */
static int
own_order(const ListCell *a, const ListCell *b)
{
	return ((ConcordOwned *) lfirst(a))->attnum -
		((ConcordOwned *) lfirst(b))->attnum;
}

/* own_read reads the rows of a table. */
static List *
own_read(Oid relid)
{
	Oid			concord = get_namespace_oid("concord", true);
	Oid			table = get_relname_relid("ownership_item", concord);
	Oid			index = get_relname_relid("ownership_item_pkey", concord);
	List	   *list = NIL;
	Relation	rel;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(table))
		return NIL;
	rel = table_open(table, AccessShareLock);
	ScanKeyInit(&key, OWN_SOURCE, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(rel, index, OidIsValid(index), NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		ConcordOwned *owned = own_row(tuple, RelationGetDescr(rel), relid);

		if (owned != NULL)
			list = lappend(list, owned);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	list_sort(list, own_order);
	return list;
}

/* own_fill reads an entry anew. */
static void
own_fill(OwnEntry *entry)
{
	MemoryContext old;

	entry->owned = NIL;
	if (entry->context != NULL)
		MemoryContextReset(entry->context);
	else
		entry->context = AllocSetContextCreate(CacheMemoryContext,
											   "concord ownership",
											   ALLOCSET_SMALL_SIZES);
	/* a message that arrives while we read invalidates the result */
	entry->valid = true;
	old = MemoryContextSwitchTo(entry->context);
	PG_TRY();
	{
		entry->owned = own_read(entry->relid);
	}
	PG_CATCH();
	{
		entry->valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
}

/* concord_ownership lists what is known of a table's columns. */
List *
concord_ownership(Oid relid)
{
	OwnEntry   *entry;
	bool		found;

	if (own_cache == NULL)
		own_start();
	entry = hash_search(own_cache, &relid, HASH_ENTER, &found);
	if (!found)
	{
		entry->valid = false;
		entry->context = NULL;
		entry->owned = NIL;
	}
	for (int tries = 0; !entry->valid && tries < 10; tries++)
		own_fill(entry);
	return entry->owned;
}

/* concord_ownership_column finds one column. */
const ConcordOwned *
concord_ownership_column(Oid relid, AttrNumber attnum)
{
	ListCell   *lc;

	foreach(lc, concord_ownership(relid))
	{
		const ConcordOwned *owned = lfirst(lc);

		if (owned->attnum == attnum)
			return owned;
	}
	return NULL;
}

/* concord_ownership_pushed says whether a field is sent to a server. */
bool
concord_ownership_pushed(const ConcordMapping *mapping,
						 const ConcordField *field, Oid serverid)
{
	return !mapping->push_off &&
		(field->shared || !OidIsValid(field->owner) || field->owner != serverid);
}

/*
 * concord_ownership_resolve sets owners and directions of a mapping's fields.
 * Nothing that is cached will do: a worker that loads mappings is told of a
 * commit a moment before the messages come that empty its caches.  A column's
 * name is right in the row that was committed with it.
 */
void
concord_ownership_resolve(ConcordMapping *mapping)
{
	List	   *all = OidIsValid(mapping->source) ?
		own_read(mapping->source) : NIL;
	ListCell   *lc;
	ListCell   *lo;

	mapping->pulls = false;
	foreach(lc, mapping->fields)
	{
		ConcordField *field = lfirst(lc);

		field->owner = InvalidOid;
		field->shared = false;
		field->policy = CONCORD_POLICY_NONE;
		foreach(lo, all)
		{
			const ConcordOwned *owned = lfirst(lo);

			if (field->column == NULL ||
				(strcmp(NameStr(owned->column), field->column) != 0 &&
				 strcmp(NameStr(owned->stored), field->column) != 0))
				continue;
			field->owner = owned->owner;
			field->shared = owned->shared;
			field->policy = owned->policy;
		}
		field->pushed = concord_ownership_pushed(mapping, field,
												 mapping->serverid);
		field->pulled = field->shared ||
			(OidIsValid(field->owner) && field->owner == mapping->serverid);
		mapping->pulls |= field->pulled;
	}
}

/* concord_ownership_same: two readings of a version have the same owners. */
bool
concord_ownership_same(const ConcordMapping *a, const ConcordMapping *b)
{
	ListCell   *la;
	ListCell   *lb;

	forboth(la, a->fields, lb, b->fields)
	{
		const ConcordField *x = lfirst(la);
		const ConcordField *y = lfirst(lb);

		if (x->owner != y->owner || x->shared != y->shared ||
			x->policy != y->policy)
			return false;
	}
	return true;
}

/* own_forget sends the message that empties the cache's entry of a row. */
static void
own_forget(HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	Datum		value = heap_getattr(tuple, OWN_SOURCE, desc, &isnull);

	if (!isnull &&
		SearchSysCacheExists1(RELOID, value))
		CacheInvalidateRelcacheByRelid(DatumGetObjectId(value));
}

/* concord_ownership_changed is the trigger after a row was written. */
Datum
concord_ownership_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	desc;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a trigger",
						"concord.ownership_changed")));
	desc = RelationGetDescr(trigger->tg_relation);
	own_forget(trigger->tg_trigtuple, desc);
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		own_forget(trigger->tg_newtuple, desc);
	return PointerGetDatum(NULL);
}

/*
 * concord_ownership_restored is the trigger before a row is inserted.  One that
 * comes from another database has numbers of there; names are what counts.
 */
Datum
concord_ownership_restored(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	HeapTuple	tuple;
	TupleDesc	desc;
	int			columns[3] = {OWN_ATTNUM, OWN_OWNERID, OWN_HOME};
	Datum		values[3];
	bool		nulls[3] = {false, false, false};
	bool		isnull;
	Oid			relid;
	Oid			owner;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a trigger",
						"concord.ownership_restored")));
	tuple = trigger->tg_trigtuple;
	desc = RelationGetDescr(trigger->tg_relation);
	if (strcmp(own_text(tuple, desc, OWN_HOME), concord_catalog_home()) == 0)
		return PointerGetDatum(tuple);
	relid = DatumGetObjectId(heap_getattr(tuple, OWN_SOURCE, desc, &isnull));
	values[0] = Int16GetDatum(get_attnum(relid,
										 NameStr(*DatumGetName(heap_getattr(tuple, OWN_COLUMN, desc, &isnull)))));
	nulls[0] = DatumGetInt16(values[0]) == InvalidAttrNumber;
	owner = get_foreign_server_oid(NameStr(*DatumGetName(heap_getattr(tuple, OWN_OWNER, desc, &isnull))),
								   true);
	values[1] = ObjectIdGetDatum(owner);
	nulls[1] = !OidIsValid(owner);
	values[2] = CStringGetTextDatum(concord_catalog_home());
	return PointerGetDatum(heap_modify_tuple_by_cols(tuple, desc, 3, columns,
													 values, nulls));
}
