/*-------------------------------------------------------------------------
 *
 * define.h
 *	  Private to the mapping room: making and changing definitions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_MAPPING_DEFINE_H
#define CONCORD_MAPPING_DEFINE_H

#include "catalog/mapping.h"

#include "utils/jsonb.h"

/* ---------- source.c: who may map what to where ---------- */

/* Raises where a table cannot be a source, or role does not own it. */
extern void concord_source_check(Oid relid, Oid role);

/* Returns a server of our wrapper that role may use, or raises. */
extern Oid	concord_source_server(const char *name, Oid role);

/* Raises where the current user may not change a mapping. */
extern void concord_source_require(const ConcordMapping *mapping);

/* concord_source_definer raises where a mapping's definer does not exist. */
extern void concord_source_definer(const ConcordMapping *mapping);

/*
 * concord_source_at_home raises where a mapping comes from another database,
 * or has no definer: it cannot be changed.
 */
extern void concord_source_at_home(const ConcordMapping *mapping);

/* ---------- documents.c: options that join events or tables ---------- */

/* Raises where they cannot work; sets defaults of the connector before. */
extern void concord_documents_check(ConcordMapping *mapping);

/* Raises where others name a mapping that is to be dropped. */
extern void concord_documents_drop(const ConcordMapping *mapping);

/* ---------- depends.c: tables whose changes are updates ---------- */

extern void concord_depends_check(ConcordMapping *mapping);
extern void concord_depends_usable(const ConcordMapping *mapping);
extern void concord_depends_capture(const ConcordMapping *old,
									const ConcordMapping *mapping);
extern void concord_depends_release(const ConcordMapping *old,
									const ConcordMapping *mapping);
extern void concord_depends_store(const ConcordMapping *mapping);

/* ---------- owner.c: owners that fields name ---------- */

/*
 * Checks the columns that fields are bound to and the owners that they name;
 * sets whether they are pushed or pulled.
 */
extern void concord_owner_check(ConcordMapping *mapping);

/* Writes those owners; gone: the mapping is dropped. */
extern void concord_owner_store(const ConcordMapping *mapping, bool gone);

/* ---------- define.c: versions ---------- */

/*
 * Checks a definition and makes it a mapping's current one, as *mapping then
 * is; returns the version.  Whether the caller may is the caller's to know.
 */
extern int32 concord_define_version(ConcordMapping *mapping, Jsonb *definition,
									const char *comment);

/* ---------- drift.c: what a version uses ---------- */

extern void concord_uses_store(const ConcordMapping *mapping);

/* ---------- store.c: rows of definitions ---------- */

/* Returns a version's definition (0: the current one), or raises. */
extern Jsonb *concord_store_definition(const ConcordMapping *mapping,
									   int32 version);

/* Adds a version, makes it the current one, and returns its number. */
extern int32 concord_store_version(const ConcordMapping *mapping,
								   Jsonb *definition, const char *comment);

/* Inserts a mapping, without a version, and returns its id. */
extern int32 concord_store_mapping(const ConcordMapping *mapping,
								   const char *comment);

/* Deletes a mapping with all that is known of it. */
extern void concord_store_delete(int32 mapping);

/* Locks a mapping's row to the end of the transaction; false: it is gone. */
extern bool concord_store_lock(int32 mapping);

/* Runs a command of ours with a mapping's id as $1 and a text as $2. */
extern void concord_store_update(const char *command, int32 mapping,
								 const char *text);

/* Makes the mapping begin at this transaction's place in the WAL. */
extern void concord_store_start(int32 mapping, int32 version);

/*
 * Returns the caller's search_path, with pg_temp last where it is not named:
 * a temporary table must not stand before a real one.
 */
extern char *concord_store_search_path(void);

#endif							/* CONCORD_MAPPING_DEFINE_H */
