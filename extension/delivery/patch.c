/*-------------------------------------------------------------------------
 *
 * patch.c
 *	  Option patch 'changed': an update has only what differs from what was sent
 *	  last.
 *
 * The link of a record keeps, beside the hash of the whole image, 8 bytes for
 * each field: a hash of object, name and value.  A field whose hash is among
 * them stands there as it is to be.  Names are in the hash, so nothing depends
 * on the order of fields or the version of the mapping; what is not known to be
 * the same is sent.
 *
 * No field is left out where the link may not say what the system has: an
 * earlier attempt may have arrived, a person has asked for the record again,
 * its key changed.  A create is whole in any case, also one that an update turns
 * into because the record is gone: only bodies of updates look at "same".
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/digest.h"
#include "delivery/delivery.h"

/* pat_hash gives the hash of a field's value. */
static uint64
pat_hash(StringInfo buf, const char *object, const ConcordField *field,
		 const ConcordValue *value)
{
	uint8		digest[CONCORD_SHA256_LENGTH];
	uint64		hash;

	resetStringInfo(buf);
	appendBinaryStringInfo(buf, object, strlen(object) + 1);
	appendBinaryStringInfo(buf, field->name, strlen(field->name) + 1);
	appendStringInfoChar(buf, value->isnull ? 'n' : 't');
	if (!value->isnull)
		appendBinaryStringInfo(buf, value->text, value->len);
	concord_sha256(buf->data, buf->len, digest);
	memcpy(&hash, digest, sizeof(hash));
	return hash;
}

/*
 * concord_link_fields makes what the link is to keep of the fields that a
 * delivery has sent, in the current context; NULL where that is not wanted.
 * What goes with creates or updates only does not stand for the record.
 */
bytea *
concord_link_fields(const ConcordDelivery *d)
{
	if (d->refers)
		return NULL;
	return concord_mapped_fields(d->definition->mapping, d->mapped);
}

/* concord_mapped_fields does so of a row. */
bytea *
concord_mapped_fields(const ConcordMapping *mapping, const ConcordMapped *m)
{
	bytea	   *bytes;
	StringInfoData buf;
	int			n = 0;

	if (!mapping->options.patch_changed)
		return NULL;
	initStringInfo(&buf);
	bytes = palloc(VARHDRSZ + sizeof(uint64) * (m->nfields + 1));
	for (int i = 0; i < m->nfields; i++)
	{
		const ConcordField *field = list_nth(m->field_defs, i);
		uint64		hash;

		if ((m->skip != NULL && m->skip[i]) || field->on != CONCORD_ON_ALWAYS)
			continue;
		hash = pat_hash(&buf, mapping->object, field, &m->fields[i]);
		memcpy(VARDATA(bytes) + sizeof(hash) * n++, &hash, sizeof(hash));
	}
	pfree(buf.data);
	SET_VARSIZE(bytes, VARHDRSZ + sizeof(uint64) * n);
	return bytes;
}

/* concord_link_fields_known keeps what a link says of fields, in context. */
void
concord_link_fields_known(ConcordDelivery *d, const bytea *bytes)
{
	Size		len = VARSIZE_ANY_EXHDR(bytes);
	uint64	   *hashes;

	if (len % sizeof(uint64) != 0)
		return;
	hashes = palloc(len + 1);
	memcpy(hashes, VARDATA_ANY(bytes), len);
	d->link_fields = hashes;
	d->link_nfields = (int) (len / sizeof(uint64));
}

/* concord_link_fields_same gives them again as the link has them, or NULL. */
bytea *
concord_link_fields_same(const ConcordDelivery *d)
{
	Size		len = sizeof(uint64) * d->link_nfields;
	bytea	   *bytes;

	if (d->link_fields == NULL)
		return NULL;
	bytes = palloc(VARHDRSZ + len);
	SET_VARSIZE(bytes, VARHDRSZ + len);
	memcpy(VARDATA(bytes), d->link_fields, len);
	return bytes;
}

/* pat_known says whether the link has a hash. */
static bool
pat_known(const ConcordDelivery *d, uint64 hash)
{
	for (int i = 0; i < d->link_nfields; i++)
		if (d->link_fields[i] == hash)
			return true;
	return false;
}

/*
 * concord_link_narrow returns what is to be sent of a delivery: its mapped
 * values, or a copy of them, in its exchange's context, that says which fields
 * the system has already.
 */
const ConcordMapped *
concord_link_narrow(ConcordDelivery *d)
{
	const ConcordMapping *mapping = d->definition->mapping;
	const ConcordMapped *m = d->mapped;
	ConcordMapped *narrow;
	StringInfoData buf;
	bool	   *same;
	int			left = 0;

	/* a record that is created elsewhere has had no key there */
	if (d->left_route != 0 && m->old_keys != NULL)
	{
		narrow = MemoryContextAlloc(d->context, sizeof(ConcordMapped));
		*narrow = *m;
		narrow->old_keys = NULL;
		return narrow;
	}
	if (!mapping->options.patch_changed || d->link_fields == NULL ||
		!d->link.exists || d->was_unknown || d->doubtful ||
		(d->parked != NULL && d->parked->again) ||
		d->event->op == CONCORD_OP_RESYNC ||
		m->action != CONCORD_ACTION_UPSERT || m->old_local_key != NULL)
		return m;
	same = MemoryContextAllocZero(d->context, sizeof(bool) * (m->nfields + 1));
	initStringInfo(&buf);
	for (int i = 0; i < m->nfields; i++)
	{
		const ConcordField *field = list_nth(m->field_defs, i);

		if (field->on == CONCORD_ON_CREATE || (m->skip != NULL && m->skip[i]))
			continue;
		same[i] = field->on == CONCORD_ON_ALWAYS &&
			pat_known(d, pat_hash(&buf, mapping->object, field, &m->fields[i]));
		left += !same[i];
	}
	pfree(buf.data);
	if (left == 0)
		return m;				/* it is wanted although nothing differs */
	narrow = MemoryContextAlloc(d->context, sizeof(ConcordMapped));
	*narrow = *m;
	narrow->same = same;
	return narrow;
}
