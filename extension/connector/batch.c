/*-------------------------------------------------------------------------
 *
 * batch.c
 *	  Several requests as one: which go together, and how they are packed.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/batch.h"

#include "auth/auth.h"
#include "base/digest.h"
#include "connector/batch_formats.h"
#include "connector/protocols.h"
#include "connector/template.h"
#include "utils/memutils.h"

/* What an answer to many may have, an answer to one having 1 MB. */
#define BAT_MAX_ANSWER		(16 * 1024 * 1024)

/* What an item may add beside its body. */
#define BAT_ITEM_OVERHEAD	128

/* bat_has_tag: the request names the version that it is about. */
static bool
bat_has_tag(const ConcordRequest *request)
{
	for (int i = 0; i < request->nheaders; i++)
	{
		if (pg_strcasecmp(request->headers[i].name, "If-Match") == 0 ||
			pg_strcasecmp(request->headers[i].name, "If-None-Match") == 0)
			return true;
	}
	return false;
}

/*
 * concord_batch_form_of: a look is always sent alone, so is what may have been
 * created before, what gets another key (a form may address by it), and what names a version that the form cannot carry.
 */
const ConcordBatchForm *
concord_batch_form_of(const ConcordExchange *exchange,
					  const ConcordRequest *request)
{
	ListCell   *lc;

	if (strcmp(request->method, "GET") == 0 ||
		strcmp(request->method, "HEAD") == 0 || exchange->renames ||
		(exchange->was_unknown && exchange->verb == CONCORD_VERB_CREATE &&
		 exchange->server->connector->protocol->looks))
		return NULL;
	foreach(lc, exchange->server->connector->batches)
	{
		const ConcordBatchForm *form = lfirst(lc);

		if ((form->operations & (1 << exchange->verb)) == 0 ||
			(request->body == NULL && form->same_address) ||
			(form->unordered &&
			 exchange->mapping->options.ordering != CONCORD_ORDER_NONE) ||
			(!form->carries_headers && bat_has_tag(request)))
			continue;
		return form;
	}
	return NULL;
}

/*
 * bat_is_common: a header of an item's request is sent with the batch, for which
 * it then speaks.
 */
static bool
bat_is_common(const ConcordBatchForm *form, const ConcordBatchItem *item,
			  const char *name)
{
	/* what belongs to one event must not stand for all */
	return !form->carries_headers &&
		pg_strcasecmp(name, "Content-Type") != 0 &&
		pg_strcasecmp(name, item->exchange->server->connector->idempotency_header) != 0 &&
		pg_strcasecmp(name, "webhook-id") != 0 &&
		pg_strncasecmp(name, "ce-", 3) != 0 &&
		!concord_shape_names_header(form->headers, name);
}

/* bat_same_headers: what would stand for both is the same. */
static bool
bat_same_headers(const ConcordBatchForm *form, const ConcordBatchItem *a,
				 const ConcordBatchItem *b)
{
	const ConcordRequest *request = a->request;

	for (int i = 0; i < request->nheaders; i++)
	{
		const char *name = request->headers[i].name;
		const char *value = NULL;

		if (!bat_is_common(form, a, name))
			continue;
		for (int j = 0; j < b->request->nheaders && value == NULL; j++)
		{
			if (pg_strcasecmp(b->request->headers[j].name, name) == 0)
				value = b->request->headers[j].value;
		}
		if (value == NULL || strcmp(value, request->headers[i].value) != 0)
			return false;
	}
	return true;
}

bool
concord_batch_together(const ConcordBatchForm *form, const ConcordBatchItem *a,
					   const ConcordBatchItem *b)
{
	return (!form->same_address ||
			(strcmp(a->request->method, b->request->method) == 0 &&
			 strcmp(a->request->url, b->request->url) == 0)) &&
		bat_same_headers(form, a, b);
}

Size
concord_batch_bytes(const ConcordBatchForm *form, const ConcordBatchItem *item)
{
	const ConcordRequest *request = item->request;
	Size		size = request->body_len + BAT_ITEM_OVERHEAD;

	if (!form->carries_headers)
		return size;
	size += strlen(request->url);
	for (int i = 0; i < request->nheaders; i++)
		size += strlen(request->headers[i].name) +
			strlen(request->headers[i].value) + 8;
	return size;
}

int
concord_batch_limit(const ConcordServer *server, const ConcordMapping *mapping)
{
	const ConcordConnector *connector = server->connector;
	const ConcordBatchForm *form;
	int			size;

	if (connector->batches == NIL)
		return 0;
	form = linitial(connector->batches);
	size = mapping->options.batch_size > 0 ? mapping->options.batch_size :
		server->batch_size > 0 ? server->batch_size : form->size;
	if (size > 1 || (form->alone && form->size > 0))
		return Max(Min(size, form->max_count), 1);
	return 0;
}

/* ---------------------------------------------------------------------
 * packing
 * ------------------------------------------------------------------- */

/* bat_scope says what an item's template is filled from. */
static void
bat_scope(const ConcordBatchForm *form, const ConcordBatchItem *items, int i,
		  ConcordTemplateScope *scope)
{
	memset(scope, 0, sizeof(*scope));
	scope->exchange = items[i].exchange;
	scope->keys = items[i].exchange->mapped->keys;
	scope->body_flags = concord_event_flags(items[i].exchange);
	if (items[i].exchange->request_keys != NULL)
	{
		scope->keys = items[i].exchange->request_keys;
		scope->body_flags = items[i].exchange->request_flags;
	}
	scope->request = items[i].request;
	scope->id_prefix = form->id_prefix;
	scope->index = i;
}

/*
 * bat_end_line makes what was written since start one line.  JSON has line ends
 * between its values only, where a column of type json keeps them; left there,
 * one value could pass for several lines, each an item of its own.
 */
static void
bat_end_line(StringInfo buf, int start)
{
	for (char *p = buf->data + start; p < buf->data + buf->len; p++)
	{
		if (*p == '\n' || *p == '\r')
			*p = ' ';
	}
	appendStringInfoChar(buf, '\n');
}

/* bat_items writes all items, with commas or as lines. */
static void
bat_items(const ConcordBatchForm *form, const ConcordBatchItem *items, int n,
		  StringInfo buf)
{
	for (int i = 0; i < n; i++)
	{
		ConcordTemplateScope scope;

		bat_scope(form, items, i, &scope);
		if (i > 0 && !form->lines)
			appendStringInfoChar(buf, ',');
		for (int j = 0; j < form->nlines; j++)
		{
			int			start = buf->len;

			concord_template_write(form->item[j], &scope, buf);
			if (form->lines)
				bat_end_line(buf, start);
		}
	}
}

/* bat_ids gives the ids of all items, with commas. */
static char *
bat_ids(const ConcordBatchItem *items, int n)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < n; i++)
	{
		const ConcordExchange *x = items[i].exchange;

		if (i > 0)
			appendStringInfoChar(&buf, ',');
		if (x->link.remote_id != NULL)
			appendStringInfoString(&buf, x->link.remote_id);
		else if (x->mapped->keys != NULL)
			appendStringInfoString(&buf, concord_key_text(x->mapping,
														  x->mapped->keys));
	}
	return buf.data;
}

/* bat_request writes address and body of a form that is JSON, or lines. */
static void
bat_request(const ConcordBatchForm *form, const ConcordBatchItem *items, int n,
			ConcordRequest *request)
{
	ConcordTemplateScope scope;
	StringInfoData buf;
	StringInfoData body;

	bat_scope(form, items, 0, &scope);
	if (form->path == NULL)
		request->url = pstrdup(items[0].request->url);
	else
	{
		scope.ids = concord_template_has_items(form->path) ? NULL :
			bat_ids(items, n);
		initStringInfo(&buf);
		concord_url_base(&buf, scope.exchange->server, scope.exchange->mapping);
		concord_template_write(form->path, &scope, &buf);
		request->url = buf.data;
	}
	if (form->multipart)
		concord_multipart_pack(form, items, n, request);
	if (form->multipart || (form->body == NULL && !form->lines))
		return;
	initStringInfo(&body);
	bat_items(form, items, n, &body);
	if (form->body != NULL)
	{
		initStringInfo(&buf);
		scope.items = body.data;
		scope.items_len = body.len;
		concord_template_write(form->body, &scope, &buf);
		pfree(body.data);
		body = buf;
	}
	request->body = body.data;
	request->body_len = body.len;
	concord_request_header(request, "Content-Type", form->content_type);
}

/* bat_key_of_all makes the idempotency key of a batch of those of its items. */
static char *
bat_key_of_all(const ConcordBatchItem *items, int n)
{
	uint8		digest[CONCORD_SHA256_LENGTH];
	StringInfoData buf;
	char	   *key;

	initStringInfo(&buf);
	for (int i = 0; i < n; i++)
	{
		if (items[i].exchange->idempotency_key != NULL)
			appendStringInfoString(&buf, items[i].exchange->idempotency_key);
		appendStringInfoChar(&buf, '\n');
	}
	concord_sha256(buf.data, buf.len, digest);
	key = concord_idempotency_text(digest);
	pfree(buf.data);
	return key;
}

/* bat_other_headers copies what the first item says for all. */
static void
bat_other_headers(const ConcordBatchForm *form, const ConcordBatchItem *items,
				  ConcordRequest *request)
{
	const ConcordRequest *first = items[0].request;
	ConcordTemplateScope scope;

	bat_scope(form, items, 0, &scope);
	if (form->headers != NULL)
		concord_shape_apply(form->headers, &scope, request);
	for (int i = 0; i < first->nheaders; i++)
	{
		const ConcordHeader *header = &first->headers[i];

		if (bat_is_common(form, &items[0], header->name))
			concord_request_set_header(request, header->name, header->value);
	}
}

ConcordRequest *
concord_batch_pack(const ConcordBatchForm *form, const ConcordBatchItem *items,
				   int n, const ConcordAuth *auth, MemoryContext context)
{
	ConcordRequest *request = concord_request_create(context);
	MemoryContext old = MemoryContextSwitchTo(request->context);
	const ConcordConnector *connector = items[0].exchange->server->connector;
	char	   *key;

	request->method = form->same_address ? items[0].request->method :
		form->method;
	request->max_answer = BAT_MAX_ANSWER;
	bat_request(form, items, n, request);
	key = bat_key_of_all(items, n);
	bat_other_headers(form, items, request);
	if (*connector->idempotency_header)
		concord_request_set_header(request, connector->idempotency_header, key);
	/* Standard Webhooks sign an id: that of the message, which is the batch */
	if (concord_request_has_header(items[0].request, "webhook-id"))
		concord_request_set_header(request, "webhook-id", key);
	concord_exchange_headers(items[0].exchange, request);
	if (auth != NULL)
		concord_auth_apply(auth, request);
	MemoryContextSwitchTo(old);
	return request;
}

void
concord_batch_body(ConcordResponse *response, const char *bytes, Size len)
{
	response->body = palloc(len + 1);
	memcpy(response->body, bytes, len);
	response->body[len] = '\0';
	response->body_len = len;
}

/* bat_may_have_items: an answer that may say something of each item. */
static bool
bat_may_have_items(int status)
{
	switch (status)
	{
		case 401:
		case 403:
		case 407:
		case 408:
		case 413:
		case 429:
			return false;
		default:
			return (status >= 200 && status < 300) ||
				(status >= 400 && status < 500);
	}
}

ConcordBatchVerdict
concord_batch_unpack(const ConcordBatchForm *form, ConcordBatchItem *items,
					 int n, const ConcordResponse *response)
{
	for (int i = 0; i < n; i++)
		items[i].answered = false;
	if (response->transfer != CONCORD_TRANSFER_OK)
		return CONCORD_BATCH_WHOLE;
	if (bat_may_have_items(response->status))
	{
		if (form->multipart ? concord_multipart_unpack(form, items, n, response) :
			concord_json_unpack(form, items, n, response))
			return CONCORD_BATCH_ITEMS;
		if (response->status < 300)
			return CONCORD_BATCH_WHOLE;
	}
	return response->status >= 400 && response->status < 500 ?
		CONCORD_BATCH_REFUSED : CONCORD_BATCH_WHOLE;
}

const ConcordBatchForm *
concord_batch_unit_form(const ConcordExchange *exchange,
						const ConcordRequest *request)
{
	ListCell   *lc;

	foreach(lc, exchange->server->connector->batches)
	{
		const ConcordBatchForm *form = ((ConcordBatchForm *) lfirst(lc))->unit;

		if (form != NULL && (form->operations & (1 << exchange->verb)) != 0 &&
			(form->carries_headers || !bat_has_tag(request)))
			return form;
	}
	return NULL;
}

char *
concord_batch_reference(const ConcordBatchForm *form, int index)
{
	const char *place;

	if (form->reference == NULL)
		return NULL;
	place = strchr(form->reference, '#');
	return psprintf("%.*s%s%d%s", (int) (place - form->reference),
					form->reference, form->id_prefix, index + 1, place + 1);
}

/* bat_halted: an item failed because another one did. */
static bool
bat_halted(const ConcordResponse *response)
{
	return response->status == 424 ||
		(response->body != NULL &&
		 strstr(response->body, "PROCESSING_HALTED") != NULL);
}

ConcordBatchVerdict
concord_batch_unpack_unit(const ConcordBatchForm *form, ConcordBatchItem *items,
						  int n, const ConcordResponse *response, int *refused)
{
	ConcordBatchVerdict verdict;
	bool		all = true;
	int			failed = 0;
	int			blamed = 0;

	*refused = -1;
	verdict = concord_batch_unpack(form, items, n, response);
	if (verdict != CONCORD_BATCH_ITEMS)
		return verdict;
	for (int i = 0; i < n; i++)
	{
		const ConcordResponse *mine = &items[i].request->response;

		all &= items[i].answered && mine->status >= 200 && mine->status < 400;
		if (!items[i].answered || mine->status < 400)
			continue;
		failed++;
		blamed += !bat_halted(mine);
		/* others may say 201 and are undone all the same */
		if (*refused < 0 ||
			(bat_halted(&items[*refused].request->response) && !bat_halted(mine)))
			*refused = i;
	}
	/* where all have failed, none of them is known to be why */
	if (blamed == n && n > 1)
		*refused = -1;
	if (failed > 0)
		return CONCORD_BATCH_REFUSED;
	return all ? CONCORD_BATCH_ITEMS : CONCORD_BATCH_WHOLE;
}

/* bat_check_unit refuses units where no form is done or refused as a whole. */
static void
bat_check_unit(const ConcordConnector *connector, const ConcordMapping *mapping)
{
	ListCell   *lc;

	if (!mapping->options.unit)
		return;
	foreach(lc, connector->batches)
	{
		if (((ConcordBatchForm *) lfirst(lc))->unit != NULL)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("connector \"%s\" cannot deliver a transaction as a whole",
					connector->name),
			 errdetail("Option \"unit\" of mapping \"%s\" is \"transaction\".",
					   mapping->name),
			 errhint("Member \"unit\" of \"batch\" in a connector's definition says how several records are changed together or not at all; formats odata_batch_multipart, odata_batch_json and salesforce_composite have it.")));
}

/*
 * bat_check_order refuses batches that would never be made, where each form is
 * for messages without an ordering key only.
 */
static void
bat_check_order(const ConcordConnector *connector,
				const ConcordMapping *mapping)
{
	ListCell   *lc;

	if (mapping->options.batch_size <= 1 ||
		mapping->options.ordering == CONCORD_ORDER_NONE)
		return;
	foreach(lc, connector->batches)
	{
		if (!((ConcordBatchForm *) lfirst(lc))->unordered)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("connector \"%s\" has no batches of messages that have an order",
					connector->name),
			 errdetail("Option \"batch_size\" of mapping \"%s\" is %d, and the system takes different ordering keys in different requests only.",
					   mapping->name, mapping->options.batch_size),
			 errhint("Set option \"ordering\" to \"none\", or leave batches out.")));
}

/* concord_batch_check refuses batches where there is no form. */
void
concord_batch_check(const ConcordConnector *connector,
					const ConcordMapping *mapping)
{
	bat_check_unit(connector, mapping);
	if (connector->batches != NIL)
		bat_check_order(connector, mapping);
	if (mapping->options.batch_size <= 1 || connector->batches != NIL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("connector \"%s\" has no batches", connector->name),
			 errdetail("Option \"batch_size\" of mapping \"%s\" is %d.",
					   mapping->name, mapping->options.batch_size),
			 errhint("A connector's definition says in member \"batch\" how several records are sent in one request.")));
}
