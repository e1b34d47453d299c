/*-------------------------------------------------------------------------
 *
 * setup.c
 *	  What a server lacks for the extension to work, said by name.
 *
 * One list serves CREATE EXTENSION, which warns (an error would break
 * pg_restore and pg_upgrade into a server that is set up later), and the view
 * concord.capture.  Each problem comes with the line to add.
 *
 *-------------------------------------------------------------------------
 */
#include "workers/setup.h"

#include "access/htup_details.h"
#include "access/xlog.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "catalog/mapping.h"
#include "catalog/namespace.h"
#include "catalog/pg_namespace.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "postmaster/bgworker_internals.h"
#include "replication/slot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/syscache.h"
#include "utils/varlena.h"
#include "workers/launcher.h"
#include "workers/registry.h"

#define STP_PLUGIN		"concord_decoder"
#define STP_LIBRARY		"pg_concord"

PG_FUNCTION_INFO_V1(concord_setup_register);
PG_FUNCTION_INFO_V1(concord_setup_report);

/* stp_add appends a problem; advice is taken over. */
static List *
stp_add(List *problems, char *problem, char *advice)
{
	ConcordProblem *p = palloc(sizeof(ConcordProblem));

	p->problem = problem;
	p->advice = advice;
	return lappend(problems, p);
}

/* stp_listed says whether a comma-separated list names an item. */
static bool
stp_listed(const char *list, const char *item)
{
	char	   *copy = pstrdup(list);
	List	   *names;
	ListCell   *lc;

	if (!SplitGUCList(copy, ',', &names))
		return false;
	foreach(lc, names)
	{
		if (strcmp((const char *) lfirst(lc), item) == 0)
			return true;
	}
	return false;
}

/* stp_line writes "setting = 'old, item'", the line to put in the file. */
static char *
stp_line(const char *setting, const char *old, const char *item)
{
	return psprintf("%s = '%s%s%s'", setting, old ? old : "",
					old && old[0] ? ", " : "", item);
}

/* stp_check_library looks whether the library was preloaded. */
static List *
stp_check_library(List *problems)
{
	const char *old = GetConfigOption("shared_preload_libraries", true, false);

	if (concord_shmem != NULL)
		return problems;
	if (old != NULL && stp_listed(old, STP_LIBRARY))
		return stp_add(problems,
					   pstrdup("shared_preload_libraries has pg_concord, but the server has not been restarted"),
					   pstrdup("restart the server"));
	return stp_add(problems,
				   pstrdup("shared_preload_libraries lacks pg_concord"),
				   stp_line("shared_preload_libraries", old, STP_LIBRARY));
}

/*
 * stp_check_plugins looks at output_plugin_libraries, which minor versions
 * since August 2026 have: they refuse an output plugin that it does not list.
 */
static List *
stp_check_plugins(List *problems)
{
	const char *old = GetConfigOption("output_plugin_libraries", true, false);

	if (old == NULL || stp_listed(old, STP_PLUGIN))
		return problems;
	return stp_add(problems,
				   pstrdup("output_plugin_libraries lacks concord_decoder"),
				   stp_line("output_plugin_libraries", old, STP_PLUGIN));
}

/* stp_check_slots looks for a free replication slot, or our own. */
static List *
stp_check_slots(List *problems)
{
	char		name[NAMEDATALEN];
	bool		found = false;

	snprintf(name, sizeof(name), CONCORD_SLOT_FORMAT, MyDatabaseId);
	LWLockAcquire(ReplicationSlotControlLock, LW_SHARED);
	for (int i = 0; i < max_replication_slots && !found; i++)
	{
		ReplicationSlot *slot = &ReplicationSlotCtl->replication_slots[i];

		found = !slot->in_use || strcmp(NameStr(slot->data.name), name) == 0;
	}
	LWLockRelease(ReplicationSlotControlLock);
	if (found)
		return problems;
	return stp_add(problems,
				   psprintf("max_replication_slots is %d and all are in use",
							max_replication_slots),
				   psprintf("max_replication_slots = %d",
							Max(max_replication_slots * 2, 4)));
}

/*
 * stp_check_workers compares max_worker_processes with what the registered
 * databases need at least: their workers, the launcher, a scout, and the
 * server's own logical replication launcher.
 */
static List *
stp_check_workers(List *problems)
{
	ConcordRegistration found[CONCORD_MAX_DATABASES];
	int			n = concord_registry_read(found, CONCORD_MAX_DATABASES);
	int			databases = concord_registry_has(MyDatabaseId) ? 0 : 1;
	int			needed;
	ConcordDatabase *db = concord_shmem_database(MyDatabaseId);

	for (int i = 0; i < n; i++)
		databases += found[i].enabled ? 1 : 0;
	needed = 3 + databases * (CONCORD_WORKER_COURIER + concord_couriers);
	if (needed <= max_worker_processes && !(db && db->no_worker_slot))
		return problems;
	return stp_add(problems,
				   psprintf("max_worker_processes is %d: no worker slot free, or not enough for %d database(s)",
							max_worker_processes, databases),
				   psprintf("max_worker_processes = %d",
							Max(needed, max_worker_processes) + 8));
}

/* stp_check_registered looks whether the launcher knows of this database. */
static List *
stp_check_registered(List *problems)
{
	if (concord_shmem == NULL || concord_registry_has(MyDatabaseId))
		return problems;
	return stp_add(problems,
				   pstrdup("this database is a copy of another and has no workers yet"),
				   pstrdup("SELECT concord.activate() where it takes the other's place, or SELECT concord.set_up()"));
}

/* concord_setup_problems lists what is missing; see setup.h. */
List *
concord_setup_problems(void)
{
	List	   *problems = stp_check_library(NIL);

	if (wal_level < CONCORD_WAL_LEVEL_NEEDED)
		problems = stp_add(problems,
						   psprintf("wal_level is %s",
									GetConfigOption("wal_level", false, false)),
						   pstrdup("wal_level = logical"));
	problems = stp_check_registered(problems);
	problems = stp_check_plugins(problems);
	problems = stp_check_slots(problems);
	return stp_check_workers(problems);
}

/* stp_warn says all problems at once. */
static void
stp_warn(List *problems)
{
	StringInfoData detail;
	StringInfoData hint;
	ListCell   *lc;

	initStringInfo(&detail);
	initStringInfo(&hint);
	foreach(lc, problems)
	{
		ConcordProblem *p = (ConcordProblem *) lfirst(lc);

		appendStringInfo(&detail, "%s%s.", detail.len ? "\n" : "", p->problem);
		appendStringInfo(&hint, "\n%s", p->advice);
	}
	ereport(WARNING,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("pg_concord cannot capture changes with the server's present settings"),
			 errdetail_internal("%s", detail.data),
			 errhint("Add to postgresql.conf, and restart the server:%s",
					 hint.data)));
}

/*
 * stp_check_schema refuses to make the extension in a schema that somebody
 * else had made and might fill with functions of his own.
 */
static void
stp_check_schema(void)
{
	Oid			schema = get_namespace_oid("concord", false);
	HeapTuple	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for namespace %u", schema);
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	if (!superuser_arg(owner))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("schema \"concord\" belongs to role \"%s\", which is not a superuser",
						GetUserNameFromId(owner, false)),
				 errdetail("Its owner could replace what the extension puts there."),
				 errhint("Drop the schema, or give it to a superuser.")));
}

/*
 * concord_setup_register is concord.set_up(): it registers this database with
 * the launcher, and warns about what is missing.
 */
Datum
concord_setup_register(PG_FUNCTION_ARGS)
{
	List	   *problems;

	if (creating_extension)
		stp_check_schema();
	concord_catalog_require_owner("concord.set_up()");
	concord_registry_set(MyDatabaseId, true);
	concord_launcher_survey_at_commit();
	if (!IsBinaryUpgrade && (problems = concord_setup_problems()) != NIL)
		stp_warn(problems);
	PG_RETURN_VOID();
}

/* concord_setup_report is concord.setup_problems(), one row for each. */
Datum
concord_setup_report(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, concord_setup_problems())
	{
		ConcordProblem *p = (ConcordProblem *) lfirst(lc);
		Datum		values[2];
		bool		nulls[2] = {false, false};

		values[0] = CStringGetTextDatum(p->problem);
		values[1] = CStringGetTextDatum(p->advice);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
