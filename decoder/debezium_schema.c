/*-------------------------------------------------------------------------
 *
 * debezium_schema.c
 *	  The schemas that stand in each event with schema = inline.
 *
 * They are what Kafka Connect's JsonConverter writes with schemas.enable: the
 * types of all members, with the names by which consumers know Debezium's own
 * ones.  They are laid out once for a relation.
 *
 * A column is optional unless it has a value in each image: the old image of a
 * table whose replica identity is not FULL has the key alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_enum.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"

#include "debezium.h"
#include "protocol.h"

/* What a form is in Kafka Connect: its type, and its name where it has one. */
static const struct
{
	const char *type;
	const char *name;
}			forms[] =

{
	[DBZ_STRING] = {"string", NULL},
	[DBZ_BOOLEAN] = {"boolean", NULL},
	[DBZ_INT16] = {"int16", NULL},
	[DBZ_INT32] = {"int32", NULL},
	[DBZ_INT64] = {"int64", NULL},
	[DBZ_FLOAT32] = {"float", NULL},
	[DBZ_FLOAT64] = {"double", NULL},
	[DBZ_DECIMAL] = {"bytes", "org.apache.kafka.connect.data.Decimal"},
	[DBZ_VARIABLE_DECIMAL] = {"struct", "io.debezium.data.VariableScaleDecimal"},
	[DBZ_MONEY] = {"bytes", "org.apache.kafka.connect.data.Decimal"},
	[DBZ_BYTES] = {"bytes", NULL},
	[DBZ_JSON] = {"string", "io.debezium.data.Json"},
	[DBZ_HSTORE] = {"string", "io.debezium.data.Json"},
	[DBZ_UUID] = {"string", "io.debezium.data.Uuid"},
	[DBZ_XML] = {"string", "io.debezium.data.Xml"},
	[DBZ_ENUM] = {"string", "io.debezium.data.Enum"},
	[DBZ_DATE] = {"int32", "io.debezium.time.Date"},
	[DBZ_TIME] = {"int32", "io.debezium.time.Time"},
	[DBZ_MICRO_TIME] = {"int64", "io.debezium.time.MicroTime"},
	[DBZ_ZONED_TIME] = {"string", "io.debezium.time.ZonedTime"},
	[DBZ_TIMESTAMP] = {"int64", "io.debezium.time.Timestamp"},
	[DBZ_MICRO_TIMESTAMP] = {"int64", "io.debezium.time.MicroTimestamp"},
	[DBZ_ZONED_TIMESTAMP] = {"string", "io.debezium.time.ZonedTimestamp"},
	[DBZ_INTERVAL] = {"int64", "io.debezium.time.MicroDuration"},
	[DBZ_BIT] = {"boolean", NULL},
	[DBZ_BITS] = {"bytes", "io.debezium.data.Bits"},
	[DBZ_POINT] = {"struct", "io.debezium.data.geometry.Point"},
	[DBZ_GEOMETRY] = {"struct", "io.debezium.data.geometry.Geometry"},
	[DBZ_GEOGRAPHY] = {"struct", "io.debezium.data.geometry.Geography"},
	[DBZ_ARRAY] = {"array", NULL},
};

/* A member whose type needs no more words. */
#define FIELD(type, optional, name) \
	"{\"type\":\"" type "\",\"optional\":" optional ",\"field\":\"" name "\"}"

static const char source_fields[] =
"{\"type\":\"struct\",\"fields\":["
FIELD("string", "false", "version") ","
FIELD("string", "false", "connector") ","
FIELD("string", "false", "name") ","
FIELD("int64", "false", "ts_ms") ","
"{\"type\":\"string\",\"optional\":true,\"name\":\"io.debezium.data.Enum\",\"version\":1,"
"\"parameters\":{\"allowed\":\"true,first,first_in_data_collection,"
"last_in_data_collection,last,false,incremental\"},"
"\"default\":\"false\",\"field\":\"snapshot\"},"
FIELD("string", "false", "db") ","
FIELD("string", "true", "sequence") ","
FIELD("int64", "true", "ts_us") ","
FIELD("int64", "true", "ts_ns") ","
FIELD("string", "false", "schema") ","
FIELD("string", "false", "table") ","
FIELD("int64", "true", "txId") ","
FIELD("int64", "true", "lsn") ","
FIELD("int64", "true", "xmin")
"],\"optional\":false,\"name\":\"io.debezium.connector.postgresql.Source\","
"\"field\":\"source\"}";

static const char tail_fields[] =
FIELD("string", "false", "op") ","
FIELD("int64", "true", "ts_ms") ","
FIELD("int64", "true", "ts_us") ","
FIELD("int64", "true", "ts_ns") ","
"{\"type\":\"struct\",\"fields\":["
FIELD("string", "false", "id") ","
FIELD("int64", "false", "total_order") ","
FIELD("int64", "false", "data_collection_order")
"],\"optional\":true,\"name\":\"event.block\",\"version\":1,\"field\":\"transaction\"}";

static const char message_schema[] =
"\"schema\":{\"type\":\"struct\",\"fields\":["
"{\"type\":\"struct\",\"fields\":["
FIELD("string", "true", "prefix") ","
"{\"type\":\"%s\",\"optional\":true,\"field\":\"content\"}"
"],\"optional\":false,\"name\":\"io.debezium.connector.postgresql.Message\","
"\"field\":\"message\"},%s,%s"
"],\"optional\":false,\"name\":\"io.debezium.connector.postgresql.MessageValue\","
"\"version\":1},\"payload\":{";

static const char message_key_schema[] =
"{\"schema\":{\"type\":\"struct\",\"fields\":["
FIELD("string", "true", "prefix")
"],\"optional\":false,\"name\":\"io.debezium.connector.postgresql.MessageKey\","
"\"version\":1},\"payload\":";

static const char transaction_schema[] =
"\"schema\":{\"type\":\"struct\",\"fields\":["
FIELD("string", "false", "status") ","
FIELD("string", "false", "id") ","
FIELD("int64", "true", "event_count") ","
"{\"type\":\"array\",\"items\":{\"type\":\"struct\",\"fields\":["
FIELD("string", "false", "data_collection") ","
FIELD("int64", "false", "event_count")
"],\"optional\":true,\"name\":\"event.collection\",\"version\":1},"
"\"optional\":true,\"field\":\"data_collections\"},"
FIELD("int64", "false", "ts_ms")
"],\"optional\":false,\"name\":\"io.debezium.connector.common.TransactionMetadataValue\","
"\"version\":1},\"payload\":{";

static const char transaction_key_schema[] =
"{\"schema\":{\"type\":\"struct\",\"fields\":["
FIELD("string", "false", "id")
"],\"optional\":false,\"name\":\"io.debezium.connector.common.TransactionMetadataKey\","
"\"version\":1},\"payload\":";

/* Append the words of an enum, separated by commas, as they stand in order. */
static void
ds_enum_words(StringInfo buf, Oid typid)
{
	Relation	relation = table_open(EnumRelationId, AccessShareLock);
	Relation	index = index_open(EnumTypIdSortOrderIndexId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	StringInfoData words;

	initStringInfo(&words);
	ScanKeyInit(&key, Anum_pg_enum_enumtypid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(typid));
	scan = systable_beginscan_ordered(relation, index, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		if (words.len > 0)
			appendStringInfoChar(&words, ',');
		appendStringInfoString(&words, NameStr(((Form_pg_enum) GETSTRUCT(tuple))->enumlabel));
	}
	systable_endscan_ordered(scan);
	index_close(index, AccessShareLock);
	table_close(relation, AccessShareLock);
	concord_json_string(buf, words.data, words.len);
	pfree(words.data);
}

/* Is a decimal's form changed by option decimal? */
static const char *
ds_decimal_type(DecoderState *state, DbzKind kind)
{
	if (kind != DBZ_DECIMAL && kind != DBZ_VARIABLE_DECIMAL && kind != DBZ_MONEY)
		return NULL;
	if (state->options.decimal == CONCORD_DECIMAL_STRING)
		return "string";
	if (state->options.decimal == CONCORD_DECIMAL_DOUBLE)
		return "double";
	return NULL;
}

/* Append the parameters and members that belong to a form. */
static void
ds_details(StringInfo buf, const DbzType *type)
{
	switch (type->kind)
	{
		case DBZ_DECIMAL:
			appendStringInfo(buf, ",\"parameters\":{\"scale\":\"%d\","
							 "\"connect.decimal.precision\":\"%d\"}",
							 type->scale, type->length);
			break;
		case DBZ_MONEY:
			concord_buf_literal(buf, ",\"parameters\":{\"scale\":\"2\"}");
			break;
		case DBZ_VARIABLE_DECIMAL:
			concord_buf_literal(buf, ",\"doc\":\"Variable scaled decimal\",\"fields\":["
								FIELD("int32", "false", "scale") ","
								FIELD("bytes", "false", "value") "]");
			break;
		case DBZ_POINT:
			concord_buf_literal(buf, ",\"doc\":\"Geometry (POINT)\",\"fields\":["
								FIELD("double", "false", "x") ","
								FIELD("double", "false", "y") ","
								FIELD("bytes", "true", "wkb") ","
								FIELD("int32", "true", "srid") "]");
			break;
		case DBZ_GEOMETRY:
		case DBZ_GEOGRAPHY:
			appendStringInfo(buf, ",\"doc\":\"%s\",\"fields\":["
							 FIELD("bytes", "false", "wkb") ","
							 FIELD("int32", "true", "srid") "]",
							 type->kind == DBZ_GEOMETRY ? "Geometry" : "Geography");
			break;
		case DBZ_BITS:
			appendStringInfo(buf, ",\"parameters\":{\"length\":\"%d\"}", type->length);
			break;
		case DBZ_ENUM:
			concord_buf_literal(buf, ",\"parameters\":{\"allowed\":");
			ds_enum_words(buf, type->typid);
			concord_buf_putc(buf, '}');
			break;
		default:
			break;
	}
}

/* Append the schema of a form, without the brace that ends it. */
static void
ds_form(StringInfo buf, DecoderState *state, const DbzType *type, bool optional)
{
	const char *plain = ds_decimal_type(state, type->kind);
	const char *name = forms[type->kind].name;

	if (type->kind == DBZ_BYTES && state->options.bytea_hex)
		plain = "string";
	if (type->kind == DBZ_INTERVAL && state->options.interval_string)
	{
		plain = "string";
		name = "io.debezium.time.Interval";
	}
	appendStringInfo(buf, "{\"type\":\"%s\"", plain ? plain : forms[type->kind].type);
	if (type->kind == DBZ_ARRAY)
	{
		concord_buf_literal(buf, ",\"items\":");
		ds_form(buf, state, type->element, true);
		concord_buf_putc(buf, '}');
	}
	appendStringInfo(buf, ",\"optional\":%s", optional ? "true" : "false");
	if (name != NULL && (plain == NULL || type->kind == DBZ_INTERVAL))
	{
		appendStringInfo(buf, ",\"name\":\"%s\",\"version\":1", name);
		ds_details(buf, type);
	}
}

/* Append the columns of a relation, or those of its key, as members. */
static void
ds_columns(StringInfo buf, DecoderState *state, ConcordRel *rel, bool key_only)
{
	bool		first = true;

	concord_buf_putc(buf, '[');
	for (int i = 0; i < rel->ncolumns; i++)
	{
		const ConcordColumn *column = &rel->columns[i];
		bool		always = column->key ||
			(column->flags & CONCORD_COL_IDENTITY) != 0 ||
			!rel->has_identity;

		if (key_only && !column->key)
			continue;
		if (!first)
			concord_buf_putc(buf, ',');
		first = false;
		ds_form(buf, state, &rel->debezium->types[i], !(column->notnull && always));
		concord_buf_literal(buf, ",\"field\":");
		concord_json_string(buf, column->name, strlen(column->name));
		concord_buf_putc(buf, '}');
	}
	concord_buf_putc(buf, ']');
}

/* Append the name of a relation's schema of one kind. */
static void
ds_name(StringInfo buf, DecoderState *state, ConcordRel *rel, const char *kind)
{
	char	   *name = psprintf("%s.%s.%s.%s", state->options.source, rel->schema,
								rel->table, kind);

	concord_buf_literal(buf, ",\"name\":");
	concord_json_string(buf, name, strlen(name));
	pfree(name);
}

/* Append an image's schema as a member of the envelope's. */
static void
ds_image(StringInfo buf, DecoderState *state, ConcordRel *rel, const char *field)
{
	concord_buf_literal(buf, "{\"type\":\"struct\",\"fields\":");
	ds_columns(buf, state, rel, false);
	concord_buf_literal(buf, ",\"optional\":true");
	ds_name(buf, state, rel, "Value");
	concord_json_plain(buf, "field", field);
	concord_buf_literal(buf, "},");
}

/* Lay out the schemas of a relation's events and of their keys. */
void
concord_debezium_schema(DecoderState *state, ConcordRel *rel)
{
	StringInfoData buf;

	initStringInfo(&buf);
	concord_buf_literal(&buf, "\"schema\":{\"type\":\"struct\",\"fields\":[");
	ds_image(&buf, state, rel, "before");
	ds_image(&buf, state, rel, "after");
	appendStringInfo(&buf, "%s,%s],\"optional\":false", source_fields, tail_fields);
	ds_name(&buf, state, rel, "Envelope");
	concord_buf_literal(&buf, ",\"version\":2},\"payload\":{");
	rel->debezium->schema = pnstrdup(buf.data, buf.len);

	resetStringInfo(&buf);
	concord_buf_literal(&buf, "{\"schema\":{\"type\":\"struct\",\"fields\":");
	ds_columns(&buf, state, rel, true);
	concord_buf_literal(&buf, ",\"optional\":false");
	ds_name(&buf, state, rel, "Key");
	concord_buf_literal(&buf, "},\"payload\":");
	rel->debezium->key_schema = pnstrdup(buf.data, buf.len);
	pfree(buf.data);
}

/* Lay out the schemas of messages and of transactions' events, and their keys. */
void
concord_debezium_fixed_schemas(DecoderState *state)
{
	const char **fixed = state->debezium->fixed;

	fixed[DBZ_FIXED_MESSAGE] = psprintf(message_schema,
										state->options.bytea_hex ? "string" : "bytes",
										source_fields, tail_fields);
	fixed[DBZ_FIXED_MESSAGE_KEY] = message_key_schema;
	fixed[DBZ_FIXED_TRANSACTION] = transaction_schema;
	fixed[DBZ_FIXED_TRANSACTION_KEY] = transaction_key_schema;
}
