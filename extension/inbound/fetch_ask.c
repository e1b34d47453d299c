/*-------------------------------------------------------------------------
 *
 * fetch_ask.c
 *	  Records that notices name, asked for: requests, and what answers mean.
 *
 * What an answer means is said by the connector's outcome rules, as with
 * deliveries.  That a record is not there is an answer: it is gone.  What the
 * system as a whole cannot do now (it is down, a limit, credentials) is no
 * record's fault: nothing more is asked for, and nothing counted.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/attempt.h"
#include "fdw/json.h"
#include "inbound/fetch.h"
#include "inbound/pull.h"
#include "live/failure.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#define FTA_AT_ONCE		8

/* fta_verdict sets what became of a look-up. */
static void
fta_verdict(ConcordFetchItem *item, ConcordFetchVerdict verdict,
			const char *rule, const char *error)
{
	item->verdict = verdict;
	item->rule = rule;
	item->error = error == NULL ? NULL : pstrdup(error);
}

/* A request that is to be written. */
typedef struct FtaPrepare
{
	ConcordFetch *fetch;
	ConcordFetchItem *item;
} FtaPrepare;

static void
fta_prepare_work(void *arg)
{
	FtaPrepare *prepare = arg;
	ConcordFetch *fetch = prepare->fetch;

	concord_lookup_prepare(&prepare->item->lookup, fetch->peer->server,
						   fetch->mapping, fetch->types, prepare->item->id);
}

/*
 * fta_prepare writes a request.  A key that names no record is that record's
 * fault alone; the subtransaction has nothing in it but memory.
 */
static void
fta_prepare(ConcordFetch *fetch, ConcordFetchItem *item)
{
	FtaPrepare	prepare = {fetch, item};
	ErrorData  *error = concord_attempt(fta_prepare_work, &prepare);

	if (error == NULL)
		return;
	/* neither of these is about the record */
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION ||
		ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_INSUFFICIENT_RESOURCES)
		ReThrowError(error);
	fta_verdict(item, CONCORD_FETCH_REFUSED, "key", error->message);
}

/* fta_failed judges a request to which no whole answer came. */
static void
fta_failed(ConcordFetchItem *item)
{
	const ConcordLiveRequest *live = item->live;
	const char *detail = live->detail != NULL ? live->detail : "";

	switch (live->failure)
	{
		case CONCORD_ERRCODE_TOO_LARGE:
			fta_verdict(item, CONCORD_FETCH_REFUSED, "size",
						"the answer is larger than pg_concord.max_answer_size");
			break;
		case CONCORD_ERRCODE_TIMEOUT:
			fta_verdict(item, CONCORD_FETCH_AGAIN, "timeout",
						"the system did not answer in time");
			break;
		case CONCORD_ERRCODE_BROKEN:
			fta_verdict(item, CONCORD_FETCH_AGAIN, "no answer",
						psprintf("the system gave no whole answer: %s", detail));
			break;
		case CONCORD_ERRCODE_BREAKER:
			fta_verdict(item, CONCORD_FETCH_LATER, "circuit breaker", detail);
			break;
		case CONCORD_ERRCODE_LIMIT:
			fta_verdict(item, CONCORD_FETCH_LATER, "limit", detail);
			break;
		case CONCORD_ERRCODE_CREDENTIALS:
			fta_verdict(item, CONCORD_FETCH_LATER, "credentials", detail);
			break;
		default:
			fta_verdict(item, CONCORD_FETCH_LATER, "connection", detail);
			break;
	}
}

/* fta_record finds the record in an answer; start NULL: there is none in it. */
static ConcordSlice
fta_record(const ConcordFetch *fetch, ConcordSlice body)
{
	const ConcordConnector *connector = fetch->peer->server->connector;
	ConcordSlice record = body;
	ConcordSlice inner;
	const char *p;

	if (connector->record_path != NULL)
		record = concord_json_find(body, connector->record_path);
	else if (connector->odata2 &&
			 (inner = concord_json_find(body, "d")).start != NULL)
		record = inner;
	if (concord_json_kind(record) != CONCORD_JSON_ARRAY)
		return record;
	p = record.start + 1;
	record.start = NULL;
	(void) concord_json_next_element(&p, &record);
	return record;
}

/* fta_take takes the record out of an answer. */
static void
fta_take(ConcordFetch *fetch, ConcordFetchItem *item,
		 const ConcordResponse *response)
{
	const char *tag = concord_response_header(response, "etag");
	ConcordSlice body = {response->body, response->body_len};
	ConcordSlice record;
	Size		at;

	/* some systems begin with a byte order mark */
	if (body.len >= 3 && memcmp(body.start, "\xEF\xBB\xBF", 3) == 0)
	{
		body.start += 3;
		body.len -= 3;
	}
	if (body.len == 0 || !concord_json_valid(body.start, body.len, &at))
	{
		fta_verdict(item, CONCORD_FETCH_AGAIN, "not an answer",
					"the answer is not JSON");
		return;
	}
	at = strspn(body.start, " \t\r\n");
	body.start += at;
	body.len = concord_json_skip(body.start) - body.start;
	record = fta_record(fetch, body);
	switch (concord_json_kind(record))
	{
		case CONCORD_JSON_NONE:
		case CONCORD_JSON_NULL:
			fta_verdict(item, CONCORD_FETCH_GONE, NULL, NULL);
			return;
		case CONCORD_JSON_OBJECT:
			break;
		default:
			fta_verdict(item, CONCORD_FETCH_REFUSED, "not an answer",
						"the answer is no record");
			return;
	}
	item->record = pg_any_to_server(pnstrdup(record.start, record.len),
									(int) record.len, PG_UTF8);
	item->etag = concord_pulled_etag(record);
	if (item->etag == NULL && tag != NULL && *tag)
		item->etag = concord_safe_text(tag, strlen(tag), 1024);
	if (!concord_pulled_changed(record, fetch->changed, &item->remote_changed))
		item->remote_changed = item->told_changed;
	fta_verdict(item, CONCORD_FETCH_RECORD, NULL, NULL);
}

/* fta_answered judges a whole answer. */
static void
fta_answered(ConcordFetch *fetch, ConcordFetchItem *item)
{
	const ConcordResponse *response = &item->live->http->response;
	ConcordExchange *x = item->lookup.x;

	concord_exchange_judge(x, response, fetch->peer->auth);
	item->delay_ms = x->retry_after_ms;
	if (response->status == 404 || response->status == 410 ||
		x->effect == CONCORD_EFFECT_GONE)
	{
		fta_verdict(item, CONCORD_FETCH_GONE, NULL, NULL);
		return;
	}
	switch (x->outcome)
	{
		case CONCORD_OUTCOME_DONE:
			fta_take(fetch, item, response);
			break;
		case CONCORD_OUTCOME_THROTTLE:
		case CONCORD_OUTCOME_DOWN:
			fta_verdict(item, CONCORD_FETCH_LATER, x->rule, x->error);
			break;
		case CONCORD_OUTCOME_DEAD:
			fta_verdict(item, CONCORD_FETCH_REFUSED, x->rule, x->error);
			break;
		default:
			fta_verdict(item, CONCORD_FETCH_AGAIN, x->rule, x->error);
			break;
	}
}

/* fta_end waits for a look-up and judges it. */
static void
fta_end(ConcordFetch *fetch, ConcordFetchItem *item)
{
	if (item->live == NULL)
		return;
	concord_live_wait(item->live);
	item->delay_ms = -1;
	if (item->live->failure != 0)
		fta_failed(item);
	else
		fta_answered(fetch, item);
	concord_live_free(item->live);
	item->live = NULL;
}

/* fta_rest puts those off that were not asked for, as one that was. */
static void
fta_rest(ConcordFetch *fetch, int from, const ConcordFetchItem *like)
{
	for (int i = from; i < fetch->n; i++)
	{
		ConcordFetchItem *item = &fetch->items[i];

		if (item->verdict != CONCORD_FETCH_OPEN || item->live != NULL)
			continue;
		item->verdict = CONCORD_FETCH_LATER;
		item->rule = like->rule;
		item->error = like->error;
		item->delay_ms = like->delay_ms;
	}
}

/* concord_fetch_ask looks all of them up. */
void
concord_fetch_ask(ConcordFetch *fetch)
{
	MemoryContext old = MemoryContextSwitchTo(fetch->context);
	int			sent = 0;

	for (int i = 0; i < fetch->n; i++)
	{
		while (sent < fetch->n && sent < i + FTA_AT_ONCE)
		{
			ConcordFetchItem *item = &fetch->items[sent++];

			if (item->verdict != CONCORD_FETCH_OPEN)
				continue;
			fta_prepare(fetch, item);
			if (item->verdict != CONCORD_FETCH_OPEN)
				continue;
			item->read_at = GetCurrentTimestamp();
			item->live = concord_lookup_submit(&item->lookup, fetch->peer);
		}
		fta_end(fetch, &fetch->items[i]);
		if (fetch->items[i].verdict == CONCORD_FETCH_LATER)
			fta_rest(fetch, i + 1, &fetch->items[i]);
		CHECK_FOR_INTERRUPTS();
	}
	MemoryContextSwitchTo(old);
}
