/*-------------------------------------------------------------------------
 *
 * receiving.c
 *	  Member "receive" of a connector: what messages that a system sends look
 *	  like.
 *
 *	{"signature": PLACE, "algorithm": "hmac-sha256" | "token",
 *	 "encoding": "base64" | "hex", "secret": "text" | "base64",
 *	 "prefix": "v1,", "separator": " ", "signed": "{id}.{timestamp}.{body}",
 *	 "timestamp": PLACE, "tolerance": 300, "id": PLACE,
 *	 "challenges": [{"when": PLACE, "equals": "...", "answer": PLACE,
 *					 "member": "..."}],
 *	 "items": "value", "record": "data", "fetch": true,
 *	 "object": PLACE, "op": PLACE, "delete": "deleted$",
 *	 "remote_id": PLACE, "etag": PLACE, "changed": PLACE}
 *
 * A PLACE is "header:NAME", "query:NAME", "body:PATH" or "item:PATH", or an
 * object {"at": "header:NAME", "match": "regular expression"}, of which the
 * first group counts.  Paths are those of outcome rules.
 *
 * A mapping's option receive states the same members for itself, so one reader
 * is behind both.  What is left out is the row's that is extended, or else that
 * of Standard Webhooks; whoever states "signature" over that begins with nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/definition.h"

#include "catalog/pg_collation.h"
#include "catalog/server_options.h"
#include "connector/answer.h"
#include "connector/receiving.h"
#include "regex/regex.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#define RCV_AT(field)	offsetof(ConcordReceiving, field)

/* A day: whoever wants more does not want a timestamp. */
#define RCV_MAX_TOLERANCE	86400

static const struct
{
	const char *name;
	size_t		offset;
}			rcv_places[] =

{
	{"signature", RCV_AT(signature)},
	{"timestamp", RCV_AT(timestamp)},
	{"id", RCV_AT(id)},
	{"object", RCV_AT(object)},
	{"op", RCV_AT(op)},
	{"remote_id", RCV_AT(remote_id)},
	{"etag", RCV_AT(etag)},
	{"changed", RCV_AT(changed)},
},

			rcv_texts[] =

{
	{"prefix", RCV_AT(prefix)},
	{"separator", RCV_AT(separator)},
	{"signed", RCV_AT(signed_text)},
	{"items", RCV_AT(items)},
	{"record", RCV_AT(record)},
	{"delete", RCV_AT(delete_match)},
};

/* Members that are one of two things. */
static const struct
{
	const char *name;
	size_t		offset;
	const char *choices;		/* the first is false */
}			rcv_choices[] =

{
	{"algorithm", RCV_AT(token), "hmac-sha256|token"},
	{"encoding", RCV_AT(hex), "base64|hex"},
	{"secret", RCV_AT(base64_secret), "text|base64"},
};

/* Where the members stand, for messages: "receive" of what. */
static const char *rcv_prefix;

/* rcv_bad names a member of "receive". */
static void
rcv_bad(const char *name, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for member \"%s\" of %s", name, rcv_prefix),
			 errdetail("It %s.", why)));
}

/* rcv_text gives a member as text; NULL where it is not there, or null. */
static char *
rcv_text(JsonbContainer *object, const char *name)
{
	JsonbValue	v;

	if (concord_member_get(object, name, &v) == NULL || v.type == jbvNull)
		return NULL;
	if (v.type != jbvString)
		rcv_bad(name, "is not a text");
	return pnstrdup(v.val.string.val, v.val.string.len);
}

/* rcv_regex checks a regular expression. */
static void
rcv_regex(const char *name, const char *text)
{
	/* raises where it is none, naming what is wrong with it */
	(void) RE_compile_and_cache(cstring_to_text(text), REG_ADVANCED,
								C_COLLATION_OID);
	if (*text == '\0')
		rcv_bad(name, "is empty");
}

/* rcv_where reads "header:NAME" and its like. */
static void
rcv_where(ConcordMessagePlace *place, const char *name, const char *text)
{
	static const char *const kinds[] = {"header:", "query:", "body:", "item:"};
	const char *why;

	for (int i = 0; i < lengthof(kinds); i++)
	{
		size_t		len = strlen(kinds[i]);

		if (strncmp(text, kinds[i], len) != 0)
			continue;
		place->where = (ConcordMessageWhere) (CONCORD_IN_HEADER + i);
		place->name = pstrdup(text + len);
		if (*place->name == '\0')
			rcv_bad(name, psprintf("names nothing after \"%s\"", kinds[i]));
		if (place->where >= CONCORD_IN_BODY &&
			(strchr(place->name, '*') != NULL ||
			 concord_path_parse(place->name, &why) == NULL))
			rcv_bad(name, psprintf("has \"%s\", which is no path to one value",
								   place->name));
		return;
	}
	rcv_bad(name, "begins with none of \"header:\", \"query:\", \"body:\" and \"item:\"");
}

/* rcv_place reads a place: a text, an object, or null for nothing. */
static void
rcv_place(ConcordMessagePlace *place, const char *name, JsonbValue *value)
{
	static const char *const names[] = {"at", "match"};
	JsonbContainer *object = value->val.binary.data;
	char	   *at;

	memset(place, 0, sizeof(*place));
	if (value->type == jbvNull)
		return;
	if (value->type == jbvString)
	{
		rcv_where(place, name, pnstrdup(value->val.string.val,
										value->val.string.len));
		return;
	}
	if (value->type != jbvBinary || !JsonContainerIsObject(object))
		rcv_bad(name, "is neither a text nor an object");
	if (concord_member_unknown(object, names, lengthof(names)) != NULL)
		rcv_bad(name, psprintf("has member \"%s\": only \"at\" and \"match\" are known",
							   concord_member_unknown(object, names,
													  lengthof(names))));
	at = rcv_text(object, "at");
	if (at == NULL)
		rcv_bad(name, "has no member \"at\"");
	rcv_where(place, name, at);
	place->match = rcv_text(object, "match");
	if (place->match != NULL)
		rcv_regex(name, place->match);
}

/* rcv_challenge reads one of "challenges". */
static ConcordChallenge *
rcv_challenge(JsonbValue *value)
{
	static const char *const names[] = {"when", "equals", "answer", "member"};
	ConcordChallenge *challenge = palloc0(sizeof(ConcordChallenge));
	JsonbContainer *object = value->val.binary.data;
	JsonbValue	v;

	if (value->type != jbvBinary || !JsonContainerIsObject(object) ||
		concord_member_unknown(object, names, lengthof(names)) != NULL)
		rcv_bad("challenges", "has something else than objects with when, equals, answer and member");
	if (concord_member_get(object, "when", &v) != NULL)
		rcv_place(&challenge->when, "challenges.when", &v);
	if (concord_member_get(object, "answer", &v) != NULL)
		rcv_place(&challenge->answer, "challenges.answer", &v);
	if (challenge->when.where == CONCORD_IN_NOTHING ||
		challenge->answer.where == CONCORD_IN_NOTHING)
		rcv_bad("challenges", "has one without when or answer");
	if (challenge->when.where == CONCORD_IN_ITEM ||
		challenge->answer.where == CONCORD_IN_ITEM)
		rcv_bad("challenges", "has a place in an item: say where in the body");
	challenge->equals = rcv_text(object, "equals");
	challenge->member = rcv_text(object, "member");
	return challenge;
}

/* rcv_challenges reads the list of them. */
static List *
rcv_challenges(JsonbValue *value)
{
	JsonbContainer *array = value->val.binary.data;
	List	   *challenges = NIL;

	if (value->type == jbvNull)
		return NIL;
	if (value->type != jbvBinary || !JsonContainerIsArray(array))
		rcv_bad("challenges", "is not an array");
	for (int i = 0; i < JsonContainerSize(array); i++)
		challenges = lappend(challenges,
							 rcv_challenge(getIthJsonbValueFromContainer(array, i)));
	return challenges;
}

/* rcv_tolerance reads seconds. */
static int
rcv_tolerance(JsonbValue *value)
{
	int			seconds;

	if (value->type != jbvNumeric)
		rcv_bad("tolerance", "is not a number of seconds");
	seconds = DatumGetInt32(DirectFunctionCall1(numeric_int4,
												NumericGetDatum(value->val.numeric)));
	if (seconds < 1 || seconds > RCV_MAX_TOLERANCE)
		rcv_bad("tolerance", psprintf("is not between 1 and %d seconds",
									  RCV_MAX_TOLERANCE));
	return seconds;
}

/* rcv_signed checks what is signed. */
static void
rcv_signed(const ConcordReceiving *receiving)
{
	const char *text = receiving->signed_text;

	if (strstr(text, "{body}") == NULL)
		rcv_bad("signed", "has no {body}: what it says could be exchanged");
	if (strstr(text, "{timestamp}") != NULL &&
		receiving->timestamp.where == CONCORD_IN_NOTHING)
		rcv_bad("signed", "has {timestamp}, and there is no member \"timestamp\"");
	if (strstr(text, "{id}") != NULL && receiving->id.where == CONCORD_IN_NOTHING)
		rcv_bad("signed", "has {id}, and there is no member \"id\"");
}

/* rcv_check looks at what members say together. */
static void
rcv_check(const ConcordReceiving *receiving)
{
	const ConcordMessagePlace *whole[] = {&receiving->timestamp, &receiving->id};

	if (!receiving->token && receiving->signature.where >= CONCORD_IN_BODY)
		rcv_bad("signature", "stands in what it signs");
	if (!receiving->token && receiving->signature.where != CONCORD_IN_NOTHING)
		rcv_signed(receiving);
	for (int i = 0; i < lengthof(whole); i++)
	{
		if (whole[i]->where == CONCORD_IN_ITEM)
			rcv_bad(i == 0 ? "timestamp" : "id",
					"is a place in an item: it is of the whole message");
	}
	if (receiving->delete_match != NULL &&
		receiving->op.where == CONCORD_IN_NOTHING)
		rcv_bad("delete", "needs \"op\" beside it, where messages say what happened");
	if (receiving->separator != NULL && *receiving->separator == '\0')
		rcv_bad("separator", "is empty");
}

/* rcv_names refuses members that are not known. */
static void
rcv_names(JsonbContainer *members)
{
	const char *names[lengthof(rcv_places) + lengthof(rcv_texts) +
					  lengthof(rcv_choices) + 3];
	int			n = 0;
	char	   *unknown;
	const char *closest;

	for (int i = 0; i < lengthof(rcv_places); i++)
		names[n++] = rcv_places[i].name;
	for (int i = 0; i < lengthof(rcv_texts); i++)
		names[n++] = rcv_texts[i].name;
	for (int i = 0; i < lengthof(rcv_choices); i++)
		names[n++] = rcv_choices[i].name;
	names[n++] = "tolerance";
	names[n++] = "challenges";
	names[n++] = "fetch";
	unknown = concord_member_unknown(members, names, n);
	if (unknown == NULL)
		return;
	closest = concord_option_closest(unknown, names, n);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized member \"%s\" of %s", unknown, rcv_prefix),
			 closest != NULL ? errhint("Perhaps you meant \"%s\".", closest) : 0));
}

/* rcv_simple takes texts and choices over. */
static void
rcv_simple(ConcordReceiving *receiving, JsonbContainer *members)
{
	JsonbValue	v;
	char	   *text;

	for (int i = 0; i < lengthof(rcv_texts); i++)
	{
		if (concord_member_get(members, rcv_texts[i].name, &v) != NULL)
			*(char **) ((char *) receiving + rcv_texts[i].offset) =
				rcv_text(members, rcv_texts[i].name);
	}
	for (int i = 0; i < lengthof(rcv_choices); i++)
	{
		int			which;

		text = rcv_text(members, rcv_choices[i].name);
		if (text == NULL)
			continue;
		which = concord_member_choose(rcv_choices[i].choices, text);
		if (which < 0)
			rcv_bad(rcv_choices[i].name,
					psprintf("is none of %s", rcv_choices[i].choices));
		*(bool *) ((char *) receiving + rcv_choices[i].offset) = which == 1;
	}
}

/* rcv_without gives an object without one of its members. */
static Jsonb *
rcv_without(Jsonb *object, const char *name)
{
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_delete,
											  JsonbPGetDatum(object),
											  CStringGetTextDatum(name)));
}

/* Standard Webhooks 1.0, "Verifying webhook authenticity". */
static const ConcordReceiving rcv_standard = {
	.signature = {CONCORD_IN_HEADER, "webhook-signature"},
	.base64_secret = true,.prefix = "v1,",.separator = " ",
	.signed_text = "{id}.{timestamp}.{body}",
	.timestamp = {CONCORD_IN_HEADER, "webhook-timestamp"},.tolerance = 300,
	.id = {CONCORD_IN_HEADER, "webhook-id"},
};

/* What is signed in another way has nothing of that. */
static const ConcordReceiving rcv_plain = {
	.signed_text = "{body}",.tolerance = 300,
};

/* concord_receiving_with reads members over others. */
ConcordReceiving *
concord_receiving_with(const ConcordReceiving *base, JsonbContainer *members,
					   const char *prefix)
{
	ConcordReceiving *receiving = palloc(sizeof(ConcordReceiving));
	JsonbValue	v;

	rcv_prefix = prefix;
	rcv_names(members);
	if (base == &rcv_standard &&
		concord_member_get(members, "signature", &v) != NULL)
		base = &rcv_plain;
	*receiving = *base;
	for (int i = 0; i < lengthof(rcv_places); i++)
	{
		if (concord_member_get(members, rcv_places[i].name, &v) != NULL)
			rcv_place((ConcordMessagePlace *) ((char *) receiving +
											   rcv_places[i].offset),
					  rcv_places[i].name, &v);
	}
	rcv_simple(receiving, members);
	if (receiving->delete_match != NULL)
		rcv_regex("delete", receiving->delete_match);
	if (concord_member_get(members, "tolerance", &v) != NULL)
		receiving->tolerance = rcv_tolerance(&v);
	if (concord_member_get(members, "challenges", &v) != NULL)
		receiving->challenges = rcv_challenges(&v);
	if (concord_member_get(members, "fetch", &v) != NULL)
	{
		if (v.type != jbvBool)
			rcv_bad("fetch", "is neither true nor false");
		receiving->fetch = v.val.boolean;
	}
	rcv_check(receiving);
	return receiving;
}

/* concord_member_receive parses member "receive". */
void
concord_member_receive(ConcordConnector *connector, const ConcordMember *member,
					   JsonbValue *value)
{
	if (value->type != jbvBinary ||
		!JsonContainerIsObject(value->val.binary.data))
		concord_member_bad(member->name, "is not an object");
	connector->receiving =
		concord_receiving_with(concord_connector_receiving(connector),
							   value->val.binary.data,
							   psprintf("\"receive\" of connector \"%s\"",
										connector->parsing));
}

/* concord_receiving_of reads a mapping's option over what the connector says. */
ConcordReceiving *
concord_receiving_of(const ConcordConnector *connector, Jsonb *option,
					 char **object)
{
	ConcordReceiving *receiving;
	JsonbValue	v;

	*object = NULL;
	/* of a mapping it is the name itself, not where messages have it */
	if (concord_member_get(&option->root, "object", &v) != NULL)
	{
		rcv_prefix = "mapping option \"receive\"";
		*object = rcv_text(&option->root, "object");
		if (*object != NULL && **object == '\0')
			rcv_bad("object", "is empty");
		option = rcv_without(option, "object");
	}
	receiving = concord_receiving_with(concord_connector_receiving(connector),
									   &option->root,
									   "mapping option \"receive\"");
	return receiving;
}

/* concord_connector_receiving says how a connector's messages are read. */
const ConcordReceiving *
concord_connector_receiving(const ConcordConnector *connector)
{
	return connector->receiving != NULL ? connector->receiving : &rcv_standard;
}
