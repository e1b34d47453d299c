/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  The one home of differences between PostgreSQL versions that the output
 *	  plugin meets.
 *
 * Everything else reads as if there were one PostgreSQL.  Base is 15; 17, 18
 * and 19 must compile without a warning.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_DECODER_COMPAT_H
#define CONCORD_DECODER_COMPAT_H

#if PG_VERSION_NUM < 150000
#error "concord_decoder needs PostgreSQL 15 or newer"
#endif

/* 16 moved the accessors of varlena values out of postgres.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/*
 * What a change carries is a HeapTuple from 17 on and was a buffer around
 * one before.
 */
#if PG_VERSION_NUM >= 170000
#define concord_change_tuple(t)	(t)
#else
#define concord_change_tuple(t)	((t) ? &(t)->tuple : NULL)
#endif

/* 18 has generated columns that are stored nowhere: attgenerated is this. */
#define CONCORD_GENERATED_VIRTUAL	'v'
#if PG_VERSION_NUM >= 180000
#include "rewrite/rewriteHandler.h"
#define concord_expand_generated(node, rel) \
	expand_generated_columns_in_expr(node, rel, 1)
#else
#define concord_expand_generated(node, rel)	(node)
#endif

/* 18 lets a publication send stored ones without naming them. */
#if PG_VERSION_NUM >= 180000
#define concord_publishes_generated(publication) \
	((publication)->pubgencols_type == PUBLISH_GENCOLS_STORED)
#else
#define concord_publishes_generated(publication)	false
#endif

/* Before 19 the times of a transaction are in a union that has a name. */
#if PG_VERSION_NUM >= 190000
#define concord_txn_commit_time(txn)	((txn)->commit_time)
#define concord_txn_prepare_time(txn)	((txn)->prepare_time)
#define concord_txn_abort_time(txn)		((txn)->abort_time)
#else
#define concord_txn_commit_time(txn)	((txn)->xact_time.commit_time)
#define concord_txn_prepare_time(txn)	((txn)->xact_time.prepare_time)
#define concord_txn_abort_time(txn)		((txn)->xact_time.abort_time)
#endif

/*
 * Before 16, a plugin that writes nothing for a long time must itself see to
 * it that a walsender stays alive.
 */
#define CONCORD_KEEPS_ALIVE		(PG_VERSION_NUM < 160000)

/* Before 16, memory of type Slab keeps no empty block. */
#define CONCORD_FREES_BLOCKS	(PG_VERSION_NUM < 160000)

/* 18 calls it what it is. */
#if PG_VERSION_NUM >= 180000
#define concord_make_change(rb)	ReorderBufferAllocChange(rb)
#else
#define concord_make_change(rb)	ReorderBufferGetChange(rb)
#endif

/* 19 has the name of a database elsewhere. */
#include "utils/lsyscache.h"

/* 19 spells the type of an origin's number out. */
#if PG_VERSION_NUM >= 190000
#define RepOriginId				ReplOriginId
#define InvalidRepOriginId		InvalidReplOriginId
#endif

/* 19 says that a case goes on in the next one by more than a comment. */
#if PG_VERSION_NUM < 190000
#define pg_fallthrough			__attribute__((fallthrough))
#endif

#endif							/* CONCORD_DECODER_COMPAT_H */
