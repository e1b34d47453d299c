/*-------------------------------------------------------------------------
 *
 * option_lists.h
 *	  Options that are lists: readers that say where they do not understand.
 *
 * Each returns NULL, or a sentence that says what is wrong and where.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_OPTION_LISTS_H
#define CONCORD_OPTION_LISTS_H

#include "options.h"

extern const char *concord_list_tables(const char *value, List **tables);
extern const char *concord_list_columns(const char *value, List **rules);
extern const char *concord_list_names(const char *value, List **names);
extern const char *concord_list_origins(const char *value,
										ConcordOriginOption *option);
extern const char *concord_list_patterns(const char *value, List **patterns);
extern const char *concord_list_prefixes(const char *value, List **prefixes);

#endif							/* CONCORD_OPTION_LISTS_H */
