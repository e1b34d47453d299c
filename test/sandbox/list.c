/*-------------------------------------------------------------------------
 *
 * list.c
 *	  Long lists that are made as they are read: /list/<style>/<name>
 *
 * Records 1 to rows=n in pages, in the style of a system:
 *
 *	odata	@odata.nextLink with $skiptoken; odata2: d.results and __next
 *	offset	offset= and limit=; page: page= and per_page=
 *	link	header Link; cursor: after=, next_cursor and has_more
 *	plain	all in one array
 *
 * fault=... spoils page at=n (0 is the first): see list_spoil() and
 * list_record().  $filter knows "ID eq n", joined by or; ID=1,2 is the same.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "request.h"

typedef struct List
{
	Request    *req;
	char		style[16];
	const char *fault;
	long		rows;
	long		at;				/* which page is spoilt */
	long		page;			/* which one this is */
	long		from;			/* records before it */
	long		size;
	long	   *ids;			/* only these, or NULL */
	long		nids;
} List;

/* Returns the text behind "name=" in the query, decoded, or NULL. */
static char *
list_param(const Request *req, const char *name)
{
	const char *p = req->query;
	size_t		len = strlen(name);

	while (*p)
	{
		size_t		part = strcspn(p, "&");

		if (part > len && strncmp(p, name, len) == 0 && p[len] == '=')
		{
			char	   *text = xstrndup(p + len + 1, part - len - 1);

			percent_decode(text);
			return text;
		}
		p += part + (p[part] == '&');
	}
	return NULL;
}

static long
list_number(const Request *req, const char *name, long def)
{
	char	   *text = list_param(req, name);
	long		number = text ? atol(text) : def;

	free(text);
	return number;
}

/* Is this page, or this record of it, to be spoilt in this way? */
static bool
list_has(const List *list, const char *fault)
{
	return list->fault != NULL && list->page == list->at &&
		strcmp(list->fault, fault) == 0;
}

/* Reads which records are wanted. */
static void
list_filter(List *list)
{
	char	   *filter = list_param(list->req, "$filter");
	char	   *ids = list_param(list->req, "ID");

	if (filter == NULL && ids == NULL)
		return;
	list->ids = xmalloc(sizeof(long) * 10000);
	for (char *p = filter; p && (p = strstr(p, "ID eq ")) != NULL && list->nids < 10000; p++)
		list->ids[list->nids++] = atol(p + 6);
	for (char *p = ids; p && *p && list->nids < 10000; p += strcspn(p, ",") + (strchr(p, ',') != NULL))
		list->ids[list->nids++] = atol(p);
	if (list->nids == 0 && filter != NULL)
	{
		free(list->ids);
		list->ids = NULL;
	}
	free(filter);
	free(ids);
}

static int
by_number(const void *a, const void *b)
{
	return *(const long *) a > *(const long *) b ? 1 : -(*(const long *) a < *(const long *) b);
}

/* Finds out which page is asked for. */
static void
list_locate(List *list)
{
	Request    *req = list->req;
	const char *prefer = request_header(req, "prefer");
	const char *size = prefer ? strstr(prefer, "maxpagesize=") : NULL;
	long		most = list_number(req, "most", 1000000000);
	char	   *after;

	list->size = size ? atol(size + 12) : 100;
	list->size = list_number(req, "limit", list->size);
	list->size = list_number(req, "per_page", list->size);
	if (size == NULL)
		list->size = list_number(req, "$top", list->size);
	else if (list->rows > list_number(req, "$top", list->rows))
		list->rows = list_number(req, "$top", list->rows);
	if (strcmp(list->style, "plain") == 0)
		list->size = list->rows;
	if (list->size > most && strcmp(list->style, "plain") != 0)
		list->size = most;
	if (list->size < 1)
		list->size = 1;
	list->from = list_number(req, "$skiptoken", 0) + list_number(req, "offset", 0) +
		list_number(req, "$skip", 0);
	after = list_param(req, "after");
	if (after != NULL)
		list->from = atol(after + (*after == 'c'));
	free(after);
	list->from += (list_number(req, "page", 1) - 1) * list->size;
	if (list->fault != NULL && strcmp(list->fault, "repeat") == 0)
		list->from = 0;
	list->page = list->from / list->size;
	list_filter(list);
	if (list->ids != NULL)
	{
		qsort(list->ids, list->nids, sizeof(long), by_number);
		list->rows = list->nids;
	}
}

/* Writes one record. */
static void
list_record(List *list, Buf *body, long id, bool first)
{
	bool		odata2 = strcmp(list->style, "odata2") == 0;

	if (!first)
		buf_char(body, ',');
	if (odata2)
		buf_printf(body, "{\"__metadata\":{\"uri\":\"x(%ld)\",\"etag\":\"W/\\\"%ld\\\"\"},", id, id);
	else
		buf_printf(body, "{\"@odata.etag\":\"W/\\\"%ld\\\"\",", id);
	buf_printf(body, "\"ID\":%ld,", id);
	if (!(list_has(list, "missing") && first))
		buf_printf(body, "\"Name\":\"name of %ld\",", id);
	if (list_has(list, "type") && first)
		buf_str(body, "\"Amount\":\"many\",");
	else
		buf_printf(body, odata2 ? "\"Amount\":\"%ld.25\"," : "\"Amount\":%ld.25,", id);
	if (odata2)
		buf_printf(body, "\"Changed\":\"/Date(%lld)/\",\"Due\":\"PT08H15M00S\",", 1700000000000LL + id * 1000);
	else
		buf_printf(body, "\"Changed\":\"2024-05-%02ldT10:%02ld:00.1234567Z\",\"Due\":\"08:15:00\",", id % 28 + 1, id % 60);
	buf_printf(body, "\"Address\":{\"Street\":\"street \\u00e9 %ld\",\"Tags\":[\"a\",\"b%ld\"]},\"Open\":%s,\"Note\":%s}",
			   id, id % 7, id % 2 ? "true" : "false", id % 3 ? "null" : "\"note\"");
}

/* Where the list goes on. */
static void
list_next(List *list, Buf *buf)
{
	const char *host = request_header(list->req, "host");
	const char *p = list->req->query;
	bool		first = true;

	if (list_has(list, "host"))
		buf_str(buf, "http://elsewhere.invalid/list");
	else if (list_has(list, "outside"))
		buf_str(buf, "/other/list");
	else if (list_has(list, "relative"))
		buf_str(buf, strrchr(list->req->path, '/') + 1);
	else
		buf_printf(buf, "http://%s%s", host ? host : "localhost", list->req->path);
	while (*p)
	{
		size_t		part = strcspn(p, "&");

		if (strncmp(p, "$skiptoken=", 11) != 0 && strncmp(p, "%24skiptoken=", 13) != 0)
		{
			buf_char(buf, first ? '?' : '&');
			buf_add(buf, p, part);
			first = false;
		}
		p += part + (p[part] == '&');
	}
	if (!list_has(list, "loop") || list->from > 0)
		buf_printf(buf, "%c$skiptoken=%ld", first ? '?' : '&',
				   list_has(list, "loop") ? list->from : list->from + list->size);
}

/* Writes what stands before and behind the records. */
static void
list_frame(List *list, Buf *body, bool before, bool more)
{
	const char *style = list->style;
	long		told = list->rows + (list_has(list, "count") ? 7 : 0);

	if (strcmp(style, "odata") == 0)
	{
		buf_printf(body, before ? "{\"@odata.context\":\"$metadata\",\"@odata.count\":%ld,\"value\":[" : "]", told);
		if (!before && more)
		{
			buf_str(body, ",\"@odata.nextLink\":\"");
			list_next(list, body);
			buf_str(body, "\"");
		}
		buf_str(body, before ? "" : "}");
	}
	else if (strcmp(style, "odata2") == 0)
	{
		buf_printf(body, before ? "{\"d\":{\"__count\":\"%ld\",\"results\":[" : "]", told);
		if (!before && more)
		{
			buf_str(body, ",\"__next\":\"");
			list_next(list, body);
			buf_str(body, "\"");
		}
		buf_str(body, before ? "" : "}}");
	}
	else if (strcmp(style, "offset") == 0)
		buf_printf(body, before ? "{\"total\":%ld,\"records\":[" : "]}", told);
	else if (strcmp(style, "cursor") == 0 && before)
		buf_str(body, "{\"data\":[");
	else if (strcmp(style, "cursor") == 0)
		buf_printf(body, "],\"has_more\":%s,\"next_cursor\":\"c%ld\"}",
				   more ? "true" : "false", list->from + list->size);
	else
		buf_char(body, before ? '[' : ']');
}

/* Spoils an answer that is whole. */
static void
list_spoil(List *list)
{
	Answer	   *answer = &list->req->answer;

	if (list_has(list, "cut"))
		answer->body.len /= 2;
	else if (list_has(list, "nojson"))
	{
		answer->body.len = 0;
		buf_str(&answer->body, "<html><body>Log in, please</body></html>");
	}
	else if (list_has(list, "bytes"))
		memcpy(answer->body.data + answer->body.len / 2, "\xFF\xFE", 2);
	else if (list_has(list, "gzip"))
		answer_header(answer, "Content-Encoding", "gzip");
	else if (list_has(list, "empty"))
		answer->body.len = 0;
}

/* Answers a request for a page. */
void
list_act(Request *req)
{
	List		list = {.req = req,.rows = list_number(req, "rows", 250),
	.at = list_number(req, "at", 0)};
	const char *style = req->path + strlen("/list/");
	size_t		len = strcspn(style, "/");
	size_t		all = strlen(req->path);
	char	   *fault = list_param(req, "fault");
	bool		more;

	if (len >= sizeof(list.style))
		len = sizeof(list.style) - 1;
	memcpy(list.style, style, len);
	list.fault = fault;
	list_locate(&list);
	req->answer.status = 200;
	if (all > 7 && strcmp(req->path + all - 7, "/$count") == 0)
	{
		buf_printf(&req->answer.body, "%ld", list.rows + (list_has(&list, "count") ? 7 : 0));
		answer_header(&req->answer, "Content-Type", "text/plain");
	}
	else
	{
		more = list.from + list.size < list.rows;
		list_frame(&list, &req->answer.body, true, more);
		for (long i = list.from; i < list.rows && i < list.from + list.size; i++)
			list_record(&list, &req->answer.body, list.ids ? list.ids[i] : i + 1, i == list.from);
		list_frame(&list, &req->answer.body, false, more);
		answer_header(&req->answer, "Content-Type", "application/json");
		if (strcmp(list.style, "link") == 0 && more)
		{
			Buf			link = {0};

			buf_str(&link, "<http://x.invalid/first>; rel=\"first\", <");
			list_next(&list, &link);
			buf_str(&link, ">; rel=\"next\"");
			answer_header(&req->answer, "Link", link.data);
			buf_free(&link);
		}
		list_spoil(&list);
	}
	free(list.ids);
	free(fault);
}
