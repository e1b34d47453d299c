-- concord_decoder: publications that come, go and change while they are read
\pset format unaligned
\pset tuples_only on
\set SHOW_CONTEXT never
CREATE SCHEMA dec_pub;
SET search_path = dec_pub, public;
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');
SELECT 'created' FROM pg_create_logical_replication_slot('regress_pgoutput', 'pgoutput');
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/pgoutput.sql'
\i :helpers

-- created, dropped and created again: each place in the WAL has its own
CREATE TABLE one (id int PRIMARY KEY);
CREATE TABLE two (id int PRIMARY KEY);
INSERT INTO one VALUES (1);
CREATE PUBLICATION dec_pub_late FOR TABLE one;
INSERT INTO one VALUES (2);
DROP PUBLICATION dec_pub_late;
INSERT INTO one VALUES (3);
BEGIN;
INSERT INTO one VALUES (4);
CREATE PUBLICATION dec_pub_late FOR TABLE one, two;
INSERT INTO one VALUES (5);
SAVEPOINT s;
ALTER PUBLICATION dec_pub_late DROP TABLE one;
INSERT INTO one VALUES (6);
INSERT INTO two VALUES (6);
ROLLBACK TO s;
INSERT INTO one VALUES (7);
COMMIT;
INSERT INTO two VALUES (8);
ALTER PUBLICATION dec_pub_late RENAME TO dec_pub_renamed;
INSERT INTO two VALUES (9);
-- now it does not exist: refused, and so is a list of which one does not
SELECT line FROM ours('dec_pub_late');
SELECT line FROM ours('dec_pub_renamed, "Dec""Pub"');
CREATE PUBLICATION dec_pub_late FOR TABLE one WITH (publish = 'delete');
INSERT INTO one VALUES (10);
DELETE FROM one WHERE id = 10;
SELECT line FROM ours('dec_pub_late');
SELECT line FROM ours('dec_pub_renamed, dec_pub_late');
SELECT count(*) FROM forget();

-- what it publishes changes; schemas come in, tables move
CREATE SCHEMA dec_pub_2;
CREATE PUBLICATION dec_pub_mixed FOR TABLE one, TABLES IN SCHEMA dec_pub_2;
SELECT count(*) FROM forget();
INSERT INTO one VALUES (11);
INSERT INTO two VALUES (11);
ALTER TABLE two SET SCHEMA dec_pub_2;
INSERT INTO dec_pub_2.two VALUES (12);
CREATE TABLE dec_pub_2.three (id int PRIMARY KEY);
INSERT INTO dec_pub_2.three VALUES (13);
ALTER PUBLICATION dec_pub_mixed SET (publish = 'insert, truncate');
UPDATE one SET id = 14 WHERE id = 11;
DELETE FROM one WHERE id = 14;
ALTER SCHEMA dec_pub_2 RENAME TO dec_pub_3;
INSERT INTO dec_pub_3.two VALUES (15);
ALTER TABLE dec_pub_3.three SET SCHEMA dec_pub;
INSERT INTO three VALUES (16);
ALTER PUBLICATION dec_pub_mixed DROP TABLES IN SCHEMA dec_pub_3;
INSERT INTO dec_pub_3.two VALUES (17);
TRUNCATE one, dec_pub_3.two;
SELECT sent('dec_pub_mixed');
SELECT data::json ->> 'op', data::json ->> 'table' FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL,
  'publication_names', 'dec_pub_mixed') WHERE data LIKE '{"op":"truncate"%';
SELECT count(*) FROM forget();

-- partitions: published as they are, or as one of their roots
CREATE TABLE root (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE root_mid PARTITION OF root FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
CREATE TABLE root_leaf (v text, id int PRIMARY KEY);
ALTER TABLE root_mid ATTACH PARTITION root_leaf FOR VALUES FROM (0) TO (10);
CREATE PUBLICATION dec_pub_root FOR TABLE root WITH (publish_via_partition_root);
CREATE PUBLICATION dec_pub_mid FOR TABLE root_mid WITH (publish_via_partition_root);
CREATE PUBLICATION dec_pub_leaf FOR TABLE root_leaf WITH (publish_via_partition_root);
CREATE PUBLICATION dec_pub_plain FOR TABLE root WITH (publish = 'insert, update, truncate');
CREATE PUBLICATION dec_pub_all FOR ALL TABLES WITH (publish_via_partition_root);
SELECT count(*) FROM forget();
INSERT INTO root VALUES (1, 'one');
UPDATE root SET v = 'uno';
UPDATE root SET id = 2;
ALTER TABLE root_mid DETACH PARTITION root_leaf;
INSERT INTO root_leaf VALUES ('alone', 3);
ALTER TABLE root_mid ATTACH PARTITION root_leaf FOR VALUES FROM (0) TO (10);
DELETE FROM root WHERE id = 2;
SELECT sent('dec_pub_root');
SELECT sent('dec_pub_mid');
SELECT sent('dec_pub_leaf');
SELECT sent('dec_pub_plain');
SELECT sent('dec_pub_leaf,dec_pub_mid');
SELECT sent('dec_pub_plain,dec_pub_root');
SELECT sent('dec_pub_all');
ALTER PUBLICATION dec_pub_root SET (publish_via_partition_root = false);
ALTER PUBLICATION dec_pub_all SET (publish_via_partition_root = false);
INSERT INTO root VALUES (5, 'without root');
SELECT sent('dec_pub_root') OFFSET 4;
SELECT sent('dec_pub_all') OFFSET 5;
SELECT count(*) FROM forget();
-- TRUNCATE of a root is that of its partitions where these are published
TRUNCATE root;
SELECT 'plain', string_agg(data::json ->> 'table', ' ' ORDER BY data::json ->> 'table') FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'publication_names', 'dec_pub_plain')
UNION ALL
SELECT 'mid', string_agg(data::json ->> 'table', ' ' ORDER BY data::json ->> 'table') FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'publication_names', 'dec_pub_mid');
SELECT count(*) FROM forget();

-- all tables but some, which 19 can: of a partition its root decides
SELECT current_setting('server_version_num')::int >= 190000 AS can \gset
\if :can
CREATE PUBLICATION dec_pub_except FOR ALL TABLES EXCEPT (TABLE one, TABLE root) WITH (publish_via_partition_root);
\else
CREATE PUBLICATION dec_pub_except FOR TABLE three;
\endif
SELECT count(*) FROM forget();
INSERT INTO one VALUES (20);
INSERT INTO three VALUES (21);
INSERT INTO root VALUES (6, 'excepted');
SELECT sent('dec_pub_except');
SELECT count(*) FROM forget();

-- never published, though it is logged: what belongs to the system
BEGIN;
INSERT INTO information_schema.sql_features (feature_id) VALUES ('dec_pub');
DELETE FROM information_schema.sql_features WHERE feature_id = 'dec_pub';
COMMIT;
SELECT count(*) FROM ours('dec_pub_all');
SELECT count(*) FROM theirs('dec_pub_all');
SELECT count(*) > 0 FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, 'tables', 'information_schema.*');

-- the names themselves
SELECT line FROM ours('dec_pub_all,');
SELECT line FROM ours('*');
SELECT line FROM ours('"dec_pub_all');
SELECT count(*) FROM ours(' DEC_PUB_ALL , "dec_pub_all",dec_pub_all ');

SELECT pg_drop_replication_slot('regress_decoder');
SELECT pg_drop_replication_slot('regress_pgoutput');
DROP PUBLICATION dec_pub_late, dec_pub_renamed, dec_pub_mixed, dec_pub_root, dec_pub_mid, dec_pub_leaf, dec_pub_plain, dec_pub_all, dec_pub_except;
\set VERBOSITY terse
SET client_min_messages = warning;
DROP SCHEMA dec_pub, dec_pub_3 CASCADE;
