/*-------------------------------------------------------------------------
 *
 * limit_options.h
 *	  Values of the options that limit what is sent to a system.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_CATALOG_LIMIT_OPTIONS_H
#define CONCORD_CATALOG_LIMIT_OPTIONS_H

#include "catalog/server_options.h"

/*
 * concord_limit_option_problem says what a value of such an option should look
 * like (a hint of one sentence, a constant), or NULL where it is good.
 */
extern const char *concord_limit_option_problem(ConcordOptionKind kind,
												const char *value);

/* concord_limit_option_rate reads '600/min': so many in period_ms. */
extern bool concord_limit_option_rate(const char *value, int64 *count,
									  int64 *period_ms);

/* concord_limit_option_quota reads '100000/1d'. */
extern bool concord_limit_option_quota(const char *value, int64 *count,
									   int64 *period_ms);

/* concord_limit_option_share reads '20%'. */
extern bool concord_limit_option_share(const char *value, int *percent);

/* concord_limit_option_span reads '250ms', '20s', '1d'; false: it is none. */
extern bool concord_limit_option_span(const char *value, int64 *ms);

#endif							/* CONCORD_CATALOG_LIMIT_OPTIONS_H */
