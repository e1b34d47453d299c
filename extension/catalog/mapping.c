/*-------------------------------------------------------------------------
 *
 * mapping.c
 *	  Typed rows of concord.mapping and concord.mapping_version.
 *
 * Rows are read and written through SPI as the extension's owner, so that a
 * caller needs no rights on the tables; who may do what is decided above.
 *
 * A mapping whose home is another database than this one is a copy: it was
 * restored from a dump or cloned, and must not send anything.  The trigger
 * below says so where rows are restored one by one; what was cloned as files
 * is noticed whenever a row is read.
 *
 *-------------------------------------------------------------------------
 */
#include "catalog/mapping.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "base/shmem.h"
#include "catalog/indexing.h"
#include "catalog/mapping_definition.h"
#include "catalog/namespace.h"
#include "catalog/ownership.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(concord_mapping_home);
PG_FUNCTION_INFO_V1(concord_mapping_restored);
PG_FUNCTION_INFO_V1(concord_definition_changed);

/* Columns of map_query, in order. */
enum
{
	MAP_ID = 1, MAP_NAME, MAP_STATE, MAP_REASON, MAP_SOURCE, MAP_TOPIC, MAP_FOREIGN,
	MAP_SERVERID, MAP_SERVER, MAP_OBJECT, MAP_DEFINER, MAP_DEFINER_OID,
	MAP_SEARCH_PATH, MAP_HOME, MAP_VERSION, MAP_DEFINITION,
	MAP_DEPENDS_NAMES, MAP_DEPENDS_TABLES
};

#define MAP_QUERY \
	"SELECT m.id, m.name::text, m.state, m.state_reason, m.source::oid," \
	" m.topic, m.foreign_table::oid, m.serverid, m.server::text, m.object, m.definer::text," \
	" m.definer_oid, m.search_path, m.home, m.version, v.definition," \
	" (SELECT array_agg(d.name ORDER BY d.name) FROM concord.mapping_depends d" \
	"  WHERE d.mapping OPERATOR(pg_catalog.=) m.id)," \
	" (SELECT array_agg(d.source::oid ORDER BY d.name) FROM concord.mapping_depends d" \
	"  WHERE d.mapping OPERATOR(pg_catalog.=) m.id)" \
	" FROM concord.mapping m LEFT JOIN concord.mapping_version v" \
	" ON v.mapping OPERATOR(pg_catalog.=) m.id" \
	" AND v.version OPERATOR(pg_catalog.=) m.version"

ConcordDefaultsHook concord_mapping_defaults_hook = NULL;

/* Why a mapping of a restored database does nothing, and what to do. */
static const char map_restored[] = "the mapping comes from another database; concord.activate() makes it this one's";

static const char *const map_state_names[] = {
	[CONCORD_MAPPING_ACTIVE] = "active",
	[CONCORD_MAPPING_PAUSED] = "paused",
	[CONCORD_MAPPING_RESTORED] = "restored",
	[CONCORD_MAPPING_STALE] = "stale",
	[CONCORD_MAPPING_DENIED] = "denied",
	[CONCORD_MAPPING_BROKEN] = "broken",
};

/* concord_mapping_state_name returns a state as it is stored. */
const char *
concord_mapping_state_name(ConcordMappingState state)
{
	return map_state_names[state];
}

/* map_state reads a stored state. */
static ConcordMappingState
map_state(const char *name)
{
	for (int i = 0; i < lengthof(map_state_names); i++)
	{
		if (strcmp(name, map_state_names[i]) == 0)
			return i;
	}
	elog(ERROR, "unrecognized mapping state \"%s\"", name);
}

/* map_owner returns the role that owns our tables. */
static Oid
map_owner(void)
{
	Oid			relid = get_relname_relid("mapping",
										  get_namespace_oid("concord", false));
	HeapTuple	tuple;
	Oid			owner;

	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("extension \"%s\" is not installed in this database",
						"pg_concord")));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

/* concord_catalog_enter opens a section that reads or writes our tables. */
void
concord_catalog_enter(ConcordCatalogScope *scope)
{
	Oid			owner = map_owner();

	GetUserIdAndSecContext(&scope->userid, &scope->sec_context);
	SetUserIdAndSecContext(owner,
						   scope->sec_context | SECURITY_LOCAL_USERID_CHANGE);
	scope->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

/* concord_catalog_leave closes it. */
void
concord_catalog_leave(ConcordCatalogScope *scope)
{
	SPI_finish();
	AtEOXact_GUC(false, scope->guc_level);
	SetUserIdAndSecContext(scope->userid, scope->sec_context);
}

/* concord_catalog_require_owner raises unless the user owns the extension. */
void
concord_catalog_require_owner(const char *function)
{
	Oid			owner = map_owner();

	if (!has_privs_of_role(GetUserId(), owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for function %s", function),
				 errdetail("Only superusers and the owner of extension \"%s\", role \"%s\", may call it.",
						   "pg_concord", GetUserNameFromId(owner, true))));
}

/* concord_catalog_home says who this database is. */
char *
concord_catalog_home(void)
{
	return psprintf(UINT64_FORMAT "/%u", GetSystemIdentifier(), MyDatabaseId);
}

/* map_text returns a column of the current SPI result as text, or NULL. */
static char *
map_text(HeapTuple tuple, TupleDesc desc, int column)
{
	return SPI_getvalue(tuple, desc, column);
}

/* map_oid returns a column of type oid, or InvalidOid. */
static Oid
map_oid(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, desc, column, &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(value);
}

/*
 * map_member_order sorts column names as jsonb sorts members, so that a local
 * key that we write equals the same key read back from a jsonb column.
 */
static int
map_member_order(const ListCell *a, const ListCell *b)
{
	const char *x = lfirst(a);
	const char *y = lfirst(b);
	size_t		xlen = strlen(x);
	size_t		ylen = strlen(y);

	if (xlen != ylen)
		return xlen < ylen ? -1 : 1;
	return memcmp(x, y, xlen);
}

/*
 * map_key_index returns the index that is a table's replica identity, or its
 * primary key, or InvalidOid.  It reads the catalog, because opening the table
 * would wait for whoever is altering it.
 */
static Oid
map_key_index(Oid relid, bool identity)
{
	Relation	catalog = table_open(IndexRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	Oid			index = InvalidOid;

	ScanKeyInit(&key, Anum_pg_index_indrelid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, IndexIndrelidIndexId, true, NULL, 1,
							  &key);
	while (!OidIsValid(index) && HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_index form = (Form_pg_index) GETSTRUCT(tuple);

		if (identity ? form->indisreplident : form->indisprimary)
			index = form->indexrelid;
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return index;
}

/*
 * map_key_columns names the columns that identify a row, in the order of their
 * index: of the one that is the replica identity, else of the primary key.
 */
static List *
map_key_columns(Oid relid)
{
	HeapTuple	tuple;
	char		replident;
	Oid			index;
	List	   *columns = NIL;

	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relid));
	if (!HeapTupleIsValid(tuple))
		return NIL;
	replident = ((Form_pg_class) GETSTRUCT(tuple))->relreplident;
	ReleaseSysCache(tuple);

	index = map_key_index(relid, replident == REPLICA_IDENTITY_INDEX);
	if (!OidIsValid(index) && replident == REPLICA_IDENTITY_INDEX)
		index = map_key_index(relid, false);
	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	if (!HeapTupleIsValid(tuple))
		return NIL;
	for (int i = 0; i < ((Form_pg_index) GETSTRUCT(tuple))->indnkeyatts; i++)
		columns = lappend(columns,
						  get_attname(relid,
									  ((Form_pg_index) GETSTRUCT(tuple))->indkey.values[i],
									  false));
	ReleaseSysCache(tuple);
	return columns;
}

/* concord_mapping_source_key sets the local key and the default remote key. */
bool
concord_mapping_source_key(ConcordMapping *mapping, MemoryContext context)
{
	MemoryContext old;
	List	   *columns;
	bool		default_key = mapping->key == NIL;
	ListCell   *lc;

	mapping->local_key = NIL;
	if (!OidIsValid(mapping->source))
		return true;
	old = MemoryContextSwitchTo(context);
	columns = map_key_columns(mapping->source);
	mapping->local_key = list_copy(columns);
	list_sort(mapping->local_key, map_member_order);

	foreach(lc, columns)
	{
		ConcordField *field;

		if (!default_key)
			break;
		field = palloc0(sizeof(ConcordField));
		field->name = lfirst(lc);
		field->expression = pstrdup(quote_identifier(lfirst(lc)));
		mapping->key = lappend(mapping->key, field);
	}
	MemoryContextSwitchTo(old);
	return columns != NIL;
}

/* map_broken notes why a mapping cannot work, unless it has a state already. */
static void
map_broken(ConcordMapping *mapping, const char *reason)
{
	if (mapping->state != CONCORD_MAPPING_ACTIVE)
		return;
	mapping->state = CONCORD_MAPPING_BROKEN;
	mapping->state_reason = pstrdup(reason);
}

/*
 * map_parse reads the definition.  One that this version cannot read (it came
 * with a dump of another) breaks its own mapping only.  The code inside the
 * bracket allocates memory and raises, and takes no lock or resource.
 */
static void
map_parse(ConcordMapping *mapping, Jsonb *definition)
{
	MemoryContext context = CurrentMemoryContext;

	PG_TRY();
	{
		concord_definition_parse(mapping, definition);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		map_broken(mapping, error->message);
		FreeErrorData(error);
	}
	PG_END_TRY();
}

/* map_array reads an array that has no nulls; 0 elements where it is NULL. */
static int
map_array(HeapTuple tuple, TupleDesc desc, int column, Oid type,
		  Datum **elements)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, desc, column, &isnull);
	int16		len;
	bool		byval;
	char		align;
	int			n = 0;

	if (isnull)
		return 0;
	get_typlenbyvalalign(type, &len, &byval, &align);
	deconstruct_array(DatumGetArrayTypeP(value), type, len, byval, align,
					  elements, NULL, &n);
	return n;
}

/*
 * map_depends says which tables those are that a mapping depends on: they are
 * named when it is defined, and may have been renamed since.
 */
static void
map_depends(ConcordMapping *mapping, HeapTuple tuple, TupleDesc desc)
{
	Datum	   *names;
	Datum	   *tables;
	int			n;
	ListCell   *lc;

	if (mapping->options.depends == NIL)
		return;
	n = map_array(tuple, desc, MAP_DEPENDS_NAMES, TEXTOID, &names);
	if (map_array(tuple, desc, MAP_DEPENDS_TABLES, OIDOID, &tables) != n)
		n = 0;
	foreach(lc, mapping->options.depends)
	{
		ConcordDepend *depend = lfirst(lc);

		for (int i = 0; i < n; i++)
		{
			if (strcmp(TextDatumGetCString(names[i]), depend->table) == 0)
				depend->relid = DatumGetObjectId(tables[i]);
		}
		if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(depend->relid)))
		{
			depend->relid = InvalidOid;
			map_broken(mapping, psprintf("table %s, on which it depends, is gone",
										 depend->table));
		}
	}
}

/*
 * concord_mapping_written_options: a row that was written is a part of a record,
 * so each is sent, in its order, and none stands for another.
 */
void
concord_mapping_written_options(ConcordMapping *mapping)
{
	if (!mapping->written)
		return;
	mapping->options.replay_events = mapping->options.replay_given = true;
	mapping->options.suppress_unchanged = false;
	mapping->options.unchanged_given = true;
}

/*
 * map_row makes a mapping of a row of MAP_QUERY, in the current context.  The
 * OIDs of definer and server are another database's where the home is.
 */
static ConcordMapping *
map_row(HeapTuple tuple, TupleDesc desc)
{
	ConcordMapping *mapping = palloc0(sizeof(ConcordMapping));
	ForeignServer *server;
	char	   *object;
	char	   *role;
	bool		isnull;
	Datum		value;

	mapping->id = DatumGetInt32(SPI_getbinval(tuple, desc, MAP_ID, &isnull));
	mapping->version = DatumGetInt32(SPI_getbinval(tuple, desc, MAP_VERSION,
												   &isnull));
	mapping->name = map_text(tuple, desc, MAP_NAME);
	mapping->state = map_state(map_text(tuple, desc, MAP_STATE));
	mapping->state_reason = map_text(tuple, desc, MAP_REASON);
	mapping->source = map_oid(tuple, desc, MAP_SOURCE);
	mapping->topic = map_text(tuple, desc, MAP_TOPIC);
	mapping->written = mapping->topic != NULL &&
		strncmp(mapping->topic, CONCORD_TOPIC_WRITE,
				strlen(CONCORD_TOPIC_WRITE)) == 0;
	mapping->foreign_table = map_oid(tuple, desc, MAP_FOREIGN);
	mapping->serverid = map_oid(tuple, desc, MAP_SERVERID);
	mapping->server = map_text(tuple, desc, MAP_SERVER);
	mapping->definer_name = map_text(tuple, desc, MAP_DEFINER);
	mapping->definer = map_oid(tuple, desc, MAP_DEFINER_OID);
	mapping->search_path = map_text(tuple, desc, MAP_SEARCH_PATH);
	object = map_text(tuple, desc, MAP_OBJECT);

	if (strcmp(map_text(tuple, desc, MAP_HOME), concord_catalog_home()) != 0)
	{
		mapping->state = CONCORD_MAPPING_RESTORED;
		mapping->state_reason = pstrdup(map_restored);
		mapping->definer = get_role_oid(mapping->definer_name, true);
		mapping->serverid = get_foreign_server_oid(mapping->server, true);
	}
	role = GetUserNameFromId(mapping->definer, true);
	if (role != NULL)
		mapping->definer_name = role;
	else
		mapping->definer = InvalidOid;

	value = SPI_getbinval(tuple, desc, MAP_DEFINITION, &isnull);
	if (isnull)
		map_broken(mapping, "the definition is missing");
	else
		map_parse(mapping, DatumGetJsonbPCopy(value));
	map_depends(mapping, tuple, desc);
	concord_mapping_written_options(mapping);
	if (mapping->object == NULL)
		mapping->object = object;

	server = GetForeignServerExtended(mapping->serverid, FSV_MISSING_OK);
	if (server != NULL)
		mapping->server = server->servername;
	else
		map_broken(mapping, "the server is gone");

	if (OidIsValid(mapping->source) &&
		!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(mapping->source)))
		map_broken(mapping, "the table is gone");
	else if (!concord_mapping_source_key(mapping, CurrentMemoryContext))
		map_broken(mapping, "the table has no primary key any more");
	concord_ownership_resolve(mapping);
	return mapping;
}

/*
 * map_read runs MAP_QUERY with a condition on $1 (int4 or text; NULL for all)
 * and returns the mappings in context.
 */
static List *
map_read(const char *condition, Oid type, Datum value, MemoryContext context)
{
	ConcordCatalogScope scope;
	List	   *mappings = NIL;
	char	   *query;
	MemoryContext old;

	concord_catalog_enter(&scope);
	query = psprintf("%s%s ORDER BY m.id", MAP_QUERY, condition);
	if (SPI_execute_with_args(query, type == InvalidOid ? 0 : 1, &type, &value,
							  NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.mapping");
	old = MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < SPI_processed; i++)
		mappings = lappend(mappings, map_row(SPI_tuptable->vals[i],
											 SPI_tuptable->tupdesc));
	if (concord_mapping_defaults_hook != NULL)
		concord_mapping_defaults_hook(mappings);
	MemoryContextSwitchTo(old);
	concord_catalog_leave(&scope);
	return mappings;
}

/* concord_mapping_load reads all mappings of this database. */
List *
concord_mapping_load(MemoryContext context)
{
	return map_read("", InvalidOid, (Datum) 0, context);
}

/* concord_mapping_find reads one mapping, or returns NULL. */
ConcordMapping *
concord_mapping_find(const char *name, MemoryContext context)
{
	List	   *mappings;

	mappings = map_read(" WHERE m.name OPERATOR(pg_catalog.=) $1::pg_catalog.name",
						TEXTOID, CStringGetTextDatum(name), context);
	return mappings == NIL ? NULL : linitial(mappings);
}

/* concord_mapping_by_name reads one mapping. */
ConcordMapping *
concord_mapping_by_name(const char *name, MemoryContext context)
{
	ConcordMapping *mapping = concord_mapping_find(name, context);

	if (mapping == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("mapping \"%s\" does not exist", name),
				 errhint("Mappings are listed in %s.", "concord.mapping")));
	return mapping;
}

/* concord_mapping_by_id reads one mapping, or returns NULL. */
ConcordMapping *
concord_mapping_by_id(int32 id, MemoryContext context)
{
	List	   *mappings;

	mappings = map_read(" WHERE m.id OPERATOR(pg_catalog.=) $1", INT4OID,
						Int32GetDatum(id), context);
	return mappings == NIL ? NULL : linitial(mappings);
}

/* map_move changes a mapping's state and reason; from NULL: any state. */
static void
map_move(int32 mapping, const char *from, const char *to, const char *reason)
{
	ConcordCatalogScope scope;
	Oid			types[4] = {INT4OID, TEXTOID, TEXTOID, TEXTOID};
	Datum		values[4] = {Int32GetDatum(mapping)};
	char		nulls[5] = "    ";
	const char *texts[4] = {NULL, to, reason, from};

	for (int i = 1; i < 4; i++)
	{
		if (texts[i] != NULL)
			values[i] = CStringGetTextDatum(texts[i]);
		else
			nulls[i] = 'n';
	}
	concord_catalog_enter(&scope);
	if (SPI_execute_with_args("UPDATE concord.mapping"
							  " SET state = $2, state_reason = $3"
							  " WHERE id = $1 AND ($4 IS NULL OR state = $4)",
							  4, types, values, nulls, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not change concord.mapping");
	concord_catalog_leave(&scope);
	concord_catalog_changed();
}

/* concord_mapping_set_state changes a mapping's state, whatever it was. */
void
concord_mapping_set_state(int32 mapping, ConcordMappingState state,
						  const char *reason)
{
	map_move(mapping, NULL, map_state_names[state], reason);
}

/* concord_mapping_move_state changes a mapping's state where it is still from. */
void
concord_mapping_move_state(int32 mapping, ConcordMappingState from,
						   ConcordMappingState to, const char *reason)
{
	map_move(mapping, map_state_names[from], map_state_names[to], reason);
}

/* concord_mapping_home is concord.home(). */
Datum
concord_mapping_home(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(concord_catalog_home()));
}

/* concord_mapping_restored is the trigger before a row is inserted. */
Datum
concord_mapping_restored(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	HeapTuple	tuple;
	char	   *home;
	char	   *state;
	int			columns[3];
	Datum		values[3];
	bool		nulls[3] = {false, false, false};

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a trigger",
						"concord.mapping_restored")));
	tuple = trigger->tg_trigtuple;
	desc = RelationGetDescr(trigger->tg_relation);
	home = SPI_getvalue(tuple, desc, SPI_fnumber(desc, "home"));
	if (home != NULL && strcmp(home, concord_catalog_home()) == 0)
		return PointerGetDatum(tuple);

	state = SPI_getvalue(tuple, desc, SPI_fnumber(desc, "state"));
	if (state != NULL &&
		strcmp(state, map_state_names[CONCORD_MAPPING_RESTORED]) == 0)
		return PointerGetDatum(tuple);
	columns[0] = SPI_fnumber(desc, "state");
	values[0] = CStringGetTextDatum(map_state_names[CONCORD_MAPPING_RESTORED]);
	columns[1] = SPI_fnumber(desc, "state_reason");
	values[1] = CStringGetTextDatum(map_restored);
	columns[2] = SPI_fnumber(desc, "was_paused");
	values[2] = BoolGetDatum(state != NULL &&
							 strcmp(state, map_state_names[CONCORD_MAPPING_PAUSED]) == 0);
	tuple = heap_modify_tuple_by_cols(tuple, desc, 3, columns, values, nulls);
	return PointerGetDatum(tuple);
}

/* concord_definition_changed is the trigger on tables of definitions. */
Datum
concord_definition_changed(PG_FUNCTION_ARGS)
{
	concord_catalog_changed();
	return PointerGetDatum(NULL);
}
