/*-------------------------------------------------------------------------
 *
 * receiving.h
 *	  What messages that a system sends look like: member "receive" of a
 *	  connector.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CONNECTOR_RECEIVING_H
#define CONCORD_CONNECTOR_RECEIVING_H

#include "connector/connector.h"
#include "utils/jsonb.h"

/* Where something stands in a message. */
typedef enum ConcordMessageWhere
{
	CONCORD_IN_NOTHING,			/* messages do not have it */
	CONCORD_IN_HEADER,
	CONCORD_IN_QUERY,			/* a parameter of the address */
	CONCORD_IN_BODY,
	CONCORD_IN_ITEM,			/* of each notice in the body */
} ConcordMessageWhere;

typedef struct ConcordMessagePlace
{
	ConcordMessageWhere where;
	char	   *name;			/* of the header or parameter; a path */
	char	   *match;			/* a regular expression: of the text its first
								 * group, or what matched; NULL: all of it */
} ConcordMessagePlace;

/* A message that wants an answer and tells nothing else. */
typedef struct ConcordChallenge
{
	ConcordMessagePlace when;	/* is there */
	char	   *equals;			/* and is this; NULL: whatever it is */
	ConcordMessagePlace answer;
	char	   *member;			/* the answer is an object with this member;
								 * NULL: the text */
} ConcordChallenge;

typedef struct ConcordReceiving
{
	ConcordMessagePlace signature;
	bool		token;			/* it is the secret itself, not made with it */
	bool		hex;			/* rather than base64 */
	bool		base64_secret;	/* the secret is base64 of the key */
	char	   *prefix;			/* before each signature; others are not ours */
	char	   *separator;		/* between several; NULL: there is one */
	char	   *signed_text;	/* {body}, {id}, {timestamp} */
	ConcordMessagePlace timestamp;	/* seconds since 1970 */
	int			tolerance;		/* seconds that it may be off */
	ConcordMessagePlace id;		/* of the message: the same when it comes
								 * again */
	List	   *challenges;		/* of ConcordChallenge * */
	char	   *items;			/* where a body has a list of notices; NULL:
								 * it is one, or an array of them */
	char	   *record;			/* where a notice has the record; NULL: it is
								 * the record */
	bool		fetch;			/* it only names the record, or says that
								 * something has changed */
	ConcordMessagePlace object; /* of which kind the record is */
	ConcordMessagePlace op;
	char	   *delete_match;	/* a regular expression: op says it was
								 * deleted */
	ConcordMessagePlace remote_id;
	ConcordMessagePlace etag;
	ConcordMessagePlace changed;	/* when the record was changed there */
} ConcordReceiving;

/* A message as the front got it. */
typedef struct ConcordIncoming
{
	const char *body;			/* UTF-8, as it came */
	Size		len;
	Jsonb	   *headers;		/* an object; ":path" has the address */
} ConcordIncoming;

/* What a message says of one record. */
typedef struct ConcordNotice
{
	char	   *object;			/* NULL: not said */
	bool		deleted;
	char	   *remote_id;		/* NULL: the record says it */
	char	   *etag;
	char	   *changed;
	char	   *record;			/* JSON; NULL: it is not in the message */
	char	   *signature;		/* its own, where each notice has one */
} ConcordNotice;

/*
 * concord_connector_receiving says how a connector's messages are read; where
 * its row says nothing, they are Standard Webhooks with the record as body.
 */
extern const ConcordReceiving *concord_connector_receiving(const ConcordConnector *connector);

/*
 * concord_receiving_with reads members over others, in the current context.
 * Errors: ERRCODE_INVALID_PARAMETER_VALUE, naming the member.
 */
extern ConcordReceiving *concord_receiving_with(const ConcordReceiving *receiving,
												JsonbContainer *members,
												const char *prefix);

/*
 * concord_receiving_of reads a mapping's option receive over what the connector
 * says.  *object: what messages call the mapping's object, NULL where that is not
 * said.  Errors: as concord_receiving_with.
 */
extern ConcordReceiving *concord_receiving_of(const ConcordConnector *connector,
											  Jsonb *option, char **object);

/*
 * concord_remote_time reads a time as systems write them; false: it is none.
 * remote_time.c
 */
extern bool concord_remote_time(const char *text, TimestampTz *at);

/* --- message.c --- */

/* concord_message_header gives a header's value; NULL: there is none. */
extern char *concord_message_header(const ConcordIncoming *message,
									const char *name);

/*
 * concord_message_value gives what stands at a place; NULL: nothing.  item is
 * a notice's JSON, or NULL where the place is of the whole message.
 */
extern char *concord_message_value(const ConcordIncoming *message,
								   const ConcordMessagePlace *place,
								   const char *item, Size item_len);

/* concord_message_challenge gives the answer to a challenge; NULL: it is none. */
extern char *concord_message_challenge(const ConcordReceiving *receiving,
									   const ConcordIncoming *message);

/* concord_message_signed gives the bytes that the signature is of. */
extern char *concord_message_signed(const ConcordReceiving *receiving,
									const ConcordIncoming *message, Size *len);

/*
 * concord_message_notices takes a message apart: List of ConcordNotice *.
 * Errors: ERRCODE_INVALID_JSON_TEXT where it is not what it is to be.
 */
extern List *concord_message_notices(const ConcordReceiving *receiving,
									 const ConcordIncoming *message);

#endif							/* CONCORD_CONNECTOR_RECEIVING_H */
