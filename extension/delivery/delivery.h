/*-------------------------------------------------------------------------
 *
 * delivery.h
 *	  What the files of this room share: a courier and all it holds.
 *
 * One process, one ConcordCourier, no locks.  Who owns what:
 *
 *	courier ── systems		one per server: limits and breaker (breaker.c)
 *	   │
 *	   └────── lanes		one per mapping: position and window (lane.c)
 *				 ├─ routes	one per server that the mapping delivers to; mostly
 *				 │			its own only (route.c)
 *				 ├─ window	deliveries in outbox order, not yet committed as
 *				 │			finished (window.c)
 *				 ├─ keys	who may go next for an ordering key (key.c)
 *				 │	 └─ ready	deliveries that only wait for that system
 *				 └─ parked	rows of concord.exception that are alive
 *							(exception.c)
 *
 * A delivery's memory: its event and its mapped values live in batches that
 * are counted (one context for all events of a read, one for all results of an
 * evaluation); what one exchange needs lives in a context of its own, or in one
 * of all whose links were read, or whose requests were made, at once.
 *
 * README.md of this room has the picture of a turn and the crash story.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_DELIVERY_DELIVERY_H
#define CONCORD_DELIVERY_DELIVERY_H

#include "base/compat.h"

#include "access/xlogdefs.h"
#include "base/shmem.h"
#include "connector/connector.h"
#include "http/account.h"
#include "lib/ilist.h"
#include "lib/pairingheap.h"
#include "mapping/eval.h"
#include "outbox/read.h"
#include "storage/itemptr.h"
#include "utils/hsearch.h"

struct ConcordAuth;

/* Bounds of what a courier keeps in memory. */
#define CONCORD_WINDOW_EVENTS	1024	/* unfinished deliveries of a lane */
#define CONCORD_WINDOW_GROUPED	8192	/* ... whose requests carry many */
#define CONCORD_WINDOW_BYTES	(16 * 1024 * 1024)
#define CONCORD_READ_EVENTS		512 /* of one read */
#define CONCORD_BOOK_ENDS		1000	/* ends that one commit waits for */
#define CONCORD_READ_BYTES		(1024 * 1024)
#define CONCORD_PARKED_LIMIT	10000	/* live exceptions of a lane */
#define CONCORD_BLOCKED_EVENTS	256 /* held behind parked ones: they move */
#define CONCORD_BLOCKED_MS		30000	/* ... also after this long */
#define CONCORD_SENT_AHEAD		8192	/* reservation of sent_up_to */
#define CONCORD_FRESH_MS		2000	/* mapped values older than this are
										 * mapped again before they are sent */
#define CONCORD_FRESH_RESYNC_MS	60000	/* ... of a resync */

/* Where a delivery stands.  fsm.c has the table of transitions. */
typedef enum ConcordDeliveryState
{
	CONCORD_DELIVERY_NEW,		/* has its event; is to be mapped */
	CONCORD_DELIVERY_QUEUED,	/* mapped; waits for its key or system */
	CONCORD_DELIVERY_SENT,		/* an exchange is under way */
	CONCORD_DELIVERY_ENDED,		/* waits for the commit of its end */
} ConcordDeliveryState;

#define CONCORD_DELIVERY_STATES	(CONCORD_DELIVERY_ENDED + 1)

/* How it ended, as far as this process is concerned. */
typedef enum ConcordEnd
{
	CONCORD_END_NONE,
	CONCORD_END_DONE,
	CONCORD_END_UNCHANGED,		/* equal to what was sent last */
	CONCORD_END_SUPERSEDED,		/* something newer was delivered already */
	CONCORD_END_SKIPPED,		/* the mapping does not want it */
	CONCORD_END_RETRY,			/* goes to, or stays in, concord.exception */
	CONCORD_END_WAITING,		/* ditto: for a record that it refers to */
	CONCORD_END_BLOCKED,		/* ditto: its key is held by an earlier one */
	CONCORD_END_DEAD,			/* ditto, for a person to look at */
} ConcordEnd;

/* A place in a list of what has something to do (work.c). */
typedef struct ConcordPlace
{
	dlist_node	node;
	bool		in;				/* it is there */
} ConcordPlace;

/* A counted memory context. */
typedef struct ConcordBatch
{
	MemoryContext context;		/* NULL: what it holds is behind this */
	int			refs;
} ConcordBatch;

/* A version of a mapping, ready to be evaluated. */
typedef struct ConcordDefinition
{
	MemoryContext context;
	ConcordMapping *mapping;
	struct ConcordFields *fields;	/* the mapping's; definition.c */
	ConcordCompiled *compiled;	/* NULL until first needed */
	int			refs;
} ConcordDefinition;

/* A server's options and the credentials of one definer there. */
typedef struct ConcordAccess
{
	MemoryContext context;
	ConcordServer *server;
	struct ConcordAuth *auth;
	int			refs;
	uint64		stamp;			/* changes with the server's or the user
								 * mapping's row */
} ConcordAccess;

typedef struct ConcordSystem
{
	dlist_node	node;			/* in courier->systems */
	Oid			serverid;
	dlist_head	routes;			/* of ConcordRoute.system_node */
	dlist_head	ready;			/* of ConcordRoute.ready_place, in turn: those
								 * that have something ready, but of units */
	int			in_flight;		/* of this courier */
	const char *held;			/* why it must not be contacted, or NULL; a
								 * constant */
	dlist_head	waiting;		/* of deliveries whose next request wants a
								 * place: list_node */
	dlist_head	waiting_groups; /* of ConcordGroup */
	struct ConcordUnit *unit;	/* a transaction under way as a whole */
	TimestampTz unit_hold;		/* the next try of one that failed */

	/* breaker.c; what is shared by all processes is in account */
	struct ConcordAccount *account; /* NULL while there is no lane */
	ConcordLimits limits;		/* from the options */
	bool		moving;			/* it has another account now: drain first */
	bool		place;			/* taken, and nothing chosen for it yet */
	bool		served;			/* something was sent since its last turn */
	bool		in_batch;		/* results are those of one answer ... */
	bool		heard;			/* ... and one of them has been told */
	int64		ask_at;			/* microseconds of concord_account_now(): when
								 * to ask for a place again; -1: our latch is
								 * set then */
	uint32		version;		/* of the account, that these are copies of: */
	ConcordBreaker breaker;
	int			failures;
	int64		since;			/* of this state; as ask_at */
	int64		until;			/* open: when a probe may go */
	int64		throttled_until;
	char		reason[CONCORD_ACCOUNT_REASON];

	TimestampTz last_answer_at;
	TimestampTz last_error_at;
	char		last_error[256];
	bool		dirty;			/* row in concord.system_state is outdated */
	int			shown_in_flight;
	TimestampTz shown_at;
} ConcordSystem;

struct ConcordLane;
struct ConcordDelivery;

/* A lane's way to one of its servers; route.c. */
typedef struct ConcordRoute
{
	dlist_node	node;			/* in lane->routes */
	dlist_node	system_node;	/* in system->routes */
	struct ConcordLane *lane;
	ConcordSystem *system;		/* NULL: the lane is closed */
	ConcordAccess *access;
	uint64		stamp;			/* of the access it used last; 0: none */
	int32		id;				/* in concord.route; 0: it is not there */
	bool		failed;			/* the definer may not go there any more */
	char		failure[256];	/* why */
	dlist_head	ready;			/* deliveries whose link is known */
	int			nready;
	ConcordPlace ready_place;	/* in system->ready */
	TimestampTz probed_at;		/* an exception was tried at a system that is
								 * down */

	/* group.c */
	int			group_limit;	/* deliveries in a request; 0: one, as itself */
	bool		group_alone;	/* one alone goes in a batch, too */
	int			group_bytes;
	int			group_cap;		/* ... until then */
	TimestampTz group_cap_until;
	int			linger_ms;
	TimestampTz linger_until;	/* waits for more; 0: it does not */
} ConcordRoute;

typedef struct ConcordGroup ConcordGroup;	/* delivery/group.h */
struct ConcordParked;

/* An ordering key with something unfinished. */
typedef struct ConcordKey
{
	char	   *text;			/* in the same piece of memory */
	struct ConcordLane *lane;
	dlist_head	queue;			/* of ConcordKeyRef: deliveries, first is next */
	dlist_head	parked;			/* of ConcordKeyRef: parked ones that hold it */
	XLogRecPtr	commit_lsn;		/* where the last end of this key is on disk */
	dlist_node	idle_node;		/* in lane->idle_keys while both are empty */
	bool		idle;
} ConcordKey;

/* A place in a key's queue or parked list. */
typedef struct ConcordKeyRef
{
	dlist_node	node;
	ConcordKey *key;
	void	   *owner;			/* ConcordDelivery or ConcordParked */
} ConcordKeyRef;

/*
 * A change of key has two, the new and the old; one more is that of a record
 * that is being removed from the server which the row comes back to (route.c).
 */
#define CONCORD_KEY_REFS	3

/* A live row of concord.exception; its event stays in the table. */
typedef struct ConcordParked
{
	int64		delivery;
	int64		seq;
	struct ConcordLane *lane;
	bool		again;			/* asked for by retry_dead() or replay() */
	bool		was_unknown;
	bool		in_heap;
	bool		dead;			/* dead, and the mapping says block */
	bool		seen;			/* by the last look at the table */
	bool		leaving;		/* removes a record from where its row was
								 * routed before */
	int32		route;			/* where it goes, as far as known; 0: unknown */
	int			attempts;
	TimestampTz due;			/* when it may be tried */
	TimestampTz created_at;
	struct ConcordDelivery *active; /* its delivery in memory, or NULL */
	pairingheap_node heap_node; /* in lane->due */
	dlist_node	node;			/* in lane->parked */
	int			nrefs;			/* 0 where it does not hold its keys */
	ConcordKeyRef refs[CONCORD_KEY_REFS];
	char	   *keys[CONCORD_KEY_REFS]; /* NULL: none */
} ConcordParked;

typedef struct ConcordDelivery
{
	struct ConcordLane *lane;
	ConcordDeliveryState state;
	bool		in_window;
	bool		listed;			/* in lane->fresh, linkless or route->ready */
	dlist_node	window_node;	/* in lane->window, by seq */
	dlist_node	list_node;		/* in lane->fresh, linkless or route->ready,
								 * or in courier->ended */
	int			nrefs;
	ConcordKeyRef refs[CONCORD_KEY_REFS];
	ConcordParked *parked;		/* NULL: comes from the outbox */

	ConcordBatch *events;		/* holds event */
	const ConcordEvent *event;
	ConcordBatch *values;		/* holds mapped; NULL until then */
	ConcordDefinition *definition;	/* that mapped it */
	const ConcordMapped *mapped;
	TimestampTz mapped_at;
	XLogRecPtr	mapped_lsn;		/* of a resync: its image has nothing that
								 * committed after this */
	TimestampTz taken_at;
	bool		was_unknown;
	bool		inserted;		/* takes the place of an insert too;
								 * coalesce.c */
	bool		doubtful;		/* what the link says was sent last may not be */
	int			attempts;

	/* what concord.link_item says; link.c */
	bool		link_known;
	bool		link_stored;	/* there is a row */
	Jsonb	   *link_key;		/* under which it was looked for, in context;
								 * NULL: to be made of the mapped values */
	bool		link_has_hash;
	uint8		link_hash[16];
	int64		link_seq;
	bool		link_covers;	/* its record was created with its parent's,
								 * from a row that had this change */
	const uint64 *link_fields;	/* hashes of fields, or NULL; in context */
	int			link_nfields;
	ConcordLink link;
	bool		has_hash;
	uint8		hash[16];		/* of mapped */

	/* route.c: where it goes */
	ConcordRoute *route;		/* NULL: not decided */
	bool		nowhere;		/* it has ended for want of one */
	bool		awaits_leave;	/* the last of refs is that of a leave */
	int32		link_route;		/* where the link has the record; 0: at the
								 * mapping's own server */
	int32		left_route;		/* the record was there; 0: it has not moved */
	const char *left_id;		/* its id and tag there; in context */
	const char *left_etag;
	int64		leave;			/* number of the delivery that removes it */
	const char *leave_id;		/* of such a one: id and tag of the record; in
								 * events */
	const char *leave_etag;
	bool		outlived;		/* ... and the row is there again */

	/* the exchange; all in context */
	MemoryContext context;
	ConcordBatch *shared;		/* whose context that is, with others; NULL:
								 * its own */
	ConcordAccess *access;
	ConcordExchange *exchange;
	ConcordRequest *request;	/* the last one */
	ConcordGroup *group;		/* whose request carries it, or NULL */
	struct ConcordUnit *unit;	/* ditto; unit.c */
	TimestampTz unit_wait;		/* its transaction waits for a record until
								 * then, and is mapped again; 0: it does not */
	bool		refers;			/* mapped has marks of others; unit_refer.c */
	const char *mark;			/* what stands for this one's id there, or
								 * NULL */
	bool		has_place;		/* in the system's concurrency */
	TimestampTz sent_at;
	TimestampTz answered_at;

	/* the end */
	ConcordEnd	end;
	int64		number;			/* of its new row in concord.exception */
	TimestampTz next_try;
	const char *rule;
	const char *error;
	const char *answer;
	const char *sent;			/* the request as text, redacted */
	int			status;
	bool		has_payload_hash;
	uint8		payload_hash[16];	/* of the last body sent; log.c */
} ConcordDelivery;

typedef enum ConcordLaneState
{
	CONCORD_LANE_CLOSED,		/* not leased, or its mapping is not active */
	CONCORD_LANE_UNSTARTED,		/* leased; capture has not met its start yet */
	CONCORD_LANE_OPEN,			/* delivers */
	CONCORD_LANE_DRAINING,		/* sends nothing new; then closed or opened
								 * anew */
} ConcordLaneState;

typedef struct ConcordLane
{
	struct ConcordCourier *courier;
	dlist_node	node;			/* in courier->lanes */
	dlist_node	mapping_node;	/* in ConcordLanes.lanes */
	bool		resting;		/* has nothing, and has read what the courier
								 * has: work.c */
	ConcordPlace busy;			/* in courier->busy: does not rest */
	ConcordPlace watched;		/* in courier->watched: to be looked at each
								 * turn */
	ConcordPlace has_fresh;		/* in courier->fresh */
	ConcordPlace has_linkless;	/* in courier->linkless */
	ConcordPlace has_idle;		/* in courier->idle: idle keys */
	ConcordPlace unbooked;		/* in courier->unbooked: dirty */
	dlist_head	sources;		/* of ConcordSourceRef: whose events it takes */
	struct ConcordTaken *taken; /* while events are handed out: its own */
	int32		id;				/* of the mapping */
	int			share;			/* which of its shares, from 0 */
	int			shares;			/* into how many it is divided */
	List	   *past;			/* of ConcordDivision *: what earlier
								 * divisions have finished; division.c */
	ConcordLaneState state;
	bool		wanted;			/* the mapping is active and ours */
	bool		home;			/* this courier is to serve it */
	bool		leased;
	bool		gone;			/* the mapping was dropped */
	bool		restarting;		/* drains before it begins anew */
	bool		use_links;
	bool		denied;			/* the definer lacks a right */
	char		denial[256];
	TimestampTz failing_since;	/* it cannot be mapped or sent at all; 0: it
								 * can */
	char		failure[256];	/* why */
	TimestampTz heal_at;		/* broken: when to look again */
	MemoryContext context;		/* of the lane: definition */
	MemoryContext memory;		/* of all below; reset when it is closed */
	ConcordDefinition *definition;
	ConcordRoute own;			/* to the mapping's own server */
	dlist_head	routes;			/* of ConcordRoute: that and others */
	bool		routed;			/* rows say to which server they go */
	TimestampTz hold_until;		/* something of ours failed: later */

	/* unit.c */
	bool		unit;			/* transactions go as a whole */
	Oid			unit_server;	/* of one that does, whatever its state */
	Oid			unit_definer;
	XLogRecPtr	whole;			/* all of what committed up to here is read */
	int64		whole_seq;		/* when this is read, ... */
	XLogRecPtr	whole_next;		/* ... up to here */

	int64		read_pos;		/* taken into the window up to here; see
								 * concord_lane_position() */
	int64		max_done;		/* newest finished */
	int64		sent_limit;		/* committed sent_up_to */
	int64		sent_max;		/* nothing beyond was sent */
	int64		recovered_to;	/* up to here an earlier process may have sent */
	int			nfinished;		/* ranges finished before this process */
	int64	   *finished;		/* [from, to) pairs, ascending */
	ConcordOutboxReader *reader;	/* while it is behind the head */

	dlist_head	window;
	int			nwindow;
	int			nwindow_ended;	/* of those, wait for the commit */
	Size		window_bytes;
	dlist_head	fresh;			/* NEW */
	int			nfresh;
	bool		barred;			/* all of them stand behind a truncate */
	dlist_head	linkless;		/* to be ready as soon as link_known */
	int			nready;			/* of it and all routes */
	int			in_flight;
	struct keys_hash *keys;
	dlist_head	idle_keys;		/* by commit_lsn */
	dlist_head	parked;
	int			nparked;
	int			nactive;		/* parked ones that are deliveries now */
	int			nresyncs;		/* deliveries in memory that are resyncs */
	struct ConcordDependsSeen *depends_seen;	/* depends.c */
	int64		barrier;		/* an event of more than one lane; 0: none */
	bool		barrier_ours;	/* and it is of this one */
	bool		barrier_open;	/* its turn has come */
	bool		barrier_truncate;
	int32		barrier_hash[2];	/* of its keys */
	TimestampTz barrier_since;	/* of the first look; 0: none yet */
	TimestampTz barrier_at;		/* of the last look */
	int64		barrier_look_us;	/* until the next one */
	struct ConcordAhead *ahead; /* what is newer than they are; ahead.c */
	pairingheap *due;
	bool		more_parked;	/* the table has more than we have loaded */
	bool		stored_parked;	/* the table had some at the last reload */

	/* for the next commit */
	bool		dirty;
	ItemPointerData row;		/* where its row may be found; lanerow.c */
	int64		shown_cursor;
	int64		delivered;
	int64		unchanged;
	int64		skipped;
	int64		retried;
	int64		died;
	TimestampTz last_done_at;
	TimestampTz last_error_at;
	char	   *last_error;		/* malloc'd in courier->context */
} ConcordLane;

typedef struct ConcordAhead ConcordAhead;

/* The lanes of a mapping, in courier->by_mapping. */
typedef struct ConcordLanes
{
	int32		id;				/* of the mapping */
	dlist_head	lanes;
} ConcordLanes;

/* A courier's copy of a stored definition. */
typedef struct ConcordKnownRelation
{
	int32		id;
	ConcordRelation *relation;
} ConcordKnownRelation;

typedef struct ConcordCourier
{
	MemoryContext context;		/* as long as the process */
	MemoryContext turn;			/* reset every turn */
	ConcordDatabase *db;
	int			index;			/* of this courier, from 0 */
	int			couriers;		/* how many there were at the last reload */
	uint32		alive;			/* which of them ran then, a bit for each */
	TimestampTz missed[CONCORD_MAX_COURIERS];	/* since when one does not; 0:
												 * it does */
	bool		barred;			/* a lane stands at a barrier */
	ConcordHttp *http;
	struct ResourceOwnerData *owner;	/* for what protocols need outside of
										 * transactions */
	dlist_head	systems;
	dlist_head	lanes;
	int			nlanes;
	HTAB	   *by_mapping;		/* of ConcordLanes */
	HTAB	   *sources;		/* work.c */
	dlist_head	busy;			/* of lanes, as their places say */
	dlist_head	watched;
	dlist_head	fresh;
	dlist_head	linkless;
	dlist_head	idle;
	dlist_head	unbooked;
	int			nresting;
	bool		units;			/* a mapping has option unit */
	MemoryContext catalog;		/* of mappings; NULL: none was loaded */
	List	   *mappings;		/* of the database, as of the last reload */
	dlist_head	ended;			/* deliveries to be committed */
	int			nended;
	TimestampTz ended_since;
	bool		ended_gates;	/* one of them holds up its key */
	bool		want_durable;
	TimestampTz booked_at;
	TimestampTz swept_at;		/* when the positions of all were booked */
	bool		sweep;			/* book those of all */
	int			in_flight;

	ConcordOutboxReader *head;	/* shared by all lanes that are not behind */
	int64		head_pos;
	HTAB	   *relations;		/* copies of stored definitions, by id */

	uint64		generation;		/* catalog generation that was loaded */
	bool		loaded;
	bool		options_changed;	/* of a server; systems that are down may
									 * be up with them */
	bool		gone;			/* the extension was dropped */
	int64		seen_seq;		/* last_seq when the outbox was last read */
	bool		more_events;	/* the last read was cut short */
	bool		can_read;		/* a lane has room for what a read brings */
	bool		look_for_starts;
	bool		restarting;		/* a lane is */
	TimestampTz settings_at;	/* of the configuration that was looked at */
	TimestampTz chores_at;		/* next time for what is done once a second */
	bool		rights_changed; /* somebody's rights may have */
	TimestampTz review_at;		/* ... or in a way that nobody tells */
	bool		clean_again;	/* more is left of mappings that are gone */
	uint64		cleaned;		/* catalog generation that was cleaned up
								 * after */
	TimestampTz hold_check_at;	/* ... and for pg_concord.hold_limit */
	TimestampTz now;
	int64		clock_steady;	/* clock.c: when now was read; 0: never */
	bool		clock_jumped;	/* ... and the tables do not know yet */
} ConcordCourier;

/* fsm.c */
extern void concord_delivery_become(ConcordDelivery *d,
									ConcordDeliveryState state);
extern const char *concord_end_name(ConcordEnd end);

/* window.c */
extern ConcordBatch *concord_batch_create(MemoryContext parent, int n);
extern ConcordBatch *concord_batch_event(ConcordLane *lane,
										 const ConcordEvent *e, ConcordEvent **copy);
extern ConcordBatch *concord_batch_mapped(ConcordLane *lane,
										  const ConcordMapped *m, ConcordMapped **copy);
extern MemoryContext concord_delivery_memory(const ConcordDelivery *d);
extern ConcordBatch *concord_batch_create_small(MemoryContext parent);
extern void concord_batch_release(ConcordBatch *batch);
extern void concord_delivery_share(ConcordDelivery *d, ConcordBatch *batch);
extern ConcordDelivery *concord_delivery_create(ConcordLane *lane,
												ConcordBatch *events,
												const ConcordEvent *event,
												TimestampTz now);
extern void concord_delivery_free(ConcordDelivery *d);
extern void concord_delivery_forget_mapped(ConcordDelivery *d);
extern void concord_delivery_forget_request(ConcordDelivery *d);
extern void concord_delivery_forget_exchange(ConcordDelivery *d);
extern bool concord_window_has_room(const ConcordLane *lane);
extern void concord_window_take(ConcordCourier *courier, ConcordLane *lane,
								ConcordBatch *events, const ConcordEvent *event);
extern int64 concord_window_cursor(ConcordLane *lane);
extern const char *concord_window_done(ConcordLane *lane);
extern bool concord_lane_finished_before(const ConcordLane *lane, int64 seq);
extern void concord_fresh_add(ConcordDelivery *d);
extern void concord_list_remove(ConcordDelivery *d);

/* key.c */
extern void concord_keys_create(ConcordLane *lane);
extern void concord_keys_enqueue(ConcordDelivery *d, const char *key,
								 const char *old_key);
extern void concord_keys_dequeue(ConcordDelivery *d, XLogRecPtr commit_lsn);
extern void concord_keys_hold(ConcordParked *p);
extern void concord_keys_unhold(ConcordParked *p);
extern void concord_keys_check(ConcordDelivery *d);
extern XLogRecPtr concord_keys_commit_lsn(const ConcordDelivery *d);
extern void concord_keys_forget_idle(ConcordLane *lane, XLogRecPtr flushed);
extern bool concord_keys_waited_for(const ConcordDelivery *d);
extern bool concord_keys_turn(const ConcordDelivery *d);
extern bool concord_keys_blocked(const ConcordDelivery *d);
extern ConcordDelivery *concord_ready_next(ConcordRoute *route);
extern void concord_keys_await(ConcordDelivery *d, const char *key);
extern void concord_ready_unget(ConcordDelivery *d);

/* exception.c */
extern void concord_parked_sync(ConcordCourier *courier, ConcordLane *lane,
								bool opening);
extern void concord_parked_survey(ConcordCourier *courier);
extern void concord_parked_init(ConcordLane *lane);
extern ConcordParked *concord_parked_add(ConcordLane *lane, int64 delivery,
										 int64 seq, bool again, const char *key,
										 const char *old_key);
extern void concord_parked_schedule(ConcordParked *p, TimestampTz due);
extern void concord_parked_remove(ConcordParked *p);
extern void concord_parked_wake(ConcordParked *p);
extern bool concord_parked_due(const ConcordLane *lane, TimestampTz now);
extern bool concord_parked_room(const ConcordLane *lane);
extern void concord_parked_activate(ConcordCourier *courier);
extern void concord_parked_move_blocked(ConcordCourier *courier,
										ConcordLane *lane);
extern TimestampTz concord_parked_next(const ConcordLane *lane);

/* lane.c */
extern void concord_lanes_reload(ConcordCourier *courier);
extern void concord_lanes_advance(ConcordCourier *courier);
extern bool concord_lane_lease(ConcordLane *lane, bool take);
extern bool concord_lane_lease_all(ConcordCourier *courier, int32 id,
								   bool take);
extern void concord_lane_drain(ConcordLane *lane);
extern ConcordLane *concord_lane_find(ConcordCourier *courier, int32 id,
									  int share);
extern dlist_head *concord_lanes_of(ConcordCourier *courier, int32 id);
extern bool concord_lanes_outdated(ConcordCourier *courier);
extern void concord_lane_error(ConcordCourier *courier, ConcordLane *lane,
							   const char *message);
extern void concord_lane_fails(ConcordCourier *courier, ConcordLane *lane,
							   const char *message);
extern void concord_access_release(ConcordAccess *access);
extern ConcordDefinition *concord_definition_create(const char *name);
extern void concord_definition_release(ConcordDefinition *definition);
extern bool concord_lanes_start(ConcordCourier *courier);

/* access.c */
extern ConcordAccess *concord_access_get(ConcordCourier *courier, List **known,
										 const ConcordMapping *mapping,
										 Oid serverid, char **denial,
										 char **failure);
extern void concord_access_forget(List *known);
extern void concord_access_review(ConcordCourier *courier);
extern bool concord_access_denied(const ConcordMapping *mapping, Oid serverid,
								  char **denial);

/* route.c */
extern void concord_route_use(ConcordCourier *courier, ConcordRoute *route,
							  ConcordAccess *access);
extern void concord_routes_close(ConcordLane *lane);
extern void concord_routes_refresh(ConcordCourier *courier, ConcordLane *lane,
								   List **known);
extern void concord_routes_check(ConcordCourier *courier, ConcordLane *lane);
extern bool concord_route_choose(ConcordCourier *courier, ConcordDelivery *d);
extern bool concord_route_fits(const ConcordDelivery *d);

/* held.c */
extern bool concord_lane_single(const ConcordLane *lane);
extern void concord_routes_move_held(ConcordCourier *courier);
extern void concord_routes_put_back(ConcordCourier *courier, ConcordLane *lane);
extern TimestampTz concord_route_postpones(ConcordCourier *courier,
										   const ConcordParked *p);

/* chores.c */
extern void concord_chores(ConcordCourier *courier);

/* take.c */
extern void concord_take_events(ConcordCourier *courier);
extern const ConcordRelation *concord_take_relation(ConcordCourier *courier,
													const ConcordRelation *relation);

/* map.c */
extern void concord_map(ConcordCourier *courier);
extern bool concord_map_fresh(const ConcordCourier *courier,
							  const ConcordDelivery *d);

/* depends.c */
extern const ConcordDepend *concord_depends_find(const ConcordMapping *mapping,
												 const ConcordEvent *event);
extern Oid *concord_depends_sources(const ConcordMapping *mapping, int *n);
extern int	concord_depends_expand(const ConcordMapping *mapping,
								   const ConcordDepend *depend,
								   const ConcordEvent *event,
								   ConcordEvent **updates, bool *unknown);
extern void concord_depends_begin(ConcordLane *lane,
								  const ConcordEvent *const *events,
								  int nevents);
extern void concord_depends_take(ConcordCourier *courier, ConcordLane *lane,
								 ConcordBatch *batch,
								 const ConcordEvent *event);

/* barrier.c */
extern void concord_barrier_reach(ConcordLane *lane, const ConcordEvent *event,
								  bool ours);
extern bool concord_barrier_settled(const ConcordLane *lane);
extern bool concord_barrier_takes(const ConcordLane *lane);
extern void concord_barriers_check(ConcordCourier *courier);
extern TimestampTz concord_barriers_next(ConcordCourier *courier);

/* ahead.c */
extern const ConcordRelation *concord_row_relation(const ConcordMapping *mapping);
extern bool concord_resync_row(ConcordCourier *courier, const ConcordLane *lane,
							   ConcordEvent *event, MemoryContext context);
extern void concord_resync_mapped(ConcordLane *lane, ConcordDelivery **ds,
								  int n);
extern void concord_resync_look(ConcordCourier *courier);
extern bool concord_resync_ready(ConcordCourier *courier, ConcordDelivery *d);
extern bool concord_resync_overtaken(const ConcordDelivery *d);

/* coalesce.c */
extern void concord_coalesce(ConcordCourier *courier, ConcordDelivery *d);

/* truncate.c */
extern void concord_truncate_expand(ConcordCourier *courier,
									const ConcordDelivery *d);

/* link.c */
extern void concord_links_fetch(ConcordCourier *courier);
extern ConcordEnd concord_link_decides(ConcordDelivery *d);
extern void concord_link_hash(ConcordDelivery *d);
extern bool concord_mapped_hash(const ConcordMapping *mapping,
								const ConcordMapped *m, uint8 *hash);

/* inuse.c */
extern bool concord_link_learned(const ConcordDelivery *d);
extern bool concord_link_in_use(ConcordCourier *courier);

/* written.c: the link; of what a statement wrote, what that has read */
extern ConcordLink concord_written_link(const ConcordDelivery *d);

/* patch.c */
extern const ConcordMapped *concord_link_narrow(ConcordDelivery *d);
extern bytea *concord_link_fields(const ConcordDelivery *d);
extern bytea *concord_mapped_fields(const ConcordMapping *mapping,
									const ConcordMapped *m);
extern void concord_link_fields_known(ConcordDelivery *d, const bytea *bytes);
extern bytea *concord_link_fields_same(const ConcordDelivery *d);

/* group.c; the rest is in delivery/group.h */
extern void concord_group_configure(ConcordRoute *route);

/* unit_turn.c */
extern void concord_unit_turn(ConcordCourier *courier, ConcordSystem *system);

/* send.c */
extern void concord_send_ready(ConcordCourier *courier);
extern void concord_send_collect(ConcordCourier *courier);
extern void concord_send_note(ConcordCourier *courier, ConcordDelivery *d);
extern void concord_delivery_end(ConcordCourier *courier, ConcordDelivery *d,
								 ConcordEnd end);

/*
 * breaker.c.  For each request, in this order: allows (a place is taken), begins
 * (something is sent on it) or spare (nothing is), result, ends.
 */
extern bool concord_breaker_allows(ConcordSystem *system);
extern void concord_breaker_spare(ConcordSystem *system);
extern void concord_system_begins(ConcordSystem *system);
extern void concord_system_ends(ConcordCourier *courier, ConcordSystem *system);
extern bool concord_breaker_result(ConcordSystem *system,
								   const ConcordExchange *exchange,
								   uint64 record, TimestampTz now);
extern void concord_breaker_batch(ConcordSystem *system, bool begins);
extern void concord_breaker_answer(ConcordSystem *system,
								   const ConcordConnector *connector,
								   const ConcordResponse *response);
extern void concord_breaker_look(ConcordSystem *system);
extern void concord_breaker_hurry(ConcordSystem *system);
extern TimestampTz concord_breaker_next(const ConcordSystem *system,
										TimestampTz now);
extern TimestampTz concord_breaker_asked(const ConcordSystem *system,
										 TimestampTz now);
extern TimestampTz concord_breaker_time(int64 at, TimestampTz now);
extern int64 concord_breaker_age_ms(const ConcordSystem *system);
extern const char *concord_breaker_state(const ConcordSystem *system);
extern const char *concord_breaker_name(ConcordBreaker breaker);

/* systems.c */
extern ConcordSystem *concord_system_get(ConcordCourier *courier,
										 const ConcordServer *server);
extern void concord_systems_check(ConcordCourier *courier);
extern void concord_systems_turn(ConcordCourier *courier);

/* backoff.c */
extern int	concord_backoff_ms(int attempt, int base_ms, int cap_ms);

/* book.c */
extern bool concord_book_wanted(ConcordCourier *courier);
extern void concord_book_turn(ConcordCourier *courier);
extern void concord_book_reserve(ConcordCourier *courier);
extern void concord_book_unreserve(ConcordCourier *courier, ConcordLane *only);



/* pack.c */
extern bytea *concord_event_pack(const ConcordEvent *event);
extern ConcordEvent *concord_event_unpack(const bytea *packed,
										  MemoryContext context);

/* preview.c; called by _PG_init only */
extern void concord_delivery_init(void);

/* engine.c */
extern ConcordCourier *concord_courier_create(ConcordDatabase *db, int index);
extern void concord_courier_turn(ConcordCourier *courier);
extern void concord_courier_stop(ConcordCourier *courier);
extern bool concord_courier_left(ConcordCourier *courier);

/* clock.c: every time that a courier goes by is read with the first */
extern void concord_clock_read(ConcordCourier *courier);
extern void concord_clock_book(ConcordCourier *courier);
extern bool concord_clock_far(const ConcordCourier *courier, TimestampTz due);

#endif							/* CONCORD_DELIVERY_DELIVERY_H */
