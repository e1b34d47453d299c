/*-------------------------------------------------------------------------
 *
 * decoder.c
 *	  Entry points of the output plugin.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "replication/output_plugin.h"

PG_MODULE_MAGIC;
