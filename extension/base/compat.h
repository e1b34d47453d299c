/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  The one home of differences between PostgreSQL versions.
 *
 * Everything else reads as if there were one PostgreSQL.  Base is 15; 17, 18
 * and 19 must compile without a warning.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CONCORD_COMPAT_H
#define CONCORD_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "pg_concord needs PostgreSQL 15 or newer"
#endif

/* 16 moved the accessors of varlena values out of postgres.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#include "catalog/pg_foreign_server.h"
#include "utils/jsonb.h"

/* 18 turned the attribute behind a function into a word in front of it. */
#if PG_VERSION_NUM >= 180000
#define pg_attribute_noreturn()		__attribute__((noreturn))
#endif

/* 16 gave the extra data of settings a memory context of their own. */
#if PG_VERSION_NUM < 160000
#define guc_malloc(elevel, size)	malloc(size)
#endif

/* 16 replaced the functions per kind of object by one. */
#if PG_VERSION_NUM < 160000
#define concord_database_owner(dboid, roleid) \
	pg_database_ownercheck(dboid, roleid)
#else
#define concord_database_owner(dboid, roleid) \
	object_ownercheck(DatabaseRelationId, dboid, roleid)
#endif

/* 16 tells being a member of a role from being able to become it. */
#if PG_VERSION_NUM < 160000
#define concord_require_set_role(member, role) \
	check_is_member_of_role(member, role)
#else
#define concord_require_set_role(member, role) \
	check_can_set_role(member, role)
#endif

#if PG_VERSION_NUM < 160000
#define concord_table_owner(relid, roleid) \
	pg_class_ownercheck(relid, roleid)
#else
#define concord_table_owner(relid, roleid) \
	object_ownercheck(RelationRelationId, relid, roleid)
#endif

/* ... and of privilege checks */
#if PG_VERSION_NUM < 160000
#define concord_server_aclcheck(serverid, roleid) \
	pg_foreign_server_aclcheck((serverid), (roleid), ACL_USAGE)
#else
#define concord_server_aclcheck(serverid, roleid) \
	object_aclcheck(ForeignServerRelationId, (serverid), (roleid), ACL_USAGE)
#endif

/* 17 made wait event sets belong to resource owners; ours have their own. */
#if PG_VERSION_NUM < 170000
#define concord_wait_set_create(nevents) \
	CreateWaitEventSet(TopMemoryContext, (nevents))
#else
#define concord_wait_set_create(nevents) \
	CreateWaitEventSet(NULL, (nevents))
#endif

/*
 * Before 19 what is known of a collation is described by types of ICU, whose
 * headers need not be there.  Its members of that kind are no business of ours.
 */
#undef USE_ICU
#include "utils/pg_locale.h"

/* 18 asks the locale of a collation; before, a function of its own tells. */
#if PG_VERSION_NUM < 180000
#define concord_collation_is_c(collation)	lc_collate_is_c(collation)
#else
#define concord_collation_is_c(collation) \
	(pg_newlocale_from_collation(collation)->collate_is_c)
#endif

/* 18 compares path keys by kind instead of by strategy. */
#if PG_VERSION_NUM < 180000
#define concord_pathkey_upwards(key) \
	((key)->pk_strategy == BTLessStrategyNumber)
#else
#define concord_pathkey_upwards(key)	((key)->pk_cmptype == COMPARE_LT)
#endif

/* 17 keeps join clauses of foreign paths, 18 counts nodes that are disabled. */
#if PG_VERSION_NUM < 170000
#define concord_foreignscan_path(root, rel, rows, startup, total, keys, \
								 outer, private) \
	create_foreignscan_path(root, rel, NULL, rows, startup, total, keys, \
							outer, NULL, private)
#define concord_foreign_upper_path(root, rel, target, rows, startup, total, \
								   keys, private) \
	create_foreign_upper_path(root, rel, target, rows, startup, total, keys, \
							  NULL, private)
#elif PG_VERSION_NUM < 180000
#define concord_foreignscan_path(root, rel, rows, startup, total, keys, \
								 outer, private) \
	create_foreignscan_path(root, rel, NULL, rows, startup, total, keys, \
							outer, NULL, NIL, private)
#define concord_foreign_upper_path(root, rel, target, rows, startup, total, \
								   keys, private) \
	create_foreign_upper_path(root, rel, target, rows, startup, total, keys, \
							  NULL, NIL, private)
#else
#define concord_foreignscan_path(root, rel, rows, startup, total, keys, \
								 outer, private) \
	create_foreignscan_path(root, rel, NULL, rows, 0, startup, total, keys, \
							outer, NULL, NIL, private)
#define concord_foreign_upper_path(root, rel, target, rows, startup, total, \
								   keys, private) \
	create_foreign_upper_path(root, rel, target, rows, 0, startup, total, \
							  keys, NULL, NIL, private)
#endif

/* 18 has generated columns that are not stored. */
#include "catalog/pg_attribute.h"
#ifdef ATTRIBUTE_GENERATED_VIRTUAL
#define concord_attribute_virtual(att) \
	((att)->attgenerated == ATTRIBUTE_GENERATED_VIRTUAL)
#else
#define concord_attribute_virtual(att)	false
#endif

/* Columns that an UPDATE sets, and generated ones that follow from them. */
#include "optimizer/inherit.h"
#define concord_updated_columns(root, rti) \
	get_rel_all_updated_cols(root, find_base_rel(root, rti))

/* 16 tells tables from outer joins among what a foreign scan reads. */
#if PG_VERSION_NUM < 160000
#define concord_scan_table(plan)	bms_next_member((plan)->fs_relids, -1)
#else
#define concord_scan_table(plan)	bms_next_member((plan)->fs_base_relids, -1)
#endif

/* 18 moved what writes EXPLAIN. */
#if PG_VERSION_NUM >= 180000
#include "commands/explain_format.h"
#include "commands/explain_state.h"
#endif

/* 16 has as whom a foreign table is read in the plan. */
#if PG_VERSION_NUM < 160000
#define concord_scan_user(node, plan, rti) \
	(exec_rt_fetch(rti, (node)->ss.ps.state)->checkAsUser)
#define concord_modify_user(state, info) \
	(exec_rt_fetch((info)->ri_RangeTableIndex > 0 ? \
				   (info)->ri_RangeTableIndex : \
				   (info)->ri_RootResultRelInfo->ri_RangeTableIndex, \
				   state)->checkAsUser)
#else
#define concord_scan_user(node, plan, rti)	((plan)->checkAsUser)
#define concord_modify_user(state, info) \
	ExecGetResultRelCheckAsUser(info, state)
#endif

/* 17 numbers processes instead of backends. */
#if PG_VERSION_NUM >= 170000
#define concord_vxid_proc(vxid)		ProcNumberGetProc((vxid).procNumber)
#else
#define concord_vxid_proc(vxid)		BackendIdGetProc((vxid).backendId)
#endif

/* ... and keeps the number of a transaction with what else a lock group needs. */
#if PG_VERSION_NUM >= 170000
#define CONCORD_LXID				vxid.lxid
#else
#define CONCORD_LXID				lxid
#endif

/* 17 added synchronized slots; ours follow to standbys where that exists. */
#if PG_VERSION_NUM < 170000
#define concord_slot_create(name) \
	ReplicationSlotCreate(name, true, RS_EPHEMERAL, false)
#define concord_log_message(prefix, content, len) \
	LogLogicalMessage(prefix, content, len, true)
#define concord_log_note(prefix, content, len) \
	LogLogicalMessage(prefix, content, len, false)
#else
#if PG_VERSION_NUM < 190000
#define concord_slot_create(name) \
	ReplicationSlotCreate(name, true, RS_EPHEMERAL, false, true, false)
#else
#define concord_slot_create(name) \
	ReplicationSlotCreate(name, true, RS_EPHEMERAL, false, false, true, false)
#endif
#define concord_log_message(prefix, content, len) \
	LogLogicalMessage(prefix, content, len, true, false)
#define concord_log_note(prefix, content, len) \
	LogLogicalMessage(prefix, content, len, false, false)
#endif

/*
 * 17 has standbys that take logical slots along and that these may not get
 * ahead of: those of synchronized_standby_slots.
 */
#if PG_VERSION_NUM < 170000
#define concord_standbys_have(lsn)	true
#else
#define concord_standbys_have(lsn)	StandbySlotsHaveCaughtup(lsn, DEBUG1)
#endif

/* 17 lets an index keep something between insertions. */
#if PG_VERSION_NUM < 170000
#define concord_index_insert_end(index, info)	((void) 0)
#else
#define concord_index_insert_end(index, info)	index_insert_cleanup(index, info)
#endif

/* 18 counts what an index scan does, 19 is told what its tables are used for. */
#if PG_VERSION_NUM < 180000
#define concord_index_beginscan(rel, index, snapshot, nkeys) \
	index_beginscan(rel, index, snapshot, nkeys, 0)
#elif PG_VERSION_NUM < 190000
#define concord_index_beginscan(rel, index, snapshot, nkeys) \
	index_beginscan(rel, index, snapshot, NULL, nkeys, 0)
#else
#define concord_index_beginscan(rel, index, snapshot, nkeys) \
	index_beginscan(rel, index, snapshot, NULL, nkeys, 0, SO_NONE)
#endif

/* 18 lets the caller choose whether an invalidated slot is an error. */
#if PG_VERSION_NUM < 180000
#define concord_slot_take(name)		ReplicationSlotAcquire(name, true)
#else
#define concord_slot_take(name)		ReplicationSlotAcquire(name, true, true)
#endif

/* 18 has deferrable primary keys left out unless asked for; ours are not. */
#if PG_VERSION_NUM < 180000
#define concord_primary_key(rel)	RelationGetPrimaryKeyIndex(rel)
#else
#define concord_primary_key(rel)	RelationGetPrimaryKeyIndex(rel, false)
#endif

/* Replication slots that ordinary users of slots can have. */
#define concord_max_slots()			max_replication_slots

/* 19 knows the process of a slot by its number. */
#if PG_VERSION_NUM < 190000
#define concord_slot_active(slot)	((slot)->active_pid != 0)
#else
#define concord_slot_active(slot)	((slot)->active_proc != INVALID_PROC_NUMBER)
#endif

/*
 * 19 spells the type of an origin's number out, and keeps a session's origin
 * in a struct.
 */
#if PG_VERSION_NUM >= 190000
#define RepOriginId					ReplOriginId
#define InvalidRepOriginId			InvalidReplOriginId
#define replorigin_session_origin	replorigin_xact_state.origin
#endif

/*
 * 19 has logical decoding on where wal_level is replica, too, as long as there
 * is a logical slot; and a decoding of its own for REPACK.
 */
#if PG_VERSION_NUM < 190000
#define CONCORD_WAL_LEVEL_NEEDED	WAL_LEVEL_LOGICAL
#define CONCORD_WAL_LEVEL_NAME		"logical"
#define concord_check_decoding()	CheckLogicalDecodingRequirements()
#define concord_enable_decoding()	((void) 0)
#define concord_init_decoding(plugin, reader) \
	CreateInitDecodingContext(plugin, NIL, false, InvalidXLogRecPtr, reader, \
							  NULL, NULL, NULL)
#else
#include "replication/logicalctl.h"
#define CONCORD_WAL_LEVEL_NEEDED	WAL_LEVEL_REPLICA
#define CONCORD_WAL_LEVEL_NAME		"replica"
#define concord_check_decoding()	CheckLogicalDecodingRequirements(false)
#define concord_enable_decoding()	EnsureLogicalDecodingEnabled()
#define concord_init_decoding(plugin, reader) \
	CreateInitDecodingContext(plugin, NIL, false, false, InvalidXLogRecPtr, \
							  reader, NULL, NULL, NULL)
#endif

/* 19 computes something from the columns of a row type once all are there. */
#if PG_VERSION_NUM < 190000
#define concord_desc_finish(desc)	((void) 0)
#else
#define concord_desc_finish(desc)	TupleDescFinalize(desc)
#endif

/* 19 writes jsonb into a state that has its result; before, it is returned. */
#if PG_VERSION_NUM < 190000
typedef struct JsonbInState
{
	JsonbValue *result;
	JsonbParseState *parseState;
} JsonbInState;

#define concord_jsonb_push(state, token, value) \
	((state)->result = pushJsonbValue(&(state)->parseState, token, value))
#else
#define concord_jsonb_push(state, token, value) \
	pushJsonbValue(state, token, value)
#endif

/* 16 tells indexes of ranges of blocks from others; 19 has options of updates. */
#if PG_VERSION_NUM < 160000
#define ConcordUpdateIndexes		bool
#define concord_update_moved(indexes)	(indexes)
#else
#define ConcordUpdateIndexes		TU_UpdateIndexes
#define concord_update_moved(indexes)	((indexes) == TU_All)
#endif
#if PG_VERSION_NUM < 190000
#define concord_tuple_update(rel, tid, slot, snapshot, failure, mode, indexes) \
	table_tuple_update(rel, tid, slot, GetCurrentCommandId(true), snapshot, \
					   InvalidSnapshot, true, failure, mode, indexes)
#define concord_index_fetch_begin(rel)	table_index_fetch_begin(rel)
#else
#define concord_tuple_update(rel, tid, slot, snapshot, failure, mode, indexes) \
	table_tuple_update(rel, tid, slot, GetCurrentCommandId(true), 0, snapshot, \
					   InvalidSnapshot, true, failure, mode, indexes)
#define concord_index_fetch_begin(rel)	table_index_fetch_begin(rel, SO_NONE)
#endif

/* 16 says why a slot was invalidated, not where. */
#if PG_VERSION_NUM < 160000
#define concord_slot_invalidated(data) \
	(!XLogRecPtrIsInvalid((data)->invalidated_at))
#else
#define concord_slot_invalidated(data) \
	((data)->invalidated != RS_INVAL_NONE)
#endif

#endif							/* CONCORD_COMPAT_H */
