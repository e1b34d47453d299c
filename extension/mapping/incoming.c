/*-------------------------------------------------------------------------
 *
 * incoming.c
 *	  Expressions over records of a system: apply, and the rules of option match.
 *
 * They are run by the inbound room, over many records at once.  Here they are
 * checked when they are stated, under the names that they go by, and what they
 * use is listed, so that they follow new names of columns.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/compile.h"

#include "catalog/pg_type.h"
#include "mapping/statement.h"
#include "nodes/nodeFuncs.h"

/* inc_names says what an expression sees. */
static ConcordNames *
inc_names(const ConcordMapping *mapping, ConcordNamesScope scope)
{
	ConcordNames *names = concord_names_create(scope == CONCORD_NAMES_RECORD ?
											   InvalidOid : mapping->source,
											   CurrentMemoryContext);

	names->scope = scope;
	return names;
}

/* inc_check analyzes an expression; type: what it has to be, or InvalidOid. */
static void
inc_check(const ConcordMapping *mapping, ConcordNamesScope scope,
		  const char *what, const char *name, const char *text, Oid type)
{
	ConcordExpression expression = {what, name, text};
	ConcordStatementContext context;
	Node	   *node;

	concord_statement_push(&context, mapping, &expression);
	node = concord_statement_analyze(inc_names(mapping, scope), text);
	if (OidIsValid(type) && exprType(node) != type)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("rule \"%s\" must be of type %s", name, "boolean"),
				 errhint("It is a condition over the row and \"remote\", as in name = remote ->> 'Name'.")));
	concord_statement_pop(&context);
}

/* concord_incoming_check raises where an expression does not hold. */
void
concord_incoming_check(const ConcordMapping *mapping)
{
	ListCell   *lc;

	if (!OidIsValid(mapping->source))
		return;
	foreach(lc, mapping->fields)
	{
		const ConcordField *field = lfirst(lc);

		if (field->apply != NULL)
			inc_check(mapping, CONCORD_NAMES_RECORD, "apply of field", field->name,
					  field->apply, InvalidOid);
	}
	foreach(lc, mapping->options.match)
	{
		const ConcordMatchRule *rule = lfirst(lc);

		if (rule->expression != NULL)
			inc_check(mapping, CONCORD_NAMES_BOTH, "match rule", rule->name,
					  rule->expression, BOOLOID);
		else
			inc_check(mapping, CONCORD_NAMES_ROW, "match rule", rule->name,
					  rule->local, InvalidOid);
	}
}

/* concord_incoming_uses adds what they name to a list. */
List *
concord_incoming_uses(const ConcordMapping *mapping, List *uses)
{
	ConcordNames *both = inc_names(mapping, CONCORD_NAMES_BOTH);
	ConcordNames *record = inc_names(mapping, CONCORD_NAMES_RECORD);
	ListCell   *lc;

	foreach(lc, mapping->fields)
	{
		const ConcordField *field = lfirst(lc);

		if (field->apply != NULL)
			uses = list_concat(uses, concord_uses_expression(record, field->apply));
	}
	foreach(lc, mapping->options.match)
	{
		const ConcordMatchRule *rule = lfirst(lc);

		uses = list_concat(uses, concord_uses_expression(both, rule->expression != NULL ?
														 rule->expression : rule->local));
	}
	return uses;
}
