/*-------------------------------------------------------------------------
 *
 * local_key.c
 *	  Under what key the link of a record is known: JSON of its row's key.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/compile.h"

#include "base/json.h"
#include "lib/stringinfo.h"

/* concord_row_key writes a row's local key, or returns NULL. */
char *
concord_row_key(ConcordCompiled *compiled, ConcordRow *row,
				MemoryContext scratch)
{
	MemoryContext old = MemoryContextSwitchTo(scratch);
	StringInfoData buf;
	char	   *key;

	initStringInfo(&buf);
	for (int i = 0; i < compiled->nlocal; i++)
	{
		const ConcordLocalPart *part = &compiled->local[i];
		ConcordImageValue value = concord_rows_value(compiled, row, part->attnum);
		char	   *text;

		if (!concord_image_has_value(&value))
		{
			MemoryContextSwitchTo(old);
			return NULL;
		}
		text = concord_image_text(&value);
		appendBinaryStringInfo(&buf, part->before, part->len);
		concord_json_key(&buf, part->type, text, strlen(text));
	}
	appendStringInfoChar(&buf, '}');
	key = concord_json_server(buf.data);
	MemoryContextSwitchTo(old);
	return pstrdup(key);
}

/*
 * concord_row_key_fits says whether a local key can be stored with the record's
 * link: a row of an index has a bound.  A key of a topic's event can be anything.
 */
bool
concord_row_key_fits(const ConcordMappingOptions *options,
					 const char *local_key)
{
	bool		linked = !options->replay_events || options->suppress_unchanged;

	return !linked || local_key == NULL || strlen(local_key) <= CONCORD_LOCAL_KEY_MAX;
}
