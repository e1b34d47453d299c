-- concord_decoder: identities, rewrites, dropped columns and fast defaults.
-- All changes are made first: each is read as its table was then.
\set mask '''include_xid'', ''0'', ''include_lsn'', ''0'', ''include_time'', ''0'', ''include_ordinal'', ''0'', ''include_id'', ''0'''
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA dec_id;
SET search_path = dec_id;
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');

-- the identity changes in mid-stream, between transactions and inside of one
CREATE TABLE moved (a int NOT NULL, b int NOT NULL, c int);
INSERT INTO moved VALUES (1, 1, 1);
UPDATE moved SET c = 2;
ALTER TABLE moved ADD CONSTRAINT moved_pkey PRIMARY KEY (b);
UPDATE moved SET c = 3;
UPDATE moved SET b = 2;
BEGIN;
UPDATE moved SET c = 4;
ALTER TABLE moved DROP CONSTRAINT moved_pkey;
UPDATE moved SET c = 5;
ALTER TABLE moved ADD PRIMARY KEY (a, b);
UPDATE moved SET b = 3;
SAVEPOINT s;
ALTER TABLE moved REPLICA IDENTITY NOTHING;
UPDATE moved SET c = 6;
ROLLBACK TO s;
UPDATE moved SET a = 2;
ALTER TABLE moved REPLICA IDENTITY FULL;
UPDATE moved SET c = 7;
COMMIT;
CREATE UNIQUE INDEX moved_a ON moved (a);
ALTER TABLE moved REPLICA IDENTITY USING INDEX moved_a;
UPDATE moved SET a = 3;
DROP INDEX moved_a;
UPDATE moved SET c = 8;
ALTER TABLE moved REPLICA IDENTITY DEFAULT;
ALTER TABLE moved ALTER b TYPE text, ALTER a TYPE bigint;
UPDATE moved SET b = 'four';
ALTER TABLE moved RENAME b TO key;
DELETE FROM moved;
-- a primary key that may be deferred is no identity
CREATE TABLE deferred (id int PRIMARY KEY DEFERRABLE, n int);
INSERT INTO deferred VALUES (1, 1);
UPDATE deferred SET n = 2;
DELETE FROM deferred;
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

-- a table that is written anew sends nothing by that; a materialized view is
-- not sent at all, for REFRESH would not be
CREATE TABLE written (id int PRIMARY KEY, n int, doc text);
INSERT INTO written VALUES (1, 1, 'one'), (2, 2, 'two');
CREATE MATERIALIZED VIEW seen AS SELECT id, doc FROM written;
CREATE UNIQUE INDEX seen_id ON seen (id);
VACUUM FULL written;
CLUSTER written USING written_pkey;
ALTER TABLE written ALTER n TYPE bigint;
ALTER TABLE written ADD made float DEFAULT random();
ALTER TABLE written SET UNLOGGED;
UPDATE written SET n = 0 WHERE id = 2;
ALTER TABLE written SET LOGGED;
INSERT INTO written VALUES (9, 9, 'nine', 9);
REFRESH MATERIALIZED VIEW seen;
DELETE FROM written WHERE id = 9;
REFRESH MATERIALIZED VIEW CONCURRENTLY seen;
BEGIN;
UPDATE written SET n = 5, made = 0 WHERE id = 2;
ALTER TABLE written ALTER n TYPE text;
UPDATE written SET n = 'six' WHERE id = 2;
TRUNCATE written;
INSERT INTO written VALUES (3, 'seven', 'x', 0);
ALTER TABLE written ALTER n TYPE int USING 8;
DELETE FROM written;
COMMIT;
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

-- dropped columns: before and behind the key, and one that comes back with its name
CREATE TABLE dropped (x int, id int, y text, PRIMARY KEY (id), z text);
INSERT INTO dropped VALUES (1, 1, 'y', 'z');
ALTER TABLE dropped DROP x;
UPDATE dropped SET id = 2;
ALTER TABLE dropped DROP y, ADD y numeric DEFAULT 1.5;
UPDATE dropped SET id = 3;
ALTER TABLE dropped REPLICA IDENTITY FULL;
UPDATE dropped SET z = NULL;
ALTER TABLE dropped DROP id, DROP z, DROP y;
DELETE FROM dropped;
INSERT INTO dropped DEFAULT VALUES;
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

-- fast defaults: rows that were there before have them, in both images, as they
-- were given first, whatever becomes of the default and of the table
CREATE TABLE fast (id int PRIMARY KEY);
INSERT INTO fast VALUES (1), (2), (3), (4), (5);
ALTER TABLE fast ADD a int DEFAULT 10, ADD b text DEFAULT 'fast' NOT NULL, ADD c int[] DEFAULT '{1,2}', ADD d timestamptz DEFAULT '2026-01-02 03:04:05Z',
  ADD e text DEFAULT repeat('e', 3000), ADD n int;
UPDATE fast SET n = 1 WHERE id = 1;
ALTER TABLE fast ALTER a SET DEFAULT 20, ALTER b DROP DEFAULT;
UPDATE fast SET n = 2 WHERE id = 2;
ALTER TABLE fast REPLICA IDENTITY FULL;
UPDATE fast SET n = 3 WHERE id = 3;
DELETE FROM fast WHERE id = 4;
INSERT INTO fast (id, b) VALUES (6, 'own');
VACUUM FULL fast;
UPDATE fast SET a = a + 1 WHERE id = 5;
SELECT count(*) FROM pg_attribute WHERE attrelid = 'fast'::regclass AND atthasmissing;
SELECT regexp_replace(data, 'e{30,}', '...', 'g') FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

-- partitions have identities of their own; their root's events say which
CREATE TABLE root (id int, region text, n int) PARTITION BY LIST (region);
CREATE TABLE root_key PARTITION OF root (PRIMARY KEY (id)) FOR VALUES IN ('key');
CREATE TABLE root_full PARTITION OF root FOR VALUES IN ('full');
ALTER TABLE root_full REPLICA IDENTITY FULL;
CREATE TABLE root_rest PARTITION OF root DEFAULT;
INSERT INTO root VALUES (1, 'key', 1), (1, 'full', 1), (1, 'rest', 1);
UPDATE root SET n = 2;
UPDATE root SET id = 2;
UPDATE root SET region = 'full' WHERE region = 'key';
DELETE FROM root;
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

SELECT pg_drop_replication_slot('regress_decoder');
\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA dec_id CASCADE;
