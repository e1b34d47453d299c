/*-------------------------------------------------------------------------
 *
 * tables.h
 *	  The outbox's own tables: names, columns, the ring.
 *
 * Column numbers follow extension/sql/30_outbox.sql.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_OUTBOX_TABLES_H
#define CONCORD_OUTBOX_TABLES_H

#include "base/compat.h"

#include "datatype/timestamp.h"

#define CONCORD_SCHEMA			"concord"

/* Tables of the ring: concord.outbox_0, ... */
#define CONCORD_RING_SIZE		8

/* Columns of concord.outbox_N. */
enum
{
	CONCORD_OUTBOX_SEQ = 1,
	CONCORD_OUTBOX_LAST_SEQ,
	CONCORD_OUTBOX_NEVENTS,
	CONCORD_OUTBOX_FIRST_LSN,
	CONCORD_OUTBOX_LAST_LSN,
	CONCORD_OUTBOX_FIRST_TIME,
	CONCORD_OUTBOX_LAST_TIME,
	CONCORD_OUTBOX_SOURCES,
	CONCORD_OUTBOX_DATA,
	CONCORD_OUTBOX_NCOLUMNS = CONCORD_OUTBOX_DATA
};

/* A row of concord.outbox_ring. */
typedef struct ConcordRingSlot
{
	int32		slot;
	char		state;			/* 'f'ree, 'o'pen (the current), 'c'losed */
	int64		first_seq;		/* of the first event that may be in it */
	int64		last_seq;		/* of 'c' */
	TimestampTz opened_at;
	TimestampTz closed_at;
} ConcordRingSlot;

/*
 * concord_outbox_table returns the OID of a table of ours, or raises
 * ERRCODE_UNDEFINED_TABLE.
 */
extern Oid	concord_outbox_table(const char *name);

/* concord_outbox_ring_table returns the OID of concord.outbox_<slot>. */
extern Oid	concord_outbox_ring_table(int slot);

/*
 * concord_outbox_ring reads the ring, in order of age (free slots last), under
 * the active snapshot; returns the number of slots in use.
 */
extern int	concord_outbox_ring(ConcordRingSlot ring[CONCORD_RING_SIZE]);

#endif							/* CONCORD_OUTBOX_TABLES_H */
