/*-------------------------------------------------------------------------
 *
 * response.c
 *	  Answers: bounded collection, and what became of the transfer.
 *
 * The two callbacks append to buffers that belong to the handle and report
 * what does not fit; they never raise.  When a transfer has ended, its answer
 * is copied into the request's context and libcurl's code becomes one of the
 * four classes of ConcordTransfer:
 *
 *	no connection, or nothing of the request was sent	NOT_SENT
 *	something was sent, no whole answer					UNKNOWN
 *	the answer is larger than we take					TOO_LARGE
 *	otherwise											OK
 *
 * Bodies are kept as the bytes that came; concord_safe_text makes text of
 * them where they are shown or stored.
 *
 *-------------------------------------------------------------------------
 */
#include "http/transfer.h"

#include "mb/pg_wchar.h"
#include "utils/memutils.h"

/* What stands for bytes that are no text. */
#define RSP_REPLACEMENT		"\xEF\xBF\xBD"

/* rsp_append adds bytes to a buffer; false where memory is short. */
static bool
rsp_append(ConcordBuffer *buffer, const char *data, size_t len)
{
	if (buffer->len + len + 1 > buffer->size)
	{
		size_t		size = Max(buffer->size * 2, buffer->len + len + 1);
		char	   *grown;

		size = Max(size, 1024);
		grown = realloc(buffer->data, size);
		if (grown == NULL)
			return false;
		buffer->data = grown;
		buffer->size = size;
	}
	memcpy(buffer->data + buffer->len, data, len);
	buffer->len += len;
	buffer->data[buffer->len] = '\0';
	return true;
}

/* concord_response_limit says how large a request's answer may be. */
Size
concord_response_limit(const ConcordRequest *request)
{
	return request->max_answer > 0 ? request->max_answer : CONCORD_MAX_BODY;
}

/* concord_response_on_header takes one header line. */
size_t
concord_response_on_header(char *data, size_t size, size_t n, void *arg)
{
	ConcordTransferState *transfer = arg;
	size_t		len = size * n;

	/* interim answers (1xx) come before the one that counts */
	if (len >= 5 && memcmp(data, "HTTP/", 5) == 0)
	{
		transfer->headers.len = 0;
		transfer->head_ended = false;
	}
	else if (len > 0 && len <= 2 && data[len - 1] == '\n' &&
			 (len == 1 || data[0] == '\r'))
		transfer->head_ended = true;
	if (transfer->headers.len + len > CONCORD_MAX_HEADERS)
	{
		transfer->too_large = true;
		return 0;
	}
	if (!rsp_append(&transfer->headers, data, len))
	{
		transfer->out_of_memory = true;
		return 0;
	}
	return len;
}

/* concord_response_on_body takes a piece of the body. */
size_t
concord_response_on_body(char *data, size_t size, size_t n, void *arg)
{
	ConcordTransferState *transfer = arg;
	size_t		len = size * n;

	if (transfer->body.len + len > concord_response_limit(transfer->request))
	{
		transfer->too_large = true;
		return 0;
	}
	if (!rsp_append(&transfer->body, data, len))
	{
		transfer->out_of_memory = true;
		return 0;
	}
	return len;
}

/* rsp_parse_headers splits the collected lines, in the request's context. */
static void
rsp_parse_headers(ConcordResponse *response, char *text, size_t len)
{
	char	   *end = text + len;
	int			lines = 0;

	for (char *p = text; p < end; p++)
	{
		if (*p == '\0')
			*p = ' ';
		lines += *p == '\n';
	}
	response->headers = palloc(sizeof(ConcordHeader) * (lines + 1));
	for (char *line = text; line < end;)
	{
		char	   *eol = memchr(line, '\n', end - line);
		char	   *stop = eol != NULL ? eol : end;
		char	   *colon = memchr(line, ':', stop - line);

		while (stop > line && (stop[-1] == '\r' || stop[-1] == ' '))
			stop--;
		if (colon != NULL && colon < stop && strncmp(line, "HTTP/", 5) != 0)
		{
			ConcordHeader *header = &response->headers[response->nheaders++];

			header->name = line;
			for (char *p = line; p < colon; p++)
				*p = pg_ascii_tolower((unsigned char) *p);
			*colon = '\0';
			header->value = colon + 1;
			while (*header->value == ' ' || *header->value == '\t')
				header->value++;
			if (header->value > stop)
				header->value = stop;
			*stop = '\0';
		}
		line = eol != NULL ? eol + 1 : end;
	}
}

/* rsp_classify tells what became of a transfer that did not end well. */
static void
rsp_classify(ConcordTransferState *transfer, CURLcode code, long request_size)
{
	ConcordResponse *response = &transfer->request->response;
	bool		sent = transfer->begun && (request_size > 0 || transfer->lost);

	/* it has said so in its headers */
	transfer->too_large |= code == CURLE_FILESIZE_EXCEEDED;
	if (transfer->too_large)
		response->transfer = CONCORD_TRANSFER_TOO_LARGE;
	else
		response->transfer = sent ? CONCORD_TRANSFER_UNKNOWN :
			CONCORD_TRANSFER_NOT_SENT;

	response->timed_out = code == CURLE_OPERATION_TIMEDOUT;
	response->address_refused = transfer->refused;
	switch (code)
	{
		case CURLE_URL_MALFORMAT:
		case CURLE_UNSUPPORTED_PROTOCOL:
		case CURLE_OUT_OF_MEMORY:
		case CURLE_BAD_FUNCTION_ARGUMENT:
			response->system_down = false;
			break;
		default:
			response->system_down = !sent;
			break;
	}
}

/* rsp_error says in words what went wrong. */
static char *
rsp_error(const ConcordTransferState *transfer, CURLcode code)
{
	if (transfer->too_large)
		return psprintf("the answer is larger than %zu bytes",
						concord_response_limit(transfer->request));
	if (transfer->out_of_memory)
		return pstrdup("out of memory while reading the answer");
	if (transfer->lost)
		return pstrdup("the connection broke before an answer came");
	if (transfer->refused && !transfer->begun)
		return psprintf("address %s is not allowed%s",
						transfer->refused_address,
						transfer->refused_always ? "" :
						" (see pg_concord.allowed_networks)");
	if (transfer->error[0] != '\0')
		return concord_safe_text(transfer->error, strlen(transfer->error),
								 CURL_ERROR_SIZE);
	return pstrdup(curl_easy_strerror(code));
}

/*
 * concord_response_take makes the response of a transfer that has ended.
 * Called from our own loop, where errors may be raised.
 */
void
concord_response_take(ConcordTransferState *transfer, CURLcode code)
{
	ConcordRequest *request = transfer->request;
	ConcordResponse *response = &request->response;
	MemoryContext old = MemoryContextSwitchTo(request->context);
	long		status = 0;
	long		request_size = 0;
	curl_off_t	elapsed = 0;
	char	   *text;

	curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(transfer->easy, CURLINFO_TOTAL_TIME_T, &elapsed);
	memset(response, 0, sizeof(ConcordResponse));
	response->status = (int) status;
	response->elapsed_us = elapsed;

	text = palloc(transfer->headers.len + 1);
	memcpy(text, transfer->headers.data ? transfer->headers.data : "",
		   transfer->headers.len);
	text[transfer->headers.len] = '\0';
	rsp_parse_headers(response, text, transfer->headers.len);

	response->body_len = transfer->body.len;
	response->body = palloc(transfer->body.len + 1);
	memcpy(response->body, transfer->body.data ? transfer->body.data : "",
		   transfer->body.len);
	response->body[transfer->body.len] = '\0';

	response->transfer = CONCORD_TRANSFER_OK;
	if (code == CURLE_OK && !transfer->head_ended)
	{
		/* closed within the headers: libcurl takes what came for all of it */
		code = CURLE_RECV_ERROR;
		transfer->lost = true;
	}
	if (code != CURLE_OK)
	{
		curl_easy_getinfo(transfer->easy, CURLINFO_REQUEST_SIZE, &request_size);
		rsp_classify(transfer, code, request_size);
		response->error = rsp_error(transfer, code);
	}
	MemoryContextSwitchTo(old);
}

/* concord_response_header looks a header up; names are in lower case. */
const char *
concord_response_header(const ConcordResponse *response, const char *name)
{
	for (int i = 0; i < response->nheaders; i++)
	{
		if (pg_strcasecmp(response->headers[i].name, name) == 0)
			return response->headers[i].value;
	}
	return NULL;
}

/*
 * concord_safe_text makes text of bytes that should be UTF-8, cut at maxlen.
 * In a database of another encoding all beyond ASCII becomes '?'.
 */
char *
concord_safe_text(const char *bytes, Size len, Size maxlen)
{
	bool		utf8 = GetDatabaseEncoding() == PG_UTF8;
	StringInfoData buf;
	Size		i = 0;

	len = Min(len, maxlen);
	initStringInfo(&buf);
	while (i < len)
	{
		const unsigned char *p = (const unsigned char *) bytes + i;
		int			n;

		if (*p < 0x80)
		{
			if (*p != '\0')
				appendStringInfoCharMacro(&buf, *p);
			else
				appendStringInfoString(&buf, utf8 ? RSP_REPLACEMENT : "?");
			i++;
			continue;
		}
		n = pg_utf_mblen(p);
		if (n > 1 && i + n > len && len == maxlen)
			break;				/* cut between characters */
		if (n > 1 && i + n <= len && pg_utf8_islegal(p, n))
		{
			if (utf8)
				appendBinaryStringInfo(&buf, (const char *) p, n);
			else
				appendStringInfoChar(&buf, '?');
			i += n;
			continue;
		}
		appendStringInfoString(&buf, utf8 ? RSP_REPLACEMENT : "?");
		i++;
	}
	return buf.data;
}

/* concord_response_text gives the body as text. */
char *
concord_response_text(const ConcordResponse *response, Size maxlen)
{
	if (response->body == NULL)
		return pstrdup("");
	return concord_safe_text(response->body, response->body_len, maxlen);
}
