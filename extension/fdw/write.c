/*-------------------------------------------------------------------------
 *
 * write.c
 *	  Rows of a foreign table that are written to its system, at once.
 *
 * A row becomes what a delivery would be: a mapping made of the table's options,
 * the row's values mapped (row.c), an event; so the connector's own verbs, bodies,
 * keys and batches do the rest.  What differs: nothing is tried again, and a
 * conflict is not settled by writing over what somebody else has written.  An
 * update or deletion carries the version (ETag) that the statement read; where
 * the system has another one by now, the statement fails (40001).
 *
 * What was written stays written, whatever becomes of the statement.  So an
 * error says how many rows that is.  The audit, and that such a transaction
 * cannot be prepared, are the session's (live/).
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/write.h"

#include "connector/batch.h"
#include "fdw/json.h"
#include "fdw/page.h"
#include "fdw/row.h"
#include "mapping/written.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

struct ConcordWriter
{
	const ConcordForeignTable *table;
	ConcordPeer *peer;
	CmdType		operation;
	bool		returning;
	ConcordRowForm form;
	int64		done;
};

/* concord_writer_create makes a writer. */
ConcordWriter *
concord_writer_create(const ConcordForeignTable *table, ConcordPeer *peer,
					  CmdType operation, List *columns, List *given,
					  bool returning)
{
	ConcordWriter *writer = palloc0(sizeof(ConcordWriter));

	writer->table = table;
	writer->peer = peer;
	writer->operation = operation;
	writer->returning = returning;
	concord_row_form(&writer->form, table, operation, columns, given);
	writer->form.mapping.server = peer->server->name;
	writer->form.mapping.definer = peer->roleid;
	return writer;
}

/* wrt_event makes the event that a write is. */
static ConcordEvent *
wrt_event(const ConcordMapped *mapped)
{
	ConcordEvent *event = palloc0(sizeof(ConcordEvent));

	if (!pg_strong_random(event->id.data, UUID_LEN))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random values")));
	event->ordinal = 1;
	event->op = mapped->written->op;
	return event;
}

/* wrt_link says what is known of the record at the system. */
static void
wrt_link(const ConcordWriter *writer, const ConcordMapped *mapped,
		 const char *tag, ConcordLink *link)
{
	memset(link, 0, sizeof(ConcordLink));
	if (writer->operation == CMD_INSERT)
		return;
	link->exists = true;
	if (writer->form.mapping.options.remote_id_assigned)
		link->remote_id = mapped->keys[0].text;
	link->etag = tag != NULL ? pstrdup(tag) : NULL;
}

/* wrt_prefer has an answer carry the record. */
static void
wrt_prefer(ConcordRequest *request)
{
	for (int i = 0; i < request->nheaders; i++)
	{
		if (pg_strcasecmp(request->headers[i].name, "Prefer") == 0 &&
			strcmp(request->headers[i].value, "return=minimal") == 0)
			request->headers[i].value = MemoryContextStrdup(request->context,
															"return=representation");
	}
}

/* concord_writer_begin makes the request of one row. */
ConcordWrite *
concord_writer_begin(ConcordWriter *writer, const Datum *values,
					 const bool *nulls, const Datum *keys, const char *tag,
					 MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	ConcordWrite *write = palloc0(sizeof(ConcordWrite));
	ConcordMapped *mapped = concord_row_map(&writer->form, values, nulls, keys);
	ConcordLink link;

	wrt_link(writer, mapped, tag, &link);
	write->exchange = concord_exchange_begin(writer->peer->server,
											 &writer->form.mapping, wrt_event(mapped),
											 mapped, &link, context);
	write->request = concord_exchange_item(write->exchange, NULL,
										   writer->peer->auth);
	if (write->request == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a row of foreign table \"%s\" cannot be written",
						writer->table->relname),
				 write->exchange->error != NULL ?
				 errdetail_internal("%s", write->exchange->error) : 0));
	if (writer->returning)
		wrt_prefer(write->request);
	MemoryContextSwitchTo(old);
	return write;
}

/* wrt_submit sends a request that a connector has made. */
static ConcordLiveRequest *
wrt_submit(ConcordWriter *writer, const ConcordRequest *request)
{
	ConcordLiveRequest *live = concord_live_create(writer->peer, request->method,
												   request->url);
	MemoryContext old = MemoryContextSwitchTo(live->http->context);

	for (int i = 0; i < request->nheaders; i++)
		concord_request_set_header(live->http, request->headers[i].name,
								   request->headers[i].value);
	if (request->body != NULL)
	{
		live->http->body = palloc(request->body_len + 1);
		memcpy(live->http->body, request->body, request->body_len);
		live->http->body[request->body_len] = '\0';
		live->http->body_len = request->body_len;
	}
	MemoryContextSwitchTo(old);
	concord_live_submit(live, 0);
	return live;
}

/* wrt_context says what cannot be undone. */
static void
wrt_context(void *arg)
{
	ConcordWriter *writer = arg;

	errcontext("%lld rows of foreign table \"%s\" had been written by this statement, which cannot be undone",
			   (long long) writer->done, writer->table->relname);
}

/* wrt_conflict raises that a record is not as it was read. */
static void
wrt_conflict(ConcordWriter *writer, const ConcordWrite *write, const char *why)
{
	const ConcordMapped *mapped = write->exchange->mapped;
	StringInfoData key;

	initStringInfo(&key);
	for (int i = 0; i < writer->table->nkeys; i++)
		appendStringInfo(&key, "%s%s %s", i > 0 ? ", " : "",
						 writer->table->columns[writer->table->keys[i] - 1].attname,
						 mapped->keys[i].text);
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("a record of foreign table \"%s\" is not as it was read",
					writer->table->relname),
			 errdetail("The record with %s %s.", key.data, why),
			 errhint("Read it again and repeat the statement.")));
}

/* wrt_refused raises what an answer to a part of a batch says. */
static void
wrt_refused(ConcordWriter *writer, ConcordWrite *write)
{
	ConcordExchange *exchange = write->exchange;

	concord_exchange_judge(exchange, write->response, writer->peer->auth);
	ereport(ERROR,
			(errcode(write->response->status >= 300 ?
					 concord_errcode_status(write->response->status) :
					 ERRCODE_FDW_ERROR),
			 errmsg("server \"%s\" refused a row of foreign table \"%s\"",
					writer->peer->server->name, writer->table->relname),
			 exchange->error != NULL ?
			 errdetail_internal("%s", exchange->error) : 0));
}

/* wrt_judge raises unless a record was written. */
static void
wrt_judge(ConcordWriter *writer, ConcordWrite *write)
{
	int			status = write->response->status;

	if (writer->operation != CMD_INSERT)
	{
		if (status == 412 || (status == 409 && write->exchange->link.etag != NULL))
			wrt_conflict(writer, write, "was changed meanwhile");
		if ((status == 404 || status == 410) && writer->operation == CMD_UPDATE)
			wrt_conflict(writer, write, "is not there any more");
		if (status == 404 || status == 410)
		{
			write->gone = true;
			return;
		}
	}
	if (status < 200 || status >= 300)
	{
		if (write->live != NULL)
			concord_live_check(write->live, true);
		wrt_refused(writer, write);
	}
	/* a system may refuse with an answer of success */
	if (concord_exchange_item(write->exchange, write->response,
							  writer->peer->auth) == NULL &&
		write->exchange->outcome != CONCORD_OUTCOME_DONE)
		wrt_refused(writer, write);
	writer->done++;
}

/* wrt_alone sends records, each by a request of its own. */
static void
wrt_alone(ConcordWriter *writer, ConcordWrite **writes, int n)
{
	for (int i = 0; i < n; i++)
	{
		ConcordRequest *request = writes[i]->request;

		concord_exchange_complete(writes[i]->exchange, request, NULL);
		writes[i]->live = wrt_submit(writer, request);
		concord_live_wait(writes[i]->live);
		concord_live_check(writes[i]->live, false);
		writes[i]->response = &writes[i]->live->http->response;
		wrt_judge(writer, writes[i]);
	}
}

/* wrt_together sends records in one request. */
static void
wrt_together(ConcordWriter *writer, const ConcordBatchForm *form,
			 ConcordWrite **writes, int n)
{
	ConcordBatchItem *items = palloc0(sizeof(ConcordBatchItem) * n);
	ConcordRequest *request;
	ConcordLiveRequest *live;
	ConcordBatchVerdict verdict;
	int			failed = -1;

	for (int i = 0; i < n; i++)
	{
		items[i].exchange = writes[i]->exchange;
		items[i].request = writes[i]->request;
	}
	request = concord_batch_pack(form, items, n, NULL, CurrentMemoryContext);
	live = wrt_submit(writer, request);
	concord_live_wait(live);
	concord_live_check(live, false);
	verdict = concord_batch_unpack(form, items, n, &live->http->response);
	if (verdict != CONCORD_BATCH_ITEMS)
	{
		concord_live_check(live, true);
		ereport(ERROR,
				(errcode(verdict == CONCORD_BATCH_REFUSED ? ERRCODE_FDW_ERROR :
						 CONCORD_ERRCODE_UNKNOWN),
				 errmsg("server \"%s\" did not say what became of %d rows of foreign table \"%s\"",
						writer->peer->server->name, n, writer->table->relname)));
	}
	/* those that were written count, wherever one failed */
	for (int i = 0; i < n; i++)
	{
		writes[i]->response = &writes[i]->request->response;
		if (!items[i].answered || writes[i]->response->status < 200 ||
			writes[i]->response->status >= 300)
			failed = failed < 0 ? i : failed;
		else
			wrt_judge(writer, writes[i]);
	}
	if (failed >= 0)
	{
		if (!items[failed].answered)
			ereport(ERROR,
					(errcode(ERRCODE_FDW_ERROR),
					 errmsg("server \"%s\" left %d rows of foreign table \"%s\" undone",
							writer->peer->server->name, n - failed,
							writer->table->relname)));
		wrt_judge(writer, writes[failed]);
	}
	concord_live_free(live);
}

/* concord_writer_send sends records. */
void
concord_writer_send(ConcordWriter *writer, ConcordWrite **writes, int n)
{
	ErrorContextCallback callback = {error_context_stack, wrt_context, writer};
	const ConcordBatchForm *form;

	error_context_stack = &callback;
	form = n > 1 ? concord_batch_form_of(writes[0]->exchange,
										 writes[0]->request) : NULL;
	if (form == NULL)
		wrt_alone(writer, writes, n);
	else
		wrt_together(writer, form, writes, n);
	error_context_stack = callback.previous;
}

/* concord_writer_read reads a record that was written. */
const ConcordResponse *
concord_writer_read(ConcordWriter *writer, ConcordWrite *write)
{
	ConcordExchange *look;
	ConcordRequest *request;
	ConcordLiveRequest *live;
	ConcordLink none = {0};

	none.remote_id = write->exchange->remote_id != NULL ?
		write->exchange->remote_id : write->exchange->link.remote_id;
	look = concord_exchange_begin(writer->peer->server, &writer->form.mapping,
								  write->exchange->event,
								  write->exchange->mapped, &none,
								  write->exchange->context);
	/* one that may have arrived before is looked at first */
	look->was_unknown = true;
	request = concord_exchange_next(look, NULL, NULL);
	if (request == NULL || strcmp(request->method, "GET") != 0)
		return NULL;
	live = wrt_submit(writer, request);
	if (write->live != NULL)
		concord_live_free(write->live);
	write->live = live;
	concord_live_wait(live);
	concord_live_check(live, true);
	return &live->http->response;
}

/* concord_writer_batch says how many records one request takes. */
int
concord_writer_batch(ConcordWriter *writer)
{
	int			limit;

	if (writer->operation != CMD_INSERT || writer->returning)
		return 1;
	limit = concord_batch_limit(writer->peer->server, &writer->form.mapping);
	if (writer->table->batch_size > 0)
		limit = limit > 0 ? Min(limit, writer->table->batch_size) : 1;
	return Max(1, limit);
}

/* concord_writer_done says how many records were written. */
int64
concord_writer_done(const ConcordWriter *writer)
{
	return writer->done;
}

/* concord_write_free ends what belongs to a record. */
void
concord_write_free(ConcordWrite *write)
{
	if (write->live != NULL)
		concord_live_free(write->live);
	write->live = NULL;
}
