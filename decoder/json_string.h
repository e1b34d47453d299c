/*-------------------------------------------------------------------------
 *
 * json_string.h
 *	  Text as it stands between the quotes of a JSON string.
 *
 * Most strings of most rows are short and need no escape: they are looked at,
 * and copied, eight bytes at a time, in line.  Eight bytes are looked at as one
 * number, whatever the order of its bytes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_JSON_STRING_H
#define CONCORD_JSON_STRING_H

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define BYTES8(c)		(UINT64CONST(0x0101010101010101) * (c))

/* Does a byte of v need an escape?  There, the subtraction sets its high bit. */
static inline bool
concord_json_escapes(uint64 v)
{
	uint64		low = v - BYTES8(0x20);
	uint64		quote = (v ^ BYTES8('"')) - BYTES8(1);
	uint64		backslash = (v ^ BYTES8('\\')) - BYTES8(1);

	return ((low | quote | backslash) & ~v & BYTES8(0x80)) != 0;
}

/* in value_json.c: copy bytes up to end to p, looking at each */
extern char *concord_put_escapes(char *p, const char *s, const char *end);

/* Copy fewer than eight bytes to p, escaped. */
static inline char *
concord_put_escaped_few(char *p, const char *s, Size len)
{
	if (len >= 4)
	{
		uint32		first;
		uint32		last;

		memcpy(&first, s, 4);
		memcpy(&last, s + len - 4, 4);
		if (unlikely(concord_json_escapes(((uint64) first << 32) | last)))
			return concord_put_escapes(p, s, s + len);
		memcpy(p, &first, 4);
		memcpy(p + len - 4, &last, 4);
	}
	else if (len > 0)
	{
		/* one to three bytes: the first, the middle one, the last */
		unsigned char first = s[0];
		unsigned char middle = s[len / 2];
		unsigned char last = s[len - 1];
		uint64		v = BYTES8('a') & ~UINT64CONST(0xFFFFFF);

		v |= first | (middle << 8) | (last << 16);
		if (unlikely(concord_json_escapes(v)))
			return concord_put_escapes(p, s, s + len);
		p[0] = first;
		p[len / 2] = middle;
		p[len - 1] = last;
	}
	return p + len;
}

/*
 * Copy len bytes to p, escaped; there is room for six times as many.  The rest
 * of a longer text is looked at with the bytes before it, which are the same in
 * p then.
 */
static inline char *
concord_put_escaped(char *p, const char *s, Size len)
{
	const char *end = s + len;
	uint64		v;

	if (len < 8)
		return concord_put_escaped_few(p, s, len);
	for (; end - s >= 8; s += 8)
	{
		memcpy(&v, s, 8);
		if (unlikely(concord_json_escapes(v)))
			p = concord_put_escapes(p, s, s + 8);
		else
		{
			memcpy(p, &v, 8);
			p += 8;
		}
	}
	if (s < end)
	{
		memcpy(&v, end - 8, 8);
		if (unlikely(concord_json_escapes(v)))
			return concord_put_escapes(p, s, end);
		p += end - s;
		memcpy(p - 8, &v, 8);
	}
	return p;
}

/* Write a JSON string; there is room for six times its bytes, and two. */
static inline char *
concord_put_json_string(char *p, const char *s, Size len)
{
	*p++ = '"';
	p = concord_put_escaped(p, s, len);
	*p++ = '"';
	return p;
}

/*
 * The same for a string among others that end at end.  Where so many bytes
 * follow its begin, they are looked at and copied at once, those beyond it in
 * vain: there is room for them too.
 */
#define CONCORD_JSON_PIECE	16

static inline char *
concord_put_json_piece(char *p, const char *s, Size len, const char *end)
{
#ifdef __SSE2__
	if (likely(len <= CONCORD_JSON_PIECE && end - s >= CONCORD_JSON_PIECE))
	{
		__m128i		v = _mm_loadu_si128((const __m128i *) s);
		__m128i		low = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(0x1F)), v);
		__m128i		quote = _mm_cmpeq_epi8(v, _mm_set1_epi8('"'));
		__m128i		backslash = _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'));
		uint32		found = _mm_movemask_epi8(_mm_or_si128(low, _mm_or_si128(quote, backslash)));

		if (likely((found & ((1U << len) - 1)) == 0))
		{
			*p++ = '"';
			_mm_storeu_si128((__m128i *) p, v);
			p += len;
			*p++ = '"';
			return p;
		}
	}
#endif
	return concord_put_json_string(p, s, len);
}

#endif							/* CONCORD_JSON_STRING_H */
