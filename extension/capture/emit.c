/*-------------------------------------------------------------------------
 *
 * emit.c
 *	  concord.emit(): an application's own event.
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

/*
 * concord_emit(topic text, payload jsonb, key text, headers jsonb) writes an
 * event that is sent if and only if this transaction commits.
 */
Datum
concord_emit(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));
	char	   *topic;
	char	   *key;
	char	   *payload;
	char	   *headers;
	Size		size;

	emt_check_arguments(fcinfo);
	if (concord_mapping_evaluating)
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("concord.emit() cannot be used in an expression of a mapping"),
				 errdetail("Expressions only read; they may be evaluated any number of times.")));
	PreventCommandIfReadOnly("concord.emit()");
	if (concord_bookkeeping_active())
		ereport(ERROR,
				(errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				 errmsg("concord.emit() cannot be used in a transaction of pg_concord's own"),
				 errdetail("What is written there is not captured.")));
	topic = text_to_cstring(PG_GETARG_TEXT_PP(0));
	key = PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2));
	payload = emt_json(fcinfo, 1);
	headers = emt_json(fcinfo, 3);
	size = strlen(topic) + strlen(payload) + (key ? strlen(key) : 0) +
		(headers ? strlen(headers) : 0);
	if (size > (Size) concord_max_event_size * 1024)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("event is too large"),
				 errdetail("It has %zu bytes; \"pg_concord.max_event_size\" allows %zu.",
						   size, (Size) concord_max_event_size * 1024)));
	concord_capture_require("concord.emit()");
	concord_message_emit(CONCORD_MESSAGE_EMIT, topic, key, headers, payload, id);
	PG_RETURN_UUID_P(id);
}
