/*-------------------------------------------------------------------------
 *
 * slot.c
 *	  Life cycle of the replication slot that capture reads.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "capture/capture.h"
#include "capture/slot.h"
#include "decoder/protocol.h"
#include "miscadmin.h"
#include "replication/slot.h"
#include "utils/memutils.h"

/* concord_capture_slot_name writes pg_concord_<dboid> into buf. */
void
concord_capture_slot_name(Oid dboid, char *buf)
{
	snprintf(buf, NAMEDATALEN, CONCORD_SLOT_FORMAT, dboid);
}

/* concord_slot_acquire makes the slot this process's own. */
void
concord_slot_acquire(Oid dboid)
{
	char		name[NAMEDATALEN];

	concord_capture_slot_name(dboid, name);
	concord_slot_take(name);
}

/*
 * concord_slot_make makes the slot.  It is ephemeral until it is consistent,
 * so that an error or the end of the process leaves nothing behind.  The
 * context is made inside a transaction that is committed at once: outside of
 * one, the process would be marked as a decoding one, whose xmin vacuum
 * ignores.
 */
XLogRecPtr
concord_slot_make(ConcordDatabase *db, XLogReaderRoutine *reader)
{
	MemoryContext old;
	LogicalDecodingContext *ctx;
	char		name[NAMEDATALEN];
	XLogRecPtr	lsn;

	concord_capture_slot_name(db->dboid, name);
	if (SearchNamedReplicationSlot(name, true) != NULL)
	{
		ereport(LOG,
				(errmsg("dropping replication slot \"%s\", which this installation of pg_concord has not made",
						name)));
		ReplicationSlotDrop(name, true);
	}

	concord_shmem_set_state(db, CONCORD_CAPTURE_CREATING, NULL);
	StartTransactionCommand();
	concord_check_decoding();
	old = MemoryContextSwitchTo(TopMemoryContext);
	concord_slot_create(name);
	concord_enable_decoding();
	ctx = concord_init_decoding(CONCORD_DECODER_NAME, reader);
	MemoryContextSwitchTo(old);
	CommitTransactionCommand();

	DecodingContextFindStartpoint(ctx);
	lsn = MyReplicationSlot->data.confirmed_flush;
	FreeDecodingContext(ctx);
	ReplicationSlotPersist();
	ereport(LOG,
			(errmsg("made replication slot \"%s\", which begins at %X/%X",
					name, LSN_FORMAT_ARGS(lsn))));
	return lsn;
}

/* concord_slot_check compares the slot with the progress row. */
const char *
concord_slot_check(Oid dboid, XLogRecPtr progress)
{
	char		name[NAMEDATALEN];
	ReplicationSlot *slot;
	ReplicationSlotPersistentData data;

	concord_capture_slot_name(dboid, name);
	slot = SearchNamedReplicationSlot(name, true);
	if (slot == NULL)
		return psprintf("replication slot \"%s\" is missing", name);
	SpinLockAcquire(&slot->mutex);
	data = slot->data;
	SpinLockRelease(&slot->mutex);

	if (data.database != dboid ||
		strcmp(NameStr(data.plugin), CONCORD_DECODER_NAME) != 0)
		return psprintf("replication slot \"%s\" is another one's (plugin \"%s\")",
						name, NameStr(data.plugin));
	if (XLogRecPtrIsInvalid(data.restart_lsn) || concord_slot_invalidated(&data))
		return psprintf("replication slot \"%s\" was invalidated: WAL that it needed has been removed",
						name);
	if (data.confirmed_flush > progress)
		return psprintf("replication slot \"%s\" is at %X/%X, beyond what was captured (%X/%X)",
						name, LSN_FORMAT_ARGS(data.confirmed_flush),
						LSN_FORMAT_ARGS(progress));
	return NULL;
}

/*
 * concord_slot_confirm moves the acquired slot.  The required LSN is computed
 * here, because LogicalConfirmReceivedLocation does it only when the catalog
 * xmin has moved, too.
 */
void
concord_slot_confirm(XLogRecPtr lsn)
{
	if (lsn <= MyReplicationSlot->data.confirmed_flush)
		return;
	LogicalConfirmReceivedLocation(lsn);
	ReplicationSlotMarkDirty();
	ReplicationSlotsComputeRequiredLSN();
}
