/*-------------------------------------------------------------------------
 *
 * allow_list.h
 *	  Option call_allow: which methods and paths may be called.
 *
 *	list	= entry *( ";" entry )
 *	entry	= ( "*" | method *( "," method ) ) blanks path
 *	path	= a path under the server's url, without its query; in it "*" stands
 *			  for any characters but a slash, "**" for any characters
 *
 * Example: GET,HEAD **; POST orders, which are two entries.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CATALOG_ALLOW_LIST_H
#define CONCORD_CATALOG_ALLOW_LIST_H

#include "base/compat.h"

/* concord_allow_list_bad says what is wrong with a list, or NULL. */
extern const char *concord_allow_list_bad(const char *list);

/*
 * concord_allow_list_has says whether a list, which is a valid one, allows a
 * method, in capitals, on a path under the url, with nothing percent-encoded.
 */
extern bool concord_allow_list_has(const char *list, const char *method,
								   const char *path);

#endif							/* CONCORD_CATALOG_ALLOW_LIST_H */
