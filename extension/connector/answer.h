/*-------------------------------------------------------------------------
 *
 * answer.h
 *	  Values in answers that should be JSON; private to connector/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CONNECTOR_ANSWER_H
#define CONCORD_CONNECTOR_ANSWER_H

#include "connector/protocols.h"

/* What is given of a value at most, in bytes. */
#define CONCORD_PLACE_VALUE		8192

/* A place in a JSON text. */
typedef struct ConcordJsonPlace
{
	const char *p;
	const char *end;
} ConcordJsonPlace;

/*
 * answer.c: each returns false where the text is not as it says, and then at
 * is of no use any more.
 */
extern bool concord_place_blank(ConcordJsonPlace *at);	/* skips blanks */
extern bool concord_place_string(ConcordJsonPlace *at, const char **start,
								 Size *len);
extern bool concord_place_value(ConcordJsonPlace *at);	/* skips a value */
extern bool concord_place_member(ConcordJsonPlace *at, const char *name);
extern bool concord_place_element(ConcordJsonPlace *at, const char *name);

/* concord_place_unescape returns a string's content as valid text. */
extern char *concord_place_unescape(const char *start, Size len);

/* answer_same.c: a JSON number of a reasonable size; two of them, by value */
extern bool concord_place_is_number(const char *p, Size len);
extern bool concord_place_same_number(const char *a, Size alen, const char *b,
									  Size blen);

/* What an object of an answer says of the key of an exchange's record. */
typedef enum ConcordKeyFound
{
	CONCORD_KEY_ABSENT,			/* it does not name all of it */
	CONCORD_KEY_SAME,
	CONCORD_KEY_OTHER,
} ConcordKeyFound;

/* answer_same.c: compares the key that a record of an answer has with ours */
extern ConcordKeyFound concord_answer_key(const ConcordExchange *exchange,
										  const char *record, Size len);

/*
 * answer_path.c: the way to values in an answer.
 *
 *	error.code			member of a member
 *	[0].errorCode		element of an array; "errors.0.code" means the same
 *	errors[*].code		any element
 *	data.*.userErrors	any member (of an array: any element)
 *	["@odata.etag"]		a name with dots, brackets or a star in it
 */
typedef struct ConcordPath ConcordPath;

/* A value that a path leads to. */
typedef struct ConcordFound
{
	char		kind;			/* of its first character: { [ " t f n 0 */
	bool		empty;			/* null, false, "", [] or {} */
	char	   *text;			/* a string's content, others as they stand */
} ConcordFound;

/* A test of found values; true ends the search. */
typedef bool (*ConcordFoundTest) (const ConcordFound *found, void *arg);

/* concord_path_parse makes a path; NULL with *why where it is none. */
extern ConcordPath *concord_path_parse(const char *text, const char **why);

/*
 * concord_path_any says whether a value that a path leads to passes a test.
 * Values are made in the current context; those that do not pass are freed.
 */
extern bool concord_path_any(const ConcordPath *path,
							 const ConcordResponse *response,
							 ConcordFoundTest test, void *arg);

/*
 * concord_path_text returns the first value that is neither null nor an
 * object or array, as text; NULL where there is none.
 */
extern char *concord_path_text(const ConcordPath *path,
							   const ConcordResponse *response);

/*
 * concord_path_value finds where the value of a path stands in a text; the path
 * has no star.  False where there is none.
 */
extern bool concord_path_value(const char *path, const char *json, Size json_len,
							   const char **value, Size *len);

/*
 * concord_path_second makes of the path of something in the first of several
 * records the same of the second; *record is the path of that first record.  NULL
 * where the path has no index 0.
 */
extern char *concord_path_second(const char *path, char **record);

/*
 * concord_path_around writes what stands before and behind a value that alone
 * is at a path of members' names: {"data": for data; false where it is no such
 * path.  The empty path has nothing around it.
 */
extern bool concord_path_around(const char *text, StringInfo before,
								StringInfo after);

/* concord_answer_is_json: a whole JSON value and nothing else. */
extern bool concord_answer_is_json(const ConcordResponse *response);

#endif							/* CONCORD_CONNECTOR_ANSWER_H */
