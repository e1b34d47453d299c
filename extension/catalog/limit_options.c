/*-------------------------------------------------------------------------
 *
 * limit_options.c
 *	  Values of the options that limit what is sent to a system.
 *
 *-------------------------------------------------------------------------
 */
#include "catalog/limit_options.h"

#include <errno.h>

#define SHARE_MOST		90
#define QUOTA_MOST		INT64CONST(1000000000000)
#define QUOTA_LEAST_MS	1000
#define QUOTA_MOST_MS	(366 * INT64CONST(24 * 60 * 60 * 1000))
#define RATE_MOST_S		100000

static const struct
{
	const char *name;
	int64		ms;
}			lim_units[] = {
	{"ms", 1},
	{"s", 1000},
	{"min", 60 * 1000},
	{"h", 60 * 60 * 1000},
	{"d", 24 * 60 * 60 * 1000},
};

/* lim_number reads digits; false where there are none or too many. */
static bool
lim_number(const char **p, int64 *number)
{
	char	   *end;

	if (**p < '0' || **p > '9')
		return false;
	errno = 0;
	*number = strtoll(*p, &end, 10);
	*p = end;
	return errno == 0;
}

/* lim_unit reads a unit that ends the text; 0 where it is none. */
static int64
lim_unit(const char *p)
{
	for (int i = 0; i < lengthof(lim_units); i++)
	{
		if (strcmp(lim_units[i].name, p) == 0)
			return lim_units[i].ms;
	}
	return 0;
}

/* concord_limit_option_span reads a number and a unit. */
bool
concord_limit_option_span(const char *value, int64 *ms)
{
	int64		n;
	int64		unit;

	if (!lim_number(&value, &n) || (unit = lim_unit(value)) == 0 ||
		n < 1 || n > QUOTA_MOST_MS / unit)
		return false;
	*ms = n * unit;
	return true;
}

/* concord_limit_option_rate reads a number and a unit with a slash between. */
bool
concord_limit_option_rate(const char *value, int64 *count, int64 *period_ms)
{
	if (!lim_number(&value, count) || *value++ != '/')
		return false;
	*period_ms = lim_unit(value);
	return *period_ms >= 1000 && *period_ms <= 60 * 60 * 1000 && *count >= 1 &&
		*count <= RATE_MOST_S * (*period_ms / 1000);
}

/* concord_limit_option_quota reads a number and a span with a slash between. */
bool
concord_limit_option_quota(const char *value, int64 *count, int64 *period_ms)
{
	return lim_number(&value, count) && *value++ == '/' &&
		concord_limit_option_span(value, period_ms) &&
		*period_ms >= QUOTA_LEAST_MS && *count >= 1 && *count <= QUOTA_MOST;
}

/* concord_limit_option_share reads a percentage. */
bool
concord_limit_option_share(const char *value, int *percent)
{
	int64		n;

	if (!lim_number(&value, &n) || strcmp(value, "%") != 0 || n > SHARE_MOST)
		return false;
	*percent = (int) n;
	return true;
}

/* concord_limit_option_problem says what a value should look like. */
const char *
concord_limit_option_problem(ConcordOptionKind kind, const char *value)
{
	int64		count;
	int64		ms;
	int			percent;

	switch (kind)
	{
		case CONCORD_OPTION_RATE:
			return concord_limit_option_rate(value, &count, &ms) ? NULL :
				"A rate is a number of requests and a unit of time, s, min or h: 10/s, 600/min, 5000/h; at most 100000 a second.";
		case CONCORD_OPTION_QUOTA:
			return concord_limit_option_quota(value, &count, &ms) ? NULL :
				"A quota is a number of requests and the time in which they may be sent, from 1s to 366d: 100000/1d, 500/10min.";
		case CONCORD_OPTION_SHARE:
			return concord_limit_option_share(value, &percent) ? NULL :
				"A share is a percentage from 0% to 90%.";
		case CONCORD_OPTION_NAME:
			return strspn(value, " ") < strlen(value) &&
				strlen(value) < NAMEDATALEN ? NULL :
				"A name has 1 to 63 bytes, not all of them blanks.";
		default:
			return NULL;
	}
}
