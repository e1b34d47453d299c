/*-------------------------------------------------------------------------
 *
 * clock.h
 *	  A clock that does not jump, for all that is measured.
 *
 * Whoever sets the machine's time of day would make an interval of hours of one
 * of milliseconds, or the other way.  Only what people are to read, and what a
 * table keeps over a restart of the machine, goes by the wall clock.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_BASE_CLOCK_H
#define CONCORD_BASE_CLOCK_H

#include "base/compat.h"

#include "utils/timestamp.h"

/* A moment that does not come. */
#define CONCORD_CLOCK_NEVER		PG_INT64_MAX

/*
 * concord_clock_steady returns microseconds since the machine was started: the
 * same in all processes, going on while the machine sleeps, not set by anybody.
 */
extern int64 concord_clock_steady(void);

/* concord_clock_ns returns the same in nanoseconds. */
extern int64 concord_clock_ns(void);

/*
 * concord_clock_passed says whether ms milliseconds are over since a moment of
 * concord_clock_steady; 0 stands for one that is long ago.
 */
extern bool concord_clock_passed(int64 since, int64 ms);

/*
 * concord_clock_left returns the milliseconds until a moment, rounded up so that
 * who sleeps for them does not wake too early; 0 where it has come, INT_MAX at
 * most.
 */
extern long concord_clock_left(int64 moment);

/* concord_clock_after returns the moment at which an interval from now ends. */
extern int64 concord_clock_after(const Interval *interval);

#endif							/* CONCORD_BASE_CLOCK_H */
