/*-------------------------------------------------------------------------
 *
 * explain.c
 *	  concord.explain_outcome() and outcome_rules(): rules, for who writes them.
 *
 * The answer that is judged is made up of the arguments and goes the way of
 * one from the network.  Nothing is sent.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/rules.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

PG_FUNCTION_INFO_V1(concord_explain_outcome);
PG_FUNCTION_INFO_V1(concord_outcome_rules);

/* xpl_verb finds out what the request was for. */
static ConcordVerb
xpl_verb(const char *operation, const char *method)
{
	static const struct
	{
		const char *name;
		ConcordVerb verb;
	}			names[] = {
		{"create", CONCORD_VERB_CREATE},
		{"update", CONCORD_VERB_UPDATE},
		{"delete", CONCORD_VERB_DELETE},
		{"read", CONCORD_VERB_PROBE},
		{"send", CONCORD_VERB_SEND},
		{"POST", CONCORD_VERB_CREATE},
		{"PATCH", CONCORD_VERB_UPDATE},
		{"PUT", CONCORD_VERB_UPDATE},
		{"MERGE", CONCORD_VERB_UPDATE},
		{"DELETE", CONCORD_VERB_DELETE},
		{"GET", CONCORD_VERB_PROBE},
		{"HEAD", CONCORD_VERB_PROBE},
	};

	for (int i = 0; i < lengthof(names); i++)
	{
		if (strcmp(names[i].name, operation ? operation : method) == 0)
			return names[i].verb;
	}
	if (operation != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("operation \"%s\" is not known", operation),
				 errhint("It may be create, update, delete, read or send.")));
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("method \"%s\" is not known", method),
			 errhint("It may be POST, PUT, PATCH, MERGE, DELETE, GET or HEAD.")));
	return CONCORD_VERB_SEND;	/* keep compiler quiet */
}

/* xpl_headers makes headers of an object of texts. */
static void
xpl_headers(ConcordResponse *response, Jsonb *json)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue	v;
	char	   *name = NULL;

	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("headers are not a JSON object"),
				 errhint("An example is {\"Retry-After\": \"30\"}.")));
	response->headers = palloc(sizeof(ConcordHeader) *
							   (JB_ROOT_COUNT(json) + 1));
	it = JsonbIteratorInit(&json->root);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(v.val.string.val, v.val.string.len);
		if (token != WJB_VALUE)
			continue;
		response->headers[response->nheaders].name = name;
		response->headers[response->nheaders++].value =
			v.type == jbvString ?
			pnstrdup(v.val.string.val, v.val.string.len) :
			v.type == jbvNumeric ?
			DatumGetCString(DirectFunctionCall1(numeric_out,
												NumericGetDatum(v.val.numeric))) :
			pstrdup("");
	}
}

/* concord_explain_outcome is concord.explain_outcome(). */
Datum
concord_explain_outcome(PG_FUNCTION_ARGS)
{
	char	   *method = PG_ARGISNULL(4) ? "POST" :
		text_to_cstring(PG_GETARG_TEXT_PP(4));
	char	   *operation = PG_ARGISNULL(5) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(5));
	ConcordServer server = {0};
	ConcordExchange exchange = {0};
	ConcordRequest request = {0};
	ConcordResponse response = {0};
	TupleDesc	desc;
	Datum		values[5] = {0};
	bool		nulls[5] = {false, false, true, true, true};
	const char *outcome;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("connector and status must be given")));
	if (PG_GETARG_INT32(1) < 1 || PG_GETARG_INT32(1) > 999)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%d is no HTTP status", PG_GETARG_INT32(1)),
				 errhint("A status has three digits, as 200 or 404.")));
	server.connector = concord_connector_load(NameStr(*PG_GETARG_NAME(0)),
											  false, CurrentMemoryContext);
	response.transfer = CONCORD_TRANSFER_OK;
	response.status = PG_GETARG_INT32(1);
	if (!PG_ARGISNULL(2))
		xpl_headers(&response, PG_GETARG_JSONB_P(2));
	response.body = PG_ARGISNULL(3) ? "" :
		text_to_cstring(PG_GETARG_TEXT_PP(3));
	response.body_len = strlen(response.body);
	request.method = method;
	exchange.server = &server;
	exchange.context = CurrentMemoryContext;
	exchange.request = &request;
	exchange.verb = xpl_verb(operation, method);

	concord_outcome_judge(&exchange, &response);
	outcome = concord_outcome_name(exchange.outcome, exchange.effect);
	values[0] = CStringGetTextDatum(exchange.effect_rule ?
									exchange.effect_rule : exchange.rule);
	values[1] = CStringGetTextDatum(outcome);
	if (exchange.effect != CONCORD_EFFECT_NONE)
	{
		values[2] = CStringGetTextDatum(concord_outcome_name(exchange.outcome,
															 CONCORD_EFFECT_NONE));
		nulls[2] = false;
	}
	if (exchange.retry_after_ms >= 0)
	{
		Interval   *wait = palloc0(sizeof(Interval));

		wait->time = (int64) exchange.retry_after_ms * 1000;
		values[3] = IntervalPGetDatum(wait);
		nulls[3] = false;
	}
	if (exchange.error != NULL)
	{
		values[4] = CStringGetTextDatum(exchange.error);
		nulls[4] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc),
													  values, nulls)));
}

/* concord_outcome_rules is concord.outcome_rules(). */
Datum
concord_outcome_rules(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	ConcordConnector *connector =
		concord_connector_load(NameStr(*PG_GETARG_NAME(0)), false,
							   CurrentMemoryContext);
	int			position = 0;
	ListCell   *lc;

	InitMaterializedSRF(fcinfo, 0);
	foreach(lc, connector->rules)
	{
		const ConcordOutcomeRule *rule = lfirst(lc);
		Datum		values[5];
		bool		nulls[5] = {false};

		values[0] = Int32GetDatum(++position);
		values[1] = CStringGetTextDatum(rule->name);
		nulls[2] = *rule->origin == '\0';
		values[2] = DirectFunctionCall1(namein, CStringGetDatum(rule->origin));
		values[3] = CStringGetTextDatum(concord_outcome_name(rule->outcome,
															 rule->effect));
		values[4] = DirectFunctionCall1(jsonb_in, CStringGetDatum(rule->source));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}
