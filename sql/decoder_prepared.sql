-- concord_decoder: prepared transactions, decoded at PREPARE
\pset format unaligned
\pset tuples_only on
SELECT current_setting('max_prepared_transactions')::int > 0 AS usable;
CREATE TABLE dec_p (id int PRIMARY KEY, v text);
CREATE TABLE dec_other (id int PRIMARY KEY);
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder', false, true);
SELECT 'created' FROM pg_create_logical_replication_slot('regress_whole', 'concord_decoder');
\set mask '''include_xid'', ''0'', ''include_lsn'', ''0'', ''include_id'', ''0'', ''include_time'', ''0'''

-- rows at PREPARE, their fate later
BEGIN;
INSERT INTO dec_p VALUES (1, 'one'), (2, 'two');
SAVEPOINT a;
INSERT INTO dec_p VALUES (3, 'lost');
ROLLBACK TO a;
SELECT 1 FROM pg_logical_emit_message(true, 'app', 'in it');
PREPARE TRANSACTION 'dec one, "odd"';
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask, 'include_transaction', 'on');
INSERT INTO dec_p VALUES (10, 'between');
COMMIT PREPARED 'dec one, "odd"';
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask, 'include_transaction', 'on');
BEGIN;
UPDATE dec_p SET v = 'not to be' WHERE id = 1;
PREPARE TRANSACTION 'dec two';
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);
ROLLBACK PREPARED 'dec two';
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

-- positions: rows have that of PREPARE, the fate has its own
BEGIN;
INSERT INTO dec_p VALUES (20, 'a');
PREPARE TRANSACTION 'dec c';
BEGIN;
INSERT INTO dec_p VALUES (21, 'b');
PREPARE TRANSACTION 'dec r';
CREATE TEMP TABLE got AS SELECT row_number() OVER () AS n, lsn, xid, data::jsonb AS e FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);
COMMIT PREPARED 'dec c';
ROLLBACK PREPARED 'dec r';
INSERT INTO got SELECT 100 + row_number() OVER (), lsn, xid, data::jsonb FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);
SELECT string_agg(k, ',' ORDER BY k), e ->> 'op', e ->> 'gid' FROM got, jsonb_object_keys(e) k GROUP BY n, e ORDER BY n;
SELECT bool_and((e ->> 'lsn')::pg_lsn = lsn) FROM got WHERE e ->> 'op' <> 'insert';
SELECT bool_and((e ->> 'xid')::xid = xid) FROM got;
SELECT a.e ->> 'gid', a.e ->> 'lsn' = p.e ->> 'lsn' AS prepared, (p.e ->> 'lsn')::pg_lsn < (c.e ->> 'lsn')::pg_lsn AS later, a.e ->> 'time' = p.e ->> 'time', a.e ->> 'time' <= c.e ->> 'time',
  c.e ->> 'prepare_lsn' = p.e ->> 'lsn', c.e ->> 'prepare_time' = p.e ->> 'time'
FROM got a JOIN got p ON p.e ->> 'op' = 'prepare' AND p.e ->> 'gid' = a.e ->> 'gid' JOIN got c ON c.e ->> 'op' ~ 'prepared' AND c.e ->> 'gid' = a.e ->> 'gid'
WHERE a.e ->> 'op' = 'insert' ORDER BY 1;

-- a transaction without anything to send is not there, at PREPARE or later
BEGIN;
INSERT INTO dec_other VALUES (1);
PREPARE TRANSACTION 'dec filtered';
BEGIN;
SELECT 1 FROM txid_current();
PREPARE TRANSACTION 'dec empty';
BEGIN;
CREATE TABLE dec_ddl (id int);
DROP TABLE dec_ddl;
PREPARE TRANSACTION 'dec ddl';
COMMIT PREPARED 'dec filtered';
ROLLBACK PREPARED 'dec empty';
COMMIT PREPARED 'dec ddl';
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask, 'tables', 'public.dec_p');
-- unless nobody knows any more: what was prepared before a restart
BEGIN;
INSERT INTO dec_other VALUES (2);
PREPARE TRANSACTION 'dec filtered';
BEGIN;
SELECT 1 FROM txid_current();
PREPARE TRANSACTION 'dec empty';
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask, 'tables', 'public.dec_p');
COMMIT PREPARED 'dec filtered';
COMMIT PREPARED 'dec empty';
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask, 'tables', 'public.dec_p');

-- gids that are decoded at PREPARE; others come at COMMIT PREPARED, as if they were ordinary
BEGIN; INSERT INTO dec_p VALUES (31, 'now'); PREPARE TRANSACTION 'now-1';
BEGIN; INSERT INTO dec_p VALUES (32, 'later'); PREPARE TRANSACTION 'later-1';
BEGIN; INSERT INTO dec_p VALUES (33, 'star'); PREPARE TRANSACTION '*';
BEGIN; INSERT INTO dec_p VALUES (34, 'comma'); PREPARE TRANSACTION 'a,b';
BEGIN; INSERT INTO dec_p VALUES (35, 'gone'); PREPARE TRANSACTION 'later-2';
COMMIT PREPARED 'later-1';
COMMIT PREPARED 'now-1';
COMMIT PREPARED '*';
ROLLBACK PREPARED 'later-2';
COMMIT PREPARED 'a,b';
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask, 'two_phase_gid', 'now-*, "*" , "a,b"');
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask, 'two_phase_gid', '');
SELECT count(*) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);

-- PREPARE of what came in blocks
SET logical_decoding_work_mem = '64kB';
BEGIN;
INSERT INTO dec_p SELECT i, repeat('x', 100) FROM generate_series(1001, 2000) i;
SAVEPOINT a;
INSERT INTO dec_p SELECT i, repeat('x', 100) FROM generate_series(2001, 3000) i;
RELEASE a;
PREPARE TRANSACTION 'dec streamed';
SELECT e ->> 'op', e ? 'streamed', e ? 'gid', e ? 'subxid', count(*), max(e ->> 'events') FROM (SELECT row_number() OVER () AS n, data::jsonb AS e
  FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, 'streaming', 'on', 'batch', 'off')) x GROUP BY 1, 2, 3, 4 ORDER BY min(n);
COMMIT PREPARED 'dec streamed';
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, 'streaming', 'on', 'include_lsn', '0', 'include_time', '0', 'tables', 'public.nothing*') WHERE data !~ '"op":"commit_prepared","xid":\d+,"gid":"dec streamed"}';
BEGIN;
INSERT INTO dec_p SELECT i, repeat('x', 100) FROM generate_series(3001, 4000) i;
PREPARE TRANSACTION 'dec streamed';
ROLLBACK PREPARED 'dec streamed';
BEGIN;
INSERT INTO dec_other SELECT generate_series(1001, 4000);
PREPARE TRANSACTION 'dec nothing';
COMMIT PREPARED 'dec nothing';
SELECT e ->> 'op', e ? 'streamed', e ->> 'gid', count(*) FROM (SELECT row_number() OVER () AS n, data::jsonb AS e
  FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, 'streaming', 'on', 'batch', 'off', 'tables', 'public.dec_p')) x GROUP BY 1, 2, 3 ORDER BY min(n);

-- DDL in it
BEGIN;
ALTER TABLE dec_p ADD more int DEFAULT 1;
INSERT INTO dec_p VALUES (41, 'new column');
PREPARE TRANSACTION 'dec ddl';
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask);
ROLLBACK PREPARED 'dec ddl';
INSERT INTO dec_p VALUES (42, 'old column');
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

-- the binary stream
BEGIN; INSERT INTO dec_p VALUES (51, 'a'); PREPARE TRANSACTION 'dec c';
BEGIN; INSERT INTO dec_p VALUES (52, 'b'); PREPARE TRANSACTION 'dec r';
CREATE TEMP TABLE bin AS SELECT row_number() OVER () AS n, data FROM pg_logical_slot_get_binary_changes('regress_decoder', NULL, NULL, 'format', 'binary', 'batch', 'off');
COMMIT PREPARED 'dec c';
ROLLBACK PREPARED 'dec r';
INSERT INTO bin SELECT 100 + row_number() OVER (), data FROM pg_logical_slot_get_binary_changes('regress_decoder', NULL, NULL, 'format', 'binary', 'batch', 'off');
SELECT string_agg(chr(get_byte(data, 0)), '' ORDER BY n) FROM bin;
SELECT chr(get_byte(data, 0)), convert_from(substr(data, length(data) - 4, 5), 'UTF8') FROM bin WHERE chr(get_byte(data, 0)) IN ('b', 'c', 'r') ORDER BY n;

-- a slot without it: everything at COMMIT PREPARED, once
SELECT count(*) = count(DISTINCT data::jsonb ->> 'id'), count(*) FILTER (WHERE data ~ 'gid') FROM pg_logical_slot_peek_changes('regress_whole', NULL, NULL, 'batch', 'off');
SELECT data FROM pg_logical_slot_get_changes('regress_whole', NULL, NULL, :mask, 'include_transaction', 'on', 'two_phase', 'off', 'batch', 'off') LIMIT 8;
-- the option is remembered by the slot
\set VERBOSITY default
\set SHOW_CONTEXT never
BEGIN; INSERT INTO dec_p VALUES (61, 'x'); PREPARE TRANSACTION 'dec 61';
SELECT data FROM pg_logical_slot_get_changes('regress_whole', NULL, NULL, :mask, 'two_phase', 'on');
SELECT two_phase FROM pg_replication_slots WHERE slot_name = 'regress_whole';
COMMIT PREPARED 'dec 61';
SELECT data FROM pg_logical_slot_get_changes('regress_whole', NULL, NULL, :mask, 'two_phase', 'off');
SELECT data FROM pg_logical_slot_get_changes('regress_whole', NULL, NULL, :mask);
SELECT data FROM pg_logical_slot_get_changes('regress_whole', NULL, NULL, 'two_phase_gid', 'a,,b');
SELECT data FROM pg_logical_slot_get_changes('regress_whole', NULL, NULL, 'two_phase_gid', '"a');
SELECT data FROM pg_logical_slot_get_changes('regress_whole', NULL, NULL, 'two_phase', 'maybe');
SELECT pg_drop_replication_slot('regress_decoder'), pg_drop_replication_slot('regress_whole');
DROP TABLE dec_p, dec_other;
