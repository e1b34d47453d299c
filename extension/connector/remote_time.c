/*-------------------------------------------------------------------------
 *
 * remote_time.c
 *	  Times as systems write them.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include <math.h>

#include "connector/receiving.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

/* Numbers from here on are milliseconds: as seconds they would be the year 5138. */
#define RTM_MILLISECONDS	1e11

/* rtm_number reads seconds or milliseconds since 1970, or /Date(ms)/ of OData 2. */
static bool
rtm_number(const char *text, TimestampTz *at)
{
	double		number;
	char	   *end;
	bool		wrapped = strncmp(text, "/Date(", 6) == 0;

	number = strtod(wrapped ? text + 6 : text, &end);
	if (end == text || !isfinite(number) ||
		(wrapped ? strchr(")+-", *end) == NULL : *end != '\0'))
		return false;
	if (wrapped || fabs(number) >= RTM_MILLISECONDS)
		number /= 1000.0;
	if (fabs(number) >= RTM_MILLISECONDS)
		return false;
	*at = (TimestampTz) rint((number - (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
							  (double) SECS_PER_DAY) * USECS_PER_SEC);
	return true;
}

/* rtm_zoned says whether a text tells its zone. */
static bool
rtm_zoned(const char *text)
{
	const char *time = strpbrk(text, "T ");

	return time == NULL || strpbrk(time + 1, "+-Zz") != NULL;
}

/*
 * concord_remote_time reads ISO 8601, seconds or milliseconds since 1970, and
 * OData 2's /Date(ms)/.  A time without a zone is UTC, as systems that leave
 * it out mean it.  False where it is none of these.
 */
bool
concord_remote_time(const char *text, TimestampTz *at)
{
	MemoryContext context = CurrentMemoryContext;
	volatile bool good = true;
	volatile TimestampTz result = 0;
	char	   *whole;

	if (text == NULL || *text == '\0')
		return false;
	if (rtm_number(text, at))
		return true;
	if (strlen(text) > MAXDATELEN || strspn(text, "0123456789") < 4)
		return false;
	whole = rtm_zoned(text) ? pstrdup(text) : psprintf("%s+00", text);
	/* timestamptz_in takes no lock or resource */
	PG_TRY();
	{
		result = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
														 CStringGetDatum(whole),
														 ObjectIdGetDatum(InvalidOid),
														 Int32GetDatum(-1)));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		if (geterrcode() == ERRCODE_QUERY_CANCELED ||
			geterrcode() == ERRCODE_OUT_OF_MEMORY)
			PG_RE_THROW();
		FlushErrorState();
		good = false;
	}
	PG_END_TRY();
	pfree(whole);
	*at = result;
	return good && !TIMESTAMP_NOT_FINITE(result);
}
