/*-------------------------------------------------------------------------
 *
 * receive.c
 *	  concord.receive(): a message of a system, handed over by an HTTP front.
 *
 * The order: is it a challenge, is it signed and fresh, did it come before,
 * what does it say.  All that it says is in the inbox before anything is done
 * with it, in one transaction with the memory of its id; what becomes of it is
 * the applier's.  The front answers what the function returns once that
 * transaction has committed.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/bookkeeping.h"
#include "base/json.h"
#include "base/settings.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fdw/json.h"
#include "fmgr.h"
#include "inbound/inbound.h"
#include "inbound/receive.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(concord_receive);

/* Ids of messages are kept so long; systems try again for three days at most. */
#define RCV_KEEP		"7 days"
#define RCV_KEEP_ROWS	10000	/* that go in one transaction */

/*
 * rcv_first remembers a message's id; false where it was there.  A copy of the
 * message that comes at the same time waits for the first.
 */
static bool
rcv_first(const ConcordReceiver *receiver, bool of_server, const char *id)
{
	Oid			types[] = {OIDOID, INT4OID, TEXTOID};
	Datum		values[] = {
		ObjectIdGetDatum(receiver->mapping->serverid),
		Int32GetDatum(of_server ? 0 : receiver->mapping->id),
		CStringGetTextDatum(id),
	};

	if (SPI_execute_with_args("INSERT INTO concord.inbox_message (serverid, mapping, message_id)"
							  " VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
							  lengthof(types), types, values, NULL, false,
							  0) != SPI_OK_INSERT)
		elog(ERROR, "could not write concord.inbox_message");
	return SPI_processed > 0;
}

/* rcv_put sets a text parameter. */
static void
rcv_put(Datum *value, char *isnull, const char *given)
{
	*isnull = given == NULL ? 'n' : ' ';
	*value = given == NULL ? (Datum) 0 : CStringGetTextDatum(given);
}

/* rcv_nothing: a notice names no record, and what has changed is not asked for. */
static bool
rcv_nothing(const ConcordReceiver *receiver, const ConcordNotice *notice)
{
	return notice->record == NULL && notice->remote_id == NULL &&
		receiver->mapping->options.pull == NULL;
}

/* rcv_store puts what a message says of a record into the inbox. */
static void
rcv_store(const ConcordReceiver *receiver, const char *id,
		  const ConcordNotice *notice)
{
	Oid			types[] = {INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID, BOOLOID};
	Datum		values[lengthof(types)];
	char		nulls[lengthof(types)];
	TimestampTz changed = 0;

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int32GetDatum(receiver->mapping->id);
	rcv_put(&values[1], &nulls[1], id);
	rcv_put(&values[2], &nulls[2], notice->deleted ? "delete" :
			notice->record == NULL ? "fetch" : "upsert");
	rcv_put(&values[3], &nulls[3], notice->remote_id);
	rcv_put(&values[4], &nulls[4], notice->etag);
	nulls[5] = concord_remote_time(notice->changed, &changed) ? ' ' : 'n';
	values[5] = TimestampTzGetDatum(changed);
	rcv_put(&values[6], &nulls[6], notice->record);
	values[7] = BoolGetDatum(rcv_nothing(receiver, notice));
	if (SPI_execute_with_args("INSERT INTO concord.inbox_item"
							  " (mapping, origin, message_id, op, remote_id, etag, remote_changed, record, state, rule, error)"
							  " SELECT $1, 'receive', $2, $3, $4, $5, $6, $7, CASE WHEN $8 THEN 'parked' ELSE 'new' END,"
							  "  CASE WHEN $8 THEN 'id' END,"
							  "  CASE WHEN $8 THEN 'the message names no record, and the mapping has no option pull' END",
							  lengthof(types), types, values, nulls, false,
							  0) != SPI_OK_INSERT)
		elog(ERROR, "could not write concord.inbox_item");
}

/* rcv_wants says whether a notice is of a receiver's object. */
static bool
rcv_wants(const ConcordReceiver *receiver, const ConcordNotice *notice,
		  bool of_server)
{
	const char *object = receiver->object;

	if (object == NULL && !of_server)
		return true;
	if (object == NULL)
		object = receiver->mapping->object;
	return notice->object != NULL && pg_strcasecmp(notice->object, object) == 0;
}

/* rcv_refuse raises for a message that none of the mappings is for. */
static void
rcv_refuse(const char *name, const ConcordNotice *notice)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 notice->object != NULL ?
			 errmsg("no mapping of \"%s\" receives \"%s\"", name, notice->object) :
			 errmsg("the message for \"%s\" does not say what kind of record it is about", name),
			 errhint("Name the mapping instead of the server, or say in its option receive what messages call its object: {\"object\": \"...\"}.")));
}

/* rcv_store_all stores what a message says to a receiver; returns how much. */
static int
rcv_store_all(const ConcordReceiver *receiver, bool of_server, const char *id,
			  List *notices)
{
	ListCell   *lc;
	int			stored = 0;

	foreach(lc, notices)
	{
		if (!rcv_wants(receiver, lfirst(lc), of_server))
			continue;
		rcv_store(receiver, id, lfirst(lc));
		stored++;
	}
	return stored;
}

/* rcv_take stores what a message says, unless it came before. */
static void
rcv_take(List *receivers, const char *name, bool of_server,
		 const ConcordIncoming *message)
{
	const ConcordReceiver *first = linitial(receivers);
	char	   *id = concord_message_value(message, &first->receiving->id, NULL, 0);
	List	   *notices = NIL;
	ListCell   *lc;
	ConcordCatalogScope scope;
	int			stored = 0;
	Size		at;

	if (!concord_json_valid(message->body, message->len, &at))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_JSON_TEXT),
				 errmsg("the message cannot be read: it is not JSON from byte %zu on",
						at + 1)));
	concord_catalog_enter(&scope);
	if (id != NULL && *id != '\0' && !rcv_first(first, of_server, id))
	{
		ereport(DEBUG1,
				(errmsg("message \"%s\" for \"%s\" came before", id, name)));
		concord_catalog_leave(&scope);
		return;
	}
	foreach(lc, receivers)
	{
		const ConcordReceiver *receiver = lfirst(lc);

		notices = concord_message_notices(receiver->receiving, message);
		stored += rcv_store_all(receiver, of_server, id, notices);
	}
	if (stored == 0 && notices != NIL)
		rcv_refuse(name, linitial(notices));
	concord_inbound_wake();
	concord_catalog_leave(&scope);
}

/* rcv_message reads the arguments; errors where they are no message. */
static void
rcv_message(ConcordIncoming *message, text * body, Jsonb *headers)
{
	int			limit = concord_max_event_size * 1024;
	char	   *given = text_to_cstring(body);

	if (!JB_ROOT_IS_OBJECT(headers))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("argument \"headers\" must be an object of the headers' names and values")));
	message->headers = headers;
	message->body = concord_json_utf8(given);
	message->len = strlen(message->body);
	if (message->len > limit)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the message has %zu bytes, more than pg_concord.max_event_size allows",
						message->len)));
}

/* concord_receive is concord.receive(). */
Datum
concord_receive(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"name", "body", "headers"};
	const char *name;
	ConcordIncoming message;
	List	   *receivers;
	bool		of_server;
	char	   *answer;

	for (int i = 0; i < lengthof(names); i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not be null", names[i])));
	}
	PreventCommandIfReadOnly("concord.receive()");
	PreventCommandIfParallelMode("concord.receive()");
	name = NameStr(*PG_GETARG_NAME(0));
	rcv_message(&message, PG_GETARG_TEXT_PP(1), PG_GETARG_JSONB_P(2));
	receivers = concord_receivers(name);
	of_server = strcmp(((ConcordReceiver *) linitial(receivers))->mapping->name,
					   name) != 0;
	answer = concord_message_challenge(((ConcordReceiver *) linitial(receivers))->receiving,
									   &message);
	if (answer != NULL)
		PG_RETURN_TEXT_P(cstring_to_text(answer));
	receivers = concord_receive_verify(receivers, name, &message);
	rcv_take(receivers, name, of_server, &message);
	PG_RETURN_TEXT_P(cstring_to_text(""));
}

/*
 * concord_receive_retain forgets ids of messages that are old; false where it
 * is to be called again soon.
 */
bool
concord_receive_retain(void)
{
	bool		done;

	concord_bookkeeping_begin();
	if (SPI_execute("DELETE FROM concord.inbox_message WHERE ctid = ANY (ARRAY("
					"SELECT ctid FROM concord.inbox_message"
					" WHERE received_at < pg_catalog.now() - interval '" RCV_KEEP "'"
					" LIMIT " CppAsString2(RCV_KEEP_ROWS) "))",
					false, 0) != SPI_OK_DELETE)
		elog(ERROR, "could not clean concord.inbox_message");
	done = SPI_processed < RCV_KEEP_ROWS;
	concord_bookkeeping_commit(false);
	return done;
}
