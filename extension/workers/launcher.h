/*-------------------------------------------------------------------------
 *
 * launcher.h
 *	  The worker that keeps the workers of all databases.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_LAUNCHER_H
#define CONCORD_LAUNCHER_H

#include "base/compat.h"

#include "base/shmem.h"
#include "capture/capture.h"

/*
 * concord_launcher_drop_slot drops the slot of a database if there is one and
 * nobody uses it; false where somebody does.
 */
extern bool concord_launcher_drop_slot(Oid dboid);

/* concord_launcher_hold asks for the workers of a database to be stopped and
 * to stay so until this transaction ends; waits for it.  See utility.c. */
extern void concord_launcher_hold(Oid dboid, const char *name);

/* concord_launcher_survey_at_commit has the launcher look for databases again
 * once this transaction has committed. */
extern void concord_launcher_survey_at_commit(void);

/* concord_utility_init installs the hooks of utility.c; _PG_init only. */
extern void concord_utility_init(void);

#endif							/* CONCORD_LAUNCHER_H */
