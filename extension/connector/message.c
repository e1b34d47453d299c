/*-------------------------------------------------------------------------
 *
 * message.c
 *	  Messages that a system sends: what stands where, challenges, notices.
 *
 * Whoever calls has not looked at the signature yet when a challenge is
 * answered: such an answer has nothing in it but what the message itself
 * says.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/json.h"
#include "catalog/pg_collation.h"
#include "connector/answer.h"
#include "connector/receiving.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

/* What is read of a value that stands in a header or address, in bytes. */
#define MSG_MAX_VALUE	8192

/* Notices in one message; systems send some hundreds at most. */
#define MSG_MAX_ITEMS	100000

/* concord_message_header gives a header's value. */
char *
concord_message_header(const ConcordIncoming *message, const char *name)
{
	JsonbIterator *it = JsonbIteratorInit(&message->headers->root);
	JsonbIteratorToken token;
	JsonbValue	v;
	bool		here = false;

	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			here = (size_t) v.val.string.len == strlen(name) &&
				pg_strncasecmp(v.val.string.val, name, v.val.string.len) == 0;
		else if (token == WJB_VALUE && here && v.type == jbvString &&
				 v.val.string.len <= MSG_MAX_VALUE)
			return pnstrdup(v.val.string.val, v.val.string.len);
	}
	return NULL;
}

/* msg_digit gives the value of a hexadecimal digit; -1: it is none. */
static int
msg_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' :
		c >= 'a' && c <= 'f' ? c - 'a' + 10 :
		c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* msg_decode takes percent-encoding off; NULL where that is no text. */
static char *
msg_decode(const char *text, Size len)
{
	char	   *plain = palloc(len + 1);
	Size		n = 0;

	for (Size i = 0; i < len; i++)
	{
		char		c = text[i];

		if (c == '+')
			c = ' ';
		else if (c == '%' && i + 2 < len && msg_digit(text[i + 1]) >= 0 &&
				 msg_digit(text[i + 2]) >= 0)
		{
			c = (char) (msg_digit(text[i + 1]) << 4 | msg_digit(text[i + 2]));
			i += 2;
		}
		plain[n++] = c;
	}
	plain[n] = '\0';
	if (memchr(plain, '\0', n) != NULL ||
		!pg_verify_mbstr(PG_UTF8, plain, (int) n, true))
		return NULL;
	return pg_any_to_server(plain, (int) n, PG_UTF8);
}

/* msg_query gives a parameter of the address in ":path". */
static char *
msg_query(const ConcordIncoming *message, const char *name)
{
	char	   *path = concord_message_header(message, ":path");
	char	   *at = path == NULL ? NULL : strchr(path, '?');

	while (at != NULL)
	{
		Size		len = strcspn(++at, "&#");
		const char *equals = memchr(at, '=', len);
		Size		name_len = equals == NULL ? len : (Size) (equals - at);
		char	   *given = msg_decode(at, name_len);

		if (given != NULL && strcmp(given, name) == 0)
			return equals == NULL ? pstrdup("") :
				msg_decode(equals + 1, len - name_len - 1);
		at = at[len] == '&' ? at + len : NULL;
	}
	return NULL;
}

/* msg_json gives the value of a path in JSON as text; NULL: none, or null. */
static char *
msg_json(const char *json, Size json_len, const char *path)
{
	const char *value;
	Size		len;

	if (!concord_path_value(path, json, json_len, &value, &len) ||
		(len == 4 && memcmp(value, "null", 4) == 0))
		return NULL;
	if (*value == '"')
		return len > MSG_MAX_VALUE ? NULL :
			concord_place_unescape(value + 1, len - 2);
	return concord_safe_text(value, len, MSG_MAX_VALUE);
}

/* msg_match gives the first group of a regular expression, or what matched. */
static char *
msg_match(const char *value, const char *match)
{
	Datum		found;

	LOCAL_FCINFO(fcinfo, 2);

	InitFunctionCallInfoData(*fcinfo, NULL, 2, C_COLLATION_OID, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(value);
	fcinfo->args[0].isnull = false;
	fcinfo->args[1].value = CStringGetTextDatum(match);
	fcinfo->args[1].isnull = false;
	found = textregexsubstr(fcinfo);
	return fcinfo->isnull ? NULL : TextDatumGetCString(found);
}

/* concord_message_value gives what stands at a place. */
char *
concord_message_value(const ConcordIncoming *message,
					  const ConcordMessagePlace *place, const char *item,
					  Size item_len)
{
	char	   *value = NULL;

	switch (place->where)
	{
		case CONCORD_IN_NOTHING:
			return NULL;
		case CONCORD_IN_HEADER:
			value = concord_message_header(message, place->name);
			break;
		case CONCORD_IN_QUERY:
			value = msg_query(message, place->name);
			break;
		case CONCORD_IN_BODY:
			value = msg_json(message->body, message->len, place->name);
			break;
		case CONCORD_IN_ITEM:
			value = item == NULL ? NULL : msg_json(item, item_len, place->name);
			break;
	}
	if (value == NULL || place->match == NULL)
		return value;
	return msg_match(value, place->match);
}

/* concord_message_challenge gives the answer to a challenge. */
char *
concord_message_challenge(const ConcordReceiving *receiving,
						  const ConcordIncoming *message)
{
	ListCell   *lc;

	foreach(lc, receiving->challenges)
	{
		const ConcordChallenge *challenge = lfirst(lc);
		char	   *is = concord_message_value(message, &challenge->when, NULL, 0);
		char	   *answer;
		StringInfoData buf;

		if (is == NULL ||
			(challenge->equals != NULL && strcmp(is, challenge->equals) != 0))
			continue;
		answer = concord_message_value(message, &challenge->answer, NULL, 0);
		if (answer == NULL)
			continue;
		if (challenge->member == NULL)
			return answer;
		initStringInfo(&buf);
		appendStringInfoChar(&buf, '{');
		concord_json_string(&buf, challenge->member, strlen(challenge->member));
		appendStringInfoString(&buf, ": ");
		concord_json_string(&buf, answer, strlen(answer));
		appendStringInfoChar(&buf, '}');
		return concord_json_server(buf.data);
	}
	return NULL;
}

/* concord_message_signed gives the bytes that the signature is of. */
char *
concord_message_signed(const ConcordReceiving *receiving,
					   const ConcordIncoming *message, Size *len)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (const char *p = receiving->signed_text; *p;)
	{
		char	   *value = NULL;

		if (strncmp(p, "{body}", 6) == 0)
		{
			appendBinaryStringInfo(&buf, message->body, (int) message->len);
			p += 6;
			continue;
		}
		if (strncmp(p, "{id}", 4) == 0)
			value = concord_message_value(message, &receiving->id, NULL, 0);
		else if (strncmp(p, "{timestamp}", 11) == 0)
			value = concord_message_value(message, &receiving->timestamp, NULL, 0);
		else
		{
			appendStringInfoChar(&buf, *p++);
			continue;
		}
		p = strchr(p, '}') + 1;
		appendStringInfoString(&buf, value != NULL ? concord_json_utf8(value) : "");
	}
	*len = buf.len;
	return buf.data;
}

/* msg_bad raises that a message is not what it is to be. */
static void
msg_bad(const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_JSON_TEXT),
			 errmsg("the message cannot be read: %s", why)));
}

/* msg_record gives the record of a notice; NULL: it has none. */
static char *
msg_record(const ConcordReceiving *receiving, const char *item, Size len)
{
	const char *value = item;
	Size		value_len = len;

	if (receiving->fetch)
		return NULL;
	if (receiving->record != NULL &&
		!concord_path_value(receiving->record, item, len, &value, &value_len))
		return NULL;
	if (*value != '{')
		return NULL;
	return pg_any_to_server(pnstrdup(value, value_len), (int) value_len, PG_UTF8);
}

/* msg_notice makes a notice of an item. */
static ConcordNotice *
msg_notice(const ConcordReceiving *receiving, const ConcordIncoming *message,
		   const char *item, Size len)
{
	ConcordNotice *notice = palloc0(sizeof(ConcordNotice));
	char	   *op = concord_message_value(message, &receiving->op, item, len);

	if (*item != '{')
		msg_bad("a notice is not an object");
	if (receiving->signature.where == CONCORD_IN_ITEM)
		notice->signature = concord_message_value(message, &receiving->signature,
												  item, len);
	notice->object = concord_message_value(message, &receiving->object, item, len);
	notice->remote_id = concord_message_value(message, &receiving->remote_id,
											  item, len);
	notice->etag = concord_message_value(message, &receiving->etag, item, len);
	notice->changed = concord_message_value(message, &receiving->changed, item, len);
	notice->deleted = op != NULL && receiving->delete_match != NULL &&
		msg_match(op, receiving->delete_match) != NULL;
	notice->record = msg_record(receiving, item, len);
	if (notice->record == NULL && !receiving->fetch && !notice->deleted)
		msg_bad(psprintf("it has no record at \"%s\"",
						 receiving->record != NULL ? receiving->record : ""));
	/* something has changed: all of it is looked through */
	if (receiving->fetch && notice->remote_id == NULL)
		notice->deleted = false;
	else if (notice->record == NULL && notice->remote_id == NULL)
		msg_bad("it does not say which record it is about");
	return notice;
}

/* concord_message_notices takes a message apart. */
List *
concord_message_notices(const ConcordReceiving *receiving,
						const ConcordIncoming *message)
{
	ConcordResponse whole = {.body = unconstify(char *, message->body),
	.body_len = message->len};
	const char *list;
	Size		list_len;
	const char *at;
	const char *name;
	const char *value;
	Size		name_len;
	Size		len;
	List	   *notices = NIL;

	if (!concord_answer_is_json(&whole))
		msg_bad("it is not JSON");
	if (!concord_path_value(receiving->items != NULL ? receiving->items : "",
							message->body, message->len, &list, &list_len))
		msg_bad(psprintf("there is no list at \"%s\"", receiving->items));
	if (*list != '[')
		return list_make1(msg_notice(receiving, message, list, list_len));
	at = list;
	while (concord_answer_next(&at, list + list_len, &name, &name_len, &value,
							   &len))
	{
		if (list_length(notices) == MSG_MAX_ITEMS)
			msg_bad(psprintf("it has more than %d notices", MSG_MAX_ITEMS));
		notices = lappend(notices, msg_notice(receiving, message, value, len));
	}
	return notices;
}
