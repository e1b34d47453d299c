/*-------------------------------------------------------------------------
 *
 * run.c
 *	  Run a set of expressions over many rows, and survive bad ones.
 *
 * A set is run for all rows at once, in a subtransaction.  Where that raises,
 * the rows are halved until the bad ones stand alone, so a thousand rows with
 * one bad one cost about twenty runs, and no good row is lost.  A row that
 * stands alone and fails is run once more expression by expression, to say
 * which one it was.
 *
 * Not every error is a row's fault.  What the server lacks at the moment
 * (memory, a lock, a cancelled query) is raised and the caller tries again
 * later.  And where an error looks like one of the definition (a function
 * that is gone, a privilege that was revoked), the set is run over no rows:
 * if that fails too, nothing would work, and that is raised.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/statement.h"

#include "access/xact.h"
#include "base/clock.h"
#include "decoder/protocol.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timeout.h"
#include "utils/tuplestore.h"

/* The longest that a set may take: a worker has no statement_timeout. */
#define RUN_TIME_LIMIT_MS	30000

#define RUN_TEXTS			64	/* of a row, copied together */

/* concord_run_describe names an expression. */
char *
concord_run_describe(const ConcordExpression *expression)
{
	return expression->name == NULL ? pstrdup(expression->what) :
		psprintf("%s \"%s\"", expression->what, expression->name);
}

/*
 * run_plain writes what needs no SQL.  Texts that stand in the image are copied
 * into one piece of memory.
 */
static void
run_plain(ConcordCompiled *compiled, const ConcordSet *set,
		  ConcordResult *result)
{
	const char *image[RUN_TEXTS];	/* which of the values are still there */
	Size		size = 0;
	char	   *text;

	for (int i = 0; i < set->n; i++)
	{
		const ConcordPlain *plain = &set->plain[i];
		ConcordValue *value = &result->values[i];
		bool		there = false;

		if (plain->kind == CONCORD_EXPRESSION_CONSTANT)
			*value = set->expressions[i]->constant;
		else if (plain->kind == CONCORD_EXPRESSION_COLUMN)
		{
			value->typid = plain->type;
			value->typmod = plain->typmod;
			there = i < RUN_TEXTS &&
				concord_rows_peek(compiled, result->row, plain->attnum, value);
			if (!there)
				concord_rows_text(compiled, result->row, plain->attnum, value);
			else if (!value->isnull)
				size += value->len + 1;
		}
		if (i < RUN_TEXTS)
			image[i] = there && !value->isnull ? value->text : NULL;
	}
	if (size == 0)
		return;
	text = palloc(size);
	for (int i = 0; i < Min(set->n, RUN_TEXTS); i++)
	{
		ConcordValue *value = &result->values[i];

		if (image[i] == NULL)
			continue;
		memcpy(text, image[i], value->len);
		text[value->len] = '\0';
		value->text = text;
		text += value->len + 1;
	}
}

/* run_store makes the relation that a statement reads. */
static Tuplestorestate *
run_store(ConcordCompiled *compiled, ConcordResult *results, int nresults)
{
	Tuplestorestate *store = tuplestore_begin_heap(false, false, work_mem);
	int			n = compiled->names->nslots + 1;
	Datum	   *values = palloc(sizeof(Datum) * n);
	bool	   *nulls = palloc(sizeof(bool) * n);
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext,
												  "concord mapping row",
												  ALLOCSET_DEFAULT_SIZES);

	for (int i = 0; i < nresults; i++)
	{
		MemoryContext old = MemoryContextSwitchTo(scratch);

		values[0] = Int32GetDatum(i);
		nulls[0] = false;
		concord_rows_fill(compiled, results[i].row, values + 1, nulls + 1);
		tuplestore_putvalues(store, compiled->row_desc, values, nulls);
		MemoryContextSwitchTo(old);
		MemoryContextReset(scratch);
	}
	MemoryContextDelete(scratch);
	return store;
}

/* run_take reads one row of a statement's result. */
static void
run_take(const ConcordSet *set, ConcordResult *results, int nresults,
		 HeapTuple tuple, TupleDesc desc)
{
	bool		isnull;
	int			number = DatumGetInt32(SPI_getbinval(tuple, desc, 1, &isnull));
	int			column = 2;

	if (number < 0 || number >= nresults)
		elog(ERROR, "a mapping's statement returned an unknown row");
	for (int i = 0; i < set->n; i++)
	{
		ConcordExpression *expression = set->expressions[i];
		ConcordValue *value = &results[number].values[i];
		Datum		datum;

		if (expression->kind != CONCORD_EXPRESSION_SQL)
			continue;
		datum = SPI_getbinval(tuple, desc, column++, &isnull);
		value->typid = expression->type;
		value->typmod = expression->typmod;
		value->isnull = isnull;
		if (!isnull)
		{
			value->text = OutputFunctionCall(&expression->output, datum);
			value->len = strlen(value->text);
		}
	}
}

/* run_all evaluates a set for rows, or raises. */
static void
run_all(ConcordCompiled *compiled, ConcordSet *set, ConcordResult *results,
		int nresults)
{
	MemoryContext context = CurrentMemoryContext;
	Tuplestorestate *store;

	for (int i = 0; i < nresults; i++)
		run_plain(compiled, set, &results[i]);
	if (set->nsql == 0)
		return;

	concord_compile_prepare(compiled, set);
	store = run_store(compiled, results, nresults);
	concord_statement_register(compiled, store, nresults);
	if (SPI_execute_plan(set->plan, NULL, NULL, true, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not run a mapping's statement");
	MemoryContextSwitchTo(context);
	for (uint64 i = 0; i < SPI_processed; i++)
		run_take(set, results, nresults, SPI_tuptable->vals[i],
				 SPI_tuptable->tupdesc);
	SPI_freetuptable(SPI_tuptable);
	concord_statement_unregister();
	tuplestore_end(store);
}

/* run_is_worker says whether nobody else limits the time. */
static bool
run_is_worker(void)
{
	return MyBackendType == B_BG_WORKER;
}

/*
 * run_try evaluates a set for rows in a subtransaction and returns the error,
 * or NULL.
 */
static ErrorData *
run_try(ConcordCompiled *compiled, ConcordSet *set, ConcordResult *results,
		int nresults)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		if (run_is_worker())
			enable_timeout_after(STATEMENT_TIMEOUT, RUN_TIME_LIMIT_MS);
		run_all(compiled, set, results, nresults);
		if (run_is_worker())
			disable_timeout(STATEMENT_TIMEOUT, false);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		if (run_is_worker())
			disable_timeout(STATEMENT_TIMEOUT, false);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}

/* run_transient says whether an error is no row's and no definition's fault. */
static bool
run_transient(int sqlerrcode, int64 started)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_INSUFFICIENT_RESOURCES:
			return sqlerrcode != ERRCODE_OUT_OF_MEMORY;
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
			return sqlerrcode != ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
		case ERRCODE_SYSTEM_ERROR:
			return true;
		case ERRCODE_OPERATOR_INTERVENTION:
			/* but our own time limit is the rows' fault */
			return !(sqlerrcode == ERRCODE_QUERY_CANCELED && run_is_worker() &&
					 concord_clock_passed(started, RUN_TIME_LIMIT_MS));
	}
	return false;
}

/* run_one_expression makes a set of one expression. */
static void
run_one_expression(ConcordSet *set, ConcordExpression **expression)
{
	memset(set, 0, sizeof(*set));
	set->n = 1;
	set->plain = palloc(sizeof(ConcordPlain));
	concord_compile_plain(*expression, set->plain);
	set->nsql = (*expression)->kind == CONCORD_EXPRESSION_SQL ? 1 : 0;
	set->expressions = expression;
}

/* run_free_plan gives back the plan of a set of one expression. */
static void
run_free_plan(ConcordSet *set)
{
	if (set->plan != NULL)
		SPI_freeplan(set->plan);
	set->plan = NULL;
}

/* run_blame finds the expression that a row fails in, and notes the error. */
static void
run_blame(ConcordCompiled *compiled, ConcordSet *set, ConcordResult *result,
		  ErrorData *error)
{
	for (int i = 0; i < set->n && set->n > 1; i++)
	{
		ConcordSet	one;
		ConcordResult copy = *result;
		ErrorData  *found;

		run_one_expression(&one, &set->expressions[i]);
		copy.values = palloc0(sizeof(ConcordValue));
		found = run_try(compiled, &one, &copy, 1);
		run_free_plan(&one);
		if (found != NULL)
		{
			result->sqlerrcode = found->sqlerrcode;
			result->error = psprintf("%s: %s",
									 concord_run_describe(set->expressions[i]),
									 found->message);
			return;
		}
	}
	result->sqlerrcode = error->sqlerrcode;
	result->error = set->n != 1 ? pstrdup(error->message) :
		psprintf("%s: %s", concord_run_describe(set->expressions[0]),
				 error->message);
}

/*
 * run_definition raises where a set cannot be run over any rows: the error is
 * the mapping's, not a row's.
 */
static void
run_definition(ConcordCompiled *compiled, ConcordSet *set, int sqlerrcode)
{
	if (ERRCODE_TO_CATEGORY(sqlerrcode) !=
		ERRCODE_TO_CATEGORY(ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION))
		return;
	for (int i = 0; i < set->n; i++)
	{
		if (set->expressions[i]->kind == CONCORD_EXPRESSION_SQL)
			concord_run_nothing(compiled, set->expressions[i]);
	}
}

/* run_range evaluates rows, halving them where that raises. */
static void
run_range(ConcordCompiled *compiled, ConcordSet *set, ConcordResult *results,
		  int nresults)
{
	int64		started = concord_clock_steady();
	ErrorData  *error = run_try(compiled, set, results, nresults);

	if (error == NULL)
		return;
	CHECK_FOR_INTERRUPTS();
	if (run_transient(error->sqlerrcode, started))
		ReThrowError(error);
	if (nresults == 1)
	{
		run_definition(compiled, set, error->sqlerrcode);
		run_blame(compiled, set, results, error);
		return;
	}
	run_range(compiled, set, results, nresults / 2);
	run_range(compiled, set, results + nresults / 2, nresults - nresults / 2);
}

/* run_is_safe says whether nothing can raise: no SQL, no conversion. */
static bool
run_is_safe(const ConcordSet *set, const ConcordResult *results, int nresults)
{
	if (set->nsql > 0)
		return false;
	for (int i = 0; i < nresults; i++)
	{
		const ConcordRow *row = results[i].row;

		if ((row->shape != NULL && !row->shape->same) ||
			(row->event->flags & (CONCORD_ROW_UNCHANGED | CONCORD_ROW_OVERSIZE |
								  CONCORD_ROW_FAILED)) != 0)
			return false;
	}
	return true;
}

/* concord_run_set evaluates a set for rows. */
void
concord_run_set(ConcordCompiled *compiled, ConcordSet *set,
				ConcordResult *results, int nresults)
{
	if (set->n == 0 || nresults == 0)
		return;
	for (int i = 0; i < nresults; i++)
		results[i].values = palloc0(sizeof(ConcordValue) * set->n);
	if (run_is_safe(set, results, nresults))
		run_all(compiled, set, results, nresults);
	else
		run_range(compiled, set, results, nresults);
}

/* concord_run_nothing runs one expression over no rows. */
void
concord_run_nothing(ConcordCompiled *compiled, ConcordExpression *expression)
{
	ConcordStatementContext scope;
	ConcordSet	set;

	concord_statement_push(&scope, compiled->mapping, expression);
	run_one_expression(&set, &expression);
	run_all(compiled, &set, NULL, 0);
	run_free_plan(&set);
	concord_statement_pop(&scope);
}

/* concord_value_is_finite says whether a value is one that JSON can write. */
bool
concord_value_is_finite(const ConcordValue *value)
{
	if (value->isnull)
		return true;
	switch (value->typid)
	{
		case FLOAT4OID:
		case FLOAT8OID:
		case NUMERICOID:
		case DATEOID:
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return strcmp(value->text, "NaN") != 0 &&
				pg_strcasecmp(value->text, "infinity") != 0 &&
				pg_strcasecmp(value->text, "-infinity") != 0;
	}
	return true;
}
