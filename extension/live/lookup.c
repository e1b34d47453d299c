/*-------------------------------------------------------------------------
 *
 * lookup.c
 *	  concord.lookup(): one record of a system by its key.
 *
 * The request is the connector's own for looking at a record: OData's key
 * syntax, a path, or what its definition says for "lookup" (or else "probe").  A
 * key that is one value is the record's id at the system.  One with names, at a
 * system that gives ids itself, is what the record is found by, where the
 * connector has "find".
 *
 * That there is no such record is an answer: NULL, by status 404 or 410, or by
 * what the connector's rules say of records that are gone.
 *
 *-------------------------------------------------------------------------
 */
#include "live/live.h"

#include "catalog/pg_type.h"
#include "connector/answer.h"
#include "fmgr.h"
#include "live/lookup.h"
#include "miscadmin.h"
#include "outbox/event.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

PG_FUNCTION_INFO_V1(concord_lookup);
PG_FUNCTION_INFO_V1(concord_lookup_text);

/* The arguments, in order. */
enum
{
	LKP_SERVER, LKP_OBJECT, LKP_KEY, LKP_MAX_AGE, LKP_QUERY,
};

/* lkp_value makes a mapped value of a key's part. */
static void
lkp_value(ConcordValue *value, const JsonbValue *v, const char *name)
{
	value->typid = TEXTOID;
	value->typmod = -1;
	switch (v->type)
	{
		case jbvString:
			value->text = pnstrdup(v->val.string.val, v->val.string.len);
			break;
		case jbvBool:
			value->typid = BOOLOID;
			value->text = v->val.boolean ? "true" : "false";
			break;
		case jbvNumeric:
			value->text = DatumGetCString(DirectFunctionCall1(numeric_out,
															  NumericGetDatum(v->val.numeric)));
			value->typid = strspn(value->text, "-0123456789") < strlen(value->text) ?
				NUMERICOID : strlen(value->text) < 10 ? INT4OID :
				strlen(value->text) < 19 ? INT8OID : NUMERICOID;
			break;
		default:
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 *name == '\0' ?
					 errmsg("key is neither a value nor an object of values") :
					 errmsg("part \"%s\" of the key is no value", name),
					 errdetail("A value is a text, a number, true or false.")));
	}
	value->len = strlen(value->text);
}

/* lkp_part adds a part to the key. */
static void
lkp_part(ConcordMapping *mapping, ConcordMapped *mapped, char *name,
		 const JsonbValue *v)
{
	ConcordField *field = palloc0(sizeof(ConcordField));

	field->name = name;
	lkp_value(&mapped->keys[list_length(mapping->key)], v, name);
	mapping->key = lappend(mapping->key, field);
}

/* lkp_key reads a key: one value, or an object of them. */
static void
lkp_key(ConcordMapping *mapping, ConcordMapped *mapped, Jsonb *key)
{
	JsonbIterator *it = JsonbIteratorInit(&key->root);
	JsonbIteratorToken token;
	JsonbValue	v;
	JsonbValue	none = {.type = jbvBinary};
	char	   *name = "";

	mapped->keys = palloc0(sizeof(ConcordValue) * Max(JB_ROOT_COUNT(key), 1));
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(v.val.string.val, v.val.string.len);
		else if (token == WJB_VALUE ||
				 (token == WJB_ELEM && JB_ROOT_IS_SCALAR(key)))
			lkp_part(mapping, mapped, name, &v);
		else if (token == WJB_ELEM)
			lkp_value(&mapped->keys[0], &none, name);
	}
	if (mapping->key == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key is empty")));
}

/*
 * lkp_looks_like_object: a text that somebody has meant as an object.  An
 * untyped literal is a text, and there would be no such record.
 */
static bool
lkp_looks_like_object(const char *key)
{
	Size		len = strlen(key);
	const char *p = key + 1;

	if (len < 2 || key[0] != '{' || key[len - 1] != '}')
		return false;
	p += strspn(p, " \t\r\n");
	if (*p != '"' || (p = strchr(p + 1, '"')) == NULL)
		return false;
	p++;
	return p[strspn(p, " \t\r\n")] == ':';
}

/* lkp_scalar makes a key of a text. */
static void
lkp_scalar(ConcordMapping *mapping, ConcordMapped *mapped, char *key)
{
	JsonbValue	v = {.type = jbvString};

	if (lkp_looks_like_object(key))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key is a text that looks like a JSON object"),
				 errhint("Write '{...}'::jsonb for a key of several parts, to_jsonb(text) for one that is such a text.")));
	v.val.string.val = key;
	v.val.string.len = strlen(key);
	mapped->keys = palloc0(sizeof(ConcordValue));
	lkp_part(mapping, mapped, "", &v);
}

/*
 * lkp_uuids has what looks like a GUID written as one, where the protocol tells
 * them from texts and the connector does not say that ids are texts.
 */
static void
lkp_uuids(const ConcordExchange *x)
{
	const ConcordConnector *connector = x->server->connector;

	if (strcmp(connector->protocol->name, "odata") != 0 ||
		(connector->remote_id_type != NULL &&
		 strcmp(connector->remote_id_type, "text") == 0))
		return;
	for (int i = 0; i < list_length(x->mapping->key); i++)
	{
		ConcordValue *value = &x->mapped->keys[i];

		if (value->typid == TEXTOID && concord_odata_is_uuid(value->text))
			value->typid = UUIDOID;
	}
}

/* lkp_finds says whether the record is to be found by what is not its id. */
static bool
lkp_finds(const ConcordExchange *x)
{
	const ConcordConnector *connector = x->server->connector;
	const char *name = ((ConcordField *) linitial(x->mapping->key))->name;

	return *name != '\0' && connector->remote_id_assigned &&
		connector->protocol->finds(x) != NULL &&
		(connector->verbs[CONCORD_VERB_FIND].path != NULL ||
		 strcmp(connector->protocol->name, "odata") == 0);
}

/* lkp_verb says how the connector gets a record that is addressed. */
static ConcordVerb
lkp_verb(const ConcordConnector *connector)
{
	return connector->verbs[CONCORD_VERB_LOOKUP].path != NULL ?
		CONCORD_VERB_LOOKUP : CONCORD_VERB_PROBE;
}

/*
 * lkp_exchange makes what a connector needs to write a request: a mapping with
 * this object and key and nothing else.
 */
static ConcordExchange *
lkp_exchange(const ConcordServer *server, char *object)
{
	ConcordExchange *x = palloc0(sizeof(ConcordExchange));
	ConcordMapping *mapping = palloc0(sizeof(ConcordMapping));
	ConcordMapped *mapped = palloc0(sizeof(ConcordMapped));

	mapping->name = "concord.lookup()";
	mapping->object = object;
	mapping->options.remote_id_assigned = server->connector->remote_id_assigned;
	x->server = server;
	x->mapping = mapping;
	x->mapped = mapped;
	x->event = palloc0(sizeof(ConcordEvent));
	x->context = CurrentMemoryContext;
	x->retry_after_ms = -1;
	x->verb = CONCORD_VERB_PROBE;
	return x;
}

/* lkp_request writes the request; *find: it searches rather than addresses. */
static ConcordRequest *
lkp_request(ConcordExchange *x, bool *find)
{
	const ConcordProtocol *protocol = x->server->connector->protocol;
	const char *problem = concord_key_problem(x->mapping, x->mapped->keys);
	ConcordRequest *request;

	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no record can be named: %s", problem)));
	lkp_uuids(x);
	*find = lkp_finds(x);
	if (!*find && x->mapping->options.remote_id_assigned)
		x->link.remote_id = concord_key_text(x->mapping, x->mapped->keys);
	request = protocol->look(x, *find ? CONCORD_VERB_FIND :
							 lkp_verb(x->server->connector), x->mapped->keys);
	concord_exchange_headers(x, request);
	return request;
}

/* lkp_url adds the caller's query. */
static char *
lkp_url(const ConcordRequest *request, Jsonb *query)
{
	StringInfoData url;

	initStringInfo(&url);
	appendStringInfoString(&url, request->url);
	if (query != NULL)
		concord_live_query(&url, query);
	return url.data;
}

/* lkp_relative gives the path of an address under the server's url. */
static char *
lkp_relative(const ConcordServer *server, const char *url)
{
	char	   *relative;

	(void) concord_live_address(server, url, NULL, &relative);
	return relative;
}

/* lkp_live makes a session's request of the connector's. */
static ConcordLiveRequest *
lkp_live(ConcordPeer *peer, const ConcordRequest *request, const char *url)
{
	ConcordLiveRequest *live = concord_live_create(peer, request->method, url);

	live->writes = false;
	live->http->body = request->body;
	live->http->body_len = request->body_len;
	for (int i = 0; i < request->nheaders; i++)
		concord_request_set_header(live->http, request->headers[i].name,
								   request->headers[i].value);
	return live;
}

/* lkp_gone says whether an answer says that there is no such record. */
static bool
lkp_gone(ConcordExchange *x, const ConcordResponse *response)
{
	if (response->status == 404 || response->status == 410)
		return true;
	concord_exchange_judge(x, response, NULL);
	return x->effect == CONCORD_EFFECT_GONE;
}

/* lkp_member gives a member of an object, or an element; NULL: none. */
static JsonbValue *
lkp_step(JsonbContainer *container, const char *name)
{
	JsonbValue	key = {.type = jbvString};

	if (JsonContainerIsArray(container) && !JsonContainerIsScalar(container))
		return getIthJsonbValueFromContainer(container, (uint32) strtoul(name, NULL, 10));
	if (!JsonContainerIsObject(container))
		return NULL;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	return findJsonbValueFromContainer(container, JB_FOBJECT, &key);
}

/* lkp_jsonb makes a value of its own of one inside another. */
static Jsonb *
lkp_jsonb(JsonbValue *value)
{
	return value == NULL || value->type == jbvNull ? NULL :
		JsonbValueToJsonb(value);
}

/*
 * lkp_found takes the record out of a search's answer: the path to its id,
 * without the last step.  More than one record is an error.
 */
static Jsonb *
lkp_found(ConcordExchange *x, Jsonb *answer)
{
	char	   *path = pstrdup(x->server->connector->protocol->finds(x));
	char	   *last = strrchr(path, '.');
	char	   *save = NULL;
	JsonbContainer *at = &answer->root;
	JsonbValue *value = NULL;

	if (last == NULL)
		return answer;
	*last = '\0';
	for (char *step = strtok_r(path, ".", &save); step != NULL;
		 step = strtok_r(NULL, ".", &save))
	{
		Size		len = strlen(step);

		/* ["name.of"] in a path is one step, in quotes */
		if (len > 4 && strncmp(step, "[\"", 2) == 0)
		{
			step[len - 2] = '\0';
			step += 2;
		}
		if (strspn(step, "0123456789") == len &&
			JsonContainerIsArray(at) && JsonContainerSize(at) > 1)
			ereport(ERROR,
					(errcode(ERRCODE_CARDINALITY_VIOLATION),
					 errmsg("more than one record of \"%s\" has that key",
							x->mapping->object)));
		value = lkp_step(at, step);
		if (value == NULL || value->type != jbvBinary)
			return lkp_jsonb(value);
		at = value->val.binary.data;
	}
	return lkp_jsonb(value);
}

/*
 * lkp_record takes the record out of an answer: OData 2 wraps it in "d", and
 * some systems give a list of one.
 */
static Jsonb *
lkp_record(const ConcordExchange *x, Jsonb *answer)
{
	JsonbContainer *root = &answer->root;
	JsonbValue *inner;

	if (x->server->connector->odata2 && JB_ROOT_IS_OBJECT(answer) &&
		JB_ROOT_COUNT(answer) == 1 && (inner = lkp_step(root, "d")) != NULL)
		return lkp_jsonb(inner);
	if (JB_ROOT_IS_ARRAY(answer) && !JB_ROOT_IS_SCALAR(answer) &&
		JB_ROOT_COUNT(answer) <= 1)
		return lkp_jsonb(JB_ROOT_COUNT(answer) == 0 ? NULL : lkp_step(root, "0"));
	return answer;
}

/* lkp_get gets a record; NULL: there is none. */
static Jsonb *
lkp_get(ConcordPeer *peer, ConcordExchange *x, Jsonb *query, int64 max_age_ms)
{
	ConcordLiveRequest *live;
	ConcordRequest *request;
	ConcordFetched fetched;
	Jsonb	   *record = NULL;
	char	   *url;
	bool		find;

	request = lkp_request(x, &find);
	url = lkp_url(request, query);
	if (peer->server->call_allow != NULL)
		concord_live_allowed(peer->server, request->method,
							 lkp_relative(peer->server, url));
	live = lkp_live(peer, request, url);
	x->request = live->http;
	concord_live_fetch(live, 0, max_age_ms, &fetched);
	if (!lkp_gone(x, fetched.response))
	{
		concord_live_check_status(live, fetched.response);
		if (fetched.response->body_len > 0)
		{
			record = concord_live_json(peer, fetched.response);
			record = find ? lkp_found(x, record) : lkp_record(x, record);
		}
	}
	concord_live_free(live);
	return record;
}

/* concord_live_look says whether a row's record is there. */
int
concord_live_look(ConcordPeer *peer, const ConcordMapping *mapping,
				  const ConcordMapped *mapped, const ConcordLink *link)
{
	const ConcordConnector *connector = peer->server->connector;
	ConcordExchange *x = lkp_exchange(peer->server, mapping->object);
	const ConcordResponse *response;
	ConcordLiveRequest *live;
	ConcordRequest *request;
	int			result = -1;

	if (connector->protocol->look == NULL ||
		(mapping->options.remote_id_assigned && link->remote_id == NULL) ||
		concord_key_problem(mapping, mapped->keys) != NULL)
		return -1;
	x->mapping = mapping;
	x->mapped = mapped;
	x->link = *link;
	request = connector->protocol->look(x, lkp_verb(connector), mapped->keys);
	if (request == NULL)
		return -1;
	concord_exchange_headers(x, request);
	live = lkp_live(peer, request, request->url);
	x->request = live->http;
	response = concord_live_exchange(live, 0, false);
	if (lkp_gone(x, response))
		result = 0;
	else if (response->status >= 200 && response->status < 300)
		result = 1;
	concord_live_free(live);
	return result;
}

/* lkp_check refuses an object that is none, and a connector without records. */
static void
lkp_check(const ConcordExchange *x)
{
	concord_object_check(x->server->connector, x->mapping, true);
	if (x->server->connector->protocol->look == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("connector \"%s\" has no records to look up",
						x->server->connector->name)));
}

/* lkp_parts makes a key of an id that is made of it: its parts and commas. */
static void
lkp_parts(ConcordExchange *x, const ConcordMapping *mapping, const Oid *types,
		  const char *id)
{
	ConcordMapping *own = unconstify(ConcordMapping *, x->mapping);
	int			n = list_length(mapping->key);
	ConcordValue *keys = palloc0(sizeof(ConcordValue) * Max(n, 1));
	const char *p = id;

	for (int i = 0; i < n && p != NULL; i++)
	{
		const char *comma = n == 1 ? NULL : strchr(p, ',');

		if ((comma == NULL) != (i == n - 1))
			break;
		keys[i].typid = types[i];
		keys[i].typmod = -1;
		keys[i].text = comma == NULL ? pstrdup(p) : pnstrdup(p, comma - p);
		keys[i].len = strlen(keys[i].text);
		own->key = lappend(own->key, list_nth(mapping->key, i));
		p = comma == NULL ? NULL : comma + 1;
	}
	if (list_length(own->key) != n || p != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not the mapping's key, which has %d parts",
						id, n)));
	unconstify(ConcordMapped *, x->mapped)->keys = keys;
}

/* concord_lookup_prepare writes the request for a record of an id. */
void
concord_lookup_prepare(ConcordLookup *lookup, const ConcordServer *server,
					   const ConcordMapping *mapping, const Oid *types,
					   const char *id)
{
	const ConcordConnector *connector = server->connector;
	ConcordExchange *x = lkp_exchange(server, mapping->object);
	ConcordMapping *own = unconstify(ConcordMapping *, x->mapping);
	const char *problem;

	own->name = mapping->name;
	own->options = mapping->options;
	lkp_check(x);
	/* an id that the system gave, where keys have names to stand beside */
	if (connector->key_names && list_length(mapping->key) == 1 &&
		types[0] != UUIDOID && concord_odata_is_uuid(id))
		own->options.remote_id_assigned = true;
	if (own->options.remote_id_assigned)
	{
		lkp_scalar(own, unconstify(ConcordMapped *, x->mapped), pstrdup(id));
		x->link.remote_id = pstrdup(id);
	}
	else
		lkp_parts(x, mapping, types, id);
	problem = concord_key_problem(x->mapping, x->mapped->keys);
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no record can be named: %s", problem)));
	lookup->x = x;
	lookup->request = connector->protocol->look(x, lkp_verb(connector),
												x->mapped->keys);
	concord_exchange_headers(x, lookup->request);
}

/* concord_lookup_submit sends a look-up. */
ConcordLiveRequest *
concord_lookup_submit(ConcordLookup *lookup, ConcordPeer *peer)
{
	ConcordLiveRequest *live = lkp_live(peer, lookup->request,
										lookup->request->url);

	lookup->x->request = live->http;
	concord_live_submit(live, 0);
	return live;
}

/* lkp_result is what both functions do. */
static Datum
lkp_result(FunctionCallInfo fcinfo, bool plain)
{
	static const char *const names[] = {"server", "object", "key"};
	ConcordPeer *peer;
	ConcordExchange *x;
	ConcordMapping *mapping;
	ConcordMapped *mapped;
	int64		max_age_ms;
	Jsonb	   *record;

	for (int i = 0; i < lengthof(names); i++)
	{
		if (PG_ARGISNULL(i))
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("argument \"%s\" must not be null", names[i])));
	}
	peer = concord_live_server(NameStr(*PG_GETARG_NAME(LKP_SERVER)),
							   "concord.lookup()");
	x = lkp_exchange(peer->server,
					 text_to_cstring(PG_GETARG_TEXT_PP(LKP_OBJECT)));
	lkp_check(x);
	mapping = unconstify(ConcordMapping *, x->mapping);
	mapped = unconstify(ConcordMapped *, x->mapped);
	if (plain)
		lkp_scalar(mapping, mapped, text_to_cstring(PG_GETARG_TEXT_PP(LKP_KEY)));
	else
		lkp_key(mapping, mapped, PG_GETARG_JSONB_P(LKP_KEY));
	max_age_ms = PG_ARGISNULL(LKP_MAX_AGE) ? peer->server->cache_max_age_ms :
		concord_live_ms(PG_GETARG_INTERVAL_P(LKP_MAX_AGE), "max_age", 0);
	record = lkp_get(peer, x, PG_ARGISNULL(LKP_QUERY) ? NULL :
					 PG_GETARG_JSONB_P(LKP_QUERY), max_age_ms);
	concord_peer_done(peer);
	if (record == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(record);
}

/* concord_lookup is concord.lookup() with a key of JSON. */
Datum
concord_lookup(PG_FUNCTION_ARGS)
{
	return lkp_result(fcinfo, false);
}

/* concord_lookup_text is concord.lookup() with one text as key. */
Datum
concord_lookup_text(PG_FUNCTION_ARGS)
{
	return lkp_result(fcinfo, true);
}
