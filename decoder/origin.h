/*-------------------------------------------------------------------------
 *
 * origin.h
 *	  Replication origins, as the decoder sees them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_ORIGIN_H
#define CONCORD_ORIGIN_H

#include "decoder.h"

extern void concord_origin_check(DecoderState *state);
extern bool concord_origin_filter(DecoderState *state, RepOriginId origin);
extern const char *concord_origin_name(DecoderState *state, RepOriginId origin);
extern void concord_origin_invalidate(DecoderState *state);

#endif							/* CONCORD_ORIGIN_H */
