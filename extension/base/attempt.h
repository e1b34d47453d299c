/*-------------------------------------------------------------------------
 *
 * attempt.h
 *	  Work that may raise, in a subtransaction of its own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_ATTEMPT_H
#define CONCORD_ATTEMPT_H

#include "base/compat.h"

/*
 * concord_attempt calls work, in the current memory context, in a
 * subtransaction of the caller's transaction.  Returns NULL, or where work
 * raised, the error, copied into that context: all that work did to the
 * database, to settings and to the current role is undone then, and SPI
 * connections that it opened are closed.  Cancellation is an error like the
 * others: who does not want to go on after it raises it again with
 * ReThrowError().  What work changes of the caller's variables has to be
 * volatile, or in arg.
 */
extern ErrorData *concord_attempt(void (*work) (void *arg), void *arg);

#endif							/* CONCORD_ATTEMPT_H */
