/*-------------------------------------------------------------------------
 *
 * resync.c
 *	  concord.resync(): rows again, from the table.
 *
 * A resync is one event for each row, a logical message of the caller's
 * transaction that names the mapping and the row's key.  It goes the way of all
 * events: through WAL into the outbox, so that its place among the changes of
 * the row is that of the caller's commit, and all that was committed before is
 * delivered before it.
 *
 * The row itself is read from the table when the courier maps the event, so no
 * image grows old on its way.  What was read may be newer than the event's
 * place: then there are events of that row further on.  ahead.c knows them; such
 * a resync gives way to them, and they are sent even where nothing seems to have
 * changed.  So a row is never sent older than it was sent before.
 *
 * Rows are read through a cursor, a thousand at a time; memory does not grow
 * with their number.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "capture/capture.h"
#include "catalog/history.h"
#include "delivery/pending.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "mapping/eval.h"
#include "mapping/scan.h"
#include "miscadmin.h"
#include "outbox/message.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#define RSY_ROWS	1000		/* read at a time */

PG_FUNCTION_INFO_V1(concord_resync);

/* rsy_check raises where rows cannot be sent again. */
static void
rsy_check(const ConcordMapping *mapping)
{
	concord_operate_check(mapping);
	if (mapping->topic != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("mapping \"%s\" is of a topic and has no rows",
						mapping->name),
				 errhint("Use concord.replay() to send its events again.")));
	switch (mapping->state)
	{
		case CONCORD_MAPPING_STALE:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("mapping \"%s\" is stale", mapping->name),
					 errhint("Use concord.resume() first; it begins anew, and what is sent again comes after that.")));
			break;
		case CONCORD_MAPPING_BROKEN:
		case CONCORD_MAPPING_DENIED:
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("mapping \"%s\" is %s: %s", mapping->name,
							concord_mapping_state_name(mapping->state),
							mapping->state_reason ? mapping->state_reason : "")));
			break;
		default:
			break;
	}
	if (mapping->local_key == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the table of mapping \"%s\" is gone, or has no key",
						mapping->name),
				 errhint("concord.status says what is wrong with it.")));
}

/* rsy_run writes an event for each row that the filter chooses. */
static int64
rsy_run(const ConcordMapping *mapping, const char *filter)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "concord resync",
												  ALLOCSET_DEFAULT_SIZES);
	ConcordKeyScan *scan;
	char		id[16];
	int64		count = 0;
	int			n;

	snprintf(id, sizeof(id), "%d", mapping->id);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	scan = concord_key_scan_open(mapping, filter);
	for (;;)
	{
		MemoryContext old = MemoryContextSwitchTo(context);
		char	  **keys = concord_key_scan_next(scan, RSY_ROWS, &n);

		if (n < 0)
		{
			MemoryContextSwitchTo(old);
			break;
		}
		for (int i = 0; i < n; i++)
		{
			pg_uuid_t	event;

			CHECK_FOR_INTERRUPTS();
			concord_message_emit(CONCORD_MESSAGE_RESYNC, id, NULL, NULL, keys[i],
								 &event);
		}
		count += n;
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	concord_key_scan_close(scan);
	SPI_finish();
	MemoryContextDelete(context);
	return count;
}

/* concord_resync is the SQL function. */
Datum
concord_resync(PG_FUNCTION_ARGS)
{
	ConcordCatalogScope scope;
	MemoryContext context = CurrentMemoryContext;
	ConcordMapping *mapping;
	char	   *filter;
	int64		count;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the name of a mapping must be given")));
	PreventCommandIfReadOnly("concord.resync()");
	if (concord_mapping_evaluating)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("concord.resync() cannot be used in an expression of a mapping")));
	concord_catalog_enter(&scope);
	mapping = concord_mapping_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)),
									  context);
	concord_catalog_leave(&scope);
	rsy_check(mapping);
	concord_capture_require("concord.resync()");
	filter = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	count = rsy_run(mapping, filter);
	concord_history_add("resync", mapping->name, mapping->server,
						filter ? psprintf("filter: %s", filter) : NULL, count);
	PG_RETURN_INT64(count);
}
