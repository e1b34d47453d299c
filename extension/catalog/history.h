/*-------------------------------------------------------------------------
 *
 * history.h
 *	  Who did what to a mapping or a system, and why.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CATALOG_HISTORY_H
#define CONCORD_CATALOG_HISTORY_H

#include "base/compat.h"

/*
 * concord_history_add notes that the current user did something, in the
 * caller's transaction.  what is the SQL function's name; mapping, server and
 * why may be NULL; count is how much it concerned, or -1.
 */
extern void concord_history_add(const char *what, const char *mapping,
								const char *server, const char *why,
								int64 count);

/*
 * concord_history_retain forgets what is older than 90 days and than minutes;
 * false: there may be more.  With no transaction open.
 */
extern bool concord_history_retain(int minutes);

#endif							/* CONCORD_CATALOG_HISTORY_H */
