-- concord_decoder: what formats say of relations, and which options belong to which
\set mask '''include_xid'', ''0'', ''include_lsn'', ''0'', ''include_id'', ''0'', ''include_time'', ''0'''
-- OIDs and the hashes that depend on them, numbered as they come
\set stable 'regexp_replace(regexp_replace(data, ''"relid":[0-9]+'', ''"relid":N'', ''g''), ''"definition":"[0-9a-f]{16}"'', ''"definition":"hash''  || dense_rank() OVER (ORDER BY first) || ''"'', ''g'')'
\pset format unaligned
\pset tuples_only on
CREATE TABLE dec_schema (id int PRIMARY KEY, name varchar(20) NOT NULL, amount numeric(12,2), "odd ""name""" text[], twice int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE dec_other (id int);
CREATE TABLE dec_part (id int NOT NULL, v text) PARTITION BY RANGE (id);
CREATE TABLE dec_part_1 PARTITION OF dec_part FOR VALUES FROM (0) TO (10);
CREATE TABLE dec_part_2 PARTITION OF dec_part FOR VALUES FROM (10) TO (20);
ALTER TABLE dec_part_2 REPLICA IDENTITY FULL;
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');

-- a definition that changes, comes back, and is touched without a change; partitions that differ
INSERT INTO dec_schema VALUES (1, 'one');
INSERT INTO dec_other VALUES (1);
INSERT INTO dec_schema VALUES (2, 'two');
ANALYZE dec_schema;
TRUNCATE dec_schema;
ALTER TABLE dec_schema ADD more date;
INSERT INTO dec_schema VALUES (3, 'three');
ALTER TABLE dec_schema DROP more;
TRUNCATE dec_schema;
ALTER TABLE dec_schema REPLICA IDENTITY FULL;
INSERT INTO dec_schema VALUES (4, 'four');
INSERT INTO dec_part VALUES (1, 'a'), (2, 'b'), (11, 'c'), (3, 'd');
CREATE VIEW dec_once AS
SELECT data, row_number() OVER () AS n FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask, 'schema', 'once');
CREATE VIEW dec_inline AS
SELECT data, row_number() OVER () AS n FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask, 'schema', 'inline');
SELECT :stable FROM (SELECT *, min(n) OVER (PARTITION BY data::jsonb ->> 'definition') AS first FROM dec_once) x ORDER BY n;
SELECT :stable FROM (SELECT *, min(n) OVER (PARTITION BY data::jsonb ->> 'definition') AS first FROM dec_inline) x ORDER BY n;
-- the hashes are the same in both, and every event's definition has come before it
SELECT (SELECT array_agg(DISTINCT data::jsonb ->> 'definition') FROM dec_once) = (SELECT array_agg(DISTINCT data::jsonb ->> 'definition') FROM dec_inline);
SELECT data FROM dec_once a WHERE data::jsonb ->> 'op' <> 'relation' AND data::jsonb ->> 'definition' IS DISTINCT FROM
  (SELECT data::jsonb ->> 'definition' FROM dec_once b WHERE b.n < a.n AND b.data::jsonb ->> 'op' = 'relation' AND b.data::jsonb ->> 'table' = a.data::jsonb ->> 'table'
   ORDER BY n DESC LIMIT 1);
DROP VIEW dec_once, dec_inline;
SELECT count(*) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);

-- options that belong to another format
\set VERBOSITY default
\set try 'SELECT data FROM pg_logical_slot_get_binary_changes(''regress_decoder'', NULL, NULL, '
:try 'format', 'binary', 'include_xid', 'true');
:try 'numbers', 'string', 'format', 'binary');
:try 'format', 'binary', 'schema', 'once');
:try 'schema', 'twice');
:try 'format', 'debezium', 'schema', 'once');
:try 'format', 'debezium', 'include_lsn', 'off');
:try 'format', 'debezium', 'numbers', 'string');
:try 'format', 'debezium', 'streaming', 'on');
:try 'format', 'cloudevents', 'streaming', 'on');
:try 'format', 'debezium', 'two_phase', 'on');
:try 'format', 'cloudevents', 'two_phase', 'on');
:try 'format', 'cloudevents', 'include_id', 'off');
:try 'format', 'cloudevents', 'source', 'two words');
:try 'format', 'cloudevents', 'source', '/"quoted"');
:try 'format', 'cloudevents', 'source', '');
:try 'format', 'cloudevents', 'decimal', 'string');
:try 'source', 'erp');
:try 'decimal', 'exact', 'format', 'debezium');
:try 'interval', 'iso', 'format', 'debezium');
:try 'include_key', 'on');

SELECT pg_drop_replication_slot('regress_decoder');
DROP TABLE dec_schema, dec_other, dec_part;
