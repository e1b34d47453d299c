/*-------------------------------------------------------------------------
 *
 * failure.h
 *	  SQLSTATEs of requests that a session makes; doc/live.md lists them.
 *
 * PL/pgSQL catches a whole class by its code that ends in 000: K4000 every
 * refusal of a system, K5000 every failure of one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_LIVE_FAILURE_H
#define CONCORD_LIVE_FAILURE_H

#include "base/compat.h"

#include "utils/elog.h"

/* Nothing was sent: no address, no connection, no TLS. */
#define CONCORD_ERRCODE_CONNECTION	MAKE_SQLSTATE('0','8','0','0','1')
/* The connection broke before the whole answer came; nothing was to change. */
#define CONCORD_ERRCODE_BROKEN		MAKE_SQLSTATE('0','8','0','0','6')
/* So it did, or time was over, and a write may have been carried out. */
#define CONCORD_ERRCODE_UNKNOWN		MAKE_SQLSTATE('0','8','0','0','7')
/* Credentials could not be had. */
#define CONCORD_ERRCODE_CREDENTIALS	MAKE_SQLSTATE('2','8','0','0','0')
/* A limit (rate, quota, concurrency, throttling) left no place in time. */
#define CONCORD_ERRCODE_LIMIT		MAKE_SQLSTATE('5','3','4','0','0')
/* The answer is larger than is taken. */
#define CONCORD_ERRCODE_TOO_LARGE	MAKE_SQLSTATE('5','4','0','0','0')
/* The circuit breaker is open. */
#define CONCORD_ERRCODE_BREAKER		MAKE_SQLSTATE('K','0','0','0','1')
/* Time was over before an answer came; nothing was to change. */
#define CONCORD_ERRCODE_TIMEOUT		MAKE_SQLSTATE('K','0','0','0','2')
/* Settings do not let this database contact the server or the address. */
#define CONCORD_ERRCODE_NOT_ALLOWED	MAKE_SQLSTATE('K','0','0','0','3')
/* The answer is not what it claims to be: no JSON, cut, wrongly coded. */
#define CONCORD_ERRCODE_MALFORMED	MAKE_SQLSTATE('K','0','0','0','4')

/*
 * concord_errcode_status is the SQLSTATE of a status: K4404 of 404, K5503 of
 * 503, K3302 of 302.
 */
#define concord_errcode_status(status) \
	MAKE_SQLSTATE('K', '0' + (status) / 100 % 10, '0' + (status) / 100 % 10, \
				  '0' + (status) / 10 % 10, '0' + (status) % 10)

#endif							/* CONCORD_LIVE_FAILURE_H */
