/*-------------------------------------------------------------------------
 *
 * work.h
 *	  Which lanes have something to do.
 *
 * A turn costs what there is to do, not how many mappings there are: it goes
 * through these lists.  work.c says who is in which.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_DELIVERY_WORK_H
#define CONCORD_DELIVERY_WORK_H

#include "delivery/delivery.h"

/* Events of one read that concern a lane. */
typedef struct ConcordTaken
{
	dlist_node	node;			/* in the read's list */
	ConcordLane *lane;
	const ConcordEvent **events;
	int			n;
	int			allocated;
	bool		wanted;			/* it takes them now */
} ConcordTaken;

/* concord_place_enter puts something at a list's end, if it is not in it. */
static inline void
concord_place_enter(dlist_head *list, ConcordPlace *place)
{
	if (place->in)
		return;
	dlist_push_tail(list, &place->node);
	place->in = true;
}

/* concord_place_leave takes it out, if it is in. */
static inline void
concord_place_leave(ConcordPlace *place)
{
	if (!place->in)
		return;
	dlist_delete(&place->node);
	place->in = false;
}

/* concord_lane_position: the lane has taken all that it wants up to here. */
static inline int64
concord_lane_position(const ConcordLane *lane)
{
	return lane->resting ? Max(lane->read_pos, lane->courier->head_pos)
		: lane->read_pos;
}

/* concord_lane_dirty: the lane's row is to be written. */
static inline void
concord_lane_dirty(ConcordLane *lane)
{
	lane->dirty = true;
	concord_place_enter(&lane->courier->unbooked, &lane->unbooked);
}

/* concord_lane_watch has a lane looked at each turn, while it has to be. */
static inline void
concord_lane_watch(ConcordLane *lane)
{
	concord_place_enter(&lane->courier->watched, &lane->watched);
}

extern void concord_work_init(ConcordCourier *courier);

/* concord_lane_wake ends a lane's rest, if it does. */
extern void concord_lane_wake(ConcordLane *lane);
extern void concord_lanes_wake(ConcordCourier *courier);

/* concord_lane_rest puts a lane to rest that has nothing to do. */
extern void concord_lane_rest(ConcordLane *lane);

/* concord_lane_unwatch ends the looking at a lane that needs none. */
extern void concord_lane_unwatch(ConcordLane *lane);

/* concord_lane_leaves_lists is for one whose window is being emptied. */
extern void concord_lane_leaves_lists(ConcordLane *lane);

/* concord_sources_add notes whose events a lane takes, once it is open. */
extern void concord_sources_add(ConcordLane *lane);

/*
 * concord_sources_concerned calls back for each lane that an event may concern;
 * a lane that it concerns twice may come twice.
 */
extern void concord_sources_concerned(ConcordCourier *courier,
									  const ConcordEvent *event,
									  void (*callback) (ConcordLane *lane,
														const ConcordEvent *event,
														void *arg),
									  void *arg);

#endif							/* CONCORD_DELIVERY_WORK_H */
