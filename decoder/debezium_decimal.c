/*-------------------------------------------------------------------------
 *
 * debezium_decimal.c
 *	  A decimal as the bytes of its unscaled value, as Kafka Connect has it.
 *
 * The unscaled value is the number without its point: an integer of any size,
 * in two's complement, most significant byte first, no longer than it must
 * be.  Its digits are gathered nine at a time into words of 32 bits, which is
 * quadratic; numbers of eighteen digits and fewer allocate nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "debezium.h"

/* As many digits fit into an int64. */
#define SHORT_DIGITS	18

/* Digits that are taken at once, and ten to that power. */
#define PIECE_DIGITS	9
#define PIECE			1000000000

/*
 * Copy the digits of a plain decimal text to digits, so that scale of them
 * stand behind the point; returns how many there are.  A negative scale drops
 * digits before the point, which are zeros then.
 */
static int
dd_digits(const char *text, char *digits, int scale)
{
	const char *point = strchr(text, '.');
	int			fraction = point ? (int) strlen(point + 1) : 0;
	int			n = 0;

	for (const char *p = text; *p != '\0'; p++)
	{
		if (*p >= '0' && *p <= '9')
			digits[n++] = *p;
	}
	for (; fraction < scale; fraction++)
		digits[n++] = '0';
	n -= fraction - scale;
	return Max(n, 0);
}

/*
 * Turn digits into words, least significant first; returns how many words
 * there are.  words has room for n / 9 + 1 of them.
 */
static int
dd_words(const char *digits, int n, uint32 *words)
{
	int			count = 0;

	for (int i = 0; i < n;)
	{
		int			len = (n - i) % PIECE_DIGITS;
		uint64		carry = 0;
		uint64		scale = 1;

		if (len == 0)
			len = PIECE_DIGITS;
		for (int end = i + len; i < end; i++)
		{
			carry = carry * 10 + (digits[i] - '0');
			scale *= 10;
		}
		for (int w = 0; w < count; w++)
		{
			carry += words[w] * scale;
			words[w] = (uint32) carry;
			carry >>= 32;
		}
		if (carry != 0)
			words[count++] = (uint32) carry;
		if (count % 1024 == 0)
			CHECK_FOR_INTERRUPTS();
	}
	return count;
}

/*
 * Write words as bytes in two's complement; returns how many there are.
 * bytes has room for one more than the words have.
 */
static int
dd_bytes(const uint32 *words, int count, bool negative, unsigned char *bytes)
{
	int			n = count * 4 + 1;
	int			skip = 0;

	bytes[0] = 0;
	for (int i = 0; i < count; i++)
	{
		for (int b = 0; b < 4; b++)
			bytes[n - 1 - i * 4 - b] = (unsigned char) (words[i] >> (8 * b));
	}
	if (negative)
	{
		int			carry = 1;

		for (int i = n - 1; i >= 0; i--)
		{
			int			v = (unsigned char) ~bytes[i] + carry;

			bytes[i] = (unsigned char) v;
			carry = v >> 8;
		}
	}
	while (skip < n - 1 &&
		   bytes[skip] == ((bytes[skip + 1] & 0x80) ? 0xFF : 0x00))
		skip++;
	memmove(bytes, bytes + skip, n - skip);
	return n - skip;
}

/*
 * Append the unscaled value of a plain decimal text in base 64, without
 * quotes.  scale is the number of digits behind the point.
 */
void
concord_debezium_unscaled(StringInfo buf, const char *text, int scale)
{
	int			size = (int) strlen(text) + Max(scale, 0) + 1;
	char		local[64];
	char	   *digits = size <= sizeof(local) ? local : palloc(size);
	int			n = dd_digits(text, digits, scale);
	uint32		few[4];
	uint32	   *words = n <= SHORT_DIGITS ? few : palloc((n / PIECE_DIGITS + 1) * sizeof(uint32));
	int			count = dd_words(digits, n, words);
	unsigned char short_bytes[sizeof(few) + 1];
	unsigned char *bytes = n <= SHORT_DIGITS ? short_bytes : palloc(count * 4 + 1);
	int			len = dd_bytes(words, count, text[0] == '-', bytes);

	concord_json_base64(buf, (char *) bytes, len);
	if (bytes != short_bytes)
		pfree(bytes);
	if (words != few)
		pfree(words);
	if (digits != local)
		pfree(digits);
}
