/*-------------------------------------------------------------------------
 *
 * batch_json.c
 *	  Take an answer that is JSON, or lines of it, apart.
 *
 * The connector's definition says where lists of results are, how a result
 * names its item (by its place or by an id) and what in it says how it went.
 * Answers may be anything: what cannot be read is as if it were not there, and
 * what becomes of items that nothing is said of is the definition's too.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/batch_formats.h"

#include "connector/answer.h"
#include "connector/protocols.h"
#include "utils/memutils.h"

/* A walk through an answer. */
typedef struct BjsWalk
{
	const ConcordBatchForm *form;
	ConcordBatchItem *items;
	int			n;
	const ConcordResponse *response;
	const ConcordBatchList *list;
	int			seen;			/* results so far */
	bool		telling;		/* the last one said how it went */
} BjsWalk;

/* bjs_status reads a number as an HTTP status; 0: it is none. */
static int
bjs_status(const char *text)
{
	char	   *end;
	long		status;

	if (text == NULL || *text == '\0')
		return 0;
	status = strtol(text, &end, 10);
	return *end == '\0' && status >= 100 && status <= 599 ? (int) status : 0;
}

/* bjs_failed says whether a result's member names an error. */
static bool
bjs_failed(const ConcordResponse *result, const char *path)
{
	char	   *text = concord_answer_path(result, path);

	return text != NULL && *text != '\0' && strcmp(text, "false") != 0 &&
		strcmp(text, "0") != 0 && strcmp(text, "[]") != 0 &&
		strcmp(text, "{}") != 0;
}

/* bjs_status_of says how one item went, as an HTTP status. */
static int
bjs_status_of(BjsWalk *walk, const ConcordResponse *result)
{
	const ConcordBatchForm *form = walk->form;
	int			status = 0;
	char	   *text;

	if (form->status_path != NULL)
		status = bjs_status(concord_answer_path(result, form->status_path));
	walk->telling = status != 0 || walk->list->status != 0;
	if (status == 0)
		status = walk->list->status;
	if (status == 0 && walk->response->status < 300)
		status = walk->response->status;
	if (form->success_path != NULL)
	{
		text = concord_answer_path(result, form->success_path);
		walk->telling |= text != NULL;
		if (text != NULL && strcmp(text, "true") == 0)
			return status == 0 ? 200 : status;
		if (text != NULL && status < 400)
			status = form->failed_status;
	}
	if (form->error_path != NULL && bjs_failed(result, form->error_path))
	{
		walk->telling = true;
		if (status < 400)
			status = form->failed_status;
	}
	return status;
}

/* bjs_headers takes the headers of one item's answer over. */
static void
bjs_headers(const ConcordBatchForm *form, const ConcordResponse *result,
			ConcordResponse *mine)
{
	const char *at;
	const char *value;
	const char *name;
	Size		len;
	Size		name_len;
	const char *end = result->body + result->body_len;
	int			max = 0;

	if (form->headers_path == NULL ||
		!concord_answer_at(result->body, result->body_len, form->headers_path,
						   &at, &len) || *at != '{')
		return;
	while (concord_answer_next(&at, end, &name, &name_len, &value, &len))
	{
		ConcordHeader *header;

		if (name == NULL)
			break;
		if (mine->nheaders == max)
		{
			max = max == 0 ? 8 : max * 2;
			mine->headers = mine->headers == NULL ?
				palloc(sizeof(ConcordHeader) * max) :
				repalloc(mine->headers, sizeof(ConcordHeader) * max);
		}
		header = &mine->headers[mine->nheaders++];
		header->name = pnstrdup(name, name_len);
		for (char *p = header->name; *p; p++)
			*p = pg_ascii_tolower((unsigned char) *p);
		if (len >= 2 && *value == '"')
		{
			ConcordResponse text = {.body = unconstify(char *, value),.body_len = len};

			header->value = concord_answer_find(&text, NULL, 0);
		}
		else
			header->value = pnstrdup(value, len);
	}
}

/* bjs_item_of_key finds the item whose record's key a result has, or NULL. */
static ConcordBatchItem *
bjs_item_of_key(const BjsWalk *walk, const ConcordResponse *result)
{
	for (int i = 0; i < walk->n; i++)
	{
		if (!walk->items[i].answered &&
			concord_answer_key(walk->items[i].exchange, result->body,
							   result->body_len) == CONCORD_KEY_SAME)
			return &walk->items[i];
	}
	return NULL;
}

/* bjs_item finds the item that a result is about, or NULL. */
static ConcordBatchItem *
bjs_item(const BjsWalk *walk, const ConcordResponse *result)
{
	Size		prefix = strlen(walk->form->id_prefix);
	char	   *id;
	char	   *end;
	long		number = walk->seen;

	if (walk->form->match == CONCORD_MATCH_KEY)
		return bjs_item_of_key(walk, result);
	if (walk->form->match == CONCORD_MATCH_ID)
	{
		id = concord_answer_path(result, walk->form->id_path);
		if (id == NULL || strncmp(id, walk->form->id_prefix, prefix) != 0)
			return NULL;
		number = strtol(id + prefix, &end, 10);
		if (end == id + prefix || *end != '\0')
			return NULL;
	}
	if (number < 1 || number > walk->n || walk->items[number - 1].answered)
		return NULL;
	return &walk->items[number - 1];
}

/* bjs_result gives one item its answer. */
static void
bjs_result(BjsWalk *walk, const char *value, Size len)
{
	const ConcordBatchForm *form = walk->form;
	const char *body = value;
	Size		body_len = len;
	ConcordResponse result = {0};
	ConcordResponse *mine;
	ConcordBatchItem *item;
	MemoryContext old;

	walk->seen++;
	if (form->unwrap && *value == '{')
	{
		const char *at = value;
		const char *name;
		Size		name_len;

		(void) concord_answer_next(&at, value + len, &name, &name_len, &body,
								   &body_len);
		value = body;
		len = body_len;
	}
	result.body = unconstify(char *, value);
	result.body_len = len;
	item = bjs_item(walk, &result);
	if (item == NULL)
		return;
	mine = &item->request->response;
	old = MemoryContextSwitchTo(item->request->context);
	memset(mine, 0, sizeof(*mine));
	mine->transfer = CONCORD_TRANSFER_OK;
	mine->elapsed_us = walk->response->elapsed_us;
	mine->status = bjs_status_of(walk, &result);
	if (form->body_path != NULL &&
		!concord_answer_at(value, len, form->body_path, &body, &body_len))
		body_len = 0;
	if (form->wrap != CONCORD_WRAP_NONE)
	{
		StringInfoData whole;

		initStringInfo(&whole);
		appendStringInfoString(&whole, walk->list->before);
		appendBinaryStringInfo(&whole, body, body_len);
		appendStringInfoString(&whole, walk->list->after);
		mine->body = whole.data;
		mine->body_len = whole.len;
	}
	else
		concord_batch_body(mine, body, body_len);
	bjs_headers(form, &result, mine);
	/* one that does not say how it went, in an answer that is refused */
	item->answered = mine->status != 0;
	MemoryContextSwitchTo(old);
}

/* bjs_count says how many elements an array has; -1: it is none. */
static int
bjs_count(const char *at, const char *end)
{
	const char *name;
	const char *value;
	Size		name_len;
	Size		len;
	int			n = 0;

	if (*at != '[')
		return -1;
	while (concord_answer_next(&at, end, &name, &name_len, &value, &len))
		n++;
	return *at == ']' ? n : -1;
}

/* bjs_list goes through one list; false where there is none. */
static bool
bjs_list(BjsWalk *walk)
{
	const ConcordResponse *response = walk->response;
	const char *end = response->body + response->body_len;
	const char *at;
	const char *name;
	const char *value;
	Size		name_len;
	Size		len;
	int			count;

	if (!concord_answer_at(response->body, response->body_len, walk->list->path,
						   &at, &len))
		return false;
	count = bjs_count(at, end);
	/* by place, a list that is longer or shorter is about something else */
	if (count < 0 || (walk->form->match == CONCORD_MATCH_INDEX && count != walk->n &&
					  (count > walk->n ||
					   walk->form->missing == CONCORD_MISSING_DONE)))
		return false;
	walk->seen = 0;
	while (concord_answer_next(&at, end, &name, &name_len, &value, &len))
		bjs_result(walk, value, len);
	return true;
}

/* bjs_lines goes through an answer of lines; false where it is not that. */
static bool
bjs_lines(BjsWalk *walk)
{
	static const ConcordBatchList lines = {"", 0};
	const char *p = walk->response->body;
	const char *end = p + walk->response->body_len;
	const char *at;
	const char *line;
	Size		len;
	int			n = 0;

	for (at = p; at < end; at = line + len + 1)
	{
		line = at;
		len = strcspn(line, "\n");
		n += strspn(line, " \t\r") < len;
	}
	if (n != walk->n || n < 2)
		return false;
	walk->list = &lines;
	walk->seen = 0;
	for (at = p; at < end; at = line + len + 1)
	{
		const char *value;
		Size		value_len;

		line = at;
		len = strcspn(line, "\n");
		if (strspn(line, " \t\r") < len &&
			concord_answer_at(line, len, "", &value, &value_len))
			bjs_result(walk, value, value_len);
	}
	return true;
}

bool
concord_json_unpack(const ConcordBatchForm *form, ConcordBatchItem *items,
					int n, const ConcordResponse *response)
{
	BjsWalk		walk = {form, items, n, response, NULL, 0, false};
	bool		found = false;

	if (response->body == NULL)
		return concord_batch_unanswered(form, items, n, response, true);
	if (form->lines)
		found = bjs_lines(&walk);
	for (int i = 0; i < form->nlists && !(found && form->nlists == 0); i++)
	{
		if (found && walk.list->status == 0)
			break;				/* alternatives; with statuses, all of them */
		walk.list = &form->lists[i];
		found |= bjs_list(&walk);
	}
	return concord_batch_unanswered(form, items, n, response,
									found || form->missing == CONCORD_MISSING_DONE);
}

/* bat_fill gives an item an answer that is not in the system's. */
static void
bjs_fill(ConcordBatchItem *item, ConcordTransfer transfer, int status,
		 const char *error)
{
	ConcordResponse *mine = &item->request->response;

	memset(mine, 0, sizeof(*mine));
	mine->transfer = transfer;
	mine->status = status;
	mine->error = error == NULL ? NULL :
		MemoryContextStrdup(item->request->context, error);
	item->answered = true;
}

bool
concord_batch_unanswered(const ConcordBatchForm *form, ConcordBatchItem *items,
						 int n, const ConcordResponse *response, bool whole)
{
	bool		success = response->status >= 200 && response->status < 300;
	int			last = -1;
	bool		stopped;

	for (int i = 0; i < n; i++)
	{
		if (items[i].answered)
			last = i;
	}
	if (last < 0 && (!success || form->missing != CONCORD_MISSING_DONE))
		return false;
	/* what stands behind one that failed was not begun */
	stopped = whole && form->missing == CONCORD_MISSING_STOPPED && last >= 0 &&
		items[last].request->response.status >= 400;
	for (int i = 0; i < n; i++)
	{
		if (items[i].answered || (stopped && i > last))
			continue;
		if (whole && success && form->missing == CONCORD_MISSING_DONE)
			bjs_fill(&items[i], CONCORD_TRANSFER_OK, response->status, NULL);
		else
			bjs_fill(&items[i], CONCORD_TRANSFER_UNKNOWN, 0,
					 "the answer to the batch says nothing of this record");
	}
	return true;
}
