-- concord_decoder: a partition's changes come under its selected root
\set mask '''include_xid'', ''0'', ''include_lsn'', ''0'', ''include_id'', ''0'', ''include_time'', ''0'''
\pset format unaligned
\pset tuples_only on
CREATE TABLE dec_part (id int, region text, note text, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE dec_part_eu PARTITION OF dec_part FOR VALUES IN ('eu');
CREATE TABLE dec_part_us (gone int, note text, id int NOT NULL, region text NOT NULL, PRIMARY KEY (region, id)) PARTITION BY RANGE (id);
ALTER TABLE dec_part_us DROP gone;
CREATE TABLE dec_part_us_low PARTITION OF dec_part_us FOR VALUES FROM (0) TO (100);
CREATE TABLE dec_part_us_high (region text NOT NULL, id int NOT NULL, note text, PRIMARY KEY (region, id));
ALTER TABLE dec_part_us ATTACH PARTITION dec_part_us_high FOR VALUES FROM (100) TO (200);
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');

-- attached in mid-stream: until then only its own parents count
INSERT INTO dec_part_us VALUES ('before', 1, 'us');
ALTER TABLE dec_part ATTACH PARTITION dec_part_us FOR VALUES IN ('us');
INSERT INTO dec_part VALUES (1, 'eu', 'one'), (2, 'us', 'low'), (102, 'us', 'high');
UPDATE dec_part SET note = 'changed' WHERE id > 1;
UPDATE dec_part SET id = 150 WHERE id = 2;
UPDATE dec_part SET region = 'eu' WHERE id = 102;
DELETE FROM dec_part WHERE id = 1;
TRUNCATE dec_part_us;
TRUNCATE dec_part;
ALTER TABLE dec_part DETACH PARTITION dec_part_us;
INSERT INTO dec_part_us VALUES ('after', 3, 'us');
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask);
-- a root in the middle, a partition alone
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask, 'tables', 'public.dec_part_us');
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask, 'tables', 'public.dec_part_us_*');

-- the root is renamed
INSERT INTO dec_part VALUES (1, 'eu', 'one');
ALTER TABLE dec_part RENAME TO dec_root;
INSERT INTO dec_root VALUES (2, 'eu', 'two');
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

SELECT pg_drop_replication_slot('regress_decoder');
DROP TABLE dec_root, dec_part_us;
