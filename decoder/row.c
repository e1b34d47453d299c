/*-------------------------------------------------------------------------
 *
 * row.c
 *	  Row images: which there are, and what they hold.
 *
 * Tuples are deformed into arrays that belong to the relation's entry, so a
 * change allocates nothing by itself.  Columns that were added with a default
 * after a row was written get that default from the tuple descriptor of the
 * moment.
 *
 * An UPDATE that leaves a TOASTed value alone has only a pointer to it in WAL.
 * Where the old image has the value (REPLICA IDENTITY FULL, or a column of the
 * identity) it is taken from there; otherwise the encoders mark it unchanged.
 *
 * An event must fit into one message, and a row need not, even where each of
 * its values does: many large ones, both images, or text that is thousands of
 * times as long as what is stored ([1e131071, ...] in a jsonb).  An ERROR would
 * come again each time and stop the reader for good.  So writers of values
 * stop at CONCORD_EVENT_MAX and leave a note in the buffer's cursor; then the
 * largest value is marked to be left out, as one above max_value is, and the
 * event is written anew.  A value whose output function raises is left out in
 * the same way.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/htup_details.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/rel.h"

#include "protocol.h"
#include "row.h"

/* A column of which a WARNING has told. */
typedef struct WarnedKey
{
	Oid			relid;
	AttrNumber	attnum;
} WarnedKey;
#include "rowfilter.h"

/* Take values that the new image only points to from the old one. */
static void
row_merge_unchanged(ConcordRel *rel)
{
	for (int i = 0; i < rel->ncolumns; i++)
	{
		const ConcordColumn *column = &rel->columns[i];
		int			n = column->source;

		if (column->varlena &&
			!rel->new_nulls[n] && !rel->old_nulls[n] &&
			VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(rel->new_values[n])) &&
			!VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(rel->old_values[n])))
			rel->new_values[n] = rel->old_values[n];
	}
}

/* Count the values of the new image that are not in WAL. */
static int
row_count_unchanged(ConcordRel *rel)
{
	int			count = 0;

	for (int i = 0; i < rel->ncolumns; i++)
	{
		const ConcordColumn *column = &rel->columns[i];

		if (!rel->new_nulls[column->source] &&
			concord_row_unchanged(column, rel->new_values[column->source]))
			count++;
	}
	return count;
}

/*
 * Look through the pointers to TOASTed values that core has put together in
 * memory: detoasting such a pointer would copy the value.
 */
static void
row_follow_indirect(ConcordRel *rel)
{
	for (int i = 0; i < rel->ncolumns; i++)
	{
		int			n = rel->columns[i].source;
		struct varlena *v = (struct varlena *) DatumGetPointer(rel->new_values[n]);

		if (rel->columns[i].varlena && !rel->new_nulls[n] &&
			VARATT_IS_EXTERNAL_INDIRECT(v))
		{
			struct varatt_indirect redirect;

			VARATT_EXTERNAL_GET_POINTER(redirect, v);
			rel->new_values[n] = PointerGetDatum(redirect.pointer);
		}
	}
}

/*
 * Deform the change's tuples into rel's arrays and say in *row which images
 * there are.  Returns false where nothing is to be sent.
 */
bool
concord_row_prepare(DecoderState *state, ConcordRel *rel, Relation relation,
					ReorderBufferChange *change, ConcordChange *row)
{
	TupleDesc	desc = RelationGetDescr(relation);
	HeapTuple	oldtuple = concord_change_tuple(change->data.tp.oldtuple);
	HeapTuple	newtuple = concord_change_tuple(change->data.tp.newtuple);
	uint8		send;

	row->filtered = false;
	switch (change->action)
	{
		case REORDER_BUFFER_CHANGE_INSERT:
			row->kind = CONCORD_MSG_INSERT;
			send = CONCORD_SEND_INSERT;
			oldtuple = NULL;
			break;
		case REORDER_BUFFER_CHANGE_UPDATE:
			row->kind = CONCORD_MSG_UPDATE;
			send = CONCORD_SEND_UPDATE;
			break;
		case REORDER_BUFFER_CHANGE_DELETE:
			row->kind = CONCORD_MSG_DELETE;
			send = CONCORD_SEND_DELETE;
			newtuple = NULL;
			break;
		default:
			elog(ERROR, "unexpected change action %d", (int) change->action);
	}
	if ((rel->send & send) == 0)
		return false;

	row->has_old = oldtuple != NULL;
	row->has_new = newtuple != NULL;
	row->old_is_key = rel->replident != REPLICA_IDENTITY_FULL;
	if (oldtuple)
		heap_deform_tuple(oldtuple, desc, rel->old_values, rel->old_nulls);
	if (newtuple)
		heap_deform_tuple(newtuple, desc, rel->new_values, rel->new_nulls);
	if (unlikely(newtuple && HeapTupleHasExternal(newtuple)))
	{
		row_follow_indirect(rel);
		if (oldtuple)
			row_merge_unchanged(rel);
	}

	if (unlikely(rel->row_filter != NULL) && !concord_rowfilter_pass(rel, row))
	{
		row->filtered = true;
		return false;
	}
	if (unlikely(rel->key_hidden))
		row->has_old = false;
	row->no_identity = row->kind != CONCORD_MSG_INSERT &&
		!row->has_old && !rel->has_identity;
	if (row->has_new && HeapTupleHasExternal(newtuple))
		state->stats.counts[CONCORD_COUNT_UNCHANGED] += row_count_unchanged(rel);
	return true;
}

/* Tell once of a column that it has a value that cannot be encoded. */
static void
row_warn(DecoderState *state, const ConcordRel *rel, const ConcordColumn *column,
		 const ConcordFailure *reason)
{
	WarnedKey	key;
	bool		found;

	if (state->warned == NULL)
	{
		HASHCTL		ctl = {0};

		ctl.keysize = sizeof(WarnedKey);
		ctl.entrysize = sizeof(WarnedKey);
		ctl.hcxt = state->context;
		state->warned = hash_create("concord_decoder warned", 16, &ctl,
									HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	memset(&key, 0, sizeof(key));
	key.relid = rel->target;
	key.attnum = column->attnum;
	(void) hash_search(state->warned, &key, HASH_ENTER, &found);
	if (found)
		return;
	ereport(WARNING,
			(errcode(reason->sqlerrcode),
			 errmsg("a value of column \"%s\" of table \"%s.%s\" cannot be encoded",
					column->name, rel->schema, rel->table),
			 errdetail("%s", reason->message),
			 errhint("Events say so instead of giving such a value; this is reported once.")));
}

/* Sixteen bytes that are worked on at once, on processors that can. */
typedef uint8 RowBytes __attribute__((vector_size(16)));

/* Are bytes ASCII, and none of them NUL? */
static inline bool
row_is_ascii(const char *p, int len)
{
	const char *last = p + len - sizeof(RowBytes);
	RowBytes	seen = {0};
	RowBytes	v;
	uint64		halves[2];

	if (len < (int) sizeof(RowBytes))
		return false;

	/* a byte that is zero, or beyond ASCII, sets its high bit */
	for (; p < last; p += sizeof(RowBytes))
	{
		memcpy(&v, p, sizeof(v));
		seen |= v | (v - 1);
	}
	memcpy(&v, last, sizeof(v));
	seen |= v | (v - 1);
	memcpy(halves, &seen, sizeof(halves));
	return ((halves[0] | halves[1]) & UINT64CONST(0x8080808080808080)) == 0;
}

/*
 * Is what was written from from on text of the database's encoding?  A value
 * may not be: PostgreSQL checks what comes in, but not what functions and casts
 * make of it.  If so, the event is to be written anew, and each value looked at.
 */
bool
concord_row_is_text(DecoderState *state, int from)
{
	int			len = state->buf.len - from;

	if (concord_json_foreign || row_is_ascii(state->buf.data + from, len) ||
		likely(pg_encoding_verifymbstr(PG_UTF8, state->buf.data + from, len) == len))
		return true;
	state->verifying = true;
	return false;
}

/*
 * The writing of a value has stopped, having taken size bytes: it could not be
 * encoded, or the event has become too large.  False where nothing is wrong
 * with it after all.
 */
bool
concord_row_stopped(DecoderState *state, const ConcordColumn *column,
					Size size, bool *left_out)
{
	ConcordRowFailure *failure;

	if (state->buf.cursor == 0)
	{
		const char *text = state->buf.data + state->buf.len - size;

		if (pg_encoding_verifymbstr(PG_UTF8, text, (int) size) == (int) size)
			return false;
		concord_value_fail(&state->buf, ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
						   "invalid byte sequence for encoding \"UTF8\"");
	}
	if (state->buf.cursor != CONCORD_CURSOR_FAILED)
	{
		size += (Size) state->buf.cursor;
		if (size > state->largest_size && column->varlena)
		{
			state->largest_size = size;
			state->largest = left_out;
		}
		return true;
	}
	if (concord_row_failure(state, left_out) == NULL)
	{
		failure = palloc(sizeof(ConcordRowFailure));
		failure->mark = left_out;
		failure->reason = *concord_value_failure();
		failure->next = state->failures;
		state->failures = failure;
		row_warn(state, state->last_rel, column, &failure->reason);
	}

	/* leave out this one, whatever was larger */
	state->largest = left_out;
	state->largest_size = size + 1;
	return true;
}

/*
 * Write a row change, leaving out what cannot be encoded and the largest values
 * until it fits.
 */
void
concord_row_send(DecoderState *state, ConcordRel *rel, const ConcordChange *row)
{
	uint64	   *counts = state->stats.counts;
	uint64		oversize = counts[CONCORD_COUNT_OVERSIZE];
	bool		shrunk = false;
	bool		verified = false;

	state->largest_size = 0;
	while (unlikely(!state->encoder->change(state, rel, row)))
	{
		counts[CONCORD_COUNT_OVERSIZE] = oversize;
		if (state->verifying && !verified)
		{
			verified = true;
			state->largest_size = 0;
			continue;
		}
		if (state->largest_size == 0 || *state->largest)
			elog(ERROR, "change of relation %u does not fit into an event",
				 rel->relid);
		*state->largest = true;
		state->largest_size = 0;
		shrunk = true;
		CHECK_FOR_INTERRUPTS();
	}
	counts[row->kind == CONCORD_MSG_INSERT ? CONCORD_COUNT_INSERTS :
		   row->kind == CONCORD_MSG_UPDATE ? CONCORD_COUNT_UPDATES :
		   CONCORD_COUNT_DELETES]++;
	state->verifying = false;
	if (unlikely(shrunk))
	{
		for (const ConcordRowFailure *f = state->failures; f != NULL; f = f->next)
			counts[CONCORD_COUNT_FAILED]++;
		state->failures = NULL;
		memset(rel->old_left_out, 0, sizeof(bool) * rel->natts);
		memset(rel->new_left_out, 0, sizeof(bool) * rel->natts);
	}
}

/* Is one of the truncated relations the one with this OID? */
static bool
row_is_truncated(int nrelations, Relation *relations, Oid relid)
{
	for (int i = 0; i < nrelations; i++)
	{
		if (RelationGetRelid(relations[i]) == relid)
			return true;
	}
	return false;
}

/*
 * Send one event for each selected relation that was truncated.  A partition
 * that is sent under its root counts as the root: once, and not at all where
 * the root was truncated itself.
 */
void
concord_row_truncate(DecoderState *state, int nrelations, Relation *relations,
					 ReorderBufferChange *change)
{
	List	   *sent = NIL;
	int			flags = (change->data.truncate.cascade ? CONCORD_TRUNCATE_CASCADE : 0) |
		(change->data.truncate.restart_seqs ? CONCORD_TRUNCATE_RESTART : 0);

	for (int i = 0; i < nrelations; i++)
	{
		ConcordRel *rel = concord_relcache_get(state, relations[i]);
		int			partition = 0;

		concord_txn_count(state, change->lsn);
		if ((rel->send & CONCORD_SEND_TRUNCATE) == 0)
		{
			concord_txn_skip(state, CONCORD_COUNT_FILTERED_RELATION);
			continue;
		}
		if (rel->target != rel->relid)
		{
			if (row_is_truncated(nrelations, relations, rel->target) ||
				list_member_oid(sent, rel->target))
				continue;
			partition = CONCORD_TRUNCATE_PARTITION;
		}
		sent = lappend_oid(sent, rel->target);
		concord_txn_event(state);
		state->encoder->truncate(state, rel, flags | partition);
		CONCORD_COUNT(state, CONCORD_COUNT_TRUNCATES);
		state->doing = CONCORD_DOING_CHANGE;
	}
}
