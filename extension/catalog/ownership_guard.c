/*-------------------------------------------------------------------------
 *
 * ownership_guard.c
 *	  What a local write to a column that a system owns does.
 *
 * A table with such columns has row triggers that call the function below.
 * They are AFTER triggers, so that what other triggers have made of the row
 * counts and no row is locked or COPY slowed down for them; and have a
 * condition, so that a row whose owned columns are as they were costs the
 * comparison and no more:
 *
 *		concord_ownership_insert	a value other than NULL and the default
 *		concord_ownership_update	a value other than the one before
 *		concord_ownership_delete	of partitioned tables, for the following
 *
 * A row that moves to another partition is deleted there and inserted here.  The
 * inserted row passes where the row that the same command has deleted just
 * before had the same values.
 *
 * The triggers are ordinary: a dump has them, partitions get and lose them by
 * themselves, and they do not fire where session_replication_role is replica,
 * in logical replication for one: there the origin has checked.  They go with
 * the extension.  They are made anew where ownership or the table changes.
 *
 *-------------------------------------------------------------------------
 */
#include "catalog/ownership.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "base/settings.h"
#include "catalog/alert.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_trigger.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

PG_FUNCTION_INFO_V1(concord_ownership_guard);

#define GRD_INSERT	"concord_ownership_insert"
#define GRD_UPDATE	"concord_ownership_update"
#define GRD_DELETE	"concord_ownership_delete"

/* Local writes to a table that this transaction reports. */
typedef struct GrdReport
{
	Oid			relid;
	SubTransactionId subid;
	TimestampTz statement;
	int64		alert;
	int64		rows;
} GrdReport;

/* A table whose triggers the command under way has dropped. */
static Oid	grd_unguarded = InvalidOid;

/* In TopTransactionContext. */
static List *grd_reports = NIL;
static bool grd_registered = false;

/* The row that a command has deleted last, in a context of its own. */
static struct
{
	MemoryContext context;
	Oid			relid;			/* of the table, not the partition */
	CommandId	command;
	LocalTransactionId lxid;
	int			n;
	Datum	   *values;			/* of its owned columns */
	bool	   *nulls;
} grd_moved;

/* grd_depth says how many triggers are being run. */
static int
grd_depth(void)
{
	return DatumGetInt32(DirectFunctionCall1(pg_trigger_depth, (Datum) 0));
}

/* concord_ownership_let lets statements of this depth write as they like. */
bool
concord_ownership_let(bool let)
{
	bool		was = concord_ownership_bypass;

	concord_ownership_bypass = let;
	concord_ownership_depth = let ? grd_depth() + 1 : 0;
	return was;
}

/* grd_is_guarded says whether local writes to a column are anybody's business. */
static bool
grd_is_guarded(const ConcordOwned *owned)
{
	return !owned->shared && owned->on_local_write != CONCORD_LOCAL_OFF;
}

/*
 * grd_guarded lists the guarded columns of a table or of the one that it is a
 * partition of, which *relid becomes; copies, for the cache may change.
 */
static List *
grd_guarded(Oid *relid)
{
	List	   *list = NIL;
	List	   *tables = list_make1_oid(*relid);
	ListCell   *lc;
	ListCell   *lo;

	if (get_rel_relispartition(*relid))
		tables = list_concat(tables, get_partition_ancestors(*relid));
	foreach(lc, tables)
	{
		foreach(lo, concord_ownership(lfirst_oid(lc)))
		{
			ConcordOwned *copy;

			if (!grd_is_guarded(lfirst(lo)))
				continue;
			copy = palloc(sizeof(ConcordOwned));
			*copy = *(ConcordOwned *) lfirst(lo);
			list = lappend(list, copy);
		}
		if (list != NIL)
		{
			*relid = lfirst_oid(lc);
			break;
		}
	}
	return list;
}

/* ---------------------------------------------------------------------
 * comparing
 * ------------------------------------------------------------------- */

/* grd_same says whether two values of a column are the same. */
static bool
grd_same(Form_pg_attribute att, Datum a, bool anull, Datum b, bool bnull)
{
	TypeCacheEntry *type;

	if (anull || bnull)
		return anull == bnull;
	if (datum_image_eq(a, b, att->attbyval, att->attlen))
		return true;
	type = lookup_type_cache(att->atttypid, TYPECACHE_EQ_OPR_FINFO);
	return OidIsValid(type->eq_opr) &&
		DatumGetBool(FunctionCall2Coll(&type->eq_opr_finfo, att->attcollation,
									   a, b));
}

/* grd_default returns the expression of a column's default, or NULL. */
static Node *
grd_default(Relation rel, AttrNumber attnum)
{
	if (!TupleDescAttr(RelationGetDescr(rel), attnum - 1)->atthasdef)
		return NULL;
	return build_column_default(rel, attnum);
}

/* grd_is_default says whether a value is a column's default. */
static bool
grd_is_default(Oid relid, AttrNumber attnum, Datum value, bool isnull)
{
	Relation	rel = table_open(relid, AccessShareLock);
	Node	   *node = grd_default(rel, attnum);
	bool		same = false;

	if (node != NULL && contain_volatile_functions(node))
		same = true;			/* nobody can tell */
	else if (node != NULL)
	{
		EState	   *estate = CreateExecutorState();
		ExprState  *state = ExecPrepareExpr((Expr *) node, estate);
		bool		defnull;
		Datum		def = ExecEvalExprSwitchContext(state,
													GetPerTupleExprContext(estate),
													&defnull);

		same = grd_same(TupleDescAttr(RelationGetDescr(rel), attnum - 1),
						value, isnull, def, defnull);
		FreeExecutorState(estate);
	}
	table_close(rel, AccessShareLock);
	return same;
}

/* grd_column returns the number of an owned column in the table of a tuple. */
static AttrNumber
grd_column(const ConcordOwned *owned, Relation rel, Oid relid)
{
	return RelationGetRelid(rel) == relid ? owned->attnum :
		get_attnum(RelationGetRelid(rel), NameStr(owned->column));
}

/* grd_differs says whether an event writes to a column. */
static bool
grd_differs(TriggerData *trigger, const ConcordOwned *owned, Oid relid)
{
	Relation	rel = trigger->tg_relation;
	TupleDesc	desc = RelationGetDescr(rel);
	AttrNumber	attnum = grd_column(owned, rel, relid);
	Datum		old;
	Datum		new;
	bool		oldnull;
	bool		newnull;

	if (attnum == InvalidAttrNumber)
		return false;
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		old = heap_getattr(trigger->tg_trigtuple, attnum, desc, &oldnull);
		new = heap_getattr(trigger->tg_newtuple, attnum, desc, &newnull);
		return !grd_same(TupleDescAttr(desc, attnum - 1), old, oldnull, new, newnull);
	}
	new = heap_getattr(trigger->tg_trigtuple, attnum, desc, &newnull);
	return !newnull && !grd_is_default(relid, owned->attnum, new, newnull);
}

/* ---------------------------------------------------------------------
 * rows that move to another partition
 * ------------------------------------------------------------------- */

/* grd_note_deleted remembers the owned values of a row that is deleted. */
static void
grd_note_deleted(TriggerData *trigger, List *guarded, Oid relid)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	MemoryContext old;
	ListCell   *lc;

	if (grd_moved.context == NULL)
		grd_moved.	context = AllocSetContextCreate(TopMemoryContext,
													"concord moved row",
													ALLOCSET_SMALL_SIZES);

	MemoryContextReset(grd_moved.context);
	old = MemoryContextSwitchTo(grd_moved.context);
	grd_moved.	relid = relid;
	grd_moved.	command = HeapTupleHeaderGetCmax(trigger->tg_trigtuple->t_data);
	grd_moved.	lxid = MyProc->CONCORD_LXID;
	grd_moved.	n = 0;
	grd_moved.	values = palloc(sizeof(Datum) * list_length(guarded));
	grd_moved.	nulls = palloc(sizeof(bool) * list_length(guarded));

	foreach(lc, guarded)
	{
		AttrNumber	attnum = grd_column(lfirst(lc), trigger->tg_relation, relid);
		int			i = grd_moved.n++;
		Form_pg_attribute att;

		grd_moved.	nulls[i] = true;

		if (attnum == InvalidAttrNumber)
			continue;
		att = TupleDescAttr(desc, attnum - 1);
		grd_moved.	values[i] = heap_getattr(trigger->tg_trigtuple, attnum, desc,
											 &grd_moved.nulls[i]);

		if (!grd_moved.nulls[i])
			grd_moved.	values[i] = datumCopy(grd_moved.values[i], att->attbyval,
											  att->attlen);
	}
	MemoryContextSwitchTo(old);
}

/* grd_has_moved says whether an inserted row is the one deleted before. */
static bool
grd_has_moved(TriggerData *trigger, List *guarded, Oid relid)
{
	TupleDesc	desc = RelationGetDescr(trigger->tg_relation);
	int			i = 0;
	ListCell   *lc;

	if (grd_moved.relid != relid ||
		grd_moved.lxid != MyProc->CONCORD_LXID ||
		grd_moved.n != list_length(guarded) ||
		grd_moved.command != HeapTupleHeaderGetCmin(trigger->tg_trigtuple->t_data))
		return false;
	grd_moved.	relid = InvalidOid;

	foreach(lc, guarded)
	{
		AttrNumber	attnum = grd_column(lfirst(lc), trigger->tg_relation, relid);
		Datum		value;
		bool		isnull;

		if (attnum == InvalidAttrNumber)
			return false;
		value = heap_getattr(trigger->tg_trigtuple, attnum, desc, &isnull);
		if (!grd_same(TupleDescAttr(desc, attnum - 1), value, isnull,
					  grd_moved.values[i], grd_moved.nulls[i]))
			return false;
		i++;
	}
	return true;
}

/* ---------------------------------------------------------------------
 * refusing and reporting
 * ------------------------------------------------------------------- */

/* grd_owner names the server that owns a column, as it is called now. */
static const char *
grd_owner(const ConcordOwned *owned)
{
	ForeignServer *server = OidIsValid(owned->owner) ?
		GetForeignServerExtended(owned->owner, FSV_MISSING_OK) : NULL;

	return server != NULL ? server->servername : NameStr(owned->owner_name);
}

/* grd_hint says who may write to owned columns. */
static char *
grd_hint(const char *owner)
{
	return psprintf("Change it in \"%s\", or set pg_concord.bypass_ownership for a load: superusers may, and roles that were granted SET ON PARAMETER.",
					owner);
}

/* grd_refuse raises for a write to a column. */
static void
grd_refuse(Relation rel, const ConcordOwned *owned)
{
	const char *owner = grd_owner(owned);

	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("column \"%s\" of table \"%s\" is owned by \"%s\"",
					NameStr(owned->column), RelationGetRelationName(rel), owner),
			 errdetail("A local write to it would be overwritten by that system, and not sent to it."),
			 errhint("%s", grd_hint(owner)),
			 errtablecolname(rel, NameStr(owned->column))));
}

/* grd_xact writes, before a commit, how many rows were reported. */
static void
grd_xact(XactEvent event, void *arg)
{
	ListCell   *lc;

	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
	{
		foreach(lc, grd_reports)
		{
			const GrdReport *report = lfirst(lc);

			if (report->rows < 2)
				continue;
			PushActiveSnapshot(GetTransactionSnapshot());
			concord_alert_count(report->alert, report->rows);
			PopActiveSnapshot();
		}
	}
	else if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
			 event == XACT_EVENT_PREPARE)
		grd_reports = NIL;		/* its memory goes with the transaction */
}

/* grd_subxact forgets what a subtransaction has reported, as its alert is. */
static void
grd_subxact(SubXactEvent event, SubTransactionId subid,
			SubTransactionId parent, void *arg)
{
	ListCell   *lc;

	if (event != SUBXACT_EVENT_ABORT_SUB)
		return;
	foreach(lc, grd_reports)
	{
		if (((GrdReport *) lfirst(lc))->subid >= subid)
			grd_reports = foreach_delete_current(grd_reports, lc);
	}
}

/* grd_find returns the report of a table in this transaction, or NULL. */
static GrdReport *
grd_find(Oid relid)
{
	ListCell   *lc;

	foreach(lc, grd_reports)
	{
		if (((GrdReport *) lfirst(lc))->relid == relid)
			return lfirst(lc);
	}
	return NULL;
}

/* grd_report warns once a statement, and writes one alert a transaction. */
static void
grd_report(Relation rel, Oid relid, const ConcordOwned *owned)
{
	GrdReport  *report = grd_find(relid);
	const char *owner = grd_owner(owned);
	TimestampTz now = GetCurrentStatementStartTimestamp();

	if (!grd_registered)
	{
		RegisterXactCallback(grd_xact, NULL);
		RegisterSubXactCallback(grd_subxact, NULL);
		grd_registered = true;
	}
	if (report == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(TopTransactionContext);

		report = palloc0(sizeof(GrdReport));
		report->relid = relid;
		report->subid = GetCurrentSubTransactionId();
		grd_reports = lappend(grd_reports, report);
		MemoryContextSwitchTo(old);
		report->alert = concord_alert("warning", "ownership", NULL, owner,
									  quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
																 get_rel_name(relid)),
									  psprintf("Role \"%s\" wrote to column \"%s\", which \"%s\" owns.",
											   GetUserNameFromId(GetUserId(), true),
											   NameStr(owned->column), owner));
	}
	report->rows++;
	if (report->statement == now)
		return;
	report->statement = now;
	ereport(WARNING,
			(errcode(ERRCODE_WARNING),
			 errmsg("column \"%s\" of table \"%s\" is owned by \"%s\"",
					NameStr(owned->column), RelationGetRelationName(rel), owner),
			 errdetail("What was written is not sent, and the system's next change of it overwrites it.")));
}

/* concord_ownership_guard is the trigger on tables with owned columns. */
Datum
concord_ownership_guard(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	const ConcordOwned *report = NULL;
	List	   *guarded;
	ListCell   *lc;
	Oid			relid;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_FOR_ROW(trigger->tg_event) ||
		!TRIGGER_FIRED_AFTER(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("function \"%s\" must be called as a trigger",
						"concord.ownership_guard")));
	if (concord_bypass_ownership ||
		(concord_ownership_bypass &&
		 (concord_ownership_depth == 0 || grd_depth() == concord_ownership_depth)))
		return PointerGetDatum(NULL);
	relid = RelationGetRelid(trigger->tg_relation);
	guarded = grd_guarded(&relid);
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
	{
		if (guarded != NIL)
			grd_note_deleted(trigger, guarded, relid);
		return PointerGetDatum(NULL);
	}
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event) &&
		grd_has_moved(trigger, guarded, relid))
		return PointerGetDatum(NULL);
	foreach(lc, guarded)
	{
		const ConcordOwned *owned = lfirst(lc);

		if (!grd_differs(trigger, owned, relid))
			continue;
		if (owned->on_local_write == CONCORD_LOCAL_REFUSE)
			grd_refuse(trigger->tg_relation, owned);
		if (report == NULL)
			report = owned;
	}
	if (report != NULL)
		grd_report(trigger->tg_relation, relid, report);
	return PointerGetDatum(NULL);
}

/* ---------------------------------------------------------------------
 * making the triggers
 * ------------------------------------------------------------------- */

/* grd_plain says whether pg_catalog's "=" compares values of a type. */
static bool
grd_plain(Oid type)
{
	TypeCacheEntry *entry = lookup_type_cache(type, TYPECACHE_EQ_OPR);

	return OidIsValid(entry->eq_opr) &&
		get_func_namespace(get_opcode(entry->eq_opr)) == PG_CATALOG_NAMESPACE;
}

/* grd_distinct adds a comparison of a column with something. */
static void
grd_distinct(StringInfo buf, Form_pg_attribute att, const char *row,
			 const char *other)
{
	const char *cast = grd_plain(att->atttypid) ? "" : "::pg_catalog.text";

	appendStringInfo(buf, "(%s.%s)%s IS DISTINCT FROM (%s)%s", row,
					 quote_identifier(NameStr(att->attname)), cast, other, cast);
}

/*
 * grd_condition writes when a row is looked at: it has, or gets, another value.
 * A default that nobody can tell from a value says nothing.
 */
static char *
grd_condition(Relation rel, List *guarded, const char *row, bool update)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, guarded)
	{
		const ConcordOwned *owned = lfirst(lc);
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), owned->attnum - 1);
		const char *name = quote_identifier(NameStr(att->attname));
		Node	   *node = grd_default(rel, owned->attnum);

		if (!update && node != NULL && contain_volatile_functions(node))
			continue;
		if (buf.len > 0)
			appendStringInfoString(&buf, " OR ");
		if (update)
			grd_distinct(&buf, att, "new", psprintf("old.%s", name));
		else
		{
			appendStringInfo(&buf, "(%s.%s IS NOT NULL", row, name);
			if (node != NULL)
			{
				appendStringInfoString(&buf, " AND ");
				grd_distinct(&buf, att, row,
							 deparse_expression(node, NIL, false, false));
			}
			appendStringInfoChar(&buf, ')');
		}
	}
	return buf.len > 0 ? buf.data : NULL;
}

/* grd_trigger returns the OID of a trigger of ours, or InvalidOid. */
static Oid
grd_trigger(Relation rel, const char *name)
{
	TriggerDesc *desc = rel->trigdesc;

	for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
	{
		if (strcmp(desc->triggers[i].tgname, name) == 0)
			return desc->triggers[i].tgoid;
	}
	return InvalidOid;
}

/* grd_drop drops a trigger of ours, if it is there. */
static void
grd_drop(Oid relid, const char *name)
{
	Relation	rel = table_open(relid, NoLock);
	ObjectAddress trigger;

	ObjectAddressSet(trigger, TriggerRelationId, grd_trigger(rel, name));
	table_close(rel, NoLock);
	if (!OidIsValid(trigger.objectId))
		return;
	performDeletion(&trigger, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	CommandCounterIncrement();
}

/* grd_make makes a trigger, or makes it anew; without condition there is none. */
static void
grd_make(Oid relid, const char *name, const char *event, const char *condition)
{
	Relation	rel;
	ObjectAddress trigger;
	ObjectAddress extension;
	char	   *command;

	if (condition == NULL)
	{
		grd_drop(relid, name);
		return;
	}
	rel = table_open(relid, NoLock);
	command = psprintf("CREATE OR REPLACE TRIGGER %s AFTER %s ON %s FOR EACH ROW"
					   " WHEN (%s) EXECUTE FUNCTION concord.ownership_guard()",
					   name, event,
					   quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												  RelationGetRelationName(rel)),
					   condition);
	table_close(rel, NoLock);
	if (SPI_execute(command, false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "could not create trigger \"%s\"", name);
	/* it is no reason to keep the extension; what is replaced forgets that */
	rel = table_open(relid, NoLock);
	ObjectAddressSet(trigger, TriggerRelationId, grd_trigger(rel, name));
	table_close(rel, NoLock);
	ObjectAddressSet(extension, ExtensionRelationId,
					 get_extension_oid("pg_concord", false));
	recordDependencyOn(&trigger, &extension, DEPENDENCY_AUTO_EXTENSION);
	CommandCounterIncrement();
}

/* grd_is_table says whether a table is one that triggers can be made on. */
static bool
grd_is_table(Oid relid)
{
	char		kind = get_rel_relkind(relid);

	return kind == RELKIND_RELATION || kind == RELKIND_PARTITIONED_TABLE;
}

/*
 * concord_ownership_is_guarded says whether a table has triggers of ours, or had
 * until they stood in a command's way.  While a dump is restored it has owners
 * before the dump makes its triggers.
 */
bool
concord_ownership_is_guarded(Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	bool		guarded = relid == grd_unguarded ||
		OidIsValid(grd_trigger(rel, GRD_INSERT)) ||
		OidIsValid(grd_trigger(rel, GRD_UPDATE));

	table_close(rel, NoLock);
	return guarded;
}

/* concord_ownership_unguard drops the triggers of a table. */
void
concord_ownership_unguard(Oid relid)
{
	Relation	rel = table_open(relid, AccessExclusiveLock);

	if (OidIsValid(grd_trigger(rel, GRD_INSERT)) ||
		OidIsValid(grd_trigger(rel, GRD_UPDATE)))
		grd_unguarded = relid;
	table_close(rel, NoLock);
	grd_drop(relid, GRD_INSERT);
	grd_drop(relid, GRD_UPDATE);
	grd_drop(relid, GRD_DELETE);
}

/* concord_ownership_guard_table makes a table's triggers what they must be. */
void
concord_ownership_guard_table(Oid relid)
{
	Oid			userid;
	int			context;
	int			guc_level;
	List	   *guarded = NIL;
	Relation	rel;
	bool		partitioned;
	char	   *conditions[3] = {NULL, NULL, NULL};
	ListCell   *lc;

	if (!grd_is_table(relid))
		return;
	if (grd_unguarded == relid)
		grd_unguarded = InvalidOid;
	foreach(lc, concord_ownership(relid))
	{
		if (grd_is_guarded(lfirst(lc)))
		{
			ConcordOwned *copy = palloc(sizeof(ConcordOwned));

			*copy = *(ConcordOwned *) lfirst(lc);
			guarded = lappend(guarded, copy);
		}
	}
	GetUserIdAndSecContext(&userid, &context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID,
						   context | SECURITY_LOCAL_USERID_CHANGE);
	guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp",
							 PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	rel = table_open(relid, AccessShareLock);
	partitioned = rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
	if (guarded != NIL)
	{
		conditions[0] = grd_condition(rel, guarded, "new", false);
		conditions[1] = grd_condition(rel, guarded, "new", true);
		if (partitioned)
			conditions[2] = grd_condition(rel, guarded, "old", false);
	}
	table_close(rel, NoLock);
	grd_make(relid, GRD_INSERT, "INSERT", conditions[0]);
	grd_make(relid, GRD_UPDATE, "UPDATE", conditions[1]);
	grd_make(relid, GRD_DELETE, "DELETE", conditions[2]);
	SPI_finish();
	AtEOXact_GUC(false, guc_level);
	SetUserIdAndSecContext(userid, context);
}
