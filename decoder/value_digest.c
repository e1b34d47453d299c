/*-------------------------------------------------------------------------
 *
 * value_digest.c
 *	  Length and SHA-256 of a value that is too large to be sent.
 *
 * They are of the value's bytes, uncompressed and without header: of text
 * those that octet_length() counts and sha256() of convert_to() sees.  Such a
 * value must cost no memory of its size, so a compressed one is hashed while
 * it is unpacked through a window.  Core has no function for that: its
 * decompressors want room for the whole output.  Both formats are on disk and
 * therefore frozen; a match reaches back at most 4,095 bytes in one of pglz
 * and 65,535 in one of LZ4.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/toast_compression.h"
#include "access/toast_internals.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "miscadmin.h"

#include "value.h"

/* How far a match reaches back, and what is unpacked beyond that at a time. */
#define WINDOW		(64 * 1024)
#define PIECE		(64 * 1024)

typedef struct Digest
{
	pg_cryptohash_ctx *hash;
	uint64		total;			/* bytes hashed */
	char	   *buf;			/* WINDOW + PIECE bytes, when unpacking */
	Size		hashed;			/* of those in buf */
	Size		used;
} Digest;

/* Hash bytes; values have up to a gigabyte, so this can be interrupted. */
static void
dig_update(Digest *d, const char *data, Size size)
{
	d->total += size;
	while (size > 0)
	{
		Size		piece = Min(size, (Size) 16 * 1024 * 1024);

		if (pg_cryptohash_update(d->hash, (const uint8 *) data, piece) < 0)
			elog(ERROR, "could not compute SHA-256: %s",
				 pg_cryptohash_error(d->hash));
		data += piece;
		size -= piece;
		CHECK_FOR_INTERRUPTS();
	}
}

/* Hash what was unpacked, and give the room there is for more. */
static inline Size
dig_room(Digest *d)
{
	if (unlikely(d->used == WINDOW + PIECE))
	{
		dig_update(d, d->buf + d->hashed, d->used - d->hashed);
		memmove(d->buf, d->buf + PIECE, WINDOW);
		d->hashed = d->used = WINDOW;
	}
	return WINDOW + PIECE - d->used;
}

/* Unpack bytes that stand for themselves. */
static void
dig_literal(Digest *d, const unsigned char *data, Size size)
{
	while (size > 0)
	{
		Size		piece = Min(size, dig_room(d));

		memcpy(d->buf + d->used, data, piece);
		d->used += piece;
		data += piece;
		size -= piece;
	}
}

/* Unpack a repetition of what was offset bytes ago; false where that is nothing. */
static bool
dig_match(Digest *d, Size offset, Size size)
{
	if (offset == 0 || offset > d->used)
		return false;
	while (size > 0)
	{
		/* a match may overlap what it makes; then that repeats, too */
		Size		piece = Min(Min(size, offset), dig_room(d));

		memcpy(d->buf + d->used, d->buf + d->used - offset, piece);
		d->used += piece;
		size -= piece;
		if (piece == offset && offset <= WINDOW / 2)
			offset *= 2;
	}
	return true;
}

/* Unpack what pglz_compress() made. */
static bool
dig_pglz(Digest *d, const unsigned char *p, const unsigned char *end)
{
	while (p < end)
	{
		unsigned	control = *p++;

		for (int i = 0; i < 8 && p < end; i++, control >>= 1)
		{
			Size		size;
			Size		offset;

			if ((control & 1) == 0)
			{
				(void) dig_room(d);
				d->buf[d->used++] = (char) *p++;
				continue;
			}
			if (end - p < 2)
				return false;
			size = (p[0] & 0x0F) + 3;
			offset = ((Size) (p[0] & 0xF0) << 4) | p[1];
			p += 2;
			if (size == 18)
			{
				if (p >= end)
					return false;
				size += *p++;
			}
			if (!dig_match(d, offset, size))
				return false;
		}
	}
	return true;
}

/* Read the rest of an LZ4 length whose first four bits are all set. */
static bool
dig_lz4_length(const unsigned char **p, const unsigned char *end, Size *length)
{
	unsigned char more;

	if (*length != 15)
		return true;
	do
	{
		if (*p >= end)
			return false;
		more = *(*p)++;
		*length += more;
	} while (more == 255);
	return true;
}

/* Unpack an LZ4 block: literals and a match in turn, literals at the end. */
static bool
dig_lz4(Digest *d, const unsigned char *p, const unsigned char *end)
{
	while (p < end)
	{
		unsigned	token = *p++;
		Size		literals = token >> 4;
		Size		size = token & 0x0F;
		Size		offset;

		if (!dig_lz4_length(&p, end, &literals) || literals > (Size) (end - p))
			return false;
		dig_literal(d, p, literals);
		p += literals;
		if (p == end)
			return true;
		if (end - p < 2)
			return false;
		offset = p[0] | (Size) p[1] << 8;
		p += 2;
		if (!dig_lz4_length(&p, end, &size) || !dig_match(d, offset, size + 4))
			return false;
	}
	return false;
}

/* Hash a compressed value. */
static void
dig_compressed(Digest *d, struct varlena *v)
{
	const unsigned char *p = (const unsigned char *) v + VARHDRSZ_COMPRESSED;
	const unsigned char *end = (const unsigned char *) v + VARSIZE(v);
	bool		whole;

	d->buf = palloc(WINDOW + PIECE);
	if (TOAST_COMPRESS_METHOD(v) == TOAST_LZ4_COMPRESSION_ID)
		whole = dig_lz4(d, p, end);
	else
		whole = dig_pglz(d, p, end);
	dig_update(d, d->buf + d->hashed, d->used - d->hashed);
	pfree(d->buf);
	if (!whole || d->total != VARDATA_COMPRESSED_GET_EXTSIZE(v))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg_internal("compressed data is corrupt")));
}

/* Compute length and SHA-256 of a value's bytes. */
uint64
concord_value_digest(Datum value, uint8 *sha256)
{
	struct varlena *v = (struct varlena *) DatumGetPointer(value);
	struct varlena *copy = NULL;
	Digest		d = {0};

	StaticAssertStmt(CONCORD_SHA256_LENGTH == PG_SHA256_DIGEST_LENGTH,
					 "digest length mismatch");
	d.hash = pg_cryptohash_create(PG_SHA256);
	if (pg_cryptohash_init(d.hash) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(d.hash));
	if (VARATT_IS_EXTERNAL(v))
		v = copy = detoast_external_attr(v);
	if (VARATT_IS_COMPRESSED(v))
		dig_compressed(&d, v);
	else
		dig_update(&d, VARDATA_ANY(v), VARSIZE_ANY_EXHDR(v));
	if (pg_cryptohash_final(d.hash, sha256, CONCORD_SHA256_LENGTH) < 0)
		elog(ERROR, "could not compute SHA-256: %s", pg_cryptohash_error(d.hash));
	pg_cryptohash_free(d.hash);
	if (copy)
		pfree(copy);
	return d.total;
}
