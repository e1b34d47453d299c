/*-------------------------------------------------------------------------
 *
 * truncate.c
 *	  A table was truncated, and the mapping says delete: one delete for each
 *	  record that the links know.
 *
 * The truncate waits until it is the first of its lane's window (map.c), so
 * every earlier event has come to its end.  Then each present link becomes a
 * live exception with an event of its own, a delete with the local key as the
 * old row, at the truncate's position: later events of that key stand behind
 * it, and where one was delivered nevertheless the link says so and the delete
 * is dropped.  A crash before the truncate is finished does it once more; what
 * has been deleted by then is not present any more.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/bookkeeping.h"
#include "catalog/pg_type.h"
#include "decoder/protocol.h"
#include "delivery/delivery.h"
#include "delivery/division.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* trn_varint appends a varint. */
static void
trn_varint(StringInfo buf, uint64 v)
{
	char		bytes[CONCORD_VARINT_MAX];

	appendBinaryStringInfo(buf, bytes, concord_put_varint(bytes, v) - bytes);
}

/* trn_image makes an old image that has the columns of a local key only. */
static void
trn_image(const ConcordRelation *relation, char **names, char **values, int n,
		  StringInfo buf)
{
	initStringInfo(buf);
	trn_varint(buf, relation->ncolumns);
	for (int i = 0; i < relation->ncolumns; i++)
	{
		const char *value = NULL;

		for (int j = 0; j < n; j++)
			if (strcmp(names[j], relation->columns[i].name) == 0)
				value = values[j];
		trn_varint(buf, value ? CONCORD_IMAGE_TEXT + strlen(value) : CONCORD_IMAGE_ABSENT);
		if (value != NULL)
			appendStringInfoString(buf, value);
	}
}

/* trn_insert writes the delete of one record. */
static void
trn_insert(const ConcordDelivery *d, const char *key, char **names,
		   char **values, int n)
{
	Oid			types[] = {INT4OID, INT4OID, INT8OID, UUIDOID, TIMESTAMPTZOID,
	TEXTOID, BYTEAOID, INT4OID};
	ConcordEvent event = *d->event;
	Datum		row[8];
	int32		hash;
	int32		old_hash;
	StringInfoData image;

	trn_image(event.relation, names, values, n, &image);
	concord_event_derive_id(&d->event->id, key, strlen(key), &event.id);
	event.op = CONCORD_OP_DELETE;
	event.flags = CONCORD_ROW_OLD | CONCORD_ROW_OLD_IS_KEY;
	event.old_image = image.data;
	event.old_len = image.len;
	row[0] = Int32GetDatum(d->lane->id);
	row[1] = Int32GetDatum(d->definition->mapping->version);
	row[2] = Int64GetDatum(event.seq);
	row[3] = UUIDPGetDatum(&event.id);
	row[4] = TimestampTzGetDatum(event.committed_at);
	row[5] = CStringGetTextDatum(key);
	row[6] = PointerGetDatum(concord_event_pack(&event));
	concord_event_hashes(d->definition->mapping, &event, &hash, &old_hash);
	row[7] = Int32GetDatum(hash);
	if (SPI_execute_with_args("INSERT INTO concord.exception (mapping, version, seq, event_id, op,"
							  "       committed_at, ordering_key, local_key, event, state, next_try, key_hash)"
							  " VALUES ($1, $2, $3, $4, 'delete', $5, $6, $6::pg_catalog.jsonb, $7,"
							  "         'retry', pg_catalog.now(), $8)",
							  8, types, row, NULL, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write concord.exception");
}

/*
 * concord_truncate_expand writes the deletes that a truncate stands for, in a
 * transaction of its own, and has them loaded.
 */
void
concord_truncate_expand(ConcordCourier *courier, const ConcordDelivery *d)
{
	Oid			types[] = {INT4OID, INT8OID};
	Datum		values[] = {Int32GetDatum(d->lane->id),
	Int64GetDatum(d->event->seq)};
	SPITupleTable *rows;
	uint64		n;
	uint64		i = 0;

	concord_bookkeeping_begin();
	if (SPI_execute_with_args("SELECT k.local_key::pg_catalog.text, e.key, e.value"
							  "  FROM concord.link_item k, pg_catalog.jsonb_each_text(k.local_key) e"
							  " WHERE k.mapping = $1 AND k.present AND k.seq < $2"
							  " ORDER BY k.local_key",
							  2, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.link_item");
	rows = SPI_tuptable;
	n = SPI_processed;
	while (i < n)
	{
		char	   *key = SPI_getvalue(rows->vals[i], rows->tupdesc, 1);
		char	   *names[INDEX_MAX_KEYS];
		char	   *texts[INDEX_MAX_KEYS];
		int			parts = 0;

		for (; i < n && parts < INDEX_MAX_KEYS &&
			 strcmp(key, SPI_getvalue(rows->vals[i], rows->tupdesc, 1)) == 0; i++)
		{
			names[parts] = SPI_getvalue(rows->vals[i], rows->tupdesc, 2);
			texts[parts++] = SPI_getvalue(rows->vals[i], rows->tupdesc, 3);
		}
		trn_insert(d, key, names, texts, parts);
	}
	concord_parked_sync(courier, d->lane, false);
	concord_bookkeeping_commit(true);
}
