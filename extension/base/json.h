/*-------------------------------------------------------------------------
 *
 * json.h
 *	  Write SQL values as the JSON that CONTRACT.md's "What arrives" states.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_JSON_H
#define CONCORD_JSON_H

#include "base/compat.h"

#include "lib/stringinfo.h"

/*
 * concord_json_string appends a quoted, escaped JSON string, in UTF-8 whatever
 * the database's encoding is; concord_json_quote takes one that is UTF-8.
 */
extern void concord_json_string(StringInfo buf, const char *text, Size len);
extern void concord_json_quote(StringInfo buf, const char *utf8, Size len);

/* concord_json_utf8 gives a text in UTF-8; errors as of pg_server_to_any. */
extern const char *concord_json_utf8(const char *text);

/*
 * concord_json_server gives JSON that was written here in the database's
 * encoding, for what stays in the database.
 */
extern char *concord_json_server(char *json);

/*
 * concord_json_value appends a value given as the protocol's canonical text:
 * numbers digit for digit (quoted where numbers_as_strings), timestamptz as
 * 2026-11-20T08:15:00.123456Z, timestamp without zone, interval ISO 8601,
 * bytea base64, json and arrays as JSON, the rest as strings.
 * ERRCODE_INVALID_PARAMETER_VALUE for NaN and infinities.
 */
extern void concord_json_value(StringInfo buf, Oid typid, const char *text,
							   Size len, bool numbers_as_strings);

/*
 * concord_json_key appends a value of a local key, as concord_json_value does;
 * NaN and infinities, which identify a row as well as others, are strings, and
 * so are arrays whose bounds do not begin at 1.
 */
extern void concord_json_key(StringInfo buf, Oid typid, const char *text,
							 Size len);

/* concord_value_text gives a Datum's canonical text (palloc'd). */
extern char *concord_value_text(Oid typid, Datum value);

#endif							/* CONCORD_JSON_H */
