/*-------------------------------------------------------------------------
 *
 * batch_multipart.c
 *	  OData's $batch as multipart/mixed.
 *
 * OASIS OData 4.01 Part 1, 11.7.7: each request is a part of type
 * application/http; a change set is a part of type multipart/mixed whose parts
 * succeed or fail together.  In versions 2 and 3 changes may stand in change
 * sets only, so each item has one of its own there.  Parts of the answer come
 * in the order of the requests; a service that stops at the first failure
 * leaves the rest out.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/batch_formats.h"

#include "connector/protocols.h"
#include "utils/memutils.h"

#define BMP_MAX_BOUNDARY	200

/* A piece of an answer. */
typedef struct BmpText
{
	const char *p;
	const char *end;
} BmpText;

/* ---------------------------------------------------------------------
 * packing
 * ------------------------------------------------------------------- */

/* bmp_boundary makes a boundary that no item holds. */
static char *
bmp_boundary(const ConcordBatchItem *items, int n, const char *prefix)
{
	const char *key = items[0].exchange->idempotency_key;
	char	   *boundary = NULL;
	bool		held = true;

	for (int try = 0; held; try++)
	{
		boundary = psprintf("%s_%s_%d", prefix, key ? key : "concord", try);
		held = false;
		for (int i = 0; i < n && !held; i++)
			held = items[i].request->body != NULL &&
				strstr(items[i].request->body, boundary) != NULL;
	}
	return boundary;
}

/*
 * bmp_clean appends a text that stands in a line.  A line end in it, which a tag
 * that another system gave may have, would be another header.
 */
static void
bmp_clean(StringInfo buf, const char *text)
{
	for (const char *p = text; *p; p++)
	{
		unsigned char c = (unsigned char) *p;

		appendStringInfoChar(buf, (c < ' ' && c != '\t') || c == 0x7F ? ' ' : *p);
	}
}

/* concord_multipart_request writes an item as the HTTP request that it is. */
void
concord_multipart_request(StringInfo buf, const ConcordRequest *request,
						  const char *path, int number)
{
	appendStringInfo(buf, "Content-Type: application/http\r\n"
					 "Content-Transfer-Encoding: binary\r\n"
					 "Content-ID: %d\r\n\r\n%s ", number, request->method);
	bmp_clean(buf, path);
	appendStringInfoString(buf, " HTTP/1.1\r\n");
	for (int i = 0; i < request->nheaders; i++)
	{
		bmp_clean(buf, request->headers[i].name);
		appendStringInfoString(buf, ": ");
		bmp_clean(buf, request->headers[i].value);
		appendStringInfoString(buf, "\r\n");
	}
	if (request->body != NULL)
		appendStringInfo(buf, "Content-Length: %zu\r\n", request->body_len);
	appendStringInfoString(buf, "\r\n");
	if (request->body != NULL)
		appendBinaryStringInfo(buf, request->body, request->body_len);
	appendStringInfoString(buf, "\r\n");
}

void
concord_multipart_pack(const ConcordBatchForm *form,
					   const ConcordBatchItem *items, int n,
					   ConcordRequest *request)
{
	char	   *boundary = bmp_boundary(items, n, "batch");
	char	   *inner = form->change_sets == CONCORD_SETS_NONE ? NULL :
		bmp_boundary(items, n, "changes");
	StringInfoData buf;
	bool		one = form->change_sets == CONCORD_SETS_ONE;

	initStringInfo(&buf);
	for (int i = 0; i < n; i++)
	{
		if (!one || i == 0)
			appendStringInfo(&buf, "--%s\r\n", boundary);
		if (one && i > 0)
			appendStringInfo(&buf, "--%s_1\r\n", inner);
		else if (inner != NULL)
			appendStringInfo(&buf, "Content-Type: multipart/mixed; boundary=%s_%d\r\n\r\n--%s_%d\r\n",
							 inner, i + 1, inner, i + 1);
		concord_multipart_request(&buf, items[i].request,
								  concord_item_path(items[i].exchange,
													items[i].request),
								  i + 1);
		if (inner != NULL && (!one || i == n - 1))
			appendStringInfo(&buf, "--%s_%d--\r\n", inner, one ? 1 : i + 1);
	}
	appendStringInfo(&buf, "--%s--\r\n", boundary);
	request->body = buf.data;
	request->body_len = buf.len;
	concord_request_header(request, "Content-Type",
						   psprintf("multipart/mixed; boundary=%s", boundary));
}

/* ---------------------------------------------------------------------
 * unpacking
 * ------------------------------------------------------------------- */

/* bmp_line cuts the next line off, without its end; false at the end. */
static bool
bmp_line(BmpText *text, BmpText *line)
{
	const char *feed;

	if (text->p >= text->end)
		return false;
	feed = memchr(text->p, '\n', text->end - text->p);
	line->p = text->p;
	line->end = feed == NULL ? text->end : feed;
	text->p = feed == NULL ? text->end : feed + 1;
	if (line->end > line->p && line->end[-1] == '\r')
		line->end--;
	return true;
}

/* bmp_boundary_of reads the boundary of a content type; NULL: it has none. */
static char *
bmp_boundary_of(const char *type, Size len)
{
	char	   *copy = pnstrdup(type, len);
	char	   *p;

	if (pg_strncasecmp(copy, "multipart/", 10) != 0)
		return NULL;
	for (p = strchr(copy, ';'); p != NULL; p = strchr(p, ';'))
	{
		p++;
		p += strspn(p, " \t");
		if (pg_strncasecmp(p, "boundary=", 9) == 0)
			break;
	}
	if (p == NULL)
		return NULL;
	p += 9;
	if (*p == '"')
		p = pnstrdup(p + 1, strcspn(p + 1, "\""));
	else
		p = pnstrdup(p, strcspn(p, "; \t"));
	return *p == '\0' || strlen(p) > BMP_MAX_BOUNDARY ? NULL : p;
}

/*
 * bmp_part cuts the next part out of a multipart text, from behind its first
 * boundary.  Returns false at the end; *closed says whether that is the
 * boundary that closes it, and not that of an answer that broke off.
 */
static bool
bmp_part(BmpText *text, const char *boundary, BmpText *part, bool *closed)
{
	Size		len = strlen(boundary);
	BmpText		line;
	const char *start = NULL;

	*closed = false;
	while (bmp_line(text, &line))
	{
		bool		mark = line.end - line.p >= len + 2 &&
			memcmp(line.p, "--", 2) == 0 &&
			memcmp(line.p + 2, boundary, len) == 0;
		const char *rest = line.p + 2 + len;

		if (!mark)
			continue;
		/* one boundary may begin with another one */
		if (!(line.end - rest >= 2 && memcmp(rest, "--", 2) == 0))
		{
			while (rest < line.end && (*rest == ' ' || *rest == '\t'))
				rest++;
			if (rest < line.end)
				continue;
		}
		else
			*closed = true;
		if (start != NULL)
		{
			part->p = start;
			part->end = line.p;
			if (part->end > part->p && part->end[-1] == '\n')
				part->end--;
			if (part->end > part->p && part->end[-1] == '\r')
				part->end--;
			/* the boundary begins the next part, too */
			text->p = line.p;
			return true;
		}
		if (*closed)
			return false;
		start = text->p;
	}
	return false;
}

/* bmp_header splits a header line; false where it is none. */
static bool
bmp_header(const BmpText *line, ConcordHeader *header)
{
	const char *colon = memchr(line->p, ':', line->end - line->p);
	const char *value;

	if (colon == NULL)
		return false;
	for (value = colon + 1; value < line->end && (*value == ' ' || *value == '\t');)
		value++;
	header->name = pnstrdup(line->p, colon - line->p);
	for (char *p = header->name; *p; p++)
		*p = pg_ascii_tolower((unsigned char) *p);
	header->value = pnstrdup(value, line->end - value);
	return true;
}

/* bmp_answer reads an HTTP answer into a response; false where it is none. */
static bool
bmp_answer(BmpText text, ConcordResponse *mine)
{
	BmpText		line;
	const char *p;
	int			max = 0;

	do
	{
		if (!bmp_line(&text, &line))
			return false;
	} while (line.p == line.end);
	if (line.end - line.p < 12 || pg_strncasecmp(line.p, "HTTP/", 5) != 0)
		return false;
	p = memchr(line.p, ' ', line.end - line.p);
	if (p == NULL || line.end - p < 4)
		return false;
	mine->status = atoi(pnstrdup(p + 1, 3));
	if (mine->status < 100 || mine->status > 599)
		return false;
	while (bmp_line(&text, &line) && line.p < line.end)
	{
		if (mine->nheaders == max)
		{
			max = max == 0 ? 8 : max * 2;
			mine->headers = mine->headers == NULL ?
				palloc(sizeof(ConcordHeader) * max) :
				repalloc(mine->headers, sizeof(ConcordHeader) * max);
		}
		if (bmp_header(&line, &mine->headers[mine->nheaders]))
			mine->nheaders++;
	}
	concord_batch_body(mine, text.p, text.end - text.p);
	return true;
}

/*
 * bmp_content goes past a part's own headers and says what it is: an answer, to
 * the item *number where that is not 0, or a change set's with its boundary.
 */
static char *
bmp_content(BmpText *part, int *number)
{
	BmpText		line;
	char	   *boundary = NULL;

	*number = 0;

	while (bmp_line(part, &line) && line.p < line.end)
	{
		ConcordHeader header;

		if (!bmp_header(&line, &header))
			continue;
		if (strcmp(header.name, "content-type") == 0)
			boundary = bmp_boundary_of(header.value, strlen(header.value));
		else if (strcmp(header.name, "content-id") == 0)
			*number = atoi(header.value);
	}
	return boundary;
}

/* bmp_take gives an item the answer that a part holds. */
static void
bmp_take(ConcordBatchItem *item, BmpText part, const ConcordResponse *response)
{
	MemoryContext old = MemoryContextSwitchTo(item->request->context);
	ConcordResponse *mine = &item->request->response;
	int			number;
	char	   *boundary = bmp_content(&part, &number);
	bool		closed;

	memset(mine, 0, sizeof(*mine));
	mine->transfer = CONCORD_TRANSFER_OK;
	mine->elapsed_us = response->elapsed_us;
	if (boundary != NULL)
	{
		BmpText		inner;

		if (bmp_part(&part, boundary, &inner, &closed))
		{
			(void) bmp_content(&inner, &number);
			item->answered = bmp_answer(inner, mine);
		}
	}
	else
		item->answered = bmp_answer(part, mine);
	MemoryContextSwitchTo(old);
}

/*
 * bmp_take_set gives items the answer to the change set that they are: one for
 * each, or, where it failed, one that may name its item.
 */
static void
bmp_take_set(ConcordBatchItem *items, int n, BmpText part,
			 const ConcordResponse *response)
{
	BmpText		head = part;
	BmpText		inner;
	bool		closed;
	int			number;
	char	   *boundary = bmp_content(&head, &number);

	if (boundary == NULL)
	{
		for (int i = 0; i < n; i++)
		{
			if (number < 1 || number > n || i == number - 1)
				bmp_take(&items[i], part, response);
		}
		return;
	}
	for (int i = 0; i < n && bmp_part(&head, boundary, &inner, &closed); i++)
		bmp_take(&items[i], inner, response);
}

bool
concord_multipart_unpack(const ConcordBatchForm *form, ConcordBatchItem *items,
						 int n, const ConcordResponse *response)
{
	const char *type = concord_response_header(response, "content-type");
	char	   *boundary = type == NULL ? NULL : bmp_boundary_of(type, strlen(type));
	BmpText		text = {response->body, response->body + response->body_len};
	BmpText		part;
	bool		closed = false;
	int			i = 0;

	if (response->body == NULL || boundary == NULL)
		return false;
	for (; bmp_part(&text, boundary, &part, &closed); i++)
	{
		if (form->change_sets == CONCORD_SETS_ONE && i == 0)
			bmp_take_set(items, n, part, response);
		else if (i < n && form->change_sets != CONCORD_SETS_ONE)
			bmp_take(&items[i], part, response);
	}
	return concord_batch_unanswered(form, items, n, response, closed && i <= n);
}
