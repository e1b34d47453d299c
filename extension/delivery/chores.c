/*-------------------------------------------------------------------------
 *
 * chores.c
 *	  What a courier does once a second, whether or not there is work.
 *
 * It looks for what no event announces: a right that was taken or given, a
 * setting, a row of concord.lane_start, a mapping that was held for too long.
 *
 *-------------------------------------------------------------------------
 */
#include "base/compat.h"

#include "access/xact.h"
#include "base/bookkeeping.h"
#include "base/settings.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "connector/limits.h"
#include "delivery/work.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define CHORES_US			INT64CONST(1000000)
#define CHORES_REVIEW_US	INT64CONST(30000000)
#define CHORES_HOLD_US		INT64CONST(30000000)
#define CHORES_BROKEN_US	INT64CONST(10000000)
#define CHORES_HEAL_US		INT64CONST(10000000)

/*
 * cho_set_state changes a mapping's state.  A user's open transaction may hold
 * the row: then it is tried again the next time.
 */
static void
cho_set_state(ConcordCourier *courier, int32 mapping, ConcordMappingState from,
			  ConcordMappingState to, const char *reason)
{
	MemoryContext old = CurrentMemoryContext;

	PG_TRY();
	{
		concord_bookkeeping_begin();
		concord_mapping_move_state(mapping, from, to, reason);
		concord_bookkeeping_commit(true);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(courier->turn);
		error = CopyErrorData();
		if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
			PG_RE_THROW();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		concord_bookkeeping_reset();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
}

/*
 * cho_rights tells of rights that are missing or have come back; denial is what
 * the catalogs say is missing.
 */
static void
cho_rights(ConcordCourier *courier, ConcordMapping *m, ConcordLane *lane,
		   char *denial)
{
	bool		denied = denial != NULL;

	if (!denied && lane->denied && m->state == CONCORD_MAPPING_ACTIVE)
	{
		denied = true;
		denial = lane->denial;
	}
	if (denied && m->state == CONCORD_MAPPING_ACTIVE)
		cho_set_state(courier, m->id, CONCORD_MAPPING_ACTIVE,
					  CONCORD_MAPPING_DENIED, denial);
	else if (!denied && m->state == CONCORD_MAPPING_DENIED)
	{
		lane->denied = false;
		cho_set_state(courier, m->id, CONCORD_MAPPING_DENIED,
					  CONCORD_MAPPING_ACTIVE, NULL);
	}
}

/*
 * cho_usable says whether a broken mapping would work now: its server and
 * credentials can be loaded, and its expressions run, over no rows.
 */
static bool
cho_usable(ConcordCourier *courier, ConcordMapping *m)
{
	List	   *known = NIL;
	char	   *denial;
	char	   *failure;
	volatile bool usable;

	usable = concord_access_get(courier, &known, m, m->serverid, &denial,
								&failure) != NULL;
	concord_access_forget(known);
	if (!usable)
		return false;
	PG_TRY();
	{
		StartTransactionCommand();
		XactReadOnly = true;
		PushActiveSnapshot(GetTransactionSnapshot());
		concord_mapping_require_usable(m, m->definer);
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		(void) concord_bookkeeping_caught(courier->turn);
		usable = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(courier->turn);
	return usable;
}

/*
 * cho_broken says that a mapping is broken whose lane has failed for a while,
 * and lets it go on once that has passed.
 */
static void
cho_broken(ConcordCourier *courier, ConcordMapping *m, ConcordLane *lane)
{
	if (m->state == CONCORD_MAPPING_ACTIVE && lane->wanted &&
		lane->failing_since != 0 &&
		courier->now - lane->failing_since >= CHORES_BROKEN_US)
	{
		lane->heal_at = courier->now + CHORES_HEAL_US;
		cho_set_state(courier, m->id, CONCORD_MAPPING_ACTIVE,
					  CONCORD_MAPPING_BROKEN, lane->failure);
	}
	else if (m->state == CONCORD_MAPPING_BROKEN && courier->now >= lane->heal_at)
	{
		lane->heal_at = courier->now + CHORES_HEAL_US;
		if (!cho_usable(courier, m))
			return;
		lane->failing_since = 0;
		cho_set_state(courier, m->id, CONCORD_MAPPING_BROKEN,
					  CONCORD_MAPPING_ACTIVE, NULL);
	}
}

/*
 * cho_denials asks for each mapping which right is missing; NULL: none.  A
 * thousand mappings are asked for in one transaction.
 */
static char **
cho_denials(ConcordCourier *courier)
{
	char	  **denials = palloc0(sizeof(char *) *
								  Max(list_length(courier->mappings), 1));
	ListCell   *lc;

	concord_bookkeeping_begin();
	MemoryContextSwitchTo(courier->turn);
	foreach(lc, courier->mappings)
	{
		ConcordMapping *m = lfirst(lc);

		(void) concord_access_denied(m, m->serverid,
									 &denials[foreach_current_index(lc)]);
	}
	concord_bookkeeping_commit(false);
	MemoryContextSwitchTo(courier->turn);
	return denials;
}

/*
 * cho_states moves mappings between active, denied and broken.  Rights are
 * looked at when something has changed that they depend on.
 */
static void
cho_states(ConcordCourier *courier, bool review)
{
	char	  **denials = review ? cho_denials(courier) : NULL;
	ListCell   *lc;

	foreach(lc, courier->mappings)
	{
		ConcordMapping *m = lfirst(lc);
		ConcordLane *lane = concord_lane_find(courier, m->id, -1);

		if (lane == NULL || !lane->home)
			continue;
		if (m->state == CONCORD_MAPPING_ACTIVE ||
			m->state == CONCORD_MAPPING_DENIED)
		{
			if (review)
				cho_rights(courier, m, lane, denials[foreach_current_index(lc)]);
			else if (lane->denied && m->state == CONCORD_MAPPING_ACTIVE)
				cho_rights(courier, m, lane, lane->denial);
		}
		if (m->state == CONCORD_MAPPING_ACTIVE ||
			m->state == CONCORD_MAPPING_BROKEN)
			cho_broken(courier, m, lane);
	}
}

/* Some rows of mappings that are gone: a turn must not take long. */
#define CHORES_DELETE_SOME(table) \
	"DELETE FROM concord." table " WHERE ctid = ANY (ARRAY(" \
	" SELECT t.ctid FROM concord." table " t JOIN concord.lane l ON l.mapping = t.mapping" \
	"  WHERE NOT EXISTS (SELECT FROM concord.mapping m WHERE m.id = l.mapping)" \
	"  LIMIT 10000))"

/* The server of an account of its own, or the owner of a named one, is gone. */
#define CHO_USAGE_GONE \
	"u.serverid <> 0 AND NOT EXISTS" \
	" (SELECT FROM pg_catalog.pg_foreign_server s WHERE s.oid = u.serverid AND u.account = ''" \
	"  UNION ALL SELECT FROM pg_catalog.pg_roles r WHERE r.oid = u.serverid AND u.account <> '')"

/*
 * cho_clean removes what belongs to mappings that are gone or gave up; a
 * dropped mapping's lane goes last, so that nothing is forgotten.  True where
 * there was something, and may be more.
 */
static bool
cho_clean(void)
{
	static const char *const statements[] = {
		CHORES_DELETE_SOME("link_item"),
		CHORES_DELETE_SOME("exception"),
		"DELETE FROM concord.lane l"
		" WHERE NOT EXISTS (SELECT FROM concord.mapping m WHERE m.id = l.mapping"
		"                   AND m.state NOT IN ('stale', 'restored'))"
		" AND (EXISTS (SELECT FROM concord.mapping m WHERE m.id = l.mapping)"
		"      OR NOT EXISTS (SELECT FROM concord.link_item k WHERE k.mapping = l.mapping)"
		"     AND NOT EXISTS (SELECT FROM concord.exception e WHERE e.mapping = l.mapping))",
		"DELETE FROM concord.route r"
		" WHERE NOT EXISTS (SELECT FROM concord.mapping m WHERE m.id = r.mapping)"
		" AND NOT EXISTS (SELECT FROM concord.lane l WHERE l.mapping = r.mapping)",
		/* a mapping may still be invisible when its start is there already */
		"DELETE FROM concord.lane_start s WHERE s.at < pg_catalog.now() - '1 day'::pg_catalog.interval"
		" AND NOT EXISTS (SELECT FROM concord.mapping m WHERE m.id = s.mapping)",
		"DELETE FROM concord.system_state t"
		" WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_foreign_server s WHERE s.oid = t.serverid)",
		"DELETE FROM concord.account_usage u WHERE " CHO_USAGE_GONE,
	};
	bool		isnull;

	if (SPI_execute("SELECT EXISTS (SELECT FROM concord.lane l"
					"  WHERE NOT EXISTS (SELECT FROM concord.mapping m WHERE m.id = l.mapping"
					"                    AND m.state NOT IN ('stale', 'restored')))"
					" OR EXISTS (SELECT FROM concord.system_state t WHERE NOT EXISTS"
					"  (SELECT FROM pg_catalog.pg_foreign_server s WHERE s.oid = t.serverid))"
					" OR EXISTS (SELECT FROM concord.account_usage u WHERE " CHO_USAGE_GONE ")",
					true, 1) != SPI_OK_SELECT || SPI_processed != 1)
		elog(ERROR, "could not look for what is left of mappings");
	if (!DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc,
									1, &isnull)))
		return false;
	for (int i = 0; i < lengthof(statements); i++)
		if (SPI_execute(statements[i], false, 0) != SPI_OK_DELETE)
			elog(ERROR, "could not remove what is left of mappings");
	return true;
}

/* cho_definers follows roles that were renamed. */
static void
cho_definers(void)
{
	if (SPI_execute("SELECT FROM concord.mapping m JOIN pg_catalog.pg_roles r ON r.oid = m.definer_oid"
					" WHERE r.rolname <> m.definer AND m.home = concord.home()",
					true, 1) != SPI_OK_SELECT)
		elog(ERROR, "could not look for definers that were renamed");
	if (SPI_processed == 0)
		return;
	if (SPI_execute("UPDATE concord.mapping m SET definer = r.rolname FROM pg_catalog.pg_roles r"
					" WHERE r.oid = m.definer_oid AND r.rolname <> m.definer"
					" AND m.id IN (SELECT id FROM concord.mapping WHERE home = concord.home()"
					"              FOR UPDATE SKIP LOCKED)",
					false, 0) != SPI_OK_UPDATE)
		elog(ERROR, "could not follow definers that were renamed");
}

/* cho_overdue lists mappings that are held and whose oldest event is too old. */
static int32 *
cho_overdue(ConcordCourier *courier, int *n)
{
	Oid			types[] = {INT4ARRAYOID, INT4OID, INT8OID};
	Datum	   *ids = palloc(sizeof(Datum) * Max(courier->nlanes, 1));
	int			nids = 0;
	Datum		values[3];
	int32	   *result;
	dlist_iter	iter;

	dlist_foreach(iter, &courier->lanes)
	{
		ConcordLane *lane = dlist_container(ConcordLane, node, iter.cur);

		if (!lane->home)
			continue;			/* another courier knows */
		if (lane->state == CONCORD_LANE_CLOSED ||
			(lane->own.system != NULL && concord_lane_single(lane) &&
			 (lane->own.system->held != NULL ||
			  lane->own.system->breaker != CONCORD_BREAKER_CLOSED)) ||
			(!concord_lane_single(lane) && lane->nparked >= CONCORD_PARKED_LIMIT) ||
			lane->hold_until > courier->now)
			ids[nids++] = Int32GetDatum(lane->id);
	}
	values[0] = PointerGetDatum(construct_array(ids, nids, INT4OID, 4, true,
												TYPALIGN_INT));
	values[1] = Int32GetDatum(concord_hold_limit_age);
	values[2] = Int64GetDatum((int64) concord_hold_limit_size * 1024);
	if (SPI_execute_with_args("SELECT DISTINCT m.id FROM pg_catalog.unnest($1) AS k (id)"
							  "  JOIN concord.mapping m ON m.id = k.id AND m.state IN ('active', 'paused', 'denied', 'broken')"
							  "  JOIN LATERAL (SELECT pg_catalog.min(n.cursor) AS cursor FROM concord.lane n"
							  "    WHERE n.mapping = m.id) l ON l.cursor IS NOT NULL"
							  "  CROSS JOIN LATERAL concord.pending_summary(m.id) p"
							  " WHERE p.pending > 0"
							  "   AND ($2 > 0 AND p.oldest < pg_catalog.now() - pg_catalog.make_interval(mins => $2)"
							  "    OR $3 > 0 AND concord.outbox_bytes_after(l.cursor) > $3)",
							  3, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not look for mappings that are held too long");
	*n = (int) SPI_processed;
	result = MemoryContextAlloc(courier->turn, sizeof(int32) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		bool		isnull;

		result[i] = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i],
												SPI_tuptable->tupdesc, 1, &isnull));
	}
	return result;
}

/*
 * cho_hold_limit makes mappings stale that were paused, or could not deliver,
 * for longer than pg_concord.hold_limit: a forgotten mapping never fills the
 * disk.
 */
static void
cho_hold_limit(ConcordCourier *courier)
{
	int32	   *ids;
	int			n;

	if ((concord_hold_limit_age == 0 && concord_hold_limit_size == 0) ||
		courier->now < courier->hold_check_at)
		return;
	courier->hold_check_at = courier->now + CHORES_HOLD_US;
	concord_bookkeeping_begin();
	ids = cho_overdue(courier, &n);
	concord_bookkeeping_commit(false);
	for (int i = 0; i < n; i++)
	{
		ConcordMapping *m;

		concord_bookkeeping_begin();
		m = concord_mapping_by_id(ids[i], courier->turn);
		concord_bookkeeping_commit(false);
		if (m == NULL)
			continue;
		ereport(LOG,
				(errmsg("mapping \"%s\" is stale: its oldest event was held for longer than pg_concord.hold_limit",
						m->name)));
		cho_set_state(courier, m->id, m->state, CONCORD_MAPPING_STALE,
					  "its events were held for longer than pg_concord.hold_limit;"
					  " resume() delivers what changes from then on");
	}
}

/* cho_lanes does what is due for the lanes' exceptions. */
static void
cho_lanes(ConcordCourier *courier)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &courier->busy)
	{
		ConcordLane *lane = dlist_container(ConcordLane, busy.node, iter.cur);

		if (lane->state == CONCORD_LANE_OPEN && lane->more_parked &&
			lane->nparked < CONCORD_PARKED_LIMIT / 2)
		{
			concord_bookkeeping_begin();
			concord_parked_sync(courier, lane, false);
			concord_bookkeeping_commit(false);
		}
		if (lane->state == CONCORD_LANE_OPEN && !concord_lane_single(lane))
		{
			concord_routes_check(courier, lane);
			concord_routes_put_back(courier, lane);
		}
		concord_parked_move_blocked(courier, lane);
		if (lane->wanted && lane->state == CONCORD_LANE_CLOSED && !lane->denied)
			courier->loaded = false;	/* leased by another, or it failed */
		concord_lane_rest(lane);
	}
}

/*
 * cho_review says whether rights may be others than they were at the last look.
 * What they depend on announces its changes; a look now and then is for what does
 * not.
 */
static bool
cho_review(ConcordCourier *courier)
{
	if (!courier->rights_changed && courier->now < courier->review_at)
		return false;
	courier->rights_changed = false;
	courier->review_at = courier->now + CHORES_REVIEW_US;
	return true;
}

/*
 * cho_first does what one courier does for all.  generation is from before the
 * transaction, whose snapshot need not have what a later one stands for.
 */
static void
cho_first(ConcordCourier *courier, bool review, uint64 generation)
{
	if (review || courier->clean_again || courier->cleaned != generation)
	{
		courier->clean_again = cho_clean();
		courier->cleaned = generation;
	}
	if (review)
		cho_definers();
}

/* concord_chores does all of it, at most once a second. */
void
concord_chores(ConcordCourier *courier)
{
	bool		review = false;
	bool		saved = false;
	bool		started;
	uint64		generation = pg_atomic_read_u64(&courier->db->catalog_generation);

	if (courier->now < courier->chores_at && !courier->look_for_starts)
		return;
	concord_bookkeeping_begin();
	if (!OidIsValid(get_extension_oid("pg_concord", true)))
	{
		courier->gone = true;
		concord_bookkeeping_commit(false);
		return;
	}
	started = concord_lanes_start(courier);
	if (courier->now >= courier->chores_at)
	{
		review = cho_review(courier);
		concord_systems_check(courier);
		if (review)
			concord_access_review(courier);
		if (courier->index == 0)
		{
			cho_first(courier, review, generation);
			/* a stop waits until it is committed: a quota outlives a restart */
			HOLD_INTERRUPTS();
			saved = true;
			(void) concord_limits_save_usage();
		}
	}
	concord_bookkeeping_commit(started);
	if (saved)
		RESUME_INTERRUPTS();
	if (started)
		courier->loaded = false;
	if (courier->now < courier->chores_at)
		return;
	courier->chores_at = courier->now + CHORES_US;
	courier->more_events = true;	/* a look at the outbox, come what may */
	cho_states(courier, review);
	cho_hold_limit(courier);
	cho_lanes(courier);
}
