/*-------------------------------------------------------------------------
 *
 * join.c
 *	  Joins that look the keys of many rows up in one request: execution.
 *
 * Rows of the outer side are read until as many different keys are there as
 * the system takes in one request, or work_mem is full.  They stand in a hash
 * table; then the foreign table is scanned for these keys, and each of its
 * rows is compared with the rows of its key.  So one page of the foreign table
 * is in memory, whatever comes, and what a system finds beyond what it was
 * asked for joins with nothing.
 *
 *		  +-------------------- next rows ---------------------+
 *		  v                                                    |
 *		fill ──► probe (rows of the foreign table) ──► unmatched (left, anti)
 *		  |                                                    ^
 *		  +-------------------- no key at all -----------------+
 *
 * Where several filters are asked for together, each finds records of its own
 * keys only: one that does not mind case, or ignores its filter, finds others as
 * well, and they would come once more.
 *
 * A semi or anti join marks rows of the outer side, so each comes once at most.
 * A row whose key is null, or has no form at the system, is asked for nowhere.
 * EvalPlanQual needs nothing of its own: both sides are plans that know what
 * they have to return then.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/join.h"

#include "commands/explain.h"
#include "executor/executor.h"
#include "fdw/scan.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/ruleutils.h"

#define JN_MIN_BUCKETS	64

typedef enum JnPhase
{
	JN_FILL,
	JN_PROBE,
	JN_UNMATCHED,
	JN_END,
} JnPhase;

/* A row of the outer side, in the batch's context. */
typedef struct JnRow
{
	struct JnRow *chain;		/* the next one in its bucket */
	struct JnRow *next;			/* in the order in which they came */
	uint32		hash;
	bool		matched;
	int			filter;			/* that asks for its key */
	Datum	   *key;			/* of the first row that has it, or NULL */
	MinimalTuple tuple;
} JnRow;

/* A key's column. */
typedef struct JnKey
{
	ExprState  *outer;
	ExprState  *inner;
	FmgrInfo	outer_hash;
	FmgrInfo	inner_hash;
	Oid			collation;
	int16		len;			/* of the outer side's type */
	bool		byval;
} JnKey;

typedef struct JnState
{
	CustomScanState css;
	JoinType	type;
	PlanState  *outer;
	ForeignScanState *inner;
	ConcordScan *scan;			/* inner's; NULL: only explained */
	int			nsources;
	int		   *sources;		/* see CONCORD_JOIN_SOURCES */
	int			nkeys;
	JnKey	   *keys;
	Oid		   *types;			/* of the outer side's values */
	ExprState  *qual;
	TupleTableSlot *stored;		/* an outer row out of the batch */

	JnPhase		phase;
	MemoryContext batch;
	JnRow	  **buckets;
	uint32		nbuckets;		/* a power of two */
	uint32		nrows;
	uint32		nmatched;
	JnRow	   *first;
	JnRow	   *last;
	JnRow	   *at;				/* the row that is compared next */
	uint32		hash;			/* of the inner row */
	int			filter;			/* which has found it */
	bool		probing;		/* there is an inner row */
	MinimalTuple carried;		/* begins the next batch; or NULL */
	bool		drained;		/* the outer side has ended */

	uint64		requests;		/* batches that were looked up */
} JnState;

static const CustomExecMethods jn_methods;

/* jn_create makes the node's state. */
static Node *
jn_create(CustomScan *plan)
{
	JnState    *state = (JnState *) newNode(sizeof(JnState), T_CustomScanState);

	state->css.methods = &jn_methods;
	return (Node *) state;
}

const CustomScanMethods concord_join_methods = {
	.CustomName = "Concord Lookup Join",
	.CreateCustomScanState = jn_create,
};

/* jn_key makes a key ready. */
static void
jn_key(JnState *state, const CustomScan *plan, int i)
{
	JnKey	   *key = &state->keys[i];
	Expr	   *outer = list_nth(list_nth(plan->custom_exprs,
										  CONCORD_JOIN_OUTER_KEYS), i);
	Expr	   *inner = list_nth(list_nth(plan->custom_exprs,
										  CONCORD_JOIN_INNER_KEYS), i);
	Oid			op = list_nth_oid(list_nth(plan->custom_private,
										   CONCORD_JOIN_OPERATORS), i);
	bool		swapped = list_nth_int(list_nth(plan->custom_private,
												CONCORD_JOIN_SWAPPED), i) != 0;
	Oid			left;
	Oid			right;

	if (!get_op_hash_functions(op, &left, &right))
		elog(ERROR, "could not find hash function for hash operator %u", op);
	fmgr_info(swapped ? left : right, &key->inner_hash);
	fmgr_info(swapped ? right : left, &key->outer_hash);
	key->collation = list_nth_oid(list_nth(plan->custom_private,
										   CONCORD_JOIN_COLLATIONS), i);
	key->outer = ExecInitExpr(outer, &state->css.ss.ps);
	key->inner = ExecInitExpr(inner, &state->css.ss.ps);
	state->types[i] = exprType((Node *) outer);
	get_typlenbyval(state->types[i], &key->len, &key->byval);
}

/* jn_begin makes the node ready. */
static void
jn_begin(CustomScanState *node, EState *estate, int eflags)
{
	JnState    *state = (JnState *) node;
	CustomScan *plan = (CustomScan *) node->ss.ps.plan;
	List	   *sources = list_nth(plan->custom_private, CONCORD_JOIN_SOURCES);
	ListCell   *lc;

	eflags &= ~(EXEC_FLAG_REWIND | EXEC_FLAG_BACKWARD | EXEC_FLAG_MARK);
	state->type = intVal(list_nth(plan->custom_private, CONCORD_JOIN_TYPE));
	state->outer = ExecInitNode(linitial(plan->custom_plans), estate, eflags);
	state->inner = castNode(ForeignScanState,
							ExecInitNode(lsecond(plan->custom_plans), estate,
										 eflags));
	node->custom_ps = list_make2(state->outer, state->inner);
	state->scan = state->inner->fdw_state;

	state->sources = palloc(sizeof(int) * (list_length(sources) + 1));
	foreach(lc, sources)
		state->sources[state->nsources++] = lfirst_int(lc);
	state->nkeys = list_length(list_nth(plan->custom_private,
										CONCORD_JOIN_OPERATORS));
	state->keys = palloc0(sizeof(JnKey) * state->nkeys);
	state->types = palloc0(sizeof(Oid) * state->nkeys);
	for (int i = 0; i < state->nkeys; i++)
		jn_key(state, plan, i);
	state->qual = ExecInitQual(list_nth(plan->custom_exprs, CONCORD_JOIN_QUAL),
							   &node->ss.ps);
	/* the scan's tuple is changed in place: nobody else is to hold it */
	if (node->ss.ps.ps_ProjInfo == NULL)
		ExecAssignProjectionInfo(&node->ss.ps,
								 node->ss.ss_ScanTupleSlot->tts_tupleDescriptor);
	state->stored = ExecInitExtraTupleSlot(estate,
										   ExecGetResultType(state->outer),
										   &TTSOpsMinimalTuple);
	state->batch = AllocSetContextCreate(CurrentMemoryContext,
										 "concord lookup join",
										 ALLOCSET_DEFAULT_SIZES);
}

/* jn_side fills one side of the scan's tuple; NULL: with nulls. */
static void
jn_side(JnState *state, TupleTableSlot *from, bool outer)
{
	TupleTableSlot *slot = state->css.ss.ss_ScanTupleSlot;

	if (from != NULL)
		slot_getallattrs(from);
	for (int i = 0; i < state->nsources; i++)
	{
		int			source = state->sources[i];

		if ((source > 0) != outer)
			continue;
		slot->tts_isnull[i] = from == NULL || from->tts_isnull[abs(source) - 1];
		slot->tts_values[i] = slot->tts_isnull[i] ? (Datum) 0 :
			from->tts_values[abs(source) - 1];
	}
	/* what was made of it (whole rows) is no more */
	if (TTS_EMPTY(slot))
		ExecStoreVirtualTuple(slot);
}

/* jn_hash evaluates a side's key; false: a part of it is null. */
static bool
jn_hash(JnState *state, bool outer, Datum *values, uint32 *hash)
{
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;
	MemoryContext old = MemoryContextSwitchTo(econtext->ecxt_per_tuple_memory);
	bool		isnull = false;

	econtext->ecxt_scantuple = state->css.ss.ss_ScanTupleSlot;
	*hash = 0;
	for (int i = 0; i < state->nkeys && !isnull; i++)
	{
		JnKey	   *key = &state->keys[i];

		values[i] = ExecEvalExpr(outer ? key->outer : key->inner, econtext,
								 &isnull);
		if (!isnull)
			*hash = pg_rotate_left32(*hash, 1) ^
				DatumGetUInt32(FunctionCall1Coll(outer ? &key->outer_hash :
												 &key->inner_hash,
												 key->collation, values[i]));
	}
	MemoryContextSwitchTo(old);
	return !isnull;
}

/* jn_known finds a row of the batch that has a key; NULL: it is new. */
static const JnRow *
jn_known(const JnState *state, uint32 hash, const Datum *values)
{
	for (const JnRow *row = state->buckets[hash & (state->nbuckets - 1)];
		 row != NULL; row = row->chain)
	{
		bool		same = row->hash == hash && row->key != NULL;

		for (int i = 0; i < state->nkeys && same; i++)
			same = datum_image_eq(row->key[i], values[i], state->keys[i].byval,
								  state->keys[i].len);
		if (same)
			return row;
	}
	return NULL;
}

/* jn_grow makes room in the hash table. */
static void
jn_grow(JnState *state)
{
	uint32		n = state->nbuckets == 0 ? JN_MIN_BUCKETS : state->nbuckets * 2;
	JnRow	  **buckets = MemoryContextAllocZero(state->batch, sizeof(JnRow *) * n);

	for (uint32 i = 0; i < state->nbuckets; i++)
	{
		JnRow	   *next;

		for (JnRow *row = state->buckets[i]; row != NULL; row = next)
		{
			next = row->chain;
			row->chain = buckets[row->hash & (n - 1)];
			buckets[row->hash & (n - 1)] = row;
		}
	}
	if (state->buckets != NULL)
		pfree(state->buckets);
	state->buckets = buckets;
	state->nbuckets = n;
}

/* jn_keep adds an outer row to the batch; values NULL: it has no key. */
static void
jn_keep(JnState *state, TupleTableSlot *slot, uint32 hash, const Datum *values,
		bool new_key, int filter)
{
	MemoryContext old = MemoryContextSwitchTo(state->batch);
	JnRow	   *row = palloc0(sizeof(JnRow));

	row->tuple = ExecCopySlotMinimalTuple(slot);
	row->hash = hash;
	row->filter = filter;
	if (new_key)
	{
		row->key = palloc(sizeof(Datum) * state->nkeys);
		for (int i = 0; i < state->nkeys; i++)
			row->key[i] = datumCopy(values[i], state->keys[i].byval,
									state->keys[i].len);
	}
	if (values != NULL)
	{
		if (++state->nrows > state->nbuckets)
			jn_grow(state);
		row->chain = state->buckets[hash & (state->nbuckets - 1)];
		state->buckets[hash & (state->nbuckets - 1)] = row;
	}
	if (state->last != NULL)
		state->last->next = row;
	else
		state->first = row;
	state->last = row;
	MemoryContextSwitchTo(old);
}

/* jn_take adds an outer row to the batch; false: its key is for the next one. */
static bool
jn_take(JnState *state, TupleTableSlot *slot, int room)
{
	bool		wanted = state->type == JOIN_LEFT || state->type == JOIN_ANTI;
	Datum		values[INDEX_MAX_KEYS];
	ConcordKeyResult result = CONCORD_KEY_ADDED;
	const JnRow *known = NULL;
	int			filter = 0;
	uint32		hash;

	ResetExprContext(state->css.ss.ps.ps_ExprContext);
	jn_side(state, slot, true);
	if (!jn_hash(state, true, values, &hash))
		result = CONCORD_KEY_NO_FORM;
	else if ((known = jn_known(state, hash, values)) != NULL)
		filter = known->filter;
	else
		result = concord_join_keys_add(state->scan->keys, room, state->types,
									   values, &filter);
	if (result == CONCORD_KEY_FULL)
		return false;
	if (result == CONCORD_KEY_ADDED)
		jn_keep(state, slot, hash, values, known == NULL, filter);
	else if (wanted)
		jn_keep(state, slot, 0, NULL, false, 0);
	return true;
}

/* jn_forget empties the batch. */
static void
jn_forget(JnState *state)
{
	ExecClearTuple(state->stored);
	ExecClearTuple(state->css.ss.ss_ScanTupleSlot);
	MemoryContextReset(state->batch);
	state->buckets = NULL;
	state->nbuckets = state->nrows = state->nmatched = 0;
	state->first = state->last = state->at = NULL;
	state->probing = false;
	concord_join_keys_reset(state->scan->keys);
	jn_grow(state);
}

/* jn_carry keeps an outer row for the next batch. */
static void
jn_carry(JnState *state, TupleTableSlot *slot)
{
	MemoryContext old = MemoryContextSwitchTo(state->css.ss.ps.state->es_query_cxt);

	state->carried = ExecCopySlotMinimalTuple(slot);
	MemoryContextSwitchTo(old);
}

/* jn_resume takes the row that was kept for this batch. */
static void
jn_resume(JnState *state, int room)
{
	if (state->carried == NULL)
		return;
	ExecStoreMinimalTuple(state->carried, state->stored, false);
	(void) jn_take(state, state->stored, room);
	ExecClearTuple(state->stored);
	pfree(state->carried);
	state->carried = NULL;
}

/* jn_fill reads the rows of the next batch; false: there are none. */
static bool
jn_fill(JnState *state)
{
	int			room = concord_scan_room(state->scan);

	jn_forget(state);
	jn_resume(state, room);
	while (!state->drained &&
		   MemoryContextMemAllocated(state->batch, true) < work_mem * (Size) 1024)
	{
		TupleTableSlot *slot = ExecProcNode(state->outer);

		CHECK_FOR_INTERRUPTS();
		if (TupIsNull(slot))
			state->drained = true;
		else if (!jn_take(state, slot, room))
		{
			jn_carry(state, slot);
			break;
		}
	}
	state->at = state->first;
	state->phase = JN_UNMATCHED;
	if (state->nrows > 0)
	{
		state->requests++;
		state->phase = JN_PROBE;
		ExecReScan(&state->inner->ss.ps);
	}
	return state->first != NULL;
}

/* jn_next_inner gets the next row of the foreign table; false: no more. */
static bool
jn_next_inner(JnState *state)
{
	Datum		values[INDEX_MAX_KEYS];

	for (;;)
	{
		TupleTableSlot *slot = ExecProcNode(&state->inner->ss.ps);

		CHECK_FOR_INTERRUPTS();
		if (TupIsNull(slot))
			return false;
		ResetExprContext(state->css.ss.ps.ps_ExprContext);
		jn_side(state, slot, false);
		if (!jn_hash(state, false, values, &state->hash))
			continue;
		state->at = state->buckets[state->hash & (state->nbuckets - 1)];
		state->filter = concord_reader_which(state->scan->reader);
		state->probing = true;
		return true;
	}
}

/* jn_matches says whether an outer row and the inner row are joined. */
static bool
jn_matches(JnState *state, JnRow *row)
{
	ExprContext *econtext = state->css.ss.ps.ps_ExprContext;

	ResetExprContext(econtext);
	ExecStoreMinimalTuple(row->tuple, state->stored, false);
	jn_side(state, state->stored, true);
	econtext->ecxt_scantuple = state->css.ss.ss_ScanTupleSlot;
	return ExecQual(state->qual, econtext);
}

/* jn_probe finds the next pair that the join wants; false: none is left. */
static bool
jn_probe(JnState *state)
{
	bool		once = state->type == JOIN_SEMI || state->type == JOIN_ANTI;

	for (;;)
	{
		if (!state->probing &&
			((once && state->nmatched == state->nrows) || !jn_next_inner(state)))
			return false;
		while (state->at != NULL)
		{
			JnRow	   *row = state->at;

			state->at = row->chain;
			if (row->hash != state->hash || row->filter != state->filter ||
				(once && row->matched) || !jn_matches(state, row))
				continue;
			state->nmatched += !row->matched;
			row->matched = true;
			if (state->type != JOIN_ANTI)
				return true;
		}
		state->probing = false;
	}
}

/* jn_unmatched finds the next row that met nothing; false: none is left. */
static bool
jn_unmatched(JnState *state)
{
	if (state->type != JOIN_LEFT && state->type != JOIN_ANTI)
		return false;
	while (state->at != NULL)
	{
		JnRow	   *row = state->at;

		state->at = row->next;
		if (row->matched)
			continue;
		ResetExprContext(state->css.ss.ps.ps_ExprContext);
		ExecStoreMinimalTuple(row->tuple, state->stored, false);
		jn_side(state, state->stored, true);
		jn_side(state, NULL, false);
		return true;
	}
	return false;
}

/* jn_pair makes the next pair of rows in the scan's tuple; false: the end. */
static bool
jn_pair(JnState *state)
{
	for (;;)
	{
		switch (state->phase)
		{
			case JN_FILL:
				if (!jn_fill(state) && state->drained && state->carried == NULL)
					state->phase = JN_END;
				break;
			case JN_PROBE:
				if (jn_probe(state))
					return true;
				state->phase = JN_UNMATCHED;
				state->at = state->first;
				break;
			case JN_UNMATCHED:
				if (jn_unmatched(state))
					return true;
				state->phase = JN_FILL;
				break;
			case JN_END:
				return false;
		}
	}
}

/* jn_exec gives the next row; NULL at the end. */
static TupleTableSlot *
jn_exec(CustomScanState *node)
{
	JnState    *state = (JnState *) node;
	ExprContext *econtext = node->ss.ps.ps_ExprContext;

	while (jn_pair(state))
	{
		CHECK_FOR_INTERRUPTS();
		econtext->ecxt_scantuple = node->ss.ss_ScanTupleSlot;
		if (node->ss.ps.qual != NULL && !ExecQual(node->ss.ps.qual, econtext))
		{
			InstrCountFiltered1(node, 1);
			continue;
		}
		return ExecProject(node->ss.ps.ps_ProjInfo);
	}
	return NULL;
}

/* jn_rescan begins anew. */
static void
jn_rescan(CustomScanState *node)
{
	JnState    *state = (JnState *) node;
	ListCell   *lc;

	jn_forget(state);
	if (state->carried != NULL)
		pfree(state->carried);
	state->carried = NULL;
	state->drained = false;
	state->phase = JN_FILL;
	foreach(lc, node->custom_ps)
	{
		PlanState  *child = lfirst(lc);

		if (node->ss.ps.chgParam != NULL)
			UpdateChangedParamSet(child, node->ss.ps.chgParam);
	}
	/* the foreign table begins anew with each batch */
	if (state->outer->chgParam == NULL)
		ExecReScan(state->outer);
}

/* jn_end ends both sides. */
static void
jn_end(CustomScanState *node)
{
	JnState    *state = (JnState *) node;

	ExecEndNode(state->outer);
	ExecEndNode(&state->inner->ss.ps);
}

/* jn_explain shows what is compared, and how often it was asked for. */
static void
jn_explain(CustomScanState *node, List *ancestors, ExplainState *es)
{
	static const char *const names[] = {
		[JOIN_INNER] = "Inner",[JOIN_LEFT] = "Left",[JOIN_SEMI] = "Semi",
		[JOIN_ANTI] = "Anti",
	};
	JnState    *state = (JnState *) node;
	CustomScan *plan = (CustomScan *) node->ss.ps.plan;
	List	   *context = set_deparse_context_plan(es->deparse_cxt, (Plan *) plan,
												   ancestors);
	Node	   *qual = (Node *)
		make_ands_explicit(list_nth(plan->custom_exprs, CONCORD_JOIN_QUAL));

	ExplainPropertyText("Join Type", names[state->type], es);
	ExplainPropertyText("Lookup Cond",
						deparse_expression(qual, context, true, false), es);
	if (es->analyze)
		ExplainPropertyUInteger("Lookups", NULL, state->requests, es);
}

static const CustomExecMethods jn_methods = {
	.CustomName = "Concord Lookup Join",
	.BeginCustomScan = jn_begin,
	.ExecCustomScan = jn_exec,
	.EndCustomScan = jn_end,
	.ReScanCustomScan = jn_rescan,
	.ExplainCustomScan = jn_explain,
};
