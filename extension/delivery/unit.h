/*-------------------------------------------------------------------------
 *
 * unit.h
 *	  What the files about units share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_DELIVERY_UNIT_H
#define CONCORD_DELIVERY_UNIT_H

#include "connector/batch.h"
#include "delivery/delivery.h"
#include "lib/stringinfo.h"

/* What became of deliveries that wait for a record. */
typedef enum ConcordRefer
{
	CONCORD_REFER_MAPPED,		/* none waits any more */
	CONCORD_REFER_WAITS,		/* one does, for what its unit does not create */
	CONCORD_REFER_LATER,		/* it could not be evaluated now */
	CONCORD_REFER_ENDED,		/* it cannot be said: all have ended */
} ConcordRefer;

/* unit_refer.c */
/*
 * concord_unit_refer maps those of n deliveries, all mapped, that wait for a
 * record which another one of them is to create.
 */
extern ConcordRefer concord_unit_refer(ConcordCourier *courier,
									   ConcordDelivery **ds, int n);

/*
 * concord_unit_refer_order puts items behind those that they refer to, and else
 * leaves them as they are; false: some refer to each other.
 */
extern bool concord_unit_refer_order(ConcordDelivery **members,
									 ConcordBatchItem *items, int *places,
									 int nitems);

/*
 * concord_unit_refer_write writes the body of a request with what its marks stand
 * for; false where that cannot be said.
 */
extern bool concord_unit_refer_write(const ConcordBatchForm *form,
									 ConcordDelivery **members, int n,
									 const int *places, int nitems,
									 const ConcordRequest *request,
									 StringInfo buf);

/*
 * concord_map_again (map.c) maps a delivery once more, now, with marks of
 * references; false: it has to be mapped later.
 */
extern bool concord_map_again(ConcordCourier *courier, ConcordDelivery *d,
							  List *references);

/*
 * concord_unit_die (unit.c) makes n deliveries dead letters, as the exchange of
 * told, or NULL, says; blamed: because of that one.
 */
extern void concord_unit_die(ConcordCourier *courier, ConcordDelivery **ds,
							 int n, const ConcordDelivery *told, bool blamed,
							 const char *rule, const char *error);

#endif							/* CONCORD_DELIVERY_UNIT_H */
