/*-------------------------------------------------------------------------
 *
 * emit.c
 *	  concord.emit(): an application's own event, and what other rooms emit.
 *
 * Topics that begin with "concord." are the extension's own: what arrives under
 * one has been checked by our code, so nobody emits one from SQL.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "base/bookkeeping.h"
#include "base/settings.h"
#include "capture/capture.h"
#include "fmgr.h"
#include "mapping/eval.h"
#include "miscadmin.h"
#include "outbox/message.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(concord_emit);

#define EMT_OWN		"concord."

/* emt_json writes a jsonb argument as text; NULL where it is NULL. */
static char *
emt_json(FunctionCallInfo fcinfo, int argument)
{
	Jsonb	   *value;

	if (PG_ARGISNULL(argument))
		return NULL;
	value = PG_GETARG_JSONB_P(argument);
	return JsonbToCString(NULL, &value->root, VARSIZE(value));
}

/* emt_check_arguments refuses what no event can be made of. */
static void
emt_check_arguments(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("topic must not be null")));
	if (VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(0)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("topic must not be empty")));
	if (VARSIZE_ANY_EXHDR(PG_GETARG_TEXT_PP(0)) >= strlen(EMT_OWN) &&
		memcmp(VARDATA_ANY(PG_GETARG_TEXT_PP(0)), EMT_OWN, strlen(EMT_OWN)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_RESERVED_NAME),
				 errmsg("topic \"%s\" is reserved",
						text_to_cstring(PG_GETARG_TEXT_PP(0))),
				 errhint("Topics that begin with \"concord.\" are the extension's own.")));
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("payload must not be null"),
				 errhint("An event without content has the payload '{}' or 'null'.")));
	if (!PG_ARGISNULL(3) && !JB_ROOT_IS_OBJECT(PG_GETARG_JSONB_P(3)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers must be a JSON object")));
}

/* concord_emit_begin raises where no event can be emitted. */
void
concord_emit_begin(const char *what)
{
	if (concord_mapping_evaluating)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("%s cannot be used in an expression of a mapping", what),
				 errdetail("Expressions only read; they may be evaluated any number of times.")));
	PreventCommandIfReadOnly(what);
	if (concord_bookkeeping_active())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("%s cannot be used in a transaction of pg_concord's own",
						what),
				 errdetail("What is written there is not captured.")));
	concord_capture_require(what);
}

/* concord_emit_event emits an event. */
void
concord_emit_event(const char *topic, const char *key, const char *headers,
				   const char *payload, pg_uuid_t *id)
{
	Size		size = strlen(topic) + strlen(payload) + (key ? strlen(key) : 0) +
		(headers ? strlen(headers) : 0);

	if (size > (Size) concord_max_event_size * 1024)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("event is too large"),
				 errdetail("It has %zu bytes; \"pg_concord.max_event_size\" allows %zu.",
						   size, (Size) concord_max_event_size * 1024)));
	concord_message_emit(CONCORD_MESSAGE_EMIT, topic, key, headers, payload, id);
}

/*
 * concord_emit(topic text, payload jsonb, key text, headers jsonb) writes an
 * event that is sent if and only if this transaction commits.
 */
Datum
concord_emit(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	emt_check_arguments(fcinfo);
	concord_emit_begin("concord.emit()");
	concord_emit_event(text_to_cstring(PG_GETARG_TEXT_PP(0)),
					   PG_ARGISNULL(2) ? NULL :
					   text_to_cstring(PG_GETARG_TEXT_PP(2)),
					   emt_json(fcinfo, 3), emt_json(fcinfo, 1), id);
	PG_RETURN_UUID_P(id);
}
