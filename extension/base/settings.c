/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  Every pg_concord.* setting.
 *
 * A setting is a row of one of the tables below; the variable behind it
 * is declared in settings.h.  What only a server administrator may decide
 * (where data may go, how long it is kept) can be changed in the
 * configuration file alone, since background workers act on it.
 *
 *-------------------------------------------------------------------------
 */
#include "base/settings.h"

#include <arpa/inet.h>

#include "base/shmem.h"
#include "miscadmin.h"
#include "utils/guc.h"

int			concord_couriers;
int			concord_start_timeout;
int			concord_max_event_size;
char	   *concord_environment;
bool		concord_delivery;
char	   *concord_allowed_networks;
int			concord_max_answer_size;
int			concord_max_leases;
int			concord_cache_size;
int			concord_outbox_retention;
int			concord_delivery_retention;
char	   *concord_hold_limit;
int			concord_hold_limit_age;
int			concord_hold_limit_size;
bool		concord_call_log;
bool		concord_enable_lookup_join;
bool		concord_bypass_ownership;
int			concord_on_schema_change;
bool		concord_enabled;

#define MINUTES_PER_DAY	(24 * 60)
#define MAX_MINUTES		(3650 * MINUTES_PER_DAY)

typedef struct SetBool
{
	const char *name;
	const char *about;
	const char *more;
	bool	   *variable;
	bool		initial;
	GucContext	context;
	int			flags;
} SetBool;

typedef struct SetInt
{
	const char *name;
	const char *about;
	const char *more;
	int		   *variable;
	int			initial;
	int			min;
	int			max;
	GucContext	context;
	int			flags;
} SetInt;

typedef struct SetText
{
	const char *name;
	const char *about;
	const char *more;
	char	  **variable;
	const char *initial;
	GucContext	context;
	int			flags;
	GucStringCheckHook check;
	GucStringAssignHook assign;
} SetText;

typedef struct SetEnum
{
	const char *name;
	const char *about;
	const char *more;
	int		   *variable;
	int			initial;
	const struct config_enum_entry *words;
	GucContext	context;
	int			flags;
} SetEnum;

static bool set_check_hold_limit(char **newval, void **extra, GucSource source);
static void set_assign_hold_limit(const char *newval, void *extra);
static bool set_check_networks(char **newval, void **extra, GucSource source);

static const SetBool set_bools[] = {
	{
		"pg_concord.delivery",
		"Lets the couriers send requests to other systems.",
		"Changes are still captured while it is off, and are sent once it is on again.",
		&concord_delivery, true, PGC_SIGHUP, 0
	},
	{
		"pg_concord.call_log",
		"Records what sessions write to other systems.",
		"While it is on, a call that writes is refused where capture could not record it.",
		&concord_call_log, true, PGC_SUSET, 0
	},
	{
		"pg_concord.enable_lookup_join",
		"Enables the planner's use of joins that look many keys up in one request.",
		NULL,
		&concord_enable_lookup_join, true, PGC_USERSET, GUC_EXPLAIN
	},
	{
		"pg_concord.bypass_ownership",
		"Lets local writes change columns that other systems own.",
		"For loads and repairs; superusers set it, and roles that were granted SET ON PARAMETER.",
		&concord_bypass_ownership, false, PGC_SUSET, 0
	},
	{
		"pg_concord.enabled",
		"Says that this database has the extension and wants its workers.",
		"Set for each database by CREATE EXTENSION; the launcher reads it.",
		&concord_enabled, false, PGC_SUSET, GUC_NO_SHOW_ALL | GUC_NOT_IN_SAMPLE
	},
};

static const SetInt set_ints[] = {
	{
		"pg_concord.couriers",
		"Sets the number of couriers for each database.",
		NULL,
		&concord_couriers, 1, 1, CONCORD_MAX_COURIERS, PGC_SIGHUP, 0
	},
	{
		"pg_concord.start_timeout",
		"Sets how long create_mapping() and emit() wait for capture to be ready.",
		NULL,
		&concord_start_timeout, 30000, 0, INT_MAX, PGC_USERSET, GUC_UNIT_MS
	},
	{
		"pg_concord.max_event_size",
		"Sets the largest value that is captured with an event.",
		"A larger value is replaced by its length and SHA-256; a larger payload is refused by emit().",
		&concord_max_event_size, 16 * 1024, 64, 256 * 1024, PGC_SIGHUP, GUC_UNIT_KB
	},
	{
		"pg_concord.cache_size",
		"Sets the shared memory for answers that calls and look-ups may use again.",
		"0 means that none are kept.",
		&concord_cache_size, 16 * 1024, 0, 4 * 1024 * 1024, PGC_POSTMASTER, GUC_UNIT_KB
	},
	{
		"pg_concord.max_leases",
		"Sets how many mappings and shares of mappings, of all databases, have a place in shared memory.",
		"Those beyond it are held by advisory locks, which cost time at the end of each transaction.",
		&concord_max_leases, 16384, 1, 1024 * 1024, PGC_POSTMASTER, 0
	},
	{
		"pg_concord.max_answer_size",
		"Sets the largest answer that a session takes from a system.",
		"It holds for calls, look-ups and each page of a foreign table.",
		&concord_max_answer_size, 64 * 1024, 64, 512 * 1024, PGC_USERSET, GUC_UNIT_KB
	},
	{
		"pg_concord.outbox_retention",
		"Sets how long events are kept after all mappings have read them.",
		NULL,
		&concord_outbox_retention, MINUTES_PER_DAY, 0, MAX_MINUTES, PGC_SIGHUP,
		GUC_UNIT_MIN
	},
	{
		"pg_concord.delivery_retention",
		"Sets how long finished deliveries are kept in the log.",
		NULL,
		&concord_delivery_retention, 7 * MINUTES_PER_DAY, 0, MAX_MINUTES,
		PGC_SIGHUP, GUC_UNIT_MIN
	},
};

static const struct config_enum_entry set_schema_changes[] = {
	{"refuse", CONCORD_SCHEMA_REFUSE, false},
	{"pause", CONCORD_SCHEMA_PAUSE, false},
	{NULL, 0, false}
};

static const SetEnum set_enums[] = {
	{
		"pg_concord.on_schema_change",
		"Sets what becomes of a change of a table that a mapping cannot follow.",
		"It is refused, or pauses the mapping with an alert.",
		&concord_on_schema_change, CONCORD_SCHEMA_REFUSE, set_schema_changes,
		PGC_USERSET, 0
	},
};

static const SetText set_texts[] = {
	{
		"pg_concord.environment",
		"Names what this server is, for example prod or test.",
		"A server whose option environment is prod is contacted only where this is prod.",
		&concord_environment, "", PGC_SIGHUP, 0, NULL, NULL
	},
	{
		"pg_concord.allowed_networks",
		"Lists the networks that requests may go to.",
		"Addresses with an optional prefix length, separated by commas; public networks are always allowed, private ones only to servers of superusers where this is empty.",
		&concord_allowed_networks, "", PGC_SIGHUP, GUC_LIST_INPUT,
		set_check_networks, NULL
	},
	{
		"pg_concord.hold_limit",
		"Sets how far behind a mapping may be before it gives up its place.",
		"A size, an age, or both, such as '10GB, 7d'; empty means no limit.",
		&concord_hold_limit, "10GB, 7d", PGC_SIGHUP, 0,
		set_check_hold_limit, set_assign_hold_limit
	},
};

/* What set_check_hold_limit found, for set_assign_hold_limit. */
typedef struct SetHoldLimit
{
	int			age;
	int			size;
} SetHoldLimit;

/* concord_settings_define defines every setting of the tables above. */
void
concord_settings_define(void)
{
	for (int i = 0; i < lengthof(set_bools); i++)
	{
		const SetBool *s = &set_bools[i];

		DefineCustomBoolVariable(s->name, s->about, s->more, s->variable,
								 s->initial, s->context, s->flags,
								 NULL, NULL, NULL);
	}
	for (int i = 0; i < lengthof(set_ints); i++)
	{
		const SetInt *s = &set_ints[i];
		GucContext	context = s->context;

		/*
		 * where the library is not preloaded there is no shared memory to
		 * size
		 */
		if (context == PGC_POSTMASTER &&
			!process_shared_preload_libraries_in_progress)
			context = PGC_SIGHUP;
		DefineCustomIntVariable(s->name, s->about, s->more, s->variable,
								s->initial, s->min, s->max, context,
								s->flags, NULL, NULL, NULL);
	}
	for (int i = 0; i < lengthof(set_enums); i++)
	{
		const SetEnum *s = &set_enums[i];

		DefineCustomEnumVariable(s->name, s->about, s->more, s->variable,
								 s->initial, s->words, s->context, s->flags,
								 NULL, NULL, NULL);
	}
	for (int i = 0; i < lengthof(set_texts); i++)
	{
		const SetText *s = &set_texts[i];

		DefineCustomStringVariable(s->name, s->about, s->more, s->variable,
								   s->initial, s->context, s->flags,
								   s->check, s->assign, NULL);
	}
	MarkGUCPrefixReserved("pg_concord");
}

/*
 * set_hold_item reads one size or age.  A size is tried first: no unit of
 * memory is a unit of time.
 */
static bool
set_hold_item(const char *item, SetHoldLimit *found)
{
	const char *hint = NULL;
	int			value;

	if (strspn(item, "0123456789. ") == strlen(item))
	{
		GUC_check_errdetail("\"%s\" has no unit.", item);
		GUC_check_errhint("Write a size such as 10GB or an age such as 7d.");
		return false;
	}
	if (parse_int(item, &value, GUC_UNIT_KB, &hint) && value > 0 &&
		found->size == 0)
		found->size = value;
	else if (parse_int(item, &value, GUC_UNIT_MIN, &hint) && value > 0 &&
			 found->age == 0)
		found->age = value;
	else
	{
		GUC_check_errdetail("\"%s\" is neither a size nor an age, or is given twice.",
							item);
		GUC_check_errhint("Write a size such as 10GB, an age such as 7d, or both, separated by a comma.");
		return false;
	}
	return true;
}

/* set_check_hold_limit reads a list of at most one size and one age. */
static bool
set_check_hold_limit(char **newval, void **extra, GucSource source)
{
	SetHoldLimit found = {0, 0};
	SetHoldLimit *result;
	char	   *rest = pstrdup(*newval);

	while (rest[strspn(rest, " ")] != '\0')
	{
		char	   *item = rest;
		char	   *comma = strchr(rest, ',');

		rest = comma ? comma + 1 : rest + strlen(rest);
		if (comma)
			*comma = '\0';
		if (!set_hold_item(item + strspn(item, " "), &found))
			return false;
	}

	result = (SetHoldLimit *) guc_malloc(LOG, sizeof(SetHoldLimit));
	if (result == NULL)
		return false;
	*result = found;
	*extra = result;
	return true;
}

/* set_assign_hold_limit puts what was read where the couriers look. */
static void
set_assign_hold_limit(const char *newval, void *extra)
{
	const SetHoldLimit *found = (const SetHoldLimit *) extra;

	concord_hold_limit_age = found->age;
	concord_hold_limit_size = found->size;
}

/* set_is_network: an address, with a prefix length that fits it or without. */
static bool
set_is_network(char *item)
{
	unsigned char address[16];
	char	   *slash = strchr(item, '/');
	int			family = strchr(item, ':') ? AF_INET6 : AF_INET;
	char	   *end;
	long		bits;

	if (slash != NULL)
	{
		*slash++ = '\0';
		errno = 0;
		bits = strtol(slash, &end, 10);
		if (*slash < '0' || *slash > '9' || *end != '\0' || errno != 0 ||
			bits > (family == AF_INET6 ? 128 : 32))
			return false;
	}
	return inet_pton(family, item, address) == 1;
}

/*
 * set_check_networks reads the list as the room http does (policy.c): a slip
 * must not open more than was meant.
 */
static bool
set_check_networks(char **newval, void **extra, GucSource source)
{
	const char *p = *newval;

	while (*(p += strspn(p, ", \t\n\"")) != '\0')
	{
		char		item[INET6_ADDRSTRLEN + 5];
		size_t		len = strcspn(p, ", \t\n\"");

		strlcpy(item, p, Min(len + 1, sizeof(item)));
		if (len >= sizeof(item) || !set_is_network(item))
		{
			GUC_check_errdetail("This is not a network: \"%.*s\".", (int) len, p);
			GUC_check_errhint("List addresses with an optional prefix length, such as 10.0.0.0/8, 2001:db8::/32.");
			return false;
		}
		p += len;
	}
	return true;
}
