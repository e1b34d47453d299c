/*-------------------------------------------------------------------------
 *
 * value_jsonb.c
 *	  The text of a jsonb value, byte for byte what jsonb_out() gives.
 *
 * Core's JsonbToCString() walks with an iterator that is allocated for each
 * level, calls numeric_out() for each number and looks at each byte of each
 * string; it took more time than all other columns of a usual row together.
 * Here the stored form is walked by recursion straight into the buffer.  For
 * small values, which most are, room is made once and nothing but the place to
 * write at is kept (jb_put); others make room as they go (jb_container).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/jsonb.h"

#include "json_string.h"
#include "value.h"

/* Strings up to this size are written in line. */
#define JSONB_SHORT		128

/* Values up to this size are written in one go, */
#define JSONB_SMALL		4096

/* with this room for each byte. */
#define JSONB_GROWTH	6

static void jb_container(StringInfo buf, JsonbContainer *container);
static char *jb_put(char *p, JsonbContainer *container, const char *end);

/* Append the name of a member, and what stands around it. */
static inline void
jb_name(StringInfo buf, const char *s, uint32 len, bool first)
{
	char	   *p;

	if (unlikely(len > JSONB_SHORT || concord_json_foreign))
	{
		if (!first)
			concord_buf_literal(buf, ", ");
		concord_json_string(buf, s, len);
		concord_buf_literal(buf, ": ");
		return;
	}
	p = concord_buf_reserve(buf, len * 6 + 6);
	memcpy(p, ", ", 2);
	p = concord_put_json_string(p + (first ? 0 : 2), s, len);
	memcpy(p, ": ", 2);
	concord_buf_advance(buf, p + 2);
}

/* Append a string. */
static inline void
jb_string(StringInfo buf, const char *s, uint32 len)
{
	if (unlikely(len > JSONB_SHORT || concord_json_foreign))
		concord_json_string(buf, s, len);
	else
	{
		char	   *p = concord_buf_reserve(buf, len * 6 + 2);

		concord_buf_advance(buf, concord_put_json_string(p, s, len));
	}
}

/* Append the child whose data begins at offset from base. */
static inline void
jb_child(StringInfo buf, char *base, JEntry entry, uint32 offset)
{
	if (JBE_ISSTRING(entry))
	{
		uint32		len = JBE_OFFLENFLD(entry);

		if (JBE_HAS_OFF(entry))
			len -= offset;
		jb_string(buf, base + offset, len);
	}
	else if (JBE_ISNUMERIC(entry))
		(void) concord_value_numeric(buf, PointerGetDatum(base + INTALIGN(offset)));
	else if (JBE_ISCONTAINER(entry))
		jb_container(buf, (JsonbContainer *) (base + INTALIGN(offset)));
	else if (JBE_ISBOOL_TRUE(entry))
		concord_buf_literal(buf, "true");
	else if (JBE_ISBOOL_FALSE(entry))
		concord_buf_literal(buf, "false");
	else if (JBE_ISNULL(entry))
		concord_buf_literal(buf, "null");
	else
		elog(ERROR, "unexpected jsonb entry %08x", entry);
}

/* Append an array; one that stands for a scalar has no brackets. */
static void
jb_array(StringInfo buf, JsonbContainer *container)
{
	uint32		count = JsonContainerSize(container);
	char	   *base = (char *) &container->children[count];
	bool		scalar = JsonContainerIsScalar(container);
	uint32		offset = 0;

	if (!scalar)
		concord_buf_putc(buf, '[');
	for (uint32 i = 0; i < count && concord_buf_fits(buf, 1); i++)
	{
		if (i > 0)
			concord_buf_literal(buf, ", ");
		jb_child(buf, base, container->children[i], offset);
		JBE_ADVANCE_OFFSET(offset, container->children[i]);
	}
	if (!scalar)
		concord_buf_putc(buf, ']');
}

/* Append an object: its children are all keys and then all values. */
static void
jb_object(StringInfo buf, JsonbContainer *container)
{
	uint32		count = JsonContainerSize(container);
	char	   *base = (char *) &container->children[count * 2];
	uint32		key_offset = 0;
	uint32		value_offset = getJsonbOffset(container, count);

	concord_buf_putc(buf, '{');
	for (uint32 i = 0; i < count && concord_buf_fits(buf, 1); i++)
	{
		uint32		key_start = key_offset;
		JEntry		value = container->children[count + i];

		JBE_ADVANCE_OFFSET(key_offset, container->children[i]);
		jb_name(buf, base + key_start, key_offset - key_start, i == 0);
		jb_child(buf, base, value, value_offset);
		JBE_ADVANCE_OFFSET(value_offset, value);
	}
	concord_buf_putc(buf, '}');
}

/* Append an object or an array. */
static void
jb_container(StringInfo buf, JsonbContainer *container)
{
	check_stack_depth();
	if (JsonContainerIsObject(container))
		jb_object(buf, container);
	else
		jb_array(buf, container);
}

/* Write the child whose data begins at offset from base; NULL: see jb_put(). */
static inline char *
jb_put_child(char *p, char *base, JEntry entry, uint32 offset, const char *end)
{
	if (JBE_ISSTRING(entry))
	{
		uint32		len = JBE_OFFLENFLD(entry);

		if (JBE_HAS_OFF(entry))
			len -= offset;
		return concord_put_json_piece(p, base + offset, len, end);
	}
	if (JBE_ISNUMERIC(entry))
	{
		struct varlena *v = (struct varlena *) (base + INTALIGN(offset));

		return concord_put_numeric(p, v, VARSIZE_ANY(v) * JSONB_GROWTH);
	}
	if (JBE_ISCONTAINER(entry))
		return jb_put(p, (JsonbContainer *) (base + INTALIGN(offset)), end);
	if (JBE_ISBOOL_TRUE(entry))
	{
		memcpy(p, "true", 4);
		return p + 4;
	}
	if (JBE_ISBOOL_FALSE(entry))
	{
		memcpy(p, "false", 5);
		return p + 5;
	}
	if (!JBE_ISNULL(entry))
		return NULL;
	memcpy(p, "null", 4);
	return p + 4;
}

/* Write the elements of an array, with commas between them. */
static inline char *
jb_put_elements(char *p, JsonbContainer *container, const char *end)
{
	uint32		count = JsonContainerSize(container);
	char	   *base = (char *) &container->children[count];
	uint32		offset = 0;

	for (uint32 i = 0; i < count; i++)
	{
		JEntry		entry = container->children[i];

		p = jb_put_child(p, base, entry, offset, end);
		if (unlikely(p == NULL))
			return NULL;
		JBE_ADVANCE_OFFSET(offset, entry);
		memcpy(p, ", ", 2);
		p += 2;
	}
	return count > 0 ? p - 2 : p;
}

/* Write the members of an object in the same way. */
static inline char *
jb_put_members(char *p, JsonbContainer *container, const char *end)
{
	uint32		count = JsonContainerSize(container);
	const JEntry *keys = container->children;
	const JEntry *values = keys + count;
	char	   *base = (char *) (values + count);
	uint32		start = 0;
	uint32		offset = getJsonbOffset(container, count);

	for (uint32 i = 0; i < count; i++)
	{
		JEntry		value = values[i];
		uint32		next = start;

		JBE_ADVANCE_OFFSET(next, keys[i]);
		p = concord_put_json_piece(p, base + start, next - start, end);
		start = next;
		memcpy(p, ": ", 2);
		p = jb_put_child(p + 2, base, value, offset, end);
		if (unlikely(p == NULL))
			return NULL;
		JBE_ADVANCE_OFFSET(offset, value);
		memcpy(p, ", ", 2);
		p += 2;
	}
	return count > 0 ? p - 2 : p;
}

/*
 * Write an object or an array at p, where there is room for JSONB_GROWTH times
 * its size: each of its bytes is one escape at most, and an entry's own four
 * bytes pay for quotes, brackets and separators.  NULL where a number needs
 * more, because of all its zeros.
 */
static char *
jb_put(char *p, JsonbContainer *container, const char *end)
{
	check_stack_depth();
	if (JsonContainerIsObject(container))
	{
		*p++ = '{';
		p = jb_put_members(p, container, end);
		if (likely(p != NULL))
			*p++ = '}';
	}
	else if (JsonContainerIsScalar(container))
		p = jb_put_elements(p, container, end);
	else
	{
		*p++ = '[';
		p = jb_put_elements(p, container, end);
		if (likely(p != NULL))
			*p++ = ']';
	}
	return p;
}

/* Append a value of a few kilobytes in one go; false where it needs more room. */
static inline bool
jb_small(StringInfo buf, Jsonb *jb)
{
	Size		room = (Size) VARSIZE(jb) * JSONB_GROWTH + CONCORD_JSON_PIECE;
	char	   *p;

	if (unlikely(VARSIZE(jb) > JSONB_SMALL || concord_json_foreign ||
				 !concord_buf_fits(buf, room)))
		return false;
	p = jb_put(concord_buf_reserve(buf, room), &jb->root,
			   (char *) jb + VARSIZE(jb));
	if (unlikely(p == NULL))
		return false;
	concord_buf_advance(buf, p);
	return true;
}

/* Append the text of a jsonb value. */
void
concord_value_jsonb(StringInfo buf, Datum value)
{
	Jsonb	   *jb = DatumGetJsonbP(value);

	if (!jb_small(buf, jb))
		jb_container(buf, &jb->root);
	if ((Pointer) jb != DatumGetPointer(value))
		pfree(jb);
}
