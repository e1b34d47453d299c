/*-------------------------------------------------------------------------
 *
 * uses.c
 *	  Which columns a mapping uses, and its definition when one is renamed.
 *
 * An expression is analyzed as it is when it is compiled.  Columns of the row
 * are found by the parser's hook, those of tables in sub-SELECTs in what the
 * parser made of it; both know where in the text they stand.  A new name is put
 * there, and nowhere else: a text that looks like the old name may be a string,
 * another table's column or a function.
 *
 * What is used is stored with a mapping's current version (concord.mapping_use),
 * so that a change of a table finds the mappings that it concerns.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/define.h"

#include "catalog/mapping_definition.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "mapping/compile.h"
#include "mapping/statement.h"
#include "nodes/nodeFuncs.h"
#include "parser/parser.h"
#include "parser/parsetree.h"
#include "parser/scansup.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

/* What stands before an expression in what is parsed: see statement.c. */
#define USE_BEFORE	"SELECT ("

/* The walk through what the parser made. */
typedef struct UseWalk
{
	List	   *tables;			/* of List *: range tables, innermost first */
	List	   *uses;			/* of ConcordColumnUse * */
} UseWalk;

/* use_add notes a use. */
static void
use_add(UseWalk *walk, Oid relid, AttrNumber attnum, int location)
{
	ConcordColumnUse *use = palloc(sizeof(ConcordColumnUse));

	use->relid = relid;
	use->attnum = attnum;
	use->location = location;
	use->row = false;
	walk->uses = lappend(walk->uses, use);
}

/* use_var notes the column that a Var is, also by way of a join. */
static void
use_var(UseWalk *walk, const Var *var, const List *tables)
{
	int			location = var->location;

	for (;;)
	{
		RangeTblEntry *rte = rt_fetch(var->varno, tables);
		Node	   *alias;

		if (rte->rtekind == RTE_RELATION)
		{
			use_add(walk, rte->relid, Max(var->varattno, 0), location);
			return;
		}
		if (rte->rtekind != RTE_JOIN || var->varattno <= 0)
			return;
		alias = list_nth(rte->joinaliasvars, var->varattno - 1);
		if (alias == NULL || !IsA(alias, Var))
			return;
		var = (Var *) alias;
	}
}

/* use_walker visits the nodes of an expression and its sub-SELECTs. */
static bool
use_walker(Node *node, void *context)
{
	UseWalk    *walk = context;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
	{
		const Var  *var = (Var *) node;

		if (var->varlevelsup < list_length(walk->tables))
			use_var(walk, var, list_nth(walk->tables, var->varlevelsup));
		return false;
	}
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;
		ListCell   *lc;

		foreach(lc, query->rtable)
		{
			const RangeTblEntry *rte = lfirst(lc);

			if (rte->rtekind == RTE_RELATION)
				use_add(walk, rte->relid, 0, -1);
		}
		walk->tables = lcons(query->rtable, walk->tables);
		(void) query_tree_walker(query, use_walker, walk,
								 QTW_IGNORE_JOINALIASES);
		walk->tables = list_delete_first(walk->tables);
		return false;
	}
	return expression_tree_walker(node, use_walker, context);
}

/* concord_uses_expression lists what an expression names, places as in its text. */
List *
concord_uses_expression(ConcordNames *names, const char *text)
{
	UseWalk		walk = {NIL, NIL};
	List	   *uses = NIL;
	ListCell   *lc;

	names->collect = true;
	names->uses = NIL;
	names->as_vars = false;
	(void) use_walker(concord_statement_analyze(names, text), &walk);
	names->collect = false;
	uses = list_concat(names->uses, walk.uses);
	names->uses = NIL;
	foreach(lc, uses)
	{
		ConcordColumnUse *use = lfirst(lc);

		if (use->location >= 0)
			use->location -= strlen(USE_BEFORE);
	}
	return uses;
}

/* use_column notes a column that is named as such. */
static List *
use_column(List *uses, Oid relid, const char *column)
{
	ConcordColumnUse *use;
	AttrNumber	attnum = OidIsValid(relid) && column != NULL ?
		get_attnum(relid, column) : InvalidAttrNumber;

	if (attnum == InvalidAttrNumber)
		return uses;
	use = palloc(sizeof(ConcordColumnUse));
	use->relid = relid;
	use->attnum = attnum;
	use->location = -1;
	use->row = false;
	return lappend(uses, use);
}

/* use_fields lists what a list of fields uses. */
static List *
use_fields(List *uses, ConcordNames *names, Oid source, List *fields)
{
	ListCell   *lc;

	foreach(lc, fields)
	{
		const ConcordField *field = lfirst(lc);

		uses = list_concat(uses, concord_uses_expression(names, field->expression));
		if (field->column_given)
			uses = use_column(uses, source, field->column);
	}
	return uses;
}

/* use_named lists the columns that options name. */
static List *
use_named(List *uses, const ConcordMapping *mapping)
{
	ListCell   *lc;
	ListCell   *lp;

	foreach(lc, mapping->local_key)
		uses = use_column(uses, mapping->source, lfirst(lc));
	foreach(lc, mapping->options.parent_columns)
		uses = use_column(uses, mapping->source,
						  ((ConcordDependColumn *) lfirst(lc))->theirs);
	foreach(lc, mapping->options.depends)
	{
		const ConcordDepend *depend = lfirst(lc);

		foreach(lp, depend->columns)
			uses = use_column(uses, depend->relid,
							  ((ConcordDependColumn *) lfirst(lp))->theirs);
	}
	return uses;
}

/* use_all lists what a mapping's expressions name, in its environment. */
static List *
use_all(const ConcordMapping *mapping)
{
	ConcordNames *names = concord_names_create(mapping->source,
											   CurrentMemoryContext);
	const ConcordMappingOptions *options = &mapping->options;
	List	   *uses = NIL;
	ListCell   *lc;

	uses = use_fields(uses, names, mapping->source, mapping->fields);
	uses = use_fields(uses, names, mapping->source, mapping->key);
	uses = use_fields(uses, names, mapping->source, options->on_delete_fields);
	if (mapping->filter != NULL)
		uses = list_concat(uses, concord_uses_expression(names, mapping->filter));
	foreach(lc, mapping->checks)
		uses = list_concat(uses, concord_uses_expression(names,
														 ((ConcordCheck *) lfirst(lc))->expression));
	if (options->ordering_expression != NULL)
		uses = list_concat(uses, concord_uses_expression(names, options->ordering_expression));
	if (options->route != NULL)
		uses = list_concat(uses, concord_uses_expression(names, options->route));
	uses = concord_incoming_uses(mapping, uses);
	return use_named(uses, mapping);
}

/* concord_uses lists what all expressions of a mapping name. */
List *
concord_uses(const ConcordMapping *mapping)
{
	ConcordEnvironment environment;
	List	   *uses;

	if (mapping->written)
		return NIL;				/* it has no expressions */
	concord_environment_enter(&environment, mapping->definer,
							  mapping->search_path);
	uses = use_all(mapping);
	concord_environment_leave(&environment);
	return uses;
}

/* ---------------------------------------------------------------------
 * new names
 * ------------------------------------------------------------------- */

/* What is renamed, and where in the definition we are. */
typedef struct UseRename
{
	const ConcordMapping *mapping;
	ConcordNames *names;
	ConcordNames *both;			/* of rules, which see the record, too */
	ConcordNames *record;		/* of apply expressions */
	Oid			relid;
	AttrNumber	attnum;			/* 0: the table itself */
	const char *old_name;
	const char *new_name;
	List	   *path;			/* of char *; "#" is an array's element */
} UseRename;

/* use_space skips white space and comments. */
static const char *
use_space(const char *p)
{
	for (;;)
	{
		if (scanner_isspace(*p))
			p++;
		else if (p[0] == '-' && p[1] == '-')
			p += strcspn(p, "\n\r");
		else if (p[0] == '/' && p[1] == '*')
		{
			int			depth = 0;

			do
			{
				if (p[0] == '/' && p[1] == '*')
					depth++, p += 2;
				else if (p[0] == '*' && p[1] == '/')
					depth--, p += 2;
				else if (*p != '\0')
					p++;
			} while (depth > 0 && *p != '\0');
		}
		else
			return p;
	}
}

/* use_word reads an identifier; returns its end, or NULL where there is none. */
static const char *
use_word(const char *p, char **name)
{
	StringInfoData buf;
	const char *start = p;

	if (*p == '"')
	{
		initStringInfo(&buf);
		for (p++; *p != '\0'; p++)
		{
			if (p[0] == '"' && p[1] != '"')
				break;
			if (*p == '"')
				p++;
			appendStringInfoChar(&buf, *p);
		}
		*name = buf.data;
		return *p == '"' ? p + 1 : NULL;
	}
	while (IS_HIGHBIT_SET(*p) || isalpha((unsigned char) *p) || *p == '_' ||
		   (p > start && (isdigit((unsigned char) *p) || *p == '$')))
		p++;
	if (p == start)
		return NULL;
	*name = downcase_truncate_identifier(start, p - start, false);
	return p;
}

/*
 * use_replace replaces the name in the reference that begins at a place: a
 * column's is the last of that name in a.b.c, a table's the first.
 */
static char *
use_replace(const UseRename *rename, const ConcordColumnUse *use, const char *text)
{
	const char *p = text + use->location;
	const char *from = NULL;
	const char *to = NULL;
	const char *end;
	char	   *name;

	while ((end = use_word(p, &name)) != NULL)
	{
		const char *next = use_space(end);

		if (strcmp(name, rename->old_name) == 0 &&
			(rename->attnum != 0 ||
			 (from == NULL && (use->attnum <= 0 || *next == '.'))))
		{
			from = p;
			to = end;
		}
		p = next;
		if (*p != '.')
			break;
		p = use_space(p + 1);
	}
	if (from == NULL)
		return NULL;
	return psprintf("%.*s%s%s", (int) (from - text), text,
					quote_identifier(rename->new_name), to);
}

/* The tables that sub-SELECTs name, with their places. */
typedef struct UseTables
{
	const UseRename *rename;
	List	   *places;			/* of int */
	List	   *aliased;		/* of int: whether it has an alias */
} UseTables;

/* use_tables_walker finds a table's name in FROM. */
static bool
use_tables_walker(Node *node, void *context)
{
	UseTables  *tables = context;

	if (node == NULL)
		return false;
	if (IsA(node, RangeVar))
	{
		RangeVar   *var = (RangeVar *) node;

		if (strcmp(var->relname, tables->rename->old_name) == 0 &&
			RangeVarGetRelid(var, NoLock, true) == tables->rename->relid)
		{
			tables->places = lappend_int(tables->places,
										 var->location - (int) strlen(USE_BEFORE));
			tables->aliased = lappend_int(tables->aliased, var->alias != NULL);
		}
		return false;
	}
	return raw_expression_tree_walker(node, use_tables_walker, context);
}

/* use_order sorts uses from the last place to the first. */
static int
use_order(const ListCell *a, const ListCell *b)
{
	return ((ConcordColumnUse *) lfirst(b))->location -
		((ConcordColumnUse *) lfirst(a))->location;
}

/* use_table_places adds the places where a table stands in FROM. */
static List *
use_table_places(const UseRename *rename, const char *text, List *uses)
{
	UseTables	tables = {rename, NIL, NIL};
	List	   *raw = raw_parser(psprintf("%s%s\n)", USE_BEFORE, text),
								 RAW_PARSE_DEFAULT);
	ListCell   *lp;
	ListCell   *la;

	(void) use_tables_walker(linitial_node(RawStmt, raw)->stmt, &tables);
	forboth(lp, tables.places, la, tables.aliased)
	{
		ConcordColumnUse *use = palloc(sizeof(ConcordColumnUse));

		use->relid = rename->relid;
		use->row = false;
		/* -1: what refers to it by its old name goes on to do so */
		use->attnum = lfirst_int(la) ? 0 : -1;
		use->location = lfirst_int(lp);
		uses = lappend(uses, use);
	}
	return uses;
}

/* use_rewrite returns an expression with the new name. */
static char *
use_rewrite(const UseRename *rename, ConcordNames *names, const char *text)
{
	List	   *uses = concord_uses_expression(names, text);
	List	   *places = NIL;
	char	   *result = pstrdup(text);
	int			last = -1;
	ListCell   *lc;

	foreach(lc, uses)
	{
		ConcordColumnUse *use = lfirst(lc);

		/*
		 * a column may be named by way of the table's name; those of a table
		 * in a sub-SELECT go by its alias from now on
		 */
		if (use->relid == rename->relid && use->location >= 0 &&
			(rename->attnum == 0 ? use->row : use->attnum == rename->attnum))
			places = lappend(places, use);
	}
	if (rename->attnum == 0)
		places = use_table_places(rename, text, places);
	list_sort(places, use_order);
	foreach(lc, places)
	{
		const ConcordColumnUse *use = lfirst(lc);
		char	   *changed;

		if (use->location == last)
			continue;
		last = use->location;
		changed = use_replace(rename, use, result);
		if (changed == NULL)
			continue;
		if (use->attnum == -1)
		{
			/* "new AS old" */
			const char *at = changed + use->location;
			char	   *name;

			for (;;)
			{
				const char *end = use_word(at, &name);
				const char *next = use_space(end);

				if (*next != '.')
				{
					changed = psprintf("%.*s AS %s%s", (int) (end - changed),
									   changed,
									   quote_identifier(rename->old_name), end);
					break;
				}
				at = use_space(next + 1);
			}
		}
		result = changed;
	}
	return result;
}

/* The name of an array's elements in a path; no member has this address. */
static char use_element[] = "#";

/* use_at says whether the path is these words; NULL stands for any. */
static bool
use_at(const List *path, int n, const char *a, const char *b, const char *c,
	   const char *d)
{
	const char *words[] = {a, b, c, d};

	if (list_length(path) != n)
		return false;
	for (int i = 0; i < n; i++)
	{
		if (words[i] != NULL && strcmp(words[i], list_nth(path, i)) != 0)
			return false;
	}
	return true;
}

/* use_is_expression says whether a string at a path is an expression. */
static bool
use_is_expression(const List *path, const char *text)
{
	return use_at(path, 2, "fields", NULL, NULL, NULL) ||
		use_at(path, 3, "fields", NULL, "value", NULL) ||
		use_at(path, 2, "key", NULL, NULL, NULL) ||
		use_at(path, 3, "key", "#", NULL, NULL) ||
		use_at(path, 1, "filter", NULL, NULL, NULL) ||
		use_at(path, 2, "checks", NULL, NULL, NULL) ||
		(use_at(path, 2, "options", "ordering", NULL, NULL) &&
		 strcmp(text, "key") != 0 && strcmp(text, "none") != 0) ||
		use_at(path, 2, "options", "route", NULL, NULL) ||
		use_at(path, 3, "options", "on_delete", NULL, NULL);
}

/* use_is_column says whether a string at a path names the column. */
static bool
use_is_column(const UseRename *rename, const char *text)
{
	ListCell   *lc;

	if (rename->attnum == 0 || strcmp(text, rename->old_name) != 0)
		return false;
	if (use_at(rename->path, 4, "options", "depends", NULL, NULL))
	{
		foreach(lc, rename->mapping->options.depends)
		{
			const ConcordDepend *depend = lfirst(lc);

			if (strcmp(depend->table, list_nth(rename->path, 2)) == 0)
				return depend->relid == rename->relid;
		}
		return false;
	}
	return rename->relid == rename->mapping->source &&
		(use_at(rename->path, 3, "fields", NULL, "column", NULL) ||
		 use_at(rename->path, 4, "options", "parent", NULL, NULL));
}

/* use_string returns what a string of the definition becomes. */
static char *
use_string(const UseRename *rename, char *text)
{
	if (use_is_expression(rename->path, text))
		return use_rewrite(rename, rename->names, text);
	if (use_at(rename->path, 3, "options", "match", "#", NULL) ||
		use_at(rename->path, 4, "options", "match", "#", "local"))
		return use_rewrite(rename, rename->both, text);
	if (use_at(rename->path, 3, "fields", NULL, "apply", NULL))
		return use_rewrite(rename, rename->record, text);
	if (use_is_column(rename, text))
		return pstrdup(rename->new_name);
	return text;
}

/*
 * use_key returns what a member's name becomes: option depends has tables'
 * names there.
 */
static char *
use_key(const UseRename *rename, char *name)
{
	const char *p = name;
	const char *from = NULL;
	const char *to = NULL;
	bool		found = false;
	char	   *word;
	ListCell   *lc;

	if (rename->attnum != 0 ||
		!use_at(rename->path, 2, "options", "depends", NULL, NULL))
		return name;
	foreach(lc, rename->mapping->options.depends)
	{
		const ConcordDepend *depend = lfirst(lc);

		found |= depend->relid == rename->relid &&
			strcmp(depend->table, name) == 0;
	}
	while (found && (to = use_word(p, &word)) != NULL)
	{
		from = p;
		p = use_space(to);
		if (*p != '.')
			break;
		p = use_space(p + 1);
	}
	if (from == NULL || to == NULL)
		return name;
	return psprintf("%.*s%s%s", (int) (from - name), name,
					quote_identifier(rename->new_name), to);
}

/* use_copy copies a definition and gives its strings the new name. */
static void
use_copy(UseRename *rename, JsonbContainer *container, JsonbInState *state)
{
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&it, &value, false)) != WJB_DONE)
	{
		bool		pops = token == WJB_VALUE || token == WJB_END_OBJECT ||
			token == WJB_END_ARRAY;

		if (token == WJB_BEGIN_ARRAY)
			rename->path = lappend(rename->path, use_element);
		if (token == WJB_KEY)
		{
			char	   *name = concord_definition_text(&value);

			value.val.string.val = use_key(rename, name);
			value.val.string.len = strlen(value.val.string.val);
			rename->path = lappend(rename->path, name);
		}
		if (token == WJB_END_ARRAY)
			rename->path = list_delete_last(rename->path);
		if ((token == WJB_VALUE || token == WJB_ELEM) && value.type == jbvString)
		{
			value.val.string.val = use_string(rename,
											  concord_definition_text(&value));
			value.val.string.len = strlen(value.val.string.val);
		}
		concord_jsonb_push(state, token,
						   token < WJB_BEGIN_ARRAY ? &value : NULL);
		/* a member ends with its value, an element does not */
		if (pops && rename->path != NIL &&
			llast(rename->path) != use_element)
			rename->path = list_delete_last(rename->path);
	}
}

/* concord_uses_rename returns a definition with a new name. */
Jsonb *
concord_uses_rename(const ConcordMapping *mapping, Jsonb *definition, Oid relid,
					AttrNumber attnum, const char *old_name,
					const char *new_name)
{
	ConcordEnvironment environment;
	JsonbInState state = {0};
	UseRename	rename = {mapping, NULL, NULL, NULL, relid, attnum, old_name, new_name, NIL};

	concord_environment_enter(&environment, mapping->definer,
							  mapping->search_path);
	rename.names = concord_names_create(mapping->source, CurrentMemoryContext);
	rename.both = concord_names_create(mapping->source, CurrentMemoryContext);
	rename.both->scope = CONCORD_NAMES_BOTH;
	rename.record = concord_names_create(InvalidOid, CurrentMemoryContext);
	rename.record->scope = CONCORD_NAMES_RECORD;
	use_copy(&rename, &definition->root, &state);
	concord_environment_leave(&environment);
	return JsonbValueToJsonb(state.result);
}
