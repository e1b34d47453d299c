/*-------------------------------------------------------------------------
 *
 * hooks.h
 *	  What the mapping room asks of rooms above it.
 *
 * Set once when the library is loaded; NULL where nobody answers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_MAPPING_HOOKS_H
#define CONCORD_MAPPING_HOOKS_H

#include "mapping/eval.h"

/*
 * Raises where capture is not ready and cannot be waited for; what is the SQL
 * function's name.  Called before a transaction takes an xid.
 */
typedef void (*ConcordCaptureHook) (const char *what);
extern ConcordCaptureHook concord_mapping_capture_hook;

/*
 * Has this database's workers started where it is a copy of another, which
 * nobody has told the launcher of.  Called before a transaction takes an xid.
 */
typedef void (*ConcordRegisterHook) (void);
extern ConcordRegisterHook concord_mapping_register_hook;

/*
 * Raises where a mapping cannot work with its server's connector: unknown
 * protocol, options, key, object.
 */
typedef void (*ConcordCheckHook) (const ConcordMapping *mapping);
extern ConcordCheckHook concord_mapping_check_hook;

/*
 * Matches the rows of a new mapping with records that exist (initial 'match');
 * called in the transaction that creates it, once it is stored.
 */
typedef void (*ConcordMatchHook) (const ConcordMapping *mapping);
extern ConcordMatchHook concord_mapping_match_hook;

/* What would be sent for an event. */
typedef struct ConcordPreview
{
	char	   *method;
	char	   *url;
	char	   *body;			/* JSON text or NULL */
	List	   *problems;		/* of char * */
} ConcordPreview;

/* Fills preview for one mapped event; raises nothing that a row can cause. */
typedef void (*ConcordPreviewHook) (const ConcordMapping *mapping,
									const ConcordEvent *event,
									const ConcordMapped *mapped,
									ConcordPreview *preview);
extern ConcordPreviewHook concord_preview_request_hook;

/*
 * Returns the event of a delivery that is kept, and for which the mapping is;
 * raises where there is none.
 */
typedef ConcordEvent *(*ConcordDeliveryHook) (const ConcordMapping *mapping,
											  int64 delivery,
											  MemoryContext context);
extern ConcordDeliveryHook concord_preview_delivery_hook;

#endif							/* CONCORD_MAPPING_HOOKS_H */
