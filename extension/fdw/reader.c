/*-------------------------------------------------------------------------
 *
 * reader.c
 *	  The records of a list, page after page.
 *
 * One page is in memory.  Where all records are wanted at once (eager), the next
 * one is asked for as soon as its address is known, so that the system works
 * while this one is read; else when the last record of this one was taken, and
 * nothing is under way while rows are handed on.  What was asked for ahead and
 * failed is asked for once more when it is needed: whoever reads slowly has not
 * to do with its time running out.
 *
 * What an answer says of the next page is not believed blindly: an address that
 * was read before, that of another host or beside the server's url, a page that
 * is the one before once more, are errors; whoever believed them would go round
 * in circles or send credentials elsewhere.
 *
 * Lists that go on by number (offset, page) end with the first empty page: a
 * short one may only mean that the system gives fewer at a time than it is
 * asked for.  What an answer says of how many there are is not used.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/reader_private.h"

#include "base/clock.h"
#include "common/hashfn.h"
#include "fdw/link.h"
#include "live/failure.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#define RDR_SHOWN	200			/* bytes of an answer in a message */
#define RDR_COMPARED	65536	/* bytes by which pages are told apart */
#define RDR_DRIVE_US	1000	/* what is under way is looked after so often */

/* concord_reader_url gives the address of a list. */
char *
concord_reader_url(const ConcordServer *server,
				   const ConcordForeignTable *table, const char *path)
{
	const char *parts[2];
	const char *keep = "/!$&'()*+,;=:@";
	StringInfoData buf;
	const char *place;

	parts[0] = table->service != NULL ? table->service : server->service;
	parts[1] = table->object;
	if (path != NULL && (place = strstr(path, "{object}")) != NULL)
		parts[1] = psprintf("%.*s%s%s", (int) (place - path), path,
							table->object + strspn(table->object, "/"),
							place + strlen("{object}"));
	else if (path != NULL)
		parts[1] = path;
	initStringInfo(&buf);
	appendStringInfoString(&buf, server->url);
	for (int i = 0; i < 2; i++)
	{
		const char *part = parts[i];

		if (part == NULL)
			continue;
		concord_url_escape(&buf, part + strspn(part, "/"), keep);
		while (buf.data[buf.len - 1] == '/')
			buf.data[--buf.len] = '\0';
		if (i == 0)
			appendStringInfoChar(&buf, '/');
	}
	return buf.data;
}

/* concord_reader_create makes a reader. */
ConcordReader *
concord_reader_create(const ConcordForeignTable *table, ConcordPeer *peer)
{
	ConcordReader *reader = palloc0(sizeof(ConcordReader));

	reader->table = table;
	reader->peer = peer;
	reader->reading = concord_connector_reading(peer->server->connector);
	reader->paging = table->paging >= 0 ? table->paging : reader->reading->paging;
	reader->context = CurrentMemoryContext;
	reader->which = -1;
	reader->list = AllocSetContextCreate(CurrentMemoryContext,
										 "concord foreign list",
										 ALLOCSET_SMALL_SIZES);
	return reader;
}

/* rdr_add appends a parameter. */
static void
rdr_add(StringInfo buf, const char *name, const char *value)
{
	appendStringInfoChar(buf, strchr(buf->data, '?') != NULL ? '&' : '?');
	concord_url_escape(buf, name, "$[]");
	appendStringInfoChar(buf, '=');
	concord_url_escape(buf, value, "$,:");
}

static void
rdr_number(StringInfo buf, const char *name, int64 value)
{
	if (name != NULL)
		rdr_add(buf, name, psprintf(INT64_FORMAT, value));
}

/* rdr_size says how many records a page is to have. */
static int
rdr_size(const ConcordReading *reading, const ConcordForeignTable *table,
		 const ConcordQuery *query, int64 taken)
{
	int			size = table->page_size > 0 ? table->page_size :
		reading->page_size;

	if (query->limit >= 0)
		size = (int) Max(1, Min(size, query->limit - taken));
	return size;
}

/* rdr_paging says how a table's lists go on. */
static ConcordReadPaging
rdr_paging(const ConcordReading *reading, const ConcordForeignTable *table)
{
	return table->paging >= 0 ? table->paging : reading->paging;
}

/* rdr_url writes the address of a page of a list. */
static char *
rdr_url(const ConcordReading *reading, const ConcordForeignTable *table,
		const ConcordQuery *query, int64 taken, int64 offset, int number,
		const char *cursor)
{
	ConcordReadPaging paging = rdr_paging(reading, table);
	int			size = rdr_size(reading, table, query, taken);
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, query->url);
	if (query->query != NULL && *query->query)
		appendStringInfo(&buf, "?%s", query->query);
	if (table->query != NULL)
	{
		appendStringInfoChar(&buf, strchr(buf.data, '?') != NULL ? '&' : '?');
		concord_url_escape(&buf, table->query, "!$&'()*+,;=:@/?%[]");
	}
	if (query->single)
		return buf.data;
	switch (paging)
	{
		case CONCORD_READ_OFFSET:
			rdr_number(&buf, reading->size, size);
			rdr_number(&buf, reading->offset, offset + query->skip);
			break;
		case CONCORD_READ_PAGE:
			/* a size that changes would make pages overlap */
			rdr_number(&buf, reading->size,
					   rdr_size(reading, table, query, 0));
			rdr_number(&buf, reading->page, number);
			break;
		case CONCORD_READ_CURSOR:
		case CONCORD_READ_LINK:
			rdr_number(&buf, reading->size, size);
			if (cursor != NULL)
				rdr_add(&buf, reading->cursor, cursor);
			break;
		case CONCORD_READ_NEXT:
		case CONCORD_READ_NONE:
			if (query->limit >= 0)
				rdr_number(&buf, reading->limit, query->limit);
			else if (!reading->prefer && !reading->odata &&
					 paging == CONCORD_READ_NEXT)
				rdr_number(&buf, reading->size, size);
			if (query->skip > 0)
				rdr_number(&buf, reading->skip, query->skip);
			break;
	}
	return buf.data;
}

/* concord_reader_shown gives the first address of a query. */
char *
concord_reader_shown(const ConcordReading *reading,
					 const ConcordForeignTable *table,
					 const ConcordQuery *query)
{
	return rdr_url(reading, table, query, 0, 0, reading->first_page, NULL);
}

/* concord_reader_stop ends what is under way. */
void
concord_reader_stop(ConcordReader *reader)
{
	concord_reader_drop_lists(reader);
	if (reader->live != NULL)
		concord_live_free(reader->live);
	if (reader->ahead != NULL)
		concord_live_free(reader->ahead);
	reader->live = reader->ahead = NULL;
	reader->open = reader->was_ahead = false;
	reader->url = NULL;
}

/* concord_reader_eager says whether all records are wanted at once. */
void
concord_reader_eager(ConcordReader *reader, bool eager)
{
	reader->eager = eager;
}

/* concord_reader_begin makes ready for a list. */
void
concord_reader_begin(ConcordReader *reader, const ConcordQuery *query)
{
	HASHCTL		ctl = {.keysize = sizeof(uint64),.entrysize = sizeof(uint64)};
	MemoryContext old;

	reader->seen = NULL;
	MemoryContextReset(reader->list);
	reader->query = query;
	reader->taken = reader->offset = 0;
	reader->gone = false;
	reader->told = NULL;
	memset(&reader->trail, 0, sizeof(reader->trail));
	reader->before = 0;
	reader->number = reader->reading->first_page;
	if (query->limit == 0)
		return;
	ctl.hcxt = reader->list;
	old = MemoryContextSwitchTo(reader->list);
	reader->seen = hash_create("concord addresses", 64, &ctl,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	reader->url = rdr_url(reader->reading, reader->table, query, 0, 0,
						  reader->number, NULL);
	MemoryContextSwitchTo(old);
}

/* concord_reader_start begins a list. */
void
concord_reader_start(ConcordReader *reader, const ConcordQuery *query)
{
	concord_reader_stop(reader);
	concord_reader_begin(reader, query);
}

/* concord_reader_headers adds what tells the system how answers are to look. */
void
concord_reader_headers(ConcordReader *reader, ConcordRequest *request)
{
	const ConcordConnector *connector = reader->peer->server->connector;

	concord_reading_headers(connector, request);
	concord_request_set_header(request, "Accept", "application/json");
	if (!reader->reading->odata)
		return;
	if (connector->odata2)
	{
		concord_request_set_header(request, "DataServiceVersion", "2.0");
		concord_request_set_header(request, "MaxDataServiceVersion", "2.0");
		return;
	}
	concord_request_set_header(request, "OData-Version", "4.0");
	concord_request_set_header(request, "OData-MaxVersion", "4.01");
	if (reader->reading->prefer && reader->paging == CONCORD_READ_NEXT &&
		reader->query != NULL && !reader->query->single)
	{
		const char *more = reader->query->prefer;

		concord_request_set_header(request, "Prefer",
								   psprintf("odata.maxpagesize=%d%s%s",
											rdr_size(reader->reading,
													 reader->table,
													 reader->query,
													 reader->taken),
											more != NULL ? "," : "",
											more != NULL ? more : ""));
	}
}

/* rdr_send sends a request for an address. */
static ConcordLiveRequest *
rdr_send(ConcordReader *reader, const char *url)
{
	ConcordLiveRequest *live = concord_live_create(reader->peer, "GET", url);
	MemoryContext old = MemoryContextSwitchTo(live->http->context);

	concord_reader_headers(reader, live->http);
	MemoryContextSwitchTo(old);
	live->http->max_answer = reader->table->page_bytes;
	concord_live_submit(live, 0);
	return live;
}

/* rdr_seen notes an address; true: it was read before. */
static bool
rdr_seen(ConcordReader *reader, HASHACTION action)
{
	uint64		hash = hash_bytes_extended((unsigned char *) reader->url,
										   strlen(reader->url), 0);
	bool		found;

	hash_search(reader->seen, &hash, action, &found);
	return found;
}

static void rdr_next_number(ConcordReader *reader, int64 offset);

/* concord_reader_send sends the next request if one is due. */
void
concord_reader_send(ConcordReader *reader)
{
	/* a page that was read to its end gives way to the next one */
	if (reader->open && reader->url != NULL && concord_page_ended(&reader->page))
		concord_reader_close(reader);
	if (reader->live != NULL || reader->url == NULL)
		return;
	if (rdr_seen(reader, HASH_ENTER))
		concord_reader_circles(reader);
	reader->live = rdr_send(reader, reader->url);
}

/*
 * rdr_send_ahead asks for the next page while this one is read, unless what is
 * wanted is here.  What is wrong with its address is said when its turn comes.
 */
static void
rdr_send_ahead(ConcordReader *reader)
{
	const ConcordQuery *query = reader->query;
	int64		here = 0;

	if (!reader->eager || reader->url == NULL)
		return;
	if (query->limit >= 0 || *reader->url == '\0')
		here = reader->taken + concord_page_count(&reader->page);
	if (query->limit >= 0 && here >= query->limit)
		return;
	if (*reader->url == '\0')
		rdr_next_number(reader, here);
	if (rdr_seen(reader, HASH_FIND))
		return;
	(void) rdr_seen(reader, HASH_ENTER);
	reader->ahead = rdr_send(reader, reader->url);
	concord_live_drive();
	reader->driven = concord_clock_steady();
}

/* rdr_drive looks after what is under way while records are taken. */
static void
rdr_drive(ConcordReader *reader)
{
	int64		now;

	if (reader->ahead == NULL || concord_live_ended(reader->ahead))
		return;
	now = concord_clock_steady();
	if (now - reader->driven < RDR_DRIVE_US)
		return;
	reader->driven = now;
	concord_live_drive();
}

/* rdr_again asks once more for a page that was asked for ahead and did not come. */
static void
rdr_again(ConcordReader *reader)
{
	char	   *url;

	if (!reader->was_ahead || reader->live->failure == 0)
		return;
	url = pstrdup(reader->live->http->url);
	concord_live_free(reader->live);
	reader->live = NULL;
	reader->was_ahead = false;
	reader->live = rdr_send(reader, url);
	pfree(url);
	concord_live_wait(reader->live);
}

/* concord_reader_refuse raises that an answer is not what it is to be. */
void
concord_reader_refuse(ConcordReader *reader, const char *why)
{
	char	   *shown = concord_response_text(reader->answer, RDR_SHOWN);

	shown = concord_auth_redact(reader->peer->auth, shown);
	ereport(ERROR,
			(errcode(CONCORD_ERRCODE_MALFORMED),
			 errmsg("the answer of server \"%s\" for foreign table \"%s\" cannot be read: %s",
					reader->peer->server->name, reader->table->relname, why),
			 *shown ? errdetail("It begins with: %s", shown) : 0));
}

/* rdr_check makes sure that an answer is JSON; false where it is empty. */
static bool
rdr_check(ConcordReader *reader)
{
	ConcordResponse *response = reader->answer;
	const char *coding = concord_response_header(response, "content-encoding");
	Size		at;

	if (coding != NULL && *coding && pg_strcasecmp(coding, "identity") != 0)
		concord_reader_refuse(reader, psprintf("it is coded as \"%s\", which was not asked for",
											   concord_safe_text(coding, strlen(coding), 40)));
	if (response->status == 204)
		return false;
	/* some systems begin with a byte order mark */
	if (response->body_len >= 3 && memcmp(response->body, "\xEF\xBB\xBF", 3) == 0)
	{
		response->body += 3;
		response->body_len -= 3;
	}
	if (response->body == NULL || response->body_len == 0)
		concord_reader_refuse(reader, "it is empty");
	if (!concord_json_valid(response->body, response->body_len, &at))
		concord_reader_refuse(reader, psprintf("it is not JSON from byte %zu on", at + 1));
	return true;
}

/* rdr_links gives the next address that a header Link tells, or NULL. */
static char *
rdr_links(const ConcordResponse *response)
{
	for (int i = 0; i < response->nheaders; i++)
	{
		char	   *link;

		if (strcmp(response->headers[i].name, "link") != 0)
			continue;
		link = concord_link_next(response->headers[i].value);
		if (link != NULL)
			return link;
	}
	return NULL;
}

/* rdr_said gives the text of a member of the answer; NULL: none, null or "". */
static char *
rdr_said(ConcordReader *reader, const char *path)
{
	ConcordSlice slice = path == NULL ? (ConcordSlice) {NULL, 0} :
		concord_json_find(reader->page.body, path);
	char	   *text;

	if (slice.start == NULL || *slice.start == 'n' || *slice.start == 'f' ||
		*slice.start == '{' || *slice.start == '[')
		return NULL;
	text = concord_slice_text(slice);
	return text == NULL || *text == '\0' ? NULL : text;
}

/* rdr_follow checks the address of the next page. */
static char *
rdr_follow(ConcordReader *reader, const char *link)
{
	const ConcordServer *server = reader->peer->server;
	const char *base = reader->reading->odata ?
		concord_reader_url(server, reader->table, "x") : reader->url;
	const char *why;
	char	   *url = concord_link_resolve(base, link, server->url, &why);

	if (url == NULL)
		ereport(ERROR,
				(errcode(CONCORD_ERRCODE_MALFORMED),
				 errmsg("the list of foreign table \"%s\" goes on at an address that is not followed",
						reader->table->relname),
				 errdetail("%s: %s", why,
						   concord_auth_redact(reader->peer->auth,
											   concord_safe_text(link, strlen(link), RDR_SHOWN))),
				 errhint("Option paging of the foreign table can be \"offset\" where the system takes it.")));
	return url;
}

/* rdr_go_on finds out which page is next; its address, or NULL. */
static char *
rdr_go_on(ConcordReader *reader)
{
	const ConcordReading *reading = reader->reading;
	ConcordResponse *response = reader->answer;
	char	   *said;

	switch (reader->paging)
	{
		case CONCORD_READ_NONE:
			break;
		case CONCORD_READ_NEXT:
			said = rdr_said(reader, reading->next != NULL ? reading->next :
							"@odata.nextLink");
			return said == NULL ? NULL : rdr_follow(reader, said);
		case CONCORD_READ_LINK:
			said = rdr_links(response);
			return said == NULL ? NULL : rdr_follow(reader, said);
		case CONCORD_READ_CURSOR:
			said = rdr_said(reader, reading->next);
			if (said == NULL ||
				(reading->more != NULL && rdr_said(reader, reading->more) == NULL))
				return NULL;
			return rdr_url(reading, reader->table, reader->query,
						   reader->taken, reader->offset, reader->number, said);
		case CONCORD_READ_OFFSET:
		case CONCORD_READ_PAGE:
			if (concord_page_ended(&reader->page) ||
				(reading->more != NULL && rdr_said(reader, reading->more) == NULL))
				return NULL;
			/* offset: only known when the page was read */
			return pstrdup("");
	}
	return NULL;
}

/* rdr_tell keeps what a page tells beside its records. */
static void
rdr_tell(ConcordReader *reader)
{
	char	   *said = reader->query->tell == NULL ? NULL :
		rdr_said(reader, reader->query->tell);

	if (said != NULL)
		reader->told = rdr_follow(reader, said);
}

/* rdr_repeats refuses a page that is the one before once more. */
static void
rdr_repeats(ConcordReader *reader)
{
	const ConcordResponse *response = reader->answer;
	uint64		hash;

	if (reader->paging != CONCORD_READ_OFFSET &&
		reader->paging != CONCORD_READ_PAGE)
		return;
	/* its length and first records tell pages apart; it may be long */
	hash = hash_bytes_extended((const unsigned char *) response->body,
							   Min(response->body_len, RDR_COMPARED),
							   response->body_len);
	if (hash == reader->before && !concord_page_ended(&reader->page))
		ereport(ERROR,
				(errcode(CONCORD_ERRCODE_MALFORMED),
				 errmsg("the list of foreign table \"%s\" goes round in circles",
						reader->table->relname),
				 errdetail("A page is the one before once more: the system does not go by parameter \"%s\".",
						   reader->paging == CONCORD_READ_OFFSET ?
						   reader->reading->offset : reader->reading->page)));
	reader->before = hash;
}

/* concord_reader_open makes the answer that has come the page that is read. */
void
concord_reader_open(ConcordReader *reader)
{
	const ConcordResponse *response = reader->answer;
	const char *items = reader->table->items != NULL ? reader->table->items :
		reader->reading->items;
	const char *why;
	char	   *next;
	MemoryContext old;

	reader->open = true;
	reader->pages++;
	memset(&reader->page, 0, sizeof(reader->page));
	if (reader->query->single && (response->status == 404 ||
								  response->status == 410))
	{
		reader->url = NULL;
		return;
	}
	reader->gone = reader->query->gone_ends && response->status == 410;
	if (reader->gone)
	{
		reader->url = NULL;
		return;
	}
	if (reader->live != NULL)
		concord_live_check(reader->live, true);
	else
		concord_live_check_status(reader->carrier, response);
	if (!rdr_check(reader))
	{
		reader->url = NULL;
		return;
	}
	if (reader->query->single)
	{
		ConcordSlice d;

		reader->page.one.start = response->body + strspn(response->body, " \t\r\n");
		reader->page.one.len = concord_json_skip(reader->page.one.start) -
			reader->page.one.start;
		d = concord_json_find(reader->page.one, "d");
		if (reader->peer->server->connector->odata2 && d.start != NULL)
			reader->page.one = d;
		reader->url = NULL;
		return;
	}
	why = concord_page_open(&reader->page, response->body, response->body_len,
							items);
	if (why != NULL)
		concord_reader_refuse(reader, why);
	rdr_repeats(reader);
	old = MemoryContextSwitchTo(reader->list);
	next = rdr_go_on(reader);
	rdr_tell(reader);
	MemoryContextSwitchTo(old);
	if (reader->url != NULL)
		pfree(reader->url);
	reader->url = next;
	rdr_send_ahead(reader);
}

/* rdr_next_number makes the address of the page behind so many records. */
static void
rdr_next_number(ConcordReader *reader, int64 offset)
{
	MemoryContext old = MemoryContextSwitchTo(reader->list);

	reader->number++;
	pfree(reader->url);
	reader->url = rdr_url(reader->reading, reader->table, reader->query,
						  offset, offset, reader->number, NULL);
	MemoryContextSwitchTo(old);
}

/* concord_reader_close gives the page back that was read; the next one may be under way. */
void
concord_reader_close(ConcordReader *reader)
{
	if (reader->live != NULL)
		concord_live_free(reader->live);
	reader->live = reader->ahead;
	reader->was_ahead = reader->ahead != NULL;
	reader->ahead = NULL;
	reader->open = false;
	if (reader->url != NULL && *reader->url == '\0')
		rdr_next_number(reader, reader->taken);
}

/* concord_reader_ready: concord_reader_next would not wait. */
bool
concord_reader_ready(ConcordReader *reader)
{
	if (reader->open)
		return !concord_page_ended(&reader->page) || reader->url == NULL;
	if (reader->live == NULL)
		return reader->url == NULL && reader->which + 1 >= reader->nlists;
	return concord_live_ended(reader->live);
}

/* concord_reader_next gives the next record. */
bool
concord_reader_next(ConcordReader *reader, ConcordSlice *record, int *page)
{
	for (;;)
	{
		const ConcordQuery *query = reader->query;

		if (query != NULL && query->limit >= 0 && reader->taken >= query->limit)
		{
			concord_reader_stop(reader);
			return false;
		}
		if (reader->open)
		{
			rdr_drive(reader);
			if (concord_page_next(&reader->page, record))
			{
				reader->taken++;
				*page = reader->pages;
				return true;
			}
			concord_reader_close(reader);
		}
		if (reader->url == NULL && reader->live == NULL)
		{
			if (!concord_reader_next_list(reader))
				return false;
			continue;
		}
		concord_reader_send(reader);
		concord_live_wait(reader->live);
		rdr_again(reader);
		reader->answer = &reader->live->http->response;
		concord_reader_open(reader);
	}
}

/* concord_reader_descriptor gives what to wait for. */
int
concord_reader_descriptor(ConcordReader *reader)
{
	return reader->live == NULL || reader->open ? -1 :
		concord_live_descriptor(reader->live);
}

/* rdr_count_text reads a number that is an answer, or NULL. */
static int64
rdr_count_text(ConcordReader *reader, const char *text)
{
	char	   *end;
	long long	n;

	if (text == NULL)
		concord_reader_refuse(reader, "it does not say how many records there are");
	while (isspace((unsigned char) *text))
		text++;
	errno = 0;
	n = strtoll(text, &end, 10);
	while (isspace((unsigned char) *end))
		end++;
	if (end == text || *end != '\0' || errno != 0 || n < 0)
		concord_reader_refuse(reader, "it is not the number of records");
	return n;
}

/* concord_reader_count asks how many records there are. */
int64
concord_reader_count(ConcordReader *reader, const ConcordQuery *query)
{
	const ConcordReading *reading = reader->reading;
	const ConcordResponse *response;
	int64		n;

	if (reading->count == NULL && reading->total == NULL)
		return -1;
	concord_reader_stop(reader);
	reader->query = query;
	reader->live = rdr_send(reader, concord_reader_shown(reading, reader->table,
														 query));
	concord_live_wait(reader->live);
	concord_live_check(reader->live, true);
	response = reader->answer = &reader->live->http->response;
	if (reading->count != NULL)
	{
		const char *text = response->body;

		if (text != NULL && strncmp(text, "\xEF\xBB\xBF", 3) == 0)
			text += 3;
		n = rdr_count_text(reader, text);
	}
	else
	{
		if (!rdr_check(reader))
			return 0;
		reader->page.body.start = response->body + strspn(response->body, " \t\r\n");
		reader->page.body.len = response->body_len;
		n = rdr_count_text(reader, rdr_said(reader, reading->total));
	}
	concord_reader_stop(reader);
	return n;
}
