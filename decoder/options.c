/*-------------------------------------------------------------------------
 *
 * options.c
 *	  The option table of concord_decoder.
 *
 * Each option is a row: name, default, parser, where the result goes.  An
 * unknown option is refused with the closest name and the whole list, a
 * repeated one is refused too, and a default is parsed by the same code as
 * what a user gives.  Options that contradict each other are refused at the
 * end, when all are known.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "mb/pg_wchar.h"
#include "nodes/parsenodes.h"
#include "replication/walsender.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/varlena.h"

#include "encoder.h"
#include "option_lists.h"
#include "protocol.h"

typedef struct OptionDef OptionDef;

struct OptionDef
{
	const char *name;
	const char *initial;		/* default, as text; NULL is none */
	void		(*parse) (const OptionDef *def, const char *value, void *field);
	Size		offset;			/* of the field in ConcordOptions */
	const char *const *words;	/* of an enumeration */
	int			formats;		/* those it has a meaning in; 0 is all */
};

/* Sets of formats. */
#define IN(format)		(1 << CONCORD_FORMAT_##format)
#define IN_LINES		(IN(JSON) | IN(CLOUDEVENTS))
#define IN_TEXT			(IN_LINES | IN(DEBEZIUM))

static void opt_bool(const OptionDef *def, const char *value, void *field);
static void opt_word(const OptionDef *def, const char *value, void *field);
static void opt_text(const OptionDef *def, const char *value, void *field);
static void opt_size(const OptionDef *def, const char *value, void *field);
static void opt_tables(const OptionDef *def, const char *value, void *field);
static void opt_columns(const OptionDef *def, const char *value, void *field);
static void opt_names(const OptionDef *def, const char *value, void *field);
static void opt_prefixes(const OptionDef *def, const char *value, void *field);
static void opt_flag_word(const OptionDef *def, const char *value, void *field);
static void opt_maybe(const OptionDef *def, const char *value, void *field);
static void opt_origin(const OptionDef *def, const char *value, void *field);
static void opt_patterns(const OptionDef *def, const char *value, void *field);

/* Words of enumerations, in the order of their enums. */
static const char *const format_words[] = {"json", "binary", "cloudevents", "debezium", NULL};
static const char *const schema_words[] = {"none", "once", "inline", NULL};
static const char *const selection_words[] = {"all", "captured", NULL};
static const char *const number_words[] = {"number", "string", NULL};
static const char *const decimal_words[] = {"precise", "string", "double", NULL};
static const char *const interval_words[] = {"numeric", "string", NULL};
static const char *const bytea_words[] = {"base64", "hex", NULL};
static const char *const version_words[] = {CppAsString2(CONCORD_PROTOCOL_VERSION), NULL};

#define FIELD(f) offsetof(ConcordOptions, f)

static const OptionDef option_defs[] = {
	{"format", "json", opt_word, FIELD(format), format_words},
	{"version", CppAsString2(CONCORD_PROTOCOL_VERSION), opt_word, FIELD(version), version_words, IN(BINARY)},
	{"schema", "none", opt_word, FIELD(schema), schema_words, IN_TEXT},
	{"source", NULL, opt_text, FIELD(source), NULL, IN(CLOUDEVENTS) | IN(DEBEZIUM)},
	{"selection", "all", opt_word, FIELD(selection), selection_words},
	{"tables", NULL, opt_tables, FIELD(tables)},
	{"columns", NULL, opt_columns, FIELD(columns)},
	{"publication_names", NULL, opt_names, FIELD(publications)},
	{"messages", "*", opt_prefixes, FIELD(messages)},
	{"origin", "any", opt_origin, FIELD(origin)},
	{"streaming", "false", opt_bool, FIELD(streaming)},
	{"two_phase", NULL, opt_maybe, FIELD(two_phase)},
	{"two_phase_gid", "*", opt_patterns, FIELD(two_phase_gid)},
	{"max_value", "16MB", opt_size, FIELD(max_value)},
	{"batch", NULL, opt_bool, FIELD(batch)},
	{"numbers", "number", opt_flag_word, FIELD(numbers_as_strings), number_words, IN_LINES},
	{"decimal", "precise", opt_word, FIELD(decimal), decimal_words, IN(DEBEZIUM)},
	{"interval", "numeric", opt_flag_word, FIELD(interval_string), interval_words, IN(DEBEZIUM)},
	{"bytea", "base64", opt_flag_word, FIELD(bytea_hex), bytea_words, IN_TEXT},
	{"include_xid", "true", opt_bool, FIELD(include_xid), NULL, IN_LINES},
	{"include_lsn", "true", opt_bool, FIELD(include_lsn), NULL, IN_LINES},
	{"include_ordinal", "true", opt_bool, FIELD(include_ordinal), NULL, IN_LINES},
	{"include_id", "true", opt_bool, FIELD(include_id), NULL, IN(JSON)},
	{"include_time", "true", opt_bool, FIELD(include_time), NULL, IN_LINES},
	{"include_origin", "true", opt_bool, FIELD(include_origin), NULL, IN_LINES},
	{"include_key", "false", opt_bool, FIELD(include_key), NULL, IN(DEBEZIUM)},
	{"include_types", "false", opt_bool, FIELD(include_types), NULL, IN_LINES},
	{"include_transaction", "false", opt_bool, FIELD(include_transaction), NULL, IN_TEXT},
};

#define NOPTIONS	((int) lengthof(option_defs))

/* Of an overlong name or value a message shows so many bytes. */
#define SHOWN_MAX	200

/* What somebody wrote, as far as a message has room for it. */
const char *
concord_options_shown(const char *given)
{
	int			len = strlen(given);

	if (len <= SHOWN_MAX)
		return given;
	return psprintf("%.*s...", pg_mbcliplen(given, len, SHOWN_MAX), given);
}

/* Complain about a value: what is wrong, if there is more to say, and what is not. */
static void
opt_refuse_because(const OptionDef *def, const char *value, const char *why,
				   const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\" of output plugin \"%s\": \"%s\"",
					def->name, CONCORD_DECODER_NAME, concord_options_shown(value)),
			 why ? errdetail("%s", why) : 0,
			 errhint("%s", hint)));
}

/* Complain about a value, naming what is accepted. */
static void
opt_refuse(const OptionDef *def, const char *value, const char *hint)
{
	opt_refuse_because(def, value, NULL, hint);
}

/* Parse a boolean. */
static void
opt_bool(const OptionDef *def, const char *value, void *field)
{
	if (!parse_bool(value, (bool *) field))
		opt_refuse(def, value, "Valid values are \"true\" and \"false\".");
}

/* Parse a boolean into 1 or 0; the field is -1 where the option is missing. */
static void
opt_maybe(const OptionDef *def, const char *value, void *field)
{
	bool		result;

	opt_bool(def, value, &result);
	*(int *) field = result ? 1 : 0;
}

/* Find value among a definition's words. */
static int
opt_find_word(const OptionDef *def, const char *value)
{
	StringInfoData hint;

	for (int i = 0; def->words[i] != NULL; i++)
	{
		if (pg_strcasecmp(def->words[i], value) == 0)
			return i;
	}

	initStringInfo(&hint);
	appendStringInfoString(&hint, "Valid values are ");
	for (int i = 0; def->words[i] != NULL; i++)
		appendStringInfo(&hint, "%s\"%s\"", i == 0 ? "" : ", ", def->words[i]);
	appendStringInfoChar(&hint, '.');
	opt_refuse(def, value, hint.data);
	return 0;					/* keep compiler quiet */
}

/* Parse a word of an enumeration. */
static void
opt_word(const OptionDef *def, const char *value, void *field)
{
	*(int *) field = opt_find_word(def, value);
}

/* Parse one of two words into a flag that says: the second one. */
static void
opt_flag_word(const OptionDef *def, const char *value, void *field)
{
	*(bool *) field = opt_find_word(def, value) == 1;
}

/* Take any text that is not empty. */
static void
opt_text(const OptionDef *def, const char *value, void *field)
{
	if (*value == '\0')
		opt_refuse(def, value, "Give a text that is not empty, or leave the option out.");
	*(char **) field = pstrdup(value);
}

/* Parse a number of bytes, with a unit as settings have it. */
static void
opt_size(const OptionDef *def, const char *value, void *field)
{
	int			result;
	const char *hint = NULL;

	if (!parse_int(value, &result, GUC_UNIT_BYTE, &hint) || result < 0)
		opt_refuse(def, value,
				   hint ? hint : "Give a number of bytes, such as \"16MB\"; 0 is no limit.");
	*(int *) field = result;
}

/* Refuse a list of which its reader says that something is wrong. */
static void
opt_take(const OptionDef *def, const char *value, const char *why, const char *hint)
{
	if (why)
		opt_refuse_because(def, value, why, hint);
}

/* Parse "schema.table, schema.*" into patterns. */
static void
opt_tables(const OptionDef *def, const char *value, void *field)
{
	opt_take(def, value, concord_list_tables(value, field),
			 "Give a list such as \"public.orders, sales.*\"; a name with other characters goes in double quotes.");
}

/* Parse "schema.table(name, name), schema.*(-name)" into rules. */
static void
opt_columns(const OptionDef *def, const char *value, void *field)
{
	opt_take(def, value, concord_list_columns(value, field),
			 "Give a list such as \"public.orders(id, amount), public.*(-secret)\"; a name with other characters goes in double quotes.");
}

/* Parse a list of SQL names. */
static void
opt_names(const OptionDef *def, const char *value, void *field)
{
	opt_take(def, value, concord_list_names(value, field),
			 "Give names separated by commas; a name with other characters goes in double quotes.");
}

/* Parse a word, or a list of origins. */
static void
opt_origin(const OptionDef *def, const char *value, void *field)
{
	opt_take(def, value, concord_list_origins(value, field),
			 "Valid values are \"any\", \"none\", \"local\", or names of replication origins separated by commas, of which one may be \"none\".");
}

/* Parse a list of patterns. */
static void
opt_patterns(const OptionDef *def, const char *value, void *field)
{
	opt_take(def, value, concord_list_patterns(value, field),
			 "Give patterns separated by commas; a star stands for any run of characters.");
}

/* Parse a list of message prefixes. */
static void
opt_prefixes(const OptionDef *def, const char *value, void *field)
{
	opt_take(def, value, concord_list_prefixes(value, field),
			 "Give prefixes separated by commas, or \"*\" for every message.");
}

/* Append what an option may be, and its default. */
static void
opt_describe(StringInfo buf, const OptionDef *def)
{
	static const struct
	{
		void		(*parse) (const OptionDef *def, const char *value, void *field);
		const char *about;
	}			types[] =
	{
		{opt_bool, "boolean"},
		{opt_text, "text"},
		{opt_size, "size with unit"},
		{opt_tables, "list of schema.table"},
		{opt_columns, "list of schema.table(column, ...)"},
		{opt_names, "list of names"},
		{opt_prefixes, "list of prefixes"},
		{opt_maybe, "boolean"},
		{opt_origin, "any | none | local | list of names"},
		{opt_patterns, "list of patterns"},
	};

	appendStringInfo(buf, "\n%s: ", def->name);
	for (int i = 0; def->words != NULL && def->words[i] != NULL; i++)
		appendStringInfo(buf, "%s%s", i == 0 ? "" : " | ", def->words[i]);
	for (int i = 0; i < lengthof(types); i++)
	{
		if (types[i].parse == def->parse)
			appendStringInfoString(buf, types[i].about);
	}
	if (def->initial)
		appendStringInfo(buf, ", default %s", def->initial);
	else if (def->parse == opt_bool)
		appendStringInfoString(buf, ", default by format and reader");
}

/* Refuse an option that does not exist, with the closest one and all. */
static void
opt_refuse_unknown(const char *name)
{
	StringInfoData all;
	const char *closest = NULL;
	int			best = INT_MAX;
	int			len = strlen(name);

	initStringInfo(&all);
	for (int i = 0; i < NOPTIONS; i++)
	{
		const char *other = option_defs[i].name;

		opt_describe(&all, &option_defs[i]);
		if (len > 0 && len < NAMEDATALEN)
		{
			int			distance = varstr_levenshtein(name, len, other,
													  strlen(other),
													  1, 1, 1, true);

			if (distance < best && distance <= Max(2, len / 3))
			{
				best = distance;
				closest = other;
			}
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("output plugin \"%s\" has no option \"%s\"",
					CONCORD_DECODER_NAME, concord_options_shown(name)),
			 errdetail("Its options are:%s", all.data),
			 closest ? errhint("Perhaps you meant the option \"%s\".", closest) : 0));
}

/* Refuse an option that says nothing in the format that is asked for. */
static void
opt_check_format(const ConcordOptions *options, const OptionDef *def)
{
	StringInfoData formats;

	if (def->formats == 0 || (def->formats & (1 << options->format)) != 0)
		return;
	initStringInfo(&formats);
	for (int i = 0; format_words[i] != NULL; i++)
	{
		if (def->formats & (1 << i))
			appendStringInfo(&formats, "%s\"%s\"", formats.len == 0 ? "" : ", ",
							 format_words[i]);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("option \"%s\" of output plugin \"%s\" has no meaning in format \"%s\"",
					def->name, CONCORD_DECODER_NAME, format_words[options->format]),
			 errhint("Leave it out; it belongs to format %s.", formats.data)));
}

/*
 * Refuse what a format cannot have: a source of events that is no reference to
 * a URI, a definition that is told once where every line is for itself.
 */
static void
opt_check_values(const ConcordOptions *options)
{
	if (options->format == CONCORD_FORMAT_CLOUDEVENTS && options->source != NULL &&
		strspn(options->source, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
			   "0123456789-._~:/?#[]@!$&'()*+,;=%") != strlen(options->source))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\" of output plugin \"%s\": \"%s\"",
						"source", CONCORD_DECODER_NAME, concord_options_shown(options->source)),
				 errhint("In format \"%s\" it is a URI or a part of one, such as \"/erp/orders\".",
						 format_words[options->format])));
	if (options->format == CONCORD_FORMAT_DEBEZIUM &&
		options->schema == CONCORD_SCHEMA_ONCE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"%s\" of output plugin \"%s\" cannot be \"%s\" in format \"%s\"",
						"schema", CONCORD_DECODER_NAME, "once",
						format_words[options->format]),
				 errhint("Valid values are \"none\" and \"inline\".")));
}

/*
 * Refuse options that contradict each other; settle the ones that follow.
 *
 * A client of the replication protocol reads a stream of lines and gains much
 * from sharing writes; a row that an SQL function returns is one event, so that
 * it can be cast to json.
 */
static void
opt_settle(ConcordOptions *options, const bool *seen_defs)
{
	bool		captured = options->selection == CONCORD_SELECT_CAPTURED;

	if (captured + (options->tables != NIL) + (options->publications != NIL) > 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("options \"selection\", \"tables\" and \"publication_names\" of output plugin \"%s\" exclude each other",
						CONCORD_DECODER_NAME),
				 errdetail("Given are \"%s\" and \"%s\".",
						   captured ? "selection" : "tables",
						   options->publications != NIL ? "publication_names" : "tables"),
				 errhint("Choose tables in one way.")));
	if (options->tables != NIL)
		options->selection = CONCORD_SELECT_TABLES;
	else if (options->publications != NIL)
		options->selection = CONCORD_SELECT_PUBLICATIONS;

	if (options->streaming && !options->include_xid)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"streaming\" of output plugin \"%s\" needs option \"include_xid\"",
						CONCORD_DECODER_NAME),
				 errdetail("Transactions that are in progress come in turns, and events tell by it whose they are.")));

	for (int i = 0; i < NOPTIONS; i++)
	{
		if (seen_defs[i])
		{
			opt_check_format(options, &option_defs[i]);
			if (option_defs[i].offset == FIELD(two_phase_gid))
				options->two_phase_gid_given = true;
		}
		else if (option_defs[i].offset == FIELD(batch))
			options->batch = am_walsender || options->format == CONCORD_FORMAT_BINARY;
	}
	opt_check_values(options);
}

/*
 * Parse what START_REPLICATION or an SQL function gives.  Results live in the
 * current memory context.
 */
void
concord_options_parse(ConcordOptions *options, List *given)
{
	bool		seen[NOPTIONS] = {0};
	ListCell   *lc;

	memset(options, 0, sizeof(ConcordOptions));
	options->two_phase = -1;
	for (int i = 0; i < NOPTIONS; i++)
	{
		const OptionDef *def = &option_defs[i];

		if (def->initial)
			def->parse(def, def->initial, (char *) options + def->offset);
	}

	foreach(lc, given)
	{
		DefElem    *elem = lfirst_node(DefElem, lc);
		int			i = 0;

		while (i < NOPTIONS && strcmp(option_defs[i].name, elem->defname) != 0)
			i++;
		if (i == NOPTIONS)
			opt_refuse_unknown(elem->defname);
		if (seen[i])
			ereport(ERROR,
					(errcode(ERRCODE_SYNTAX_ERROR),
					 errmsg("option \"%s\" of output plugin \"%s\" is given more than once",
							elem->defname, CONCORD_DECODER_NAME),
					 errhint("Give it once; a list is one value, with commas.")));
		seen[i] = true;
		if (elem->arg == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_SYNTAX_ERROR),
					 errmsg("option \"%s\" of output plugin \"%s\" has no value",
							elem->defname, CONCORD_DECODER_NAME),
					 errhint("Give one, as in %s=%s.", elem->defname,
							 option_defs[i].initial ? option_defs[i].initial : "...")));
		option_defs[i].parse(&option_defs[i], strVal(elem->arg),
							 (char *) options + option_defs[i].offset);
	}
	opt_settle(options, seen);
}
