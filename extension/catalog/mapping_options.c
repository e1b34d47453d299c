/*-------------------------------------------------------------------------
 *
 * mapping_options.c
 *	  Delivery options of a mapping: one table of rows, read from JSON.
 *
 * An option is refused by name where it is not known (with the closest one
 * that is), where it belongs to the server, and where only a later version
 * has it.  Values are checked as far as their form goes; an expression is
 * checked when the mapping is compiled, a connector's option by its protocol.
 *
 *-------------------------------------------------------------------------
 */
#include "catalog/mapping_definition.h"

#include "base/shmem.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

/* An option: how its value is read, and what words it may be. */
typedef struct MopOption
{
	const char *name;
	void		(*parse) (const struct MopOption *option,
						  const JsonbValue *value,
						  ConcordMappingOptions *options);
	size_t		offset;			/* of the field that parse sets */
	const char *const *words;	/* NULL-terminated, where only words will do */
	size_t		given_offset;	/* of a bool that says it was given, or 0 */
} MopOption;

#define MOP_MAX_EDITS	4

static void mop_word(const MopOption *option, const JsonbValue *value,
					 ConcordMappingOptions *options);
static void mop_flag(const MopOption *option, const JsonbValue *value,
					 ConcordMappingOptions *options);
static void mop_parent(const MopOption *option, const JsonbValue *value,
					   ConcordMappingOptions *options);
static void mop_depends(const MopOption *option, const JsonbValue *value,
						ConcordMappingOptions *options);
static void mop_truth(const MopOption *option, const JsonbValue *value,
					  ConcordMappingOptions *options);
static void mop_text_word(const MopOption *option, const JsonbValue *value,
						  ConcordMappingOptions *options);
static void mop_ordering(const MopOption *option, const JsonbValue *value,
						 ConcordMappingOptions *options);
static void mop_on_delete(const MopOption *option, const JsonbValue *value,
						  ConcordMappingOptions *options);
static void mop_count(const MopOption *option, const JsonbValue *value,
					  ConcordMappingOptions *options);
static void mop_couriers(const MopOption *option, const JsonbValue *value,
						 ConcordMappingOptions *options);
static void mop_size(const MopOption *option, const JsonbValue *value,
					 ConcordMappingOptions *options);
static void mop_duration(const MopOption *option, const JsonbValue *value,
						 ConcordMappingOptions *options);
static void mop_path(const MopOption *option, const JsonbValue *value,
					 ConcordMappingOptions *options);
static void mop_service(const MopOption *option, const JsonbValue *value,
						ConcordMappingOptions *options);
static void mop_route(const MopOption *option, const JsonbValue *value,
					  ConcordMappingOptions *options);
static void mop_sync(const MopOption *option, const JsonbValue *value,
					 ConcordMappingOptions *options);

/* Words: the position is the value of an enum, or false and true. */
static const char *const mop_unchanged[] = {"send", "suppress", NULL};
static const char *const mop_nulls[] = {"null", "omit", NULL};
static const char *const mop_unmatched[] = {"keep", "delete", "update", NULL};
static const char *const mop_truncate[] = {"alert", "ignore", "delete", NULL};
static const char *const mop_key_change[] = {"update", "recreate", NULL};
static const char *const mop_on_dead[] = {"skip", "block", NULL};
static const char *const mop_remote_id[] = {"key", "assigned", NULL};
static const char *const mop_remote_id_type[] = {"text", "number", "uuid", NULL};
static const char *const mop_patch[] = {"all", "changed", NULL};
static const char *const mop_unit[] = {"event", "transaction", NULL};
static const char *const mop_replay[] = {"state", "events", NULL};
static const char *const mop_numbers[] = {"number", "string", NULL};
static const char *const mop_audit[] = {"full", "failures", "off", NULL};
static const char *const mop_upsert[] = {"post", "put", "patch", NULL};
static const char *const mop_if_match[] = {"etag", "star", "none", NULL};
static const char *const mop_cloudevents[] = {"binary", "structured", "off", NULL};

#define MOP_AT(field)	offsetof(ConcordMappingOptions, field)

static const MopOption mop_options[] = {
	{"audit", mop_word, MOP_AT(audit), mop_audit, 0},
	{"batch_bytes", mop_size, MOP_AT(batch_bytes), NULL, 0},
	{"batch_size", mop_size, MOP_AT(batch_size), NULL, 0},
	{"cloudevents", mop_text_word, MOP_AT(cloudevents), mop_cloudevents, 0},
	{"coalesce", mop_truth, MOP_AT(coalesce), NULL, 0},
	{"couriers", mop_couriers, MOP_AT(couriers), NULL, 0},
	{"depends", mop_depends, 0, NULL, 0},
	{"if_match", mop_text_word, MOP_AT(if_match), mop_if_match, 0},
	{"linger", mop_duration, MOP_AT(linger_ms), NULL, 0},
	{"match", mop_sync, MOP_AT(match), NULL, 0},
	{"nulls", mop_flag, MOP_AT(omit_nulls), mop_nulls, 0},
	{"numbers", mop_flag, MOP_AT(numbers_as_strings), mop_numbers, 0},
	{"on_dead", mop_flag, MOP_AT(block_on_dead), mop_on_dead, 0},
	{"on_delete", mop_on_delete, 0, NULL, 0},
	{"on_key_change", mop_flag, MOP_AT(recreate_on_key_change), mop_key_change, 0},
	{"ordering", mop_ordering, 0, NULL, 0},
	{"parent", mop_parent, 0, NULL, 0},
	{"patch", mop_flag, MOP_AT(patch_changed), mop_patch, 0},
	{"pull", mop_sync, MOP_AT(pull), NULL, 0},
	{"receive", mop_sync, MOP_AT(receive), NULL, 0},
	{"remote_id", mop_flag, MOP_AT(remote_id_assigned), mop_remote_id, MOP_AT(remote_id_given)},
	{"remote_id_path", mop_path, MOP_AT(remote_id_path), NULL, 0},
	{"remote_id_type", mop_text_word, MOP_AT(remote_id_type), mop_remote_id_type, 0},
	{"replay", mop_flag, MOP_AT(replay_events), mop_replay, MOP_AT(replay_given)},
	{"retry_base", mop_duration, MOP_AT(retry_base_ms), NULL, 0},
	{"retry_cap", mop_duration, MOP_AT(retry_cap_ms), NULL, 0},
	{"retry_limit", mop_count, MOP_AT(retry_limit), NULL, 0},
	{"route", mop_route, 0, NULL, 0},
	{"service", mop_service, MOP_AT(service), NULL, 0},
	{"truncate", mop_word, MOP_AT(truncate), mop_truncate, 0},
	{"unchanged", mop_flag, MOP_AT(suppress_unchanged), mop_unchanged, MOP_AT(unchanged_given)},
	{"unit", mop_flag, MOP_AT(unit), mop_unit, 0},
	{"unmatched", mop_word, MOP_AT(unmatched), mop_unmatched, 0},
	{"upsert", mop_text_word, MOP_AT(upsert), mop_upsert, 0},
	{"wait_limit", mop_duration, MOP_AT(wait_limit_ms), NULL, 0},
};

/* Known, but of a later version. */
static const char *const mop_later[] = {
	"path", "sla",
};

/* What belongs to the server. */
static const char *const mop_server[] = {
	"account", "breaker_cooldown", "breaker_failures", "ca_file",
	"cache_max_age", "call_allow", "cert_file", "concurrency",
	"connect_timeout", "connector", "environment", "headers", "impersonate",
	"interactive_share", "key_file", "outage_limit", "proxy", "quota", "rate",
	"timeout", "url", "verify",
};

/* mop_invalid raises for a value that an option cannot have. */
static void
mop_invalid(const MopOption *option, const char *valid)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for mapping option \"%s\"", option->name),
			 errhint("%s", valid)));
}

/* mop_word_number returns which of its words an option has. */
static int
mop_word_number(const MopOption *option, const JsonbValue *value)
{
	StringInfoData hint;

	if (value->type == jbvString)
	{
		char	   *text = concord_definition_text(value);

		for (int i = 0; option->words[i] != NULL; i++)
		{
			if (strcmp(text, option->words[i]) == 0)
				return i;
		}
	}
	initStringInfo(&hint);
	appendStringInfoString(&hint, "Valid values are ");
	for (int i = 0; option->words[i] != NULL; i++)
		appendStringInfo(&hint, "%s\"%s\"",
						 i == 0 ? "" :
						 option->words[i + 1] == NULL ? " and " : ", ",
						 option->words[i]);
	appendStringInfoChar(&hint, '.');
	mop_invalid(option, hint.data);
	return 0;					/* keep compiler quiet */
}

/* mop_word sets an enum from a word. */
static void
mop_word(const MopOption *option, const JsonbValue *value,
		 ConcordMappingOptions *options)
{
	*(int *) ((char *) options + option->offset) =
		mop_word_number(option, value);
}

/* mop_flag sets a bool from one of two words. */
static void
mop_flag(const MopOption *option, const JsonbValue *value,
		 ConcordMappingOptions *options)
{
	*(bool *) ((char *) options + option->offset) =
		mop_word_number(option, value) == 1;
}

/* mop_truth reads a boolean, or a string that is one. */
static void
mop_truth(const MopOption *option, const JsonbValue *value,
		  ConcordMappingOptions *options)
{
	bool		truth = false;

	if (value->type == jbvBool)
		truth = value->val.boolean;
	else if (value->type != jbvString ||
			 !parse_bool(concord_definition_text(value), &truth))
		mop_invalid(option, "Valid values are true and false.");
	*(bool *) ((char *) options + option->offset) = truth;
}

/* mop_text_word keeps a word as it is, for a connector. */
static void
mop_text_word(const MopOption *option, const JsonbValue *value,
			  ConcordMappingOptions *options)
{
	int			number = mop_word_number(option, value);

	*(char **) ((char *) options + option->offset) =
		pstrdup(option->words[number]);
}

/* mop_ordering reads what order is kept by. */
static void
mop_ordering(const MopOption *option, const JsonbValue *value,
			 ConcordMappingOptions *options)
{
	char	   *text;

	if (value->type != jbvString)
		mop_invalid(option,
					"Valid values are \"key\", \"none\" and an SQL expression.");
	text = concord_definition_text(value);
	options->ordering_expression = NULL;
	if (strcmp(text, "key") == 0)
		options->ordering = CONCORD_ORDER_KEY;
	else if (strcmp(text, "none") == 0)
		options->ordering = CONCORD_ORDER_NONE;
	else
	{
		options->ordering = CONCORD_ORDER_EXPRESSION;
		options->ordering_expression = text;
	}
}

/* mop_on_delete reads what a deleted row does there. */
static void
mop_on_delete(const MopOption *option, const JsonbValue *value,
			  ConcordMappingOptions *options)
{
	options->on_delete_fields = NIL;
	if (value->type == jbvBinary &&
		JsonContainerIsObject(value->val.binary.data))
	{
		options->on_delete = CONCORD_DELETE_FIELDS;
		options->on_delete_fields =
			concord_definition_fields(value->val.binary.data,
									  "on_delete field", true);
		if (options->on_delete_fields != NIL)
			return;
	}
	else if (value->type == jbvString)
	{
		char	   *text = concord_definition_text(value);

		if (strcmp(text, "delete") == 0)
		{
			options->on_delete = CONCORD_DELETE_DELETE;
			return;
		}
		if (strcmp(text, "ignore") == 0)
		{
			options->on_delete = CONCORD_DELETE_IGNORE;
			return;
		}
	}
	mop_invalid(option,
				"Valid values are \"delete\", \"ignore\" and an object of fields to write, as {\"IsDeleted\": \"true\"}.");
}

/* mop_pairs reads {"own": "theirs"}; NIL where it is nothing of the kind. */
static List *
mop_pairs(const JsonbValue *value)
{
	List	   *pairs = NIL;
	ListCell   *lc;

	if (value->type != jbvBinary ||
		!JsonContainerIsObject(value->val.binary.data))
		return NIL;
	foreach(lc, concord_definition_members(value->val.binary.data, "columns"))
	{
		ConcordJsonMember *member = lfirst(lc);
		ConcordDependColumn *pair = palloc(sizeof(ConcordDependColumn));

		if (member->value.type != jbvString)
			return NIL;
		pair->own = member->name;
		pair->theirs = concord_definition_text(&member->value);
		pairs = lappend(pairs, pair);
	}
	return pairs;
}

/* mop_parent reads which mapping's records ours belong to. */
static void
mop_parent(const MopOption *option, const JsonbValue *value,
		   ConcordMappingOptions *options)
{
	const char *hint = "It is an object with one mapping and how our columns refer to its key, as {\"orders\": {\"id\": \"order_id\"}}.";
	List	   *members;
	ConcordJsonMember *member;

	if (value->type != jbvBinary ||
		!JsonContainerIsObject(value->val.binary.data))
		mop_invalid(option, hint);
	members = concord_definition_members(value->val.binary.data, "parent");
	if (list_length(members) != 1)
		mop_invalid(option, hint);
	member = linitial(members);
	options->parent = member->name;
	options->parent_columns = mop_pairs(&member->value);
	if (options->parent_columns == NIL)
		mop_invalid(option, hint);
}

/* mop_depends reads which other tables' changes are updates. */
static void
mop_depends(const MopOption *option, const JsonbValue *value,
			ConcordMappingOptions *options)
{
	const char *hint = "It is an object of tables and how they refer to the key, as {\"sales.item\": {\"id\": \"order_id\"}}.";
	ListCell   *lc;

	options->depends = NIL;
	if (value->type != jbvBinary ||
		!JsonContainerIsObject(value->val.binary.data))
		mop_invalid(option, hint);
	foreach(lc, concord_definition_members(value->val.binary.data, "depends"))
	{
		ConcordJsonMember *member = lfirst(lc);
		ConcordDepend *depend = palloc0(sizeof(ConcordDepend));

		depend->table = member->name;
		depend->columns = mop_pairs(&member->value);
		if (depend->columns == NIL)
			mop_invalid(option, hint);
		options->depends = lappend(options->depends, depend);
	}
}

/* mop_number reads a whole number. */
static void
mop_number(const MopOption *option, const JsonbValue *value, long min,
		   long max, const char *hint, ConcordMappingOptions *options)
{
	char	   *text = NULL;
	char	   *end;
	long		number;

	if (value->type == jbvString)
		text = concord_definition_text(value);
	else if (value->type == jbvNumeric)
		text = DatumGetCString(DirectFunctionCall1(numeric_out,
												   NumericGetDatum(value->val.numeric)));
	else
		mop_invalid(option, hint);
	errno = 0;
	number = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' ||
		number < min || number > max)
		mop_invalid(option, hint);
	*(int *) ((char *) options + option->offset) = (int) number;
}

/* mop_couriers reads by how many lanes a mapping is shared. */
static void
mop_couriers(const MopOption *option, const JsonbValue *value,
			 ConcordMappingOptions *options)
{
	mop_number(option, value, 1, CONCORD_MAX_COURIERS,
			   psprintf("It is a number from 1 to %d.", CONCORD_MAX_COURIERS),
			   options);
}

/*
 * mop_check_couriers refuses what couriers that share a mapping by key cannot
 * keep: an order by anything else, and events of several rows in one.
 */
static void
mop_check_couriers(JsonbContainer *container, const ConcordMappingOptions *options)
{
	static const char *const alone[] = {"children", "depends", "parent", "unit"};

	if (options->couriers <= 1)
		return;
	if (options->ordering == CONCORD_ORDER_EXPRESSION || options->block_on_dead)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mapping option \"couriers\" cannot be used with \"%s\"",
						options->block_on_dead ? "on_dead" : "ordering"),
				 errdetail("Couriers share a mapping by the key of its rows, which is known before anything is evaluated.")));
	for (int i = 0; i < lengthof(alone); i++)
	{
		JsonbValue	found;

		if (getKeyJsonValueFromContainer(container, alone[i], strlen(alone[i]),
										 &found) != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("mapping option \"couriers\" cannot be used with \"%s\"",
							alone[i]),
					 errdetail("Rows of different keys belong together there.")));
	}
}

/*
 * mop_check_unit refuses what cannot be kept where all of a transaction goes in
 * one request: events of other rows, and what ends single events on its own.
 */
static void
mop_check_unit(JsonbContainer *container, const ConcordMappingOptions *options)
{
	static const char *const alone[] = {"coalesce", "depends", "parent", "route"};
	const char *other = NULL;

	if (!options->unit)
		return;
	if (options->ordering != CONCORD_ORDER_KEY)
		other = "ordering";
	else if (options->block_on_dead)
		other = "on_dead";
	else if (options->replay_events)
		other = "replay";
	for (int i = 0; i < lengthof(alone); i++)
	{
		JsonbValue	found;

		if (getKeyJsonValueFromContainer(container, alone[i], strlen(alone[i]),
										 &found) != NULL)
			other = alone[i];
	}
	if (other != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mapping option \"unit\" cannot be used with \"%s\"", other),
				 errdetail("All changes of a transaction are one request there, done or refused as a whole.")));
}

/* mop_count reads a number of attempts. */
static void
mop_count(const MopOption *option, const JsonbValue *value,
		  ConcordMappingOptions *options)
{
	mop_number(option, value, 0, 1000000,
			   "It is a number of attempts, from 0 to 1000000.", options);
}

/* mop_size reads how many events, or bytes, a request may have. */
static void
mop_size(const MopOption *option, const JsonbValue *value,
		 ConcordMappingOptions *options)
{
	if (option->offset == MOP_AT(batch_size))
		mop_number(option, value, 1, 10000,
				   "It is a number of events, from 1 to 10000.", options);
	else
		mop_number(option, value, 1024, 64 * 1024 * 1024,
				   "It is a number of bytes, from 1024 to 67108864.", options);
}

/* concord_definition_duration reads an interval into milliseconds. */
bool
concord_definition_duration(const JsonbValue *value, double *ms)
{
	MemoryContext context = CurrentMemoryContext;
	Interval   *volatile interval = NULL;

	if (value->type != jbvString)
		return false;
	/* interval_in takes no lock or resource, and does not name the option */
	PG_TRY();
	{
		interval = DatumGetIntervalP(DirectFunctionCall3(interval_in,
														 CStringGetDatum(concord_definition_text(value)),
														 ObjectIdGetDatum(InvalidOid),
														 Int32GetDatum(-1)));
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		FlushErrorState();
	}
	PG_END_TRY();
	if (interval == NULL)
		return false;
	*ms = interval->time / 1000.0 +
		interval->day * (double) SECS_PER_DAY * 1000.0 +
		interval->month * 30.0 * SECS_PER_DAY * 1000.0;
	return true;
}

/* mop_duration reads an interval. */
static void
mop_duration(const MopOption *option, const JsonbValue *value,
			 ConcordMappingOptions *options)
{
	double		ms;

	if (!concord_definition_duration(value, &ms))
		mop_invalid(option, "It is an interval, as \"1s\" or \"5 min\".");
	if (ms < 1 || ms > 7 * (double) SECS_PER_DAY * 1000.0)
		mop_invalid(option, "It is an interval from 1 millisecond to 7 days.");
	*(int *) ((char *) options + option->offset) = (int) ms;
}

/* mop_sync reads an option of the way back; it says itself what is wrong. */
static void
mop_sync(const MopOption *option, const JsonbValue *value,
		 ConcordMappingOptions *options)
{
	if (option->offset == MOP_AT(pull))
		options->pull = concord_definition_pull(value);
	else if (option->offset == MOP_AT(receive))
		options->receive = concord_definition_receive(value);
	else
		options->match = concord_definition_match(value);
}

/* mop_path reads the dotted path of a value in an answer. */
static void
mop_path(const MopOption *option, const JsonbValue *value,
		 ConcordMappingOptions *options)
{
	static const char hint[] = "It is the path of the id in an answer, as \"id\" or \"result.sys_id\".";
	char	   *text;

	if (value->type != jbvString)
		mop_invalid(option, hint);
	text = concord_definition_text(value);
	if (text[0] == '\0' || strpbrk(text, " \t\r\n") != NULL)
		mop_invalid(option, hint);
	*(char **) ((char *) options + option->offset) = text;
}

/* mop_service reads a path under the server's url. */
static void
mop_service(const MopOption *option, const JsonbValue *value,
			ConcordMappingOptions *options)
{
	char	   *text;

	if (value->type != jbvString)
		mop_invalid(option, "It is a path under the server's url.");
	text = concord_definition_text(value);
	if (text[0] == '\0' || text[0] == '/' || strstr(text, "://") != NULL ||
		strstr(text, "..") != NULL || strpbrk(text, "?#\\ \t\r\n") != NULL)
		mop_invalid(option,
					"It is a path under the server's url, without a leading slash, as \"API_BUSINESS_PARTNER/\".");
	*(char **) ((char *) options + option->offset) = text;
}

/* mop_route reads the expression that names the server of a row. */
static void
mop_route(const MopOption *option, const JsonbValue *value,
		  ConcordMappingOptions *options)
{
	char	   *text;

	if (value->type != jbvString)
		mop_invalid(option, "It is an SQL expression that gives a server's name.");
	text = concord_definition_text(value);
	if (text[0] == '\0')
		mop_invalid(option, "It is an SQL expression that gives a server's name.");
	options->route = text;
}

/* mop_in says whether a name is in a list. */
static bool
mop_in(const char *name, const char *const *list, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (strcmp(name, list[i]) == 0)
			return true;
	}
	return false;
}

/* mop_list writes all options that there are, "a, b and c". */
static char *
mop_list(void)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < lengthof(mop_options); i++)
		appendStringInfo(&buf, "%s%s",
						 i == 0 ? "" :
						 i == lengthof(mop_options) - 1 ? " and " : ", ",
						 mop_options[i].name);
	return buf.data;
}

/* concord_definition_closest returns what a mistyped name may stand for. */
const char *
concord_definition_closest(const char *name, const char *const *candidates,
						   int ncandidates)
{
	const char *closest = NULL;
	int			best = Min(MOP_MAX_EDITS, (int) strlen(name) / 2 + 1);

	if (strlen(name) > NAMEDATALEN)
		return NULL;
	for (int i = 0; i < ncandidates; i++)
	{
		int			edits;

		if (candidates[i] == NULL)
			continue;
		edits = varstr_levenshtein_less_equal(name, strlen(name), candidates[i],
											  strlen(candidates[i]), 1, 1, 1,
											  best, true);
		if (edits < best)
		{
			best = edits;
			closest = candidates[i];
		}
	}
	return closest;
}

/* mop_closest returns the option whose name is closest to a mistyped one. */
static const char *
mop_closest(const char *name)
{
	const char *names[lengthof(mop_options)];

	for (int i = 0; i < lengthof(mop_options); i++)
		names[i] = mop_options[i].name;
	return concord_definition_closest(name, names, lengthof(names));
}

/* concord_mapping_option_known says whether an option is one of a mapping. */
bool
concord_mapping_option_known(const char *name)
{
	for (int i = 0; i < lengthof(mop_options); i++)
	{
		if (strcmp(mop_options[i].name, name) == 0)
			return true;
	}
	return false;
}

/* mop_refuse raises for an option that is not ours. */
static void
mop_refuse(const char *name)
{
	const char *closest;

	if (mop_in(name, mop_later, lengthof(mop_later)))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("mapping option \"%s\" is not available in this version",
						name),
				 errhint("Available options are %s.", mop_list())));
	if (mop_in(name, mop_server, lengthof(mop_server)))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" belongs to the server, not to a mapping",
						name),
				 errhint("Use ALTER SERVER ... OPTIONS.")));
	closest = mop_closest(name);
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized mapping option \"%s\"", name),
			 closest != NULL ?
			 errhint("Perhaps you meant \"%s\". Available options are %s.",
					 closest, mop_list()) :
			 errhint("Available options are %s.", mop_list())));
}

/* concord_definition_options reads options over their defaults. */
void
concord_definition_options(JsonbContainer *container,
						   ConcordMappingOptions *options)
{
	ListCell   *lc;

	memset(options, 0, sizeof(*options));
	options->suppress_unchanged = true;
	options->wait_limit_ms = -1;
	options->couriers = 1;
	options->retry_limit = -1;
	options->retry_base_ms = -1;
	options->retry_cap_ms = -1;
	if (container == NULL)
		return;

	foreach(lc, concord_definition_members(container, "options"))
	{
		ConcordJsonMember *member = lfirst(lc);
		const MopOption *option = NULL;

		for (int i = 0; i < lengthof(mop_options) && option == NULL; i++)
		{
			if (strcmp(member->name, mop_options[i].name) == 0)
				option = &mop_options[i];
		}
		if (option == NULL)
			mop_refuse(member->name);
		option->parse(option, &member->value, options);
		if (option->given_offset != 0)
			*(bool *) ((char *) options + option->given_offset) = true;
	}
	mop_check_couriers(container, options);
	mop_check_unit(container, options);
	if (options->retry_base_ms > 0 && options->retry_cap_ms > 0 &&
		options->retry_base_ms > options->retry_cap_ms)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("mapping option \"retry_base\" is longer than \"retry_cap\"")));
}
