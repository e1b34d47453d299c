/*-------------------------------------------------------------------------
 *
 * linkkey.c
 *	  The order of local keys in the index of concord.link_item.
 *
 * jsonb's own order asks the database's collation about every text, and walks
 * both values through two iterators that allocate: with a million links a
 * quarter of a courier's time.  Nobody reads links in the order of their keys,
 * so this one compares bytes, as text_pattern_ops does for texts.  What is equal
 * here is what jsonb's operator = says is equal (numbers by value: 1.5 and 1.50
 * are one key), and that operator is the class's, so the index serves any query
 * that names a key.
 *
 * Order: header (kind and number of elements), then element by element as they
 * are stored, of an object the names before the values.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

PG_FUNCTION_INFO_V1(concord_key_compare);
PG_FUNCTION_INFO_V1(concord_key_lt);
PG_FUNCTION_INFO_V1(concord_key_le);
PG_FUNCTION_INFO_V1(concord_key_ge);
PG_FUNCTION_INFO_V1(concord_key_gt);

/* lky_three makes a verdict of two numbers. */
static inline int
lky_three(uint32 a, uint32 b)
{
	return (a > b) - (a < b);
}

static int	lky_container(JsonbContainer *a, JsonbContainer *b);

/* lky_bytes compares texts. */
static int
lky_bytes(const char *a, uint32 a_len, const char *b, uint32 b_len)
{
	int			order = memcmp(a, b, Min(a_len, b_len));

	return order != 0 ? order : lky_three(a_len, b_len);
}

/* lky_element compares the elements of one kind that begin at a and b. */
static int
lky_element(JEntry kind, char *a_base, uint32 a_at, uint32 a_len,
			char *b_base, uint32 b_at, uint32 b_len)
{
	switch (kind)
	{
		case JENTRY_ISSTRING:
			return lky_bytes(a_base + a_at, a_len, b_base + b_at, b_len);
		case JENTRY_ISNUMERIC:
			return DatumGetInt32(DirectFunctionCall2(numeric_cmp,
													 PointerGetDatum(a_base + INTALIGN(a_at)),
													 PointerGetDatum(b_base + INTALIGN(b_at))));
		case JENTRY_ISCONTAINER:
			return lky_container((JsonbContainer *) (a_base + INTALIGN(a_at)),
								 (JsonbContainer *) (b_base + INTALIGN(b_at)));
		default:
			return 0;			/* true, false and null are all in their kind */
	}
}

/* lky_container compares two objects, arrays or scalars. */
static int
lky_container(JsonbContainer *a, JsonbContainer *b)
{
	int			n = JsonContainerSize(a) * (JsonContainerIsObject(a) ? 2 : 1);
	char	   *a_base = (char *) &a->children[n];
	char	   *b_base = (char *) &b->children[n];
	uint32		a_at = 0;
	uint32		b_at = 0;

	if (a->header != b->header)
		return lky_three(a->header, b->header);
	check_stack_depth();
	for (int i = 0; i < n; i++)
	{
		uint32		a_len = getJsonbLength(a, i);
		uint32		b_len = getJsonbLength(b, i);
		JEntry		kind = a->children[i] & JENTRY_TYPEMASK;
		int			order = lky_three(kind, b->children[i] & JENTRY_TYPEMASK);

		if (order == 0)
			order = lky_element(kind, a_base, a_at, a_len, b_base, b_at, b_len);
		if (order != 0)
			return order;
		a_at += a_len;
		b_at += b_len;
	}
	return 0;
}

/* lky_order compares two arguments. */
static int
lky_order(FunctionCallInfo fcinfo)
{
	Jsonb	   *a = PG_GETARG_JSONB_P(0);
	Jsonb	   *b = PG_GETARG_JSONB_P(1);
	int			order = lky_container(&a->root, &b->root);

	PG_FREE_IF_COPY(a, 0);
	PG_FREE_IF_COPY(b, 1);
	return order;
}

/* concord_key_compare is the support function of the operator class. */
Datum
concord_key_compare(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(lky_order(fcinfo));
}

/* concord_key_lt and those below are its operators beside jsonb's own =. */
Datum
concord_key_lt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(lky_order(fcinfo) < 0);
}

Datum
concord_key_le(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(lky_order(fcinfo) <= 0);
}

Datum
concord_key_ge(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(lky_order(fcinfo) >= 0);
}

Datum
concord_key_gt(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(lky_order(fcinfo) > 0);
}
