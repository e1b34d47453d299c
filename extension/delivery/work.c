/*-------------------------------------------------------------------------
 *
 * work.c
 *	  Which lanes have something to do, and whose events they take.
 *
 * A courier may have thousands of lanes, most of which have nothing.  Those
 * rest: they have read all that the courier has, so their position is its
 * head's, and nothing goes through them but what is done once a second.  The
 * first event that concerns a lane wakes it, found by its table or topic.
 *
 *		busy		does not rest
 *		watched		needs a look each turn: drains, stands at a barrier, is behind
 *					the head, has exceptions, goes by units or to several servers
 *		fresh		has events to be mapped
 *		linkless	has deliveries whose link is to be read
 *		ready		of a system: routes with something to send
 *		idle		has keys to be forgotten once a commit is on disk
 *		unbooked	its row is to be written
 *
 * A lane that only delivers is in no list but those that say what is to be done
 * with it next.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "common/hashfn.h"
#include "delivery/work.h"

/* A table, or a topic by the hash of its name. */
typedef struct WorkKey
{
	Oid			relid;
	uint32		topic;
} WorkKey;

typedef struct WorkSource
{
	WorkKey		key;
	dlist_head	refs;			/* of ConcordSourceRef.source_node */
} WorkSource;

typedef struct ConcordSourceRef
{
	dlist_node	source_node;
	dlist_node	lane_node;		/* in lane->sources */
	WorkKey		key;
	ConcordLane *lane;
} ConcordSourceRef;

/* concord_work_init makes a courier's lists. */
void
concord_work_init(ConcordCourier *courier)
{
	HASHCTL		ctl = {.keysize = sizeof(WorkKey),
	.entrysize = sizeof(WorkSource),.hcxt = courier->context};

	courier->sources = hash_create("concord sources", 256, &ctl,
								   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	dlist_init(&courier->busy);
	dlist_init(&courier->watched);
	dlist_init(&courier->fresh);
	dlist_init(&courier->linkless);
	dlist_init(&courier->idle);
	dlist_init(&courier->unbooked);
}

/* ---------------------------------------------------------------------
 * rest
 * ------------------------------------------------------------------- */

void
concord_lane_wake(ConcordLane *lane)
{
	if (!lane->resting)
		return;
	lane->read_pos = concord_lane_position(lane);
	lane->resting = false;
	lane->courier->nresting--;
	concord_place_enter(&lane->courier->busy, &lane->busy);
}

/*
 * concord_lanes_wake wakes all, and has all looked at, before the head goes to
 * where they are not.
 */
void
concord_lanes_wake(ConcordCourier *courier)
{
	dlist_iter	iter;

	dlist_foreach(iter, &courier->lanes)
	{
		ConcordLane *lane = dlist_container(ConcordLane, node, iter.cur);

		concord_lane_wake(lane);
		concord_lane_watch(lane);
	}
}

/* work_watched: a lane needs a look each turn. */
static bool
work_watched(const ConcordLane *lane)
{
	switch (lane->state)
	{
		case CONCORD_LANE_CLOSED:
		case CONCORD_LANE_UNSTARTED:
			return false;
		case CONCORD_LANE_DRAINING:
			return true;
		case CONCORD_LANE_OPEN:
			break;
	}
	return lane->unit || !concord_lane_single(lane) || lane->nparked > 0 ||
		lane->barrier != 0 || lane->reader != NULL || lane->ahead != NULL ||
		lane->nresyncs > 0 ||
		concord_lane_position(lane) < lane->courier->head_pos;
}

void
concord_lane_unwatch(ConcordLane *lane)
{
	if (!work_watched(lane))
		concord_place_leave(&lane->watched);
}

void
concord_lane_rest(ConcordLane *lane)
{
	ConcordCourier *courier = lane->courier;

	if (lane->resting || lane->state != CONCORD_LANE_OPEN ||
		lane->nwindow > 0 || lane->nfresh > 0 || lane->nready > 0 ||
		lane->in_flight > 0 || lane->nactive > 0 || lane->dirty ||
		lane->more_parked || lane->hold_until > courier->now ||
		lane->read_pos != courier->head_pos || work_watched(lane))
		return;
	lane->resting = true;
	courier->nresting++;
	concord_place_leave(&lane->busy);
}

void
concord_lane_leaves_lists(ConcordLane *lane)
{
	dlist_mutable_iter iter;

	concord_lane_wake(lane);
	concord_lane_watch(lane);
	concord_place_leave(&lane->has_fresh);
	concord_place_leave(&lane->has_linkless);
	concord_place_leave(&lane->has_idle);
	concord_place_leave(&lane->unbooked);
	dlist_foreach_modify(iter, &lane->sources)
	{
		ConcordSourceRef *ref = dlist_container(ConcordSourceRef, lane_node,
												iter.cur);
		WorkSource *source = hash_search(lane->courier->sources, &ref->key,
										 HASH_FIND, NULL);

		dlist_delete(&ref->source_node);
		if (dlist_is_empty(&source->refs))
			hash_search(lane->courier->sources, &ref->key, HASH_REMOVE, NULL);
	}
	dlist_init(&lane->sources);
}

/* ---------------------------------------------------------------------
 * sources
 * ------------------------------------------------------------------- */

/* work_table makes the key of a table. */
static WorkKey
work_table(Oid relid)
{
	WorkKey		key = {InvalidOid};

	key.relid = relid;
	return key;
}

/* work_topic makes the key of a topic. */
static WorkKey
work_topic(const char *topic)
{
	WorkKey		key = {InvalidOid};

	key.topic = hash_bytes((const unsigned char *) topic, strlen(topic));
	return key;
}

/* work_add notes one source of a lane. */
static void
work_add(ConcordLane *lane, WorkKey key)
{
	ConcordSourceRef *ref = MemoryContextAlloc(lane->memory,
											   sizeof(ConcordSourceRef));
	bool		found;
	WorkSource *source = hash_search(lane->courier->sources, &key, HASH_ENTER,
									 &found);

	if (!found)
		dlist_init(&source->refs);
	ref->key = key;
	ref->lane = lane;
	dlist_push_tail(&source->refs, &ref->source_node);
	dlist_push_tail(&lane->sources, &ref->lane_node);
}

void
concord_sources_add(ConcordLane *lane)
{
	const ConcordMapping *mapping = lane->definition->mapping;
	ListCell   *lc;

	if (mapping->topic != NULL)
		work_add(lane, work_topic(mapping->topic));
	if (OidIsValid(mapping->source))
		work_add(lane, work_table(mapping->source));
	foreach(lc, mapping->options.depends)
	{
		Oid			relid = ((const ConcordDepend *) lfirst(lc))->relid;

		if (OidIsValid(relid) && relid != mapping->source)
			work_add(lane, work_table(relid));
	}
}

void
concord_sources_concerned(ConcordCourier *courier, const ConcordEvent *event,
						  void (*callback) (ConcordLane *lane,
											const ConcordEvent *event,
											void *arg),
						  void *arg)
{
	WorkKey		key = {InvalidOid};
	WorkSource *source;
	dlist_iter	iter;

	if (event->op == CONCORD_OP_RESYNC)
	{
		if (event->topic != NULL)
			dlist_foreach(iter, concord_lanes_of(courier, atoi(event->topic)))
				callback(dlist_container(ConcordLane, mapping_node, iter.cur),
						 event, arg);
		return;
	}
	if (event->op == CONCORD_OP_EMIT && event->topic != NULL)
		key = work_topic(event->topic);
	else if (event->relation != NULL)
		key.relid = event->relation->relid;
	source = hash_search(courier->sources, &key, HASH_FIND, NULL);
	if (source != NULL)
		dlist_foreach(iter, &source->refs)
			callback(dlist_container(ConcordSourceRef, source_node, iter.cur)->lane,
					 event, arg);
}
