/*-------------------------------------------------------------------------
 *
 * rules_default.c
 *	  What an answer means where no rule of the connector says otherwise.
 *
 * Statuses that speak of one record (a 4xx that another attempt may find
 * otherwise, a plain 500) are retried and count; those that no repetition
 * mends are dead at once; those that speak of the whole system (wrong
 * credentials, a gateway without a backend, a redirect to somewhere else) say
 * that it is down, which opens the breaker and costs no record an attempt.
 *
 * A page of HTML with status 200, where a record was asked for, comes from a
 * proxy or a login form: nobody knows whether the system has seen the request.
 * Receivers of webhooks may well answer with a page; no rule is about them.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/rules.h"

#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

/* Words of a refusal that means: this record exists already. */
#define DEF_EXISTS_REGEX \
	"unique|already[ _]?exist|exists already|duplicate|-2035|ENTITY_ALREADY"

static const char def_rules[] =
"[{\"name\": \"a page, not an answer\", \"operation\": [\"create\", \"update\", \"delete\", \"read\"],"
"  \"status\": \"2xx\", \"header\": {\"Content-Type\": \"html\"},"
"  \"text\": \"^\\\\s*(<!--.*-->\\\\s*)?<(!doctype\\\\s+html|html|head)\", \"outcome\": \"unknown\"},"
" {\"name\": \"2xx\", \"status\": \"2xx\", \"outcome\": \"done\"},"
" {\"name\": \"exists\", \"operation\": \"create\", \"status\": [409, 500], \"outcome\": \"exists\"},"
" {\"name\": \"exists\", \"operation\": \"create\", \"status\": [400, 422],"
"  \"text\": \"" DEF_EXISTS_REGEX "\", \"outcome\": \"exists\"},"
" {\"name\": \"gone\", \"operation\": [\"update\", \"delete\", \"read\"], \"status\": [404, 410], \"outcome\": \"gone\"},"
" {\"name\": \"credentials refused\", \"status\": [401, 407], \"outcome\": \"down\"},"
" {\"name\": \"request timeout\", \"status\": 408, \"outcome\": \"retry\"},"
" {\"name\": \"conflict\", \"status\": 409, \"outcome\": \"conflict\"},"
" {\"name\": \"precondition\", \"status\": 412, \"outcome\": \"conflict\"},"
" {\"name\": \"locked\", \"status\": 423, \"outcome\": \"retry\"},"
" {\"name\": \"failed dependency\", \"status\": 424, \"outcome\": \"retry\"},"
" {\"name\": \"too early\", \"status\": 425, \"outcome\": \"retry\"},"
" {\"name\": \"throttled\", \"status\": 429, \"outcome\": \"throttle\"},"
" {\"name\": \"refused\", \"status\": \"4xx\", \"outcome\": \"dead\"},"
" {\"name\": \"not offered\", \"status\": 501, \"outcome\": \"dead\"},"
" {\"name\": \"bad gateway\", \"status\": 502, \"outcome\": \"down\"},"
" {\"name\": \"unavailable\", \"status\": 503, \"outcome\": \"down\"},"
" {\"name\": \"gateway timeout\", \"status\": 504, \"outcome\": \"down\"},"
" {\"name\": \"server error\", \"status\": \"5xx\", \"outcome\": \"retry\"},"
" {\"name\": \"redirect\", \"status\": \"3xx\", \"outcome\": \"down\"},"
" {\"name\": \"unexpected status\", \"outcome\": \"retry\"}]";

/* A cache: parsed once in a process, never changed. */
static List *def_parsed = NIL;

/* concord_rules_default gives the default rules. */
List *
concord_rules_default(void)
{
	MemoryContext context;
	MemoryContext old;
	Jsonb	   *json;
	JsonbValue	value;

	if (def_parsed != NIL)
		return def_parsed;
	context = AllocSetContextCreate(TopMemoryContext, "concord default rules",
									ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	json = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
											  CStringGetDatum(def_rules)));
	value.type = jbvBinary;
	value.val.binary.data = &json->root;
	value.val.binary.len = VARSIZE(json) - VARHDRSZ;
	def_parsed = concord_rules_parse("", &value);
	MemoryContextSwitchTo(old);
	return def_parsed;
}
