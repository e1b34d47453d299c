-- concord_decoder: counters of each slot
\pset format unaligned
\pset null (null)
\set VERBOSITY terse
SET search_path = public;
CREATE TABLE stats_a (id int PRIMARY KEY, t text);
ALTER TABLE stats_a ALTER t SET STORAGE EXTERNAL;
CREATE TABLE stats_b (id int PRIMARY KEY);
SELECT 'created' FROM pg_create_logical_replication_slot('regress_stats', 'concord_decoder');
\set rows 'SELECT inserts, updates, deletes, truncates, messages FROM concord.decoder WHERE slot = ''regress_stats'''
\set transactions 'SELECT sent, skipped > 0 AS skipped, streamed, stream_aborted, prepared, starts FROM concord.decoder WHERE slot = ''regress_stats'''
\set left_out 'SELECT filtered_relation, filtered_row, filtered_message FROM concord.decoder WHERE slot = ''regress_stats'''
\set values 'SELECT unchanged_values, oversize_values, failed_values FROM concord.decoder WHERE slot = ''regress_stats'''
-- made, and not read yet
:rows;
SELECT database = current_database() AS here, pid, format, bytes, writes, encode_ms, write_ms, last_lsn, last_time, started_at,
	stats_reset IS NOT NULL AS counting FROM concord.decoder WHERE slot = 'regress_stats';

-- each kind of event, filtered ones, values that are left out
INSERT INTO stats_a SELECT g, repeat('x', 4000) FROM generate_series(1, 5) AS g;
UPDATE stats_a SET id = id + 10;
UPDATE stats_a SET t = repeat('y', 9000) WHERE id = 11;
DELETE FROM stats_a WHERE id > 13;
SELECT count(pg_logical_emit_message(false, p, 'm')) FROM (VALUES ('app'), ('other')) AS v (p);
INSERT INTO stats_b SELECT generate_series(1, 7);
BEGIN;
TRUNCATE stats_a, stats_b;
SELECT count(pg_logical_emit_message(true, p, 'm')) FROM (VALUES ('app'), ('app2'), ('other')) AS v (p);
COMMIT;
CREATE TEMP TABLE got AS SELECT data FROM pg_logical_slot_peek_changes('regress_stats', NULL, NULL, 'tables', 'public.stats_a',
	'messages', 'app', 'max_value', '8kB');
SELECT (data::jsonb)->>'op' AS op, count(*) FROM got GROUP BY 1 ORDER BY 1;
:rows;
:transactions;
:left_out;
:values;
SELECT format, bytes = (SELECT sum(length(data)) FROM got) AS bytes, writes = (SELECT count(*) FROM got) AS writes,
	last_lsn = (SELECT max((data::jsonb->>'lsn')::pg_lsn) FROM got WHERE data::jsonb ? 'ordinal') AS lsn,
	last_time = (SELECT max((data::jsonb->>'time')::timestamptz) FROM got) AS time,
	started_at > stats_reset AS started FROM concord.decoder WHERE slot = 'regress_stats';
-- what is read again counts again; other formats name themselves
SELECT count(*) FROM pg_logical_slot_peek_binary_changes('regress_stats', NULL, NULL, 'format', 'binary', 'tables', 'public.stats_a',
	'messages', 'app', 'max_value', '8kB');
:rows;
:transactions;
:left_out;
:values;
SELECT format FROM concord.decoder WHERE slot = 'regress_stats';

-- from zero
SELECT stats_reset AS before FROM concord.decoder WHERE slot = 'regress_stats' \gset
SELECT concord.reset_decoder_stats('regress_stats');
:rows;
:transactions;
SELECT bytes, writes, encode_ms, last_lsn, format, stats_reset > :'before' AS reset FROM concord.decoder WHERE slot = 'regress_stats';

-- one transaction larger than what is told at once; an error in its middle keeps what was sent
BEGIN;
INSERT INTO stats_b SELECT generate_series(1, 20000);
COMMIT;
SELECT count(*) FROM pg_logical_slot_peek_changes('regress_stats', NULL, NULL, 'tables', 'public.stats_b', 'messages', '');
SELECT inserts, sent, encode_ms > 0 AS encode_time, write_ms > 0 AS write_time, encode_ms < 20000 AS plausible
	FROM concord.decoder WHERE slot = 'regress_stats';
SELECT concord.reset_decoder_stats();
SET work_mem = '64kB';
SET temp_file_limit = '1MB';
\set VERBOSITY sqlstate
SELECT count(*) FROM pg_logical_slot_peek_changes('regress_stats', NULL, NULL, 'tables', 'public.stats_b');
\set VERBOSITY default
RESET work_mem;
RESET temp_file_limit;
SELECT inserts > 7 AND inserts < 20007 AS some, starts, pid FROM concord.decoder WHERE slot = 'regress_stats';
-- shared writes
SELECT concord.reset_decoder_stats();
SELECT count(*) FROM pg_logical_slot_peek_changes('regress_stats', NULL, NULL, 'tables', 'public.stats_b', 'messages', '', 'batch', 'on', 'include_time', 'off', 'include_id', 'off', 'include_xid', 'off', 'include_lsn', 'off');
SELECT inserts, sent, writes < 100 AS few, bytes > 1000000 AS many FROM concord.decoder WHERE slot = 'regress_stats';
-- by origin, before it costs memory
SELECT pg_replication_origin_create('regress_stats') IS NOT NULL AS made;
SELECT pg_replication_origin_session_setup('regress_stats');
INSERT INTO stats_b SELECT -generate_series(1, 500);
SELECT pg_replication_origin_session_reset();
SELECT concord.reset_decoder_stats();
SELECT count(*) FROM pg_logical_slot_peek_changes('regress_stats', NULL, NULL, 'tables', 'public.stats_b', 'origin', 'none');
SELECT inserts, filtered_origin >= 500 AS filtered_origin FROM concord.decoder WHERE slot = 'regress_stats';
SELECT pg_replication_origin_drop('regress_stats');

-- values that cannot be encoded: by every format, or by one (NaN)
CREATE TYPE stats_odd;
SET client_min_messages = error;
CREATE FUNCTION stats_odd_in(cstring) RETURNS stats_odd LANGUAGE internal STRICT AS 'int4in';
CREATE FUNCTION stats_odd_out(stats_odd) RETURNS cstring LANGUAGE internal STRICT AS 'enum_out';
CREATE TYPE stats_odd (INPUT = stats_odd_in, OUTPUT = stats_odd_out, INTERNALLENGTH = 4, PASSEDBYVALUE);
CREATE TABLE stats_c (id int PRIMARY KEY, odd stats_odd, n numeric(10,2));
INSERT INTO stats_c VALUES (1, '1', 1), (2, '2', 'NaN');
SELECT concord.reset_decoder_stats('regress_stats');
SELECT count(*) FROM pg_logical_slot_peek_changes('regress_stats', NULL, NULL, 'tables', 'public.stats_c', 'messages', '');
:values;
SELECT count(*) FROM pg_logical_slot_peek_binary_changes('regress_stats', NULL, NULL, 'format', 'binary', 'tables', 'public.stats_c', 'messages', '');
:values;
SELECT count(*) FROM pg_logical_slot_peek_changes('regress_stats', NULL, NULL, 'format', 'debezium', 'tables', 'public.stats_c', 'messages', '');
:values;
DROP TABLE stats_c;
DROP TYPE stats_odd CASCADE;
RESET client_min_messages;

-- a name that is used again is another slot
SELECT pg_drop_replication_slot('regress_stats');
SELECT count(*) FROM concord.decoder WHERE slot = 'regress_stats';
SELECT count(*) FROM concord.decoder_counters() WHERE slot = 'regress_stats';
SELECT 'created' FROM pg_create_logical_replication_slot('regress_stats', 'concord_decoder');
:rows;
:transactions;
SELECT format, started_at FROM concord.decoder WHERE slot = 'regress_stats';
SELECT pg_drop_replication_slot('regress_stats');
SELECT 'created' FROM pg_create_logical_replication_slot('regress_stats', 'test_decoding');
SELECT count(*) FROM concord.decoder WHERE slot = 'regress_stats';
SELECT count(*) FROM concord.decoder_counters() WHERE slot = 'regress_stats';
-- what cannot be reset
\set VERBOSITY default
SELECT concord.reset_decoder_stats('regress_stats');
SELECT pg_drop_replication_slot('regress_stats');
SELECT concord.reset_decoder_stats('regress_stats');
SELECT 'created' FROM pg_create_physical_replication_slot('regress_stats');
SELECT concord.reset_decoder_stats('regress_stats');
SELECT pg_drop_replication_slot('regress_stats');

-- capture's own slot shows too
SELECT concord.wait_for_capture('60s');
SELECT d.format, d.pid = c.decoder_pid AS pid, d.starts > 0 AS started FROM concord.decoder AS d JOIN concord.capture AS c USING (slot);

-- nobody may look without being told so
CREATE ROLE regress_stats_reader;
GRANT USAGE ON SCHEMA concord TO regress_stats_reader;
SET ROLE regress_stats_reader;
SELECT count(*) FROM concord.decoder;
SELECT concord.reset_decoder_stats();
RESET ROLE;
GRANT SELECT ON concord.decoder TO regress_stats_reader;
GRANT EXECUTE ON FUNCTION concord.decoder_counters TO regress_stats_reader;
SET ROLE regress_stats_reader;
SELECT count(*) > 0 AS seen FROM concord.decoder;
SELECT concord.reset_decoder_stats();
RESET ROLE;
DROP OWNED BY regress_stats_reader;
DROP ROLE regress_stats_reader;
DROP TABLE stats_a, stats_b, got;
