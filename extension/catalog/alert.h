/*-------------------------------------------------------------------------
 *
 * alert.h
 *	  What a person should look at: view concord.alert, channel concord_alert.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CATALOG_ALERT_H
#define CONCORD_CATALOG_ALERT_H

#include "base/compat.h"

/*
 * concord_alert writes an alert in the caller's transaction, of which who listens is
 * told within two seconds of its commit.  severity is info, warning or error; what is a
 * word for what kind it is; mapping, server and source (a table's name) may be
 * NULL; detail is a sentence, without secrets.  Returns its id.  Needs no SPI.
 */
extern int64 concord_alert(const char *severity, const char *what,
						   const char *mapping, const char *server,
						   const char *source, const char *detail);

/*
 * concord_alert_tell notifies who listens of alerts that are new.  Needs SPI,
 * and a transaction of a worker.
 */
extern void concord_alert_tell(void);

/* concord_alert_count says how often the same happened in a transaction. */
extern void concord_alert_count(int64 id, int64 count);

/*
 * concord_alert_retain forgets what is old, or too much; false: there may be
 * more.  With no transaction open.
 */
extern bool concord_alert_retain(int minutes);

#endif							/* CONCORD_CATALOG_ALERT_H */
