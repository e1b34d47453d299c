-- concord_decoder: values that cannot be encoded are events that say so
\pset format unaligned
\pset tuples_only on
\set mask '''include_xid'', ''0'', ''include_lsn'', ''0'', ''include_time'', ''0'', ''include_id'', ''0'''
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS hstore;
CREATE TYPE dec_mood AS ENUM ('sad', 'glad', 'gone');
-- a type whose output function knows some values only
CREATE TYPE dec_odd;
CREATE FUNCTION dec_odd_in(cstring) RETURNS dec_odd LANGUAGE internal STRICT AS 'int4in';
CREATE FUNCTION dec_odd_out(dec_odd) RETURNS cstring LANGUAGE internal STRICT AS 'enum_out';
CREATE TYPE dec_odd (INPUT = dec_odd_in, OUTPUT = dec_odd_out, INTERNALLENGTH = 4, PASSEDBYVALUE);
CREATE TYPE dec_both AS (n int, o dec_odd);
CREATE TABLE dec_failed (id int PRIMARY KEY, note text, mood dec_mood, odd dec_odd, odds dec_odd[], pair dec_both, h hstore);
CREATE TABLE dec_failed_key (mood dec_mood, n int, PRIMARY KEY (mood, n));
CREATE FUNCTION dec_mask(event text) RETURNS text LANGUAGE sql AS $$ SELECT regexp_replace(event, 'enum: \d+', 'enum: N', 'g') $$;
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');

INSERT INTO dec_failed (id, note, mood, h) VALUES (1, 'all well', 'gone', 'a=>1');
INSERT INTO dec_failed_key VALUES ('gone', 1);
INSERT INTO dec_failed (id, note, odd) SELECT 2, 'known', oid::text::dec_odd FROM pg_enum WHERE enumlabel = 'glad' AND enumtypid = 'dec_mood'::regtype;
INSERT INTO dec_failed VALUES (3, 'unknown', NULL, '1', '{2,NULL}', '(1,3)', NULL);
INSERT INTO dec_failed (id, note, odd) VALUES (4, 'in a savepoint', '4');
-- the label is taken away by force
SET allow_system_table_mods = on;
DELETE FROM pg_enum WHERE enumlabel = 'gone' AND enumtypid = 'dec_mood'::regtype;
RESET allow_system_table_mods;
UPDATE dec_failed SET note = 'label gone' WHERE id = 1;
ALTER TABLE dec_failed REPLICA IDENTITY FULL;
UPDATE dec_failed SET mood = 'sad' WHERE id = 1;
DELETE FROM dec_failed_key;
-- the library goes, and comes back
SET allow_system_table_mods = on;
UPDATE pg_proc SET probin = '/nowhere/no_such_library' WHERE proname = 'hstore_out';
RESET allow_system_table_mods;
ALTER TABLE dec_failed ADD COLUMN more int;
UPDATE dec_failed SET note = 'library gone' WHERE id = 1;
INSERT INTO dec_failed (id, note) VALUES (5, 'no hstore in it');
SET allow_system_table_mods = on;
UPDATE pg_proc SET probin = '$libdir/hstore' WHERE proname = 'hstore_out';
RESET allow_system_table_mods;
ALTER TABLE dec_failed DROP COLUMN more;
UPDATE dec_failed SET note = 'library back' WHERE id = 1;

SELECT dec_mask(data) FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask);
SELECT count(*), count(data::jsonb) FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL);

-- told once for each column
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT count(*) FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL);
SET client_min_messages = error;
\set VERBOSITY default

-- other formats say so in their own way
SELECT dec_mask(data::json ->> 'data') FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'format', 'cloudevents') WITH ORDINALITY d(lsn, xid, data, n) WHERE n = 4;
SELECT data::json #> '{after,mood}', data::json #> '{after,odd}', data::json #> '{after,pair}', data::json #> '{after,note}', dec_mask(data::json ->> 'failed')
FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'format', 'debezium') WITH ORDINALITY d(lsn, xid, data, n) WHERE n = 4;
-- IMAGE_FAILED (4), SQLSTATE, length, message
SELECT position('\x043232503033'::bytea IN data) > 0, dec_mask(convert_from(substr(data, position('\x043232503033'::bytea IN data) + 1, 5 + 1 + 34), 'UTF8'))
FROM pg_logical_slot_peek_binary_changes('regress_decoder', NULL, NULL, 'format', 'binary') WITH ORDINALITY d(lsn, xid, data, n) WHERE n = 4;

-- in a transaction that is sent while it is in progress
SELECT count(*) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);
SET logical_decoding_work_mem = '64kB';
BEGIN;
INSERT INTO dec_failed (id, note, odd) SELECT i, repeat('x', 100), '1' FROM generate_series(1001, 2000) i;
SAVEPOINT a;
INSERT INTO dec_failed (id, note, odd) SELECT i, repeat('y', 100), '2' FROM generate_series(2001, 3000) i;
ROLLBACK TO a;
INSERT INTO dec_failed (id, note, odd, h) SELECT i, repeat('z', 100), '3', 'a=>1' FROM generate_series(3001, 4000) i;
COMMIT;
SELECT data::json ->> 'op', data::json -> 'failed' -> 'odd' ->> 'message', left(data::json -> 'new' ->> 'note', 1), count(*)
FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'streaming', 'on') WHERE data::json ->> 'op' = 'insert' GROUP BY 1, 2, 3 ORDER BY 3;
SELECT data::json -> 'failed' -> 'odd' ->> 'message', count(*) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL) GROUP BY 1 ORDER BY 1;
RESET logical_decoding_work_mem;

-- bytes that are no text of the encoding: a cast can make them
CREATE CAST (bytea AS text) WITHOUT FUNCTION;
CREATE TABLE dec_bytes (id text PRIMARY KEY, t text, u text, a text[]);
ALTER TABLE dec_bytes REPLICA IDENTITY FULL;
INSERT INTO dec_bytes VALUES ('1', '\xe4f6'::bytea::text, 'gut ä', ARRAY['\xff'::bytea::text, 'ok']);
UPDATE dec_bytes SET t = 'besser ö';
INSERT INTO dec_bytes VALUES ('\xc3'::bytea::text, 'x', 'y', '{ä}');
INSERT INTO dec_bytes VALUES ('3', 'ä', 'ö', '{ü}');
DROP CAST (bytea AS text);
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask);
SELECT data::json -> 'before', data::json -> 'after', data::json -> 'old_failed', data::json -> 'failed' FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'format', 'debezium');
SELECT data::json ->> 'subject', data::json -> 'data' -> 'failed' FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'format', 'cloudevents');
SELECT position('\x08e4f6'::bytea IN data) > 0 FROM pg_logical_slot_get_binary_changes('regress_decoder', NULL, NULL, 'format', 'binary') WITH ORDINALITY d(lsn, xid, data, n) WHERE n = 1;

SELECT pg_drop_replication_slot('regress_decoder');
DROP TABLE dec_failed, dec_failed_key, dec_bytes;
DROP FUNCTION dec_mask;
DROP TYPE dec_both, dec_mood;
DROP TYPE dec_odd CASCADE;
