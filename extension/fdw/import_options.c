/*-------------------------------------------------------------------------
 *
 * import_options.c
 *	  Options of IMPORT FOREIGN SCHEMA.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/import.h"

#include "catalog/server_options.h"
#include "commands/defrem.h"

/* An option, and where its value goes. */
typedef struct ConcordImportOption
{
	const char *name;
	const char *choices;		/* "a|b"; NULL: bool or text */
	size_t		offset;
	bool		text;
} ConcordImportOption;

static const ConcordImportOption opt_options[] = {
	/* in the order of the enumerations of import.h */
	{"navigation", "none|columns|tables", offsetof(ConcordImportOptions, navigation)},
	{"names", "as_is|lower|snake", offsetof(ConcordImportOptions, names)},
	{"complex", "jsonb|columns", offsetof(ConcordImportOptions, complex_columns)},
	{"comments", NULL, offsetof(ConcordImportOptions, comments)},
	{"not_null", NULL, offsetof(ConcordImportOptions, not_null)},
	{"verbose", NULL, offsetof(ConcordImportOptions, verbose)},
	{"service", NULL, offsetof(ConcordImportOptions, service), true},
	{"language", NULL, offsetof(ConcordImportOptions, language), true},
};

/* opt_choice returns which of "a|b|c" a value is, or -1. */
static int
opt_choice(const char *choices, const char *value)
{
	for (int n = 0;; n++)
	{
		size_t		len = strcspn(choices, "|");

		if (strlen(value) == len && strncmp(choices, value, len) == 0)
			return n;
		if (choices[len] == '\0')
			return -1;
		choices += len + 1;
	}
}

/* opt_unknown raises for an option that there is not. */
static void
pg_attribute_noreturn()
opt_unknown(const char *name)
{
	const char *names[lengthof(opt_options)];
	const char *closest;

	for (int i = 0; i < lengthof(opt_options); i++)
		names[i] = opt_options[i].name;
	closest = concord_option_closest(name, names, lengthof(opt_options));
	ereport(ERROR,
			(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
			 errmsg("invalid option \"%s\" of IMPORT FOREIGN SCHEMA", name),
			 closest != NULL ? errhint("Perhaps you meant the option \"%s\".", closest) :
			 errhint("Valid options are navigation, names, complex, comments, not_null, verbose, service, language.")));
}

/* opt_set takes one option. */
static void
opt_set(ConcordImportOptions *options, DefElem *element)
{
	for (int i = 0; i < lengthof(opt_options); i++)
	{
		const ConcordImportOption *option = &opt_options[i];
		char	   *place = (char *) options + option->offset;
		int			choice;

		if (strcmp(option->name, element->defname) != 0)
			continue;
		if (option->text)
			*(char **) place = defGetString(element);
		else if (option->choices == NULL)
			*(bool *) place = defGetBoolean(element);
		else
		{
			choice = opt_choice(option->choices, defGetString(element));
			if (choice < 0)
				ereport(ERROR,
						(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
						 errmsg("invalid value \"%s\" of option \"%s\"",
								defGetString(element), option->name),
						 errhint("It is one of %s.", option->choices)));
			if (option->offset == offsetof(ConcordImportOptions, complex_columns))
				*(bool *) place = choice == 1;
			else
				*(int *) place = choice;
		}
		return;
	}
	opt_unknown(element->defname);
}

/* concord_import_options reads a list of DefElem. */
void
concord_import_options(List *given, ConcordImportOptions *options)
{
	ListCell   *lc;
	ListCell   *lc2;

	StaticAssertStmt(sizeof(ConcordImportNames) == sizeof(int) &&
					 sizeof(ConcordImportNavigation) == sizeof(int),
					 "enumerations are set as integers");
	memset(options, 0, sizeof(ConcordImportOptions));
	options->complex_columns = true;
	options->comments = true;
	options->not_null = true;
	foreach(lc, given)
	{
		DefElem    *element = lfirst(lc);

		foreach(lc2, given)
		{
			if (lfirst(lc2) == element)
				break;
			if (strcmp(((DefElem *) lfirst(lc2))->defname, element->defname) == 0)
				ereport(ERROR,
						(errcode(ERRCODE_SYNTAX_ERROR),
						 errmsg("option \"%s\" is given twice", element->defname)));
		}
		opt_set(options, element);
	}
	if (options->language != NULL &&
		strspn(options->language, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-*,;=. ") !=
		strlen(options->language))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE),
				 errmsg("invalid value \"%s\" of option \"language\"", options->language),
				 errhint("It is a language or a list of them, as header Accept-Language has it: de, en;q=0.5.")));
}
