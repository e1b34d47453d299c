/*-------------------------------------------------------------------------
 *
 * acknowledge.c
 *	  Batches that are counted and acknowledged, and nothing else: for
 *	  measurements, in which the sandbox must not be what limits the sender.
 *
 * Items are counted by what stands once in each of those that the courier
 * sends, bodies are not parsed.  The answer is what the item's own would have
 * been in a set that keeps nothing: each one is said to be done.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "request.h"

/* Counts the places of a mark in a body. */
static int
count(const Request *req, const char *mark)
{
	const char *p = req->body.data;
	const char *end = p + req->body.len;
	size_t		len = strlen(mark);
	int			n = 0;

	while (p != NULL && (p = memmem(p, (size_t) (end - p), mark, len)) != NULL)
	{
		n++;
		p += len;
	}
	return n;
}

static int
acknowledge_odata_json(Request *req)
{
	int			n = count(req, "\"method\":");
	Buf		   *out = &req->answer.body;

	buf_str(out, "{\"responses\":[");
	for (int i = 1; i <= n; i++)
		buf_printf(out, "%s{\"id\":\"%d\",\"status\":204}", i > 1 ? "," : "", i);
	buf_str(out, "]}");
	answer_header(&req->answer, "Content-Type", "application/json");
	req->answer.status = 200;
	return n;
}

static int
acknowledge_multipart(Request *req)
{
	int			n = count(req, "\r\nContent-ID:");
	Buf		   *out = &req->answer.body;

	for (int i = 1; i <= n; i++)
		buf_printf(out, "--batch_answer\r\nContent-Type: application/http\r\n"
				   "Content-Transfer-Encoding: binary\r\nContent-ID: %d\r\n\r\n"
				   "HTTP/1.1 204 No Content\r\n\r\n\r\n", i);
	buf_str(out, "--batch_answer--\r\n");
	answer_header(&req->answer, "Content-Type",
				  "multipart/mixed; boundary=batch_answer");
	req->answer.status = 200;
	return n;
}

/* Acknowledges a batch without looking into it. */
void
acknowledge_act(Request *req)
{
	const char *type = request_header(req, "content-type");
	size_t		len = strlen(req->path);
	bool		odata = len > 7 && strcmp(req->path + len - 7, "/$batch") == 0;

	req->acted = true;
	if (odata && type && text_starts(type, "multipart/"))
		req->items = acknowledge_multipart(req);
	else if (odata)
		req->items = acknowledge_odata_json(req);
	else
	{
		req->items = type && strstr(type, "cloudevents") ?
			count(req, "\"specversion\":") : count(req, "},{") + 1;
		req->answer.status = 204;
	}
}
