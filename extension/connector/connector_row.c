/*-------------------------------------------------------------------------
 *
 * connector_row.c
 *	  Rows of concord.connector: parse, check, load.
 *
 * A definition is one JSON object.  Its members are rows of a table here, each
 * with the function that reads it (definition.h); an unknown one is refused by
 * name when the row is written, for a trigger on the table calls the same
 * parser.  What is left out has the protocol's
 * default, which is CONTRACT.md's behaviour of that connector.
 *
 * A row may extend another (member "extends"): members that it states replace
 * that one's, its outcome rules come before them.  Whether the other is there
 * is looked at after the statement, so that a dump may have them in any order.
 *
 * The table is read without privilege checks and without SPI: whoever may use
 * a server may use its connector.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/definition.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/shmem.h"
#include "catalog/namespace.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/server_options.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "connector/protocols.h"
#include "connector/template.h"
#include "connector/rules.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

/* Columns of concord.connector. */
#define Anum_connector_name			1
#define Anum_connector_protocol		2
#define Anum_connector_definition	4
#define Anum_connector_builtin		5

#define AT(field)	offsetof(ConcordConnector, field)

#define ROW_MAX_EXTENDS		8

static void row_extends(ConcordConnector *connector,
						const ConcordMember *member, JsonbValue *value);

static const ConcordMember row_members[] = {
	{"create", concord_member_request, AT(verbs[CONCORD_VERB_CREATE])},
	{"update", concord_member_request, AT(verbs[CONCORD_VERB_UPDATE])},
	{"delete", concord_member_request, AT(verbs[CONCORD_VERB_DELETE])},
	{"probe", concord_member_request, AT(verbs[CONCORD_VERB_PROBE])},
	{"find", concord_member_request, AT(verbs[CONCORD_VERB_FIND])},
	{"lookup", concord_member_request, AT(verbs[CONCORD_VERB_LOOKUP])},
	{"rename", concord_member_request, AT(verbs[CONCORD_VERB_RENAME])},
	{"create_repeats", concord_member_choice, AT(create_repeats), "no|yes"},
	{"key_change", concord_member_choice, AT(key_is_fixed), "update|recreate"},
	{"key_case", concord_member_choice, AT(key_folds), "exact|upper"},
	{"find_path", concord_member_path, AT(find_path)},
	{"record_path", concord_member_path, AT(record_path)},
	{"extends", row_extends},
	{"remote_id_path", concord_member_path, AT(remote_id_path)},
	{"remote_id", concord_member_choice, AT(remote_id_assigned), "key|assigned"},
	{"unchanged", concord_member_choice, AT(suppress_default), "send|suppress"},
	{"replay", concord_member_choice, AT(replay_events_default), "state|events"},
	{"upsert", concord_member_text, AT(upsert_default), "post|put|patch"},
	{"if_match", concord_member_text, AT(if_match_default), "etag|star|none"},
	{"headers", concord_member_headers},
	{"idempotency_header", concord_member_header, AT(idempotency_header)},
	{"remote_id_type", concord_member_text, AT(remote_id_type), "text|number|uuid"},
	{"version", concord_member_choice, AT(odata2), "v4|v2"},
	{"key_names", concord_member_choice, AT(key_names), "auto|always"},
	{"message_path", concord_member_paths, AT(message_paths)},
	{"outcomes", concord_member_outcomes},
	{"limits", concord_member_limits},
	{"batch", concord_member_batch},
	{"read", concord_member_read},
	{"receive", concord_member_receive},
	{"pull", concord_member_pull},
};

/* How verbs are sent where a row says nothing else. */
static const char *const row_methods[CONCORD_VERBS] = {
	[CONCORD_VERB_CREATE] = "POST",
	[CONCORD_VERB_UPDATE] = "PATCH",
	[CONCORD_VERB_DELETE] = "DELETE",
	[CONCORD_VERB_PROBE] = "GET",
	[CONCORD_VERB_FIND] = "GET",
	[CONCORD_VERB_LOOKUP] = "GET",
	[CONCORD_VERB_RENAME] = "PATCH",
};

static const char *const row_names[CONCORD_VERBS] = {
	[CONCORD_VERB_CREATE] = "create",
	[CONCORD_VERB_UPDATE] = "update",
	[CONCORD_VERB_DELETE] = "delete",
	[CONCORD_VERB_PROBE] = "probe",
	[CONCORD_VERB_FIND] = "find",
	[CONCORD_VERB_LOOKUP] = "lookup",
	[CONCORD_VERB_RENAME] = "rename",
};

/* Paths of protocol "rest"; the others address records in their own way. */
static const char *const row_paths[CONCORD_VERBS] = {
	[CONCORD_VERB_CREATE] = "{object}",
	[CONCORD_VERB_UPDATE] = "{object}/{key}",
	[CONCORD_VERB_DELETE] = "{object}/{key}",
	[CONCORD_VERB_PROBE] = "{object}/{key}",
	/* find: where a row has none, the system cannot be asked by our key */
	/* lookup: where a row has none, it is as probe */
	/* rename: where a row has none, key_change says what a changed key does */
};

PG_FUNCTION_INFO_V1(concord_connector_check);
PG_FUNCTION_INFO_V1(concord_connector_check_all);

/* row_default_verbs completes verbs that a row says nothing of. */
static void
row_default_verbs(ConcordConnector *connector)
{
	if ((connector->verbs[CONCORD_VERB_FIND].path != NULL) !=
		(connector->find_path != NULL))
		concord_member_bad("find", "needs a path and \"find_path\" beside it");
	for (int i = 0; i < CONCORD_VERBS; i++)
	{
		ConcordVerbRow *row = &connector->verbs[i];
		JsonbValue	path;

		if (row->method == NULL)
			row->method = (char *) (connector->odata2 &&
									i == CONCORD_VERB_UPDATE ? "MERGE" :
									row_methods[i]);
		if (connector->protocol == &concord_protocol_odata &&
			(row->path != NULL || row->shape != NULL))
			concord_member_bad(row_names[i],
							   "has more than a method: protocol \"odata\" writes its requests itself");
		if (row->path != NULL || row_paths[i] == NULL ||
			connector->protocol != &concord_protocol_rest)
			continue;
		path.type = jbvString;
		path.val.string.val = (char *) row_paths[i];
		path.val.string.len = strlen(row_paths[i]);
		row->path = concord_template_parse("path", &path,
										   CONCORD_TEMPLATE_PATH,
										   false);
	}
}

/* row_extends checks that the name of another row is a text; see row_base. */
static void
row_extends(ConcordConnector *connector, const ConcordMember *member,
			JsonbValue *value)
{
	if (value->type != jbvString)
		concord_member_bad(member->name, "is not the name of a connector");
}

/* row_start makes a connector with its protocol's defaults. */
static ConcordConnector *
row_start(const char *name, const char *protocol)
{
	ConcordConnector *connector = palloc0(sizeof(ConcordConnector));

	connector->name = pstrdup(name);
	connector->protocol_name = pstrdup(protocol);
	connector->protocol = concord_protocol_find(protocol);
	if (connector->protocol == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("protocol \"%s\" of connector \"%s\" is not known",
						protocol, name),
				 errhint("This version has rest, odata and webhook.")));
	connector->suppress_default = true;
	connector->upsert_default = "post";
	connector->if_match_default = "etag";
	connector->idempotency_header = "Idempotency-Key";
	return connector;
}

/* row_apply takes the members of a definition over that are not null. */
static void
row_apply(ConcordConnector *connector, const char *name, Jsonb *definition)
{
	const char *names[lengthof(row_members)];

	if (!JB_ROOT_IS_OBJECT(definition))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid connector definition"),
				 errdetail("It is not a JSON object.")));
	for (int i = 0; i < lengthof(row_members); i++)
		names[i] = row_members[i].name;
	concord_member_names(&definition->root, names, lengthof(row_members));
	connector->parsing = pstrdup(name);
	for (int i = 0; i < lengthof(row_members); i++)
	{
		const ConcordMember *member = &row_members[i];
		JsonbValue	v;

		if (concord_member_get(&definition->root, member->name, &v) != NULL &&
			v.type != jbvNull)
			member->parse(connector, member, &v);
	}
}

/* row_missing raises that no connector has this name. */
static void
row_missing(const char *name, List *names)
{
	const char **array = palloc(sizeof(char *) * (list_length(names) + 1));
	const char *closest;
	int			n = 0;
	ListCell   *lc;

	foreach(lc, names)
		array[n++] = lfirst(lc);
	closest = concord_option_closest(name, array, n);
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("connector \"%s\" does not exist", name),
			 closest != NULL ?
			 errhint("Perhaps you meant \"%s\".", closest) :
			 errhint("Table concord.connector lists the connectors.")));
}

/* A row as it is read. */
typedef struct RowTuple
{
	char	   *name;
	char	   *protocol;
	Jsonb	   *definition;
} RowTuple;

/* row_take copies what a tuple has. */
static void
row_take(RowTuple *row, HeapTuple tup, TupleDesc desc)
{
	bool		isnull;

	row->name = pstrdup(NameStr(*DatumGetName(heap_getattr(tup, Anum_connector_name,
														   desc, &isnull))));
	row->protocol = TextDatumGetCString(heap_getattr(tup, Anum_connector_protocol,
													 desc, &isnull));
	row->definition = DatumGetJsonbPCopy(heap_getattr(tup, Anum_connector_definition,
													  desc, &isnull));
}

/* row_all reads all rows, of which there are a few dozen. */
static List *
row_all(void)
{
	Oid			relid = get_relname_relid("connector",
										  get_namespace_oid("concord", false));
	Relation	rel = table_open(relid, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	List	   *rows = NIL;
	HeapTuple	tup;

	while (HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		RowTuple   *row = palloc(sizeof(RowTuple));

		row_take(row, tup, RelationGetDescr(rel));
		rows = lappend(rows, row);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return rows;
}

/* row_find returns the row of a name or NULL. */
static RowTuple *
row_find(List *rows, const char *name)
{
	ListCell   *lc;

	foreach(lc, rows)
	{
		RowTuple   *row = lfirst(lc);

		if (strcmp(row->name, name) == 0)
			return row;
	}
	return NULL;
}

/* row_base returns the row that a row extends, or NULL; raises if it is wrong. */
static RowTuple *
row_base(List *rows, const RowTuple *row)
{
	RowTuple   *base;
	char	   *name;

	if (!JB_ROOT_IS_OBJECT(row->definition))
		return NULL;			/* row_apply says so */
	name = concord_member_of(&row->definition->root, "extends");
	if (name == NULL)
		return NULL;
	base = row_find(rows, name);
	if (base == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("connector \"%s\" extends \"%s\", which does not exist",
						row->name, name),
				 errhint("Table concord.connector lists the connectors.")));
	if (strcmp(base->protocol, row->protocol) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("connector \"%s\" extends \"%s\", which has another protocol",
						row->name, name),
				 errdetail("They are \"%s\" and \"%s\".", row->protocol,
						   base->protocol)));
	return base;
}

/* row_success says whether a rule may hold for an answer of success. */
static bool
row_success(const ConcordOutcomeRule *rule)
{
	for (int i = 0; i < rule->nstatuses; i++)
	{
		if (rule->statuses[i].low < 300 && rule->statuses[i].high >= 200)
			return true;
	}
	return rule->nstatuses == 0;
}

/* row_load makes a connector of its row and those that it extends. */
static ConcordConnector *
row_load(List *rows, const RowTuple *row)
{
	const RowTuple *chain[ROW_MAX_EXTENDS];
	ConcordConnector *connector = row_start(row->name, row->protocol);
	int			n = 0;
	ListCell   *lc;

	for (const RowTuple *at = row; at != NULL; at = row_base(rows, at))
	{
		if (n == ROW_MAX_EXTENDS)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("connector \"%s\" extends itself, or more than %d others in a row",
							row->name, ROW_MAX_EXTENDS - 1),
					 errhint("Change member \"extends\" of one of them.")));
		chain[n++] = at;
	}
	while (n-- > 0)
		row_apply(connector, chain[n]->name, chain[n]->definition);
	row_default_verbs(connector);
	foreach(lc, connector->rules)
		connector->rules_of_success |= row_success(lfirst(lc));
	connector->rules = list_concat(connector->rules, concord_rules_default());
	return connector;
}

/* concord_connector_load reads and parses the row of that name. */
ConcordConnector *
concord_connector_load(const char *name, bool missing_ok,
					   MemoryContext context)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext,
												  "concord connectors",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	List	   *rows = row_all();
	RowTuple   *row = row_find(rows, name);
	ConcordConnector *connector = NULL;

	if (row == NULL && !missing_ok)
	{
		List	   *names = NIL;
		ListCell   *lc;

		foreach(lc, rows)
			names = lappend(names, ((RowTuple *) lfirst(lc))->name);
		row_missing(name, names);
	}
	MemoryContextSwitchTo(context);
	if (row != NULL)
		connector = row_load(rows, row);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return connector;
}

/* row_check_unused raises where a server has the connector of that name. */
static void
row_check_unused(const char *name)
{
	Oid			wrapper = get_foreign_data_wrapper_oid("concord", true);
	Relation	rel = table_open(ForeignServerRelationId, AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tup;

	while (HeapTupleIsValid(tup = systable_getnext(scan)))
	{
		Form_pg_foreign_server form = (Form_pg_foreign_server) GETSTRUCT(tup);
		const char *connector;

		if (form->srvfdw != wrapper)
			continue;
		connector = concord_option_get(GetForeignServer(form->oid)->options,
									   "connector");
		if (connector != NULL && strcmp(connector, name) == 0)
			ereport(ERROR,
					(errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
					 errmsg("connector \"%s\" is in use by server \"%s\"", name,
							NameStr(form->srvname)),
					 errhint("Give the server another one first: ALTER SERVER ... OPTIONS (SET connector ...).")));
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

/* row_builtin says whether a row is of the extension, and this no script of it. */
static bool
row_builtin(HeapTuple tup, TupleDesc desc)
{
	bool		isnull;

	return !creating_extension &&
		DatumGetBool(heap_getattr(tup, Anum_connector_builtin, desc, &isnull));
}

/* row_check_free refuses a row of somebody's own that no dump would carry. */
static void
row_check_free(HeapTuple tup, TupleDesc desc, const char *name)
{
	if (row_builtin(tup, desc))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("connector \"%s\" cannot be \"builtin\"", name),
				 errdetail("Only rows that come with the extension are; no dump carries them.")));
}

/*
 * row_check_builtin refuses to change a connector that came with the
 * extension: no dump would carry the change.  An upgrade script may.
 */
static void
row_check_builtin(HeapTuple tup, TupleDesc desc, const char *name)
{
	if (!row_builtin(tup, desc))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("connector \"%s\" is pg_concord's own", name),
			 errdetail("Rows that are \"builtin\" come with the extension; no dump carries them."),
			 errhint("Insert a row of your own with {\"extends\": \"%s\", ...} and give it to the server.",
					 name)));
}

/* row_check_change refuses to take away, or to rename, what is needed. */
static void
row_check_change(TriggerData *trigdata)
{
	TupleDesc	desc = RelationGetDescr(trigdata->tg_relation);
	HeapTuple	old = trigdata->tg_trigtuple;
	HeapTuple	new = trigdata->tg_newtuple;
	bool		isnull;
	char	   *name;

	if (heap_attisnull(old, Anum_connector_name, desc))
		return;					/* of an insert; NOT NULL refuses it */
	name = pstrdup(NameStr(*DatumGetName(heap_getattr(old, Anum_connector_name,
													  desc, &isnull))));
	if (TRIGGER_FIRED_BY_INSERT(trigdata->tg_event))
	{
		row_check_free(old, desc, name);
		return;
	}
	row_check_builtin(old, desc, name);
	if (TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event))
	{
		if (heap_attisnull(new, Anum_connector_name, desc))
			return;
		row_check_free(new, desc, name);
		if (strcmp(name, NameStr(*DatumGetName(heap_getattr(new, Anum_connector_name,
															desc, &isnull)))) == 0)
			return;
	}
	row_check_unused(name);
}

/*
 * concord_connector_check is the row trigger of concord.connector: a row that
 * cannot be parsed, or that is needed as it is, is refused, and workers are
 * told to read again.
 */
Datum
concord_connector_check(PG_FUNCTION_ARGS)
{
	TriggerData *trigdata = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	ConcordConnector *connector;
	HeapTuple	tup;
	RowTuple	row;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigdata->tg_event) ||
		!TRIGGER_FIRED_FOR_ROW(trigdata->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by its trigger",
						"connector_check")));
	concord_catalog_changed();
	row_check_change(trigdata);
	if (TRIGGER_FIRED_BY_DELETE(trigdata->tg_event))
		return PointerGetDatum(trigdata->tg_trigtuple);

	tup = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event) ?
		trigdata->tg_newtuple : trigdata->tg_trigtuple;
	desc = RelationGetDescr(trigdata->tg_relation);
	if (heap_attisnull(tup, Anum_connector_name, desc) ||
		heap_attisnull(tup, Anum_connector_protocol, desc) ||
		heap_attisnull(tup, Anum_connector_definition, desc))
		return PointerGetDatum(tup);	/* NOT NULL refuses it, by name */
	row_take(&row, tup, desc);
	connector = row_start(row.name, row.protocol);
	row_apply(connector, row.name, row.definition);
	row_default_verbs(connector);
	return PointerGetDatum(tup);
}

/*
 * row_invalidate_plans has plans made anew that were made with a connector: a
 * change of it tells what ALTER FOREIGN DATA WRAPPER would.
 */
static void
row_invalidate_plans(void)
{
	Relation	rel = table_open(ForeignDataWrapperRelationId, AccessShareLock);
	HeapTuple	tuple = SearchSysCache1(FOREIGNDATAWRAPPERNAME,
										CStringGetDatum("concord"));

	if (HeapTupleIsValid(tuple))
	{
		CacheInvalidateHeapTuple(rel, tuple, NULL);
		ReleaseSysCache(tuple);
	}
	table_close(rel, AccessShareLock);
}

/*
 * concord_connector_check_all is the statement trigger of concord.connector:
 * what a row extends must be there, also after a change of that, and with all
 * rows of a restored dump in.
 */
Datum
concord_connector_check_all(PG_FUNCTION_ARGS)
{
	List	   *rows;
	ListCell   *lc;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" was not called by its trigger",
						"connector_check_all")));
	if (TRIGGER_FIRED_BY_TRUNCATE(((TriggerData *) fcinfo->context)->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("concord.connector cannot be truncated"),
				 errdetail("Its rows that are \"builtin\" come with the extension."),
				 errhint("Use DELETE for rows of your own.")));
	CommandCounterIncrement();	/* see what the statement has done */
	rows = row_all();
	foreach(lc, rows)
	{
		if (row_base(rows, lfirst(lc)) != NULL)
			row_load(rows, lfirst(lc));
	}
	row_invalidate_plans();
	return PointerGetDatum(NULL);
}
