/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  A clock that does not jump.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_BASE_CLOCK_H
#define CONCORD_BASE_CLOCK_H

#include "base/compat.h"

/*
 * concord_clock_steady returns microseconds since the machine was started: the
 * same in all processes, going on while the machine sleeps, not set by anybody.
 */
extern int64 concord_clock_steady(void);

#endif							/* CONCORD_BASE_CLOCK_H */
