/*-------------------------------------------------------------------------
 *
 * import_types.c
 *	  Types of OData as types of SQL.
 *
 * A facet that is not given is not guessed: a decimal without a scale is
 * numeric of any scale, although OData 4 says that it has none, because many
 * services leave it out and digits would be lost.
 *
 *-------------------------------------------------------------------------
 */
#include "fdw/import.h"

#define TYP_MAX_LENGTH		10485760	/* of varchar */
#define TYP_MAX_PRECISION	1000	/* of numeric */
#define TYP_MAX_FRACTION	6	/* digits of a second */
#define TYP_DEFINITIONS		16	/* of definitions by definitions */

/* What facets a type of SQL takes. */
typedef enum ConcordFacetKind
{
	TYP_PLAIN,
	TYP_LENGTH,
	TYP_NUMERIC,
	TYP_TIME,
} ConcordFacetKind;

typedef struct ConcordPrimitive
{
	const char *edm;			/* without "Edm." */
	const char *sql;
	ConcordFacetKind facets;
	bool		implied;		/* this type of SQL is taken for that one */
} ConcordPrimitive;

static const ConcordPrimitive typ_primitives[] = {
	{"String", "text", TYP_LENGTH, true},
	{"Boolean", "boolean", TYP_PLAIN, true},
	{"Byte", "smallint", TYP_PLAIN, true},
	{"SByte", "smallint", TYP_PLAIN, true},
	{"Int16", "smallint", TYP_PLAIN, true},
	{"Int32", "integer", TYP_PLAIN, true},
	{"Int64", "bigint", TYP_PLAIN, true},
	{"Single", "real", TYP_PLAIN, true},
	{"Double", "double precision", TYP_PLAIN, true},
	{"Decimal", "numeric", TYP_NUMERIC, true},
	{"Guid", "uuid", TYP_PLAIN, true},
	{"Binary", "bytea", TYP_PLAIN, true},
	{"Date", "date", TYP_PLAIN, true},
	{"DateTime", "timestamp", TYP_TIME, true},
	{"DateTimeOffset", "timestamptz", TYP_TIME, true},
	{"TimeOfDay", "time", TYP_TIME, true},
	{"Time", "time", TYP_TIME, false},
	{"Duration", "interval", TYP_PLAIN, true},
};

/* typ_with adds facets to the name of a type. */
static char *
typ_with(const ConcordPrimitive *primitive, const ConcordEdmFacets *facets)
{
	switch (primitive->facets)
	{
		case TYP_LENGTH:
			if (facets->max_length > 0 && facets->max_length <= TYP_MAX_LENGTH)
				return psprintf("varchar(%d)", facets->max_length);
			break;
		case TYP_NUMERIC:
			if (facets->precision > 0 && facets->precision <= TYP_MAX_PRECISION &&
				facets->scale >= 0 && facets->scale <= facets->precision)
				return psprintf("numeric(%d,%d)", facets->precision, facets->scale);
			break;
		case TYP_TIME:
			if (facets->precision >= 0 && facets->precision < TYP_MAX_FRACTION)
				return psprintf("%s(%d)", primitive->sql, facets->precision);
			break;
		case TYP_PLAIN:
			break;
	}
	return pstrdup(primitive->sql);
}

/* typ_primitive takes a type of OData's own. */
static void
typ_primitive(const char *name, const ConcordEdmFacets *facets,
			  const ConcordEdmProperty *property, ConcordImportType *type)
{
	type->kind = CONCORD_IMPORT_VALUE;
	if (strcmp(name, "Stream") == 0)
	{
		type->kind = CONCORD_IMPORT_NOTHING;
		return;
	}
	if (property->date_only && strcmp(name, "DateTime") == 0)
	{
		type->sql = pstrdup("date");
		type->remote = pstrdup("Edm.DateTime");
		return;
	}
	for (int i = 0; i < lengthof(typ_primitives); i++)
	{
		if (strcmp(name, typ_primitives[i].edm) == 0)
		{
			type->sql = typ_with(&typ_primitives[i], facets);
			if (!typ_primitives[i].implied)
				type->remote = psprintf("Edm.%s", name);
			return;
		}
	}

	/* Geography and Geometry are GeoJSON, the abstract types anything */
	type->kind = CONCORD_IMPORT_JSON;
	type->sql = pstrdup("jsonb");
	type->remote = psprintf("Edm.%s", name);
	type->unknown = strncmp(name, "Geo", 3) != 0 &&
		strcmp(name, "PrimitiveType") != 0 && strcmp(name, "ComplexType") != 0 &&
		strcmp(name, "Untyped") != 0;
}

/* typ_narrow lets the facets of what is defined hold where none are given. */
static void
typ_narrow(ConcordEdmFacets *facets, const ConcordEdmFacets *definition)
{
	if (facets->max_length == CONCORD_EDM_UNSET)
		facets->max_length = definition->max_length;
	if (facets->precision == CONCORD_EDM_UNSET)
		facets->precision = definition->precision;
	if (facets->scale == CONCORD_EDM_UNSET)
		facets->scale = definition->scale;
}

/* concord_import_type finds the type of SQL for a property. */
void
concord_import_type(const ConcordMetadata *metadata,
					const ConcordEdmProperty *property, ConcordImportType *type)
{
	ConcordEdmFacets facets = property->facets;
	const char *name = property->type;
	ConcordEdmType *described = concord_metadata_type(metadata, name);

	memset(type, 0, sizeof(ConcordImportType));
	for (int i = 0; i < TYP_DEFINITIONS && described != NULL &&
		 described->kind == CONCORD_EDM_DEFINITION; i++)
	{
		typ_narrow(&facets, &described->facets);
		name = described->underlying;
		described = concord_metadata_type(metadata, name);
	}
	type->described = described;
	if (described != NULL && described->kind == CONCORD_EDM_ENUM)
	{
		type->kind = CONCORD_IMPORT_VALUE;
		type->sql = pstrdup("text");
		type->remote = pstrdup(described->name);
	}
	else if (described != NULL)
	{
		type->kind = CONCORD_IMPORT_COMPLEX;
		type->sql = pstrdup("jsonb");
	}
	else if (strncmp(name, "Edm.", 4) == 0)
		typ_primitive(name + 4, &facets, property, type);
	else
	{
		type->kind = CONCORD_IMPORT_JSON;
		type->sql = pstrdup("jsonb");
		type->unknown = true;
	}

	if (property->collection && type->kind == CONCORD_IMPORT_VALUE)
	{
		type->sql = psprintf("%s[]", type->sql);
		type->remote = psprintf("Collection(%s)",
								type->remote ? type->remote : name);
	}
	else if (property->collection && type->kind != CONCORD_IMPORT_NOTHING)
		type->kind = CONCORD_IMPORT_JSON;
}
