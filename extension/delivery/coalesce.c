/*-------------------------------------------------------------------------
 *
 * coalesce.c
 *	  Option coalesce: of several pending images of a record only the newest
 *	  is sent.
 *
 * A delivery whose mapped image stands is compared with its neighbours in the
 * queue of its key, and nowhere else: what is left out is always the older of
 * two that would have been sent one after the other, so no order changes.
 *
 * An older one ends as superseded where a newer one makes it pointless:
 *
 *		older		newer		what is sent
 *		upsert		upsert		the newer image; a create, if the older was one
 *		upsert		delete		the delete; nothing, where the older one was an
 *								insert and the system has no record (link.c)
 *		delete		anything	both: what is created anew starts from nothing
 *
 * Left alone is
 *	- what is under way, or has been asked for by a person (retry_dead, replay,
 *	  resync);
 *	- a change of key, which concerns two records;
 *	- an older one that may have arrived, where only asking again with the same
 *	  request could tell (the system assigns ids): it is settled first.
 *	  Elsewhere the newer one inherits the doubt, and looks;
 *	- any before a newer one that does not say everything: a value is not known,
 *	  or only a link could tell whether it counts.
 *
 * This is done when a delivery has been mapped, not when it is sent, so a key
 * that changes all the time fills no window while its system is down.  The ends
 * of the older ones are committed, and on disk, before the newer one is sent, as
 * with every end (key.c); a crash before that finds all of them again.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "delivery/delivery.h"

/* coal_stands: it waits in its key's queue, with an image of one record. */
static bool
coal_stands(const ConcordDelivery *d)
{
	const ConcordMapped *m = d->mapped;

	return d->state == CONCORD_DELIVERY_QUEUED && d->nrefs > 0 &&
		d->event->op != CONCORD_OP_RESYNC &&
		m->verdict == CONCORD_SEND && m->action != CONCORD_ACTION_EVENT &&
		m->local_key != NULL && m->old_local_key == NULL;
}

/*
 * coal_waits: it would stand there, but for a record that it refers to.  Nobody
 * waits for that where its own record is no more, or refers to another one.
 */
static bool
coal_waits(const ConcordDelivery *d)
{
	const ConcordMapped *m = d->mapped;

	return d->state == CONCORD_DELIVERY_QUEUED && d->nrefs > 0 &&
		d->event->op != CONCORD_OP_RESYNC &&
		m->verdict == CONCORD_WAIT &&
		m->local_key != NULL && m->old_local_key == NULL;
}

/*
 * coal_in_unit: of a record that one transaction changes more than once, what is
 * left of it in the end goes, also where it was deleted in between.  A delete
 * that only a link can tell the need of says enough: where there is none,
 * nothing has come of the older one either.
 */
static bool
coal_in_unit(const ConcordDelivery *older, const ConcordDelivery *newer)
{
	return (coal_stands(older) || coal_waits(older)) && coal_stands(newer) &&
		older->event->lsn == newer->event->lsn &&
		older->parked == NULL && newer->parked == NULL &&
		newer->mapped->skip == NULL &&
		(!newer->mapped->only_if_linked || newer->mapped->deleting ||
		 newer->mapped->action == CONCORD_ACTION_DELETE);
}

/* coal_pointless: nothing is lost where older is not sent before newer. */
static bool
coal_pointless(const ConcordDelivery *older, const ConcordDelivery *newer)
{
	const ConcordMapped *o = older->mapped;
	const ConcordMapped *n = newer->mapped;

	if (older->lane->unit)
		return coal_in_unit(older, newer);
	if (!coal_stands(older) || !coal_stands(newer) || newer->parked != NULL ||
		(older->parked != NULL && older->parked->again))
		return false;
	if (o->action != CONCORD_ACTION_UPSERT || o->deleting ||
		n->only_if_linked || n->skip != NULL ||
		strcmp(o->local_key, n->local_key) != 0)
		return false;
	return !older->was_unknown ||
		!older->definition->mapping->options.remote_id_assigned;
}

/* coal_supersede ends the older one of two. */
static void
coal_supersede(ConcordCourier *courier, ConcordDelivery *older,
			   ConcordDelivery *newer)
{
	if (older->inserted ||
		(older->event->op == CONCORD_OP_INSERT && !older->mapped->only_if_linked))
		newer->inserted = true;
	if (older->was_unknown)
		newer->was_unknown = newer->doubtful = true;
	newer->doubtful |= older->doubtful;
	concord_delivery_end(courier, older, CONCORD_END_SUPERSEDED);
}

/* coal_next gives the neighbour in a key's queue that has not ended, or NULL. */
static ConcordDelivery *
coal_next(ConcordDelivery *d, bool forward)
{
	ConcordKeyRef *ref = &d->refs[0];
	dlist_head *queue = &ref->key->queue;
	dlist_node *node = &ref->node;

	while (forward ? dlist_has_next(queue, node) : dlist_has_prev(queue, node))
	{
		ConcordDelivery *other;

		node = forward ? dlist_next_node(queue, node) :
			dlist_prev_node(queue, node);
		other = dlist_container(ConcordKeyRef, node, node)->owner;
		if (other->state != CONCORD_DELIVERY_ENDED)
			return other;
	}
	return NULL;
}

/* concord_coalesce looks at the neighbours of a delivery that was mapped. */
void
concord_coalesce(ConcordCourier *courier, ConcordDelivery *d)
{
	ConcordDelivery *other;

	if ((!d->definition->mapping->options.coalesce && !d->lane->unit) ||
		!d->lane->use_links ||
		!coal_stands(d))
		return;
	other = coal_next(d, true);
	if (other != NULL && coal_pointless(d, other))
	{
		coal_supersede(courier, d, other);
		return;
	}
	while ((other = coal_next(d, false)) != NULL && coal_pointless(other, d))
		coal_supersede(courier, other, d);
}
