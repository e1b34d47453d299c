/*-------------------------------------------------------------------------
 *
 * join_keys.c
 *	  Keys that a join asks for, many in one request.
 *
 * How many keys are written as one filter is what the system understands:
 *
 *	in			ID in ('A','B')
 *	or			(ID eq 'A' or ID eq 'B'); of several columns
 *				((Land eq 'DE' and No eq 1) or (Land eq 'FR' and No eq 7))
 *	template	ids=A,B: what the connector's filter "in" says
 *	neither		ID eq 'A'
 *
 * Where several requests go as one ($batch), there are several such filters: those
 * that are more than one can have, or, where the system knows neither, one for
 * each key.
 *
 * Whoever asks gives each key once and no null, and compares what comes with
 * what was asked for: systems are free to find more.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/join_keys.h"

#include "fdw/literal.h"
#include "fdw/reader.h"

struct ConcordJoinKeys
{
	const ConcordReading *reading;
	bool		odata2;
	int			ncolumns;
	const ConcordForeignColumn **columns;
	char	  **names;			/* percent-encoded */
	bool		in;				/* values one after the other */
	const char *before;			/* of the list, between keys, and behind it */
	const char *between;
	const char *after;
	int			most;			/* keys of a filter */
	int			most_filters;
	int			count;			/* keys of the last filter */
	StringInfoData text;		/* the keys, filter after filter */
	int			nfilters;
	int		   *starts;			/* where each begins in it */
};

/* key_frame says what is around the list where a template has it. */
static void
key_frame(ConcordJoinKeys *keys, const char *template)
{
	StringInfoData buf;
	const char *p = template;

	initStringInfo(&buf);
	keys->between = ",";
	while (*p)
	{
		if (strncmp(p, "{name}", 6) == 0)
		{
			appendStringInfoString(&buf, keys->names[0]);
			p += 6;
		}
		else if (strncmp(p, "{values}", 8) == 0)
		{
			keys->before = pstrdup(buf.data);
			resetStringInfo(&buf);
			p += 8;
		}
		else
			appendStringInfoChar(&buf, *p++);
	}
	keys->after = buf.data;
}

/* concord_join_keys_most says how many keys are asked for at once. */
int
concord_join_keys_most(const ConcordForeignTable *table,
					   const ConcordServer *server, int ncolumns, int *filters)
{
	const ConcordReading *reading = concord_connector_reading(server->connector);
	uint32		either = 1 << CONCORD_OP_OR;

	if (ncolumns == 1)
		either |= 1 << CONCORD_OP_IN;
	*filters = concord_reader_lists(server);
	if (reading->odata && (reading->operators & either) == 0)
		return 1;
	return table->list_size > 0 ? table->list_size : reading->list_size;
}

/* concord_join_keys_create prepares for keys. */
ConcordJoinKeys *
concord_join_keys_create(const ConcordForeignTable *table,
						 const ConcordServer *server, List *attnums)
{
	const ConcordReading *reading = concord_connector_reading(server->connector);
	ConcordJoinKeys *keys = palloc0(sizeof(ConcordJoinKeys));
	ListCell   *lc;

	keys->reading = reading;
	keys->odata2 = server->connector->odata2;
	keys->most = concord_join_keys_most(table, server, list_length(attnums),
										&keys->most_filters);
	keys->starts = palloc0(sizeof(int) * keys->most_filters);
	keys->columns = palloc(sizeof(void *) * list_length(attnums));
	keys->names = palloc(sizeof(char *) * list_length(attnums));
	foreach(lc, attnums)
	{
		const ConcordForeignColumn *column = &table->columns[lfirst_int(lc) - 1];
		StringInfoData name;

		initStringInfo(&name);
		concord_url_escape(&name, column->name, "/");
		keys->names[keys->ncolumns] = name.data;
		keys->columns[keys->ncolumns++] = column;
	}
	keys->in = keys->ncolumns == 1 &&
		(reading->operators & (1 << CONCORD_OP_IN)) != 0;
	initStringInfo(&keys->text);
	if (!reading->odata)
		key_frame(keys, reading->templates[CONCORD_OP_IN]);
	else if (keys->in)
	{
		keys->before = psprintf("%s%%20in%%20(", keys->names[0]);
		keys->between = ",";
		keys->after = ")";
	}
	else
	{
		keys->before = keys->most > 1 ? "(" : "";
		keys->between = "%20or%20";
		keys->after = keys->most > 1 ? ")" : "";
	}
	return keys;
}

/* concord_join_keys_reset forgets those that were asked for. */
void
concord_join_keys_reset(ConcordJoinKeys *keys)
{
	resetStringInfo(&keys->text);
	keys->count = keys->nfilters = 0;
}

/* key_write writes one key; false: a value has no form there. */
static bool
key_write(const ConcordJoinKeys *keys, StringInfo buf, const Oid *types,
		  const Datum *values)
{
	if (keys->ncolumns > 1)
		appendStringInfoChar(buf, '(');
	for (int i = 0; i < keys->ncolumns; i++)
	{
		if (i > 0)
			appendStringInfoString(buf, "%20and%20");
		if (!keys->in)
			appendStringInfo(buf, "%s%%20eq%%20", keys->names[i]);
		if (!concord_literal_write(buf, keys->columns[i], keys->reading,
								   keys->odata2, CONCORD_OP_EQ, types[i],
								   values[i]))
			return false;
	}
	if (keys->ncolumns > 1)
		appendStringInfoChar(buf, ')');
	return true;
}

/* key_append adds a key to the last filter; it may not fit there. */
static ConcordKeyResult
key_append(ConcordJoinKeys *keys, int room, const Oid *types,
		   const Datum *values)
{
	int			before = keys->text.len;
	int			start = keys->starts[keys->nfilters - 1];

	if (keys->count >= keys->most)
		return CONCORD_KEY_FULL;
	if (keys->count > 0)
		appendStringInfoString(&keys->text, keys->between);
	if (key_write(keys, &keys->text, types, values))
	{
		if (keys->count == 0 || keys->text.len - start <= room)
		{
			keys->count++;
			return CONCORD_KEY_ADDED;
		}
		keys->text.data[keys->text.len = before] = '\0';
		return CONCORD_KEY_FULL;
	}
	keys->text.data[keys->text.len = before] = '\0';
	return CONCORD_KEY_NO_FORM;
}

/* key_begin begins the next filter. */
static void
key_begin(ConcordJoinKeys *keys)
{
	keys->starts[keys->nfilters++] = keys->text.len;
	keys->count = 0;
}

/* concord_join_keys_add adds a key. */
ConcordKeyResult
concord_join_keys_add(ConcordJoinKeys *keys, int room, const Oid *types,
					  const Datum *values, int *filter)
{
	ConcordKeyResult result;

	if (keys->nfilters == 0)
		key_begin(keys);
	result = key_append(keys, room, types, values);
	if (result == CONCORD_KEY_FULL && keys->nfilters < keys->most_filters)
	{
		key_begin(keys);
		result = key_append(keys, room, types, values);
	}
	*filter = keys->nfilters - 1;
	return result;
}

/* concord_join_keys_filters says how many filters there are. */
int
concord_join_keys_filters(const ConcordJoinKeys *keys)
{
	return keys->nfilters > 0 && keys->count == 0 ? keys->nfilters - 1 :
		keys->nfilters;
}

/* concord_join_keys_text gives a filter. */
char *
concord_join_keys_text(const ConcordJoinKeys *keys, int filter)
{
	int			start = keys->starts[filter];
	int			end = filter + 1 < keys->nfilters ? keys->starts[filter + 1] :
		keys->text.len;

	return psprintf("%s%.*s%s", keys->before, end - start,
					keys->text.data + start, keys->after);
}

/* concord_join_keys_shown gives it as EXPLAIN shows it. */
char *
concord_join_keys_shown(const ConcordForeignTable *table, List *attnums)
{
	bool		several = list_length(attnums) > 1;
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, attnums)
	{
		appendStringInfoString(&buf, foreach_current_index(lc) > 0 ? "," :
							   several ? "(" : "");
		concord_url_escape(&buf, table->columns[lfirst_int(lc) - 1].name, "/");
	}
	appendStringInfoString(&buf, several ? ") in ($keys)" : " in ($keys)");
	return buf.data;
}
