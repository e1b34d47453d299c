/*-------------------------------------------------------------------------
 *
 * keys.c
 *	  remote_id() and local_key(): the identity map, from SQL.
 *
 * Links are delivery's; these two functions only read them.  In a field of a
 * mapping remote_id() makes the event wait until the link is there: it raises
 * an error of its own, which evaluation turns into that verdict.  Anywhere
 * else a link that does not exist is NULL.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/compile.h"

#include "base/json.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(concord_remote_id);
PG_FUNCTION_INFO_V1(concord_local_key);

bool		concord_mapping_applying = false;

/* What a call keeps for the rest of its query. */
typedef struct KeyCache
{
	NameData	name;
	int32		mapping;
	char	   *column;			/* of a key of one column, else NULL */
	FmgrInfo	output;			/* of the key's type */
	Oid			type;
} KeyCache;

/* key_mapping finds the mapping that a call names, once per query. */
static KeyCache *
key_mapping(FunctionCallInfo fcinfo)
{
	Name		name = PG_GETARG_NAME(0);
	KeyCache   *cache = fcinfo->flinfo->fn_extra;
	ConcordMapping *mapping;

	if (cache != NULL && namestrcmp(&cache->name, NameStr(*name)) == 0)
		return cache;
	mapping = concord_mapping_by_name(NameStr(*name), CurrentMemoryContext);
	cache = MemoryContextAllocZero(fcinfo->flinfo->fn_mcxt, sizeof(KeyCache));
	cache->name = *name;
	cache->mapping = mapping->id;
	if (list_length(mapping->local_key) == 1)
		cache->column = MemoryContextStrdup(fcinfo->flinfo->fn_mcxt,
											linitial(mapping->local_key));
	else if (mapping->written && list_length(mapping->key) == 1)
		cache->column = MemoryContextStrdup(fcinfo->flinfo->fn_mcxt,
											((ConcordField *) linitial(mapping->key))->name);
	else if (mapping->topic != NULL && !mapping->written)
		cache->column = MemoryContextStrdup(fcinfo->flinfo->fn_mcxt, "key");
	fcinfo->flinfo->fn_extra = cache;
	return cache;
}

/* key_json writes a key of one column as a local key. */
static Jsonb *
key_json(FunctionCallInfo fcinfo, KeyCache *cache)
{
	Oid			type = get_fn_expr_argtype(fcinfo->flinfo, 1);
	StringInfoData buf;
	char	   *text;

	if (type == JSONBOID &&
		JB_ROOT_IS_OBJECT(PG_GETARG_JSONB_P(1)))
		return PG_GETARG_JSONB_P(1);
	if (cache->column == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("mapping \"%s\" has a key of several columns",
						NameStr(cache->name)),
				 errhint("Give it as jsonb: jsonb_build_object('column', value, ...).")));
	if (cache->type != type)
	{
		Oid			output;
		bool		varlena;

		getTypeOutputInfo(type, &output, &varlena);
		fmgr_info_cxt(output, &cache->output, fcinfo->flinfo->fn_mcxt);
		cache->type = type;
	}
	text = OutputFunctionCall(&cache->output, PG_GETARG_DATUM(1));
	initStringInfo(&buf);
	appendStringInfoChar(&buf, '{');
	concord_json_string(&buf, cache->column, strlen(cache->column));
	appendStringInfoString(&buf, ": ");
	concord_json_key(&buf, getBaseType(type), text, strlen(text));
	appendStringInfoChar(&buf, '}');
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
											  CStringGetDatum(concord_json_server(buf.data))));
}

/* key_query runs one query of ours and returns its only value as text. */
static char *
key_query(const char *query, int32 mapping, Oid type, Datum value)
{
	ConcordCatalogScope scope;
	MemoryContext context = CurrentMemoryContext;
	Oid			types[2] = {INT4OID, type};
	Datum		values[2];
	char	   *result = NULL;

	values[0] = Int32GetDatum(mapping);
	values[1] = value;
	concord_catalog_enter(&scope);
	if (SPI_execute_with_args(query, 2, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.link_item");
	if (SPI_processed > 0)
	{
		char	   *text = SPI_getvalue(SPI_tuptable->vals[0],
										SPI_tuptable->tupdesc, 1);

		if (text != NULL)
			result = MemoryContextStrdup(context, text);
	}
	concord_catalog_leave(&scope);
	MemoryContextSwitchTo(context);
	return result;
}

/* concord_mapping_link reads what is known of a record at its system. */
bool
concord_mapping_link(int32 mapping, const char *local_key,
					 ConcordKnownLink *link)
{
	ConcordCatalogScope scope;
	MemoryContext context = CurrentMemoryContext;
	Oid			types[2] = {INT4OID, TEXTOID};
	Datum		values[2];
	bool		found;

	values[0] = Int32GetDatum(mapping);
	values[1] = CStringGetTextDatum(local_key);
	concord_catalog_enter(&scope);
	if (SPI_execute_with_args("SELECT k.remote_id, k.etag, k.present, r.serverid FROM concord.link_item k"
							  "  LEFT JOIN concord.route r ON r.id = k.route"
							  " WHERE k.mapping = $1 AND k.local_key = $2::pg_catalog.jsonb",
							  2, types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not read concord.link_item");
	found = SPI_processed == 1;
	if (found)
	{
		HeapTuple	tuple = SPI_tuptable->vals[0];
		TupleDesc	desc = SPI_tuptable->tupdesc;
		MemoryContext old;
		bool		isnull;

		old = MemoryContextSwitchTo(context);
		link->remote_id = SPI_getvalue(tuple, desc, 1);
		link->etag = SPI_getvalue(tuple, desc, 2);
		link->present = DatumGetBool(SPI_getbinval(tuple, desc, 3, &isnull));
		link->serverid = DatumGetObjectId(SPI_getbinval(tuple, desc, 4, &isnull));
		if (isnull)
			link->serverid = InvalidOid;
		MemoryContextSwitchTo(old);
	}
	concord_catalog_leave(&scope);
	MemoryContextSwitchTo(context);
	return found;
}

/* key_reference gives what stands for the id of a record to be created, or NULL. */
static const char *
key_reference(const KeyCache *cache, Jsonb *key)
{
	ListCell   *lc;

	foreach(lc, concord_mapping_references)
	{
		const ConcordReference *reference = lfirst(lc);
		Jsonb	   *theirs;

		if (reference->mapping != cache->mapping)
			continue;
		theirs = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
													CStringGetDatum(reference->local_key)));
		if (compareJsonbContainers(&theirs->root, &key->root) == 0)
			return reference->mark;
	}
	return NULL;
}

/* concord_remote_id is concord.remote_id(). */
Datum
concord_remote_id(PG_FUNCTION_ARGS)
{
	KeyCache   *cache = key_mapping(fcinfo);
	Jsonb	   *key = key_json(fcinfo, cache);
	const char *mark;
	char	   *remote_id;

	/* a row that goes along with its parent's create; what asks is left out */
	if (concord_mapping_nesting != 0 && cache->mapping == concord_mapping_nesting)
		PG_RETURN_NULL();

	remote_id = key_query("SELECT remote_id FROM concord.link_item"
						  " WHERE mapping = $1 AND local_key = $2 AND present",
						  cache->mapping, JSONBOID, JsonbPGetDatum(key));
	if (remote_id != NULL)
		PG_RETURN_TEXT_P(cstring_to_text(remote_id));
	mark = concord_mapping_evaluating ? key_reference(cache, key) : NULL;
	if (mark != NULL)
		PG_RETURN_TEXT_P(cstring_to_text(mark));
	if (concord_mapping_evaluating)
		ereport(ERROR,
				(errcode(CONCORD_ERRCODE_NO_LINK),
				 errmsg("mapping \"%s\" has no link for %s",
						NameStr(cache->name),
						JsonbToCString(NULL, &key->root, VARSIZE(key)))));
	PG_RETURN_NULL();
}

/* concord_local_key is concord.local_key(). */
Datum
concord_local_key(PG_FUNCTION_ARGS)
{
	KeyCache   *cache = key_mapping(fcinfo);
	char	   *key;

	/* ids that the system gave have an index; others are those of our key */
	key = key_query("(SELECT local_key FROM concord.link_item"
					"  WHERE mapping = $1 AND remote_id = $2 AND present AND assigned LIMIT 1)"
					" UNION ALL"
					"(SELECT local_key FROM concord.link_item"
					"  WHERE mapping = $1 AND remote_id = $2 AND present AND NOT assigned LIMIT 1)"
					" LIMIT 1",
					cache->mapping, TEXTOID, PG_GETARG_DATUM(1));
	if (key == NULL && concord_mapping_applying)
		ereport(ERROR,
				(errcode(CONCORD_ERRCODE_NO_LINK),
				 errmsg("mapping \"%s\" has no link with the id %s",
						NameStr(cache->name), text_to_cstring(PG_GETARG_TEXT_PP(1))),
				 errdetail_internal("link:%d:%s", cache->mapping,
									text_to_cstring(PG_GETARG_TEXT_PP(1)))));
	if (key == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(key)));
}

/* concord_keys_message makes the local key of an emitted event. */
char *
concord_keys_message(const ConcordEvent *event)
{
	StringInfoData buf;
	char	   *text;

	initStringInfo(&buf);
	if (event->key == NULL)
	{
		text = DatumGetCString(DirectFunctionCall1(uuid_out,
												   UUIDPGetDatum(&event->id)));
		appendStringInfo(&buf, "{\"event\": \"%s\"}", text);
		return buf.data;
	}
	appendStringInfoString(&buf, "{\"key\": ");
	concord_json_string(&buf, event->key, strlen(event->key));
	appendStringInfoChar(&buf, '}');
	return concord_json_server(buf.data);
}

/* concord_keys_equal compares two keys. */
bool
concord_keys_equal(const ConcordValue *a, const ConcordValue *b, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (a[i].isnull != b[i].isnull ||
			(!a[i].isnull && strcmp(a[i].text, b[i].text) != 0))
			return false;
	}
	return true;
}
