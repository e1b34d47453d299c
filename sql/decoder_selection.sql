-- concord_decoder: which tables are sent
\set mask '''include_xid'', ''0'', ''include_lsn'', ''0'', ''include_id'', ''0'', ''include_time'', ''0'', ''include_ordinal'', ''0'''
-- a database of its own: this test makes a schema "concord" without the extension
\set home :DBNAME
CREATE DATABASE regress_decoder_db TEMPLATE template0;
\c regress_decoder_db
\pset format unaligned
\pset tuples_only on
\set SHOW_CONTEXT never
CREATE SCHEMA sales;
CREATE SCHEMA "Odd.One";
CREATE TABLE a_one (id int PRIMARY KEY);
CREATE TABLE a_two (id int PRIMARY KEY);
CREATE TABLE sales.orders (id int PRIMARY KEY);
CREATE TABLE "Odd.One"."a*b" (id int PRIMARY KEY);
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');
INSERT INTO a_one VALUES (1);
INSERT INTO a_two VALUES (1);
INSERT INTO sales.orders VALUES (1);
INSERT INTO "Odd.One"."a*b" VALUES (1);

-- by patterns
CREATE FUNCTION sent(tables text) RETURNS text LANGUAGE sql AS $$
  SELECT string_agg((data::json ->> 'schema') || ' ' || (data::json ->> 'table'), ', ' ORDER BY n)
  FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'tables', tables) WITH ORDINALITY d(lsn, xid, data, n) $$;
SELECT sent('public.a_one');
SELECT sent('PUBLIC.A_One , sales.*');
SELECT sent('public.*_t*o');
SELECT sent('*.*');
SELECT sent('"Odd.One"."a*b"');
SELECT sent('"Odd.One".a*b,public.a*b');
SELECT sent('public.a?one');
SELECT sent('public.a*e, public.a*x');
SELECT sent('public.nothing');
SELECT sent('');
SELECT sent('orders');
SELECT sent('sales.orders,');
SELECT sent('sales.orders x');
SELECT sent('sales."orders');
SELECT sent('a.b.c');

-- by publications, as of the place in the WAL
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask, 'publication_names', 'dec_pub');
CREATE PUBLICATION dec_pub FOR TABLE a_one WITH (publish = 'insert, delete');
CREATE PUBLICATION "Dec Sales" FOR TABLES IN SCHEMA sales;
CREATE TABLE parted (id int) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE PUBLICATION dec_leaf FOR TABLE parted;
CREATE PUBLICATION dec_root FOR TABLE parted WITH (publish_via_partition_root);
INSERT INTO a_one VALUES (2);
UPDATE a_one SET id = 3 WHERE id = 2;
DELETE FROM a_one WHERE id = 3;
INSERT INTO a_two VALUES (2);
INSERT INTO sales.orders VALUES (2);
INSERT INTO parted VALUES (1);
ALTER PUBLICATION dec_pub ADD TABLE a_two;
INSERT INTO a_two VALUES (3);
ALTER PUBLICATION dec_pub DROP TABLE a_one;
INSERT INTO a_one VALUES (4);
TRUNCATE a_two, sales.orders;
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask, 'publication_names', 'dec_pub');
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask, 'publication_names', 'dec_pub, "Dec Sales"');
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask, 'publication_names', 'dec_leaf');
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask, 'publication_names', 'dec_leaf,dec_root');
ALTER PUBLICATION dec_pub SET TABLE a_two WHERE (id > 5);
INSERT INTO a_two VALUES (7);
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask, 'publication_names', 'dec_pub');
SELECT count(*) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, 'tables', 'no.table');

-- by concord.captured: nothing while it does not exist, and then from each
-- change of it on.  What the extension's trigger does, to invalidate the table
-- that a row names, ALTER TABLE does here.
INSERT INTO a_one VALUES (10);
SELECT count(*) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, 'selection', 'captured', 'messages', '');
CREATE SCHEMA concord;
CREATE TABLE concord.captured (relid oid PRIMARY KEY, flags int) WITH (user_catalog_table = true);
CREATE TABLE concord.hidden (id int PRIMARY KEY);
INSERT INTO a_one VALUES (11);
BEGIN;
INSERT INTO a_one VALUES (12);
INSERT INTO concord.captured VALUES ('a_one'::regclass, 0), ('concord.hidden'::regclass, 0);
ALTER TABLE a_one SET (fillfactor = 90);
INSERT INTO a_one VALUES (13);
INSERT INTO a_two VALUES (13);
COMMIT;
INSERT INTO a_one VALUES (14);
INSERT INTO concord.hidden VALUES (14);
TRUNCATE a_one;
INSERT INTO concord.captured VALUES ('parted'::regclass, 0);
ALTER TABLE parted ADD note text;
INSERT INTO parted VALUES (2, 'root is captured');
DELETE FROM concord.captured WHERE relid = 'a_one'::regclass;
ALTER TABLE a_one RESET (fillfactor);
INSERT INTO a_one VALUES (15);
BEGIN;
INSERT INTO concord.captured VALUES ('a_two'::regclass, 0);
ALTER TABLE a_two SET (fillfactor = 90);
ROLLBACK;
INSERT INTO a_two VALUES (16);
BEGIN;
CREATE TABLE a_three (id int PRIMARY KEY, note text);
INSERT INTO concord.captured VALUES ('a_three'::regclass, 0);
INSERT INTO a_three VALUES (17, 'made and captured at once');
COMMIT;
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask, 'selection', 'captured', 'messages', '');
-- schema concord is never sent, whatever is asked for
SELECT count(*) FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'tables', 'concord.*');
SELECT count(*) FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL) WHERE data::json ->> 'schema' = 'concord';
SELECT count(*) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);
-- a table of that name that cannot be read then is an error, not silence
ALTER TABLE concord.captured RESET (user_catalog_table);
INSERT INTO a_three VALUES (18);
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask, 'selection', 'captured');
DROP TABLE concord.captured;
INSERT INTO a_three VALUES (19);
CREATE TABLE concord.captured (table_name name PRIMARY KEY) WITH (user_catalog_table = true);
SELECT count(*) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, 'tables', 'public.*');
INSERT INTO a_two VALUES (20);
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask, 'selection', 'captured');

SELECT pg_drop_replication_slot('regress_decoder');
\c :home
DROP DATABASE regress_decoder_db;
