/*-------------------------------------------------------------------------
 *
 * json_schema.c
 *	  What JSON events say of a relation: its names, its columns, their types.
 *
 * Whatever does not change from row to row is escaped and laid out once, when
 * the relation's entry is filled; a row copies it and formats its values
 * between.  With schema = inline the definition is part of what is copied.
 *
 * With schema = once a definition is an event of its own.  It comes before an
 * event that goes by another definition than the one last told of the same
 * table.  Relations of the WAL that are sent as one table (partitions under
 * their root) need not agree in it, for a replica identity is a partition's
 * own; so a table's last definition is kept by the relation it is sent as, and
 * each event names its definition.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"

#include "json_event.h"
#include "protocol.h"

/* Digits of a definition's hash. */
#define HASH_BYTES	8

/* What the stream has said of the relation with this OID. */
struct ConcordJsonTold
{
	Oid			relid;			/* hash key */
	char		hash[2 * HASH_BYTES + 1];	/* of the last definition */
};

/* Lay out the member "types" of a relation. */
static void
sc_types(StringInfo buf, ConcordRel *rel)
{
	concord_buf_literal(buf, ",\"types\":{");
	for (int i = 0; i < rel->ncolumns; i++)
	{
		ConcordColumn *column = &rel->columns[i];
		char	   *type = concord_relcache_type_name(column->typid, column->typmod);

		concord_buf_append(buf, column->json_name + (i == 0 ? 1 : 0),
						   column->json_name_len - (i == 0 ? 1 : 0));
		concord_json_string(buf, type, strlen(type));
	}
	concord_buf_putc(buf, '}');
}

/* Name a replica identity. */
static const char *
sc_identity(char replident)
{
	switch (replident)
	{
		case REPLICA_IDENTITY_FULL:
			return "full";
		case REPLICA_IDENTITY_INDEX:
			return "index";
		case REPLICA_IDENTITY_NOTHING:
			return "nothing";
		default:
			return "default";
	}
}

/* Append what a definition says of a column. */
static void
sc_column(StringInfo buf, const ConcordColumn *column)
{
	char	   *type = concord_relcache_type_name(column->typid, column->typmod);

	concord_buf_literal(buf, "{\"name\":");
	concord_json_string(buf, column->name, strlen(column->name));
	concord_buf_literal(buf, ",\"type\":");
	concord_json_string(buf, type, strlen(type));
	concord_buf_literal(buf, ",\"oid\":");
	concord_json_number(buf, column->typid);
	if (column->typmod >= 0)
	{
		concord_buf_literal(buf, ",\"typmod\":");
		concord_json_number(buf, column->typmod);
	}
	if (column->key)
		concord_buf_literal(buf, ",\"key\":true");
	if (column->flags & CONCORD_COL_IDENTITY)
		concord_buf_literal(buf, ",\"identity\":true");
	if (column->flags & CONCORD_COL_PRIMARY)
		concord_buf_literal(buf, ",\"primary_key\":true");
	if (column->notnull)
		concord_buf_literal(buf, ",\"not_null\":true");
	if (column->flags & CONCORD_COL_GENERATED)
		concord_buf_literal(buf, ",\"generated\":true");
	concord_buf_putc(buf, '}');
}

/* Append a relation's definition. */
static void
sc_definition(StringInfo buf, ConcordRel *rel)
{
	concord_buf_literal(buf, ",\"relid\":");
	concord_json_number(buf, rel->target);
	concord_json_plain(buf, "replica_identity", sc_identity(rel->replident));
	concord_buf_literal(buf, ",\"columns\":[");
	for (int i = 0; i < rel->ncolumns; i++)
	{
		if (i > 0)
			concord_buf_putc(buf, ',');
		sc_column(buf, &rel->columns[i]);
	}
	concord_buf_putc(buf, ']');
}

/* Compute the hash of a definition's text, in hexadecimal. */
static void
sc_hash(const char *data, int len, char *hash)
{
	uint8		digest[PG_SHA256_DIGEST_LENGTH];
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);

	if (pg_cryptohash_init(ctx) < 0 ||
		pg_cryptohash_update(ctx, (const uint8 *) data, len) < 0 ||
		pg_cryptohash_final(ctx, digest, sizeof(digest)) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(ctx));
	pg_cryptohash_free(ctx);
	hash[hex_encode((char *) digest, HASH_BYTES, hash)] = '\0';
}

/* Find or make what the stream has said of a relation. */
static struct ConcordJsonTold *
sc_told(DecoderState *state, Oid relid)
{
	struct ConcordJsonTold *told;
	bool		found;

	if (state->json_told == NULL)
	{
		HASHCTL		ctl;

		memset(&ctl, 0, sizeof(ctl));
		ctl.keysize = sizeof(Oid);
		ctl.entrysize = sizeof(struct ConcordJsonTold);
		ctl.hcxt = state->context;
		state->json_told = hash_create("concord_decoder definitions told", 64, &ctl,
									   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	told = hash_search(state->json_told, &relid, HASH_ENTER, &found);
	if (!found)
		told->hash[0] = '\0';
	return told;
}

/*
 * Lay out the definition, and what each event repeats of it.  The hash is of
 * all that is said, names included.
 */
static void
sc_describe_schema(DecoderState *state, ConcordRel *rel, StringInfo head)
{
	StringInfoData buf;
	int			before = head->len;
	char		hash[2 * HASH_BYTES + 1];

	sc_definition(head, rel);
	sc_hash(head->data, head->len, hash);

	initStringInfo(&buf);
	concord_json_plain(&buf, "definition", hash);
	if (state->options.schema == CONCORD_SCHEMA_ONCE)
	{
		rel->json_hash = pstrdup(hash);
		rel->json_told = sc_told(state, rel->target);
		rel->json_columns = pnstrdup(head->data + before, head->len - before);
		head->len = before;
		concord_buf_append(head, buf.data, buf.len);
	}
	else
	{
		concord_buf_append(&buf, head->data + before, head->len - before);
		head->len = before;
		concord_buf_append(head, buf.data, buf.len);
	}
	pfree(buf.data);
}

/* Escape the names of a relation's columns once. */
void
concord_json_describe_columns(ConcordRel *rel)
{
	StringInfoData buf;

	initStringInfo(&buf);
	for (int i = 0; i < rel->ncolumns; i++)
	{
		ConcordColumn *column = &rel->columns[i];

		resetStringInfo(&buf);
		concord_buf_putc(&buf, ',');
		concord_json_string(&buf, column->name, strlen(column->name));
		concord_buf_putc(&buf, ':');
		column->json_name_len = buf.len;
		/* concord_put_name() reads beyond its end */
		enlargeStringInfo(&buf, CONCORD_NAME_PIECE);
		memset(buf.data + buf.len, 0, CONCORD_NAME_PIECE);
		column->json_name = memcpy(palloc(buf.len + CONCORD_NAME_PIECE), buf.data,
								   buf.len + CONCORD_NAME_PIECE);
		rel->json_has_key |= column->key;
	}
	pfree(buf.data);
}

/* Append a relation's names as members. */
void
concord_json_names(StringInfo buf, ConcordRel *rel)
{
	concord_buf_literal(buf, ",\"schema\":");
	concord_json_string(buf, rel->schema, strlen(rel->schema));
	concord_buf_literal(buf, ",\"table\":");
	concord_json_string(buf, rel->table, strlen(rel->table));
}

/* Lay out all that a relation's events repeat. */
void
concord_json_describe(DecoderState *state, ConcordRel *rel)
{
	StringInfoData buf;

	concord_json_describe_columns(rel);
	initStringInfo(&buf);
	concord_json_names(&buf, rel);
	if (state->options.schema != CONCORD_SCHEMA_NONE)
		sc_describe_schema(state, rel, &buf);
	rel->json_head = pnstrdup(buf.data, buf.len);
	rel->json_head_len = buf.len;

	resetStringInfo(&buf);
	if (state->options.include_types)
		sc_types(&buf, rel);
	rel->json_types = pnstrdup(buf.data, buf.len);
	rel->json_types_len = buf.len;
	pfree(buf.data);
}

/*
 * Is another definition than the relation's the last that was told of it?
 * Then it counts as told from now on.  Asked where rel->json_told is set.
 */
bool
concord_json_relation_due(ConcordRel *rel)
{
	if (strcmp(rel->json_told->hash, rel->json_hash) == 0)
		return false;
	strcpy(rel->json_told->hash, rel->json_hash);
	return true;
}
