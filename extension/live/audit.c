/*-------------------------------------------------------------------------
 *
 * audit.c
 *	  The record of what sessions write to systems.
 *
 * What went to a system stays there when the transaction is rolled back, and so
 * does its record: two logical messages that belong to no transaction, signed
 * as our others are (outbox/message.c).  The first is on disk before the request
 * is sent, the second when it has ended.  Capture stores both in
 * concord.call_record, and view concord.call_log puts them together.  A call
 * without a second message was cancelled, or its session ended: it may have been
 * carried out.
 *
 * Bodies are not recorded, only their length and hash: they are often personal
 * data, and the system has them.
 *
 * A transaction that has written to a system cannot be prepared: what was done
 * there is done, whatever becomes of the prepared transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "live/audit.h"

#include "access/xact.h"
#include "base/json.h"
#include "base/settings.h"
#include "capture/capture.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "outbox/message.h"
#include "utils/acl.h"
#include "utils/timestamp.h"

/* What is recorded of an address. */
#define AUD_URL			2000

/* This transaction has written to a system. */
static bool aud_wrote = false;
static bool aud_hooked = false;

/* aud_xact refuses PREPARE TRANSACTION, and forgets at the end. */
static void
aud_xact(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (aud_wrote)
				ereport(ERROR,
						(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						 errmsg("cannot PREPARE a transaction that has written to a server of wrapper \"concord\""),
						 errdetail("What was written there is done, and cannot be part of a prepared transaction.")));
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			aud_wrote = false;
			break;
		default:
			break;
	}
}

/* concord_audit_prepare is called before a request that writes may be sent. */
void
concord_audit_prepare(ConcordLiveRequest *live)
{
	if (!live->writes)
		return;
	PreventCommandIfReadOnly("a request that writes to a server");
	if (!aud_hooked)
		RegisterXactCallback(aud_xact, NULL);
	aud_hooked = true;
	aud_wrote = true;
	live->audited = concord_call_log;
	if (!live->audited)
		return;
	concord_capture_require("a request that writes to a server");
	concord_message_load_key();
}

/* aud_text adds a member that is a text. */
static void
aud_text(StringInfo buf, const char *name, const char *value)
{
	appendStringInfo(buf, ", \"%s\": ", name);
	if (value == NULL)
		appendStringInfoString(buf, "null");
	else
		concord_json_string(buf, value, strlen(value));
}

/* aud_at begins a record with the time. */
static void
aud_at(StringInfo buf)
{
	TimestampTz now = GetCurrentTimestamp();
	char	   *text;

	initStringInfo(buf);
	appendStringInfoString(buf, "{\"at\": ");
	text = concord_value_text(TIMESTAMPTZOID, TimestampTzGetDatum(now));
	concord_json_value(buf, TIMESTAMPTZOID, text, strlen(text), false);
}

/* aud_body adds a body's length and hash. */
static void
aud_body(StringInfo buf, const ConcordRequest *http)
{
	uint8		digest[CONCORD_SHA256_LENGTH];

	if (http->body == NULL)
		return;
	concord_sha256(http->body, http->body_len, digest);
	appendStringInfo(buf, ", \"bytes\": %zu, \"hash\": \"", http->body_len);
	for (int i = 0; i < lengthof(digest) / 2; i++)
		appendStringInfo(buf, "%02x", digest[i]);
	appendStringInfoChar(buf, '"');
}

/* concord_audit_begin records that a request is about to be sent. */
void
concord_audit_begin(ConcordLiveRequest *live)
{
	TransactionId xid = GetTopTransactionIdIfAny();
	MemoryContext old;
	StringInfoData buf;

	if (!live->audited)
		return;
	old = MemoryContextSwitchTo(live->context);
	aud_at(&buf);
	aud_text(&buf, "server", live->peer->server->name);
	aud_text(&buf, "role", GetUserNameFromId(live->peer->roleid, true));
	aud_text(&buf, "session_role", GetUserNameFromId(GetSessionUserId(), true));
	aud_text(&buf, "method", live->http->method);
	aud_text(&buf, "url", concord_evidence(live->peer->auth, live->http->url,
										   AUD_URL));
	appendStringInfo(&buf, ", \"pid\": %d", MyProcPid);
	if (TransactionIdIsValid(xid))
		appendStringInfo(&buf, ", \"xid\": %u", xid);
	aud_body(&buf, live->http);
	appendStringInfoChar(&buf, '}');
	concord_capture_announce(concord_message_note(CONCORD_MESSAGE_CALL, "begin",
												  concord_json_server(buf.data),
												  &live->id));
	MemoryContextSwitchTo(old);
}

/* aud_outcome says in a word what became of a request. */
static const char *
aud_outcome(const ConcordLiveRequest *live)
{
	const ConcordResponse *response = &live->http->response;

	switch (response->transfer)
	{
		case CONCORD_TRANSFER_NOT_SENT:
			return "not sent";
		case CONCORD_TRANSFER_UNKNOWN:
			return "unknown";
		default:
			return response->status >= 200 && response->status < 300 ? "done" :
				response->status < 500 ? "refused" : "failed";
	}
}

/* concord_audit_end records what became of a request. */
void
concord_audit_end(ConcordLiveRequest *live)
{
	const ConcordResponse *response = &live->http->response;
	MemoryContext old;
	StringInfoData buf;

	if (!live->audited)
		return;
	old = MemoryContextSwitchTo(live->context);
	aud_at(&buf);
	aud_text(&buf, "outcome", aud_outcome(live));
	appendStringInfo(&buf, ", \"status\": %d, \"elapsed_us\": " INT64_FORMAT,
					 response->status, response->elapsed_us);
	aud_text(&buf, "error", live->detail);
	appendStringInfoChar(&buf, '}');
	concord_capture_announce(concord_message_note(CONCORD_MESSAGE_CALL, "end",
												  concord_json_server(buf.data),
												  &live->id));
	MemoryContextSwitchTo(old);
}
