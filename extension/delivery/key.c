/*-------------------------------------------------------------------------
 *
 * key.c
 *	  Order per key: one delivery of a key at a time, in outbox order.
 *
 * A key has a queue of deliveries and a list of parked exceptions that hold it.
 * A delivery is ready when it is first in the queue of each of its keys (a
 * change of key has two) and no parked one holds them, or when it is itself a
 * parked one whose time has come; those go before deliveries from the window.
 *
 * A delivery leaves its queue when its end is committed, not when the answer
 * comes; and before the next one of that key is sent, that commit is on disk
 * (send.c).  So a crash repeats, for each key, at most the one delivery that
 * was under way: never an older one after a newer one.  A key therefore stays
 * known until the commit of its last end is flushed.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "common/hashfn.h"
#include "delivery/work.h"
#include "utils/memutils.h"

typedef struct KeyEntry
{
	char	   *text;
	ConcordKey *key;
	uint32		hash;
	char		status;
} KeyEntry;

#define SH_PREFIX keys
#define SH_ELEMENT_TYPE KeyEntry
#define SH_KEY_TYPE char *
#define SH_KEY text
#define SH_HASH_KEY(tb, key) hash_bytes((const unsigned char *) (key), strlen(key))
#define SH_EQUAL(tb, a, b) (strcmp((a), (b)) == 0)
#define SH_STORE_HASH
#define SH_GET_HASH(tb, a) (a)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* concord_keys_create makes a lane's empty table of keys. */
void
concord_keys_create(ConcordLane *lane)
{
	lane->keys = keys_create(lane->memory, 16, NULL);
	dlist_init(&lane->idle_keys);
}

/* key_get finds or makes a key. */
static ConcordKey *
key_get(ConcordLane *lane, const char *text)
{
	bool		found;
	KeyEntry   *entry = keys_insert(lane->keys, unconstify(char *, text),
									&found);
	ConcordKey *key;
	Size		len;

	if (found)
		return entry->key;
	len = strlen(text) + 1;
	key = MemoryContextAlloc(lane->memory, sizeof(ConcordKey) + len);
	memset(key, 0, sizeof(ConcordKey));
	key->text = memcpy((char *) (key + 1), text, len);
	key->lane = lane;
	dlist_init(&key->queue);
	dlist_init(&key->parked);
	entry->text = key->text;
	entry->key = key;
	return key;
}

/* key_busy takes a key out of the idle ones. */
static void
key_busy(ConcordKey *key)
{
	if (key->idle)
	{
		dlist_delete(&key->idle_node);
		key->idle = false;
	}
}

/* key_rest puts a key that has nothing left among the idle ones. */
static void
key_rest(ConcordKey *key)
{
	if (!key->idle && dlist_is_empty(&key->queue) &&
		dlist_is_empty(&key->parked))
	{
		dlist_push_tail(&key->lane->idle_keys, &key->idle_node);
		key->idle = true;
		concord_place_enter(&key->lane->courier->idle, &key->lane->has_idle);
	}
}

/* concord_keys_forget_idle frees idle keys whose last commit is on disk. */
void
concord_keys_forget_idle(ConcordLane *lane, XLogRecPtr flushed)
{
	while (!dlist_is_empty(&lane->idle_keys))
	{
		ConcordKey *key = dlist_container(ConcordKey, idle_node,
										  lane->idle_keys.head.next);

		if (key->commit_lsn > flushed)
			break;
		dlist_delete(&key->idle_node);
		keys_delete(lane->keys, key->text);
		pfree(key);
	}
}

/* key_first returns the delivery whose turn it is, or NULL. */
static ConcordDelivery *
key_first(ConcordKey *key)
{
	if (dlist_is_empty(&key->queue))
		return NULL;
	return dlist_container(ConcordKeyRef, node, key->queue.head.next)->owner;
}

/*
 * key_insert puts a reference into a queue: at the end, or, of a parked one,
 * before all that come from the window and wait.
 */
static void
key_insert(ConcordKey *key, ConcordKeyRef *ref, bool parked)
{
	dlist_iter	iter;
	ConcordDelivery *first = key_first(key);

	key_busy(key);
	if (!parked || first == NULL)
	{
		dlist_push_tail(&key->queue, &ref->node);
		return;
	}
	dlist_foreach(iter, &key->queue)
	{
		ConcordDelivery *d = dlist_container(ConcordKeyRef, node,
											 iter.cur)->owner;

		if (d->parked == NULL && d->state != CONCORD_DELIVERY_SENT &&
			d->state != CONCORD_DELIVERY_ENDED)
		{
			dlist_insert_before(iter.cur, &ref->node);
			if (d->state == CONCORD_DELIVERY_QUEUED)
				concord_list_remove(d);
			return;
		}
	}
	dlist_push_tail(&key->queue, &ref->node);
}

/*
 * concord_keys_enqueue queues a mapped delivery under its key, and under its
 * old one where the key changed.  NULL: it keeps no order.
 */
void
concord_keys_enqueue(ConcordDelivery *d, const char *key, const char *old_key)
{
	const char *texts[CONCORD_KEY_REFS] = {key, old_key};

	Assert(d->nrefs == 0);
	if (key != NULL && old_key != NULL && strcmp(key, old_key) == 0)
		texts[1] = NULL;
	for (int i = 0; i < CONCORD_KEY_REFS; i++)
	{
		ConcordKeyRef *ref = &d->refs[d->nrefs];

		if (texts[i] == NULL)
			continue;
		ref->key = key_get(d->lane, texts[i]);
		ref->owner = d;
		d->nrefs++;
		key_insert(ref->key, ref, d->parked != NULL);
	}
	concord_keys_check(d);
}

/* concord_keys_blocked: a parked one holds a key that the delivery needs. */
bool
concord_keys_blocked(const ConcordDelivery *d)
{
	/* one that is parked itself holds its own keys */
	for (int i = d->parked == NULL ? 0 : d->nrefs - d->awaits_leave; i < d->nrefs; i++)
		if (!dlist_is_empty(&d->refs[i].key->parked))
			return true;
	return false;
}

/* concord_keys_turn: it is first of all its keys, and nothing holds them. */
bool
concord_keys_turn(const ConcordDelivery *d)
{
	if (concord_keys_blocked(d))
		return false;
	for (int i = 0; i < d->nrefs; i++)
		if (key_first(d->refs[i].key) != d)
			return false;
	return true;
}

/* key_ready notes that a route has one more that is ready. */
static void
key_ready(ConcordRoute *route)
{
	if (route->nready++ == 0 && !route->lane->unit)
		concord_place_enter(&route->system->ready, &route->ready_place);
}

/* concord_keys_check puts a queued delivery into ready if it is its turn. */
void
concord_keys_check(ConcordDelivery *d)
{
	if (d->state != CONCORD_DELIVERY_QUEUED || d->listed ||
		!concord_keys_turn(d))
		return;
	if (d->link_known)
	{
		dlist_push_tail(&d->route->ready, &d->list_node);
		key_ready(d->route);
	}
	else
	{
		dlist_push_tail(&d->lane->linkless, &d->list_node);
		concord_place_enter(&d->lane->courier->linkless, &d->lane->has_linkless);
	}
	d->lane->nready++;
	d->listed = true;
}

/* key_promote looks who is next after something has left a key. */
static void
key_promote(ConcordKey *key)
{
	ConcordDelivery *first = key_first(key);

	if (first != NULL)
		concord_keys_check(first);
	if (!dlist_is_empty(&key->parked))
	{
		ConcordParked *p = dlist_container(ConcordKeyRef, node,
										   key->parked.head.next)->owner;

		concord_parked_wake(p);
	}
	key_rest(key);
}

/*
 * concord_keys_await has a delivery, whose turn has come and which is in no list,
 * wait for its turn under one more key, which takes the place of an earlier such
 * one; NULL: under none.  The caller checks whether it has come.
 */
void
concord_keys_await(ConcordDelivery *d, const char *key)
{
	ConcordKeyRef *ref;

	Assert(!d->listed);
	if (d->awaits_leave)
	{
		ref = &d->refs[--d->nrefs];
		dlist_delete(&ref->node);
		d->awaits_leave = false;
		key_promote(ref->key);
	}
	if (key != NULL)
	{
		ref = &d->refs[d->nrefs];
		ref->key = key_get(d->lane, key);
		ref->owner = d;
		d->nrefs++;
		d->awaits_leave = true;
		key_insert(ref->key, ref, d->parked != NULL);
	}
}

/* concord_keys_dequeue takes an ended delivery out of its queues. */
void
concord_keys_dequeue(ConcordDelivery *d, XLogRecPtr commit_lsn)
{
	int			n = d->nrefs;

	d->nrefs = 0;
	d->awaits_leave = false;
	for (int i = 0; i < n; i++)
	{
		dlist_delete(&d->refs[i].node);
		d->refs[i].key->commit_lsn = commit_lsn;
	}
	for (int i = 0; i < n; i++)
		key_promote(d->refs[i].key);
}

/* concord_keys_hold makes a parked one hold its keys, in outbox order. */
void
concord_keys_hold(ConcordParked *p)
{
	Assert(p->nrefs == 0);
	for (int i = 0; i < CONCORD_KEY_REFS; i++)
	{
		ConcordKeyRef *ref = &p->refs[p->nrefs];
		ConcordKey *key;
		dlist_node *after;

		if (p->keys[i] == NULL)
			continue;
		key = key_get(p->lane, p->keys[i]);
		key_busy(key);
		ref->key = key;
		ref->owner = p;
		p->nrefs++;
		after = key->parked.head.prev;
		while (after != NULL && after != &key->parked.head &&
			   ((ConcordParked *) dlist_container(ConcordKeyRef, node,
												  after)->owner)->seq > p->seq)
			after = after->prev;
		if (after == NULL || after == &key->parked.head)
			dlist_push_head(&key->parked, &ref->node);
		else
			dlist_insert_after(after, &ref->node);
		if (key_first(key) != NULL &&
			key_first(key)->state == CONCORD_DELIVERY_QUEUED &&
			key_first(key)->parked == NULL)
			concord_list_remove(key_first(key));
	}
}

/* concord_keys_unhold lets its keys go. */
void
concord_keys_unhold(ConcordParked *p)
{
	int			n = p->nrefs;

	p->nrefs = 0;
	for (int i = 0; i < n; i++)
		dlist_delete(&p->refs[i].node);
	for (int i = 0; i < n; i++)
		key_promote(p->refs[i].key);
}

/* concord_keys_commit_lsn: this must be on disk before the delivery is sent. */
XLogRecPtr
concord_keys_commit_lsn(const ConcordDelivery *d)
{
	XLogRecPtr	lsn = 0;

	for (int i = 0; i < d->nrefs; i++)
		lsn = Max(lsn, d->refs[i].key->commit_lsn);
	return lsn;
}

/* concord_keys_waited_for: somebody stands behind this delivery. */
bool
concord_keys_waited_for(const ConcordDelivery *d)
{
	for (int i = 0; i < d->nrefs; i++)
		if (dlist_has_next(&d->refs[i].key->queue,
						   unconstify(dlist_node *, &d->refs[i].node)))
			return true;
	return false;
}

/* concord_ready_next takes the first ready delivery of a route, or NULL. */
ConcordDelivery *
concord_ready_next(ConcordRoute *route)
{
	ConcordDelivery *d;

	if (dlist_is_empty(&route->ready))
		return NULL;
	d = dlist_container(ConcordDelivery, list_node, route->ready.head.next);
	concord_list_remove(d);
	return d;
}

/* concord_ready_unget puts one back that was taken a moment ago. */
void
concord_ready_unget(ConcordDelivery *d)
{
	dlist_push_head(&d->route->ready, &d->list_node);
	key_ready(d->route);
	d->lane->nready++;
	d->listed = true;
}
