/*-------------------------------------------------------------------------
 *
 * link.c
 *	  What was delivered last of a record, and what follows from it.
 *
 * concord.link_item holds, for each local key of a mapping that delivers
 * state, the remote id and tag, a hash of the image that was sent last, and the
 * position of the newest event delivered.  It is read when a delivery is ready,
 * that is after the end of the one before it was committed, so it is never
 * behind.  Two rules stand on it:
 *
 *	- an image equal to the last one sent is not sent (option unchanged);
 *	- an image older than the newest one delivered is never sent.
 *
 * A mapping that delivers events keeps links only where it has a filter: to
 * know whether an event that the filter may have held back has something to
 * take back.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "base/bookkeeping.h"
#include "base/digest.h"
#include "delivery/linkread.h"
#include "delivery/work.h"
#include "lib/stringinfo.h"

#define LINK_FETCH_LIMIT	1024

/*
 * link_add appends text with its length, so that "ab", "c" differs from
 * "a", "bc".
 */
static void
link_add(StringInfo buf, const char *text)
{
	uint32		len = text ? strlen(text) : 0xFFFFFFFF;

	appendBinaryStringInfo(buf, (const char *) &len, sizeof(len));
	if (text != NULL)
		appendBinaryStringInfo(buf, text, len);
}

/*
 * concord_mapped_hash computes the hash of what would be sent of a row; false
 * where a value is not known.
 */
bool
concord_mapped_hash(const ConcordMapping *mapping, const ConcordMapped *m,
					uint8 *hash)
{
	int			nkeys = list_length(mapping->key);
	uint8		digest[CONCORD_SHA256_LENGTH];
	StringInfoData buf;
	bool		whole = true;

	initStringInfo(&buf);
	link_add(&buf, mapping->object);
	for (int i = 0; i < nkeys && m->keys != NULL; i++)
		link_add(&buf, m->keys[i].isnull ? NULL : m->keys[i].text);
	for (int i = 0; i < m->nfields; i++)
	{
		const ConcordField *field = list_nth(m->field_defs, i);

		if (m->skip != NULL && m->skip[i])
			whole = false;		/* not the whole image */
		if (field->on == CONCORD_ON_CREATE)
			continue;
		link_add(&buf, field->name);
		link_add(&buf, m->fields[i].isnull ? NULL : m->fields[i].text);
	}
	concord_sha256(buf.data, buf.len, digest);
	pfree(buf.data);
	memcpy(hash, digest, sizeof(((ConcordDelivery *) NULL)->hash));
	return whole;
}

/* concord_link_hash computes that of a delivery. */
void
concord_link_hash(ConcordDelivery *d)
{
	/* what stands for an id is not what will be there the next time */
	d->has_hash = !d->refers &&
		concord_mapped_hash(d->definition->mapping, d->mapped, d->hash);
}

/*
 * link_learn makes a delivery ready whose link is known now, unless the server
 * that it goes to is not to be had, or has its record still under way.
 */
static void
link_learn(ConcordCourier *courier, ConcordDelivery *d)
{
	concord_list_remove(d);
	if (!concord_route_choose(courier, d))
		return;
	d->link_known = true;
	concord_keys_check(d);
}

/* link_collect finds deliveries whose link is to be read. */
static int
link_collect(ConcordCourier *courier, ConcordDelivery **ds, int max)
{
	dlist_mutable_iter iter;
	int			n = 0;

	dlist_foreach_modify(iter, &courier->linkless)
	{
		ConcordLane *lane = dlist_container(ConcordLane, has_linkless.node, iter.cur);
		dlist_mutable_iter inner;

		if (lane->state != CONCORD_LANE_OPEN)
			continue;
		dlist_foreach_modify(inner, &lane->linkless)
		{
			ConcordDelivery *d = dlist_container(ConcordDelivery, list_node,
												 inner.cur);

			if (n == max)
				return n;
			if (lane->use_links && concord_link_key(d) != NULL)
				ds[n++] = d;
			else
				link_learn(courier, d);
		}
	}
	return n;
}

/*
 * concord_links_fetch reads the links of ready deliveries, in a transaction of
 * its own.
 */
void
concord_links_fetch(ConcordCourier *courier)
{
	ConcordDelivery *ds[LINK_FETCH_LIMIT];
	int			n = link_collect(courier, ds, LINK_FETCH_LIMIT);

	if (n == 0)
		return;
	concord_bookkeeping_begin();
	concord_link_read(ds, n);
	concord_bookkeeping_commit(false);
	for (int i = 0; i < n; i++)
		link_learn(courier, ds[i]);
}

/*
 * link_trusted: what the link says was sent last is what the system has.  An
 * attempt whose outcome is not known may have changed that.
 */
static bool
link_trusted(const ConcordDelivery *d)
{
	return !d->doubtful && !(d->was_unknown && d->parked != NULL);
}

/*
 * concord_link_decides says how a ready delivery ends without a request, or
 * CONCORD_END_NONE where it is to be sent.
 */
ConcordEnd
concord_link_decides(ConcordDelivery *d)
{
	const ConcordMapping *mapping = d->definition->mapping;
	bool		again = d->event->op == CONCORD_OP_RESYNC ||
		(d->parked != NULL && d->parked->again);

	if (d->parked != NULL && d->parked->leaving)
		return concord_route_fits(d) ? CONCORD_END_NONE : CONCORD_END_SUPERSEDED;

	if (concord_resync_overtaken(d))
		return CONCORD_END_SUPERSEDED;

	if (!d->lane->use_links)
		return CONCORD_END_NONE;
	if (d->link_stored && mapping->options.ordering != CONCORD_ORDER_NONE)
	{
		if (d->link_seq > d->event->seq && !mapping->options.replay_events)
			return CONCORD_END_SUPERSEDED;
		if (d->link_seq == d->event->seq &&
			(!again || d->event->op == CONCORD_OP_RESYNC))
			return CONCORD_END_UNCHANGED;	/* delivered before a crash */
	}
	if (d->link_covers && d->link.exists && !again)
		return CONCORD_END_SUPERSEDED;	/* went along with its parent */
	if (d->mapped->only_if_linked && !d->link.exists && d->left_route == 0)
		return CONCORD_END_UNCHANGED;
	if (d->inserted && !d->link.exists && !d->was_unknown &&
		(d->mapped->action == CONCORD_ACTION_DELETE || d->mapped->deleting))
		return CONCORD_END_UNCHANGED;	/* created and deleted meanwhile */
	if (!mapping->options.suppress_unchanged || again)
		return CONCORD_END_NONE;
	if (d->mapped->action == CONCORD_ACTION_DELETE)
		return d->link_stored && !d->link.exists && !d->was_unknown ?
			CONCORD_END_UNCHANGED : CONCORD_END_NONE;
	if (d->mapped->action != CONCORD_ACTION_UPSERT || !d->link.exists ||
		!d->link_has_hash || d->mapped->old_local_key != NULL ||
		!link_trusted(d))
		return CONCORD_END_NONE;
	if (!d->has_hash)
		concord_link_hash(d);
	return d->has_hash &&
		memcmp(d->hash, d->link_hash, sizeof(d->hash)) == 0 ?
		CONCORD_END_UNCHANGED : CONCORD_END_NONE;
}
