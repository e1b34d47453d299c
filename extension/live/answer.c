/*-------------------------------------------------------------------------
 *
 * answer.c
 *	  Answers as SQL values: headers and bodies.
 *
 *-------------------------------------------------------------------------
 */
#include "live/live.h"

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

/* What is shown of what is wrong with an answer. */
#define ANS_MAX_DETAIL	500

/* ans_repeated says whether an earlier header has the same name. */
static bool
ans_repeated(const ConcordResponse *response, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (strcmp(response->headers[i].name, response->headers[n].name) == 0)
			return true;
	}
	return false;
}

/* ans_value gives a header's value; those of one name are joined (RFC 9110). */
static char *
ans_value(const ConcordResponse *response, int n)
{
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, response->headers[n].value);
	for (int i = n + 1; i < response->nheaders; i++)
	{
		if (strcmp(response->headers[i].name, response->headers[n].name) == 0)
			appendStringInfo(&buf, ", %s", response->headers[i].value);
	}
	return concord_safe_text(buf.data, buf.len, buf.len);
}

/* ans_push adds a text to an object that is being built. */
static void
ans_push(JsonbInState *state, JsonbIteratorToken token, char *text)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = text;
	value.val.string.len = strlen(text);
	concord_jsonb_push(state, token, &value);
}

/* concord_live_headers makes an object of an answer's headers. */
Jsonb *
concord_live_headers(const ConcordResponse *response)
{
	JsonbInState state = {0};

	concord_jsonb_push(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < response->nheaders; i++)
	{
		const char *name = response->headers[i].name;

		if (ans_repeated(response, i))
			continue;
		ans_push(&state, WJB_KEY, concord_safe_text(name, strlen(name),
													strlen(name)));
		ans_push(&state, WJB_VALUE, ans_value(response, i));
	}
	concord_jsonb_push(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(state.result);
}

/* ans_malformed refuses an answer. */
static void
ans_malformed(const ConcordPeer *peer, const ConcordResponse *response,
			  const char *why)
{
	ereport(ERROR,
			(errcode(CONCORD_ERRCODE_MALFORMED),
			 errmsg("the answer of server \"%s\" is not valid JSON",
					peer->server->name),
			 errdetail("Status %d: %s", response->status,
					   concord_evidence(peer->auth, why, ANS_MAX_DETAIL))));
}

/* ans_coded raises where a body is compressed, which nobody has asked for. */
static void
ans_coded(const ConcordPeer *peer, const ConcordResponse *response)
{
	const char *coding = concord_response_header(response, "content-encoding");

	if (coding == NULL || *coding == '\0' ||
		pg_strcasecmp(coding, "identity") == 0)
		return;
	ereport(ERROR,
			(errcode(CONCORD_ERRCODE_MALFORMED),
			 errmsg("the answer of server \"%s\" is coded", peer->server->name),
			 errdetail("Its content-encoding is \"%s\", which was not asked for.",
					   concord_safe_text(coding, strlen(coding), 100))));
}

/*
 * ans_parse parses JSON; NULL with *why where it is none.  The parser takes no
 * lock or resource, so that its error can be a result.
 */
static Jsonb *
ans_parse(const char *body, Size len, char **why)
{
	MemoryContext context = CurrentMemoryContext;
	Jsonb	   *volatile result = NULL;

	PG_TRY();
	{
		char	   *text = pg_any_to_server(body, (int) len, PG_UTF8);

		result = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
													CStringGetDatum(text)));
	}
	PG_CATCH();
	{
		ErrorData  *error;
		int			category;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		category = ERRCODE_TO_CATEGORY(error->sqlerrcode);
		if (category != MAKE_SQLSTATE('2', '2', '0', '0', '0') &&
			category != MAKE_SQLSTATE('5', '4', '0', '0', '0'))
			PG_RE_THROW();
		FlushErrorState();
		*why = psprintf("%s%s%s", error->message, error->detail ? ": " : "",
						error->detail ? error->detail : "");
	}
	PG_END_TRY();
	return result;
}

/* concord_live_json parses an answer's body. */
Jsonb *
concord_live_json(const ConcordPeer *peer, const ConcordResponse *response)
{
	const char *body = response->body;
	Size		len = response->body_len;
	Jsonb	   *result;
	char	   *why = NULL;

	ans_coded(peer, response);
	if (len >= 3 && memcmp(body, "\xEF\xBB\xBF", 3) == 0)
	{
		body += 3;
		len -= 3;
	}
	if (memchr(body, '\0', len) != NULL)
		ans_malformed(peer, response, "it has a byte 0");
	result = ans_parse(body, len, &why);
	if (result == NULL)
		ans_malformed(peer, response, why);
	return result;
}

/* ans_says_json: application/json, text/json, application/problem+json, ... */
static bool
ans_says_json(const ConcordResponse *response)
{
	const char *type = concord_response_header(response, "content-type");
	Size		len = type == NULL ? 0 : strcspn(type, "; \t");

	return (len >= 5 && pg_strncasecmp(type + len - 5, "/json", 5) == 0) ||
		(len >= 5 && pg_strncasecmp(type + len - 5, "+json", 5) == 0);
}

/* concord_live_body parses an answer's body where that says it is JSON. */
Jsonb *
concord_live_body(const ConcordPeer *peer, const ConcordResponse *response)
{
	if (response->body_len == 0 || !ans_says_json(response))
		return NULL;
	return concord_live_json(peer, response);
}
