/*-------------------------------------------------------------------------
 *
 * group.h
 *	  What groups of deliveries need of sending, and the other way round.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_DELIVERY_GROUP_H
#define CONCORD_DELIVERY_GROUP_H

#include "delivery/delivery.h"

struct ConcordBatchForm;

/* What the parts of a batch that was refused have in common. */
typedef struct ConcordSplit
{
	int			refs;
	int			size;			/* of the batch */
	int			refused;		/* requests */
	bool		accepted;		/* one of them was not */
} ConcordSplit;

struct ConcordGroup
{
	dlist_node	node;			/* in system->waiting_groups, until it is sent */
	ConcordRoute *route;
	MemoryContext context;
	const struct ConcordBatchForm *form;
	ConcordSplit *split;		/* NULL: not part of one that was refused */
	ConcordRequest *request;	/* NULL until it is sent */
	Size		bytes;
	int			n;
	int			max;
	ConcordDelivery **members;
};

/* group.c */
extern int	concord_group_limit(const ConcordRoute *route, TimestampTz now);
extern bool concord_group_lingers(ConcordRoute *route, TimestampTz now);
extern bool concord_group_fits(const ConcordDelivery *d);
extern void concord_group_start(ConcordCourier *courier, ConcordDelivery **ds,
								int n);
extern void concord_group_submit(ConcordCourier *courier, ConcordGroup *group);
extern void concord_group_return(ConcordGroup *group);
extern void concord_group_answer(ConcordCourier *courier, ConcordGroup *group);

/* What is asked of a delivery's exchange. */
typedef enum ConcordSendAsk
{
	CONCORD_ASK_NEXT,			/* a request, complete */
	CONCORD_ASK_ITEM,			/* a request that a batch may carry */
	CONCORD_ASK_COMPLETE,		/* the one that it has, complete */
	CONCORD_ASK_JUDGE,			/* nothing but an outcome */
} ConcordSendAsk;

/*
 * unit.c: concord_unit_start sends n deliveries, which are ready, as a whole.
 */
extern void concord_unit_start(ConcordCourier *courier, ConcordSystem *system,
							   ConcordDelivery **ds, int n);
extern void concord_unit_answer(ConcordCourier *courier, ConcordDelivery *d);

/* send.c */
extern void concord_send_begin(ConcordCourier *courier, ConcordDelivery *d);
extern ErrorData *concord_send_ask(ConcordCourier *courier, ConcordDelivery *d,
								   ConcordSendAsk ask,
								   const ConcordResponse *response,
								   ConcordRequest **next);
extern void concord_send_keep(ConcordDelivery *d);
extern void concord_send_use_place(ConcordCourier *courier,
								   ConcordSystem *system);

/* concord_send_limit gives an option of the mapping, or the server's. */
static inline int
concord_send_limit(int of_mapping, int of_server)
{
	return of_mapping >= 0 ? of_mapping : of_server;
}

/*
 * concord_send_prepare begins a delivery's exchange and makes its first
 * request as an item of a batch; false where that has ended it.
 */
extern bool concord_send_prepare(ConcordCourier *courier, ConcordDelivery *d);

/*
 * concord_send_step gives an answer to a delivery's protocol; what it wants to
 * send next waits in line where the delivery has no place.
 */
extern void concord_send_step(ConcordCourier *courier, ConcordDelivery *d,
							  const ConcordResponse *response);
extern void concord_send_failed(ConcordCourier *courier, ConcordDelivery *d,
								const ErrorData *error);

/* concord_send_alone sends an item of a batch on its own after all. */
extern void concord_send_alone(ConcordCourier *courier, ConcordDelivery *d);

/*
 * concord_send_judge gives a delivery's exchange the outcome of an answer that
 * is about others, too; false where that raised an error, which ended it.
 */
extern bool concord_send_judge(ConcordCourier *courier, ConcordDelivery *d,
							   const ConcordResponse *response);

/* concord_send_return puts a delivery back that was not attempted. */
extern void concord_send_return(ConcordDelivery *d);

/*
 * concord_send_line sends what waits in a system's line, as places are free;
 * has_place: the caller has one, which it gives up.
 */
extern void concord_send_line(ConcordCourier *courier, ConcordSystem *system,
							  bool has_place);

/* A place in a system's concurrency is free again. */
extern void concord_send_give_place(ConcordCourier *courier,
									ConcordSystem *system);

/*
 * concord_send_tell_breaker tells the breaker of an outcome and returns whether
 * it counts against the record; concord_send_outcome then makes an end of it.
 */
extern bool concord_send_tell_breaker(ConcordCourier *courier,
									  ConcordDelivery *d);
extern void concord_send_outcome(ConcordCourier *courier, ConcordDelivery *d,
								 bool counts);

#endif							/* CONCORD_DELIVERY_GROUP_H */
