/*-------------------------------------------------------------------------
 *
 * open.c
 *	  A mapping made ready to take records in.
 *
 * What depends on the table is made in a context of its own and made anew when
 * the table has changed.
 *
 *-------------------------------------------------------------------------
 */
#include "inbound/apply.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_operator.h"
#include "storage/lmgr.h"
#include "nodes/parsenodes.h"
#include "parser/parser.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

/* All that are open, for the invalidation callback. */
static dlist_head opn_all = DLIST_STATIC_INIT(opn_all);
static bool opn_registered = false;

/* opn_invalidate is called when a table's definition may have changed. */
static void
opn_invalidate(Datum arg, Oid relid)
{
	dlist_iter	iter;

	dlist_foreach(iter, &opn_all)
	{
		ConcordInbound *inbound = dlist_container(ConcordInbound, node, iter.cur);

		if (relid == InvalidOid || relid == inbound->mapping->source)
			inbound->valid = false;
	}
}

/* opn_gone takes one out of the list when its memory goes. */
static void
opn_gone(void *arg)
{
	dlist_delete(&((ConcordInbound *) arg)->node);
}

/* opn_want adds a member to what is looked for; "/" nests. */
static int
opn_want(ConcordInbound *inbound, const char *name, char separator)
{
	InbWant    *want = &inbound->wants[inbound->nwants];
	int			max = 1;
	const char *p = name;

	for (const char *c = name; *c; c++)
		max += *c == separator;
	want->path = palloc(sizeof(char *) * max);
	want->path_len = palloc(sizeof(Size) * max);
	want->npath = 0;
	for (;;)
	{
		/* names of OData's own have full stops in them */
		const char *end = separator == '.' && *p == '@' ? NULL : strchr(p, separator);
		Size		len = end == NULL ? strlen(p) : end - p;

		want->path[want->npath] = pnstrdup(p, len);
		want->path_len[want->npath++] = len;
		if (end == NULL)
			break;
		p = end + 1;
	}
	return inbound->nwants++;
}

/* opn_column describes a column of the table. */
static void
opn_column(InbColumn *column, Form_pg_attribute att)
{
	Oid			function;
	bool		varlena;

	memset(column, 0, sizeof(*column));
	column->attnum = att->attnum;
	column->name = pstrdup(NameStr(att->attname));
	column->type = att->atttypid;
	column->typmod = att->atttypmod;
	column->collation = att->attcollation;
	column->typlen = att->attlen;
	column->typbyval = att->attbyval;
	column->want = column->apply = -1;
	getTypeInputInfo(att->atttypid, &function, &column->ioparam);
	fmgr_info(function, &column->input);
	getTypeOutputInfo(att->atttypid, &function, &varlena);
	fmgr_info(function, &column->output);
	column->converter = concord_converter_make(att->atttypid, att->atttypmod);
}

/* opn_attribute finds a column that definitions name; raises where it is gone. */
static Form_pg_attribute
opn_attribute(Relation rel, const char *name)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return att;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("column \"%s\" of table \"%s\" does not exist", name,
					RelationGetRelationName(rel))));
	return NULL;
}

/*
 * opn_plain returns the column that an expression is, or that it is a text of;
 * else NULL: then the record's value says nothing of one column.
 */
static char *
opn_plain(const char *expression)
{
	List	   *parsed = raw_parser(expression, RAW_PARSE_PLPGSQL_EXPR);
	SelectStmt *select = (SelectStmt *) linitial_node(RawStmt, parsed)->stmt;
	Node	   *node;

	if (list_length(parsed) != 1 || !IsA(select, SelectStmt) ||
		list_length(select->targetList) != 1 || select->fromClause != NIL)
		return NULL;
	node = linitial_node(ResTarget, select->targetList)->val;
	if (IsA(node, TypeCast))
	{
		TypeName   *type = ((TypeCast *) node)->typeName;
		const char *name = strVal(llast(type->names));

		if (type->typmods != NIL || type->arrayBounds != NIL ||
			(strcmp(name, "text") != 0 && strcmp(name, "varchar") != 0))
			return NULL;
		node = ((TypeCast *) node)->arg;
	}
	if (!IsA(node, ColumnRef) || list_length(((ColumnRef *) node)->fields) != 1 ||
		!IsA(linitial(((ColumnRef *) node)->fields), String))
		return NULL;
	return pstrdup(strVal(linitial(((ColumnRef *) node)->fields)));
}

/* opn_equals writes the operator that says whether keys are the same. */
static char *
opn_equals(const InbColumn *column)
{
	TypeCacheEntry *type = lookup_type_cache(column->type, TYPECACHE_EQ_OPR);
	char	   *name = type->eq_opr == InvalidOid ? NULL : get_opname(type->eq_opr);
	HeapTuple	tuple;
	char	   *result;

	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("could not identify an equality operator for type %s",
						format_type_be(column->type))));
	tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(type->eq_opr));
	result = psprintf("OPERATOR(%s.%s)",
					  quote_identifier(get_namespace_name(((Form_pg_operator) GETSTRUCT(tuple))->oprnamespace)),
					  name);
	ReleaseSysCache(tuple);
	return result;
}

/* opn_wants collects the members that are looked for. */
static void
opn_wants(ConcordInbound *inbound)
{
	const ConcordMapping *mapping = inbound->mapping;
	const char *id = mapping->options.remote_id_path;
	ListCell   *lc;

	inbound->wants = palloc0(sizeof(InbWant) * (list_length(mapping->fields) +
												list_length(mapping->key) +
												list_length(mapping->options.match) + 2));
	inbound->nwants = 0;
	foreach(lc, mapping->fields)
		(void) opn_want(inbound, ((ConcordField *) lfirst(lc))->name, '/');
	inbound->key_wants = inbound->nwants;
	foreach(lc, mapping->key)
		(void) opn_want(inbound, ((ConcordField *) lfirst(lc))->name, '/');
	inbound->match_wants = inbound->nwants;
	foreach(lc, mapping->options.match)
	{
		const ConcordMatchRule *rule = lfirst(lc);

		(void) opn_want(inbound, rule->remote != NULL ? rule->remote : "", '/');
	}
	inbound->id_want = inbound->own_id_want = -1;
	if (!inbound->assigned || id == NULL)
		return;
	inbound->id_want = opn_want(inbound, id, '.');
	/* an answer may have the record in something; a list's are alone */
	if (strchr(id, '.') != NULL && strrchr(id, '.')[1] > '9')
		inbound->own_id_want = opn_want(inbound, strrchr(id, '.') + 1, '.');
}

/* opn_key describes the local key, and where a record has it. */
static void
opn_key(ConcordInbound *inbound, Relation rel)
{
	const ConcordMapping *mapping = inbound->mapping;
	ListCell   *lc;
	int			n = 0;

	inbound->nkey = list_length(mapping->local_key);
	inbound->key = palloc0(sizeof(InbColumn) * Max(inbound->nkey, 1));
	inbound->key_direct = true;
	foreach(lc, mapping->local_key)
	{
		InbColumn  *part = &inbound->key[n++];
		Form_pg_attribute att = opn_attribute(rel, lfirst(lc));

		opn_column(part, att);
		inbound->identity_always |= att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS;
		part->equals = opn_equals(part);
		for (int i = 0; i < list_length(mapping->key); i++)
		{
			char	   *column = opn_plain(((ConcordField *) list_nth(mapping->key, i))->expression);

			if (column != NULL && strcmp(column, part->name) == 0)
				part->want = inbound->key_wants + i;
		}
		inbound->key_direct &= part->want >= 0;
	}
}

/* opn_columns describes the columns that records write. */
static void
opn_columns(ConcordInbound *inbound, Relation rel)
{
	const ConcordMapping *mapping = inbound->mapping;
	Bitmapset  *taken = NULL;
	ListCell   *lc;
	int			want = 0;

	inbound->columns = palloc0(sizeof(InbColumn) * (list_length(mapping->fields) + 1));
	inbound->ncolumns = inbound->napply = 0;
	inbound->shared = false;
	for (int i = 0; i < inbound->nkey; i++)
		taken = bms_add_member(taken, inbound->key[i].attnum);
	foreach(lc, mapping->fields)
	{
		ConcordField *field = lfirst(lc);
		InbColumn  *column = &inbound->columns[inbound->ncolumns];
		int			own = want++;
		Form_pg_attribute att;

		if (!field->pulled || field->column == NULL)
			continue;
		att = opn_attribute(rel, field->column);
		if (bms_is_member(att->attnum, taken))
			continue;
		taken = bms_add_member(taken, att->attnum);
		opn_column(column, att);
		column->field = field;
		column->want = own;
		if (field->apply != NULL)
			column->apply = inbound->napply++;
		inbound->shared |= field->shared;
		inbound->ncolumns++;
	}
}

/* opn_image describes whole rows, as capture would. */
static void
opn_image(ConcordInbound *inbound, Relation rel)
{
	TupleDesc	desc = RelationGetDescr(rel);
	ConcordRelation *relation = palloc0(sizeof(ConcordRelation));

	inbound->nimage = 0;
	if (!inbound->sends)
		return;
	inbound->image = palloc0(sizeof(InbColumn) * Max(desc->natts, 1));
	relation->relid = RelationGetRelid(rel);
	relation->replident = 'd';
	relation->schema = get_namespace_name(RelationGetNamespace(rel));
	relation->table = pstrdup(RelationGetRelationName(rel));
	relation->columns = palloc0(sizeof(ConcordColumn) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		ConcordColumn *column = &relation->columns[relation->ncolumns];

		if (att->attisdropped || concord_attribute_virtual(att))
			continue;
		opn_column(&inbound->image[inbound->nimage++], att);
		column->attnum = att->attnum;
		column->typid = att->atttypid;
		column->typmod = att->atttypmod;
		column->name = pstrdup(NameStr(att->attname));
		column->typname = format_type_be(att->atttypid);
		relation->ncolumns++;
	}
	inbound->relation = relation;
}

/* opn_desc describes records with a number, the local key and more columns. */
static TupleDesc
opn_desc(ConcordInbound *inbound, int ncolumns)
{
	TupleDesc	desc = CreateTemplateTupleDesc(1 + inbound->nkey + ncolumns);
	char		name[NAMEDATALEN];

	TupleDescInitEntry(desc, 1, "concord.n", INT4OID, -1, 0);
	for (int i = 0; i < inbound->nkey + ncolumns; i++)
	{
		const InbColumn *column = i < inbound->nkey ? &inbound->key[i] :
			&inbound->columns[i - inbound->nkey];

		snprintf(name, sizeof(name), i < inbound->nkey ? "concord.k%d" : "concord.c%d",
				 i < inbound->nkey ? i : i - inbound->nkey);
		TupleDescInitEntry(desc, i + 2, name, column->type, column->typmod, 0);
		TupleDescInitEntryCollation(desc, i + 2, column->collation);
	}
	concord_desc_finish(desc);
	return desc;
}

/* opn_build makes all that depends on the table. */
static void
opn_build(ConcordInbound *inbound)
{
	const ConcordMapping *mapping = inbound->mapping;
	MemoryContext old = MemoryContextSwitchTo(inbound->work);
	Relation	rel = table_open(mapping->source, AccessShareLock);

	inbound->table = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												RelationGetRelationName(rel));
	inbound->identity_always = false;
	opn_wants(inbound);
	opn_key(inbound, rel);
	opn_columns(inbound, rel);
	opn_image(inbound, rel);
	table_close(rel, NoLock);
	inbound->key_desc = opn_desc(inbound, 0);
	inbound->row_desc = opn_desc(inbound, inbound->ncolumns);
	inbound->remote_desc = CreateTemplateTupleDesc(3);
	TupleDescInitEntry(inbound->remote_desc, 1, "concord.n", INT4OID, -1, 0);
	TupleDescInitEntry(inbound->remote_desc, 2, "remote", JSONBOID, -1, 0);
	TupleDescInitEntry(inbound->remote_desc, 3, "concord.value", TEXTOID, -1, 0);
	concord_desc_finish(inbound->remote_desc);
	concord_inbound_statements(inbound);
	MemoryContextSwitchTo(old);
}

/* opn_forget gives back what was made of the table as it was. */
static void
opn_forget(ConcordInbound *inbound)
{
	SPIPlanPtr	plans[] = {inbound->read, inbound->read_locked, inbound->update,
	inbound->delete, inbound->apply, inbound->by_key};
	ListCell   *lc;

	for (int i = 0; i < lengthof(plans); i++)
		if (plans[i] != NULL)
			SPI_freeplan(plans[i]);
	foreach(lc, inbound->inserts)
		SPI_freeplan(((InbInsert *) lfirst(lc))->plan);
	foreach(lc, inbound->matches)
		if (lfirst(lc) != NULL)
		SPI_freeplan(lfirst(lc));
	inbound->read = inbound->read_locked = inbound->update = inbound->delete = NULL;
	inbound->apply = inbound->by_key = NULL;
	inbound->inserts = inbound->matches = NIL;
	MemoryContextReset(inbound->work);
}

/*
 * concord_inbound_refresh makes it anew where the table has changed.  Needs SPI, and the
 * mapping's environment; the table stays as it is until the transaction ends.
 */
void
concord_inbound_refresh(ConcordInbound *inbound)
{
	LockRelationOid(inbound->mapping->source, AccessShareLock);
	if (inbound->built && inbound->valid)
		return;
	inbound->built = false;
	opn_forget(inbound);
	/* a message that arrives meanwhile makes it invalid again */
	inbound->valid = true;
	opn_build(inbound);
	inbound->built = true;
}

/* opn_require raises where a mapping takes nothing in. */
static void
opn_require(const ConcordMapping *mapping, bool linking)
{
	if (!mapping->pulls && !linking)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("mapping \"%s\" takes nothing from its system", mapping->name),
				 errhint("Say which columns the system owns: concord.set_owner(), or \"owner\" of a field.")));
	if (mapping->local_key == NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("mapping \"%s\" has no key of its rows", mapping->name)));
	if (mapping->options.route != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("mapping \"%s\" cannot take records in", mapping->name),
				 errdetail("Its rows go to several systems (option route).")));
}

/* opn_open makes a mapping ready to apply records, or only to link them. */
static ConcordInbound *
opn_open(const ConcordMapping *mapping, const char *origin, bool linking,
		 MemoryContext context)
{
	MemoryContext own = AllocSetContextCreate(context, "concord inbound",
											  ALLOCSET_DEFAULT_SIZES);
	ConcordInbound *inbound;
	MemoryContextCallback *callback;
	ListCell   *lc;

	opn_require(mapping, linking);
	if (!opn_registered)
	{
		CacheRegisterRelcacheCallback(opn_invalidate, (Datum) 0);
		opn_registered = true;
	}
	inbound = MemoryContextAllocZero(own, sizeof(ConcordInbound));
	inbound->mapping = mapping;
	inbound->origin = origin;
	inbound->linking = linking;
	inbound->context = own;
	inbound->work = AllocSetContextCreate(own, "concord inbound table",
										  ALLOCSET_DEFAULT_SIZES);
	inbound->insert = mapping->options.pull == NULL || mapping->options.pull->insert;
	inbound->remove = mapping->options.pull != NULL && mapping->options.pull->remove;
	inbound->assigned = mapping->options.remote_id_assigned;
	foreach(lc, mapping->fields)
		inbound->sends |= ((ConcordField *) lfirst(lc))->pushed;
	inbound->sends &= !mapping->push_off;
	dlist_push_tail(&opn_all, &inbound->node);
	callback = MemoryContextAlloc(own, sizeof(MemoryContextCallback));
	callback->func = opn_gone;
	callback->arg = inbound;
	MemoryContextRegisterResetCallback(own, callback);
	return inbound;
}

/* concord_inbound_open makes a mapping ready to apply records. */
ConcordInbound *
concord_inbound_open(const ConcordMapping *mapping, const char *origin,
					 MemoryContext context)
{
	return opn_open(mapping, origin, false, context);
}

/* concord_inbound_open_linking makes it ready to link them with rows. */
ConcordInbound *
concord_inbound_open_linking(const ConcordMapping *mapping, MemoryContext context)
{
	return opn_open(mapping, "match", true, context);
}

/* concord_inbound_open_reading makes it ready to compare them with rows. */
ConcordInbound *
concord_inbound_open_reading(const ConcordMapping *mapping, MemoryContext context)
{
	ConcordInbound *inbound = opn_open(mapping, "reconcile", true, context);

	inbound->linking = false;
	inbound->sends = true;
	return inbound;
}

/* concord_inbound_close gives it back. */
void
concord_inbound_close(ConcordInbound *inbound)
{
	opn_forget(inbound);
	if (inbound->compiled != NULL)
		concord_mapping_free(inbound->compiled);
	MemoryContextDelete(inbound->context);
}
