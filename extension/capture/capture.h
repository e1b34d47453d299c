/*-------------------------------------------------------------------------
 *
 * capture.h
 *	  What other rooms may ask of capture: is it ready, has it got this far.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CAPTURE_CAPTURE_H
#define CONCORD_CAPTURE_CAPTURE_H

#include "base/compat.h"

#include "access/xlogdefs.h"
#include "utils/uuid.h"

/*
 * concord_capture_wait_ready waits until this database's slot is consistent
 * and recorded, so that everything committed from now on is captured.  A
 * negative timeout waits for ever.  It never assigns an xid; a caller whose
 * transaction has one already must not wait, because the slot waits for it.
 */
extern bool concord_capture_wait_ready(int timeout_ms);

/*
 * concord_capture_require returns once capture is ready, having waited for it
 * at most pg_concord.start_timeout where the transaction has no xid yet; in a
 * gap it does not wait.  Otherwise it raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, naming what is
 * missing and who is in the way.  what is the caller's SQL name, for the
 * message.
 */
extern void concord_capture_require(const char *what);

/*
 * concord_emit_begin raises where no event can be emitted now: capture is not
 * ready, or nothing may be written; what names the caller, for messages.
 * concord_emit_event then emits one, which is sent if and only if the transaction
 * commits; ERRCODE_PROGRAM_LIMIT_EXCEEDED beyond pg_concord.max_event_size.
 */
extern void concord_emit_begin(const char *what);
extern void concord_emit_event(const char *topic, const char *key,
							   const char *headers, const char *payload,
							   pg_uuid_t *id);

/*
 * concord_wal_end returns where the last record of WAL ends.  At a page
 * boundary the insert position is beyond the page's header, where no record
 * ends, and XLogFlush would raise: step back to where the last one does.
 */
extern XLogRecPtr concord_wal_end(void);

/*
 * concord_capture_mark returns the end of what is committed in this cluster
 * now, flushed, and makes the decoder read up to there.
 */
extern XLogRecPtr concord_capture_mark(void);

/*
 * concord_capture_announce makes the decoder read up to lsn, which is flushed:
 * what was written there belongs to no transaction.
 */
extern void concord_capture_announce(XLogRecPtr lsn);

/*
 * concord_capture_wait_lsn waits until everything of this database that
 * committed before lsn (from concord_capture_mark) is in the outbox.
 * Interruptible; false at the timeout.
 */
extern bool concord_capture_wait_lsn(XLogRecPtr lsn, int timeout_ms);

/*
 * concord_capture_register_wakeup makes commits wake the decoder; called by
 * _PG_init only.
 */
extern void concord_capture_register_wakeup(void);

/* The slot of a database, by its OID. */
#define CONCORD_SLOT_FORMAT		"pg_concord_%u"

/*
 * concord_capture_slot_name writes pg_concord_<dboid> into buf (NAMEDATALEN).
 */
extern void concord_capture_slot_name(Oid dboid, char *buf);

/* Values of ConcordDatabase.capture_state. */
#define CONCORD_CAPTURE_STARTING	"starting"
#define CONCORD_CAPTURE_CREATING	"creating slot"
#define CONCORD_CAPTURE_RUNNING		"running"
#define CONCORD_CAPTURE_GAP			"gap"	/* stopped: WAL was missed */
#define CONCORD_CAPTURE_ERROR		"error" /* failed, will be started again */
#define CONCORD_CAPTURE_STOPPED		"stopped"
#define CONCORD_CAPTURE_STANDBY		"standby"	/* no workers before promotion */

#endif							/* CONCORD_CAPTURE_CAPTURE_H */
