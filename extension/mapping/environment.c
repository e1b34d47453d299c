/*-------------------------------------------------------------------------
 *
 * environment.c
 *	  The environment in which a mapping's expressions are parsed and run.
 *
 * Expressions are foreign code.  They run as the mapping's definer in a
 * security-restricted operation, so that they cannot change the session or
 * the role, with the search_path that was stored with the mapping, and with
 * the settings that decide how a value is written fixed: the text of a value
 * must not depend on who evaluates it.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/compile.h"

#include "access/xact.h"
#include "base/attempt.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"

/* Settings that the text of values, or their meaning, depends on. */
static const struct
{
	const char *name;
	const char *value;
}			env_settings[] = {
	{"TimeZone", "UTC"},
	{"DateStyle", "ISO, YMD"},
	{"IntervalStyle", "postgres"},
	{"extra_float_digits", "1"},
	{"bytea_output", "hex"},
	{"xmloption", "content"},
	{"standard_conforming_strings", "on"},
	{"backslash_quote", "safe_encoding"},
	{"transform_null_equals", "off"},
	{"array_nulls", "on"},
	{"lc_monetary", "C"},
	{"row_security", "on"},
};

/* env_set changes one setting until the environment is left. */
static void
env_set(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/*
 * concord_environment_enter becomes the definer.  remote_id() and local_key() need
 * no schema where no other function has their name: ours is the last one.
 */
void
concord_environment_enter(ConcordEnvironment *environment, Oid definer,
						  const char *search_path)
{
	char	   *path;

	GetUserIdAndSecContext(&environment->userid, &environment->sec_context);
	SetUserIdAndSecContext(definer,
						   environment->sec_context |
						   SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	environment->guc_level = NewGUCNestLevel();
	for (int i = 0; i < lengthof(env_settings); i++)
		env_set(env_settings[i].name, env_settings[i].value);
	path = psprintf("%s, concord", search_path);
	env_set("search_path", path);
	pfree(path);
	/* a courier must not stand still behind one table's lock */
	if (MyBackendType == B_BG_WORKER)
		env_set("lock_timeout", "1s");
}

/* concord_environment_leave goes back to what was before. */
void
concord_environment_leave(ConcordEnvironment *environment)
{
	AtEOXact_GUC(false, environment->guc_level);
	SetUserIdAndSecContext(environment->userid, environment->sec_context);
}

/* A dry run's work, and the context that it is done in. */
typedef struct EnvDryRun
{
	void		(*work) (void *arg);
	void	   *arg;
	MemoryContext context;
} EnvDryRun;

/* env_dry_run does it: read only, with SPI. */
static void
env_dry_run(void *arg)
{
	EnvDryRun  *run = arg;

	XactReadOnly = true;
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	MemoryContextSwitchTo(run->context);
	run->work(run->arg);
	SPI_finish();
}

/*
 * concord_environment_dry_run calls work in a read-only subtransaction of the
 * caller's transaction, with SPI, and in a memory context of its own, which is
 * returned; what it changed of settings and role ends with it.
 */
MemoryContext
concord_environment_dry_run(void (*work) (void *arg), void *arg)
{
	EnvDryRun	run = {.work = work,.arg = arg};
	ErrorData  *error;

	run.context = AllocSetContextCreate(CurrentMemoryContext, "concord dry run",
										ALLOCSET_DEFAULT_SIZES);
	error = concord_attempt(env_dry_run, &run);
	if (error != NULL)
		ReThrowError(error);
	return run.context;
}
