/*-------------------------------------------------------------------------
 *
 * limits.h
 *	  From options and answers to the limits of an account (http/account.h).
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CONNECTOR_LIMITS_H
#define CONCORD_CONNECTOR_LIMITS_H

#include "connector/connector.h"

/* --- limits.c: options --- */

/*
 * concord_limits_load sets account and limits of a server.  Where several
 * servers name the account, the smallest value of each option holds.  Needs a
 * transaction.
 */
extern void concord_limits_load(ConcordServer *server, Oid owner, List *options);

/* concord_limits_owner says whose servers share an account with an owner's. */
extern Oid	concord_limits_owner(Oid owner);

/* concord_limits_key says which account is a server's. */
extern void concord_limits_key(const ConcordServer *server,
							   ConcordAccountKey *key);

/*
 * concord_limits_differ names the options that an owner's servers of an account have
 * different values of (palloc'd, with commas), and the servers; NULL: none.
 */
extern char *concord_limits_differ(const char *account, Oid owner,
								   char **servers);

/* --- usage.c: what was used of quotas, in table concord.account_usage --- */

/* concord_limits_load_usage reads it, once; SPI is connected. */
extern void concord_limits_load_usage(ConcordAccount *account);

/* concord_limits_save_usage writes what has changed; true: something had. */
extern bool concord_limits_save_usage(void);

/*
 * concord_limits_stranger names a server whose account has the same name and is
 * another one, because its owner is another; NULL where there is none.
 */
extern char *concord_limits_stranger(const char *account, Oid owner);

/* --- limit_headers.c: answers --- */

/*
 * concord_limits_read reads what an answer says of the system's limits, as the
 * connector's member "limits" says; false where it says nothing.
 */
extern bool concord_limits_read(const ConcordConnector *connector,
								const ConcordResponse *response,
								ConcordBudget *budget);

/*
 * concord_retry_after_ms reads header Retry-After, in seconds or as a date;
 * -1 where there is none; a day at most.
 */
extern int	concord_retry_after_ms(const ConcordResponse *response);

#endif							/* CONCORD_CONNECTOR_LIMITS_H */
