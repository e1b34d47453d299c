/*-------------------------------------------------------------------------
 *
 * json.h
 *	  JSON of answers: a check of the whole, then places in it.
 *
 * concord_json_valid() goes through a text once.  Everything else here takes
 * texts that it has accepted, and is as fast as it is because of that.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_FDW_JSON_H
#define CONCORD_FDW_JSON_H

#include "base/compat.h"

#include "lib/stringinfo.h"

/* A value where it stands; start is NULL where there is none. */
typedef struct ConcordSlice
{
	const char *start;
	Size		len;
} ConcordSlice;

/* What a value is, by its first byte. */
typedef enum ConcordJsonKind
{
	CONCORD_JSON_NONE,
	CONCORD_JSON_NULL,
	CONCORD_JSON_BOOL,
	CONCORD_JSON_NUMBER,
	CONCORD_JSON_STRING,
	CONCORD_JSON_ARRAY,
	CONCORD_JSON_OBJECT,
} ConcordJsonKind;

/*
 * concord_json_valid says whether a text is one JSON value in UTF-8 and nothing
 * else, by RFC 8259, nested 512 deep at most; where it is not, *at says how
 * many bytes are good.
 */
extern bool concord_json_valid(const char *text, Size len, Size *at);

extern ConcordJsonKind concord_json_kind(ConcordSlice slice);

/* concord_json_skip returns the end of the value at p. */
extern const char *concord_json_skip(const char *p);

/*
 * concord_json_members steps through an object: *p is behind its brace at first.
 * False at the end.  The name is as it stands, without its quotes.
 */
extern bool concord_json_next_member(const char **p, ConcordSlice *name,
									 ConcordSlice *value);

/* concord_json_next_element does so through an array. */
extern bool concord_json_next_element(const char **p, ConcordSlice *value);

/* concord_json_same says whether a member's name is a text. */
extern bool concord_json_same(ConcordSlice name, const char *text, Size len);

/* concord_json_find follows a path of names with dots; start NULL: nothing. */
extern ConcordSlice concord_json_find(ConcordSlice at, const char *path);

/*
 * concord_json_content appends a string's content in UTF-8; false where it has
 * what no text can have: a NUL, half of a surrogate pair.
 */
extern bool concord_json_content(ConcordSlice slice, StringInfo buf);

#endif							/* CONCORD_FDW_JSON_H */
