/*-------------------------------------------------------------------------
 *
 * relation.h
 *	  Definitions of captured relations, stored once per version.
 *
 * concord.relation_version.definition holds the fields of the protocol's
 * RELATION message after relnum, as they came.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_OUTBOX_RELATION_H
#define CONCORD_OUTBOX_RELATION_H

#include "outbox/event.h"

/*
 * concord_relation_parse splits a definition.  The result lives in context;
 * NULL where the definition is damaged.
 */
extern ConcordRelation *concord_relation_parse(const char *definition,
											   uint32 len,
											   MemoryContext context);

/*
 * concord_relation_store returns the id of the stored version with this
 * definition, storing it where it is new.  Needs a bookkeeping transaction.
 */
extern int32 concord_relation_store(const ConcordRelation *relation,
									const char *definition, uint32 len);

/*
 * concord_relation_load reads a stored version into context.  Raises
 * ERRCODE_DATA_CORRUPTED where it is missing or damaged.  Needs a transaction
 * and an active snapshot.
 */
extern ConcordRelation *concord_relation_load(int32 id, MemoryContext context);

#endif							/* CONCORD_OUTBOX_RELATION_H */
