/*-------------------------------------------------------------------------
 *
 * match_read.c
 *	  All records of a mapping's list, with what rules compare.
 *
 * A record that tells no id, or is none that the mapping could know, is kept
 * with the reason, and the rest is read.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/match.h"

#include "access/xact.h"
#include "base/settings.h"
#include "common/hashfn.h"
#include "inbound/pull.h"
#include "live/peer.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* A record that was read; item must be first. */
typedef struct MrdRecord
{
	InbItem		item;
	ConcordMatch *match;
	ConcordInboundRecord record;
	Datum	   *values;			/* as of match->records */
	bool	   *nulls;
	char	   *why;			/* it is of no use; NULL: it is */
} MrdRecord;

/* A list under way. */
typedef struct MrdList
{
	ConcordMatch *match;
	ConcordPeer *peer;
	ConcordForeignTable table;
	ConcordQuery query;
	ConcordReader *reader;
	InbItem    *items[MAT_BATCH];
	int			n;
} MrdList;

/* mrd_require raises where a connector has no lists. */
static void
mrd_require(const ConcordMapping *mapping, const ConcordConnector *connector)
{
	const ConcordPulling *pulling = concord_connector_pulling(connector);

	if ((pulling->methods & (1u << CONCORD_PULL_FULL)) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the records of mapping \"%s\" cannot be listed", mapping->name),
				 errdetail("Connector \"%s\" has no lists that could be read.", connector->name),
				 errhint("Use concord.set_link() where row and record are known.")));
	if (mapping->options.remote_id_assigned && mapping->options.remote_id_path == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("it is not known where the records of mapping \"%s\" have their ids",
						mapping->name),
				 errhint("Say so with option remote_id_path, as in {\"remote_id_path\": \"id\"}.")));
}

/* concord_match_check raises where a mapping cannot be matched. */
void
concord_match_check(const ConcordMapping *mapping)
{
	ConcordPeer *peer;

	if (mapping->topic != NULL || mapping->written)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("mapping \"%s\" has no rows that could be matched", mapping->name)));
	if (mapping->options.route != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("mapping \"%s\" cannot be matched", mapping->name),
				 errdetail("Its rows go to several systems (option route).")));
	peer = concord_peer_get(mapping->serverid, mapping->definer);
	mrd_require(mapping, peer->server->connector);
	concord_peer_done(peer);
}

/* mrd_open makes what reading the list needs. */
static MrdList *
mrd_open(ConcordMatch *match)
{
	const ConcordMapping *mapping = match->mapping;
	MrdList    *list = palloc0(sizeof(MrdList));
	const ConcordConnector *connector;

	list->match = match;
	list->peer = concord_peer_get(mapping->serverid, mapping->definer);
	connector = list->peer->server->connector;
	mrd_require(mapping, connector);
	list->table.relname = mapping->name;
	list->table.object = mapping->object;
	list->table.service = mapping->options.service;
	list->table.query = mapping->options.pull == NULL ? NULL : mapping->options.pull->filter;
	list->table.paging = -1;
	list->table.page_bytes = (Size) concord_max_answer_size * 1024;
	list->reader = concord_reader_create(&list->table, list->peer);
	list->query.limit = -1;
	list->query.url = concord_reader_url(list->peer->server, &list->table,
										 concord_connector_reading(connector)->path);
	list->query.query = "";
	concord_reader_start(list->reader, &list->query);
	concord_reader_eager(list->reader, true);
	return list;
}

/* mrd_take makes a record of what the reader gave. */
static void
mrd_take(MrdList *list, ConcordSlice slice)
{
	ConcordMatch *match = list->match;
	MemoryContext old = MemoryContextSwitchTo(match->batch);
	MrdRecord  *record = palloc0(sizeof(MrdRecord));

	record->match = match;
	record->item.record = &record->record;
	record->record.op = CONCORD_INBOUND_UPSERT;
	record->record.record = pg_any_to_server(pnstrdup(slice.start, slice.len),
											 (int) slice.len, PG_UTF8);
	record->record.etag = concord_pulled_etag(slice);
	list->items[list->n++] = &record->item;
	MemoryContextSwitchTo(old);
}

/* mrd_values makes the row of match->records that a record is. */
static void
mrd_values(ConcordMatch *match, MrdRecord *record)
{
	InbItem    *item = &record->item;
	ConcordInbound *inbound = match->inbound;
	const char *text = record->record.record;
	int			natts = match->records.desc->natts;
	int			at = match->rule_values - 1;
	ListCell   *lc;
	int			rule = 0;

	record->values = palloc0(sizeof(Datum) * natts);
	record->nulls = palloc(sizeof(bool) * natts);
	memset(record->nulls, true, natts);
	record->values[1] = CStringGetTextDatum(item->remote_id);
	record->values[2] = UInt64GetDatum(DatumGetUInt64(hash_any_extended((const unsigned char *) text,
																		strlen(text), 0)));
	record->nulls[1] = record->nulls[2] = false;
	for (int i = 0; i < inbound->nkey && item->keyed; i++)
	{
		record->values[3 + i] = item->key[i];
		record->nulls[3 + i] = false;
	}
	foreach(lc, match->mapping->options.match)
	{
		const ConcordMatchRule *of = lfirst(lc);
		char	   *value = of->remote == NULL ? NULL :
			concord_inbound_member_text(item->slices[inbound->match_wants + rule]);

		record->nulls[at + rule] = value == NULL;
		record->values[at + rule] = value == NULL ? (Datum) 0 : CStringGetTextDatum(value);
		rule++;
	}
	if (match->conditions)
	{
		record->values[natts - 1] = DirectFunctionCall1(jsonb_in, CStringGetDatum(text));
		record->nulls[natts - 1] = false;
	}
}

/* mrd_identify finds out which records they are. */
static void
mrd_identify(ConcordInbound *inbound, InbItem **items, int n)
{
	for (int i = 0; i < n; i++)
	{
		MrdRecord  *record = (MrdRecord *) items[i];

		memset(&record->item, 0, sizeof(InbItem));
		record->item.record = &record->record;
		concord_inbound_identify(inbound, &record->item);
		if (record->item.remote_id == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("the record has no id")));
		mrd_values(record->match, record);
	}
}

/* mrd_passing: an error that is no record's fault. */
static bool
mrd_passing(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_DATA_EXCEPTION:
			return false;
	}
	return error->sqlerrcode != ERRCODE_PROGRAM_LIMIT_EXCEEDED &&
		error->sqlerrcode != ERRCODE_UNTRANSLATABLE_CHARACTER &&
		error->sqlerrcode != ERRCODE_CHECK_VIOLATION &&
		error->sqlerrcode != ERRCODE_NOT_NULL_VIOLATION;
}

/* mrd_alone finds out what is wrong with which record. */
static void
mrd_alone(MrdList *list)
{
	for (int i = 0; i < list->n; i++)
	{
		MrdRecord  *record = (MrdRecord *) list->items[i];
		ErrorData  *error = concord_inbound_try(list->match->inbound, mrd_identify,
												&list->items[i], 1);

		if (error == NULL)
			continue;
		if (mrd_passing(error))
			ReThrowError(error);
		record->why = list->match->inbound->at == NULL ? error->message :
			psprintf("field \"%s\": %s", list->match->inbound->at, error->message);
	}
}

/* mrd_keep adds a record to the relations. */
static void
mrd_keep(ConcordMatch *match, MrdRecord *record)
{
	int32		n = concord_match_side_add(&match->remote, match->context);
	Datum		body[3];
	bool		nulls[3];

	if (record->why != NULL)
	{
		int			natts = match->records.desc->natts;

		match->remote.state[n] = MAT_DROPPED;
		record->values = palloc0(sizeof(Datum) * natts);
		record->nulls = palloc(sizeof(bool) * natts);
		memset(record->nulls, true, natts);
	}
	record->values[0] = Int32GetDatum(n);
	record->nulls[0] = false;
	concord_match_put(&match->records, record->values, record->nulls);
	body[0] = CStringGetTextDatum(record->record.record);
	nulls[0] = false;
	nulls[1] = record->record.etag == NULL;
	body[1] = nulls[1] ? (Datum) 0 : CStringGetTextDatum(record->record.etag);
	nulls[2] = record->why == NULL;
	body[2] = nulls[2] ? (Datum) 0 : CStringGetTextDatum(record->why);
	concord_match_put(&match->bodies, body, nulls);
	if (record->why != NULL)
	{
		Datum		pair[5] = {(Datum) 0, Int32GetDatum(n), (Datum) 0,
		Int32GetDatum(MAT_RULE_NONE), Int32GetDatum(MAT_UNUSABLE)};
		bool		none[5] = {true, false, true, false, false};

		concord_match_put(&match->pairs, pair, none);
		match->counts.verdicts[MAT_UNUSABLE]++;
	}
}

/* mrd_flush deals with the records that were taken. */
static void
mrd_flush(MrdList *list)
{
	ConcordMatch *match = list->match;
	MemoryContext old = MemoryContextSwitchTo(match->batch);
	ErrorData  *error;

	if (list->n > 0)
	{
		PushActiveSnapshot(GetLatestSnapshot());
		error = concord_inbound_try(match->inbound, mrd_identify, list->items, list->n);
		if (error != NULL)
			mrd_alone(list);
		PopActiveSnapshot();
		for (int i = 0; i < list->n; i++)
			mrd_keep(match, (MrdRecord *) list->items[i]);
	}
	list->n = 0;
	MemoryContextSwitchTo(old);
	MemoryContextReset(match->batch);
}

/* concord_match_read reads all records. */
void
concord_match_read(ConcordMatch *match)
{
	MrdList    *list = mrd_open(match);
	ConcordSlice slice;
	int			page = 0;

	while (concord_reader_next(list->reader, &slice, &page))
	{
		mrd_take(list, slice);
		if (list->n == MAT_BATCH)
			mrd_flush(list);
		CHECK_FOR_INTERRUPTS();
	}
	mrd_flush(list);
	concord_reader_stop(list->reader);
	concord_peer_done(list->peer);
}
