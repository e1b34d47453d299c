/*-------------------------------------------------------------------------
 *
 * audit.h
 *	  The record of what sessions write to systems; private to live/.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_LIVE_AUDIT_H
#define CONCORD_LIVE_AUDIT_H

#include "live/session.h"

/*
 * concord_audit_prepare is called before a request that writes may be sent: it
 * raises in a read-only transaction, and where nothing could be recorded
 * (setting pg_concord.call_log).  From then on the transaction cannot be
 * prepared.
 */
extern void concord_audit_prepare(ConcordLiveRequest *live);

/* concord_audit_begin records that it is about to be sent; on disk. */
extern void concord_audit_begin(ConcordLiveRequest *live);

/* concord_audit_end records what became of it. */
extern void concord_audit_end(ConcordLiveRequest *live);

#endif							/* CONCORD_LIVE_AUDIT_H */
