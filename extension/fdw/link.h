/*-------------------------------------------------------------------------
 *
 * link.h
 *	  Addresses that answers tell.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_LINK_H
#define CONCORD_FDW_LINK_H

#include "base/compat.h"

/*
 * concord_link_resolve makes a whole address of a link relative to base, and
 * makes sure that it is under root, the server's url.  NULL with *why where it
 * is not.
 */
extern char *concord_link_resolve(const char *base, const char *link,
								  const char *root, const char **why);

/* concord_link_next returns the address of a header Link with rel=next. */
extern char *concord_link_next(const char *header);

#endif							/* CONCORD_FDW_LINK_H */
