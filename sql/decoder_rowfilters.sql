-- concord_decoder: row filters of publications, beside what pgoutput makes of
-- the same WAL
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA dec_rf;
SET search_path = dec_rf, public;
CREATE TABLE item (id int PRIMARY KEY, n int, note text);
CREATE TABLE whole (id int PRIMARY KEY, n int, doc text);
ALTER TABLE whole REPLICA IDENTITY FULL;
ALTER TABLE whole ALTER doc SET STORAGE EXTERNAL;
CREATE TABLE long_key (id text PRIMARY KEY, n int);
ALTER TABLE long_key ALTER id SET STORAGE EXTERNAL;
CREATE PUBLICATION dec_rf_all FOR ALL TABLES;
CREATE PUBLICATION dec_rf_schema FOR TABLES IN SCHEMA dec_rf;
CREATE PUBLICATION dec_rf_low FOR TABLE item WHERE (id < 10);
CREATE PUBLICATION dec_rf_high FOR TABLE item WHERE (id > 20);
CREATE PUBLICATION dec_rf_insert FOR TABLE item WHERE (n = 1 AND note LIKE 'a%') WITH (publish = 'insert');
CREATE PUBLICATION dec_rf_delete FOR TABLE item WITH (publish = 'delete');
CREATE PUBLICATION dec_rf_whole FOR TABLE whole WHERE (n > 0), long_key WHERE (length(id) > 2400);
CREATE PUBLICATION dec_rf_doc FOR TABLE whole WHERE (length(doc) > 3000);
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');
SELECT 'created' FROM pg_create_logical_replication_slot('regress_pgoutput', 'pgoutput');

\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/pgoutput.sql'
\i :helpers

-- by the key
INSERT INTO item SELECT i, 1, CASE WHEN i % 2 = 0 THEN 'a' || i ELSE 'b' END FROM unnest('{5,6,15,16,25,26}'::int[]) i;
UPDATE item SET n = 2 WHERE id IN (5, 15, 25);          -- the identity stays: one image decides
UPDATE item SET id = id + 1000 WHERE id = 15;           -- neither image passes low
UPDATE item SET id = 7 WHERE id = 5;                    -- both do
UPDATE item SET id = 8, n = 3 WHERE id = 1015;          -- into the filter: an insert
UPDATE item SET id = 17 WHERE id = 6;                   -- out of it: a delete
UPDATE item SET id = 27 WHERE id = 8;                   -- from one filter into the other: an update of both
UPDATE item SET n = NULL, note = NULL WHERE id = 26;
DELETE FROM item WHERE id > 10;
SELECT sent('dec_rf_low');
SELECT sent('dec_rf_high');
SELECT sent('dec_rf_low,dec_rf_high');
-- each operation has its own filters
SELECT sent('dec_rf_insert');
SELECT sent('dec_rf_insert,dec_rf_high');
SELECT sent('dec_rf_insert,dec_rf_delete');
SELECT sent('dec_rf_low,dec_rf_delete');
-- all tables, and all of a schema: no filter
SELECT count(*) FROM sent('dec_rf_low');
SELECT count(*) FROM sent('dec_rf_low,dec_rf_all') WHERE sent NOT LIKE 'ours%';
SELECT count(*) FROM sent('dec_rf_schema,dec_rf_low') WHERE sent NOT LIKE 'ours%';
-- what the events say; the key of a row that came into the filter is its new one
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'publication_names', 'dec_rf_low',
  'include_xid', '0', 'include_lsn', '0', 'include_id', '0', 'include_time', '0');
SELECT f, string_agg(data::json ->> 'op', ' ' ORDER BY n) FROM unnest('{json,debezium}'::text[]) f,
  pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'publication_names', 'dec_rf_low', 'format', f) WITH ORDINALITY d(lsn, xid, data, n) GROUP BY f ORDER BY f COLLATE "C";
SELECT string_agg(data::json ->> 'type', ' ' ORDER BY n)
FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'publication_names', 'dec_rf_low', 'format', 'cloudevents') WITH ORDINALITY d(lsn, xid, data, n);
SELECT count(*) FROM forget();

-- under FULL, with values that an UPDATE left alone and that are TOASTed
INSERT INTO whole VALUES (1, 0, repeat('d', 3500)), (2, 1, repeat('e', 2500)), (3, NULL, NULL);
UPDATE whole SET n = n + 1;
UPDATE whole SET n = 0 WHERE id = 2;
UPDATE whole SET doc = repeat('f', 4000) WHERE id > 1;
UPDATE whole SET doc = NULL WHERE id = 1;
DELETE FROM whole;
SELECT sent('dec_rf_whole');
SELECT sent('dec_rf_doc');
SELECT sent('dec_rf_doc,dec_rf_whole');
-- a TOASTed key
INSERT INTO long_key VALUES (repeat('k', 2500), 1), (repeat('l', 2300), 1);
UPDATE long_key SET n = 2;
UPDATE long_key SET id = repeat('m', 2300) WHERE id LIKE 'k%';
UPDATE long_key SET id = repeat('o', 2500) WHERE id LIKE 'l%';
DELETE FROM long_key;
SELECT sent('dec_rf_whole') OFFSET 9;
SELECT count(*) FROM forget();

-- partitions: a filter of the root reads the columns where the partition has them
CREATE TABLE part (id int, region text, n int, note text, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE part_us (gone text, note text, n int, gone_too int, region text NOT NULL, id int NOT NULL, PRIMARY KEY (region, id));
ALTER TABLE part_us DROP gone, DROP gone_too;
ALTER TABLE part ATTACH PARTITION part_us FOR VALUES IN ('us');
CREATE TABLE part_eu PARTITION OF part FOR VALUES IN ('eu');
CREATE PUBLICATION dec_rf_root FOR TABLE part WHERE (id > 5 AND region <> 'xx') WITH (publish_via_partition_root);
CREATE PUBLICATION dec_rf_leaf FOR TABLE part_us WHERE (id < 3);
CREATE PUBLICATION dec_rf_mixed FOR TABLE part WHERE (id > 5), part_eu WHERE (id = 1) WITH (publish_via_partition_root);
CREATE PUBLICATION dec_rf_leaves FOR TABLE part;
SELECT count(*) FROM forget();
INSERT INTO part SELECT i, r, i * 10, r || i FROM unnest('{eu,us}'::text[]) r, unnest('{1,2,6,7}'::int[]) i;
UPDATE part SET n = 0;
UPDATE part SET id = 8 WHERE id = 1;
UPDATE part SET id = 3 WHERE id = 7;
UPDATE part SET region = 'us', id = 9 WHERE id = 6 AND region = 'eu';
DELETE FROM part WHERE id IN (2, 8, 9);
SELECT sent('dec_rf_root');
SELECT sent('dec_rf_leaf');
SELECT sent('dec_rf_mixed');
SELECT count(*), count(*) FILTER (WHERE sent LIKE 'ours%') FROM sent('dec_rf_leaves');
-- as the root, the partition's own filter does not count; nor does its publication
SELECT count(*), count(*) FILTER (WHERE sent LIKE 'ours%') FROM sent('dec_rf_leaf,dec_rf_root');
SELECT count(*), count(*) FILTER (WHERE sent LIKE 'ours%') FROM sent('dec_rf_root');
SELECT count(*) FROM forget();

-- a filter on a column that got its value from a default, and one that changes in mid-stream
ALTER TABLE item ADD state text DEFAULT 'old';
ALTER TABLE item REPLICA IDENTITY FULL;
ALTER PUBLICATION dec_rf_low SET TABLE item WHERE (state = 'old');
INSERT INTO item VALUES (1, 1, 'one', 'new');
UPDATE item SET state = 'old' WHERE id = 1;
UPDATE item SET n = 7 WHERE id = 7;
ALTER PUBLICATION dec_rf_low SET TABLE item WHERE (state = 'new');
UPDATE item SET state = 'new' WHERE id = 7;
ALTER PUBLICATION dec_rf_insert DROP TABLE item;
ALTER TABLE item DROP n;
DELETE FROM item WHERE id = 7;
BEGIN;
ALTER PUBLICATION dec_rf_low SET TABLE item WHERE (id = 100);
INSERT INTO item VALUES (100, 'in', 'old'), (101, 'out', 'new');
ROLLBACK;
INSERT INTO item VALUES (102, 'out', 'old'), (103, 'in', 'new');
SELECT sent('dec_rf_low');
-- a transaction of which no row passes leaves no trace
SELECT count(*) FROM forget();
BEGIN;
INSERT INTO item VALUES (104, 'out');
INSERT INTO item VALUES (105, 'out');
COMMIT;
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'publication_names', 'dec_rf_low', 'include_transaction', '1');
SELECT count(*) FROM forget();

-- expressions of many kinds, NULL among them
CREATE TABLE kinds (id int PRIMARY KEY, a int, b numeric, c text, d date, e jsonb, f inet);
CREATE PUBLICATION dec_rf_kinds FOR TABLE kinds WHERE (a IN (1, 2) OR b BETWEEN 1.5 AND 2.5 OR c ~ '^x' OR d > '2020-01-01'::date
  OR e @> '{"k": 1}' OR f << '10.0.0.0/8'::inet OR COALESCE(a, 5) = 5 OR (CASE WHEN id > 90 THEN a IS NOT NULL ELSE false END) OR (id, a) > (80, 0))
  WITH (publish = 'insert');
SELECT count(*) FROM forget();
INSERT INTO kinds (id, a, b, c, d, e, f) VALUES (1, 1, 0, '', NULL, NULL, NULL), (2, 7, 0, '', NULL, NULL, NULL), (3, 7, 2, '', NULL, NULL, NULL),
  (4, 7, 0, 'xy', NULL, NULL, NULL), (5, 7, 0, '', '2021-01-01', NULL, NULL), (6, 7, 0, '', '2019-01-01', '{"k": 1}', NULL),
  (7, 7, 0, '', NULL, '{"k": 2}', '11.1.1.1'), (8, 7, 0, '', NULL, NULL, '10.1.1.1'), (9, NULL, 0, '', NULL, NULL, NULL), (91, 7, 0, '', NULL, NULL, NULL), (85, 7, 0, NULL, NULL, NULL, NULL);
SELECT string_agg(split_part(sent, ' ', 3), ' '), bool_or(sent LIKE 'ours%') FROM sent('dec_rf_kinds');
SELECT count(*) FROM forget();

-- a filter that fails: nothing is lost in silence, and the error says whose it is
CREATE TABLE divided (id int PRIMARY KEY, n int);
CREATE PUBLICATION dec_rf_fails FOR TABLE divided WHERE (100 / n > 1) WITH (publish = 'insert');
CREATE PUBLICATION dec_rf_other FOR TABLE divided WHERE (n = 7) WITH (publish = 'insert');
INSERT INTO divided VALUES (1, 7);
INSERT INTO divided VALUES (2, 0);
ALTER PUBLICATION dec_rf_fails SET TABLE divided WHERE (n > 1);
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'publication_names', 'dec_rf_fails');
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'publication_names', 'dec_rf_fails,dec_rf_other');
\echo :LAST_ERROR_SQLSTATE
SELECT line FROM ours('dec_rf_other');
SELECT data::json ->> 'table' FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'tables', 'dec_rf.divided');
-- past it without reading
INSERT INTO divided VALUES (3, 7);
SELECT pg_current_wal_lsn() AS lsn \gset
INSERT INTO divided VALUES (4, 8);
SELECT slot_name FROM pg_replication_slot_advance('regress_decoder', :'lsn');
SELECT data::json -> 'new' AS new FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'publication_names', 'dec_rf_fails');

SELECT pg_drop_replication_slot('regress_decoder');
SELECT pg_drop_replication_slot('regress_pgoutput');
DROP PUBLICATION dec_rf_all, dec_rf_schema, dec_rf_low, dec_rf_high, dec_rf_insert, dec_rf_delete, dec_rf_whole, dec_rf_doc,
  dec_rf_root, dec_rf_leaf, dec_rf_mixed, dec_rf_leaves, dec_rf_kinds, dec_rf_fails, dec_rf_other;
\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA dec_rf CASCADE;
