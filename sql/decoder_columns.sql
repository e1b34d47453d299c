-- concord_decoder: which columns are sent, by publications and by option columns
\pset format unaligned
\pset tuples_only on
CREATE SCHEMA dec_col;
SET search_path = dec_col, public;
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');
SELECT 'created' FROM pg_create_logical_replication_slot('regress_pgoutput', 'pgoutput');
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/pgoutput.sql'
\i :helpers
\set mask '''include_xid'', ''0'', ''include_lsn'', ''0'', ''include_id'', ''0'', ''include_time'', ''0'', ''include_ordinal'', ''0'''
\set peek 'SELECT data FROM pg_logical_slot_peek_changes(''regress_decoder'', NULL, NULL, ' :mask ', '

-- column lists of publications
CREATE TABLE listed (gone int, id int PRIMARY KEY, a text, b int, secret text);
ALTER TABLE listed DROP gone;
CREATE TABLE whole (id int PRIMARY KEY, a text);
CREATE PUBLICATION dec_col_some FOR TABLE listed (id, a), whole;
CREATE PUBLICATION dec_col_same FOR TABLE listed (a, id);
CREATE PUBLICATION dec_col_other FOR TABLE listed (id, b);
CREATE PUBLICATION dec_col_each FOR TABLE listed (id, a, b, secret);
CREATE PUBLICATION dec_col_schema FOR TABLES IN SCHEMA dec_col;
CREATE PUBLICATION dec_col_all FOR ALL TABLES;
CREATE PUBLICATION dec_col_filter FOR TABLE listed (a) WHERE (secret = 's1' AND b > 0) WITH (publish = 'insert');
SELECT count(*) FROM forget();
INSERT INTO listed SELECT i, 'a' || i, i * 10, 's' || i FROM generate_series(1, 2) i;
INSERT INTO whole VALUES (1, 'one');
UPDATE listed SET a = 'x', b = 7, secret = 'changed' WHERE id = 1;
UPDATE listed SET id = 3 WHERE id = 1;
DELETE FROM listed WHERE id = 2;
SELECT sent('dec_col_some');
SELECT sent('dec_col_some,dec_col_same');
-- a list of all columns is no list (pgoutput says so from 16 on where a column was dropped)
SELECT line FROM ours('dec_col_schema,dec_col_each,dec_col_all');
-- the filter reads columns that are not sent; the key is not, so there is none
:peek 'publication_names', 'dec_col_filter');
\set SHOW_CONTEXT never
:peek 'publication_names', 'dec_col_some,dec_col_other');
:peek 'publication_names', 'dec_col_some,dec_col_all');
SELECT line FROM theirs('dec_col_some,dec_col_all');
-- a list that changes in mid-stream
ALTER PUBLICATION dec_col_some SET TABLE listed (id, b);
INSERT INTO listed VALUES (4, 'a4', 40, 's4');
ALTER TABLE listed RENAME b TO c;
ALTER PUBLICATION dec_col_some SET TABLE listed;
ALTER TABLE listed ADD late int DEFAULT 5;
INSERT INTO listed VALUES (5, 'a5', 50, 's5');
SELECT sent('dec_col_some') OFFSET 6;
SELECT count(*) FROM forget();
-- of a partition under its root the root's list counts, by name
CREATE TABLE parted (id int PRIMARY KEY, secret text, a text) PARTITION BY RANGE (id);
CREATE TABLE parted_1 (a text, id int NOT NULL, secret text);
ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
CREATE PUBLICATION dec_col_root FOR TABLE parted (id, a) WITH (publish_via_partition_root);
CREATE PUBLICATION dec_col_leaf FOR TABLE parted_1 (id, secret);
SELECT count(*) FROM forget();
INSERT INTO parted VALUES (1, 's1', 'a1'), (11, 's11', 'a11');
UPDATE parted SET id = 2 WHERE id = 1;
DELETE FROM parted;
SELECT sent('dec_col_root');
SELECT sent('dec_col_leaf');
SELECT sent('dec_col_leaf,dec_col_root');
SELECT count(*) FROM forget();
-- generated columns: not sent, but where a publication says so, which 18 can
SELECT current_setting('server_version_num')::int >= 180000 AS can \gset
CREATE TABLE generated (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED, a text);
CREATE PUBLICATION dec_col_generated FOR TABLE generated;
\if :can
ALTER PUBLICATION dec_col_generated SET (publish_generated_columns = stored);
\endif
CREATE PUBLICATION dec_col_plain FOR TABLE generated;
SELECT count(*) FROM forget();
INSERT INTO generated (id, a) VALUES (1, 'one');
SELECT sent('dec_col_plain');
SELECT line = CASE WHEN :'can' THEN 'I generated 1 2 one' ELSE 'I generated 1 one' END FROM ours('dec_col_generated');
SELECT count(*) FROM sent('dec_col_generated') WHERE sent LIKE 'ours%';
:peek 'tables', 'dec_col.generated');
SELECT count(*) FROM forget();

-- option columns: what is sent, or what is not
CREATE TABLE orders (id int PRIMARY KEY, amount numeric, secret text, api_token text);
CREATE TABLE "Odd" (id int PRIMARY KEY, "Secret" text, "a,b(c)" int);
CREATE TABLE lines (order_id int, line int, secret text, PRIMARY KEY (order_id, line));
INSERT INTO orders VALUES (1, 1.5, 's1', 't1');
UPDATE orders SET amount = 2 WHERE id = 1;
UPDATE orders SET id = 2 WHERE id = 1;
DELETE FROM orders;
INSERT INTO "Odd" VALUES (1, 's', 3);
INSERT INTO lines VALUES (1, 1, 's');
UPDATE lines SET line = 2;
DELETE FROM lines;
:peek 'columns', 'dec_col.orders(amount), dec_col.*(-*secret*)');
:peek 'columns', 'DEC_COL . Orders ( -SECRET , - api_* ),dec_col."Odd"("Secret"),dec_col.lines(-*)');
:peek 'columns', 'dec_col.*(-"Secret", -"a,b(c)")', 'tables', 'dec_col."Odd"');
-- several entries take away, each; what one leaves out another does not bring back
:peek 'columns', 'dec_col.orders(id, amount, secret), dec_col.o*(secret, api_token), *.*(-api_token)', 'tables', 'dec_col.orders');
-- the key is sent though a list leaves it out, and not where a minus says so: no half key
:peek 'columns', 'dec_col.lines(secret)', 'tables', 'dec_col.lines');
:peek 'columns', 'dec_col.lines(-line)', 'tables', 'dec_col.lines');
-- nothing of a secret is anywhere, whatever else is asked for
SELECT count(*), count(*) FILTER (WHERE data ~ 'secret|s1|token|t1')
FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'columns', 'dec_col.*(-secret, -api_token)', 'tables', 'dec_col.orders',
  'include_types', 'on', 'schema', 'inline', 'max_value', '1');
SELECT f, count(*), count(*) FILTER (WHERE data ~ 'amount'), count(*) FILTER (WHERE data ~ 'secret|s1|token|t1')
FROM unnest('{cloudevents,debezium}'::text[]) f, pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'columns', 'dec_col.*(-secret, -api_token)',
  'tables', 'dec_col.orders', 'schema', 'inline', 'format', f) GROUP BY f ORDER BY f COLLATE "C";
SELECT data::json ->> 'op', data::json ->> 'key', data::json ->> 'before'
FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'columns', 'dec_col.lines(-line)', 'tables', 'dec_col.lines', 'format', 'debezium', 'include_key', 'on') d(lsn, xid, data)
WHERE data::json ->> 'op' <> 'c';
SELECT bool_or(position('amount'::bytea IN data) > 0), bool_or(position('secret'::bytea IN data) > 0), bool_or(position('token'::bytea IN data) > 0)
FROM pg_logical_slot_peek_binary_changes('regress_decoder', NULL, NULL, 'format', 'binary', 'columns', 'dec_col.*(-secret, -api_token)');
-- with a publication: the list and the option
SELECT count(*) FROM forget();
CREATE PUBLICATION dec_col_orders FOR TABLE orders (id, amount, secret);
INSERT INTO orders VALUES (1, 1.5, 's1', 't1');
:peek 'columns', 'dec_col.orders(-secret)', 'publication_names', 'dec_col_orders');
ALTER PUBLICATION dec_col_orders DROP TABLE orders;
-- names are those of the place in the WAL
ALTER TABLE orders RENAME secret TO open;
INSERT INTO orders VALUES (2, 2, 'no secret', 't2');
ALTER TABLE orders RENAME TO orders_2;
INSERT INTO orders_2 VALUES (3, 3, 'other table', 't3');
:peek 'columns', 'dec_col.orders(-secret, -api_token)');
SELECT count(*) FROM forget();
-- under FULL; unchanged TOASTed values are not named either
ALTER TABLE orders_2 ALTER open SET STORAGE EXTERNAL;
UPDATE orders_2 SET open = repeat('x', 3000) WHERE id = 3;
UPDATE orders_2 SET amount = 4 WHERE id = 3;
ALTER TABLE orders_2 REPLICA IDENTITY FULL;
UPDATE orders_2 SET amount = 5 WHERE id = 3;
DELETE FROM orders_2 WHERE id = 2;
:peek 'columns', 'dec_col.orders_2(amount)', 'tables', 'dec_col.orders_2');
:peek 'columns', 'dec_col.orders_2(-id, -open)', 'tables', 'dec_col.orders_2');
-- slips of the pen
:peek 'columns', 'dec_col.orders_2(-secrte), dec_col.order(-x), dec_col.*(-nothing)', 'tables', 'dec_col.whole');
:peek 'columns', 'dec_col.whole(a, -id)');
:peek 'columns', 'dec_col.whole');
:peek 'columns', 'dec_col.whole()');
:peek 'columns', 'dec_col.whole(a');
:peek 'columns', 'dec_col.whole(a,)');
:peek 'columns', 'dec_col.whole(a) x');
:peek 'columns', 'dec_col.whole(a),');
:peek 'columns', 'dec_col.whole(--a)');
:peek 'columns', 'dec_col.whole(a.b)');
:peek 'columns', 'whole(a)');
:peek 'columns', '');

SELECT pg_drop_replication_slot('regress_decoder');
SELECT pg_drop_replication_slot('regress_pgoutput');
DROP PUBLICATION dec_col_some, dec_col_same, dec_col_other, dec_col_each, dec_col_schema, dec_col_all, dec_col_filter,
  dec_col_root, dec_col_leaf, dec_col_generated, dec_col_plain, dec_col_orders;
\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA dec_col CASCADE;
