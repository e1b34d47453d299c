/*-------------------------------------------------------------------------
 *
 * fsm.c
 *	  The states of a delivery in a courier's memory: the only writer of state.
 *
 *		NEW ──► QUEUED ──► SENT ──► ENDED
 *		 ▲ └──────┼──────────┼────────▲
 *		 └────────┤◄─────────┘        │
 *				  └───────────────────┘
 *
 * NEW → ENDED: the mapping skips it, or a check fails.  QUEUED → NEW: its
 * values have become old, map again.  QUEUED → ENDED: nothing to send, or it
 * moves to the exceptions behind an earlier one of its key.  SENT → QUEUED: the
 * system is down or throttles, which is not this record's doing.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "delivery/delivery.h"

#define FSM_TO(state)	(1 << (state))

static const int fsm_next[CONCORD_DELIVERY_STATES] = {
	[CONCORD_DELIVERY_NEW] =
	FSM_TO(CONCORD_DELIVERY_QUEUED) | FSM_TO(CONCORD_DELIVERY_ENDED),
	[CONCORD_DELIVERY_QUEUED] =
	FSM_TO(CONCORD_DELIVERY_NEW) | FSM_TO(CONCORD_DELIVERY_SENT) |
	FSM_TO(CONCORD_DELIVERY_ENDED),
	[CONCORD_DELIVERY_SENT] =
	FSM_TO(CONCORD_DELIVERY_QUEUED) | FSM_TO(CONCORD_DELIVERY_ENDED),
	[CONCORD_DELIVERY_ENDED] = 0,
};

static const char *const fsm_names[CONCORD_DELIVERY_STATES] = {
	"new", "queued", "sent", "ended"
};

/* concord_delivery_become moves a delivery to its next state. */
void
concord_delivery_become(ConcordDelivery *d, ConcordDeliveryState state)
{
	if ((fsm_next[d->state] & FSM_TO(state)) == 0)
		elog(ERROR, "a delivery cannot go from state %s to %s",
			 fsm_names[d->state], fsm_names[state]);
	d->state = state;
}

/* concord_end_name gives the state that concord.exception shows. */
const char *
concord_end_name(ConcordEnd end)
{
	switch (end)
	{
		case CONCORD_END_RETRY:
			return "retry";
		case CONCORD_END_WAITING:
			return "waiting";
		case CONCORD_END_BLOCKED:
			return "blocked";
		case CONCORD_END_DEAD:
			return "dead";
		case CONCORD_END_SUPERSEDED:
			return "superseded";
		default:
			return NULL;
	}
}
