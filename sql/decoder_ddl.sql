-- concord_decoder: definitions that change in mid-stream.  All changes are
-- made first and decoded afterwards: each is read as its table was then.
\set mask '''include_xid'', ''0'', ''include_lsn'', ''0'', ''include_id'', ''0'', ''include_time'', ''0'''
\pset format unaligned
\pset tuples_only on
CREATE TABLE dec_ddl (id int PRIMARY KEY, a text, b int);
CREATE SCHEMA dec_schema;
CREATE TYPE dec_state AS ENUM ('old');
SELECT 'created' FROM pg_create_logical_replication_slot('regress_decoder', 'concord_decoder');

INSERT INTO dec_ddl VALUES (1, 'first', 10);
ALTER TABLE dec_ddl ALTER b TYPE text USING b || ' as text';
INSERT INTO dec_ddl VALUES (2, 'b is text', 'x');
UPDATE dec_ddl SET a = 'rewritten' WHERE id = 1;
ALTER TABLE dec_ddl ADD c numeric(5,2) DEFAULT 1.25, ADD d text DEFAULT 'fast';
UPDATE dec_ddl SET a = 'with defaults' WHERE id = 2;
INSERT INTO dec_ddl VALUES (3, 'new', NULL, NULL, 'own');
ALTER TABLE dec_ddl DROP a;
INSERT INTO dec_ddl VALUES (4, 'no a', 4);
ALTER TABLE dec_ddl RENAME c TO price;
UPDATE dec_ddl SET price = 9 WHERE id = 1;
ALTER TABLE dec_ddl RENAME TO dec_renamed;
INSERT INTO dec_renamed VALUES (5, 'renamed');
ALTER TABLE dec_renamed SET SCHEMA dec_schema;
INSERT INTO dec_schema.dec_renamed VALUES (6, 'moved');
ALTER SCHEMA dec_schema RENAME TO dec_schema2;
INSERT INTO dec_schema2.dec_renamed VALUES (7, 'schema renamed');
VACUUM FULL dec_schema2.dec_renamed;
UPDATE dec_schema2.dec_renamed SET d = 'after rewrite' WHERE id = 7;
SELECT data FROM pg_logical_slot_peek_changes('regress_decoder', NULL, NULL, :mask);
-- the same from a fresh session
\c -
\set mask '''include_xid'', ''0'', ''include_lsn'', ''0'', ''include_id'', ''0'', ''include_time'', ''0'''
\pset format unaligned
\pset tuples_only on
SELECT count(*), count(DISTINCT data::jsonb) FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

-- within one transaction, rolled back in part
BEGIN;
CREATE TABLE dec_own (id int PRIMARY KEY, v int);
INSERT INTO dec_own VALUES (1, 1);
ALTER TABLE dec_own ADD w text DEFAULT 'w';
INSERT INTO dec_own VALUES (2, 2, 'two');
SAVEPOINT s;
ALTER TABLE dec_own DROP v;
INSERT INTO dec_own VALUES (3, 'gone');
ROLLBACK TO s;
UPDATE dec_own SET v = 3 WHERE id = 1;
ALTER TABLE dec_own ALTER v TYPE numeric(6,3);
INSERT INTO dec_own VALUES (4, 4, 'four');
COMMIT;
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

-- the identity changes
UPDATE dec_own SET v = 5 WHERE id = 1;
ALTER TABLE dec_own REPLICA IDENTITY FULL;
UPDATE dec_own SET v = 6 WHERE id = 1;
ALTER TABLE dec_own DROP CONSTRAINT dec_own_pkey;
DELETE FROM dec_own WHERE id = 2;
ALTER TABLE dec_own REPLICA IDENTITY DEFAULT;
DELETE FROM dec_own WHERE id = 4;
ALTER TABLE dec_own ALTER w SET NOT NULL;
CREATE UNIQUE INDEX dec_own_w ON dec_own (w);
ALTER TABLE dec_own REPLICA IDENTITY USING INDEX dec_own_w;
UPDATE dec_own SET w = 'key now' WHERE id = 1;
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask);

-- an enum grows, a type is renamed, a table is dropped before it is decoded
CREATE TABLE dec_enum (s dec_state);
INSERT INTO dec_enum VALUES ('old');
ALTER TYPE dec_state ADD VALUE 'new';
INSERT INTO dec_enum VALUES ('new');
ALTER TYPE dec_state RENAME VALUE 'old' TO 'former';
ALTER TYPE dec_state RENAME TO dec_status;
INSERT INTO dec_enum VALUES ('former');
DROP TABLE dec_enum;
SELECT data FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL, :mask, 'include_types', 'on');

-- more tables than the plugin keeps in mind come and go
DO $$ BEGIN FOR i IN 1..1100 LOOP
  EXECUTE format('CREATE TABLE dec_t%1$s (id int PRIMARY KEY); INSERT INTO dec_t%1$s VALUES (%1$s); DROP TABLE dec_t%1$s', i);
  COMMIT;
END LOOP; END $$;
SELECT count(*), bool_and(data::json ->> 'table' = 'dec_t' || (data::json #>> '{new,id}'))
FROM pg_logical_slot_get_changes('regress_decoder', NULL, NULL);

SELECT pg_drop_replication_slot('regress_decoder');
DROP TABLE dec_own, dec_schema2.dec_renamed;
DROP SCHEMA dec_schema2;
DROP TYPE dec_status;
