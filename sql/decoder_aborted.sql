-- concord_decoder: an abort that is found while a transaction is sent in blocks.
-- The tables are known from a committed row, so that what finds it is a catalog
-- read in the middle of an event, not core's look at the relation before it.
\pset format unaligned
\pset tuples_only on
SET logical_decoding_work_mem = '64kB';
CREATE TYPE abt_mood AS ENUM ('a', 'b');
CREATE TABLE abt (id int PRIMARY KEY, m abt_mood[], t text);
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');
CREATE FUNCTION lines() RETURNS SETOF text LANGUAGE sql AS $$
  SELECT concat_ws(' ', e ->> 'op', e -> 'key' ->> 'id') FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL,
    'streaming', 'on', 'include_transaction', 'on'), CAST(data AS json) e WHERE e ->> 'op' NOT IN ('begin', 'commit') $$;
CREATE FUNCTION forget() RETURNS bigint LANGUAGE sql AS $$
  SELECT count(*) * 0 FROM pg_logical_slot_get_binary_changes('regress_decoder', NULL, NULL, 'format', 'binary') $$;

-- while a type is looked up, which is done in a subtransaction of its own
INSERT INTO abt VALUES (1, '{a}');
ALTER TYPE abt_mood RENAME TO abt_temper;
BEGIN;
INSERT INTO abt SELECT i, '{b}', repeat('x', 200) FROM generate_series(1001, 1400) i;
ROLLBACK;
INSERT INTO abt VALUES (2);
SELECT * FROM lines() WHERE lines ~ '^insert';
SELECT chr(get_byte(data, 0)) FROM pg_logical_slot_peek_binary_changes('regress_decoder', NULL, NULL, 'format', 'binary', 'batch', 'off', 'streaming', 'on')
WHERE get_byte(data, 0) IN (ascii('I'), ascii('C'));
-- and leaves no transaction open behind it: this one commits
CREATE TABLE abt_after ();
\c -
SELECT count(*) FROM pg_class WHERE relname = 'abt_after';
\pset format unaligned
\pset tuples_only on
SET logical_decoding_work_mem = '64kB';

-- at the beginning of a block, while the origin's name is looked up: no block ends that did not begin
SELECT forget();
SELECT pg_replication_origin_create('regress_abt') > 0;
INSERT INTO abt VALUES (3);
SELECT pg_replication_origin_session_setup('regress_abt');
BEGIN;
INSERT INTO abt SELECT i, NULL, repeat('x', 200) FROM generate_series(2001, 4000) i;
ROLLBACK;
INSERT INTO abt VALUES (4);
SELECT * FROM lines();
SELECT pg_replication_origin_session_reset();

SELECT pg_drop_replication_slot('regress_decoder');
SELECT pg_replication_origin_drop('regress_abt');
DROP TABLE abt, abt_after;
DROP TYPE abt_temper;
DROP FUNCTION lines, forget;
