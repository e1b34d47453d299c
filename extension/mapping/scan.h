/*-------------------------------------------------------------------------
 *
 * scan.h
 *	  Read the keys of a mapping's rows, as its definer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_MAPPING_SCAN_H
#define CONCORD_MAPPING_SCAN_H

#include "catalog/mapping.h"

typedef struct ConcordKeyScan ConcordKeyScan;

/*
 * concord_scan_check_filter raises unless filter is one boolean expression
 * over a row of the mapping's table.  Call it in the mapping's environment.
 */
extern void concord_scan_check_filter(const ConcordMapping *mapping,
									  const char *filter);

/*
 * concord_key_scan_open begins to read the table of a mapping that has a key,
 * with the active snapshot.  filter: a condition, or NULL.  Needs SPI.
 */
extern ConcordKeyScan *concord_key_scan_open(const ConcordMapping *mapping,
											 const char *filter);

/*
 * concord_key_scan_next returns local keys of up to max rows, each a JSON
 * object of texts, in the current context; *nkeys is -1 at the end.
 */
extern char **concord_key_scan_next(ConcordKeyScan *scan, int max, int *nkeys);

extern void concord_key_scan_close(ConcordKeyScan *scan);

#endif							/* CONCORD_MAPPING_SCAN_H */
