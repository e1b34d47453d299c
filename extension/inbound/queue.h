/*-------------------------------------------------------------------------
 *
 * queue.h
 *	  The inbox, as the worker that empties it sees it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_INBOUND_QUEUE_H
#define CONCORD_INBOUND_QUEUE_H

/* Whether the database needs such a worker; needs SPI and a snapshot. */
extern bool concord_inbound_needed(void);

/*
 * concord_inbound_turn applies what is due, in transactions of its own, and
 * returns after how many milliseconds something will be.
 */
extern long concord_inbound_turn(void);

/*
 * concord_inbound_retain gives back the space of what is too old; called by the
 * clerk, with no transaction open.
 */
extern void concord_inbound_retain(void);

#endif							/* CONCORD_INBOUND_QUEUE_H */
