/*
 * Outbox and capture rooms.
 *
 * The outbox is a ring of plain tables of chunks; concord.outbox expands them.
 * Only the capture worker appends; column order is known to C (outbox/tables.h).
 */

-- Definitions of captured tables, once per version: the fields of the
-- decoder's RELATION message.
CREATE TABLE concord.relation_version (
	id int PRIMARY KEY,
	relid oid NOT NULL,
	schema name NOT NULL,
	name name NOT NULL,
	replident "char" NOT NULL,
	first_seen timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	definition bytea NOT NULL,
	digest bytea NOT NULL,
	UNIQUE (relid, digest)
);

-- A chunk stays inline: the writer compresses it, and only a single large
-- event goes to TOAST.  Rows are never updated, and vacuum has nothing to do.
CREATE TABLE concord.outbox_0 (
	seq bigint NOT NULL,
	last_seq bigint PRIMARY KEY,
	nevents int NOT NULL,
	first_lsn pg_lsn NOT NULL,
	last_lsn pg_lsn NOT NULL,
	first_time timestamptz NOT NULL,
	last_time timestamptz NOT NULL,
	sources oid[] NOT NULL,
	data bytea NOT NULL
) WITH (toast_tuple_target = 8160, autovacuum_enabled = false);
ALTER TABLE concord.outbox_0 ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE TABLE concord.outbox_1 (LIKE concord.outbox_0 INCLUDING ALL)
	WITH (toast_tuple_target = 8160, autovacuum_enabled = false);
CREATE TABLE concord.outbox_2 (LIKE concord.outbox_0 INCLUDING ALL)
	WITH (toast_tuple_target = 8160, autovacuum_enabled = false);
CREATE TABLE concord.outbox_3 (LIKE concord.outbox_0 INCLUDING ALL)
	WITH (toast_tuple_target = 8160, autovacuum_enabled = false);
CREATE TABLE concord.outbox_4 (LIKE concord.outbox_0 INCLUDING ALL)
	WITH (toast_tuple_target = 8160, autovacuum_enabled = false);
CREATE TABLE concord.outbox_5 (LIKE concord.outbox_0 INCLUDING ALL)
	WITH (toast_tuple_target = 8160, autovacuum_enabled = false);
CREATE TABLE concord.outbox_6 (LIKE concord.outbox_0 INCLUDING ALL)
	WITH (toast_tuple_target = 8160, autovacuum_enabled = false);
CREATE TABLE concord.outbox_7 (LIKE concord.outbox_0 INCLUDING ALL)
	WITH (toast_tuple_target = 8160, autovacuum_enabled = false);

-- The writer opens and closes tables, the clerk empties and frees them.
CREATE TABLE concord.outbox_ring (
	slot int PRIMARY KEY,
	state text NOT NULL DEFAULT 'free' CHECK (state IN ('free', 'open', 'closed')),
	first_seq bigint,
	last_seq bigint,
	opened_at timestamptz,
	closed_at timestamptz
);
INSERT INTO concord.outbox_ring (slot, state, first_seq, opened_at)
	VALUES (0, 'open', 1, pg_catalog.clock_timestamp());
INSERT INTO concord.outbox_ring (slot) SELECT pg_catalog.generate_series(1, 7);

-- How far capture has come: one row, written with each batch.
CREATE TABLE concord.capture_state (
	singleton bool PRIMARY KEY DEFAULT true CHECK (singleton),
	slot text,
	slot_lsn pg_lsn NOT NULL DEFAULT '0/0',
	progress pg_lsn NOT NULL DEFAULT '0/0',
	partial_lsn pg_lsn,
	partial_ordinal bigint,
	last_seq bigint NOT NULL DEFAULT 0,
	events bigint NOT NULL DEFAULT 0,
	forged bigint NOT NULL DEFAULT 0,
	changed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
) WITH (fillfactor = 10);
INSERT INTO concord.capture_state DEFAULT VALUES;

-- Times at which capture had to begin anew: changes in between were missed.
CREATE TABLE concord.capture_gap (
	id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	after_lsn pg_lsn NOT NULL,
	after_seq bigint NOT NULL,
	reason text,
	reset_by name NOT NULL,
	reset_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);

-- Where lanes begin: written with the chunk that holds the mapping's start.
CREATE TABLE concord.lane_start (
	mapping int NOT NULL,
	version int NOT NULL,
	seq bigint NOT NULL,
	at timestamptz NOT NULL,
	PRIMARY KEY (mapping, seq)
);

COMMENT ON TABLE concord.relation_version IS 'definitions of captured tables, as events name them';
COMMENT ON TABLE concord.outbox_ring IS 'tables of the outbox: which is written, which are kept';
COMMENT ON TABLE concord.capture_state IS 'how far capture has come';
COMMENT ON TABLE concord.capture_gap IS 'times at which capture began anew and changes were missed';
COMMENT ON TABLE concord.lane_start IS 'where mappings begin, until a courier has taken it over';

CREATE FUNCTION concord.outbox_events(after_seq bigint DEFAULT 0,
	OUT seq bigint, OUT event_id uuid, OUT op text, OUT source text,
	OUT topic text, OUT key text, OUT old text, OUT new text,
	OUT payload text, OUT headers text, OUT xid xid, OUT lsn pg_lsn,
	OUT ordinal bigint, OUT committed_at timestamptz)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'concord_outbox_events' LANGUAGE C STABLE STRICT
	SET search_path = pg_catalog, pg_temp;

CREATE VIEW concord.outbox AS
	SELECT e.seq, e.event_id, e.op, e.source, e.topic, e.key,
		e.old::jsonb AS old, e.new::jsonb AS new, e.payload::jsonb AS payload,
		e.headers::jsonb AS headers, e.xid, e.lsn, e.ordinal, e.committed_at
	FROM concord.outbox_events() AS e;
COMMENT ON VIEW concord.outbox IS 'events in commit order; values are PostgreSQL''s text of each column';

CREATE FUNCTION concord.emit(topic text, payload jsonb, key text DEFAULT NULL,
	headers jsonb DEFAULT NULL) RETURNS uuid
	AS 'MODULE_PATHNAME', 'concord_emit' LANGUAGE C VOLATILE
	SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION concord.emit(text, jsonb, text, jsonb) IS
	'an event of the application''s own, sent if and only if the transaction commits';

CREATE FUNCTION concord.wait_for_capture(timeout interval DEFAULT '30s') RETURNS bool
	AS 'MODULE_PATHNAME', 'concord_wait_for_capture' LANGUAGE C VOLATILE
	SET search_path = pg_catalog, pg_temp;
COMMENT ON FUNCTION concord.wait_for_capture(interval) IS
	'waits until capture is ready and has what was committed before the call';

CREATE FUNCTION concord.capture_status(OUT state text, OUT reason text,
	OUT ready bool, OUT decoder_pid int, OUT capture_pid int, OUT read pg_lsn,
	OUT captured pg_lsn, OUT last_seq bigint, OUT events bigint)
	RETURNS record
	AS 'MODULE_PATHNAME', 'concord_capture_status' LANGUAGE C VOLATILE
	SET search_path = pg_catalog, pg_temp;

CREATE VIEW concord.capture AS
	SELECT c.slot, s.state, s.ready,
		w.lsn - coalesce(s.captured, c.progress) AS lag_bytes,
		coalesce(s.captured, c.progress) AS captured, r.confirmed_flush_lsn AS confirmed,
		w.lsn - r.restart_lsn AS retained_bytes,
		c.last_seq, c.events, c.forged,
		CASE WHEN s.decoder_pid IS NOT NULL AND NOT s.ready
			THEN pg_catalog.pg_blocking_pids(s.decoder_pid) ELSE '{}' END AS blockers,
		nullif(pg_catalog.concat_ws('; ', s.reason, p.problem), '') AS reason,
		nullif(pg_catalog.concat_ws('; ', CASE WHEN s.state = 'gap'
			THEN 'SELECT concord.reset_capture(), then bring the systems up to date' END, p.advice), '') AS hint,
		s.decoder_pid, s.capture_pid
	FROM concord.capture_state c
	CROSS JOIN concord.capture_status() AS s
	CROSS JOIN (SELECT CASE WHEN pg_catalog.pg_is_in_recovery()
		THEN pg_catalog.pg_last_wal_replay_lsn()
		ELSE pg_catalog.pg_current_wal_flush_lsn() END AS lsn) AS w
	LEFT JOIN pg_catalog.pg_replication_slots r
		ON r.slot_name = c.slot AND r.database = pg_catalog.current_database()
	LEFT JOIN LATERAL (
		SELECT pg_catalog.string_agg(p.problem, '; ') AS problem,
			pg_catalog.string_agg(p.advice, '; ') AS advice
		FROM concord.setup_problems() AS p) AS p ON true;
COMMENT ON VIEW concord.capture IS 'state of capture: slot, lag, who is in the way, what is wrong';

-- After a gap: record it and let the workers make a new slot.
CREATE FUNCTION concord.reset_capture() RETURNS void
	AS 'MODULE_PATHNAME', 'concord_capture_reset' LANGUAGE C;
COMMENT ON FUNCTION concord.reset_capture() IS
	'begins capture anew after a gap; changes in between are lost to the mappings until a resync';
