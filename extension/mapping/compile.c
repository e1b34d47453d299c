/*-------------------------------------------------------------------------
 *
 * compile.c
 *	  From a mapping's definition to prepared statements.
 *
 * Each expression is parsed and analyzed on its own first.  That makes the
 * error of one name its field, and it is what keeps an expression from being
 * more than one: the text between two parentheses must parse as exactly one
 * SELECT of one value with nothing after it.  Texts that pass are then joined
 * into one statement per set (filter; checks; what is sent; what is sent of a
 * deleted row; the key of the row before) over a relation that exists only in
 * the query's environment, so that nothing has to be granted for it.
 *
 * An expression that is a bare column or a constant takes no part in that: it
 * is written straight from the stored image.  A set without any other needs
 * no statement at all.
 *
 * A compiled mapping is invalidated by changes of its table and compiled
 * again when it is next used; other changes (functions, tables in sub-SELECTs)
 * are PostgreSQL's plan cache's business.
 *
 *-------------------------------------------------------------------------
 */
#include "mapping/compile.h"

#include "access/relation.h"
#include "base/json.h"
#include "catalog/pg_type.h"
#include "mapping/statement.h"
#include "nodes/nodeFuncs.h"
#include "parser/analyze.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/typcache.h"

#define CMP_LISTS	1024

/* All compiled mappings, for the invalidation callback. */
static dlist_head cmp_all[CMP_LISTS];	/* by source */
static bool cmp_registered = false;

/* cmp_invalidate is called when a table's definition may have changed. */
static void
cmp_invalidate(Datum arg, Oid relid)
{
	int			first = relid == InvalidOid ? 0 : relid % CMP_LISTS;
	int			last = relid == InvalidOid ? CMP_LISTS - 1 : first;
	dlist_iter	iter;

	for (int i = first; i <= last; i++)
		dlist_foreach(iter, &cmp_all[i])
	{
		ConcordCompiled *compiled = dlist_container(ConcordCompiled, node,
													iter.cur);

		if (relid == InvalidOid || relid == compiled->mapping->source)
			compiled->valid = false;
	}
}

/* cmp_type_check refuses results that cannot be values. */
static void
cmp_type_check(const ConcordExpression *expression, Oid type)
{
	if (strcmp(expression->what, "filter") == 0 ||
		strcmp(expression->what, "check") == 0)
	{
		if (type != BOOLOID)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("%s must be of type boolean, not type %s",
							expression->what, format_type_be(type)),
					 errhint("Write a condition, as in \"total > 0\".")));
		return;
	}
	if (strcmp(expression->what, "route") == 0)
	{
		Oid			base = getBaseType(type);

		if (base != TEXTOID && base != NAMEOID && base != VARCHAROID)
			ereport(ERROR,
					(errcode(ERRCODE_DATATYPE_MISMATCH),
					 errmsg("%s must be of type text or name, not type %s",
							expression->what, format_type_be(type)),
					 errhint("Write an expression that gives a server's name, as in \"'shop_' || region\".")));
	}
	if (get_typtype(type) == TYPTYPE_PSEUDO)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("expression has pseudo-type %s", format_type_be(type)),
				 type == RECORDOID ?
				 errhint("Use to_jsonb() to send a row as an object.") : 0));
}

/* cmp_slots notes which columns an expression needs. */
static void
cmp_slots(ConcordNames *names, ConcordExpression *expression)
{
	int			number = -1;

	while ((number = bms_next_member(names->used, number)) >= 0)
	{
		ConcordSlot *slot = &names->slots[number];

		if (expression->kind == CONCORD_EXPRESSION_SQL)
			slot->needed = true;
		if (slot->kind == CONCORD_SLOT_COLUMN)
			expression->columns = bms_add_member(expression->columns,
												 slot->attnum);
		else if (slot->kind == CONCORD_SLOT_ROW)
			expression->whole_row = true;
	}
}

/* cmp_constant keeps the value of a constant. */
static void
cmp_constant(ConcordExpression *expression, Const *node)
{
	ConcordValue *value = &expression->constant;

	value->typid = expression->type;
	value->typmod = expression->typmod;
	value->isnull = node->constisnull;
	if (!value->isnull)
	{
		value->text = OutputFunctionCall(&expression->output, node->constvalue);
		value->len = strlen(value->text);
	}
}

/* cmp_expression parses, checks and classifies one expression. */
static ConcordExpression *
cmp_expression(ConcordCompiled *compiled, const char *what, const char *name,
			   const char *text)
{
	ConcordNames *names = compiled->names;
	ConcordExpression *expression = palloc0(sizeof(ConcordExpression));
	ConcordStatementContext scope;
	Node	   *node;
	Oid			type;
	Oid			output;
	bool		varlena;

	expression->what = what;
	expression->name = name;
	expression->text = text;

	concord_statement_push(&scope, compiled->mapping, expression);
	bms_free(names->used);
	names->used = NULL;
	names->as_vars = false;
	MemoryContextSwitchTo(compiled->scratch);
	node = concord_statement_analyze(names, text);
	MemoryContextSwitchTo(compiled->work);
	type = exprType(node);
	cmp_type_check(expression, type);

	expression->typmod = exprTypmod(node);
	expression->type = getBaseTypeAndTypmod(type, &expression->typmod);
	getTypeOutputInfo(type, &output, &varlena);
	fmgr_info_cxt(output, &expression->output, compiled->work);

	expression->kind = CONCORD_EXPRESSION_SQL;
	if (IsA(node, Const))
	{
		expression->kind = CONCORD_EXPRESSION_CONSTANT;
		cmp_constant(expression, (Const *) node);
	}
	else if (IsA(node, Param) &&
			 names->slots[((Param *) node)->paramid - 1].kind == CONCORD_SLOT_COLUMN)
	{
		expression->kind = CONCORD_EXPRESSION_COLUMN;
		expression->attnum = names->slots[((Param *) node)->paramid - 1].attnum;
	}
	cmp_slots(names, expression);
	expression->of_parent = concord_children_refers(node, compiled->mapping);
	concord_statement_pop(&scope);
	MemoryContextReset(compiled->scratch);
	return expression;
}

/* cmp_add adds an expression to a set. */
static void
cmp_add(ConcordSet *set, ConcordExpression *expression)
{
	if (set->expressions == NULL)
		set->expressions = palloc(sizeof(ConcordExpression *));
	else
		set->expressions = repalloc(set->expressions,
									sizeof(ConcordExpression *) * (set->n + 1));
	set->expressions[set->n++] = expression;
	if (expression->kind == CONCORD_EXPRESSION_SQL)
		set->nsql++;
}

/*
 * cmp_is_sent says whether a field is sent at all.  Where a row is routed, its
 * server may not be the one that owns it.
 */
static bool
cmp_is_sent(const ConcordMapping *mapping, const ConcordField *field)
{
	return field->pushed || mapping->options.route != NULL;
}

/*
 * cmp_sent lists the fields that are sent.  Results point to the list, so it
 * stays when the table has changed and all else is compiled again.
 */
static List *
cmp_sent(const ConcordMapping *mapping)
{
	List	   *sent = NIL;
	ListCell   *lc;

	foreach(lc, mapping->fields)
	{
		if (cmp_is_sent(mapping, lfirst(lc)))
			sent = lappend(sent, lfirst(lc));
	}
	if (list_length(sent) < list_length(mapping->fields))
		return sent;
	list_free(sent);
	return mapping->fields;
}

/* cmp_sets makes the sets of a mapping. */
static void
cmp_sets(ConcordCompiled *compiled)
{
	const ConcordMapping *mapping = compiled->mapping;
	ListCell   *lc;

	compiled->ordering = compiled->route = -1;
	if (mapping->written)
		return;					/* its events say all that there is to know */
	if (mapping->filter != NULL)
		cmp_add(&compiled->filter,
				cmp_expression(compiled, "filter", NULL, mapping->filter));
	foreach(lc, mapping->checks)
	{
		ConcordCheck *check = lfirst(lc);

		cmp_add(&compiled->checks,
				cmp_expression(compiled, "check", check->name,
							   check->expression));
	}
	foreach(lc, mapping->key)
	{
		ConcordField *field = lfirst(lc);
		ConcordExpression *expression;

		expression = cmp_expression(compiled, "key field", field->name,
									field->expression);
		cmp_add(&compiled->upsert, expression);
		cmp_add(&compiled->remove, expression);
		cmp_add(&compiled->keys, expression);
	}
	compiled->nkeys = list_length(mapping->key);
	if (mapping->options.ordering == CONCORD_ORDER_EXPRESSION)
	{
		ConcordExpression *expression;

		expression = cmp_expression(compiled, "ordering", NULL,
									mapping->options.ordering_expression);
		compiled->ordering = compiled->nkeys;
		cmp_add(&compiled->upsert, expression);
		cmp_add(&compiled->remove, expression);
	}
	if (mapping->options.route != NULL)
	{
		ConcordExpression *expression;

		expression = cmp_expression(compiled, "route", NULL,
									mapping->options.route);
		compiled->route = compiled->upsert.n;
		cmp_add(&compiled->upsert, expression);
		cmp_add(&compiled->remove, expression);
	}
	compiled->nleading = compiled->upsert.n;
	foreach(lc, mapping->fields)
	{
		ConcordField *field = lfirst(lc);
		ConcordExpression *expression;

		/* what is wrong with it is told all the same */
		expression = cmp_expression(compiled, "field", field->name,
									field->expression);
		compiled->sends |= field->pushed;
		if (cmp_is_sent(mapping, field))
			cmp_add(&compiled->upsert, expression);
	}
	compiled->sends |= mapping->options.route != NULL && !mapping->push_off;
	foreach(lc, mapping->options.on_delete_fields)
	{
		ConcordField *field = lfirst(lc);

		cmp_add(&compiled->remove,
				cmp_expression(compiled, "on_delete field", field->name,
							   field->expression));
	}
}

/* cmp_identity reads which columns an old image is sure to have. */
static void
cmp_identity(ConcordCompiled *compiled)
{
	Relation	rel = relation_open(compiled->mapping->source, AccessShareLock);
	Bitmapset  *columns;
	int			member = -1;

	compiled->replica_identity = rel->rd_rel->relreplident;
	compiled->identity_index = RelationGetReplicaIndex(rel);
	compiled->identity_full =
		rel->rd_rel->relreplident == REPLICA_IDENTITY_FULL;
	columns = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_IDENTITY_KEY);
	while ((member = bms_next_member(columns, member)) >= 0)
		compiled->identity = bms_add_member(compiled->identity,
											member + FirstLowInvalidHeapAttributeNumber);
	relation_close(rel, NoLock);
}

/* cmp_columns prepares reading and writing the table's columns. */
static void
cmp_columns(ConcordCompiled *compiled)
{
	TupleDesc	desc = compiled->names->desc;

	compiled->input = palloc0(sizeof(FmgrInfo) * (desc->natts + 1));
	compiled->output = palloc0(sizeof(FmgrInfo) * (desc->natts + 1));
	compiled->ioparam = palloc0(sizeof(Oid) * (desc->natts + 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Oid			function;
		bool		varlena;

		if (att->attisdropped)
			continue;
		getTypeInputInfo(att->atttypid, &function, &compiled->ioparam[i + 1]);
		fmgr_info_cxt(function, &compiled->input[i + 1], compiled->work);
		getTypeOutputInfo(att->atttypid, &function, &varlena);
		fmgr_info_cxt(function, &compiled->output[i + 1], compiled->work);
	}
}

/* cmp_local_key finds the columns of the local key. */
static void
cmp_local_key(ConcordCompiled *compiled)
{
	const ConcordMapping *mapping = compiled->mapping;
	ListCell   *lc;

	compiled->local = palloc0(sizeof(ConcordLocalPart) *
							  (list_length(mapping->local_key) + 1));
	foreach(lc, mapping->local_key)
	{
		const char *name = lfirst(lc);
		AttrNumber	attnum = get_attnum(mapping->source, name);
		ConcordLocalPart *part = &compiled->local[compiled->nlocal];
		StringInfoData buf;

		if (attnum == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("key column \"%s\" of table \"%s\" is gone",
							name, compiled->names->table)));
		initStringInfo(&buf);
		appendStringInfoString(&buf, compiled->nlocal++ == 0 ? "{" : ", ");
		concord_json_string(&buf, name, strlen(name));
		appendStringInfoString(&buf, ": ");
		part->attnum = attnum;
		part->type = getBaseType(TupleDescAttr(compiled->names->desc,
											   attnum - 1)->atttypid);
		part->before = pstrdup(buf.data);
		part->len = buf.len;
		pfree(buf.data);
	}
}

/* concord_compile_plain says what a plain expression comes to. */
void
concord_compile_plain(const ConcordExpression *expression, ConcordPlain *plain)
{
	plain->kind = expression->kind;
	plain->attnum = expression->attnum;
	plain->type = expression->type;
	plain->typmod = expression->typmod;
}

/* cmp_plain notes what the expressions of all sets come to, side by side. */
static void
cmp_plain(ConcordCompiled *compiled)
{
	ConcordSet *sets[] = {
		&compiled->filter, &compiled->checks, &compiled->upsert,
		&compiled->remove, &compiled->keys,
	};
	ConcordPlain *plain;
	int			n = 0;

	for (int i = 0; i < lengthof(sets); i++)
		n += sets[i]->n;
	plain = palloc(sizeof(ConcordPlain) * (n + 1));
	for (int i = 0; i < lengthof(sets); i++)
	{
		sets[i]->plain = plain;
		for (int j = 0; j < sets[i]->n; j++)
			concord_compile_plain(sets[i]->expressions[j], plain++);
	}
}

/* cmp_free_plans gives back what the plan cache holds for us. */
static void
cmp_free_plans(ConcordCompiled *compiled)
{
	ConcordSet *sets[] = {
		&compiled->filter, &compiled->checks, &compiled->upsert,
		&compiled->remove, &compiled->keys,
	};

	for (int i = 0; i < lengthof(sets); i++)
	{
		if (sets[i]->plan != NULL)
			SPI_freeplan(sets[i]->plan);
		memset(sets[i], 0, sizeof(*sets[i]));
	}
	if (compiled->reread != NULL)
		SPI_freeplan(compiled->reread);
	compiled->reread = NULL;
}

/* cmp_build compiles everything anew into compiled->work. */
static void
cmp_build(ConcordCompiled *compiled)
{
	MemoryContext old;
	const ConcordMapping *mapping = compiled->mapping;

	cmp_free_plans(compiled);
	MemoryContextReset(compiled->work);
	compiled->built = false;
	compiled->shapes = NIL;
	compiled->sends = false;
	compiled->shape_relation = NULL;
	compiled->identity = NULL;
	compiled->nlocal = 0;
	/* a message that arrives while we compile invalidates the result */
	compiled->valid = true;

	old = MemoryContextSwitchTo(compiled->work);
	compiled->scratch = AllocSetContextCreate(compiled->work,
											  "concord mapping parser",
											  ALLOCSET_DEFAULT_SIZES);
	compiled->names = concord_names_create(mapping->source, compiled->work);
	if (OidIsValid(mapping->source))
	{
		cmp_identity(compiled);
		cmp_columns(compiled);
		cmp_local_key(compiled);
	}
	cmp_sets(compiled);
	cmp_plain(compiled);
	MemoryContextDelete(compiled->scratch);
	compiled->scratch = NULL;
	compiled->row_desc = concord_statement_desc(compiled->names);
	compiled->plain = concord_transaction_is_plain(compiled);
	compiled->built = true;
	MemoryContextSwitchTo(old);
}

/*
 * cmp_holds: the table is still what all was made of.  Mostly it is: every
 * VACUUM and ANALYZE says that something may have changed.
 */
static bool
cmp_holds(ConcordCompiled *compiled)
{
	Relation	rel;
	bool		holds;

	if (!compiled->built || !OidIsValid(compiled->mapping->source))
		return false;
	/* a message that arrives from here on counts again */
	compiled->valid = true;
	rel = try_relation_open(compiled->mapping->source, AccessShareLock);
	if (rel == NULL)
		return false;
	holds = concord_names_hold(compiled->names, rel) &&
		rel->rd_rel->relreplident == compiled->replica_identity &&
		RelationGetReplicaIndex(rel) == compiled->identity_index;
	relation_close(rel, NoLock);
	return holds;
}

/* concord_compile_refresh compiles again where that is needed. */
void
concord_compile_refresh(ConcordCompiled *compiled)
{
	for (int tries = 0;
		 (!compiled->valid || !compiled->built) && tries < 10; tries++)
		if (!cmp_holds(compiled))
			cmp_build(compiled);
}

/* concord_compile_prepare makes a set's statement. */
void
concord_compile_prepare(ConcordCompiled *compiled, ConcordSet *set)
{
	if (set->plan == NULL && set->nsql > 0)
	{
		set->plan = concord_statement_prepare(compiled, set);
		if (SPI_keepplan(set->plan) != 0)
			elog(ERROR, "could not keep a mapping's statement");
	}
}

/* cmp_release runs when the context of a compiled mapping goes. */
static void
cmp_release(void *arg)
{
	ConcordCompiled *compiled = arg;

	dlist_delete(&compiled->node);
	cmp_free_plans(compiled);
}

/* concord_mapping_compile compiles a mapping's current version. */
ConcordCompiled *
concord_mapping_compile(const ConcordMapping *mapping, MemoryContext context)
{
	MemoryContext own = AllocSetContextCreate(context, "concord mapping",
											  ALLOCSET_SMALL_SIZES);
	ConcordCompiled *compiled;
	MemoryContextCallback *callback;
	MemoryContext old;
	ConcordEnvironment environment;

	if (!cmp_registered)
	{
		CacheRegisterRelcacheCallback(cmp_invalidate, (Datum) 0);
		cmp_registered = true;
	}

	compiled = MemoryContextAllocZero(own, sizeof(ConcordCompiled));
	compiled->mapping = mapping;
	compiled->context = own;
	compiled->work = AllocSetContextCreate(own, "concord mapping version",
										   ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(own);
	compiled->sent = cmp_sent(mapping);
	MemoryContextSwitchTo(old);
	callback = MemoryContextAllocZero(own, sizeof(MemoryContextCallback));
	callback->func = cmp_release;
	callback->arg = compiled;
	MemoryContextRegisterResetCallback(own, callback);
	dlist_push_tail(&cmp_all[mapping->source % CMP_LISTS], &compiled->node);

	PG_TRY();
	{
		concord_environment_enter(&environment, mapping->definer,
								  mapping->search_path);
		concord_compile_refresh(compiled);
		concord_environment_leave(&environment);
	}
	PG_CATCH();
	{
		/* a courier tries again and again */
		MemoryContextSwitchTo(context);
		MemoryContextDelete(own);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return compiled;
}

/* concord_mapping_free gives a compiled mapping back. */
void
concord_mapping_free(ConcordCompiled *compiled)
{
	MemoryContextDelete(compiled->context);
}

/* cmp_check_set runs each of a set's statements over no rows. */
static void
cmp_check_set(ConcordCompiled *compiled, ConcordSet *set)
{
	for (int i = 0; i < set->n; i++)
	{
		if (set->expressions[i]->kind == CONCORD_EXPRESSION_SQL)
			concord_run_nothing(compiled, set->expressions[i]);
	}
}

/* cmp_old_known says whether an old image always has what is needed. */
static bool
cmp_old_known(const ConcordCompiled *compiled,
			  const ConcordExpression *expression)
{
	return compiled->identity_full ||
		(!expression->whole_row &&
		 bms_is_subset(expression->columns, compiled->identity));
}

/*
 * cmp_check_identity refuses a mapping that could not tell the system about a
 * deleted row, because the write-ahead log does not have what it needs.
 */
static void
cmp_check_identity(ConcordCompiled *compiled)
{
	const ConcordMapping *mapping = compiled->mapping;
	const ConcordSet *set = &compiled->remove;

	if (mapping->topic != NULL ||
		mapping->options.on_delete == CONCORD_DELETE_IGNORE)
		return;
	if (!compiled->identity_full && compiled->identity == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no replica identity",
						compiled->names->table),
				 errdetail("A deleted row of it cannot be named to the system."),
				 errhint("Give it a primary key that is not deferrable, use ALTER TABLE ... REPLICA IDENTITY FULL, or set option \"on_delete\" to \"ignore\".")));
	for (int i = 0; i < set->n; i++)
	{
		const ConcordExpression *expression = set->expressions[i];

		/* where a record is its link says */
		if (i != compiled->route && !cmp_old_known(compiled, expression))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("%s needs columns that are not known of a deleted row",
							concord_run_describe(expression)),
					 errdetail("Of a deleted row of table \"%s\" only its replica identity is in the write-ahead log.",
							   compiled->names->table),
					 errhint("Use ALTER TABLE %s REPLICA IDENTITY FULL, use only columns of the replica identity, or set option \"on_delete\" to \"ignore\".",
							 quote_qualified_identifier(compiled->names->schema,
														compiled->names->table))));
	}
}

/* concord_compile_check refuses a mapping that cannot work. */
void
concord_compile_check(const ConcordMapping *mapping)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "concord mapping check",
												  ALLOCSET_DEFAULT_SIZES);
	ConcordCompiled *compiled;
	ConcordEnvironment environment;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	compiled = concord_mapping_compile(mapping, context);
	concord_environment_enter(&environment, mapping->definer,
							  mapping->search_path);
	cmp_check_set(compiled, &compiled->filter);
	cmp_check_set(compiled, &compiled->checks);
	cmp_check_set(compiled, &compiled->upsert);
	cmp_check_set(compiled, &compiled->remove);
	concord_incoming_check(mapping);
	concord_environment_leave(&environment);
	cmp_check_identity(compiled);
	SPI_finish();
	MemoryContextDelete(context);
}
