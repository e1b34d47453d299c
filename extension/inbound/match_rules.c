/*-------------------------------------------------------------------------
 *
 * match_rules.c
 *	  Which rows and records are the same: by their links, by the key, by the
 *	  rules of option match in their order.
 *
 * A rule gives pairs, by one join for all rows and records.  A pair whose row
 * and record the rule gives to nobody else is a match.  Everything else is for
 * a person, and later rules do not touch it: several rows for a record are
 * ambiguous; several records for a row, or one side that is somebody else's
 * already, are duplicates.
 *
 *		free ──► settled (linked, or a match)
 *		  └────► contested
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/match.h"

#include "access/xact.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

#define MRL_MARK	0x80		/* contested from the next rule on */
#define MRL_TOLD	(-2)		/* the other side of a row whose pairs are
								 * told */

/* The pairs of a rule. */
typedef struct MrlRule
{
	int			rule;
	TupleDesc	desc;
	Tuplestorestate *store;
} MrlRule;

/* mrl_tell adds a line to the result. */
static void
mrl_tell(ConcordMatch *match, int32 m, int32 n, int32 l, int rule, MatVerdict verdict)
{
	Datum		values[5] = {Int32GetDatum(m), Int32GetDatum(n), Int32GetDatum(l),
	Int32GetDatum(rule), Int32GetDatum(verdict)};
	bool		nulls[5] = {m < 0, n < 0, l < 0, false, false};

	concord_match_put(&match->pairs, values, nulls);
	match->counts.verdicts[verdict]++;
}

/* mrl_settle says that a row and a record are the same. */
static void
mrl_settle(ConcordMatch *match, int32 m, int32 n, int rule)
{
	match->local.state[m] = match->remote.state[n] = MAT_SETTLED;
	match->local.other[m] = n;
	match->remote.other[n] = m;
	match->local.rule[m] = rule;
}

/* mrl_number reads a number; -1: null. */
static int32
mrl_number(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(tuple, desc, column, &isnull);

	return isnull ? -1 : DatumGetInt32(value);
}

/*
 * mrl_take_same takes records with one id.  The same record twice is what
 * paging does to a list that changes meanwhile.
 */
static void
mrl_take_same(ConcordMatch *match, HeapTuple tuple, TupleDesc desc, void *arg)
{
	int32		n = mrl_number(tuple, desc, 1);
	bool		isnull;

	if (!DatumGetBool(SPI_getbinval(tuple, desc, 3, &isnull)))
		match->remote.rule[n] = MAT_RULE_ID;
	else if (n != mrl_number(tuple, desc, 2))
		match->remote.state[n] = MAT_DROPPED;
}

static const char mrl_same[] =
"SELECT n, first, same FROM (SELECT \"concord.n\" AS n, pg_catalog.min(\"concord.n\") OVER w AS first,"
"   pg_catalog.count(*) OVER w AS count, pg_catalog.min(\"concord.hash\") OVER w"
"   OPERATOR(pg_catalog.=) pg_catalog.max(\"concord.hash\") OVER w AS same"
"  FROM \"concord.records\" WHERE \"concord.id\" IS NOT NULL"
"  WINDOW w AS (PARTITION BY \"concord.id\" COLLATE \"C\")) AS ids WHERE count OPERATOR(pg_catalog.>) 1";

/* mrl_take_link takes a link, with row and record where they are there. */
static void
mrl_take_link(ConcordMatch *match, HeapTuple tuple, TupleDesc desc, void *arg)
{
	int32		l = mrl_number(tuple, desc, 1);
	int32		m = mrl_number(tuple, desc, 2);
	int32		n = mrl_number(tuple, desc, 3);
	bool		free;

	if (n >= 0 && match->remote.state[n] == MAT_DROPPED)
		return;
	free = n >= 0 && match->remote.state[n] == MAT_FREE &&
		match->remote.rule[n] != MAT_RULE_ID;
	if (m < 0)
	{
		mrl_tell(match, -1, n, l, MAT_RULE_NONE, MAT_NO_ROW);
		if (n >= 0 && match->remote.state[n] == MAT_FREE)
			match->remote.state[n] = MAT_SETTLED;
	}
	else if (free && match->local.state[m] == MAT_FREE)
		mrl_settle(match, m, n, MAT_RULE_NONE);
	else
	{
		match->local.state[m] = MAT_SETTLED;
		if (n < 0)
			return;
		mrl_tell(match, m, n, l, MAT_RULE_ID, MAT_DUPLICATE);
		if (match->local.other[m] < 0)
			match->local.other[m] = MRL_TOLD;
		if (match->remote.state[n] == MAT_FREE)
			match->remote.state[n] = MAT_CONTESTED;
	}
}

static const char mrl_links[] =
"SELECT l.\"concord.l\", t.\"concord.m\", r.\"concord.n\" FROM \"concord.links\" l"
" LEFT JOIN \"concord.rows\" t ON t.\"concord.key\" OPERATOR(pg_catalog.=) l.\"concord.key\""
" LEFT JOIN \"concord.records\" r ON r.\"concord.id\" OPERATOR(pg_catalog.=) l.\"concord.id\"";

/* mrl_relevant: a rule has something to say of a pair. */
static bool
mrl_relevant(const ConcordMatch *match, int32 m, int32 n)
{
	return match->remote.state[n] != MAT_DROPPED &&
		(match->local.state[m] == MAT_FREE || match->remote.state[n] == MAT_FREE);
}

/* mrl_take_pair takes a pair that a rule gives. */
static void
mrl_take_pair(ConcordMatch *match, HeapTuple tuple, TupleDesc desc, void *arg)
{
	MrlRule    *rule = arg;
	int32		m = mrl_number(tuple, desc, 1);
	int32		n = mrl_number(tuple, desc, 2);
	Datum		values[2] = {Int32GetDatum(m), Int32GetDatum(n)};
	bool		nulls[2] = {false, false};

	if (!mrl_relevant(match, m, n))
		return;
	match->local.pairs[m] = Min(match->local.pairs[m] + 1, 2);
	match->remote.pairs[n] = Min(match->remote.pairs[n] + 1, 2);
	tuplestore_putvalues(rule->store, rule->desc, values, nulls);
}

/* mrl_contest leaves what is free to a person, once the rule is done. */
static void
mrl_contest(ConcordMatch *match, int32 m, int32 n)
{
	if ((match->local.state[m] & ~MRL_MARK) == MAT_FREE)
		match->local.state[m] |= MRL_MARK;
	if ((match->remote.state[n] & ~MRL_MARK) == MAT_FREE)
		match->remote.state[n] |= MRL_MARK;
}

/* mrl_decide says what a pair is. */
static void
mrl_decide(ConcordMatch *match, int rule, int32 m, int32 n)
{
	uint8		ours = match->local.state[m] & ~MRL_MARK;
	uint8		theirs = match->remote.state[n] & ~MRL_MARK;
	bool		one = match->local.pairs[m] == 1 && match->remote.pairs[n] == 1;
	bool		twice = match->remote.rule[n] == MAT_RULE_ID;

	if (one && !twice && ours == MAT_FREE && theirs == MAT_FREE &&
		(rule == MAT_RULE_KEY || match->by_id))
		mrl_settle(match, m, n, rule);
	else if (one && !twice && rule == MAT_RULE_KEY && theirs == MAT_FREE &&
			 ours == MAT_SETTLED && match->local.other[m] == -1 &&
			 !match->inbound->assigned)
		mrl_settle(match, m, n, MAT_RULE_NONE); /* the link has its id in
												 * another form */
	else
	{
		bool		ambiguous = theirs == MAT_FREE ? match->remote.pairs[n] > 1 :
			theirs == MAT_CONTESTED;

		ambiguous |= ours == MAT_CONTESTED;
		mrl_tell(match, m, n, -1, rule, ambiguous ? MAT_AMBIGUOUS : MAT_DUPLICATE);
		mrl_contest(match, m, n);
	}
}

/* mrl_next makes a side ready for the next rule. */
static void
mrl_next(MatSide *side)
{
	for (int32 i = 0; i < side->n; i++)
	{
		if (side->state[i] & MRL_MARK)
			side->state[i] = MAT_CONTESTED;
		side->pairs[i] = 0;
	}
}

/* mrl_rule runs a rule's join and decides what it gives. */
static void
mrl_rule(ConcordMatch *match, int number, const char *sql)
{
	MrlRule		rule = {number, CreateTemplateTupleDesc(2), NULL};
	TupleTableSlot *slot;

	TupleDescInitEntry(rule.desc, 1, "m", INT4OID, -1, 0);
	TupleDescInitEntry(rule.desc, 2, "n", INT4OID, -1, 0);
	concord_desc_finish(rule.desc);
	rule.store = tuplestore_begin_heap(false, false, work_mem);
	concord_match_query(match, sql, mrl_take_pair, &rule);
	slot = MakeSingleTupleTableSlot(rule.desc, &TTSOpsMinimalTuple);
	while (tuplestore_gettupleslot(rule.store, true, false, slot))
	{
		slot_getallattrs(slot);
		mrl_decide(match, number, DatumGetInt32(slot->tts_values[0]),
				   DatumGetInt32(slot->tts_values[1]));
		CHECK_FOR_INTERRUPTS();
	}
	ExecDropSingleTupleTableSlot(slot);
	tuplestore_end(rule.store);
	mrl_next(&match->local);
	mrl_next(&match->remote);
}

#define MRL_PAIRS	"SELECT \"concord.t\".\"concord.m\", \"concord.r\".\"concord.n\" FROM "
#define MRL_ROWS	"\"concord.rows\" AS \"concord.t\""
#define MRL_RECORDS	"\"concord.records\" AS \"concord.r\""

/* mrl_by_key writes the join by key; NULL: records do not tell it. */
static char *
mrl_by_key(ConcordMatch *match)
{
	const ConcordInbound *inbound = match->inbound;
	StringInfoData buf;

	initStringInfo(&buf);
	appendStringInfoString(&buf, MRL_PAIRS MRL_ROWS " JOIN " MRL_RECORDS " ON (");
	if (match->key_text > 0)
		appendStringInfoString(&buf, "\"concord.t\".\"concord.id\" OPERATOR(pg_catalog.=) \"concord.r\".\"concord.id\"");
	else if (!inbound->key_direct)
		return NULL;
	for (int i = 0; match->key_text == 0 && i < inbound->nkey; i++)
		appendStringInfo(&buf, "%s\"concord.t\".\"concord.k%d\" %s \"concord.r\".\"concord.k%d\"",
						 i > 0 ? " AND " : "", i, inbound->key[i].equals, i);
	appendStringInfoChar(&buf, ')');
	return buf.data;
}

/* mrl_by_rule writes the join by a rule of option match. */
static char *
mrl_by_rule(ConcordMatch *match, int i, const ConcordMatchRule *rule)
{
	const ConcordInbound *inbound = match->inbound;
	StringInfoData buf;

	if (rule->expression == NULL)
		return psprintf(MRL_PAIRS MRL_ROWS " JOIN " MRL_RECORDS
						" ON (\"concord.t\".\"concord.x%d\" OPERATOR(pg_catalog.=) \"concord.r\".\"concord.v%d\")",
						i, i);
	initStringInfo(&buf);
	appendStringInfo(&buf, MRL_PAIRS "%s JOIN " MRL_ROWS " ON (", inbound->table);
	for (int k = 0; k < inbound->nkey; k++)
		appendStringInfo(&buf, "%s%s.%s %s \"concord.t\".\"concord.k%d\"", k > 0 ? " AND " : "",
						 quote_identifier(get_rel_name(match->mapping->source)),
						 quote_identifier(inbound->key[k].name), inbound->key[k].equals, k);
	appendStringInfo(&buf, "), " MRL_RECORDS " WHERE %s",
					 concord_inbound_expression(rule->expression));
	return buf.data;
}

/* concord_match_rule_name says by which rule; NULL: by none. */
const char *
concord_match_rule_name(const ConcordMatch *match, int rule)
{
	const ConcordMatchRule *of;

	if (rule == MAT_RULE_NONE)
		return NULL;
	if (rule == MAT_RULE_KEY || rule == MAT_RULE_ID)
		return rule == MAT_RULE_KEY ? "key" : "id";
	of = list_nth(match->mapping->options.match, rule - 1);
	return of->name != NULL ? of->name : psprintf("rule %d", rule);
}

/* mrl_rest tells what the pairs do not. */
static void
mrl_rest(ConcordMatch *match)
{
	const MatSide *local = &match->local;
	const MatSide *remote = &match->remote;

	for (int32 m = 0; m < local->n; m++)
	{
		if (local->state[m] == MAT_FREE)
			mrl_tell(match, m, -1, -1, MAT_RULE_NONE, MAT_LOCAL_ONLY);
		else if (local->state[m] == MAT_SETTLED && local->other[m] >= 0)
			mrl_tell(match, m, local->other[m], -1, local->rule[m],
					 local->rule[m] == MAT_RULE_NONE ? MAT_LINKED : MAT_MATCH);
		else if (local->state[m] == MAT_SETTLED && local->other[m] == -1)
			mrl_tell(match, m, -1, -1, MAT_RULE_NONE, MAT_NO_RECORD);
	}
	for (int32 n = 0; n < remote->n; n++)
	{
		if (remote->state[n] != MAT_FREE)
			continue;
		mrl_tell(match, -1, n, -1, remote->rule[n],
				 remote->rule[n] == MAT_RULE_ID ? MAT_DUPLICATE : MAT_REMOTE_ONLY);
		if (remote->rule[n] == MAT_RULE_ID)
			remote->state[n] = MAT_CONTESTED;
	}
}

/* mrl_context names the rule that an error is about. */
static void
mrl_context(void *arg)
{
	const char *what = arg;

	errcontext("%s", what);
}

/* mrl_named runs a rule under its name. */
static void
mrl_named(ConcordMatch *match, int number, const ConcordMatchRule *rule)
{
	ErrorContextCallback callback;

	callback.callback = mrl_context;
	callback.arg = psprintf("match rule \"%s\" of mapping \"%s\"",
							concord_match_rule_name(match, number), match->mapping->name);
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	mrl_rule(match, number, mrl_by_rule(match, number - 1, rule));
	error_context_stack = callback.previous;
}

/* mrl_rows reads the rows, with what all rules compare. */
static void
mrl_rows(ConcordMatch *match)
{
	ErrorContextCallback callback;

	callback.callback = mrl_context;
	callback.arg = psprintf("rows, with what the rules of option match of mapping \"%s\" compare",
							match->mapping->name);
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	concord_match_read_rows(match);
	error_context_stack = callback.previous;
}

/* mrl_compare is the work of concord_match_compare. */
static void
mrl_compare(void *arg)
{
	ConcordMatch *match = arg;
	ConcordEnvironment environment;
	char	   *by_key;
	int			number = MAT_RULE_KEY;
	ListCell   *lc;

	concord_environment_enter(&environment, match->mapping->definer,
							  match->mapping->search_path);
	PushActiveSnapshot(GetLatestSnapshot());
	mrl_rows(match);
	concord_match_query(match, mrl_same, mrl_take_same, NULL);
	concord_match_query(match, mrl_links, mrl_take_link, NULL);
	by_key = mrl_by_key(match);
	if (by_key != NULL)
		mrl_rule(match, MAT_RULE_KEY, by_key);
	foreach(lc, match->mapping->options.match)
		mrl_named(match, ++number, lfirst(lc));
	PopActiveSnapshot();
	concord_environment_leave(&environment);
}

/*
 * concord_match_compare finds out who is who, with the rows as they are now: the
 * definer's expressions run read-only.
 */
void
concord_match_compare(ConcordMatch *match)
{
	(void) concord_environment_dry_run(mrl_compare, match);
	mrl_rest(match);
}
