/*-------------------------------------------------------------------------
 *
 * settings.h
 *	  Every pg_concord.* setting, described as rows of one table in settings.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_SETTINGS_H
#define CONCORD_SETTINGS_H

#include "base/compat.h"

extern int	concord_couriers;	/* workers per database */
extern int	concord_start_timeout;	/* ms */
extern int	concord_max_event_size; /* kB */
extern char *concord_environment;
extern bool concord_delivery;
extern char *concord_allowed_networks;
extern int	concord_cache_size; /* kB; 0 = none */
extern int	concord_max_answer_size;	/* kB, of calls and foreign tables */
extern int	concord_max_leases; /* mappings and shares in shared memory */
extern int	concord_outbox_retention;	/* minutes */
extern int	concord_delivery_retention; /* minutes */
extern char *concord_hold_limit;	/* as given */
extern int	concord_hold_limit_age; /* minutes; 0 = none */
extern int	concord_hold_limit_size;	/* kB; 0 = none */
extern bool concord_enable_lookup_join; /* fdw/join_plan.c */
extern bool concord_bypass_ownership;	/* local writes to what others own */
extern int	concord_on_schema_change;	/* ConcordSchemaChange */
extern bool concord_call_log;	/* record what sessions write to systems */
extern bool concord_enabled;	/* set per database by CREATE EXTENSION */

/* What becomes of a change of a table that a mapping cannot follow. */
typedef enum ConcordSchemaChange
{
	CONCORD_SCHEMA_REFUSE,
	CONCORD_SCHEMA_PAUSE,
} ConcordSchemaChange;

/* concord_settings_define defines them all; called by _PG_init only. */
extern void concord_settings_define(void);

#endif							/* CONCORD_SETTINGS_H */
