/*-------------------------------------------------------------------------
 *
 * reader_batch.c
 *	  Several lists of one table, whose first pages come in one answer.
 *
 * The requests are those that would be sent one by one, and each answer is read
 * as if it had come alone: with its status, with further pages of its own.  A
 * system that refuses such a request as a whole is asked one by one, for the
 * rest of the session; so is, once, one whose answer would be too large.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/reader_private.h"

#include "live/failure.h"
#include "utils/memutils.h"

/* What a batch's answer may have; it is there twice while it is read. */
#define RDB_MAX_ANSWER	(16 * 1024 * 1024)

/* concord_reader_lists says how many lists are asked for together. */
int
concord_reader_lists(const ConcordServer *server)
{
	return concord_reading_batch(server->connector) == CONCORD_READ_BATCH_NONE ?
		1 : concord_connector_reading(server->connector)->batch_size;
}

/* concord_reader_which says which list the record that was given is in. */
int
concord_reader_which(const ConcordReader *reader)
{
	return Max(reader->which, 0);
}

/* concord_reader_drop_lists forgets lists. */
void
concord_reader_drop_lists(ConcordReader *reader)
{
	if (reader->carrier != NULL)
		concord_live_free(reader->carrier);
	reader->carrier = NULL;
	reader->parts = NULL;
	reader->nlists = 0;
	reader->which = -1;
	if (reader->batch != NULL)
		MemoryContextReset(reader->batch);
}

/* concord_reader_start_several begins with several lists. */
void
concord_reader_start_several(ConcordReader *reader, const ConcordQuery *queries,
							 int n)
{
	concord_reader_stop(reader);
	reader->lists = queries;
	reader->nlists = n;
	reader->query = NULL;
}

/*
 * rdb_url gives the address of the service's $batch, with what the table's
 * option query has for the system itself (sap-client=100).
 */
static char *
rdb_url(const ConcordReader *reader)
{
	StringInfoData buf;
	const char *p = reader->table->query;

	initStringInfo(&buf);
	appendStringInfoString(&buf, concord_reader_url(reader->peer->server,
													reader->table, "$batch"));
	while (p != NULL && *p != '\0')
	{
		Size		len = strcspn(p, "&");

		if (len > 0 && *p != '$')
		{
			appendStringInfoChar(&buf, strchr(buf.data, '?') != NULL ? '&' : '?');
			concord_url_escape(&buf, pnstrdup(p, len), "!$'()*+,;=:@/?%[]");
		}
		p += len + (p[len] == '&');
	}
	return buf.data;
}

/* rdb_parts makes the requests that would be sent one by one. */
static void
rdb_parts(ConcordReader *reader)
{
	MemoryContext old;

	if (reader->batch == NULL)
		reader->batch = AllocSetContextCreate(reader->context,
											  "concord foreign lists",
											  ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(reader->batch);
	reader->parts = palloc(sizeof(ConcordRequest *) * reader->nlists);
	for (int i = 0; i < reader->nlists; i++)
	{
		ConcordRequest *part = concord_request_create_in(reader->batch);

		reader->query = &reader->lists[i];
		part->method = "GET";
		part->url = concord_reader_shown(reader->reading, reader->table,
										 reader->query);
		concord_reader_headers(reader, part);
		reader->parts[i] = part;
	}
	MemoryContextSwitchTo(old);
}

/* rdb_refused: the system does not take them together, or not so many. */
static bool
rdb_refused(ConcordReader *reader)
{
	int			status = reader->carrier->http->response.status;

	if (reader->carrier->failure == CONCORD_ERRCODE_TOO_LARGE)
		return true;
	if (reader->carrier->failure != 0)
		return false;
	switch (status)
	{
		case 401:
		case 403:
		case 407:
		case 408:
		case 429:
			return false;
		default:
			reader->peer->unbatched = (status >= 400 && status < 500) ||
				status == 501;
			return reader->peer->unbatched;
	}
}

/* rdb_ask asks for the first pages of all lists. */
static void
rdb_ask(ConcordReader *reader)
{
	const ConcordConnector *connector = reader->peer->server->connector;

	rdb_parts(reader);
	reader->carrier = concord_live_create(reader->peer, "POST", rdb_url(reader));
	/* it carries requests that read */
	reader->carrier->writes = false;
	reader->carrier->http->max_answer = Min(reader->table->page_bytes,
											RDB_MAX_ANSWER);
	concord_reading_pack(connector, reader->carrier->http, reader->parts,
						 reader->nlists);
	concord_reading_headers(connector, reader->carrier->http);
	concord_live_submit(reader->carrier, 0);
	concord_live_wait(reader->carrier);
	if (rdb_refused(reader))
	{
		concord_live_free(reader->carrier);
		reader->carrier = NULL;
		reader->parts = NULL;
		MemoryContextReset(reader->batch);
		return;
	}
	concord_live_check(reader->carrier, true);
	reader->answer = &reader->carrier->http->response;
	if (!concord_reading_unpack(connector, reader->parts, reader->nlists,
								reader->answer))
		concord_reader_refuse(reader, "it does not answer each request of the batch");
}

/* concord_reader_next_list goes on with the next list. */
bool
concord_reader_next_list(ConcordReader *reader)
{
	if (reader->which + 1 >= reader->nlists)
		return false;
	if (reader->which < 0 && reader->nlists > 1 && !reader->peer->unbatched &&
		concord_reader_lists(reader->peer->server) > 1)
		rdb_ask(reader);
	reader->which++;
	concord_reader_begin(reader, &reader->lists[reader->which]);
	if (reader->parts != NULL)
	{
		reader->answer = &reader->parts[reader->which]->response;
		concord_reader_open(reader);
	}
	return true;
}
