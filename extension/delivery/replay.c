/*-------------------------------------------------------------------------
 *
 * replay.c
 *	  concord.replay(): events again, from the outbox.
 *
 * A replay writes live rows of concord.exception, marked "again", in the
 * caller's transaction; the courier takes it from there.  Of a mapping that
 * replays state, each key that has an event in the span goes once, with its
 * newest image, wherever in the outbox that is; of one that replays events,
 * every event of the span goes, in order.  Events that the courier has not
 * finished yet are left out: they are on their way anyhow.  A dead letter of an
 * event that goes again is superseded by it.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/json.h"
#include "base/shmem.h"
#include "catalog/history.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "delivery/delivery.h"
#include "delivery/division.h"
#include "delivery/pending.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

PG_FUNCTION_INFO_V1(concord_replay);

typedef struct ReplayKey
{
	uint64		hash;			/* of the key's text: two keys that share it
								 * replay both, which does no harm */
	int64		newest;			/* seq of its newest event, 0: not in the span */
	bool		wanted;			/* given in keys */
} ReplayKey;

typedef struct Replay
{
	const ConcordMapping *mapping;
	ConcordPosition position;
	TimestampTz from;
	TimestampTz to;
	int64		from_seq;
	int64		to_seq;
	bool		by_key;			/* keys were given */
	bool		events;			/* every event, not the newest image */
	bool		writing;		/* second pass of state */
	HTAB	   *keys;
	MemoryContext scratch;
	SPIPlanPtr	insert;
	int64		count;
} Replay;

/* rpl_hash gives the hash of a key that is in jsonb's own form. */
static uint64
rpl_hash(const char *key)
{
	return DatumGetUInt64(hash_any_extended((const unsigned char *) key,
											strlen(key), 0));
}

/* rpl_key_hash gives the hash of a key as the mapping room writes it. */
static uint64
rpl_key_hash(const char *key)
{
	Datum		value = DirectFunctionCall1(jsonb_in, CStringGetDatum(key));

	return rpl_hash(DatumGetCString(DirectFunctionCall1(jsonb_out, value)));
}

/* rpl_insert writes the row of one event. */
static void
rpl_insert(Replay *replay, const ConcordEvent *event, const char *key)
{
	Datum		values[10];
	char		nulls[10];
	int32		hash;
	int32		old_hash;

	memset(nulls, ' ', sizeof(nulls));
	values[0] = Int32GetDatum(replay->mapping->id);
	values[1] = Int32GetDatum(replay->mapping->version);
	values[2] = Int64GetDatum(event->seq);
	values[3] = UUIDPGetDatum(&event->id);
	values[4] = CStringGetTextDatum(concord_event_op_name(event->op));
	values[5] = TimestampTzGetDatum(event->committed_at);
	values[6] = key ? CStringGetTextDatum(key) : (Datum) 0;
	nulls[6] = key ? ' ' : 'n';
	values[7] = PointerGetDatum(concord_event_pack(event));
	concord_event_hashes(replay->mapping, event, &hash, &old_hash);
	values[8] = Int32GetDatum(hash);
	values[9] = Int32GetDatum(old_hash);
	if (SPI_execute_plan(replay->insert, values, nulls, false, 0) != SPI_OK_INSERT)
		elog(ERROR, "could not write concord.exception");
	replay->count++;
}

/* rpl_in_span says whether an event is what the caller asked for. */
static bool
rpl_in_span(const Replay *replay, const ConcordEvent *event,
			const ReplayKey *entry)
{
	if (event->committed_at < replay->from || event->committed_at > replay->to ||
		event->seq < replay->from_seq || event->seq > replay->to_seq)
		return false;
	return !replay->by_key || (entry != NULL && entry->wanted);
}

/* rpl_event takes one event of the outbox. */
static bool
rpl_event(const ConcordEvent *event, void *arg)
{
	Replay	   *replay = arg;
	MemoryContext old;
	char	   *key;
	ReplayKey  *entry = NULL;
	uint64		hash;
	bool		found;

	if (event->op == CONCORD_OP_RESYNC)
		return true;			/* it names a row, and is no change of one */
	old = MemoryContextSwitchTo(replay->scratch);
	key = concord_scan_local_key(replay->mapping, event);
	hash = key ? rpl_key_hash(key) : 0;
	if (key != NULL)
		entry = hash_search(replay->keys, &hash, HASH_FIND, NULL);
	if (replay->events)
	{
		if (rpl_in_span(replay, event, entry) &&
			concord_position_finished(&replay->position, replay->mapping, event))
			rpl_insert(replay, event, key);
	}
	else if (replay->writing)
	{
		if (entry != NULL && entry->newest == event->seq &&
			concord_position_finished(&replay->position, replay->mapping, event))
			rpl_insert(replay, event, key);
	}
	else if (entry != NULL && entry->newest > 0)
		entry->newest = event->seq;
	else if (key != NULL && rpl_in_span(replay, event, entry))
	{
		entry = hash_search(replay->keys, &hash, HASH_ENTER, &found);
		if (!found)
			entry->wanted = false;
		entry->newest = event->seq;
	}
	MemoryContextSwitchTo(old);
	MemoryContextReset(replay->scratch);
	return true;
}

/* rpl_key_names lists the members of local keys that are no topic's. */
static List *
rpl_key_names(const ConcordMapping *mapping)
{
	List	   *names = NIL;
	ListCell   *lc;

	if (!mapping->written)
		return mapping->local_key;
	foreach(lc, mapping->key)
		names = lappend(names, ((ConcordField *) lfirst(lc))->name);
	return names;
}

/* rpl_key_example shows what a local key of the mapping looks like. */
static char *
rpl_key_example(const ConcordMapping *mapping)
{
	StringInfoData buf;
	ListCell   *lc;

	if (mapping->topic != NULL && !mapping->written)
		return pstrdup("{\"key\": ...}");
	initStringInfo(&buf);
	foreach(lc, rpl_key_names(mapping))
	{
		const char *name = lfirst(lc);

		appendStringInfoString(&buf, buf.len == 0 ? "{" : ", ");
		concord_json_string(&buf, name, strlen(name));
		appendStringInfoString(&buf, ": ...");
	}
	appendStringInfoChar(&buf, '}');
	return concord_json_server(buf.data);
}

/* rpl_is_key says whether an object has the members of the mapping's keys. */
static bool
rpl_is_key(const ConcordMapping *mapping, JsonbContainer *object)
{
	List	   *names = rpl_key_names(mapping);
	ListCell   *lc;
	JsonbValue	value;

	if (mapping->topic != NULL && JsonContainerSize(object) == 1 &&
		getKeyJsonValueFromContainer(object, "event", 5, &value) != NULL)
		return true;
	if (mapping->topic != NULL && !mapping->written)
		return JsonContainerSize(object) == 1 &&
			getKeyJsonValueFromContainer(object, "key", 3, &value) != NULL;
	foreach(lc, names)
	{
		const char *name = lfirst(lc);

		if (getKeyJsonValueFromContainer(object, name, strlen(name), &value) == NULL)
			return false;
	}
	return JsonContainerSize(object) == list_length(names);
}

/* rpl_key takes one key that the caller gives. */
static void
rpl_key(Replay *replay, Jsonb *key)
{
	uint64		hash;
	ReplayKey  *entry;

	if (!JB_ROOT_IS_OBJECT(key) || !rpl_is_key(replay->mapping, &key->root))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s is no local key of mapping \"%s\"",
						JsonbToCString(NULL, &key->root, VARSIZE(key)),
						replay->mapping->name),
				 errhint("One looks like %s.", rpl_key_example(replay->mapping))));
	hash = rpl_hash(JsonbToCString(NULL, &key->root, VARSIZE(key)));
	entry = hash_search(replay->keys, &hash, HASH_ENTER, NULL);
	entry->wanted = true;
	entry->newest = 0;
}

/* rpl_keys reads the keys that the caller gives: an object or an array. */
static void
rpl_keys(Replay *replay, Jsonb *keys)
{
	JsonbIterator *it;
	JsonbValue	value;
	JsonbIteratorToken token;

	replay->by_key = true;
	if (JB_ROOT_IS_OBJECT(keys))
	{
		rpl_key(replay, keys);
		return;
	}
	if (JB_ROOT_IS_SCALAR(keys))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("keys must be a local key or an array of them"),
				 errhint("For example: '[{\"id\": 7}, {\"id\": 8}]'.")));
	it = JsonbIteratorInit(&keys->root);
	(void) JsonbIteratorNext(&it, &value, true);
	while ((token = JsonbIteratorNext(&it, &value, true)) == WJB_ELEM)
		rpl_key(replay, JsonbValueToJsonb(&value));
}

/*
 * rpl_oldest tells since when events are kept: the time of the oldest one, of
 * whatever mapping, or of an empty outbox, when its table was opened.
 */
static bool
rpl_oldest(int64 first_seq, TimestampTz *at)
{
	ConcordOutboxReader *reader = concord_outbox_open(CurrentMemoryContext,
													  first_seq - 1, NULL, 0);
	int64		read_up_to;
	int			n;
	ConcordEvent *events = concord_outbox_read(reader, 1, 1, &n, &read_up_to);
	bool		isnull = false;

	if (n > 0)
		*at = events[0].committed_at;
	concord_outbox_close(reader);
	if (n > 0)
		return true;
	if (SPI_execute("SELECT pg_catalog.min(opened_at) FROM concord.outbox_ring",
					true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not read concord.outbox_ring");
	*at = DatumGetTimestampTz(SPI_getbinval(SPI_tuptable->vals[0],
											SPI_tuptable->tupdesc, 1, &isnull));
	return !isnull;
}

/* rpl_check_kept raises where the span begins before what is kept. */
static void
rpl_check_kept(const Replay *replay, int64 first_seq)
{
	TimestampTz oldest = 0;

	if (replay->from_seq != PG_INT64_MIN && replay->from_seq < first_seq &&
		first_seq > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("events before position " INT64_FORMAT " are not kept any more",
						first_seq),
				 errhint("Replay from that position, or send rows again from the table with concord.resync().")));
	if (TIMESTAMP_NOT_FINITE(replay->from) || first_seq <= 1 ||
		!rpl_oldest(first_seq, &oldest) || replay->from >= oldest)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("events before %s are not kept any more",
					timestamptz_to_str(oldest)),
			 errhint("Replay from that time, or send rows again from the table with concord.resync().")));
}

/*
 * rpl_supersede closes dead letters of events that go again: should they die once
 * more, there is one dead letter of each.
 */
static void
rpl_supersede(const Replay *replay)
{
	Oid			types[] = {INT4OID};
	Datum		values[] = {Int32GetDatum(replay->mapping->id)};

	if (replay->count == 0)
		return;
	if (SPI_execute_with_args("UPDATE concord.exception e SET state = 'superseded',"
							  "       superseded_by = n.delivery, changed_at = pg_catalog.now()"
							  "  FROM concord.exception n WHERE n.mapping = $1 AND n.state = 'retry' AND n.again"
							  "   AND e.mapping = $1 AND e.state = 'dead' AND NOT e.leaving AND NOT n.leaving"
							  "   AND e.event_id = n.event_id AND e.delivery < n.delivery",
							  1, types, values, NULL, false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not write concord.exception");
}

/* rpl_run does the passes over the outbox. */
static void
rpl_run(Replay *replay)
{
	Oid			types[] = {INT4OID, INT4OID, INT8OID, UUIDOID, TEXTOID,
	TIMESTAMPTZOID, TEXTOID, BYTEAOID, INT4OID, INT4OID};
	int64		first;
	int64		last;

	concord_position_load(replay->mapping->id, &replay->position);
	if (!replay->position.started)
		return;
	replay->insert = SPI_prepare("INSERT INTO concord.exception (mapping, version, seq, event_id, op,"
								 "       committed_at, ordering_key, local_key, event, state, again, next_try,"
								 "       key_hash, old_hash)"
								 " VALUES ($1, $2, $3, $4, $5, $6, $7, $7::pg_catalog.jsonb, $8,"
								 "         'retry', true, pg_catalog.now(), $9, $10)", 10, types);
	if (replay->insert == NULL)
		elog(ERROR, "could not prepare the writing of concord.exception");
	PushActiveSnapshot(GetTransactionSnapshot());
	first = concord_outbox_first_seq();
	last = concord_outbox_last_seq();
	rpl_check_kept(replay, first);
	concord_scan_events(replay->mapping, first - 1, last, rpl_event, replay);
	if (!replay->events)
	{
		replay->writing = true;
		concord_scan_events(replay->mapping, first - 1, last, rpl_event, replay);
	}
	PopActiveSnapshot();
	rpl_supersede(replay);
}

/* rpl_describe says what was asked for, for the history. */
static char *
rpl_describe(const Replay *replay)
{
	StringInfoData buf;

	initStringInfo(&buf);
	if (!TIMESTAMP_NOT_FINITE(replay->from))
		appendStringInfo(&buf, ", from %s", timestamptz_to_str(replay->from));
	if (!TIMESTAMP_NOT_FINITE(replay->to))
		appendStringInfo(&buf, ", to %s", timestamptz_to_str(replay->to));
	if (replay->from_seq != PG_INT64_MIN)
		appendStringInfo(&buf, ", from position " INT64_FORMAT, replay->from_seq);
	if (replay->to_seq != PG_INT64_MAX)
		appendStringInfo(&buf, ", to position " INT64_FORMAT, replay->to_seq);
	if (replay->by_key)
		appendStringInfoString(&buf, ", by key");
	return buf.len > 0 ? buf.data + 2 : NULL;
}

/* rpl_check_mapping raises where nothing of the mapping can be found again. */
static void
rpl_check_mapping(const Replay *replay)
{
	const ConcordMapping *mapping = replay->mapping;

	if (mapping->topic == NULL && mapping->local_key == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the table of mapping \"%s\" is gone, or has no key",
						mapping->name),
				 errhint("concord.status says what is wrong with it.")));
}

/* concord_replay is the SQL function. */
Datum
concord_replay(PG_FUNCTION_ARGS)
{
	Replay		replay = {.from = DT_NOBEGIN,.to = DT_NOEND,
		.from_seq = PG_INT64_MIN,.to_seq = PG_INT64_MAX
	};
	ConcordCatalogScope scope;
	MemoryContext context = CurrentMemoryContext;
	HASHCTL		ctl = {.keysize = sizeof(uint64),.entrysize = sizeof(ReplayKey),
	.hcxt = CurrentMemoryContext};

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the name of a mapping must be given")));
	if (!PG_ARGISNULL(1))
		replay.from = PG_GETARG_TIMESTAMPTZ(1);
	if (!PG_ARGISNULL(2))
		replay.to = PG_GETARG_TIMESTAMPTZ(2);
	if (!PG_ARGISNULL(4))
		replay.from_seq = PG_GETARG_INT64(4);
	if (!PG_ARGISNULL(5))
		replay.to_seq = PG_GETARG_INT64(5);
	if (replay.from > replay.to || replay.from_seq > replay.to_seq)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the span to replay ends before it begins")));
	replay.keys = hash_create("concord replay", 1024, &ctl,
							  HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	replay.scratch = AllocSetContextCreate(CurrentMemoryContext, "concord replay",
										   ALLOCSET_DEFAULT_SIZES);
	concord_catalog_enter(&scope);
	replay.mapping = concord_mapping_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)),
											 context);
	concord_catalog_leave(&scope);
	concord_operate_check(replay.mapping);
	rpl_check_mapping(&replay);
	if (!PG_ARGISNULL(3))
		rpl_keys(&replay, PG_GETARG_JSONB_P(3));
	replay.events = replay.mapping->options.replay_events ||
		replay.mapping->options.ordering != CONCORD_ORDER_KEY;

	concord_catalog_enter(&scope);
	rpl_run(&replay);
	concord_catalog_leave(&scope);
	if (replay.count > 0)
		concord_catalog_changed();
	else if (replay.by_key)
		ereport(NOTICE,
				(errmsg("no finished event of these keys is in the span, or kept"),
				 errhint("Keys are written as column local_key of concord.delivery has them; concord.resync() sends rows from the table.")));
	concord_history_add("replay", replay.mapping->name, replay.mapping->server,
						rpl_describe(&replay), replay.count);
	PG_RETURN_INT64(replay.count);
}
