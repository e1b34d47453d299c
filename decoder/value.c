/*-------------------------------------------------------------------------
 *
 * value.c
 *	  Values by type as canonical text, without session settings.
 *
 * The common types are formatted here straight from their Datum into the
 * output buffer: no palloc, no function manager, no setting is looked at.
 * Others are written from their parts (value_nested.c) or through their output
 * function (value_output.c).
 *
 * The text is what the type's output function gives under DateStyle ISO,
 * IntervalStyle postgres, TimeZone UTC, bytea_output hex, extra_float_digits 1
 * and an empty search_path.  Type money is the exception: its output depends on
 * lc_monetary, so it is written as plain digits with two decimals, which its
 * input reads back under lc_monetary C and its kin.
 *
 * numeric is read from its stored form, which numeric.c keeps to itself but
 * which pg_upgrade has frozen: a header of one or two 16-bit words (sign,
 * display scale, weight) and digits of base 10,000.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/detoast.h"
#include "common/shortest_dec.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/cash.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/float.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "value.h"

/* The most bytes that a number other than numeric takes. */
#define NUMBER_MAX	32

/* Is a value that does not lie in the row as it is larger than max bytes? */
bool
concord_value_toasted_too_large(Datum value, Size max)
{
	return toast_raw_datum_size(value) - VARHDRSZ > max;
}

/* Write v with two digits. */
static inline char *
val_put2(char *p, uint32 v)
{
	static const char pairs[] =
		"00010203040506070809" "10111213141516171819"
		"20212223242526272829" "30313233343536373839"
		"40414243444546474849" "50515253545556575859"
		"60616263646566676869" "70717273747576777879"
		"80818283848586878889" "90919293949596979899";

	memcpy(p, pairs + 2 * v, 2);
	return p + 2;
}

/* Write a NUL-terminated string. */
static inline char *
val_puts(char *p, const char *s)
{
	while (*s)
		*p++ = *s++;
	return p;
}

/* Write four digits. */
static inline char *
val_put4(char *p, uint32 v)
{
	return val_put2(val_put2(p, v / 100), v % 100);
}

/* Write a number of at most four digits. */
static inline char *
val_put_few(char *p, uint32 v)
{
	if (v >= 1000)
		return val_put4(p, v);
	if (v >= 100)
	{
		*p = '0' + v / 100;
		return val_put2(p + 1, v % 100);
	}
	if (v >= 10)
		return val_put2(p, v);
	*p = '0' + v;
	return p + 1;
}

/* Write a number: most are short, and written here without a loop. */
static inline char *
val_put_int(char *p, uint64 v)
{
	if (v < 10000)
		return val_put_few(p, (uint32) v);
	if (v < 100000000)
	{
		p = val_put_few(p, (uint32) v / 10000);
		return val_put4(p, (uint32) v % 10000);
	}
	return p + pg_ulltoa_n(v, p);
}

/* Write a number with its sign. */
static inline char *
val_put_signed(char *p, int64 v)
{
	if (v >= 0)
		return val_put_int(p, (uint64) v);
	*p = '-';
	return val_put_int(p + 1, 0 - (uint64) v);
}

/*
 * Write the date of a Julian day; the caller adds BC where it returns true.
 * Rows that are written together often have times of one day: the last day of
 * four digits is kept as text.
 */
static inline bool
val_put_day(char **p, int julian)
{
	static int	last_julian = -1;
	static char last_day[10];
	int			year,
				month,
				day;
	bool		bc;
	char	   *q = *p;

	if (likely(julian == last_julian))
	{
		memcpy(q, last_day, sizeof(last_day));
		*p = q + sizeof(last_day);
		return false;
	}
	j2date(julian, &year, &month, &day);
	bc = year <= 0;
	if (bc)
		year = 1 - year;
	if (year <= 9999)
	{
		q = val_put2(q, year / 100);
		q = val_put2(q, year % 100);
	}
	else
		q = val_put_int(q, (uint32) year);
	*q++ = '-';
	q = val_put2(q, month);
	*q++ = '-';
	q = val_put2(q, day);
	if (!bc && q - *p == sizeof(last_day))
	{
		memcpy(last_day, *p, sizeof(last_day));
		last_julian = julian;
	}
	*p = q;
	return bc;
}

/* Write a time of day given in microseconds. */
static inline char *
val_put_clock(char *p, int64 time)
{
	uint32		seconds = (uint32) (time / USECS_PER_SEC);
	uint32		fraction = (uint32) (time % USECS_PER_SEC);

	p = val_put2(p, seconds / SECS_PER_HOUR);
	*p++ = ':';
	p = val_put2(p, seconds / SECS_PER_MINUTE % MINS_PER_HOUR);
	*p++ = ':';
	p = val_put2(p, seconds % SECS_PER_MINUTE);
	if (fraction != 0)
	{
		*p++ = '.';
		p = val_put2(p, fraction / 10000);
		p = val_put2(p, fraction / 100 % 100);
		p = val_put2(p, fraction % 100);
		while (p[-1] == '0')
			p--;
	}
	return p;
}

/* Write a date. */
static char *
val_put_date(char *p, DateADT date)
{
	if (DATE_IS_NOBEGIN(date))
		return val_puts(p, "-infinity");
	if (DATE_IS_NOEND(date))
		return val_puts(p, "infinity");
	if (val_put_day(&p, date + POSTGRES_EPOCH_JDATE))
		p = val_puts(p, " BC");
	return p;
}

/*
 * Write a timestamp, with separator between day and time and zone (which may
 * be empty) after it.
 */
char *
concord_put_timestamp(char *p, int64 timestamp, char separator, const char *zone)
{
	int64		day;
	int64		time;
	bool		bc;

	if (TIMESTAMP_IS_NOBEGIN(timestamp))
		return val_puts(p, "-infinity");
	if (TIMESTAMP_IS_NOEND(timestamp))
		return val_puts(p, "infinity");

	day = timestamp / USECS_PER_DAY;
	time = timestamp % USECS_PER_DAY;
	if (time < 0)
	{
		time += USECS_PER_DAY;
		day--;
	}
	bc = val_put_day(&p, (int) (day + POSTGRES_EPOCH_JDATE));
	*p++ = separator;
	p = val_put_clock(p, time);
	p = val_puts(p, zone);
	if (bc)
		p = val_puts(p, " BC");
	return p;
}

/* Write a double with the fewest digits that read back the same. */
static char *
val_put_float8(char *p, float8 v)
{
	if (isnan(v))
		return val_puts(p, "NaN");
	if (isinf(v))
		return val_puts(p, v < 0 ? "-Infinity" : "Infinity");
	return p + double_to_shortest_decimal_bufn(v, p);
}

/* Write a float with the fewest digits that read back the same. */
static char *
val_put_float4(char *p, float4 v)
{
	if (isnan(v))
		return val_puts(p, "NaN");
	if (isinf(v))
		return val_puts(p, v < 0 ? "-Infinity" : "Infinity");
	return p + float_to_shortest_decimal_bufn(v, p);
}

/* Write an amount of money. */
static char *
val_put_money(char *p, Cash v)
{
	uint64		cents = v < 0 ? 0 - (uint64) v : (uint64) v;

	if (v < 0)
		*p++ = '-';
	p = val_put_int(p, cents / 100);
	*p++ = '.';
	return val_put2(p, (uint32) (cents % 100));
}

/* Write a UUID. */
static char *
val_put_uuid(char *p, const pg_uuid_t *uuid)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*p++ = '-';
		*p++ = digits[uuid->data[i] >> 4];
		*p++ = digits[uuid->data[i] & 0x0F];
	}
	return p;
}

/* A numeric that is a number, taken apart. */
typedef struct NumericParts
{
	bool		negative;
	int			weight;
	int			scale;
	int			ndigits;
	const char *digits;
} NumericParts;

/* Take a numeric apart; false where it is NaN or infinite. */
static inline bool
val_numeric_parts(const struct varlena *v, NumericParts *parts)
{
	const char *data = VARDATA_ANY(v);
	int			size = VARSIZE_ANY_EXHDR(v);
	uint16		header;
	int16		long_weight;

	memcpy(&header, data, sizeof(header));
	if ((header & 0xC000) == 0xC000)
		return false;
	if (header & 0x8000)
	{
		parts->negative = (header & 0x2000) != 0;
		parts->scale = (header & 0x1F80) >> 7;
		parts->weight = (int) (header & 0x003F) - ((header & 0x0040) ? 64 : 0);
		data += sizeof(uint16);
		size -= sizeof(uint16);
	}
	else
	{
		memcpy(&long_weight, data + sizeof(uint16), sizeof(long_weight));
		parts->negative = (header & 0xC000) == 0x4000;
		parts->scale = header & 0x3FFF;
		parts->weight = long_weight;
		data += 2 * sizeof(uint16);
		size -= 2 * sizeof(uint16);
	}
	parts->ndigits = size / (int) sizeof(int16);
	parts->digits = data;
	return true;
}

/* The room that a numeric needs. */
static inline Size
val_numeric_room(const NumericParts *parts)
{
	return (Size) Max(parts->weight + 1, 1) * 4 + parts->scale + 16;
}

/* Give four decimal digits of a numeric as a number. */
static inline int
val_numeric_digit(const NumericParts *parts, int n)
{
	int16		digit;

	if (n < 0 || n >= parts->ndigits)
		return 0;
	memcpy(&digit, parts->digits + n * sizeof(int16), sizeof(int16));
	return digit;
}

/* Write a numeric digit for digit. */
static char *
val_put_numeric(char *p, const NumericParts *parts)
{
	int			d = parts->weight + 1;

	if (parts->negative)
		*p++ = '-';
	if (parts->weight < 0)
		*p++ = '0';
	else
	{
		p = val_put_few(p, (uint32) val_numeric_digit(parts, 0));
		for (int i = 1; i <= parts->weight; i++)
			p = val_put4(p, val_numeric_digit(parts, i));
	}
	if (parts->scale > 0)
	{
		char	   *end;

		*p++ = '.';
		end = p + parts->scale;
		for (; p < end; d++)
			p = val_put4(p, val_numeric_digit(parts, d));
		p = end;
	}
	return p;
}

/*
 * Write a numeric with its bytes in place digit for digit; NULL where it is
 * not a number, or needs more than room.
 */
char *
concord_put_numeric(char *p, const struct varlena *v, Size room)
{
	NumericParts parts;

	if (!val_numeric_parts(v, &parts) || val_numeric_room(&parts) > room)
		return NULL;
	if (parts.ndigits == 1 && parts.weight == 0 && parts.scale == 0 && !parts.negative)
		return val_put_few(p, (uint32) val_numeric_digit(&parts, 0));
	return val_put_numeric(p, &parts);
}

/*
 * Append a numeric digit for digit.  Returns false where it is NaN or
 * infinite, which is not a number in JSON.
 */
bool
concord_value_numeric(StringInfo buf, Datum value)
{
	struct varlena *v = concord_value_detoast(value);
	NumericParts parts;
	Size		room;

	if (unlikely(!val_numeric_parts(v, &parts)))
	{
		char	   *p = concord_buf_reserve(buf, NUMBER_MAX);
		uint16		header;

		memcpy(&header, VARDATA_ANY(v), sizeof(header));
		p = val_puts(p, (header & 0xF000) == 0xD000 ? "Infinity" :
					 (header & 0xF000) == 0xF000 ? "-Infinity" : "NaN");
		concord_buf_advance(buf, p);
		return false;
	}
	room = val_numeric_room(&parts);
	if (!concord_buf_fits(buf, room))
		return true;
	concord_buf_advance(buf, val_put_numeric(concord_buf_reserve(buf, room), &parts));
	if ((Pointer) v != DatumGetPointer(value))
		pfree(v);
	return true;
}

/* Append a value's bytes in hexadecimal after \x; with JSON, after \\x. */
void
concord_value_bytea_hex(StringInfo buf, Datum value, bool json)
{
	struct varlena *v = concord_value_detoast(value);
	Size		size = VARSIZE_ANY_EXHDR(v);
	char	   *p;

	if (!concord_buf_fits(buf, size * 2 + 3))
		return;
	p = concord_buf_reserve(buf, size * 2 + 3);
	if (json)
		*p++ = '\\';
	*p++ = '\\';
	*p++ = 'x';
	p += hex_encode(VARDATA_ANY(v), size, p);
	concord_buf_advance(buf, p);
	if ((Pointer) v != DatumGetPointer(value))
		pfree(v);
}

/*
 * Write a scalar of fixed size, which takes CONCORD_SCALAR_MAX bytes at most.
 * *number is set to false where the value is not a JSON number although its
 * type is one of numbers.
 */
char *
concord_put_scalar(char *p, ConcordValueKind kind, Datum value, bool json,
				   bool *number)
{
	switch (kind)
	{
		case CONCORD_VALUE_INT2:
			p = val_put_signed(p, DatumGetInt16(value));
			break;
		case CONCORD_VALUE_INT4:
			p = val_put_signed(p, DatumGetInt32(value));
			break;
		case CONCORD_VALUE_INT8:
			p = val_put_signed(p, DatumGetInt64(value));
			break;
		case CONCORD_VALUE_OID:
			p = val_put_int(p, DatumGetObjectId(value));
			break;
		case CONCORD_VALUE_FLOAT4:
			*number = isfinite(DatumGetFloat4(value));
			p = val_put_float4(p, DatumGetFloat4(value));
			break;
		case CONCORD_VALUE_FLOAT8:
			*number = isfinite(DatumGetFloat8(value));
			p = val_put_float8(p, DatumGetFloat8(value));
			break;
		case CONCORD_VALUE_MONEY:
			p = val_put_money(p, DatumGetCash(value));
			break;
		case CONCORD_VALUE_UUID:
			p = val_put_uuid(p, DatumGetUUIDP(value));
			break;
		case CONCORD_VALUE_DATE:
			p = val_put_date(p, DatumGetDateADT(value));
			break;
		case CONCORD_VALUE_TIME:
			p = val_put_clock(p, DatumGetTimeADT(value));
			break;
		case CONCORD_VALUE_TIMESTAMP:
			p = concord_put_timestamp(p, DatumGetTimestamp(value),
									  json ? 'T' : ' ', "");
			break;
		case CONCORD_VALUE_TIMESTAMPTZ:
			p = concord_put_timestamp(p, DatumGetTimestampTz(value),
									  json ? 'T' : ' ', json ? "+00:00" : "+00");
			break;
		default:
			elog(ERROR, "unexpected value kind %d", (int) kind);
	}
	return p;
}

/* Append a scalar of fixed size; false where it is not a JSON number, as above. */
bool
concord_value_scalar(StringInfo buf, ConcordValueKind kind, Datum value, bool json)
{
	char	   *p = concord_buf_reserve(buf, CONCORD_SCALAR_MAX);
	bool		number = true;

	concord_buf_advance(buf, concord_put_scalar(p, kind, value, json, &number));
	return number;
}

/* Append a value's canonical text. */
void
concord_value_text(StringInfo buf, ConcordType *type, Datum value)
{
	switch (type->kind)
	{
		case CONCORD_VALUE_BOOL:
			concord_buf_putc(buf, DatumGetBool(value) ? 't' : 'f');
			break;
		case CONCORD_VALUE_NUMERIC:
			(void) concord_value_numeric(buf, value);
			break;
		case CONCORD_VALUE_TEXT:
		case CONCORD_VALUE_JSON:
			{
				struct varlena *v = concord_value_detoast(value);

				if (concord_buf_fits(buf, VARSIZE_ANY_EXHDR(v)))
					concord_buf_append(buf, VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v));
				if ((Pointer) v != DatumGetPointer(value))
					pfree(v);
				break;
			}
		case CONCORD_VALUE_NAME:
			concord_buf_append(buf, NameStr(*DatumGetName(value)),
							   strlen(NameStr(*DatumGetName(value))));
			break;
		case CONCORD_VALUE_JSONB:
			concord_value_jsonb(buf, value);
			break;
		case CONCORD_VALUE_BYTEA:
			concord_value_bytea_hex(buf, value, false);
			break;
		case CONCORD_VALUE_ENUM:
			concord_value_enum(buf, value);
			break;
		case CONCORD_VALUE_REG:
			concord_value_reg(buf, type, value);
			break;
		case CONCORD_VALUE_ARRAY:
			concord_value_array(buf, type, value);
			break;
		case CONCORD_VALUE_COMPOSITE:
			concord_value_composite(buf, type, value);
			break;
		case CONCORD_VALUE_RANGE:
			concord_value_range(buf, type, value);
			break;
		case CONCORD_VALUE_MULTIRANGE:
			concord_value_multirange(buf, type, value);
			break;
		case CONCORD_VALUE_FAILED:
			concord_value_fail(buf, type->failure->sqlerrcode,
							   type->failure->message);
			break;
		case CONCORD_VALUE_OTHER:
			{
				char	   *text = concord_value_output(buf, type, value);

				if (text == NULL)
					break;
				concord_buf_append(buf, text, strlen(text));
				pfree(text);
				break;
			}
		default:
			(void) concord_value_scalar(buf, type->kind, value, false);
			break;
	}
}
