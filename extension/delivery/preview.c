/*-------------------------------------------------------------------------
 *
 * preview.c
 *	  The event of a delivery that is kept, for concord.preview().
 *
 * The mapping room lies below and calls this through a hook.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "catalog/pg_type.h"
#include "delivery/delivery.h"
#include "executor/spi.h"
#include "mapping/hooks.h"

/* prv_delivery reads the event of a delivery of a mapping. */
static ConcordEvent *
prv_delivery(const ConcordMapping *mapping, int64 delivery,
			 MemoryContext context)
{
	ConcordCatalogScope scope;
	Oid			types[2] = {INT8OID, INT4OID};
	Datum		values[2];
	ConcordEvent *event = NULL;

	values[0] = Int64GetDatum(delivery);
	values[1] = Int32GetDatum(mapping->id);
	concord_catalog_enter(&scope);
	if (SPI_execute_with_args("SELECT event FROM concord.exception"
							  " WHERE delivery = $1 AND mapping = $2",
							  2, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.exception");
	if (SPI_processed == 1)
	{
		bool		isnull;
		Datum		packed = SPI_getbinval(SPI_tuptable->vals[0],
										   SPI_tuptable->tupdesc, 1, &isnull);

		event = concord_event_unpack(DatumGetByteaPCopy(packed), context);
	}
	concord_catalog_leave(&scope);
	MemoryContextSwitchTo(context);
	if (event == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("mapping \"%s\" has no delivery " INT64_FORMAT " that is kept",
						mapping->name, delivery),
				 errhint("Deliveries that wait, are retried or are dead are kept.")));
	return event;
}

/* concord_delivery_init sets the hook; called when the library is loaded. */
void
concord_delivery_init(void)
{
	concord_preview_delivery_hook = prv_delivery;
}
