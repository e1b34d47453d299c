/*-------------------------------------------------------------------------
 *
 * names.c
 *	  What an expression can name, and how the parser finds it.
 *
 * An expression sees the columns of its row, the row under its table's name,
 * "old" and "event"; that of a topic sees "payload", "key", "headers" and
 * "event".  All of these are resolved by a hook that the parser calls when
 * normal resolution has failed, as PL/pgSQL does for its variables.  So the
 * columns of a sub-SELECT's own tables win, and the row is visible in it at
 * any depth.
 *
 * What is named becomes a slot.  While an expression is checked on its own a
 * slot is a Param, which needs no relation.  In the statement that evaluates
 * a set of expressions it is a Var of the statement's only relation, a
 * tuplestore with one column per slot.  Its column names cannot be guessed
 * from an expression that has passed the check, because there the relation
 * does not exist.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/compile.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "nodes/makefuncs.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"
#include "utils/varlena.h"

#define NM_MAX_EDITS	4

/* attgenerated of columns that are computed when they are read */
#define NM_VIRTUAL			'v'

/* concord_names_create reads what a table's expressions can name. */
ConcordNames *
concord_names_create(Oid relid, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	ConcordNames *names = palloc0(sizeof(ConcordNames));

	names->context = context;
	names->relid = relid;
	names->maxslots = 16;
	names->slots = palloc0(sizeof(ConcordSlot) * names->maxslots);
	names->event_type = GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
										CStringGetDatum("event"),
										ObjectIdGetDatum(get_namespace_oid("concord", false)));
	names->event_desc = lookup_rowtype_tupdesc_copy(names->event_type, -1);
	if (OidIsValid(relid))
	{
		Relation	rel = relation_open(relid, AccessShareLock);

		names->schema = get_namespace_name(RelationGetNamespace(rel));
		names->table = pstrdup(RelationGetRelationName(rel));
		names->desc = CreateTupleDescCopy(RelationGetDescr(rel));
		for (int i = 0; i < names->desc->natts; i++)
		{
			Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), i);

			if (!att->attisdropped && att->attgenerated == NM_VIRTUAL)
				names->virtuals = bms_add_member(names->virtuals, att->attnum);
		}
		relation_close(rel, NoLock);
	}
	MemoryContextSwitchTo(old);
	return names;
}

/* concord_names_hold: a table still has these names, and columns. */
bool
concord_names_hold(const ConcordNames *names, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	char	   *schema = get_namespace_name(RelationGetNamespace(rel));

	if (desc->natts != names->desc->natts || schema == NULL ||
		strcmp(schema, names->schema) != 0 ||
		strcmp(RelationGetRelationName(rel), names->table) != 0)
		return false;
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute is = TupleDescAttr(desc, i);
		Form_pg_attribute was = TupleDescAttr(names->desc, i);

		if (is->attisdropped != was->attisdropped ||
			is->atttypid != was->atttypid || is->atttypmod != was->atttypmod ||
			is->attcollation != was->attcollation ||
			strcmp(NameStr(is->attname), NameStr(was->attname)) != 0 ||
			(!is->attisdropped && is->attgenerated == NM_VIRTUAL) !=
			bms_is_member(i + 1, names->virtuals))
			return false;
	}
	return true;
}

/* nm_slot returns the number of a slot, from 0; a new one is added. */
static int
nm_slot(ConcordNames *names, ConcordSlotKind kind, AttrNumber attnum)
{
	ConcordSlot *slot;
	MemoryContext old;
	int			number;

	for (number = 0; number < names->nslots; number++)
	{
		slot = &names->slots[number];
		if (slot->kind == kind && slot->attnum == attnum)
			break;
	}
	old = MemoryContextSwitchTo(names->context);
	if (number == names->nslots)
	{
		if (names->as_vars)
			elog(ERROR, "expression names something that it did not name before");
		if (names->nslots == names->maxslots)
		{
			names->maxslots *= 2;
			names->slots = repalloc(names->slots,
									sizeof(ConcordSlot) * names->maxslots);
		}
		slot = &names->slots[names->nslots++];
		memset(slot, 0, sizeof(*slot));
		slot->kind = kind;
		slot->attnum = attnum;
		slot->typmod = -1;
		switch (kind)
		{
			case CONCORD_SLOT_COLUMN:
				{
					Form_pg_attribute att = TupleDescAttr(names->desc, attnum - 1);

					slot->type = att->atttypid;
					slot->typmod = att->atttypmod;
					slot->collation = att->attcollation;
				}
				break;
			case CONCORD_SLOT_ROW:
			case CONCORD_SLOT_OLD:
				slot->type = names->desc->tdtypeid;
				break;
			case CONCORD_SLOT_EVENT:
				slot->type = names->event_type;
				break;
			case CONCORD_SLOT_PAYLOAD:
			case CONCORD_SLOT_HEADERS:
				slot->type = JSONBOID;
				break;
			case CONCORD_SLOT_KEY:
				slot->type = TEXTOID;
				slot->collation = DEFAULT_COLLATION_OID;
				break;
		}
	}
	names->used = bms_add_member(names->used, number);
	MemoryContextSwitchTo(old);
	return number;
}

/* nm_use notes that a column of the row (0: the row) is named. */
static void
nm_use(ConcordNames *names, AttrNumber attnum, int location)
{
	MemoryContext old;
	ConcordColumnUse *use;

	if (!names->collect || names->desc == NULL)
		return;
	old = MemoryContextSwitchTo(names->context);
	use = palloc(sizeof(ConcordColumnUse));
	use->relid = names->relid;
	use->attnum = attnum;
	use->location = location;
	use->row = true;
	names->uses = lappend(names->uses, use);
	MemoryContextSwitchTo(old);
}

/* nm_node makes the node that stands for a slot in an expression. */
static Node *
nm_node(ParseState *pstate, ConcordNames *names, ConcordSlotKind kind,
		AttrNumber attnum, int location)
{
	int			number = nm_slot(names, kind, attnum);
	ConcordSlot *slot = &names->slots[number];
	Param	   *param;

	if (names->as_vars)
	{
		int			levels = 0;
		Var		   *var;

		for (; pstate->parentParseState != NULL; pstate = pstate->parentParseState)
			levels++;
		/* the first column is the row's number */
		var = makeVar(1, number + 2, slot->type, slot->typmod, slot->collation,
					  levels);
		var->location = location;
		return (Node *) var;
	}

	param = makeNode(Param);
	param->paramkind = PARAM_EXTERN;
	param->paramid = number + 1;
	param->paramtype = slot->type;
	param->paramtypmod = slot->typmod;
	param->paramcollid = slot->collation;
	param->location = location;
	return (Node *) param;
}

/*
 * nm_refuse_virtual raises for a generated column that is stored nowhere (from
 * 18 on): it is in no event, and would be taken for NULL.
 */
static void
nm_refuse_virtual(ParseState *pstate, ConcordNames *names, AttrNumber attnum,
				  bool whole, int location)
{
	Form_pg_attribute att = TupleDescAttr(names->desc, attnum - 1);

	if (!bms_is_member(attnum, names->virtuals))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 whole ?
			 errmsg("the whole row cannot be used, because it has the virtual generated column \"%s\"",
					NameStr(att->attname)) :
			 errmsg("column \"%s\" is a virtual generated column",
					NameStr(att->attname)),
			 errdetail("Changes do not have its value, which is computed when it is read."),
			 whole ?
			 errhint("Name the columns, or make it a stored one.") :
			 errhint("Write its expression, or make it a stored one."),
			 parser_errposition(pstate, location)));
}

/* nm_attnum finds a column of the table, or returns InvalidAttrNumber. */
static AttrNumber
nm_attnum(ParseState *pstate, ConcordNames *names, const char *name, int location)
{
	TupleDesc	desc = names->desc;

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
		{
			nm_refuse_virtual(pstate, names, att->attnum, false, location);
			return att->attnum;
		}
	}
	return InvalidAttrNumber;
}

/* nm_missing raises for a name that a row does not have. */
static void
nm_missing(ParseState *pstate, ConcordNamesScope scope, TupleDesc desc,
		   const char *row, const char *name, int location)
{
	const char *closest = NULL;
	int			best = Min(NM_MAX_EDITS, (int) strlen(name) / 2 + 1);

	for (int i = 0; desc != NULL && i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		const char *candidate = NameStr(att->attname);
		int			edits;

		if (att->attisdropped)
			continue;
		edits = varstr_levenshtein_less_equal(name, strlen(name), candidate,
											  strlen(candidate), 1, 1, 1,
											  best, true);
		if (edits < best)
		{
			best = edits;
			closest = candidate;
		}
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 row != NULL ?
			 errmsg("column %s.%s does not exist", row, name) :
			 errmsg("column \"%s\" does not exist", name),
			 closest != NULL ?
			 errhint("Perhaps you meant the column \"%s\".", closest) :
			 desc != NULL ? 0 :
			 scope == CONCORD_NAMES_RECORD ?
			 errhint("It is evaluated over \"remote\", the record as jsonb, as in remote ->> 'Name'.") :
			 errhint("Expressions of a topic see %s.",
					 "payload, key, headers and event"),
			 parser_errposition(pstate, location)));
}

/* nm_member makes a member of a whole row: old.total, event.id, f(orders). */
static Node *
nm_member(ParseState *pstate, Node *row, TupleDesc desc, const char *row_name,
		  const char *name, int location)
{
	Node	   *node;

	node = ParseFuncOrColumn(pstate, list_make1(makeString(pstrdup(name))),
							 list_make1(row), pstate->p_last_srf, NULL, false,
							 location);
	if (node == NULL)
		nm_missing(pstate, CONCORD_NAMES_EVENT, desc, row_name, name, location);
	return node;
}

/* nm_whole makes the node of a row that is not followed by a member. */
static Node *
nm_whole(ParseState *pstate, ConcordNames *names, ConcordSlotKind kind,
		 int location)
{
	int			attnum = bms_next_member(names->virtuals, -1);

	if (kind != CONCORD_SLOT_EVENT && attnum >= 0)
		nm_refuse_virtual(pstate, names, attnum, true, location);
	return nm_node(pstate, names, kind, 0, location);
}

/* nm_single resolves a name without a qualifier; NULL where it is not ours. */
static Node *
nm_single(ParseState *pstate, ConcordNames *names, const char *name,
		  int location)
{
	AttrNumber	attnum;

	if (names->scope >= CONCORD_NAMES_BOTH && strcmp(name, "remote") == 0)
		return nm_node(pstate, names, CONCORD_SLOT_PAYLOAD, 0, location);
	if (names->scope == CONCORD_NAMES_RECORD)
	{
		/* it sees the record alone */
	}
	else if (names->desc == NULL)
	{
		if (strcmp(name, "payload") == 0)
			return nm_node(pstate, names, CONCORD_SLOT_PAYLOAD, 0, location);
		if (strcmp(name, "key") == 0)
			return nm_node(pstate, names, CONCORD_SLOT_KEY, 0, location);
		if (strcmp(name, "headers") == 0)
			return nm_node(pstate, names, CONCORD_SLOT_HEADERS, 0, location);
	}
	else
	{
		attnum = nm_attnum(pstate, names, name, location);
		if (attnum != InvalidAttrNumber)
		{
			nm_use(names, attnum, location);
			return nm_node(pstate, names, CONCORD_SLOT_COLUMN, attnum, location);
		}
		if (strcmp(name, names->table) == 0 ||
			(strcmp(name, "old") == 0 && names->scope == CONCORD_NAMES_EVENT))
			nm_use(names, 0, location);
		if (strcmp(name, names->table) == 0)
			return nm_whole(pstate, names, CONCORD_SLOT_ROW, location);
		if (strcmp(name, "old") == 0 && names->scope == CONCORD_NAMES_EVENT)
			return nm_whole(pstate, names, CONCORD_SLOT_OLD, location);
	}
	if (strcmp(name, "event") == 0 && names->scope == CONCORD_NAMES_EVENT)
		return nm_node(pstate, names, CONCORD_SLOT_EVENT, 0, location);

	/* in a sub-SELECT the parser's own message knows its tables */
	if (pstate->parentParseState == NULL)
		nm_missing(pstate, names->scope, names->desc, NULL, name, location);
	return NULL;
}

/*
 * nm_qualified resolves row.name, or row.* where name is NULL; NULL where the
 * row is not ours.
 */
static Node *
nm_qualified(ParseState *pstate, ConcordNames *names, const char *row,
			 const char *name, int location)
{
	ConcordSlotKind kind;
	TupleDesc	desc = names->desc;
	Node	   *node;

	if (names->desc != NULL && strcmp(row, names->table) == 0)
	{
		AttrNumber	attnum = name != NULL ?
			nm_attnum(pstate, names, name, location) : InvalidAttrNumber;

		nm_use(names, attnum, location);
		if (attnum != InvalidAttrNumber)
			return nm_node(pstate, names, CONCORD_SLOT_COLUMN, attnum, location);
		kind = CONCORD_SLOT_ROW;
	}
	else if (names->scope != CONCORD_NAMES_EVENT)
		return NULL;
	else if (names->desc != NULL && strcmp(row, "old") == 0)
	{
		kind = CONCORD_SLOT_OLD;
		nm_use(names, name == NULL ? 0 :
			   nm_attnum(pstate, names, name, location), location);
	}
	else if (strcmp(row, "event") == 0)
	{
		kind = CONCORD_SLOT_EVENT;
		desc = names->event_desc;
	}
	else
		return NULL;

	if (name == NULL)
		return nm_whole(pstate, names, kind, location);
	node = nm_node(pstate, names, kind, 0, location);
	return nm_member(pstate, node, desc, row, name, location);
}

/* nm_columnref is the parser's hook. */
static Node *
nm_columnref(ParseState *pstate, ColumnRef *cref, Node *var)
{
	ConcordNames *names = pstate->p_ref_hook_state;
	int			n = list_length(cref->fields);
	bool		star = IsA(llast(cref->fields), A_Star);
	const char *part[3] = {NULL, NULL, NULL};

	if (var != NULL || n > 3)
		return NULL;
	for (int i = 0; i < n - (star ? 1 : 0); i++)
		part[i] = strVal(list_nth(cref->fields, i));

	if (n == 1)
		return star ? NULL : nm_single(pstate, names, part[0], cref->location);
	if (n == 2)
		return nm_qualified(pstate, names, part[0], part[1], cref->location);
	if (names->desc != NULL && strcmp(part[0], names->schema) == 0 &&
		strcmp(part[1], names->table) == 0)
		return nm_qualified(pstate, names, part[1], part[2], cref->location);
	return NULL;
}

/* concord_names_setup makes the parser ask us. */
void
concord_names_setup(ParseState *pstate, void *arg)
{
	pstate->p_post_columnref_hook = nm_columnref;
	pstate->p_ref_hook_state = arg;
}
