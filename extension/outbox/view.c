/*-------------------------------------------------------------------------
 *
 * view.c
 *	  The outbox as rows, for people: concord.outbox.
 *
 * An image becomes a JSON object of column name to the value's canonical text
 * (NULL as null).  A TOASTed value that the change did not touch is left out,
 * as is a column that is not part of an old key; a value that was too large
 * to capture becomes {"length": n, "sha256": "..."}.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "common/sha2.h"
#include "decoder/protocol.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "outbox/read.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/pg_lsn.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/xid8.h"

#define VIEW_BATCH_EVENTS	1000
#define VIEW_BATCH_BYTES	(4 * 1024 * 1024)

/* Columns of concord.outbox_events(). */
enum
{
	VIEW_SEQ, VIEW_EVENT_ID, VIEW_OP, VIEW_SOURCE, VIEW_TOPIC, VIEW_KEY,
	VIEW_OLD, VIEW_NEW, VIEW_PAYLOAD, VIEW_HEADERS, VIEW_XID, VIEW_LSN,
	VIEW_ORDINAL, VIEW_COMMITTED_AT, VIEW_NCOLUMNS
};

PG_FUNCTION_INFO_V1(concord_outbox_events);

/* view_oversize writes what is known of a value that was too large. */
static void
view_oversize(StringInfo buf, const ConcordImageValue *value)
{
	char		hex[2 * PG_SHA256_DIGEST_LENGTH];
	uint64		length = 0;
	const char *p = concord_get_varint(value->text, value->text + value->len,
									   &length);

	hex_encode(p, PG_SHA256_DIGEST_LENGTH, hex);
	appendStringInfo(buf, "{\"length\": " UINT64_FORMAT ", \"sha256\": \"%.*s\"}",
					 length, (int) sizeof(hex), hex);
}

/* view_failed writes why a value could not be encoded. */
static void
view_failed(StringInfo buf, const ConcordImageValue *value)
{
	char		sqlstate[CONCORD_SQLSTATE_LENGTH + 1];
	char	   *message = concord_image_failure(value, sqlstate);

	appendStringInfo(buf, "{\"sqlstate\": \"%s\", \"message\": ", sqlstate);
	escape_json(buf, message);
	appendStringInfoChar(buf, '}');
}

/* view_image turns an image into a JSON object's text. */
static Datum
view_image(const ConcordRelation *relation, const char *image, uint32 len)
{
	ConcordImageValue *values = palloc(sizeof(ConcordImageValue) *
									   Max(relation->ncolumns, 1));
	StringInfoData buf;
	bool		first = true;

	concord_image_decode(relation, image, len, values);
	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	for (int i = 0; i < relation->ncolumns; i++)
	{
		const ConcordImageValue *value = &values[i];

		if (value->kind == CONCORD_IMAGE_UNCHANGED ||
			value->kind == CONCORD_IMAGE_ABSENT)
			continue;
		if (!first)
			appendStringInfoString(&buf, ", ");
		first = false;
		escape_json(&buf, relation->columns[i].name);
		appendStringInfoString(&buf, ": ");
		if (value->kind == CONCORD_IMAGE_NULL)
			appendStringInfoString(&buf, "null");
		else if (value->kind == CONCORD_IMAGE_OVERSIZE)
			view_oversize(&buf, value);
		else if (value->kind == CONCORD_IMAGE_FAILED)
			view_failed(&buf, value);
		else
			escape_json(&buf, concord_image_text(value));
	}
	appendStringInfoChar(&buf, '}');
	return CStringGetTextDatum(buf.data);
}

/* view_source writes the qualified name that the relation had then. */
static Datum
view_source(const ConcordRelation *relation)
{
	return CStringGetTextDatum(quote_qualified_identifier(relation->schema,
														  relation->table));
}

static void
view_set_text(Datum *values, bool *nulls, int column, const char *text)
{
	if (text == NULL)
		return;
	values[column] = CStringGetTextDatum(text);
	nulls[column] = false;
}

static void
view_set(Datum *values, bool *nulls, int column, Datum value)
{
	values[column] = value;
	nulls[column] = false;
}

/* view_put adds an event to the result. */
static void
view_put(ReturnSetInfo *rsinfo, const ConcordEvent *event)
{
	Datum		values[VIEW_NCOLUMNS];
	bool		nulls[VIEW_NCOLUMNS];

	memset(nulls, true, sizeof(nulls));
	view_set(values, nulls, VIEW_SEQ, Int64GetDatum(event->seq));
	view_set(values, nulls, VIEW_EVENT_ID, UUIDPGetDatum(&event->id));
	view_set_text(values, nulls, VIEW_OP, concord_event_op_name(event->op));
	view_set_text(values, nulls, VIEW_TOPIC, event->topic);
	view_set_text(values, nulls, VIEW_KEY, event->key);
	view_set_text(values, nulls, VIEW_PAYLOAD, event->payload);
	view_set_text(values, nulls, VIEW_HEADERS, event->headers);
	view_set(values, nulls, VIEW_XID, TransactionIdGetDatum(event->xid));
	view_set(values, nulls, VIEW_LSN, LSNGetDatum(event->lsn));
	view_set(values, nulls, VIEW_ORDINAL, Int64GetDatum((int64) event->ordinal));
	view_set(values, nulls, VIEW_COMMITTED_AT,
			 TimestampTzGetDatum(event->committed_at));
	if (event->relation != NULL)
		view_set(values, nulls, VIEW_SOURCE, view_source(event->relation));
	if (event->old_image != NULL)
		view_set(values, nulls, VIEW_OLD,
				 view_image(event->relation, event->old_image, event->old_len));
	if (event->new_image != NULL)
		view_set(values, nulls, VIEW_NEW,
				 view_image(event->relation, event->new_image, event->new_len));
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/*
 * concord_outbox_events(after_seq bigint) returns the events that are kept
 * after a seq; images, payload and headers as JSON text, which the view casts.
 */
Datum
concord_outbox_events(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ConcordOutboxReader *reader;
	MemoryContext row_context;
	MemoryContext old;
	int64		read_up_to;
	int64		before;
	int			nevents;

	InitMaterializedSRF(fcinfo, 0);
	before = PG_GETARG_INT64(0);
	reader = concord_outbox_open(CurrentMemoryContext, before, NULL, 0);
	row_context = AllocSetContextCreate(CurrentMemoryContext, "concord outbox row",
										ALLOCSET_DEFAULT_SIZES);
	for (;;)
	{
		ConcordEvent *events = concord_outbox_read(reader, VIEW_BATCH_EVENTS,
												   VIEW_BATCH_BYTES, &nevents,
												   &read_up_to);

		if (nevents == 0 && read_up_to == before)
			break;
		before = read_up_to;
		for (int i = 0; i < nevents; i++)
		{
			old = MemoryContextSwitchTo(row_context);
			view_put(rsinfo, &events[i]);
			MemoryContextSwitchTo(old);
			MemoryContextReset(row_context);
		}
		CHECK_FOR_INTERRUPTS();
	}
	concord_outbox_close(reader);
	return (Datum) 0;
}
