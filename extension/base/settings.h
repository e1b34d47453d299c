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
extern int	concord_outbox_retention;	/* minutes */
extern int	concord_delivery_retention; /* minutes */
extern char *concord_hold_limit;	/* as given */
extern int	concord_hold_limit_age; /* minutes; 0 = none */
extern int	concord_hold_limit_size;	/* kB; 0 = none */
extern bool concord_enable_lookup_join; /* fdw/join_plan.c */
extern bool concord_call_log;	/* record what sessions write to systems */
extern bool concord_enabled;	/* set per database by CREATE EXTENSION */

/* concord_settings_define defines them all; called by _PG_init only. */
extern void concord_settings_define(void);

#endif							/* CONCORD_SETTINGS_H */
