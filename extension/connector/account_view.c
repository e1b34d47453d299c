/*-------------------------------------------------------------------------
 *
 * account_view.c
 *	  concord.account_state(server): limits and breaker as views show them.
 *
 *-------------------------------------------------------------------------
 */
#include "connector/limits.h"

#include "access/htup_details.h"
#include "catalog/server_options.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

PG_FUNCTION_INFO_V1(concord_account_state);

enum
{
	AV_ACCOUNT, AV_STATE, AV_BREAKER, AV_REASON, AV_SINCE, AV_UNTIL,
	AV_FAILURES, AV_IN_FLIGHT, AV_CONCURRENCY, AV_RATE, AV_BUDGET_LEFT,
	AV_THROTTLED_UNTIL, AV_NOTE, AV_COLUMNS
};

/* A row in the making. */
typedef struct AvRow
{
	Datum		values[AV_COLUMNS];
	bool		nulls[AV_COLUMNS];
	TimestampTz now;
	int64		clock;			/* concord_account_now() at that time */
} AvRow;

static void
av_set(AvRow *row, int column, Datum value)
{
	row->values[column] = value;
	row->nulls[column] = false;
}

static void
av_text(AvRow *row, int column, const char *text)
{
	av_set(row, column, CStringGetTextDatum(text));
}

/* av_time shows a time of the account's clock as one of day. */
static void
av_time(AvRow *row, int column, int64 at)
{
	av_set(row, column, TimestampTzGetDatum(row->now + (at - row->clock)));
}

/* av_rate writes a rate as its option has it. */
static char *
av_rate(const ConcordLimits *limits)
{
	const char *unit = limits->rate_ms >= 60 * 60 * 1000 ? "h" :
		limits->rate_ms >= 60 * 1000 ? "min" : "s";

	return psprintf(INT64_FORMAT "/%s", limits->rate, unit);
}

/* av_fill shows what is in shared memory. */
static void
av_fill(AvRow *row, const ConcordAccountView *view)
{
	static const char *const breakers[] = {"closed", "open", "half-open"};
	bool		closed = view->breaker == CONCORD_BREAKER_CLOSED;
	bool		throttled = view->throttled_until > row->clock;
	bool		spent = view->budget_until > row->clock;
	int64		until = view->throttled_until;

	if (view->breaker == CONCORD_BREAKER_OPEN)
		until = Max(until, view->until);
	if (spent)
		until = Max(until, view->budget_until);
	av_text(row, AV_STATE, !closed ? "down" :
			throttled || spent ? "throttled" : "ok");
	av_text(row, AV_BREAKER, breakers[view->breaker]);
	if (view->reason[0] != '\0')
		av_text(row, AV_REASON, view->reason);
	else if (throttled)
		av_text(row, AV_REASON, "the system asks for time");
	else if (spent)
		av_text(row, AV_REASON, view->budget_left > 0 ?
				"what is left is kept for interactive use" : "the budget is used up");
	av_time(row, AV_SINCE, view->since);
	if (until > row->clock)
		av_time(row, AV_UNTIL, until);
	if (throttled)
		av_time(row, AV_THROTTLED_UNTIL, view->throttled_until);
	av_set(row, AV_FAILURES, Int32GetDatum(view->failures));
	av_set(row, AV_IN_FLIGHT, Int32GetDatum(view->in_flight));
	av_set(row, AV_CONCURRENCY, Int32GetDatum(view->concurrency));
	if (view->limits.rate > 0)
		av_text(row, AV_RATE, av_rate(&view->limits));
	if (view->budget_left >= 0)
		av_set(row, AV_BUDGET_LEFT, Int64GetDatum(view->budget_left));
}

/* av_note says where servers of one account do not agree. */
static void
av_note(AvRow *row, const char *account, Oid owner)
{
	char	   *servers;
	char	   *options = concord_limits_differ(account, owner, &servers);

	av_text(row, AV_ACCOUNT, account);
	if (options != NULL)
		av_text(row, AV_NOTE,
				psprintf("Servers %s share an account and differ in %s: the smallest value of each holds.",
						 servers, options));
}

/* concord_account_state shows a server's account; nulls where it is unused. */
Datum
concord_account_state(PG_FUNCTION_ARGS)
{
	ForeignServer *fs;
	TupleDesc	desc;
	AvRow		row = {0};
	ConcordAccountKey key = {0};
	ConcordAccountView view;
	const char *account;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	desc = BlessTupleDesc(desc);
	memset(row.nulls, true, sizeof(row.nulls));
	row.now = GetCurrentTimestamp();
	row.clock = concord_account_now();
	fs = PG_ARGISNULL(0) ? NULL :
		GetForeignServerExtended(PG_GETARG_OID(0), FSV_MISSING_OK);
	if (fs != NULL)
	{
		account = concord_option_get(fs->options, "account");
		key.dboid = MyDatabaseId;
		if (account != NULL)
		{
			strlcpy(key.name, account, NAMEDATALEN);
			key.serverid = concord_limits_owner(fs->owner);
			av_note(&row, account, fs->owner);
		}
		else
			key.serverid = fs->serverid;
		if (concord_account_peek(&key, &view))
			av_fill(&row, &view);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(desc, row.values, row.nulls)));
}
