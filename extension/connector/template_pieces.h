/*-------------------------------------------------------------------------
 *
 * template_pieces.h
 *	  What a template is made of; private to template.c, which parses, and
 *	  template_write.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CONNECTOR_TEMPLATE_PIECES_H
#define CONCORD_CONNECTOR_TEMPLATE_PIECES_H

#include "connector/template.h"

typedef enum TplPlace
{
	TPL_URL,
	TPL_OBJECT,
	TPL_OBJECT_FIRST,			/* up to its first slash */
	TPL_OBJECT_REST,			/* and behind it */
	TPL_KEY,
	TPL_KEY_NAME,
	TPL_REMOTE_ID,
	TPL_BODY,
	TPL_FIELDS,
	TPL_RECORD,
	TPL_ITEMS,
	TPL_MAPPING,
	TPL_ORDERING_KEY,
	TPL_EVENT_ID,
	TPL_EVENT_OP,
	TPL_EVENT_TYPE,
	TPL_EVENT_SOURCE,
	TPL_EVENT_SUBJECT,
	TPL_EVENT_TIME,
	TPL_ENTITY,
	TPL_IDEMPOTENCY_KEY,
	TPL_IDS,					/* from here on: of batches only */
	TPL_REQUEST_BODY,
	TPL_REQUEST_HEADERS,
	TPL_REQUEST_ID,
	TPL_REQUEST_INDEX,
	TPL_REQUEST_METHOD,
	TPL_REQUEST_PATH,
	TPL_REQUEST_ABSOLUTE_PATH,
	TPL_REQUEST_URL,
} TplPlace;

typedef enum TplForm
{
	TPL_PLAIN,
	TPL_TEXT,					/* JSON as a text */
	TPL_BASE64,
	TPL_CAPITAL,				/* with its first letter in upper case */
	TPL_JSON,					/* a text that is a number: without quotes */
	TPL_GRAPHQL,				/* a literal of a GraphQL document */
	TPL_SINGLE,					/* one value where a list with commas may
								 * stand */
	TPL_ENCODED_QUERY,			/* a value of ServiceNow's encoded queries */
} TplForm;

/* How a value is put in. */
typedef enum TplHow
{
	TPL_LITERAL,
	TPL_ALONE,					/* is a JSON value of its own */
	TPL_INSIDE,					/* is a part of a text */
	TPL_MEMBER,					/* a member and its value, where it has one */
	TPL_SPREAD,					/* the members of an object, without braces */
	TPL_COMMA,					/* unless the object has no member yet */
} TplHow;

typedef struct TplPiece
{
	TplHow		how;
	TplPlace	place;
	TplForm		form;
	char	   *text;			/* of a literal; the member's name, quoted */
	int			len;
} TplPiece;

struct ConcordTemplate
{
	ConcordTemplateUse use;
	int			npieces;
	int			maxpieces;
	TplPiece   *pieces;
};

/* concord_place_is_json says whether a place's value is JSON. */
extern bool concord_place_is_json(TplPlace place);

/* template_graphql.c: JSON, and a text, as literals of a GraphQL document */
extern char *concord_graphql_object(const char *json);
extern char *concord_graphql_string(const char *text);

#endif							/* CONCORD_CONNECTOR_TEMPLATE_PIECES_H */
