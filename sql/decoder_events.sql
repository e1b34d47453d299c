-- concord_decoder: events, their keys and images, in JSON
SET extra_float_digits = 1;
\set mask '''include_xid'', ''0'', ''include_lsn'', ''0'', ''include_id'', ''0'', ''include_time'', ''0'''
\pset format unaligned
\pset tuples_only on
CREATE TABLE dec_plain (id int PRIMARY KEY, name text, amount numeric(12,2));
CREATE TABLE dec_full (id int PRIMARY KEY, name text);
ALTER TABLE dec_full REPLICA IDENTITY FULL;
CREATE TABLE dec_index (a int NOT NULL, b text NOT NULL, c text);
CREATE UNIQUE INDEX dec_index_ab ON dec_index (b, a) INCLUDE (c);
ALTER TABLE dec_index REPLICA IDENTITY USING INDEX dec_index_ab;
CREATE TABLE dec_nothing (id int PRIMARY KEY, name text);
ALTER TABLE dec_nothing REPLICA IDENTITY NOTHING;
CREATE TABLE dec_nokey (name text);
CREATE TABLE dec_fullnokey (name text, n int);
ALTER TABLE dec_fullnokey REPLICA IDENTITY FULL;
CREATE TABLE dec_empty ();
CREATE TABLE dec_generated (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE "dec ""Odd""" ("ID" int PRIMARY KEY, "a ""b"" c" text, "tab	le" text);
CREATE UNLOGGED TABLE dec_unlogged (id int PRIMARY KEY);
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');

-- the primary key
INSERT INTO dec_plain VALUES (1, 'one', 1.10), (2, NULL, NULL);
UPDATE dec_plain SET amount = -0.05 WHERE id = 1;
UPDATE dec_plain SET id = 3 WHERE id = 2;
DELETE FROM dec_plain WHERE id = 3;
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

-- everything
INSERT INTO dec_full VALUES (1, 'one');
UPDATE dec_full SET id = 2, name = NULL;
DELETE FROM dec_full;
INSERT INTO dec_fullnokey VALUES ('a', 1);
UPDATE dec_fullnokey SET n = 2;
DELETE FROM dec_fullnokey;
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

-- an index: its key columns, in the table's order
INSERT INTO dec_index VALUES (1, 'x', 'more');
UPDATE dec_index SET c = 'less';
UPDATE dec_index SET b = 'y';
DELETE FROM dec_index;
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

-- nothing says which row: the event says so
INSERT INTO dec_nothing VALUES (1, 'one');
UPDATE dec_nothing SET name = 'two';
DELETE FROM dec_nothing;
INSERT INTO dec_nokey VALUES ('one');
UPDATE dec_nokey SET name = 'two';
DELETE FROM dec_nokey;
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

-- no columns, generated columns, odd names
INSERT INTO dec_empty DEFAULT VALUES;
INSERT INTO dec_generated VALUES (21);
INSERT INTO "dec ""Odd""" VALUES (1, E'quote " back \\ slash', E'\x01\t\r\n\x1f\x7f ä € 𝄞');
INSERT INTO dec_unlogged VALUES (1);
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

-- an order within the transaction; what was rolled back is not there
BEGIN;
INSERT INTO dec_plain VALUES (10, 'kept');
SAVEPOINT a;
INSERT INTO dec_plain VALUES (11, 'rolled back');
ROLLBACK TO a;
INSERT INTO dec_plain VALUES (12, 'kept');
SAVEPOINT b;
UPDATE dec_plain SET name = 'kept too' WHERE id = 12;
RELEASE b;
DELETE FROM dec_plain WHERE id IN (10, 12);
COMMIT;
BEGIN;
INSERT INTO dec_plain VALUES (13, 'rolled back');
ROLLBACK;
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

-- a transaction that changes no row says nothing
BEGIN;
CREATE TABLE dec_ddl_only (id int);
COMMIT;
SELECT count(*) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

-- many rows by one command, and COPY
INSERT INTO dec_plain SELECT i, 'row ' || i FROM generate_series(101, 103) i;
COPY dec_plain (id, name) FROM STDIN;
201	copied
202	copied too
\.
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

-- truncate: one event a relation
CREATE TABLE dec_child (id int PRIMARY KEY, parent int REFERENCES dec_plain);
TRUNCATE dec_full, dec_nokey;
TRUNCATE dec_plain RESTART IDENTITY CASCADE;
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

-- messages
SELECT 1 FROM pg_logical_emit_message(false, 'loose', 'outside');
BEGIN;
SELECT 1 FROM pg_logical_emit_message(true, 'app.one', 'first "quoted"');
INSERT INTO dec_full VALUES (7, 'between');
SELECT 1 FROM pg_logical_emit_message(true, 'app.two', '\xff00'::bytea);
SELECT 1 FROM pg_logical_emit_message(true, 'other', '');
COMMIT;
BEGIN;
SELECT 1 FROM pg_logical_emit_message(true, 'app.gone', 'rolled back');
ROLLBACK;
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask);
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask, 'messages', 'app.,lo');
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask, 'messages', '');

-- the transaction's frame, and lines that share a write
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask, 'include_transaction', 'true', 'messages', '');
SELECT count(*), count(DISTINCT line::jsonb) FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'batch', 'true'),
  regexp_split_to_table(data, E'\n') line;

-- positions: the same for all of a transaction, and true
SELECT count(*), count(DISTINCT e ->> 'lsn'), count(DISTINCT e ->> 'xid'),
  bool_and((e ->> 'time')::timestamptz BETWEEN now() - interval '1 hour' AND now() + interval '1 hour'),
  bool_and((e ->> 'lsn')::pg_lsn <= pg_current_wal_insert_lsn()),
  array_agg(e ->> 'ordinal')
FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL), LATERAL (SELECT data::jsonb AS e) x
WHERE e ->> 'transactional' IS DISTINCT FROM 'false';

-- anybody may write a prefix of any length: 64 kB of it are sent, whole characters
SELECT 1 FROM pg_logical_emit_message(true, 'long' || repeat('ä', 40000), '\x00'::bytea);
SELECT format, max(octet_length(substring(data FROM 'longä*'))), max(length(data)) < 200000
FROM unnest('{json,cloudevents,debezium}'::text[]) format,
  pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'format', format, 'messages', 'long') GROUP BY format ORDER BY format;
SELECT length(data) FROM pg_logical_slot_peek_binary_changes('regress_decoder', NULL, NULL, 'format', 'binary', 'batch', 'off', 'messages', 'long') WHERE get_byte(data, 0) = ascii('M');
SELECT count(*) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);

-- origins
SELECT 1 FROM pg_replication_origin_create('regress_decoder_origin') WHERE true;
SELECT pg_replication_origin_session_setup('regress_decoder_origin');
INSERT INTO dec_full VALUES (8, 'from elsewhere');
SELECT pg_replication_origin_session_reset();
INSERT INTO dec_full VALUES (9, 'from here');
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask);
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask, 'include_origin', 'off', 'origin', 'any');
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask, 'origin', 'none');
SELECT pg_replication_origin_drop('regress_decoder_origin');

SELECT pg_drop_replication_slot('regress_decoder');
DROP TABLE dec_plain, dec_full, dec_index, dec_nothing, dec_nokey, dec_fullnokey, dec_empty,
  dec_generated, "dec ""Odd""", dec_unlogged, dec_ddl_only, dec_child;
