/*-------------------------------------------------------------------------
 *
 * relation.c
 *	  Definitions of captured relations, stored once per version.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "catalog/pg_type.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "decoder/protocol.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "outbox/relation.h"
#include "outbox/tables.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/snapmgr.h"

#define REL_DEFINITION	7		/* column of concord.relation_version */

/* A cursor over a definition; ok turns false at the first damage. */
typedef struct RelCursor
{
	const char *p;
	const char *end;
	bool		ok;
} RelCursor;

static uint64
rel_varint(RelCursor *c)
{
	uint64		v = 0;
	const char *p = c->ok ? concord_get_varint(c->p, c->end, &v) : NULL;

	if (p == NULL)
	{
		c->ok = false;
		return 0;
	}
	c->p = p;
	return v;
}

static uint8
rel_byte(RelCursor *c)
{
	if (!c->ok || c->p >= c->end)
	{
		c->ok = false;
		return 0;
	}
	return (uint8) *c->p++;
}

/* rel_text reads a text into a string of its own. */
static char *
rel_text(RelCursor *c)
{
	uint64		len = rel_varint(c);
	char	   *text;

	if (!c->ok || len > (uint64) (c->end - c->p))
	{
		c->ok = false;
		return NULL;
	}
	text = pnstrdup(c->p, len);
	c->p += len;
	return text;
}

/* concord_relation_parse splits a definition. */
ConcordRelation *
concord_relation_parse(const char *definition, uint32 len,
					   MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	ConcordRelation *rel = palloc0(sizeof(ConcordRelation));
	RelCursor	c = {definition, definition + len, true};
	uint64		n;

	rel->relid = (Oid) rel_varint(&c);
	rel->replident = (char) rel_byte(&c);
	(void) rel_byte(&c);
	rel->schema = rel_text(&c);
	rel->table = rel_text(&c);
	n = rel_varint(&c);
	if (n > MaxTupleAttributeNumber)
		c.ok = false;
	if (c.ok)
	{
		rel->ncolumns = (int) n;
		rel->columns = palloc0(sizeof(ConcordColumn) * Max(n, 1));
	}
	for (int i = 0; c.ok && i < rel->ncolumns; i++)
	{
		ConcordColumn *column = &rel->columns[i];

		column->attnum = (AttrNumber) rel_varint(&c);
		column->flags = rel_byte(&c);
		column->typid = (Oid) rel_varint(&c);
		column->typmod = (int32) rel_varint(&c) - 1;
		column->name = rel_text(&c);
		column->typname = rel_text(&c);
	}
	MemoryContextSwitchTo(old);
	return c.ok && c.p == c.end ? rel : NULL;
}

/* rel_digest computes the SHA-256 of a definition, as a bytea Datum. */
static Datum
rel_digest(const char *definition, uint32 len)
{
	bytea	   *digest = palloc(VARHDRSZ + PG_SHA256_DIGEST_LENGTH);
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);

	SET_VARSIZE(digest, VARHDRSZ + PG_SHA256_DIGEST_LENGTH);
	if (ctx == NULL || pg_cryptohash_init(ctx) < 0 ||
		pg_cryptohash_update(ctx, (const uint8 *) definition, len) < 0 ||
		pg_cryptohash_final(ctx, (uint8 *) VARDATA(digest),
							PG_SHA256_DIGEST_LENGTH) < 0)
		elog(ERROR, "could not compute the digest of a table's definition");
	pg_cryptohash_free(ctx);
	return PointerGetDatum(digest);
}

/* concord_relation_store returns the id of the version with this definition. */
int32
concord_relation_store(const ConcordRelation *relation, const char *definition,
					   uint32 len)
{
	Oid			types[] = {OIDOID, NAMEOID, NAMEOID, CHAROID, BYTEAOID, BYTEAOID};
	Datum		values[lengthof(types)];
	bytea	   *copy = palloc(VARHDRSZ + len);
	bool		isnull;

	SET_VARSIZE(copy, VARHDRSZ + len);
	memcpy(VARDATA(copy), definition, len);
	values[0] = ObjectIdGetDatum(relation->relid);
	values[1] = DirectFunctionCall1(namein, CStringGetDatum(relation->schema));
	values[2] = DirectFunctionCall1(namein, CStringGetDatum(relation->table));
	values[3] = CharGetDatum(relation->replident);
	values[4] = PointerGetDatum(copy);
	values[5] = rel_digest(definition, len);
	if (SPI_execute_with_args("SELECT id FROM concord.relation_version"
							  " WHERE relid = $1 AND digest = $6",
							  lengthof(types), types, values, NULL, true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look up the definition of a table");
	if (SPI_processed == 0 &&
		SPI_execute_with_args("INSERT INTO concord.relation_version"
							  " (id, relid, schema, name, replident, definition, digest)"
							  " SELECT coalesce(max(id), 0) + 1, $1, $2, $3, $4, $5, $6"
							  " FROM concord.relation_version RETURNING id",
							  lengthof(types), types, values, NULL, false, 0) != SPI_OK_INSERT_RETURNING)
		elog(ERROR, "could not store the definition of a table");
	if (SPI_processed != 1)
		elog(ERROR, "definition of table %u was not stored", relation->relid);
	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0],
									   SPI_tuptable->tupdesc, 1, &isnull));
}

/* concord_relation_load reads a stored version into context. */
ConcordRelation *
concord_relation_load(int32 id, MemoryContext context)
{
	Relation	table = table_open(concord_outbox_table("relation_version"),
								   AccessShareLock);
	ConcordRelation *result = NULL;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(id));
	scan = systable_beginscan(table, concord_primary_key(table), true,
							  GetActiveSnapshot(), 1, &key);
	if ((tuple = systable_getnext(scan)) != NULL)
	{
		bool		isnull;
		bytea	   *definition = DatumGetByteaPP(heap_getattr(tuple, REL_DEFINITION,
															  RelationGetDescr(table),
															  &isnull));

		result = concord_relation_parse(VARDATA_ANY(definition),
										VARSIZE_ANY_EXHDR(definition), context);
	}
	systable_endscan(scan);
	table_close(table, AccessShareLock);
	if (result == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("definition %d in concord.relation_version is missing or damaged",
						id)));
	result->id = id;
	return result;
}
