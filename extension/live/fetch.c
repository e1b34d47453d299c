/*-------------------------------------------------------------------------
 *
 * fetch.c
 *	  Answers to requests that read, from the cache or from the system.
 *
 * What is in the cache may be used while it is no older than the caller allows
 * and the system has not said that it ends earlier (Cache-Control: max-age,
 * no-cache; Age).  Otherwise the system is asked, with the tag of what is there:
 * 304 confirms it.  Kept are answers 200, 203 and 204, and that there is
 * nothing (404, 410), unless the system says no-store or varies them by
 * everything.  An answer's age counts from when it was asked for, so it is
 * never taken for younger than it is.
 *
 * Nothing goes from one role to another: the role is part of the key, and so
 * "private" is no obstacle.
 *
 *-------------------------------------------------------------------------
 */
#include "live/cache.h"
#include "live/live.h"

#include "base/clock.h"
#include "miscadmin.h"

/* What a view shows of an address. */
#define FETCH_LABEL		300

/* What an answer says of its being kept. */
typedef struct FetchPolicy
{
	bool		store;
	int64		fresh_ms;		/* -1: it does not say */
} FetchPolicy;

/* fetch_key makes the key of a request. */
static void
fetch_key(const ConcordLiveRequest *live, ConcordCacheKey *key)
{
	const ConcordRequest *http = live->http;
	StringInfoData buf;

	initStringInfo(&buf);
	appendBinaryStringInfo(&buf, (const char *) &MyDatabaseId, sizeof(Oid));
	appendBinaryStringInfo(&buf, (const char *) &live->peer->serverid, sizeof(Oid));
	appendBinaryStringInfo(&buf, (const char *) &live->peer->roleid, sizeof(Oid));
	appendBinaryStringInfo(&buf, (const char *) live->peer->digest,
						   sizeof(live->peer->digest));
	appendBinaryStringInfo(&buf, http->method, strlen(http->method) + 1);
	appendBinaryStringInfo(&buf, http->url, strlen(http->url) + 1);
	for (int i = 0; i < http->nheaders; i++)
	{
		appendBinaryStringInfo(&buf, http->headers[i].name,
							   strlen(http->headers[i].name) + 1);
		appendBinaryStringInfo(&buf, http->headers[i].value,
							   strlen(http->headers[i].value) + 1);
	}
	if (http->body != NULL)
	{
		appendStringInfoChar(&buf, '\n');
		appendBinaryStringInfo(&buf, http->body, (int) http->body_len);
	}
	concord_sha256(buf.data, buf.len, key->digest);
	pfree(buf.data);
}

/* fetch_seconds reads a directive's number, with quotes or without; -1: none. */
static int64
fetch_seconds(const char *value)
{
	char	   *end;
	long long	seconds;

	if (*value == '"')
		value++;
	seconds = strtoll(value, &end, 10);
	return end == value || seconds < 0 ? -1 : Min(seconds, PG_INT32_MAX);
}

/* fetch_directive reads one directive of Cache-Control. */
static void
fetch_directive(const char *name, Size len, FetchPolicy *policy)
{
	if (len == 8 && pg_strncasecmp(name, "no-store", 8) == 0)
		policy->store = false;
	else if (len == 8 && pg_strncasecmp(name, "no-cache", 8) == 0)
		policy->fresh_ms = 0;
	else if (len > 8 && pg_strncasecmp(name, "max-age=", 8) == 0)
	{
		int64		seconds = fetch_seconds(name + 8);

		/* what cannot be read is no leave to keep it */
		seconds = Max(seconds, 0);
		if (policy->fresh_ms < 0 || seconds * 1000 < policy->fresh_ms)
			policy->fresh_ms = seconds * 1000;
	}
}

/* fetch_policy reads what an answer says of its being kept. */
static void
fetch_policy(const ConcordResponse *response, FetchPolicy *policy)
{
	const char *age = concord_response_header(response, "age");

	policy->store = true;
	policy->fresh_ms = -1;
	for (int i = 0; i < response->nheaders; i++)
	{
		const ConcordHeader *header = &response->headers[i];
		const char *p = header->value;

		if (strcmp(header->name, "vary") == 0 && strchr(p, '*') != NULL)
			policy->store = false;
		if (strcmp(header->name, "cache-control") != 0)
			continue;
		while (*(p += strspn(p, ", \t")) != '\0')
		{
			Size		len = strcspn(p, ", \t");

			fetch_directive(p, len, policy);
			p += len;
		}
	}
	if (age != NULL && policy->fresh_ms > 0)
		policy->fresh_ms = Max(policy->fresh_ms -
							   Max(fetch_seconds(age), 0) * 1000, 0);
}

/* fetch_expires says until when the system lets an answer be used. */
static int64
fetch_expires(const FetchPolicy *policy, int64 asked)
{
	return policy->fresh_ms < 0 ? CONCORD_CLOCK_NEVER :
		asked + policy->fresh_ms * 1000;
}

/* fetch_store keeps an answer, or forgets what it replaces. */
static void
fetch_store(const ConcordLiveRequest *live, const ConcordCacheKey *key,
			int64 asked)
{
	const ConcordResponse *response = &live->http->response;
	ConcordCacheFacts facts = {
		.serverid = live->peer->serverid,
		.roleid = live->peer->roleid,
		.status = response->status,
		.asked = asked,
	};
	FetchPolicy policy;
	char	   *label;

	fetch_policy(response, &policy);
	switch (response->status)
	{
		case 200:
		case 203:
		case 204:
		case 404:
		case 410:
			break;
		default:
			return;				/* what is there may be used while it holds */
	}
	if (!policy.store)
	{
		concord_cache_drop(key);
		return;
	}
	facts.expires = fetch_expires(&policy, asked);
	label = psprintf("%s %s", live->http->method, live->http->url);
	concord_cache_put(key, &facts,
					  concord_evidence(live->peer->auth, label, FETCH_LABEL),
					  response);
}

/*
 * fetch_cached takes an answer from the cache that is young enough; *known says
 * whether there is one at all.
 */
static bool
fetch_cached(const ConcordCacheKey *key, int64 max_age_ms,
			 ConcordResponse *response, bool *known)
{
	ConcordCacheFacts facts;
	int64		now;

	*known = concord_cache_get(key, &facts, response);
	if (!*known)
		return false;
	now = concord_clock_steady();
	if (now - facts.asked > max_age_ms * 1000 || now >= facts.expires)
		return false;
	concord_cache_hit(key);
	return true;
}

/* fetch_ask sends the request, with the tag of what is known. */
static void
fetch_ask(ConcordLiveRequest *live, const ConcordCacheKey *key, int timeout_ms,
		  ConcordResponse *known, ConcordFetched *fetched)
{
	const char *tag = known == NULL ? NULL :
		concord_response_header(known, "etag");
	int64		asked = concord_clock_steady();
	FetchPolicy policy;

	if (tag != NULL && *tag &&
		!concord_request_has_header(live->http, "If-None-Match"))
		concord_request_header(live->http, "If-None-Match", tag);
	else
		tag = NULL;
	fetched->response = concord_live_exchange(live, timeout_ms, false);
	if (fetched->response->status == 304 && tag != NULL)
	{
		fetch_policy(fetched->response, &policy);
		concord_cache_confirm(key, asked, fetch_expires(&policy, asked));
		concord_cache_hit(key);
		fetched->response = known;
		fetched->cached = true;
		return;
	}
	fetch_store(live, key, asked);
}

/* concord_live_fetch gets an answer from the cache or from the system. */
void
concord_live_fetch(ConcordLiveRequest *live, int timeout_ms, int64 max_age_ms,
				   ConcordFetched *fetched)
{
	ConcordResponse *response;
	ConcordCacheKey key;
	ConcordFlightRole role;
	int64		deadline;
	bool		known;

	fetched->cached = false;
	if (max_age_ms <= 0 || !concord_cache_on())
	{
		fetched->response = concord_live_exchange(live, timeout_ms, false);
		return;
	}
	fetch_key(live, &key);
	response = MemoryContextAlloc(live->context, sizeof(ConcordResponse));
	fetched->response = response;
	fetched->cached = fetch_cached(&key, max_age_ms, response, &known);
	if (fetched->cached)
		return;
	if (timeout_ms <= 0)
		timeout_ms = live->peer->server->timeout_ms;
	deadline = concord_clock_steady() + (int64) timeout_ms * 1000;
	role = concord_flight_begin(&key, timeout_ms);
	if (role != CONCORD_FLIGHT_ALONE)
		fetched->cached = fetch_cached(&key, max_age_ms, response, &known);
	if (!fetched->cached)
		fetch_ask(live, &key, Max((int) concord_clock_left(deadline), 1), known ? response : NULL, fetched);
	if (role == CONCORD_FLIGHT_FLY)
		concord_flight_end(&key);
}
