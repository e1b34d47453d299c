/*-------------------------------------------------------------------------
 *
 * tables.c
 *	  Find the outbox's own tables and read the ring.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "outbox/tables.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

/* Columns of concord.outbox_ring. */
enum
{
	RING_SLOT = 1, RING_STATE, RING_FIRST_SEQ, RING_LAST_SEQ, RING_OPENED_AT,
	RING_CLOSED_AT, RING_NCOLUMNS = RING_CLOSED_AT
};

/* concord_outbox_table returns the OID of a table of ours. */
Oid
concord_outbox_table(const char *name)
{
	Oid			nsp = get_namespace_oid(CONCORD_SCHEMA, true);
	Oid			relid = OidIsValid(nsp) ? get_relname_relid(name, nsp) : InvalidOid;

	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table %s.%s does not exist", CONCORD_SCHEMA, name),
				 errhint("Create the extension pg_concord in this database.")));
	return relid;
}

/* concord_outbox_ring_table returns the OID of concord.outbox_<slot>. */
Oid
concord_outbox_ring_table(int slot)
{
	char		name[NAMEDATALEN];

	snprintf(name, sizeof(name), "outbox_%d", slot);
	return concord_outbox_table(name);
}

/* tbl_older orders slots in use by the seq that they begin with. */
static int
tbl_older(const void *a, const void *b)
{
	const ConcordRingSlot *x = a;
	const ConcordRingSlot *y = b;

	if ((x->state == 'f') != (y->state == 'f'))
		return x->state == 'f' ? 1 : -1;
	if (x->first_seq != y->first_seq)
		return x->first_seq < y->first_seq ? -1 : 1;
	return x->slot - y->slot;
}

/* concord_outbox_ring reads the ring. */
int
concord_outbox_ring(ConcordRingSlot ring[CONCORD_RING_SIZE])
{
	Relation	rel = table_open(concord_outbox_table("outbox_ring"),
								 AccessShareLock);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false,
										  GetActiveSnapshot(), 0, NULL);
	HeapTuple	tuple;
	int			n = 0;
	int			used = 0;

	while ((tuple = systable_getnext(scan)) != NULL && n < CONCORD_RING_SIZE)
	{
		ConcordRingSlot *slot = &ring[n++];
		Datum		values[RING_NCOLUMNS];
		bool		nulls[RING_NCOLUMNS];

		heap_deform_tuple(tuple, RelationGetDescr(rel), values, nulls);
		slot->slot = DatumGetInt32(values[RING_SLOT - 1]);
		slot->state = *VARDATA_ANY(DatumGetTextPP(values[RING_STATE - 1]));
		slot->first_seq = nulls[RING_FIRST_SEQ - 1] ? 0 :
			DatumGetInt64(values[RING_FIRST_SEQ - 1]);
		slot->last_seq = nulls[RING_LAST_SEQ - 1] ? 0 :
			DatumGetInt64(values[RING_LAST_SEQ - 1]);
		slot->opened_at = nulls[RING_OPENED_AT - 1] ? 0 :
			DatumGetTimestampTz(values[RING_OPENED_AT - 1]);
		slot->closed_at = nulls[RING_CLOSED_AT - 1] ? 0 :
			DatumGetTimestampTz(values[RING_CLOSED_AT - 1]);
		if (slot->state != 'f')
			used++;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	if (n != CONCORD_RING_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("concord.outbox_ring has %d rows instead of %d",
						n, CONCORD_RING_SIZE)));
	qsort(ring, n, sizeof(ConcordRingSlot), tbl_older);
	return used;
}
