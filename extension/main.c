/*-------------------------------------------------------------------------
 *
 * main.c
 *	  Entry point of the library: settings, shared memory, launcher, hooks.
 *
 * No logic here; each room says what it needs at load time.  The library is
 * loaded in three situations: preloaded, where everything is set up; by LOAD
 * or the first call of a function in a server that does not preload it, where
 * only the settings exist and concord_shmem stays NULL; and during a binary
 * upgrade, where no worker may start.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "auth/token.h"
#include "base/settings.h"
#include "base/shmem.h"
#include "base/stats.h"
#include "capture/capture.h"
#include "connector/connector.h"
#include "delivery/delivery.h"
#include "delivery/lease.h"
#include "fdw/join.h"
#include "fmgr.h"
#include "http/account.h"
#include "inbound/match.h"
#include "live/live.h"
#include "mapping/hooks.h"
#include "miscadmin.h"
#include "workers/launcher.h"
#include "workers/registry.h"
#include "workers/worker.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

/* _PG_init registers everything the library has to say at load time. */
void
_PG_init(void)
{
	concord_settings_define();
	concord_mapping_capture_hook = concord_capture_require;
	concord_mapping_register_hook = concord_registry_ensure;
	concord_connector_init();
	concord_delivery_init();
	concord_match_init();
	concord_join_init();
	if (!process_shared_preload_libraries_in_progress)
		return;
	concord_shmem_request();
	concord_token_request();
	concord_account_request();
	concord_lease_request();
	concord_live_init();
	concord_stats_offer();
	concord_capture_register_wakeup();
	concord_utility_init();
	concord_launcher_register();
}
